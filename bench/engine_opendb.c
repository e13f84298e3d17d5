/* bench/engine_opendb.c -- this engine: the LSM tree, and the ordered map in memory. */
#include "bench/engine.h"
#include "bench/models.h"

#include "api/opendb.h"

#include <stdlib.h>

#define BATCH_MAX 1024

struct store {
    odb_db *db;
    odb_cf **family;
    uint32_t family_count;
    odb_write how;
};

struct session {
    struct store *store;
    odb_batch *batch;
    odb_txn *txn[2]; /* without locks, with locks; NULL until wanted */
    odb_iter **seek; /* of each family, made when first needed */
    odb_value value[BATCH_MAX];
    odb_status each[BATCH_MAX];
};

static void must(odb_status st)
{
    if (st != ODB_OK)
        bench_die("opendb: %s: %s", odb_status_name(st), odb_error_text());
}

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    (void)snprintf(text, cap, "OpenDB %s", odb_version());
    (void)snprintf(warning, warning_cap, "%s",
#ifdef NDEBUG
                   ""
#else
                   "built with assertions"
#endif
    );
}

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    BENCH_SAY(durability, "%s",
              s->sync ? "FULL: fdatasync before the commit returns" : "OS: survives SIGKILL");
    BENCH_SAY(compression, "%s", strcmp(s->compression_type, "lz4") == 0 ? "LZ4" : "none");
    BENCH_SAY(cache, "%.0f MiB", (double)s->cache_size / 1048576);
    BENCH_SAY(write_buffers, "%llu x %.0f MiB", (unsigned long long)s->max_write_buffer_number,
              (double)s->write_buffer_size / 1048576);
    BENCH_SAY(threads, "%llu background jobs, up to %llu threads a merge",
              (unsigned long long)s->max_background_jobs, (unsigned long long)s->subcompactions);
    if (s->memory) {
        BENCH_SAY(cache, "one budget of %.0f MiB", (double)s->memory / 1048576);
        BENCH_SAY(write_buffers, "of the same budget");
        BENCH_SAY(threads, "%llu background jobs; the budget says how many share a merge",
                  (unsigned long long)s->max_background_jobs);
    }
    if (s->bloom_bits > 0)
        BENCH_SAY(filter, "%d bits a key", (int)s->bloom_bits);
    else
        BENCH_SAY(filter, "none");
    BENCH_SAY(block, "%llu bytes", (unsigned long long)s->block_size);
    BENCH_SAY(checksums, "on, verified when a block is read");
}

static void parity_memory(const struct bench_settings *s, struct bench_parity *out)
{
    (void)s;
    BENCH_SAY(durability, "none: memory only");
    BENCH_SAY(compression, "none: memory only");
    BENCH_SAY(write_buffers, "none: memory only");
    BENCH_SAY(cache, "none: memory only");
    BENCH_SAY(filter, "none: an ordered map");
    BENCH_SAY(block, "none: an ordered map");
    BENCH_SAY(threads, "none, no merges");
    BENCH_SAY(checksums, "none: memory only");
}

/* The families the run wants: "default", "f1", "f2" ... */
static void open_families(struct store *s, uint32_t count)
{
    s->family = bench_alloc(count * sizeof(odb_cf *));
    s->family_count = count;
    s->family[0] = NULL;
    for (uint32_t i = 1; i < count; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "f%u", i);
        if (odb_cf_open(s->db, name, &s->family[i]) != ODB_OK)
            must(odb_cf_create(s->db, name, NULL, &s->family[i]));
    }
}

static void *open_lsm(const struct bench_settings *s, const char *dir)
{
    static const char *const only[] = {"default"};
    struct store *store = bench_zalloc(sizeof *store);
    odb_options opt = odb_options_default();

    opt.families = only;
    opt.family_count = 1;
    opt.background_jobs = (uint32_t)s->max_background_jobs;
    opt.l0_trigger = (uint32_t)s->level0_file_num_compaction_trigger;
    opt.target_file_size = s->target_file_size_base;
    opt.level_base_size = s->max_bytes_for_level_base;
    opt.block_size = (uint32_t)s->block_size;
    opt.compression =
        strcmp(s->compression_type, "lz4") == 0 ? ODB_COMPRESSION_LZ4 : ODB_COMPRESSION_NONE;
    opt.filter_bits = s->bloom_bits > 0 ? (int32_t)s->bloom_bits : -1;
    opt.durability = s->sync ? ODB_DURABLE_FULL : ODB_DURABLE_OS; /* of calls that cannot say */
    opt.no_auto_compact = s->disable_auto_compactions;
    if (s->memory) {
        opt.memory_budget = s->memory;
    } else {
        opt.merge_split = (uint32_t)s->subcompactions;
        opt.write_buffer_size = s->write_buffer_size;
        opt.write_buffers = (uint32_t)s->max_write_buffer_number;
        opt.cache_size = s->cache_size;
    }
    store->how.durability = s->sync ? ODB_DURABLE_FULL : ODB_DURABLE_OS;
    must(odb_open(dir, &opt, &store->db));
    open_families(store, (uint32_t)s->families);
    return store;
}

