/* Memories: record, vector and edges as one, alone and in transactions of others. */
#include "tests/memory/fixture.h"

#include <pthread.h>

static const float e1[3] = {1, 0, 0}, e2[3] = {0, 1, 0};

static odb_memory memory_of(const char *id, const char *content, const float *embedding)
{
    odb_memory m = odb_memory_make(id, content);

    m.embedding = embedding;
    m.dim = embedding ? 3 : 0;
    return m;
}

static void insert(struct fixture *f, const char *id, const float *embedding)
{
    odb_memory m = memory_of(id, "content", embedding);

    assert_ok(odb_insert_memory(f->db, &m));
}

static void a_write_without_embedding_removes_the_vector(void **state)
{
    struct fixture *f = *state;
    odb_record *r;

    insert(f, "m", e1);
    expect_vector(f, "m", true);
    insert(f, "m", NULL);
    expect_vector(f, "m", false);
    assert_ok(odb_get_memory(f->db, odb_s("m"), &r));
    assert_false(odb_record_has_vector(r));
    odb_record_free(r);
}

static void deleting_keeps_edges_unless_they_are_named(void **state)
{
    struct fixture *f = *state;

    insert(f, "a", e1);
    insert(f, "b", e2);
    assert_ok(odb_link(f->db, NULL, odb_s("a"), odb_s("r"), odb_s("b")));
    assert_ok(odb_delete_memory(f->db, odb_s("a")));
    expect_vector(f, "a", false);
    assert_ok(odb_edge_exists(odb_now(f->db), odb_s("a"), odb_s("r"), odb_s("b")));
    assert_ok(odb_memory_delete(f->db, NULL, odb_s("b"), ODB_CASCADE_EDGES));
    assert_status(odb_edge_exists(odb_now(f->db), odb_s("a"), odb_s("r"), odb_s("b")), ODB_ABSENT);
    assert_ok(odb_delete_memory(f->db, odb_s("b")));
    assert_status(odb_memory_delete(f->db, NULL, odb_s("b"), ODB_MUST_EXIST), ODB_ABSENT);
    assert_status(odb_memory_delete(f->db, NULL, odb_s("b"), 0x4000), ODB_INVALID);
    expect_sound(f);
}

static void a_transaction_holds_all_parts_or_none(void **state)
{
    struct fixture *f = *state;
    odb_memory m = memory_of("m", "in a transaction", e1);
    odb_similar_list near;
    odb_txn *t;

    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_memory_put(f->db, t, &m, 0));
    assert_ok(odb_record_exists(odb_in(t), odb_s("m")));
    assert_status(odb_record_exists(odb_now(f->db), odb_s("m")), ODB_ABSENT);
    expect_vector(f, "m", false);
    assert_ok(odb_txn_rollback(t));
    odb_txn_free(t);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("m")), ODB_ABSENT);
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_memory_put(f->db, t, &m, ODB_INSERT_ONLY));
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_nearest(f, e1, "m");
    assert_ok(odb_search_similar(f->db, e1, 3, 5, &near));
    assert_int_equal(near.count, 1);
    odb_similar_list_release(&near);
    odb_similar_list_release(NULL);
}

static void a_refused_memory_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    const float inf3[3] = {0, INFINITY, 0};
    odb_memory m = memory_of("bad", "x", inf3);
    odb_prop twice[2] = {odb_prop_text("k", "1"), odb_prop_text("k", "2")};

    insert(f, "good", e1);
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    m.embedding = e1;
    m.dim = 2;
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    m.dim = 3;
    m.importance = NAN;
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    m.importance = 0.5f;
    m.props = twice;
    m.prop_count = 2;
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    m.prop_count = 0;
    m.id = odb_s("");
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    m.id = odb_s("bad");
    m.embedding = NULL;
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    m.size = 3;
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    assert_status(odb_insert_memory(f->db, NULL), ODB_INVALID);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("bad")), ODB_ABSENT);
    expect_vector(f, "bad", false);
    expect_sound(f);
}

static void a_search_leaves_out_vectors_without_a_record(void **state)
{
    struct fixture *f = *state;
    odb_similar_list near;

    insert(f, "a", e1);
    assert_ok(odb_vec_put(f->db, NULL, odb_s("bare"), e1, 3));
    assert_ok(odb_search_similar(f->db, e1, 3, 10, &near));
    assert_int_equal(near.count, 1);
    assert_slice(near.hit[0].id, "a");
    assert_slice(odb_record_content(near.hit[0].record), "content");
    odb_similar_list_release(&near);
    assert_status(odb_search_similar(f->db, e1, 3, 0, &near), ODB_INVALID);
    assert_status(odb_search_similar(f->db, e1, 2, 1, &near), ODB_INVALID);
    assert_status(odb_search_similar(f->db, NULL, 3, 1, &near), ODB_INVALID);
}

/* Nor do they take the place of a memory that is farther away. */
static void vectors_without_a_record_take_no_place(void **state)
{
    struct fixture *f = *state;
    const float far[3] = {0.5f, 1, 0};
    odb_similar_list near;
    char id[16];

    insert(f, "far", far);
    insert(f, "farther", e2);
    for (int i = 0; i < 30; i++) {
        (void)snprintf(id, sizeof id, "bare/%d", i);
        assert_ok(odb_vec_put(f->db, NULL, odb_s(id), e1, 3));
    }
    assert_ok(odb_search_similar(f->db, e1, 3, 1, &near));
    assert_int_equal(near.count, 1);
    assert_slice(near.hit[0].id, "far");
    odb_similar_list_release(&near);
    insert(f, "near", e1);
    assert_ok(odb_search_similar(f->db, e1, 3, 31, &near));
    assert_int_equal(near.count, 3);
    assert_slice(near.hit[0].id, "near");
    assert_slice(near.hit[1].id, "far");
    assert_slice(near.hit[2].id, "farther");
    assert_slice(odb_record_content(near.hit[2].record), "content");
    odb_similar_list_release(&near);
}

