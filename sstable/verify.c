/* sstable/verify.c -- read a whole table and believe nothing: for `odb verify` and for tests.
 *
 * The file is opened apart, so that what is checked are the bytes on the disk and not blocks that
 * happen to be resident. Checked, in this order: what opening checks; of each block the checksum and
 * everything block_open checks; that it lies between its separators; that its entries rise; that
 * each is found by the block's own search and hash, and passes the filter; then all counts, against
 * the properties and against the manifest, and the digest of all blocks against the footer.
 *
 * A writer that works never fails any of this; so whatever does is damage that no checksum saw, or a
 * bug, and both are reported as corruption with file and offset.
 */
#include "sstable/store.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sstable/frame.h"

#define VERIFY_ROWS 64u

struct verify_job {
    struct sst_table *table;
    const struct sst_meta *meta;
    struct table_scan scan;
    struct buf keys;
    struct entry entry[VERIFY_ROWS];
    uint64_t block_off;
    uint64_t digest;
    /* the entry before */
    struct buf last;
    uint64_t last_trailer;
    struct sst_props sum;
};

static odb_status verify_entry(struct verify_job *v, const struct block *b, uint32_t row,
                               const struct entry *e)
{
    odb_slice key = odb_bytes(e->key, e->key_len);
    uint64_t hash = hash64(e->key, e->key_len), seq = trailer_seq(e->trailer);
    int c = v->sum.entries ? key_compare(v->last.p, v->last.len, e->key, e->key_len) : -1;

    if (c > 0 || (c == 0 && v->last_trailer <= e->trailer))
        return table_corrupt(v->table, v->block_off, "entries out of order");
    assert(kind_is_known(trailer_kind(e->trailer))); /* block_open saw to it */
    if (block_seek(b, key, e->trailer) != row)
        return table_corrupt(v->table, v->block_off, "an entry is not found by search");
    if (block_find(b, key, hash, e->trailer) != row)
        return table_corrupt(v->table, v->block_off, "an entry is not found by hash");
    if (!filter_may_contain(&v->table->filter, hash))
        return table_corrupt(v->table, v->table->footer.filter_off,
                             "the filter denies a key of the table");
    v->sum.entries++;
    v->sum.keys += c != 0;
    v->sum.deletes += trailer_kind(e->trailer) == KIND_DELETE;
    v->sum.raw_bytes += (uint64_t)e->key_len + e->value_len;
    if (seq < v->sum.min_seq)
        v->sum.min_seq = seq;
    if (seq > v->sum.max_seq)
        v->sum.max_seq = seq;
    v->last_trailer = e->trailer;
    if (v->sum.entries == 1 && !odb_slice_equal(key, buf_slice(&v->meta->smallest)))
        return table_corrupt(v->table, v->block_off, "the smallest key is not the manifest's");
    return c != 0 ? buf_assign(&v->last, e->key, e->key_len) : ODB_OK;
}

/* The entries of block `no` against the separators on both sides. */
static odb_status verify_fences(const struct verify_job *v, uint32_t no, const struct entry *first)
{
    const struct sst_index *x = &v->table->index;

    if (no == 0)
        return ODB_OK;
    if (index_compare(x, no, odb_bytes(first->key, first->key_len), first->trailer) < 0 ||
        index_compare(x, no, buf_slice(&v->last), v->last_trailer) >= 0)
        return table_corrupt(v->table, v->table->footer.index_off,
                             "the index separates two blocks wrongly");
    return ODB_OK;
}

static odb_status verify_rows(struct verify_job *v, const struct block *b, uint32_t no)
{
    size_t key_max = block_key_max(b);
    uint32_t step = VERIFY_ROWS;
    odb_status st = ODB_OK;

    assert(key_max <= KEY_LEN_MAX); /* block_open saw to it */
    buf_reset(&v->keys);
    st = buf_reserve(&v->keys, step * key_max + 1);
    for (uint32_t row = 0; st == ODB_OK && row < b->count; row += step) {
        uint32_t n = b->count - row < step ? b->count - row : step;

        block_decode(b, row, n, v->entry, v->keys.p);
        if (row == 0)
            st = verify_fences(v, no, v->entry);
        for (uint32_t i = 0; i < n && st == ODB_OK; i++)
            st = verify_entry(v, b, row + i, &v->entry[i]);
    }
    return st;
}

