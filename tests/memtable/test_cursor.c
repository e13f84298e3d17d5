/* Tests of memtable/cursor.c: walks agree with the plain skiplist, whichever way they turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memtable/memtable_priv.h"
#include "tests/lib/test_alloc.h"
#include "tests/memtable/keys.h"

/* The cursor stands on `want`, or nowhere when that is NULL. */
static void stands_on(const struct cursor *c, const struct plain_node *want)
{
    struct entry its;

    assert_int_equal(c->status, ODB_OK);
    assert_int_equal(cursor_valid(c), want != NULL);
    if (!want)
        return;
    its = plain_entry(want);
    assert_true(keys_same_entry(cursor_entry(c), &its));
}

static const struct plain_node *before(const struct plain *l, const struct plain_node *n)
{
    struct entry e = plain_entry(n);

    return plain_seek_before(l, odb_bytes(e.key, e.key_len), e.trailer);
}

static void whole_walks_agree(struct cursor *c, const struct plain *l)
{
    const struct plain_node *n = plain_first(l);
    bool ok = c->ops->first(c);

    for (; ok; ok = cursor_next(c), n = plain_next(n))
        stands_on(c, n);
    assert_null(n);
    stands_on(c, NULL);
    n = plain_last(l);
    for (ok = c->ops->last(c); ok; ok = cursor_prev(c), n = before(l, n))
        stands_on(c, n);
    assert_null(n);
    stands_on(c, NULL);
}

/* Seek somewhere, either way. */
static const struct plain_node *seek_both(struct cursor *c, const struct plain *l, struct rnd *r,
                                          enum keys_kind kind, uint32_t seq)
{
    uint8_t key[KEYS_LEN_MAX];
    odb_slice k = odb_bytes(key, keys_make(kind, r, rnd_below(r, seq + 2), key));
    uint64_t trailer = rnd_below(r, 4) ? trailer_make(rnd_below(r, seq + 2), KIND_PUT) : UINT64_MAX;
    const struct plain_node *n;

    if (rnd_below(r, 3) == 0)
        trailer = 0;
    if (rnd_below(r, 2)) {
        n = plain_seek(l, k, trailer);
        assert_int_equal(c->ops->seek(c, k, trailer), n != NULL);
    } else {
        n = trailer > 0 ? plain_seek_before(l, k, trailer - 1) : plain_seek(l, k, 0);
        if (trailer == 0) { /* the greatest there is for this key: past it, then one back */
            n = n ? before(l, n) : plain_last(l);
        }
        assert_int_equal(c->ops->seek_for_prev(c, k, trailer), n != NULL);
    }
    return n;
}

static void walks_with_turns_agree(void **state)
{
    struct rnd r = rnd_start("cursor");

    (void)state;
    for (int kind = 0; kind < KEYS_KIND_COUNT; kind++) {
        struct plain *l = plain_new();
        struct memtable *m = NULL;
        struct cursor *c = NULL;

        assert_non_null(l);
        assert_int_equal(memtable_new(&m), ODB_OK);
        assert_int_equal(memtable_cursor_new(m, &c), ODB_OK);
        for (uint32_t seq = 1; seq <= 3000; seq++) {
            assert_true(keys_put_both(m, l, (enum keys_kind)kind, &r, seq));
            if ((seq & (seq - 1)) == 0 || seq == 3000)
                whole_walks_agree(c, l);
            for (int seek = 0; seek < 2; seek++) {
                const struct plain_node *n = seek_both(c, l, &r, (enum keys_kind)kind, seq);
                bool is_forward = true;

                stands_on(c, n);
                for (uint32_t step = rnd_below(&r, 60); n && step > 0; step--) {
                    if (rnd_below(&r, 12) == 0)
                        is_forward = !is_forward;
                    n = is_forward ? plain_next(n) : before(l, n);
                    assert_int_equal(is_forward ? cursor_next(c) : cursor_prev(c), n != NULL);
                    stands_on(c, n);
                }
            }
        }
        cursor_free(c);
        memtable_unref(m);
        plain_free(l);
    }
}

