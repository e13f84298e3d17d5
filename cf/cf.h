/* cf/cf.h -- the set of column families: one log, one manifest, one order of commits.
 *
 *     commit   ->  memtable room  ->  sequence numbers + log (one short lock)  ->  [sync]
 *              ->  memtable inserts, in parallel  ->  visible, in order            cf/commit.c
 *     recovery ->  CURRENT -> manifest -> trees -> log -> level 0 -> new manifest -> CURRENT
 *                                                                                  cf/recover.c
 *     manifest ->  edits of all families, one file                                 cf/manifest.c
 *
 * This is the engine without its public face; api/ adds handles, argument checks and the trait.
 * Threads: any, unless said otherwise.
 */
#ifndef ODB_CF_H
#define ODB_CF_H

#include "base/odb_guard.h"
#include "cf/batch.h"
#include "lsm/lsm.h"
#include "os/os.h"

struct cf_set;
struct cf; /* one family; valid until the set is closed, also after a drop */
struct cf_snapshot;

#define CF_NAME_MAX  128
#define CF_COUNT_MAX 65536

enum cf_durability { CF_NONE = 1, CF_OS = 2, CF_FULL = 3 };

struct cf_set_options {
    struct os *os;
    bool create;      /* make the database when it is not there */
    bool must_be_new; /* ODB_EXISTS when it is there */
    bool is_readonly;
    enum cf_durability durability; /* of commits that do not say */
    size_t ring_size;
    uint64_t log_segment_size;
    uint64_t log_limit; /* flush the family that holds the oldest log when all segments exceed it;
                                0: never */
    uint64_t manifest_limit; /* the manifest is rewritten when it has grown past this; 0: 4 MiB */
    uint64_t disk_reserve;   /* space kept back for deletes and merges on a full disk, at most; 0:
                                none */
    size_t cache_bytes;
    size_t memory_budget; /* memtables + cache + indexes + filters; 0: none */
    uint32_t open_tables;
    unsigned threads;            /* background workers; 0: cf_work() */
    struct lsm_options family;   /* for families that say nothing else */
    const char *const *families; /* created at once when the database is new */
    uint32_t family_count;
    bool create_missing_families;
    void (*log)(void *arg, const char *line); /* the readable log, may be NULL */
    void *log_arg;
};

/* ODB_ABSENT (no database there and not create), ODB_EXISTS, ODB_BUSY, ODB_CORRUPT, ODB_VERSION ... */
ODB_MUST_CHECK odb_status cf_open(const char *path, const struct cf_set_options *opt,
                                  struct cf_set **out);
/* Flush, sync, wait for background work, free. Returns the first sticky error, freed all the same. */
odb_status cf_close(struct cf_set *s);

/* ---- families ---- */
ODB_MUST_CHECK odb_status cf_find(struct cf_set *s, const char *name, struct cf **out);
/* `opt` NULL: the set's own. Durable on return. ODB_EXISTS. */
ODB_MUST_CHECK odb_status cf_create(struct cf_set *s, const char *name,
                                    const struct lsm_options *opt, struct cf **out);
/* Durable on return; later calls with it give ODB_NO_FAMILY, iterators over it go on. */
ODB_MUST_CHECK odb_status cf_drop(struct cf_set *s, struct cf *cf);
/* Names of the living, in order of creation, until `each` returns false. */
void cf_each(struct cf_set *s, bool (*each)(void *arg, struct cf *cf, const char *name), void *arg);
/* For work on `only`, or on all that live (NULL), one after the other in order of creation: the next one
 * after `after`, from NULL to NULL. Nothing is held, so that it may be dropped at any time; it stays where
 * it is until the set is closed. */
struct cf *cf_next(struct cf_set *s, struct cf *only, const struct cf *after);
/* `st` of such work, but ODB_OK when it was cut short because `cf` was dropped: what is gone by then is
 * nothing to fail for. */
odb_status cf_unless_dropped(const struct cf *cf, odb_status st);
uint32_t cf_id(const struct cf *cf);
const char *cf_name(const struct cf *cf);
struct lsm_tree *cf_tree(struct cf *cf);

/* ---- writing ---- */
struct cf_write {
    enum cf_durability durability; /* 0: the set's */
    bool no_wait;                  /* ODB_AGAIN rather than wait for memory or flushes */
};

/* One operation, no batch object, no allocation. */
ODB_MUST_CHECK odb_status cf_put(struct cf_set *s, struct cf *cf, odb_slice key, odb_slice value,
                                 const struct cf_write *how);
ODB_MUST_CHECK odb_status cf_delete(struct cf_set *s, struct cf *cf, odb_slice key,
                                    const struct cf_write *how);
/* All or nothing, over any families. The batch is unchanged and stays the caller's. */
ODB_MUST_CHECK odb_status cf_commit(struct cf_set *s, const struct batch *b,
                                    const struct cf_write *how);
/* The same, but only if what `guard` claims was written by nobody: otherwise ODB_CONFLICT, and nothing
 * is applied (first committer wins). ODB_TOO_OLD: so much was written since that nobody can tell. The
 * batch may be empty: then this is the check alone, and the hold. Whoever claims what was written
 * since some number has a snapshot of cf_txn_begin that is older. */
