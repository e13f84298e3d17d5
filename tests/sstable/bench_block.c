/* How fast blocks and filters are: hot, one thread, best of many rounds. Built, not run as a
 * test:  ninja bench_block && tests/sstable/bench_block */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "sstable/block.h"
#include "sstable/filter.h"

#define BENCH_ROWS_MAX 4096
#define BENCH_ROUNDS   40

enum bench_keys { BENCH_RANDOM, BENCH_DECIMAL, BENCH_UNEVEN };

struct bench_row {
    uint8_t key[40];
    uint32_t key_len;
    uint32_t value_len;
    uint64_t hash;
    uint64_t trailer;
};

static struct bench_row rows[BENCH_ROWS_MAX];
static uint8_t value_bytes[256];
static struct entry entries[BENCH_ROWS_MAX];
static uint8_t key_bytes[BENCH_ROWS_MAX * 40];
static volatile uint64_t sink;

static uint64_t bench_draw(void)
{
    static uint64_t s = 88172645463325252u;

    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s * UINT64_C(0x2545f4914f6cdd1d);
}

static double bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_key(const void *a, const void *b)
{
    const struct bench_row *x = a, *y = b;

    return key_compare(x->key, x->key_len, y->key, y->key_len);
}

/* Neighbours as they lie in one block of a table of some millions. */
static void make_rows(enum bench_keys kind, uint32_t n)
{
    uint64_t base = bench_draw() >> 30;

    for (uint32_t i = 0; i < n; i++) {
        struct bench_row *r = &rows[i];

        base += 1 + bench_draw() % 8000000;
        if (kind == BENCH_RANDOM) { /* as db_bench: a number, then padding */
            memset(r->key, '0', 16);
            enc_u64_be(r->key, base << 20);
            r->key_len = 16;
        } else {
            r->key_len = (uint32_t)snprintf((char *)r->key, sizeof r->key, "user%012llu",
                                            (unsigned long long)(base / 3000 % 1000000000000));
        }
        if (kind == BENCH_UNEVEN) {
            for (uint32_t k = 0, more = (uint32_t)(bench_draw() % 16); k < more; k++)
                r->key[r->key_len++] = (uint8_t)bench_draw();
        }
        r->value_len = kind == BENCH_UNEVEN ? (uint32_t)(50 + bench_draw() % 100) : 100;
        r->hash = hash64(r->key, r->key_len);
        r->trailer = trailer_make(bench_draw() % 5000000, KIND_PUT);
    }
    qsort(rows, n, sizeof *rows, by_key);
}

static bool build_rows(struct block_builder *b, uint32_t n, struct buf *out)
{
    uint64_t size = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct bench_row *r = &rows[i];
        struct entry e = {r->key, value_bytes, r->key_len, r->value_len, r->trailer};

        if (block_builder_add(b, &e, r->hash) != ODB_OK)
            return false;
        size += block_builder_size(b); /* a table writer asks after each entry */
    }
    sink += size;
    return block_builder_finish(b, out) == ODB_OK;
}

enum bench_what { BENCH_BUILD, BENCH_OPEN, BENCH_DECODE, BENCH_FIND, BENCH_MISS, BENCH_SEEK };

static uint64_t run(enum bench_what what, const struct block *b, struct block_builder *builder,
                    struct buf *out, uint32_t n, uint32_t i)
{
    const struct bench_row *r = &rows[bench_draw() % n];
    struct block view;

    switch (what) {
    case BENCH_BUILD: buf_reset(out); return build_rows(builder, n, out);
    case BENCH_OPEN: return block_open(b->bytes, b->len, &view) ? view.key_max : 0;
    case BENCH_DECODE: block_decode(b, 0, n, entries, key_bytes); return entries[i % n].trailer;
    case BENCH_FIND:
        return block_value(b, block_find(b, odb_bytes(r->key, r->key_len), r->hash, UINT64_MAX))
            .size;
    case BENCH_MISS:
        return block_find(b, odb_bytes(r->key, r->key_len - 1), r->hash + 977 * i, UINT64_MAX);
    default: return block_seek(b, odb_bytes(r->key, r->key_len), UINT64_MAX);
    }
}

