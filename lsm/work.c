/* lsm/work.c -- flushes, merges and the removal of dead tables, as background jobs.
 *
 *      lsm_switch -> flush job -> level 0 grows -> merge jobs -> dead tables -> clean job
 *
 *   job                how many        may start when
 *   flush              one a tree      an immutable memtable exists
 *   merge              up to 3         pick_next finds tables that no running job uses
 *   clean              one             the garbage list is not empty
 *
 * 1. A table is input of at most one job: its busy mark is set and cleared under sched_lock (C36).
 * 2. A job's tables join the tree only after the manifest says so; until then they belong to the job,
 *    which removes them when it fails before the manifest was touched. Once the manifest was asked,
 *    nothing is removed, whatever it answered: it may yet name them (C6, C8).
 * 3. The first failure sticks (`failed`) and stops new jobs, so that an error is seen once and not
 *    a thousand times. A full disk, or want of memory or descriptors, is the exception: it is tried
 *    again when a writer needs room or somebody asks (lsm_resume), since it heals by itself.
 * 4. Removal of a table file comes after the edit that drops it is durable (version.c (3)).
 *
 * Crash: a flush or merge that did not reach the manifest leaves tables nobody names; recovery sweeps
 * them.
 */
#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "lsm/tree_priv.h"

/* ---- waiting ---- */

/* Wait a little for background work; where no threads run, do some of it. Under sched_lock, which is
 * let go meanwhile. */
static void wait_for_work(struct lsm_tree *t) ODB_REQUIRES(t->sched_lock);
static void wait_for_work(struct lsm_tree *t)
{
    if (exec_has_threads(t->env->exec)) {
        /* glibc up to 2.40 may lose the signal of a condition (its bug 25847): then jobs are queued while all
         * workers sleep. Who waits for them notices, and wakes them again. */
        if (!os_cond_wait_for(&t->sched_wake, &t->sched_lock, 50 * 1000 * 1000))
            exec_nudge(t->env->exec);
        return;
    }
    os_mutex_unlock(&t->sched_lock);
    if (!exec_run_one(t->env->exec))
        os_thread_yield(); /* another thread is running the job we wait for */
    os_mutex_lock(&t->sched_lock);
}

/* Why there will be no more work: nobody needs it, or it failed. */
static odb_status failure(struct lsm_tree *t)
{
    assert(os_mutex_held(&t->sched_lock));
    if (t->is_stopping)
        return err_set(ODB_CANCELLED, "the column family is being closed or dropped");
    return t->failed == ODB_OK ? ODB_OK : err_restore(t->failed, t->failed_text);
}

/* The same, forgetting what may heal. That other work found the disk full says nothing of what comes now, which
 * may empty it. */
static odb_status lasting_failure(struct lsm_tree *t)
{
    if (lsm_failure_heals(t->failed))
        t->failed = ODB_OK;
    return failure(t);
}

/* Remember the first failure and tell the owner. No lock held. */
static void note_failure(struct lsm_tree *t, odb_status st)
{
    os_mutex_lock(&t->sched_lock);
    if (st == ODB_CANCELLED) {
        /* By the owner, for good, though lsm_stop may be yet to come: the same work again would end the same. */
        t->is_stopping = true;
    } else if (t->failed == ODB_OK || lsm_failure_heals(t->failed)) {
        t->failed = st;
        err_save(t->failed_text);
    }
    os_mutex_unlock(&t->sched_lock);
    t->env->failed(t->env->owner, st);
}

static void say(struct lsm_tree *t, const char *text)
{
    if (t->env->note)
        t->env->note(t->env->owner, text);
}

static bool work_makes_room(struct lsm_tree *t)
{
    return t->env->make_room && t->env->make_room(t->env->owner);
}

/* ---- making a change durable ---- */

/* Tables a job wrote, as files of the tree. */
static odb_status adopt_tables(struct lsm_tree *t, struct compact_result *r, uint32_t level,
                               struct version_add **out)
{
    struct version_add *add = mem_zalloc(r->count, sizeof *add);
    struct sst_meta meta = {0};
    uint32_t made = 0;
    odb_status st = add ? ODB_OK : err_set(ODB_NOMEM, "out of memory for %u tables", r->count);

