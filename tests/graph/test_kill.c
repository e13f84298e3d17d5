/* A process that links and unlinks is killed at a random moment, again and again, in one database. After
 * each death the graph is exactly what it was after the last acknowledged operation, or after the one that
 * was under way, and no edge has one side only (W2).
 *
 * ODB_TEST_KILLS=N kills more often; the seed is printed, ODB_TEST_SEED=N runs it again.
 */
#include "tests/api/victim.h"

#define NODES 14
#define RELS  3

struct world {
    bool edge[NODES][RELS][NODES];
};

struct life {
    const char *dir;
    struct world now;
    uint64_t dice;
    uint64_t op; /* the next one */
};

static uint64_t roll(struct life *l, uint64_t sides)
{
    l->dice ^= l->dice << 13;
    l->dice ^= l->dice >> 7;
    l->dice ^= l->dice << 17;
    return (l->dice >> 11) % sides;
}

static odb_slice name(char *room, char kind, size_t n)
{
    (void)snprintf(room, 16, "%c%zu", kind, n);
    return odb_s(room);
}

/* The next operation of a life, on the world and, unless `db` is NULL, on the database. */
static odb_status live_on(struct life *l, odb_db *db)
{
    size_t from = roll(l, NODES), rel = roll(l, RELS), to = roll(l, NODES), kind = roll(l, 12);
    char a[16], r[16], b[16];
    odb_slice from_id = name(a, 'n', from), rel_id = name(r, 'r', rel), to_id = name(b, 'n', to);
    odb_edge e = odb_edge_of(from_id, rel_id, to_id);
    bool(*edge)[RELS][NODES] = l->now.edge;

    l->op++;
    if (kind == 0) {
        for (size_t i = 0; i < NODES; i++)
            for (size_t k = 0; k < RELS; k++)
                edge[from][k][i] = edge[i][k][from] = false;
        return db ? odb_unlink_node(db, NULL, from_id, NULL, NULL) : ODB_OK;
    }
    if (kind < 4) {
        edge[from][rel][to] = false;
        return db ? odb_unlink(db, NULL, from_id, rel_id, to_id) : ODB_OK;
    }
    edge[from][rel][to] = true;
    if (kind < 7) {
        edge[to][rel][from] = true;
        return db ? odb_link_edge(db, NULL, &e, NULL, 0, ODB_LINK_UPSERT | ODB_LINK_BOTH_WAYS)
                  : ODB_OK;
    }
    return db ? odb_link(db, NULL, from_id, rel_id, to_id) : ODB_OK;
}

static odb_status live_for_ever(struct victim *v, void *life)
{
    struct life *l = life;
    odb_options o = fixture_options();
    odb_db *db = NULL;
    odb_status st = odb_open(l->dir, &o, &db);

    while (st == ODB_OK && (st = live_on(l, db)) == ODB_OK)
        victim_ack(v, l->op);
    return st;
}

static bool is_world(odb_db *db, const struct world *w)
{
    for (size_t from = 0; from < NODES; from++) {
        odb_edge_list list;
        char a[16], r[16], b[16];
        size_t count = 0;

        assert_ok(odb_outgoing(odb_now(db), name(a, 'n', from), &list));
        for (size_t rel = 0; rel < RELS; rel++)
            for (size_t to = 0; to < NODES; to++) {
                odb_status st = odb_edge_exists(odb_now(db), name(a, 'n', from), name(r, 'r', rel),
                                                name(b, 'n', to));

                if ((st == ODB_OK) != w->edge[from][rel][to]) {
                    odb_edge_list_release(&list);
                    return false;
                }
                count += st == ODB_OK;
            }
        assert_int_equal(count, list.count);
        odb_edge_list_release(&list);
    }
    return true;
}

static void no_death_leaves_a_one_sided_edge(void **state)
{
    uint64_t count = number_of(getenv("ODB_TEST_KILLS"), 25);
    uint64_t started = number_of(getenv("ODB_TEST_SEED"), (uint64_t)time(NULL));
    struct life l = {.dice = started * 2654435761u + 1};
    struct victim *v = victim_new();
    odb_options o = fixture_options();
    uint64_t mercy = started | 1, total = 0;
    char dir[64];

    (void)state;
    printf("seed %llu\n", (unsigned long long)started);
    fixture_make_dir(dir, sizeof dir);
    l.dir = dir;
    for (uint64_t i = 0; i < count; i++) {
        odb_graph_check check = {.size = sizeof check};
        uint64_t acked, before = l.op;
        odb_db *db = NULL;

        mercy = mercy * 6364136223846793005u + 1442695040888963407u;
        victim_kill(v, live_for_ever, &l, 1, (mercy >> 33) % 30000);
        acked = atomic_load(&v->acknowledged);
        while (l.op < acked)
            assert_ok(live_on(&l, NULL));
        assert_ok(odb_open(dir, &o, &db));
        if (odb_graph_verify(odb_now(db), &check) != ODB_OK)
            fail_msg("after %llu operations: %s", (unsigned long long)acked, odb_error_text());
        if (!is_world(db, &l.now)) {
            assert_ok(live_on(&l, NULL)); /* the one under way got through */
            if (!is_world(db, &l.now))
                fail_msg("%llu operations acknowledged, and the graph is of another moment",
                         (unsigned long long)acked);
        }
        total += l.op - before;
        assert_ok(odb_close(db));
    }
    printf("%llu operations, %llu deaths\n", (unsigned long long)total, (unsigned long long)count);
    assert_true(total >= count); /* each lived to do something */
    fixture_remove_dir(dir);
    victim_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_death_leaves_a_one_sided_edge)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
