/* fuzz/varint.c -- base/coding.h: every number has one spelling, and none leads past the end. */
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec d = dec_from(odb_bytes(data, size)), again;

    while (!d.bad && dec_left(&d) > 0) {
        const uint8_t *from = d.p;
        uint64_t v = dec_varint(&d);
        uint8_t spelled[VARINT_MAX];
        size_t n;

        if (d.bad)
            break;
        n = (size_t)(enc_varint(spelled, v) - spelled);
        FUZZ_REQUIRE(n == varint_len(v) && n == (size_t)(d.p - from));
        FUZZ_REQUIRE(memcmp(spelled, from, n) == 0);
        again = (struct dec){from, d.p, false};
        FUZZ_REQUIRE(dec_varint32(&again) == (v <= UINT32_MAX ? v : 0));
        FUZZ_REQUIRE(again.bad == (v > UINT32_MAX));
    }
    FUZZ_REQUIRE(d.p <= d.end);
    for (d = dec_from(odb_bytes(data, size)); !d.bad && dec_left(&d) > 0;) {
        odb_slice s = dec_lenbytes(&d);

        FUZZ_REQUIRE(!d.bad || s.size == 0);
        (void)fuzz_touch(s);
    }
    return 0;
}
