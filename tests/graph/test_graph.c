/* What odb_graph.h promises, over both backends: flags, limits, refusals, damage. (That lists, walks and
 * paths are right is the business of test_model.c.) Tests whose names begin with w repeat a weakness of
 * the original and show that it is gone. */
#include <math.h>

#include "tests/api/fixture.h"

static void link_text(struct fixture *f, const char *from, const char *rel, const char *to)
{
    assert_ok(odb_link(f->db, NULL, odb_s(from), odb_s(rel), odb_s(to)));
}

/* "from>rel>to" of each edge, joined with spaces. */
static const char *list_text(odb_edge_list *list, char *out, size_t room)
{
    size_t len = 0;

    out[0] = 0;
    for (size_t i = 0; i < list->count; i++) {
        const odb_edge *e = &list->edge[i];

        len +=
            (size_t)snprintf(out + len, room - len, "%s%.*s>%.*s>%.*s", i ? " " : "",
                             (int)e->from.size, (const char *)e->from.data, (int)e->rel.size,
                             (const char *)e->rel.data, (int)e->to.size, (const char *)e->to.data);
        assert_true(len < room);
    }
    odb_edge_list_release(list);
    return out;
}

static void expect_out(struct fixture *f, const char *node, const char *edges)
{
    char text[1000];
    odb_edge_list list;

    assert_ok(odb_outgoing(odb_now(f->db), odb_s(node), &list));
    assert_string_equal(list_text(&list, text, sizeof text), edges);
}

static void expect_in(struct fixture *f, const char *node, const char *edges)
{
    char text[1000];
    odb_edge_list list;

    assert_ok(odb_incoming(odb_now(f->db), odb_s(node), &list));
    assert_string_equal(list_text(&list, text, sizeof text), edges);
}

static void expect_sound(struct fixture *f, uint64_t edges)
{
    odb_graph_check check = {.size = sizeof check};

    assert_ok(odb_graph_verify(odb_now(f->db), &check));
    assert_int_equal(check.edges, edges);
    assert_int_equal(check.problems, 0);
}

static void make_record(struct fixture *f, const char *id)
{
    put_text(f, fixture_cf(f, ODB_FAMILY_RECORDS), id, "a record");
}

/* ---- linking ---- */

static void edge_is_seen_from_both_ends(void **state)
{
    struct fixture *f = *state;

    link_text(f, "m1", ODB_REL_RELATED_TO, "m2");
    link_text(f, "m1", ODB_REL_REFERENCES, "m3");
    link_text(f, "m2", ODB_REL_SUPPORTS, "m3");
    expect_out(f, "m1", "m1>references>m3 m1>related_to>m2");
    expect_in(f, "m3", "m1>references>m3 m2>supports>m3");
    expect_out(f, "m3", "");
    expect_in(f, "m9", "");
    expect_sound(f, 3);
    assert_ok(odb_unlink(f->db, NULL, odb_s("m1"), odb_s(ODB_REL_REFERENCES), odb_s("m3")));
    assert_ok(odb_unlink(f->db, NULL, odb_s("m1"), odb_s(ODB_REL_REFERENCES), odb_s("m3")));
    expect_in(f, "m3", "m2>supports>m3");
    expect_sound(f, 2);
}

static void keep_upsert_and_new_do_as_they_say(void **state)
{
    struct fixture *f = *state;
    odb_edge e = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("b"));
    odb_prop prop = odb_prop_text("why", "first");
    odb_edge_list one;
    odb_prop_value v;

    e.weight = 0.25f;
    e.time_us = 5;
    assert_ok(odb_link_edge(f->db, NULL, &e, &prop, 1, ODB_LINK_NEW));
    e.weight = 9;
    assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_KEEP));
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_NEW), ODB_EXISTS);
    assert_ok(odb_edge_get(odb_now(f->db), e.from, e.rel, e.to, &one));
    assert_true(one.edge->weight < 1 && one.edge->time_us == 5);
    assert_ok(odb_edge_prop(one.edge, odb_s("why"), &v));
    assert_slice(v.u.bytes, "first");
    /* packed properties go on to another edge */
    e = *one.edge;
    e.to = odb_s("c");
    assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_UPSERT));
    odb_edge_list_release(&one); /* and with it what `e` lent */
    assert_ok(odb_edge_get(odb_now(f->db), odb_s("a"), odb_s("r"), odb_s("c"), &one));
    assert_int_equal(odb_edge_prop_count(one.edge), 1);
    odb_edge_list_release(&one);
    e = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("b"));
    assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_UPSERT));
    assert_ok(odb_edge_get(odb_now(f->db), e.from, e.rel, e.to, &one));
    assert_true(one.edge->weight >= 1 && one.edge->weight <= 1);
    assert_true(one.edge->time_us > 1500000000000000); /* now, in microseconds */
    assert_int_equal(odb_edge_prop_count(one.edge), 0);
    assert_status(odb_edge_prop_at(one.edge, 0, &prop), ODB_ABSENT);
    odb_edge_list_release(&one);
    expect_sound(f, 2);
}

