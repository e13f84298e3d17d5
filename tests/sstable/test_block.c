/* Claims about sstable/block.c. Blocks are opened from heap copies of just their size, so that under
 * the address sanitizer a step outside is seen; answers are compared with a plain sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sstable/block.h"
#include "tests/lib/test_alloc.h"

#define ROWS_MAX    700
#define KEY_ROOM    320
#define GOLDEN_LEN  895
#define GOLDEN_HASH UINT64_C(0x65e61ab264b1391e)

static uint64_t rng;

static uint64_t draw(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * UINT64_C(0x2545f4914f6cdd1d);
}

static uint32_t draw_below(uint32_t n)
{
    return (uint32_t)((draw() >> 32) * n >> 32);
}

static int seed_rng(void **state)
{
    const char *given = getenv("ODB_TEST_SEED");

    (void)state;
    rng = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
    printf("ODB_TEST_SEED=%llu\n", (unsigned long long)rng);
    rng |= 1;
    return 0;
}

/* ---- the model: a sorted array ---- */

struct model_row {
    uint8_t key[KEY_ROOM];
    uint8_t value[400];
    uint32_t key_len;
    uint32_t value_len;
    uint64_t trailer;
};

struct model {
    struct model_row *row;
    uint32_t count;
};

enum shape {
    FIXED_16,       /* random, 16 bytes */
    FIXED_16_EVEN,  /* and values of one length, trailers all the same */
    DECIMAL,        /* user%012d */
    RANDOM_LENGTHS, /* 0 to 300 bytes */
    LONG_COMMON,    /* 100 bytes in common, short tails of different lengths */
    ZERO_TAILS,     /* prefixes of one another, with zero bytes */
    SAME_PREFIX,    /* equal over common + 8, told apart behind it */
    ONE_KEY,        /* many versions of one */
    FEW_KEYS,       /* a few keys with many versions each */
    SHORT_KEYS,     /* 0 to 3 bytes of few letters */
    COUNTING,       /* sequential keys, sequence numbers that count up */
    SHAPES,
};

static int compare_rows(const void *a, const void *b)
{
    const struct model_row *x = a, *y = b;

    return ikey_compare(x->key, x->key_len, x->trailer, y->key, y->key_len, y->trailer);
}

static void fill_random(uint8_t *p, uint32_t n, uint32_t letters)
{
    for (uint32_t i = 0; i < n; i++)
        p[i] = (uint8_t)draw_below(letters);
}

static void draw_key(enum shape shape, uint32_t i, struct model_row *r)
{
    switch (shape) {
    case FIXED_16:
    case FIXED_16_EVEN:
        r->key_len = 16;
        fill_random(r->key, 16, 256);
        break;
    case DECIMAL:
        r->key_len =
            (uint32_t)snprintf((char *)r->key, KEY_ROOM, "user%012u", draw_below(1u << 30));
        break;
    case RANDOM_LENGTHS:
        r->key_len = draw_below(301);
        fill_random(r->key, r->key_len, draw_below(2) ? 2 : 256);
        break;
    case LONG_COMMON:
        memset(r->key, 'c', 100);
        r->key_len = 100 + draw_below(14);
        fill_random(r->key + 100, r->key_len - 100, 3);
        break;
    case ZERO_TAILS:
        memset(r->key, 0, KEY_ROOM);
        memcpy(r->key, "abc", 3);
        r->key_len = 3 + draw_below(30);
        if (draw_below(4) == 0 && r->key_len > 3)
            r->key[3 + draw_below(r->key_len - 3)] = 1;
        break;
    case SAME_PREFIX:
        memset(r->key, 'p', 12);
        r->key_len = 12 + 4 + draw_below(20);
        memset(r->key + 12, 'q', 4);
        r->key[11] = (uint8_t)('p' + draw_below(2));
        fill_random(r->key + 16, r->key_len - 16, 3);
        break;
    case ONE_KEY:
        r->key_len = 21;
        memcpy(r->key, "the one and only key!", 21);
        break;
    case FEW_KEYS:
        r->key_len = (uint32_t)snprintf((char *)r->key, KEY_ROOM, "few keys, many versions %u",
                                        draw_below(5) * 37);
        break;
    case SHORT_KEYS:
        r->key_len = draw_below(4);
        fill_random(r->key, r->key_len, 3);
        break;
    default: r->key_len = (uint32_t)snprintf((char *)r->key, KEY_ROOM, "%010u", i + 1000000); break;
    }
}

static void model_release(struct model *m)
{
    free(m->row);
    m->row = NULL;
}

static struct model draw_model(enum shape shape, uint32_t count)
{
    struct model m = {calloc(count, sizeof *m.row), count};
    uint32_t kept = 1;

