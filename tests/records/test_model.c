/* tests/records/test_model.c -- random life of records against a model of it, over both backends: writes
 * alone and in transactions, some of them rolled back; snapshots; walks in every order with bounds,
 * filters and portions; closing and opening. ODB_TEST_SEED=N replays, ODB_TEST_OPS=N lengthens. */
#include "tests/api/fixture.h"

#include "tests/base/random.h"

#define IDS 120

struct one {
    bool is_there;
    int64_t ts;
    int importance; /* hundredths */
    int64_t n;      /* property n; -1: none */
    uint32_t content;
};

struct model {
    struct one one[IDS];
};

static void id_of(uint32_t i, char *out)
{
    /* Ids that begin alike, with a segment sign or without, and with odd bytes. */
    static const char *const shape[] = {"u%u", "u%u/x", "u%u-", "\x01%u\xff"};

    (void)snprintf(out, 16, shape[i % 4], (unsigned)(i / 4));
}

static float importance_of(int hundredths)
{
    return (float)hundredths / 100;
}

/* ---- writing ---- */

static odb_status put_random(struct rnd *r, odb_db *db, odb_txn *t, struct one *m, const char *id)
{
    static const unsigned flags[] = {0, 0, ODB_INSERT_ONLY, ODB_UPDATE_ONLY};
    unsigned flag = flags[rnd_below(r, 4)];
    struct one now = {true, (int64_t)rnd_below(r, 50) - 10, (int)rnd_below(r, 11) * 10,
                      (int64_t)rnd_below(r, 8) - 1, rnd_below(r, 1000)};
    odb_prop props[] = {odb_prop_int("n", now.n), odb_prop_text("t", "x")};
    odb_record_draft d;
    char content[16];
    odb_status st;

    (void)snprintf(content, sizeof content, "%u", (unsigned)now.content);
    d = odb_record_make(id, content);
    d.timestamp = now.ts;
    d.importance = importance_of(now.importance);
    d.props = now.n < 0 ? props + 1 : props;
    d.prop_count = now.n < 0 ? 1 : 2;
    st = odb_record_put(db, t, &d, flag);
    if (flag == ODB_INSERT_ONLY && m->is_there)
        assert_status(st, ODB_EXISTS);
    else if (flag == ODB_UPDATE_ONLY && !m->is_there)
        assert_status(st, ODB_ABSENT);
    else
        *m = now;
    return ODB_OK;
}

static void patch_random(struct rnd *r, odb_db *db, odb_txn *t, struct one *m, const char *id)
{
    odb_patch p = {.size = sizeof p};
    odb_prop set = odb_prop_int("n", (int64_t)rnd_below(r, 7));
    odb_slice unset = odb_s("n");
    struct one now = *m;

    if (rnd_below(r, 2)) {
        now.ts = p.timestamp = (int64_t)rnd_below(r, 50) - 10;
        p.change |= ODB_PATCH_TIMESTAMP;
    }
    if (rnd_below(r, 2)) {
        now.importance = (int)rnd_below(r, 11) * 10;
        p.importance = importance_of(now.importance);
        p.change |= ODB_PATCH_IMPORTANCE;
    }
    if (rnd_below(r, 3) == 0) {
        p.set = &set;
        p.set_count = 1;
        now.n = set.value.u.integer;
    } else if (rnd_below(r, 3) == 0) {
        p.unset = &unset;
        p.unset_count = 1;
        now.n = -1;
    }
    assert_status(odb_record_patch(db, t, odb_s(id), &p), m->is_there ? ODB_OK : ODB_ABSENT);
    if (m->is_there)
        *m = now;
}

static void write_random(struct rnd *r, odb_db *db, odb_txn *t, struct model *m)
{
    uint32_t i = rnd_below(r, IDS), what = rnd_below(r, 10);
    char id[16];

    id_of(i, id);
    if (what < 5) {
        assert_ok(put_random(r, db, t, &m->one[i], id));
    } else if (what < 8) {
        patch_random(r, db, t, &m->one[i], id);
    } else {
        bool must = rnd_below(r, 2);

        assert_status(odb_record_delete(db, t, odb_s(id), must ? ODB_MUST_EXIST : 0),
                      must && !m->one[i].is_there ? ODB_ABSENT : ODB_OK);
        m->one[i].is_there = false;
    }
}

/* ---- reading ---- */

