/* fuzz/wal_header.c -- wal/segment.h and wal/record.h: what is accepted is written back as it was.
 *
 *    input   control u8 (fuzz.h) | the first bytes of a segment header; zeros behind them
 */
#include "fuzz/seal.h"
#include "wal/record.h"
#include "wal/segment.h"

#define HEADER_NO 9u

static void header_record(const uint8_t *data, size_t size)
{
    uint8_t again[WAL_RECORD_HEADER];
    struct wal_record_head head;

    if (size < WAL_RECORD_HEADER)
        return;
    wal_record_decode(data, &head);
    wal_record_encode(again, &head);
    FUZZ_REQUIRE(memcmp(again, data, sizeof again) == 0);
    if (wal_record_fault(&head, 4096) == NULL)
        FUZZ_REQUIRE(wal_record_size(head.length) >= WAL_RECORD_HEADER + head.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    enum fuzz_seal how = fuzz_seal(dec_u8(&in));
    odb_slice bytes = fuzz_bytes(&in, WAL_SEGMENT_HEADER);
    uint8_t block[WAL_SEGMENT_HEADER] = {0}, again[WAL_SEGMENT_HEADER];
    struct wal_header h;
    const char *why = NULL;
    bool is_sealed;
    odb_status st;

    if (bytes.size)
        memcpy(block, bytes.data, bytes.size);
    header_record(block, bytes.size);
    (void)seal_segment(block, sizeof block, how);
    st = wal_header_decode(block, FUZZ_DB, HEADER_NO, &h, &is_sealed, &why);
    FUZZ_REQUIRE(fuzz_is_verdict(st) && (st == ODB_OK) == (why == NULL));
    if (st == ODB_OK) {
        FUZZ_REQUIRE(is_sealed && h.db_id == FUZZ_DB && h.file_no == HEADER_NO);
        wal_header_encode(again, &h);
        FUZZ_REQUIRE(memcmp(again + 24, block + 24, 72) == 0);
    }
    return 0;
}
