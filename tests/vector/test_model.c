/* Random lives of a vector database beside a plain list: writes, transactions that commit or not,
 * snapshots, work in the background done or left, crashes, reopenings, rebuilds. Whatever happened, an
 * exact search equals the list, and a search by the graph returns true things only.
 *
 * ODB_TEST_OPS makes it longer, ODB_TEST_SEED replays it. */
#include "tests/api/fixture.h"

#include <math.h>

#include "tests/base/random.h"

#define DIM 12
#define IDS 300
#define K   8

struct list {
    bool has[IDS];
    float x[IDS][DIM];
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
    bool prefix = rnd_below(&l->r, 3) == 0;

    some_vector(&l->r, q);
    how.stats = &stats;
    if (prefix)
        how.prefix = odb_s("b");
    for (uint32_t i = 0; i < IDS; i++) {
        float d;
        uint32_t at_n;

        if (!m->has[i] || (prefix && i % 3))
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

/* One write, into the list too. */
static void write_one(struct life *l, odb_txn *t, struct list *m)
{
    uint32_t i = rnd_below(&l->r, IDS);
    char room[16];

    if (rnd_below(&l->r, 3)) {
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
        }
    }
    check_moment(l, odb_now(l->db), &l->now);
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
            check_moment(l, odb_now(l->db), &l->now);
        } else if (what < 98) {
            crash(l);
            check_moment(l, odb_now(l->db), &l->now);
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
    drop_moments(l);
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
