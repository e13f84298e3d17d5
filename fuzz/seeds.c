/* fuzz/seeds.c -- write the seeds of every corpus: seeds DIRECTORY. Run by hand when a format has
 * changed (scripts/fuzz --seeds); old seeds then only show that old bytes are refused. */
#include <sys/stat.h>

#include "base/compress.h"
#include "base/hash.h"
#include "cf/batch.h"
#include "cf/files.h"
#include "cf/manifest.h"
#include "fuzz/seal.h"
#include "fuzz/template.h"
#include "sstable/block.h"
#include "sstable/filter.h"
#include "sstable/layout.h"
#include "wal/record.h"
#include "wal/segment.h"

#include "api/odb_models.h"
#if ODB_HAS_RECORDS
#include "records/view.h"
#endif

static const char *seed_root;

static void seed(const char *target, const char *name, odb_slice head, odb_slice bytes)
{
    char path[4096];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", seed_root, target);
    (void)mkdir(path, 0777);
    (void)snprintf(path, sizeof path, "%s/%s/seed-%s", seed_root, target, name);
    f = fopen(path, "wb");
    FUZZ_REQUIRE(f != NULL);
    if (head.size)
        FUZZ_REQUIRE(fwrite(head.data, 1, head.size, f) == head.size);
    if (bytes.size)
        FUZZ_REQUIRE(fwrite(bytes.data, 1, bytes.size, f) == bytes.size);
    FUZZ_REQUIRE(fclose(f) == 0);
}

static odb_slice seed_none(void)
{
    return odb_bytes(NULL, 0);
}

/* `control` and then the bytes. */
static void seed_controlled(const char *target, const char *name, uint8_t control, odb_slice bytes)
{
    seed(target, name, odb_bytes(&control, 1), bytes);
}

static void seed_base(void)
{
    static const uint64_t number[] = {0,     1,          127,        128,
                                      16383, UINT32_MAX, UINT64_MAX, (uint64_t)1 << 56};
    uint8_t bytes[512], packed[1024], *p = bytes, room[2];
    size_t n;

    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++)
        p = enc_varint(p, number[i]);
    seed("varint", "numbers", seed_none(), odb_bytes(bytes, (size_t)(p - bytes)));
    seed("varint", "lengths", seed_none(), odb_s("\003abc\000\001x"));
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)("opendb "[i % 7] + (i % 50 == 0));
    n = lz4_pack(bytes, sizeof bytes, packed, sizeof packed, 1);
    enc_u16(room, sizeof bytes);
    if (n > 0)
        seed("lz4", "text", odb_bytes(room, 2), odb_bytes(packed, n));
}

/* ---- blocks and filters ---- */

static void seed_block(const char *name, unsigned rows, const char *format, size_t value_len)
{
    struct block_builder *b = NULL;
    struct buf out = {0};
    char key[64], value[64] = {0};

    FUZZ_REQUIRE(block_builder_new(&b) == ODB_OK);
    for (unsigned i = 0; i < rows; i++) {
        int len = snprintf(key, sizeof key, format, i);
        struct entry e = {.key = (const uint8_t *)key,
                          .key_len = (uint32_t)len,
                          .value = (const uint8_t *)value,
                          .value_len = (uint32_t)(i % 8 == 7 ? 0 : i % (value_len + 1)),
                          .trailer = trailer_make(i * 5 % 64, i % 8 == 7 ? KIND_DELETE : KIND_PUT)};

        FUZZ_REQUIRE(block_builder_add(b, &e, hash64(key, (size_t)len)) == ODB_OK);
    }
    FUZZ_REQUIRE(block_builder_finish(b, &out) == ODB_OK);
    seed("block", name, seed_none(), buf_slice(&out));
    FUZZ_REQUIRE(block_turn(out.p, out.len, false));
    snprintf(key, sizeof key, "%s-turned", name);
    seed("block", key, seed_none(), buf_slice(&out));
    buf_release(&out);
    block_builder_free(b);
}

static void seed_blocks(void)
{
    uint64_t hash[40];
    struct buf out = {0};

    seed_block("one", 1, "%u", 3);
    seed_block("users", 24, "user:%04u:name", 20);
    seed_block("short", 10, "%u", 0);
    seed_block("long", 40, "%08u/a/rather/long/key/with/%03u/parts", 7);
    for (size_t i = 0; i < 40; i++)
        hash[i] = hash64(&i, sizeof i);
    FUZZ_REQUIRE(filter_build(hash, 40, 10, &out) == ODB_OK);
    seed("filter", "forty", seed_none(), buf_slice(&out));
    buf_reset(&out);
    FUZZ_REQUIRE(filter_build(hash, 1, 1, &out) == ODB_OK);
    seed("filter", "one", seed_none(), buf_slice(&out));
    buf_release(&out);
}

