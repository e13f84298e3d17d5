/* Chance and data: zipfian shares, key order, values that shrink as asked. */
#include "tests/bench/bench_test.h"

#include "bench/draw.h"

#include <math.h>
#include <stdlib.h>

/* The share of each rank is what the law says, within the noise of a million draws. */
static void zipfian_ranks_have_their_shares(void **state)
{
    enum { N = 1000, DRAWS = 1000000 };
    uint32_t *seen = calloc(N, sizeof *seen);
    struct bench_zipf z;
    struct bench_rng r;
    double zeta = 0, tail = 0, tail_want = 0;

    (void)state;
    assert_non_null(seen);
    bench_zipf_init(&z, N, 0.99);
    bench_rng_init(&r, 7);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t rank = bench_zipf_next(&z, &r);

        assert_true(rank < N);
        seen[rank]++;
    }
    for (int k = 1; k <= N; k++)
        zeta += pow(k, -0.99);
    for (int k = 0; k < 2; k++) { /* these two are exact */
        double want = DRAWS * pow(k + 1, -0.99) / zeta;

        assert_true(fabs(seen[k] - want) < 0.02 * want);
    }
    for (int k = 100; k < N; k++) { /* the rest is an approximation: as a whole it is close */
        tail += seen[k];
        tail_want += DRAWS * pow(k + 1, -0.99) / zeta;
    }
    assert_true(fabs(tail - tail_want) < 0.05 * tail_want);
    assert_true(seen[0] > seen[10] && seen[10] > seen[100]);
    free(seen);
}

static void zipfian_over_one_and_two_keys_works(void **state)
{
    struct bench_zipf z;
    struct bench_rng r;
    int ones = 0;

    (void)state;
    bench_rng_init(&r, 1);
    bench_zipf_init(&z, 1, 0.99);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(bench_zipf_next(&z, &r), 0);
    bench_zipf_init(&z, 2, 0.5);
    for (int i = 0; i < 10000; i++) {
        uint64_t rank = bench_zipf_next(&z, &r);

        assert_true(rank < 2);
        ones += rank == 1;
    }
    assert_true(ones > 3800 && ones < 4500); /* 0.707 / 1.707 of them */
}

static void random_numbers_repeat_with_their_seed_only(void **state)
{
    struct bench_rng a, b, c;
    int same = 0;

    (void)state;
    bench_rng_init(&a, 5);
    bench_rng_init(&b, 5);
    bench_rng_init(&c, 6);
    for (int i = 0; i < 1000; i++) {
        uint64_t n = bench_rng_next(&a);

        assert_int_equal(n, bench_rng_next(&b));
        same += n == bench_rng_next(&c);
    }
    assert_int_equal(same, 0);
    for (int i = 0; i < 1000; i++) {
        double d = bench_rng_real(&a);

        assert_true(d >= 0 && d < 1);
    }
}

static void keys_are_ordered_as_their_numbers(void **state)
{
    static const struct {
        const char *shape;
        uint64_t size;
    } shapes[] = {{"binary", 16}, {"decimal", 16}, {"prefix", 56}, {"binary", 8}};
    static const uint64_t n[] = {0, 1, 9, 10, 255, 256, 65535, 65536, 999999, 1000000, 16777216};
    struct bench_settings s;
    struct bench_keys k;

    (void)state;
    for (size_t f = 0; f < sizeof shapes / sizeof shapes[0]; f++) {
        char a[BENCH_KEY_MAX], b[BENCH_KEY_MAX];

        bench_settings_init(&s);
        (void)snprintf(s.key_shape, sizeof s.key_shape, "%s", shapes[f].shape);
        s.key_size = shapes[f].size;
        bench_keys_init(&k, &s);
        for (size_t i = 1; i < sizeof n / sizeof n[0]; i++) {
            odb_slice low = bench_key(&k, a, n[i - 1]), high = bench_key(&k, b, n[i]);

            assert_int_equal(low.size, shapes[f].size);
            assert_int_equal(high.size, shapes[f].size);
            assert_true(odb_slice_compare(low, high) < 0);
        }
    }
    bench_settings_init(&s);
    (void)snprintf(s.key_shape, sizeof s.key_shape, "decimal");
    bench_keys_init(&k, &s);
    {
        char buf[BENCH_KEY_MAX];

        assert_memory_equal(bench_key(&k, buf, 42).data, "user000000000042", 16);
    }
}

static void draws_stay_among_the_keys(void **state)
{
    struct bench_settings s;
    struct bench_keys k;
    struct bench_rng r;
    int newest = 0;

    (void)state;
    bench_settings_init(&s);
    s.num = 1000;
    bench_keys_init(&k, &s);
    bench_zipf_init(&k.zipf, s.num, 0.99);
    bench_rng_init(&r, 3);
    for (int i = 0; i < 10000; i++) {
        assert_true(bench_draw(&k, BENCH_UNIFORM, &r, 0) < 1000);
        assert_true(bench_draw(&k, BENCH_ZIPFIAN, &r, 0) < 1000);
        assert_true(bench_draw(&k, BENCH_LATEST, &r, 4999) <= 4999);
        assert_true(bench_draw(&k, BENCH_LATEST, &r, 3) <= 3);
        newest += bench_draw(&k, BENCH_LATEST, &r, 4999) > 4899;
    }
    assert_true(newest > 5000); /* a hundred of the newest get most of it */
}

/* Repeating pieces: `ratio` of each hundred bytes is new. */
static void values_repeat_as_the_ratio_says(void **state)
{
    struct bench_settings s;
    size_t size;
    char *pool;

    (void)state;
    bench_settings_init(&s);
    s.compression_ratio = 0.25;
    pool = bench_pool_new(&s, &size);
    assert_non_null(pool);
    for (size_t at = 0; at + 100 <= size; at += 100)
        for (size_t i = 25; i < 100; i++)
            assert_int_equal(pool[at + i], pool[at + i - 25]);
    assert_memory_not_equal(pool, pool + 100, 25);
    {
        struct bench_values v = {pool, size, 0, 100};

        for (size_t i = 0; i < 3 * size / 100; i++) {
            odb_slice one = bench_value(&v);

            assert_int_equal(one.size, 100);
            assert_true((const char *)one.data >= pool &&
                        (const char *)one.data + 100 <= pool + size);
        }
    }
    free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zipfian_ranks_have_their_shares),
        cmocka_unit_test(zipfian_over_one_and_two_keys_works),
        cmocka_unit_test(random_numbers_repeat_with_their_seed_only),
        cmocka_unit_test(keys_are_ordered_as_their_numbers),
        cmocka_unit_test(draws_stay_among_the_keys),
        cmocka_unit_test(values_repeat_as_the_ratio_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
