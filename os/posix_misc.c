/* os/posix_misc.c -- the table of the POSIX implementation, errno into words, clocks, chance, forks.
 *
 * Forks (P15). A child must notice on its first call that its handles belong to another process,
 * for the price of a load. One anonymous page is marked MADV_WIPEONFORK and holds a number that is
 * not 0; in a child the kernel hands out a page of zeros instead, and whoever reads 0 there stores a
 * new number. Numbers are made from clock and process id, so no two processes of one line share one.
 * Where the kernel lacks the advice (before Linux 4.14, other systems) the process id is asked each
 * time. pthread_atfork was not used: it installs a handler into the host program for ever.
 *
 * Process-wide state: the address of that page, made once and never given back, and the registry of
 * locked directories (posix_lock.c). There is no other.
 */
#include "os/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/canary.h"
#ifdef __linux__
#include <sched.h>
#include <sys/random.h>
#endif

/* ---- errno into a status and words ---- */

static odb_status posix_status(int err)
{
    switch (err) {
    case ENOENT: return ODB_ABSENT;
    case EEXIST: return ODB_EXISTS;
    case ENOSPC:
#ifdef EDQUOT
    case EDQUOT:
#endif
    case EFBIG: return ODB_NOSPACE;
    case EACCES:
    case EPERM:
    case EROFS: return ODB_DENIED;
    case EMFILE:
    case ENFILE: return ODB_LIMIT;
    case ENOMEM: return ODB_NOMEM;
    case ENOTDIR:
    case ENAMETOOLONG: return ODB_INVALID;
    default: return ODB_IO;
    }
}

odb_status posix_error(int err, const char *call, const char *dir, const char *name)
{
    odb_status st = posix_status(err);
    const char *hint = "";

    if (err == EFBIG)
        hint = " (see 'ulimit -f')";
    else if (st == ODB_LIMIT)
        hint = " (see 'ulimit -n')";
    /* strerror: glibc keeps its buffer per thread, musl returns constants */
    return err_set(st, "%s %s%s%s: %s%s", call, dir ? dir : "", dir ? "/" : "", name, strerror(err),
                   hint);
}

int posix_fd_above(int fd)
{
    int moved, err;

    if (fd < 0 || fd > 2 || CANARY(45))
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    err = errno;
    (void)close(fd);
    errno = err;
    return moved;
}

const char *os_env(const char *name)
{
    return getenv(name);
}

/* ---- clocks, chance, processors ---- */

static uint64_t posix_clock_ns(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t posix_now_ns(struct os *os)
{
    (void)os;
    return posix_clock_ns(CLOCK_MONOTONIC);
}

static uint64_t posix_wall_us(struct os *os)
{
    (void)os;
    return posix_clock_ns(CLOCK_REALTIME) / 1000;
}

static odb_status posix_random(struct os *os, void *data, size_t len)
{
    uint8_t *p = data;

    (void)os;
    while (len > 0) {
        size_t n = len < 256 ? len : 256; /* what getentropy gives, and getrandom in one piece */
#ifdef __linux__
        ssize_t r = getrandom(p, n, 0);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return posix_error(errno, "getrandom", NULL, "(random bytes)");
        n = (size_t)r;
#else
        if (getentropy(p, n) != 0)
            return posix_error(errno, "getentropy", NULL, "(random bytes)");
#endif
        p += n;
        len -= n;
    }
    return ODB_OK;
}

static unsigned posix_cpu_count(struct os *os)
{
    long n;

    (void)os;
#if defined(__linux__) && defined(CPU_COUNT)
    {
        cpu_set_t set; /* containers narrow this, not the number of processors online */

        if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
            return (unsigned)CPU_COUNT(&set);
    }
#endif
    n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

/* ---- forks ---- */

struct fork_page {
    _Atomic uintptr_t number; /* 0: this process has not looked yet */
};

static _Atomic(struct fork_page *) fork_page; /* set by os_posix(), never changed after */

/* Map and mark the page; NULL where the kernel cannot wipe it in a child. */
static struct fork_page *fork_page_map(void)
{
#ifdef MADV_WIPEONFORK
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    if (madvise(p, size, MADV_WIPEONFORK) == 0)
        return p;
    (void)munmap(p, size);
#endif
    return NULL;
}

/* The first look of a process at its page. The low 23 bits hold the process id (at most 22 bits) and
 * a 1: parent and child differ there even where a pointer has 32 bits. */
static uint64_t fork_page_renew(struct fork_page *page)
{
    uint64_t id = (uint64_t)getpid() << 1 | 1;
    uintptr_t fresh = (uintptr_t)(posix_clock_ns(CLOCK_MONOTONIC) << 23 | (id & 0x7fffff));
    uintptr_t seen = 0;

    return atomic_compare_exchange_strong(&page->number, &seen, fresh) ? fresh : seen;
}

static uint64_t posix_fork_count(struct os *os)
{
    struct fork_page *page = atomic_load_explicit(&fork_page, memory_order_acquire);
    uintptr_t v;

    (void)os;
    if (ODB_UNLIKELY(!page))
        return (uint64_t)getpid();
    v = atomic_load_explicit(&page->number, memory_order_relaxed);
    return ODB_LIKELY(v != 0) ? v : fork_page_renew(page);
}

/* ---- the table ---- */

static const struct os_ops posix_ops = {
    .dir_open = posix_dir_open,
    .dir_close = posix_dir_close,
    .dir_sync = posix_dir_sync,
    .dir_list = posix_dir_list,
    .dir_free_bytes = posix_dir_free_bytes,
    .remove = posix_remove,
    .rename = posix_rename,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .open = posix_file_open,
    .close = posix_file_close,
    .size = posix_size,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .write_behind = posix_write_behind,
    .reserve = posix_reserve,
    .truncate = posix_truncate,
    .read_ahead = posix_read_ahead,
    .ring_open = posix_ring_open,
    .ring_close = posix_ring_close,
    .now_ns = posix_now_ns,
    .wall_us = posix_wall_us,
    .random = posix_random,
    .fork_count = posix_fork_count,
    .cpu_count = posix_cpu_count,
};

struct os *os_posix(void)
{
    static struct os posix_os = {&posix_ops}; /* never written to */

    if (!atomic_load_explicit(&fork_page, memory_order_acquire)) {
        struct fork_page *made = fork_page_map(), *seen = NULL;

        if (made && !atomic_compare_exchange_strong(&fork_page, &seen, made))
            (void)munmap(made, (size_t)sysconf(_SC_PAGESIZE)); /* another thread's is in */
    }
    return &posix_os;
}
