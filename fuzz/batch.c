/* fuzz/batch.c -- cf/batch.h: what is accepted has one spelling, so building it anew gives it back. */
#include "cf/batch.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch b = {0}, again = {0};
    struct batch_op op;
    struct dec d = dec_from(odb_bytes(data, size));
    odb_status st = batch_from_bytes(&b, odb_bytes(data, size));
    uint32_t n = 0;

    FUZZ_REQUIRE(st == ODB_OK || st == ODB_INVALID);
    while (batch_next(&d, &op)) {
        n++;
        (void)fuzz_touch(op.value);
        st = op.kind == KIND_PUT ? batch_put(&again, op.family, op.key, op.value)
                                 : batch_delete(&again, op.family, op.key);
        FUZZ_REQUIRE(st == ODB_OK);
    }
    FUZZ_REQUIRE(b.count == (d.bad ? 0 : n));
    if (!d.bad) {
        FUZZ_REQUIRE(b.ops.len == size && again.ops.len == size && again.count == n);
        FUZZ_REQUIRE(size == 0 || memcmp(b.ops.p, data, size) == 0);
        FUZZ_REQUIRE(size == 0 || memcmp(again.ops.p, data, size) == 0);
    }
    batch_release(&b);
    batch_release(&again);
    return 0;
}
