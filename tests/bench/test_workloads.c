/* What a workload does and counts: how many operations, on which keys, for how long. */
#include "tests/bench/bench_test.h"

#include "bench/run.h"

#include <time.h>
#include <unistd.h>

static char base[64];

static void begin_run(struct bench_run *run, const struct bench_settings *s,
                      const struct bench_engine *e)
{
    (void)snprintf(base, sizeof base, "/tmp/bench-test-%ld-workloads", (long)getpid());
    bench_run_init(run, s, e, base);
}

static void end_run(struct bench_run *run, bool remove)
{
    bench_run_end(run, remove);
    if (remove)
        assert_int_equal(rmdir(base), 0);
}

static void do_workload(struct bench_run *run, const char *name, struct bench_result *out)
{
    const struct bench_workload *wl = bench_workload_find(name, strlen(name));

    assert_non_null(wl);
    bench_run_workload(run, wl, out);
}

static const struct bench_engine *engine(const char *name)
{
    return bench_engine_find(name, strlen(name));
}

/* ---- time ---- */

static void a_load_does_all_of_num_whatever_the_duration(void **state)
{
    static struct bench_result r;
    struct bench_settings s;
    struct bench_run run;

    (void)state;
    bench_settings_init(&s);
    s.num = 3000;
    s.duration = 1;
    begin_run(&run, &s, engine("memory"));
    run.is_loading = true;
    do_workload(&run, "fillrandom", &r);
    assert_int_equal(r.ops, 3000);
    run.is_loading = false;
    do_workload(&run, "readrandom", &r);
    assert_true(r.seconds >= 1 && r.ops != 3000);
    end_run(&run, true);
}

static unsigned slow_scans;

/* An odd number of entries: sixteen scans pass before their sum can be divided by 16. */
static uint64_t scan_slowly(void *session, uint32_t family, bool forward, uint64_t limit,
                            uint64_t *bytes)
{
    struct timespec nap = {0, 200000000};

    (void)session;
    (void)family;
    (void)forward;
    (void)limit;
    *bytes += 113;
    slow_scans++;
    (void)nanosleep(&nap, NULL);
    return 113;
}

static void the_clock_is_asked_after_each_scan(void **state)
{
    static struct bench_result r;
    struct bench_engine slow = *engine("memory");
    struct bench_settings s;
    struct bench_run run;

    (void)state;
    slow.scan = scan_slowly;
    bench_settings_init(&s);
    s.num = 100;
    s.duration = 1;
    begin_run(&run, &s, &slow);
    do_workload(&run, "readseq", &r);
    assert_true(slow_scans >= 1 && slow_scans <= 5); /* the last begins before the second is over */
    assert_int_equal(r.ops, 113 * slow_scans);
    end_run(&run, true);
}

/* ---- which keys ---- */

static void threads_share_every_key_among_them(void **state)
{
    static const char *const fill[] = {"fillseq", "fillunique", "fillbatch"};
    static struct bench_result r;
    struct bench_settings s;
    struct bench_run run;

    (void)state;
    bench_settings_init(&s);
    s.num = 1000;
    s.threads = 7;
    begin_run(&run, &s, engine("memory"));
    for (size_t i = 0; i < 3; i++) {
        do_workload(&run, fill[i], &r);
        assert_int_equal(r.ops, 1000);
        do_workload(&run, "readall", &r); /* dies when one is missing */
        assert_int_equal(r.found, 1000);
    }
    end_run(&run, true);
}

/* More draws than puts would ask for keys that nobody put; bench_die() then ends this test. */
static void readall_asks_for_no_more_than_was_put(void **state)
{
    static struct bench_result r;
    struct bench_settings s;
    struct bench_run run;

    (void)state;
    for (uint64_t threads = 1; threads <= 3; threads += 2) {
        bench_settings_init(&s);
        s.num = 50000;
        s.writes = 2000;
        s.threads = threads;
        begin_run(&run, &s, engine("memory"));
        do_workload(&run, "fillrandom", &r);
        do_workload(&run, "readall", &r);
        assert_int_equal(r.found, 2000);
        s.reads = 10000;
        do_workload(&run, "readall", &r);
        assert_int_equal(r.found, 2000);
        s.reads = 500;
        do_workload(&run, "readall", &r);
        assert_int_equal(r.found, 500);
        s.duration = 1; /* time for more than that */
        do_workload(&run, "readall", &r);
        assert_int_equal(r.found, 2000);
        end_run(&run, true);
    }
}

static void readall_of_another_process_trusts_the_flags(void **state)
{
    static struct bench_result r;
    struct bench_settings s;
    struct bench_run run;

    (void)state;
    bench_settings_init(&s);
    s.num = 50000;
    s.writes = 2000;
    begin_run(&run, &s, engine("opendb"));
    do_workload(&run, "fillrandom", &r);
    end_run(&run, false);
    s.use_existing_db = true;
    begin_run(&run, &s, engine("opendb"));
    do_workload(&run, "readall", &r);
    assert_int_equal(r.found, 2000);
    end_run(&run, true);
}

/* ---- filters ---- */

static void without_filter_bits_nothing_is_rejected(void **state)
{
    static const double bits[] = {-1, 0, 1, 10};
    static struct bench_result r;
    struct bench_settings s;
    struct bench_run run;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        bench_settings_init(&s);
        s.num = 2000;
        s.profile = true;
        s.bloom_bits = bits[i];
        begin_run(&run, &s, engine("opendb"));
        do_workload(&run, "fillseq", &r);
        do_workload(&run, "flush", &r);
        do_workload(&run, "readmissing", &r);
        assert_int_equal(r.counts.n[BENCH_COUNTER_filter_rejects] > 0, bits[i] > 0);
        end_run(&run, true);
    }
}

/* ---- among deleted keys ---- */

/* What was found dead is remembered; the first seek of a later round must pay for it all the same. */
static void the_first_seek_of_each_round_walks_over_the_deleted(void **state)
{
    static struct bench_result r;
    struct bench_settings s;
    struct bench_run run;
    uint64_t blocks[3];

    (void)state;
    bench_settings_init(&s);
    s.num = 20000;
    s.deleted = 18000;
    s.reads = 1;
    s.profile = true;
    s.disable_auto_compactions = true;
    begin_run(&run, &s, engine("opendb"));
    run.is_loading = true;
    do_workload(&run, "fillseq", &r);
    do_workload(&run, "flush", &r);
    run.is_loading = false;
    for (run.round = 0; run.round < 3; run.round++) {
        do_workload(&run, "seekdeleted", &r);
        assert_int_equal(r.ops, 1);
        assert_true(r.first_ns > 0);
        blocks[run.round] =
            r.counts.n[BENCH_COUNTER_blocks_read] + r.counts.n[BENCH_COUNTER_cache_hits];
        printf("round %u: %llu blocks\n", run.round, (unsigned long long)blocks[run.round]);
        assert_true(blocks[run.round] > 100);
    }
    end_run(&run, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_does_all_of_num_whatever_the_duration),
        cmocka_unit_test(the_clock_is_asked_after_each_scan),
        cmocka_unit_test(threads_share_every_key_among_them),
        cmocka_unit_test(readall_asks_for_no_more_than_was_put),
        cmocka_unit_test(readall_of_another_process_trusts_the_flags),
        cmocka_unit_test(without_filter_bits_nothing_is_rejected),
        cmocka_unit_test(the_first_seek_of_each_round_walks_over_the_deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
