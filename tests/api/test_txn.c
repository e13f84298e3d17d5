/* Transactions and snapshots, over both backends: where one may begin, what it takes back, how large it may
 * get, and an answer to every bad use. */
#include "tests/api/txn_fixture.h"

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
        BOTH(a_transaction_may_begin_at_a_snapshot),
        BOTH(savepoints_take_back_what_came_after),
        BOTH(savepoints_agree_with_a_copy_of_everything),
        BOTH(every_bad_use_has_an_answer),
        BOTH(a_transaction_larger_than_its_limit_is_refused_and_goes_on),
        BOTH(large_transactions_keep_their_order),
        BOTH(snapshots_have_names_and_are_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
