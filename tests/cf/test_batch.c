/* tests/cf/test_batch.c -- operations as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cf/batch.h"
#include "tests/lib/test_alloc.h"
#include "wal/wal.h"

static void fixture_batch(struct batch *b)
{
    *b = (struct batch){0};
    assert_int_equal(batch_put(b, 0, odb_s("a"), odb_s("one")), ODB_OK);
    assert_int_equal(batch_delete(b, 300, odb_s("gone")), ODB_OK);
    assert_int_equal(batch_put(b, UINT32_MAX, odb_s(""), odb_s("")), ODB_OK);
    assert_int_equal(batch_put(b, 7, odb_s("long"), odb_bytes("\0", 1)), ODB_OK);
}

static void what_goes_in_comes_out(void **state)
{
    struct batch b;
    struct batch_op op;
    struct dec d;

    (void)state;
    fixture_batch(&b);
    assert_int_equal(b.count, 4);
    d = dec_from(buf_slice(&b.ops));
    assert_true(batch_next(&d, &op));
    assert_int_equal(op.kind, KIND_PUT);
    assert_int_equal(op.family, 0);
    assert_true(odb_slice_equal(op.key, odb_s("a")) && odb_slice_equal(op.value, odb_s("one")));
    assert_true(batch_next(&d, &op));
    assert_int_equal(op.kind, KIND_DELETE);
    assert_int_equal(op.family, 300);
    assert_true(odb_slice_equal(op.key, odb_s("gone")));
    assert_int_equal(op.value.size, 0);
    assert_true(batch_next(&d, &op));
    assert_int_equal(op.family, UINT32_MAX);
    assert_int_equal(op.key.size + op.value.size, 0);
    assert_true(batch_next(&d, &op));
    assert_false(batch_next(&d, &op));
    assert_false(d.bad);
    batch_clear(&b);
    assert_int_equal(b.count + b.ops.len, 0);
    batch_release(&b);
}

static void sizes_over_the_limit_are_refused_and_change_nothing(void **state)
{
    struct batch b;
    size_t len;

    (void)state;
    fixture_batch(&b);
    len = b.ops.len;
    assert_int_equal(batch_put(&b, 0, odb_bytes("", KEY_LEN_MAX + 1), odb_s("")), ODB_TOO_LARGE);
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_bytes("", VALUE_LEN_MAX + 1)), ODB_TOO_LARGE);
    assert_int_equal(batch_delete(&b, 0, odb_bytes("", KEY_LEN_MAX + 1)), ODB_TOO_LARGE);
    assert_int_equal(b.ops.len, len);
    assert_int_equal(b.count, 4);
    b.count = UINT32_MAX;
    assert_int_equal(batch_delete(&b, 0, odb_s("k")), ODB_TOO_LARGE);
    batch_release(&b);
}

static void foreign_bytes_are_taken_when_they_are_a_batch(void **state)
{
    struct batch b, c = {0};

    (void)state;
    fixture_batch(&b);
    assert_int_equal(batch_put(&c, 1, odb_s("other"), odb_s("content")), ODB_OK);
    assert_int_equal(batch_from_bytes(&c, buf_slice(&b.ops)), ODB_OK);
    assert_int_equal(c.count, b.count);
    assert_true(odb_slice_equal(buf_slice(&c.ops), buf_slice(&b.ops)));
    assert_int_equal(batch_from_bytes(&c, buf_slice(&c.ops)), ODB_OK); /* its own */
    assert_int_equal(c.count, 4);
    batch_release(&b);
    batch_release(&c);
}

static void every_cut_is_refused_or_a_shorter_batch(void **state)
{
    struct batch b, c = {0};
    uint32_t whole = 0;

    (void)state;
    fixture_batch(&b);
    for (size_t n = 0; n < b.ops.len; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* exactly so long: a read past the end is seen */
        odb_status st;

        memcpy(copy, b.ops.p, n);
        st = batch_from_bytes(&c, odb_bytes(copy, n));
        if (st == ODB_OK) {
            assert_int_equal(c.count, whole++);
        } else {
            assert_int_equal(st, ODB_INVALID);
        }
        free(copy);
    }
    assert_int_equal(whole, 4); /* after 0, 1, 2 and 3 operations */
    batch_release(&b);
    batch_release(&c);
}