    assert_non_null(m.row);
    for (uint32_t i = 0; i < count; i++) {
        struct model_row *r = &m.row[i];
        uint64_t seq = shape == COUNTING || shape == ONE_KEY ? 5000 + i : draw_below(1u << 22);

        draw_key(shape, i, r);
        r->trailer = shape == FIXED_16_EVEN
                         ? trailer_make(0, KIND_PUT)
                         : trailer_make(seq, draw_below(8) ? KIND_PUT : KIND_DELETE);
        if (shape == COUNTING)
            r->trailer = trailer_make(seq, KIND_PUT);
        r->value_len = shape == FIXED_16_EVEN ? 100 : shape == ONE_KEY ? 3 : draw_below(120);
        fill_random(r->value, r->value_len, 256);
    }
    qsort(m.row, count, sizeof *m.row, compare_rows);
    for (uint32_t i = 1; i < count; i++)
        if (compare_rows(&m.row[kept - 1], &m.row[i]) != 0)
            m.row[kept++] = m.row[i];
    m.count = kept;
    return m;
}

static uint32_t model_seek(const struct model *m, odb_slice key, uint64_t trailer)
{
    uint32_t i = 0;

    while (i < m->count &&
           ikey_compare(m->row[i].key, m->row[i].key_len, m->row[i].trailer,
                        key.size ? key.data : (const void *)"", key.size, trailer) < 0)
        i++;
    return i;
}

static uint32_t model_find(const struct model *m, odb_slice key, uint64_t trailer)
{
    uint32_t i = model_seek(m, key, trailer);

    return i < m->count && odb_slice_equal(odb_bytes(m->row[i].key, m->row[i].key_len), key)
               ? i
               : m->count;
}

/* ---- building and opening ---- */

static odb_status build_into(struct block_builder *b, const struct model *m, struct buf *out)
{
    odb_status st = ODB_OK;

    for (uint32_t i = 0; i < m->count && st == ODB_OK; i++) {
        const struct model_row *r = &m->row[i];
        struct entry e = {r->key, r->value, r->key_len, r->value_len, r->trailer};

        st = block_builder_add(b, &e, hash64(r->key, r->key_len));
    }
    return st == ODB_OK ? block_builder_finish(b, out) : st;
}

/* The block in a heap copy of its size; the caller frees it. */
static uint8_t *build(const struct model *m, size_t *len)
{
    struct block_builder *b;
    struct buf out = {0};
    uint8_t *copy;

    assert_int_equal(block_builder_new(&b), ODB_OK);
    assert_int_equal(build_into(b, m, &out), ODB_OK);
    copy = malloc(out.len);
    assert_non_null(copy);
    memcpy(copy, out.p, out.len);
    *len = out.len;
    buf_release(&out);
    block_builder_free(b);
    return copy;
}

static uint8_t *copy_of(const uint8_t *p, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, p, len);
    return copy;
}

static void check_rows(const struct model *m, const struct block *b, uint32_t first, uint32_t n)
{
    uint32_t key_max = block_key_max(b);
    struct entry *e = malloc(n * sizeof *e + 1);
    size_t room = (size_t)n * key_max;
    uint8_t *keys = malloc(room ? room : 1);

    assert_true(e && keys);
    block_decode(b, first, n, e, keys);
    for (uint32_t i = 0; i < n; i++) {
        const struct model_row *r = &m->row[first + i];

        assert_int_equal(e[i].key_len, r->key_len);
        assert_memory_equal(e[i].key, r->key, r->key_len);
        assert_int_equal(e[i].value_len, r->value_len);
        assert_memory_equal(e[i].value, r->value, r->value_len);
        assert_true(e[i].trailer == r->trailer);
    }
    free(e);
    free(keys);
}

static void check_each_row(const struct model *m, const struct block *b)
{
    uint32_t longest = 0;
    uint8_t *key = malloc(block_key_max(b) + !block_key_max(b));

    assert_int_equal(b->count, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_row *r = &m->row[i];

        assert_int_equal(block_key(b, i, key), r->key_len);
        assert_memory_equal(key, r->key, r->key_len);
        assert_true(block_trailer(b, i) == r->trailer);
        assert_true(odb_slice_equal(block_value(b, i), odb_bytes(r->value, r->value_len)));
        longest = r->key_len > longest ? r->key_len : longest;
    }
    assert_int_equal(block_key_max(b), longest);
    free(key);
}

static void ask(const struct model *m, const struct block *b, const uint8_t *key, size_t len,
                uint64_t trailer)
{
    uint8_t *exact = copy_of(key, len); /* not a byte behind it may be read */
    odb_slice k = odb_bytes(len ? exact : NULL, len);

    assert_int_equal(block_seek(b, k, trailer), model_seek(m, k, trailer));
    assert_int_equal(block_find(b, k, hash64(exact, len), trailer), model_find(m, k, trailer));
    free(exact);
}

