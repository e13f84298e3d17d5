#include "base/status.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void every_status_has_its_own_name_number_and_text(void **state)
{
    static const struct {
        odb_status st;
        int number;
        const char *name, *text;
    } all[] = {
#define ROW(name, number, text) {name, number, #name, text},
        ODB_STATUS_TABLE(ROW)
#undef ROW
    };
    size_t n = sizeof all / sizeof all[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal((int)all[i].st, (int)i); /* no gaps */
        assert_string_equal(odb_status_name(all[i].st), all[i].name);
        assert_string_equal(odb_status_text(all[i].st), all[i].text);
    }
    /* Numbers that have shipped keep their meaning. */
    assert_int_equal(ODB_OK, 0);
    assert_int_equal(ODB_CORRUPT, 2);
    assert_int_equal(ODB_NOMEM, 4);
    assert_int_equal(ODB_CANCELLED, 23);
}

static void an_unknown_number_has_a_name_too(void **state)
{
    volatile int number = 4711;

    (void)state;
    assert_string_equal(odb_status_name((odb_status)number), "ODB_?");
    assert_string_equal(odb_status_text((odb_status)number), "unknown status");
}

static void the_error_text_is_what_was_set_last(void **state)
{
    (void)state;
    assert_int_equal(err_set(ODB_INVALID, "key of %d bytes", 70000), ODB_INVALID);
    assert_string_equal(odb_error_text(), "key of 70000 bytes");
    assert_int_equal(err_corrupt("000123.sst", 4096, "checksum"), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "000123.sst"));
    assert_non_null(strstr(odb_error_text(), "4096"));
    assert_non_null(strstr(odb_error_text(), "checksum"));
}

static void the_old_text_may_be_part_of_the_new_one(void **state)
{
    (void)state;
    assert_int_equal(err_set(ODB_IO, "inner"), ODB_IO);
    assert_int_equal(err_set(ODB_IO, "outer: %s", odb_error_text()), ODB_IO);
    assert_string_equal(odb_error_text(), "outer: inner");
}

static void too_long_a_text_is_cut(void **state)
{
    char longer[2 * ERR_TEXT_MAX];

    (void)state;
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(err_set(ODB_IO, "%s", longer), ODB_IO);
    assert_int_equal(strlen(odb_error_text()), ERR_TEXT_MAX - 1);
}

static void *fail_elsewhere(void *saved)
{
    if (err_set(ODB_NOSPACE, "another thread's trouble, 100%%") == ODB_NOSPACE)
        err_save(saved);
    return NULL;
}

static void each_thread_has_its_own_text_and_can_pass_it_on(void **state)
{
    char saved[ERR_TEXT_MAX];
    pthread_t t;

    (void)state;
    assert_int_equal(err_set(ODB_IO, "mine"), ODB_IO);
    assert_int_equal(pthread_create(&t, NULL, fail_elsewhere, saved), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_string_equal(odb_error_text(), "mine");
    assert_int_equal(err_restore(ODB_NOSPACE, saved), ODB_NOSPACE);
    assert_string_equal(odb_error_text(), "another thread's trouble, 100%");
}

struct stripe_wait {
    pthread_barrier_t *all_there;
    size_t stripe;
    bool is_stable;
};

static void *tell_stripe(void *arg)
{
    struct stripe_wait *w = arg;

    w->stripe = thread_stripe();
    (void)pthread_barrier_wait(w->all_there); /* alive at the same time: stacks are not reused */
    w->is_stable = thread_stripe() == w->stripe;
    return NULL;
}

static void threads_spread_over_the_stripes(void **state)
{
    enum { THREADS = 16, STRIPES = 32 };
    pthread_barrier_t all_there;
    pthread_t t[THREADS];
    struct stripe_wait w[THREADS];
    unsigned used[STRIPES] = {0}, distinct = 0;

    (void)state;
    assert_int_equal(pthread_barrier_init(&all_there, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        w[i].all_there = &all_there;
        assert_int_equal(pthread_create(&t[i], NULL, tell_stripe, &w[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        assert_true(w[i].is_stable);
        distinct += used[w[i].stripe % STRIPES]++ == 0;
    }
    (void)pthread_barrier_destroy(&all_there);
    assert_true(distinct >= 4); /* a hint, not a promise: but all on one stripe would be useless */
}

static void slices_compare_like_bytes_and_shorter_first(void **state)
{
    (void)state;
    assert_true(odb_slice_compare(odb_s("a"), odb_s("b")) < 0);
    assert_true(odb_slice_compare(odb_s("ab"), odb_s("a")) > 0);
    assert_true(odb_slice_compare(odb_s("\xff"), odb_s("a")) > 0);
    assert_int_equal(odb_slice_compare(odb_bytes(NULL, 0), odb_s("")), 0);
    assert_true(odb_slice_equal(odb_bytes(NULL, 0), odb_s("")));
    assert_true(odb_slice_equal(odb_bytes("a\0b", 3), odb_bytes("a\0b", 3)));
    assert_false(odb_slice_equal(odb_bytes("a\0b", 3), odb_bytes("a\0c", 3)));
    assert_false(odb_slice_equal(odb_s("a"), odb_s("ab")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_name_number_and_text),
        cmocka_unit_test(an_unknown_number_has_a_name_too),
        cmocka_unit_test(the_error_text_is_what_was_set_last),
        cmocka_unit_test(the_old_text_may_be_part_of_the_new_one),
        cmocka_unit_test(too_long_a_text_is_cut),
        cmocka_unit_test(each_thread_has_its_own_text_and_can_pass_it_on),
        cmocka_unit_test(threads_spread_over_the_stripes),
        cmocka_unit_test(slices_compare_like_bytes_and_shorter_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
