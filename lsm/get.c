/* lsm/get.c -- point reads: from the newest place to the oldest, the first version found decides.
 *
 *     active memtable -> immutable ones -> level 0, newest first -> one table of each deeper level
 *
 * A version found higher up is newer than all below (the picker never merges a newer one under an
 * older one), so the search stops at the first hit, a delete included. The caller is inside an epoch
 * and took the view before the sequence number: what the number promises is in the view (C33).
 *
 * What a read in memory costs is waiting for memory, 150 to 250 ns for each line that is not in the
 * CPU's cache, so as much as can be is waited for at once. The tables that may hold the key are found
 * first and their filters' lines sent for while the memtables are searched. (The index of the deepest
 * one is not begun meanwhile: where its filter mostly lets pass, the CPU guesses so and begins by
 * itself; where it mostly does not, the work would be wasted.) Of a multiget each step is taken for
 * all keys of a group before the next.
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
static odb_status take_hit(odb_status st, const struct sst_hit *hit, struct lsm_value *out)
{
    if (st != ODB_OK)
        return st;
    if (!hit->is_found)
        return ODB_AGAIN;
    out->frame = hit->frame;
    return judge(hit->trailer, hit->value, out);
}

static odb_status get_from_file(struct lsm_tree *t, struct lsm_file *f, odb_slice key,
                                uint64_t hash, uint64_t trailer, struct lsm_value *out)
{
    struct sst_hit hit;
    odb_status st = sst_get(t->env->tables, &f->ref, key, hash, trailer, &hit);

    return take_hit(st, &hit, out);
}

#define LOOK_MAX 24 /* tables looked at in one read whose misses are overlapped */

/* The tables that may hold a key, newest first. */
struct lookup {
    struct lsm_file *file[LOOK_MAX];
    uint32_t count;
    bool is_cut; /* there were more: ask them one by one */
};

static void look_at(struct lookup *k, struct lsm_file *f, uint64_t hash)
{
    if (k->count == LOOK_MAX) {
        k->is_cut = true;
        return;
    }
    k->file[k->count++] = f;
    sst_prefetch(&f->ref, hash);
}

/* Find them all and start loading what each will be asked first. */
static void gather_tables(const struct lsm_version *v, odb_slice key, uint64_t hash,
                          struct lookup *k)
{
    k->count = 0;
    k->is_cut = false;
    for (uint32_t i = 0; i < v->level[0].count; i++)
        if (covers(v->level[0].files[i], key))
            look_at(k, v->level[0].files[i], hash);
    for (uint32_t i = 1; i < LSM_LEVELS; i++) {
        const struct lsm_level *l = &v->level[i];
        uint32_t at = l->count ? level_search(l, key) : 0;

        if (at < l->count && odb_slice_compare(file_smallest(l->files[at]), key) <= 0)
            look_at(k, l->files[at], hash);
    }
}

/* The first table from `*at` on that does not exclude the key; false: none. */
static bool next_table(struct lsm_tree *t, const struct lookup *k, uint64_t hash, uint32_t *at)
{
    while (*at < k->count && sst_probe_excludes(t->env->tables, &k->file[*at]->ref, hash))
        ++*at;
    return *at < k->count;
}

/* From table `at` on, which was probed. */
static odb_status get_from_tables(struct lsm_tree *t, const struct lookup *k, uint32_t at,
                                  struct sst_probe *probe, odb_slice key, uint64_t hash,
                                  uint64_t trailer, struct lsm_value *out)
{
    for (;;) {
        struct sst_hit hit;
        odb_status st =
            sst_probe_get(t->env->tables, &k->file[at]->ref, probe, key, hash, trailer, &hit);

        st = take_hit(st, &hit, out);
        if (st != ODB_AGAIN)
            return st;
        at++;
        if (!next_table(t, k, hash, &at))
            return ODB_ABSENT;
        sst_probe_begin(&k->file[at]->ref, key, probe);
    }
}

/* More tables than a lookup holds (a level 0 that has piled up): one after the other. */
static ODB_COLD odb_status get_from_many(struct lsm_tree *t, const struct lsm_version *v,
                                         odb_slice key, uint64_t hash, uint64_t trailer,
                                         struct lsm_value *out)
{
    odb_status st = ODB_AGAIN;

    for (uint32_t i = 0; i < v->level[0].count && st == ODB_AGAIN; i++)
        if (covers(v->level[0].files[i], key))
            st = get_from_file(t, v->level[0].files[i], key, hash, trailer, out);
    for (uint32_t i = 1; i < LSM_LEVELS && st == ODB_AGAIN; i++) {
        const struct lsm_level *l = &v->level[i];
        uint32_t at = l->count ? level_search(l, key) : 0;

        if (at < l->count && odb_slice_compare(file_smallest(l->files[at]), key) <= 0)
            st = get_from_file(t, l->files[at], key, hash, trailer, out);
    }
    return st == ODB_AGAIN ? ODB_ABSENT : st;
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
    struct sst_probe probe;
    struct lookup k;
    uint32_t at = 0;
    odb_status st;

