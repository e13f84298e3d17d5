/* bench/measure.h -- what a process has used so far, and the machine it runs on. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds on a clock that only goes forward. */
uint64_t bench_now_ns(void);
/* Seconds of processor: of this thread, of the whole process. */
double bench_thread_cpu(void);
double bench_process_cpu(void);

/* Bytes this process caused to be written to storage, as the kernel counts them; where it counts none
 * (a file system in memory), the bytes of its write calls. */
uint64_t bench_bytes_written(void);

/* What the kernel counts of this process, for --profile. */
struct bench_kernel_counts {
    uint64_t reads, writes; /* system calls of these kinds */
    uint64_t waits;         /* voluntary switches: for a lock, a device, a thread */
};

struct bench_kernel_counts bench_kernel_counts(void);

/* Return when the process has used no processor for a while: for engines that cannot tell whether they
 * have background work. */
void bench_wait_quiet(void);

/* The most memory the process held since bench_peak_reset(), bytes. */
void bench_peak_reset(void);
uint64_t bench_peak_memory(void);

/* Have the kernel write to storage all that is dirty in the file system of `dir`: its own time for that would
 * fall into whatever is measured next. */
void bench_write_back(const char *dir);

/* Bytes the files of a directory take on disk, room set aside included. With a suffix, the length of
 * the files whose name ends so instead. */
uint64_t bench_disk_bytes(const char *dir, const char *suffix);

/* Remove a directory and everything in it. Only directories whose last part begins with "bench-" are
 * touched: whoever mistypes --db loses nothing. Absent is fine. */
void bench_remove_dir(const char *dir);

struct bench_machine {
    char cpu[128];
    char kernel[200];
    char compiler[128];
    char file_system[32];
    char date[32]; /* UTC */
    uint32_t cores;
    uint64_t memory;
};

void bench_machine_read(struct bench_machine *m, const char *dir);

#endif
