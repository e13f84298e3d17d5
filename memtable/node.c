/* memtable/node.c -- one node: a sorted run of up to 64 entries, and its lock.
 *
 *            state  count  link 0  low  skip                      one cache line
 *     prefix[ .  .  .  .  .  .  .  .   8 lines  ]     numbers that order like the keys behind `skip`
 *     entry [ .  .  .  .  .  .  .  .   8 lines  ]     where key and value lie
 *            links 1, 2, ...                          in every second node
 *
 * The state word is both a lock among writers and a version for readers (a "sequence lock"):
 *
 *     append     lock ........ slot, then count ................... unlock      version stays
 *     insert     lock, change, shift both arrays, slot, count ..... unlock, version + 1
 *     split      lock, change, build right, link it, shorten ...... unlock, version + 1
 *
 * A reader notes the version, reads, and compares. It waits only while "change" is set, which is
 * some dozens of stores and never an allocation, a lock or a search.
 *
 * 1. prefix[i] and entry[i] are in order and belong together for i < count, outside of changes.
 * 2. Slots below count hold valid entries even during a change: a reader who looks at them in
 *    disorder finds a wrong answer, which it drops, but never a wild pointer.
 * 3. `low` never changes. Nothing before it is ever put into the node; but for the head, entry[0]
 *    is `low`.
 * 4. All keys of a node agree in their first `skip` bytes, if one thinks of keys as followed by
 *    zeros without end; so does every key that may still come, since `skip` bytes are common to
 *    `low` and to the lowest key of the next node, between which it must lie.
 *
 * Where a node splits. In the middle; but entries that arrive in key order, ascending or descending,
 * would so leave every node half full. When an entry goes in beside the one before it for the
 * eighth time, or near the end of the last node, the split is at that place. Such a split needs 32
 * entries since the last one, which bounds the number of nodes: skiplist.c, "Room".
 */
#include "memtable/memtable_priv.h"

#include <assert.h>

#define RUN_SPINS      64u      /* looks at a locked node before giving up the processor */
#define RUN_STREAK     8u       /* neighbours in a row that make a sequence */
#define RUN_TAIL       4u       /* writers of a common sequence overtake one another by that much */
#define RUN_RESKIP     2u       /* new common bytes that are worth reading all keys again */
#define RUN_SKIP_MAX   0x10000u /* no key is longer */
#define RUN_COMMON_ALL 0x20000u /* more than any number of common bytes */

size_t run_node_bytes(uint32_t height)
{
    size_t n = sizeof(struct run_node) + (height - 1) * sizeof(struct run_link);

    return (n + RUN_LINE - 1) & ~(size_t)(RUN_LINE - 1);
}

/* ---- the state word ------------------------------------------------------------------------- */

static void run_pause(unsigned *spins)
{
    if (++*spins % RUN_SPINS)
        os_cpu_relax();
    else
        os_thread_yield(); /* the holder may have lost the processor */
}

unsigned run_lock(struct run_node *n)
{
    unsigned spins = 0;

    for (;;) {
        unsigned state = atomic_load_explicit(&n->state, memory_order_relaxed);

        if (!(state & RUN_LOCKED) &&
            atomic_compare_exchange_weak_explicit(&n->state, &state, state | RUN_LOCKED,
                                                  memory_order_acquire, memory_order_relaxed))
            return state;
        run_pause(&spins);
    }
}

/* Release: the next writer, and a reader who sees this version, see all that was done. */
void run_unlock(struct run_node *n, unsigned state)
{
    atomic_store_explicit(&n->state, state, memory_order_release);
}

void run_begin_change(struct run_node *n, unsigned state)
{
    atomic_store_explicit(&n->state, state | RUN_LOCKED | RUN_CHANGES, memory_order_relaxed);
}

void run_end_change(struct run_node *n, unsigned state)
{
    run_unlock(n, state + RUN_VERSION);
}

unsigned run_read_wait(const struct run_node *n)
{
    unsigned state, spins = 0;

    for (;;) {
        state = atomic_load_explicit(&n->state, memory_order_acquire);
        if (!(state & RUN_CHANGES))
            return state;
        run_pause(&spins);
    }
}

/* ---- links ---------------------------------------------------------------------------------- */