static void both_ways_is_two_edges_in_one_commit(void **state)
{
    struct fixture *f = *state;
    odb_edge e = odb_edge_of(odb_s("a"), odb_s("near"), odb_s("b"));

    assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_BOTH_WAYS));
    expect_out(f, "a", "a>near>b");
    expect_out(f, "b", "b>near>a");
    e.to = e.from; /* back is the same */
    assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_BOTH_WAYS | ODB_LINK_UPSERT));
    expect_sound(f, 3);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char big[2000];
    odb_slice ok = odb_s("a"), none = odb_bytes("", 0), huge = odb_bytes(big, 1025);
    odb_edge e = odb_edge_of(ok, ok, ok);
    odb_edge_match match = {.direction = 3};
    odb_edge_options opt = {.size = sizeof opt};
    odb_walk walk = {.size = sizeof walk};
    odb_prop twice[] = {odb_prop_int("n", 1), odb_prop_int("n", 2)};
    odb_edge_iter *it = NULL;
    odb_nodeset *set = NULL;
    odb_edge_list list;
    uint64_t n;

    assert_status(odb_link(f->db, NULL, none, ok, ok), ODB_INVALID);
    assert_status(odb_link(f->db, NULL, ok, none, ok), ODB_INVALID);
    assert_status(odb_link(f->db, NULL, ok, ok, none), ODB_INVALID);
    assert_status(odb_link(f->db, NULL, huge, ok, ok), ODB_INVALID);
    assert_status(odb_link(f->db, NULL, ok, odb_bytes(big, 256), ok), ODB_INVALID);
    assert_status(odb_link(NULL, NULL, ok, ok, ok), ODB_INVALID);
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, 64), ODB_INVALID);
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_NEW | ODB_LINK_UPSERT),
                  ODB_INVALID);
    assert_status(odb_link_edge(f->db, NULL, &e, twice, 2, 0), ODB_INVALID);
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 1, 0), ODB_INVALID);
    e.props = odb_s("not properties");
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, 0), ODB_INVALID);
    e = odb_edge_of(ok, ok, ok);
    e.weight = NAN;
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, 0), ODB_INVALID);
    e.weight = -INFINITY;
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, 0), ODB_INVALID);
    assert_status(odb_outgoing(odb_now(f->db), none, &list), ODB_INVALID);
    assert_status(odb_outgoing(odb_now(NULL), ok, &list), ODB_INVALID);
    assert_status(odb_degree(odb_now(f->db), ok, &match, &n), ODB_INVALID);
    match = (odb_edge_match){.min_weight = NAN};
    assert_status(odb_degree(odb_now(f->db), ok, &match, &n), ODB_INVALID);
    match = (odb_edge_match){.rel_count = 1};
    assert_status(odb_degree(odb_now(f->db), ok, &match, &n), ODB_INVALID);
    opt.resume = odb_s("\2nonsense");
    assert_status(odb_edge_iter_new(odb_now(f->db), ok, &opt, &it), ODB_INVALID);
    opt.resume = odb_bytes("\0b\0\1r\0\1c", 8); /* of another node */
    assert_status(odb_edge_iter_new(odb_now(f->db), ok, &opt, &it), ODB_INVALID);
    walk.size = 8;
    assert_status(odb_walk_bfs(odb_now(f->db), &ok, 1, &walk, &set), ODB_INVALID);
    assert_status(odb_walk_bfs(odb_now(f->db), &none, 1, NULL, &set), ODB_INVALID);
    assert_ok(odb_walk_bfs(odb_now(f->db), NULL, 0, NULL, &set));
    assert_int_equal(odb_nodeset_count(set), 0);
    odb_nodeset_free(set);
    expect_sound(f, 0);
}

static void ends_may_be_required(void **state)
{
    struct fixture *f = *state;
    odb_edge e = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("b"));

    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_REQUIRE), ODB_ABSENT);
    make_record(f, "a");
    assert_status(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_REQUIRE), ODB_ABSENT);
    expect_sound(f, 0);
    make_record(f, "b");
    assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_REQUIRE | ODB_LINK_UPSERT));
    expect_sound(f, 1);
    expect_text(odb_now(f->db), fixture_cf(f, ODB_FAMILY_RECORDS), "a", "a record");
}

static void required_end_deleted_meanwhile_is_a_conflict(void **state)
{
    struct fixture *f = *state;
    odb_edge e = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("b"));
    odb_txn *t = NULL;

    make_record(f, "a");
    make_record(f, "b");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_link_edge(f->db, t, &e, NULL, 0, ODB_LINK_REQUIRE));
    assert_ok(odb_delete(f->db, fixture_cf(f, ODB_FAMILY_RECORDS), odb_s("b"), NULL));
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    odb_txn_free(t);
    expect_sound(f, 0);
}

static void node_goes_with_its_record_and_edges(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("a", "text");
    odb_snapshot *before = NULL;
    odb_edge_list list;
    odb_txn *t = NULL;

    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    link_text(f, "a", "r", "b");
    link_text(f, "c", "r", "a");
    link_text(f, "a", "s", "a");
    link_text(f, "b", "r", "c");
    assert_status(odb_node_delete(f->db, NULL, odb_s("b"), ODB_MUST_EXIST), ODB_ABSENT);
    expect_sound(f, 4); /* nothing was done */
    assert_ok(odb_snapshot_new(f->db, &before));
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_node_delete(f->db, t, odb_s("a"), 0));
    assert_status(odb_record_exists(odb_in(t), odb_s("a")), ODB_ABSENT);
    assert_ok(odb_record_exists(odb_now(f->db), odb_s("a")));
    odb_txn_rollback(t);
    odb_txn_free(t);
    expect_sound(f, 4);
    assert_ok(odb_node_delete(f->db, NULL, odb_s("a"), ODB_MUST_EXIST));
    assert_status(odb_record_exists(odb_now(f->db), odb_s("a")), ODB_ABSENT);
    expect_sound(f, 1);
    expect_in(f, "c", "b>r>c");
    assert_ok(odb_outgoing(odb_asof(before), odb_s("a"), &list));
    assert_int_equal(list.count, 2);
    odb_edge_list_release(&list);
    odb_snapshot_free(before);
    assert_ok(odb_node_delete(f->db, NULL, odb_s("a"), 0)); /* there is none */
}

