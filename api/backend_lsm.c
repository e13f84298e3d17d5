/* api/backend_lsm.c -- the trait over the engine of this library, and odb_open.
 *
 *     odb_open -> options_resolve -> cf_open -> OPENDB_INFO, OPTIONS -> odb_open_backend
 *
 * Every function here is one call into cf/ with the types translated; what it costs is an indirect
 * call and a few moves. A value's pin carries the three pointers of an lsm_value.
 *
 * Threads: as cf/ says: any. Crashes: the two readable files may be missing after one; the next open
 * writes them.
 */
#include "api/db_priv.h"

#include <stdio.h>

#include "cf/cf.h"

struct engine {
    struct cf_set *set;
    struct engine_observer *observer; /* called now, NULL: none; one change at a time */
    struct event_log *log;
    odb_options opt; /* resolved; `families` is not kept */
};

static struct cf_set *engine_set(void *self)
{
    return ((struct engine *)self)->set;
}

static struct cf_write engine_write(const odb_write *how)
{
    struct cf_write w = {(enum cf_durability)how->durability, how->no_wait};

    return w;
}

/* ---- points ---- */

static void engine_value_out(const struct lsm_value *v, odb_value *out)
{
    *out = (odb_value){v->data.data, v->data.size, NULL, {v->frame, v->memtable, v->owned}};
}

static odb_status engine_get(void *self, void *family, void *snapshot, odb_slice key,
                             odb_value *out)
{
    struct lsm_value v;
    odb_status st = cf_get(engine_set(self), family, snapshot, key, &v);

    if (ODB_LIKELY(st == ODB_OK))
        engine_value_out(&v, out);
    return st;
}

static void engine_value_release(void *self, odb_value *value)
{
    struct lsm_value v = {{value->data, value->size}, value->pin[0], value->pin[1], value->pin[2]};

    cf_value_release(engine_set(self), &v);
}

static odb_status engine_get_into(void *self, void *family, void *snapshot, odb_slice key,
                                  void *buf, size_t cap, size_t *size)
{
    return cf_get_into(engine_set(self), family, snapshot, key, buf, cap, size);
}

static odb_status engine_exists(void *self, void *family, void *snapshot, odb_slice key)
{
    return cf_exists(engine_set(self), family, snapshot, key);
}

#define ENGINE_MULTIGET_FEW 32 /* values translated on the stack */

static odb_status engine_multiget(void *self, void *family, void *snapshot, const odb_slice *keys,
                                  size_t n, odb_value *out, odb_status *each)
{
    struct lsm_value few[ENGINE_MULTIGET_FEW], *v = few;
    odb_status st;

    if (n > ENGINE_MULTIGET_FEW && !(v = mem_array(n, sizeof *v)))
        return err_set(ODB_NOMEM, "no memory for %zu values", n);
    st = cf_multiget(engine_set(self), family, snapshot, keys, n, v, each);
    for (size_t i = 0; st == ODB_OK && i < n; i++)
        if (each[i] == ODB_OK)
            engine_value_out(&v[i], &out[i]);
    if (v != few)
        mem_free(v);
    return st;
}

/* ---- writes ---- */

static odb_status engine_put(void *self, void *family, odb_slice key, odb_slice value,
                             const odb_write *how)
{
    struct cf_write w = engine_write(how);

    return cf_put(engine_set(self), family, key, value, &w);
}

static odb_status engine_remove(void *self, void *family, odb_slice key, const odb_write *how)
{
    struct cf_write w = engine_write(how);

    return cf_delete(engine_set(self), family, key, &w);
}

static odb_status engine_write_batch(void *self, const odb_batch *b, const odb_write *how)
{
    struct cf_write w = engine_write(how);

    return cf_commit(engine_set(self), &b->ops, &w);
}

/* ---- moments ---- */

static odb_status engine_snapshot_new(void *self, void **out)
{
    struct cf_snapshot *snap;
    odb_status st = cf_snapshot_new(engine_set(self), &snap);

    if (st == ODB_OK)
        *out = snap;
    return st;
}

static void engine_snapshot_free(void *self, void *snapshot)
{
    cf_snapshot_free(engine_set(self), snapshot);
}

