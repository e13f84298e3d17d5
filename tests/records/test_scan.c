/* tests/records/test_scan.c -- walks over records. */
#include "tests/api/fixture.h"

#include "api/odb_backend.h"

static void put_one(struct fixture *f, const char *id, int64_t ts, float importance)
{
    odb_record_draft d = odb_record_make(id, id);

    d.timestamp = ts;
    d.importance = importance;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
}

/* The ids a walk shows, with spaces between. */
static const char *walk(odb_at at, const odb_scan *scan, char *out, size_t room)
{
    odb_record_iter *it;
    size_t len = 0;

    out[0] = 0;
    assert_ok(odb_record_scan(at, scan, &it));
    assert_null(odb_record_iter_record(it));
    while (odb_record_iter_next(it)) {
        odb_slice id = odb_record_iter_id(it);
        const odb_record *r = odb_record_iter_record(it);

        assert_true((r == NULL) == scan->ids_only);
        if (r)
            assert_true(odb_slice_equal(odb_record_id(r), id));
        len += (size_t)snprintf(out + len, room - len, "%s%.*s", len ? " " : "", (int)id.size,
                                (const char *)id.data);
        assert_true(len < room);
    }
    assert_ok(odb_record_iter_status(it));
    assert_false(odb_record_iter_next(it));
    odb_record_iter_free(it);
    return out;
}

static void expect_ids(odb_at at, odb_scan scan, const char *want)
{
    char text[4096];

    scan.size = sizeof scan;
    for (int only = 0; only < 2; only++) {
        scan.ids_only = only == 1;
        assert_string_equal(walk(at, &scan, text, sizeof text), want);
    }
}

/* The same one record at a time, going on each time from where the walk before stood. */
static void expect_ids_in_portions(odb_at at, odb_scan scan, const char *want)
{
    char text[4096], place[2048];
    size_t len = 0;

    scan.size = sizeof scan;
    scan.limit = 1;
    text[0] = 0;
    for (;;) {
        odb_record_iter *it;
        odb_slice id, resume;

        assert_ok(odb_record_scan(at, &scan, &it));
        if (!odb_record_iter_next(it)) {
            odb_record_iter_free(it);
            break;
        }
        id = odb_record_iter_id(it);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s", len ? " " : "",
                                (int)id.size, (const char *)id.data);
        assert_false(odb_record_iter_next(it));
        resume = odb_record_iter_resume(it);
        assert_true(resume.size <= sizeof place);
        memcpy(place, resume.data, resume.size);
        scan.resume = odb_bytes(place, resume.size);
        odb_record_iter_free(it);
    }
    assert_string_equal(text, want);
}

