/* tests/reliability/explore.h -- which schedules of a scene to run, and in which order.
 *
 *     walk      at each choice any option, now with many changes, now with few
 *     pct       threads have priorities; the highest goes on, and at a few points loses it
 *     exhaust   every schedule with at most so many preemptions
 *
 * A scene is a function that starts threads, which do something to the engine, and judges the result.
 */
#ifndef TEST_RELIABILITY_EXPLORE_H
#define TEST_RELIABILITY_EXPLORE_H

#include "os/os_sched.h"

/* What a run depends on beside its schedule. */
struct dice {
    bool is_small;     /* the scene's small version, for exhaust */
    uint32_t patience; /* sched_patience */
    uint64_t crash_at
        [2]; /* the disk is copied before these choices, and judged as after a crash; 0: not */
    uint32_t model; /* of the crash (enum sim_model) */
    uint32_t fault; /* which operation on the disk fails, to scenes that fail some; 0: none */
    uint64_t seed;  /* of disks and images */
};

struct scene {
    const char *name;
    const char *about;
    const char *atomics; /* files whose atomic operations are points, in blanks */
    const char *threads; /* what they do, to the scene's function */
    const char *before;  /* and what is done before they start; up to a bar by an earlier process */
    const char *cold;    /* the family of what lies in tables; NULL: c */
    const char
        *small; /* instead of threads, atomics and before in its small version; NULL: the same */
    const char *small_atomics, *small_before;
    const char *quiet; /* exhaust: files before whose locks nobody is preempted */
    void (*run)(const struct scene *, const struct dice *);
    void (*crash)(void); /* copy the disk now. NULL: this scene has none */
    void (*passed)(void *arg, uint64_t ns);
    unsigned workers;     /* background threads of the database */
    bool small_alone;     /* none in the small version: whoever waits for work does it */
    unsigned segment;     /* size of log segments; 0: a large one */
    uint32_t fault;       /* exhaust: which operation on the disk fails */
    unsigned fixed_bound; /* exhaust: preemptions in the fixed run */
    bool has_faults;      /* by chance: any */
    bool may_time_out;
};

struct explorer {
    const struct scene *scene;
    double until;   /* stop at this time (explore_now()) */
    uint64_t limit; /* or after so many runs; 0: no limit */
    bool is_quiet;  /* print nothing */
};

struct found {
    uint64_t runs;
    uint64_t distinct; /* schedules (choices and dice) not met before */
    uint64_t points;
    uint64_t choices_max;
    uint64_t crashes;     /* disks judged */
    uint64_t by_bound[4]; /* exhaust: schedules with exactly so many preemptions */
    int exhausted; /* exhaust: up to so many preemptions nothing is left; -1: not even without */
    bool has_failed;
    char why[200];      /* what the report of the failure begins with */
    char schedule[200]; /* to be run again, when it is short enough; else empty */
    double seconds;
};

/* Seconds of processor time: how far a run gets does not depend on what else the machine does. */
double explore_now(void);
void explore_init(void);
void explore_walk(const struct explorer *e, uint64_t seed, struct found *io);
void explore_pct(const struct explorer *e, uint64_t seed, unsigned depth, struct found *io);
void explore_exhaust(const struct explorer *e, unsigned bound, struct found *io);
/* Run what a failure printed once more, and tell about it. False: that is no schedule. */
bool explore_replay(const struct scene *scene, const char *text, struct found *io);
/* Number of disks judged after crashes, by scenes. */
extern uint64_t explore_crashes;

#endif
