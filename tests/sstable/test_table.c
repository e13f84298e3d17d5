#include "tests/sstable/table_fixture.h"

#define STEPS 4000

static const uint32_t block_sizes[] = {64, 200, 1024, 4096};

/* A key near those of the model: one of them, changed a little or not at all. */
static size_t near_key(struct rnd *r, const struct model *m, uint8_t *key)
{
    const struct entry *e = &m->e[rnd_below(r, (uint32_t)m->count)];
    size_t n = e->key_len;

    if (n)
        memcpy(key, e->key, n);
    switch (rnd_below(r, 5)) {
    case 0: key[n++] = (uint8_t)rnd_below(r, 2); break;
    case 1: n = n ? n - 1 : 0; break;
    case 2:
        if (n)
            key[rnd_below(r, (uint32_t)n)] ^= (uint8_t)(1 << rnd_below(r, 8));
        break;
    default: break;
    }
    return n;
}

static uint64_t near_trailer(struct rnd *r, const struct model *m)
{
    switch (rnd_below(r, 4)) {
    case 0: return UINT64_MAX;
    case 1: return 0;
    case 2: return trailer_at(rnd_below(r, 6));
    default: return m->e[rnd_below(r, (uint32_t)m->count)].trailer + rnd_below(r, 3) - 1;
    }
}

/* Random moves, each compared with an index into the array. */
static void walk_at_random(struct fx *x, struct sst_ref *ref, const struct model *m, struct rnd *r,
                           unsigned flags)
{
    static uint8_t key[4096];
    struct cursor *c = NULL;
    size_t at = m->count; /* m->count: nowhere */

    assert_int_equal(sst_cursor_new(x->store, ref, flags, &c), ODB_OK);
    assert_false(cursor_valid(c));
    for (int i = 0; i < STEPS; i++) {
        bool forward = rnd_below(r, 2);
        uint32_t many = rnd_below(r, 8) == 0 ? rnd_below(r, 300) : rnd_below(r, 4);
        uint64_t trailer;
        size_t n;
        bool ok;

        switch (rnd_below(r, 12)) {
        case 0:
            ok = c->ops->first(c);
            at = 0;
            break;
        case 1:
            ok = c->ops->last(c);
            at = m->count - 1;
            break;
        case 2:
        case 3:
            n = near_key(r, m, key);
            trailer = near_trailer(r, m);
            ok = c->ops->seek(c, odb_bytes(key, n), trailer);
            at = model_seek(m, key, n, trailer);
            break;
        case 4:
        case 5:
            n = near_key(r, m, key);
            trailer = near_trailer(r, m);
            ok = c->ops->seek_for_prev(c, odb_bytes(key, n), trailer);
            at = model_seek(m, key, n, trailer);
            if (at == m->count || ikey_compare(m->e[at].key, m->e[at].key_len, m->e[at].trailer,
                                               key, n, trailer) != 0)
                at = at ? at - 1 : m->count;
            break;
        default:
            ok = cursor_valid(c);
            for (; ok && many > 0; many--) {
                ok = forward ? cursor_next(c) : cursor_prev(c);
                at = forward ? at + 1 : at ? at - 1 : m->count;
                if (ok)
                    fx_assert_entry(cursor_entry(c), &m->e[at]);
            }
            break;
        }
        assert_int_equal(c->status, ODB_OK);
        assert_int_equal(ok, at < m->count);
        assert_int_equal(cursor_valid(c), ok);
        if (ok)
            fx_assert_entry(cursor_entry(c), &m->e[at]);
    }
    cursor_free(c);
}

static void check_everything(struct fx *x, const struct sst_meta *meta, const struct model *m,
                             struct rnd *r)
{
    static uint8_t key[4096];
    struct sst_ref ref = fx_ref(meta);

    assert_int_equal(sst_verify(x->store, meta), ODB_OK);
    for (size_t i = 0; i < m->count; i++)
        assert_int_equal(fx_check_get(x, &ref, m, m->e[i].key, m->e[i].key_len, m->e[i].trailer),
                         ODB_OK);
    for (int i = 0; i < STEPS; i++) {
        size_t n = near_key(r, m, key);

        assert_int_equal(fx_check_get(x, &ref, m, key, n, near_trailer(r, m)), ODB_OK);
    }
    for (unsigned flags = 0; flags <= SST_SCAN; flags++) {
        assert_int_equal(fx_check_walk(x, &ref, m, flags, false), ODB_OK);
        assert_int_equal(fx_check_walk(x, &ref, m, flags, true), ODB_OK);
        walk_at_random(x, &ref, m, r, flags);
    }
    sst_ref_drop(x->store, &ref);
    assert_null(atomic_load(&ref.table));
}

