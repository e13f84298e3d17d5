/* lsm/tree.c -- one tree: its life, its views, its memtables.
 *
 *    writer side                                 background side
 *    lsm_prepare_switch: fresh memtable + view   plan:  next version + view        (may fail)
 *    lsm_switch: fill in, publish                log:   the manifest               (may fail)
 *                                                apply: fill in, publish           (cannot fail)
 *
 * 1. Whatever is published was complete before, and is never changed after.
 * 2. Publication happens under view_lock; what it needs (memory) was obtained before, so that
 *    neither a commit nor a durable edit can fail half-way.
 * 3. view->mem[0] is the only memtable that grows. The others are immutable once every commit up to
 *    their last_seq is visible, which a flush waits for.
 * 4. Memtables leave a view in the order in which they entered: the oldest is flushed first, so
 *    flushed_lsn never passes over data that is still only in memory.
 *
 * Crash: nothing here touches the disk. A switch is in the log by its position, an edit in the
 * manifest before it is applied.
 * Not here: what flushes and merges do (work.c, merge.c), choosing (compaction/pick.c).
 */
#include <assert.h>

#include "base/alloc.h"
#include "lsm/tree_priv.h"

/* ---- life ---- */

static void fill_options(struct lsm_options *o)
{
    if (o->max_buffers < 2)
        o->max_buffers = 2;
    if (o->l0_trigger == 0)
        o->l0_trigger = 4;
    if (o->multiplier < 2)
        o->multiplier = 10;
    if (o->split == 0)
        o->split = 1;
    if (o->level_base == 0)
        o->level_base = (uint64_t)o->write_buffer * o->l0_trigger;
    if (o->lz4_acceleration < 1)
        o->lz4_acceleration = 1;
}

odb_status lsm_new(const struct lsm_env *env, uint32_t family, const char *name,
                   const struct lsm_options *opt, struct lsm_tree **out)
{
    size_t len = strlen(name) + 1;
    struct lsm_tree *t = mem_zalloc(1, sizeof *t);
    char *copy = mem_alloc(len);
    struct lsm_version *empty = NULL;

    if (!t || !copy || version_make(NULL, NULL, 0, NULL, 0, &empty) != ODB_OK) {
        mem_free(copy);
        mem_free(t);
        return err_set(ODB_NOMEM, "out of memory for column family '%s'", name);
    }
    memcpy(copy, name, len);
    t->env = env;
    t->family = family;
    t->name = copy;
    t->opt = *opt;
    fill_options(&t->opt);
    t->version = empty;
    atomic_init(&t->view, NULL);
    atomic_init(&t->full_at, t->opt.write_buffer);
    os_mutex_init(&t->edit_lock, RANK_EDIT);
    os_mutex_init(&t->view_lock, RANK_TREE);
    gaps_init(&t->gaps);
    os_mutex_init(&t->sched_lock, RANK_SCHED);
    os_mutex_init(&t->compact_lock, RANK_COMPACT);
    os_mutex_init(&t->garbage_lock, RANK_GARBAGE);
    os_cond_init(&t->sched_wake);
    tree_init_jobs(t);
    *out = t;
    return ODB_OK;
}

static const struct lsm_version *newest_version(const struct lsm_tree *t)
{
    struct lsm_view *v = atomic_load_explicit(&t->view, memory_order_acquire);

    return v ? v->version : t->version;
}

static uint32_t count_files(const struct lsm_version *v)
{
    uint32_t count = 0;

    for (int i = 0; i < LSM_LEVELS; i++)
        count += v->level[i].count;
    return count;
}

void lsm_free(struct lsm_tree *t)
{
    struct lsm_view *v;
    bool was_used;

    if (!t)
        return;
    was_used = t->is_started || count_files(newest_version(t)) > 0;
    tree_free_idle_iters(t);
    v = atomic_exchange(&t->view, NULL);
    view_unref(v);
    view_discard(t->spare);
    memtable_unref(t->fresh.mem);
    version_unref(t->version);
    if (was_used) /* no reader is left: views go now, since their files point to the tree. A tree that
                     never began has one empty view, which others' readers may let go later. */
        epoch_release(t->env->epoch);
    tree_remove_garbage(t);
    gaps_destroy(&t->gaps);
    os_cond_destroy(&t->sched_wake);
    os_mutex_destroy(&t->garbage_lock);
    os_mutex_destroy(&t->compact_lock);
    os_mutex_destroy(&t->sched_lock);
    os_mutex_destroy(&t->view_lock);
    os_mutex_destroy(&t->edit_lock);
    mem_free(t->name);
    mem_free(t);
}

