/* api/odb_hooks.h -- for what is built on top of a database: an index, a cache, a change feed.
 *
 *     static void seen(void *arg, const odb_commit_info *c)
 *     {
 *         odb_batch_each(c->batch, note_change, arg);    // in commit order, before anyone can read it
 *     }
 *
 *     st = odb_observe(db, seen, index, &since);         // commits above `since` from now on
 *     st = odb_snapshot_new(db, &s);                     // sees those up to odb_sequence(odb_asof(s)),
 *     ... build the index from s: every later commit is told of ...
 *     st = odb_attach(db, "myindex", index, index_close);
 *
 * Every commit has a number, larger than that of any commit before it (odb_batch_count() of them are
 * used up by one commit, so they are not consecutive). A read at a moment with number S sees exactly
 * the commits numbered at most S.
 */
#ifndef ODB_HOOKS_H
#define ODB_HOOKS_H

#include "api/odb_batch.h"
#include "api/odb_db.h"
#include "api/odb_txn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ==== numbers of moments ==== */

/* The number of the newest commit that a read there sees: now, at a snapshot, or, for a transaction,
 * below its own writes. ODB_INVALID (nothing named, ended transaction), ODB_FORKED, ODB_UNSUPPORTED
 * (the backend does not number its commits). */
ODB_API ODB_MUST_CHECK odb_status odb_sequence(odb_at at, uint64_t *out);

/* The database of a place to read at; NULL when the place names nothing, or more than one thing. */
ODB_API odb_db *odb_at_db(odb_at at);
/* The database of a transaction, also of one that has ended; NULL for NULL. */
ODB_API odb_db *odb_txn_db(const odb_txn *t);

/* ==== watching commits ==== */

typedef struct odb_commit_info {
    uint64_t sequence;      /* the commit's number; that of its first operation is
                               sequence - odb_batch_count(batch) + 1 */
    const odb_batch *batch; /* what it did, for odb_batch_each(); good during the call only */
} odb_commit_info;

/* Called for every commit, whoever makes it (odb_put is a commit of one), after the log has it and
 * before any read sees it; in order of their numbers, one call at a time, in the thread of some
 * writer. A commit that fails is not told of. All writers wait for it meanwhile: be quick. It cannot
 * refuse the commit, and must not call the database, unless to look at the batch. */
typedef void odb_observer(void *arg, const odb_commit_info *commit);

/* From now on call `fn` for every commit. It is told of exactly the commits numbered above *since
 * (`since` may be NULL). Observers are called in the order they came; the same pair of `fn` and `arg`
 * may come once: ODB_EXISTS. Waits for the commits under way. ODB_UNSUPPORTED, ODB_NOMEM: nothing
 * changed. odb_close() ends all observing, after the attached states have been closed. */
ODB_API ODB_MUST_CHECK odb_status odb_observe(odb_db *db, odb_observer *fn, void *arg,
                                              uint64_t *since);
/* No longer call it: on return no call is under way. ODB_ABSENT when it was not there. ODB_NOMEM: it
 * goes on. */
ODB_API ODB_MUST_CHECK odb_status odb_unobserve(odb_db *db, odb_observer *fn, void *arg);

/* ==== state that lives as long as the database handle ==== */

/* Hang `state` on the handle under `name` (copied). `close` (may be NULL) is called by odb_close(),
 * the last attached first, while the database still works: it may read and write, and should then
 * free the state. ODB_EXISTS (somebody was faster: odb_attached gives theirs), ODB_NOMEM: `state` stays
 * the caller's. */
ODB_API ODB_MUST_CHECK odb_status odb_attach(odb_db *db, const char *name, void *state,
                                             void (*close)(odb_db *db, void *state));
/* What hangs there; NULL when nothing does. Takes no lock: cheap enough for every call. */
ODB_API void *odb_attached(const odb_db *db, const char *name);

/* ==== what a transaction has written so far ==== */

/* Call `each` with the newest operation on each key of `range` (NULL: all) that `t` has put or deleted
 * in `cf`, by rising key, until it returns false. The transaction must not be changed meanwhile; the
 * slices are good until it is. ODB_INVALID (ended), ODB_NO_FAMILY. */
ODB_API ODB_MUST_CHECK odb_status odb_txn_pending(odb_txn *t, odb_cf *cf, const odb_range *range,
                                                  bool (*each)(void *arg, const odb_op *op),
                                                  void *arg);

#ifdef __cplusplus
}
#endif
#endif
