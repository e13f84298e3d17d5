/* fuzz/edge_key.c -- keys of edges: one key for each triple of names and one triple for each key, in the
 * order of the names. The input is taken as a key first, then as six names. */
#include "fuzz/fuzz.h"
#include "graph/edge.h"

static void key_is_the_only_one(odb_slice key)
{
    struct graph_room room = {0};
    struct graph_names n;
    struct graph_key again;

    if (graph_key_open(key, &room, &n) == ODB_OK) {
        (void)(fuzz_touch(n.node) + fuzz_touch(n.rel) + fuzz_touch(n.other));
        FUZZ_REQUIRE(graph_check_names(n.node, n.rel, n.other) == ODB_OK);
        graph_key_edge(&again, n.node, n.rel, n.other);
        FUZZ_REQUIRE(odb_slice_equal(graph_key_slice(&again), key));
    }
    graph_room_release(&room);
}

static odb_slice next_name(struct dec *in, size_t max)
{
    odb_slice name = fuzz_bytes(in, 1 + fuzz_number(in, 2) % max);

    return name.size ? name : odb_bytes("x", 1);
}

static int order_of_names(const odb_slice *a, const odb_slice *b)
{
    for (int i = 0; i < 3; i++) {
        int c = odb_slice_compare(a[i], b[i]);

        if (c)
            return c;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size));
    struct dec in = dec_from(odb_bytes(copy, size));
    odb_slice name[2][3];
    struct graph_key key[2];
    int c, want;

    key_is_the_only_one(odb_bytes(copy, size));
    for (int k = 0; k < 2; k++) {
        struct graph_room room = {0};
        struct graph_names n;

        for (int i = 0; i < 3; i++)
            name[k][i] = next_name(&in, i == 1 ? GRAPH_REL_LEN_MAX : GRAPH_ID_LEN_MAX);
        graph_key_edge(&key[k], name[k][0], name[k][1], name[k][2]);
        FUZZ_REQUIRE(key[k].len <= GRAPH_KEY_MAX);
        FUZZ_REQUIRE(graph_key_open(graph_key_slice(&key[k]), &room, &n) == ODB_OK);
        FUZZ_REQUIRE(odb_slice_equal(n.node, name[k][0]) && odb_slice_equal(n.rel, name[k][1]) &&
                     odb_slice_equal(n.other, name[k][2]));
        graph_room_release(&room);
    }
    c = odb_slice_compare(graph_key_slice(&key[0]), graph_key_slice(&key[1]));
    want = order_of_names(name[0], name[1]);
    FUZZ_REQUIRE((c < 0) == (want < 0) && (c > 0) == (want > 0));
    free(copy);
    return 0;
}
