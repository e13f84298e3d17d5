/* api/odb_txn.h -- transactions: read, decide, write; or nothing happened.
 *
 *     do {
 *         st = odb_txn_begin(db, NULL, &t);
 *         if (st == ODB_OK)
 *             st = odb_get(odb_in(t), NULL, odb_s("stock"), &v);
 *         ... decide ...
 *         if (st == ODB_OK)
 *             st = odb_txn_put(t, NULL, odb_s("stock"), less_one);
 *         if (st == ODB_OK)
 *             st = odb_txn_commit(t, NULL);
 *         odb_txn_free(t);                        // rolls back what was not committed
 *     } while (st == ODB_CONFLICT);               // somebody else wrote a key of ours: again
 *
 * The isolation is SNAPSHOT: all reads see the moment of odb_txn_begin() plus the transaction's own
 * writes; a commit fails with ODB_CONFLICT when a key it writes was written by anybody, in a
 * transaction or not, since that moment. Lost updates and torn reads cannot happen. Write skew can:
 * two transactions that read the same keys and write different ones both commit. Where that matters,
 * write the key that was read (odb_txn_put with its own value): the check then covers it.
 *
 * Nothing is locked: a transaction never waits for another one. It belongs to one thread at a time.
 */
#ifndef ODB_TXN_H
#define ODB_TXN_H

#include "api/odb_iter.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct odb_txn_options {
    size_t size; /* sizeof(odb_txn_options) */
} odb_txn_options;

/* Begin. On ODB_OK *out is the caller's until odb_txn_free(). `opt` may be NULL. ODB_UNSUPPORTED (the
 * backend cannot check for conflicts), ODB_READONLY, ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_begin(odb_db *db, const odb_txn_options *opt,
                                                odb_txn **out);
/* Roll back unless committed, and free. NULL is fine. */
ODB_API void odb_txn_free(odb_txn *t);

/* Note a write; others see it after the commit, this transaction's reads (odb_in) at once. Key and
 * value are copied. ODB_TOO_LARGE, ODB_NOMEM, ODB_NO_FAMILY; ODB_INVALID after commit or rollback.
 * The transaction is then as it was. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_put(odb_txn *t, odb_cf *cf, odb_slice key,
                                              odb_slice value);
ODB_API ODB_MUST_CHECK odb_status odb_txn_delete(odb_txn *t, odb_cf *cf, odb_slice key);

/* Check and apply all writes in one step, then end the transaction, whatever the outcome.
 * ODB_CONFLICT: nothing was applied. Otherwise the statuses of odb_put. One that wrote nothing always
 * succeeds. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_commit(odb_txn *t, const odb_write *how);
/* Forget all writes and end. Ended already: does nothing. */
ODB_API void odb_txn_rollback(odb_txn *t);
/* Forget what was, and begin again at this moment, with the memory at hand. On failure it is ended. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_reset(odb_txn *t);

/* Iterators made with odb_in(t) show the transaction's writes up to the iterator's making, and may
 * outlive the transaction. */

#ifdef __cplusplus
}
#endif
#endif