static void *open_memory(const struct bench_settings *s, const char *dir)
{
    struct store *store = bench_zalloc(sizeof *store);
    odb_backend backend;

    (void)dir;
    must(odb_backend_memory(&backend));
    must(odb_open_backend(backend, &store->db));
    open_families(store, (uint32_t)s->families);
    return store;
}

static void close_store(void *db)
{
    struct store *store = db;

    must(odb_close(store->db));
    free(store->family);
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_alloc(sizeof *s);

    s->store = db;
    s->txn[0] = s->txn[1] = NULL;
    s->seek = bench_alloc(s->store->family_count * sizeof(odb_iter *));
    memset(s->seek, 0, s->store->family_count * sizeof(odb_iter *));
    must(odb_batch_new(&s->batch));
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    odb_batch_free(s->batch);
    odb_txn_free(s->txn[0]);
    odb_txn_free(s->txn[1]);
    for (uint32_t i = 0; i < s->store->family_count; i++)
        odb_iter_free(s->seek[i]);
    free(s->seek);
    free(s);
}

#ifdef BENCH_MODELS
#define MODELS &bench_opendb_models

odb_db *bench_opendb_handle(void *session)
{
    return ((struct session *)session)->store->db;
}
#else
#define MODELS NULL
#endif

static odb_at now(const struct session *s)
{
    return odb_now(s->store->db);
}

static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;

    must(odb_put(s->store->db, s->store->family[family], key, value, &s->store->how));
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    struct session *s = session;

    must(odb_delete(s->store->db, s->store->family[family], key, &s->store->how));
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;

    must(odb_batch_put(s->batch, s->store->family[family], key, value));
}

static void batch_commit(void *session)
{
    struct session *s = session;

    must(odb_commit(s->store->db, s->batch, &s->store->how));
    odb_batch_clear(s->batch);
}

static bool transact(void *session, uint32_t family, const odb_slice *keys, size_t n,
                     odb_slice value, bool reads, bool locks, uint64_t *bytes)
{
    struct session *s = session;
    odb_cf *cf = s->store->family[family];
    odb_txn_options opt = {.size = sizeof opt, .is_pessimistic = locks};
    odb_txn **t = &s->txn[locks];
    odb_status st = *t ? odb_txn_reset(*t) : odb_txn_begin(s->store->db, &opt, t);

    for (size_t i = 0; i < n && st == ODB_OK; i++) {
        odb_value v;

        if (reads) {
            st = locks ? odb_txn_get_for_update(*t, cf, keys[i], &v)
                       : odb_get(odb_in(*t), cf, keys[i], &v);
            if (st == ODB_OK) {
                bench_touch(bytes, v.data, v.size);
                odb_value_release(&v);
            } else if (st != ODB_ABSENT) {
                break;
            }
        }
        st = odb_txn_put(*t, cf, keys[i], value);
    }
    if (st == ODB_OK)
        st = odb_txn_commit(*t, &s->store->how);
    if (odb_txn_should_retry(st)) {
        must(odb_txn_rollback(*t));
        return false;
    }
    must(st);
    return true;
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    struct session *s = session;
    odb_value v;
    odb_status st = odb_get(now(s), s->store->family[family], key, &v);

    if (st == ODB_ABSENT)
        return false;
    must(st);
    bench_touch(bytes, v.data, v.size);
    odb_value_release(&v);
    return true;
}

