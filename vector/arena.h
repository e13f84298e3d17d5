/* vector/arena.h -- where the vectors of an index and the links between them live in memory.
 *
 *     slot (node id)      0        1        2        3     ...
 *     codes  [chunks]   | row    | row    | row    | row  |      what distances are computed from
 *     links  [chunks]   | n,ids  | n,ids  | n,ids  | n,ids|      level 0: 2M words, two cache lines for M 16
 *     nodes  [chunks]   | begin,end,id,upper | ...               who may see it, what it is called
 *     upper  [pool]       rows of 1+M words for the one node in M that stands on level 1 and above
 *
 * Chunks are reached through tables of pointers that never move: no search ever meets a copy under
 * way, and there is no capacity to be chosen. The level of a slot follows from its number, so a slot
 * that is used again finds its upper rows in place.
 *
 * 1. A node is seen at moment S when begin <= S and not end <= S; begin is VEC_NEVER while a slot is
 *    free or reserved.
 * 2. A row of links holds slots whose codes are complete: ids are stored with release and loaded
 *    with acquire. A reader that meets a row being rewritten sees some old and some new ids.
 * 3. A slot is used again only when no row names it and every reader of the time has left.
 *
 * Threads: slots are reserved under the index's reserve lock; codes are written by whoever reserved
 * the slot, before begin is set; links by graph writers under the row's lock; all is read freely.
 */
#ifndef ODB_VECTOR_ARENA_H
#define ODB_VECTOR_ARENA_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/status.h"
#include "os/os_thread.h"
#include "vector/kernel.h"

#define VEC_NONE      UINT32_MAX
#define VEC_NEVER     UINT64_MAX
#define VEC_SLOTS_MAX ((uint32_t)1 << 30)
#define VEC_LEVEL_MAX 15
#define VEC_M_MIN     4
#define VEC_M_MAX     64
#define VEC_NODE_BITS 14 /* slots of a chunk of links and nodes */
#define VEC_ROW_LOCKS 256

enum vec_metric { VEC_L2 = 0, VEC_COSINE = 1, VEC_DOT = 2 };

/* What makes a space: fixed once there is a vector. */
struct vec_space {
    uint32_t dim;
    enum vec_metric metric;
    enum vec_form form;
    uint32_t m;               /* links of a node on level 1 and above; 2m - 1 on level 0 */
    uint32_t ef_construction; /* candidates an insert looks at */
    uint64_t seed;            /* of the levels */
};

/* The name of a node: what vector_data calls it. Never changes while it hangs on a node. */
struct vec_id {
    uint16_t len;
    uint8_t bytes[];
};

/* Structs round the atomics: pointers to them convert as other pointers do. */
typedef struct vec_link {
    _Atomic uint32_t v;
} vec_link;

struct vec_chunk {
    _Atomic(void *) p; /* release once it is filled in */
};

struct vec_node {
    _Atomic uint64_t begin;      /* release */
    _Atomic uint64_t end;        /* 0: lives; release */
    _Atomic(struct vec_id *) id; /* owned; stored before begin */
    _Atomic(vec_link *) upper;   /* level rows of 1 + m words; NULL on level 0 */
};

struct vec_arena {
    struct vec_space space; /* fixed */
    const struct vec_kernel *kernel;
    vec_dist_fn *dist;                       /* of the kernel, by metric and form */
    size_t stride;                           /* bytes from row to row */
    unsigned code_bits;                      /* slots of a chunk of codes */
    uint32_t slots_max;                      /* fixed */
    struct vec_chunk *codes, *links, *nodes; /* tables of pointers, NULL where there is no chunk */
    struct arena pool;                       /* upper rows; under the reserve lock of the index */
    _Atomic uint32_t slot_count;             /* slots ever handed out; release */
    _Atomic uint64_t entry;                  /* level << 32 | slot; VEC_NEVER: empty graph */
    struct os_mutex *row_lock;               /* VEC_ROW_LOCKS of them, RANK_VEC_ROW: rows by slot */
    uint64_t footprint;                      /* bytes of chunks; under the reserve lock */
};

/* On ODB_OK release with vec_arena_release(). ODB_NOMEM. */
ODB_MUST_CHECK odb_status vec_arena_init(struct vec_arena *a, const struct vec_space *space,
                                         const struct vec_kernel *kernel);
