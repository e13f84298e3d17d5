/* lsm/gaps.c -- stretches of the key space known to hold nothing that lives.
 *
 *     keys        a b c d e f g h i j k l m n o p q r s         x: deleted, o: live
 *                 o x x x x x x x x x x x x x x x o x o
 *     gap           [-------- seen dead at 41 -----)
 *
 * A deleted key is two entries or more (the delete, and what it hides) until some merge meets both, and
 * a walk has to look at all of them: a queue that is emptied at its head, or a range deleted key by key,
 * makes every seek into it walk over the dead. What the first walk has found out is remembered here, and
 * later ones step over it at once, wherever the entries lie: memtables, tables, both.
 *
 * 1. A sure gap [from, to) of number s says: a reader at s or later finds no live key in it.
 * 2. A put into a gap splits it, after its entry is linked and before its commit is visible. So whoever
 *    may see the put finds the gap split. Deletes change nothing.
 * 3. A gap is published unsure first. Then either a put sees it (2), or whoever found it sees the put:
 *    the writer links, counts its entries (memtable_count), looks here; the walker publishes, reads the
 *    counts, and looks at the memtables again if they have changed. All four are sequentially
 *    consistent. Only then is it sure.
 * 4. Slots change under `lock`, and `version` with them. Others look without it, inside an epoch, and
 *    look again when the version has changed meanwhile: so nobody misses what moves between slots.
 *
 * A gap is only a memory: none is lost when one is dropped for want of slots or memory but time.
 *
 * Threads: any. Crash behaviour: none, gaps are not stored. Who finds them: lsm/iter.c.
 */
#include <assert.h>

#include "base/alloc.h"
#include "lsm/tree_priv.h"

#define GAP_KEY_MAX 512u /* longer keys are not remembered */

struct lsm_gap {
    struct epoch_item retired; /* first */
    uint64_t seq;
    atomic_bool is_sure;
    uint32_t from_len;
    uint32_t to_len;
    uint8_t bytes[]; /* from, to */
};

static odb_slice gap_from(const struct lsm_gap *g)
{
    return odb_bytes(g->bytes, g->from_len);
}

static odb_slice gap_to(const struct lsm_gap *g)
{
    return odb_bytes(g->bytes + g->from_len, g->to_len);
}

static bool gap_holds(const struct lsm_gap *g, odb_slice key)
{
    return odb_slice_compare(gap_from(g), key) <= 0 && odb_slice_compare(key, gap_to(g)) < 0;
}

static struct lsm_gap *gap_new(odb_slice from, odb_slice to, uint64_t seq, bool is_sure)
{
    struct lsm_gap *g;

    if (from.size > GAP_KEY_MAX || to.size > GAP_KEY_MAX || odb_slice_compare(from, to) >= 0)
        return NULL;
    g = mem_alloc(sizeof *g + from.size + to.size);
    if (!g)
        return NULL;
    g->seq = seq;
    atomic_init(&g->is_sure, is_sure);
    g->from_len = (uint32_t)from.size;
    g->to_len = (uint32_t)to.size;
    if (from.size)
        memcpy(g->bytes, from.data, from.size);
    memcpy(g->bytes + from.size, to.data, to.size); /* not empty: something is below it */
    return g;
}

static void gap_free(struct epoch_item *item)
{
    mem_free(item);
}

/* Taken out of their slots, to be retired without the lock. */
struct gap_list {
    struct lsm_gap *gap[LSM_GAPS + 2];
    unsigned count;
};

static void gaps_retire(struct lsm_tree *t, struct gap_list *l)
{
    for (unsigned i = 0; i < l->count; i++)
        epoch_retire(t->env->epoch, &l->gap[i]->retired, gap_free);
}

static struct lsm_gap *gap_at(struct lsm_gaps *s, unsigned slot)
{
    return atomic_load_explicit(&s->slot[slot], memory_order_acquire);
}