/* More edges than one commit takes, and one linked while it lasts. */
static void large_node_is_unlinked_in_pieces(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("hub", "text");
    uint64_t removed = 0;
    char to[16];

    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 40000;) {
            odb_batch *b = NULL;

            assert_ok(odb_batch_new(&b));
            for (int k = 0; k < 1000; k++, i++) {
                odb_edge e;

                (void)snprintf(to, sizeof to, "n%d", i);
                e = odb_edge_of(odb_s(i % 3 ? "hub" : to), odb_s("r"), odb_s(i % 3 ? to : "hub"));
                assert_ok(odb_batch_link(f->db, b, &e, NULL, 0, 0));
            }
            assert_ok(odb_commit(f->db, b, NULL));
            odb_batch_free(b);
        }
        link_text(f, "hub", "r", "hub");
        link_text(f, "other", "r", "n1");
        if (half == 0) {
            assert_ok(odb_unlink_node(f->db, NULL, odb_s("hub"), NULL, &removed));
            assert_int_equal(removed, 40001);
        } else {
            assert_ok(odb_node_delete(f->db, NULL, odb_s("hub"), ODB_MUST_EXIST));
        }
        expect_sound(f, 1);
    }
}

static void transaction_is_left_as_it_was_by_what_fails(void **state)
{
    struct fixture *f = *state;
    odb_edge e = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("b"));
    odb_txn *t = NULL;

    make_record(f, "a");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_link_edge(f->db, t, &e, NULL, 0, ODB_LINK_NEW));
    assert_status(odb_link_edge(f->db, t, &e, NULL, 0, ODB_LINK_NEW), ODB_EXISTS);
    assert_non_null(strstr(odb_error_text(), "already"));
    e.to = odb_s("c"); /* the way there is new, the way back is not */
    assert_ok(odb_link(f->db, t, odb_s("c"), odb_s("r"), odb_s("a")));
    assert_status(odb_link_edge(f->db, t, &e, NULL, 0, ODB_LINK_NEW | ODB_LINK_BOTH_WAYS),
                  ODB_EXISTS);
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_out(f, "a", "a>r>b");
    expect_out(f, "c", "c>r>a");
    expect_sound(f, 2);
}

static void edge_made_behind_a_delete_is_a_conflict(void **state)
{
    struct fixture *f = *state;
    odb_edge out = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("b"));
    odb_edge in = odb_edge_of(odb_s("b"), odb_s("r"), odb_s("a"));
    odb_txn *t = NULL;

    make_record(f, "b");
    for (int is_in = 0; is_in < 2; is_in++) {
        odb_record_draft d = odb_record_make("a", "text");

        assert_ok(odb_record_put(f->db, NULL, &d, 0));
        assert_ok(odb_txn_begin(f->db, NULL, &t));
        assert_ok(odb_node_delete(f->db, t, odb_s("a"), 0));
        assert_ok(odb_link_edge(f->db, NULL, is_in ? &in : &out, NULL, 0, ODB_LINK_REQUIRE));
        assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
        odb_txn_free(t);
        assert_ok(odb_record_exists(odb_now(f->db), odb_s("a")));
        expect_sound(f, 1);
        assert_ok(odb_node_delete(f->db, NULL, odb_s("a"), ODB_MUST_EXIST));
        expect_sound(f, 0);
    }
}

/* ---- iterators ---- */

static void all_edges_are_read_page_by_page(void **state)
{
    struct fixture *f = *state;
    static const char *const want[] = {"aa>r>ba", "aa>s>ba", "ab>r>aa", "ba>r>aa"};
    odb_edge_options opt = {.size = sizeof opt, .limit = 1};
    char resume[100], text[40];
    odb_edge_iter *it = NULL;
    odb_edge e;
    size_t count = 0;

    for (size_t i = 4; i-- > 0;) {
        odb_slice from = odb_bytes(want[i], 2), rel = odb_bytes(want[i] + 3, 1);

        assert_ok(odb_link(f->db, NULL, from, rel, odb_bytes(want[i] + 5, 2)));
    }
    for (;; count++) {
        odb_status st;

        assert_ok(odb_edge_iter_all(odb_now(f->db), odb_bytes(NULL, 0), &opt, &it));
        st = odb_edge_iter_next(it, &e);
        if (st == ODB_OK) {
            assert_true(count < 4);
            (void)snprintf(text, sizeof text, "%.2s>%.1s>%.2s", (const char *)e.from.data,
                           (const char *)e.rel.data, (const char *)e.to.data);
            assert_string_equal(text, want[count]);
            opt.resume = odb_edge_iter_resume(it);
            memcpy(resume, opt.resume.data, opt.resume.size);
            opt.resume.data = resume;
            assert_status(odb_edge_iter_next(it, &e), ODB_ABSENT);
        }
        assert_status(odb_edge_iter_move(it, odb_s("aa")), ODB_INVALID);
        odb_edge_iter_free(it);
        if (st != ODB_OK)
            break;
    }
    assert_int_equal(count, 4);
    opt = (odb_edge_options){.size = sizeof opt, .match = {.direction = ODB_IN}};
    assert_ok(odb_edge_iter_all(odb_now(f->db), odb_s("b"), &opt, &it)); /* that end so */
    assert_ok(odb_edge_iter_next(it, &e));
    assert_slice(e.to, "ba");
    assert_ok(odb_edge_iter_next(it, &e));
    assert_slice(e.rel, "s");
    assert_status(odb_edge_iter_next(it, &e), ODB_ABSENT);
    odb_edge_iter_free(it);
    opt.match.direction = ODB_BOTH;
    assert_status(odb_edge_iter_all(odb_now(f->db), odb_s("b"), &opt, &it), ODB_INVALID);
}

