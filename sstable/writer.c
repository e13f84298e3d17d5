/* sstable/writer.c -- entries in, a table file out.
 *
 *    entry --> block builder --> LZ4, checksum --> write buffer --> file
 *      |            |                                 256 KiB
 *      |            +--> separator, frame length --> index
 *      +--> hash of each user key ----------------> filter
 *
 * LZ4 may be told to look for matches less often. Values with matches of dozens of bytes lose a percent or two
 * by that and pack in half the time; source text loses many. So where lz4_slack allows a loss, every 64th block,
 * from the second on, is also packed twice and four times as loosely, for its size alone, and the blocks after
 * it are packed as loosely as the slack permits.
 *
 * layout.c draws the file. A block is closed when it has grown to block_size; an entry of that size
 * or more gets a block of its own, so that its neighbours do not have to be read with it.
 *
 * 1. Entries rise strictly in internal order; the one that does not is refused before it touches
 *    anything. A merge that went wrong thus cannot make a table that answers wrong.
 * 2. The same entries and options give the same bytes on every machine: no time, no addresses.
 * 3. After a failure nothing more is written; sst_writer_free removes the file.
 *
 * Crash: the file means nothing until the manifest names it, and that happens after
 * sst_writer_finish has synced it; what a crash leaves behind is swept by lsm/ at open.
 * Threads: a writer belongs to one.
 * Not here: cutting the output into tables, and which versions are kept (compaction/).
 */
#include "sstable/sst.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sstable/block.h"
#include "sstable/filter.h"
#include "sstable/frame.h"
#include "sstable/index.h"
#include "sstable/layout.h"

#define WRITER_BUFFER   ((size_t)256 << 10)
#define WRITER_ROW_COST 4                   /* what a row takes in the columns of a block, about */
#define WRITER_PACES    3                   /* packing as asked, twice and four times as loosely */
#define WRITER_TRY      64                  /* blocks between two looks at what that loses */
#define WRITER_HASHES   ((size_t)8192)      /* so many are kept in pages of their own: 64 KiB */
#define WRITER_BEHIND   ((uint64_t)2 << 20) /* ask for write-back in stretches of this many bytes */

struct sst_writer {
    struct sst_writer_options opt;
    struct os_file *file;
    char name[SST_NAME_MAX];
    uint64_t salt;

    struct buf out; /* not yet written, begins at file offset out_off */
    uint64_t out_off;
    uint64_t behind_off; /* write-back was asked for up to here */

    struct block_builder *block;
    struct buf raw;                /* a finished block, or a section, before it is framed */
    uint64_t block_deletes;        /* of the open block */
    size_t room;                   /* entry bytes until its size is worth asking for again */
    unsigned pace;                 /* blocks are packed 2^pace times as loosely as asked */
    uint64_t packed[WRITER_PACES]; /* what blocks came to at each, the latest counting most */
    struct buf sep;                /* before the open block */
    uint64_t sep_trailer;
    struct index_builder index;
    uint64_t digest;

    uint64_t *hashes; /* of the user keys, for the filter */
    size_t hash_count;
    size_t hash_cap;

    struct buf last; /* key of the entry before the open block */
    uint64_t last_trailer;
    struct sst_props props; /* its slices are unused */
    struct sst_meta meta;
    odb_status failed;
    bool is_finished;
};

/* ---- names and metadata ---- */

void sst_file_name(uint64_t file_no, char *out)
{
    (void)snprintf(out, SST_NAME_MAX, "%06llu.sst", (unsigned long long)file_no);
}

void sst_meta_release(struct sst_meta *m)
{
    buf_release(&m->smallest);
    buf_release(&m->largest);
    *m = (struct sst_meta){0};
}

odb_status sst_meta_copy(struct sst_meta *out, const struct sst_meta *m)
{
    struct sst_meta copy = *m;
    odb_status st;

    copy.smallest = copy.largest = (struct buf){0};
    st = buf_assign(&copy.smallest, m->smallest.p, m->smallest.len);
    if (st == ODB_OK)
        st = buf_assign(&copy.largest, m->largest.p, m->largest.len);
    if (st == ODB_OK)
        *out = copy;
    else
        sst_meta_release(&copy);
    return st;
}

/* ---- life ---- */

odb_status sst_writer_new(const struct sst_writer_options *opt, uint64_t file_no,
                          struct sst_writer **out)
{
    struct sst_writer *w = mem_zalloc(1, sizeof *w);
    odb_status st;

