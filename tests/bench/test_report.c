/* A small real run of two engines, and every form of its report. */
#include "tests/bench/bench_test.h"

#include "bench/report.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- is it JSON? ---- */

static const char *json_value(const char *p);

static const char *json_space(const char *p)
{
    while (p && isspace((unsigned char)*p))
        p++;
    return p;
}

static const char *json_text(const char *p)
{
    if (*p++ != '"')
        return NULL;
    for (; *p && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p == '\\' && !*++p)
            return NULL;
    }
    return *p ? p + 1 : NULL;
}

static const char *json_list(const char *p, char close, bool named)
{
    p = json_space(p + 1);
    if (*p == close)
        return p + 1;
    for (;;) {
        if (named) {
            p = json_space(json_text(json_space(p)));
            if (!p || *p++ != ':')
                return NULL;
        }
        p = json_space(json_value(json_space(p)));
        if (!p)
            return NULL;
        if (*p == close)
            return p + 1;
        if (*p++ != ',')
            return NULL;
        p = json_space(p);
    }
}

static const char *json_value(const char *p)
{
    static const char *const words[] = {"true", "false", "null"};
    char *end;

    if (!p)
        return NULL;
    if (*p == '{')
        return json_list(p, '}', true);
    if (*p == '[')
        return json_list(p, ']', false);
    if (*p == '"')
        return json_text(p);
    for (size_t i = 0; i < 3; i++)
        if (strncmp(p, words[i], strlen(words[i])) == 0)
            return p + strlen(words[i]);
    if (*p != '-' && !isdigit((unsigned char)*p)) /* strtod would take "nan" */
        return NULL;
    (void)strtod(p, &end);
    return end;
}

static bool is_json(const char *text)
{
    const char *end = json_space(json_value(json_space(text)));

    return end && *end == 0;
}

static void the_checker_knows_json(void **state)
{
    (void)state;
    assert_true(is_json("{\"a\": [1, 2.5e3, -1], \"b\": {\"c\": null}, \"d\\\"\": \"\"}\n"));
    assert_false(is_json("{\"a\": 1,}"));
    assert_false(is_json("{\"a\" 1}"));
    assert_false(is_json("[1 2]"));
    assert_false(is_json("[nan]"));
    assert_false(is_json("[\"a]"));
    assert_false(is_json("[1]]"));
}

/* ---- a run ---- */

struct made {
    struct bench_settings s;
    struct bench_plan plan;
    struct bench_report rep;
};

static void keep(void *arg, const struct bench_result *r)
{
    bench_report_add(arg, r);
}

static const struct bench_workload *workload(const char *name)
{
    const struct bench_workload *wl = bench_workload_find(name, strlen(name));

    assert_non_null(wl);
    return wl;
}

static int run_two_engines(void **state)
{
    struct made *m = calloc(1, sizeof *m);

    assert_non_null(m);
    bench_settings_init(&m->s);
    m->s.num = 3000;
    m->s.writes = 900;
    m->s.histogram = m->s.profile = true;
    m->plan.s = &m->s;
    m->plan.engine[0] = bench_engine_find("opendb", 6);
    m->plan.engine[1] = bench_engine_find("memory", 6);
    m->plan.engine_count = 2;
    m->plan.load[m->plan.load_count++] = workload("fillunique");
    m->plan.workload[m->plan.workload_count++] = workload("readrandom");
    m->plan.workload[m->plan.workload_count++] = workload("readseq");
    m->plan.workload[m->plan.workload_count++] = workload("overwrite");
    m->plan.workload[m->plan.workload_count++] = workload("waitforcompaction");
    m->plan.remove = true;
    (void)snprintf(m->plan.base, sizeof m->plan.base, "/tmp/bench-test-%ld-report", (long)getpid());
    m->rep.plan = &m->plan;
    (void)snprintf(m->rep.command, sizeof m->rep.command, "odb-bench --db='a\"<b>\\c'");
    bench_machine_read(&m->rep.machine, "/tmp");
    assert_true(bench_run_turns(&m->plan, keep, &m->rep));
    assert_int_equal(rmdir(m->plan.base), 0); /* the databases are gone */
    *state = m;
    return 0;
}

static int free_run(void **state)
{
    struct made *m = *state;

    free(m->rep.result);
    free(m);
    return 0;
}

static char *written(const struct bench_report *rep,
                     bool (*write)(const struct bench_report *rep, FILE *to))
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_true(write(rep, f));
    assert_int_equal(fclose(f), 0);
    assert_non_null(text);
    return text;
}

