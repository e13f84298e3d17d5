/* cf/history.h -- what was written of late: the keys of recent commits, in a ring.
 *
 * A transaction that commits asks it whether any key it depends on was written since it began, and
 * needs neither lock nor table for the answer. cf/history.c tells how the ring lies.
 */
#ifndef ODB_CF_HISTORY_H
#define ODB_CF_HISTORY_H

#include <stdatomic.h>

#include "cf/batch.h"
#include "cf/claims.h"

#define HISTORY_WORDS ((size_t)1 << 17) /* 8 bytes each; the keys of about 30,000 writes */

struct history {
    _Atomic uint64_t *word; /* HISTORY_WORDS; NULL until the first transaction; fixed then */
    _Atomic uint64_t head;  /* position behind the newest record; release, under the commit lock */
    _Atomic uint64_t low;   /* what lies below is gone or going; release, likewise */
    _Atomic bool is_on;     /* commits are recorded; changed under the commit lock */
    _Atomic uint32_t users; /* transactions and holds that need it to be on */
    uint64_t begin;         /* position where recording began; changed while there are no users */
    uint64_t first_seq;     /* every operation from this number on is recorded; likewise */
    uint64_t idle;          /* operations recorded for nobody; commit lock */
};

/* The keys of one batch as words, ready to be copied into the ring. */
#define FOOTPRINT_FEW 128
struct footprint {
    uint64_t *word;
    size_t len, cap;
    bool is_made;
    uint64_t few[FOOTPRINT_FEW];
};

static inline void footprint_init(struct footprint *f)
{
    f->word = f->few;
    f->len = 0;
    f->cap = FOOTPRINT_FEW;
    f->is_made = false;
}
void footprint_release(struct footprint *f);
/* Of the operations in `ops`, which are well formed. Once. ODB_NOMEM: it is empty. */
ODB_MUST_CHECK odb_status footprint_make(struct footprint *f, odb_slice ops);

/* A walk over the operations of a footprint. */
struct footprint_op {
    uint64_t hash; /* claims_hash */
    uint32_t family;
    bool is_cut; /* `key` is only the beginning */
    odb_slice key;
};
/* *at begins at 0. False at the end. */
bool footprint_next(const struct footprint *f, size_t *at, struct footprint_op *out);

void history_release(struct history *h);
/* From now on somebody needs it. True: it has to be switched on first, under the commit lock. */
bool history_enter(struct history *h);
void history_leave(struct history *h);
/* Before the commit lock is taken for history_start. ODB_NOMEM. */
ODB_MUST_CHECK odb_status history_prepare(_Atomic uint64_t **spare);
/* Under the commit lock: record everything from `next_seq` on. Takes *spare if it needs it. */
void history_start(struct history *h, uint64_t next_seq, _Atomic uint64_t **spare);

static inline bool history_is_on(const struct history *h)
{
    return atomic_load_explicit(&h->is_on, memory_order_relaxed);
}
/* Under the commit lock: a commit of `ops` operations, the first of which has that number. */
void history_record(struct history *h, uint64_t first_seq, uint32_t ops, const struct footprint *f);

enum history_answer {
    HISTORY_CLEAR, /* nothing above *seen that is recorded touches the claims; *seen has moved on */
    HISTORY_HIT,   /* something does; *family tells where */
    HISTORY_LOST   /* what followed *seen is no longer there */
};
/* Any thread that has entered; takes no lock. */
enum history_answer history_look(const struct history *h, const struct claims *c, uint64_t *seen,
                                 uint32_t *family);

#endif