/* ---- tables ---- */

static void seed_table(const char *name, unsigned rows, uint32_t block_size, enum codec codec,
                       uint32_t bits)
{
    struct fuzz_disk d;
    struct sst_writer_options opt;
    struct sst_writer *w = NULL;
    struct sst_meta meta = {0};
    char key[32], value[64], file[SST_NAME_MAX];
    uint8_t *p;
    size_t len;

    fuzz_disk_init(&d);
    opt = (struct sst_writer_options){.os = d.os,
                                      .dir = d.dir,
                                      .db_id = FUZZ_DB,
                                      .block_size = block_size,
                                      .codec = codec,
                                      .lz4_acceleration = 1,
                                      .bits_per_key = bits};
    FUZZ_REQUIRE(sst_writer_new(&opt, 7, &w) == ODB_OK);
    for (unsigned i = 0; i < rows; i++) {
        int k = snprintf(key, sizeof key, "key%03u", i / 2);
        int v = snprintf(value, sizeof value, "a value, number %u", i);
        struct entry e = {.key = (const uint8_t *)key,
                          .key_len = (uint32_t)k,
                          .value = (const uint8_t *)value,
                          .value_len = (uint32_t)(i % 9 == 8 ? 0 : v),
                          .trailer =
                              trailer_make(100 - i % 2, i % 9 == 8 ? KIND_DELETE : KIND_PUT)};

        FUZZ_REQUIRE(sst_writer_add(w, &e) == ODB_OK);
    }
    FUZZ_REQUIRE(sst_writer_finish(w, &meta) == ODB_OK);
    sst_writer_free(w);
    sst_meta_release(&meta);
    sst_file_name(7, file);
    p = template_load(d.dir, file, &len);
    seed_controlled("table", name, 1, odb_bytes(p, len));
    free(p);
    fuzz_disk_release(&d);
}

/* ---- the log ---- */

static size_t seed_record_of(enum wal_type type, uint8_t *p, uint64_t seq, uint32_t behind,
                             const char *payload)
{
    struct wal_record_head head = {
        .length = (uint32_t)strlen(payload), .behind = behind, .seq = seq, .type = (uint8_t)type};

    memset(p, 0, (size_t)wal_record_size(head.length));
    wal_record_encode(p, &head);
    memcpy(p + WAL_RECORD_HEADER, payload, head.length);
    return (size_t)wal_record_size(head.length);
}

static size_t seed_record(uint8_t *p, uint64_t lsn, uint64_t seq, uint32_t behind,
                          const char *payload)
{
    (void)lsn; /* the target seals */
    return seed_record_of(WAL_BATCH, p, seq, behind, payload);
}

static void seed_log(void)
{
    struct wal_header h = {.db_id = FUZZ_DB, .file_no = 9, .salt = 77, .first_lsn = 64};
    uint8_t header[WAL_SEGMENT_HEADER], log[1024], *p = log, *start;

    wal_header_encode(header, &h);
    memcpy(log, header, 56);
    memcpy(log + 56, header + WAL_LINK_AT, WAL_LINK);
    seed_controlled("wal_header", "alone", 1, odb_bytes(log, 56 + WAL_LINK));

    *p++ = 1; /* control, from */
    enc_u16(p, 0);
    p += 2;
    for (unsigned i = 0; i < 3; i++) {
        *p++ = i == 2 ? 2 : 0; /* the last one was begun by an open */
        start = p;
        p += 2;
        p += seed_record(p, 0, 10 * i + 1, 0, "first");
        p += seed_record(p, 0, 10 * i + 2, 32, "the second of two");
        enc_u16(start, (uint16_t)(p - start - 2));
    }
    seed("wal_replay", "three", seed_none(), odb_bytes(log, (size_t)(p - log)));
    log[3] |= 32; /* the first segment has no link, nor has anybody kept where it begins */
    seed("wal_replay", "unlinked", seed_none(), odb_bytes(log, (size_t)(p - log)));
    log[3] = 4; /* the first segment's records are not sealed: a torn tail */
    seed("wal_replay", "torn", seed_none(), odb_bytes(log, (size_t)(p - log)));
    p = log + 6; /* one segment: a batch between two marks */
    log[3] = 0;
    p += seed_record_of(WAL_MARK, p, 7, 0, "sixteen bytes ..");
    p += seed_record(p, 0, 7, 40, "a batch");
    p += seed_record_of(WAL_MARK, p, 8, 72, "sixteen bytes ..");
    enc_u16(log + 4, (uint16_t)(p - log - 6));
    seed("wal_replay", "marked", seed_none(), odb_bytes(log, (size_t)(p - log)));

    memset(log, 0, 8);
    log[0] = 1;
    enc_u16(log + 1, 4000);
    enc_u16(log + 3, 4000);
    p = log + 8;
    p += seed_record(p, 0, 1, 0, "in the segment");
    p += seed_record(p, 0, 2, 40, "also");
    enc_u16(log + 6, (uint16_t)(p - log - 8));
    for (unsigned i = 0; i < 6; i++)
        p += seed_record(p, 0, 3 + i, 64, "in the ring, over its end");
    seed("wal_ring", "wrapped", seed_none(), odb_bytes(log, (size_t)(p - log)));
    log[5] = 20; /* bytes lost */
    seed("wal_ring", "cut", seed_none(), odb_bytes(log, (size_t)(p - log)));
}