/* What is measured next shall find all the data. */
static void a_load_is_not_cut_short_by_the_number_of_writes(void **state)
{
    struct made *m = *state;

    for (size_t i = 0; i < m->rep.count; i++) {
        const struct bench_result *r = &m->rep.result[i];

        if (r->is_load)
            assert_int_equal(r->ops, 3000);
        else if (strcmp(r->workload, "overwrite") == 0)
            assert_int_equal(r->ops, 900);
    }
}

static void every_round_of_every_engine_is_there(void **state)
{
    struct made *m = *state;

    assert_int_equal(m->rep.count, 2 * (1 + 4 * 5));
    assert_false(m->rep.disagree);
    for (uint32_t round = 0; round < 5; round++)
        for (uint32_t e = 0; e < 2; e++) {
            const struct bench_result *seq = bench_report_find(&m->rep, 1, e, round);
            const struct bench_result *get = bench_report_find(&m->rep, 0, e, round);

            assert_non_null(seq);
            assert_int_equal(seq->ops, 3000); /* every key once, however scattered */
            assert_int_equal(seq->found, 3000);
            assert_non_null(get);
            assert_int_equal(get->found, 3000);
            assert_int_equal(get->hist.count, 3000);
            assert_true(get->seconds > 0 && get->cpu_foreground > 0);
            assert_true(get->peak_memory > 1 << 20);
            assert_int_equal(get->point_ops[get->point_count - 1], 3000);
        }
    /* the first engine counts its filters: each get asks one, or finds its key in memory */
    assert_true(bench_report_find(&m->rep, 0, 0, 4)->has_counts);
}

static void every_other_round_begins_with_the_last_engine(void **state)
{
    struct made *m = *state;

    for (size_t i = 0; i + 1 < m->rep.count; i += 2) {
        const struct bench_result *one = &m->rep.result[i], *two = one + 1;

        assert_int_equal(one->round, two->round);
        assert_int_equal(one->step, two->step);
        assert_int_equal(one->engine, one->round % 2);
        assert_int_equal(two->engine, 1 - one->engine);
    }
}

static void ratios_are_paired_by_round(void **state)
{
    struct made *m = *state;
    double ratio[8];

    assert_int_equal(bench_report_pairs(&m->rep, 0, 1, ratio, 8), 5);
    for (uint32_t round = 0; round < 5; round++) {
        double want = bench_rate(bench_report_find(&m->rep, 0, 0, round)) /
                      bench_rate(bench_report_find(&m->rep, 0, 1, round));

        assert_true(ratio[round] == want);
    }
    assert_int_equal(bench_report_pairs(&m->rep, 0, 1, ratio, 3), 3);
    /* the map has nothing to wait for: that is no speed to be compared with */
    assert_int_equal(bench_report_pairs(&m->rep, 3, 1, ratio, 8), 0);
}

static void engines_that_disagree_are_caught(void **state)
{
    struct made *m = *state;
    struct bench_report copy = {.plan = &m->plan};
    struct bench_result r = *bench_report_find(&m->rep, 0, 0, 0);

    bench_report_add(&copy, &r);
    r.engine = 1;
    bench_report_add(&copy, &r);
    assert_false(copy.disagree);
    r.round = 1;
    bench_report_add(&copy, &r);
    r.engine = 0;
    r.found--;
    bench_report_add(&copy, &r);
    assert_true(copy.disagree);
    free(copy.result);
}

static void the_json_is_json_and_holds_everything(void **state)
{
    struct made *m = *state;
    char *text = written(&m->rep, bench_report_json);
    size_t results = 0;

    assert_true(is_json(text));
    for (const char *at = text; (at = strstr(at, "\"micros_per_op\"")); at++)
        results++;
    assert_int_equal(results, m->rep.count);
    assert_non_null(strstr(text, "--db='a\\\"<b>\\\\c'"));
    assert_non_null(strstr(text, "\"p99.9\""));
    assert_non_null(strstr(text, "\"median\""));
    assert_non_null(strstr(text, "\"num\": \"3000\""));
    free(text);
}

/* fillsync syncs whatever --sync says: who reads of durability learns of both. */
static void what_syncs_in_spite_of_the_settings_is_named(void **state)
{
    static const char *const wants[] = {"OS: survives SIGKILL; fillsync: FULL: fdatasync before",
                                        "none: memory only"};
    struct made *m = *state;
    struct bench_plan plan = m->plan;
    struct bench_report rep = {.plan = &plan};
    struct bench_parity p;
    char *text;

    bench_report_parity(&rep, 0, &p);
    assert_null(strstr(p.durability, "FULL"));
    plan.workload[plan.workload_count++] = workload("fillsync");
    for (uint32_t e = 0; e < 2; e++) {
        bench_report_parity(&rep, e, &p);
        assert_ptr_equal(strstr(p.durability, wants[e]), p.durability);
    }
    text = written(&rep, bench_report_json);
    assert_non_null(strstr(text, wants[0]));
    free(text);
    text = written(&rep, bench_report_html);
    assert_non_null(strstr(text, wants[0]));
    free(text);
}

