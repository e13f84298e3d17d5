/* Damage of every kind: whatever the bytes, a table answers as it did before or says where it is
 * damaged; it never answers wrong (P8, P17). */
#include "tests/sstable/table_fixture.h"

#include "base/compress.h"
#include "sstable/frame.h"
#include "sstable/table.h"

static const char victim[] = "000001.sst";

struct patient {
    struct fx x;
    struct model m;
    struct sst_meta meta;
    uint8_t *bytes; /* the sound file */
    size_t len;
};

static void patient_open(struct patient *p, const char *who, size_t entries, uint32_t block_size,
                         enum codec codec)
{
    struct rnd r = rnd_start(who);
    struct sst_writer_options opt;

    fx_open_dir(&p->x);
    fx_store(&p->x, 1 << 20, 8);
    model_fill(&p->m, &r, MODEL_PREFIXED, entries);
    opt = fx_writer_options(&p->x, block_size);
    opt.codec = codec;
    assert_int_equal(fx_try_write(&opt, 1, &p->m, &p->meta), ODB_OK);
    p->bytes = fx_slurp(&p->x, 1, &p->len);
    assert_int_equal(p->len, p->meta.size);
}

static void patient_close(struct patient *p)
{
    free(p->bytes);
    sst_meta_release(&p->meta);
    model_free(&p->m);
    fx_close(&p->x);
}

/* An error must be one of damage, and name the file and the place. */
static odb_status judge(odb_status st)
{
    if (st != ODB_OK) {
        assert_true(st == ODB_CORRUPT || st == ODB_VERSION);
        assert_non_null(strstr(odb_error_text(), victim));
        assert_non_null(strstr(odb_error_text(), "offset"));
    }
    return st;
}

/* Read everything there is; answers that come must be right. Returns the first error. */
static odb_status read_it(struct patient *p)
{
    struct sst_ref ref = fx_ref(&p->meta);
    odb_status first = ODB_OK, st;

    for (size_t i = 0; i < p->m.count; i += 3) {
        const struct entry *e = &p->m.e[i];

        st = judge(fx_check_get(&p->x, &ref, &p->m, e->key, e->key_len, UINT64_MAX));
        if (first == ODB_OK)
            first = st;
    }
    st = judge(fx_check_walk(&p->x, &ref, &p->m, 0, false));
    if (first == ODB_OK)
        first = st;
    st = judge(fx_check_walk(&p->x, &ref, &p->m, SST_SCAN, true));
    if (first == ODB_OK)
        first = st;
    sst_ref_drop(p->x.store, &ref);
    return first;
}

static void poke(struct patient *p, size_t off, uint8_t byte)
{
    struct os_file *f = NULL;

    assert_int_equal(os_open(p->x.dir, victim, OS_WRITE, &f), ODB_OK);
    assert_int_equal(os_write(f, off, &byte, 1), ODB_OK);
    os_close(f);
}

static void P08_every_bit_flipped_is_noticed(void **state)
{
    struct patient p;

    (void)state;
    patient_open(&p, "bit flips", 30, 256, CODEC_LZ4);
    assert_true(p.len < 2500);
    for (size_t bit = 0; bit < p.len * 8; bit++) {
        poke(&p, bit / 8, p.bytes[bit / 8] ^ (uint8_t)(1 << bit % 8));
        (void)read_it(&p); /* properties are not read, so not every flip is met on the way */
        assert_true(judge(sst_verify(p.x.store, &p.meta)) != ODB_OK);
        poke(&p, bit / 8, p.bytes[bit / 8]);
    }
    assert_int_equal(read_it(&p), ODB_OK);
    assert_int_equal(sst_verify(p.x.store, &p.meta), ODB_OK);
    patient_close(&p);
}

static void every_length_is_noticed(void **state)
{
    struct patient p;

    (void)state;
    patient_open(&p, "truncation", 40, 256, CODEC_LZ4);
    for (size_t len = 0; len <= p.len + 3; len++) {
        uint8_t *copy = calloc(1, p.len + 4);
        uint64_t size = p.meta.size;

        memcpy(copy, p.bytes, p.len);
        fx_spit(&p.x, 1, copy, len);
        free(copy);
        if (len == p.len)
            continue;
        assert_int_equal(read_it(&p), ODB_CORRUPT);
        assert_int_equal(judge(sst_verify(p.x.store, &p.meta)), ODB_CORRUPT);
        p.meta.size = len; /* even if the manifest agreed */
        assert_int_equal(read_it(&p), ODB_CORRUPT);
        p.meta.size = size;
    }
    patient_close(&p);
}

