/* The graph over an arena: recall per kernel, repairs, several inserters, readers beside writers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/lib/test_alloc.h"
#include "tests/vector/data.h"
#include "vector/hnsw.h"

#define DIM 40
#define K   10

struct graph {
    struct vec_arena a;
    struct vec_scratch s;
    float *x; /* of every slot */
    uint32_t count;
    uint64_t *linked, *gone, *found;
    uint32_t *stack;
};

static void graph_open(struct graph *g, enum vec_metric metric, enum vec_form form, uint32_t max,
                       const char *kernel)
{
    struct vec_space space = {DIM, metric, form, 16, 100, 7};

    memset((void *)g, 0, sizeof *g);
    assert_int_equal(vec_arena_init(&g->a, &space, vec_kernel_choose(kernel)), ODB_OK);
    g->x = malloc((size_t)max * DIM * sizeof *g->x);
    g->linked = calloc(max / 64 + 1, 8);
    g->gone = calloc(max / 64 + 1, 8);
    g->found = calloc(max / 64 + 1, 8);
    g->stack = malloc(max * sizeof *g->stack);
}

static void graph_close(struct graph *g)
{
    vec_scratch_release(&g->s);
    vec_arena_release(&g->a);
    free(g->x);
    free(g->linked);
    free(g->gone);
    free(g->found);
    free(g->stack);
}

static void set(uint64_t *bits, uint32_t slot)
{
    bits[slot >> 6] |= (uint64_t)1 << (slot & 63);
}

static void clear(uint64_t *bits, uint32_t slot)
{
    bits[slot >> 6] &= ~((uint64_t)1 << (slot & 63));
}

/* Room for a slot and its vector; not linked yet. */
static uint32_t graph_place(struct graph *g, uint32_t slot, struct data *d)
{
    assert_int_equal(vec_arena_grow(&g->a, slot), ODB_OK);
    data_next(d, g->x + (size_t)slot * DIM);
    vec_row_encode(g->a.space.form, g->x + (size_t)slot * DIM, 1, DIM, vec_row(&g->a, slot));
    vec_begin_set(&g->a, slot, 1);
    if (slot >= g->count)
        g->count = slot + 1;
    atomic_store(&g->a.slot_count, g->count);
    return slot;
}

static void graph_link(struct graph *g, uint32_t slot)
{
    assert_int_equal(vec_scratch_prepare(&g->s, &g->a, 200, 2048), ODB_OK);
    vec_insert(&g->a, &g->s, slot, NULL);
    set(g->linked, slot);
}

static bool shows_linked(void *arg, uint32_t slot)
{
    struct graph *g = arg;

    return vec_end(&g->a, slot) == 0;
}

/* How many of the true nearest the graph finds, of `queries` new vectors. */
static double graph_recall(struct graph *g, struct data *d, size_t ef, int queries)
{
    struct vec_view view = {.shown = shows_linked, .arg = g};
    float q[DIM];
    uint8_t query[DIM * 4 + VEC_I8_HEAD];
    int hit = 0, all = 0;

    assert_int_equal(vec_scratch_prepare(&g->s, &g->a, ef, 64), ODB_OK);
    for (int i = 0; i < queries; i++) {
        struct vec_cand best[K];
        int n = 0;

        data_next(d, q);
        for (uint32_t slot = 0; slot < g->count; slot++) {
            struct vec_cand c = {0, slot};
            int at;

            if (!vec_bit(g->linked, slot) || !shows_linked(g, slot))
                continue;
            for (int k = 0; k < DIM; k++) {
                float off = q[k] - g->x[(size_t)slot * DIM + (size_t)k];

                c.dist += off * off;
            }
            for (at = n; at > 0 && best[at - 1].dist > c.dist; at--)
                if (at < K)
                    best[at] = best[at - 1];
            if (at < K) {
                best[at] = c;
                n += n < K;
            }
        }
        vec_query_encode(g->a.space.form, q, 1, DIM, query);
        assert_true(vec_walk(&g->a, &g->s, query, ef, &view));
        for (size_t p = 0, shown = 0; p < g->s.pool_len && shown < K; p++) {
            if (g->s.pool[p].slot & VEC_CAND_HIDDEN)
                continue;
            shown++;
            for (int b = 0; b < n; b++)
                hit += best[b].slot == VEC_CAND_SLOT(g->s.pool[p].slot);
        }
        all += n;
    }
    return (double)hit / (double)all;
}

