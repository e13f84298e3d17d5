/* cf/snapshot.c -- points in time that readers hold on to.
 *
 *     oldest <-> ... <-> newest          visible_seq
 *       17        40        40               57
 *
 * 1. The list is in rising order: a snapshot takes the visible number under the list's lock, and that
 *    number never goes back.
 * 2. snapshot_list() reads list and visible number under the same lock. So a flush or merge either
 *    sees a snapshot, or knows a present that is no newer than what the snapshot will see: either way
 *    no version that it needs is dropped.
 *
 * Readers without a snapshot need no entry here: they hold a view, and what is in a view stays.
 * Threads: any.
 */
#include "base/alloc.h"
#include "cf/set_priv.h"

static void snapshot_link(struct cf_set *s, struct cf_snapshot *snap, uint64_t now_ns)
{
    snap->taken_ns = now_ns;
    snap->seq = atomic_load_explicit(&s->visible_seq, memory_order_acquire);
    snap->older = s->newest;
    snap->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = snap;
    s->newest = snap;
    s->snapshot_count++;
}

static void snapshot_unlink(struct cf_set *s, struct cf_snapshot *snap)
{
    *(snap->older ? &snap->older->newer : &s->oldest) = snap->newer;
    *(snap->newer ? &snap->newer->older : &s->newest) = snap->older;
    s->snapshot_count--;
}

odb_status cf_snapshot_new(struct cf_set *s, struct cf_snapshot **out)
{
    odb_status st = set_check_fork(s);
    struct cf_snapshot *snap;
    uint64_t now_ns;

    if (st != ODB_OK)
        return st;
    snap = mem_zalloc(1, sizeof *snap);
    if (!snap)
        return err_set(ODB_NOMEM, "out of memory for a snapshot");
    now_ns = os_now_ns(s->os);
    os_mutex_lock(&s->snapshot_lock);
    snapshot_link(s, snap, now_ns);
    os_mutex_unlock(&s->snapshot_lock);
    *out = snap;
    return ODB_OK;
}

/* Switch the history on. Its number is taken before the snapshot's, so what follows the snapshot is
 * recorded, but for commits that were in the log already and not yet visible. */
odb_status snapshot_need_history(struct cf_set *s)
{
    _Atomic uint64_t *spare;
    odb_status st = history_prepare(&spare);

    if (st != ODB_OK)
        return st;
    os_mutex_lock(&s->commit_lock);
    history_start(&s->history, s->next_seq, &spare);
    os_mutex_unlock(&s->commit_lock);
    mem_free((void *)(uintptr_t)spare);
    return ODB_OK;
}

odb_status cf_txn_begin(struct cf_set *s, struct cf_snapshot **io)
{
    struct cf_snapshot *snap = *io;
    odb_status st = set_check_fork(s);
    uint64_t now_ns;

    if (st == ODB_OK && !snap) {
        snap = mem_zalloc(1, sizeof *snap);
        if (!snap)
            return err_set(ODB_NOMEM, "out of memory for a snapshot");
        snap->is_guard = snap->is_paused = true;
    }
    if (st == ODB_OK && snap->is_paused && history_enter(&s->history)) {
        st = snapshot_need_history(s);
        if (st != ODB_OK) {
            history_leave(&s->history);
            if (!*io)
                mem_free(snap);
        }
    }
    if (st != ODB_OK)
        return st;
    now_ns = os_now_ns(s->os);
    os_mutex_lock(&s->snapshot_lock);
    if (!snap->is_paused)
        snapshot_unlink(s, snap);
    snapshot_link(s, snap, now_ns);
    os_mutex_unlock(&s->snapshot_lock);
    snap->is_paused = false;
    *io = snap;
    return ODB_OK;
}

void cf_txn_pause(struct cf_set *s, struct cf_snapshot *snap)
{
    if (snap->is_paused || set_is_forked(s))
        return; /* a child's copy of the lock may be held by nobody who is there */
    os_mutex_lock(&s->snapshot_lock);
    snapshot_unlink(s, snap);
    os_mutex_unlock(&s->snapshot_lock);
    snap->is_paused = true;
    if (snap->is_guard)
        history_leave(&s->history);
}

void cf_snapshot_free(struct cf_set *s, struct cf_snapshot *snap)
{
    if (!snap)
        return;
    cf_txn_pause(s, snap);
    mem_free(snap);
}

uint64_t cf_snapshot_seq(const struct cf_snapshot *snap)
{
    return snap->seq;
}

uint64_t cf_visible_seq(const struct cf_set *s)
{
    return atomic_load_explicit(&s->visible_seq, memory_order_acquire);
}

/* lsm_env.snapshots. The memory is asked for outside the lock, again if the list has grown. */
odb_status snapshot_list(void *set, uint64_t **out, uint32_t *count)
{
    struct cf_set *s = set;
    uint32_t cap = 16, n = 0;

    for (;;) {
        uint64_t *list = mem_array((size_t)cap + 1, sizeof *list);
        uint64_t now;

        if (!list)
            return err_set(ODB_NOMEM, "out of memory for a list of snapshots");
        os_mutex_lock(&s->snapshot_lock);
        if (s->snapshot_count > cap) {
            cap = s->snapshot_count + 16;
            os_mutex_unlock(&s->snapshot_lock);
            mem_free(list);
            continue;
        }
        for (const struct cf_snapshot *p = s->oldest; p; p = p->newer)
            if (n == 0 || list[n - 1] != p->seq)
                list[n++] = p->seq;
        now = atomic_load_explicit(&s->visible_seq, memory_order_acquire);
        os_mutex_unlock(&s->snapshot_lock);
        if (n == 0 || list[n - 1] != now)
            list[n++] = now;
        *out = list;
        *count = n;
        return ODB_OK;
    }
}