    for (; st == ODB_OK && made < r->count; made++) {
        st = sst_meta_copy(&meta, &r->tables[made]);
        if (st == ODB_OK)
            st = file_new(t, &meta, &add[made].file);
        sst_meta_release(&meta);
        if (st != ODB_OK)
            break;
        add[made].level = level;
    }
    if (st != ODB_OK) {
        while (made > 0)
            file_unref(add[--made].file);
        mem_free(add);
        return st;
    }
    *out = add;
    return ODB_OK;
}

static odb_status edit_from(struct lsm_tree *t, const struct version_add *add, uint32_t add_count,
                            struct lsm_edit_remove *remove, uint32_t remove_count,
                            struct lsm_edit *out)
{
    struct lsm_edit e = {.family = t->family, .remove = remove, .remove_count = remove_count};
    odb_status st = ODB_OK;

    e.add = mem_zalloc(add_count, sizeof *e.add);
    if (!e.add)
        return err_set(ODB_NOMEM, "out of memory for an edit of %u tables", add_count);
    for (; e.add_count < add_count && st == ODB_OK; e.add_count++) {
        e.add[e.add_count].level = add[e.add_count].level;
        st = sst_meta_copy(&e.add[e.add_count].meta, &add[e.add_count].file->meta);
    }
    if (st != ODB_OK) {
        e.remove = NULL; /* borrowed */
        lsm_edit_release(&e);
        return st;
    }
    *out = e;
    return ODB_OK;
}

/* Log and publish: add and remove tables, and (flush) let a memtable go. *was_asked tells whether
 * the manifest was reached, after which the tables must stay on the disk. */
static odb_status install(struct lsm_tree *t, const struct version_add *add, uint32_t add_count,
                          struct lsm_edit_remove *remove, uint32_t remove_count,
                          const struct lsm_memtable *flushed, bool *was_asked)
{
    struct tree_change change = {0};
    struct lsm_edit edit = {0};
    odb_status st = edit_from(t, add, add_count, remove, remove_count, &edit);

    *was_asked = false;
    if (st != ODB_OK)
        return st;
    if (flushed) {
        edit.has_flushed = true;
        edit.flushed_lsn = flushed->end_lsn;
    }
    os_mutex_lock(&t->edit_lock);
    if (!flushed && atomic_load_explicit(&t->cancel, memory_order_relaxed))
        /* lsm_drop may have emptied the version: that is no damage */
        st = err_set(ODB_CANCELLED, "the column family was dropped");
    else
        st = tree_plan(t, add, add_count, remove, remove_count, flushed ? flushed->mem : NULL,
                       &change);
    if (st == ODB_OK) {
        *was_asked = true;
        st = t->env->log_edit(t->env->owner, &edit, tree_apply, &change);
        tree_change_discard(&change);
    }
    os_mutex_unlock(&t->edit_lock);
    edit.remove = NULL; /* borrowed */
    lsm_edit_release(&edit);
    return st;
}

/* Sync the directory, without which a power cut could forget the names of tables the manifest
 * names, then install the result of a job at `level`. */
static odb_status install_result(struct lsm_tree *t, struct compact_result *r, uint32_t level,
                                 struct lsm_edit_remove *remove, uint32_t remove_count,
                                 const struct lsm_memtable *flushed)
{
    struct version_add *add = NULL;
    bool was_asked = false;
    odb_status st = r->count ? os_dir_sync(t->env->dir) : ODB_OK;

    if (st == ODB_OK)
        st = adopt_tables(t, r, level, &add);
    if (st == ODB_OK)
        st = install(t, add, r->count, remove, remove_count, flushed, &was_asked);
    if (st != ODB_OK && (!was_asked || CANARY(10)))
        tree_remove_outputs(t, r);
    for (uint32_t i = 0; add && i < r->count; i++)
        file_unref(add[i].file);
    mem_free(add);
    return st;
}

/* ---- flush ---- */

