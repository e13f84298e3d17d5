/* Random lives of a database of vectors, records and edges beside a plain list: writes, transactions over
 * all three that commit or not, snapshots, work in the background done or left, crashes, reopenings,
 * rebuilds. Whatever happened, records and edges are those of the list, an exact search equals it, filtered
 * by records or not, and a search by the graph returns true things only.
 *
 * ODB_TEST_OPS makes it longer, ODB_TEST_SEED replays it. */
#include "tests/api/fixture.h"

#include <math.h>

#include "tests/base/random.h"

#define DIM   12
#define IDS   300
#define K     8
#define NODES 40 /* the first ids, which edges lead between */

struct list {
    bool has[IDS];
    float x[IDS][DIM];
    uint8_t record[IDS];  /* 0: none; else its importance in eighths, and one */
    uint64_t edge[NODES]; /* a bit for whom an edge leads to */
};

struct moment {
    odb_snapshot *snapshot;
    struct list then;
};

struct life {
    struct rnd r;
    char dir[64];
    odb_db *db;
    odb_metric metric;
    odb_vec_config config;
    odb_filter *important;
    struct list now;
    struct moment kept[3];
    uint64_t asked, found; /* of the true nearest, by the graph */
    int opens;
};

static float some_number(struct rnd *r)
{
    return (float)((double)(rnd_next(r) >> 11) / 9007199254740992.0 * 2 - 1);
}

static void some_vector(struct rnd *r, float *out)
{
    for (int i = 0; i < DIM; i++)
        out[i] = some_number(r);
    if (rnd_below(r, 12) == 0) /* some are alike */
        for (int i = 0; i < DIM; i++)
            out[i] = i < 2 ? 0.5f : 0.25f;
}

static odb_slice id_name(uint32_t i, char *room)
{
    return odb_bytes(room, (size_t)snprintf(room, 16, "%c%03u", i % 3 ? 'a' : 'b', i));
}

static uint32_t id_number(odb_slice id)
{
    char text[8] = {0};

    assert_int_equal(id.size, 4);
    memcpy(text, (const char *)id.data + 1, 3);
    return (uint32_t)atoi(text);
}

static void life_open(struct life *l)
{
    odb_options o = fixture_options();

    o.no_threads = true;
    assert_ok(odb_open(l->dir, &o, &l->db));
    assert_ok(odb_vec_open(l->db, &l->config));
    l->opens++;
}

/* What each search must say at a moment. */
static void check_moment(struct life *l, odb_at at, const struct list *m)
{
    odb_vec_search how = {.size = sizeof how, .k = 1 + rnd_below(&l->r, K), .exact = true};
    odb_vec_search_stats stats;
    odb_vec_hits *hits;
    float q[DIM], best[IDS], limit = 0;
    uint32_t n = 0;
    bool prefix = rnd_below(&l->r, 3) == 0, important = rnd_below(&l->r, 4) == 0;

    some_vector(&l->r, q);
    how.stats = &stats;
    if (prefix)
        how.prefix = odb_s("b");
    if (important)
        how.records = l->important;
    for (uint32_t i = 0; i < IDS; i++) {
        float d;
        uint32_t at_n;

        if (!m->has[i] || (prefix && i % 3) || (important && m->record[i] < 5))
            continue;
        d = odb_distance(q, m->x[i], DIM, l->metric);
        for (at_n = n++; at_n > 0 && best[at_n - 1] > d; at_n--)
            best[at_n] = best[at_n - 1];
        best[at_n] = d;
    }
    for (int exact = 1; exact >= 0; exact--) {
        uint32_t expect = n < how.k ? n : how.k;

        how.exact = exact;
        assert_ok(odb_vec_find(at, q, DIM, &how, &hits));
        assert_int_equal(odb_vec_hits_count(hits), expect);
        if (exact)
            assert_true(stats.is_exact);
        if (expect)
            limit = best[expect - 1];
        for (uint32_t i = 0; i < expect; i++) {
            odb_vec_hit h = odb_vec_hits_at(hits, i);
            uint32_t id = id_number(h.id);

            assert_true(m->has[id]);
            assert_true(!prefix || id % 3 == 0);
            assert_true(!important || m->record[id] >= 5);
            assert_true(fabsf(h.distance - odb_distance(q, m->x[id], DIM, l->metric)) < 1e-5f);
            if (i)
                assert_true(h.distance >= odb_vec_hits_at(hits, i - 1).distance);
            if (exact)
                assert_true(fabsf(h.distance - best[i]) < 1e-5f);
            l->found += !exact && h.distance <= limit + 1e-6f;
        }
        l->asked += exact ? 0 : expect;
        odb_vec_hits_free(hits);
    }
}