/* Rows name living slots, never twice, never their own; and everything can be reached. */
static void graph_check(struct graph *g)
{
    uint32_t n = 0;

    for (uint32_t slot = 0; slot < g->count; slot++) {
        unsigned level = vec_level_of(&g->a.space, slot);

        if (!vec_bit(g->linked, slot))
            continue;
        n++;
        for (unsigned l = 0; l <= level; l++) {
            vec_link *row = vec_links(&g->a, slot, l);
            uint32_t head = atomic_load(&row->v), count = VEC_HEAD_COUNT(head);

            assert_true(count <= vec_links_max(&g->a, l));
            assert_true(VEC_HEAD_DIVERSE(head) <= count);
            for (uint32_t i = 0; i < count; i++) {
                uint32_t id = atomic_load(&row[1 + i].v);

                assert_true(id != slot && vec_bit(g->linked, id));
                assert_true(vec_level_of(&g->a.space, id) >= l);
                for (uint32_t k = 0; k < i; k++)
                    assert_true(atomic_load(&row[1 + k].v) != id);
            }
        }
    }
    assert_int_equal(vec_reach(&g->a, g->found, g->stack, g->count), n);
}

static void every_kernel_and_form_finds_the_nearest(void **state)
{
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int form = 0; form < 3; form++) {
            struct data *d;
            struct graph g;
            double recall;

            if (!vec_kernel_named(names[i]))
                continue;
            d = data_new(42, DIM);
            graph_open(&g, VEC_L2, (enum vec_form)form, 1800, names[i]);
            for (uint32_t slot = 0; slot < 1800; slot++)
                graph_link(&g, graph_place(&g, slot, d));
            graph_check(&g);
            recall = graph_recall(&g, d, 64, 100);
            print_message("%s, form %d: recall@10 %.3f at ef 64\n", names[i], form, recall);
            assert_true(recall >= (form == VEC_I8 ? 0.93 : 0.97));
            graph_close(&g);
            data_free(d);
        }
}

static void the_same_inserts_make_the_same_graph(void **state)
{
    struct graph g[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct data *d = data_new(5, DIM);

        graph_open(&g[i], VEC_COSINE, VEC_I8, 1500, "scalar");
        for (uint32_t slot = 0; slot < 1500; slot++)
            graph_link(&g[i], graph_place(&g[i], slot, d));
        data_free(d);
    }
    for (uint32_t slot = 0; slot < 1500; slot++)
        assert_memory_equal(vec_links(&g[0].a, slot, 0), vec_links(&g[1].a, slot, 0), 32 * 4);
    graph_close(&g[0]);
    graph_close(&g[1]);
}

static void consolidate(struct graph *g)
{
    assert_int_equal(vec_scratch_prepare(&g->s, &g->a, 200, 2048), ODB_OK);
    vec_remove(&g->a, &g->s, g->gone, g->linked, g->count, NULL);
    for (uint32_t slot = 0; slot < g->count; slot++)
        if (vec_bit(g->gone, slot)) {
            clear(g->linked, slot);
            clear(g->gone, slot);
        }
    (void)vec_reconnect(&g->a, &g->s, g->linked, g->found, g->stack, g->count, NULL);
}

/* A full row drops somebody for who comes: often the only one that named it, were that not looked after.
 * No reconnecting here. */
static void inserts_alone_leave_nobody_behind(void **state)
{
    enum { N = 5000 };
    struct data *d = data_new(31, DIM);
    struct rnd r = {31};
    struct graph g;

    (void)state;
    graph_open(&g, VEC_L2, VEC_F32, N, NULL);
    g.a.space.m = 8; /* rows are full early */
    for (uint32_t slot = 0; slot < N; slot++) {
        graph_place(&g, slot, d);
        for (int k = 0; k < DIM; k++) /* no clusters: in those, neighbours name each other */
            g.x[(size_t)slot * DIM + (size_t)k] = data_gauss(&r);
        vec_row_encode(VEC_F32, g.x + (size_t)slot * DIM, 1, DIM, vec_row(&g.a, slot));
        graph_link(&g, slot);
    }
    assert_int_equal(vec_reach(&g.a, g.found, g.stack, N), N);
    graph_close(&g);
    data_free(d);
}

