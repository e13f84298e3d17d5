/* How fast edges are made and followed, beside SQLite in the same run: a table of edges with the obvious
 * key and index, WAL, synchronous=NORMAL, one commit for each link, statements prepared once.
 *
 *     bench_graph [NODES]          run by hand, on a quiet machine, from a release build
 *
 * Rounds of both engines alternate; the figure is the median of the rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/opendb.h"

#ifdef BENCH_SQLITE
#include <sqlite3.h>
#endif

#define ROUNDS 5
#define DEGREE 10

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
    void (*link)(const char *from, const char *rel, const char *to);
    uint64_t (*outgoing)(const char *from);
    uint64_t (*incoming)(const char *to);
    uint64_t (*walk)(const char *from, int depth); /* nodes within */
};

static odb_db *db;

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
static sqlite3_stmt *sql_insert, *sql_out, *sql_in, *sql_walk;

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
                     "CREATE INDEX e_back ON e(dst, rel, src);",
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
                                -1, &sql_walk, NULL) == SQLITE_OK,
         "sqlite statements");
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
    {"opendb", odb_link_one, odb_out, odb_inc, odb_bfs},
#ifdef BENCH_SQLITE
    {"sqlite", sql_link, sql_outgoing, sql_incoming, sql_bfs},
#endif
};
#define ENGINES (sizeof engines / sizeof engines[0])

/* ---- workloads: microseconds for each operation ---- */

static uint64_t nodes = 20000;
static uint64_t checksum[2];

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

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void run(const char *name, double (*work)(const struct engine *e, int round, size_t which),
                int rounds)
{
    double us[2][ROUNDS], median[2] = {0, 0};

    for (int r = 0; r < rounds; r++)
        for (size_t i = 0; i < ENGINES; i++)
            us[i][r] = work(&engines[i], r, i);
    printf("%-22s", name);
    for (size_t i = 0; i < ENGINES; i++) {
        qsort(us[i], (size_t)rounds, sizeof us[i][0], by_value);
        median[i] = us[i][rounds / 2];
        printf("  %s %9.2f us", engines[i].name, median[i]);
    }
    if (ENGINES > 1)
        printf("   %.1f x%s", median[1] / median[0],
               checksum[0] == checksum[1] ? "" : "  THE ENGINES DISAGREE");
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char dir[64] = "/tmp/opendb-bench-XXXXXX", command[100];

    if (argc > 1)
        nodes = strtoull(argv[1], NULL, 10);
    must(mkdtemp(dir) != NULL, "a directory");
    (void)snprintf(command, sizeof command, "%s/graph", dir);
    must(odb_open(command, NULL, &db) == ODB_OK, "open");
#ifdef BENCH_SQLITE
    sql_open(dir);
#endif
    run("link, ring", run_ring, ROUNDS);
    run("link, hub", run_hub, ROUNDS);
    run("link, random", run_fill, 1);
    run("outgoing of 100", run_stars, ROUNDS);
    run("outgoing, incoming 10", run_small, ROUNDS);
    run("walk, 3 hops", run_walks, ROUNDS);
    must(odb_flush(db, NULL) == ODB_OK, "flush");
    must(odb_compact(db, NULL, NULL, NULL, NULL) == ODB_OK, "compact");
    printf("with all of it in tables\n");
    run("outgoing of 100", run_stars, ROUNDS);
    run("outgoing, incoming 10", run_small, ROUNDS);
    run("walk, 3 hops", run_walks, ROUNDS);
    must(odb_close(db) == ODB_OK, "close");
#ifdef BENCH_SQLITE
    sqlite3_finalize(sql_insert);
    sqlite3_finalize(sql_out);
    sqlite3_finalize(sql_in);
    sqlite3_finalize(sql_walk);
    sqlite3_close(sql);
#endif
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0;
}
