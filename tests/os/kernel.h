/* tests/os/kernel.h -- put in front of os/posix_*.c and os/thread.c by the compiler (-include): their calls of the
 * kernel go through functions that a test can have fail, or call back, at any call. */
#ifndef KERNEL_H
#define KERNEL_H

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* From now on, the call number `at` (counted from 0, of all calls, or of `only` where that is not NULL)
 * and the `times` - 1 after it fail with `err`. With err 0 they return 0 and do nothing. */
void kernel_fail(int at, const char *only, int err, int times);
/* Call `before` once, before call number `at` of `only`. */
void kernel_before(int at, const char *only, void (*before)(void));
/* Nothing fails any more. How many calls failed; *last is the name of the last of them. */
int kernel_heal(const char **last);

int kernel_openat(int dir, const char *name, int flags, ...);
int kernel_fstat(int fd, struct stat *s);
int kernel_fstatat(int dir, const char *name, struct stat *s, int flags);
int kernel_fstatfs(int fd, struct statfs *s);
int kernel_fstatvfs(int fd, struct statvfs *s);
ssize_t kernel_pread(int fd, void *data, size_t len, off_t off);
ssize_t kernel_pwrite(int fd, const void *data, size_t len, off_t off);
int kernel_fsync(int fd);
int kernel_fdatasync(int fd);
int kernel_fcntl(int fd, int cmd, ...);
void *kernel_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
int kernel_mlock(const void *p, size_t len);
int kernel_madvise(void *p, size_t len, int advice);
ssize_t kernel_getrandom(void *data, size_t len, unsigned flags);
int kernel_mkdir(const char *path, mode_t mode);
int kernel_renameat(int from_dir, const char *from, int to_dir, const char *to);
int kernel_unlinkat(int dir, const char *name, int flags);
int kernel_fallocate(int fd, int mode, off_t off, off_t len);
int kernel_ftruncate(int fd, off_t len);
int kernel_getrlimit(int what, struct rlimit *r);
long kernel_sysconf(int name);
int kernel_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
struct dirent *kernel_readdir(DIR *dir);
DIR *kernel_fdopendir(int fd);
int kernel_pthread_create(pthread_t *id, const pthread_attr_t *how, void *(*run)(void *),
                          void *arg);
int kernel_nanosleep(const struct timespec *how_long, struct timespec *left);
int kernel_clock_gettime(clockid_t clock, struct timespec *t);

#ifndef KERNEL_IS_REAL
#define openat            kernel_openat
#define fstat             kernel_fstat
#define fstatat           kernel_fstatat
#define fstatfs           kernel_fstatfs
#define fstatvfs          kernel_fstatvfs
#define pread             kernel_pread
#define pwrite            kernel_pwrite
#define fsync             kernel_fsync
#define fdatasync         kernel_fdatasync
#define fcntl             kernel_fcntl
#define mmap              kernel_mmap
#define mlock             kernel_mlock
#define madvise           kernel_madvise
#define getrandom         kernel_getrandom
#define mkdir             kernel_mkdir
#define renameat          kernel_renameat
#define unlinkat          kernel_unlinkat
#define fallocate         kernel_fallocate
#define ftruncate         kernel_ftruncate
#define getrlimit         kernel_getrlimit
#define sysconf           kernel_sysconf
#define sched_getaffinity kernel_sched_getaffinity
#define readdir           kernel_readdir
#define fdopendir         kernel_fdopendir
#define pthread_create    kernel_pthread_create
#define nanosleep         kernel_nanosleep
#define clock_gettime     kernel_clock_gettime
#endif

#endif
