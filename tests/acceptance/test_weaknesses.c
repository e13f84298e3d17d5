/* Weaknesses of the original, W1 to W31, that concern memories as a whole; each a test that it is not
 * here. Those of one model only stand beside it: W3, W4, W18, W19, W23, W28 and W29 in tests/graph/, W2, W6,
 * W8, W9, W20, W22, W23, W28 and W29 in tests/records/. */
#include "tests/memory/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

static const float e1[3] = {1, 0, 0}, e2[3] = {0, 1, 0};

static odb_memory memory_of(const char *id, const char *content, const float *e, uint32_t dim)
{
    odb_memory m = odb_memory_make(id, content);

    m.embedding = e;
    m.dim = dim;
    return m;
}

static void insert(struct fixture *f, const char *id, const float *e)
{
    odb_memory m = memory_of(id, "content", e, 3);

    assert_ok(odb_insert_memory(f->db, &m));
}

/* A record was stored before its embedding was found to be of the wrong length. */
static void W01_a_wrong_dimension_leaves_no_record(void **state)
{
    struct fixture *f = *state;
    odb_memory m = memory_of("wrong", "x", e1, 2);

    insert(f, "right", e1);
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("wrong")), ODB_ABSENT);
    fixture_reopen(f);
    assert_status(odb_record_exists(odb_now(f->db), odb_s("wrong")), ODB_ABSENT);
}

/* Record and vector were two writes. What every commit holds is watched here; that a crash leaves no half
 * is tests/memory/test_kill.c. */
struct watched {
    uint32_t records, vectors; /* numbers of the families */
    int whole, halves;
};

static bool note_family(void *arg, const odb_op *op)
{
    struct watched *now = arg;

    if (op->family == now->records)
        now->whole++;
    if (op->family == now->vectors)
        now->halves++;
    return true;
}

static void watch_commit(void *arg, const odb_commit_info *commit)
{
    struct watched *w = arg, now = *w;

    now.whole = now.halves = 0;
    odb_batch_each(commit->batch, note_family, &now);
    if (now.whole != now.halves)
        w->halves++;
    else if (now.whole)
        w->whole++;
}

static void W02_record_and_vector_are_one_commit(void **state)
{
    struct fixture *f = *state;
    odb_memory m = memory_of("a", "x", e1, 3);
    struct watched w = {0};

    insert(f, "first", e2); /* makes ready what the first use makes */
    w.records = odb_cf_id(fixture_cf(f, "records"));
    w.vectors = odb_cf_id(fixture_cf(f, "vector_data"));
    assert_ok(odb_observe(f->db, watch_commit, &w, NULL));
    assert_ok(odb_insert_memory(f->db, &m));
    assert_ok(odb_delete_memory(f->db, odb_s("a")));
    assert_ok(odb_unobserve(f->db, watch_commit, &w));
    assert_int_equal(w.whole, 2);
    assert_int_equal(w.halves, 0);
    expect_sound(f);
}

/* Another dimension at the next open gave wrong distances. */
static void W05_the_dimension_is_stored_and_checked(void **state)
{
    struct fixture *f = *state;
    odb_vec_config other = {.size = sizeof other, .dim = 4}, unsaid = {.size = sizeof unsaid}, got;
    const float e4[4] = {1, 0, 0, 0};
    odb_memory m = memory_of("b", "x", e4, 4);
    odb_similar_list near;

    insert(f, "a", e1);
    fixture_reopen(f);
    assert_status(odb_vec_open(f->db, &other), ODB_INVALID);
    assert_ok(odb_vec_open(f->db, &unsaid));
    got.size = sizeof got;
    assert_ok(odb_vec_config_get(f->db, &got));
    assert_int_equal(got.dim, 3);
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    assert_status(odb_search_similar(f->db, e4, 4, 1, &near), ODB_INVALID);
}

