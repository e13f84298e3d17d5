/* os/thread.c -- POSIX threads behind os_thread.h, and the debug bookkeeping of lock ranks.
 *
 * Debug builds keep, per thread, the stack of mutexes it holds:
 *
 *     held_top --> mutex (rank 70) --below--> mutex (rank 50) --below--> NULL
 *
 * 1. A thread takes a mutex only if its rank is over every rank on the stack; an assert says so
 *    before the thread can block, so a wrong order is found without the deadlock it would cause.
 *    A trylock cannot deadlock and may come in any order.
 * 2. `holder` names the thread that has the mutex; os_mutex_held() compares it with the asker.
 * 3. Waiting on a condition gives the mutex up and takes it again, so it must be the highest held.
 *
 * The stack is thread-local and exists in debug builds only. Built without threads, the bookkeeping
 * of debug builds stays (os_mutex_held still answers truthfully) and nothing else does.
 */
#include "os/os_thread.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#ifdef ODB_WITH_THREADS
#include <sched.h>
#include <signal.h>
#endif

#include "base/alloc.h"

/* ---- ranks ---- */

#ifndef NDEBUG

static _Thread_local struct os_mutex *held_top;

static uintptr_t held_self(void)
{
    return (uintptr_t)&held_top;
}

static bool held_rank_rises(const struct os_mutex *m)
{
    for (const struct os_mutex *h = held_top; h; h = h->below)
        if (h->rank >= m->rank)
            return false;
    return true;
}

static void held_push(struct os_mutex *m)
{
    m->below = held_top;
    held_top = m;
    atomic_store_explicit(&m->holder, held_self(), memory_order_relaxed);
}

static void held_pop(struct os_mutex *m)
{
    struct os_mutex **h = &held_top;

    assert(os_mutex_held(m));
    while (*h != m)
        h = &(*h)->below;
    *h = m->below;
    m->below = NULL;
    atomic_store_explicit(&m->holder, 0, memory_order_relaxed);
}

bool os_mutex_held(const struct os_mutex *m)
{
    return atomic_load_explicit(&m->holder, memory_order_relaxed) == held_self();
}

#else

static void held_push(struct os_mutex *m)
{
    (void)m;
}

static void held_pop(struct os_mutex *m)
{
    (void)m;
}

bool os_mutex_held(const struct os_mutex *m)
{
    (void)m;
    return true;
}

#endif

/* ---- mutexes ---- */

void os_mutex_init(struct os_mutex *m, enum lock_rank rank)
{
    memset((void *)m, 0, sizeof *m);
#ifndef NDEBUG
    m->rank = (int)rank;
#else
    (void)rank;
#endif
#ifdef ODB_WITH_THREADS
    (void)pthread_mutex_init(&m->m, NULL); /* cannot fail without attributes */
#endif
}

void os_mutex_destroy(struct os_mutex *m)
{
#ifndef NDEBUG
    assert(atomic_load_explicit(&m->holder, memory_order_relaxed) == 0);
#endif
#ifdef ODB_WITH_THREADS
    (void)pthread_mutex_destroy(&m->m);
#else
    (void)m;
#endif
}

ODB_UNCHECKED void os_mutex_lock(struct os_mutex *m)
{
#ifndef NDEBUG
    assert(held_rank_rises(m)); /* docs/locks.md: lower ranks first */
#endif
#ifdef ODB_WITH_THREADS
    (void)pthread_mutex_lock(&m->m);
#endif
    held_push(m);
}

bool os_mutex_trylock(struct os_mutex *m)
{
#ifdef ODB_WITH_THREADS
    if (pthread_mutex_trylock(&m->m) != 0)
        return false;
#elif !defined(NDEBUG)
    if (os_mutex_held(m))
        return false;
#endif
    held_push(m);
    return true;
}

ODB_UNCHECKED void os_mutex_unlock(struct os_mutex *m)
{
    held_pop(m);
#ifdef ODB_WITH_THREADS
    (void)pthread_mutex_unlock(&m->m);
#endif
}

/* ---- condition variables ---- */

void os_cond_init(struct os_cond *c)
{
#if defined(ODB_WITH_THREADS) && defined(__APPLE__)
    (void)pthread_cond_init(&c->c, NULL); /* waits there take a span, not a time */
#elif defined(ODB_WITH_THREADS)
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* setting the date must wake nobody */
    (void)pthread_cond_init(&c->c, &attr);
    (void)pthread_condattr_destroy(&attr);
#else
    c->unused = 0;
#endif
}

void os_cond_destroy(struct os_cond *c)
{
#ifdef ODB_WITH_THREADS
    (void)pthread_cond_destroy(&c->c);
#else
    (void)c;
#endif
}

