/* fuzz/batch_public.c -- odb_batch_set_bytes(), which takes bytes of unknown origin from the user: all
 * or nothing, and what went in comes out. */
#include "api/opendb.h"
#include "fuzz/fuzz.h"

struct ops_seen {
    uint32_t count;
    unsigned sum;
};

static bool ops_see(void *arg, const odb_op *op)
{
    struct ops_seen *seen = arg;

    seen->count++;
    seen->sum += fuzz_touch(op->key) + fuzz_touch(op->value);
    FUZZ_REQUIRE(!op->is_delete || op->value.size == 0);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    odb_slice given = odb_bytes(data, size);
    struct ops_seen seen = {0, 0};
    odb_batch *b = NULL;
    odb_status st;

    FUZZ_REQUIRE(odb_batch_new(&b) == ODB_OK);
    FUZZ_REQUIRE(odb_batch_put(b, NULL, odb_s("before"), odb_s("x")) == ODB_OK);
    st = odb_batch_set_bytes(b, given);
    odb_batch_each(b, ops_see, &seen);
    FUZZ_REQUIRE(seen.count == odb_batch_count(b));
    if (st == ODB_OK) {
        FUZZ_REQUIRE(odb_slice_equal(odb_batch_bytes(b), given));
    } else {
        FUZZ_REQUIRE(st == ODB_INVALID && odb_batch_count(b) == 1);
        FUZZ_REQUIRE(odb_error_text()[0] != '\0');
    }
    odb_batch_free(b);
    return 0;
}
