#include "base/arena.h"

#include "base/alloc.h"

#define ARENA_BLOCK_MIN ((size_t)64 << 10)
/* Below, blocks come in small pages. A huge page is there in full at its first byte. */
#define ARENA_HUGE_FROM (4 * ARENA_BLOCK_MAX)

struct arena_block {
    struct arena_block *next;
    size_t size;         /* of the whole block, this header included */
    atomic_size_t taken; /* may run past `size` when takers lose the race; never below the truth */
};

#define BLOCK_HEADER ((sizeof(struct arena_block) + 15) & ~(size_t)15)

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) & ~(to - 1);
}

void arena_init(struct arena *a)
{
    atomic_init(&a->current, NULL);
    a->blocks = NULL;
    a->next_block = ARENA_BLOCK_MIN;
    a->ahead = NULL;
    atomic_init(&a->ahead_bytes, 0);
    atomic_init(&a->is_ahead_due, false);
    atomic_init(&a->footprint, 0);
}

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;

        mem_pages_free(b, b->size);
        b = next;
    }
}

ODB_COLD void arena_release(struct arena *a)
{
    free_blocks(a->ahead);
    free_blocks(a->blocks);
    arena_init(a);
}

static void *block_take(struct arena_block *b, size_t size)
{
    size_t at;

    at = atomic_load_explicit(&b->taken, memory_order_relaxed);
    if (at > b->size || size > b->size - at)
        return NULL; /* keeps `taken` from running away */
    at = atomic_fetch_add_explicit(&b->taken, size, memory_order_relaxed);
    return at + size <= b->size ? (uint8_t *)b + at : NULL;
}

void *arena_take(struct arena *a, size_t size)
{
    struct arena_block *b = atomic_load_explicit(&a->current, memory_order_acquire);

    return b && size <= SIZE_MAX / 2 ? block_take(b, round_up(size, 8)) : NULL;
}

struct arena_block *arena_block_new(void)
{
    struct arena_block *b = mem_pages_alloc(ARENA_BLOCK_MAX);

    if (!b)
        return NULL;
    for (size_t at = 0; at < ARENA_BLOCK_MAX; at += ARENA_PAGE)
        *((volatile uint8_t *)b + at) = 0;
    b->size = ARENA_BLOCK_MAX;
    return b;
}

/* There are `bytes` ahead now. */
static void set_ahead(struct arena *a, size_t bytes, bool may_ask)
{
    atomic_store_explicit(&a->ahead_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&a->is_ahead_due,
                          may_ask && a->next_block == ARENA_BLOCK_MAX && bytes < ARENA_AHEAD,
                          memory_order_relaxed);
}

void arena_keep_ahead(struct arena *a, struct arena_block *b)
{
    size_t bytes = arena_ahead(a);

    if (b && bytes < ARENA_AHEAD) {
        b->next = a->ahead;
        a->ahead = b;
        bytes += b->size;
    } else {
        mem_pages_free(b, ARENA_BLOCK_MAX);
    }
    set_ahead(a, bytes, b != NULL);
}

static struct arena_block *add_block(struct arena *a, size_t size)
{
    struct arena_block *b = size == ARENA_BLOCK_MAX ? a->ahead : NULL;

    if (b) {
        a->ahead = b->next;
        set_ahead(a, arena_ahead(a) - size, true);
    } else {
        b = arena_footprint(a) < ARENA_HUGE_FROM ? mem_pages_reserve(size) : mem_pages_alloc(size);
    }
    if (!b)
        return NULL;
    b->size = size;
    atomic_init(&b->taken, BLOCK_HEADER);
    b->next = a->blocks;
    a->blocks = b;
    atomic_fetch_add_explicit(&a->footprint, size, memory_order_relaxed);
    return b;
}

ODB_COLD void *arena_grow(struct arena *a, size_t size)
{
    struct arena_block *b;
    void *p;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = round_up(size, 8);
    p = arena_take(a, size); /* somebody else may have grown it meanwhile */
    if (p)
        return p;
    if (size > a->next_block / 4) { /* a block of its own; the current one stays in use */
        b = add_block(a, round_up(size + BLOCK_HEADER, ARENA_BLOCK_MIN));
        return b ? block_take(b, size) : NULL;
    }
    b = add_block(a, a->next_block);
    if (!b)
        return NULL;
    if (a->next_block < ARENA_BLOCK_MAX)
        a->next_block *= 2;
    set_ahead(a, arena_ahead(a), true);
    p = block_take(b, size); /* before anybody else can see it */
    atomic_store_explicit(&a->current, b, memory_order_release);
    return p;
}
