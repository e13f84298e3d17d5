/* fuzz/wal_header.c -- wal/segment.h and wal/record.h: what is accepted is written back as it was.
 *
 *    input   control u8 (fuzz.h) | the 56 first bytes of a segment header | its link
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
    odb_slice first = fuzz_bytes(&in, 56), link = fuzz_bytes(&in, WAL_LINK_AT);
    static uint8_t block[WAL_SEGMENT_HEADER], again[WAL_SEGMENT_HEADER];
    struct wal_header h;
    const char *why = NULL;
    bool has_link;
    odb_status st;

    memset(block, 0, sizeof block);
    if (first.size)
        memcpy(block, first.data, first.size);
    if (link.size)
        memcpy(block + WAL_LINK_AT, link.data, link.size);
    header_record(block, first.size);
    (void)seal_segment(block, sizeof block, how);
    st = wal_header_decode(block, FUZZ_DB, HEADER_NO, &h, &has_link, &why);
    FUZZ_REQUIRE(fuzz_is_verdict(st) && (st == ODB_OK) == (why == NULL));
    if (st == ODB_OK) {
        FUZZ_REQUIRE(h.db_id == FUZZ_DB && h.file_no == HEADER_NO);
        FUZZ_REQUIRE(has_link || (h.first_lsn | h.prev_end | h.durable) == 0);
        wal_header_encode(again, &h);
        FUZZ_REQUIRE(memcmp(again + 24, block + 24, 32) == 0);
        FUZZ_REQUIRE(!has_link ||
                     memcmp(again + WAL_LINK_AT, block + WAL_LINK_AT, WAL_LINK_AT) == 0);
    }
    return 0;
}
