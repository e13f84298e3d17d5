/* bench/fill.c -- odb-fill: load many small pairs, read them back, look at time and memory.
 *
 * The workloads and their lines are those of RocksDB's db_bench, so that the two can be run one after
 * the other on the same machine: 16-byte keys (an 8-byte big-endian number and eight '0'), values of
 * 100 bytes that compress to about half. One thread, default durability. Keys are drawn with
 * replacement; reading draws from another seed than writing.
 */
#include "api/opendb.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define KEY_SIZE   16
#define VALUE_SIZE 100
#define POOL_SIZE  (1u << 20)

struct fill {
    odb_db *db;
    uint64_t num;
    uint64_t state; /* of the generator */
    char *pool;     /* values are cut from here */
    size_t pool_at;
};

struct step {
    const char *name;
    const char *help;
    uint64_t (*run)(struct fill *f); /* returns the operations done */
};

static double fill_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(odb_status st)
{
    if (st == ODB_OK)
        return;
    fprintf(stderr, "odb-fill: %s: %s\n", odb_status_name(st), odb_error_text());
    exit(1);
}

static uint64_t draw(struct fill *f)
{
    f->state ^= f->state << 13;
    f->state ^= f->state >> 7;
    f->state ^= f->state << 17;
    return f->state * 0x2545f4914f6cdd1du;
}

static odb_slice make_key(char *key, uint64_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 8)
        key[i] = (char)n;
    memset(key + 8, '0', KEY_SIZE - 8);
    return odb_bytes(key, KEY_SIZE);
}

static odb_slice next_value(struct fill *f)
{
    odb_slice v = odb_bytes(f->pool + f->pool_at, VALUE_SIZE);

    f->pool_at = (f->pool_at + VALUE_SIZE) % (POOL_SIZE - VALUE_SIZE);
    return v;
}

static void make_pool(struct fill *f)
{
    f->pool = malloc(POOL_SIZE);
    if (!f->pool)
        exit(1);
    f->state = 301;
    for (size_t i = 0; i + VALUE_SIZE <= POOL_SIZE; i += VALUE_SIZE) {
        for (size_t k = 0; k < VALUE_SIZE / 2; k++)
            f->pool[i + k] = (char)(' ' + draw(f) % 95);
        memcpy(f->pool + i + VALUE_SIZE / 2, f->pool + i, VALUE_SIZE / 2);
    }
}

/* ---- steps ---- */

static uint64_t fill_keys(struct fill *f, uint64_t seed, bool in_order)
{
    char key[KEY_SIZE];

    f->state = seed;
    for (uint64_t i = 0; i < f->num; i++)
        must(odb_put(f->db, NULL, make_key(key, in_order ? i : draw(f) % f->num), next_value(f),
                     NULL));
    return f->num;
}

static uint64_t fillseq(struct fill *f)
{
    return fill_keys(f, 1, true);
}

static uint64_t fillrandom(struct fill *f)
{
    return fill_keys(f, 12345, false);
}

static uint64_t overwrite(struct fill *f)
{
    return fill_keys(f, 777, false);
}

static uint64_t settle(struct fill *f)
{
    must(odb_flush(f->db, NULL));
    must(odb_wait_idle(f->db));
    return f->num;
}

/* Every key that fillrandom wrote must be there. */
static uint64_t readall(struct fill *f)
{
    char key[KEY_SIZE];

    f->state = 12345;
    for (uint64_t i = 0; i < f->num; i++) {
        odb_value v;

        must(odb_get(odb_now(f->db), NULL, make_key(key, draw(f) % f->num), &v));
        odb_value_release(&v);
    }
    return f->num;
}

static uint64_t readrandom(struct fill *f)
{
    uint64_t found = 0;
    char key[KEY_SIZE];

    f->state = 999;
    for (uint64_t i = 0; i < f->num; i++) {
        odb_value v;
        odb_status st = odb_get(odb_now(f->db), NULL, make_key(key, draw(f) % f->num), &v);

        if (st == ODB_ABSENT)
            continue;
        must(st);
        odb_value_release(&v);
        found++;
    }
    printf("               (%llu of %llu found)\n", (unsigned long long)found,
           (unsigned long long)f->num);
    return f->num;
}

