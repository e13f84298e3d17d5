/* bench/draw.h -- chance and data: random numbers, which key comes next, what keys and values look like.
 *
 * Everything here is a pure function of its seed, so that each engine of a comparison is asked exactly
 * the same questions in the same order.
 */
#ifndef BENCH_DRAW_H
#define BENCH_DRAW_H

#include "base/odb_types.h"
#include "bench/settings.h"

/* ---- random numbers: xorshift64* ---- */

struct bench_rng {
    uint64_t state;
};

/* Any seed will do, 0 too; near seeds give unrelated sequences. */
void bench_rng_init(struct bench_rng *r, uint64_t seed);

static inline uint64_t bench_rng_next(struct bench_rng *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state * 0x2545f4914f6cdd1du;
}

/* 0 to 1, 1 excluded. */
static inline double bench_rng_real(struct bench_rng *r)
{
    return (double)(bench_rng_next(r) >> 11) * 0x1p-53;
}

/* Numbers that look unrelated, and differ wherever `n` does. */
static inline uint64_t bench_mix(uint64_t n)
{
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

/* ---- zipfian: rank k of n is drawn in proportion to 1 / (k + 1)^theta ---- */

struct bench_zipf {
    uint64_t n;
    double theta, alpha, zeta_n, eta, half;
};

/* Adds up n terms: a good part of a second for many millions. theta is between 0 and 1. */
void bench_zipf_init(struct bench_zipf *z, uint64_t n, double theta);
/* A rank, 0 the most frequent, below n. */
uint64_t bench_zipf_next(const struct bench_zipf *z, struct bench_rng *r);

/* ---- keys ---- */

enum bench_shape { BENCH_BINARY, BENCH_DECIMAL, BENCH_PREFIX };

enum bench_spread { BENCH_UNIFORM, BENCH_ZIPFIAN, BENCH_LATEST };

struct bench_keys {
    enum bench_shape shape;
    enum bench_spread spread;
    size_t size;
    uint64_t num;
    struct bench_zipf zipf; /* set when spread is not uniform */
};

#define BENCH_KEY_MAX 512

void bench_keys_init(struct bench_keys *k, const struct bench_settings *s);
/* Key number n, written to `buf` of BENCH_KEY_MAX bytes. Byte order is number order. */
odb_slice bench_key(const struct bench_keys *k, char *buf, uint64_t n);
/* The number of the next key to use. `newest` is the youngest one, for BENCH_LATEST. Zipfian ranks are
 * scattered over the key space, so that frequent keys are not neighbours. */
uint64_t bench_draw(const struct bench_keys *k, enum bench_spread spread, struct bench_rng *r,
                    uint64_t newest);

/* ---- values ---- */

struct bench_values {
    char *pool;
    size_t pool_size;
    size_t at;
    size_t size; /* of a value */
};

/* The pool, which every reader may share; NULL when memory ran out. */
char *bench_pool_new(const struct bench_settings *s, size_t *size);

static inline odb_slice bench_value(struct bench_values *v)
{
    odb_slice out;

    if (v->at + v->size > v->pool_size)
        v->at = 0;
    out = odb_bytes(v->pool + v->at, v->size);
    v->at += v->size;
    return out;
}

#endif
