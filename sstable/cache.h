/* sstable/cache.h -- data blocks in memory, and the one budget of bytes they share with whatever else
 * the tables keep there. sstable/cache.c explains; only sstable/ includes this.
 */
#ifndef ODB_SSTABLE_CACHE_H
#define ODB_SSTABLE_CACHE_H

#include "base/epoch.h"
#include "os/os_thread.h"
#include "sstable/block.h"
#include "sstable/heap.h"

#define SST_FRAME_HEAD 512 /* bytes of a usual block that lie before its values, about */

struct sst_cache {
    struct epoch *epoch;
    struct os_mutex lock; /* RANK_CACHE */
    size_t budget ODB_GUARDED(lock);
    size_t charged ODB_GUARDED(lock); /* frames in the ring, and what sst_cache_charge added */
    struct sst_frame *hand ODB_GUARDED(lock); /* of the clock; NULL: no frames */
    size_t frame_count ODB_GUARDED(lock);     /* in the ring */
    struct heap heap;                         /* where frames lie; has a lock of its own */
    atomic_size_t bytes;    /* all memory, frames that wait to be freed included; relaxed */
    atomic_size_t leaving;  /* bytes of frames that wait for the epoch; relaxed */
    atomic_size_t retiring; /* things handed to the epoch that will come back; release/acquire */
    atomic_size_t evicted;  /* frames; relaxed, statistics */
    atomic_size_t unpacked; /* blocks decompressed, into frames or not; relaxed, statistics */
};

/* The place of one block in an open table. */
struct sst_slot {
    _Atomic(struct sst_frame *) frame; /* NULL: not resident */
};

/* One data block, checked and unpacked. `block` and `bytes` never change once it is published. */
struct sst_frame {
    atomic_bool is_used; /* read since the hand last came by; relaxed */
    bool is_alone;       /* not in the heap, but memory of its own */
    atomic_uint refs;    /* one while it is in its slot or waits for the epoch, one for each pin */
    struct block block;
    struct sst_cache *cache;
    size_t charge;
    struct sst_slot *slot;         /* under the lock; NULL: gone from it */
    struct sst_frame *next, *prev; /* the ring; under the lock */
    struct epoch_item item;
    uint8_t bytes[];
};

void sst_cache_init(struct sst_cache *c, struct epoch *epoch, size_t budget);
/* Every table gone, `retiring` zero. */
void sst_cache_destroy(struct sst_cache *c);

/* A frame with room for `len` bytes, owned by the caller, uncharged. NULL when out of memory. */
struct sst_frame *sst_frame_new(struct sst_cache *c, size_t len);
/* One that was never published. */
void sst_frame_free(struct sst_frame *f);

/* Put `f` into `slot`, unless another thread's frame of the same block is there already: then `f` is
 * freed and that one returned. Makes room first come first out. Inside an epoch. */
struct sst_frame *sst_cache_publish(struct sst_cache *c, struct sst_frame *f,
                                    struct sst_slot *slot);
/* Start loading what a search in the block will look at: the fields above, and the beginning of the
 * bytes, where block.c keeps everything but the values. Waiting for these lines one after the other,
 * as each says where the next one is, is what a read in memory would spend its time on. */
static inline void sst_frame_prefetch(const struct sst_frame *f)
{
    const char *p = (const char *)f;

    for (size_t off = 0; off < sizeof *f + SST_FRAME_HEAD; off += 64)
        ODB_PREFETCH(p + off);
}

/* The fields alone: for who comes back before looking further. */
static inline void sst_frame_prefetch_fields(const struct sst_frame *f)
{
    const char *p = (const char *)f;

    for (size_t off = 0; off < sizeof f->is_used + sizeof f->refs + sizeof f->block; off += 64)
        ODB_PREFETCH(p + off);
}

/* A frame was read: keep it a while longer. Writes only when there is news. */
static inline void sst_frame_touch(struct sst_frame *f)
{
    if (!atomic_load_explicit(&f->is_used, memory_order_relaxed))
        atomic_store_explicit(&f->is_used, true, memory_order_relaxed);
}

/* Inside the epoch the frame was found in. */
static inline void sst_frame_pin(struct sst_frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}
/* Any thread, any time. */
void sst_frame_unpin(struct sst_frame *f);

/* Count `bytes` kept elsewhere against the budget, and take them off again. */
void sst_cache_charge(struct sst_cache *c, size_t bytes);
void sst_cache_discharge(struct sst_cache *c, size_t bytes);
/* Empty `n` slots whose table nobody can reach any more. */
void sst_cache_drop(struct sst_cache *c, struct sst_slot *slots, size_t n);
void sst_cache_resize(struct sst_cache *c, size_t budget);

#endif
