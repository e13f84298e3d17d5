/* tests/wal/bench_wal.c -- what a record costs: appended, synced, replayed. Not a test.
 *
 *     bench_wal [directory] [records]          default: the current directory, 4 million
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "wal/wal.h"

#define BENCH_PAYLOAD 140

struct bench_log {
    uint64_t next_no;
    uint64_t files[4096];
    size_t count;
};

static uint64_t bench_new_no(void *owner)
{
    struct bench_log *b = owner;

    b->files[b->count % 4096] = b->next_no;
    b->count++;
    return b->next_no++;
}

static odb_status bench_count(void *arg, const struct wal_record *rec)
{
    *(uint64_t *)arg += rec->payload.size;
    return ODB_OK;
}

static void bench_check(odb_status st)
{
    if (st != ODB_OK) {
        (void)fprintf(stderr, "%s: %s\n", odb_status_name(st), odb_error_text());
        exit(1);
    }
}

static void bench_append(struct wal *w, uint64_t n, uint64_t *end)
{
    uint8_t payload[BENCH_PAYLOAD] = {0};
    uint64_t i = 0;

    while (i < n) {
        odb_status st;

        memcpy(payload, &i, sizeof i);
        st = wal_append(w, WAL_BATCH, i, odb_bytes(payload, sizeof payload),
                        hash64(payload, sizeof payload), end);
        if (st == ODB_AGAIN) {
            bench_check(wal_make_room(w, sizeof payload));
            continue;
        }
        bench_check(st);
        i++;
        if (wal_drain_due(w))
            bench_check(wal_drain(w));
    }
}

static void bench_run(struct os *os, struct os_dir *dir, size_t ring, uint64_t n)
{
    struct bench_log b = {.next_no = 1};
    struct wal_options opt = {.os = os,
                              .dir = dir,
                              .db_id = 1,
                              .ring_size = ring,
                              .segment_size = (uint64_t)64 << 20,
                              .new_file_no = bench_new_no,
                              .owner = &b};
    struct wal_replay_result result;
    uint64_t start, end = 0, appended, replayed, bytes = 0;
    struct wal *w;

    bench_check(wal_open(&opt, 0, 0, &w));
    start = os_now_ns(os);
    bench_append(w, n, &end);
    appended = os_now_ns(os) - start;
    bench_check(wal_close(w));
    start = os_now_ns(os);
    bench_check(wal_replay(dir, 1, b.files, b.count, WAL_LSN_UNKNOWN, 0, WAL_LSN_UNKNOWN,
                           bench_count, &bytes, &result));
    replayed = os_now_ns(os) - start;
    printf("ring %7zu: append %6.1f ns a record, replay %6.0f MB/s (%" PRIu64 " records)\n", ring,
           (double)appended / (double)n, (double)result.bytes * 1e3 / (double)replayed,
           result.records);
    for (size_t i = 0; i < b.count; i++) {
        char name[WAL_NAME_MAX];

        wal_segment_name(name, b.files[i]);
        bench_check(os_remove(dir, name));
    }
    err_ignore(os_remove(dir, WAL_RING_NAME)); /* without a ring there is none */
}

static void bench_sync(struct os *os, struct os_dir *dir, uint64_t n)
{
    struct bench_log b = {.next_no = 1};
    struct wal_options opt = {.os = os,
                              .dir = dir,
                              .db_id = 1,
                              .ring_size = 1 << 20,
                              .segment_size = (uint64_t)64 << 20,
                              .new_file_no = bench_new_no,
                              .owner = &b};
    uint64_t start, end = 0;
    struct wal *w;

    bench_check(wal_open(&opt, 0, 0, &w));
    start = os_now_ns(os);
    for (uint64_t i = 0; i < n; i++) {
        bench_append(w, 1, &end);
        bench_check(wal_sync(w, end));
    }
    printf("append and sync: %.1f us\n", (double)(os_now_ns(os) - start) / (double)n / 1e3);
    bench_check(wal_close(w));
    bench_check(os_remove(dir, "000001.log"));
    bench_check(os_remove(dir, WAL_RING_NAME));
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : ".";
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 4000000;
    struct os *os = os_posix();
    struct os_dir *dir;

    bench_check(os_dir_open(os, path, OS_DIR_CREATE, &dir));
    bench_run(os, dir, (size_t)1 << 20, n);
    bench_run(os, dir, (size_t)1 << 20, n);
    bench_run(os, dir, (size_t)256 << 10, n);
    bench_run(os, dir, (size_t)64 << 10, n);
    bench_run(os, dir, 0, n / 10);
    bench_sync(os, dir, 2000);
    os_dir_close(dir);
    return 0;
}
