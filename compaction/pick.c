/* compaction/pick.c -- the shape a tree should have, and the merge that brings it nearer.
 *
 * Shape. The deepest level is as large as the data; each level above may hold a tenth of the one
 * below, for as long as that is worth a level. Targets follow from the bottom upward, so that about
 * a tenth of the data lies above the deepest level whatever its size: space is wasted by a tenth.
 *
 *     base_bytes 256 MB, multiplier 10                  data 20 GB            data 600 MB
 *
 *     level 0   [t][t][t][t]  newest first, overlapping      |                     |
 *           1   not in use                                   |                     |
 *           2   not in use                                   |                     |
 *           3   not in use                                   |                     |
 *           4   [--] 200 MB                            base  v                     |
 *           5   [----------] 2 GB                                                  |
 *           6   [----------------------------...] 20 GB                      base  v
 *
 * Level 0 merges straight into `base`. A merge of b bytes from level 0 into a base of n rewrites n
 * of them, that is n/b for each byte that comes; one more level between costs each byte up to
 * `multiplier`. So a further level pays only once the base is about multiplier times what level 0
 * brings; we go at half of that, since merges from level 0 must also not take too long. Hence base
 * targets between base_bytes / 2 and base_bytes * multiplier / 2.
 *
 * When data shrinks, levels above the new base may still hold tables. Newer data must not jump over
 * them, so base stays at the first level that holds something; their targets are 0, and they drain.
 *
 * Order. Everything rests on one invariant: of a user key's versions, a newer one never lies deeper
 * than an older one. A pick keeps it when nothing older than what it moves stays above the target.
 *
 *     level 0, newest first     g [   a----------m          ]     Start with the oldest, d; take
 *                               f [                 q---t   ]     whatever overlaps what was taken
 *                               e [         h-----------r   ]     until nothing more does: e, then
 *                               d [   c------k              ]     g and f. A file that overlaps none
 *                                                                 of the rest stays for another time.
 *
 * Taking d alone would be right as well (what stays above is newer), but its neighbours would soon
 * rewrite the same tables of the base again.
 *
 *     level n     |--A--| |--B--|   |--C--|         Cost of A: the bytes of 1, 2. The table with the
 *     level n+1  |-1-||---2---||-3-||-4-||-5-|      least cost for its own bytes is taken; then its
 *                                                   neighbours that lie over the same tables and
 *                                                   cost nothing more: with A goes no other, with B
 *                                                   (2, 3) would go no other, since A needs 1.
 *
 * Busy. A running job's inputs are marked in both levels, and the ranges of a merge's inputs leave no
 * gap between them. So whatever overlaps its outputs to come overlaps an input: in the lower level
 * it is one, from the upper level it would have to merge with one. (Over a gap a table could come
 * down beside the job and lie across an output.) Hence it is enough to touch nothing marked. Level 0
 * has one merge at a time, and while it waits for tables of the base, the base starts no further
 * merges downward.
 *
 *  1. Picked tables are not busy, and no table in [from, to] that overlaps them is left out, but for
 *     newer ones in level 0.
 *  2. Levels between `from` and `to` are empty (C30: no skipped level).
 *  3. The ranges of all inputs of a merge together have no gap; tables that just move need not touch.
 *  4. A picked merge leaves less data over target, fewer marks, or fewer tombstones where they can be
 *     shed: picking and merging comes to an end.
 *
 * Threads: none; a pure function of its argument.
 * Not here: running it (compact.c), marking inputs busy, building the view (lsm/).
 */
#include "compaction/pick.h"

#include <assert.h>

#include "base/alloc.h"

#define PICK_DEEPEST     (PICK_LEVELS - 1)
#define PICK_EXPAND      16  /* widen `upper` for free up to so many output tables */
#define PICK_GRANDPARENT 10  /* move only what overlaps less than so many output tables two below */
#define PICK_DRAIN_SCORE 1.1 /* levels that should not be there go when nothing urgent is left */

/* Positions [lo, hi) of a level. */
struct pick_span {
    uint32_t lo, hi;
};