static void every_bit_flip_is_refused_or_still_a_batch(void **state)
{
    struct batch b, c = {0};

    (void)state;
    fixture_batch(&b);
    for (size_t bit = 0; bit < b.ops.len * 8; bit++) {
        uint8_t *copy = malloc(b.ops.len);
        struct batch_op op;
        struct dec d;
        uint32_t count = 0;

        memcpy(copy, b.ops.p, b.ops.len);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (batch_from_bytes(&c, odb_bytes(copy, b.ops.len)) == ODB_OK) {
            for (d = dec_from(buf_slice(&c.ops)); batch_next(&d, &op);)
                count++;
            assert_false(d.bad);
            assert_int_equal(count, c.count);
        }
        free(copy);
    }
    batch_release(&b);
    batch_release(&c);
}

static void lies_are_refused(void **state)
{
    static const struct {
        const char *lie;
        uint8_t bytes[16];
        size_t len;
    } t[] = {
        {"a kind that is not known", {3, 0, 1, 1, 'k', 'v'}, 6},
        {"a kind that is not known, shaped like a delete", {3, 0, 1, 'k'}, 4},
        {"kind 0", {0, 0, 1, 1, 'k', 'v'}, 6},
        {"a family over 32 bits", {2, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0}, 8},
        {"a number spelled too long", {2, 0x80, 0, 1, 0, 'k'}, 6},
        {"a key past the end", {1, 0, 2, 'k'}, 4},
        {"a value past the end", {2, 0, 1, 2, 'k', 'v'}, 6},
        {"a key over its limit", {1, 0, 0x81, 0x80, 0x04, 'k'}, 6},
        {"a value length that wraps",
         {2, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'k'},
         14},
    };
    struct batch b = {0};

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        odb_status st = batch_from_bytes(&b, odb_bytes(t[i].bytes, t[i].len));

        if (st != ODB_INVALID)
            fail_msg("%s: %s", t[i].lie, odb_status_name(st));
    }
    batch_release(&b);
}

static void without_memory_the_batch_stays_as_it_was(void **state)
{
    struct batch b = {0};
    uint8_t big[500] = {0};

    (void)state;
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("v")), ODB_OK);
    test_alloc_fail(0, 1);
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_bytes(big, sizeof big)), ODB_NOMEM);
    test_alloc_fail(-1, 0);
    assert_int_equal(b.count, 1);
    assert_int_equal(b.ops.len, 6);
    batch_release(&b);
    assert_int_equal(test_alloc_alive(), 0);
}

/* As if it held so much already: what lies behind its end is not looked at. */
static void a_batch_has_a_largest_size(void **state)
{
    struct batch b = {0};
    uint8_t byte = 2;
    size_t len;

    (void)state;
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("v")), ODB_OK);
    len = b.ops.len;
    b.ops.len = WAL_PAYLOAD_MAX - 8;
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("v")), ODB_TOO_LARGE);
    assert_int_equal(batch_delete(&b, 0, odb_s("k")), ODB_TOO_LARGE);
    b.ops.len = len;
    assert_int_equal(batch_from_bytes(&b, odb_bytes(&byte, WAL_PAYLOAD_MAX + 1)), ODB_TOO_LARGE);
    assert_int_equal(b.ops.len, len);
    assert_int_equal(b.count, 1);
    test_alloc_fail(0, 0);
    {
        uint8_t large[512] = {2, 0, 1, 0, 'k'};
        struct batch fresh = {0};

        for (size_t at = 5; at + 5 <= sizeof large; at += 5)
            memcpy(large + at, large, 5);
        assert_int_equal(batch_from_bytes(&fresh, odb_bytes(large, 510)), ODB_NOMEM);
        assert_int_equal(fresh.count, 0);
        test_alloc_fail(-1, 0);
        assert_int_equal(batch_from_bytes(&fresh, odb_bytes(large, 510)), ODB_OK);
        assert_int_equal(fresh.count, 102);
        batch_release(&fresh);
    }
    batch_release(&b);
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_has_a_largest_size),
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(sizes_over_the_limit_are_refused_and_change_nothing),
        cmocka_unit_test(foreign_bytes_are_taken_when_they_are_a_batch),
        cmocka_unit_test(every_cut_is_refused_or_a_shorter_batch),
        cmocka_unit_test(every_bit_flip_is_refused_or_still_a_batch),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(without_memory_the_batch_stays_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