/* Not-a-number made the order of results arbitrary. */
static void W06_what_is_no_number_is_refused(void **state)
{
    struct fixture *f = *state;
    const float bad[][3] = {{NAN, 0, 0}, {0, INFINITY, 0}, {0, 0, -INFINITY}};
    odb_similar_list near;

    insert(f, "a", e1);
    for (size_t i = 0; i < 3; i++) {
        odb_memory m = memory_of("bad", "x", bad[i], 3);

        assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
        assert_status(odb_search_similar(f->db, bad[i], 3, 1, &near), ODB_INVALID);
    }
    assert_status(odb_record_exists(odb_now(f->db), odb_s("bad")), ODB_ABSENT);
}

/* Deleting left edges that lead nowhere, with no way to ask for more. */
static void W07_dangling_edges_can_be_refused_removed_and_found(void **state)
{
    struct fixture *f = *state;
    odb_edge edge = odb_edge_of(odb_s("a"), odb_s("r"), odb_s("nobody"));
    odb_prune prune = {.size = sizeof prune};

    insert(f, "a", e1);
    insert(f, "b", e2);
    assert_status(odb_link_edge(f->db, NULL, &edge, NULL, 0, ODB_LINK_REQUIRE), ODB_ABSENT);
    assert_ok(odb_link(f->db, NULL, odb_s("a"), odb_s("r"), odb_s("b")));
    assert_ok(odb_link(f->db, NULL, odb_s("b"), odb_s("r"), odb_s("nobody")));
    assert_ok(odb_memory_delete(f->db, NULL, odb_s("a"), ODB_CASCADE_EDGES));
    assert_ok(odb_graph_prune(f->db, &prune));
    assert_int_equal(prune.edges, 1);
    assert_int_equal(prune.removed, 1);
}

/* A transaction's writes did not reach the caches: reads went on with the old value. */
static void W09_reads_see_what_a_transaction_committed(void **state)
{
    struct fixture *f = *state;
    odb_memory m = memory_of("a", "new", e2, 3);
    odb_record *r;
    odb_txn *t;

    put_text(f, NULL, "k", "old");
    insert(f, "a", e1);
    expect_text(odb_now(f->db), NULL, "k", "old");
    expect_nearest(f, e1, "a");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("k"), odb_s("new")));
    assert_ok(odb_memory_put(f->db, t, &m, 0));
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    expect_text(odb_now(f->db), NULL, "k", "new");
    assert_ok(odb_get_memory(f->db, odb_s("a"), &r));
    assert_slice(odb_record_content(r), "new");
    odb_record_free(r);
}

/* A reader that filled the cache late put an old value over a newer one; a rebuild of the vectors that
 * began early hid a newer one (W11), or was not there when it was asked (W11). */
struct churn {
    pthread_t thread;
    odb_db *db;
    atomic_int *done;
};

static void *read_all_the_time(void *arg)
{
    struct churn *c = arg;

    while (!atomic_load(c->done)) {
        odb_similar_list near;
        odb_record *r;
        odb_status st = odb_get_memory(c->db, odb_s("moving"), &r);

        if (st == ODB_OK)
            odb_record_free(r);
        else if (st != ODB_ABSENT)
            return c;
        if (odb_search_similar(c->db, e1, 3, 2, &near) != ODB_OK)
            return c;
        odb_similar_list_release(&near);
    }
    return NULL;
}

static void W10_W11_no_read_brings_back_what_is_gone(void **state)
{
    struct fixture *f = *state;
    atomic_int done = 0;
    struct churn readers[2];

    for (int i = 0; i < 2; i++) {
        readers[i] = (struct churn){.db = f->db, .done = &done};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all_the_time, &readers[i]),
                         0);
    }
    for (int i = 0; i < 300; i++) {
        odb_memory m = memory_of("moving", "x", e1, 3);
        odb_similar_list near;
        odb_record *r;

        m.timestamp = i;
        assert_ok(odb_insert_memory(f->db, &m));
        assert_ok(odb_get_memory(f->db, odb_s("moving"), &r));
        assert_int_equal(odb_record_timestamp(r), i);
        odb_record_free(r);
        assert_ok(odb_search_similar(f->db, e1, 3, 2, &near));
        assert_int_equal(near.count, 1);
        odb_similar_list_release(&near);
        assert_ok(odb_delete_memory(f->db, odb_s("moving")));
        assert_status(odb_get_memory(f->db, odb_s("moving"), &r), ODB_ABSENT);
        assert_ok(odb_search_similar(f->db, e1, 3, 2, &near));
        assert_int_equal(near.count, 0);
        odb_similar_list_release(&near);
    }
    atomic_store(&done, 1);
    for (int i = 0; i < 2; i++) {
        void *failed = f;

        assert_int_equal(pthread_join(readers[i].thread, &failed), 0);
        assert_null(failed);
    }
}

