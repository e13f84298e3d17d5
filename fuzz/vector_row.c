/* fuzz/vector_row.c -- vector/rows.c: what is accepted is written again to the same bytes, and what it
 * says stays within bounds. */
#include <math.h>

#include "fuzz/fuzz.h"
#include "vector/rows.h"

struct got {
    uint32_t per_level[VEC_LEVEL_MAX + 1], links;
    unsigned level;
    uint32_t max, last;
};

static bool take_level(void *arg, unsigned level, uint32_t count)
{
    struct got *g = arg;

    FUZZ_REQUIRE(level <= VEC_LEVEL_MAX && count <= 2 * VEC_M_MAX);
    g->level = level;
    g->per_level[level] = count;
    g->links = 0;
    return true;
}

static bool take_link(void *arg, uint32_t id)
{
    struct got *g = arg;

    FUZZ_REQUIRE(id < VEC_SLOTS_MAX);
    FUZZ_REQUIRE(g->links == 0 || id > g->last);
    g->last = id;
    g->links++;
    FUZZ_REQUIRE(g->links <= g->per_level[g->level]);
    return true;
}

static void read_data(odb_slice in)
{
    struct buf again = {0};
    struct vec_data d;
    float *x;

    if (vec_data_read(in, &d))
        return;
    x = malloc(d.dim * sizeof *x);
    FUZZ_REQUIRE(x != NULL);
    vec_data_floats(&d, x);
    for (uint32_t i = 0; i < d.dim; i++)
        FUZZ_REQUIRE(isfinite(x[i]));
    FUZZ_REQUIRE(vec_data_write(&again, x, d.dim, d.nid, d.norm) == ODB_OK);
    FUZZ_REQUIRE(again.len == in.size);
    FUZZ_REQUIRE(memcmp(again.p, in.data, 12) == 0);
    FUZZ_REQUIRE(memcmp(again.p + VEC_DATA_HEAD, (const uint8_t *)in.data + VEC_DATA_HEAD,
                        in.size - VEC_DATA_HEAD) == 0);
    buf_release(&again);
    free(x);
}

static void read_meta(odb_slice in)
{
    struct buf again = {0};
    struct vec_meta m;

    if (vec_meta_read(in, &m))
        return;
    FUZZ_REQUIRE(vec_meta_write(&again, &m) == ODB_OK);
    FUZZ_REQUIRE(odb_slice_equal(buf_slice(&again), in));
    buf_release(&again);
}

static void read_config(odb_slice in)
{
    odb_vec_config c, same;
    struct buf again = {0};
    odb_status st = vec_config_read(in, &c);

    FUZZ_REQUIRE(fuzz_is_verdict(st));
    if (st != ODB_OK)
        return;
    if (c.form == ODB_VEC_FORM_DEFAULT)
        c.form = ODB_VEC_F32;
    FUZZ_REQUIRE(vec_config_write(&again, &c) == ODB_OK);
    FUZZ_REQUIRE(vec_config_read(buf_slice(&again), &same) == ODB_OK);
    FUZZ_REQUIRE(same.dim == c.dim && same.metric == c.metric && same.m == c.m &&
                 same.seed == c.seed && same.ef_construction == c.ef_construction);
    buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct got g = {.level = 0};
    struct vec_links_sink sink = {take_level, take_link, &g};
    struct vec_space space = {.m = VEC_M_MIN};
    odb_slice in;
    uint32_t nid;
    char kind;

    if (size < 2)
        return 0;
    in = odb_bytes(data + 2, size - 2);
    switch (data[0] % 5) {
    case 0: read_data(in); break;
    case 1: read_meta(in); break;
    case 2:
        space.m = VEC_M_MIN + data[1] % (VEC_M_MAX - VEC_M_MIN + 1);
        if (!vec_links_read(in, &space, data[1] & 3, &sink))
            FUZZ_REQUIRE(g.level == (data[1] & 3u) && g.links == g.per_level[g.level]);
        break;
    case 3: read_config(in); break;
    default:
        if (vec_key_read(in, &kind, &nid) && kind != VEC_KEY_META) {
            uint8_t key[VEC_KEY_LEN];

            vec_key(key, kind, nid);
            FUZZ_REQUIRE(odb_slice_equal(odb_bytes(key, sizeof key), in));
        }
    }
    return 0;
}
