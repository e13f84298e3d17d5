/* Edges as bytes: keys keep the order of their names, values trust nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "graph/edge.h"
#include "records/props.h"
#include "tests/base/random.h"

#define assert_slices(a, b) assert_true(odb_slice_equal((a), (b)))

/* Few letters, so that names share prefixes and trip over the escape. */
static odb_slice random_name(struct rnd *r, uint8_t *room, uint32_t max)
{
    static const uint8_t letters[] = {0x00, 0x01, 0x02, 'a', 'd', 0xfe, 0xff};
    uint32_t len = 1 + rnd_below(r, max);

    for (uint32_t i = 0; i < len; i++)
        room[i] = letters[rnd_below(r, sizeof letters)];
    return odb_bytes(room, len);
}

static int compare_names(const struct graph_names *a, const struct graph_names *b)
{
    int c = odb_slice_compare(a->node, b->node);

    c = c ? c : odb_slice_compare(a->rel, b->rel);
    return c ? c : odb_slice_compare(a->other, b->other);
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static void key_comes_back_as_the_names_it_was_made_of(void **state)
{
    struct rnd r = rnd_start("names");
    struct graph_room room = {0};
    uint8_t bytes[3][8];

    (void)state;
    for (int i = 0; i < 100000; i++) {
        struct graph_names in = {random_name(&r, bytes[0], 5), random_name(&r, bytes[1], 4),
                                 random_name(&r, bytes[2], 5)},
                           out;
        struct graph_key key;

        graph_key_edge(&key, in.node, in.rel, in.other);
        assert_int_equal(graph_key_open(graph_key_slice(&key), &room, &out), ODB_OK);
        assert_int_equal(compare_names(&in, &out), 0);
    }
    graph_room_release(&room);
}

static void key_order_is_the_order_of_names(void **state)
{
    struct rnd r = rnd_start("order");
    uint8_t bytes[6][8];

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct graph_names a = {random_name(&r, bytes[0], 3), random_name(&r, bytes[1], 3),
                                random_name(&r, bytes[2], 3)};
        struct graph_names b = {random_name(&r, bytes[3], 3), random_name(&r, bytes[4], 3),
                                random_name(&r, bytes[5], 3)};
        struct graph_key ka, kb, node;

        if (rnd_below(&r, 2)) /* names that differ late */
            b.node = a.node;
        if (rnd_below(&r, 2))
            b.rel = a.rel;
        graph_key_edge(&ka, a.node, a.rel, a.other);
        graph_key_edge(&kb, b.node, b.rel, b.other);
        assert_int_equal(sign(odb_slice_compare(graph_key_slice(&ka), graph_key_slice(&kb))),
                         sign(compare_names(&a, &b)));
        graph_key_node(&node, a.node); /* exactly the keys of the node begin so */
        assert_int_equal(kb.len >= node.len && memcmp(kb.bytes, node.bytes, node.len) == 0,
                         odb_slice_equal(a.node, b.node));
    }
}

static void longest_names_fit_a_key(void **state)
{
    static uint8_t nuls[GRAPH_ID_LEN_MAX + 1];
    odb_slice id = odb_bytes(nuls, GRAPH_ID_LEN_MAX), rel = odb_bytes(nuls, GRAPH_REL_LEN_MAX);
    struct graph_room room = {0};
    struct graph_names n;
    struct graph_key key;

    (void)state;
    graph_key_edge(&key, id, rel, id);
    assert_true(key.len <= GRAPH_KEY_MAX);
    assert_int_equal(graph_key_open(graph_key_slice(&key), &room, &n), ODB_OK);
    assert_slices(n.node, id);
    assert_slices(n.rel, rel);
    assert_slices(n.other, id);
    graph_room_release(&room);
    assert_int_equal(graph_check_id(id, "x"), ODB_OK);
    assert_int_equal(graph_check_id(odb_bytes(nuls, GRAPH_ID_LEN_MAX + 1), "x"), ODB_INVALID);
    assert_int_equal(graph_check_id(odb_bytes(nuls, 0), "x"), ODB_INVALID);
    assert_int_equal(graph_check_id(odb_bytes(NULL, 4), "x"), ODB_INVALID);
    assert_int_equal(graph_check_rel(odb_bytes(nuls, GRAPH_REL_LEN_MAX + 1)), ODB_INVALID);
    assert_int_equal(graph_check_rel(odb_bytes(nuls, 0)), ODB_INVALID);
}

