/* bench/engine_sqlite.c -- SQLite: a B-tree of pages with a log before it (WAL), and the only peer here
 * that has tables, and so records and edges: those that a user would make, with the indexes that answer
 * the same questions. Statements are prepared once; every thread has a connection of its own.
 *
 * synchronous=NORMAL: a commit is in the file system's hands when the call returns (it survives SIGKILL);
 * the log is synced when it is copied into the tree. --sync asks for synchronous=FULL.
 */
#include "bench/engine.h"
#include "bench/models.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE_MS 60000 /* another connection may be writing */

/* ---- statements ---- */

/* Of each family: a table of keys and values. */
#define FAMILY_STATEMENTS(X)                                                                       \
    X(kv_put, "INSERT INTO kv%u VALUES(?1, ?2) ON CONFLICT(k) DO UPDATE SET v = ?2")               \
    X(kv_remove, "DELETE FROM kv%u WHERE k = ?1")                                                  \
    X(kv_get, "SELECT v FROM kv%u WHERE k = ?1")                                                   \
    X(kv_first, "SELECT k, v FROM kv%u ORDER BY k")                                                \
    X(kv_last, "SELECT k, v FROM kv%u ORDER BY k DESC")                                            \
    X(kv_seek, "SELECT k, v FROM kv%u WHERE k >= ?1 ORDER BY k")

#define STATEMENTS(X)                                                                              \
    X(begin, "BEGIN IMMEDIATE")                                                                    \
    X(commit, "COMMIT")                                                                            \
    X(record_put, "INSERT OR REPLACE INTO record VALUES(?, ?, ?, ?, ?, ?)")                        \
    X(record_get, "SELECT content, importance, time, category, version FROM record WHERE id = ?")  \
    X(link, "INSERT OR IGNORE INTO edge VALUES(?, ?, ?, 1.0, ?)")                                  \
    X(outgoing, "SELECT rel, dst, weight, time FROM edge WHERE src = ?")                           \
    X(incoming, "SELECT rel, src, weight, time FROM edge WHERE dst = ?")                           \
    X(walk, "WITH RECURSIVE w(id, d) AS (VALUES(?1, 0) UNION SELECT edge.dst, d + 1 FROM w "       \
            "JOIN edge ON edge.src = w.id WHERE d < ?2) SELECT COUNT(DISTINCT id) FROM w")         \
    X(vector_put, "INSERT OR REPLACE INTO vector VALUES(?, ?)")

enum family_statement {
#define FAMILY_STATEMENT_ENUM(name, sql) name,
    FAMILY_STATEMENTS(FAMILY_STATEMENT_ENUM)
#undef FAMILY_STATEMENT_ENUM
        FAMILY_STATEMENT_COUNT
};

enum statement {
#define STATEMENT_ENUM(name, sql) sql_##name,
    STATEMENTS(STATEMENT_ENUM)
#undef STATEMENT_ENUM
        STATEMENT_COUNT
};

static const char *const family_statement[] = {
#define FAMILY_STATEMENT_TEXT(name, sql) sql,
    FAMILY_STATEMENTS(FAMILY_STATEMENT_TEXT)
#undef FAMILY_STATEMENT_TEXT
};

static const char *const statement[] = {
#define STATEMENT_TEXT(name, sql) sql,
    STATEMENTS(STATEMENT_TEXT)
#undef STATEMENT_TEXT
};

static const char *const model_tables =
    "CREATE TABLE IF NOT EXISTS record(id TEXT PRIMARY KEY, content BLOB, importance REAL,"
    " time INTEGER, category TEXT, version INTEGER) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS record_time ON record(time);"
    "CREATE INDEX IF NOT EXISTS record_importance ON record(importance);"
    "CREATE TABLE IF NOT EXISTS edge(src TEXT, rel TEXT, dst TEXT, weight REAL, time INTEGER,"
    " PRIMARY KEY(src, rel, dst)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS edge_back ON edge(dst, rel, src);"
    "CREATE TABLE IF NOT EXISTS vector(id TEXT PRIMARY KEY, numbers BLOB);";

