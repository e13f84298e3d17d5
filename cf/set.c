/* cf/set.c -- the set of column families: its parts, its health, families by name, upkeep.
 *
 *     cf_set --- wal            one log            (recover.c opens it)
 *            --- manifest       one story          (ledger.c writes it)
 *            --- commit queue   one order          (commit.c)
 *            --- table --- cf --- lsm_tree         one per family
 *            --- sst_store, exec, epoch            shared by all trees
 *
 *     health:   OK  --anything but a full disk-->  failed: read-only until reopened
 *                |                                 (first error sticks, reads go on)
 *                `--background work out of space-> soft: writes go on while there is room,
 *                                                  heals by itself or by cf_resume
 *
 * 1. `table` is replaced, never changed: a commit or reader that loaded it inside an epoch may walk it.
 *    Positions never move, so that cf.index is good in every later table.
 * 2. struct cf lives until the set is closed, dropped or not.
 * 3. Family ids are never used twice, nor is the id of a family whose creation failed.
 * 4. Family 0, "default", is always there.
 * 5. In a forked child nothing is touched but the set's own memory: locks, threads, descriptors and
 *    the ring are the parent's, some of them caught in the middle of something.
 *
 * Threads: any; opening and closing, one.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "cf/set_priv.h"

#define SET_LOG_LINE 600
#define SET_LITTLE   ((uint64_t)1 << 20) /* writing it takes no longer than starting a worker */

/* ---- health ---- */

void set_fail(struct cf_set *s, odb_status st)
{
    os_mutex_lock(&s->publish_lock);
    if (atomic_load_explicit(&s->failed, memory_order_relaxed) == ODB_OK) {
        err_save(s->failed_text);
        atomic_store_explicit(&s->failed, (int)st, memory_order_release);
    }
    os_mutex_unlock(&s->publish_lock);
    set_note(s, "read-only from now on: %s", odb_error_text());
}

odb_status set_refuse(struct cf_set *s)
{
    odb_status st;

    if (s->is_readonly)
        return err_set(ODB_READONLY, "the database was opened read-only");
    os_mutex_lock(&s->publish_lock);
    st = err_set(ODB_READONLY, "writes are refused until the database is reopened, because of: %s",
                 s->failed_text);
    os_mutex_unlock(&s->publish_lock);
    return st;
}

odb_status set_check_fork(const struct cf_set *s)
{
    if (ODB_LIKELY(!set_is_forked(s)))
        return ODB_OK;
    return err_set(ODB_FORKED,
                   "the database was opened by this process's parent: open it again here "
                   "once the parent has closed it");
}

odb_status cf_health(struct cf_set *s)
{
    odb_status st = set_check_fork(s);

    if (st != ODB_OK)
        return st;
    if (set_has_failed(s)) {
        os_mutex_lock(&s->publish_lock);
        st = err_restore((odb_status)atomic_load(&s->failed), s->failed_text);
        os_mutex_unlock(&s->publish_lock);
        return st;
    }
    st = (odb_status)atomic_load_explicit(&s->soft, memory_order_relaxed);
    if (st != ODB_OK)
        return err_set(st,
                       "flushes and merges wait for %s; nothing is lost, and they go on when "
                       "there is some",
                       st == ODB_NOSPACE ? "space on the disk" : "memory");
    return ODB_OK;
}

void set_note(struct cf_set *s, const char *fmt, ...)
{
    char line[SET_LOG_LINE];
    va_list args;

    if (!s->opt.log)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    s->opt.log(s->opt.log_arg, line);
}

static void set_env_note(void *set, const char *text)
{
    set_note(set, "%s", text);
}

/* ---- the parts ---- */

static struct cf_table *set_table_new(uint32_t count)
{
    struct cf_table *t = mem_zalloc(1, sizeof *t + count * sizeof(struct cf *));

    if (t)
        t->count = count;
    return t;
}

static void set_table_free(struct epoch_item *item)
{
    mem_free(item); /* its first member */
}

