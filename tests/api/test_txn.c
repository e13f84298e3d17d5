/* Transactions, over both backends: what they promise, what they refuse, what they leave behind. */
#include "tests/api/fixture.h"

#include <pthread.h>

static const odb_txn_options serializable = {.size = sizeof serializable,
                                             .isolation = ODB_SERIALIZABLE};
static const odb_txn_options pessimistic = {.size = sizeof pessimistic, .is_pessimistic = true};
static const odb_txn_options impatient = {
    .size = sizeof impatient, .is_pessimistic = true, .no_wait = true};
static const odb_txn_options locking = {
    .size = sizeof locking, .isolation = ODB_SERIALIZABLE, .is_pessimistic = true, .no_wait = true};

static odb_txn *begin(struct fixture *f, const odb_txn_options *opt)
{
    odb_txn *t = NULL;

    assert_ok(odb_txn_begin(f->db, opt, &t));
    return t;
}

static void txn_text(odb_txn *t, const char *key, const char *value)
{
    if (value)
        assert_ok(odb_txn_put(t, NULL, odb_s(key), odb_s(value)));
    else
        assert_ok(odb_txn_delete(t, NULL, odb_s(key)));
}

/* ---- what a commit depends on ---- */

/* Two transactions read both keys and write one each: who is refused, under which isolation. */
static odb_status write_skew(struct fixture *f, const odb_txn_options *opt)
{
    odb_txn *a, *b;
    odb_status st;

    put_text(f, NULL, "x", "1");
    put_text(f, NULL, "y", "1");
    a = begin(f, opt);
    b = begin(f, opt);
    expect_text(odb_in(a), NULL, "x", "1");
    expect_text(odb_in(a), NULL, "y", "1");
    expect_text(odb_in(b), NULL, "x", "1");
    expect_text(odb_in(b), NULL, "y", "1");
    txn_text(a, "x", "0");
    txn_text(b, "y", "0");
    assert_ok(odb_txn_commit(a, NULL));
    st = odb_txn_commit(b, NULL);
    odb_txn_free(a);
    odb_txn_free(b);
    return st;
}

static void P12_write_skew_passes_a_snapshot_and_no_more(void **state)
{
    struct fixture *f = *state;

    assert_ok(write_skew(f, NULL));
    assert_status(write_skew(f, &serializable), ODB_CONFLICT);
}

static void P12_a_key_that_was_not_there_counts_as_read(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, &serializable);

    expect_text(odb_in(t), NULL, "absent", NULL);
    txn_text(t, "other", "1");
    put_text(f, NULL, "absent", "now it is");
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    expect_text(odb_now(f->db), NULL, "other", NULL);
    odb_txn_free(t);
}

/* A walk over [b, e) of the keys a c g; then somebody writes `key`. Where does the commit fail? */
static odb_status walk_then(struct fixture *f, const char *key, const char *value, int steps,
                            bool is_forward, bool free_first)
{
    odb_range range = {.lower = odb_s("b"), .upper = odb_s("k")};
    odb_txn *t;
    odb_iter *it;
    odb_status st;
    bool ok;

    for (const char *k = "aceg"; *k; k++)
        assert_ok(odb_put(f->db, NULL, odb_bytes(k, 1), odb_s("v"), NULL));
    assert_ok(odb_delete(f->db, NULL, odb_s("d"), NULL));
    assert_ok(odb_delete(f->db, NULL, odb_s("h"), NULL));
    t = begin(f, &serializable);
    assert_ok(odb_iter_new(odb_in(t), NULL, &range, &it));
    ok = is_forward ? odb_iter_first(it) : odb_iter_last(it);
    for (int i = 0; i < steps && ok; i++)
        ok = is_forward ? odb_iter_next(it) : odb_iter_prev(it);
    txn_text(t, "z", "1");
    if (free_first)
        odb_iter_free(it);
    if (value)
        put_text(f, NULL, key, value);
    else
        assert_ok(odb_delete(f->db, NULL, odb_s(key), NULL));
    st = odb_txn_commit(t, NULL);
    if (!free_first)
        odb_iter_free(it);
    odb_txn_free(t);
    return st;
}

static void P12_phantoms_are_noticed_where_it_was_walked_and_only_there(void **state)
{
    struct fixture *f = *state;

    for (int free_first = 0; free_first < 2; free_first++) {
        bool early = free_first != 0;

        assert_ok(walk_then(f, "a", "new", 9, true, early)); /* outside the range */
        assert_ok(walk_then(f, "k", "new", 9, true, early));
        assert_status(walk_then(f, "d", "new", 9, true, early), ODB_CONFLICT);
        assert_status(walk_then(f, "h", "new", 9, true, early), ODB_CONFLICT);
        assert_status(walk_then(f, "b", "new", 0, true, early), ODB_CONFLICT);
        assert_ok(odb_delete(f->db, NULL, odb_s("b"), NULL));
        assert_status(walk_then(f, "c", NULL, 0, true, early), ODB_CONFLICT);
        assert_ok(
            walk_then(f, "d", "new", 0, true, early)); /* it stood on c and looked no further */
        assert_ok(walk_then(f, "e", "new", 0, true, early));
        assert_status(walk_then(f, "d", "new", 1, true, early), ODB_CONFLICT);
        assert_ok(walk_then(f, "d", "new", 1, false, early)); /* from g back to e */
        assert_status(walk_then(f, "h", "new", 1, false, early), ODB_CONFLICT);
        assert_status(walk_then(f, "d", "new", 2, false, early), ODB_CONFLICT);
    }
}

