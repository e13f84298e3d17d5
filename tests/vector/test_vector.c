/* The calls of odb_vector.h, one claim a test. */
#include "tests/api/fixture.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/base/random.h"

#define DIM 16

static void fill(struct rnd *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)(rnd_next(r) >> 11) / 9007199254740992.0 * 2 - 1);
}

static odb_slice name(char *room, const char *what, uint32_t i)
{
    return odb_bytes(room, (size_t)snprintf(room, 32, "%s/%05u", what, i));
}

/* The number in such a name. Nothing ends it: what lies behind in memory may be a digit. */
static uint32_t number_in(odb_slice id)
{
    char text[8] = {0};

    assert_int_equal(id.size, 7); /* of one letter */
    memcpy(text, (const char *)id.data + 2, 5);
    return (uint32_t)strtoul(text, NULL, 10);
}

/* `n` vectors called what/00000 and so on, whose floats are returned. */
static float *put_many(struct fixture *f, const char *what, uint32_t n, uint64_t seed)
{
    float *x = malloc((size_t)n * DIM * sizeof *x);
    struct rnd r = {seed};
    char room[32];

    fill(&r, x, (size_t)n * DIM);
    for (uint32_t i = 0; i < n; i++)
        assert_ok(odb_vec_put(f->db, NULL, name(room, what, i), x + i * DIM, DIM));
    return x;
}

static void open_with(struct fixture *f, odb_vec_mode mode, odb_vec_form form, uint32_t flat_max)
{
    odb_vec_config c = {
        .size = sizeof c, .dim = DIM, .mode = mode, .form = form, .flat_max = flat_max};

    assert_ok(odb_vec_open(f->db, &c));
}

