/* sstable/block.h -- the content of one data block: build it, check it once, search it, walk it.
 *
 * sstable/block.c draws the layout. In short: what all keys of the block share is stored once; then
 * an array of 8-byte key prefixes (the bytes after the shared ones, big-endian) that answers most
 * comparisons, the rest of the keys prefix-compressed in groups but with constant-time access to
 * every row, lengths and trailers as columns of the narrowest width that fits, a hash table from
 * key to row for point reads, and all values apart from the keys.
 *
 * A block knows nothing of files, checksums or compression: sstable/frame.h wraps it.
 */
#ifndef ODB_SSTABLE_BLOCK_H
#define ODB_SSTABLE_BLOCK_H

#include "base/buf.h"
#include "base/cursor.h"

/* ---- building ---- */

struct block_builder;

ODB_MUST_CHECK odb_status block_builder_new(struct block_builder **out);
void block_builder_free(struct block_builder *b);
/* Append an entry; they come in internal order. `hash` is hash64(key). Key and value are copied.
 * ODB_NOMEM. */
ODB_MUST_CHECK odb_status block_builder_add(struct block_builder *b, const struct entry *e,
                                            uint64_t hash);
uint32_t block_builder_count(const struct block_builder *b);
/* About as many bytes as finish would yield now. */
size_t block_builder_size(const struct block_builder *b);
/* Append the block's bytes to `out` and empty the builder for the next one. ODB_NOMEM. */
ODB_MUST_CHECK odb_status block_builder_finish(struct block_builder *b, struct buf *out);

/* ---- reading ---- */

/* A checked view of a block's bytes, made once when the block is loaded; everything derived from it
 * may then be trusted without further checks. Plain data: copy freely, owns nothing. */
struct block {
    const uint8_t *bytes;
    uint32_t len;
    uint32_t count;      /* rows, at least 1 */
    uint32_t common_len; /* bytes all keys share */
    const uint8_t *common;
    const uint8_t *prefix; /* count x 8, big-endian */
    /* ... further columns: fields to be added by block.c's author; all inside `bytes` */
    const uint8_t *col[8];
    uint64_t base[8];
    uint8_t width[8];
    uint32_t hash_mask;
    uint32_t value_off;
};

/* Check every number inside `bytes` (lengths, offsets, order of offsets, kinds, hash rows) and fill
 * `out`. Never reads outside, whatever the bytes say. False: malformed. `bytes` must stay. */
bool block_open(const uint8_t *bytes, size_t len, struct block *out);

/* The first row whose (key, trailer) is at or after the given one; count when there is none. */
uint32_t block_seek(const struct block *b, odb_slice key, uint64_t trailer);
/* Point read by hash: the newest row of `key` with a trailer of at most `trailer`; count when there
 * is none. */
uint32_t block_find(const struct block *b, odb_slice key, uint64_t hash, uint64_t trailer);

/* Row access in constant time. block_key copies the key into `out` (room for block_key_max bytes)
 * and returns its length. */
uint32_t block_key(const struct block *b, uint32_t row, uint8_t *out);
uint64_t block_trailer(const struct block *b, uint32_t row);
odb_slice block_value(const struct block *b, uint32_t row);
/* The longest key of the block. */
uint32_t block_key_max(const struct block *b);
/* Decode rows [first, first + n) into `out`; keys are laid one behind the other into `keys`, which
 * has room for n * block_key_max bytes. */
void block_decode(const struct block *b, uint32_t first, uint32_t n, struct entry *out,
                  uint8_t *keys);

#endif