/* Bytes from `at` on that two keys have in common, both followed by zeros without end. */
static size_t common_padded(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len, i = 0;
    const uint8_t *rest;

    while (n - i >= 8 && memcmp(a + i, b + i, 8) == 0)
        i += 8;
    while (i < n && a[i] == b[i])
        i++;
    if (i < n)
        return i;
    rest = a_len > b_len ? a : b;
    n = a_len > b_len ? a_len : b_len;
    while (i < n && rest[i] == 0)
        i++;
    return i < n ? i : RUN_COMMON_ALL;
}

size_t run_common(const struct memtable_probe *p, const struct memtable_entry *low)
{
    struct memtable_probe key;

    if (!low)
        return 0; /* the head's lowest key has no bytes: it only comes first */
    key = entry_probe(low);
    return common_padded(p->key, p->len, key.key, key.len);
}

static run_word link_word(const struct memtable_entry *low, const struct memtable_entry *next)
{
    struct memtable_probe far = entry_probe(next);
    size_t skip = run_common(&far, low);

    if (skip >= LINK_SKIP_MAX)
        return (run_word)LINK_SKIP_MAX << LINK_PREFIX_BITS;
    return (run_word)skip << LINK_PREFIX_BITS | link_prefix(far.key, far.len, skip);
}

/* Nothing passes a link that ends: only a probe of eight times 0xff gets as far as run_passes_slow,
 * which finds no node there. */
void run_link_init(struct run_link *l)
{
    atomic_init(&l->word, LINK_PREFIX_MASK);
    atomic_init(&l->next, NULL);
}

/* The word does not tell, or was out of date: look at the key itself. */
bool run_passes_slow(const struct run_link *l, const struct memtable_probe *p, size_t *common,
                     struct run_node **out)
{
    struct run_node *next = atomic_load_explicit(&l->next, memory_order_acquire);

    if (!next || entry_compare(next->low, p) > 0)
        return false;
    *common = run_common(p, next->low);
    *out = next;
    return true;
}

/* First the word is spoilt, then the pointer set, then the new word. A reader takes word, pointer,
 * word: if it sees the new pointer beside an old word, then its second look finds the word changed.
 * (If that look finds the same bits, put there since for another node between the two, then the
 * node it went to lies between these as well and shares the bytes it has decided by.) An old word
 * with skip > common needs no second look: nodes linked since lie between both ends and have the
 * same bytes in common. */
void run_link_after(struct run_node *n, unsigned level, struct run_node *right)
{
    struct run_link *mine = run_link_of(n, level), *its = run_link_of(right, level);
    struct run_node *next = atomic_load_explicit(&mine->next, memory_order_relaxed);

    atomic_store_explicit(&its->next, next, memory_order_relaxed);
    atomic_store_explicit(&its->word, next ? link_word(right->low, next->low) : LINK_PREFIX_MASK,
                          memory_order_relaxed);
    atomic_store_explicit(&mine->word, (run_word)LINK_SKIP_MAX << LINK_PREFIX_BITS,
                          memory_order_relaxed);
    atomic_store_explicit(&mine->next, right, memory_order_release);
    atomic_store_explicit(&mine->word, link_word(n->low, right->low), memory_order_release);
}

/* ---- searching ------------------------------------------------------------------------------ */

static run_word slot_prefix(const struct run_node *n, unsigned i)
{
    return atomic_load_explicit(&n->prefix[i], memory_order_acquire);
}

static struct memtable_entry *slot_entry(const struct run_node *n, unsigned i)
{
    return atomic_load_explicit(&n->entry[i], memory_order_acquire);
}

/* Prefixes below `k` among the first `count`. Counting, first in every eighth, then in one line,
 * takes more comparisons than halving but waits for memory once, not three times. */
static unsigned count_below(const struct run_node *n, unsigned count, run_word k)
{
    unsigned line = 0, below;

    for (unsigned i = 7; i < RUN_ENTRIES - 1; i += 8)
        line += (unsigned)(i < count) & (unsigned)(slot_prefix(n, i) < k);
    line *= 8;
    below = line;
    for (unsigned i = line; i < line + 8; i++)
        below += (unsigned)(i < count) & (unsigned)(slot_prefix(n, i) < k);
    return below;
}

