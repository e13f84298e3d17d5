/* Every adapter against an ordered map of this test: puts, batches, deletes, and every way to read, in a
 * random order whose seed is printed. What an adapter counts wrongly, the benchmark would report. */
#include "tests/bench/bench_test.h"

#include "bench/engine.h"
#include "bench/draw.h"
#include "bench/measure.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEYS     300
#define FAMILIES 3

struct trial {
    const struct bench_engine *e;
    struct bench_settings s;
    struct bench_keys keys;
    struct bench_rng rng;
    uint32_t families;
    char dir[64];
    void *db, *session;
    uint32_t size[FAMILIES][KEYS]; /* of the value; 0: absent */
    char value[4096];
};

static uint32_t below(struct trial *t, uint32_t n)
{
    return (uint32_t)(bench_rng_next(&t->rng) % n);
}

/* RocksDB's transactional databases have no reads outside transactions here: nothing to compare. */
static bool is_transactional(const struct bench_engine *e)
{
    return strcmp(e->name, "rocksdb-occ") == 0 || strcmp(e->name, "rocksdb-txn") == 0;
}

static void begin_one(struct trial *t, const struct bench_engine *e, uint64_t seed,
                      uint32_t families)
{
    memset(t, 0, sizeof *t);
    t->e = e;
    bench_settings_init(&t->s);
    t->s.num = KEYS;
    t->s.cache_size = 1 << 20;
    t->s.write_buffer_size = 1 << 20;
    t->families = families;
    t->s.families = t->families;
    bench_keys_init(&t->keys, &t->s);
    bench_rng_init(&t->rng, seed);
    memset(t->value, 'v', sizeof t->value);
    (void)snprintf(t->dir, sizeof t->dir, "/tmp/bench-test-%ld-%s", (long)getpid(), e->name);
    bench_remove_dir(t->dir);
    assert_int_equal(mkdir(t->dir, 0777), 0);
    t->db = e->open(&t->s, t->dir);
    t->session = e->session_new(t->db);
}

static void begin(struct trial *t, const struct bench_engine *e, uint64_t seed)
{
    begin_one(t, e, seed, strcmp(e->name, "leveldb") == 0 ? 1 : FAMILIES);
}

static void end(struct trial *t)
{
    t->e->session_free(t->session);
    t->e->close(t->db);
    bench_remove_dir(t->dir);
}

static void write_one(struct trial *t)
{
    char key[BENCH_KEY_MAX];
    uint32_t f = below(t, t->families), k = below(t, KEYS), size = 1 + below(t, 4000);

    if (below(t, 4) == 0) {
        t->e->remove(t->session, f, bench_key(&t->keys, key, k));
        t->size[f][k] = 0;
    } else {
        t->e->put(t->session, f, bench_key(&t->keys, key, k), odb_bytes(t->value, size));
        t->size[f][k] = size;
    }
}

static void write_batch(struct trial *t)
{
    uint32_t n = 1 + below(t, 20);
    char key[BENCH_KEY_MAX];

    for (uint32_t i = 0; i < n; i++) {
        uint32_t f = below(t, t->families), k = below(t, KEYS), size = 1 + below(t, 100);

        t->e->batch_put(t->session, f, bench_key(&t->keys, key, k), odb_bytes(t->value, size));
        t->size[f][k] = size;
    }
    t->e->batch_commit(t->session);
}

/* Sizes, plus the low bit of each value's last byte: 'v' is even, so nothing is added. */
static void read_points(struct trial *t)
{
    static char text[64][BENCH_KEY_MAX];
    odb_slice keys[64];
    uint64_t bytes = 0, want = 0, found = 0;
    uint32_t f = below(t, t->families);

    for (uint32_t i = 0; i < 64; i++) {
        uint32_t k = below(t, KEYS);
        uint64_t one = 0;

        keys[i] = bench_key(&t->keys, text[i], k);
        want += t->size[f][k];
        found += t->size[f][k] > 0;
        assert_int_equal(t->e->get(t->session, f, keys[i], &one), t->size[f][k] > 0);
        assert_int_equal(one, t->size[f][k]);
    }
    assert_int_equal(bench_multiget(t->e, t->session, f, keys, 64, &bytes), found);
    assert_int_equal(bytes, want);
    keys[0] = bench_key(&t->keys, text[0], KEYS + 5);
    assert_false(t->e->get(t->session, f, keys[0], &bytes));
    assert_int_equal(bytes, want);
}

static void read_walks(struct trial *t)
{
    uint32_t f = below(t, t->families), from = below(t, KEYS), nexts = below(t, 10), n = 0,
             limit = 1 + below(t, 50), all = 0;
    uint64_t bytes = 0, want = 0, total = 0;
    char key[BENCH_KEY_MAX];

    for (uint32_t k = 0; k < KEYS; k++) {
        all += t->size[f][k] > 0;
        total += t->size[f][k];
        if (k >= from && t->size[f][k] && n <= nexts) {
            want += t->size[f][k];
            n++;
        }
    }
    assert_int_equal(t->e->seek(t->session, f, bench_key(&t->keys, key, from), nexts, &bytes), n);
    assert_int_equal(bytes, want);
    for (int forward = 0; forward < 2; forward++) {
        bytes = 0;
        assert_int_equal(t->e->scan(t->session, f, forward, UINT64_MAX, &bytes), all);
        assert_int_equal(bytes, total);
        assert_int_equal(t->e->scan(t->session, f, forward, limit, &bytes),
                         all < limit ? all : limit);
    }
}

