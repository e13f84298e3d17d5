/* tests/vector/test_beside.c -- many at once: at every snapshot an exact search says what the rows say, and the graph
 * no less, beside writers and the indexer; and what asks for the present stays in memory, whatever is taken out. */
#include "tests/vector/vec_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

struct many {
    odb_db *db;
    atomic_bool stop;
    _Atomic uint64_t searches;
    uint64_t seed;
};

static void *write_on(void *arg)
{
    struct many *m = arg;
    struct rnd r = {m->seed};
    char room[32];
    float x[DIM];

    for (int i = 0; i < 2500 && !atomic_load(&m->stop); i++) {
        odb_slice id = name(room, "w", rnd_below(&r, 700));

        fill(&r, x, DIM);
        if (rnd_below(&r, 4) == 0 ? odb_vec_delete(m->db, NULL, id) != ODB_OK
                                  : odb_vec_put(m->db, NULL, id, x, DIM) != ODB_OK)
            abort();
    }
    return NULL;
}

/* The distances of the nearest five of all rows at a snapshot, by looking at each. Returns how many. */
static size_t nearest_rows(odb_db *db, odb_snapshot *s, const float *q, float best[5])
{
    odb_range range = {.keys_only = true};
    odb_iter *it;
    odb_cf *cf;
    size_t n = 0;

    if (odb_cf_open(db, ODB_FAMILY_VECTOR_DATA, &cf) != ODB_OK ||
        odb_iter_new(odb_asof(s), cf, &range, &it) != ODB_OK)
        abort();
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it)) {
        float x[DIM], d;
        size_t at;

        if (odb_vec_get(odb_asof(s), odb_iter_key(it), x, DIM, NULL) != ODB_OK)
            abort();
        d = odb_distance(q, x, DIM, ODB_METRIC_L2);
        if (n == 5 && d >= best[4])
            continue;
        n += n < 5;
        for (at = n - 1; at > 0 && best[at - 1] > d; at--)
            best[at] = best[at - 1];
        best[at] = d;
    }
    if (odb_iter_status(it) != ODB_OK)
        abort();
    odb_iter_free(it);
    return n;
}

/* At a snapshot an exact search from memory says what the rows say, and the graph no less. */
static void *search_on(void *arg)
{
    struct many *m = arg;
    struct rnd r = {m->seed + 1000};
    float q[DIM], x[DIM], best[5];

    do {
        odb_vec_search how = {.size = sizeof how, .k = 5, .exact = true};
        odb_vec_hits *a, *b;
        odb_snapshot *s;

        fill(&r, q, DIM);
        if (odb_snapshot_new(m->db, &s) != ODB_OK ||
            odb_vec_find(odb_asof(s), q, DIM, &how, &a) != ODB_OK)
            abort();
        how.exact = false;
        if (odb_vec_find(odb_asof(s), q, DIM, &how, &b) != ODB_OK)
            abort();
        if (odb_vec_hits_count(a) != odb_vec_hits_count(b) ||
            nearest_rows(m->db, s, q, best) != odb_vec_hits_count(a))
            abort();
        for (size_t i = 0; i < odb_vec_hits_count(a); i++)
            if (odb_vec_hits_at(a, i).distance != best[i])
                abort();
        for (size_t i = 0; i < odb_vec_hits_count(b); i++) {
            odb_vec_hit h = odb_vec_hits_at(b, i);

            if (odb_vec_get(odb_asof(s), h.id, x, DIM, NULL) != ODB_OK ||
                fabsf(odb_distance(q, x, DIM, ODB_METRIC_L2) - h.distance) > 1e-5f ||
                h.distance < odb_vec_hits_at(a, i).distance - 1e-5f)
                abort();
        }
        odb_vec_hits_free(a);
        odb_vec_hits_free(b);
        odb_snapshot_free(s);
        atomic_fetch_add(&m->searches, 1);
    } while (!atomic_load(&m->stop));
    return NULL;
}

static void searches_hold_beside_writers_and_the_indexer(void **state)
{
    struct fixture *f = *state;
    struct many m[4] = {{0}};
    pthread_t t[4];
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .flat_max = 1, .m = 8, .flush_every = 200};
    odb_vec_report report = {.size = sizeof report};

#ifndef ODB_WITH_THREADS
    skip();
