/* tests/records/test_records.c -- records, as a program uses them, over both backends. */
#include "tests/api/fixture.h"

#include <math.h>

static void expect_sound(struct fixture *f, uint64_t records)
{
    odb_records_report r = {.size = sizeof r};

    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.damaged, 0);
    assert_int_equal(r.missing_rows, 0);
    assert_int_equal(r.stray_rows, 0);
    assert_int_equal(r.records, records);
}

static void put_simple(struct fixture *f, const char *id, const char *content)
{
    odb_record_draft d = odb_record_make(id, content);

    assert_ok(odb_record_put(f->db, NULL, &d, 0));
}

static void expect_content(odb_at at, const char *id, const char *content)
{
    odb_record *r;

    if (!content) {
        assert_status(odb_record_get(at, odb_s(id), &r), ODB_ABSENT);
        assert_status(odb_record_exists(at, odb_s(id)), ODB_ABSENT);
        return;
    }
    assert_ok(odb_record_get(at, odb_s(id), &r));
    assert_slice(odb_record_content(r), content);
    assert_slice(odb_record_id(r), id);
    odb_record_free(r);
    assert_ok(odb_record_exists(at, odb_s(id)));
}

static void put_get_patch_delete(void **state)
{
    struct fixture *f = *state;
    odb_prop props[] = {odb_prop_text("lang", "en"), odb_prop_int("n", 1)};
    odb_prop more = odb_prop_int("n", 2);
    odb_slice unset = odb_s("lang");
    odb_record_draft d = odb_record_make("a", "one");
    odb_patch p = {.size = sizeof p};
    odb_prop_value v;
    odb_record *r;

    d.props = props;
    d.prop_count = 2;
    d.importance = 7;
    d.timestamp = 1000;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    assert_ok(odb_record_get(odb_now(f->db), odb_s("a"), &r));
    assert_true(odb_record_importance(r) == 1);
    assert_int_equal(odb_record_timestamp(r), 1000);
    assert_int_equal(odb_record_prop_count(r), 2);
    assert_true(odb_record_prop(r, odb_s("lang"), &v));
    assert_slice(v.u.bytes, "en");
    odb_record_free(r);

    p.change = ODB_PATCH_IMPORTANCE | ODB_PATCH_TIMESTAMP;
    p.importance = 0.25f;
    p.timestamp = 2000;
    p.set = &more;
    p.set_count = 1;
    p.unset = &unset;
    p.unset_count = 1;
    assert_ok(odb_record_patch(f->db, NULL, odb_s("a"), &p));
    assert_ok(odb_record_get(odb_now(f->db), odb_s("a"), &r));
    assert_slice(odb_record_content(r), "one");
    assert_true(odb_record_importance(r) == 0.25f);
    assert_int_equal(odb_record_timestamp(r), 2000);
    assert_int_equal(odb_record_prop_count(r), 1);
    assert_true(odb_record_prop(r, odb_s("n"), &v));
    assert_int_equal(v.u.integer, 2);
    odb_record_free(r);
    expect_sound(f, 1);

    assert_status(odb_record_patch(f->db, NULL, odb_s("b"), &p), ODB_ABSENT);
    assert_status(odb_record_put(f->db, NULL, &d, ODB_INSERT_ONLY), ODB_EXISTS);
    d.id = odb_s("b");
    assert_status(odb_record_put(f->db, NULL, &d, ODB_UPDATE_ONLY), ODB_ABSENT);
    expect_content(odb_now(f->db), "b", NULL);
    assert_ok(odb_record_put(f->db, NULL, &d, ODB_INSERT_ONLY));
    assert_ok(odb_record_put(f->db, NULL, &d, ODB_UPDATE_ONLY));
    expect_sound(f, 2);
    assert_ok(odb_record_delete(f->db, NULL, odb_s("a"), ODB_MUST_EXIST));
    assert_status(odb_record_delete(f->db, NULL, odb_s("a"), ODB_MUST_EXIST), ODB_ABSENT);
    assert_ok(odb_record_delete(f->db, NULL, odb_s("a"), 0));
    expect_content(odb_now(f->db), "a", NULL);
    expect_sound(f, 1);
    fixture_reopen(f);
    expect_sound(f, 1);
    expect_content(odb_now(f->db), "b", "one");
}