    if (!w)
        return err_set(ODB_NOMEM, "out of memory for a table writer");
    w->opt = *opt;
    if (w->opt.block_size > SST_BLOCK_SIZE_MAX)
        w->opt.block_size = SST_BLOCK_SIZE_MAX;
    if (w->opt.lz4_acceleration < 1)
        w->opt.lz4_acceleration = 1;
    w->room = w->opt.block_size;
    w->salt = salt_for_file(opt->db_id, file_no);
    w->meta.file_no = file_no;
    w->props.min_seq = UINT64_MAX;
    w->props.block_size = w->opt.block_size;
    w->props.bits_per_key = w->opt.bits_per_key;
    sst_file_name(file_no, w->name);
    st = block_builder_new(&w->block);
    if (st != ODB_OK)
        goto done;
    st = buf_reserve(&w->out, SST_HEADER_LEN);
    if (st != ODB_OK)
        goto done;
    sst_header_encode(w->out.p, opt->db_id, file_no);
    w->out.len = SST_HEADER_LEN;
    st = os_open(opt->dir, w->name, OS_WRITE | OS_CREATE, &w->file);
    if (st != ODB_OK)
        goto done;
    *out = w;
    w = NULL;
done:
    sst_writer_free(w);
    return st;
}

/* Nobody knows the file yet; what cannot be removed is swept at the next open. The text of the error
 * that brought us here matters more than one from here. */
static void writer_remove_file(const struct sst_writer *w)
{
    char text[ERR_TEXT_MAX];
    odb_status st;

    err_save(text);
    st = os_remove(w->opt.dir, w->name);
    if (st != ODB_OK)
        err_restore(st, text);
}

/* Many are in pages of their own: megabytes that come and go with each table would stay behind in the
 * heap of every worker that once wrote one. */
static void writer_free_hashes(struct sst_writer *w)
{
    if (w->hash_cap < WRITER_HASHES)
        mem_free(w->hashes);
    else
        mem_pages_free(w->hashes, w->hash_cap * sizeof *w->hashes);
}

void sst_writer_free(struct sst_writer *w)
{
    if (!w)
        return;
    if (w->file) {
        os_close(w->file);
        if (!w->is_finished)
            writer_remove_file(w);
    }
    block_builder_free(w->block);
    index_builder_release(&w->index);
    buf_release(&w->out);
    buf_release(&w->raw);
    buf_release(&w->sep);
    buf_release(&w->last);
    writer_free_hashes(w);
    sst_meta_release(&w->meta);
    mem_free(w);
}

uint64_t sst_writer_size(const struct sst_writer *w)
{
    return w->out_off + w->out.len + w->opt.block_size - w->room;
}

/* ---- blocks ---- */

/* Write what is buffered. */
static odb_status writer_flush(struct sst_writer *w)
{
    odb_status st = os_write(w->file, w->out_off, w->out.p, w->out.len);

    if (st != ODB_OK)
        return st;
    w->out_off += w->out.len;
    buf_reset(&w->out);
    if (w->out_off - w->behind_off >= WRITER_BEHIND) {
        os_write_behind(w->file, w->behind_off, w->out_off - w->behind_off);
        w->behind_off = w->out_off;
    }
    return ODB_OK;
}

/* Frame w->raw and append it to the file; *frame_len and *check are those of the frame. */
static odb_status writer_frame(struct sst_writer *w, enum codec codec, uint64_t *frame_len,
                               uint64_t *check)
{
    size_t before = w->out.len;
    odb_status st;

    /* A table that outgrows the buffer once will do so again: grow in one step. */
    if (w->out.len + w->raw.len > WRITER_BUFFER / 8 && w->out.cap < WRITER_BUFFER) {
        st = buf_reserve(&w->out, WRITER_BUFFER + WRITER_BUFFER / 8 - w->out.len);
        if (st != ODB_OK)
            return st;
    }
    st = frame_append(&w->out, buf_slice(&w->raw), codec, w->opt.lz4_acceleration << w->pace,
                      w->salt, w->out_off + before, check);
    if (st != ODB_OK)
        return st;
    *frame_len = w->out.len - before;
    buf_reset(&w->raw);
    return w->out.len >= WRITER_BUFFER ? writer_flush(w) : ODB_OK;
}

/* Whether the open block is full, with `e` just added. Its size takes a while to tell, so that is
 * asked for only when enough was added since last time to fill it. */
static bool writer_block_is_full(struct sst_writer *w, const struct entry *e)
{
    size_t added = (size_t)e->key_len + e->value_len + WRITER_ROW_COST, size;

    if (added < w->room) {
        w->room -= added;
        return false;
    }
    size = block_builder_size(w->block);
    w->room = size < w->opt.block_size ? w->opt.block_size - size : 0;
    return w->room == 0;
}

