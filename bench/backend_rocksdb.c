/* bench/backend_rocksdb.c -- the storage trait over RocksDB's C interface.
 *
 *     family     a rocksdb column family; its number is RocksDB's own, which starts at 0 for "default",
 *                grows with every creation and is never used again: what the trait asks for
 *     value      a pinned slice
 *     snapshot   a RocksDB snapshot and the read options that name it
 *     walk       a RocksDB iterator with bounds
 *
 * Threads: RocksDB's own rules allow every call from any thread; the list of families has a lock.
 */
#include "bench/backend_common.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>

struct family {
    struct backend_family head;
    rocksdb_column_family_handle_t *handle;
    char name[];
};

struct store {
    rocksdb_t *db;
    rocksdb_options_t *opt;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *now;
    rocksdb_writeoptions_t *write[2][2]; /* synced; not to wait */
    odb_durability durability;
    struct backend_families families;
};

struct moment {
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read;
};

struct walk {
    odb_iter head;
    struct store *store;
    struct family *family;
    rocksdb_readoptions_t *read;
    rocksdb_iterator_t *it;
    size_t lower_len, upper_len;
    bool has_lower, has_upper, is_long;
    char bounds[]; /* lower, then upper */
};

/* ---- statuses ---- */

static const struct {
    const char *part; /* of RocksDB's text */
    odb_status st;
} meaning[] = {
    {"create_if_missing is false", ODB_ABSENT},
    {"error_if_exists is true", ODB_EXISTS},
    {"No space left", ODB_NOSPACE},
    {"While lock file", ODB_BUSY},
    {"lock hold by current process", ODB_BUSY},
    {"Permission denied", ODB_DENIED},
    {"No such file or directory", ODB_ABSENT},
    {"Corruption", ODB_CORRUPT},
    {"Incomplete", ODB_AGAIN},
    {"Not implemented: Not supported operation in read only mode", ODB_READONLY},
    {"Invalid argument", ODB_INVALID},
};

/* What RocksDB said, as a status; frees `err`. NULL is ODB_OK. */
static odb_status status_of(char *err)
{
    odb_status st = ODB_IO;

    if (!err)
        return ODB_OK;
    for (size_t i = 0; i < sizeof meaning / sizeof meaning[0]; i++)
        if (strstr(err, meaning[i].part)) {
            st = meaning[i].st;
            break;
        }
    st = odb_error_set(st, err);
    rocksdb_free(err);
    return st;
}

static odb_status no_memory(void)
{
    return odb_error_set(ODB_NOMEM, "rocksdb: out of memory");
}

/* ---- families ---- */

static struct family *family_new(rocksdb_column_family_handle_t *handle)
{
    size_t len;
    char *name = rocksdb_column_family_handle_get_name(handle, &len);
    struct family *f = name ? malloc(sizeof *f + len + 1) : NULL;

    if (f) {
        f->handle = handle;
        f->head = (struct backend_family){.id = rocksdb_column_family_handle_get_id(handle),
                                          .name = f->name};
        memcpy(f->name, name, len);
        f->name[len] = 0;
    }
    rocksdb_free(name);
    return f;
}

static odb_status rocks_cf_find(void *self, const char *name, odb_backend_cf *out)
{
    return backend_cf_find(&((struct store *)self)->families, name, out);
}

static odb_status rocks_cf_create(void *self, const char *name, const odb_cf_options *opt,
                                  odb_backend_cf *out)
{
    struct store *s = self;
    rocksdb_column_family_handle_t *handle;
    char *err = NULL;
    struct family *f;

    (void)opt; /* a family is as the database was opened with */
    if (backend_find(&s->families, name, 0))
        return odb_error_set(ODB_EXISTS, "rocksdb: a column family of that name is there");
    handle = rocksdb_create_column_family(s->db, s->opt, name, &err);
    if (err)
        return status_of(err);
    f = family_new(handle);
    if (!f) {
        rocksdb_column_family_handle_destroy(handle);
        return no_memory();
    }
    pthread_mutex_lock(&s->families.lock);
    backend_link(&s->families, &f->head);
    pthread_mutex_unlock(&s->families.lock);
    *out = (odb_backend_cf){f, f->head.id};
    return ODB_OK;
}

