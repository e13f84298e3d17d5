/* The model is one sorted array of all entries; the merge must walk it, whoever holds which part. */
#include "base/merge.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/base/array_cursor.h"
#include "tests/lib/test_alloc.h"

enum { SOURCES = 12, KEY_ROOM = 32 };

struct world {
    struct rnd r;
    size_t skip;
    size_t count;
    uint8_t (*keys)[KEY_ROOM];
    struct entry *all; /* the model */
    struct entry *part[SOURCES];
    size_t part_len[SOURCES];
    uint32_t sources;
    struct array_cursor cursor[SOURCES];
    struct merge m;
};

static int by_ikey(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return ikey_compare(x->key, x->key_len, x->trailer, y->key, y->key_len, y->trailer);
}

/* `clumps`: how many neighbours in a row go to the same source, about. */
static void make_world(struct world *w, struct rnd *r, size_t count, uint32_t sources,
                       uint32_t clumps)
{
    static const uint8_t letters[4] = {0, 'a', 'b', 0xff};
    struct cursor *cursors[SOURCES];
    uint32_t s = 0;

    *w = (struct world){.r = *r, .count = count, .sources = sources};
    w->skip = rnd_below(&w->r, 4);
    w->keys = calloc(count + 1, sizeof *w->keys);
    w->all = calloc(count + 1, sizeof *w->all);
    assert_non_null(w->keys);
    assert_non_null(w->all);
    for (size_t i = 0; i < count; i++) {
        uint32_t len = (uint32_t)w->skip + rnd_below(&w->r, rnd_below(&w->r, 2) ? 5 : 14);

        memset(w->keys[i], 'p', w->skip);
        for (size_t k = w->skip; k < len; k++)
            w->keys[i][k] = letters[rnd_below(&w->r, 4)];
        w->all[i] = (struct entry){
            .key = w->keys[i], .key_len = len, .trailer = trailer_make(i + 1, KIND_PUT)};
    }
    qsort(w->all, count, sizeof *w->all, by_ikey);
    for (uint32_t i = 0; i < sources; i++) {
        w->part[i] = calloc(count + 1, sizeof *w->part[i]);
        assert_non_null(w->part[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (rnd_below(&w->r, clumps) == 0)
            s = rnd_below(&w->r, sources);
        w->part[s][w->part_len[s]++] = w->all[i];
    }
    for (uint32_t i = 0; i < sources; i++)
        cursors[i] = array_cursor_init(&w->cursor[i], w->part[i], w->part_len[i],
                                       1 + rnd_below(&w->r, 30), rnd_next(&w->r));
    assert_int_equal(merge_init(&w->m, cursors, sources, w->skip), ODB_OK);
    *r = w->r;
}

static void end_world(struct world *w)
{
    merge_release(&w->m);
    for (uint32_t i = 0; i < w->sources; i++) {
        assert_true(w->cursor[i].is_freed);
        free(w->part[i]);
    }
    free(w->keys);
    free(w->all);
    assert_int_equal(test_alloc_alive(), 0);
}

static void check_at(const struct world *w, size_t i)
{
    if (i >= w->count) {
        assert_false(w->m.is_valid);
        assert_int_equal(w->m.status, ODB_OK);
        return;
    }
    assert_true(w->m.is_valid);
    assert_int_equal(by_ikey(merge_entry(&w->m), &w->all[i]), 0);
}

static void check_both_ways(struct world *w)
{
    size_t i = 0;

    assert_int_equal(merge_first(&w->m), w->count > 0);
    for (check_at(w, 0); w->m.is_valid; check_at(w, i)) {
        i++;
        assert_int_equal(merge_next(&w->m), i < w->count);
    }
    assert_int_equal(i, w->count);
    assert_int_equal(merge_last(&w->m), w->count > 0);
    for (i = w->count; w->m.is_valid; (void)merge_prev(&w->m))
        check_at(w, --i);
    assert_int_equal(i, 0);
}

static void check_stretches(struct world *w)
{
    size_t i = 0;
    uint32_t n;

    for (bool more = merge_first(&w->m); more; more = merge_next_stretch(&w->m)) {
        const struct entry *e = merge_stretch(&w->m, &n);

        assert_true(n > 0);
        for (uint32_t k = 0; k < n; k++)
            assert_int_equal(by_ikey(&e[k], &w->all[i++]), 0);
    }
    assert_int_equal(i, w->count);
}

static void check_seeks(struct world *w)
{
    for (int round = 0; round < 50; round++) {
        uint8_t key[KEY_ROOM] = {0};
        struct entry probe = {.key = key};
        size_t i = 0;

        if (w->count && rnd_below(&w->r, 3)) {
            probe = w->all[rnd_below(&w->r, (uint32_t)w->count)];
            probe.trailer += rnd_below(&w->r, 3) << 8;
            probe.trailer -= rnd_below(&w->r, 2) << 8;
        } else {
            memset(key, 'p', w->skip);
            probe.key_len = (uint32_t)w->skip + rnd_below(&w->r, 4);
            for (size_t k = w->skip; k < probe.key_len; k++)
                key[k] = (uint8_t)rnd_next(&w->r);
            probe.trailer = rnd_next(&w->r);
        }
        while (i < w->count && by_ikey(&w->all[i], &probe) < 0)
            i++;
        (void)merge_seek(&w->m, odb_bytes(probe.key, probe.key_len), probe.trailer);
        check_at(w, i);
        for (uint32_t steps = rnd_below(&w->r, 20); steps && w->m.is_valid; steps--) {
            (void)merge_next(&w->m);
            check_at(w, ++i);
        }
        if (w->m.is_valid) { /* turn round at the current entry, then back again */
            struct entry at = *merge_entry(&w->m);
            uint8_t copy[KEY_ROOM];

            memcpy(copy, at.key, at.key_len);
            (void)merge_seek_for_prev(&w->m, odb_bytes(copy, at.key_len), at.trailer);
            check_at(w, i);
            for (uint32_t steps = rnd_below(&w->r, 20); steps && w->m.is_valid; steps--) {
                (void)merge_prev(&w->m);
                check_at(w, i ? --i : w->count);
                if (!w->m.is_valid)
                    break;
            }
        }
        for (i = w->count; i > 0 && by_ikey(&w->all[i - 1], &probe) > 0;)
            i--;
        (void)merge_seek_for_prev(&w->m, odb_bytes(probe.key, probe.key_len), probe.trailer);
        check_at(w, i ? i - 1 : w->count);
    }
}

static void a_merge_walks_the_sorted_union(void **state)
{
    struct rnd r = rnd_start("test_merge");
    struct world w;

    (void)state;
    for (uint32_t round = 0; round < 600; round++) {
        uint32_t clumps[4] = {1, 2, 20, 200};

        make_world(&w, &r, rnd_below(&r, round % 4 ? 120 : 3), 1 + rnd_below(&r, SOURCES),
                   clumps[rnd_below(&r, 4)]);
        check_both_ways(&w);
        check_stretches(&w);
        check_seeks(&w);
        end_world(&w);
    }
}

static void a_merge_of_nothing_is_empty(void **state)
{
    struct merge m;

    (void)state;
    assert_int_equal(merge_init(&m, NULL, 0, 0), ODB_OK);
    assert_false(merge_first(&m));
    assert_false(merge_last(&m));
    assert_false(merge_seek(&m, odb_s("a"), 0));
    assert_false(merge_seek_for_prev(&m, odb_s("a"), 0));
    assert_int_equal(m.status, ODB_OK);
    merge_release(&m);
    assert_int_equal(test_alloc_alive(), 0);
}

static void keys_at_the_ends_of_the_prefix_space_are_not_taken_for_the_end(void **state)
{
    static const uint8_t ff[12] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    static const uint8_t zero[12] = {0};
    struct entry a[] = {{.key = zero, .key_len = 0, .trailer = 2 << 8},
                        {.key = zero, .key_len = 12, .trailer = 1 << 8},
                        {.key = ff, .key_len = 8, .trailer = 3 << 8}};
    struct entry b[] = {{.key = zero, .key_len = 8, .trailer = 4 << 8},
                        {.key = ff, .key_len = 12, .trailer = 5 << 8}};
    struct array_cursor ca, cb, cc;
    struct cursor *c[] = {array_cursor_init(&ca, a, 3, 2, 1), array_cursor_init(&cb, b, 2, 2, 2),
                          array_cursor_init(&cc, NULL, 0, 2, 3)};
    const uint64_t want[] = {2, 4, 1, 3, 5};
    struct merge m;
    int n = 0;

    (void)state;
    assert_int_equal(merge_init(&m, c, 3, 0), ODB_OK);
    for (bool more = merge_first(&m); more; more = merge_next(&m))
        assert_true(trailer_seq(merge_entry(&m)->trailer) == want[n++]);
    assert_int_equal(n, 5);
    for (bool more = merge_last(&m); more; more = merge_prev(&m))
        assert_true(trailer_seq(merge_entry(&m)->trailer) == want[--n]);
    assert_int_equal(n, 0);
    merge_release(&m);
}

static void twins_end_the_merge_in_source_order(void **state)
{
    struct entry a[] = {{.key = (const uint8_t *)"k", .key_len = 1, .trailer = 1 << 8}};
    struct entry b[40];
    struct array_cursor ca, cb;
    struct cursor *c[2];
    struct merge m;
    int n = 0;

    (void)state;
    for (int i = 0; i < 40; i++)
        b[i] = a[0];
    c[0] = array_cursor_init(&ca, a, 1, 4, 1);
    c[1] = array_cursor_init(&cb, b, 40, 4, 2);
    assert_int_equal(merge_init(&m, c, 2, 0), ODB_OK);
    assert_true(merge_first(&m));
    assert_int_equal(m.winner, 0);
    for (bool more = true; more; more = merge_next(&m))
        n++;
    assert_int_equal(n, 41);
    n = 0;
    for (bool more = merge_last(&m); more; more = merge_prev(&m))
        n++;
    assert_int_equal(n, 41);
    merge_release(&m);
}

/* Every call of every source fails once: what was walked before is right, and then comes the
 * failure, never the end and never an entry too far. */
static void a_failing_source_stops_the_merge_and_hides_nothing(void **state)
{
    struct rnd r = rnd_start("test_merge");
    struct world w;

    (void)state;
    for (int round = 0; round < 30; round++) {
        make_world(&w, &r, 60, 1 + rnd_below(&r, 5), 3);
        for (uint32_t s = 0; s < w.sources; s++) {
            for (long n = 0;; n++) {
                bool is_backward = rnd_below(&r, 2);
                size_t seen = 0;

                w.cursor[s].fail_after = n;
                w.cursor[s].fail_with = n % 2 ? ODB_CORRUPT : ODB_IO;
                for (bool more = is_backward ? merge_last(&w.m) : merge_first(&w.m); more;
                     more = is_backward ? merge_prev(&w.m) : merge_next(&w.m)) {
                    check_at(&w, is_backward ? w.count - 1 - seen : seen);
                    seen++;
                }
                if (w.m.status == ODB_OK) { /* n is out of reach */
                    assert_int_equal(seen, w.count);
                    w.cursor[s].fail_after = -1;
                    break;
                }
                assert_int_equal(w.m.status, n % 2 ? ODB_CORRUPT : ODB_IO);
                assert_false(w.m.is_valid);
                w.cursor[s].fail_after = -1;
                check_both_ways(&w); /* positioned again, it works again */
            }
        }
        end_world(&w);
    }
}

static void without_memory_the_cursors_stay_the_callers(void **state)
{
    struct array_cursor a;
    struct cursor *c[1] = {array_cursor_init(&a, NULL, 0, 1, 1)};
    struct merge m = {0};
    long n = 0;

    (void)state;
    for (;; n++) {
        odb_status st;

        test_alloc_fail(n, 0);
        st = merge_init(&m, c, 1, 0);
        if (st == ODB_OK)
            break;
        assert_int_equal(st, ODB_NOMEM);
        assert_false(a.is_freed);
        assert_int_equal(test_alloc_alive(), 0);
    }
    assert_int_equal(n, 2);
    test_alloc_fail(-1, 0);
    merge_detach(&m);
    merge_release(&m);
    assert_false(a.is_freed); /* detached */
    assert_int_equal(test_alloc_alive(), 0);
    cursor_free(c[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_merge_walks_the_sorted_union),
        cmocka_unit_test(a_merge_of_nothing_is_empty),
        cmocka_unit_test(keys_at_the_ends_of_the_prefix_space_are_not_taken_for_the_end),
        cmocka_unit_test(twins_end_the_merge_in_source_order),
        cmocka_unit_test(a_failing_source_stops_the_merge_and_hides_nothing),
        cmocka_unit_test(without_memory_the_cursors_stay_the_callers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