static void set_init_locks(struct cf_set *s)
{
    os_mutex_init(&s->family_lock, RANK_OPEN);
    os_mutex_init(&s->manifest_lock, RANK_MANIFEST);
    os_mutex_init(&s->commit_lock, RANK_COMMIT);
    os_mutex_init(&s->publish_lock, RANK_PUBLISH);
    os_mutex_init(&s->snapshot_lock, RANK_SNAPSHOT);
    os_cond_init(&s->publish_wake);
}

static void set_fill_env(struct cf_set *s)
{
    s->env = (struct lsm_env){
        .os = s->os,
        .dir = s->dir,
        .db_id = s->db_id,
        .epoch = &s->epoch,
        .tables = s->tables,
        .exec = s->exec,
        .is_readonly = s->is_readonly,
        .owner = s,
        .new_file_no = ledger_new_file_no,
        .log_edit = ledger_log_edit,
        .snapshots = snapshot_list,
        .wait_visible = commit_wait_visible,
        .flushed = ledger_flushed,
        .failed = ledger_failed,
        .make_room = reserve_spend,
        .note = set_env_note,
    };
}

odb_status set_new(const struct cf_set_options *opt, struct os_dir *dir, struct os_lock *lock,
                   uint64_t db_id, struct cf_set **out)
{
    struct cf_set *s = mem_zalloc(1, sizeof *s);
    struct sst_store_options store = {.os = opt->os,
                                      .dir = dir,
                                      .db_id = db_id,
                                      .cache_bytes = opt->cache_bytes,
                                      .open_tables = opt->open_tables < 8 ? 8 : opt->open_tables,
                                      .verify_on_read = true};
    struct cf_table *empty = set_table_new(0);
    odb_status st = ODB_OK;

    if (s)
        s->slot = mem_zalloc(COMMIT_SLOTS, sizeof s->slot[0]);
    if (!s || !s->slot || !empty) {
        if (s)
            mem_free(s->slot);
        mem_free(s);
        mem_free(empty);
        return err_set(ODB_NOMEM, "out of memory opening the database");
    }
    s->os = opt->os;
    s->opt = *opt;
    if (!s->opt.durability)
        s->opt.durability = CF_OS;
    s->db_id = db_id;
    s->fork_count = os_fork_count(opt->os);
    s->is_readonly = opt->is_readonly;
    s->dir = dir;
    for (int i = 0; i < AID_COUNT; i++) {
        s->aid[i].job.run = commit_aid_run;
        s->aid[i].job.priority = i == AID_SEGMENT ? EXEC_LOW : EXEC_HIGH;
        s->aid[i].set = s;
    }
    s->next_seq = 1;
    s->slot[0].state = SLOT_TOKEN; /* ticket 0 finds it there */
    epoch_init(&s->epoch);
    set_init_locks(s);
    atomic_store(&s->table, empty);
    store.epoch = &s->epoch;
    st = exec_new(opt->is_readonly ? 0 : opt->threads, &s->exec);
    if (st == ODB_OK)
        st = sst_store_new(&store, &s->tables);
    if (st != ODB_OK) {
        s->dir = NULL; /* stay the caller's */
        set_free(s);
        return st;
    }
    s->lock = lock;
    set_fill_env(s);
    *out = s;
    return ODB_OK;
}

void set_free(struct cf_set *s)
{
    struct cf_table *t = atomic_load(&s->table);

    for (uint32_t i = 0; i < t->count; i++)
        set_family_free(t->cf[i]);
    epoch_release(&s->epoch);
    sst_store_free(s->tables);
    exec_free(s->exec);
    set_sweep_free(s->sweep);
    epoch_release(&s->epoch);
    while (s->oldest) { /* snapshots nobody gave back */
        struct cf_snapshot *next = s->oldest->newer;

        mem_free(s->oldest);
        s->oldest = next;
    }
    os_close(s->reserve);
    while (s->holds) {
        struct cf_hold *next = s->holds->next;

        commit_hold_free(s->holds);
        s->holds = next;
    }
    history_release(&s->history);
    manifest_close(s->manifest);
    os_cond_destroy(&s->publish_wake);
    os_mutex_destroy(&s->snapshot_lock);
    os_mutex_destroy(&s->publish_lock);
    os_mutex_destroy(&s->commit_lock);
    os_mutex_destroy(&s->manifest_lock);
    os_mutex_destroy(&s->family_lock);
    if (s->lock)
        os_unlock(s->lock);
    os_dir_close(s->dir);
    mem_free(t);
    mem_free(s->slot);
    mem_free(s);
}

