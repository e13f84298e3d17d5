/* tests/lib/test_alloc.h -- the allocator tests link in place of base/alloc.c. It counts what is
 * alive and fails requests on demand. */
#ifndef TEST_ALLOC_H
#define TEST_ALLOC_H

#include "base/alloc.h"

/* Let `after` requests succeed, then fail: the next one only (`sticky` 0), all that follow
 * (1), or so many. Counting starts now; a negative `after` never fails. */
void test_alloc_fail(long after, int sticky);
/* Requests since the last test_alloc_fail(). */
long test_alloc_requests(void);
/* How many of them failed. A sweep ends when this is 0 and not at the first ODB_OK: what can do without
 * the memory it was refused succeeds, and the requests behind that one still wait for their turn. */
long test_alloc_failed(void);
/* Have the C library keep what is freed instead of giving it back to the kernel: a program that opens
 * thousands of databases a second spends half its time there otherwise. Only a hint. */
void test_alloc_keep_memory(void);
/* Blocks handed out and not yet given back. */
long test_alloc_alive(void);

#endif
