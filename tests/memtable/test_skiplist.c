/* Tests of memtable/skiplist.c: every answer is that of the plain skiplist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memtable/memtable_priv.h"
#include "tests/lib/test_alloc.h"
#include "tests/memtable/keys.h"

static void get_agrees(const struct memtable *m, const struct plain *l, odb_slice key,
                       uint64_t trailer)
{
    struct entry mine, its;
    bool found = plain_get(l, key, trailer, &its);

    assert_int_equal(memtable_get(m, key, trailer, &mine), found);
    if (found)
        assert_true(keys_same_entry(&mine, &its));
}

static void gets_agree_while_it_grows(void **state)
{
    struct rnd r = rnd_start("skiplist");
    long alive = test_alloc_alive();

    (void)state;
    for (int kind = 0; kind < KEYS_KIND_COUNT; kind++) {
        struct memtable *m = NULL;
        struct plain *l = plain_new();

        assert_non_null(l);
        assert_int_equal(memtable_new(&m), ODB_OK);
        for (uint32_t seq = 1; seq <= 12000; seq++) {
            uint8_t key[KEYS_LEN_MAX];

            assert_true(keys_put_both(m, l, (enum keys_kind)kind, &r, seq));
            for (int i = 0; i < 3; i++) {
                size_t len = keys_make((enum keys_kind)kind, &r, rnd_below(&r, seq + 2), key);

                get_agrees(m, l, odb_bytes(key, len), trailer_at(rnd_below(&r, seq + 2)));
            }
            get_agrees(m, l, odb_bytes(key, rnd_below(&r, 8)), trailer_at(SEQ_MAX));
            if ((seq & (seq - 1)) == 0 || seq % 1000 == 0)
                assert_true(memtable_check(m));
        }
        assert_int_equal(memtable_count(m), 12000);
        memtable_unref(m);
        plain_free(l);
    }
    assert_int_equal(test_alloc_alive(), alive);
}

static void the_plain_one_survives_every_failing_allocation(void **state)
{
    static const uint8_t value[3000];
    long failed = 1, n = 0, alive = test_alloc_alive();

    (void)state;
    for (; failed; n++) {
        struct plain *l;
        odb_status st = ODB_NOMEM;
        uint64_t count = 0;

        test_alloc_fail(n, 0);
        l = plain_new();
        if (l)
            for (st = ODB_OK; st == ODB_OK && count < 100; count += st == ODB_OK)
                st = plain_insert(l, odb_s("k"), odb_bytes(value, sizeof value), count + 1);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_int_equal(st, failed ? ODB_NOMEM : ODB_OK);
        for (uint64_t i = 0; i < count; i++) {
            struct entry e;

            assert_true(plain_get(l, odb_s("k"), i + 1, &e));
            assert_int_equal(e.trailer, i + 1);
        }
        plain_free(l);
        assert_int_equal(test_alloc_alive(), alive);
    }
    assert_true(n > 4);
}

static void every_version_is_found_at_its_own_moment(void **state)
{
    struct memtable *m = NULL;
    uint8_t value[8];
    struct entry e;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    for (uint64_t seq = 10; seq < 5000; seq += 10) {
        enc_u64(value, seq);
        assert_true(keys_put(m, odb_s("hot"), odb_bytes(value, 8), trailer_make(seq, KIND_PUT)));
    }
    assert_true(memtable_check(m));
    assert_false(memtable_get(m, odb_s("hot"), trailer_at(9), &e));
    for (uint64_t seq = 10; seq < 5000; seq++) {
        assert_true(memtable_get(m, odb_s("hot"), trailer_at(seq), &e));
        assert_int_equal(trailer_seq(e.trailer), seq / 10 * 10);
        assert_int_equal(get_u64(e.value), seq / 10 * 10);
        assert_false(memtable_get(m, odb_s("ho"), trailer_at(seq), &e));
        assert_false(memtable_get(m, odb_s("hot "), trailer_at(seq), &e));
    }
    memtable_unref(m);
}

static void keys_of_the_greatest_length_are_told_apart(void **state)
{
    uint8_t *key = calloc(1, KEY_LEN_MAX);
    struct memtable *m = NULL;
    struct entry e;

    (void)state;
    assert_non_null(key);
    assert_int_equal(memtable_new(&m), ODB_OK);
    for (uint32_t i = 0; i < 300; i++) { /* they differ in the last byte, in length, in nothing */
        odb_slice k = odb_bytes(key, KEY_LEN_MAX - (i % 3 == 1 ? i : 0));

        key[KEY_LEN_MAX - 1] = (uint8_t)(i % 3 ? 0 : i * 7);
        assert_true(keys_put(m, k, odb_bytes(&i, sizeof i), trailer_make(i + 1, KIND_PUT)));
    }
    assert_true(memtable_check(m));
    for (uint32_t i = 0; i < 300; i++) {
        odb_slice k = odb_bytes(key, KEY_LEN_MAX - (i % 3 == 1 ? i : 0));

        key[KEY_LEN_MAX - 1] = (uint8_t)(i % 3 ? 0 : i * 7);
        assert_true(memtable_get(m, k, trailer_at(i + 1), &e));
        assert_memory_equal(e.value, &i, sizeof i);
        assert_int_equal(e.key_len, k.size);
        assert_memory_equal(e.key, key, k.size);
    }
    memtable_unref(m);
    free(key);
}

