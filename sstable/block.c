/* sstable/block.c -- the content of a data block: rows sorted by internal key, laid out by column.
 *
 *    0        64
 *    +--------+---------+---------+---------+---------+---------+--------+------+--------+
 *    | header | trailer | value   | own     | prefix  | shared  | prefix | hash | common |
 *    |        | column  | ends    | ends    | counts  | ends    | array  | table| bytes  |
 *    +--------+---------+---------+---------+---------+---------+--------+------+--------+
 *    +--------------+-----------+------------+
 *    | shared bytes | own bytes | values ... |  up to the end of the block
 *    +--------------+-----------+------------+
 *
 *    A key is cut into four pieces:     user:0000 | 00001234 | :profile | :name
 *                                       common      prefix     shared     own
 *      common   what all keys of the block share, stored once
 *      prefix   the next 8 bytes, zero-padded: one array of 8-byte cells for the whole block
 *      shared   what the 16 rows of a group share behind their prefixes, stored once a group
 *      own      the remaining bytes of this key
 *    A key that ends inside its prefix has neither shared nor own bytes; how many of the 8 are
 *    its own is told by the column of prefix counts (a key may itself hold zero bytes).
 *
 *    header, little-endian:
 *     0  u8   version, 1
 *     1  u8   h: the hash table has 2^h slots; 0: there is none
 *     2  u16  kinds of rows that occur: bit k stands for enum kind k. A reader refuses unknown ones
 *     4  u32  count of rows, at least 1
 *     8  u32  length of the common bytes
 *    12  u8   widths of the columns: trailer, value ends, own ends, prefix counts, shared ends
 *    17  u8   base of the prefix counts
 *    18  u16  zero
 *    20  u32  base and stride of the value ends
 *    28  u32  base and stride of the own ends
 *    36  u32  base and stride of the shared ends
 *    44  u64  base and stride of the trailers
 *    60  u32  flags a reader must know: none so far, zero
 *
 *    A column holds one number a row (shared ends: one a group) as a straight line and what is left
 *    over:  value(i) = base + stride * i + rest[i]  modulo 2^64, ends modulo 2^32; the rest takes
 *    0, 1, 2, 4 or (trailers only) 8 bytes, little-endian. Lengths that do not vary, trailers that
 *    are all the same and sequence numbers that count up take no bytes; lengths that vary a little
 *    take one byte a row. "Ends" are offsets behind a piece, counted from the start of its area, so
 *    that a row is found without walking, and the last one is the length of the area. All offsets
 *    follow from the header and these lengths: nothing is said twice.
 *
 *    hash table: slots of u8 (up to 255 rows) or u16 (up to 65535; blocks with more carry none), the
 *    row number of the first, newest, row of a key, or all ones. The slot is the low bits of the key
 *    hash; when it is taken, the next (linear probing). At most 3/4 are taken.
 *
 * In a packed block the columns, the prefix array and the hash table are turned (sstable/block_turn.c).
 *
 * A point read thus touches: the common bytes, one or two slots, one prefix, one trailer, one or two
 * value ends, the value. Values lie apart, so that a search never drags them through the cache.
 *
 * 1. After block_open no access can leave the block, whatever its bytes were.
 * 2. All columns lie before the prefix array, which has at least 8 bytes: a column is read by one
 *    8-byte load and a mask, without a branch on its width.
 * 3. Prefixes never fall. Rows with equal prefixes are told apart by count, shared, own, trailer.
 * 4. The hash table has a free slot, so that probing ends.
 * 5. Equal entries give equal bytes on every machine.
 *
 * block_open checks structure, not content: that keys rise behind their prefixes and that the hash
 * table finds them is the promise of the writer, held by the checksum (sstable/frame.c) and looked
 * at in full by sstable/verify.c.
 *
 * Threads: an opened block is read-only; a builder belongs to one thread. Crash behaviour: none, a
 * block knows no file. Here: building and checking. Not here: searching and decoding what was
 * checked (sstable/block_read.c).
 */
#include "sstable/block.h"

#include <assert.h>

#include "base/alloc.h"
#include "sstable/block_priv.h"

#define BLOCK_VERSION     1
#define BLOCK_KINDS_KNOWN (1u << KIND_DELETE | 1u << KIND_PUT)
#define BLOCK_ROWS_MIN    64                /* rows a builder has room for from the start */
#define BLOCK_KEEP        ((size_t)1 << 20) /* an idle builder holds on to this much, not more */
/* The most that a row can take beside its key and value: trailer 8, ends 4 + 4, count 1, shared end
 * 4 / 16, prefix 8, hash 2 * 8 / 3. */
#define BLOCK_ROW_MAX 32

/* ---- small tools ---- */

