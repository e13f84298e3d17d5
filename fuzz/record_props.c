/* fuzz/record_props.c -- records/props.c: a block of properties as bytes of unknown origin. What is let
 * in is found by name, and is the only spelling of its set. */
#include "fuzz/fuzz.h"
#include "records/props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size));
    struct rec_props p;
    const char *bad = rec_props_open(odb_bytes(copy, size), &p);

    if (!bad) {
        odb_prop *all = malloc((p.count + 1) * sizeof *all);
        struct buf again = {0}, merged = {0};
        odb_status st;

        FUZZ_REQUIRE(all != NULL);
        for (uint32_t i = 0; i < p.count; i++) {
            odb_prop_value v;

            rec_props_at(&p, i, &all[p.count - 1 - i]); /* in another order */
            FUZZ_REQUIRE(rec_props_find(&p, all[p.count - 1 - i].name, &v));
            FUZZ_REQUIRE(v.type == all[p.count - 1 - i].value.type);
            if (v.type >= ODB_PROP_TEXT)
                (void)fuzz_touch(v.u.bytes);
        }
        st = rec_props_append(&again, all, p.count);
        FUZZ_REQUIRE(st == ODB_OK || st == ODB_INVALID); /* texts are checked when written */
        if (st == ODB_OK) {
            FUZZ_REQUIRE(odb_slice_equal(buf_slice(&again), odb_bytes(copy, size)));
            FUZZ_REQUIRE(rec_props_merge(&merged, &p, NULL, 0, NULL, 0) == ODB_OK);
            FUZZ_REQUIRE(odb_slice_equal(buf_slice(&merged), odb_bytes(copy, size)));
        }
        buf_release(&again);
        buf_release(&merged);
        free(all);
    }
    free(copy);
    return 0;
}