/* Where the blocks are, as the sound file tells. */
static void find_blocks(struct patient *p, struct sst_index *out, struct sst_footer *footer)
{
    uint64_t salt = salt_for_file(FX_DB, 1), check;
    struct frame_view v;
    uint8_t *raw;

    assert_int_equal(
        sst_footer_decode(p->bytes + p->len - SST_FOOTER_LEN, victim, p->len, salt, footer, &check),
        ODB_OK);
    assert_null(frame_open(
        odb_bytes(p->bytes + footer->index_off, (size_t)(footer->props_off - footer->index_off)),
        salt, footer->index_off, true, &v));
    raw = malloc(v.raw_len);
    assert_int_equal(frame_unpack(&v, raw, victim, 0), ODB_OK);
    assert_null(index_open(odb_bytes(raw, v.raw_len), SST_HEADER_LEN, footer->filter_off, out));
    free(raw);
}

static void swapped_blocks_are_noticed_though_each_is_sound(void **state)
{
    struct model m = {0};
    struct sst_footer footer;
    struct sst_index x;
    struct patient p;
    size_t swaps = 0;

    (void)state;
    memset(&p, 0, sizeof p);
    fx_open_dir(&p.x);
    fx_store(&p.x, 1 << 20, 8);
    for (unsigned i = 0; i < 200; i++) {
        char key[16];

        snprintf(key, sizeof key, "key%05u", i);
        model_add(&m, key, 8, trailer_make(i + 1, KIND_PUT), "0123456789abcdef", 16);
    }
    p.m = m;
    {
        struct sst_writer_options opt = fx_writer_options(&p.x, 256);

        opt.codec = CODEC_RAW;
        assert_int_equal(fx_try_write(&opt, 1, &p.m, &p.meta), ODB_OK);
    }
    p.bytes = fx_slurp(&p.x, 1, &p.len);
    find_blocks(&p, &x, &footer);
    for (uint32_t i = 0; i + 1 < x.count && swaps < 10; i++) {
        size_t n = index_frame_len(&x, i), a = (size_t)x.block_off[i],
               b = (size_t)x.block_off[i + 1];
        uint8_t *copy;

        if (index_frame_len(&x, i + 1) != n)
            continue;
        copy = malloc(p.len);
        memcpy(copy, p.bytes, p.len);
        memcpy(copy + a, p.bytes + b, n);
        memcpy(copy + b, p.bytes + a, n);
        fx_spit(&p.x, 1, copy, p.len);
        assert_int_equal(read_it(&p), ODB_CORRUPT);
        assert_int_equal(judge(sst_verify(p.x.store, &p.meta)), ODB_CORRUPT);
        free(copy);
        swaps++;
    }
    assert_true(swaps > 0);
    index_release(&x);
    patient_close(&p);
}

static void a_file_from_elsewhere_is_refused(void **state)
{
    struct sst_writer_options opt;
    struct sst_meta other = {0}, meta;
    struct patient p;
    uint8_t *bytes;
    size_t len;

    (void)state;
    patient_open(&p, "elsewhere", 100, 512, CODEC_LZ4);
    meta = p.meta;
    opt = fx_writer_options(&p.x, 512);

    assert_int_equal(fx_try_write(&opt, 2, &p.m, &other), ODB_OK); /* same content, other number */
    bytes = fx_slurp(&p.x, 2, &len);
    fx_spit(&p.x, 1, bytes, len);
    free(bytes);
    assert_int_equal(read_it(&p), ODB_CORRUPT);
    p.meta.check = other.check; /* not even if the manifest had its checksum */
    assert_int_equal(read_it(&p), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "number"));
    p.meta = meta;
    sst_meta_release(&other);

    opt.db_id++;
    assert_int_equal(os_remove(p.x.dir, victim), ODB_OK);
    assert_int_equal(fx_try_write(&opt, 1, &p.m, &other), ODB_OK); /* of another database */
    assert_int_equal(read_it(&p), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "another database"));
    sst_meta_release(&other);

    opt.db_id--;
    assert_int_equal(os_remove(p.x.dir, victim), ODB_OK);
    p.m.e[0].trailer += 256; /* the same number once more, other content (C37) */
    assert_int_equal(fx_try_write(&opt, 1, &p.m, &other), ODB_OK);
    p.m.e[0].trailer -= 256;
    p.meta.size = other.size;
    assert_int_equal(read_it(&p), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "manifest"));
    p.meta = meta;
    sst_meta_release(&other);

    assert_int_equal(os_remove(p.x.dir, victim), ODB_OK);
    assert_int_equal(read_it(&p), ODB_CORRUPT); /* not "absent": that would read as "no such key" */
    patient_close(&p);
}

