/* bench/draw.c -- see draw.h. */
#include "bench/draw.h"

#include <math.h>
#include <stdlib.h>

void bench_rng_init(struct bench_rng *r, uint64_t seed)
{
    r->state = bench_mix(seed + 0x9e3779b97f4a7c15u);
    if (r->state == 0)
        r->state = 1;
}

/* ---- zipfian ----
 *
 * The method of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating billion-record
 * synthetic databases" (1994): one uniform number is turned into a rank by inverting an approximation of
 * the distribution, which is exact for the first two ranks.
 */

static double zeta(uint64_t n, double theta)
{
    double sum = 0;

    for (uint64_t i = n; i > 0; i--) /* small terms first: they are not lost */
        sum += pow((double)i, -theta);
    return sum;
}

void bench_zipf_init(struct bench_zipf *z, uint64_t n, double theta)
{
    z->n = n;
    z->theta = theta;
    z->alpha = 1 / (1 - theta);
    z->zeta_n = zeta(n, theta);
    z->half = 1 + pow(0.5, theta);
    z->eta = n > 2 ? (1 - pow(2 / (double)n, 1 - theta)) / (1 - zeta(2, theta) / z->zeta_n) : 0;
}

uint64_t bench_zipf_next(const struct bench_zipf *z, struct bench_rng *r)
{
    double u = bench_rng_real(r), uz = u * z->zeta_n;
    uint64_t rank;

    if (uz < 1 || z->n == 1)
        return 0;
    if (uz < z->half || z->n == 2)
        return 1;
    rank = (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1, z->alpha));
    return rank < z->n ? rank : z->n - 1;
}

/* ---- keys ---- */

void bench_keys_init(struct bench_keys *k, const struct bench_settings *s)
{
    memset(k, 0, sizeof *k);
    k->shape = strcmp(s->key_shape, "decimal") == 0  ? BENCH_DECIMAL
               : strcmp(s->key_shape, "prefix") == 0 ? BENCH_PREFIX
                                                     : BENCH_BINARY;
    k->spread = strcmp(s->draw, "zipfian") == 0  ? BENCH_ZIPFIAN
                : strcmp(s->draw, "latest") == 0 ? BENCH_LATEST
                                                 : BENCH_UNIFORM;
    k->size = (size_t)s->key_size;
    k->num = s->num;
}

static void put_binary(char *at, uint64_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 8)
        at[i] = (char)(unsigned char)n;
}

odb_slice bench_key(const struct bench_keys *k, char *buf, uint64_t n)
{
    size_t at = 0;

    switch (k->shape) {
    case BENCH_BINARY:
        put_binary(buf, n);
        at = 8;
        break;
    case BENCH_DECIMAL: /* "user", then digits to the end */
        memcpy(buf, "user", 4);
        for (at = k->size; at > 4; n /= 10)
            buf[--at] = (char)('0' + n % 10);
        at = k->size;
        break;
    case BENCH_PREFIX:
        memcpy(buf, "tenant/0000000000/table/orders/by-number/", 40);
        put_binary(buf + 40, n);
        at = 48;
        break;
    }
    memset(buf + at, '0', k->size - at);
    return odb_bytes(buf, k->size);
}

uint64_t bench_draw(const struct bench_keys *k, enum bench_spread spread, struct bench_rng *r,
                    uint64_t newest)
{
    uint64_t rank;

    if (spread == BENCH_UNIFORM)
        return bench_rng_next(r) % k->num;
    rank = bench_zipf_next(&k->zipf, r);
    if (spread == BENCH_LATEST)
        return newest - rank % (newest + 1);
    return bench_mix(rank) % k->num;
}

/* ---- values ---- */

char *bench_pool_new(const struct bench_settings *s, size_t *size)
{
    size_t value = (size_t)s->value_size, piece = 100;
    size_t room = value > 1u << 19 ? 4 * value : 1u << 20;
    size_t fresh = (size_t)((double)piece * s->compression_ratio);
    char *pool = malloc(room + piece);
    struct bench_rng r;

    if (!pool)
        return NULL;
    bench_rng_init(&r, 301);
    if (fresh == 0)
        fresh = 1;
    for (size_t at = 0; at < room; at += piece) { /* `fresh` random bytes, repeated */
        for (size_t i = 0; i < piece; i++)
            pool[at + i] = i < fresh ? (char)(' ' + bench_rng_next(&r) % 95) : pool[at + i - fresh];
    }
    *size = room;
    return pool;
}