/* ---- batches ---- */

static void seed_batches(void)
{
    struct batch b = {0};

    FUZZ_REQUIRE(batch_put(&b, 0, odb_s("key"), odb_s("value")) == ODB_OK);
    FUZZ_REQUIRE(batch_delete(&b, 300, odb_s("gone")) == ODB_OK);
    FUZZ_REQUIRE(batch_put(&b, 1, odb_s(""), odb_s("")) == ODB_OK);
    seed("batch", "three", seed_none(), buf_slice(&b.ops));
    seed("batch_public", "three", seed_none(), buf_slice(&b.ops));
    batch_release(&b);
}

/* ---- a database, and what was taken from it ---- */

static void seed_edit(void)
{
    struct lsm_edit_add add[2] = {0};
    struct lsm_edit_remove gone[] = {{0, 4}, {2, 300}};
    struct lsm_edit e = {.family = 1,
                         .has_flushed = true,
                         .flushed_lsn = 4096,
                         .add = add,
                         .add_count = 2,
                         .remove = gone,
                         .remove_count = 2};
    struct buf out = {0};

    for (unsigned i = 0; i < 2; i++) {
        add[i].level = i;
        add[i].meta = (struct sst_meta){.file_no = 10 + i,
                                        .size = 5000,
                                        .check = 0x0123456789abcdef,
                                        .entries = 40,
                                        .deletes = 3,
                                        .raw_bytes = 900,
                                        .min_seq = 1,
                                        .max_seq = 77};
        FUZZ_REQUIRE(buf_assign(&add[i].meta.smallest, "key000", 6) == ODB_OK);
        FUZZ_REQUIRE(buf_assign(&add[i].meta.largest, "key099", 6) == ODB_OK);
    }
    FUZZ_REQUIRE(lsm_edit_encode(&e, &out) == ODB_OK);
    seed("edit", "flush", seed_none(), buf_slice(&out));
    buf_release(&out);
    for (unsigned i = 0; i < 2; i++)
        sst_meta_release(&add[i].meta);
}

/* A manifest under the target's own database and number. */
static void seed_manifest(void)
{
    struct fuzz_disk d;
    struct cf_set_options opt;
    struct manifest_group g = {0};
    struct manifest *m = NULL;
    struct manifest_family family = {.id = 1, .name = odb_s("a"), .has_options = true};
    struct manifest_counters c = {20, 500, 2, 9, 64, true, 64};
    struct lsm_edit e = {.family = 1, .has_flushed = true, .flushed_lsn = 64};
    char name[FILE_NAME_MAX];
    uint8_t *p;
    size_t len;

    fuzz_disk_init(&d);
    opt = template_options(d.os);
    family.options = opt.family;
    FUZZ_REQUIRE(manifest_add_family(&g, &family) == ODB_OK);
    FUZZ_REQUIRE(manifest_add_counters(&g, &c) == ODB_OK);
    FUZZ_REQUIRE(manifest_create(d.os, d.dir, FUZZ_DB, 3, &g, &m) == ODB_OK);
    manifest_group_release(&g);
    FUZZ_REQUIRE(manifest_add_edit(&g, &e) == ODB_OK);
    FUZZ_REQUIRE(manifest_add_drop(&g, 1) == ODB_OK);
    FUZZ_REQUIRE(manifest_append(m, &g) == ODB_OK);
    manifest_group_release(&g);
    manifest_close(m);
    file_name(FILE_MANIFEST, 3, name);
    p = template_load(d.dir, name, &len);
    seed_controlled("manifest", "small", 1, odb_bytes(p, len));
    free(p);
    fuzz_disk_release(&d);
}

