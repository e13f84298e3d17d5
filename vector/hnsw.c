/* vector/hnsw.c -- walking the graph and changing it.
 *
 * A walk keeps one sorted array, the pool, in the place of two heaps: what was found, nearest first,
 * each marked once its neighbours have been looked at. The next to expand is the first unmarked one;
 * when there is none, no neighbour of anything found is nearer than the last of the pool.
 *
 *     pool   | 0.1 x | 0.3 x | 0.4 h x | 0.7 | 0.9 |        x expanded, h hidden (walked, not shown)
 *                                        ^ next           full when `ef` shown are in; hidden ones
 *                                                         are extra and end before the last shown
 *
 * An insert first looks for candidates on every level, touching nothing; then writes its own rows,
 * which nobody can reach yet; then has its neighbours name it, level 0 first. So several threads may
 * insert at once with no more than one row lock held at any time.
 *
 * Links are chosen by diversity: a candidate is taken unless one already taken is nearer to it than
 * the node itself is. Rows remember how many of their first ids are known to be so (the diverse
 * prefix), which spares most distances when a full row takes one more: pairs of the prefix need not be
 * compared again.
 *
 * 1. Rows never name a slot twice, nor their own.
 * 2. A node's rows are complete before any row names it.
 * 3. Whoever a full row drops is named by one of its own neighbours, or one of them takes it back, for
 *    its last: so inserts of one writer orphan nobody. Islands (members name each other, nobody else
 *    does) are rare, and every node is reachable after vec_reconnect().
 * 4. Nobody need name the entry: repairs choose anew, each row for itself. Who takes its place names it.
 */
#include "vector/hnsw.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"

#define DIRTY_KEPT 65536 /* places kept from one flush to the next */
#define GROUP      64    /* neighbours looked at together; at least the longest row is split into */

/* ---- scratch ---- */

void vec_scratch_release(struct vec_scratch *s)
{
    mem_free(s->visited);
    mem_free(s->pool);
    mem_free(s->pick);
    mem_free(s->query);
    mem_free(s->wide);
    memset(s, 0, sizeof *s);
}

uint64_t vec_scratch_bytes(const struct vec_scratch *s)
{
    return sizeof *s + s->visited_len + s->query_bytes + s->wide_bytes +
           (s->pool_cap + s->pick_cap) * sizeof *s->pool;
}

static odb_status more_room(void *at, size_t have, size_t need, size_t *cap)
{
    void *old, *p;

    if (have >= need)
        return ODB_OK;
    memcpy(&old, at, sizeof old);
    mem_free(old);
    p = mem_alloc(need);
    memcpy(at, &p, sizeof p);
    *cap = p ? need : 0;
    return p ? ODB_OK : err_set(ODB_NOMEM, "vector index: no memory for a walk");
}

odb_status vec_scratch_prepare(struct vec_scratch *s, const struct vec_arena *a, size_t ef,
                               size_t picks)
{
    uint32_t slots = atomic_load_explicit(&a->slot_count, memory_order_acquire);
    size_t bytes, room = ef + 1 > 64 ? ef + 1 : 64;
    odb_status st;

    if (s->visited_len < slots) {
        uint64_t len = (uint64_t)slots + slots / 4 + 1024;

        mem_free(s->visited);
        s->visited = mem_zalloc((size_t)len, 1);
        s->visited_len = s->visited ? (uint32_t)len : 0;
        s->tag = 0;
        if (!s->visited)
            return err_set(ODB_NOMEM, "vector index: no memory for a walk");
    }
    bytes = s->pool_cap * sizeof *s->pool;
    st = more_room(&s->pool, bytes, room * sizeof *s->pool, &bytes);
    s->pool_cap = bytes / sizeof *s->pool;
    if (st == ODB_OK) {
        bytes = s->pick_cap * sizeof *s->pick;
        st = more_room(&s->pick, bytes, picks * sizeof *s->pick, &bytes);
        s->pick_cap = bytes / sizeof *s->pick;
    }
    if (st == ODB_OK)
        st = more_room(&s->query, s->query_bytes, vec_query_bytes(a->space.form, a->space.dim),
                       &s->query_bytes);
    if (st == ODB_OK)
        st = more_room(&s->wide, s->wide_bytes, a->space.dim * sizeof *s->wide, &s->wide_bytes);
    return st;
}

/* Begin a walk: nothing has been visited. */
static void forget_visits(struct vec_scratch *s)
{
    if (++s->tag == 0) {
        memset(s->visited, 0, s->visited_len);
        s->tag = 1;
    }
}

