/* The tests of the original OpenDB, one to one, with their literals; over both backends. The one of its
 * least-recently-used cache has nothing to test here: there is no cache of entries, and what it was to
 * guarantee is a_read_sees_the_newest_write. */
#include "tests/memory/fixture.h"

#include <pthread.h>

static odb_memory memory_of(const char *id, const char *content, const float *e, uint32_t dim,
                            float importance)
{
    odb_memory m = odb_memory_make(id, content);

    m.embedding = e;
    m.dim = dim;
    m.importance = importance;
    return m;
}

static void insert(struct fixture *f, const char *id, const char *content, const float *e,
                   uint32_t dim, float importance)
{
    odb_memory m = memory_of(id, content, e, dim, importance);

    assert_ok(odb_insert_memory(f->db, &m));
}

static void expect_content(struct fixture *f, const char *id, const char *content, float importance)
{
    odb_record *r;

    assert_ok(odb_get_memory(f->db, odb_s(id), &r));
    assert_slice(odb_record_id(r), id);
    assert_slice(odb_record_content(r), content);
    assert_true(odb_record_importance(r) == importance);
    odb_record_free(r);
}

static void expect_related(struct fixture *f, const char *id, const char *relation,
                           const char *want)
{
    odb_id_list ids;

    assert_ok(odb_get_related(f->db, odb_s(id), odb_s(relation), &ids));
    assert_int_equal(ids.count, want ? 1 : 0);
    if (want)
        assert_slice(ids.id[0], want);
    odb_id_list_release(&ids);
}

static void link_them(struct fixture *f, const char *from, const char *relation, const char *to)
{
    assert_ok(odb_link(f->db, NULL, odb_s(from), odb_s(relation), odb_s(to)));
}

/* test_basic_kv_operations */
static void keys_are_put_got_and_deleted(void **state)
{
    struct fixture *f = *state;

    put_text(f, NULL, "key1", "value1");
    expect_text(odb_now(f->db), NULL, "key1", "value1");
    assert_ok(odb_exists(odb_now(f->db), NULL, odb_s("key1")));
    assert_status(odb_exists(odb_now(f->db), NULL, odb_s("nonexistent")), ODB_ABSENT);
    assert_ok(odb_delete(f->db, NULL, odb_s("key1"), NULL));
    expect_text(odb_now(f->db), NULL, "key1", NULL);
}

/* test_memory_crud */
static void a_memory_is_made_read_updated_and_deleted(void **state)
{
    static const float first[3] = {1.0f, 2.0f, 3.0f}, second[3] = {4.0f, 5.0f, 6.0f};
    struct fixture *f = *state;
    odb_record *r;
    float e[3];
    uint32_t dim;

    insert(f, "mem1", "test content", first, 3, 0.8f);
    expect_content(f, "mem1", "test content", 0.8f);
    assert_ok(odb_vec_get(odb_now(f->db), odb_s("mem1"), e, 3, &dim));
    assert_int_equal(dim, 3);
    assert_memory_equal(e, first, sizeof e);
    insert(f, "mem1", "updated content", second, 3, 0.9f);
    expect_content(f, "mem1", "updated content", 0.9f);
    assert_ok(odb_delete_memory(f->db, odb_s("mem1")));
    assert_status(odb_get_memory(f->db, odb_s("mem1"), &r), ODB_ABSENT);
}

