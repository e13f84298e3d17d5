/* wal/segment.h -- the header of a log segment and the names of the log's files. segment.c draws
 * it. */
#ifndef ODB_WAL_SEGMENT_H
#define ODB_WAL_SEGMENT_H

#include "wal/wal.h"

#define WAL_PAGE 4096
/* A segment in the making; one at a time, removed by whoever makes the next. */
#define WAL_SPARE_NAME "log.tmp"

/* Where LSN `lsn` lies in the segment that starts at `first_lsn`: file offset and LSN agree in their
 * last twelve bits, so that drains copy page to page. */
static inline uint64_t wal_offset(uint64_t first_lsn, uint64_t lsn)
{
    return WAL_SEGMENT_HEADER + (lsn - (first_lsn & ~(uint64_t)(WAL_PAGE - 1)));
}

#define WAL_LINK_AT 4096 /* the header's second block */
#define WAL_LINK    ((size_t)48)

struct wal_header {
    /* the first block: when the file is made */
    uint64_t db_id;
    uint64_t file_no;
    uint64_t salt;    /* random, drawn for this segment */
    uint64_t prev_no; /* the segment before; 0: started by an open, stands alone */
    /* the second, the link: when the segment is begun */
    uint64_t first_lsn;  /* of the first record */
    uint64_t next_seq;   /* no record in here has a first sequence number below */
    uint64_t prev_end;   /* LSN behind its last record: first_lsn, or 0 when it stands alone */
    uint64_t prev_check; /* check of its last record */
    uint64_t durable;    /* the log was durable up to here when this was written; 0: not said */
};

/* Both blocks; and the link alone, which belongs at WAL_LINK_AT. */
void wal_header_encode(uint8_t out[WAL_SEGMENT_HEADER], const struct wal_header *h);
void wal_link_encode(uint8_t out[WAL_LINK], const struct wal_header *h);
/* Returns ODB_OK, ODB_VERSION, or ODB_CORRUPT with *why set when the bytes are no header of segment
 * `file_no` of database `db_id`. *has_link: else there is no good one, and its
 * fields are 0. */
ODB_MUST_CHECK odb_status wal_header_decode(const uint8_t in[WAL_SEGMENT_HEADER], uint64_t db_id,
                                            uint64_t file_no, struct wal_header *out,
                                            bool *has_link, const char **why);

#endif