static void P12_turning_round_keeps_the_whole_span(void **state)
{
    struct fixture *f = *state;

    for (int far = 0; far < 3; far++) {
        odb_txn *t;
        odb_iter *it;

        for (const char *k = "aceg"; *k; k++)
            assert_ok(odb_put(f->db, NULL, odb_bytes(k, 1), odb_s("v"), NULL));
        t = begin(f, &serializable);
        assert_ok(odb_iter_new(odb_in(t), NULL, NULL, &it));
        assert_true(odb_iter_seek(it, odb_s("d"))); /* e */
        assert_true(odb_iter_next(it));             /* g */
        assert_true(odb_iter_prev(it));             /* e */
        assert_true(odb_iter_prev(it));             /* c */
        assert_true(odb_iter_next(it));             /* e */
        txn_text(t, "z", "1");
        put_text(f, NULL, far == 0 ? "g" : far == 1 ? "c" : "a", "new");
        assert_status(odb_txn_commit(t, NULL), far == 2 ? ODB_OK : ODB_CONFLICT);
        odb_iter_free(it);
        odb_txn_free(t);
    }
}

static void a_reader_never_fails_and_own_writes_are_nobody_elses(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, &serializable);

    expect_text(odb_in(t), NULL, "k", NULL);
    put_text(f, NULL, "k", "theirs");
    assert_ok(odb_txn_commit(t, NULL));
    assert_ok(odb_txn_reset(t));
    txn_text(t, "own", "1");
    expect_text(odb_in(t), NULL, "own", "1");
    expect_text(odb_now(f->db), NULL, "own", NULL);
    assert_ok(odb_txn_commit(t, NULL));
    expect_text(odb_now(f->db), NULL, "own", "1");
    odb_txn_free(t);
}

static void get_for_update_and_claims_protect_what_is_not_written(void **state)
{
    struct fixture *f = *state;
    odb_range range = {.prefix = odb_s("r/")};
    odb_txn *t = begin(f, NULL);
    odb_value v;

    put_text(f, NULL, "k", "1");
    assert_ok(odb_txn_reset(t));
    assert_ok(odb_txn_get_for_update(t, NULL, odb_s("k"), &v));
    assert_slice(odb_bytes(v.data, v.size), "1");
    odb_value_release(&v);
    txn_text(t, "other", "1");
    put_text(f, NULL, "k", "2");
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    assert_ok(odb_txn_reset(t));
    assert_status(odb_txn_get_for_update(t, NULL, odb_s("none"), &v), ODB_ABSENT);
    assert_ok(odb_txn_claim(t, NULL, &range, false));
    txn_text(t, "other", "1");
    put_text(f, NULL, "s", "outside the range");
    assert_ok(odb_txn_commit(t, NULL));
    assert_ok(odb_txn_reset(t));
    assert_ok(odb_txn_claim(t, NULL, &range, false));
    txn_text(t, "other", "1");
    put_text(f, NULL, "r/new", "inside");
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    odb_txn_free(t);
}

/* Claim two ranges that begin at the same key, then let somebody write `key`. */
static odb_status claim_twice(struct fixture *f, const odb_range *first, const odb_range *second,
                              const char *key)
{
    odb_txn *t = begin(f, NULL);
    odb_status st;

    assert_ok(odb_txn_claim(t, NULL, first, false));
    assert_ok(odb_txn_claim(t, NULL, second, false));
    put_text(f, NULL, key, "somebody else's");
    txn_text(t, "0", "mine");
    st = odb_txn_commit(t, NULL);
    odb_txn_free(t);
    return st;
}

static void of_two_claims_with_the_same_begin_the_wider_one_holds(void **state)
{
    struct fixture *f = *state;
    odb_range narrow = {.lower = odb_s("c"), .upper = odb_s("f")};
    odb_range wide = {.lower = odb_s("c"),
                      .upper = odb_s("k, and a key that is longer than the others")};
    odb_range open = {.lower = odb_s("c")}, none = {.lower = odb_s("x"), .upper = odb_s("x")};

    for (int turn = 0; turn < 2; turn++) {
        const odb_range *a = turn ? &wide : &narrow, *b = turn ? &narrow : &wide;

        assert_status(claim_twice(f, a, b, "d"), ODB_CONFLICT);
        assert_status(claim_twice(f, a, b, "f"), ODB_CONFLICT);
        assert_status(claim_twice(f, a, b, "k"), ODB_CONFLICT);
        assert_ok(claim_twice(f, a, b, "l"));
        assert_ok(claim_twice(f, a, b, "b"));
        a = turn ? &open : &narrow;
        b = turn ? &narrow : &open;
        assert_status(claim_twice(f, a, b, "z"), ODB_CONFLICT);
        assert_ok(claim_twice(f, a, b, "b"));
        a = turn ? &none : &narrow;
        b = turn ? &narrow : &none;
        assert_status(claim_twice(f, a, b, "e"), ODB_CONFLICT);
        assert_ok(claim_twice(f, a, b, "x")); /* the empty one holds nothing */
    }
}

/* Also of what the transaction itself has written. */
static void get_for_update_sees_its_own_writes(void **state)
{
    struct fixture *f = *state;

    put_text(f, NULL, "k", "theirs");
    put_text(f, NULL, "gone", "theirs");
    for (int turn = 0; turn < 2; turn++) {
        odb_txn *t = begin(f, turn ? &pessimistic : NULL);
        odb_value v;

        txn_text(t, "k", "mine");
        txn_text(t, "gone", NULL);
        assert_ok(odb_txn_get_for_update(t, NULL, odb_s("k"), &v));
        assert_slice(odb_bytes(v.data, v.size), "mine");
        odb_value_release(&v);
        assert_status(odb_txn_get_for_update(t, NULL, odb_s("gone"), &v), ODB_ABSENT);
        odb_txn_free(t);
        expect_text(odb_now(f->db), NULL, "k", "theirs");
    }
}