static uint64_t multiget(void *session, uint32_t family, const odb_slice *keys, size_t n,
                         uint64_t *bytes)
{
    struct session *s = session;
    uint64_t found = 0;

    while (n > 0) {
        size_t part = n < BATCH_MAX ? n : BATCH_MAX;

        must(odb_multiget(now(s), s->store->family[family], keys, part, s->value, s->each));
        for (size_t i = 0; i < part; i++) {
            if (s->each[i] != ODB_OK)
                continue;
            bench_touch(bytes, s->value[i].data, s->value[i].size);
            odb_value_release(&s->value[i]);
            found++;
        }
        keys += part;
        n -= part;
    }
    return found;
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    struct session *s = session;
    uint64_t n = 0;
    odb_iter *it;

    must(odb_iter_new(now(s), s->store->family[family], NULL, &it));
    for (bool ok = forward ? odb_iter_first(it) : odb_iter_last(it); ok && n < limit;
         ok = forward ? odb_iter_next(it) : odb_iter_prev(it)) {
        odb_slice v = odb_iter_value(it);

        bench_touch(bytes, v.data, v.size);
        n++;
    }
    must(odb_iter_status(it));
    odb_iter_free(it);
    return n;
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    struct session *s = session;
    odb_iter *it = s->seek[family];
    uint64_t n = 0;

    if (it)
        must(odb_iter_refresh(it, now(s)));
    else
        must(odb_iter_new(now(s), s->store->family[family], NULL, &it));
    s->seek[family] = it;
    for (bool ok = odb_iter_seek(it, key); ok; ok = odb_iter_next(it)) {
        odb_slice v = odb_iter_value(it), k = odb_iter_key(it);

        if (n == 0)
            bench_check_seek("opendb", key, k.data, k.size);
        bench_touch(bytes, v.data, v.size);
        if (n++ == nexts)
            break;
    }
    must(odb_iter_status(it));
    return n;
}

static void flush(void *db)
{
    must(odb_flush(((struct store *)db)->db, NULL));
}

static void wait_idle(void *db)
{
    must(odb_wait_idle(((struct store *)db)->db));
}

static void compact(void *db)
{
    must(odb_compact(((struct store *)db)->db, NULL, NULL, NULL, NULL));
}

static void stats(void *db, FILE *to)
{
    odb_db *d = ((struct store *)db)->db;
    size_t len, again;
    char *text;

    must(odb_stats_text(d, NULL, 0, &len));
    text = bench_alloc(len + 1);
    must(odb_stats_text(d, text, len + 1, &again));
    (void)fprintf(to, "%s\n", text);
    free(text);
}

static void counts(void *session, struct bench_counts *out)
{
    odb_stats_t st = {.size = sizeof st};

    must(odb_stats(((struct session *)session)->store->db, NULL, &st));
    for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++)
        out->n[i] = BENCH_UNCOUNTED;
    out->n[BENCH_COUNTER_blocks_read] = st.block_reads;
    out->n[BENCH_COUNTER_cache_hits] = st.block_hits;
    out->n[BENCH_COUNTER_bytes_read] = st.bytes_read;
    out->n[BENCH_COUNTER_blocks_decompressed] = st.blocks_unpacked;
#ifdef ODB_PROFILE
    out->n[BENCH_COUNTER_comparisons] = st.key_compares;
    out->n[BENCH_COUNTER_bytes_copied] = st.bytes_copied;
#endif
    out->n[BENCH_COUNTER_filter_checks] = st.filter_checks;
    out->n[BENCH_COUNTER_filter_rejects] = st.filter_rejects;
    out->n[BENCH_COUNTER_filter_false] = st.filter_false;
}

static uint64_t replayed(void *db)
{
    odb_stats_t st = {.size = sizeof st};

    must(odb_stats(((struct store *)db)->db, NULL, &st));
    return st.recovered_bytes;
}

const struct bench_engine bench_opendb = {
    .name = "opendb",
    .help = "this engine, the LSM tree",
    .describe = describe,
    .parity = parity,
    .open = open_lsm,
    .close = close_store,
    .session_new = session_new,
    .session_free = session_free,
    .put = put,
    .remove = remove_key,
    .batch_put = batch_put,
    .batch_commit = batch_commit,
    .transact = transact,
    .get = get,
    .multiget = multiget,
    .scan = scan,
    .seek = seek,
    .models = MODELS,
    .flush = flush,
    .wait_idle = wait_idle,
    .compact = compact,
    .stats = stats,
    .counts = counts,
    .thread_counts = 1u << BENCH_COUNTER_comparisons | 1u << BENCH_COUNTER_bytes_copied,
    .replayed = replayed,
};

const struct bench_engine bench_memory = {
    .name = "memory",
    .help = "this engine's backend in memory, an ordered map: a yardstick that needs no package",
    .describe = describe,
    .parity = parity_memory,
    .open = open_memory,
    .close = close_store,
    .session_new = session_new,
    .session_free = session_free,
    .put = put,
    .remove = remove_key,
    .batch_put = batch_put,
    .batch_commit = batch_commit,
    .transact = transact,
    .get = get,
    .multiget = multiget,
    .scan = scan,
    .seek = seek,
    .models = MODELS,
};
