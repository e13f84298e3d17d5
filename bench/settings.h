/* bench/settings.h -- what a run was asked to do: the flags of db_bench, and a few of our own.
 *
 * Every flag is one row of the table in settings.c: name, kind, field, default and help live there
 * together, so that the parser, --help and the "settings" of a report cannot disagree.
 */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_TEXT_MAX    512
#define BENCH_THREADS_MAX 256

struct bench_settings {
    /* what to run */
    char benchmarks[BENCH_TEXT_MAX];
    char load[BENCH_TEXT_MAX];
    char engine[64];
    char vs[128];
    uint64_t pairs;
    char db[BENCH_TEXT_MAX];
    bool use_existing_db;
    bool keep_db;

    /* how much */
    uint64_t num;
    uint64_t reads;
    uint64_t writes;
    uint64_t threads;
    uint64_t duration;
    uint64_t seed;
    uint64_t batch_size;
    uint64_t seek_nexts;
    uint64_t deleted;
    uint64_t families;
    uint64_t readwritepercent;
    uint64_t write_rate;

    /* keys and values */
    uint64_t key_size;
    char key_shape[16];
    char draw[16];
    double zipf_theta;
    uint64_t value_size;
    double compression_ratio;

    /* how the engines are opened */
    char compression_type[16];
    bool sync;
    uint64_t write_buffer_size;
    uint64_t max_write_buffer_number;
    uint64_t target_file_size_base;
    uint64_t max_bytes_for_level_base;
    uint64_t level0_file_num_compaction_trigger;
    uint64_t max_background_jobs;
    uint64_t subcompactions;
    uint64_t block_size;
    double bloom_bits;
    uint64_t cache_size;
    uint64_t memory;
    bool disable_auto_compactions;

    /* what to report */
    bool histogram;
    bool profile;
    double stats_interval;
    char json[BENCH_TEXT_MAX];
    char csv[BENCH_TEXT_MAX];
    char html[BENCH_TEXT_MAX];
    char vectors[BENCH_TEXT_MAX];
};

/* Every field as the table says. */
void bench_settings_init(struct bench_settings *s);

/* Read one argument, "--name=value", "--name value" or, for a yes or no, "--name". Returns how many
 * words of `argv` it took; 0 when the first is no flag we know or its value makes no sense, and then
 * `why` (of `cap` bytes) says what is wrong. */
int bench_settings_parse(struct bench_settings *s, int argc, char *const *argv, char *why,
                         size_t cap);

/* After the last argument: false, with `why`, when the fields contradict one another. */
bool bench_settings_check(const struct bench_settings *s, char *why, size_t cap);

/* The flags, their defaults and what they mean, group by group. */
void bench_settings_help(FILE *to);

/* Call `each` with every flag and its present value as text, in the order of the table. */
void bench_settings_each(const struct bench_settings *s,
                         void (*each)(void *arg, const char *name, const char *value), void *arg);

#endif