/* Whether this walk comes here for the first time. Slots younger than the scratch do not exist. */
static inline bool visit(struct vec_scratch *s, uint32_t slot)
{
    if (slot >= s->visited_len || s->visited[slot] == s->tag)
        return false;
    s->visited[slot] = s->tag;
    return true;
}

/* What stands for a row as a query: itself, or for halves its floats. */
static const void *row_as_query(const struct vec_arena *a, struct vec_scratch *s, uint32_t slot)
{
    if (a->space.form != VEC_F16)
        return vec_row(a, slot);
    a->kernel->widen(vec_row(a, slot), a->space.dim, s->wide);
    return s->wide;
}

/* ---- the pool ---- */

static inline bool cand_before(struct vec_cand x, struct vec_cand y)
{
    return x.dist < y.dist || (x.dist == y.dist && VEC_CAND_SLOT(x.slot) < VEC_CAND_SLOT(y.slot));
}

static bool pool_grow(struct vec_scratch *s)
{
    struct vec_cand *more = mem_realloc(s->pool, 2 * s->pool_cap * sizeof *more);

    if (!more)
        return false;
    s->pool = more;
    s->pool_cap *= 2;
    return true;
}

/* The pool ends with a shown one when it is full. */
static void pool_trim(struct vec_scratch *s, size_t ef)
{
    if (s->pool_shown > ef) {
        assert(!(s->pool[s->pool_len - 1].slot & VEC_CAND_HIDDEN));
        s->pool_len--;
        s->pool_shown--;
    }
    while (s->pool_shown == ef && s->pool_len && (s->pool[s->pool_len - 1].slot & VEC_CAND_HIDDEN))
        s->pool_len--;
}

/* Put a candidate in its place. Returns that place. */
static size_t pool_insert(struct vec_scratch *s, struct vec_cand c, size_t ef)
{
    size_t low = 0, high = s->pool_len;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (cand_before(s->pool[mid], c))
            low = mid + 1;
        else
            high = mid;
    }
    if (s->pool_len == s->pool_cap && !pool_grow(s)) { /* the last gives way; only recall suffers */
        s->pool_len--;
        s->pool_shown -= !(s->pool[s->pool_len].slot & VEC_CAND_HIDDEN);
        if (low > s->pool_len)
            return low;
    }
    memmove(s->pool + low + 1, s->pool + low, (s->pool_len - low) * sizeof *s->pool);
    s->pool[low] = c;
    s->pool_len++;
    s->pool_shown += !(c.slot & VEC_CAND_HIDDEN);
    pool_trim(s, ef);
    return low;
}

/* ---- walking ---- */

static size_t gather_unvisited(struct vec_scratch *s, const vec_link *row, uint32_t from,
                               uint32_t count, uint32_t *out)
{
    size_t n = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = atomic_load_explicit(&row[1 + from + i].v, memory_order_acquire);

        if (visit(s, id))
            out[n++] = id;
    }
    return n;
}

static inline uint32_t row_count(const vec_link *row)
{
    return VEC_HEAD_COUNT(atomic_load_explicit(&row[0].v, memory_order_acquire));
}

/* From `at`, always to the nearest neighbour, while one is nearer. */
static struct vec_cand descend(const struct vec_arena *a, struct vec_scratch *s, const void *q,
                               struct vec_cand at, unsigned level)
{
    uint32_t ids[GROUP];
    float dist[GROUP];

    for (bool moved = true; moved;) {
        const vec_link *row = vec_links(a, at.slot, level);
        uint32_t count = row_count(row);

        moved = false;
        for (uint32_t i = 0; i < count; i++)
            ids[i] = atomic_load_explicit(&row[1 + i].v, memory_order_acquire);
        vec_distances(a, q, ids, count, dist);
        s->distances += count;
        s->hops++;
        for (uint32_t i = 0; i < count; i++)
            if (dist[i] < at.dist) {
                at = (struct vec_cand){dist[i], ids[i]};
                moved = true;
            }
    }
    return at;
}

static inline uint32_t cand_flags(const struct vec_view *view, uint32_t slot)
{
    return view->shown && !view->shown(view->arg, slot) ? slot | VEC_CAND_HIDDEN : slot;
}

