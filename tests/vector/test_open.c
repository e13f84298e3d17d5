/* tests/vector/test_open.c -- opening an index. The stored graph is taken as it is; where it and the rows disagree
 * it is built anew, and until then all rows are looked through. Nothing and nobody is lost on the way. */
#include "tests/vector/vec_fixture.h"

static uint64_t rebuilds(struct fixture *f, uint64_t *live)
{
    odb_vec_stats_t s = {.size = sizeof s};

    assert_ok(odb_vec_stats(f->db, &s));
    *live = s.live;
    return s.rebuilds;
}

static void opening_takes_the_stored_graph(void **state)
{
    struct fixture *f = *state;
    float *x;
    odb_vec_report report = {.size = sizeof report};
    uint64_t live;

    open_with(f, ODB_VEC_ASYNC, ODB_VEC_I8, 1);
    x = put_many(f, "a", 1500, 6);
    fixture_reopen(f); /* in the middle of the work */
    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    assert_int_equal(rebuilds(f, &live), 0);
    assert_int_equal(live, 1500);
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_vec_compact(f->db));
    assert_ok(odb_vec_verify(f->db, 50, &report));
    assert_int_equal(report.unreachable, 0);
    assert_true(report.recall > 0.95);
    assert_int_equal(report.nodes, 1500);
    fixture_reopen(f);
    assert_int_equal(rebuilds(f, &live), 0);
    free(x);
}

/* Whatever is done to the stored graph, answers stay right. */
static void a_damaged_graph_is_built_anew(void **state)
{
    struct fixture *f = *state;
    odb_cf *cf;
    float *x;
    struct rnd r = rnd_start("test_vector");
    uint64_t live;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 300, 7);
    for (int round = 0; round < 12; round++) {
        uint8_t key[5] = {'N', 0, 0, 0, 0}, byte[40];
        odb_vec_hits *hits;

        assert_ok(odb_vec_wait(f->db));
        cf = fixture_cf(f, ODB_FAMILY_VECTOR_INDEX);
        key[4] = (uint8_t)rnd_below(&r, 250);
        for (size_t i = 0; i < sizeof byte; i++)
            byte[i] = (uint8_t)rnd_next(&r);
        if (round % 3 == 0)
            assert_ok(odb_delete(f->db, cf, odb_bytes(key, 5), NULL));
        else if (round % 3 == 1)
            assert_ok(
                odb_put(f->db, cf, odb_bytes(key, 5), odb_bytes(byte, rnd_below(&r, 40)), NULL));
        else
            assert_ok(odb_put(f->db, cf, odb_s("M"), odb_bytes(byte, 28), NULL));
        fixture_reopen(f);
        open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
        assert_int_equal(rebuilds(f, &live), 1);
        assert_int_equal(live, 300);
        for (uint32_t i = 0; i < 300; i += 37) {
            assert_ok(odb_vec_find(odb_now(f->db), x + i * DIM, DIM, NULL, &hits));
            assert_int_equal(number_in(odb_vec_hits_at(hits, 0).id), i);
            odb_vec_hits_free(hits);
        }
    }
    free(x);
}

/* A row that is sound by itself, of a node on level 0, with one link: to nobody, or to itself. */
static void a_link_that_leads_nowhere_is_noticed(void **state)
{
    struct fixture *f = *state;
    float *x;
    uint64_t live;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 100, 7);
    for (int round = 0; round < 3; round++) {
        uint8_t key[5] = {'N', 0, 0, 0, 0};
        const uint8_t ends[2][5] = {{1, 0, 1, 0xe8, 0x07}, {1, 0, 1, 0x80, 0x40}}; /* 1000, 8192 */
        odb_cf *cf;
        odb_value v;
        odb_vec_hits *hits;
        bool is_low;

        assert_ok(odb_vec_wait(f->db));
        cf = fixture_cf(f, ODB_FAMILY_VECTOR_INDEX);
        do {
            key[4]++;
            assert_ok(odb_get(odb_now(f->db), cf, odb_bytes(key, 5), &v));
            is_low = ((const uint8_t *)v.data)[1] == 0;
            odb_value_release(&v);
        } while (!is_low);
        if (round == 2) { /* itself: one byte of a number below 128 */
            const uint8_t self[4] = {1, 0, 1, key[4]};

            assert_ok(odb_put(f->db, cf, odb_bytes(key, 5), odb_bytes(self, 4), NULL));
        } else {
            assert_ok(odb_put(f->db, cf, odb_bytes(key, 5), odb_bytes(ends[round], 5), NULL));
        }
        fixture_reopen(f);
        open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
        assert_int_equal(rebuilds(f, &live), 1);
        assert_int_equal(live, 100);
        assert_ok(odb_vec_find(odb_now(f->db), x, DIM, NULL, &hits));
        assert_int_equal(number_in(odb_vec_hits_at(hits, 0).id), 0);
        odb_vec_hits_free(hits);
    }
    free(x);
}

