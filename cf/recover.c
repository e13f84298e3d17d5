/* cf/recover.c -- from the files to a set, and from nothing to files.
 *
 *      reads only                                              |  writes
 *      CURRENT -> manifest -> trees -> log and ring -> memtables -> tables     (named by nobody yet)
 *                                                              |  new manifest, describing all that
 *      ========================================================== CURRENT =====================
 *                                                              |  new log segment, counters
 *                                                              |  what nobody names any more goes
 *
 * 1. Until CURRENT has moved, the files that make up the old state are only read. What is written
 *    before are new files under numbers that nothing on the disk bears: dying there, any number of
 *    times, leaves the next recovery the same state to start from (P10).
 * 2. The new state needs no log: everything replayed is in tables. So the ring may be overwritten, and
 *    a segment torn at its end is never read again (reliability: never trust the cache after an error).
 * 3. The log is opened behind the switch, not before: a segment made by a recovery that then died
 *    would look like a successor with a hole before it. Between the two the manifest says that the
 *    log is not open yet, and afterwards that it is, so that a log that was taken away is missed.
 * 4. Segments numbered below log_no are left-overs whatever they hold; all others must be there.
 * 5. The log may end below what all families have flushed: it was not durable, and is not missed. A log
 *    that ends below what it was durable to, or where one family needs it and another holds tables
 *    from behind it, was cut by somebody (ledger.c, 2).
 * 6. Numbers are never used twice: the next file number lies above every file there is, whether named
 *    or not, and above the counters; the next sequence number above everything the log, its discarded
 *    tail, the tables and the counters have seen (C8, C17); of the tail, what can be read (wal/replay.c).
 * 7. The log has marks of how long the manifest was (manifest.c, 4): one that was cut is noticed here.
 * 8. Read-only, nothing is changed at all: the log is replayed into memtables that stay.
 *
 * Replay copies each operation into its family's memtable at once, but links none before the memtable
 * is full or the log at its end: sorted first, they are linked in order, by all processors, which is
 * several times faster (memtable/load.h), and nobody reads before.
 *
 * Creating is the same from "new manifest" on; files.c tells how a half-made database is recognised.
 * Threads: one, which lets idle workers help it with sorting, linking and flushing.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "cf/set_priv.h"
#include "memtable/load.h"

#define FILE_NO_LEAP     (UINT64_C(1) << 40)  /* numbers that no life of a database uses up */
#define REPLAY_NOTED_MIN 1024u                /* entries that may wait for being linked */
#define REPLAY_SPLIT     (UINT32_C(32) << 10) /* entries worth a worker of their own */
#define SWEEP_LATER      ((uint64_t)4 << 20)  /* replayed: so much that removing it takes a while */
#define RECOVER_SEGMENT  ((uint64_t)64 << 20)

/* What a family has got from the log so far. */
struct replay_family {
    struct memtable_load load; /* in the arena of its memtable, not linked yet */
    size_t bytes;              /* put into that memtable */
};

struct replay {
    struct replay_family *family; /* by cf.index */
    uint32_t count;
    size_t bytes; /* in all memtables */
};

struct recovery {
    const struct cf_set_options *opt;
    struct cf_set *s;
    struct os_dir *dir;
    struct os_lock *lock;
    struct file_list files;
    bool is_new;     /* there is no database yet */
    bool is_settled; /* IDENTITY stands under its own name */
    uint64_t manifest_no;
    struct manifest_result manifest;
    struct manifest_counters counters;
    bool has_counters;
    uint32_t table_cap;       /* of s->table, while it is being filled */
    struct file_numbers live; /* tables the manifest names, ascending */
    bool is_short;            /* memory ran out gathering `live` */
    struct replay replay;
    uint64_t end_lsn;
    uint64_t last_seq; /* of the record replayed last */
    uint64_t next_seq;
};

/* ---- what is there ---- */

