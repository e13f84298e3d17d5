/* sstable/cursor.c -- an ordered walk over one table (base/cursor.h says what a cursor promises).
 *
 *    block 6            block 7                          block 8
 *    [ . . . . . ]      [ . . . r r r r r . . . ]        [ . . . ]
 *                               |       |
 *                             first   first + count      the run: rows decoded into `entry`
 *
 * A run is a stretch of rows of one block. After a seek it is a single row, since many seeks are
 * never stepped on; then 4, 16 and the rest of the block, up to what TCUR_RUN_ROWS and TCUR_RUN_BYTES allow.
 *
 * 1. The current block stays where it is while the run is lent out: its frame is pinned, or (in a
 *    scan) it lies in the cursor's own memory. No epoch is held between calls.
 * 2. The cursor holds the table, not the ref, and is counted among those who read from its file: the
 *    store neither closes nor frees it before the cursor goes.
 * 3. An error stops the walk and sticks; no row is skipped (P8).
 *
 * SST_SCAN reads past the cache, 256 KiB at a time (table.c), but takes blocks that are resident
 * anyway. Other cursors, once they miss the block next to the one they missed last, read in growing
 * windows, too, and put the blocks they come to into the cache; what of a window they do not come to is
 * not even unpacked.
 */
#include "sstable/store.h"

#include <assert.h>
#include <stddef.h>

#include "base/alloc.h"

#define TCUR_RUN_ROWS   256u
#define TCUR_RUN_BYTES  ((size_t)64 << 10) /* of decoded keys; one row at least */
#define TCUR_OWN_ROWS   20u                /* room for short runs, in the cursor itself */
#define TCUR_OWN_KEYS   512u
#define TCUR_WINDOW_MIN ((size_t)16 << 10)

#define TCUR_NOWHERE UINT32_MAX /* no block is held */

struct sst_cursor {
    struct cursor base;
    struct sst_store *store;
    struct sst_table *table;
    unsigned flags;

    uint32_t no; /* of the block held, or TCUR_NOWHERE */
    enum { TCUR_UNAIMED, TCUR_BEGUN, TCUR_AIMED } aim;
    struct index_step step; /* TCUR_BEGUN: towards the block the seek to come will ask for */
    uint32_t aimed;         /* TCUR_AIMED: that block */
    const struct block *block;
    struct sst_frame *frame; /* pinned; NULL when the block is private */
    struct table_scan scan;
    struct block scan_block;

    uint32_t first;  /* row of base.run[0] */
    uint32_t stride; /* rows of the next run */
    struct entry *entry;
    uint32_t entry_cap;
    uint8_t *keys;
    size_t keys_cap;

    uint32_t missed; /* the block that had to be loaded last */
    size_t window;   /* read at once then; 0: that block alone, the walk is not in order yet */

    bool is_lent; /* the memory is the caller's */
    struct entry own_entry[TCUR_OWN_ROWS];
    uint8_t own_keys[TCUR_OWN_KEYS];
};

static struct sst_cursor *tcur_own(struct cursor *c)
{
    return (struct sst_cursor *)(void *)c;
}

/* ---- blocks ---- */

static void tcur_let_go(struct sst_cursor *c)
{
    if (c->frame)
        sst_frame_unpin(c->frame);
    c->frame = NULL;
    c->block = NULL;
    c->no = TCUR_NOWHERE;
}

/* Block `no` has to come from the file, into the cache. In a walk in order, together with some of what
 * comes next. */
static ODB_COLD odb_status tcur_load(struct sst_cursor *c, uint32_t no, bool is_backward,
                                     struct sst_frame **out)
{
    uint64_t before = c->scan.bytes_read;
    bool in_order =
        c->missed != TCUR_NOWHERE && (is_backward ? no + 1 == c->missed : no == c->missed + 1);
    odb_status st;

