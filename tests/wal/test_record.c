#include "tests/wal/fixture.h"

#include "base/coding.h"
#include "base/ikey.h"
#include "wal/record.h"

static struct wal_record_head sample_head(void)
{
    return (struct wal_record_head){
        .length = 77, .behind = 4096, .seq = 123456789, .type = WAL_BATCH};
}

static void a_head_comes_back_as_it_was(void **state)
{
    struct wal_record_head head = sample_head(), back;
    uint8_t bytes[WAL_RECORD_HEADER];

    (void)state;
    head.check = wal_record_check(&head, 1, 2, 8);
    wal_record_encode(bytes, &head);
    wal_record_decode(bytes, &back);
    assert_int_equal(back.check, head.check);
    assert_int_equal(back.length, 77);
    assert_int_equal(back.behind, 4096);
    assert_int_equal(back.seq, 123456789);
    assert_int_equal(back.type, WAL_BATCH);
}

static void the_bytes_are_those_of_the_picture(void **state)
{
    struct wal_record_head head = sample_head();
    uint8_t bytes[WAL_RECORD_HEADER];

    (void)state;
    head.check = UINT64_C(0x0102030405060708);
    wal_record_encode(bytes, &head);
    assert_int_equal(bytes[0], 8);
    assert_int_equal(get_u32(bytes + 8), 77);
    assert_int_equal(get_u32(bytes + 12), 4096);
    assert_int_equal(get_u64(bytes + 16), UINT64_C(123456789) << 8 | WAL_BATCH);
    /* a change here is a new format version */
    assert_int_equal(wal_record_check(&head, 1, 2, 8), UINT64_C(0x66f17f7972655300));
}

static void every_bit_of_a_record_is_covered(void **state)
{
    struct wal_record_head head = sample_head(), back;
    uint8_t bytes[WAL_RECORD_HEADER];

    (void)state;
    head.check = wal_record_check(&head, 1, 2, 8);
    for (size_t bit = 0; bit < 8 * WAL_RECORD_HEADER; bit++) {
        wal_record_encode(bytes, &head);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        wal_record_decode(bytes, &back);
        assert_true(wal_record_check(&back, 1, 2, 8) != back.check);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_true(wal_record_check(&head, 1 ^ UINT64_C(1) << bit, 2, 8) != head.check);
        assert_true(wal_record_check(&head, 1, 2 ^ UINT64_C(1) << bit, 8) != head.check);
        assert_true(wal_record_check(&head, 1, 2, 8 ^ UINT64_C(1) << bit) != head.check);
    }
}

static void a_head_must_make_sense_where_it_lies(void **state)
{
    struct wal_record_head head = sample_head();

    (void)state;
    assert_null(wal_record_fault(&head, 4096));
    assert_non_null(wal_record_fault(&head, 4095));
    head.behind = WAL_CLAIMS_NOTHING;
    assert_null(wal_record_fault(&head, 8));
    head.type = 0;
    assert_non_null(wal_record_fault(&head, 8));
    head.type = 3;
    assert_non_null(wal_record_fault(&head, 8));
    head = sample_head();
    head.length = UINT32_MAX;
    assert_non_null(wal_record_fault(&head, 4096));
}

static void records_take_multiples_of_eight(void **state)
{
    (void)state;
    assert_int_equal(wal_record_size(0), 24);
    assert_int_equal(wal_record_size(1), 32);
    assert_int_equal(wal_record_size(8), 32);
    assert_int_equal(wal_record_size(WAL_PAYLOAD_MAX), (uint64_t)WAL_PAYLOAD_MAX + 24);
}

static void a_distance_too_great_claims_nothing(void **state)
{
    (void)state;
    assert_int_equal(wal_record_behind(1000, 1000), 0);
    assert_int_equal(wal_record_behind(1000, 0), 1000);
    assert_int_equal(wal_record_behind(UINT64_C(0xfffffffe), 0), 0xfffffffe);
    assert_int_equal(wal_record_behind(UINT64_C(0xffffffff), 0), WAL_CLAIMS_NOTHING);
    assert_int_equal(wal_record_behind(UINT64_C(1) << 40, 0), WAL_CLAIMS_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_comes_back_as_it_was),
        cmocka_unit_test(the_bytes_are_those_of_the_picture),
        cmocka_unit_test(every_bit_of_a_record_is_covered),
        cmocka_unit_test(a_head_must_make_sense_where_it_lies),
        cmocka_unit_test(records_take_multiples_of_eight),
        cmocka_unit_test(a_distance_too_great_claims_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