static odb_status recover_judge(struct recovery *r)
{
    const struct file_list *f = &r->files;
    bool is_begun = f->has[FILE_IDENTITY_NEW] && !f->has[FILE_IDENTITY];

    if (f->has[FILE_CURRENT]) {
        r->is_settled = !is_begun;
        if (r->opt->must_be_new)
            return err_set(ODB_EXISTS, "%s holds a database already", os_dir_path(r->dir));
        return ODB_OK;
    }
    if (!is_begun &&
        (f->has[FILE_IDENTITY] || f->manifests.count || f->logs.count || f->tables.count))
        return err_set(ODB_CORRUPT,
                       "%s holds files of a database, but CURRENT, which says where to begin, is "
                       "missing. Nothing was changed; restore CURRENT from a copy",
                       os_dir_path(r->dir));
    if (!r->opt->create || r->opt->is_readonly)
        return err_set(ODB_ABSENT, "there is no database in %s", os_dir_path(r->dir));
    r->is_new = true;
    return ODB_OK;
}

/* Directory, lock, listing. Somebody else's directory is not even locked unless `create` says so. */
static odb_status recover_enter(struct recovery *r, const char *path)
{
    const struct cf_set_options *o = r->opt;
    unsigned flags = o->is_readonly && !CANARY(47) ? OS_DIR_READONLY
                     : o->create                   ? OS_DIR_CREATE
                                                   : 0;
    odb_status st = os_dir_open(o->os, path, flags, &r->dir);

    if (st == ODB_ABSENT)
        return err_set(ODB_ABSENT, "there is no database in %s", path);
    if (st == ODB_OK && !o->create) {
        st = file_list_read(r->dir, &r->files);
        if (st == ODB_OK)
            st = recover_judge(r);
        file_list_release(&r->files);
    }
    if (st == ODB_OK && !o->is_readonly)
        st = os_lock(r->dir, FILE_LOCK, &r->lock);
    if (st == ODB_OK)
        st = file_list_read(r->dir, &r->files); /* again: this one nobody else can change */
    if (st == ODB_OK)
        st = recover_judge(r);
    return st;
}

static odb_status recover_new_set(struct recovery *r, const struct identity *id)
{
    odb_status st = set_new(r->opt, r->dir, r->lock, identity_db_id(id), &r->s);

    if (st == ODB_OK) {
        r->dir = NULL; /* the set's now */
        r->lock = NULL;
    }
    return st;
}

/* ---- families ---- */

/* Add to the table, which nobody else sees yet: it grows by doubling. */
static odb_status recover_add_family(struct recovery *r, struct cf *f)
{
    struct cf_table *t = atomic_load(&r->s->table);

    if (t->count == r->table_cap) {
        uint32_t cap = r->table_cap ? r->table_cap * 2 : 8;
        struct cf_table *grown = mem_realloc(t, sizeof *t + cap * sizeof(struct cf *));

        if (!grown)
            return err_set(ODB_NOMEM, "out of memory for the table of column families");
        t = grown;
        r->table_cap = cap;
        atomic_store(&r->s->table, t);
    }
    f->index = t->count;
    t->cf[t->count++] = f;
    r->s->living++;
    return ODB_OK;
}

static odb_status recover_make_family(struct recovery *r, uint32_t id, const char *name,
                                      const struct lsm_options *options)
{
    struct cf *f = NULL;
    odb_status st = set_family_new(r->s, id, name, options, &f);

    if (st == ODB_OK)
        st = recover_add_family(r, f);
    if (st != ODB_OK)
        set_family_free(f);
    return st;
}

static odb_status recover_bad_file(enum file_kind kind, uint64_t no, const char *what)
{
    char name[FILE_NAME_MAX];

    file_name(kind, no, name);
    return err_corrupt(name, 0, what);
}

static odb_status recover_bad_manifest(const struct recovery *r, const char *what)
{
    return recover_bad_file(FILE_MANIFEST, r->manifest_no, what);
}

