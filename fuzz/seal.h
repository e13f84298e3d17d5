/* fuzz/seal.h -- make the checksums of a file right again after somebody changed its bytes. Trusts
 * the bytes no more than a decoder does: what cannot be found is left alone. */
#ifndef FUZZ_SEAL_H
#define FUZZ_SEAL_H

#include "fuzz/fuzz.h"
#include "sstable/sst.h"

/* A table. With FUZZ_LENGTHS the file size in the footer and raw lengths of frames become right too. */
void seal_table(uint8_t *p, size_t len, uint64_t db_id, uint64_t file_no, enum fuzz_seal how);
/* What a manifest would say of this table, as far as the table itself tells. */
void seal_table_meta(const uint8_t *p, size_t len, uint64_t db_id, uint64_t file_no,
                     struct sst_meta *out);

/* Where a stretch of records ends. */
struct seal_end {
    uint64_t lsn;
    uint64_t check; /* of the last record; 0: there was none */
};

/* The records that begin at `p` and at `lsn`. With FUZZ_LENGTHS one that claims more than there is
 * gets what there is. */
struct seal_end seal_records(uint8_t *p, size_t len, uint64_t salt, uint64_t lsn,
                             enum fuzz_seal how);
/* A whole segment, header included. */
struct seal_end seal_segment(uint8_t *p, size_t len, enum fuzz_seal how);
/* The records of a ring from `lsn` on. `size` is a power of two. */
void seal_ring(uint8_t *p, size_t size, uint64_t salt, uint64_t lsn, enum fuzz_seal how);

void seal_manifest(uint8_t *p, size_t len, uint64_t db_id, uint64_t file_no, enum fuzz_seal how);
/* The 16 hexadecimal digits behind the last space of CURRENT or IDENTITY. */
void seal_current(uint8_t *p, size_t len, uint64_t db_id);
void seal_identity(uint8_t *p, size_t len);

#endif
