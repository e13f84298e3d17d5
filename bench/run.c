/* bench/run.c -- see run.h.
 *
 *     main thread     opens, prepares, starts the workers, looks at their counters every so often
 *     workers         each with a session of its own; they wait for one another before they begin
 *
 * Time is from the first worker's beginning to the last one's end. Processor time of the workers is the
 * foreground, the rest of the process the background; what the main thread used is in neither.
 */
#include "bench/run.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct crew {
    struct bench_worker *worker;
    uint32_t count;
    const struct bench_workload *wl;
    pthread_barrier_t start;
    _Atomic uint32_t left; /* workers still at it */
};

struct member {
    struct crew *crew;
    struct bench_worker *w;
    pthread_t thread;
};

static void make_dir(const char *dir)
{
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        bench_die("cannot make %s: %s", dir, strerror(errno));
}

void bench_run_init(struct bench_run *run, const struct bench_settings *s,
                    const struct bench_engine *engine, const char *base)
{
    memset(run, 0, sizeof *run);
    run->s = s;
    run->engine = engine;
    (void)snprintf(run->base, sizeof run->base, "%s", base);
    make_dir(base);
    if (snprintf(run->dir, sizeof run->dir, "%s/bench-%s", base, engine->name) >=
        (int)sizeof run->dir)
        bench_die("--db is too long");
    bench_keys_init(&run->keys, s);
    run->pool = bench_pool_new(s, &run->pool_size);
    if (!run->pool)
        bench_die("out of memory for values");
    atomic_store(&run->newest, s->num - 1);
}

void bench_run_open(struct bench_run *run)
{
    uint64_t began;

    if (run->db)
        return;
    make_dir(run->dir);
    run->log_bytes = bench_disk_bytes(run->dir, ".log");
    began = bench_now_ns();
    run->db = run->engine->open(run->s, run->dir);
    run->open_seconds = (double)(bench_now_ns() - began) * 1e-9;
    if (run->engine->replayed)
        run->log_bytes = run->engine->replayed(run->db);
}

void bench_run_close(struct bench_run *run)
{
    if (run->db)
        run->engine->close(run->db);
    run->db = NULL;
}

void bench_run_end(struct bench_run *run, bool remove)
{
    bench_run_close(run);
    if (remove)
        bench_remove_dir(run->dir);
    free(run->pool);
    run->pool = NULL;
}

/* ---- workers ---- */

static uint64_t name_number(const char *name)
{
    uint64_t n = 0;

    for (; *name; name++)
        n = bench_mix(n + (unsigned char)*name);
    return n;
}

/* Workload, thread and round each have draws of their own, and every engine the same ones. What fills
 * a database is the same in every round, and `readall` finds it. */
static uint64_t seed_of(const struct bench_worker *w, const struct bench_workload *wl)
{
    uint64_t n = name_number((wl->flags & BENCH_SAME) ? "fill" : wl->name) ^ w->s->seed;

    if (!(wl->flags & BENCH_SAME))
        n = bench_mix(n + w->run->round);
    return bench_mix(n + w->index);
}

/* Whether time ends a workload instead of the number of its operations. */
static bool is_timed(const struct bench_run *run)
{
    return run->s->duration && !run->is_loading;
}

static void init_worker(struct bench_worker *w, struct bench_run *run,
                        const struct bench_workload *wl, uint32_t index, uint32_t count)
{
    const struct bench_settings *s = run->s;
    uint64_t all = run->is_loading ? 0 : wl->flags & BENCH_WRITES ? s->writes : s->reads;

    memset(w, 0, sizeof *w);
    w->run = run;
    w->s = s;
    w->e = run->engine;
    w->index = index;
    w->count = count;
    bench_rng_init(&w->rng, seed_of(w, wl));
    w->values = (struct bench_values){run->pool, run->pool_size, 0, (size_t)s->value_size};
    w->values.at = (size_t)(bench_mix(index) % (run->pool_size / 2));
    if (all == 0)
        all = s->num;
    w->goal = is_timed(run) ? UINT64_MAX : bench_share(all, index, count);
    if (s->histogram) {
        w->hist = bench_alloc(sizeof *w->hist);
        memset(w->hist, 0, sizeof *w->hist);
    }
}

static void count_now(struct bench_worker *w, struct bench_counts *out)
{
    if (w->s->profile && w->e->counts && w->session)
        w->e->counts(w->session, out);
    else
        for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++)
            out->n[i] = BENCH_UNCOUNTED;
}

