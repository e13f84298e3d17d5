/* Latencies: buckets, percentiles against a sorted list, merging. */
#include "tests/bench/bench_test.h"

#include "bench/draw.h"
#include "bench/hist.h"

#include <stdlib.h>
#include <string.h>

static void buckets_follow_one_another_without_gap(void **state)
{
    (void)state;
    for (uint32_t i = 0; i + 1 < BENCH_HIST_BUCKETS; i++) {
        uint64_t low = bench_hist_floor(i), next = bench_hist_floor(i + 1);

        assert_true(low < next);
        assert_int_equal(bench_hist_bucket(low), i);
        assert_int_equal(bench_hist_bucket(next - 1), i);
        assert_true(next - low == 1 || (next - low) * BENCH_HIST_SUB <= low); /* 1/32 at most */
    }
    assert_int_equal(bench_hist_bucket(UINT64_MAX), BENCH_HIST_BUCKETS - 1);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void percentiles_are_those_of_a_sorted_list(void **state)
{
    static const double ask[] = {1, 25, 50, 90, 99, 99.9, 99.99, 100};
    struct bench_hist *h = calloc(1, sizeof *h);
    size_t n = 100000;
    uint64_t *all = malloc(n * sizeof *all), sum = 0;
    struct bench_rng r;

    (void)state;
    assert_non_null(h);
    assert_non_null(all);
    bench_rng_init(&r, 42);
    for (size_t i = 0; i < n; i++) { /* over nine powers of ten, most of them small */
        all[i] = bench_rng_next(&r) >> (24 + bench_rng_next(&r) % 38);
        sum += all[i];
        bench_hist_add(h, all[i]);
    }
    qsort(all, n, sizeof *all, by_size);
    assert_int_equal(h->count, n);
    assert_int_equal(h->sum, sum);
    assert_int_equal(h->max, all[n - 1]);
    for (size_t i = 0; i < sizeof ask / sizeof ask[0]; i++) {
        size_t rank = (size_t)((double)n * ask[i] / 100 + 0.999999);
        uint64_t want = all[rank ? rank - 1 : 0], got = bench_hist_percentile(h, ask[i]);

        assert_true(got >= want);
        assert_true(got <= want + want / BENCH_HIST_SUB + 1);
    }
    free(h);
    free(all);
}

static void an_empty_one_says_nothing_and_one_value_says_itself(void **state)
{
    struct bench_hist *h = calloc(1, sizeof *h);

    (void)state;
    assert_non_null(h);
    assert_int_equal(bench_hist_percentile(h, 50), 0);
    bench_hist_add(h, 1000003);
    assert_int_equal(bench_hist_percentile(h, 0.1), 1000003);
    assert_int_equal(bench_hist_percentile(h, 100), 1000003);
    free(h);
}

static void merging_is_adding_all(void **state)
{
    struct bench_hist *h = calloc(3, sizeof *h);

    (void)state;
    assert_non_null(h);
    for (uint64_t i = 0; i < 5000; i++) {
        bench_hist_add(&h[i % 3 == 0], i * i);
        bench_hist_add(&h[2], i * i);
    }
    assert_memory_not_equal(&h[0], &h[2], sizeof *h);
    bench_hist_merge(&h[0], &h[1]);
    assert_memory_equal(&h[0], &h[2], sizeof *h);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_follow_one_another_without_gap),
        cmocka_unit_test(percentiles_are_those_of_a_sorted_list),
        cmocka_unit_test(an_empty_one_says_nothing_and_one_value_says_itself),
        cmocka_unit_test(merging_is_adding_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
