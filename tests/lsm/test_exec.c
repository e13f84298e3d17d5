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

struct shared {
    struct exec *exec;
    _Atomic int calls[20];
};

static void count_part(void *arg, uint32_t i)
{
    struct shared *s = arg;

    atomic_fetch_add(&s->calls[i], 1);
    if (i % 5 == 0)
        os_thread_yield();
}

static void parts_are_called_once_each_and_all_before_it_returns(void **state)
{
    static const unsigned threads[] = {0, 1, 4};

    (void)state;
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        struct exec *e;

        assert_int_equal(exec_new(threads[t], &e), ODB_OK);
        for (uint32_t round = 0; round < 500; round++) {
            uint32_t count = round % 20;
            struct shared s = {.exec = e};

            exec_share(e, count, count_part, &s);
            for (uint32_t i = 0; i < 20; i++)
                assert_int_equal(s.calls[i], i < count);
        }
        exec_free(e);
    }
    assert_int_equal(test_alloc_alive(), 0);
}

static void share_again(void *arg, uint32_t i)
{
    struct shared *s = arg, inner = {.exec = s->exec};

    exec_share(s->exec, 4, count_part, &inner);
    for (int k = 0; k < 4; k++)
        assert_int_equal(inner.calls[k], 1);
    count_part(s, i);
}

/* A flush that recovery waits for shares out its parts while itself run by a worker. */
static void a_part_may_share_out_its_own_work(void **state)
{
    struct shared s = {0};

    (void)state;
    assert_int_equal(exec_new(2, &s.exec), ODB_OK);
    exec_share(s.exec, 20, share_again, &s);
    for (int i = 0; i < 20; i++)
        assert_int_equal(s.calls[i], 1);
    exec_free(s.exec);
}

static void without_an_executor_the_caller_does_it_all(void **state)
{
    struct shared s = {0};

    (void)state;
    exec_share(NULL, 20, count_part, &s);
    for (int i = 0; i < 20; i++)
        assert_int_equal(s.calls[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_threads_the_caller_runs_the_jobs),
        cmocka_unit_test(every_submit_is_run_once),
        cmocka_unit_test(queued_jobs_are_dropped_at_the_end),
        cmocka_unit_test(parts_are_called_once_each_and_all_before_it_returns),
        cmocka_unit_test(a_part_may_share_out_its_own_work),
        cmocka_unit_test(without_an_executor_the_caller_does_it_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
