/* sstable/heap.c -- pieces of chunks.
 *
 *     chunk:  | size |  piece in use   |  free   |  in use  |       free      | end |
 *             0      48  ^             ^
 *                        64            a multiple of 64: where the memory handed out begins
 *
 * Frames are the bulk of what a database keeps in memory, and most are nearly of one size. From the C
 * library each costs a header, begins anywhere in a cache line, and, in every thread but the first,
 * glibc grows its heap by one system call a few kilobytes: a quarter of the time of a walk that fills
 * the cache went there, and another quarter to faults of small pages. Chunks of 2 MiB come in huge
 * pages, so that a point read also misses the TLB less often.
 *
 * Pieces carry their length and that of the piece before them, free neighbours are joined at once, and
 * free pieces hang in bins by size; the first found that is large enough is taken, its end split off.
 * Frames leave the cache about in the order in which they came, that is, neighbour after neighbour: holes
 * join.
 *
 * 1. A piece is a multiple of 64 bytes and begins 16 before one, so that what is behind its header is
 *    aligned. No two free pieces are neighbours.
 * 2. A chunk that is all free goes back to the system, but for one, `spare`, and that one when the budget
 *    is set.
 * 3. Chunks begin small and double up to a 32nd of the budget, at most 2 MiB: who has little to spend
 *    loses little to what is free in them.
 *
 * Threads: any; the lock is held for list work, and while a chunk is mapped.
 */
#include "sstable/heap.h"

#include <assert.h>

#include "base/alloc.h"

#define HEAP_UNIT      ((size_t)64)
#define HEAP_CHUNK_MIN ((size_t)64 << 10)
#define HEAP_CHUNK_MAX ((size_t)2 << 20)
#define HEAP_TRIES     8  /* pieces looked at in a bin some of which may be too small */
#define HEAP_FREE      1u /* in `size`, which is a multiple of 64 */

struct heap_piece {
    uint32_t size;                  /* with this header, | HEAP_FREE; 0: the end of the chunk */
    uint32_t before;                /* size of the piece before, 0: the first of its chunk */
    uint64_t zero;                  /* makes a header of 16 bytes */
    struct heap_piece *next, *prev; /* free pieces only: of the same bin */
};

#define HEAP_HEAD      ((size_t)16)
#define HEAP_FIRST     (HEAP_UNIT - HEAP_HEAD)  /* where the first piece of a chunk begins */
#define HEAP_PIECE_MIN (2 * HEAP_UNIT)          /* a smaller rest is not split off */
#define HEAP_OVERHEAD  (HEAP_FIRST + HEAP_HEAD) /* of a chunk: what lies before and behind pieces */

static struct heap_piece *piece_at(void *base, size_t off)
{
    return (struct heap_piece *)(void *)((uint8_t *)base + off);
}

static size_t piece_size(const struct heap_piece *p)
{
    return p->size & ~HEAP_FREE;
}

/* Bins rise with size: units of 64 bytes below 4 have one each, then four to each doubling. `up`: the
 * first bin all of whose pieces are of that size at least. */
static unsigned bin_of(size_t size, bool up)
{
    uint32_t units = (uint32_t)(size / HEAP_UNIT), shift;

    if (units < 4)
        return units;
    shift = 29 - (uint32_t)__builtin_clz(units);
    return 4 * shift + (units >> shift) + (up && units & ((1u << shift) - 1));
}

static void bin_put(struct heap *h, struct heap_piece *p)
{
    unsigned bin = bin_of(p->size, false);

    assert(os_mutex_held(&h->lock));
    p->size |= HEAP_FREE;
    p->prev = NULL;
    p->next = h->bin[bin];
    if (p->next)
        p->next->prev = p;
    h->bin[bin] = p;
    h->filled |= UINT64_C(1) << bin;
}

static void bin_take(struct heap *h, struct heap_piece *p)
{
    unsigned bin = bin_of(piece_size(p), false);

    assert(os_mutex_held(&h->lock) && p->size & HEAP_FREE);
    if (p->next)
        p->next->prev = p->prev;
    if (p->prev)
        p->prev->next = p->next;
    else if ((h->bin[bin] = p->next) == NULL)
        h->filled &= ~(UINT64_C(1) << bin);
    p->size &= ~HEAP_FREE;
    if (h->spare == p)
        h->spare = NULL;
}

/* A free piece of `size` at least: one of those first in the bin such pieces go to, or any of a later bin.
 * NULL: none. */
static struct heap_piece *bin_find(const struct heap *h, size_t size)
{
    struct heap_piece *p = h->bin[bin_of(size, false)];
    unsigned at = bin_of(size, true);
    uint64_t bins = h->filled >> at;