/* Every write threw the index away, and the next search read everything anew. */
static void W12_a_search_after_a_write_reads_no_vector_anew(void **state)
{
    struct fixture *f = *state;
    odb_vec_stats_t before = {.size = sizeof before}, after = {.size = sizeof after};

    for (int i = 0; i < 200; i++) {
        const float e[3] = {(float)i, 1, 0};
        char id[16];

        (void)snprintf(id, sizeof id, "m%03d", i);
        insert(f, id, e);
    }
    expect_nearest(f, (const float[3]){7, 1, 0}, "m007");
    assert_ok(odb_vec_stats(f->db, &before));
    for (int i = 0; i < 20; i++) {
        insert(f, "changing", (const float[3]){(float)i, 2, 0});
        expect_nearest(f, (const float[3]){(float)i, 2, 0}, "changing");
    }
    assert_ok(odb_vec_stats(f->db, &after));
    assert_int_equal(after.rebuilds, before.rebuilds);
}

/* Conflicts came as errors of the storage, after a second of waiting, or not at all: the documented retry
 * loop never ran, and counters lost updates (W13, W14). */
struct counter {
    pthread_t thread;
    odb_db *db;
};

static odb_status count_once(odb_txn *t, void *arg)
{
    char text[16];
    odb_value v;
    odb_status st = odb_get(odb_in(t), NULL, odb_s("counter"), &v);
    int n;

    (void)arg;
    if (st != ODB_OK)
        return st;
    (void)snprintf(text, sizeof text, "%.*s", (int)v.size, (const char *)v.data);
    odb_value_release(&v);
    n = (int)strtol(text, NULL, 10) + 1;
    (void)snprintf(text, sizeof text, "%d", n);
    return odb_txn_put(t, NULL, odb_s("counter"), odb_s(text));
}

static void *count_hundred(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < 100; i++) {
        if (odb_txn_run(c->db, NULL, count_once, NULL, NULL) != ODB_OK)
            return c;
    }
    return NULL;
}