static odb_status rocks_cf_drop(void *self, void *family)
{
    struct store *s = self;
    struct family *f = family;
    char *err = NULL;

    rocksdb_drop_column_family(s->db, f->handle, &err);
    if (err)
        return status_of(err);
    backend_mark_dropped(&s->families, &f->head);
    return ODB_OK;
}

static void rocks_cf_each(void *self, bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                          void *arg)
{
    backend_cf_each(&((struct store *)self)->families, each, arg);
}

/* ---- points ---- */

static rocksdb_readoptions_t *read_at(struct store *s, void *snapshot)
{
    return snapshot ? ((struct moment *)snapshot)->read : s->now;
}

static odb_status rocks_get(void *self, void *family, void *snapshot, odb_slice key, odb_value *out)
{
    struct store *s = self;
    rocksdb_pinnableslice_t *v;
    char *err = NULL;

    v = rocksdb_get_pinned_cf(s->db, read_at(s, snapshot), ((struct family *)family)->handle,
                              key.data, key.size, &err);
    if (err)
        return status_of(err);
    if (!v)
        return ODB_ABSENT;
    out->data = rocksdb_pinnableslice_value(v, &out->size);
    out->pin[0] = v;
    return ODB_OK;
}

static void rocks_value_release(void *self, odb_value *v)
{
    (void)self;
    rocksdb_pinnableslice_destroy(v->pin[0]);
}

/* ---- writes ---- */

static rocksdb_writeoptions_t *write_how(struct store *s, const odb_write *how)
{
    odb_durability d = how->durability ? how->durability : s->durability;

    return s->write[d == ODB_DURABLE_FULL][how->no_wait];
}

static odb_status rocks_put(void *self, void *family, odb_slice key, odb_slice value,
                            const odb_write *how)
{
    struct store *s = self;
    char *err = NULL;

    rocksdb_put_cf(s->db, write_how(s, how), ((struct family *)family)->handle, key.data, key.size,
                   value.data, value.size, &err);
    return status_of(err);
}

static odb_status rocks_remove(void *self, void *family, odb_slice key, const odb_write *how)
{
    struct store *s = self;
    char *err = NULL;

    rocksdb_delete_cf(s->db, write_how(s, how), ((struct family *)family)->handle, key.data,
                      key.size, &err);
    return status_of(err);
}

struct filling {
    struct store *store;
    rocksdb_writebatch_t *batch;
    bool unknown;
};

static bool add_op(void *arg, const odb_op *op)
{
    struct filling *to = arg;
    struct family *f = (struct family *)backend_find(&to->store->families, NULL, op->family);

    if (!f)
        to->unknown = true;
    else if (op->is_delete)
        rocksdb_writebatch_delete_cf(to->batch, f->handle, op->key.data, op->key.size);
    else
        rocksdb_writebatch_put_cf(to->batch, f->handle, op->key.data, op->key.size, op->value.data,
                                  op->value.size);
    return f != NULL;
}

static odb_status rocks_write_batch(void *self, const odb_batch *b, const odb_write *how)
{
    struct filling to = {self, rocksdb_writebatch_create(), false};
    char *err = NULL;

    odb_batch_each(b, add_op, &to);
    if (!to.unknown)
        rocksdb_write(to.store->db, write_how(to.store, how), to.batch, &err);
    rocksdb_writebatch_destroy(to.batch);
    if (to.unknown)
        return odb_error_set(ODB_NO_FAMILY, "rocksdb: the batch names a family that is not there");
    return status_of(err);
}

/* ---- moments ---- */

