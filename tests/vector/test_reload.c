/* tests/vector/test_reload.c -- an index is loaded anew while others write: nobody reads what is no more, waits for
 * ever, or has his commit forgotten. */
#include "tests/vector/vec_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

static odb_vec_stats_t stats_of(odb_db *db)
{
    odb_vec_stats_t s = {.size = sizeof s};

    assert_ok(odb_vec_stats(db, &s));
    return s;
}

/* Whether a search now has this id first, at distance 0, and did it from memory. */
static void assert_found(odb_db *db, odb_slice id, const float *x)
{
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = 1, .stats = &stats};
    odb_vec_hits *hits;

    assert_ok(odb_vec_find(odb_now(db), x, DIM, &how, &hits));
    assert_true(odb_slice_equal(odb_vec_hits_at(hits, 0).id, id));
    assert_true(odb_vec_hits_at(hits, 0).distance < 1e-6f);
    assert_int_not_equal(stats.plan, ODB_VEC_PLAN_TABLE);
    odb_vec_hits_free(hits);
}

static void assert_sound(odb_db *db)
{
    odb_vec_report report = {.size = sizeof report};

    assert_ok(odb_vec_wait(db));
    if (odb_vec_verify(db, 10, &report) != ODB_OK)
        fail_msg("%s: %llu missing, %llu orphans, %llu doubles, %llu bad nodes", odb_error_text(),
                 (unsigned long long)report.missing, (unsigned long long)report.orphans,
                 (unsigned long long)report.doubles, (unsigned long long)report.bad_nodes);
    assert_false(stats_of(db).is_stale);
}

#ifdef ODB_WITH_THREADS

/* What runs beside a rebuild, until it is told to stop. */
struct beside {
    odb_db *db;
    atomic_bool stop;
    _Atomic uint64_t done;
    uint64_t seed;
};

/* Over ids that are all there, alone and in transactions. */
static void *write_over(void *arg)
{
    struct beside *b = arg;
    struct rnd r = {b->seed};
    char room[32];
    float x[DIM];

    while (!atomic_load(&b->stop)) {
        odb_slice id = name(room, "a", rnd_below(&r, 300));
        bool is_delete = rnd_below(&r, 3) == 0;
        odb_txn *t = NULL;
        odb_status st;

        fill(&r, x, DIM);
        if (rnd_below(&r, 2) && odb_txn_begin(b->db, NULL, &t) != ODB_OK)
            abort();
        st = is_delete ? odb_vec_delete(b->db, t, id) : odb_vec_put(b->db, t, id, x, DIM);
        if (st == ODB_OK && t)
            st = odb_txn_commit(t, NULL);
        odb_txn_free(t);
        if (st != ODB_OK && !odb_txn_should_retry(st))
            abort();
        atomic_fetch_add(&b->done, 1);
    }
    return NULL;
}

static void writes_over_existing_ids_run_beside_rebuilds(void **state)
{
    struct fixture *f = *state;
    struct beside b[2] = {{f->db, false, 0, 1}, {f->db, false, 0, 2}};
    uint64_t until = monotonic_ns() + 1000000000;
    pthread_t t[2];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 8192);
    free(put_many(f, "a", 300, 1));
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, write_over, &b[i]), 0);
    for (int n = 0; n < 20 || monotonic_ns() < until; n++) {
        assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
        assert_false(stats_of(f->db).is_stale);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&b[i].stop, true);
        pthread_join(t[i], NULL);
        assert_true(atomic_load(&b[i].done) > 20);
    }
    assert_sound(f->db);
}

/* Commits to the family that nothing holds back: by hand, of nothing. */
static void *disturb(void *arg)
{
    struct beside *b = arg;
    odb_cf *cf;

    if (odb_cf_open(b->db, ODB_FAMILY_VECTOR_DATA, &cf) != ODB_OK)
        abort();
    while (!atomic_load(&b->stop))
        if (odb_delete(b->db, cf, odb_s("nobody"), NULL) != ODB_OK)
            abort();
    return NULL;
}