static void W13_W14_the_documented_counter_counts(void **state)
{
    struct fixture *f = *state;
    struct counter counters[4];

    put_text(f, NULL, "counter", "0");
    for (int i = 0; i < 4; i++) {
        counters[i].db = f->db;
        assert_int_equal(pthread_create(&counters[i].thread, NULL, count_hundred, &counters[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed = f;

        assert_int_equal(pthread_join(counters[i].thread, &failed), 0);
        assert_null(failed);
    }
    expect_text(odb_now(f->db), NULL, "counter", "400");
}

/* The snapshot read the present. */
static void W15_a_snapshot_keeps_records_edges_and_vectors(void **state)
{
    struct fixture *f = *state;
    odb_vec_search how = {.size = sizeof how, .k = 2};
    odb_vec_hits *hits;
    odb_snapshot *s;

    insert(f, "a", e1);
    assert_ok(odb_link(f->db, NULL, odb_s("a"), odb_s("r"), odb_s("b")));
    assert_ok(odb_snapshot_new(f->db, &s));
    assert_ok(odb_memory_delete(f->db, NULL, odb_s("a"), ODB_CASCADE_EDGES));
    insert(f, "b", e2);
    assert_ok(odb_record_exists(odb_asof(s), odb_s("a")));
    assert_status(odb_record_exists(odb_asof(s), odb_s("b")), ODB_ABSENT);
    assert_ok(odb_edge_exists(odb_asof(s), odb_s("a"), odb_s("r"), odb_s("b")));
    assert_ok(odb_vec_find(odb_asof(s), e2, 3, &how, &hits));
    assert_int_equal(odb_vec_hits_count(hits), 1);
    assert_slice(odb_vec_hits_at(hits, 0).id, "a");
    odb_vec_hits_free(hits);
    odb_snapshot_free(s);
}

/* A transaction kept the database and its lock alive after the handle was gone. */
static void W16_a_transaction_ends_with_its_own_life(void **state)
{
    struct fixture *f = *state;
    odb_txn *t;

    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("k"), odb_s("v")));
    assert_ok(odb_txn_rollback(t));
    assert_status(odb_txn_put(t, NULL, odb_s("k"), odb_s("v")), ODB_INVALID);
    assert_status(odb_txn_commit(t, NULL), ODB_INVALID);
    odb_txn_free(t);
    fixture_reopen(f); /* at once: nothing holds the lock */
    expect_text(odb_now(f->db), NULL, "k", NULL);
}

/* Reads took a lock to note what was used last, and so stood in line. Here a writer stands still in the
 * middle of its commit until readers have read. */
struct standstill {
    odb_db *db;
    atomic_int reads;
};

static void wait_for_reads(void *arg, const odb_commit_info *commit)
{
    struct standstill *s = arg;

    (void)commit;
    while (atomic_load(&s->reads) < 1000)
        ;
}

static void *read_thousand(void *arg)
{
    struct standstill *s = arg;

    while (atomic_load(&s->reads) < 1000) {
        odb_record *r;

        if (odb_get_memory(s->db, odb_s("a"), &r) != ODB_OK)
            return s;
        odb_record_free(r);
        atomic_fetch_add(&s->reads, 1);
    }
    return NULL;
}

static void W17_readers_wait_for_nobody(void **state)
{
    struct fixture *f = *state;
    struct standstill s = {.db = f->db};
    pthread_t reader;
    void *failed = f;

    if (!f->is_lsm) /* the map in memory has one lock, and says so */
        return;
    insert(f, "a", e1);
    assert_ok(odb_observe(f->db, wait_for_reads, &s, NULL));
    assert_int_equal(pthread_create(&reader, NULL, read_thousand, &s), 0);
    put_text(f, NULL, "k", "v"); /* returns only when the reader has got through */
    assert_int_equal(pthread_join(reader, &failed), 0);
    assert_null(failed);
    assert_ok(odb_unobserve(f->db, wait_for_reads, &s));
    assert_true(atomic_load(&s.reads) >= 1000);
}

/* The embedding was stored twice, in the record too. */
static void W21_a_record_does_not_carry_its_embedding(void **state)
{
    struct fixture *f = *state;
    float e[384] = {1};
    odb_memory m = memory_of("a", "x", e, 384);
    odb_record *r;

    assert_ok(odb_insert_memory(f->db, &m));
    assert_ok(odb_get_memory(f->db, odb_s("a"), &r));
    assert_true(odb_record_has_vector(r));
    assert_true(odb_record_bytes(r).size < 100);
    odb_record_free(r);
}

/* The examples opened with one dimension and inserted another: tests/acceptance/test_examples.c runs
 * them. Here: without a word about the dimension the first vector says it. */
static void W24_the_first_vector_says_the_dimension(void **state)
{
    struct fixture *f = *state;
    odb_vec_config got = {.size = sizeof got};

    assert_ok(odb_vec_config_get(f->db, &got));
    assert_int_equal(got.dim, 0);
    insert(f, "a", e1);
    assert_ok(odb_vec_config_get(f->db, &got));
    assert_int_equal(got.dim, 3);
}

/* The directory given was ignored (W25), and a side file told of families that were not there (W26). */
static void W25_W26_the_directory_holds_what_it_says(void **state)
{
    struct fixture *f = *state;
    char path[128];
    odb_names names;

    if (!f->is_lsm)
        return;
    (void)snprintf(path, sizeof path, "%s/CURRENT", f->dir);
    assert_int_equal(access(path, R_OK), 0);
    (void)snprintf(path, sizeof path, "%s/OPENDB_INFO", f->dir);
    assert_int_equal(access(path, R_OK), 0);
    (void)snprintf(path, sizeof path, "%s/.opendb_config.json", f->dir);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_ok(odb_cf_list(f->db, &names));
    for (size_t i = 0; i < names.count; i++) {
        odb_cf *cf;

        assert_ok(odb_cf_open(f->db, names.name[i], &cf));
    }
    odb_names_release(&names);
}

/* What was set for the database did not reach the column families. */
static void W27_options_reach_every_family(void **state)
{
    struct fixture *f = *state;
    odb_stats_t stats = {.size = sizeof stats};
    char value[1024];

    if (!f->is_lsm)
        return;
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 1000; i++) { /* a megabyte, against write buffers of 128 KiB */
        char key[16];

        (void)snprintf(key, sizeof key, "k%06d", i);
        assert_ok(odb_put(f->db, fixture_cf(f, "metadata"), odb_s(key),
                          odb_bytes(value, sizeof value), NULL));
    }
    assert_ok(odb_wait_idle(f->db));
    assert_ok(odb_stats(f->db, fixture_cf(f, "metadata"), &stats));
    assert_true(stats.flushes > 0);
}

