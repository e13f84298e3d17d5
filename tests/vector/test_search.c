/* tests/vector/test_search.c -- what a search finds: of those that are meant, the nearest, at its moment, and
 * with its transaction's own. Filters restrict and cost no recall, whatever part they let pass. */
#include "tests/vector/vec_fixture.h"

static void the_nearest_come_first(void **state)
{
    struct fixture *f = *state;
    static const float v[3][3] = {{1, 0, 0}, {0.9f, 0.1f, 0}, {0, 1, 0}};
    odb_vec_search how = {.size = sizeof how, .k = 2};
    odb_vec_hits *hits;
    float back[3];
    uint32_t dim;

    assert_ok(odb_vec_put(f->db, NULL, odb_s("v1"), v[0], 3));
    assert_ok(odb_vec_put(f->db, NULL, odb_s("v2"), v[1], 3));
    assert_ok(odb_vec_put(f->db, NULL, odb_s("v3"), v[2], 3));
    assert_ok(odb_vec_find(odb_now(f->db), v[0], 3, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 2);
    assert_slice(odb_vec_hits_at(hits, 0).id, "v1");
    assert_true(odb_vec_hits_at(hits, 0).distance < 1e-6f);
    assert_slice(odb_vec_hits_at(hits, 1).id, "v2");
    assert_true(fabsf(odb_vec_hits_at(hits, 1).distance - 0.141421f) < 1e-5f);
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_get(odb_now(f->db), odb_s("v2"), back, 3, &dim));
    assert_int_equal(dim, 3);
    assert_memory_equal(back, v[1], sizeof back);
    assert_ok(odb_vec_delete(f->db, NULL, odb_s("v1")));
    assert_status(odb_vec_get(odb_now(f->db), odb_s("v1"), back, 3, &dim), ODB_ABSENT);
    assert_ok(odb_vec_find(odb_now(f->db), v[0], 3, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "v2");
    odb_vec_hits_free(hits);
}

static void a_transaction_sees_its_own_vectors_and_nobody_else_does(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 50, 1), q[DIM] = {0};
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_txn *t, *u;
    odb_vec_hits *hits;

    q[3] = 5;
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_vec_put(f->db, t, odb_s("a/00007"), q, DIM));
    assert_ok(odb_vec_put(f->db, t, odb_s("mine"), q, DIM));
    assert_ok(odb_vec_delete(f->db, t, odb_s("mine")));
    assert_ok(odb_vec_put(f->db, t, odb_s("mine too"), q, DIM));
    how.k = 2;
    assert_ok(odb_vec_find(odb_in(t), q, DIM, &how, &hits));
    assert_slice(odb_vec_hits_at(hits, 0).id, "a/00007");
    assert_slice(odb_vec_hits_at(hits, 1).id, "mine too");
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_find(odb_in(t), x + 7 * DIM, DIM, &how, &hits)); /* the old one is masked */
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_find(odb_now(f->db), q, DIM, &how, &hits));
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    /* Somebody else is faster. */
    assert_ok(odb_txn_begin(f->db, NULL, &u));
    assert_ok(odb_vec_put(f->db, u, odb_s("a/00007"), x, DIM));
    assert_ok(odb_txn_commit(u, NULL));
    odb_txn_free(u);
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    odb_txn_free(t);
    how.k = 1;
    assert_ok(odb_vec_find(odb_now(f->db), q, DIM, &how, &hits));
    assert_true(odb_vec_hits_at(hits, 0).distance > 0.01f);
    odb_vec_hits_free(hits);
    free(x);
}

static void filters_ids_and_prefixes_restrict(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 300, 2), *y = put_many(f, "b", 20, 3);
    odb_slice within[3] = {odb_s("a/00003"), odb_s("b/00004"), odb_s("nobody")};
    odb_vec_search how = {.size = sizeof how, .k = 10, .prefix = odb_s("b/")};
    odb_vec_search_stats stats;
    odb_vec_hits *hits;

    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 10);
    for (size_t i = 0; i < 10; i++)
        assert_memory_equal(odb_vec_hits_at(hits, i).id.data, "b/", 2);
    odb_vec_hits_free(hits);
    how.prefix = odb_bytes(NULL, 0);
    how.within = within;
    how.within_count = 3;
    how.stats = &stats;
    assert_ok(odb_vec_find(odb_now(f->db), y + 4 * DIM, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 2);
    assert_slice(odb_vec_hits_at(hits, 0).id, "b/00004");
    assert_int_equal(stats.plan, ODB_VEC_PLAN_IDS);
    odb_vec_hits_free(hits);
    free(x);
    free(y);
}