static void all_orders_both_ways(void **state)
{
    struct fixture *f = *state;
    odb_at at = odb_now(f->db);

    put_one(f, "a", 30, 0.5f);
    put_one(f, "b", 10, 0.9f);
    put_one(f, "c", 20, 0.5f);
    put_one(f, "d", -5, 0.0f);
    put_one(f, "e", 20, 1.0f);
    for (int turn = 0; turn < 2; turn++) {
        expect_ids(at, (odb_scan){.order = ODB_BY_ID}, "a b c d e");
        expect_ids(at, (odb_scan){.is_reverse = true}, "e d c b a");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME}, "d b c e a");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME, .is_reverse = true}, "a e c b d");
        expect_ids(at, (odb_scan){.order = ODB_BY_IMPORTANCE}, "d a c b e");
        expect_ids(at, (odb_scan){.order = ODB_BY_IMPORTANCE, .is_reverse = true}, "e b c a d");
        expect_ids(at, (odb_scan){.time_from = 10, .time_to = 30}, "b c e");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME, .time_from = 10, .time_to = 30}, "b c e");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME, .time_to = 10}, "d");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME, .time_from = 30, .time_to = 10}, "");
        expect_ids(
            at,
            (odb_scan){.order = ODB_BY_IMPORTANCE, .importance_from = 0.5f, .importance_to = 0.9f},
            "a c b");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME, .importance_from = 0.9f}, "b e");
        expect_ids(at, (odb_scan){.order = ODB_IN_ANY_ORDER, .time_from = 15, .time_to = 25},
                   "c e");
        expect_ids(at, (odb_scan){.from = odb_s("b"), .to = odb_s("d")}, "b c");
        expect_ids(at, (odb_scan){.from = odb_s("b"), .to = odb_s("d"), .is_reverse = true}, "c b");
        expect_ids(at, (odb_scan){.order = ODB_BY_TIME, .from = odb_s("b"), .to = odb_s("d")},
                   "b c");
        expect_ids(at, (odb_scan){.from = odb_s("d"), .to = odb_s("b")}, "");
        expect_ids_in_portions(at, (odb_scan){.order = ODB_BY_ID}, "a b c d e");
        expect_ids_in_portions(at, (odb_scan){.is_reverse = true}, "e d c b a");
        expect_ids_in_portions(at, (odb_scan){.order = ODB_BY_TIME}, "d b c e a");
        expect_ids_in_portions(at, (odb_scan){.order = ODB_BY_TIME, .is_reverse = true},
                               "a e c b d");
        expect_ids_in_portions(at, (odb_scan){.order = ODB_BY_IMPORTANCE, .is_reverse = true},
                               "e b c a d");
        expect_ids_in_portions(
            at, (odb_scan){.order = ODB_IN_ANY_ORDER, .time_from = 15, .time_to = 31}, "c e a");
        fixture_reopen(f);
        at = odb_now(f->db);
    }
}

static void W29_a_segment_ends_where_it_says(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {"mem_1",  "mem_1!",   "mem_1/a", "mem_1/b",
                                      "mem_10", "mem_10/x", "mem_2",   "mem"};
    odb_at at = odb_now(f->db);

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        put_one(f, ids[i], (int64_t)i, 0.5f);
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_1")},
               "mem_1 mem_1! mem_1/a mem_1/b mem_10 mem_10/x");
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_1"), .segment = '/'}, "mem_1 mem_1/a mem_1/b");
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_1"), .segment = '/', .is_reverse = true},
               "mem_1/b mem_1/a mem_1");
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_1"), .segment = '/', .order = ODB_BY_TIME},
               "mem_1 mem_1/a mem_1/b");
    expect_ids_in_portions(at, (odb_scan){.prefix = odb_s("mem_1"), .segment = '/'},
                           "mem_1 mem_1/a mem_1/b");
    expect_ids_in_portions(at,
                           (odb_scan){.prefix = odb_s("mem_1"), .segment = '/', .is_reverse = true},
                           "mem_1/b mem_1/a mem_1");
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_3"), .segment = '/'}, "");
    assert_ok(odb_record_delete(f->db, NULL, odb_s("mem_1"), 0));
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_1"), .segment = '/', .is_reverse = true},
               "mem_1/b mem_1/a");
    expect_ids(at, (odb_scan){.prefix = odb_s("mem_1/a"), .segment = '/'}, "mem_1/a");
}

