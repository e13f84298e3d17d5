/* bench/engine.h -- what the benchmark asks of an engine.
 *
 *     workloads (workload.c)
 *     ------------------------------------------- bench_engine
 *     engine_opendb.c   engine_rocksdb.c   ...        each with its library's best call for the job
 *
 * A call returns when it succeeded; when it fails the adapter says why with bench_die() and the run is
 * over: a benchmark that goes on after an error measures nothing. Loops over many entries (scan,
 * multiget) are inside the adapter, so that no engine pays an indirect call per entry. A get takes the call
 * that lends the value or fills a buffer that is kept; LevelDB has none, it allocates a copy.
 *
 * To add an engine: one file like the others, one line in engines.c, four in meson.build. One that has
 * records, edges or vectors of its own fills in a second table, that of models.h.
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include "base/odb_types.h"
#include "bench/settings.h"

/* ---- what an engine counted, for --profile ---- */

/* Name, and what one of it is. An engine leaves what it cannot count at BENCH_UNCOUNTED; the last three
 * the kernel counts, of the whole process. */
#define BENCH_COUNTERS(X)                                                                          \
    X(blocks_read, "blocks read from files")                                                       \
    X(blocks_decompressed, "blocks decompressed")                                                  \
    X(cache_hits, "blocks found in the cache")                                                     \
    X(filter_checks, "filters asked")                                                              \
    X(filter_rejects, "filters that said no")                                                      \
    X(filter_false, "filters that said yes in vain")                                               \
    X(comparisons, "keys compared")                                                                \
    X(bytes_copied, "bytes of keys and values copied")                                             \
    X(bytes_read, "bytes read from files")                                                         \
    X(reads, "read system calls")                                                                  \
    X(writes, "write system calls")                                                                \
    X(waits, "times a thread had to wait")

enum bench_counter {
#define BENCH_COUNTER_ENUM(name, help) BENCH_COUNTER_##name,
    BENCH_COUNTERS(BENCH_COUNTER_ENUM)
#undef BENCH_COUNTER_ENUM
        BENCH_COUNTER_COUNT
};

#define BENCH_UNCOUNTED UINT64_MAX

struct bench_counts {
    uint64_t n[BENCH_COUNTER_COUNT];
};

/* ---- parity ---- */

/* What stands for one setting in this engine, in its own words: "LZ4", "none: has no filters". */
#define BENCH_PARITY(X)                                                                            \
    X(durability)                                                                                  \
    X(compression)                                                                                 \
    X(write_buffers)                                                                               \
    X(cache)                                                                                       \
    X(filter)                                                                                      \
    X(block)                                                                                       \
    X(threads)                                                                                     \
    X(checksums)

#define BENCH_PARITY_TEXT 192

struct bench_parity {
#define BENCH_PARITY_FIELD(name) char name[BENCH_PARITY_TEXT];
    BENCH_PARITY(BENCH_PARITY_FIELD)
#undef BENCH_PARITY_FIELD
};

/* ---- the engine ---- */

struct bench_models; /* models.h */

struct bench_engine {
    const char *name;
    const char *help;

    /* Name and version of the library that runs, and what a reader of its figures must know ("built
     * with assertions"; empty when there is nothing). */
    void (*describe)(char *text, size_t cap, char *warning, size_t warning_cap);
    void (*parity)(const struct bench_settings *s, struct bench_parity *out);

    /* `dir` exists; families 0 to s->families - 1 do afterwards. `s` outlives the database. */
    void *(*open)(const struct bench_settings *s, const char *dir);
    void (*close)(void *db);

    /* What one thread needs to work: transactions, cursors, buffers. */
    void *(*session_new)(void *db);
    void (*session_free)(void *session);

    void (*put)(void *session, uint32_t family, odb_slice key, odb_slice value);
    void (*remove)(void *session, uint32_t family, odb_slice key);
    /* Add a put to the session's batch; commit it, all or nothing, and empty it. */
    void (*batch_put)(void *session, uint32_t family, odb_slice key, odb_slice value);
    void (*batch_commit)(void *session);

    /* One transaction: with `reads` each key is read first, so that nobody can change it before the
     * commit; each is put. False: somebody else was faster, nothing was applied. `locks`: it waits
     * for the keys instead, where the engine knows both. NULL: it has no transactions. */
    bool (*transact)(void *session, uint32_t family, const odb_slice *keys, size_t n,
                     odb_slice value, bool reads, bool locks, uint64_t *bytes);

    /* Adds the size of what was found to *bytes, and one byte of it to make sure it is there. */
    bool (*get)(void *session, uint32_t family, odb_slice key, uint64_t *bytes);
    /* How many of the keys were found. NULL: it has no call for many keys (bench_multiget). */
    uint64_t (*multiget)(void *session, uint32_t family, const odb_slice *keys, size_t n,
                         uint64_t *bytes);
    /* A fresh walk over everything, or `limit` entries if that is less; returns their number. */
    uint64_t (*scan)(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes);
    /* The first entry not below `key`, and `nexts` more, of all that was committed before. An iterator
     * or cursor is kept and brought up to date where the library can. Returns how many entries there
     * were. The first one's key is checked. */
    uint64_t (*seek)(void *session, uint32_t family, odb_slice key, uint64_t nexts,
                     uint64_t *bytes);

    /* Records, edges, vectors: models.h. NULL: it has keys and values only. */
    const struct bench_models *models;

    void (*flush)(void *db);     /* NULL: it has nothing to flush */
    void (*wait_idle)(void *db); /* until no flush and no merge is due; NULL: it has none */
    void (*compact)(void *db);   /* NULL: it has no such thing */

    void (*stats)(void *db, FILE *to); /* NULL: it tells nothing */
    /* Counts that only grow; NULL: it counts nothing. Only asked for with --profile. Of the whole
     * database, but for those of `thread_counts` (1 << BENCH_COUNTER_...), which are the session's. */
    void (*counts)(void *session, struct bench_counts *out);
    unsigned thread_counts;
    /* Bytes of log the last open replayed; 0 when it cannot tell, and then the *.log files found
     * before the open count. NULL: 0. */
    uint64_t (*replayed)(void *db);
};

/* Every engine this program was built with, ended by NULL. */
extern const struct bench_engine *const bench_engines[];

/* e->multiget, or one get after the other where there is none. */
uint64_t bench_multiget(const struct bench_engine *e, void *session, uint32_t family,
                        const odb_slice *keys, size_t n, uint64_t *bytes);

/* NULL when there is none of that name. */
const struct bench_engine *bench_engine_find(const char *name, size_t len);

/* Say what failed and end the process. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* malloc that does not fail; and zeroed. */
void *bench_alloc(size_t size);
void *bench_zalloc(size_t size);

/* For adapters, in parity(): fill in a field of `out`. */
#define BENCH_SAY(field, ...) (void)snprintf(out->field, sizeof out->field, __VA_ARGS__)

/* For adapters: count an entry as read. */
static inline void bench_touch(uint64_t *bytes, const void *data, size_t size)
{
    *bytes += size + (size ? ((const unsigned char *)data)[size - 1] & 1u : 0);
}

/* For adapters: a seek must not answer with a key below the one sought. */
static inline void bench_check_seek(const char *engine, odb_slice want, const void *key,
                                    size_t size)
{
    if (odb_slice_compare(odb_bytes(key, size), want) < 0)
        bench_die("%s: a seek answered with a smaller key than was asked for", engine);
}

#endif