#endif
    c.ef_construction = 60;
    c.form = ODB_VEC_I8;
    assert_ok(odb_vec_open(f->db, &c));
    for (int i = 0; i < 4; i++) {
        m[i].db = f->db;
        m[i].seed = (uint64_t)i;
        assert_int_equal(pthread_create(&t[i], NULL, i < 2 ? write_on : search_on, &m[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_ok(odb_vec_compact(f->db)); /* beside the searches, too */
    assert_ok(odb_vec_rebuild(f->db, NULL, 2, NULL, NULL));
    for (int i = 2; i < 4; i++) {
        atomic_store(&m[i].stop, true);
        pthread_join(t[i], NULL);
        assert_true(atomic_load(&m[i].searches) > 0);
    }
    assert_ok(odb_vec_compact(f->db));
    assert_ok(odb_vec_verify(f->db, 30, &report));
    assert_int_equal(report.unreachable, 0);
}

struct sweeper {
    odb_db *db;
    atomic_bool stop;
    _Atomic uint64_t sweeps;
};

static void *sweep_on(void *arg)
{
    struct sweeper *s = arg;
    struct rnd r = {77};
    char room[32];
    float x[DIM];

    while (!atomic_load(&s->stop)) {
        fill(&r, x, DIM);
        if (odb_vec_put(s->db, NULL, name(room, "a", rnd_below(&r, 20)), x, DIM) != ODB_OK ||
            odb_vec_compact(s->db) != ODB_OK)
            abort();
        atomic_fetch_add(&s->sweeps, 1);
    }
    return NULL;
}

/* Who asks for the present has as many moments to choose from as he needs: none is so old that all rows would have to
 * be looked through for it, though the dead are taken out all the while. */
static void searches_for_now_stay_in_memory_beside_compactions(void **state)
{
    struct fixture *f = *state;
    odb_vec_search_stats stats;
    odb_vec_search how = {.size = sizeof how, .k = 3, .stats = &stats};
    struct sweeper s = {.db = f->db};
    uint64_t until = monotonic_ns() + 1500000000, table = 0, all = 0;
    odb_vec_hits *hits;
    pthread_t t;
    float *x;

#ifndef ODB_WITH_THREADS
    skip();
#endif
    open_with(f, ODB_VEC_MANUAL, ODB_VEC_I8, 1);
    x = put_many(f, "a", 20, 3);
    assert_int_equal(pthread_create(&t, NULL, sweep_on, &s), 0);
    for (; monotonic_ns() < until; all++) {
        assert_ok(odb_vec_find(odb_now(f->db), x + all % 20 * DIM, DIM, &how, &hits));
        assert_int_equal(odb_vec_hits_count(hits), 3);
        table += stats.plan == ODB_VEC_PLAN_TABLE;
        odb_vec_hits_free(hits);
    }
    atomic_store(&s.stop, true);
    pthread_join(t, NULL);
    assert_true(s.sweeps > 10);
    assert_int_equal(table, 0);
    free(x);
}

static void *begin_with(void *arg)
{
    struct many *m = arg;
    odb_vec_config c = {.size = sizeof c};
    odb_vec_hits *hits;
    float x[DIM];
    char room[32];
    struct rnd r = {m->seed};

    for (uint32_t i = 0; i < 20; i++) {
        fill(&r, x, DIM);
        c.ef_search = 40 + i;
        if (odb_vec_find(odb_now(m->db), x, DIM, NULL, &hits) != ODB_OK)
            abort();
        odb_vec_hits_free(hits);
        if (odb_vec_put(m->db, NULL, name(room, "b", (uint32_t)m->seed * 100 + i), x, DIM) !=
            ODB_OK)
            abort();
        if (m->seed == 0 && odb_vec_rebuild(m->db, &c, 1, NULL, NULL) != ODB_OK)
            abort();
    }
    return NULL;
}

/* Several have the first vector, and one changes what searches go by while others search. */
static void several_begin_at_once(void **state)
{
    struct fixture *f = *state;
    odb_vec_config c = {.size = sizeof c};
    struct many m[3] = {{0}};
    pthread_t t[3];

#ifndef ODB_WITH_THREADS
    skip();
#endif
    for (uint64_t i = 0; i < 3; i++) {
        m[i].db = f->db;
        m[i].seed = i;
        assert_int_equal(pthread_create(&t[i], NULL, begin_with, &m[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    assert_ok(odb_vec_config_get(f->db, &c));
    assert_int_equal(c.dim, DIM);
    assert_int_equal(c.ef_search, 59);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(searches_hold_beside_writers_and_the_indexer),
        T(searches_for_now_stay_in_memory_beside_compactions),
        T(several_begin_at_once),
    };

    return RUN(tests, argc, argv);
}
