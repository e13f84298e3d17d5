/* What is built on top of a database hangs on these: numbers, observers, attached state, pending
 * writes. Over both backends. */
#include "tests/api/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

static uint64_t number_of(odb_at at)
{
    uint64_t n = 0;

    assert_ok(odb_sequence(at, &n));
    return n;
}

/* ---- observers ---- */

/* Writes down what it is told: "12 put k=v del k | ..." */
struct diary {
    odb_db *db;
    char text[2048];
    size_t len;
    uint64_t last;
    uint64_t commits;
};

static bool diary_op(void *arg, const odb_op *op)
{
    struct diary *d = arg;

    d->len += (size_t)snprintf(
        d->text + d->len, sizeof d->text - d->len, "%s%u:%.*s%s%.*s ", op->is_delete ? "-" : "",
        op->family, (int)op->key.size, (const char *)op->key.data, op->is_delete ? "" : "=",
        (int)op->value.size, op->value.size ? (const char *)op->value.data : "");
    return true;
}

static void diary_note(void *arg, const odb_commit_info *c)
{
    struct diary *d = arg;

    assert_true(c->sequence >= d->last + odb_batch_count(c->batch));
    d->last = c->sequence;
    d->commits++;
    odb_batch_each(c->batch, diary_op, d);
    d->len += (size_t)snprintf(d->text + d->len, sizeof d->text - d->len, "| ");
    assert_true(d->len < sizeof d->text);
}

static void an_observer_is_told_of_every_kind_of_commit(void **state)
{
    struct fixture *f = *state;
    odb_cf *records = fixture_cf(f, "records");
    struct diary d = {.db = f->db};
    uint64_t since = 0;
    odb_batch *b;
    odb_txn *t;

    put_text(f, NULL, "before", "x");
    assert_ok(odb_observe(f->db, diary_note, &d, &since));
    assert_int_equal(since, number_of(odb_now(f->db)));
    put_text(f, NULL, "a", "1");
    assert_ok(odb_delete(f->db, records, odb_s("b"), NULL));
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_commit(f->db, b, NULL)); /* nothing in it: no commit */
    assert_ok(odb_batch_put(b, records, odb_s("c"), odb_s("2")));
    assert_ok(odb_batch_delete(b, NULL, odb_s("a")));
    assert_ok(odb_commit(f->db, b, NULL));
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("d"), odb_s("3")));
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    assert_string_equal(d.text, "0:a=1 | -1:b | 1:c=2 -0:a | 0:d=3 | ");
    assert_int_equal(d.last, number_of(odb_now(f->db)));
    assert_true(d.last > since);
    assert_ok(odb_unobserve(f->db, diary_note, &d));
    put_text(f, NULL, "after", "x");
    assert_int_equal(d.commits, 4);
    assert_status(odb_unobserve(f->db, diary_note, &d), ODB_ABSENT);
    odb_batch_free(b);
}

static void a_commit_that_fails_is_not_told_of(void **state)
{
    struct fixture *f = *state;
    struct diary d = {.db = f->db};
    odb_cf *cf;
    odb_batch *b;
    odb_txn *t;

    assert_ok(odb_cf_create(f->db, "gone", NULL, &cf));
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_batch_put(b, NULL, odb_s("k"), odb_s("v")));
    assert_ok(odb_batch_put(b, cf, odb_s("k"), odb_s("v")));
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("x"), odb_s("mine")));
    put_text(f, NULL, "x", "theirs");
    assert_ok(odb_cf_drop(f->db, cf));
    assert_ok(odb_observe(f->db, diary_note, &d, NULL));
    assert_status(odb_commit(f->db, b, NULL), ODB_NO_FAMILY);
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    assert_int_equal(d.commits, 0);
    odb_txn_free(t);
    odb_batch_free(b);
}

static void several_observers_are_told_in_the_order_they_came(void **state)
{
    struct fixture *f = *state;
    struct diary first = {.db = f->db}, second = {.db = f->db};

    assert_ok(odb_observe(f->db, diary_note, &first, NULL));
    assert_ok(odb_observe(f->db, diary_note, &second, NULL));
    assert_status(odb_observe(f->db, diary_note, &first, NULL), ODB_EXISTS);
    put_text(f, NULL, "a", "1");
    assert_ok(odb_unobserve(f->db, diary_note, &first));
    put_text(f, NULL, "b", "2");
    assert_string_equal(first.text, "0:a=1 | ");
    assert_string_equal(second.text, "0:a=1 | 0:b=2 | ");
    assert_status(odb_observe(f->db, NULL, NULL, NULL), ODB_INVALID);
    assert_status(odb_observe(NULL, diary_note, NULL, NULL), ODB_INVALID);
}

/* Sums what the commits add, and checks that they come one at a time. */
struct ledger {
    atomic_int inside;
    uint64_t last;
    uint64_t ops;
};

static void ledger_note(void *arg, const odb_commit_info *c)
{
    struct ledger *l = arg;

    assert_int_equal(atomic_fetch_add(&l->inside, 1), 0);
    assert_int_equal(c->sequence, l->last + odb_batch_count(c->batch)); /* none is left out */
    l->last = c->sequence;
    l->ops += odb_batch_count(c->batch);
    atomic_fetch_sub(&l->inside, 1);
}