static void iterator_resumes_in_another_one(void **state)
{
    struct fixture *f = *state;
    odb_edge_options opt = {.size = sizeof opt, .match = {.direction = ODB_BOTH}, .limit = 1};
    char resume[200], seen[200] = "";
    odb_edge_iter *it = NULL;
    odb_edge e;
    odb_status st;

    link_text(f, "a", "r", "b");
    link_text(f, "a", "s", "a");
    link_text(f, "c", "r", "a");
    for (int page = 0; page < 10; page++) {
        assert_ok(odb_edge_iter_new(odb_now(f->db), odb_s("a"), &opt, &it));
        st = odb_edge_iter_next(it, &e);
        if (st == ODB_OK) {
            strncat(seen, e.from.data, 1);
            strncat(seen, e.to.data, 1);
            strcat(seen, " ");
            opt.resume = odb_edge_iter_resume(it);
            memcpy(resume, opt.resume.data, opt.resume.size);
            opt.resume.data = resume;
            assert_status(odb_edge_iter_next(it, &e), ODB_ABSENT);
        }
        odb_edge_iter_free(it);
        if (st == ODB_ABSENT)
            break;
        /* the edge it stood on may go: it is a place, not an edge */
        if (page == 0)
            assert_ok(odb_unlink(f->db, NULL, odb_s("a"), odb_s("r"), odb_s("b")));
    }
    assert_string_equal(seen, "ab aa ca aa ");
}

static void iterator_sees_one_moment(void **state)
{
    struct fixture *f = *state;
    odb_edge_options opt = {.size = sizeof opt, .match = {.direction = ODB_BOTH}};
    odb_edge_iter *it = NULL;
    odb_edge e;

    link_text(f, "a", "r", "b");
    link_text(f, "b", "r", "a");
    assert_ok(odb_edge_iter_new(odb_now(f->db), odb_s("a"), &opt, &it));
    assert_ok(odb_unlink_node(f->db, NULL, odb_s("a"), NULL, NULL));
    link_text(f, "z", "r", "a");
    assert_ok(odb_edge_iter_next(it, &e));
    assert_ok(odb_edge_iter_next(it, &e));
    assert_slice(e.from, "b");
    assert_status(odb_edge_iter_next(it, &e), ODB_ABSENT);
    odb_edge_iter_free(it);
    expect_sound(f, 1);
}

/* ---- as JSON ---- */

static void edges_go_out_and_in_as_json(void **state)
{
    static const char *const same[] = {
        "{\"from\":\"a\",\"rel\":\"r\",\"to\":\"b\",\"weight\":0.8,\"time\":-5}",
        "{\"from64\":\"AP8=\",\"rel\":\"r\",\"to64\":\"/"
        "w==\",\"weight\":-0.25,\"time\":7,\"props\":"
        "{\"b\":{\"base64\":\"AAE=\"},\"f\":1.0,\"i\":1,\"j\":[1,{\"x\":null}],\"n\":null,\"t\":"
        "\"\\u0001\\\"\"}}",
    };
    static const char *const wrong[] = {
        "",
        "[]",
        "{}",
        "{\"from\":\"a\",\"rel\":\"r\"}",
        "{\"from\":\"a\",\"from64\":\"AAA=\",\"rel\":\"r\",\"to\":\"b\"}",
        "{\"from\":1,\"rel\":\"r\",\"to\":\"b\"}",
        "{\"from\":\"a\",\"rel\":\"r\",\"to\":\"b\",\"weight\":\"1\"}",
        "{\"from\":\"a\",\"rel\":\"r\",\"to\":\"b\",\"weight\":1e300}",
        "{\"from\":\"a\",\"rel\":\"r\",\"to\":\"b\",\"time\":1.5}",
        "{\"from\":\"a\",\"rel\":\"r\",\"to\":\"b\",\"other\":1}",
        "{\"from\":\"a\",\"rel\":\"r\",\"to\":\"b\",\"props\":1}",
        "{\"from\":\"\",\"rel\":\"r\",\"to\":\"b\"}",
        "{\"from\":\"a\",\"rel\":\"r\",\"to64\":\"?\"}",
    };
    struct fixture *f = *state;
    odb_edge_iter *it = NULL;
    char text[400];
    odb_edge e;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_status(odb_link_json(f->db, NULL, odb_s(wrong[i]), 0, NULL), ODB_INVALID);
    expect_sound(f, 0);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_ok(odb_link_json(f->db, NULL, odb_s(same[i]), 0, NULL));
    assert_ok(odb_edge_iter_all(odb_now(f->db), odb_bytes(NULL, 0), NULL, &it));
    for (size_t i = 2; i-- > 0;) {
        size_t len = 0;

        assert_ok(odb_edge_iter_next(it, &e));
        assert_ok(odb_edge_to_json(&e, NULL, 0, &len));
        assert_int_equal(len, strlen(same[i]));
        assert_ok(odb_edge_to_json(&e, text, sizeof text, &len));
        assert_memory_equal(text, same[i], len);
    }
    odb_edge_iter_free(it);
}

/* ---- walks and their limits ---- */

