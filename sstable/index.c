/* sstable/index.c -- separators between blocks: where in the table a key would be.
 *
 *        block 0      |     block 1      |     block 2     |   block 3
 *   apple .. carrot   | daikon .. dill   | dill .. lettuce | onion ..
 *                    "d"            ("dill", 41)          "o"
 *
 * A separator is the shortest beginning of a block's first key that comes after all of the block
 * before. Only where the versions of one key are spread over two blocks it is the whole key, with a
 * trailer one below the last one of the block before; so a point read always has exactly one block
 * to look in.
 *
 * 1. Entries of block i-1 come before separator i, entries of block i at or after it, in internal
 *    order. A plain separator counts as one with the greatest trailer: before all versions.
 * 2. Separators rise strictly. Decoding checks it, so a search in a decoded index cannot go astray
 *    whatever the file said; that they fit the blocks is checked by sst_verify.
 *
 * Serialised, then packed as one frame:
 *
 *    count                            varint, at least 1
 *    frame_len                        varint, of block 0
 *    for each further block:
 *      shared                         varint: bytes in common with the separator before; exact
 *      rest_len * 2 + has_trailer     varint
 *      rest                           rest_len bytes
 *      trailer                        u64, if has_trailer
 *      frame_len                      varint
 *
 * Decoded, in one allocation: the 8 bytes behind what all separators share, as numbers in one array;
 * the rest of a separator is looked at only where two numbers are equal. The array is searched in two
 * steps:
 *
 *     top      [   7   |   15   |   23   | ... ]    every eighth number: small, stays near the CPU
 *     prefix   [0 .. 7 | 8 .. 15 | 16 .. 23 | ... ]  then the eight up to it: one cache line
 *
 * so that a search waits for one line, whose address is known early, and not for one after the other
 * (a binary search of the whole array waited for three). Memory is bounded by the file's own size: a separator is part of a key of its block, and no
 * frame unpacks to more than 255 times its length (frame.c), so neither may a separator.
 */
#include "sstable/index.h"

#include "base/alloc.h"
#include "sstable/frame.h"

const char index_no_memory[] = "out of memory";

/* ---- building ---- */

ODB_COLD odb_status index_builder_add(struct index_builder *b, odb_slice sep, uint64_t trailer,
                                      uint64_t frame_len)
{
    size_t shared = 0, rest;
    uint8_t *p;
    odb_status st;

    if (b->count == 0)
        sep.size = 0;
    if (b->count == UINT32_MAX - 1 || b->key_bytes + sep.size > UINT32_MAX)
        return err_set(ODB_TOO_LARGE, "the index of a table is over its limit");
    st = buf_reserve(&b->bytes, sep.size + 8 + 3 * VARINT_MAX);
    if (st != ODB_OK)
        return st;
    p = b->bytes.p + b->bytes.len;
    if (b->count > 0) {
        shared = key_common(b->last.p, b->last.len, sep.data, sep.size);
        rest = sep.size - shared;
        p = enc_varint(p, shared);
        p = enc_varint(p, (uint64_t)rest << 1 | (trailer != INDEX_ANY));
        if (rest)
            memcpy(p, (const uint8_t *)sep.data + shared, rest);
        p += rest;
        if (trailer != INDEX_ANY) {
            enc_u64(p, trailer);
            p += 8;
        }
        st = buf_assign(&b->last, sep.data, sep.size);
        if (st != ODB_OK)
            return st;
    }
    p = enc_varint(p, frame_len);
    b->bytes.len = (size_t)(p - b->bytes.p);
    b->key_bytes += sep.size;
    b->count++;
    return ODB_OK;
}

ODB_COLD odb_status index_builder_finish(const struct index_builder *b, struct buf *out)
{
    odb_status st = buf_reserve(out, VARINT_MAX + b->bytes.len);

    if (st != ODB_OK)
        return st;
    out->len = (size_t)(enc_varint(out->p + out->len, b->count) - out->p);
    return buf_append(out, b->bytes.p, b->bytes.len);
}

void index_builder_release(struct index_builder *b)
{
    buf_release(&b->bytes);
    buf_release(&b->last);
}

/* ---- decoding ---- */

/* One block as serialised. */
struct index_item {
    size_t shared;
    odb_slice rest;
    uint64_t trailer;
    uint64_t frame_len;
    bool has_trailer;
};

/* What a first look tells about sizes, before anything is allocated. */
struct index_sizes {
    uint32_t count;
    size_t common_len;
    uint64_t key_bytes;
    bool has_trailers;
};

/* False: malformed. */
static ODB_COLD bool index_next_item(struct dec *d, bool is_first, struct index_item *out)
{
    uint64_t shared = 0, rest = 0;

    *out = (struct index_item){.trailer = INDEX_ANY};
    if (!is_first) {
        shared = dec_varint(d);
        rest = dec_varint(d);
        if (d->bad || shared > KEY_LEN_MAX || rest >> 1 > KEY_LEN_MAX - shared)
            return false;
        out->shared = (size_t)shared;
        out->rest = dec_bytes(d, (size_t)(rest >> 1));
        out->has_trailer = rest & 1;
        if (out->has_trailer)
            out->trailer = dec_u64(d);
    }
    out->frame_len = dec_varint(d);
    return !d->bad;
}