static void properties_have_an_order(void **state)
{
    struct fixture *f = *state;
    const char *name = "v";
    odb_records_options opt = {.size = sizeof opt, .props = &name, .prop_count = 1};
    char longer[300], longest[301];
    odb_prop values[] = {
        odb_prop_int("v", 5),     odb_prop_real("v", 4.5),      odb_prop_text("v", "b"),
        odb_prop_text("v", "a"),  odb_prop_bool("v", true),     odb_prop_null("v"),
        odb_prop_json("v", "[]"), odb_prop_int("v", INT64_MAX), odb_prop_int("v", INT64_MAX - 1)};
    odb_prop_value five = values[0].value, b = values[2].value, a = values[3].value,
                   big = values[8].value;
    odb_at at = odb_now(f->db);
    odb_record_iter *it;

    assert_ok(odb_records_open(f->db, &opt));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char id[2] = {(char)('A' + i), 0};
        odb_record_draft d = odb_record_make(id, "x");

        d.props = &values[i];
        d.prop_count = 1;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
    }
    put_one(f, "none", 1, 0.5f);
    /* null, boolean, numbers, texts; JSON has no order; the two largest integers share a double */
    expect_ids(at, (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v")}, "F E B A H I D C");
    expect_ids(at, (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .is_reverse = true},
               "C D I H A B E F");
    expect_ids(at, (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .prop_from = &five},
               "A H I");
    expect_ids(at, (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .prop_to = &five}, "B A");
    expect_ids(
        at,
        (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .prop_from = &big, .prop_to = &big},
        "I");
    expect_ids(at, (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .prop_from = &b}, "C");
    expect_ids(at,
               (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .prop_from = &a, .prop_to = &a},
               "D");
    assert_status(
        odb_record_scan(
            at, &(odb_scan){.size = sizeof(odb_scan), .order = ODB_BY_PROP, .prop = odb_s("w")},
            &it),
        ODB_UNSUPPORTED);
    assert_status(odb_record_scan(at,
                                  &(odb_scan){.size = sizeof(odb_scan),
                                              .order = ODB_BY_PROP,
                                              .prop = odb_s("v"),
                                              .prop_from = &values[6].value},
                                  &it),
                  ODB_INVALID);

    /* Texts that differ behind what a row holds. */
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    values[0] = odb_prop_text("v", longer);
    values[1] = odb_prop_text("v", longest);
    for (size_t i = 0; i < 2; i++) {
        odb_record_draft d = odb_record_make(i ? "Z" : "Y", "x");

        d.props = &values[i];
        d.prop_count = 1;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
    }
    expect_ids(at,
               (odb_scan){.order = ODB_BY_PROP,
                          .prop = odb_s("v"),
                          .prop_from = &values[1].value,
                          .prop_to = &values[1].value},
               "Z");
    expect_ids(at, (odb_scan){.order = ODB_BY_PROP, .prop = odb_s("v"), .prop_from = &b}, "C Y Z");
}

static void a_filter_narrows_any_order(void **state)
{
    struct fixture *f = *state;
    odb_filter *filter;
    odb_at at = odb_now(f->db);

    for (int i = 0; i < 20; i++) {
        char id[8];

        (void)snprintf(id, sizeof id, "%c%d", i % 2 ? 'x' : 'y', i);
        put_one(f, id, 100 + i, (float)i / 20);
    }
    assert_ok(odb_filter_parse(odb_s("ts >= 105 && ts < 112 && id ^= \"x\" && importance > 0.3"),
                               &filter, NULL));
    expect_ids(at, (odb_scan){.filter = filter}, "x11 x7 x9");
    expect_ids(at, (odb_scan){.filter = filter, .order = ODB_BY_TIME}, "x7 x9 x11");
    expect_ids(at,
               (odb_scan){.filter = filter, .order = ODB_BY_TIME, .is_reverse = true, .limit = 2},
               "x11 x9");
    expect_ids(at, (odb_scan){.filter = filter, .order = ODB_BY_IMPORTANCE}, "x7 x9 x11");
    expect_ids_in_portions(at, (odb_scan){.filter = filter, .order = ODB_BY_IMPORTANCE},
                           "x7 x9 x11");
    odb_filter_free(filter);
    assert_ok(odb_filter_parse(odb_s("ts >= 105 && ts < 112"), &filter, NULL));
    expect_ids(at, (odb_scan){.filter = filter, .order = ODB_IN_ANY_ORDER, .limit = 3}, "x5 y6 x7");
    odb_filter_free(filter);
}

static void W15_a_walk_sees_one_moment(void **state)
{
    struct fixture *f = *state;
    odb_scan scan = {.size = sizeof scan, .order = ODB_BY_TIME};
    odb_record_iter *it[2];
    odb_snapshot *s;
    odb_txn *t;
    odb_record_draft d = odb_record_make("new", "x");

    for (int i = 0; i < 100; i++) {
        char id[8];

        (void)snprintf(id, sizeof id, "%03d", i);
        put_one(f, id, i, 0.5f);
    }
    assert_ok(odb_snapshot_new(f->db, &s));
    assert_ok(odb_record_scan(odb_now(f->db), &scan, &it[0]));
    scan.order = ODB_BY_ID;
    assert_ok(odb_record_scan(odb_now(f->db), &scan, &it[1]));
    for (int i = 0; i < 100; i++) { /* all change, half go */
        char id[8];

        (void)snprintf(id, sizeof id, "%03d", i);
        put_one(f, id, -i, 0.1f);
        if (i % 2)
            assert_ok(odb_record_delete(f->db, NULL, odb_s(id), 0));
    }
    for (int w = 0; w < 2; w++) {
        int n = 0;

        for (; odb_record_iter_next(it[w]); n++)
            assert_int_equal(odb_record_timestamp(odb_record_iter_record(it[w])), n);
        assert_int_equal(n, 100);
        odb_record_iter_free(it[w]);
    }
    scan.limit = 2;
    scan.order = ODB_BY_TIME;
    expect_ids(odb_asof(s), scan, "000 001");
    odb_snapshot_free(s);
    expect_ids(odb_now(f->db), scan, "098 096");

    d.timestamp = -97;
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_record_put(f->db, t, &d, 0));
    assert_ok(odb_record_delete(f->db, t, odb_s("096"), 0));
    expect_ids(odb_in(t), scan, "098 new");
    expect_ids(odb_now(f->db), scan, "098 096");
    odb_txn_free(t);
}