static void ask_around(const struct model *m, const struct block *b, const struct model_row *r)
{
    const uint64_t at[] = {0, r->trailer - 1, r->trailer, r->trailer + 1, UINT64_MAX};
    uint8_t key[KEY_ROOM + 1];

    for (size_t t = 0; t < sizeof at / sizeof at[0]; t++) {
        memcpy(key, r->key, r->key_len);
        ask(m, b, key, r->key_len, at[t]);
        key[r->key_len] = 0;
        ask(m, b, key, r->key_len + 1, at[t]);
        key[r->key_len] = 0xff;
        ask(m, b, key, r->key_len + 1, at[t]);
        if (r->key_len == 0)
            continue;
        ask(m, b, key, r->key_len - 1, at[t]);
        key[r->key_len - 1]++;
        ask(m, b, key, r->key_len, at[t]);
        key[r->key_len - 1] -= 2;
        ask(m, b, key, r->key_len, at[t]);
        key[draw_below(r->key_len)] ^= (uint8_t)(1u << draw_below(8));
        ask(m, b, key, r->key_len, at[t]);
        ask(m, b, key, draw_below(r->key_len), at[t]);
    }
}

/* Turned, a block holds the same bytes elsewhere, and turned back it is what it was. */
static void check_turning(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = copy_of(bytes, len);

    assert_true(block_turn(copy, len, false));
    assert_memory_equal(copy, bytes, 64); /* the header says what lies where */
    assert_true(block_turn(copy, len, true));
    assert_memory_equal(copy, bytes, len);
    free(copy);
}

static void check_model(const struct model *m, uint32_t asked)
{
    size_t len;
    uint8_t *bytes = build(m, &len);
    struct block b;

    check_turning(bytes, len);
    assert_true(block_open(bytes, len, &b));
    check_each_row(m, &b);
    check_rows(m, &b, 0, m->count);
    for (int i = 0; i < 8; i++) {
        uint32_t first = draw_below(m->count);

        check_rows(m, &b, first, draw_below(m->count - first + 1));
    }
    for (uint32_t i = 0; i < asked; i++)
        ask_around(m, &b, &m->row[m->count <= asked ? i % m->count : draw_below(m->count)]);
    ask(m, &b, (const uint8_t *)"", 0, UINT64_MAX);
    ask(m, &b, (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, 0);
    free(bytes);
}

/* ---- good blocks ---- */

static void every_row_of_every_key_shape_comes_back(void **state)
{
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++)
        for (int round = 0; round < 12; round++) {
            struct model m =
                draw_model((enum shape)shape, 1 + draw_below(round < 8 ? 70 : ROWS_MAX));

            check_model(&m, 40);
            model_release(&m);
        }
}

/* 130 rows of keys that are numbers, so that cells are turned in two pieces; and three, whose table is. */
static void turned_cells_lie_byte_by_byte(void **state)
{
    struct model m = {calloc(130, sizeof *m.row), 130};
    uint8_t *bytes, *turned;
    struct block b;
    size_t len, at;

    (void)state;
    assert_non_null(m.row);
    for (uint32_t i = 0; i < m.count; i++) {
        m.row[i].key_len = 8;
        m.row[i].key[0] = (uint8_t)(i / 2); /* nothing is common */
        m.row[i].key[7] = (uint8_t)(255 - i);
        m.row[i].trailer = trailer_make(7, KIND_PUT);
    }
    qsort(m.row, m.count, sizeof *m.row, compare_rows);
    bytes = build(&m, &len);
    turned = copy_of(bytes, len);
    assert_true(block_open(bytes, len, &b));
    assert_true(block_turn(turned, len, false));
    at = (size_t)(b.prefix - bytes);
    for (uint32_t i = 0; i < m.count; i++) {
        size_t piece = at + (i < 128 ? 0 : 128 * 8), rows = i < 128 ? 128 : 2;

        for (size_t k = 0; k < 8; k++)
            assert_int_equal(turned[piece + k * rows + i % 128], m.row[i].key[k]);
    }
    free(turned);
    free(bytes);

    m.count = 3;
    bytes = build(&m, &len);
    turned = copy_of(bytes, len);
    assert_true(block_open(bytes, len, &b));
    assert_true(block_turn(turned, len, false));
    at = (size_t)(b.hash - bytes);
    for (uint8_t i = 0; i < 3; i++)
        assert_int_equal(b.hash[turned[at + i]], i);
    for (size_t i = 3; i <= b.hash_mask; i++)
        assert_int_equal(turned[at + i], 0xff);
    free(turned);
    free(bytes);
    model_release(&m);
}

