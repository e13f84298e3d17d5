/* Records and edges through every adapter that has them, against arrays of this test, in a random order
 * whose seed is printed; and each workload of them run by every engine. */
#include "tests/bench/bench_test.h"

#include "bench/models.h"
#include "bench/report.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NODES     24
#define RELATIONS 3
#define RECORDS   40

struct trial {
    const struct bench_engine *e;
    struct bench_settings s;
    struct bench_rng rng;
    char dir[64];
    void *db, *session;
    uint32_t size[RECORDS]; /* of the content; 0: absent */
    bool edge[NODES][RELATIONS][NODES];
};

static uint32_t below(struct trial *t, uint32_t n)
{
    return (uint32_t)(bench_rng_next(&t->rng) % n);
}

static odb_slice name(char text[32], const char *kind, uint32_t n)
{
    return odb_bytes(text, (size_t)snprintf(text, 32, "%s%u", kind, n));
}

static void begin(struct trial *t, const struct bench_engine *e, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    t->e = e;
    bench_settings_init(&t->s);
    t->s.cache_size = t->s.write_buffer_size = 1 << 20;
    bench_rng_init(&t->rng, seed);
    (void)snprintf(t->dir, sizeof t->dir, "/tmp/bench-test-%ld-%s", (long)getpid(), e->name);
    bench_remove_dir(t->dir);
    assert_int_equal(mkdir(t->dir, 0777), 0);
    t->db = e->open(&t->s, t->dir);
    t->session = e->session_new(t->db);
    e->models->ready(t->session);
}

static void put_record(struct trial *t)
{
    static char content[1000]; /* zeros: bench_touch adds nothing */
    uint32_t n = below(t, RECORDS), size = 1 + below(t, 1000);
    struct bench_record r = {.category = "docs", .version = 3, .time_us = 5, .importance = 0.5};
    char text[32];

    r.id = name(text, "record", n);
    r.content = odb_bytes(content, size);
    t->e->models->record_put(t->session, &r);
    t->size[n] = size;
}

static void get_record(struct trial *t)
{
    uint32_t n = below(t, RECORDS);
    uint64_t bytes = 0;
    char text[32];

    assert_int_equal(t->e->models->record_get(t->session, name(text, "record", n), &bytes),
                     t->size[n] > 0);
    assert_int_equal(bytes, t->size[n]);
}

static void link_some(struct trial *t)
{
    uint32_t a = below(t, NODES), r = below(t, RELATIONS), b = below(t, NODES);
    char from[32], rel[32], to[32];

    t->e->models->link(t->session, name(from, "node", a), name(rel, "rel", r), name(to, "node", b));
    t->edge[a][r][b] = true;
}

static void count_edges(struct trial *t)
{
    uint32_t n = below(t, NODES), out = 0, in = 0;
    uint64_t bytes = 0;
    char text[32];

    for (uint32_t r = 0; r < RELATIONS; r++)
        for (uint32_t other = 0; other < NODES; other++) {
            out += t->edge[n][r][other];
            in += t->edge[other][r][n];
        }
    assert_int_equal(t->e->models->edges(t->session, name(text, "node", n), false, &bytes), out);
    assert_int_equal(bytes > 0, out > 0);
    assert_int_equal(t->e->models->edges(t->session, name(text, "node", n), true, &bytes), in);
}

/* Within `depth` hops, the start included. */
static uint32_t within(const struct trial *t, uint32_t start, uint32_t depth)
{
    bool seen[NODES] = {false};
    uint32_t count = 0;

    seen[start] = true;
    for (uint32_t d = 0; d < depth; d++) {
        bool next[NODES];

        memcpy(next, seen, sizeof next);
        for (uint32_t a = 0; a < NODES; a++)
            for (uint32_t r = 0; r < RELATIONS && seen[a]; r++)
                for (uint32_t b = 0; b < NODES; b++)
                    next[b] |= t->edge[a][r][b];
        memcpy(seen, next, sizeof seen);
    }
    for (uint32_t a = 0; a < NODES; a++)
        count += seen[a];
    return count;
}

static void walk_some(struct trial *t)
{
    uint32_t n = below(t, NODES), depth = 1 + below(t, 3);
    char text[32];

    assert_int_equal(t->e->models->walk(t->session, name(text, "node", n), depth),
                     within(t, n, depth));
}

static void open_again(struct trial *t)
{
    if (strcmp(t->e->name, "memory") == 0)
        return; /* forgets what it knew */
    t->e->session_free(t->session);
    t->e->close(t->db);
    t->db = t->e->open(&t->s, t->dir);
    t->session = t->e->session_new(t->db);
    t->e->models->ready(t->session);
}

