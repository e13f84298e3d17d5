/* bench/engine_rocksdb.c -- RocksDB, through its C interface: with the settings of the run, and once more
 * with what its authors recommend for reading besides.
 *
 * Releases differ in what the C interface offers; meson looks for each call:
 *   BENCH_ROCKSDB_GET_INTO    a get into the caller's buffer: no allocation per get
 *   BENCH_ROCKSDB_WAIT        a call that waits for merges; without it we look every millisecond
 *   BENCH_ROCKSDB_HYPER       the cache without a lock
 *   BENCH_ROCKSDB_REFRESH     a kept iterator moved on to the present; without it each seek makes its own
 *   BENCH_ROCKSDB_SEPARATE    values apart from keys within a block
 *   BENCH_ROCKSDB_PIN_UPDATE  a transaction's get for update that hands out no copy
 */
#include "bench/engine_rocksdb.h"

#include <stdlib.h>
#include <unistd.h>

#define BATCH_MAX 1024

struct store {
    rocksdb_t *db;
    rocksdb_options_t *opt;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_column_family_handle_t **family;
    uint32_t family_count;
    bool sync, profile;
};

struct session {
    struct store *store;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *walk;
    rocksdb_writeoptions_t *write;
    rocksdb_writebatch_t *batch;
    rocksdb_iterator_t **seek;   /* of each family, made when first needed */
    rocksdb_perfcontext_t *perf; /* of the thread that made the session */
    char *buf;                   /* for values */
    size_t buf_cap;
    const char *key[BATCH_MAX];
    size_t key_len[BATCH_MAX];
    rocksdb_pinnableslice_t *value[BATCH_MAX];
    char *err[BATCH_MAX];
};

static void must(char *err)
{
    if (err)
        bench_die("rocksdb: %s", err);
}

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    (void)snprintf(text, cap, "RocksDB %s", BENCH_ROCKSDB_VERSION);
    (void)snprintf(warning, warning_cap, "%s",
#ifdef BENCH_ROCKSDB_ASSERTIONS
                   "built with assertions, which cost it a good part of its speed"
#else
                   ""
#endif
    );
}

#ifdef BENCH_ROCKSDB_HYPER
#define CACHE_NAME "HyperClock"
#else
#define CACHE_NAME "LRU"
#endif

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    BENCH_SAY(durability, "%s",
              s->sync ? "sync=1: fdatasync before the commit returns" : "sync=0: survives SIGKILL");
    BENCH_SAY(compression, "%s", strcmp(s->compression_type, "lz4") == 0 ? "LZ4" : "none");
    BENCH_SAY(cache, "%.0f MiB, " CACHE_NAME, (double)s->cache_size / 1048576);
    BENCH_SAY(write_buffers, "%llu x %.0f MiB", (unsigned long long)s->max_write_buffer_number,
              (double)s->write_buffer_size / 1048576);
    if (s->bloom_bits > 0)
        BENCH_SAY(filter, "%g bits a key, full filter", s->bloom_bits);
    else
        BENCH_SAY(filter, "none");
    BENCH_SAY(block, "%llu bytes", (unsigned long long)s->block_size);
    BENCH_SAY(threads, "%llu background jobs, up to %llu threads a merge",
              (unsigned long long)s->max_background_jobs, (unsigned long long)s->subcompactions);
    BENCH_SAY(checksums, "on, verified when a block is read");
}

/* Larger than any data set here: the machine's memory limits it. */
static uint64_t best_cache(const struct bench_settings *s)
{
    uint64_t data = s->num * (s->key_size + s->value_size) * 2;

    return data > s->cache_size ? data : s->cache_size;
}

static void parity_best(const struct bench_settings *s, struct bench_parity *out)
{
    parity(s, out);
    BENCH_SAY(cache, "%.0f MiB, " CACHE_NAME, (double)best_cache(s) / 1048576);
#ifdef BENCH_ROCKSDB_SEPARATE
    BENCH_SAY(block, "%llu bytes, hash index, values apart", (unsigned long long)s->block_size);
#else
    BENCH_SAY(block, "%llu bytes, hash index", (unsigned long long)s->block_size);
#endif
}

