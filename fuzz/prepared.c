/* fuzz/prepared.c -- api/prepared.c: a row that is accepted is made of claims and operations that lie
 * within it, and its ranges are in order.
 */
#include "api/txn_priv.h"
#include "fuzz/fuzz.h"

static void require_within(odb_slice s, const uint8_t *data, size_t size)
{
    const uint8_t *p = s.data;

    FUZZ_REQUIRE(s.size == 0 ||
                 (p >= data && p <= data + size && s.size <= (size_t)(data + size - p)));
    (void)fuzz_touch(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prepared_row row;
    const odb_claim *last = NULL;
    odb_status st = prepared_decode(odb_bytes(data, size), &row);
    struct dec d;
    struct batch_op op;

    FUZZ_REQUIRE(st == ODB_OK || st == ODB_CORRUPT);
    if (st != ODB_OK)
        return 0;
    require_within(row.ops, data, size);
    for (d = dec_from(row.ops); batch_next(&d, &op);)
        continue;
    FUZZ_REQUIRE(!d.bad);
    for (size_t i = 0; i < row.count; i++) {
        const odb_claim *c = &row.claim[i];

        require_within(c->lower, data, size);
        require_within(c->upper, data, size);
        FUZZ_REQUIRE(!last || c->is_range); /* keys first */
        if (last)
            FUZZ_REQUIRE(c->family > last->family ||
                         (c->family == last->family && last->upper.data &&
                          odb_slice_compare(last->upper, c->lower) <= 0));
        if (c->is_range)
            last = c;
    }
    mem_free(row.claim);
    return 0;
}