unsigned run_position(const struct run_node *n, unsigned count, const struct memtable_probe *p,
                      bool *same)
{
    size_t skip = atomic_load_explicit(&n->skip, memory_order_acquire);
    run_word k = run_prefix(p->key, p->len, skip);
    unsigned at = count_below(n, count, k), end;
    struct memtable_probe key;
    int c;

    if (same)
        *same = false;
    if (at >= count || slot_prefix(n, at) != k)
        return at;

    /* A tie. The first is looked at on its own: nearly always it is the only one, and of many
     * versions of one key it is the newest, the one most wanted. */
    key = entry_probe(slot_entry(n, at));
    c = key_compare(key.key, key.len, p->key, p->len);
    if (c > 0 || (c == 0 && key.trailer <= p->trailer)) {
        if (same)
            *same = c == 0;
        return at;
    }
    at++;
    end = k == (run_word)-1 ? count : count_below(n, count, k + 1);
    while (at < end) {
        unsigned mid = (at + end) / 2;

        if (entry_compare(slot_entry(n, mid), p) < 0)
            at = mid + 1;
        else
            end = mid;
    }
    if (same && at < count && slot_prefix(n, at) == k) {
        key = entry_probe(slot_entry(n, at));
        *same = key_compare(key.key, key.len, p->key, p->len) == 0;
    }
    return at;
}

/* ---- inserting and splitting ------------------------------------------------------------------ */

static void slot_set(struct run_node *n, unsigned i, run_word prefix, struct memtable_entry *e)
{
    atomic_store_explicit(&n->prefix[i], prefix, memory_order_release);
    atomic_store_explicit(&n->entry[i], e, memory_order_release);
}

static run_word entry_prefix(const struct memtable_entry *e, size_t skip)
{
    struct memtable_probe key = entry_probe(e);

    return run_prefix(key.key, key.len, skip);
}

/* Put `e` at `at` of a node with room; readers are kept out or cannot reach it, unless it is an
 * append: the release store of the count is then all they can notice. */
static void slot_insert(struct run_node *n, unsigned at, struct memtable_entry *e)
{
    unsigned count = atomic_load_explicit(&n->count, memory_order_relaxed);
    size_t skip = atomic_load_explicit(&n->skip, memory_order_relaxed);

    assert(count < RUN_ENTRIES && at <= count);
    for (unsigned i = count; i > at; i--) {
        atomic_store_explicit(&n->prefix[i],
                              atomic_load_explicit(&n->prefix[i - 1], memory_order_relaxed),
                              memory_order_release);
        atomic_store_explicit(&n->entry[i],
                              atomic_load_explicit(&n->entry[i - 1], memory_order_relaxed),
                              memory_order_release);
    }
    slot_set(n, at, entry_prefix(e, skip), e);
    atomic_store_explicit(&n->count, count + 1, memory_order_release);
}

/* Keep the books on which run_cut() decides. */
static void note_arrival(struct run_node *n, unsigned at)
{
    bool beside = at == n->last_at || at == n->last_at + 1u;

    n->streak = (uint8_t)(!beside ? 0 : n->streak < UINT8_MAX ? n->streak + 1 : n->streak);
    n->last_at = (uint8_t)at;
    if (n->fresh < UINT8_MAX)
        n->fresh++;
}

void run_put_and_unlock(struct run_node *n, unsigned state, unsigned at, struct memtable_entry *e)
{
    note_arrival(n, at);
    if (at == atomic_load_explicit(&n->count, memory_order_relaxed)) {
        slot_insert(n, at, e);
        run_unlock(n, state);
        return;
    }
    run_begin_change(n, state);
    slot_insert(n, at, e);
    run_end_change(n, state);
}

/* The first entry that moves right when a full node splits for an entry at `at`. Not 0 but in the
 * head, since nothing goes in before a node's lowest key. */
static unsigned run_cut(const struct run_node *n, unsigned at)
{
    bool is_last = !atomic_load_explicit(&n->base.next, memory_order_relaxed);

    if (n->fresh >= RUN_ENTRIES / 2 &&
        (n->streak >= RUN_STREAK || (is_last && at + RUN_TAIL >= RUN_ENTRIES)))
        return at;
    return RUN_ENTRIES / 2;
}

/* How many bytes to leave out between two lowest keys, where `now` are left out so far. */
static size_t skip_between(const struct memtable_entry *low, const struct memtable_entry *next,
                           size_t now)
{
    size_t common = 0;

    if (low && next) {
        struct memtable_probe far = entry_probe(next);

        common = run_common(&far, low);
    }
    if (common > RUN_SKIP_MAX)
        common = RUN_SKIP_MAX;
    return common >= now + RUN_RESKIP ? common : now;
}