/* Columns that would reach behind the block are not turned back. */
static void what_does_not_fit_is_not_turned(void **state)
{
    uint8_t head[64 + 8 * 3] = {[0] = 1, [4] = 3};

    (void)state;
    assert_false(block_turn(head, 63, true));
    assert_true(block_turn(head, sizeof head, true)); /* three prefixes, and no more */
    assert_false(block_turn(head, sizeof head - 1, true));
    head[12] = 9; /* no cell is so wide */
    assert_false(block_turn(head, sizeof head, true));
    head[12] = 0;
    head[7] = 0xff; /* four thousand million rows */
    assert_false(block_turn(head, sizeof head, true));
}

static void groups_end_where_they_must(void **state)
{
    static const uint32_t counts[] = {1, 2, 15, 16, 17, 31, 32, 33, 254, 255, 256, 257};

    (void)state;
    for (int shape = 0; shape < SHAPES; shape++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            struct model m = draw_model((enum shape)shape, counts[i]);

            check_model(&m, 8);
            model_release(&m);
        }
}

static void rows_without_key_or_value_bytes_work(void **state)
{
    struct model_row row = {.key_len = 0, .value_len = 0, .trailer = trailer_make(7, KIND_DELETE)};
    struct model m = {&row, 1};

    (void)state;
    check_model(&m, 1);
}

static void a_giant_row_comes_back(void **state)
{
    const uint32_t value_len = 5u << 20;
    uint8_t *key = malloc(KEY_LEN_MAX), *value = malloc(value_len);
    uint8_t *back = malloc(KEY_LEN_MAX), *bytes;
    struct block_builder *b;
    struct buf out = {0};
    struct block view;

    (void)state;
    fill_random(key, KEY_LEN_MAX, 256);
    fill_random(value, value_len, 256);
    assert_int_equal(block_builder_new(&b), ODB_OK);
    for (uint32_t rows = 1; rows <= 2; rows++) {
        out.len = 0;
        for (uint32_t i = 0; i < rows; i++) {
            struct entry e = {key, value, KEY_LEN_MAX, value_len - i, trailer_make(9, KIND_PUT)};

            key[KEY_LEN_MAX - 1] = (uint8_t)i;
            assert_int_equal(block_builder_add(b, &e, hash64(key, KEY_LEN_MAX)), ODB_OK);
        }
        assert_int_equal(block_builder_finish(b, &out), ODB_OK);
        bytes = copy_of(out.p, out.len);
        assert_true(block_open(bytes, out.len, &view));
        assert_int_equal(block_key_max(&view), KEY_LEN_MAX);
        assert_int_equal(block_key(&view, rows - 1, back), KEY_LEN_MAX);
        assert_memory_equal(back, key, KEY_LEN_MAX);
        assert_int_equal(
            block_find(&view, odb_bytes(key, KEY_LEN_MAX), hash64(key, KEY_LEN_MAX), UINT64_MAX),
            rows - 1);
        assert_true(odb_slice_equal(block_value(&view, 0), odb_bytes(value, value_len)));
        free(bytes);
    }
    buf_release(&out);
    block_builder_free(b);
    free(key);
    free(value);
    free(back);
}

static void more_rows_than_the_table_can_number_are_searched(void **state)
{
    const uint32_t n = 66000;
    uint8_t key[4], *bytes;
    struct block_builder *b;
    struct buf out = {0};
    struct block view;

    (void)state;
    assert_int_equal(block_builder_new(&b), ODB_OK);
    for (uint32_t i = 0; i < n; i++) {
        struct entry e = {key, NULL, 4, 0, trailer_make(1, KIND_PUT)};

        key[0] = (uint8_t)(i >> 16);
        key[1] = (uint8_t)(i >> 8);
        key[2] = (uint8_t)i;
        key[3] = 0;
        assert_int_equal(block_builder_add(b, &e, hash64(key, 4)), ODB_OK);
    }
    assert_int_equal(block_builder_finish(b, &out), ODB_OK);
    bytes = copy_of(out.p, out.len);
    assert_true(block_open(bytes, out.len, &view));
    for (uint32_t i = 0; i < n; i += 97) {
        key[0] = (uint8_t)(i >> 16);
        key[1] = (uint8_t)(i >> 8);
        key[2] = (uint8_t)i;
        key[3] = 0;
        assert_int_equal(block_find(&view, odb_bytes(key, 4), hash64(key, 4), UINT64_MAX), i);
        key[3] = 1;
        assert_int_equal(block_find(&view, odb_bytes(key, 4), hash64(key, 4), UINT64_MAX), n);
        assert_int_equal(block_seek(&view, odb_bytes(key, 4), 0), i + 1);
    }
    free(bytes);
    buf_release(&out);
    block_builder_free(b);
}

