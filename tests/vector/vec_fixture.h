/* tests/vector/vec_fixture.h -- what the tests of the calls of odb_vector.h share: a database in a directory
 * that goes away again, and vectors of sixteen numbers by the name of what/00000 and so on. */
#ifndef TEST_VECTOR_FIXTURE_H
#define TEST_VECTOR_FIXTURE_H

#include "tests/api/fixture.h"

#include <math.h>
#include <time.h>

#include "tests/base/random.h"

#define DIM 16

static inline void fill(struct rnd *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)(rnd_next(r) >> 11) / 9007199254740992.0 * 2 - 1);
}

static inline odb_slice name(char *room, const char *what, uint32_t i)
{
    return odb_bytes(room, (size_t)snprintf(room, 32, "%s/%05u", what, i));
}

/* The number in such a name. Nothing ends it: what lies behind in memory may be a digit. */
static inline uint32_t number_in(odb_slice id)
{
    char text[8] = {0};

    assert_int_equal(id.size, 7); /* of one letter */
    memcpy(text, (const char *)id.data + 2, 5);
    return (uint32_t)strtoul(text, NULL, 10);
}

/* `n` vectors called what/00000 and so on, whose floats are returned. */
static inline float *put_many(struct fixture *f, const char *what, uint32_t n, uint64_t seed)
{
    float *x = malloc((size_t)n * DIM * sizeof *x);
    struct rnd r = {seed};
    char room[32];

    fill(&r, x, (size_t)n * DIM);
    for (uint32_t i = 0; i < n; i++)
        assert_ok(odb_vec_put(f->db, NULL, name(room, what, i), x + i * DIM, DIM));
    return x;
}

static inline void open_with(struct fixture *f, odb_vec_mode mode, odb_vec_form form,
                             uint32_t flat_max)
{
    odb_vec_config c = {
        .size = sizeof c, .dim = DIM, .mode = mode, .form = form, .flat_max = flat_max};

    assert_ok(odb_vec_open(f->db, &c));
}

static inline uint64_t monotonic_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#define T(test)                                                                                    \
    {                                                                                              \
#test, test, fixture_lsm, fixture_close, NULL                                              \
    }

/* With an argument: only the tests whose names match it. */
#define RUN(tests, argc, argv)                                                                     \
    ((argc) > 1 ? cmocka_set_test_filter((argv)[1]) : (void)0,                                     \
     cmocka_run_group_tests(tests, NULL, NULL))

#endif
