/* fuzz/wal_ring.c -- wal/replay.c over a segment and the ring that goes on where it ends.
 *
 *    input   control u8 (fuzz.h) | first LSN u16 | durable u16 | bytes lost of the segment u8 |
 *            length u16 | records of the segment | records of the ring, wrapped around
 */
#include "fuzz/log_replay.h"
#include "wal/segment.h"

#define RING_NO   1u
#define RING_SALT UINT64_C(0x5a17)

/* The segment; returns where its records end. */
static struct seal_end ring_segment(struct fuzz_disk *d, struct dec *in, enum fuzz_seal how)
{
    uint64_t first = fuzz_number(in, 2) & ~(uint64_t)7, durable = fuzz_number(in, 2);
    size_t lost = (size_t)fuzz_number(in, 1);
    odb_slice body = fuzz_bytes(in, (size_t)fuzz_number(in, 2));
    struct wal_header h = {.db_id = FUZZ_DB,
                           .file_no = RING_NO,
                           .salt = RING_SALT,
                           .first_lsn = first,
                           .durable = durable < first ? durable : first};
    size_t begin = WAL_SEGMENT_HEADER + (size_t)(first & (WAL_PAGE - 1));
    uint8_t *p = calloc(1, begin + body.size);
    char name[WAL_NAME_MAX];
    struct seal_end end;

    FUZZ_REQUIRE(p != NULL);
    wal_header_encode(p, &h);
    if (body.size)
        memcpy(p + begin, body.data, body.size);
    end = seal_records(p + begin, body.size, RING_SALT, first, how);
    wal_segment_name(name, RING_NO);
    fuzz_disk_put(d, name, odb_bytes(p, begin + (lost < body.size ? body.size - lost : 0)));
    free(p);
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    enum fuzz_seal how = fuzz_seal(dec_u8(&in));
    uint8_t ring[WAL_RING_MIN] = {0};
    const uint64_t no = RING_NO;
    struct fuzz_disk d;
    struct seal_end end;
    odb_slice body;

    fuzz_disk_init(&d);
    end = ring_segment(&d, &in, how);
    body = fuzz_bytes(&in, sizeof ring);
    for (size_t i = 0; i < body.size; i++)
        ring[(size_t)(end.lsn + i) & (sizeof ring - 1)] = ((const uint8_t *)body.data)[i];
    seal_ring(ring, sizeof ring, RING_SALT, end.lsn, how);
    fuzz_disk_put(&d, WAL_RING_NAME, odb_bytes(ring, sizeof ring));
    log_replay_check(&d, &no, 1, 0);
    fuzz_disk_release(&d);
    return 0;
}
