/* api/odb_batch.h -- several writes, in any families, that happen together or not at all.
 *
 *     odb_batch *b;
 *
 *     st = odb_batch_new(&b);
 *     st = odb_batch_put(b, graph_forward, odb_s("ann>bob"), odb_s("knows"));
 *     st = odb_batch_put(b, graph_backward, odb_s("bob<ann"), odb_s("knows"));
 *     st = odb_commit(db, b, NULL);        // both edges, or neither
 *     odb_batch_clear(b);                  // the memory can be used again
 *     odb_batch_free(b);
 *
 * Later operations on the same key win over earlier ones. A batch belongs to one thread at a time
 * and must not outlive the database whose families it names.
 */
#ifndef ODB_BATCH_H
#define ODB_BATCH_H

#include "api/odb_db.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An empty batch, the caller's; release with odb_batch_free(). ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_batch_new(odb_batch **out);
/* NULL is fine. */
ODB_API void odb_batch_free(odb_batch *b);

/* Append an operation; key and value are copied. ODB_TOO_LARGE, ODB_NOMEM, ODB_NO_FAMILY, ODB_INVALID
 * (a family of another database): the batch is as it was. */
ODB_API ODB_MUST_CHECK odb_status odb_batch_put(odb_batch *b, odb_cf *cf, odb_slice key,
                                                odb_slice value);
ODB_API ODB_MUST_CHECK odb_status odb_batch_delete(odb_batch *b, odb_cf *cf, odb_slice key);

/* Apply the batch, all or nothing. It is unchanged and stays the caller's. An empty batch is ODB_OK.
 * Statuses as odb_put. */
ODB_API ODB_MUST_CHECK odb_status odb_commit(odb_db *db, const odb_batch *b, const odb_write *how);

/* Forget all operations, keep the memory. */
ODB_API void odb_batch_clear(odb_batch *b);
/* Operations in the batch. */
ODB_API uint32_t odb_batch_count(const odb_batch *b);

/* ==== batches as bytes: for shipping them elsewhere ==== */

/* The operations as bytes (cf/batch.h draws them), good until the batch is next changed. They name
 * families by number: they mean the same only in the same database. */
ODB_API odb_slice odb_batch_bytes(const odb_batch *b);
/* Replace the operations by those in bytes of unknown origin. ODB_INVALID when they are malformed,
 * ODB_TOO_LARGE, ODB_NOMEM: the batch is as it was. A family number that does not exist shows at the
 * commit: ODB_NO_FAMILY. */
ODB_API ODB_MUST_CHECK odb_status odb_batch_set_bytes(odb_batch *b, odb_slice bytes);

typedef struct odb_op {
    bool is_delete;  /* then `value` is empty */
    uint32_t family; /* odb_cf_id() */
    odb_slice key;   /* good until the batch is next changed */
    odb_slice value;
} odb_op;

/* Call `each` with every operation, oldest first, until it returns false. */
ODB_API void odb_batch_each(const odb_batch *b, bool (*each)(void *arg, const odb_op *op),
                            void *arg);
/* The number of a family, the same for the life of the database; 0 for "default" and for NULL. */
ODB_API uint32_t odb_cf_id(const odb_cf *cf);

#ifdef __cplusplus
}
#endif
#endif