static odb_status engine_begin_transaction(void *self, void **moment)
{
    struct cf_snapshot *snap = *moment;
    odb_status st = cf_txn_begin(engine_set(self), &snap);

    *moment = snap;
    return st;
}

static void engine_pause_transaction(void *self, void *moment)
{
    cf_txn_pause(engine_set(self), moment);
}

static odb_status engine_commit_transaction(void *self, const odb_guard *guard, const odb_batch *b,
                                            const odb_write *how)
{
    struct cf_write w = engine_write(how);

    return cf_commit_guarded(engine_set(self), &b->ops, guard, &w);
}

/* ---- walks ---- */

struct engine_iter {
    odb_iter head;
    struct lsm_iter *in;
    struct cf_set *set;
    struct cf *cf;
    struct lsm_range range; /* its slices lie in `bounds` */
    struct buf bounds;
};

static struct engine_iter *engine_iter_of(odb_iter *it)
{
    return (struct engine_iter *)it; /* the head is the first member */
}

/* Show what the tree's iterator stands on. */
static inline bool engine_iter_show(struct engine_iter *w, bool ok)
{
    w->head.is_valid = ok;
    if (ODB_LIKELY(ok)) {
        w->head.key = lsm_iter_key(w->in);
        w->head.value = lsm_iter_value(w->in);
        return true;
    }
    w->head.key = w->head.value = odb_bytes(NULL, 0);
    w->head.status = lsm_iter_status(w->in);
    return false;
}

static bool engine_iter_first(odb_iter *it)
{
    it->status = ODB_OK;
    return engine_iter_show(engine_iter_of(it), lsm_iter_first(engine_iter_of(it)->in));
}

static bool engine_iter_last(odb_iter *it)
{
    it->status = ODB_OK;
    return engine_iter_show(engine_iter_of(it), lsm_iter_last(engine_iter_of(it)->in));
}

static bool engine_iter_seek(odb_iter *it, odb_slice key)
{
    it->status = ODB_OK;
    return engine_iter_show(engine_iter_of(it), lsm_iter_seek(engine_iter_of(it)->in, key));
}

static bool engine_iter_seek_for_prev(odb_iter *it, odb_slice key)
{
    it->status = ODB_OK;
    return engine_iter_show(engine_iter_of(it),
                            lsm_iter_seek_for_prev(engine_iter_of(it)->in, key));
}

static bool engine_iter_next(odb_iter *it)
{
    struct lsm_iter *in = engine_iter_of(it)->in;

    return engine_iter_show(engine_iter_of(it), ODB_LIKELY(lsm_iter_step(in)) || lsm_iter_next(in));
}

static bool engine_iter_prev(odb_iter *it)
{
    struct lsm_iter *in = engine_iter_of(it)->in;

    return engine_iter_show(engine_iter_of(it),
                            ODB_LIKELY(lsm_iter_step_back(in)) || lsm_iter_prev(in));
}

static odb_status engine_iter_refresh(odb_iter *it, void *snapshot)
{
    struct engine_iter *w = engine_iter_of(it);

    return cf_iter_refresh(w->set, w->cf, snapshot, &w->range, &w->in);
}

static void engine_iter_free(odb_iter *it)
{
    lsm_iter_free(engine_iter_of(it)->in);
    buf_release(&engine_iter_of(it)->bounds);
    mem_free(it);
}

static const odb_iter_ops engine_iter_ops = {
    sizeof engine_iter_ops, engine_iter_first,         engine_iter_last,
    engine_iter_seek,       engine_iter_seek_for_prev, engine_iter_next,
    engine_iter_prev,       engine_iter_refresh,       engine_iter_free,
};

/* Keep the bounds: a refresh needs them again. */
static odb_status engine_iter_bound(struct engine_iter *w, const odb_range *range)
{
    size_t split = range->lower.size;
    odb_status st = buf_append(&w->bounds, range->lower.data, range->lower.size);

    if (st == ODB_OK)
        st = buf_append(&w->bounds, range->upper.data, range->upper.size);
    if (st != ODB_OK)
        return st;
    w->range.keys_only = range->keys_only;
    w->range.is_long = range->is_long;
    if (range->lower.size)
        w->range.lower = odb_bytes(w->bounds.p, split);
    if (range->upper.size)
        w->range.upper = odb_bytes(w->bounds.p + split, range->upper.size);
    return ODB_OK;
}