static void a_rebuild_that_gives_up_keeps_nobody_waiting(void **state)
{
    struct fixture *f = *state;
    struct beside b = {.db = f->db};
    odb_vec_report report = {.size = sizeof report};
    odb_status st = ODB_OK;
    odb_vec_bulk *bulk;
    odb_txn *t;
    pthread_t thread;
    float *x;

    open_with(f, ODB_VEC_EXACT, ODB_VEC_I8, 8192);
    x = put_many(f, "a", 4000, 2);
    assert_int_equal(pthread_create(&thread, NULL, disturb, &b), 0);
    for (int tries = 0; st == ODB_OK && tries < 200; tries++)
        st = odb_vec_rebuild(f->db, NULL, 1, NULL, NULL);
    atomic_store(&b.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(st, ODB_BUSY);

    (void)alarm(60); /* whoever waits now waits for ever */
    assert_int_equal(odb_vec_put(f->db, NULL, odb_s("late"), x, DIM), ODB_BUSY);
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_int_equal(odb_vec_put(f->db, t, odb_s("late"), x, DIM), ODB_BUSY);
    assert_ok(odb_vec_delete(f->db, t, odb_s("a/00001"))); /* of a row that is there */
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    assert_ok(odb_vec_delete(f->db, NULL, odb_s("a/00002")));
    assert_ok(odb_vec_bulk_begin(f->db, NULL, &bulk));
    assert_ok(odb_vec_bulk_add(bulk, odb_s("late"), x, DIM));
    assert_int_equal(odb_vec_bulk_finish(bulk), ODB_BUSY);
    assert_int_equal(odb_vec_verify(f->db, 10, &report),
                     ODB_BUSY); /* nothing to compare with, not damage */
    (void)alarm(0);

    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    assert_int_equal(stats_of(f->db).live, 3998);
    assert_ok(odb_vec_put(f->db, NULL, odb_s("late"), x + 2 * DIM, DIM));
    assert_found(f->db, odb_s("late"), x + 2 * DIM);
    free(x);
}

#define PAIRS 300

/* Transactions that have their slots and ask for nothing more: their commits are what a load cannot hold back. */
struct late {
    odb_txn *t[PAIRS];
    odb_status st[PAIRS];
    atomic_bool *go;
};

static void *commit_late(void *arg)
{
    struct late *l = arg;

    while (!atomic_load(l->go))
        (void)sched_yield();
    for (int i = 0; i < PAIRS; i++) {
        l->st[i] = odb_txn_commit(l->t[i], NULL);
        odb_txn_free(l->t[i]);
        if (i % 4 == 0)
            usleep(20);
    }
    return NULL;
}

/* Rows copied by hand name slots of others, and are written anew by whoever loads them: but not over what others
 * commit meanwhile, nor are those forgotten. */
static void rows_that_share_a_slot_lose_no_commit(void **state)
{
    struct fixture *f = *state;
    odb_cf *cf = fixture_cf(f, ODB_FAMILY_VECTOR_DATA);
    uint64_t late_ones = 0;
    float *x;

    open_with(f, ODB_VEC_EXACT, ODB_VEC_F32, 8192);
    x = put_many(f, "a", PAIRS, 3);
    for (uint64_t round = 0; round < 12; round++) {
        struct late l;
        atomic_bool go = false;
        struct rnd r = {100 + round};
        static float y[PAIRS][DIM];
        pthread_t thread;
        char room[32], twin[32];
        float z[DIM];
        uint32_t live = PAIRS;
        odb_value v;

        l.go = &go;
        fill(&r, y[0], (size_t)PAIRS * DIM);
        for (uint32_t i = 0; i < PAIRS; i++) {
            assert_ok(odb_get(odb_now(f->db), cf, name(room, "a", i), &v));
            assert_ok(odb_put(f->db, cf, name(twin, "b", i), odb_bytes(v.data, v.size), NULL));
            odb_value_release(&v);
        }
        for (uint32_t i = 0; i < PAIRS; i++) {
            assert_ok(odb_txn_begin(f->db, NULL, &l.t[i]));
            if (i % 2)
                assert_ok(odb_vec_delete(f->db, l.t[i], name(twin, "b", i)));
            else
                assert_ok(odb_vec_put(f->db, l.t[i], name(twin, "b", i), y[i], DIM));
        }
        assert_int_equal(pthread_create(&thread, NULL, commit_late, &l), 0);
        atomic_store(&go, true);
        assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
        pthread_join(thread, NULL);
        assert_false(stats_of(f->db).is_stale);
        for (uint32_t i = 0; i < PAIRS; i++) {
            odb_slice id = name(twin, "b", i);
            odb_status st = odb_vec_get(odb_now(f->db), id, z, DIM, NULL);

            if (l.st[i] == ODB_OK && i % 2) {
                assert_int_equal(st, ODB_ABSENT); /* it was deleted */
                continue;
            }
            live++;
            assert_ok(st);
            if (l.st[i] == ODB_OK) {
                assert_memory_equal(z, y[i], sizeof z);
                assert_found(f->db, id, y[i]);
            } else { /* written anew, which it had not seen */
                late_ones++;
                assert_int_equal(l.st[i], ODB_CONFLICT);
                assert_memory_equal(z, x + i * DIM, sizeof z);
            }
        }
        assert_int_equal(stats_of(f->db).live, live);
        assert_sound(f->db);
        for (uint32_t i = 0; i < PAIRS; i++)
            assert_ok(odb_vec_delete(f->db, NULL, name(twin, "b", i)));
        assert_int_equal(stats_of(f->db).live, PAIRS);
    }
    assert_true(late_ones < 12 * PAIRS);
    free(x);
}

/* Stands behind the index in the row of observers: what that was told of is not visible yet. */
struct gate {
    odb_db *db;
    const float *x;
    atomic_bool is_shut, is_inside;
};

static void hold_up(void *arg, const odb_commit_info *commit)
{
    struct gate *g = arg;

    (void)commit;
    while (atomic_load(&g->is_shut)) {
        atomic_store(&g->is_inside, true);
        usleep(1000);
    }
}

static void *put_through_gate(void *arg)
{
    struct gate *g = arg;

    if (odb_vec_put(g->db, NULL, odb_s("told"), g->x, DIM) != ODB_OK)
        abort();
    return NULL;
}

static void *rebuild(void *arg)
{
    if (odb_vec_rebuild(arg, NULL, 1, NULL, NULL) != ODB_OK)
        abort();
    return NULL;
}

static void a_commit_told_of_before_a_rebuild_is_in_it(void **state)
{
    struct fixture *f = *state;
    struct gate g = {.db = f->db};
    pthread_t writer, rebuilder;
    float *x;

    open_with(f, ODB_VEC_EXACT, ODB_VEC_F32, 8192);
    x = put_many(f, "a", 50, 4);
    x[0] += 1;
    g.x = x;
    assert_ok(odb_observe(f->db, hold_up, &g, NULL));
    atomic_store(&g.is_shut, true);
    assert_int_equal(pthread_create(&writer, NULL, put_through_gate, &g), 0);
    while (!atomic_load(&g.is_inside))
        usleep(1000);
    assert_int_equal(pthread_create(&rebuilder, NULL, rebuild, f->db), 0);
    usleep(200000); /* it takes its snapshot, or waits */
    atomic_store(&g.is_shut, false);
    pthread_join(writer, NULL);
    pthread_join(rebuilder, NULL);
    assert_ok(odb_unobserve(f->db, hold_up, &g));
    assert_found(f->db, odb_s("told"), x);
    assert_int_equal(stats_of(f->db).live, 51);
    assert_sound(f->db);
    free(x);
}

#endif

/* Transactions that were open across a rebuild, whatever they did before and do afterwards. */
static void a_transaction_open_across_a_rebuild_keeps_its_slots(void **state)
{
    struct fixture *f = *state;
    float *x, *y;
    odb_txn *t, *undone, *more;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 100, 5);
    assert_ok(odb_vec_wait(f->db));
    y = put_many(f, "z", 8, 6); /* as many vectors as are needed below */
    for (uint32_t i = 0; i < 8; i++) {
        char room[32];

        assert_ok(odb_vec_delete(f->db, NULL, name(room, "z", i)));
    }
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_begin(f->db, NULL, &undone));
    assert_ok(odb_txn_begin(f->db, NULL, &more));
    assert_ok(odb_vec_put(f->db, t, odb_s("new"), y, DIM));
    assert_ok(odb_vec_put(f->db, t, odb_s("a/00003"), y + DIM, DIM));
    assert_ok(odb_vec_put(f->db, undone, odb_s("undone"), y + 2 * DIM, DIM));
    assert_ok(odb_vec_put(f->db, more, odb_s("more"), y + 3 * DIM, DIM));
    assert_ok(odb_vec_delete(f->db, more, odb_s("a/00004")));

    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    assert_ok(
        odb_vec_put(f->db, NULL, odb_s("between"), y + 4 * DIM, DIM)); /* in a slot of its own */
    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    assert_ok(odb_txn_rollback(undone));
    assert_ok(odb_vec_put(f->db, more, odb_s("more"), y + 5 * DIM, DIM));
    assert_ok(odb_vec_delete(f->db, more, odb_s("a/00005")));
    assert_ok(odb_vec_put(f->db, more, odb_s("again"), y + 6 * DIM, DIM));
    assert_ok(odb_txn_commit(t, NULL));
    assert_ok(odb_txn_commit(more, NULL));
    odb_txn_free(t);
    odb_txn_free(undone);
    odb_txn_free(more);

    assert_false(stats_of(f->db).is_stale);
    assert_int_equal(stats_of(f->db).live, 100 - 2 + 4);
    assert_found(f->db, odb_s("new"), y);
    assert_found(f->db, odb_s("a/00003"), y + DIM);
    assert_found(f->db, odb_s("between"), y + 4 * DIM);
    assert_found(f->db, odb_s("more"), y + 5 * DIM);
    assert_found(f->db, odb_s("again"), y + 6 * DIM);
    assert_sound(f->db);
    fixture_reopen(f);
    assert_found(f->db, odb_s("new"), y);
    assert_int_equal(stats_of(f->db).live, 100 - 2 + 4);
    assert_int_equal(stats_of(f->db).rebuilds, 0);
    assert_sound(f->db);
    free(x);
    free(y);
}

