#include "base/arena.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

static bool is_zero(const uint8_t *p, size_t n)
{
    while (n && *p == 0) {
        p++;
        n--;
    }
    return n == 0;
}

static void a_new_arena_owns_nothing_and_takes_nothing(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_null(arena_take(&a, 1));
    assert_int_equal(arena_footprint(&a), 0);
    arena_release(&a);
}

static void pieces_are_zeroed_aligned_and_apart(void **state)
{
    enum { PIECES = 3000 };
    static uint8_t *piece[PIECES];
    static size_t size[PIECES];
    struct rnd r = rnd_start("test_arena");
    struct arena a;

    (void)state;
    arena_init(&a);
    for (uint32_t i = 0; i < PIECES; i++) {
        size[i] = rnd_below(&r, 50) ? rnd_below(&r, 400) : rnd_below(&r, 300000);
        piece[i] = arena_take(&a, size[i]);
        if (!piece[i])
            piece[i] = arena_grow(&a, size[i]);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 8, 0);
        assert_true(is_zero(piece[i], size[i]));
        memset(piece[i], (int)(i % 255) + 1, size[i]);
    }
    for (uint32_t i = 0; i < PIECES; i++) /* nobody wrote into anybody else's */
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(piece[i][k], i % 255 + 1);
    arena_release(&a);
    assert_int_equal(test_alloc_alive(), 0);
}

static void blocks_grow_from_small_to_huge_pages(void **state)
{
    struct arena a;
    size_t before = 0, largest = 0;

    (void)state;
    arena_init(&a);
    for (int i = 0; i < 100000; i++) {
        if (!arena_take(&a, 100))
            assert_non_null(arena_grow(&a, 100));
        if (i == 0)
            assert_int_equal(arena_footprint(&a), 64 << 10);
        if (arena_footprint(&a) - before > largest)
            largest = arena_footprint(&a) - before;
        before = arena_footprint(&a);
    }
    assert_int_equal(largest, ARENA_BLOCK_MAX);
    arena_release(&a);
    assert_int_equal(arena_footprint(&a), 0);
}

static void a_large_piece_leaves_the_current_block_in_use(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_non_null(arena_grow(&a, 8));
    assert_non_null(arena_grow(&a, (size_t)3 << 20));
    assert_non_null(arena_take(&a, 8)); /* still room in the first */
    arena_release(&a);
    assert_int_equal(test_alloc_alive(), 0);
}

static void absurd_sizes_are_refused(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    assert_non_null(arena_grow(&a, 8));
    assert_null(arena_take(&a, SIZE_MAX)); /* rounding up must not wrap to nothing */
    assert_null(arena_take(&a, SIZE_MAX - 7));
    assert_null(arena_grow(&a, SIZE_MAX));
    assert_non_null(arena_take(&a, 8)); /* and did no harm */
    arena_release(&a);
}

static void out_of_memory_leaves_the_arena_as_it_was(void **state)
{
    struct arena a;
    size_t footprint;

    (void)state;
    arena_init(&a);
    test_alloc_fail(0, 0);
    assert_null(arena_grow(&a, 8));
    assert_int_equal(arena_footprint(&a), 0);
    assert_non_null(arena_grow(&a, 8));
    footprint = arena_footprint(&a);
    test_alloc_fail(0, 0);
    assert_null(arena_grow(&a, 1 << 20));
    assert_int_equal(arena_footprint(&a), footprint);
    test_alloc_fail(-1, 0);
    assert_non_null(arena_grow(&a, 1 << 20));
    arena_release(&a);
    assert_int_equal(test_alloc_alive(), 0);
}

/* Fill the arena until it asks for its next block. */
static void fill_until_due(struct arena *a)
{
    while (!atomic_load(&a->is_ahead_due))
        if (!arena_take(a, 1000))
            assert_non_null(arena_grow(a, 1000));
}

