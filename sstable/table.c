/* sstable/table.c -- an open table, and its blocks on their way into memory.
 *
 *    header ----> right database, number and version?
 *    footer ----> the very footer the manifest remembers?
 *    index  ----> arrays                               all this once, at open;
 *    filter ----> kept as it is                        then, a block at a time:
 *    block  ----> checksum, unpack, block_open ----> slot
 *
 * 1. A number from the file is used only after its checksum and only within the size the file really
 *    has; the index and every block are checked before they are searched. Whatever the bytes say,
 *    the answer is the right one or ODB_CORRUPT with file and offset (P8, P17).
 * 2. `users` guards the descriptor: it is closed when the table is shut and the last reader has
 *    left, so a descriptor given up is free at once, not when some epoch ends. A point read whose
 *    block is in memory needs no descriptor and does not enter.
 * 3. `refs` guards the memory: the store holds one until the epoch after the table left it, each
 *    cursor one more.
 *
 * Threads: any; a table does not change once open, but for slots and counts.
 * Not here: which tables are open (store.c), which blocks stay (cache.c).
 */
#include "sstable/table.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "base/hash.h"
#include "sstable/frame.h"

#define TABLE_STACK      ((size_t)8 << 10)   /* frames up to this are read through the stack */
#define TABLE_WINDOW     ((size_t)256 << 10) /* one request of a scan, */
#define TABLE_WINDOW_MIN ((size_t)16 << 10)  /* and of a scan of a small table */
#define TABLE_AHEAD      8                   /* windows asked for ahead by who reads whole ones */

ODB_COLD odb_status table_corrupt(const struct sst_table *t, uint64_t off, const char *what)
{
    char name[SST_NAME_MAX];

    sst_file_name(t->file_no, name);
    return err_corrupt(name, off, what);
}

odb_status table_read(const struct sst_table *t, uint64_t off, void *dst, size_t len)
{
    size_t got;
    odb_status st = os_read(t->file, off, dst, len, &got);

    if (st == ODB_OK && got < len)
        st = table_corrupt(t, off + got, "the file ends early");
    return st;
}

/* ---- who may use the descriptor ---- */

bool table_enter(struct sst_table *t)
{
    uint32_t n = atomic_load_explicit(&t->users, memory_order_relaxed);

    do
        if (n & TABLE_CLOSED)
            return false;
    while (!atomic_compare_exchange_weak_explicit(&t->users, &n, n + 1, memory_order_acquire,
                                                  memory_order_relaxed));
    return true;
}

ODB_COLD void table_close_barred(struct sst_table *t)
{
    os_close(t->file);
    t->file = NULL;
}

void table_leave(struct sst_table *t)
{
    if (atomic_fetch_sub_explicit(&t->users, 1, memory_order_acq_rel) == (TABLE_CLOSED | 1))
        table_close_barred(t);
}