static void what_makes_no_sense_is_refused_and_nothing_is_stored(void **state)
{
    struct fixture *f = *state;
    char longest[ODB_RECORD_ID_MAX + 2];
    odb_record_draft good = odb_record_make("x", "y"), d;
    odb_prop nan = odb_prop_real("r", NAN);
    odb_record *r;

    memset(longest, 'i', sizeof longest);
    d = good;
    d.size = 4;
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d = good;
    d.id = odb_bytes("", 0);
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d.id = odb_bytes(longest, ODB_RECORD_ID_MAX + 1);
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d.id = odb_bytes(longest, ODB_RECORD_ID_MAX);
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    assert_ok(odb_record_delete(f->db, NULL, d.id, ODB_MUST_EXIST));
    d = good;
    d.kind = 0;
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d.kind = 256;
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d = good;
    d.importance = NAN;
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d = good;
    d.props = &nan;
    d.prop_count = 1;
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    d.props = NULL;
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_INVALID);
    assert_status(odb_record_put(f->db, NULL, &good, ODB_MUST_EXIST), ODB_INVALID);
    assert_status(odb_record_put(f->db, NULL, NULL, 0), ODB_INVALID);
    assert_status(odb_record_put(NULL, NULL, &good, 0), ODB_INVALID);
    assert_status(odb_record_get((odb_at){NULL, NULL, NULL}, odb_s("x"), &r), ODB_INVALID);
    assert_status(odb_record_delete(f->db, NULL, odb_bytes(NULL, 0), 0), ODB_INVALID);
    expect_sound(f, 0);
}

/* In one transaction with raw keys: all or nothing, seen inside before the commit and outside after. */
static void writes_in_a_transaction_appear_together(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("t1", "in");
    odb_snapshot *before;
    odb_txn *t;

    put_simple(f, "t0", "old");
    assert_ok(odb_snapshot_new(f->db, &before));
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_record_put(f->db, t, &d, 0));
    assert_ok(odb_record_delete(f->db, t, odb_s("t0"), ODB_MUST_EXIST));
    assert_ok(odb_txn_put(t, NULL, odb_s("raw"), odb_s("1")));
    expect_content(odb_in(t), "t1", "in");
    expect_content(odb_in(t), "t0", NULL);
    expect_content(odb_now(f->db), "t1", NULL);
    expect_content(odb_now(f->db), "t0", "old");
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_content(odb_now(f->db), "t1", "in");
    expect_content(odb_now(f->db), "t0", NULL);
    expect_content(odb_asof(before), "t0", "old");
    expect_content(odb_asof(before), "t1", NULL);
    odb_snapshot_free(before);
    expect_sound(f, 1);

    assert_ok(odb_txn_begin(f->db, NULL, &t));
    d.id = odb_s("t2");
    assert_ok(odb_record_put(f->db, t, &d, 0));
    odb_txn_free(t);
    expect_content(odb_now(f->db), "t2", NULL);
    expect_sound(f, 1);
}

/* Twice in one transaction: the rows are those of the last. */
static void a_record_may_change_often_in_one_transaction(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("a", "x");
    odb_txn *t;

    put_simple(f, "a", "0");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    for (int i = 0; i < 5; i++) {
        d.timestamp = i;
        d.importance = (float)i / 10;
        assert_ok(odb_record_put(f->db, t, &d, 0));
    }
    assert_ok(odb_record_delete(f->db, t, d.id, 0));
    d.timestamp = 3;
    assert_ok(odb_record_put(f->db, t, &d, 0));
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_sound(f, 1);
}

static void W14_two_transactions_on_one_record_conflict(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("a", "x");
    odb_txn *t, *u;

    assert_ok(odb_records_open(f->db, NULL));
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_begin(f->db, NULL, &u));
    assert_ok(odb_record_put(f->db, t, &d, 0));
    assert_ok(odb_record_put(f->db, u, &d, 0));
    assert_ok(odb_txn_commit(t, NULL));
    assert_status(odb_txn_commit(u, NULL), ODB_CONFLICT);
    odb_txn_free(t);
    odb_txn_free(u);
    expect_sound(f, 1);
}

