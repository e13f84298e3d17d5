/* bench/measure.c -- see measure.h. Linux's /proc where there is one; zeros elsewhere. */
#include "bench/measure.h"

#include "bench/engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static double seconds_on(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

uint64_t bench_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double bench_thread_cpu(void)
{
    return seconds_on(CLOCK_THREAD_CPUTIME_ID);
}

double bench_process_cpu(void)
{
    return seconds_on(CLOCK_PROCESS_CPUTIME_ID);
}

/* The number behind `name` in a file of lines "name: number". */
static uint64_t proc_number(const char *file, const char *name)
{
    FILE *f = fopen(file, "r");
    char line[256];
    uint64_t n = 0;

    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0) {
            n = strtoull(line + strlen(name), NULL, 10);
            break;
        }
    (void)fclose(f);
    return n;
}

uint64_t bench_bytes_written(void)
{
    uint64_t stored = proc_number("/proc/self/io", "write_bytes:");

    return stored ? stored : proc_number("/proc/self/io", "wchar:");
}

struct bench_kernel_counts bench_kernel_counts(void)
{
    struct rusage used;

    (void)getrusage(RUSAGE_SELF, &used);
    return (struct bench_kernel_counts){proc_number("/proc/self/io", "syscr:"),
                                        proc_number("/proc/self/io", "syscw:"),
                                        (uint64_t)used.ru_nvcsw};
}

void bench_wait_quiet(void)
{
    for (int still = 0; still < 3; still++) {
        double before = bench_process_cpu();
        struct timespec nap = {0, 50000000};

        (void)nanosleep(&nap, NULL);
        if (bench_process_cpu() - before > 0.005)
            still = -1;
    }
}

void bench_peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "5", 1) != 1) {
        /* the peak is then that of the whole run: larger, never smaller */
    }
    (void)close(fd);
}

uint64_t bench_peak_memory(void)
{
    struct rusage used;
    uint64_t kib = proc_number("/proc/self/status", "VmHWM:");

    if (kib)
        return kib << 10;
    (void)getrusage(RUSAGE_SELF, &used);
    return (uint64_t)used.ru_maxrss << 10;
}

void bench_write_back(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

#ifdef __linux__
    if (fd < 0 || syncfs(fd) != 0)
        sync();
#else
    sync();
#endif
    if (fd >= 0)
        (void)close(fd);
}

static bool ends_so(const char *name, const char *suffix)
{
    size_t len = strlen(name), end = suffix ? strlen(suffix) : 0;

    return len >= end && (!suffix || strcmp(name + len - end, suffix) == 0);
}

uint64_t bench_disk_bytes(const char *dir, const char *suffix)
{
    DIR *d = opendir(dir);
    uint64_t sum = 0;

    if (!d)
        return 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct stat st;

        if (ends_so(e->d_name, suffix) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            S_ISREG(st.st_mode))
            sum += suffix ? (uint64_t)st.st_size : (uint64_t)st.st_blocks * 512;
    }
    (void)closedir(d);
    return sum;
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);

    if (!d) {
        (void)unlink(path);
        return;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char sub[4096];

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(sub, sizeof sub, "%s/%s", path, e->d_name) < (int)sizeof sub) {
            if (unlink(sub) != 0)
                remove_tree(sub);
        }
    }
    (void)closedir(d);
    (void)rmdir(path);
}

void bench_remove_dir(const char *dir)
{
    const char *last = strrchr(dir, '/');

    if (strncmp(last ? last + 1 : dir, "bench-", 6) != 0)
        bench_die("will not remove %s: its name does not begin with bench-", dir);
    if (access(dir, F_OK) == 0)
        remove_tree(dir);
}

static const char *file_system_name(unsigned long type)
{
    switch (type) {
    case 0xef53: return "ext4";
    case 0x58465342: return "xfs";
    case 0x9123683e: return "btrfs";
    case 0x01021994: return "tmpfs";
    case 0x794c7630: return "overlayfs";
    case 0xf2f52010: return "f2fs";
    default: return "another";
    }
}

void bench_machine_read(struct bench_machine *m, const char *dir)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    struct utsname u;
    struct statfs fs;
    time_t now = time(NULL);
    struct tm tm;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    memset(m, 0, sizeof *m);
    (void)snprintf(m->cpu, sizeof m->cpu, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = 0;
        (void)snprintf(m->cpu, sizeof m->cpu, "%s", colon + 2);
        break;
    }
    if (f)
        (void)fclose(f);
    if (uname(&u) == 0)
        (void)snprintf(m->kernel, sizeof m->kernel, "%s %s %s", u.sysname, u.release, u.machine);
#if defined(__clang__)
    (void)snprintf(m->compiler, sizeof m->compiler, "%s", __VERSION__);
#else
    (void)snprintf(m->compiler, sizeof m->compiler, "gcc %s", __VERSION__);
#endif
    (void)snprintf(m->file_system, sizeof m->file_system, "%s",
                   statfs(dir, &fs) == 0 ? file_system_name((unsigned long)fs.f_type) : "unknown");
    if (gmtime_r(&now, &tm))
        (void)strftime(m->date, sizeof m->date, "%Y-%m-%d %H:%M UTC", &tm);
    m->cores = cores > 0 ? (uint32_t)cores : 1;
    if (pages > 0 && page > 0)
        m->memory = (uint64_t)pages * (uint64_t)page;
}
