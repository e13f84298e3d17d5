/* Commits in two phases, over both backends: what is prepared keeps its keys, outlives its handle and the
 * database's, and is committed or rolled back for good. */
#include "tests/api/txn_fixture.h"

#include <pthread.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_prepared_transaction_keeps_its_keys_until_it_is_resolved),
        BOTH(a_prepared_transaction_survives_its_handle_and_the_database_handle),
        BOTH(a_prepared_transaction_can_be_rolled_back),
        {"a_damaged_row_of_a_prepared_transaction_is_told_at_open",
         a_damaged_row_of_a_prepared_transaction_is_told_at_open, fixture_lsm, fixture_close, NULL},
        {"what_was_prepared_is_listed_read_only", what_was_prepared_is_listed_read_only,
         fixture_lsm, fixture_close, NULL},
        BOTH(two_prepared_transactions_never_meet),
        BOTH(whoever_prepares_commits_also_beside_others),
        BOTH(a_prepare_that_conflicts_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
