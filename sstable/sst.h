/* sstable/sst.h -- sorted tables: written once, never changed, found again by number.
 *
 *     sst_writer      entries in order  ->  nnnnnn.sst            sstable/writer.c (draws the file)
 *     sst_store       the open tables and the cached blocks of a database; one byte budget
 *     sst_ref         one table as the levels name it; opened on first use
 *     sst_get         a point read
 *     sst_cursor_new  an ordered walk
 *
 * Two ways to hold on to what was read: inside an epoch (base/epoch.h) everything returned stays put
 * without counting; to keep a value beyond the epoch, pin it.
 *
 * Threads: all calls from any thread, except that one writer or cursor belongs to one thread.
 */
#ifndef ODB_SSTABLE_SST_H
#define ODB_SSTABLE_SST_H

#include "base/buf.h"
#include "base/compress.h"
#include "base/cursor.h"
#include "base/epoch.h"
#include "os/os.h"
#include "os/os_thread.h"
#include "sstable/index.h"

/* What the manifest keeps of a table; the writer fills it in. Owns its two keys. */
struct sst_meta {
    uint64_t file_no;
    uint64_t size;  /* of the file, bytes */
    uint64_t check; /* checksum of the footer: this very file and no other (C37) */
    uint64_t entries;
    uint64_t deletes;
    uint64_t raw_bytes; /* keys and values as given */
    uint64_t min_seq;
    uint64_t max_seq;
    struct buf smallest; /* user key of the first entry */
    struct buf largest;  /* user key of the last entry */
};

void sst_meta_release(struct sst_meta *m);
ODB_MUST_CHECK odb_status sst_meta_copy(struct sst_meta *out, const struct sst_meta *m);

/* "000123.sst" into `out` of SST_NAME_MAX bytes. */
#define SST_NAME_MAX 32
void sst_file_name(uint64_t file_no, char *out);

/* ---- counters, for statistics ---- */

struct sst_counters_sum {
    uint64_t block_hits;
    uint64_t block_reads; /* misses: read from the file */
    uint64_t bytes_read;  /* all of them, long scans included */
    uint64_t filter_checks;
    uint64_t filter_rejects;
    uint64_t filter_false; /* let through, yet not there */
    uint64_t tables_opened;
    uint64_t blocks_evicted;
    uint64_t blocks_unpacked;
};

/* ---- the store ---- */

struct sst_store;

struct sst_store_options {
    struct os *os;
    struct os_dir *dir;
    uint64_t db_id;
    struct epoch *epoch;
    size_t cache_bytes;   /* blocks, decoded indexes and filters together */
    uint32_t open_tables; /* descriptors held at once, at least 8 */
    bool verify_on_read;  /* normally true: checksum of every block read from a file */
};

ODB_MUST_CHECK odb_status sst_store_new(const struct sst_store_options *opt,
                                        struct sst_store **out);
/* All refs dropped, all cursors freed, all pins released, no reader inside the epoch. */
void sst_store_free(struct sst_store *s);
/* Since the store was made. Every thread counts for itself without locked instructions, so a few may
 * be lost when more threads than stripes run: for statistics only. */
void sst_store_counters(const struct sst_store *s, struct sst_counters_sum *out);
/* Bytes charged to the budget now: blocks, indexes, filters. */
size_t sst_store_bytes(const struct sst_store *s);
/* Change the budget; evicts down to it. */
void sst_store_resize(struct sst_store *s, size_t cache_bytes);

/* One live table. Embedded in lsm/'s file struct, which fills in the first three and zeroes the
 * rest; the store opens the table behind it when it is first read and may close it again. */
struct sst_ref {
    uint64_t file_no;
    uint64_t size;
    uint64_t check;
    _Atomic(struct sst_table *) table; /* NULL: not open; the store's business */
};

/* Forget the table: close it once no reader can see it, drop its blocks. The file stays (lsm/
 * removes files). No call that names the ref may be under way or come later, so drop it where its
 * owner is freed, behind an epoch; results, cursors and pins taken earlier keep working, and the
 * ref's memory must outlive the call only. Never under a lock of rank RANK_TABLES or above. */
void sst_ref_drop(struct sst_store *s, struct sst_ref *ref);

/* ---- reading ---- */

struct sst_frame; /* a resident block */

struct sst_hit {
    bool is_found;
    uint64_t trailer;
    odb_slice value;         /* inside the frame */
    struct sst_frame *frame; /* for sst_pin */
};

/* The newest version of `key` with a trailer of at most `trailer`. `hash` is hash64(key). Inside an
 * epoch, which must last until `out` is used or pinned. ODB_OK with is_found false: not here.
 * ODB_CORRUPT, ODB_IO, ODB_NOMEM, ODB_LIMIT. */
