/* fuzz/wal_replay.c -- wal/replay.c over one to three segments.
 *
 *    input     control u8 (fuzz.h) | from u16 | segment | segment ...
 *    segment   flags u8 | [header, 56 bytes] | length u16 | records
 *              flags bit 0: the header follows in the input; else it is the one a writer would have
 *                           made behind the segment before
 *                    bit 1: ... or that an open would have made, with no predecessor
 *                    bit 2: the records keep the checksums they have
 *                    bit 3: the header's checksum is wrong
 *                    bit 4: it goes on 8 bytes further than its predecessor ended
 *                    bit 5: a power cut took its link
 *
 * Headers are 8192 bytes of mostly zeros: spelled out, most changes would hit nothing.
 */
#include "fuzz/log_replay.h"
#include "wal/segment.h"

#define LOG_SEGMENTS 3u

enum {
    LOG_OWN_HEADER = 1,
    LOG_ALONE = 2,
    LOG_UNSEALED = 4,
    LOG_BAD_HEADER = 8,
    LOG_GAP = 16,
    LOG_NO_LINK = 32
};

static struct wal_header log_header(struct dec *in, uint64_t no, uint8_t flags,
                                    struct seal_end before)
{
    struct wal_header h = {.db_id = FUZZ_DB, .file_no = no, .salt = no * 77};

    if (flags & LOG_OWN_HEADER) {
        h.first_lsn = fuzz_number(in, 8);
        h.next_seq = fuzz_number(in, 8);
        h.prev_no = fuzz_number(in, 8);
        h.prev_end = fuzz_number(in, 8);
        h.prev_check = fuzz_number(in, 8);
        h.durable = fuzz_number(in, 8);
        h.salt = fuzz_number(in, 8);
        return h;
    }
    h.first_lsn = before.lsn + (flags & LOG_GAP ? 8 : 0);
    if (no > 1 && !(flags & LOG_ALONE)) {
        h.prev_no = no - 1;
        h.prev_end = h.first_lsn;
        h.prev_check = before.check;
    }
    return h;
}

static struct seal_end log_segment(struct fuzz_disk *d, struct dec *in, uint64_t no,
                                   struct seal_end before, enum fuzz_seal how)
{
    uint8_t flags = dec_u8(in);
    struct wal_header h = log_header(in, no, flags, before);
    size_t begin = WAL_SEGMENT_HEADER + (size_t)(h.first_lsn & (WAL_PAGE - 1));
    odb_slice body = fuzz_bytes(in, (size_t)fuzz_number(in, 2));
    uint8_t *p = calloc(1, begin + body.size);
    char name[WAL_NAME_MAX];
    struct seal_end end;

    FUZZ_REQUIRE(p != NULL);
    wal_header_encode(p, &h);
    if (flags & LOG_BAD_HEADER)
        p[WAL_LINK_AT - 1] ^= 1;
    if (flags & LOG_NO_LINK)
        memset(p + WAL_LINK_AT, 0, WAL_LINK);
    if (body.size)
        memcpy(p + begin, body.data, body.size);
    end = seal_records(p + begin, body.size, h.salt, h.first_lsn,
                       flags & LOG_UNSEALED ? FUZZ_AS_IT_IS : how);
    wal_segment_name(name, no);
    fuzz_disk_put(d, name, odb_bytes(p, begin + body.size));
    free(p);
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    enum fuzz_seal how = fuzz_seal(dec_u8(&in));
    uint64_t from = fuzz_number(&in, 2), no[LOG_SEGMENTS];
    struct seal_end end = {0, 0};
    struct fuzz_disk d;
    size_t n = 0;

    fuzz_disk_init(&d);
    while (n < LOG_SEGMENTS && dec_left(&in) > 0) {
        no[n] = n + 1;
        end = log_segment(&d, &in, n + 1, end, how);
        n++;
    }
    log_replay_check(&d, no, n, from & ~(uint64_t)7);
    fuzz_disk_release(&d);
    return 0;
}
