/* fuzz/vector_index.c -- a database whose vector families hold anything: opening, searching, writing,
 * rebuilding never do worse than say so, and what a search returns is there, at that distance.
 *
 * The input is a list of writes to vector_data and vector_index: where, a key, a value; some values are
 * made sound first, so that what lies behind the first check is reached, too. */
#include <math.h>

#include "api/opendb.h"
#include "fuzz/fuzz.h"
#include "vector/rows.h"

#define DIM 3

static void write_rows(odb_db *db, odb_cf *data, odb_cf *graph, struct dec *in)
{
    while (dec_left(in) > 4) {
        uint8_t what = dec_u8(in), nid = dec_u8(in);
        odb_slice rest = dec_bytes(in, dec_u8(in) % 48 < dec_left(in) ? in->p[0] % 48u : 0);
        struct buf row = {0};
        uint8_t key[VEC_KEY_LEN];
        float x[DIM] = {0};
        char id[2] = {(char)('a' + nid % 23), 0};
        odb_status st = ODB_OK;

        if (in->bad)
            return;
        switch (what % 6) {
        case 0: /* a sound vector, perhaps of a node that is another's */
            for (size_t i = 0; i < DIM && i < rest.size; i++)
                x[i] = (float)((const uint8_t *)rest.data)[i];
            FUZZ_REQUIRE(vec_data_write(&row, x, DIM, what / 6 % 30,
                                        sqrtf(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])) == ODB_OK);
            st = odb_put(db, data, odb_s(id), buf_slice(&row), NULL);
            break;
        case 1: st = odb_put(db, data, odb_s(id), rest, NULL); break;
        case 2: /* links as they come */
            vec_key(key, VEC_KEY_NODE, nid % 30);
            st = odb_put(db, graph, odb_bytes(key, sizeof key), rest, NULL);
            break;
        case 3: { /* a sound row M */
            struct vec_meta m = {VEC_L2, DIM, 16, nid % 30, 1, what / 6 % 8};

            FUZZ_REQUIRE(vec_meta_write(&row, &m) == ODB_OK);
            st = odb_put(db, graph, odb_s("M"), buf_slice(&row), NULL);
            break;
        }
        case 4:
            vec_key(key, what & 64 ? VEC_KEY_DEAD : VEC_KEY_PENDING, nid % 30);
            st = odb_put(db, graph, odb_bytes(key, sizeof key), rest, NULL);
            break;
        default: st = odb_delete(db, data, odb_s(id), NULL);
        }
        FUZZ_REQUIRE(st == ODB_OK);
        buf_release(&row);
    }
}

static void search(odb_db *db)
{
    static const float q[DIM] = {1, 2, 3};
    odb_vec_search how = {.size = sizeof how, .k = 30};
    odb_vec_hits *hits;
    float x[DIM];
    uint32_t dim;

    FUZZ_REQUIRE(odb_vec_find(odb_now(db), q, DIM, &how, &hits) == ODB_OK);
    for (size_t i = 0; i < odb_vec_hits_count(hits); i++) {
        odb_vec_hit h = odb_vec_hits_at(hits, i);

        FUZZ_REQUIRE(odb_vec_get(odb_now(db), h.id, x, DIM, &dim) == ODB_OK && dim == DIM);
        FUZZ_REQUIRE(fabsf(odb_distance(q, x, DIM, ODB_METRIC_L2) - h.distance) <=
                     1e-3f * (1 + h.distance));
    }
    odb_vec_hits_free(hits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const float one[DIM] = {1, 1, 1};
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1};
    odb_vec_report report = {.size = sizeof report};
    struct dec in = dec_from(odb_bytes(data, size));
    size_t half = size / 2;
    odb_backend backend;
    odb_cf *rows, *graph;
    odb_db *db;
    odb_status st;

    if (size < 4 || size > 4096)
        return 0;
    FUZZ_REQUIRE(odb_backend_memory(&backend) == ODB_OK);
    FUZZ_REQUIRE(odb_open_backend(backend, &db) == ODB_OK);
    FUZZ_REQUIRE(odb_cf_open(db, ODB_FAMILY_VECTOR_DATA, &rows) == ODB_OK);
    FUZZ_REQUIRE(odb_cf_open(db, ODB_FAMILY_VECTOR_INDEX, &graph) == ODB_OK);
    in.end = data + half;
    write_rows(db, rows, graph, &in);
    FUZZ_REQUIRE(odb_vec_open(db, &c) == ODB_OK);
    search(db);
    FUZZ_REQUIRE(odb_vec_put(db, NULL, odb_s("new"), one, DIM) == ODB_OK);
    (void)odb_vec_work(db);
    search(db);
    in = (struct dec){data + half, data + size, false}; /* by hand, while it is open */
    write_rows(db, rows, graph, &in);
    FUZZ_REQUIRE(odb_vec_put(db, NULL, odb_s("b"), one, DIM) == ODB_OK);
    search(db);
    FUZZ_REQUIRE(odb_vec_wait(db) == ODB_OK);
    search(db);
    st = odb_vec_verify(db, 3, &report);
    FUZZ_REQUIRE(st == ODB_OK || st == ODB_CORRUPT);
    FUZZ_REQUIRE(odb_vec_rebuild(db, NULL, 1, NULL, NULL) == ODB_OK);
    search(db);
    FUZZ_REQUIRE(odb_vec_compact(db) == ODB_OK);
    st = odb_vec_verify(db, 3, &report);
    FUZZ_REQUIRE(report.unreachable == 0 && report.doubles == 0 && report.missing == 0);
    (void)odb_close(db);
    return 0;
}