/* The walk of one level, from what is in the pool already. */
static bool walk_level(const struct vec_arena *a, struct vec_scratch *s, const void *q, size_t ef,
                       unsigned level, const struct vec_view *view)
{
    size_t next = 0;
    uint32_t ids[GROUP];
    float dist[GROUP];

    while (next < s->pool_len) {
        const vec_link *row;
        uint32_t count;

        if (s->pool[next].slot & VEC_CAND_EXPANDED) {
            next++;
            continue;
        }
        if (ODB_UNLIKELY((view->visit_max && s->distances >= view->visit_max) ||
                         (view->until_ns && view->now(view->arg) >= view->until_ns)))
            return false;
        row = vec_links(a, VEC_CAND_SLOT(s->pool[next].slot), level);
        s->pool[next].slot |= VEC_CAND_EXPANDED;
        s->hops++;
        count = row_count(row);
        if (next + 1 < s->pool_len)
            ODB_PREFETCH(vec_links(a, VEC_CAND_SLOT(s->pool[next + 1].slot), level));
        for (uint32_t from = 0; from < count; from += GROUP) {
            uint32_t some = count - from < GROUP ? count - from : GROUP;
            size_t n = gather_unvisited(s, row, from, some, ids);

            vec_distances(a, q, ids, n, dist);
            s->distances += n;
            for (size_t i = 0; i < n; i++) {
                size_t place;

                if (s->pool_shown >= ef && !(dist[i] < s->pool[s->pool_len - 1].dist))
                    continue;
                place = pool_insert(s, (struct vec_cand){dist[i], cand_flags(view, ids[i])}, ef);
                if (place < next)
                    next = place;
            }
        }
    }
    return true;
}

/* Empty the pool but for its first entry, to be expanded again on another level. */
static void pool_restart(struct vec_scratch *s, const struct vec_cand *from, size_t n,
                         const struct vec_view *view, size_t ef)
{
    forget_visits(s);
    s->pool_len = s->pool_shown = 0;
    for (size_t i = 0; i < n; i++)
        if (visit(s, VEC_CAND_SLOT(from[i].slot)))
            (void)pool_insert(
                s, (struct vec_cand){from[i].dist, cand_flags(view, VEC_CAND_SLOT(from[i].slot))},
                ef);
}

/* Where walks begin: the nearest on level `down_to` + 1, or the entry itself. False: empty graph. */
static bool approach(const struct vec_arena *a, struct vec_scratch *s, const void *q,
                     unsigned down_to, struct vec_cand *out, unsigned *top)
{
    uint64_t entry = atomic_load_explicit(&a->entry, memory_order_acquire);

    if (entry == VEC_NEVER)
        return false;
    *top = (unsigned)(entry >> 32);
    out->slot = (uint32_t)entry;
    vec_distances(a, q, &out->slot, 1, &out->dist);
    s->distances++;
    for (unsigned level = *top; level > down_to; level--)
        *out = descend(a, s, q, *out, level);
    return true;
}

bool vec_walk(const struct vec_arena *a, struct vec_scratch *s, const void *query, size_t ef,
              const struct vec_view *view)
{
    struct vec_cand from;
    unsigned top;

    s->distances = s->hops = 0;
    s->pool_len = s->pool_shown = 0;
    forget_visits(s);
    if (!approach(a, s, query, 0, &from, &top))
        return true;
    pool_restart(s, &from, 1, view, ef);
    return walk_level(a, s, query, ef, 0, view);
}

void vec_walk_extra(const struct vec_arena *a, struct vec_scratch *s, const void *query,
                    const uint32_t *slots, size_t n, size_t ef, const struct vec_view *view)
{
    uint32_t ids[GROUP];
    float dist[GROUP];

    for (size_t i = 0; i < n;) {
        size_t some = 0;

        for (; i < n && some < GROUP; i++)
            if (visit(s, slots[i]))
                ids[some++] = slots[i];
        vec_distances(a, query, ids, some, dist);
        s->distances += some;
        for (size_t k = 0; k < some; k++)
            if (s->pool_shown < ef || dist[k] < s->pool[s->pool_len - 1].dist)
                (void)pool_insert(s, (struct vec_cand){dist[k], cand_flags(view, ids[k])}, ef);
    }
}

/* ---- choosing links ---- */

/* Whether one of the chosen is nearer to `c` than the node they are chosen for. */
static bool is_shadowed(const struct vec_arena *a, struct vec_scratch *s, struct vec_cand c,
                        const uint32_t *chosen, size_t count)
{
    const void *q = NULL;
    float dist[4];

    for (size_t i = 0; i < count; i += 4) {
        size_t some = count - i < 4 ? count - i : 4;

        if (!q)
            q = row_as_query(a, s, VEC_CAND_SLOT(c.slot));
        vec_distances(a, q, chosen + i, some, dist);
        s->distances += some;
        for (size_t k = 0; k < some; k++)
            if (dist[k] < c.dist)
                return true;
    }
    return false;
}

#define CAND_DIVERSE VEC_CAND_EXPANDED /* in what a row is chosen from: of its diverse prefix */

/* Vectors equal to that of `self` come first, and none of them shadows another. Of many such twins each
 * takes the nearest by number, so that they hang together like a chain, and few, so that links are left
 * that lead elsewhere. Sorts them so, and returns how many there are. */