    *out = (struct lsm_value){0};
    gather_tables(v->version, key, hash, &k);
    if (get_from_memory(v, key, trailer, out, &st))
        return st;
    if (ODB_UNLIKELY(k.is_cut))
        return get_from_many(t, v->version, key, hash, trailer, out);
    if (!next_table(t, &k, hash, &at))
        return ODB_ABSENT;
    sst_probe_begin(&k.file[at]->ref, key, &probe);
    return get_from_tables(t, &k, at, &probe, key, hash, trailer, out);
}

#define GROUP_MAX 32 /* keys of a multiget that are under way together */

/* One key of a group. */
struct member {
    uint64_t hash;
    uint32_t at; /* which table of `look` is probed */
    bool is_done;
    struct sst_probe probe;
    struct lookup look;
};

static void get_group(struct lsm_tree *t, const struct lsm_view *v, const odb_slice *keys, size_t n,
                      uint64_t trailer, struct lsm_value *out, odb_status *each)
{
    struct member member[GROUP_MAX], *m;

    for (size_t i = 0; i < n; i++) { /* filters */
        m = &member[i];
        m->hash = hash64(keys[i].data, keys[i].size);
        gather_tables(v->version, keys[i], m->hash, &m->look);
        out[i] = (struct lsm_value){0};
    }
    for (size_t i = 0; i < n; i++) { /* memtables; indexes */
        m = &member[i];
        m->at = 0;
        m->is_done = get_from_memory(v, keys[i], trailer, &out[i], &each[i]);
        if (m->is_done || m->look.is_cut)
            continue;
        if (next_table(t, &m->look, m->hash, &m->at)) {
            sst_probe_begin(&m->look.file[m->at]->ref, keys[i], &m->probe);
        } else {
            m->is_done = true;
            each[i] = ODB_ABSENT;
        }
    }
    for (size_t i = 0; i < n; i++) /* blocks */
        if (!member[i].is_done && !member[i].look.is_cut)
            sst_probe_block(&member[i].probe, keys[i], trailer);
        else
            member[i].probe.frame = NULL;
    for (size_t i = 0; i < n; i++)
        sst_probe_slot(&member[i].probe, member[i].hash);
    for (size_t i = 0; i < n; i++)
        sst_probe_row(&member[i].probe, member[i].hash);
    for (size_t i = 0; i < n; i++) { /* rows; values */
        m = &member[i];
        if (m->is_done)
            continue;
        if (m->look.is_cut)
            each[i] = get_from_many(t, v->version, keys[i], m->hash, trailer, &out[i]);
        else
            each[i] =
                get_from_tables(t, &m->look, m->at, &m->probe, keys[i], m->hash, trailer, &out[i]);
        if (each[i] == ODB_OK)
            ODB_PREFETCH(out[i].data.data); /* the caller is going to look at it */
    }
}

void lsm_multiget(struct lsm_tree *t, const struct lsm_view *v, const odb_slice *keys, size_t n,
                  uint64_t seq, struct lsm_value *out, odb_status *each)
{
    for (size_t at = 0; at < n; at += GROUP_MAX) {
        size_t some = n - at < GROUP_MAX ? n - at : GROUP_MAX;

        get_group(t, v, keys + at, some, trailer_at(seq), out + at, each + at);
    }
}

ODB_COLD odb_status lsm_written_since(const struct lsm_view *v, odb_slice key, uint64_t since)
{
    struct entry e;

    for (uint32_t i = 0; i < v->mem_count; i++)
        if (memtable_get(v->mem[i].mem, key, trailer_at(SEQ_MAX), &e))
            return trailer_seq(e.trailer) > since ? ODB_CONFLICT : ODB_OK;
    for (uint32_t i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->version->level[i].count; k++) {
            const struct lsm_file *f = v->version->level[i].files[k];

            if (f->meta.max_seq > since && covers(f, key))
                return ODB_TOO_OLD;
        }
    return ODB_OK;
}

void lsm_value_pin(struct lsm_value *v)
{
    if (v->frame)
        sst_pin(v->frame);
    else if (v->memtable)
        memtable_ref(v->memtable); /* the view that was read holds it until the epoch ends */
}

void lsm_value_unpin(struct lsm_value *v)
{
    if (v->frame)
        sst_unpin(v->frame);
    else if (v->memtable)
        memtable_unref(v->memtable);
    mem_free(v->owned);
    *v = (struct lsm_value){0};
}
