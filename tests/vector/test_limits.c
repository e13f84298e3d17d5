/* tests/vector/test_limits.c -- how much an index takes and how long: bytes of memory by the layout, none more for
 * replacing over and over, searches that end when they are told to, and when writers help with the graph. */
#include "tests/vector/vec_fixture.h"

/* What a vector costs in memory, all told: its code, two cache lines of links, 8 bytes of a moment, its
 * id, a place in the table of ids, its share of the upper rows. Nothing is charged for what might come. */
static void memory_is_what_the_layout_says(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c, .dim = 128, .mode = ODB_VEC_MANUAL, .form = ODB_VEC_I8};
    odb_vec_stats_t s = {.size = sizeof s};
    const uint32_t n = 20000;
    struct rnd r = {21};
    odb_vec_bulk *b;
    float x[128];
    char room[32];
    uint64_t before;

    c.m = 16;
    c.ef_construction = 16;
    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_bulk_begin(f->db, NULL, &b));
    fill(&r, x, 128);
    for (uint32_t i = 0; i < n; i++) {
        x[i % 128] += 0.25f;
        assert_ok(odb_vec_bulk_add(b, name(room, "b", i), x, 128));
    }
    assert_ok(odb_vec_bulk_finish(b));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.linked, n);
    assert_true(s.bytes / n < 136 + 128 + 8 + 4 + 12 + 5 + 9 + 10);
    assert_true(s.bytes / n > 136 + 128 + 8 + 4 + 8 + 4 + 5);
    assert_true(odb_vec_estimate(&c, n, 7) < s.bytes + s.bytes / 20);
    assert_true(odb_vec_estimate(&c, n, 7) > s.bytes - s.bytes / 20);
    before =
        s.bytes; /* ends are kept where there are some: a page for the first of its 512 slots */
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(odb_vec_delete(f->db, NULL, name(room, "b", i ? i : 10000)));
        assert_ok(odb_vec_stats(f->db, &s));
        assert_int_equal(s.dead, i + 1);
        assert_int_equal(s.bytes, before + (i ? 8192 : 4096));
    }
}

/* As long as every search goes through all vectors, a writer has no reason to link any. */
static void writers_help_only_where_the_graph_is_searched(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 600};
    odb_vec_stats_t s = {.size = sizeof s};

    c.pending_max = 50;
    assert_ok(odb_vec_open(f->db, &c));
    free(put_many(f, "a", 600, 31));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.linked, 0);
    free(put_many(f, "b", 200, 32));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_true(s.linked > 0);
    assert_int_equal(s.linked + s.pending, 800);
}

/* Replacing and deleting over and over: the table of ids and the heap of names do not grow with it. */
static void replacing_costs_no_memory(void **state)
{
    struct fixture *f = *state;
    odb_vec_stats_t s = {.size = sizeof s};
    uint64_t first = 0;
    struct rnd r = {22};
    odb_vec_hits *hits;
    odb_vec_search how = {.size = sizeof how, .k = 1};
    float x[DIM];
    char room[32];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    for (int round = 0; round < 12; round++) {
        for (uint32_t i = 0; i < 600; i++) {
            odb_slice id = name(room, "r", (uint32_t)round % 3 * 600 + i);

            fill(&r, x, DIM);
            assert_ok(odb_vec_put(f->db, NULL, id, x, DIM));
        }
        assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
        assert_true(odb_vec_hits_at(hits, 0).distance < 1e-6f);
        assert_true(odb_slice_equal(odb_vec_hits_at(hits, 0).id,
                                    name(room, "r", (uint32_t)round % 3 * 600 + 599)));
        odb_vec_hits_free(hits);
        for (uint32_t i = 0; i < 300; i++)
            assert_ok(odb_vec_delete(f->db, NULL, name(room, "r", (uint32_t)round % 3 * 600 + i)));
        assert_ok(odb_vec_compact(f->db));
        assert_ok(odb_vec_compact(f->db)); /* slots of the one before are free by now */
        assert_ok(odb_vec_stats(f->db, &s));
        assert_int_equal(s.live, 300 * (round < 3 ? round + 1 : 3));
        if (round == 5)
            first = s.bytes;
    }
    assert_true(s.bytes < first + first / 4);
}

