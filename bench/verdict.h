/* bench/verdict.h -- what a few paired measurements allow one to say. */
#ifndef BENCH_VERDICT_H
#define BENCH_VERDICT_H

#include <stddef.h>

enum bench_winner {
    BENCH_TOO_FEW, /* fewer than five pairs */
    BENCH_OPEN,    /* some pairs went one way, some the other */
    BENCH_FIRST,
    BENCH_SECOND,
};

#define BENCH_ENOUGH_PAIRS 5

struct bench_verdict {
    double median; /* above 1: the first is so many times as good */
    double low, high;
    enum bench_winner winner;
};

/* `ratio` holds one number a pair, above 1 where the first engine was better; it is sorted. A winner
 * is named only when every one of at least five pairs says so. `count` is at least 1. */
void bench_judge(double *ratio, size_t count, struct bench_verdict *out);

/* The middle of `count` numbers, which are sorted; of an even count, the mean of the two. */
double bench_median(double *n, size_t count);

#endif
