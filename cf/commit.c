/* cf/commit.c -- the commit queue: from a batch to something every reader sees, in one order.
 *
 *     outside any lock     room in each memtable; payload and its hash complete      may fail
 *     commit_lock          same memtables still? numbers, log, ticket                may fail
 *     outside              copy, link into the memtables [FULL: sync]                cannot fail
 *     the token            passes over the tickets in order: visible
 *
 *   tickets      17      18      19      20      21
 *              +-------+-------+-------+-------+-------+
 *   slots      |       | TOKEN | DONE  |       | DONE  |      18 is still inserting. When it is done
 *              +-------+-------+-------+-------+-------+      it finds the token in its slot, publishes
 *   visible_seq: the last number of 17                        18 and 19, and leaves the token with 20.
 *
 * A slot's state is EMPTY, TOKEN or DONE. Whoever has inserted exchanges DONE into its slot: finding
 * TOKEN there, it holds the token. The holder publishes its ticket and exchanges TOKEN into the next
 * slot: finding DONE there, it still holds it, now for that ticket. Of two who meet in a slot exactly
 * one comes second and goes on; nobody waits for the token, and only its holder stores visible_seq.
 * One writer alone pays two exchanges and never sleeps.
 *
 *  1. Memtable room is there before the log is touched; behind wal_append nothing fails but the sync
 *     (C25).
 *  2. Number order, ticket order and log order are the same: all three are taken in one hold of the
 *     lock. An operation goes to the memtable that is active in that hold, so a memtable switched
 *     under the lock holds exactly the commits before the switch.
 *  3. visible_seq moves over whole commits, in order, each completely inserted (P4, C34). A commit
 *     returns after that, so a read that starts later sees it (P11).
 *  4. The ticket of a FULL commit is completed after its sync, though its operations are in the memtable
 *     before: what is not durable is not seen. Who makes a sync for many completes their tickets, too,
 *     in order, and wakes them when they have nothing left to wait for.
 *  5. When a sync fails, its ticket is completed as failed, and from there on visible_seq stands still
 *     (is_frozen): neither it nor later commits that are in the log already are seen; they get
 *     ODB_UNKNOWN, and what readers see remains a prefix. The set is read-only before the ticket is
 *     completed, so no flush that waited for it can make such a later commit durable in a table (P5, P6).
 *  6. At most COMMIT_SLOTS tickets are under way: a slot is taken only when the ticket that had it
 *     before is published.
 *  7. ODB_NOSPACE and its like from the log: nothing was appended, nothing is applied, and the next
 *     commit tries again. Commits that only delete may use what reserve.c keeps back.
 *  8. The observer is called by the holder of the token, before visible_seq moves over what it is told
 *     of: in order, by one thread at a time.
 *  9. A guarded commit looks through the history (cf/history.c) outside the lock, and under it at what
 *     came since: when it enters the log, nothing that is in the log before it and after the numbers it
 *     named touches its claims; and log order is the order of the commits (2).
 * 10. A hold is placed and released in the same hold of the lock as the commit that it goes with, and
 *     every commit is compared with the holds under it: no write falls between.
 *
 * Threads: any number. Sleeping is for those who wait long: first a spin, then yields, then the
 * condition variable. Waiters count themselves before they look at `published`, the publisher looks at
 * the count after it has stored `published`, all sequentially consistent: one of them sees the other.
 * Crash: the record is in ring or log, or the commit never happened.
 * Not here: how the log is written and synced (wal/), when memtables are flushed (lsm/).
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "base/hash.h"
#include "cf/set_priv.h"

#define COMMIT_PARTS 8    /* families of a batch whose state fits the stack */
#define COMMIT_SMALL 1024 /* bytes of a single operation that fit the stack */
#ifdef ODB_SCHED          /* the test scheduler says how often */
#define COMMIT_SPINS  sched_patience
#define COMMIT_YIELDS sched_patience
#else
#define COMMIT_SPINS  200
#define COMMIT_YIELDS 20
#endif
/* Of the budget, for memtables: merges, what the C library keeps of their memory, and the program take as
 * much as that again. Three write buffers of the size options.c chooses are less. */
#define COMMIT_MEMORY_SHARE 4
#define COMMIT_MEMORY_NS    UINT64_C(500000000) /* waited for it at most: less than for locks */
#define COMMIT_PATIENCE_NS  UINT64_C(1000000)   /* no_wait: a longer delay is worth telling */

/* What a commit does to one family. */
struct commit_part {
    struct cf *cf;
    struct memtable *mem; /* kept by the epoch */
    struct memtable_room room;
    size_t bytes;
    uint32_t count;
    bool is_switched; /* a full memtable was put away once: go on with whatever there is now */
};

struct commit {
    struct cf_set *s;
    odb_slice payload;
    uint64_t hash;
    uint32_t ops;
    enum cf_durability level;
    bool no_wait;
    bool is_paid;             /* the delay was asked for */
    bool has_puts;            /* not only deletes */
    uint64_t delay_ns;        /* and is still to be slept */
    const odb_guard *guard;   /* NULL: none */
    struct claims *claims;    /* what it claims, and the keys of the batch; NULL: nothing */
    uint64_t seen;            /* no commit numbered up to here touches them */
    struct cf_hold *hold;     /* to be installed with this commit */
    struct cf_hold *released; /* by this commit, to be freed */
    uint32_t looks;           /* at the history so far */
    uint32_t rival;           /* the family where somebody else wrote */
    bool is_held;             /* and it was a prepared transaction */
    bool is_user;             /* of the history */
    struct cf *full;          /* this family's memtable must be put away first */
    uint64_t first_seq;       /* from here on known after the log has it */
    uint64_t end_lsn;
    uint64_t ticket;
    struct wal_waiter waiter; /* FULL: for the sync */
    struct commit_part *part;
    uint32_t part_count;
    uint32_t *part_of; /* by cf.index, plus one; NULL while the parts fit `few` */
    struct commit_part few[COMMIT_PARTS];
    struct footprint print; /* its keys, made when somebody wants them */
};