static uint64_t thread_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Counted while it runs only: others may stop it for longer. */
static void ends_in_time(struct fixture *f, const odb_vec_search *how, uint64_t most_ns)
{
    uint64_t start = thread_ns();
    float query[DIM] = {1};
    odb_vec_hits *hits;

    assert_ok(odb_vec_find(odb_now(f->db), query, DIM, how, &hits));
    assert_true(thread_ns() - start < most_ns);
    odb_vec_hits_free(hits);
}

static bool takes_two_milliseconds(void *arg, odb_slice id)
{
    uint64_t start = monotonic_ns();

    (void)id;
    ++*(int *)arg;
    while (monotonic_ns() - start < 2000000)
        ;
    return *(int *)arg % 3 == 0;
}

/* Through the graph, through all, through what waits, through given ids, through the rows: a limit holds
 * everywhere, and whoever set it is told. */
static void limits_end_a_search_early_and_say_so(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL};
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = 5, .ef = 200, .max_visit = 100, .stats = &stats};
    odb_slice within[300];
    char room[300][32];
    odb_vec_hits *hits;
    float *x;
    int asked = 0;

    assert_ok(odb_vec_open(f->db, &c));
    x = put_many(f, "a", 1500, 23);
    for (int round = 0; round < 3; round++) { /* all wait; all linked; all linked, and exact */
        if (round == 1)
            assert_ok(odb_vec_wait(f->db));
        how.exact = round == 2;
        assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
        assert_true(stats.distances <= 100 + 64); /* a row of links at once */
        assert_true(stats.is_cut && !stats.is_exact);
        assert_int_equal(odb_vec_hits_count(hits), 5);
        for (size_t i = 0; i < 5; i++) { /* early, not wrong */
            uint32_t dim;
            float v[DIM];
            odb_vec_hit hit = odb_vec_hits_at(hits, i);

            assert_ok(odb_vec_get(odb_now(f->db), hit.id, v, DIM, &dim));
            assert_true(hit.distance == odb_distance(x, v, DIM, ODB_METRIC_L2));
            assert_true(i == 0 || hit.distance >= odb_vec_hits_at(hits, i - 1).distance);
        }
        odb_vec_hits_free(hits);
    }
    how.exact = false;
    how.max_visit = 100000; /* none that matters */
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_true(stats.is_exact && !stats.is_cut);
    odb_vec_hits_free(hits);
    for (uint32_t i = 0; i < 300; i++)
        within[i] = name(room[i], "a", i);
    how.within = within;
    how.within_count = 300;
    how.max_visit = 50;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_true(stats.is_cut && !stats.is_exact && stats.reranked <= 50);
    odb_vec_hits_free(hits);
    how = (odb_vec_search){.size = sizeof how, .k = 10, .time_limit_ms = 20, .stats = &stats};
    how.filter = takes_two_milliseconds;
    how.filter_arg = &asked;
    ends_in_time(f, &how, 1000000000); /* asking of all would take three seconds */
    assert_true(stats.is_cut && asked < 200);
    how.exact = true;
    ends_in_time(f, &how, 1000000000);
    assert_true(stats.is_cut && !stats.is_exact);
    how.exact = false;
    how.within = within;
    how.within_count = 300;
    ends_in_time(f, &how, 500000000);
    assert_true(stats.is_cut && !stats.is_exact);
    free(x);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(memory_is_what_the_layout_says),
        T(writers_help_only_where_the_graph_is_searched),
        T(replacing_costs_no_memory),
        T(limits_end_a_search_early_and_say_so),
    };

    return RUN(tests, argc, argv);
}
