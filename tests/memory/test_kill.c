/* A process that stores, replaces and deletes memories and documents is killed at a random moment, again
 * and again, in one database. After each death every acknowledged operation is there, records agree with
 * vectors, index rows and edges (W2), and documents are whole.
 *
 * Operation n concerns memory n % MEMORIES, or, each fourth, the document; what it writes says n: the
 * content, the vector, the number of chunks. So what is found says which operation it is from.
 *
 * ODB_TEST_KILLS=N kills more often; the seed is printed, ODB_TEST_SEED=N runs it again.
 */
#include "tests/api/victim.h"
#include "tests/base/random.h"
#include "tests/memory/fixture.h"

#define MEMORIES 7

static bool is_document(uint64_t n)
{
    return n % 4 == 3;
}

static bool is_delete(uint64_t n)
{
    return n % 5 == 4;
}

static size_t chunks_of(uint64_t n)
{
    return n % 6;
}

static const char *memory_id(char room[24], uint64_t n)
{
    (void)snprintf(room, 24, "m%u", (unsigned)(n % MEMORIES));
    return room;
}

static odb_memory memory_of(const char *id, const char *content, const float *e)
{
    odb_memory m = odb_memory_make(id, content);

    m.embedding = e;
    m.dim = 3;
    return m;
}

static odb_status put_document(odb_db *db, const char *content, const float *e, size_t count)
{
    odb_document d = odb_document_make("doc", "doc.txt", 1, content);
    char id[8][24];
    odb_chunk chunks[8];

    d.memory.embedding = e;
    d.memory.dim = 3;
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(id[i], sizeof id[i], "doc/%zu", i);
        chunks[i] = odb_chunk_make(id[i], content, i, i + 1);
        chunks[i].memory.embedding = e;
        chunks[i].memory.dim = 3;
    }
    return odb_document_put(db, NULL, &d, chunks, count, 0);
}

static odb_status do_operation(odb_db *db, uint64_t n)
{
    const float e[3] = {(float)n, 1, 0};
    char id[24], content[24];
    odb_memory m;
    odb_status st;

    (void)snprintf(content, sizeof content, "%llu", (unsigned long long)n);
    if (is_document(n))
        return is_delete(n) ? odb_document_delete(db, NULL, odb_s("doc"), ODB_CASCADE_EDGES)
                            : put_document(db, content, e, chunks_of(n));
    (void)memory_id(id, n);
    if (is_delete(n))
        return odb_memory_delete(db, NULL, odb_s(id), ODB_CASCADE_EDGES);
    m = memory_of(id, content, e);
    st = odb_memory_put(db, NULL, &m, 0);
    return st == ODB_OK ? odb_link(db, NULL, odb_s(id), odb_s("r"), odb_s("doc")) : st;
}

struct work {
    const char *dir;
    uint64_t n; /* the next operation */
};

static odb_status work_for_ever(struct victim *v, void *arg)
{
    const struct work *w = arg;
    odb_options o = fixture_options();
    odb_db *db = NULL;
    odb_status st = odb_open(w->dir, &o, &db);

    for (uint64_t n = w->n; st == ODB_OK && (st = do_operation(db, n)) == ODB_OK; n++)
        victim_ack(v, n);
    return st;
}

/* The operation the record of `id` is from; UINT64_MAX when there is none. Its vector is from the same. */
static uint64_t expect_whole(odb_db *db, const char *id)
{
    odb_status st, of_vector;
    char content[24];
    odb_record *r;
    uint64_t n;
    float e[3];
    uint32_t dim;

    st = odb_get_memory(db, odb_s(id), &r);
    of_vector = odb_vec_get(odb_now(db), odb_s(id), e, 3, &dim);
    assert_status(of_vector, st);
    if (st == ODB_ABSENT)
        return UINT64_MAX;
    assert_ok(st);
    (void)snprintf(content, sizeof content, "%.*s", (int)odb_record_content(r).size,
                   (const char *)odb_record_content(r).data);
    n = strtoull(content, NULL, 10);
    assert_true(odb_record_has_vector(r));
    assert_true(e[0] == (float)n);
    odb_record_free(r);
    return n;
}

static void expect_whole_document(odb_db *db, uint64_t n)
{
    odb_record_list list;

    assert_ok(odb_document_chunks(odb_now(db), odb_s("doc"), &list));
    assert_int_equal(list.count, n == UINT64_MAX ? 0 : chunks_of(n));
    odb_record_list_release(&list);
    for (size_t i = 0; i < 8; i++) {
        uint64_t from;
        char id[24];

        (void)snprintf(id, sizeof id, "doc/%zu", i);
        from = expect_whole(db, id);
        assert_true(from == (n != UINT64_MAX && i < chunks_of(n) ? n : UINT64_MAX));
    }
}

/* The last operation up to `acked` on what `n` concerns. */
static uint64_t last_on_same(uint64_t n, uint64_t acked)
{
    char wanted[24], id[24];
    uint64_t last = UINT64_MAX;

    (void)memory_id(wanted, n);
    for (uint64_t i = acked > 200 ? acked - 200 : 0; i <= acked; i++) {
        if (is_document(i) == is_document(n) &&
            (is_document(n) || strcmp(memory_id(id, i), wanted) == 0))
            last = i;
    }
    return last;
}

/* `found` is from the last acknowledged operation on its memory, or from the one that was under way. */
static void expect_newest(uint64_t found, uint64_t of, uint64_t acked)
{
    uint64_t last = last_on_same(of, acked), under_way = last_on_same(of, acked + 1);
    bool is_last = last == UINT64_MAX || is_delete(last) ? found == UINT64_MAX : found == last;
    bool is_next = is_delete(under_way) ? found == UINT64_MAX : found == under_way;

    if (!is_last && !is_next)
        fail_msg("%llu operations acknowledged, but found is %llu", (unsigned long long)acked,
                 (unsigned long long)found);
}

static void no_death_parts_what_belongs_together(void **state)
{
    uint64_t count = number_of(getenv("ODB_TEST_KILLS"), 25);
    struct rnd rnd = rnd_start("memory_kill");
    odb_options o = fixture_options();
    struct victim *v = victim_new();
    char dir[64];
    struct work w = {.dir = dir};

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    for (uint64_t i = 0; i < count; i++) {
        struct fixture f = {0};
        uint64_t acked, found;

        victim_kill(v, work_for_ever, &w, 1, rnd_below(&rnd, 30000));
        acked = atomic_load(&v->acknowledged);
        assert_ok(odb_open(dir, &o, &f.db));
        expect_sound(&f);
        found = expect_whole(f.db, "doc");
        expect_newest(found, 3, acked);
        expect_whole_document(f.db, found);
        for (uint64_t k = 0; k < MEMORIES; k++) {
            uint64_t of = is_document(k) ? k + MEMORIES : k; /* 3 is a document's, 10 is not */
            char id[24];

            expect_newest(expect_whole(f.db, memory_id(id, of)), of, acked);
        }
        assert_ok(odb_close(f.db));
        w.n = acked + 1; /* whether it got through or not, it may come again */
    }
    assert_true(w.n >= count); /* each lived to do something */
    fixture_remove_dir(dir);
    victim_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_death_parts_what_belongs_together),
    };

    return cmocka_run_group_tests_name("memories and SIGKILL", tests, NULL, NULL);
}