/* ---- publication ---- */

static struct commit_slot *commit_slot_of(const struct cf_set *s, uint64_t ticket)
{
    return &s->slot[ticket & (COMMIT_SLOTS - 1)];
}

static void commit_wake(struct cf_set *s)
{
    if (ODB_LIKELY(atomic_load(&s->waiters) == 0))
        return;
    /* Under the lock, whoever has counted itself is asleep or has not looked yet. */
    os_mutex_lock(&s->publish_lock);
    os_cond_broadcast(&s->publish_wake);
    os_mutex_unlock(&s->publish_lock);
}

/* By the holder of the token: the commit waits, so its bytes are there. */
ODB_COLD static void commit_tell(const struct cf_set *s, const struct commit_slot *slot)
{
    const struct commit *c = slot->commit;
    struct batch b = {{(uint8_t *)(uintptr_t)c->payload.data, c->payload.size, c->payload.size},
                      c->ops};

    s->observer(s->observer_arg, slot->last_seq, &b);
}

/* The ticket's work is over: hand it to the token. */
static void commit_complete(struct cf_set *s, uint64_t ticket, bool has_failed)
{
    struct commit_slot *slot = commit_slot_of(s, ticket);

    slot->is_failed = has_failed;
    if (CANARY(55)) { /* look, then store: the token may come in between */
        bool has_come = atomic_load(&slot->state) == SLOT_TOKEN;

        atomic_store(&slot->state, SLOT_DONE);
        if (!has_come)
            return;
    } else if (atomic_exchange_explicit(&slot->state, SLOT_DONE, memory_order_acq_rel) !=
               SLOT_TOKEN)
        return; /* the token comes by */
    do {
        uint64_t last = slot->last_seq;

        s->is_frozen |= slot->is_failed;
        if (ODB_UNLIKELY(s->observer != NULL) && !s->is_frozen)
            commit_tell(s, slot);
        atomic_store_explicit(&slot->state, SLOT_EMPTY, memory_order_relaxed);
        if (!s->is_frozen)
            atomic_store_explicit(&s->visible_seq, last, memory_order_release);
        atomic_store(&s->published, ++ticket); /* from here on the slot may be taken again */
        slot = commit_slot_of(s, ticket);
    } while (atomic_exchange_explicit(&slot->state, SLOT_TOKEN, memory_order_acq_rel) == SLOT_DONE);
    commit_wake(s);
}

/* Return when `count` tickets are published. */
static void commit_wait_published(struct cf_set *s, uint64_t count)
{
    for (int i = 0; i < COMMIT_SPINS; i++) {
        if (ODB_LIKELY(atomic_load(&s->published) >= count))
            return;
        os_cpu_relax();
    }
    for (int i = 0; i < COMMIT_YIELDS; i++) {
        os_thread_yield();
        if (atomic_load(&s->published) >= count)
            return;
    }
    os_mutex_lock(&s->publish_lock);
    if (CANARY(51) && atomic_load(&s->published) < count) {
        atomic_fetch_add(&s->waiters, 1);
        os_cond_wait(&s->publish_wake, &s->publish_lock);
        atomic_fetch_sub(&s->waiters, 1);
    }
    atomic_fetch_add(&s->waiters, 1);
    while (atomic_load(&s->published) < count)
        os_cond_wait(&s->publish_wake, &s->publish_lock);
    atomic_fetch_sub(&s->waiters, 1);
    os_mutex_unlock(&s->publish_lock);
}

ODB_COLD uint64_t commit_settle(struct cf_set *s)
{
    uint64_t tickets, last_seq;

    os_mutex_lock(&s->commit_lock);
    tickets = s->next_ticket;
    last_seq = s->next_seq - 1;
    os_mutex_unlock(&s->commit_lock);
    commit_wait_published(s, tickets);
    return last_seq;
}

/* Nobody who is under way needs commit_lock any more: they get through while we hold it. */
ODB_COLD void cf_observe(struct cf_set *s, cf_observer *fn, void *arg, uint64_t *since)
{
    os_mutex_lock(&s->commit_lock);
    while (atomic_load(&s->published) != s->next_ticket)
        os_thread_yield();
    s->observer = fn;
    s->observer_arg = arg;
    *since = atomic_load_explicit(&s->visible_seq, memory_order_acquire);
    os_mutex_unlock(&s->commit_lock);
}

/* lsm_env.wait_visible. When a commit up to `seq` has failed this returns too; what was flushed then
 * is refused by the ledger (5). */
void commit_wait_visible(void *set, uint64_t seq)
{
    struct cf_set *s = set;

    if (atomic_load_explicit(&s->visible_seq, memory_order_acquire) < seq)
        (void)commit_settle(s);
}

/* ---- memtables ---- */

ODB_COLD odb_status commit_switch(struct cf_set *s, struct cf *f, bool only_full, bool no_wait)
{
    odb_status st = ODB_OK;
    bool is_ready = false;

    while (st == ODB_OK && !is_ready) {
        struct epoch_guard g = epoch_enter(&s->epoch);
        bool is_needed = !only_full || lsm_is_full(f->tree);

        epoch_leave(g);
        if (!is_needed)
            return ODB_OK; /* somebody else was faster */
        st = lsm_prepare_switch(f->tree);
        is_ready = st == ODB_OK;
        if (st == ODB_AGAIN && !no_wait)
            st = lsm_wait_room(f->tree);
    }
    if (st == ODB_CANCELLED && atomic_load_explicit(&f->is_dropped, memory_order_relaxed))
        st = err_set(ODB_NO_FAMILY, "column family '%s' was dropped", f->name);
    if (st == ODB_OK) {
        struct epoch_guard g = epoch_enter(&s->epoch);

        os_mutex_lock(&s->commit_lock);
        if (!only_full || lsm_is_full(f->tree))
            lsm_switch(f->tree, wal_end(s->wal), s->next_seq - 1);
        os_mutex_unlock(&s->commit_lock);
        epoch_leave(g);
        set_balance_memory(s);
    }
    return st;
}

