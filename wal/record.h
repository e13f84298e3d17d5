/* wal/record.h -- one record of the log, exactly as it lies in a segment and in the ring.
 *
 *     0                8        12       16               24                24+length
 *     +----------------+--------+--------+----------------+-------------------+--------+
 *     | check          | length | behind | seq << 8 | type| payload ...       | 0 .. 0 |
 *     +----------------+--------+--------+----------------+-------------------+--------+
 *     check     over payload, header words, the segment's salt and the record's LSN
 *     length    payload bytes, at most WAL_PAYLOAD_MAX
 *     behind    when the record was written, everything below its LSN - behind was durable
 *               (UINT32_MAX: more than 4 GiB behind, claims nothing)
 *     seq       first sequence number of the batch; records never go back
 *     type      enum wal_type; 0 is never written, so that zeros are no record
 *     0 .. 0    up to a multiple of 8: records start at multiples of 8
 *
 * 1. The whole batch, over all column families, is one record: there or not there (P4).
 * 2. The check is right in one segment (random salt) at one LSN only. A record that is left over
 *    from an earlier life of the same bytes, or was moved, fails it.
 * 3. `behind` is how replay tells a torn tail from damage: a good record that says "durable up to W"
 *    proves that a bad one below W was good once (P9).
 *
 * The check folds two halves side by side, so that a commit waits for two multiplications, not four.
 * Padding is not covered: it influences nothing. All of it is inline, as each commit pays for it.
 */
#ifndef ODB_WAL_RECORD_H
#define ODB_WAL_RECORD_H

#include "base/canary.h"
#include "base/coding.h"
#include "base/hash.h"
#include "wal/wal.h"

#define WAL_RECORD_HEADER  ((size_t)24)
#define WAL_CLAIMS_NOTHING UINT32_MAX

struct wal_record_head {
    uint64_t check;
    uint32_t length; /* of the payload */
    uint32_t behind; /* the log was durable up to lsn - behind; WAL_CLAIMS_NOTHING: not said */
    uint64_t seq;
    uint8_t type;
};

/* Bytes a record with `payload` bytes takes in the stream: header, payload, padding to 8. */
static inline uint64_t wal_record_size(uint64_t payload)
{
    return WAL_RECORD_HEADER + ((payload + 7) & ~(uint64_t)7);
}

/* How far the log reaches back from `lsn` to its durable part, as stored. */
static inline uint32_t wal_record_behind(uint64_t lsn, uint64_t durable)
{
    uint64_t behind = lsn - durable;

    return behind < WAL_CLAIMS_NOTHING ? (uint32_t)behind : WAL_CLAIMS_NOTHING;
}

/* The check for `head`: right for this payload (by its hash64), this header, the segment that drew `salt`
 * and the place `lsn`, and nowhere else. */
static inline uint64_t wal_record_check(const struct wal_record_head *head, uint64_t payload_hash,
                                        uint64_t salt, uint64_t lsn)
{
    uint64_t sizes = (uint64_t)head->length | (uint64_t)head->behind << 32;
    uint64_t order = head->seq << 8 | head->type;
    uint64_t content = hash_mix(payload_hash, sizes);
    uint64_t place = hash_mix(CANARY(13) ? 0 : salt + lsn, order);

    return hash_mix(content, place);
}

static inline void wal_record_encode(uint8_t out[WAL_RECORD_HEADER],
                                     const struct wal_record_head *head)
{
    enc_u64(out, head->check);
    enc_u32(out + 8, head->length);
    enc_u32(out + 12, head->behind);
    enc_u64(out + 16, head->seq << 8 | head->type);
}

/* Any 24 bytes give a head; nothing in it may be believed before the check has been compared. */
static inline void wal_record_decode(const uint8_t in[WAL_RECORD_HEADER],
                                     struct wal_record_head *out)
{
    uint64_t order = get_u64(in + 16);

    out->check = get_u64(in);
    out->length = get_u32(in + 8);
    out->behind = get_u32(in + 12);
    out->seq = order >> 8;
    out->type = (uint8_t)order;
}

/* What a head with a right check must also say to make sense at `lsn`: NULL, or what is wrong. */
static inline const char *wal_record_fault(const struct wal_record_head *head, uint64_t lsn)
{
    if (head->type != WAL_BATCH && head->type != WAL_MARK)
        return "log record of unknown type";
    if (head->length > WAL_PAYLOAD_MAX)
        return "log record longer than any batch";
    if (head->behind != WAL_CLAIMS_NOTHING && head->behind > lsn)
        return "log record claims a durable point before the log began";
    return NULL;
}

#endif
