/* lsm/iter.c -- a walk over what one moment sees: versions merged, shadowed and deleted ones hidden.
 *
 *   merge, forward:    a@9  a@4  b@7x b@2  c@8  c@3        reader at 7:   a@4   c@3
 *                      too  yes  gone      too  yes         (x: a delete; @: sequence number)
 *                      new                 new
 *
 * Forward the merge stands on the entry that is shown. Backward it has already passed it: versions
 * of a key come oldest first that way, so the newest visible one is known only when the key is left
 * behind; key and value are then shown from copies.
 *
 * 1. FORWARD and valid: the merge stands on the shown entry; `key` holds a copy of its user key only
 *    once a step needs it.
 * 2. BACKWARD and valid: `key` and `value` hold the shown entry, the merge stands on the newest entry
 *    of some smaller key, or nowhere.
 * 3. Bounds: no key below `lower` or at or above `upper` is ever shown, whichever way the walk goes.
 * 4. An error of any source stops the walk and sticks until the next positioning call (C24).
 *
 * The cursors keep their memtables and tables, so the iterator needs neither view nor epoch.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/merge.h"
#include "lsm/tree_priv.h"

enum walk { WALK_NOWHERE, WALK_FORWARD, WALK_BACKWARD };

struct lsm_iter {
    struct merge merge;
    uint64_t seq;
    enum walk walk; /* WALK_NOWHERE: not valid */
    odb_status status;
    bool has_lower;
    bool has_upper;
    struct buf lower;
    struct buf upper;
    struct buf key; /* see invariants 1 and 2 */
    struct buf value;
    const struct entry *shown; /* the merge's entry, or `copied` */
    struct entry copied;       /* backward: over key and value */
};

/* ---- building ---- */

struct iter_sources {
    struct cursor **cursor;
    uint32_t count;
};

static bool file_in_range(const struct lsm_file *f, const struct lsm_range *r)
{
    return (!r->upper.data || odb_slice_compare(file_smallest(f), r->upper) < 0) &&
           (!r->lower.data || odb_slice_compare(file_largest(f), r->lower) >= 0);
}

static odb_status add_level(struct lsm_tree *t, const struct lsm_level *l,
                            const struct lsm_range *r, unsigned flags, struct iter_sources *s)
{
    uint32_t first = 0, end = l->count;
    odb_status st;

    while (first < end && !file_in_range(l->files[first], r))
        first++;
    while (end > first && !file_in_range(l->files[end - 1], r))
        end--;
    if (first == end)
        return ODB_OK;
    st = level_cursor_new(t->env->tables, l->files + first, end - first, flags,
                          &s->cursor[s->count]);
    s->count += st == ODB_OK;
    return st;
}

static odb_status gather(struct lsm_tree *t, const struct lsm_view *v, const struct lsm_range *r,
                         struct iter_sources *s)
{
    const struct lsm_version *version = v->version;
    uint32_t room = v->mem_count + version->level[0].count + LSM_LEVELS;
    unsigned flags = (r->keys_only ? SST_KEYS_ONLY : 0) | (r->is_long ? SST_SCAN : 0);
    odb_status st = ODB_OK;

    s->cursor = mem_zalloc(room, sizeof(struct cursor *));
    if (!s->cursor)
        return err_set(ODB_NOMEM, "out of memory for an iterator");
    for (uint32_t i = 0; i < v->mem_count && st == ODB_OK; i++) {
        if (i > 0 && memtable_count(v->mem[i].mem) == 0)
            continue;
        st = memtable_cursor_new(v->mem[i].mem, &s->cursor[s->count]);
        s->count += st == ODB_OK;
    }
    for (uint32_t i = 0; i < version->level[0].count && st == ODB_OK; i++) {
        if (!file_in_range(version->level[0].files[i], r))
            continue;
        st = sst_cursor_new(t->env->tables, &version->level[0].files[i]->ref, flags,
                            &s->cursor[s->count]);
        s->count += st == ODB_OK;
    }
    for (uint32_t i = 1; i < LSM_LEVELS && st == ODB_OK; i++)
        st = add_level(t, &version->level[i], r, flags, s);
    return st;
}