/* Is too much log kept, or too much memory used? Then put away the memtable that needs the oldest log, or
 * the largest one unless one is being flushed. Whether memory is short, and waiting helps. */
ODB_COLD static bool commit_relieve(struct cf_set *s, bool again)
{
    uint64_t least = UINT64_MAX, used = 0;
    struct cf *oldest = NULL, *largest = NULL;
    size_t largest_bytes = 0;
    struct epoch_guard g = epoch_enter(&s->epoch);
    struct cf_table *t = atomic_load_explicit(&s->table, memory_order_acquire);
    bool is_flushing = false, is_short;

    for (uint32_t i = 0; i < t->count; i++) {
        struct cf *f = t->cf[i];
        struct lsm_sizes now;
        uint64_t lsn;

        if (atomic_load_explicit(&f->is_dropped, memory_order_relaxed))
            continue;
        lsm_sizes(lsm_view(f->tree), &now);
        used += now.memtable_bytes;
        if (now.memtables > 1) { /* its flush is on the way, or failed once and wants another try */
            if (!again) /* a flush of another family may have passed for a sign that all is well */
                lsm_resume(f->tree);
            is_flushing = true;
            continue;
        }
        if (now.memtable_entries == 0)
            continue;
        lsn = lsm_needed_lsn(f->tree);
        if (lsn < least) {
            least = lsn;
            oldest = f;
        }
        if (now.memtable_bytes > largest_bytes) {
            largest_bytes = (size_t)now.memtable_bytes;
            largest = f;
        }
    }
    epoch_leave(g);
    /* the end is asked for last: it is not before what any of them needs */
    if (s->opt.log_limit && oldest && wal_end(s->wal) - least > s->opt.log_limit)
        err_ignore(commit_switch(s, oldest, false, true)); /* should it be busy: next time */
    is_short = s->opt.memory_budget && used > s->opt.memory_budget / COMMIT_MEMORY_SHARE;
    if (is_short && largest && !is_flushing)
        is_flushing = commit_switch(s, largest, false, true) == ODB_OK;
    return is_short && is_flushing &&
           atomic_load_explicit(&s->soft, memory_order_relaxed) == ODB_OK;
}

/* Now and then. The alarm moves on first, so that one commit does this and not all. */
ODB_COLD static void commit_attend(struct cf_set *s, uint64_t end)
{
    uint64_t alarm = atomic_load_explicit(&s->alarm, memory_order_relaxed);

    if (end < alarm || !atomic_compare_exchange_strong(&s->alarm, &alarm, end + s->alarm_step))
        return;
    atomic_store_explicit(&s->is_short, commit_relieve(s, false), memory_order_relaxed);
}

/* ---- help ----
 *
 * What the commits of a while need together, and what would hold up the one that meets it: the next
 * segment of the log (a file made and synced), moving the ring to the segment (a write of half of
 * it), the memtable's next block (two megabytes the kernel has to zero, and a hypervisor perhaps to find).
 * Whoever notices has a worker do it ahead of need. None of it must be done by then: without it, or when
 * the workers are busy, whoever comes to need it does it. */

ODB_COLD static void commit_drain(struct cf_set *s)
{
    odb_status st = wal_drain(s->wal);

    if (st != ODB_OK && st != ODB_NOSPACE) /* a full disk: the ring keeps the bytes */
        set_fail(s, st);
}

ODB_COLD void commit_aid_run(struct exec_job *job)
{
    struct commit_aid *a = (struct commit_aid *)(void *)job;
    struct cf_set *s = a->set;
    int next = AID_IDLE;

    if (a == &s->aid[AID_DRAIN]) {
        commit_drain(s);
    } else if (a == &s->aid[AID_BLOCK]) {
        memtable_make_block(s->aid_mem);
        memtable_unref(s->aid_mem);
    } else if (wal_prepare(s->wal) != ODB_OK) {
        next = AID_GIVEN_UP; /* wal_make_room does it in its time */
    }
    atomic_store(&a->state, next);
}

/* Have a worker do it, unless one is about to. `mem`: for whom, of AID_BLOCK; inside the epoch. */
ODB_COLD static void commit_call(struct cf_set *s, int which, struct memtable *mem)
{
    struct commit_aid *a = &s->aid[which];
    int idle = AID_IDLE;

    if (atomic_load_explicit(&a->state, memory_order_relaxed) != AID_IDLE ||
        !exec_has_threads(s->exec) || !atomic_compare_exchange_strong(&a->state, &idle, AID_QUEUED))
        return;
    if (mem) {
        memtable_ref(mem);
        s->aid_mem = mem;
    }
    exec_submit(s->exec, &a->job);
}

ODB_COLD static void commit_help_log(struct cf_set *s)
{
    if (wal_drain_due(s->wal)) {
        if (wal_drain_presses(s->wal) || !exec_has_threads(s->exec))
            commit_drain(s);
        else
            commit_call(s, AID_DRAIN, NULL);
    }
    if (wal_prepare_due(s->wal))
        commit_call(s, AID_SEGMENT, NULL);
}

/* What a commit does for all: three or four loads when there is nothing to do. */
static void commit_help(struct commit *c)
{
    struct cf_set *s = c->s;

    if (ODB_UNLIKELY(wal_drain_due(s->wal)) || ODB_UNLIKELY(wal_prepare_due(s->wal)))
        commit_help_log(s);
    if (ODB_UNLIKELY(c->end_lsn >= atomic_load_explicit(&s->alarm, memory_order_relaxed)))
        commit_attend(s, c->end_lsn);
}

/* ---- before the log ---- */

/* Inside an epoch. ODB_OK with c->full or c->delay_ns set: nothing was reserved, see to that first.
 * On any other failure, too, the caller gives back what was reserved. */