/* 0 -> 1..10, each of those -> ten of its own; weights rise. */
static void make_tree(struct fixture *f)
{
    char from[8], to[8];

    for (int i = 1; i <= 110; i++) {
        odb_edge e;

        (void)snprintf(from, sizeof from, "%03d", i <= 10 ? 0 : (i - 1) / 10);
        (void)snprintf(to, sizeof to, "%03d", i);
        e = odb_edge_of(odb_s(from), odb_s(i % 2 ? "odd" : "even"), odb_s(to));
        e.weight = (float)i;
        assert_ok(odb_link_edge(f->db, NULL, &e, NULL, 0, ODB_LINK_UPSERT));
    }
}

static odb_nodeset *walk_tree(struct fixture *f, odb_walk *walk, odb_walk_report *report)
{
    odb_slice start = odb_s("000");
    odb_nodeset *set = NULL;

    walk->size = sizeof *walk;
    walk->report = report;
    assert_ok(odb_walk_bfs(odb_now(f->db), &start, 1, walk, &set));
    assert_int_equal(report->nodes, odb_nodeset_count(set));
    return set;
}

static void walk_keeps_its_limits_and_says_so(void **state)
{
    struct fixture *f = *state;
    odb_walk_report r;

    make_tree(f);
    odb_nodeset_free(walk_tree(f, &(odb_walk){0}, &r));
    assert_true(r.nodes == 111 && r.edges == 110 && r.depth == 2 && r.cut == 0);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.max_depth = 1}, &r));
    assert_true(r.nodes == 11 && r.depth == 1 && r.cut == ODB_CUT_DEPTH);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.max_nodes = 50}, &r));
    assert_true(r.nodes == 50 && r.cut == ODB_CUT_NODES);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.max_nodes = 111}, &r));
    assert_true(r.nodes == 111 && r.cut == 0);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.max_edges = 7}, &r));
    assert_true(r.nodes == 8 && r.edges == 7 && r.cut == ODB_CUT_EDGES);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.max_edges = 110}, &r));
    assert_true(r.nodes == 111 && r.cut == 0);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.fanout = 3}, &r));
    assert_true(r.nodes == 1 + 3 + 9 && r.cut == ODB_CUT_FANOUT);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.fanout = 10}, &r));
    assert_true(r.nodes == 111 && r.cut == 0);
}

static void heaviest_edges_are_followed(void **state)
{
    struct fixture *f = *state;
    odb_nodeset *set;
    odb_walk_report r;

    make_tree(f);
    set = walk_tree(f, &(odb_walk){.fanout = 2, .heaviest = true}, &r);
    assert_int_equal(odb_nodeset_count(set), 7);
    assert_int_equal(r.cut, ODB_CUT_FANOUT);
    assert_true(odb_nodeset_find(set, odb_s("009")) != SIZE_MAX);
    assert_true(odb_nodeset_find(set, odb_s("010")) != SIZE_MAX);
    assert_true(odb_nodeset_find(set, odb_s("110")) != SIZE_MAX);
    assert_true(odb_nodeset_find(set, odb_s("109")) != SIZE_MAX);
    assert_true(odb_nodeset_find(set, odb_s("099")) != SIZE_MAX);
    odb_nodeset_free(set);
    set = walk_tree(f, &(odb_walk){.fanout = 10, .heaviest = true}, &r);
    assert_true(odb_nodeset_count(set) == 111 && r.cut == 0);
    odb_nodeset_free(set);
}

struct tour {
    char text[600];
    const char *skip, *stop;
};

static int tour_visit(void *arg, odb_slice node, uint32_t depth, const odb_edge *via)
{
    struct tour *t = arg;
    char one[40];

    (void)snprintf(one, sizeof one, "%.*s:%u%s ", (int)node.size, (const char *)node.data, depth,
                   via ? "" : "!");
    assert_true(!via || odb_slice_equal(via->to, node));
    strcat(t->text, one);
    if (t->stop && odb_slice_equal(node, odb_s(t->stop)))
        return ODB_VISIT_STOP;
    return t->skip && odb_slice_equal(node, odb_s(t->skip)) ? ODB_VISIT_SKIP : ODB_VISIT_ON;
}

static void visitor_sees_all_and_may_turn_back_or_stop(void **state)
{
    struct fixture *f = *state;
    struct tour t = {.skip = "b"};
    odb_walk_report r;
    odb_slice start[] = {odb_s("a"), odb_s("a"), odb_s("d")};
    odb_walk walk = {.size = sizeof walk, .visit = tour_visit, .arg = &t, .report = &r};
    odb_nodeset *set = NULL;

    link_text(f, "a", "r", "b");
    link_text(f, "a", "r", "c");
    link_text(f, "b", "r", "x");
    link_text(f, "c", "r", "y");
    link_text(f, "y", "r", "a");
    assert_ok(odb_walk_bfs(odb_now(f->db), start, 3, &walk, &set));
    assert_string_equal(t.text, "a:0! d:0! b:1 c:1 y:2 ");
    assert_int_equal(r.cut, 0);
    odb_nodeset_free(set);
    t = (struct tour){.stop = "b"};
    assert_ok(odb_walk_bfs(odb_now(f->db), start, 3, &walk, &set));
    assert_string_equal(t.text, "a:0! d:0! b:1 ");
    assert_int_equal(odb_nodeset_count(set), 3);
    assert_int_equal(r.cut, ODB_CUT_VISITOR);
    odb_nodeset_free(set);
}

static int slow_visit(void *arg, odb_slice node, uint32_t depth, const odb_edge *via)
{
    (void)arg, (void)node, (void)depth, (void)via;
    (void)usleep(200);
    return ODB_VISIT_ON;
}

