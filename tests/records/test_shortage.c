/* tests/records/test_shortage.c -- memory runs out at every request there is, once for each: a status,
 * no leak, and records and index that agree. */
#include "tests/api/fixture.h"

#include "tests/lib/test_alloc.h"

/* A life that touches everything. The first failure ends it. */
static odb_status a_short_life(odb_db *db)
{
    odb_prop props[20];
    char names[20][4];
    odb_record_draft d = odb_record_make("a", "content");
    odb_slice ids[] = {odb_s("a"), odb_s("b")};
    odb_scan scan = {.size = sizeof scan, .order = ODB_BY_TIME};
    odb_patch p = {.size = sizeof p, .change = ODB_PATCH_TIMESTAMP, .timestamp = 5};
    odb_record *r[2] = {NULL, NULL}, *copy = NULL;
    odb_record_iter *it = NULL;
    odb_filter *f = NULL;
    odb_status each[2], st;
    odb_txn *t = NULL;

    for (int i = 0; i < 20; i++) {
        (void)snprintf(names[i], sizeof names[i], "p%d", i);
        props[i] = odb_prop_int(names[i], i);
    }
    d.props = props;
    d.prop_count = 20;
    st = odb_record_put(db, NULL, &d, 0);
    if (st == ODB_OK)
        st = odb_record_patch(db, NULL, odb_s("a"), &p);
    if (st == ODB_OK)
        st = odb_record_put_json(
            db, NULL, odb_s("{\"id\":\"b\",\"props\":{\"x\":[1]},\"content64\":\"AP8=\"}"), 0,
            NULL);
    if (st == ODB_OK)
        st = odb_record_multiget(odb_now(db), ids, 2, r, each);
    odb_record_free(r[0]);
    odb_record_free(r[1]);
    if (st == ODB_OK)
        st = odb_filter_parse(odb_s("importance >= 0.1 && (p1 == 1 || x != \"y\")"), &f, NULL);
    scan.filter = f;
    if (st == ODB_OK)
        st = odb_record_scan(odb_now(db), &scan, &it);
    if (st == ODB_OK) {
        while (odb_record_iter_next(it)) {
            if (!copy)
                st = odb_record_copy(odb_record_iter_record(it), &copy);
        }
        if (st == ODB_OK)
            st = odb_record_iter_status(it);
        odb_record_iter_free(it);
    }
    odb_record_free(copy);
    odb_filter_free(f);
    if (st == ODB_OK)
        st = odb_meta_put(db, NULL, "user.x", odb_s("{\"a\":[1,2,3]}"));
    if (st == ODB_OK)
        st = odb_txn_begin(db, NULL, &t);
    if (st == ODB_OK) {
        d.id = odb_s("c");
        st = odb_record_put(db, t, &d, 0);
        /* Whatever happened, the rest is committed: half a record must not be. */
        if (st == ODB_OK)
            st = odb_txn_commit(t, NULL);
        else
            (void)!odb_txn_commit(t, NULL);
        odb_txn_free(t);
    }
    if (st == ODB_OK)
        st = odb_record_delete(db, NULL, odb_s("a"), ODB_MUST_EXIST);
    if (st == ODB_OK)
        st = odb_records_reindex(db, NULL);
    return st;
}

static void every_shortage_is_a_status_and_leaves_no_half(void **state)
{
    long n, failed = 1;

    (void)state;
    for (n = 0; failed; n++) {
        odb_records_report report = {.size = sizeof report};
        long alive = test_alloc_alive();
        odb_backend backend;
        odb_db *db = NULL;
        odb_status st;

        assert_true(n < 5000);
        assert_ok(odb_backend_memory(&backend));
        assert_ok(odb_open_backend(backend, &db));
        test_alloc_fail(n, 0);
        st = a_short_life(db);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        if (st != ODB_OK && (st != ODB_NOMEM || !failed))
            fail_msg("request %ld: %s (%s)", n, odb_status_name(st), odb_error_text());
        assert_ok(odb_records_check(odb_now(db), &report, NULL, NULL));
        if (report.damaged + report.missing_rows + report.stray_rows)
            fail_msg("request %ld leaves %d damaged, %d missing, %d stray", n, (int)report.damaged,
                     (int)report.missing_rows, (int)report.stray_rows);
        assert_ok(odb_close(db));
        if (test_alloc_alive() != alive)
            fail_msg("request %ld leaves %ld blocks", n, test_alloc_alive() - alive);
    }
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shortage_is_a_status_and_leaves_no_half),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
