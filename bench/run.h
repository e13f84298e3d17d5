/* bench/run.h -- one engine at work: a database, the workloads on it, and what each of them cost. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "bench/draw.h"
#include "bench/engine.h"
#include "bench/hist.h"
#include "bench/measure.h"
#include "bench/settings.h"

#include <stdatomic.h>

#define BENCH_POINTS 400 /* of throughput over time; when full, every second one is dropped */

/* What one workload of one engine in one round came to. Plain bytes: it travels through a pipe. */
struct bench_result {
    char workload[32];
    uint32_t engine; /* index into the list of the run */
    uint32_t round;
    uint32_t step; /* its place in --benchmarks, or in --load */
    uint64_t ops;
    uint64_t found;      /* entries that reads found */
    uint64_t bytes;      /* keys and values moved */
    uint64_t user_bytes; /* keys and values written */
    uint64_t first_ns;   /* of the first operation, where it pays for those after it; else 0 */
    double seconds;
    double cpu_foreground, cpu_background;
    uint64_t bytes_written; /* to storage */
    uint64_t disk_bytes;    /* afterwards */
    uint64_t peak_memory;
    bool is_write;
    bool is_load;    /* belongs to --load */
    bool is_checked; /* `found` must be the same for every engine */
    bool has_counts;
    struct bench_counts counts;
    struct bench_hist hist; /* empty without --histogram */
    uint32_t point_count;
    double point_time[BENCH_POINTS];  /* seconds since the start */
    uint64_t point_ops[BENCH_POINTS]; /* done by then */
    char note[128];
};

struct bench_run {
    const struct bench_settings *s;
    const struct bench_engine *engine;
    char base[BENCH_TEXT_MAX]; /* the directory of --db */
    char dir[BENCH_TEXT_MAX];  /* of the database: base/bench-ENGINE */
    void *db;                  /* NULL: closed */
    struct bench_keys keys;
    char *pool;
    size_t pool_size;
    uint32_t round;
    bool has_zipf;
    bool is_loading; /* at work for --load: does all of --num, whatever else was asked for */
    /* What filled the database last, and the operations of each of its threads; NULL: another process. */
    const struct bench_workload *fill;
    uint64_t fill_ops[BENCH_THREADS_MAX];
    _Atomic uint64_t newest;  /* number of the youngest key: grows with inserts */
    _Atomic bool is_over;     /* tells a writer beside readers to stop */
    _Atomic uint32_t readers; /* still at work */
    struct {
        uint32_t runs; /* of workloads of models: each names its edges after it */
        bool is_made, has_stars, has_vectors;
    } graph;
    uint64_t unflushed; /* entries put since the last flush */
    uint64_t log_bytes; /* found before the last open */
    double open_seconds;
};

/* One thread of a workload. */
struct bench_worker {
    struct bench_run *run;
    const struct bench_settings *s;
    const struct bench_engine *e;
    void *session;
    uint32_t index, count; /* this one of so many */
    struct bench_rng rng;
    struct bench_values values;
    uint64_t goal;     /* operations to do, UINT64_MAX: until `deadline` */
    uint64_t deadline; /* ns; 0: none */
    uint64_t look_at;  /* operations after which the clock is due again */
    uint64_t ops, found, bytes, user_bytes, first_ns;
    uint64_t busy_ns;  /* not 0: the time that counts, instead of that of the whole */
    uint64_t last_ns;  /* end of the operation before */
    uint64_t at, step; /* of a walk over scattered keys */
    struct bench_hist *hist;
    double cpu;
    uint64_t began, ended;
    struct bench_counts counts;
    char note[128];
    char key[BENCH_KEY_MAX];
    _Atomic uint64_t done; /* = ops; any thread, relaxed: throughput over time */
};

/* ---- workloads: workload.c ---- */

enum {
    BENCH_FRESH = 1,    /* starts on an empty database, unless --use_existing_db */
    BENCH_WRITES = 2,   /* its number of operations is --writes */
    BENCH_ALONE = 4,    /* one thread does it once, whatever --threads says */
    BENCH_SYNCED = 8,   /* every commit synced, whatever --sync says */
    BENCH_CLOSED = 16,  /* opens the database itself */
    BENCH_ZIPF = 32,    /* draws zipfian numbers, whatever --draw says */
    BENCH_CHECKED = 64, /* engines must find equally many */
    BENCH_SAME = 128,   /* draws the same keys in every round */
    BENCH_DRAWN = 256,  /* a fill that puts the keys it draws */
    BENCH_EVERY = 512,  /* a fill that puts every key once in --num operations */
};

struct bench_workload {
    const char *name;
    const char *help;
    unsigned flags;
    void (*prepare)(struct bench_worker *w); /* not timed; may be NULL */
    void (*work)(struct bench_worker *w);
};

/* Ended by one without a name. To add a group of workloads: a table like it, and a line in workload.c. */
extern const struct bench_workload *const bench_workload_tables[];
extern const struct bench_workload bench_workloads_of_models[]; /* workload_models.c */

const struct bench_workload *bench_workload_find(const char *name, size_t len);

/* ---- running them: run.c ---- */

/* Nothing is opened yet. Dies when memory runs out or the directory cannot be made. */
void bench_run_init(struct bench_run *run, const struct bench_settings *s,
                    const struct bench_engine *engine, const char *base);
/* Close the database; with `remove`, its directory goes too. */
void bench_run_end(struct bench_run *run, bool remove);
void bench_run_open(struct bench_run *run);
void bench_run_close(struct bench_run *run);
/* Do one workload and say what it cost. */
void bench_run_workload(struct bench_run *run, const struct bench_workload *wl,
                        struct bench_result *out);

/* ---- for workloads ---- */

/* The part of `all` operations that falls to one of `count` threads. */
static inline uint64_t bench_share(uint64_t all, uint32_t index, uint32_t count)
{
    return all / count + (index < all % count);
}

/* Whether another operation is due. The clock is asked after sixteen of them, or after as many as were
 * done at once. */
static inline bool bench_more(struct bench_worker *w)
{
    if (w->ops >= w->goal)
        return false;
    if (!w->deadline || w->ops < w->look_at)
        return true;
    w->look_at = w->ops + 16;
    return bench_now_ns() < w->deadline;
}

/* `n` operations are done. */
static inline void bench_did(struct bench_worker *w, uint64_t n)
{
    w->ops += n;
    atomic_store_explicit(&w->done, w->ops, memory_order_relaxed);
    if (w->hist) {
        uint64_t now = bench_now_ns();

        bench_hist_add(w->hist, now - w->last_ns);
        w->last_ns = now;
    }
}

#endif