static size_t order_twins(const struct vec_arena *a, struct vec_cand *c, size_t n, uint32_t self)
{
    size_t twins = 0;

    while (twins < n && a->space.metric != VEC_DOT && c[twins].dist <= 1e-6f)
        twins++;
    for (size_t i = 1; i < twins; i++) {
        struct vec_cand x = c[i];
        uint32_t slot = VEC_CAND_SLOT(x.slot), far = slot > self ? slot - self : self - slot;
        size_t at = i;

        for (; at > 0; at--) {
            uint32_t other = VEC_CAND_SLOT(c[at - 1].slot);

            if ((other > self ? other - self : self - other) <= far)
                break;
            c[at] = c[at - 1];
        }
        c[at] = x;
    }
    return twins;
}

/* Choose at most `want` links for `self` of `n` candidates sorted by distance. Returns how many. */
static uint32_t choose_diverse(const struct vec_arena *a, struct vec_scratch *s, uint32_t self,
                               struct vec_cand *c, size_t n, uint32_t want, uint32_t *out)
{
    uint32_t fresh[2 * VEC_M_MAX], count = 0, fresh_count = 0, twins_max = want / 4 + 1;
    size_t twins = order_twins(a, c, n, self);

    for (size_t i = 0; i < n && count < want; i++) {
        bool diverse = (c[i].slot & CAND_DIVERSE) != 0;

        if (i < twins && count >= twins_max)
            continue;
        if (c[i].slot & VEC_CAND_HIDDEN)
            continue;
        /* Two of the prefix are known not to shadow each other. */
        if (diverse ? is_shadowed(a, s, c[i], fresh, fresh_count)
                    : is_shadowed(a, s, c[i], out, count))
            continue;
        out[count++] = VEC_CAND_SLOT(c[i].slot);
        if (!diverse)
            fresh[fresh_count++] = VEC_CAND_SLOT(c[i].slot);
    }
    return count;
}

static int compare_cands(const void *x, const void *y)
{
    struct vec_cand a, b;

    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return cand_before(a, b) ? -1 : cand_before(b, a);
}

static void note_dirty(struct vec_dirty *dirty, vec_link *row0, uint32_t slot)
{
    uint32_t head;

    if (!dirty)
        return;
    head = atomic_load_explicit(&row0->v, memory_order_relaxed);
    if (head & VEC_HEAD_DIRTY)
        return;
    if (dirty->len == dirty->cap) {
        size_t cap = dirty->cap ? 2 * dirty->cap : 1024;
        uint32_t *more = mem_realloc(dirty->slot, cap * sizeof *more);

        if (!more) {
            dirty->is_all = true;
            return;
        }
        dirty->slot = more;
        dirty->cap = cap;
    }
    dirty->slot[dirty->len++] = slot;
    atomic_store_explicit(&row0->v, head | VEC_HEAD_DIRTY, memory_order_relaxed);
}

void vec_dirty_shrink(struct vec_dirty *dirty)
{
    if (dirty->len || dirty->cap <= DIRTY_KEPT)
        return;
    mem_free(dirty->slot);
    dirty->slot = NULL;
    dirty->cap = 0;
}

/* Write a row, under its lock or before anyone can reach it. */
static void write_row(vec_link *row, const uint32_t *ids, uint32_t count, uint32_t diverse)
{
    uint32_t head = atomic_load_explicit(&row->v, memory_order_relaxed) & VEC_HEAD_DIRTY;

    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&row[1 + i].v, ids[i], memory_order_release);
    atomic_store_explicit(&row->v, head | VEC_HEAD(count, diverse), memory_order_release);
}

static bool row_names(const vec_link *row, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++)
        if (atomic_load_explicit(&row[1 + i].v, memory_order_relaxed) == slot)
            return true;
    return false;
}

/* Have the row of `node` name `slot`, which is `dist` away; a full row keeps the most diverse, or, when
 * it must not `forget`, what it has. */
