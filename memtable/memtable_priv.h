/* memtable/memtable_priv.h -- what the files of memtable/ share: entries, probes, nodes, the list.
 * How it all works is told in skiplist.c; what a node does to itself is node.c. */
#ifndef ODB_MEMTABLE_PRIV_H
#define ODB_MEMTABLE_PRIV_H

#include "memtable/memtable.h"

#include <stdatomic.h>

#include "base/arena.h"
#include "os/os_thread.h"

#define RUN_ENTRIES    64u /* entries of a full node */
#define RUN_HEIGHT_MAX 20u /* levels; every second node is on the next: enough for 2^20 nodes */
#define RUN_LINE       64u /* bytes of a cache line, alignment of a node */

/* One entry, as it lies in the arena, immutable once linked:
 *
 *     trailer (8)   key_len (varint)   key   value_len (varint)   value   up to the next 8
 */
struct memtable_entry {
    uint64_t trailer;
    uint8_t bytes[];
};

/* A short form of a key: its first bytes, as a number. As wide as a pointer, so that it is read in
 * one piece on every machine. */
typedef uintptr_t run_word;
#define RUN_WORD_BITS ((unsigned)sizeof(run_word) * 8)

/* A key's bytes after `skip` as a word that orders like them, zero-padded: ties decide nothing. Near
 * the end of a key its last eight bytes are shifted, which is cheaper than copying some of them. */
static inline run_word run_prefix(const uint8_t *key, size_t len, size_t skip)
{
    uint64_t prefix;

    if (len >= 8 && len > skip && len < skip + 8)
        prefix = get_u64_be(key + len - 8) << (8 * (skip + 8 - len));
    else
        prefix = key_prefix(key, len, skip);
    return (run_word)(prefix >> (64 - RUN_WORD_BITS));
}

struct run_node;

/* The way to the next node of a level, and what must be known about that node's lowest key to
 * decide whether to go there (skiplist.c, "Links"). */
struct run_link {
    _Atomic(run_word) word;          /* acquire/release; changed under the lock of the node */
    _Atomic(struct run_node *) next; /* same; publishes the node behind it */
};

struct run_node {
    atomic_uint state;                /* lock, change and version: node.c */
    atomic_uint count;                /* entries; release publishes the slots below it */
    struct run_link base;             /* level 0; in a spare node `next` links the spares */
    const struct memtable_entry *low; /* lowest key, NULL in the head; fixed before publication */
    atomic_uint skip;                 /* key bytes left out of `prefix`; changes with the version */
    uint32_t height;                  /* levels, 1.. ; fixed when the node is made */
    uint8_t last_at;                  /* where the last entry went in; under the lock */
    uint8_t streak; /* entries in a row that went in beside the one before; same */
    uint8_t fresh;  /* entries since the last split, up to 255; same */
    _Alignas(RUN_LINE) _Atomic(run_word) prefix[RUN_ENTRIES];
    _Atomic(struct memtable_entry *) entry[RUN_ENTRIES]; /* acquire/release: publishes the bytes */
    struct run_link upper[];                             /* levels 1.. */
};

struct memtable {
    struct run_node *head; /* fixed; no lowest key, never leaves */
    atomic_uint top;       /* levels in use; relaxed: too low a value is only slower */
    atomic_uint refs;
    char apart[RUN_LINE]; /* above: read by all; below: written by every writer */

    /* How many nodes a writer may count on: skiplist.c, "Room". */
    atomic_size_t reserved; /* entries ever reserved, less those returned unused */
    atomic_size_t linked;   /* entries linked, counted when their writer has done with its room;
                               release after the nodes they may have used are counted */
    atomic_size_t bytes;    /* relaxed, statistics */
    atomic_size_t deletes;  /* relaxed, statistics */
    _Atomic(struct run_node *) hint; /* where entries arrive in key order, else NULL */

