/* os/os_thread.h -- threads, mutexes with ranks, condition variables.
 *
 * A mutex has a rank (docs/locks.md lists them all); a thread takes locks in rising rank only. Debug
 * builds check that, and os_mutex_held() answers truthfully; release builds pay for neither. Built
 * without threads (-Dthreads=disabled) every call here is empty and os_thread_start() returns
 * ODB_UNSUPPORTED.
 */
#ifndef ODB_OS_THREAD_H
#define ODB_OS_THREAD_H

#include "base/status.h"

#ifdef ODB_SCHED /* the test scheduler stands in for the system (os/os_sched.h); never in the product */
struct os_thread;
#define OS_LOCK_MEMBERS struct os_thread *owner;
#define OS_COND_MEMBERS struct os_thread *first; /* who waits, in the order they came */
#define OS_LOCK_INIT    .owner = NULL,
#elif defined(ODB_WITH_THREADS)
#include <pthread.h>
#define OS_LOCK_MEMBERS pthread_mutex_t m;
#define OS_COND_MEMBERS pthread_cond_t c;
#define OS_LOCK_INIT    .m = PTHREAD_MUTEX_INITIALIZER,
#else
#define OS_LOCK_MEMBERS
#define OS_COND_MEMBERS char unused;
#define OS_LOCK_INIT
#endif

#if defined(__clang__) && defined(ODB_WITH_THREADS)
#define ODB_CAPABILITY     __attribute__((capability("mutex")))
#define ODB_ACQUIRE(lock)  __attribute__((acquire_capability(lock)))
#define ODB_RELEASE(lock)  __attribute__((release_capability(lock)))
#define ODB_REQUIRES(lock) __attribute__((requires_capability(lock)))
#define ODB_TRIES(lock)    __attribute__((try_acquire_capability(true, lock)))
#define ODB_UNCHECKED      __attribute__((no_thread_safety_analysis))
#else
#define ODB_CAPABILITY
#define ODB_ACQUIRE(lock)
#define ODB_RELEASE(lock)
#define ODB_REQUIRES(lock)
#define ODB_TRIES(lock)
#define ODB_UNCHECKED
#endif

/* Rising order of taking. docs/locks.md says what each protects. */
enum lock_rank {
    RANK_VEC_OPEN = 1,  /* vector: making and loading the index */
    RANK_VEC_WRITE = 3, /* vector: changing the graph, storing what changed */
    RANK_OPEN = 5,      /* api: opening, closing, creating and dropping families */
    RANK_COMPACT = 10,  /* lsm: one manual compaction at a time */
    RANK_SCHED = 20,    /* lsm: what is picked, flushing, merging */
    RANK_EDIT = 25,     /* lsm: one change of a tree at a time, from plan to publication */
    RANK_LOCKS = 28,    /* api: the lock table of pessimistic transactions */
    RANK_MANIFEST = 30, /* cf: the manifest file and its order */
    RANK_SYNC = 40,     /* wal: who syncs the log now */
    RANK_COMMIT = 50,   /* wal, cf: sequence numbers, log position, memtable switch */
    RANK_PUBLISH = 55,  /* cf: waiting for earlier commits to become visible */
    RANK_TREE = 60,     /* lsm: the current version */
    RANK_SNAPSHOT = 65, /* cf: the list of snapshots */
    RANK_VEC_LOAD = 66, /* vector: rows on their way from one thread to another */
    RANK_VEC_SLOT = 67, /* vector: handing out slots, what is pending */
    RANK_GAPS = 68,     /* lsm: stretches without live keys */
    RANK_MEMTABLE = 70, /* memtable: its arena */
    RANK_GARBAGE = 75,  /* lsm: tables to be removed from the disk */
    RANK_TABLES = 80,   /* sstable: opening and closing tables */
    RANK_VEC_ROW = 85,  /* vector: one row of links */
    RANK_CACHE = 90,    /* sstable: the clock of the block cache */
    RANK_HEAP = 92,     /* sstable: memory of cached blocks */
    RANK_EXEC = 95,     /* lsm: the job queue */
    RANK_LOGFILE = 97,  /* api: the readable LOG */
    RANK_OS_SYNC = 98,  /* os: one sync of a file at a time */
    RANK_OS = 99,       /* os: its registry; the simulated disk */
};

struct ODB_CAPABILITY os_mutex {
    OS_LOCK_MEMBERS
#ifndef NDEBUG
    int rank;
    struct os_mutex *below; /* the lock its holder took before it; the holder's */
    _Atomic uintptr_t holder;
#else
    char unused;
#endif
};

/* For the few mutexes that exist before any code runs. */
#ifndef NDEBUG
#define OS_MUTEX_INIT(rank_)                                                                       \
    {                                                                                              \
        OS_LOCK_INIT.rank = (rank_)                                                                \
    }
#else
#define OS_MUTEX_INIT(rank_)                                                                       \
    {                                                                                              \
        OS_LOCK_INIT.unused = 0                                                                    \
    }
#endif

struct os_cond {
    OS_COND_MEMBERS
};

void os_mutex_init(struct os_mutex *m, enum lock_rank rank);
void os_mutex_destroy(struct os_mutex *m);
void os_mutex_lock(struct os_mutex *m) ODB_ACQUIRE(*m);
bool os_mutex_trylock(struct os_mutex *m) ODB_TRIES(*m);
void os_mutex_unlock(struct os_mutex *m) ODB_RELEASE(*m);
/* For assert() only: debug builds answer truthfully, release builds say true. */
bool os_mutex_held(const struct os_mutex *m);

void os_cond_init(struct os_cond *c);
void os_cond_destroy(struct os_cond *c);
/* May wake without a reason; wait in a loop. */
void os_cond_wait(struct os_cond *c, struct os_mutex *m) ODB_REQUIRES(*m);
/* At most `ns` nanoseconds; false when the time ran out. */
bool os_cond_wait_for(struct os_cond *c, struct os_mutex *m, uint64_t ns) ODB_REQUIRES(*m);
/* The same for what may well never happen. The test scheduler takes a wait that only its limit ends for a
 * lost signal, but not this one. */
bool os_cond_linger(struct os_cond *c, struct os_mutex *m, uint64_t ns) ODB_REQUIRES(*m);
void os_cond_signal(struct os_cond *c);
void os_cond_broadcast(struct os_cond *c);

struct os_thread;
/* Signals stay with the host program: the new thread blocks them all. ODB_LIMIT when the system
 * refuses another thread. `name` shows up in debuggers (15 bytes). */
ODB_MUST_CHECK odb_status os_thread_start(const char *name, void (*run)(void *arg), void *arg,
                                          struct os_thread **out);
/* Wait for its end and free it. NULL is fine. */
void os_thread_join(struct os_thread *t);
void os_thread_yield(void);
/* Sleep about that long. */
void os_thread_sleep(uint64_t ns);
/* A breath inside a spin loop. */
void os_cpu_relax(void);
/* CPU nanoseconds this thread has used, 0 where that cannot be told. */
uint64_t os_thread_cpu_ns(void);

#endif
