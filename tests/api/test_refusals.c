/* tests/api/test_refusals.c -- what is refused: a place for an answer that is NULL, a handle of another
 * database, a backend that lacks an entry. Each is a status with words, and changes nothing. */
#include "tests/api/fixture.h"

static odb_cf *refusal_cf(struct fixture *f, const char *name)
{
    odb_cf *cf;

    assert_ok(odb_cf_open(f->db, name, &cf));
    return cf;
}

#define assert_refused(call, word)                                                                 \
    do {                                                                                           \
        assert_status(call, ODB_INVALID);                                                          \
        assert_non_null(strstr(odb_error_text(), word));                                           \
    } while (0)

static bool refusal_stop(void *arg, const odb_snapshot_info *info)
{
    (void)arg;
    (void)info;
    return false;
}

static void a_place_for_the_answer_is_needed(void **state)
{
    struct fixture *f = *state;
    odb_cf_options none = odb_cf_options_default();
    odb_slice k = odb_s("k");
    odb_snapshot *s;
    odb_status each[1];
    odb_value v[1];
    odb_txn *t;
    odb_cf *cf;

    assert_refused(odb_open_backend((odb_backend){NULL, NULL}, &f->db), "table");
    assert_refused(odb_cf_open(f->db, "records", NULL), "family");
    assert_refused(odb_cf_create(f->db, "new", &none, NULL), "family");
    assert_status(odb_cf_open(f->db, "new", &cf), ODB_NO_FAMILY);
    assert_refused(odb_cf_list(f->db, NULL), "names");
    assert_refused(odb_cf_drop(f->db, NULL), "default");
    assert_refused(odb_multiget(odb_now(f->db), NULL, NULL, 1, v, each), "multiget");
    assert_int_equal(each[0], ODB_INVALID);
    assert_refused(odb_multiget(odb_now(f->db), NULL, &k, 1, NULL, each), "multiget");
    assert_refused(odb_multiget(odb_now(f->db), NULL, &k, 1, v, NULL), "multiget");
    assert_ok(odb_multiget(odb_now(f->db), NULL, NULL, 0, NULL, NULL));
    assert_refused(odb_stats(f->db, NULL, NULL), "statistics");
    assert_refused(odb_stats_text(f->db, NULL, 10, &(size_t){0}), "buffer");
    assert_refused(odb_stats_text(f->db, (char[10]){0}, 10, NULL), "length");
    assert_refused(odb_tables(f->db, NULL, NULL, NULL), "function");
    assert_refused(odb_size_of_range(f->db, NULL, NULL, NULL), "size");
    assert_refused(odb_snapshot_each(f->db, NULL, NULL), "function");
    assert_ok(odb_snapshot_each(f->db, refusal_stop, NULL));
    assert_ok(odb_snapshot_new(f->db, &s));
    assert_refused(odb_snapshot_set_name(s, NULL), "name");
    assert_refused(odb_snapshot_find(f->db, NULL, &s), "name");
    assert_refused(odb_snapshot_find(f->db, "s", NULL), "snapshot");
    odb_snapshot_free(s);
    assert_refused(odb_sequence(odb_now(f->db), NULL), "number");
    assert_refused(odb_txn_begin(f->db, NULL, NULL), "transaction");
    assert_refused(odb_txn_list_prepared(f->db, NULL), "names");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_refused(odb_txn_save(t, NULL), "savepoint");
    assert_refused(odb_txn_prepare(t, NULL, NULL), "name");
    assert_refused(odb_txn_recover(f->db, "p", NULL), "transaction");
    odb_txn_free(t);
    assert_ok(odb_put(f->db, NULL, k, k, NULL));
}

/* Calls on nothing at all. */
static void a_handle_is_needed(void **state)
{
    odb_slice k = odb_s("k");
    odb_names names;
    odb_txn *t;
    odb_cf *cf;
    uint64_t n;

    (void)state;
    assert_refused(odb_put(NULL, NULL, k, k, NULL), "database");
    assert_refused(odb_delete(NULL, NULL, k, NULL), "database");
    assert_refused(odb_flush(NULL, NULL), "database");
    assert_refused(odb_sync(NULL), "database");
    assert_refused(odb_resume(NULL), "database");
    assert_refused(odb_compact(NULL, NULL, NULL, NULL, NULL), "database");
    assert_refused(odb_wait_idle(NULL), "database");
    assert_refused(odb_verify(NULL, NULL, NULL), "database");
    assert_refused(odb_cf_open(NULL, "default", &cf), "database");
    assert_refused(odb_cf_list(NULL, &names), "database");
    assert_refused(odb_size_of_range(NULL, NULL, NULL, &n), "database");
    assert_refused(odb_txn_begin(NULL, NULL, &t), "database");
    assert_refused(odb_iter_refresh(NULL, odb_now(NULL)), "iterator");
    assert_refused(odb_batch_put(NULL, NULL, k, k), "batch");
    assert_refused(odb_batch_delete(NULL, NULL, k), "batch");
    assert_refused(odb_batch_set_bytes(NULL, k), "batch");
    assert_refused(odb_backend_memory(NULL), "backend");
    assert_refused(odb_backend_lsm(NULL, NULL, NULL), "directory");
    assert_refused(odb_backend_lsm("never", NULL, NULL), "backend");
    assert_refused(odb_txn_put(NULL, NULL, k, k), "transaction");
    assert_false(odb_work(NULL));
    odb_iter_free(NULL);
    odb_txn_free(NULL);
    odb_batch_free(NULL);
    odb_snapshot_free(NULL);
    odb_value_release(NULL);
    odb_names_release(NULL);
}

