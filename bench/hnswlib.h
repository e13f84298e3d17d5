/* bench/hnswlib.h -- hnswlib behind C calls, to be measured beside vector/. */
#ifndef BENCH_HNSWLIB_H
#define BENCH_HNSWLIB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_hnswlib;

/* NULL when it cannot be had. `dot`: inner product in the place of squared differences. */
struct bench_hnswlib *bench_hnswlib_new(size_t dim, size_t max, size_t m, size_t ef_construction,
                                        int dot);
void bench_hnswlib_free(struct bench_hnswlib *h);
/* 0: added. */
int bench_hnswlib_add(struct bench_hnswlib *h, const float *x, size_t label);
/* The nearest `k`, nearest first. Returns how many. */
size_t bench_hnswlib_search(struct bench_hnswlib *h, const float *q, size_t k, size_t ef,
                            size_t *labels);
/* Bytes of one element's block, what the library allocates beside it not counted. */
size_t bench_hnswlib_element(const struct bench_hnswlib *h);

#ifdef __cplusplus
}
#endif
#endif