static void add_link(struct vec_arena *a, struct vec_scratch *s, uint32_t node, uint32_t slot,
                     float dist, unsigned level, bool forget, struct vec_dirty *dirty)
{
    vec_link *row = vec_links(a, node, level);
    uint32_t max = vec_links_max(a, level), head, count, diverse, ids[2 * VEC_M_MAX];
    struct vec_cand c[2 * VEC_M_MAX];
    float known[2 * VEC_M_MAX];
    bool same = true;

    os_mutex_lock(vec_row_lock(a, node));
    head = atomic_load_explicit(&row->v, memory_order_relaxed);
    count = VEC_HEAD_COUNT(head);
    diverse = VEC_HEAD_DIVERSE(head);
    if (row_names(row, count, slot))
        goto done;
    if (count < max) {
        atomic_store_explicit(&row[1 + count].v, slot, memory_order_release);
        atomic_store_explicit(&row->v, head + 1, memory_order_release);
        note_dirty(dirty, vec_links(a, node, 0), node);
        goto done;
    }
    if (!forget)
        goto done;
    for (uint32_t i = 0; i < count; i++)
        ids[i] = atomic_load_explicit(&row[1 + i].v, memory_order_relaxed);
    vec_distances(a, row_as_query(a, s, node), ids, count, known);
    s->distances += count;
    for (uint32_t i = 0; i < count; i++)
        c[i] = (struct vec_cand){known[i], ids[i] | (i < diverse ? CAND_DIVERSE : 0)};
    c[count] = (struct vec_cand){dist, slot};
    qsort(c, count + 1, sizeof *c, compare_cands);
    head = choose_diverse(a, s, node, c, count + 1, max, ids);
    for (uint32_t i = 0, k = 0; level == 0 && i <= count; i++) /* both in the same order */
        if (k < head && VEC_CAND_SLOT(c[i].slot) == ids[k])
            k++;
        else if (s->lost_len < VEC_LOST_MAX && VEC_CAND_SLOT(c[i].slot) != slot)
            s->lost[s->lost_len++] = VEC_CAND_SLOT(c[i].slot);
    for (uint32_t i = 0; same && i < head; i++)
        same = atomic_load_explicit(&row[1 + i].v, memory_order_relaxed) == ids[i];
    if (!same || head != count) {
        write_row(row, ids, head, head);
        note_dirty(dirty, vec_links(a, node, 0), node);
    }
done:
    os_mutex_unlock(vec_row_lock(a, node));
}

/* ---- nobody is left behind ---- */

/* Have `node` name `slot`: where its row is full, in place of the last, which is returned. Else VEC_NONE. */
static uint32_t take_in(struct vec_arena *a, uint32_t node, uint32_t slot, struct vec_dirty *dirty)
{
    vec_link *row = vec_links(a, node, 0);
    uint32_t max = vec_links_max(a, 0), head, count, gives = VEC_NONE;

    os_mutex_lock(vec_row_lock(a, node));
    head = atomic_load_explicit(&row->v, memory_order_relaxed);
    count = VEC_HEAD_COUNT(head);
    if (row_names(row, count, slot)) /* by another thread, just now */
        goto done;
    if (count < max) {
        atomic_store_explicit(&row[1 + count].v, slot, memory_order_release);
        atomic_store_explicit(&row->v, head + 1, memory_order_release);
    } else {
        gives = atomic_load_explicit(&row[max].v, memory_order_relaxed);
        if (VEC_HEAD_DIVERSE(head) == max)
            atomic_store_explicit(&row->v, (head & VEC_HEAD_DIRTY) | VEC_HEAD(max, max - 1),
                                  memory_order_release);
        atomic_store_explicit(&row[max].v, slot, memory_order_release);
    }
    note_dirty(dirty, row, node);
done:
    os_mutex_unlock(vec_row_lock(a, node));
    return gives;
}

/* Have `slot` name `other` as well. False: its row is full. */
static bool name_too(struct vec_arena *a, uint32_t slot, uint32_t other, struct vec_dirty *dirty)
{
    vec_link *row = vec_links(a, slot, 0);
    uint32_t head, count;
    bool named;

    os_mutex_lock(vec_row_lock(a, slot));
    head = atomic_load_explicit(&row->v, memory_order_relaxed);
    count = VEC_HEAD_COUNT(head);
    named = other == slot || row_names(row, count, other);
    if (!named && count < vec_links_max(a, 0)) {
        atomic_store_explicit(&row[1 + count].v, other, memory_order_release);
        atomic_store_explicit(&row->v, head + 1, memory_order_release);
        note_dirty(dirty, row, slot);
        named = true;
    }
    os_mutex_unlock(vec_row_lock(a, slot));
    return named;
}

static bool is_named_by_own(const struct vec_arena *a, uint32_t slot)
{
    const vec_link *own = vec_links(a, slot, 0);
    uint32_t count = row_count(own);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t near = atomic_load_explicit(&own[1 + i].v, memory_order_acquire);
        const vec_link *row = vec_links(a, near, 0);

        if (row_names(row, row_count(row), slot))
            return true;
    }
    return false;
}

/* (3): `slot`, just inserted, and whom rows have dropped for it. Who gives way for one of them hangs on
 * that one, or is looked after in turn. */
