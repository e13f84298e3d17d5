/* tests/base/array_cursor.h -- a cursor over an array, as unhelpful as base/cursor.h allows.
 *
 * Runs have random lengths, and each call into `ops` moves entries and keys to new memory and gives
 * the old back: whoever holds on to a run for too long reads freed memory, which the address
 * sanitizer reports. Can fail at its Nth call.
 */
#ifndef TEST_ARRAY_CURSOR_H
#define TEST_ARRAY_CURSOR_H

#include <stdlib.h>

#include "base/cursor.h"
#include "tests/base/random.h"

struct array_cursor {
    struct cursor c; /* first */
    const struct entry *all;
    size_t count;
    size_t from; /* run[0] is all[from] */
    uint32_t run_max;
    struct rnd chance;
    struct entry *copy;
    uint8_t *keys;
    long fail_after; /* calls that still succeed; negative: all */
    odb_status fail_with;
    bool is_freed; /* set by free: owned by the test, not by itself */
};

static inline bool array_cursor_fails(struct array_cursor *a)
{
    if (a->fail_after < 0 || a->fail_after-- > 0)
        return false;
    a->fail_after = 0;
    (void)cursor_stop(&a->c, err_set(a->fail_with, "made to fail"));
    return true;
}

static inline void array_cursor_drop_run(struct array_cursor *a)
{
    free(a->copy);
    free(a->keys);
    a->copy = NULL;
    a->keys = NULL;
}

/* A run of which all[at] is the first (or, with `is_end`, the last) entry. */
static inline bool array_cursor_load(struct array_cursor *a, size_t at, bool is_end)
{
    size_t n = 1 + rnd_below(&a->chance, a->run_max), bytes = 1;
    uint8_t *key;

    array_cursor_drop_run(a);
    if (at >= a->count)
        return cursor_stop(&a->c, ODB_OK);
    if (is_end) {
        n = n > at + 1 ? at + 1 : n;
        a->from = at + 1 - n;
    } else {
        n = n > a->count - at ? a->count - at : n;
        a->from = at;
    }
    for (size_t i = 0; i < n; i++)
        bytes += a->all[a->from + i].key_len;
    a->copy = malloc(n * sizeof *a->copy);
    a->keys = key = malloc(bytes);
    if (!a->copy || !key)
        abort();
    for (size_t i = 0; i < n; i++) {
        a->copy[i] = a->all[a->from + i];
        if (a->copy[i].key_len)
            memcpy(key, a->copy[i].key, a->copy[i].key_len);
        a->copy[i].key = key;
        key += a->copy[i].key_len;
    }
    a->c.run = a->copy;
    a->c.count = (uint32_t)n;
    a->c.at = is_end ? (uint32_t)n - 1 : 0;
    a->c.status = ODB_OK;
    return true;
}

/* How many entries come before (key, trailer), or are it when `or_equal`. */
static inline size_t array_cursor_rank(const struct array_cursor *a, odb_slice key,
                                       uint64_t trailer, bool or_equal)
{
    size_t n = 0;

    while (n < a->count) {
        const struct entry *e = &a->all[n];
        int c = ikey_compare(e->key, e->key_len, e->trailer, key.data, key.size, trailer);

        if (c > 0 || (c == 0 && !or_equal))
            break;
        n++;
    }
    return n;
}

static inline bool array_cursor_first(struct cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;
    return !array_cursor_fails(a) && array_cursor_load(a, 0, false);
}

static inline bool array_cursor_last(struct cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;
    return !array_cursor_fails(a) && array_cursor_load(a, a->count - 1, true);
}

static inline bool array_cursor_seek(struct cursor *c, odb_slice key, uint64_t trailer)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;
    return !array_cursor_fails(a) &&
           array_cursor_load(a, array_cursor_rank(a, key, trailer, false), false);
}

static inline bool array_cursor_seek_for_prev(struct cursor *c, odb_slice key, uint64_t trailer)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;
    return !array_cursor_fails(a) &&
           array_cursor_load(a, array_cursor_rank(a, key, trailer, true) - 1, true);
}

static inline bool array_cursor_next_run(struct cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;
    return !array_cursor_fails(a) && array_cursor_load(a, a->from + c->count, false);
}

static inline bool array_cursor_prev_run(struct cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;
    return !array_cursor_fails(a) && array_cursor_load(a, a->from - 1, true);
}

static inline void array_cursor_free(struct cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)(void *)c;

    array_cursor_drop_run(a);
    a->is_freed = true;
}

/* `all` (sorted) and `a` belong to the test. */
static inline struct cursor *array_cursor_init(struct array_cursor *a, const struct entry *all,
                                               size_t count, uint32_t run_max, uint64_t seed)
{
    static const struct cursor_ops ops = {
        array_cursor_first,    array_cursor_last,     array_cursor_seek, array_cursor_seek_for_prev,
        array_cursor_next_run, array_cursor_prev_run, array_cursor_free,
    };

    *a = (struct array_cursor){.c = {.ops = &ops},
                               .all = all,
                               .count = count,
                               .run_max = run_max,
                               .chance = {seed},
                               .fail_after = -1};
    return &a->c;
}

#endif
