/* Memories and documents that are committed at the third try, or not at all, take no more of the vector index than
 * those that are at the first. */
#include "tests/api/fixture.h"

#include "api/odb_backend.h"

/* The backend in memory, where the next commits of transactions are refused. */
static struct world {
    odb_backend_ops ops;
    const odb_backend_ops *inner;
    odb_db *db;
    odb_status refusal;
    int refusals;
} world;

static odb_status commit_late(void *self, const odb_guard *guard, const odb_batch *b,
                              const odb_write *how)
{
    if (world.refusals == 0)
        return world.inner->commit_transaction(self, guard, b, how);
    world.refusals--;
    return odb_error_set(world.refusal, "as the test wants it");
}

static int world_open(void **state)
{
    odb_vec_config c = {.size = sizeof c, .dim = 3, .mode = ODB_VEC_MANUAL};
    odb_memory first =
        odb_memory_make("first", "without a vector: what records need is set up with it");
    odb_backend backend;

    memset(&world, 0, sizeof world);
    assert_ok(odb_backend_memory(&backend));
    world.inner = backend.ops;
    world.ops = *backend.ops;
    world.ops.commit_transaction = commit_late;
    backend.ops = &world.ops;
    assert_ok(odb_open_backend(backend, &world.db));
    assert_ok(odb_vec_open(world.db, &c));
    assert_ok(odb_insert_memory(world.db, &first));
    *state = &world;
    return 0;
}

static int world_close(void **state)
{
    struct world *w = *state;

    return odb_close(w->db) != ODB_OK;
}

static odb_status put_memory(odb_db *db)
{
    static const float e[3] = {1, 2, 3};
    odb_memory m = odb_memory_make("memory", "content");

    m.embedding = e;
    m.dim = 3;
    return odb_insert_memory(db, &m);
}

/* The document and two chunks have vectors. */
static odb_status put_document(odb_db *db)
{
    static const float e[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    odb_document d = odb_document_make("paper", "paper.txt", 20, "alpha beta gamma");
    odb_chunk chunks[] = {odb_chunk_make("paper/1", "alpha", 0, 5),
                          odb_chunk_make("paper/2", "beta", 6, 10),
                          odb_chunk_make("paper/3", "gamma", 11, 16)};

    d.memory.embedding = e[0];
    d.memory.dim = 3;
    chunks[0].memory.embedding = e[1];
    chunks[2].memory.embedding = e[2];
    chunks[0].memory.dim = chunks[2].memory.dim = 3;
    return odb_document_put(db, NULL, &d, chunks, 3, 0);
}

static void expect_slots(odb_db *db, uint64_t slots, uint64_t live)
{
    odb_vec_stats_t s = {.size = sizeof s};
    odb_vec_report report = {.size = sizeof report};

    assert_ok(odb_vec_stats(db, &s));
    assert_int_equal(s.slots, slots);
    assert_int_equal(s.live, live);
    assert_false(s.is_stale);
    assert_ok(odb_vec_wait(db));
    assert_ok(odb_vec_verify(db, 10, &report));
}

static void tries_share_the_slots_of_the_first(void **state)
{
    struct world *w = *state;

    w->refusal = ODB_CONFLICT;
    w->refusals = 3;
    assert_ok(put_memory(w->db));
    assert_int_equal(w->refusals, 0);
    expect_slots(w->db, 1, 1);
    w->refusal = ODB_TOO_OLD;
    w->refusals = 3;
    assert_ok(put_document(w->db));
    assert_int_equal(w->refusals, 0);
    expect_slots(w->db, 4, 4);
}

static void what_is_not_committed_gives_its_slots_back(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 3; i++) {
        w->refusal = ODB_NOSPACE;
        w->refusals = 1;
        assert_status(put_memory(w->db), ODB_NOSPACE);
        w->refusals = 1;
        assert_status(put_document(w->db), ODB_NOSPACE);
    }
    assert_ok(put_document(w->db));
    expect_slots(w->db, 3, 3);
    assert_ok(put_memory(w->db));
    expect_slots(w->db, 4, 4);
}

/* Neither done nor undone: a row may name the slots, and they are not to be had again. */
static void what_may_be_committed_keeps_its_slots(void **state)
{
    struct world *w = *state;

    w->refusal = ODB_UNKNOWN;
    w->refusals = 1;
    assert_status(put_memory(w->db), ODB_UNKNOWN);
    assert_ok(put_document(w->db));
    expect_slots(w->db, 4, 3);
}

#define W(test)                                                                                    \
    {                                                                                              \
#test, test, world_open, world_close, NULL                                                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        W(tries_share_the_slots_of_the_first),
        W(what_is_not_committed_gives_its_slots_back),
        W(what_may_be_committed_keeps_its_slots),
    };

    return cmocka_run_group_tests_name("memory: tries", tests, NULL, NULL);
}