/* Vectors replaced and deleted before they were linked leave no markers behind that the next load could not place. */
static void a_rebuild_leaves_no_marker_of_nobody(void **state)
{
    struct fixture *f = *state;
    float *x;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 8192);
    x = put_many(f, "a", 300, 7);
    free(put_many(f, "a", 300, 8)); /* over them */
    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    for (uint32_t i = 0; i < 300; i++) {
        char room[32];

        assert_ok(odb_vec_delete(f->db, NULL, name(room, "a", i)));
    }
    assert_ok(odb_vec_rebuild(f->db, NULL, 1, NULL, NULL));
    fixture_reopen(f); /* nobody is there, and numbers begin anew */
    assert_ok(odb_vec_put(f->db, NULL, odb_s("last"), x, DIM));
    assert_found(f->db, odb_s("last"), x);
    assert_sound(f->db);
    free(x);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#ifdef ODB_WITH_THREADS
        T(writes_over_existing_ids_run_beside_rebuilds),
        T(a_rebuild_that_gives_up_keeps_nobody_waiting),
        T(rows_that_share_a_slot_lose_no_commit),
        T(a_commit_told_of_before_a_rebuild_is_in_it),
#endif
        T(a_transaction_open_across_a_rebuild_keeps_its_slots),
        T(a_rebuild_leaves_no_marker_of_nobody),
    };

    return RUN(tests, argc, argv);
}