static odb_status recover_family(struct recovery *r, const struct manifest_family *m)
{
    const struct cf_table *t = atomic_load(&r->s->table);
    struct lsm_options options = r->s->opt.family;
    char name[CF_NAME_MAX + 1];

    if (m->name.size > CF_NAME_MAX || r->s->living >= CF_COUNT_MAX)
        return recover_bad_manifest(r, "more column families, or longer names, than there can be");
    if (t->count && m->id <= t->cf[t->count - 1]->id)
        return recover_bad_manifest(r, "a column family that comes too late");
    memcpy(name, m->name.data, m->name.size);
    name[m->name.size] = '\0';
    if (m->has_options)
        options = m->options;
    return recover_make_family(r, m->id, name, m->has_options ? &options : NULL);
}

static odb_status recover_drop(struct recovery *r, uint32_t id)
{
    struct cf_table *t = atomic_load(&r->s->table);
    struct cf *f = set_table_find(t, id);

    if (!f)
        return recover_bad_manifest(r, "it drops a column family that is not there");
    for (uint32_t i = f->index; i + 1 < t->count; i++) {
        t->cf[i] = t->cf[i + 1];
        t->cf[i]->index = i;
    }
    t->count--;
    r->s->living--;
    set_family_free(f);
    return ODB_OK;
}

static odb_status recover_edit(struct recovery *r, const struct lsm_edit *edit)
{
    struct cf *f = set_table_find(atomic_load(&r->s->table), edit->family);

    if (!f)
        return recover_bad_manifest(r, "it changes a column family that is not there");
    if (edit->has_flushed && edit->flushed_lsn < f->flushed_lsn)
        return recover_bad_manifest(r, "a column family needs log again that it had let go of");
    if (edit->has_flushed)
        f->flushed_lsn = edit->flushed_lsn;
    return lsm_replay_edit(f->tree, edit);
}

static odb_status recover_item(void *arg, const struct manifest_item *item)
{
    struct recovery *r = arg;

    switch (item->kind) {
    case MANIFEST_FAMILY: return recover_family(r, &item->family);
    case MANIFEST_DROP: return recover_drop(r, item->dropped);
    case MANIFEST_EDIT: return recover_edit(r, &item->edit);
    case MANIFEST_COUNTERS:
        r->counters = item->counters;
        r->has_counters = true;
        break;
    }
    return ODB_OK;
}

/* ---- tables ---- */

static void recover_live_file(void *arg, uint32_t level, const struct sst_meta *meta)
{
    struct recovery *r = arg;
    struct file_numbers *n = &r->live;

    (void)level;
    if (n->count == n->cap) {
        size_t cap = n->cap ? n->cap * 2 : 64;
        uint64_t *p = mem_realloc(n->no, cap * sizeof *p);

        if (!p) {
            r->is_short = !CANARY(27);
            return;
        }
        n->no = p;
        n->cap = cap;
    }
    n->no[n->count++] = meta->file_no;
}

/* Give every tree its memtable, and see that no table is missing. */
static odb_status recover_open_trees(struct recovery *r)
{
    const struct cf_table *t = atomic_load(&r->s->table);
    odb_status st = ODB_OK;

    for (uint32_t i = 0; i < t->count && st == ODB_OK; i++) {
        st = lsm_open_memtable(t->cf[i]->tree, t->cf[i]->flushed_lsn);
        if (st == ODB_OK)
            lsm_each_file(t->cf[i]->tree, recover_live_file, r);
        if (r->is_short)
            st = err_set(ODB_NOMEM, "out of memory for the list of tables");
    }
    file_numbers_sort(&r->live);
    for (size_t i = 0; i < r->live.count && st == ODB_OK; i++) {
        if (i > 0 && r->live.no[i] == r->live.no[i - 1])
            st = recover_bad_manifest(r, "two column families claim the same table");
        else if (!file_list_has(&r->files.tables, r->live.no[i]))
            st = recover_bad_file(FILE_TABLE, r->live.no[i],
                                  "the manifest names this table, and it is missing");
    }
    return st;
}

