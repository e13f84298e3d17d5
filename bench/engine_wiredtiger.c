/* bench/engine_wiredtiger.c -- WiredTiger: a B-tree with a cache of its own and a log. A session has a
 * cursor for each family and uses it again and again, as its manual advises. */
#include "bench/engine.h"

#include <stdlib.h>
#include <wiredtiger.h>

struct store {
    WT_CONNECTION *conn;
    uint32_t family_count;
};

struct session {
    struct store *store;
    WT_SESSION *wt;
    WT_CURSOR **cursor; /* of each family */
    bool in_batch;
};

static void must(int rc)
{
    if (rc != 0)
        bench_die("wiredtiger: %s", wiredtiger_strerror(rc));
}

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    int major, minor, patch;

    (void)wiredtiger_version(&major, &minor, &patch);
    (void)snprintf(text, cap, "WiredTiger %d.%d.%d", major, minor, patch);
    (void)snprintf(warning, warning_cap, "%s", "");
}

static bool wants_compression(const struct bench_settings *s)
{
    return strcmp(s->compression_type, "none") != 0;
}

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    BENCH_SAY(durability, "%s",
              s->sync ? "log, fsync before the commit returns"
                      : "log, written before the commit returns: survives SIGKILL");
    BENCH_SAY(compression, "%s", wants_compression(s) ? "Snappy: Debian's has no LZ4" : "none");
    BENCH_SAY(cache, "%.0f MiB, for reads and writes",
              (double)(s->cache_size + s->write_buffer_size * s->max_write_buffer_number) /
                  1048576);
    BENCH_SAY(write_buffers, "of the same cache");
    BENCH_SAY(filter, "none: a B-tree");
    BENCH_SAY(block, "leaf pages of %llu bytes", (unsigned long long)s->block_size);
    BENCH_SAY(threads, "1 to %llu for eviction; it has no merges",
              (unsigned long long)s->max_background_jobs);
    BENCH_SAY(checksums, "on");
}

static void *open_store(const struct bench_settings *s, const char *dir)
{
    struct store *store = bench_zalloc(sizeof *store);
    char config[512];
    WT_SESSION *wt;

    (void)snprintf(
        config, sizeof config,
        "create,cache_size=%llu,log=(enabled=true),transaction_sync=(enabled=true,method=%s),"
        "eviction=(threads_min=1,threads_max=%llu),session_max=1000%s",
        (unsigned long long)(s->cache_size + s->write_buffer_size * s->max_write_buffer_number),
        s->sync ? "fsync" : "none", (unsigned long long)s->max_background_jobs,
        wants_compression(s) ? ",extensions=[libwiredtiger_snappy.so]" : "");
    must(wiredtiger_open(dir, NULL, config, &store->conn));
    must(store->conn->open_session(store->conn, NULL, NULL, &wt));
    store->family_count = (uint32_t)s->families;
    for (uint32_t i = 0; i < store->family_count; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "table:f%u", i);
        (void)snprintf(config, sizeof config,
                       "key_format=u,value_format=u,leaf_page_max=%llu,checksum=on%s",
                       (unsigned long long)s->block_size,
                       wants_compression(s) ? ",block_compressor=snappy" : "");
        must(wt->create(wt, name, config));
    }
    must(wt->close(wt, NULL));
    return store;
}

static void close_store(void *db)
{
    struct store *store = db;

    must(store->conn->close(store->conn, NULL));
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_zalloc(sizeof *s);

    s->store = db;
    s->cursor = bench_alloc(s->store->family_count * sizeof(WT_CURSOR *));
    must(s->store->conn->open_session(s->store->conn, NULL, NULL, &s->wt));
    for (uint32_t i = 0; i < s->store->family_count; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "table:f%u", i);
        must(s->wt->open_cursor(s->wt, name, NULL, NULL, &s->cursor[i]));
    }
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    must(s->wt->close(s->wt, NULL)); /* and its cursors */
    free(s->cursor);
    free(s);
}

/* Another writer of the same page makes it ask us to try again. */
static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    WT_CURSOR *c = ((struct session *)session)->cursor[family];
    WT_ITEM k = {.data = key.data, .size = key.size}, v = {.data = value.data, .size = value.size};
    int rc;

    do {
        c->set_key(c, &k);
        c->set_value(c, &v);
        rc = c->insert(c);
    } while (rc == WT_ROLLBACK);
    must(rc);
    must(c->reset(c));
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    WT_CURSOR *c = ((struct session *)session)->cursor[family];
    WT_ITEM k = {.data = key.data, .size = key.size};
    int rc;

    do {
        c->set_key(c, &k);
        rc = c->remove(c);
    } while (rc == WT_ROLLBACK);
    if (rc != WT_NOTFOUND)
        must(rc);
    must(c->reset(c));
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;
    WT_CURSOR *c = s->cursor[family];
    WT_ITEM k = {.data = key.data, .size = key.size}, v = {.data = value.data, .size = value.size};

    if (!s->in_batch)
        must(s->wt->begin_transaction(s->wt, NULL));
    s->in_batch = true;
    c->set_key(c, &k);
    c->set_value(c, &v);
    must(c->insert(c));
}

static void batch_commit(void *session)
{
    struct session *s = session;

    if (s->in_batch)
        must(s->wt->commit_transaction(s->wt, NULL));
    s->in_batch = false;
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    WT_CURSOR *c = ((struct session *)session)->cursor[family];
    WT_ITEM k = {.data = key.data, .size = key.size}, v;
    int rc;

    c->set_key(c, &k);
    rc = c->search(c);
    if (rc == WT_NOTFOUND)
        return false;
    must(rc);
    must(c->get_value(c, &v));
    bench_touch(bytes, v.data, v.size);
    must(c->reset(c));
    return true;
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    WT_CURSOR *c = ((struct session *)session)->cursor[family];
    uint64_t n = 0;
    int rc = 0;

    must(c->reset(c));
    while (n < limit && (rc = forward ? c->next(c) : c->prev(c)) == 0) {
        WT_ITEM v;

        must(c->get_value(c, &v));
        bench_touch(bytes, v.data, v.size);
        n++;
    }
    if (rc != WT_NOTFOUND)
        must(rc);
    must(c->reset(c));
    return n;
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    WT_CURSOR *c = ((struct session *)session)->cursor[family];
    WT_ITEM k = {.data = key.data, .size = key.size}, v;
    uint64_t n = 0;
    int order = 0, rc;

    c->set_key(c, &k);
    rc = c->search_near(c, &order);
    if (rc == 0 && order < 0)
        rc = c->next(c);
    for (; rc == 0; rc = c->next(c)) {
        if (n == 0) {
            must(c->get_key(c, &k));
            bench_check_seek("wiredtiger", key, k.data, k.size);
        }
        must(c->get_value(c, &v));
        bench_touch(bytes, v.data, v.size);
        if (n++ == nexts)
            break;
    }
    if (rc != WT_NOTFOUND)
        must(rc);
    must(c->reset(c));
    return n;
}

static void flush(void *db)
{
    struct store *store = db;
    WT_SESSION *wt;

    must(store->conn->open_session(store->conn, NULL, NULL, &wt));
    must(wt->checkpoint(wt, NULL));
    must(wt->close(wt, NULL));
}

const struct bench_engine bench_wiredtiger = {
    .name = "wiredtiger",
    .help = "WiredTiger, a B-tree with a log",
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
    .flush = flush,
};
