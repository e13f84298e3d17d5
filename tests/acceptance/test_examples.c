/* The six example programs of the original OpenDB, as tests with fixed expectations; over both backends.
 * Texts and numbers are theirs, since the distances follow from them. */
#include "tests/memory/fixture.h"

/* ---- quickstart ---- */

static void quickstart(void **state)
{
    static const float e1[4] = {0.1f, 0.2f, 0.3f, 0.4f}, e2[4] = {0.15f, 0.25f, 0.35f, 0.45f},
                       e3[4] = {0.12f, 0.22f, 0.32f, 0.42f};
    odb_prop p1[] = {odb_prop_text("category", "preference"),
                     odb_prop_text("source", "user_settings")};
    odb_prop p2[] = {odb_prop_text("category", "context"), odb_prop_text("project", "opendb")};
    odb_prop p3[] = {odb_prop_text("category", "question")};
    struct fixture *f = *state;
    odb_memory m[3] = {
        odb_memory_make("memory_001", "The user prefers dark mode for coding"),
        odb_memory_make("memory_002", "The user is working on a Rust database project"),
        odb_memory_make("memory_003", "The user asked about ACID transaction support")};
    const float *e[3] = {e1, e2, e3};
    const float importance[3] = {0.9f, 0.95f, 0.8f};
    const odb_prop *props[3] = {p1, p2, p3};
    const size_t counts[3] = {2, 2, 1};
    odb_similar_list near;
    odb_record_list all;
    odb_prop_value v;
    odb_id_list ids;
    odb_record *r;

    for (int i = 0; i < 3; i++) {
        m[i].embedding = e[i];
        m[i].dim = 4;
        m[i].importance = importance[i];
        m[i].props = props[i];
        m[i].prop_count = counts[i];
        assert_ok(odb_insert_memory(f->db, &m[i]));
    }
    assert_ok(odb_get_memory(f->db, odb_s("memory_001"), &r));
    assert_slice(odb_record_content(r), "The user prefers dark mode for coding");
    assert_true(odb_record_importance(r) == 0.9f);
    assert_true(odb_record_prop(r, odb_s("category"), &v));
    assert_slice(v.u.bytes, "preference");
    assert_true(odb_record_prop(r, odb_s("source"), &v));
    assert_slice(v.u.bytes, "user_settings");
    odb_record_free(r);
    assert_ok(odb_link(f->db, NULL, odb_s("memory_002"), odb_s("related_to"), odb_s("memory_001")));
    assert_ok(odb_link(f->db, NULL, odb_s("memory_003"), odb_s("references"), odb_s("memory_002")));
    assert_ok(odb_get_related(f->db, odb_s("memory_002"), odb_s("related_to"), &ids));
    assert_int_equal(ids.count, 1);
    assert_slice(ids.id[0], "memory_001");
    odb_id_list_release(&ids);
    assert_ok(odb_search_similar(f->db, e1, 4, 2, &near));
    assert_int_equal(near.count, 2);
    assert_slice(near.hit[0].id, "memory_001");
    assert_true(near.hit[0].distance < 1e-6f);
    assert_slice(near.hit[1].id, "memory_003");
    assert_true(fabsf(near.hit[1].distance - 0.04f) < 1e-5f);
    odb_similar_list_release(&near);
    assert_ok(odb_list_memories(f->db, odb_s("memory"), &all));
    assert_int_equal(all.count, 3);
    odb_record_list_release(&all);
    put_text(f, NULL, "config:theme", "dark");
    expect_text(odb_now(f->db), NULL, "config:theme", "dark");
    assert_ok(odb_flush(f->db, NULL));
}

/* ---- memory_agent ---- */

/* The example's stand-in for a model: sums of code points, brought to length 1. */
static void embed(const char *text, float e[384])
{
    float norm = 0;

    memset(e, 0, 384 * sizeof *e);
    for (size_t i = 0; text[i]; i++)
        e[i % 384] += (float)(unsigned char)text[i] / 1000.0f;
    for (size_t i = 0; i < 384; i++)
        norm += e[i] * e[i];
    norm = sqrtf(norm);
    for (size_t i = 0; norm > 0 && i < 384; i++)
        e[i] /= norm;
}