static odb_status recover_read_manifest(struct recovery *r)
{
    const struct cf_table *t;
    odb_status st = current_read(r->s->dir, r->s->db_id, &r->manifest_no);

    if (st == ODB_OK && !file_list_has(&r->files.manifests, r->manifest_no))
        st = err_corrupt("CURRENT", 0, "it names a manifest that is missing");
    if (st == ODB_OK)
        st = manifest_read(r->s->dir, r->s->db_id, r->manifest_no, recover_item, r, &r->manifest);
    if (st != ODB_OK)
        return st;
    t = atomic_load(&r->s->table);
    if (!r->has_counters || t->count == 0 || t->cf[0]->id != 0 ||
        t->cf[t->count - 1]->id >= r->counters.next_family)
        return recover_bad_manifest(r, "it does not describe a whole database");
    r->s->next_family = r->counters.next_family;
    return recover_open_trees(r);
}

/* ---- replay ---- */

static odb_status replay_init(struct recovery *r)
{
    struct replay *p = &r->replay;
    uint32_t count = atomic_load(&r->s->table)->count;

    p->family = mem_zalloc(count, sizeof *p->family);
    if (!p->family)
        return err_set(ODB_NOMEM, "out of memory replaying the log");
    p->count = count;
    return ODB_OK;
}

static void replay_release(struct replay *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        memtable_load_release(&p->family[i].load);
    mem_free(p->family);
    *p = (struct replay){0};
}

struct replay_parts {
    struct memtable_load *load;
    _Atomic bool is_short; /* relaxed: memory ran out in one of them */
};

static void replay_link_part(void *arg, uint32_t i)
{
    struct replay_parts *p = arg;

    if (memtable_load_link(p->load, i) != ODB_OK)
        atomic_store_explicit(&p->is_short, true, memory_order_relaxed);
}

/* Sort and link what waits for it. */
static odb_status replay_link(struct recovery *r, struct memtable_load *load)
{
    struct replay_parts parts = {.load = load};
    uint32_t want = memtable_load_count(load) / REPLAY_SPLIT;

    if (want > os_cpu_count(r->s->os))
        want = os_cpu_count(r->s->os);
    if (!r->s->exec || !exec_has_threads(r->s->exec) || want == 0)
        want = 1;
    exec_share(r->s->exec, memtable_load_split(load, want), replay_link_part, &parts);
    memtable_load_reset(load);
    if (atomic_load_explicit(&parts.is_short, memory_order_relaxed))
        return err_set(ODB_NOMEM, "out of memory for a memtable while replaying the log");
    return ODB_OK;
}

/* The memtable is full: into a table, or, read-only, aside. */
static odb_status replay_put_away(struct recovery *r, struct cf *f)
{
    struct replay_family *p = &r->replay.family[f->index];
    odb_status st = replay_link(r, &p->load);

    r->replay.bytes -= p->bytes;
    p->bytes = 0;
    if (st == ODB_OK && !r->s->is_readonly)
        return lsm_flush_for_recovery(f->tree, f->flushed_lsn);
    if (st == ODB_OK)
        st = lsm_prepare_switch(f->tree);
    if (st == ODB_OK)
        lsm_switch(f->tree, f->flushed_lsn, r->last_seq);
    return st;
}

static odb_status replay_put_away_largest(struct recovery *r)
{
    struct replay *p = &r->replay;
    uint32_t largest = 0;

    for (uint32_t i = 1; i < p->count; i++)
        if (p->family[i].bytes > p->family[largest].bytes)
            largest = i;
    return replay_put_away(r, atomic_load(&r->s->table)->cf[largest]);
}

/* Have room for one more entry of `f`. */
static odb_status replay_make_room(struct recovery *r, struct cf *f)
{
    const struct lsm_options *opt = f->has_options ? &f->options : &r->s->opt.family;
    struct memtable_load *load = &r->replay.family[f->index].load;
    size_t most = opt->write_buffer / 128; /* what sorting takes is a quarter of it */

    if (ODB_UNLIKELY(lsm_is_full(f->tree)))
        return replay_put_away(r, f);
    if (ODB_UNLIKELY(memtable_load_count(load) >= REPLAY_NOTED_MIN &&
                     memtable_load_count(load) >= most))
        return replay_link(r, load);
    if (ODB_UNLIKELY(r->s->opt.memory_budget && !r->s->is_readonly &&
                     r->replay.bytes > r->s->opt.memory_budget / 3))
        return replay_put_away_largest(r);
    return ODB_OK;
}