static void the_nearest_come_first(void **state)
{
    struct fixture *f = *state;
    static const float v[3][3] = {{1, 0, 0}, {0.9f, 0.1f, 0}, {0, 1, 0}};
    odb_vec_search how = {.size = sizeof how, .k = 2};
    odb_vec_hits *hits;
    float back[3];
    uint32_t dim;

    assert_ok(odb_vec_put(f->db, NULL, odb_s("v1"), v[0], 3));
    assert_ok(odb_vec_put(f->db, NULL, odb_s("v2"), v[1], 3));
    assert_ok(odb_vec_put(f->db, NULL, odb_s("v3"), v[2], 3));
    assert_ok(odb_vec_find(odb_now(f->db), v[0], 3, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 2);
    assert_slice(odb_vec_hits_at(hits, 0).id, "v1");
    assert_true(odb_vec_hits_at(hits, 0).distance < 1e-6f);
    assert_slice(odb_vec_hits_at(hits, 1).id, "v2");
    assert_true(fabsf(odb_vec_hits_at(hits, 1).distance - 0.141421f) < 1e-5f);
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_get(odb_now(f->db), odb_s("v2"), back, 3, &dim));
    assert_int_equal(dim, 3);
    assert_memory_equal(back, v[1], sizeof back);
    assert_ok(odb_vec_delete(f->db, NULL, odb_s("v1")));
    assert_status(odb_vec_get(odb_now(f->db), odb_s("v1"), back, 3, &dim), ODB_ABSENT);
    assert_ok(odb_vec_find(odb_now(f->db), v[0], 3, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "v2");
    odb_vec_hits_free(hits);
}

static void bad_input_is_refused_and_stores_nothing(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c, .dim = 4, .metric = ODB_METRIC_COSINE};
    float good[4] = {1, 2, 3, 4}, zero[4] = {0}, bad[4] = {1, NAN, 0, 0};
    odb_vec_search how = {.size = sizeof how, .k = 10};
    odb_recall recall = {.size = sizeof recall, .query = good, .dim = 4};
    odb_recall_hits *recalled;
    char long_id[1100];
    odb_vec_hits *hits;
    size_t more;
    odb_snapshot *snapshot;
    odb_at both;
    odb_vec_stats_t stats = {.size = sizeof stats};

    memset(long_id, 'x', sizeof long_id);
    assert_ok(odb_vec_open(f->db, &c));
    assert_status(odb_vec_put(f->db, NULL, odb_s("a"), good, 3), ODB_INVALID);
    assert_status(odb_vec_put(f->db, NULL, odb_s("a"), zero, 4), ODB_INVALID);
    assert_status(odb_vec_put(f->db, NULL, odb_s("a"), bad, 4), ODB_INVALID);
    bad[1] = INFINITY;
    assert_status(odb_vec_put(f->db, NULL, odb_s("a"), bad, 4), ODB_INVALID);
    assert_status(odb_vec_put(f->db, NULL, odb_s(""), good, 4), ODB_INVALID);
    assert_status(odb_vec_put(f->db, NULL, odb_bytes(long_id, 1025), good, 4), ODB_INVALID);
    assert_status(odb_vec_put(f->db, NULL, odb_s("a"), NULL, 4), ODB_INVALID);
    assert_status(odb_vec_find(odb_now(f->db), good, 5, &how, &hits), ODB_INVALID);
    assert_status(odb_vec_find(odb_now(f->db), bad, 4, &how, &hits), ODB_INVALID);
    assert_status(odb_vec_find(odb_now(f->db), zero, 4, &how, &hits), ODB_INVALID);
    how.size = 1;
    assert_status(odb_vec_find(odb_now(f->db), good, 4, &how, &hits), ODB_INVALID);
    how.size = sizeof how;
    how.k = 0;
    assert_status(odb_vec_find(odb_now(f->db), good, 4, &how, &hits), ODB_INVALID);
    assert_status(odb_vec_find_like(odb_now(f->db), odb_s("a"), &how, &hits), ODB_INVALID);
    assert_status(odb_recall_run(odb_now(f->db), &recall, &recalled, NULL), ODB_INVALID);
    assert_ok(odb_vec_find(odb_now(f->db), good, 4, NULL, &hits));
    assert_status(odb_vec_more(odb_now(f->db), hits, 0, &more), ODB_INVALID);
    odb_vec_hits_free(hits);
    how.k = 10;
    assert_status(odb_vec_find((odb_at){0}, good, 4, &how, &hits), ODB_INVALID);
    assert_ok(odb_snapshot_new(f->db, &snapshot));
    both = odb_asof(snapshot); /* a snapshot, and a database beside it: which is meant? */
    both.db = f->db;
    assert_status(odb_vec_find(both, good, 4, &how, &hits), ODB_INVALID);
    assert_status(odb_vec_find_like(both, odb_s("a"), &how, &hits), ODB_INVALID);
    odb_snapshot_free(snapshot);
    assert_status(odb_vec_find_like(odb_now(f->db), odb_s("nobody"), &how, &hits), ODB_ABSENT);
    assert_ok(odb_vec_stats(f->db, &stats));
    assert_int_equal(stats.live, 0);
    c.dim = 5;
    assert_status(odb_vec_open(f->db, &c), ODB_INVALID);
    c.dim = 0;
    c.metric = ODB_METRIC_DOT;
    assert_status(odb_vec_open(f->db, &c), ODB_INVALID);
    assert_ok(odb_vec_find(odb_now(f->db), good, 4, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 0);
    odb_vec_hits_free(hits);
}

/* Of another database, with a longer dimension: transactions, snapshots and hits are refused. */
static void what_is_of_another_database_is_refused(void **state)
{
    struct fixture *f = *state;
    odb_options o = odb_options_default();
    odb_vec_stats_t stats = {.size = sizeof stats};
    float x[40], longer[400];
    struct rnd r = {31};
    odb_snapshot *snapshot;
    odb_vec_hits *hits;
    odb_db *other;
    odb_txn *t;
    size_t more = 7;
    char dir[64], room[32];

    fill(&r, x, 40);
    fill(&r, longer, 400);
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(odb_vec_put(f->db, NULL, name(room, "a", i), x + i % 5, 35));
    fixture_make_dir(dir, sizeof dir);
    assert_ok(odb_open(dir, &o, &other));
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(odb_vec_put(other, NULL, name(room, "o", i), longer + i, 370));
    assert_ok(odb_txn_begin(other, NULL, &t));
    assert_status(odb_vec_put(f->db, t, odb_s("new"), x, 35), ODB_INVALID);
    assert_status(odb_vec_delete(f->db, t, odb_s("a/00001")), ODB_INVALID);
    odb_txn_free(t);
    assert_ok(odb_vec_find(odb_now(other), longer, 370, NULL, &hits));
    assert_ok(odb_snapshot_new(f->db, &snapshot));
    assert_status(odb_vec_more(odb_asof(snapshot), hits, 10, &more), ODB_INVALID);
    assert_status(odb_vec_more(odb_now(f->db), hits, 10, &more), ODB_INVALID);
    assert_int_equal(more, 7);
    assert_int_equal(odb_vec_hits_count(hits), 10);
    assert_ok(odb_vec_more(odb_now(other), hits, 10, &more));
    assert_int_equal(more, 10);
    odb_vec_hits_free(hits);
    odb_snapshot_free(snapshot);
    assert_ok(odb_vec_stats(f->db, &stats));
    assert_int_equal(stats.live, 30);
    assert_ok(odb_vec_stats(other, &stats));
    assert_int_equal(stats.live, 30);
    assert_ok(odb_close(other));
    fixture_remove_dir(dir);
}

static void a_transaction_sees_its_own_vectors_and_nobody_else_does(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 50, 1), q[DIM] = {0};
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_txn *t, *u;
    odb_vec_hits *hits;

    q[3] = 5;
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_vec_put(f->db, t, odb_s("a/00007"), q, DIM));
    assert_ok(odb_vec_put(f->db, t, odb_s("mine"), q, DIM));
    assert_ok(odb_vec_delete(f->db, t, odb_s("mine")));
    assert_ok(odb_vec_put(f->db, t, odb_s("mine too"), q, DIM));
    how.k = 2;
    assert_ok(odb_vec_find(odb_in(t), q, DIM, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "a/00007");
    assert_slice(odb_vec_hits_at(hits, 1).id, "mine too");
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_find(odb_in(t), x + 7 * DIM, DIM, &how, &hits)); /* the old one is masked */
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_find(odb_now(f->db), q, DIM, &how, &hits));
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    /* Somebody else is faster. */
    assert_ok(odb_txn_begin(f->db, NULL, &u));
    assert_ok(odb_vec_put(f->db, u, odb_s("a/00007"), x, DIM));
    assert_ok(odb_txn_commit(u, NULL));
    odb_txn_free(u);
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    odb_txn_free(t);
    how.k = 1;
    assert_ok(odb_vec_find(odb_now(f->db), q, DIM, &how, &hits));
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    free(x);
}