static uint64_t pick_level_bytes(const struct pick_level *l, bool with_busy)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < l->count; i++)
        if (with_busy || !l->files[i].is_busy)
            sum += l->files[i].size;
    return sum;
}

/* ---- shape ---- */

void pick_shape(struct pick_view *v, const struct pick_options *opt)
{
    uint64_t target = opt->base_bytes, mult = opt->multiplier > 1 ? opt->multiplier : 2;
    uint32_t first = PICK_DEEPEST, base = PICK_DEEPEST;

    for (uint32_t i = PICK_DEEPEST; i > 0; i--) {
        uint64_t bytes = pick_level_bytes(&v->level[i], true);

        if (v->level[i].count)
            first = i;
        if (bytes > target)
            target = bytes;
        v->level[i].target = 0;
    }
    v->level[0].target = opt->base_bytes;
    v->level[PICK_DEEPEST].target = target;
    while (base > 1 && target / mult >= opt->base_bytes / 2 + 1) {
        target /= mult;
        v->level[--base].target = target;
    }
    v->base = base < first ? base : first;
}

/* How far a level is over its target; over 1 asks for a merge. */
static double pick_score(const struct pick_view *v, uint32_t level)
{
    const struct pick_level *l = &v->level[level];
    double bytes = (double)pick_level_bytes(l, false), score;
    uint32_t idle = 0;

    if (level == PICK_DEEPEST)
        return 0;
    if (level > 0) {
        if (l->target == 0)
            return bytes > 0 ? PICK_DRAIN_SCORE : 0;
        return bytes / (double)l->target;
    }
    for (uint32_t i = 0; i < l->count; i++)
        idle += !l->files[i].is_busy;
    score = v->l0_trigger ? (double)idle / v->l0_trigger : 0;
    if (l->target && bytes / (double)l->target > score)
        score = bytes / (double)l->target;
    return score;
}

uint64_t pick_debt(const struct pick_view *v)
{
    double debt = 0, arriving = 0;

    for (uint32_t i = 0; i < PICK_DEEPEST; i = i ? i + 1 : v->base) {
        const struct pick_level *l = &v->level[i];
        uint32_t below = i ? i + 1 : v->base;
        double bytes = (double)pick_level_bytes(l, true) + arriving, excess;

        if (i == 0) /* level 0 goes as a whole or not at all */
            excess = l->count >= v->l0_trigger || bytes > (double)l->target ? bytes : 0;
        else
            excess = bytes > (double)l->target ? bytes - (double)l->target : 0;
        if (excess > 0) { /* each byte meets its share of the level below */
            double next = (double)pick_level_bytes(&v->level[below], true);

            debt += excess + (i == 0 ? next : excess * next / bytes);
        }
        arriving = excess;
    }
    return (uint64_t)debt;
}

/* ---- overlap ---- */

static bool pick_overlaps(const struct pick_file *f, odb_slice smallest, odb_slice largest)
{
    return (!largest.data || odb_slice_compare(f->smallest, largest) <= 0) &&
           (!smallest.data || odb_slice_compare(f->largest, smallest) >= 0);
}

