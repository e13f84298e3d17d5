/* tests/vector/test_dead.c -- vectors that were replaced or deleted. They stay in the graph for whom they lived,
 * and go when there is nobody left, beside others' searches too; their slots are used again. */
#include "tests/vector/vec_fixture.h"

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
    for (int wait = 0; wait < 1000 && (wait <= 40 || dead_now(f) > 0); wait++) {
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(what_waits_is_not_swept_for),
        T(old_snapshots_outlive_a_compaction),
        T(a_slot_that_is_used_again_conflicts_with_nobody),
        T(the_dead_go_while_others_search),
    };

    return RUN(tests, argc, argv);
}
