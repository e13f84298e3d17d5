/* memtable/load.c -- a memtable filled at one go: copy in any order, sort, link in key order.
 *
 *     arena    | e0 | e1 | e2 | e3 | e4 | ...          where add() copied them: in order of arrival
 *     rank     [ prefix, e0 ][ prefix, e1 ] ...        16 bytes each: what is sorted
 *                       |
 *       split           v          by prefix, at quantiles of a sample
 *     half 2   [ ....... part 0 ....... | ....... part 1 ....... ]
 *       link            |                        |         each range in a thread of its own
 *                       v                        v
 *     nodes    (64)->(64)->(64)->(64)-> ... ->(64)->(64)
 *
 * Sorting looks at eight bytes of the key, those behind what all keys have in common. Entries that tie
 * in them are sorted again by the bytes behind what the tied ones have in common, and so on a few
 * times; what then still ties is compared key by key. So keys that differ late, or fall into a few
 * groups with long prefixes, cost one more look at each key and not a search.
 *
 * 1. Every pass is stable, and the first one begins at the end: of one key, later entries come first,
 *    which is the order of trailers. Ties that are in order already are thus seen to be and left alone.
 * 2. A range holds all entries of its prefixes: no key is in two ranges.
 *
 * Threads: as load.h says; ranges touch different slots of both halves, and memtable_link_next may run
 * beside itself.
 */
#include "memtable/load.h"

#include <assert.h>

#include "base/alloc.h"
#include "memtable/memtable_priv.h"

#define LOAD_CAP_MIN 64u
#define LOAD_SMALL   24u /* so few are sorted by insertion */
#define LOAD_DEPTH   6u  /* looks at further bytes before keys are compared as a whole */
#define LOAD_AHEAD   12u /* entries asked from memory before they are linked */
#define LOAD_GROUP   64u /* entries that share one claim on nodes */
#define LOAD_SAMPLE  256u

struct memtable_rank {
    uint64_t prefix;
    struct memtable_entry *entry;
};

/* ---- adding ---------------------------------------------------------------------------------- */

static odb_status load_grow(struct memtable_load *l)
{
    uint32_t cap = l->cap ? l->cap * 2 : LOAD_CAP_MIN;
    struct memtable_rank *r = NULL;

    if (cap <= UINT32_MAX / 4)
        r = mem_realloc(l->rank, 2 * (size_t)cap * sizeof *r);
    if (!r)
        return err_set(ODB_NOMEM, "out of memory to sort %lu entries", (unsigned long)l->count);
    l->rank = r;
    l->cap = cap;
    return ODB_OK;
}

/* `key` joins: what have all in common now? */
static void load_note_key(struct memtable_load *l, const struct memtable_probe *key)
{
    if (l->count == 0) {
        l->pattern = key->key;
        l->skip = key->len;
        l->stale = 0;
    } else if (ODB_UNLIKELY(key->len < l->skip ||
                            (l->skip && memcmp(key->key, l->pattern, l->skip) != 0))) {
        l->skip = key_common(l->pattern, l->skip, key->key, key->len);
        l->stale = l->count;
    }
}

odb_status memtable_load_add(struct memtable_load *l, struct memtable *mem, odb_slice key,
                             odb_slice value, uint64_t trailer)
{
    struct memtable_room room;
    struct memtable_entry *e;
    struct memtable_probe p;
    odb_status st;

    assert(!l->is_split && (l->count == 0 || l->mem == mem));
    l->mem = mem;
    if (ODB_UNLIKELY(l->count == l->cap)) {
        st = load_grow(l);
        if (st != ODB_OK)
            return st;
    }
    /* Nodes are claimed when it is linked: this many ahead would be far too many. */
    st = memtable_reserve(mem, memtable_entry_bytes(key.size, value.size), 0, &room);
    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    e = memtable_prepare(&room, key, value);
    e->trailer = trailer;
    p = entry_probe(e);
    load_note_key(l, &p);
    l->rank[l->count++] = (struct memtable_rank){key_prefix(p.key, p.len, l->skip), e};
    return ODB_OK;
}

/* ---- sorting --------------------------------------------------------------------------------- */

static inline bool rank_is_before(const struct memtable_rank *a, const struct memtable_rank *b)
{
    struct memtable_probe p;

    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    p = entry_probe(b->entry);
    return entry_compare(a->entry, &p) < 0;
}

