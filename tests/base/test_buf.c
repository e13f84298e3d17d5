#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/lib/test_alloc.h"

static void an_empty_buffer_owns_nothing(void **state)
{
    struct buf b = {0};

    (void)state;
    assert_int_equal(buf_append(&b, NULL, 0), ODB_OK);
    assert_null(b.p);
    assert_int_equal(buf_slice(&b).size, 0);
    buf_release(&b);
}

static void what_is_appended_can_be_read_back(void **state)
{
    struct buf b = {0};
    uint8_t byte;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        byte = (uint8_t)i;
        assert_int_equal(buf_append(&b, &byte, 1), ODB_OK);
    }
    assert_int_equal(b.len, 10000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.p[i], (uint8_t)i);
    buf_release(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, 0);
    assert_null(b.p);
}

static void growing_byte_by_byte_asks_for_memory_rarely(void **state)
{
    struct buf b = {0};

    (void)state;
    test_alloc_fail(-1, 0);
    for (int i = 0; i < 1 << 20; i++)
        assert_int_equal(buf_append(&b, "x", 1), ODB_OK);
    assert_true(test_alloc_requests() < 40);
    buf_release(&b);
}

static void reset_keeps_the_memory(void **state)
{
    struct buf b = {0};
    uint8_t *p;

    (void)state;
    assert_int_equal(buf_assign(&b, "hello", 5), ODB_OK);
    p = b.p;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_append(&b, "world", 5), ODB_OK);
    assert_ptr_equal(b.p, p);
    assert_memory_equal(b.p, "world", 5);
    assert_int_equal(buf_assign(&b, "x", 1), ODB_OK);
    assert_int_equal(b.len, 1);
    buf_release(&b);
}

static void reserved_room_is_not_asked_for_again(void **state)
{
    struct buf b = {0};
    uint8_t *p;

    (void)state;
    assert_int_equal(buf_reserve(&b, 1000), ODB_OK);
    p = b.p;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_append(&b, "x", 1), ODB_OK);
    assert_ptr_equal(b.p, p);
    buf_release(&b);
}

static void out_of_memory_changes_nothing(void **state)
{
    struct buf b = {0};
    char big[1000] = {0};

    (void)state;
    assert_int_equal(buf_assign(&b, "hello", 5), ODB_OK);
    test_alloc_fail(0, 0);
    assert_int_equal(buf_append(&b, big, sizeof big), ODB_NOMEM);
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.p, "hello", 5);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ODB_NOMEM); /* the sum does not wrap */
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 5), ODB_NOMEM);
    assert_int_equal(b.len, 5);
    test_alloc_fail(-1, 0);
    buf_release(&b);
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_owns_nothing),
        cmocka_unit_test(what_is_appended_can_be_read_back),
        cmocka_unit_test(growing_byte_by_byte_asks_for_memory_rarely),
        cmocka_unit_test(reset_keeps_the_memory),
        cmocka_unit_test(reserved_room_is_not_asked_for_again),
        cmocka_unit_test(out_of_memory_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