static void key_that_is_no_edge_is_refused(void **state)
{
#define KEY(text)                                                                                  \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    static const odb_slice bad[] = {
        KEY(""),
        KEY("a"),               /* one name */
        KEY("a\0\1"),           /* and its end */
        KEY("a\0\1r"),          /* two names */
        KEY("a\0\1r\0\1"),      /* an empty third */
        KEY("\0\1r\0\1b"),      /* an empty first */
        KEY("a\0\1\0\1b"),      /* an empty second */
        KEY("a\0\1r\0\1b\0\1"), /* a fourth */
        KEY("a\0\2r\0\1b"),     /* an escape that is none */
        KEY("a\0\1r\0\1b\0"),   /* cut within an escape */
        KEY("a\0\1r\0\1b\0\xfe"),
    };
    struct graph_room room = {0};
    struct graph_names n;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(graph_key_open(bad[i], &room, &n), ODB_CORRUPT);
    graph_room_release(&room);
}

static void key_with_too_long_a_name_is_refused(void **state)
{
    static uint8_t key[GRAPH_ID_LEN_MAX + 300];
    struct graph_room room = {0};
    struct graph_names n;

    (void)state;
    memset(key, 'a', sizeof key);
    memcpy(key + GRAPH_ID_LEN_MAX + 1, "\0\1r\0\1b", 6);
    assert_int_equal(graph_key_open(odb_bytes(key, GRAPH_ID_LEN_MAX + 7), &room, &n), ODB_CORRUPT);
    memset(key, 'a', sizeof key);
    memcpy(key + GRAPH_ID_LEN_MAX, "\0\1r\0\1b", 6);
    assert_int_equal(graph_key_open(odb_bytes(key, GRAPH_ID_LEN_MAX + 6), &room, &n), ODB_OK);
    memset(key, 'a', sizeof key);
    memcpy(key + 1, "\0\1", 2);
    memcpy(key + 3 + GRAPH_REL_LEN_MAX + 1, "\0\1b", 3);
    assert_int_equal(graph_key_open(odb_bytes(key, 3 + GRAPH_REL_LEN_MAX + 4), &room, &n),
                     ODB_CORRUPT);
    graph_room_release(&room);
}

/* ---- values ---- */

static size_t good_value(uint8_t *room, bool has_props)
{
    const odb_prop props[] = {odb_prop_int("since", 1999), odb_prop_text("why", "because")};
    struct buf b = {0};
    size_t len;

    graph_value_put(room, 2.5f, -7, has_props);
    if (has_props)
        assert_int_equal(rec_props_append(&b, props, 2), ODB_OK);
    if (b.len)
        memcpy(room + GRAPH_VALUE_MIN, b.p, b.len);
    len = GRAPH_VALUE_MIN + b.len;
    buf_release(&b);
    return len;
}

static void value_comes_back(void **state)
{
    static const int64_t times[] = {0, 1, -1, INT64_MAX, INT64_MIN + 1, 1700000000000000};
    static const float weights[] = {0, 1, -1.5f, 3.4e38f, 1e-45f};
    uint8_t room[200];
    struct graph_value v;
    size_t len = good_value(room, true);

    (void)state;
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_OK);
    assert_true(v.weight >= 2.5f && v.weight <= 2.5f);
    assert_int_equal(v.time_us, -7);
    assert_int_equal(v.props.size, len - GRAPH_VALUE_MIN);
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 5; k++) {
            graph_value_put(room, weights[k], times[i], false);
            assert_int_equal(graph_value_open(odb_bytes(room, GRAPH_VALUE_MIN), &v), ODB_OK);
            assert_memory_equal(&v.weight, &weights[k], sizeof v.weight);
            assert_int_equal(v.time_us, times[i]);
            assert_int_equal(v.props.size, 0);
        }
}

