/* fuzz/filter.c -- sstable/filter.h: any bytes make a filter that can be asked, or none; and a filter
 * built from the input denies no key of it. */
#include "base/hash.h"
#include "fuzz/fuzz.h"
#include "sstable/filter.h"

#define FILTER_HASHES 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t hash[FILTER_HASHES];
    struct buf built = {0};
    struct filter f;
    size_t n = 0;

    for (size_t at = 0; at < size && n < FILTER_HASHES; at += 8)
        hash[n++] = hash64(data + at, size - at < 8 ? size - at : 8);
    if (filter_open(odb_bytes(data, size), &f)) {
        for (size_t i = 0; i < n; i++) {
            filter_prefetch(&f, hash[i]);
            (void)filter_may_contain(&f, hash[i]);
        }
        (void)filter_may_contain(&f, 0);
        (void)filter_may_contain(&f, UINT64_MAX);
    }
    if (n == 0)
        return 0;
    FUZZ_REQUIRE(filter_build(hash, n, 1u + data[0] % 20u, &built) == ODB_OK);
    FUZZ_REQUIRE(filter_open(buf_slice(&built), &f));
    for (size_t i = 0; i < n; i++)
        FUZZ_REQUIRE(filter_may_contain(&f, hash[i]));
    buf_release(&built);
    return 0;
}
