#include "base/coding.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/base/random.h"

static struct dec dec_of(const void *p, size_t n)
{
    return dec_from(odb_bytes(p, n));
}

static void fixed_integers_are_little_endian_whatever_the_host(void **state)
{
    uint8_t b[9] = {0};

    (void)state;
    enc_u16(b + 1, 0x0102);
    assert_memory_equal(b + 1, "\x02\x01", 2);
    assert_int_equal(get_u16(b + 1), 0x0102);
    enc_u32(b + 1, 0x01020384);
    assert_memory_equal(b + 1, "\x84\x03\x02\x01", 4);
    assert_true(get_u32(b + 1) == 0x01020384);
    enc_u64(b + 1, UINT64_C(0xf102030405060708));
    assert_memory_equal(b + 1, "\x08\x07\x06\x05\x04\x03\x02\xf1", 8);
    assert_true(get_u64(b + 1) == UINT64_C(0xf102030405060708));
}

static void big_endian_order_is_number_order(void **state)
{
    uint8_t a[8], b[8];
    struct rnd r = rnd_start("test_coding");

    (void)state;
    enc_u64_be(a, UINT64_C(0x0102030405060708));
    assert_memory_equal(a, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    for (int i = 0; i < 10000; i++) {
        uint64_t x = rnd_next(&r) >> rnd_below(&r, 64), y = rnd_next(&r) >> rnd_below(&r, 64);
        int c;

        enc_u64_be(a, x);
        enc_u64_be(b, y);
        c = memcmp(a, b, 8);
        assert_int_equal((c > 0) - (c < 0), (x > y) - (x < y));
        assert_true(get_u64_be(a) == x);
    }
}

static void check_varint(uint64_t v)
{
    uint8_t b[VARINT_MAX + 1];
    uint8_t *end = enc_varint(b, v);
    size_t len = (size_t)(end - b);
    struct dec d = dec_of(b, len);

    assert_int_equal(len, varint_len(v));
    assert_true(len <= VARINT_MAX);
    assert_true(dec_varint(&d) == v);
    assert_false(d.bad);
    assert_ptr_equal(d.p, end);
    for (size_t cut = 0; cut < len; cut++) { /* every length cut short */
        d = dec_of(b, cut);
        assert_true(dec_varint(&d) == 0);
        assert_true(d.bad);
        assert_ptr_equal(d.p, d.end);
    }
    d = dec_of(b, len);
    if (v > UINT32_MAX) {
        assert_true(dec_varint32(&d) == 0);
        assert_true(d.bad);
    } else {
        assert_true(dec_varint32(&d) == v);
        assert_false(d.bad);
    }
    end[-1] |= 0x80; /* the same number, one zero byte longer: a second spelling */
    *end = 0;
    d = dec_of(b, len + 1);
    assert_true(dec_varint(&d) == 0);
    assert_true(d.bad);
}

static void every_number_has_one_varint_and_comes_back(void **state)
{
    struct rnd r = rnd_start("test_coding");

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        check_varint(UINT64_C(1) << bit);
        check_varint((UINT64_C(1) << bit) - 1);
        check_varint((UINT64_C(1) << bit) + 1);
    }
    check_varint(UINT64_MAX);
    for (int i = 0; i < 20000; i++)
        check_varint(rnd_next(&r) >> rnd_below(&r, 64));
}

static void varints_past_64_bits_or_ten_bytes_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } lies[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},     /* 65 bits */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10},     /* 70 bits */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11}, /* eleven bytes */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 12}, /* never ends */
        {"\x80\x00", 2},                                          /* zero in two bytes */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct dec d = dec_of(lies[i].bytes, lies[i].len);

        assert_true(dec_varint(&d) == 0);
        assert_true(d.bad);
        assert_ptr_equal(d.p, d.end);
    }
}

static void reading_past_the_end_is_bad_and_stays_bad(void **state)
{
    uint8_t b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct dec d;

    (void)state;
    for (size_t len = 0; len < 8; len++) {
        d = dec_of(b, len);
        assert_true(dec_u64(&d) == 0);
        assert_true(d.bad);
        assert_ptr_equal(d.p, b + len);
        assert_int_equal(dec_u8(&d), 0);
        assert_true(d.bad);
    }
    d = dec_of(b, 8);
    assert_int_equal(dec_u8(&d), 1);
    assert_int_equal(dec_u16(&d), 0x0302);
    assert_true(dec_u32(&d) == 0x07060504);
    assert_false(d.bad);
    assert_int_equal(dec_left(&d), 1);
    assert_int_equal(dec_u16(&d), 0);
    assert_true(d.bad);
    d = dec_of(b, 3);
    assert_true(dec_u32(&d) == 0);
    assert_true(d.bad);
    d = dec_of(NULL, 0);
    assert_int_equal(dec_left(&d), 0);
    assert_int_equal(dec_bytes(&d, 0).size, 0);
    assert_false(d.bad);
    assert_int_equal(dec_u8(&d), 0);
    assert_true(d.bad);
}

static void a_length_larger_than_what_is_left_is_refused(void **state)
{
    uint8_t b[16] = {3, 'a', 'b', 'c'};
    struct dec d = dec_of(b, 4);
    odb_slice s = dec_lenbytes(&d);

    (void)state;
    assert_int_equal(s.size, 3);
    assert_memory_equal(s.data, "abc", 3);
    assert_false(d.bad);
    for (size_t cut = 0; cut < 4; cut++) {
        d = dec_of(b, cut);
        assert_int_equal(dec_lenbytes(&d).size, 0);
        assert_true(d.bad);
    }
    (void)enc_varint(b, UINT64_MAX); /* would wrap any sum */
    d = dec_of(b, sizeof b);
    assert_int_equal(dec_lenbytes(&d).size, 0);
    assert_true(d.bad);
    d = dec_of(b, 4);
    assert_null(dec_take(&d, SIZE_MAX));
    assert_true(d.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_integers_are_little_endian_whatever_the_host),
        cmocka_unit_test(big_endian_order_is_number_order),
        cmocka_unit_test(every_number_has_one_varint_and_comes_back),
        cmocka_unit_test(varints_past_64_bits_or_ten_bytes_are_refused),
        cmocka_unit_test(reading_past_the_end_is_bad_and_stays_bad),
        cmocka_unit_test(a_length_larger_than_what_is_left_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
