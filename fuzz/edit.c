/* fuzz/edit.c -- lsm/edit.c: what is accepted has one spelling, so encoding gives it back. */
#include "fuzz/fuzz.h"
#include "lsm/lsm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lsm_edit e = {0};
    struct buf again = {0};
    bool is_malformed = false;

    FUZZ_REQUIRE(lsm_edit_decode(odb_bytes(data, size), &e, &is_malformed) == ODB_OK);
    if (is_malformed) {
        FUZZ_REQUIRE(e.add == NULL && e.remove == NULL && e.add_count == 0 && e.remove_count == 0);
        return 0;
    }
    FUZZ_REQUIRE(lsm_edit_encode(&e, &again) == ODB_OK);
    FUZZ_REQUIRE(again.len == size && memcmp(again.p, data, size) == 0);
    buf_release(&again);
    lsm_edit_release(&e);
    return 0;
}
