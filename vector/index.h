/* vector/index.h -- the index of one database, as the files of this folder share it.
 *
 *      commit --observer--> slot visible, pending         index.c
 *      pending --writer--> graph --flush--> vector_index  apply.c
 *      searches: graph, then what is pending              search.c
 *
 * 1. `pending` holds every committed slot that is not in the graph. A search copies it first and walks
 *    afterwards, so that a slot on its way from one to the other is met.
 * 2. The arena is trusted while `is_stale` is false. A search enters the epoch, then looks; whoever
 *    takes the arena down sets the flag, then waits for the epoch to pass.
 * 3. Moments below `floor` are not answered from memory: what only they could see may be gone. Who was in the
 *    epoch before the floor rose looks at all codes, as the slots still are what they were; or once more
 *    at a later moment, where none was asked for.
 * 4. A slot is free again only when the removal of its rows and markers is committed and every reader
 *    of the time has left.
 * 5. A slot that is reserved stays so over a load: a transaction under way may have written its number.
 *    It has a name and has not begun.
 *
 * Locks: open_lock (loading, configuration) before write_lock (the graph, what is stored of it)
 * before slot_lock (slots, pending, idle scratches). The observer takes slot_lock alone.
 */
#ifndef ODB_VECTOR_INDEX_H
#define ODB_VECTOR_INDEX_H

#include "api/odb_batch.h"
#include "api/odb_hooks.h"
#include "api/odb_iter.h"
#include "api/odb_stats.h"
#include "base/epoch.h"
#include "os/os.h"
#include "vector/hnsw.h"
#include "vector/rows.h"

enum vec_state { VEC_UNOPENED = 0, VEC_EMPTY = 1, VEC_READY = 2 };

struct vec_list {
    uint32_t *slot;
    size_t len, cap;
};

/* At that time of the clock the newest commit was this, and so many were dead. ns 0: never. */
struct vec_past {
    uint64_t ns, sequence, dead;
};

struct vec_index {
    odb_db *db;
    odb_cf *data, *graph, *meta; /* families; fixed once opened, and so their numbers */
    uint32_t data_no;
    struct os *os;
    struct os_mutex open_lock;
    atomic_int state;        /* enum vec_state; release */
    odb_vec_config config;   /* under open_lock until VEC_READY, then fixed but for rebuilds,
                                which hold write_lock, too: form, m, seed, the two efs */
    bool has_observer;       /* under open_lock */
    atomic_bool is_readonly; /* relaxed */
    atomic_bool is_stale;    /* seq_cst, (2) */
    struct vec_arena a;      /* (2) */
    struct epoch epoch;
    _Atomic uint64_t floor;      /* seq_cst, (3) */
    _Atomic uint64_t newest;     /* the latest begin of all linked nodes; release */
    _Atomic uint32_t ef_search;  /* that of config for who has no lock; relaxed */
    _Atomic uint64_t live, dead; /* vectors now; ended nodes in the graph: relaxed */

    struct os_mutex slot_lock;
    struct os_cond changed;  /* with slot_lock: pending grew or shrank, or the end is near */
    struct os_cond loaded;   /* with slot_lock: it is, or that has failed */
    struct vec_list free;    /* under slot_lock */
    uint64_t freed;          /* by then all that is stored of them was gone; under slot_lock */
    struct vec_list pending; /* under slot_lock: from pending_head on */
    size_t pending_head;
    size_t reserved; /* slots handed out and not committed; under slot_lock */
    uint32_t *map;   /* slots of the living by id; under slot_lock */
    uint8_t *map_tag;
    size_t map_cap, map_len, map_used; /* places; taken; taken or left */
    atomic_size_t pending_count;       /* relaxed */
    _Atomic uint64_t calm;             /* writes since somebody searched the graph; relaxed */
    atomic_int bulks;         /* bulk loads under way: what they add is linked at their end */
    atomic_int form;          /* a.space.form, for those outside the epoch */
    bool is_loading, missed;  /* under slot_lock: the observer only notes that it was called */
    odb_status load_failed;   /* under slot_lock: why it is still loading, for good */
    uint64_t told;            /* under slot_lock: the newest commit of vectors the observer knows */
    bool is_stopping;         /* under slot_lock */
    bool is_idle;             /* under slot_lock: the thread waits for the next commit */
    struct vec_scratch *idle; /* under slot_lock */
    struct os_thread *thread; /* the owner of the handle */

