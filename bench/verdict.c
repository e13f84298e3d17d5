/* bench/verdict.c -- see verdict.h. */
#include "bench/verdict.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *n, size_t count)
{
    qsort(n, count, sizeof *n, by_size);
    return count % 2 ? n[count / 2] : (n[count / 2 - 1] + n[count / 2]) / 2;
}

void bench_judge(double *ratio, size_t count, struct bench_verdict *out)
{
    out->median = bench_median(ratio, count);
    out->low = ratio[0];
    out->high = ratio[count - 1];
    if (count < BENCH_ENOUGH_PAIRS)
        out->winner = BENCH_TOO_FEW;
    else if (out->low > 1)
        out->winner = BENCH_FIRST;
    else if (out->high < 1)
        out->winner = BENCH_SECOND;
    else
        out->winner = BENCH_OPEN;
}