static void a_handle_of_another_database_is_refused(void **state)
{
    struct fixture *f = *state, *other = NULL;
    odb_slice k = odb_s("k");
    odb_cf *foreign;
    odb_snapshot *s;
    odb_iter *it;
    odb_txn *t;
    odb_value v;

    fixture_memory((void **)&other);
    assert_ok(odb_put(f->db, NULL, k, k, NULL));
    foreign = refusal_cf(other, "records");
    assert_ok(odb_snapshot_new(other->db, &s));
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_true(odb_iter_first(it));
    assert_refused(odb_iter_refresh(it, odb_asof(s)), "another");
    assert_true(odb_iter_first(it)); /* it goes on where it was */
    assert_refused(odb_get(odb_now(f->db), foreign, k, &v), "another");
    assert_refused(odb_cf_drop(f->db, foreign), "another");
    assert_refused(odb_flush(f->db, foreign), "another");
    assert_refused(odb_txn_begin(f->db,
                                 &(odb_txn_options){.size = sizeof(odb_txn_options), .snapshot = s},
                                 &t),
                   "another");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_refused(odb_txn_put(t, foreign, k, k), "another");
    odb_txn_free(t);
    odb_iter_free(it);
    odb_snapshot_free(s);
    fixture_close((void **)&other);
}

/* A handle may outlive its family; a batch takes nothing more for it, and what it holds is refused whole. */
static void a_dropped_family_is_no_place_for_a_batch(void **state)
{
    odb_slice k = odb_s("k"), none = odb_bytes(NULL, 3);
    odb_cf_options how = odb_cf_options_default();
    struct fixture *f = *state;
    odb_batch *b;
    odb_cf *cf;

    assert_ok(odb_cf_create(f->db, "short-lived", &how, &cf));
    assert_ok(odb_batch_new(&b));
    assert_refused(odb_batch_set_bytes(b, none), "NULL");
    assert_ok(odb_batch_put(b, NULL, k, k));
    assert_ok(odb_batch_put(b, cf, k, k));
    assert_ok(odb_cf_drop(f->db, cf));
    assert_status(odb_batch_put(b, cf, k, k), ODB_NO_FAMILY);
    assert_non_null(strstr(odb_error_text(), "short-lived"));
    assert_status(odb_batch_delete(b, cf, k), ODB_NO_FAMILY);
    assert_int_equal(odb_batch_count(b), 2);
    assert_status(odb_commit(f->db, b, NULL), ODB_NO_FAMILY);
    assert_status(odb_exists(odb_now(f->db), NULL, k), ODB_ABSENT);
    odb_batch_free(b);
    odb_batch_free(NULL);
}

static void a_text_is_what_it_was_set_to(void **state)
{
    (void)state;
    assert_int_equal(odb_error_set(ODB_IO, "the plug-in's own words"), ODB_IO);
    assert_string_equal(odb_error_text(), "the plug-in's own words");
    assert_int_equal(odb_error_set(ODB_IO, NULL), ODB_IO);
    assert_string_equal(odb_error_text(), "");
}

static void a_seek_without_a_key_says_so(void **state)
{
    struct fixture *f = *state;
    odb_iter *it;

    assert_ok(odb_put(f->db, NULL, odb_s("k"), odb_s("v"), NULL));
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_false(odb_iter_seek(it, odb_bytes(NULL, 3)));
    assert_status(odb_iter_status(it), ODB_INVALID);
    assert_false(odb_iter_valid(it));
    assert_true(odb_iter_first(it)); /* and it can be used again */
    assert_status(odb_iter_status(it), ODB_OK);
    assert_false(odb_iter_seek_for_prev(it, odb_bytes(NULL, 3)));
    assert_status(odb_iter_status(it), ODB_INVALID);
    odb_iter_free(it);
}

/* ---- a backend that has what every backend must have, and nothing else ---- */

