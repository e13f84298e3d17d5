/* base/alloc.h -- the one door to memory. Tests put another alloc.c behind it, one that fails the
 * Nth request. */
#ifndef ODB_BASE_ALLOC_H
#define ODB_BASE_ALLOC_H

#include <stddef.h>

/* `size` bytes, uninitialised, aligned for any type; NULL when there are none. */
void *mem_alloc(size_t size);
/* `count * size` bytes of zeros; NULL when out of memory or when the product overflows. */
void *mem_zalloc(size_t count, size_t size);
/* Grow or shrink. On NULL the old block is untouched. mem_realloc(NULL, n) allocates. */
void *mem_realloc(void *old, size_t size);
/* Give back. NULL is fine. */
void mem_free(void *p);

/* `count * size` bytes, uninitialised; NULL when out of memory or when the product overflows. */
void *mem_array(size_t count, size_t size);

/* Whole pages for arenas: zero-filled, `size` a multiple of 64 KiB. From 2 MiB on they are aligned
 * to 2 MiB and huge pages are asked for. NULL when there are none. Free with the same size. */
void *mem_pages_alloc(size_t size);
/* The same, to be filled little by little: small pages, so that what is not touched costs nothing. */
void *mem_pages_reserve(size_t size);
/* What is full by now is read often: have huge pages back it, at once where the system can. `p` is in
 * pages of either kind, aligned to 2 MiB, and `size` a multiple of that. Readers go on meanwhile. */
void mem_pages_settle(void *p, size_t size);
void mem_pages_free(void *p, size_t size);

#endif