/*      2
 *    4         3      Rows choose what is not hidden behind somebody nearer: 2 names 0, 3 names 1. Without 1,
 *       0   1         0 names 2, behind which 3 is, and nobody names 3; but 3 stands highest, and is the
 *                     entry. Then 4 stands higher, names 0 and 2, and must lead to 3 all the same. */
static void a_new_entry_leads_to_the_one_before(void **state)
{
    static const float at[5][2] = {{0, 0}, {2, 0}, {0.5f, 1.8f}, {2.8f, 1.2f}, {-1, 1}};
    static const unsigned level[5] = {0, 0, 0, 1, 2};
    struct data *d = data_new(1, DIM);
    struct graph g;

    (void)state;
    graph_open(&g, VEC_L2, VEC_F32, 5, NULL);
    for (uint32_t fit = 0; fit < 5; g.a.space.seed += fit < 5)
        for (fit = 0; fit < 5 && vec_level_of(&g.a.space, fit) == level[fit];)
            fit++;
    for (uint32_t slot = 0; slot < 5; slot++) {
        const float x[DIM] = {at[slot][0], at[slot][1]};

        graph_place(&g, slot, d);
        vec_row_encode(VEC_F32, x, 1, DIM, vec_row(&g.a, slot));
        if (slot == 4) {
            set(g.gone, 1);
            consolidate(&g);
            graph_check(&g);
            assert_int_equal((uint32_t)atomic_load(&g.a.entry), 3);
            for (uint32_t from = 0; from <= 2; from += 2) { /* each other, and nobody else */
                const vec_link *row = vec_links(&g.a, from, 0);

                assert_int_equal(VEC_HEAD_COUNT(atomic_load(&row->v)), 1);
                assert_int_equal(atomic_load(&row[1].v), 2 - from);
            }
        }
        graph_link(&g, slot);
    }
    assert_int_equal((uint32_t)atomic_load(&g.a.entry), 4);
    graph_check(&g);
    graph_close(&g);
    data_free(d);
}

/* Replace the whole set five times, in slots that are used again. */
static void churn_costs_no_recall(void **state)
{
    enum { N = 1500 };
    struct data *d = data_new(11, DIM), *queries;
    struct rnd r = {99};
    struct graph g, fresh;
    uint32_t dead = 0, spare[N], spare_len = 0;
    double churned, built;

    (void)state;
    graph_open(&g, VEC_L2, VEC_F32, N + N / 8, NULL);
    for (uint32_t slot = 0; slot < N; slot++)
        graph_link(&g, graph_place(&g, slot, d));
    for (uint32_t slot = N; slot < N + N / 8; slot++)
        spare[spare_len++] = slot;
    for (int i = 0; i < 5 * N; i++) {
        uint32_t old, slot;

        do
            old = rnd_below(&r, g.count);
        while (!vec_bit(g.linked, old) || vec_bit(g.gone, old));
        vec_end_set(&g.a, old, 2);
        set(g.gone, old);
        dead++;
        if (spare_len == 0) {
            for (uint32_t k = 0; k < g.count; k++)
                if (vec_bit(g.gone, k))
                    spare[spare_len++] = k;
            assert_int_equal(spare_len, dead);
            consolidate(&g);
            graph_check(&g);
            dead = 0;
        }
        slot = graph_place(&g, spare[--spare_len], d);
        graph_link(&g, slot);
    }
    consolidate(&g);
    graph_check(&g);
    graph_open(&fresh, VEC_L2, VEC_F32, N, NULL);
    for (uint32_t slot = 0; slot < g.count; slot++) {
        uint32_t to = fresh.count;

        if (!vec_bit(g.linked, slot))
            continue;
        graph_place(&fresh, to, d);
        memcpy(fresh.x + (size_t)to * DIM, g.x + (size_t)slot * DIM, DIM * sizeof(float));
        vec_row_encode(VEC_F32, fresh.x + (size_t)to * DIM, 1, DIM, vec_row(&fresh.a, to));
        graph_link(&fresh, to);
    }
    queries = malloc(sizeof *queries);
    *queries = *d;
    churned = graph_recall(&g, d, 40, 300);
    built = graph_recall(&fresh, queries, 40, 300);
    print_message("recall@10 at ef 40: churned %.4f, built anew %.4f\n", churned, built);
    assert_true(churned >= built - 0.01);
    free(queries);
    graph_close(&g);
    graph_close(&fresh);
    data_free(d);
}