/* A transaction so old that thousands of commits and a flush came since. */
static void an_old_transaction_is_answered_or_told_that_it_is_too_old(void **state)
{
    struct fixture *f = *state;
    odb_txn *untouched = begin(f, NULL), *touched = begin(f, NULL), *ranged = begin(f, NULL);
    odb_status st;
    char key[32];

    txn_text(untouched, "mine", "1");
    txn_text(touched, "k/00077", "1");
    assert_ok(odb_txn_claim(ranged, NULL, NULL, false));
    txn_text(ranged, "ranged", "1");
    for (int i = 0; i < 60000; i++) {
        (void)snprintf(key, sizeof key, "k/%05d", i % 1000);
        assert_ok(odb_put(f->db, NULL, odb_s(key), odb_s("v"), NULL));
    }
    st = odb_txn_commit(touched, NULL);
    assert_true(st == ODB_CONFLICT || st == ODB_TOO_OLD);
    st = odb_txn_commit(ranged, NULL);
    assert_true(st == ODB_CONFLICT || st == ODB_TOO_OLD);
    assert_ok(odb_flush(f->db, NULL));
    st = odb_txn_commit(untouched, NULL);
    assert_true(st == ODB_OK || st == ODB_TOO_OLD);
    if (!f->is_lsm)
        assert_ok(st);
    odb_txn_free(untouched);
    odb_txn_free(touched);
    odb_txn_free(ranged);
}

static void a_transaction_may_begin_at_a_snapshot(void **state)
{
    struct fixture *f = *state;
    odb_snapshot *s;
    odb_txn_options at = {.size = sizeof at};
    odb_txn *t;

    put_text(f, NULL, "k", "1");
    assert_ok(odb_snapshot_new(f->db, &s));
    put_text(f, NULL, "k", "2");
    at.snapshot = s;
    t = begin(f, &at);
    odb_snapshot_free(s); /* the transaction has its own hold on it */
    expect_text(odb_in(t), NULL, "k", "1");
    txn_text(t, "k", "from 1");
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    assert_ok(odb_txn_reset(t)); /* at the present now */
    expect_text(odb_in(t), NULL, "k", "2");
    odb_txn_free(t);
}

/* ---- savepoints ---- */

static void savepoints_take_back_what_came_after(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, NULL);
    uint32_t one, two, three;

    put_text(f, NULL, "below", "1");
    assert_ok(odb_txn_reset(t));
    txn_text(t, "a", "1");
    assert_ok(odb_txn_save(t, &one));
    txn_text(t, "a", "2");
    txn_text(t, "b", "1");
    assert_ok(odb_txn_save(t, &two));
    txn_text(t, "a", NULL);
    txn_text(t, "below", NULL);
    expect_text(odb_in(t), NULL, "below", NULL);
    assert_ok(odb_txn_rollback_to(t, two));
    expect_text(odb_in(t), NULL, "a", "2");
    expect_text(odb_in(t), NULL, "below", "1");
    txn_text(t, "c", "1");
    assert_ok(odb_txn_rollback_to(t, two)); /* it is still there */
    expect_text(odb_in(t), NULL, "c", NULL);
    assert_ok(odb_txn_rollback_to(t, one));
    expect_text(odb_in(t), NULL, "a", "1");
    expect_text(odb_in(t), NULL, "b", NULL);
    assert_status(odb_txn_rollback_to(t, two), ODB_INVALID); /* gone with the one before */
    assert_ok(odb_txn_save(t, &three));
    assert_int_equal(three, two);
    txn_text(t, "d", "1");
    assert_ok(odb_txn_release(t, one));
    assert_status(odb_txn_release(t, three), ODB_INVALID);
    assert_ok(odb_txn_commit(t, NULL));
    expect_walk(odb_now(f->db), NULL, NULL, "a below d", "d below a");
    odb_txn_free(t);
}

/* Random puts, deletes, savepoints and rollbacks against copies of an array. */
static void savepoints_agree_with_a_copy_of_everything(void **state)
{
    enum { KEYS = 300, DEPTH = 6 };
    struct fixture *f = *state;
    static uint8_t model[DEPTH + 1][KEYS];
    uint32_t dice = 20261127, depth = 0, save;
    odb_txn *t = begin(f, NULL);

    memset(model, 0, sizeof model);
    for (int step = 0; step < 20000; step++) {
        unsigned key;
        char text[8];

        dice = dice * 1664525 + 1013904223;
        key = (dice >> 8) % KEYS;
        (void)snprintf(text, sizeof text, "%03u", key);
        if (dice >> 28 == 0 && depth < DEPTH) {
            assert_ok(odb_txn_save(t, &save));
            assert_int_equal(save, depth);
            memcpy(model[depth + 1], model[depth], KEYS);
            depth++;
        } else if (dice >> 28 == 1 && depth) {
            unsigned to = key % depth;

            assert_ok(odb_txn_rollback_to(t, to));
            depth = to + 1;
            memcpy(model[depth], model[to], KEYS);
        } else if (dice >> 28 < 6) {
            model[depth][key] = 0;
            assert_ok(odb_txn_delete(t, NULL, odb_s(text)));
        } else {
            uint8_t value = (uint8_t)(1 + step % 255);

            model[depth][key] = value;
            assert_ok(odb_txn_put(t, NULL, odb_s(text), odb_bytes(&value, 1)));
        }
        if (step % 500 == 0)
            for (unsigned i = 0; i < KEYS; i++) {
                uint8_t got = 0;
                size_t size;
                odb_status st;

                (void)snprintf(text, sizeof text, "%03u", i);
                st = odb_get_into(odb_in(t), NULL, odb_s(text), &got, 1, &size);
                assert_status(st, model[depth][i] ? ODB_OK : ODB_ABSENT);
                assert_int_equal(got, model[depth][i]);
            }
    }
    assert_ok(odb_txn_commit(t, NULL));
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t got = 0;
        size_t size;
        char text[8];

        (void)snprintf(text, sizeof text, "%03u", i);
        assert_status(odb_get_into(odb_now(f->db), NULL, odb_s(text), &got, 1, &size),
                      model[depth][i] ? ODB_OK : ODB_ABSENT);
        assert_int_equal(got, model[depth][i]);
    }
    odb_txn_free(t);
}

