/* base/alloc.c -- memory from the C library and, for arenas, whole pages from the kernel. */
#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__linux__) && defined(MADV_HUGEPAGE) && !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25 /* older headers do not know it */
#endif
#define HUGE_PAGE ((size_t)2 << 20)
#ifdef MADV_HUGEPAGE
#define PAGES_HUGE  MADV_HUGEPAGE
#define PAGES_SMALL MADV_NOHUGEPAGE
#else
#define PAGES_HUGE  0
#define PAGES_SMALL 0
#endif

void *mem_alloc(size_t size)
{
    return malloc(size ? size : 1);
}

void *mem_zalloc(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

void *mem_realloc(void *old, size_t size)
{
    return realloc(old, size ? size : 1);
}

void mem_free(void *p)
{
    free(p);
}

void *mem_array(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    return mem_alloc(count * size);
}

/* Map twice the alignment and trim both ends, so that the kernel can back the block with huge
 * pages. */
static void *map_aligned(size_t size)
{
    size_t span = size + HUGE_PAGE;
    uint8_t *raw, *p;
    size_t head;

    if (span < size)
        return NULL;
    raw = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    p = (uint8_t *)(((uintptr_t)raw + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    head = (size_t)(p - raw);
    if (head)
        (void)munmap(raw, head);
    if (HUGE_PAGE - head)
        (void)munmap(p + size, HUGE_PAGE - head);
    return p;
}

/* Advice is only that: where there are no huge pages, small ones do. */
static void *map_pages(size_t size, int advice)
{
    void *p;

    if (size < HUGE_PAGE) {
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    p = map_aligned(size);
#ifdef MADV_HUGEPAGE
    if (p)
        (void)madvise(p, size, advice);
#else
    (void)advice;
#endif
    return p;
}

void *mem_pages_alloc(size_t size)
{
    return map_pages(size, PAGES_HUGE);
}

void *mem_pages_reserve(size_t size)
{
    return map_pages(size, PAGES_SMALL);
}

void mem_pages_settle(void *p, size_t size)
{
#ifdef MADV_HUGEPAGE
    (void)madvise(p, size, MADV_HUGEPAGE);
#endif
#ifdef MADV_COLLAPSE
    (void)madvise(p, size, MADV_COLLAPSE); /* before Linux 6.1 a thread of the kernel comes by */
#endif
}

void mem_pages_free(void *p, size_t size)
{
    if (p)
        (void)munmap(p, size);
}