/* test_graph_operations */
static void nodes_are_linked_and_unlinked(void **state)
{
    static const float e[3] = {1.0f, 0.0f, 0.0f};
    struct fixture *f = *state;
    odb_edge_list edges;

    insert(f, "mem1", "content1", e, 3, 0.5f);
    insert(f, "mem2", "content2", e, 3, 0.5f);
    insert(f, "mem3", "content3", e, 3, 0.5f);
    link_them(f, "mem1", ODB_REL_RELATED_TO, "mem2");
    link_them(f, "mem1", ODB_REL_REFERENCES, "mem3");
    link_them(f, "mem2", ODB_REL_RELATED_TO, "mem3");
    expect_related(f, "mem1", ODB_REL_RELATED_TO, "mem2");
    expect_related(f, "mem1", ODB_REL_REFERENCES, "mem3");
    assert_ok(odb_get_outgoing(f->db, odb_s("mem1"), &edges));
    assert_int_equal(edges.count, 2);
    odb_edge_list_release(&edges);
    assert_ok(odb_get_incoming(f->db, odb_s("mem3"), &edges));
    assert_int_equal(edges.count, 2);
    odb_edge_list_release(&edges);
    assert_ok(odb_unlink(f->db, NULL, odb_s("mem1"), odb_s(ODB_REL_RELATED_TO), odb_s("mem2")));
    expect_related(f, "mem1", ODB_REL_RELATED_TO, NULL);
}

/* test_vector_search */
static void the_nearest_vectors_are_found(void **state)
{
    static const float v1[3] = {1.0f, 0.0f, 0.0f}, v2[3] = {0.9f, 0.1f, 0.0f},
                       v3[3] = {0.0f, 1.0f, 0.0f};
    struct fixture *f = *state;
    odb_similar_list near;

    insert(f, "v1", "vector 1", v1, 3, 0.5f);
    insert(f, "v2", "vector 2", v2, 3, 0.5f);
    insert(f, "v3", "vector 3", v3, 3, 0.5f);
    assert_ok(odb_search_similar(f->db, v1, 3, 2, &near));
    assert_int_equal(near.count, 2);
    assert_slice(near.hit[0].id, "v1");
    assert_true(near.hit[0].distance < 0.01f);
    assert_slice(near.hit[1].id, "v2");
    assert_true(fabsf(near.hit[1].distance - 0.141421f) < 1e-5f);
    odb_similar_list_release(&near);
}

/* test_list_operations */
static void memories_are_listed_by_prefix(void **state)
{
    static const float e[3] = {1.0f, 0.0f, 0.0f};
    struct fixture *f = *state;
    odb_record_list records;
    odb_id_list ids;

    insert(f, "user_001", "User 1", e, 3, 0.5f);
    insert(f, "user_002", "User 2", e, 3, 0.5f);
    insert(f, "system_001", "System 1", e, 3, 0.5f);
    assert_ok(odb_list_memory_ids(f->db, odb_s("user"), &ids));
    assert_int_equal(ids.count, 2);
    odb_id_list_release(&ids);
    assert_ok(odb_list_memories(f->db, odb_s("user"), &records));
    assert_int_equal(records.count, 2);
    odb_record_list_release(&records);
}

/* test_cache_coherency, test_write_after_read_consistency, and what test_lru_basic was for */
static void a_read_sees_the_newest_write(void **state)
{
    static const float e[3] = {1.0f, 0.0f, 0.0f};
    struct fixture *f = *state;
    odb_record *r;

    insert(f, "cache_test", "original", e, 3, 0.5f);
    expect_content(f, "cache_test", "original", 0.5f);
    insert(f, "cache_test", "updated", e, 3, 0.8f);
    expect_content(f, "cache_test", "updated", 0.8f);
    assert_ok(odb_delete_memory(f->db, odb_s("cache_test")));
    assert_status(odb_get_memory(f->db, odb_s("cache_test"), &r), ODB_ABSENT);
    insert(f, "consistency", "v1", e, 3, 0.5f);
    expect_content(f, "consistency", "v1", 0.5f);
    insert(f, "consistency", "v2", e, 3, 0.6f);
    expect_content(f, "consistency", "v2", 0.6f);
}

/* test_metadata */
static void metadata_survives(void **state)
{
    static const float e[3] = {1.0f, 0.0f, 0.0f};
    struct fixture *f = *state;
    odb_memory m = memory_of("meta_test", "content", e, 3, 0.5f);
    odb_prop props[2] = {odb_prop_text("category", "test"), odb_prop_text("source", "unit_test")};
    odb_prop_value v;
    odb_record *r;

    m.props = props;
    m.prop_count = 2;
    assert_ok(odb_insert_memory(f->db, &m));
    assert_ok(odb_get_memory(f->db, odb_s("meta_test"), &r));
    assert_true(odb_record_prop(r, odb_s("category"), &v));
    assert_slice(v.u.bytes, "test");
    assert_true(odb_record_prop(r, odb_s("source"), &v));
    assert_slice(v.u.bytes, "unit_test");
    odb_record_free(r);
}