static odb_status flush_memtable(struct lsm_tree *t, const struct lsm_view *v,
                                 const struct lsm_memtable *m)
{
    struct tree_merge merge = {.tree = t, .version = v->version, .memtable = m->mem};
    struct compact_result result = {0};
    uint64_t *snapshots = NULL, began = os_now_ns(t->env->os), ns;
    char line[160];
    odb_status st;

    t->env->wait_visible(t->env->owner, m->last_seq); /* its last inserts are complete */
    st = t->env->snapshots(t->env->owner, &snapshots, &merge.snapshot_count);
    merge.snapshots = snapshots;
    if (st == ODB_OK)
        st = tree_merge_run(&merge, &result);
    mem_free(snapshots);
    if (st == ODB_OK)
        st = install_result(t, &result, 0, NULL, 0, m);
    ns = os_now_ns(t->env->os) - began;
    if (st == ODB_OK) {
        pressure_note_flush(t, memtable_bytes(m->mem), ns);
        t->count.flushes++;
        t->count.flush_bytes += result.bytes_out;
        t->count.flush_entries += result.entries_in;
        t->count.flush_ns += ns;
        (void)snprintf(line, sizeof line, "flush %s: %llu entries to %llu bytes in %llu ms",
                       t->name, (unsigned long long)result.entries_in,
                       (unsigned long long)result.bytes_out, (unsigned long long)(ns / 1000000));
        say(t, line);
    }
    compact_result_release(&result);
    return st;
}

/* Flush the oldest immutable memtable; *did is false when there is none. */
static odb_status flush_oldest(struct lsm_tree *t, bool *did)
{
    struct lsm_view *v = tree_view_ref(t);
    odb_status st = ODB_OK;

    *did = v->mem_count > 1;
    if (*did)
        st = flush_memtable(t, v, &v->mem[v->mem_count - 1]);
    view_unref(v);
    return st;
}

static void flush_run(struct exec_job *job)
{
    struct lsm_tree *t =
        (struct lsm_tree *)(void *)((char *)job - offsetof(struct lsm_tree, flush_job));
    odb_status st = ODB_OK;
    bool go, did = true;

    os_mutex_lock(&t->sched_lock);
    go = !t->is_stopping && t->failed == ODB_OK;
    os_mutex_unlock(&t->sched_lock);
    while (go && did) {
        st = flush_oldest(t, &did);
        if (st == ODB_NOSPACE && work_makes_room(t))
            st = flush_oldest(t, &did);
        if (st != ODB_OK) {
            note_failure(t, st);
            break;
        }
        if (did) {
            (void)epoch_collect(t->env->epoch); /* the memtable's memory goes now, not some day */
            t->env->flushed(t->env->owner);
        }
        os_mutex_lock(&t->sched_lock);
        go = !t->is_stopping && t->failed == ODB_OK;
        tree_schedule(t); /* level 0 has grown */
        os_cond_broadcast(&t->sched_wake);
        os_mutex_unlock(&t->sched_lock);
    }
    os_mutex_lock(&t->sched_lock);
    t->flush_queued = false;
    tree_schedule(t);
    os_cond_broadcast(&t->sched_wake);
    os_mutex_unlock(&t->sched_lock);
}

odb_status lsm_flush_for_recovery(struct lsm_tree *t, uint64_t lsn)
{
    uint64_t all = SEQ_MAX; /* nobody reads yet: only the newest version of a key matters */
    struct lsm_view *v = tree_view_ref(t);
    struct compact_result result = {0};
    struct version_add *add = NULL;
    struct tree_change change = {0};
    struct memtable *mem = NULL;
    odb_status st = ODB_OK;
    struct tree_merge merge = {.tree = t,
                               .version = v->version,
                               .memtable = v->mem[0].mem,
                               .is_urgent = true,
                               .snapshots = &all,
                               .snapshot_count = 1};

    assert(v->mem_count == 1);
    if (memtable_count(v->mem[0].mem) == 0)
        goto done;
    st = memtable_new(&mem);
    if (st == ODB_OK)
        st = tree_merge_run(&merge, &result);
    if (st == ODB_OK)
        st = adopt_tables(t, &result, 0, &add);
    if (st != ODB_OK)
        goto done;
    os_mutex_lock(&t->edit_lock);
    st = tree_plan(t, add, result.count, NULL, 0, v->mem[0].mem, &change);
    if (st == ODB_OK) {
        tree_apply_with(&change, mem, lsn);
        mem = NULL;
    }
    os_mutex_unlock(&t->edit_lock);
done:
    if (st == ODB_OK && mem == NULL && result.count == 0)
        lsm_note_idle(t, lsn);
    if (st != ODB_OK)
        tree_remove_outputs(t, &result);
    for (uint32_t i = 0; add && i < result.count; i++)
        file_unref(add[i].file);
    mem_free(add);
    memtable_unref(mem);
    compact_result_release(&result);
    view_unref(v);
    return st;
}

