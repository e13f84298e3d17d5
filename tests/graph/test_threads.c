/* Many threads on one graph: no edge is lost (W3), none has one side only, readers see whole commits. */
#include <stdatomic.h>

#include "os/os_thread.h"
#include "tests/api/fixture.h"

#define THREADS 4
#define ROUNDS  300
#define LEAVES  40

struct team {
    odb_db *db;
    atomic_int failures; /* any thread */
    atomic_int working;
    atomic_int linked;
};

struct member {
    struct team *team;
    int no;
};

static void note(struct team *t, bool is_fine, const char *what)
{
    if (!is_fine) {
        fprintf(stderr, "%s: %s\n", what, odb_error_text());
        atomic_fetch_add(&t->failures, 1);
    }
}

static void note_status(struct team *t, odb_status st, const char *what)
{
    if (st != ODB_OK) {
        fprintf(stderr, "%s: %s, last error: %s\n", what, odb_status_name(st), odb_error_text());
        atomic_fetch_add(&t->failures, 1);
    }
}

static odb_slice leaf(char *room, int thread, int n)
{
    (void)snprintf(room, 32, "leaf-%d-%d", thread, n);
    return odb_s(room);
}

static void run_team(struct team *t, void (*work)(void *member))
{
    struct member member[THREADS];
    struct os_thread *thread[THREADS];

    atomic_store(&t->working, THREADS);
    for (int i = 0; i < THREADS; i++) {
        member[i] = (struct member){t, i};
        assert_ok(os_thread_start("graph", work, &member[i], &thread[i]));
    }
    for (int i = 0; i < THREADS; i++)
        os_thread_join(thread[i]);
    assert_int_equal(atomic_load(&t->failures), 0);
}

static uint64_t sound_edges(odb_db *db)
{
    odb_graph_check check = {.size = sizeof check};

    assert_ok(odb_graph_verify(odb_now(db), &check));
    return check.edges;
}

/* ---- one hub, links of its own for each, and the same for all ---- */

static void link_to_hub(void *arg)
{
    struct member *m = arg;
    char room[32];

    for (int i = 0; i < ROUNDS; i++) {
        note(m->team,
             odb_link(m->team->db, NULL, odb_s("hub"), odb_s("has"), leaf(room, m->no, i)) ==
                 ODB_OK,
             "link of one's own");
        note(m->team,
             odb_link(m->team->db, NULL, odb_s("hub"), odb_s("shares"), leaf(room, 9, i)) == ODB_OK,
             "link of all");
    }
}

static void w3_concurrent_links_of_a_node_are_all_kept(void **state)
{
    struct fixture *f = *state;
    struct team t = {.db = f->db};
    uint64_t degree = 0;

    run_team(&t, link_to_hub);
    assert_ok(odb_degree(odb_now(f->db), odb_s("hub"), NULL, &degree));
    assert_int_equal(degree, (THREADS + 1) * ROUNDS);
    assert_int_equal(sound_edges(f->db), (THREADS + 1) * ROUNDS);
}

/* ---- linking, unlinking and reading the same few edges ---- */

static void churn(void *arg)
{
    struct member *m = arg;
    uint64_t dice = (uint64_t)m->no * 7919 + 1;
    char room[32];

    for (int i = 0; i < ROUNDS * 2; i++) {
        odb_edge e = odb_edge_of(odb_s("hub"), odb_s("has"), odb_s(""));
        odb_status st;

        dice = dice * 6364136223846793005u + 1442695040888963407u;
        e.to = leaf(room, 0, (int)((dice >> 33) % LEAVES));
        e.weight = (float)i;
        switch ((dice >> 40) % 5) {
        case 0: st = odb_unlink(m->team->db, NULL, e.from, e.rel, e.to); break;
        case 1: st = odb_unlink_node(m->team->db, NULL, e.to, NULL, NULL); break;
        case 2: st = odb_link_edge(m->team->db, NULL, &e, NULL, 0, ODB_LINK_UPSERT); break;
        case 3: st = odb_link_edge(m->team->db, NULL, &e, NULL, 0, ODB_LINK_BOTH_WAYS); break;
        default: st = odb_link(m->team->db, NULL, e.from, e.rel, e.to); break;
        }
        note(m->team, st == ODB_OK, "churning");
    }
    atomic_fetch_sub(&m->team->working, 1);
}

