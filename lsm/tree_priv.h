/* lsm/tree_priv.h -- the inside of a tree, for the files of lsm/ and their tests.
 *
 *     tree.c      life, publishing views, switching memtables        edit lock, view lock
 *     work.c      flush and merges as background jobs                 sched lock
 *     pressure.c  how long a write should wait                        atomics
 *     get.c iter.c  reading                                           nothing: the epoch
 *
 * Lock order: sched (20) < edit (25) < the manifest's (30) < view (60). docs/locks.md
 */
#ifndef ODB_LSM_TREE_PRIV_H
#define ODB_LSM_TREE_PRIV_H

#include "compaction/compact.h"
#include "lsm/version.h"

#define LSM_MERGES 3 /* merges of one tree at the same time */

/* What back-pressure is computed from. All relaxed. */
struct lsm_pressure {
    _Atomic uint64_t
        flush_ps_per_byte; /* picoseconds a byte of memtable takes to flush; smoothed */
    _Atomic uint64_t merge_ps_per_byte; /* likewise for merges, per byte of level 0 */
    _Atomic uint64_t owed_ns;           /* delay added up but not yet slept */
    _Atomic uint64_t slept_ns;          /* statistics */
    _Atomic uint64_t stops;
    _Atomic uint32_t waiting; /* immutable memtables */
    _Atomic uint32_t l0_files;
};

#define LSM_GAPS 16 /* stretches without live keys that are remembered: gaps.c */

struct lsm_gap;
struct lsm_gaps {
    struct os_mutex lock;                     /* RANK_GAPS: who changes the slots */
    atomic_uint count;                        /* slots in use; seq_cst, see gaps.c (3) */
    atomic_uint version;                      /* of the slots; seq_cst */
    _Atomic(struct lsm_gap *) slot[LSM_GAPS]; /* changed under the lock; release/acquire */
    unsigned hand ODB_GUARDED(lock);
};

#define LSM_IDLE_ITERS    8                   /* kept for the next, by stripes of threads */
#define LSM_IDLE_ITER_MAX ((size_t)128 << 10) /* bytes; larger ones go back to the heap */

struct lsm_merge_job {
    struct exec_job job; /* first */
    struct lsm_tree *tree;
    bool is_queued; /* under sched */
};

struct lsm_counts { /* all relaxed: statistics */
    _Atomic uint64_t flushes, flush_bytes, flush_entries, flush_ns;
    _Atomic uint64_t merges, merge_bytes_in, merge_bytes_out, merge_entries, merge_ns, moves;
};

struct lsm_tree {
    const struct lsm_env *env; /* fixed */
    uint32_t family;           /* fixed */
    char *name;                /* fixed */
    struct lsm_options opt;    /* fixed */

    _Atomic(struct lsm_view *) view; /* the published one; release, after everything in it */
    _Atomic size_t full_at;          /* memtable bytes at which the active one is full; relaxed */

    struct os_mutex edit_lock; /* RANK_EDIT: one change of the version at a time */
    struct os_mutex view_lock; /* RANK_TREE: who publishes a view, and the spares */
    struct lsm_memtable fresh ODB_GUARDED(view_lock);   /* the next active memtable, or none */
    struct lsm_view *spare ODB_GUARDED(view_lock);      /* the view that lsm_switch fills in */
    struct lsm_version *version ODB_GUARDED(view_lock); /* recovery: before the first view */

    struct os_mutex sched_lock; /* RANK_SCHED */
    struct os_cond sched_wake;  /* something finished: a flush, a merge, a garbage run */
    bool is_started ODB_GUARDED(sched_lock);
    bool is_stopping ODB_GUARDED(sched_lock); /* no work begins any more */
    bool flush_queued ODB_GUARDED(sched_lock);
    bool clean_queued ODB_GUARDED(sched_lock);
    unsigned manual ODB_GUARDED(sched_lock); /* manual compactions under way: no automatic picks */
    odb_status failed
        ODB_GUARDED(sched_lock); /* what stopped background work; ODB_NOSPACE may heal */
    char failed_text[ERR_TEXT_MAX] ODB_GUARDED(sched_lock);
    struct exec_job kick_job; /* a switch asks for a flush; it may not take sched_lock itself */
    _Atomic bool kick_queued;
    struct exec_job flush_job;
    struct exec_job clean_job;
    struct lsm_merge_job merge_job[LSM_MERGES];
    struct os_mutex garbage_lock; /* RANK_GARBAGE: dropping the last reference may hold any other */
    struct lsm_file *garbage ODB_GUARDED(garbage_lock); /* files to remove from the disk */
    _Atomic bool has_garbage;                           /* relaxed: a hint */
    struct os_mutex compact_lock; /* RANK_COMPACT: one manual compaction at a time */
    _Atomic bool cancel;          /* running merges stop at their next look; relaxed */

    _Atomic(struct lsm_iter *) idle_iter[LSM_IDLE_ITERS]; /* memory for the next ones: iter.c */

    struct lsm_gaps gaps;

