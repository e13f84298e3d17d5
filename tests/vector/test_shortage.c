/* Memory runs out at every request, one after the other: each call says so or succeeds, nothing leaks, and
 * afterwards everything works. */
#include "tests/api/fixture.h"

#include "tests/lib/test_alloc.h"

#define DIM 5

static bool fine(odb_status st)
{
    if (st != ODB_OK && st != ODB_NOMEM && st != ODB_ABSENT)
        fail_msg("%s: %s", odb_status_name(st), odb_error_text());
    return st == ODB_OK;
}

static odb_slice id_text(char *room, int i)
{
    return odb_bytes(room, (size_t)snprintf(room, 16, "v%02d", i));
}

static void vector_of(float *x, int i)
{
    for (int d = 0; d < DIM; d++)
        x[d] = (float)((i * 7 + d * 3) % 11);
    x[0] = (float)i;
}

/* What a program may do; each step may fail alone. */
static void use(odb_db *db)
{
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 1};
    odb_vec_search how = {.size = sizeof how, .k = 3};
    odb_vec_hits *hits;
    odb_vec_bulk *bulk;
    char room[16];
    float x[DIM];

    c.form = ODB_VEC_I8;
    (void)fine(odb_vec_open(db, &c));
    for (int i = 0; i < 12; i++) {
        vector_of(x, i);
        (void)fine(odb_vec_put(db, NULL, id_text(room, i), x, DIM));
        if (i % 4 == 0)
            (void)odb_vec_work(db);
    }
    (void)fine(odb_vec_delete(db, NULL, id_text(room, 3)));
    (void)fine(odb_vec_wait(db));
    if (fine(odb_vec_find(odb_now(db), x, DIM, &how, &hits)))
        odb_vec_hits_free(hits);
    (void)fine(odb_vec_compact(db));
    if (fine(odb_vec_bulk_begin(db, NULL, &bulk))) {
        (void)fine(odb_vec_bulk_add(bulk, odb_s("bulk"), x, DIM));
        (void)fine(odb_vec_bulk_finish(bulk));
    }
    (void)fine(odb_vec_rebuild(db, NULL, 1, NULL, NULL));
    if (fine(odb_vec_find(odb_now(db), x, DIM, &how, &hits)))
        odb_vec_hits_free(hits);
}

static void every_shortage_is_a_status(void **state)
{
    (void)state;
    for (long n = 0;; n += 1 + n / 30) { /* the first ones all, then fewer and fewer */
        odb_vec_hits *hits;
        odb_backend backend;
        odb_db *db;
        long before = test_alloc_alive(), asked;
        float x[DIM];
        char room[16];
        odb_vec_report report = {.size = sizeof report};
        odb_vec_search how = {.size = sizeof how, .k = 1};

        assert_ok(odb_backend_memory(&backend));
        assert_ok(odb_open_backend(backend, &db));
        test_alloc_fail(n, 0);
        use(db);
        asked = test_alloc_requests();
        test_alloc_fail(-1, 0);
        assert_ok(odb_vec_rebuild(db, NULL, 1, NULL, NULL));
        for (int i = 20; i < 25; i++) {
            vector_of(x, i);
            assert_ok(odb_vec_put(db, NULL, id_text(room, i), x, DIM));
            assert_ok(odb_vec_find(odb_now(db), x, DIM, &how, &hits));
            assert_true(odb_slice_equal(odb_vec_hits_at(hits, 0).id, id_text(room, i)));
            odb_vec_hits_free(hits);
        }
        assert_ok(odb_vec_wait(db));
        assert_ok(odb_vec_compact(db));
        assert_ok(odb_vec_verify(db, 10, &report));
        assert_int_equal(report.unreachable, 0);
        assert_ok(odb_close(db));
        assert_int_equal(test_alloc_alive(), before);
        if (asked <= n)
            break;
        assert_true(n < 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shortage_is_a_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