static odb_status engine_scan(void *self, void *family, void *snapshot, const odb_range *range,
                              odb_iter **out)
{
    struct engine_iter *w = mem_zalloc(1, sizeof *w);
    odb_status st;

    if (!w)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    w->head.ops = &engine_iter_ops;
    w->set = engine_set(self);
    w->cf = family;
    st = engine_iter_bound(w, range);
    if (st == ODB_OK)
        st = cf_iter_new(w->set, w->cf, snapshot, &w->range, &w->in);
    if (st == ODB_OK)
        *out = &w->head;
    else
        engine_iter_free(&w->head);
    return st;
}

/* ---- families ---- */

static struct lsm_options engine_family_options(const odb_options *o)
{
    struct lsm_options f = {
        .write_buffer = (size_t)o->write_buffer_size,
        .max_buffers = o->write_buffers,
        .target_file_size = o->target_file_size,
        .l0_trigger = o->l0_trigger,
        .level_base = o->level_base_size,
        .multiplier = o->level_multiplier,
        .block_size = o->block_size,
        .codec = o->compression == ODB_COMPRESSION_LZ4 ? CODEC_LZ4 : CODEC_RAW,
        .lz4_acceleration = (int)o->lz4_acceleration,
        .bits_per_key = o->filter_bits > 0 ? (uint32_t)o->filter_bits : 0,
        .split = o->merge_split,
        .auto_compact = !o->no_auto_compact,
    };

    return f;
}

static odb_status engine_cf_find(void *self, const char *name, odb_backend_cf *out)
{
    struct cf *cf;
    odb_status st = cf_find(engine_set(self), name, &cf);

    if (st == ODB_OK)
        *out = (odb_backend_cf){cf, cf_id(cf)};
    return st;
}

static odb_status engine_cf_create(void *self, const char *name, const odb_cf_options *opt,
                                   odb_backend_cf *out)
{
    struct engine *e = self;
    struct lsm_options family;
    odb_options resolved;
    struct cf *cf;
    odb_status st = options_resolve_cf(&e->opt, opt, &resolved);

    if (st != ODB_OK)
        return st;
    family = engine_family_options(&resolved);
    st = cf_create(e->set, name, opt ? &family : NULL, &cf);
    if (st == ODB_OK)
        *out = (odb_backend_cf){cf, cf_id(cf)};
    return st;
}

static odb_status engine_cf_drop(void *self, void *family)
{
    return cf_drop(engine_set(self), family);
}

struct engine_each {
    bool (*each)(void *arg, odb_backend_cf cf, const char *name);
    void *arg;
};

static bool engine_each_family(void *arg, struct cf *cf, const char *name)
{
    const struct engine_each *e = arg;

    return e->each(e->arg, (odb_backend_cf){cf, cf_id(cf)}, name);
}

static void engine_cf_each(void *self, bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                           void *arg)
{
    struct engine_each e = {each, arg};

    cf_each(engine_set(self), engine_each_family, &e);
}

/* ---- upkeep ---- */

static odb_status engine_flush(void *self, void *family)
{
    return cf_flush(engine_set(self), family);
}

static odb_status engine_sync(void *self)
{
    return cf_sync(engine_set(self));
}

static odb_status engine_resume(void *self)
{
    return cf_resume(engine_set(self));
}

/* lsm_compact reports bytes, the user is also told of which family. */
struct engine_progress {
    odb_progress *report;
    void *arg;
    const char *what;
    bool is_stopped; /* by the user, not because the family was dropped */
};

static bool engine_report(void *arg, uint64_t done, uint64_t total)
{
    struct engine_progress *p = arg;

    p->is_stopped = !p->report(p->arg, p->what, done, total);
    return !p->is_stopped;
}

