#include "sstable/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

#define SALT 77u
#define OFF  4711u

static void fill(struct rnd *r, uint8_t *p, size_t n, bool is_dull)
{
    for (size_t i = 0; i < n; i++)
        p[i] = is_dull && i % 8 ? 'x' : (uint8_t)rnd_next(r);
}

static void what_goes_in_comes_out(void **state)
{
    struct rnd r = rnd_start("frames");
    static uint8_t raw[70000], back[70000];

    (void)state;
    for (int i = 0; i < 2000; i++) {
        size_t n = rnd_below(&r, i % 50 ? 500 : sizeof raw);
        bool is_dull = rnd_below(&r, 2);
        enum codec codec = rnd_below(&r, 2) ? CODEC_LZ4 : CODEC_RAW;
        struct buf out = {0};
        struct frame_view v;
        uint64_t check;

        fill(&r, raw, n, is_dull);
        assert_int_equal(frame_append(&out, odb_bytes(raw, n), codec, 1, SALT, OFF, &check),
                         ODB_OK);
        assert_int_equal(frame_check(buf_slice(&out)), check);
        assert_null(frame_open(buf_slice(&out), SALT, OFF, true, &v));
        assert_int_equal(v.raw_len, n);
        assert_int_equal(frame_unpack(&v, back, "f", OFF), ODB_OK);
        if (n)
            assert_memory_equal(raw, back, n);
        if (v.codec == CODEC_LZ4) /* an eighth saved, or not worth it */
            assert_true(v.payload.size <= n - n / 8);
        else
            assert_int_equal(out.len, n + FRAME_TAIL);
        buf_release(&out);
    }
}

static void another_place_or_file_fails_the_check(void **state)
{
    struct buf out = {0};
    struct frame_view v;
    uint64_t check;

    (void)state;
    assert_int_equal(frame_append(&out, odb_s("hello"), CODEC_RAW, 1, SALT, OFF, &check), ODB_OK);
    assert_non_null(frame_open(buf_slice(&out), SALT, OFF + 1, true, &v));
    assert_non_null(frame_open(buf_slice(&out), SALT + 1, OFF, true, &v));
    assert_null(frame_open(buf_slice(&out), SALT + 1, OFF, false, &v));
    buf_release(&out);
}

static void every_flip_and_every_cut_is_noticed(void **state)
{
    struct rnd r = rnd_start("frame damage");
    struct buf out = {0};
    struct frame_view v;
    uint8_t raw[300];
    uint64_t check;

    (void)state;
    fill(&r, raw, sizeof raw, true);
    assert_int_equal(
        frame_append(&out, odb_bytes(raw, sizeof raw), CODEC_LZ4, 1, SALT, OFF, &check), ODB_OK);
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_non_null(frame_open(buf_slice(&out), SALT, OFF, true, &v));
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t n = 0; n < out.len; n++)
        assert_non_null(frame_open(odb_bytes(out.p, n), SALT, OFF, true, &v));
    buf_release(&out);
}

static void lengths_that_lie_are_refused_before_memory_is_asked_for(void **state)
{
    static const struct {
        uint32_t raw_len;
        uint8_t codec;
    } lies[] = {{UINT32_MAX, CODEC_RAW},
                {UINT32_MAX, CODEC_LZ4},
                {101, CODEC_RAW},
                {99, CODEC_RAW},
                {100 * 255 + 255, CODEC_LZ4},
                {100 * 255 + 255, CODEC_LZ4_BLOCK},
                {100, 3},
                {100, 255}};
    uint8_t bytes[100 + FRAME_TAIL] = {0};
    struct frame_view v;

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        enc_u32(bytes + 100, lies[i].raw_len);
        bytes[104] = lies[i].codec;
        enc_u64(bytes + 105, hash_salted(bytes, 105, SALT, OFF));
        assert_non_null(frame_open(odb_bytes(bytes, sizeof bytes), SALT, OFF, true, &v));
    }
}

static void bytes_that_do_not_unpack_are_corrupt_by_name(void **state)
{
    uint8_t bytes[20 + FRAME_TAIL], dst[100];
    struct frame_view v;

    (void)state;
    if (!lz4_available())
        return;
    memset(bytes, 0xff, sizeof bytes);
    enc_u32(bytes + 20, 100);
    bytes[24] = CODEC_LZ4;
    enc_u64(bytes + 25, hash_salted(bytes, 25, SALT, OFF));
    assert_null(frame_open(odb_bytes(bytes, sizeof bytes), SALT, OFF, true, &v));
    assert_int_equal(frame_unpack(&v, dst, "000009.sst", OFF), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "000009.sst"));
    assert_non_null(strstr(odb_error_text(), "4711"));
}

static void columns_that_cannot_be_turned_back_are_corrupt_by_name(void **state)
{
    /* No columns; behind the header 236 bytes: the prefixes of 29 rows, and not those of 30. */
    uint8_t raw[300] = {[0] = 1}, back[300];
    struct buf out = {0};
    struct frame_view v;
    uint64_t check;

    (void)state;
    if (!lz4_available())
        return;
    for (raw[4] = 29; raw[4] <= 30; raw[4]++) {
        buf_reset(&out);
        assert_int_equal(
            frame_append(&out, odb_bytes(raw, sizeof raw), CODEC_LZ4_BLOCK, 1, SALT, OFF, &check),
            ODB_OK);
        assert_null(frame_open(buf_slice(&out), SALT, OFF, true, &v));
        assert_int_equal(v.codec, CODEC_LZ4_BLOCK);
        assert_int_equal(frame_unpack(&v, back, "000009.sst", OFF),
                         raw[4] == 29 ? ODB_OK : ODB_CORRUPT);
    }
    assert_non_null(strstr(odb_error_text(), "000009.sst"));
    buf_release(&out);
}

static void without_memory_nothing_changes(void **state)
{
    struct buf out = {0};
    uint64_t check;

    (void)state;
    test_alloc_fail(0, 0);
    assert_int_equal(frame_append(&out, odb_s("hello"), CODEC_RAW, 1, SALT, OFF, &check),
                     ODB_NOMEM);
    test_alloc_fail(-1, 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(
        frame_append(&out, odb_bytes("", FRAME_RAW_MAX + 1), CODEC_RAW, 1, SALT, OFF, &check),
        ODB_TOO_LARGE);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(another_place_or_file_fails_the_check),
        cmocka_unit_test(every_flip_and_every_cut_is_noticed),
        cmocka_unit_test(lengths_that_lie_are_refused_before_memory_is_asked_for),
        cmocka_unit_test(bytes_that_do_not_unpack_are_corrupt_by_name),
        cmocka_unit_test(columns_that_cannot_be_turned_back_are_corrupt_by_name),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