/* ---- locks ---- */

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

/* ---- two phases ---- */

static void a_prepared_transaction_keeps_its_keys_until_it_is_resolved(void **state)
{
    struct fixture *f = *state;
    odb_range range = {.prefix = odb_s("r/")};
    odb_txn *t = begin(f, NULL), *other;
    odb_names names;

    put_text(f, NULL, "k", "old");
    assert_ok(odb_txn_reset(t));
    txn_text(t, "k", "new");
    assert_ok(odb_txn_claim(t, NULL, &range, false));
    assert_ok(odb_txn_prepare(t, "transfer 1", NULL));
    assert_status(odb_txn_put(t, NULL, odb_s("late"), odb_s("x")), ODB_INVALID);
    assert_status(odb_txn_prepare(t, "again", NULL), ODB_INVALID);
    assert_status(odb_txn_reset(t), ODB_INVALID);
    expect_text(odb_in(t), NULL, "k", "new");
    expect_text(odb_now(f->db), NULL, "k", "old");
    assert_status(odb_put(f->db, NULL, odb_s("k"), odb_s("x"), NULL), ODB_CONFLICT);
    assert_status(odb_delete(f->db, NULL, odb_s("r/1"), NULL), ODB_CONFLICT);
    put_text(f, NULL, "s", "free");
    other = begin(f, NULL);
    txn_text(other, "k", "x");
    assert_status(odb_txn_commit(other, NULL), ODB_CONFLICT);
    assert_ok(odb_txn_reset(other));
    txn_text(other, "o", "x");
    assert_status(odb_txn_prepare(other, "transfer 1", NULL), ODB_EXISTS);
    assert_ok(odb_txn_commit(other, NULL)); /* as it was */
    assert_ok(odb_txn_list_prepared(f->db, &names));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.name[0], "transfer 1");
    odb_names_release(&names);
    assert_ok(odb_txn_commit(t, NULL));
    expect_text(odb_now(f->db), NULL, "k", "new");
    put_text(f, NULL, "k", "free again");
    put_text(f, NULL, "r/1", "free again");
    assert_ok(odb_txn_list_prepared(f->db, &names));
    assert_int_equal(names.count, 0);
    odb_names_release(&names);
    odb_txn_free(t);
    odb_txn_free(other);
}

static void a_prepared_transaction_survives_its_handle_and_the_database_handle(void **state)
{
    struct fixture *f = *state;
    odb_range low = {.prefix = odb_s("l/")}, high = {.lower = odb_s("x"), .upper = odb_s("y")};
    odb_txn *t = begin(f, &serializable), *again;
    odb_names names;

    expect_text(odb_in(t), NULL, "read", NULL);
    assert_ok(odb_txn_claim(t, NULL, &high, true));
    assert_ok(odb_txn_claim(t, NULL, &low, true));
    txn_text(t, "a", "1");
    txn_text(t, "b", NULL);
    assert_ok(odb_txn_prepare(t, "p", NULL));
    assert_status(odb_txn_recover(f->db, "p", &again), ODB_BUSY);
    odb_txn_free(t);
    fixture_reopen(f);
    assert_ok(odb_txn_list_prepared(f->db, &names));
    assert_int_equal(names.count, 1);
    odb_names_release(&names);
    assert_status(odb_put(f->db, NULL, odb_s("a"), odb_s("x"), NULL), ODB_CONFLICT);
    assert_status(odb_put(f->db, NULL, odb_s("read"), odb_s("x"), NULL), ODB_CONFLICT);
    assert_status(odb_put(f->db, NULL, odb_s("l/1"), odb_s("x"), NULL), ODB_CONFLICT);
    assert_status(odb_put(f->db, NULL, odb_s("xx"), odb_s("x"), NULL), ODB_CONFLICT);
    put_text(f, NULL, "y", "between and behind the ranges is free");
    assert_ok(odb_cf_list(f->db, &names)); /* the library's family is not shown */
    assert_int_equal(names.count, 7);
    odb_names_release(&names);
    assert_status(odb_txn_recover(f->db, "other", &again), ODB_ABSENT);
    assert_ok(odb_txn_recover(f->db, "p", &again));
    expect_text(odb_in(again), NULL, "a", "1");
    expect_text(odb_now(f->db), NULL, "a", NULL);
    assert_ok(odb_txn_commit(again, NULL));
    odb_txn_free(again);
    fixture_reopen(f);
    expect_text(odb_now(f->db), NULL, "a", "1");
    assert_status(odb_txn_recover(f->db, "p", &again), ODB_ABSENT);
    put_text(f, NULL, "a", "2");
}

/* A row of the library's family, as nobody but damage would write it: by its number, in a batch of bytes. */
static void write_prepared_row(struct fixture *f, odb_slice name, odb_slice row)
{
    uint8_t bytes[256], *p = bytes;
    odb_batch *b;

    *p++ = 2; /* a put */
    *p++ = 7; /* the first family behind the seven */
    if (name.size > 127)
        *p++ = (uint8_t)(name.size | 0x80);
    *p++ = (uint8_t)(name.size > 127 ? name.size >> 7 : name.size);
    *p++ = (uint8_t)row.size;
    memcpy(p, name.data, name.size);
    p += name.size;
    if (row.size)
        memcpy(p, row.data, row.size);
    p += row.size;
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_batch_set_bytes(b, odb_bytes(bytes, (size_t)(p - bytes))));
    assert_ok(odb_commit(f->db, b, NULL));
    odb_batch_free(b);
}