static double measure(enum bench_what what, const struct block *b, struct block_builder *builder,
                      struct buf *out, uint32_t n)
{
    bool is_row = what >= BENCH_FIND;
    uint32_t times = is_row ? 20000 : 50000 / n + 1;
    double best = 1e18;

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        double start = bench_now();
        uint64_t sum = 0;

        for (uint32_t i = 0; i < times; i++)
            sum += run(what, b, builder, out, n, i);
        start = (bench_now() - start) / times / (is_row ? 1 : n);
        best = start < best ? start : best; /* the least disturbed one */
        sink += sum;
    }
    return best;
}

static bool bench_shape(const char *name, enum bench_keys kind, uint32_t n)
{
    struct block_builder *builder;
    struct buf first = {0}, out = {0};
    struct block b;
    bool is_fine;

    make_rows(kind, n);
    if (block_builder_new(&builder) != ODB_OK)
        return false;
    is_fine = build_rows(builder, n, &first) && block_open(first.p, first.len, &b);
    if (is_fine) {
        printf("%-10s %5u %7zu", name, n, first.len);
        for (int what = BENCH_BUILD; what <= BENCH_SEEK; what++)
            printf(" %7.1f", measure((enum bench_what)what, &b, builder, &out, n));
        printf("\n");
    }
    block_builder_free(builder);
    buf_release(&first);
    buf_release(&out);
    return is_fine;
}

/* Questions about `n` keys, a power of two; odd: about strangers. */
static double ask_filter(const struct filter *f, const uint64_t *hashes, size_t n, uint64_t odd)
{
    double best = 1e18;

    for (int round = 0; round < BENCH_ROUNDS; round++) {
        double start = bench_now();
        uint64_t sum = 0;

        for (size_t k = 0; k < 50000; k++)
            sum += filter_may_contain(f, (hashes[(k + (size_t)round * 50000) & (n - 1)] ^ odd) *
                                             (odd | 1));
        start = (bench_now() - start) / 50000;
        best = start < best ? start : best;
        sink += sum;
    }
    return best;
}

static bool bench_filter(size_t n)
{
    uint64_t *hashes = malloc(n * sizeof *hashes);
    double start, best = 1e18;
    struct buf out = {0};
    struct filter f;
    bool is_fine;

    for (size_t i = 0; hashes && i < n; i++)
        hashes[i] = bench_draw();
    for (int round = 0; hashes && round < 10; round++) {
        buf_reset(&out);
        start = bench_now();
        if (filter_build(hashes, n, 10, &out) != ODB_OK || !filter_open(buf_slice(&out), &f)) {
            free(hashes);
            hashes = NULL;
            break;
        }
        start = (bench_now() - start) / (double)n;
        best = start < best ? start : best;
    }
    if (hashes)
        printf("%10zu keys: build %.1f, hit %.1f, miss %.1f ns\n", n, best,
               ask_filter(&f, hashes, n, 0), ask_filter(&f, hashes, n, 0x9e3779b97f4a7c15u));
    buf_release(&out);
    is_fine = hashes != NULL;
    free(hashes);
    return is_fine;
}

int main(void)
{
    bool is_fine = true;

    for (size_t i = 0; i < sizeof value_bytes; i++)
        value_bytes[i] = (uint8_t)bench_draw();
    printf("keys        rows   bytes   build    open  decode    find    miss    seek\n"
           "                          ns/row  ns/row  ns/row      ns      ns      ns\n");
    for (uint32_t n = 35; n <= 2240; n *= 8) {
        is_fine = is_fine && bench_shape("random16", BENCH_RANDOM, n);
        is_fine = is_fine && bench_shape("decimal", BENCH_DECIMAL, n);
        is_fine = is_fine && bench_shape("uneven", BENCH_UNEVEN, n);
    }
    printf("filter, 10 bits a key\n");
    is_fine = is_fine && bench_filter(2048) && bench_filter(4 << 20);
    return is_fine ? 0 : 1;
}