static void filters_ids_and_prefixes_restrict(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 300, 2), *y = put_many(f, "b", 20, 3);
    odb_slice within[3] = {odb_s("a/00003"), odb_s("b/00004"), odb_s("nobody")};
    odb_vec_search how = {.size = sizeof how, .k = 10, .prefix = odb_s("b/")};
    odb_vec_search_stats stats;
    odb_vec_hits *hits;

    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 10);
    for (size_t i = 0; i < 10; i++)
        assert_memory_equal(odb_vec_hits_at(hits, i).id.data, "b/", 2);
    odb_vec_hits_free(hits);
    how.prefix = odb_bytes(NULL, 0);
    how.within = within;
    how.within_count = 3;
    how.stats = &stats;
    assert_ok(odb_vec_find(odb_now(f->db), y + 4 * DIM, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 2);
    assert_slice(odb_vec_hits_at(hits, 0).id, "b/00004");
    assert_int_equal(stats.plan, ODB_VEC_PLAN_IDS);
    odb_vec_hits_free(hits);
    free(x);
    free(y);
}

static void records_filter_vectors(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 200, 4);
    odb_vec_search how = {.size = sizeof how, .k = 5};
    odb_filter *filter;
    odb_vec_hits *hits;
    char room[32];

    for (uint32_t i = 0; i < 200; i += 2) { /* every other one has a record */
        odb_record_draft d = odb_record_make_bytes(name(room, "a", i), odb_s("text"));

        d.importance = (float)i / 200;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
    }
    assert_ok(odb_filter_parse(odb_s("importance >= 0.5"), &filter, NULL));
    how.records = filter;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 5);
    for (size_t i = 0; i < 5; i++) {
        uint32_t n = number_in(odb_vec_hits_at(hits, i).id);

        assert_true(n % 2 == 0 && n >= 100);
    }
    odb_vec_hits_free(hits);
    odb_filter_free(filter);
    free(x);
}

static void more_goes_on_and_like_leaves_itself_out(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 60, 5);
    odb_vec_search how = {.size = sizeof how, .k = 7};
    odb_vec_hits *hits, *all, *many[3];
    size_t more;

    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    how.k = 100;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &all));
    assert_int_equal(odb_vec_hits_count(all), 60);
    do
        assert_ok(odb_vec_more(odb_now(f->db), hits, 9, &more));
    while (more);
    assert_int_equal(odb_vec_hits_count(hits), 60);
    for (size_t i = 0; i < 60; i++)
        assert_true(odb_slice_equal(odb_vec_hits_at(hits, i).id, odb_vec_hits_at(all, i).id));
    odb_vec_hits_free(hits);
    how.k = 5;
    assert_ok(odb_vec_find_like(odb_now(f->db), odb_s("a/00000"), &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(odb_slice_equal(odb_vec_hits_at(hits, i).id, odb_vec_hits_at(all, i + 1).id));
    odb_vec_hits_free(hits);
    how.k = 60;
    how.max_distance = odb_vec_hits_at(all, 20).distance;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 21);
    odb_vec_hits_free(hits);
    how.max_distance = ODB_VEC_ONLY_EQUAL;
    assert_ok(odb_vec_find_many(odb_now(f->db), x, 3, DIM, &how, many));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(odb_vec_hits_count(many[i]), 1);
        odb_vec_hits_free(many[i]);
    }
    odb_vec_hits_free(all);
    free(x);
}

static void diverse_results_differ(void **state)
{
    struct fixture *f = *state;
    odb_vec_search how = {.size = sizeof how, .k = 3};
    float q[DIM] = {1}, v[DIM] = {1};
    odb_vec_hits *hits;
    char room[32];

    for (uint32_t i = 0; i < 6; i++) { /* six alike, and two apart on either side */
        v[0] = 1 + 0.001f * (float)i;
        assert_ok(odb_vec_put(f->db, NULL, name(room, "same", i), v, DIM));
    }
    v[0] = 1;
    v[1] = 0.5f;
    assert_ok(odb_vec_put(f->db, NULL, odb_s("left"), v, DIM));
    v[1] = -0.5f;
    assert_ok(odb_vec_put(f->db, NULL, odb_s("right"), v, DIM));
    how.diverse = true;
    how.lambda = 0.4f;
    assert_ok(odb_vec_find(odb_now(f->db), q, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 3);
    assert_slice(odb_vec_hits_at(hits, 0).id, "same/00000");
    assert_int_not_equal(odb_vec_hits_at(hits, 1).id.size, 10);
    assert_int_not_equal(odb_vec_hits_at(hits, 2).id.size, 10);
    odb_vec_hits_free(hits);
}

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

static uint64_t monotonic_ns(void);

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

/* Vectors that were replaced before they were linked are no reason to look through the graph again and
 * again for something to take out. */
static void what_waits_is_not_swept_for(void **state)
{
    struct fixture *f = *state;
    odb_vec_stats_t s = {.size = sizeof s};
    odb_vec_bulk *hold;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 1);
    free(put_many(f, "a", 100, 23));
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_vec_bulk_begin(f->db, NULL, &hold)); /* what comes waits */
    for (uint64_t round = 0; round < 15; round++)
        free(put_many(f, "a", 100, 24 + round));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.dead, 1500);
    assert_true(odb_vec_work(f->db)); /* the first hundred go */
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.dead, 1400);
    assert_false(odb_vec_work(f->db));
    odb_vec_bulk_abort(hold);
    assert_ok(odb_vec_wait(f->db));
    assert_true(odb_vec_work(f->db)); /* linked by now */
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.dead, 0);
    assert_int_equal(s.linked, 100);
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