static odb_status rocks_snapshot_new(void *self, void **out)
{
    struct store *s = self;
    struct moment *m = malloc(sizeof *m);

    if (!m)
        return no_memory();
    m->snapshot = rocksdb_create_snapshot(s->db);
    m->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(m->read, m->snapshot);
    *out = m;
    return ODB_OK;
}

static void rocks_snapshot_free(void *self, void *snapshot)
{
    struct store *s = self;
    struct moment *m = snapshot;

    rocksdb_readoptions_destroy(m->read);
    rocksdb_release_snapshot(s->db, m->snapshot);
    free(m);
}

/* ---- walks ---- */

/* An iterator stays at its moment by itself: it holds the memtables and tables of then. */
static void walk_begin(struct walk *w, void *snapshot)
{
    w->read = rocksdb_readoptions_create();
    if (snapshot)
        rocksdb_readoptions_set_snapshot(w->read, ((struct moment *)snapshot)->snapshot);
    if (w->has_lower)
        rocksdb_readoptions_set_iterate_lower_bound(w->read, w->bounds, w->lower_len);
    if (w->has_upper)
        rocksdb_readoptions_set_iterate_upper_bound(w->read, w->bounds + w->lower_len,
                                                    w->upper_len);
    if (w->is_long)
        rocksdb_readoptions_set_fill_cache(w->read, 0);
    w->it = rocksdb_create_iterator_cf(w->store->db, w->read, w->family->handle);
}

static void walk_end(struct walk *w)
{
    rocksdb_iter_destroy(w->it);
    rocksdb_readoptions_destroy(w->read);
}

static struct walk *walk_of(odb_iter *it)
{
    return (struct walk *)(void *)it;
}

/* Show where RocksDB's iterator stands. */
static bool walk_show(odb_iter *it)
{
    struct walk *w = walk_of(it);
    char *err = NULL;

    it->status = ODB_OK;
    it->is_valid = rocksdb_iter_valid(w->it);
    if (it->is_valid) {
        it->key.data = rocksdb_iter_key(w->it, &it->key.size);
        it->value.data = rocksdb_iter_value(w->it, &it->value.size);
        return true;
    }
    it->key = it->value = odb_bytes(NULL, 0);
    rocksdb_iter_get_error(w->it, &err);
    it->status = status_of(err);
    return false;
}

static bool rocks_first(odb_iter *it)
{
    rocksdb_iter_seek_to_first(walk_of(it)->it);
    return walk_show(it);
}

static bool rocks_last(odb_iter *it)
{
    rocksdb_iter_seek_to_last(walk_of(it)->it);
    return walk_show(it);
}

static bool rocks_seek(odb_iter *it, odb_slice key)
{
    rocksdb_iter_seek(walk_of(it)->it, key.data, key.size);
    return walk_show(it);
}

static bool rocks_seek_for_prev(odb_iter *it, odb_slice key)
{
    rocksdb_iter_seek_for_prev(walk_of(it)->it, key.data, key.size);
    return walk_show(it);
}

static bool rocks_next(odb_iter *it)
{
    rocksdb_iter_next(walk_of(it)->it);
    return walk_show(it);
}

static bool rocks_prev(odb_iter *it)
{
    rocksdb_iter_prev(walk_of(it)->it);
    return walk_show(it);
}

static odb_status rocks_refresh(odb_iter *it, void *snapshot)
{
    struct walk *w = walk_of(it);
    odb_status st = backend_check_dropped(&w->store->families, &w->family->head);

    if (st != ODB_OK)
        return st;
    walk_end(w);
    walk_begin(w, snapshot);
    return ODB_OK;
}

static void rocks_iter_free(odb_iter *it)
{
    walk_end(walk_of(it));
    free(it);
}

static const odb_iter_ops rocks_iter_ops = {
    .size = sizeof rocks_iter_ops,
    .first = rocks_first,
    .last = rocks_last,
    .seek = rocks_seek,
    .seek_for_prev = rocks_seek_for_prev,
    .next = rocks_next,
    .prev = rocks_prev,
    .refresh = rocks_refresh,
    .free = rocks_iter_free,
};