static odb_status commit_reserve(struct commit *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        struct commit_part *p = &c->part[i];

        if (ODB_UNLIKELY(atomic_load_explicit(&p->cf->is_dropped, memory_order_relaxed)))
            return err_set(ODB_NO_FAMILY, "column family '%s' was dropped", p->cf->name);
        if (ODB_UNLIKELY(!p->is_switched && lsm_is_full(p->cf->tree))) {
            p->is_switched = true;
            c->full = p->cf;
            return ODB_OK;
        }
        if (!c->is_paid) {
            uint64_t ns = lsm_delay_ns(p->cf->tree, p->bytes);

            if (ODB_UNLIKELY(ns > c->delay_ns))
                c->delay_ns = ns;
        }
    }
    c->is_paid = true;
    if (ODB_UNLIKELY(c->delay_ns))
        return ODB_OK;
    for (uint32_t i = 0; i < c->part_count; i++) {
        struct commit_part *p = &c->part[i];
        struct memtable *mem = lsm_active(p->cf->tree);
        odb_status st = memtable_reserve(mem, p->bytes, p->count, &p->room);

        if (st != ODB_OK)
            return st;
        p->mem = mem;
        if (ODB_UNLIKELY(memtable_block_due(mem)) && p->cf->is_roomy)
            commit_call(c->s, AID_BLOCK, mem);
    }
    return ODB_OK;
}

/* Give back what is left of the room. Inside the epoch it was reserved in. */
static void commit_return(struct commit *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        struct commit_part *p = &c->part[i];

        if (p->mem)
            memtable_return(p->mem, &p->room);
        p->mem = NULL;
    }
}

/* Where background work has no threads, do some of it; else leave the processor to it for `ns`. False: there
 * is none to do. */
ODB_COLD static bool commit_give_way(struct cf_set *s, uint64_t ns)
{
    if (!exec_has_threads(s->exec))
        return exec_run_one(s->exec);
    os_thread_sleep(ns);
    return true;
}

/* Sleep off what is owed to flush and merge; where they have no threads, do some of their work. */
ODB_COLD static odb_status commit_pay(struct commit *c)
{
    uint64_t ns = c->delay_ns;

    c->delay_ns = 0;
    if (c->no_wait && ns > COMMIT_PATIENCE_NS)
        return err_set(ODB_AGAIN,
                       "flushing and merging are behind: this write would wait up to %llu us",
                       (unsigned long long)(ns / 1000));
    (void)commit_give_way(c->s, ns);
    return ODB_OK;
}

/* Each tree has writers wait when its own buffers are full. Those of all trees add up, so while that is
 * too much each writer waits for flushes before anything of its commit is done: half a second at most, or where
 * background work has no threads as long as the piece takes that it does then, and not at all when there is
 * none to do. Whoever comes first looks whether it still is too much. With no_wait, ODB_AGAIN. */
ODB_COLD static odb_status commit_wait_for_memory(struct commit *c)
{
    struct cf_set *s = c->s;
    uint64_t until = os_now_ns(s->opt.os) + COMMIT_MEMORY_NS;
    bool again = false;

    for (;;) {
        if (!atomic_exchange_explicit(&s->is_looking, true, memory_order_acquire)) {
            bool is_short = commit_relieve(s, again);

            again = true;
            atomic_store_explicit(&s->is_short, is_short, memory_order_relaxed);
            atomic_store_explicit(&s->is_looking, false, memory_order_release);
        }
        if (!atomic_load_explicit(&s->is_short, memory_order_relaxed))
            return ODB_OK;
        if (c->no_wait) {
            c->delay_ns = COMMIT_MEMORY_NS;
            return commit_pay(c);
        }
        if (os_now_ns(s->opt.os) >= until) {
            exec_nudge(s->exec); /* a signal may have been lost: lsm/work.c, wait_for_work */
            return ODB_OK;
        }
        if (!commit_give_way(s, COMMIT_PATIENCE_NS))
            return ODB_OK;
    }
}

/* ---- who else wrote there ---- */

/* Behind the lock, for whoever is refused. */
ODB_COLD static odb_status commit_refuse(const struct commit *c)
{
    const struct cf_table *t = atomic_load_explicit(&c->s->table, memory_order_acquire);
    const struct cf *f = set_table_find(t, c->rival);

    if (c->is_held)
        return err_set(ODB_CONFLICT,
                       "a key of this write in '%s' belongs to a prepared transaction until that "
                       "is committed or rolled back; nothing was applied",
                       f ? f->name : "?");
    return err_set(ODB_CONFLICT,
                   "something this transaction depends on in '%s' was written by somebody else "
                   "since it began; nothing was applied, begin again",
                   f ? f->name : "?");
}

/* The ring has forgotten what came after c->seen: ask the memtables, once everything that is in the
 * log is in them. Ranges they cannot answer. */
ODB_COLD static odb_status commit_look_in_memory(struct commit *c)
{
    const struct cf_table *t = atomic_load_explicit(&c->s->table, memory_order_acquire);
    uint64_t last = commit_settle(c->s);
    odb_status st = c->claims->range_count ? ODB_TOO_OLD : ODB_OK;
    struct dec d = dec_from(c->payload);
    struct batch_op op;

    while (st == ODB_OK && c->guard->since != ODB_SINCE_EVER && batch_next(&d, &op)) {
        struct cf *f = set_table_find(t, op.family);

        c->rival = op.family;
        if (f) /* else it was dropped, and commit_is_current notices */
            st = lsm_written_since(lsm_view(f->tree), op.key, c->guard->since);
    }
    for (size_t i = 0; st == ODB_OK && i < c->guard->claim_count; i++) {
        const odb_claim *claim = &c->guard->claim[i];
        struct cf *f = set_table_find(t, claim->family);

        c->rival = claim->family;
        if (f)
            st = lsm_written_since(lsm_view(f->tree), claim->lower, claim->since);
    }
    if (st == ODB_CONFLICT)
        return commit_refuse(c);
    if (st == ODB_TOO_OLD)
        return err_set(st, "too much was written since this transaction began to tell whether it "
                           "touches what it depends on; nothing was applied, begin again");
    c->seen = last;
    return st;
}