/* A change that writes what is there: what the fuzzer makes of it then hits something. */
static void seed_change(const char *end, size_t file, odb_slice bytes, size_t off)
{
    size_t n = bytes.size - off < 200 ? bytes.size - off : 200;
    uint8_t head[6] = {1, (uint8_t)file, 0, (uint8_t)off, (uint8_t)(off >> 8), (uint8_t)n};
    char name[32];

    (void)snprintf(name, sizeof name, "file%02zu-%s", file, end);
    seed("database", name, odb_bytes(head, sizeof head),
         odb_bytes((const uint8_t *)bytes.data + off, n));
}

static void seed_database(void)
{
    struct template_db t;
    struct os_dir *dir = NULL;

    template_make(&t);
    FUZZ_REQUIRE(os_dir_open(t.os, FUZZ_DIR, 0, &dir) == ODB_OK);
    seed_controlled("database", "whole", 1, seed_none());
    seed_controlled("database", "whole-merged", 0x41, seed_none());
    seed_controlled("database", "whole-readonly", 0x81, seed_none());
    for (size_t i = 0; i < t.count; i++) {
        size_t len;
        uint8_t *p = template_load(dir, t.file[i].name, &len);
        uint64_t no;
        enum file_kind kind = file_parse(t.file[i].name, &no);

        (void)printf("%-20s %zu bytes\n", t.file[i].name, len);
        seed_change("head", i, odb_bytes(p, len), 0);
        if (kind == FILE_LOG)
            seed_change("records", i, odb_bytes(p, len), WAL_SEGMENT_HEADER);
        if (len > 200)
            seed_change("end", i, odb_bytes(p, len), len - 200);
        if (len > 400 && kind == FILE_TABLE)
            seed_change("middle", i, odb_bytes(p, len), len - 400);
        if (kind == FILE_CURRENT)
            seed_controlled("files", "current", 1, odb_bytes(p, len));
        if (kind == FILE_IDENTITY)
            seed_controlled("files", "identity", 0x81, odb_bytes(p, len));
        free(p);
    }
    os_dir_close(dir);
    sim_free(t.os);
}

/* The other corpora of records are text, or short enough to be written by hand: they stay as they are. */
static void records_seeds(void)
{
#if ODB_HAS_RECORDS
    odb_prop props[] = {odb_prop_text("lang", "en"),
                        odb_prop_int("n", -5),
                        odb_prop_real("x", 1.5),
                        odb_prop_bool("b", true),
                        odb_prop_null("z"),
                        odb_prop_json("j", "[1]"),
                        odb_prop_bytes("raw", odb_bytes("\0\xff", 2))};
    odb_field fields[] = {{ODB_FIELD_PARENT, {ODB_PROP_BYTES, {.bytes = {"doc", 3}}}},
                          {ODB_FIELD_CHUNK_COUNT, {ODB_PROP_INT, {.integer = 7}}},
                          {ODB_FIELD_APPLICATION, {ODB_PROP_REAL, {.real = 2}}}};
    struct rec_spec spec = {.kind = 3,
                            .flags = REC_FLAG_VECTOR,
                            .timestamp = 1,
                            .importance = 1,
                            .content = odb_s("content"),
                            .fields = fields,
                            .field_count = 3};
    struct buf block = {0}, bytes = {0};

    FUZZ_REQUIRE(rec_spec_write(&bytes, &spec) == ODB_OK);
    seed("record_view", "fields", seed_none(), buf_slice(&bytes));
    for (size_t n = 0; n <= sizeof props / sizeof *props; n += n ? 6 : 1) {
        buf_reset(&block);
        FUZZ_REQUIRE(rec_props_append(&block, props, n) == ODB_OK);
        seed("record_props",
             n == 0   ? "none"
             : n == 1 ? "one"
                      : "all",
             seed_none(), buf_slice(&block));
    }
    spec.props = buf_slice(&block);
    FUZZ_REQUIRE(rec_spec_write(&bytes, &spec) == ODB_OK);
    seed("record_view", "all", seed_none(), buf_slice(&bytes));
    buf_release(&block);
    buf_release(&bytes);
#endif
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    seed_root = argv[1];
    seed_base();
    seed_blocks();
    seed_table("raw", 60, 512, CODEC_RAW, 10);
    seed_table("one", 1, 512, CODEC_RAW, 0);
    seed_table("packed", 60, 1024, CODEC_LZ4, 10);
    seed_log();
    seed_batches();
    seed_edit();
    seed_manifest();
    seed_database();
    records_seeds();
    return 0;
}
