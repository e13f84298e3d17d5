/* tests/vector/test_tries.c -- writes that find somebody in the way, at the worst place: a backend that lets the test
 * act between a transaction's moment and its first read, and answer for a commit. */
#include "tests/vector/vec_fixture.h"

#include "api/odb_backend.h"

/* The backend in memory, and what comes before its calls. */
static struct world {
    odb_backend_ops ops;
    const odb_backend_ops *inner;
    odb_db *db;
    void (*before_get)(struct world *w); /* once */
    odb_status next_commit;              /* of a transaction, once */
    unsigned refused;
} world;

static odb_status get_late(void *self, void *family, void *snapshot, odb_slice key, odb_value *out)
{
    void (*act)(struct world *) = world.before_get;

    world.before_get = NULL;
    if (act && snapshot)
        act(&world);
    else
        world.before_get = act;
    return world.inner->get(self, family, snapshot, key, out);
}

static odb_status commit_or_not(void *self, const odb_guard *guard, const odb_batch *b,
                                const odb_write *how)
{
    odb_status st = world.next_commit;

    world.next_commit = ODB_OK;
    if (st == ODB_OK)
        return world.inner->commit_transaction(self, guard, b, how);
    world.refused++;
    return odb_error_set(st, "as the test wants it");
}

static int world_open(void **state)
{
    odb_vec_config c = {.size = sizeof c, .dim = DIM, .mode = ODB_VEC_MANUAL, .flat_max = 8192};
    odb_backend backend;

    memset(&world, 0, sizeof world);
    assert_ok(odb_backend_memory(&backend));
    world.inner = backend.ops;
    world.ops = *backend.ops;
    world.ops.get = get_late;
    world.ops.commit_transaction = commit_or_not;
    backend.ops = &world.ops;
    assert_ok(odb_open_backend(backend, &world.db));
    assert_ok(odb_vec_open(world.db, &c));
    *state = &world;
    return 0;
}

static int world_close(void **state)
{
    struct world *w = *state;

    return odb_close(w->db) != ODB_OK;
}

static void assert_first(odb_db *db, odb_slice id, const float *x)
{
    odb_vec_hits *hits;

    assert_ok(odb_vec_find(odb_now(db), x, DIM, NULL, &hits));
    assert_true(odb_slice_equal(odb_vec_hits_at(hits, 0).id, id));
    odb_vec_hits_free(hits);
}

static void assert_sound(odb_db *db, uint64_t live)
{
    odb_vec_stats_t s = {.size = sizeof s};
    odb_vec_report report = {.size = sizeof report};

    assert_ok(odb_vec_stats(db, &s));
    assert_false(s.is_stale);
    assert_int_equal(s.live, live);
    assert_ok(odb_vec_wait(db));
    assert_ok(odb_vec_verify(db, 10, &report));
    assert_int_equal(report.rows, live);
}

/* "a" is deleted, and its slot is nobody's any more when the transaction comes to look at it. */
static void take_a_away(struct world *w)
{
    float x[DIM] = {9};
    char room[32];

    assert_ok(odb_vec_delete(w->db, NULL, odb_s("a")));
    for (uint32_t i = 0; i < 8; i++) { /* readers of the time leave by and by */
        assert_ok(odb_vec_put(w->db, NULL, name(room, "t", i), x, DIM));
        assert_ok(odb_vec_wait(w->db));
        assert_ok(odb_vec_delete(w->db, NULL, name(room, "t", i)));
        assert_ok(odb_vec_compact(w->db));
    }
}

static void a_put_takes_no_slot_for_its_own_that_was_freed_since(void **state)
{
    struct world *w = *state;
    float x[4][DIM] = {{1}, {2}, {3}, {4}};

    assert_ok(odb_vec_put(w->db, NULL, odb_s("a"), x[0], DIM));
    assert_ok(odb_vec_wait(w->db));
    w->before_get = take_a_away;
    assert_ok(odb_vec_put(w->db, NULL, odb_s("a"), x[1], DIM));
    assert_null(w->before_get);
    assert_ok(odb_vec_put(w->db, NULL, odb_s("b"), x[2], DIM));
    assert_ok(odb_vec_put(w->db, NULL, odb_s("c"), x[3], DIM));
    assert_first(w->db, odb_s("a"), x[1]);
    assert_first(w->db, odb_s("b"), x[2]);
    assert_first(w->db, odb_s("c"), x[3]);
    assert_sound(w->db, 3);
}

static void a_bulk_load_gives_back_no_slot_it_never_had(void **state)
{
    struct world *w = *state;
    float x[4][DIM] = {{1}, {2}, {3}, {4}};
    odb_vec_bulk *bulk;
    char room[32];

    assert_ok(odb_vec_put(w->db, NULL, odb_s("a"), x[0], DIM));
    assert_ok(odb_vec_wait(w->db));
    assert_ok(odb_vec_bulk_begin(w->db, NULL, &bulk));
    assert_ok(odb_vec_bulk_add(bulk, odb_s("a"), x[1], DIM));
    assert_ok(odb_vec_bulk_add(bulk, odb_s("b"), x[2], DIM));
    assert_ok(odb_vec_bulk_add(bulk, odb_s("b"), x[3], DIM)); /* twice: one slot */
    w->before_get = take_a_away;
    assert_ok(odb_vec_bulk_finish(bulk));
    assert_null(w->before_get);
    assert_first(w->db, odb_s("a"), x[1]);
    assert_first(w->db, odb_s("b"), x[3]);
    for (uint32_t i = 0; i < 20; i++) { /* every slot that may be free is somebody's now */
        x[0][1] = (float)i;
        assert_ok(odb_vec_put(w->db, NULL, name(room, "n", i), x[0], DIM));
        assert_first(w->db, name(room, "n", i), x[0]);
    }
    assert_sound(w->db, 22);
}

/* Alone and in bulk: whoever may try again does. */
static void writes_alone_try_again_whatever_refused_them(void **state)
{
    static const odb_status refusals[] = {ODB_CONFLICT, ODB_TOO_OLD};
    struct world *w = *state;
    float x[DIM] = {1};
    odb_vec_bulk *bulk;

    for (unsigned i = 0; i < 2; i++) {
        w->refused = 0;
        w->next_commit = refusals[i];
        assert_ok(odb_vec_put(w->db, NULL, odb_s("a"), x, DIM));
        w->next_commit = refusals[i];
        assert_ok(odb_vec_delete(w->db, NULL, odb_s("a")));
        assert_ok(odb_vec_bulk_begin(w->db, NULL, &bulk));
        assert_ok(odb_vec_bulk_add(bulk, odb_s("b"), x, DIM));
        w->next_commit = refusals[i];
        assert_ok(odb_vec_bulk_finish(bulk));
        assert_int_equal(w->refused, 3);
        assert_first(w->db, odb_s("b"), x);
        assert_sound(w->db, 1);
    }
}

#define W(test)                                                                                    \
    {                                                                                              \
#test, test, world_open, world_close, NULL                                                 \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        W(a_put_takes_no_slot_for_its_own_that_was_freed_since),
        W(a_bulk_load_gives_back_no_slot_it_never_had),
        W(writes_alone_try_again_whatever_refused_them),
    };

    return RUN(tests, argc, argv);
}