/* Copy entries from..end of `from_node` into `to` from slot 0 on, with prefixes after `skip`. Both
 * may be one node. */
static void copy_slots(const struct run_node *from_node, unsigned from, unsigned end,
                       struct run_node *to, size_t skip)
{
    bool is_same = atomic_load_explicit(&from_node->skip, memory_order_relaxed) == skip;

    for (unsigned i = from; i < end && !is_same; i++)
        ODB_PREFETCH(atomic_load_explicit(&from_node->entry[i], memory_order_relaxed));
    for (unsigned i = from; i < end; i++) {
        struct memtable_entry *e = atomic_load_explicit(&from_node->entry[i], memory_order_relaxed);

        slot_set(to, i - from,
                 is_same ? atomic_load_explicit(&from_node->prefix[i], memory_order_relaxed)
                         : entry_prefix(e, skip),
                 e);
    }
    atomic_store_explicit(&to->skip, (unsigned)skip, memory_order_release);
}

struct run_node *run_split_and_unlock(struct run_node *n, unsigned state, unsigned at,
                                      struct memtable_entry *e, struct run_node *right)
{
    struct run_node *next = atomic_load_explicit(&n->base.next, memory_order_relaxed);
    unsigned cut = run_cut(n, at);
    bool goes_left = at < cut || (at == cut && cut < RUN_ENTRIES);
    size_t now = atomic_load_explicit(&n->skip, memory_order_relaxed), skip;

    /* The right node, complete before anybody can see it. */
    right->low = cut < RUN_ENTRIES ? slot_entry(n, cut) : e;
    skip = skip_between(right->low, next ? next->low : NULL, now);
    copy_slots(n, cut, RUN_ENTRIES, right, skip);
    atomic_store_explicit(&right->count, RUN_ENTRIES - cut, memory_order_relaxed);
    right->last_at = right->streak = right->fresh = 0;
    if (!goes_left) {
        slot_insert(right, at - cut, e);
        note_arrival(right, at - cut);
    }

    /* Reachable, then the left one shortened: in between an entry is found in either. */
    run_begin_change(n, state);
    run_link_after(n, 0, right);
    skip = skip_between(n->low, right->low, now);
    if (skip != now)
        copy_slots(n, 0, cut, n, skip);
    atomic_store_explicit(&n->count, cut, memory_order_release);
    n->fresh = 0;
    if (goes_left) {
        slot_insert(n, at, e);
        note_arrival(n, at);
    }
    run_end_change(n, state);
    return goes_left ? n : right;
}

/* ---- checking -------------------------------------------------------------------------------- */

static bool check_slots(struct run_node *n, const struct memtable_entry *end)
{
    unsigned count = atomic_load_explicit(&n->count, memory_order_relaxed);
    size_t skip = atomic_load_explicit(&n->skip, memory_order_relaxed);
    struct memtable_probe first = {0}, last = {0}, p;

    if (count > RUN_ENTRIES || (n->low && (count == 0 || slot_entry(n, 0) != n->low)))
        return false;
    for (unsigned i = 0; i < count; i++) {
        p = entry_probe(slot_entry(n, i));
        if (i > 0 && entry_compare(slot_entry(n, i - 1), &p) >= 0)
            return false;
        if (slot_prefix(n, i) != entry_prefix(slot_entry(n, i), skip))
            return false;
        if (i == 0)
            first = p;
        last = p;
    }
    if (count == 0)
        return true;
    if (common_padded(first.key, first.len, last.key, last.len) < skip)
        return false;
    return !end || entry_compare(end, &last) > 0;
}

bool run_check(struct run_node *n)
{
    struct run_node *next = atomic_load_explicit(&n->base.next, memory_order_relaxed);

    if (atomic_load_explicit(&n->state, memory_order_relaxed) & (RUN_LOCKED | RUN_CHANGES))
        return false;
    for (unsigned level = 0; level < n->height; level++) {
        struct run_link *l = run_link_of(n, level);
        struct run_node *to = atomic_load_explicit(&l->next, memory_order_relaxed);
        run_word word = atomic_load_explicit(&l->word, memory_order_relaxed);
        struct memtable_probe p;

        if (!to) {
            if (word != LINK_PREFIX_MASK)
                return false;
            continue;
        }
        p = entry_probe(to->low);
        if (word != link_word(n->low, to->low) || (n->low && entry_compare(n->low, &p) >= 0))
            return false;
    }
    return check_slots(n, next ? next->low : NULL);
}