static odb_status verify_block(struct verify_job *v, uint32_t no)
{
    uint64_t check, deletes = v->sum.deletes;
    struct block b;
    odb_status st;

    v->block_off = v->table->index.block_off[no];
    st = table_scan_load(v->table, &v->scan, no, false, true, &b, &check);
    if (st != ODB_OK)
        return st;
    v->digest = hash_mix(v->digest, check);
    v->sum.blocks++;
    v->sum.unpacked_bytes += b.len;
    st = verify_rows(v, &b, no);
    deletes = v->sum.deletes - deletes;
    if (deletes > v->sum.max_block_deletes)
        v->sum.max_block_deletes = deletes;
    return st;
}

static bool verify_props_agree(const struct verify_job *v, const struct sst_props *p)
{
    const struct sst_props *sum = &v->sum;

    return p->entries == sum->entries && p->deletes == sum->deletes && p->keys == sum->keys &&
           p->blocks == sum->blocks && p->raw_bytes == sum->raw_bytes &&
           p->unpacked_bytes == sum->unpacked_bytes && p->min_seq == sum->min_seq &&
           p->max_seq == sum->max_seq && p->max_block_deletes == sum->max_block_deletes &&
           odb_slice_equal(p->smallest, buf_slice(&v->meta->smallest)) &&
           odb_slice_equal(p->largest, buf_slice(&v->last));
}

static odb_status verify_props(struct verify_job *v)
{
    uint64_t off = v->table->footer.props_off;
    size_t len = (size_t)(v->meta->size - SST_FOOTER_LEN - off);
    struct frame_view f;
    struct sst_props props;
    const char *what;
    odb_status st;

    buf_reset(&v->keys);
    st = buf_reserve(&v->keys, len);
    if (st == ODB_OK)
        st = table_read(v->table, off, v->keys.p, len);
    if (st != ODB_OK)
        return st;
    what = frame_open(odb_bytes(v->keys.p, len), v->table->salt, off, true, &f);
    if (what)
        return table_corrupt(v->table, off, what);
    if (f.codec != CODEC_RAW || !sst_props_decode(f.payload, &props))
        return table_corrupt(v->table, off, "malformed properties");
    if (!verify_props_agree(v, &props))
        return table_corrupt(v->table, off, "the properties do not agree with the content");
    return ODB_OK;
}

static odb_status verify_totals(const struct verify_job *v)
{
    const struct sst_meta *m = v->meta;
    const struct sst_props *sum = &v->sum;

    if (v->digest != v->table->footer.digest)
        return table_corrupt(v->table, m->size - SST_FOOTER_LEN,
                             "the footer's digest is not that of the blocks");
    if (m->entries != sum->entries || m->deletes != sum->deletes ||
        m->raw_bytes != sum->raw_bytes || m->min_seq != sum->min_seq ||
        m->max_seq != sum->max_seq || !odb_slice_equal(buf_slice(&m->largest), buf_slice(&v->last)))
        return table_corrupt(v->table, 0, "the content is not what the manifest says");
    return ODB_OK;
}

odb_status sst_verify(struct sst_store *s, const struct sst_meta *meta)
{
    struct table_identity id = {s->opt.db_id, meta->file_no, meta->size, meta->check};
    struct verify_job *v = mem_zalloc(1, sizeof *v);
    odb_status st;

    if (!v)
        return err_set(ODB_NOMEM, "out of memory verifying a table");
    v->meta = meta;
    v->sum.min_seq = UINT64_MAX;
    st = table_open(s->opt.dir, &id, &s->cache, &v->table);
    for (uint32_t no = 0; st == ODB_OK && no < v->table->index.count; no++)
        st = verify_block(v, no);
    if (st == ODB_OK)
        st = verify_props(v);
    if (st == ODB_OK)
        st = verify_totals(v);
    if (v->table) {
        store_count(s, STORE_BYTES_READ, v->scan.bytes_read);
        table_shut(v->table);
        table_unref(v->table);
    }
    table_scan_release(&v->scan);
    buf_release(&v->keys);
    buf_release(&v->last);
    mem_free(v);
    return st;
}