    c->missed = no;
    if (!in_order) {
        c->window = 0;
        return store_load(c->store, c->table, no, out);
    }
    if (!table_scan_has(c->table, &c->scan, no)) {
        size_t most = table_window(c->table);

        c->window = c->window ? c->window * 2 : TCUR_WINDOW_MIN;
        if (c->window > most)
            c->window = most;
    }
    st = table_load_ahead(c->table, &c->scan, no, is_backward, c->window,
                          c->store->opt.verify_on_read, out);
    store_count(c->store, STORE_BLOCK_READS, 1);
    store_count(c->store, STORE_BYTES_READ, c->scan.bytes_read - before);
    return st;
}

/* The frame of block `no`, pinned, into *out; NULL there when a scan has to read it itself. */
static odb_status tcur_pin_frame(struct sst_cursor *c, uint32_t no, bool is_backward,
                                 struct sst_frame **out)
{
    struct epoch_guard g = epoch_enter(c->store->opt.epoch);
    struct sst_frame *f = atomic_load_explicit(&c->table->slot[no].frame, memory_order_acquire);
    odb_status st = ODB_OK;

    if (f) {
        sst_frame_prefetch(f);
        store_count(c->store, STORE_BLOCK_HITS, 1);
        if (!(c->flags & SST_SCAN)) /* a merge must not make a block look wanted */
            sst_frame_touch(f);
    } else if (!(c->flags & SST_SCAN)) {
        st = tcur_load(c, no, is_backward, &f);
    }
    if (st == ODB_OK && f)
        sst_frame_pin(f);
    epoch_leave(g);
    if (st == ODB_OK)
        *out = f;
    return st;
}

/* Hold block `no`. On failure the cursor is stopped. */
static bool tcur_hold(struct sst_cursor *c, uint32_t no, bool is_backward)
{
    struct sst_frame *f = NULL;
    odb_status st;

    if (c->no == no)
        return true;
    st = tcur_pin_frame(c, no, is_backward, &f);
    tcur_let_go(c);
    if (st == ODB_OK && !f) {
        uint64_t before = c->scan.bytes_read;

        st = table_scan_load(c->table, &c->scan, no, is_backward, c->store->opt.verify_on_read,
                             &c->scan_block, NULL);
        store_count(c->store, STORE_BLOCK_READS, 1);
        store_count(c->store, STORE_BYTES_READ, c->scan.bytes_read - before);
    }
    if (st != ODB_OK)
        return cursor_stop(&c->base, st);
    c->frame = f;
    c->block = f ? &f->block : &c->scan_block;
    c->no = no;
    return true;
}

/* The walk will come to block `no` after the one it enters now: start loading it, if it is resident. The
 * frame may be gone already; that does not matter for a prefetch. */
static void tcur_send_for(const struct sst_cursor *c, uint32_t no)
{
    const struct sst_frame *f =
        atomic_load_explicit(&c->table->slot[no].frame, memory_order_relaxed);

    if (f)
        sst_frame_prefetch(f);
}

/* ---- runs ---- */

static void tcur_drop_entries(struct sst_cursor *c)
{
    if (c->entry != c->own_entry)
        mem_free(c->entry);
}

static void tcur_drop_keys(struct sst_cursor *c)
{
    if (c->keys != c->own_keys)
        mem_free(c->keys);
}

/* Room for `rows` entries, and `bytes` of keys. */
static ODB_COLD odb_status tcur_grow(struct sst_cursor *c, uint32_t rows, size_t bytes)
{
    if (rows > c->entry_cap) {
        struct entry *e = mem_array(rows, sizeof *e);

        if (!e)
            return err_set(ODB_NOMEM, "out of memory for a table cursor");
        tcur_drop_entries(c);
        c->entry = e;
        c->entry_cap = rows;
    }
    if (bytes > c->keys_cap) {
        uint8_t *p = mem_alloc(bytes);

        if (!p)
            return err_set(ODB_NOMEM, "out of memory for a table cursor");
        tcur_drop_keys(c);
        c->keys = p;
        c->keys_cap = bytes;
    }
    return ODB_OK;
}

/* Decode a run of the block held that contains `row`, at its end if `is_backward`, else at its
 * beginning, and stand on `row`. */