static odb_status replay_add(struct recovery *r, struct cf *f, const struct batch_op *op,
                             uint64_t seq)
{
    struct replay_family *p = &r->replay.family[f->index];
    size_t bytes = memtable_entry_bytes(op->key.size, op->value.size);
    odb_status st = replay_make_room(r, f);

    if (st == ODB_OK)
        st = memtable_load_add(&p->load, lsm_active(f->tree), op->key, op->value,
                               trailer_make(seq, (enum kind)op->kind));
    if (st != ODB_OK)
        return st;
    p->bytes += bytes;
    r->replay.bytes += bytes;
    return ODB_OK;
}

static odb_status replay_operations(struct recovery *r, const struct wal_record *rec)
{
    const struct cf_table *t = atomic_load(&r->s->table);
    struct dec d = dec_from(rec->payload);
    uint64_t seq = rec->first_seq;
    struct batch_op op;
    odb_status st = ODB_OK;

    for (; st == ODB_OK && batch_next(&d, &op); seq++) {
        struct cf *f = set_table_find(t, op.family);

        if (!f && op.family >= r->s->next_family)
            return err_corrupt(rec->file, rec->file_off,
                               "a record for a column family that never was");
        r->last_seq = seq - 1; /* what the memtables hold, should one be put away here */
        if (f && rec->lsn >= f->flushed_lsn) /* else dropped since, or in tables already */
            st = replay_add(r, f, &op, seq);
    }
    if (st == ODB_OK && (d.bad || seq == rec->first_seq || seq - 1 > SEQ_MAX))
        st = err_corrupt(rec->file, rec->file_off,
                         "a good checksum over a batch that makes no sense");
    r->last_seq = seq - 1;
    return st;
}

static odb_status replay_record(void *arg, const struct wal_record *rec)
{
    struct recovery *r = arg;

    if (rec->type == WAL_MARK) /* (7) */
        return manifest_check_mark(rec->payload, &r->manifest);
    if (rec->first_seq <= r->last_seq || rec->first_seq > SEQ_MAX)
        return err_corrupt(rec->file, rec->file_off, "its sequence numbers go back");
    return replay_operations(r, rec);
}

static odb_status recover_replay(struct recovery *r)
{
    const struct file_numbers *logs = &r->files.logs;
    struct wal_replay_result res = {0};
    uint64_t low, high;
    size_t first = 0;
    odb_status st;

    set_flushed_bounds(atomic_load(&r->s->table), &low, &high);
    while (first < logs->count && logs->no[first] < r->counters.log_no)
        first++;
    if (r->counters.is_log_open && (first == logs->count || logs->no[first] != r->counters.log_no))
        return recover_bad_file(FILE_LOG, r->counters.log_no,
                                "the manifest needs this piece of the log, and it is missing");
    if (first == logs->count) {
        r->end_lsn = high;
        return ODB_OK;
    }
    st = replay_init(r);
    if (st == ODB_OK)
        st = wal_replay(r->s->dir, r->s->db_id, logs->no + first, logs->count - first,
                        r->counters.is_log_open ? r->counters.log_lsn : WAL_LSN_UNKNOWN, low,
                        WAL_LSN_UNKNOWN, replay_record, r, &res);
    for (uint32_t i = 0; i < r->replay.count && st == ODB_OK; i++)
        st = replay_link(r, &r->replay.family[i].load);
    if (st != ODB_OK)
        return st;
    if (res.end_lsn < r->counters.log_durable || (res.end_lsn < high && low < high)) /* (5) */
        return recover_bad_file(FILE_LOG, logs->no[logs->count - 1],
                                "the log ends before what was durable");
    r->end_lsn = res.end_lsn > high ? res.end_lsn : high;
    if (res.seq_floor > r->last_seq)
        r->last_seq = res.seq_floor;
    r->s->recovered_records = res.records;
    r->s->recovered_bytes = res.bytes;
    return ODB_OK;
}