static void P18_a_newer_version_is_told_apart_from_damage(void **state)
{
    static const struct {
        size_t at;
        odb_status want;
    } lies[] = {{8, ODB_VERSION},  {12, ODB_VERSION}, {15, ODB_VERSION},
                {16, ODB_OK},      {19, ODB_OK},      {20, ODB_OK},
                {24, ODB_CORRUPT}, {32, ODB_CORRUPT}, {0, ODB_CORRUPT}};
    struct patient p;

    (void)state;
    patient_open(&p, "versions", 50, 512, CODEC_LZ4);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t *copy = malloc(p.len);

        memcpy(copy, p.bytes, p.len);
        copy[lies[i].at] ^= 0x40;
        enc_u64(copy + 40, hash64(copy, 40)); /* a checksum that agrees must not help */
        fx_spit(&p.x, 1, copy, p.len);
        assert_int_equal(read_it(&p), lies[i].want);
        free(copy);
    }
    patient_close(&p);
}

static void a_lying_footer_is_refused(void **state)
{
    struct rnd r = rnd_start("footer");
    struct sst_footer good;
    struct sst_index x;
    struct patient p;

    (void)state;
    patient_open(&p, "footer table", 50, 256, CODEC_LZ4);
    find_blocks(&p, &x, &good);
    for (int i = 0; i < 3000; i++) {
        struct sst_footer f = good;
        uint64_t *field[] = {&f.file_size, &f.filter_off, &f.index_off, &f.props_off, &f.digest};
        uint64_t *lie = field[rnd_below(&r, 5)], check = p.meta.check;
        uint8_t foot[SST_FOOTER_LEN];
        odb_status st;

        switch (rnd_below(&r, 4)) {
        case 0: *lie += rnd_below(&r, 2) ? 1 : UINT64_MAX; break;
        case 1: *lie = rnd_below(&r, (uint32_t)p.len + 10); break;
        case 2: *lie = rnd_next(&r); break;
        default: *lie = *field[rnd_below(&r, 4)]; break;
        }
        if (memcmp(&f, &good, sizeof f) == 0)
            continue;
        p.meta.check = sst_footer_encode(foot, &f, salt_for_file(FX_DB, 1));
        if (f.file_size != p.len) { /* sealed for the place where it really is */
            p.meta.check = hash_salted(foot, 40, salt_for_file(FX_DB, 1), p.len - SST_FOOTER_LEN);
            enc_u64(foot + 40, p.meta.check);
        }
        memcpy(p.bytes + p.len - SST_FOOTER_LEN, foot, sizeof foot);
        fx_spit(&p.x, 1, p.bytes, p.len);
        st = read_it(&p);
        if (f.digest == good.digest)
            assert_int_equal(st, ODB_CORRUPT);
        assert_int_equal(judge(sst_verify(p.x.store, &p.meta)), ODB_CORRUPT);
        p.meta.check = check;
    }
    index_release(&x);
    patient_close(&p);
}

/* Put `raw` in place of the properties, everything sealed anew. */
static void replace_props(struct patient *p, const struct sst_footer *footer, odb_slice raw,
                          enum codec codec)
{
    uint64_t salt = salt_for_file(FX_DB, 1), check;
    struct sst_footer f = *footer;
    struct buf out = {0};
    uint8_t foot[SST_FOOTER_LEN];

