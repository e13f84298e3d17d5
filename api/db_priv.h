/* api/db_priv.h -- what the files of api/ share: the shape of the handles, and the checks every call
 * begins with.
 *
 * Locks: `lock` of a database (RANK_OPEN) guards the list of its families; no backend is called under
 * it. Everything else in a handle is fixed at open.
 */
#ifndef ODB_API_DB_PRIV_H
#define ODB_API_DB_PRIV_H

#include <stdatomic.h>

#include "api/locks.h"
#include "api/opendb.h"
#include "base/alloc.h"
#include "base/compress.h"
#include "base/ikey.h"
#include "base/status.h"
#include "cf/batch.h"
#include "os/os.h"
#include "os/os_thread.h"

struct odb_cf {
    odb_db *db;             /* fixed */
    void *family;           /* the backend's; fixed */
    uint32_t id;            /* fixed */
    atomic_bool is_dropped; /* set once; relaxed: whoever races with a drop may win or lose */
    odb_cf *next;           /* in db->families, under db->lock */
    char name[];
};

struct odb_db {
    odb_backend_ops ops; /* a copy: entries the backend does not know are NULL */
    void *self;
    struct os *os;
    uint64_t fork_count;
    odb_cf *default_cf;
    struct os_mutex lock;
    odb_cf *families ODB_GUARDED(lock);                /* in order of creation; dropped ones too */
    struct observer_list *observers ODB_GUARDED(lock); /* api/hooks.c; the backend has it, too */
    _Atomic(struct attachment *) attached;             /* stored under the lock, release; acquire */

    odb_txn *spare_txns ODB_GUARDED(lock); /* ended handles, for the next to begin */
    uint32_t spare_txn_count ODB_GUARDED(lock);
    odb_snapshot *snapshots ODB_GUARDED(lock); /* newest first */
    struct prepared *prepared ODB_GUARDED(lock);
    uint64_t prepared_numbers ODB_GUARDED(lock);
    odb_backend_cf prepared_cf ODB_GUARDED(lock); /* does not change once it is there */
    bool has_prepared_cf ODB_GUARDED(lock);
    struct lock_table locks;
    _Atomic uint64_t txn_ages;
    _Atomic uint64_t txn_commits, txn_conflicts, txn_too_old, txn_deadlocks, txn_timeouts;
};

/* api/snapshot.c */
struct odb_snapshot {
    odb_db *db;
    void *inner;               /* the backend's */
    odb_snapshot *prev, *next; /* in db->snapshots, under db->lock */
    uint32_t handles;          /* likewise */
    uint64_t taken_ns;
    char *name; /* likewise; NULL: none */
};

struct odb_batch {
    struct batch ops;
    odb_db *db; /* of the families named so far; NULL: none */
};

/* Where a read looks, once it has been sorted out. */
struct api_place {
    odb_db *db;
    void *snapshot; /* the backend's; NULL: now */
    odb_txn *txn;   /* NULL: none */
};

static inline bool api_is_forked(const odb_db *db)
{
    return os_fork_count(db->os) != db->fork_count;
}

/* api/db.c: the slow halves of the checks below; each sets the error text. */
odb_status api_refuse_handle(const odb_db *db);
odb_status api_refuse_cf(const odb_db *db, const odb_cf *cf);
odb_status api_refuse_bytes(const char *what, odb_slice s, size_t max);
odb_status api_refuse_null(const char *what);
odb_status api_unsupported(const odb_db *db, const char *what);
/* 1 to 128 bytes without control characters; `of` says whose name it is. */
odb_status api_check_name(const char *name, const char *of);
/* A copy of a transaction's own value: it may be gone before the reader lets go. ODB_NOMEM. */
ODB_MUST_CHECK odb_status api_value_copy(odb_slice data, odb_value *out);
odb_status api_place_of(odb_at at, struct api_place *out);

static inline odb_status api_check_db(const odb_db *db)
{
    if (ODB_UNLIKELY(!db || api_is_forked(db)))
        return api_refuse_handle(db);
    return ODB_OK;
}

/* Put the default family in the place of NULL, refuse what is foreign or dropped. */
static inline odb_status api_check_cf(odb_db *db, odb_cf **cf)
{
    if (!*cf)
        *cf = db->default_cf;
    if (ODB_UNLIKELY((*cf)->db != db ||
                     atomic_load_explicit(&(*cf)->is_dropped, memory_order_relaxed)))
        return api_refuse_cf(db, *cf);
    return ODB_OK;
}

static inline odb_status api_check_key(odb_slice key)
{
    if (ODB_UNLIKELY(key.size > KEY_LEN_MAX || (!key.data && key.size)))
        return api_refuse_bytes("key", key, KEY_LEN_MAX);
    return ODB_OK;
}

