/* memtable/cursor.c -- walking a memtable, a node at a time.
 *
 *     node     entry[ a  b  c  d  e  f  g  h ... ]      copied under the node's version
 *                 |
 *     taken       [ a  b  c  d  e  f  g  h ... ]        where the entries lie: 64 pointers
 *                         | from    | end
 *     run               [ c  d  e  f ]                  decoded: the run of base/cursor.h
 *
 * A seek copies a node's pointers but decodes only a few entries: that is what touches memory. Going
 * on in either direction decodes more each time; a long walk does a whole node at once and meanwhile
 * asks memory for the entries of the next one and for the node behind that: a flush reads entries that
 * lie in order of arrival, and would wait for each.
 *
 * 1. taken[0..count) are all entries of one node at one moment, and `next` the node that followed
 *    it then: every entry inserted by then lies in one of them, or further out.
 * 2. The run is taken[from..end).
 * 3. A node split since is of no concern: what it held is in `taken`, what came later may be missing.
 *
 * There are no links to the left. Going back from a node searches for the key before its lowest.
 *
 * Threads: the cursor belongs to one; writers may be at work in the memtable.
 */
#include "memtable/memtable_priv.h"

#include "base/alloc.h"

#define CURSOR_RUN_MIN 8u   /* entries decoded after a seek */
#define CURSOR_ASK     192u /* bytes of an entry worth asking for ahead */

struct memtable_cursor {
    struct cursor base;
    struct memtable *m; /* a reference, unless is_lent */
    bool is_lent;       /* the memory is the caller's */
    struct run_node *next;
    uint32_t count; /* of taken */
    uint32_t from, end;
    uint32_t ahead; /* entries to decode next time */
    const struct memtable_entry *taken[RUN_ENTRIES];
    struct entry run[RUN_ENTRIES];
};

/* ---- one node -------------------------------------------------------------------------------- */

/* Copy `n` and tell where the probe (NULL: the end) stands in it. */
static unsigned cursor_take(struct memtable_cursor *c, const struct run_node *n,
                            const struct memtable_probe *p)
{
    unsigned seen, at;

    do {
        seen = run_read_begin(n);
        c->count = atomic_load_explicit(&n->count, memory_order_acquire);
        c->next = atomic_load_explicit(&n->base.next, memory_order_acquire);
        at = p ? run_position(n, c->count, p, NULL) : c->count;
        for (unsigned i = 0; i < c->count; i++)
            c->taken[i] = atomic_load_explicit(&n->entry[i], memory_order_acquire);
    } while (!run_read_valid(n, seen));
    return at;
}

/* Copy the last node whose lowest key is at or before `reach`, and tell where `p` stands in it.
 * Between finding and copying the node may have been split: then on to the right. */
static unsigned cursor_take_at(struct memtable_cursor *c, const struct memtable_probe *reach,
                               const struct memtable_probe *p)
{
    size_t common;
    struct run_node *n = memtable_descend(c->m, reach, 0, &common);

    for (;;) {
        unsigned at = cursor_take(c, n, p);

        if (!c->next || entry_compare(c->next->low, reach) > 0)
            return at;
        n = c->next;
    }
}

/* Decode taken[from..end) and stand on its entry `at`. */
static bool cursor_show(struct memtable_cursor *c, unsigned from, unsigned end, unsigned at)
{
    bool is_plain = true;
    uint64_t newest = 0;

    for (unsigned i = from; i < end; i++)
        ODB_PREFETCH(c->taken[i]);
    for (unsigned i = from; i < end; i++) {
        struct entry *e = &c->run[i - from];

        *e = entry_decode(c->taken[i]);
        newest = e->trailer > newest ? e->trailer : newest;
        is_plain &= trailer_kind(e->trailer) == KIND_PUT;
        if (i > from && is_plain)
            is_plain = e->key_len != e[-1].key_len || memcmp(e->key, e[-1].key, e->key_len) != 0;
    }
    c->base.is_plain = is_plain;
    c->base.newest = newest;
    c->from = from;
    c->end = end;
    c->base.count = end - from;
    c->base.at = at - from;
    c->base.status = ODB_OK;
    if (c->ahead < RUN_ENTRIES)
        c->ahead *= 2;
    return true;
}

/* Ask memory for what a walk needs next but one: the entries of `n`, which were asked for as an array
 * of pointers one node ago, and that array of the node behind. */
static void cursor_ask_ahead(const struct run_node *n)
{
    const struct run_node *behind;
    unsigned count;

    if (!n)
        return;
    behind = atomic_load_explicit(&n->base.next, memory_order_relaxed);
    if (behind) {
        ODB_PREFETCH(behind);
        for (unsigned i = 0; i < RUN_ENTRIES; i += RUN_LINE / sizeof behind->entry[0])
            ODB_PREFETCH(&behind->entry[i]);
    }
    count = atomic_load_explicit(&n->count, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) {
        const char *e = (const char *)atomic_load_explicit(&n->entry[i], memory_order_relaxed);

        for (unsigned at = 0; at < CURSOR_ASK; at += RUN_LINE)
            ODB_PREFETCH(e + at);
    }
}

