/* bench/vector_html.h -- the vectors' part of the report: recall against speed, as a fragment of a page. */
#ifndef BENCH_VECTOR_HTML_H
#define BENCH_VECTOR_HTML_H

#include <stddef.h>
#include <stdio.h>

#define BENCH_VECTOR_POINTS 7

struct bench_vector_point {
    double recall, qps;
};

/* One form of one set, and hnswlib on the same set (all 0: it was left out). */
struct bench_vector_result {
    char date[32], machine[896], command[256];
    double load; /* the average before it began */
    char form[8];
    double dim, count, ef_construction;
    unsigned ef[BENCH_VECTOR_POINTS];
    struct bench_vector_point ours[BENCH_VECTOR_POINTS], theirs[BENCH_VECTOR_POINTS];
    double build, their_build, bytes, their_bytes; /* vectors a second; of memory, each */
    double open_s, put_rate, idle_qps, beside;
};

/* Queries a second at this recall, between the measured points; 0: it was not reached. */
double bench_vector_qps_at(const struct bench_vector_point *p, double recall);
/* A chart for each set of neighbouring results with one dimension, and a table. Uses the classes and
 * colours of the report's page. */
void bench_vector_html(FILE *to, const struct bench_vector_result *r, size_t count);
/* The same as a page of its own. */
void bench_vector_page(FILE *to, const struct bench_vector_result *r, size_t count);

#endif
