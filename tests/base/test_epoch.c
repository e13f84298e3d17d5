#include "base/epoch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/test_alloc.h"

enum { ALIVE = 0x600d, DEAD = 0xdead };

struct thing {
    struct epoch_item item; /* first */
    int is_alive;
    atomic_int *freed;
    struct epoch *again; /* on free, retire `child` here */
    struct thing *child;
};

static void free_thing(struct epoch_item *item)
{
    struct thing *t = (struct thing *)(void *)item;

    t->is_alive = DEAD;
    atomic_fetch_add(t->freed, 1);
    if (t->child)
        epoch_retire(t->again, &t->child->item, free_thing);
    mem_free(t);
}

static struct thing *new_thing(atomic_int *freed)
{
    struct thing *t = mem_zalloc(1, sizeof *t);

    if (!t)
        abort();
    t->is_alive = ALIVE;
    t->freed = freed;
    return t;
}

static void without_readers_one_collect_frees_all(void **state)
{
    struct epoch e;
    atomic_int freed = 0;

    (void)state;
    epoch_init(&e);
    for (int i = 0; i < 10; i++)
        epoch_retire(&e, &new_thing(&freed)->item, free_thing);
    assert_int_equal(freed, 0);
    assert_int_equal(epoch_collect(&e), 10);
    assert_int_equal(freed, 10);
    assert_int_equal(epoch_collect(&e), 0);
    epoch_release(&e);
}

static void a_reader_inside_holds_what_was_retired_after_it_entered(void **state)
{
    struct epoch e;
    struct epoch_guard g;
    atomic_int freed = 0;

    (void)state;
    epoch_init(&e);
    g = epoch_enter(&e);
    epoch_retire(&e, &new_thing(&freed)->item, free_thing);
    for (int i = 0; i < 10; i++)
        (void)epoch_collect(&e);
    assert_int_equal(freed, 0);
    epoch_leave(g);
    for (int i = 0; i < 2; i++)
        (void)epoch_collect(&e);
    assert_int_equal(freed, 1);
    epoch_release(&e);
}

static void readers_relaying_each_other_still_let_memory_go(void **state)
{
    struct epoch e;
    struct epoch_guard a, b;
    atomic_int freed = 0;

    (void)state;
    epoch_init(&e);
    a = epoch_enter(&e);
    epoch_retire(&e, &new_thing(&freed)->item, free_thing);
    for (int i = 0; i < 20 && freed == 0; i++) { /* never a moment without a reader */
        b = epoch_enter(&e);
        epoch_leave(a);
        (void)epoch_collect(&e);
        a = b;
    }
    epoch_leave(a);
    assert_int_equal(freed, 1);
    epoch_release(&e);
}

static void pairs_nest(void **state)
{
    struct epoch e;
    struct epoch_guard outer, inner;
    atomic_int freed = 0;

    (void)state;
    epoch_init(&e);
    outer = epoch_enter(&e);
    (void)epoch_collect(&e); /* moves on: the inner pair is counted elsewhere */
    inner = epoch_enter(&e);
    epoch_retire(&e, &new_thing(&freed)->item, free_thing);
    epoch_leave(inner);
    for (int i = 0; i < 5; i++)
        (void)epoch_collect(&e);
    assert_int_equal(freed, 0);
    epoch_leave(outer);
    for (int i = 0; i < 3; i++)
        (void)epoch_collect(&e);
    assert_int_equal(freed, 1);
    epoch_release(&e);
}

static void retiring_collects_now_and_then(void **state)
{
    struct epoch e;
    atomic_int freed = 0;

    (void)state;
    epoch_init(&e);
    for (int i = 0; i < 1000; i++)
        epoch_retire(&e, &new_thing(&freed)->item, free_thing);
    assert_true(freed > 900);
    epoch_release(&e);
    assert_int_equal(freed, 1000);
    assert_int_equal(test_alloc_alive(), 0);
}

static void freeing_may_retire_more_and_release_frees_that_too(void **state)
{
    struct epoch e;
    atomic_int freed = 0;

    (void)state;
    epoch_init(&e);
    for (int i = 0; i < 5; i++) {
        struct thing *t = new_thing(&freed);

        t->again = &e;
        t->child = new_thing(&freed);
        t->child->again = &e;
        t->child->child = new_thing(&freed);
        epoch_retire(&e, &t->item, free_thing);
    }
    epoch_release(&e);
    assert_int_equal(freed, 15);
    assert_int_equal(test_alloc_alive(), 0);
}

enum { READERS = 3, WRITERS = 2, SLOTS = 8, SWAPS = 30000 };

struct arena_of_pointers {
    struct epoch epoch;
    _Atomic(struct thing *) slot[SLOTS];
    atomic_int made, freed, bad, writers_left;
};

static void *swap_things(void *arg)
{
    struct arena_of_pointers *a = arg;

    for (int i = 0; i < SWAPS; i++) {
        struct thing *t = new_thing(&a->freed), *old;

        atomic_fetch_add(&a->made, 1);
        /* Release only: ordering the unlinking is the epoch's business. */
        old = atomic_exchange_explicit(&a->slot[i % SLOTS], t, memory_order_acq_rel);
        if (old)
            epoch_retire(&a->epoch, &old->item, free_thing);
    }
    atomic_fetch_sub(&a->writers_left, 1);
    return NULL;
}

static void *read_things(void *arg)
{
    struct arena_of_pointers *a = arg;

    for (unsigned i = 0; atomic_load(&a->writers_left) > 0; i++) {
        struct epoch_guard g = epoch_enter(&a->epoch);
        struct thing *t = atomic_load_explicit(&a->slot[i % SLOTS], memory_order_acquire);

        for (int look = 0; t && look < 20; look++)
            if (t->is_alive != ALIVE)
                atomic_fetch_add(&a->bad, 1);
        epoch_leave(g);
    }
    return NULL;
}

static void nothing_is_freed_under_a_reader_and_all_in_the_end(void **state)
{
    static struct arena_of_pointers a;
    pthread_t thread[READERS + WRITERS];

    (void)state;
    epoch_init(&a.epoch);
    atomic_store(&a.writers_left, WRITERS);
    for (int i = 0; i < READERS + WRITERS; i++)
        assert_int_equal(
            pthread_create(&thread[i], NULL, i < WRITERS ? swap_things : read_things, &a), 0);
    for (int i = 0; i < READERS + WRITERS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < SLOTS; i++)
        epoch_retire(&a.epoch, &atomic_load(&a.slot[i])->item, free_thing);
    assert_true(atomic_load(&a.freed) > 0); /* freed along the way, not only at the end */
    epoch_release(&a.epoch);
    assert_int_equal(atomic_load(&a.bad), 0);
    assert_int_equal(atomic_load(&a.freed), atomic_load(&a.made));
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_readers_one_collect_frees_all),
        cmocka_unit_test(a_reader_inside_holds_what_was_retired_after_it_entered),
        cmocka_unit_test(readers_relaying_each_other_still_let_memory_go),
        cmocka_unit_test(pairs_nest),
        cmocka_unit_test(retiring_collects_now_and_then),
        cmocka_unit_test(freeing_may_retire_more_and_release_frees_that_too),
        cmocka_unit_test(nothing_is_freed_under_a_reader_and_all_in_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