/* test_atomicity */
static void all_writes_of_a_transaction_come_together(void **state)
{
    struct fixture *f = *state;
    odb_txn *t;

    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("key1"), odb_s("value1")));
    assert_ok(odb_txn_put(t, NULL, odb_s("key2"), odb_s("value2")));
    assert_ok(odb_txn_put(t, NULL, odb_s("key3"), odb_s("value3")));
    expect_text(odb_now(f->db), NULL, "key2", NULL);
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_text(odb_now(f->db), NULL, "key1", "value1");
    expect_text(odb_now(f->db), NULL, "key2", "value2");
    expect_text(odb_now(f->db), NULL, "key3", "value3");
}

/* test_rollback */
static void a_rollback_leaves_everything_as_it_was(void **state)
{
    struct fixture *f = *state;
    odb_txn *t;

    put_text(f, NULL, "existing", "original");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("existing"), odb_s("modified")));
    assert_ok(odb_txn_put(t, NULL, odb_s("new_key"), odb_s("new_value")));
    assert_ok(odb_txn_rollback(t));
    odb_txn_free(t);
    expect_text(odb_now(f->db), NULL, "existing", "original");
    expect_text(odb_now(f->db), NULL, "new_key", NULL);
}

/* test_consistency */
static void records_and_edges_agree(void **state)
{
    static const float e[3] = {1.0f, 0.0f, 0.0f};
    struct fixture *f = *state;

    insert(f, "cons_1", "Memory 1", e, 3, 0.5f);
    insert(f, "cons_2", "Memory 2", e, 3, 0.5f);
    link_them(f, "cons_1", ODB_REL_RELATED_TO, "cons_2");
    expect_content(f, "cons_1", "Memory 1", 0.5f);
    expect_content(f, "cons_2", "Memory 2", 0.5f);
    expect_related(f, "cons_1", ODB_REL_RELATED_TO, "cons_2");
    expect_sound(f);
}

/* test_isolation_via_snapshot is empty in the original; this is the example of its page on transactions:
 * a transaction reads the moment it began at, whatever others commit meanwhile. */
static void a_transaction_reads_its_moment(void **state)
{
    struct fixture *f = *state;
    odb_txn *t1, *t2;

    put_text(f, NULL, "counter", "0");
    assert_ok(odb_txn_begin(f->db, NULL, &t1));
    expect_text(odb_in(t1), NULL, "counter", "0");
    assert_ok(odb_txn_begin(f->db, NULL, &t2));
    assert_ok(odb_txn_put(t2, NULL, odb_s("counter"), odb_s("5")));
    assert_ok(odb_txn_commit(t2, NULL));
    odb_txn_free(t2);
    expect_text(odb_in(t1), NULL, "counter", "0");
    assert_ok(odb_txn_put(t1, NULL, odb_s("counter"), odb_s("1")));
    assert_status(odb_txn_commit(t1, NULL), ODB_CONFLICT);
    odb_txn_free(t1);
    expect_text(odb_now(f->db), NULL, "counter", "5");
}

/* test_durability */
static void what_was_written_is_there_after_reopening(void **state)
{
    static const float e[3] = {1.0f, 2.0f, 3.0f};
    struct fixture *f = *state;

    insert(f, "durable", "persistent data", e, 3, 0.9f);
    assert_ok(odb_flush(f->db, NULL));
    fixture_reopen(f);
    expect_content(f, "durable", "persistent data", 0.9f);
}

/* test_concurrent_reads */
struct reader {
    pthread_t thread;
    odb_db *db;
};