/* Put `g` (NULL: nothing) into a slot; what was there goes to the list. */
static void gap_set(struct lsm_gaps *s, unsigned slot, struct lsm_gap *g, struct gap_list *out)
{
    struct lsm_gap *old;

    assert(os_mutex_held(&s->lock));
    old = atomic_exchange(&s->slot[slot], g);
    if (old)
        out->gap[out->count++] = old;
    if (!old && g)
        (void)atomic_fetch_add(&s->count, 1);
    if (old && !g)
        (void)atomic_fetch_sub(&s->count, 1);
    (void)atomic_fetch_add(&s->version, 1);
}

/* A free slot, or the one whose turn it is. */
static unsigned gap_slot(struct lsm_gaps *s)
{
    assert(os_mutex_held(&s->lock));
    for (unsigned i = 0; i < LSM_GAPS; i++)
        if (!gap_at(s, i))
            return i;
    return s->hand++ % LSM_GAPS;
}

void gaps_init(struct lsm_gaps *s)
{
    os_mutex_init(&s->lock, RANK_GAPS);
}

void gaps_destroy(struct lsm_gaps *s)
{
    for (unsigned i = 0; i < LSM_GAPS; i++)
        mem_free(gap_at(s, i));
    os_mutex_destroy(&s->lock);
}

/* ---- puts ---- */

/* Under the lock: cut `key` out of every gap that holds it. */
static void gaps_cut(struct lsm_gaps *s, odb_slice key, struct gap_list *out)
{
    uint8_t behind[GAP_KEY_MAX + 1];

    for (unsigned i = 0; i < LSM_GAPS; i++) {
        struct lsm_gap *g = gap_at(s, i), *low = NULL, *high = NULL;

        if (!g || !gap_holds(g, key) || out->count >= LSM_GAPS)
            continue;
        /* One that is not sure yet goes as a whole: whoever found it is still looking. */
        if (atomic_load_explicit(&g->is_sure, memory_order_relaxed) && key.size < GAP_KEY_MAX) {
            if (key.size)
                memcpy(behind, key.data, key.size);
            behind[key.size] = 0; /* the next key there can be */
            low = gap_new(gap_from(g), key, g->seq, true);
            high = gap_new(odb_bytes(behind, key.size + 1), gap_to(g), g->seq, true);
        }
        if (!low) {
            low = high;
            high = NULL;
        }
        gap_set(s, i, low, out);
        if (high) /* does not hold the key: of no concern to the rest of the loop */
            gap_set(s, gap_slot(s), high, out);
    }
}

static bool gaps_hold(struct lsm_gaps *s, odb_slice key)
{
    uint64_t version;

    do {
        version = atomic_load(&s->version);
        for (unsigned i = 0; i < LSM_GAPS; i++) {
            const struct lsm_gap *g = gap_at(s, i);

            if (g && gap_holds(g, key))
                return true;
        }
    } while (atomic_load(&s->version) != version);
    return false;
}

bool lsm_minds_puts(const struct lsm_tree *t)
{
    return atomic_load(&t->gaps.count) != 0;
}

void lsm_note_put(struct lsm_tree *t, odb_slice key)
{
    struct gap_list gone;

    if (!gaps_hold(&t->gaps, key))
        return;
    gone.count = 0;
    os_mutex_lock(&t->gaps.lock);
    gaps_cut(&t->gaps, key, &gone);
    os_mutex_unlock(&t->gaps.lock);
    gaps_retire(t, &gone);
}

/* ---- walks ---- */

bool gaps_leap(struct lsm_tree *t, odb_slice key, uint64_t seq, bool is_backward, struct buf *out)
{
    struct lsm_gaps *s = &t->gaps;
    struct epoch_guard g;
    bool found = false;

    if (atomic_load_explicit(&s->count, memory_order_relaxed) == 0)
        return false;
    g = epoch_enter(t->env->epoch);
    for (unsigned i = 0; i < LSM_GAPS && !found; i++) {
        const struct lsm_gap *gap = gap_at(s, i);
        odb_slice end;

        if (!gap || gap->seq > seq || !gap_holds(gap, key) ||
            !atomic_load_explicit(&gap->is_sure, memory_order_acquire))
            continue;
        end = is_backward ? gap_from(gap) : gap_to(gap);
        found = buf_assign(out, end.data, end.size) == ODB_OK;
    }
    epoch_leave(g);
    return found;
}