/* ---- merges ---- */

/* The oldest sequence number somebody reads at; 0 when memory ran out asking. */
static uint64_t oldest_reader(struct lsm_tree *t)
{
    uint64_t *seqs = NULL, oldest = 0;
    uint32_t count = 0;

    if (t->env->snapshots(t->env->owner, &seqs, &count) == ODB_OK && count > 0)
        oldest = seqs[0];
    mem_free(seqs);
    return oldest;
}

odb_status tree_pick_view(struct lsm_tree *t, const struct lsm_version *v, struct pick_view *out)
{
    struct pick_options opt = {t->opt.l0_trigger, t->opt.level_base, t->opt.multiplier,
                               t->opt.target_file_size};
    struct pick_view pv = {.l0_trigger = t->opt.l0_trigger,
                           .file_target = t->opt.target_file_size,
                           .oldest_seq = oldest_reader(t)};

    for (int i = 0; i < LSM_LEVELS; i++) {
        const struct lsm_level *l = &v->level[i];
        struct pick_file *f = mem_array(l->count ? l->count : 1, sizeof *f);

        if (!f) {
            tree_pick_view_release(&pv);
            return err_set(ODB_NOMEM, "out of memory picking a merge");
        }
        for (uint32_t k = 0; k < l->count; k++) {
            const struct lsm_file *x = l->files[k];

            f[k] = (struct pick_file){x->meta.file_no, x->meta.size,    x->meta.entries,
                                      x->meta.deletes, x->meta.max_seq, file_smallest(x),
                                      file_largest(x), x->is_busy,      x->is_marked};
        }
        pv.level[i].files = f;
        pv.level[i].count = l->count;
    }
    pick_shape(&pv, &opt);
    *out = pv;
    return ODB_OK;
}

void tree_pick_view_release(struct pick_view *v)
{
    for (int i = 0; i < LSM_LEVELS; i++)
        mem_free((void *)(uintptr_t)v->level[i].files);
    *v = (struct pick_view){0};
}

/* A merge that was picked: its inputs are marked busy and referenced through `version`. */
struct picked {
    struct lsm_version *version;
    struct lsm_file **file; /* upper, then lower */
    uint32_t upper_count;
    uint32_t lower_count;
    uint32_t from;
    uint32_t to;
    bool is_trivial;
};

static void mark_busy(struct picked *p, bool busy)
{
    for (uint32_t i = 0; i < p->upper_count + p->lower_count; i++)
        p->file[i]->is_busy = busy && !CANARY(36);
}

static void picked_release(struct picked *p)
{
    mem_free(p->file);
    version_unref(p->version);
    *p = (struct picked){0};
}

/* Turn a pick into files and mark them. Under sched_lock; takes over the reference on ODB_OK. */
static odb_status take_pick(struct lsm_version *v, const struct pick *k, struct picked *out)
{
    struct picked p = {.version = v,
                       .upper_count = k->upper_count,
                       .lower_count = k->lower_count,
                       .from = k->from,
                       .to = k->to,
                       .is_trivial = k->is_trivial};

    p.file = mem_array(k->upper_count + k->lower_count, sizeof(struct lsm_file *));
    if (!p.file)
        return err_set(ODB_NOMEM, "out of memory for a merge");
    for (uint32_t i = 0; i < k->upper_count; i++)
        p.file[i] = v->level[k->from].files[k->upper[i]];
    for (uint32_t i = 0; i < k->lower_count; i++)
        p.file[k->upper_count + i] = v->level[k->to].files[k->lower[i]];
    mark_busy(&p, true);
    *out = p;
    return ODB_OK;
}

static uint64_t picked_bytes(const struct picked *p)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < p->upper_count + p->lower_count; i++)
        bytes += p->file[i]->meta.size;
    return bytes;
}

static struct lsm_edit_remove *removals(const struct picked *p)
{
    uint32_t n = p->upper_count + p->lower_count;
    struct lsm_edit_remove *r = mem_array(n, sizeof *r);