/* How many bytes a and b have in common at their start, at most n. */
static inline size_t block_match(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t i = 0;

    while (i + 8 <= n && get_u64(a + i) == get_u64(b + i))
        i += 8;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* memcpy(dst, src, n) for short pieces, where the call is the cost. */
static inline void block_copy(uint8_t *dst, const uint8_t *src, size_t n)
{
    if (n >= 8 && n <= 16) {
        uint64_t head, tail;

        memcpy(&head, src, 8);
        memcpy(&tail, src + n - 8, 8);
        memcpy(dst, &head, 8);
        memcpy(dst + n - 8, &tail, 8);
    } else if (n) {
        memcpy(dst, src, n);
    }
}

/* buf_reserve without the call where there is room. */
static inline odb_status block_room(struct buf *b, size_t extra)
{
    return ODB_LIKELY(extra <= b->cap - b->len) ? ODB_OK : buf_reserve(b, extra);
}

/* Bytes of a hash slot for `count` rows; 0 when so many have no table. */
static inline uint8_t block_slot_width(uint32_t count)
{
    return count <= UINT8_MAX ? 1 : count <= UINT16_MAX ? 2 : 0;
}

/* ---- building ---- */

/* The rows so far, as arrays cut from one allocation. */
struct block_rows {
    uint64_t *trailer;
    uint64_t *value_end;
    uint64_t *own_end;    /* filled in by finish, as are the next two */
    uint64_t *shared_end; /* one a group */
    uint8_t *prefix_count;
    uint32_t *key_end;
    uint32_t *first_row;  /* rows that are the first of their key, and the hashes of those keys */
    uint32_t *first_hash; /* low 32 bits: no table has more slots */
};

struct block_builder {
    struct buf keys;   /* the keys, one behind the other */
    struct buf values; /* the values likewise */
    struct block_rows row;
    void *row_memory;
    uint32_t count;
    uint32_t cap;
    uint32_t keys_distinct; /* entries of first_row */
    uint32_t last_key;      /* where the last key starts */
    uint32_t key_len;       /* of the first key */
    uint32_t value_len;     /* of the first value */
    uint32_t key_varies;    /* not zero: not all keys are of that length */
    uint32_t value_varies;
    unsigned kinds;     /* as in the header */
    unsigned hash_bits; /* of a table for so many keys */
    uint64_t last_hash;
    uint64_t trailer_min;
    uint64_t trailer_max;
};

/* A column about to be written. */
struct block_line {
    uint64_t base;
    uint64_t stride;
    uint32_t width;
};

/* Where everything goes. */
struct block_plan {
    uint32_t common_len;
    uint32_t groups;
    unsigned hash_bits;
    uint32_t hash_width;
    uint32_t shared_len; /* of all groups */
    uint32_t own_len;    /* of all rows */
    uint64_t size;
    struct block_line trailer, value_end, own_end, prefix_count, shared_end;
};

odb_status block_builder_new(struct block_builder **out)
{
    struct block_builder *b = mem_zalloc(1, sizeof *b);

    if (!b)
        return err_set(ODB_NOMEM, "out of memory for a block builder");
    *out = b;
    return ODB_OK;
}

void block_builder_free(struct block_builder *b)
{
    if (!b)
        return;
    buf_release(&b->keys);
    buf_release(&b->values);
    mem_free(b->row_memory);
    mem_free(b);
}

/* Empty the builder; the memory stays for the next block unless a giant has been here. */
static void block_builder_reset(struct block_builder *b)
{
    if (b->keys.cap > BLOCK_KEEP)
        buf_release(&b->keys);
    if (b->values.cap > BLOCK_KEEP)
        buf_release(&b->values);
    buf_reset(&b->keys);
    buf_reset(&b->values);
    b->count = b->keys_distinct = 0;
    b->kinds = 0;
    b->key_varies = b->value_varies = 0;
}

/* Room for one more row at least. */
static ODB_COLD odb_status block_grow_rows(struct block_builder *b)
{
    uint32_t cap = b->cap ? b->cap * 2 : BLOCK_ROWS_MIN, n = b->count;
    struct block_rows old = b->row, r;
    /* Per row 3 x 8 + 3 x 4 + 1 bytes, per group 8; rounded up. */
    uint8_t *p = mem_array(cap, 24 + 12 + 1 + 1);

    if (!p)
        return err_set(ODB_NOMEM, "out of memory for %lu rows of a block", (unsigned long)cap);
    r.trailer = (uint64_t *)(void *)p;
    r.value_end = r.trailer + cap;
    r.own_end = r.value_end + cap;
    r.shared_end = r.own_end + cap;
    r.key_end = (uint32_t *)(void *)(r.shared_end + cap / BLOCK_GROUP);
    r.first_row = r.key_end + cap;
    r.first_hash = r.first_row + cap;
    r.prefix_count = (uint8_t *)(r.first_hash + cap);
    if (n) {
        memcpy(r.trailer, old.trailer, n * sizeof *r.trailer);
        memcpy(r.value_end, old.value_end, n * sizeof *r.value_end);
        memcpy(r.key_end, old.key_end, n * sizeof *r.key_end);
        memcpy(r.first_row, old.first_row, b->keys_distinct * sizeof *r.first_row);
        memcpy(r.first_hash, old.first_hash, b->keys_distinct * sizeof *r.first_hash);
    }
    mem_free(b->row_memory);
    b->row_memory = p;
    b->row = r;
    b->cap = cap;
    return ODB_OK;
}

/* The first entry sets what later ones are compared with. */
static void block_note_first(struct block_builder *b, const struct entry *e, uint64_t hash)
{
    b->key_len = e->key_len;
    b->value_len = e->value_len;
    b->trailer_min = b->trailer_max = e->trailer;
    b->last_key = 0;
    b->last_hash = ~hash;
    b->hash_bits = 1;
}

odb_status block_builder_add(struct block_builder *b, const struct entry *e, uint64_t hash)
{
    uint64_t bytes = (uint64_t)b->keys.len + b->values.len + e->key_len + e->value_len;
    uint32_t at = (uint32_t)b->keys.len, row = b->count;
    odb_status st;

    assert(kind_is_known(trailer_kind(e->trailer)));
    if (e->key_len > KEY_LEN_MAX ||
        bytes + BLOCK_HEADER + ((uint64_t)row + 1) * BLOCK_ROW_MAX > UINT32_MAX)
        return err_set(ODB_TOO_LARGE, "a key of %lu bytes, or a block of 4 GiB",
                       (unsigned long)e->key_len);
    if (row == b->cap && (st = block_grow_rows(b)) != ODB_OK)
        return st;
    if ((st = block_room(&b->keys, (size_t)e->key_len + 1)) != ODB_OK) /* never NULL */
        return st;
    if ((st = block_room(&b->values, (size_t)e->value_len + 1)) != ODB_OK)
        return st;
    if (row == 0)
        block_note_first(b, e, hash);
    if (hash != b->last_hash || at - b->last_key != e->key_len ||
        !block_same(b->keys.p + b->last_key, e->key, e->key_len)) {
        b->row.first_row[b->keys_distinct] = row;
        b->row.first_hash[b->keys_distinct++] = (uint32_t)hash;
        b->last_hash = hash;
        if ((uint64_t)3 << b->hash_bits < (uint64_t)b->keys_distinct * 4)
            b->hash_bits++;
    }
    block_copy(b->keys.p + at, e->key, e->key_len);
    b->keys.len += e->key_len;
    block_copy(b->values.p + b->values.len, e->value, e->value_len);
    b->values.len += e->value_len;
    b->row.key_end[row] = (uint32_t)b->keys.len;
    b->row.value_end[row] = b->values.len;
    b->row.trailer[row] = e->trailer;
    b->last_key = at;
    b->key_varies |= e->key_len ^ b->key_len;
    b->value_varies |= e->value_len ^ b->value_len;
    b->kinds |= 1u << (trailer_kind(e->trailer) & 15);
    b->trailer_min = e->trailer < b->trailer_min ? e->trailer : b->trailer_min;
    b->trailer_max = e->trailer > b->trailer_max ? e->trailer : b->trailer_max;
    b->count = row + 1;
    return ODB_OK;
}

uint32_t block_builder_count(const struct block_builder *b)
{
    return b->count;
}

odb_slice block_builder_last(const struct block_builder *b)
{
    return odb_bytes(b->keys.p + b->last_key, b->keys.len - b->last_key);
}

/* Keys come sorted: what the first and the last share, all between them share too. */
static uint32_t block_common_len(const struct block_builder *b)
{
    uint32_t last_len = (uint32_t)b->keys.len - b->last_key;
    uint32_t first_len = b->row.key_end[0];

    return (uint32_t)block_match(b->keys.p, b->keys.p + b->last_key,
                                 first_len < last_len ? first_len : last_len);
}

/* Bytes that hold `range`. */
static uint32_t block_width_of(uint64_t range)
{
    return range == 0            ? 0
           : range <= UINT8_MAX  ? 1
           : range <= UINT16_MAX ? 2
           : range <= UINT32_MAX ? 4
                                 : 8;
}

ODB_COLD size_t block_builder_size(const struct block_builder *b)
{
    uint64_t n = b->count, size = BLOCK_HEADER + (uint64_t)b->keys.len + b->values.len, saved;
    uint32_t common, per_row;

    if (n == 0)
        return 0;
    common = block_common_len(b);
    saved = (n - 1) * common;
    size -= saved < b->keys.len ? saved : b->keys.len;
    if (b->key_varies || b->key_len >= common + 8)
        per_row = b->key_varies ? 2 : 0; /* prefixes hold key bytes */
    else
        per_row = 8 - (b->key_len - common);
    per_row += b->value_varies ? 2 : 0;
    per_row += block_width_of(b->trailer_max - b->trailer_min);
    return (size_t)(size + n * per_row + ((uint64_t)block_slot_width(b->count) << b->hash_bits));
}

/* The line through v that leaves least: flat, or from the first value to the last. The arithmetic
 * is modulo 2^64, so that falling lines need no sign. */
static struct block_line block_fit(const uint64_t *v, uint32_t n)
{
    uint64_t flat_min = v[0], flat_max = v[0];
    int64_t min = 0, max = 0;
    int64_t slope = n > 1 ? (int64_t)(v[n - 1] - v[0]) / (int64_t)(n - 1) : 0;
    uint64_t on_line = v[0];
    uint32_t flat_width, width;

    for (uint32_t i = 0; i < n; i++, on_line += (uint64_t)slope) {
        int64_t off = (int64_t)(v[i] - on_line);

        flat_min = v[i] < flat_min ? v[i] : flat_min;
        flat_max = v[i] > flat_max ? v[i] : flat_max;
        min = off < min ? off : min;
        max = off > max ? off : max;
    }
    flat_width = block_width_of(flat_max - flat_min);
    width = block_width_of((uint64_t)max - (uint64_t)min);
    if (flat_width <= width)
        return (struct block_line){flat_min, 0, flat_width};
    return (struct block_line){v[0] + (uint64_t)min, (uint64_t)slope, width};
}

/* How many bytes behind common + prefix the keys of rows [first, end) share, at most `limit`. `at` is
 * where the first of them starts. */
static uint32_t block_shared_len(const struct block_builder *b, uint32_t first, uint32_t end,
                                 uint32_t at, uint32_t skip, uint32_t limit)
{
    uint32_t shared = limit, from = at + skip;

    for (uint32_t i = first; i < end && shared; at = b->row.key_end[i++]) {
        uint32_t len = b->row.key_end[i] - at;

        if (len < skip + shared)
            shared = len > skip ? len - skip : 0;
        if (shared && !block_same(b->keys.p + from, b->keys.p + at + skip, shared))
            shared = (uint32_t)block_match(b->keys.p + from, b->keys.p + at + skip, shared);
    }
    return shared;
}

/* Cut the keys into pieces: prefix counts, own ends and shared ends. */
static void block_cut_keys(struct block_builder *b, struct block_plan *plan)
{
    const uint32_t common = plan->common_len, skip = common + 8;
    uint32_t shared = KEY_LEN_MAX, at = 0;
    uint64_t own_at = 0, shared_at = 0;

    for (uint32_t i = 0, g = 0; i < b->count; g++) {
        uint32_t end = b->count - i > BLOCK_GROUP ? i + BLOCK_GROUP : b->count;
        /* Few rows share bytes by chance. A last, short group follows the one before, so that keys
         * of one length keep pieces of one length. */
        uint32_t limit = end - i < BLOCK_GROUP ? shared : KEY_LEN_MAX;

        shared = block_shared_len(b, i, end, at, skip, limit);
        for (; i < end; at = b->row.key_end[i++]) {
            uint32_t len = b->row.key_end[i] - at;

            b->row.prefix_count[i] = (uint8_t)(len < skip ? len - common : 8);
            own_at += len > skip ? len - skip - shared : 0;
            b->row.own_end[i] = own_at;
        }
        shared_at += shared;
        b->row.shared_end[g] = shared_at;
    }
    plan->shared_len = (uint32_t)shared_at;
    plan->own_len = (uint32_t)own_at;
}

/* The columns of the pieces of the keys. */
static void block_plan_keys(struct block_builder *b, struct block_plan *plan)
{
    uint8_t min = 8, max = 0;

    if (!b->key_varies && b->key_len <= plan->common_len + 8) { /* all end inside their prefixes */
        plan->prefix_count.base = b->key_len - plan->common_len;
        return;
    }
    block_cut_keys(b, plan);
    for (uint32_t i = 0; i < b->count; i++) {
        uint8_t c = b->row.prefix_count[i];

        min = c < min ? c : min;
        max = c > max ? c : max;
    }
    plan->prefix_count = (struct block_line){min, 0, min != max};
    plan->own_end = block_fit(b->row.own_end, b->count);
    plan->shared_end = block_fit(b->row.shared_end, plan->groups);
}

static struct block_plan block_make_plan(struct block_builder *b)
{
    struct block_plan plan = {.common_len = block_common_len(b), .groups = block_groups(b->count)};
    uint64_t n = b->count;

    block_plan_keys(b, &plan);
    if (b->value_varies)
        plan.value_end = block_fit(b->row.value_end, b->count);
    else
        plan.value_end = (struct block_line){b->value_len, b->value_len, 0};
    if (b->trailer_min == b->trailer_max)
        plan.trailer.base = b->trailer_min;
    else
        plan.trailer = block_fit(b->row.trailer, b->count);
    plan.hash_width = block_slot_width(b->count);
    plan.hash_bits = plan.hash_width ? b->hash_bits : 0;
    plan.size = BLOCK_HEADER +
                n * (plan.trailer.width + plan.value_end.width + plan.own_end.width +
                     plan.prefix_count.width + 8) +
                (uint64_t)plan.groups * plan.shared_end.width +
                (plan.hash_bits ? (uint64_t)plan.hash_width << plan.hash_bits : 0) +
                plan.common_len + plan.shared_len + plan.own_len + b->values.len;
    return plan;
}

static void block_put_header(const struct block_builder *b, const struct block_plan *plan,
                             uint8_t *p)
{
    memset(p, 0, BLOCK_HEADER);
    p[BLOCK_AT_VERSION] = BLOCK_VERSION;
    p[BLOCK_AT_HASH_BITS] = (uint8_t)plan->hash_bits;
    enc_u16(p + BLOCK_AT_KINDS, (uint16_t)b->kinds);
    enc_u32(p + BLOCK_AT_COUNT, b->count);
    enc_u32(p + BLOCK_AT_COMMON_LEN, plan->common_len);
    p[BLOCK_AT_WIDTHS + 0] = (uint8_t)plan->trailer.width;
    p[BLOCK_AT_WIDTHS + 1] = (uint8_t)plan->value_end.width;
    p[BLOCK_AT_WIDTHS + 2] = (uint8_t)plan->own_end.width;
    p[BLOCK_AT_WIDTHS + 3] = (uint8_t)plan->prefix_count.width;
    p[BLOCK_AT_WIDTHS + 4] = (uint8_t)plan->shared_end.width;
    p[BLOCK_AT_PREFIX_BASE] = (uint8_t)plan->prefix_count.base;
    enc_u32(p + BLOCK_AT_VALUE_LINE, (uint32_t)plan->value_end.base);
    enc_u32(p + BLOCK_AT_VALUE_LINE + 4, (uint32_t)plan->value_end.stride);
    enc_u32(p + BLOCK_AT_OWN_LINE, (uint32_t)plan->own_end.base);
    enc_u32(p + BLOCK_AT_OWN_LINE + 4, (uint32_t)plan->own_end.stride);
    enc_u32(p + BLOCK_AT_SHARED_LINE, (uint32_t)plan->shared_end.base);
    enc_u32(p + BLOCK_AT_SHARED_LINE + 4, (uint32_t)plan->shared_end.stride);
    enc_u64(p + BLOCK_AT_TRAILER_LINE, plan->trailer.base);
    enc_u64(p + BLOCK_AT_TRAILER_LINE + 8, plan->trailer.stride);
}

/* Write what the line leaves over; returns the byte after. */
static uint8_t *block_put_column(uint8_t *p, const struct block_line *line, const uint64_t *v,
                                 uint32_t n)
{
    uint64_t on_line = line->base;

    switch (line->width) {
    case 1:
        for (uint32_t i = 0; i < n; i++, on_line += line->stride)
            p[i] = (uint8_t)(v[i] - on_line);
        break;
    case 2:
        for (uint32_t i = 0; i < n; i++, on_line += line->stride)
            enc_u16(p + 2 * (size_t)i, (uint16_t)(v[i] - on_line));
        break;
    case 4:
        for (uint32_t i = 0; i < n; i++, on_line += line->stride)
            enc_u32(p + 4 * (size_t)i, (uint32_t)(v[i] - on_line));
        break;
    case 8:
        for (uint32_t i = 0; i < n; i++, on_line += line->stride)
            enc_u64(p + 8 * (size_t)i, v[i] - on_line);
        break;
    default: break;
    }
    return p + (size_t)n * line->width;
}

static uint8_t *block_put_prefixes(const struct block_builder *b, uint32_t common_len, uint8_t *p)
{
    const uint8_t *key = b->keys.p;

    for (uint32_t i = 0; i < b->count; i++, p += 8) {
        const uint8_t *end = b->keys.p + b->row.key_end[i];
        size_t left = (size_t)(end - key) - common_len;

        if (left >= 8) {
            memcpy(p, key + common_len, 8);
        } else {
            memset(p, 0, 8);
            memcpy(p, key + common_len, left);
        }
        key = end;
    }
    return p;
}

static uint8_t *block_put_hash(const struct block_builder *b, const struct block_plan *plan,
                               uint8_t *p)
{
    uint32_t mask = ((uint32_t)1 << plan->hash_bits) - 1;
    size_t size = (size_t)plan->hash_width << plan->hash_bits;

    if (!plan->hash_bits)
        return p;
    memset(p, 0xff, size);
    for (uint32_t i = 0; i < b->keys_distinct; i++) {
        uint32_t slot = b->row.first_hash[i] & mask;

        if (plan->hash_width == 1) {
            while (p[slot] != UINT8_MAX)
                slot = (slot + 1) & mask;
            p[slot] = (uint8_t)b->row.first_row[i];
        } else {
            while (get_u16(p + 2 * slot) != UINT16_MAX)
                slot = (slot + 1) & mask;
            enc_u16(p + 2 * slot, (uint16_t)b->row.first_row[i]);
        }
    }
    return p + size;
}

/* The bytes behind the prefixes: shared ones by group, then each row's own. */
static uint8_t *block_put_rests(const struct block_builder *b, const struct block_plan *plan,
                                uint8_t *p)
{
    const size_t skip = (size_t)plan->common_len + 8;
    uint8_t *own = p + plan->shared_len;
    uint64_t own_at = 0, shared_at = 0;
    uint32_t at = 0;

    if (plan->shared_len + plan->own_len == 0)
        return p;
    for (uint32_t g = 0, i = 0; g < plan->groups; g++) {
        size_t shared = (size_t)(b->row.shared_end[g] - shared_at);

        memcpy(p + shared_at, b->keys.p + at + (shared ? skip : 0), shared);
        shared_at += shared;
        for (uint32_t k = 0; k < BLOCK_GROUP && i < b->count; k++, i++) {
            size_t len = (size_t)(b->row.own_end[i] - own_at);

            if (len)
                memcpy(own + own_at, b->keys.p + at + skip + shared, len);
            own_at += len;
            at = b->row.key_end[i];
        }
    }
    return own + own_at;
}

odb_status block_builder_finish(struct block_builder *b, struct buf *out)
{
    struct block_plan plan;
    odb_status st;
    uint8_t *p;

    assert(b->count > 0);
    plan = block_make_plan(b);
    if ((st = buf_reserve(out, (size_t)plan.size)) != ODB_OK)
        return st;
    p = out->p + out->len;
    block_put_header(b, &plan, p);
    p = block_put_column(p + BLOCK_HEADER, &plan.trailer, b->row.trailer, b->count);
    p = block_put_column(p, &plan.value_end, b->row.value_end, b->count);
    p = block_put_column(p, &plan.own_end, b->row.own_end, b->count);
    if (plan.prefix_count.width) {
        for (uint32_t i = 0; i < b->count; i++)
            p[i] = (uint8_t)(b->row.prefix_count[i] - plan.prefix_count.base);
        p += b->count;
    }
    p = block_put_column(p, &plan.shared_end, b->row.shared_end, plan.groups);
    p = block_put_prefixes(b, plan.common_len, p);
    p = block_put_hash(b, &plan, p);
    memcpy(p, b->keys.p, plan.common_len);
    p = block_put_rests(b, &plan, p + plan.common_len);
    if (b->values.len)
        memcpy(p, b->values.p, b->values.len);
    assert(p + b->values.len == out->p + out->len + plan.size);
    out->len += (size_t)plan.size;
    block_builder_reset(b);
    return ODB_OK;
}

/* ---- opening ---- */

/* Whether the n ends never fall, starting from 0, and stay under 4 GiB; `last` is then the length
 * of their area. In the loops a falling step leaves a sign bit behind. */
static bool block_check_ends(const struct block_col *c, uint32_t n, uint64_t *last)
{
    const uint8_t *d = c->rest;
    uint64_t first = block_end_at(c, 0), bad = 0, end;
    uint32_t bad32 = 0;

    end = first + c->stride * (n - 1) + block_col_rest(c, n - 1) - block_col_rest(c, 0);
    if (c->stride < block_width_mask[c->width]) { /* else no rest can turn a step round */
        int32_t step = (int32_t)(c->stride & INT32_MAX);

        if (c->width == 1) {
            for (size_t i = 1; i < n; i++)
                bad32 |= (uint32_t)(step + d[i] - d[i - 1]);
        } else if (c->width == 2) {
            for (size_t i = 1; i < n; i++)
                bad32 |= (uint32_t)(step + get_u16(d + 2 * i) - get_u16(d + 2 * i - 2));
        } else {
            for (size_t i = 1; i < n; i++)
                bad |= c->stride + get_u32(d + 4 * i) - get_u32(d + 4 * i - 4);
        }
    }
    *last = end;
    return bad32 >> 31 == 0 && bad >> 63 == 0 && end <= UINT32_MAX;
}

/* Whether each trailer is of a known kind and just the `kinds` of the header occur. Kinds are 1 and
 * 2, so that a wrong one leaves a bit in (kind - 1) & 0xfe. Only low bytes matter; the width the
 * flush of a busy family has, 4, carries whole words along because machines like those better. */
static bool block_check_trailers(const struct block_col *c, uint32_t n, unsigned kinds)
{
    uint32_t line = (uint32_t)c->base, stride = (uint32_t)c->stride, bad = 0, seen = 0;
    const uint8_t *d = c->rest;
    size_t width = c->width;

    if (width == 0 && (stride & 0xff) == 0)
        n = 1;
    for (uint32_t i = 0; width == 4 && i < n; i++) {
        uint32_t kind = line + stride * i + get_u32(d + 4 * (size_t)i);

        bad |= kind - 1;
        seen |= kind;
    }
    for (uint32_t i = 0; width != 4 && i < n; i++) {
        uint32_t kind = line + stride * i + (width ? d[i * width] : 0);

        bad |= kind - 1;
        seen |= kind;
    }
    return (bad & 0xfe) == 0 && (seen & 0xff) << 1 == kinds;
}

/* (3) */
static bool block_check_prefixes(const uint8_t *p, uint32_t n)
{
    uint64_t last = get_u64_be(p);
    unsigned bad = 0;

    for (uint32_t i = 1; i < n; i++) {
        uint64_t next = get_u64_be(p + 8 * (size_t)i);

        bad |= next < last;
        last = next;
    }
    return bad == 0;
}

/* Rows in range, and a free slot: (4). */
static bool block_check_hash(const struct block *b, uint32_t *keys)
{
    size_t size = b->hash_mask + (size_t)1;
    uint32_t bad = 0, vacant = 0;

    if (b->hash_width == 1) {
        uint8_t count = (uint8_t)b->count, bad8 = 0; /* bytes: 16 a step */

        for (size_t at = 0; at < size; at += 128) { /* so that a byte can count */
            size_t end = size - at < 128 ? size : at + 128;
            uint8_t vacant8 = 0;

            for (size_t i = at; i < end; i++) {
                uint8_t row = b->hash[i];

                bad8 |= (uint8_t)((row >= count) & (row != UINT8_MAX));
                vacant8 = (uint8_t)(vacant8 + (row == UINT8_MAX));
            }
            vacant += vacant8;
        }
        bad = bad8;
    } else {
        for (size_t i = 0; i < size; i++) {
            uint16_t row = get_u16(b->hash + 2 * i);

            bad |= (row >= b->count) & (row != UINT16_MAX);
            vacant += row == UINT16_MAX;
        }
    }
    *keys = (uint32_t)size - vacant;
    return !bad && vacant;
}

/* Keys of many shapes: prefix counts in range and zero-padded, nothing behind a prefix that is not
 * full, and the length of the longest key. */
static bool block_check_shapes(struct block *b)
{
    uint32_t own_at = 0, shared_at = 0, rest_max = 0, count_max = 0;
    uint64_t stray = 0;
    unsigned bad = 0;

    for (uint32_t first = 0, g = 0; first < b->count; first += BLOCK_GROUP, g++) {
        uint32_t end = b->count - first > BLOCK_GROUP ? first + BLOCK_GROUP : b->count;
        uint32_t shared_end = block_end_at(&b->shared_end, g), shared = shared_end - shared_at;

        for (uint32_t i = first; i < end; i++) {
            uint32_t own_end = block_end_at(&b->own_end, i);
            uint32_t rest = shared + (own_end - own_at);
            uint64_t count = block_col_at(&b->prefix_count, i), pad;
            unsigned half;

            own_at = own_end;
            rest_max = rest > rest_max ? rest : rest_max;
            count_max = count > count_max ? (uint32_t)count : count_max;
            /* Whether a key ends inside its prefix is a coin toss: no branches on it. The shift is
             * by 8 * count, in two halves because it may be all 64. */
            half = 4 * (unsigned)(count & 15);
            pad = UINT64_MAX >> half >> half;
            bad |= (count > 8) | ((count < 8) & (rest != 0));
            stray |= get_u64_be(b->prefix + 8 * (size_t)i) & pad;
        }
        shared_at = shared_end;
    }
    if (bad || stray || (uint64_t)b->common_len + count_max + rest_max > KEY_LEN_MAX)
        return false;
    b->key_max = b->common_len + count_max + rest_max;
    return true;
}

/* As above when all keys are cut alike: the lengths are known from the lines alone. */
static bool block_check_fixed(struct block *b)
{
    uint64_t count = b->prefix_count.base;
    uint64_t pad = count < 8 ? UINT64_MAX >> 8 * count : 0, bad = 0;
    uint64_t rest = (uint64_t)b->shared_len + b->own_len;

    if (count > 8 || (count < 8 && rest != 0) || b->common_len + count + rest > KEY_LEN_MAX)
        return false;
    if (pad)
        for (uint32_t i = 0; i < b->count; i++)
            bad |= get_u64_be(b->prefix + 8 * (size_t)i) & pad;
    b->prefix_len = (uint8_t)count;
    b->key_max = (uint32_t)(b->common_len + count + rest);
    return bad == 0;
}

/* Whether n pieces that end at c all have the length that goes into `len`. */
static bool block_is_even(const struct block_col *c, uint32_t n, uint32_t *len)
{
    *len = (uint32_t)c->base;
    return c->width == 0 && (n == 1 || c->base == c->stride);
}

/* Claim the next `width * n` bytes for a column; `at` runs in 64 bits and is compared with the
 * length of the block before anything is read. */
static bool block_open_column(struct block_col *c, const uint8_t *bytes, uint64_t *at,
                              uint32_t width, uint32_t width_max, uint32_t n)
{
    if (width > width_max || (width != 0 && block_width_mask[width] == 0))
        return false;
    c->width = width;
    c->rest = bytes + (size_t)*at;
    *at += (uint64_t)width * n;
    return true;
}

static void block_open_lines(const uint8_t *p, struct block *b)
{
    b->value_end.base = get_u32(p + BLOCK_AT_VALUE_LINE);
    b->value_end.stride = get_u32(p + BLOCK_AT_VALUE_LINE + 4);
    b->own_end.base = get_u32(p + BLOCK_AT_OWN_LINE);
    b->own_end.stride = get_u32(p + BLOCK_AT_OWN_LINE + 4);
    b->shared_end.base = get_u32(p + BLOCK_AT_SHARED_LINE);
    b->shared_end.stride = get_u32(p + BLOCK_AT_SHARED_LINE + 4);
    b->trailer.base = get_u64(p + BLOCK_AT_TRAILER_LINE);
    b->trailer.stride = get_u64(p + BLOCK_AT_TRAILER_LINE + 8);
    b->prefix_count.base = p[BLOCK_AT_PREFIX_BASE];
    b->prefix_count.stride = 0;
}

/* The header and the places of columns, prefixes, hash table and common bytes. `at` is then where
 * the shared bytes start; all before it is inside. */
static ODB_COLD bool block_open_parts(const uint8_t *p, size_t len, struct block *b, uint64_t *at)
{
    const uint8_t *width = p + BLOCK_AT_WIDTHS;
    unsigned hash_bits, kinds;

    if (len < BLOCK_HEADER || len > UINT32_MAX || p[BLOCK_AT_VERSION] != BLOCK_VERSION ||
        get_u16(p + BLOCK_AT_ZERO) != 0 || get_u32(p + BLOCK_AT_FLAGS) != 0)
        return false;
    b->bytes = p;
    b->len = (uint32_t)len;
    b->count = get_u32(p + BLOCK_AT_COUNT);
    b->common_len = get_u32(p + BLOCK_AT_COMMON_LEN);
    hash_bits = p[BLOCK_AT_HASH_BITS];
    kinds = get_u16(p + BLOCK_AT_KINDS);
    /* Every row has a prefix: a count over len / 8 is a lie, and products below stay in 64 bits. */
    if (b->count == 0 || b->count > len / 8 || hash_bits > 17 || kinds == 0 ||
        (kinds & ~BLOCK_KINDS_KNOWN) != 0 || b->common_len > KEY_LEN_MAX)
        return false;
    b->hash_width = hash_bits ? block_slot_width(b->count) : 0;
    if (hash_bits && !b->hash_width)
        return false;
    b->hash_mask = ((uint32_t)1 << hash_bits) - 1;
    *at = BLOCK_HEADER;
    /* `at` is compared before it moves a pointer, and nothing is read before all parts are in. */
    if (!block_open_column(&b->trailer, p, at, width[0], 8, b->count) || *at > len ||
        !block_open_column(&b->value_end, p, at, width[1], 4, b->count) || *at > len ||
        !block_open_column(&b->own_end, p, at, width[2], 4, b->count) || *at > len ||
        !block_open_column(&b->prefix_count, p, at, width[3], 1, b->count) || *at > len ||
        !block_open_column(&b->shared_end, p, at, width[4], 4, block_groups(b->count)) ||
        *at + 8 * (uint64_t)b->count > len)
        return false;
    b->prefix = p + *at;
    *at += 8 * (uint64_t)b->count;
    if (*at + ((uint64_t)b->hash_width << hash_bits) + b->common_len > len)
        return false;
    b->hash = p + *at;
    b->common = b->hash + ((size_t)b->hash_width << hash_bits);
    *at += ((uint64_t)b->hash_width << hash_bits) + b->common_len;
    block_open_lines(p, b);
    return true;
}

/* Whether every row is a put of a key of its own, as far as can be told at once: the hash table has
 * `keys` of them. Should it lie, that is what the reader gets, but no wrong read. */
static void block_note_plain(struct block *b, unsigned kinds, uint32_t keys)
{
    b->is_plain = kinds == 1u << KIND_PUT && keys == b->count;
    if (!b->is_plain)
        return;
    for (uint32_t i = 0; i < b->count; i++) {
        uint64_t trailer = block_col_at(&b->trailer, i);

        b->newest = trailer > b->newest ? trailer : b->newest;
        if (b->trailer.width == 0 && b->trailer.stride == 0)
            break;
    }
}

bool block_open(const uint8_t *bytes, size_t len, struct block *out)
{
    struct block b = {0};
    uint64_t at, shared, own, values;
    uint32_t keys = 0;

    if (!block_open_parts(bytes, len, &b, &at))
        return false;
    if (!block_check_ends(&b.shared_end, block_groups(b.count), &shared) ||
        !block_check_ends(&b.own_end, b.count, &own) ||
        !block_check_ends(&b.value_end, b.count, &values) || at + shared + own + values != len)
        return false;
    b.shared = bytes + at;
    b.own = b.shared + shared;
    b.values = b.own + own;
    b.is_fixed = b.prefix_count.width == 0 &&
                 block_is_even(&b.shared_end, block_groups(b.count), &b.shared_len) &&
                 block_is_even(&b.own_end, b.count, &b.own_len);
    if (!block_check_trailers(&b.trailer, b.count, get_u16(bytes + BLOCK_AT_KINDS)) ||
        !block_check_prefixes(b.prefix, b.count) || (b.hash_width && !block_check_hash(&b, &keys)))
        return false;
    block_note_plain(&b, get_u16(bytes + BLOCK_AT_KINDS), keys);
    if (!(b.is_fixed ? block_check_fixed(&b) : block_check_shapes(&b)))
        return false;
    *out = b;
    return true;
}
