#include "sstable/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "sstable/frame.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

#define FRAME 100 /* bytes of each block, as far as these tests care */

struct sep {
    uint8_t key[64];
    size_t len;
    uint64_t trailer;
};

static int sep_compare(const void *a, const void *b)
{
    const struct sep *x = a, *y = b;

    return ikey_compare(x->key, x->len, x->trailer, y->key, y->len, y->trailer);
}

static void random_sep(struct rnd *r, int style, struct sep *s)
{
    s->len = 0;
    if (style & 1) {
        memcpy(s->key, "a/long/common/start/", 20);
        s->len = 20;
    }
    if (style & 2) {
        memcpy(s->key + s->len, rnd_below(r, 2) ? "12345678" : "12345679", 8);
        s->len += 8;
    }
    for (uint32_t n = rnd_below(r, style & 4 ? 3 : 12); n > 0; n--)
        s->key[s->len++] = (uint8_t)(style & 4 ? rnd_below(r, 3) : rnd_below(r, 256));
    s->trailer = rnd_below(r, 3) == 0 ? rnd_below(r, 4) : INDEX_ANY;
}

static size_t random_seps(struct rnd *r, int style, struct sep *s, size_t want)
{
    size_t kept = 0;

    for (size_t i = 0; i < want; i++)
        random_sep(r, style, &s[i]);
    qsort(s, want, sizeof *s, sep_compare);
    for (size_t i = 0; i < want; i++) {
        if (s[i].len == 0 && s[i].trailer == INDEX_ANY)
            continue; /* nothing comes before it */
        if (kept == 0 || sep_compare(&s[kept - 1], &s[i]) != 0)
            s[kept++] = s[i];
    }
    return kept;
}

