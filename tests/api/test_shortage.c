/* Running out of memory: the Nth request fails, for every N until none is left to fail. Every call
 * gives a status, nothing leaks, and what was acknowledged is there (P16). */
#include "tests/api/fixture.h"
#include "tests/lib/test_alloc.h"

static void see_nothing(void *arg, const odb_commit_info *commit)
{
    (void)arg;
    (void)commit;
}

/* A program that uses most of the interface; `db` is open. The first failure ends it. */
static odb_status use_everything(odb_db *db, bool *was_put)
{
    odb_range range = {.prefix = odb_s("k")}, nothing = {.lower = odb_s("b"), .upper = odb_s("a")};
    static int attached;
    odb_slice keys[40]; /* more than are looked up on the stack */
    odb_batch *b = NULL;
    odb_snapshot *s = NULL;
    odb_iter *it = NULL, *mine = NULL, *none = NULL;
    odb_txn *t = NULL;
    odb_status each[40], st;
    odb_names names;
    odb_value v[40];
    uint64_t since;

    for (int i = 0; i < 40; i++)
        keys[i] = i ? odb_s("none") : odb_s("k");
    st = odb_put(db, NULL, odb_s("k"), odb_s("v"), NULL);
    *was_put = st == ODB_OK;
    if (st == ODB_OK)
        st = odb_attach(db, "something", &attached, NULL);
    if (st == ODB_OK)
        st = odb_observe(db, see_nothing, NULL, &since);
    if (st == ODB_OK)
        st = odb_cf_list(db, &names);
    if (st == ODB_OK)
        odb_names_release(&names);
    if (st == ODB_OK)
        st = odb_batch_new(&b);
    for (int i = 0; st == ODB_OK && i < 20; i++)
        st = odb_batch_put(b, NULL, odb_s("kb"), odb_s("a value of some length"));
    if (st == ODB_OK)
        st = odb_commit(db, b, NULL);
    if (st == ODB_OK)
        st = odb_snapshot_new(db, &s);
    if (st == ODB_OK)
        st = odb_multiget(odb_asof(s), NULL, keys, 40, v, each);
    if (st == ODB_OK)
        odb_value_release(&v[0]);
    if (st == ODB_OK)
        st = odb_iter_new(odb_asof(s), NULL, &range, &it);
    if (st == ODB_OK) {
        for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it))
            continue;
        st = odb_iter_status(it);
    }
    if (st == ODB_OK)
        st = odb_iter_refresh(it, odb_now(db));
    if (st == ODB_OK)
        st = odb_iter_new(odb_now(db), NULL, &nothing, &none);
    if (st == ODB_OK && odb_iter_first(none))
        st = ODB_CORRUPT;
    if (st == ODB_OK)
        st = odb_verify(db, NULL, NULL);
    if (st == ODB_OK && (st = odb_txn_begin(db, NULL, &t)) == ODB_OK) {
        st = odb_txn_put(t, NULL, odb_s("kt"), odb_s("t"));
        if (st == ODB_OK)
            st = odb_iter_new(odb_in(t), NULL, &range, &mine);
        if (st == ODB_OK && odb_iter_last(mine))
            st = odb_iter_prev(mine) ? ODB_OK : odb_iter_status(mine);
        if (st == ODB_OK)
            st = odb_get(odb_in(t), NULL, odb_s("kt"), &v[0]);
        if (st == ODB_OK)
            odb_value_release(&v[0]);
        if (st == ODB_OK)
            st = odb_txn_commit(t, NULL);
    }
    if (st == ODB_UNSUPPORTED)
        st = ODB_OK;
    odb_iter_free(none);
    odb_iter_free(mine);
    odb_iter_free(it);
    odb_txn_free(t);
    odb_snapshot_free(s);
    odb_batch_free(b);
    return st;
}