/* ---- views ---- */

const struct lsm_view *lsm_view(struct lsm_tree *t)
{
    return atomic_load_explicit(&t->view, memory_order_acquire);
}

struct lsm_view *tree_view_ref(struct lsm_tree *t)
{
    struct epoch_guard g = epoch_enter(t->env->epoch);
    struct lsm_view *v;

    do {
        v = atomic_load_explicit(&t->view, memory_order_acquire);
        if (CANARY(54)) {
            epoch_leave(g);
            g = epoch_enter(t->env->epoch);
        }
    } while (!view_try_ref(v));
    epoch_leave(g);
    return v;
}

struct lsm_version *tree_version_ref(struct lsm_tree *t)
{
    struct epoch_guard g = epoch_enter(t->env->epoch);
    struct lsm_version *v = lsm_view(t)->version; /* the view lets it go behind our epoch */

    version_ref(v);
    epoch_leave(g);
    return v;
}

/* Make `v` the view readers see. */
static void publish(struct lsm_tree *t, struct lsm_view *v)
{
    struct lsm_view *old;

    assert(os_mutex_held(&t->view_lock));
    old = atomic_exchange_explicit(&t->view, v, memory_order_acq_rel);
    /* Behind it: a flush job that is told of a memtable must find it, or it asks for itself again and
     * again until this thread goes on. */
    atomic_store_explicit(&t->pressure.waiting, v->mem_count - 1, memory_order_relaxed);
    atomic_store_explicit(&t->pressure.l0_files, v->version->level[0].count, memory_order_relaxed);
    view_unref(old);
}

/* Room for the memtables a view can come to hold: every buffer, and in a read-only tree, which never
 * flushes, one more than now. */
static uint32_t view_room(struct lsm_tree *t)
{
    struct epoch_guard g = epoch_enter(t->env->epoch);
    struct lsm_view *v = atomic_load_explicit(&t->view, memory_order_acquire);
    uint32_t now = v ? v->mem_count : 0;

    epoch_leave(g);
    return (now > t->opt.max_buffers ? now : t->opt.max_buffers) + 2;
}

odb_status tree_plan(struct lsm_tree *t, const struct version_add *add, uint32_t add_count,
                     const struct lsm_edit_remove *remove, uint32_t remove_count,
                     struct memtable *flushed, struct tree_change *out)
{
    struct tree_change c = {.tree = t, .flushed = flushed};
    struct lsm_view *now = tree_view_ref(t); /* a switch may replace it meanwhile, */
    odb_status st;

    assert(os_mutex_held(&t->edit_lock)); /* but with the same version */
    st = version_make(now->version, add, add_count, remove, remove_count, &c.next);
    view_unref(now);
    if (st != ODB_OK)
        return st;
    c.view = view_alloc(t, view_room(t));
    if (!c.view) {
        version_unref(c.next);
        return err_set(ODB_NOMEM, "out of memory for a view");
    }
    *out = c;
    return ODB_OK;
}

void tree_change_discard(struct tree_change *c)
{
    version_unref(c->next);
    view_discard(c->view);
    *c = (struct tree_change){0};
}

void tree_apply_with(struct tree_change *c, struct memtable *fresh, uint64_t lsn)
{
    struct lsm_tree *t = c->tree;
    struct lsm_view *now, *v = c->view;

    os_mutex_lock(&t->view_lock);
    now = atomic_load_explicit(&t->view, memory_order_relaxed);
    v->version = c->next;
    if (fresh)
        v->mem[v->mem_count++] = (struct lsm_memtable){.mem = fresh, .first_lsn = lsn};
    for (uint32_t i = 0; i < now->mem_count; i++) {
        if (now->mem[i].mem == c->flushed)
            continue;
        assert(v->mem_count < v->mem_cap);
        v->mem[v->mem_count] = now->mem[i];
        memtable_ref(v->mem[v->mem_count++].mem);
    }
    publish(t, v);
    os_mutex_unlock(&t->view_lock);
    c->next = NULL;
    c->view = NULL;
}