/* Stand on taken[at], decoding what comes after it; on the next node where there is none. */
static bool cursor_show_from(struct memtable_cursor *c, unsigned at)
{
    while (at == c->count) {
        if (!c->next)
            return cursor_stop(&c->base, ODB_OK);
        at = 0;
        (void)cursor_take(c, c->next, NULL);
        if (c->ahead >= RUN_ENTRIES)
            cursor_ask_ahead(c->next);
    }
    return cursor_show(c, at, c->count - at > c->ahead ? at + c->ahead : c->count, at);
}

/* Stand on taken[end - 1], decoding what comes before it; on the node before where there is none. */
static bool cursor_show_to(struct memtable_cursor *c, unsigned end)
{
    if (end == 0) {
        struct memtable_probe p, before;

        if (c->count == 0)
            return cursor_stop(&c->base, ODB_OK); /* the head, and it is empty */
        p = before = entry_probe(c->taken[0]);
        before.trailer++; /* the place just before it; no entry's trailer is the greatest number */
        end = cursor_take_at(c, &before, &p);
        if (end == 0) /* it is the head, nothing comes before */
            return cursor_stop(&c->base, ODB_OK);
    }
    return cursor_show(c, end > c->ahead ? end - c->ahead : 0, end, end - 1);
}

/* ---- base/cursor.h --------------------------------------------------------------------------- */

static struct memtable_cursor *cursor_self(struct cursor *c)
{
    return (struct memtable_cursor *)(void *)c;
}

static bool memtable_cursor_first(struct cursor *base)
{
    struct memtable_cursor *c = cursor_self(base);

    c->ahead = CURSOR_RUN_MIN;
    (void)cursor_take(c, c->m->head, NULL);
    return cursor_show_from(c, 0);
}

static ODB_COLD bool memtable_cursor_last(struct cursor *base)
{
    struct memtable_cursor *c = cursor_self(base);
    struct run_node *n = c->m->head, *next;

    c->ahead = CURSOR_RUN_MIN;
    for (unsigned level = RUN_HEIGHT_MAX; level-- > 0;)
        while ((next = atomic_load_explicit(&run_link_of(n, level)->next, memory_order_acquire)))
            n = next;
    while (n) { /* as above, it may have been split */
        (void)cursor_take(c, n, NULL);
        n = c->next;
    }
    return cursor_show_to(c, c->count);
}

static bool memtable_cursor_seek(struct cursor *base, odb_slice key, uint64_t trailer)
{
    struct memtable_cursor *c = cursor_self(base);
    struct memtable_probe p = {key.data, key.size, trailer};

    c->ahead = CURSOR_RUN_MIN;
    return cursor_show_from(c, cursor_take_at(c, &p, &p));
}

static bool memtable_cursor_seek_for_prev(struct cursor *base, odb_slice key, uint64_t trailer)
{
    struct memtable_cursor *c = cursor_self(base);
    struct memtable_probe p = {key.data, key.size, trailer};
    unsigned at;

    c->ahead = CURSOR_RUN_MIN;
    at = cursor_take_at(c, &p, &p);
    if (at < c->count && entry_compare(c->taken[at], &p) == 0)
        at++;
    if (at == 0) /* only in the head: elsewhere `low` is at or before the probe */
        return cursor_stop(base, ODB_OK);
    return cursor_show_to(c, at);
}

static bool memtable_cursor_next_run(struct cursor *base)
{
    struct memtable_cursor *c = cursor_self(base);

    return cursor_show_from(c, c->end);
}

static bool memtable_cursor_prev_run(struct cursor *base)
{
    struct memtable_cursor *c = cursor_self(base);

    return cursor_show_to(c, c->from);
}

static void memtable_cursor_free(struct cursor *base)
{
    struct memtable_cursor *c = cursor_self(base);

    if (c->is_lent)
        return;
    memtable_unref(c->m);
    mem_free(c);
}

static const struct cursor_ops memtable_cursor_ops = {
    .first = memtable_cursor_first,
    .last = memtable_cursor_last,
    .seek = memtable_cursor_seek,
    .seek_for_prev = memtable_cursor_seek_for_prev,
    .next_run = memtable_cursor_next_run,
    .prev_run = memtable_cursor_prev_run,
    .free = memtable_cursor_free,
};

size_t memtable_cursor_size(void)
{
    return sizeof(struct memtable_cursor);
}

struct cursor *memtable_cursor_init(void *memory, struct memtable *m)
{
    struct memtable_cursor *c = memory;

    c->base = (struct cursor){.ops = &memtable_cursor_ops, .run = c->run};
    c->m = m;
    c->is_lent = true;
    c->next = NULL;
    c->count = c->from = c->end = 0;
    c->ahead = CURSOR_RUN_MIN;
    return &c->base;
}

ODB_COLD odb_status memtable_cursor_new(struct memtable *m, struct cursor **out)
{
    struct memtable_cursor *c = mem_alloc(sizeof *c);

    if (!c)
        return err_set(ODB_NOMEM, "out of memory for a cursor over a memtable");
    *out = memtable_cursor_init(c, m);
    c->is_lent = false;
    memtable_ref(m);
    return ODB_OK;
}