static void check_vector(struct life *l, odb_at at, const struct list *m)
{
    uint32_t i = rnd_below(&l->r, IDS), dim = 0;
    float x[DIM];
    char room[16];
    odb_status st = odb_vec_get(at, id_name(i, room), x, DIM, &dim);

    assert_status(st, m->has[i] ? ODB_OK : ODB_ABSENT);
    if (m->has[i]) {
        assert_int_equal(dim, DIM);
        assert_memory_equal(x, m->x[i], sizeof x);
    }
}

static void check_record(odb_at at, const struct list *m, uint32_t i)
{
    char room[16], text[16];
    odb_record *r;
    odb_status st = odb_record_get(at, id_name(i, room), &r);

    assert_status(st, m->record[i] ? ODB_OK : ODB_ABSENT);
    if (st != ODB_OK)
        return;
    assert_true(odb_record_importance(r) == (float)(m->record[i] - 1) / 8);
    (void)snprintf(text, sizeof text, "%u of %u", m->record[i], i);
    assert_true(odb_slice_equal(odb_record_content(r), odb_s(text)));
    odb_record_free(r);
}

/* Both sides of every edge. */
static void check_node(odb_at at, const struct list *m, uint32_t i)
{
    uint64_t in = 0, seen = 0;
    odb_edge_list e;
    char room[16];

    assert_ok(odb_outgoing(at, id_name(i, room), &e));
    for (size_t k = 0; k < e.count; k++)
        seen |= (uint64_t)1 << id_number(e.edge[k].to);
    assert_true(seen == m->edge[i] && e.count == (size_t)__builtin_popcountll(seen));
    odb_edge_list_release(&e);
    for (uint32_t k = 0; k < NODES; k++)
        in |= (m->edge[k] >> i & 1) << k;
    assert_ok(odb_incoming(at, id_name(i, room), &e));
    for (seen = 0; e.count-- > 0;)
        seen |= (uint64_t)1 << id_number(e.edge[e.count].from);
    assert_true(seen == in);
    odb_edge_list_release(&e);
}

static void check_companions(struct life *l, odb_at at, const struct list *m)
{
    check_record(at, m, rnd_below(&l->r, IDS));
    check_node(at, m, rnd_below(&l->r, NODES));
}

/* Everything, after a crash or a reopening. */
static void check_all(struct life *l)
{
    odb_graph_check edges = {.size = sizeof edges};

    check_moment(l, odb_now(l->db), &l->now);
    for (uint32_t i = 0; i < IDS; i++)
        check_record(odb_now(l->db), &l->now, i);
    for (uint32_t i = 0; i < NODES; i++)
        check_node(odb_now(l->db), &l->now, i);
    assert_ok(odb_graph_verify(odb_now(l->db), &edges));
}

static void write_companion(struct life *l, odb_txn *t, struct list *m)
{
    uint32_t i = rnd_below(&l->r, IDS), from = rnd_below(&l->r, NODES),
             to = rnd_below(&l->r, NODES);
    char room[16], other[16], text[16];

    if (rnd_below(&l->r, 2)) {
        odb_slice a = id_name(from, room), b = id_name(to, other);
        bool link = rnd_below(&l->r, 3);

        assert_ok(link ? odb_link(l->db, t, a, odb_s("next"), b)
                       : odb_unlink(l->db, t, a, odb_s("next"), b));
        m->edge[from] &= ~((uint64_t)1 << to);
        m->edge[from] |= (uint64_t)link << to;
    } else if (rnd_below(&l->r, 4)) {
        odb_record_draft d = odb_record_make_bytes(id_name(i, room), odb_s(""));

        m->record[i] = (uint8_t)(1 + rnd_below(&l->r, 9));
        (void)snprintf(text, sizeof text, "%u of %u", m->record[i], i);
        d.content = odb_s(text);
        d.importance = (float)(m->record[i] - 1) / 8;
        assert_ok(odb_record_put(l->db, t, &d, 0));
    } else {
        assert_ok(odb_record_delete(l->db, t, id_name(i, room), 0));
        m->record[i] = 0;
    }
}

