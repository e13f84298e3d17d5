/* sstable/block_read.c -- searching and decoding an opened block; sstable/block.c draws it.
 *
 *      seek    common bytes -> binary search over the prefixes -> rows of equal prefix -> row
 *      find    common bytes -> slot -> prefix -> rest of the key -> trailer -> row
 *      decode  common + prefix + shared + own, row after row
 *
 * 1. Nothing is checked here: block_open has, and a struct block comes from nowhere else. Every
 *    offset is inside whatever the content; a block whose writer lied about the order of its keys
 *    gives wrong answers, never a wrong read.
 * 2. Blocks whose keys are all cut alike (is_fixed) need no column to find the pieces of a key.
 * 3. block_find asks the table for the first row of a key and falls back to searching for older
 *    versions, and for blocks without a table.
 *
 * Threads: any number; nothing is written.
 */
#include "sstable/block_priv.h"

/* memcmp(a, b, n), for the short pieces keys are made of, where the call is the cost. */
static inline int block_order(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n > 64)
        return memcmp(a, b, n);
    for (; n >= 8; n -= 8, a += 8, b += 8) {
        uint64_t x = get_u64_be(a), y = get_u64_be(b);

        if (x != y)
            return x < y ? -1 : 1;
    }
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

/* ---- rows ---- */

/* A key behind its common bytes, as it lies in the block. */
struct block_rest {
    const uint8_t *shared;
    const uint8_t *own;
    uint32_t shared_len;
    uint32_t own_len;
    uint32_t prefix_len;
};

static inline struct block_rest block_rest_at(const struct block *b, uint32_t row)
{
    uint32_t g = row / BLOCK_GROUP, shared_at, own_at;

    if (b->is_fixed)
        return (struct block_rest){b->shared + (size_t)g * b->shared_len,
                                   b->own + (size_t)row * b->own_len, b->shared_len, b->own_len,
                                   b->prefix_len};
    shared_at = block_start_at(&b->shared_end, g);
    own_at = block_start_at(&b->own_end, row);
    return (struct block_rest){
        b->shared + shared_at, b->own + own_at, block_end_at(&b->shared_end, g) - shared_at,
        block_end_at(&b->own_end, row) - own_at, (uint32_t)block_col_at(&b->prefix_count, row)};
}

uint32_t block_key(const struct block *b, uint32_t row, uint8_t *out)
{
    struct block_rest r = block_rest_at(b, row);
    uint8_t *p = out;

    memcpy(p, b->common, b->common_len);
    p += b->common_len;
    memcpy(p, b->prefix + 8 * (size_t)row, r.prefix_len);
    p += r.prefix_len;
    memcpy(p, r.shared, r.shared_len);
    p += r.shared_len;
    memcpy(p, r.own, r.own_len);
    PROF_COUNT(PROF_COPIED, b->common_len + r.prefix_len + r.shared_len + r.own_len);
    return b->common_len + r.prefix_len + r.shared_len + r.own_len;
}

uint64_t block_trailer(const struct block *b, uint32_t row)
{
    return block_col_at(&b->trailer, row);
}

odb_slice block_value(const struct block *b, uint32_t row)
{
    uint32_t start = block_start_at(&b->value_end, row);

    return odb_bytes(b->values + start, block_end_at(&b->value_end, row) - start);
}

uint32_t block_key_max(const struct block *b)
{
    return b->key_max;
}

/* ---- searching ---- */

/* What is looked for, behind the common bytes. */
struct block_wanted {
    const uint8_t *rest; /* behind the prefix */
    size_t rest_len;
    uint64_t prefix;
    uint32_t prefix_len;
};

/* `key` is at least as long as the common bytes. */
static inline struct block_wanted block_want(const uint8_t *key, size_t len, size_t common_len)
{
    size_t tail = len - common_len;
    uint64_t prefix;

    if (tail >= 8)
        return (struct block_wanted){key + common_len + 8, tail - 8, get_u64_be(key + common_len),
                                     8};
    /* The last 8 bytes of the key with those before the tail shifted out: bytes copied one by one
     * and read as a word would stall the load. */
    prefix = len < 8 || tail == 0 ? key_prefix(key, len, common_len)
                                  : get_u64_be(key + len - 8) << 8 * (8 - tail);
    return (struct block_wanted){key + len, 0, prefix, (uint32_t)tail};
}