static void even_rows_cost_no_columns(void **state)
{
    struct model m = draw_model(FIXED_16_EVEN, 35);
    size_t len;
    uint8_t *bytes = build(&m, &len);
    uint32_t common = (uint32_t)key_common(m.row[0].key, 16, m.row[34].key, 16);

    (void)state;
    assert_int_equal(m.count, 35);
    /* Header, prefixes, 64 slots, keys behind the prefixes, values. */
    assert_int_equal(len, 64 + 35 * 8 + 64 + common + 35 * (8 - common) + 35 * 100);
    free(bytes);
    model_release(&m);
}

static void equal_rows_give_equal_bytes_on_every_machine(void **state)
{
    struct block_builder *b;
    struct buf out = {0};
    char key[32], value[32];

    (void)state;
    assert_int_equal(block_builder_new(&b), ODB_OK);
    for (int round = 0; round < 2; round++) { /* a builder used before makes no difference */
        out.len = 0;
        for (unsigned i = 0; i < 40; i++) {
            int key_len =
                snprintf(key, sizeof key, "key/%04u/%.*s", i / 2 * 7, (int)(i / 2 % 5), "tail");
            int value_len = snprintf(value, sizeof value, "value %u", i * i);
            struct entry e = {(uint8_t *)key, (uint8_t *)value, (uint32_t)key_len,
                              (uint32_t)value_len,
                              trailer_make(900 - i * i % 77, i % 2 ? KIND_DELETE : KIND_PUT)};

            e.trailer = trailer_make(900 - i, i % 3 ? KIND_PUT : KIND_DELETE);
            assert_int_equal(block_builder_add(b, &e, hash64(key, (size_t)key_len)), ODB_OK);
        }
        assert_int_equal(block_builder_finish(b, &out), ODB_OK);
        assert_int_equal(out.len, GOLDEN_LEN);
        assert_true(hash64(out.p, out.len) == GOLDEN_HASH);
    }
    buf_release(&out);
    block_builder_free(b);
}

static void the_builder_knows_its_size_about(void **state)
{
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        struct model m = draw_model((enum shape)shape, 200);
        struct block_builder *b;
        struct buf out = {0};
        size_t guess;

        assert_int_equal(block_builder_new(&b), ODB_OK);
        assert_int_equal(block_builder_size(b), 0);
        for (uint32_t i = 0; i < m.count; i++) {
            const struct model_row *r = &m.row[i];
            struct entry e = {r->key, r->value, r->key_len, r->value_len, r->trailer};

            assert_int_equal(block_builder_add(b, &e, hash64(r->key, r->key_len)), ODB_OK);
            assert_int_equal(block_builder_count(b), i + 1);
        }
        guess = block_builder_size(b);
        assert_int_equal(block_builder_finish(b, &out), ODB_OK);
        assert_int_equal(block_builder_count(b), 0);
        assert_true(guess <= out.len + out.len / 3 + 64 && out.len <= guess + guess / 3 + 64);
        buf_release(&out);
        block_builder_free(b);
        model_release(&m);
    }
}

static void the_builder_refuses_what_no_block_can_hold(void **state)
{
    uint8_t byte = 'k';
    struct entry e = {&byte, &byte, KEY_LEN_MAX + 1, 1, trailer_make(1, KIND_PUT)};
    struct block_builder *b;
    struct buf out = {0};
    struct block view;

    (void)state;
    assert_int_equal(block_builder_new(&b), ODB_OK);
    assert_int_equal(block_builder_add(b, &e, 0), ODB_TOO_LARGE);
    e.key_len = 1;
    e.value_len = UINT32_MAX - 60; /* refused before a byte is looked at */
    assert_int_equal(block_builder_add(b, &e, 0), ODB_TOO_LARGE);
    e.value_len = 1;
    assert_int_equal(block_builder_add(b, &e, 0), ODB_OK);
    assert_int_equal(block_builder_count(b), 1);
    assert_int_equal(block_builder_finish(b, &out), ODB_OK);
    assert_true(block_open(out.p, out.len, &view));
    buf_release(&out);
    block_builder_free(b);
}

static void running_out_of_memory_is_a_status_and_loses_nothing(void **state)
{
    struct model m = draw_model(RANDOM_LENGTHS, 150);
    long alive = test_alloc_alive();
    odb_status st = ODB_NOMEM;

    (void)state;
    for (long n = 0; st != ODB_OK; n++) {
        struct block_builder *b = NULL;
        struct buf out = {0};

        assert_true(n < 1000);
        test_alloc_fail(n, 0);
        st = block_builder_new(&b);
        if (st == ODB_OK)
            st = build_into(b, &m, &out);
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        test_alloc_fail(-1, 0);
        if (st != ODB_OK)
            assert_int_equal(out.len, 0);
        block_builder_free(b);
        buf_release(&out);
        assert_int_equal(test_alloc_alive(), alive);
    }
    model_release(&m);
}