static void set_table(struct store *store, const struct bench_settings *s, bool best)
{
    size_t cap = (size_t)(best ? best_cache(s) : s->cache_size);

    store->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(store->table, (size_t)s->block_size);
    if (s->bloom_bits > 0) /* the table options own the policy */
        rocksdb_block_based_options_set_filter_policy(
            store->table, rocksdb_filterpolicy_create_bloom_full(s->bloom_bits));
#ifdef BENCH_ROCKSDB_HYPER
    store->cache = rocksdb_cache_create_hyper_clock(cap, 0);
#else
    store->cache = rocksdb_cache_create_lru(cap);
#endif
    rocksdb_block_based_options_set_block_cache(store->table, store->cache);
    if (best) {
        rocksdb_block_based_options_set_data_block_index_type(
            store->table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
#ifdef BENCH_ROCKSDB_SEPARATE
        rocksdb_block_based_options_set_separate_key_value_in_data_block(store->table, 1);
#endif
    }
    rocksdb_options_set_block_based_table_factory(store->opt, store->table);
}

static void set_options(struct store *store, const struct bench_settings *s)
{
    rocksdb_options_t *o = store->opt;

    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_write_buffer_size(o, (size_t)s->write_buffer_size);
    rocksdb_options_set_max_write_buffer_number(o, (int)s->max_write_buffer_number);
    rocksdb_options_set_target_file_size_base(o, s->target_file_size_base);
    rocksdb_options_set_max_bytes_for_level_base(o, s->max_bytes_for_level_base);
    rocksdb_options_set_level0_file_num_compaction_trigger(
        o, (int)s->level0_file_num_compaction_trigger);
    rocksdb_options_set_max_background_jobs(o, (int)s->max_background_jobs);
    rocksdb_options_set_max_subcompactions(o, (uint32_t)s->subcompactions);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_compression(o, strcmp(s->compression_type, "lz4") == 0
                                           ? rocksdb_lz4_compression
                                           : rocksdb_no_compression);
    rocksdb_options_set_disable_auto_compactions(o, s->disable_auto_compactions);
    if (s->disable_auto_compactions) { /* level 0 grows: writers must not be slowed down for it */
        rocksdb_options_set_level0_slowdown_writes_trigger(o, 1 << 20);
        rocksdb_options_set_level0_stop_writes_trigger(o, 1 << 20);
    }
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    if (s->profile)
        rocksdb_options_enable_statistics(o);
}

void bench_rocksdb_options(const struct bench_settings *s, rocksdb_options_t **opt,
                           rocksdb_block_based_table_options_t **table, rocksdb_cache_t **cache)
{
    struct store store;

    memset(&store, 0, sizeof store);
    store.opt = rocksdb_options_create();
    set_options(&store, s);
    set_table(&store, s, false);
    *opt = store.opt;
    *table = store.table;
    *cache = store.cache;
}

static void *open_with(const struct bench_settings *s, const char *dir, bool best)
{
    struct store *store = bench_zalloc(sizeof *store);
    uint32_t n = (uint32_t)s->families;
    const char **names = bench_alloc(n * sizeof *names);
    const rocksdb_options_t **opts = bench_alloc(n * sizeof *opts);
    char(*text)[16] = bench_alloc(n * sizeof *text);
    char *err = NULL;

    store->sync = s->sync;
    store->profile = s->profile;
    store->opt = rocksdb_options_create();
    set_options(store, s);
    set_table(store, s, best);
    store->family = bench_alloc(n * sizeof(rocksdb_column_family_handle_t *));
    store->family_count = n;
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(text[i], sizeof text[i], i ? "f%u" : "default", i);
        names[i] = text[i];
        opts[i] = store->opt;
    }
    store->db =
        rocksdb_open_column_families(store->opt, dir, (int)n, names, opts, store->family, &err);
    must(err);
    free(names);
    free(opts);
    free(text);
    return store;
}