/* Whether the row, whose prefix is the wanted one, has the wanted key. */
static inline bool block_row_is(const struct block *b, uint32_t row, const struct block_wanted *w)
{
    struct block_rest r = block_rest_at(b, row);

    return r.prefix_len == w->prefix_len && w->rest_len == (size_t)r.shared_len + r.own_len &&
           block_same(r.shared, w->rest, r.shared_len) &&
           block_same(r.own, w->rest + r.shared_len, r.own_len);
}

/* Negative when the row, whose prefix is the wanted one, comes before (key, trailer). A key that
 * ends inside its prefix comes before one that goes on with zero bytes. */
static int block_row_compare(const struct block *b, uint32_t row, const struct block_wanted *w,
                             uint64_t trailer)
{
    struct block_rest r = block_rest_at(b, row);
    uint64_t have = block_trailer(b, row);
    size_t n = r.shared_len < w->rest_len ? r.shared_len : w->rest_len, left;
    int c;

    PROF_COUNT(PROF_COMPARES, 1);
    if (r.prefix_len != w->prefix_len)
        return r.prefix_len < w->prefix_len ? -1 : 1;
    c = block_order(r.shared, w->rest, n);
    if (c != 0 || r.shared_len > n)
        return c ? c : 1;
    left = w->rest_len - n;
    c = block_order(r.own, w->rest + n, r.own_len < left ? r.own_len : left);
    if (c != 0 || r.own_len != left)
        return c ? c : r.own_len < left ? -1 : 1;
    return (have < trailer) - (have > trailer);
}

/* The first row in [from, count) whose prefix is at least `want`. Without branches that depend on
 * the data: a wrong guess costs more than all the steps of a small block. */
static inline uint32_t block_lower_prefix(const struct block *b, uint32_t from, uint64_t want)
{
    const uint8_t *p = b->prefix + 8 * (size_t)from;
    size_t n = b->count - from, at = 0;

    while (n > 1) {
        size_t half = n / 2;

        at += get_u64_be(p + 8 * (at + half - 1)) < want ? half : 0;
        n -= half;
    }
    if (n)
        at += get_u64_be(p + 8 * at) < want;
    return from + (uint32_t)at;
}

/* The first row in [lo, hi), all of the wanted prefix, at or after (key, trailer); else hi. */
static uint32_t block_seek_ties(const struct block *b, uint32_t lo, uint32_t hi,
                                const struct block_wanted *w, uint64_t trailer)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (block_row_compare(b, mid, w, trailer) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint32_t block_seek(const struct block *b, odb_slice key, uint64_t trailer)
{
    const uint8_t *k = key.size ? key.data : b->bytes;
    size_t n = key.size < b->common_len ? key.size : b->common_len;
    int c = block_order(k, b->common, n);
    struct block_wanted w;
    uint32_t row, hi;

    if (c != 0)
        return c < 0 ? 0 : b->count;
    if (key.size < b->common_len)
        return 0;
    w = block_want(k, key.size, b->common_len);
    row = block_lower_prefix(b, 0, w.prefix);
    if (row == b->count || get_u64_be(b->prefix + 8 * (size_t)row) != w.prefix ||
        block_row_compare(b, row, &w, trailer) >= 0)
        return row;
    row++; /* mostly alone with its prefix; else search among those that share it */
    if (row == b->count || get_u64_be(b->prefix + 8 * (size_t)row) != w.prefix)
        return row;
    hi = w.prefix == UINT64_MAX ? b->count : block_lower_prefix(b, row, w.prefix + 1);
    return block_seek_ties(b, row, hi, &w, trailer);
}

/* The newest row of the wanted key with at most `trailer`, by search. */
static uint32_t block_find_sorted(const struct block *b, odb_slice key,
                                  const struct block_wanted *w, uint64_t trailer)
{
    uint32_t row = block_seek(b, key, trailer);

    if (row < b->count && get_u64_be(b->prefix + 8 * (size_t)row) == w->prefix &&
        block_row_is(b, row, w))
        return row;
    return b->count;
}

uint32_t block_find(const struct block *b, odb_slice key, uint64_t hash, uint64_t trailer)
{
    const uint8_t *k = key.size ? key.data : b->bytes;
    uint32_t slot = (uint32_t)hash & b->hash_mask, row;
    struct block_wanted w;

    if (key.size < b->common_len || !block_same(k, b->common, b->common_len))
        return b->count;
    w = block_want(k, key.size, b->common_len);
    if (!b->hash_width)
        return block_find_sorted(b, key, &w, trailer);
    for (;; slot = (slot + 1) & b->hash_mask) {
        row = b->hash_width == 1 ? b->hash[slot] : get_u16(b->hash + 2 * (size_t)slot);
        if (row >= b->count) /* all ones: free */
            return b->count;
        if (get_u64_be(b->prefix + 8 * (size_t)row) == w.prefix && block_row_is(b, row, &w))
            break;
    }
    if (ODB_LIKELY(block_trailer(b, row) <= trailer))
        return row;
    return block_find_sorted(b, key, &w, trailer); /* an older version, or none */
}

void block_send_for_slot(const struct block *b, uint64_t hash)
{
    if (b->hash_width)
        ODB_PREFETCH(b->hash + (size_t)b->hash_width * ((uint32_t)hash & b->hash_mask));
}

void block_send_for_row(const struct block *b, uint64_t hash)
{
    uint32_t slot = (uint32_t)hash & b->hash_mask, row;

    if (!b->hash_width)
        return;
    row = b->hash_width == 1 ? b->hash[slot] : get_u16(b->hash + 2 * (size_t)slot);
    if (row >= b->count)
        return;
    ODB_PREFETCH(b->prefix + 8 * (size_t)row);
    if (b->trailer.width)
        ODB_PREFETCH(b->trailer.rest + (size_t)row * b->trailer.width);
    if (b->value_end.width == 0) {
        ODB_PREFETCH(b->values + block_start_at(&b->value_end, row));
        ODB_PREFETCH(b->values + block_end_at(&b->value_end, row) - 1);
    } else {
        ODB_PREFETCH(b->value_end.rest + (size_t)row * b->value_end.width);
    }
}

/* ---- decoding ---- */

/* Copy in steps of 16 bytes, up to 15 more than asked for: both sides must have room. */
static inline void block_copy_loose(uint8_t *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i += 16)
        memcpy(dst + i, src + i, 16);
}

