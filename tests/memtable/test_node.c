/* Tests of memtable/node.c: links, places and splits of a single node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memtable/memtable_priv.h"
#include "tests/memtable/keys.h"

static struct run_node *new_node(uint32_t height)
{
    size_t size = run_node_bytes(height);
    struct run_node *n = aligned_alloc(RUN_LINE, size);

    assert_non_null(n);
    memset(n, 0, size);
    n->height = height;
    for (unsigned level = 0; level < height; level++)
        run_link_init(run_link_of(n, level));
    return n;
}

static struct memtable_entry *new_entry(odb_slice key, uint64_t trailer)
{
    size_t size = memtable_entry_bytes(key.size, 0);
    struct memtable_room room = {.at = malloc(size), .left = size, .nodes = 1};
    struct memtable_entry *e;

    assert_non_null(room.at);
    e = memtable_prepare(&room, key, odb_s(""));
    e->trailer = trailer;
    return e;
}

static struct memtable_entry *numbered(unsigned i)
{
    char key[16];

    (void)snprintf(key, sizeof key, "number %04u", i);
    return new_entry(odb_s(key), trailer_make(i + 1, KIND_PUT));
}

static unsigned place_of(const struct run_node *n, const struct memtable_entry *e, bool *same)
{
    struct memtable_probe p = entry_probe(e);

    return run_position(n, atomic_load(&n->count), &p, same);
}

static void put_in(struct run_node *n, struct memtable_entry *e)
{
    unsigned state = run_lock(n);

    run_put_and_unlock(n, state, place_of(n, e, NULL), e);
}

static void free_node(struct run_node *n)
{
    for (unsigned i = 0; i < atomic_load(&n->count); i++)
        free(atomic_load(&n->entry[i]));
    free(n);
}

static void lengths_and_trailer_come_back_from_an_entry(void **state)
{
    uint8_t key[300] = {1, 2, 3};
    struct memtable_room room;
    size_t lens[] = {0, 1, 127, 128, 300};

    (void)state;
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 5; j++) {
            size_t size = memtable_entry_bytes(lens[i], lens[j]);
            uint8_t *raw = malloc(size);
            struct entry e;

            assert_non_null(raw);
            room = (struct memtable_room){.at = raw, .left = size, .nodes = 1};
            e = entry_decode(
                memtable_prepare(&room, odb_bytes(key, lens[i]), odb_bytes(key, lens[j])));
            assert_int_equal(room.left, 0);
            assert_int_equal(e.key_len, lens[i]);
            assert_int_equal(e.value_len, lens[j]);
            assert_memory_equal(e.key, key, lens[i]);
            assert_memory_equal(e.value, key, lens[j]);
            free(raw);
        }
}

static void prefixes_order_like_keys_wherever_they_start(void **state)
{
    struct rnd r = rnd_start("prefix");

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint8_t a[24] = {0}, b[24] = {0};
        size_t a_len = rnd_below(&r, 24), b_len = rnd_below(&r, 24), skip = rnd_below(&r, 26);
        run_word x, y;

        for (size_t k = 0; k < 24; k++) {
            a[k] = (uint8_t)rnd_below(&r, 3);
            b[k] = (uint8_t)(rnd_below(&r, 8) ? a[k] : rnd_below(&r, 256));
        }
        memcpy(b, a, skip < 24 ? skip : 24);
        if (a_len < skip || b_len < skip)
            continue;
        x = run_prefix(a, a_len, skip);
        y = run_prefix(b, b_len, skip);
        assert_true(x == (run_word)(key_prefix(a, a_len, skip) >> (64 - RUN_WORD_BITS)));
        if (x != y)
            assert_true((x < y) == (key_compare(a, a_len, b, b_len) < 0));
    }
}

static void every_entry_is_found_where_it_was_put(void **state)
{
    struct rnd r = rnd_start("node");

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct run_node *n = new_node(1);
        bool is_in[200] = {false}, same;

        for (unsigned count = 0; count < RUN_ENTRIES;) {
            unsigned i = rnd_below(&r, 200);

            if (is_in[i])
                continue;
            put_in(n, numbered(i));
            is_in[i] = true;
            count++;
        }
        for (unsigned i = 0, at = 0; i < 200; i++) {
            struct memtable_entry *e = numbered(i);

            assert_int_equal(place_of(n, e, &same), at);
            assert_int_equal(same, is_in[i]);
            at += is_in[i];
            free(e);
        }
        assert_true(run_check(n));
        free_node(n);
    }
}

static void an_append_leaves_the_version_and_an_insertion_counts_it_up(void **state)
{
    struct run_node *n = new_node(1);
    unsigned seen = run_read_begin(n);

    (void)state;
    put_in(n, numbered(5));
    put_in(n, numbered(7));
    assert_true(run_read_valid(n, seen));
    put_in(n, numbered(6));
    assert_false(run_read_valid(n, seen));
    seen = run_read_begin(n);
    (void)run_lock(n); /* as when a link changes: what readers see stays in order */
    assert_true(run_read_valid(n, seen));
    run_begin_change(n, seen);
    assert_false(run_read_valid(n, seen));
    run_end_change(n, seen);
    assert_false(run_read_valid(n, seen));
    free_node(n);
}