/* Outside the lock, inside the epoch: make what the lock will need, and look at all commits that are
 * recorded by now. What remains for the lock is what came since. */
static odb_status commit_look_back(struct commit *c)
{
    struct history *h = &c->s->history;

    if (!c->print.is_made && history_is_on(h)) {
        odb_status st = footprint_make(&c->print, c->payload);

        if (st != ODB_OK)
            return st;
    }
    if (ODB_LIKELY(!c->claims))
        return ODB_OK;
    c->looks++;
    switch (history_look(h, c->claims, &c->seen, &c->rival)) {
    case HISTORY_CLEAR: return ODB_OK;
    case HISTORY_HIT: return commit_refuse(c);
    default: return commit_look_in_memory(c);
    }
}

/* Under the lock: does the batch write what a prepared transaction claims? */
ODB_COLD static bool commit_meets_hold(struct commit *c)
{
    for (const struct cf_hold *hold = c->s->holds; hold; hold = hold->next) {
        struct footprint_op op;
        size_t at = 0;

        if (c->guard && c->guard->release == hold->number)
            continue;
        while (footprint_next(&c->print, &at, &op))
            if (claims_has_key(&hold->claims, op.hash, UINT64_MAX) ||
                claims_has_in_range(&hold->claims, op.family, op.key, op.is_cut, UINT64_MAX)) {
                c->rival = op.family;
                c->is_held = true;
                return true;
            }
    }
    return false;
}

#define LOOKS_MAX 8   /* outside the lock; then it is done under it, whatever it takes */
#define TAIL_MAX  256 /* operations to look at under the lock before that */

/* Under the lock. False: look again outside. *st ODB_CONFLICT: commit_refuse tells. */
static bool commit_is_checked(struct commit *c, odb_status *st)
{
    struct cf_set *s = c->s;

    if (ODB_LIKELY(!history_is_on(&s->history)))
        return !c->claims;
    if (!c->print.is_made)
        return false; /* it was switched on just now */
    if (c->claims && s->next_seq - 1 > c->seen) {
        enum history_answer answer;

        if (s->next_seq - 1 - c->seen > TAIL_MAX && c->looks < LOOKS_MAX)
            return false;
        answer = history_look(&s->history, c->claims, &c->seen, &c->rival);
        if (answer == HISTORY_LOST)
            return false;
        if (answer == HISTORY_HIT)
            *st = ODB_CONFLICT;
    }
    if (ODB_UNLIKELY(s->holds != NULL) && *st == ODB_OK && commit_meets_hold(c))
        *st = ODB_CONFLICT;
    return true;
}

/* ---- prepared transactions ---- */

ODB_COLD void commit_hold_free(struct cf_hold *h)
{
    if (h)
        claims_release(&h->claims);
    mem_free(h);
}

/* A copy of what the guard claims, to be installed under the lock. */
ODB_COLD static odb_status commit_hold_new(const odb_guard *g, struct cf_hold **out)
{
    size_t ranges = 0, bytes = 0, at = 0;
    struct cf_hold *h;
    uint8_t *copy;
    odb_status st;

    for (size_t i = 0; i < g->claim_count; i++)
        if (g->claim[i].is_range) {
            ranges++;
            bytes += g->claim[i].lower.size + g->claim[i].upper.size;
        }
    h = mem_zalloc(1, sizeof *h + ranges * sizeof h->range[0] + bytes);
    if (!h)
        return err_set(ODB_NOMEM, "out of memory for what a prepared transaction claims");
    h->number = g->hold;
    st = claims_init(&h->claims, g->claim_count - ranges);
    if (st != ODB_OK) {
        mem_free(h);
        return st;
    }
    copy = (uint8_t *)(h->range + ranges);
    for (size_t i = 0; i < g->claim_count; i++) {
        odb_claim c = g->claim[i];

        c.since = 0; /* whatever is written is refused */
        if (c.is_range) {
            if (c.lower.size)
                memcpy(copy, c.lower.data, c.lower.size);
            c.lower.data = copy;
            copy += c.lower.size;
            if (c.upper.size)
                memcpy(copy, c.upper.data, c.upper.size);
            if (c.upper.data)
                c.upper.data = copy;
            copy += c.upper.size;
            h->range[at++] = c;
        } else {
            claims_add(&h->claims, claims_hash(c.family, c.lower), c.since);
        }
    }
    h->claims.range = h->range;
    h->claims.range_count = ranges;
    *out = h;
    return ODB_OK;
}

/* Under the lock: install the new hold, which keeps this commit's use of the history; take out the one
 * that the guard releases, to be freed behind the lock. */
ODB_COLD static void commit_change_holds(struct commit *c)
{
    struct cf_hold **at = &c->s->holds;

    while (c->guard->release && *at && (*at)->number != c->guard->release)
        at = &(*at)->next;
    if (c->guard->release && *at) {
        c->released = *at;
        *at = (*at)->next;
    }
    if (c->hold) {
        c->hold->next = c->s->holds;
        c->s->holds = c->hold;
        c->hold = NULL;
        c->is_user = false;
    }
}

/* ---- the log ---- */

/* Under the lock: whether every family's room is still in its active memtable. */
static bool commit_is_current(const struct commit *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct commit_part *p = &c->part[i];

        if (ODB_UNLIKELY(lsm_active(p->cf->tree) != p->mem ||
                         atomic_load_explicit(&p->cf->is_dropped, memory_order_relaxed)))
            return false;
    }
    return true;
}