static void a_row_that_found_no_memory_can_be_added_again(void **state)
{
    struct model m = draw_model(RANDOM_LENGTHS, 150);
    struct block_builder *b;
    struct buf out = {0};
    size_t len;
    uint8_t *want = build(&m, &len);

    (void)state;
    assert_int_equal(block_builder_new(&b), ODB_OK);
    for (uint32_t i = 0; i < m.count; i++) {
        const struct model_row *r = &m.row[i];
        struct entry e = {r->key, r->value, r->key_len, r->value_len, r->trailer};
        odb_status st = ODB_NOMEM;

        for (long n = 0; st != ODB_OK; n++) {
            test_alloc_fail(n, 0);
            st = block_builder_add(b, &e, hash64(r->key, r->key_len));
            test_alloc_fail(-1, 0);
        }
    }
    test_alloc_fail(0, 0);
    assert_int_equal(block_builder_finish(b, &out), ODB_NOMEM);
    test_alloc_fail(-1, 0);
    assert_int_equal(block_builder_finish(b, &out), ODB_OK);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.p, want, len);
    free(want);
    buf_release(&out);
    block_builder_free(b);
    model_release(&m);
}

/* ---- damaged blocks ---- */

/* Use all of a block that let itself be opened; the sanitizers watch. */
static void use_all(const struct block *b)
{
    uint32_t key_max = block_key_max(b), n = b->count;
    struct entry *e = malloc(n * sizeof *e);
    uint8_t *keys = malloc((size_t)n * key_max + !key_max), *key = malloc(key_max + !key_max);
    uint64_t sum = 0;

    assert_true(e && keys && key);
    assert_true(key_max <= KEY_LEN_MAX);
    block_decode(b, 0, n, e, keys);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = block_key(b, i, key);
        odb_slice k = odb_bytes(key, len);

        assert_int_equal(len, e[i].key_len);
        assert_memory_equal(key, e[i].key, len);
        assert_true(block_trailer(b, i) == e[i].trailer);
        assert_true(kind_is_known(trailer_kind(e[i].trailer)));
        assert_true(odb_slice_equal(block_value(b, i), odb_bytes(e[i].value, e[i].value_len)));
        sum += e[i].value_len ? hash64(e[i].value, e[i].value_len) : 0;
        assert_true(block_seek(b, k, e[i].trailer) <= n);
        assert_true(block_seek(b, k, 0) <= n);
        assert_true(block_find(b, k, hash64(key, len), e[i].trailer) <= n);
        assert_true(block_find(b, k, hash64(key, len), 0) <= n);
        if (len) {
            key[len - 1] ^= 1;
            assert_true(block_seek(b, odb_bytes(key, len - 1), UINT64_MAX) <= n);
            assert_true(block_find(b, k, sum, UINT64_MAX) <= n);
        }
    }
    free(e);
    free(keys);
    free(key);
}

/* Open a copy of just that size and use it. Whether it opened. Turn one, too: that comes before. */
static bool try(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = copy_of(bytes, len);
    struct block b;
    bool is_open;

    (void)block_turn(copy, len, true);
    if (block_open(copy, len, &b))
        use_all(&b);
    if (len)
        memcpy(copy, bytes, len);
    is_open = block_open(copy, len, &b);

    if (is_open)
        use_all(&b);
    free(copy);
    return is_open;
}

static void every_flipped_bit_is_refused_or_harmless(void **state)
{
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        struct model m = draw_model((enum shape)shape, 20);
        size_t len;
        uint8_t *bytes;

        for (uint32_t i = 0; i < m.count; i++) /* small, to try them all */
            m.row[i].value_len %= 8;
        bytes = build(&m, &len);
        assert_true(try(bytes, len));
        for (size_t bit = 0; bit < len * 8; bit += bit < 1024 * 8 ? 1 : 29) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            (void)try(bytes, len);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(bytes);
        model_release(&m);
    }
}

static void every_length_cut_is_refused(void **state)
{
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        struct model m = draw_model((enum shape)shape, 20);
        size_t len;
        uint8_t *bytes = build(&m, &len), *longer;

        for (size_t cut = 0; cut < len; cut++)
            assert_false(try(bytes, cut));
        longer = malloc(len + 1);
        memcpy(longer, bytes, len);
        longer[len] = 0;
        assert_false(try(longer, len + 1));
        free(longer);
        free(bytes);
        model_release(&m);
    }
}