static void sort_by_insertion(struct memtable_rank *a, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        struct memtable_rank x = a[i];
        uint32_t k = i;

        for (; k > 0 && rank_is_before(&x, &a[k - 1]); k--)
            a[k] = a[k - 1];
        a[k] = x;
    }
}

/* Merge a[0..mid) and a[mid..n), each sorted. */
static void merge_halves(struct memtable_rank *a, struct memtable_rank *b, uint32_t mid, uint32_t n)
{
    uint32_t left = 0, right = mid, at = 0;

    if (!rank_is_before(&a[mid], &a[mid - 1]))
        return;
    memcpy(b, a, mid * sizeof *b);
    while (left < mid && right < n)
        a[at++] = rank_is_before(&a[right], &b[left]) ? a[right++] : b[left++];
    memcpy(a + at, b + left, (mid - left) * sizeof *b);
}

/* Merge sort, from the bottom up, comparing whole keys; the result is in `a`. */
static void sort_by_keys(struct memtable_rank *a, struct memtable_rank *b, uint32_t n)
{
    for (size_t i = 0; i < n; i += LOAD_SMALL)
        sort_by_insertion(a + i, n - i < LOAD_SMALL ? (uint32_t)(n - i) : LOAD_SMALL);
    for (size_t width = LOAD_SMALL; width < n; width *= 2)
        for (size_t i = 0; i + width < n; i += 2 * width)
            merge_halves(a + i, b + i, (uint32_t)width,
                         (uint32_t)(n - i < 2 * width ? n - i : 2 * width));
}

/* By prefix: a radix sort, last byte first, over the bytes that are not the same everywhere. Stable;
 * the result is in `a`. */
static void sort_by_prefix(struct memtable_rank *a, struct memtable_rank *b, uint32_t n)
{
    struct memtable_rank *from = a, *to = b;
    uint64_t varies = 0;

    for (uint32_t i = 1; i < n; i++)
        varies |= a[i].prefix ^ a[0].prefix;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        struct memtable_rank *done = from;
        uint32_t at[256] = {0}, sum = 0;

        if ((varies >> shift & 0xff) == 0)
            continue;
        for (uint32_t i = 0; i < n; i++)
            at[from[i].prefix >> shift & 0xff]++;
        for (unsigned d = 0; d < 256; d++) {
            uint32_t count = at[d];

            at[d] = sum;
            sum += count;
        }
        for (uint32_t i = 0; i < n; i++)
            to[at[from[i].prefix >> shift & 0xff]++] = from[i];
        from = to;
        to = done;
    }
    if (from != a)
        memcpy(a, from, n * sizeof *a);
}

/* New prefixes for `n` entries that all agree in their first `skip` bytes, after whatever more they
 * agree in. False: there are no further bytes. */
static bool rank_anew(struct memtable_rank *a, uint32_t n, size_t *skip)
{
    struct memtable_probe first = entry_probe(a[0].entry);
    size_t common = first.len;
    bool varies = false;

    for (uint32_t i = 1; i < n && common > *skip; i++) {
        struct memtable_probe p = entry_probe(a[i].entry);

        common = key_common(first.key, common, p.key, p.len);
    }
    if (common < *skip)
        common = *skip;
    for (uint32_t i = 0; i < n; i++) {
        struct memtable_probe p = entry_probe(a[i].entry);

        a[i].prefix = key_prefix(p.key, p.len, common);
        varies |= a[i].prefix != a[0].prefix;
    }
    *skip = common;
    return varies;
}

static void sort_ties(struct memtable_rank *a, struct memtable_rank *b, uint32_t n, size_t skip,
                      unsigned depth);

/* `n` entries whose keys agree in their first `skip` bytes and whose prefixes are what follows. */
static void sort_ranks(struct memtable_rank *a, struct memtable_rank *b, uint32_t n, size_t skip,
                       unsigned depth)
{
    if (n <= LOAD_SMALL) {
        sort_by_insertion(a, n);
        return;
    }
    sort_by_prefix(a, b, n);
    for (uint32_t i = 0, end; i < n; i = end) {
        if (i + LOAD_AHEAD + 1 < n && a[i + LOAD_AHEAD].prefix == a[i + LOAD_AHEAD + 1].prefix) {
            ODB_PREFETCH(a[i + LOAD_AHEAD].entry);
            ODB_PREFETCH(a[i + LOAD_AHEAD + 1].entry);
        }
        for (end = i + 1; end < n && a[end].prefix == a[i].prefix; end++)
            ;
        if (end - i > 1)
            sort_ties(a + i, b + i, end - i, skip + 8, depth);
    }
}

