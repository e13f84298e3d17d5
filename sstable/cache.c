/* sstable/cache.c -- the block cache: a slot per block, a clock over all frames.
 *
 *    table 7:  slots  [ f0 |    | f2 |    | ... ]        table 9:  [    | g1 | g2 | ... ]
 *                       |          |                                      |    |
 *                       +--> f0 <--+--> f2 <-----------> g1 <-------------+    |
 *                             ^    the ring, in order of arrival          g2 <-+
 *                             `------------------------------------------ ^
 *                                                                       hand
 *
 * An open table has one atomic pointer for each of its blocks, so a hit is one load: no hash table,
 * no lock, no count. A miss builds a frame apart and tries to put it into the slot; of two threads
 * that read the same block the slower one throws its copy away.
 *
 * Frames stand in a ring in order of arrival. Over budget, the hand goes round: a frame that was
 * read since last time loses its mark and stays, one that was not leaves. A new frame begins without
 * a mark just behind the hand, so what a walk reads once goes before what is read again.
 *
 * 1. slot: empty -> frame by compare-and-swap without the lock, after all of the frame was written;
 *    frame -> empty under the lock only. A frame in the ring is in its slot.
 * 2. A frame that has left its slot is freed when no reader of its epoch is left (base/epoch.h) and
 *    the last pin is gone: `refs` counts the slot, or the wait for the epoch after it, as one. A pin
 *    is taken inside an epoch, so never on a freed frame.
 * 3. Pinned frames are passed over. When nothing can leave, the budget is exceeded, not the read
 *    refused; the next arrivals set it right.
 * 4. Nothing is retired under a lock: retiring may free other things, whose owners take locks.
 * 5. `slot` is looked at under the lock only, and a table empties its slots before it goes
 *    (sst_cache_drop), so no frame points into a table that is gone.
 *
 * Memory over budget: pinned frames, and what left but waits for the epoch. The latter is collected
 * whenever it is a sixteenth of the budget, so that it stays a few frames where readers are quick. And what
 * is free between frames in the chunks they lie in (heap.c): about a tenth.
 *
 * Threads: any. The lock (RANK_CACHE) is held for list work only, never for a read from the disk.
 */
#include "sstable/cache.h"

#include <assert.h>
#include <stddef.h>

#include "base/alloc.h"

#define CACHE_HEAP_COST 16 /* what the C library adds to a block of memory, about */

/* Frames with more bytes than this have memory of their own, not a piece of a chunk. Address sanitizers are
 * to see each frame apart. */
#if defined(__SANITIZE_ADDRESS__)
#define CACHE_HEAP_MAX 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHE_HEAP_MAX 0
#endif
#endif
#ifndef CACHE_HEAP_MAX
#define CACHE_HEAP_MAX (HEAP_SIZE_MAX - sizeof(struct sst_frame))
#endif

ODB_COLD void sst_cache_init(struct sst_cache *c, struct epoch *epoch, size_t budget)
{
    memset((void *)c, 0, sizeof *c);
    c->epoch = epoch;
    c->budget = budget;
    os_mutex_init(&c->lock, RANK_CACHE);
    heap_init(&c->heap, budget);
}

ODB_COLD void sst_cache_destroy(struct sst_cache *c)
{
    assert(!c->hand && atomic_load(&c->retiring) == 0);
    os_mutex_destroy(&c->lock);
    heap_release(&c->heap);
}

/* ---- frames ---- */

struct sst_frame *sst_frame_new(struct sst_cache *c, size_t len)
{
    bool is_alone = len > CACHE_HEAP_MAX;
    struct sst_frame *f;
    size_t room;

    if (len > SIZE_MAX - sizeof *f - CACHE_HEAP_COST)
        return NULL;
    room = sizeof *f + len + CACHE_HEAP_COST;
    f = is_alone ? mem_alloc(sizeof *f + len) : heap_alloc(&c->heap, sizeof *f + len, &room);
    if (!f)
        return NULL;
    f->is_alone = is_alone;
    atomic_init(&f->refs, 1);
    atomic_init(&f->is_used, false);
    f->cache = c;
    f->charge = room;
    f->slot = NULL;
    return f;
}

void sst_frame_free(struct sst_frame *f)
{
    if (f->is_alone)
        mem_free(f);
    else
        heap_free(&f->cache->heap, f);
}

void sst_frame_unpin(struct sst_frame *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    atomic_fetch_sub_explicit(&f->cache->bytes, f->charge, memory_order_relaxed);
    sst_frame_free(f);
}

/* The epoch has passed: let go of what the slot held. */
static void cache_frame_left(struct epoch_item *item)
{
    struct sst_frame *f =
        (struct sst_frame *)(void *)((uint8_t *)item - offsetof(struct sst_frame, item));
    struct sst_cache *c = f->cache;

    atomic_fetch_sub_explicit(&c->leaving, f->charge, memory_order_relaxed);
    sst_frame_unpin(f);
    atomic_fetch_sub_explicit(&c->retiring, 1, memory_order_release); /* now `c` may go */
}

