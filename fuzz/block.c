/* fuzz/block.c -- sstable/block.h: after block_open() no access leaves the block, whatever its bytes
 * were (block.c, 1). No checksum here: a block is looked at after its frame was checked. */
#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "sstable/block.h"

#define BLOCK_ROWS 16u

static void block_decode_all(const struct block *b)
{
    uint32_t max = block_key_max(b);
    uint8_t *keys = malloc((size_t)BLOCK_ROWS * max + 1), *key = malloc((size_t)max + 1);
    struct entry e[BLOCK_ROWS];

    FUZZ_REQUIRE(keys != NULL && key != NULL);
    for (uint32_t row = 0; row < b->count; row += BLOCK_ROWS) {
        uint32_t n = b->count - row < BLOCK_ROWS ? b->count - row : BLOCK_ROWS;

        block_decode(b, row, n, e, keys);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t len = block_key(b, row + i, key);
            odb_slice value = block_value(b, row + i);

            FUZZ_REQUIRE(len <= max && len == e[i].key_len);
            FUZZ_REQUIRE(len == 0 || memcmp(key, e[i].key, len) == 0);
            FUZZ_REQUIRE(block_trailer(b, row + i) == e[i].trailer);
            FUZZ_REQUIRE(value.size == e[i].value_len);
            (void)fuzz_touch(value);
            (void)fuzz_touch(odb_bytes(e[i].value, e[i].value_len));
        }
    }
    free(key);
    free(keys);
}

static void block_search(const struct block *b, odb_slice key, uint64_t trailer)
{
    FUZZ_REQUIRE(block_seek(b, key, trailer) <= b->count);
    FUZZ_REQUIRE(block_find(b, key, hash64(key.data, key.size), trailer) <= b->count);
}

static void block_use(const uint8_t *data, size_t size)
{
    struct block b;
    uint8_t *key;

    if (!block_open(data, size, &b))
        return;
    FUZZ_REQUIRE(b.count > 0);
    block_decode_all(&b);
    key = malloc((size_t)block_key_max(&b) + 1);
    FUZZ_REQUIRE(key != NULL);
    for (uint32_t row = 0; row < b.count && row < 256; row++) {
        uint32_t len = block_key(&b, row, key);
        uint64_t trailer = block_trailer(&b, row);

        block_search(&b, odb_bytes(key, len), trailer);
        block_search(&b, odb_bytes(key, len), UINT64_MAX);
        block_search(&b, odb_bytes(key, len / 2), 0);
        key[len] = 0;
        block_search(&b, odb_bytes(key, (size_t)len + 1), trailer);
    }
    free(key);
    block_search(&b, odb_bytes(NULL, 0), UINT64_MAX);
    block_search(&b, odb_bytes(data, size < 64 ? size : 64), 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *turned = malloc(size + 1);

    block_use(data, size);
    FUZZ_REQUIRE(turned != NULL);
    if (size)
        memcpy(turned, data, size);
    if (block_turn(turned, size, true)) /* as a packed block is met */
        block_use(turned, size);
    free(turned);
    return 0;
}