struct store {
    char path[BENCH_TEXT_MAX + 16];
    uint64_t cache_size;
    bool sync;
    uint32_t family_count;
    sqlite3 *upkeep; /* owned by the thread that opened the store */
};

struct session {
    struct store *store;
    sqlite3 *sql;
    bool in_batch;
    sqlite3_stmt *(*family)[FAMILY_STATEMENT_COUNT];
    sqlite3_stmt *stmt[STATEMENT_COUNT]; /* those of the models once there are tables for them */
};

static void must(sqlite3 *sql, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        bench_die("sqlite: %s", sql ? sqlite3_errmsg(sql) : sqlite3_errstr(rc));
}

static void run_sql(sqlite3 *sql, const char *text)
{
    must(sql, sqlite3_exec(sql, text, NULL, NULL, NULL));
}

static sqlite3_stmt *prepared(sqlite3 *sql, const char *text)
{
    sqlite3_stmt *s = NULL;

    must(sql, sqlite3_prepare_v3(sql, text, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL));
    return s;
}

static void bind_blob(sqlite3_stmt *s, int at, odb_slice v)
{
    if (v.size > INT_MAX)
        bench_die("sqlite: a value of %zu bytes", v.size);
    must(NULL, sqlite3_bind_blob(s, at, v.size ? v.data : "", (int)v.size, SQLITE_STATIC));
}

static void bind_text(sqlite3_stmt *s, int at, odb_slice v)
{
    must(NULL, sqlite3_bind_text(s, at, v.data, (int)v.size, SQLITE_STATIC));
}

/* For a statement without rows. */
static void finish(sqlite3_stmt *s)
{
    must(sqlite3_db_handle(s), sqlite3_step(s));
    must(sqlite3_db_handle(s), sqlite3_reset(s));
}

static bool next_row(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);

    if (rc == SQLITE_ROW)
        return true;
    must(sqlite3_db_handle(s), rc);
    return false;
}

/* ---- opening ---- */

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    (void)snprintf(text, cap, "SQLite %s", sqlite3_libversion());
    (void)snprintf(warning, warning_cap, "%s", "");
}

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    BENCH_SAY(durability, "%s",
              s->sync ? "WAL, synchronous=FULL: fsync before the commit returns"
                      : "WAL, synchronous=NORMAL: survives SIGKILL; fsync at each checkpoint");
    BENCH_SAY(compression, "none: it has none");
    BENCH_SAY(cache, "%.0f MiB of pages a connection, and the file mapped",
              (double)s->cache_size / 1048576);
    BENCH_SAY(write_buffers, "none: writes go to the log and the tree");
    BENCH_SAY(filter, "none: a B-tree");
    BENCH_SAY(block, "pages of 4096 bytes");
    BENCH_SAY(threads, "none: one writer at a time does everything, no merges");
    BENCH_SAY(checksums, "of the log only");
}

static sqlite3 *connect_to(const struct store *store)
{
    sqlite3 *sql = NULL;
    char pragma[256];

    must(sql, sqlite3_open(store->path, &sql));
    must(sql, sqlite3_busy_timeout(sql, PATIENCE_MS));
    (void)snprintf(pragma, sizeof pragma,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = %s; PRAGMA cache_size = -%llu;"
                   "PRAGMA mmap_size = 1073741824;",
                   store->sync ? "FULL" : "NORMAL", (unsigned long long)store->cache_size >> 10);
    run_sql(sql, pragma);
    return sql;
}

static void *open_store(const struct bench_settings *s, const char *dir)
{
    struct store *store = bench_zalloc(sizeof *store);

    (void)snprintf(store->path, sizeof store->path, "%s/sqlite.db", dir);
    store->cache_size = s->cache_size;
    store->sync = s->sync;
    store->family_count = (uint32_t)s->families;
    store->upkeep = connect_to(store);
    for (uint32_t i = 0; i < store->family_count; i++) {
        char text[128];

        (void)snprintf(text, sizeof text,
                       "CREATE TABLE IF NOT EXISTS kv%u(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID",
                       i);
        run_sql(store->upkeep, text);
    }
    return store;
}

