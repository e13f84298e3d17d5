/* records/env.h -- what records keep with a database handle: the families, and what is indexed. */
#ifndef ODB_RECORDS_ENV_H
#define ODB_RECORDS_ENV_H

#include <stdatomic.h>

#include "api/opendb.h"
#include "base/buf.h"

/* What is indexed. Never changes once it is published; older ones live until the handle closes. */
struct rec_config {
    struct rec_config *older;
    odb_slice *props; /* by rising name; the bytes lie behind */
    uint32_t prop_count;
    bool has_time;
    bool has_importance;
    bool is_ready; /* all rows are there */
};

struct rec_env {
    odb_db *db;
    odb_cf *records, *index, *metadata; /* NULL: not there, and the database is read-only */
    _Atomic(struct rec_config *) config;
};

/* What hangs on `db`, made ready when this is the first call. Any thread. Statuses as odb_records_open,
 * and those of odb_put. */
ODB_MUST_CHECK odb_status rec_env_get(odb_db *db, struct rec_env **out);
/* The same for a place to read at. */
ODB_MUST_CHECK odb_status rec_env_at(odb_at at, struct rec_env **out);

static inline const struct rec_config *rec_env_config(struct rec_env *env)
{
    return atomic_load_explicit(&env->config, memory_order_acquire);
}

/* Write the metadata document `name`, which may be one of the library's own. */
ODB_MUST_CHECK odb_status rec_meta_put(struct rec_env *env, odb_txn *txn, odb_slice name,
                                       odb_slice json);

/* Run `step` in a transaction: in `txn`, which is as it was when the step fails; or, when that is NULL, in one of its own that is committed and
 * begun again when another writer was faster. `step` may so be called several times. */
ODB_MUST_CHECK odb_status rec_in_txn(odb_db *db, odb_txn *txn,
                                     odb_status (*step)(void *arg, odb_txn *txn), void *arg);

#endif
