/* cf/ledger.c -- how a change of families or tables becomes durable.
 *
 *      a flush, a merge, a new family                          manifest_lock
 *          |
 *          v
 *      [log synced, where others need it (2)] -> append -> sync -> applied in memory -> old files go
 *                                                   |
 *                                 failed, or the file has grown too large
 *                                                   v
 *      new manifest: everything + the change -> sync -> sync directory -> CURRENT -> old manifest goes
 *
 * 1. A change is applied in memory only after it is durable, and both under the lock: the manifest and
 *    memory tell the same story in the same order.
 * 2. A flush is recorded only when no family needs log from before where the flushed memtable ended, or
 *    when the log is durable up to there. Otherwise a power cut could keep the table, which holds
 *    commits up to there of one family, and lose the log with the same commits' share in others (P3).
 *    As a rule one family is written to and nothing is synced: what the log has lost then lies before
 *    what anybody needs, and the next life's log begins behind it (recover.c, 5).
 * 3. `flushed_lsn` of a family moves with its own flushes, and with everybody's: a family without
 *    anything in memory would otherwise keep the whole log alive. It moves as far as the flush that is
 *    recorded and no further, so that they meet. Whatever lies before that is in memtables or tables,
 *    not on the way there: the flush has waited for it.
 * 4. A manifest that failed is sealed and replaced. Until CURRENT has durably moved, nothing is removed
 *    that either manifest might name (C6, C8); a new one that CURRENT was never asked to name goes at
 *    once, so that a full disk is not filled further.
 * 5. A full disk or a want of memory is no sticky failure: no manifest is open then, and the next change
 *    begins a new one from memory, which leaves out whatever the failed one may or may not hold. Any
 *    other failure makes the set read-only. That an edit may be there or not does no harm: its tables
 *    are there, and the log that it would let go of is, too. A family that may or may not be dropped
 *    is another matter: writes into it could not be promised anything, so that the set becomes
 *    read-only there as well.
 *
 * 6. A change that is durable is marked in the log (manifest.c, 4). A mark that cannot be written, since
 *    the disk is full for instance, is let go: the change stands, and the next mark tells of it, too.
 *
 * Crash: before the sync the change never happened, after it it has. Between CURRENT's rename and the
 * directory's sync either manifest may turn out to be current; both describe the same state but for
 * the change that nobody has acknowledged.
 * Threads: all under manifest_lock, but for what says otherwise.
 */
#include <assert.h>

#include "cf/set_priv.h"

#include "base/canary.h"
#include "base/hash.h"
#include "base/ikey.h"

#define LEDGER_LIMIT ((uint64_t)4 << 20) /* bytes of a manifest before it is rewritten */

uint64_t ledger_new_file_no(void *set)
{
    struct cf_set *s = set;

    return atomic_fetch_add_explicit(&s->next_file_no, 1, memory_order_relaxed);
}

/* ---- groups ---- */

static odb_status ledger_add_counters(struct cf_set *s, struct manifest_group *g)
{
    struct manifest_counters c = {
        .next_family = s->next_family,
        .log_no = s->log_no,
        .log_lsn = s->log_lsn,
        .is_log_open = s->is_log_open,
        .log_durable = s->wal ? wal_durable(s->wal) : 0,
    };

    c.next_file_no = atomic_load_explicit(&s->next_file_no, memory_order_relaxed);
    os_mutex_lock(&s->commit_lock);
    c.next_seq = s->next_seq;
    os_mutex_unlock(&s->commit_lock);
    return manifest_add_counters(g, &c);
}

/* One family as it is: its name, its tables, where it needs the log from. */
static odb_status ledger_add_family(struct manifest_group *g, struct cf *f)
{
    struct manifest_family item = {f->id, odb_s(f->name), f->has_options, f->options};
    struct lsm_edit edit = {0};
    odb_status st = manifest_add_family(g, &item);

    if (st == ODB_OK)
        st = lsm_snapshot_edit(f->tree, &edit);
    if (st != ODB_OK)
        return st;
    edit.has_flushed = true;
    edit.flushed_lsn = f->flushed_lsn;
    st = manifest_add_edit(g, &edit);
    lsm_edit_release(&edit);
    return st;
}

static odb_status ledger_add_everything(struct cf_set *s, struct manifest_group *g)
{
    struct epoch_guard e =
        epoch_enter(&s->epoch); /* a memtable switch may replace the view meanwhile */
    struct cf_table *t = atomic_load_explicit(&s->table, memory_order_acquire);
    odb_status st = ledger_add_counters(s, g);

    for (uint32_t i = 0; st == ODB_OK && i < t->count; i++)
        if (!t->cf[i]->is_gone)
            st = ledger_add_family(g, t->cf[i]);
    epoch_leave(e);
    return st;
}

