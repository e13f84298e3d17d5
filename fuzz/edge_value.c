/* fuzz/edge_value.c -- values of edges: what is accepted can be looked into to its last byte, and is the
 * one way to write that edge. */
#include <math.h>

#include "fuzz/fuzz.h"
#include "graph/edge.h"
#include "records/props.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size)), again[GRAPH_VALUE_MIN];
    struct rec_props props = {0};
    struct graph_value v;
    odb_status st = graph_value_open(odb_bytes(copy, size), &v);

    FUZZ_REQUIRE(fuzz_is_verdict(st));
    if (st == ODB_OK) {
        FUZZ_REQUIRE(isfinite(v.weight));
        graph_value_put(again, v.weight, v.time_us, v.props.size > 0);
        FUZZ_REQUIRE(memcmp(again, copy, GRAPH_VALUE_MIN) == 0);
        FUZZ_REQUIRE(v.props.size == size - GRAPH_VALUE_MIN);
        if (v.props.size)
            FUZZ_REQUIRE(rec_props_open(v.props, &props) == NULL);
        for (uint32_t i = 0; i < props.count; i++) {
            odb_prop p;

            rec_props_at(&props, i, &p);
            (void)fuzz_touch(p.name);
            if (p.value.type >= ODB_PROP_TEXT)
                (void)fuzz_touch(p.value.u.bytes);
        }
    }
    free(copy);
    return 0;
}