static void *work_of_member(void *arg)
{
    struct member *m = arg;
    struct bench_worker *w = m->w;
    struct bench_counts before;
    double cpu;

    if (w->run->db)
        w->session = w->e->session_new(w->run->db);
    if (w->index == 0 && m->crew->wl->prepare)
        m->crew->wl->prepare(w);
    (void)pthread_barrier_wait(&m->crew->start); /* everybody has a session, everything is ready */
    (void)pthread_barrier_wait(&m->crew->start); /* and the main thread has looked at the clocks */
    count_now(w, &before);
    cpu = bench_thread_cpu();
    w->began = w->last_ns = bench_now_ns();
    if (is_timed(w->run))
        w->deadline = w->began + w->s->duration * 1000000000u;
    m->crew->wl->work(w);
    w->ended = bench_now_ns();
    w->cpu = bench_thread_cpu() - cpu;
    count_now(w, &w->counts);
    for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++)
        if (w->counts.n[i] != BENCH_UNCOUNTED)
            w->counts.n[i] -= before.n[i];
    atomic_fetch_sub(&m->crew->left, 1);
    return NULL;
}

/* ---- throughput over time ---- */

static void add_point(struct bench_result *out, double at, uint64_t ops)
{
    if (out->point_count == BENCH_POINTS) {
        for (uint32_t i = 0; i < BENCH_POINTS / 2; i++) {
            out->point_time[i] = out->point_time[2 * i + 1];
            out->point_ops[i] = out->point_ops[2 * i + 1];
        }
        out->point_count = BENCH_POINTS / 2;
    }
    out->point_time[out->point_count] = at;
    out->point_ops[out->point_count++] = ops;
}

static void watch(struct crew *crew, double interval, struct bench_result *out)
{
    uint64_t began = bench_now_ns();
    double next = interval;

    while (atomic_load(&crew->left) > 0) {
        struct timespec nap = {0, 500000};
        double at = (double)(bench_now_ns() - began) * 1e-9;

        if (at >= next) {
            uint64_t ops = 0;

            for (uint32_t i = 0; i < crew->count; i++)
                ops += atomic_load_explicit(&crew->worker[i].done, memory_order_relaxed);
            add_point(out, at, ops);
            next += interval;
        }
        if (at > 0.05) /* short workloads end soon after their work, long ones are left in peace */
            nap.tv_nsec = 5000000;
        (void)nanosleep(&nap, NULL);
    }
}

/* ---- results ---- */

static void add_worker(struct bench_result *out, const struct bench_worker *w)
{
    out->ops += w->ops;
    out->found += w->found;
    out->bytes += w->bytes;
    out->user_bytes += w->user_bytes;
    if (w->first_ns > out->first_ns)
        out->first_ns = w->first_ns;
    out->cpu_foreground += w->cpu;
    if (w->hist)
        bench_hist_merge(&out->hist, w->hist);
    if (w->note[0])
        memcpy(out->note, w->note, sizeof out->note);
}

/* What an engine counts for the whole database, one worker has seen whole; the rest adds up. */
static void add_counts(struct bench_result *out, const struct bench_worker *w)
{
    for (unsigned i = 0; i < BENCH_COUNTER_COUNT; i++) {
        if (w->index == 0)
            out->counts.n[i] = w->counts.n[i];
        else if ((w->e->thread_counts >> i & 1) && w->counts.n[i] != BENCH_UNCOUNTED)
            out->counts.n[i] += w->counts.n[i];
    }
    out->has_counts = w->s->profile;
}

static void add_kernel_counts(struct bench_result *out, struct bench_kernel_counts before)
{
    struct bench_kernel_counts now = bench_kernel_counts();

    out->counts.n[BENCH_COUNTER_reads] = now.reads - before.reads;
    out->counts.n[BENCH_COUNTER_writes] = now.writes - before.writes;
    out->counts.n[BENCH_COUNTER_waits] = now.waits - before.waits;
}