static void recover_sequence(struct recovery *r)
{
    const struct cf_table *t = atomic_load(&r->s->table);
    uint64_t next = r->last_seq + 1;

    if (next < r->counters.next_seq)
        next = r->counters.next_seq;
    for (uint32_t i = 0; i < t->count; i++) {
        uint64_t seen = lsm_max_seq(t->cf[i]->tree);

        if (next <= seen)
            next = seen + 1;
    }
    r->next_seq = next;
}

/* ---- from a state in memory to a state on the disk ---- */

/* All memtables into tables: from here on no log is needed (2). */
static odb_status recover_flush(struct recovery *r)
{
    const struct cf_table *t = atomic_load(&r->s->table);
    odb_status st = ODB_OK;

    for (uint32_t i = 0; i < t->count && st == ODB_OK; i++) {
        st = lsm_flush_for_recovery(t->cf[i]->tree, r->end_lsn);
        t->cf[i]->flushed_lsn = r->end_lsn;
    }
    return st;
}

static void recover_fill_set(struct recovery *r)
{
    struct cf_set *s = r->s;
    uint64_t next_no = r->files.max_no + 1, step = UINT64_MAX;

    if (next_no < r->counters.next_file_no || CANARY(8))
        next_no = r->counters.next_file_no;
    atomic_store(&s->next_file_no, next_no);
    s->next_seq = s->first_seq = r->next_seq;
    atomic_store(&s->visible_seq, r->next_seq - 1);
    s->first_lsn = r->end_lsn;
    if (s->opt.log_limit)
        step = s->opt.log_limit / 8 + 1;
    if (s->opt.memory_budget && s->opt.memory_budget / 16 + 1 < step)
        step = s->opt.memory_budget / 16 + 1;
    s->alarm_step = step;
    atomic_store(&s->alarm, step > UINT64_MAX - r->end_lsn ? UINT64_MAX : r->end_lsn + step);
}

static bool recover_first_segment(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn)
{
    (void)first_lsn;
    (void)end_lsn;
    *(uint64_t *)arg = file_no;
    return false;
}

/* The switch, and the log behind it. */
static odb_status recover_switch(struct recovery *r)
{
    struct cf_set *s = r->s;
    struct wal_options log = {.os = s->os,
                              .dir = s->dir,
                              .db_id = s->db_id,
                              .ring_size = s->opt.ring_size,
                              .segment_size = s->opt.log_segment_size ? s->opt.log_segment_size
                                                                      : RECOVER_SEGMENT,
                              .new_file_no = ledger_new_file_no,
                              .owner = s};
    struct manifest_group nothing = {0};
    bool is_unclear; /* either way there is nothing in that log yet */
    odb_status st;

    os_mutex_lock(&s->manifest_lock);
    s->log_no = atomic_load(&s->next_file_no); /* all segments there are lie below (4) */
    s->is_log_open = false;
    st = ledger_begin(s, &nothing);
    if (st == ODB_OK && !r->is_settled)
        st = identity_settle(s->dir); /* the log's first segment syncs the directory */
    if (st == ODB_OK)
        st = wal_open(&log, r->end_lsn, r->next_seq, &s->wal);
    if (st == ODB_OK) {
        wal_segments(s->wal, recover_first_segment, &s->log_no);
        s->log_lsn = r->end_lsn;
        s->is_log_open = true;
        st = ledger_write(s, &nothing,
                          &is_unclear); /* else a log taken away would not be missed (3) */
    }
    os_mutex_unlock(&s->manifest_lock);
    manifest_group_release(&nothing);
    return st;
}

