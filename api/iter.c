/* api/iter.c -- iterators as users hold them: checks, then one indirect call.
 *
 *     odb_iter_next(it)  ->  it->ops->next(it)      sets key, value, is_valid, status of the head
 *     odb_iter_key(it)   ->  it->key                no call at all
 *
 * 1. is_valid is false whenever the status is not ODB_OK.
 * 2. A range no key can satisfy never reaches the backend: it gets an iterator of its own, below.
 *
 * Threads: one at a time per iterator.
 */
#include "api/db_priv.h"

static bool iter_refuse(odb_iter *it, odb_status st)
{
    it->is_valid = false;
    it->status = st;
    it->key = it->value = odb_bytes(NULL, 0);
    return false;
}

/* ---- the walk over nothing ---- */

static bool nothing_move(odb_iter *it)
{
    return iter_refuse(it, ODB_OK);
}

static bool nothing_seek(odb_iter *it, odb_slice key)
{
    (void)key;
    return iter_refuse(it, ODB_OK);
}

static odb_status nothing_refresh(odb_iter *it, void *snapshot)
{
    (void)it;
    (void)snapshot;
    return ODB_OK;
}

static void nothing_free(odb_iter *it)
{
    mem_free(it);
}

static const odb_iter_ops nothing_ops = {
    sizeof nothing_ops, nothing_move, nothing_move,    nothing_seek, nothing_seek,
    nothing_move,       nothing_move, nothing_refresh, nothing_free,
};

static ODB_COLD odb_status nothing_new(odb_iter **out)
{
    odb_iter *it = mem_zalloc(1, sizeof *it);

    if (!it)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    it->ops = &nothing_ops;
    *out = it;
    return ODB_OK;
}

/* ---- the public calls ---- */

odb_status odb_iter_new(odb_at at, odb_cf *cf, const odb_range *range, odb_iter **out)
{
    struct api_bounds bounds = {0};
    struct api_place place;
    odb_iter *it = NULL;
    odb_status st = api_check_read(at, &cf, odb_bytes(NULL, 0), &place);

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the iterator");
    if (st != ODB_OK)
        return st;
    st = api_bounds_init(&bounds, range);
    if (st != ODB_OK)
        goto done;
    if (bounds.is_empty)
        st = nothing_new(&it);
    else if (!place.txn || (st = api_txn_scan(place.txn, cf, &bounds.range)) == ODB_OK)
        st = place.db->ops.scan(place.db->self, cf->family, place.snapshot, &bounds.range, &it);
    if (st == ODB_OK && place.txn && !bounds.is_empty)
        st = api_txn_iter(place.txn, cf, &bounds.range, it, &it);
    if (st != ODB_OK)
        goto done;
    it->db = place.db;
    (void)iter_refuse(it, ODB_OK);
    *out = it;
    it = NULL;
done:
    if (it)
        it->ops->free(it);
    api_bounds_release(&bounds);
    return st;
}

void odb_iter_free(odb_iter *it)
{
    if (it && !api_is_forked(it->db))
        it->ops->free(it);
}

ODB_COLD bool odb_iter_first(odb_iter *it)
{
    if (ODB_UNLIKELY(api_is_forked(it->db)))
        return iter_refuse(it, api_refuse_handle(it->db));
    return it->ops->first(it);
}

ODB_COLD bool odb_iter_last(odb_iter *it)
{
    if (ODB_UNLIKELY(api_is_forked(it->db)))
        return iter_refuse(it, api_refuse_handle(it->db));
    return it->ops->last(it);
}

/* A key over the limit is in no database, but it has a place in the order: that of the longest key
 * it begins with, which is smaller than it. */
static ODB_COLD bool seek_beyond_limit(odb_iter *it, odb_slice key, bool is_forward)
{
    odb_slice cut = odb_bytes(key.data, KEY_LEN_MAX);

    if (!key.data)
        return iter_refuse(it, api_refuse_bytes("key", key, SIZE_MAX));
    if (!is_forward)
        return it->ops->seek_for_prev(it, cut);
    if (!it->ops->seek(it, cut))
        return false;
    return odb_slice_equal(it->key, cut) ? it->ops->next(it) : true;
}

bool odb_iter_seek(odb_iter *it, odb_slice key)
{
    if (ODB_UNLIKELY(api_is_forked(it->db)))
        return iter_refuse(it, api_refuse_handle(it->db));
    if (ODB_UNLIKELY(key.size > KEY_LEN_MAX || (!key.data && key.size)))
        return seek_beyond_limit(it, key, true);
    return it->ops->seek(it, key);
}

bool odb_iter_seek_for_prev(odb_iter *it, odb_slice key)
{
    if (ODB_UNLIKELY(api_is_forked(it->db)))
        return iter_refuse(it, api_refuse_handle(it->db));
    if (ODB_UNLIKELY(key.size > KEY_LEN_MAX || (!key.data && key.size)))
        return seek_beyond_limit(it, key, false);
    return it->ops->seek_for_prev(it, key);
}

bool odb_iter_next(odb_iter *it)
{
    if (ODB_UNLIKELY(!it->is_valid))
        return false;
    if (ODB_UNLIKELY(api_is_forked(it->db)))
        return iter_refuse(it, api_refuse_handle(it->db));
    return it->ops->next(it);
}

bool odb_iter_prev(odb_iter *it)
{
    if (ODB_UNLIKELY(!it->is_valid))
        return false;
    if (ODB_UNLIKELY(api_is_forked(it->db)))
        return iter_refuse(it, api_refuse_handle(it->db));
    return it->ops->prev(it);
}

bool odb_iter_valid(const odb_iter *it)
{
    return it->is_valid;
}

odb_slice odb_iter_key(const odb_iter *it)
{
    return it->key;
}

odb_slice odb_iter_value(const odb_iter *it)
{
    return it->value;
}

odb_status odb_iter_status(const odb_iter *it)
{
    return it->status;
}

ODB_COLD odb_status odb_iter_refresh(odb_iter *it, odb_at at)
{
    struct api_place place = {NULL, NULL, NULL};
    odb_status st;

    if (!it)
        return api_refuse_null("the iterator");
    (void)iter_refuse(it, ODB_OK);
    st = api_place_of(at, &place);
    if (st == ODB_OK)
        st = api_check_db(place.db);
    if (st == ODB_OK && place.db != it->db)
        st = err_set(ODB_INVALID, "the iterator walks another database");
    if (st == ODB_OK && (place.txn || !it->ops->refresh))
        st = err_set(ODB_UNSUPPORTED,
                     "an iterator cannot be moved into a transaction; make a new one");
    return st == ODB_OK ? it->ops->refresh(it, place.snapshot) : st;
}
