/* fuzz/lz4.c -- base/compress.h: unpacking fills exactly the room given or fails; packing loses
 * nothing.
 *
 *    input   room u16 | packed bytes
 */
#include "base/compress.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    size_t room = (size_t)fuzz_number(&in, 2), cap, n;
    odb_slice rest = fuzz_bytes(&in, SIZE_MAX);
    uint8_t *src = fuzz_copy(rest), *out = malloc(room ? room : 1), *packed, *back;
    odb_status st;

    FUZZ_REQUIRE(out != NULL);
    st = lz4_unpack(src, rest.size, out, room);
    FUZZ_REQUIRE(st == ODB_OK || st == ODB_CORRUPT || st == ODB_UNSUPPORTED);
    if (st == ODB_OK)
        (void)fuzz_touch(odb_bytes(out, room));
    free(out);

    cap = lz4_bound(rest.size);
    packed = malloc(cap ? cap : 1);
    back = malloc(rest.size ? rest.size : 1);
    FUZZ_REQUIRE(packed != NULL && back != NULL);
    n = lz4_pack(src, rest.size, packed, cap, 1);
    FUZZ_REQUIRE(n <= cap && (n > 0 || rest.size == 0 || !lz4_available()));
    if (n > 0) {
        FUZZ_REQUIRE(lz4_unpack(packed, n, back, rest.size) == ODB_OK);
        FUZZ_REQUIRE(rest.size == 0 || memcmp(back, src, rest.size) == 0);
    }
    free(back);
    free(packed);
    free(src);
    return 0;
}