static ODB_COLD const char *index_measure(struct dec d, uint64_t data_len, struct index_sizes *out)
{
    uint64_t count = dec_varint(&d), left = data_len;
    size_t last_len = 0;

    *out = (struct index_sizes){0};
    if (d.bad || count == 0 || count > dec_left(&d) || count >= UINT32_MAX)
        return "index: block count";
    out->count = (uint32_t)count;
    for (uint32_t i = 0; i < out->count; i++) {
        struct index_item item;
        size_t len;

        if (!index_next_item(&d, i == 0, &item))
            return "index: cut short or malformed";
        if (item.frame_len <= FRAME_TAIL || item.frame_len > left || item.frame_len > FRAME_RAW_MAX)
            return "index: block lengths";
        left -= item.frame_len;
        len = item.shared + item.rest.size;
        if (item.shared > last_len || len / 255 > item.frame_len)
            return "index: separator length";
        if (i == 1)
            out->common_len = len;
        else if (i > 1 && item.shared < out->common_len)
            out->common_len = item.shared;
        out->key_bytes += len;
        out->has_trailers |= item.has_trailer;
        last_len = len;
    }
    if (left != 0 || dec_left(&d) != 0)
        return "index: blocks do not fill the file";
    out->key_bytes -= (uint64_t)out->common_len * (out->count - 1);
    if (out->key_bytes > UINT32_MAX)
        return "index: separators are over the limit";
    return NULL;
}

/* Lay out the arrays. False: out of memory. */
static ODB_COLD bool index_allocate(struct sst_index *x, const struct index_sizes *z)
{
    size_t seps = z->count - 1, tops = seps / INDEX_GROUP;
    uint64_t words = (uint64_t)seps + tops + z->count + 1 + (z->has_trailers ? seps : 0);
    uint64_t size = INDEX_LINE + words * 8 + (uint64_t)z->count * 4 + z->common_len + z->key_bytes;
    uint8_t *memory;
    uint64_t *w;

    if (size > SIZE_MAX)
        return false;
    memory = mem_alloc((size_t)size);
    if (!memory)
        return false;
    *x = (struct sst_index){.count = z->count, .common_len = (uint32_t)z->common_len};
    x->memory = memory;
    x->footprint = (size_t)size;
    w = (uint64_t *)(void *)(memory + (INDEX_LINE - (uintptr_t)memory % INDEX_LINE) % INDEX_LINE);
    x->prefix = w;
    x->top = w + seps;
    x->block_off = x->top + tops;
    w = x->block_off + z->count + 1;
    if (z->has_trailers) {
        x->trailer = w;
        w += seps;
    }
    x->key_off = (uint32_t *)(void *)w;
    x->common = (uint8_t *)(x->key_off + z->count);
    x->key = x->common + z->common_len;
    return true;
}

/* Whether `item` comes after the separator before it, of which `last` are the bytes from `shared`
 * on. This also makes `shared` exact, as the search relies on. */
static ODB_COLD bool index_item_rises(const struct index_item *item, odb_slice last,
                                      uint64_t last_trailer)
{
    if (item->rest.size == 0)
        return last.size == 0 && item->has_trailer && item->trailer < last_trailer;
    return last.size == 0 || *(const uint8_t *)item->rest.data > *(const uint8_t *)last.data;
}

static ODB_COLD const char *index_fill(struct sst_index *x, struct dec d, uint64_t begin)
{
    uint64_t off = begin, last_trailer = INDEX_ANY;
    uint32_t end = 0, last = 0; /* of the separators laid down so far; where the last one begins */

    (void)dec_varint(&d);
    x->key_off[0] = 0;
    for (uint32_t i = 0; i < x->count; i++) {
        size_t common = x->common_len, kept, skip;
        struct index_item item;
        const uint8_t *rest;

        if (!index_next_item(&d, i == 0, &item))
            return "index: malformed";
        x->block_off[i] = off;
        off += item.frame_len;
        if (i == 0)
            continue;
        rest = item.rest.data;
        if (i == 1) { /* the common bytes are the start of the first separator */
            if (item.rest.size == 0 && !item.has_trailer)
                return "index: empty separator";
            if (common)
                memcpy(x->common, rest, common);
            kept = 0;
            skip = common;
        } else {
            kept = item.shared - common;
            skip = 0;
            if (!index_item_rises(&item, odb_bytes(x->key + last + kept, end - last - kept),
                                  last_trailer))
                return "index: separators out of order";
            if (kept)
                memcpy(x->key + end, x->key + last, kept);
        }
        if (item.rest.size > skip)
            memcpy(x->key + end + kept, rest + skip, item.rest.size - skip);
        last = end;
        end += (uint32_t)(kept + item.rest.size - skip);
        x->key_off[i] = end;
        x->prefix[i - 1] = key_prefix(x->key + last, end - last, 0);
        if (i % INDEX_GROUP == 0)
            x->top[i / INDEX_GROUP - 1] = x->prefix[i - 1];
        if (x->trailer)
            x->trailer[i - 1] = item.trailer;
        last_trailer = item.trailer;
    }
    x->block_off[x->count] = off;
    return NULL;
}