static odb_status rocks_scan(void *self, void *family, void *snapshot, const odb_range *range,
                             odb_iter **out)
{
    struct walk *w = calloc(1, sizeof *w + range->lower.size + range->upper.size);

    if (!w)
        return no_memory();
    w->head.ops = &rocks_iter_ops;
    w->store = self;
    w->family = family;
    w->has_lower = range->lower.data != NULL;
    w->has_upper = range->upper.data != NULL;
    w->is_long = range->is_long;
    w->lower_len = w->has_lower ? range->lower.size : 0;
    w->upper_len = w->has_upper ? range->upper.size : 0;
    if (w->lower_len)
        memcpy(w->bounds, range->lower.data, w->lower_len);
    if (w->upper_len)
        memcpy(w->bounds + w->lower_len, range->upper.data, w->upper_len);
    walk_begin(w, snapshot);
    *out = &w->head;
    return ODB_OK;
}

/* ---- upkeep ---- */

static odb_status flush_one(struct store *s, struct family *f, const rocksdb_flushoptions_t *opt)
{
    char *err = NULL;

    rocksdb_flush_cf(s->db, opt, f->handle, &err);
    return status_of(err);
}

static odb_status rocks_flush(void *self, void *family)
{
    struct store *s = self;
    rocksdb_flushoptions_t *opt = rocksdb_flushoptions_create();
    odb_status st = ODB_OK;

    rocksdb_flushoptions_set_wait(opt, 1);
    pthread_mutex_lock(&s->families.lock);
    for (struct backend_family *f = NULL;
         st == ODB_OK && (f = backend_next(&s->families, family, f)) != NULL;)
        st = flush_one(s, (struct family *)f, opt);
    pthread_mutex_unlock(&s->families.lock);
    rocksdb_flushoptions_destroy(opt);
    return st;
}

static odb_status rocks_sync(void *self)
{
    char *err = NULL;

    rocksdb_flush_wal(((struct store *)self)->db, 1, &err);
    return status_of(err);
}

/* RocksDB takes inclusive ends; a whole file more changes nothing a reader can see. */
static odb_status rocks_compact(void *self, void *family, const odb_range *range,
                                odb_progress *progress, void *arg)
{
    struct store *s = self;

    (void)progress;
    (void)arg;
    pthread_mutex_lock(&s->families.lock);
    for (struct backend_family *f = NULL; (f = backend_next(&s->families, family, f)) != NULL;)
        rocksdb_compact_range_cf(s->db, ((struct family *)f)->handle, range->lower.data,
                                 range->lower.size, range->upper.data, range->upper.size);
    pthread_mutex_unlock(&s->families.lock);
    return ODB_OK;
}

static uint64_t property(struct store *s, struct family *f, const char *name)
{
    uint64_t n = 0;

    return rocksdb_property_int_cf(s->db, f->handle, name, &n) == 0 ? n : 0;
}

/* How many files each level has is told; bytes and entries only of all levels together: they are booked
 * where most of them lie, in the lowest level that has any. */
static void add_levels(struct store *s, struct family *f, odb_stats_t *out)
{
    int lowest = 0;

    for (int i = 0; i < ODB_LEVELS; i++) {
        char name[40], *text;
        uint64_t files;

        (void)snprintf(name, sizeof name, "rocksdb.num-files-at-level%d", i);
        text = rocksdb_property_value_cf(s->db, f->handle, name);
        files = text ? strtoull(text, NULL, 10) : 0;
        rocksdb_free(text);
        out->level[i].files += files;
        if (files)
            lowest = i;
    }
    out->level[lowest].bytes += property(s, f, "rocksdb.live-sst-files-size");
    out->level[lowest].entries += property(s, f, "rocksdb.estimate-num-keys");
}

