#include "sstable/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "sstable/frame.h"

static void the_header_has_the_bytes_it_always_had(void **state)
{
    static const uint8_t want[40] = {0x89, 'O', 'D', 'B', 's', 's', 't', '\n', 1, 0, 0,
                                     0,    0,   0,   0,   0,   0,   0,   0,    0, 0, 0,
                                     0,    0,   8,   7,   6,   5,   4,   3,    2, 1, 0x2a};
    uint8_t p[SST_HEADER_LEN];

    (void)state;
    sst_header_encode(p, 0x0102030405060708u, 42);
    assert_memory_equal(p, want, sizeof want);
    assert_true(get_u64(p + 40) == hash64(p, 40));
    assert_int_equal(sst_header_check(p, "x", 0x0102030405060708u, 42), ODB_OK);
    assert_int_equal(sst_header_check(p, "x", 0x0102030405060709u, 42), ODB_CORRUPT);
    assert_int_equal(sst_header_check(p, "x", 0x0102030405060708u, 43), ODB_CORRUPT);
    for (size_t bit = 0; bit < sizeof p * 8; bit++) {
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(sst_header_check(p, "x", 0x0102030405060708u, 42), ODB_CORRUPT);
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void a_footer_holds_for_its_file_only(void **state)
{
    struct sst_footer f = {1000, 500, 600, 700, 0xabcdef}, back;
    uint8_t p[SST_FOOTER_LEN];
    uint64_t check = sst_footer_encode(p, &f, 9), got;

    (void)state;
    assert_int_equal(sst_footer_decode(p, "x", 1000, 9, &back, &got), ODB_OK);
    assert_memory_equal(&f, &back, sizeof f);
    assert_true(got == check);
    assert_int_equal(sst_footer_decode(p, "x", 1000, 8, &back, &got), ODB_CORRUPT);
    assert_int_equal(sst_footer_decode(p, "x", 1001, 9, &back, &got), ODB_CORRUPT);
    for (size_t bit = 0; bit < sizeof p * 8; bit++) {
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(sst_footer_decode(p, "x", 1000, 9, &back, &got), ODB_CORRUPT);
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void sections_must_rise(void **state)
{
    static const struct sst_footer lies[] = {
        {1000, 48, 600, 700, 0},  {1000, 500, 499, 700, 0},  {1000, 500, 700, 700, 0},
        {1000, 500, 600, 952, 0}, {1000, 500, 600, 5000, 0}, {1000, 500, UINT64_MAX, 700, 0},
    };
    struct sst_footer back;
    uint8_t p[SST_FOOTER_LEN];
    uint64_t check;

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        (void)sst_footer_encode(p, &lies[i], 9);
        assert_int_equal(sst_footer_decode(p, "x", 1000, 9, &back, &check), ODB_CORRUPT);
    }
}

/* Whoever reads a section has memory for all of it. */
static void sections_have_a_limit(void **state)
{
    const uint64_t max = FRAME_RAW_MAX;
    const struct sst_footer good = {500 + 3 * max + SST_FOOTER_LEN, 500, 500 + max, 500 + 2 * max,
                                    0};
    const struct sst_footer lies[] = {
        {good.file_size + 1, 500, 501 + max, 501 + 2 * max, 0}, /* the filter */
        {good.file_size + 1, 500, 500 + max, 501 + 2 * max, 0}, /* the index */
        {good.file_size + 1, 500, 500 + max, 500 + 2 * max, 0}, /* the properties */
    };
    struct sst_footer back;
    uint8_t p[SST_FOOTER_LEN];
    uint64_t check;

    (void)state;
    (void)sst_footer_encode(p, &good, 9);
    assert_int_equal(sst_footer_decode(p, "x", good.file_size, 9, &back, &check), ODB_OK);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        (void)sst_footer_encode(p, &lies[i], 9);
        assert_int_equal(sst_footer_decode(p, "x", lies[i].file_size, 9, &back, &check),
                         ODB_CORRUPT);
        assert_non_null(strstr(odb_error_text(), "limit"));
    }
}

static void properties_survive_the_trip_and_every_cut_is_refused(void **state)
{
    struct sst_props p = {.entries = 1,
                          .deletes = 2,
                          .keys = 3,
                          .blocks = 4,
                          .raw_bytes = 5,
                          .unpacked_bytes = 6,
                          .min_seq = 7,
                          .max_seq = UINT64_MAX,
                          .max_block_deletes = 9,
                          .block_size = 10,
                          .bits_per_key = 11,
                          .smallest = {"", 0},
                          .largest = {"pear", 4}};
    struct sst_props back;
    struct buf out = {0};

    (void)state;
    assert_int_equal(sst_props_encode(&p, &out), ODB_OK);
    assert_true(sst_props_decode(buf_slice(&out), &back));
    assert_int_equal(back.entries, 1);
    assert_true(back.max_seq == UINT64_MAX);
    assert_int_equal(back.bits_per_key, 11);
    assert_int_equal(back.smallest.size, 0);
    assert_true(odb_slice_equal(back.largest, odb_s("pear")));
    for (size_t n = 0; n < out.len; n++)
        assert_false(sst_props_decode(odb_bytes(out.p, n), &back));
    assert_int_equal(buf_append(&out,
                                "\x03"
                                "new"
                                "\x63"
                                "\x01"
                                "?",
                                7),
                     ODB_OK);
    assert_true(sst_props_decode(buf_slice(&out), &back)); /* unknown: skipped */
    assert_int_equal(buf_append(&out,
                                "\x04"
                                "keys"
                                "\x02"
                                "\x01"
                                "?",
                                8),
                     ODB_OK);
    assert_false(sst_props_decode(buf_slice(&out), &back)); /* known, of another type */
    buf_reset(&out);
    assert_int_equal(buf_append(&out,
                                "\x07"
                                "entries"
                                "\x01"
                                "\x07"
                                "1234567",
                                17),
                     ODB_OK);
    assert_false(sst_props_decode(buf_slice(&out), &back)); /* a number of seven bytes */
    buf_reset(&out);
    assert_int_equal(sst_props_encode(&p, &out), ODB_OK);
    assert_int_equal(buf_append(&out,
                                "\x07"
                                "entries"
                                "\x01"
                                "\x08"
                                "12345678",
                                18),
                     ODB_OK);
    assert_false(sst_props_decode(buf_slice(&out), &back)); /* told twice */
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_header_has_the_bytes_it_always_had),
        cmocka_unit_test(a_footer_holds_for_its_file_only),
        cmocka_unit_test(sections_must_rise),
        cmocka_unit_test(sections_have_a_limit),
        cmocka_unit_test(properties_survive_the_trip_and_every_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
