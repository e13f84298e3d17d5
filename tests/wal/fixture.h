/* tests/wal/fixture.h -- a log of records whose content is known from their number alone.
 *
 * Record i has the sequence number 10 * i + 1, a payload of log_payload_len(i) bytes derived from i,
 * and is appended with the same retry loop a commit uses. Replaying checks that what comes back is
 * records first, first + 1, ... in order, byte for byte. */
#ifndef WAL_TEST_FIXTURE_H
#define WAL_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "wal/wal.h"

#define LOG_DB      UINT64_C(0x1122334455667788)
#define LOG_FILES   256
#define LOG_PAYLOAD 70000

struct log_fx {
    struct os *os;
    struct os_dir *dir;
    char path[64];
    uint64_t next_no;
    struct wal *wal;
    uint64_t appended; /* records */
    uint64_t last_end;
    size_t large_every; /* 0: never a record past the ring */
    uint64_t files[LOG_FILES];
    size_t file_count;
    uint64_t base; /* number of the first record expected by a replay */
    uint64_t seen; /* records replayed */
    bool is_wrong; /* something came back that was not written */
    struct wal_replay_result result;
};

static inline uint64_t log_new_no(void *owner)
{
    struct log_fx *fx = owner;
    return fx->next_no++;
}

static inline void log_init(struct log_fx *fx, struct os *os, const char *path)
{
    *fx = (struct log_fx){.os = os, .next_no = 1};
    (void)snprintf(fx->path, sizeof fx->path, "%s", path);
}

/* On a fresh directory of the real file system. */
static inline void log_init_posix(struct log_fx *fx)
{
    char path[64] = "/tmp/odb-wal-XXXXXX";

    assert_non_null(mkdtemp(path));
    log_init(fx, os_posix(), path);
    assert_int_equal(os_dir_open(fx->os, fx->path, 0, &fx->dir), ODB_OK);
}

static inline bool log_sweep_name(void *arg, const char *name)
{
    char(*names)[64] = arg;
    size_t i = 0;

    while (i < LOG_FILES && names[i][0] != '\0')
        i++;
    if (i == LOG_FILES)
        return false;
    (void)snprintf(names[i], 64, "%s", name);
    return true;
}

static inline void log_release_posix(struct log_fx *fx)
{
    char(*names)[64] = calloc(LOG_FILES, 64);

    assert_non_null(names);
    assert_int_equal(os_dir_list(fx->dir, log_sweep_name, names), ODB_OK);
    for (size_t i = 0; i < LOG_FILES && names[i][0] != '\0'; i++)
        assert_int_equal(os_remove(fx->dir, names[i]), ODB_OK);
    free(names);
    os_dir_close(fx->dir);
    assert_int_equal(rmdir(fx->path), 0);
}

static inline struct wal_options log_options(struct log_fx *fx, size_t ring, uint64_t segment)
{
    return (struct wal_options){
        .os = fx->os,
        .dir = fx->dir,
        .db_id = LOG_DB,
        .ring_size = ring,
        .segment_size = segment,
        .new_file_no = log_new_no,
        .owner = fx,
    };
}

static inline odb_status log_open(struct log_fx *fx, size_t ring, uint64_t segment)
{
    struct wal_options opt = log_options(fx, ring, segment);
    return wal_open(&opt, fx->last_end, fx->appended * 10, &fx->wal);
}

/* ---- records ---- */

static inline uint64_t log_seq(uint64_t i)
{
    return 10 * i + 1;
}

static inline size_t log_payload_len(const struct log_fx *fx, uint64_t i)
{
    if (fx->large_every > 0 && i % fx->large_every == fx->large_every - 1)
        return 3000 + (size_t)(i * 977 % 30000);
    return (size_t)(hash_mix(7, i) % 150);
}

static inline void log_payload(uint64_t i, uint8_t *out, size_t len)
{
    uint64_t x = hash_mix(99, i);

    for (size_t k = 0; k < len; k++) {
        out[k] = (uint8_t)(x >> (k % 8 * 8));
        if (k % 8 == 7)
            x = hash_mix(x, k);
    }
}

