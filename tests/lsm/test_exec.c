/* tests/lsm/test_exec.c -- background jobs run once per submit, with threads and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lsm/exec.h"
#include "tests/lib/test_alloc.h"

struct counted {
    struct exec_job job; /* first */
    struct exec *exec;
    _Atomic int runs;
    int again;
};

static void count_run(struct exec_job *job)
{
    struct counted *c = (struct counted *)(void *)job;

    atomic_fetch_add(&c->runs, 1);
    if (c->again-- > 0)
        exec_submit(c->exec, job);
}

static void without_threads_the_caller_runs_the_jobs(void **state)
{
    struct exec *e;
    struct counted low = {{count_run, NULL, EXEC_LOW}, NULL, 0, 0};
    struct counted high = {{count_run, NULL, EXEC_HIGH}, NULL, 0, 0};

    (void)state;
    assert_int_equal(exec_new(0, &e), ODB_OK);
    assert_false(exec_has_threads(e));
    assert_false(exec_run_one(e));
    exec_submit(e, &low.job);
    exec_submit(e, &high.job);
    assert_true(exec_run_one(e));
    assert_int_equal(high.runs, 1); /* flushes first */
    assert_int_equal(low.runs, 0);
    assert_true(exec_run_one(e));
    assert_int_equal(low.runs, 1);
    assert_false(exec_run_one(e));
    exec_free(e);
    assert_int_equal(test_alloc_alive(), 0);
}

static void every_submit_is_run_once(void **state)
{
    struct counted job[16];
    struct exec *e;

    (void)state;
    assert_int_equal(exec_new(3, &e), ODB_OK);
    for (int i = 0; i < 16; i++) {
        job[i] = (struct counted){{count_run, NULL, i % 2 ? EXEC_LOW : EXEC_HIGH}, e, 0, 100};
        exec_submit(e, &job[i].job);
    }
    for (int i = 0; i < 16; i++)
        while (atomic_load(&job[i].runs) < 101)
            os_thread_yield();
    exec_free(e);
    for (int i = 0; i < 16; i++)
        assert_int_equal(job[i].runs, 101);
    assert_int_equal(test_alloc_alive(), 0);
}

static void queued_jobs_are_dropped_at_the_end(void **state)
{
    struct counted job = {{count_run, NULL, EXEC_LOW}, NULL, 0, 0};
    struct exec *e;

    (void)state;
    assert_int_equal(exec_new(0, &e), ODB_OK);
    exec_submit(e, &job.job);
    exec_free(e);
    assert_int_equal(job.runs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_threads_the_caller_runs_the_jobs),
        cmocka_unit_test(every_submit_is_run_once),
        cmocka_unit_test(queued_jobs_are_dropped_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