/* Choose the pace of the blocks to come from what w->raw packs to at each. */
static odb_status writer_choose_pace(struct sst_writer *w)
{
    size_t most = w->raw.len - w->raw.len / 8, n;
    odb_status st = buf_reserve(&w->out, most);

    if (st != ODB_OK)
        return st;
    for (unsigned i = 0; i < WRITER_PACES; i++) {
        n = lz4_pack(w->raw.p, w->raw.len, w->out.p + w->out.len, most,
                     w->opt.lz4_acceleration << i);
        w->packed[i] = w->packed[i] / 2 + (n ? n : w->raw.len);
        if (w->packed[i] * 1000 <= w->packed[0] * (1000 + w->opt.lz4_slack))
            w->pace = i;
    }
    return ODB_OK;
}

static odb_status writer_end_block(struct sst_writer *w)
{
    odb_slice last = block_builder_last(w->block);
    enum codec codec = w->opt.codec;
    uint64_t frame_len, check;
    odb_status st = buf_assign(&w->last, last.data, last.size);
    bool is_turned;

    if (st == ODB_OK)
        st = block_builder_finish(w->block, &w->raw);
    if (st == ODB_OK && codec == CODEC_LZ4) {
        codec = CODEC_LZ4_BLOCK;
        is_turned = block_turn(w->raw.p, w->raw.len, false);
        assert(is_turned); /* a block of our own making */
        (void)is_turned;
        if (w->opt.lz4_slack && w->props.blocks % WRITER_TRY == 1)
            st = writer_choose_pace(w);
    }
    if (st != ODB_OK)
        return st;
    w->props.unpacked_bytes += w->raw.len;
    st = writer_frame(w, codec, &frame_len, &check);
    if (st != ODB_OK)
        return st;
    st = index_builder_add(&w->index, buf_slice(&w->sep), w->sep_trailer, frame_len);
    if (st != ODB_OK)
        return st;
    w->digest = hash_mix(w->digest, check);
    w->props.blocks++;
    if (w->block_deletes > w->props.max_block_deletes)
        w->props.max_block_deletes = w->block_deletes;
    w->block_deletes = 0;
    w->room = w->opt.block_size;
    return ODB_OK;
}

/* `e` opens a block: note what separates it from the entry before (index.c tells how). */
static odb_status writer_begin_block(struct sst_writer *w, const struct entry *e, bool is_new_key)
{
    if (w->props.entries == 0)
        return ODB_OK;
    w->sep_trailer = INDEX_ANY;
    if (is_new_key)
        return buf_assign(&w->sep, e->key,
                          key_common(w->last.p, w->last.len, e->key, e->key_len) + 1);
    w->sep_trailer = w->last_trailer - 1;
    return buf_assign(&w->sep, e->key, e->key_len);
}

/* ---- entries ---- */

static odb_status writer_grow_hashes(struct sst_writer *w)
{
    size_t cap = w->hash_cap ? w->hash_cap * 2 : 64;
    uint64_t *p = NULL;

    if (cap < WRITER_HASHES)
        p = mem_array(cap, sizeof *p);
    else if (cap <= SIZE_MAX / sizeof *p)
        p = mem_pages_reserve(cap * sizeof *p);
    if (!p)
        return err_set(ODB_NOMEM, "out of memory for the filter of %zu keys", w->hash_count);
    if (w->hash_count)
        memcpy(p, w->hashes, w->hash_count * sizeof *p);
    writer_free_hashes(w);
    w->hashes = p;
    w->hash_cap = cap;
    return ODB_OK;
}

static odb_status writer_keep_hash(struct sst_writer *w, uint64_t hash)
{
    if (ODB_UNLIKELY(w->hash_count == w->hash_cap)) {
        odb_status st = writer_grow_hashes(w);

        if (st != ODB_OK)
            return st;
    }
    w->hashes[w->hash_count++] = hash;
    return ODB_OK;
}

/* What must be true of an entry: its order and its sizes. *is_new_key: another user key than before.
 */
static odb_status writer_judge(const struct sst_writer *w, const struct entry *e, bool *is_new_key)
{
    odb_slice last =
        block_builder_count(w->block) ? block_builder_last(w->block) : buf_slice(&w->last);
    int c = w->props.entries ? key_compare(last.data, last.size, e->key, e->key_len) : -1;

    if (c > 0 || (c == 0 && w->last_trailer <= e->trailer) ||
        !kind_is_known(trailer_kind(e->trailer)))
        return err_corrupt(w->name, w->out_off + w->out.len,
                           "entries to write are out of order, or of no known kind");
    if (e->key_len > KEY_LEN_MAX || e->value_len > VALUE_LEN_MAX)
        return err_set(ODB_TOO_LARGE, "%s: an entry of %u + %u bytes is over the limit", w->name,
                       e->key_len, e->value_len);
    *is_new_key = c != 0;
    return ODB_OK;
}

