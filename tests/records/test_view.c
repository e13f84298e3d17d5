/* tests/records/test_view.c -- records/view.c: the stored form, written, read, and lied about. */
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
#include "records/view.h"

static odb_status open_exact(const void *bytes, size_t len, struct rec_view *out)
{
    uint8_t *copy = malloc(len ? len : 1);
    const char *what = NULL;
    size_t off = 0;
    odb_status st;

    assert_non_null(copy);
    if (len)
        memcpy(copy, bytes, len);
    st = rec_view_open(odb_bytes(copy, len), out, &what, &off);
    assert_true(off <= len);
    if (st == ODB_OK) { /* what was let in can be read */
        uint32_t sum = 0;

        for (uint32_t i = 0; i < out->field_count; i++) {
            uint32_t id, type;
            odb_slice s;
            odb_prop_value v;

            rec_view_field_at(out, i, &id, &type, &s);
            for (size_t j = 0; j < s.size; j++)
                sum += ((const uint8_t *)s.data)[j];
            (void)rec_view_field(out, id, &v);
        }
        assert_true(sum <= len * 255);
    } else {
        assert_non_null(what);
        assert_true(st == ODB_CORRUPT || st == ODB_VERSION);
    }
    free(copy);
    return st;
}

static const odb_field chunk_fields[] = {
    {ODB_FIELD_END, {ODB_PROP_INT, {.integer = 300}}},
    {ODB_FIELD_FILENAME, {ODB_PROP_TEXT, {.bytes = {"a.txt", 5}}}},
    {ODB_FIELD_STATUS, {ODB_PROP_INT, {.integer = 2}}},
    {ODB_FIELD_CHUNK_COUNT, {ODB_PROP_INT, {.integer = 70000}}},
    {ODB_FIELD_APPLICATION + 7, {ODB_PROP_REAL, {.real = 2.5}}},
    {ODB_FIELD_APPLICATION + 8, {ODB_PROP_BOOL, {.boolean = true}}},
    {ODB_FIELD_LAST, {ODB_PROP_NULL, {.integer = 0}}},
};
#define CHUNK_FIELDS (sizeof chunk_fields / sizeof *chunk_fields)

static void sample(struct buf *b, struct buf *props)
{
    odb_prop p[] = {odb_prop_text("lang", "en"), odb_prop_int("n", 5)};
    struct rec_spec spec = {.kind = ODB_KIND_CHUNK,
                            .flags = REC_FLAG_VECTOR,
                            .timestamp = -5,
                            .importance = 0.25f,
                            .content = odb_s("hello"),
                            .fields = chunk_fields,
                            .field_count = CHUNK_FIELDS};

    assert_int_equal(rec_props_append(props, p, 2), ODB_OK);
    spec.props = buf_slice(props);
    assert_int_equal(rec_spec_write(b, &spec), ODB_OK);
}

static void what_was_written_is_read(void **state)
{
    struct buf b = {0}, props = {0};
    struct rec_view v;
    const char *what;
    size_t off;
    odb_prop_value value;

    (void)state;
    sample(&b, &props);
    assert_int_equal(rec_view_open(buf_slice(&b), &v, &what, &off), ODB_OK);
    assert_int_equal(v.kind, ODB_KIND_CHUNK);
    assert_int_equal(v.timestamp, -5);
    assert_true(v.importance == 0.25f);
    assert_true(v.flags & REC_FLAG_VECTOR);
    assert_true(odb_slice_equal(v.content, odb_s("hello")));
    assert_int_equal(v.props.count, 2);
    assert_true(rec_view_field(&v, ODB_FIELD_END, &value));
    assert_int_equal(value.u.integer, 300);
    assert_true(rec_view_field(&v, ODB_FIELD_FILENAME, &value));
    assert_true(odb_slice_equal(value.u.bytes, odb_s("a.txt")));
    assert_true(rec_view_field(&v, ODB_FIELD_STATUS, &value));
    assert_int_equal(value.u.integer, 2);
    assert_true(rec_view_field(&v, ODB_FIELD_CHUNK_COUNT, &value));
    assert_int_equal(value.u.integer, 70000);
    assert_true(rec_view_field(&v, ODB_FIELD_APPLICATION + 7, &value));
    assert_true(value.type == ODB_PROP_REAL && value.u.real == 2.5);
    assert_true(rec_view_field(&v, ODB_FIELD_APPLICATION + 8, &value));
    assert_true(value.type == ODB_PROP_BOOL && value.u.boolean);
    assert_true(rec_view_field(&v, ODB_FIELD_LAST, &value));
    assert_int_equal(value.type, ODB_PROP_NULL);
    assert_false(rec_view_field(&v, ODB_FIELD_START, &value));
    assert_false(rec_view_field(&v, ODB_FIELD_APPLICATION, &value));
    buf_release(&b);
    buf_release(&props);
}