    for (uint32_t i = 0; r && i < n; i++)
        r[i] = (struct lsm_edit_remove){i < p->upper_count ? p->from : p->to,
                                        p->file[i]->meta.file_no};
    return r;
}

/* The same tables, one level further down: no byte is written but the manifest's. */
static odb_status move_down(struct lsm_tree *t, const struct picked *p,
                            struct lsm_edit_remove *remove)
{
    struct version_add *add = mem_array(p->upper_count, sizeof *add);
    bool was_asked;
    odb_status st;

    if (!add)
        return err_set(ODB_NOMEM, "out of memory for a move of %u tables", p->upper_count);
    for (uint32_t i = 0; i < p->upper_count; i++)
        add[i] = (struct version_add){p->to, p->file[i]};
    st = install(t, add, p->upper_count, remove, p->upper_count, NULL, &was_asked);
    if (st == ODB_OK)
        t->count.moves++;
    mem_free(add);
    return st;
}

static odb_status rewrite(struct lsm_tree *t, const struct picked *p,
                          struct lsm_edit_remove *remove)
{
    struct tree_merge merge = {.tree = t,
                               .version = p->version,
                               .upper = p->file,
                               .upper_count = p->upper_count,
                               .lower = p->file + p->upper_count,
                               .lower_count = p->lower_count,
                               .from = p->from,
                               .to = p->to};
    struct compact_result result = {0};
    uint64_t *snapshots = NULL, began = os_now_ns(t->env->os), bytes = 0, ns;
    uint32_t n = p->upper_count + p->lower_count;
    char line[160];
    odb_status st = t->env->snapshots(t->env->owner, &snapshots, &merge.snapshot_count);

    merge.snapshots = snapshots;
    if (st == ODB_OK)
        st = tree_merge_run(&merge, &result);
    mem_free(snapshots);
    if (st == ODB_OK)
        st = install_result(t, &result, p->to, remove, n, NULL);
    if (st == ODB_OK) {
        for (uint32_t i = 0; i < n; i++) {
            bytes += p->file[i]->meta.size;
            atomic_store_explicit(&p->file[i]->is_obsolete, true, memory_order_relaxed);
        }
        ns = os_now_ns(t->env->os) - began;
        if (p->from == 0)
            pressure_note_merge(t, bytes, ns);
        t->count.merges++;
        t->count.merge_bytes_in += bytes;
        t->count.merge_bytes_out += result.bytes_out;
        t->count.merge_entries += result.entries_in;
        t->count.merge_ns += ns;
        (void)snprintf(line, sizeof line,
                       "merge %s: %u + %u tables of level %u to %u of level %u, %llu to %llu bytes "
                       "in %llu ms",
                       t->name, p->upper_count, p->lower_count, p->from, result.count, p->to,
                       (unsigned long long)bytes, (unsigned long long)result.bytes_out,
                       (unsigned long long)(ns / 1000000));
        say(t, line);
    }
    compact_result_release(&result);
    return st;
}

/* Do what was picked, then clear its marks. No lock held. */
static odb_status run_picked(struct lsm_tree *t, struct picked *p)
{
    struct lsm_edit_remove *remove = removals(p);
    odb_status st;

    if (!remove)
        st = err_set(ODB_NOMEM, "out of memory for a merge");
    else if (p->is_trivial)
        st = move_down(t, p, remove);
    else
        st = rewrite(t, p, remove);
    if (st == ODB_NOSPACE && !p->is_trivial && work_makes_room(t))
        st = rewrite(t, p, remove);
    mem_free(remove);
    os_mutex_lock(&t->sched_lock);
    mark_busy(p, false);
    os_mutex_unlock(&t->sched_lock);
    picked_release(p);
    return st;
}

/* The next automatic merge; *found is false when there is none. Under sched_lock. */
static odb_status pick_automatic(struct lsm_tree *t, struct picked *out, bool *found)
{
    struct lsm_version *v = tree_version_ref(t);
    struct pick_view pv = {0};
    struct pick k = {0};
    odb_status st = tree_pick_view(t, v, &pv);

    *found = false;
    if (st == ODB_OK)
        st = pick_next(&pv, &k);
    if (st == ODB_OK && k.reason != PICK_NONE) {
        st = take_pick(v, &k, out);
        if (st == ODB_OK) {
            *found = true;
            v = NULL;
        }
    }
    pick_release(&k);
    tree_pick_view_release(&pv);
    version_unref(v);
    return st;
}