ODB_MUST_CHECK odb_status sst_get(struct sst_store *s, struct sst_ref *ref, odb_slice key,
                                  uint64_t hash, uint64_t trailer, struct sst_hit *out);
/* A point read in steps, each of which starts loading what the next one looks at: whoever has several
 * reads to do takes each step for all of them, and they wait for memory together. All inside one
 * epoch, with the same ref and key throughout; any step may be left out but sst_probe_begin.
 *
 *     sst_prefetch     the filter's line
 *     sst_probe_begin  half of the index            sst_probe_excludes   the filter
 *     sst_probe_block  the rest of the index, the fields of the block
 *     sst_probe_slot   a slot of its hash table
 *     sst_probe_row    the row
 *     sst_probe_get    as sst_get
 */
struct sst_probe {
    struct sst_table *table; /* NULL: not open yet */
    struct sst_frame *frame; /* NULL: not asked for, or not resident */
    struct index_step step;
};

void sst_prefetch(const struct sst_ref *ref, uint64_t hash);
void sst_probe_begin(const struct sst_ref *ref, odb_slice key, struct sst_probe *out);
/* True: the key is surely not in this table (and that is counted). */
bool sst_probe_excludes(struct sst_store *s, const struct sst_ref *ref, uint64_t hash);
void sst_probe_block(struct sst_probe *p, odb_slice key, uint64_t trailer);
void sst_probe_slot(const struct sst_probe *p, uint64_t hash);
void sst_probe_row(const struct sst_probe *p, uint64_t hash);
/* Without asking the filter. */
ODB_MUST_CHECK odb_status sst_probe_get(struct sst_store *s, struct sst_ref *ref,
                                        struct sst_probe *p, odb_slice key, uint64_t hash,
                                        uint64_t trailer, struct sst_hit *out);
/* Keep the frame of a hit beyond the epoch it was found in; unpin exactly once, any thread. */
void sst_pin(struct sst_frame *frame);
void sst_unpin(struct sst_frame *frame);

enum sst_cursor_flags {
    SST_SCAN = 1,      /* a long walk, as a merge does: read ahead, keep blocks out of the cache */
    SST_KEYS_ONLY = 2, /* values may be left empty */
};

/* A cursor over all entries. Keeps the table (not the ref) alive until freed, outside any epoch. */
ODB_MUST_CHECK odb_status sst_cursor_new(struct sst_store *s, struct sst_ref *ref, unsigned flags,
                                         struct cursor **out);

/* The same in memory of the caller's, sst_cursor_size() bytes that outlive the cursor: freeing it then
 * releases what it holds, not itself. */
size_t sst_cursor_size(void);
ODB_MUST_CHECK odb_status sst_cursor_init(void *memory, struct sst_store *s, struct sst_ref *ref,
                                          unsigned flags, struct cursor **out);

/* Read the whole file: every block, checksum, order of keys, filter answers, index, counts against
 * the properties and against `meta`. For `odb verify`. */
ODB_MUST_CHECK odb_status sst_verify(struct sst_store *s, const struct sst_meta *meta);

/* About how many bytes of the file lie before `key` (for splits and size estimates). 0 when the
 * table cannot be opened. */
uint64_t sst_offset_of(struct sst_store *s, struct sst_ref *ref, odb_slice key);

/* ---- writing ---- */

struct sst_writer;

struct sst_writer_options {
    struct os *os;
    struct os_dir *dir;
    uint64_t db_id;
    uint32_t block_size; /* raw bytes of a data block, about */
    enum codec codec;
    int lz4_acceleration;  /* 1: smallest */
    uint32_t lz4_slack;    /* thousandths that blocks may grow where that packs them faster */
    uint32_t bits_per_key; /* 0: no filter */
};

/* Create nnnnnn.sst (must not exist). */
ODB_MUST_CHECK odb_status sst_writer_new(const struct sst_writer_options *opt, uint64_t file_no,
                                         struct sst_writer **out);
/* In strictly rising internal order (checked: ODB_CORRUPT names the file). After any failure only
 * sst_writer_free. */
ODB_MUST_CHECK odb_status sst_writer_add(struct sst_writer *w, const struct entry *e);
/* Bytes written and buffered so far. */
uint64_t sst_writer_size(const struct sst_writer *w);
/* Write the rest, sync the file (without it a manifest could name a table the disk does not have),
 * fill `out`. The directory entry is the caller's to sync. At least one entry. */
ODB_MUST_CHECK odb_status sst_writer_finish(struct sst_writer *w, struct sst_meta *out);
/* Close; remove the file unless finished. NULL is fine. */
void sst_writer_free(struct sst_writer *w);

#endif
