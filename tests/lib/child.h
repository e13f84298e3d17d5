/* tests/lib/child.h -- how a forked child of a test ends. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <unistd.h>

#ifdef __GNUC__
extern void __gcov_dump(void) __attribute__((weak)); /* there in builds that count coverage */
#endif

/* Without the exit handlers of the parent, but not without what the child executed. */
static inline void test_exit_child(int code)
{
#ifdef __GNUC__
    if (__gcov_dump)
        __gcov_dump();
#endif
    _exit(code);
}

#endif