static void look(struct team *t)
{
    odb_edge_options opt = {.size = sizeof opt};
    odb_snapshot *s = NULL;
    odb_edge_iter *it = NULL;
    odb_edge e;
    odb_status st;

    note(t, odb_snapshot_new(t->db, &s) == ODB_OK, "snapshot");
    note(t, odb_edge_iter_new(odb_asof(s), odb_s("hub"), &opt, &it) == ODB_OK, "iterator");
    while ((st = odb_edge_iter_next(it, &e)) == ODB_OK) {
        odb_edge_list in;
        bool is_there = false;

        note(t, odb_incoming(odb_asof(s), e.to, &in) == ODB_OK, "incoming");
        for (size_t i = 0; i < in.count; i++)
            is_there = is_there || (odb_slice_equal(in.edge[i].from, odb_s("hub")) &&
                                    in.edge[i].weight >= e.weight && in.edge[i].weight <= e.weight);
        note(t, is_there, "an edge is seen from one side only");
        odb_edge_list_release(&in);
    }
    note(t, st == ODB_ABSENT, "walking");
    odb_edge_iter_free(it);
    odb_snapshot_free(s);
}

static void churn_or_look(void *arg)
{
    struct member *m = arg;

    if (m->no != 0) {
        churn(m);
        return;
    }
    atomic_fetch_sub(&m->team->working, 1);
    do
        look(m->team);
    while (atomic_load(&m->team->working) > 0);
}

static void readers_see_both_sides_of_every_edge(void **state)
{
    struct fixture *f = *state;
    struct team t = {.db = f->db};

    run_team(&t, churn_or_look);
    (void)sound_edges(f->db);
}

/* ---- required ends against deletes with all edges ---- */

#define PEOPLE 3

static void require_or_delete(void *arg)
{
    struct member *m = arg;
    uint64_t dice = (uint64_t)m->no * 104729 + 11;

    for (int i = 0; i < ROUNDS * 10; i++) {
        char a[16], b[16];
        odb_record_draft d;
        odb_edge e;
        odb_status st;

        dice = dice * 6364136223846793005u + 1442695040888963407u;
        (void)snprintf(a, sizeof a, "p%d", (int)((dice >> 33) % PEOPLE));
        (void)snprintf(b, sizeof b, "p%d", (int)((dice >> 43) % PEOPLE));
        d = odb_record_make(a, "somebody");
        e = odb_edge_of(odb_s(a), odb_s("knows"), odb_s(b));
        switch ((dice >> 53) % 6) {
        case 0:
            st = odb_record_put(m->team->db, NULL, &d, 0);
            st = st == ODB_CONFLICT ? ODB_OK : st; /* others were faster, many times */
            break;
        case 1: st = odb_node_delete(m->team->db, NULL, odb_s(a), 0); break;
        default:
            st = odb_link_edge(m->team->db, NULL, &e, NULL, 0, ODB_LINK_REQUIRE);
            atomic_fetch_add(&m->team->linked, st == ODB_OK);
            st = st == ODB_ABSENT ? ODB_OK : st;
            break;
        }
        note_status(m->team, st,
                    (dice >> 53) % 6 == 0   ? "putting"
                    : (dice >> 53) % 6 == 1 ? "deleting"
                                            : "requiring");
    }
}

static void required_ends_are_never_missing(void **state)
{
    struct fixture *f = *state;
    odb_graph_check check = {.size = sizeof check};
    struct team t = {.db = f->db};

    check.ends = true;
    run_team(&t, require_or_delete);
    assert_ok(odb_graph_verify(odb_now(f->db), &check));
    assert_int_equal(check.dangling, 0);
    assert_true(atomic_load(&t.linked) > ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(w3_concurrent_links_of_a_node_are_all_kept),
        BOTH(readers_see_both_sides_of_every_edge),
        BOTH(required_ends_are_never_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
