/* Many threads, one handle: batches stay whole, snapshots stay still, values stay put, while memtables
 * are switched, flushed and merged below. Made for the thread sanitizer as much as for its asserts. */
#include "tests/api/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#define WRITERS 2
#define READERS 2
#define PAIRS   64 /* keys; each writer owns its share */

struct stage {
    struct fixture *f;
    odb_cf *left, *right;
    atomic_bool is_over;
    atomic_int failures;
    _Atomic uint64_t commits, reads;
    int rounds;
};

struct actor {
    struct stage *s;
    unsigned id;
    pthread_t thread;
};

/* cmocka's asserts may not be used outside the main thread. */
#define stage_check(s, claim)                                                                      \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "line %d: %s is not so; last error: %s\n", __LINE__, #claim,           \
                    odb_error_text());                                                             \
            atomic_fetch_add(&(s)->failures, 1);                                                   \
        }                                                                                          \
    } while (0)

static odb_slice stage_key(unsigned n, char *room)
{
    (void)snprintf(room, 16, "pair%04u", n);
    return odb_s(room);
}

/* The same number goes to both families, under the same key, in one batch. */
static void *write_pairs(void *arg)
{
    struct actor *a = arg;
    struct stage *s = a->s;
    char key[16], value[300];
    odb_batch *b;

    stage_check(s, odb_batch_new(&b) == ODB_OK);
    memset(value, 'x', sizeof value);
    for (int i = 0; i < s->rounds; i++) {
        unsigned n = (unsigned)i * 7 % (PAIRS / WRITERS) * WRITERS + a->id;
        odb_slice k = stage_key(n, key);

        (void)snprintf(value, sizeof value, "%010d", i);
        odb_batch_clear(b);
        if (i % 11 == 10) {
            stage_check(s, odb_batch_delete(b, s->left, k) == ODB_OK);
            stage_check(s, odb_batch_delete(b, s->right, k) == ODB_OK);
        } else {
            stage_check(s, odb_batch_put(b, s->left, k, odb_bytes(value, sizeof value)) == ODB_OK);
            stage_check(s, odb_batch_put(b, s->right, k, odb_bytes(value, sizeof value)) == ODB_OK);
        }
        stage_check(s, odb_commit(s->f->db, b, NULL) == ODB_OK);
        atomic_fetch_add(&s->commits, 1);
    }
    odb_batch_free(b);
    return NULL;
}

/* At one moment both families hold the same. */
static void compare_sides(struct stage *s, odb_snapshot *snap)
{
    odb_iter *l = NULL, *r = NULL;
    bool lo, ro;

    stage_check(s, odb_iter_new(odb_asof(snap), s->left, NULL, &l) == ODB_OK);
    stage_check(s, odb_iter_new(odb_asof(snap), s->right, NULL, &r) == ODB_OK);
    if (!l || !r) {
        odb_iter_free(l);
        odb_iter_free(r);
        return;
    }
    lo = odb_iter_first(l);
    ro = odb_iter_last(r) && odb_iter_first(r);
    while (lo && ro) {
        stage_check(s, odb_slice_equal(odb_iter_key(l), odb_iter_key(r)));
        stage_check(s, odb_slice_equal(odb_iter_value(l), odb_iter_value(r)));
        lo = odb_iter_next(l);
        ro = odb_iter_next(r);
    }
    stage_check(s, lo == ro);
    stage_check(s, odb_iter_status(l) == ODB_OK && odb_iter_status(r) == ODB_OK);
    odb_iter_free(l);
    odb_iter_free(r);
}

static void *read_pairs(void *arg)
{
    struct actor *a = arg;
    struct stage *s = a->s;
    char key[16], copy[10];
    unsigned n = a->id;

    while (!atomic_load(&s->is_over)) {
        odb_snapshot *snap;
        odb_value v, w;
        odb_status st;

        n = n * 1103515245u + 12345u;
        stage_check(s, odb_snapshot_new(s->f->db, &snap) == ODB_OK);
        st = odb_get(odb_asof(snap), s->left, stage_key(n % PAIRS, key), &v);
        stage_check(s, st == ODB_OK || st == ODB_ABSENT);
        if (st == ODB_OK) {
            memcpy(copy, v.data, sizeof copy);
            stage_check(s, odb_get(odb_asof(snap), s->right, odb_s(key), &w) == ODB_OK);
            stage_check(s, memcmp(w.data, copy, sizeof copy) == 0);
            compare_sides(s, snap);
            stage_check(s, memcmp(v.data, copy, sizeof copy) == 0); /* it has not moved */
            odb_value_release(&w);
            odb_value_release(&v);
        }
        odb_snapshot_free(snap);
        atomic_fetch_add(&s->reads, 1);
    }
    return NULL;
}

