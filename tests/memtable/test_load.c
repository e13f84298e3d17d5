/* Tests of memtable/load.c: what is loaded is what putting one by one would have given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memtable/load.h"
#include "memtable/memtable_priv.h"
#include "os/os_thread.h"
#include "tests/lib/test_alloc.h"
#include "tests/memtable/keys.h"

#define KEYS_GROUPS KEYS_KIND_COUNT /* five long prefixes, each with keys that differ late */

struct part {
    struct memtable_load *load;
    uint32_t no;
    odb_status st;
};

static void link_one(void *arg)
{
    struct part *p = arg;

    p->st = memtable_load_link(p->load, p->no);
}

/* Link everything, the ranges in threads of their own when `threads`. */
static odb_status link_all(struct memtable_load *l, uint32_t want, bool threads)
{
    uint32_t parts = memtable_load_split(l, want);
    struct part part[MEMTABLE_LOAD_PARTS];
    struct os_thread *thread[MEMTABLE_LOAD_PARTS];
    odb_status st = ODB_OK;

    assert_true(parts <= want);
    for (uint32_t i = 0; i < parts; i++) {
        part[i] = (struct part){l, i, ODB_OK};
        if (threads)
            assert_int_equal(os_thread_start("part", link_one, &part[i], &thread[i]), ODB_OK);
        else
            link_one(&part[i]);
    }
    for (uint32_t i = 0; i < parts; i++) {
        if (threads)
            os_thread_join(thread[i]);
        if (part[i].st != ODB_OK)
            st = part[i].st;
    }
    memtable_load_reset(l);
    return st;
}

static size_t make_key(unsigned kind, struct rnd *r, uint32_t i, uint8_t *key)
{
    if (kind != KEYS_GROUPS)
        return keys_make((enum keys_kind)kind, r, i, key);
    memset(key, 'a' + (int)rnd_below(r, 5), 30);
    memset(key + 30, '-', 20);
    enc_u64_be(key + 50, rnd_below(r, 4000));
    return 58;
}

static void add_both(struct memtable_load *l, struct memtable *m, struct plain *twin, unsigned kind,
                     struct rnd *r, uint32_t seq)
{
    uint8_t key[KEYS_LEN_MAX], value[300];
    odb_slice k = odb_bytes(key, make_key(kind, r, seq, key));
    bool is_delete = rnd_below(r, 8) == 0;
    odb_slice v = odb_bytes(value, is_delete ? 0 : rnd_below(r, 32) ? rnd_below(r, 20) : 300);
    uint64_t trailer = trailer_make(seq, is_delete ? KIND_DELETE : KIND_PUT);

    memset(value, (int)seq, v.size);
    assert_int_equal(memtable_load_add(l, m, k, v, trailer), ODB_OK);
    assert_int_equal(plain_insert(twin, k, v, trailer), ODB_OK);
}

static void both_hold_the_same(struct memtable *m, const struct plain *twin)
{
    const struct plain_node *n = plain_first(twin);
    struct cursor *c = NULL;

    assert_true(memtable_check(m));
    assert_int_equal(memtable_cursor_new(m, &c), ODB_OK);
    for (bool ok = c->ops->first(c); ok; ok = c->ops->next_run(c))
        for (uint32_t i = c->at; i < c->count; i++, n = plain_next(n)) {
            struct entry its;

            assert_non_null(n);
            its = plain_entry(n);
            assert_true(keys_same_entry(&c->run[i], &its));
        }
    assert_null(n);
    cursor_free(c);
}

static void loading_gives_what_putting_would(void **state)
{
    struct rnd r = rnd_start("load");
    long alive = test_alloc_alive();

    (void)state;
    for (unsigned kind = 0; kind <= KEYS_GROUPS; kind++) {
        struct memtable_load l = {0};
        struct memtable *m = NULL;
        struct plain *twin = plain_new();
        uint32_t seq = 0;

        assert_non_null(twin);
        assert_int_equal(memtable_new(&m), ODB_OK);
        for (uint32_t round = 0; round < 6; round++) { /* later rounds go between earlier ones */
            uint32_t count = round == 0 ? 1 + rnd_below(&r, 3) : 1 + rnd_below(&r, 5000);

            for (uint32_t i = 0; i < count; i++)
                add_both(&l, m, twin, kind, &r, ++seq);
            assert_int_equal(memtable_load_count(&l), count);
            assert_int_equal(link_all(&l, 1 + rnd_below(&r, 8), round % 2 == 1), ODB_OK);
            both_hold_the_same(m, twin);
        }
        assert_int_equal(memtable_count(m), seq);
        memtable_load_release(&l);
        memtable_unref(m);
        plain_free(twin);
    }
    assert_int_equal(test_alloc_alive(), alive);
}

static void what_is_not_linked_is_not_found(void **state)
{
    struct memtable_load l = {0};
    struct memtable *m = NULL;
    struct entry e;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    assert_int_equal(memtable_load_split(&l, 8), 0);
    memtable_load_reset(&l);
    assert_int_equal(
        memtable_load_add(&l, m, odb_s("key"), odb_s("value"), trailer_make(1, KIND_PUT)), ODB_OK);
    assert_false(memtable_get(m, odb_s("key"), trailer_at(9), &e));
    assert_int_equal(memtable_count(m), 0);
    assert_int_equal(link_all(&l, 8, false), ODB_OK);
    assert_true(memtable_get(m, odb_s("key"), trailer_at(9), &e));
    assert_int_equal(e.value_len, 5);
    memtable_load_release(&l);
    memtable_unref(m);
}

/* A full node for every 64 entries, as in a memtable that is filled in key order. */
static void nodes_are_full(void **state)
{
    struct rnd r = rnd_start("load full");
    struct memtable_load l = {0};
    struct memtable *m = NULL;
    uint8_t key[16];

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    for (uint32_t seq = 1; seq <= 20000; seq++) {
        size_t len = keys_make(KEYS_RANDOM, &r, seq, key);

        assert_int_equal(
            memtable_load_add(&l, m, odb_bytes(key, len), odb_s("v"), trailer_make(seq, KIND_PUT)),
            ODB_OK);
    }
    assert_int_equal(link_all(&l, 2, true), ODB_OK);
    assert_true(memtable_check(m));
    assert_true(atomic_load(&m->used) <= 20000 / 64 + 8);
    memtable_load_release(&l);
    memtable_unref(m);
}

static void running_out_of_memory_is_a_status(void **state)
{
    struct rnd r = rnd_start("load short");
    long alive = test_alloc_alive();
    long failed = 1;

    (void)state;
    for (long after = 0; failed; after++) {
        struct memtable_load l = {0};
        struct memtable *m = NULL;
        odb_status st = ODB_OK;
        uint8_t key[16];

        assert_int_equal(memtable_new(&m), ODB_OK);
        test_alloc_fail(after, 0);
        for (uint32_t seq = 1; seq <= 3000 && st == ODB_OK; seq++) {
            size_t len = keys_make(KEYS_RANDOM, &r, seq, key);

            st = memtable_load_add(&l, m, odb_bytes(key, len), odb_s("v"),
                                   trailer_make(seq, KIND_PUT));
        }
        if (st == ODB_OK)
            st = link_all(&l, 3, false);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_int_equal(st, failed ? ODB_NOMEM : ODB_OK);
        memtable_load_release(&l);
        memtable_unref(m);
        assert_int_equal(test_alloc_alive(), alive);
        assert_true(after < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_gives_what_putting_would),
        cmocka_unit_test(what_is_not_linked_is_not_found),
        cmocka_unit_test(nodes_are_full),
        cmocka_unit_test(running_out_of_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