static void iter_release(struct lsm_iter *it)
{
    merge_release(&it->merge);
    buf_release(&it->lower);
    buf_release(&it->upper);
    buf_release(&it->key);
    buf_release(&it->value);
    mem_free(it);
}

odb_status lsm_iter_new(struct lsm_tree *t, const struct lsm_view *v, uint64_t seq,
                        const struct lsm_range *range, struct lsm_iter **out)
{
    static const struct lsm_range everything = {{NULL, 0}, {NULL, 0}, false, false};
    const struct lsm_range *r = range ? range : &everything;
    struct lsm_iter *it = mem_zalloc(1, sizeof *it);
    struct iter_sources s = {0};
    odb_status st;

    if (!it)
        return err_set(ODB_NOMEM, "out of memory for an iterator");
    it->seq = seq;
    it->has_lower = r->lower.data != NULL;
    it->has_upper = r->upper.data != NULL;
    st = buf_assign(&it->lower, r->lower.data, r->lower.size);
    if (st == ODB_OK)
        st = buf_assign(&it->upper, r->upper.data, r->upper.size);
    if (st == ODB_OK)
        st = gather(t, v, r, &s);
    if (st == ODB_OK)
        st = merge_init(&it->merge, s.cursor, s.count, 0);
    if (st != ODB_OK) {
        for (uint32_t i = 0; i < s.count; i++)
            cursor_free(s.cursor[i]);
        mem_free(s.cursor);
        buf_release(&it->lower);
        buf_release(&it->upper);
        mem_free(it);
        return st;
    }
    mem_free(s.cursor);
    *out = it;
    return ODB_OK;
}

void lsm_iter_free(struct lsm_iter *it)
{
    if (it)
        iter_release(it);
}

/* ---- looking ---- */

bool lsm_iter_valid(const struct lsm_iter *it)
{
    return it->walk != WALK_NOWHERE;
}

odb_slice lsm_iter_key(const struct lsm_iter *it)
{
    return odb_bytes(it->shown->key, it->shown->key_len);
}

odb_slice lsm_iter_value(const struct lsm_iter *it)
{
    return odb_bytes(it->shown->value, it->shown->value_len);
}

odb_status lsm_iter_status(const struct lsm_iter *it)
{
    return it->status;
}

static bool stand_nowhere(struct lsm_iter *it, odb_status st)
{
    it->walk = WALK_NOWHERE;
    it->status = st;
    it->shown = NULL;
    return false;
}

/* ---- forward ---- */

static bool same_key(const struct entry *e, const struct buf *key)
{
    return e->key_len == key->len && (key->len == 0 || memcmp(e->key, key->p, key->len) == 0);
}

static bool keep_key(struct lsm_iter *it, const struct entry *e)
{
    it->key.len = 0;
    if (ODB_UNLIKELY(buf_append(&it->key, e->key, e->key_len) != ODB_OK))
        return stand_nowhere(it, ODB_NOMEM);
    return true;
}

static bool at_or_past_upper(const struct lsm_iter *it, const struct entry *e)
{
    return it->has_upper && key_compare(e->key, e->key_len, it->upper.p, it->upper.len) >= 0;
}

/* From the merge's present entry on, show the first visible live key. While `hide` the versions of
 * the key in it->key are passed over. */
static bool settle_forward(struct lsm_iter *it, bool hide)
{
    struct merge *m = &it->merge;

    while (m->is_valid) {
        const struct entry *e = merge_entry(m);

        if (at_or_past_upper(it, e)) /* visible or not: nothing behind it is in bounds */
            return stand_nowhere(it, ODB_OK);
        if (trailer_seq(e->trailer) <= it->seq && !(hide && same_key(e, &it->key))) {
            if (trailer_kind(e->trailer) == KIND_PUT) {
                it->shown = e;
                it->walk = WALK_FORWARD;
                return true;
            }
            if (!keep_key(it, e)) /* a delete: nothing of this key shows */
                return false;
            hide = true;
        }
        (void)merge_next(m);
    }
    return stand_nowhere(it, m->status);
}