void tree_apply(void *change)
{
    tree_apply_with(change, NULL, 0);
}

bool tree_publish_empty(struct lsm_tree *t)
{
    struct lsm_view *v = view_alloc(t, view_room(t));
    struct memtable *mem = NULL;
    struct lsm_version *empty = NULL;

    if (!v || memtable_new(&mem) != ODB_OK ||
        version_make(NULL, NULL, 0, NULL, 0, &empty) != ODB_OK) {
        memtable_unref(mem);
        view_discard(v);
        return false;
    }
    v->version = empty;
    v->mem[0] = (struct lsm_memtable){.mem = mem, .first_lsn = UINT64_MAX};
    v->mem_count = 1;
    os_mutex_lock(&t->edit_lock);
    os_mutex_lock(&t->view_lock);
    publish(t, v);
    os_mutex_unlock(&t->view_lock);
    os_mutex_unlock(&t->edit_lock);
    return true;
}

/* ---- memtables ---- */

struct memtable *lsm_active(struct lsm_tree *t)
{
    return lsm_view(t)->mem[0].mem;
}

bool lsm_is_full(struct lsm_tree *t)
{
    return memtable_bytes(lsm_view(t)->mem[0].mem) >=
           atomic_load_explicit(&t->full_at, memory_order_relaxed);
}

odb_status lsm_prepare_switch(struct lsm_tree *t)
{
    struct memtable *mem = NULL;
    struct lsm_view *v;
    bool has_spare;
    odb_status st;

    if (!t->env->is_readonly &&
        atomic_load_explicit(&t->pressure.waiting, memory_order_relaxed) + 1 >= t->opt.max_buffers)
        return err_set(ODB_AGAIN, "all %u write buffers of '%s' wait to be flushed",
                       t->opt.max_buffers, t->name);
    os_mutex_lock(&t->view_lock);
    has_spare = t->spare && t->fresh.mem;
    os_mutex_unlock(&t->view_lock);
    if (has_spare)
        return ODB_OK;
    st = memtable_new(&mem);
    if (st != ODB_OK)
        return st;
    v = view_alloc(t, view_room(t));
    if (!v) {
        memtable_unref(mem);
        return err_set(ODB_NOMEM, "out of memory for a view");
    }
    os_mutex_lock(&t->view_lock);
    if (!t->spare && !t->fresh.mem) {
        t->spare = v;
        t->fresh.mem = mem;
        v = NULL;
        mem = NULL;
    }
    os_mutex_unlock(&t->view_lock);
    view_discard(v); /* somebody else was faster */
    memtable_unref(mem);
    return ODB_OK;
}

void lsm_switch(struct lsm_tree *t, uint64_t lsn, uint64_t last_seq)
{
    struct lsm_view *now, *v;

    os_mutex_lock(&t->view_lock);
    now = atomic_load_explicit(&t->view, memory_order_relaxed);
    v = t->spare;
    if (!v || !t->fresh.mem || memtable_count(now->mem[0].mem) == 0 ||
        v->mem_cap < now->mem_count + 1 ||
        (!t->env->is_readonly && now->mem_count >= t->opt.max_buffers)) {
        os_mutex_unlock(&t->view_lock);
        return;
    }
    t->spare = NULL;
    v->version = now->version;
    version_ref(v->version);
    v->mem[0] = (struct lsm_memtable){.mem = t->fresh.mem, .first_lsn = lsn};
    t->fresh.mem = NULL;
    for (uint32_t i = 0; i < now->mem_count; i++) {
        v->mem[i + 1] = now->mem[i];
        memtable_ref(v->mem[i + 1].mem);
    }
    v->mem[1].end_lsn = lsn;
    v->mem[1].last_seq = last_seq;
    v->mem_count = now->mem_count + 1;
    publish(t, v);
    os_mutex_unlock(&t->view_lock);
    tree_kick(t);
}

void lsm_note_idle(struct lsm_tree *t, uint64_t lsn)
{
    struct lsm_view *v;

    os_mutex_lock(&t->view_lock);
    v = atomic_load_explicit(&t->view, memory_order_relaxed);
    if (memtable_count(v->mem[0].mem) == 0 && lsn > v->mem[0].first_lsn)
        v->mem[0].first_lsn = lsn; /* only ever read under view_lock */
    os_mutex_unlock(&t->view_lock);
}