/* Rows written and deleted by hand: noticed, and right all the same. */
static void writing_by_hand_is_noticed(void **state)
{
    struct fixture *f = *state;
    odb_cf *cf = fixture_cf(f, ODB_FAMILY_VECTOR_DATA);
    float *x = put_many(f, "a", 100, 8);
    odb_vec_stats_t s = {.size = sizeof s};
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = 3};
    odb_vec_hits *hits;
    odb_value v;

    how.stats = &stats;
    assert_ok(odb_delete(f->db, cf, odb_s("a/00005"), NULL));
    assert_ok(odb_vec_find(odb_now(f->db), x + 5 * DIM, DIM, &how, &hits));
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    assert_ok(odb_get(odb_now(f->db), cf, odb_s("a/00009"), &v));
    assert_ok(odb_put(f->db, cf, odb_s("twin"), odb_bytes(v.data, v.size), NULL));
    odb_value_release(&v);
    assert_ok(odb_vec_find(odb_now(f->db), x + 9 * DIM, DIM, &how, &hits));
    assert_int_equal(stats.plan, ODB_VEC_PLAN_TABLE);
    assert_slice(odb_vec_hits_at(hits, 0).id, "a/00009");
    assert_slice(odb_vec_hits_at(hits, 1).id, "twin");
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_false(s.is_stale);
    assert_int_equal(s.live, 100);
    assert_ok(odb_vec_find(odb_now(f->db), x + 9 * DIM, DIM, &how, &hits));
    assert_int_equal(stats.plan, ODB_VEC_PLAN_SCAN);
    assert_slice(odb_vec_hits_at(hits, 1).id, "twin");
    odb_vec_hits_free(hits);
    assert_ok(odb_put(f->db, cf, odb_s("junk"), odb_s("no vector"), NULL));
    fixture_reopen(f);
    assert_ok(odb_vec_find(odb_now(f->db), x + 9 * DIM, DIM, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "a/00009");
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.damaged, 1);
    free(x);
}

/* Enough rows for the threads that load them: the graph is taken as it is, or noticed to be wrong. */
static void a_large_index_is_loaded_by_several(void **state)
{
    struct fixture *f = *state;
    odb_vec_bulk_options opt = {.size = sizeof opt};
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1};
    odb_vec_stats_t s = {.size = sizeof s};
    const uint32_t n = 5000;
    static float x[5000][DIM];
    struct rnd r = {23};
    odb_vec_bulk *b;
    char room[32];

    c.form = ODB_VEC_F32;
    c.ef_construction = 24;
    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_bulk_begin(f->db, &opt, &b));
    fill(&r, x[0], n * DIM);
    for (uint32_t i = 0; i < n; i++)
        assert_ok(odb_vec_bulk_add(b, name(room, "b", i), x[i], DIM));
    assert_ok(odb_vec_bulk_finish(b));
    for (int round = 0; round < 5; round++) {
        uint8_t key[5] = {'N', 0, 0, 0x12, 0x34}, junk[3] = {1, 0, 40};
        odb_slice row = odb_bytes(key, sizeof key);
        odb_cf *graph = fixture_cf(f, ODB_FAMILY_VECTOR_INDEX);
        odb_cf *data = fixture_cf(f, ODB_FAMILY_VECTOR_DATA);
        uint64_t live = n - (round == 4);

        if (round == 1)
            assert_ok(odb_put(f->db, graph, row, odb_bytes(junk, sizeof junk), NULL));
        if (round == 2)
            assert_ok(odb_delete(f->db, graph, row, NULL));
        if (round == 3) { /* far beyond all others */
            key[1] = 1;
            assert_ok(odb_put(f->db, graph, row, odb_bytes(junk, sizeof junk), NULL));
        }
        if (round == 4) /* a node loses its vector */
            assert_ok(odb_delete(f->db, data, name(room, "b", 4000), NULL));
        fixture_reopen(f);
        open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
        assert_ok(odb_vec_stats(f->db, &s));
        assert_int_equal(s.rebuilds, round > 0);
        assert_int_equal(s.live, live);
        assert_int_equal(s.linked, round ? 0 : n);
        assert_int_equal(s.pending, round ? live : 0);
        assert_ok(odb_vec_wait(f->db));
        for (uint32_t i = 0; i < n; i += 125) {
            odb_vec_hits *hits;

            assert_ok(odb_vec_find(odb_now(f->db), x[i], DIM, NULL, &hits));
            if (round < 4 || i != 4000)
                assert_int_equal(number_in(odb_vec_hits_at(hits, 0).id), i);
            odb_vec_hits_free(hits);
        }
    }
}