static odb_status rocks_stats(void *self, void *family, odb_stats_t *out)
{
    struct store *s = self;

    pthread_mutex_lock(&s->families.lock);
    for (struct backend_family *b = NULL; (b = backend_next(&s->families, family, b)) != NULL;) {
        struct family *f = (struct family *)b;

        out->memtables += property(s, f, "rocksdb.num-immutable-mem-table") + 1;
        out->memtable_bytes += property(s, f, "rocksdb.size-all-mem-tables");
        out->memtable_entries += property(s, f, "rocksdb.num-entries-active-mem-table") +
                                 property(s, f, "rocksdb.num-entries-imm-mem-tables");
        out->debt += property(s, f, "rocksdb.estimate-pending-compaction-bytes");
        add_levels(s, f, out);
    }
    pthread_mutex_unlock(&s->families.lock);
    out->ops = out->sequence = rocksdb_get_latest_sequence_number(s->db);
    out->cache_bytes = rocksdb_cache_get_usage(s->cache);
    out->memory_bytes = out->cache_bytes + out->memtable_bytes;
    return ODB_OK;
}

/* ---- opening and closing ---- */

static odb_status rocks_close(void *self)
{
    struct store *s = self;

    while (s->families.first) {
        struct family *f = (struct family *)s->families.first;

        s->families.first = f->head.next;
        rocksdb_column_family_handle_destroy(f->handle);
        free(f);
    }
    if (s->db)
        rocksdb_close(s->db);
    for (int i = 0; i < 4; i++)
        if (s->write[i / 2][i % 2])
            rocksdb_writeoptions_destroy(s->write[i / 2][i % 2]);
    rocksdb_readoptions_destroy(s->now);
    rocksdb_options_destroy(s->opt);
    rocksdb_block_based_options_destroy(s->table);
    rocksdb_cache_destroy(s->cache);
    (void)pthread_mutex_destroy(&s->families.lock);
    free(s);
    return ODB_OK;
}

static const odb_backend_ops rocks_ops = {
    .size = sizeof rocks_ops,
    .name = "rocksdb",
    .close = rocks_close,
    .cf_find = rocks_cf_find,
    .cf_create = rocks_cf_create,
    .cf_drop = rocks_cf_drop,
    .cf_each = rocks_cf_each,
    .get = rocks_get,
    .value_release = rocks_value_release,
    .put = rocks_put,
    .remove = rocks_remove,
    .write_batch = rocks_write_batch,
    .scan = rocks_scan,
    .snapshot_new = rocks_snapshot_new,
    .snapshot_free = rocks_snapshot_free,
    .flush = rocks_flush,
    .sync = rocks_sync,
    .compact = rocks_compact,
    .stats = rocks_stats,
};

static void set_options(struct store *s, const odb_options *o)
{
    uint64_t budget = o->memory_budget;
    uint64_t cache = o->cache_size ? o->cache_size : budget ? budget / 2 : (uint64_t)64 << 20;
    uint64_t buffer = o->write_buffer_size ? o->write_buffer_size
                      : budget             ? budget / 8
                                           : (uint64_t)128 << 20;

    rocksdb_options_set_create_if_missing(s->opt, !o->must_exist && !o->is_readonly);
    rocksdb_options_set_error_if_exists(s->opt, o->must_be_new);
    rocksdb_options_set_write_buffer_size(s->opt, (size_t)buffer);
    rocksdb_options_set_max_write_buffer_number(s->opt,
                                                o->write_buffers ? (int)o->write_buffers : 3);
    rocksdb_options_set_target_file_size_base(s->opt, o->target_file_size ? o->target_file_size
                                                                          : (uint64_t)64 << 20);
    rocksdb_options_set_max_background_jobs(s->opt,
                                            o->background_jobs ? (int)o->background_jobs : 4);
    rocksdb_options_set_disable_auto_compactions(s->opt, o->no_auto_compact);
    rocksdb_options_set_compression(s->opt, o->compression == ODB_COMPRESSION_NONE
                                                ? rocksdb_no_compression
                                                : rocksdb_lz4_compression);
    s->cache = rocksdb_cache_create_lru((size_t)cache);
    s->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(s->table, s->cache);
    rocksdb_block_based_options_set_block_size(s->table, o->block_size ? o->block_size : 4096);
    if (o->filter_bits >= 0)
        rocksdb_block_based_options_set_filter_policy(
            s->table, rocksdb_filterpolicy_create_bloom_full(o->filter_bits ? o->filter_bits : 10));
    rocksdb_options_set_block_based_table_factory(s->opt, s->table);
}

