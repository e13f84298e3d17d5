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
 *     } while (odb_txn_should_retry(st));         // somebody else was faster: again
 *
 * or, the loop included,
 *
 *     st = odb_txn_run(db, NULL, take_one, &order, NULL);
 *
 * A transaction reads one moment of the whole database plus its own writes, and its own writes are
 * seen by nobody else before the commit. What a commit checks is chosen at the begin:
 *
 *     may happen:          dirty read  fuzzy read  lost update  read skew  write skew  phantom
 *     ODB_SNAPSHOT             no          no           no          no         yes       (1)
 *     ODB_SERIALIZABLE         no          no           no          no         no        no (2)
 *
 *     (1) never inside one transaction, since it reads one moment; but two transactions may each
 *     insert what the other one looked for and did not find, which is write skew again.
 *     (2) of keys and ranges. A search among vectors (vector/odb_vector.h) is a walk to a pessimistic
 *     transaction; an optimistic one depends on its hits, and on the rest only after odb_txn_claim().
 *
 * ODB_SNAPSHOT refuses a commit when a key it writes was written by anybody, in a transaction or not,
 * since the transaction's moment: the first committer wins. ODB_SERIALIZABLE refuses it too when
 * anything the transaction has read was written: keys, also those that were not there, and the part of
 * a range that its iterators walked. Under ODB_SNAPSHOT the same is had for single keys and ranges
 * with odb_txn_get_for_update() and odb_txn_claim(). An optimistic transaction that writes nothing never
 * fails.
 *
 * Optimistic transactions (the default) wait for nobody. With `is_pessimistic`, writing a key and
 * odb_txn_get_for_update() lock it until the end, and wait for whoever has it: better when conflicts
 * are the rule. Locks are between pessimistic transactions; who writes without asking is not held up,
 * and the commit of the lock's holder, though it has written nothing, then says ODB_CONFLICT.
 *
 * A transaction, with the iterators made in it, belongs to one thread at a time.
 * docs/transactions.md explains more.
 */
#ifndef ODB_TXN_H
#define ODB_TXN_H

#include "api/odb_iter.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum odb_isolation { ODB_SNAPSHOT = 0, ODB_SERIALIZABLE = 1 } odb_isolation;

/* All zeros but `size`: an optimistic transaction at ODB_SNAPSHOT. */
typedef struct odb_txn_options {
    size_t size; /* sizeof(odb_txn_options) */
    odb_isolation isolation;
    bool is_pessimistic;
    bool no_wait;           /* ODB_TIMEOUT at once where a lock is taken */
    uint32_t lock_wait_ms;  /* how long to wait for one lock; 0: 1000 */
    size_t max_bytes;       /* of its writes and what it remembers; 0: 256 MiB */
    odb_snapshot *snapshot; /* read at that moment and check against it; NULL: the present */
} odb_txn_options;

/* ==== life ==== */

/* Begin. On ODB_OK *out is the caller's until odb_txn_free(). `opt` may be NULL. Handles are kept for
 * reuse: beginning and freeing cost no allocation where others went before. ODB_UNSUPPORTED (the
 * backend cannot check for conflicts), ODB_INVALID (an option makes no sense, a snapshot of another
 * database), ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_begin(odb_db *db, const odb_txn_options *opt,
                                                odb_txn **out);
/* Roll back unless committed or prepared, and free. NULL is fine. */
ODB_API void odb_txn_free(odb_txn *t);

/* Check and apply all writes in one step, then end the transaction, whatever the outcome.
 * ODB_CONFLICT: nothing was applied. ODB_TOO_OLD: neither, since so much was written meanwhile that
 * nobody can tell whether there is a conflict. Otherwise the statuses of odb_put. A prepared one
 * never conflicts; when its commit fails with anything but ODB_UNKNOWN it stays prepared. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_commit(odb_txn *t, const odb_write *how);
/* Forget all writes and end. Ended already: does nothing. Fails only where the transaction was
 * prepared, as odb_put does, and then it still is. */