    assert(os_mutex_held(&h->lock));
    for (unsigned i = 0; p && i < HEAP_TRIES; i++, p = p->next)
        if (piece_size(p) >= size)
            return p;
    return bins ? h->bin[at + (unsigned)__builtin_ctzll(bins)] : NULL;
}

/* The piece becomes `size` long, and the one behind it learns of that. */
static void piece_set_size(struct heap_piece *p, size_t size)
{
    p->size = (uint32_t)size;
    piece_at(p, size)->before = (uint32_t)size;
}

static void chunk_free(struct heap *h, struct heap_piece *all)
{
    size_t size = piece_size(all) + HEAP_OVERHEAD;

    atomic_fetch_sub_explicit(&h->footprint, size, memory_order_relaxed);
    mem_pages_free((uint8_t *)all - HEAP_FIRST, size);
}

/* A fresh chunk with room for a piece of `size`: all of it, one piece in no bin. */
static struct heap_piece *chunk_new(struct heap *h, size_t size)
{
    size_t least = (size + HEAP_OVERHEAD + HEAP_CHUNK_MIN - 1) & ~(HEAP_CHUNK_MIN - 1);
    struct heap_piece *p;
    void *chunk;

    assert(os_mutex_held(&h->lock));
    if (least < h->chunk_next)
        least = h->chunk_next;
    chunk = mem_pages_alloc(least);
    if (!chunk)
        return NULL;
    if (h->chunk_next < h->chunk_max)
        h->chunk_next *= 2;
    atomic_fetch_add_explicit(&h->footprint, least, memory_order_relaxed);
    p = piece_at(chunk, HEAP_FIRST); /* what lies there is zero, the end of the chunk included */
    piece_set_size(p, least - HEAP_OVERHEAD);
    return p;
}

static void drop_spare(struct heap *h)
{
    struct heap_piece *p = h->spare;

    assert(os_mutex_held(&h->lock));
    if (p) {
        bin_take(h, p);
        chunk_free(h, p);
    }
}

void heap_set_budget(struct heap *h, size_t budget)
{
    size_t max = HEAP_CHUNK_MIN;

    while (max < HEAP_CHUNK_MAX && max < budget / 32)
        max *= 2;
    os_mutex_lock(&h->lock);
    h->chunk_max = max;
    if (h->chunk_next > max)
        h->chunk_next = max;
    drop_spare(h);
    os_mutex_unlock(&h->lock);
}

void heap_init(struct heap *h, size_t budget)
{
    memset((void *)h, 0, sizeof *h);
    os_mutex_init(&h->lock, RANK_HEAP);
    h->chunk_next = HEAP_CHUNK_MIN;
    heap_set_budget(h, budget);
}

void heap_release(struct heap *h)
{
    os_mutex_lock(&h->lock);
    drop_spare(h);
    os_mutex_unlock(&h->lock);
    os_mutex_destroy(&h->lock);
}

void *heap_alloc(struct heap *h, size_t size, size_t *room)
{
    struct heap_piece *p;

    assert(size <= HEAP_SIZE_MAX);
    size = (size + HEAP_HEAD + HEAP_UNIT - 1) & ~(HEAP_UNIT - 1);
    os_mutex_lock(&h->lock);
    p = bin_find(h, size);
    if (p)
        bin_take(h, p);
    else
        p = chunk_new(h, size);
    if (p && p->size >= size + HEAP_PIECE_MIN) {
        struct heap_piece *rest = piece_at(p, size);

        piece_set_size(rest, p->size - size);
        piece_set_size(p, size);
        bin_put(h, rest);
    }
    if (p)
        *room = p->size;
    os_mutex_unlock(&h->lock);
    return p ? (uint8_t *)p + HEAP_HEAD : NULL;
}

void heap_free(struct heap *h, void *memory)
{
    struct heap_piece *p = (struct heap_piece *)(void *)((uint8_t *)memory - HEAP_HEAD), *other;

    os_mutex_lock(&h->lock);
    other = piece_at(p, p->size);
    if (other->size & HEAP_FREE) {
        bin_take(h, other);
        p->size += other->size;
    }
    if (p->before) {
        other = (struct heap_piece *)(void *)((uint8_t *)p - p->before);
        if (other->size & HEAP_FREE) {
            bin_take(h, other);
            other->size += p->size;
            p = other;
        }
    }
    piece_set_size(p, p->size);
    if (p->before == 0 && piece_at(p, p->size)->size == 0) {
        if (h->spare) {
            chunk_free(h, p);
            p = NULL;
        } else {
            h->spare = p;
        }
    }
    if (p)
        bin_put(h, p);
    os_mutex_unlock(&h->lock);
}