struct writer {
    odb_db *db;
    unsigned no;
    pthread_t thread;
};

#define WRITER_ROUNDS 300

static void *writer_run(void *arg)
{
    struct writer *w = arg;
    odb_batch *b;

    assert_ok(odb_batch_new(&b));
    for (unsigned i = 0; i < WRITER_ROUNDS; i++) {
        odb_write full = {ODB_DURABLE_FULL, false, {0}};
        char key[32];

        (void)snprintf(key, sizeof key, "%u/%u", w->no, i);
        odb_batch_clear(b);
        assert_ok(odb_batch_put(b, NULL, odb_s(key), odb_s("v")));
        assert_ok(odb_batch_put(b, NULL, odb_s("shared"), odb_s(key)));
        assert_ok(odb_commit(w->db, b, i % 64 == 0 ? &full : NULL));
        assert_ok(odb_put(w->db, NULL, odb_s(key), odb_s("w"), NULL));
    }
    odb_batch_free(b);
    return NULL;
}

static void commits_of_many_threads_are_told_in_one_order(void **state)
{
    struct fixture *f = *state;
    struct ledger l = {0}, coming[20];
    struct writer w[4];

    assert_ok(odb_observe(f->db, ledger_note, &l, &l.last));
    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct writer){.db = f->db, .no = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, writer_run, &w[i]), 0);
    }
    for (int i = 0; i < 20; i++) { /* others come and go meanwhile, and miss nothing */
        coming[i] = (struct ledger){0};
        assert_ok(odb_observe(f->db, ledger_note, &coming[i], &coming[i].last));
        (void)usleep(300);
        if (i % 2)
            assert_ok(odb_unobserve(f->db, ledger_note, &coming[i]));
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
    assert_int_equal(l.ops, 4 * WRITER_ROUNDS * 3);
    assert_int_equal(l.last, number_of(odb_now(f->db)));
    for (int i = 0; i < 20; i += 2)
        assert_int_equal(coming[i].last, l.last);
}

/* ---- numbers ---- */

/* Remembers how often each number was told, to compare with what a snapshot sees. */
struct counted {
    uint64_t last[4096];
    size_t count;
};

static void counted_note(void *arg, const odb_commit_info *c)
{
    struct counted *n = arg;

    if (n->count < 4096)
        n->last[n->count++] = c->sequence;
}

static void *counter_run(void *arg)
{
    struct writer *w = arg;

    for (unsigned i = 1; i <= 2000; i++) {
        char text[16];

        (void)snprintf(text, sizeof text, "%u", i);
        assert_ok(odb_put(w->db, NULL, odb_s("n"), odb_s(text), NULL));
    }
    return NULL;
}

static void a_snapshot_sees_the_commits_up_to_its_number(void **state)
{
    struct fixture *f = *state;
    struct counted n = {.count = 0};
    struct writer w = {.db = f->db};
    odb_snapshot *s[40];
    odb_value v;

    assert_ok(odb_observe(f->db, counted_note, &n, NULL));
    assert_int_equal(pthread_create(&w.thread, NULL, counter_run, &w), 0);
    for (int i = 0; i < 40; i++) {
        (void)usleep(100);
        assert_ok(odb_snapshot_new(f->db, &s[i]));
    }
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    for (int i = 0; i < 40; i++) {
        uint64_t number = number_of(odb_asof(s[i])), seen = 0;
        size_t told = 0;

        while (told < n.count && n.last[told] <= number)
            told++;
        if (odb_get(odb_asof(s[i]), NULL, odb_s("n"), &v) == ODB_OK) {
            char text[16] = {0}; /* nothing ends a value */

            assert_true(v.size < sizeof text);
            memcpy(text, v.data, v.size);
            seen = strtoull(text, NULL, 10);
            odb_value_release(&v);
        }
        assert_int_equal(seen, told);
        odb_snapshot_free(s[i]);
    }
}

static void places_know_number_and_database(void **state)
{
    struct fixture *f = *state;
    odb_snapshot *s;
    odb_txn *t;
    uint64_t n;

    put_text(f, NULL, "a", "1");
    assert_ok(odb_snapshot_new(f->db, &s));
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    n = number_of(odb_now(f->db));
    put_text(f, NULL, "a", "2");
    assert_int_equal(number_of(odb_asof(s)), n);
    assert_int_equal(number_of(odb_in(t)), n);
    assert_int_equal(number_of(odb_now(f->db)), n + 1);
    assert_ptr_equal(odb_at_db(odb_now(f->db)), f->db);
    assert_ptr_equal(odb_at_db(odb_asof(s)), f->db);
    assert_ptr_equal(odb_at_db(odb_in(t)), f->db);
    assert_ptr_equal(odb_txn_db(t), f->db);
    assert_null(odb_at_db(odb_now(NULL)));
    assert_null(odb_at_db((odb_at){f->db, s, NULL}));
    assert_null(odb_txn_db(NULL));
    odb_txn_rollback(t);
    assert_status(odb_sequence(odb_in(t), &n), ODB_INVALID);
    assert_ptr_equal(odb_txn_db(t), f->db);
    assert_status(odb_sequence(odb_now(NULL), &n), ODB_INVALID);
    assert_status(odb_sequence(odb_now(f->db), NULL), ODB_INVALID);
    odb_txn_free(t);
    odb_snapshot_free(s);
}

