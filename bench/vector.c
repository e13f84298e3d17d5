/* bench/vector.c -- odb-bench-vector: vectors through the public calls, beside hnswlib in the same run.
 *
 *     odb-bench-vector DIR [--dim D] [--count N] [--form f32,f16,i8] [--queries Q] [--threads T]
 *                      [--skip-hnswlib] [--json] [--html FILE] [--ef-construction E] [--existing]
 *                      [--rounds N] [--beside]
 *
 * Data: unit vectors in clusters, of 32 inner dimensions with noise; the same for both. hnswlib gets the
 * same m and ef_construction and is compiled for this processor. Both search with one thread and in turns;
 * times are processor time, best of three. Recall is against a scan through all.
 *
 * Searches beside a writer are measured between searches without one, over the same index a moment before
 * and a moment after, when the writer has stopped and all it wrote is linked: the writer leaves more vectors
 * behind than there were, and dead ones, which cost a search something whether anybody writes or not. What a
 * round tells is the rate beside the writer over the mean of the two around it, and over the first alone.
 * --beside measures nothing else, and tells what a search did in each.
 */
#include <math.h>
#include <opendb.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "bench/measure.h"
#include "bench/vector_lines.h"
#ifdef BENCH_HNSWLIB
#include "bench/hnswlib.h"
#endif

#define INNER      32
#define CLUSTERS   200
#define K          10
#define M          16
#define EF_BUILD   200
#define ROUNDS     7
#define ROUNDS_MAX 100

static const uint32_t efs[BENCH_VECTOR_POINTS] = {20, 40, 80, 120, 160, 240, 320};
#define EFS BENCH_VECTOR_POINTS

