/* Documents and their chunks: stored, replaced, read and deleted as one. */
#include "tests/memory/fixture.h"

static odb_chunk chunk_of(const char *id, const char *content, uint64_t start, uint64_t end,
                          const float *embedding)
{
    odb_chunk c = odb_chunk_make(id, content, start, end);

    c.memory.embedding = embedding;
    c.memory.dim = embedding ? 3 : 0;
    return c;
}

static const float e1[3] = {1, 0, 0}, e2[3] = {0, 1, 0}, e3[3] = {0, 0, 1};

static odb_document report_of(const char *text)
{
    odb_document d = odb_document_make("report", "year/2026.PDF", 123456, text);

    d.memory.embedding = e3;
    d.memory.dim = 3;
    return d;
}

/* "report" with chunks b, a, c, in this order. */
static void store_report(struct fixture *f)
{
    odb_document d = report_of("alpha beta gamma");
    odb_chunk chunks[] = {chunk_of("report/b", "alpha", 0, 5, e1),
                          chunk_of("report/a", "beta", 6, 10, e2),
                          chunk_of("report/c", "gamma", 11, 16, NULL)};

    assert_ok(odb_document_put(f->db, NULL, &d, chunks, 3, 0));
}

static void expect_chunks(odb_at at, const char *want)
{
    char got[512] = "";
    odb_record_list list;

    assert_ok(odb_document_chunks(at, odb_s("report"), &list));
    assert_int_equal(list.damaged, 0);
    for (size_t i = 0; i < list.count; i++) {
        odb_slice id = odb_record_id(list.record[i]);
        odb_slice content = odb_record_content(list.record[i]);
        size_t len = strlen(got);

        (void)snprintf(got + len, sizeof got - len, "%s%.*s=%.*s", i ? " " : "", (int)id.size,
                       (const char *)id.data, (int)content.size, (const char *)content.data);
    }
    assert_string_equal(got, want);
    odb_record_list_release(&list);
    odb_record_list_release(&list);
    odb_record_list_release(NULL);
}

static int64_t field_of(const odb_record *r, odb_field_id id)
{
    odb_prop_value v;

    assert_true(odb_record_field(r, (uint32_t)id, &v));
    assert_int_equal(v.type, ODB_PROP_INT);
    return v.u.integer;
}

static void a_document_comes_back_with_its_fields_and_chunks_in_order(void **state)
{
    struct fixture *f = *state;
    odb_prop_value v;
    odb_record *r;

    store_report(f);
    fixture_reopen(f);
    assert_ok(odb_get_memory(f->db, odb_s("report"), &r));
    assert_slice(odb_record_content(r), "alpha beta gamma");
    assert_int_equal(odb_record_kind_of(r), ODB_KIND_DOCUMENT);
    assert_true(odb_record_has_vector(r));
    assert_true(odb_record_field(r, ODB_FIELD_FILENAME, &v));
    assert_slice(v.u.bytes, "year/2026.PDF");
    assert_int_equal(field_of(r, ODB_FIELD_FILE_TYPE), ODB_FILE_PDF);
    assert_int_equal(field_of(r, ODB_FIELD_FILE_SIZE), 123456);
    assert_int_equal(field_of(r, ODB_FIELD_CHUNK_COUNT), 3);
    assert_int_equal(field_of(r, ODB_FIELD_STATUS), ODB_DOCUMENT_COMPLETED);
    odb_record_free(r);
    expect_chunks(odb_now(f->db), "report/b=alpha report/a=beta report/c=gamma");

    assert_ok(odb_get_memory(f->db, odb_s("report/a"), &r));
    assert_int_equal(odb_record_kind_of(r), ODB_KIND_CHUNK);
    assert_int_equal(field_of(r, ODB_FIELD_START), 6);
    assert_int_equal(field_of(r, ODB_FIELD_END), 10);
    assert_true(odb_record_field(r, ODB_FIELD_PARENT, &v));
    assert_slice(v.u.bytes, "report");
    odb_record_free(r);
    expect_nearest(f, e2, "report/a");
    expect_nearest(f, e3, "report");
    expect_sound(f);
}

static void a_new_version_takes_the_place_of_the_old_one_with_all_its_chunks(void **state)
{
    struct fixture *f = *state;
    odb_document d = report_of("delta beta");
    odb_chunk chunks[] = {chunk_of("report/d", "delta", 0, 5, e1),
                          chunk_of("report/a", "beta!", 6, 10, NULL)};
    odb_snapshot *before;

    store_report(f);
    assert_ok(odb_link(f->db, NULL, odb_s("other"), odb_s("cites"), odb_s("report/b")));
    assert_ok(odb_snapshot_new(f->db, &before));
    assert_ok(odb_document_put(f->db, NULL, &d, chunks, 2, ODB_UPDATE_ONLY));
    expect_chunks(odb_now(f->db), "report/d=delta report/a=beta!");
    expect_chunks(odb_asof(before), "report/b=alpha report/a=beta report/c=gamma");
    odb_snapshot_free(before);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("report/b")), ODB_ABSENT);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("report/c")), ODB_ABSENT);
    expect_vector(f, "report/a", false);
    expect_vector(f, "report/b", false);
    expect_vector(f, "report/d", true);
    /* an edge that somebody else made stays, as with every deletion that does not say otherwise */
    assert_ok(odb_edge_exists(odb_now(f->db), odb_s("other"), odb_s("cites"), odb_s("report/b")));
    expect_sound(f);
}