static void a_damaged_row_of_a_prepared_transaction_is_told_at_open(void **state)
{
    static const struct {
        const char *says; /* NULL: nothing is wrong with it */
        const char *name;
        size_t name_len, row_len;
        uint8_t row[16];
    } lie[] = {
        {NULL, "p", 1, 2, {1, 0}},
        {NULL, "p", 1, 7, {1, 0, 2, 0, 1, 0, 'q'}},
        {NULL, "p", 1, 12, {1, 2, 3, 0, 1, 'b', 1, 'c', 1, 0, 1, 'c'}},
        {"empty, or of another version", "p", 1, 0, {0}},
        {"another version", "p", 1, 2, {2, 0}},
        {"number of its claims", "p", 1, 1, {1}},
        {"number of its claims", "p", 1, 5, {1, 2, 0, 0, 0}},
        {"a claim", "p", 1, 5, {1, 1, 4, 0, 0}},          /* a flag nobody knows */
        {"a claim", "p", 1, 6, {1, 1, 2, 0, 0, 0}},       /* a key with an upper bound */
        {"a claim", "p", 1, 5, {1, 1, 1, 0, 9}},          /* longer than the row */
        {"a claim", "p", 1, 8, {1, 2, 1, 0, 0, 0, 0, 0}}, /* a key behind a range */
        {"a claim", "p", 1, 12, {1, 2, 3, 0, 1, 'c', 1, 'd', 1, 0, 1, 'b'}}, /* not rising */
        {"a claim", "p", 1, 10, {1, 2, 1, 0, 1, 'c', 1, 0, 1, 'd'}}, /* behind one without end */
        {"a claim", "p", 1, 10, {1, 2, 1, 1, 1, 'c', 1, 0, 1, 'd'}}, /* families not rising */
        {"an operation", "p", 1, 3, {1, 0, 9}},
        {"an operation", "p", 1, 6, {1, 0, 2, 0, 9, 0}},
        {"its name", "", 0, 2, {1, 0}},
        {"its name", "a\0b", 3, 2, {1, 0}},
        {"its name",
         "a name of a hundred and twenty-nine bytes, which is one more than a prepared transaction "
         "may have: so nobody can have prepared it.",
         129,
         2,
         {1, 0}},
    };
    struct fixture *f = *state;
    odb_options o = fixture_options();

    if (!f->is_lsm)
        return;
    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        void *own = NULL;
        struct fixture *g;
        odb_names names;
        odb_status st;
        odb_txn *t;

        fixture_lsm(&own);
        g = own;
        t = begin(g, NULL);
        txn_text(t, "k", "v");
        assert_ok(odb_txn_prepare(t, "first", NULL)); /* which makes the family */
        assert_ok(odb_txn_rollback(t));
        odb_txn_free(t);
        put_text(g, NULL, "k", "before");
        write_prepared_row(g, odb_bytes(lie[i].name, lie[i].name_len),
                           odb_bytes(lie[i].row, lie[i].row_len));
        assert_ok(odb_close(g->db));
        g->db = NULL;
        st = odb_open(g->dir, &o, &g->db);
        if (st != (lie[i].says ? ODB_CORRUPT : ODB_OK) ||
            (lie[i].says && !strstr(odb_error_text(), lie[i].says)))
            fail_msg("row %zu: %s: %s", i, odb_status_name(st), odb_error_text());
        if (st == ODB_OK) {
            assert_ok(odb_txn_list_prepared(g->db, &names));
            assert_int_equal(names.count, 1);
            odb_names_release(&names);
            expect_text(odb_now(g->db), NULL, "k", "before");
        }
        fixture_close(&own);
    }
}

/* Read-only nothing can be held, and nobody can write it: what was prepared is seen all the same. */
static void what_was_prepared_is_listed_read_only(void **state)
{
    struct fixture *f = *state;
    odb_options o = fixture_options();
    odb_txn *t = begin(f, NULL), *again;
    odb_names names;

    if (!f->is_lsm) {
        odb_txn_free(t);
        return;
    }
    txn_text(t, "a", "1");
    assert_ok(odb_txn_prepare(t, "p", NULL));
    odb_txn_free(t);
    assert_ok(odb_close(f->db));
    o.is_readonly = true;
    assert_ok(odb_open(f->dir, &o, &f->db));
    assert_ok(odb_txn_list_prepared(f->db, &names));
    assert_int_equal(names.count, 1);
    assert_string_equal(names.name[0], "p");
    odb_names_release(&names);
    assert_ok(odb_txn_recover(f->db, "p", &again));
    expect_text(odb_in(again), NULL, "a", "1");
    assert_status(odb_txn_commit(again, NULL), ODB_READONLY);
    expect_text(odb_in(again), NULL, "a", "1"); /* it is as it was */
    odb_txn_free(again);
    assert_ok(odb_close(f->db));
    assert_ok(odb_open(f->dir, NULL, &f->db));
    assert_ok(odb_txn_recover(f->db, "p", &again));
    assert_ok(odb_txn_commit(again, NULL));
    odb_txn_free(again);
    expect_text(odb_now(f->db), NULL, "a", "1");
}

static void a_prepared_transaction_can_be_rolled_back(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, &pessimistic);

    txn_text(t, "a", "1");
    assert_ok(odb_txn_prepare(t, "p", NULL));
    assert_ok(odb_txn_rollback(t));
    assert_ok(odb_txn_rollback(t)); /* ended: nothing to do */
    odb_txn_free(t);
    expect_text(odb_now(f->db), NULL, "a", NULL);
    put_text(f, NULL, "a", "2");
    fixture_reopen(f);
    assert_status(odb_txn_recover(f->db, "p", &t), ODB_ABSENT);
}