static void a_table_answers_as_the_sorted_array_does(void **state)
{
    struct rnd r = rnd_start("table against array");

    (void)state;
    for (int style = 0; style < MODEL_STYLES; style++)
        for (size_t b = 0; b < sizeof block_sizes / sizeof block_sizes[0]; b++) {
            long alive = test_alloc_alive();
            struct sst_writer_options opt;
            struct sst_meta meta;
            struct model m;
            struct fx x;

            fx_open_dir(&x);
            fx_store(&x, rnd_below(&r, 2) ? 4 << 20 : 20000, 8);
            opt = fx_writer_options(&x, block_sizes[b]);
            opt.codec = rnd_below(&r, 3) ? CODEC_LZ4 : CODEC_RAW;
            opt.bits_per_key = rnd_below(&r, 4) ? 10 : 0;
            model_fill(&m, &r, (enum model_style)style, 1 + rnd_below(&r, 1500));
            assert_int_equal(fx_try_write(&opt, 1, &m, &meta), ODB_OK);
            check_everything(&x, &meta, &m, &r);
            sst_meta_release(&meta);
            model_free(&m);
            fx_close(&x);
            assert_int_equal(test_alloc_alive(), alive);
        }
}

static void a_huge_value_has_a_block_of_its_own(void **state)
{
    enum { HUGE_LEN = 3 << 20 };
    uint8_t *huge = calloc(1, HUGE_LEN);
    struct sst_counters_sum n;
    struct sst_meta meta;
    struct model m = {0};
    struct sst_ref ref;
    struct fx x;

    (void)state;
    assert_non_null(huge);
    for (size_t i = 0; i < HUGE_LEN; i += 2)
        huge[i] = (uint8_t)(i * 2654435761u >> 13);
    fx_open_dir(&x);
    fx_store(&x, 1 << 20, 8); /* smaller than the value */
    model_add(&m, "a", 1, trailer_make(1, KIND_PUT), "small", 5);
    model_add(&m, "b", 1, trailer_make(2, KIND_PUT), huge, HUGE_LEN);
    model_add(&m, "c", 1, trailer_make(3, KIND_PUT), "small", 5);
    fx_write(&x, 1, 4096, &m, &meta);
    ref = fx_ref(&meta);
    assert_int_equal(fx_check_get(&x, &ref, &m, "a", 1, UINT64_MAX), ODB_OK);
    assert_int_equal(fx_check_get(&x, &ref, &m, "c", 1, UINT64_MAX), ODB_OK);
    sst_store_counters(x.store, &n);
    assert_true(n.bytes_read < 1000);
    assert_int_equal(fx_check_get(&x, &ref, &m, "b", 1, UINT64_MAX), ODB_OK);
    assert_int_equal(fx_check_walk(&x, &ref, &m, 0, false), ODB_OK);
    assert_int_equal(fx_check_walk(&x, &ref, &m, SST_SCAN, true), ODB_OK);
    sst_ref_drop(x.store, &ref);
    sst_meta_release(&meta);
    model_free(&m);
    free(huge);
    fx_close(&x);
}

static void the_offset_of_a_key_rises_with_the_key(void **state)
{
    struct rnd r = rnd_start("offsets");
    struct sst_meta meta;
    struct sst_ref ref, absent = {.file_no = 99, .size = 1000};
    struct model m;
    uint64_t last = 0;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 1 << 20, 8);
    model_fill(&m, &r, MODEL_NUMBERED, 2000);
    fx_write(&x, 1, 512, &m, &meta);
    ref = fx_ref(&meta);
    for (size_t i = 0; i < m.count; i++) {
        uint64_t off = sst_offset_of(x.store, &ref, odb_bytes(m.e[i].key, m.e[i].key_len));

        assert_true(off >= last && off < meta.size);
        last = off;
    }
    assert_true(last > meta.size / 2);
    assert_int_equal(sst_offset_of(x.store, &absent, odb_s("k")), 0);
    sst_ref_drop(x.store, &ref);
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

/* Write nothing, read everything with the Nth allocation failing. */
static odb_status read_all(struct fx *x, const struct sst_meta *meta, const struct model *m)
{
    struct sst_ref ref = fx_ref(meta);
    odb_status st = fx_check_get(x, &ref, m, m->e[0].key, m->e[0].key_len, UINT64_MAX);

    if (st == ODB_OK)
        st = fx_check_walk(x, &ref, m, 0, false);
    if (st == ODB_OK)
        st = fx_check_walk(x, &ref, m, SST_SCAN, true);
    sst_ref_drop(x->store, &ref);
    if (st == ODB_OK)
        st = sst_verify(x->store, meta);
    return st;
}