/* An unaligned record must read the same. */
static void alignment_does_not_matter(void **state)
{
    struct buf b = {0}, props = {0};
    uint8_t room[512];

    (void)state;
    sample(&b, &props);
    for (size_t shift = 0; shift < 8; shift++) {
        struct rec_view v;
        const char *what;
        size_t off;

        memcpy(room + shift, b.p, b.len);
        assert_int_equal(rec_view_open(odb_bytes(room + shift, b.len), &v, &what, &off), ODB_OK);
        assert_int_equal(v.timestamp, -5);
    }
    buf_release(&b);
    buf_release(&props);
}

static void a_lie_in_any_field_is_refused(void **state)
{
    /* header 24, table 9 * 8: content, props, filename, end, chunk_count, status, three of ours */
    struct lie {
        size_t at;
        size_t width;
        uint64_t value;
        odb_status want;
    };
    static const struct lie lies[] = {
        {0, 1, 0, ODB_CORRUPT}, /* kind */
        {1, 1, 0, ODB_CORRUPT}, /* version */
        {1, 1, 2, ODB_VERSION},
        {2, 2, 0x0001, ODB_CORRUPT}, /* flags: not in order */
        {2, 2, 0x8003, ODB_VERSION}, /* critical */
        {2, 2, 0x0006, ODB_VERSION}, /* compressed */
        {4, 4, 0, ODB_CORRUPT},      /* total_len */
        {4, 4, UINT32_MAX, ODB_CORRUPT},
        {16, 4, 0x7FC00000, ODB_CORRUPT}, /* importance: not a number, below 0, above 1, infinite */
        {16, 4, 0xBF800000, ODB_CORRUPT},
        {16, 4, 0x3F800001, ODB_CORRUPT},
        {16, 4, 0x7F800000, ODB_CORRUPT},
        {20, 2, 0, ODB_CORRUPT}, /* field_count */
        {20, 2, 7, ODB_CORRUPT},
        {20, 2, 10, ODB_CORRUPT},
        {20, 2, UINT16_MAX, ODB_CORRUPT},
        {22, 2, 1, ODB_CORRUPT}, /* reserved */
        {24, 2, 0, ODB_CORRUPT}, /* an id: none, twice, out of order */
        {24, 2, 2, ODB_CORRUPT},
        {24, 2, 5, ODB_CORRUPT},
        {26, 2, 3, ODB_CORRUPT}, /* a type: not that of the content, not that of the field */
        {34, 2, 4, ODB_CORRUPT},
        {28, 4, 24, ODB_CORRUPT}, /* an end: before the table, before the one before, behind all */
        {36, 4, 97, ODB_CORRUPT},
        {36, 4, UINT32_MAX, ODB_CORRUPT},
        {88, 2, 0xFFFE, ODB_CORRUPT},      /* the last: out of order without its critical bit */
        {40, 2, 0x8000 | 11, ODB_VERSION}, /* critical, and unknown */
    };
    struct buf b = {0}, props = {0};
    struct rec_view v;

    (void)state;
    sample(&b, &props);
    assert_int_equal(open_exact(b.p, b.len, &v), ODB_OK);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t copy[512];
        odb_status got;

        memcpy(copy, b.p, b.len);
        for (size_t j = 0; j < lies[i].width; j++)
            copy[lies[i].at + j] = (uint8_t)(lies[i].value >> 8 * j);
        got = open_exact(copy, b.len, &v);
        if (i == 25) /* 0x7FFE is above the one before and known: another field, and a sound one */
            assert_true(got == ODB_OK);
        else if (got != lies[i].want)
            fail_msg("lie %zu (at %zu) gives %s", i, lies[i].at, odb_status_name(got));
    }
    buf_release(&b);
    buf_release(&props);
}