/* One step of a manual compaction: the next merge of [begin, end] out of `level`; *found is false
 * when none is left there. Waits for running merges that are in the way. */
odb_status tree_merge_range(struct lsm_tree *t, uint32_t level, odb_slice begin, odb_slice end,
                            bool *found, uint64_t *bytes)
{
    struct picked p;
    odb_status st = ODB_OK;

    *found = false;
    os_mutex_lock(&t->sched_lock);
    while (st == ODB_OK && !*found) {
        struct lsm_version *v = tree_version_ref(t);
        struct pick_view pv = {0};
        struct pick k = {0};
        bool is_blocked = false;

        st = lasting_failure(t);
        if (st == ODB_OK)
            st = tree_pick_view(t, v, &pv);
        if (st == ODB_OK)
            st = pick_range(&pv, level, begin, end, &is_blocked, &k);
        if (st == ODB_OK && k.reason != PICK_NONE) {
            st = take_pick(v, &k, &p);
            *found = st == ODB_OK;
        }
        pick_release(&k);
        tree_pick_view_release(&pv);
        if (!*found)
            version_unref(v);
        if (st == ODB_OK && !*found && !is_blocked)
            break;
        if (st == ODB_OK && !*found)
            wait_for_work(t);
    }
    os_mutex_unlock(&t->sched_lock);
    if (!*found)
        return st;
    *bytes = picked_bytes(&p);
    return run_picked(t, &p);
}

/* Rewrite the next table of `level` in [begin, end] that carries deletes and was there before the
 * compaction began (its number is below `before`), so that deletes a snapshot still needs are not
 * tried again and again. *found is false when none is left. */
odb_status tree_rewrite_deletes(struct lsm_tree *t, uint32_t level, odb_slice begin, odb_slice end,
                                uint64_t before, bool *found, uint64_t *bytes)
{
    struct picked p = {.upper_count = 1, .from = level, .to = level};
    const struct lsm_level *l;
    odb_status st;

    *found = false;
    p.file = mem_array(1, sizeof(struct lsm_file *));
    if (!p.file)
        return err_set(ODB_NOMEM, "out of memory for a merge");
    os_mutex_lock(&t->sched_lock);
    p.version = tree_version_ref(t); /* under the lock: what is not busy in it is still there */
    l = &p.version->level[level];
    st = lasting_failure(t);
    for (uint32_t i = 0; i < l->count && !*found && st == ODB_OK; i++) {
        struct lsm_file *f = l->files[i];

        if (f->is_busy || f->meta.deletes == 0 || f->meta.file_no >= before ||
            (end.data && odb_slice_compare(file_smallest(f), end) > 0) ||
            (begin.data && odb_slice_compare(file_largest(f), begin) < 0))
            continue;
        p.file[0] = f;
        f->is_busy = true;
        *found = true;
    }
    os_mutex_unlock(&t->sched_lock);
    if (!*found) {
        picked_release(&p);
        return st;
    }
    *bytes = picked_bytes(&p);
    return run_picked(t, &p);
}

static bool may_merge(const struct lsm_tree *t)
{
    return t->opt.auto_compact && !t->is_stopping && t->failed == ODB_OK && t->manual == 0;
}

static void merge_run(struct exec_job *job)
{
    struct lsm_merge_job *m = (struct lsm_merge_job *)(void *)job;
    struct lsm_tree *t = m->tree;
    struct picked p;
    bool found = false;
    odb_status st = ODB_OK;

    os_mutex_lock(&t->sched_lock);
    if (may_merge(t))
        st = pick_automatic(t, &p, &found);
    if (found) {
        tree_schedule(t);      /* another merge may fit beside this one */
    } else if (st == ODB_OK) { /* in one hold: whoever asks now finds the job free */
        m->is_queued = false;
        os_cond_broadcast(&t->sched_wake);
        os_mutex_unlock(&t->sched_lock);
        return;
    }
    os_mutex_unlock(&t->sched_lock);
    if (found)
        st = run_picked(t, &p);
    if (st != ODB_OK)
        note_failure(t, st);
    os_mutex_lock(&t->sched_lock);
    m->is_queued = false;
    if (found)
        tree_schedule(t);
    os_cond_broadcast(&t->sched_wake);
    os_mutex_unlock(&t->sched_lock);
}

