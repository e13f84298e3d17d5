/* lsm/exec.c -- background work: two queues and a handful of workers.
 *
 *     submit -> [high queue] -> any worker
 *               [low queue]  -> any worker but the last idle one (when there are two or more)
 *
 * 1. A job is in at most one queue, at most once; `run` may submit its own job again.
 * 2. Workers start with the first job, so a database that only reads has no threads.
 * 3. Where a thread cannot be started, the workers there are do the work; with none at all, jobs
 *    wait for exec_run_one, exactly as if threads had been switched off.
 */
#include "lsm/exec.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/canary.h"

#define EXEC_THREADS_MAX 64

struct exec_queue {
    struct exec_job *head;
    struct exec_job **tail;
};

struct exec {
    struct os_mutex lock; /* RANK_EXEC */
    struct os_cond wake;
    struct exec_queue queue[2] ODB_GUARDED(lock);
    struct os_thread *worker[EXEC_THREADS_MAX] ODB_GUARDED(lock);
    unsigned wanted ODB_GUARDED(lock);
    unsigned started ODB_GUARDED(lock);
    unsigned idle ODB_GUARDED(lock);
    unsigned low_running ODB_GUARDED(lock);
    bool is_stopping ODB_GUARDED(lock);
    bool start_failed ODB_GUARDED(lock);
    _Atomic bool has_threads; /* relaxed: a hint for waiters */
    _Atomic uint64_t cpu_ns;  /* relaxed: statistics */
};

odb_status exec_new(unsigned threads, struct exec **out)
{
    struct exec *e = mem_zalloc(1, sizeof *e);

    if (!e)
        return err_set(ODB_NOMEM, "out of memory for the background executor");
    os_mutex_init(&e->lock, RANK_EXEC);
    os_cond_init(&e->wake);
    for (int i = 0; i < 2; i++)
        e->queue[i].tail = &e->queue[i].head;
    e->wanted = threads < EXEC_THREADS_MAX ? threads : EXEC_THREADS_MAX;
    atomic_init(&e->has_threads, threads > 0);
    *out = e;
    return ODB_OK;
}

void exec_settle(struct exec *e)
{
    os_mutex_lock(&e->lock);
    e->wanted = e->started;
    if (e->started == 0)
        atomic_store_explicit(&e->has_threads, false, memory_order_relaxed);
    os_mutex_unlock(&e->lock);
}

static struct exec_job *queue_pop(struct exec_queue *q)
{
    struct exec_job *job = q->head;

    if (job) {
        q->head = job->in_queue;
        if (!q->head)
            q->tail = &q->head;
        job->in_queue = NULL;
    }
    return job;
}

static bool may_run_low(const struct exec *e)
{
    return e->started < 2 || e->low_running + 1 < e->started;
}

static struct exec_job *take_job(struct exec *e, bool *is_low)
{
    struct exec_job *job = queue_pop(&e->queue[EXEC_HIGH]);

    *is_low = false;
    if (!job && may_run_low(e)) {
        job = queue_pop(&e->queue[EXEC_LOW]);
        *is_low = job != NULL;
    }
    return job;
}

static void exec_worker(void *arg)
{
    struct exec *e = arg;
    uint64_t before = os_thread_cpu_ns();

    os_mutex_lock(&e->lock);
    while (!e->is_stopping) {
        bool is_low;
        struct exec_job *job = take_job(e, &is_low);
        uint64_t now;

        if (!job) {
            e->idle++;
            os_cond_wait(&e->wake, &e->lock);
            e->idle--;
            continue;
        }
        e->low_running += is_low;
        os_mutex_unlock(&e->lock);
        job->run(job);
        now = os_thread_cpu_ns();
        atomic_fetch_add_explicit(&e->cpu_ns, now - before, memory_order_relaxed);
        before = now;
        os_mutex_lock(&e->lock);
        e->low_running -= is_low;
        if (is_low && e->queue[EXEC_LOW].head)
            os_cond_signal(&e->wake); /* another low job may run now */
    }
    os_mutex_unlock(&e->lock);
}

/* Start one more worker when none is idle that may take such a job. */
static void grow(struct exec *e, enum exec_priority priority)
{
    if (e->idle > 0 && (priority == EXEC_HIGH || may_run_low(e)))
        return; /* an idle one may take it */
    if (e->started >= e->wanted || e->start_failed || e->is_stopping)
        return;
    if (os_thread_start("odb-work", exec_worker, e, &e->worker[e->started]) == ODB_OK) {
        e->started++;
    } else {
        e->start_failed = true;
        if (e->started == 0)
            atomic_store_explicit(&e->has_threads, false, memory_order_relaxed);
    }
}