static void W23_a_damaged_record_is_passed_over_and_counted(void **state)
{
    struct fixture *f = *state;
    odb_scan scan = {.size = sizeof scan};
    odb_record_iter *it;

    put_one(f, "a", 1, 0.5f);
    put_one(f, "b", 2, 0.5f);
    put_one(f, "c", 3, 0.5f);
    put_text(f, fixture_cf(f, "records"), "b", "junk");
    for (int order = ODB_BY_ID; order <= ODB_BY_IMPORTANCE; order++) {
        int n = 0;

        scan.order = (odb_record_order)order;
        assert_ok(odb_record_scan(odb_now(f->db), &scan, &it));
        while (odb_record_iter_next(it))
            n++;
        assert_ok(odb_record_iter_status(it));
        assert_int_equal(n, 2);
        assert_int_equal(odb_record_iter_damaged(it), 1);
        odb_record_iter_free(it);
    }
}

/* A row whose record says otherwise misleads nobody. */
static void stray_rows_are_passed_over(void **state)
{
    struct fixture *f = *state;
    odb_cf *records;
    odb_value v;

    put_one(f, "a", 1, 0.5f);
    put_one(f, "b", 2, 0.6f);
    records = fixture_cf(f, "records");
    assert_ok(odb_get(odb_now(f->db), records, odb_s("b"), &v));
    assert_ok(
        odb_put(f->db, records, odb_s("a"), odb_bytes(v.data, v.size), NULL)); /* now of time 2 */
    odb_value_release(&v);
    assert_ok(odb_delete(f->db, records, odb_s("b"), NULL));
    for (int order = ODB_BY_TIME; order <= ODB_BY_IMPORTANCE; order++) {
        odb_scan scan = {.size = sizeof scan, .order = (odb_record_order)order};
        char text[64];

        assert_string_equal(walk(odb_now(f->db), &scan, text, sizeof text), "");
    }
}

