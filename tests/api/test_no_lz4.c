/* tests/api/test_no_lz4.c -- a build without LZ4: it does without, and says so where it cannot. */
#include "tests/api/fixture.h"

#include "base/compress.h"
#include "sstable/frame.h"

static void blocks_are_not_packed(void **state)
{
    odb_options o = fixture_options();
    char dir[64], key[16], value[200];
    odb_stats_t s = {.size = sizeof s};
    odb_db *db;

    (void)state;
    assert_false(lz4_available());
    memset(value, 'v', sizeof value); /* as packable as can be */
    fixture_make_dir(dir, sizeof dir);
    assert_ok(odb_open(dir, &o, &db));
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        assert_ok(odb_put(db, NULL, odb_s(key), odb_bytes(value, sizeof value), NULL));
    }
    assert_ok(odb_compact(db, NULL, NULL, NULL, NULL));
    assert_ok(odb_stats(db, NULL, &s));
    assert_true(s.level[0].files == 0 && s.flushes > 0);
    assert_ok(odb_exists(odb_now(db), NULL, odb_s("0999")));
    assert_ok(odb_verify(db, NULL, NULL));
    assert_ok(odb_close(db));
    o.compression = ODB_COMPRESSION_LZ4;
    assert_status(odb_open(dir, &o, &db), ODB_UNSUPPORTED);
    assert_non_null(strstr(odb_error_text(), "LZ4"));
    o.compression = ODB_COMPRESSION_NONE;
    assert_ok(odb_open(dir, &o, &db));
    assert_ok(odb_close(db));
    fixture_remove_dir(dir);
}

static void a_packed_block_is_refused_by_name(void **state)
{
    struct frame_view packed = {odb_s("whatever"), 100, CODEC_LZ4};
    uint8_t out[100];

    (void)state;
    assert_status(frame_unpack(&packed, out, "000007.sst", 48), ODB_UNSUPPORTED);
    assert_non_null(strstr(odb_error_text(), "000007.sst"));
    assert_non_null(strstr(odb_error_text(), "LZ4"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_not_packed),
        cmocka_unit_test(a_packed_block_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
