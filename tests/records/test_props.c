/* tests/records/test_props.c -- records/props.c: blocks written, found in, and lied about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/coding.h"
#include "records/props.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

/* Open a copy of exactly that many bytes, so that a sanitizer sees a step too far. */
static const char *open_exact(const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct rec_props p;
    const char *bad;

    assert_non_null(copy);
    if (len)
        memcpy(copy, bytes, len);
    bad = rec_props_open(odb_bytes(copy, len), &p);
    for (uint32_t i = 0; !bad && i < p.count; i++) { /* what was let in can be read */
        odb_prop prop;
        odb_prop_value v;

        rec_props_at(&p, i, &prop);
        assert_true(rec_props_find(&p, prop.name, &v));
        assert_int_equal(v.type, prop.value.type);
    }
    free(copy);
    return bad;
}

static void sample(struct buf *b)
{
    odb_prop props[] = {
        odb_prop_text("lang", "en"),
        odb_prop_int("pages", -672),
        odb_prop_real("price", 59.9),
        odb_prop_bool("is_new", true),
        odb_prop_null("gone"),
        odb_prop_json("more", "{\"a\":[1]}"),
        odb_prop_bytes("raw", odb_bytes("\0\xff", 2)),
        odb_prop_text("empty", ""),
    };

    assert_int_equal(rec_props_append(b, props, sizeof props / sizeof *props), ODB_OK);
}

static void what_went_in_is_found_by_name(void **state)
{
    struct buf b = {0};
    struct rec_props p;
    odb_prop_value v;
    odb_prop at;

    (void)state;
    sample(&b);
    assert_null(rec_props_open(buf_slice(&b), &p));
    assert_int_equal(p.count, 8);
    assert_true(rec_props_find(&p, odb_s("lang"), &v));
    assert_int_equal(v.type, ODB_PROP_TEXT);
    assert_true(odb_slice_equal(v.u.bytes, odb_s("en")));
    assert_true(rec_props_find(&p, odb_s("pages"), &v));
    assert_int_equal(v.u.integer, -672);
    assert_true(rec_props_find(&p, odb_s("price"), &v));
    assert_true(v.u.real == (double)59.9); /* the x87 would compare with more digits */
    assert_true(rec_props_find(&p, odb_s("is_new"), &v));
    assert_true(v.u.boolean);
    assert_true(rec_props_find(&p, odb_s("gone"), &v));
    assert_int_equal(v.type, ODB_PROP_NULL);
    assert_true(rec_props_find(&p, odb_s("raw"), &v));
    assert_true(odb_slice_equal(v.u.bytes, odb_bytes("\0\xff", 2)));
    assert_false(rec_props_find(&p, odb_s("lan"), &v));
    assert_false(rec_props_find(&p, odb_s(""), &v));
    assert_false(rec_props_find(&p, odb_s("zzz"), &v));
    rec_props_at(&p, 0, &at);
    assert_true(odb_slice_equal(at.name, odb_s("empty")));
    buf_release(&b);
}

static void order_does_not_matter(void **state)
{
    struct rnd r = rnd_start("order_does_not_matter");
    char names[40][8];
    odb_prop props[40];
    struct buf a = {0}, b = {0};

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        (void)snprintf(names[i], sizeof names[i], "p%zu", i);
        props[i] = odb_prop_int(names[i], (int64_t)i);
    }
    for (size_t n = 0; n <= 40; n++) {
        buf_reset(&a);
        buf_reset(&b);
        assert_int_equal(rec_props_append(&a, props, n), ODB_OK);
        for (size_t i = n; i > 1; i--) {
            size_t j = rnd_below(&r, (uint32_t)i);
            odb_prop swap = props[i - 1];

            props[i - 1] = props[j];
            props[j] = swap;
        }
        assert_int_equal(rec_props_append(&b, props, n), ODB_OK);
        assert_true(odb_slice_equal(buf_slice(&a), buf_slice(&b)));
        assert_null(open_exact(a.p, a.len));
        if (n < 40) /* the next turn needs the first n + 1 */
            for (size_t i = 0; i < 40; i++)
                props[i] = odb_prop_int(names[i], (int64_t)i);
    }
    buf_release(&a);
    buf_release(&b);
}

static void expect_invalid(const odb_prop *props, size_t count)
{
    struct buf b = {0};

    assert_int_equal(buf_append(&b, "x", 1), ODB_OK);
    assert_int_equal(rec_props_append(&b, props, count), ODB_INVALID);
    assert_int_equal(b.len, 1);
    buf_release(&b);
}

static void what_may_not_be_written_is_refused(void **state)
{
    char longest[ODB_PROP_NAME_MAX + 2];
    odb_prop twice[] = {odb_prop_int("a", 1), odb_prop_int("b", 1), odb_prop_int("a", 2)}, p;

    (void)state;
    expect_invalid(twice, 3);
    p = odb_prop_int("", 1);
    expect_invalid(&p, 1);
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = 0;
    p = odb_prop_int(longest, 1);
    expect_invalid(&p, 1);
    p = odb_prop_int("\xff", 1);
    expect_invalid(&p, 1);
    p = odb_prop_real("r", NAN);
    expect_invalid(&p, 1);
    p = odb_prop_real("r", INFINITY);
    expect_invalid(&p, 1);
    p = odb_prop_text("t", "\xc0\x80");
    expect_invalid(&p, 1);
    p = odb_prop_json("j", "{");
    expect_invalid(&p, 1);
    p.value.type = (odb_prop_type)7;
    expect_invalid(&p, 1);
    p = odb_prop_bytes("b", odb_bytes(NULL, 3));
    expect_invalid(&p, 1);
}