static void records_filter_vectors(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 200, 4);
    odb_vec_search how = {.size = sizeof how, .k = 5};
    odb_filter *filter;
    odb_vec_hits *hits;
    char room[32];

    for (uint32_t i = 0; i < 200; i += 2) { /* every other one has a record */
        odb_record_draft d = odb_record_make_bytes(name(room, "a", i), odb_s("text"));

        d.importance = (float)i / 200;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
    }
    assert_ok(odb_filter_parse(odb_s("importance >= 0.5"), &filter, NULL));
    how.records = filter;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 5);
    for (size_t i = 0; i < 5; i++) {
        uint32_t n = number_in(odb_vec_hits_at(hits, i).id);

        assert_true(n % 2 == 0 && n >= 100);
    }
    odb_vec_hits_free(hits);
    odb_filter_free(filter);
    free(x);
}

static void more_goes_on_and_like_leaves_itself_out(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 60, 5);
    odb_vec_search how = {.size = sizeof how, .k = 7};
    odb_vec_hits *hits, *all, *many[3];
    size_t more;

    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    how.k = 100;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &all));
    assert_int_equal(odb_vec_hits_count(all), 60);
    do
        assert_ok(odb_vec_more(odb_now(f->db), hits, 9, &more));
    while (more);
    assert_int_equal(odb_vec_hits_count(hits), 60);
    for (size_t i = 0; i < 60; i++)
        assert_true(odb_slice_equal(odb_vec_hits_at(hits, i).id, odb_vec_hits_at(all, i).id));
    odb_vec_hits_free(hits);
    how.k = 5;
    assert_ok(odb_vec_find_like(odb_now(f->db), odb_s("a/00000"), &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(odb_slice_equal(odb_vec_hits_at(hits, i).id, odb_vec_hits_at(all, i + 1).id));
    odb_vec_hits_free(hits);
    how.k = 60;
    how.max_distance = odb_vec_hits_at(all, 20).distance;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 21);
    odb_vec_hits_free(hits);
    how.max_distance = ODB_VEC_ONLY_EQUAL;
    assert_ok(odb_vec_find_many(odb_now(f->db), x, 3, DIM, &how, many));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(odb_vec_hits_count(many[i]), 1);
        odb_vec_hits_free(many[i]);
    }
    odb_vec_hits_free(all);
    free(x);
}

