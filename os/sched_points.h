/* os/sched_points.h -- put in front of every engine file of the test scheduler's build (-include).
 *
 * Locks, waits and yields say where they are; atomic operations become points (os/os_sched.h); and what
 * is thread-local lies in one section, which the scheduler exchanges when another fiber goes on. The
 * engine's own files do not know.
 */
#ifndef ODB_OS_SCHED_POINTS_H
#define ODB_OS_SCHED_POINTS_H

#include <stdatomic.h>

#include "os/os_thread.h"
#include "os/os_sched.h"

#define _Thread_local __attribute__((section("sched_tls")))

#define SCHED_SITE(kind_)                                                                          \
    __extension__({                                                                                \
        static struct sched_site sched_here_ = {                                                   \
            .file = __FILE__, .line = __LINE__, .kind = (kind_)};                                  \
        &sched_here_;                                                                              \
    })
#define SCHED_AT(kind_)        sched_at(SCHED_SITE(kind_))
#define SCHED_TOUCH(p_, kind_) sched_touch(SCHED_SITE(kind_), (p_))

#define os_mutex_lock(m)            (SCHED_AT(SCHED_LOCK), os_mutex_lock(m))
#define os_mutex_trylock(m)         (SCHED_AT(SCHED_TRYLOCK), os_mutex_trylock(m))
#define os_mutex_unlock(m)          (SCHED_AT(SCHED_UNLOCK), os_mutex_unlock(m))
#define os_cond_wait(c, m)          (SCHED_AT(SCHED_WAIT), os_cond_wait(c, m))
#define os_cond_wait_for(c, m, ns)  (SCHED_AT(SCHED_WAIT), os_cond_wait_for(c, m, ns))
#define os_cond_linger(c, m, ns)    (SCHED_AT(SCHED_WAIT), os_cond_linger(c, m, ns))
#define os_cond_signal(c)           (SCHED_AT(SCHED_SIGNAL), os_cond_signal(c))
#define os_cond_broadcast(c)        (SCHED_AT(SCHED_SIGNAL), os_cond_broadcast(c))
#define os_thread_start(n, r, a, o) (SCHED_AT(SCHED_START), os_thread_start(n, r, a, o))
#define os_thread_join(t)           (SCHED_AT(SCHED_JOIN), os_thread_join(t))
#define os_thread_yield()           (SCHED_AT(SCHED_YIELD), os_thread_yield())
#define os_thread_sleep(ns)         (SCHED_AT(SCHED_SLEEP), os_thread_sleep(ns))
#define os_cpu_relax()              (SCHED_AT(SCHED_YIELD), os_cpu_relax())

/* The operations themselves, on one real thread: the memory order is kept for the compiler's sake. */
#ifdef __clang__
#define SCHED_DO_LOAD(p, o)            __c11_atomic_load(p, o)
#define SCHED_DO_STORE(p, v, o)        __c11_atomic_store(p, v, o)
#define SCHED_DO_SWAP(p, v, o)         __c11_atomic_exchange(p, v, o)
#define SCHED_DO_CAS(p, e, v, w, s, f) __c11_atomic_compare_exchange_strong(p, e, v, s, f)
#define SCHED_DO_ADD(p, v, o)          __c11_atomic_fetch_add(p, v, o)
#define SCHED_DO_SUB(p, v, o)          __c11_atomic_fetch_sub(p, v, o)
#define SCHED_DO_OR(p, v, o)           __c11_atomic_fetch_or(p, v, o)
#define SCHED_DO_AND(p, v, o)          __c11_atomic_fetch_and(p, v, o)
#define SCHED_DO_SET(p)                __c11_atomic_exchange(&(p)->_Value, 1, __ATOMIC_SEQ_CST)
#define SCHED_DO_CLEAR(p)              __c11_atomic_store(&(p)->_Value, 0, __ATOMIC_SEQ_CST)
#else
#define SCHED_DO_LOAD(p, o)            __atomic_load_n(p, o)
#define SCHED_DO_STORE(p, v, o)        __atomic_store_n(p, v, o)
#define SCHED_DO_SWAP(p, v, o)         __atomic_exchange_n(p, v, o)
#define SCHED_DO_CAS(p, e, v, w, s, f) __atomic_compare_exchange_n(p, e, v, w, s, f)
#define SCHED_DO_ADD(p, v, o)          __atomic_fetch_add(p, v, o)
#define SCHED_DO_SUB(p, v, o)          __atomic_fetch_sub(p, v, o)
#define SCHED_DO_OR(p, v, o)           __atomic_fetch_or(p, v, o)
#define SCHED_DO_AND(p, v, o)          __atomic_fetch_and(p, v, o)
#define SCHED_DO_SET(p)                __atomic_test_and_set(p, __ATOMIC_SEQ_CST)
#define SCHED_DO_CLEAR(p)              __atomic_clear(p, __ATOMIC_SEQ_CST)
#endif

#undef atomic_init
#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_flag_test_and_set
#undef atomic_flag_clear

/* Nobody else knows it yet. */
#define atomic_init(p, v) SCHED_DO_STORE(p, v, __ATOMIC_RELAXED)

#define atomic_load_explicit(p, o)        (SCHED_TOUCH(p, SCHED_READ), SCHED_DO_LOAD(p, o))
#define atomic_store_explicit(p, v, o)    (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_STORE(p, v, o))
#define atomic_exchange_explicit(p, v, o) (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_SWAP(p, v, o))
#define atomic_compare_exchange_strong_explicit(p, e, v, s, f)                                     \
    (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_CAS(p, e, v, 0, s, f))
#define atomic_compare_exchange_weak_explicit(p, e, v, s, f)                                       \
    (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_CAS(p, e, v, 0, s, f))
#define atomic_fetch_add_explicit(p, v, o) (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_ADD(p, v, o))
#define atomic_fetch_sub_explicit(p, v, o) (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_SUB(p, v, o))
#define atomic_fetch_or_explicit(p, v, o)  (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_OR(p, v, o))
#define atomic_fetch_and_explicit(p, v, o) (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_AND(p, v, o))
#define atomic_flag_test_and_set(p)        (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_SET(p))
#define atomic_flag_clear(p)               (SCHED_TOUCH(p, SCHED_WRITE), SCHED_DO_CLEAR(p))

#define atomic_load(p)        atomic_load_explicit(p, __ATOMIC_SEQ_CST)
#define atomic_store(p, v)    atomic_store_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_exchange(p, v) atomic_exchange_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_compare_exchange_strong(p, e, v)                                                    \
    atomic_compare_exchange_strong_explicit(p, e, v, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define atomic_compare_exchange_weak(p, e, v) atomic_compare_exchange_strong(p, e, v)
#define atomic_fetch_add(p, v)                atomic_fetch_add_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_sub(p, v)                atomic_fetch_sub_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_or(p, v)                 atomic_fetch_or_explicit(p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_and(p, v)                atomic_fetch_and_explicit(p, v, __ATOMIC_SEQ_CST)

#endif
