/* tests/os/test_thread.c -- threads, mutexes with ranks, condition variables. */
#include "tests/os/os_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os_thread.h"

static struct os_mutex low, high;
static struct os_cond changed;

static int setup(void **state)
{
    (void)state;
    os_mutex_init(&low, RANK_COMMIT);
    os_mutex_init(&high, RANK_TREE);
    os_cond_init(&changed);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    os_cond_destroy(&changed);
    os_mutex_destroy(&high);
    os_mutex_destroy(&low);
    assert_int_equal(test_alloc_alive(), 0);
    return 0;
}

static long counter; /* guarded by `low` */

static void count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        os_mutex_lock(&low);
        counter++;
        os_mutex_unlock(&low);
    }
}

static void a_mutex_lets_one_in_at_a_time(void **state)
{
    struct os_thread *t[4] = {NULL};

    (void)state;
    counter = 0;
    for (int i = 0; i < 4; i++)
        assert_ok(os_thread_start("counter with a long name", count_up, NULL, &t[i]));
    for (int i = 0; i < 4; i++)
        os_thread_join(t[i]);
    os_thread_join(NULL);
    assert_int_equal(counter, 80000);
}

static int turn; /* guarded by `low` */

static void play_pong(void *arg)
{
    (void)arg;
    os_mutex_lock(&low);
    for (int i = 0; i < 1000; i++) {
        while (turn != 1)
            os_cond_wait(&changed, &low);
        turn = 0;
        os_cond_broadcast(&changed);
    }
    os_mutex_unlock(&low);
}

static void a_condition_hands_the_turn_over(void **state)
{
    struct os_thread *t = NULL;

    (void)state;
    turn = 0;
    assert_ok(os_thread_start("pong", play_pong, NULL, &t));
    os_mutex_lock(&low);
    for (int i = 0; i < 1000; i++) {
        turn = 1;
        os_cond_signal(&changed);
        while (turn != 0)
            (void)os_cond_wait_for(&changed, &low, UINT64_MAX);
    }
    os_mutex_unlock(&low);
    os_thread_join(t);
}

static void waiting_for_nobody_ends_in_time(void **state)
{
    uint64_t before = os_now_ns(os_posix());

    (void)state;
    os_mutex_lock(&low);
    while (os_cond_wait_for(&changed, &low, 20000000))
        continue;
    assert_true(os_mutex_held(&low));
    os_mutex_unlock(&low);
    assert_true(os_now_ns(os_posix()) - before >= 20000000);
}

static atomic_int seen_blocked, seen_trylock;

static void look_at_signals(void *arg)
{
    sigset_t now;
    int blocked = 1;
    const int host[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE, SIGXFSZ, SIGALRM};

    (void)arg;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &now);
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++)
        blocked &= sigismember(&now, host[i]) == 1;
    atomic_store(&seen_blocked, blocked);
}

static void a_new_thread_takes_no_signal_of_the_host(void **state)
{
    struct os_thread *t = NULL;
    sigset_t before, after;

    (void)state;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_ok(os_thread_start("signals", look_at_signals, NULL, &t));
    os_thread_join(t);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(atomic_load(&seen_blocked), 1);
    assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
    assert_int_equal(sigismember(&after, SIGINT), 0);
}

static void try_low(void *arg)
{
    bool got = os_mutex_trylock(&low);

    (void)arg;
#ifndef NDEBUG
    if (os_mutex_held(&low) != got)
        got = true;
#endif
    atomic_store(&seen_trylock, got);
}