    struct os_mutex write_lock;
    struct vec_scratch writer; /* the rest under write_lock */
    struct buf held;           /* while it is loaded: who has which slot reserved, (5) */
    uint64_t *linked;          /* a bit for each slot in the graph */
    size_t linked_words;
    struct vec_dirty dirty;
    struct vec_list done;  /* linked since the last flush: their markers go */
    struct vec_list gone;  /* taken out since the last flush: rows and markers go, slots follow */
    uint64_t unmended;     /* inserts since everything was last known to be reachable */
    uint64_t dead_outside; /* dead that the last removal found not linked yet */
    struct vec_past recent, past; /* looks at the clock since then, `past` the earlier one */
    odb_status failed;            /* of the last flush */
    uint64_t last_flush_ns;

    _Atomic uint64_t searches, distances, inserts, flushes, rebuilds, compactions, damaged;
};

/* ---- index.c ---- */

/* The index of a database, loaded. ODB_OK with state VEC_EMPTY: there is no vector and no dimension. */
ODB_MUST_CHECK odb_status vec_index_of(odb_db *db, struct vec_index **out);
/* Fix dimension and what else is not said yet, and store it. */
ODB_MUST_CHECK odb_status vec_index_begin(struct vec_index *ix, uint32_t dim);
/* Load from the stored rows; `anew` builds the graph from nothing. Under open_lock and write_lock. */
ODB_MUST_CHECK odb_status vec_load(struct vec_index *ix, bool anew);

/* Under slot_lock, which it lets go of meanwhile: wait for whoever loads the index. False: that failed. Not
 * with open_lock or write_lock, nor in the epoch: the loader waits for those. */
bool vec_loaded_wait(struct vec_index *ix) ODB_REQUIRES(ix->slot_lock);
/* Why it failed, as an error. */
ODB_MUST_CHECK odb_status vec_load_error(const struct vec_index *ix) ODB_REQUIRES(ix->slot_lock);
/* Whether somebody has this slot who has not committed. Under slot_lock, with an arena. */
bool vec_slot_reserved(const struct vec_index *ix, uint32_t slot);
/* A slot for a vector of this id, with memory for its code, for somebody who reads at `moment`. Waits while the
 * index is loaded, and fails when that does. */
ODB_MUST_CHECK odb_status vec_slot_take(struct vec_index *ix, odb_slice id, uint64_t moment,
                                        uint32_t *out);
/* Give back a slot that was not committed and never will be. Waits while the index is loaded. */
void vec_slot_return(struct vec_index *ix, uint32_t slot);
ODB_MUST_CHECK odb_status vec_list_add(struct vec_list *list, uint32_t slot);
ODB_MUST_CHECK odb_status vec_list_reserve(struct vec_list *list, size_t count);

void vec_list_shrink(struct vec_list *list, size_t keep);

/* The table of ids, under slot_lock. Room for `count`; have a slot stand for its id, take out the slot of
 * an id. Both return what stood for it before, VEC_NONE when nothing did. */
ODB_MUST_CHECK odb_status vec_map_reserve(struct vec_index *ix, size_t count);
uint32_t vec_map_put(struct vec_index *ix, uint32_t slot);
uint32_t vec_map_take(struct vec_index *ix, odb_slice id);

/* All memory of it, in bytes. Under write_lock and slot_lock. */
uint64_t vec_index_bytes(const struct vec_index *ix);

/* By how much a vector of length `norm` is multiplied before it is encoded. */
static inline float vec_factor_of(enum vec_metric metric, float norm)
{
    return metric == VEC_COSINE && norm > 0 ? 1.0f / norm : 1.0f;
}