/* Under the lock: publish [from, to), joined with the sure gaps it touches, as not yet sure. */
static struct lsm_gap *gaps_publish(struct lsm_gaps *s, odb_slice from, odb_slice to, uint64_t seq,
                                    struct gap_list *out)
{
    bool joins[LSM_GAPS] = {false};
    struct lsm_gap *mine;
    unsigned slot = LSM_GAPS;

    for (unsigned i = 0; i < LSM_GAPS; i++) {
        const struct lsm_gap *g = gap_at(s, i);

        if (!g || !atomic_load_explicit(&g->is_sure, memory_order_relaxed) ||
            odb_slice_compare(gap_from(g), to) > 0 || odb_slice_compare(from, gap_to(g)) > 0)
            continue;
        joins[i] = true;
        slot = i;
        if (odb_slice_compare(gap_from(g), from) < 0)
            from = gap_from(g);
        if (odb_slice_compare(gap_to(g), to) > 0)
            to = gap_to(g);
        seq = g->seq > seq ? g->seq : seq;
    }
    mine = gap_new(from, to, seq, false);
    if (!mine)
        return NULL;
    if (slot == LSM_GAPS)
        slot = gap_slot(s);
    gap_set(s, slot, mine, out);
    for (unsigned i = 0; i < LSM_GAPS; i++)
        if (joins[i] && i != slot)
            gap_set(s, i, NULL, out);
    return mine;
}

/* Whether the memtables of `v` hold a put of [from, to) newer than `seq`. */
static bool gaps_put_between(const struct lsm_view *v, odb_slice from, odb_slice to, uint64_t seq)
{
    bool found = false;

    for (uint32_t i = 0; i < v->mem_count && !found; i++) {
        struct cursor *c;

        if (memtable_cursor_new(v->mem[i].mem, &c) != ODB_OK)
            return true; /* unknown */
        for (bool on = c->ops->seek(c, from, UINT64_MAX); on && !found; on = cursor_next(c)) {
            const struct entry *e = cursor_entry(c);

            if (key_compare(e->key, e->key_len, to.data, to.size) >= 0)
                break;
            found = trailer_seq(e->trailer) > seq && trailer_kind(e->trailer) == KIND_PUT;
        }
        cursor_free(c);
    }
    return found;
}

uint64_t gaps_count_entries(const struct lsm_view *v)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < v->mem_count; i++)
        n += memtable_count(v->mem[i].mem);
    return n;
}

void gaps_learn(struct lsm_tree *t, const struct lsm_view *v, uint64_t seq, uint64_t counted,
                odb_slice from, odb_slice to)
{
    struct lsm_gaps *s = &t->gaps;
    struct gap_list gone = {.count = 0};
    struct epoch_guard g =
        epoch_enter(t->env->epoch); /* so that `mine` is nobody else's meanwhile */
    struct lsm_gap *mine;
    bool is_sure;

    os_mutex_lock(&s->lock);
    mine = gaps_publish(s, from, to, seq, &gone);
    os_mutex_unlock(&s->lock);
    gaps_retire(t, &gone);
    if (!mine)
        goto done;
    is_sure = atomic_load(&t->view) == v && /* else there are places the walk has not seen */
              (gaps_count_entries(v) == counted || !gaps_put_between(v, from, to, seq));
    gone.count = 0;
    os_mutex_lock(&s->lock);
    for (unsigned i = 0; i < LSM_GAPS; i++)
        if (gap_at(s, i) == mine) { /* not cut meanwhile */
            if (is_sure)
                atomic_store_explicit(&mine->is_sure, true, memory_order_release);
            else
                gap_set(s, i, NULL, &gone);
        }
    os_mutex_unlock(&s->lock);
    gaps_retire(t, &gone);
done:
    epoch_leave(g);
}
