/* tests/records/test_kill.c -- writers of records killed at random moments (SIGKILL): after each, records
 * and index agree, and what was written in one transaction is there together or not at all.
 * ODB_TEST_KILLS=N lengthens. */
#include "tests/api/victim.h"
#include "tests/base/random.h"

#define IDS 300

static odb_status open_dir(const char *dir, odb_db **db)
{
    const char *name = "n";
    odb_records_options records = {.size = sizeof records, .props = &name, .prop_count = 1};
    odb_options o = fixture_options();
    odb_status st = odb_open(dir, &o, db);

    return st == ODB_OK ? odb_records_open(*db, &records) : st;
}

static odb_status put_counted(odb_db *db, odb_txn *t, const char *id, int64_t n)
{
    odb_prop p = odb_prop_int("n", n);
    odb_record_draft d = odb_record_make(id, "some content that takes a little room");

    d.timestamp = n;
    d.importance = (float)(n % 100) / 100;
    d.props = &p;
    d.prop_count = 1;
    return odb_record_put(db, t, &d, 0);
}

/* The twins are written in one transaction, always with the same number; a document of metadata too. */
static odb_status put_twins(odb_db *db, uint32_t which, int64_t n)
{
    char left[16], right[16], json[48];
    odb_txn *t;
    odb_status st;

    (void)snprintf(left, sizeof left, "left%u", (unsigned)which);
    (void)snprintf(right, sizeof right, "right%u", (unsigned)which);
    (void)snprintf(json, sizeof json, "{\"n\":%lld}", (long long)n);
    st = odb_txn_begin(db, NULL, &t);
    if (st != ODB_OK)
        return st;
    st = put_counted(db, t, left, n);
    if (st == ODB_OK)
        st = put_counted(db, t, right, n);
    if (st == ODB_OK)
        st = odb_meta_put(db, t, left, odb_s(json));
    if (st == ODB_OK)
        st = odb_txn_commit(t, NULL);
    odb_txn_free(t);
    return st;
}

struct life {
    const char *dir;
    uint64_t seed;
};

static odb_status live_for_ever(struct victim *v, void *arg)
{
    const struct life *l = arg;
    struct rnd r = {l->seed};
    odb_db *db = NULL;
    odb_status st = open_dir(l->dir, &db);

    (void)v; /* nothing is acknowledged: what is found must only agree with itself */
    while (st == ODB_OK) {
        uint32_t what = rnd_below(&r, 10);
        char id[16];

        (void)snprintf(id, sizeof id, "r%u", (unsigned)rnd_below(&r, IDS));
        if (what < 5)
            st = put_counted(db, NULL, id, (int64_t)rnd_below(&r, 1000));
        else if (what < 7)
            st = odb_record_delete(db, NULL, odb_s(id), 0);
        if (st == ODB_OK && what >= 5)
            st = put_twins(db, rnd_below(&r, 20), (int64_t)rnd_below(&r, 1000));
        if (st == ODB_OK && rnd_below(&r, 2000) == 0)
            st = odb_flush(db, NULL);
    }
    return st;
}

static void expect_twins(odb_db *db, uint32_t which)
{
    char left[16], right[16], json[48];
    odb_record *l = NULL, *r = NULL;
    odb_value v;
    odb_status st;

    (void)snprintf(left, sizeof left, "left%u", (unsigned)which);
    (void)snprintf(right, sizeof right, "right%u", (unsigned)which);
    st = odb_record_get(odb_now(db), odb_s(left), &l);
    assert_status(odb_record_get(odb_now(db), odb_s(right), &r), st);
    assert_status(odb_meta_get(odb_now(db), left, &v), st);
    if (st == ODB_OK) {
        assert_int_equal(odb_record_timestamp(l), odb_record_timestamp(r));
        (void)snprintf(json, sizeof json, "{\"n\":%lld}", (long long)odb_record_timestamp(l));
        assert_slice(odb_bytes(v.data, v.size), json);
        odb_value_release(&v);
    }
    odb_record_free(l);
    odb_record_free(r);
}

static void after_any_kill_records_and_index_agree(void **state)
{
    struct rnd r = rnd_start("after_any_kill_records_and_index_agree");
    uint64_t kills = number_of(getenv("ODB_TEST_KILLS"), 30);
    struct victim *v = victim_new();
    char dir[64];
    struct life l = {.dir = dir};

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    for (uint64_t i = 0; i < kills; i++) {
        odb_records_report report = {.size = sizeof report};
        uint64_t wait_us = (rnd_below(&r, 60) + 1) * 1000;
        odb_db *db = NULL;

        l.seed = rnd_next(&r);
        victim_kill(v, live_for_ever, &l, 0, wait_us);
        assert_ok(open_dir(dir, &db));
        assert_ok(odb_records_check(odb_now(db), &report, NULL, NULL));
        assert_int_equal(report.damaged + report.missing_rows + report.stray_rows, 0);
        for (uint32_t which = 0; which < 20; which++)
            expect_twins(db, which);
        assert_ok(odb_close(db));
    }
    fixture_remove_dir(dir);
    victim_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_any_kill_records_and_index_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