static void close_store(void *db)
{
    struct store *store = db;

    must(store->upkeep, sqlite3_close(store->upkeep));
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_zalloc(sizeof *s);

    s->store = db;
    s->sql = connect_to(s->store);
    s->family = bench_alloc(s->store->family_count * sizeof *s->family);
    for (uint32_t i = 0; i < s->store->family_count; i++)
        for (int k = 0; k < FAMILY_STATEMENT_COUNT; k++) {
            char text[160];

            (void)snprintf(text, sizeof text, family_statement[k], i);
            s->family[i][k] = prepared(s->sql, text);
        }
    s->stmt[sql_begin] = prepared(s->sql, statement[sql_begin]);
    s->stmt[sql_commit] = prepared(s->sql, statement[sql_commit]);
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    for (uint32_t i = 0; i < s->store->family_count; i++)
        for (int k = 0; k < FAMILY_STATEMENT_COUNT; k++)
            (void)sqlite3_finalize(s->family[i][k]);
    for (int k = 0; k < STATEMENT_COUNT; k++)
        (void)sqlite3_finalize(s->stmt[k]); /* NULL is fine */
    free(s->family);
    must(s->sql, sqlite3_close(s->sql));
    free(s);
}

/* ---- keys and values ---- */

static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    sqlite3_stmt *s = ((struct session *)session)->family[family][kv_put];

    bind_blob(s, 1, key);
    bind_blob(s, 2, value);
    finish(s);
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    sqlite3_stmt *s = ((struct session *)session)->family[family][kv_remove];

    bind_blob(s, 1, key);
    finish(s);
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;

    if (!s->in_batch)
        finish(s->stmt[sql_begin]);
    s->in_batch = true;
    put(session, family, key, value);
}

static void batch_commit(void *session)
{
    struct session *s = session;

    if (s->in_batch)
        finish(s->stmt[sql_commit]);
    s->in_batch = false;
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    sqlite3_stmt *s = ((struct session *)session)->family[family][kv_get];
    bool found;

    bind_blob(s, 1, key);
    found = next_row(s);
    if (found)
        bench_touch(bytes, sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
    must(NULL, sqlite3_reset(s));
    return found;
}

/* It waits for the right to write before it reads: never refused. */
static bool transact(void *session, uint32_t family, const odb_slice *keys, size_t n,
                     odb_slice value, bool reads, bool locks, uint64_t *bytes)
{
    struct session *s = session;

    (void)locks;
    finish(s->stmt[sql_begin]);
    for (size_t i = 0; i < n; i++) {
        if (reads)
            (void)get(session, family, keys[i], bytes);
        put(session, family, keys[i], value);
    }
    finish(s->stmt[sql_commit]);
    return true;
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    sqlite3_stmt *s = ((struct session *)session)->family[family][forward ? kv_first : kv_last];
    uint64_t n = 0;

    for (; n < limit && next_row(s); n++)
        bench_touch(bytes, sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1));
    must(NULL, sqlite3_reset(s));
    return n;
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    sqlite3_stmt *s = ((struct session *)session)->family[family][kv_seek];
    uint64_t n = 0;

    bind_blob(s, 1, key);
    while (n <= nexts && next_row(s)) {
        if (n == 0)
            bench_check_seek("sqlite", key, sqlite3_column_blob(s, 0),
                             (size_t)sqlite3_column_bytes(s, 0));
        bench_touch(bytes, sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1));
        n++;
    }
    must(NULL, sqlite3_reset(s));
    return n;
}

static void flush(void *db)
{
    run_sql(((struct store *)db)->upkeep, "PRAGMA wal_checkpoint(TRUNCATE)");
}

/* ---- records, edges, vectors ---- */

static void ready(void *session)
{
    run_sql(((struct session *)session)->sql, model_tables);
}