static void expect_search(struct fixture *f, const char *text, const char *const *ids,
                          const float *distances, size_t count)
{
    odb_similar_list near;
    float e[384];

    embed(text, e);
    assert_ok(odb_search_similar(f->db, e, 384, 3, &near));
    assert_int_equal(near.count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_slice(near.hit[i].id, ids[i]);
        if (fabsf(near.hit[i].distance - distances[i]) > 1e-4f)
            fail_msg("%s: distance %f of %s, not %f", text, (double)near.hit[i].distance, ids[i],
                     (double)distances[i]);
    }
    odb_similar_list_release(&near);
}

static void memory_agent(void **state)
{
    static const struct {
        const char *id, *content;
        float importance;
    } said[] = {{"mem_001", "User mentioned they enjoy hiking", 0.7f},
                {"mem_002", "User is a software engineer at TechCorp", 0.9f},
                {"mem_003", "User prefers coffee over tea", 0.5f},
                {"mem_004", "User is learning Rust programming", 0.95f},
                {"mem_005", "User has a dog named Max", 0.6f}};
    /* the third and the fourth are 0.8499 and 0.8500 apart: their order is chance of rounding */
    static const char *const work[] = {"mem_005", "mem_003"};
    static const char *const hobby[] = {"mem_005", "mem_003", "mem_004"};
    static const float work_at[] = {0.7246f, 0.7623f}, hobby_at[] = {0.5773f, 0.6335f, 0.7089f};
    struct fixture *f = *state;
    odb_prop props[] = {odb_prop_text("type", "user_fact"), odb_prop_text("agent", "assistant_v1")};
    odb_scan scan = {.size = sizeof scan};
    odb_filter *important;
    odb_record_iter *it;
    odb_id_list ids;
    odb_record *r;

    for (size_t i = 0; i < 5; i++) {
        odb_memory m = odb_memory_make(said[i].id, said[i].content);
        float e[384];

        embed(said[i].content, e);
        m.embedding = e;
        m.dim = 384;
        m.importance = said[i].importance;
        m.props = props;
        m.prop_count = 2;
        assert_ok(odb_insert_memory(f->db, &m));
    }
    assert_ok(odb_link(f->db, NULL, odb_s("mem_002"), odb_s("related_to"), odb_s("mem_004")));
    assert_ok(odb_link(f->db, NULL, odb_s("mem_001"), odb_s("similar_to"), odb_s("mem_005")));
    expect_search(f, "work and career", work, work_at, 2);
    expect_search(f, "hobbies and interests", hobby, hobby_at, 3);

    assert_ok(odb_filter_parse(odb_s("importance > 0.8"), &important, NULL));
    scan.prefix = odb_s("mem");
    scan.filter = important;
    assert_ok(odb_record_scan(odb_now(f->db), &scan, &it));
    assert_true(odb_record_iter_next(it));
    assert_slice(odb_record_iter_id(it), "mem_002");
    assert_true(odb_record_iter_next(it));
    assert_slice(odb_record_iter_id(it), "mem_004");
    assert_false(odb_record_iter_next(it));
    assert_ok(odb_record_iter_status(it));
    odb_record_iter_free(it);
    odb_filter_free(important);

    assert_ok(odb_get_related(f->db, odb_s("mem_002"), odb_s("related_to"), &ids));
    assert_int_equal(ids.count, 1);
    assert_ok(odb_get_memory(f->db, ids.id[0], &r));
    assert_slice(odb_record_content(r), "User is learning Rust programming");
    odb_record_free(r);
    odb_id_list_release(&ids);
}

/* ---- graph_relations ---- */

