/* vector/arena.h -- where the vectors of an index and the links between them live in memory.
 *
 *     slot (node id)      0        1        2        3     ...
 *     codes  [chunks]   | row    | row    | row    | row  |      what distances are computed from
 *     links  [chunks]   | n,ids  | n,ids  | n,ids  | n,ids|      level 0: 2M words, two cache lines for M 16
 *     begun  [chunks]   | begin| begin| begin| begin|     who may see it, from its first moment
 *     ends   [chunks]   |      | end  |      |      |     to the last, for the few that have ended
 *     names  [chunks]   | ref    | ref    | ref    | ref  |      where its id lies in the heap of names
 *     upper  [chunks]   | who stands above | rows of 1+M words | for the one in M that does
 *
 * Chunks are reached through tables of pointers that never move: no search ever meets a copy under
 * way, and there is no capacity to be chosen. They are address space to begin with and become memory
 * as slots are handed out; what is full gets huge pages. The level of a slot follows from its number, so
 * a slot that is used again finds its upper rows in place, and a chunk knows all of its upper rows when
 * it is made.
 *
 * 1. A node is seen at moment S when begin <= S and not end <= S; begin is VEC_NEVER while a slot is
 *    free or reserved. What lies in memory is begin + 1, so that untouched memory says VEC_NEVER. Its top
 *    bit says that there is an end: where no node of a page has one, nobody touches that page of ends.
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

#include "base/status.h"
#include "os/os_thread.h"
#include "vector/kernel.h"

#define VEC_NONE      UINT32_MAX
#define VEC_NEVER     UINT64_MAX
#define VEC_SLOTS_MAX ((uint32_t)1 << 30)
#define VEC_LEVEL_MAX 15
#define VEC_M_MIN     4
#define VEC_M_MAX     64
#define VEC_NODE_BITS 14 /* slots of a chunk of all but codes */
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

/* The name of a node: what vector_data calls it. Never changes while a node refers to it. */
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

typedef struct vec_moment {
    _Atomic uint64_t v;
} vec_moment;

/* The upper rows of one chunk, in the order of their slots. */
struct vec_upper {
    uint64_t stands[1 << (VEC_NODE_BITS - 6)]; /* a bit for who stands on level 1 or above */
    uint16_t rank[1 << (VEC_NODE_BITS - 6)];   /* how many do before each word */
    uint32_t row_count;
    vec_link *rows;   /* of 1 + m words */
    uint32_t first[]; /* by rank: the row of level 1; then one more, row_count */
};

/* Names lie in blocks of units; one that is given back waits for the next of its size. Under the reserve
 * lock of the index, but for reading. */
#define VEC_NAME_UNIT  4
#define VEC_NAME_UNITS 65536 /* of a block */
#define VEC_NAME_MAX   1024  /* bytes of an id */

struct vec_names {
    struct vec_chunk *block;
    uint64_t next; /* unit; the first is never used, so that 0 names nothing */
    uint32_t spare[(sizeof(uint16_t) + VEC_NAME_MAX) / VEC_NAME_UNIT + 2]; /* lists, by units */
};

struct vec_arena {
    struct vec_space space; /* fixed */
    const struct vec_kernel *kernel;
    vec_dist_fn *dist;  /* of the kernel, by metric and form */
    size_t stride;      /* bytes from row to row */
    unsigned code_bits; /* slots of a chunk of codes */
    uint32_t slots_max; /* fixed */
    struct vec_chunk *codes, *links, *begun, *ends, *names, *upper; /* tables, NULL: no chunk */
    vec_link *ended; /* by chunk: a bit for each of its 32 parts that has an end */
    struct vec_names heap;
    uint32_t expected; /* chunks below this many slots are taken to become full; loading says so */
    _Atomic uint32_t slot_count;         /* slots ever handed out; release */
    _Atomic uint64_t entry;              /* level << 32 | slot; VEC_NEVER: empty graph */
    struct os_mutex *row_lock;           /* VEC_ROW_LOCKS of them, RANK_VEC_ROW: rows by slot */
    size_t settled_codes, settled_links; /* pieces of 2 MiB; the graph writer's */
};

/* On ODB_OK release with vec_arena_release(). ODB_NOMEM. */
ODB_MUST_CHECK odb_status vec_arena_init(struct vec_arena *a, const struct vec_space *space,
                                         const struct vec_kernel *kernel);
/* Zeroed or half made is fine. Frees the ids too. */
void vec_arena_release(struct vec_arena *a);

/* Make memory for slots up to and including `slot`, and its upper rows. Under the reserve lock.
 * ODB_NOMEM, ODB_LIMIT. */
ODB_MUST_CHECK odb_status vec_arena_grow(struct vec_arena *a, uint32_t slot);
/* Have huge pages where slots are handed out. The graph writer, from time to time. */
void vec_arena_settle(struct vec_arena *a);
/* Bytes in use, names included. Under the reserve lock. */
uint64_t vec_arena_bytes(const struct vec_arena *a);
/* Bytes an index of `count` vectors of this space will need, names of `id_len` bytes included. */
uint64_t vec_arena_estimate(const struct vec_space *space, uint64_t count, size_t id_len);

/* Keep a copy of a name, and give one back that nobody reads any more (0 is fine). Under the reserve
 * lock. ODB_NOMEM. */
ODB_MUST_CHECK odb_status vec_name_add(struct vec_arena *a, odb_slice id, uint32_t *out);
void vec_name_drop(struct vec_arena *a, uint32_t ref);
/* What the slot is called from now on: `ref`, 0 for nothing. Returns what it was called. */
uint32_t vec_name_set(struct vec_arena *a, uint32_t slot, uint32_t ref);

