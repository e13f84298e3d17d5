/* tests/api/victim.h -- a process that works until it is killed, and what it was told by then.
 *
 *     child     step 1, 2, 3 ...: the number of the last acknowledged one into a page both processes see
 *     SIGKILL   when it has so many acknowledged, and a moment later: on a busy machine the clock alone would
 *               kill nothing but openings
 *     parent    judges what is left; the next child goes on from there */
#ifndef TEST_API_VICTIM_H
#define TEST_API_VICTIM_H

#include "tests/api/fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

struct victim {
    _Atomic uint64_t acknowledged; /* number of the last step that returned ODB_OK */
    _Atomic uint64_t acks;         /* how many this child has had acknowledged */
};

/* What the child does. It returns only when something failed. */
typedef odb_status victim_work(struct victim *v, void *arg);

static inline struct victim *victim_new(void)
{
    struct victim *v =
        mmap(NULL, sizeof *v, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(v != MAP_FAILED);
    return v;
}

static inline void victim_free(struct victim *v)
{
    (void)munmap(v, sizeof *v);
}

/* In the child. */
static inline void victim_ack(struct victim *v, uint64_t step)
{
    atomic_store(&v->acknowledged, step);
    atomic_fetch_add(&v->acks, 1);
}

static inline void victim_nap(uint64_t us)
{
    struct timespec nap = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    while (nanosleep(&nap, &nap) != 0 && errno == EINTR)
        continue;
}

/* Start a child, and kill it `then_us` after `acks` acknowledgements; with 0 after its start. */
static inline void victim_kill(struct victim *v, victim_work *work, void *arg, uint64_t acks,
                               uint64_t then_us)
{
    pid_t child;
    int code;

    atomic_store(&v->acks, 0);
    child = fork();
    if (child == 0) {
        odb_status st = work(v, arg);

        fprintf(stderr, "the child stopped: %s: %s\n", odb_status_name(st), odb_error_text());
        _exit(1);
    }
    assert_true(child > 0);
    while (atomic_load(&v->acks) < acks) {
        siginfo_t end = {.si_pid = 0};

        assert_int_equal(waitid(P_PID, (id_t)child, &end, WEXITED | WNOHANG | WNOWAIT), 0);
        if (end.si_pid != 0)
            fail_msg("the child ended before it was killed");
        victim_nap(200);
    }
    victim_nap(then_us);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFSIGNALED(code) && WTERMSIG(code) == SIGKILL); /* nothing else ended it */
}

static inline uint64_t number_of(const char *text, uint64_t otherwise)
{
    return text ? strtoull(text, NULL, 10) : otherwise;
}

#endif
