#include "tests/reliability/run_alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"

#if defined(__SANITIZE_ADDRESS__)
#define RUN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUN_ASAN 1
#endif
#endif

static long alive;

#ifdef RUN_ASAN

bool run_alloc_is_watching(void)
{
    return false;
}

void run_alloc_reset(void)
{
    alive = 0;
}

bool run_alloc_is_spoiled(void)
{
    return false;
}

bool run_alloc_is_freed(const volatile void *p)
{
    (void)p;
    return false;
}

size_t run_alloc_peak(void)
{
    return 0;
}

static void *take(size_t size, size_t align, bool zero)
{
    void *p = align > 16 ? aligned_alloc(align, size) : malloc(size ? size : 1);

    if (p && zero)
        memset(p, 0, size);
    alive += p != NULL;
    return p;
}

void mem_free(void *p)
{
    alive -= p != NULL;
    free(p);
}

void *mem_realloc(void *old, size_t size)
{
    alive += old == NULL;
    return realloc(old, size ? size : 1);
}

#else

/*    | size | magic | bytes ... |       16 bytes in front, all multiples of 16      */
#define ROOM       ((size_t)512 << 20) /* address space; pages come when touched */
#define MAGIC_LIVE UINT64_C(0x11feb10c11feb10c)
#define MAGIC_DEAD UINT64_C(0xdeadb10cdeadb10c)
#define GARBAGE    0xdd
#define FRESH      0xcb
#define SPOIL_MAX  256 /* so many bytes of each block are filled with garbage, and looked at */

bool run_alloc_is_watching(void)
{
    return true;
}

static uint8_t *room;
static uint8_t garbage[SPOIL_MAX];  /* full of it, to compare with */
static size_t used, clean_to, peak; /* bytes from clean_to on have never been touched: zeros */

void run_alloc_reset(void)
{
    if (clean_to < used)
        clean_to = used;
    if (peak < used)
        peak = used;
    used = 0;
    alive = 0;
    memset(garbage, GARBAGE, sizeof garbage);
}

static void *take(size_t size, size_t align, bool zero)
{
    size_t at = used + 16;
    uint64_t head[2];

    if (!room) {
        room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
        if (room == MAP_FAILED)
            abort();
    }
    if (align < 16)
        align = 16;
    at = (at + align - 1) & ~(align - 1);
    size = (size + 15) & ~(size_t)15;
    if (size > ROOM || at > ROOM - size)
        return NULL;
    if (at - 16 > used &&
        at - 16 - used >= 16) { /* what alignment skipped is a freed block, for those who walk */
        head[0] = at - 16 - used - 16;
        head[1] = MAGIC_DEAD ^ 1;
        memcpy(room + used, head, 16);
    }
    head[0] = size;
    head[1] = MAGIC_LIVE;
    memcpy(room + at - 16, head, 16);
    used = at + size;
    if (zero && at < clean_to)
        memset(room + at, 0, used < clean_to ? size : clean_to - at);
    if (!zero)
        memset(room + at, FRESH, size < SPOIL_MAX ? size : SPOIL_MAX);
    alive++;
    return room + at;
}

void mem_free(void *p)
{
    uint64_t head[2];

    if (!p)
        return;
    memcpy(head, (uint8_t *)p - 16, 16);
    if (head[1] != MAGIC_LIVE) {
        (void)fprintf(stderr, "freed twice, or never allocated\n");
        abort();
    }
    memset(p, GARBAGE, head[0] < SPOIL_MAX ? (size_t)head[0] : SPOIL_MAX);
    head[1] = MAGIC_DEAD;
    memcpy((uint8_t *)p - 16, head, 16);
    alive--;
}

void *mem_realloc(void *old, size_t size)
{
    uint64_t head[2];
    void *p = take(size, 16, false);

    if (!p || !old)
        return p;
    memcpy(head, (uint8_t *)old - 16, 16);
    memcpy(p, old, head[0] < size ? (size_t)head[0] : size);
    mem_free(old);
    return p;
}

bool run_alloc_is_spoiled(void)
{
    uint64_t head[2];

    for (size_t at = 0; at < used; at += 16 + (size_t)head[0]) {
        memcpy(head, room + at, 16);
        if (head[1] == MAGIC_DEAD &&
            memcmp(room + at + 16, garbage, head[0] < SPOIL_MAX ? (size_t)head[0] : SPOIL_MAX) != 0)
            return true;
    }
    return false;
}

bool run_alloc_is_freed(const volatile void *p)
{
    const volatile uint8_t *b = p;
    uint64_t word;

    if (!room || b < room || b + 8 > room + used)
        return false;
    /* Garbage all around is what a freed block looks like; live ones hold it by chance only. */
    memcpy(&word, room + ((size_t)(b - room) & ~(size_t)7), 8);
    return word == UINT64_C(0xdddddddddddddddd);
}

size_t run_alloc_peak(void)
{
    return peak > used ? peak : used;
}

#endif

long run_alloc_alive(void)
{
    return alive;
}

void *mem_alloc(size_t size)
{
    return take(size, 16, false);
}

void *mem_zalloc(size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    return take(n * size, 16, true);
}

void *mem_array(size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    return take(n * size, 16, false);
}

void *mem_pages_alloc(size_t size)
{
    return take(size, 64, true);
}

void *mem_pages_reserve(size_t size)
{
    return mem_pages_alloc(size);
}

void mem_pages_free(void *p, size_t size)
{
    (void)size;
    mem_free(p);
}