static void P04_batches_stay_whole_under_many_threads(void **state)
{
    struct stage s = {.f = *state};
    struct actor actor[WRITERS + READERS];
    const char *ops = getenv("ODB_TEST_OPS");

    s.rounds = ops ? atoi(ops) : 3000;
    s.left = fixture_cf(s.f, "graph_forward");
    s.right = fixture_cf(s.f, "graph_backward");
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        actor[i].s = &s;
        actor[i].id = i < WRITERS ? i : i * 977;
        assert_int_equal(pthread_create(&actor[i].thread, NULL,
                                        i < WRITERS ? write_pairs : read_pairs, &actor[i]),
                         0);
    }
    for (int i = 0; i < 10; i++) { /* upkeep from a third side */
        assert_ok(odb_flush(s.f->db, i % 2 ? s.left : NULL));
        assert_ok(odb_compact(s.f->db, s.right, NULL, NULL, NULL));
    }
    do /* and no look finds damage in what is being written */
        assert_ok(odb_verify(s.f->db, NULL, NULL));
    while (atomic_load(&s.commits) < (uint64_t)s.rounds * WRITERS);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(actor[i].thread, NULL), 0);
    atomic_store(&s.is_over, true);
    for (unsigned i = WRITERS; i < WRITERS + READERS; i++)
        assert_int_equal(pthread_join(actor[i].thread, NULL), 0);
    assert_int_equal(atomic_load(&s.failures), 0);
    assert_int_equal(atomic_load(&s.commits), (uint64_t)s.rounds * WRITERS);
    assert_ok(odb_verify(s.f->db, NULL, NULL));
}

static void *make_and_drop(void *arg)
{
    struct actor *a = arg;
    struct stage *s = a->s;
    char name[32];
    odb_cf *cf;

    for (int i = 0; i < 20; i++) {
        odb_status st;

        (void)snprintf(name, sizeof name, "shared%d", i);
        st = odb_cf_create(s->f->db, name, NULL, &cf);
        if (st == ODB_OK) { /* one of the threads wins each name */
            atomic_fetch_add(&s->commits, 1);
            stage_check(s, odb_put(s->f->db, cf, odb_s("k"), odb_s("v"), NULL) == ODB_OK);
            if (i % 2)
                stage_check(s, odb_cf_drop(s->f->db, cf) == ODB_OK);
        } else {
            stage_check(s, st == ODB_EXISTS);
        }
    }
    return NULL;
}

static void one_of_many_makers_of_a_family_wins(void **state)
{
    struct stage s = {.f = *state};
    struct actor actor[3];
    odb_names names;

    for (unsigned i = 0; i < 3; i++) {
        actor[i].s = &s;
        assert_int_equal(pthread_create(&actor[i].thread, NULL, make_and_drop, &actor[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_join(actor[i].thread, NULL), 0);
    assert_int_equal(atomic_load(&s.failures), 0);
    assert_in_range(atomic_load(&s.commits), 20, 40); /* dropped names may be made again */
    assert_ok(odb_cf_list(s.f->db, &names));
    assert_int_equal(names.count, 7 + 10);
    odb_names_release(&names);
}

/* ---- walks beside writers ---- */

#define WALK_KEYS   48
#define WALK_ROUNDS 3000

struct overwriter {
    odb_db *db;
    unsigned no;
    _Atomic bool *is_over;
    pthread_t thread;
};

static void *overwriter_run(void *arg)
{
    struct overwriter *w = arg;
    char key[8], value[256] = "";

    for (unsigned i = 0; !atomic_load(w->is_over); i++) {
        (void)snprintf(key, sizeof key, "%02u", (i * 7 + w->no * 13) % WALK_KEYS);
        (void)snprintf(value, sizeof value, "%u.%u", i, w->no);
        assert_ok(odb_put(w->db, NULL, odb_s(key), odb_bytes(value, 24 + i % 200), NULL));
    }
    return NULL;
}

/* Memtables fill and are switched all the while: none may be missing from a walk. */
static void P11_a_walk_and_gets_agree_at_one_snapshot(void **state)
{
    struct fixture *f = *state;
    _Atomic bool is_over = false;
    struct overwriter w[3];

    for (unsigned i = 0; i < 3; i++) {
        w[i] = (struct overwriter){.db = f->db, .no = i, .is_over = &is_over};
        assert_int_equal(pthread_create(&w[i].thread, NULL, overwriter_run, &w[i]), 0);
    }
    for (int round = 0; round < WALK_ROUNDS; round++) {
        char seen[WALK_KEYS][24] = {""}, got[24];
        bool forward = round % 2;
        odb_snapshot *s;
        odb_iter *it;

        assert_ok(odb_snapshot_new(f->db, &s));
        assert_ok(odb_iter_new(odb_asof(s), NULL, NULL, &it));
        for (bool ok = forward ? odb_iter_first(it) : odb_iter_last(it); ok;
             ok = forward ? odb_iter_next(it) : odb_iter_prev(it)) {
            const char *digits = odb_iter_key(it).data;

            memcpy(seen[(digits[0] - '0') * 10 + digits[1] - '0'], odb_iter_value(it).data, 24);
        }
        assert_ok(odb_iter_status(it));
        for (int i = 0; i < WALK_KEYS; i++) {
            char key[8];
            size_t size;
            odb_status st;

            memset(got, 0, sizeof got);
            (void)snprintf(key, sizeof key, "%02d", i);
            st = odb_get_into(odb_asof(s), NULL, odb_s(key), got, sizeof got, &size);
            assert_true(st == ODB_OK || st == ODB_ABSENT);
            assert_memory_equal(got, seen[i], sizeof got);
        }
        odb_iter_free(it);
        odb_snapshot_free(s);
    }
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(P04_batches_stay_whole_under_many_threads),
        BOTH(one_of_many_makers_of_a_family_wins),
        BOTH(P11_a_walk_and_gets_agree_at_one_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