static void keep_named(struct vec_arena *a, struct vec_scratch *s, uint32_t slot,
                       struct vec_dirty *dirty)
{
    uint32_t gives;

    if (s->lost_len < VEC_LOST_MAX) /* when there are more, the rest is left to vec_reconnect() */
        s->lost[s->lost_len++] = slot;
    for (uint32_t i = 0; i < s->lost_len; i++) {
        uint32_t lost = s->lost[i];
        const vec_link *own = vec_links(a, lost, 0);

        if (row_count(own) == 0 || is_named_by_own(a, lost))
            continue;
        gives = take_in(a, atomic_load_explicit(&own[1].v, memory_order_acquire), lost, dirty);
        if (gives != VEC_NONE && !name_too(a, lost, gives, dirty) && s->lost_len < VEC_LOST_MAX)
            s->lost[s->lost_len++] = gives;
    }
}

/* ---- inserting ---- */

static bool shows_the_living(void *arg, uint32_t slot)
{
    const struct vec_arena *a = arg;

    return vec_end(a, slot) == 0;
}

/* Raise the entry point to `slot` if it stands higher. All that could be reached from the one before can
 * be reached from `slot` then (4): its row of level 0 has room, but where several insert. */
static void raise_entry(struct vec_arena *a, uint32_t slot, unsigned level, struct vec_dirty *dirty)
{
    uint64_t now = atomic_load_explicit(&a->entry, memory_order_acquire);
    uint64_t mine = (uint64_t)level << 32 | slot;

    while (now == VEC_NEVER || now >> 32 < level) {
        if (now != VEC_NEVER)
            (void)name_too(a, slot, (uint32_t)now, dirty);
        if (atomic_compare_exchange_weak(&a->entry, &now, mine))
            return;
    }
}

/* Choose the links of `slot` from what the walk found: not itself (it may be reachable already when it
 * is linked once more), and the dead only where there is nobody else. */
static uint32_t link_level(const struct vec_arena *a, struct vec_scratch *s, uint32_t slot,
                           uint32_t *out, float *out_dist)
{
    uint32_t count;
    size_t n = 0;

    for (uint32_t hidden = 0; n == 0 && hidden <= VEC_CAND_HIDDEN; hidden += VEC_CAND_HIDDEN) {
        for (size_t i = 0; i < s->pool_len && n < s->pick_cap; i++)
            if (VEC_CAND_SLOT(s->pool[i].slot) != slot &&
                (s->pool[i].slot & VEC_CAND_HIDDEN) == hidden)
                s->pick[n++] = (struct vec_cand){s->pool[i].dist, VEC_CAND_SLOT(s->pool[i].slot)};
        if (hidden)
            break;
    }
    count = choose_diverse(a, s, slot, s->pick, n, a->space.m, out);
    for (uint32_t i = 0, k = 0; i < count; k++) /* both in the same order */
        if (s->pick[k].slot == out[i])
            out_dist[i++] = s->pick[k].dist;
    return count;
}

/* A row as the query of a walk, during which `wide` is used for others. */
static const void *query_of_slot(const struct vec_arena *a, struct vec_scratch *s, uint32_t slot)
{
    if (a->space.form != VEC_F16)
        return vec_row(a, slot);
    a->kernel->widen(vec_row(a, slot), a->space.dim, s->query);
    return s->query;
}

/* `forget`: rows of level 0 may drop a neighbour for the new one. */
static void insert_links(struct vec_arena *a, struct vec_scratch *s, uint32_t slot, bool forget,
                         struct vec_dirty *dirty)
{
    struct vec_view living = {.shown = shows_the_living, .arg = a};
    unsigned level = vec_level_of(&a->space, slot), top = 0;
    uint32_t chosen[VEC_LEVEL_MAX + 1][VEC_M_MAX], count[VEC_LEVEL_MAX + 1];
    float dist[VEC_LEVEL_MAX + 1][VEC_M_MAX];
    struct vec_cand from;
    size_t ef = a->space.ef_construction;
    const void *q;
    uint64_t none;