/* ---- the ring ---- */

static void cache_link(struct sst_cache *c, struct sst_frame *f)
{
    assert(os_mutex_held(&c->lock));
    if (!c->hand) {
        c->hand = f->next = f->prev = f;
    } else { /* just behind the hand: the last it will come to */
        f->next = c->hand;
        f->prev = c->hand->prev;
        f->prev->next = f;
        f->next->prev = f;
    }
    c->frame_count++;
    c->charged += f->charge;
}

static void cache_unlink(struct sst_cache *c, struct sst_frame *f)
{
    assert(os_mutex_held(&c->lock));
    if (c->hand == f)
        c->hand = f->next == f ? NULL : f->next;
    f->prev->next = f->next;
    f->next->prev = f->prev;
    c->frame_count--;
    c->charged -= f->charge;
    atomic_store_explicit(&f->slot->frame, NULL, memory_order_relaxed);
    f->slot = NULL;
}

/* Take out of the ring what must go to meet the budget; the list, by `next`, is the caller's to
 * retire. Twice round at most: the first round takes marks away. */
static struct sst_frame *cache_pick(struct sst_cache *c)
{
    size_t steps = c->frame_count * 2;
    struct sst_frame *list = NULL;

    assert(os_mutex_held(&c->lock));
    while (c->charged > c->budget && steps-- > 0 && c->hand) {
        struct sst_frame *f = c->hand;

        c->hand = f->next;
        if (atomic_load_explicit(&f->refs, memory_order_relaxed) > 1)
            continue; /* pinned */
        if (atomic_load_explicit(&f->is_used, memory_order_relaxed)) {
            atomic_store_explicit(&f->is_used, false, memory_order_relaxed);
            continue;
        }
        cache_unlink(c, f);
        f->next = list;
        list = f;
    }
    return list;
}

/* Hand a list made by cache_pick to the epoch. No lock held. */
static void cache_retire(struct sst_cache *c, struct sst_frame *list, size_t budget)
{
    size_t leaving;

    if (!list)
        return;
    while (list) {
        struct sst_frame *next = list->next;

        atomic_fetch_add_explicit(&c->retiring, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->leaving, list->charge, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->evicted, 1, memory_order_relaxed);
        epoch_retire(c->epoch, &list->item, cache_frame_left);
        list = next;
    }
    leaving = atomic_load_explicit(&c->leaving, memory_order_relaxed);
    if (leaving > budget / 16)
        (void)epoch_collect(c->epoch);
}

/* ---- what tables call ---- */

struct sst_frame *sst_cache_publish(struct sst_cache *c, struct sst_frame *f, struct sst_slot *slot)
{
    struct sst_frame *there = NULL, *list;
    size_t budget;

    f->slot = slot;
    if (!atomic_compare_exchange_strong_explicit(&slot->frame, &there, f, memory_order_release,
                                                 memory_order_acquire)) {
        sst_frame_free(f);
        return there;
    }
    atomic_fetch_add_explicit(&c->bytes, f->charge, memory_order_relaxed);
    os_mutex_lock(&c->lock);
    cache_link(c, f);
    list = cache_pick(c);
    budget = c->budget;
    os_mutex_unlock(&c->lock);
    cache_retire(c, list, budget);
    return f;
}

void sst_cache_charge(struct sst_cache *c, size_t bytes)
{
    struct sst_frame *list;
    size_t budget;

    atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
    os_mutex_lock(&c->lock);
    c->charged += bytes;
    list = cache_pick(c);
    budget = c->budget;
    os_mutex_unlock(&c->lock);
    cache_retire(c, list, budget);
}

void sst_cache_discharge(struct sst_cache *c, size_t bytes)
{
    atomic_fetch_sub_explicit(&c->bytes, bytes, memory_order_relaxed);
    os_mutex_lock(&c->lock);
    c->charged -= bytes;
    os_mutex_unlock(&c->lock);
}

ODB_COLD void sst_cache_drop(struct sst_cache *c, struct sst_slot *slots, size_t n)
{
    struct sst_frame *list = NULL;

    os_mutex_lock(&c->lock);
    for (size_t i = 0; i < n; i++) {
        struct sst_frame *f = atomic_load_explicit(&slots[i].frame, memory_order_acquire);

        if (!f)
            continue;
        cache_unlink(c, f);
        f->next = list;
        list = f;
    }
    os_mutex_unlock(&c->lock);
    while (list) { /* no reader can come by them: only pins may still hold one */
        struct sst_frame *next = list->next;

        sst_frame_unpin(list);
        list = next;
    }
}

ODB_COLD void sst_cache_resize(struct sst_cache *c, size_t budget)
{
    struct sst_frame *list;

    os_mutex_lock(&c->lock);
    c->budget = budget;
    list = cache_pick(c);
    os_mutex_unlock(&c->lock);
    heap_set_budget(&c->heap, budget);
    cache_retire(c, list, budget);
    if (list)
        (void)epoch_collect(c->epoch);
}
