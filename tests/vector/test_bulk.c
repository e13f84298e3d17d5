/* tests/vector/test_bulk.c -- bulk loads: cancelled at any moment, what finish and progress said is what there is,
 * in memory and on disk. */
#include "tests/vector/vec_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

static bool stop_at_once(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg;
    (void)what;
    (void)done;
    (void)total;
    return false;
}

static void a_bulk_load_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    odb_vec_bulk_options opt = {.size = sizeof opt, .progress = stop_at_once};
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_vec_stats_t s = {.size = sizeof s};
    struct rnd r = {9};
    odb_vec_bulk *b;
    odb_vec_hits *hits;
    float x[DIM];
    char room[32];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 1);
    assert_ok(odb_vec_bulk_begin(f->db, &opt, &b));
    for (uint32_t i = 0; i < 2000; i++) {
        fill(&r, x, DIM);
        assert_ok(odb_vec_bulk_add(b, name(room, "b", i), x, DIM));
    }
    assert_status(odb_vec_bulk_finish(b), ODB_CANCELLED);
    assert_ok(odb_vec_stats(f->db, &s));
    assert_true(s.pending > 0);
    assert_int_equal(s.live, 2000);
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "b/01999");
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.pending, 0);
    assert_int_equal(s.linked, 2000);
}

#define LOAD   1024 /* enough for helpers, and told of to the last */
#define ROUNDS 18

struct stopper {
    atomic_bool stop;
    uint64_t at;                /* progress says so itself from this many on */
    atomic_uint_least64_t told; /* the latest */
    uint64_t delay_ns;
};

static bool stop_some_time(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct stopper *s = arg;

    (void)what;
    assert_true(done > 0 && done <= total);
    atomic_store(&s->told, done);
    return done < s->at && !atomic_load(&s->stop);
}

static void *stop_by_the_clock(void *arg)
{
    struct stopper *s = arg;
    uint64_t from;

    while (atomic_load(&s->told) == 0) /* until it has begun */
        (void)nanosleep(&(struct timespec){0, 20000}, NULL);
    from = monotonic_ns();
    while (monotonic_ns() - from < s->delay_ns)
        (void)nanosleep(&(struct timespec){0, 20000}, NULL);
    atomic_store(&s->stop, true);
    return NULL;
}

/* What finish said is what there is: cancelled and some left to be linked, or done and none. */
static bool load_until(struct fixture *f, struct stopper *stop, uint32_t round, struct rnd *r)
{
    odb_vec_bulk_options opt = {
        .size = sizeof opt, .threads = 1 + round % 3, .progress = stop_some_time, .arg = stop};
    odb_vec_stats_t before = {.size = sizeof before}, s = {.size = sizeof s};
    odb_vec_report report = {.size = sizeof report};
    static float x[LOAD][DIM];
    uint64_t total = (uint64_t)(round + 1) * LOAD, linked;
    odb_vec_bulk *b;
    odb_status st;
    char room[32];

    assert_ok(odb_vec_stats(f->db, &before));
    assert_int_equal(before.linked, total - LOAD);
    assert_ok(odb_vec_bulk_begin(f->db, &opt, &b));
    for (uint32_t i = 0; i < LOAD; i++) {
        fill(r, x[i], DIM);
        assert_ok(odb_vec_bulk_add(b, name(room, "b", round * LOAD + i), x[i], DIM));
    }
    st = odb_vec_bulk_finish(b);
    assert_ok(odb_vec_stats(f->db, &s));
    linked = s.linked - before.linked;
    assert_int_equal(s.live, total);
    assert_int_equal(s.linked + s.pending, total);
    assert_true(linked >= atomic_load(&stop->told)); /* what was told is true */
    if (st != ODB_OK)
        assert_status(st, ODB_CANCELLED);
    assert_int_equal(st == ODB_OK, s.pending == 0);
    if (round % 4 == 3) { /* and that is what is stored */
        fixture_reopen(f);
        open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
        assert_ok(odb_vec_stats(f->db, &s));
        assert_int_equal(s.rebuilds, 0);
        assert_int_equal(s.linked, before.linked + linked);
        assert_int_equal(s.pending, LOAD - linked);
    }
    for (uint32_t i = 0; i < LOAD; i += 9) {
        odb_vec_hits *hits;

        assert_ok(odb_vec_find(odb_now(f->db), x[i], DIM, NULL, &hits));
        assert_int_equal(number_in(odb_vec_hits_at(hits, 0).id), round * LOAD + i);
        odb_vec_hits_free(hits);
    }
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_vec_verify(f->db, 1, &report));
    assert_int_equal(report.rows, total);
    assert_int_equal(report.nodes, total);
    assert_int_equal(report.unreachable, 0);
    return st == ODB_CANCELLED;
}

/* At each number that progress tells, and at moments of another thread's clock up to and beyond the end. */
static void a_bulk_load_can_be_cancelled_at_any_moment(void **state)
{
    static const uint64_t at[] = {UINT64_MAX, 1, 2, 256, 257, 768, LOAD, LOAD - 1, LOAD + 1};
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1};
    uint32_t cancelled = 0, clocks = ROUNDS - sizeof at / sizeof *at;
    struct rnd r = rnd_start("test_vector");
    uint64_t took = 0;

    c.form = ODB_VEC_F32;
    c.ef_construction = 24;
    c.pending_max = 100000; /* searches go through the graph and what waits, not through all */
    assert_ok(odb_vec_open(f->db, &c));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct stopper stop = {.at = UINT64_MAX};
        bool by_clock = round >= ROUNDS - clocks;
        uint64_t from = monotonic_ns();
        pthread_t t;
        bool is_cancelled;

        if (!by_clock) {
            stop.at = at[round];
        } else {
            stop.delay_ns = took * (round - (ROUNDS - clocks)) / (clocks - 2);
            assert_int_equal(pthread_create(&t, NULL, stop_by_the_clock, &stop), 0);
        }
        is_cancelled = load_until(f, &stop, round, &r);
        if (by_clock)
            pthread_join(t, NULL);
        if (round == 0)
            took = (monotonic_ns() - from) / 4; /* the linking of it, roughly */
        cancelled += is_cancelled;
        if (!by_clock && stop.at == 1)
            assert_true(is_cancelled);
        if (!by_clock && stop.at >= LOAD) /* of what is done nothing is taken back */
            assert_false(is_cancelled);
    }
    assert_true(cancelled > 0 && cancelled < ROUNDS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(a_bulk_load_can_be_cancelled),
        T(a_bulk_load_can_be_cancelled_at_any_moment),
    };

    return RUN(tests, argc, argv);
}