/* (5): what background threads or locks may have been in the middle of stays as it is, leaked. */
static void set_free_in_child(struct cf_set *s)
{
    struct cf_table *t = atomic_load(&s->table);

    for (uint32_t i = 0; i < t->count; i++)
        mem_free(t->cf[i]);
    mem_free(t);
    mem_free(s->slot);
    mem_free(s);
}

/* ---- closing ---- */

static odb_status set_flush_all(struct cf_set *s, struct cf *only)
{
    odb_status st = ODB_OK;

    (void)commit_settle(s); /* a memtable that looks empty may have a commit on its way into it */
    for (int pass = 0; pass < 2; pass++)
        for (struct cf *f = NULL; st == ODB_OK && (f = cf_next(s, only, f)) != NULL;)
            st = cf_unless_dropped(f, pass == 0 ? commit_switch(s, f, false, false)
                                                : lsm_flush_wait(f->tree));
    return st;
}

void set_stop(struct cf_set *s)
{
    struct cf_table *t = atomic_load(&s->table);

    for (uint32_t i = 0; i < t->count; i++)
        lsm_stop(t->cf[i]->tree);
    for (int i = 0; i < AID_COUNT; i++)
        while (atomic_load(&s->aid[i].state) == AID_QUEUED)
            if (!exec_run_one(s->exec))
                os_thread_yield(); /* a worker has it */
    while (s->sweep && !atomic_load_explicit(&s->sweep->is_done, memory_order_acquire))
        if (!exec_run_one(s->exec))
            os_thread_yield();
}

odb_status cf_close(struct cf_set *s)
{
    char why[ERR_TEXT_MAX] = "";
    odb_status st = ODB_OK, log_st;

    if (!s)
        return ODB_OK;
    if (set_is_forked(s)) {
        st = set_check_fork(s);
        set_free_in_child(s);
        return st;
    }
    if (!s->is_readonly) {
        if (set_sizes(s).memtables <= SET_LITTLE)
            exec_settle(s->exec);
        if (!set_has_failed(s))
            st = set_flush_all(s, NULL);
        if (set_has_failed(s))
            st = cf_health(s);
        if (st != ODB_OK)
            err_save(why);
    }
    set_stop(s);
    if (!s->is_readonly) {
        log_st = wal_close(s->wal);
        if (st == ODB_OK && log_st != ODB_OK) {
            st = log_st;
            err_save(why);
        }
    }
    set_free(s);
    return st == ODB_OK || CANARY(21) ? ODB_OK : err_restore(st, why);
}

/* ---- families ---- */

struct cf *set_table_find(const struct cf_table *t, uint32_t id)
{
    uint32_t lo = 0, hi = t->count;

    if (ODB_LIKELY(id < t->count && t->cf[id]->id == id))
        return t->cf[id]; /* as long as nothing was ever dropped */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (t->cf[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->count && t->cf[lo]->id == id ? t->cf[lo] : NULL;
}

odb_status set_check_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > CF_NAME_MAX)
        return err_set(ODB_INVALID, "a column family's name has 1 to %d bytes, not %zu",
                       CF_NAME_MAX, len);
    return ODB_OK;
}

odb_status set_family_new(struct cf_set *s, uint32_t id, const char *name,
                          const struct lsm_options *options, struct cf **out)
{
    struct cf *f = mem_zalloc(1, sizeof *f);
    odb_status st;

    if (!f)
        return err_set(ODB_NOMEM, "out of memory for column family '%s'", name);
    f->set = s;
    f->id = id;
    memcpy(f->name, name, strlen(name) + 1); /* checked by whoever brought it */
    f->has_options = options != NULL;
    f->is_roomy = (options ? options : &s->opt.family)->write_buffer >= SET_ROOMY;
    f->options = options ? *options : s->opt.family;
    st = lsm_new(&s->env, id, f->name, &f->options, &f->tree);
    if (st != ODB_OK) {
        mem_free(f);
        return st;
    }
    *out = f;
    return ODB_OK;
}

