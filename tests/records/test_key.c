/* tests/records/test_key.c -- records/key.c: order, uniqueness, and refusal of what is no part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "records/key.h"
#include "tests/base/random.h"

static const uint8_t letters[] = {0x00, 0x01, 0x02, 'a', 'd', 0xFE, 0xFF};

struct part {
    uint8_t bytes[8];
    size_t len;
};

static struct part random_part(struct rnd *r)
{
    struct part p = {{0}, rnd_below(r, 6)};

    for (size_t i = 0; i < p.len; i++)
        p.bytes[i] = letters[rnd_below(r, sizeof letters)];
    return p;
}

static odb_slice part_slice(const struct part *p)
{
    return odb_bytes(p->bytes, p->len);
}

static void make_key(struct buf *b, const struct part *p)
{
    buf_reset(b);
    assert_int_equal(rec_key_part(b, part_slice(&p[0])), ODB_OK);
    assert_int_equal(rec_key_part(b, part_slice(&p[1])), ODB_OK);
    assert_int_equal(rec_key_last(b, part_slice(&p[2])), ODB_OK);
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static void keys_compare_as_their_parts_do(void **state)
{
    struct rnd r = rnd_start("keys_compare_as_their_parts_do");
    struct buf a = {0}, b = {0};

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct part x[3], y[3];
        int want = 0;

        for (int j = 0; j < 3; j++) {
            x[j] = random_part(&r);
            y[j] = rnd_below(&r, 2) ? x[j] : random_part(&r);
        }
        for (int j = 0; j < 3 && want == 0; j++)
            want = sign(odb_slice_compare(part_slice(&x[j]), part_slice(&y[j])));
        make_key(&a, x);
        make_key(&b, y);
        assert_int_equal(sign(odb_slice_compare(buf_slice(&a), buf_slice(&b))), want);
    }
    buf_release(&a);
    buf_release(&b);
}

static void parts_come_back_as_they_went_in(void **state)
{
    struct rnd r = rnd_start("parts_come_back_as_they_went_in");
    struct buf b = {0}, room = {0};

    (void)state;
    for (int i = 0; i < 50000; i++) {
        struct part x[3];
        struct dec d;
        odb_slice got;

        for (int j = 0; j < 3; j++)
            x[j] = random_part(&r);
        make_key(&b, x);
        d = dec_from(buf_slice(&b));
        for (int j = 0; j < 2; j++) {
            assert_true(rec_key_take_part(&d, &room, &got));
            assert_true(odb_slice_equal(got, part_slice(&x[j])));
        }
        assert_true(rec_key_take_last(&d, &room, &got));
        assert_true(odb_slice_equal(got, part_slice(&x[2])));
        assert_int_equal(dec_left(&d), 0);
    }
    buf_release(&b);
    buf_release(&room);
}

/* key.h (3): a scan over the first parts finds those keys and no other. */
static void first_parts_are_a_prefix_of_exactly_their_keys(void **state)
{
    struct rnd r = rnd_start("first_parts_are_a_prefix_of_exactly_their_keys");
    struct buf key = {0}, prefix = {0};

    (void)state;
    for (int i = 0; i < 100000; i++) {
        struct part x[3], y[2];
        bool want = true, is_prefix;

        for (int j = 0; j < 3; j++)
            x[j] = random_part(&r);
        for (int j = 0; j < 2; j++) {
            y[j] = rnd_below(&r, 3) ? x[j] : random_part(&r);
            want = want && odb_slice_equal(part_slice(&x[j]), part_slice(&y[j]));
        }
        make_key(&key, x);
        buf_reset(&prefix);
        assert_int_equal(rec_key_part(&prefix, part_slice(&y[0])), ODB_OK);
        assert_int_equal(rec_key_part(&prefix, part_slice(&y[1])), ODB_OK);
        is_prefix = key.len >= prefix.len && memcmp(key.p, prefix.p, prefix.len) == 0;
        assert_int_equal(is_prefix, want);
    }
    buf_release(&key);
    buf_release(&prefix);
}

static void refuses_what_is_no_part(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool is_part, is_last;
    } rows[] = {
        {"", 0, false, true},        {"ab", 2, false, true},          {"\0", 1, false, false},
        {"a\0", 2, false, false},    {"a\0\1", 3, true, false},       {"a\0\1b", 4, true, false},
        {"a\0\xff", 3, false, true}, {"a\0\xff\0\1", 5, true, false}, {"a\0\0", 3, false, false},
        {"a\0\2", 3, false, false},  {"\0\1", 2, true, false},        {"\0\xfe", 2, false, false},
    };
    struct buf room = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dec d = dec_from(odb_bytes(rows[i].bytes, rows[i].len));
        odb_slice got;

        assert_int_equal(rec_key_take_part(&d, &room, &got), rows[i].is_part);
        assert_int_equal(d.bad, !rows[i].is_part);
        d = dec_from(odb_bytes(rows[i].bytes, rows[i].len));
        assert_int_equal(rec_key_take_last(&d, &room, &got), rows[i].is_last);
        assert_int_equal(d.bad, !rows[i].is_last);
    }
    buf_release(&room);
}

static void numbers_keep_their_order(void **state)
{
    static const double reals[] = {-INFINITY, -1e308, -2, -1.5, -1, -1e-308, -5e-324, 0,
                                   5e-324,    1e-308, 1,  1.5,  2,  1e308,   INFINITY};
    static const int64_t ints[] = {INT64_MIN, INT64_MIN + 1, -256, -1, 0, 1, 255, 256, INT64_MAX};
    uint8_t a[8], b[8];

    (void)state;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        rec_key_put_i64(a, ints[i]);
        assert_true(rec_key_get_i64(a) == ints[i]);
        for (size_t j = 0; j < i; j++) {
            rec_key_put_i64(b, ints[j]);
            assert_true(memcmp(b, a, 8) < 0);
        }
    }
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        rec_key_put_f64(a, reals[i]);
        assert_true(rec_key_get_f64(a) == reals[i]);
        for (size_t j = 0; j < i; j++) {
            rec_key_put_f64(b, reals[j]);
            assert_true(memcmp(b, a, 8) < 0);
        }
    }
    for (int i = -100; i <= 100; i++) {
        const float real = (float)i / 7; /* the x87 compares with more digits than are stored */

        rec_key_put_f32(a, real);
        assert_true(rec_key_get_f32(a) == real);
        rec_key_put_f32(b, (float)(i - 1) / 7);
        assert_true(memcmp(b, a, 4) < 0);
    }
    rec_key_put_f64(a, -0.0);
    rec_key_put_f64(b, 0.0);
    assert_memory_equal(a, b, 8);
    rec_key_put_f32(a, -0.0f);
    rec_key_put_f32(b, 0.0f);
    assert_memory_equal(a, b, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_compare_as_their_parts_do),
        cmocka_unit_test(parts_come_back_as_they_went_in),
        cmocka_unit_test(first_parts_are_a_prefix_of_exactly_their_keys),
        cmocka_unit_test(refuses_what_is_no_part),
        cmocka_unit_test(numbers_keep_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