/* Under the lock: numbers, log and ticket. */
static odb_status commit_enter(struct commit *c)
{
    struct cf_set *s = c->s;
    struct commit_slot *slot;
    odb_status st;

    assert(os_mutex_held(&s->commit_lock));
    if (ODB_UNLIKELY(s->next_seq > SEQ_MAX || c->ops > SEQ_MAX - s->next_seq))
        return err_set(ODB_LIMIT, "all 2^56 sequence numbers of this database are used");
    st = wal_append(s->wal, WAL_BATCH, s->next_seq, c->payload, c->hash, &c->end_lsn);
    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    c->first_seq = s->next_seq;
    s->next_seq += c->ops;
    c->ticket = s->next_ticket++;
    slot = commit_slot_of(s, c->ticket);
    slot->last_seq = s->next_seq - 1;
    if (CANARY(34))
        atomic_store(&s->visible_seq, slot->last_seq);
    slot->commit = c;
    s->commits++;
    s->bytes_in += c->payload.size;
    return ODB_OK;
}

/* Under the lock, when the log has it: what later commits have to know of this one. */
static void commit_record(struct commit *c)
{
    if (ODB_UNLIKELY(history_is_on(&c->s->history)))
        history_record(&c->s->history, c->first_seq, c->ops, &c->print);
    if (ODB_UNLIKELY(c->guard != NULL))
        commit_change_holds(c);
}

/* ODB_OK with *is_logged false: the memtables changed, begin again. Inside the epoch. */
static odb_status commit_log(struct commit *c, bool *is_logged)
{
    struct cf_set *s = c->s;

    for (;;) {
        uint64_t need = 0; /* tickets to be published before there is a slot */
        bool is_current, is_checked;
        odb_status st = commit_look_back(c);

        if (ODB_UNLIKELY(st != ODB_OK))
            return st;
        os_mutex_lock(&s->commit_lock);
        is_current = CANARY(20) || commit_is_current(c);
        is_checked = commit_is_checked(c, &st);
        if (ODB_UNLIKELY(set_has_failed(s)))
            st = ODB_READONLY;
        else if (ODB_UNLIKELY(s->next_ticket - atomic_load(&s->published) >= COMMIT_SLOTS))
            need = s->next_ticket - COMMIT_SLOTS + 1;
        if (ODB_LIKELY(is_current && is_checked && st == ODB_OK && !need)) {
            st = commit_enter(c);
            if (ODB_LIKELY(st == ODB_OK))
                commit_record(c);
        }
        os_mutex_unlock(&s->commit_lock);

        if (ODB_UNLIKELY(st == ODB_READONLY))
            return set_refuse(s);
        if (ODB_UNLIKELY(st == ODB_CONFLICT))
            return commit_refuse(c);
        if (need) {
            commit_wait_published(s, need);
            continue;
        }
        if (ODB_UNLIKELY(st == ODB_OK && !is_checked))
            continue;
        if (ODB_LIKELY(st == ODB_OK)) {
            *is_logged = is_current;
            return ODB_OK;
        }
        if (st == ODB_AGAIN)
            st = wal_make_room(s->wal, c->payload.size);
        if (st == ODB_NOSPACE && !c->has_puts && reserve_spend(s))
            continue;
        if (st == ODB_UNKNOWN)
            set_fail(s, st);
        if (st != ODB_OK)
            return st;
    }
}

/* ---- behind the log ---- */

/* The part of `family`, NULL if there is none. */
ODB_COLD static struct commit_part *commit_find_part(const struct commit *c,
                                                     const struct cf_table *t, uint32_t family)
{
    const struct cf *f;

    if (!c->part_of) {
        for (uint32_t i = 0; i < c->part_count; i++)
            if (c->part[i].cf->id == family)
                return &c->part[i];
        return NULL;
    }
    f = set_table_find(t, family);
    return f && c->part_of[f->index] ? &c->part[c->part_of[f->index] - 1] : NULL;
}

/* The same; most often it is the `last` one that was asked for. */
static inline struct commit_part *commit_part_of(const struct commit *c, const struct cf_table *t,
                                                 uint32_t family, struct commit_part *last)
{
    return ODB_LIKELY(last->cf->id == family) ? last : commit_find_part(c, t, family);
}

ODB_COLD static void commit_note_puts(const struct commit *c, struct cf *f)
{
    struct dec d = dec_from(c->payload);
    struct batch_op op;

    while (batch_next(&d, &op))
        if (op.kind == KIND_PUT && op.family == f->id)
            lsm_note_put(f->tree, op.key);
}

static void commit_insert(struct commit *c)
{
    const struct cf_table *t = atomic_load_explicit(&c->s->table, memory_order_acquire);
    struct dec d = dec_from(c->payload);
    struct commit_part *p = &c->part[0];
    uint64_t seq = c->first_seq;
    struct batch_op op;

    for (; batch_next(&d, &op); seq++) {
        p = commit_part_of(c, t, op.family, p); /* never NULL: the same bytes were walked before */
        memtable_insert(p->mem, &p->room, memtable_prepare(&p->room, op.key, op.value),
                        trailer_make(seq, (enum kind)op.kind));
    }
    for (uint32_t i = 0; i < c->part_count; i++) {
        p = &c->part[i];
        memtable_return(p->mem, &p->room); /* counted first, then looked at gaps: lsm/gaps.c, 3 */
        if (ODB_UNLIKELY(lsm_minds_puts(p->cf->tree)))
            commit_note_puts(c, p->cf);
    }
}

/* By whoever made the sync for this commit (4). */
static void commit_served(struct wal_waiter *me)
{
    struct commit *c = (struct commit *)(void *)((char *)me - offsetof(struct commit, waiter));

    commit_complete(c->s, c->ticket, false);
}