static void *open_matched(const struct bench_settings *s, const char *dir)
{
    return open_with(s, dir, false);
}

static void *open_best(const struct bench_settings *s, const char *dir)
{
    return open_with(s, dir, true);
}

static void close_store(void *db)
{
    struct store *store = db;

    for (uint32_t i = 0; i < store->family_count; i++)
        rocksdb_column_family_handle_destroy(store->family[i]);
    rocksdb_close(store->db);
    rocksdb_options_destroy(store->opt);
    rocksdb_block_based_options_destroy(store->table);
    rocksdb_cache_destroy(store->cache);
    free(store->family);
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_zalloc(sizeof *s);

    s->store = db;
    s->read = rocksdb_readoptions_create();
    s->walk = rocksdb_readoptions_create();
    s->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write, s->store->sync);
    s->batch = rocksdb_writebatch_create();
    s->seek = bench_alloc(s->store->family_count * sizeof(rocksdb_iterator_t *));
    memset(s->seek, 0, s->store->family_count * sizeof(rocksdb_iterator_t *));
    s->buf_cap = 4096;
    s->buf = bench_alloc(s->buf_cap);
    if (s->store->profile) {
        rocksdb_set_perf_level(rocksdb_enable_count);
        s->perf = rocksdb_perfcontext_create();
        rocksdb_perfcontext_reset(s->perf);
    }
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    for (uint32_t i = 0; i < s->store->family_count; i++)
        if (s->seek[i])
            rocksdb_iter_destroy(s->seek[i]);
    free(s->seek);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_readoptions_destroy(s->walk);
    rocksdb_writeoptions_destroy(s->write);
    rocksdb_writebatch_destroy(s->batch);
    if (s->perf) {
        rocksdb_perfcontext_destroy(s->perf);
        rocksdb_set_perf_level(rocksdb_disable);
    }
    free(s->buf);
    free(s);
}

static rocksdb_column_family_handle_t *family_of(const struct session *s, uint32_t family)
{
    return s->store->family[family];
}

static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;
    char *err = NULL;

    rocksdb_put_cf(s->store->db, s->write, family_of(s, family), key.data, key.size, value.data,
                   value.size, &err);
    must(err);
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    struct session *s = session;
    char *err = NULL;

    rocksdb_delete_cf(s->store->db, s->write, family_of(s, family), key.data, key.size, &err);
    must(err);
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;

    rocksdb_writebatch_put_cf(s->batch, family_of(s, family), key.data, key.size, value.data,
                              value.size);
}

static void batch_commit(void *session)
{
    struct session *s = session;
    char *err = NULL;

    rocksdb_write(s->store->db, s->write, s->batch, &err);
    must(err);
    rocksdb_writebatch_clear(s->batch);
}

bool bench_rocksdb_take(rocksdb_pinnableslice_t *v, uint64_t *bytes)
{
    const char *data;
    size_t size;

    if (!v)
        return false;
    data = rocksdb_pinnableslice_value(v, &size);
    bench_touch(bytes, data, size);
    rocksdb_pinnableslice_destroy(v);
    return true;
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    struct session *s = session;
    char *err = NULL;
#ifdef BENCH_ROCKSDB_GET_INTO
    for (;;) {
        unsigned char found = 0;
        size_t size = 0;
        unsigned char fits =
            rocksdb_get_into_buffer_cf(s->store->db, s->read, family_of(s, family), key.data,
                                       key.size, s->buf, s->buf_cap, &size, &found, &err);

        must(err);
        if (!found)
            return false;
        if (fits) {
            bench_touch(bytes, s->buf, size);
            return true;
        }
        free(s->buf);
        s->buf_cap = 2 * size;
        s->buf = bench_alloc(s->buf_cap);
    }
#else
    rocksdb_pinnableslice_t *v = rocksdb_get_pinned_cf(s->store->db, s->read, family_of(s, family),
                                                       key.data, key.size, &err);

    must(err);
    return bench_rocksdb_take(v, bytes);
#endif
}

