/* Stretches of deleted keys are leapt over (lsm/gaps.c), and never a key that lives: walks either way,
 * with bounds and of old snapshots, beside puts that fall into a stretch.
 *
 * ODB_TEST_ROUNDS lengthens the random test. */
#include "tests/api/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/base/random.h"

#define KEYS      4000
#define SNAPSHOTS 4

struct picture {
    bool lives[KEYS];
};

struct world {
    struct fixture *f;
    struct rnd r;
    struct picture now;
    odb_snapshot *snap[SNAPSHOTS];
    struct picture then[SNAPSHOTS];
};

static odb_slice key_of(unsigned n, char *room)
{
    (void)snprintf(room, 16, "key%06u", n);
    return odb_s(room);
}

static void world_put(struct world *w, unsigned n)
{
    char key[16];

    assert_ok(odb_put(w->f->db, NULL, key_of(n, key), odb_s("here"), NULL));
    w->now.lives[n] = true;
}

static void world_delete(struct world *w, unsigned from, unsigned count)
{
    char key[16];

    for (unsigned n = from; n < from + count && n < KEYS; n++) {
        assert_ok(odb_delete(w->f->db, NULL, key_of(n, key), NULL));
        w->now.lives[n] = false;
    }
}

static int next_living(const struct picture *p, int n, int end)
{
    while (n < end && !p->lives[n])
        n++;
    return n < end ? n : -1;
}

static int prev_living(const struct picture *p, int n, int begin)
{
    while (n >= begin && !p->lives[n])
        n--;
    return n >= begin ? n : -1;
}

/* The iterator stands on key `want` (-1: nowhere). */
static void expect_key(odb_iter *it, bool ok, int want)
{
    char key[16];

    assert_ok(odb_iter_status(it));
    if (want < 0) {
        assert_false(ok);
        return;
    }
    assert_true(ok);
    assert_slice(odb_iter_key(it), (const char *)key_of((unsigned)want, key).data);
}

static void walk_somewhere(struct world *w)
{
    unsigned at = rnd_below(&w->r, SNAPSHOTS * 2);
    const struct picture *p = at < SNAPSHOTS && w->snap[at] ? &w->then[at] : &w->now;
    odb_at when = p == &w->now ? odb_now(w->f->db) : odb_asof(w->snap[at]);
    int begin = 0, end = KEYS, n = (int)rnd_below(&w->r, KEYS), here;
    char low[16], high[16], key[16];
    odb_range range = {0};
    odb_iter *it;
    bool ok;

    if (rnd_below(&w->r, 2)) {
        begin = (int)rnd_below(&w->r, KEYS);
        range.lower = key_of((unsigned)begin, low);
    }
    if (rnd_below(&w->r, 2)) {
        end = begin + 1 + (int)rnd_below(&w->r, (uint32_t)(KEYS - begin));
        range.upper = key_of((unsigned)end, high);
    }
    assert_ok(odb_iter_new(when, NULL, &range, &it));
    switch (rnd_below(&w->r, 4)) {
    case 0:
        here = next_living(p, begin, end);
        ok = odb_iter_first(it);
        break;
    case 1:
        here = prev_living(p, end - 1, begin);
        ok = odb_iter_last(it);
        break;
    case 2:
        here = next_living(p, n > begin ? n : begin, end);
        ok = odb_iter_seek(it, key_of((unsigned)n, key));
        break;
    default:
        here = prev_living(p, n < end ? n : end - 1, begin);
        ok = odb_iter_seek_for_prev(it, key_of((unsigned)n, key));
        break;
    }
    expect_key(it, ok, here);
    for (unsigned i = rnd_below(&w->r, 12); i > 0 && here >= 0; i--) {
        if (rnd_below(&w->r, 3)) {
            here = next_living(p, here + 1, end);
            ok = odb_iter_next(it);
        } else {
            here = prev_living(p, here - 1, begin);
            ok = odb_iter_prev(it);
        }
        expect_key(it, ok, here);
    }
    odb_iter_free(it);
}

