/* vector/distance.c -- the distance of two vectors, for whoever asks. */
#include "vector/odb_vector.h"

#include <math.h>

#include "vector/index.h"

float vec_distance_by(const struct vec_kernel *k, const float *a, const float *b, uint32_t dim,
                      odb_metric metric)
{
    const void *rows[1] = {b}, *self[1] = {a};
    float dot, aa, bb;

    if (metric != ODB_METRIC_COSINE && metric != ODB_METRIC_DOT) {
        k->l2[VEC_F32](a, rows, 1, dim, &dot);
        return sqrtf(dot);
    }
    k->dot[VEC_F32](a, rows, 1, dim, &dot);
    if (metric == ODB_METRIC_DOT)
        return -dot;
    k->dot[VEC_F32](a, self, 1, dim, &aa);
    k->dot[VEC_F32](b, rows, 1, dim, &bb);
    return aa > 0 && bb > 0 ? 1.0f - dot / (sqrtf(aa) * sqrtf(bb)) : 1.0f;
}

float odb_distance(const float *a, const float *b, uint32_t dim, odb_metric metric)
{
    return vec_distance_by(vec_kernel_choose(os_env("ODB_SIMD")), a, b, dim, metric);
}
