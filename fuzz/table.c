/* fuzz/table.c -- a whole table file: header, footer, frames, index, filter, properties, blocks.
 *
 *    input   control u8 (fuzz.h) | the file
 *
 * Opened, walked both ways, searched and verified. What sst_verify() calls sound must also behave so:
 * its entries rise, and each is found.
 */
#include "base/hash.h"
#include "fuzz/seal.h"

#define TABLE_NO    7u
#define TABLE_STEPS 2000u

static void table_get(struct sst_store *s, struct sst_ref *ref, struct epoch *epoch,
                      const struct entry *e, bool is_sound)
{
    struct epoch_guard g = epoch_enter(epoch);
    struct sst_hit hit = {0};
    odb_status st = sst_get(s, ref, odb_bytes(e->key, e->key_len), hash64(e->key, e->key_len),
                            e->trailer, &hit);

    FUZZ_REQUIRE(fuzz_is_verdict(st));
    FUZZ_REQUIRE(!is_sound || (st == ODB_OK && hit.is_found && hit.trailer == e->trailer));
    if (st == ODB_OK && hit.is_found)
        (void)fuzz_touch(hit.value);
    epoch_leave(g);
}

static uint32_t table_walk(struct sst_store *s, struct sst_ref *ref, struct epoch *epoch,
                           unsigned flags, bool is_sound)
{
    struct cursor *c = NULL;
    uint32_t n = 0;
    bool ok;

    if (sst_cursor_new(s, ref, flags, &c) != ODB_OK)
        return 0;
    for (ok = c->ops->first(c); ok && n < TABLE_STEPS; ok = cursor_next(c), n++) {
        const struct entry *e = cursor_entry(c);

        (void)fuzz_touch(odb_bytes(e->value, e->value_len));
        table_get(s, ref, epoch, e, is_sound);
        sst_offset_of(s, ref, odb_bytes(e->key, e->key_len));
    }
    FUZZ_REQUIRE(fuzz_is_verdict(c->status) && (!is_sound || c->status == ODB_OK));
    for (ok = c->ops->last(c), n = 0; ok && n < TABLE_STEPS; ok = cursor_prev(c), n++)
        (void)fuzz_touch(odb_bytes(cursor_entry(c)->key, cursor_entry(c)->key_len));
    FUZZ_REQUIRE(fuzz_is_verdict(c->status) && (!is_sound || c->status == ODB_OK));
    (void)c->ops->seek(c, odb_bytes("key5", 4), UINT64_MAX);
    (void)c->ops->seek_for_prev(c, odb_bytes("key5", 4), 0);
    cursor_free(c);
    return n;
}

static void table_read(const struct fuzz_disk *d, const struct sst_meta *meta)
{
    struct sst_ref ref = {.file_no = meta->file_no, .size = meta->size, .check = meta->check};
    struct epoch *epoch = aligned_alloc(64, (sizeof *epoch + 63) / 64 * 64);
    struct sst_store_options opt = {.os = d->os,
                                    .dir = d->dir,
                                    .db_id = FUZZ_DB,
                                    .epoch = epoch,
                                    .cache_bytes = 1 << 20,
                                    .open_tables = 8,
                                    .verify_on_read = true};
    struct sst_store *s = NULL;
    odb_status st;
    uint32_t n;

    FUZZ_REQUIRE(epoch != NULL);
    epoch_init(epoch);
    FUZZ_REQUIRE(sst_store_new(&opt, &s) == ODB_OK);
    st = sst_verify(s, meta);
    FUZZ_REQUIRE(fuzz_is_verdict(st));
    n = table_walk(s, &ref, epoch, 0, st == ODB_OK);
    FUZZ_REQUIRE(st != ODB_OK || n == meta->entries || n == TABLE_STEPS);
    (void)table_walk(s, &ref, epoch, SST_SCAN | SST_KEYS_ONLY, st == ODB_OK);
    sst_ref_drop(s, &ref);
    sst_store_free(s);
    epoch_release(epoch);
    free(epoch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    enum fuzz_seal how = fuzz_seal(dec_u8(&in));
    odb_slice bytes = fuzz_bytes(&in, SIZE_MAX);
    uint8_t *p = fuzz_copy(bytes);
    struct fuzz_disk d;
    struct sst_meta meta;
    char name[SST_NAME_MAX];

    seal_table(p, bytes.size, FUZZ_DB, TABLE_NO, how);
    seal_table_meta(p, bytes.size, FUZZ_DB, TABLE_NO, &meta);
    fuzz_disk_init(&d);
    sst_file_name(TABLE_NO, name);
    fuzz_disk_put(&d, name, odb_bytes(p, bytes.size));
    table_read(&d, &meta);
    sst_meta_release(&meta);
    fuzz_disk_release(&d);
    free(p);
    return 0;
}
