/* tests/reliability/run_alloc.h -- the allocator of schedules: what one run takes is forgotten as a whole,
 * and nothing it frees is handed out again before.
 *
 * Addresses are thus a function of the schedule; using what was freed finds garbage instead of what is
 * there by luck, and changing it is noticed at the end. (With the address sanitizer all of this is its
 * business, and memory comes from malloc.)
 */
#ifndef TEST_RELIABILITY_RUN_ALLOC_H
#define TEST_RELIABILITY_RUN_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Forget everything. */
void run_alloc_reset(void);
/* Whether it looks after freed memory itself: not with the address sanitizer. */
bool run_alloc_is_watching(void);
/* Blocks alive. */
long run_alloc_alive(void);
/* Whether somebody changed a block after it was freed. */
bool run_alloc_is_spoiled(void);
/* Whether `p` lies in a block that was freed. */
bool run_alloc_is_freed(const volatile void *p);
/* The most bytes a run has taken. */
size_t run_alloc_peak(void);

#endif
