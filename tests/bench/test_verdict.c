/* Ratios: the median, its spread, and when no winner may be named. */
#include "tests/bench/bench_test.h"

#include "bench/verdict.h"

static void the_median_is_the_middle_or_the_mean_of_two(void **state)
{
    double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2}, one[] = {7};

    (void)state;
    assert_true(bench_median(odd, 3) == 5);
    assert_true(bench_median(even, 4) == 2.5);
    assert_true(bench_median(one, 1) == 7);
}

static void five_pairs_that_agree_name_a_winner(void **state)
{
    double faster[] = {1.4, 1.1, 1.3, 1.01, 2.0}, slower[] = {0.9, 0.5, 0.99, 0.8, 0.7};
    struct bench_verdict v;

    (void)state;
    bench_judge(faster, 5, &v);
    assert_int_equal(v.winner, BENCH_FIRST);
    assert_true(v.median == 1.3 && v.low == 1.01 && v.high == 2.0);
    bench_judge(slower, 5, &v);
    assert_int_equal(v.winner, BENCH_SECOND);
}

static void a_spread_that_crosses_or_touches_one_names_none(void **state)
{
    double crossing[] = {9, 9, 9, 9, 0.99, 9, 9}, touching[] = {1, 1.1, 1.2, 1.3, 1.4},
           below[] = {1, 0.9, 0.8, 0.7, 0.6};
    struct bench_verdict v;

    (void)state;
    bench_judge(crossing, 7, &v);
    assert_int_equal(v.winner, BENCH_OPEN);
    bench_judge(touching, 5, &v);
    assert_int_equal(v.winner, BENCH_OPEN);
    bench_judge(below, 5, &v);
    assert_int_equal(v.winner, BENCH_OPEN);
}

static void four_pairs_are_too_few_however_clear(void **state)
{
    double clear[] = {100, 100, 100, 100};
    struct bench_verdict v;

    (void)state;
    bench_judge(clear, 4, &v);
    assert_int_equal(v.winner, BENCH_TOO_FEW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_median_is_the_middle_or_the_mean_of_two),
        cmocka_unit_test(five_pairs_that_agree_name_a_winner),
        cmocka_unit_test(a_spread_that_crosses_or_touches_one_names_none),
        cmocka_unit_test(four_pairs_are_too_few_however_clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