/* ---- attached state ---- */

static char closing[16];

static void close_and_write(odb_db *db, void *state)
{
    const char *name = state;
    odb_value v;

    (void)strncat(closing, name, sizeof closing - strlen(closing) - 1);
    assert_ok(odb_put(db, NULL, odb_s(name), odb_s("closed"), NULL));
    assert_ok(odb_get(odb_now(db), NULL, odb_s(name), &v));
    odb_value_release(&v);
    assert_null(odb_attached(db, name));
}

static void attached_states_are_closed_in_reverse(void **state)
{
    struct fixture *f = *state;
    static char a[] = "a", b[] = "b", c[] = "c";

    closing[0] = 0;
    assert_null(odb_attached(f->db, "a"));
    assert_ok(odb_attach(f->db, "a", a, close_and_write));
    assert_ok(odb_attach(f->db, "silent", c, NULL));
    assert_ok(odb_attach(f->db, "b", b, close_and_write));
    assert_status(odb_attach(f->db, "a", c, NULL), ODB_EXISTS);
    assert_status(odb_attach(f->db, NULL, c, NULL), ODB_INVALID);
    assert_status(odb_attach(f->db, "null", NULL, NULL), ODB_INVALID);
    assert_ptr_equal(odb_attached(f->db, "a"), a);
    assert_ptr_equal(odb_attached(f->db, "b"), b);
    assert_null(odb_attached(f->db, "other"));
    assert_null(odb_attached(NULL, "a"));
    fixture_reopen(f);
    if (f->is_lsm) {
        assert_string_equal(closing, "ba");
        expect_text(odb_now(f->db), NULL, "a", "closed");
        assert_null(odb_attached(f->db, "a"));
    }
}

/* ---- pending writes ---- */

static bool pending_note(void *arg, const odb_op *op)
{
    char *out = arg;

    (void)snprintf(out + strlen(out), 256 - strlen(out), "%s%.*s ", op->is_delete ? "-" : "",
                   (int)op->key.size, (const char *)op->key.data);
    return op->key.size != 4; /* "stop" */
}

static void expect_pending(odb_txn *t, odb_cf *cf, const odb_range *range, const char *want)
{
    char got[256] = "";

    assert_ok(odb_txn_pending(t, cf, range, pending_note, got));
    assert_string_equal(got, want);
}

static void pending_writes_are_shown_newest_only_in_order(void **state)
{
    struct fixture *f = *state;
    odb_cf *records = fixture_cf(f, "records");
    odb_range middle = {.lower = odb_s("b"), .upper = odb_s("d")};
    odb_range prefix = {.prefix = odb_s("c")}, nothing = {.lower = odb_s("d"), .upper = odb_s("b")};
    odb_txn *t;

    put_text(f, NULL, "below", "not pending");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    expect_pending(t, NULL, NULL, "");
    assert_ok(odb_txn_put(t, NULL, odb_s("d"), odb_s("1")));
    assert_ok(odb_txn_put(t, NULL, odb_s("a"), odb_s("1")));
    assert_ok(odb_txn_put(t, records, odb_s("x"), odb_s("1")));
    assert_ok(odb_txn_put(t, NULL, odb_s("cc"), odb_s("1")));
    assert_ok(odb_txn_put(t, NULL, odb_s("b"), odb_s("1")));
    assert_ok(odb_txn_delete(t, NULL, odb_s("b")));
    expect_pending(t, NULL, NULL, "a -b cc d ");
    expect_pending(t, NULL, &middle, "-b cc ");
    expect_pending(t, NULL, &prefix, "cc ");
    expect_pending(t, NULL, &nothing, "");
    expect_pending(t, records, NULL, "x ");
    assert_ok(odb_txn_put(t, NULL, odb_s("stop"), odb_s("1")));
    assert_ok(odb_txn_put(t, NULL, odb_s("z"), odb_s("1")));
    expect_pending(t, NULL, NULL, "a -b cc d stop ");
    assert_status(odb_txn_pending(t, NULL, NULL, NULL, NULL), ODB_INVALID);
    odb_txn_rollback(t);
    assert_status(odb_txn_pending(t, NULL, NULL, pending_note, NULL), ODB_INVALID);
    odb_txn_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(an_observer_is_told_of_every_kind_of_commit),
        BOTH(a_commit_that_fails_is_not_told_of),
        BOTH(several_observers_are_told_in_the_order_they_came),
        BOTH(commits_of_many_threads_are_told_in_one_order),
        BOTH(a_snapshot_sees_the_commits_up_to_its_number),
        BOTH(places_know_number_and_database),
        BOTH(attached_states_are_closed_in_reverse),
        BOTH(pending_writes_are_shown_newest_only_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
