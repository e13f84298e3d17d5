/* tests/base/random.h -- chance that can be had again: the seed is printed, and ODB_TEST_SEED sets
 * it. */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct rnd {
    uint64_t state;
};

/* splitmix64 */
static inline uint64_t rnd_next(struct rnd *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 .. n-1 */
static inline uint32_t rnd_below(struct rnd *r, uint32_t n)
{
    return (uint32_t)(rnd_next(r) % n);
}

static inline struct rnd rnd_start(const char *who)
{
    const char *given = getenv("ODB_TEST_SEED");
    struct rnd r = {given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)};

    fprintf(stderr, "%s: ODB_TEST_SEED=%" PRIu64 "\n", who, r.state);
    return r;
}

#endif