/* ---- garbage ---- */

void tree_add_garbage(struct lsm_tree *t, struct lsm_file *f)
{
    os_mutex_lock(&t->garbage_lock);
    f->in_garbage = t->garbage;
    t->garbage = f;
    os_mutex_unlock(&t->garbage_lock);
    atomic_store_explicit(&t->has_garbage, true, memory_order_release);
}

void tree_remove_garbage(struct lsm_tree *t)
{
    char name[SST_NAME_MAX];
    struct lsm_file *f;

    os_mutex_lock(&t->garbage_lock);
    f = t->garbage;
    t->garbage = NULL;
    atomic_store_explicit(&t->has_garbage, false, memory_order_relaxed);
    os_mutex_unlock(&t->garbage_lock);
    while (f) {
        struct lsm_file *next = f->in_garbage;

        sst_file_name(f->meta.file_no, name);
        err_ignore(os_remove(t->env->dir, name)); /* swept at the next open otherwise */
        file_free(f);
        f = next;
    }
}

static void clean_run(struct exec_job *job)
{
    struct lsm_tree *t =
        (struct lsm_tree *)(void *)((char *)job - offsetof(struct lsm_tree, clean_job));

    (void)epoch_collect(t->env->epoch); /* lets the versions go that hold dead tables */
    tree_remove_garbage(t);
    os_mutex_lock(&t->sched_lock);
    t->clean_queued = false;
    os_cond_broadcast(&t->sched_wake);
    os_mutex_unlock(&t->sched_lock);
}

/* ---- scheduling ---- */

static void kick_run(struct exec_job *job)
{
    struct lsm_tree *t =
        (struct lsm_tree *)(void *)((char *)job - offsetof(struct lsm_tree, kick_job));

    os_mutex_lock(&t->sched_lock);
    (void)atomic_exchange_explicit(&t->kick_queued, false, memory_order_acq_rel);
    tree_schedule(t);
    os_cond_broadcast(&t->sched_wake);
    os_mutex_unlock(&t->sched_lock);
}

void tree_kick(struct lsm_tree *t)
{
    if (!t->env->is_readonly &&
        !atomic_exchange_explicit(&t->kick_queued, true, memory_order_acq_rel))
        exec_submit(t->env->exec, &t->kick_job);
}

void tree_init_jobs(struct lsm_tree *t)
{
    t->kick_job = (struct exec_job){.run = kick_run, .priority = EXEC_HIGH};
    atomic_init(&t->kick_queued, false);
    t->flush_job = (struct exec_job){.run = flush_run, .priority = EXEC_HIGH};
    t->clean_job = (struct exec_job){.run = clean_run, .priority = EXEC_LOW};
    for (int i = 0; i < LSM_MERGES; i++) {
        t->merge_job[i].job = (struct exec_job){.run = merge_run, .priority = EXEC_LOW};
        t->merge_job[i].tree = t;
    }
}

static void submit_merge(struct lsm_tree *t)
{
    for (int i = 0; i < LSM_MERGES; i++)
        if (!t->merge_job[i].is_queued) {
            t->merge_job[i].is_queued = true;
            exec_submit(t->env->exec, &t->merge_job[i].job);
            return;
        }
}

static void submit_flush(struct lsm_tree *t) ODB_REQUIRES(t->sched_lock);
static void submit_flush(struct lsm_tree *t)
{
    if (!t->flush_queued && atomic_load_explicit(&t->pressure.waiting, memory_order_relaxed) > 0) {
        t->flush_queued = true;
        exec_submit(t->env->exec, &t->flush_job);
    }
}

void tree_schedule(struct lsm_tree *t)
{
    assert(os_mutex_held(&t->sched_lock));
    if (!t->is_started || t->is_stopping || t->env->is_readonly)
        return;
    if (!t->clean_queued) { /* cheap, and the epoch moves on with it */
        t->clean_queued = true;
        exec_submit(t->env->exec, &t->clean_job);
    }
    if (t->failed != ODB_OK)
        return;
    submit_flush(t);
    if (may_merge(t))
        submit_merge(t);
}