/* ---- beginning a new manifest ---- */

static void ledger_remove_manifest(struct cf_set *s, uint64_t no)
{
    char name[FILE_NAME_MAX];

    file_name(FILE_MANIFEST, no, name);
    err_ignore(os_remove(s->dir, name)); /* swept at the next open otherwise */
}

void ledger_sweep_manifests(struct cf_set *s)
{
    struct file_list list = {0};

    assert(os_mutex_held(&s->manifest_lock));
    if (file_list_read(s->dir, &list) != ODB_OK)
        return; /* the next switch or open tries again */
    for (size_t i = 0; i < list.manifests.count; i++)
        if (list.manifests.no[i] != manifest_file_no(s->manifest))
            ledger_remove_manifest(s, list.manifests.no[i]);
    file_list_release(&list);
}

/* *may_go_on: the old manifest, if it is good, still counts for certain. */
static odb_status ledger_replace(struct cf_set *s, const struct manifest_group *g, bool *may_go_on)
{
    struct manifest_group all = {0};
    struct manifest *next = NULL;
    uint64_t no = ledger_new_file_no(s), size;
    bool is_tried = false;
    odb_status st;

    assert(os_mutex_held(&s->manifest_lock));
    st = ledger_add_everything(s, &all);
    if (st == ODB_OK)
        st = manifest_add_group(&all, g);
    if (st == ODB_OK)
        st = manifest_create(s->os, s->dir, s->db_id, no, &all, &next);
    manifest_group_release(&all);
    if (st == ODB_OK)
        st = os_dir_sync(s->dir); /* CURRENT must not come to name what a power cut forgets (C1) */
    if (CANARY(3) && s->manifest)
        ledger_remove_manifest(s, manifest_file_no(s->manifest));
    if (st == ODB_OK)
        st = current_switch(s->dir, s->db_id, no, &is_tried);
    *may_go_on = st == ODB_OK || !is_tried;
    if (st != ODB_OK) {
        char why[ERR_TEXT_MAX];

        err_save(why);
        if (next && (!is_tried || CANARY(6)))
            ledger_remove_manifest(s, no);
        manifest_close(next);
        return err_restore(st, why);
    }
    manifest_close(s->manifest);
    s->manifest = next;
    size = manifest_size(next);
    s->manifest_limit = s->opt.manifest_limit ? s->opt.manifest_limit : LEDGER_LIMIT;
    if (s->manifest_limit < 2 * size)
        s->manifest_limit = 2 * size; /* rewriting costs the snapshot: let it pay for itself */
    return ODB_OK;
}

odb_status ledger_begin(struct cf_set *s, const struct manifest_group *g)
{
    bool may_go_on;

    return ledger_replace(s, g, &may_go_on);
}

/* Tell the log how long the manifest is (6). */
static void ledger_mark(struct cf_set *s)
{
    uint8_t bytes[MANIFEST_MARK];
    odb_slice mark = odb_bytes(bytes, sizeof bytes);
    uint64_t end;
    odb_status st;

    manifest_mark(s->manifest, bytes);
    do {
        os_mutex_lock(&s->commit_lock);
        st = s->next_seq > SEQ_MAX ? ODB_LIMIT
                                   : wal_append(s->wal, WAL_MARK, s->next_seq, mark,
                                                hash64(bytes, sizeof bytes), &end);
        os_mutex_unlock(&s->commit_lock);
    } while (st == ODB_AGAIN && wal_make_room(s->wal, sizeof bytes) == ODB_OK);
}

/* The present manifest takes nothing more. */
static void ledger_abandon(struct cf_set *s)
{
    manifest_close(s->manifest);
    s->manifest = NULL;
}

/* Append `g`, or begin a new manifest with it. */
static odb_status ledger_put(struct cf_set *s, struct manifest_group *g, bool *is_unclear)
{
    bool may_go_on = true;
    odb_status st;

    if (s->manifest && manifest_size(s->manifest) < s->manifest_limit) {
        st = manifest_append(s->manifest, g);
        if (st == ODB_OK || CANARY(7))
            return st;
        *is_unclear = true;
        set_note(s, "manifest %llu: %s; beginning a new one",
                 (unsigned long long)manifest_file_no(s->manifest), odb_error_text());
    }
    st = ledger_replace(s, g, &may_go_on);
    if (st == ODB_OK) {
        ledger_sweep_manifests(s);
        return ODB_OK;
    }
    if (may_go_on && s->manifest && !manifest_is_sealed(s->manifest)) {
        st = manifest_append(s->manifest, g); /* too large is better than none */
        if (st == ODB_OK)
            return ODB_OK;
        may_go_on = false;
    }
    *is_unclear |= !may_go_on;
    ledger_abandon(s);
    if (!set_is_soft(st))
        set_fail(s, st);
    return st;
}