ODB_UNCHECKED void os_cond_wait(struct os_cond *c, struct os_mutex *m)
{
    held_pop(m);
#ifndef NDEBUG
    assert(held_rank_rises(m)); /* it is taken again at the end */
#endif
#ifdef ODB_WITH_THREADS
    (void)pthread_cond_wait(&c->c, &m->m);
#else
    (void)c;
#endif
    held_push(m);
}

#ifdef ODB_WITH_THREADS
static bool cond_wait_span(struct os_cond *c, struct os_mutex *m, uint64_t ns)
{
    struct timespec t;

#ifdef __APPLE__
    t.tv_sec = (time_t)(ns / 1000000000U);
    t.tv_nsec = (long)(ns % 1000000000U);
    return pthread_cond_timedwait_relative_np(&c->c, &m->m, &t) != ETIMEDOUT;
#else
    const uint64_t longest = (uint64_t)365 * 24 * 3600 * 1000000000U; /* keeps time_t in range */

    if (ns > longest)
        ns = longest;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ns / 1000000000U);
    t.tv_nsec += (long)(ns % 1000000000U);
    if (t.tv_nsec >= 1000000000L) {
        t.tv_nsec -= 1000000000L;
        t.tv_sec++;
    }
    return pthread_cond_timedwait(&c->c, &m->m, &t) != ETIMEDOUT;
#endif
}
#endif

ODB_UNCHECKED bool os_cond_wait_for(struct os_cond *c, struct os_mutex *m, uint64_t ns)
{
    bool woken = false;

    held_pop(m);
#ifndef NDEBUG
    assert(held_rank_rises(m));
#endif
#ifdef ODB_WITH_THREADS
    woken = cond_wait_span(c, m, ns);
#else
    (void)c;
    (void)ns;
#endif
    held_push(m);
    return woken;
}

bool os_cond_linger(struct os_cond *c, struct os_mutex *m, uint64_t ns)
{
    return os_cond_wait_for(c, m, ns);
}

void os_cond_signal(struct os_cond *c)
{
#ifdef ODB_WITH_THREADS
    (void)pthread_cond_signal(&c->c);
#else
    (void)c;
#endif
}

void os_cond_broadcast(struct os_cond *c)
{
#ifdef ODB_WITH_THREADS
    (void)pthread_cond_broadcast(&c->c);
#else
    (void)c;
#endif
}

/* ---- threads ---- */

#ifdef ODB_WITH_THREADS

struct os_thread {
    pthread_t id;
    void (*run)(void *arg);
    void *arg;
    char name[16];
};

static void *thread_main(void *arg)
{
    struct os_thread *t = arg;

#ifdef __linux__
    (void)pthread_setname_np(pthread_self(), t->name);
#endif
    t->run(t->arg);
    return NULL;
}

odb_status os_thread_start(const char *name, void (*run)(void *arg), void *arg,
                           struct os_thread **out)
{
    struct os_thread *t = mem_zalloc(1, sizeof *t);
    sigset_t all, before;
    int err;

    if (!t)
        return err_set(ODB_NOMEM, "no memory to start thread %s", name);
    t->run = run;
    t->arg = arg;
    for (size_t i = 0; i < sizeof t->name - 1 && name[i]; i++)
        t->name[i] = name[i];
    /* A new thread has its creator's mask: block all before, so that there is no moment in which a
     * signal of the host could land in it. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&t->id, NULL, thread_main, t);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        mem_free(t);
        return err_set(ODB_LIMIT, "start thread %s: %s (see 'ulimit -u')", name, strerror(err));
    }
    *out = t;
    return ODB_OK;
}

void os_thread_join(struct os_thread *t)
{
    if (!t)
        return;
    (void)pthread_join(t->id, NULL);
    mem_free(t);
}

void os_thread_yield(void)
{
    (void)sched_yield();
}

#else

odb_status os_thread_start(const char *name, void (*run)(void *arg), void *arg,
                           struct os_thread **out)
{
    (void)run;
    (void)arg;
    (void)out;
    return err_set(ODB_UNSUPPORTED, "start thread %s: built without threads", name);
}

void os_thread_join(struct os_thread *t)
{
    (void)t; /* always NULL */
}

void os_thread_yield(void)
{
}

#endif

void os_thread_sleep(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000U), (long)(ns % 1000000000U)};

    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

void os_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__ARM_ARCH_7A__)
    __asm__ volatile("yield");
#elif defined(__powerpc__)
    __asm__ volatile("or 27,27,27");
#endif
}

uint64_t os_thread_cpu_ns(void)
{
#ifdef CLOCK_THREAD_CPUTIME_ID
    struct timespec t;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
#endif
    return 0;
}