static inline float vec_factor(const struct vec_index *ix, float norm)
{
    return vec_factor_of(ix->a.space.metric, norm);
}

/* A scratch nobody uses, prepared as vec_scratch_prepare() does; give it back. */
ODB_MUST_CHECK odb_status vec_scratch_take(struct vec_index *ix, size_t ef,
                                           struct vec_scratch **out);
void vec_scratch_return(struct vec_index *ix, struct vec_scratch *s);

/* Called by every public call: ODB_INVALID for a bad id. */
ODB_MUST_CHECK odb_status vec_check_id(odb_slice id);
/* May take open_lock. */
ODB_MUST_CHECK odb_status vec_check_vector(struct vec_index *ix, const float *x, uint32_t dim,
                                           float *norm);

ODB_MUST_CHECK odb_status vec_check_config(const odb_vec_config *c);
ODB_MUST_CHECK odb_status vec_store_config(struct vec_index *ix);

/* ---- distance.c ---- */

/* odb_distance() for those who compute many: choosing the kernel is no small part of one. */
float vec_distance_by(const struct vec_kernel *k, const float *a, const float *b, uint32_t dim,
                      odb_metric metric);

/* ---- choose.c ---- */

/* The form to search in: as configured, or what suits. Under open_lock. */
ODB_MUST_CHECK odb_status vec_form_choose(struct vec_index *ix, odb_at at,
                                          const struct vec_kernel *kernel, enum vec_form *out);

/* ---- write.c ---- */

/* The writes of one vector, into a transaction that may hold others. `*slot` is VEC_NONE, or what an
 * earlier try got. Waits while the index is loaded. */
ODB_MUST_CHECK odb_status vec_put_in(struct vec_index *ix, odb_txn *t, odb_slice id, const float *x,
                                     uint32_t dim, float norm, uint32_t *slot);

/* The slots of a step that is tried again in a transaction of its own. Every try puts the same ids in the same
 * order, from `next` 0 on, and gets what the tries before it got. Zero-initialised is empty. */
struct vec_kept {
    struct vec_list slots;
    size_t next;
};

/* odb_vec_put() in such a transaction. */
ODB_MUST_CHECK odb_status vec_put_kept(odb_db *db, odb_txn *txn, odb_slice id, const float *vector,
                                       uint32_t dim, struct vec_kept *kept);
/* `st` has become of the step: slots that no commit has or will name are free again. */
void vec_kept_end(odb_db *db, struct vec_kept *kept, odb_status st);

/* ---- load.c ---- */

ODB_MUST_CHECK odb_status vec_load_rows(struct vec_index *ix, odb_at at, bool anew);

/* ---- apply.c: all under write_lock ---- */

/* Link up to `max` pending slots. Returns how many. */
size_t vec_apply(struct vec_index *ix, size_t max);
/* Link all that is pending now with several threads; ODB_CANCELLED: progress said so. */
ODB_MUST_CHECK odb_status vec_apply_all(struct vec_index *ix, uint32_t threads,
                                        odb_progress *progress, void *arg);
/* Whatever no way leads to in the graph is linked once more. */
ODB_MUST_CHECK odb_status vec_mend(struct vec_index *ix);
/* Store what changed. */
ODB_MUST_CHECK odb_status vec_flush(struct vec_index *ix);
/* Take out what had ended by `moment`, in which no moment before that can be seen in the graph any more. */
ODB_MUST_CHECK odb_status vec_consolidate(struct vec_index *ix, uint64_t moment);
/* Room for a bit of every slot. */
ODB_MUST_CHECK odb_status vec_linked_grow(struct vec_index *ix);

/* The background thread, and starting it where the mode asks for one; where there can be none, writers help
 * when much is pending. */
ODB_MUST_CHECK odb_status vec_indexer_start(struct vec_index *ix);
void vec_indexer_stop(struct vec_index *ix);
/* After a write: what the mode asks of the writer. */
void vec_after_write(struct vec_index *ix);
/* Before a write: help when too much is pending. */
void vec_before_write(struct vec_index *ix);

#endif