/* One write, into the list too. */
static void write_one(struct life *l, odb_txn *t, struct list *m)
{
    uint32_t i = rnd_below(&l->r, IDS);
    char room[16];

    if (rnd_below(&l->r, 3) == 0)
        write_companion(l, t, m);
    else if (rnd_below(&l->r, 3)) {
        float x[DIM];

        some_vector(&l->r, x);
        assert_ok(odb_vec_put(l->db, t, id_name(i, room), x, DIM));
        memcpy(m->x[i], x, sizeof x);
        m->has[i] = true;
    } else {
        assert_ok(odb_vec_delete(l->db, t, id_name(i, room)));
        m->has[i] = false;
    }
}

static void write_in_transaction(struct life *l)
{
    struct list *m = malloc(sizeof *m);
    uint32_t n = 1 + rnd_below(&l->r, 12);
    odb_txn *t;

    *m = l->now;
    assert_ok(odb_txn_begin(l->db, NULL, &t));
    for (uint32_t i = 0; i < n; i++) {
        write_one(l, t, m);
        if (rnd_below(&l->r, 4) == 0) {
            check_moment(l, odb_in(t), m);
            check_vector(l, odb_in(t), m);
            check_companions(l, odb_in(t), m);
        }
    }
    check_moment(l, odb_now(l->db), &l->now);
    check_companions(l, odb_now(l->db), &l->now);
    if (rnd_below(&l->r, 3)) {
        assert_ok(odb_txn_commit(t, NULL));
        l->now = *m;
    }
    odb_txn_free(t);
    free(m);
}

static void drop_moments(struct life *l)
{
    for (int i = 0; i < 3; i++) {
        odb_snapshot_free(l->kept[i].snapshot);
        l->kept[i].snapshot = NULL;
    }
}

static void copy_file(const char *from, const char *to)
{
    char block[65536];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t n;

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        assert_int_equal(fwrite(block, 1, n, out), n);
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
}

/* The directory as a process that dies now leaves it: nothing runs but this thread. */
static void crash(struct life *l)
{
    char to[64], a[512], b[512];
    DIR *d = opendir(l->dir);
    struct dirent *e;

    fixture_make_dir(to, sizeof to);
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(a, sizeof a, "%s/%s", l->dir, e->d_name);
        (void)snprintf(b, sizeof b, "%s/%s", to, e->d_name);
        copy_file(a, b);
    }
    (void)closedir(d);
    drop_moments(l);
    assert_ok(odb_close(l->db));
    fixture_remove_dir(l->dir);
    memcpy(l->dir, to, sizeof to);
    life_open(l);
}

static void check_health(struct life *l)
{
    odb_vec_report report = {.size = sizeof report};
    odb_vec_stats_t stats = {.size = sizeof stats};
    uint64_t n = 0;

    for (uint32_t i = 0; i < IDS; i++)
        n += l->now.has[i];
    assert_ok(odb_vec_stats(l->db, &stats));
    assert_int_equal(stats.live, n);
    assert_int_equal(stats.rebuilds, 0);
    assert_false(stats.is_stale);
    assert_ok(odb_vec_wait(l->db));
    assert_ok(odb_vec_compact(l->db));
    assert_ok(odb_vec_verify(l->db, 20, &report));
    assert_int_equal(report.unreachable, 0);
    assert_int_equal(report.rows, n);
    assert_int_equal(report.nodes, n);
    if (report.recall < 0.9)
        fail_msg("recall %.3f of %u", report.recall, report.sampled);
}

