/* tests/records/test_threads.c -- many threads on few records: every write lands whole, none is lost, and
 * the index agrees at the end. */
#include "tests/api/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/base/random.h"

#define THREADS 4
#define ROUNDS  300
#define IDS     5

struct crowd {
    odb_db *db;
    uint64_t seed;
    uint64_t counted; /* how often this thread has raised the counter */
    atomic_int *gate;
    odb_status st;
};

/* The counter is a property, raised by read and write in one transaction. */
static odb_status raise_counter(struct crowd *c)
{
    odb_txn *t = NULL;
    odb_status st;

    do {
        odb_patch p = {.size = sizeof p};
        odb_record *r = NULL;
        odb_prop_value v;
        odb_prop set;

        odb_txn_free(t);
        t = NULL;
        st = odb_txn_begin(c->db, NULL, &t);
        if (st == ODB_OK)
            st = odb_record_get(odb_in(t), odb_s("counter"), &r);
        if (st != ODB_OK)
            break;
        set = odb_prop_int("n", odb_record_prop(r, odb_s("n"), &v) ? v.u.integer + 1 : 1);
        odb_record_free(r);
        p.set = &set;
        p.set_count = 1;
        st = odb_record_patch(c->db, t, odb_s("counter"), &p);
        if (st == ODB_OK)
            st = odb_txn_commit(t, NULL);
    } while (st == ODB_CONFLICT);
    odb_txn_free(t);
    return st;
}

static odb_status one_write(struct crowd *c, struct rnd *r)
{
    uint32_t what = rnd_below(r, 10);
    char id[8];

    (void)snprintf(id, sizeof id, "r%u", (unsigned)rnd_below(r, IDS));
    if (what < 5) {
        odb_record_draft d = odb_record_make(id, "x");

        d.timestamp = (int64_t)rnd_below(r, 1000);
        d.importance = (float)rnd_below(r, 100) / 100;
        return odb_record_put(c->db, NULL, &d, 0);
    }
    if (what < 7)
        return odb_record_delete(c->db, NULL, odb_s(id), 0);
    c->counted++;
    return raise_counter(c);
}

static odb_status one_look(struct crowd *c, struct rnd *r)
{
    odb_scan scan = {.size = sizeof scan, .order = (odb_record_order)rnd_below(r, 3)};
    odb_record_iter *it;
    odb_status st = odb_record_scan(odb_now(c->db), &scan, &it);
    uint32_t n = 0;

    if (st != ODB_OK)
        return st;
    while (odb_record_iter_next(it))
        n++;
    st = odb_record_iter_status(it);
    if (odb_record_iter_damaged(it) || n > IDS + 1 || n == 0)
        st = ODB_CORRUPT; /* the counter is always there */
    odb_record_iter_free(it);
    return st;
}

static void *live_in_a_crowd(void *arg)
{
    struct crowd *c = arg;
    struct rnd r = {c->seed};

    (void)atomic_fetch_sub(c->gate, 1);
    while (atomic_load(c->gate) > 0)
        ;
    for (int i = 0; i < ROUNDS && c->st == ODB_OK; i++)
        c->st = rnd_below(&r, 4) ? one_write(c, &r) : one_look(c, &r);
    return NULL;
}

static void no_write_is_lost_and_the_index_agrees(void **state)
{
    struct fixture *f = *state;
    struct rnd r = rnd_start("no_write_is_lost_and_the_index_agrees");
    odb_records_report report = {.size = sizeof report};
    struct crowd crowd[THREADS];
    pthread_t thread[THREADS];
    odb_record_draft d = odb_record_make("counter", "");
    atomic_int gate = THREADS;
    uint64_t counted = 0;
    odb_prop_value v;
    odb_record *rec;

    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){f->db, rnd_next(&r), 0, &gate, ODB_OK};
        assert_int_equal(pthread_create(&thread[i], NULL, live_in_a_crowd, &crowd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_ok(crowd[i].st);
        counted += crowd[i].counted;
    }
    assert_ok(odb_record_get(odb_now(f->db), odb_s("counter"), &rec));
    assert_true(odb_record_prop(rec, odb_s("n"), &v));
    assert_int_equal(v.u.integer, counted);
    odb_record_free(rec);
    assert_ok(odb_records_check(odb_now(f->db), &report, NULL, NULL));
    assert_int_equal(report.damaged + report.missing_rows + report.stray_rows, 0);
}

static void *first_of_all(void *arg)
{
    struct crowd *c = arg;
    char id[8];

    (void)snprintf(id, sizeof id, "t%u", (unsigned)c->seed);
    (void)atomic_fetch_sub(c->gate, 1);
    while (atomic_load(c->gate) > 0)
        ;
    {
        odb_record_draft d = odb_record_make(id, "x");

        c->st = odb_record_put(c->db, NULL, &d, 0);
    }
    return NULL;
}

/* Families and documents are made by whoever comes first; all may come at once. */
static void all_may_be_the_first(void **state)
{
    struct fixture *f = *state;
    odb_records_report report = {.size = sizeof report};
    struct crowd crowd[THREADS];
    pthread_t thread[THREADS];
    atomic_int gate = THREADS;

    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){f->db, (uint64_t)i, 0, &gate, ODB_OK};
        assert_int_equal(pthread_create(&thread[i], NULL, first_of_all, &crowd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_ok(crowd[i].st);
    }
    assert_ok(odb_records_check(odb_now(f->db), &report, NULL, NULL));
    assert_int_equal(report.records, THREADS);
    assert_int_equal(report.index_rows, 2 * THREADS);
}

/* ---- what was acknowledged is what is read ---- */

struct race {
    odb_db *db;
    _Atomic int64_t acknowledged; /* the newest content that a put has returned from */
    atomic_bool is_over;
    odb_status st;
};

static void *read_in_a_race(void *arg)
{
    struct race *race = arg;

    while (!atomic_load(&race->is_over) && race->st == ODB_OK) {
        int64_t least = atomic_load(&race->acknowledged);
        odb_record *r = NULL;
        odb_status st = odb_record_get(odb_now(race->db), odb_s("a"), &r);

        if (st == ODB_OK && odb_record_timestamp(r) < least)
            st = ODB_CORRUPT;
        odb_record_free(r);
        if (st != ODB_OK)
            race->st = st;
    }
    return NULL;
}

static void W10_no_reader_sees_less_than_was_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct race race[2] = {{.db = f->db}, {.db = f->db}};
    odb_record_draft d = odb_record_make("a", "x");
    pthread_t thread[2];

    d.timestamp = 0;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_in_a_race, &race[i]), 0);
    for (d.timestamp = 1; d.timestamp <= 1000; d.timestamp++) {
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
        for (int i = 0; i < 2; i++)
            atomic_store(&race[i].acknowledged, d.timestamp);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&race[i].is_over, true);
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_ok(race[i].st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(all_may_be_the_first),
        BOTH(no_write_is_lost_and_the_index_agrees),
        BOTH(W10_no_reader_sees_less_than_was_acknowledged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
