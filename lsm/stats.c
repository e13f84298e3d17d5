/* lsm/stats.c -- figures about a tree, taken from the published view and relaxed counters: each is
 * true at some moment during the call, not all at the same one. */
#include "lsm/tree_priv.h"

static void level_figures(struct lsm_tree *t, const struct lsm_view *v, struct lsm_stats *out)
{
    struct pick_view pv = {0};

    for (int i = 0; i < LSM_LEVELS; i++) {
        const struct lsm_level *l = &v->version->level[i];
        struct lsm_level_stats *s = &out->level[i];

        s->files = l->count;
        s->bytes = l->bytes;
        for (uint32_t k = 0; k < l->count; k++) {
            s->entries += l->files[k]->meta.entries;
            s->deletes += l->files[k]->meta.deletes;
        }
    }
    os_mutex_lock(&t->sched_lock);
    if (tree_pick_view(t, v->version, &pv) == ODB_OK) {
        out->debt = pick_debt(&pv);
        for (int i = 0; i < LSM_LEVELS; i++)
            out->level[i].target = pv.level[i].target;
        tree_pick_view_release(&pv);
    }
    os_mutex_unlock(&t->sched_lock);
}

void lsm_sizes(const struct lsm_view *v, struct lsm_sizes *out)
{
    *out = (struct lsm_sizes){.memtables = v->mem_count};
    for (uint32_t i = 0; i < v->mem_count; i++) {
        out->memtable_bytes += memtable_bytes(v->mem[i].mem);
        out->memtable_entries += memtable_count(v->mem[i].mem);
    }
    for (int i = 0; i < LSM_LEVELS; i++)
        out->table_bytes += v->version->level[i].bytes;
}

void lsm_stats(struct lsm_tree *t, struct lsm_stats *out)
{
    struct lsm_view *v = tree_view_ref(t);

    *out = (struct lsm_stats){0};
    level_figures(t, v, out);
    lsm_sizes(v, &out->size);
    out->flushes = t->count.flushes;
    out->flush_bytes = t->count.flush_bytes;
    out->flush_entries = t->count.flush_entries;
    out->flush_ns = t->count.flush_ns;
    out->merges = t->count.merges;
    out->merge_bytes_in = t->count.merge_bytes_in;
    out->merge_bytes_out = t->count.merge_bytes_out;
    out->merge_entries = t->count.merge_entries;
    out->merge_ns = t->count.merge_ns;
    out->moves = t->count.moves;
    out->delay_ns = atomic_load_explicit(&t->pressure.slept_ns, memory_order_relaxed);
    out->stops = atomic_load_explicit(&t->pressure.stops, memory_order_relaxed);
    view_unref(v);
}

void lsm_each_file(struct lsm_tree *t,
                   void (*each)(void *arg, uint32_t level, const struct sst_meta *meta), void *arg)
{
    struct lsm_view *v = tree_view_ref(t);

    for (uint32_t i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->version->level[i].count; k++)
            each(arg, i, &v->version->level[i].files[k]->meta);
    view_unref(v);
}

/* File bytes before `key` in one table. */
static uint64_t offset_in(struct lsm_tree *t, struct lsm_file *f, odb_slice key)
{
    if (odb_slice_compare(key, file_smallest(f)) <= 0)
        return 0;
    if (odb_slice_compare(key, file_largest(f)) > 0)
        return f->meta.size;
    return sst_offset_of(t->env->tables, &f->ref, key);
}

uint64_t lsm_size_between(struct lsm_tree *t, odb_slice begin, odb_slice end)
{
    struct lsm_view *v = tree_view_ref(t);
    uint64_t sum = 0;

    for (int i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->version->level[i].count; k++) {
            struct lsm_file *f = v->version->level[i].files[k];
            uint64_t lo = begin.data ? offset_in(t, f, begin) : 0;
            uint64_t hi = end.data ? offset_in(t, f, end) : f->meta.size;

            sum += hi > lo ? hi - lo : 0;
        }
    view_unref(v);
    return sum;
}
