/* The recipes of the manual, as written there, under concurrency and over both backends. */
#include "tests/api/fixture.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS  100

struct worker {
    odb_db *db;
    unsigned no;
    unsigned done;
    pthread_t thread;
};

static unsigned run_workers(struct fixture *f, void *(*run)(void *arg))
{
    struct worker w[THREADS];
    unsigned done = 0;

    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.db = f->db, .no = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, run, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        done += w[i].done;
    }
    return done;
}

static long number_of(odb_at at, const char *key)
{
    char text[24] = "";
    size_t size;
    odb_status st = odb_get_into(at, NULL, odb_s(key), text, sizeof text - 1, &size);

    if (st == ODB_ABSENT)
        return 0;
    assert_ok(st);
    return strtol(text, NULL, 10);
}

static odb_status set_number(odb_txn *t, const char *key, long n)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%ld", n);
    return odb_txn_put(t, NULL, odb_s(key), odb_s(text));
}

/* ---- counter, with the retry loop written out ---- */

static void *counter_run(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < ROUNDS; i++) {
        odb_txn *t = NULL;
        odb_status st;

        do {
            st = odb_txn_begin(w->db, NULL, &t);
            if (st == ODB_OK)
                st = set_number(t, "counter", number_of(odb_in(t), "counter") + 1);
            if (st == ODB_OK)
                st = odb_txn_commit(t, NULL);
            odb_txn_free(t);
            t = NULL;
        } while (odb_txn_should_retry(st));
        w->done += st == ODB_OK;
    }
    return NULL;
}

static void a_counter_with_a_retry_loop(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run_workers(f, counter_run), THREADS * ROUNDS);
    assert_int_equal(number_of(odb_now(f->db), "counter"), THREADS * ROUNDS);
}

/* ---- compare and swap ---- */

/* ODB_ABSENT: it was not `want`. */
static odb_status compare_and_swap(odb_db *db, const char *key, long want, long set)
{
    odb_txn *t = NULL;
    odb_status st = odb_txn_begin(db, NULL, &t);

    if (st == ODB_OK && number_of(odb_in(t), key) != want)
        st = ODB_ABSENT;
    if (st == ODB_OK)
        st = set_number(t, key, set);
    if (st == ODB_OK)
        st = odb_txn_commit(t, NULL);
    odb_txn_free(t);
    return st;
}

static void *swap_run(void *arg)
{
    struct worker *w = arg;

    for (long turn = 0; turn < ROUNDS; turn++) {
        odb_status st = compare_and_swap(w->db, "turn", turn, turn + 1);

        assert_true(st == ODB_OK || st == ODB_ABSENT || st == ODB_CONFLICT);
        w->done += st == ODB_OK;
        while (number_of(odb_now(w->db), "turn") == turn)
            ; /* a conflict: somebody else has it, or will */
    }
    return NULL;
}

static void each_swap_has_one_winner(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(run_workers(f, swap_run), ROUNDS);
    assert_int_equal(number_of(odb_now(f->db), "turn"), ROUNDS);
}

/* ---- conditional delete ---- */

/* Delete `job` if it is still open; who does has it. */
static odb_status take_job(odb_txn *t, void *arg)
{
    const char *job = arg;
    odb_status st = odb_exists(odb_in(t), NULL, odb_s(job));

    return st == ODB_OK ? odb_txn_delete(t, NULL, odb_s(job)) : st;
}

static void *taker_run(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < ROUNDS; i++) {
        char job[16];
        odb_status st;

        (void)snprintf(job, sizeof job, "job/%d", i);
        st = odb_txn_run(w->db, NULL, take_job, job, NULL);
        assert_true(st == ODB_OK || st == ODB_ABSENT);
        w->done += st == ODB_OK;
    }
    return NULL;
}

static void every_job_is_taken_once(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < ROUNDS; i++) {
        char job[16];

        (void)snprintf(job, sizeof job, "job/%d", i);
        put_text(f, NULL, job, "open");
    }
    assert_int_equal(run_workers(f, taker_run), ROUNDS);
}

/* ---- batch update over two families ---- */

static odb_status add_to_all(odb_txn *t, void *arg)
{
    struct worker *w = arg;
    odb_range range = {.prefix = odb_s("row/")};
    odb_cf *metadata;
    odb_iter *it;
    odb_status st = odb_cf_open(w->db, "metadata", &metadata);
    long sum = 0;

    if (st == ODB_OK)
        st = odb_iter_new(odb_in(t), NULL, &range, &it);
    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it)) {
        odb_slice key = odb_iter_key(it), value = odb_iter_value(it);
        char text[24] = "";
        long n;

        (void)snprintf(text, sizeof text, "%.*s", (int)value.size, (const char *)value.data);
        n = strtol(text, NULL, 10) + 1;
        sum += n;
        (void)snprintf(text, sizeof text, "%ld", n);
        st = odb_txn_put(t, NULL, key, odb_s(text));
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    if (st == ODB_OK) {
        char text[24];

        (void)snprintf(text, sizeof text, "%ld", sum);
        st = odb_txn_put(t, metadata, odb_s("sum"), odb_s(text));
    }
    return st;
}

static void *updater_run(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < ROUNDS / 4; i++)
        w->done += odb_txn_run(w->db, NULL, add_to_all, w, NULL) == ODB_OK;
    return NULL;
}

static void a_batch_update_keeps_rows_and_their_sum_together(void **state)
{
    struct fixture *f = *state;
    char want[24];

    for (int i = 0; i < 10; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "row/%d", i);
        put_text(f, NULL, key, "0");
    }
    assert_int_equal(run_workers(f, updater_run), THREADS * (ROUNDS / 4));
    (void)snprintf(want, sizeof want, "%d", 10 * THREADS * (ROUNDS / 4));
    expect_text(odb_now(f->db), fixture_cf(f, "metadata"), "sum", want);
}

/* ---- two transactions and a snapshot ---- */

static void each_transaction_sees_its_own_moment(void **state)
{
    struct fixture *f = *state;
    odb_snapshot *s;
    odb_txn *a, *b;

    put_text(f, NULL, "k", "v1");
    assert_ok(odb_txn_begin(f->db, NULL, &a));
    assert_ok(odb_txn_begin(f->db, NULL, &b));
    assert_ok(odb_txn_put(a, NULL, odb_s("k"), odb_s("v2")));
    expect_text(odb_in(a), NULL, "k", "v2");      /* its own write */
    expect_text(odb_in(b), NULL, "k", "v1");      /* not somebody else's */
    expect_text(odb_now(f->db), NULL, "k", "v1"); /* nor does anyone outside see it */
    assert_ok(odb_snapshot_new(f->db, &s));
    assert_ok(odb_txn_commit(a, NULL));
    expect_text(odb_now(f->db), NULL, "k", "v2");
    expect_text(odb_in(b), NULL, "k", "v1"); /* its moment is before the commit */
    expect_text(odb_asof(s), NULL, "k", "v1");
    assert_ok(odb_txn_put(b, NULL, odb_s("k"), odb_s("v3")));
    assert_status(odb_txn_commit(b, NULL), ODB_CONFLICT);
    expect_text(odb_now(f->db), NULL, "k", "v2");
    odb_snapshot_free(s);
    odb_txn_free(a);
    odb_txn_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_counter_with_a_retry_loop),
        BOTH(each_swap_has_one_winner),
        BOTH(every_job_is_taken_once),
        BOTH(a_batch_update_keeps_rows_and_their_sum_together),
        BOTH(each_transaction_sees_its_own_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