static uint64_t multiget(void *session, uint32_t family, const odb_slice *keys, size_t n,
                         uint64_t *bytes)
{
    struct session *s = session;
    uint64_t found = 0;

    while (n > 0) {
        size_t part = n < BATCH_MAX ? n : BATCH_MAX;

        for (size_t i = 0; i < part; i++) {
            s->key[i] = keys[i].data;
            s->key_len[i] = keys[i].size;
        }
        rocksdb_batched_multi_get_cf(s->store->db, s->read, family_of(s, family), part, s->key,
                                     s->key_len, s->value, s->err, false);
        for (size_t i = 0; i < part; i++) {
            must(s->err[i]);
            found += bench_rocksdb_take(s->value[i], bytes);
        }
        keys += part;
        n -= part;
    }
    return found;
}

static void check_walk(rocksdb_iterator_t *it)
{
    char *err = NULL;

    rocksdb_iter_get_error(it, &err);
    must(err);
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    struct session *s = session;
    rocksdb_iterator_t *it =
        rocksdb_create_iterator_cf(s->store->db, s->walk, family_of(s, family));
    uint64_t n = 0;

    if (forward)
        rocksdb_iter_seek_to_first(it);
    else
        rocksdb_iter_seek_to_last(it);
    while (n < limit && rocksdb_iter_valid(it)) {
        size_t size;
        const char *data = rocksdb_iter_value(it, &size);

        bench_touch(bytes, data, size);
        n++;
        if (forward)
            rocksdb_iter_next(it);
        else
            rocksdb_iter_prev(it);
    }
    check_walk(it);
    rocksdb_iter_destroy(it);
    return n;
}

/* The iterator of the family at the present moment. */
static rocksdb_iterator_t *begin_seek(struct session *s, uint32_t family)
{
#ifdef BENCH_ROCKSDB_REFRESH
    if (s->seek[family]) {
        char *err = NULL;

        rocksdb_iter_refresh(s->seek[family], &err);
        must(err);
        return s->seek[family];
    }
#else
    if (s->seek[family])
        rocksdb_iter_destroy(s->seek[family]);
#endif
    s->seek[family] = rocksdb_create_iterator_cf(s->store->db, s->walk, family_of(s, family));
    return s->seek[family];
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    struct session *s = session;
    rocksdb_iterator_t *it = begin_seek(s, family);
    uint64_t n = 0;

    for (rocksdb_iter_seek(it, key.data, key.size); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t size, key_size;
        const char *data = rocksdb_iter_value(it, &size), *k = rocksdb_iter_key(it, &key_size);

        if (n == 0)
            bench_check_seek("rocksdb", key, k, key_size);
        bench_touch(bytes, data, size);
        if (n++ == nexts)
            break;
    }
    check_walk(it);
    return n;
}

static void flush(void *db)
{
    struct store *store = db;
    rocksdb_flushoptions_t *opt = rocksdb_flushoptions_create();

    rocksdb_flushoptions_set_wait(opt, 1);
    for (uint32_t i = 0; i < store->family_count; i++) {
        char *err = NULL;

        rocksdb_flush_cf(store->db, opt, store->family[i], &err);
        must(err);
    }
    rocksdb_flushoptions_destroy(opt);
}

#ifdef BENCH_ROCKSDB_WAIT
static void wait_idle(void *db)
{
    rocksdb_wait_for_compact_options_t *opt = rocksdb_wait_for_compact_options_create();
    char *err = NULL;

    rocksdb_wait_for_compact(((struct store *)db)->db, opt, &err);
    must(err);
    rocksdb_wait_for_compact_options_destroy(opt);
}
#else
static bool is_busy(struct store *store)
{
    static const char *const busy[] = {
        "rocksdb.num-running-flushes", "rocksdb.num-running-compactions",
        "rocksdb.mem-table-flush-pending", "rocksdb.compaction-pending"};

    for (uint32_t f = 0; f < store->family_count; f++)
        for (size_t i = 0; i < sizeof busy / sizeof busy[0]; i++) {
            uint64_t n = 0;

            if (rocksdb_property_int_cf(store->db, store->family[f], busy[i], &n) == 0 && n)
                return true;
        }
    return false;
}