/* Lay a key of the given pieces at `p`. `is_loose`: 16 bytes behind it may be overwritten, and 16
 * behind each piece may be read. */
static inline void block_lay_key(const struct block *b, const uint8_t *prefix,
                                 const struct block_rest *r, bool is_loose, uint8_t *p)
{
    if (is_loose) {
        block_copy_loose(p, b->common, b->common_len);
        p += b->common_len;
        memcpy(p, prefix, 8);
        p += r->prefix_len;
        block_copy_loose(p, r->shared, r->shared_len);
        block_copy_loose(p + r->shared_len, r->own, r->own_len);
    } else {
        memcpy(p, b->common, b->common_len);
        p += b->common_len;
        memcpy(p, prefix, r->prefix_len);
        p += r->prefix_len;
        memcpy(p, r->shared, r->shared_len);
        memcpy(p + r->shared_len, r->own, r->own_len);
    }
}

void block_decode(const struct block *b, uint32_t first, uint32_t n, struct entry *out,
                  uint8_t *keys)
{
    const uint8_t *prefix = b->prefix + 8 * (size_t)first;
    size_t left = (size_t)n * b->key_max; /* room in `keys` */
    /* Pieces lie before the values: those are the bytes that may be read behind a piece. */
    bool is_loose = b->bytes + b->len - b->values >= 16;
    uint32_t value_at = block_start_at(&b->value_end, first);
    struct block_rest r = {0};

    for (uint32_t row = first; row < first + n; row++, out++, prefix += 8) {
        uint32_t value_end = block_end_at(&b->value_end, row), len;

        if (row == first || row % BLOCK_GROUP == 0) {
            r = block_rest_at(b, row);
        } else { /* the row's own bytes follow those of the last */
            r.own += r.own_len;
            if (!b->is_fixed) {
                r.own_len = block_end_at(&b->own_end, row) - (uint32_t)(r.own - b->own);
                r.prefix_len = (uint32_t)block_col_at(&b->prefix_count, row);
            }
        }
        len = b->common_len + r.prefix_len + r.shared_len + r.own_len;
        block_lay_key(b, prefix, &r, is_loose && left >= (size_t)len + 16, keys);
        *out = (struct entry){keys, b->values + value_at, len, value_end - value_at,
                              block_col_at(&b->trailer, row)};
        value_at = value_end;
        keys += len;
        left -= len;
    }
}
