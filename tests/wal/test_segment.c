#include "tests/wal/fixture.h"

#include "base/coding.h"
#include "base/ikey.h"
#include "wal/segment.h"

static struct wal_header sample_header(void)
{
    return (struct wal_header){
        .db_id = LOG_DB,
        .file_no = 12,
        .salt = UINT64_C(0xabcdef0123456789),
        .first_lsn = 65536,
        .next_seq = 1000,
        .prev_no = 9,
        .prev_end = 65536,
        .prev_check = 42,
        .durable = 4096,
    };
}

static void reseal(uint8_t *block)
{
    enc_u64(block + 4088, hash_salted(block, 4088, 0, 0));
    enc_u64(block + 4136, hash_salted(block + 4096, 40, get_u64(block + 40), 0));
}

static odb_status decode(const uint8_t *block, bool *has_link)
{
    struct wal_header out;
    const char *why;
    odb_status st = wal_header_decode(block, LOG_DB, 12, &out, has_link, &why);

    assert_true((st == ODB_OK) == (why == NULL));
    return st;
}

static void a_header_comes_back_as_it_was(void **state)
{
    struct wal_header h = sample_header(), back;
    uint8_t block[WAL_SEGMENT_HEADER];
    bool has_link;
    const char *why;

    (void)state;
    wal_header_encode(block, &h);
    assert_int_equal(wal_header_decode(block, LOG_DB, 12, &back, &has_link, &why), ODB_OK);
    assert_true(has_link);
    assert_int_equal(back.db_id, h.db_id);
    assert_int_equal(back.file_no, h.file_no);
    assert_int_equal(back.salt, h.salt);
    assert_int_equal(back.first_lsn, h.first_lsn);
    assert_int_equal(back.next_seq, h.next_seq);
    assert_int_equal(back.prev_no, h.prev_no);
    assert_int_equal(back.prev_end, h.prev_end);
    assert_int_equal(back.prev_check, h.prev_check);
    assert_int_equal(back.durable, h.durable);
}

/* In the first block, and behind the link, as damage; in the link, as that there is none. */
static void every_flipped_bit_is_noticed(void **state)
{
    struct wal_header h = sample_header();
    uint8_t block[WAL_SEGMENT_HEADER];
    bool has_link;

    (void)state;
    wal_header_encode(block, &h);
    for (size_t bit = 0; bit < 8 * WAL_SEGMENT_HEADER; bit++) {
        bool is_link = bit / 8 >= WAL_LINK_AT && bit / 8 < WAL_LINK_AT + WAL_LINK;

        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(decode(block, &has_link), is_link ? ODB_OK : ODB_CORRUPT);
        assert_true(!is_link || !has_link);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(decode(block, &has_link), ODB_OK);
}

/* One field, one lie, a checksum that agrees. */
static void a_lie_under_a_good_checksum_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint64_t value;
    } lies[] = {
        {24, LOG_DB + 1},   {32, 13},      {48, 0},       {48, 12},
        {48, 99},           {4096, 65537}, {4096, 65544}, {4104, SEQ_MAX + 2},
        {4104, UINT64_MAX}, {4112, 0},     {4112, 8},     {4128, 65544},
        {4128, 12},
    };
    struct wal_header h = sample_header();
    uint8_t block[WAL_SEGMENT_HEADER];
    bool has_link;

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        wal_header_encode(block, &h);
        enc_u64(block + lies[i].at, lies[i].value);
        reseal(block);
        assert_int_equal(decode(block, &has_link), ODB_CORRUPT);
    }
    wal_header_encode(block, &h);
    enc_u32(block + 8, 0);
    reseal(block);
    assert_int_equal(decode(block, &has_link), ODB_CORRUPT);
}

/* A power cut may take the link, and nothing else. */
static void zeros_are_no_link(void **state)
{
    struct wal_header h = sample_header(), back;
    uint8_t block[WAL_SEGMENT_HEADER];
    const char *why;
    bool has_link = true;

    (void)state;
    wal_header_encode(block, &h);
    memset(block + WAL_LINK_AT, 0, WAL_LINK);
    assert_int_equal(wal_header_decode(block, LOG_DB, 12, &back, &has_link, &why), ODB_OK);
    assert_false(has_link);
    assert_int_equal(back.salt, h.salt);
    assert_int_equal(back.first_lsn, 0);
    assert_int_equal(back.prev_no, h.prev_no);
    memset(block + WAL_LINK_AT, 0x5a,
           WAL_SEGMENT_HEADER - WAL_LINK_AT); /* nor is what a torn write leaves */
    assert_int_equal(decode(block, &has_link), ODB_OK);
    assert_false(has_link);
}

static void a_newer_release_is_told_from_damage(void **state)
{
    struct wal_header h = sample_header();
    uint8_t block[WAL_SEGMENT_HEADER];
    bool has_link;

    (void)state;
    wal_header_encode(block, &h);
    enc_u32(block + 8, 2);
    reseal(block);
    assert_int_equal(decode(block, &has_link), ODB_VERSION);
    wal_header_encode(block, &h);
    enc_u32(block + 12, 1); /* must know */
    reseal(block);
    assert_int_equal(decode(block, &has_link), ODB_VERSION);
    wal_header_encode(block, &h);
    enc_u32(block + 16, 1); /* may ignore */
    reseal(block);
    assert_int_equal(decode(block, &has_link), ODB_OK);
}

static void names_have_six_digits_or_more(void **state)
{
    char name[WAL_NAME_MAX];

    (void)state;
    wal_segment_name(name, 12);
    assert_string_equal(name, "000012.log");
    wal_segment_name(name, UINT64_MAX);
    assert_string_equal(name, "18446744073709551615.log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_back_as_it_was),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(a_lie_under_a_good_checksum_is_refused),
        cmocka_unit_test(zeros_are_no_link),
        cmocka_unit_test(a_newer_release_is_told_from_damage),
        cmocka_unit_test(names_have_six_digits_or_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