/* How often it did without the memory it asked for. */
static long read_without_memory(size_t entries, uint32_t block_size, enum codec codec)
{
    struct rnd r = rnd_start("reading without memory");
    struct sst_writer_options opt;
    struct sst_meta meta;
    struct model m;
    odb_status st;
    struct fx x;
    long made_good = 0;

    fx_open_dir(&x);
    fx_store(&x, 3000, 8);
    model_fill(&m, &r, MODEL_PREFIXED, entries);
    opt = fx_writer_options(&x, block_size);
    opt.codec = codec;
    assert_int_equal(fx_try_write(&opt, 1, &m, &meta), ODB_OK);
    for (long n = 0;; n++) {
        long alive, asked;

        while (epoch_collect(x.epoch) > 0)
            ;
        alive = test_alloc_alive();
        test_alloc_fail(n, 0);
        st = read_all(&x, &meta, &m);
        asked = test_alloc_requests();
        test_alloc_fail(-1, 0);
        if (asked <= n) { /* out of reach */
            assert_int_equal(st, ODB_OK);
            break;
        }
        made_good += st == ODB_OK; /* no window, but the block alone */
        assert_true(st == ODB_OK || st == ODB_NOMEM);
        for (int k = 0; k < 4; k++)
            (void)epoch_collect(x.epoch);
        sst_store_resize(x.store, 3000); /* gives back the chunk that is kept for frames to come */
        assert_int_equal(test_alloc_alive(), alive);
        assert_int_equal(sst_store_bytes(x.store), 0);
    }
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
    return made_good;
}

static void reading_survives_every_failing_allocation(void **state)
{
    (void)state;
    assert_true(read_without_memory(200, 512, CODEC_LZ4) > 0);
    (void)read_without_memory(1000, 32 << 10,
                              CODEC_RAW); /* too large for the stack, too many rows */
}

static void reading_passes_on_every_failing_file_call(void **state)
{
    struct rnd r = rnd_start("reading from a bad disk");
    struct sst_meta meta;
    struct model m;
    odb_status st;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 3000, 8);
    model_fill(&m, &r, MODEL_PREFIXED, 200);
    fx_write(&x, 1, 512, &m, &meta);
    fx_os.failure = ODB_IO;
    fx_os.keeps_failing = true;
    for (long n = 0;; n++) {
        fx_os.until_failure = n;
        st = read_all(&x, &meta, &m);
        fx_os.until_failure = -1;
        if (st == ODB_OK)
            break;
        assert_int_equal(st, ODB_IO);
    }
    fx_os.keeps_failing = false;
    for (long n = 0, made_good = 0;; n++) { /* one call alone */
        bool has_failed;

        fx_os.until_failure = n;
        st = read_all(&x, &meta, &m);
        has_failed = fx_os.until_failure < 0;
        fx_os.until_failure = -1;
        if (!has_failed) {
            assert_int_equal(st, ODB_OK);
            assert_true(made_good > 0);
            break;
        }
        made_good += st == ODB_OK; /* a window: then the block alone */
        assert_true(st == ODB_OK || st == ODB_IO);
    }
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

/* One cursor over a table of which nothing is in memory; what the store counted meanwhile. */
static struct sst_counters_sum walk_cold(struct fx *x, const struct sst_meta *meta,
                                         const struct model *m, bool is_backward)
{
    struct sst_counters_sum n;
    struct sst_ref ref = fx_ref(meta);

    fx_store(x, 8 << 20, 8);
    atomic_store(&fx_os.reads, 0);
    assert_int_equal(fx_check_walk(x, &ref, m, 0, is_backward), ODB_OK);
    sst_store_counters(x->store, &n);
    assert_int_equal(n.block_hits, 0);
    assert_true(n.bytes_read <= meta->size);
    assert_int_equal(fx_check_walk(x, &ref, m, 0, !is_backward), ODB_OK);
    sst_ref_drop(x->store, &ref);
    return n;
}

static void a_cold_walk_reads_windows_and_keeps_the_blocks(void **state)
{
    struct rnd r = rnd_start("windows");
    struct sst_meta meta;
    struct model m;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 8 << 20, 8);
    model_fill(&m, &r, MODEL_NUMBERED, 40000);
    fx_write(&x, 1, 4096, &m, &meta);
    sst_store_free(x.store);
    for (int is_backward = 0; is_backward < 2; is_backward++) {
        struct sst_counters_sum n = walk_cold(&x, &meta, &m, is_backward), again;

        sst_store_counters(x.store, &again); /* which the second walk, back again, added to */
        assert_true(n.block_reads > 150);
        assert_true(atomic_load(&fx_os.reads) < (long)n.block_reads / 3);
        assert_int_equal(again.block_reads, n.block_reads);
        assert_int_equal(again.block_hits, n.block_reads);
        assert_int_equal(again.bytes_read, n.bytes_read);
        if (!is_backward)
            sst_store_free(x.store);
    }
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

