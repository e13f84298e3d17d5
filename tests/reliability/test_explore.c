/* tests/reliability/test_explore.c -- the scheduler and the explorer themselves: do they run every order, and
 * tell what they should? A detector that is wrong finds nothing, and nobody misses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "tests/reliability/explore.h"
#include "tests/reliability/run_alloc.h"

static struct {
    struct os_mutex lock[2];
    struct os_cond wake;
    _Atomic unsigned word[2];
    _Atomic unsigned *shared;
    bool is_set;
    unsigned points;
} pit;

static void pit_init(void)
{
    memset((void *)&pit, 0, sizeof pit);
    os_mutex_init(&pit.lock[0], RANK_COMMIT);
    os_mutex_init(&pit.lock[1], RANK_PUBLISH);
    os_cond_init(&pit.wake);
}

static void pit_run(void (*one)(void *), void (*other)(void *))
{
    struct os_thread *t[2];

    if (os_thread_start("one", one, NULL, &t[0]) != ODB_OK ||
        os_thread_start("other", other, NULL, &t[1]) != ODB_OK)
        sched_fail("no threads");
    sched_join(t, 2);
}

static struct found exhaust(void (*play)(const struct scene *, const struct dice *), unsigned bound,
                            bool may_time_out)
{
    struct scene s = {
        .name = "pit", .run = play, .atomics = " test_explore.c ", .may_time_out = may_time_out};
    struct explorer e = {.scene = &s, .until = 1e18, .is_quiet = true};
    struct found f = {0};

    explore_exhaust(&e, bound, &f);
    return f;
}

/* ---- how many orders there are ---- */

static void touch(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < pit.points; i++)
        atomic_fetch_add(&pit.word[0], 1);
}

static void play_touch(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit.points = 2;
    pit_run(touch, touch);
}

/* Three stretches each: 20 orders, of which so many have 0, 1 and 2 preemptions; 3 have 4, 4 have 2. */
static void every_order_of_two_threads_is_run_once(void **state)
{
    struct found f = exhaust(play_touch, 2, false);

    (void)state;
    assert_false(f.has_failed);
    assert_int_equal(f.exhausted, 2);
    assert_int_equal(f.by_bound[0], 2);
    assert_int_equal(f.by_bound[1], 4);
    assert_int_equal(f.by_bound[2], 8);
    f = exhaust(play_touch, 3, false);
    assert_int_equal(f.by_bound[3], 4);
}

static void touch_own(void *arg)
{
    _Atomic unsigned own = 0;

    (void)arg;
    for (int i = 0; i < 5; i++)
        atomic_fetch_add(&own, 1);
}

static void play_own(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(touch_own, touch_own);
}

static void nobody_is_stopped_before_what_is_its_own(void **state)
{
    struct found f = exhaust(play_own, 2, false);

    (void)state;
    assert_int_equal(f.distinct, 2);
}

/* ---- what is told ---- */

static void add_badly(void *arg)
{
    unsigned seen = atomic_load(&pit.word[0]);

    (void)arg;
    atomic_store(&pit.word[0], seen + 1);
}

static void play_add(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(add_badly, add_badly);
    if (atomic_load(&pit.word[0]) != 2)
        sched_fail("an addition was lost");
}

static void a_lost_addition_is_found_and_repeats(void **state)
{
    struct scene again = {.name = "pit", .run = play_add, .atomics = " test_explore.c "};
    struct found f = exhaust(play_add, 1, false), r = {0};

    (void)state;
    assert_true(f.has_failed);
    assert_memory_equal(f.why, "an addition was lost", 20);
    assert_memory_equal(f.schedule, "pit/", 4);
    assert_true(explore_replay(&again, f.schedule + 4, &r));
    assert_true(r.has_failed);
    assert_memory_equal(r.why, "an addition was lost", 20);
}

static void wait_for_signal(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[0]);
    os_cond_wait(&pit.wake, &pit.lock[0]); /* wrong: it does not look whether it has come already */
    os_mutex_unlock(&pit.lock[0]);
}

static void give_signal(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[0]);
    pit.is_set = true;
    os_cond_signal(&pit.wake);
    os_mutex_unlock(&pit.lock[0]);
}

static void play_signal(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(wait_for_signal, give_signal);
}

static void a_signal_that_nobody_waits_for_is_told_as_a_deadlock(void **state)
{
    struct found f = exhaust(play_signal, 0, false);

    (void)state;
    assert_true(f.has_failed);
    assert_memory_equal(f.why, "deadlock", 8);
}

static void wait_with_limit(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[0]);
    (void)os_cond_wait_for(&pit.wake, &pit.lock[0], 1000);
    os_mutex_unlock(&pit.lock[0]);
}

static void play_limit(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(wait_with_limit, give_signal);
}