static void run_crew(struct bench_run *run, struct crew *crew, struct bench_result *out)
{
    struct member *m = bench_alloc(crew->count * sizeof *m);
    uint64_t written = 0, began = UINT64_MAX, ended = 0, busy = 0;
    struct bench_kernel_counts kernel;
    double cpu, mine;

    if (pthread_barrier_init(&crew->start, NULL, crew->count + 1) != 0)
        bench_die("no barrier");
    atomic_store(&crew->left, crew->count);
    for (uint32_t i = 0; i < crew->count; i++) {
        m[i] = (struct member){.crew = crew, .w = &crew->worker[i]};
        if (pthread_create(&m[i].thread, NULL, work_of_member, &m[i]) != 0)
            bench_die("cannot start a thread");
    }
    (void)pthread_barrier_wait(&crew->start);
    bench_peak_reset();
    written = bench_bytes_written();
    kernel = bench_kernel_counts();
    cpu = bench_process_cpu();
    mine = bench_thread_cpu();
    (void)pthread_barrier_wait(&crew->start);
    watch(crew, run->s->stats_interval, out);
    cpu = bench_process_cpu() - cpu;
    mine = bench_thread_cpu() - mine;
    out->bytes_written = bench_bytes_written() - written;
    out->peak_memory = bench_peak_memory();
    for (uint32_t i = 0; i < crew->count; i++) {
        struct bench_worker *w = &crew->worker[i];

        (void)pthread_join(m[i].thread, NULL);
        add_worker(out, w);
        add_counts(out, w);
        if (w->began < began)
            began = w->began;
        if (w->ended > ended)
            ended = w->ended;
        busy += w->busy_ns;
    }
    add_kernel_counts(out, kernel);
    out->seconds = (double)(busy ? busy : ended - began) * 1e-9;
    add_point(out, (double)(ended - began) * 1e-9, out->ops);
    out->cpu_background = cpu - mine - out->cpu_foreground;
    if (out->cpu_background < 0)
        out->cpu_background = 0;
    (void)pthread_barrier_destroy(&crew->start);
    free(m);
}

/* So that `readall` knows what to look for. */
static void keep_fill(struct bench_run *run, const struct crew *crew)
{
    run->fill = crew->wl;
    for (uint32_t i = 0; i < crew->count; i++)
        run->fill_ops[i] = crew->worker[i].ops;
}

void bench_run_workload(struct bench_run *run, const struct bench_workload *wl,
                        struct bench_result *out)
{
    struct bench_settings own = *run->s;
    const struct bench_settings *whole = run->s;
    struct crew crew = {.count = wl->flags & BENCH_ALONE ? 1 : (uint32_t)own.threads, .wl = wl};
    bool reopen = (wl->flags & BENCH_SYNCED) && !own.sync;

    memset(out, 0, sizeof *out);
    (void)snprintf(out->workload, sizeof out->workload, "%s", wl->name);
    out->round = run->round;
    out->is_write = wl->flags & BENCH_WRITES;
    out->is_checked = (wl->flags & BENCH_CHECKED) && !is_timed(run);
    if (((wl->flags & BENCH_FRESH) && !own.use_existing_db) || (wl->flags & BENCH_CLOSED)) {
        bench_run_close(run);
        if (wl->flags & BENCH_FRESH) {
            bench_remove_dir(run->dir);
            atomic_store(&run->newest, own.num - 1);
            run->unflushed = 0;
            memset(&run->graph, 0, sizeof run->graph);
        }
    }
    if (reopen) {
        bench_run_close(run);
        own.sync = true;
        run->s = &own;
    }
    if (!run->has_zipf && ((wl->flags & BENCH_ZIPF) || run->keys.spread != BENCH_UNIFORM)) {
        bench_zipf_init(&run->keys.zipf, own.num, own.zipf_theta);
        run->has_zipf = true;
    }
    if (!(wl->flags & BENCH_CLOSED))
        bench_run_open(run);
    crew.worker = bench_alloc(crew.count * sizeof *crew.worker);
    for (uint32_t i = 0; i < crew.count; i++)
        init_worker(&crew.worker[i], run, wl, i, crew.count);
    run_crew(run, &crew, out);
    if (wl->flags & BENCH_SYNCED && !out->note[0])
        (void)snprintf(out->note, sizeof out->note, "each commit synced");
    out->disk_bytes = bench_disk_bytes(run->dir, NULL);
    if (wl->flags & BENCH_WRITES)
        run->unflushed += out->ops;
    if (wl->flags & BENCH_FRESH)
        keep_fill(run, &crew);
    for (uint32_t i = 0; i < crew.count; i++) {
        if (crew.worker[i].session)
            run->engine->session_free(crew.worker[i].session);
        free(crew.worker[i].hist);
    }
    free(crew.worker);
    if (reopen) {
        bench_run_close(run);
        run->s = whole;
    }
}
