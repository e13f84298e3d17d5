/* tests/api/fixture.h -- a database over either backend, in a directory that goes away again. Compiled
 * with FIXTURE_BACKEND, the function that opens some other backend, it is over that one instead. */
#ifndef TEST_API_FIXTURE_H
#define TEST_API_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/opendb.h"

#ifdef FIXTURE_BACKEND
#include "bench/backend.h"
#endif

#define assert_status(got, want)                                                                   \
    do {                                                                                           \
        odb_status fixture_got = (got), fixture_want = (want);                                     \
        if (fixture_got != fixture_want)                                                           \
            fail_msg("%s is %s, not %s; last error: %s", #got, odb_status_name(fixture_got),       \
                     odb_status_name(fixture_want), odb_error_text());                             \
    } while (0)
#define assert_ok(got) assert_status(got, ODB_OK)
#define assert_slice(got, text)                                                                    \
    do {                                                                                           \
        odb_slice fixture_s = (got);                                                               \
        assert_int_equal(fixture_s.size, strlen(text));                                            \
        assert_memory_equal(fixture_s.data ? fixture_s.data : "", text, strlen(text));             \
    } while (0)

struct fixture {
    odb_db *db;
    bool is_lsm;
    bool has_dir;   /* can be closed and found again */
    size_t key_max; /* bytes of the longest key */
    char dir[64];
};

/* Small buffers, so that a few thousand writes reach every part of the tree. */
static inline odb_options fixture_options(void)
{
    odb_options o = odb_options_default();

    o.memory_budget = 8 << 20;
    o.write_buffer_size = 128 << 10;
    o.target_file_size = 64 << 10;
    o.level_base_size = 128 << 10;
    o.log_segment_size = 256 << 10;
    return o;
}

static inline void fixture_remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[1024];

    while (d && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(dir);
}

static inline void fixture_make_dir(char *dir, size_t room)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, room, "%s/opendb-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
}

static inline int fixture_memory(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    odb_backend backend;

    assert_non_null(f);
    f->key_max = 64 << 10;
    assert_ok(odb_backend_memory(&backend));
    assert_ok(odb_open_backend(backend, &f->db));
    *state = f;
    return 0;
}

static inline int fixture_lsm(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    odb_options o = fixture_options();

    assert_non_null(f);
    f->is_lsm = f->has_dir = true;
    f->key_max = 64 << 10;
    fixture_make_dir(f->dir, sizeof f->dir);
    assert_ok(odb_open(f->dir, &o, &f->db));
    *state = f;
    return 0;
}

#ifdef FIXTURE_BACKEND
static inline void fixture_open_other(struct fixture *f)
{
    odb_options o = fixture_options();
    odb_backend backend;

    assert_ok(FIXTURE_BACKEND(f->dir, &o, &backend));
    assert_ok(odb_open_backend(backend, &f->db));
}

static inline int fixture_other(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->has_dir = true;
    f->key_max = FIXTURE_KEY_MAX;
    fixture_make_dir(f->dir, sizeof f->dir);
    fixture_open_other(f);
    *state = f;
    return 0;
}
#endif

/* The memory backend cannot be closed and found again: it stays open. */
static inline void fixture_reopen(struct fixture *f)
{
    odb_options o = fixture_options();

    if (!f->has_dir)
        return;
    assert_ok(odb_close(f->db));
    f->db = NULL;
#ifdef FIXTURE_BACKEND
    if (!f->is_lsm) {
        fixture_open_other(f);
        return;
    }
#endif
    assert_ok(odb_open(f->dir, &o, &f->db));
}

static inline int fixture_close(void **state)
{
    struct fixture *f = *state;

    assert_ok(odb_close(f->db));
    if (f->has_dir)
        fixture_remove_dir(f->dir);
    free(f);
    return 0;
}

/* One test over both backends, or over the one that was asked for. */
#ifdef FIXTURE_BACKEND
#define BOTH(test)                                                                                 \
    {                                                                                              \
#test, test, fixture_other, fixture_close, NULL                                            \
    }
#else
#define BOTH(test)                                                                                 \
    {#test " (memory)", test, fixture_memory, fixture_close, NULL},                                \
    {                                                                                              \
#test " (lsm)", test, fixture_lsm, fixture_close, NULL                                     \
    }
#endif

static inline odb_cf *fixture_cf(struct fixture *f, const char *name)
{
    odb_cf *cf = NULL;

    assert_ok(odb_cf_open(f->db, name, &cf));
    return cf;
}

static inline void put_text(struct fixture *f, odb_cf *cf, const char *key, const char *value)
{
    assert_ok(odb_put(f->db, cf, odb_s(key), odb_s(value), NULL));
}

/* `value` NULL: the key must be absent. */
static inline void expect_text(odb_at at, odb_cf *cf, const char *key, const char *value)
{
    odb_value v;
    odb_status st = odb_get(at, cf, odb_s(key), &v);

    if (!value) {
        assert_status(st, ODB_ABSENT);
        assert_status(odb_exists(at, cf, odb_s(key)), ODB_ABSENT);
        return;
    }
    assert_ok(st);
    assert_slice(odb_bytes(v.data, v.size), value);
    odb_value_release(&v);
    assert_null(v.data);
    assert_ok(odb_exists(at, cf, odb_s(key)));
}

/* Walk `it` from where `ok` says it stands, forward or backward, and join the keys with spaces. */
static inline const char *walk_text(odb_iter *it, bool ok, bool is_forward, char *out, size_t room)
{
    size_t len = 0;

    out[0] = 0;
    for (; ok; ok = is_forward ? odb_iter_next(it) : odb_iter_prev(it)) {
        odb_slice k = odb_iter_key(it);

        assert_true(odb_iter_valid(it));
        len += (size_t)snprintf(out + len, room - len, "%s%.*s", len ? " " : "", (int)k.size,
                                (const char *)k.data);
        assert_true(len < room);
    }
    assert_false(odb_iter_valid(it));
    assert_ok(odb_iter_status(it));
    return out;
}

/* The keys of a range, both ways. */
static inline void expect_walk(odb_at at, odb_cf *cf, const odb_range *range, const char *forward,
                               const char *backward)
{
    char text[1024];
    odb_iter *it;

    assert_ok(odb_iter_new(at, cf, range, &it));
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), forward);
    assert_string_equal(walk_text(it, odb_iter_last(it), false, text, sizeof text), backward);
    odb_iter_free(it);
}

#endif