void set_family_free(struct cf *f)
{
    if (!f)
        return;
    lsm_free(f->tree);
    mem_free(f);
}

/* The present table with room for one more, which the caller fills in. */
static struct cf_table *set_table_grown(const struct cf_set *s)
{
    struct cf_table *old = atomic_load(&s->table);
    struct cf_table *t = set_table_new(old->count + 1);

    if (t && old->count)
        memcpy(t->cf, old->cf, old->count * sizeof(struct cf *));
    return t;
}

static void set_table_publish(struct cf_set *s, struct cf_table *t, struct cf *f)
{
    struct cf_table *old = atomic_load(&s->table);

    f->index = old->count;
    t->cf[old->count] = f;
    s->living++;
    atomic_store_explicit(&s->table, t, memory_order_release);
    epoch_retire(&s->epoch, &old->retired, set_table_free);
}

struct cf *set_family_named(const struct cf_set *s, const char *name)
{
    const struct cf_table *t = atomic_load_explicit(&s->table, memory_order_acquire);

    for (uint32_t i = 0; i < t->count; i++)
        if (strcmp(t->cf[i]->name, name) == 0 && !atomic_load(&t->cf[i]->is_dropped))
            return t->cf[i];
    return NULL;
}

odb_status cf_find(struct cf_set *s, const char *name, struct cf **out)
{
    odb_status st = set_check_fork(s);
    struct epoch_guard g;
    struct cf *f;

    if (st != ODB_OK)
        return st;
    g = epoch_enter(&s->epoch);
    f = set_family_named(s, name);
    epoch_leave(g);
    if (!f)
        return err_set(ODB_NO_FAMILY, "there is no column family '%s'", name);
    *out = f;
    return ODB_OK;
}

void cf_each(struct cf_set *s, bool (*each)(void *arg, struct cf *cf, const char *name), void *arg)
{
    struct epoch_guard g;
    struct cf_table *t;
    bool more = true;

    if (set_is_forked(s))
        return;
    g = epoch_enter(&s->epoch);
    t = atomic_load_explicit(&s->table, memory_order_acquire);
    for (uint32_t i = 0; i < t->count && more; i++)
        if (!atomic_load(&t->cf[i]->is_dropped))
            more = each(arg, t->cf[i], t->cf[i]->name);
    epoch_leave(g);
}

void set_flushed_bounds(const struct cf_table *t, uint64_t *low, uint64_t *high)
{
    *low = UINT64_MAX;
    *high = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        uint64_t lsn = t->cf[i]->flushed_lsn;

        if (t->cf[i]->is_gone)
            continue;
        if (lsn < *low)
            *low = lsn;
        if (lsn > *high)
            *high = lsn;
    }
}

struct cf *cf_next(struct cf_set *s, struct cf *only, const struct cf *after)
{
    uint32_t i = after ? after->index + 1 : only ? only->index : 0;
    struct epoch_guard g;
    struct cf_table *t;
    struct cf *f = NULL;

    if (set_is_forked(s) || (only && after))
        return NULL;
    g = epoch_enter(&s->epoch);
    t = atomic_load_explicit(&s->table, memory_order_acquire);
    for (uint32_t end = only ? i + 1 : t->count; i < end && !f; i++)
        if (!atomic_load(&t->cf[i]->is_dropped))
            f = t->cf[i];
    epoch_leave(g);
    return f;
}

odb_status cf_unless_dropped(const struct cf *cf, odb_status st)
{
    bool is_cut_short = st == ODB_CANCELLED || st == ODB_NO_FAMILY;

    return is_cut_short && atomic_load(&cf->is_dropped) ? ODB_OK : st;
}

struct set_sizes set_sizes(struct cf_set *s)
{
    struct epoch_guard g = epoch_enter(&s->epoch);
    struct cf_table *t = atomic_load_explicit(&s->table, memory_order_acquire);
    struct set_sizes sizes = {0, 0};

