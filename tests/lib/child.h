/* tests/lib/child.h -- how a forked child of a test ends. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <sys/resource.h>
#include <unistd.h>

#ifdef __GNUC__
extern void __gcov_dump(void)
    __attribute__((weak)); /* there in builds that scripts/coverage makes */

/* The counters go to files, which a limit that the child lives with must not cut short. */
static inline void test_dump_counts(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_FSIZE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_FSIZE, &r);
    }
    __gcov_dump();
}
#endif

/* Without the exit handlers of the parent, but not without what the child executed. */
static inline void test_exit_child(int code)
{
#ifdef __GNUC__
    if (__gcov_dump)
        test_dump_counts();
#endif
    _exit(code);
}

#endif