static void an_empty_memtable_finds_nothing(void **state)
{
    struct memtable *m = NULL;
    struct entry e;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    assert_false(memtable_get(m, odb_s(""), trailer_at(SEQ_MAX), &e));
    assert_false(memtable_get(m, odb_s("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 0, &e));
    assert_int_equal(memtable_count(m), 0);
    assert_true(memtable_check(m));
    assert_true(keys_put(m, odb_s(""), odb_s("empty"), trailer_make(1, KIND_PUT)));
    assert_true(memtable_get(m, odb_s(""), trailer_at(1), &e));
    assert_int_equal(e.key_len, 0);
    assert_memory_equal(e.value, "empty", 5);
    memtable_unref(m);
}

/* Fill with `kind` and tell how many entries a node holds. */
static double entries_per_node(enum keys_kind kind)
{
    struct rnd r = rnd_start("fill");
    struct plain *l = plain_new();
    struct memtable *m = NULL;
    double fill;

    assert_non_null(l);
    assert_int_equal(memtable_new(&m), ODB_OK);
    for (uint32_t seq = 1; seq <= 20000; seq++)
        assert_true(keys_put_both(m, l, kind, &r, seq));
    assert_true(memtable_check(m));
    fill = 20000.0 / (1 + (double)atomic_load(&m->used));
    memtable_unref(m);
    plain_free(l);
    return fill;
}

static void sequences_leave_nodes_full(void **state)
{
    (void)state;
    assert_true(entries_per_node(KEYS_ASCENDING) > 62);
    assert_true(entries_per_node(KEYS_DESCENDING) > 60);
    assert_true(entries_per_node(KEYS_STREAMS) > 50);
    assert_true(entries_per_node(KEYS_RANDOM) > 40);
}

/* A batch of very many entries does not ask for a node each, and still finds all it needs. */
static void a_large_batch_claims_a_node_for_every_sixteen_entries(void **state)
{
    struct rnd r = rnd_start("batch");
    enum { COUNT = 40000 };
    struct memtable_entry **e = calloc(COUNT, sizeof *e);
    struct memtable *m = NULL;
    struct memtable_room room, other;
    uint8_t key[16];

    (void)state;
    assert_non_null(e);
    assert_int_equal(memtable_new(&m), ODB_OK);
    assert_int_equal(memtable_reserve(m, COUNT * memtable_entry_bytes(16, 3), COUNT, &room),
                     ODB_OK);
    assert_int_equal(memtable_reserve(m, memtable_entry_bytes(16, 3), 1, &other), ODB_OK);
    assert_true(atomic_load(&m->made) <= COUNT / 16 + 8);
    for (uint32_t i = 0; i < COUNT; i++) {
        keys_make(i % 3 ? KEYS_RANDOM : KEYS_STREAMS, &r, i, key);
        e[i] = memtable_prepare(&room, odb_bytes(key, 16), odb_s("abc"));
    }
    assert_int_equal(room.left, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        memtable_insert(m, &room, e[i], trailer_make(i + 1, KIND_PUT));
    memtable_return(m, &room);
    memtable_return(m, &other);
    assert_true(memtable_check(m));
    assert_int_equal(memtable_count(m), COUNT);
    memtable_unref(m);
    free(e);
}

/* The bound the large batch rests on: skiplist.c, "Room". Each kind of key is one order of arrival;
 * the mixture of all is the adversary. */
static void splits_are_never_more_than_a_sixteenth_of_the_entries(void **state)
{
    struct rnd r = rnd_start("splits");
    struct memtable *m = NULL;
    uint8_t key[KEYS_LEN_MAX];
    enum keys_kind kind = KEYS_RANDOM;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    for (uint32_t i = 1; i < 60000; i++) {
        size_t len;

        if (rnd_below(&r, 50) == 0)
            kind = (enum keys_kind)rnd_below(&r, KEYS_KIND_COUNT);
        len = keys_make(kind, &r, i, key);
        assert_true(keys_put(m, odb_bytes(key, len), odb_s(""), trailer_make(i, KIND_PUT)));
        assert_true(atomic_load(&m->used) <= i / 16);
    }
    assert_true(memtable_check(m));
    memtable_unref(m);
}

static void unused_room_is_given_back(void **state)
{
    struct memtable *m = NULL;
    struct memtable_room room;
    size_t made;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(memtable_reserve(m, 64, 4, &room), ODB_OK);
        memtable_return(m, &room);
    }
    made = atomic_load(&m->made);
    assert_true(made <= 8);
    assert_int_equal(atomic_load(&m->reserved), 0);
    assert_int_equal(memtable_count(m), 0);
    memtable_unref(m);
}

static void figures_count_what_was_put(void **state)
{
    struct memtable *m = NULL;
    struct memtable_room room;
    size_t empty;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    empty = memtable_bytes(m);
    assert_true(empty > 0 && empty < 4096);
    assert_int_equal(memtable_reserve(m, 2 * memtable_entry_bytes(3, 4), 2, &room), ODB_OK);
    memtable_insert(m, &room, memtable_prepare(&room, odb_s("key"), odb_s("abcd")),
                    trailer_make(1, KIND_PUT));
    memtable_insert(m, &room, memtable_prepare(&room, odb_s("key"), odb_s("")),
                    trailer_make(2, KIND_DELETE));
    memtable_return(m, &room);
    assert_int_equal(memtable_bytes(m), empty + 2 * memtable_entry_bytes(3, 4));
    assert_int_equal(memtable_count(m), 2);
    assert_int_equal(memtable_deletes(m), 1);
    memtable_unref(m);
}

static void the_last_reference_frees(void **state)
{
    long alive = test_alloc_alive();
    struct memtable *m = NULL;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    memtable_ref(m);
    memtable_unref(m);
    assert_true(test_alloc_alive() > alive);
    memtable_unref(m);
    assert_int_equal(test_alloc_alive(), alive);
    memtable_unref(NULL);
}

/* Every request fails once: a reserve that failed changed nothing, all that succeeded inserts. */
static void want_of_memory_shows_in_reserve_only(void **state)
{
    long alive = test_alloc_alive();
    bool is_done = false;

    (void)state;
    for (long fail = 0; !is_done; fail++) {
        struct memtable *m = NULL;
        uint8_t key[16], value[4000] = {0};
        struct rnd r = {7};
        uint32_t failed = 0, i;

        test_alloc_fail(fail, 0);
        if (memtable_new(&m) != ODB_OK) {
            assert_null(m);
            assert_int_equal(test_alloc_alive(), alive);
            continue;
        }
        for (i = 1; i <= 400; i++) {
            uint64_t trailer = trailer_make(i, KIND_PUT);
            struct entry e;

            keys_make(KEYS_RANDOM, &r, i, key);
            if (!keys_put(m, odb_bytes(key, 16), odb_bytes(value, sizeof value), trailer)) {
                size_t reserved = atomic_load(&m->reserved);

                assert_int_equal(reserved, memtable_count(m));
                assert_false(memtable_get(m, odb_bytes(key, 16), trailer, &e));
                failed++;
                assert_true(keys_put(m, odb_bytes(key, 16), odb_bytes(value, 1), trailer));
            }
            assert_true(memtable_get(m, odb_bytes(key, 16), trailer, &e));
        }
        is_done = test_alloc_requests() <= fail;
        assert_int_equal(failed, !is_done);
        assert_int_equal(memtable_count(m), 400);
        assert_true(memtable_check(m));
        test_alloc_fail(-1, 0);
        memtable_unref(m);
        assert_int_equal(test_alloc_alive(), alive);
    }
}

static void a_batch_without_memory_leaves_the_memtable_as_it_was(void **state)
{
    struct memtable *m = NULL;
    struct memtable_room room;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    test_alloc_fail(0, 1);
    assert_int_equal(memtable_reserve(m, (size_t)1 << 20, 10000, &room), ODB_NOMEM);
    assert_int_equal(memtable_reserve(m, (size_t)1 << 20, 1, &room), ODB_NOMEM);
    test_alloc_fail(-1, 0);
    assert_int_equal(atomic_load(&m->reserved), 0);
    assert_int_equal(memtable_reserve(m, (size_t)1 << 20, 10000, &room), ODB_OK);
    memtable_return(m, &room);
    assert_true(memtable_check(m));
    memtable_unref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gets_agree_while_it_grows),
        cmocka_unit_test(every_version_is_found_at_its_own_moment),
        cmocka_unit_test(keys_of_the_greatest_length_are_told_apart),
        cmocka_unit_test(an_empty_memtable_finds_nothing),
        cmocka_unit_test(sequences_leave_nodes_full),
        cmocka_unit_test(a_large_batch_claims_a_node_for_every_sixteen_entries),
        cmocka_unit_test(splits_are_never_more_than_a_sixteenth_of_the_entries),
        cmocka_unit_test(unused_room_is_given_back),
        cmocka_unit_test(figures_count_what_was_put),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(want_of_memory_shows_in_reserve_only),
        cmocka_unit_test(the_plain_one_survives_every_failing_allocation),
        cmocka_unit_test(a_batch_without_memory_leaves_the_memtable_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
