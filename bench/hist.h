/* bench/hist.h -- latencies: counts in buckets that are never more than 1/32 wide. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define BENCH_HIST_SUB     32 /* buckets a power of two */
#define BENCH_HIST_BUCKETS (BENCH_HIST_SUB * 40)

/* Nanoseconds, up to about five hours; all zeros is empty. */
struct bench_hist {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t bucket[BENCH_HIST_BUCKETS];
};

/* Values below 32 have a bucket each; from there on, 32 buckets for every doubling. */
static inline uint32_t bench_hist_bucket(uint64_t ns)
{
    uint32_t shift, at;

    if (ns < BENCH_HIST_SUB)
        return (uint32_t)ns;
    shift = 58u - (uint32_t)__builtin_clzll(ns); /* leaves the top six bits, 32 to 63 */
    at = shift * BENCH_HIST_SUB + (uint32_t)(ns >> shift);
    return at < BENCH_HIST_BUCKETS ? at : BENCH_HIST_BUCKETS - 1;
}

static inline void bench_hist_add(struct bench_hist *h, uint64_t ns)
{
    h->count++;
    h->sum += ns;
    if (ns > h->max)
        h->max = ns;
    h->bucket[bench_hist_bucket(ns)]++;
}

/* The smallest value that falls into a bucket. */
uint64_t bench_hist_floor(uint32_t bucket);
void bench_hist_merge(struct bench_hist *into, const struct bench_hist *from);
/* The value that `p` percent of the counts do not exceed: the top of the bucket where that share is
 * reached, never above the maximum. 0 when empty. */
uint64_t bench_hist_percentile(const struct bench_hist *h, double p);

#endif
