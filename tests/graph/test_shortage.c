/* Running out of memory: the Nth request fails, for every N until none is left to fail. Every call gives a
 * status, nothing leaks, and no edge has one side only. */
#include "tests/api/fixture.h"
#include "tests/lib/test_alloc.h"

static odb_status read_everything(odb_at at)
{
    odb_slice a = odb_s("a"), rels[] = {odb_s("r"), odb_s("s\0t")};
    odb_walk walk = {.size = sizeof walk, .keep_edges = true, .heaviest = true, .fanout = 3};
    odb_edge_match both = {.direction = ODB_BOTH, .rels = rels, .rel_count = 2};
    odb_edge_options opt = {.size = sizeof opt, .match = both};
    odb_edge_list list = {NULL, 0, NULL};
    odb_edge_iter *it = NULL;
    odb_nodeset *set = NULL;
    odb_scores *scores = NULL;
    odb_path *path = NULL;
    odb_filter *filter = NULL;
    odb_edge e;
    uint64_t n;
    odb_status st = odb_outgoing(at, a, &list);

    odb_edge_list_release(&list);
    if (st == ODB_OK)
        st = odb_edge_iter_new(at, a, &opt, &it);
    while (st == ODB_OK)
        st = odb_edge_iter_next(it, &e);
    odb_edge_iter_free(it);
    it = NULL;
    if (st == ODB_ABSENT)
        st = odb_edge_iter_all(at, a, NULL, &it);
    while (st == ODB_OK)
        st = odb_edge_iter_next(it, &e);
    odb_edge_iter_free(it);
    if (st == ODB_ABSENT)
        st = odb_degree(at, a, &both, &n);
    if (st == ODB_OK)
        st = odb_filter_parse(odb_s("importance >= 0"), &filter, NULL);
    walk.node_filter = filter;
    if (st == ODB_OK)
        st = odb_walk_bfs(at, &a, 1, &walk, &set);
    odb_nodeset_free(set);
    set = NULL;
    walk.node_filter = NULL;
    if (st == ODB_OK)
        st = odb_shortest_path(at, a, odb_s("e"), &walk, NULL, NULL, &path);
    odb_path_free(path);
    path = NULL;
    if (st == ODB_OK)
        st = odb_shortest_path(at, a, odb_s("e"), NULL, odb_cost_by_weight, NULL, &path);
    odb_path_free(path);
    if (st == ODB_OK)
        st = odb_pagerank(at, &a, NULL, 1, NULL, &walk, &scores);
    odb_scores_free(scores);
    scores = NULL;
    if (st == ODB_OK)
        st = odb_relation_histogram(at, odb_bytes(NULL, 0), ODB_OUT, &scores);
    odb_scores_free(scores);
    if (st == ODB_OK)
        st = odb_common_neighbours(at, a, odb_s("b"), &both, &set);
    odb_nodeset_free(set);
    odb_filter_free(filter);
    return st;
}

static odb_status write_everything(odb_db *db)
{
    odb_edge e = odb_edge_of(odb_s("x"), odb_s("r"), odb_s("y"));
    odb_prop prop = odb_prop_text("why", "because");
    odb_prune prune = {.size = sizeof prune};
    odb_txn *t = NULL;
    odb_status st = odb_link_edge(db, NULL, &e, &prop, 1, ODB_LINK_BOTH_WAYS);

    if (st == ODB_OK)
        st = odb_link_edge(db, NULL, &e, &prop, 1, ODB_LINK_UPSERT);
    if (st == ODB_OK)
        st = odb_txn_begin(db, NULL, &t);
    if (st == ODB_OK) {
        e.to = odb_s("z");
        odb_status linked = odb_link_edge(db, t, &e, &prop, 1, 0);

        st = odb_txn_commit(t, NULL); /* what failed left nothing in it */
        st = st == ODB_OK ? linked : st;
    }
    odb_txn_free(t);
    if (st == ODB_OK)
        st = odb_unlink(db, NULL, odb_s("x"), odb_s("r"), odb_s("y"));
    if (st == ODB_OK)
        st = odb_unlink_node(db, NULL, odb_s("x"), NULL, NULL);
    if (st == ODB_OK)
        st = odb_node_delete(db, NULL, odb_s("x"), 0);
    prune.prefix = odb_s("q");
    return st == ODB_OK ? odb_graph_prune(db, &prune) : st;
}

static void make_graph(odb_db *db)
{
    static const char edges[][3] = {"ab", "bc", "cd", "de", "ac", "ba", "aa", "da", "ae"};

    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        odb_record_draft d = odb_record_make_bytes(odb_bytes(edges[i], 1), odb_s("text"));
        odb_edge e = odb_edge_of(odb_bytes(edges[i], 1), i % 2 ? odb_bytes("s\0t", 3) : odb_s("r"),
                                 odb_bytes(edges[i] + 1, 1));

        assert_ok(odb_record_put(db, NULL, &d, 0));
        assert_ok(odb_link_edge(db, NULL, &e, NULL, 0, ODB_LINK_UPSERT));
    }
}

static void every_request_may_fail(void **state)
{
    struct fixture *f = *state;
    bool is_over = false;

    make_graph(f->db);
    assert_ok(read_everything(odb_now(f->db)));
    assert_ok(write_everything(f->db));
    for (long n = 0; !is_over; n++) {
        odb_graph_check check = {.size = sizeof check};
        long alive = test_alloc_alive();
        odb_status st;

        test_alloc_fail(n, 0);
        st = read_everything(odb_now(f->db));
        if (st == ODB_OK)
            st = write_everything(f->db);
        is_over = test_alloc_requests() <= n;
        test_alloc_fail(-1, 0);
        if (st != ODB_OK && st != ODB_NOMEM)
            fail_msg("request %ld: %s, %s", n, odb_status_name(st), odb_error_text());
        if (!f->is_lsm) /* the tree keeps what it was given, caches and buffers */
            assert_true(test_alloc_alive() <= alive + 64);
        if (odb_graph_verify(odb_now(f->db), &check) != ODB_OK)
            fail_msg("request %ld: %s", n, odb_error_text());
        assert_ok(odb_unlink_node(f->db, NULL, odb_s("x"), NULL, NULL));
        if (is_over) {
            printf("%ld requests\n", n);
            assert_true(n > 100);
        }
        if (n > 5000)
            fail_msg("requests without end");
    }
    test_alloc_fail(-1, 0);
}

static int open_counted(void **state)
{
    return fixture_memory(state);
}

static int close_counted(void **state)
{
    (void)fixture_close(state);
    return test_alloc_alive() ? -1 : 0; /* whatever failed, nothing is left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_request_may_fail, open_counted, close_counted),
        cmocka_unit_test_setup_teardown(every_request_may_fail, fixture_lsm, close_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