static void diverse_results_differ(void **state)
{
    struct fixture *f = *state;
    odb_vec_search how = {.size = sizeof how, .k = 3};
    float q[DIM] = {1}, v[DIM] = {1};
    odb_vec_hits *hits;
    char room[32];

    for (uint32_t i = 0; i < 6; i++) { /* six alike, and two apart on either side */
        v[0] = 1 + 0.001f * (float)i;
        assert_ok(odb_vec_put(f->db, NULL, name(room, "same", i), v, DIM));
    }
    v[0] = 1;
    v[1] = 0.5f;
    assert_ok(odb_vec_put(f->db, NULL, odb_s("left"), v, DIM));
    v[1] = -0.5f;
    assert_ok(odb_vec_put(f->db, NULL, odb_s("right"), v, DIM));
    how.diverse = true;
    how.lambda = 0.4f;
    assert_ok(odb_vec_find(odb_now(f->db), q, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 3);
    assert_slice(odb_vec_hits_at(hits, 0).id, "same/00000");
    assert_int_not_equal(odb_vec_hits_at(hits, 1).id.size, 10);
    assert_int_not_equal(odb_vec_hits_at(hits, 2).id.size, 10);
    odb_vec_hits_free(hits);
}

struct parity {
    uint32_t per_mille;
};

static bool passes_in(void *arg, odb_slice id)
{
    const struct parity *p = arg;
    uint32_t n = number_in(id);

    return n * 2654435761u % 1000 < p->per_mille;
}

/* Whatever part passes, the ten nearest of those are found as surely as without a filter; and when there
 * are fewer, that is what is said. */
static void filters_cost_no_recall(void **state)
{
    static const uint32_t parts[] = {0, 1, 20, 60, 150, 300, 600, 900};
    struct fixture *f = *state;
    uint32_t walked = 0;
    float *x;
    char room[32];

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 1);
    x = put_many(f, "a", 5000, 51);
    assert_ok(odb_vec_wait(f->db));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct parity p = {parts[i]};
        odb_vec_search_stats stats;
        odb_vec_search how = {.size = sizeof how, .k = 10, .filter = passes_in, .filter_arg = &p};
        uint32_t hit = 0, all = 0, pass = 0;

        for (uint32_t n = 0; n < 5000; n++)
            pass += passes_in(&p, name(room, "a", n));
        how.stats = &stats;
        for (uint32_t q = 0; q < 60; q++) {
            odb_vec_hits *found, *truth;
            float query[DIM];

            for (size_t d = 0; d < DIM; d++)
                query[d] = x[q * 83 * DIM + d] + 0.2f * x[q * 57 * DIM + d];
            how.exact = true;
            assert_ok(odb_vec_find(odb_now(f->db), query, DIM, &how, &truth));
            how.exact = false;
            assert_ok(odb_vec_find(odb_now(f->db), query, DIM, &how, &found));
            assert_int_equal(odb_vec_hits_count(found), pass < 10 ? pass : 10);
            assert_true(!stats.is_cut && (stats.is_exact || pass >= 10));
            walked += stats.plan == ODB_VEC_PLAN_GRAPH;
            for (size_t a = 0; a < odb_vec_hits_count(truth); a++, all++)
                for (size_t b = 0; b < odb_vec_hits_count(found); b++)
                    hit +=
                        odb_slice_equal(odb_vec_hits_at(truth, a).id, odb_vec_hits_at(found, b).id);
            odb_vec_hits_free(found);
            odb_vec_hits_free(truth);
        }
        assert_true(hit >= all * 97 / 100);
    }
    assert_true(walked >= 4 * 60); /* the middling ones */
    free(x);
}

struct meddler {
    struct fixture *f;
    const float *x;
    int calls;
};

/* Once the walk is under way, store the vector that is asked for and link it. */
static bool meddle(void *arg, odb_slice id)
{
    struct meddler *m = arg;

    (void)id;
    if (++m->calls == 300) {
        assert_ok(odb_vec_put(m->f->db, NULL, odb_s("late"), m->x, DIM));
        assert_true(odb_vec_work(m->f->db));
    }
    return true;
}