/* Each way in which the second would keep the first from committing, or the other way round. */
static void two_prepared_transactions_never_meet(void **state)
{
    static const struct {
        const char *first_put, *first_read, *first_range;
        const char *then_put, *then_read, *then_range;
        bool meets;
    } c[] = {
        {"a", NULL, NULL, "a", NULL, NULL, true},   {"a", "r", NULL, "r", NULL, NULL, true},
        {"a", NULL, NULL, "b", "a", NULL, true},    {"r/2", NULL, NULL, "b", NULL, "r/", true},
        {"a", NULL, "r/", "r/2", NULL, NULL, true}, {"a", "r", NULL, "b", "r", NULL, false},
        {"a", NULL, "r/", "b", NULL, "r/", false},  {"a", "r", "s/", "b", "t", "r/", false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        odb_range first = {.prefix = odb_s(c[i].first_range ? c[i].first_range : "none")};
        odb_range then = {.prefix = odb_s(c[i].then_range ? c[i].then_range : "nothing")};
        odb_txn *t = begin(f, NULL), *other = begin(f, NULL);
        odb_value v;

        txn_text(t, c[i].first_put, "1");
        if (c[i].first_read)
            assert_status(odb_txn_get_for_update(t, NULL, odb_s(c[i].first_read), &v), ODB_ABSENT);
        assert_ok(odb_txn_claim(t, NULL, &first, false));
        txn_text(other, c[i].then_put, "2");
        if (c[i].then_read)
            assert_status(odb_txn_get_for_update(other, NULL, odb_s(c[i].then_read), &v),
                          ODB_ABSENT);
        assert_ok(odb_txn_claim(other, NULL, &then, false));
        assert_ok(odb_txn_prepare(t, "first", NULL));
        assert_status(odb_txn_prepare(other, "second", NULL), c[i].meets ? ODB_CONFLICT : ODB_OK);
        odb_txn_free(t);
        odb_txn_free(other);
        fixture_reopen(f); /* and what was prepared can be committed, also later */
        assert_ok(odb_txn_recover(f->db, "first", &t));
        assert_ok(odb_txn_commit(t, NULL));
        odb_txn_free(t);
        expect_text(odb_now(f->db), NULL, c[i].first_put, "1");
        if (!c[i].meets) {
            assert_ok(odb_txn_recover(f->db, "second", &other));
            assert_ok(odb_txn_commit(other, NULL));
            odb_txn_free(other);
            expect_text(odb_now(f->db), NULL, c[i].then_put, "2");
        }
        assert_ok(odb_delete(f->db, NULL, odb_s(c[i].first_put), NULL));
        assert_ok(odb_delete(f->db, NULL, odb_s(c[i].then_put), NULL));
    }
}

#define PREPARERS 4

struct preparer {
    odb_db *db;
    uint32_t no;
    unsigned committed, wrong;
    pthread_t thread;
};

/* What was prepared must be committed; a plain put in between must not be the reason why not. */
static void *prepare_and_commit(void *arg)
{
    struct preparer *p = arg;
    odb_write os = {.durability = ODB_DURABLE_OS};
    char name[32], key[8];

    for (uint32_t i = 0; i < 200; i++) {
        odb_txn *t;
        odb_status st = odb_txn_begin(p->db, NULL, &t);

        if (st != ODB_OK) {
            p->wrong++;
            continue;
        }
        (void)snprintf(name, sizeof name, "%u/%u", (unsigned)p->no, (unsigned)i);
        for (uint32_t k = 0; st == ODB_OK && k < 2; k++) {
            (void)snprintf(key, sizeof key, "k%u", (unsigned)(i * (p->no + 2) + k) % 6);
            st = odb_txn_put(t, NULL, odb_s(key), odb_s(name));
        }
        if (st == ODB_OK)
            st = odb_txn_prepare(t, name, &os);
        if (st == ODB_OK) {
            st = odb_txn_commit(t, &os);
            p->committed += st == ODB_OK;
            p->wrong += st != ODB_OK;
        } else {
            p->wrong += !odb_txn_should_retry(st);
        }
        odb_txn_free(t);
        st = odb_put(p->db, NULL, odb_s(key), odb_s("plain"), NULL);
        p->wrong += st != ODB_OK && st != ODB_CONFLICT;
    }
    return NULL;
}

static void whoever_prepares_commits_also_beside_others(void **state)
{
    struct fixture *f = *state;
    struct preparer p[PREPARERS];
    odb_names names;

    for (uint32_t i = 0; i < PREPARERS; i++) {
        p[i] = (struct preparer){.db = f->db, .no = i};
        assert_int_equal(pthread_create(&p[i].thread, NULL, prepare_and_commit, &p[i]), 0);
    }
    for (uint32_t i = 0; i < PREPARERS; i++)
        assert_int_equal(pthread_join(p[i].thread, NULL), 0);
    for (uint32_t i = 0; i < PREPARERS; i++) {
        assert_int_equal(p[i].wrong, 0);
        assert_true(p[i].committed > 0);
    }
    assert_ok(odb_txn_list_prepared(f->db, &names));
    assert_int_equal(names.count, 0);
    odb_names_release(&names);
}

static void a_prepare_that_conflicts_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    odb_txn *t = begin(f, &serializable);
    odb_names names;

    expect_text(odb_in(t), NULL, "r", NULL);
    txn_text(t, "w", "1");
    put_text(f, NULL, "r", "x");
    assert_status(odb_txn_prepare(t, "p", NULL), ODB_CONFLICT);
    assert_status(odb_txn_commit(t, NULL), ODB_INVALID);
    put_text(f, NULL, "w", "x");
    assert_ok(odb_txn_list_prepared(f->db, &names));
    assert_int_equal(names.count, 0);
    odb_names_release(&names);
    odb_txn_free(t);
}

