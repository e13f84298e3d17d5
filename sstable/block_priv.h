/* sstable/block_priv.h -- what building, checking and reading a block have in common; the layout is
 * drawn in sstable/block.c. */
#ifndef ODB_SSTABLE_BLOCK_PRIV_H
#define ODB_SSTABLE_BLOCK_PRIV_H

#include "sstable/block.h"

#define BLOCK_GROUP  16 /* rows that share their `shared` bytes */
#define BLOCK_HEADER 64

/* Where what lies in the header. */
enum block_field {
    BLOCK_AT_VERSION = 0,
    BLOCK_AT_HASH_BITS = 1,
    BLOCK_AT_KINDS = 2,
    BLOCK_AT_COUNT = 4,
    BLOCK_AT_COMMON_LEN = 8,
    BLOCK_AT_WIDTHS = 12,
    BLOCK_AT_PREFIX_BASE = 17,
    BLOCK_AT_ZERO = 18,
    BLOCK_AT_VALUE_LINE = 20,
    BLOCK_AT_OWN_LINE = 28,
    BLOCK_AT_SHARED_LINE = 36,
    BLOCK_AT_TRAILER_LINE = 44,
    BLOCK_AT_FLAGS = 60,
};

/* Groups of `count` rows. */
static inline uint32_t block_groups(uint32_t count)
{
    return count / BLOCK_GROUP + (count % BLOCK_GROUP != 0);
}

/* memcmp(a, b, n) == 0 for the short pieces keys are made of, where the call is the cost. */
static inline bool block_same(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n > 16)
        return memcmp(a, b, n) == 0;
    if (n >= 8)
        return ((get_u64(a) ^ get_u64(b)) | (get_u64(a + n - 8) ^ get_u64(b + n - 8))) == 0;
    if (n >= 4)
        return ((get_u32(a) ^ get_u32(b)) | (get_u32(a + n - 4) ^ get_u32(b + n - 4))) == 0;
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* The bytes of a load that belong to a number of this width. */
static const uint64_t block_width_mask[9] = {0, UINT8_MAX, UINT16_MAX, 0,         UINT32_MAX,
                                             0, 0,         0,          UINT64_MAX};

/* What the line leaves over at i. Eight bytes may always be read: (2). */
static inline uint64_t block_col_rest(const struct block_col *c, uint32_t i)
{
    return get_u64(c->rest + (size_t)i * c->width) & block_width_mask[c->width];
}

static inline uint64_t block_col_at(const struct block_col *c, uint32_t i)
{
    return c->base + c->stride * i + block_col_rest(c, i);
}

static inline uint32_t block_end_at(const struct block_col *c, uint32_t i)
{
    return (uint32_t)block_col_at(c, i);
}

/* Where piece i starts. */
static inline uint32_t block_start_at(const struct block_col *c, uint32_t i)
{
    return i ? block_end_at(c, i - 1) : 0;
}

#endif
