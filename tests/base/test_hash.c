/* Hashes are in files: these numbers may never change. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

static void keys_hash_as_in_every_release(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } fixed[] = {
        /* one per branch of XXH3, over the bytes 3, 10, 17, ... */
        {0, UINT64_C(0x2d06800538d394c2)},    {1, UINT64_C(0x13e608bc156defed)},
        {3, UINT64_C(0xa9088dda485b481c)},    {4, UINT64_C(0x6d9253b16c8b1ed3)},
        {8, UINT64_C(0x60539db630471163)},    {9, UINT64_C(0xfeff668361d723a8)},
        {16, UINT64_C(0xb8c859b0f030b585)},   {17, UINT64_C(0x714a04408e79b80f)},
        {128, UINT64_C(0x67425a03650261bf)},  {129, UINT64_C(0xc664bf3311c6abc4)},
        {240, UINT64_C(0x64556dc6b462a6cf)},  {241, UINT64_C(0x8beadd3a8874fe17)},
        {1024, UINT64_C(0x9b81661c641c72b1)}, {4096, UINT64_C(0xd7428746842be37e)},
    };
    uint8_t bytes[4097];

    (void)state;
    for (size_t i = 0; i < sizeof bytes - 1; i++)
        bytes[i + 1] = (uint8_t)(i * 7 + 3); /* off by one: alignment must not matter */
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        assert_true(hash64(bytes + 1, fixed[i].len) == fixed[i].hash);
    assert_true(hash64("abc", 3) == UINT64_C(0x78af5f94892f3950)); /* XXH3's own test vector */
}

static void salts_and_mixes_are_as_in_every_release(void **state)
{
    (void)state;
    assert_true(hash_mix(0, 0) == UINT64_C(0x17fb89ee9dcab42a));
    assert_true(hash_mix(1, 2) == UINT64_C(0x56f634310548af0c));
    assert_true(hash_salted("abc", 3, 7, 9) == UINT64_C(0xb38b96f9dcf3b54f));
    assert_true(salt_for_file(1, 2) == UINT64_C(0x4687ecf1f62fd10f));
}

static void a_block_is_right_in_one_place_only(void **state)
{
    uint64_t salt = salt_for_file(1, 2), right = hash_salted("block", 5, salt, 4096);

    (void)state;
    assert_true(right == hash_salted("block", 5, salt, 4096));
    assert_true(right != hash_salted("block", 5, salt, 8192));
    assert_true(right != hash_salted("block", 5, salt_for_file(1, 3), 4096));
    assert_true(right != hash_salted("block", 5, salt_for_file(2, 2), 4096));
    assert_true(right != hash_salted("blocK", 5, salt, 4096));
    assert_true(salt_for_file(1, 2) != salt_for_file(2, 1));
}

static void nearby_salts_and_places_do_not_collide(void **state)
{
    uint64_t seen[4096];
    size_t n = 0;

    (void)state;
    for (uint64_t file = 0; file < 64; file++)
        for (uint64_t pos = 0; pos < 64; pos++)
            seen[n++] = hash_salted("", 0, salt_for_file(1, file), pos * 4096);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_hash_as_in_every_release),
        cmocka_unit_test(salts_and_mixes_are_as_in_every_release),
        cmocka_unit_test(a_block_is_right_in_one_place_only),
        cmocka_unit_test(nearby_salts_and_places_do_not_collide),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
