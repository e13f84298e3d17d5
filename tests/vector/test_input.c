/* tests/vector/test_input.c -- what makes no sense is refused with a status and stores nothing: vectors, ids,
 * searches, configurations, snapshots and transactions of other databases. */
#include "tests/vector/vec_fixture.h"

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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(bad_input_is_refused_and_stores_nothing),
        T(what_is_of_another_database_is_refused),
        T(presets_are_three_settings),
    };

    return RUN(tests, argc, argv);
}
