/* lsm/version.c -- files, versions and views: immutable lists that replace one another.
 *
 *      v9 (published)        v8 (an iterator)       v5 (a reader inside an epoch)
 *       |  \   \              |   \                   |
 *      f12  f11 f7           f11   f7               f3  f7          each arrow: one reference
 *
 * 1. A version never changes after version_make returned it.
 * 2. On levels 1 and deeper the files of a version are in key order and share no user key; level 0
 *    is ordered by age. version_make refuses anything else, so neither a bug nor a damaged manifest
 *    can publish it.
 * 3. A table file is removed from the disk only when a durable manifest no longer names it
 *    (is_obsolete) and no version, and so no reader, lists it (refs is 0).
 * 4. A view whose count has fallen to 0 cannot be revived: view_try_ref fails, and the memory waits
 *    for the epoch, because a reader may have loaded the pointer a moment ago.
 *
 * Threads: building happens under the tree's edit lock; references are atomic.
 */
#include "lsm/version.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "lsm/tree_priv.h"

/* ---- files ---- */

odb_status file_new(struct lsm_tree *t, struct sst_meta *meta, struct lsm_file **out)
{
    struct lsm_file *f = mem_zalloc(1, sizeof *f);

    if (!f)
        return err_set(ODB_NOMEM, "out of memory for the description of a table");
    f->tree = t;
    f->meta = *meta;
    *meta = (struct sst_meta){0};
    f->ref.file_no = f->meta.file_no;
    f->ref.size = f->meta.size;
    f->ref.check = f->meta.check;
    atomic_init(&f->ref.table, NULL);
    atomic_init(&f->refs, 1);
    atomic_init(&f->is_obsolete, false);
    *out = f;
    return ODB_OK;
}