odb_status ledger_write(struct cf_set *s, struct manifest_group *g, bool *is_unclear)
{
    odb_status st;

    assert(os_mutex_held(&s->manifest_lock));
    *is_unclear = false;
    if (set_has_failed(s))
        return set_refuse(s);
    st = ledger_add_counters(s, g);
    if (st == ODB_OK)
        st = ledger_put(s, g, is_unclear);
    if (st == ODB_OK)
        ledger_mark(s);
    return st;
}

odb_status ledger_write_order(struct cf_set *s, struct manifest_group *g)
{
    bool is_unclear;
    odb_status st = ledger_write(s, g, &is_unclear);

    if (st != ODB_OK && is_unclear) {
        st = err_set(ODB_UNKNOWN, "whether the change took place shows at the next open, since: %s",
                     odb_error_text());
        set_fail(s, st);
    }
    return st;
}

/* ---- edits ---- */

/* Fill in flushed_next of every family and add what moved to the group; *low and *high are the least
 * and the greatest of them. `family`, if there is one of that id, is in the group up to `flushed`, and
 * no family has anything in flight that lies before that. */
static odb_status ledger_add_flushed(const struct cf_table *t, uint32_t family, uint64_t flushed,
                                     struct manifest_group *g, uint64_t *low, uint64_t *high)
{
    odb_status st = ODB_OK;

    *low = UINT64_MAX;
    *high = 0;
    for (uint32_t i = 0; st == ODB_OK && i < t->count; i++) {
        struct cf *f = t->cf[i];
        uint64_t lsn = flushed;

        if (f->is_gone)
            continue;
        if (f->id != family) {
            lsm_note_idle(f->tree, flushed);
            lsn = lsm_needed_lsn(f->tree);
            if (lsn > flushed)
                lsn = flushed; /* not further than needs be: `high` is what costs a sync (2) */
        }
        f->flushed_next = lsn > f->flushed_lsn ? lsn : f->flushed_lsn;
        if (f->id != family && f->flushed_next > f->flushed_lsn) {
            struct lsm_edit idle = {
                .family = f->id, .has_flushed = true, .flushed_lsn = f->flushed_next};

            st = manifest_add_edit(g, &idle);
        }
        if (f->flushed_next < *low)
            *low = f->flushed_next;
        if (f->flushed_next > *high)
            *high = f->flushed_next;
    }
    return st;
}

struct ledger_segment {
    uint64_t lsn;
    uint64_t no; /* of the last segment that begins at or before it */
    uint64_t first_lsn;
};

static bool ledger_find_segment(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn)
{
    struct ledger_segment *seg = arg;

    (void)end_lsn;
    if (first_lsn > seg->lsn)
        return false;
    seg->no = file_no;
    seg->first_lsn = first_lsn;
    return true;
}

/* A flush: what the log no longer needs to hold. */
static odb_status ledger_prepare_flush(struct cf_set *s, uint32_t family, uint64_t flushed,
                                       struct manifest_group *g)
{
    struct cf_table *t = atomic_load_explicit(&s->table, memory_order_acquire);
    struct ledger_segment seg = {.no = 0};
    uint64_t high;
    odb_status st = ledger_add_flushed(t, family, flushed, g, &seg.lsn, &high);

    if (st == ODB_OK && seg.lsn < high && wal_durable(s->wal) < high && !CANARY(19)) {
        st = wal_harden(s->wal, high); /* (2) */
        if (st != ODB_OK)
            set_fail(s, st);
    }
    if (st != ODB_OK)
        return st;
    wal_segments(s->wal, ledger_find_segment, &seg);
    if (seg.no > s->log_no) {
        s->log_no = seg.no;
        s->log_lsn = seg.first_lsn;
    }
    return ODB_OK;
}

/* Write `g` and what the log no longer needs to hold. Under manifest_lock. */
static odb_status ledger_write_flush(struct cf_set *s, uint32_t family, uint64_t flushed,
                                     struct manifest_group *g)
{
    struct cf_table *t = atomic_load_explicit(&s->table, memory_order_acquire);
    uint64_t log_no = s->log_no, log_lsn = s->log_lsn;
    bool is_unclear; /* no matter: tables and log are there for both outcomes */
    odb_status st = ledger_prepare_flush(s, family, flushed, g);