/* Insert, sync, be published. Inside the epoch. */
static odb_status commit_apply(struct commit *c)
{
    struct cf_set *s = c->s;
    odb_status st = ODB_OK;

    commit_insert(c);
    if (c->level == CF_FULL && !(CANARY(4) && s->living < atomic_load(&s->table)->count)) {
        c->waiter.lsn = c->end_lsn;
        c->waiter.served = commit_served;
        st = wal_sync_commit(s->wal, &c->waiter);
        if (st != ODB_OK)
            set_fail(s, st); /* before the ticket is completed (5) */
    }
    if (!c->waiter.is_served)
        commit_complete(s, c->ticket, st != ODB_OK && !CANARY(25));
    commit_wait_published(s, c->ticket + 1);
    if (CANARY(25) && st != ODB_OK)
        return st;
    if (ODB_LIKELY(atomic_load_explicit(&s->visible_seq, memory_order_acquire) >=
                   c->first_seq + c->ops - 1))
        return ODB_OK;
    os_mutex_lock(&s->publish_lock);
    st = err_set(ODB_UNKNOWN,
                 "the log failed while this commit was in it; reopen to see whether it is there. "
                 "The cause: %s",
                 s->failed_text);
    os_mutex_unlock(&s->publish_lock);
    return st;
}

/* ---- a commit from one end to the other ---- */

static odb_status commit_run(struct commit *c)
{
    struct cf_set *s = c->s;
    odb_status st = ODB_OK;
    bool is_logged = false;

    if (ODB_UNLIKELY(atomic_load_explicit(&s->reserve_state, memory_order_relaxed) ==
                     RESERVE_SPENT) &&
        c->has_puts)
        st = reserve_admit(s);
    if (ODB_UNLIKELY(atomic_load_explicit(&s->is_short, memory_order_relaxed)) && st == ODB_OK)
        st = commit_wait_for_memory(c);
    while (st == ODB_OK && !is_logged) {
        struct epoch_guard g = epoch_enter(&s->epoch);

        st = commit_reserve(c);
        if (ODB_LIKELY(st == ODB_OK && !c->full && !c->delay_ns))
            st = commit_log(c, &is_logged);
        if (ODB_LIKELY(is_logged))
            st = commit_apply(c);
        commit_return(c);
        epoch_leave(g);
        if (ODB_UNLIKELY(c->full && st == ODB_OK))
            st = commit_switch(s, c->full, true, c->no_wait);
        c->full = NULL;
        if (ODB_UNLIKELY(c->delay_ns && st == ODB_OK))
            st = commit_pay(c);
    }
    if (is_logged)
        commit_help(c);
    return st;
}

static odb_status commit_begin(struct commit *c, struct cf_set *s, const struct cf_write *how)
{
    if (ODB_UNLIKELY(set_is_forked(s)))
        return set_check_fork(s);
    if (ODB_UNLIKELY(s->is_readonly || set_has_failed(s)))
        return set_refuse(s);
    c->s = s;
    c->level = how && how->durability ? how->durability : s->opt.durability;
    c->no_wait = how && how->no_wait;
    c->part = c->few;
    footprint_init(&c->print);
    return ODB_OK;
}

static odb_status commit_single(struct cf_set *s, struct cf *cf, enum kind kind, odb_slice key,
                                odb_slice value, const struct cf_write *how)
{
    uint8_t small[COMMIT_SMALL], *heap = NULL, *bytes = small, *p;
    struct commit c;
    odb_status st;

    if (ODB_UNLIKELY(key.size > KEY_LEN_MAX || value.size > VALUE_LEN_MAX))
        return err_set(ODB_TOO_LARGE, "a key of %zu and a value of %zu bytes; at most %zu and %zu",
                       key.size, value.size, KEY_LEN_MAX, VALUE_LEN_MAX);
    memset(&c, 0, offsetof(struct commit, few) + sizeof c.few[0]);
    st = commit_begin(&c, s, how);
    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    if (ODB_UNLIKELY(BATCH_OP_HEADER_MAX + key.size + value.size > sizeof small)) {
        bytes = heap = mem_alloc(BATCH_OP_HEADER_MAX + key.size + value.size);
        if (!heap)
            return err_set(ODB_NOMEM, "out of memory for a value of %zu bytes", value.size);
    }
    p = batch_op_header(bytes, (uint8_t)kind, cf->id, key.size, value.size);
    if (key.size)
        memcpy(p, key.data, key.size);
    if (value.size)
        memcpy(p + key.size, value.data, value.size);
    p += key.size + value.size;
    c.payload = odb_bytes(bytes, (size_t)(p - bytes));
    c.hash = hash64(bytes, c.payload.size);
    c.ops = 1;
    c.has_puts = kind == KIND_PUT;
    c.part_count = 1;
    c.few[0].cf = cf;
    c.few[0].bytes = memtable_entry_bytes(key.size, value.size);
    c.few[0].count = 1;
    st = commit_run(&c);
    footprint_release(&c.print);
    mem_free(heap);
    return st;
}

odb_status cf_put(struct cf_set *s, struct cf *cf, odb_slice key, odb_slice value,
                  const struct cf_write *how)
{
    return commit_single(s, cf, KIND_PUT, key, value, how);
}

odb_status cf_delete(struct cf_set *s, struct cf *cf, odb_slice key, const struct cf_write *how)
{
    return commit_single(s, cf, KIND_DELETE, key, odb_bytes(NULL, 0), how);
}

/* Move the parts to the heap, with an index: there are more families than fit. */
ODB_COLD static odb_status commit_spread(struct commit *c, const struct cf_table *t)
{
    c->part_of = mem_zalloc(t->count, sizeof *c->part_of);
    c->part = mem_zalloc(t->count, sizeof *c->part);
    if (!c->part_of || !c->part)
        return err_set(ODB_NOMEM, "out of memory for a batch over many column families");
    memcpy(c->part, c->few, sizeof c->few);
    for (uint32_t i = 0; i < c->part_count; i++)
        c->part_of[c->part[i].cf->index] = i + 1;
    return ODB_OK;
}

/* The part of `family`, a new one if need be. All of a batch is looked up in one table: part_of has
 * an entry for each of its families. */
