/* bench/report.h -- everything measured in one run, and the ways to show it. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/compare.h"
#include "bench/verdict.h"

struct bench_report {
    const struct bench_plan *plan;
    struct bench_machine machine;
    char command[1024];
    struct bench_result *result; /* in the order they came */
    size_t count, cap;
    bool disagree; /* two engines found different numbers of entries */
};

/* Keep one result, and print its lines. */
void bench_report_add(struct bench_report *rep, const struct bench_result *r);

/* The engines and how alike they are. */
void bench_report_head(const struct bench_report *rep, FILE *to);
/* Ratios of the first engine to each other one, when there were several. */
void bench_report_ratios(const struct bench_report *rep, FILE *to);

/* The times of one workload, first engine against engine `other`, pair by pair: above 1 where the
 * first was faster. Returns the number of pairs, at most `cap`. */
size_t bench_report_pairs(const struct bench_report *rep, const char *workload, uint32_t other,
                          double *ratio, size_t cap);

/* Operations a second. */
static inline double bench_rate(const struct bench_result *r)
{
    return r->seconds > 0 ? (double)r->ops / r->seconds : 0;
}

#endif