/* A statement of the models: their tables exist by now, which they did not when the session began. */
static sqlite3_stmt *model(void *session, enum statement which)
{
    struct session *s = session;

    if (!s->stmt[which])
        s->stmt[which] = prepared(s->sql, statement[which]);
    return s->stmt[which];
}

static void record_put(void *session, const struct bench_record *r)
{
    sqlite3_stmt *s = model(session, sql_record_put);

    bind_text(s, 1, r->id);
    bind_blob(s, 2, r->content);
    must(NULL, sqlite3_bind_double(s, 3, r->importance));
    must(NULL, sqlite3_bind_int64(s, 4, r->time_us));
    bind_text(s, 5, odb_s(r->category));
    must(NULL, sqlite3_bind_int64(s, 6, r->version));
    finish(s);
}

static bool record_get(void *session, odb_slice id, uint64_t *bytes)
{
    sqlite3_stmt *s = model(session, sql_record_get);
    bool found;

    bind_text(s, 1, id);
    found = next_row(s);
    if (found) {
        bench_touch(bytes, sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
        if (!sqlite3_column_text(s, 3) || sqlite3_column_double(s, 1) < 0)
            bench_die("sqlite: a record without its category");
    }
    must(NULL, sqlite3_reset(s));
    return found;
}

static void link_nodes(void *session, odb_slice from, odb_slice rel, odb_slice to)
{
    sqlite3_stmt *s = model(session, sql_link);
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    bind_text(s, 1, from);
    bind_text(s, 2, rel);
    bind_text(s, 3, to);
    must(NULL, sqlite3_bind_int64(s, 4, (sqlite3_int64)now.tv_sec * 1000000 + now.tv_nsec / 1000));
    finish(s);
}

static uint64_t edges(void *session, odb_slice node, bool incoming, uint64_t *bytes)
{
    sqlite3_stmt *s = model(session, incoming ? sql_incoming : sql_outgoing);
    uint64_t n = 0;

    bind_text(s, 1, node);
    for (; next_row(s); n++) {
        if (!sqlite3_column_text(s, 0) || !sqlite3_column_text(s, 1) ||
            sqlite3_column_double(s, 2) < 0 || sqlite3_column_int64(s, 3) < 0)
            bench_die("sqlite: half an edge");
        *bytes += (uint64_t)sqlite3_column_bytes(s, 1);
    }
    must(NULL, sqlite3_reset(s));
    return n;
}

static uint64_t walk(void *session, odb_slice node, uint32_t depth)
{
    sqlite3_stmt *s = model(session, sql_walk);
    uint64_t count;

    bind_text(s, 1, node);
    must(NULL, sqlite3_bind_int64(s, 2, depth));
    if (!next_row(s))
        bench_die("sqlite: a walk without an answer");
    count = (uint64_t)sqlite3_column_int64(s, 0);
    must(NULL, sqlite3_reset(s));
    return count;
}

/* Vectors are bytes to it: it can keep them, and that is all. */
static bool vectors(void *session, uint32_t dim, bool graph)
{
    (void)session;
    (void)dim;
    return !graph;
}

static void memory_put(void *session, const struct bench_record *r, const float *v, uint32_t dim)
{
    struct session *s = session;
    sqlite3_stmt *vector = model(session, sql_vector_put);

    finish(s->stmt[sql_begin]);
    record_put(session, r);
    bind_text(vector, 1, r->id);
    bind_blob(vector, 2, odb_bytes(v, dim * sizeof *v));
    finish(vector);
    finish(s->stmt[sql_commit]);
}

static const struct bench_models models = {
    .ready = ready,
    .record_put = record_put,
    .record_get = record_get,
    .link = link_nodes,
    .edges = edges,
    .walk = walk,
    .vectors = vectors,
    .memory_put = memory_put,
};

const struct bench_engine bench_sqlite = {
    .name = "sqlite",
    .help = "SQLite, tables in a B-tree with a log",
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
    .transact = transact,
    .get = get,
    .scan = scan,
    .seek = seek,
    .flush = flush,
    .models = &models,
};