ODB_COLD static odb_status commit_gather_part(struct commit *c, const struct cf_table *t,
                                              uint32_t family, struct commit_part **io)
{
    struct commit_part *p = commit_find_part(c, t, family);
    struct cf *f;
    odb_status st;

    if (!p) {
        f = set_table_find(t, family);
        if (!f)
            return err_set(ODB_NO_FAMILY, "the batch names column family %u, which is not there",
                           family);
        if (c->part_count == COMMIT_PARTS && !c->part_of) {
            st = commit_spread(c, t);
            if (st != ODB_OK)
                return st;
        }
        p = &c->part[c->part_count++];
        p->cf = f;
        if (c->part_of)
            c->part_of[f->index] = c->part_count;
    }
    *io = p;
    return ODB_OK;
}

/* Walk the batch once: which families, how much room. */
static odb_status commit_gather(struct commit *c)
{
    struct epoch_guard g = epoch_enter(&c->s->epoch);
    const struct cf_table *t = atomic_load_explicit(&c->s->table, memory_order_acquire);
    struct dec d = dec_from(c->payload);
    struct commit_part *p = NULL;
    struct batch_op op;
    odb_status st = ODB_OK;

    while (st == ODB_OK && batch_next(&d, &op)) {
        if (ODB_UNLIKELY(!p || p->cf->id != op.family)) {
            st = commit_gather_part(c, t, op.family, &p);
            if (st != ODB_OK)
                break;
        }
        p->bytes += memtable_entry_bytes(op.key.size, op.value.size);
        p->count++;
        c->ops++;
        c->has_puts |= op.kind == KIND_PUT;
    }
    epoch_leave(g);
    if (st == ODB_OK && d.bad)
        st = err_set(ODB_INVALID, "the batch is malformed behind operation %u", c->ops);
    return st;
}

/* What `c` depends on, as a set: its claims, and the keys of its batch. */
static odb_status commit_claim(struct commit *c, const odb_guard *g, struct claims *claims)
{
    bool with_keys = g->since != ODB_SINCE_EVER;
    struct footprint_op op;
    odb_status st = ODB_OK;
    size_t at = 0;

    c->guard = g;
    if (!with_keys && g->claim_count == 0)
        return ODB_OK;
    c->is_user = true;
    if (ODB_UNLIKELY(history_enter(&c->s->history)))
        st = snapshot_need_history(c->s);
    if (st == ODB_OK && g->hold)
        st = commit_hold_new(g, &c->hold);
    if (st == ODB_OK)
        st = footprint_make(&c->print, c->payload);
    if (st != ODB_OK)
        return st;
    st = claims_init(claims, g->claim_count + (with_keys ? c->ops : 0));
    if (st != ODB_OK)
        return st;
    claims_add_all(claims, g->claim, g->claim_count);
    while (with_keys && footprint_next(&c->print, &at, &op))
        claims_add(claims, op.hash, g->since);
    if (claims->oldest == ODB_SINCE_EVER) { /* to be held, not to be checked */
        claims_release(claims);
        return ODB_OK;
    }
    c->claims = claims;
    c->seen = claims->oldest;
    return ODB_OK;
}

/* Nothing to write, but to check, to hold or to release. */
ODB_COLD static odb_status commit_empty(struct commit *c)
{
    struct cf_set *s = c->s;
    struct epoch_guard g;
    bool is_checked = false;
    odb_status st = ODB_OK;

    g = epoch_enter(&s->epoch);
    while (st == ODB_OK && !is_checked) {
        st = commit_look_back(c);
        if (st != ODB_OK)
            break;
        os_mutex_lock(&s->commit_lock);
        is_checked = commit_is_checked(c, &st);
        if (is_checked && st == ODB_OK)
            commit_change_holds(c);
        os_mutex_unlock(&s->commit_lock);
        if (st == ODB_CONFLICT)
            st = commit_refuse(c);
    }
    epoch_leave(g);
    return st;
}

/* Give back what a commit has gathered, whatever became of it. */
static void commit_forget(struct commit *c)
{
    if (c->part != c->few)
        mem_free(c->part);
    mem_free(c->part_of);
    footprint_release(&c->print);
    if (c->claims)
        claims_release(c->claims);
    commit_hold_free(c->hold);
    if (c->is_user)
        history_leave(&c->s->history);
    if (c->released) {
        commit_hold_free(c->released);
        history_leave(&c->s->history);
    }
}

static odb_status commit_batch(struct cf_set *s, const struct batch *b, const odb_guard *guard,
                               const struct cf_write *how)
{
    struct claims claims;
    struct commit c;
    odb_status st;

    memset(&c, 0, offsetof(struct commit, print));
    st = commit_begin(&c, s, how);
    if (st != ODB_OK)
        return st;
    if (b->count == 0 && !guard)
        return c.level == CF_FULL ? cf_sync(s) : ODB_OK; /* it makes what came before durable */
    c.payload = buf_slice(&b->ops);
    c.hash = hash64(c.payload.data, c.payload.size);
    st = commit_gather(&c);
    if (st == ODB_OK && guard)
        st = commit_claim(&c, guard, &claims);
    if (st == ODB_OK)
        st = c.ops ? commit_run(&c) : commit_empty(&c);
    commit_forget(&c);
    return st;
}

odb_status cf_commit(struct cf_set *s, const struct batch *b, const struct cf_write *how)
{
    return commit_batch(s, b, NULL, how);
}

odb_status cf_commit_guarded(struct cf_set *s, const struct batch *b, const odb_guard *guard,
                             const struct cf_write *how)
{
    return commit_batch(s, b, guard, how);
}

ODB_COLD odb_status cf_sync(struct cf_set *s)
{
    uint64_t end;
    odb_status st = set_check_fork(s);

    if (st != ODB_OK || s->is_readonly)
        return st;
    if (set_has_failed(s))
        return set_refuse(s);
    os_mutex_lock(&s->commit_lock);
    end = wal_end(s->wal);
    os_mutex_unlock(&s->commit_lock);
    st = wal_sync(s->wal, end);
    if (st != ODB_OK)
        set_fail(s, st);
    return st;
}