    assert_int_equal(buf_append(&out, p->bytes, (size_t)f.props_off), ODB_OK);
    assert_int_equal(frame_append(&out, raw, codec, 1, salt, f.props_off, &check), ODB_OK);
    f.file_size = out.len + SST_FOOTER_LEN;
    p->meta.check = sst_footer_encode(foot, &f, salt);
    p->meta.size = f.file_size;
    assert_int_equal(buf_append(&out, foot, sizeof foot), ODB_OK);
    fx_spit(&p->x, 1, out.p, out.len);
    buf_release(&out);
}

static void lying_properties_are_noticed_by_verify(void **state)
{
    struct sst_footer footer;
    struct sst_props good, lie;
    struct frame_view v;
    struct buf raw = {0};
    struct sst_index x;
    struct patient p;

    (void)state;
    patient_open(&p, "properties", 50, 256, CODEC_LZ4);
    find_blocks(&p, &x, &footer);
    assert_null(frame_open(
        odb_bytes(p.bytes + footer.props_off, p.len - SST_FOOTER_LEN - (size_t)footer.props_off),
        salt_for_file(FX_DB, 1), footer.props_off, true, &v));
    assert_true(sst_props_decode(v.payload, &good));
    assert_int_equal(good.entries, p.m.count);
    for (int i = 0; i < 12; i++) {
        lie = good;
        switch (i) {
        case 0: break; /* the truth */
        case 1: lie.entries++; break;
        case 2: lie.deletes++; break;
        case 3: lie.keys--; break;
        case 4: lie.blocks++; break;
        case 5: lie.raw_bytes++; break;
        case 6: lie.unpacked_bytes--; break;
        case 7: lie.min_seq--; break;
        case 8: lie.max_seq++; break;
        case 9: lie.max_block_deletes++; break;
        case 10: lie.smallest = odb_s("a"); break;
        default: lie.largest = odb_s("zz"); break;
        }
        buf_reset(&raw);
        assert_int_equal(sst_props_encode(&lie, &raw), ODB_OK);
        replace_props(&p, &footer, buf_slice(&raw), CODEC_RAW);
        assert_int_equal(judge(sst_verify(p.x.store, &p.meta)), i ? ODB_CORRUPT : ODB_OK);
        assert_int_equal(read_it(&p), ODB_OK);
    }
    buf_reset(&raw); /* one that this release does not know */
    assert_int_equal(sst_props_encode(&good, &raw), ODB_OK);
    assert_int_equal(buf_append(&raw,
                                "\x06"
                                "future"
                                "\x09"
                                "\x03"
                                "abc",
                                12),
                     ODB_OK);
    replace_props(&p, &footer, buf_slice(&raw), CODEC_RAW);
    assert_int_equal(sst_verify(p.x.store, &p.meta), ODB_OK);
    raw.len--; /* malformed */
    replace_props(&p, &footer, buf_slice(&raw), CODEC_RAW);
    assert_int_equal(judge(sst_verify(p.x.store, &p.meta)), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "malformed"));
    if (lz4_available()) { /* never packed, whatever they look like */
        static const char future[100] = "\x06"
                                        "future"
                                        "\x09"
                                        "\x5a";

        buf_reset(&raw);
        assert_int_equal(sst_props_encode(&good, &raw), ODB_OK);
        assert_int_equal(buf_append(&raw, future, 1 + 6 + 1 + 1 + 90), ODB_OK);
        replace_props(&p, &footer, buf_slice(&raw), CODEC_RAW);
        assert_int_equal(sst_verify(p.x.store, &p.meta), ODB_OK);
        replace_props(&p, &footer, buf_slice(&raw), CODEC_LZ4);
        assert_int_equal(judge(sst_verify(p.x.store, &p.meta)), ODB_CORRUPT);
        assert_non_null(strstr(odb_error_text(), "malformed"));
    }
    buf_release(&raw);
    index_release(&x);
    patient_close(&p);
}