static void multiget_answers_each(void **state)
{
    struct fixture *f = *state;
    odb_slice ids[] = {odb_s("b"), odb_s("zz"), odb_s("a"), odb_s("bad"), odb_s("b")};
    odb_record *out[5];
    odb_status each[5];

    put_simple(f, "a", "1");
    put_simple(f, "b", "2");
    assert_ok(odb_record_multiget(odb_now(f->db), ids, 3, out, each));
    assert_status(each[0], ODB_OK);
    assert_status(each[1], ODB_ABSENT);
    assert_slice(odb_record_content(out[2]), "1");
    assert_null(out[1]);
    odb_record_free(out[0]);
    odb_record_free(out[2]);
    put_text(f, fixture_cf(f, "records"), "bad", "junk");
    assert_status(odb_record_multiget(odb_now(f->db), ids, 5, out, each), ODB_CORRUPT);
    assert_status(each[3], ODB_CORRUPT);
    assert_slice(odb_record_content(out[4]), "2");
    for (int i = 0; i < 5; i++)
        odb_record_free(out[i]);
}

static void damage_is_told_and_can_be_written_over(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("a", "new");
    odb_records_report r = {.size = sizeof r};
    odb_record *rec;

    put_simple(f, "a", "old");
    put_text(f, fixture_cf(f, "records"), "a", "junk");
    assert_status(odb_record_get(odb_now(f->db), odb_s("a"), &rec), ODB_CORRUPT);
    assert_true(strstr(odb_error_text(), "'a'") != NULL);
    assert_ok(odb_record_exists(odb_now(f->db), odb_s("a")));
    assert_status(odb_record_put(f->db, NULL, &d, 0), ODB_CORRUPT);
    assert_status(odb_record_delete(f->db, NULL, odb_s("a"), 0), ODB_CORRUPT);
    d.timestamp = 5;
    assert_ok(odb_record_put(f->db, NULL, &d, ODB_OVER_DAMAGE));
    expect_content(odb_now(f->db), "a", "new");
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.stray_rows, 1); /* the old time; importance is the same */
    assert_ok(odb_records_reindex(f->db, &r));
    assert_int_equal(r.stray_rows, 1);
    expect_sound(f, 1);
}

static void raw_writes_are_found_and_mended(void **state)
{
    struct fixture *f = *state;
    odb_cf *records, *index;
    odb_records_report r = {.size = sizeof r};
    odb_value v;
    char id[16];

    for (int i = 0; i < 1000; i++) {
        (void)snprintf(id, sizeof id, "r%d", i);
        put_simple(f, id, "x");
    }
    records = fixture_cf(f, "records");
    index = fixture_cf(f, ODB_FAMILY_RECORD_INDEX);
    assert_ok(odb_get(odb_now(f->db), records, odb_s("r5"), &v));
    for (int i = 0; i < 500;
         i++) { /* a copy under another id has no rows; a deleted one leaves its own */
        (void)snprintf(id, sizeof id, "copy%d", i);
        assert_ok(odb_put(f->db, records, odb_s(id), odb_bytes(v.data, v.size), NULL));
        (void)snprintf(id, sizeof id, "r%d", i + 100);
        assert_ok(odb_delete(f->db, records, odb_s(id), NULL));
    }
    odb_value_release(&v);
    put_text(f, index, "x", "");
    put_text(f, index, "t123", "");
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.records, 1000);
    assert_int_equal(r.missing_rows, 1000);
    assert_int_equal(r.stray_rows, 1002);
    assert_ok(odb_records_reindex(f->db, &r));
    assert_int_equal(r.missing_rows, 1000);
    assert_int_equal(r.stray_rows, 1002);
    expect_sound(f, 1000);
}

static void expect_meta(struct fixture *f, const char *name, const char *want)
{
    odb_value v;

    assert_ok(odb_get(odb_now(f->db), fixture_cf(f, "metadata"), odb_s(name), &v));
    assert_slice(odb_bytes(v.data, v.size), want);
    odb_value_release(&v);
}

static void properties_are_indexed_when_declared_and_stay_so(void **state)
{
    struct fixture *f = *state;
    const char *names[] = {"lang", "n"};
    odb_records_options opt = {.size = sizeof opt, .props = names, .prop_count = 1};
    odb_prop props[] = {odb_prop_text("lang", "en"), odb_prop_int("n", 1)};
    odb_records_report r = {.size = sizeof r};
    odb_record_draft d = odb_record_make("a", "x");

    d.props = props;
    d.prop_count = 2;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    assert_ok(odb_records_open(f->db, &opt));
    expect_meta(f, "odb.index",
                "{\"time\":true,\"importance\":true,\"props\":[\"lang\"],\"ready\":true}");
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.index_rows, 3);
    fixture_reopen(f);
    d.id = odb_s("b");
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    opt.prop_count = 2;
    assert_ok(odb_records_open(f->db, &opt));
    assert_ok(odb_records_open(f->db, &opt));
    assert_ok(odb_records_open(f->db, NULL));
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.index_rows, 8);
    opt.no_time_index = true;
    assert_status(odb_records_open(f->db, &opt), ODB_INVALID);
    names[0] = "";
    opt.no_time_index = false;
    assert_status(odb_records_open(f->db, &opt), ODB_INVALID);
    expect_sound(f, 2);
}