/* ---- bad uses ---- */

static void every_bad_use_has_an_answer(void **state)
{
    struct fixture *f = *state;
    odb_txn_options bad = {.size = 0}, at = {.size = sizeof at};
    odb_backend backend;
    odb_db *foreign;
    odb_snapshot *s;
    odb_cf *cf, *gone;
    odb_txn *t, *p;
    odb_iter *it;
    odb_value v;
    uint32_t save;
    uint64_t n;

    assert_ok(odb_backend_memory(&backend));
    assert_ok(odb_open_backend(backend, &foreign));
    assert_ok(odb_cf_open(foreign, "records", &cf));
    assert_ok(odb_snapshot_new(foreign, &s));
    assert_status(odb_txn_begin(NULL, NULL, &t), ODB_INVALID);
    assert_status(odb_txn_begin(f->db, NULL, NULL), ODB_INVALID);
    assert_status(odb_txn_begin(f->db, &bad, &t), ODB_INVALID);
    at.snapshot = s;
    assert_status(odb_txn_begin(f->db, &at, &t), ODB_INVALID);
    at = (odb_txn_options){.size = sizeof at, .isolation = (odb_isolation)7};
    assert_status(odb_txn_begin(f->db, &at, &t), ODB_INVALID);

    t = begin(f, &serializable);
    assert_ok(odb_cf_create(f->db, "gone", NULL, &gone));
    assert_ok(odb_txn_put(t, gone, odb_s("k"), odb_s("v")));
    assert_ok(odb_cf_drop(f->db, gone));
    assert_status(odb_txn_put(t, gone, odb_s("k"), odb_s("v")), ODB_NO_FAMILY);
    assert_status(odb_txn_put(t, cf, odb_s("k"), odb_s("v")), ODB_INVALID);
    assert_status(odb_txn_get_for_update(t, cf, odb_s("k"), &v), ODB_INVALID);
    assert_status(odb_txn_get_for_update(t, NULL, odb_s("k"), NULL), ODB_INVALID);
    assert_status(odb_txn_put(t, NULL, odb_bytes(NULL, 3), odb_s("v")), ODB_INVALID);
    assert_status(odb_txn_claim(t, cf, NULL, true), ODB_INVALID);
    assert_status(odb_txn_save(t, NULL), ODB_INVALID);
    assert_status(odb_txn_rollback_to(t, 0), ODB_INVALID);
    assert_status(odb_txn_prepare(t, NULL, NULL), ODB_INVALID);
    assert_status(odb_txn_prepare(t, "", NULL), ODB_INVALID);
    assert_status(odb_txn_prepare(t, "a\nb", NULL), ODB_INVALID);
    assert_status(odb_txn_commit(t, NULL), ODB_NO_FAMILY);

    assert_ok(odb_txn_reset(t));
    txn_text(t, "own", "1");
    assert_ok(odb_iter_new(odb_in(t), NULL, NULL, &it));
    assert_true(odb_iter_first(it));
    assert_ok(odb_txn_commit(t, NULL));
    assert_slice(odb_iter_key(it), "own"); /* it outlives the transaction */
    assert_false(odb_iter_next(it));
    assert_true(odb_iter_first(it));
    assert_status(odb_txn_commit(t, NULL), ODB_INVALID); /* twice */
    assert_status(odb_txn_put(t, NULL, odb_s("k"), odb_s("v")), ODB_INVALID);
    assert_status(odb_txn_delete(t, NULL, odb_s("k")), ODB_INVALID);
    assert_status(odb_txn_get_for_update(t, NULL, odb_s("k"), &v), ODB_INVALID);
    assert_status(odb_txn_claim(t, NULL, NULL, true), ODB_INVALID);
    assert_status(odb_txn_save(t, &save), ODB_INVALID);
    assert_status(odb_txn_release(t, 0), ODB_INVALID);
    assert_status(odb_txn_prepare(t, "p", NULL), ODB_INVALID);
    assert_status(odb_get(odb_in(t), NULL, odb_s("k"), &v), ODB_INVALID);
    assert_status(odb_sequence(odb_in(t), &n), ODB_INVALID);
    assert_ok(odb_txn_rollback(t));
    odb_txn_free(t);
    assert_true(odb_iter_last(it)); /* also its freeing */
    odb_iter_free(it);

    assert_status(odb_txn_commit(NULL, NULL), ODB_INVALID);
    assert_status(odb_txn_reset(NULL), ODB_INVALID);
    assert_ok(odb_txn_rollback(NULL));
    odb_txn_free(NULL);
    assert_status(odb_txn_run(f->db, NULL, NULL, NULL, NULL), ODB_INVALID);
    assert_status(odb_txn_recover(f->db, NULL, &p), ODB_INVALID);
    assert_status(odb_txn_list_prepared(f->db, NULL), ODB_INVALID);
    assert_status(odb_cf_create(f->db, "opendb.prepared", NULL, &gone), ODB_INVALID);
    odb_snapshot_free(s);
    assert_ok(odb_close(foreign));
}

static void a_transaction_larger_than_its_limit_is_refused_and_goes_on(void **state)
{
    struct fixture *f = *state;
    odb_txn_options small = {
        .size = sizeof small, .isolation = ODB_SERIALIZABLE, .max_bytes = 4096};
    odb_txn *t = begin(f, &small);
    char key[16], value[512] = "";
    int n = 0;
    odb_status st = ODB_OK;

    for (; st == ODB_OK && n < 100; n++) {
        (void)snprintf(key, sizeof key, "k%d", n);
        st = odb_txn_put(t, NULL, odb_s(key), odb_bytes(value, sizeof value));
    }
    assert_status(st, ODB_TOO_LARGE);
    assert_true(n > 4 && n < 9);
    assert_status(odb_exists(odb_in(t), NULL, odb_bytes(value, 500)), ODB_TOO_LARGE); /* a claim */
    assert_ok(odb_txn_commit(t, NULL));
    expect_text(odb_now(f->db), NULL, key, NULL);
    assert_ok(odb_exists(odb_now(f->db), NULL, odb_s("k0")));
    odb_txn_free(t);
}