    for (uint32_t i = 0; i < t->count; i++) {
        struct lsm_sizes now;

        lsm_sizes(lsm_view(t->cf[i]->tree), &now);
        sizes.memtables += now.memtable_bytes;
        sizes.tables += now.table_bytes;
    }
    epoch_leave(g);
    return sizes;
}

/* Under manifest_lock: write that `f` exists, and publish it. */
static odb_status set_family_enrol(struct cf_set *s, struct cf *f)
{
    struct manifest_family item = {f->id, odb_s(f->name), f->has_options, f->options};
    struct lsm_edit edit = {.family = f->id, .has_flushed = true};
    struct manifest_group g = {0};
    struct cf_table *t = set_table_grown(s);
    uint64_t high;
    odb_status st = ODB_OK;

    if (!t)
        return err_set(ODB_NOMEM, "out of memory for the table of column families");
    /* Before anything the family will ever get, and no reason to sync the log (ledger.c, 2). */
    set_flushed_bounds(atomic_load_explicit(&s->table, memory_order_relaxed), &edit.flushed_lsn,
                       &high);
    f->flushed_lsn = edit.flushed_lsn;
    st = lsm_open_memtable(f->tree, f->flushed_lsn);
    if (st == ODB_OK)
        st = manifest_add_family(&g, &item);
    if (st == ODB_OK)
        st = manifest_add_edit(&g, &edit);
    if (st == ODB_OK)
        st = ledger_write_order(s, &g);
    manifest_group_release(&g);
    if (st != ODB_OK) {
        mem_free(t);
        return st;
    }
    set_table_publish(s, t, f);
    return ODB_OK;
}

odb_status set_family_create(struct cf_set *s, const char *name, const struct lsm_options *options,
                             struct cf **out)
{
    struct cf *f = NULL;
    odb_status st;

    os_mutex_lock(&s->manifest_lock);
    if (set_family_named(s, name))
        st = err_set(ODB_EXISTS, "there is a column family '%s' already", name);
    else if (s->living >= CF_COUNT_MAX || s->next_family == UINT32_MAX)
        st = err_set(ODB_LIMIT, "a database has at most %d column families", CF_COUNT_MAX);
    else
        st = set_family_new(s, s->next_family, name, options, &f);
    if (st == ODB_OK) {
        s->next_family++; /* also when writing fails: the manifest may yet know this one */
        st = set_family_enrol(s, f);
    }
    os_mutex_unlock(&s->manifest_lock);
    if (st != ODB_OK) {
        set_family_free(f);
        return st;
    }
    lsm_start(f->tree); /* its lock ranks below; what was written meanwhile is seen to now */
    if (out)
        *out = f;
    return ODB_OK;
}

static odb_status set_check_change(struct cf_set *s)
{
    odb_status st = set_check_fork(s);

    if (st == ODB_OK && (s->is_readonly || set_has_failed(s)))
        st = set_refuse(s);
    return st;
}

odb_status cf_create(struct cf_set *s, const char *name, const struct lsm_options *opt,
                     struct cf **out)
{
    odb_status st = set_check_change(s);

    if (st == ODB_OK)
        st = set_check_name(name);
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&s->family_lock);
    st = set_family_create(s, name, opt, out);
    os_mutex_unlock(&s->family_lock);
    return st;
}

static void set_mark_dropped(struct cf_set *s, struct cf *f, bool yes)
{
    os_mutex_lock(&s->commit_lock); /* a commit has either entered the log before, or is refused */
    atomic_store(&f->is_dropped, yes);
    os_mutex_unlock(&s->commit_lock);
}

