/* wal/segment.c -- the first 8192 bytes of a log segment: two blocks, written at two times.
 *
 *        0  magic "ODBwal\r\n"            4096  first_lsn
 *        8  version, must-know flags      4104  next_seq
 *       16  may-ignore flags, zero        4112  prev_end     LSN behind the last record before this segment
 *       24  db_id                         4120  prev_check   check of that record
 *       32  file_no                       4128  durable
 *       40  salt                          4136  check of the five, salted with the salt
 *       48  prev_no, the segment before   4144 .. 8191 zeros
 *       56 .. 4087 zeros
 *     4088  check of all before
 *
 * LSN x lies at 8192 + (x - first_lsn rounded down to 4096): offset and LSN agree in their last twelve
 * bits. Between the header and the first record there may thus be some zeros.
 *
 * 1. The first block is on the medium before the file has its name. One that is not good is damage.
 * 2. The second, the link, is written once, when the end of the segment before is known, and not synced: it
 *    becomes durable with the first records behind it. A crash may leave zeros there, a failed write
 *    anything. Then first_lsn is where the segment before ends, which the records prove: their checks
 *    are bound to salt and LSN. A link that was damaged is not needed either.
 * 3. Later versions keep magic, version, both flag words and the place of the first check: an old reader
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
#define WAL_CHECK_AT   (WAL_LINK_AT - 8)
#define WAL_MUST_KNOWN 0u /* the must-know flags this release knows */

static const uint8_t wal_magic[8] = {'O', 'D', 'B', 'w', 'a', 'l', '\r', '\n'};

void wal_segment_name(char out[WAL_NAME_MAX], uint64_t file_no)
{
    (void)snprintf(out, WAL_NAME_MAX, "%06" PRIu64 ".log", file_no);
}

static uint64_t link_check(const uint8_t link[WAL_LINK], uint64_t salt)
{
    return hash_salted(link, WAL_LINK - 8, salt, 0);
}

void wal_link_encode(uint8_t out[WAL_LINK], const struct wal_header *h)
{
    enc_u64(out, h->first_lsn);
    enc_u64(out + 8, h->next_seq);
    enc_u64(out + 16, h->prev_end);
    enc_u64(out + 24, h->prev_check);
    enc_u64(out + 32, h->durable);
    enc_u64(out + 40, link_check(out, h->salt));
}

void wal_header_encode(uint8_t out[WAL_SEGMENT_HEADER], const struct wal_header *h)
{
    memset(out, 0, WAL_SEGMENT_HEADER);
    memcpy(out, wal_magic, sizeof wal_magic);
    enc_u32(out + 8, WAL_VERSION);
    enc_u64(out + 24, h->db_id);
    enc_u64(out + 32, h->file_no);
    enc_u64(out + 40, h->salt);
    enc_u64(out + 48, h->prev_no);
    enc_u64(out + WAL_CHECK_AT, hash_salted(out, WAL_CHECK_AT, 0, 0));
    wal_link_encode(out + WAL_LINK_AT, h);
}

/* Whether fields that carry a right checksum can be true. */
static const char *wal_header_fault(const struct wal_header *h, uint64_t db_id, uint64_t file_no)
{
    if (h->db_id != db_id && !CANARY(49))
        return "log segment of another database";
    if (h->file_no != file_no)
        return "log segment under the name of another";
    return h->prev_no >= h->file_no ? "log segment before its predecessor" : NULL;
}

static const char *wal_link_fault(const struct wal_header *h)
{
    if (!lsn_is_possible(h->first_lsn) || !lsn_is_possible(h->durable))
        return "log segment starts at an impossible position";
    if (h->next_seq > SEQ_MAX + 1)
        return "log segment begins behind the last sequence number";
    if (h->prev_no == 0 && (h->prev_end != 0 || h->prev_check != 0))
        return "log segment has half a predecessor";
    if (h->prev_no != 0 && h->prev_end != h->first_lsn)
        return "log segment does not follow its predecessor";
    if (h->durable > h->first_lsn)
        return "log segment claims a durable point ahead of itself";
    return NULL;
}

static bool are_zeros(const uint8_t *p, size_t len)
{
    size_t i = 0;

    while (i < len && p[i] == 0)
        i++;
    return i == len;
}

/* The fields of the link in the block at `in`, for `h` with its salt; what is wrong, or NULL. */
static const char *wal_link_decode(const uint8_t *in, struct wal_header *h, bool *has_link)
{
    *has_link = get_u64(in + WAL_LINK - 8) == link_check(in, h->salt);
    if (!*has_link)
        return NULL; /* (2) */
    if (!are_zeros(in + WAL_LINK, WAL_SEGMENT_HEADER - WAL_LINK_AT - WAL_LINK))
        return "log segment with something behind its header";
    h->first_lsn = get_u64(in);
    h->next_seq = get_u64(in + 8);
    h->prev_end = get_u64(in + 16);
    h->prev_check = get_u64(in + 24);
    h->durable = get_u64(in + 32);
    return wal_link_fault(h);
}

odb_status wal_header_decode(const uint8_t in[WAL_SEGMENT_HEADER], uint64_t db_id, uint64_t file_no,
                             struct wal_header *out, bool *has_link, const char **why)
{
    struct wal_header h = {0};

    *has_link = false;
    *why = NULL;
    if (memcmp(in, wal_magic, sizeof wal_magic) != 0) {
        *why = "not a log segment";
        return ODB_CORRUPT;
    }
    if (get_u64(in + WAL_CHECK_AT) != hash_salted(in, WAL_CHECK_AT, 0, 0)) {
        *why = "log segment header fails its checksum";
        return ODB_CORRUPT;
    }
    if (get_u32(in + 8) > WAL_VERSION || (get_u32(in + 12) & ~WAL_MUST_KNOWN) != 0) {
        *why = "log segment of a newer release";
        return ODB_VERSION;
    }
    h.db_id = get_u64(in + 24);
    h.file_no = get_u64(in + 32);
    h.salt = get_u64(in + 40);
    h.prev_no = get_u64(in + 48);
    *why =
        get_u32(in + 8) == 0 ? "log segment of no version" : wal_header_fault(&h, db_id, file_no);
    if (*why == NULL)
        *why = wal_link_decode(in + WAL_LINK_AT, &h, has_link);
    if (*why != NULL)
        return ODB_CORRUPT;
    *out = h;
    return ODB_OK;
}