/* Left to itself the index takes what suits: floats while all are looked through, bytes for many, floats
 * where bytes would lose the nearest. */
static void the_form_follows_the_vectors(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {
        .size = sizeof c, .dim = 64, .form = ODB_VEC_AUTO, .mode = ODB_VEC_MANUAL, .flat_max = 500};
    odb_vec_stats_t s = {.size = sizeof s};
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_vec_hits *hits;
    struct rnd r = {61};
    float x[64];
    char room[32];

    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.form, ODB_VEC_I8); /* nothing is known yet */
    for (uint32_t i = 0; i < 1500; i++) {
        fill(&r, x, 64);
        assert_ok(odb_vec_put(f->db, NULL, name(room, "a", i), x, 64));
        if (i == 300) {
            assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
            assert_ok(odb_vec_stats(f->db, &s));
            assert_int_equal(s.form, ODB_VEC_F32); /* few */
        }
    }
    fixture_reopen(f); /* what was asked for is stored */
    c = (odb_vec_config){.size = sizeof c, .mode = ODB_VEC_MANUAL};
    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.form, ODB_VEC_I8);
    for (uint32_t i = 0; i < 1500; i++) { /* one number dwarfs what the others tell apart */
        fill(&r, x, 64);
        x[7] = 30000.0f;
        assert_ok(odb_vec_put(f->db, NULL, name(room, "a", i), x, 64));
    }
    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_true(s.form != ODB_VEC_I8);
    assert_ok(odb_vec_find(odb_now(f->db), x, 64, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "a/01499");
    odb_vec_hits_free(hits);
}

/* Closing does not wait until all is linked: the next open goes on with what is pending. */
static void closing_leaves_work_to_the_next_open(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_ASYNC, .flat_max = 1};
    odb_vec_stats_t s = {.size = sizeof s};

    c.pending_max = 100000;
    c.ef_construction = 400;
    assert_ok(odb_vec_open(f->db, &c));
    free(put_many(f, "a", 6000, 31));
    fixture_reopen(f);
    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.live, 6000);
    assert_true(s.pending > 0);
    assert_int_equal(s.linked + s.pending, 6000);
}

/* Deleted, not taken out yet, closed: opening takes them out. */
static void opening_cuts_nobody_off(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {
        .size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1, .m = 4};
    odb_vec_report report = {.size = sizeof report};
    char room[32];

    c.ef_construction = 16;
    assert_ok(odb_vec_open(f->db, &c));
    free(put_many(f, "a", 1000, 41));
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_vec_verify(f->db, 1, &report)); /* links what is out of reach so far */
    for (uint32_t i = 0; i < 1000; i++)
        if (i % 5)
            assert_ok(odb_vec_delete(f->db, NULL, name(room, "a", i)));
    fixture_reopen(f);
    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_verify(f->db, 1, &report));
    assert_int_equal(report.rows, 200);
    assert_int_equal(report.nodes, 200);
    assert_int_equal(report.unreachable, 0);
}