static void expect_points(odb_at at, const struct model *m)
{
    for (uint32_t i = 0; i < IDS; i++) {
        const struct one *o = &m->one[i];
        char id[16], content[16];
        odb_record *r;
        odb_prop_value v;

        id_of(i, id);
        assert_status(odb_record_exists(at, odb_s(id)), o->is_there ? ODB_OK : ODB_ABSENT);
        if (!o->is_there) {
            assert_status(odb_record_get(at, odb_s(id), &r), ODB_ABSENT);
            continue;
        }
        assert_ok(odb_record_get(at, odb_s(id), &r));
        (void)snprintf(content, sizeof content, "%u", (unsigned)o->content);
        assert_slice(odb_record_content(r), content);
        assert_int_equal(odb_record_timestamp(r), o->ts);
        assert_true(odb_record_importance(r) == importance_of(o->importance));
        assert_int_equal(odb_record_prop(r, odb_s("n"), &v), o->n >= 0);
        if (o->n >= 0)
            assert_int_equal(v.u.integer, o->n);
        assert_true(odb_record_prop(r, odb_s("t"), &v));
        odb_record_free(r);
    }
}

static const struct model *sort_model;
static odb_record_order sort_order;

static int compare_ids(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const struct one *x = &sort_model->one[i], *y = &sort_model->one[j];
    char p[16], q[16];
    int64_t d = sort_order == ODB_BY_TIME         ? x->ts - y->ts
                : sort_order == ODB_BY_IMPORTANCE ? x->importance - y->importance
                : sort_order == ODB_BY_PROP       ? x->n - y->n
                                                  : 0;

    id_of(i, p);
    id_of(j, q);
    return d ? (d > 0) - (d < 0) : odb_slice_compare(odb_s(p), odb_s(q));
}

/* What a random scan must give, and the scan. */
struct question {
    odb_scan scan;
    odb_filter *filter;
    char prefix[16];
    odb_prop_value from, to;
    uint32_t want[IDS];
    uint32_t count;
};

static void ask(struct rnd *r, const struct model *m, struct question *q)
{
    odb_scan *s = &q->scan;
    int64_t n_least = -1;
    int importance_least = -1;

    memset(q, 0, sizeof *q);
    s->size = sizeof *s;
    s->order = (odb_record_order)rnd_below(r, 4);
    s->is_reverse = rnd_below(r, 2);
    s->ids_only = rnd_below(r, 2);
    if (s->order == ODB_BY_PROP) {
        s->prop = odb_s("n");
        if (rnd_below(r, 2)) {
            q->from = (odb_prop_value){ODB_PROP_INT, {.integer = (int64_t)rnd_below(r, 7)}};
            q->to = (odb_prop_value){ODB_PROP_INT,
                                     {.integer = q->from.u.integer + (int64_t)rnd_below(r, 3)}};
            s->prop_from = &q->from;
            s->prop_to = &q->to;
        }
    }
    if (rnd_below(r, 3) == 0) {
        (void)snprintf(q->prefix, sizeof q->prefix, "u%u", (unsigned)rnd_below(r, 12));
        s->prefix = odb_s(q->prefix);
        s->segment = (char)(rnd_below(r, 2) ? '/' : 0);
    }
    if (rnd_below(r, 3) == 0) {
        s->time_from = (int64_t)rnd_below(r, 30) + 1;
        s->time_to = s->time_from + (int64_t)rnd_below(r, 20);
    }
    if (rnd_below(r, 3) == 0) {
        char text[64];

        importance_least = (int)rnd_below(r, 11) * 10;
        n_least = (int64_t)rnd_below(r, 5);
        (void)snprintf(text, sizeof text, "importance >= 0.%02d && n >= %d", importance_least % 100,
                       (int)n_least);
        if (importance_least == 100)
            (void)snprintf(text, sizeof text, "n >= %d && importance >= 1", (int)n_least);
        assert_ok(odb_filter_parse(odb_s(text), &q->filter, NULL));
        s->filter = q->filter;
    }
    for (uint32_t i = 0; i < IDS; i++) {
        const struct one *o = &m->one[i];
        size_t n = strlen(q->prefix);
        char id[16];

        id_of(i, id);
        if (!o->is_there || strncmp(id, q->prefix, n) != 0 || (s->segment && id[n] && id[n] != '/'))
            continue;
        if ((s->time_from && o->ts < s->time_from) || (s->time_to && o->ts >= s->time_to))
            continue;
        if (q->filter && (o->importance < importance_least || o->n < n_least))
            continue;
        if (s->order == ODB_BY_PROP &&
            (o->n < 0 || (s->prop_from && (o->n < q->from.u.integer || o->n > q->to.u.integer))))
            continue;
        q->want[q->count++] = i;
    }
    sort_model = m;
    sort_order = s->order;
    qsort(q->want, q->count, sizeof *q->want, compare_ids);
}