static void every_engine_with_models_answers_as_arrays(void **state)
{
    const char *asked = getenv("ODB_TEST_SEED");
    uint64_t seed = asked ? strtoull(asked, NULL, 10) : (uint64_t)time(NULL);
    struct trial *t = calloc(1, sizeof *t);

    (void)state;
    assert_non_null(t);
    printf("ODB_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; bench_engines[i]; i++) {
        if (!bench_engines[i]->models)
            continue;
        begin(t, bench_engines[i], seed);
        for (int step = 0; step < 800; step++) {
            static void (*const act[])(struct trial * t) = {put_record, get_record,  link_some,
                                                            link_some,  count_edges, walk_some};

            if (below(t, 100) == 0)
                open_again(t);
            act[below(t, 6)](t);
        }
        t->e->session_free(t->session);
        t->e->close(t->db);
        bench_remove_dir(t->dir);
    }
    free(t);
}

/* ---- the workloads ---- */

#define NUM 400

static uint64_t run_one(const struct bench_engine *e, const struct bench_workload *wl,
                        struct bench_result *out)
{
    struct bench_run *run = calloc(1, sizeof *run);
    struct bench_settings s;
    char base[64];

    assert_non_null(run);
    bench_settings_init(&s);
    s.num = NUM;
    s.threads = 2;
    s.cache_size = s.write_buffer_size = 1 << 20;
    (void)snprintf(base, sizeof base, "/tmp/bench-test-%ld-models", (long)getpid());
    bench_run_init(run, &s, e, base);
    bench_run_workload(run, bench_workload_find("recordput", 9), out);
    bench_run_workload(run, wl, out);
    bench_run_workload(run, wl, out); /* again: on what is there, or afresh */
    bench_run_end(run, true);
    assert_int_equal(rmdir(base), 0);
    free(run);
    return out->found;
}

/* What nobody can tell from the number of operations: how much there was to be found. */
static uint64_t expected_found(const struct bench_workload *wl, uint64_t ops)
{
    if (strcmp(wl->name, "recordget") == 0)
        return ops;
    if (strcmp(wl->name, "outgoing") == 0)
        return ops * 100;
    return UINT64_MAX; /* by chance: the same for all */
}

static void every_workload_is_done_by_who_has_models(void **state)
{
    struct bench_result *r = calloc(1, sizeof *r);

    (void)state;
    assert_non_null(r);
    for (const struct bench_workload *wl = bench_workloads_of_models; wl->name; wl++) {
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; bench_engines[i]; i++) {
            const struct bench_engine *e = bench_engines[i];
            uint64_t found, want;

            if (!e->models && wl != bench_workloads_of_models)
                continue; /* one of them says it for all */
            found = run_one(e, wl, r);
            want = expected_found(wl, r->ops);
            if (!e->models) {
                assert_int_equal(r->ops, 0);
                assert_non_null(strstr(r->note, "no records and no edges"));
                continue;
            }
            if (strcmp(wl->name, "memoryputgraph") == 0 && strcmp(e->name, "sqlite") == 0) {
                assert_int_equal(r->ops, 0);
                assert_non_null(strstr(r->note, "no graph of vectors"));
                continue;
            }
            assert_int_equal(r->ops, strcmp(wl->name, "walk3") == 0 ? NUM / 100 : NUM);
            assert_int_equal(r->note[0], 0);
            assert_true(want == UINT64_MAX || found == want);
            if (first == UINT64_MAX)
                first = found;
            if (wl->flags & BENCH_CHECKED)
                assert_true(found > 0);
            assert_int_equal(found, first);
        }
    }
    free(r);
}

/* An engine that was not asked has not given a wrong answer. */
static void who_has_no_models_does_not_disagree(void **state)
{
    struct bench_settings s;
    struct bench_plan plan = {.s = &s};
    struct bench_report rep = {.plan = &plan};
    struct bench_result *r = calloc(1, sizeof *r);
    double ratio[2];

    (void)state;
    assert_non_null(r);
    bench_settings_init(&s);
    plan.engine[0] = bench_engine_find("opendb", 6);
    plan.engine[1] = bench_engine_find("memory", 6);
    plan.engine_count = 2;
    plan.workload[plan.workload_count++] = bench_workload_find("recordget", 9);
    (void)snprintf(r->workload, sizeof r->workload, "recordget");
    r->is_checked = true;
    r->seconds = 1;
    r->ops = r->found = 10;
    bench_report_add(&rep, r);
    r->engine = 1;
    r->ops = r->found = 0;
    (void)snprintf(r->note, sizeof r->note, "it has no records");
    bench_report_add(&rep, r);
    r->engine = 0;
    r->ops = r->found = 10;
    bench_report_add(&rep, r);
    assert_false(rep.disagree);
    assert_int_equal(bench_report_pairs(&rep, 0, 1, ratio, 2), 0);
    free(rep.result);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_engine_with_models_answers_as_arrays),
        cmocka_unit_test(every_workload_is_done_by_who_has_models),
        cmocka_unit_test(who_has_no_models_does_not_disagree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