static void bulk(struct life *l)
{
    odb_vec_bulk_options opt = {.size = sizeof opt, .batch = 5, .threads = 2};
    odb_vec_bulk *b;
    uint32_t n = rnd_below(&l->r, 60);
    char room[16];

    assert_ok(odb_vec_bulk_begin(l->db, &opt, &b));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = rnd_below(&l->r, IDS);
        float x[DIM];

        some_vector(&l->r, x);
        assert_ok(odb_vec_bulk_add(b, id_name(id, room), x, DIM));
        memcpy(l->now.x[id], x, sizeof x);
        l->now.has[id] = true;
    }
    assert_ok(odb_vec_bulk_finish(b));
}

static void live_once(uint64_t seed, int ops)
{
    static const odb_vec_mode modes[] = {ODB_VEC_MANUAL, ODB_VEC_SYNC, ODB_VEC_MANUAL,
                                         ODB_VEC_EXACT};
    struct life *l = calloc(1, sizeof *l);

    l->r.state = seed;
    fixture_make_dir(l->dir, sizeof l->dir);
    l->metric = rnd_below(&l->r, 3) ? ODB_METRIC_L2 : ODB_METRIC_COSINE;
    l->config = (odb_vec_config){
        .size = sizeof l->config,
        .dim = DIM,
        .metric = l->metric,
        .form = (odb_vec_form)(1 + rnd_below(&l->r, 3)),
        .m = 8,
        .ef_construction = 60,
        .ef_search = 40,
        .flat_max = 1,
        .flush_every = 1 + rnd_below(&l->r, 60),
        .mode = modes[rnd_below(&l->r, 4)],
    };
    life_open(l);
    assert_ok(odb_filter_parse(odb_s("importance >= 0.5"), &l->important, NULL));
    for (int i = 0; i < ops; i++) {
        uint32_t what = rnd_below(&l->r, 100);

        if (what < 40)
            write_one(l, NULL, &l->now);
        else if (what < 55)
            write_in_transaction(l);
        else if (what < 70)
            check_moment(l, odb_now(l->db), &l->now);
        else if (what < 74)
            check_vector(l, odb_now(l->db), &l->now);
        else if (what < 84)
            (void)odb_vec_work(l->db);
        else if (what < 88) {
            struct moment *m = &l->kept[rnd_below(&l->r, 3)];

            odb_snapshot_free(m->snapshot);
            assert_ok(odb_snapshot_new(l->db, &m->snapshot));
            m->then = l->now;
        } else if (what < 93) {
            struct moment *m = &l->kept[rnd_below(&l->r, 3)];

            if (m->snapshot) {
                check_moment(l, odb_asof(m->snapshot), &m->then);
                check_vector(l, odb_asof(m->snapshot), &m->then);
                check_companions(l, odb_asof(m->snapshot), &m->then);
            }
        } else if (what < 94) {
            assert_ok(odb_vec_compact(l->db));
        } else if (what < 95) {
            bulk(l);
        } else if (what < 96) {
            while (odb_work(l->db))
                ;
        } else if (what < 97) {
            drop_moments(l);
            assert_ok(odb_close(l->db));
            life_open(l);
            check_all(l);
        } else if (what < 98) {
            crash(l);
            check_all(l);
        } else if (what < 99 && l->config.mode != ODB_VEC_EXACT) {
            check_health(l);
        } else if (rnd_below(&l->r, 3) == 0) {
            assert_ok(odb_vec_rebuild(l->db, NULL, 2, NULL, NULL));
            drop_moments(l);
            assert_ok(odb_close(l->db)); /* counts begin anew */
            life_open(l);
        }
    }
    if (l->asked > 200 && (double)l->found < 0.9 * (double)l->asked)
        fail_msg("the graph found %llu of %llu", (unsigned long long)l->found,
                 (unsigned long long)l->asked);
    check_all(l);
    drop_moments(l);
    odb_filter_free(l->important);
    assert_ok(odb_close(l->db));
    fixture_remove_dir(l->dir);
    free(l);
}

static void random_lives_agree_with_a_list(void **state)
{
    const char *more = getenv("ODB_TEST_OPS");
    struct rnd r = rnd_start("test_model");
    int lives = more ? atoi(more) : 6;

    (void)state;
    for (int i = 0; i < lives; i++)
        live_once(rnd_next(&r), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lives_agree_with_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