void exec_submit(struct exec *e, struct exec_job *job)
{
    struct exec_queue *q = &e->queue[job->priority];

    os_mutex_lock(&e->lock);
    job->in_queue = NULL;
    *q->tail = job;
    q->tail = &job->in_queue;
    grow(e, job->priority);
    os_mutex_unlock(&e->lock);
    /* Behind the lock, or the worker would wake only to wait for it, and we would be asked to wake it
     * again. We are a worker ourselves or inside a call on the database: nobody frees this meanwhile. */
    os_cond_signal(&e->wake);
}

void exec_nudge(struct exec *e)
{
    os_mutex_lock(&e->lock);
    if (e->queue[EXEC_HIGH].head || e->queue[EXEC_LOW].head)
        os_cond_broadcast(&e->wake);
    os_mutex_unlock(&e->lock);
}

bool exec_withdraw(struct exec *e, struct exec_job *job)
{
    struct exec_queue *q = &e->queue[job->priority];
    bool found = false;

    os_mutex_lock(&e->lock);
    for (struct exec_job **at = &q->head; *at; at = &(*at)->in_queue)
        if (*at == job) {
            *at = job->in_queue;
            if (!*at)
                q->tail = at;
            job->in_queue = NULL;
            found = true;
            break;
        }
    os_mutex_unlock(&e->lock);
    return found;
}

bool exec_run_one(struct exec *e)
{
    struct exec_job *job;

    os_mutex_lock(&e->lock);
    job = queue_pop(&e->queue[EXEC_HIGH]);
    if (!job)
        job = queue_pop(&e->queue[EXEC_LOW]);
    os_mutex_unlock(&e->lock);
    if (job)
        job->run(job);
    return job != NULL;
}

/* ---- one piece of work in several parts ---- */

#define SHARE_HELPERS 7u

struct share;

struct share_helper {
    struct exec_job job; /* first */
    struct share *share;
};

struct share {
    struct os_mutex lock; /* RANK_EXEC */
    struct os_cond left_wake;
    void (*part)(void *arg, uint32_t i);
    void *arg;
    uint32_t count;
    uint32_t next ODB_GUARDED(lock); /* the part nobody has taken yet */
    uint32_t left ODB_GUARDED(lock); /* helpers that will not touch this any more */
};

static void share_work(struct share *s)
{
    os_mutex_lock(&s->lock);
    while (s->next < s->count) {
        uint32_t i = s->next++;

        os_mutex_unlock(&s->lock);
        s->part(s->arg, i);
        os_mutex_lock(&s->lock);
    }
    os_mutex_unlock(&s->lock);
}

static void share_help(struct exec_job *job)
{
    struct share *s = ((struct share_helper *)(void *)job)->share;

    share_work(s);
    os_mutex_lock(&s->lock);
    s->left++;
    if (CANARY(53))
        os_mutex_unlock(&s->lock);
    os_cond_signal(&s->left_wake); /* under the lock: the owner's stack holds it until we let go */
    if (!CANARY(53))
        os_mutex_unlock(&s->lock);
}

void exec_share(struct exec *e, uint32_t count, void (*part)(void *arg, uint32_t i), void *arg)
{
    struct share s = {.part = part, .arg = arg, .count = count};
    struct share_helper helper[SHARE_HELPERS];
    uint32_t helpers = 0, came = 0;

    if (count > 1 && e && exec_has_threads(e))
        helpers = count - 1 < SHARE_HELPERS ? count - 1 : SHARE_HELPERS;
    os_mutex_init(&s.lock, RANK_EXEC);
    os_cond_init(&s.left_wake);
    for (uint32_t i = 0; i < helpers; i++) {
        helper[i] = (struct share_helper){{.run = share_help, .priority = EXEC_LOW}, &s};
        exec_submit(e, &helper[i].job);
    }
    share_work(&s);
    for (uint32_t i = 0; i < helpers; i++)
        came += !exec_withdraw(e, &helper[i].job);
    os_mutex_lock(&s.lock);
    while (s.left < came)
        os_cond_wait(&s.left_wake, &s.lock);
    os_mutex_unlock(&s.lock);
    os_cond_destroy(&s.left_wake);
    os_mutex_destroy(&s.lock);
}

bool exec_has_threads(const struct exec *e)
{
    return atomic_load_explicit(&e->has_threads, memory_order_relaxed);
}

uint64_t exec_cpu_ns(const struct exec *e)
{
    return atomic_load_explicit(&e->cpu_ns, memory_order_relaxed);
}

void exec_free(struct exec *e)
{
    if (!e)
        return;
    os_mutex_lock(&e->lock);
    e->is_stopping = true;
    os_cond_broadcast(&e->wake);
    os_mutex_unlock(&e->lock);
    for (unsigned i = 0; i < e->started; i++)
        os_thread_join(e->worker[i]);
    os_cond_destroy(&e->wake);
    os_mutex_destroy(&e->lock);
    mem_free(e);
}