odb_status cf_drop(struct cf_set *s, struct cf *f)
{
    struct manifest_group g = {0};
    odb_status st = set_check_change(s);

    if (st != ODB_OK)
        return st;
    if (f->id == 0)
        return err_set(ODB_INVALID, "column family '%s' cannot be dropped", f->name);
    os_mutex_lock(&s->family_lock);
    if (atomic_load(&f->is_dropped)) {
        os_mutex_unlock(&s->family_lock);
        return err_set(ODB_NO_FAMILY, "column family '%s' was dropped", f->name);
    }
    set_mark_dropped(s, f, true);
    os_mutex_lock(&s->manifest_lock);
    st = manifest_add_drop(&g, f->id);
    if (st == ODB_OK)
        st = ledger_write_order(s, &g);
    if (st == ODB_OK) {
        f->is_gone = true;
        s->living--;
    }
    os_mutex_unlock(&s->manifest_lock);
    manifest_group_release(&g);
    if (st == ODB_OK)
        lsm_drop(f->tree);
    else
        set_mark_dropped(s, f, false);
    os_mutex_unlock(&s->family_lock);
    return st;
}

uint32_t cf_id(const struct cf *cf)
{
    return cf->id;
}

const char *cf_name(const struct cf *cf)
{
    return cf->name;
}

struct lsm_tree *cf_tree(struct cf *cf)
{
    return cf->tree;
}

/* ---- upkeep ---- */

odb_status cf_flush(struct cf_set *s, struct cf *cf)
{
    odb_status st = set_check_change(s);

    return st == ODB_OK ? set_flush_all(s, cf) : st;
}

odb_status cf_resume(struct cf_set *s)
{
    odb_status st = cf_health(s);

    if ((st != ODB_OK && !set_is_soft(st)) || set_has_failed(s) || s->is_readonly)
        return st;
    st = reserve_admit(s);
    for (struct cf *f = NULL; st == ODB_OK && (f = cf_next(s, NULL, f)) != NULL;)
        st = cf_unless_dropped(f, lsm_flush_wait(f->tree));
    if (st == ODB_OK)
        st = wal_make_room(s->wal, 0);
    if (st == ODB_OK)
        atomic_store_explicit(&s->soft, ODB_OK, memory_order_relaxed);
    return st;
}

bool cf_work(struct cf_set *s)
{
    return !set_is_forked(s) && exec_run_one(s->exec);
}

void set_balance_memory(struct cf_set *s)
{
    uint64_t used;
    size_t cache;

    if (!s->opt.memory_budget)
        return;
    used = set_sizes(s).memtables;
    cache = used < s->opt.memory_budget ? s->opt.memory_budget - (size_t)used : 0;
    if (cache > s->opt.cache_bytes)
        cache = s->opt.cache_bytes;
    sst_store_resize(s->tables, cache);
}

/* ---- verification ---- */

