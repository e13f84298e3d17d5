/* api/txn_priv.h -- the inside of a transaction, for txn.c, txn_iter.c and prepared.c. */
#ifndef ODB_API_TXN_PRIV_H
#define ODB_API_TXN_PRIV_H

#include "api/db_priv.h"
#include "api/locks.h"
#include "api/txn_set.h"

enum txn_state { TXN_ENDED, TXN_ACTIVE, TXN_PREPARED };

struct txn_save {
    uint32_t writes; /* entries */
    uint32_t ops;    /* operations of the batch */
    size_t bytes;    /* of the batch */
};

struct txn_iter;
struct prepared;

struct odb_txn {
    odb_db *db;
    odb_txn *next_spare;
    enum txn_state state;
    odb_isolation isolation;
    bool is_pessimistic;
    bool is_floating;  /* it has read nothing but what it has locked: its moment may move on */
    bool has_locker;   /* `locker` is initialised */
    odb_status failed; /* what a call without a status met; the commit tells */
    uint64_t wait_ns;  /* for one lock */
    size_t max_bytes;
    void *moment;       /* the backend's; paused unless TXN_ACTIVE; NULL: never begun */
    odb_snapshot *asof; /* read there instead; counted; NULL: at the moment */
    uint64_t since;     /* the number of what is read */
    struct odb_batch batch;
    struct txn_set writes; /* into the batch's bytes */
    struct buf claimed;
    struct txn_set keys;   /* keys the commit depends on; into `claimed` */
    struct txn_set ranges; /* likewise, by lower bound; may overlap */
    struct txn_save *save;
    uint32_t save_count, save_cap;
    struct txn_iter *iters; /* those that tell where they have been */
    odb_claim *claim;       /* what txn_guard makes, for reuse */
    size_t claim_cap;
    struct locker locker;
    struct prepared *prepared; /* TXN_PREPARED */
};

/* ---- txn.c ---- */

/* A handle, not begun: from the spare ones, or new. ODB_NOMEM. */
ODB_MUST_CHECK odb_status txn_handle_take(odb_db *db, odb_txn **out);
/* ODB_INVALID unless the transaction is active. */
ODB_MUST_CHECK odb_status txn_check(const odb_txn *t);
/* Locks, moment, writes and claims go; the memory stays. */
void txn_end(odb_txn *t);
/* What the commit depends on. With `with_writes` the keys it writes are among the claims (else the
 * batch names them). Good until the transaction changes. ODB_NOMEM. */
ODB_MUST_CHECK odb_status txn_guard(odb_txn *t, bool with_writes, odb_guard *out);
/* Take over a batch that was written down: index it. The bytes are checked. */
ODB_MUST_CHECK odb_status txn_adopt(odb_txn *t, odb_slice ops);
/* From now on the commit depends on nobody writing to [lower, upper) since the transaction's moment. */
ODB_MUST_CHECK odb_status txn_claim_range(odb_txn *t, const odb_cf *cf, odb_slice lower,
                                          odb_slice upper, bool is_exclusive);

/* ---- txn_iter.c ---- */

/* What the iterators have walked becomes part of what `t` depends on. */
void txn_iters_tell(odb_txn *t);
/* They no longer belong to it. */
void txn_iters_let_go(odb_txn *t);

/* ---- prepared.c ---- */

/* A row, taken apart: its slices lie in the row, `claim` is the caller's to free. */
struct prepared_row {
    odb_claim *claim; /* keys it depends on, keys it writes, ranges it depends on */
    size_t count;
    size_t reads, keys; /* those it writes are [reads, keys) */
    odb_slice ops;
};
/* Trusts nothing. ODB_CORRUPT, ODB_NOMEM. */
ODB_MUST_CHECK odb_status prepared_decode(odb_slice row, struct prepared_row *out);

ODB_MUST_CHECK odb_status prepared_commit(odb_txn *t, const odb_write *how);
ODB_MUST_CHECK odb_status prepared_rollback(odb_txn *t);
/* Its handle goes, it stays. */
void prepared_leave(odb_txn *t);

#endif
