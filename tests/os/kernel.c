/* tests/os/kernel.c -- the calls of kernel.h: the real ones, but where the test says otherwise. */
#define KERNEL_IS_REAL
#include "tests/os/kernel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static struct {
    int at, times, err, failed;
    const char *only, *last;
    void (*before)(void);
} plan = {.at = -1};

void kernel_fail(int at, const char *only, int err, int times)
{
    plan.at = at;
    plan.times = times;
    plan.err = err;
    plan.only = only;
    plan.failed = 0;
    plan.last = NULL;
    plan.before = NULL;
}

void kernel_before(int at, const char *only, void (*before)(void))
{
    kernel_fail(at, only, 0, 0);
    plan.before = before;
}

int kernel_heal(const char **last)
{
    if (last)
        *last = plan.last;
    plan.at = -1;
    plan.times = 0;
    plan.before = NULL;
    return plan.failed;
}

/* Whether this call is to fail; errno is set. */
static bool kernel_says_no(const char *name)
{
    if ((plan.only && strcmp(plan.only, name) != 0) || plan.at < 0)
        return false;
    if (plan.at > 0) {
        plan.at--;
        return false;
    }
    if (plan.before) {
        void (*before)(void) = plan.before;

        (void)kernel_heal(NULL);
        before();
        return false;
    }
    if (plan.times <= 0)
        return false;
    plan.times--;
    plan.failed++;
    plan.last = name;
    errno = plan.err;
    return true;
}

int kernel_fstat(int fd, struct stat *s)
{
    if (kernel_says_no("fstat"))
        return plan.err ? -1 : 0;
    return fstat(fd, s);
}

int kernel_fstatat(int dir, const char *name, struct stat *s, int flags)
{
    if (kernel_says_no("fstatat"))
        return plan.err ? -1 : 0;
    return fstatat(dir, name, s, flags);
}

int kernel_fstatfs(int fd, struct statfs *s)
{
    memset(s, 0, sizeof *s);
    if (kernel_says_no("fstatfs"))
        return plan.err ? -1 : 0;
    return fstatfs(fd, s);
}

int kernel_fstatvfs(int fd, struct statvfs *s)
{
    if (kernel_says_no("fstatvfs"))
        return plan.err ? -1 : 0;
    return fstatvfs(fd, s);
}

ssize_t kernel_pread(int fd, void *data, size_t len, off_t off)
{
    if (kernel_says_no("pread"))
        return plan.err ? -1 : 0;
    return pread(fd, data, len, off);
}

ssize_t kernel_pwrite(int fd, const void *data, size_t len, off_t off)
{
    if (kernel_says_no("pwrite"))
        return plan.err ? -1 : 0;
    return pwrite(fd, data, len, off);
}

int kernel_fsync(int fd)
{
    if (kernel_says_no("fsync"))
        return plan.err ? -1 : 0;
    return fsync(fd);
}

int kernel_fdatasync(int fd)
{
    if (kernel_says_no("fdatasync"))
        return plan.err ? -1 : 0;
    return fdatasync(fd);
}

void *kernel_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    if (kernel_says_no("mmap"))
        return MAP_FAILED;
    return mmap(at, len, prot, flags, fd, off);
}

int kernel_mlock(const void *p, size_t len)
{
    if (kernel_says_no("mlock"))
        return plan.err ? -1 : 0;
    return mlock(p, len);
}

int kernel_madvise(void *p, size_t len, int advice)
{
    if (kernel_says_no("madvise"))
        return plan.err ? -1 : 0;
    return madvise(p, len, advice);
}

ssize_t kernel_getrandom(void *data, size_t len, unsigned flags)
{
    if (kernel_says_no("getrandom"))
        return plan.err ? -1 : 0;
    return getrandom(data, len, flags);
}

int kernel_mkdir(const char *path, mode_t mode)
{
    if (kernel_says_no("mkdir"))
        return plan.err ? -1 : 0;
    return mkdir(path, mode);
}

int kernel_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    if (kernel_says_no("renameat"))
        return plan.err ? -1 : 0;
    return renameat(from_dir, from, to_dir, to);
}

int kernel_unlinkat(int dir, const char *name, int flags)
{
    if (kernel_says_no("unlinkat"))
        return plan.err ? -1 : 0;
    return unlinkat(dir, name, flags);
}

int kernel_fallocate(int fd, int mode, off_t off, off_t len)
{
    if (kernel_says_no("fallocate"))
        return plan.err ? -1 : 0;
    return fallocate(fd, mode, off, len);
}

int kernel_ftruncate(int fd, off_t len)
{
    if (kernel_says_no("ftruncate"))
        return plan.err ? -1 : 0;
    return ftruncate(fd, len);
}

int kernel_getrlimit(int what, struct rlimit *r)
{
    if (kernel_says_no("getrlimit") || what != RLIMIT_FSIZE) /* the only one that os/ asks for */
        return plan.err ? -1 : 0;
    return getrlimit(RLIMIT_FSIZE, r);
}

long kernel_sysconf(int name)
{
    if (kernel_says_no("sysconf"))
        return plan.err ? -1 : 0;
    return sysconf(name);
}

int kernel_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    if (kernel_says_no("sched_getaffinity"))
        return plan.err ? -1 : 0;
    return sched_getaffinity(pid, size, set);
}

struct dirent *kernel_readdir(DIR *dir)
{
    if (kernel_says_no("readdir"))
        return NULL;
    return readdir(dir);
}

DIR *kernel_fdopendir(int fd)
{
    if (kernel_says_no("fdopendir"))
        return NULL;
    return fdopendir(fd);
}

/* Like the rest of its family, it returns what went wrong. */
int kernel_pthread_create(pthread_t *id, const pthread_attr_t *how, void *(*run)(void *), void *arg)
{
    if (kernel_says_no("pthread_create"))
        return plan.err;
    return pthread_create(id, how, run, arg);
}

int kernel_nanosleep(const struct timespec *how_long, struct timespec *left)
{
    if (kernel_says_no("nanosleep")) {
        *left = *how_long;
        return plan.err ? -1 : 0;
    }
    return nanosleep(how_long, left);
}

int kernel_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (kernel_says_no("clock_gettime"))
        return plan.err ? -1 : 0;
    return clock_gettime(clock, t);
}

int kernel_openat(int dir, const char *name, int flags, ...)
{
    mode_t mode = 0;
    va_list more;

    if (kernel_says_no("openat"))
        return -1;
    if (flags & O_CREAT) {
        va_start(more, flags);
        mode = (mode_t)va_arg(more, unsigned);
        va_end(more);
    }
    return openat(dir, name, flags, mode);
}

int kernel_fcntl(int fd, int cmd, ...)
{
    va_list more;
    int r;

    if (kernel_says_no("fcntl"))
        return -1;
    va_start(more, cmd);
    r = cmd == F_DUPFD_CLOEXEC ? fcntl(fd, cmd, va_arg(more, int))
                               : fcntl(fd, cmd, va_arg(more, void *));
    va_end(more);
    return r;
}
