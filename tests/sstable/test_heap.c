#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sstable/heap.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

#define THREADS 4
#define SLOTS   400

static struct rnd rng;

/* A piece somebody holds, filled with a byte of its own. */
struct held {
    uint8_t *p;
    size_t size;
    size_t room;
    uint8_t fill;
};

static bool held_take(struct heap *h, struct held *x, size_t size, uint8_t fill)
{
    x->p = heap_alloc(h, size, &x->room);
    if (!x->p)
        return false;
    assert_true((uintptr_t)x->p % 64 == 0);
    assert_true(x->room >= size && x->room <= size + 16 + 64 + 128);
    x->size = size;
    x->fill = fill;
    memset(x->p, fill, size);
    return true;
}

static void held_drop(struct heap *h, struct held *x)
{
    for (size_t i = 0; i < x->size; i++)
        if (x->p[i] != x->fill)
            fail_msg("byte %zu of a piece of %zu was overwritten", i, x->size);
    heap_free(h, x->p);
    x->p = NULL;
}

/* Mostly the sizes of frames, now and then anything. */
static size_t some_size(struct rnd *r)
{
    switch (rnd_below(r, 16)) {
    case 0: return rnd_below(r, HEAP_SIZE_MAX + 1);
    case 1: return rnd_below(r, 64);
    case 2: return 64 * (1 + rnd_below(r, 300)) - rnd_below(r, 3);
    default: return 4300 + rnd_below(r, 300);
    }
}

static size_t footprint(const struct heap *h)
{
    return atomic_load(&h->footprint);
}

static void pieces_never_overlap_and_all_comes_back(void **state)
{
    static const size_t budgets[] = {0, 1 << 20, 32 << 20, SIZE_MAX};
    long alive = test_alloc_alive();

    (void)state;
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        struct held held[SLOTS] = {{NULL, 0, 0, 0}};
        struct heap h;

        heap_init(&h, budgets[b]);
        for (int i = 0; i < 20000; i++) {
            struct held *x = &held[rnd_below(&rng, SLOTS)];

            if (x->p)
                held_drop(&h, x);
            else
                assert_true(held_take(&h, x, some_size(&rng), (uint8_t)i));
            if (i % 5000 == 4999)
                heap_set_budget(&h, (size_t)rnd_below(&rng, 64) << 20);
        }
        for (int i = 0; i < SLOTS; i++)
            if (held[i].p)
                held_drop(&h, &held[i]);
        assert_true(footprint(&h) <= 2 << 20); /* the one that is kept */
        assert_true(test_alloc_alive() - alive <= 1);
        heap_release(&h);
        assert_int_equal(test_alloc_alive(), alive);
    }
}

static void neighbours_join_whatever_the_order(void **state)
{
    (void)state;
    for (int order = 0; order < 6; order++) {
        static const int first[6] = {0, 0, 1, 1, 2, 2}, second[6] = {1, 2, 0, 2, 0, 1};
        struct held x[3], all, rest;
        struct heap h;
        int third = 3 - first[order] - second[order];

        heap_init(&h, 0); /* chunks of 64 KiB */
        for (int i = 0; i < 3; i++)
            assert_true(held_take(&h, &x[i], 10000, (uint8_t)i));
        assert_true(held_take(&h, &rest, 65536 - 64 - 16 - 3 * 10048, 9)); /* the chunk is full */
        assert_int_equal(footprint(&h), 65536);
        held_drop(&h, &x[first[order]]);
        held_drop(&h, &x[second[order]]);
        held_drop(&h, &x[third]);
        assert_true(held_take(&h, &all, 3 * 10048 - 16, 7)); /* fits where the three were */
        assert_int_equal(footprint(&h), 65536);
        held_drop(&h, &rest);
        held_drop(&h, &all);
        heap_release(&h);
    }
}

static void an_empty_chunk_goes_back_but_for_one(void **state)
{
    struct held x[64];
    struct heap h;

    (void)state;
    heap_init(&h, 0);
    for (int i = 0; i < 64; i++)
        assert_true(held_take(&h, &x[i], 60000, (uint8_t)i)); /* one a chunk */
    assert_int_equal(footprint(&h), 64 * 65536);
    for (int i = 0; i < 64; i++) {
        held_drop(&h, &x[i]);
        assert_int_equal(footprint(&h), (size_t)(i < 63 ? 64 - i : 1) * 65536);
    }
    assert_true(held_take(&h, &x[0], 60000, 1)); /* the one kept serves */
    assert_int_equal(footprint(&h), 65536);
    held_drop(&h, &x[0]);
    heap_set_budget(&h, 0);
    assert_int_equal(footprint(&h), 0);
    heap_release(&h);
}