/* A search at a snapshot does not see what is committed and linked while it walks. */
static void a_search_under_way_sees_its_moment(void **state)
{
    struct fixture *f = *state;
    odb_vec_search how = {.size = sizeof how, .k = 10, .ef = 100};
    struct meddler m = {.f = f};
    odb_vec_search_stats stats;
    odb_snapshot *snapshot;
    odb_vec_hits *hits;
    float *x;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 3000, 41);
    assert_ok(odb_vec_wait(f->db));
    m.x = x + 5 * DIM;
    how.filter = meddle;
    how.filter_arg = &m;
    how.stats = &stats;
    assert_ok(odb_snapshot_new(f->db, &snapshot));
    assert_ok(odb_vec_find(odb_asof(snapshot), m.x, DIM, &how, &hits));
    assert_int_equal(stats.plan, ODB_VEC_PLAN_GRAPH);
    assert_true(m.calls > 300);
    assert_int_equal(odb_vec_hits_count(hits), 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_not_equal(odb_vec_hits_at(hits, i).id.size, 4);
    odb_vec_hits_free(hits);
    odb_snapshot_free(snapshot);
    assert_ok(odb_vec_find(odb_now(f->db), m.x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 10);
    assert_slice(odb_vec_hits_at(hits, 1).id, "late");
    odb_vec_hits_free(hits);
    free(x);
}

struct sweeper {
    struct fixture *f;
    const odb_vec_hits *nearest;
    int calls, at;
};

/* Once the walk is under way, delete whom it is on its way to, and take them out of the graph. */
static bool sweep_ahead(void *arg, odb_slice id)
{
    struct sweeper *s = arg;

    (void)id;
    if (++s->calls == s->at) {
        for (size_t i = 0; i < odb_vec_hits_count(s->nearest); i++)
            assert_ok(odb_vec_delete(s->f->db, NULL, odb_vec_hits_at(s->nearest, i).id));
        assert_ok(odb_vec_compact(s->f->db));
    }
    return true;
}

/* Nor does it lose what its moment sees to a removal that begins while it walks: of the graph, not of a mere
 * 256 questions to find out how many pass. Where the moment is "now", another one is as good, and costs another
 * walk instead of a look at everything. */
static void a_search_under_way_loses_nothing_to_a_removal(void **state)
{
    struct fixture *f = *state;
    odb_vec_search how = {.size = sizeof how, .k = 10, .ef = 100};
    odb_vec_search exact = {.size = sizeof exact, .k = 10, .exact = true};
    odb_vec_search_stats stats;
    odb_vec_hits *hits, *truth, *later;
    odb_snapshot *snapshot;
    float *x;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 3000, 42);
    assert_ok(odb_vec_wait(f->db));
    how.stats = &stats;
    for (int as_of_now = 0; as_of_now < 2; as_of_now++) {
        struct sweeper s = {.f = f, .at = 258};

        how.exact = true;
        how.filter = NULL;
        assert_ok(odb_vec_find(odb_now(f->db), x + 5 * DIM, DIM, &how, &truth));
        s.nearest = truth;
        how.exact = false;
        how.filter = sweep_ahead;
        how.filter_arg = &s;
        assert_ok(odb_snapshot_new(f->db, &snapshot));
        assert_ok(odb_vec_find(as_of_now ? odb_now(f->db) : odb_asof(snapshot), x + 5 * DIM, DIM,
                               &how, &hits));
        assert_true(s.calls > s.at);
        assert_ok(odb_vec_find(odb_now(f->db), x + 5 * DIM, DIM, &exact, &later));
        assert_int_equal(odb_vec_hits_count(hits), 10);
        assert_int_equal(stats.plan, as_of_now ? ODB_VEC_PLAN_GRAPH : ODB_VEC_PLAN_SCAN);
        for (size_t i = 0; i < 10; i++)
            assert_true(odb_slice_equal(odb_vec_hits_at(hits, i).id,
                                        odb_vec_hits_at(as_of_now ? later : truth, i).id));
        odb_vec_hits_free(later);
        odb_vec_hits_free(hits);
        odb_vec_hits_free(truth);
        odb_snapshot_free(snapshot);
    }
    free(x);
}

/* On the first question, delete this id. */
struct deleter {
    struct fixture *f;
    odb_slice id;
    bool is_done;
};

static bool delete_once(void *arg, odb_slice id)
{
    struct deleter *d = arg;

    (void)id;
    if (!d->is_done)
        assert_ok(odb_vec_delete(d->f->db, NULL, d->id));
    d->is_done = true;
    return true;
}

static void ids_that_are_given_are_looked_up_at_one_moment(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 3, 43);
    odb_slice within[3] = {odb_s("a/00000"), odb_s("a/00001"), odb_s("a/00002")};
    struct deleter d = {.f = f, .id = within[2]};
    odb_vec_search how = {.size = sizeof how, .k = 3, .within = within, .within_count = 3};
    odb_vec_hits *hits;

    how.filter = delete_once;
    how.filter_arg = &d;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 3);
    odb_vec_hits_free(hits);
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 2);
    odb_vec_hits_free(hits);
    free(x);
}

static void a_diverse_search_reads_its_hits_at_its_moment(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 100, 44);
    struct deleter d = {.f = f, .id = odb_s("a/00000")};
    odb_vec_search how = {.size = sizeof how, .k = 3, .diverse = true};
    odb_vec_hits *hits;

    how.filter = delete_once;
    how.filter_arg = &d;
    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 3);
    assert_slice(odb_vec_hits_at(hits, 0).id, "a/00000");
    odb_vec_hits_free(hits);
    assert_status(odb_vec_get(odb_now(f->db), d.id, NULL, 0, NULL), ODB_ABSENT);
    free(x);
}

