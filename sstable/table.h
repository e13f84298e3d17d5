/* sstable/table.h -- one open table: its descriptor, its index and filter, the slots of its blocks.
 * sstable/table.c explains; only sstable/ includes this.
 */
#ifndef ODB_SSTABLE_TABLE_H
#define ODB_SSTABLE_TABLE_H

#include "sstable/cache.h"
#include "sstable/filter.h"
#include "sstable/index.h"
#include "sstable/layout.h"
#include "sstable/sst.h"

#define TABLE_CLOSED (UINT32_C(1) << 31) /* in `users` */

struct sst_table {
    /* fixed once open */
    struct filter filter;
    struct sst_index index;
    struct sst_slot *slot; /* one a block, aligned like the index; cache.c (1) */
    void *slot_memory;
    struct sst_cache *cache;
    uint64_t salt;
    uint64_t file_no;
    uint64_t check; /* of the footer */
    struct sst_footer footer;
    size_t charge;
    uint8_t *filter_bytes;

    atomic_bool is_used;    /* read since the store's hand last came by; relaxed */
    _Atomic uint32_t users; /* who may read from `file` now, or TABLE_CLOSED */
    _Atomic uint32_t refs;  /* one until the epoch after leaving the store, one a cursor */
    struct os_file *file;   /* while users allows it */
    struct sst_ref *owner;  /* the store's, under its lock */
    struct sst_table *next, *prev;
    struct epoch_item item;
};

/* What a table is expected to be, as the manifest tells. */
struct table_identity {
    uint64_t db_id;
    uint64_t file_no;
    uint64_t size;
    uint64_t check;
};

/* Open and check header, footer, index and filter. The caller owns the one reference, and the table
 * is charged to `cache`. ODB_CORRUPT (a missing file too: somebody names it), ODB_VERSION, ODB_IO,
 * ODB_NOMEM, ODB_LIMIT. */
ODB_COLD ODB_MUST_CHECK odb_status table_open(struct os_dir *dir, const struct table_identity *id,
                                              struct sst_cache *cache, struct sst_table **out);
/* The last one frees the table and empties its slots. No lock of RANK_CACHE or above. */
void table_unref(struct sst_table *t);

/* Become one of those who read from the file. False: it was closed; find the table anew. */
bool table_enter(struct sst_table *t);
void table_leave(struct sst_table *t);
/* Bar the way in if nobody is inside; false: somebody is. Then table_close_barred closes the file. */
bool table_bar_idle(struct sst_table *t);
void table_close_barred(struct sst_table *t);
/* Let nobody in any more; the last one inside closes the file. */
void table_shut(struct sst_table *t);

/* Read block `no` from the file into its slot. Inside an epoch and between enter and leave. */
ODB_MUST_CHECK odb_status table_load(struct sst_table *t, uint32_t no, bool verify,
                                     struct sst_frame **out);

/* Reading the blocks in a row, in large requests, past the cache. Zero-initialise. */
struct table_scan {
    struct buf window; /* file bytes from window_off on */
    uint64_t window_off;
    uint64_t asked; /* of the file, to be read ahead: up to here */
    struct buf raw; /* the block last unpacked */
    uint64_t bytes_read;
};

/* Block `no` into `out`, good until the next call; the one after (or, `is_backward`, before) is
 * expected next. `out_check`, where not NULL, gets the frame's checksum. Between enter and leave. */
ODB_MUST_CHECK odb_status table_scan_load(struct sst_table *t, struct table_scan *s, uint32_t no,
                                          bool is_backward, bool verify, struct block *out,
                                          uint64_t *out_check);
void table_scan_release(struct table_scan *s);

/* What a scan reads at a time. Whoever has small tables has little memory, and a merge keeps a window for
 * each table of level 0. */
size_t table_window(const struct sst_table *t);
/* Whether the window holds block `no`. */
bool table_scan_has(const struct sst_table *t, const struct table_scan *s, uint32_t no);
/* As table_load, with `window` bytes of the file read into the scan's window unless it holds the block; where
 * so much cannot be read, the block alone. */
ODB_MUST_CHECK odb_status table_load_ahead(struct sst_table *t, struct table_scan *s, uint32_t no,
                                           bool is_backward, size_t window, bool verify,
                                           struct sst_frame **out);

/* The bytes [off, off + len) of the file, all of them, to `dst`. */
ODB_MUST_CHECK odb_status table_read(const struct sst_table *t, uint64_t off, void *dst,
                                     size_t len);

/* For error texts: like err_corrupt, with the table's name. */
ODB_MUST_CHECK odb_status table_corrupt(const struct sst_table *t, uint64_t off, const char *what);

#endif
