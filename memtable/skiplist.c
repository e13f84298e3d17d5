/* memtable/skiplist.c -- a skiplist whose nodes are sorted runs.
 *
 *   level 2   head -------------------------------> +-----+ -------------------------->
 *   level 1   head ---------> +-----+ ------------> |     | ----------> +-----+ ------>
 *   level 0   head -> +----+  |     | -> +----+ --> |     | -> +----+ -> |     | -> +----+
 *                     | 64 |->|  52 |    | 33 |     |  64 |    | 40 |    |  61 |    | 12 |
 *                     +----+  +-----+    +----+     +-----+    +----+    +-----+    +----+
 *             lowest:   c        g          m          p         r          t         x
 *
 * Why. A search in a skiplist of single keys is a chain of cache misses, two or three for each of
 * some twenty keys it looks at. Here a node stands for about 45 keys, so there are fewer nodes to
 * pass and they stay in the cache, and neither links nor nodes need a look at the keys: both carry
 * the bytes that decide (measured: tests/memtable/bench_memtable.c). Blocked skiplists are compared
 * in arXiv 2507.21492; the rule that a node may be entered too far left and is then left to the
 * right is Lehman and Yao's (ACM TODS 6, 1981).
 *
 * Links. A link knows how many bytes the lowest keys of its two ends have in common (`skip`) and the
 * six bytes that follow in the far one. A search knows how many bytes its key has in common with the
 * lowest key of the node it stands in (`common`). Then (thinking zeros without end behind all keys):
 *
 *     skip > common   the key left the bytes both ends share, upward: it lies behind the far end
 *     skip < common   the far end is where these bytes were left, upward: the key lies before it
 *     skip = common   the six bytes decide; if they tie too, the keys are compared
 *
 * so a search reads a far key only in a tie, however long the prefixes are that keys share. It is
 * the way suffix arrays are searched (Manber and Myers, SIAM J. Comput. 22, 1993). A step down thus
 * costs nothing and a step to the right a cache miss, which is why every second node is on the next
 * level, not every fourth as in other skiplists: more levels, a third fewer steps to the right.
 *
 * Reading takes no lock. Going right is always safe: a node's lowest key never changes, so "the key
 * is not before it" stays true. Having gone right too little shows at level 0, where the link and the
 * entries are read under the version of the node (node.c).
 *
 * Writing locks one node at a time. A new node is linked on level 0 while its left neighbour is
 * locked; then, with that lock released, on its upper levels from below, each time under the lock of
 * the node that gets the link. Until that is done searches find it from below: only slower.
 *
 * Room. An insertion must not fail, so nodes for splits are obtained ahead, by memtable_reserve(). A
 * spare node for every entry reserved is always enough, and little for single writes. A batch of
 * very many entries asks for less: there are never more splits than entries / 16. Each entry put in
 * pays 1/32 for halving: a node born with at most 32 has got 32 more when it is full, and what an
 * uneven split leaves over 32 in one half was paid when it came. And it pays 1/32 for an uneven
 * split, which needs 32 entries in that node since its last (run_cut in node.c). So it suffices that
 *
 *     spare nodes >= entries reserved and not yet linked      (looked at without a lock), or else
 *     nodes ever made > entries ever reserved / 16            (under the lock)
 *
 * whoever else writes meanwhile, for both sides count all writers. In the first line `linked` is
 * read before `reserved`, and an insertion counts the node it used before it is counted as linked
 * (with all of its batch, which is later than need be): an insertion seen as done is seen with its
 * node, any other still claims one.
 *
 * Invariants, walked by memtable_check():
 * 1. On every level lowest keys rise strictly; level n+1 is a part of level n.
 * 2. Entries of a node rise strictly, from `low` on, and lie before the next node's `low`.
 * 3. Prefixes are those of the keys after the node's `skip` bytes, which all keys have in common.
 * 4. A link's word belongs to the lowest keys of its ends.
 * 5. used <= 1 + reserved / 16, and used <= made; linked is the number of entries.
 *
 * Threads: as memtable.h says. Memory order is explained where it is chosen: node.c for nodes and
 * links, here for counters. Crashes: nothing here outlives the process; the log does.
 * Not here: sequence numbers and what a snapshot may see (cf/, lsm/).
 */
#include "memtable/memtable_priv.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/hash.h"

