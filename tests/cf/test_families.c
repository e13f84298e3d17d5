/* tests/cf/test_families.c -- column families: made, listed, written together, dropped. */
#include "tests/cf/set_fixture.h"

static bool list_names(void *arg, struct cf *cf, const char *name)
{
    (void)cf;
    strcat(arg, name);
    strcat(arg, " ");
    return true;
}

static void families_are_created_listed_dropped_and_stay_so(void **state)
{
    struct cf_set *s = must_open();
    struct cf *a, *b, *again;
    struct lsm_iter *it;
    char names[100] = "";

    (void)state;
    assert_int_equal(cf_create(s, "a", NULL, &a), ODB_OK);
    assert_int_equal(cf_create(s, "b", NULL, &b), ODB_OK);
    assert_int_equal(cf_create(s, "a", NULL, &again), ODB_EXISTS);
    assert_int_equal(cf_put(s, a, odb_s("k"), odb_s("old"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, a), ODB_OK);
    assert_int_equal(cf_put(s, a, odb_s("k2"), odb_s("old"), NULL), ODB_OK);
    assert_int_equal(cf_iter_new(s, a, NULL, NULL, &it), ODB_OK);
    assert_int_equal(cf_drop(s, a), ODB_OK);
    assert_int_equal(cf_drop(s, a), ODB_NO_FAMILY);
    assert_int_equal(cf_put(s, a, odb_s("k"), odb_s("v"), NULL), ODB_NO_FAMILY);
    assert_true(lsm_iter_first(it)); /* iterators over it go on */
    assert_true(lsm_iter_next(it));
    assert_false(lsm_iter_next(it));
    assert_int_equal(lsm_iter_status(it), ODB_OK);
    lsm_iter_free(it);
    assert_int_equal(cf_create(s, "a", NULL, &again), ODB_OK); /* a new one of that name */
    assert_int_not_equal(cf_id(again), cf_id(a));
    assert_int_equal(cf_exists(s, again, NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_drop(s, must_find(s, "default")), ODB_INVALID);
    cf_each(s, list_names, names);
    assert_string_equal(names, "default b a ");
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    names[0] = '\0';
    cf_each(s, list_names, names);
    assert_string_equal(names, "default b a ");
    assert_int_equal(cf_exists(s, must_find(s, "a"), NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void names_have_limits(void **state)
{
    struct cf_set *s = must_open();
    char name[CF_NAME_MAX + 2];
    struct cf *f;

    (void)state;
    memset(name, 'n', sizeof name);
    name[CF_NAME_MAX + 1] = '\0';
    assert_int_equal(cf_create(s, name, NULL, &f), ODB_INVALID);
    assert_int_equal(cf_create(s, "", NULL, &f), ODB_INVALID);
    name[CF_NAME_MAX] = '\0';
    assert_int_equal(cf_create(s, name, NULL, &f), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    assert_string_equal(cf_name(must_find(s, name)), name);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void options_of_its_own_stay_with_a_family(void **state)
{
    struct lsm_options own = opt.family;
    struct cf_set *s = must_open();
    struct cf *f;

    (void)state;
    own.write_buffer = 12345;
    own.block_size = 777;
    own.auto_compact = false;
    assert_int_equal(cf_create(s, "own", &own, &f), ODB_OK);
    assert_int_equal(cf_create(s, "plain", NULL, &f), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.family.block_size = 4096;
    s = must_open();
    f = must_find(s, "own");
    assert_true(f->has_options);
    assert_int_equal(f->options.write_buffer, 12345);
    assert_int_equal(f->options.block_size, 777);
    assert_false(f->options.auto_compact);
    f = must_find(s, "plain");
    assert_int_equal(f->options.block_size, 4096);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void a_batch_may_span_many_families(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f[40];
    struct batch b = {0};
    char name[16];

    (void)state;
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(cf_create(s, name, NULL, &f[i]), ODB_OK);
    }
    assert_int_equal(cf_drop(s, f[7]), ODB_OK);
    for (int round = 0; round < 2; round++)
        for (int i = 39; i >= 0; i--)
            if (i != 7) {
                (void)snprintf(name, sizeof name, "v%d-%d", i, round);
                assert_int_equal(batch_put(&b, cf_id(f[i]), odb_s("k"), odb_s(name)), ODB_OK);
            }
    assert_int_equal(cf_commit(s, &b, NULL), ODB_OK);
    for (int i = 0; i < 40; i++)
        if (i != 7) {
            (void)snprintf(name, sizeof name, "v%d-1", i);
            must_have(s, f[i], "k", name);
        }
    assert_int_equal(batch_put(&b, cf_id(f[7]), odb_s("k"), odb_s("v")), ODB_OK);
    assert_int_equal(cf_commit(s, &b, NULL), ODB_NO_FAMILY); /* dropped: nothing of it is applied */
    must_have(s, f[0], "k", "v0-1");
    batch_clear(&b);
    assert_int_equal(batch_put(&b, 4711, odb_s("k"), odb_s("v")), ODB_OK);
    assert_int_equal(cf_commit(s, &b, NULL), ODB_NO_FAMILY);
    batch_clear(&b);
    assert_int_equal(cf_commit(s, &b, &full), ODB_OK); /* an empty one */
    batch_release(&b);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* A handle outlives its family: every call says so, and the batch that names it is refused whole. */
static void a_dropped_family_answers_nothing_any_more(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *gone;
    odb_slice keys[1] = {odb_s("k")};
    struct cf_snapshot *snap;
    struct lsm_iter *it = NULL;
    struct lsm_value v;
    struct batch b = {0};
    odb_status each[1];
    size_t n;

    (void)state;
    assert_int_equal(cf_create(s, "gone", NULL, &gone), ODB_OK);
    assert_int_equal(cf_put(s, gone, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_snapshot_new(s, &snap), ODB_OK);
    assert_int_equal(batch_put(&b, cf_id(f), odb_s("k"), odb_s("batch")), ODB_OK);
    assert_int_equal(batch_put(&b, cf_id(gone), odb_s("k"), odb_s("batch")), ODB_OK);
    assert_int_equal(cf_drop(s, gone), ODB_OK);
    for (int past = 0; past < 2; past++) {
        const struct cf_snapshot *at = past ? snap : NULL;

        assert_int_equal(cf_get(s, gone, at, odb_s("k"), &v), ODB_NO_FAMILY);
        assert_non_null(strstr(odb_error_text(), "gone"));
        assert_int_equal(cf_get_into(s, gone, at, odb_s("k"), NULL, 0, &n), ODB_NO_FAMILY);
        assert_int_equal(cf_exists(s, gone, at, odb_s("k")), ODB_NO_FAMILY);
        assert_int_equal(cf_multiget(s, gone, at, keys, 1, &v, each), ODB_NO_FAMILY);
        assert_int_equal(cf_iter_new(s, gone, at, NULL, &it), ODB_NO_FAMILY);
        assert_null(it);
    }
    assert_int_equal(cf_put(s, gone, odb_s("k"), odb_s("v"), NULL), ODB_NO_FAMILY);
    assert_int_equal(cf_delete(s, gone, odb_s("k"), NULL), ODB_NO_FAMILY);
    assert_int_equal(cf_commit(s, &b, NULL), ODB_NO_FAMILY);
    assert_int_equal(cf_exists(s, f, NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_drop(s, gone), ODB_NO_FAMILY);
    batch_release(&b);
    cf_snapshot_free(s, snap);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* The record of the drop may be on the disk: a commit into that family could be lost with it. */
static void a_drop_that_may_have_happened_stops_writes(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f;

    (void)state;
    assert_int_equal(cf_create(s, "f", NULL, &f), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &full), ODB_OK);
    sim_set_fault(disk, fail_manifests, NULL);
    assert_int_equal(cf_drop(s, f), ODB_UNKNOWN);
    sim_set_fault(disk, NULL, NULL);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &full), ODB_READONLY);
    assert_int_equal(cf_exists(s, f, NULL, odb_s("k")), ODB_OK);
    assert_int_equal(cf_close(s), ODB_UNKNOWN);
    assert_int_equal(try_open(), ODB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(families_are_created_listed_dropped_and_stay_so),
        T(names_have_limits),
        T(options_of_its_own_stay_with_a_family),
        T(a_batch_may_span_many_families),
        T(a_dropped_family_answers_nothing_any_more),
        T(a_drop_that_may_have_happened_stops_writes),
    };

    return RUN(tests);
}
