/* lsm/exec.h -- who does the work in the background: real threads, or nobody until the caller of
 * odb_work() comes by. Flush, merges and deletions are jobs; a job runs once per submit.
 */
#ifndef ODB_LSM_EXEC_H
#define ODB_LSM_EXEC_H

#include "os/os_thread.h"

struct exec;

enum exec_priority {
    EXEC_HIGH, /* flushes: writers may be waiting for them */
    EXEC_LOW,  /* merges, clean-up */
};

/* Embedded in its owner. Submit again only after `run` was entered. */
struct exec_job {
    void (*run)(struct exec_job *job);
    struct exec_job *in_queue; /* link in exec's queue of its priority */
    enum exec_priority priority;
};

/* `threads` workers, started when the first job comes; 0: none, jobs wait for exec_run_one. One
 * worker is always kept free of low jobs when there are two or more. */
ODB_MUST_CHECK odb_status exec_new(unsigned threads, struct exec **out);
/* Waits for running jobs, drops queued ones without running them, joins, frees. NULL is fine. */
void exec_free(struct exec *e);
void exec_submit(struct exec *e, struct exec_job *job);
/* Start no further worker from now on. Where there is none, whoever waits for work runs it. */
void exec_settle(struct exec *e);
/* Take a job back that nobody has begun; false when it is not in a queue (any more). */
bool exec_withdraw(struct exec *e, struct exec_job *job);
/* Run one queued job in this thread; false when there is none. */
bool exec_run_one(struct exec *e);
/* Somebody has waited long: should jobs be queued and all workers asleep, wake them. */
void exec_nudge(struct exec *e);
/* Call part(arg, i) once for each i < `count`, here and in workers that are idle meanwhile; return
 * when all calls have. Never waits for a worker to become free. NULL for `e`: all of it here. */
void exec_share(struct exec *e, uint32_t count, void (*part)(void *arg, uint32_t i), void *arg);
/* Whether jobs run by themselves. When not, whoever waits for background work runs it. */
bool exec_has_threads(const struct exec *e);
/* CPU time all workers have used so far, nanoseconds. */
uint64_t exec_cpu_ns(const struct exec *e);

#endif