static void more_fills_no_statistics(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 40, 45);
    odb_vec_search_stats stats = {0};
    odb_vec_search how = {.size = sizeof how, .k = 5, .stats = &stats};
    odb_vec_hits *hits;
    size_t more;

    assert_ok(odb_vec_find(odb_now(f->db), x, DIM, &how, &hits));
    assert_int_equal(stats.plan, ODB_VEC_PLAN_SCAN);
    stats = (odb_vec_search_stats){0};
    assert_ok(odb_vec_more(odb_now(f->db), hits, 5, &more));
    assert_int_equal(more, 5);
    assert_int_equal(stats.plan, 0); /* whoever asked for them may have left */
    odb_vec_hits_free(hits);
    free(x);
}

static void begin(struct fixture *f, odb_isolation isolation, bool is_pessimistic, odb_txn **out)
{
    odb_txn_options opt = {.size = sizeof opt,
                           .isolation = isolation,
                           .is_pessimistic = is_pessimistic,
                           .no_wait = true};

    assert_ok(odb_txn_begin(f->db, &opt, out));
}

static float nearest_in(odb_txn *t, const float *q)
{
    odb_vec_search how = {.size = sizeof how, .k = 1};
    odb_vec_hits *hits;
    float d;

    assert_ok(odb_vec_find(odb_in(t), q, DIM, &how, &hits));
    d = odb_vec_hits_count(hits) ? odb_vec_hits_at(hits, 0).distance : INFINITY;
    odb_vec_hits_free(hits);
    return d;
}

/* Nothing is near, so put it: two who do that one beside the other must not both get it, the first two vectors
 * of all included. */
static void a_search_holds_off_who_would_change_what_it_found(void **state)
{
    struct fixture *f = *state;
    float q[DIM] = {9}, far[DIM] = {1};
    odb_txn *t, *u;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    for (int round = 0; round < 3; round++, q[1] += 1) {
        begin(f, ODB_SERIALIZABLE, true, &t);
        begin(f, ODB_SERIALIZABLE, true, &u);
        assert_true(nearest_in(t, q) > 0.5f);
        assert_true(nearest_in(u, q) > 0.5f);
        assert_status(odb_vec_put(f->db, t, odb_s("t"), q, DIM), ODB_TIMEOUT);
        assert_status(odb_vec_put(f->db, u, odb_s("u"), q, DIM), ODB_TIMEOUT);
        odb_txn_free(u);
        assert_ok(odb_vec_put(f->db, t, odb_s("t"), q, DIM));
        assert_ok(odb_txn_commit(t, NULL));
        odb_txn_free(t);
    }
    /* Who asks for no locks is noticed at the commit. */
    begin(f, ODB_SERIALIZABLE, true, &t);
    q[1] += 1;
    assert_true(nearest_in(t, q) > 0.5f);
    assert_ok(odb_vec_put(f->db, NULL, odb_s("v"), q, DIM));
    assert_ok(odb_vec_put(f->db, t, odb_s("t"), far, DIM));
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    odb_txn_free(t);
}

/* What is refused half done leaves no marker in the transaction, neither for its searches nor for its commit. */
static void a_refused_write_leaves_nothing_of_itself(void **state)
{
    struct fixture *f = *state;
    odb_vec_report report = {.size = sizeof report};
    float *x, q[DIM] = {9};
    odb_txn *t, *u;

    open_with(f, ODB_VEC_MANUAL, ODB_VEC_F32, 1);
    x = put_many(f, "a", 50, 49);
    begin(f, ODB_SERIALIZABLE, true, &t);
    assert_true(nearest_in(t, q) > 0.5f); /* which locks all rows against writers */
    begin(f, ODB_SNAPSHOT, true, &u);
    assert_status(odb_vec_delete(f->db, u, odb_s("a/00007")), ODB_TIMEOUT);
    assert_status(odb_vec_put(f->db, u, odb_s("a/00008"), q, DIM), ODB_TIMEOUT);
    assert_status(odb_vec_put(f->db, u, odb_s("new"), q, DIM), ODB_TIMEOUT);
    assert_true(nearest_in(u, x + 7 * DIM) < 1e-6f);
    assert_true(nearest_in(u, x + 8 * DIM) < 1e-6f);
    odb_txn_free(t);
    assert_ok(odb_vec_put(f->db, NULL, odb_s("other"), q,
                          DIM)); /* which meets nothing of what was refused */
    assert_ok(odb_txn_put(u, NULL, odb_s("else"), odb_s("")));
    assert_ok(odb_txn_commit(u, NULL));
    odb_txn_free(u);
    fixture_reopen(f);
    assert_ok(odb_vec_verify(f->db, 10, &report));
    assert_int_equal(report.bad_nodes, 0);
    free(x);
}