static bool tcur_decode(struct sst_cursor *c, uint32_t row, bool is_backward)
{
    size_t key_max = block_key_max(c->block);
    uint32_t left = is_backward ? row + 1 : c->block->count - row;
    uint32_t rows = c->flags & SST_SCAN ? TCUR_RUN_ROWS : c->stride;

    if (rows > left)
        rows = left;
    if (key_max && rows > TCUR_RUN_BYTES / key_max)
        rows = TCUR_RUN_BYTES / key_max > 1 ? (uint32_t)(TCUR_RUN_BYTES / key_max) : 1;
    if (rows > c->entry_cap || rows * key_max > c->keys_cap) {
        odb_status st = tcur_grow(c, rows, rows * key_max);

        if (st != ODB_OK)
            return cursor_stop(&c->base, st);
    }
    c->first = is_backward ? row + 1 - rows : row;
    block_decode(c->block, c->first, rows, c->entry, c->keys);
    /* The CPU does not run ahead of a walk that has just begun, nor well of one backward. */
    if (rows <= TCUR_OWN_ROWS || is_backward)
        for (uint32_t i = 0; i < rows; i++)
            ODB_PREFETCH(c->entry[i].value);
    c->base.run = c->entry;
    c->base.count = rows;
    c->base.at = row - c->first;
    c->base.status = ODB_OK;
    c->base.is_plain = c->block->is_plain;
    c->base.newest = c->block->newest;
    c->stride = c->stride < TCUR_RUN_ROWS / 4 ? c->stride * 4 : TCUR_RUN_ROWS;
    return true;
}

static bool tcur_next_run(struct cursor *base)
{
    struct sst_cursor *c = tcur_own(base);
    uint32_t row = c->first + base->count, no = c->no;

    if (!cursor_valid(base))
        return false;
    if (row < c->block->count)
        return tcur_decode(c, row, false);
    if (no + 1 == c->table->index.count)
        return cursor_stop(base, ODB_OK);
    if (no + 2 < c->table->index.count)
        tcur_send_for(c, no + 2);
    return tcur_hold(c, no + 1, false) && tcur_decode(c, 0, false);
}

static bool tcur_prev_run(struct cursor *base)
{
    struct sst_cursor *c = tcur_own(base);

    if (!cursor_valid(base))
        return false;
    if (c->first > 0)
        return tcur_decode(c, c->first - 1, true);
    if (c->no == 0)
        return cursor_stop(base, ODB_OK);
    if (c->no > 1)
        tcur_send_for(c, c->no - 2);
    return tcur_hold(c, c->no - 1, true) && tcur_decode(c, c->block->count - 1, true);
}

/* ---- positioning ---- */

static bool tcur_first(struct cursor *base)
{
    struct sst_cursor *c = tcur_own(base);

    c->stride = 4;
    return tcur_hold(c, 0, false) && tcur_decode(c, 0, false);
}

static ODB_COLD bool tcur_last(struct cursor *base)
{
    struct sst_cursor *c = tcur_own(base);

    c->stride = 4;
    return tcur_hold(c, c->table->index.count - 1, true) &&
           tcur_decode(c, c->block->count - 1, true);
}

static void tcur_aim(struct cursor *base, odb_slice key, uint64_t trailer)
{
    struct sst_cursor *c = tcur_own(base);

    if (c->aim == TCUR_UNAIMED) { /* line of the index, and of the slots it lies beside */
        c->step = index_begin(&c->table->index, key);
        ODB_PREFETCH(&c->table->slot[c->step.at]);
        c->aim = TCUR_BEGUN;
    } else if (c->aim == TCUR_BEGUN) {
        c->aimed = index_end(&c->table->index, &c->step, key, trailer);
        if (c->aimed != c->no)
            tcur_send_for(c, c->aimed);
        c->aim = TCUR_AIMED;
    }
}