    char apart_too[RUN_LINE];
    _Atomic(struct run_node *) spare; /* a stack; a node is pushed once and popped once */
    atomic_size_t made;               /* nodes ever pushed on `spare`; written under `lock` */
    atomic_size_t used;               /* nodes ever popped */
    struct os_mutex lock;             /* RANK_MEMTABLE; growing the arena and making nodes */
    struct arena arena;
};

/* What is searched for. */
struct memtable_probe {
    const uint8_t *key;
    size_t len;
    uint64_t trailer;
};

/* ---- entries ------------------------------------------------------------------------------- */

static inline size_t entry_take_len(const uint8_t **p)
{
    const uint8_t *at = *p;
    size_t len = *at & 0x7fu;

    for (unsigned shift = 7; *at++ & 0x80; shift += 7)
        len |= (size_t)(*at & 0x7f) << shift;
    *p = at;
    return len;
}

static inline struct memtable_probe entry_probe(const struct memtable_entry *e)
{
    const uint8_t *p = e->bytes;
    size_t len = entry_take_len(&p);

    return (struct memtable_probe){p, len, e->trailer};
}

static inline struct entry entry_decode(const struct memtable_entry *e)
{
    struct memtable_probe key = entry_probe(e);
    const uint8_t *p = key.key + key.len;
    size_t value_len = entry_take_len(&p);

    return (struct entry){key.key, p, (uint32_t)key.len, (uint32_t)value_len, e->trailer};
}

/* Negative when the entry comes before the probe. */
static inline int entry_compare(const struct memtable_entry *e, const struct memtable_probe *p)
{
    struct memtable_probe key = entry_probe(e);

    return ikey_compare(key.key, key.len, key.trailer, p->key, p->len, p->trailer);
}

/* ---- nodes: node.c ------------------------------------------------------------------------- */

static inline struct run_link *run_link_of(struct run_node *n, unsigned level)
{
    return level ? &n->upper[level - 1] : &n->base;
}

size_t run_node_bytes(uint32_t height);

/* Writers: one at a time per node. run_lock() returns the state to hand back to run_unlock(). */
unsigned run_lock(struct run_node *n);
void run_unlock(struct run_node *n, unsigned state);
/* From here to run_end_change() readers of the node wait. `state` as from run_lock(). */
void run_begin_change(struct run_node *n, unsigned state);
void run_end_change(struct run_node *n, unsigned state);

/* Readers: what was read between the two calls is whole when the second says so. */
unsigned run_read_wait(const struct run_node *n);

static inline unsigned run_read_begin(const struct run_node *n);
static inline bool run_read_valid(const struct run_node *n, unsigned seen);

/* Whether the probe lies at or behind the node the link leads to; then that node is in `out` and
 * `common` belongs to it. */
static inline bool run_passes(const struct run_link *l, const struct memtable_probe *p,
                              size_t *common, struct run_node **out);
bool run_passes_slow(const struct run_link *l, const struct memtable_probe *p, size_t *common,
                     struct run_node **out);

/* Bytes a probe and a node's lowest key have in common, both followed by zeros without end. */
size_t run_common(const struct memtable_probe *p, const struct memtable_entry *low);

/* Where the probe belongs among the first `count` entries: the first that does not come before it.
 * `same` (may be NULL): that entry has the probe's key. */
unsigned run_position(const struct run_node *n, unsigned count, const struct memtable_probe *p,
                      bool *same);

/* Under the lock, in a node that is not full: put `e` at `at`. Unlocks. */
void run_put_and_unlock(struct run_node *n, unsigned state, unsigned at, struct memtable_entry *e);
/* Under the lock, in a full node: move the upper part to `right`, put `e` at `at` into the half
 * where it belongs, link `right` on level 0. Unlocks `n`. Returns the node that has `e`. */
struct run_node *run_split_and_unlock(struct run_node *n, unsigned state, unsigned at,
                                      struct memtable_entry *e, struct run_node *right);