static void every_cut_is_refused_and_every_flip_survived(void **state)
{
    struct buf b = {0}, props = {0};
    struct rec_view v;

    (void)state;
    sample(&b, &props);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(open_exact(b.p, n, &v), ODB_OK);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.p[bit / 8] = (uint8_t)(b.p[bit / 8] ^ 1 << bit % 8);
        (void)open_exact(b.p, b.len, &v);
        b.p[bit / 8] = (uint8_t)(b.p[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(buf_append(&b, "", 1), ODB_OK);
    enc_u32(b.p + 4, (uint32_t)b.len);
    assert_int_equal(open_exact(b.p, b.len, &v), ODB_CORRUPT); /* behind the last field */
    buf_release(&b);
    buf_release(&props);
}

/* A record with field 11, as a newer release may write it. */
static void newer_record(struct buf *b, bool is_critical)
{
    struct rec_spec spec = {.kind = 1, .timestamp = 1, .importance = 0.5f, .content = odb_s("c")};
    uint8_t table[24], *p;

    assert_int_equal(rec_spec_write(b, &spec), ODB_OK); /* 24 + 8 + 1 */
    assert_int_equal(buf_reserve(b, 64), ODB_OK);
    p = b->p;
    memcpy(table, p + 24, 8);
    memmove(p + 40, p + 32, 1); /* room for one entry */
    enc_u32(p + 28, 41);
    enc_u16(p + 32, (uint16_t)(11 | (is_critical ? 0x8000 : 0)));
    enc_u16(p + 34, 200); /* of a type nobody knows */
    enc_u32(p + 36, 44);
    memcpy(p + 41, "new", 3);
    enc_u16(p + 20, 2);
    enc_u32(p + 4, 44);
    b->len = 44;
}

static void an_unknown_field_is_passed_over_and_kept(void **state)
{
    struct buf b = {0}, again = {0};
    struct rec_view v, w;
    const char *what;
    size_t off;
    odb_prop_value value;

    (void)state;
    newer_record(&b, false);
    assert_int_equal(rec_view_open(buf_slice(&b), &v, &what, &off), ODB_OK);
    assert_true(odb_slice_equal(v.content, odb_s("c")));
    assert_false(rec_view_field(&v, 11, &value));
    for (int only_unknown = 0; only_unknown < 2; only_unknown++) {
        struct rec_spec spec = {.kind = 1,
                                .importance = 1,
                                .content = odb_s("other"),
                                .old = &v,
                                .only_unknown = only_unknown == 1};
        uint32_t id, type;
        odb_slice s;

        assert_int_equal(rec_spec_write(&again, &spec), ODB_OK);
        assert_int_equal(rec_view_open(buf_slice(&again), &w, &what, &off), ODB_OK);
        assert_int_equal(w.field_count, 2);
        rec_view_field_at(&w, 1, &id, &type, &s);
        assert_int_equal(id, 11);
        assert_int_equal(type, 200);
        assert_true(odb_slice_equal(s, odb_s("new")));
    }
    newer_record(&b, true);
    assert_int_equal(rec_view_open(buf_slice(&b), &v, &what, &off), ODB_VERSION);
    buf_release(&b);
    buf_release(&again);
}

static void fields_that_may_not_be_written_are_refused(void **state)
{
    static const odb_field bad[] = {
        {0, {ODB_PROP_INT, {.integer = 1}}},
        {1,
         {ODB_PROP_BYTES, {.bytes = {"x", 1}}}}, /* content and properties have their own place */
        {2, {ODB_PROP_BYTES, {.bytes = {"x", 1}}}},
        {11, {ODB_PROP_INT, {.integer = 1}}},
        {0x3FFF, {ODB_PROP_INT, {.integer = 1}}},
        {0x8000, {ODB_PROP_INT, {.integer = 1}}},
        {ODB_FIELD_FILENAME, {ODB_PROP_INT, {.integer = 1}}},
        {ODB_FIELD_FILENAME, {ODB_PROP_TEXT, {.bytes = {"\xff", 1}}}},
        {ODB_FIELD_STATUS, {ODB_PROP_INT, {.integer = 256}}},
        {ODB_FIELD_STATUS, {ODB_PROP_INT, {.integer = -1}}},
        {ODB_FIELD_CHUNK_COUNT, {ODB_PROP_INT, {.integer = (int64_t)UINT32_MAX + 1}}},
        {ODB_FIELD_FILE_SIZE, {ODB_PROP_INT, {.integer = -1}}},
        {ODB_FIELD_FILE_SIZE, {ODB_PROP_REAL, {.real = 1}}},
        {ODB_FIELD_APPLICATION, {ODB_PROP_REAL, {.real = INFINITY}}},
    };
    odb_field twice[2];
    struct buf b = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rec_spec spec = {.kind = 1, .fields = &bad[i], .field_count = 1};

        if (rec_spec_write(&b, &spec) != ODB_INVALID)
            fail_msg("field %zu is let in", i);
    }
    twice[0] = twice[1] = chunk_fields[0];
    {
        struct rec_spec spec = {.kind = 1, .fields = twice, .field_count = 2};

        assert_int_equal(rec_spec_write(&b, &spec), ODB_INVALID);
    }
    buf_release(&b);
}

static void W06_importance_is_clamped_and_nan_refused(void **state)
{
    float v = -1;

    (void)state;
    assert_int_equal(rec_importance_clamp(NAN, &v), ODB_INVALID);
    assert_int_equal(rec_importance_clamp(-INFINITY, &v), ODB_OK);
    assert_true(v == 0 && !signbit(v));
    assert_int_equal(rec_importance_clamp(INFINITY, &v), ODB_OK);
    assert_true(v == 1);
    assert_int_equal(rec_importance_clamp(-0.0f, &v), ODB_OK);
    assert_false(signbit(v));
    assert_int_equal(rec_importance_clamp(0.25f, &v), ODB_OK);
    assert_true(v == 0.25f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(alignment_does_not_matter),
        cmocka_unit_test(a_lie_in_any_field_is_refused),
        cmocka_unit_test(every_cut_is_refused_and_every_flip_survived),
        cmocka_unit_test(an_unknown_field_is_passed_over_and_kept),
        cmocka_unit_test(fields_that_may_not_be_written_are_refused),
        cmocka_unit_test(W06_importance_is_clamped_and_nan_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