/* The tables of a level below 0 that overlap [smallest, largest] (NULL data: open). */
static struct pick_span pick_find_span(const struct pick_level *l, odb_slice smallest,
                                       odb_slice largest)
{
    struct pick_span s;
    uint32_t low = 0, high = l->count;

    while (smallest.data && low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (odb_slice_compare(l->files[mid].largest, smallest) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    s.lo = s.hi = low;
    while (s.hi < l->count && pick_overlaps(&l->files[s.hi], smallest, largest))
        s.hi++;
    return s;
}

static uint64_t pick_span_bytes(const struct pick_level *l, struct pick_span s)
{
    uint64_t sum = 0;

    for (uint32_t i = s.lo; i < s.hi; i++)
        sum += l->files[i].size;
    return sum;
}

static bool pick_span_is_busy(const struct pick_level *l, struct pick_span s)
{
    for (uint32_t i = s.lo; i < s.hi; i++)
        if (l->files[i].is_busy)
            return true;
    return false;
}

#ifndef NDEBUG
/* For assert(): by key, and no user key in two tables, so that a table can be taken alone. */
static bool pick_is_sorted(const struct pick_view *v)
{
    for (uint32_t n = 1; n < PICK_LEVELS; n++)
        for (uint32_t i = 1; i < v->level[n].count; i++)
            if (odb_slice_compare(v->level[n].files[i - 1].largest,
                                  v->level[n].files[i].smallest) >= 0)
                return false;
    return true;
}

/* For assert(): nothing lies between level 0 and base. */
static bool pick_gap_is_empty(const struct pick_view *v)
{
    for (uint32_t n = 1; n < v->base; n++)
        if (v->level[n].count)
            return false;
    return true;
}
#endif

/* ---- building a pick ---- */

void pick_release(struct pick *p)
{
    mem_free(p->upper);
    mem_free(p->lower);
    *p = (struct pick){0};
}

/* Add `s` of level `to` below `upper`, which must be filled. */
static odb_status pick_add_lower(struct pick *p, struct pick_span s)
{
    if (s.lo == s.hi)
        return ODB_OK;
    p->lower = mem_array(s.hi - s.lo, sizeof *p->lower);
    if (!p->lower)
        return err_set(ODB_NOMEM, "out of memory picking a merge");
    for (uint32_t i = s.lo; i < s.hi; i++)
        p->lower[p->lower_count++] = i;
    return ODB_OK;
}

static odb_status pick_add_upper(struct pick *p, struct pick_span s)
{
    p->upper = mem_array(s.hi - s.lo, sizeof *p->upper);
    if (!p->upper)
        return err_set(ODB_NOMEM, "out of memory picking a merge");
    for (uint32_t i = s.lo; i < s.hi; i++)
        p->upper[p->upper_count++] = i;
    return ODB_OK;
}

/* May `f` move to level `to` as it is, nothing overlapping there? Not when its later
 * merge would drag in too much: then a merge now cuts it into pieces. */
static bool pick_may_move(const struct pick_view *v, uint32_t to, const struct pick_file *f)
{
    const struct pick_level *l;

    if (to >= PICK_DEEPEST)
        return true;
    l = &v->level[to + 1];
    return pick_span_bytes(l, pick_find_span(l, f->smallest, f->largest)) <=
           PICK_GRANDPARENT * v->file_target;
}

/* Tables [up.lo, up.hi) of level `from` (1 or deeper) one level down, with `down` of the level below;
 * in place when from == to. */
static odb_status pick_build(const struct pick_view *v, enum pick_reason reason, uint32_t from,
                             uint32_t to, struct pick_span up, struct pick_span down,
                             struct pick *out)
{
    const struct pick_file *files = v->level[from].files;
    struct pick p = {.reason = reason, .from = from, .to = to};
    odb_status st = pick_add_upper(&p, up);

    if (st == ODB_OK && from != to)
        st = pick_add_lower(&p, down);
    if (st != ODB_OK) {
        pick_release(&p);
        return st;
    }
    p.is_trivial = from != to && p.lower_count == 0;
    for (uint32_t i = up.lo; p.is_trivial && i < up.hi; i++)
        p.is_trivial = pick_may_move(v, to, &files[i]);
    *out = p;
    return ODB_OK;
}

/* ---- level 0 ---- */

/* Mark in `taken` all that overlaps what is already taken, directly or by way of others; widens the
 * range to the union. */
static void pick_close_l0(const struct pick_level *l, bool *taken, odb_slice *smallest,
                          odb_slice *largest)
{
    bool found;

    do {
        found = false;
        for (uint32_t i = 0; i < l->count; i++) {
            const struct pick_file *f = &l->files[i];

            if (taken[i] || !pick_overlaps(f, *smallest, *largest))
                continue;
            taken[i] = found = true;
            if (odb_slice_compare(f->smallest, *smallest) < 0)
                *smallest = f->smallest;
            if (odb_slice_compare(f->largest, *largest) > 0)
                *largest = f->largest;
        }
    } while (found);
}

/* Level 0 into base: all that hangs together with the table at position `seed`. Leaves `out` alone
 * and sets *is_blocked when the way is not free. */
static odb_status pick_l0(const struct pick_view *v, enum pick_reason reason, uint32_t seed,
                          bool *is_blocked, struct pick *out)
{
    const struct pick_level *l = &v->level[0], *base = &v->level[v->base];
    odb_slice smallest = l->files[seed].smallest, largest = l->files[seed].largest;
    struct pick p = {.reason = reason, .from = 0, .to = v->base};
    struct pick_span down;
    bool *taken = NULL;
    odb_status st = ODB_OK;

    assert(pick_gap_is_empty(v));
    *is_blocked = pick_span_is_busy(l, (struct pick_span){0, l->count});
    if (*is_blocked)
        return ODB_OK;
    taken = mem_zalloc(l->count, sizeof *taken);
    p.upper = mem_array(l->count, sizeof *p.upper);
    if (!taken || !p.upper) {
        st = err_set(ODB_NOMEM, "out of memory picking a merge");
        goto done;
    }
    taken[seed] = true;
    pick_close_l0(l, taken, &smallest, &largest);
    down = pick_find_span(base, smallest, largest);
    *is_blocked = pick_span_is_busy(base, down);
    if (*is_blocked)
        goto done;
    for (uint32_t i = 0; i < l->count; i++)
        if (taken[i])
            p.upper[p.upper_count++] = i;
    st = pick_add_lower(&p, down);
    if (st != ODB_OK)
        goto done;
    p.is_trivial =
        p.upper_count == 1 && p.lower_count == 0 && pick_may_move(v, p.to, &l->files[p.upper[0]]);
    *out = p;
    p = (struct pick){0};
done:
    mem_free(taken);
    pick_release(&p);
    return st;
}

/* ---- deeper levels ---- */

/* Widen `up` by neighbours that lie over tables of `down` only. They would have rewritten the same
 * tables; now they go for free. */
static struct pick_span pick_widen(const struct pick_view *v, uint32_t level, struct pick_span up,
                                   struct pick_span down)
{
    const struct pick_level *l = &v->level[level], *next = &v->level[level + 1];
    uint64_t room = PICK_EXPAND * v->file_target, bytes = pick_span_bytes(l, up);

    if (down.lo == down.hi)
        return up;
    while (up.lo > 0) {
        const struct pick_file *f = &l->files[up.lo - 1];
        struct pick_span s = pick_find_span(next, f->smallest, f->largest);

        if (f->is_busy || s.lo == s.hi || s.lo < down.lo || bytes + f->size > room)
            break;
        bytes += f->size;
        up.lo--;
    }
    while (up.hi < l->count) {
        const struct pick_file *f = &l->files[up.hi];
        struct pick_span s = pick_find_span(next, f->smallest, f->largest);

        if (f->is_busy || s.lo == s.hi || s.hi > down.hi || bytes + f->size > room)
            break;
        bytes += f->size;
        up.hi++;
    }
    return up;
}

/* What merging a table down costs for each byte it takes off its level. Tombstones count twice: they
 * also remove what they hide. */
static double pick_cost(const struct pick_file *f, uint64_t overlap)
{
    double own = (double)f->size + 1;

    if (f->entries)
        own += own * (double)f->deletes / (double)f->entries;
    return (double)overlap / own;
}

/* The table of `level` that is cheapest to merge down. PICK_NONE when all are blocked. */
static odb_status pick_cheapest(const struct pick_view *v, uint32_t level, struct pick *out)
{
    const struct pick_level *l = &v->level[level], *next = &v->level[level + 1];
    struct pick_span up = {0, 0}, down = {0, 0}, s = {0, 0};
    uint64_t overlap = 0; /* bytes of s */
    uint32_t busy = 0;    /* busy tables of s */
    double least = 0;

    for (uint32_t i = 0; i < l->count; i++) { /* s slides along with i: one pass over both levels */
        const struct pick_file *f = &l->files[i];
        double cost;

        for (; s.lo < s.hi && odb_slice_compare(next->files[s.lo].largest, f->smallest) < 0;
             s.lo++) {
            overlap -= next->files[s.lo].size;
            busy -= next->files[s.lo].is_busy;
        }
        for (; s.hi < next->count && odb_slice_compare(next->files[s.hi].smallest, f->largest) <= 0;
             s.hi++) {
            if (odb_slice_compare(next->files[s.hi].largest, f->smallest) < 0) {
                s.lo = s.hi + 1; /* between two tables of this level: under neither */
                continue;
            }
            overlap += next->files[s.hi].size;
            busy += next->files[s.hi].is_busy;
        }
        if (f->is_busy || busy)
            continue;
        cost = pick_cost(f, overlap);
        if (up.hi == 0 || cost < least) {
            least = cost;
            up = (struct pick_span){i, i + 1};
            down = s;
        }
    }
    if (up.hi == 0)
        return ODB_OK;
    return pick_build(v, PICK_SIZE, level, level + 1, pick_widen(v, level, up, down), down, out);
}

/* ---- tables that should go although no level is too large ---- */

/* Is there nothing under table `f` of `level`, all the way down? */
static bool pick_is_lowest(const struct pick_view *v, uint32_t level, const struct pick_file *f)
{
    for (uint32_t n = level + 1; n < PICK_LEVELS; n++) {
        struct pick_span s = pick_find_span(&v->level[n], f->smallest, f->largest);

        if (s.lo != s.hi)
            return false;
    }
    return true;
}

/* One table, by name: down one level, or rewritten where it is when it lies lowest. */
static odb_status pick_one(const struct pick_view *v, enum pick_reason reason, uint32_t level,
                           uint32_t at, bool in_place, struct pick *out)
{
    const struct pick_file *f = &v->level[level].files[at];
    struct pick_span up = {at, at + 1}, down = {0, 0};

    if (!in_place) {
        down = pick_find_span(&v->level[level + 1], f->smallest, f->largest);
        if (pick_span_is_busy(&v->level[level + 1], down))
            return ODB_OK;
        up = pick_widen(v, level, up, down);
    }
    return pick_build(v, reason, level, in_place ? level : level + 1, up, down, out);
}

/* Worth a merge for its tombstones alone? Where nothing lies below they are shed in place, but only
 * once no reader needs them: else the rewrite would change nothing and be picked for ever. */
static bool pick_wants_shedding(const struct pick_view *v, uint32_t level,
                                const struct pick_file *f, bool *in_place)
{
    if (f->deletes <= f->entries / 2)
        return false;
    *in_place = pick_is_lowest(v, level, f);
    return !*in_place || f->max_seq <= v->oldest_seq;
}

static odb_status pick_special(const struct pick_view *v, enum pick_reason reason, struct pick *out)
{
    const struct pick_level *l0 = &v->level[0];

    for (uint32_t i = 0; reason == PICK_MARKED && i < l0->count; i++) {
        bool is_blocked;
        odb_status st;

        if (!l0->files[i].is_marked)
            continue;
        st = pick_l0(v, reason, l0->count - 1, &is_blocked, out); /* its turn comes: oldest first */
        if (st != ODB_OK || out->reason != PICK_NONE)
            return st;
        break;
    }
    for (uint32_t n = 1; n < PICK_LEVELS; n++) {
        for (uint32_t i = 0; i < v->level[n].count; i++) {
            const struct pick_file *f = &v->level[n].files[i];
            bool in_place = n == PICK_DEEPEST;
            odb_status st;

            if (f->is_busy)
                continue;
            if (reason == PICK_MARKED ? !f->is_marked : !pick_wants_shedding(v, n, f, &in_place))
                continue;
            st = pick_one(v, reason, n, i, in_place, out);
            if (st != ODB_OK || out->reason != PICK_NONE)
                return st;
        }
    }
    return ODB_OK;
}

/* ---- the picks ---- */

/* The merge of one level whose score asks for it. */
static odb_status pick_level_down(const struct pick_view *v, uint32_t level, bool *l0_waits,
                                  struct pick *out)
{
    if (level == 0) {
        const struct pick_level *l0 = &v->level[0];
        odb_status st = pick_l0(v, PICK_L0, l0->count - 1, l0_waits, out);

        if (pick_span_is_busy(l0, (struct pick_span){0, l0->count}))
            *l0_waits = false; /* for its own merge, not for the base */
        return st;
    }
    if (level == v->base && *l0_waits)
        return ODB_OK; /* busy tables of the base are what it waits for: let them become fewer */
    return pick_cheapest(v, level, out);
}

odb_status pick_next(const struct pick_view *v, struct pick *out)
{
    struct pick p = {0};
    double score[PICK_LEVELS];
    bool l0_waits = false;
    odb_status st = ODB_OK;

    assert(pick_is_sorted(v));
    for (uint32_t i = 0; i < PICK_LEVELS; i++)
        score[i] = pick_score(v, i);
    while (st == ODB_OK && p.reason == PICK_NONE) { /* the most urgent level that is not blocked */
        uint32_t best = 0;

        for (uint32_t i = 1; i < PICK_LEVELS; i++)
            if (score[i] > score[best])
                best = i;
        if (best ? score[best] <= 1 : score[0] < 1)
            break;
        st = pick_level_down(v, best, &l0_waits, &p);
        if (p.reason != PICK_NONE)
            p.score = score[best];
        score[best] = 0;
    }
    if (st == ODB_OK && p.reason == PICK_NONE)
        st = pick_special(v, PICK_MARKED, &p);
    if (st == ODB_OK && p.reason == PICK_NONE)
        st = pick_special(v, PICK_DELETES, &p);
    if (st == ODB_OK)
        *out = p;
    return st;
}

/* From table up.lo of `level` on: the tables up to `last` that hang together, by way of those below
 * (in `down`), without a gap; or several that can just move, each for itself. */
static void pick_extend(const struct pick_view *v, uint32_t level, uint32_t last,
                        struct pick_span *up, struct pick_span *down)
{
    const struct pick_level *l = &v->level[level], *next = &v->level[level + 1];
    const struct pick_file *f = &l->files[up->lo];
    bool moves;

    *down = pick_find_span(next, f->smallest, f->largest);
    moves = down->lo == down->hi && pick_may_move(v, level + 1, f);
    for (up->hi = up->lo + 1; up->hi < last; up->hi++) {
        struct pick_span s;

        f = &l->files[up->hi];
        s = pick_find_span(next, f->smallest, f->largest);
        if (moves ? s.lo != s.hi || f->is_busy || !pick_may_move(v, level + 1, f)
                  : s.lo == s.hi || s.lo >= down->hi)
            return;
        if (!moves)
            down->hi = s.hi;
    }
}

odb_status pick_range(const struct pick_view *v, uint32_t level, odb_slice begin, odb_slice end,
                      bool *is_blocked, struct pick *out)
{
    const struct pick_level *l = &v->level[level];
    struct pick_span all, up, down;

    assert(level < PICK_LEVELS && pick_is_sorted(v));
    *is_blocked = false;
    *out = (struct pick){0};
    if (level == 0) {
        for (uint32_t i = l->count; i-- > 0;) /* the oldest: all that overlap it come along */
            if (pick_overlaps(&l->files[i], begin, end))
                return pick_l0(v, PICK_MANUAL, i, is_blocked, out);
        return ODB_OK;
    }
    if (level == PICK_DEEPEST)
        return ODB_OK;
    all = pick_find_span(l, begin, end);
    for (up.lo = all.lo; up.lo < all.hi; up.lo = up.hi) {
        pick_extend(v, level, all.hi, &up, &down);
        if (!pick_span_is_busy(l, up) && !pick_span_is_busy(&v->level[level + 1], down)) {
            *is_blocked = false;
            return pick_build(v, PICK_MANUAL, level, level + 1, up, down, out);
        }
        *is_blocked = true;
    }
    return ODB_OK;
}