/* Errors were long texts with addresses in them, of one kind for all. */
static void W30_an_error_says_what_and_where(void **state)
{
    struct fixture *f = *state;
    odb_memory m = memory_of("wrong", "x", e1, 2);

    insert(f, "right", e1);
    assert_status(odb_insert_memory(f->db, &m), ODB_INVALID);
    assert_non_null(strchr(odb_error_text(), '2'));
    assert_non_null(strchr(odb_error_text(), '3'));
    assert_null(strstr(odb_error_text(), "http"));
}

/* Sizes were of the width of the machine that wrote them. */
static void W31_sizes_are_64_bits_everywhere(void **state)
{
    struct fixture *f = *state;
    odb_document d = odb_document_make("big", "film.mkv", UINT64_C(5) << 40, "x");
    odb_prop_value v;
    odb_record *r;

    assert_ok(odb_document_put(f->db, NULL, &d, NULL, 0, 0));
    fixture_reopen(f);
    assert_ok(odb_get_memory(f->db, odb_s("big"), &r));
    assert_true(odb_record_field(r, ODB_FIELD_FILE_SIZE, &v));
    assert_true(v.u.integer == INT64_C(5) << 40);
    odb_record_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(W01_a_wrong_dimension_leaves_no_record),
        BOTH(W02_record_and_vector_are_one_commit),
        BOTH(W05_the_dimension_is_stored_and_checked),
        BOTH(W06_what_is_no_number_is_refused),
        BOTH(W07_dangling_edges_can_be_refused_removed_and_found),
        BOTH(W09_reads_see_what_a_transaction_committed),
        BOTH(W10_W11_no_read_brings_back_what_is_gone),
        BOTH(W12_a_search_after_a_write_reads_no_vector_anew),
        BOTH(W13_W14_the_documented_counter_counts),
        BOTH(W15_a_snapshot_keeps_records_edges_and_vectors),
        BOTH(W16_a_transaction_ends_with_its_own_life),
        BOTH(W17_readers_wait_for_nobody),
        BOTH(W21_a_record_does_not_carry_its_embedding),
        BOTH(W24_the_first_vector_says_the_dimension),
        BOTH(W25_W26_the_directory_holds_what_it_says),
        BOTH(W27_options_reach_every_family),
        BOTH(W30_an_error_says_what_and_where),
        BOTH(W31_sizes_are_64_bits_everywhere),
    };

    return cmocka_run_group_tests_name("weaknesses of the original", tests, NULL, NULL);
}