static bool go_forward_from(struct lsm_iter *it, odb_slice key, uint64_t trailer)
{
    it->status = ODB_OK;
    (void)merge_seek(&it->merge, key, trailer);
    return settle_forward(it, false);
}

bool lsm_iter_first(struct lsm_iter *it)
{
    if (it->has_lower)
        return go_forward_from(it, buf_slice(&it->lower), UINT64_MAX);
    it->status = ODB_OK;
    (void)merge_first(&it->merge);
    return settle_forward(it, false);
}

bool lsm_iter_seek(struct lsm_iter *it, odb_slice key)
{
    if (it->has_lower && odb_slice_compare(key, buf_slice(&it->lower)) < 0)
        key = buf_slice(&it->lower);
    return go_forward_from(it, key, trailer_at(it->seq));
}

/* ---- backward ---- */

static bool below_lower(const struct lsm_iter *it, const struct entry *e)
{
    return it->has_lower && key_compare(e->key, e->key_len, it->lower.p, it->lower.len) < 0;
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

    *is_live = false;
    if (!keep_key(it, merge_entry(m)))
        return false;
    do {
        const struct entry *e = merge_entry(m);

        if (!same_key(e, &it->key))
            break;
        if (trailer_seq(e->trailer) <= it->seq) {
            *is_live = trailer_kind(e->trailer) == KIND_PUT;
            if (*is_live && !keep_value(it, e))
                return false;
        }
    } while (merge_prev(m));
    return true;
}

static bool settle_backward(struct lsm_iter *it)
{
    struct merge *m = &it->merge;

    while (m->is_valid) {
        bool is_live;

        if (below_lower(it, merge_entry(m)))
            return stand_nowhere(it, ODB_OK);
        if (!collect_versions(it, &is_live))
            return false;
        if (!m->is_valid && m->status != ODB_OK)
            break; /* versions of this key may be missing */
        if (is_live) {
            it->copied = (struct entry){it->key.p, it->value.p, (uint32_t)it->key.len,
                                        (uint32_t)it->value.len, 0};
            it->shown = &it->copied;
            it->walk = WALK_BACKWARD;
            return true;
        }
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

bool lsm_iter_last(struct lsm_iter *it)
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

/* The common step: the next entry of the merge's stretch is another key, visible, and a value. Both
 * entries are in place, so nothing is copied. False: it is not so simple. */
static inline bool step_in_stretch(struct lsm_iter *it)
{
    uint32_t count;
    const struct entry *e = merge_stretch(&it->merge, &count), *next = e + 1;

    if (count < 2 || trailer_seq(next->trailer) > it->seq ||
        trailer_kind(next->trailer) != KIND_PUT ||
        (next->key_len == e->key_len && memcmp(next->key, e->key, e->key_len) == 0) ||
        at_or_past_upper(it, next))
        return false;
    it->merge.current->at++;
    it->shown = next;
    return true;
}

bool lsm_iter_next(struct lsm_iter *it)
{
    if (ODB_LIKELY(it->walk == WALK_FORWARD)) {
        if (ODB_LIKELY(step_in_stretch(it)))
            return true;
        if (!keep_key(it, it->shown))
            return false;
        (void)merge_next(&it->merge);
        return settle_forward(it, true);
    }
    if (it->walk == WALK_NOWHERE)
        return false;
    it->status = ODB_OK; /* turn round: behind every version of the shown key */
    (void)merge_seek(&it->merge, buf_slice(&it->key), 0);
    return settle_forward(it, true);
}

bool lsm_iter_prev(struct lsm_iter *it)
{
    if (it->walk == WALK_BACKWARD)
        return settle_backward(it);
    if (it->walk == WALK_NOWHERE)
        return false;
    if (!keep_key(it, it->shown)) /* turn round: before every version of the shown key */
        return false;
    return go_backward_from(it, buf_slice(&it->key), UINT64_MAX);
}