static odb_backend_ops few_entries(const odb_backend_ops *all)
{
    return (odb_backend_ops){.size = sizeof(odb_backend_ops),
                             .name = "few",
                             .close = all->close,
                             .cf_find = all->cf_find,
                             .cf_each = all->cf_each,
                             .get = all->get,
                             .value_release = all->value_release,
                             .write_batch = all->write_batch,
                             .scan = all->scan};
}

static void observe_nothing(void *arg, const odb_commit_info *commit)
{
    (void)arg;
    (void)commit;
}

static void what_a_backend_lacks_is_made_of_the_rest_or_unsupported(void **state)
{
    odb_slice keys[3] = {odb_s("a"), odb_s("none"), odb_s("b")};
    odb_cf_options how = odb_cf_options_default();
    odb_backend backend;
    odb_backend_ops few;
    odb_status each[3];
    odb_snapshot *s;
    odb_value v[3];
    odb_iter *it;
    odb_txn *t;
    odb_cf *cf;
    odb_db *db;
    char buf[4];
    size_t size;
    uint64_t n;

    (void)state;
    assert_ok(odb_backend_memory(&backend));
    few = few_entries(backend.ops);
    assert_ok(odb_open_backend((odb_backend){&few, backend.self}, &db));

    /* of the rest */
    assert_ok(odb_put(db, NULL, odb_s("a"), odb_s("1"), NULL));
    assert_ok(odb_put(db, NULL, odb_s("b"), odb_s("2"), NULL));
    assert_ok(odb_put(db, NULL, odb_s("c"), odb_s("3"), NULL));
    assert_ok(odb_delete(db, NULL, odb_s("c"), NULL));
    assert_ok(odb_exists(odb_now(db), NULL, odb_s("a")));
    assert_status(odb_exists(odb_now(db), NULL, odb_s("c")), ODB_ABSENT);
    assert_ok(odb_get_into(odb_now(db), NULL, odb_s("b"), buf, sizeof buf, &size));
    assert_int_equal(size, 1);
    assert_int_equal(buf[0], '2');
    assert_status(odb_multiget(odb_now(db), NULL, keys, 3, v, each), ODB_OK);
    assert_int_equal(each[0], ODB_OK);
    assert_slice(odb_bytes(v[0].data, v[0].size), "1");
    assert_int_equal(each[1], ODB_ABSENT);
    assert_slice(odb_bytes(v[2].data, v[2].size), "2");
    odb_value_release(&v[0]);
    odb_value_release(&v[2]);
    assert_ok(odb_iter_new(odb_now(db), NULL, NULL, &it));
    assert_true(odb_iter_first(it) && odb_iter_next(it) && !odb_iter_next(it));
    odb_iter_free(it);

    /* and what cannot be made of it */
    assert_status(odb_cf_create(db, "new", &how, &cf), ODB_UNSUPPORTED);
    assert_non_null(strstr(odb_error_text(), "few")); /* who it is that cannot */
    assert_ok(odb_cf_open(db, "records", &cf));
    assert_status(odb_cf_drop(db, cf), ODB_UNSUPPORTED);
    assert_status(odb_snapshot_new(db, &s), ODB_UNSUPPORTED);
    assert_status(odb_txn_begin(db, NULL, &t), ODB_UNSUPPORTED);
    assert_status(odb_sequence(odb_now(db), &n), ODB_UNSUPPORTED);
    assert_status(odb_observe(db, observe_nothing, NULL, &n), ODB_UNSUPPORTED);
    assert_ok(odb_close(db));
}

/* One that knows transactions, but makes no families: nothing can be prepared in it. */
static void what_cannot_be_prepared_can_be_committed(void **state)
{
    odb_backend_ops few;
    odb_backend backend;
    odb_txn *t;
    odb_db *db;

    (void)state;
    assert_ok(odb_backend_memory(&backend));
    few = few_entries(backend.ops);
    few.snapshot_new = backend.ops->snapshot_new;
    few.snapshot_free = backend.ops->snapshot_free;
    few.begin_transaction = backend.ops->begin_transaction;
    few.pause_transaction = backend.ops->pause_transaction;
    few.commit_transaction = backend.ops->commit_transaction;
    few.sequence = backend.ops->sequence;
    assert_ok(odb_open_backend((odb_backend){&few, backend.self}, &db));
    assert_ok(odb_txn_begin(db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("k"), odb_s("v")));
    assert_status(odb_txn_prepare(t, "p", NULL), ODB_UNSUPPORTED);
    assert_status(odb_exists(odb_now(db), NULL, odb_s("k")), ODB_ABSENT);
    assert_ok(odb_txn_commit(t, NULL));
    assert_ok(odb_exists(odb_now(db), NULL, odb_s("k")));
    odb_txn_free(t);
    assert_ok(odb_close(db));
}