static void expect_answer(struct rnd *r, odb_at at, const struct model *m)
{
    struct question q;
    char place[256];
    uint32_t seen = 0;

    ask(r, m, &q);
    q.scan.limit = rnd_below(r, 3) == 0 ? 0 : rnd_below(r, 20) + 1;
    for (bool is_on = true; is_on;) {
        uint64_t here = 0;
        odb_record_iter *it;
        odb_slice resume;

        assert_ok(odb_record_scan(at, &q.scan, &it));
        for (; odb_record_iter_next(it); here++, seen++) {
            char id[16];

            assert_true(seen < q.count);
            id_of(q.want[q.scan.is_reverse ? q.count - 1 - seen : seen], id);
            assert_slice(odb_record_iter_id(it), id);
            if (!q.scan.ids_only)
                assert_slice(odb_record_id(odb_record_iter_record(it)), id);
        }
        assert_ok(odb_record_iter_status(it));
        assert_int_equal(odb_record_iter_damaged(it), 0);
        is_on = q.scan.limit && here == q.scan.limit;
        resume = odb_record_iter_resume(it);
        assert_true(resume.size <= sizeof place);
        if (resume.size)
            memcpy(place, resume.data, resume.size);
        if (here)
            q.scan.resume = odb_bytes(place, resume.size);
        odb_record_iter_free(it);
    }
    assert_int_equal(seen, q.count);
    odb_filter_free(q.filter);
}

static void expect_sound(odb_at at, const struct model *m)
{
    odb_records_report report = {.size = sizeof report};
    uint64_t count = 0;

    for (uint32_t i = 0; i < IDS; i++)
        count += m->one[i].is_there;
    assert_ok(odb_records_check(at, &report, NULL, NULL));
    assert_int_equal(report.records, count);
    assert_int_equal(report.damaged + report.missing_rows + report.stray_rows, 0);
}

/* ---- a life ---- */

static void a_random_life_is_that_of_the_model(void **state)
{
    struct fixture *f = *state;
    struct rnd r = rnd_start("a_random_life_is_that_of_the_model");
    const char *name = "n", *given = getenv("ODB_TEST_OPS");
    odb_records_options opt = {.size = sizeof opt, .props = &name, .prop_count = 1};
    int ops = given ? atoi(given) : 800;
    struct model now, then;
    odb_snapshot *s = NULL;

    memset(&now, 0, sizeof now);
    assert_ok(odb_records_open(f->db, &opt));
    for (int op = 0; op < ops; op++) {
        uint32_t what = rnd_below(&r, 100);

        if (what < 55) {
            write_random(&r, f->db, NULL, &now);
        } else if (what < 70) {
            struct model inside = now;
            odb_txn *t;

            assert_ok(odb_txn_begin(f->db, NULL, &t));
            for (uint32_t n = rnd_below(&r, 20); n > 0; n--)
                write_random(&r, f->db, t, &inside);
            if (rnd_below(&r, 3) == 0)
                expect_points(odb_in(t), &inside);
            expect_answer(&r, odb_in(t), &inside);
            expect_answer(&r, odb_now(f->db), &now);
            if (rnd_below(&r, 3)) {
                assert_ok(odb_txn_commit(t, NULL));
                now = inside;
            }
            odb_txn_free(t);
        } else if (what < 90) {
            expect_answer(&r, odb_now(f->db), &now);
            if (s)
                expect_answer(&r, odb_asof(s), &then);
        } else if (what < 93) {
            expect_points(odb_now(f->db), &now);
            expect_sound(odb_now(f->db), &now);
        } else if (what < 95 && s) {
            expect_points(odb_asof(s), &then);
            expect_sound(odb_asof(s), &then);
        } else if (what < 97) {
            odb_snapshot_free(s);
            assert_ok(odb_snapshot_new(f->db, &s));
            then = now;
        } else if (what < 98) {
            assert_ok(odb_flush(f->db, NULL));
        } else if (what < 99) {
            odb_snapshot_free(s);
            s = NULL;
            fixture_reopen(f);
        }
    }
    expect_points(odb_now(f->db), &now);
    expect_sound(odb_now(f->db), &now);
    odb_snapshot_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_random_life_is_that_of_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
