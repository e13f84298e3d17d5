/* vector/hnsw.h -- a navigable graph over the rows of an arena (Malkov and Yashunin 2016).
 *
 * The graph only leads the way: who may see a node is asked where results are gathered, so one graph
 * serves every moment. Nothing here knows of files or commits.
 */
#ifndef ODB_VECTOR_HNSW_H
#define ODB_VECTOR_HNSW_H

#include "vector/arena.h"

/* A candidate of a walk. `slot` carries the flags below. */
struct vec_cand {
    float dist;
    uint32_t slot;
};

#define VEC_CAND_HIDDEN   0x80000000u /* walked through, not a result */
#define VEC_CAND_EXPANDED 0x40000000u
#define VEC_CAND_SLOT(c)  ((c)&0x3fffffffu)

#define VEC_LOST_MAX 128

/* What one walk needs, kept from walk to walk by one thread at a time. Zero-initialised is empty. */
struct vec_scratch {
    uint8_t *visited; /* by slot: `tag` when this walk has been there */
    uint32_t visited_len;
    uint8_t tag;
    struct vec_cand *pool; /* sorted by distance, then slot */
    size_t pool_len, pool_cap, pool_shown;
    struct vec_cand *pick; /* what inserts and repairs choose from */
    size_t pick_cap;
    void *query; /* room for one query */
    float *wide; /* room for one row as floats */
    size_t query_bytes, wide_bytes;
    uint32_t lost[VEC_LOST_MAX]; /* whom rows of level 0 have dropped during an insert */
    uint32_t lost_len;
    struct vec_scratch *next; /* in a list of idle ones */
    /* what the last walk cost */
    uint64_t distances, hops;
};

void vec_scratch_release(struct vec_scratch *s);
/* Bytes it holds. */
uint64_t vec_scratch_bytes(const struct vec_scratch *s);
/* Make room for walks over `a` as it is now with at most `ef` results, and for repairs among `picks`
 * candidates. ODB_NOMEM. */
ODB_MUST_CHECK odb_status vec_scratch_prepare(struct vec_scratch *s, const struct vec_arena *a,
                                              size_t ef, size_t picks);

/* Who counts as a result: NULL shown shows all. */
struct vec_view {
    bool (*shown)(void *arg, uint32_t slot);
    void *arg;
    size_t visit_max;  /* stop after so many distances; 0: no limit */
    uint64_t until_ns; /* stop at this time of `now`; 0: no limit */
    uint64_t (*now)(void *arg);
};

/* Walk from the entry point; afterwards s->pool[0..pool_len) holds what was found, nearest first,
 * hidden ones among it. At most `ef` shown. Returns false when a limit of the view ended the walk
 * early. The scratch must have been prepared for `ef`. Inside an epoch. */
bool vec_walk(const struct vec_arena *a, struct vec_scratch *s, const void *query, size_t ef,
              const struct vec_view *view);

/* Add to what the last walk found the slots it has not come by; as in a walk, no more than `ef` shown stay.
 */
void vec_walk_extra(const struct vec_arena *a, struct vec_scratch *s, const void *query,
                    const uint32_t *slots, size_t n, size_t ef, const struct vec_view *view);

/* ---- changing the graph: one thread, or several that only insert ---- */

/* Slots whose rows of links have changed since they were last stored. NULL where it is not asked. */
struct vec_dirty {
    uint32_t *slot;
    size_t len, cap;
    bool is_all; /* memory ran out: consider every row changed */
};

/* Empty and large: give the memory back. */
void vec_dirty_shrink(struct vec_dirty *dirty);

/* Link a slot whose code is complete. One thread alone leaves nobody behind whom no neighbour names; of
 * several, and of islands whose members name each other, vec_reconnect() takes care. The scratch must have been prepared for ef_construction. */
void vec_insert(struct vec_arena *a, struct vec_scratch *s, uint32_t slot, struct vec_dirty *dirty);

/* Whether a slot is to be taken out, or must not be linked to. */
static inline bool vec_bit(const uint64_t *bits, uint32_t slot)
{
    return bits[slot >> 6] >> (slot & 63) & 1;
}

/* Take every slot of `gone` out of the graph: rows that name one get the best of their own and its
 * neighbours instead, and the entry point moves first. `gone` and `linked` (who stands in the graph)
 * have slot_count bits. One thread; readers go on. */
void vec_remove(struct vec_arena *a, struct vec_scratch *s, const uint64_t *gone,
                const uint64_t *linked, uint32_t slot_count, struct vec_dirty *dirty);

/* Mark in `found` every slot that can be reached from the entry point on level 0; `stack` has room for
 * slot_count slots. Returns how many. Inside an epoch or the only writer. */
uint32_t vec_reach(const struct vec_arena *a, uint64_t *found, uint32_t *stack,
                   uint32_t slot_count);
/* Link every slot of `linked` that cannot be reached so that it can. Returns how many there were.
 * `found` and `stack` as for vec_reach. One thread. */
uint32_t vec_reconnect(struct vec_arena *a, struct vec_scratch *s, const uint64_t *linked,
                       uint64_t *found, uint32_t *stack, uint32_t slot_count,
                       struct vec_dirty *dirty);

#endif