ODB_MUST_CHECK odb_status cf_commit_guarded(struct cf_set *s, const struct batch *b,
                                            const odb_guard *guard, const struct cf_write *how);
/* Told of every commit, one at a time and in order, when it is in the log and before anyone sees it:
 * the number of its last operation, and its operations. It may neither fail nor call the set. */
typedef void cf_observer(void *arg, uint64_t last_seq, const struct batch *b);
/* From now on tell `fn` and nobody else; NULL: nobody. Of the commits, exactly those above *since are
 * told. On return whoever was told before is not inside a call, nor will be. Waits for the commits
 * under way, and makes those that come wait. */
void cf_observe(struct cf_set *s, cf_observer *fn, void *arg, uint64_t *since);

/* Everything committed so far survives a power cut. */
ODB_MUST_CHECK odb_status cf_sync(struct cf_set *s);

/* ---- reading ---- */
/* `snap` NULL: now. Copies nothing; the value is pinned: release with cf_value_release. */
ODB_MUST_CHECK odb_status cf_get(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                                 odb_slice key, struct lsm_value *out);
void cf_value_release(struct cf_set *s, struct lsm_value *v);
/* Into the caller's memory: *size is the value's size, of which min(cap, *size) bytes were copied. */
ODB_MUST_CHECK odb_status cf_get_into(struct cf_set *s, struct cf *cf,
                                      const struct cf_snapshot *snap, odb_slice key, void *buf,
                                      size_t cap, size_t *size);
ODB_MUST_CHECK odb_status cf_exists(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                                    odb_slice key);
/* Pinned values; one view and one sequence number for all. */
ODB_MUST_CHECK odb_status cf_multiget(struct cf_set *s, struct cf *cf,
                                      const struct cf_snapshot *snap, const odb_slice *keys,
                                      size_t n, struct lsm_value *out, odb_status *each);
ODB_MUST_CHECK odb_status cf_iter_new(struct cf_set *s, struct cf *cf,
                                      const struct cf_snapshot *snap, const struct lsm_range *range,
                                      struct lsm_iter **out);
/* The same walk from another moment: `range` as it was made with. On ODB_OK *it is another iterator
 * that stands nowhere, and the old one is freed; else *it stays as it is. */
ODB_MUST_CHECK odb_status cf_iter_refresh(struct cf_set *s, struct cf *cf,
                                          const struct cf_snapshot *snap,
                                          const struct lsm_range *range, struct lsm_iter **it);

ODB_MUST_CHECK odb_status cf_snapshot_new(struct cf_set *s, struct cf_snapshot **out);
/* A snapshot from which commits can be guarded: while it lives, commits are recorded for the check.
 * *io NULL: a new one; else that one (made here) moves to the present and costs no allocation.
 * ODB_NOMEM: *io is as it was. Released with cf_snapshot_free. */
ODB_MUST_CHECK odb_status cf_txn_begin(struct cf_set *s, struct cf_snapshot **io);
/* Nobody reads at it any more: it keeps nothing alive until it is begun again. Twice is fine. */
void cf_txn_pause(struct cf_set *s, struct cf_snapshot *snap);
void cf_snapshot_free(struct cf_set *s, struct cf_snapshot *snap);
uint64_t cf_snapshot_seq(const struct cf_snapshot *snap);
uint64_t cf_visible_seq(const struct cf_set *s);

/* ---- upkeep ---- */
/* NULL: all families. Returns when what was committed before the call is in tables. */
ODB_MUST_CHECK odb_status cf_flush(struct cf_set *s, struct cf *cf);
/* See odb_resume: ODB_OK when writes are possible (again). */
ODB_MUST_CHECK odb_status cf_resume(struct cf_set *s);
/* The sticky error, ODB_OK when none; its text is put into this thread's error text. */
odb_status cf_health(struct cf_set *s);
/* Run one background job here; false when there is none. */
bool cf_work(struct cf_set *s);
/* Log, manifest and every table of every family. */
ODB_MUST_CHECK odb_status cf_verify(struct cf_set *s,
                                    bool (*progress)(void *arg, const char *what, uint64_t done,
                                                     uint64_t total),
                                    void *arg);

struct cf_set_stats {
    uint64_t db_id;
    uint64_t visible_seq;
    uint64_t commits, ops, bytes_in; /* since open */
    uint64_t log_bytes, log_files, log_written, syncs;
    uint64_t snapshots, oldest_snapshot_seq, oldest_snapshot_age_ms;
    uint64_t cache_bytes, memtable_bytes;
    uint64_t block_hits, block_reads, bytes_read;
    uint64_t filter_checks, filter_rejects, filter_false;
    uint64_t tables_opened, blocks_evicted, blocks_unpacked;
    uint64_t background_cpu_ns;
    uint64_t recovered_records, recovered_bytes, recovery_ns;
    bool has_ring;
};

void cf_stats(struct cf_set *s, struct cf_set_stats *out);

#endif
