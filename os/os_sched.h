/* os/os_sched.h -- the test scheduler: threads, locks and waits of os_thread.h as fibers of one real
 * thread, which go on one at a time and change only where a test lets them. Tests only.
 *
 *     engine files, compiled once more with -DODB_SCHED and os/sched_points.h in front
 *         os_mutex_lock(m)         a point: who goes on? only then the lock
 *         atomic_load(p)           a point, in the files that the test names
 *         os_cond_wait(c, m)       waits until somebody signals; nobody can: a deadlock, told
 *         os_thread_sleep(ns)      the clock is ours: time passes when nobody else can go on
 *
 *     sched_run(main, arg, &how, &result)
 *         calls how.choose at each place where more than one could go on. The answers are the schedule:
 *         with the same answers everything happens again, to the byte.
 *
 * os/sched.c tells how. Who chooses, and in which order all choices are gone through, is not here
 * but in tests/reliability/explore.c.
 */
#ifndef ODB_OS_OS_SCHED_H
#define ODB_OS_OS_SCHED_H

#include "base/status.h"

#define SCHED_THREADS_MAX 16
#define SCHED_OPTIONS_MAX (3 * SCHED_THREADS_MAX)
#define SCHED_TEXT_MAX    4000

/* ---- points: places in the code where another thread may go on ---- */

enum sched_kind {
    SCHED_LOCK,
    SCHED_TRYLOCK,
    SCHED_UNLOCK,
    SCHED_WAIT,
    SCHED_SIGNAL,
    SCHED_YIELD,
    SCHED_SLEEP,
    SCHED_START,
    SCHED_JOIN,
    SCHED_READ,  /* an atomic load */
    SCHED_WRITE, /* any other atomic operation */
};

/* One place in the source; sched_points.h makes them. */
struct sched_site {
    const char *file;
    int line;
    uint8_t kind;
    bool is_shared; /* offered in runs with only_shared: see there */
    bool is_on;     /* atomics: the test named its file; valid for `selection` */
    bool is_quiet;  /* the same, of quiet files */
    bool is_known;  /* in the list of those that were found to be shared */
    uint32_t selection;
};

/* Called by the macros of sched_points.h. */
void sched_at(struct sched_site *site);
void sched_touch(struct sched_site *site, const volatile void *what);
/* How often a commit looks before it sleeps (cf/commit.c), in this build: fixed by the test. */
extern int sched_patience;

/* ---- choices ---- */

enum sched_what {
    SCHED_GO,    /* this thread goes on */
    SCHED_TIMER, /* time passes, so that this one's wait is over */
    SCHED_WAKE,  /* this one's wait ends without a reason, as os_cond_wait() allows */
    SCHED_PICK,  /* this one gets the signal */
};

struct sched_option {
    uint8_t thread;
    uint8_t what;
    uint8_t cost; /* 1: a preemption, or something rarer */
};

struct sched_choice {
    uint64_t no; /* of the choice, from 0 */
    uint32_t count;
    uint8_t running;
    bool is_yield; /* the running thread says it waits for others */
    const struct sched_site *site;
    struct sched_option option[SCHED_OPTIONS_MAX]; /* the first is what happens by default */
};

struct sched_how {
    /* The number of an option. Called on a fiber: small stack, no engine calls. */
    uint32_t (*choose)(void *arg, const struct sched_choice *c);
    void *arg;
    /* Virtual time has moved on by `ns`. May be NULL. */
    void (*passed)(void *arg, uint64_t ns);
    /* Whether memory was freed: whoever uses it then, fails. May be NULL. */
    bool (*is_freed)(const volatile void *p);
    uint64_t steps_max; /* a run of more points is endless; 0: a million */
    const char
        *atomics; /* names of files, in blanks, whose atomic operations are points: " epoch.h " */
    bool only_shared;  /* offer to preempt only at sites marked is_shared (see sched_learn) */
    const char *quiet; /* with only_shared: files at whose sites never; in blanks, may be NULL */
    bool may_wake;     /* offer SCHED_WAKE */
    bool
        may_time_out; /* a timed wait on a condition that ends because all else stands still is no failure */
};

enum sched_verdict {
    SCHED_OK,
    SCHED_DEADLOCK, /* nobody can go on, somebody waits */
    SCHED_ENDLESS,  /* too many points */
    SCHED_FAILED,   /* sched_fail(), or a signal */
    SCHED_LEFT,     /* the main thread ended before others */
};

struct sched_result {
    enum sched_verdict verdict;
    uint64_t points, choices, switches;
    uint64_t trace; /* a hash of what went on where: two runs of the same schedule agree */
    char text[SCHED_TEXT_MAX]; /* of a failure: why, and where everybody is */
};

/* Run `main_fn` as thread 0. Not from inside a run. On anything but SCHED_OK what the threads had is
 * simply left lying. */
void sched_run(void (*main_fn)(void *arg), void *arg, const struct sched_how *how,
               struct sched_result *out);
/* End the run: it failed. From any of its threads, or from a handler of a signal raised in one. */
_Noreturn void sched_fail(const char *fmt, ...)
#ifdef __GNUC__
    __attribute__((format(printf, 1, 2)))
#endif
    ;
/* Whether a run is going on (for handlers of signals). */
bool sched_is_running(void);
/* Between these two nobody else goes on and nothing is chosen; they nest. Nothing may block. */
void sched_hold(void);
void sched_release(void);
/* The running thread, 0 the main one. */
unsigned sched_self(void);
/* Points so far in this run. */
uint64_t sched_points(void);
/* Wait for the end of all of them and free them. One after the other would do, but each wait that ends
 * is one more choice, of no consequence. */
struct os_thread;
void sched_join(struct os_thread *const *t, unsigned count);
/* Virtual nanoseconds since the start of the run. */
uint64_t sched_now(void);

/* Preempting a thread before it touches something that no other thread ever touches changes nothing: the
 * same order of all that matters comes about with a preemption elsewhere. So exhaustive runs preempt
 * only at sites at which something shared was touched. During every run new ones are noted; this
 * marks them is_shared and tells how many there were. */
unsigned sched_learn(void);
/* Begin anew: what others shared says nothing of the scene that comes now. */
void sched_forget(void);

#endif
