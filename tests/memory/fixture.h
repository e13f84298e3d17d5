/* tests/memory/fixture.h -- what tests of memories ask again and again. */
#ifndef TEST_MEMORY_FIXTURE_H
#define TEST_MEMORY_FIXTURE_H

#include "tests/api/fixture.h"

#include <math.h>

/* The nearest vector to `query` (of three numbers), by id. */
static inline void expect_nearest(struct fixture *f, const float *query, const char *id)
{
    odb_similar_list near;

    assert_ok(odb_search_similar(f->db, query, 3, 1, &near));
    assert_int_equal(near.count, 1);
    assert_slice(near.hit[0].id, id);
    odb_similar_list_release(&near);
}

static inline void expect_vector(struct fixture *f, const char *id, bool is_there)
{
    uint32_t dim;

    assert_status(odb_vec_get(odb_now(f->db), odb_s(id), NULL, 0, &dim),
                  is_there ? ODB_OK : ODB_ABSENT);
}

/* Records agree with their index, their vectors and their chunks, edges with their twins. */
static inline void expect_sound(struct fixture *f)
{
    odb_records_report records = {.size = sizeof records};
    odb_graph_check graph = {.size = sizeof graph};
    odb_memory_report memories = {.size = sizeof memories};

    assert_ok(odb_records_check(odb_now(f->db), &records, NULL, NULL));
    assert_int_equal(records.damaged + records.missing_rows + records.stray_rows, 0);
    assert_ok(odb_graph_verify(odb_now(f->db), &graph));
    assert_ok(odb_memories_check(odb_now(f->db), &memories, NULL, NULL));
    assert_int_equal(memories.lost_vectors + memories.unsaid_vectors + memories.lost_chunks, 0);
}

#endif