/* A stored graph that leads from the entry to one neighbour and back: opening links the others. */
static void opening_links_whom_no_way_leads_to(void **state)
{
    enum { N = 8 };
    struct fixture *f = *state;
    odb_vec_report report = {.size = sizeof report};
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_cf *graph;
    odb_vec_hits *hits;
    uint64_t live;
    float *x;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", N, 43);
    assert_ok(odb_vec_wait(f->db));
    graph = fixture_cf(f, ODB_FAMILY_VECTOR_INDEX);
    for (uint8_t slot = 0; slot < N; slot++) {
        const uint8_t key[5] = {'N', 0, 0, 0, slot};
        const uint8_t row[4] = {1, 0, 1, slot == 0}; /* of 0, the entry: 1; of the others: 0 */
        odb_value v;

        assert_ok(odb_get(odb_now(f->db), graph, odb_bytes(key, 5), &v));
        assert_int_equal(((const uint8_t *)v.data)[1], 0); /* all stand on level 0 */
        odb_value_release(&v);
        assert_ok(odb_put(f->db, graph, odb_bytes(key, 5), odb_bytes(row, 4), NULL));
    }
    fixture_reopen(f);
    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    assert_int_equal(rebuilds(f, &live), 0);
    for (uint32_t i = 0; i < N; i++) {
        assert_ok(odb_vec_find(odb_now(f->db), x + i * DIM, DIM, &how, &hits));
        assert_int_equal(number_in(odb_vec_hits_at(hits, 0).id), i);
        odb_vec_hits_free(hits);
    }
    assert_ok(odb_vec_verify(f->db, 1, &report));
    assert_int_equal(report.nodes, N);
    assert_int_equal(report.unreachable, 0);
    free(x);
}

/* A poor graph, on purpose: what recall is measured with must be what the caller asked for. */
static void verify_measures_with_the_ef_it_is_given(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {
        .size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1, .m = 4};
    odb_vec_report few = {.size = sizeof few, .ef = 10}, many = {.size = sizeof many, .ef = 600},
                   plain = {.size = sizeof plain};

    c.ef_construction = 8;
    c.ef_search = 600;
    assert_ok(odb_vec_open(f->db, &c));
    free(put_many(f, "a", 1500, 17));
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_vec_verify(f->db, 40, &few));
    assert_ok(odb_vec_verify(f->db, 40, &many));
    assert_ok(odb_vec_verify(f->db, 40, &plain));
    assert_true(few.recall < 0.9);
    assert_true(many.recall > few.recall + 0.05);
    assert_true(plain.recall == many.recall); /* the index's own */
    assert_int_equal(many.ef, 600);
}

/* An open index is what it was opened as: who asks for something else does not get it silently. */
static void an_open_index_refuses_to_be_another(void **state)
{
    struct fixture *f = *state;
    const odb_vec_config asked = {.size = sizeof asked,
                                  .dim = DIM,
                                  .form = ODB_VEC_I8,
                                  .ef_search = 50,
                                  .flat_max = 100,
                                  .pending_max = 200,
                                  .flush_every = 300,
                                  .mode = ODB_VEC_MANUAL};
    const odb_vec_config other[] = {
        {.size = sizeof asked, .form = ODB_VEC_F16},  {.size = sizeof asked, .ef_search = 51},
        {.size = sizeof asked, .flat_max = 101},      {.size = sizeof asked, .pending_max = 201},
        {.size = sizeof asked, .flush_every = 301},   {.size = sizeof asked, .mode = ODB_VEC_SYNC},
        {.size = sizeof asked, .form = ODB_VEC_AUTO}, {.size = sizeof asked, .mode = ODB_VEC_ASYNC},
    };
    odb_vec_config now = {.size = sizeof now}, to = {.size = sizeof to, .form = ODB_VEC_F32};

    assert_ok(odb_vec_open(f->db, &asked));
    free(put_many(f, "a", 3, 1));
    assert_ok(odb_vec_open(f->db, &asked));
    assert_ok(odb_vec_open(f->db, &now)); /* nothing */
    assert_ok(odb_vec_open(f->db, NULL));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_status(odb_vec_open(f->db, &other[i]), ODB_INVALID);
    assert_ok(odb_vec_config_get(f->db, &now));
    assert_int_equal(now.form, ODB_VEC_I8);
    assert_int_equal(now.ef_search, 50);
    assert_int_equal(now.mode, ODB_VEC_MANUAL);
    to.ef_search = 70;
    assert_ok(odb_vec_rebuild(f->db, &to, 1, NULL, NULL));
    assert_ok(odb_vec_open(f->db, &to));
    assert_status(odb_vec_open(f->db, &asked), ODB_INVALID);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(opening_takes_the_stored_graph),       T(a_damaged_graph_is_built_anew),
        T(a_link_that_leads_nowhere_is_noticed), T(writing_by_hand_is_noticed),
        T(a_large_index_is_loaded_by_several),   T(the_form_follows_the_vectors),
        T(closing_leaves_work_to_the_next_open), T(opening_cuts_nobody_off),
        T(opening_links_whom_no_way_leads_to),   T(verify_measures_with_the_ef_it_is_given),
        T(an_open_index_refuses_to_be_another),
    };

    return RUN(tests, argc, argv);
}