static inline odb_status api_check_value(odb_slice value)
{
    if (ODB_UNLIKELY(value.size > VALUE_LEN_MAX || (!value.data && value.size)))
        return api_refuse_bytes("value", value, VALUE_LEN_MAX);
    return ODB_OK;
}

odb_status api_check_write(const odb_write *how);

/* What a point read begins with: place, family, key. */
static inline odb_status api_check_read(odb_at at, odb_cf **cf, odb_slice key,
                                        struct api_place *out)
{
    odb_status st;

    if (ODB_LIKELY(at.db && !at.snapshot && !at.txn))
        *out = (struct api_place){at.db, NULL, NULL};
    else if ((st = api_place_of(at, out)) != ODB_OK)
        return st;
    st = api_check_db(out->db);
    if (st == ODB_OK)
        st = api_check_cf(out->db, cf);
    if (st == ODB_OK)
        st = api_check_key(key);
    return st;
}

extern const odb_write api_write_default;

#define API_NAME_MAX          128 /* bytes of a family's name */
#define API_STANDARD_FAMILIES 7
extern const char *const api_standard_families[API_STANDARD_FAMILIES]; /* api/options.c */

/* ---- api/range.c ---- */

/* A range with its prefix folded into its bounds. */
struct api_bounds {
    odb_range range;  /* lower, upper, keys_only, is_long; the prefix is empty */
    bool is_empty;    /* no key can satisfy it */
    struct buf upper; /* what range.upper may point into */
};

ODB_MUST_CHECK odb_status api_bounds_init(struct api_bounds *b, const odb_range *range);
void api_bounds_release(struct api_bounds *b);

/* ---- api/hooks.c ---- */

/* Close what is attached, the newest first. The observers' list is freed with the handle. */
void hooks_close(odb_db *db);

/* ---- api/snapshot.c ---- */

/* One more handle for it. */
odb_snapshot *api_snapshot_ref(odb_snapshot *s);

/* ---- api/prepared.c ---- */

#define API_PREPARED_FAMILY "opendb.prepared"
/* Read what is prepared, and hold what it claims; when the family is there. */
ODB_MUST_CHECK odb_status prepared_open(odb_db *db, odb_backend_cf cf);
/* How many there are; free the entries. */
uint64_t prepared_count(odb_db *db);
void prepared_forget(odb_db *db);

/* ---- api/txn.c ---- */

void api_txn_free_spares(odb_db *db);
/* For the statistics: a commit or lock came to that end. */
void api_txn_count(odb_db *db, odb_status st);

ODB_MUST_CHECK odb_status api_txn_place(odb_txn *t, struct api_place *out);
/* What the transaction itself has written for a key: ODB_OK (*value lends its bytes until the next
 * call on the transaction), ODB_ABSENT (it deleted the key), ODB_AGAIN (nothing: ask the backend; the
 * commit depends on the answer where it should). Or what odb_txn_put may say. */
odb_status api_txn_find(odb_txn *t, const odb_cf *cf, odb_slice key, odb_slice *value);
/* Before the backend is asked to walk: locks, where reads lock. */
ODB_MUST_CHECK odb_status api_txn_scan(odb_txn *t, const odb_cf *cf, const odb_range *range);
/* On ODB_OK `below` belongs to *out. */
ODB_MUST_CHECK odb_status api_txn_iter(odb_txn *t, odb_cf *cf, const odb_range *range,
                                       odb_iter *below, odb_iter **out);

/* ---- api/event_log.c: the readable LOG ---- */

struct event_log;

ODB_MUST_CHECK odb_status event_log_new(struct os *os, const char *dir, bool is_readonly,
                                        const odb_options *opt, struct event_log **out);
/* NULL is fine. */
void event_log_free(struct event_log *log);
/* One line, with the time in front; the signature cf/ asks for. Failing to write it is nobody's
 * problem. Any thread, under any lock of a lower rank. */
void event_log_line(void *log, const char *line);

/* ---- api/info.c: OPENDB_INFO and OPTIONS ---- */

ODB_MUST_CHECK odb_status info_write(struct os *os, const char *dir, const odb_options *opt);

/* ---- api/backend_lsm.c ---- */

struct cf_set;

/* The backend of a set that is open, with resolved options; `log` may be NULL. Closing it closes the
 * set and frees the log; both stay the caller's unless ODB_OK. ODB_NOMEM. */
ODB_MUST_CHECK odb_status api_backend_over(struct cf_set *set, const odb_options *opt,
                                           struct event_log *log, odb_backend *out);

/* ---- api/options.c ---- */

/* Check the caller's options, fill in every default: afterwards each field holds what is used.
 * ODB_INVALID names the field. `opt` may be NULL. */
ODB_MUST_CHECK odb_status options_resolve(struct os *os, const odb_options *opt, odb_options *out);
/* The same for one family on top of resolved database options. */
ODB_MUST_CHECK odb_status options_resolve_cf(const odb_options *base, const odb_cf_options *opt,
                                             odb_options *out);

#endif