static void removing_nearly_all_keeps_the_rest_together(void **state)
{
    struct rnd r = rnd_start("test_hnsw");

    (void)state;
    for (int round = 0; round < 6; round++) {
        struct data *d = data_new(rnd_next(&r), DIM);
        uint32_t n = 200 + rnd_below(&r, 600);
        struct graph g;

        graph_open(&g, VEC_L2, round & 1 ? VEC_F16 : VEC_F32, n, NULL);
        for (uint32_t slot = 0; slot < n; slot++)
            graph_link(&g, graph_place(&g, slot, d));
        for (uint32_t slot = 0; slot < n; slot++)
            if (rnd_below(&r, 20)) {
                vec_end_set(&g.a, slot, 2);
                set(g.gone, slot);
            }
        consolidate(&g);
        graph_check(&g);
        for (uint32_t slot = 0; slot < n; slot++)
            if (vec_bit(g.linked, slot))
                set(g.gone, slot);
        consolidate(&g);
        assert_int_equal(atomic_load(&g.a.entry), VEC_NEVER);
        graph_link(&g, graph_place(&g, 3, d));
        graph_check(&g);
        graph_close(&g);
        data_free(d);
    }
}

static void equal_vectors_stay_reachable(void **state)
{
    struct data *d = data_new(3, DIM);
    struct graph g;

    (void)state;
    graph_open(&g, VEC_L2, VEC_F32, 600, NULL);
    for (uint32_t slot = 0; slot < 600; slot++) {
        graph_place(&g, slot, d);
        if (slot % 3) /* two thirds are copies of five vectors */
            memcpy(vec_row(&g.a, slot), vec_row(&g.a, slot % 5 * 3), DIM * sizeof(float));
        graph_link(&g, slot);
    }
    consolidate(&g);
    graph_check(&g);
    graph_close(&g);
    data_free(d);
}

struct worker {
    struct graph *g;
    _Atomic uint32_t *next;
    uint32_t end;
};

static void insert_some(void *arg)
{
    struct worker *w = arg;
    struct vec_scratch s;
    uint32_t slot;

    memset(&s, 0, sizeof s);
    if (vec_scratch_prepare(&s, &w->g->a, 200, 2048) != ODB_OK)
        return;
    while ((slot = atomic_fetch_add(w->next, 1)) < w->end)
        vec_insert(&w->g->a, &s, slot, NULL);
    vec_scratch_release(&s);
}

struct searcher {
    struct graph *g;
    atomic_bool *stop;
    float q[DIM];
    uint64_t walks;
};

static void search_on(void *arg)
{
    struct searcher *s = arg;
    struct vec_view all = {0};
    struct vec_scratch scratch;

    memset(&scratch, 0, sizeof scratch);
    do {
        if (vec_scratch_prepare(&scratch, &s->g->a, 50, 64) != ODB_OK)
            break;
        (void)vec_walk(&s->g->a, &scratch, s->q, 50, &all);
        for (size_t i = 1; i < scratch.pool_len; i++)
            if (scratch.pool[i].dist < scratch.pool[i - 1].dist)
                abort();
        s->walks++;
    } while (!atomic_load(s->stop));
    vec_scratch_release(&scratch);
}

