/* api/odb_stats.h -- looking in: counters, sizes, the live tables.
 *
 *     odb_stats_t s = {.size = sizeof s};
 *
 *     st = odb_stats(db, NULL, &s);
 *     printf("write amplification %.1f\n",
 *            (double)(s.log_written + s.flush_bytes + s.merge_bytes_out) / (double)s.bytes_in);
 *
 * Nothing here slows anything down; the counters are read without stopping anyone, so figures of one
 * call may be a few operations apart.
 */
#ifndef ODB_STATS_H
#define ODB_STATS_H

#include "api/odb_db.h"
#include "api/odb_iter.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ODB_LEVELS 7

typedef struct odb_level_stats {
    uint64_t files;
    uint64_t bytes;   /* on disk */
    uint64_t entries; /* deletes included */
    uint64_t deletes;
    uint64_t target; /* bytes it may hold before it is merged down; 0 for level 0 */
} odb_level_stats;

typedef struct odb_stats_t {
    size_t size; /* sizeof(odb_stats_t), set by the caller; only so much is written */

    /* ---- of the family asked for, or the sum of all ---- */
    odb_level_stats level[ODB_LEVELS];
    uint64_t memtables;
    uint64_t memtable_bytes;
    uint64_t memtable_entries;
    uint64_t flushes, flush_bytes, flush_entries, flush_ns;
    uint64_t merges, merge_bytes_in, merge_bytes_out, merge_entries, merge_ns;
    uint64_t moves;    /* tables that changed level without being rewritten */
    uint64_t debt;     /* bytes that still have to be merged */
    uint64_t delay_ns; /* writers were slowed down for, in total */
    uint64_t stops;    /* writers that had to wait for a flush */

    /* ---- of the database, since it was opened ---- */
    uint64_t commits, ops;
    uint64_t bytes_in; /* of batches as committed: keys, values and a few bytes for each */
    uint64_t sequence; /* number of the newest visible write */
    uint64_t log_bytes, log_files; /* on disk now */
    uint64_t log_written, syncs;
    uint64_t snapshots, oldest_snapshot_age_ms;
    uint64_t cache_bytes;  /* blocks, indexes and filters in memory */
    uint64_t memory_bytes; /* cache_bytes and the memtables of all families */
    uint64_t block_hits, block_reads, bytes_read;
    uint64_t filter_checks, filter_rejects, filter_false;
    uint64_t tables_opened, blocks_evicted;
    uint64_t background_cpu_ns;
    uint64_t recovered_records, recovered_bytes, recovery_ns; /* by the last open */
    bool has_ring;            /* commits go through the commit ring */
    uint64_t blocks_unpacked; /* decompressed, whether kept or not */
    /* Of the calling thread, over all databases, and only in builds with -Dprofile=true: keys compared
     * byte by byte, and bytes of keys and values copied. Else 0. */
    uint64_t key_compares, bytes_copied;

    /* Transactions: commits that succeeded, and what became of others. */
    uint64_t txn_commits, txn_conflicts, txn_too_old, txn_deadlocks, txn_timeouts;
    uint64_t txn_prepared; /* now */
} odb_stats_t;

/* One family, or all with NULL. ODB_INVALID when `size` is 0. */
ODB_API ODB_MUST_CHECK odb_status odb_stats(odb_db *db, odb_cf *cf, odb_stats_t *out);

/* The same for people: a page of text with every family. At most `cap` bytes are written, the last of
 * them 0; *len is the length of the whole text without it. Call with cap 0 to learn the length. */
ODB_API ODB_MUST_CHECK odb_status odb_stats_text(odb_db *db, char *buf, size_t cap, size_t *len);

typedef struct odb_table {
    uint32_t level;
    uint64_t file_no; /* the file is called so, with six digits and ".sst" */
    uint64_t size;    /* bytes on disk */
    uint64_t entries; /* deletes included */
    uint64_t deletes;
    uint64_t raw_bytes; /* keys and values before compression */
    odb_slice smallest; /* keys; good during the call only */
    odb_slice largest;
} odb_table;

/* Call `each` with every live table of a family (NULL: default), level by level; level 0 newest
 * first, the others by key. It must not call back into the database. A backend without tables
 * calls it for none. */
ODB_API ODB_MUST_CHECK odb_status odb_tables(odb_db *db, odb_cf *cf,
                                             void (*each)(void *arg, const odb_table *table),
                                             void *arg);

/* About how many bytes on disk the keys of `range` take (NULL: all). What is still in memory is not
 * counted. */
ODB_API ODB_MUST_CHECK odb_status odb_size_of_range(odb_db *db, odb_cf *cf, const odb_range *range,
                                                    uint64_t *out);

#ifdef __cplusplus
}
#endif
#endif