struct parity {
    uint32_t per_mille;
};

static bool passes_in(void *arg, odb_slice id)
{
    const struct parity *p = arg;
    uint32_t n = number_in(id);

    return n * 2654435761u % 1000 < p->per_mille;
}

/* Whatever part passes, the ten nearest of those are found as surely as without a filter; and when there
 * are fewer, that is what is said. */
static void filters_cost_no_recall(void **state)
{
    static const uint32_t parts[] = {0, 1, 20, 60, 150, 300, 600, 900};
    struct fixture *f = *state;
    uint32_t walked = 0;
    float *x;
    char room[32];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 1);
    x = put_many(f, "a", 5000, 51);
    assert_ok(odb_vec_wait(f->db));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct parity p = {parts[i]};
        odb_vec_search_stats stats;
        odb_vec_search how = {.size = sizeof how, .k = 10, .filter = passes_in, .filter_arg = &p};
        uint32_t hit = 0, all = 0, pass = 0;

        for (uint32_t n = 0; n < 5000; n++)
            pass += passes_in(&p, name(room, "a", n));
        how.stats = &stats;
        for (uint32_t q = 0; q < 60; q++) {
            odb_vec_hits *found, *truth;
            float query[DIM];

            for (size_t d = 0; d < DIM; d++)
                query[d] = x[q * 83 * DIM + d] + 0.2f * x[q * 57 * DIM + d];
            how.exact = true;
            assert_ok(odb_vec_find(odb_now(f->db), query, DIM, &how, &truth));
            how.exact = false;
            assert_ok(odb_vec_find(odb_now(f->db), query, DIM, &how, &found));
            assert_int_equal(odb_vec_hits_count(found), pass < 10 ? pass : 10);
            assert_true(!stats.is_cut && (stats.is_exact || pass >= 10));
            walked += stats.plan == ODB_VEC_PLAN_GRAPH;
            for (size_t a = 0; a < odb_vec_hits_count(truth); a++, all++)
                for (size_t b = 0; b < odb_vec_hits_count(found); b++)
                    hit +=
                        odb_slice_equal(odb_vec_hits_at(truth, a).id, odb_vec_hits_at(found, b).id);
            odb_vec_hits_free(found);
            odb_vec_hits_free(truth);
        }
        assert_true(hit >= all * 97 / 100);
    }
    assert_true(walked >= 4 * 60); /* the middling ones */
    free(x);
}

struct meddler {
    struct fixture *f;
    const float *x;
    int calls;
};

/* Once the walk is under way, store the vector that is asked for and link it. */
static bool meddle(void *arg, odb_slice id)
{
    struct meddler *m = arg;

    (void)id;
    if (++m->calls == 300) {
        assert_ok(odb_vec_put(m->f->db, NULL, odb_s("late"), m->x, DIM));
        assert_true(odb_vec_work(m->f->db));
    }
    return true;
}

/* A search at a snapshot does not see what is committed and linked while it walks. */
static void a_search_under_way_sees_its_moment(void **state)
{
    struct fixture *f = *state;
    odb_vec_search how = {.size = sizeof how, .k = 10, .ef = 100};
    struct meddler m = {.f = f};
    odb_vec_search_stats stats;
    odb_snapshot *snapshot;
    odb_vec_hits *hits;
    float *x;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 3000, 41);
    assert_ok(odb_vec_wait(f->db));
    m.x = x + 5 * DIM;
    how.filter = meddle;
    how.filter_arg = &m;
    how.stats = &stats;
    assert_ok(odb_snapshot_new(f->db, &snapshot));
    assert_ok(odb_vec_find(odb_asof(snapshot), m.x, DIM, &how, &hits));
    assert_int_equal(stats.plan, ODB_VEC_PLAN_GRAPH);
    assert_true(m.calls > 300);
    assert_int_equal(odb_vec_hits_count(hits), 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_not_equal(odb_vec_hits_at(hits, i).id.size, 4);
    odb_vec_hits_free(hits);
    odb_snapshot_free(snapshot);
    assert_ok(odb_vec_find(odb_now(f->db), m.x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 10);
    assert_slice(odb_vec_hits_at(hits, 1).id, "late");
    odb_vec_hits_free(hits);
    free(x);
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

static void old_snapshots_outlive_a_compaction(void **state)
{
    struct fixture *f = *state;
    float *x;
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_vec_search_stats stats;
    odb_snapshot *snapshot;
    odb_vec_hits *hits;
    char room[32];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 400, 10);
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_snapshot_new(f->db, &snapshot));
    for (uint32_t i = 0; i < 400; i += 2)
        assert_ok(odb_vec_delete(f->db, NULL, name(room, "a", i)));
    how.stats = &stats;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 400; i += 50) {
            assert_ok(odb_vec_find(odb_asof(snapshot), x + i * DIM, DIM, &how, &hits));
            assert_true(odb_slice_equal(odb_vec_hits_at(hits, 0).id, name(room, "a", i)));
            assert_int_equal(stats.plan, round ? ODB_VEC_PLAN_TABLE : ODB_VEC_PLAN_GRAPH);
            odb_vec_hits_free(hits);
            assert_ok(odb_vec_find(odb_now(f->db), x + i * DIM, DIM, &how, &hits));
            assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
            odb_vec_hits_free(hits);
        }
        assert_ok(odb_vec_compact(f->db));
    }
    odb_snapshot_free(snapshot);
    free(x);
}

