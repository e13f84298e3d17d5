#include "base/compress.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/base/random.h"

enum { LEN = 5000 };

static void fill_text(uint8_t *p, struct rnd *r)
{
    for (size_t i = 0; i < LEN; i++)
        p[i] = i % 40 < 20 ? (uint8_t)('a' + i % 40) : (uint8_t)rnd_next(r);
}

static void what_is_packed_comes_back(void **state)
{
    struct rnd r = rnd_start("test_compress");
    uint8_t text[LEN], back[LEN];
    size_t cap = lz4_bound(LEN), n;
    uint8_t *packed = malloc(cap);

    (void)state;
    assert_non_null(packed);
    if (!lz4_available()) {
        assert_int_equal(lz4_pack("x", 1, packed, cap, 1), 0);
        assert_int_equal(lz4_unpack("x", 1, back, 1), ODB_UNSUPPORTED);
        free(packed);
        skip();
    }
    fill_text(text, &r);
    for (int acceleration = 1; acceleration < 8; acceleration *= 2) {
        for (size_t len = 1; len <= LEN; len += 1 + len / 3) {
            n = lz4_pack(text, len, packed, cap, acceleration);
            assert_in_range(n, 1, cap);
            memset(back, 0xee, sizeof back);
            assert_int_equal(lz4_unpack(packed, n, back, len), ODB_OK);
            assert_memory_equal(back, text, len);
        }
    }
    free(packed);
}

static void too_little_room_is_told_by_zero(void **state)
{
    struct rnd r = {7};
    uint8_t noise[LEN], packed[LEN];

    (void)state;
    for (size_t i = 0; i < LEN; i++)
        noise[i] = (uint8_t)rnd_next(&r);
    assert_int_equal(lz4_pack(noise, LEN, packed, LEN - 1, 1), 0); /* cannot be made smaller */
    assert_int_equal(lz4_pack(noise, LEN, packed, 0, 1), 0);
    assert_int_equal(lz4_bound((size_t)INT_MAX + 1) && lz4_available(), 0);
}

/* Each decoded buffer is a heap block of its exact size: the sanitizer sees every byte too far. */
static void lies_are_corrupt_and_stay_inside(void **state)
{
    struct rnd r = rnd_start("test_compress");
    uint8_t text[LEN], packed[2 * LEN], *back = malloc(LEN), *lie;
    size_t n;

    (void)state;
    assert_non_null(back);
    if (!lz4_available()) {
        free(back);
        skip();
    }
    fill_text(text, &r);
    n = lz4_pack(text, LEN, packed, sizeof packed, 1);
    assert_true(n > 0);
    assert_int_equal(lz4_unpack(packed, n, back, LEN - 1), ODB_CORRUPT); /* longer than it says */
    for (size_t cut = 0; cut < n; cut++) {
        lie = malloc(cut ? cut : 1);
        assert_non_null(lie);
        memcpy(lie, packed, cut);
        assert_int_equal(lz4_unpack(lie, cut, back, LEN), ODB_CORRUPT);
        free(lie);
    }
    lie = malloc(n);
    assert_non_null(lie);
    for (size_t bit = 0; bit < n * 8; bit++) { /* may decode to something else, never outside */
        odb_status st;

        memcpy(lie, packed, n);
        lie[bit / 8] ^= (uint8_t)(1u << bit % 8);
        st = lz4_unpack(lie, n, back, LEN);
        assert_true(st == ODB_OK || st == ODB_CORRUPT);
    }
    assert_int_equal(lz4_unpack(packed, (size_t)INT_MAX + 1, back, LEN), ODB_CORRUPT);
    assert_int_equal(lz4_unpack(packed, n, back, (size_t)INT_MAX + 1), ODB_CORRUPT);
    free(lie);
    free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(too_little_room_is_told_by_zero),
        cmocka_unit_test(lies_are_corrupt_and_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