/* A search is a read like any other: from then on the moment stays, whatever is locked. */
static void a_transaction_that_has_searched_keeps_its_moment(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 50, 46), q[DIM] = {9}, d;
    odb_value v;
    odb_txn *t;

    begin(f, ODB_SNAPSHOT, true, &t);
    d = nearest_in(t, q);
    assert_ok(odb_vec_put(f->db, NULL, odb_s("new"), q, DIM));
    assert_status(odb_txn_get_for_update(t, NULL, odb_s("lock"), &v), ODB_ABSENT);
    assert_true(nearest_in(t, q) == d);
    odb_txn_free(t);
    free(x);
}

/* Without locks a transaction depends on what a search has found, in all forms and plans. */
static void what_a_search_found_counts_as_read(void **state)
{
    struct fixture *f = *state;
    odb_vec_config to = {.size = sizeof to};
    float *x = put_many(f, "a", 50, 48), q[DIM] = {9};
    odb_txn *t;

    for (int form = ODB_VEC_F32; form <= ODB_VEC_I8; form++) {
        to.form = (odb_vec_form)form;
        assert_ok(odb_vec_rebuild(f->db, &to, 1, NULL, NULL));
        for (int is_near = 0; is_near < 2; is_near++) {
            q[1] += 1;
            assert_ok(odb_vec_put(f->db, NULL, odb_s("near"), q, DIM));
            begin(f, ODB_SERIALIZABLE, false, &t);
            assert_true(nearest_in(t, q) == 0);
            q[1] += 1;
            assert_ok(odb_vec_put(f->db, NULL, odb_s(is_near ? "near" : "a/00001"), x, DIM));
            assert_ok(odb_txn_put(t, NULL, odb_s("there is one"), odb_s("")));
            assert_status(odb_txn_commit(t, NULL), is_near ? ODB_CONFLICT : ODB_OK);
            odb_txn_free(t);
        }
    }
    free(x);
}

/* And on nothing it went past, but for what is claimed. */
static void a_claim_on_the_vectors_makes_a_search_count(void **state)
{
    struct fixture *f = *state;
    float *x = put_many(f, "a", 50, 47), q[DIM] = {9};
    odb_cf *vectors;
    odb_txn *t, *u;

    assert_ok(odb_cf_open(f->db, ODB_FAMILY_VECTOR_DATA, &vectors));
    begin(f, ODB_SERIALIZABLE, false, &t);
    begin(f, ODB_SERIALIZABLE, false, &u);
    assert_ok(odb_txn_claim(t, vectors, NULL, true));
    assert_ok(odb_txn_claim(u, vectors, NULL, true));
    assert_true(nearest_in(t, q) > 0.5f);
    assert_true(nearest_in(u, q) > 0.5f);
    assert_ok(odb_vec_put(f->db, t, odb_s("t"), q, DIM));
    assert_ok(odb_vec_put(f->db, u, odb_s("u"), q, DIM));
    assert_ok(odb_txn_commit(t, NULL));
    assert_status(odb_txn_commit(u, NULL), ODB_CONFLICT);
    odb_txn_free(t);
    odb_txn_free(u);
    free(x);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(the_nearest_come_first),
        T(a_transaction_sees_its_own_vectors_and_nobody_else_does),
        T(filters_ids_and_prefixes_restrict),
        T(records_filter_vectors),
        T(more_goes_on_and_like_leaves_itself_out),
        T(diverse_results_differ),
        T(filters_cost_no_recall),
        T(a_search_under_way_sees_its_moment),
        T(a_search_under_way_loses_nothing_to_a_removal),
        T(ids_that_are_given_are_looked_up_at_one_moment),
        T(a_diverse_search_reads_its_hits_at_its_moment),
        T(more_fills_no_statistics),
        T(a_search_holds_off_who_would_change_what_it_found),
        T(a_refused_write_leaves_nothing_of_itself),
        T(a_transaction_that_has_searched_keeps_its_moment),
        T(what_a_search_found_counts_as_read),
        T(a_claim_on_the_vectors_makes_a_search_count),
    };

    return RUN(tests, argc, argv);
}