/* Markers of a slot that was used before have been removed by a commit of the index. Who began before that
 * and got the slot would be told of a conflict with somebody he has never heard of. */
static void a_slot_that_is_used_again_conflicts_with_nobody(void **state)
{
    struct fixture *f = *state;
    odb_vec_stats_t s = {.size = sizeof s};
    odb_txn *early, *late;
    float *x, back[DIM];
    char room[32];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 400, 10);
    assert_ok(odb_vec_wait(f->db));
    assert_ok(odb_txn_begin(f->db, NULL, &early));
    assert_ok(odb_vec_get(odb_in(early), name(room, "a", 7), back, DIM, NULL));
    for (uint32_t i = 0; i < 400; i += 2)
        assert_ok(odb_vec_delete(f->db, NULL, name(room, "a", i)));
    assert_ok(odb_vec_compact(f->db));
    assert_ok(odb_vec_stats(f->db, &s));
    assert_true(s.dead == 0 && s.slots == 400);
    assert_ok(odb_txn_begin(f->db, NULL, &late));
    assert_ok(odb_vec_put(f->db, early, odb_s("early"), x, DIM));
    assert_ok(odb_vec_put(f->db, late, odb_s("late"), x + DIM, DIM));
    assert_ok(odb_txn_commit(early, NULL));
    assert_ok(odb_txn_commit(late, NULL));
    odb_txn_free(early);
    odb_txn_free(late);
    free(put_many(f, "b", 199, 11)); /* and so is every other one */
    assert_ok(odb_vec_stats(f->db, &s));
    assert_int_equal(s.live, 401);
    assert_int_equal(s.slots, 401); /* of which one for the first */
    free(x);
}

static uint64_t dead_now(struct fixture *f)
{
    odb_vec_stats_t s = {.size = sizeof s};

    assert_ok(odb_vec_stats(f->db, &s));
    return s.dead;
}

/* Whoever searches has a snapshot for a moment, and where many do there is always one. The dead need not
 * wait until there is none, only until nobody is left from when they lived. */
static void the_dead_go_while_others_search(void **state)
{
#define ALL  9000
#define GONE 1300
    struct fixture *f = *state;
    odb_vec_config c = {
        .size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1, .m = 4};
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = 1, .stats = &stats};
    odb_snapshot *old, *young;
    odb_vec_bulk *bulk;
    odb_vec_hits *hits;
    struct rnd r = {12};
    float x[DIM];
    char room[32];

    c.ef_construction = 8;
    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_bulk_begin(f->db, NULL, &bulk));
    for (uint32_t i = 0; i < ALL; i++) {
        fill(&r, x, DIM);
        assert_ok(odb_vec_bulk_add(bulk, name(room, "a", i), x, DIM));
    }
    assert_ok(odb_vec_bulk_finish(bulk));
    assert_ok(odb_snapshot_new(f->db, &old));
    for (uint32_t i = 0; i < GONE; i++)
        assert_ok(odb_vec_delete(f->db, NULL, name(room, "a", i)));
    for (int wait = 0; wait < 1000 && dead_now(f) > 0; wait++) {
        if (wait == 40) { /* 80 ms: for whom lived then nothing was taken */
            assert_int_equal(dead_now(f), GONE);
            assert_ok(odb_vec_find(odb_asof(old), x, DIM, &how, &hits));
            assert_int_equal(stats.plan, ODB_VEC_PLAN_GRAPH);
            odb_vec_hits_free(hits);
            odb_snapshot_free(old);
        }
        assert_ok(odb_snapshot_new(f->db, &young));
        (void)odb_vec_work(f->db);
        assert_ok(odb_vec_find(odb_asof(young), x, DIM, &how, &hits));
        assert_int_equal(stats.plan, ODB_VEC_PLAN_GRAPH); /* it lost nothing either */
        odb_vec_hits_free(hits);
        odb_snapshot_free(young);
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    assert_int_equal(dead_now(f), 0);
#undef ALL
#undef GONE
}

/* ---- recall and graphrag ---- */