static void build(const struct sep *s, size_t n, struct buf *out)
{
    struct index_builder b = {0};

    assert_int_equal(index_builder_add(&b, odb_bytes(NULL, 0), INDEX_ANY, FRAME), ODB_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(index_builder_add(&b, odb_bytes(s[i].key, s[i].len), s[i].trailer, FRAME),
                         ODB_OK);
    assert_int_equal(index_builder_finish(&b, out), ODB_OK);
    index_builder_release(&b);
}

static void a_search_finds_the_last_separator_at_or_before(void **state)
{
    struct rnd r = rnd_start("index search");
    static struct sep s[400];

    (void)state;
    for (int round = 0; round < 200; round++) {
        size_t n = random_seps(&r, round & 7, s, rnd_below(&r, 400));
        struct buf bytes = {0};
        struct sst_index x;

        build(s, n, &bytes);
        assert_null(index_open(buf_slice(&bytes), 48, 48 + FRAME * (n + 1), &x));
        assert_int_equal(x.count, n + 1);
        for (int i = 0; i < 300; i++) {
            struct sep k;
            uint32_t want = 0;

            if (n && rnd_below(&r, 2))
                k = s[rnd_below(&r, (uint32_t)n)];
            else
                random_sep(&r, round & 7, &k);
            if (rnd_below(&r, 3) == 0)
                k.trailer += rnd_below(&r, 3) - 1;
            if (rnd_below(&r, 4) == 0 && k.len)
                k.len--;
            while (want < n && sep_compare(&s[want], &k) <= 0)
                want++;
            assert_int_equal(index_find(&x, odb_bytes(k.key, k.len), k.trailer), want);
            for (uint32_t no = 1; no <= n; no++)
                if (rnd_below(&r, 10) == 0) {
                    int c = index_compare(&x, no, odb_bytes(k.key, k.len), k.trailer);
                    int d = sep_compare(&k, &s[no - 1]);

                    assert_int_equal((c > 0) - (c < 0), (d > 0) - (d < 0));
                }
        }
        for (uint32_t no = 0; no <= n; no++)
            assert_int_equal(x.block_off[no], 48 + FRAME * no);
        index_release(&x);
        buf_release(&bytes);
    }
}

static void an_index_that_does_not_fill_the_file_is_refused(void **state)
{
    struct sep s = {.key = "m", .len = 1, .trailer = INDEX_ANY};
    struct buf bytes = {0};
    struct sst_index x;

    (void)state;
    build(&s, 1, &bytes);
    assert_non_null(index_open(buf_slice(&bytes), 48, 48 + 2 * FRAME - 1, &x));
    assert_non_null(index_open(buf_slice(&bytes), 48, 48 + 2 * FRAME + 1, &x));
    assert_non_null(index_open(buf_slice(&bytes), 48, 40, &x));
    assert_null(index_open(buf_slice(&bytes), 48, 48 + 2 * FRAME, &x));
    index_release(&x);
    buf_release(&bytes);
}

/* Whatever the bytes, decoding must stay inside them; what it accepts must search without harm. */
static void try_bytes(odb_slice bytes, uint64_t end)
{
    uint8_t *exact = malloc(bytes.size + 1);
    struct sst_index x;

    memcpy(exact, bytes.data, bytes.size);
    if (!index_open(odb_bytes(exact, bytes.size), 48, end, &x)) {
        for (uint32_t no = 1; no + 1 < x.count; no++) {
            uint32_t a = x.key_off[no - 1];

            assert_true(x.key_off[no] >= a);
            assert_true(x.block_off[no] > x.block_off[no - 1]);
        }
        assert_true(index_find(&x, odb_s("a/long/common/start/x"), 5) < x.count);
        assert_true(index_find(&x, odb_s(""), 0) < x.count);
        index_release(&x);
    }
    free(exact);
}

static void damaged_bytes_are_refused_or_harmless(void **state)
{
    struct rnd r = rnd_start("index damage");
    static struct sep s[40];

    (void)state;
    for (int style = 0; style < 8; style++) {
        size_t n = random_seps(&r, style, s, 40);
        uint64_t end = 48 + FRAME * (n + 1);
        struct buf bytes = {0};

        build(s, n, &bytes);
        for (size_t len = 0; len < bytes.len; len++) {
            struct sst_index x;

            assert_non_null(index_open(odb_bytes(bytes.p, len), 48, end, &x));
        }
        for (size_t bit = 0; bit < bytes.len * 8; bit++) {
            bytes.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            try_bytes(buf_slice(&bytes), end);
            bytes.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (int i = 0; i < 2000; i++) {
            size_t at = rnd_below(&r, (uint32_t)bytes.len);
            uint8_t was = bytes.p[at];

            bytes.p[at] = (uint8_t)rnd_next(&r);
            try_bytes(buf_slice(&bytes), end);
            if (rnd_below(&r, 4))
                bytes.p[at] = was;
        }
        buf_release(&bytes);
    }
}

static void separators_that_do_not_rise_are_refused(void **state)
{
    struct sep s[2] = {{.key = "n", .len = 1, .trailer = INDEX_ANY},
                       {.key = "m", .len = 1, .trailer = INDEX_ANY}};
    struct buf bytes = {0};
    struct sst_index x;

    (void)state;
    build(s, 2, &bytes);
    assert_non_null(index_open(buf_slice(&bytes), 48, 48 + 3 * FRAME, &x));
    buf_reset(&bytes);
    s[1] = s[0];
    build(s, 2, &bytes);
    assert_non_null(index_open(buf_slice(&bytes), 48, 48 + 3 * FRAME, &x));
    buf_reset(&bytes);
    s[0].trailer = 5;
    s[1].trailer = 6;
    build(s, 2, &bytes);
    assert_non_null(index_open(buf_slice(&bytes), 48, 48 + 3 * FRAME, &x));
    buf_reset(&bytes);
    s[0].trailer = 6;
    s[1].trailer = 5;
    build(s, 2, &bytes);
    assert_null(index_open(buf_slice(&bytes), 48, 48 + 3 * FRAME, &x));
    index_release(&x);
    buf_release(&bytes);
}

/* A megabyte of file cannot make gigabytes of separators. */
static void a_separator_longer_than_its_block_can_be_is_refused(void **state)
{
    struct index_builder b = {0};
    static uint8_t key[60000];
    struct buf bytes = {0};
    struct sst_index x;

    (void)state;
    assert_int_equal(index_builder_add(&b, odb_bytes(NULL, 0), INDEX_ANY, FRAME), ODB_OK);
    assert_int_equal(index_builder_add(&b, odb_bytes(key, sizeof key), INDEX_ANY, FRAME), ODB_OK);
    assert_int_equal(index_builder_finish(&b, &bytes), ODB_OK);
    assert_non_null(index_open(buf_slice(&bytes), 48, 48 + 2 * FRAME, &x));
    index_builder_release(&b);
    buf_release(&bytes);
}

static void what_is_over_a_limit_is_refused(void **state)
{
    struct index_builder b = {.key_bytes = UINT32_MAX - 2, .count = 1}; /* as after so many keys */
    struct buf bytes = {0};
    struct sst_index x;

    (void)state;
    assert_int_equal(index_builder_add(&b, odb_s("abc"), INDEX_ANY, FRAME), ODB_TOO_LARGE);
    assert_int_equal(index_builder_add(&b, odb_s("ab"), INDEX_ANY, FRAME), ODB_OK);
    b.count = UINT32_MAX - 1;
    b.key_bytes = 0;
    assert_int_equal(index_builder_add(&b, odb_s("c"), INDEX_ANY, FRAME), ODB_TOO_LARGE);
    index_builder_release(&b);
    for (uint64_t over = 0; over < 2; over++) { /* a block that nobody has memory for */
        b = (struct index_builder){0};
        assert_int_equal(index_builder_add(&b, odb_s(""), INDEX_ANY, FRAME_RAW_MAX + over), ODB_OK);
        assert_int_equal(index_builder_finish(&b, &bytes), ODB_OK);
        if (over)
            assert_non_null(index_open(buf_slice(&bytes), 48, 48 + FRAME_RAW_MAX + 1, &x));
        else
            assert_null(index_open(buf_slice(&bytes), 48, 48 + FRAME_RAW_MAX, &x));
        if (!over)
            index_release(&x);
        index_builder_release(&b);
        buf_reset(&bytes);
    }
    buf_release(&bytes);
}

/* 72000 separators of 60000 bytes, each all of the one before and a byte more or less: 900 KB that
 * claim four gigabytes. */
static void a_small_index_cannot_ask_for_gigabytes(void **state)
{
    enum { COUNT = 72000, LEN = 60000, BLOCK = LEN / 255 + 1 };
    uint8_t *p = malloc(LEN + (size_t)COUNT * 12), *at = p;
    struct sst_index x;
    const char *what;

    (void)state;
    assert_non_null(p);
    at = enc_varint(at, COUNT);
    at = enc_varint(at, BLOCK); /* the first block has no separator */
    at = enc_varint(at, 0);
    at = enc_varint(at, 1 << 1);
    *at++ = 'a'; /* all others begin in another way: they have nothing in common */
    at = enc_varint(at, BLOCK);
    at = enc_varint(at, 0);
    at = enc_varint(at, LEN << 1);
    memset(at, 'b', LEN);
    at = enc_varint(at + LEN, BLOCK);
    for (unsigned i = 3; i < COUNT; i++) {
        at = enc_varint(at, LEN - 2);
        at = enc_varint(at, 2 << 1);
        *at++ = (uint8_t)('c' + i / 20000);
        *at++ = (uint8_t)(i / 100);
        at = enc_varint(at, BLOCK);
    }
    what = index_open(odb_bytes(p, (size_t)(at - p)), 48, 48 + (uint64_t)COUNT * BLOCK, &x);
    assert_non_null(what);
    assert_non_null(strstr(what, "limit"));
    free(p);
}

static void running_out_of_memory_is_told_apart(void **state)
{
    struct sep s = {.key = "m", .len = 1, .trailer = INDEX_ANY};
    struct buf bytes = {0};
    struct sst_index x;

    (void)state;
    build(&s, 1, &bytes);
    test_alloc_fail(0, 0);
    assert_ptr_equal(index_open(buf_slice(&bytes), 48, 48 + 2 * FRAME, &x), index_no_memory);
    test_alloc_fail(-1, 0);
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_finds_the_last_separator_at_or_before),
        cmocka_unit_test(an_index_that_does_not_fill_the_file_is_refused),
        cmocka_unit_test(damaged_bytes_are_refused_or_harmless),
        cmocka_unit_test(separators_that_do_not_rise_are_refused),
        cmocka_unit_test(a_separator_longer_than_its_block_can_be_is_refused),
        cmocka_unit_test(what_is_over_a_limit_is_refused),
        cmocka_unit_test(a_small_index_cannot_ask_for_gigabytes),
        cmocka_unit_test(running_out_of_memory_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