static odb_status engine_compact(void *self, void *family, const odb_range *range,
                                 odb_progress *progress, void *arg)
{
    struct engine_progress p = {progress, arg, NULL, false};
    struct cf_set *s = engine_set(self);
    odb_status st = cf_flush(s, family);

    for (struct cf *f = NULL; st == ODB_OK && (f = cf_next(s, family, f)) != NULL;) {
        p.what = cf_name(f);
        st = lsm_compact(cf_tree(f), range->lower, range->upper, progress ? engine_report : NULL,
                         &p);
        if (!p.is_stopped)
            st = cf_unless_dropped(f, st);
    }
    return st;
}

static odb_status engine_wait_idle(void *self)
{
    struct cf_set *s = engine_set(self);
    odb_status st = ODB_OK;

    for (struct cf *f = NULL; st == ODB_OK && (f = cf_next(s, NULL, f)) != NULL;)
        st = cf_unless_dropped(f, lsm_wait_idle(cf_tree(f)));
    return st;
}

static odb_status engine_verify(void *self, odb_progress *progress, void *arg)
{
    return cf_verify(engine_set(self), progress, arg);
}

static bool engine_work(void *self)
{
    return cf_work(engine_set(self));
}

/* ---- looking in ---- */

static void engine_stats_tree(struct lsm_tree *tree, odb_stats_t *out)
{
    struct lsm_stats s;

    lsm_stats(tree, &s);
    for (size_t i = 0; i < ODB_LEVELS && i < LSM_LEVELS; i++) {
        out->level[i].files += s.level[i].files;
        out->level[i].bytes += s.level[i].bytes;
        out->level[i].entries += s.level[i].entries;
        out->level[i].deletes += s.level[i].deletes;
        out->level[i].target += s.level[i].target;
    }
    out->memtables += s.size.memtables;
    out->memtable_bytes += s.size.memtable_bytes;
    out->memtable_entries += s.size.memtable_entries;
    out->flushes += s.flushes;
    out->flush_bytes += s.flush_bytes;
    out->flush_entries += s.flush_entries;
    out->flush_ns += s.flush_ns;
    out->merges += s.merges;
    out->merge_bytes_in += s.merge_bytes_in;
    out->merge_bytes_out += s.merge_bytes_out;
    out->merge_entries += s.merge_entries;
    out->merge_ns += s.merge_ns;
    out->moves += s.moves;
    out->debt += s.debt;
    out->delay_ns += s.delay_ns;
    out->stops += s.stops;
}

static odb_status engine_stats(void *self, void *family, odb_stats_t *out)
{
    struct cf_set_stats s;

    for (struct cf *f = NULL; (f = cf_next(engine_set(self), family, f)) != NULL;)
        engine_stats_tree(cf_tree(f), out);
    cf_stats(engine_set(self), &s);
    out->commits = s.commits;
    out->ops = s.ops;
    out->bytes_in = s.bytes_in;
    out->sequence = s.visible_seq;
    out->log_bytes = s.log_bytes;
    out->log_files = s.log_files;
    out->log_written = s.log_written;
    out->syncs = s.syncs;
    out->snapshots = s.snapshots;
    out->oldest_snapshot_age_ms = s.oldest_snapshot_age_ms;
    out->cache_bytes = s.cache_bytes;
    out->memory_bytes = s.cache_bytes + s.memtable_bytes;
    out->block_hits = s.block_hits;
    out->block_reads = s.block_reads;
    out->bytes_read = s.bytes_read;
    out->filter_checks = s.filter_checks;
    out->filter_rejects = s.filter_rejects;
    out->filter_false = s.filter_false;
    out->tables_opened = s.tables_opened;
    out->blocks_evicted = s.blocks_evicted;
    out->blocks_unpacked = s.blocks_unpacked;
    out->key_compares = PROF_READ(PROF_COMPARES);
    out->bytes_copied = PROF_READ(PROF_COPIED);
    out->background_cpu_ns = s.background_cpu_ns;
    out->recovered_records = s.recovered_records;
    out->recovered_bytes = s.recovered_bytes;
    out->recovery_ns = s.recovery_ns;
    out->has_ring = s.has_ring;
    return ODB_OK;
}