static void walk_ends_in_time(void **state)
{
    struct fixture *f = *state;
    odb_batch *b = NULL;
    odb_walk_report r;
    char to[16];

    assert_ok(odb_batch_new(&b));
    for (int i = 0; i < 3000; i++) {
        odb_edge e;

        (void)snprintf(to, sizeof to, "n%d", i);
        e = odb_edge_of(odb_s("000"), odb_s("r"), odb_s(to));
        assert_ok(odb_batch_link(f->db, b, &e, NULL, 0, 0));
    }
    assert_ok(odb_commit(f->db, b, NULL));
    odb_batch_free(b);
    odb_nodeset_free(walk_tree(f, &(odb_walk){.time_limit_ms = 30, .visit = slow_visit}, &r));
    assert_int_equal(r.cut, ODB_CUT_TIME);
    assert_true(r.nodes >= 1 && r.nodes < 3001);
}

static void path_is_not_found_beyond_the_limits(void **state)
{
    struct fixture *f = *state;
    odb_walk_report r;
    odb_walk walk = {.size = sizeof walk, .report = &r};
    odb_path *path = NULL;
    char from[8], to[8];

    for (int i = 0; i < 10; i++) {
        (void)snprintf(from, sizeof from, "p%d", i);
        (void)snprintf(to, sizeof to, "p%d", i + 1);
        link_text(f, from, "next", to);
    }
    for (int by_cost = 0; by_cost < 2; by_cost++) {
        odb_edge_cost *cost = by_cost ? odb_cost_by_weight : NULL;

        walk.max_depth = 9;
        assert_status(
            odb_shortest_path(odb_now(f->db), odb_s("p0"), odb_s("p10"), &walk, cost, NULL, &path),
            ODB_ABSENT);
        assert_int_equal(r.cut, ODB_CUT_DEPTH);
        walk.max_depth = 10;
        assert_ok(
            odb_shortest_path(odb_now(f->db), odb_s("p0"), odb_s("p10"), &walk, cost, NULL, &path));
        assert_int_equal(odb_path_length(path), 10);
        assert_slice(odb_path_node(path, 10), "p10");
        assert_int_equal(odb_path_node(path, 11).size, 0);
        assert_int_equal(odb_path_edge(path, 10).to.size, 0);
        odb_path_free(path);
        assert_status(
            odb_shortest_path(odb_now(f->db), odb_s("p10"), odb_s("p0"), &walk, cost, NULL, &path),
            ODB_ABSENT);
        assert_int_equal(r.cut, 0);
        assert_ok(
            odb_shortest_path(odb_now(f->db), odb_s("p3"), odb_s("p3"), &walk, cost, NULL, &path));
        assert_int_equal(odb_path_length(path), 0);
        assert_slice(odb_path_node(path, 0), "p3");
        odb_path_free(path);
    }
}

static void put_record(struct fixture *f, const char *id, float importance)
{
    odb_record_draft d = odb_record_make(id, "text");

    d.importance = importance;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
}

static void only_nodes_that_pass_the_filter_are_reached(void **state)
{
    struct fixture *f = *state;
    odb_filter *filter = NULL;
    odb_walk walk = {.size = sizeof walk};
    odb_slice a = odb_s("a");
    odb_nodeset *set = NULL;
    odb_path *path = NULL;
    odb_scores *scores = NULL;

    /* a -> low -> z, a -> high1 -> high2 -> high3 -> z, a -> none -> z */
    put_record(f, "high1", 0.9f);
    put_record(f, "high2", 0.9f);
    put_record(f, "high3", 0.9f);
    put_record(f, "low", 0.1f);
    link_text(f, "a", "r", "low");
    link_text(f, "low", "r", "z");
    link_text(f, "a", "r", "high1");
    link_text(f, "high1", "r", "high2");
    link_text(f, "high2", "r", "high3");
    link_text(f, "high3", "r", "z");
    link_text(f, "a", "r", "none");
    link_text(f, "none", "r", "z");
    assert_ok(odb_filter_parse(odb_s("importance > 0.5"), &filter, NULL));
    walk.node_filter = filter;
    assert_ok(odb_walk_bfs(odb_now(f->db), &a, 1, &walk, &set));
    assert_int_equal(odb_nodeset_count(set), 4);
    assert_true(odb_nodeset_find(set, odb_s("low")) == SIZE_MAX);
    assert_true(odb_nodeset_find(set, odb_s("z")) == SIZE_MAX);
    assert_int_equal(odb_nodeset_at(set, odb_nodeset_find(set, odb_s("high3"))).depth, 3);
    odb_nodeset_free(set);
    for (int by_cost = 0; by_cost < 2; by_cost++) {
        assert_ok(odb_shortest_path(odb_now(f->db), a, odb_s("z"), &walk,
                                    by_cost ? odb_cost_by_weight : NULL, NULL, &path));
        assert_int_equal(odb_path_length(path), 4);
        assert_slice(odb_path_node(path, 2), "high2");
        odb_path_free(path);
    }
    assert_ok(odb_pagerank(odb_now(f->db), &a, NULL, 1, NULL, &walk, &scores));
    assert_true(odb_scores_of(scores, odb_s("high3")) > 0.5);
    assert_int_equal(odb_scores_count(scores), 4);
    odb_scores_free(scores);
    /* a damaged record is no node that passes, but it is told */
    put_text(f, fixture_cf(f, ODB_FAMILY_RECORDS), "high1", "no record");
    assert_status(odb_walk_bfs(odb_now(f->db), &a, 1, &walk, &set), ODB_CORRUPT);
    walk.skip_damaged = true;
    assert_ok(odb_walk_bfs(odb_now(f->db), &a, 1, &walk, &set));
    assert_int_equal(odb_nodeset_count(set), 1);
    odb_nodeset_free(set);
    odb_filter_free(filter);
}