static void graph_relations(void **state)
{
    static const char *const concepts[][2] = {
        {"rust", "Rust is a systems programming language"},
        {"memory_safety", "Memory safety without garbage collection"},
        {"ownership", "Ownership system prevents data races"},
        {"borrowing", "Borrowing allows references to data"},
        {"lifetimes", "Lifetimes ensure references are valid"},
    };
    static const char *const edges[][3] = {
        {"rust", "has_feature", "memory_safety"},  {"rust", "has_feature", "ownership"},
        {"ownership", "enables", "memory_safety"}, {"ownership", "includes", "borrowing"},
        {"borrowing", "requires", "lifetimes"},    {"memory_safety", "prevents", "rust"},
    };
    struct fixture *f = *state;
    odb_walk walk = {.size = sizeof walk};
    odb_slice rust = odb_s("rust");
    char with_edges[128] = "";
    odb_edge_list list;
    odb_nodeset *all;
    odb_id_list ids;

    for (size_t i = 0; i < 5; i++) {
        odb_memory m = odb_memory_make(concepts[i][0], concepts[i][1]);
        float e[4];

        for (int k = 0; k < 4; k++)
            e[k] = 0.1f * (float)(i + 1);
        m.embedding = e;
        m.dim = 4;
        m.importance = 0.8f;
        assert_ok(odb_insert_memory(f->db, &m));
    }
    for (size_t i = 0; i < 6; i++)
        assert_ok(
            odb_link(f->db, NULL, odb_s(edges[i][0]), odb_s(edges[i][1]), odb_s(edges[i][2])));
    assert_ok(odb_get_related(f->db, rust, odb_s("has_feature"), &ids));
    assert_int_equal(ids.count, 2);
    assert_slice(ids.id[0], "memory_safety");
    assert_slice(ids.id[1], "ownership");
    odb_id_list_release(&ids);
    assert_ok(odb_get_related(f->db, odb_s("ownership"), odb_s("enables"), &ids));
    assert_int_equal(ids.count, 1);
    assert_slice(ids.id[0], "memory_safety");
    odb_id_list_release(&ids);
    assert_ok(odb_get_outgoing(f->db, odb_s("ownership"), &list));
    assert_int_equal(list.count, 2);
    odb_edge_list_release(&list);
    assert_ok(odb_get_incoming(f->db, odb_s("memory_safety"), &list));
    assert_int_equal(list.count, 2);
    odb_edge_list_release(&list);
    assert_ok(odb_list_memory_ids(f->db, odb_s(""), &ids));
    assert_int_equal(ids.count, 5);
    for (size_t i = 0; i < ids.count; i++) {
        assert_ok(odb_get_outgoing(f->db, ids.id[i], &list));
        if (list.count) {
            strncat(with_edges, ids.id[i].data, ids.id[i].size);
            strcat(with_edges, " ");
        }
        odb_edge_list_release(&list);
    }
    assert_string_equal(with_edges, "borrowing memory_safety ownership rust ");
    odb_id_list_release(&ids);
    assert_ok(
        odb_walk_bfs(odb_now(f->db), &rust, 1, &walk, &all)); /* round the circle, once each */
    assert_int_equal(odb_nodeset_count(all), 5);
    odb_nodeset_free(all);
}

/* ---- multimodal_agent: there it only prints; here it is stored and found ---- */

static odb_document document_of(const char *id, const char *file, uint64_t size, const char *text,
                                float e[384])
{
    odb_document d = odb_document_make(id, file, size, text);

    embed(text, e);
    d.memory.embedding = e;
    d.memory.dim = 384;
    return d;
}

static void multimodal_agent(void **state)
{
    static const struct {
        const char *extension;
        odb_file_type type;
    } types[] = {{"pdf", ODB_FILE_PDF},   {"docx", ODB_FILE_DOCX},      {"mp3", ODB_FILE_AUDIO},
                 {"mp4", ODB_FILE_VIDEO}, {"txt", ODB_FILE_TEXT},       {"wav", ODB_FILE_AUDIO},
                 {"avi", ODB_FILE_VIDEO}, {"unknown", ODB_FILE_UNKNOWN}};
    struct fixture *f = *state;
    float e[384], c[2][384];
    odb_prop when[2] = {odb_prop_text("timestamp", "00:00-02:30"),
                        odb_prop_text("timestamp", "02:30-07:30")};
    odb_document pdf = document_of("doc_001", "research_paper.pdf", 1024 * 500,
                                   "This is extracted text from the PDF.", e);
    odb_document audio;
    odb_chunk chunks[2] = {
        odb_chunk_make("doc_003/0", "Introduction segment discussing AI trends.", 0, 150),
        odb_chunk_make("doc_003/1", "Deep dive into machine learning applications.", 150, 450)};
    odb_similar_list near;
    odb_record_list list;
    odb_prop_value v;
    odb_record *r;

    for (size_t i = 0; i < 8; i++)
        assert_int_equal(odb_file_type_of(odb_s(types[i].extension)), types[i].type);
    assert_ok(odb_document_put(f->db, NULL, &pdf, NULL, 0, 0));
    audio = document_of("doc_003", "podcast_episode.mp3", 1024 * 1024 * 50,
                        "Transcribed audio content.", e);
    for (size_t i = 0; i < 2; i++) {
        embed(chunks[i].memory.content.data, c[i]);
        chunks[i].memory.embedding = c[i];
        chunks[i].memory.dim = 384;
        chunks[i].memory.props = &when[i];
        chunks[i].memory.prop_count = 1;
    }
    assert_ok(odb_document_put(f->db, NULL, &audio, chunks, 2, ODB_INSERT_ONLY));
    fixture_reopen(f);
    assert_ok(odb_get_memory(f->db, odb_s("doc_001"), &r));
    assert_true(odb_record_field(r, ODB_FIELD_FILE_TYPE, &v));
    assert_int_equal(v.u.integer, ODB_FILE_PDF);
    assert_true(odb_record_field(r, ODB_FIELD_FILE_SIZE, &v));
    assert_int_equal(v.u.integer, 1024 * 500);
    odb_record_free(r);
    assert_ok(odb_document_chunks(odb_now(f->db), odb_s("doc_003"), &list));
    assert_int_equal(list.count, 2);
    assert_slice(odb_record_content(list.record[1]),
                 "Deep dive into machine learning applications.");
    assert_true(odb_record_prop(list.record[1], odb_s("timestamp"), &v));
    assert_slice(v.u.bytes, "02:30-07:30");
    odb_record_list_release(&list);
    embed("Deep dive into machine learning applications", e);
    assert_ok(odb_search_similar(f->db, e, 384, 1, &near)); /* across all of them */
    assert_int_equal(near.count, 1);
    assert_slice(near.hit[0].id, "doc_003/1");
    odb_similar_list_release(&near);
}