static void a_limit_that_hides_a_lost_signal_is_told_unless_allowed(void **state)
{
    struct found f = exhaust(play_limit, 0, false);

    (void)state;
    assert_true(f.has_failed);
    assert_memory_equal(f.why, "a signal was lost", 17);
    f = exhaust(play_limit, 2, true);
    assert_false(f.has_failed);
    assert_int_equal(f.exhausted, 2);
}

static void wait_well(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[0]);
    while (!pit.is_set)
        os_cond_wait(&pit.wake, &pit.lock[0]);
    os_mutex_unlock(&pit.lock[0]);
}

static void play_well(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(wait_well, give_signal);
}

static void whoever_looks_before_it_waits_is_fine(void **state)
{
    struct found f = exhaust(play_well, 2, false);

    (void)state;
    assert_false(f.has_failed);
    assert_int_equal(f.exhausted, 2);
}

static void free_it(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[0]);
    mem_free((void *)(uintptr_t)pit.shared);
    os_mutex_unlock(&pit.lock[0]);
}

static void use_it(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[1]);
    os_mutex_unlock(&pit.lock[1]);
    atomic_fetch_add(pit.shared, 1);
}

static void play_free(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit.shared = mem_zalloc(1, 64);
    pit_run(use_it, free_it);
}

static void use_after_free_is_told(void **state)
{
    struct found f;

    (void)state;
    if (!run_alloc_is_watching())
        skip(); /* the address sanitizer's business, and it ends the program */
    f = exhaust(play_free, 1, false);
    assert_true(f.has_failed);
    assert_non_null(strstr(f.why, "memory that was freed"));
}

static void spoil_it(void *arg)
{
    (void)arg;
    os_mutex_lock(&pit.lock[1]);
    os_mutex_unlock(&pit.lock[1]);
    ((volatile uint8_t *)(uintptr_t)pit.shared)[63] =
        1; /* no point: nobody looks when it happens */
}

static void play_spoil(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit.shared = mem_zalloc(1, 64);
    pit_run(spoil_it, free_it);
}

static void a_plain_write_after_free_is_told_at_the_end(void **state)
{
    struct found f;

    (void)state;
    if (!run_alloc_is_watching())
        skip();
    f = exhaust(play_spoil, 1, false);
    assert_true(f.has_failed);
    assert_non_null(strstr(f.why, "changed after it was freed"));
}

/* ---- spinning and time ---- */

static void spin(void *arg)
{
    (void)arg;
    while (!atomic_load(&pit.word[1]))
        os_cpu_relax();
}

static void set_late(void *arg)
{
    (void)arg;
    os_thread_sleep(UINT64_C(3600) * 1000000000); /* an hour: of virtual time */
    atomic_store(&pit.word[1], 1);
}

static void play_spin(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(spin, set_late);
    if (sched_now() < UINT64_C(3600) * 1000000000)
        sched_fail("no time has passed");
}

static void a_spinning_thread_lets_others_go_on_and_time_pass(void **state)
{
    struct found f = exhaust(play_spin, 1, false);

    (void)state;
    assert_false(f.has_failed);
    assert_int_equal(f.exhausted, 1);
}

/* ---- what is learned ---- */

static void touch_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++)
        atomic_fetch_add(&pit.word[pit.is_set ? sched_self() % 2 : 0], 1);
}

static void play_together(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit_run(touch_some, touch_some);
}

static void play_apart(const struct scene *s, const struct dice *d)
{
    (void)s;
    (void)d;
    pit_init();
    pit.is_set = true;
    pit_run(touch_some, touch_some);
}

static void what_one_scene_shares_is_not_offered_in_another(void **state)
{
    struct found f = exhaust(play_together, 1, false);

    (void)state;
    assert_int_equal(f.by_bound[1], 4);
    f = exhaust(play_apart, 1, false);
    assert_int_equal(f.exhausted, 1);
    assert_int_equal(f.by_bound[0], 2);
    assert_int_equal(f.by_bound[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_of_two_threads_is_run_once),
        cmocka_unit_test(nobody_is_stopped_before_what_is_its_own),
        cmocka_unit_test(a_lost_addition_is_found_and_repeats),
        cmocka_unit_test(a_signal_that_nobody_waits_for_is_told_as_a_deadlock),
        cmocka_unit_test(a_limit_that_hides_a_lost_signal_is_told_unless_allowed),
        cmocka_unit_test(whoever_looks_before_it_waits_is_fine),
        cmocka_unit_test(use_after_free_is_told),
        cmocka_unit_test(a_plain_write_after_free_is_told_at_the_end),
        cmocka_unit_test(what_one_scene_shares_is_not_offered_in_another),
        cmocka_unit_test(a_spinning_thread_lets_others_go_on_and_time_pass),
    };

    explore_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