/* The same for what transactions can do. */
static odb_status use_transactions(odb_db *db)
{
    odb_txn_options all = {.size = sizeof all, .isolation = ODB_SERIALIZABLE};
    odb_txn_options locks = {.size = sizeof locks, .is_pessimistic = true};
    odb_range range = {.prefix = odb_s("k")};
    odb_snapshot *s = NULL, *again = NULL;
    odb_txn *t = NULL, *l = NULL, *p = NULL;
    odb_iter *it = NULL;
    odb_names names = {NULL, 0};
    odb_value v = {NULL, 0, NULL, {NULL, NULL, NULL}};
    uint32_t save;
    odb_status st = odb_snapshot_new(db, &s);

    if (st == ODB_OK)
        st = odb_snapshot_set_name(s, "named");
    if (st == ODB_OK)
        st = odb_snapshot_find(db, "named", &again);
    all.snapshot = again;
    if (st == ODB_OK)
        st = odb_txn_begin(db, &all, &t);
    if (st == ODB_OK)
        st = odb_iter_new(odb_in(t), NULL, &range, &it);
    if (st == ODB_OK) {
        (void)(odb_iter_first(it) && odb_iter_next(it) && odb_iter_prev(it));
        (void)odb_iter_seek(it, odb_s("kz"));
        st = odb_iter_status(it);
    }
    if (st == ODB_OK)
        st = odb_exists(odb_in(t), NULL, odb_s("nothing"));
    if (st == ODB_ABSENT)
        st = odb_txn_save(t, &save);
    for (int i = 0; i < 300 && st == ODB_OK; i++) { /* more than one chunk of keys */
        char key[8];

        (void)snprintf(key, sizeof key, "w%d", i * 7 % 300);
        st = odb_txn_put(t, NULL, odb_s(key), odb_s("v"));
    }
    if (st == ODB_OK)
        st = odb_txn_rollback_to(t, save);
    for (int i = 0; i < 20 && st == ODB_OK; i++)
        st = odb_txn_put(t, NULL, odb_bytes(&"abcdefghijklmnopqrst"[i], 1), odb_s("v"));
    if (st == ODB_OK)
        st = odb_txn_prepare(t, "p", NULL);
    if (st == ODB_OK) {
        odb_txn_free(t);
        t = NULL;
        st = odb_txn_list_prepared(db, &names);
    }
    if (st == ODB_OK)
        st = odb_txn_recover(db, "p", &p);
    if (st == ODB_OK)
        st = odb_txn_commit(p, NULL);
    if (st == ODB_OK)
        st = odb_txn_begin(db, &locks, &l);
    if (st == ODB_OK)
        st = odb_txn_get_for_update(l, NULL, odb_s("a"), &v);
    if (st == ODB_OK)
        st = odb_txn_claim(l, NULL, &range, false);
    if (st == ODB_OK)
        st = odb_txn_put(l, NULL, odb_s("a"), odb_s("w"));
    if (st == ODB_OK)
        st = odb_txn_commit(l, NULL);
    odb_value_release(&v);
    odb_names_release(&names);
    odb_iter_free(it);
    odb_txn_free(t);
    odb_txn_free(p);
    odb_txn_free(l);
    odb_snapshot_free(again);
    odb_snapshot_free(s);
    return st;
}

static void P16_every_failed_request_is_a_status_and_no_leak(void **state)
{
    odb_status st = ODB_NOMEM;
    long n, failed;

    (void)state;
    for (n = 0; n < 10000; n++) {
        odb_backend backend = {NULL, NULL};
        odb_db *db = NULL;
        bool was_put = false;
        long alive = test_alloc_alive();

        test_alloc_fail(n, 0);
        st = odb_backend_memory(&backend);
        if (st == ODB_OK && (st = odb_open_backend(backend, &db)) != ODB_OK)
            assert_ok(backend.ops->close(backend.self));
        if (st == ODB_OK)
            st = use_everything(db, &was_put);
        if (st == ODB_OK)
            st = use_transactions(db);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        if (db)
            expect_text(odb_now(db), NULL, "k", was_put ? "v" : NULL);
        assert_ok(odb_close(db));
        assert_int_equal(test_alloc_alive(), alive);
        if (st != ODB_OK)
            assert_status(st, ODB_NOMEM);
        if (!failed)
            break;
    }
    assert_ok(st);
    assert_in_range(n, 100, 9999);
}

/* What there is to be opened: a table, and a log to be replayed behind it. */
static void make_something_to_open(const char *dir, const odb_options *o)
{
    odb_db *db;

    assert_ok(odb_open(dir, o, &db));
    assert_ok(odb_put(db, NULL, odb_s("k"), odb_s("old"), NULL));
    assert_ok(odb_flush(db, NULL));
    assert_ok(odb_put(db, NULL, odb_s("kz"), odb_s("old"), NULL));
    assert_ok(odb_close(db));
}

/* One run, with request `n` failing; *failed: there was such a request. */
static odb_status open_and_use_without_memory(bool is_new, long n, long *failed)
{
    odb_options o = fixture_options();
    bool was_put = false;
    odb_db *db = NULL;
    odb_status st;
    char dir[64];
    long alive;

    o.no_threads = true;
    fixture_make_dir(dir, sizeof dir); /* a new one, or N would never be out of reach */
    if (!is_new)
        make_something_to_open(dir, &o);
    alive = test_alloc_alive();
    test_alloc_fail(n, 0);
    st = odb_open(dir, &o, &db);
    if (st == ODB_OK)
        st = use_everything(db, &was_put);
    if (st == ODB_OK)
        st = use_transactions(db);
    *failed = test_alloc_failed();
    test_alloc_fail(-1, 0);
    if (db)
        expect_text(odb_now(db), NULL, "k", was_put ? "v" : is_new ? NULL : "old");
    if (odb_close(db) != ODB_OK)
        assert_int_not_equal(st, ODB_OK);
    assert_int_equal(test_alloc_alive(), alive);
    assert_ok(odb_open(dir, &o, &db)); /* whatever became of it, it can be opened */
    expect_text(odb_now(db), NULL, "k", was_put ? "v" : is_new ? NULL : "old");
    assert_ok(odb_close(db));
    assert_int_equal(test_alloc_alive(), alive);
    fixture_remove_dir(dir);
    return st;
}

