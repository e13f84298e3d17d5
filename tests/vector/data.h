/* Vectors as they come from texts: clusters on few dimensions, spread over many, with some noise. */
#ifndef TEST_VECTOR_DATA_H
#define TEST_VECTOR_DATA_H

#include <math.h>
#include <stdlib.h>

#include "tests/base/random.h"

#define DATA_INNER    12
#define DATA_CLUSTERS 40

struct data {
    struct rnd r;
    size_t dim;
    float centre[DATA_CLUSTERS][DATA_INNER];
    float *spread; /* dim rows of DATA_INNER */
};

/* About normal: twelve uniform numbers. */
static inline float data_gauss(struct rnd *r)
{
    double s = -6;

    for (int i = 0; i < 12; i++)
        s += (double)(rnd_next(r) >> 11) / 9007199254740992.0;
    return (float)s;
}

static inline struct data *data_new(uint64_t seed, size_t dim)
{
    struct data *d = malloc(sizeof *d);

    d->r.state = seed;
    d->dim = dim;
    d->spread = malloc(dim * DATA_INNER * sizeof *d->spread);
    for (size_t i = 0; i < dim * DATA_INNER; i++)
        d->spread[i] = data_gauss(&d->r);
    for (int c = 0; c < DATA_CLUSTERS; c++)
        for (int i = 0; i < DATA_INNER; i++)
            d->centre[c][i] = data_gauss(&d->r);
    return d;
}

static inline void data_free(struct data *d)
{
    free(d->spread);
    free(d);
}

/* One vector of length 1. */
static inline void data_next(struct data *d, float *out)
{
    const float *centre = d->centre[rnd_below(&d->r, DATA_CLUSTERS)];
    float inner[DATA_INNER];
    double norm = 0;

    for (int i = 0; i < DATA_INNER; i++)
        inner[i] = 0.8f * centre[i] + 0.7f * data_gauss(&d->r);
    for (size_t k = 0; k < d->dim; k++) {
        float s = 0.3f * data_gauss(&d->r);

        for (int i = 0; i < DATA_INNER; i++)
            s += inner[i] * d->spread[k * DATA_INNER + (size_t)i];
        out[k] = s;
        norm += (double)s * (double)s;
    }
    for (size_t k = 0; k < d->dim; k++)
        out[k] /= (float)sqrt(norm);
}

#endif