/* Under the lock of `n`: link `right` behind it on `level`. */
void run_link_after(struct run_node *n, unsigned level, struct run_node *right);
/* An empty link. */
void run_link_init(struct run_link *l);
/* Whether the node keeps what node.c and skiplist.c promise. No writer may run. */
bool run_check(struct run_node *n);

/* The node with the greatest lowest key at or before the probe, down to `level`. */
struct run_node *memtable_descend(const struct memtable *m, const struct memtable_probe *p,
                                  unsigned level, size_t *common);

/* memtable_insert() for entries that come in order, have their trailer, and lie near the one before:
 * `near`, which the caller keeps between calls, NULL at first. Any number of threads, each with its
 * own. */
void memtable_link_next(struct memtable *m, struct memtable_room *room, struct memtable_entry *e,
                        struct run_node **near);

/* ---- the parts of a search that must not cost a call ---------------------------------------- */

#define RUN_LOCKED  1u /* a writer is in the node */
#define RUN_CHANGES 2u /* and what readers see is in disorder */
#define RUN_VERSION 4u /* counts changes */

static inline unsigned run_read_begin(const struct run_node *n)
{
    unsigned state = atomic_load_explicit(&n->state, memory_order_acquire);

    if (ODB_UNLIKELY(state & RUN_CHANGES))
        state = run_read_wait(n);
    return state & ~RUN_LOCKED;
}

/* Relaxed is enough: every load of a node's content is an acquire, so none can sink below this
 * one; and every store of it is a release after RUN_CHANGES was set, so whoever sees the store
 * sees the mark as well. No fence, and nothing the thread sanitizer could not follow. */
static inline bool run_read_valid(const struct run_node *n, unsigned seen)
{
    return (atomic_load_explicit(&n->state, memory_order_relaxed) & ~RUN_LOCKED) == seen;
}

/* A link's word: how many bytes the lowest keys of both ends have in common, then the first bytes
 * of the far one behind those. */
#define LINK_SKIP_MAX    0xffffu /* and more: the word decides nothing */
#define LINK_PREFIX_BITS (RUN_WORD_BITS - 16)
#define LINK_PREFIX_MASK (((run_word)1 << LINK_PREFIX_BITS) - 1)

static inline run_word link_prefix(const uint8_t *key, size_t len, size_t skip)
{
    return run_prefix(key, len, skip) >> 16;
}

/* Equal bytes at the start of two link prefixes that differ. */
static inline size_t link_prefix_common(run_word a, run_word b)
{
    run_word diff = a ^ b;
    size_t n = 0;

    for (unsigned shift = LINK_PREFIX_BITS - 8; shift > 0; shift -= 8)
        n += (diff >> shift) == 0;
    return n;
}

static inline bool run_passes(const struct run_link *l, const struct memtable_probe *p,
                              size_t *common, struct run_node **out)
{
    run_word word = atomic_load_explicit(&l->word, memory_order_acquire);
    size_t skip = (size_t)(word >> LINK_PREFIX_BITS);
    run_word mine, theirs;

    if (ODB_UNLIKELY(skip == LINK_SKIP_MAX))
        return run_passes_slow(l, p, common, out);
    if (skip < *common)
        return false;
    if (skip > *common) {
        *out = atomic_load_explicit(&l->next, memory_order_acquire);
        return true;
    }
    mine = link_prefix(p->key, p->len, skip);
    theirs = word & LINK_PREFIX_MASK;
    if (mine < theirs)
        return false;
    if (mine > theirs) {
        *out = atomic_load_explicit(&l->next, memory_order_acquire);
        if (ODB_LIKELY(atomic_load_explicit(&l->word, memory_order_relaxed) == word)) {
            *common = skip + link_prefix_common(mine, theirs);
            return true;
        }
    }
    return run_passes_slow(l, p, common, out);
}

#endif
