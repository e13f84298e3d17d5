/* lsm/get.c -- point reads: from the newest place to the oldest, the first version found decides.
 *
 *     active memtable -> immutable ones -> level 0, newest first -> one table of each deeper level
 *
 * A version found higher up is newer than all below (the picker never merges a newer one under an
 * older one), so the search stops at the first hit, a delete included. The caller is inside an epoch
 * and took the view before the sequence number: what the number promises is in the view (C33).
 *
 * Nothing is allocated, counted or copied here; lsm_value_pin does that for who needs it.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "lsm/tree_priv.h"

/* The verdict of a version that was found. */
static odb_status judge(uint64_t trailer, odb_slice value, struct lsm_value *out)
{
    if (trailer_kind(trailer) == KIND_DELETE)
        return ODB_ABSENT;
    out->data = value;
    return ODB_OK;
}

static bool covers(const struct lsm_file *f, odb_slice key)
{
    return odb_slice_compare(file_smallest(f), key) <= 0 &&
           odb_slice_compare(key, file_largest(f)) <= 0;
}

/* ODB_AGAIN: not in this table, look further. */
static odb_status get_from_file(struct lsm_tree *t, struct lsm_file *f, odb_slice key,
                                uint64_t hash, uint64_t trailer, struct lsm_value *out)
{
    struct sst_hit hit;
    odb_status st = sst_get(t->env->tables, &f->ref, key, hash, trailer, &hit);

    if (st != ODB_OK)
        return st;
    if (!hit.is_found)
        return ODB_AGAIN;
    out->frame = hit.frame;
    return judge(hit.trailer, hit.value, out);
}

static odb_status get_from_tables(struct lsm_tree *t, const struct lsm_version *v, odb_slice key,
                                  uint64_t hash, uint64_t trailer, struct lsm_value *out)
{
    odb_status st;

    for (uint32_t i = 0; i < v->level[0].count; i++) {
        struct lsm_file *f = v->level[0].files[i];

        if (!covers(f, key))
            continue;
        st = get_from_file(t, f, key, hash, trailer, out);
        if (st != ODB_AGAIN)
            return st;
    }
    for (uint32_t i = 1; i < LSM_LEVELS; i++) {
        const struct lsm_level *l = &v->level[i];
        uint32_t at = l->count ? level_search(l, key) : 0;

        if (at == l->count || odb_slice_compare(file_smallest(l->files[at]), key) > 0)
            continue;
        st = get_from_file(t, l->files[at], key, hash, trailer, out);
        if (st != ODB_AGAIN)
            return st;
    }
    return ODB_ABSENT;
}

static bool get_from_memory(const struct lsm_view *v, odb_slice key, uint64_t trailer,
                            struct lsm_value *out, odb_status *st)
{
    struct entry e;

    for (uint32_t i = 0; i < v->mem_count; i++)
        if (memtable_get(v->mem[i].mem, key, trailer, &e)) {
            out->memtable = v->mem[i].mem;
            *st = judge(e.trailer, odb_bytes(e.value, e.value_len), out);
            return true;
        }
    return false;
}

odb_status lsm_get(struct lsm_tree *t, const struct lsm_view *v, odb_slice key, uint64_t hash,
                   uint64_t seq, struct lsm_value *out)
{
    uint64_t trailer = trailer_at(seq);
    odb_status st;

    *out = (struct lsm_value){0};
    if (get_from_memory(v, key, trailer, out, &st))
        return st;
    return get_from_tables(t, v->version, key, hash, trailer, out);
}

void lsm_multiget(struct lsm_tree *t, const struct lsm_view *v, const odb_slice *keys, size_t n,
                  uint64_t seq, struct lsm_value *out, odb_status *each)
{
    uint64_t trailer = trailer_at(seq);

    for (size_t i = 0; i < n; i++) {
        out[i] = (struct lsm_value){0};
        if (get_from_memory(v, keys[i], trailer, &out[i], &each[i]))
            continue;
        each[i] = get_from_tables(t, v->version, keys[i], hash64(keys[i].data, keys[i].size),
                                  trailer, &out[i]);
    }
}

void lsm_value_pin(struct lsm_tree *t, struct lsm_value *v)
{
    if (v->frame)
        sst_pin(t->env->tables, v->frame);
    else if (v->memtable)
        memtable_ref(v->memtable); /* the view that was read holds it until the epoch ends */
}

void lsm_value_unpin(struct lsm_tree *t, struct lsm_value *v)
{
    if (v->frame)
        sst_unpin(t->env->tables, v->frame);
    else if (v->memtable)
        memtable_unref(v->memtable);
    mem_free(v->owned);
    *v = (struct lsm_value){0};
}