void file_ref(struct lsm_file *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void file_free(struct lsm_file *f)
{
    sst_meta_release(&f->meta);
    mem_free(f);
}

void file_unref(struct lsm_file *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    sst_ref_drop(f->tree->env->tables, &f->ref);
    if (atomic_load_explicit(&f->is_obsolete, memory_order_relaxed))
        tree_add_garbage(f->tree, f);
    else
        file_free(f);
}

/* ---- versions ---- */

void version_ref(struct lsm_version *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
}

static void version_free(struct lsm_version *v)
{
    for (int i = 0; i < LSM_LEVELS; i++) {
        struct lsm_level *l = &v->level[i];

        for (uint32_t k = 0; k < l->count; k++)
            file_unref(l->files[k]);
        mem_free(l->files);
        mem_free(l->fence);
    }
    mem_free(v);
}

void version_unref(struct lsm_version *v)
{
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        version_free(v);
}

struct lsm_file *version_find(const struct lsm_version *v, uint64_t file_no, uint32_t *level)
{
    for (uint32_t i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->level[i].count; k++)
            if (v->level[i].files[k]->meta.file_no == file_no) {
                *level = i;
                return v->level[i].files[k];
            }
    return NULL;
}

bool edit_removes(const struct lsm_edit_remove *remove, uint32_t count, uint32_t level,
                  uint64_t file_no)
{
    for (uint32_t i = 0; i < count; i++)
        if (remove[i].level == level && remove[i].file_no == file_no)
            return true;
    return false;
}

/* Put `f` where its key belongs; the level stays sorted. */
static void insert_by_key(struct lsm_level *l, struct lsm_file *f)
{
    uint32_t at = l->count;

    while (at > 0 && odb_slice_compare(file_smallest(l->files[at - 1]), file_smallest(f)) > 0) {
        l->files[at] = l->files[at - 1];
        at--;
    }
    l->files[at] = f;
    l->count++;
}

static odb_status fill_level(struct lsm_level *l, uint32_t level, const struct lsm_level *base,
                             const struct version_add *add, uint32_t add_count,
                             const struct lsm_edit_remove *remove, uint32_t remove_count,
                             uint32_t *removed)
{
    uint32_t room = base ? base->count : 0;

    for (uint32_t i = 0; i < add_count; i++)
        room += add[i].level == level;
    if (room == 0)
        return ODB_OK;
    l->files = mem_array(room, sizeof(struct lsm_file *));
    if (!l->files)
        return err_set(ODB_NOMEM, "out of memory for a version of %u tables", room);
    if (level == 0 && !CANARY(35)) /* new tables are younger than all that is there */
        for (uint32_t i = 0; i < add_count; i++)
            if (add[i].level == 0) {
                file_ref(add[i].file);
                l->files[l->count++] = add[i].file;
            }
    for (uint32_t i = 0; base && i < base->count; i++) {
        struct lsm_file *f = base->files[i];

        if (edit_removes(remove, remove_count, level, f->meta.file_no)) {
            (*removed)++;
            continue;
        }
        file_ref(f);
        l->files[l->count++] = f;
    }
    for (uint32_t i = 0; (level > 0 || CANARY(35)) && i < add_count; i++)
        if (add[i].level == level) {
            file_ref(add[i].file);
            insert_by_key(l, add[i].file);
        }
    return ODB_OK;
}

/* Invariant 2, and the arrays that searches use. */
static odb_status seal_level(struct lsm_level *l, uint32_t level)
{
    for (uint32_t i = 0; i < l->count; i++)
        l->bytes += l->files[i]->meta.size;
    if (level == 0 || l->count == 0)
        return ODB_OK;
    for (uint32_t i = 1; i < l->count; i++)
        if (odb_slice_compare(file_largest(l->files[i - 1]), file_smallest(l->files[i])) >= 0)
            return err_set(ODB_CORRUPT,
                           "tables %llu and %llu overlap on level %u: the manifest is damaged, or "
                           "this is a bug",
                           (unsigned long long)l->files[i - 1]->meta.file_no,
                           (unsigned long long)l->files[i]->meta.file_no, level);
    l->fence = mem_array(l->count, sizeof *l->fence);
    if (!l->fence)
        return err_set(ODB_NOMEM, "out of memory for a version of %u tables", l->count);
    l->skip = key_common(l->files[0]->meta.largest.p, l->files[0]->meta.largest.len,
                         l->files[l->count - 1]->meta.largest.p,
                         l->files[l->count - 1]->meta.largest.len);
    for (uint32_t i = 0; i < l->count; i++)
        l->fence[i] =
            key_prefix(l->files[i]->meta.largest.p, l->files[i]->meta.largest.len, l->skip);
    return ODB_OK;
}

odb_status version_make(const struct lsm_version *base, const struct version_add *add,
                        uint32_t add_count, const struct lsm_edit_remove *remove,
                        uint32_t remove_count, struct lsm_version **out)
{
    struct lsm_version *v = mem_zalloc(1, sizeof *v);
    uint32_t removed = 0;
    odb_status st = ODB_OK;

    if (!v)
        return err_set(ODB_NOMEM, "out of memory for a version");
    atomic_init(&v->refs, 1);
    for (uint32_t i = 0; i < LSM_LEVELS && st == ODB_OK; i++) {
        st = fill_level(&v->level[i], i, base ? &base->level[i] : NULL, add, add_count, remove,
                        remove_count, &removed);
        if (st == ODB_OK)
            st = seal_level(&v->level[i], i);
    }
    if (st == ODB_OK && removed != remove_count)
        st = err_set(ODB_CORRUPT, "an edit removes %u tables, of which %u are there", remove_count,
                     removed);
    if (st != ODB_OK) {
        version_free(v);
        return st;
    }
    *out = v;
    return ODB_OK;
}

uint32_t level_search(const struct lsm_level *level, odb_slice key)
{
    const struct lsm_file *first;
    uint32_t lo = 0, n = level->count;
    uint64_t prefix;
    size_t share;
    int c;

    if (n == 0)
        return 0;
    first = level->files[0];
    share = key.size < level->skip ? key.size : level->skip;
    c = share ? memcmp(key.data, first->meta.largest.p, share) : 0;
    if (c > 0)
        return n;
    if (c < 0 || key.size < level->skip)
        return 0; /* before everything, or a proper prefix of what all fences share */
    prefix = key_prefix(key.data, key.size, level->skip);
    while (n > 0) { /* the first fence whose prefix is not below */
        uint32_t half = n / 2;

        if (level->fence[lo + half] < prefix) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    while (lo < level->count && level->fence[lo] == prefix &&
           odb_slice_compare(file_largest(level->files[lo]), key) < 0)
        lo++;
    return lo;
}

/* ---- views ---- */

struct lsm_view *view_alloc(struct lsm_tree *t, uint32_t cap)
{
    struct lsm_view *v = mem_zalloc(1, sizeof *v + cap * sizeof v->mem[0]);

    if (v) {
        v->tree = t;
        v->mem_cap = cap;
        atomic_init(&v->refs, 1);
    }
    return v;
}

void view_discard(struct lsm_view *v)
{
    mem_free(v);
}

static void view_free(struct epoch_item *item)
{
    struct lsm_view *v = (struct lsm_view *)(void *)item;

    for (uint32_t i = 0; i < v->mem_count; i++)
        memtable_unref(v->mem[i].mem);
    version_unref(v->version);
    mem_free(v);
}

bool view_try_ref(struct lsm_view *v)
{
    unsigned n = atomic_load_explicit(&v->refs, memory_order_relaxed);

    while (n > 0)
        if (atomic_compare_exchange_weak_explicit(&v->refs, &n, n + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void view_unref(struct lsm_view *v)
{
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        epoch_retire(v->tree->env->epoch, &v->retired, view_free);
}