static void the_csv_has_as_many_fields_in_every_line(void **state)
{
    struct made *m = *state;
    char *text = written(&m->rep, bench_report_csv);
    size_t lines = 0, want = 0;

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t commas = 0;

        for (char *c = line; *c; c++)
            commas += *c == ',';
        if (lines++ == 0)
            want = commas;
        assert_int_equal(commas, want);
    }
    assert_int_equal(lines, m->rep.count + 1);
    free(text);
}

static size_t count_text(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void assert_stands_alone(const char *text)
{
    static const char *const pairs[] = {"svg", "table", "tr", "td",  "th",
                                        "p",   "h2",    "h3", "pre", "div"};

    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "http:"));
    assert_null(strstr(text, "https:"));
    assert_null(strstr(text, "nan"));
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char open[16], with[16], close[16];

        (void)snprintf(open, sizeof open, "<%s>", pairs[i]);
        (void)snprintf(with, sizeof with, "<%s ", pairs[i]);
        (void)snprintf(close, sizeof close, "</%s>", pairs[i]);
        assert_true(count_text(text, close) > 0);
        assert_int_equal(count_text(text, open) + count_text(text, with), count_text(text, close));
    }
}

static void the_page_stands_alone(void **state)
{
    struct made *m = *state;
    char *text = written(&m->rep, bench_report_html);

    assert_stands_alone(text);
    assert_non_null(strstr(text, "a&quot;&lt;b&gt;\\c"));
    assert_true(count_text(text, "<rect") >= 2 * 4); /* a bar an engine and workload */
    assert_null(strstr(text, "<h2>Vectors"));
    free(text);
}

static void the_page_shows_vectors_when_there_are_some(void **state)
{
    struct made *m = *state;
    struct bench_report with = m->rep;
    struct bench_vector_result r[3] = {
        {.form = "f32", .dim = 384, .count = 50000, .command = "odb-bench-vector <DIR>"},
        {.form = "i8", .dim = 384, .count = 50000, .their_build = 10},
        {.form = "i8", .dim = 768, .count = 50000},
    };
    char *text;

    for (size_t i = 0; i < 3; i++)
        for (unsigned e = 0; e < BENCH_VECTOR_POINTS; e++) {
            r[i].ef[e] = 10 * (e + 1);
            r[i].ours[e].recall = 0.8 + 0.03 * e;
            r[i].ours[e].qps = 9000 - 1000 * e;
            if (i == 1) {
                r[i].theirs[e].recall = r[i].ours[e].recall;
                r[i].theirs[e].qps = 4500 - 500 * e;
            }
        }
    with.vectors = r;
    with.vector_count = 3;
    text = written(&with, bench_report_html);
    assert_stands_alone(text);
    assert_non_null(strstr(text, "<h3>50000 vectors of 384 dimensions"));
    assert_non_null(strstr(text, "<h3>50000 vectors of 768 dimensions"));
    assert_non_null(strstr(text, "opendb i8, ef 30: recall 0.8600, 7000 queries/s"));
    /* two curves of the first set and the other's there, one of the second */
    assert_int_equal(count_text(text, "<circle"), 4 * BENCH_VECTOR_POINTS);
    assert_int_equal(count_text(text, "hnswlib, ef 30: recall 0.8600, 3500 queries/s"), 1);
    assert_int_equal(count_text(text, "(2.00 x)"), 1); /* at 0.95; 0.99 is not reached */
    assert_non_null(strstr(text, "odb-bench-vector &lt;DIR&gt;"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checker_knows_json),
        cmocka_unit_test(a_load_is_not_cut_short_by_the_number_of_writes),
        cmocka_unit_test(every_round_of_every_engine_is_there),
        cmocka_unit_test(every_other_round_begins_with_the_last_engine),
        cmocka_unit_test(ratios_are_paired_by_round),
        cmocka_unit_test(engines_that_disagree_are_caught),
        cmocka_unit_test(the_json_is_json_and_holds_everything),
        cmocka_unit_test(what_syncs_in_spite_of_the_settings_is_named),
        cmocka_unit_test(the_csv_has_as_many_fields_in_every_line),
        cmocka_unit_test(the_page_stands_alone),
        cmocka_unit_test(the_page_shows_vectors_when_there_are_some),
    };

    return cmocka_run_group_tests(tests, run_two_engines, free_run);
}
