/* bench/compare.h -- several engines in one run, turn by turn. */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include "bench/run.h"

#define BENCH_ENGINES_MAX   8
#define BENCH_WORKLOADS_MAX 64

/* What is to be done, resolved from the settings. */
struct bench_plan {
    const struct bench_settings *s;
    char base[BENCH_TEXT_MAX];
    const struct bench_engine
        *engine[BENCH_ENGINES_MAX]; /* the first is compared with the others */
    uint32_t engine_count;
    const struct bench_workload *load[BENCH_WORKLOADS_MAX];
    uint32_t load_count;
    const struct bench_workload *workload[BENCH_WORKLOADS_MAX];
    uint32_t workload_count;
    bool remove; /* the databases, at the end */
};

/* Called with each result as it comes. */
typedef void bench_seen(void *arg, const struct bench_result *r);

/* One engine, in this process: what a profiler or debugger wants to see. */
void bench_run_alone(const struct bench_plan *plan, bench_seen *seen, void *arg);

/* Every engine in a process of its own, so that memory and processor time are its own. They take turns
 * workload by workload (A B, B A, A B ...), and all but the one whose turn it is are stopped, background
 * work and all; what a turn left dirty is written to storage before the next. False when one of them died; it has said why. */
bool bench_run_turns(const struct bench_plan *plan, bench_seen *seen, void *arg);

#endif