static void scans_that_make_no_sense_are_refused(void **state)
{
    struct fixture *f = *state;
    static const odb_prop_value one = {ODB_PROP_INT, {.integer = 1}};
    const odb_scan bad[] = {
        {.size = 8},
        {.size = sizeof(odb_scan), .order = (odb_record_order)5},
        {.size = sizeof(odb_scan), .segment = '/'},
        {.size = sizeof(odb_scan), .importance_from = -1},
        {.size = sizeof(odb_scan), .order = ODB_BY_PROP},
        {.size = sizeof(odb_scan), .prop = odb_s("x")},
        {.size = sizeof(odb_scan), .prop_from = &one},
        {.size = sizeof(odb_scan), .resume = odb_s("x")},
        {.size = sizeof(odb_scan), .resume = odb_bytes("\1\0t", 3)},
        {.size = sizeof(odb_scan), .resume = odb_bytes("\0\1t", 3)},
    };
    odb_record_iter *it;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (odb_record_scan(odb_now(f->db), &bad[i], &it) != ODB_INVALID)
            fail_msg("scan %zu is let in", i);
    assert_ok(odb_record_scan(odb_now(f->db), NULL, &it));
    assert_false(odb_record_iter_next(it));
    assert_int_equal(odb_record_iter_resume(it).size, 0);
    odb_record_iter_free(it);
    odb_record_iter_free(NULL);
}

static void a_copy_outlives_the_walk(void **state)
{
    struct fixture *f = *state;
    odb_record_iter *it;
    odb_record *copy;

    put_one(f, "a", 1, 0.5f);
    assert_ok(odb_record_scan(odb_now(f->db), NULL, &it));
    assert_true(odb_record_iter_next(it));
    assert_ok(odb_record_copy(odb_record_iter_record(it), &copy));
    odb_record_iter_free(it);
    assert_slice(odb_record_content(copy), "a");
    assert_slice(odb_record_id(copy), "a");
    odb_record_free(copy);
}

/* ---- a backend whose walks break off ---- */

static const odb_backend_ops *sound_ops;
static int steps_left;

struct failing_iter {
    odb_iter head;
    odb_iter *below;
};

static bool failing_show(odb_iter *it, bool ok)
{
    struct failing_iter *w = (struct failing_iter *)it;

    if (ok && steps_left-- <= 0) {
        it->is_valid = false;
        it->status = odb_error_set(ODB_IO, "the disk is gone");
        return false;
    }
    it->is_valid = ok;
    it->status = w->below->status;
    it->key = w->below->key;
    it->value = w->below->value;
    return ok;
}

#define FAILING(move)                                                                              \
    static bool failing_##move(odb_iter *it)                                                       \
    {                                                                                              \
        struct failing_iter *w = (struct failing_iter *)it;                                        \
        return failing_show(it, w->below->ops->move(w->below));                                    \
    }
#define FAILING_TO(move)                                                                           \
    static bool failing_##move(odb_iter *it, odb_slice key)                                        \
    {                                                                                              \
        struct failing_iter *w = (struct failing_iter *)it;                                        \
        return failing_show(it, w->below->ops->move(w->below, key));                               \
    }
FAILING(first)
FAILING(last)
FAILING(next)
FAILING(prev)
FAILING_TO(seek)
FAILING_TO(seek_for_prev)

static void failing_free(odb_iter *it)
{
    struct failing_iter *w = (struct failing_iter *)it;

    w->below->ops->free(w->below);
    free(w);
}

static const odb_iter_ops failing_iter_ops = {
    sizeof failing_iter_ops,
    failing_first,
    failing_last,
    failing_seek,
    failing_seek_for_prev,
    failing_next,
    failing_prev,
    NULL,
    failing_free,
};

static odb_status failing_scan(void *self, void *family, void *snapshot, const odb_range *range,
                               odb_iter **out)
{
    struct failing_iter *w = calloc(1, sizeof *w);
    odb_status st;

    assert_non_null(w);
    st = sound_ops->scan(self, family, snapshot, range, &w->below);
    assert_ok(st);
    w->head.ops = &failing_iter_ops;
    *out = &w->head;
    return ODB_OK;
}

