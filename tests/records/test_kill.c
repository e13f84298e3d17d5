/* tests/records/test_kill.c -- writers of records killed at random moments (SIGKILL): after each, records
 * and index agree, and what was written in one transaction is there together or not at all.
 * ODB_TEST_KILLS=N lengthens. */
#include "tests/api/fixture.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/base/random.h"

#define IDS 300

static odb_db *open_dir(const char *dir)
{
    const char *name = "n";
    odb_records_options records = {.size = sizeof records, .props = &name, .prop_count = 1};
    odb_options o = fixture_options();
    odb_db *db = NULL;

    assert_ok(odb_open(dir, &o, &db));
    assert_ok(odb_records_open(db, &records));
    return db;
}

static void put_counted(odb_db *db, odb_txn *t, const char *id, int64_t n)
{
    odb_prop p = odb_prop_int("n", n);
    odb_record_draft d = odb_record_make(id, "some content that takes a little room");

    d.timestamp = n;
    d.importance = (float)(n % 100) / 100;
    d.props = &p;
    d.prop_count = 1;
    if (odb_record_put(db, t, &d, 0) != ODB_OK)
        _exit(3);
}

/* The twins are written in one transaction, always with the same number; a document of metadata too. */
static void put_twins(odb_db *db, uint32_t which, int64_t n)
{
    char left[16], right[16], json[48];
    odb_txn *t;

    (void)snprintf(left, sizeof left, "left%u", (unsigned)which);
    (void)snprintf(right, sizeof right, "right%u", (unsigned)which);
    (void)snprintf(json, sizeof json, "{\"n\":%lld}", (long long)n);
    if (odb_txn_begin(db, NULL, &t) != ODB_OK)
        _exit(3);
    put_counted(db, t, left, n);
    put_counted(db, t, right, n);
    if (odb_meta_put(db, t, left, odb_s(json)) != ODB_OK || odb_txn_commit(t, NULL) != ODB_OK)
        _exit(3);
    odb_txn_free(t);
}

static void live_until_killed(const char *dir, uint64_t seed)
{
    struct rnd r = {seed};
    odb_db *db = open_dir(dir);

    for (;;) {
        uint32_t what = rnd_below(&r, 10);
        char id[16];

        (void)snprintf(id, sizeof id, "r%u", (unsigned)rnd_below(&r, IDS));
        if (what < 5)
            put_counted(db, NULL, id, (int64_t)rnd_below(&r, 1000));
        else if (what < 7 && odb_record_delete(db, NULL, odb_s(id), 0) != ODB_OK)
            _exit(3);
        else
            put_twins(db, rnd_below(&r, 20), (int64_t)rnd_below(&r, 1000));
        if (rnd_below(&r, 2000) == 0 && odb_flush(db, NULL) != ODB_OK)
            _exit(3);
    }
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
    const char *given = getenv("ODB_TEST_KILLS");
    int kills = given ? atoi(given) : 30;
    char dir[64];

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    for (int i = 0; i < kills; i++) {
        odb_records_report report = {.size = sizeof report};
        struct timespec wait = {0, (long)(rnd_below(&r, 60) + 1) * 1000000};
        uint64_t seed = rnd_next(&r);
        int status = 0;
        odb_db *db;
        pid_t child;

        (void)fflush(NULL);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            live_until_killed(dir, seed);
        (void)nanosleep(&wait, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it must not have given up by itself */
        db = open_dir(dir);
        assert_ok(odb_records_check(odb_now(db), &report, NULL, NULL));
        assert_int_equal(report.damaged + report.missing_rows + report.stray_rows, 0);
        for (uint32_t which = 0; which < 20; which++)
            expect_twins(db, which);
        assert_ok(odb_close(db));
    }
    fixture_remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_any_kill_records_and_index_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
