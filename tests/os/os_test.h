/* tests/os/os_test.h -- what the tests of os/ have in common. */
#ifndef OS_TEST_H
#define OS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "os/os.h"
#include "tests/lib/test_alloc.h"

/* With the error text where it is not what was expected. */
#define assert_status(call, expected)                                                              \
    do {                                                                                           \
        odb_status got_ = (call);                                                                  \
        if (got_ != (expected))                                                                    \
            print_error("%s: %s (%s)\n", #call, odb_status_name(got_), odb_error_text());          \
        assert_int_equal(got_, expected);                                                          \
    } while (0)
#define assert_ok(call) assert_status(call, ODB_OK)

static inline bool os_test_count_each(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return true;
}

static inline int os_test_entries(struct os_dir *dir)
{
    int n = 0;

    assert_ok(os_dir_list(dir, os_test_count_each, &n));
    return n;
}

static inline bool os_test_exists(struct os_dir *dir, const char *name)
{
    struct os_file *f = NULL;
    odb_status st = os_open(dir, name, 0, &f);

    os_close(f);
    return st == ODB_OK;
}

/* Make `name` with that text in it; synced where asked. */
static inline void os_test_put(struct os_dir *dir, const char *name, const char *text, bool synced)
{
    struct os_file *f = NULL;

    assert_ok(os_open(dir, name, OS_WRITE | OS_CREATE, &f));
    assert_ok(os_write(f, 0, text, strlen(text)));
    if (synced)
        assert_ok(os_sync(f));
    os_close(f);
}

/* The whole content of `name`, at most `cap` bytes. */
static inline size_t os_test_get(struct os_dir *dir, const char *name, void *out, size_t cap)
{
    struct os_file *f = NULL;
    size_t got = 0;

    assert_ok(os_open(dir, name, 0, &f));
    assert_ok(os_read(f, 0, out, cap, &got));
    os_close(f);
    return got;
}

/* With the nth request for memory refused, for every n it gets to, `once` says so and leaks nothing. */
static inline void os_test_every_request_refused(odb_status (*once)(void))
{
    odb_status st = ODB_NOMEM;
    long alive = test_alloc_alive(), n = 0;

    for (; st == ODB_NOMEM; n++) {
        test_alloc_fail(n, 0);
        st = once();
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        assert_int_equal(test_alloc_alive(), alive);
    }
    test_alloc_fail(-1, 0);
    assert_int_equal(st, ODB_OK);
    assert_true(n > 5);
}

#endif
