/* bench/hist.c -- see hist.h. */
#include "bench/hist.h"

uint64_t bench_hist_floor(uint32_t bucket)
{
    uint32_t shift;

    if (bucket < 2 * BENCH_HIST_SUB)
        return bucket;
    shift = bucket / BENCH_HIST_SUB - 1;
    return (uint64_t)(bucket % BENCH_HIST_SUB + BENCH_HIST_SUB) << shift;
}

void bench_hist_merge(struct bench_hist *into, const struct bench_hist *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    for (uint32_t i = 0; i < BENCH_HIST_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t bench_hist_percentile(const struct bench_hist *h, double p)
{
    double want = (double)h->count * p / 100;
    uint64_t seen = 0;

    for (uint32_t i = 0; i < BENCH_HIST_BUCKETS; i++) {
        uint64_t top;

        seen += h->bucket[i];
        if (h->bucket[i] == 0 || (double)seen < want)
            continue;
        top = bench_hist_floor(i + 1) - 1;
        return top < h->max ? top : h->max;
    }
    return h->max;
}