static uint64_t walk(struct fill *f, bool forward)
{
    uint64_t n = 0;
    odb_iter *it;

    must(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    for (bool ok = forward ? odb_iter_first(it) : odb_iter_last(it); ok;
         ok = forward ? odb_iter_next(it) : odb_iter_prev(it))
        n++;
    must(odb_iter_status(it));
    odb_iter_free(it);
    return n ? n : 1;
}

static uint64_t readseq(struct fill *f)
{
    return walk(f, true);
}

static uint64_t readreverse(struct fill *f)
{
    return walk(f, false);
}

static uint64_t seekrandom(struct fill *f)
{
    uint64_t n = f->num / 5 + 1;
    char key[KEY_SIZE];

    f->state = 4444;
    for (uint64_t i = 0; i < n; i++) {
        odb_iter *it;

        must(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
        (void)odb_iter_seek(it, make_key(key, draw(f) % f->num));
        must(odb_iter_status(it));
        odb_iter_free(it);
    }
    return n;
}

static uint64_t compact(struct fill *f)
{
    must(odb_compact(f->db, NULL, NULL, NULL, NULL));
    return f->num;
}

static uint64_t die(struct fill *f)
{
    (void)f;
    (void)fflush(stdout);
    (void)raise(SIGKILL);
    return 1;
}

static const struct step steps[] = {
    {"fillseq", "put the keys in order", fillseq},
    {"fillrandom", "put them in random order, with repetitions", fillrandom},
    {"overwrite", "the same with another seed", overwrite},
    {"settle", "flush, and wait until all merging is done", settle},
    {"readall", "get every key that fillrandom put; all must be there", readall},
    {"readrandom", "get random keys", readrandom},
    {"readseq", "walk over all keys", readseq},
    {"readreverse", "walk back over all keys", readreverse},
    {"seekrandom", "a new iterator and a seek each, num / 5 times", seekrandom},
    {"compact", "merge everything down", compact},
    {"die", "SIGKILL: the next run shows how long recovery takes", die},
};

#define STEP_COUNT (sizeof steps / sizeof steps[0])

static int usage(FILE *to, int code)
{
    fprintf(to, "Usage: odb-fill DIR [--num N] [--memory BYTES] [--steps a,b,c]\n\n"
                "Runs the steps one after the other on the database in DIR and prints, for each,\n"
                "microseconds per operation and the peak memory of the process. Default: 5000000\n"
                "keys, fillrandom,settle,readall,readseq; a cache of 1 GiB unless --memory sets\n"
                "the one budget for everything.\n\n");
    for (size_t i = 0; i < STEP_COUNT; i++)
        fprintf(to, "  %-12s %s\n", steps[i].name, steps[i].help);
    fprintf(to, "\n  odb-fill /tmp/db --num 1000000 --steps fillrandom,die; odb-fill /tmp/db "
                "--steps readseq\n");
    return code;
}

static void run_step(struct fill *f, const char *name)
{
    for (size_t i = 0; i < STEP_COUNT; i++) {
        struct rusage used;
        double began, took;
        uint64_t ops;

        if (strcmp(steps[i].name, name) != 0)
            continue;
        began = fill_now();
        ops = steps[i].run(f);
        took = fill_now() - began;
        (void)getrusage(RUSAGE_SELF, &used);
        printf("%-12s : %9.3f micros/op %9.0f ops/sec %.3f seconds %llu operations; peak memory "
               "%ld MB\n",
               name, took * 1e6 / (double)ops, (double)ops / took, took, (unsigned long long)ops,
               used.ru_maxrss / 1024);
        (void)fflush(stdout);
        return;
    }
    exit(usage(stderr, 2));
}

static void report_open(const struct fill *f, double took)
{
    odb_stats_t s = {.size = sizeof s};

    must(odb_stats(f->db, NULL, &s));
    printf("open         : %9.3f ms", took * 1e3);
    if (s.recovered_records)
        printf(", %llu records of the log replayed, %.0f MB/s",
               (unsigned long long)s.recovered_records, (double)s.recovered_bytes / 1e6 / took);
    printf("\n");
}

int main(int argc, char **argv)
{
    char steps_wanted[512] = "fillrandom,settle,readall,readseq";
    odb_options opt = odb_options_default();
    struct fill f = {.num = 5000000};
    const char *dir = NULL;
    double began;

    opt.cache_size = (uint64_t)1 << 30;
    for (int i = 1; i < argc; i++) {
        const char *more = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--help") == 0)
            return usage(stdout, 0);
        if (strcmp(argv[i], "--num") == 0 && more) {
            f.num = strtoull(more, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--memory") == 0 && more) {
            opt.memory_budget = strtoull(more, NULL, 10);
            opt.cache_size = 0;
            i++;
        } else if (strcmp(argv[i], "--steps") == 0 && more) {
            (void)snprintf(steps_wanted, sizeof steps_wanted, "%s", more);
            i++;
        } else if (argv[i][0] != '-' && !dir) {
            dir = argv[i];
        } else {
            return usage(stderr, 2);
        }
    }
    if (!dir || f.num == 0)
        return usage(stderr, 2);
    make_pool(&f);
    began = fill_now();
    must(odb_open(dir, &opt, &f.db));
    report_open(&f, fill_now() - began);
    for (char *name = strtok(steps_wanted, ","); name; name = strtok(NULL, ","))
        run_step(&f, name);
    began = fill_now();
    must(odb_close(f.db));
    printf("close        : %9.3f ms\n", (fill_now() - began) * 1e3);
    free(f.pool);
    return 0;
}
