#include "tests/lib/test_alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static atomic_long requests, failed, alive;
static atomic_long fail_after = -1;
static atomic_int fail_sticky;

void test_alloc_fail(long after, int sticky)
{
    atomic_store(&requests, 0);
    atomic_store(&failed, 0);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_after, after);
}

void test_alloc_keep_memory(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 512 << 20);
    (void)mallopt(M_TOP_PAD, 16 << 20);
#endif
}

long test_alloc_requests(void)
{
    return atomic_load(&requests);
}

long test_alloc_failed(void)
{
    return atomic_load(&failed);
}

long test_alloc_alive(void)
{
    return atomic_load(&alive);
}

static int must_fail(void)
{
    long n = atomic_fetch_add(&requests, 1);
    long limit = atomic_load(&fail_after);

    int sticky = atomic_load(&fail_sticky);

    if (limit < 0 || n < limit || (sticky != 1 && n >= limit + (sticky ? sticky : 1)))
        return 0;
    atomic_fetch_add(&failed, 1);
    return 1;
}

static void *count(void *p)
{
    if (p)
        atomic_fetch_add(&alive, 1);
    return p;
}

void *mem_alloc(size_t size)
{
    return must_fail() ? NULL : count(malloc(size ? size : 1));
}

/* Small ones not by calloc, which in glibc takes nothing from the cache that free fills: the explorers live
 * on that. */
void *mem_zalloc(size_t n, size_t size)
{
    void *p;

    if (must_fail())
        return NULL;
    if (size && n > 1024 / size)
        return count(calloc(n, size));
    p = malloc(n && size ? n * size : 1);
    return count(p ? memset(p, 0, n * size) : NULL);
}

void *mem_realloc(void *old, size_t size)
{
    void *p;

    if (must_fail())
        return NULL;
    p = realloc(old, size ? size : 1);
    return old ? p : count(p);
}

void mem_free(void *p)
{
    if (p)
        atomic_fetch_sub(&alive, 1);
    free(p);
}

void *mem_array(size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    return mem_alloc(n * size);
}

void *mem_pages_alloc(size_t size)
{
    void *p;

    if (must_fail())
        return NULL;
    p = aligned_alloc(65536, size);
    if (p)
        memset(p, 0, size);
    return count(p);
}

/* Not touched, as the real one's. */
void *mem_pages_reserve(size_t size)
{
    return must_fail() ? NULL : count(calloc(1, size));
}

void mem_pages_settle(void *p, size_t size)
{
    (void)p;
    (void)size;
}

void mem_pages_free(void *p, size_t size)
{
    (void)size;
    mem_free(p);
}