static double negative_cost(void *arg, const odb_edge *edge)
{
    (void)arg, (void)edge;
    return -1;
}

static void negative_costs_are_refused(void **state)
{
    struct fixture *f = *state;
    odb_path *path = NULL;

    link_text(f, "a", "r", "b");
    assert_status(
        odb_shortest_path(odb_now(f->db), odb_s("a"), odb_s("b"), NULL, negative_cost, NULL, &path),
        ODB_INVALID);
}

/* ---- pruning ---- */

static void dangling_edges_are_pruned(void **state)
{
    struct fixture *f = *state;
    odb_prune prune = {.size = sizeof prune, .dry_run = true};
    char to[16];

    make_record(f, "a");
    make_record(f, "b");
    link_text(f, "a", "r", "b");
    link_text(f, "b", "r", "b");
    for (int i = 0; i < 700; i++) { /* more than one commit's worth */
        (void)snprintf(to, sizeof to, "gone%03d", i);
        link_text(f, "a", "r", to);
    }
    link_text(f, "gone000", "r", "a");
    assert_ok(odb_graph_prune(f->db, &prune));
    assert_true(prune.edges == 703 && prune.removed == 701);
    expect_sound(f, 703);
    prune.dry_run = false;
    prune.prefix = odb_s("go");
    assert_ok(odb_graph_prune(f->db, &prune));
    assert_true(prune.edges == 1 && prune.removed == 1);
    prune.prefix = odb_bytes(NULL, 0);
    assert_ok(odb_graph_prune(f->db, &prune));
    assert_true(prune.edges == 702 && prune.removed == 700);
    expect_out(f, "a", "a>r>b");
    expect_out(f, "b", "b>r>b");
    expect_sound(f, 2);
}

/* ---- checking ---- */

struct problems {
    int count[5];
};

static bool note_problem(void *arg, int problem, const char *family, odb_slice key)
{
    struct problems *p = arg;

    assert_true(key.size > 0 && family[0] == 'g');
    p->count[problem]++;
    return true;
}

static void check_finds_every_kind_of_damage(void **state)
{
    struct fixture *f = *state;
    odb_cf *forward = fixture_cf(f, ODB_FAMILY_GRAPH_FORWARD);
    odb_cf *backward = fixture_cf(f, ODB_FAMILY_GRAPH_BACKWARD);
    odb_slice ab = odb_bytes("a\0\1r\0\1b", 7), ba = odb_bytes("b\0\1r\0\1a", 7);
    odb_slice cb = odb_bytes("c\0\1r\0\1b", 7);
    struct problems seen = {{0}};
    odb_graph_check check = {.size = sizeof check, .problem = note_problem, .arg = &seen};
    odb_graph_check first = {.size = sizeof first};
    odb_value v;

    link_text(f, "a", "r", "b");
    link_text(f, "c", "r", "b");
    make_record(f, "a");
    make_record(f, "b");
    first.ends = true;
    assert_ok(odb_graph_verify(odb_now(f->db), &first));
    assert_true(first.edges == 2 && first.dangling == 1);
    assert_ok(odb_get(odb_now(f->db), forward, ab, &v));
    assert_ok(odb_delete(f->db, backward, ba, NULL));
    assert_status(odb_graph_verify(odb_now(f->db), &first), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "missing in the other family"));
    assert_status(odb_graph_verify(odb_now(f->db), &check), ODB_CORRUPT);
    assert_int_equal(seen.count[ODB_GRAPH_ONE_SIDED], 1);
    assert_ok(odb_put(f->db, backward, ba, odb_bytes(v.data, v.size), NULL));
    assert_ok(odb_graph_verify(odb_now(f->db), &check));
    assert_ok(odb_put(f->db, backward, odb_bytes("x\0\1r\0\1y", 7), odb_bytes(v.data, v.size),
                      NULL)); /* on the other side only */
    assert_ok(odb_put(f->db, forward, odb_s("no key"), odb_bytes(v.data, v.size), NULL));
    assert_ok(odb_put(f->db, forward, cb, odb_s("no value"), NULL));
    seen = (struct problems){{0}};
    assert_status(odb_graph_verify(odb_now(f->db), &check), ODB_CORRUPT);
    assert_int_equal(seen.count[ODB_GRAPH_ONE_SIDED], 1);
    assert_int_equal(seen.count[ODB_GRAPH_KEY], 1);
    assert_int_equal(seen.count[ODB_GRAPH_VALUE], 1);
    assert_int_equal(seen.count[ODB_GRAPH_TWINS], 1);
    assert_int_equal(check.problems, 4);
    odb_value_release(&v);
}

/* ---- weaknesses of the original ---- */

static void w4_unlinking_a_loop_leaves_the_other_edges(void **state)
{
    struct fixture *f = *state;

    link_text(f, "a", "r", "b");
    link_text(f, "c", "r", "a");
    assert_ok(odb_unlink(f->db, NULL, odb_s("a"), odb_s("r"), odb_s("a"))); /* never was */
    expect_sound(f, 2);
    link_text(f, "a", "r", "a");
    assert_ok(odb_unlink(f->db, NULL, odb_s("a"), odb_s("r"), odb_s("a")));
    expect_out(f, "a", "a>r>b");
    expect_in(f, "a", "c>r>a");
    expect_in(f, "b", "a>r>b");
    expect_sound(f, 2);
}

