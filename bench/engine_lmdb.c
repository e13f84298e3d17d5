/* bench/engine_lmdb.c -- LMDB: a B-tree in a memory map, copied on write. No log, no merging, no cache of
 * its own, one writer. Readers keep their transaction and renew it for each operation, as its manual
 * advises. */
#include "bench/engine.h"

#include <lmdb.h>
#include <stdlib.h>

#define MAP_SIZE (sizeof(void *) > 4 ? (size_t)1 << 38 : (size_t)1 << 30)

struct store {
    MDB_env *env;
    MDB_dbi *family;
    uint32_t family_count;
};

struct session {
    struct store *store;
    MDB_txn *read;       /* reset between operations */
    MDB_cursor **cursor; /* of each family, made when first needed */
    MDB_txn *batch;      /* NULL: no batch begun */
};

static void must(int rc)
{
    if (rc != 0)
        bench_die("lmdb: %s", mdb_strerror(rc));
}

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    int major, minor, patch;

    (void)mdb_version(&major, &minor, &patch);
    (void)snprintf(text, cap, "LMDB %d.%d.%d", major, minor, patch);
    (void)snprintf(warning, warning_cap, "%s", "");
}

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    BENCH_SAY(durability, "%s",
              s->sync ? "fdatasync before the commit returns" : "MDB_NOSYNC: survives SIGKILL");
    BENCH_SAY(compression, "none: it has none");
    BENCH_SAY(cache, "none: the kernel's page cache, mapped; counts as its memory");
    BENCH_SAY(write_buffers, "none: writes go to the tree");
    BENCH_SAY(filter, "none: a B-tree");
    BENCH_SAY(block, "pages of the system");
    BENCH_SAY(threads, "none: one writer at a time does everything, no merges");
    BENCH_SAY(checksums, "none: it has none");
}

static void open_families(struct store *store, uint32_t count)
{
    MDB_txn *txn;

    store->family = bench_alloc(count * sizeof(MDB_dbi));
    store->family_count = count;
    must(mdb_txn_begin(store->env, NULL, 0, &txn));
    for (uint32_t i = 0; i < count; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "f%u", i);
        must(mdb_dbi_open(txn, name, MDB_CREATE, &store->family[i]));
    }
    must(mdb_txn_commit(txn));
}

static void *open_store(const struct bench_settings *s, const char *dir)
{
    struct store *store = bench_zalloc(sizeof *store);

    must(mdb_env_create(&store->env));
    must(mdb_env_set_mapsize(store->env, MAP_SIZE));
    must(mdb_env_set_maxdbs(store->env, (MDB_dbi)s->families + 1));
    must(mdb_env_set_maxreaders(store->env, 512));
    must(mdb_env_open(store->env, dir, MDB_NOTLS | MDB_NOMEMINIT | (s->sync ? 0 : MDB_NOSYNC),
                      0666));
    open_families(store, (uint32_t)s->families);
    return store;
}

static void close_store(void *db)
{
    struct store *store = db;

    mdb_env_close(store->env);
    free(store->family);
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_zalloc(sizeof *s);

    s->store = db;
    s->cursor = bench_zalloc(s->store->family_count * sizeof(MDB_cursor *));
    must(mdb_txn_begin(s->store->env, NULL, MDB_RDONLY, &s->read));
    mdb_txn_reset(s->read);
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    for (uint32_t i = 0; i < s->store->family_count; i++)
        if (s->cursor[i])
            mdb_cursor_close(s->cursor[i]);
    mdb_txn_abort(s->read);
    free(s->cursor);
    free(s);
}

static MDB_val val(odb_slice s)
{
    union { /* LMDB's keys are not const, and it does not write to them */
        const void *in;
        void *out;
    } data = {s.data};

    return (MDB_val){s.size, data.out};
}

static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;
    MDB_val k = val(key), v = val(value);
    MDB_txn *txn;

    must(mdb_txn_begin(s->store->env, NULL, 0, &txn));
    must(mdb_put(txn, s->store->family[family], &k, &v, 0));
    must(mdb_txn_commit(txn));
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    struct session *s = session;
    MDB_val k = val(key);
    MDB_txn *txn;
    int rc;

    must(mdb_txn_begin(s->store->env, NULL, 0, &txn));
    rc = mdb_del(txn, s->store->family[family], &k, NULL);
    if (rc != MDB_NOTFOUND)
        must(rc);
    must(mdb_txn_commit(txn));
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;
    MDB_val k = val(key), v = val(value);

    if (!s->batch)
        must(mdb_txn_begin(s->store->env, NULL, 0, &s->batch));
    must(mdb_put(s->batch, s->store->family[family], &k, &v, 0));
}

static void batch_commit(void *session)
{
    struct session *s = session;

    if (s->batch)
        must(mdb_txn_commit(s->batch));
    s->batch = NULL;
}

/* The read transaction must have been renewed. */
static bool get_here(struct session *s, uint32_t family, odb_slice key, uint64_t *bytes)
{
    MDB_val k = val(key), v;
    int rc = mdb_get(s->read, s->store->family[family], &k, &v);

    if (rc == MDB_NOTFOUND)
        return false;
    must(rc);
    bench_touch(bytes, v.mv_data, v.mv_size);
    return true;
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    struct session *s = session;
    bool found;

    must(mdb_txn_renew(s->read));
    found = get_here(s, family, key, bytes);
    mdb_txn_reset(s->read);
    return found;
}

static uint64_t multiget(void *session, uint32_t family, const odb_slice *keys, size_t n,
                         uint64_t *bytes)
{
    struct session *s = session;
    uint64_t found = 0;

    must(mdb_txn_renew(s->read));
    for (size_t i = 0; i < n; i++)
        found += get_here(s, family, keys[i], bytes);
    mdb_txn_reset(s->read);
    return found;
}

static MDB_cursor *begin_walk(struct session *s, uint32_t family)
{
    must(mdb_txn_renew(s->read));
    if (s->cursor[family])
        must(mdb_cursor_renew(s->read, s->cursor[family]));
    else
        must(mdb_cursor_open(s->read, s->store->family[family], &s->cursor[family]));
    return s->cursor[family];
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    struct session *s = session;
    MDB_cursor *c = begin_walk(s, family);
    MDB_val k, v;
    uint64_t n = 0;
    int rc = mdb_cursor_get(c, &k, &v, forward ? MDB_FIRST : MDB_LAST);

    for (; rc == 0 && n < limit; rc = mdb_cursor_get(c, &k, &v, forward ? MDB_NEXT : MDB_PREV)) {
        bench_touch(bytes, v.mv_data, v.mv_size);
        n++;
    }
    if (rc != MDB_NOTFOUND)
        must(rc);
    mdb_txn_reset(s->read);
    return n;
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    struct session *s = session;
    MDB_cursor *c = begin_walk(s, family);
    MDB_val k = val(key), v;
    uint64_t n = 0;
    int rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);

    for (; rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        if (n == 0)
            bench_check_seek("lmdb", key, k.mv_data, k.mv_size);
        bench_touch(bytes, v.mv_data, v.mv_size);
        if (n++ == nexts)
            break;
    }
    if (rc != MDB_NOTFOUND)
        must(rc);
    mdb_txn_reset(s->read);
    return n;
}

const struct bench_engine bench_lmdb = {
    .name = "lmdb",
    .help = "LMDB, a B-tree in a memory map",
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
    .multiget = multiget,
    .scan = scan,
    .seek = seek,
};
