/* lsm/iter.c -- a walk over what one moment sees: versions merged, shadowed and deleted ones hidden.
 *
 *   merge, forward:    a@9  a@4  b@7x b@2  c@8  c@3        reader at 7:   a@4   c@3
 *                      too  yes  gone      too  yes         (x: a delete; @: sequence number)
 *                      new                 new
 *
 * Forward the merge stands on the entry that is shown. Backward versions of a key come oldest first, so
 * the newest visible one is in general known only when the key has been left behind; key and value are
 * then shown from copies.
 *
 * Plain runs (base/cursor.h, 4). Mostly a stretch of the merge is part of a run that holds puts only, of
 * different keys, all visible. Then it is shown in place, either way, and a step is an index into the
 * run (struct lsm_iter_face):
 *
 *     run of the winner    [ . . d  e  f  g  h . . ]     forward: e f g h follow d without a look
 *     sure to come next          ^shown     ^            backward: g f e, but not d: whatever comes
 *                                                        before d may hold a newer version of it
 *
 * 1. FORWARD and valid: the merge stood on the shown entry, or on one before it in the same run, when
 *    it moved last; so its position is set right before it is used again (catch_up).
 * 2. BACKWARD and in place: likewise. BACKWARD and not in place: `key` and `value` hold the shown entry,
 *    the merge stands on the newest entry of some smaller key, or nowhere.
 * 3. Bounds: no key below `lower` or at or above `upper` is ever shown, whichever way the walk goes.
 * 4. An error of any source stops the walk and sticks until the next positioning call (C24).
 *
 * The dead. Entries that do not show are passed one by one, but counted: a long stretch of them is told
 * to lsm/gaps.c, and walks ask there now and then whether they stand in such a stretch, to leap over it.
 * What was not seen must not be claimed: the versions of a key the walk began at, or has just shown, and
 * stretches with a put that is merely too new.
 *
 * An iterator is one piece of memory: itself, the merge's arrays, the cursors. It holds its view, and
 * with it memtables and tables, so it needs no epoch. The piece of one that is freed is kept for the
 * next: making and freeing one takes no lock and mostly no call to the heap.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/merge.h"
#include "lsm/tree_priv.h"

enum walk { WALK_NOWHERE, WALK_FORWARD, WALK_BACKWARD };

struct lsm_iter {
    struct lsm_iter_face face; /* first; `shown` is in the merge's run, or is `copied` */
    struct merge merge;
    struct lsm_tree *tree;
    struct lsm_view *view; /* a reference */
    size_t size;           /* of the piece of memory */
    uint64_t seq;
    enum walk walk; /* WALK_NOWHERE: not valid */
    bool in_place;  /* walking: shown from the run */
    bool has_lower;
    bool has_upper;
    odb_status status;
    odb_slice hidden;               /* forward: versions of this key are passed over */
    const struct cursor *hidden_in; /* whose run `hidden` lies in; NULL: in `key` */
    struct buf lower;
    struct buf upper;
    struct buf key; /* see invariant 2 */
    struct buf value;
    struct entry copied; /* over key and value */

    uint64_t counted;     /* entries of the memtables when it was made */
    uint32_t dead;        /* entries passed in this stretch */
    uint32_t dead_ask;    /* at so many, lsm/gaps.c is asked */
    bool dead_has_begun;  /* dead_end is set */
    bool dead_is_certain; /* all of the stretch will be dead for later readers too */
    bool hidden_is_live;  /* the hidden key was shown */
    odb_slice sought;     /* newer versions of this key may have been left out */
    struct buf
        dead_end; /* where the stretch began: its first key; backward the first key behind it */
    struct buf leap;
};

#ifdef ODB_SCHED
#define DEAD_FEW   1u /* the test scheduler's scenes are short */
#define DEAD_ASK   4u
#define DEAD_LEARN 2u
#else
#define DEAD_FEW   4u  /* entries passed before the first question to lsm/gaps.c */
#define DEAD_ASK   64u /* and between further ones */
#define DEAD_LEARN 32u /* a stretch worth remembering */
#endif

/* ---- building ---- */

static bool file_in_range(const struct lsm_file *f, const struct lsm_range *r)
{
    return (!r->upper.data || odb_slice_compare(file_smallest(f), r->upper) < 0) &&
           (!r->lower.data || odb_slice_compare(file_largest(f), r->lower) >= 0);
}