/* Entries put in while the cursor stands still: it sees all that were there, in order, and may or
 * may not see the new ones. */
static void a_walk_survives_splits_under_its_feet(void **state)
{
    struct rnd r = rnd_start("splits");
    struct memtable *m = NULL;
    struct cursor *c = NULL;
    uint8_t key[16] = {0};
    uint32_t seen = 0, seq = 0;
    uint64_t last = 0;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    assert_int_equal(memtable_cursor_new(m, &c), ODB_OK);
    for (uint64_t i = 1; i <= 1000; i++) { /* the old ones: multiples of 1000 */
        enc_u64_be(key, i * 1000);
        assert_true(keys_put(m, odb_bytes(key, 8), odb_s("old"), trailer_make(++seq, KIND_PUT)));
    }
    for (bool ok = c->ops->first(c); ok;) {
        const struct entry *e = cursor_entry(c);
        uint64_t at = get_u64_be(e->key);

        assert_true(at > last);
        if (at % 1000 == 0) {
            assert_int_equal(at, ++seen * 1000ul);
            last = at;
        }
        for (int i = 0; i < 30; i++) { /* new ones near by */
            enc_u64_be(key, at / 1000 * 1000 + rnd_below(&r, 3000) * 1000 / 1000 + 1);
            if (get_u64_be(key) % 1000 != 0)
                assert_true(
                    keys_put(m, odb_bytes(key, 8), odb_s("new"), trailer_make(++seq, KIND_PUT)));
        }
        ok = cursor_next(c);
        while (ok && get_u64_be(cursor_entry(c)->key) % 1000 != 0)
            ok = cursor_next(c);
    }
    assert_int_equal(seen, 1000);
    assert_true(memtable_check(m));
    for (bool ok = c->ops->last(c); ok; ok = cursor_prev(c)) {
        if (get_u64_be(cursor_entry(c)->key) % 1000 == 0)
            seen--;
    }
    assert_int_equal(seen, 0);
    cursor_free(c);
    memtable_unref(m);
}

static void an_empty_memtable_has_nowhere_to_stand(void **state)
{
    struct memtable *m = NULL;
    struct cursor *c = NULL;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    assert_int_equal(memtable_cursor_new(m, &c), ODB_OK);
    assert_false(cursor_valid(c));
    assert_false(c->ops->first(c));
    assert_false(c->ops->last(c));
    assert_false(c->ops->seek(c, odb_s(""), UINT64_MAX));
    assert_false(c->ops->seek_for_prev(c, odb_s("\xff"), 0));
    stands_on(c, NULL);
    cursor_free(c);
    memtable_unref(m);
}

static void a_cursor_keeps_its_memtable(void **state)
{
    long alive = test_alloc_alive();
    struct memtable *m = NULL;
    struct cursor *c = NULL;

    (void)state;
    assert_int_equal(memtable_new(&m), ODB_OK);
    assert_true(keys_put(m, odb_s("k"), odb_s("v"), trailer_make(1, KIND_PUT)));
    test_alloc_fail(0, 0);
    assert_int_equal(memtable_cursor_new(m, &c), ODB_NOMEM);
    assert_null(c);
    assert_int_equal(memtable_cursor_new(m, &c), ODB_OK);
    test_alloc_fail(-1, 0);
    memtable_unref(m);
    assert_true(c->ops->first(c));
    assert_int_equal(cursor_entry(c)->key_len, 1);
    cursor_free(c);
    assert_int_equal(test_alloc_alive(), alive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_with_turns_agree),
        cmocka_unit_test(a_walk_survives_splits_under_its_feet),
        cmocka_unit_test(an_empty_memtable_has_nowhere_to_stand),
        cmocka_unit_test(a_cursor_keeps_its_memtable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
