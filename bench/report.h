/* bench/report.h -- everything measured in one run, and the ways to show it. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/compare.h"
#include "bench/vector_html.h"
#include "bench/verdict.h"

struct bench_report {
    const struct bench_plan *plan;
    struct bench_machine machine;
    char command[1024];
    struct bench_result *result; /* in the order they came */
    size_t count, cap;
    struct bench_vector_result *vectors; /* of --vectors, for the page */
    size_t vector_count;
    bool disagree; /* two engines found different numbers of entries */
};

/* Keep one result, and print its lines. */
void bench_report_add(struct bench_report *rep, const struct bench_result *r);

/* The engines and how alike they are. */
void bench_report_head(const struct bench_report *rep, FILE *to);
/* Ratios of the first engine to each other one, when there were several. */
void bench_report_ratios(const struct bench_report *rep, FILE *to);

/* The machine-readable forms, and the page. Numbers are printed so that they read back the same. False
 * when the file could not be written. */
bool bench_report_json(const struct bench_report *rep, FILE *to);
bool bench_report_csv(const struct bench_report *rep, FILE *to);
bool bench_report_html(const struct bench_report *rep, FILE *to);

/* ---- for those who show results ---- */

#define BENCH_ROUNDS_MAX 1000

/* What stands for each setting in an engine; durability names the workloads that sync in spite of it. */
void bench_report_parity(const struct bench_report *rep, uint32_t engine, struct bench_parity *out);

uint32_t bench_report_rounds(const struct bench_report *rep);

/* One result of --benchmarks; NULL when the run ended before it. */
const struct bench_result *bench_report_find(const struct bench_report *rep, uint32_t step,
                                             uint32_t engine, uint32_t round);

/* The speed of the first engine in a step as a ratio to that of engine `other`, pair by pair: above 1
 * where the first was faster. Returns the number of pairs, at most `cap`. */
size_t bench_report_pairs(const struct bench_report *rep, uint32_t step, uint32_t other,
                          double *ratio, size_t cap);

void bench_say_verdict(const struct bench_verdict *v, const char *first, const char *second,
                       char *text, size_t cap);

/* Operations a second. */
static inline double bench_rate(const struct bench_result *r)
{
    return r->seconds > 0 ? (double)r->ops / r->seconds : 0;
}

#endif
