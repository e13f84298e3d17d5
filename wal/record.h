/* wal/record.h -- one record of the log, as bytes. record.c draws it. */
#ifndef ODB_WAL_RECORD_H
#define ODB_WAL_RECORD_H

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

/* Fill in `head->check`: right for this payload (by its hash64), this header, the segment that drew
 * `salt` and the place `lsn`, and nowhere else. */
uint64_t wal_record_check(const struct wal_record_head *head, uint64_t payload_hash, uint64_t salt,
                          uint64_t lsn);
void wal_record_encode(uint8_t out[WAL_RECORD_HEADER], const struct wal_record_head *head);
/* Any 24 bytes give a head; nothing in it may be believed before the check has been compared. */
void wal_record_decode(const uint8_t in[WAL_RECORD_HEADER], struct wal_record_head *out);
/* What a head with a right check must also say to make sense at `lsn`: NULL, or what is wrong. */
const char *wal_record_fault(const struct wal_record_head *head, uint64_t lsn);

#endif