/* A node that has begun ends here, or rather here. Under the reserve lock. */
void vec_end_set(struct vec_arena *a, uint32_t slot, uint64_t end);

unsigned vec_level_of(const struct vec_space *space, uint32_t slot);

static inline void *vec_row(const struct vec_arena *a, uint32_t slot)
{
    uint8_t *chunk = atomic_load_explicit(&a->codes[slot >> a->code_bits].p, memory_order_acquire);

    return chunk + (slot & (((uint32_t)1 << a->code_bits) - 1)) * a->stride;
}

#define VEC_ENDED ((uint64_t)1 << 63) /* of what lies in `begun` */

static inline vec_moment *vec_moment_in(const struct vec_chunk *table, uint32_t slot)
{
    vec_moment *chunk = atomic_load_explicit(&table[slot >> VEC_NODE_BITS].p, memory_order_acquire);

    return chunk + (slot & (((uint32_t)1 << VEC_NODE_BITS) - 1));
}

static inline uint64_t vec_begin(const struct vec_arena *a, uint32_t slot)
{
    uint64_t begun = atomic_load_explicit(&vec_moment_in(a->begun, slot)->v, memory_order_acquire);

    return (begun & ~VEC_ENDED) - 1;
}

/* Begins, and has no end. */
static inline void vec_begin_set(struct vec_arena *a, uint32_t slot, uint64_t begin)
{
    atomic_store_explicit(&vec_moment_in(a->begun, slot)->v, begin + 1, memory_order_release);
}

static inline uint64_t vec_end_of(const struct vec_arena *a, uint32_t slot, uint64_t begun)
{
    return ODB_LIKELY(!(begun & VEC_ENDED))
               ? 0
               : atomic_load_explicit(&vec_moment_in(a->ends, slot)->v, memory_order_acquire);
}

/* 0: it lives. */
static inline uint64_t vec_end(const struct vec_arena *a, uint32_t slot)
{
    return vec_end_of(
        a, slot, atomic_load_explicit(&vec_moment_in(a->begun, slot)->v, memory_order_acquire));
}

/* NULL: the slot has no name. */
static inline const struct vec_id *vec_name(const struct vec_arena *a, uint32_t slot)
{
    const vec_link *chunk =
        atomic_load_explicit(&a->names[slot >> VEC_NODE_BITS].p, memory_order_acquire);
    uint32_t ref = atomic_load_explicit(&chunk[slot & (((uint32_t)1 << VEC_NODE_BITS) - 1)].v,
                                        memory_order_acquire);
    const uint8_t *block;

    if (ref == 0)
        return NULL;
    block = atomic_load_explicit(&a->heap.block[ref / VEC_NAME_UNITS].p, memory_order_acquire);
    return (const void *)(block + (size_t)(ref % VEC_NAME_UNITS) * VEC_NAME_UNIT);
}

/* Whether vec_arena_grow() has been there, of a slot below slots_max. */
static inline bool vec_slot_has_memory(const struct vec_arena *a, uint32_t slot)
{
    return atomic_load_explicit(&a->begun[slot >> VEC_NODE_BITS].p, memory_order_acquire) &&
           atomic_load_explicit(&a->codes[slot >> a->code_bits].p, memory_order_acquire);
}

/* Whether there is memory for this number, which may be anybody's word. */
static inline bool vec_slot_exists(const struct vec_arena *a, uint32_t slot)
{
    return slot < atomic_load_explicit(&a->slot_count, memory_order_acquire) &&
           vec_slot_has_memory(a, slot);
}

static inline uint32_t vec_links_max(const struct vec_arena *a, unsigned level)
{
    return level ? a->space.m : 2 * a->space.m - 1;
}

static inline uint32_t vec_bits_set(uint64_t w)
{
    w -= w >> 1 & 0x5555555555555555u;
    w = (w & 0x3333333333333333u) + (w >> 2 & 0x3333333333333333u);
    w = (w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)(w * 0x0101010101010101u >> 56);
}

/* The number among the upper rows of its chunk of the first one at or after `at`, a slot of the chunk. */
static inline uint32_t vec_upper_row(const struct vec_upper *u, uint32_t at)
{
    uint64_t below = u->stands[at >> 6] & (((uint64_t)1 << (at & 63)) - 1);

    return u->first[u->rank[at >> 6] + vec_bits_set(below)];
}

/* The row of links of a slot on a level it stands on: a head, then ids. */
static inline vec_link *vec_links(const struct vec_arena *a, uint32_t slot, unsigned level)
{
    if (ODB_LIKELY(level == 0)) {
        vec_link *chunk =
            atomic_load_explicit(&a->links[slot >> VEC_NODE_BITS].p, memory_order_acquire);

        return chunk + (slot & (((uint32_t)1 << VEC_NODE_BITS) - 1)) * 2 * (size_t)a->space.m;
    }
    struct vec_upper *u =
        atomic_load_explicit(&a->upper[slot >> VEC_NODE_BITS].p, memory_order_acquire);
    uint32_t row = vec_upper_row(u, slot & (((uint32_t)1 << VEC_NODE_BITS) - 1)) + level - 1;

    return u->rows + row * (size_t)(1 + a->space.m);
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

static inline bool vec_visible(const struct vec_arena *a, uint32_t slot, uint64_t moment)
{
    uint64_t begun = atomic_load_explicit(&vec_moment_in(a->begun, slot)->v, memory_order_acquire);
    uint64_t end = vec_end_of(a, slot, begun);

    return (begun & ~VEC_ENDED) - 1 <= moment && (end == 0 || end > moment);
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