static void indexes_can_be_left_out(void **state)
{
    struct fixture *f = *state;
    odb_records_options opt = {
        .size = sizeof opt, .no_time_index = true, .no_importance_index = true};
    odb_records_report r = {.size = sizeof r};

    assert_ok(odb_records_open(f->db, &opt));
    put_simple(f, "a", "x");
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.index_rows, 0);
    expect_sound(f, 1);
}

static void meta_raw(struct fixture *f, const char *name, const char *json)
{
    put_text(f, fixture_cf(f, "metadata"), name, json);
}

/* What a newer release wrote, or what makes no sense, is refused and not touched. */
static void foreign_formats_are_refused(void **state)
{
    static const struct {
        const char *name, *json;
        odb_status want;
    } rows[] = {
        {"odb.format", "{\"major\":2,\"minor\":0,\"created\":1,\"features\":[]}", ODB_VERSION},
        {"odb.format", "{\"major\":1,\"minor\":2,\"created\":1,\"features\":[]}", ODB_VERSION},
        {"odb.format", "{\"major\":1,\"minor\":1,\"created\":1,\"features\":[\"x\"]}", ODB_VERSION},
        {"odb.format", "{\"major\":1,\"minor\":1,\"created\":1}", ODB_CORRUPT},
        {"odb.format", "[]", ODB_CORRUPT},
        {"odb.format", "{", ODB_CORRUPT},
        {"odb.schema", "{\"version\":2}", ODB_VERSION},
        {"odb.schema", "{\"version\":0}", ODB_CORRUPT},
        {"odb.index", "{\"time\":true}", ODB_CORRUPT},
    };
    odb_record_draft d = odb_record_make("a", "x");

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture *f;
        odb_record *r;

        assert_int_equal(fixture_memory((void **)&f), 0);
        meta_raw(f, "odb.format", "{\"major\":1,\"minor\":1,\"created\":1,\"features\":[]}");
        meta_raw(f, "odb.schema", "{\"version\":1}");
        meta_raw(f, "odb.index", "{\"time\":true,\"importance\":true,\"props\":[],\"ready\":true}");
        meta_raw(f, rows[i].name, rows[i].json);
        assert_status(odb_record_put(f->db, NULL, &d, 0), rows[i].want);
        assert_status(odb_record_get(odb_now(f->db), odb_s("a"), &r), rows[i].want);
        expect_meta(f, rows[i].name, rows[i].json);
        assert_int_equal(fixture_close((void **)&f), 0);
    }
    (void)state;
}

static void an_older_minor_is_brought_up_in_one_commit(void **state)
{
    struct fixture *f = *state;

    meta_raw(f, "odb.format", "{\"major\":1,\"minor\":0,\"created\":77,\"features\":[]}");
    meta_raw(f, "odb.schema", "{\"version\":1}");
    put_simple(f, "a", "x");
    expect_meta(f, "odb.format", "{\"major\":1,\"minor\":1,\"created\":77,\"features\":[]}");
    expect_meta(f, "odb.index", "{\"time\":true,\"importance\":true,\"props\":[],\"ready\":true}");
    expect_sound(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(put_get_patch_delete),
        BOTH(what_makes_no_sense_is_refused_and_nothing_is_stored),
        BOTH(writes_in_a_transaction_appear_together),
        BOTH(a_record_may_change_often_in_one_transaction),
        BOTH(W14_two_transactions_on_one_record_conflict),
        BOTH(multiget_answers_each),
        BOTH(damage_is_told_and_can_be_written_over),
        BOTH(raw_writes_are_found_and_mended),
        BOTH(properties_are_indexed_when_declared_and_stay_so),
        BOTH(indexes_can_be_left_out),
        cmocka_unit_test(foreign_formats_are_refused),
        BOTH(an_older_minor_is_brought_up_in_one_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