static void lists_hold_what_begins_alike(void **state)
{
    struct fixture *f = *state;
    odb_record_list records;
    odb_id_list ids;

    insert(f, "a/1", NULL);
    insert(f, "a/2", NULL);
    insert(f, "b/1", NULL);
    assert_ok(odb_list_memory_ids(f->db, odb_s("a/"), &ids));
    assert_int_equal(ids.count, 2);
    assert_slice(ids.id[0], "a/1");
    assert_slice(ids.id[1], "a/2");
    odb_id_list_release(&ids);
    odb_id_list_release(&ids);
    odb_id_list_release(NULL);
    assert_ok(odb_list_memory_ids(f->db, odb_s(""), &ids));
    assert_int_equal(ids.count, 3);
    odb_id_list_release(&ids);
    assert_ok(odb_list_memory_ids(f->db, odb_s("c"), &ids));
    assert_int_equal(ids.count, 0);
    odb_id_list_release(&ids);
    assert_ok(odb_list_memories(f->db, odb_s("a/"), &records));
    assert_int_equal(records.count, 2);
    assert_slice(odb_record_id(records.record[1]), "a/2");
    odb_record_list_release(&records);
}

/* ---- the check ---- */

static void count_fault(void *arg, odb_slice id, const char *fault)
{
    char *seen = arg;

    assert_true(strlen(fault) > 0);
    (void)strncat(seen, id.data, id.size);
}

static void the_check_finds_what_was_torn_apart(void **state)
{
    struct fixture *f = *state;
    odb_memory_report report = {.size = sizeof report};
    odb_chunk c = odb_chunk_make("C", "chunk", 0, 1);
    odb_document d = odb_document_make("D", "d.txt", 1, "text");
    char seen[64] = "";

    insert(f, "A", e1);
    insert(f, "B", NULL);
    assert_ok(odb_document_put(f->db, NULL, &d, &c, 1, 0));
    expect_sound(f);
    assert_ok(odb_vec_delete(f->db, NULL, odb_s("A")));
    assert_ok(odb_vec_put(f->db, NULL, odb_s("B"), e2, 3));
    assert_ok(odb_vec_put(f->db, NULL, odb_s("bare"), e2, 3));
    assert_ok(odb_unlink(f->db, NULL, odb_s("D"), odb_s(ODB_REL_HAS_CHUNK), odb_s("C")));
    assert_ok(odb_memories_check(odb_now(f->db), &report, count_fault, seen));
    assert_int_equal(report.records, 4);
    assert_int_equal(report.lost_vectors, 1);
    assert_int_equal(report.unsaid_vectors, 1);
    assert_int_equal(report.lost_chunks, 2);
    assert_int_equal(report.bare_vectors, 1);
    assert_string_equal(seen, "ABCD");
    report.size = 1;
    assert_status(odb_memories_check(odb_now(f->db), &report, NULL, NULL), ODB_INVALID);
    assert_status(odb_memories_check(odb_now(f->db), NULL, NULL, NULL), ODB_INVALID);
    assert_status(odb_memories_check((odb_at){0}, &report, NULL, NULL), ODB_INVALID);
}

/* ---- threads ---- */

struct racer {
    pthread_t thread;
    odb_db *db;
    int number;
};

static void *write_same(void *arg)
{
    struct racer *r = arg;
    const float e[3] = {(float)r->number, 0, 0};
    odb_memory m = memory_of("shared", "x", e);

    for (int i = 0; i < 200; i++) {
        m.importance = (float)r->number / 8;
        if (odb_memory_put(r->db, NULL, &m, 0) != ODB_OK)
            return r;
    }
    return NULL;
}

static void writers_of_one_memory_leave_record_and_vector_of_the_same_one(void **state)
{
    struct fixture *f = *state;
    struct racer racers[4];
    odb_record *r;
    float e[3];
    uint32_t dim;

    for (int i = 0; i < 4; i++) {
        racers[i] = (struct racer){.db = f->db, .number = i + 1};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, write_same, &racers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed = f;

        assert_int_equal(pthread_join(racers[i].thread, &failed), 0);
        assert_null(failed);
    }
    assert_ok(odb_get_memory(f->db, odb_s("shared"), &r));
    assert_ok(odb_vec_get(odb_now(f->db), odb_s("shared"), e, 3, &dim));
    assert_true(odb_record_importance(r) == e[0] / 8);
    odb_record_free(r);
    expect_sound(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_write_without_embedding_removes_the_vector),
        BOTH(deleting_keeps_edges_unless_they_are_named),
        BOTH(a_transaction_holds_all_parts_or_none),
        BOTH(a_refused_memory_leaves_nothing),
        BOTH(a_search_leaves_out_vectors_without_a_record),
        BOTH(vectors_without_a_record_take_no_place),
        BOTH(lists_hold_what_begins_alike),
        BOTH(the_check_finds_what_was_torn_apart),
        BOTH(writers_of_one_memory_leave_record_and_vector_of_the_same_one),
    };

    return cmocka_run_group_tests_name("memory/memory.c", tests, NULL, NULL);
}