static void change_snapshot(struct world *w)
{
    unsigned at = rnd_below(&w->r, SNAPSHOTS);

    odb_snapshot_free(w->snap[at]);
    w->snap[at] = NULL;
    if (rnd_below(&w->r, 2)) {
        assert_ok(odb_snapshot_new(w->f->db, &w->snap[at]));
        w->then[at] = w->now;
    }
}

static void walks_see_every_living_key(void **state)
{
    const char *more = getenv("ODB_TEST_ROUNDS");
    unsigned rounds = more ? (unsigned)strtoul(more, NULL, 10) : 2500;
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->f = *state;
    w->r = rnd_start("gaps");
    for (unsigned n = 0; n < KEYS; n++)
        world_put(w, n);
    for (unsigned i = 0; i < rounds; i++) {
        switch (rnd_below(&w->r, 16)) {
        case 0: world_delete(w, rnd_below(&w->r, KEYS), 1 + rnd_below(&w->r, 600)); break;
        case 1:
        case 2: world_put(w, rnd_below(&w->r, KEYS)); break;
        case 3:
            if (rnd_below(&w->r, 8) == 0) /* puts that many walks would learn around */
                for (unsigned k = 0; k < 40; k++)
                    world_put(w, rnd_below(&w->r, KEYS));
            break;
        case 4: change_snapshot(w); break;
        case 5:
            if (rnd_below(&w->r, 16) == 0)
                assert_ok(odb_flush(w->f->db, NULL));
            break;
        default: walk_somewhere(w); break;
        }
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        odb_snapshot_free(w->snap[i]);
    free(w);
}

static void seek_expect(odb_at at, unsigned from, bool is_forward, int want)
{
    char key[16];
    odb_iter *it;
    bool ok;

    assert_ok(odb_iter_new(at, NULL, NULL, &it));
    ok = is_forward ? odb_iter_seek(it, key_of(from, key))
                    : odb_iter_seek_for_prev(it, key_of(from, key));
    expect_key(it, ok, want);
    odb_iter_free(it);
}

/* What is dead at one moment may live before and after it. */
static void a_stretch_is_dead_for_its_own_time_only(void **state)
{
    struct fixture *f = *state;
    odb_snapshot *before, *dead;
    char key[16];

    for (unsigned n = 0; n < 1000; n++)
        assert_ok(odb_put(f->db, NULL, key_of(n, key), odb_s("here"), NULL));
    assert_ok(odb_snapshot_new(f->db, &before));
    for (unsigned n = 100; n < 900; n++)
        assert_ok(odb_delete(f->db, NULL, key_of(n, key), NULL));
    assert_ok(odb_snapshot_new(f->db, &dead));
    for (unsigned n = 300; n < 800; n += 100)
        assert_ok(odb_put(f->db, NULL, key_of(n, key), odb_s("again"), NULL));
    for (int round = 0; round < 3; round++) {
        /* The walk of the snapshot begins at the very key that came back, or passes it. */
        seek_expect(odb_asof(dead), 300, true, 900);
        seek_expect(odb_asof(dead), 800, false, 99);
        seek_expect(odb_asof(dead), 150, true, 900);
        seek_expect(odb_asof(dead), 700, true, 900);
        seek_expect(odb_asof(dead), 700, false, 99);
        for (unsigned n = 300; n < 800; n += 100) {
            seek_expect(odb_now(f->db), n - 99, true, (int)n);
            seek_expect(odb_now(f->db), n, true, (int)n);
            seek_expect(odb_now(f->db), n + 99, false, (int)n);
        }
        seek_expect(odb_now(f->db), 701, true, 900);
        seek_expect(odb_now(f->db), 299, false, 99);
        seek_expect(odb_asof(before), 500, true, 500);
        seek_expect(odb_asof(before), 500, false, 500);
        if (round == 1 && f->is_lsm)
            assert_ok(odb_flush(f->db, NULL));
    }
    odb_snapshot_free(before);
    odb_snapshot_free(dead);
}

/* The key without bytes is the easiest to take for none. */
static void the_empty_key_comes_back(void **state)
{
    struct fixture *f = *state;
    odb_slice none = odb_bytes(NULL, 0);
    odb_snapshot *dead;
    char key[16];
    odb_iter *it;

    assert_ok(odb_put(f->db, NULL, none, odb_s("here"), NULL));
    assert_ok(odb_delete(f->db, NULL, none, NULL));
    for (unsigned n = 0; n < 100; n++) {
        assert_ok(odb_put(f->db, NULL, key_of(n, key), odb_s("here"), NULL));
        assert_ok(odb_delete(f->db, NULL, key_of(n, key), NULL));
    }
    assert_ok(odb_snapshot_new(f->db, &dead));
    assert_ok(odb_put(f->db, NULL, none, odb_s("again"), NULL));
    for (int round = 0; round < 3; round++) {
        assert_ok(odb_iter_new(odb_asof(dead), NULL, NULL, &it));
        assert_false(odb_iter_seek(it, none));
        assert_false(odb_iter_last(it));
        odb_iter_free(it);
        assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
        assert_true(odb_iter_seek(it, none));
        assert_slice(odb_iter_key(it), "");
        assert_true(odb_iter_last(it));
        assert_slice(odb_iter_value(it), "again");
        odb_iter_free(it);
    }
    odb_snapshot_free(dead);
}

/* ---- a put beside walks ---- */

#define WRITERS 2
#define WALKERS 2

struct crowd {
    odb_db *db;
    atomic_bool is_over;
    atomic_int wrong;
    int rounds;
};

struct member {
    struct crowd *c;
    unsigned no;
    pthread_t thread;
};

static void crowd_check(struct crowd *c, bool claim, const char *what)
{
    if (!claim && atomic_fetch_add(&c->wrong, 1) == 0)
        fprintf(stderr, "%s; last error: %s\n", what, odb_error_text());
}

/* Whether a walk at this moment that comes from far away stands on exactly this key. */
static bool is_found(struct crowd *c, unsigned n, bool is_forward)
{
    char from[16], key[16];
    odb_slice k = key_of(n, key);
    odb_range range = {0};
    odb_iter *it;
    bool ok;

    if (odb_iter_new(odb_now(c->db), NULL, &range, &it) != ODB_OK)
        return false;
    /* Own keys are even or odd: start behind the other writer's. */
    ok = is_forward ? odb_iter_seek(it, key_of(n - n % 500, from))
                    : odb_iter_seek_for_prev(it, key_of(n - n % 500 + 499, from));
    for (; ok && !odb_slice_equal(odb_iter_key(it), k);
         ok = is_forward ? odb_iter_next(it) : odb_iter_prev(it)) {
    }
    odb_iter_free(it);
    return ok;
}

static void *put_and_look(void *arg)
{
    struct member *m = arg;
    struct crowd *c = m->c;
    struct rnd r = {m->no + 1};

    for (int i = 0; i < c->rounds; i++) {
        unsigned n = rnd_below(&r, KEYS / 2) * 2 + m->no;
        char key[16];

        crowd_check(c, odb_put(c->db, NULL, key_of(n, key), odb_s("here"), NULL) == ODB_OK,
                    "a put failed");
        crowd_check(c, is_found(c, n, i % 2 == 0), "a key just put was not found by a walk");
        crowd_check(c, odb_delete(c->db, NULL, key_of(n, key), NULL) == ODB_OK, "a delete failed");
        crowd_check(c, !is_found(c, n, i % 2 != 0), "a key just deleted was found by a walk");
    }
    return NULL;
}

/* Learn gaps all the time. */
static void *walk_about(void *arg)
{
    struct member *m = arg;
    struct crowd *c = m->c;
    struct rnd r = {m->no + 100};

    while (!atomic_load(&c->is_over)) {
        odb_iter *it;
        char key[16];

        crowd_check(c, odb_iter_new(odb_now(c->db), NULL, NULL, &it) == ODB_OK, "no iterator");
        if (rnd_below(&r, 2))
            for (bool ok = odb_iter_seek(it, key_of(rnd_below(&r, KEYS), key)); ok;)
                ok = odb_iter_next(it);
        else
            for (bool ok = odb_iter_seek_for_prev(it, key_of(rnd_below(&r, KEYS), key)); ok;)
                ok = odb_iter_prev(it);
        crowd_check(c, odb_iter_status(it) == ODB_OK, "a walk failed");
        odb_iter_free(it);
    }
    return NULL;
}

static void a_put_is_seen_by_walks_that_begin_after_it(void **state)
{
    struct fixture *f = *state;
    const char *more = getenv("ODB_TEST_ROUNDS");
    struct crowd c = {.db = f->db, .rounds = more ? (int)strtoul(more, NULL, 10) : 300};
    struct member writer[WRITERS], walker[WALKERS];
    char key[16];

    for (unsigned n = 0; n < KEYS; n++) {
        assert_ok(odb_put(f->db, NULL, key_of(n, key), odb_s("here"), NULL));
        assert_ok(odb_delete(f->db, NULL, key_of(n, key), NULL));
    }
    for (unsigned i = 0; i < WALKERS; i++) {
        walker[i] = (struct member){.c = &c, .no = i};
        assert_int_equal(pthread_create(&walker[i].thread, NULL, walk_about, &walker[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        writer[i] = (struct member){.c = &c, .no = i};
        assert_int_equal(pthread_create(&writer[i].thread, NULL, put_and_look, &writer[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writer[i].thread, NULL), 0);
    atomic_store(&c.is_over, true);
    for (unsigned i = 0; i < WALKERS; i++)
        assert_int_equal(pthread_join(walker[i].thread, NULL), 0);
    assert_int_equal(atomic_load(&c.wrong), 0);
}

/* ---- the point of it all ---- */

/* Seeks into a stretch of dead keys must not walk over them: the later ones take no time to speak of,
 * measured against the first one, which does. */
static void a_second_seek_does_not_walk_over_the_dead(void **state)
{
    struct fixture *f = *state;
    struct timespec a, b;
    double first = 0, rest = 0;
    char key[16];
    odb_iter *it;

    for (unsigned n = 0; n < 30000; n++)
        assert_ok(odb_put(f->db, NULL, key_of(n, key), odb_s("here"), NULL));
    for (unsigned n = 100; n < 29900; n++)
        assert_ok(odb_delete(f->db, NULL, key_of(n, key), NULL));
    for (unsigned i = 0; i <= 50; i++) {
        double took;

        assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        assert_true(odb_iter_seek(it, key_of(200 + i, key)));
        (void)clock_gettime(CLOCK_MONOTONIC, &b);
        assert_slice(odb_iter_key(it), "key029900");
        assert_true(odb_iter_seek_for_prev(it, key_of(29800 - i, key)));
        assert_slice(odb_iter_key(it), "key000099");
        odb_iter_free(it);
        took = (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
        if (i == 0)
            first = took;
        else if (took < rest || i == 1) /* the best one: others may stop us */
            rest = took;
    }
    print_message("first seek %.0f us, a later one %.1f us\n", first / 1e3, rest / 1e3);
    assert_true(rest * 5 < first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(walks_see_every_living_key),
        BOTH(a_stretch_is_dead_for_its_own_time_only),
        BOTH(the_empty_key_comes_back),
        BOTH(a_put_is_seen_by_walks_that_begin_after_it),
        cmocka_unit_test_setup_teardown(a_second_seek_does_not_walk_over_the_dead, fixture_lsm,
                                        fixture_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
