#include "base/ikey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/base/random.h"

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static void a_trailer_holds_number_and_kind(void **state)
{
    uint64_t t = trailer_make(SEQ_MAX, KIND_PUT);

    (void)state;
    assert_true(trailer_seq(t) == SEQ_MAX);
    assert_int_equal(trailer_kind(t), KIND_PUT);
    assert_true(trailer_make(5, KIND_DELETE) == 0x501);
    assert_true(trailer_at(5) >= trailer_make(5, KIND_PUT));
    assert_true(trailer_at(5) < trailer_make(6, KIND_DELETE));
    assert_true(trailer_at(SEQ_MAX) == UINT64_MAX);
}

static void only_puts_and_deletes_are_known(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 256; k++)
        assert_int_equal(kind_is_known((uint8_t)k), k == 1 || k == 2);
}

static void keys_rise_and_versions_fall(void **state)
{
    const uint8_t *a = (const uint8_t *)"a", *ab = (const uint8_t *)"ab";

    (void)state;
    assert_true(ikey_compare(a, 1, 9, a, 1, 5) < 0); /* newer first */
    assert_true(ikey_compare(a, 1, 5, a, 1, 9) > 0);
    assert_int_equal(ikey_compare(a, 1, 5, a, 1, 5), 0);
    assert_true(ikey_compare(a, 1, 0, ab, 2, UINT64_MAX) < 0); /* the key comes before the moment */
    assert_true(ikey_compare(NULL, 0, 0, a, 1, UINT64_MAX) < 0);
    assert_int_equal(key_compare(NULL, 0, NULL, 0), 0);
}

/* Few letters and short keys make for many ties. */
static size_t random_key(struct rnd *r, uint8_t *key, size_t skip)
{
    static const uint8_t letters[4] = {0, 1, 'a', 0xff};
    size_t len = skip + rnd_below(r, 14);

    memset(key, 'p', skip);
    for (size_t i = skip; i < len; i++)
        key[i] = letters[rnd_below(r, 4)];
    return len;
}

static void different_prefixes_order_like_their_keys(void **state)
{
    struct rnd r = rnd_start("test_ikey");
    uint8_t a[64], b[64];

    (void)state;
    for (int i = 0; i < 200000; i++) {
        size_t skip = rnd_below(&r, 9);
        size_t a_len = random_key(&r, a, skip), b_len = random_key(&r, b, skip);
        uint64_t pa = key_prefix(a, a_len, skip), pb = key_prefix(b, b_len, skip);

        if (pa != pb)
            assert_int_equal(pa < pb ? -1 : 1, sign(key_compare(a, a_len, b, b_len)));
    }
}

static void a_prefix_never_reads_past_the_key(void **state)
{
    (void)state;
    for (size_t len = 0; len < 12; len++)
        for (size_t skip = 0; skip < 12; skip++) {
            uint8_t *key = malloc(len ? len : 1); /* the sanitizer guards its end */
            uint64_t want = 0;

            assert_non_null(key);
            for (size_t i = 0; i < len; i++)
                key[i] = (uint8_t)(i + 1);
            for (size_t i = 0; i < 8; i++)
                want = want << 8 | (skip + i < len ? skip + i + 1 : 0);
            assert_true(key_prefix(key, len, skip) == want);
            free(key);
        }
}

static void common_bytes_are_counted_from_the_start(void **state)
{
    const uint8_t *a = (const uint8_t *)"abcdef", *b = (const uint8_t *)"abcxef";

    (void)state;
    assert_int_equal(key_common(a, 6, b, 6), 3);
    assert_int_equal(key_common(a, 2, b, 6), 2);
    assert_int_equal(key_common(a, 0, b, 6), 0);
    assert_int_equal(key_common(a, 6, a, 6), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trailer_holds_number_and_kind),
        cmocka_unit_test(only_puts_and_deletes_are_known),
        cmocka_unit_test(keys_rise_and_versions_fall),
        cmocka_unit_test(different_prefixes_order_like_their_keys),
        cmocka_unit_test(a_prefix_never_reads_past_the_key),
        cmocka_unit_test(common_bytes_are_counted_from_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
