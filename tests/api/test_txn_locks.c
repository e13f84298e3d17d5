/* Transactions that lock what they touch, over both backends: who waits, for how long, and which of a circle
 * gives up. */
#include "tests/api/txn_fixture.h"

#include <pthread.h>

static const odb_txn_options impatient = {
    .size = sizeof impatient, .is_pessimistic = true, .no_wait = true};
static const odb_txn_options locking = {
    .size = sizeof locking, .isolation = ODB_SERIALIZABLE, .is_pessimistic = true, .no_wait = true};

static void a_lock_keeps_others_out_until_the_end(void **state)
{
    const odb_txn_options patient = {
        .size = sizeof patient, .is_pessimistic = true, .lock_wait_ms = 2};
    struct fixture *f = *state;
    odb_txn *a = begin(f, &pessimistic), *b = begin(f, &impatient), *c = begin(f, &patient);
    odb_range range = {.lower = odb_s("j"), .upper = odb_s("m")};
    odb_value v;

    txn_text(a, "k", "a");
    assert_status(odb_txn_put(b, NULL, odb_s("k"), odb_s("b")), ODB_TIMEOUT);
    assert_status(odb_txn_get_for_update(b, NULL, odb_s("k"), &v), ODB_TIMEOUT);
    assert_status(odb_txn_claim(b, NULL, &range, true), ODB_TIMEOUT);
    assert_status(odb_txn_put(c, NULL, odb_s("k"), odb_s("c")), ODB_TIMEOUT); /* in vain */
    odb_txn_free(c);
    txn_text(b, "other", "b"); /* it goes on */
    assert_ok(odb_txn_commit(a, NULL));
    txn_text(b, "k", "b");
    assert_ok(odb_txn_commit(b, NULL));
    expect_text(odb_now(f->db), NULL, "k", "b");
    odb_txn_free(a);
    odb_txn_free(b);
}

static void shared_locks_go_together_and_rise_alone(void **state)
{
    struct fixture *f = *state;
    odb_range low = {.upper = odb_s("m")}, high = {.lower = odb_s("m")};
    odb_txn *a = begin(f, &locking), *b = begin(f, &locking);

    put_text(f, NULL, "k", "1");
    assert_ok(odb_txn_reset(a));
    assert_ok(odb_txn_reset(b));
    expect_text(odb_in(a), NULL, "k", "1"); /* reading locks, here */
    expect_text(odb_in(b), NULL, "k", "1");
    assert_status(odb_txn_put(a, NULL, odb_s("k"), odb_s("2")), ODB_TIMEOUT);
    odb_txn_rollback(b);
    txn_text(a, "k", "2");
    assert_ok(odb_txn_claim(a, NULL, &low, true));
    assert_ok(odb_txn_reset(b));
    assert_ok(odb_txn_claim(b, NULL, &high, false));
    assert_status(odb_txn_claim(b, NULL, &low, false), ODB_TIMEOUT);
    assert_status(odb_txn_put(b, NULL, odb_s("c"), odb_s("x")), ODB_TIMEOUT); /* a phantom */
    txn_text(b, "n", "x");
    assert_ok(odb_txn_commit(a, NULL));
    txn_text(b, "c", "x");
    assert_ok(odb_txn_commit(b, NULL));
    odb_txn_free(a);
    odb_txn_free(b);
}

static void who_writes_past_a_lock_is_noticed(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, &pessimistic);
    odb_value v;

    put_text(f, NULL, "k", "1");
    assert_ok(odb_txn_get_for_update(t, NULL, odb_s("k"), &v));
    assert_slice(odb_bytes(v.data, v.size),
                 "1"); /* newer than the begin: it had read nothing yet */
    odb_value_release(&v);
    put_text(f, NULL, "k", "2");
    assert_status(odb_txn_get_for_update(t, NULL, odb_s("l"), &v), ODB_ABSENT);
    txn_text(t, "k", "3");
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    expect_text(odb_now(f->db), NULL, "k", "2");
    odb_txn_free(t);
}

struct deadlock {
    struct fixture *f;
    odb_txn *t;
    const char *key;
    pthread_t thread;
    odb_status st;
    char text[512];
};

/* Also who writes nothing, as it may have read half of what was written. */
static void a_reader_with_locks_is_told_of_who_wrote_past_them(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, &locking), *u = begin(f, &serializable);
    odb_value v;

    assert_status(odb_get(odb_in(t), NULL, odb_s("k"), &v), ODB_ABSENT);
    assert_status(odb_get(odb_in(u), NULL, odb_s("k"), &v), ODB_ABSENT);
    put_text(f, NULL, "k", "1");
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    assert_ok(odb_txn_commit(u, NULL)); /* without locks it ran at its moment */
    odb_txn_free(t);
    odb_txn_free(u);
}

static void *deadlock_run(void *arg)
{
    struct deadlock *d = arg;

    d->st = odb_txn_put(d->t, NULL, odb_s(d->key), odb_s("x"));
    if (d->st != ODB_OK)
        (void)snprintf(d->text, sizeof d->text, "%s", odb_error_text());
    if (d->st == ODB_OK)
        d->st = odb_txn_commit(d->t, NULL);
    return NULL;
}

