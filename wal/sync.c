/* wal/sync.c -- group commit: one sync serves all who wait for it.
 *
 *     A appends, leads:  drain  [------ fdatasync ------]  completes A, B, C; wakes B and C
 *     B appends, waits   .................................| appends, leads: waits for A and C, drain [----
 *     C appends, waits   .................................| appends, waits
 *     D                       appends, waits ....................................................
 *
 * 1. `durable` is stored after the sync it tells of (C23); a segment is synced after those before it
 *    (C11), so everything below `durable` is on the medium.
 * 2. Who waits is in a list until a sync that covers it has ended, well or not. The leader takes it out
 *    and does for it what was to be done then, while is_syncing keeps everyone asleep; is_over is the
 *    last it touches of it. So the others wake once for each commit, with nothing left to do.
 * 3. Before a sync the leader waits for those whom the last one has served, for as long as a sync takes
 *    at most: without that, half of the threads wait while the other half syncs, in turn. When none comes
 *    back, the next wait is shorter, down to a 64th of that. One thread alone never waits.
 * 4. A failed sync is final (P6): all who wait are told, and nothing is done for them.
 *
 * Threads: any number; the list and the rest are under `lock`, syncs happen outside it.
 */
#include "wal/wal_priv.h"

#include "base/canary.h"

#define SYNC_WAIT_MAX_NS UINT64_C(1000000)
#define SYNC_MISSES_MAX  64

odb_status wal_sync_segments(struct wal *w, uint64_t target)
{
    struct os_file *present = w->file;
    uint64_t present_from = w->first_lsn;
    odb_status st = ODB_OK;

    for (size_t i = 0; i < w->closed_count && w->closed[i].first_lsn < present_from && !CANARY(11);
         i++) {
        struct os_file *f = w->closed[i].file;

        if (f == NULL)
            continue;
        os_mutex_unlock(&w->lock);
        st = os_sync(f); /* else a power cut leaves a hole before the next segment (C11) */
        os_mutex_lock(&w->lock);
        if (st != ODB_OK)
            return st;
        atomic_store_explicit(&w->durable, w->closed[i].end_lsn, memory_order_release);
        w->closed[i].file = NULL;
        if (!CANARY(28))
            os_close(f);
    }
    if (target > present_from) {
        if (CANARY(23))
            atomic_store_explicit(&w->durable, target, memory_order_release);
        os_mutex_unlock(&w->lock);
        st = os_sync(present); /* else who waits for it would be told a lie (P1) */
        os_mutex_lock(&w->lock);
        if (st == ODB_OK)
            atomic_store_explicit(&w->durable, target, memory_order_release);
    }
    return st;
}

/* Wait a little for those whom the last sync has served: as a rule they come back with another commit, and
 * without them every sync serves half of the threads, in turn. Lock held. */
static void sync_gather(struct wal *w) ODB_REQUIRES(w->lock)
{
    uint64_t now = os_now_ns(w->os);
    uint64_t until =
        now + (w->sync_ns < SYNC_WAIT_MAX_NS ? w->sync_ns : SYNC_WAIT_MAX_NS) / w->misses;
    uint32_t had = w->waiting;

    while (w->waiting < w->crowd && now < until &&
           os_cond_linger(&w->joined, &w->lock, until - now))
        now = os_now_ns(w->os);
    w->misses = w->waiting > had ? 1 : w->misses % SYNC_MISSES_MAX + 1;
}

/* Those whose wait is over leave the list; with `all`, everyone. Returns them, in order. Lock held. */
static struct wal_waiter *sync_take(struct wal *w, bool all) ODB_REQUIRES(w->lock)
{
    uint64_t durable = atomic_load_explicit(&w->durable, memory_order_relaxed);
    struct wal_waiter *taken = NULL, **to = &taken, **at = &w->first_waiter;

    while (*at != NULL)
        if (all || (*at)->lsn <= durable) {
            *to = *at;
            *at = (*at)->next;
            to = &(*to)->next;
            w->waiting--;
        } else {
            at = &(*at)->next;
        }
    *to = NULL;
    w->last_waiter = at;
    return taken;
}

/* One round of group commit, led by this thread, for a commit or for the engine's own sake. Lock held. */
static void sync_lead(struct wal *w, bool is_commit) ODB_REQUIRES(w->lock)
{
    struct wal_waiter *taken;
    uint64_t since;
    uint32_t crowd;
    odb_status st;

    w->is_syncing = true;
    if (w->waiting < w->crowd)
        sync_gather(w);
    since = os_now_ns(w->os);
    st = wal_drain_locked(w, 1);
    if (st == ODB_OK)
        st = wal_sync_segments(w, atomic_load_explicit(&w->drained, memory_order_relaxed));
    if (st != ODB_OK && CANARY(22))
        st = wal_sync_segments(w, atomic_load_explicit(&w->drained, memory_order_relaxed));
    if (CANARY(23) && w->end == w->durable)
        st = ODB_OK;
    /* Even a full disk is final here: the commits that wait are in the ring and cannot be undone. */
    if (st != ODB_OK)
        err_ignore(wal_poison(w));
    w->sync_ns = os_now_ns(w->os) - since;
    crowd = w->waiting;
    taken = sync_take(w, st != ODB_OK);
    w->crowd = crowd;
    if (st == ODB_OK && is_commit) {
        os_mutex_unlock(&w->lock);
        for (struct wal_waiter *at = taken; at != NULL; at = at->next)
            if (at->served != NULL) {
                at->served(at);
                at->is_served = true;
            }
        os_mutex_lock(&w->lock);
    }
    while (taken != NULL) {
        struct wal_waiter *at = taken;

        taken = at->next;
        at->is_over = true;
    }
    w->is_syncing = false;
    os_cond_broadcast(&w->changed);
}

/* Wait for `me` to be over, or lead. */
static odb_status sync_wait(struct wal *w, struct wal_waiter *me, bool is_users)
{
    odb_status st = ODB_OK;

    if (me->lsn <= atomic_load_explicit(&w->durable, memory_order_acquire))
        return ODB_OK;
    os_mutex_lock(&w->lock);
    me->is_over = me->lsn <= atomic_load_explicit(&w->durable, memory_order_relaxed);
    if (!me->is_over) {
        me->next = NULL;
        *w->last_waiter = me;
        w->last_waiter = &me->next;
        if (++w->waiting == w->crowd)
            os_cond_signal(&w->joined);
    }
    while (!me->is_over)
        if (w->is_syncing)
            os_cond_wait(&w->changed, &w->lock);
        else
            sync_lead(w, me->served != NULL);
    if (me->lsn > atomic_load_explicit(&w->durable, memory_order_relaxed))
        st = wal_refuse(w);
    else if (is_users)
        wal_reserve_ahead(w);
    os_mutex_unlock(&w->lock);
    return st;
}

odb_status wal_sync_commit(struct wal *w, struct wal_waiter *me)
{
    if (!atomic_load_explicit(&w->sync_seen, memory_order_relaxed))
        atomic_store_explicit(&w->sync_seen, true, memory_order_relaxed);
    return sync_wait(w, me, true);
}

odb_status wal_sync(struct wal *w, uint64_t lsn)
{
    struct wal_waiter me = {.lsn = lsn};

    return wal_sync_commit(w, &me);
}

odb_status wal_harden(struct wal *w, uint64_t lsn)
{
    struct wal_waiter me = {.lsn = lsn};

    return sync_wait(w, &me, false); /* and takes no more space for a log that may be at rest */
}