static void W08_a_walk_that_breaks_off_says_so(void **state)
{
    struct fixture f = {0};
    odb_backend_ops ops;
    odb_backend backend;

    (void)state;
    assert_ok(odb_backend_memory(&backend));
    sound_ops = backend.ops;
    memset(&ops, 0, sizeof ops);
    memcpy(&ops, backend.ops, backend.ops->size < sizeof ops ? backend.ops->size : sizeof ops);
    ops.scan = failing_scan;
    backend.ops = &ops;
    steps_left = 1000000;
    assert_ok(odb_open_backend(backend, &f.db));
    for (int i = 0; i < 50; i++) {
        char id[8];

        (void)snprintf(id, sizeof id, "%02d", i);
        put_one(&f, id, i, 0.5f);
    }
    for (int order = ODB_BY_ID; order <= ODB_BY_IMPORTANCE; order++)
        for (int after = 0; after < 50; after += 7) {
            odb_scan scan = {
                .size = sizeof scan, .order = (odb_record_order)order, .ids_only = after % 2 == 1};
            odb_record_iter *it;
            int n = 0;

            assert_ok(odb_record_scan(odb_now(f.db), &scan, &it));
            steps_left = after;
            while (odb_record_iter_next(it))
                n++;
            assert_true(n <= after);
            assert_status(odb_record_iter_status(it), ODB_IO);
            assert_false(odb_record_iter_next(it));
            assert_status(odb_record_iter_status(it), ODB_IO);
            odb_record_iter_free(it);
        }
    {
        odb_records_report r = {.size = sizeof r};

        steps_left = 20;
        assert_status(odb_records_check(odb_now(f.db), &r, NULL, NULL), ODB_IO);
    }
    assert_ok(odb_close(f.db));
}

/* ---- the rest of what the original got wrong ---- */

static void W02_record_and_rows_are_one_commit(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("a", "x");
    odb_stats_t before = {.size = sizeof before}, after = {.size = sizeof after};

    put_one(f, "a", 1, 0.5f);
    if (odb_stats(f->db, NULL, &before) != ODB_OK || before.commits == 0)
        return; /* this backend does not count */
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    assert_ok(odb_record_delete(f->db, NULL, d.id, 0));
    assert_ok(odb_stats(f->db, NULL, &after));
    assert_int_equal(after.commits - before.commits, 2);
}

static void expect_now(struct fixture *f, const char *id, const char *content)
{
    odb_record *r;

    assert_ok(odb_record_get(odb_now(f->db), odb_s(id), &r));
    assert_slice(odb_record_content(r), content);
    odb_record_free(r);
}

static void W09_a_commit_is_read_back_at_once(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("a", "1");
    odb_txn *t;

    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    expect_now(f, "a", "1");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    d.content = odb_s("2");
    assert_ok(odb_record_put(f->db, t, &d, 0));
    expect_now(f, "a", "1");
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_now(f, "a", "2");
}

static void W20_ids_are_listed_without_reading_values(void **state)
{
    struct fixture *f = *state;
    odb_scan scan = {.size = sizeof scan, .ids_only = true, .limit = 3, .is_reverse = true};
    char text[64];

    for (int i = 0; i < 9; i++) {
        char id[8];

        (void)snprintf(id, sizeof id, "u%d", i);
        put_one(f, id, i, 0.5f);
        put_text(f, fixture_cf(f, "records"), id, ""); /* no value could be read */
    }
    assert_string_equal(walk(odb_now(f->db), &scan, text, sizeof text), "u8 u7 u6");
    scan.order = ODB_BY_TIME;
    assert_string_equal(walk(odb_now(f->db), &scan, text, sizeof text), "u8 u7 u6");
}

