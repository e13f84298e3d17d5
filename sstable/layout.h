/* sstable/layout.h -- the fixed parts of a table file: header, footer, properties. sstable/layout.c
 * draws the whole file. */
#ifndef ODB_SSTABLE_LAYOUT_H
#define ODB_SSTABLE_LAYOUT_H

#include "base/buf.h"
#include "base/ikey.h"

#define SST_HEADER_LEN 48
#define SST_FOOTER_LEN 48

#define SST_BLOCK_SIZE_MAX ((uint32_t)16 << 20) /* of the option; one huge entry may exceed it */

struct sst_footer {
    uint64_t file_size;
    uint64_t filter_off; /* the data blocks end here */
    uint64_t index_off;
    uint64_t props_off;
    uint64_t digest; /* the checks of all data blocks, folded */
};

void sst_header_encode(uint8_t *p, uint64_t db_id, uint64_t file_no);
/* `name` is the file's, for the error text. ODB_CORRUPT, ODB_VERSION. */
ODB_MUST_CHECK odb_status sst_header_check(const uint8_t *p, const char *name, uint64_t db_id,
                                           uint64_t file_no);

/* Returns the footer's checksum. */
uint64_t sst_footer_encode(uint8_t *p, const struct sst_footer *f, uint64_t salt);
/* Check everything but the sections' content; *check is the stored checksum. ODB_CORRUPT. */
ODB_MUST_CHECK odb_status sst_footer_decode(const uint8_t *p, const char *name, uint64_t file_size,
                                            uint64_t salt, struct sst_footer *out, uint64_t *check);

/* What the properties section tells. Numbers first: the table in layout.c names them all. */
struct sst_props {
    uint64_t entries;
    uint64_t deletes;
    uint64_t keys; /* different user keys */
    uint64_t blocks;
    uint64_t raw_bytes;      /* keys and values as given */
    uint64_t unpacked_bytes; /* data blocks before LZ4 */
    uint64_t min_seq;
    uint64_t max_seq;
    uint64_t max_block_deletes; /* most tombstones in one block */
    uint64_t block_size;
    uint64_t bits_per_key;
    odb_slice smallest; /* user keys; lent */
    odb_slice largest;
};

ODB_MUST_CHECK odb_status sst_props_encode(const struct sst_props *p, struct buf *out);
/* False: malformed, or one of the known properties is missing. Slices lie inside `bytes`. */
bool sst_props_decode(odb_slice bytes, struct sst_props *out);

#endif