    q = query_of_slot(a, s, slot);
    s->distances = s->hops = 0;
    s->lost_len = 0;
    memset(count, 0, sizeof count);
    note_dirty(dirty, vec_links(a, slot, 0), slot);
    for (unsigned l = 0; l <= level; l++) /* what the slot's last tenant left */
        if (forget)
            write_row(vec_links(a, slot, l), NULL, 0, 0);
    for (none = VEC_NEVER; !approach(a, s, q, level, &from, &top); none = VEC_NEVER)
        if (atomic_compare_exchange_strong(&a->entry, &none, (uint64_t)level << 32 | slot))
            return; /* the first of all */
    s->pool_len = 0;
    for (unsigned l = level < top ? level : top;; l--) {
        if (s->pool_len == 0)
            pool_restart(s, &from, 1, &living, ef);
        else {
            size_t n = s->pool_len < s->pick_cap ? s->pool_len : s->pick_cap;

            memcpy(s->pick, s->pool, n * sizeof *s->pick);
            pool_restart(s, s->pick, n, &living, ef);
        }
        (void)walk_level(a, s, q, ef, l, &living);
        count[l] = link_level(a, s, slot, chosen[l], dist[l]);
        if (l == 0)
            break;
    }
    for (unsigned l = 0; l <= level; l++) { /* (2) */
        os_mutex_lock(vec_row_lock(a, slot));
        write_row(vec_links(a, slot, l), chosen[l], count[l], count[l]);
        os_mutex_unlock(vec_row_lock(a, slot));
    }
    for (unsigned l = 0; l <= level && l <= top; l++)
        for (uint32_t i = 0; i < count[l]; i++)
            add_link(a, s, chosen[l][i], slot, dist[l][i], l, forget || l > 0, dirty);
    if (forget)
        keep_named(a, s, slot, dirty);
    raise_entry(a, slot, level, dirty);
}

void vec_insert(struct vec_arena *a, struct vec_scratch *s, uint32_t slot, struct vec_dirty *dirty)
{
    insert_links(a, s, slot, true, dirty);
}

/* ---- taking out ---- */

/* The highest of those who stay becomes the entry. */
static void move_entry(struct vec_arena *a, const uint64_t *gone, const uint64_t *linked,
                       uint32_t slot_count)
{
    uint64_t entry = atomic_load_explicit(&a->entry, memory_order_relaxed), best = VEC_NEVER;

    if (entry == VEC_NEVER || !vec_bit(gone, (uint32_t)entry))
        return;
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        unsigned level;

        if (!vec_bit(linked, slot) || vec_bit(gone, slot))
            continue;
        level = vec_level_of(&a->space, slot);
        if (best == VEC_NEVER || level > best >> 32)
            best = (uint64_t)level << 32 | slot;
    }
    atomic_store_explicit(&a->entry, best, memory_order_release);
}

/* Add what `node`'s row names: those who stay to the candidates, those who go to be looked through
 * later. */
static void collect_heirs(const struct vec_arena *a, struct vec_scratch *s, uint32_t node,
                          unsigned level, const uint64_t *gone, size_t *stay, uint32_t *go,
                          size_t *go_count, size_t go_max)
{
    const vec_link *row = vec_links(a, node, level);
    uint32_t count = row_count(row);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = atomic_load_explicit(&row[1 + i].v, memory_order_relaxed);

        if (!visit(s, id))
            continue;
        if (!vec_bit(gone, id)) {
            if (*stay < s->pick_cap)
                s->pick[(*stay)++].slot = id;
        } else if (*go_count < go_max) {
            go[(*go_count)++] = id;
        }
    }
}

/* Rewrite one row that names somebody who goes. */
static void repair_row(struct vec_arena *a, struct vec_scratch *s, uint32_t node, unsigned level,
                       const uint64_t *gone)
{
    vec_link *row = vec_links(a, node, level);
    uint32_t go[64], ids[2 * VEC_M_MAX], count = row_count(row), want;
    uint32_t max = vec_links_max(a, level);
    size_t stay = 0, go_count = 0, seen = 0;
    const void *q;

    forget_visits(s);
    (void)visit(s, node);
    collect_heirs(a, s, node, level, gone, &stay, go, &go_count, sizeof go / sizeof *go);
    for (; seen < go_count; seen++)
        collect_heirs(a, s, go[seen], level, gone, &stay, go, &go_count, sizeof go / sizeof *go);
    for (size_t i = 0; i < stay; i += GROUP) {
        size_t some = stay - i < GROUP ? stay - i : GROUP;
        uint32_t part[GROUP];
        float dist[GROUP];

        for (size_t k = 0; k < some; k++)
            part[k] = s->pick[i + k].slot;
        q = row_as_query(a, s, node); /* each time: choosing uses the same room */
        vec_distances(a, q, part, some, dist);
        for (size_t k = 0; k < some; k++)
            s->pick[i + k].dist = dist[k];
    }
    qsort(s->pick, stay, sizeof *s->pick, compare_cands);
    want = count > a->space.m ? count : a->space.m;
    count = choose_diverse(a, s, node, s->pick, stay, want < max ? want : max, ids);
    os_mutex_lock(vec_row_lock(a, node));
    write_row(row, ids, count, count);
    os_mutex_unlock(vec_row_lock(a, node));
}

