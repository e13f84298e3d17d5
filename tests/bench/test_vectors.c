/* Results of vectors as lines: what was written reads back, and what is none is refused. */
#include "tests/bench/bench_test.h"

#include "bench/vector_lines.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct bench_vector_result sample(void)
{
    struct bench_vector_result r = {
        .date = "2026-01-02 03:04 UTC",
        .machine = "a processor, 2 cores; a kernel",
        .command = "odb-bench-vector DIR --dim 768",
        .load = 1.5,
        .form = "i8",
        .dim = 768,
        .count = 1000000,
        .ef_construction = 200,
        .build = 2345.5,
        .their_build = 700,
        .bytes = 960,
        .their_bytes = 3372,
        .open_s = 0.25,
        .put_rate = 65923,
        .idle_qps = 1519,
        .beside = 0.88,
    };

    for (unsigned e = 0; e < BENCH_VECTOR_POINTS; e++) {
        r.ef[e] = 20 * (e + 1);
        r.ours[e].recall = 0.75 + e / 32.0;
        r.ours[e].qps = 5000 - 500 * e;
        r.theirs[e].recall = 0.5 + e / 16.0;
        r.theirs[e].qps = 4000 - 500 * e;
    }
    return r;
}

static char *line_of(const struct bench_vector_result *r)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    bench_vector_put_line(f, r);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void a_line_reads_back_the_same(void **state)
{
    struct bench_vector_result r = sample(), back;
    char *line = line_of(&r), *again;

    (void)state;
    assert_true(bench_vector_read_line(line, &back));
    assert_string_equal(back.date, r.date);
    assert_string_equal(back.machine, r.machine);
    assert_string_equal(back.command, r.command);
    assert_string_equal(back.form, r.form);
    assert_true(back.dim == r.dim && back.count == r.count && back.load == r.load);
    assert_true(back.ef_construction == 200 && back.build == 2345.5 && back.their_build == 700);
    assert_true(back.bytes == 960 && back.their_bytes == 3372 && back.open_s == 0.25);
    assert_true(back.put_rate == 65923 && back.idle_qps == 1519 && back.beside == 0.88);
    for (size_t e = 0; e < BENCH_VECTOR_POINTS; e++) {
        assert_int_equal(back.ef[e], r.ef[e]);
        assert_true(back.ours[e].qps == r.ours[e].qps && back.theirs[e].qps == r.theirs[e].qps);
        assert_true(back.ours[e].recall - r.ours[e].recall < 0.0001);
    }
    again = line_of(&back);
    assert_string_equal(line, again);
    free(again);
    free(line);
}

/* Every line cut short, and every character of it made another, is refused or read as something whole. */
static void what_is_no_line_is_refused(void **state)
{
    struct bench_vector_result r = sample(), back = {.date = "kept"};
    char *line = line_of(&r);
    size_t len = strlen(line);

    (void)state;
    for (size_t cut = 0; cut + 2 < len; cut++) { /* the last two: } and the end of the line */
        char *part = strndup(line, cut);

        assert_non_null(part);
        assert_false(bench_vector_read_line(part, &back));
        free(part);
    }
    assert_string_equal(back.date, "kept");
    for (size_t i = 0; i < len; i++)
        for (const char *with = "\"\\{}[],:x9"; *with; with++) {
            char was = line[i];

            line[i] = *with;
            if (bench_vector_read_line(line, &back))
                assert_true(back.dim >= 1 && back.count >= 1 && back.ours[0].qps > 0);
            line[i] = was;
        }
    free(line);
    assert_false(bench_vector_read_line("", &back));
    assert_false(bench_vector_read_line("{}", &back));
    assert_false(bench_vector_read_line("{\"dim\": 3, \"count\": 5, \"form\": \"f32\"}", &back));
    assert_false(bench_vector_read_line("{\"dim\": nan}", &back));
}

static void files_come_sorted_and_name_the_line_that_is_wrong(void **state)
{
    struct bench_vector_result r = sample(), *all;
    char name[64];
    size_t count, line;
    FILE *f;

    (void)state;
    (void)snprintf(name, sizeof name, "/tmp/bench-test-%ld-lines", (long)getpid());
    f = fopen(name, "w");
    assert_non_null(f);
    bench_vector_put_line(f, &r);
    (void)fputs("\n", f);
    r.dim = 128;
    bench_vector_put_line(f, &r);
    r.count = 200000;
    bench_vector_put_line(f, &r);
    assert_int_equal(fclose(f), 0);
    all = bench_vector_read_file(name, &count, &line);
    assert_non_null(all);
    assert_int_equal(count, 3);
    assert_true(all[0].dim == 128 && all[0].count == 200000);
    assert_true(all[1].dim == 128 && all[1].count == 1000000);
    assert_true(all[2].dim == 768);
    free(all);
    f = fopen(name, "a");
    assert_non_null(f);
    (void)fputs("{\"dim\": 768}\n", f);
    assert_int_equal(fclose(f), 0);
    assert_null(bench_vector_read_file(name, &count, &line));
    assert_int_equal(line, 5);
    assert_int_equal(unlink(name), 0);
    assert_null(bench_vector_read_file(name, &count, &line));
}

static void speed_at_a_recall_lies_between_the_points(void **state)
{
    struct bench_vector_result r = sample();

    (void)state;
    assert_true(bench_vector_qps_at(r.ours, 0.765625) == 4750); /* halfway between the first two */
    assert_true(bench_vector_qps_at(r.ours, 0.5) == 5000);
    assert_true(bench_vector_qps_at(r.ours, 0.99) == 0); /* not reached */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_reads_back_the_same),
        cmocka_unit_test(what_is_no_line_is_refused),
        cmocka_unit_test(files_come_sorted_and_name_the_line_that_is_wrong),
        cmocka_unit_test(speed_at_a_recall_lies_between_the_points),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
