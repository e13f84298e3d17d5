/* Claims about sstable/filter.c. */
#include "sstable/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/coding.h"
#include "base/hash.h"
#include "tests/lib/test_alloc.h"

#define GOLDEN_HASH UINT64_C(0xebd79632c839cac2)

/* The hash of the nth key. */
static uint64_t hash_of(uint64_t n)
{
    uint8_t key[16] = {0};

    enc_u64_be(key, n);
    return hash64(key, sizeof key);
}

static struct buf build(size_t keys, unsigned bits)
{
    uint64_t *hashes = malloc(keys * sizeof *hashes + 1);
    struct buf out = {0};

    assert_non_null(hashes);
    for (size_t i = 0; i < keys; i++)
        hashes[i] = hash_of(i);
    assert_int_equal(filter_build(hashes, keys, bits, &out), ODB_OK);
    free(hashes);
    return out;
}

static void every_key_that_was_added_is_found(void **state)
{
    static const size_t counts[] = {1, 2, 50, 51, 52, 1000, 30000};

    (void)state;
    for (unsigned bits = 1; bits <= 24; bits += bits < 8 ? 3 : 2)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            struct buf b = build(counts[c], bits);
            struct filter f;

            assert_true(filter_open(buf_slice(&b), &f));
            for (size_t i = 0; i < counts[c]; i++) {
                filter_prefetch(&f, hash_of(i));
                assert_true(filter_may_contain(&f, hash_of(i)));
            }
            buf_release(&b);
        }
}

static double false_rate(size_t keys, unsigned bits)
{
    struct buf b = build(keys, bits);
    const size_t asked = 400000;
    size_t wrong = 0;
    struct filter f;

    assert_true(filter_open(buf_slice(&b), &f));
    for (size_t i = 0; i < asked; i++)
        wrong += filter_may_contain(&f, hash_of(1000000000 + i));
    buf_release(&b);
    return (double)wrong / (double)asked;
}

static void ten_bits_let_few_strangers_pass(void **state)
{
    static const size_t counts[] = {1000, 20000, 300000};

    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        double rate = false_rate(counts[c], 10);

        printf("%zu keys, 10 bits: %.3f %% false\n", counts[c], rate * 100);
        assert_true(rate <= 0.012);
    }
    printf("16 bits: %.3f %%, 5 bits: %.3f %%\n", false_rate(100000, 16) * 100,
           false_rate(100000, 5) * 100);
    assert_true(false_rate(100000, 16) <= 0.0025);
    assert_true(false_rate(100000, 5) <= 0.13);
}

static void no_filter_lets_everything_pass(void **state)
{
    struct filter f = {NULL, 7, 7};
    struct buf out = {0};
    uint64_t hash = 1;

    (void)state;
    assert_int_equal(filter_build(NULL, 0, 10, &out), ODB_OK);
    assert_int_equal(filter_build(&hash, 1, 0, &out), ODB_OK);
    assert_int_equal(out.len, 0);
    assert_true(filter_open(buf_slice(&out), &f));
    assert_true(filter_may_contain(&f, 42));
    filter_prefetch(&f, 42);
    buf_release(&out);
}

static void equal_keys_give_equal_bytes_on_every_machine(void **state)
{
    struct buf b = build(1000, 10);

    (void)state;
    assert_int_equal(b.len, 8 + 20 * 64);
    assert_true(hash64(b.p, b.len) == GOLDEN_HASH);
    buf_release(&b);
}

static void a_filter_is_appended(void **state)
{
    struct buf b = {0}, alone = build(1, 10);
    uint64_t hash = hash_of(0);

    (void)state;
    assert_int_equal(buf_append(&b, "before", 6), ODB_OK);
    assert_int_equal(filter_build(&hash, 1, 10, &b), ODB_OK);
    assert_memory_equal(b.p, "before", 6);
    assert_int_equal(b.len, 6 + alone.len);
    assert_memory_equal(b.p + 6, alone.p, alone.len);
    buf_release(&b);
    buf_release(&alone);
}

static bool opens(const uint8_t *p, size_t len)
{
    uint8_t *copy = malloc(len + !len);
    struct filter f;
    bool is_open;

    assert_non_null(copy);
    memcpy(copy, p, len);
    is_open = filter_open(odb_bytes(copy, len), &f);
    for (uint64_t i = 0; is_open && i < 200; i++)
        (void)filter_may_contain(&f, hash_of(i) | (i % 3 ? 0 : UINT64_C(0xffffffff) << 32));
    free(copy);
    return is_open;
}

static void lies_in_the_header_are_refused(void **state)
{
    struct buf b = build(100, 10);

    (void)state;
    assert_true(opens(b.p, b.len));
    for (size_t at = 0; at < 8; at++)
        for (unsigned v = 0; v < 256; v++) {
            uint8_t own = b.p[at];

            b.p[at] = (uint8_t)v;
            /* Another number of probes is a wrong answer the checksum prevents, not a wrong read. */
            assert_int_equal(opens(b.p, b.len), v == own || (at == 1 && v >= 1 && v <= 7));
            b.p[at] = own;
        }
    buf_release(&b);
}

static void every_length_cut_is_refused(void **state)
{
    struct buf b = build(100, 10);

    (void)state;
    for (size_t len = 1; len < b.len; len++)
        assert_false(opens(b.p, len));
    buf_release(&b);
}

static void every_flipped_bit_is_refused_or_harmless(void **state)
{
    struct buf b = build(60, 10);

    (void)state;
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)opens(b.p, b.len);
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_release(&b);
}

static void running_out_of_memory_is_a_status(void **state)
{
    struct buf out = {0};
    uint64_t hash = 1;

    (void)state;
    test_alloc_fail(0, 0);
    assert_int_equal(filter_build(&hash, 1, 10, &out), ODB_NOMEM);
    test_alloc_fail(-1, 0);
    assert_int_equal(out.len, 0);
    assert_null(out.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_that_was_added_is_found),
        cmocka_unit_test(ten_bits_let_few_strangers_pass),
        cmocka_unit_test(no_filter_lets_everything_pass),
        cmocka_unit_test(equal_keys_give_equal_bytes_on_every_machine),
        cmocka_unit_test(a_filter_is_appended),
        cmocka_unit_test(lies_in_the_header_are_refused),
        cmocka_unit_test(every_length_cut_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(running_out_of_memory_is_a_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