static void value_with_one_lie_is_refused(void **state)
{
    uint8_t room[200];
    struct graph_value v;
    size_t len;

    (void)state;
    len = good_value(room, false);
    room[0] = 0;
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_CORRUPT);
    room[0] = 2; /* of a release to come */
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_VERSION);
    for (unsigned bit = 1; bit < 8; bit++) {
        len = good_value(room, false);
        room[1] = (uint8_t)(1u << bit);
        assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_VERSION);
    }
    len = good_value(room, false);
    room[1] = 1; /* properties that are not there */
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_CORRUPT);
    enc_u32(room + len, 0); /* or are none */
    assert_int_equal(graph_value_open(odb_bytes(room, len + 4), &v), ODB_CORRUPT);
    len = good_value(room, true);
    room[1] = 0; /* bytes that are not accounted for */
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_CORRUPT);
    len = good_value(room, false);
    enc_u32(room + 2, 0x7fc00000); /* not a number */
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_CORRUPT);
    enc_u32(room + 2, 0xff800000); /* minus infinity */
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_CORRUPT);
    len = good_value(room, true);
    enc_u32(room + GRAPH_VALUE_MIN, 3); /* more properties than there are */
    assert_int_equal(graph_value_open(odb_bytes(room, len), &v), ODB_CORRUPT);
    room[len] = 0; /* and a byte too many */
    (void)good_value(room, true);
    assert_int_equal(graph_value_open(odb_bytes(room, len + 1), &v), ODB_CORRUPT);
}

static void every_cut_of_a_value_is_refused(void **state)
{
    uint8_t room[200];
    struct graph_value v;
    size_t len = good_value(room, true);

    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* a step over the end would show */

        assert_non_null(exact);
        memcpy(exact, room, cut);
        assert_int_equal(graph_value_open(odb_bytes(exact, cut), &v), ODB_CORRUPT);
        free(exact);
    }
}

/* Nothing guards a value but the engine's checksums below it; here only that whatever is accepted can be
 * looked into to its last byte. */
static void every_flipped_bit_of_a_value_is_survived(void **state)
{
    uint8_t room[200];
    size_t len = good_value(room, true), refused = 0;

    (void)state;
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct rec_props props = {0};
        struct graph_value v;
        odb_status st;

        room[bit / 8] ^= (uint8_t)(1u << bit % 8);
        st = graph_value_open(odb_bytes(room, len), &v);
        room[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (st != ODB_OK) {
            assert_true(st == ODB_CORRUPT || st == ODB_VERSION);
            refused++;
            continue;
        }
        assert_true(isfinite(v.weight));
        assert_null(rec_props_open(v.props, &props));
        for (uint32_t i = 0; i < props.count; i++) {
            odb_prop p;

            rec_props_at(&props, i, &p);
            assert_true(p.name.size > 0);
        }
    }
    assert_true(refused > len); /* at least the version, the flags and the table are guarded */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_comes_back_as_the_names_it_was_made_of),
        cmocka_unit_test(key_order_is_the_order_of_names),
        cmocka_unit_test(longest_names_fit_a_key),
        cmocka_unit_test(key_that_is_no_edge_is_refused),
        cmocka_unit_test(key_with_too_long_a_name_is_refused),
        cmocka_unit_test(value_comes_back),
        cmocka_unit_test(value_with_one_lie_is_refused),
        cmocka_unit_test(every_cut_of_a_value_is_refused),
        cmocka_unit_test(every_flipped_bit_of_a_value_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