/* What was there before and is named by nobody now. Failing is no harm: the next open sweeps again. */
static void sweep_files(struct os_dir *dir, const struct file_list *f,
                        const struct file_numbers *live)
{
    char name[FILE_NAME_MAX];

    for (size_t i = 0; i < f->manifests.count; i++) {
        file_name(FILE_MANIFEST, f->manifests.no[i], name);
        err_ignore(os_remove(dir, name));
    }
    for (size_t i = 0; i < f->logs.count; i++) {
        file_name(FILE_LOG, f->logs.no[i], name);
        err_ignore(os_remove(dir, name));
    }
    for (size_t i = 0; i < f->tables.count; i++)
        if (!file_list_has(live, f->tables.no[i])) {
            file_name(FILE_TABLE, f->tables.no[i], name);
            err_ignore(os_remove(dir, name));
        }
    if (f->has[FILE_CURRENT_NEW])
        err_ignore(os_remove(dir, "CURRENT.new"));
    if (f->has[FILE_IDENTITY_NEW] && f->has[FILE_IDENTITY])
        err_ignore(os_remove(dir, "IDENTITY.new"));
}

static void sweep_run(struct exec_job *job)
{
    struct set_sweep *w = (struct set_sweep *)(void *)job;

    sweep_files(w->set->dir, &w->files, &w->live);
    atomic_store_explicit(&w->is_done, true, memory_order_release);
}

void set_sweep_free(struct set_sweep *w)
{
    if (!w)
        return;
    file_list_release(&w->files);
    mem_free(w->live.no);
    mem_free(w);
}

/* By a worker where there are any: removing the replayed log can take as long as a part of replaying
 * it, and the numbers of what goes are never used again. */
static void recover_sweep(struct recovery *r)
{
    struct cf_set *s = r->s;

    if (s->recovered_bytes >= SWEEP_LATER && exec_has_threads(s->exec))
        s->sweep = mem_zalloc(1, sizeof *s->sweep);
    if (!s->sweep) {
        sweep_files(s->dir, &r->files, &r->live);
        return;
    }
    s->sweep->job = (struct exec_job){.run = sweep_run, .priority = EXEC_LOW};
    s->sweep->set = s;
    s->sweep->files = r->files;
    s->sweep->live = r->live;
    r->files = (struct file_list){0};
    r->live = (struct file_numbers){0};
    exec_submit(s->exec, &s->sweep->job);
}

static void recover_start(struct recovery *r)
{
    const struct cf_table *t = atomic_load(&r->s->table);

    for (uint32_t i = 0; i < t->count; i++)
        lsm_start(t->cf[i]->tree);
}

/* ---- the two ways in ---- */

/* Numbers are never used twice, so the next one lies above every file that is there. A stray file
 * with a huge number must not lead them to where names and counters end. */
static odb_status recover_check_numbers(const struct recovery *r)
{
    if (r->files.max_no <= r->counters.next_file_no ||
        r->files.max_no - r->counters.next_file_no < FILE_NO_LEAP)
        return ODB_OK;
    return err_set(
        ODB_CORRUPT,
        "%s holds a file numbered %llu, which this database cannot have written. Move it "
        "away and open again",
        os_dir_path(r->dir ? r->dir : r->s->dir), (unsigned long long)r->files.max_no);
}

static odb_status recover_existing(struct recovery *r)
{
    struct identity id;
    odb_status st = identity_read(r->dir, !r->is_settled, &id);

    if (st == ODB_ABSENT)
        st = err_set(ODB_CORRUPT, "%s holds a database whose IDENTITY is missing",
                     os_dir_path(r->dir));
    if (st == ODB_OK)
        st = recover_new_set(r, &id);
    if (st != ODB_OK)
        return st;
    st = recover_read_manifest(r);
    if (st == ODB_OK)
        st = recover_check_numbers(r);
    if (st != ODB_OK)
        return st;
    /* Tables written on the way must not meet a number in use. */
    recover_fill_set(r);
    st = recover_replay(r);
    if (st != ODB_OK)
        return st;
    recover_sequence(r);
    return ODB_OK;
}