static void writer_count(struct sst_writer *w, const struct entry *e)
{
    uint64_t seq = trailer_seq(e->trailer);
    bool is_delete = trailer_kind(e->trailer) == KIND_DELETE;

    w->props.entries++;
    w->props.deletes += is_delete;
    w->block_deletes += is_delete;
    w->props.raw_bytes += (uint64_t)e->key_len + e->value_len;
    if (seq < w->props.min_seq)
        w->props.min_seq = seq;
    if (seq > w->props.max_seq)
        w->props.max_seq = seq;
}

static odb_status writer_add(struct sst_writer *w, const struct entry *e)
{
    bool is_big = (size_t)e->key_len + e->value_len >= w->opt.block_size;
    bool is_new_key = false;
    uint64_t hash = hash64(e->key, e->key_len);
    odb_status st = writer_judge(w, e, &is_new_key);

    if (st != ODB_OK)
        return st;
    if (is_big && block_builder_count(w->block) > 0) {
        st = writer_end_block(w);
        if (st != ODB_OK)
            return st;
    }
    if (block_builder_count(w->block) == 0) {
        st = writer_begin_block(w, e, is_new_key);
        if (st != ODB_OK)
            return st;
    }
    st = block_builder_add(w->block, e, hash);
    if (st != ODB_OK)
        return st;
    if (is_new_key) {
        if (w->opt.bits_per_key > 0)
            st = writer_keep_hash(w, hash);
        if (st == ODB_OK && w->props.entries == 0)
            st = buf_assign(&w->meta.smallest, e->key, e->key_len);
        if (st != ODB_OK)
            return st;
        w->props.keys++;
    }
    w->last_trailer = e->trailer;
    writer_count(w, e);
    if (is_big || writer_block_is_full(w, e))
        st = writer_end_block(w);
    return st;
}

odb_status sst_writer_add(struct sst_writer *w, const struct entry *e)
{
    assert(!w->is_finished);
    if (ODB_LIKELY(w->failed == ODB_OK))
        w->failed = writer_add(w, e);
    return w->failed;
}

/* ---- the end of the file ---- */

/* Filter, index and properties; tells where they begin. */
static odb_status writer_sections(struct sst_writer *w, struct sst_footer *f)
{
    uint64_t len, check;
    odb_status st;

    f->filter_off = w->out_off + w->out.len;
    if (w->opt.bits_per_key > 0) {
        st = filter_build(w->hashes, w->hash_count, w->opt.bits_per_key, &w->raw);
        if (st != ODB_OK)
            return st;
        st = writer_frame(w, CODEC_RAW, &len, &check); /* random bits do not pack */
        if (st != ODB_OK)
            return st;
    }
    f->index_off = w->out_off + w->out.len;
    w->pace = 0; /* what blocks are made of says nothing about the index */
    st = index_builder_finish(&w->index, &w->raw);
    if (st != ODB_OK)
        return st;
    st = writer_frame(w, w->opt.codec, &len, &check);
    if (st != ODB_OK)
        return st;
    f->props_off = w->out_off + w->out.len;
    w->props.smallest = buf_slice(&w->meta.smallest);
    w->props.largest = buf_slice(&w->last);
    st = sst_props_encode(&w->props, &w->raw);
    if (st != ODB_OK)
        return st;
    return writer_frame(w, CODEC_RAW, &len, &check);
}

static odb_status writer_finish(struct sst_writer *w)
{
    struct sst_footer f = {0};
    odb_status st = ODB_OK;

    if (block_builder_count(w->block) > 0)
        st = writer_end_block(w);
    if (st == ODB_OK)
        st = writer_sections(w, &f);
    if (st == ODB_OK)
        st = buf_reserve(&w->out, SST_FOOTER_LEN);
    if (st != ODB_OK)
        return st;
    f.digest = w->digest;
    f.file_size = w->out_off + w->out.len + SST_FOOTER_LEN;
    w->meta.check = sst_footer_encode(w->out.p + w->out.len, &f, w->salt);
    w->out.len += SST_FOOTER_LEN;
    st = writer_flush(w);
    if (st != ODB_OK)
        return st;
    /* Without it, a manifest that reached the disk could name a table that did not. */
    st = os_sync(w->file);
    w->meta.size = f.file_size;
    return st;
}

odb_status sst_writer_finish(struct sst_writer *w, struct sst_meta *out)
{
    assert(!w->is_finished && (w->failed != ODB_OK || w->props.entries > 0));
    if (w->failed == ODB_OK)
        w->failed = writer_finish(w);
    if (w->failed != ODB_OK)
        return w->failed;
    w->meta.entries = w->props.entries;
    w->meta.deletes = w->props.deletes;
    w->meta.raw_bytes = w->props.raw_bytes;
    w->meta.min_seq = w->props.min_seq;
    w->meta.max_seq = w->props.max_seq;
    w->meta.largest = w->last;
    w->last = (struct buf){0};
    *out = w->meta;
    w->meta = (struct sst_meta){0};
    w->is_finished = true;
    return ODB_OK;
}