uint64_t lsm_needed_lsn(struct lsm_tree *t)
{
    struct lsm_view *v;
    uint64_t lsn;

    os_mutex_lock(&t->view_lock);
    v = atomic_load_explicit(&t->view, memory_order_relaxed);
    lsn = v->mem[v->mem_count - 1].first_lsn;
    os_mutex_unlock(&t->view_lock);
    return lsn;
}

/* ---- recovery: one thread, nothing published yet ---- */

odb_status lsm_replay_edit(struct lsm_tree *t, const struct lsm_edit *edit)
{
    struct version_add *add = mem_zalloc(edit->add_count, sizeof *add);
    struct lsm_version *next = NULL;
    struct sst_meta meta = {0};
    uint32_t made = 0, level;
    odb_status st = ODB_OK;

    if (!add)
        return err_set(ODB_NOMEM, "out of memory replaying the manifest");
    for (uint32_t i = 0; i < edit->remove_count && st == ODB_OK; i++)
        if (!version_find(t->version, edit->remove[i].file_no, &level) ||
            level != edit->remove[i].level)
            st = err_set(ODB_CORRUPT, "the manifest removes table %llu of '%s', which is not there",
                         (unsigned long long)edit->remove[i].file_no, t->name);
    for (; made < edit->add_count && st == ODB_OK; made++) {
        const struct lsm_edit_add *a = &edit->add[made];
        struct lsm_file *old = version_find(t->version, a->meta.file_no, &level);

        if (old && !edit_removes(edit->remove, edit->remove_count, level, a->meta.file_no))
            st = err_set(ODB_CORRUPT, "the manifest adds table %llu of '%s' twice",
                         (unsigned long long)a->meta.file_no, t->name);
        if (st == ODB_OK)
            st = sst_meta_copy(&meta, &a->meta);
        if (st == ODB_OK)
            st = file_new(t, &meta, &add[made].file);
        sst_meta_release(&meta);
        if (st != ODB_OK)
            break;
        add[made].level = a->level;
    }
    if (st == ODB_OK)
        st = version_make(t->version, add, made, edit->remove, edit->remove_count, &next);
    for (uint32_t i = 0; i < made; i++)
        file_unref(add[i].file);
    mem_free(add);
    if (st == ODB_OK) {
        version_unref(t->version);
        t->version = next;
    }
    return st;
}

odb_status lsm_snapshot_edit(struct lsm_tree *t, struct lsm_edit *out)
{
    const struct lsm_version *v = newest_version(t);
    struct lsm_edit e = {.family = t->family};
    odb_status st = ODB_OK;

    e.add = mem_zalloc(count_files(v), sizeof *e.add);
    if (!e.add)
        return err_set(ODB_NOMEM, "out of memory for a snapshot of the manifest");
    for (uint32_t i = 0; i < LSM_LEVELS && st == ODB_OK; i++)
        for (uint32_t k = 0; k < v->level[i].count && st == ODB_OK; k++) {
            e.add[e.add_count].level = i;
            st = sst_meta_copy(&e.add[e.add_count++].meta, &v->level[i].files[k]->meta);
        }
    if (st != ODB_OK) {
        lsm_edit_release(&e);
        return st;
    }
    *out = e;
    return ODB_OK;
}

odb_status lsm_open_memtable(struct lsm_tree *t, uint64_t lsn)
{
    struct lsm_view *v = view_alloc(t, view_room(t));
    struct memtable *mem = NULL;
    odb_status st;

    if (!v)
        return err_set(ODB_NOMEM, "out of memory for a view");
    st = memtable_new(&mem);
    if (st != ODB_OK) {
        view_discard(v);
        return st;
    }
    v->mem[0] = (struct lsm_memtable){.mem = mem, .first_lsn = lsn};
    v->mem_count = 1;
    os_mutex_lock(&t->view_lock);
    v->version = t->version;
    t->version = NULL;
    publish(t, v);
    os_mutex_unlock(&t->view_lock);
    return ODB_OK;
}

uint64_t lsm_max_seq(struct lsm_tree *t)
{
    const struct lsm_version *v = newest_version(t);
    uint64_t max = 0;

    for (int i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->level[i].count; k++)
            if (v->level[i].files[k]->meta.max_seq > max)
                max = v->level[i].files[k]->meta.max_seq;
    return max;
}