ODB_API odb_status odb_txn_rollback(odb_txn *t);
/* Forget what was, and begin again at this moment (a snapshot given at the begin is no longer used),
 * with the same options and the memory at hand. On failure it is ended. ODB_INVALID: it is prepared. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_reset(odb_txn *t);

/* Whether beginning again may help: somebody else was faster, or had the lock. */
static inline bool odb_txn_should_retry(odb_status st)
{
    return st == ODB_CONFLICT || st == ODB_TOO_OLD || st == ODB_DEADLOCK || st == ODB_TIMEOUT;
}

/* Begin, call `body`, commit; again from the beginning while odb_txn_should_retry() (at most 1000
 * times, with growing pauses). `body` returns ODB_OK to commit; anything else rolls back and is
 * returned. It neither commits nor rolls back itself. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_run(odb_db *db, const odb_txn_options *opt,
                                              odb_status (*body)(odb_txn *t, void *arg), void *arg,
                                              const odb_write *how);

/* ==== writes ==== */

/* Note a write; others see it after the commit, this transaction's reads (odb_in) at once. Key and
 * value are copied. ODB_TOO_LARGE (max_bytes, or a batch would be), ODB_NOMEM, ODB_NO_FAMILY;
 * ODB_INVALID after commit, rollback or prepare. The transaction is then as it was.
 * Pessimistic: ODB_TIMEOUT (somebody else has the key; as it was), ODB_DEADLOCK (waiting would have
 * closed a circle and this transaction was the youngest in it: it has been rolled back; the text names
 * the circle). */
ODB_API ODB_MUST_CHECK odb_status odb_txn_put(odb_txn *t, odb_cf *cf, odb_slice key,
                                              odb_slice value);
ODB_API ODB_MUST_CHECK odb_status odb_txn_delete(odb_txn *t, odb_cf *cf, odb_slice key);

/* Iterators made with odb_in(t) show the transaction's writes up to the iterator's making, and may
 * outlive the transaction. */

/* ==== depending on what was read ==== */

/* odb_get in the transaction, and the commit is refused when somebody writes the key before it.
 * Pessimistic: locks the key first, so that nobody else can. Statuses of odb_get and odb_txn_put. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_get_for_update(odb_txn *t, odb_cf *cf, odb_slice key,
                                                         odb_value *out);
/* The same without reading, for every key of `range` (NULL: the family), there or not. Pessimistic:
 * locks the range, for writing or (`is_shared`) for reading: shared locks go together. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_claim(odb_txn *t, odb_cf *cf, const odb_range *range,
                                                bool is_shared);

/* ==== savepoints ==== */

/* Remember the writes so far; *out names the place. ODB_NOMEM, ODB_INVALID. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_save(odb_txn *t, uint32_t *out);
/* Forget the writes made since. The savepoint stays, later ones are gone. Locks stay, too, and so does
 * what the commit depends on. ODB_INVALID: no such savepoint. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_rollback_to(odb_txn *t, uint32_t savepoint);
/* Forget the savepoint and later ones, but not the writes. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_release(odb_txn *t, uint32_t savepoint);

/* ==== two-phase commit ==== */

/* Make sure that the transaction can be committed whatever comes, a crash included: check it now,
 * write it down under `name` (1 to 128 bytes, no control characters), and refuse (ODB_CONFLICT) every
 * write of others to what it writes or depends on until it is committed or rolled back. `how` NULL
 * means ODB_DURABLE_FULL here. On ODB_OK only commit, rollback, reads and free remain; freeing leaves
 * it prepared. ODB_EXISTS (the name is taken: the transaction is as it was), ODB_CONFLICT,
 * ODB_TOO_OLD: it has ended. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_prepare(odb_txn *t, const char *name,
                                                  const odb_write *how);
/* The names of all that are prepared, also by processes that are no more; release with
 * odb_names_release(). */
ODB_API ODB_MUST_CHECK odb_status odb_txn_list_prepared(odb_db *db, odb_names *out);
/* A handle for a prepared transaction: to commit it, roll it back, or read in it (at the present).
 * ODB_ABSENT, ODB_BUSY (somebody has one), ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_recover(odb_db *db, const char *name, odb_txn **out);

#ifdef __cplusplus
}
#endif
#endif