static void wait_idle(void *db)
{
    for (int quiet = 0; quiet < 3; quiet++) { /* between two jobs it looks idle for a moment */
        if (is_busy(db))
            quiet = -1;
        (void)usleep(1000);
    }
}
#endif

static void compact(void *db)
{
    struct store *store = db;

    for (uint32_t i = 0; i < store->family_count; i++)
        rocksdb_compact_range_cf(store->db, store->family[i], NULL, 0, NULL, 0);
}

static void stats(void *db, FILE *to)
{
    char *text = rocksdb_property_value(((struct store *)db)->db, "rocksdb.stats");

    (void)fprintf(to, "%s\n", text ? text : "");
    rocksdb_free(text);
}

/* "rocksdb.bloom.filter.useful COUNT : 12" in the text of all statistics. */
static uint64_t ticker(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = strstr(text, name); at; at = strstr(at + len, name))
        if (strncmp(at + len, " COUNT : ", 9) == 0)
            return strtoull(at + len + 9, NULL, 10);
    return BENCH_UNCOUNTED;
}

static void counts(void *session, struct bench_counts *out)
{
    struct session *s = session;
    char *text = rocksdb_options_statistics_get_string(s->store->opt);
    uint64_t full, useful;

    for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++)
        out->n[i] = BENCH_UNCOUNTED;
    if (!text || !s->perf)
        return;
    out->n[BENCH_COUNTER_comparisons] =
        rocksdb_perfcontext_metric(s->perf, rocksdb_user_key_comparison_count);
    out->n[BENCH_COUNTER_cache_hits] =
        rocksdb_perfcontext_metric(s->perf, rocksdb_block_cache_hit_count);
    out->n[BENCH_COUNTER_blocks_read] =
        rocksdb_perfcontext_metric(s->perf, rocksdb_block_read_count);
    out->n[BENCH_COUNTER_bytes_read] = rocksdb_perfcontext_metric(s->perf, rocksdb_block_read_byte);
    out->n[BENCH_COUNTER_blocks_decompressed] = ticker(text, "rocksdb.number.block.decompressed");
    full = ticker(text, "rocksdb.bloom.filter.full.positive");
    useful = ticker(text, "rocksdb.bloom.filter.useful");
    out->n[BENCH_COUNTER_filter_checks] = full + useful;
    out->n[BENCH_COUNTER_filter_rejects] = useful;
    out->n[BENCH_COUNTER_filter_false] =
        full - ticker(text, "rocksdb.bloom.filter.full.true.positive");
    rocksdb_free(text);
}

#define COMMON                                                                                     \
    .describe = describe, .close = close_store, .session_new = session_new,                        \
    .session_free = session_free, .put = put, .remove = remove_key, .batch_put = batch_put,        \
    .batch_commit = batch_commit, .get = get, .multiget = multiget, .scan = scan, .seek = seek,    \
    .flush = flush, .wait_idle = wait_idle, .compact = compact, .stats = stats, .counts = counts,  \
    .thread_counts = 1u << BENCH_COUNTER_comparisons | 1u << BENCH_COUNTER_cache_hits |            \
                     1u << BENCH_COUNTER_blocks_read | 1u << BENCH_COUNTER_bytes_read

const struct bench_engine bench_rocksdb = {
    .name = "rocksdb",
    .help = "RocksDB with the settings of this run",
    .parity = parity,
    .open = open_matched,
    COMMON,
};

const struct bench_engine bench_rocksdb_best = {
    .name = "rocksdb-best",
    .help = "RocksDB as its authors tune it for reading: hash index, separated values, a cache "
            "larger than the data",
    .parity = parity_best,
    .open = open_best,
    COMMON,
};
