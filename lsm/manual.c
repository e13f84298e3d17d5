/* lsm/manual.c -- merging a range by hand, and looking every table over.
 *
 * A manual compaction walks the range down: all of it out of level 0, then out of level 1, and so on
 * until it lies in the deepest level that held any of it; tables there that carry deletes are
 * rewritten once more, so that nothing deleted keeps its space. While it runs, no merge is picked
 * automatically for this tree; those already running are waited for where they are in the way.
 */
#include <assert.h>

#include "base/alloc.h"
#include "lsm/tree_priv.h"

struct manual {
    struct lsm_tree *tree;
    odb_slice begin;
    odb_slice end;
    bool (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t done;
    uint64_t total;
};

static bool file_overlaps(const struct lsm_file *f, odb_slice begin, odb_slice end)
{
    return (!end.data || odb_slice_compare(file_smallest(f), end) <= 0) &&
           (!begin.data || odb_slice_compare(file_largest(f), begin) >= 0);
}

/* The deepest level with tables in the range, 0 when there is none; *bytes what lies in it. */
static uint32_t deepest_level(struct lsm_tree *t, odb_slice begin, odb_slice end, uint64_t *bytes)
{
    struct lsm_view *v = tree_view_ref(t);
    uint32_t deepest = 0;

    *bytes = 0;
    for (uint32_t i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->version->level[i].count; k++)
            if (file_overlaps(v->version->level[i].files[k], begin, end)) {
                deepest = i;
                *bytes += v->version->level[i].files[k]->meta.size;
            }
    view_unref(v);
    return deepest;
}

static odb_status report(struct manual *m, uint64_t bytes)
{
    m->done += bytes;
    if (m->total < m->done)
        m->total = m->done;
    if (m->progress && !m->progress(m->arg, m->done, m->total))
        return err_set(ODB_CANCELLED, "compaction stopped on request");
    return ODB_OK;
}

/* Run picks of one level until nothing of it lies in the range. */
static odb_status drain_level(struct manual *m, uint32_t level)
{
    bool found = true;
    odb_status st = ODB_OK;

    while (found && st == ODB_OK) {
        uint64_t bytes = 0;

        st = tree_merge_range(m->tree, level, m->begin, m->end, &found, &bytes);
        if (st == ODB_OK && found)
            st = report(m, bytes);
    }
    return st;
}

odb_status lsm_compact(struct lsm_tree *t, odb_slice begin, odb_slice end,
                       bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
    struct manual m = {.tree = t, .begin = begin, .end = end, .progress = progress, .arg = arg};
    uint64_t before = 0; /* numbers from here on are this compaction's own outputs */
    uint32_t deepest;
    odb_status st;

    os_mutex_lock(&t->compact_lock);
    os_mutex_lock(&t->sched_lock);
    t->manual++;
    os_mutex_unlock(&t->sched_lock);
    deepest = deepest_level(t, begin, end, &m.total);
    st = drain_level(&m, 0);
    for (uint32_t i = 1; st == ODB_OK && i < deepest; i++)
        st = drain_level(&m, i);
    if (st == ODB_OK) {
        uint64_t bytes;

        deepest = deepest_level(t, begin, end, &bytes);
        before = t->env->new_file_no(t->env->owner);
        for (bool found = deepest > 0; found && st == ODB_OK;) {
            st = tree_rewrite_deletes(t, deepest, begin, end, before, &found, &bytes);
            if (st == ODB_OK && found)
                st = report(&m, bytes);
        }
    }
    os_mutex_lock(&t->sched_lock);
    t->manual--;
    tree_schedule(t);
    os_mutex_unlock(&t->sched_lock);
    os_mutex_unlock(&t->compact_lock);
    return st;
}

odb_status lsm_verify(struct lsm_tree *t,
                      bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
    struct lsm_version *v = tree_version_ref(t);
    uint64_t done = 0, total = 0;
    odb_status st = ODB_OK;

    for (int i = 0; i < LSM_LEVELS; i++)
        total += v->level[i].bytes;
    for (int i = 0; i < LSM_LEVELS && st == ODB_OK; i++)
        for (uint32_t k = 0; k < v->level[i].count && st == ODB_OK; k++) {
            const struct lsm_file *f = v->level[i].files[k];

            st = sst_verify(t->env->tables, &f->meta);
            done += f->meta.size;
            if (st == ODB_OK && progress && !progress(arg, done, total))
                st = err_set(ODB_CANCELLED, "verification stopped on request");
        }
    version_unref(v);
    return st;
}