void lsm_start(struct lsm_tree *t)
{
    struct lsm_view *v = tree_view_ref(t);
    bool has_tables = false;

    os_mutex_lock(&t->sched_lock);
    t->is_started = true;
    /* An empty tree has nothing to merge or to clean away: no worker is started for it. */
    for (int i = 0; i < LSM_LEVELS && !has_tables; i++)
        has_tables = v->version->level[i].count > 0;
    if (has_tables || v->mem_count > 1)
        tree_schedule(t);
    os_mutex_unlock(&t->sched_lock);
    view_unref(v);
}

static bool jobs_pending(const struct lsm_tree *t)
{
    bool any = t->flush_queued || t->clean_queued ||
               atomic_load_explicit(&t->kick_queued, memory_order_relaxed);

    for (int i = 0; i < LSM_MERGES; i++)
        any = any || t->merge_job[i].is_queued;
    return any;
}

void lsm_stop(struct lsm_tree *t)
{
    os_mutex_lock(&t->sched_lock);
    /* In one hold: a worker whose merge is cancelled does not take it up again. */
    atomic_store_explicit(&t->cancel, true, memory_order_relaxed);
    t->is_stopping = true;
    while (jobs_pending(t))
        wait_for_work(t);
    os_mutex_unlock(&t->sched_lock);
}

/* Under sched_lock: try again what may heal. */
static odb_status resume(struct lsm_tree *t) ODB_REQUIRES(t->sched_lock);
static odb_status resume(struct lsm_tree *t)
{
    odb_status st = lasting_failure(t);

    tree_schedule(t);
    return st;
}

void lsm_resume(struct lsm_tree *t)
{
    os_mutex_lock(&t->sched_lock);
    if (lsm_failure_heals(t->failed))
        err_ignore(resume(t));
    os_mutex_unlock(&t->sched_lock);
}

/* Flush while at least `least` immutable memtables wait and the log is needed from before `upto`. */
static odb_status flush_while(struct lsm_tree *t, unsigned least, uint64_t upto)
{
    odb_status st;

    os_mutex_lock(&t->sched_lock);
    st = resume(t);
    while (st == ODB_OK &&
           atomic_load_explicit(&t->pressure.waiting, memory_order_relaxed) >= least &&
           lsm_needed_lsn(t) < upto) {
        submit_flush(t); /* no clean-up: its end would wake us, and we would ask for the next */
        wait_for_work(t);
        st = failure(t);
    }
    os_mutex_unlock(&t->sched_lock);
    return st;
}

odb_status lsm_wait_room(struct lsm_tree *t)
{
    atomic_fetch_add_explicit(&t->pressure.stops, 1, memory_order_relaxed);
    return flush_while(t, t->opt.max_buffers - 1, UINT64_MAX);
}

odb_status lsm_flush_wait(struct lsm_tree *t)
{
    uint64_t upto;

    os_mutex_lock(&t->view_lock); /* what was switched out ends here at the latest */
    upto = atomic_load_explicit(&t->view, memory_order_relaxed)->mem[0].first_lsn;
    os_mutex_unlock(&t->view_lock);
    return flush_while(t, 0, upto);
}

odb_status lsm_wait_idle(struct lsm_tree *t)
{
    odb_status st;

    os_mutex_lock(&t->sched_lock);
    st = resume(t);
    while (st == ODB_OK && jobs_pending(t)) {
        wait_for_work(t);
        st = failure(t);
    }
    os_mutex_unlock(&t->sched_lock);
    return st;
}

void lsm_drop(struct lsm_tree *t)
{
    struct lsm_view *v;

    lsm_stop(t);
    v = tree_view_ref(t);
    for (int i = 0; i < LSM_LEVELS; i++)
        for (uint32_t k = 0; k < v->version->level[i].count; k++)
            atomic_store_explicit(&v->version->level[i].files[k]->is_obsolete, true,
                                  memory_order_relaxed);
    view_unref(v);
    if (tree_publish_empty(t))
        (void)epoch_collect(t->env->epoch);
    tree_remove_garbage(t);
}