#define SPARE_BATCH 8u /* nodes made at a time */

/* ---- life ------------------------------------------------------------------------------------ */

/* Give a node's memory, zeros all, its shape. */
static struct run_node *shape_node(uint8_t *at, uint32_t height)
{
    struct run_node *n = (struct run_node *)(void *)at;

    n->height = height;
    for (unsigned level = 0; level < height; level++)
        run_link_init(run_link_of(n, level));
    return n;
}

/* Zeros for nodes, from the arena. Under m->lock, or before anybody else knows `m`. */
static uint8_t *take_lines(struct memtable *m, size_t size)
{
    uint8_t *p = arena_grow(&m->arena, size + RUN_LINE - 8); /* its pieces are aligned to 8 */

    return p ? p + (RUN_LINE - ((uintptr_t)p & (RUN_LINE - 1))) % RUN_LINE : NULL;
}

ODB_COLD odb_status memtable_new(struct memtable **out)
{
    struct memtable *m = mem_zalloc(1, sizeof *m);
    uint8_t *raw;

    if (!m)
        goto none;
    os_mutex_init(&m->lock, RANK_MEMTABLE);
    arena_init(&m->arena);
    atomic_init(&m->refs, 1);
    raw = take_lines(m, run_node_bytes(RUN_HEIGHT_MAX));
    if (!raw)
        goto none;
    m->head = shape_node(raw, RUN_HEIGHT_MAX);
    atomic_init(&m->bytes, sizeof *m + run_node_bytes(RUN_HEIGHT_MAX));
    *out = m;
    return ODB_OK;
none:
    memtable_unref(m);
    return err_set(ODB_NOMEM, "out of memory for a memtable");
}

void memtable_ref(struct memtable *m)
{
    /* Whoever refs holds a reference already or got the pointer under a lock: nothing to order. */
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
}

void memtable_unref(struct memtable *m)
{
    /* Release what this thread did with it, acquire what all others did before freeing. */
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_release(&m->arena);
    os_mutex_destroy(&m->lock);
    mem_free(m);
}

/* ---- room ------------------------------------------------------------------------------------ */

size_t memtable_entry_bytes(size_t key_len, size_t value_len)
{
    size_t n = sizeof(struct memtable_entry) + varint_len(key_len) + key_len +
               varint_len(value_len) + value_len;

    return (n + 7) & ~(size_t)7;
}

/* The height of the n-th node: one in two reaches the next level. Not by chance but by a hash of
 * its number, so that a test run can be repeated. */
static uint32_t node_height(size_t n)
{
    uint64_t dice = hash_mix(n, 0x72756e);
    uint32_t height = 1;

    while (height < RUN_HEIGHT_MAX && (dice & 1) == 0) {
        dice >>= 1;
        height++;
    }
    return height;
}

/* Put a node on the stack of spares. Under m->lock, though nodes may be popped meanwhile. */
static void push_spare(struct memtable *m, struct run_node *n)
{
    struct run_node *top = atomic_load_explicit(&m->spare, memory_order_relaxed);

    do
        atomic_store_explicit(&n->base.next, top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&m->spare, &top, n, memory_order_release,
                                                  memory_order_relaxed));
}

/* Under m->lock. False: no memory. */
static bool make_spares(struct memtable *m)
{
    size_t made = atomic_load_explicit(&m->made, memory_order_relaxed), size = 0;
    uint8_t *at;

    for (unsigned i = 0; i < SPARE_BATCH; i++)
        size += run_node_bytes(node_height(made + i));
    at = take_lines(m, size);
    if (!at)
        return false;
    for (unsigned i = 0; i < SPARE_BATCH; i++) {
        uint32_t height = node_height(made + i);

        push_spare(m, shape_node(at, height));
        at += run_node_bytes(height);
    }
    /* Release: who counts on these nodes finds them on the stack. */
    atomic_store_explicit(&m->made, made + SPARE_BATCH, memory_order_release);
    return true;
}

/* There is one: memtable_reserve() saw to it. Lock-free, for it is called with a node locked. A node
 * is pushed but once in its life, so the top cannot have gone and come back. */
static struct run_node *pop_spare(struct memtable *m)
{
    struct run_node *top = atomic_load_explicit(&m->spare, memory_order_acquire), *next;