static void random_damage_is_refused_or_harmless(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        struct model m = draw_model((enum shape)(round % SHAPES), 1 + draw_below(40));
        size_t len;
        uint8_t *bytes = build(&m, &len);

        for (int i = 0; i < 40; i++) {
            uint8_t *copy = copy_of(bytes, len);

            /* Mostly in the header, where every byte has a meaning. */
            for (uint32_t k = 1 + draw_below(3); k > 0; k--) {
                uint32_t at = draw_below(draw_below(3) ? 64 : (uint32_t)len);

                copy[at] =
                    draw_below(2) ? (uint8_t)draw() : (uint8_t)(copy[at] + draw_below(5) - 2);
            }
            (void)try(copy, len);
            free(copy);
        }
        free(bytes);
        model_release(&m);
    }
}

/* Write `value` in `width` bytes at `at`, try, and put the old bytes back. */
static bool try_lie(uint8_t *bytes, size_t len, size_t at, unsigned width, uint64_t value)
{
    uint8_t old[8];
    bool is_open;

    memcpy(old, bytes + at, width);
    for (unsigned i = 0; i < width; i++)
        bytes[at + i] = (uint8_t)(value >> 8 * i);
    is_open = try(bytes, len);
    memcpy(bytes + at, old, width);
    return is_open;
}

static uint64_t read_field(const uint8_t *p, unsigned width)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < width; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void one_lie_in_the_header_is_refused(void **state)
{
    /* at, width; each is tried with many values that are not its own */
    static const unsigned field[][2] = {{0, 1},  {2, 2},  {4, 4},  {8, 4},  {13, 1}, {14, 1},
                                        {15, 1}, {16, 1}, {18, 2}, {20, 4}, {24, 4}, {28, 4},
                                        {32, 4}, {36, 4}, {40, 4}, {60, 4}};
    struct model m = draw_model(RANDOM_LENGTHS, 60);
    size_t len;
    uint8_t *bytes = build(&m, &len);

    (void)state;
    for (size_t f = 0; f < sizeof field / sizeof field[0]; f++) {
        unsigned at = field[f][0], width = field[f][1];
        uint64_t own = read_field(bytes + at, width), all = UINT64_MAX >> (64 - 8 * width);
        const uint64_t lie[] = {own + 1, own - 1, 0,       1,       2,       3,
                                5,       7,       8,       9,       0x7f,    255,
                                all,     all - 1, all / 2, own * 2, own ^ 4, own | 64};

        for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++)
            if ((lie[i] & all) != own)
                assert_false(try_lie(bytes, len, at, width, lie[i]));
    }
    for (unsigned bits = 0; bits < 256; bits++) /* another size of table shifts all behind it */
        if (bits != bytes[1])
            assert_false(try_lie(bytes, len, 1, 1, bits));
    for (unsigned width = 0; width < 256; width++)
        if (width != bytes[12])
            assert_false(try_lie(bytes, len, 12, 1, width));
    for (unsigned kind = 3; kind < 256; kind++) /* the low byte of the trailers' base */
        (void)try_lie(bytes, len, 44, 1, kind);
    free(bytes);
    model_release(&m);
}

static void lies_in_even_blocks_are_refused(void **state)
{
    struct model m = draw_model(FIXED_16_EVEN, 35);
    size_t len;
    uint8_t *bytes = build(&m, &len);

    (void)state;
    for (unsigned at = 0; at < 64; at++)
        for (unsigned v = 0; v < 256; v++)
            /* Sequence numbers may be anything; the kind may not. */
            if (v != bytes[at] && !(at >= 45 && at < 60))
                assert_false(try_lie(bytes, len, at, 1, v));
    free(bytes);
    model_release(&m);
}

/* Rows a\0, b\1, ..: keys of one or two bytes, values that differ in length, so that all columns but
 * the shared ends are there: trailers none, value ends u8, prefix counts u8. */
static uint8_t *build_letters(size_t *len, struct block *view)
{
    struct block_builder *b;
    struct buf out = {0};
    uint8_t *bytes;

    assert_int_equal(block_builder_new(&b), ODB_OK);
    for (uint32_t i = 0; i < 6; i++) {
        uint8_t key[2] = {(uint8_t)('a' + i), (uint8_t)i};
        struct entry e = {key, key, 1 + i % 2, i % 3, trailer_make(5, KIND_PUT)};

        assert_int_equal(block_builder_add(b, &e, hash64(key, e.key_len)), ODB_OK);
    }
    assert_int_equal(block_builder_finish(b, &out), ODB_OK);
    bytes = copy_of(out.p, out.len);
    *len = out.len;
    assert_true(block_open(bytes, *len, view));
    buf_release(&out);
    block_builder_free(b);
    return bytes;
}

