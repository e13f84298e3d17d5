/* sstable/heap.h -- memory for the frames of the block cache, in chunks of up to 2 MiB that the system
 * can back with huge pages. sstable/heap.c explains. */
#ifndef ODB_SSTABLE_HEAP_H
#define ODB_SSTABLE_HEAP_H

#include <stdatomic.h>

#include "os/os_thread.h"

#define HEAP_BINS 64 /* free pieces by size, four bins from each power of two to the next */

struct heap_piece;

struct heap {
    struct os_mutex lock;              /* RANK_HEAP */
    uint64_t filled ODB_GUARDED(lock); /* bit i: bin[i] is not empty */
    struct heap_piece *bin[HEAP_BINS] ODB_GUARDED(lock);
    struct heap_piece *spare
        ODB_GUARDED(lock);               /* all of an otherwise empty chunk, in its bin; or NULL */
    size_t chunk_next ODB_GUARDED(lock); /* size of the next chunk */
    size_t chunk_max ODB_GUARDED(lock);
    atomic_size_t footprint; /* bytes of all chunks; relaxed, statistics */
};

/* `budget`: about as much will be asked for in all; sizes the chunks. */
void heap_init(struct heap *h, size_t budget);
/* Everything was given back. */
void heap_release(struct heap *h);
/* For chunks to come; and what is not in use goes back to the system. */
void heap_set_budget(struct heap *h, size_t budget);

/* Memory at a multiple of 64 bytes; *room is what it takes of a chunk, `size` or a little more. NULL when
 * there is none. Any thread. */
void *heap_alloc(struct heap *h, size_t size, size_t *room);
/* Any thread. */
void heap_free(struct heap *h, void *p);

/* The most that makes sense to ask for: larger things are better off in memory of their own. */
#define HEAP_SIZE_MAX ((size_t)256 << 10)

#endif
