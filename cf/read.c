/* cf/read.c -- reading: which view, which moment, and how long what was found stays.
 *
 *     epoch { view of the family; then the sequence number; look; pin }
 *
 * 1. The view is taken first and the number second (C33). A number older than the view would be
 *    wrong: between the two a merge might drop, with reason, the version that the number asks for. A
 *    number newer than the view costs nothing: what the view lacks was written after the read began,
 *    and since a memtable is switched under the commit lock, what it lacks is everything after one
 *    commit: the read sees a prefix of the commits in any case.
 * 2. A snapshot's number is older than any view, and its versions are kept (snapshot.c).
 * 3. Values are used inside the epoch or pinned; nothing is copied unless asked for.
 *
 * Threads: any.
 */
#include "base/alloc.h"
#include "base/canary.h"
#include "base/hash.h"
#include "cf/set_priv.h"

static odb_status read_refuse(const struct cf *cf)
{
    return err_set(ODB_NO_FAMILY, "column family '%s' was dropped", cf->name);
}

static bool read_is_dropped(const struct cf *cf)
{
    return atomic_load_explicit(&cf->is_dropped, memory_order_relaxed);
}

static uint64_t read_moment(const struct cf_set *s, const struct cf_snapshot *snap)
{
    return snap ? snap->seq : atomic_load_explicit(&s->visible_seq, memory_order_acquire);
}

/* Inside an epoch. */
static odb_status read_one(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                           odb_slice key, struct lsm_value *out)
{
    uint64_t early = CANARY(33) ? read_moment(s, snap) : 0;
    const struct lsm_view *view;
    uint64_t seq;

    if (CANARY(33))
        os_thread_sleep(100000);
    view = lsm_view(cf->tree);
    seq = CANARY(33) ? early : read_moment(s, snap); /* after the view (1) */

    return lsm_get(cf->tree, view, key, hash64(key.data, key.size), seq, out);
}

odb_status cf_get(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap, odb_slice key,
                  struct lsm_value *out)
{
    struct epoch_guard g;
    odb_status st;

    if (ODB_UNLIKELY(set_is_forked(s)))
        return set_check_fork(s);
    if (ODB_UNLIKELY(read_is_dropped(cf)))
        return read_refuse(cf);
    g = epoch_enter(&s->epoch);
    st = read_one(s, cf, snap, key, out);
    if (st == ODB_OK)
        lsm_value_pin(out);
    epoch_leave(g);
    return st;
}

void cf_value_release(struct cf_set *s, struct lsm_value *v)
{
    if (!set_is_forked(s))
        lsm_value_unpin(v); /* frames and memtables know their owners */
}

odb_status cf_get_into(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                       odb_slice key, void *buf, size_t cap, size_t *size)
{
    struct lsm_value v = {0};
    struct epoch_guard g;
    odb_status st;

    if (ODB_UNLIKELY(set_is_forked(s)))
        return set_check_fork(s);
    if (ODB_UNLIKELY(read_is_dropped(cf)))
        return read_refuse(cf);
    g = epoch_enter(&s->epoch);
    st = read_one(s, cf, snap, key, &v);
    if (st == ODB_OK) {
        size_t n = v.data.size < cap ? v.data.size : cap;

        if (n)
            memcpy(buf, v.data.data, n);
        *size = v.data.size;
        mem_free(v.owned); /* not pinned: this is all there is to give back */
    }
    epoch_leave(g);
    return st;
}

odb_status cf_exists(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap, odb_slice key)
{
    size_t size;

    return cf_get_into(s, cf, snap, key, NULL, 0, &size);
}

odb_status cf_multiget(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                       const odb_slice *keys, size_t n, struct lsm_value *out, odb_status *each)
{
    const struct lsm_view *view;
    struct epoch_guard g;

    if (set_is_forked(s))
        return set_check_fork(s);
    if (read_is_dropped(cf))
        return read_refuse(cf);
    g = epoch_enter(&s->epoch);
    view = lsm_view(cf->tree);
    lsm_multiget(cf->tree, view, keys, n, read_moment(s, snap), out, each);
    for (size_t i = 0; i < n; i++)
        if (each[i] == ODB_OK)
            lsm_value_pin(&out[i]);
    epoch_leave(g);
    return ODB_OK;
}

odb_status cf_iter_new(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                       const struct lsm_range *range, struct lsm_iter **out)
{
    const struct lsm_view *view;
    struct epoch_guard g;
    odb_status st;

    if (set_is_forked(s))
        return set_check_fork(s);
    if (read_is_dropped(cf))
        return read_refuse(cf);
    g = epoch_enter(&s->epoch);
    do {
        view = lsm_view(cf->tree);
        st = lsm_iter_new(cf->tree, view, read_moment(s, snap), range, out);
    } while (ODB_UNLIKELY(st == ODB_AGAIN));
    epoch_leave(g);
    return st;
}

ODB_COLD odb_status cf_iter_refresh(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                                    const struct lsm_range *range, struct lsm_iter **it)
{
    struct lsm_iter *next = NULL;
    odb_status st;

    if (!read_is_dropped(cf) && lsm_iter_is_at(*it, lsm_view(cf->tree), read_moment(s, snap)))
        return ODB_OK; /* nothing has been committed, flushed or merged since */
    st = cf_iter_new(s, cf, snap, range, &next);
    if (st == ODB_OK) {
        lsm_iter_free(*it);
        *it = next;
    }
    return st;
}
