/* tests/vector/test_hybrid.c -- recall and graphrag: against a list of all records scored one by one, and against
 * the walk itself. */
#include "tests/vector/vec_fixture.h"

static void put_world(struct fixture *f, uint32_t n, float *x)
{
    struct rnd r = {77};
    char room[32], other[32];

    fill(&r, x, (size_t)n * DIM);
    for (uint32_t i = 0; i < n; i++) {
        odb_record_draft d = odb_record_make_bytes(name(room, "r", i), odb_s("text"));

        d.importance = (float)rnd_below(&r, 1000) / 1000;
        d.timestamp = (int64_t)1000000 * (int64_t)rnd_below(&r, 1000000) + 1;
        assert_ok(odb_record_put(f->db, NULL, &d, 0));
        if (i % 5)
            assert_ok(odb_vec_put(f->db, NULL, name(room, "r", i), x + i * DIM, DIM));
        assert_ok(odb_link(f->db, NULL, name(room, "r", i), odb_s("next"),
                           name(other, "r", rnd_below(&r, n))));
    }
}

/* The score as the header defines it, of every record. */
static void a_proven_recall_is_the_true_one(void **state)
{
    enum { N = 700 };
    struct fixture *f = *state;
    float *x = malloc(N * DIM * sizeof *x), *score = malloc(N * sizeof *score), q[DIM];
    odb_slice context = odb_s("r/00017");
    odb_recall how = {.size = sizeof how, .k = 8, .query = q, .dim = DIM, .prove = true};
    struct rnd r = rnd_start("test_vector");
    odb_walk walk = {.size = sizeof walk, .edges = {.direction = ODB_BOTH}, .max_depth = 2};
    odb_nodeset *near;
    char room[32];

    put_world(f, N, x);
    assert_ok(odb_walk_bfs(odb_now(f->db), &context, 1, &walk, &near));
    for (int round = 0; round < 8; round++) {
        odb_recall_hits *hits;
        bool proven = false;
        float best[8];

        fill(&r, q, DIM);
        how.w_similarity = (float)rnd_below(&r, 4);
        how.w_importance = (float)rnd_below(&r, 3);
        how.w_recency = (float)rnd_below(&r, 3);
        how.w_proximity = (float)rnd_below(&r, 2);
        if (how.w_similarity + how.w_importance + how.w_recency + how.w_proximity <= 0)
            how.w_importance = 1;
        how.half_life_s = 300000;
        how.now_us = (int64_t)1000000 * 1000000;
        how.candidates = 8;
        how.context = &context;
        how.context_count = 1;
        for (uint32_t i = 0; i < N; i++) {
            odb_slice id = name(room, "r", i);
            odb_record *rec;
            size_t at = odb_nodeset_find(near, id);

            assert_ok(odb_record_get(odb_now(f->db), id, &rec));
            score[i] = how.w_importance * odb_record_importance(rec) +
                       how.w_recency *
                           (float)exp2(-(double)(how.now_us - odb_record_timestamp(rec)) / 3e11);
            if (i % 5)
                score[i] +=
                    how.w_similarity / (1 + odb_distance(q, x + i * DIM, DIM, ODB_METRIC_L2));
            if (at != SIZE_MAX)
                score[i] += how.w_proximity * (float)exp2(-(double)odb_nodeset_at(near, at).depth);
            odb_record_free(rec);
        }
        for (int k = 0; k < 8; k++) {
            uint32_t top = 0;

            for (uint32_t i = 1; i < N; i++)
                if (score[i] > score[top])
                    top = i;
            best[k] = score[top];
            score[top] = -1;
        }
        assert_ok(odb_recall_run(odb_now(f->db), &how, &hits, &proven));
        assert_true(proven);
        assert_int_equal(odb_recall_hits_count(hits), 8);
        for (size_t k = 0; k < 8; k++)
            assert_true(fabsf(odb_recall_hits_at(hits, k).score - best[k]) < 1e-4f);
        odb_recall_hits_free(hits);
    }
    odb_nodeset_free(near);
    free(score);
    free(x);
}

static void a_subgraph_holds_seeds_and_what_is_linked(void **state)
{
    enum { N = 300 };
    struct fixture *f = *state;
    float *x = malloc(N * DIM * sizeof *x);
    odb_vec_search seeds = {.size = sizeof seeds, .k = 3};
    odb_rag how = {.size = sizeof how, .seeds = &seeds, .hop_decay = 0.5f, .max_nodes = 40};
    odb_vec_search one = {.size = sizeof one, .k = 4};
    odb_walk walk = {.size = sizeof walk, .edges = {.direction = ODB_BOTH}, .max_depth = 1};
    odb_slice centre = odb_s("r/00011");
    odb_vec_hits *hits;
    odb_nodeset *set;
    odb_subgraph *g;

    put_world(f, N, x);
    assert_ok(odb_graphrag(odb_now(f->db), x + 11 * DIM, DIM, &how, &g));
    assert_slice(odb_subgraph_node(g, 0).id, "r/00011");
    assert_true(odb_subgraph_node_count(g) > 3 && odb_subgraph_node_count(g) <= 40);
    assert_true(odb_subgraph_edge_count(g) > 0);
    for (size_t i = 0; i < odb_subgraph_node_count(g); i++) {
        odb_rag_node n = odb_subgraph_node(g, i);

        assert_true(i == 0 || n.score <= odb_subgraph_node(g, i - 1).score);
        assert_true(n.depth <= 2);
    }
    for (size_t i = 0; i < odb_subgraph_edge_count(g); i++) {
        odb_rag_edge e = odb_subgraph_edge(g, i);

        assert_ok(odb_edge_exists(odb_now(f->db), odb_subgraph_node(g, e.from).id, e.rel,
                                  odb_subgraph_node(g, e.to).id));
    }
    odb_subgraph_free(g);
    assert_ok(odb_vec_find_near(odb_now(f->db), &centre, 1, &walk, x, DIM, &one, &hits));
    assert_ok(odb_walk_bfs(odb_now(f->db), &centre, 1, &walk, &set));
    for (size_t i = 0; i < odb_vec_hits_count(hits); i++)
        assert_true(odb_nodeset_find(set, odb_vec_hits_at(hits, i).id) != SIZE_MAX);
    odb_nodeset_free(set);
    odb_vec_hits_free(hits);
    free(x);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(a_proven_recall_is_the_true_one),
        T(a_subgraph_holds_seeds_and_what_is_linked),
    };

    return RUN(tests, argc, argv);
}