    do {
        assert(top);
        next = atomic_load_explicit(&top->base.next, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&m->spare, &top, next, memory_order_acquire,
                                                    memory_order_acquire));
    atomic_fetch_add_explicit(&m->used, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->bytes, run_node_bytes(top->height), memory_order_relaxed);
    return top;
}

/* Nodes not used yet; fewer than that when some are made or used right now. */
static size_t count_spare(const struct memtable *m)
{
    size_t made = atomic_load_explicit(&m->made, memory_order_acquire);
    size_t used = atomic_load_explicit(&m->used, memory_order_relaxed);

    return made > used ? made - used : 0;
}

/* More is claimed than there are spare nodes: make some, unless the second line of "Room" holds. */
ODB_COLD static odb_status make_room(struct memtable *m)
{
    odb_status st = ODB_OK;

    os_mutex_lock(&m->lock);
    while (st == ODB_OK) {
        size_t linked = atomic_load_explicit(&m->linked, memory_order_acquire);
        size_t reserved = atomic_load_explicit(&m->reserved, memory_order_relaxed);
        size_t made = atomic_load_explicit(&m->made, memory_order_relaxed);

        if (count_spare(m) >= reserved - linked || made > reserved / 16)
            break;
        if (!make_spares(m))
            st = err_set(ODB_NOMEM, "out of memory for the nodes of a memtable");
    }
    os_mutex_unlock(&m->lock);
    return st;
}

odb_status memtable_reserve(struct memtable *m, size_t bytes, uint32_t count,
                            struct memtable_room *out)
{
    size_t linked = atomic_load_explicit(&m->linked, memory_order_acquire);
    size_t reserved = atomic_fetch_add_explicit(&m->reserved, count, memory_order_acq_rel) + count;
    odb_status st = ODB_OK;
    uint8_t *at;

    if (ODB_UNLIKELY(count_spare(m) < reserved - linked))
        st = make_room(m);
    if (st != ODB_OK)
        goto failed;
    at = arena_take(&m->arena, bytes);
    if (ODB_UNLIKELY(!at)) {
        os_mutex_lock(&m->lock);
        at = arena_grow(&m->arena, bytes);
        os_mutex_unlock(&m->lock);
        if (!at) {
            st = err_set(ODB_NOMEM, "out of memory for %lu bytes in a memtable",
                         (unsigned long)bytes);
            goto failed;
        }
    }
    atomic_fetch_add_explicit(&m->bytes, bytes, memory_order_relaxed);
    *out = (struct memtable_room){at, bytes, count, 0, 0};
    return ODB_OK;
failed:
    atomic_fetch_sub_explicit(&m->reserved, count, memory_order_acq_rel);
    return st;
}

bool memtable_block_due(const struct memtable *m)
{
    return atomic_load_explicit(&m->arena.is_ahead_due, memory_order_relaxed);
}

void memtable_make_block(struct memtable *m)
{
    struct arena_block *b = arena_block_new();

    os_mutex_lock(&m->lock);
    arena_keep_ahead(&m->arena, b);
    os_mutex_unlock(&m->lock);
}

void memtable_return(struct memtable *m, struct memtable_room *room)
{
    if (room->deletes)
        atomic_fetch_add_explicit(&m->deletes, room->deletes, memory_order_relaxed);
    /* Release: "Room". Sequentially consistent, which costs the same where it matters: whoever reads the
     * count in that order either sees these entries or is seen by what their writer looks at next. */
    if (room->linked)
        atomic_fetch_add(&m->linked, room->linked);
    if (room->nodes)
        atomic_fetch_sub_explicit(&m->reserved, room->nodes, memory_order_acq_rel);
    *room = (struct memtable_room){0};
}

struct memtable_entry *memtable_prepare(struct memtable_room *room, odb_slice key, odb_slice value)
{
    struct memtable_entry *e = (struct memtable_entry *)(void *)room->at;
    size_t size = memtable_entry_bytes(key.size, value.size);
    uint8_t *p = enc_varint(e->bytes, key.size);

    assert(size <= room->left);
    if (key.size)
        memcpy(p, key.data, key.size);
    p = enc_varint(p + key.size, value.size);
    if (value.size)
        memcpy(p, value.data, value.size);
    room->at += size;
    room->left -= size;
    return e;
}