void vec_remove(struct vec_arena *a, struct vec_scratch *s, const uint64_t *gone,
                const uint64_t *linked, uint32_t slot_count, struct vec_dirty *dirty)
{
    move_entry(a, gone, linked, slot_count);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        unsigned level;

        if (!vec_bit(linked, slot) || vec_bit(gone, slot))
            continue;
        level = vec_level_of(&a->space, slot);
        for (unsigned l = 0; l <= level; l++) {
            const vec_link *row = vec_links(a, slot, l);
            uint32_t count = row_count(row);
            bool broken = false;

            for (uint32_t i = 0; i < count && !broken; i++)
                broken = vec_bit(gone, atomic_load_explicit(&row[1 + i].v, memory_order_relaxed));
            if (!broken)
                continue;
            repair_row(a, s, slot, l, gone);
            note_dirty(dirty, vec_links(a, slot, 0), slot);
        }
    }
}

/* ---- who can be reached ---- */

static inline bool set_bit(uint64_t *bits, uint32_t slot)
{
    uint64_t mask = (uint64_t)1 << (slot & 63);

    if (bits[slot >> 6] & mask)
        return false;
    bits[slot >> 6] |= mask;
    return true;
}

/* Everything that can be reached from `from`, itself included, that was not found before. */
static uint32_t spread(const struct vec_arena *a, uint32_t from, uint64_t *found, uint32_t *stack,
                       uint32_t slot_count)
{
    uint32_t len = 0, n = 0;

    if (from >= slot_count || !set_bit(found, from))
        return 0;
    stack[len++] = from;
    while (len) {
        const vec_link *row = vec_links(a, stack[--len], 0);
        uint32_t count = row_count(row);

        n++;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t id = atomic_load_explicit(&row[1 + i].v, memory_order_acquire);

            if (id < slot_count && set_bit(found, id))
                stack[len++] = id;
        }
    }
    return n;
}

uint32_t vec_reach(const struct vec_arena *a, uint64_t *found, uint32_t *stack, uint32_t slot_count)
{
    uint64_t entry = atomic_load_explicit(&a->entry, memory_order_acquire);

    memset(found, 0, ((size_t)slot_count + 63) / 64 * sizeof *found);
    return entry == VEC_NEVER ? 0 : spread(a, (uint32_t)entry, found, stack, slot_count);
}

/* Have somebody reachable name `slot`: the nearest with room in its row, else one that gives up a
 * neighbour, which stays reachable by way of `slot`. Looked for from the entry on level 0 alone, where
 * everything in the way is reachable. */
static void force_link(struct vec_arena *a, struct vec_scratch *s, uint32_t slot,
                       const uint64_t *found, struct vec_dirty *dirty)
{
    uint32_t max = vec_links_max(a, 0);
    struct vec_view all = {0};
    struct vec_cand from = {0, (uint32_t)atomic_load_explicit(&a->entry, memory_order_relaxed)};
    const void *q = query_of_slot(a, s, slot);

    vec_distances(a, q, &from.slot, 1, &from.dist);
    pool_restart(s, &from, 1, &all, a->space.ef_construction);
    (void)walk_level(a, s, q, a->space.ef_construction, 0, &all);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < s->pool_len; i++) {
            uint32_t node = VEC_CAND_SLOT(s->pool[i].slot), gives;
            bool named;

            if (node == slot || !vec_bit(found, node) ||
                (pass == 0 && row_count(vec_links(a, node, 0)) == max))
                continue;
            gives = take_in(a, node, slot, dirty);
            named = gives == VEC_NONE || name_too(a, slot, gives, dirty);
            assert(named); /* fresh from an insert: it names at most m */
            (void)named;
            return;
        }
}

uint32_t vec_reconnect(struct vec_arena *a, struct vec_scratch *s, const uint64_t *linked,
                       uint64_t *found, uint32_t *stack, uint32_t slot_count,
                       struct vec_dirty *dirty)
{
    uint32_t lost = 0;

    (void)vec_reach(a, found, stack, slot_count);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        bool named = false;
        const vec_link *own;

        if (!vec_bit(linked, slot) || vec_bit(found, slot))
            continue;
        lost++;
        insert_links(a, s, slot, false, dirty); /* or this would cut off somebody else */
        own = vec_links(a, slot, 0);
        for (uint32_t i = 0; i < row_count(own) && !named; i++) {
            uint32_t near = atomic_load_explicit(&own[1 + i].v, memory_order_relaxed);
            const vec_link *row = vec_links(a, near, 0);

            named = vec_bit(found, near) && row_names(row, row_count(row), slot);
        }
        if (!named)
            force_link(a, s, slot, found, dirty);
        (void)spread(a, slot, found, stack, slot_count);
    }
    return lost;
}