    struct lsm_pressure pressure;
    struct lsm_counts count;
};

/* ---- tree.c ---- */
/* The published view with a reference of its own; NULL never. */
struct lsm_view *tree_view_ref(struct lsm_tree *t);
/* Its version alone, likewise: for those who work long, as a view keeps its memtables, too. */
struct lsm_version *tree_version_ref(struct lsm_tree *t);
/* A planned change: everything that can fail is done before the manifest is touched. */
struct tree_change {
    struct lsm_tree *tree;
    struct lsm_version *next; /* NULL: keep the version */
    struct lsm_view *view;    /* to be filled and published */
    struct memtable *flushed; /* leaves the list of immutable memtables; may be NULL */
};
/* Under edit_lock. Plan the version that follows from the present one. */
ODB_MUST_CHECK odb_status tree_plan(struct lsm_tree *t, const struct version_add *add,
                                    uint32_t add_count, const struct lsm_edit_remove *remove,
                                    uint32_t remove_count, struct memtable *flushed,
                                    struct tree_change *out);
/* lsm_env.log_edit's apply: publish a planned change. Cannot fail. */
void tree_apply(void *change);
void tree_change_discard(struct tree_change *c);
/* Recovery: the same, and `fresh` (taken over) becomes the active memtable, beginning at `lsn`. */
void tree_apply_with(struct tree_change *c, struct memtable *fresh, uint64_t lsn);
/* After a drop: readers from now on see an empty tree, so that its tables can go. False when memory
 * ran out; the tables then go with the tree. */
bool tree_publish_empty(struct lsm_tree *t);

/* ---- work.c ---- */
void tree_add_garbage(struct lsm_tree *t, struct lsm_file *f);
void file_free(struct lsm_file *f);
void tree_init_jobs(struct lsm_tree *t);
/* Have tree_schedule called soon; any thread, under any lock but the executor's. */
void tree_kick(struct lsm_tree *t);
/* Submit what is needed: a flush, merges, clean-up. Under sched_lock. */
void tree_schedule(struct lsm_tree *t) ODB_REQUIRES(t->sched_lock);
void tree_remove_garbage(struct lsm_tree *t);
/* Fill a picker's view of `v`; the arrays are freed with tree_pick_view_release. Under sched_lock,
 * for the busy marks. */
ODB_MUST_CHECK odb_status tree_pick_view(struct lsm_tree *t, const struct lsm_version *v,
                                         struct pick_view *out);
void tree_pick_view_release(struct pick_view *v);

odb_status tree_merge_range(struct lsm_tree *t, uint32_t level, odb_slice begin, odb_slice end,
                            bool *found, uint64_t *bytes);
odb_status tree_rewrite_deletes(struct lsm_tree *t, uint32_t level, odb_slice begin, odb_slice end,
                                uint64_t before, bool *found, uint64_t *bytes);

/* ---- gaps.c ---- */
void gaps_init(struct lsm_gaps *s);
void gaps_destroy(struct lsm_gaps *s);
/* Whether `key` lies where a reader at `seq` finds nothing: then where that stretch ends (the first key
 * behind it) or, is_backward, begins (its first key) is in `out`. */
bool gaps_leap(struct lsm_tree *t, odb_slice key, uint64_t seq, bool is_backward, struct buf *out);
/* A walk at `seq` over `v` has seen every entry from key `from` to just before `to`: nothing lives, and
 * no put is newer than `seq`. `counted` is what gaps_count_entries told before the walk began. No lock
 * of RANK_GAPS or above. */
void gaps_learn(struct lsm_tree *t, const struct lsm_view *v, uint64_t seq, uint64_t counted,
                odb_slice from, odb_slice to);
uint64_t gaps_count_entries(const struct lsm_view *v);

/* ---- iter.c ---- */
void tree_free_idle_iters(struct lsm_tree *t);

/* ---- pressure.c ---- */
void pressure_note_flush(struct lsm_tree *t, uint64_t bytes, uint64_t ns);
void pressure_note_merge(struct lsm_tree *t, uint64_t bytes, uint64_t ns);

/* ---- job: a merge or flush over given inputs (merge.c) ---- */
struct tree_merge {
    struct lsm_tree *tree;
    const struct lsm_version
        *version; /* what lies below is asked of it; referenced by the caller */
    struct lsm_file **upper;
    uint32_t upper_count;
    struct lsm_file **lower;
    uint32_t lower_count;
    uint32_t from;
    uint32_t to;
    struct memtable *memtable; /* a flush: the one input; upper and lower are empty */
    bool is_urgent;            /* a flush somebody waits for (recovery): split it too */
    const uint64_t *snapshots;
    uint32_t snapshot_count;
};
/* Run it, split over several workers where that pays. `out` as from compact_run. */
ODB_MUST_CHECK odb_status tree_merge_run(const struct tree_merge *m, struct compact_result *out);
/* Remove what it wrote from the disk, as nobody will name it. */
void tree_remove_outputs(struct lsm_tree *t, const struct compact_result *r);

#endif