/* ---- searching ------------------------------------------------------------------------------- */

/* Ask memory for the node behind a link. It is needed or not once keys are compared; half the time
 * it is, and then is already on its way. */
static inline void ask_for_next(struct run_node *n, unsigned level)
{
    uintptr_t next =
        (uintptr_t)atomic_load_explicit(&run_link_of(n, level)->next, memory_order_relaxed);

    if (level)
        next += offsetof(struct run_node, upper) + (level - 1) * sizeof(struct run_link);
    ODB_PREFETCH((const void *)next);
}

struct run_node *memtable_descend(const struct memtable *m, const struct memtable_probe *p,
                                  unsigned level, size_t *common)
{
    struct run_node *n = m->head;
    unsigned at = atomic_load_explicit(&m->top, memory_order_relaxed);

    *common = 0;
    for (;;) {
        ask_for_next(n, at);
        if (at)
            ask_for_next(n, at - 1);
        if (run_passes(run_link_of(n, at), p, common, &n))
            continue;
        if (at <= level)
            return n;
        at--;
    }
}

bool memtable_get(const struct memtable *m, odb_slice key, uint64_t trailer, struct entry *out)
{
    struct memtable_probe p = {key.data, key.size, trailer};
    struct memtable_entry const *found = NULL;
    size_t common;
    struct run_node *n = memtable_descend(m, &p, 1, &common), *next;
    unsigned seen, count, at;
    bool same;

    do {
        seen = run_read_begin(n);
        while (run_passes(&n->base, &p, &common, &next)) {
            n = next;
            seen = run_read_begin(n);
        }
        count = atomic_load_explicit(&n->count, memory_order_acquire);
        at = run_position(n, count, &p, &same);
        if (at < count) {
            found = same ? atomic_load_explicit(&n->entry[at], memory_order_acquire) : NULL;
        } else { /* older versions of the key may begin the next node */
            next = atomic_load_explicit(&n->base.next, memory_order_acquire);
            found = next ? next->low : NULL;
        }
    } while (!run_read_valid(n, seen));

    if (!found)
        return false;
    *out = entry_decode(found);
    return out->key_len == key.size && (!key.size || memcmp(out->key, key.data, key.size) == 0);
}

/* ---- inserting ------------------------------------------------------------------------------- */