static void w19_a_relation_is_read_without_the_others(void **state)
{
    struct fixture *f = *state;
    odb_cf *forward = fixture_cf(f, ODB_FAMILY_GRAPH_FORWARD);
    odb_edge_list list;
    char text[100];

    link_text(f, "a", "m", "b");
    link_text(f, "a", "z", "b");
    /* damage on either side of the relation: it would be met if it were read */
    assert_ok(odb_put(f->db, forward, odb_bytes("a\0\1l\0\1b", 7), odb_s("no value"), NULL));
    assert_ok(odb_put(f->db, forward, odb_bytes("a\0\1n\0\1b", 7), odb_s("no value"), NULL));
    assert_ok(odb_related(odb_now(f->db), odb_s("a"), odb_s("m"), &list));
    assert_string_equal(list_text(&list, text, sizeof text), "a>m>b");
}

static void w23_a_damaged_edge_hides_no_other(void **state)
{
    struct fixture *f = *state;
    odb_cf *forward = fixture_cf(f, ODB_FAMILY_GRAPH_FORWARD);
    odb_walk_report report;
    odb_walk walk = {.size = sizeof walk, .report = &report};
    odb_slice start = odb_s("a");
    odb_edge_iter *it = NULL;
    odb_nodeset *set = NULL;
    odb_edge_list list;
    odb_edge e;

    link_text(f, "a", "r", "b");
    link_text(f, "a", "r", "c");
    link_text(f, "a", "r", "d");
    assert_ok(odb_put(f->db, forward, odb_bytes("a\0\1r\0\1c", 7), odb_s("no value"), NULL));
    assert_ok(odb_put(f->db, forward, odb_bytes("a\0\1r\0\2c", 7), odb_s("no key"), NULL));
    assert_status(odb_outgoing(odb_now(f->db), odb_s("a"), &list), ODB_CORRUPT);
    assert_ok(odb_edge_iter_new(odb_now(f->db), odb_s("a"), NULL, &it));
    assert_ok(odb_edge_iter_next(it, &e));
    assert_slice(e.to, "b");
    assert_status(odb_edge_iter_next(it, &e), ODB_CORRUPT);
    assert_true(odb_edge_iter_resume(it).size > 0);
    assert_ok(odb_edge_iter_next(it, &e));
    assert_slice(e.to, "d");
    assert_status(odb_edge_iter_next(it, &e), ODB_CORRUPT);
    assert_status(odb_edge_iter_next(it, &e), ODB_ABSENT);
    odb_edge_iter_free(it);
    walk.keep_edges = true; /* so that values are read */
    assert_status(odb_walk_bfs(odb_now(f->db), &start, 1, &walk, &set), ODB_CORRUPT);
    assert_null(set);
    walk.skip_damaged = true;
    assert_ok(odb_walk_bfs(odb_now(f->db), &start, 1, &walk, &set));
    assert_int_equal(odb_nodeset_count(set), 3);
    assert_int_equal(report.damaged, 2);
    odb_nodeset_free(set);
}

static void w28_names_do_not_bleed_into_each_other(void **state)
{
    struct fixture *f = *state;
    char text[100];
    odb_edge_list list;

    link_text(f, "a:b", "c", "d");
    link_text(f, "a", "b:c", "d");
    link_text(f, "a_b", "c", "d");
    expect_out(f, "a:b", "a:b>c>d");
    expect_out(f, "a", "a>b:c>d");
    assert_ok(odb_related(odb_now(f->db), odb_s("a"), odb_s("b"), &list));
    assert_string_equal(list_text(&list, text, sizeof text), "");
    expect_in(f, "d", "a>b:c>d a:b>c>d a_b>c>d");
}

static void w29_mem_1_is_not_mem_10(void **state)
{
    struct fixture *f = *state;

    link_text(f, "mem_1", "r", "x");
    link_text(f, "mem_10", "r", "x");
    link_text(f, "mem_1", "r0", "x");
    expect_out(f, "mem_1", "mem_1>r>x mem_1>r0>x");
    expect_out(f, "mem_10", "mem_10>r>x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(edge_is_seen_from_both_ends),
        BOTH(keep_upsert_and_new_do_as_they_say),
        BOTH(both_ways_is_two_edges_in_one_commit),
        BOTH(what_makes_no_sense_is_refused),
        BOTH(ends_may_be_required),
        BOTH(required_end_deleted_meanwhile_is_a_conflict),
        BOTH(node_goes_with_its_record_and_edges),
        BOTH(large_node_is_unlinked_in_pieces),
        BOTH(transaction_is_left_as_it_was_by_what_fails),
        BOTH(edge_made_behind_a_delete_is_a_conflict),
        BOTH(all_edges_are_read_page_by_page),
        BOTH(iterator_resumes_in_another_one),
        BOTH(iterator_sees_one_moment),
        BOTH(edges_go_out_and_in_as_json),
        BOTH(walk_keeps_its_limits_and_says_so),
        BOTH(heaviest_edges_are_followed),
        BOTH(visitor_sees_all_and_may_turn_back_or_stop),
        BOTH(walk_ends_in_time),
        BOTH(path_is_not_found_beyond_the_limits),
        BOTH(only_nodes_that_pass_the_filter_are_reached),
        BOTH(negative_costs_are_refused),
        BOTH(dangling_edges_are_pruned),
        BOTH(check_finds_every_kind_of_damage),
        BOTH(w4_unlinking_a_loop_leaves_the_other_edges),
        BOTH(w19_a_relation_is_read_without_the_others),
        BOTH(w23_a_damaged_edge_hides_no_other),
        BOTH(w28_names_do_not_bleed_into_each_other),
        BOTH(w29_mem_1_is_not_mem_10),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