struct engine_tables {
    void (*each)(void *arg, const odb_table *table);
    void *arg;
};

static void engine_each_table(void *arg, uint32_t level, const struct sst_meta *meta)
{
    const struct engine_tables *e = arg;
    odb_table t = {
        .level = level,
        .file_no = meta->file_no,
        .size = meta->size,
        .entries = meta->entries,
        .deletes = meta->deletes,
        .raw_bytes = meta->raw_bytes,
        .smallest = buf_slice(&meta->smallest),
        .largest = buf_slice(&meta->largest),
    };

    e->each(e->arg, &t);
}

static odb_status engine_tables(void *self, void *family,
                                void (*each)(void *arg, const odb_table *table), void *arg)
{
    struct engine_tables e = {each, arg};

    (void)self;
    lsm_each_file(cf_tree(family), engine_each_table, &e);
    return ODB_OK;
}

static odb_status engine_size_of_range(void *self, void *family, const odb_range *range,
                                       uint64_t *out)
{
    (void)self;
    *out = lsm_size_between(cf_tree(family), range->lower, range->upper);
    return ODB_OK;
}

/* ---- for what is built on top ---- */

static uint64_t engine_sequence(void *self, void *snapshot)
{
    return snapshot ? cf_snapshot_seq(snapshot) : cf_visible_seq(engine_set(self));
}

struct engine_observer {
    odb_observer *fn;
    void *arg;
};

static void engine_tell(void *arg, uint64_t last_seq, const struct batch *b)
{
    const struct engine_observer *o = arg;
    struct odb_batch shown = {*b, NULL};
    odb_commit_info info = {last_seq, &shown};

    o->fn(o->arg, &info);
}

static odb_status engine_observe(void *self, odb_observer *fn, void *arg, uint64_t *since)
{
    struct engine *e = self;
    struct engine_observer *o = NULL;

    if (fn) {
        o = mem_alloc(sizeof *o);
        if (!o)
            return err_set(ODB_NOMEM, "no memory for an observer");
        *o = (struct engine_observer){fn, arg};
    }
    cf_observe(e->set, fn ? engine_tell : NULL, o, since);
    mem_free(e->observer);
    e->observer = o;
    return ODB_OK;
}

/* ---- life ---- */

static odb_status engine_close(void *self)
{
    struct engine *e = self;
    odb_status st = cf_close(e->set);

    mem_free(e->observer);
    event_log_free(e->log);
    mem_free(e);
    return st;
}

static const odb_backend_ops engine_ops = {
    .size = sizeof engine_ops,
    .name = "lsm",
    .close = engine_close,
    .cf_find = engine_cf_find,
    .cf_create = engine_cf_create,
    .cf_drop = engine_cf_drop,
    .cf_each = engine_cf_each,
    .get = engine_get,
    .value_release = engine_value_release,
    .get_into = engine_get_into,
    .exists = engine_exists,
    .multiget = engine_multiget,
    .put = engine_put,
    .remove = engine_remove,
    .write_batch = engine_write_batch,
    .scan = engine_scan,
    .snapshot_new = engine_snapshot_new,
    .snapshot_free = engine_snapshot_free,
    .begin_transaction = engine_begin_transaction,
    .pause_transaction = engine_pause_transaction,
    .commit_transaction = engine_commit_transaction,
    .flush = engine_flush,
    .sync = engine_sync,
    .resume = engine_resume,
    .compact = engine_compact,
    .wait_idle = engine_wait_idle,
    .verify = engine_verify,
    .work = engine_work,
    .stats = engine_stats,
    .tables = engine_tables,
    .size_of_range = engine_size_of_range,
    .sequence = engine_sequence,
    .observe = engine_observe,
};