/* Link a node that is on level 0 on its other levels, from below. */
ODB_COLD static void link_upper(struct memtable *m, struct run_node *n)
{
    struct memtable_probe p = entry_probe(n->low);
    unsigned top = atomic_load_explicit(&m->top, memory_order_relaxed);

    while (top < n->height - 1 &&
           !atomic_compare_exchange_weak_explicit(&m->top, &top, n->height - 1,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    for (unsigned level = 1; level < n->height; level++) {
        size_t common;
        struct run_node *left = memtable_descend(m, &p, level, &common), *next;
        unsigned state = run_lock(left);

        while (run_passes(run_link_of(left, level), &p, &common, &next)) {
            run_unlock(left, state);
            left = next;
            state = run_lock(left);
        }
        run_link_after(left, level, n);
        run_unlock(left, state);
    }
}

/* Put `e` into the locked node it belongs to. Unlocks. Returns the node that has it now. */
static struct run_node *insert_into(struct memtable *m, struct run_node *n, unsigned state,
                                    unsigned at, struct memtable_entry *e)
{
    struct run_node *right, *into;

    if (ODB_LIKELY(atomic_load_explicit(&n->count, memory_order_relaxed) < RUN_ENTRIES)) {
        run_put_and_unlock(n, state, at, e);
        return n;
    }
    right = pop_spare(m);
    into = run_split_and_unlock(n, state, at, e, right);
    if (right->height > 1)
        link_upper(m, right);
    return into;
}

/* Put `e` behind all entries of `n`, if that is where it belongs: the node that has it, else NULL. */
static struct run_node *insert_behind(struct memtable *m, struct run_node *n,
                                      const struct memtable_probe *p, struct memtable_entry *e)
{
    unsigned state = run_lock(n);
    unsigned count = atomic_load_explicit(&n->count, memory_order_relaxed);
    struct run_node *next = atomic_load_explicit(&n->base.next, memory_order_acquire);

    if (count > 0 &&
        entry_compare(atomic_load_explicit(&n->entry[count - 1], memory_order_acquire), p) < 0 &&
        (!next || entry_compare(next->low, p) > 0))
        return insert_into(m, n, state, count, e);
    run_unlock(n, state);
    return NULL;
}

/* Search for the place of `e`. Returns the node that has it now. */
static struct run_node *insert_by_search(struct memtable *m, const struct memtable_probe *p,
                                         struct memtable_entry *e, bool *is_sequence)
{
    size_t common;
    struct run_node *n = memtable_descend(m, p, 0, &common), *next;
    unsigned state = run_lock(n), count, at;

    while (run_passes(&n->base, p, &common, &next)) { /* it was split meanwhile */
        run_unlock(n, state);
        n = next;
        state = run_lock(n);
    }
    count = atomic_load_explicit(&n->count, memory_order_relaxed);
    at = run_position(n, count, p, NULL);
    *is_sequence = at == count && n->streak > 1 && count < RUN_ENTRIES;
    return insert_into(m, n, state, at, e);
}

static void note_linked(struct memtable_room *room, uint64_t trailer)
{
    assert(room->nodes > 0);
    room->nodes--;
    room->linked++;
    room->deletes += trailer_kind(trailer) == KIND_DELETE;
}

void memtable_insert(struct memtable *m, struct memtable_room *room, struct memtable_entry *e,
                     uint64_t trailer)
{
    struct run_node *hint = atomic_load_explicit(&m->hint, memory_order_acquire), *into = NULL;
    struct memtable_probe p;
    bool is_sequence = false;

    e->trailer = trailer;
    p = entry_probe(e);
    if (ODB_UNLIKELY(hint)) { /* entries come in key order: behind the one before, unsearched */
        into = insert_behind(m, hint, &p, e);
        is_sequence = into != NULL;
    }
    if (!into)
        into = insert_by_search(m, &p, e, &is_sequence);
    /* Release: the node may have been made by us. */
    if (ODB_UNLIKELY((is_sequence ? into : NULL) != hint))
        atomic_store_explicit(&m->hint, is_sequence ? into : NULL, memory_order_release);
    note_linked(room, trailer);
}

void memtable_link_next(struct memtable *m, struct memtable_room *room, struct memtable_entry *e,
                        struct run_node **near)
{
    struct memtable_probe p = entry_probe(e);
    struct run_node *into = *near ? insert_behind(m, *near, &p, e) : NULL;
    bool is_sequence;

    *near = into ? into : insert_by_search(m, &p, e, &is_sequence);
    note_linked(room, e->trailer);
}

/* ---- figures and checks ------------------------------------------------------------------------ */

/* The block ahead is nearly as good as used, and has its pages. */
size_t memtable_bytes(const struct memtable *m)
{
    return atomic_load_explicit(&m->bytes, memory_order_relaxed) + arena_ahead(&m->arena);
}

uint64_t memtable_count(const struct memtable *m)
{
    return atomic_load(&m->linked);
}

uint64_t memtable_deletes(const struct memtable *m)
{
    return atomic_load_explicit(&m->deletes, memory_order_relaxed);
}

bool memtable_check(const struct memtable *m)
{
    size_t entries = 0, nodes = 0;
    size_t used = atomic_load_explicit(&m->used, memory_order_relaxed);

    for (struct run_node *n = m->head; n; nodes++) {
        if (!run_check(n))
            return false;
        entries += atomic_load_explicit(&n->count, memory_order_relaxed);
        n = atomic_load_explicit(&n->base.next, memory_order_relaxed);
    }
    for (unsigned level = 1; level < RUN_HEIGHT_MAX; level++) { /* each a part of the one below */
        struct run_node *below = m->head, *n = m->head;

        while (n && below) {
            if (n == below)
                n = atomic_load_explicit(&run_link_of(n, level)->next, memory_order_relaxed);
            below =
                atomic_load_explicit(&run_link_of(below, level - 1)->next, memory_order_relaxed);
        }
        if (n)
            return false;
    }
    return used + 1 == nodes && used <= atomic_load_explicit(&m->made, memory_order_relaxed) &&
           used <= 1 + atomic_load_explicit(&m->reserved, memory_order_relaxed) / 16 &&
           entries == atomic_load_explicit(&m->linked, memory_order_relaxed);
}
