/* sstable/store.h -- the inside of a store, for store.c, cursor.c and verify.c. */
#ifndef ODB_SSTABLE_STORE_H
#define ODB_SSTABLE_STORE_H

#include "sstable/table.h"

#define STORE_STRIPES 32

enum store_counter {
    STORE_BLOCK_HITS,
    STORE_BLOCK_READS,
    STORE_BYTES_READ,
    STORE_FILTER_REJECTS,
    STORE_FILTER_PASSES,
    STORE_FILTER_FALSE,
    STORE_TABLES_OPENED,
    STORE_COUNTERS
};

/* Two cache lines, so that wherever it begins no two stripes share a busy one for long. */
struct store_stripe {
    _Atomic uint64_t count[STORE_COUNTERS];
    char pad[128 - STORE_COUNTERS * sizeof(uint64_t)];
};

struct sst_store {
    struct sst_store_options opt; /* fixed */
    struct sst_cache cache;
    struct os_mutex lock;  /* RANK_TABLES: everything below, and the owners' table pointers */
    struct os_cond opened; /* somebody has finished opening a table, well or not */
    struct sst_table *hand ODB_GUARDED(lock); /* clock over the open tables; NULL: none */
    uint32_t open_count ODB_GUARDED(lock);    /* in the ring, or being opened */
    struct store_opening *opening ODB_GUARDED(lock);
    struct store_stripe stripe[STORE_STRIPES];
};

/* A plain load and store: threads that share a stripe may lose a count now and then, and nobody pays
 * for a locked instruction. */
static inline void store_count(struct sst_store *s, enum store_counter which, uint64_t n)
{
    _Atomic uint64_t *c = &s->stripe[thread_stripe() % STORE_STRIPES].count[which];

    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* The open table behind `ref`, opened now where needed. Inside an epoch; it stays until the epoch
 * ends. */
ODB_MUST_CHECK odb_status store_table(struct sst_store *s, struct sst_ref *ref,
                                      struct sst_table **out);

/* Read block `no` into its slot, counting it. Inside an epoch, between enter and leave. */
ODB_MUST_CHECK odb_status store_load(struct sst_store *s, struct sst_table *t, uint32_t no,
                                     struct sst_frame **out);

#endif