ODB_UNCHECKED static void held_is_told_truthfully(void **state)
{
    struct os_thread *t = NULL;

    (void)state;
    os_mutex_lock(&low);
    os_mutex_lock(&high);
    assert_true(os_mutex_held(&low) && os_mutex_held(&high));
    os_mutex_unlock(&low); /* not the last one taken */
    assert_true(os_mutex_held(&high));
#ifndef NDEBUG
    assert_false(os_mutex_held(&low));
#endif
    assert_true(os_mutex_trylock(&low)); /* against the order: a try cannot deadlock */
    os_mutex_unlock(&high);
    assert_true(os_mutex_held(&low));
    assert_ok(os_thread_start("try", try_low, NULL, &t));
    os_thread_join(t);
    assert_int_equal(atomic_load(&seen_trylock), 0);
    os_mutex_unlock(&low);
}

#ifndef NDEBUG
/* The signal that ends a child which runs `body`; 0 when it ended well. */
static int signal_of_child(void (*body)(void))
{
    struct rlimit none = {0, 0};
    int status = 0;
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(open("/dev/null", O_WRONLY), 2);
        body();
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void take_in_order(void)
{
    os_mutex_lock(&low);
    os_mutex_lock(&high);
    os_mutex_unlock(&high);
    os_mutex_unlock(&low);
}

ODB_UNCHECKED static void take_against_order(void)
{
    os_mutex_lock(&high);
    os_mutex_lock(&low);
}

ODB_UNCHECKED static void take_twice(void)
{
    os_mutex_lock(&low);
    os_mutex_lock(&low);
}

ODB_UNCHECKED static void give_what_is_not_held(void)
{
    os_mutex_unlock(&low);
}

ODB_UNCHECKED static void wait_below_a_higher_lock(void)
{
    os_mutex_lock(&low);
    os_mutex_lock(&high);
    (void)os_cond_wait_for(&changed, &low, 1);
}
#endif

static void debug_builds_stop_at_a_wrong_order(void **state)
{
    (void)state;
#ifdef NDEBUG
    print_message("ranks are checked in debug builds only\n");
    skip();
#else
    assert_int_equal(signal_of_child(take_in_order), 0);
    assert_int_equal(signal_of_child(take_against_order), SIGABRT);
    assert_int_equal(signal_of_child(take_twice), SIGABRT);
    assert_int_equal(signal_of_child(give_what_is_not_held), SIGABRT);
    assert_int_equal(signal_of_child(wait_below_a_higher_lock), SIGABRT);
#endif
}

static void time_passes(void **state)
{
    uint64_t before = os_now_ns(os_posix()), cpu = os_thread_cpu_ns();

    (void)state;
    os_thread_sleep(2000000);
    assert_true(os_now_ns(os_posix()) - before >= 2000000);
    for (int i = 0; i < 1000; i++)
        os_cpu_relax();
    os_thread_yield();
    assert_true(os_thread_cpu_ns() >= cpu);
}

static void test_P16_a_thread_without_memory_is_a_status(void **state)
{
    struct os_thread *t = NULL;

    (void)state;
    test_alloc_fail(0, 1);
    assert_int_equal(os_thread_start("none", count_up, NULL, &t), ODB_NOMEM);
    test_alloc_fail(-1, 0);
    assert_null(t);
}

static struct os_mutex from_the_start = OS_MUTEX_INIT(RANK_OS);

static void a_static_mutex_is_ready(void **state)
{
    (void)state;
    os_mutex_lock(&low);
    os_mutex_lock(&from_the_start);
    assert_true(os_mutex_held(&from_the_start));
    os_mutex_unlock(&from_the_start);
    os_mutex_unlock(&low);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_mutex_lets_one_in_at_a_time),
        T(a_condition_hands_the_turn_over),
        T(waiting_for_nobody_ends_in_time),
        T(a_new_thread_takes_no_signal_of_the_host),
        T(held_is_told_truthfully),
        T(debug_builds_stop_at_a_wrong_order),
        T(time_passes),
        T(test_P16_a_thread_without_memory_is_a_status),
        T(a_static_mutex_is_ready),
    };

#ifndef ODB_WITH_THREADS
    (void)tests;
    return 77; /* skipped: built without threads */
#else
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
#endif
}