static void one_lie_behind_the_header_is_refused(void **state)
{
    struct block b;
    size_t len, ends, counts, prefix, hash;
    uint8_t *bytes = build_letters(&len, &b);
    unsigned slots = b.hash_mask + 1;

    (void)state;
    ends = 64;
    counts = ends + 6;
    prefix = counts + 6;
    hash = prefix + 48;
    assert_ptr_equal(b.prefix, bytes + prefix);
    assert_ptr_equal(b.hash, bytes + hash);
    assert_false(try_lie(bytes, len, ends + 5, 1, bytes[ends + 5] + 1u)); /* the last value end */
    assert_false(try_lie(bytes, len, ends + 2, 1, 255));                  /* ends that fall */
    assert_false(try_lie(bytes, len, counts, 1, 8));                      /* nine bytes of prefix */
    assert_false(try_lie(bytes, len, prefix, 1, 'z'));                    /* prefixes that fall */
    assert_false(try_lie(bytes, len, prefix + 1, 1, 1)); /* not zero behind a key of one byte */
    for (unsigned i = 0; i < slots; i++)
        for (unsigned row = 6; row < 255; row += 31)
            assert_false(try_lie(bytes, len, hash + i, 1, row));
    memset(bytes + hash, 3, slots); /* a table without a free slot would be probed for ever */
    assert_false(try(bytes, len));
    free(bytes);
}

static void unknown_kinds_of_rows_are_refused(void **state)
{
    struct block b;
    size_t len;
    uint8_t *bytes = build_letters(&len, &b);

    (void)state;
    for (unsigned kind = 0; kind < 256; kind++)
        assert_int_equal(try_lie(bytes, len, 44, 1, kind), kind == KIND_PUT);
    for (unsigned kinds = 0; kinds < 1u << 16; kinds++)
        assert_int_equal(try_lie(bytes, len, 2, 2, kinds), kinds == 1u << KIND_PUT);
    bytes[2] = 1u << KIND_DELETE; /* both lies agree: a block of deletes is fine */
    assert_true(try_lie(bytes, len, 44, 1, KIND_DELETE));
    bytes[2] = 1u << 3;
    assert_false(try_lie(bytes, len, 44, 1, 3));
    free(bytes);
}

static void huge_counts_and_lengths_do_not_wrap(void **state)
{
    static const uint64_t huge[] = {0x7fffffff, 0x80000000, 0xffffffff, 0x1fffffff,
                                    0x20000000, 0x20000001, 0xfffffff8, 0x10000000};
    struct block b;
    size_t len;
    uint8_t *bytes = build_letters(&len, &b);

    (void)state;
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        for (unsigned at = 4; at <= 36; at += at == 8 ? 12 : 4)
            assert_false(try_lie(bytes, len, at, 4, huge[i]));
        /* Two lies that cancel out modulo 2^32 in the last end. */
        enc_u32(bytes + 20, get_u32(bytes + 20) - (uint32_t)(5 * huge[i]));
        assert_false(try_lie(bytes, len, 24, 4, get_u32(bytes + 24) + huge[i]));
        enc_u32(bytes + 20, get_u32(bytes + 20) + (uint32_t)(5 * huge[i]));
    }
    assert_true(try(bytes, len));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_every_key_shape_comes_back),
        cmocka_unit_test(turned_cells_lie_byte_by_byte),
        cmocka_unit_test(what_does_not_fit_is_not_turned),
        cmocka_unit_test(groups_end_where_they_must),
        cmocka_unit_test(rows_without_key_or_value_bytes_work),
        cmocka_unit_test(a_giant_row_comes_back),
        cmocka_unit_test(more_rows_than_the_table_can_number_are_searched),
        cmocka_unit_test(even_rows_cost_no_columns),
        cmocka_unit_test(equal_rows_give_equal_bytes_on_every_machine),
        cmocka_unit_test(the_builder_knows_its_size_about),
        cmocka_unit_test(the_builder_refuses_what_no_block_can_hold),
        cmocka_unit_test(running_out_of_memory_is_a_status_and_loses_nothing),
        cmocka_unit_test(a_row_that_found_no_memory_can_be_added_again),
        cmocka_unit_test(every_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(every_length_cut_is_refused),
        cmocka_unit_test(random_damage_is_refused_or_harmless),
        cmocka_unit_test(one_lie_in_the_header_is_refused),
        cmocka_unit_test(lies_in_even_blocks_are_refused),
        cmocka_unit_test(one_lie_behind_the_header_is_refused),
        cmocka_unit_test(unknown_kinds_of_rows_are_refused),
        cmocka_unit_test(huge_counts_and_lengths_do_not_wrap),
    };

    return cmocka_run_group_tests(tests, seed_rng, NULL);
}