static void W22_W31_the_same_record_gives_the_same_bytes_everywhere(void **state)
{
    static const uint8_t want[] = {
        2,    1,    2, 0, 105, 0, 0,   0,   0xFB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0,   0,
        0x80, 0x3E, 3, 0, 0,   0, 1,   0,   5,    0,    50,   0,    0,    0,    2,    0,    16,  0,
        97,   0,    0, 0, 5,   0, 19,  0,   105,  0,    0,    0,    'h',  'i',  2,    0,    0,   0,
        4,    0,    0, 0, 6,   0, 0,   0,   4,    0,    0,    0,    11,   0,    0,    0,    19,  0,
        0,    0,    2, 0, 0,   0, 'l', 'a', 'n',  'g',  'e',  'n',  'p',  'a',  'g',  'e',  's', 7,
        0,    0,    0, 0, 0,   0, 0,   0,   0,    0,    0,    1,    0,    0,    0,
    };
    struct fixture *f = *state;
    odb_prop props[] = {odb_prop_int("pages", 7), odb_prop_text("lang", "en")};
    odb_field size = {ODB_FIELD_FILE_SIZE, {ODB_PROP_INT, {.integer = INT64_C(1) << 32}}};
    odb_record_draft d = odb_record_make("a", "hi");
    odb_record *r;

    for (int turn = 0; turn < 2; turn++) {
        odb_prop swap = props[0];

        d.kind = ODB_KIND_DOCUMENT;
        d.timestamp = -5;
        d.importance = 0.25f;
        d.props = props;
        d.prop_count = 2;
        d.fields = &size;
        d.field_count = 1;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
        assert_ok(odb_record_get(odb_now(f->db), d.id, &r));
        assert_int_equal(odb_record_bytes(r).size, sizeof want);
        assert_memory_equal(odb_record_bytes(r).data, want, sizeof want);
        odb_record_free(r);
        props[0] = props[1];
        props[1] = swap;
    }
}

static void W28_ids_of_any_bytes_do_not_collide(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {"a:b", "a", "a:b:c", "a_b", "a\x01",   "a\xff",
                                      "A:b", ":", "::",    " ",   "\xff\xff"};
    const size_t n = sizeof ids / sizeof *ids;
    odb_records_report r = {.size = sizeof r};
    odb_slice nul = odb_bytes("a\0b", 3);
    odb_record_draft d = odb_record_make("x", "nul");

    for (size_t i = 0; i < n; i++)
        put_one(f, ids[i], 7, 0.5f);
    d.id = nul;
    d.timestamp = 7;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    for (size_t i = 0; i < n; i++)
        expect_now(f, ids[i], ids[i]);
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.records, n + 1);
    assert_int_equal(r.index_rows, 2 * (n + 1));
    assert_ok(odb_record_delete(f->db, NULL, odb_s("a"), ODB_MUST_EXIST));
    assert_ok(odb_record_exists(odb_now(f->db), nul));
    expect_now(f, "a:b", "a:b");
    assert_ok(odb_records_check(odb_now(f->db), &r, NULL, NULL));
    assert_int_equal(r.stray_rows + r.missing_rows, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(all_orders_both_ways),
        BOTH(W29_a_segment_ends_where_it_says),
        BOTH(properties_have_an_order),
        BOTH(a_filter_narrows_any_order),
        BOTH(W15_a_walk_sees_one_moment),
        BOTH(W23_a_damaged_record_is_passed_over_and_counted),
        BOTH(stray_rows_are_passed_over),
        BOTH(scans_that_make_no_sense_are_refused),
        BOTH(a_copy_outlives_the_walk),
        cmocka_unit_test(W08_a_walk_that_breaks_off_says_so),
        BOTH(W02_record_and_rows_are_one_commit),
        BOTH(W09_a_commit_is_read_back_at_once),
        BOTH(W20_ids_are_listed_without_reading_values),
        BOTH(W22_W31_the_same_record_gives_the_same_bytes_everywhere),
        BOTH(W28_ids_of_any_bytes_do_not_collide),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
