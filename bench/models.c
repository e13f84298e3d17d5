/* bench/models.c -- odb-bench-models: records and edges through the public calls, beside SQLite in the same
 * run: tables with the obvious keys and indexes, WAL, synchronous=NORMAL, one commit for each write,
 * statements prepared once. Neither syncs a commit, both survive the death of the process.
 *
 *     odb-bench-models [NODES]     run by hand, on a quiet machine, from a release build
 *
 * Rounds of both engines alternate; the ratio is the median over the pairs, with the lowest and the highest.
 * The last column is what the original OpenDB publishes of itself (hardware not named), as a floor.
 */
#include <opendb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench/verdict.h"

#ifdef BENCH_SQLITE
#include <sqlite3.h>
#endif

#define ROUNDS  7
#define DEGREE  10
#define DIM     384
#define CONTENT 300 /* bytes of a record's content */

static uint64_t dice = 88172645463325252u;

static uint64_t roll(uint64_t sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (dice >> 11) % sides;
}

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, odb_error_text());
        exit(1);
    }
}

static void node_name(char *room, uint64_t n)
{
    (void)snprintf(room, 32, "node%08llu", (unsigned long long)n);
}

/* ---- engines ---- */

struct engine {
    const char *name;
    void (*record_put)(const char *id, uint64_t number); /* new or in place of another */
    uint64_t (*record_get)(const char *id);              /* bytes of its content */
    void (*link)(const char *from, const char *rel, const char *to);
    uint64_t (*outgoing)(const char *from);
    uint64_t (*incoming)(const char *to);
    uint64_t (*walk)(const char *from, int depth); /* nodes within */
};

static odb_db *db;

/* What a record says: the same for both engines. */
struct facts {
    char content[CONTENT], category[16];
    double importance;
    int64_t time_us, version;
};

static void invent(struct facts *f, uint64_t number)
{
    uint64_t kept = dice;

    dice = number * 2654435761u + 12345;
    for (size_t i = 0; i < sizeof f->content; i++)
        f->content[i] =
            (char)(i % 2 ? ' ' + (int)roll(64) : 'e'); /* half of it can be compressed */
    (void)snprintf(f->category, sizeof f->category, "category%llu",
                   (unsigned long long)(number % 10));
    f->importance = (double)roll(1000) / 1000;
    f->time_us = 1700000000000000 + (int64_t)number * 1000;
    f->version = (int64_t)(number % 7);
    dice = kept;
}

static void odb_record_put_one(const char *id, uint64_t number)
{
    odb_record_draft d;
    odb_prop props[2];
    struct facts f;

    invent(&f, number);
    props[0] = odb_prop_text("category", f.category);
    props[1] = odb_prop_int("version", f.version);
    d = odb_record_make_bytes(odb_s(id), odb_bytes(f.content, sizeof f.content));
    d.importance = (float)f.importance;
    d.timestamp = f.time_us;
    d.props = props;
    d.prop_count = 2;
    must(odb_record_put(db, NULL, &d, 0) == ODB_OK, "put");
}

static uint64_t odb_record_get_one(const char *id)
{
    odb_prop_value v;
    odb_record *r;
    uint64_t bytes;

    must(odb_record_get(odb_now(db), odb_s(id), &r) == ODB_OK, "get");
    bytes = odb_record_content(r).size;
    must(odb_record_prop(r, odb_s("category"), &v) && odb_record_importance(r) >= 0, "property");
    odb_record_free(r);
    return bytes;
}

static void odb_link_one(const char *from, const char *rel, const char *to)
{
    must(odb_link(db, NULL, odb_s(from), odb_s(rel), odb_s(to)) == ODB_OK, "link");
}

static uint64_t odb_list(bool is_in, const char *node)
{
    odb_edge_list list;
    odb_status st = is_in ? odb_incoming(odb_now(db), odb_s(node), &list)
                          : odb_outgoing(odb_now(db), odb_s(node), &list);
    uint64_t count = list.count;

    must(st == ODB_OK, "list");
    odb_edge_list_release(&list);
    return count;
}