static void a_manifest_that_disagrees_is_noticed_by_verify(void **state)
{
    struct patient p;

    (void)state;
    patient_open(&p, "manifest", 50, 256, CODEC_LZ4);
    for (int i = 0; i < 7; i++) {
        struct sst_meta m;

        assert_int_equal(sst_meta_copy(&m, &p.meta), ODB_OK);
        switch (i) {
        case 0: m.entries++; break;
        case 1: m.deletes++; break;
        case 2: m.raw_bytes--; break;
        case 3: m.min_seq++; break;
        case 4: m.max_seq++; break;
        case 5: m.smallest.p[0] ^= 1; break;
        default: m.largest.len--; break;
        }
        assert_int_equal(judge(sst_verify(p.x.store, &m)), ODB_CORRUPT);
        sst_meta_release(&m);
    }
    assert_int_equal(sst_verify(p.x.store, &p.meta), ODB_OK);
    patient_close(&p);
}

/* Everything behind a good checksum: blocks, filter, index and the rest changed at random and sealed
 * again. Answers may then be wrong, but nothing is read outside, nothing loops, and verify notices
 * or the content is still in order. */
static void P17_sealed_lies_do_no_harm(void **state)
{
    struct rnd r = rnd_start("sealed lies");
    uint64_t salt = salt_for_file(FX_DB, 1);
    struct sst_footer footer;
    struct sst_index x;
    struct patient p;

    (void)state;
    patient_open(&p, "sealed lies table", 60, 512, CODEC_RAW);
    find_blocks(&p, &x, &footer);
    for (int i = 0; i < 4000; i++) {
        uint32_t which = rnd_below(&r, x.count + 2);
        uint64_t off = which < x.count    ? x.block_off[which]
                       : which == x.count ? footer.filter_off
                                          : footer.index_off;
        uint64_t end = which < x.count    ? x.block_off[which + 1]
                       : which == x.count ? footer.index_off
                                          : footer.props_off;
        size_t payload = (size_t)(end - off) - FRAME_TAIL;
        struct sst_ref ref = fx_ref(&p.meta);
        uint8_t *copy = malloc(p.len);
        struct cursor *c = NULL;

        memcpy(copy, p.bytes, p.len);
        for (uint32_t k = 1 + rnd_below(&r, 3); k > 0; k--)
            copy[off + rnd_below(&r, (uint32_t)payload)] =
                (uint8_t)(rnd_below(&r, 2) ? rnd_next(&r) : rnd_below(&r, 2) * 255);
        enc_u64(copy + end - 8, hash_salted(copy + off, payload + 5, salt, off));
        fx_spit(&p.x, 1, copy, p.len);
        free(copy);
        if (sst_cursor_new(p.x.store, &ref, SST_SCAN, &c) == ODB_OK) {
            size_t steps = 0;
            bool ok;

            for (ok = c->ops->first(c); ok; ok = cursor_next(c))
                assert_true(++steps < 100000);
            for (ok = c->ops->last(c); ok; ok = cursor_prev(c))
                assert_true(++steps < 100000);
            for (size_t k = 0; k < p.m.count; k += 7) {
                odb_slice key = odb_bytes(p.m.e[k].key, p.m.e[k].key_len);
                struct epoch_guard g = epoch_enter(p.x.epoch);
                struct sst_hit hit;

                (void)c->ops->seek(c, key, p.m.e[k].trailer);
                (void)c->ops->seek_for_prev(c, key, p.m.e[k].trailer);
                (void)!sst_get(p.x.store, &ref, key, hash64(key.data, key.size), UINT64_MAX, &hit);
                epoch_leave(g);
            }
            cursor_free(c);
        }
        (void)!sst_verify(p.x.store, &p.meta);
        sst_ref_drop(p.x.store, &ref);
    }
    index_release(&x);
    patient_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P08_every_bit_flipped_is_noticed),
        cmocka_unit_test(every_length_is_noticed),
        cmocka_unit_test(swapped_blocks_are_noticed_though_each_is_sound),
        cmocka_unit_test(a_file_from_elsewhere_is_refused),
        cmocka_unit_test(P18_a_newer_version_is_told_apart_from_damage),
        cmocka_unit_test(a_lying_footer_is_refused),
        cmocka_unit_test(lying_properties_are_noticed_by_verify),
        cmocka_unit_test(a_manifest_that_disagrees_is_noticed_by_verify),
        cmocka_unit_test(P17_sealed_lies_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
