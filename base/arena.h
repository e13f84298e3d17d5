/* base/arena.h -- memory that is given back all at once.
 *
 *   blocks:   64 KiB   128 KiB  ...  2 MiB   2 MiB   2 MiB   (a piece over 1/4 block gets its own)
 *             [####################......]
 *                        taken ^
 *
 * Small databases stay small (the first block is 64 KiB), large ones get 2 MiB blocks, those after the
 * first 8 MiB, and those made ahead by arena_block_new, backed by huge pages where the kernel has them.
 * Such a page is there in full at its first byte, so an arena of a little over 2 MiB, as a memtable is
 * that has just become full, took 4.
 *
 * 1. A piece never moves and is never given back alone.
 * 2. arena_take() is lock-free and may be called by any number of threads; it fails only when the
 *    current block is used up. arena_grow() must be serialised by the caller's lock.
 * 3. Pieces are aligned to 8 bytes.
 */
#ifndef ODB_BASE_ARENA_H
#define ODB_BASE_ARENA_H

#include <stdatomic.h>

#include "base/status.h"

#define ARENA_BLOCK_MAX ((size_t)2 << 20)
#define ARENA_AHEAD     (2 * ARENA_BLOCK_MAX) /* while one is used up, whoever makes them goes on */
#define ARENA_PAGE      ((size_t)4096)        /* no system has smaller ones */

struct arena_block;

struct arena {
    _Atomic(struct arena_block *) current; /* where pieces come from; release/acquire */
    struct arena_block *blocks;            /* all, newest first; under the caller's lock */
    size_t next_block;                     /* bytes of the next block; under the caller's lock */
    struct arena_block *ahead;             /* the next blocks, made already; under the lock */
    atomic_size_t ahead_bytes;             /* of them; stored under the lock, relaxed */
    atomic_bool is_ahead_due;              /* the next block is a large one and there could be one
                                              more of them; likewise */
    atomic_size_t footprint;               /* bytes of all blocks; relaxed, statistics */
};

void arena_init(struct arena *a);
void arena_release(struct arena *a);

/* `size` bytes of the current block, or NULL when it has no room left (not an error: take the lock
 * and call arena_grow). The bytes are zero. Any thread. */
void *arena_take(struct arena *a, size_t size);
/* `size` bytes, with a new block where needed; NULL when memory ran out. Under the caller's lock,
 * which serialises growing; arena_take may run beside it. */
void *arena_grow(struct arena *a, size_t size);

/* A block to come, ahead of need, for the kernel takes its time to find and zero two megabytes. Its pages
 * are there when this returns. NULL: no memory; arena_grow then sees to it. No lock. */
ODB_COLD struct arena_block *arena_block_new(void);
/* Hand it over. Under the caller's lock. */
ODB_COLD void arena_keep_ahead(struct arena *a, struct arena_block *b);

/* Bytes of the blocks that were made ahead. Any thread. */
static inline size_t arena_ahead(const struct arena *a)
{
    return atomic_load_explicit(&a->ahead_bytes, memory_order_relaxed);
}

static inline size_t arena_footprint(const struct arena *a)
{
    return atomic_load_explicit(&a->footprint, memory_order_relaxed);
}

#endif