/* Three threads insert while two search: the graph is whole, and as good as one made alone. */
static void several_insert_while_others_search(void **state)
{
    enum { N = 2400, INSERTERS = 3, SEARCHERS = 2 };
    struct data *d = data_new(21, DIM);
    struct worker w;
    struct searcher searcher[SEARCHERS];
    struct os_thread *t[INSERTERS + SEARCHERS];
    _Atomic uint32_t next = 1;
    atomic_bool stop = false;
    struct graph g;

    (void)state;
#ifndef ODB_WITH_THREADS
    skip();
#endif
    graph_open(&g, VEC_L2, VEC_F32, N, NULL);
    for (uint32_t slot = 0; slot < N; slot++)
        graph_place(&g, slot, d);
    graph_link(&g, 0);
    w = (struct worker){&g, &next, N};
    for (int i = 0; i < SEARCHERS; i++) {
        searcher[i] = (struct searcher){.g = &g, .stop = &stop};
        data_next(d, searcher[i].q);
        assert_int_equal(os_thread_start("search", search_on, &searcher[i], &t[i]), ODB_OK);
    }
    for (int i = SEARCHERS; i < SEARCHERS + INSERTERS; i++)
        assert_int_equal(os_thread_start("insert", insert_some, &w, &t[i]), ODB_OK);
    for (int i = SEARCHERS; i < SEARCHERS + INSERTERS; i++)
        os_thread_join(t[i]);
    atomic_store(&stop, true);
    for (int i = 0; i < SEARCHERS; i++) {
        os_thread_join(t[i]);
        assert_true(searcher[i].walks > 0);
    }
    for (uint32_t slot = 0; slot < N; slot++)
        set(g.linked, slot);
    (void)vec_reconnect(&g.a, &g.s, g.linked, g.found, g.stack, N, NULL);
    graph_check(&g);
    assert_true(graph_recall(&g, d, 64, 60) >= 0.96);
    graph_close(&g);
    data_free(d);
}

static void hidden_nodes_do_not_shrink_results(void **state)
{
    struct data *d = data_new(8, DIM);
    struct graph g;
    struct vec_view view = {.shown = shows_linked, .arg = &g};
    struct rnd r = {4};

    (void)state;
    graph_open(&g, VEC_L2, VEC_F32, 2000, NULL);
    for (uint32_t slot = 0; slot < 2000; slot++)
        graph_link(&g, graph_place(&g, slot, d));
    for (uint32_t slot = 0; slot < 2000; slot++)
        if (rnd_below(&r, 10) < 7)
            vec_end_set(&g.a, slot, 2);
    for (int i = 0; i < 50; i++) {
        float q[DIM];

        data_next(d, q);
        assert_true(vec_walk(&g.a, &g.s, q, 50, &view));
        assert_int_equal(g.s.pool_shown, 50);
        assert_true(!(g.s.pool[g.s.pool_len - 1].slot & VEC_CAND_HIDDEN));
    }
    assert_true(graph_recall(&g, d, 64, 50) > 0.97);
    view.visit_max = 100;
    assert_false(vec_walk(&g.a, &g.s, g.x, 50, &view));
    assert_true(g.s.distances < 100 + 64);
    graph_close(&g);
    data_free(d);
}

static void shortage_is_a_status(void **state)
{
    struct vec_space space = {DIM, VEC_L2, VEC_F32, 16, 100, 7};

    (void)state;
    for (long n = 0;; n++) {
        struct vec_arena a;
        struct vec_scratch s;
        odb_status st;
        long before = test_alloc_alive();

        memset(&s, 0, sizeof s);
        test_alloc_fail(n, 0);
        st = vec_arena_init(&a, &space, vec_kernel_scalar());
        for (uint32_t slot = 0; st == ODB_OK && slot < 20; slot++) {
            st = vec_arena_grow(&a, slot);
            if (st == ODB_OK)
                memset(vec_row(&a, slot), (int)slot, DIM * sizeof(float));
        }
        if (st == ODB_OK) {
            atomic_store(&a.slot_count, 20);
            st = vec_scratch_prepare(&s, &a, 100, 1000);
        }
        for (uint32_t slot = 0; st == ODB_OK && slot < 20; slot++)
            vec_insert(&a, &s, slot, NULL);
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        test_alloc_fail(-1, 0);
        vec_scratch_release(&s);
        vec_arena_release(&a);
        assert_int_equal(test_alloc_alive(), before);
        if (st == ODB_OK)
            break;
        assert_true(n < 100);
    }
}

/* With an argument: only the tests whose names match it. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_insert_while_others_search),
        cmocka_unit_test(every_kernel_and_form_finds_the_nearest),
        cmocka_unit_test(the_same_inserts_make_the_same_graph),
        cmocka_unit_test(inserts_alone_leave_nobody_behind),
        cmocka_unit_test(a_new_entry_leads_to_the_one_before),
        cmocka_unit_test(churn_costs_no_recall),
        cmocka_unit_test(removing_nearly_all_keeps_the_rest_together),
        cmocka_unit_test(equal_vectors_stay_reachable),
        cmocka_unit_test(hidden_nodes_do_not_shrink_results),
        cmocka_unit_test(shortage_is_a_status),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