static void put_world(struct fixture *f, uint32_t n, float *x)
{
    struct rnd r = {77};
    char room[32], other[32];

    fill(&r, x, (size_t)n * DIM);
    for (uint32_t i = 0; i < n; i++) {
        odb_record_draft d = odb_record_make_bytes(name(room, "r", i), odb_s("text"));

        d.importance = (float)rnd_below(&r, 1000) / 1000;
        d.timestamp = (int64_t)1000000 * (int64_t)rnd_below(&r, 1000000) + 1;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
        if (i % 5)
            assert_ok(odb_vec_put(f->db, NULL, name(room, "r", i), x + i * DIM, DIM));
        assert_ok(odb_link(f->db, NULL, name(room, "r", i), odb_s("next"),
                           name(other, "r", rnd_below(&r, n))));
    }
}

/* The score as the header defines it, of every record. */
static void a_proven_recall_is_the_true_one(void **state)
{
    enum { N = 700 };
    struct fixture *f = *state;
    float *x = malloc(N * DIM * sizeof *x), *score = malloc(N * sizeof *score), q[DIM];
    odb_slice context = odb_s("r/00017");
    odb_recall how = {.size = sizeof how, .k = 8, .query = q, .dim = DIM, .prove = true};
    struct rnd r = rnd_start("test_vector");
    odb_walk walk = {.size = sizeof walk, .edges = {.direction = ODB_BOTH}, .max_depth = 2};
    odb_nodeset *near;
    char room[32];

    put_world(f, N, x);
    assert_ok(odb_walk_bfs(odb_now(f->db), &context, 1, &walk, &near));
    for (int round = 0; round < 8; round++) {
        odb_recall_hits *hits;
        bool proven = false;
        float best[8];

        fill(&r, q, DIM);
        how.w_similarity = (float)rnd_below(&r, 4);
        how.w_importance = (float)rnd_below(&r, 3);
        how.w_recency = (float)rnd_below(&r, 3);
        how.w_proximity = (float)rnd_below(&r, 2);
        if (how.w_similarity + how.w_importance + how.w_recency + how.w_proximity <= 0)
            how.w_importance = 1;
        how.half_life_s = 300000;
        how.now_us = (int64_t)1000000 * 1000000;
        how.candidates = 8;
        how.context = &context;
        how.context_count = 1;
        for (uint32_t i = 0; i < N; i++) {
            odb_slice id = name(room, "r", i);
            odb_record *rec;
            size_t at = odb_nodeset_find(near, id);

            assert_ok(odb_record_get(odb_now(f->db), id, &rec));
            score[i] = how.w_importance * odb_record_importance(rec) +
                       how.w_recency *
                           (float)exp2(-(double)(how.now_us - odb_record_timestamp(rec)) / 3e11);
            if (i % 5)
                score[i] +=
                    how.w_similarity / (1 + odb_distance(q, x + i * DIM, DIM, ODB_METRIC_L2));
            if (at != SIZE_MAX)
                score[i] += how.w_proximity * (float)exp2(-(double)odb_nodeset_at(near, at).depth);
            odb_record_free(rec);
        }
        for (int k = 0; k < 8; k++) {
            uint32_t top = 0;

            for (uint32_t i = 1; i < N; i++)
                if (score[i] > score[top])
                    top = i;
            best[k] = score[top];
            score[top] = -1;
        }
        assert_ok(odb_recall_run(odb_now(f->db), &how, &hits, &proven));
        assert_true(proven);
        assert_int_equal(odb_recall_hits_count(hits), 8);
        for (size_t k = 0; k < 8; k++)
            assert_true(fabsf(odb_recall_hits_at(hits, k).score - best[k]) < 1e-4f);
        odb_recall_hits_free(hits);
    }
    odb_nodeset_free(near);
    free(score);
    free(x);
}

static void a_subgraph_holds_seeds_and_what_is_linked(void **state)
{
    enum { N = 300 };
    struct fixture *f = *state;
    float *x = malloc(N * DIM * sizeof *x);
    odb_vec_search seeds = {.size = sizeof seeds, .k = 3};
    odb_rag how = {.size = sizeof how, .seeds = &seeds, .hop_decay = 0.5f, .max_nodes = 40};
    odb_vec_search one = {.size = sizeof one, .k = 4};
    odb_walk walk = {.size = sizeof walk, .edges = {.direction = ODB_BOTH}, .max_depth = 1};
    odb_slice centre = odb_s("r/00011");
    odb_vec_hits *hits;
    odb_nodeset *set;
    odb_subgraph *g;

    put_world(f, N, x);
    assert_ok(odb_graphrag(odb_now(f->db), x + 11 * DIM, DIM, &how, &g));
    assert_slice(odb_subgraph_node(g, 0).id, "r/00011");
    assert_true(odb_subgraph_node_count(g) > 3 && odb_subgraph_node_count(g) <= 40);
    assert_true(odb_subgraph_edge_count(g) > 0);
    for (size_t i = 0; i < odb_subgraph_node_count(g); i++) {
        odb_rag_node n = odb_subgraph_node(g, i);

        assert_true(i == 0 || n.score <= odb_subgraph_node(g, i - 1).score);
        assert_true(n.depth <= 2);
    }
    for (size_t i = 0; i < odb_subgraph_edge_count(g); i++) {
        odb_rag_edge e = odb_subgraph_edge(g, i);

        assert_ok(odb_edge_exists(odb_now(f->db), odb_subgraph_node(g, e.from).id, e.rel,
                                  odb_subgraph_node(g, e.to).id));
    }
    odb_subgraph_free(g);
    assert_ok(odb_vec_find_near(odb_now(f->db), &centre, 1, &walk, x, DIM, &one, &hits));
    assert_ok(odb_walk_bfs(odb_now(f->db), &centre, 1, &walk, &set));
    for (size_t i = 0; i < odb_vec_hits_count(hits); i++)
        assert_true(odb_nodeset_find(set, odb_vec_hits_at(hits, i).id) != SIZE_MAX);
    odb_nodeset_free(set);
    odb_vec_hits_free(hits);
    free(x);
}

