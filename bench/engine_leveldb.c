/* bench/engine_leveldb.c -- LevelDB. It has no families, one background thread, Snappy, and two memtables; a
 * get hands out a copy, it has no other. */
#include "bench/engine.h"

#include "bench/measure.h"

#include <leveldb/c.h>
#include <stdlib.h>

struct store {
    leveldb_t *db;
    leveldb_options_t *opt;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    bool sync;
};

struct session {
    struct store *store;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
    leveldb_writebatch_t *batch;
};

static void must(char *err)
{
    if (err)
        bench_die("leveldb: %s", err);
}

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    (void)snprintf(text, cap, "LevelDB %d.%d", leveldb_major_version(), leveldb_minor_version());
    (void)snprintf(warning, warning_cap, "%s",
#ifdef BENCH_LEVELDB_ASSERTIONS
                   "built with assertions"
#else
                   ""
#endif
    );
}

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    BENCH_SAY(durability, "%s",
              s->sync ? "sync=1: fdatasync before the commit returns" : "sync=0: survives SIGKILL");
    BENCH_SAY(compression, "%s",
              strcmp(s->compression_type, "lz4") == 0 ? "Snappy: it has no LZ4" : "none");
    BENCH_SAY(cache, "%.0f MiB, LRU", (double)s->cache_size / 1048576);
    BENCH_SAY(write_buffers, "2 x %.0f MiB: it has never more than two",
              (double)s->write_buffer_size / 1048576);
    if (s->bloom_bits > 0)
        BENCH_SAY(filter, "%d bits a key", (int)s->bloom_bits);
    else
        BENCH_SAY(filter, "none");
    BENCH_SAY(block, "%llu bytes", (unsigned long long)s->block_size);
    BENCH_SAY(threads, "1 background thread, alone in every merge: it has never more");
    BENCH_SAY(checksums, "on, verified when a block is read");
}

static void *open_store(const struct bench_settings *s, const char *dir)
{
    struct store *store = bench_zalloc(sizeof *store);
    char *err = NULL;

    if (s->families > 1)
        bench_die("leveldb: it has no column families");
    store->sync = s->sync;
    store->opt = leveldb_options_create();
    store->cache = leveldb_cache_create_lru((size_t)s->cache_size);
    leveldb_options_set_create_if_missing(store->opt, 1);
    leveldb_options_set_cache(store->opt, store->cache);
    leveldb_options_set_write_buffer_size(store->opt, (size_t)s->write_buffer_size);
    leveldb_options_set_block_size(store->opt, (size_t)s->block_size);
    leveldb_options_set_max_file_size(store->opt, (size_t)s->target_file_size_base);
    leveldb_options_set_compression(store->opt, strcmp(s->compression_type, "lz4") == 0
                                                    ? leveldb_snappy_compression
                                                    : leveldb_no_compression);
    if (s->bloom_bits > 0) {
        store->filter = leveldb_filterpolicy_create_bloom((int)s->bloom_bits);
        leveldb_options_set_filter_policy(store->opt, store->filter);
    }
    store->db = leveldb_open(store->opt, dir, &err);
    must(err);
    return store;
}

static void close_store(void *db)
{
    struct store *store = db;

    leveldb_close(store->db);
    leveldb_options_destroy(store->opt);
    leveldb_cache_destroy(store->cache);
    if (store->filter)
        leveldb_filterpolicy_destroy(store->filter);
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_alloc(sizeof *s);

    s->store = db;
    s->read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(s->read, 1);
    s->write = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(s->write, s->store->sync);
    s->batch = leveldb_writebatch_create();
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    leveldb_readoptions_destroy(s->read);
    leveldb_writeoptions_destroy(s->write);
    leveldb_writebatch_destroy(s->batch);
    free(s);
}

static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;
    char *err = NULL;

    (void)family;
    leveldb_put(s->store->db, s->write, key.data, key.size, value.data, value.size, &err);
    must(err);
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    struct session *s = session;
    char *err = NULL;

    (void)family;
    leveldb_delete(s->store->db, s->write, key.data, key.size, &err);
    must(err);
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;

    (void)family;
    leveldb_writebatch_put(s->batch, key.data, key.size, value.data, value.size);
}

static void batch_commit(void *session)
{
    struct session *s = session;
    char *err = NULL;

    leveldb_write(s->store->db, s->write, s->batch, &err);
    must(err);
    leveldb_writebatch_clear(s->batch);
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    struct session *s = session;
    char *err = NULL, *value;
    size_t size;

    (void)family;
    value = leveldb_get(s->store->db, s->read, key.data, key.size, &size, &err);
    must(err);
    if (!value)
        return false;
    bench_touch(bytes, value, size);
    leveldb_free(value);
    return true;
}

static void end_walk(leveldb_iterator_t *it)
{
    char *err = NULL;

    leveldb_iter_get_error(it, &err);
    must(err);
    leveldb_iter_destroy(it);
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    struct session *s = session;
    leveldb_iterator_t *it = leveldb_create_iterator(s->store->db, s->read);
    uint64_t n = 0;

    (void)family;
    if (forward)
        leveldb_iter_seek_to_first(it);
    else
        leveldb_iter_seek_to_last(it);
    while (n < limit && leveldb_iter_valid(it)) {
        size_t size;
        const char *data = leveldb_iter_value(it, &size);

        bench_touch(bytes, data, size);
        n++;
        if (forward)
            leveldb_iter_next(it);
        else
            leveldb_iter_prev(it);
    }
    end_walk(it);
    return n;
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    struct session *s = session;
    leveldb_iterator_t *it = leveldb_create_iterator(s->store->db, s->read);
    uint64_t n = 0;

    (void)family;
    for (leveldb_iter_seek(it, key.data, key.size); leveldb_iter_valid(it); leveldb_iter_next(it)) {
        size_t size, key_size;
        const char *data = leveldb_iter_value(it, &size), *k = leveldb_iter_key(it, &key_size);

        if (n == 0)
            bench_check_seek("leveldb", key, k, key_size);
        bench_touch(bytes, data, size);
        if (n++ == nexts)
            break;
    }
    end_walk(it);
    return n;
}

static void wait_idle(void *db)
{
    (void)db;
    bench_wait_quiet(); /* it has no call for it */
}

static void compact(void *db)
{
    leveldb_compact_range(((struct store *)db)->db, NULL, 0, NULL, 0);
}

static void stats(void *db, FILE *to)
{
    char *text = leveldb_property_value(((struct store *)db)->db, "leveldb.stats");

    (void)fprintf(to, "%s\n", text ? text : "");
    leveldb_free(text);
}

const struct bench_engine bench_leveldb = {
    .name = "leveldb",
    .help = "LevelDB",
    .describe = describe,
    .parity = parity,
    .open = open_store,
    .close = close_store,
    .session_new = session_new,
    .session_free = session_free,
    .put = put,
    .remove = remove_key,
    .batch_put = batch_put,
    .batch_commit = batch_commit,
    .get = get,
    .scan = scan,
    .seek = seek,
    .wait_idle = wait_idle,
    .compact = compact,
    .stats = stats,
};