static uint64_t odb_out(const char *from)
{
    return odb_list(false, from);
}

static uint64_t odb_inc(const char *to)
{
    return odb_list(true, to);
}

static uint64_t odb_bfs(const char *from, int depth)
{
    odb_walk walk = {.size = sizeof walk, .max_depth = (uint32_t)depth};
    odb_slice start = odb_s(from);
    odb_nodeset *set = NULL;
    uint64_t count;

    must(odb_walk_bfs(odb_now(db), &start, 1, &walk, &set) == ODB_OK, "walk");
    count = odb_nodeset_count(set);
    odb_nodeset_free(set);
    return count;
}

#ifdef BENCH_SQLITE
static sqlite3 *sql;
static sqlite3_stmt *sql_insert, *sql_out, *sql_in, *sql_walk, *sql_put, *sql_get;

static void sql_open(const char *dir)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/edges.sqlite", dir);
    must(sqlite3_open(path, &sql) == SQLITE_OK, "sqlite");
    must(
        sqlite3_exec(sql,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536;"
                     "PRAGMA mmap_size=1073741824;"
                     "CREATE TABLE e(src TEXT, rel TEXT, dst TEXT, weight REAL, ts INTEGER,"
                     " PRIMARY KEY(src, rel, dst)) WITHOUT ROWID;"
                     "CREATE INDEX e_back ON e(dst, rel, src);"
                     "CREATE TABLE r(id TEXT PRIMARY KEY, content TEXT, importance REAL,"
                     " ts INTEGER, category TEXT, version INTEGER) WITHOUT ROWID;"
                     "CREATE INDEX r_time ON r(ts);"
                     "CREATE INDEX r_importance ON r(importance);",
                     NULL, NULL, NULL) == SQLITE_OK,
        "sqlite schema");
    must(sqlite3_prepare_v2(sql, "INSERT OR IGNORE INTO e VALUES(?,?,?,1.0,?)", -1, &sql_insert,
                            NULL) == SQLITE_OK &&
             sqlite3_prepare_v2(sql, "SELECT rel, dst, weight, ts FROM e WHERE src=?", -1, &sql_out,
                                NULL) == SQLITE_OK &&
             sqlite3_prepare_v2(sql, "SELECT rel, src, weight, ts FROM e WHERE dst=?", -1, &sql_in,
                                NULL) == SQLITE_OK &&
             sqlite3_prepare_v2(sql,
                                "WITH RECURSIVE w(id, d) AS (VALUES(?1, 0) UNION SELECT e.dst, d+1 "
                                "FROM w JOIN e ON e.src=w.id WHERE d<?2) "
                                "SELECT COUNT(DISTINCT id) FROM w",
                                -1, &sql_walk, NULL) == SQLITE_OK &&
             sqlite3_prepare_v2(sql, "INSERT OR REPLACE INTO r VALUES(?,?,?,?,?,?)", -1, &sql_put,
                                NULL) == SQLITE_OK &&
             sqlite3_prepare_v2(sql,
                                "SELECT content, importance, ts, category, version FROM r "
                                "WHERE id=?",
                                -1, &sql_get, NULL) == SQLITE_OK,
         "sqlite statements");
}