/* Three transactions in a circle: the youngest loses, at once, and is told the circle. */
static void the_youngest_of_a_circle_loses(void **state)
{
    struct fixture *f = *state;
    static const char *const own[] = {"a", "b", "c"}, *const wanted[] = {"b", "c", "a"};
    odb_txn_options patient = {
        .size = sizeof patient, .is_pessimistic = true, .lock_wait_ms = 60000};

    for (int last = 0; last < 3; last++) { /* whoever of the three closes it */
        struct deadlock d[3];

        for (int i = 0; i < 3; i++) {
            d[i] = (struct deadlock){.f = f, .key = wanted[i]};
            d[i].t = begin(f, &patient);
            txn_text(d[i].t, own[i], "own");
        }
        for (int n = 1; n <= 3; n++) {
            int i = (last + n) % 3;

            assert_int_equal(pthread_create(&d[i].thread, NULL, deadlock_run, &d[i]), 0);
            (void)usleep(30000);
        }
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_join(d[i].thread, NULL), 0);
        assert_ok(d[0].st);
        assert_ok(d[1].st);
        assert_status(d[2].st, ODB_DEADLOCK);
        assert_non_null(strstr(d[2].text, "circle"));
        assert_non_null(strstr(d[2].text, "'a' in default"));
        assert_non_null(strstr(d[2].text, "'b' in default"));
        assert_non_null(strstr(d[2].text, "'c' in default"));
        assert_status(odb_txn_commit(d[2].t, NULL), ODB_INVALID); /* it has been rolled back */
        for (int i = 0; i < 3; i++)
            odb_txn_free(d[i].t);
    }
}

static void two_who_share_and_both_want_more_do_not_wait_for_ever(void **state)
{
    struct fixture *f = *state;
    odb_txn_options opt = {.size = sizeof opt,
                           .isolation = ODB_SERIALIZABLE,
                           .is_pessimistic = true,
                           .lock_wait_ms = 60000};
    struct deadlock d = {.f = f, .key = "k"};
    odb_txn *old;

    put_text(f, NULL, "k", "1");
    old = begin(f, &opt);
    d.t = begin(f, &opt);
    expect_text(odb_in(old), NULL, "k", "1");
    expect_text(odb_in(d.t), NULL, "k", "1");
    assert_int_equal(pthread_create(&d.thread, NULL, deadlock_run, &d), 0);
    (void)usleep(30000);
    txn_text(old, "k", "2"); /* the younger one yields */
    assert_int_equal(pthread_join(d.thread, NULL), 0);
    assert_status(d.st, ODB_DEADLOCK);
    assert_ok(odb_txn_commit(old, NULL));
    odb_txn_free(old);
    odb_txn_free(d.t);
}

struct counter {
    struct fixture *f;
    const odb_txn_options *opt;
    pthread_t thread;
};

static odb_status count_one(odb_txn *t, void *arg)
{
    uint64_t n = 0;
    odb_value v;
    odb_status st = odb_txn_get_for_update(t, NULL, odb_s("n"), &v);

    (void)arg;
    if (st == ODB_OK) {
        memcpy(&n, v.data, sizeof n);
        odb_value_release(&v);
    } else if (st != ODB_ABSENT) {
        return st;
    }
    n++;
    return odb_txn_put(t, NULL, odb_s("n"), odb_bytes(&n, sizeof n));
}

static void *counter_run(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < 250; i++)
        assert_ok(odb_txn_run(c->f->db, c->opt, count_one, NULL, NULL));
    return NULL;
}

static void a_counter_counts_everyone(void **state)
{
    struct fixture *f = *state;
    const odb_txn_options *kinds[] = {NULL, &serializable, &pessimistic};
    odb_stats_t before = {.size = sizeof before}, after = {.size = sizeof after};

    for (size_t k = 0; k < 3; k++) {
        struct counter c[4];
        uint64_t n = 0;
        size_t size;

        assert_ok(odb_delete(f->db, NULL, odb_s("n"), NULL));
        assert_ok(odb_stats(f->db, NULL, &before));
        for (int i = 0; i < 4; i++) {
            c[i] = (struct counter){.f = f, .opt = kinds[k]};
            assert_int_equal(pthread_create(&c[i].thread, NULL, counter_run, &c[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_join(c[i].thread, NULL), 0);
        assert_ok(odb_get_into(odb_now(f->db), NULL, odb_s("n"), &n, sizeof n, &size));
        assert_int_equal(n, 1000);
        assert_ok(odb_stats(f->db, NULL, &after));
        assert_int_equal(after.txn_commits - before.txn_commits, 1000);
        if (kinds[k] == &pessimistic) /* they wait for each other instead */
            assert_int_equal(after.txn_conflicts, before.txn_conflicts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_lock_keeps_others_out_until_the_end),
        BOTH(shared_locks_go_together_and_rise_alone),
        BOTH(who_writes_past_a_lock_is_noticed),
        BOTH(a_reader_with_locks_is_told_of_who_wrote_past_them),
        BOTH(the_youngest_of_a_circle_loses),
        BOTH(two_who_share_and_both_want_more_do_not_wait_for_ever),
        BOTH(a_counter_counts_everyone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