static void large_transactions_keep_their_order(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 20000 };
    odb_txn *t = begin(f, NULL);
    odb_iter *it;
    char key[16];
    int n = 0;

    for (uint32_t i = 0; i < COUNT; i++) { /* a permutation: 7919 is prime to COUNT */
        (void)snprintf(key, sizeof key, "%06u", (unsigned)(i * 7919u % COUNT));
        txn_text(t, key, "v");
    }
    assert_ok(odb_iter_new(odb_in(t), NULL, NULL, &it));
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it), n++) {
        (void)snprintf(key, sizeof key, "%06d", n);
        assert_slice(odb_iter_key(it), key);
    }
    assert_int_equal(n, COUNT);
    odb_iter_free(it);
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
}

/* ---- snapshots ---- */

struct seen {
    int count;
    char names[128];
    uint64_t newest;
};

static bool seen_note(void *arg, const odb_snapshot_info *info)
{
    struct seen *s = arg;

    (void)snprintf(s->names + strlen(s->names), sizeof s->names - strlen(s->names), "%s(%u) ",
                   info->name, info->handles);
    if (s->count++ == 0)
        s->newest = info->sequence;
    return true;
}

static void snapshots_have_names_and_are_listed(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0}, none = {0};
    odb_stats_t stats = {.size = sizeof stats};
    odb_snapshot *a, *b, *again;
    uint64_t n;

    put_text(f, NULL, "k", "1");
    assert_ok(odb_snapshot_new(f->db, &a));
    assert_ok(odb_snapshot_set_name(a, "backup"));
    put_text(f, NULL, "k", "2");
    assert_ok(odb_snapshot_new(f->db, &b));
    assert_status(odb_snapshot_set_name(b, "backup"), ODB_EXISTS);
    assert_status(odb_snapshot_set_name(b, ""), ODB_INVALID);
    assert_ok(odb_snapshot_find(f->db, "backup", &again));
    assert_status(odb_snapshot_find(f->db, "other", &b), ODB_ABSENT);
    expect_text(odb_asof(again), NULL, "k", "1");
    assert_ok(odb_snapshot_each(f->db, seen_note, &seen));
    assert_string_equal(seen.names, "(1) backup(2) ");
    assert_ok(odb_sequence(odb_asof(b), &n));
    assert_int_equal(seen.newest, n);
    (void)usleep(20000);
    assert_ok(odb_stats(f->db, NULL, &stats));
    assert_int_equal(stats.snapshots, 2);
    assert_true(stats.oldest_snapshot_age_ms >= 15);
    odb_snapshot_free(a);
    expect_text(odb_asof(again), NULL, "k", "1"); /* the other handle holds it */
    odb_snapshot_free(again);
    assert_status(odb_snapshot_find(f->db, "backup", &again), ODB_ABSENT);
    odb_snapshot_free(b);
    assert_ok(odb_snapshot_each(f->db, seen_note, &none));
    assert_int_equal(none.count, 0);
    assert_status(odb_snapshot_each(f->db, NULL, NULL), ODB_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(P12_write_skew_passes_a_snapshot_and_no_more),
        BOTH(P12_a_key_that_was_not_there_counts_as_read),
        BOTH(P12_phantoms_are_noticed_where_it_was_walked_and_only_there),
        BOTH(P12_turning_round_keeps_the_whole_span),
        BOTH(a_reader_never_fails_and_own_writes_are_nobody_elses),
        BOTH(get_for_update_and_claims_protect_what_is_not_written),
        BOTH(get_for_update_sees_its_own_writes),
        BOTH(an_old_transaction_is_answered_or_told_that_it_is_too_old),
        BOTH(a_transaction_may_begin_at_a_snapshot),
        BOTH(savepoints_take_back_what_came_after),
        BOTH(savepoints_agree_with_a_copy_of_everything),
        BOTH(a_lock_keeps_others_out_until_the_end),
        BOTH(shared_locks_go_together_and_rise_alone),
        BOTH(who_writes_past_a_lock_is_noticed),
        BOTH(the_youngest_of_a_circle_loses),
        BOTH(two_who_share_and_both_want_more_do_not_wait_for_ever),
        BOTH(a_counter_counts_everyone),
        BOTH(a_prepared_transaction_keeps_its_keys_until_it_is_resolved),
        BOTH(a_prepared_transaction_survives_its_handle_and_the_database_handle),
        BOTH(a_prepared_transaction_can_be_rolled_back),
        {"a_damaged_row_of_a_prepared_transaction_is_told_at_open",
         a_damaged_row_of_a_prepared_transaction_is_told_at_open, fixture_lsm, fixture_close, NULL},
        {"what_was_prepared_is_listed_read_only", what_was_prepared_is_listed_read_only,
         fixture_lsm, fixture_close, NULL},
        BOTH(of_two_claims_with_the_same_begin_the_wider_one_holds),
        BOTH(two_prepared_transactions_never_meet),
        BOTH(whoever_prepares_commits_also_beside_others),
        BOTH(a_prepare_that_conflicts_leaves_nothing),
        BOTH(every_bad_use_has_an_answer),
        BOTH(a_transaction_larger_than_its_limit_is_refused_and_goes_on),
        BOTH(large_transactions_keep_their_order),
        BOTH(snapshots_have_names_and_are_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