static double seconds(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t chance = 42;

static uint64_t next_random(void)
{
    uint64_t z = chance += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float gauss(void)
{
    double u = ((double)(next_random() >> 11) + 0.5) / 9007199254740992.0;
    double v = (double)(next_random() >> 11) / 9007199254740992.0;

    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void *room(size_t count, size_t size)
{
    void *p = malloc(count * size + 64);

    if (!p) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

static float *make_data(size_t n, size_t dim)
{
    float *x = room(n * dim, sizeof *x), *spread = room(dim * INNER, sizeof *spread);
    float *centre = room(CLUSTERS * INNER, sizeof *centre);

    for (size_t i = 0; i < dim * INNER; i++)
        spread[i] = gauss();
    for (size_t i = 0; i < CLUSTERS * INNER; i++)
        centre[i] = gauss();
    for (size_t i = 0; i < n; i++) {
        const float *c = centre + next_random() % CLUSTERS * INNER;
        float inner[INNER];
        double norm = 0;

        for (int k = 0; k < INNER; k++)
            inner[k] = 0.7f * c[k] + gauss();
        for (size_t d = 0; d < dim; d++) {
            float s = 0.5f * gauss();

            for (int k = 0; k < INNER; k++)
                s += inner[k] * spread[d * INNER + (size_t)k];
            x[i * dim + d] = s;
            norm += (double)s * (double)s;
        }
        for (size_t d = 0; d < dim; d++)
            x[i * dim + d] /= (float)sqrt(norm);
    }
    free(spread);
    free(centre);
    return x;
}

static void must(odb_status st, const char *what)
{
    if (st == ODB_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, odb_status_text(st), odb_error_text());
    exit(1);
}

struct bench {
    const char *dir, *forms;
    char form[8], path[1024];
    size_t dim, count, queries;
    uint32_t threads, ef_construction;
    struct bench_machine machine;
    char command[256];
    double load;
    bool skip_hnswlib, json, existing, only_beside;
    uint32_t rounds;
    float *x, *q;
    uint32_t *truth;
    odb_db *db;
    struct bench_hnswlib *peer;
    struct bench_vector_point ours[EFS], theirs[EFS];
    const char *html;
    struct bench_vector_result result[16];
    size_t result_count;
    double build, their_build, bytes, their_bytes, open_s, put_rate, idle_qps, beside, beside_low,
        beside_high, beside_first; /* the last: over the rate before alone */
};

/* The true nearest, by brute force. */
static void find_truth(struct bench *b)
{
    b->truth = room(b->queries * K, sizeof *b->truth);
    for (size_t q = 0; q < b->queries; q++) {
        float best[K + 1];
        uint32_t id[K + 1];
        size_t n = 0;

        for (size_t i = 0; i < b->count; i++) {
            float d =
                odb_distance(b->q + q * b->dim, b->x + i * b->dim, (uint32_t)b->dim, ODB_METRIC_L2);
            size_t at = n;

            if (n == K && d >= best[K - 1])
                continue;
            for (; at > 0 && best[at - 1] > d; at--) {
                best[at] = best[at - 1];
                id[at] = id[at - 1];
            }
            best[at] = d;
            id[at] = (uint32_t)i;
            n += n < K;
        }
        for (size_t k = 0; k < K; k++)
            b->truth[q * K + k] = id[k];
    }
}

static size_t count_hits(const struct bench *b, size_t q, uint32_t id)
{
    for (size_t k = 0; k < K; k++)
        if (b->truth[q * K + k] == id)
            return 1;
    return 0;
}

static odb_slice id_of(size_t i, char *text)
{
    return odb_bytes(text, (size_t)snprintf(text, 24, "v%09zu", i));
}

static double resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0, resident = 0;

    if (f) {
        if (fscanf(f, "%lu %lu", &pages, &resident) != 2)
            resident = 0;
        (void)fclose(f);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static odb_options bench_options(void)
{
    odb_options o = odb_options_default();

    o.cache_size = (uint64_t)1 << 30;
    return o;
}

static void open_ours(struct bench *b)
{
    odb_options o = bench_options();
    odb_vec_config c = {.size = sizeof c, .dim = (uint32_t)b->dim, .m = M};

    c.ef_construction = b->ef_construction;
    c.flat_max = 1;
    c.form = b->form[0] == 'i' ? ODB_VEC_I8 : b->form[1] == '1' ? ODB_VEC_F16 : ODB_VEC_F32;
    must(odb_open(b->path, &o, &b->db), b->path);
    must(odb_vec_open(b->db, &c), "odb_vec_open");
}

/* Long builds say how far they are. */
static bool show_progress(void *arg, const char *what, uint64_t done, uint64_t all)
{
    uint64_t *shown = arg;

    if (done * 20 / all != *shown) {
        *shown = done * 20 / all;
        fprintf(stderr, "%s: %llu of %llu\n", what, (unsigned long long)done,
                (unsigned long long)all);
    }
    return true;
}

static void build_ours(struct bench *b)
{
    uint64_t shown = 0;
    odb_vec_bulk_options opt = {
        .size = sizeof opt, .threads = b->threads, .progress = show_progress, .arg = &shown};
    odb_vec_bulk *bulk;
    double t;
    char text[24];

    must(odb_vec_bulk_begin(b->db, &opt, &bulk), "bulk");
    for (size_t i = 0; i < b->count; i++)
        must(odb_vec_bulk_add(bulk, id_of(i, text), b->x + i * b->dim, (uint32_t)b->dim), "add");
    t = seconds(b->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC);
    must(odb_vec_bulk_finish(bulk), "finish"); /* links, and stores the graph */
    t = seconds(b->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC) - t;
    b->build = (double)b->count / t;
}

/* One pass over all queries; the best of the passes counts. */
static void search_ours(struct bench *b, size_t e)
{
    odb_vec_search how = {.size = sizeof how, .k = K, .ef = efs[e]};
    size_t hit = 0;
    double t = seconds(CLOCK_THREAD_CPUTIME_ID);

    for (size_t q = 0; q < b->queries; q++) {
        odb_vec_hits *hits;

        must(odb_vec_find(odb_now(b->db), b->q + q * b->dim, (uint32_t)b->dim, &how, &hits),
             "find");
        for (size_t k = 0; k < odb_vec_hits_count(hits); k++) {
            char text[24] = {0};

            memcpy(text, odb_vec_hits_at(hits, k).id.data, odb_vec_hits_at(hits, k).id.size);
            hit += count_hits(b, q, (uint32_t)atoi(text + 1));
        }
        odb_vec_hits_free(hits);
    }
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    b->ours[e].recall = (double)hit / (double)(b->queries * K);
    if ((double)b->queries / t > b->ours[e].qps)
        b->ours[e].qps = (double)b->queries / t;
}

#ifdef BENCH_HNSWLIB
static void build_theirs(struct bench *b)
{
    double before = resident_bytes(), t;

    b->peer = bench_hnswlib_new(b->dim, b->count, M, b->ef_construction, 0);
    if (!b->peer)
        return;
    t = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < b->count; i++)
        (void)bench_hnswlib_add(b->peer, b->x + i * b->dim, i);
    b->their_build = (double)b->count / (seconds(CLOCK_PROCESS_CPUTIME_ID) - t);
    b->their_bytes = (resident_bytes() - before) / (double)b->count;
}

static void search_theirs(struct bench *b, size_t e)
{
    size_t hit = 0, label[K];
    double t = seconds(CLOCK_THREAD_CPUTIME_ID);

    for (size_t q = 0; q < b->queries; q++) {
        size_t n = bench_hnswlib_search(b->peer, b->q + q * b->dim, K, efs[e], label);

        for (size_t k = 0; k < n; k++)
            hit += count_hits(b, q, (uint32_t)label[k]);
    }
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    b->theirs[e].recall = (double)hit / (double)(b->queries * K);
    if ((double)b->queries / t > b->theirs[e].qps)
        b->theirs[e].qps = (double)b->queries / t;
}
#endif

/* In turns, so that both meet what else runs on the machine. */
static void run_searches(struct bench *b)
{
    memset(b->ours, 0, sizeof b->ours);
    memset(b->theirs, 0, sizeof b->theirs);
    for (size_t e = 0; e < EFS; e++)
        for (int round = 0; round < 3; round++) {
            search_ours(b, e);
#ifdef BENCH_HNSWLIB
            if (b->peer)
                search_theirs(b, e);
#endif
        }
}

/* ---- writes: record, vector and marker in one commit, the graph behind. By processor time of the
 * writing thread, as searches are by that of theirs: what else runs on the machine does not count. ---- */

static double put_some(struct bench *b, size_t n, const atomic_bool *stop)
{
    double t = seconds(CLOCK_THREAD_CPUTIME_ID);
    size_t i = 0;

    for (; i < n && !(stop && atomic_load(stop)); i++) {
        char text[24];
        odb_slice id = id_of(b->count + i % 100000, text);
        odb_record_draft d =
            odb_record_make_bytes(id, odb_s("forty bytes of text beside the vector...."));
        odb_txn *txn;

        d.has_vector = true;
        must(odb_txn_begin(b->db, NULL, &txn), "begin");
        must(odb_record_put(b->db, txn, &d, 0), "record");
        must(odb_vec_put(b->db, txn, id, b->x + i % b->count * b->dim, (uint32_t)b->dim), "vector");
        must(odb_txn_commit(txn, NULL), "commit");
        odb_txn_free(txn);
    }
    return (double)i / (seconds(CLOCK_THREAD_CPUTIME_ID) - t);
}

struct busy {
    struct bench *b;
    atomic_bool stop;
};

static void *write_on(void *arg)
{
    struct busy *busy = arg;

    (void)put_some(busy->b, (size_t)-1, &busy->stop);
    return NULL;
}

/* What some searches did. */
struct spent {
    double qps;                                /* by processor time */
    double distances, hops, pending, reranked; /* each */
};

/* Searches for so many seconds of processor time. */
static struct spent search_for(struct bench *b, double length)
{
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = K, .ef = 80, .stats = &stats};
    struct spent sum = {0};
    double t = seconds(CLOCK_THREAD_CPUTIME_ID), n;
    size_t i = 0;

    for (; i % 64 || seconds(CLOCK_THREAD_CPUTIME_ID) - t < length; i++) {
        odb_vec_hits *hits;

        must(odb_vec_find(odb_now(b->db), b->q + i % b->queries * b->dim, (uint32_t)b->dim, &how,
                          &hits),
             "find");
        odb_vec_hits_free(hits);
        sum.distances += (double)stats.distances;
        sum.hops += (double)stats.hops;
        sum.pending += (double)stats.pending;
        sum.reranked += (double)stats.reranked;
    }
    n = (double)i;
    sum.qps = n / (seconds(CLOCK_THREAD_CPUTIME_ID) - t);
    sum.distances /= n;
    sum.hops /= n;
    sum.pending /= n;
    sum.reranked /= n;
    return sum;
}

static int compare_doubles(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

static double median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, compare_doubles);
    return x[n / 2];
}

static void tell_spent(const char *when, const struct spent *s)
{
    printf(
        "    %-7s %7.0f/s; a search: %.0f distances, %.1f of what waited, %.1f hops, %.1f rows\n",
        when, s->qps, s->distances, s->pending, s->hops, s->reranked);
}

/* One round; false: no thread. */
static bool run_beside_once(struct bench *b, double *around, double *first, double *idle)
{
    struct busy busy = {.b = b};
    odb_vec_stats_t from = {.size = sizeof from}, to = {.size = sizeof to};
    struct spent before, beside, after;
    double t;
    pthread_t thread;

    must(odb_vec_wait(b->db), "wait");
    before = search_for(b, 0.5);
    must(odb_vec_stats(b->db, &from), "stats");
    t = seconds(CLOCK_MONOTONIC);
    if (pthread_create(&thread, NULL, write_on, &busy) != 0)
        return false;
    (void)search_for(b, 0.1);
    beside = search_for(b, 0.5);
    atomic_store(&busy.stop, true);
    pthread_join(thread, NULL);
    t = seconds(CLOCK_MONOTONIC) - t;
    must(odb_vec_stats(b->db, &to), "stats");
    must(odb_vec_wait(b->db), "wait");
    after = search_for(b, 0.5);
    *around = 2 * beside.qps / (before.qps + after.qps);
    *first = beside.qps / before.qps;
    *idle = before.qps;
    if (b->only_beside && !b->json) {
        printf("  %.3f of idle around, %.3f of idle before; %.0f vectors linked a second of the "
               "clock, %llu dead, %llu removals\n",
               *around, *first, (double)(to.inserts - from.inserts) / t,
               (unsigned long long)to.dead,
               (unsigned long long)(to.compactions - from.compactions));
        tell_spent("before", &before);
        tell_spent("beside", &beside);
        tell_spent("after", &after);
    }
    return true;
}

static void run_beside(struct bench *b)
{
    double around[ROUNDS_MAX], first[ROUNDS_MAX], idle[ROUNDS_MAX];

    for (uint32_t round = 0; round < b->rounds; round++)
        if (!run_beside_once(b, &around[round], &first[round], &idle[round]))
            return;
    b->beside = median(around, b->rounds);
    b->beside_low = around[0];
    b->beside_high = around[b->rounds - 1];
    b->beside_first = median(first, b->rounds);
    b->idle_qps = median(idle, b->rounds);
}

static void run_writes(struct bench *b)
{
    odb_vec_bulk *hold; /* keeps the indexer from the vectors: commits alone are measured */

    must(odb_vec_bulk_begin(b->db, NULL, &hold), "bulk");
    if (!b->only_beside)
        b->put_rate = put_some(b, 20000, NULL);
    odb_vec_bulk_abort(hold);
    run_beside(b);
}

static void report(const struct bench *b)
{
    printf("%zu vectors of %zu dimensions, searched as %s\n", b->count, b->dim, b->form);
    if (b->only_beside) {
        printf("search beside a writer %.3f of idle around (%.2f to %.2f), %.3f of idle before; "
               "medians of %u\n",
               b->beside, b->beside_low, b->beside_high, b->beside_first, b->rounds);
        return;
    }
    printf("  ef   recall@10     qps     hnswlib recall     qps\n");
    for (size_t e = 0; e < EFS; e++)
        printf("%4u      %.4f  %6.0f             %.4f  %6.0f\n", efs[e], b->ours[e].recall,
               b->ours[e].qps, b->theirs[e].recall, b->theirs[e].qps);
    printf("build %.0f/s, hnswlib %.0f/s", b->build, b->their_build);
    if (b->their_build > 0)
        printf(": %.2f", b->build / b->their_build);
    printf("\nbytes %.0f, hnswlib %.0f", b->bytes, b->their_bytes);
    if (b->their_bytes > 0)
        printf(": %.2f", b->bytes / b->their_bytes);
    for (int i = 0; i < 2; i++) {
        double at = i ? 0.99 : 0.95, ours = bench_vector_qps_at(b->ours, at),
               theirs = bench_vector_qps_at(b->theirs, at);

        if (ours > 0 && theirs > 0)
            printf("\nqps at recall %.2f: %.0f, hnswlib %.0f: %.2f", at, ours, theirs,
                   ours / theirs);
    }
    printf(
        "\nopen %.2f s; commits of record and vector %.0f/s; search beside a writer %.2f of idle "
        "around (%.2f to %.2f), %.2f of idle before\n",
        b->open_s, b->put_rate, b->beside, b->beside_low, b->beside_high, b->beside_first);
}

static struct bench_vector_result result_of(const struct bench *b)
{
    struct bench_vector_result r = {
        .dim = (double)b->dim,
        .count = (double)b->count,
        .ef_construction = b->ef_construction,
        .load = b->load,
        .build = b->build,
        .their_build = b->their_build,
        .bytes = b->bytes,
        .their_bytes = b->their_bytes,
        .open_s = b->open_s,
        .put_rate = b->put_rate,
        .idle_qps = b->idle_qps,
        .beside = b->beside,
    };

    memcpy(r.date, b->machine.date, sizeof r.date);
    (void)snprintf(r.machine, sizeof r.machine, "%s, %u cores, %.1f GB; %s; %s; %s", b->machine.cpu,
                   b->machine.cores, (double)b->machine.memory / 1e9, b->machine.kernel,
                   b->machine.file_system, b->machine.compiler);
    (void)snprintf(r.command, sizeof r.command, "%s", b->command);
    memcpy(r.form, b->form, sizeof r.form);
    memcpy(r.ef, efs, sizeof r.ef);
    memcpy(r.ours, b->ours, sizeof r.ours);
    memcpy(r.theirs, b->theirs, sizeof r.theirs);
    return r;
}

/* One form, in a directory of its own below b->dir. */
static void run_form(struct bench *b, const char *form)
{
    odb_vec_stats_t s = {.size = sizeof s};

    (void)snprintf(b->form, sizeof b->form, "%.*s", (int)strcspn(form, ","), form);
    (void)mkdir(b->dir, 0777);
    (void)snprintf(b->path, sizeof b->path, "%s/%zu-%s", b->dir, b->dim, b->form);
    open_ours(b);
    if (!b->existing)
        build_ours(b);
    must(odb_vec_stats(b->db, &s), "stats");
    b->bytes = (double)s.bytes / (double)b->count;
    if (!b->only_beside)
        run_searches(b);
    must(odb_close(b->db), "close");
    b->open_s = seconds(CLOCK_MONOTONIC);
    open_ours(b);
    b->open_s = seconds(CLOCK_MONOTONIC) - b->open_s;
    run_writes(b);
    must(odb_close(b->db), "close");
    if (b->json) {
        struct bench_vector_result r = result_of(b);

        bench_vector_put_line(stdout, &r);
    } else {
        report(b);
    }
    (void)fflush(stdout);
    if (b->result_count < sizeof b->result / sizeof *b->result)
        b->result[b->result_count++] = result_of(b);
}

/* All but the directory and where the results go: what makes them what they are. */
static void keep_vector_command(struct bench *b, int argc, char **argv)
{
    size_t at = (size_t)snprintf(b->command, sizeof b->command, "odb-bench-vector DIR");

    for (int i = 1; i < argc && at < sizeof b->command; i++) {
        int n = 0;

        if (strcmp(argv[i], "--html") == 0)
            i++;
        else if (argv[i] != b->dir && strcmp(argv[i], "--json") != 0 && !strpbrk(argv[i], "\"\\\n"))
            n = snprintf(b->command + at, sizeof b->command - at, " %s", argv[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

int main(int argc, char **argv)
{
    struct bench b = {.forms = "f32",
                      .dim = 384,
                      .count = 50000,
                      .queries = 500,
                      .threads = 1,
                      .rounds = ROUNDS,
                      .ef_construction = EF_BUILD};

    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--dim") == 0)
            b.dim = strtoul(argv[++i] ? next : "", NULL, 10);
        else if (strcmp(argv[i], "--count") == 0)
            b.count = strtoul(argv[++i] ? next : "", NULL, 10);
        else if (strcmp(argv[i], "--queries") == 0)
            b.queries = strtoul(argv[++i] ? next : "", NULL, 10);
        else if (strcmp(argv[i], "--threads") == 0)
            b.threads = (uint32_t)strtoul(argv[++i] ? next : "", NULL, 10);
        else if (strcmp(argv[i], "--ef-construction") == 0)
            b.ef_construction = (uint32_t)strtoul(argv[++i] ? next : "", NULL, 10);
        else if (strcmp(argv[i], "--html") == 0 && argv[++i])
            b.html = next;
        else if (strcmp(argv[i], "--form") == 0 && argv[++i])
            b.forms = next;
        else if (strcmp(argv[i], "--skip-hnswlib") == 0)
            b.skip_hnswlib = true;
        else if (strcmp(argv[i], "--existing") == 0)
            b.existing = true;
        else if (strcmp(argv[i], "--rounds") == 0)
            b.rounds = (uint32_t)strtoul(argv[++i] ? next : "", NULL, 10);
        else if (strcmp(argv[i], "--beside") == 0)
            b.only_beside = b.skip_hnswlib = true;
        else if (strcmp(argv[i], "--json") == 0)
            b.json = true;
        else if (argv[i][0] != '-' && !b.dir)
            b.dir = argv[i];
        else
            b.dim = 0;
    }
    if (!b.dir || b.dim == 0 || b.count < 100 || b.queries == 0 || b.threads == 0 ||
        b.rounds == 0 || b.rounds > ROUNDS_MAX) {
        fprintf(stderr,
                "usage: odb-bench-vector DIR [--dim D] [--count N] [--form f32,f16,i8]\n"
                "       [--queries Q] [--threads T] [--skip-hnswlib] [--json] [--html FILE]\n"
                "       [--ef-construction E] [--existing] [--rounds N] [--beside]\n");
        return 2;
    }
    (void)mkdir(b.dir, 0777);
    bench_machine_read(&b.machine, b.dir);
    keep_vector_command(&b, argc, argv);
    if (getloadavg(&b.load, 1) != 1)
        b.load = 0;
    b.x = make_data(b.count + b.queries, b.dim);
    b.q = b.x + b.count * b.dim;
    if (!b.only_beside)
        find_truth(&b);
#ifdef BENCH_HNSWLIB
    if (!b.skip_hnswlib)
        build_theirs(&b); /* while the heap is clean: its memory is what the process grows by */
#else
    (void)resident_bytes;
#endif
    for (const char *form = b.forms; *form;
         form += strcspn(form, ",") + (strchr(form, ',') != NULL))
        run_form(&b, form);
    if (b.html) {
        FILE *page = fopen(b.html, "w");

        if (!page) {
            fprintf(stderr, "%s: cannot be written\n", b.html);
            return 1;
        }
        bench_vector_page(page, b.result, b.result_count);
        if (fclose(page) != 0)
            return 1;
    }
#ifdef BENCH_HNSWLIB
    bench_hnswlib_free(b.peer);
#endif
    free(b.x);
    free(b.truth);
    return 0;
}