static void sql_record_put(const char *id, uint64_t number)
{
    struct facts f;

    invent(&f, number);
    sqlite3_bind_text(sql_put, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(sql_put, 2, f.content, sizeof f.content, SQLITE_STATIC);
    sqlite3_bind_double(sql_put, 3, f.importance);
    sqlite3_bind_int64(sql_put, 4, f.time_us);
    sqlite3_bind_text(sql_put, 5, f.category, -1, SQLITE_STATIC);
    sqlite3_bind_int64(sql_put, 6, f.version);
    must(sqlite3_step(sql_put) == SQLITE_DONE, "sqlite put");
    sqlite3_reset(sql_put);
}

static uint64_t sql_record_get(const char *id)
{
    uint64_t bytes;

    sqlite3_bind_text(sql_get, 1, id, -1, SQLITE_STATIC);
    must(sqlite3_step(sql_get) == SQLITE_ROW, "sqlite get");
    (void)sqlite3_column_text(sql_get, 0);
    bytes = (uint64_t)sqlite3_column_bytes(sql_get, 0);
    must(sqlite3_column_double(sql_get, 1) >= 0 && sqlite3_column_text(sql_get, 3) != NULL,
         "sqlite columns");
    sqlite3_reset(sql_get);
    return bytes;
}

static void sql_link(const char *from, const char *rel, const char *to)
{
    sqlite3_bind_text(sql_insert, 1, from, -1, SQLITE_STATIC);
    sqlite3_bind_text(sql_insert, 2, rel, -1, SQLITE_STATIC);
    sqlite3_bind_text(sql_insert, 3, to, -1, SQLITE_STATIC);
    sqlite3_bind_int64(sql_insert, 4, (sqlite3_int64)now_us());
    must(sqlite3_step(sql_insert) == SQLITE_DONE, "sqlite insert");
    sqlite3_reset(sql_insert);
}

static uint64_t sql_list(sqlite3_stmt *s, const char *node)
{
    uint64_t count = 0;
    size_t bytes = 0;

    sqlite3_bind_text(s, 1, node, -1, SQLITE_STATIC);
    while (sqlite3_step(s) == SQLITE_ROW) {
        (void)sqlite3_column_text(s, 0);
        (void)sqlite3_column_text(s, 1);
        bytes += (size_t)sqlite3_column_bytes(s, 1);
        (void)sqlite3_column_double(s, 2);
        (void)sqlite3_column_int64(s, 3);
        count++;
    }
    sqlite3_reset(s);
    return bytes ? count : 0;
}

static uint64_t sql_outgoing(const char *from)
{
    return sql_list(sql_out, from);
}

static uint64_t sql_incoming(const char *to)
{
    return sql_list(sql_in, to);
}

static uint64_t sql_bfs(const char *from, int depth)
{
    uint64_t count;

    sqlite3_bind_text(sql_walk, 1, from, -1, SQLITE_STATIC);
    sqlite3_bind_int(sql_walk, 2, depth);
    must(sqlite3_step(sql_walk) == SQLITE_ROW, "sqlite walk");
    count = (uint64_t)sqlite3_column_int64(sql_walk, 0);
    sqlite3_reset(sql_walk);
    return count;
}
#endif

static const struct engine engines[] = {
    {"opendb", odb_record_put_one, odb_record_get_one, odb_link_one, odb_out, odb_inc, odb_bfs},
#ifdef BENCH_SQLITE
    {"sqlite", sql_record_put, sql_record_get, sql_link, sql_outgoing, sql_incoming, sql_bfs},
#endif
};
#define ENGINES (sizeof engines / sizeof engines[0])

/* ---- workloads: microseconds for each operation ---- */

static uint64_t nodes = 20000;
static uint64_t checksum[2];

static void record_name(char *room, uint64_t n)
{
    (void)snprintf(room, 32, "user_%03llu/note_%07llu", (unsigned long long)(n % 500),
                   (unsigned long long)n);
}

static double run_put(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char id[32];

    for (uint64_t i = 0; i < nodes; i++) {
        uint64_t n = i * 7919 % nodes + (uint64_t)round * nodes;

        record_name(id, n);
        e->record_put(id, n);
    }
    checksum[which] += nodes;
    return (now_us() - start) / (double)nodes;
}

static double run_replace(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char id[32];

    dice = 31337 + (uint64_t)round;
    for (uint64_t i = 0; i < nodes; i++) {
        record_name(id, roll(nodes * ROUNDS));
        e->record_put(id, i + (uint64_t)round);
    }
    checksum[which] += nodes;
    return (now_us() - start) / (double)nodes;
}

static double run_get(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char id[32];

    dice = 4711 + (uint64_t)round;
    for (uint64_t i = 0; i < nodes; i++) {
        record_name(id, roll(nodes * ROUNDS));
        checksum[which] += e->record_get(id);
    }
    return (now_us() - start) / (double)nodes;
}

static double run_ring(const struct engine *e, int round, size_t which)
{
    uint64_t n = nodes / 4;
    double start = now_us();
    char a[32], b[32], rel[16];

    (void)snprintf(rel, sizeof rel, "ring%d", round);
    for (uint64_t i = 0; i < n; i++) {
        node_name(a, i);
        node_name(b, (i + 1) % n);
        e->link(a, rel, b);
    }
    checksum[which] += n;
    return (now_us() - start) / (double)n;
}

static double run_hub(const struct engine *e, int round, size_t which)
{
    uint64_t n = nodes / 4;
    double start = now_us();
    char b[32];

    for (uint64_t i = 0; i < n; i++) {
        (void)snprintf(b, sizeof b, "leaf%d-%07llu", round, (unsigned long long)((i * 7919) % n));
        e->link("hub", "has", b);
    }
    checksum[which] += n;
    return (now_us() - start) / (double)n;
}

/* `nodes` nodes with ten random edges each, and stars of a hundred. */
static double run_fill(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char a[32], b[32];
    uint64_t n = 0;

    if (round)
        return 0;
    dice = 88172645463325252u;
    for (uint64_t i = 0; i < nodes; i++)
        for (int k = 0; k < DEGREE; k++, n++) {
            node_name(a, i);
            node_name(b, roll(nodes));
            e->link(a, "depends_on", b);
        }
    for (int star = 0; star < 200; star++)
        for (int k = 0; k < 100; k++, n++) {
            (void)snprintf(a, sizeof a, "star%d", star);
            node_name(b, roll(nodes));
            e->link(a, "shines_on", b);
        }
    checksum[which] += n;
    return (now_us() - start) / (double)n;
}

static double run_stars(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char a[32];

    (void)round;
    for (int i = 0; i < 4000; i++) {
        (void)snprintf(a, sizeof a, "star%d", (i * 37) % 200);
        checksum[which] += e->outgoing(a);
    }
    return (now_us() - start) / 4000;
}

static double run_small(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char a[32];

    dice = 1234567 + (uint64_t)round;
    for (int i = 0; i < 20000; i++) {
        node_name(a, roll(nodes));
        checksum[which] += e->outgoing(a) + e->incoming(a);
    }
    return (now_us() - start) / 40000;
}

static double run_walks(const struct engine *e, int round, size_t which)
{
    double start = now_us();
    char a[32];

    dice = 987654321 + (uint64_t)round;
    for (int i = 0; i < 60; i++) {
        node_name(a, roll(nodes));
        checksum[which] += e->walk(a, 3);
    }
    return (now_us() - start) / 60;
}

static void run(const char *name, double (*work)(const struct engine *e, int round, size_t which),
                int rounds, const char *original)
{
    double us[2][ROUNDS], ratio[ROUNDS];
    struct bench_verdict v;

    for (int r = 0; r < rounds; r++)
        for (size_t i = 0; i < ENGINES; i++)
            us[i][r] = work(&engines[i], r, i);
    for (int r = 0; r < rounds; r++)
        ratio[r] = ENGINES > 1 ? us[1][r] / us[0][r] : 1;
    printf("%-24s", name);
    for (size_t i = 0; i < ENGINES; i++)
        printf("  %s %9.2f us", engines[i].name, bench_median(us[i], (size_t)rounds));
    bench_judge(ratio, (size_t)rounds, &v);
    if (ENGINES > 1)
        printf("   %5.2f x (%.2f to %.2f)%s%s", v.median, v.low, v.high,
               v.winner == BENCH_OPEN ? " open" : "",
               checksum[0] == checksum[1] ? "" : "  THE ENGINES DISAGREE");
    printf("%s%s\n", original[0] ? "   original: " : "", original);
    fflush(stdout);
}

/* ---- memories, which SQLite has no counterpart to ---- */

/* In a database of its own; `mode` says whether a graph is built behind the writer. */
static void run_memories(const char *dir, const char *name, odb_vec_mode mode)
{
    odb_vec_config config = {.size = sizeof config, .dim = DIM, .mode = mode};
    odb_db *apart = NULL;
    float e[DIM];
    char id[32], path[100];
    double start;
    uint64_t n = nodes / 4;

    (void)snprintf(path, sizeof path, "%s/memories%d", dir, (int)mode);
    must(odb_open(path, NULL, &apart) == ODB_OK, "open");
    must(odb_vec_open(apart, &config) == ODB_OK, "vectors");
    start = now_us();
    for (uint64_t i = 0; i < n; i++) {
        odb_memory m = odb_memory_make("", "The user prefers dark mode for coding");

        (void)snprintf(id, sizeof id, "memory_%07llu", (unsigned long long)i);
        for (size_t k = 0; k < DIM; k++)
            e[k] = (float)roll(1000) / 1000;
        m.id = odb_s(id);
        m.embedding = e;
        m.dim = DIM;
        must(odb_memory_put(apart, NULL, &m, 0) == ODB_OK, "memory");
    }
    printf("%-24s  opendb %9.2f us   original, which has no graph: 25.5 us\n", name,
           (now_us() - start) / (double)n);
    must(odb_close(apart) == ODB_OK, "close");
}

static void run_commits(void)
{
    double start;

    start = now_us();
    for (int i = 0; i < 1000; i++) {
        odb_txn *t;

        must(odb_txn_begin(db, NULL, &t) == ODB_OK, "begin");
        must(odb_txn_put(t, NULL, odb_s("a"), odb_s("1")) == ODB_OK, "put");
        must(odb_txn_put(t, NULL, odb_s("b"), odb_s("2")) == ODB_OK, "put");
        must(odb_txn_commit(t, NULL) == ODB_OK, "commit");
        odb_txn_free(t);
    }
    printf("%-24s  opendb %9.2f us   original: 7.75 us\n", "transaction of 2 puts",
           (now_us() - start) / 1000);
}

static void run_reads(const char *what)
{
    printf("%s\n", what);
    run("record, get", run_get, ROUNDS, "");
    run("outgoing of 100", run_stars, ROUNDS, "14.6 us");
    run("outgoing, incoming of 10", run_small, ROUNDS, "");
    run("walk, 3 hops", run_walks, ROUNDS, "");
}

int main(int argc, char **argv)
{
    char dir[64] = "/tmp/opendb-bench-XXXXXX", command[100];

    if (argc > 1)
        nodes = strtoull(argv[1], NULL, 10);
    if (nodes < 100 || nodes > 10000000) {
        fprintf(stderr, "usage: odb-bench-models [NODES]     100 to 10000000, default 20000\n");
        return 2;
    }
    must(mkdtemp(dir) != NULL, "a directory");
    (void)snprintf(command, sizeof command, "%s/models", dir);
    must(odb_open(command, NULL, &db) == ODB_OK, "open");
#ifdef BENCH_SQLITE
    sql_open(dir);
#endif
    run("record, put new", run_put, ROUNDS, "");
    run("record, replace", run_replace, ROUNDS, "");
    run("link, ring", run_ring, ROUNDS, "18.5 us");
    run("link, hub", run_hub, ROUNDS, "");
    run("link, random", run_fill, 1, "");
    run_memories(dir, "memory, 384 numbers", ODB_VEC_EXACT);
    run_memories(dir, "the same, and a graph", ODB_VEC_ASYNC);
    run_commits();
    run_reads("as they lie after writing");
    must(odb_flush(db, NULL) == ODB_OK, "flush");
    must(odb_compact(db, NULL, NULL, NULL, NULL) == ODB_OK, "compact");
    run_reads("with all of it in tables");
    must(odb_close(db) == ODB_OK, "close");
#ifdef BENCH_SQLITE
    sqlite3_finalize(sql_insert);
    sqlite3_finalize(sql_out);
    sqlite3_finalize(sql_in);
    sqlite3_finalize(sql_walk);
    sqlite3_finalize(sql_put);
    sqlite3_finalize(sql_get);
    sqlite3_close(sql);
#endif
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0;
}