/* The block {"a": 1, "b": "x"}: 4 + 2 * 12 + (1 + 8 + 1 + 1). */
static void fixture_block(uint8_t *out, size_t *len)
{
    odb_prop props[] = {odb_prop_int("a", 1), odb_prop_text("b", "x")};
    struct buf b = {0};

    assert_int_equal(rec_props_append(&b, props, 2), ODB_OK);
    assert_int_equal(b.len, 39);
    memcpy(out, b.p, b.len);
    *len = b.len;
    buf_release(&b);
}

static void a_lie_in_any_field_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
    } u32s[] = {
        {0, 0},  {0, 1},  {0, 3},   {0, UINT32_MAX}, /* the count */
        {4, 0},  {4, 2},  {4, 200}, {4, UINT32_MAX}, /* where a name ends */
        {8, 0},  {8, 8},  {8, 10},  {8, UINT32_MAX}, /* where a value ends */
        {16, 0}, {16, 9}, {16, 12}, {20, 10},        {20, 12}, {20, UINT32_MAX},
    };
    static const struct {
        size_t at;
        uint8_t value;
    } u8s[] = {
        {12, 0},   {12, 1},   {12, 7},   {12, 255}, /* a type that does not fit, or none */
        {13, 1},   {14, 1},   {15, 255}, {27, 1},   /* what must be zero */
        {28, 'b'}, {28, 'c'},                       /* names equal, and out of order */
    };
    uint8_t block[64], copy[64];
    size_t len;

    (void)state;
    fixture_block(block, &len);
    assert_null(open_exact(block, len));
    for (size_t i = 0; i < sizeof u32s / sizeof *u32s; i++) {
        memcpy(copy, block, len);
        enc_u32(copy + u32s[i].at, u32s[i].value);
        if (!open_exact(copy, len))
            fail_msg("%u at %zu is let in", (unsigned)u32s[i].value, u32s[i].at);
    }
    for (size_t i = 0; i < sizeof u8s / sizeof *u8s; i++) {
        memcpy(copy, block, len);
        copy[u8s[i].at] = u8s[i].value;
        if (!open_exact(copy, len))
            fail_msg("%u at %zu is let in", u8s[i].value, u8s[i].at);
    }
}

static void every_cut_is_refused_and_every_flip_survived(void **state)
{
    struct buf b = {0};

    (void)state;
    sample(&b);
    for (size_t n = 0; n < b.len; n++)
        assert_non_null(open_exact(b.p, n));
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.p[bit / 8] = (uint8_t)(b.p[bit / 8] ^ 1 << bit % 8);
        (void)open_exact(b.p, b.len);
        b.p[bit / 8] = (uint8_t)(b.p[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(buf_append(&b, "", 1), ODB_OK);
    assert_non_null(open_exact(b.p, b.len)); /* and one byte too many */
    buf_release(&b);
}

static void a_merge_sets_unsets_and_keeps(void **state)
{
    odb_prop old[] = {odb_prop_int("a", 1), odb_prop_int("b", 2), odb_prop_int("c", 3)};
    odb_prop set[] = {odb_prop_text("d", "new"), odb_prop_int("b", 20)};
    odb_prop want[] = {odb_prop_int("a", 1), odb_prop_int("b", 20), odb_prop_text("d", "new")};
    odb_slice unset[] = {odb_s("c"), odb_s("zzz")}, both = odb_s("b");
    struct buf a = {0}, b = {0}, c = {0};
    struct rec_props p;

    (void)state;
    assert_int_equal(rec_props_append(&a, old, 3), ODB_OK);
    assert_null(rec_props_open(buf_slice(&a), &p));
    assert_int_equal(rec_props_merge(&b, &p, set, 2, unset, 2), ODB_OK);
    assert_int_equal(rec_props_append(&c, want, 3), ODB_OK);
    assert_true(odb_slice_equal(buf_slice(&b), buf_slice(&c)));
    assert_int_equal(rec_props_merge(&b, &p, set, 2, &both, 1), ODB_INVALID);
    buf_release(&a);
    buf_release(&b);
    buf_release(&c);
}

static void every_shortage_of_memory_is_a_status(void **state)
{
    odb_status st = ODB_NOMEM;
    odb_prop props[20];
    char names[20][4];

    (void)state;
    for (int i = 0; i < 20; i++) {
        (void)snprintf(names[i], sizeof names[i], "%d", i);
        props[i] = odb_prop_int(names[i], i);
    }
    for (long n = 0; st != ODB_OK; n++) {
        struct buf b = {0};

        assert_true(n < 20);
        test_alloc_fail(n, 0);
        st = rec_props_append(&b, props, 20);
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        test_alloc_fail(-1, 0);
        assert_true(st == ODB_OK || b.len == 0);
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_went_in_is_found_by_name),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(what_may_not_be_written_is_refused),
        cmocka_unit_test(a_lie_in_any_field_is_refused),
        cmocka_unit_test(every_cut_is_refused_and_every_flip_survived),
        cmocka_unit_test(a_merge_sets_unsets_and_keeps),
        cmocka_unit_test(every_shortage_of_memory_is_a_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