/* ---- custom_storage: tenants side by side, each in a directory of its own ---- */

static void custom_storage(void **state)
{
    static const char *const tenants[] = {"tenant_a", "tenant_b", "tenant_c"};
    char root[64], dir[3][96];
    odb_db *db[3];

    (void)state;
    fixture_make_dir(root, sizeof root);
    for (int i = 0; i < 3; i++) {
        odb_options o = fixture_options();
        odb_vec_config config = {.size = sizeof config, .dim = (uint32_t)(i + 2)};
        odb_memory m = odb_memory_make("mine", tenants[i]);
        const float e[4] = {1, 0, 0, 0};

        (void)snprintf(dir[i], sizeof dir[i], "%s/%s", root, tenants[i]);
        assert_ok(odb_open(dir[i], &o, &db[i]));
        assert_ok(odb_vec_open(db[i], &config));
        m.embedding = e;
        m.dim = config.dim;
        assert_ok(odb_insert_memory(db[i], &m));
    }
    for (int i = 0; i < 3; i++) {
        odb_record *r;
        odb_id_list ids;

        assert_ok(odb_get_memory(db[i], odb_s("mine"), &r));
        assert_slice(odb_record_content(r), tenants[i]);
        odb_record_free(r);
        assert_ok(odb_list_memory_ids(db[i], odb_s(""), &ids));
        assert_int_equal(ids.count, 1);
        odb_id_list_release(&ids);
        assert_ok(odb_close(db[i]));
        fixture_remove_dir(dir[i]);
    }
    fixture_remove_dir(root);
}

/* ---- database_structure: five records, and a directory that says what it is ---- */

static void database_structure(void **state)
{
    char dir[64], path[96], text[4096];
    odb_options o = fixture_options();
    odb_db *db;
    size_t n;
    FILE *in;

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    assert_ok(odb_open(dir, &o, &db));
    for (int i = 0; i < 5; i++) {
        char id[16];
        odb_memory m;

        (void)snprintf(id, sizeof id, "memory_%d", i);
        m = odb_memory_make(id, "content");
        assert_ok(odb_insert_memory(db, &m));
    }
    assert_ok(odb_close(db));
    (void)snprintf(path, sizeof path, "%s/OPENDB_INFO", dir);
    in = fopen(path, "r");
    assert_non_null(in);
    n = fread(text, 1, sizeof text - 1, in);
    (void)fclose(in);
    text[n] = 0;
    assert_non_null(strstr(text, "OpenDB"));
    fixture_remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(quickstart),
        BOTH(memory_agent),
        BOTH(graph_relations),
        BOTH(multimodal_agent),
        cmocka_unit_test(custom_storage),
        cmocka_unit_test(database_structure),
    };

    return cmocka_run_group_tests_name("the original's examples", tests, NULL, NULL);
}