/* Append the next record as a commit would: again, after making room. */
static inline odb_status log_append(struct log_fx *fx)
{
    static _Thread_local uint8_t bytes[LOG_PAYLOAD];
    uint64_t i = fx->appended, end = 0;
    size_t len = log_payload_len(fx, i);
    odb_slice payload = odb_bytes(bytes, len);
    odb_status st;

    log_payload(i, bytes, len);
    for (;;) {
        st = wal_append(fx->wal, WAL_BATCH, log_seq(i), payload, hash64(bytes, len), &end);
        if (st != ODB_AGAIN)
            break;
        st = wal_make_room(fx->wal, len);
        if (st != ODB_OK)
            break;
    }
    if (st == ODB_OK) {
        fx->appended++;
        fx->last_end = end;
    }
    return st;
}

static inline void log_append_many(struct log_fx *fx, uint64_t n)
{
    while (n-- > 0) {
        assert_int_equal(log_append(fx), ODB_OK);
        if (wal_drain_due(fx->wal))
            assert_int_equal(wal_drain(fx->wal), ODB_OK);
    }
}

/* ---- the way back ---- */

static inline bool log_note_file(void *arg, const char *name)
{
    struct log_fx *fx = arg;
    unsigned long long no;
    char want[WAL_NAME_MAX];

    if (sscanf(name, "%llu", &no) == 1 && fx->file_count < LOG_FILES) {
        wal_segment_name(want, no);
        if (strcmp(want, name) == 0)
            fx->files[fx->file_count++] = no;
    }
    return true;
}

static inline int log_compare_no(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static inline odb_status log_list(struct log_fx *fx)
{
    odb_status st;

    fx->file_count = 0;
    st = os_dir_list(fx->dir, log_note_file, fx);
    qsort(fx->files, fx->file_count, sizeof fx->files[0], log_compare_no);
    return st;
}

static inline odb_status log_see(void *arg, const struct wal_record *rec)
{
    static _Thread_local uint8_t bytes[LOG_PAYLOAD];
    struct log_fx *fx = arg;
    uint64_t i = fx->base + fx->seen;
    size_t len = log_payload_len(fx, i);

    log_payload(i, bytes, len);
    if (rec->first_seq != log_seq(i) || rec->type != WAL_BATCH || rec->payload.size != len ||
        (len > 0 && memcmp(rec->payload.data, bytes, len) != 0))
        fx->is_wrong = true;
    fx->seen++;
    return ODB_OK;
}

/* Replay the files in fx->files from `from`. */
static inline odb_status log_replay_files(struct log_fx *fx, uint64_t from)
{
    fx->seen = 0;
    fx->is_wrong = false;
    fx->result = (struct wal_replay_result){0};
    return wal_replay(fx->dir, LOG_DB, fx->files, fx->file_count, WAL_LSN_UNKNOWN, from,
                      WAL_LSN_UNKNOWN, log_see, fx, &fx->result);
}

static inline odb_status log_replay(struct log_fx *fx)
{
    odb_status st = log_list(fx);

    return st == ODB_OK ? log_replay_files(fx, 0) : st;
}

/* The usual ending: everything appended comes back. */
static inline void log_expect_all(struct log_fx *fx)
{
    assert_int_equal(log_replay(fx), ODB_OK);
    assert_false(fx->is_wrong);
    assert_int_equal(fx->seen, fx->appended);
    if (fx->appended > 0)
        assert_int_equal(fx->result.end_lsn, fx->last_end);
}

/* Change or read stored bytes behind the log's back (real file system). */
static inline void log_poke(struct log_fx *fx, const char *name, uint64_t off, const void *data,
                            size_t len)
{
    struct os_file *f;

    assert_int_equal(os_open(fx->dir, name, OS_WRITE, &f), ODB_OK);
    assert_int_equal(os_write(f, off, data, len), ODB_OK);
    os_close(f);
}

static inline size_t log_peek(struct log_fx *fx, const char *name, uint64_t off, void *data,
                              size_t len)
{
    struct os_file *f;
    size_t got;

    assert_int_equal(os_open(fx->dir, name, 0, &f), ODB_OK);
    assert_int_equal(os_read(f, off, data, len, &got), ODB_OK);
    os_close(f);
    return got;
}

static inline uint64_t log_file_size(struct log_fx *fx, const char *name)
{
    struct os_file *f;
    uint64_t size;

    assert_int_equal(os_open(fx->dir, name, 0, &f), ODB_OK);
    assert_int_equal(os_size(f, &size), ODB_OK);
    os_close(f);
    return size;
}

#endif