/* The engine below has tests of its own; here: opening, and this layer's part over it. */
static void opening_short_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int is_new = 0; is_new < 2; is_new++) {
        odb_status st = ODB_NOMEM;
        long n = 0;

        for (long failed = 1; failed; n++) {
            assert_true(n < 5000);
            st = open_and_use_without_memory(is_new, n, &failed);
            if (st != ODB_OK && (!failed || (st != ODB_NOMEM && st != ODB_READONLY)))
                fail_msg("request %ld of %s: %s (%s)", n, is_new ? "a new one" : "an old one",
                         odb_status_name(st), odb_error_text());
        }
        assert_ok(st);
        assert_true(n > 200);
    }
}

/* A family whose handle could not be made is there, and is found by whoever asks for it next. */
static void a_family_made_half_is_found_again(void **state)
{
    long failed = 1;

    (void)state;
    for (long n = 0; failed; n++) {
        odb_backend backend;
        odb_cf *cf = NULL, *again = NULL;
        odb_db *db = NULL;
        odb_status made, st;

        assert_true(n < 100);
        assert_ok(odb_backend_memory(&backend));
        assert_ok(odb_open_backend(backend, &db));
        test_alloc_fail(n, 0);
        st = odb_cf_create(db, "late", NULL, &cf);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_true(st == ODB_OK || (st == ODB_NOMEM && failed));
        made = odb_cf_create(db, "late", NULL, &cf);
        assert_true(made == ODB_OK || made == ODB_EXISTS);
        assert_ok(odb_cf_open(db, "late", &cf));
        assert_ok(odb_cf_open(db, "late", &again));
        assert_ptr_equal(cf, again);
        assert_ok(odb_put(db, cf, odb_s("k"), odb_s("v"), NULL));
        assert_ok(odb_close(db));
    }
}

static void put_ten(odb_txn *t, odb_batch *b, uint32_t round)
{
    char key[16];

    for (uint32_t i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "%03u", (unsigned)(round * 7 + i) % 200);
        assert_ok(t ? odb_txn_put(t, NULL, odb_s(key), odb_s("value"))
                    : odb_batch_put(b, NULL, odb_s(key), odb_s("value")));
    }
}

/* Begin, write, read, end, free: the memory of the handle before serves. What the memtable asks for, plain
 * batches of the same keys ask for, too. (With locks each lock is a request.) */
static void P16_a_loop_of_transactions_asks_for_no_memory(void **state)
{
    odb_txn_options opt[2] = {
        {.size = sizeof opt[0]},
        {.size = sizeof opt[0], .isolation = ODB_SERIALIZABLE},
    };
    odb_options o = odb_options_default();
    odb_batch *b;
    odb_txn *t;
    odb_db *db;
    char dir[64], got[16];
    odb_status got_own;
    size_t size;
    long plain;

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    assert_ok(odb_open(dir, &o, &db));
    assert_ok(odb_batch_new(&b));
    for (int kind = 0; kind < 2; kind++)
        for (int pass = 0; pass < 2; pass++) { /* the first one makes what the second uses again */
            test_alloc_fail(-1, 0);
            for (uint32_t i = 0; i < 500; i++) {
                assert_ok(odb_txn_begin(db, &opt[kind], &t));
                put_ten(t, NULL, i);
                got_own = odb_get_into(odb_in(t), NULL, odb_s("007"), got, sizeof got, &size);
                assert_true(got_own == ODB_OK || got_own == ODB_ABSENT);
                assert_ok(odb_txn_rollback(t));
                odb_txn_free(t);
            }
            if (pass == 1)
                assert_int_equal(test_alloc_requests(), 0);
        }
    for (int pass = 0; pass < 2; pass++) {
        test_alloc_fail(-1, 0);
        for (uint32_t i = 0; i < 500; i++) {
            odb_batch_clear(b);
            put_ten(NULL, b, i);
            assert_ok(odb_commit(db, b, NULL));
        }
    }
    plain = test_alloc_requests();
    for (int kind = 0; kind < 2; kind++) {
        test_alloc_fail(-1, 0);
        for (uint32_t i = 0; i < 500; i++) {
            assert_ok(odb_txn_begin(db, &opt[kind], &t));
            put_ten(t, NULL, i);
            assert_ok(odb_txn_commit(t, NULL));
            odb_txn_free(t);
        }
        if (test_alloc_requests() > plain + 1) /* a chunk of the memtable may fall here or there */
            fail_msg("500 transactions of kind %d made %ld requests, 500 batches %ld", kind,
                     test_alloc_requests(), plain);
    }
    test_alloc_fail(-1, 0);
    odb_batch_free(b);
    assert_ok(odb_close(db));
    fixture_remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_made_half_is_found_again),
        cmocka_unit_test(P16_every_failed_request_is_a_status_and_no_leak),
        cmocka_unit_test(opening_short_of_memory_leaves_nothing_behind),
        cmocka_unit_test(P16_a_loop_of_transactions_asks_for_no_memory),
    };

    /* some thousand databases, of which only the memory matters */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 0);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