static void deleting_a_document_takes_chunks_vectors_and_edges_along(void **state)
{
    struct fixture *f = *state;
    odb_edge_list edges;

    store_report(f);
    assert_ok(odb_link(f->db, NULL, odb_s("other"), odb_s("cites"), odb_s("report/b")));
    assert_ok(odb_link(f->db, NULL, odb_s("report"), odb_s("cites"), odb_s("other")));
    assert_ok(
        odb_document_delete(f->db, NULL, odb_s("report"), ODB_CASCADE_EDGES | ODB_MUST_EXIST));
    expect_chunks(odb_now(f->db), "");
    assert_status(odb_record_exists(odb_now(f->db), odb_s("report")), ODB_ABSENT);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("report/a")), ODB_ABSENT);
    expect_vector(f, "report", false);
    expect_vector(f, "report/a", false);
    assert_ok(odb_incoming(odb_now(f->db), odb_s("other"), &edges));
    assert_int_equal(edges.count, 0);
    odb_edge_list_release(&edges);
    assert_ok(odb_outgoing(odb_now(f->db), odb_s("other"), &edges));
    assert_int_equal(edges.count, 0);
    odb_edge_list_release(&edges);
    assert_status(odb_document_delete(f->db, NULL, odb_s("report"), ODB_MUST_EXIST), ODB_ABSENT);
    assert_ok(odb_document_delete(f->db, NULL, odb_s("report"), 0));
    expect_sound(f);
}

static void bad_documents_leave_nothing(void **state)
{
    struct fixture *f = *state;
    const float nan3[3] = {0, NAN, 0};
    odb_document d = report_of("text");
    odb_chunk good = chunk_of("report/a", "x", 0, 1, e1), bad = good;
    odb_chunk two[2] = {good, good};

    store_report(f); /* so that the dimension is known, and what is there can be compared */
    bad.start = 2;
    two[1] = bad;
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1] = good; /* the same id twice */
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1] = chunk_of("report", "x", 0, 1, NULL);
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1] = chunk_of("report/z", "x", 0, 1, nan3);
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1] = chunk_of("report/z", "x", 0, 1, e1);
    two[1].memory.dim = 2;
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1].memory.dim = 3;
    two[1].memory.embedding = NULL;
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1] = chunk_of("", "x", 0, 1, NULL);
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    two[1].size = 1;
    assert_status(odb_document_put(f->db, NULL, &d, two, 2, 0), ODB_INVALID);
    assert_status(odb_document_put(f->db, NULL, &d, NULL, 2, 0), ODB_INVALID);
    assert_status(odb_document_put(f->db, NULL, NULL, NULL, 0, 0), ODB_INVALID);
    assert_status(odb_document_put(f->db, NULL, &d, &good, 1, 0x8000), ODB_INVALID);
    assert_status(odb_document_put(f->db, NULL, &d, &good, 1, ODB_INSERT_ONLY), ODB_EXISTS);
    expect_chunks(odb_now(f->db), "report/b=alpha report/a=beta report/c=gamma");
    assert_status(odb_record_exists(odb_now(f->db), odb_s("report/z")), ODB_ABSENT);
    expect_sound(f);
}

static void a_failed_part_leaves_the_transaction_as_it_was(void **state)
{
    struct fixture *f = *state;
    odb_document d = report_of("new");
    odb_chunk wrong = chunk_of("report/n", "x", 0, 1, e1);
    odb_txn *t;

    store_report(f);
    wrong.memory.dim = 2;
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("mine"), odb_s("1")));
    assert_status(odb_document_put(f->db, t, &d, &wrong, 1, 0), ODB_INVALID);
    expect_chunks(odb_in(t), "report/b=alpha report/a=beta report/c=gamma");
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_text(odb_now(f->db), NULL, "mine", "1");
    expect_chunks(odb_now(f->db), "report/b=alpha report/a=beta report/c=gamma");
    expect_sound(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_document_comes_back_with_its_fields_and_chunks_in_order),
        BOTH(a_new_version_takes_the_place_of_the_old_one_with_all_its_chunks),
        BOTH(deleting_a_document_takes_chunks_vectors_and_edges_along),
        BOTH(bad_documents_leave_nothing),
        BOTH(a_failed_part_leaves_the_transaction_as_it_was),
    };

    return cmocka_run_group_tests_name("memory/document.c", tests, NULL, NULL);
}