static odb_status recover_create(struct recovery *r)
{
    struct identity id;
    odb_status st = recover_check_numbers(r);

    if (st == ODB_OK)
        st = identity_make(r->opt->os, &id);
    if (st == ODB_OK)
        st = identity_write_new(r->dir, &id);
    if (st == ODB_OK)
        st = recover_new_set(r, &id);
    if (st == ODB_OK)
        st = recover_make_family(r, 0, "default", NULL);
    for (uint32_t i = 0; i < r->opt->family_count && st == ODB_OK; i++) {
        const char *name = r->opt->families[i];

        st = set_check_name(name);
        if (st == ODB_OK && !set_family_named(r->s, name))
            st = recover_make_family(r, r->s->living, name, NULL);
    }
    if (st != ODB_OK)
        return st;
    r->s->next_family = r->s->living;
    r->next_seq = 1;
    return recover_open_trees(r);
}

static odb_status recover_missing_families(struct recovery *r)
{
    odb_status st = ODB_OK;

    for (uint32_t i = 0; i < r->opt->family_count && st == ODB_OK; i++) {
        st = set_check_name(r->opt->families[i]);
        if (st == ODB_OK && !set_family_named(r->s, r->opt->families[i]))
            st = set_family_create(r->s, r->opt->families[i], NULL, NULL);
    }
    return st;
}

static odb_status recover_run(struct recovery *r)
{
    odb_status st = r->is_new ? recover_create(r) : recover_existing(r);

    if (st != ODB_OK)
        return st;
    if (r->s->is_readonly) {
        recover_fill_set(r);
        if (CANARY(47))
            recover_sweep(r);
        return ODB_OK;
    }
    st = recover_flush(r);
    if (st != ODB_OK)
        return st;
    /* The numbers of the tables just written are used up. */
    if (r->counters.next_file_no < atomic_load(&r->s->next_file_no))
        r->counters.next_file_no = atomic_load(&r->s->next_file_no);
    recover_fill_set(r);
    if (CANARY(9))
        recover_sweep(r);
    st = recover_switch(r);
    if (st == ODB_OK) {
        recover_sweep(r);
        recover_start(r);
    }
    if (st == ODB_OK && !r->is_new && r->opt->create_missing_families)
        st = recover_missing_families(r);
    return st;
}

static void recover_release(struct recovery *r)
{
    replay_release(&r->replay);
    file_list_release(&r->files);
    mem_free(r->live.no);
    if (r->lock)
        os_unlock(r->lock);
    os_dir_close(r->dir);
}

/* *again: there was no space for it, and some could be made. */
static odb_status recover_open(const char *path, const struct cf_set_options *opt,
                               struct cf_set **out, bool *again)
{
    struct recovery r = {.opt = opt};
    uint64_t began = os_now_ns(opt->os);
    odb_status st = recover_enter(&r, path);

    if (st == ODB_OK)
        st = recover_run(&r);
    if (st != ODB_OK && r.s) {
        char why[ERR_TEXT_MAX];

        err_save(why);
        set_stop(r.s);
        err_ignore(wal_close(r.s->wal)); /* nothing was committed */
        *again = st == ODB_NOSPACE && !*again && !opt->is_readonly && reserve_give_up(r.s->dir);
        set_free(r.s);
        st = err_restore(st, why);
    }
    recover_release(&r);
    if (st != ODB_OK)
        return st;
    r.s->recovery_ns = os_now_ns(opt->os) - began;
    set_note(r.s, "opened %s: %llu records of %llu bytes replayed in %llu ms", path,
             (unsigned long long)r.s->recovered_records, (unsigned long long)r.s->recovered_bytes,
             (unsigned long long)(r.s->recovery_ns / 1000000));
    *out = r.s;
    return ODB_OK;
}

odb_status cf_open(const char *path, const struct cf_set_options *opt, struct cf_set **out)
{
    bool again = false;
    odb_status st = recover_open(path, opt, out, &again);

    return again ? recover_open(path, opt, out, &again) : st;
}