bool table_bar_idle(struct sst_table *t)
{
    uint32_t none = 0;

    return atomic_compare_exchange_strong_explicit(&t->users, &none, TABLE_CLOSED,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

ODB_COLD void table_shut(struct sst_table *t)
{
    if (atomic_fetch_or_explicit(&t->users, TABLE_CLOSED, memory_order_acq_rel) == 0)
        table_close_barred(t);
}

/* ---- open ---- */

static ODB_COLD void table_free(struct sst_table *t)
{
    if (!t)
        return;
    if (t->charge) {
        sst_cache_drop(t->cache, t->slot, t->index.count);
        sst_cache_discharge(t->cache, t->charge);
    }
    os_close(t->file); /* mostly closed long ago */
    index_release(&t->index);
    mem_free(t->filter_bytes);
    mem_free(t->slot_memory);
    mem_free(t);
}

void table_unref(struct sst_table *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        table_free(t);
}

/* Header, size and footer: is this the file that is meant? */
static ODB_COLD odb_status table_check_identity(struct sst_table *t,
                                                const struct table_identity *id)
{
    const char *name = os_file_name(t->file);
    uint8_t bytes[SST_HEADER_LEN > SST_FOOTER_LEN ? SST_HEADER_LEN : SST_FOOTER_LEN];
    uint64_t size, off;
    odb_status st;

    st = os_size(t->file, &size);
    if (st != ODB_OK)
        return st;
    if (size < SST_HEADER_LEN + SST_FOOTER_LEN)
        return err_corrupt(name, size, "too short for a table");
    st = table_read(t, 0, bytes, SST_HEADER_LEN);
    if (st == ODB_OK)
        st = sst_header_check(bytes, name, id->db_id, id->file_no);
    if (st != ODB_OK)
        return st;
    if (size != id->size)
        return err_corrupt(name, size, "the file is not as long as the manifest says");
    off = size - SST_FOOTER_LEN;
    st = table_read(t, off, bytes, SST_FOOTER_LEN);
    if (st == ODB_OK)
        st = sst_footer_decode(bytes, name, size, t->salt, &t->footer, &t->check);
    if (st == ODB_OK && t->check != id->check)
        st = err_corrupt(name, off, "the footer is not the one the manifest remembers");
    return st;
}

/* Read, check and unpack a section into fresh memory, the caller's to free. */
static ODB_COLD odb_status table_read_section(const struct sst_table *t, uint64_t off, uint64_t end,
                                              uint8_t **out, size_t *out_len)
{
    uint64_t len = end - off;
    uint8_t *stored = NULL, *raw = NULL;
    struct frame_view f;
    const char *what;
    odb_status st;

    assert(len <= FRAME_RAW_MAX); /* sst_footer_decode saw to it */
    stored = mem_alloc((size_t)len);
    if (!stored)
        goto no_memory;
    st = table_read(t, off, stored, (size_t)len);
    if (st != ODB_OK)
        goto done;
    what = frame_open(odb_bytes(stored, (size_t)len), t->salt, off, true, &f);
    if (what) {
        st = table_corrupt(t, off, what);
        goto done;
    }
    if (f.codec == CODEC_RAW) { /* the payload is in front already */
        *out = stored;
        *out_len = f.raw_len;
        stored = NULL;
        goto done;
    }
    raw = mem_alloc(f.raw_len);
    if (!raw)
        goto no_memory;
    st = frame_unpack(&f, raw, os_file_name(t->file), off);
    if (st != ODB_OK)
        goto done;
    *out = raw;
    *out_len = f.raw_len;
    raw = NULL;
    goto done;
no_memory:
    st = err_set(ODB_NOMEM, "out of memory reading %s", os_file_name(t->file));
done:
    mem_free(stored);
    mem_free(raw);
    return st;
}

static ODB_COLD odb_status table_open_index(struct sst_table *t)
{
    uint8_t *bytes = NULL;
    const char *what;
    size_t len;
    odb_status st;

    st = table_read_section(t, t->footer.index_off, t->footer.props_off, &bytes, &len);
    if (st != ODB_OK)
        return st;
    what = index_open(odb_bytes(bytes, len), SST_HEADER_LEN, t->footer.filter_off, &t->index);
    mem_free(bytes);
    if (what == index_no_memory)
        return err_set(ODB_NOMEM, "out of memory for the index of %s", os_file_name(t->file));
    if (what)
        return table_corrupt(t, t->footer.index_off, what);
    t->slot_memory = mem_zalloc(t->index.count + INDEX_LINE / sizeof *t->slot, sizeof *t->slot);
    if (!t->slot_memory)
        return err_set(ODB_NOMEM, "out of memory for the blocks of %s", os_file_name(t->file));
    t->slot = (struct sst_slot *)(void *)((uint8_t *)t->slot_memory +
                                          (INDEX_LINE - (uintptr_t)t->slot_memory % INDEX_LINE) %
                                              INDEX_LINE);
    return ODB_OK;
}

static ODB_COLD odb_status table_open_filter(struct sst_table *t, size_t *len)
{
    odb_status st;

    *len = 0;
    if (t->footer.index_off > t->footer.filter_off) {
        st =
            table_read_section(t, t->footer.filter_off, t->footer.index_off, &t->filter_bytes, len);
        if (st != ODB_OK)
            return st;
    }
    if (!filter_open(odb_bytes(t->filter_bytes, *len), &t->filter))
        return table_corrupt(t, t->footer.filter_off, "malformed filter");
    return ODB_OK;
}

ODB_COLD odb_status table_open(struct os_dir *dir, const struct table_identity *id,
                               struct sst_cache *cache, struct sst_table **out)
{
    struct sst_table *t = mem_zalloc(1, sizeof *t);
    char name[SST_NAME_MAX];
    size_t filter_len;
    odb_status st;

    sst_file_name(id->file_no, name);
    if (!t)
        return err_set(ODB_NOMEM, "out of memory opening %s", name);
    atomic_init(&t->refs, 1);
    t->cache = cache;
    t->file_no = id->file_no;
    t->salt = salt_for_file(id->db_id, id->file_no);
    st = os_open(dir, name, OS_RANDOM, &t->file);
    if (st == ODB_ABSENT) /* "absent" would read as: the key is not there */
        st = err_corrupt(name, 0, "the file is missing");
    if (st == ODB_OK)
        st = table_check_identity(t, id);
    if (st == ODB_OK)
        st = table_open_index(t);
    if (st == ODB_OK)
        st = table_open_filter(t, &filter_len);
    if (st != ODB_OK)
        goto done;
    t->charge =
        sizeof *t + t->index.footprint + filter_len + t->index.count * sizeof *t->slot + INDEX_LINE;
    sst_cache_charge(cache, t->charge);
    *out = t;
    t = NULL;
done:
    table_free(t);
    return st;
}

/* ---- blocks ---- */

/* The stored bytes of block `no` are there: into a frame of its own. */
static odb_status table_make_frame(const struct sst_table *t, uint32_t no, odb_slice stored,
                                   bool verify, struct sst_frame **out)
{
    uint64_t off = t->index.block_off[no];
    struct frame_view view;
    const char *what = frame_open(stored, t->salt, off, verify, &view);
    struct sst_frame *f;
    odb_status st;

    if (what)
        return table_corrupt(t, off, what);
    f = sst_frame_new(t->cache, view.raw_len);
    if (!f)
        return err_set(ODB_NOMEM, "out of memory for a block of %u bytes", view.raw_len);
    st = frame_unpack(&view, f->bytes, os_file_name(t->file), off);
    if (view.codec != CODEC_RAW)
        atomic_fetch_add_explicit(&t->cache->unpacked, 1, memory_order_relaxed);
    if (st == ODB_OK && !block_open(f->bytes, view.raw_len, &f->block))
        st = table_corrupt(t, off, "malformed block");
    if (st == ODB_OK)
        *out = f;
    else
        sst_frame_free(f);
    return st;
}

static struct sst_frame *table_publish(struct sst_table *t, uint32_t no, struct sst_frame *f)
{
    return sst_cache_publish(t->cache, f, &t->slot[CANARY(39) ? no & ~1u : no]);
}

odb_status table_load(struct sst_table *t, uint32_t no, bool verify, struct sst_frame **out)
{
    uint8_t small[TABLE_STACK], *stored = small;
    size_t len = index_frame_len(&t->index, no);
    struct sst_frame *f = NULL;
    odb_status st;

    if (len > sizeof small) {
        stored = mem_alloc(len);
        if (!stored)
            return err_set(ODB_NOMEM, "out of memory reading a block of %zu bytes", len);
    }
    st = table_read(t, t->index.block_off[no], stored, len);
    if (st == ODB_OK)
        st = table_make_frame(t, no, odb_bytes(stored, len), verify, &f);
    if (stored != small)
        mem_free(stored);
    if (st == ODB_OK)
        *out = table_publish(t, no, f);
    return st;
}

/* ---- scans ---- */

size_t table_window(const struct sst_table *t)
{
    uint64_t len = t->footer.filter_off / 16;

    return len < TABLE_WINDOW_MIN ? TABLE_WINDOW_MIN
           : len < TABLE_WINDOW   ? (size_t)len
                                  : TABLE_WINDOW;
}

bool table_scan_has(const struct sst_table *t, const struct table_scan *s, uint32_t no)
{
    return t->index.block_off[no] >= s->window_off &&
           t->index.block_off[no + 1] <= s->window_off + s->window.len;
}

static odb_slice table_scan_frame(const struct sst_table *t, const struct table_scan *s,
                                  uint32_t no)
{
    return odb_bytes(s->window.p + (t->index.block_off[no] - s->window_off),
                     index_frame_len(&t->index, no));
}

/* Have the frame of block `no` in the window, with as much as a request takes of what comes next. */
static odb_status table_scan_fill(struct sst_table *t, struct table_scan *s, uint32_t no,
                                  bool is_backward, size_t window)
{
    uint64_t begin = t->index.block_off[no], end = t->index.block_off[no + 1];
    uint64_t data_end = t->footer.filter_off;
    odb_status st;

    if (table_scan_has(t, s, no))
        return ODB_OK;
    if (end - begin < window) {
        if (is_backward)
            begin = end - SST_HEADER_LEN > window ? end - window : SST_HEADER_LEN;
        else
            end = data_end - begin > window ? begin + window : data_end;
    }
    buf_reset(&s->window);
    st = buf_reserve(&s->window, (size_t)(end - begin));
    if (st == ODB_OK)
        st = table_read(t, begin, s->window.p, (size_t)(end - begin));
    if (st != ODB_OK)
        return st;
    s->window.len = (size_t)(end - begin);
    s->window_off = begin;
    s->bytes_read += s->window.len;
    /* The descriptor is meant for random reads: ask by hand for what this walk needs next. A disk answers
     * best when some requests lie before it: who has come to whole windows is going far. */
    if (!is_backward && end < data_end) {
        uint64_t until = end + window * (window == table_window(t) ? TABLE_AHEAD : 1);

        if (s->asked < end || s->asked > until)
            s->asked = end;
        if (until > s->asked)
            os_read_ahead(t->file, s->asked, (size_t)(until - s->asked));
        s->asked = until;
    } else if (is_backward && begin > SST_HEADER_LEN + window)
        os_read_ahead(t->file, begin - window, window);
    return ODB_OK;
}

odb_status table_scan_load(struct sst_table *t, struct table_scan *s, uint32_t no, bool is_backward,
                           bool verify, struct block *out, uint64_t *out_check)
{
    uint64_t off = t->index.block_off[no];
    struct frame_view view;
    const uint8_t *bytes;
    odb_slice stored;
    const char *what;
    odb_status st = table_scan_fill(t, s, no, is_backward, table_window(t));

    if (st != ODB_OK)
        return st;
    stored = table_scan_frame(t, s, no);
    what = frame_open(stored, t->salt, off, verify, &view);
    if (what)
        return table_corrupt(t, off, what);
    bytes = view.payload.data; /* raw: where it lies */
    if (view.codec != CODEC_RAW) {
        buf_reset(&s->raw);
        st = buf_reserve(&s->raw, view.raw_len);
        if (st == ODB_OK)
            st = frame_unpack(&view, s->raw.p, os_file_name(t->file), off);
        atomic_fetch_add_explicit(&t->cache->unpacked, 1, memory_order_relaxed);
        if (st != ODB_OK)
            return st;
        s->raw.len = view.raw_len;
        bytes = s->raw.p;
    }
    if (!block_open(bytes, view.raw_len, out))
        return table_corrupt(t, off, "malformed block");
    if (out_check)
        *out_check = frame_check(stored);
    return ODB_OK;
}

odb_status table_load_ahead(struct sst_table *t, struct table_scan *s, uint32_t no,
                            bool is_backward, size_t window, bool verify, struct sst_frame **out)
{
    struct sst_frame *f;
    odb_status st = table_scan_fill(t, s, no, is_backward, window);

    if (st != ODB_OK) /* what failed need not be this block, nor is so much memory needed for it */
        return table_load(t, no, verify, out);
    st = table_make_frame(t, no, table_scan_frame(t, s, no), verify, &f);
    if (st == ODB_OK)
        *out = table_publish(t, no, f);
    return st;
}

ODB_COLD void table_scan_release(struct table_scan *s)
{
    buf_release(&s->window);
    buf_release(&s->raw);
}