/* Zeroed or half made is fine. Frees the ids too. */
void vec_arena_release(struct vec_arena *a);

/* Make memory for slots up to and including `slot`, and its upper rows. Under the reserve lock.
 * ODB_NOMEM, ODB_LIMIT. */
ODB_MUST_CHECK odb_status vec_arena_grow(struct vec_arena *a, uint32_t slot);
/* Bytes in use. Under the reserve lock. */
uint64_t vec_arena_bytes(const struct vec_arena *a);
/* Bytes an index of `count` vectors of this space will need, names of `id_len` bytes included. */
uint64_t vec_arena_estimate(const struct vec_space *space, uint64_t count, size_t id_len);

/* A copy of a name; NULL when memory ran out. */
struct vec_id *vec_id_new(odb_slice id);

unsigned vec_level_of(const struct vec_space *space, uint32_t slot);

static inline void *vec_row(const struct vec_arena *a, uint32_t slot)
{
    uint8_t *chunk = atomic_load_explicit(&a->codes[slot >> a->code_bits].p, memory_order_acquire);

    return chunk + (slot & (((uint32_t)1 << a->code_bits) - 1)) * a->stride;
}

static inline struct vec_node *vec_node(const struct vec_arena *a, uint32_t slot)
{
    struct vec_node *chunk =
        atomic_load_explicit(&a->nodes[slot >> VEC_NODE_BITS].p, memory_order_acquire);

    return chunk + (slot & (((uint32_t)1 << VEC_NODE_BITS) - 1));
}

/* Whether there is memory for this number, which may be anybody's word. */
static inline bool vec_slot_exists(const struct vec_arena *a, uint32_t slot)
{
    return slot < atomic_load_explicit(&a->slot_count, memory_order_acquire) &&
           atomic_load_explicit(&a->nodes[slot >> VEC_NODE_BITS].p, memory_order_acquire) &&
           atomic_load_explicit(&a->codes[slot >> a->code_bits].p, memory_order_acquire);
}

static inline uint32_t vec_links_max(const struct vec_arena *a, unsigned level)
{
    return level ? a->space.m : 2 * a->space.m - 1;
}

/* The row of links of a slot on a level it stands on: a head, then ids. */
static inline vec_link *vec_links(const struct vec_arena *a, uint32_t slot, unsigned level)
{
    if (ODB_LIKELY(level == 0)) {
        vec_link *chunk =
            atomic_load_explicit(&a->links[slot >> VEC_NODE_BITS].p, memory_order_acquire);

        return chunk + (slot & (((uint32_t)1 << VEC_NODE_BITS) - 1)) * 2 * (size_t)a->space.m;
    }
    return atomic_load_explicit(&vec_node(a, slot)->upper, memory_order_acquire) +
           (level - 1) * (size_t)(1 + a->space.m);
}

/* The head of a row of links: how many ids follow, how many of the first ones are known to be
 * diverse and sorted, and whether the row differs from what is stored. */
#define VEC_HEAD_COUNT(head)     ((head)&0x3ff)
#define VEC_HEAD_DIVERSE(head)   ((head) >> 10 & 0x3ff)
#define VEC_HEAD_DIRTY           0x80000000u
#define VEC_HEAD(count, diverse) ((uint32_t)(count) | (uint32_t)(diverse) << 10)

static inline struct os_mutex *vec_row_lock(const struct vec_arena *a, uint32_t slot)
{
    return &a->row_lock[slot % VEC_ROW_LOCKS];
}

static inline bool vec_node_visible(const struct vec_node *n, uint64_t moment)
{
    uint64_t end = atomic_load_explicit(&n->end, memory_order_acquire);

    return atomic_load_explicit(&n->begin, memory_order_acquire) <= moment &&
           (end == 0 || end > moment);
}

/* out[i] = how far slots[i] is from `q`, smaller is nearer: squared for L2, 1 - cosine, or minus the
 * product. Asks for rows ahead. */
void vec_distances(const struct vec_arena *a, const void *q, const uint32_t *slots, size_t n,
                   float *out);
/* From what the kernel gave to what it means. */
static inline float vec_distance_of(const struct vec_arena *a, float raw)
{
    return a->space.metric == VEC_L2 ? raw : a->space.metric == VEC_COSINE ? 1.0f - raw : -raw;
}

#endif