static struct cf_set_options engine_set_options(struct os *os, const odb_options *o,
                                                struct event_log *log)
{
    struct cf_set_options s = {
        .os = os,
        .create = !o->must_exist && !o->is_readonly,
        .must_be_new = o->must_be_new,
        .is_readonly = o->is_readonly,
        .durability = (enum cf_durability)o->durability,
        .ring_size = o->ring_size,
        .log_segment_size = o->log_segment_size,
        .log_limit = o->log_limit,
        .disk_reserve = o->disk_reserve,
        .cache_bytes = (size_t)o->cache_size,
        .memory_budget = (size_t)o->memory_budget,
        .open_tables = o->open_tables,
        .threads = o->no_threads ? 0 : o->background_jobs,
        .family = engine_family_options(o),
        .families = o->families,
        .family_count = o->family_count,
        .create_missing_families = !o->is_readonly,
        .log = event_log_line,
        .log_arg = log,
    };

    return s;
}

/* "default" first, so that its number is 0, then the others. Allocates; free with mem_free. */
static odb_status engine_name_families(odb_options *o, const char ***out)
{
    const char **name = mem_array((size_t)o->family_count + 1, sizeof *name);
    uint32_t count = 1;

    if (!name)
        return err_set(ODB_NOMEM, "no memory for the names of families");
    name[0] = ODB_FAMILY_DEFAULT;
    for (uint32_t i = 0; i < o->family_count; i++) {
        if (!o->families[i]) {
            mem_free(name);
            return err_set(ODB_INVALID, "option families[%lu] is NULL", (unsigned long)i);
        }
        if (strcmp(o->families[i], ODB_FAMILY_DEFAULT) != 0)
            name[count++] = o->families[i];
    }
    o->families = name;
    o->family_count = count;
    *out = name;
    return ODB_OK;
}

static void engine_note_open(struct engine *e)
{
    struct cf_set_stats s;
    char line[160];

    cf_stats(e->set, &s);
    (void)snprintf(line, sizeof line, "release %s%s: newest write %llu, commits go through %s",
                   odb_version(), e->opt.is_readonly ? ", read-only" : "",
                   (unsigned long long)s.visible_seq, s.has_ring ? "the ring" : "the log file");
    event_log_line(e->log, line);
}

odb_status api_backend_over(struct cf_set *set, const odb_options *opt, struct event_log *log,
                            odb_backend *out)
{
    struct engine *e = mem_zalloc(1, sizeof *e);

    if (!e)
        return err_set(ODB_NOMEM, "no memory for a database handle");
    e->set = set;
    e->log = log;
    e->opt = *opt;
    e->opt.families = NULL; /* the caller's */
    e->opt.family_count = 0;
    *out = (odb_backend){&engine_ops, e};
    return ODB_OK;
}

odb_status odb_backend_lsm(const char *dir, const odb_options *opt, odb_backend *out)
{
    struct os *os = os_posix();
    struct cf_set_options set_options;
    struct event_log *log = NULL;
    struct cf_set *set = NULL;
    const char **names = NULL;
    odb_options o;
    odb_status st;

    if (!dir || !out)
        return api_refuse_null(dir ? "the place for the backend" : "the directory");
    st = options_resolve(os, opt, &o);
    if (st == ODB_OK)
        st = engine_name_families(&o, &names);
    if (st == ODB_OK)
        st = event_log_new(os, dir, o.is_readonly, &o, &log);
    if (st != ODB_OK)
        goto done;
    set_options = engine_set_options(os, &o, log);
    st = cf_open(dir, &set_options, &set);
    if (st == ODB_OK && !o.is_readonly)
        st = info_write(os, dir, &o);
    if (st == ODB_OK)
        st = api_backend_over(set, &o, log, out);
    if (st != ODB_OK)
        goto done;
    engine_note_open(out->self);
    set = NULL;
    log = NULL;
done:
    if (set)
        (void)cf_close(set); /* `st` says what went wrong first */
    event_log_free(log);
    mem_free(names);
    return st;
}

odb_status odb_open(const char *dir, const odb_options *opt, odb_db **out)
{
    odb_backend backend;
    odb_status st;

    if (!out)
        return api_refuse_null("the place for the database handle");
    st = odb_backend_lsm(dir, opt, &backend);
    if (st != ODB_OK)
        return st;
    st = odb_open_backend(backend, out);
    if (st != ODB_OK)
        (void)backend.ops->close(backend.self); /* `st` says what went wrong first */
    return st;
}