/* ---- many at once ---- */

struct many {
    odb_db *db;
    atomic_bool stop;
    _Atomic uint64_t searches;
    uint64_t seed;
};

static void *write_on(void *arg)
{
    struct many *m = arg;
    struct rnd r = {m->seed};
    char room[32];
    float x[DIM];

    for (int i = 0; i < 2500 && !atomic_load(&m->stop); i++) {
        odb_slice id = name(room, "w", rnd_below(&r, 700));

        fill(&r, x, DIM);
        if (rnd_below(&r, 4) == 0 ? odb_vec_delete(m->db, NULL, id) != ODB_OK
                                  : odb_vec_put(m->db, NULL, id, x, DIM) != ODB_OK)
            abort();
    }
    return NULL;
}

/* The distances of the nearest five of all rows at a snapshot, by looking at each. Returns how many. */
static size_t nearest_rows(odb_db *db, odb_snapshot *s, const float *q, float best[5])
{
    odb_range range = {.keys_only = true};
    odb_iter *it;
    odb_cf *cf;
    size_t n = 0;

    if (odb_cf_open(db, ODB_FAMILY_VECTOR_DATA, &cf) != ODB_OK ||
        odb_iter_new(odb_asof(s), cf, &range, &it) != ODB_OK)
        abort();
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it)) {
        float x[DIM], d;
        size_t at;

        if (odb_vec_get(odb_asof(s), odb_iter_key(it), x, DIM, NULL) != ODB_OK)
            abort();
        d = odb_distance(q, x, DIM, ODB_METRIC_L2);
        if (n == 5 && d >= best[4])
            continue;
        n += n < 5;
        for (at = n - 1; at > 0 && best[at - 1] > d; at--)
            best[at] = best[at - 1];
        best[at] = d;
    }
    if (odb_iter_status(it) != ODB_OK)
        abort();
    odb_iter_free(it);
    return n;
}

/* At a snapshot an exact search from memory says what the rows say, and the graph no less. */
static void *search_on(void *arg)
{
    struct many *m = arg;
    struct rnd r = {m->seed + 1000};
    float q[DIM], x[DIM], best[5];

    do {
        odb_vec_search how = {.size = sizeof how, .k = 5, .exact = true};
        odb_vec_hits *a, *b;
        odb_snapshot *s;

        fill(&r, q, DIM);
        if (odb_snapshot_new(m->db, &s) != ODB_OK ||
            odb_vec_find(odb_asof(s), q, DIM, &how, &a) != ODB_OK)
            abort();
        how.exact = false;
        if (odb_vec_find(odb_asof(s), q, DIM, &how, &b) != ODB_OK)
            abort();
        if (odb_vec_hits_count(a) != odb_vec_hits_count(b) ||
            nearest_rows(m->db, s, q, best) != odb_vec_hits_count(a))
            abort();
        for (size_t i = 0; i < odb_vec_hits_count(a); i++)
            if (odb_vec_hits_at(a, i).distance != best[i])
                abort();
        for (size_t i = 0; i < odb_vec_hits_count(b); i++) {
            odb_vec_hit h = odb_vec_hits_at(b, i);

            if (odb_vec_get(odb_asof(s), h.id, x, DIM, NULL) != ODB_OK ||
                fabsf(odb_distance(q, x, DIM, ODB_METRIC_L2) - h.distance) > 1e-5f ||
                h.distance < odb_vec_hits_at(a, i).distance - 1e-5f)
                abort();
        }
        odb_vec_hits_free(a);
        odb_vec_hits_free(b);
        odb_snapshot_free(s);
        atomic_fetch_add(&m->searches, 1);
    } while (!atomic_load(&m->stop));
    return NULL;
}

static void searches_hold_beside_writers_and_the_indexer(void **state)
{
    struct fixture *f = *state;
    struct many m[4] = {{0}};
    pthread_t t[4];
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .flat_max = 1, .m = 8, .flush_every = 200};
    odb_vec_report report = {.size = sizeof report};

#ifndef ODB_WITH_THREADS
    skip();
