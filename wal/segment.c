/* wal/segment.c -- the first 4096 bytes of a log segment.
 *
 *        0  magic "ODBwal\r\n"              48  first_lsn
 *        8  version, must-know flags        56  next_seq
 *       16  may-ignore flags, zero          64  prev_no      the segment before this one
 *       24  db_id                           72  prev_end     LSN behind its last record
 *       32  file_no                         80  prev_check   check of its last record
 *       40  salt                            88  durable
 *                        96 .. 4087 zeros, 4088 check of all before
 *
 * LSN x lies at 4096 + (x - first_lsn rounded down to 4096): offset and LSN agree in their last twelve
 * bits. Between the header and the first record there may thus be some zeros.
 *
 * 1. The header is on the medium before the first record of its segment is written anywhere. A
 *    segment with records and no good header is therefore damaged, not unfinished.
 * 2. It is written once, when the end of the segment before is known, into a file whose first block
 *    is synced zeros. Good header, torn header and zeros are all that a crash can leave.
 * 3. Later versions keep magic, version, both flag words and the place of the check: an old reader
 *    can tell "too new" (ODB_VERSION) from "damaged".
 */
#include "wal/segment.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/canary.h"
#include "base/coding.h"
#include "base/hash.h"
#include "base/ikey.h"

#define WAL_VERSION    1
#define WAL_CHECK_AT   (WAL_SEGMENT_HEADER - 8)
#define WAL_MUST_KNOWN 0u /* the must-know flags this release knows */

static const uint8_t wal_magic[8] = {'O', 'D', 'B', 'w', 'a', 'l', '\r', '\n'};

void wal_segment_name(char out[WAL_NAME_MAX], uint64_t file_no)
{
    (void)snprintf(out, WAL_NAME_MAX, "%06" PRIu64 ".log", file_no);
}

void wal_header_encode(uint8_t out[WAL_SEGMENT_HEADER], const struct wal_header *h)
{
    memset(out, 0, WAL_SEGMENT_HEADER);
    memcpy(out, wal_magic, sizeof wal_magic);
    enc_u32(out + 8, WAL_VERSION);
    enc_u64(out + 24, h->db_id);
    enc_u64(out + 32, h->file_no);
    enc_u64(out + 40, h->salt);
    enc_u64(out + 48, h->first_lsn);
    enc_u64(out + 56, h->next_seq);
    enc_u64(out + 64, h->prev_no);
    enc_u64(out + 72, h->prev_end);
    enc_u64(out + 80, h->prev_check);
    enc_u64(out + 88, h->durable);
    enc_u64(out + WAL_CHECK_AT, hash_salted(out, WAL_CHECK_AT, 0, 0));
}

/* Whether fields that carry a right checksum can be true. */
static const char *wal_header_fault(const struct wal_header *h, uint64_t db_id, uint64_t file_no)
{
    if (h->db_id != db_id && !CANARY(49))
        return "log segment of another database";
    if (h->file_no != file_no)
        return "log segment under the name of another";
    if (h->first_lsn % 8 != 0)
        return "log segment starts at an impossible position";
    if (h->next_seq > SEQ_MAX + 1)
        return "log segment begins behind the last sequence number";
    if (h->prev_no == 0 && (h->prev_end != 0 || h->prev_check != 0))
        return "log segment has half a predecessor";
    if (h->prev_no != 0 && (h->prev_end != h->first_lsn || h->prev_no >= h->file_no))
        return "log segment does not follow its predecessor";
    if (h->durable > h->first_lsn)
        return "log segment claims a durable point ahead of itself";
    return NULL;
}

odb_status wal_header_decode(const uint8_t in[WAL_SEGMENT_HEADER], uint64_t db_id, uint64_t file_no,
                             struct wal_header *out, bool *is_sealed, const char **why)
{
    struct wal_header h;

    *is_sealed = false;
    *why = NULL;
    if (memcmp(in, wal_magic, sizeof wal_magic) != 0) {
        *why = "not a log segment";
        return ODB_CORRUPT;
    }
    if (get_u64(in + WAL_CHECK_AT) != hash_salted(in, WAL_CHECK_AT, 0, 0)) {
        *why = "log segment header fails its checksum";
        return ODB_CORRUPT;
    }
    *is_sealed = true;
    if (get_u32(in + 8) > WAL_VERSION || (get_u32(in + 12) & ~WAL_MUST_KNOWN) != 0) {
        *why = "log segment of a newer release";
        return ODB_VERSION;
    }
    h.db_id = get_u64(in + 24);
    h.file_no = get_u64(in + 32);
    h.salt = get_u64(in + 40);
    h.first_lsn = get_u64(in + 48);
    h.next_seq = get_u64(in + 56);
    h.prev_no = get_u64(in + 64);
    h.prev_end = get_u64(in + 72);
    h.prev_check = get_u64(in + 80);
    h.durable = get_u64(in + 88);
    *why =
        get_u32(in + 8) == 0 ? "log segment of no version" : wal_header_fault(&h, db_id, file_no);
    if (*why != NULL)
        return ODB_CORRUPT;
    *out = h;
    return ODB_OK;
}