    if (st == ODB_OK)
        st = ledger_write(s, g, &is_unclear);
    if (st != ODB_OK) {
        s->log_no = log_no; /* the next change must not let go of log on behalf of this one */
        s->log_lsn = log_lsn;
        return st;
    }
    for (uint32_t i = 0; i < t->count; i++)
        if (!t->cf[i]->is_gone)
            t->cf[i]->flushed_lsn = t->cf[i]->flushed_next;
    return ODB_OK;
}

odb_status ledger_log_edit(void *set, const struct lsm_edit *edit, void (*apply)(void *arg),
                           void *arg)
{
    struct cf_set *s = set;
    struct manifest_group g = {0};
    struct epoch_guard e;
    struct cf *f;
    bool is_unclear; /* no matter: the tables are there for both outcomes */
    odb_status st;

    os_mutex_lock(&s->manifest_lock);
    e = epoch_enter(&s->epoch);
    f = set_table_find(atomic_load_explicit(&s->table, memory_order_acquire), edit->family);
    if (!f || f->is_gone)
        st = err_set(ODB_CANCELLED, "the column family was dropped");
    else if (set_has_failed(s))
        st = set_refuse(s);
    else
        st = manifest_add_edit(&g, edit);
    if (st == ODB_OK)
        st = edit->has_flushed ? ledger_write_flush(s, edit->family, edit->flushed_lsn, &g)
                               : ledger_write(s, &g, &is_unclear);
    if (st == ODB_OK)
        apply(arg);
    epoch_leave(e);
    os_mutex_unlock(&s->manifest_lock);
    manifest_group_release(&g);
    return st;
}

/* Whether everything is in tables, and the log's present segment worth leaving. Under commit_lock. */
static bool ledger_may_leave(struct cf_set *s, const struct cf_table *t, uint64_t end)
    ODB_REQUIRES(s->commit_lock)
{
    bool may = wal_may_leave(s->wal) && atomic_load(&s->published) == s->next_ticket;

    for (uint32_t i = 0; may && i < t->count; i++)
        if (!t->cf[i]->is_gone) {
            lsm_note_idle(t->cf[i]->tree, end);
            may = lsm_needed_lsn(t->cf[i]->tree) >= end;
        }
    return may;
}

/* When nothing in the present segment is needed any more, go on in a new one and say so, so that the old
 * one can go. Failing is no harm: the log then goes on as it would have. Under manifest_lock. */
static void ledger_leave_segment(struct cf_set *s, const struct cf_table *t)
{
    struct manifest_group g = {0};
    uint64_t end = 0;
    bool may;

    /* twice: with a successor at hand, leaving cannot refuse a commit */
    for (int pass = 0; pass < 2; pass++) {
        os_mutex_lock(&s->commit_lock);
        end = wal_end(s->wal);
        may = !set_has_failed(s) && ledger_may_leave(s, t, end);
        if (may && pass == 1)
            wal_leave(s->wal);
        os_mutex_unlock(&s->commit_lock);
        if (!may || (pass == 0 && wal_prepare(s->wal) != ODB_OK))
            return;
    }
    if (wal_make_room(s->wal, 0) == ODB_OK)
        err_ignore(ledger_write_flush(s, UINT32_MAX, end, &g));
    manifest_group_release(&g);
}

/* After a flush: let go of log, share out memory again. */
void ledger_flushed(void *set)
{
    struct cf_set *s = set;

    os_mutex_lock(&s->manifest_lock);
    ledger_leave_segment(s, atomic_load_explicit(&s->table, memory_order_acquire));
    if (wal_forget(s->wal, s->log_no) != ODB_OK)
        set_note(s, "an old log segment could not be removed: %s", odb_error_text());
    os_mutex_unlock(&s->manifest_lock);
    atomic_store_explicit(&s->soft, ODB_OK, memory_order_relaxed);
    if (s->opt.disk_reserve)
        reserve_keep(s);
    set_balance_memory(s);
}

/* lsm_env.failed */
void ledger_failed(void *set, odb_status st)
{
    struct cf_set *s = set;

    if (st == ODB_CANCELLED || st == ODB_NO_FAMILY)
        return;
    set_note(s, "background work failed: %s", odb_error_text());
    if (set_is_soft(st))
        atomic_store_explicit(&s->soft, (int)st, memory_order_relaxed);
    else if (st != ODB_READONLY) /* which is the echo of an earlier failure */
        set_fail(s, st);
}
