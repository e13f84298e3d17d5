/* What a commit depends on: what a transaction read, walked over or claimed and somebody else wrote since, and
 * nothing but that. Over both backends. */
#include "tests/api/txn_fixture.h"

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

/* A refused refresh leaves an iterator nowhere, which is no walk to the end: what it stood on was read, no more. */
static odb_status conflict_behind_a_refused_refresh(struct fixture *f, const char *written)
{
    odb_txn *t = begin(f, &serializable);
    odb_iter *it;
    odb_status st;

    assert_ok(odb_iter_new(odb_in(t), NULL, NULL, &it));
    assert_true(odb_iter_seek(it, odb_s("b"))); /* c */
    assert_status(odb_iter_refresh(it, odb_now(f->db)), ODB_UNSUPPORTED);
    assert_false(odb_iter_valid(it));
    txn_text(t, "other", "1");
    put_text(f, NULL, written, "2");
    st = odb_txn_commit(t, NULL);
    odb_iter_free(it);
    odb_txn_free(t);
    return st;
}

static void a_refused_refresh_is_no_walk_to_the_end(void **state)
{
    struct fixture *f = *state;

    put_text(f, NULL, "c", "1");
    put_text(f, NULL, "e", "1");
    assert_ok(conflict_behind_a_refused_refresh(f, "e"));
    assert_ok(conflict_behind_a_refused_refresh(f, "a"));
    assert_status(conflict_behind_a_refused_refresh(f, "c"), ODB_CONFLICT);
    assert_status(conflict_behind_a_refused_refresh(f, "bb"), ODB_CONFLICT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(P12_write_skew_passes_a_snapshot_and_no_more),
        BOTH(P12_a_key_that_was_not_there_counts_as_read),
        BOTH(P12_phantoms_are_noticed_where_it_was_walked_and_only_there),
        BOTH(P12_turning_round_keeps_the_whole_span),
        BOTH(a_refused_refresh_is_no_walk_to_the_end),
        BOTH(a_reader_never_fails_and_own_writes_are_nobody_elses),
        BOTH(get_for_update_and_claims_protect_what_is_not_written),
        BOTH(get_for_update_sees_its_own_writes),
        BOTH(an_old_transaction_is_answered_or_told_that_it_is_too_old),
        BOTH(of_two_claims_with_the_same_begin_the_wider_one_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