static void a_split_keeps_all_entries_and_links_the_right_half(void **state)
{
    (void)state;
    for (unsigned extra = 0; extra <= RUN_ENTRIES; extra++) { /* the even numbers, and one odd */
        struct run_node *n = new_node(1), *right = new_node(2), *next = new_node(1);
        unsigned seen;

        for (unsigned i = 0; i < RUN_ENTRIES; i++)
            put_in(n, numbered(2 * (i * 37 % RUN_ENTRIES) + 1));
        next->low = numbered(1000);
        put_in(next, (struct memtable_entry *)(uintptr_t)next->low);
        seen = run_lock(n);
        run_link_after(n, 0, next);
        run_split_and_unlock(n, seen, extra, numbered(2 * extra), right);
        assert_false(run_read_valid(n, seen));
        assert_ptr_equal(atomic_load(&n->base.next), right);
        assert_ptr_equal(atomic_load(&right->base.next), next);
        assert_int_equal(atomic_load(&n->count) + atomic_load(&right->count), RUN_ENTRIES + 1);
        assert_true(atomic_load(&n->count) >= RUN_ENTRIES / 2);
        assert_ptr_equal(right->low, atomic_load(&right->entry[0]));
        assert_true(atomic_load(&right->skip) >= 7); /* "number " is common to its fences */
        assert_true(run_check(n) && run_check(right) && run_check(next));
        free_node(n);
        free_node(right);
        free_node(next);
    }
}

/* All pairs and a probe: the link decides as comparing the keys does. */
static void links_decide_as_keys_do(void **state)
{
    struct rnd r = rnd_start("links");

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct memtable_entry *e[3];
        struct run_node *left = new_node(1), *right = new_node(1), *out = NULL;
        enum keys_kind kind = (enum keys_kind)rnd_below(&r, KEYS_KIND_COUNT);
        struct memtable_probe p, q;
        size_t common;
        int order;

        for (uint32_t k = 0; k < 3; k++) {
            uint8_t key[KEYS_LEN_MAX];
            size_t len = keys_make(kind, &r, rnd_below(&r, 9), key);

            e[k] = new_entry(odb_bytes(key, len), trailer_make(k + 1, KIND_PUT));
        }
        q = entry_probe(e[1]);
        if (entry_compare(e[0], &q) > 0) {
            struct memtable_entry *kept = e[0];

            e[0] = e[1];
            e[1] = kept;
        }
        p = entry_probe(e[2]);
        if (entry_compare(e[0], &p) <= 0) {
            left->low = e[0];
            right->low = e[1];
            run_link_after(left, 0, right);
            common = run_common(&p, left->low);
            order = entry_compare(e[1], &p);
            assert_int_equal(run_passes(&left->base, &p, &common, &out), order <= 0);
            if (order <= 0) {
                assert_ptr_equal(out, right);
                assert_int_equal(common, run_common(&p, right->low));
            }
            left->low = NULL; /* from the head it is the same */
            atomic_store(&left->base.next, NULL);
            run_link_after(left, 0, right);
            common = 0;
            assert_int_equal(run_passes(&left->base, &p, &common, &out), order <= 0);
        }
        for (int k = 0; k < 3; k++)
            free(e[k]);
        free(left);
        free(right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_trailer_come_back_from_an_entry),
        cmocka_unit_test(prefixes_order_like_keys_wherever_they_start),
        cmocka_unit_test(every_entry_is_found_where_it_was_put),
        cmocka_unit_test(an_append_leaves_the_version_and_an_insertion_counts_it_up),
        cmocka_unit_test(a_split_keeps_all_entries_and_links_the_right_half),
        cmocka_unit_test(links_decide_as_keys_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
