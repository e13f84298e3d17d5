/* api/odb_options.h -- how a database is opened, and how a write is acknowledged.
 *
 * Nobody has to set any of this: pass NULL, or set only `memory_budget` and let it size the rest.
 *
 *     odb_options opt = odb_options_default();
 *     opt.memory_budget = 64 << 20;
 *     st = odb_open("books", &opt, &db);
 *
 * In every struct here 0, NULL and false mean "the default", so a C program may also write
 * `odb_options opt = {.size = sizeof opt, .block_size = 16384};`. `size` is how a library knows which
 * fields the program was compiled with: later releases add fields at the end and nothing else.
 */
#ifndef ODB_OPTIONS_H
#define ODB_OPTIONS_H

#include "base/odb_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what an acknowledged write survives ---- */

typedef enum odb_durability {
    ODB_DURABLE_DEFAULT = 0, /* in a write: as the database says; in the options: ODB_DURABLE_OS */
    ODB_DURABLE_NONE = 1,    /* nothing is promised; today the same as ODB_DURABLE_OS */
    ODB_DURABLE_OS = 2,   /* the death of the process, by any cause, as long as the system lives */
    ODB_DURABLE_FULL = 3, /* also the loss of power, and so does every write before it */
} odb_durability;

/* How one write or commit is made. NULL where one is asked for means all zeros. */
typedef struct odb_write {
    odb_durability durability;
    bool no_wait;        /* ODB_AGAIN rather than wait until flushes catch up */
    uint8_t reserved[3]; /* zero */
} odb_write;

/* ---- compression of tables ---- */

typedef enum odb_compression {
    ODB_COMPRESSION_DEFAULT = 0, /* LZ4 where it is built in */
    ODB_COMPRESSION_NONE = 1,
    ODB_COMPRESSION_LZ4 = 2, /* ODB_UNSUPPORTED at open when it is not built in */
} odb_compression;

/* ---- opening a database ---- */

typedef struct odb_options {
    size_t size; /* sizeof(odb_options); anything smaller than the first release's is ODB_INVALID */

    /* Memory for write buffers, cached blocks, indexes and filters together, bytes. Sizes every
     * field below that is left 0: a sixteenth for each write buffer (at most 128 MiB), the half less
     * 7 MiB (at least a quarter) for the cache, and file, log and worker numbers to match. At least
     * 1 MiB. 0: no common limit; the defaults named below hold. */
    uint64_t memory_budget;
    odb_durability durability; /* of writes that do not say. Default ODB_DURABLE_OS */

    bool must_exist;  /* ODB_ABSENT when there is no database yet. Default: make one */
    bool must_be_new; /* ODB_EXISTS when there is one already */
    bool is_readonly; /* change nothing, not even a leftover; other readers may have it open too */
    bool no_threads;  /* start no thread: the caller runs odb_work() */

    /* Column families that shall exist after opening, besides "default". NULL: the seven of the
     * OpenDB storage page (ODB_FAMILY_...). Ignored when opened read-only. */
    const char *const *families;
    uint32_t family_count;
    uint32_t
        background_jobs; /* threads for flush and merge. Default 4, fewer on fewer processors */

    /* ---- shape of the tree; may differ by family, see odb_cf_options ---- */

    uint64_t write_buffer_size; /* a memtable is flushed at this size. Default 128 MiB */
    uint32_t write_buffers;     /* memtables of a family at once, at least 2. Default 3 */
    uint32_t l0_trigger;        /* merge level 0 from this many tables on. Default 4 */
    uint64_t target_file_size;  /* of a table, bytes. Default 64 MiB */
    uint64_t level_base_size;   /* of the first level below level 0. Default 256 MiB */
    uint32_t level_multiplier;  /* each level so many times the one above, 2 to 100. Default 10 */
    uint32_t block_size;        /* bytes before compression, 512 to 1 MiB. Default 4096 */
    odb_compression compression;
    /* 1 smallest to 64 fastest; a flush hurries where that costs 3 percent at most. Default 1 */
    uint32_t lz4_acceleration;
    int32_t filter_bits;  /* per key, at most 64; -1: no filters. Default 10 */
    uint32_t merge_split; /* at most so many threads share one merge. Default 4 */
    bool no_auto_compact; /* merge only when odb_compact() says so */

    /* ---- what the families share ---- */

    uint64_t cache_size;       /* blocks, indexes, filters. Default 64 MiB */
    uint32_t open_tables;      /* descriptors held at once, at least 8. Default 512 */
    uint32_t ring_size;        /* commit ring, a power of two from 64 KiB. Default 1 MiB */
    uint64_t log_segment_size; /* of one log file, at least 64 KiB. Default 64 MiB */
    uint64_t log_limit;        /* flush what holds older log than this back. Default 1 GiB */
    /* Space kept back in the file RESERVE, so that deletes and merges go on when the disk is full
     * (puts are refused meanwhile): an eighth of what the tables take, at most this. Default
     * 16 MiB; below 64 KiB: none */
    uint64_t disk_reserve;

    /* ---- the readable log ---- */

    uint64_t event_log_size; /* LOG and LOG.old together stay below this. Default 2 MiB */
    /* Called with each line of the log too, one at a time, from any thread; it must not call back
     * into the database. */
    void (*event)(void *arg, const char *line);
    void *event_arg;
} odb_options;

/* The seven families of the OpenDB storage page. */
#define ODB_FAMILY_DEFAULT        "default"
#define ODB_FAMILY_RECORDS        "records"
#define ODB_FAMILY_GRAPH_FORWARD  "graph_forward"
#define ODB_FAMILY_GRAPH_BACKWARD "graph_backward"
#define ODB_FAMILY_VECTOR_DATA    "vector_data"
#define ODB_FAMILY_VECTOR_INDEX   "vector_index"
#define ODB_FAMILY_METADATA       "metadata"

static inline odb_options odb_options_default(void)
{
    odb_options opt;

    memset(&opt, 0, sizeof opt);
    opt.size = sizeof opt;
    return opt;
}

/* ---- one column family ---- */

/* For odb_cf_create(). A field left 0 is as the database was opened with. They are stored with the
 * family: later opens find it as it was made, whatever their own options say. */
typedef struct odb_cf_options {
    size_t size; /* sizeof(odb_cf_options) */
    uint64_t write_buffer_size;
    uint32_t write_buffers;
    uint32_t l0_trigger;
    uint64_t target_file_size;
    uint64_t level_base_size;
    uint32_t level_multiplier;
    uint32_t block_size;
    odb_compression compression;
    uint32_t lz4_acceleration;
    int32_t filter_bits;
    uint32_t merge_split;
    bool no_auto_compact;
} odb_cf_options;

static inline odb_cf_options odb_cf_options_default(void)
{
    odb_cf_options opt;

    memset(&opt, 0, sizeof opt);
    opt.size = sizeof opt;
    return opt;
}

/* ---- which release this is ---- */

#define ODB_VERSION_MAJOR 0
#define ODB_VERSION_MINOR 1
#define ODB_VERSION_PATCH 0

/* "0.1.0": of the library that runs, which may be newer than the header compiled with. Static. */
ODB_API const char *odb_version(void);

#ifdef __cplusplus
}
#endif
#endif