struct set_verify {
    struct cf_set *s;
    bool (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
    void *arg;
    const char *what;
    struct manifest_result manifest;
};

static bool set_verify_progress(void *arg, uint64_t done, uint64_t total)
{
    struct set_verify *v = arg;

    return !v->progress || v->progress(v->arg, v->what, done, total);
}

static odb_status set_verify_item(void *arg, const struct manifest_item *item)
{
    (void)arg;
    (void)item;
    return ODB_OK; /* having been decoded is enough */
}

static odb_status set_verify_record(void *arg, const struct wal_record *rec)
{
    struct set_verify *v = arg;
    struct dec d = dec_from(rec->payload);
    struct batch_op op;

    if (rec->type == WAL_MARK)
        return manifest_check_mark(rec->payload, &v->manifest);
    while (batch_next(&d, &op))
        ;
    return d.bad ? err_corrupt(rec->file, rec->file_off, "a batch that makes no sense") : ODB_OK;
}

struct set_segments {
    uint64_t no[1024];
    size_t count;
    uint64_t first_lsn;
    uint64_t end_lsn;
};

static bool set_verify_segment(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn)
{
    struct set_segments *seg = arg;

    seg->end_lsn = end_lsn;
    if (seg->count == 0)
        seg->first_lsn = first_lsn;
    seg->no[seg->count++] = file_no;
    return seg->count < sizeof seg->no / sizeof seg->no[0];
}

/* Manifest and log; the lock keeps both from being let go of meanwhile. */
static odb_status set_verify_files(struct set_verify *v)
{
    struct cf_set *s = v->s;
    struct set_segments *seg = mem_zalloc(1, sizeof *seg);
    struct wal_replay_result res;
    uint64_t durable;
    odb_status st = ODB_OK;

    if (!seg)
        return err_set(ODB_NOMEM, "no memory to read the log");
    os_mutex_lock(&s->manifest_lock);
    if (s->manifest)
        st = manifest_read(s->dir, s->db_id, manifest_file_no(s->manifest), set_verify_item, NULL,
                           &v->manifest);
    if (st == ODB_OK && s->wal) {
        durable = wal_durable(s->wal);
        wal_segments(s->wal, set_verify_segment, seg);
        if (durable > seg->end_lsn)
            durable = seg->end_lsn; /* there were more than fit */
        st = wal_replay(s->dir, s->db_id, seg->no, seg->count, seg->first_lsn, seg->first_lsn,
                        durable, set_verify_record, v, &res);
    }
    os_mutex_unlock(&s->manifest_lock);
    mem_free(seg);
    return st;
}

odb_status cf_verify(struct cf_set *s,
                     bool (*progress)(void *arg, const char *what, uint64_t done, uint64_t total),
                     void *arg)
{
    struct set_verify v = {
        .s = s, .progress = progress, .arg = arg, .manifest = {.file_no = UINT64_MAX}};
    odb_status st = set_check_fork(s);

    if (st == ODB_OK && !s->is_readonly && !set_has_failed(s))
        st = cf_sync(s);
    if (st == ODB_OK)
        st = set_verify_files(&v);
    for (struct cf *f = NULL; st == ODB_OK && (f = cf_next(s, NULL, f)) != NULL;) {
        v.what = f->name;
        st = lsm_verify(f->tree, set_verify_progress, &v);
    }
    return st;
}

/* ---- statistics ---- */

static bool set_count_segment(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn)
{
    (void)file_no;
    (void)first_lsn;
    (void)end_lsn;
    ++*(uint64_t *)arg;
    return true;
}

static void set_stats_log(struct cf_set *s, struct cf_set_stats *out)
{
    if (!s->wal)
        return;
    out->has_ring = wal_has_ring(s->wal);
    out->log_bytes = wal_bytes(s->wal);
    out->log_written = wal_end(s->wal) - s->first_lsn;
    wal_segments(s->wal, set_count_segment, &out->log_files);
    os_mutex_lock(&s->commit_lock);
    out->commits = s->commits;
    out->ops = s->next_seq - s->first_seq;
    out->bytes_in = s->bytes_in;
    os_mutex_unlock(&s->commit_lock);
}

static void set_stats_tables(struct cf_set *s, struct cf_set_stats *out)
{
    struct sst_counters_sum sum;

    sst_store_counters(s->tables, &sum);
    out->cache_bytes = sst_store_bytes(s->tables);
    out->block_hits = sum.block_hits;
    out->block_reads = sum.block_reads;
    out->bytes_read = sum.bytes_read;
    out->filter_checks = sum.filter_checks;
    out->filter_rejects = sum.filter_rejects;
    out->filter_false = sum.filter_false;
    out->tables_opened = sum.tables_opened;
    out->blocks_evicted = sum.blocks_evicted;
    out->blocks_unpacked = sum.blocks_unpacked;
    out->background_cpu_ns = exec_cpu_ns(s->exec);
}

void cf_stats(struct cf_set *s, struct cf_set_stats *out)
{
    *out = (struct cf_set_stats){.db_id = s->db_id};
    if (set_is_forked(s))
        return;
    out->visible_seq = cf_visible_seq(s);
    out->recovered_records = s->recovered_records;
    out->recovered_bytes = s->recovered_bytes;
    out->recovery_ns = s->recovery_ns;
    set_stats_log(s, out);
    set_stats_tables(s, out);
    os_mutex_lock(&s->snapshot_lock);
    out->snapshots = s->snapshot_count;
    if (s->oldest) {
        out->oldest_snapshot_seq = s->oldest->seq;
        out->oldest_snapshot_age_ms = (os_now_ns(s->os) - s->oldest->taken_ns) / 1000000;
    }
    os_mutex_unlock(&s->snapshot_lock);
    out->memtable_bytes = set_sizes(s).memtables;
}