static void sort_ties(struct memtable_rank *a, struct memtable_rank *b, uint32_t n, size_t skip,
                      unsigned depth)
{
    uint32_t sorted = 1;

    while (sorted < n && !rank_is_before(&a[sorted], &a[sorted - 1])) /* versions of one key are */
        sorted++;
    if (sorted == n)
        return;
    if (n > LOAD_SMALL && depth < LOAD_DEPTH && rank_anew(a, n, &skip))
        sort_ranks(a, b, n, skip, depth + 1);
    else
        sort_by_keys(a, b, n);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static void rank_stale(struct memtable_load *l)
{
    for (uint32_t i = 0; i < l->stale; i++) {
        struct memtable_probe p = entry_probe(l->rank[i].entry);

        l->rank[i].prefix = key_prefix(p.key, p.len, l->skip);
    }
    l->stale = 0;
}

/* Prefixes at which ranges of about equal size begin, rising strictly; how many. */
static uint32_t choose_fences(const struct memtable_load *l, uint32_t want, uint64_t *fence)
{
    uint64_t sample[LOAD_SAMPLE];
    uint32_t count = 0;

    for (uint32_t i = 0; i < LOAD_SAMPLE; i++) {
        uint64_t x = l->rank[(uint64_t)i * l->count / LOAD_SAMPLE].prefix;
        uint32_t k = i;

        for (; k > 0 && sample[k - 1] > x; k--)
            sample[k] = sample[k - 1];
        sample[k] = x;
    }
    for (uint32_t i = 1; i < want; i++) {
        uint64_t x = sample[i * LOAD_SAMPLE / want];

        if (x > (count ? fence[count - 1] : sample[0]))
            fence[count++] = x;
    }
    return count;
}

static uint32_t range_of(const uint64_t *fence, uint32_t count, uint64_t prefix)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < count; i++)
        at += prefix >= fence[i];
    return at;
}

uint32_t memtable_load_split(struct memtable_load *l, uint32_t want)
{
    uint32_t at[MEMTABLE_LOAD_PARTS + 1] = {0}, fences = 0;
    uint64_t fence[MEMTABLE_LOAD_PARTS];
    struct memtable_rank *to;

    assert(!l->is_split);
    l->is_split = true;
    if (l->count == 0)
        return 0;
    to = l->rank + l->cap;
    rank_stale(l);
    if (want > MEMTABLE_LOAD_PARTS)
        want = MEMTABLE_LOAD_PARTS;
    if (want > 1 && l->count >= LOAD_SAMPLE)
        fences = choose_fences(l, want, fence);
    for (uint32_t i = 0; i < l->count; i++)
        at[range_of(fence, fences, l->rank[i].prefix) + 1]++;
    for (uint32_t i = 1; i <= fences + 1; i++)
        at[i] += at[i - 1];
    memcpy(l->part, at, sizeof at);
    for (uint32_t i = l->count; i-- > 0;) /* from the end: (1) */
        to[at[range_of(fence, fences, l->rank[i].prefix)]++] = l->rank[i];
    return fences + 1;
}

/* ---- linking --------------------------------------------------------------------------------- */

odb_status memtable_load_link(struct memtable_load *l, uint32_t part)
{
    uint32_t from = l->part[part], n = l->part[part + 1] - from;
    struct memtable_rank *a = l->rank + l->cap + from;
    struct memtable_room room = {0};
    struct run_node *near = NULL;

    assert(l->is_split);
    sort_ranks(a, l->rank + from, n, l->skip, 0);
    for (uint32_t i = 0; i < n; i++) {
        if (room.nodes == 0) {
            odb_status st;

            memtable_return(l->mem, &room);
            st = memtable_reserve(l->mem, 0, n - i < LOAD_GROUP ? n - i : LOAD_GROUP, &room);
            if (st != ODB_OK)
                return st;
        }
        if (i + LOAD_AHEAD < n)
            ODB_PREFETCH(a[i + LOAD_AHEAD].entry);
        memtable_link_next(l->mem, &room, a[i].entry, &near);
    }
    memtable_return(l->mem, &room);
    return ODB_OK;
}

void memtable_load_reset(struct memtable_load *l)
{
    l->mem = NULL;
    l->count = 0;
    l->is_split = false;
}

void memtable_load_release(struct memtable_load *l)
{
    mem_free(l->rank);
    *l = (struct memtable_load){0};
}