static bool model_same_key(const struct model *m, size_t i, size_t k)
{
    return m->e[i].key_len == m->e[k].key_len &&
           memcmp(m->e[i].key, m->e[k].key, m->e[i].key_len) == 0;
}

/* Damage in a window is that of the block it lies in: all before it is shown. */
static void damage_in_a_window_stops_the_walk_at_its_block(void **state)
{
    struct rnd r = rnd_start("damaged window");
    struct sst_meta meta;
    struct model m;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 0, 8);
    model_fill(&m, &r, MODEL_NUMBERED, 8000);
    fx_write(&x, 1, 1024, &m, &meta);
    for (int i = 0; i < 50; i++) {
        bool is_backward = rnd_below(&r, 2);
        size_t seen = 0, hit = rnd_below(&r, (uint32_t)m.count), len;
        struct sst_ref ref = fx_ref(&meta);
        uint8_t *bytes = fx_slurp(&x, 1, &len), was;
        struct cursor *c = NULL;
        struct os_file *f = NULL;
        uint64_t off;
        bool ok;

        while (hit > 0 && model_same_key(&m, hit - 1, hit))
            hit--; /* the newest version of its key: older ones may lie in the next block */
        off = sst_offset_of(x.store, &ref, odb_bytes(m.e[hit].key, m.e[hit].key_len));
        was = (uint8_t)(bytes[off] ^ 0x40);
        assert_int_equal(os_open(x.dir, "000001.sst", OS_WRITE, &f), ODB_OK);
        assert_int_equal(os_write(f, off, &was, 1), ODB_OK);
        assert_int_equal(sst_cursor_new(x.store, &ref, 0, &c), ODB_OK);
        for (ok = is_backward ? c->ops->last(c) : c->ops->first(c); ok;
             ok = is_backward ? cursor_prev(c) : cursor_next(c), seen++)
            fx_assert_entry(cursor_entry(c), &m.e[is_backward ? m.count - 1 - seen : seen]);
        assert_int_equal(c->status, ODB_CORRUPT);
        hit = is_backward ? m.count - 1 - hit : hit;
        assert_true(seen <= hit && hit - seen < 100); /* entries of the block itself */
        assert_int_equal(os_write(f, off, &bytes[off], 1), ODB_OK);
        assert_true(is_backward ? c->ops->last(c) : c->ops->first(c)); /* sound again */
        cursor_free(c);
        assert_int_equal(fx_check_walk(&x, &ref, &m, 0, is_backward), ODB_OK);
        os_close(f);
        free(bytes);
        sst_ref_drop(x.store, &ref);
    }
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

static void an_error_in_a_walk_sticks_until_positioned_anew(void **state)
{
    struct rnd r = rnd_start("sticky");
    struct cursor *c = NULL;
    struct sst_meta meta;
    struct sst_ref ref;
    struct model m;
    size_t seen = 1;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 0, 8);
    model_fill(&m, &r, MODEL_NUMBERED, 10000); /* several windows */
    fx_write(&x, 1, 512, &m, &meta);
    ref = fx_ref(&meta);
    assert_int_equal(sst_cursor_new(x.store, &ref, 0, &c), ODB_OK);
    assert_true(c->ops->first(c));
    fx_os.failure = ODB_IO;
    fx_os.keeps_failing = true;
    fx_os.until_failure = 2;
    while (cursor_next(c))
        fx_assert_entry(cursor_entry(c), &m.e[seen++]);
    assert_int_equal(c->status, ODB_IO);
    assert_true(seen < m.count);
    assert_false(cursor_next(c));
    assert_false(cursor_prev(c));
    assert_int_equal(c->status, ODB_IO);
    fx_os.until_failure = -1;
    assert_true(c->ops->last(c));
    assert_int_equal(c->status, ODB_OK);
    fx_assert_entry(cursor_entry(c), &m.e[m.count - 1]);
    cursor_free(c);
    sst_ref_drop(x.store, &ref);
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_answers_as_the_sorted_array_does),
        cmocka_unit_test(a_huge_value_has_a_block_of_its_own),
        cmocka_unit_test(the_offset_of_a_key_rises_with_the_key),
        cmocka_unit_test(reading_survives_every_failing_allocation),
        cmocka_unit_test(reading_passes_on_every_failing_file_call),
        cmocka_unit_test(a_cold_walk_reads_windows_and_keeps_the_blocks),
        cmocka_unit_test(damage_in_a_window_stops_the_walk_at_its_block),
        cmocka_unit_test(an_error_in_a_walk_sticks_until_positioned_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