static void *read_ten(void *arg)
{
    struct reader *r = arg;

    for (int i = 0; i < 10; i++) {
        char id[32], want[32];
        odb_record *record;

        (void)snprintf(id, sizeof id, "concurrent_%d", i);
        (void)snprintf(want, sizeof want, "Memory %d", i);
        if (odb_get_memory(r->db, odb_s(id), &record) != ODB_OK)
            return r;
        if (!odb_slice_equal(odb_record_content(record), odb_s(want))) {
            odb_record_free(record);
            return r;
        }
        odb_record_free(record);
    }
    return NULL;
}

static void five_threads_read_ten_memories(void **state)
{
    static const float e[3] = {1.0f, 0.0f, 0.0f};
    struct fixture *f = *state;
    struct reader readers[5];

    for (int i = 0; i < 10; i++) {
        char id[32], content[32];

        (void)snprintf(id, sizeof id, "concurrent_%d", i);
        (void)snprintf(content, sizeof content, "Memory %d", i);
        insert(f, id, content, e, 3, 0.5f);
    }
    for (int i = 0; i < 5; i++) {
        readers[i].db = f->db;
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_ten, &readers[i]), 0);
    }
    for (int i = 0; i < 5; i++) {
        void *failed = f;

        assert_int_equal(pthread_join(readers[i].thread, &failed), 0);
        assert_null(failed);
    }
}

/* The two codec tests: what is stored is what was given. */
static void a_record_and_an_edge_come_back_as_they_were_given(void **state)
{
    struct fixture *f = *state;
    odb_record_draft d = odb_record_make("test_001", "Test content");
    odb_edge edge = odb_edge_of(odb_s("node1"), odb_s("related_to"), odb_s("node2"));
    odb_prop prop = odb_prop_text("key", "value");
    odb_edge_list edges;
    odb_prop_value v;
    odb_record *r, *again;

    d.importance = 0.8f;
    d.timestamp = 1234567890000000;
    d.props = &prop;
    d.prop_count = 1;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    assert_ok(odb_get_memory(f->db, odb_s("test_001"), &r));
    assert_ok(odb_record_view(odb_record_id(r), odb_record_bytes(r), &again));
    assert_slice(odb_record_content(again), "Test content");
    assert_true(odb_record_importance(again) == 0.8f);
    assert_true(odb_record_timestamp(again) == 1234567890000000);
    assert_true(odb_record_prop(again, odb_s("key"), &v));
    assert_slice(v.u.bytes, "value");
    odb_record_free(again);
    odb_record_free(r);

    edge.weight = 0.75f;
    edge.time_us = 1234567890000000;
    assert_ok(odb_link_edge(f->db, NULL, &edge, NULL, 0, ODB_LINK_UPSERT));
    assert_ok(odb_edge_get(odb_now(f->db), edge.from, edge.rel, edge.to, &edges));
    assert_slice(edges.edge[0].from, "node1");
    assert_slice(edges.edge[0].rel, "related_to");
    assert_slice(edges.edge[0].to, "node2");
    assert_true(edges.edge[0].weight == 0.75f);
    assert_true(edges.edge[0].time_us == 1234567890000000);
    odb_edge_list_release(&edges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(keys_are_put_got_and_deleted),
        BOTH(a_memory_is_made_read_updated_and_deleted),
        BOTH(nodes_are_linked_and_unlinked),
        BOTH(the_nearest_vectors_are_found),
        BOTH(memories_are_listed_by_prefix),
        BOTH(a_read_sees_the_newest_write),
        BOTH(metadata_survives),
        BOTH(all_writes_of_a_transaction_come_together),
        BOTH(a_rollback_leaves_everything_as_it_was),
        BOTH(records_and_edges_agree),
        BOTH(a_transaction_reads_its_moment),
        BOTH(what_was_written_is_there_after_reopening),
        BOTH(five_threads_read_ten_memories),
        BOTH(a_record_and_an_edge_come_back_as_they_were_given),
    };

    return cmocka_run_group_tests_name("the original's tests", tests, NULL, NULL);
}