ODB_COLD const char *index_open(odb_slice bytes, uint64_t begin, uint64_t end,
                                struct sst_index *out)
{
    struct index_sizes sizes;
    struct sst_index x;
    const char *what;

    if (end < begin)
        return "index: blocks do not fill the file";
    what = index_measure(dec_from(bytes), end - begin, &sizes);
    if (what)
        return what;
    if (!index_allocate(&x, &sizes))
        return index_no_memory;
    what = index_fill(&x, dec_from(bytes), begin);
    if (what)
        index_release(&x);
    else
        *out = x;
    return what;
}

void index_release(struct sst_index *x)
{
    mem_free(x->memory);
    *x = (struct sst_index){0};
}

/* ---- searching ---- */

/* How separator `i` (from 0) compares with (rest, trailer), both without the common bytes. */
static int index_compare_rest(const struct sst_index *x, uint32_t i, const uint8_t *rest,
                              size_t rest_len, uint64_t trailer)
{
    uint32_t off = x->key_off[i];

    return ikey_compare(x->key + off, x->key_off[i + 1] - off,
                        x->trailer ? x->trailer[i] : INDEX_ANY, rest, rest_len, trailer);
}

ODB_COLD int index_compare(const struct sst_index *x, uint32_t no, odb_slice key, uint64_t trailer)
{
    const uint8_t *k = key.data;
    size_t n = key.size < x->common_len ? key.size : x->common_len;
    int c = n ? memcmp(k, x->common, n) : 0;

    if (c == 0 && key.size < x->common_len)
        return -1;
    return c ? c : -index_compare_rest(x, no - 1, k + n, key.size - n, trailer);
}

/* Among separators whose prefix equals the key's, from `lo` on: how many of all separators are at
 * or before it. Doubling steps first: there is mostly one such separator. */
static uint32_t index_find_equal(const struct sst_index *x, uint32_t lo, uint64_t prefix,
                                 const uint8_t *rest, size_t rest_len, uint64_t trailer)
{
    uint32_t seps = x->count - 1, hi = lo, step = 1;

    while (hi < seps && x->prefix[hi] == prefix &&
           index_compare_rest(x, hi, rest, rest_len, trailer) <= 0) {
        lo = hi + 1;
        hi = step < seps - hi ? hi + step : seps;
        step *= 2;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (x->prefix[mid] != prefix || index_compare_rest(x, mid, rest, rest_len, trailer) > 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

struct index_step index_begin(const struct sst_index *x, odb_slice key)
{
    size_t common = x->common_len;
    uint32_t seps = x->count - 1, n = seps / INDEX_GROUP;
    const uint64_t *top = x->top;
    struct index_step s = {0, 0, true};

    if (seps == 0)
        return s;
    if (common) {
        int c = key.size ? memcmp(key.data, x->common, key.size < common ? key.size : common) : 0;

        if (c < 0 || (c == 0 && key.size < common))
            return s;
        if (c > 0) {
            s.at = seps;
            return s;
        }
    }
    s.prefix = key_prefix(key.data, key.size, common);
    s.is_final = false;
    while (n > 1) { /* without branches: they would be mispredicted every other time */
        uint32_t half = n / 2;

        top += top[half - 1] < s.prefix ? half : 0;
        n -= half;
    }
    s.at = (uint32_t)(top - x->top);
    if (n)
        s.at += *top < s.prefix;
    s.at *= INDEX_GROUP;
    ODB_PREFETCH(x->prefix + s.at);
    return s;
}

uint32_t index_end(const struct sst_index *x, const struct index_step *s, odb_slice key,
                   uint64_t trailer)
{
    uint32_t seps = x->count - 1, lo = s->at;
    const uint64_t *p = x->prefix + lo;
    const uint8_t *k = key.data;

    if (s->is_final)
        return lo;
    if (ODB_LIKELY(seps - lo >= INDEX_GROUP)) {
        for (unsigned i = 0; i < INDEX_GROUP; i++)
            lo += p[i] < s->prefix;
    } else {
        while (lo < seps && x->prefix[lo] < s->prefix)
            lo++;
    }
    if (lo == seps || x->prefix[lo] != s->prefix)
        return lo;
    return index_find_equal(x, lo, s->prefix, k + x->common_len, key.size - x->common_len, trailer);
}

uint32_t index_find(const struct sst_index *x, odb_slice key, uint64_t trailer)
{
    struct index_step s = index_begin(x, key);

    return index_end(x, &s, key, trailer);
}