/* Which files of a level the range touches. */
static ODB_COLD uint32_t files_in_range(const struct lsm_level *l, const struct lsm_range *r,
                                        uint32_t *first)
{
    uint32_t end = l->count;

    *first = 0;
    if (r->lower.data)
        *first = level_search(l, r->lower);
    if (r->upper.data) {
        end = level_search(l, r->upper);
        end += end < l->count && odb_slice_compare(file_smallest(l->files[end]), r->upper) < 0;
    }
    return end > *first ? end - *first : 0;
}

static inline size_t iter_rounded(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* Memory for an iterator over so many sources: one freed before, or new. NULL: none. */
static struct lsm_iter *iter_take(struct lsm_tree *t, size_t size)
{
    struct lsm_iter *it = atomic_exchange_explicit(&t->idle_iter[thread_stripe() % LSM_IDLE_ITERS],
                                                   NULL, memory_order_acquire);

    if (it && it->size < size) {
        mem_free(it);
        it = NULL;
    }
    if (!it) {
        it = mem_alloc(size);
        if (it)
            it->size = size;
    }
    if (it) {
        size = it->size;
        memset((void *)it, 0, sizeof *it);
        it->size = size;
    }
    return it;
}

static void iter_give_back(struct lsm_tree *t, struct lsm_iter *it)
{
    struct lsm_iter *none = NULL;

    if (it->size > LSM_IDLE_ITER_MAX || !atomic_compare_exchange_strong_explicit(
                                            &t->idle_iter[thread_stripe() % LSM_IDLE_ITERS], &none,
                                            it, memory_order_release, memory_order_relaxed))
        mem_free(it);
}

/* The memtables that hold anything, the tables of level 0 in range, one source for each deeper level
 * that has files in range. */
struct iter_plan {
    uint64_t
        empty; /* bit i: memtable i held nothing; of the first 64, the others are taken as they are */
    uint32_t mem_count;
    uint32_t table_count;
    uint32_t level_count;
    uint32_t first[LSM_LEVELS]; /* per deeper level */
    uint32_t files[LSM_LEVELS];
};

static ODB_COLD uint32_t iter_plan_sources(const struct lsm_view *v, const struct lsm_range *r,
                                           struct iter_plan *p)
{
    const struct lsm_level *l = v->version->level;

    *p = (struct iter_plan){0};
    for (uint32_t i = 0; i < v->mem_count; i++)
        if (i < 64 && memtable_count(v->mem[i].mem) == 0)
            p->empty |= UINT64_C(1) << i;
        else
            p->mem_count++;
    for (uint32_t i = 0; i < l[0].count; i++)
        p->table_count += file_in_range(l[0].files[i], r);
    for (uint32_t i = 1; i < LSM_LEVELS; i++)
        if (l[i].count) {
            p->files[i] = files_in_range(&l[i], r, &p->first[i]);
            p->level_count += p->files[i] != 0;
        }
    return p->mem_count + p->table_count + p->level_count;
}

/* Make the cursors, one behind the other from `at` on; *count tells how many there are. What came into
 * an empty memtable since the plan was made is newer than the iterator's moment: it is left out. Which
 * ones were empty is looked up once: asking again, one that has filled since would take the place of
 * an older one. */
static ODB_COLD odb_status iter_open_sources(struct lsm_iter *it, const struct lsm_range *r,
                                             const struct iter_plan *p, uint8_t *at,
                                             struct cursor **cursor, uint32_t *count)
{
    const struct lsm_view *v = it->view;
    const struct lsm_level *l = v->version->level;
    struct sst_store *store = it->tree->env->tables;
    unsigned flags = (r->keys_only ? SST_KEYS_ONLY : 0) | (r->is_long ? SST_SCAN : 0);

    for (uint32_t i = 0; i < v->mem_count; i++) {
        if (i < 64 && p->empty >> i & 1)
            continue;
        cursor[(*count)++] = memtable_cursor_init(at, v->mem[i].mem);
        at += iter_rounded(memtable_cursor_size());
    }
    for (uint32_t i = 0; i < l[0].count; i++) {
        odb_status st;

        if (!file_in_range(l[0].files[i], r))
            continue;
        st = sst_cursor_init(at, store, &l[0].files[i]->ref, flags, &cursor[*count]);
        if (st != ODB_OK)
            return st;
        ++*count;
        at += iter_rounded(sst_cursor_size());
    }
    for (uint32_t i = 1; i < LSM_LEVELS; i++)
        if (p->files[i]) {
            cursor[(*count)++] =
                level_cursor_init(at, store, &l[i], p->first[i], p->files[i], flags);
            at += iter_rounded(level_cursor_size());
        }
    return ODB_OK;
}

static ODB_COLD void iter_release(struct lsm_iter *it)
{
    struct lsm_tree *t = it->tree;

    merge_release(&it->merge);
    buf_release(&it->lower);
    buf_release(&it->upper);
    buf_release(&it->key);
    buf_release(&it->value);
    buf_release(&it->dead_end);
    buf_release(&it->leap);
    view_unref(it->view);
    iter_give_back(t, it);
}

odb_status lsm_iter_new(struct lsm_tree *t, const struct lsm_view *view, uint64_t seq,
                        const struct lsm_range *range, struct lsm_iter **out)
{
    static const struct lsm_range everything = {{NULL, 0}, {NULL, 0}, false, false};
    const struct lsm_range *r = range ? range : &everything;
    struct lsm_view *v = (struct lsm_view *)(uintptr_t)view; /* counting is not changing it */
    struct merge_source *source;
    struct cursor **cursor;
    struct iter_plan plan;
    struct lsm_iter *it;
    uint32_t room, count = 0, *lost;
    uint64_t counted;
    size_t arrays, size;
    odb_status st;

    if (!view_try_ref(v))
        return ODB_AGAIN;
    counted = gaps_count_entries(v); /* before the walk can leave anything out */
    room = iter_plan_sources(v, r, &plan);
    arrays = iter_rounded(room * (sizeof *source + sizeof *cursor + sizeof *lost));
    size = iter_rounded(sizeof *it) + arrays +
           plan.mem_count * iter_rounded(memtable_cursor_size()) +
           plan.table_count * iter_rounded(sst_cursor_size()) +
           plan.level_count * iter_rounded(level_cursor_size());
    it = iter_take(t, size);
    if (!it) {
        view_unref(v);
        return err_set(ODB_NOMEM, "no memory for an iterator");
    }
    it->tree = t;
    it->view = v;
    it->seq = seq;
    it->counted = counted;
    it->has_lower = r->lower.data != NULL;
    it->has_upper = r->upper.data != NULL;
    source = (struct merge_source *)(void *)((uint8_t *)it + iter_rounded(sizeof *it));
    cursor = (struct cursor **)(void *)(source + room);
    lost = (uint32_t *)(void *)(cursor + room);
    st = it->has_lower ? buf_assign(&it->lower, r->lower.data, r->lower.size) : ODB_OK;
    if (st == ODB_OK && it->has_upper)
        st = buf_assign(&it->upper, r->upper.data, r->upper.size);
    if (st == ODB_OK)
        st = iter_open_sources(it, r, &plan, (uint8_t *)source + arrays, cursor, &count);
    merge_init_in(&it->merge, source, lost, cursor, count, 0);
    if (st != ODB_OK) {
        iter_release(it);
        return st;
    }
    *out = it;
    return ODB_OK;
}

void lsm_iter_free(struct lsm_iter *it)
{
    if (it)
        iter_release(it);
}

ODB_COLD bool lsm_iter_is_at(const struct lsm_iter *it, const struct lsm_view *view, uint64_t seq)
{
    return it->view == view && it->seq == seq;
}

ODB_COLD void tree_free_idle_iters(struct lsm_tree *t)
{
    for (unsigned i = 0; i < LSM_IDLE_ITERS; i++)
        mem_free(atomic_exchange_explicit(&t->idle_iter[i], NULL, memory_order_acquire));
}

/* ---- looking ---- */

bool lsm_iter_valid(const struct lsm_iter *it)
{
    return it->walk != WALK_NOWHERE;
}

odb_status lsm_iter_status(const struct lsm_iter *it)
{
    return it->status;
}

static ODB_COLD bool stand_nowhere(struct lsm_iter *it, odb_status st)
{
    it->walk = WALK_NOWHERE;
    it->status = st;
    it->face = (struct lsm_iter_face){0};
    return false;
}

static inline bool keys_equal(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool at_or_past_upper(const struct lsm_iter *it, const struct entry *e)
{
    return it->has_upper && key_compare(e->key, e->key_len, it->upper.p, it->upper.len) >= 0;
}

static bool below_lower(const struct lsm_iter *it, const struct entry *e)
{
    return it->has_lower && key_compare(e->key, e->key_len, it->lower.p, it->lower.len) < 0;
}

static bool keep_key(struct lsm_iter *it, const void *key, size_t len)
{
    it->key.len = 0;
    /* An empty key, too, has its place: without one it would pass for none. */
    if (ODB_UNLIKELY(buf_reserve(&it->key, len + 1) != ODB_OK ||
                     buf_append(&it->key, key, len) != ODB_OK))
        return stand_nowhere(it, ODB_NOMEM);
    return true;
}

/* Tell the merge how far its run has been shown meanwhile. */
static void catch_up(struct lsm_iter *it)
{
    struct cursor *c = it->merge.current;

    if (it->in_place)
        c->at = (uint32_t)(it->face.shown - c->run);
}

/* Whether the run the merge stands in may be shown unlooked at. */
static bool run_is_plain(const struct lsm_iter *it)
{
    const struct cursor *c = it->merge.current;

    return c->is_plain && trailer_seq(c->newest) <= it->seq;
}

/* ---- the dead ---- */

static void dead_start(struct lsm_iter *it)
{
    it->dead = 0;
    it->dead_ask = DEAD_FEW;
    it->dead_has_begun = false;
    it->dead_is_certain = true;
}

/* The stretch begins at `key` (forward), or ends just behind it (`behind`, going backward). Where there is
 * no memory for that, nothing is learned. */
static void dead_begin(struct lsm_iter *it, odb_slice key, bool behind)
{
    if (buf_assign(&it->dead_end, key.data, key.size) != ODB_OK ||
        (behind && buf_append(&it->dead_end, "", 1) != ODB_OK))
        it->dead_is_certain = false;
    it->dead_has_begun = true;
}

/* The stretch is over, at `key`: forward that is not part of it, backward too. */
static ODB_COLD void dead_learn(struct lsm_iter *it, odb_slice key, bool is_backward)
{
    if (!is_backward) {
        gaps_learn(it->tree, it->view, it->seq, it->counted, buf_slice(&it->dead_end), key);
    } else if (buf_assign(&it->leap, key.data, key.size) == ODB_OK &&
               buf_append(&it->leap, "", 1) == ODB_OK) {
        gaps_learn(it->tree, it->view, it->seq, it->counted, buf_slice(&it->leap),
                   buf_slice(&it->dead_end));
    }
}

static inline void dead_finish(struct lsm_iter *it, odb_slice key, bool is_backward)
{
    if (ODB_UNLIKELY(it->dead >= DEAD_LEARN && it->dead_is_certain))
        dead_learn(it, key, is_backward);
}

/* Whether the walk stands, with `key`, in a stretch known to be dead; then it->leap is its end. */
static bool dead_is_known(struct lsm_iter *it, odb_slice key, bool is_backward)
{
    if (ODB_LIKELY(it->dead < it->dead_ask))
        return false;
    it->dead_ask = it->dead + DEAD_ASK;
    if (!gaps_leap(it->tree, key, it->seq, is_backward, &it->leap))
        return false;
    if (it->dead >= DEAD_LEARN) { /* what was walked joins it */
        struct buf leap = it->leap;

        it->leap = (struct buf){0};
        dead_finish(it, key, is_backward);
        buf_release(&it->leap);
        it->leap = leap;
    }
    dead_start(it);
    dead_begin(it, buf_slice(&it->leap), false);
    return true;
}

/* ---- forward ---- */

/* Of `n` entries behind the shown one, those below the upper bound. */
static ODB_COLD uint32_t trim_ahead(const struct lsm_iter *it, const struct entry *shown,
                                    uint32_t n)
{
    uint32_t lo = 0;

    if (n == 0 || !at_or_past_upper(it, shown + n))
        return n;
    while (lo < n) { /* the first that is too far is among 1..n */
        uint32_t mid = lo + (n - lo) / 2;

        if (at_or_past_upper(it, shown + mid + 1))
            n = mid;
        else
            lo = mid + 1;
    }
    return n;
}

static bool show_forward(struct lsm_iter *it, const struct entry *e)
{
    uint32_t count;

    it->walk = WALK_FORWARD;
    it->in_place = true;
    it->face = (struct lsm_iter_face){e, 0, 0};
    if (run_is_plain(it)) {
        (void)merge_stretch(&it->merge, &count);
        it->face.ahead = trim_ahead(it, e, count - 1);
    }
    return true;
}

/* No key is hidden. Both fields go together: a run that is taken for that of the hidden key would, at its end,
 * have the key copied, and the copy of none is the empty key. */
static inline void hide_nothing(struct lsm_iter *it)
{
    it->hidden = odb_bytes(NULL, 0);
    it->hidden_in = NULL;
}

/* Pass over the versions of `e`'s key, `e` being the merge's entry. */
static void hide_key_of(struct lsm_iter *it, const struct entry *e)
{
    it->hidden = odb_bytes(e->key, e->key_len);
    it->hidden_in = it->merge.current;
    it->hidden_is_live = false;
}

/* Move the merge on. The hidden key stays where it lies as long as its run does; else it is copied. */
static bool advance(struct lsm_iter *it)
{
    struct cursor *c = it->merge.current;

    if (it->hidden_in == c && c->at + 1 >= c->count) {
        if (!keep_key(it, it->hidden.data, it->hidden.size))
            return false;
        it->hidden = buf_slice(&it->key);
        it->hidden_in = NULL;
    }
    (void)merge_next(&it->merge);
    return true;
}

static bool is_hidden(const struct lsm_iter *it, const struct entry *e)
{
    return it->hidden.data && keys_equal(e->key, e->key_len, it->hidden.data, it->hidden.size);
}

/* Entry `e` does not show. Count it, unless it may belong to a key that lives. */
static void pass_dead(struct lsm_iter *it, const struct entry *e)
{
    if (it->hidden_is_live && is_hidden(it, e))
        return;
    if (!it->dead_has_begun) {
        if (it->sought.data && keys_equal(e->key, e->key_len, it->sought.data, it->sought.size))
            return;
        dead_begin(it, odb_bytes(e->key, e->key_len), false);
    }
    it->dead++;
    it->dead_is_certain &=
        trailer_seq(e->trailer) <= it->seq || trailer_kind(e->trailer) == KIND_DELETE;
}

/* On to the end of a dead stretch. False: out of bounds. */
static ODB_COLD bool leap_forward(struct lsm_iter *it)
{
    if (it->has_upper && odb_slice_compare(buf_slice(&it->leap), buf_slice(&it->upper)) >= 0)
        return stand_nowhere(it, ODB_OK);
    hide_nothing(it);
    it->sought = odb_bytes(NULL, 0);
    (void)merge_seek(&it->merge, buf_slice(&it->leap), UINT64_MAX);
    return true;
}

/* From the merge's present entry on, show the first visible live key. Versions of the hidden key, if
 * there is one, are passed over. */
static bool settle_forward(struct lsm_iter *it)
{
    struct merge *m = &it->merge;

    dead_start(it);
    while (m->is_valid) {
        const struct entry *e = merge_entry(m);
        odb_slice key = odb_bytes(e->key, e->key_len);

        if (at_or_past_upper(it, e)) { /* visible or not: nothing behind it is in bounds */
            dead_finish(it, buf_slice(&it->upper), false);
            return stand_nowhere(it, ODB_OK);
        }
        if (trailer_seq(e->trailer) <= it->seq && !is_hidden(it, e)) {
            if (trailer_kind(e->trailer) == KIND_PUT) {
                dead_finish(it, key, false);
                return show_forward(it, e);
            }
            hide_key_of(it, e); /* a delete: nothing of this key shows */
        }
        pass_dead(it, e);
        if (ODB_UNLIKELY(dead_is_known(it, key, false))) {
            if (!leap_forward(it))
                return false;
        } else if (!advance(it)) {
            return false;
        }
    }
    if (m->status == ODB_OK && it->dead >= DEAD_LEARN && it->hidden.data &&
        buf_assign(&it->leap, it->hidden.data, it->hidden.size) == ODB_OK &&
        buf_append(&it->leap, "", 1) == ODB_OK)
        dead_finish(it, buf_slice(&it->leap), false); /* just behind the last of them */
    return stand_nowhere(it, m->status);
}

static bool go_forward_from(struct lsm_iter *it, odb_slice key, uint64_t trailer)
{
    it->status = ODB_OK;
    hide_nothing(it);
    it->sought =
        trailer == UINT64_MAX ? odb_bytes(NULL, 0) : odb_bytes(key.size ? key.data : "", key.size);
    (void)merge_seek(&it->merge, key, trailer);
    return settle_forward(it);
}

ODB_COLD bool lsm_iter_first(struct lsm_iter *it)
{
    if (it->has_lower)
        return go_forward_from(it, buf_slice(&it->lower), UINT64_MAX);
    it->status = ODB_OK;
    hide_nothing(it);
    it->sought = odb_bytes(NULL, 0);
    (void)merge_first(&it->merge);
    return settle_forward(it);
}

bool lsm_iter_seek(struct lsm_iter *it, odb_slice key)
{
    if (it->has_lower && odb_slice_compare(key, buf_slice(&it->lower)) < 0)
        key = buf_slice(&it->lower);
    return go_forward_from(it, key, trailer_at(it->seq));
}

/* ---- backward ---- */

/* Of `n` entries before the shown one, those at or above the lower bound. */
static ODB_COLD uint32_t trim_behind(const struct lsm_iter *it, const struct entry *shown,
                                     uint32_t n)
{
    uint32_t lo = 0;

    if (n == 0 || !below_lower(it, shown - n))
        return n;
    while (lo < n) {
        uint32_t mid = lo + (n - lo) / 2;

        if (below_lower(it, shown - mid - 1))
            n = mid;
        else
            lo = mid + 1;
    }
    return n;
}

/* Show the merge's entry where it lies, if it is sure to be the newest version of its key: in a plain
 * run, when the entry before it, of another key, is also sure to come before all other sources'. */
static bool show_backward_in_place(struct lsm_iter *it)
{
    const struct cursor *c = it->merge.current;
    const struct entry *e = cursor_entry(c);

    if (c->at <= it->merge.sure || !run_is_plain(it))
        return false;
    it->walk = WALK_BACKWARD;
    it->in_place = true;
    it->face = (struct lsm_iter_face){e, 0, trim_behind(it, e, c->at - it->merge.sure - 1)};
    return true;
}

static bool keep_value(struct lsm_iter *it, const struct entry *e)
{
    it->value.len = 0;
    if (ODB_UNLIKELY(buf_append(&it->value, e->value, e->value_len) != ODB_OK))
        return stand_nowhere(it, ODB_NOMEM);
    return true;
}

/* The merge stands on the oldest version of a key: walk its versions, keep the newest visible one.
 * *is_live tells whether that is a value. False: stopped by memory. */
static bool collect_versions(struct lsm_iter *it, bool *is_live)
{
    struct merge *m = &it->merge;
    const struct entry *e = merge_entry(m);

    *is_live = false;
    if (!keep_key(it, e->key, e->key_len))
        return false;
    do {
        e = merge_entry(m);
        if (!keys_equal(e->key, e->key_len, it->key.p, it->key.len))
            break;
        if (trailer_seq(e->trailer) <= it->seq) {
            *is_live = trailer_kind(e->trailer) == KIND_PUT;
            if (*is_live && !keep_value(it, e))
                return false;
        } else if (trailer_kind(e->trailer) == KIND_PUT) {
            it->dead_is_certain = false;
        }
        it->dead++;
    } while (merge_prev(m));
    return true;
}

/* On to before a dead stretch. False: out of bounds. */
static ODB_COLD bool leap_backward(struct lsm_iter *it)
{
    if (it->has_lower && odb_slice_compare(buf_slice(&it->leap), buf_slice(&it->lower)) <= 0)
        return stand_nowhere(it, ODB_OK);
    (void)merge_seek_for_prev(&it->merge, buf_slice(&it->leap), UINT64_MAX);
    return true;
}

static bool settle_backward(struct lsm_iter *it)
{
    struct merge *m = &it->merge;

    dead_start(it);
    while (m->is_valid) {
        const struct entry *e = merge_entry(m);
        odb_slice key = odb_bytes(e->key, e->key_len);
        uint32_t dead = it->dead;
        bool is_live;

        if (below_lower(it, e)) {
            dead_finish(it, buf_slice(&it->lower), true); /* what lies lower was not all seen */
            return stand_nowhere(it, ODB_OK);
        }
        if (ODB_UNLIKELY(dead_is_known(it, key, true))) {
            if (!leap_backward(it))
                return false;
            continue;
        }
        if (show_backward_in_place(it)) {
            dead_finish(it, odb_bytes(it->face.shown->key, it->face.shown->key_len), true);
            return true;
        }
        if (!collect_versions(it, &is_live))
            return false;
        if (!m->is_valid && m->status != ODB_OK)
            break; /* versions of this key may be missing */
        if (is_live) {
            it->copied = (struct entry){it->key.p, it->value.p, (uint32_t)it->key.len,
                                        (uint32_t)it->value.len, 0};
            it->face = (struct lsm_iter_face){&it->copied, 0, 0};
            it->walk = WALK_BACKWARD;
            it->in_place = false;
            it->dead = dead; /* this one lives */
            dead_finish(it, buf_slice(&it->key), true);
            return true;
        }
        if (!it->dead_has_begun)
            dead_begin(it, buf_slice(&it->key), true);
    }
    return stand_nowhere(it, m->status);
}

/* Show the last live key whose entries lie at or before (key, trailer). */
static bool go_backward_from(struct lsm_iter *it, odb_slice key, uint64_t trailer)
{
    it->status = ODB_OK;
    (void)merge_seek_for_prev(&it->merge, key, trailer);
    return settle_backward(it);
}

ODB_COLD bool lsm_iter_last(struct lsm_iter *it)
{
    if (it->has_upper) /* UINT64_MAX sorts before every version of the bound itself */
        return go_backward_from(it, buf_slice(&it->upper), UINT64_MAX);
    it->status = ODB_OK;
    (void)merge_last(&it->merge);
    return settle_backward(it);
}

bool lsm_iter_seek_for_prev(struct lsm_iter *it, odb_slice key)
{
    if (it->has_upper && odb_slice_compare(key, buf_slice(&it->upper)) >= 0)
        return lsm_iter_last(it);
    return go_backward_from(it, key, 0);
}

/* ---- steps ---- */

/* A run that is not plain: still, the next entry of the stretch may simply be another key, visible, and
 * a value. */
static inline bool step_in_stretch(struct lsm_iter *it)
{
    uint32_t count;
    const struct entry *e = merge_stretch(&it->merge, &count), *next = e + 1;

    if (count < 2 || trailer_seq(next->trailer) > it->seq ||
        trailer_kind(next->trailer) != KIND_PUT ||
        keys_equal(next->key, next->key_len, e->key, e->key_len) || at_or_past_upper(it, next))
        return false;
    it->merge.current->at++;
    it->face.shown = next;
    return true;
}

/* Walking backward until now: go on behind every version of the shown key. */
static ODB_COLD bool turn_forward(struct lsm_iter *it)
{
    const struct entry *e = it->face.shown;

    if (it->in_place && !keep_key(it, e->key, e->key_len))
        return false;
    it->status = ODB_OK;
    it->hidden = buf_slice(&it->key);
    it->hidden_in = NULL;
    it->hidden_is_live = true;
    it->sought = odb_bytes(NULL, 0);
    (void)merge_seek(&it->merge, it->hidden, 0);
    return settle_forward(it);
}

/* Walking forward until now: go on before every version of the shown key. */
static ODB_COLD bool turn_backward(struct lsm_iter *it)
{
    if (!keep_key(it, it->face.shown->key, it->face.shown->key_len))
        return false;
    return go_backward_from(it, buf_slice(&it->key), UINT64_MAX);
}

bool lsm_iter_next(struct lsm_iter *it)
{
    const struct entry *e = it->face.shown;

    if (ODB_LIKELY(it->walk == WALK_FORWARD)) {
        if (lsm_iter_step(it))
            return true;
        catch_up(it);
        if (step_in_stretch(it))
            return true;
        hide_key_of(it, e);
        it->hidden_is_live = true;
        it->sought = odb_bytes(NULL, 0);
        return advance(it) && settle_forward(it);
    }
    if (it->walk == WALK_NOWHERE)
        return false;
    return turn_forward(it);
}

bool lsm_iter_prev(struct lsm_iter *it)
{
    if (it->walk == WALK_BACKWARD) {
        if (lsm_iter_step_back(it))
            return true;
        if (it->in_place) {
            catch_up(it);
            (void)merge_prev(&it->merge);
        }
        return settle_backward(it);
    }
    if (it->walk == WALK_NOWHERE)
        return false;
    return turn_backward(it);
}