static void do_upkeep(struct trial *t)
{
    switch (below(t, 3)) {
    case 0:
        if (t->e->flush)
            t->e->flush(t->db);
        break;
    case 1:
        if (t->e->compact)
            t->e->compact(t->db);
        break;
    default:
        if (strcmp(t->e->name, "memory") == 0)
            break; /* forgets what it knew */
        t->e->session_free(t->session);
        t->e->close(t->db);
        t->db = t->e->open(&t->s, t->dir);
        t->session = t->e->session_new(t->db);
    }
}

static void every_engine_answers_as_a_map(void **state)
{
    const char *asked = getenv("ODB_TEST_SEED");
    uint64_t seed = asked ? strtoull(asked, NULL, 10) : (uint64_t)time(NULL);
    struct trial *t = calloc(1, sizeof *t);

    (void)state;
    assert_non_null(t);
    printf("ODB_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; bench_engines[i]; i++) {
        if (is_transactional(bench_engines[i]))
            continue;
        begin(t, bench_engines[i], seed);
        for (int step = 0; step < 1200; step++) {
            uint32_t what = below(t, 100);

            if (what < 80)
                write_one(t);
            else if (what < 88)
                write_batch(t);
            else if (what < 94)
                read_points(t);
            else if (what < 99)
                read_walks(t);
            else
                do_upkeep(t);
        }
        read_points(t);
        read_walks(t);
        end(t);
    }
    free(t);
}

static void transactions_read_what_they_replace(void **state)
{
    struct trial *t = calloc(1, sizeof *t);
    unsigned tried = 0;

    (void)state;
    assert_non_null(t);
    for (size_t i = 0; bench_engines[i]; i++) {
        const struct bench_engine *e = bench_engines[i];
        bool locks = strcmp(e->name, "rocksdb-txn") == 0;
        char text[3][BENCH_KEY_MAX];
        odb_slice keys[3];
        uint64_t bytes = 0;

        if (!e->transact)
            continue;
        tried++;
        begin_one(t, e, 1, 1);
        for (uint64_t k = 0; k < 3; k++)
            keys[k] = bench_key(&t->keys, text[k], k);
        t->e->put(t->session, 0, keys[0], odb_bytes(t->value, 700));
        t->e->put(t->session, 0, keys[1], odb_bytes(t->value, 3000));
        assert_true(
            e->transact(t->session, 0, keys, 3, odb_bytes(t->value, 50), true, locks, &bytes));
        assert_int_equal(bytes, 3700); /* the third was not there */
        bytes = 0;
        assert_true(
            e->transact(t->session, 0, keys, 3, odb_bytes(t->value, 60), false, locks, &bytes));
        assert_int_equal(bytes, 0);
        assert_true(e->get(t->session, 0, keys[2], &bytes));
        assert_int_equal(bytes, 60);
        end(t);
    }
    assert_true(tried >= 2); /* the tree and the map */
    free(t);
}

static void every_engine_says_what_it_is(void **state)
{
    struct bench_settings s;

    (void)state;
    bench_settings_init(&s);
    for (size_t i = 0; bench_engines[i]; i++) {
        const struct bench_engine *e = bench_engines[i];
        char text[128] = "", warning[128] = "unset";
        struct bench_parity p;

        e->describe(text, sizeof text, warning, sizeof warning);
        assert_true(strlen(text) > 3);
        assert_string_not_equal(warning, "unset");
        memset(&p, 0, sizeof p);
        e->parity(&s, &p);
#define SAYS(field) assert_true(strlen(p.field) > 1 && strlen(p.field) + 1 < sizeof p.field);
        BENCH_PARITY(SAYS)
        assert_ptr_equal(bench_engine_find(e->name, strlen(e->name)), e);
        assert_null(bench_engine_find(e->name, strlen(e->name) - 1));
    }
}

/* The guard against a mistyped --db. */
static void only_directories_of_the_benchmark_are_removed(void **state)
{
    char dir[64], file[96], sub[96];
    FILE *f;

    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/bench-test-%ld-dir", (long)getpid());
    (void)snprintf(sub, sizeof sub, "%s/sub", dir);
    (void)snprintf(file, sizeof file, "%s/sub/file", dir);
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_int_equal(mkdir(sub, 0777), 0);
    f = fopen(file, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    bench_remove_dir(dir);
    assert_int_not_equal(access(dir, F_OK), 0);
    bench_remove_dir(dir); /* absent is fine */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_engine_answers_as_a_map),
        cmocka_unit_test(transactions_read_what_they_replace),
        cmocka_unit_test(every_engine_says_what_it_is),
        cmocka_unit_test(only_directories_of_the_benchmark_are_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