#endif
    c.ef_construction = 60;
    c.form = ODB_VEC_I8;
    assert_ok(odb_vec_open(f->db, &c));
    for (int i = 0; i < 4; i++) {
        m[i].db = f->db;
        m[i].seed = (uint64_t)i;
        assert_int_equal(pthread_create(&t[i], NULL, i < 2 ? write_on : search_on, &m[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_ok(odb_vec_compact(f->db)); /* beside the searches, too */
    assert_ok(odb_vec_rebuild(f->db, NULL, 2, NULL, NULL));
    for (int i = 2; i < 4; i++) {
        atomic_store(&m[i].stop, true);
        pthread_join(t[i], NULL);
        assert_true(atomic_load(&m[i].searches) > 0);
    }
    assert_ok(odb_vec_compact(f->db));
    assert_ok(odb_vec_verify(f->db, 30, &report));
    assert_int_equal(report.unreachable, 0);
}

static uint64_t monotonic_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
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

static void presets_are_three_settings(void **state)
{
    struct fixture *f = *state;
    static const uint32_t want[3][3] = {{16, 200, 64}, {32, 400, 128}, {8, 100, 32}};
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .flush_every = 77}, now;

    for (int preset = 0; preset < 3; preset++) {
        odb_vec_preset(&c, (enum odb_vec_preset)preset);
        assert_int_equal(c.m, want[preset][0]);
        assert_int_equal(c.ef_construction, want[preset][1]);
        assert_int_equal(c.ef_search, want[preset][2]);
        assert_true(c.dim == DIM && c.flush_every == 77); /* the rest stays */
    }
    assert_ok(odb_vec_open(f->db, &c));
    assert_ok(odb_vec_config_get(f->db, &now));
    assert_true(now.m == 8 && now.ef_construction == 100 && now.ef_search == 32);
    assert_true(now.flush_every == 77 && now.metric == ODB_METRIC_L2 && now.flat_max == 8192);
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

struct sweeper {
    odb_db *db;
    atomic_bool stop;
    _Atomic uint64_t sweeps;
};

static void *sweep_on(void *arg)
{
    struct sweeper *s = arg;
    struct rnd r = {77};
    char room[32];
    float x[DIM];

    while (!atomic_load(&s->stop)) {
        fill(&r, x, DIM);
        if (odb_vec_put(s->db, NULL, name(room, "a", rnd_below(&r, 20)), x, DIM) != ODB_OK ||
            odb_vec_compact(s->db) != ODB_OK)
            abort();
        atomic_fetch_add(&s->sweeps, 1);
    }
    return NULL;
}

/* Who asks for now has as many moments to choose from as he needs: none is so old that all rows would have to
 * be looked through for it, though the dead are taken out all the while. */
static void searches_for_now_stay_in_memory_beside_compactions(void **state)
{
    struct fixture *f = *state;
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = 3, .stats = &stats};
    struct sweeper s = {.db = f->db};
    uint64_t until = monotonic_ns() + 1500000000, table = 0, all = 0;
    odb_vec_hits *hits;
    pthread_t t;
    float *x;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 1);
    x = put_many(f, "a", 20, 3);
    assert_int_equal(pthread_create(&t, NULL, sweep_on, &s), 0);
    for (; monotonic_ns() < until; all++) {
        assert_ok(odb_vec_find(odb_now(f->db), x + all % 20 * DIM, DIM, &how, &hits));
        assert_int_equal(odb_vec_hits_count(hits), 3);
        table += stats.plan == ODB_VEC_PLAN_TABLE;
        odb_vec_hits_free(hits);
    }
    atomic_store(&s.stop, true);
    pthread_join(t, NULL);
    assert_true(s.sweeps > 10);
    assert_int_equal(table, 0);
    free(x);
}

#define LSM(test)                                                                                  \
    {                                                                                              \
#test, test, fixture_lsm, fixture_close, NULL                                              \
    }

/* With an argument: only the tests whose names match it. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LSM(presets_are_three_settings),
        LSM(opening_cuts_nobody_off),
        LSM(opening_links_whom_no_way_leads_to),
        LSM(verify_measures_with_the_ef_it_is_given),
        LSM(limits_end_a_search_early_and_say_so),
        LSM(the_nearest_come_first),
        LSM(bad_input_is_refused_and_stores_nothing),
        LSM(what_is_of_another_database_is_refused),
        LSM(a_transaction_sees_its_own_vectors_and_nobody_else_does),
        LSM(filters_ids_and_prefixes_restrict),
        LSM(records_filter_vectors),
        LSM(more_goes_on_and_like_leaves_itself_out),
        LSM(diverse_results_differ),
        LSM(opening_takes_the_stored_graph),
        LSM(a_damaged_graph_is_built_anew),
        LSM(a_link_that_leads_nowhere_is_noticed),
        LSM(writing_by_hand_is_noticed),
        LSM(a_bulk_load_can_be_cancelled),
        LSM(a_bulk_load_can_be_cancelled_at_any_moment),
        LSM(a_large_index_is_loaded_by_several),
        LSM(memory_is_what_the_layout_says),
        LSM(what_waits_is_not_swept_for),
        LSM(closing_leaves_work_to_the_next_open),
        LSM(writers_help_only_where_the_graph_is_searched),
        LSM(the_form_follows_the_vectors),
        LSM(filters_cost_no_recall),
        LSM(a_search_under_way_sees_its_moment),
        LSM(replacing_costs_no_memory),
        LSM(old_snapshots_outlive_a_compaction),
        LSM(a_slot_that_is_used_again_conflicts_with_nobody),
        LSM(the_dead_go_while_others_search),
        LSM(searches_for_now_stay_in_memory_beside_compactions),
        LSM(a_proven_recall_is_the_true_one),
        LSM(a_subgraph_holds_seeds_and_what_is_linked),
        LSM(searches_hold_beside_writers_and_the_indexer),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
