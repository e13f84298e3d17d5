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
 * On failure the builder is as before. ODB_NOMEM; ODB_TOO_LARGE when the key is over KEY_LEN_MAX or
 * the block would reach 4 GiB. */
ODB_MUST_CHECK odb_status block_builder_add(struct block_builder *b, const struct entry *e,
                                            uint64_t hash);
uint32_t block_builder_count(const struct block_builder *b);
/* The key added last, until the next call; only while there are rows. */
odb_slice block_builder_last(const struct block_builder *b);
/* About as many bytes as finish would yield now. */
size_t block_builder_size(const struct block_builder *b);
/* Append the block's bytes to `out` and empty the builder for the next one. At least one entry.
 * ODB_NOMEM leaves the builder as it was. */
ODB_MUST_CHECK odb_status block_builder_finish(struct block_builder *b, struct buf *out);

/* ---- reading ---- */

/* A column of numbers: a straight line plus what is left over, value(i) = base + stride * i +
 * rest[i], where the rest takes `width` bytes each (none when the line fits exactly). */
struct block_col {
    const uint8_t *rest;
    uint64_t base;
    uint64_t stride;
    uint32_t width; /* 0, 1, 2, 4 or 8 */
};

/* A checked view of a block's bytes, made once when the block is loaded; everything derived from it
 * may then be trusted without further checks. Plain data: copy freely, owns nothing. All but the
 * first two fields are the business of block.c. */
struct block {
    uint32_t count; /* rows, at least 1 */
    uint32_t len;
    const uint8_t *bytes;
    const uint8_t *prefix; /* count x 8, big-endian */
    const uint8_t *common; /* bytes all keys share */
    const uint8_t *hash;   /* the slots of the hash table */
    uint32_t hash_mask;
    uint8_t hash_width; /* bytes of a slot; 0: no table */
    bool is_fixed;      /* the three lengths below are those of every row */
    uint8_t prefix_len;
    bool is_plain; /* puts only, each of another key, none newer than `newest` */
    uint32_t common_len;
    uint32_t shared_len;
    uint32_t own_len;
    uint32_t key_max;
    uint64_t newest; /* while is_plain */
    struct block_col trailer;
    struct block_col value_end;
    const uint8_t *values;
    const uint8_t *shared; /* what the keys of a group share behind the prefix */
    const uint8_t *own;    /* what is left of each key */
    struct block_col own_end;
    struct block_col prefix_count; /* bytes of the key in its prefix, 0 to 8 */
    struct block_col shared_end;
};

/* Check every number inside `bytes` (lengths, offsets, order of offsets, kinds, hash rows) and fill
 * `out`. Never reads outside, whatever the bytes say. False: malformed. `bytes` must stay. */
bool block_open(const uint8_t *bytes, size_t len, struct block *out);

/* Turn a block's columns for LZ4, or back again, in place (block_turn.c). False, and turned in part:
 * they do not fit into `len` bytes. What is turned back may be as malformed as anything. */
bool block_turn(uint8_t *bytes, size_t len, bool is_back);

/* The first row whose (key, trailer) is at or after the given one; count when there is none. */
uint32_t block_seek(const struct block *b, odb_slice key, uint64_t trailer);
/* Point read by hash: the newest row of `key` with a trailer of at most `trailer`; count when there
 * is none. */
uint32_t block_find(const struct block *b, odb_slice key, uint64_t hash, uint64_t trailer);

/* Start loading what block_find will look at, in two steps: the slot of the hash table, and, from what it
 * says, the row with its value. For when other work lies between the steps. */
void block_send_for_slot(const struct block *b, uint64_t hash);
void block_send_for_row(const struct block *b, uint64_t hash);

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