static void a_block_made_ahead_is_the_next_one(void **state)
{
    struct arena_block *b, *second;
    uint8_t *other;
    struct arena a;
    size_t footprint;
    uint8_t *p;

    (void)state;
    arena_init(&a);
    fill_until_due(&a);
    footprint = arena_footprint(&a);
    assert_in_range(footprint, ARENA_BLOCK_MAX / 2,
                    ARENA_BLOCK_MAX); /* the next is the first large one */
    assert_int_equal(arena_ahead(&a), 0);
    b = arena_block_new();
    second = arena_block_new();
    assert_non_null(b);
    assert_non_null(second);
    arena_keep_ahead(&a, second);
    assert_int_equal(arena_ahead(&a), ARENA_BLOCK_MAX);
    assert_true(atomic_load(&a.is_ahead_due));
    arena_keep_ahead(&a, b);
    assert_int_equal(arena_ahead(&a), ARENA_AHEAD);
    assert_false(atomic_load(&a.is_ahead_due));
    arena_keep_ahead(&a, arena_block_new()); /* these are enough: it is given back */
    assert_int_equal(arena_ahead(&a), ARENA_AHEAD);
    while ((p = arena_take(&a, 1000)) != NULL)
        assert_false((uint8_t *)b <= p && p < (uint8_t *)b + ARENA_BLOCK_MAX);
    p = arena_grow(&a, 1000);
    assert_true((uint8_t *)b <= p && p < (uint8_t *)b + ARENA_BLOCK_MAX);
    assert_true(is_zero(p, 1000));
    assert_int_equal(arena_footprint(&a), footprint + ARENA_BLOCK_MAX);
    assert_int_equal(arena_ahead(&a), ARENA_BLOCK_MAX);
    assert_true(atomic_load(&a.is_ahead_due)); /* and so on */
    while (arena_take(&a, 1000))
        ;
    other = arena_grow(&a, 1000);
    assert_true((uint8_t *)second <= other && other < (uint8_t *)second + ARENA_BLOCK_MAX);
    assert_true(is_zero(other, 1000));
    assert_int_equal(arena_ahead(&a), 0);
    arena_keep_ahead(&a, NULL); /* there was no memory: as if nobody had tried */
    assert_false(atomic_load(&a.is_ahead_due));
    fill_until_due(&a);
    assert_int_equal(arena_footprint(&a), footprint + 3 * ARENA_BLOCK_MAX);
    arena_keep_ahead(&a, arena_block_new());
    arena_release(&a); /* with one that was never used */
    assert_int_equal(test_alloc_alive(), 0);
}

static void no_memory_for_a_block_ahead_is_no_harm(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a);
    fill_until_due(&a);
    test_alloc_fail(0, 0);
    assert_null(arena_block_new());
    test_alloc_fail(-1, 0);
    arena_release(&a);
    assert_int_equal(test_alloc_alive(), 0);
}

enum { TAKERS = 4, TAKES = 20000 };

struct taker {
    struct arena *arena;
    pthread_mutex_t *lock;
    uint64_t id;
    uint64_t *piece[TAKES];
};

static void *take_many(void *arg)
{
    struct taker *t = arg;

    for (uint64_t i = 0; i < TAKES; i++) {
        size_t size = 8 + (i * 7 + t->id) % 90;
        uint64_t *p = arena_take(t->arena, size);

        if (!p) {
            (void)pthread_mutex_lock(t->lock);
            p = arena_grow(t->arena, size);
            (void)pthread_mutex_unlock(t->lock);
        }
        if (p && *p == 0)
            *p = t->id << 32 | i;
        t->piece[i] = p;
    }
    return NULL;
}

static void threads_never_get_the_same_piece(void **state)
{
    static struct taker taker[TAKERS];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread[TAKERS];
    struct arena a;

    (void)state;
    arena_init(&a);
    for (uint64_t i = 0; i < TAKERS; i++) {
        taker[i].arena = &a;
        taker[i].lock = &lock;
        taker[i].id = i + 1;
        assert_int_equal(pthread_create(&thread[i], NULL, take_many, &taker[i]), 0);
    }
    for (int i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (uint64_t i = 0; i < TAKERS; i++)
        for (uint64_t k = 0; k < TAKES; k++) {
            assert_non_null(taker[i].piece[k]);
            assert_true(*taker[i].piece[k] == (taker[i].id << 32 | k));
        }
    arena_release(&a);
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_arena_owns_nothing_and_takes_nothing),
        cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
        cmocka_unit_test(blocks_grow_from_small_to_huge_pages),
        cmocka_unit_test(a_large_piece_leaves_the_current_block_in_use),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(out_of_memory_leaves_the_arena_as_it_was),
        cmocka_unit_test(a_block_made_ahead_is_the_next_one),
        cmocka_unit_test(no_memory_for_a_block_ahead_is_no_harm),
        cmocka_unit_test(threads_never_get_the_same_piece),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