/* The block a seek has to look at. */
static uint32_t tcur_find(struct sst_cursor *c, odb_slice key, uint64_t trailer)
{
    if (c->aim == TCUR_UNAIMED)
        tcur_aim(&c->base, key, trailer);
    if (c->aim == TCUR_BEGUN)
        tcur_aim(&c->base, key, trailer);
    c->aim = TCUR_UNAIMED;
    return c->aimed;
}

static bool tcur_seek(struct cursor *base, odb_slice key, uint64_t trailer)
{
    struct sst_cursor *c = tcur_own(base);
    uint32_t no = tcur_find(c, key, trailer), row;

    c->stride = 1;
    if (!tcur_hold(c, no, false))
        return false;
    row = block_seek(c->block, key, trailer);
    if (row < c->block->count)
        return tcur_decode(c, row, false);
    if (no + 1 == c->table->index.count)
        return cursor_stop(base, ODB_OK);
    return tcur_hold(c, no + 1, false) && tcur_decode(c, 0, false);
}

/* The last entry at or before the target is the one before the first that comes after it, and that
 * is the first at or after the next trailer down. No entry has trailer 0: its kind would be 0. */
static bool tcur_seek_for_prev(struct cursor *base, odb_slice key, uint64_t trailer)
{
    struct sst_cursor *c = tcur_own(base);
    uint32_t no = tcur_find(c, key, trailer), row;

    c->stride = 1;
    if (!tcur_hold(c, no, true))
        return false;
    row = block_seek(c->block, key, trailer ? trailer - 1 : 0);
    if (row > 0)
        return tcur_decode(c, row - 1, true);
    if (no == 0)
        return cursor_stop(base, ODB_OK);
    return tcur_hold(c, no - 1, true) && tcur_decode(c, c->block->count - 1, true);
}

/* ---- life ---- */

static void tcur_close(struct cursor *base)
{
    struct sst_cursor *c = tcur_own(base);

    tcur_let_go(c);
    table_leave(c->table);
    table_unref(c->table);
    table_scan_release(&c->scan);
    tcur_drop_entries(c);
    tcur_drop_keys(c);
    if (!c->is_lent)
        mem_free(c);
}

static const struct cursor_ops sst_cursor_ops = {
    .first = tcur_first,
    .last = tcur_last,
    .seek = tcur_seek,
    .seek_for_prev = tcur_seek_for_prev,
    .next_run = tcur_next_run,
    .prev_run = tcur_prev_run,
    .free = tcur_close,
    .aim = tcur_aim,
};

size_t sst_cursor_size(void)
{
    return sizeof(struct sst_cursor);
}

odb_status sst_cursor_init(void *memory, struct sst_store *s, struct sst_ref *ref, unsigned flags,
                           struct cursor **out)
{
    struct sst_cursor *c = memory;
    struct sst_table *t = NULL;
    struct epoch_guard g = epoch_enter(s->opt.epoch);
    odb_status st;

    do
        st = store_table(s, ref, &t);
    while (st == ODB_OK && !table_enter(t)); /* closed just now: find it anew */
    if (st == ODB_OK)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    epoch_leave(g);
    if (st != ODB_OK)
        return st;
    memset(c, 0, offsetof(struct sst_cursor, own_entry));
    c->base.ops = &sst_cursor_ops;
    c->store = s;
    c->table = t;
    c->flags = flags;
    c->no = c->missed = TCUR_NOWHERE;
    c->entry = c->own_entry;
    c->entry_cap = TCUR_OWN_ROWS;
    c->keys = c->own_keys;
    c->keys_cap = TCUR_OWN_KEYS;
    c->is_lent = true;
    *out = &c->base;
    return ODB_OK;
}

ODB_COLD odb_status sst_cursor_new(struct sst_store *s, struct sst_ref *ref, unsigned flags,
                                   struct cursor **out)
{
    struct sst_cursor *c = mem_alloc(sizeof *c);
    odb_status st;

    if (!c)
        return err_set(ODB_NOMEM, "out of memory for a table cursor");
    st = sst_cursor_init(c, s, ref, flags, out);
    if (st == ODB_OK)
        c->is_lent = false;
    else
        mem_free(c);
    return st;
}