/* A claim from before a delete that went with its key: the map cannot tell whose it was any more. */
static void a_claim_older_than_a_forgotten_delete_is_too_old(void **state)
{
    odb_claim claim = {.lower = odb_s("other")};
    odb_guard guard = {.claim = &claim, .claim_count = 1, .since = ODB_SINCE_EVER};
    const odb_write how = {.durability = ODB_DURABLE_OS};
    odb_backend backend;
    odb_batch *b;

    (void)state;
    assert_ok(odb_backend_memory(&backend));
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_batch_put(b, NULL, odb_s("k"), odb_s("v")));
    assert_ok(backend.ops->write_batch(backend.self, b, &how));
    claim.since = backend.ops->sequence(backend.self, NULL);
    odb_batch_clear(b);
    assert_ok(odb_batch_put(b, NULL, odb_s("l"), odb_s("v")));
    assert_ok(backend.ops->commit_transaction(backend.self, &guard, b, &how));
    odb_batch_clear(b);
    assert_ok(odb_batch_delete(b, NULL, odb_s("k")));
    assert_ok(backend.ops->write_batch(backend.self, b, &how));
    assert_status(backend.ops->commit_transaction(backend.self, &guard, b, &how), ODB_TOO_OLD);
    claim.since = backend.ops->sequence(backend.self, NULL);
    assert_ok(backend.ops->commit_transaction(backend.self, &guard, b, &how));
    odb_batch_free(b);
    assert_ok(backend.ops->close(backend.self));
}

static odb_status no_families(void *self, const char *name, odb_backend_cf *out)
{
    (void)self;
    (void)name;
    (void)out;
    return ODB_NO_FAMILY;
}

static void none_at_all(void *self, bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                        void *arg)
{
    (void)self;
    (void)each;
    (void)arg;
}

static void a_backend_without_what_it_must_have_is_not_opened(void **state)
{
    odb_backend backend;
    odb_backend_ops few;
    odb_db *db;

    (void)state;
    assert_ok(odb_backend_memory(&backend));
    few = few_entries(backend.ops);
    assert_refused(odb_open_backend((odb_backend){&few, backend.self}, NULL), "handle");
    few.scan = NULL;
    assert_refused(odb_open_backend((odb_backend){&few, backend.self}, &db), "scan");
    few = few_entries(backend.ops);
    few.name = NULL;
    few.cf_find = no_families;
    few.cf_each = none_at_all;
    assert_refused(odb_open_backend((odb_backend){&few, backend.self}, &db), "default");
    assert_ok(backend.ops->close(backend.self)); /* it was never taken over */
}

/* ---- options ---- */

static void options_that_make_no_sense_are_named(void **state)
{
    struct fixture *f = *state;
    odb_cf_options how = odb_cf_options_default();
    odb_txn_options t = {.size = sizeof t, .isolation = (odb_isolation)7};
    odb_options o = fixture_options();
    odb_txn *txn;
    odb_db *db;
    odb_cf *cf;

    assert_refused(odb_txn_begin(f->db, &t, &txn), "isolation");
    t = (odb_txn_options){0};
    assert_refused(odb_txn_begin(f->db, &t, &txn), "size");
    if (!f->is_lsm)
        return;
    how.block_size = 1;
    assert_refused(odb_cf_create(f->db, "x", &how, &cf), "block_size");
    assert_status(odb_cf_open(f->db, "x", &cf), ODB_NO_FAMILY);
    o.family_count = 2000;
    assert_refused(odb_open("never", &o, &db), "families");
    o.families = (const char *const[]){"a"}; /* the count is looked at first */
    assert_refused(odb_open("never", &o, &db), "family_count");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_place_for_the_answer_is_needed, fixture_memory,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_place_for_the_answer_is_needed, fixture_lsm,
                                        fixture_close),
        cmocka_unit_test(a_handle_is_needed),
        cmocka_unit_test_setup_teardown(a_handle_of_another_database_is_refused, fixture_memory,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_handle_of_another_database_is_refused, fixture_lsm,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_seek_without_a_key_says_so, fixture_memory,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_seek_without_a_key_says_so, fixture_lsm, fixture_close),
        cmocka_unit_test_setup_teardown(a_dropped_family_is_no_place_for_a_batch, fixture_memory,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(a_dropped_family_is_no_place_for_a_batch, fixture_lsm,
                                        fixture_close),
        cmocka_unit_test(a_text_is_what_it_was_set_to),
        cmocka_unit_test(what_cannot_be_prepared_can_be_committed),
        cmocka_unit_test(a_claim_older_than_a_forgotten_delete_is_too_old),
        cmocka_unit_test(what_a_backend_lacks_is_made_of_the_rest_or_unsupported),
        cmocka_unit_test(a_backend_without_what_it_must_have_is_not_opened),
        cmocka_unit_test_setup_teardown(options_that_make_no_sense_are_named, fixture_memory,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(options_that_make_no_sense_are_named, fixture_lsm,
                                        fixture_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