static struct store *store_new(const odb_options *o)
{
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    if (pthread_mutex_init(&s->families.lock, NULL) != 0) {
        free(s);
        return NULL;
    }
    s->opt = rocksdb_options_create();
    set_options(s, o);
    s->now = rocksdb_readoptions_create();
    for (int i = 0; i < 4; i++) {
        s->write[i / 2][i % 2] = rocksdb_writeoptions_create();
        rocksdb_writeoptions_set_sync(s->write[i / 2][i % 2], i >= 2);
        rocksdb_writeoptions_set_no_slowdown(s->write[i / 2][i % 2], (i & 1) != 0);
    }
    s->durability = o->durability;
    return s;
}

/* Every family there is must be opened; before there is a database, that is "default". */
static odb_status open_all(struct store *s, const char *dir, bool is_readonly)
{
    static const char *const only[] = {"default"};
    size_t count = 0;
    char *err = NULL, **listed = rocksdb_list_column_families(s->opt, dir, &count, &err);
    const char *const *names = err ? only : (const char *const *)listed;
    size_t n = err ? 1 : count;
    rocksdb_column_family_handle_t **handle = calloc(n, sizeof *handle);
    const rocksdb_options_t **opt = calloc(n, sizeof *opt);
    odb_status st = handle && opt ? ODB_OK : no_memory();

    rocksdb_free(err);
    err = NULL;
    for (size_t i = 0; st == ODB_OK && i < n; i++)
        opt[i] = s->opt;
    if (st == ODB_OK) {
        s->db = is_readonly
                    ? rocksdb_open_for_read_only_column_families(s->opt, dir, (int)n, names, opt,
                                                                 handle, 0, &err)
                    : rocksdb_open_column_families(s->opt, dir, (int)n, names, opt, handle, &err);
        st = status_of(err);
    }
    for (size_t i = 0; st == ODB_OK && i < n; i++) {
        struct family *f = family_new(handle[i]);

        if (!f) {
            for (; i < n; i++)
                rocksdb_column_family_handle_destroy(handle[i]);
            st = no_memory();
            break;
        }
        backend_link(&s->families, &f->head);
    }
    if (listed)
        rocksdb_list_column_families_destroy(listed, count);
    free(handle);
    free(opt);
    return st;
}

static odb_status create_missing(struct store *s, const odb_options *o)
{
    size_t n;
    const char *const *names = backend_wanted(o, &n);
    odb_status st = ODB_OK;
    odb_backend_cf cf;

    for (size_t i = 0; st == ODB_OK && i < n; i++)
        if (!backend_find(&s->families, names[i], 0))
            st = rocks_cf_create(s, names[i], NULL, &cf);
    return st;
}

odb_status odb_backend_rocksdb(const char *dir, const odb_options *opt, odb_backend *out)
{
    odb_options o = backend_options(opt);
    struct store *s = store_new(&o);
    odb_status st;

    if (!s)
        return no_memory();
    st = open_all(s, dir, o.is_readonly);
    if (st == ODB_OK && !o.is_readonly)
        st = create_missing(s, &o);
    if (st != ODB_OK) {
        (void)rocks_close(s);
        return st;
    }
    *out = (odb_backend){&rocks_ops, s};
    return ODB_OK;
}