/* What a cache does: always about as much in use, the oldest leaving, some of them late. */
static void churn_of_like_sizes_wastes_little(void **state)
{
    enum { FRAMES = 8000 };
    struct held *held = calloc(FRAMES, sizeof *held);
    size_t in_use = 0;
    struct heap h;

    (void)state;
    heap_init(&h, FRAMES * (size_t)4600);
    for (uint32_t i = 0; i < 20 * FRAMES; i++) {
        struct held *x = &held[i % FRAMES];

        if (x->p) {
            if (rnd_below(&rng, 4) == 0) /* read again: stays this time */
                continue;
            in_use -= x->room;
            heap_free(&h, x->p);
        }
        x->p = heap_alloc(&h, 4450 + rnd_below(&rng, 130), &x->room);
        assert_non_null(x->p);
        in_use += x->room;
    }
    print_message("%zu bytes in use, %zu of the system's\n", in_use, footprint(&h));
    assert_true(footprint(&h) < in_use + in_use / 8 + (2 << 20));
    for (uint32_t i = 0; i < FRAMES; i++)
        heap_free(&h, held[i].p);
    heap_release(&h);
    free(held);
}

static void without_memory_there_is_no_piece_and_no_harm(void **state)
{
    struct held held[64] = {{NULL, 0, 0, 0}};
    struct heap h;
    size_t room = 77;

    (void)state;
    heap_init(&h, 0);
    test_alloc_fail(0, 1);
    assert_null(heap_alloc(&h, 1000, &room));
    assert_int_equal(room, 77);
    test_alloc_fail(1, 1); /* one chunk, then none */
    for (int i = 0; i < 64; i++)
        if (!held_take(&h, &held[i], 4000, (uint8_t)i))
            break;
    assert_non_null(held[15].p); /* 16 pieces of 4032 are what goes into 64 KiB */
    assert_null(held[16].p);
    test_alloc_fail(-1, 0);
    for (int i = 0; i < 16; i++)
        held_drop(&h, &held[i]);
    heap_release(&h);
}

/* ---- threads ---- */

struct crowd {
    struct heap h;
    _Atomic(uint8_t *) shelf[SLOTS]; /* pieces nobody works at; the first 8 bytes hold the size */
    atomic_int wrong;
    atomic_int next_seed;
};

static void crowd_check(struct crowd *w, uint8_t *p)
{
    uint64_t size;

    memcpy(&size, p, sizeof size);
    for (size_t i = sizeof size; i < size; i++)
        if (p[i] != (uint8_t)size)
            atomic_fetch_add(&w->wrong, 1);
}

static void crowd_work(void *arg)
{
    struct crowd *w = arg;
    struct rnd r = {rng.state + (uint64_t)atomic_fetch_add(&w->next_seed, 1)};

    for (int i = 0; i < 5000; i++) {
        uint64_t size = sizeof size + some_size(&r) % 20000;
        size_t room;
        uint8_t *p = heap_alloc(&w->h, (size_t)size, &room);

        if (!p) {
            atomic_fetch_add(&w->wrong, 1);
            continue;
        }
        memset(p, (uint8_t)size, (size_t)size);
        memcpy(p, &size, sizeof size);
        p = atomic_exchange(&w->shelf[rnd_below(&r, SLOTS)], p); /* mostly another thread's */
        if (p) {
            crowd_check(w, p);
            heap_free(&w->h, p);
        }
    }
}

static void threads_free_what_others_took(void **state)
{
    struct crowd *w = calloc(1, sizeof *w);
    struct os_thread *t[THREADS] = {NULL};

    (void)state;
    heap_init(&w->h, 4 << 20);
    for (int i = 0; i < THREADS; i++)
        if (os_thread_start("heap", crowd_work, w, &t[i]) != ODB_OK)
            crowd_work(w); /* built without threads */
    for (int i = 0; i < THREADS; i++)
        os_thread_join(t[i]);
    for (int i = 0; i < SLOTS; i++)
        if (w->shelf[i]) {
            crowd_check(w, w->shelf[i]);
            heap_free(&w->h, w->shelf[i]);
        }
    assert_int_equal(w->wrong, 0);
    assert_true(footprint(&w->h) <= 2 << 20);
    heap_release(&w->h);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_never_overlap_and_all_comes_back),
        cmocka_unit_test(neighbours_join_whatever_the_order),
        cmocka_unit_test(an_empty_chunk_goes_back_but_for_one),
        cmocka_unit_test(churn_of_like_sizes_wastes_little),
        cmocka_unit_test(without_memory_there_is_no_piece_and_no_harm),
        cmocka_unit_test(threads_free_what_others_took),
    };

    rng = rnd_start("heap");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
