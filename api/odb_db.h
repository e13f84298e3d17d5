/* api/odb_db.h -- a database: open it, write to it, read from it, look after it.
 *
 *     odb_db *db;
 *     odb_value v;
 *
 *     if (odb_open("books", NULL, &db) != ODB_OK)
 *         return complain(odb_error_text());
 *     st = odb_put(db, NULL, odb_s("isbn/0201896834"), odb_s("Knuth"), NULL);
 *     st = odb_get(odb_now(db), NULL, odb_s("isbn/0201896834"), &v);
 *     if (st == ODB_OK) {
 *         use(v.data, v.size);
 *         odb_value_release(&v);
 *     }
 *     st = odb_close(db);
 */
#ifndef ODB_DB_H
#define ODB_DB_H

#include "api/odb_options.h"
#include "base/odb_types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct odb_db odb_db;
typedef struct odb_cf odb_cf;             /* a column family */
typedef struct odb_batch odb_batch;       /* api/odb_batch.h */
typedef struct odb_snapshot odb_snapshot; /* one moment, for reading */
typedef struct odb_txn odb_txn;           /* api/odb_txn.h */
typedef struct odb_iter odb_iter;         /* api/odb_iter.h */

/* ==== the calls every program needs ==== */

/* Open the database in directory `dir`, making it when it is not there (the directory's parent must
 * be). On ODB_OK *out is the caller's, to be closed with odb_close(); on any other status nothing is
 * left open. Any thread.
 * ODB_BUSY (somebody has it open), ODB_ABSENT and ODB_EXISTS (as the options ask), ODB_CORRUPT,
 * ODB_VERSION (a newer release wrote it), ODB_INVALID (an option makes no sense; the text names it),
 * ODB_DENIED, ODB_NOSPACE, ODB_IO, ODB_LIMIT, ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_open(const char *dir, const odb_options *opt, odb_db **out);

/* Close what is attached (api/odb_hooks.h), wait for background work, make everything written durable,
 * and free the handle: it is gone on every outcome but ODB_FORKED. Iterators, values, snapshots and transactions must have been
 * released before, and no other thread may be inside a call. NULL is fine. Returns the first error
 * that background work met since the open. */
ODB_API odb_status odb_close(odb_db *db);

/* Set `key` to `value`. After ODB_OK every read in any thread sees it, and it survives what
 * how->durability says. ODB_TOO_LARGE, ODB_NO_FAMILY (dropped), ODB_READONLY (opened so, or stopped
 * by an earlier failure; the text tells which), ODB_NOSPACE, ODB_NOMEM, ODB_AGAIN (no_wait): not
 * applied, now and for ever. ODB_UNKNOWN: the disk failed underneath; applied or not, the next open
 * tells. */
ODB_API ODB_MUST_CHECK odb_status odb_put(odb_db *db, odb_cf *cf, odb_slice key, odb_slice value,
                                          const odb_write *how);

/* Make `key` absent. Deleting what is not there is ODB_OK. Otherwise as odb_put. */
ODB_API ODB_MUST_CHECK odb_status odb_delete(odb_db *db, odb_cf *cf, odb_slice key,
                                             const odb_write *how);

/* Where a read looks: exactly one of the three is set. Made by the functions below. */
typedef struct odb_at {
    odb_db *db;             /* now */
    odb_snapshot *snapshot; /* at that moment */
    odb_txn *txn;           /* at the transaction's moment, with its own writes on top */
} odb_at;

static inline odb_at odb_now(odb_db *db)
{
    odb_at at = {db, NULL, NULL};
    return at;
}

static inline odb_at odb_asof(odb_snapshot *snapshot)
{
    odb_at at = {NULL, snapshot, NULL};
    return at;
}

static inline odb_at odb_in(odb_txn *txn)
{
    odb_at at = {NULL, NULL, txn};
    return at;
}

/* A value that was read. `data` stays where it is until odb_value_release(), whatever is written,
 * flushed or merged meanwhile. A value held for long keeps its block in memory. */
typedef struct odb_value {
    const void *data;
    size_t size;
    odb_db *db;   /* the library's */
    void *pin[3]; /* the library's */
} odb_value;

/* Read `key` without copying. ODB_OK: *out must be released. ODB_ABSENT: there is no such key;
 * nothing to release. ODB_CORRUPT, ODB_IO, ODB_NOMEM, ODB_LIMIT, ODB_TOO_LARGE, ODB_NO_FAMILY. */
ODB_API ODB_MUST_CHECK odb_status odb_get(odb_at at, odb_cf *cf, odb_slice key, odb_value *out);

/* Let go of a value; it is empty afterwards. Any thread. NULL and an empty value are fine. */
ODB_API void odb_value_release(odb_value *v);

/* Read `key` into the caller's memory. *size becomes the size of the value, of which the first
 * min(cap, *size) bytes were copied: ODB_OK with *size > cap means there is more than fitted.
 * Statuses as odb_get. */
ODB_API ODB_MUST_CHECK odb_status odb_get_into(odb_at at, odb_cf *cf, odb_slice key, void *buf,
                                               size_t cap, size_t *size);

/* ODB_OK when `key` is there, ODB_ABSENT when it is not. */
ODB_API ODB_MUST_CHECK odb_status odb_exists(odb_at at, odb_cf *cf, odb_slice key);

/* ==== column families: separate key spaces that commit together ==== */

/* The family called `name`. The handle is borrowed: it lives as long as the database handle and
 * needs no release. ODB_NO_FAMILY. Any thread. */
ODB_API ODB_MUST_CHECK odb_status odb_cf_open(odb_db *db, const char *name, odb_cf **out);

/* Make a family; it survives a power cut on return. Names are 1 to 128 bytes of UTF-8 without
 * control characters. ODB_EXISTS, ODB_INVALID, and what odb_put may return. */
ODB_API ODB_MUST_CHECK odb_status odb_cf_create(odb_db *db, const char *name,
                                                const odb_cf_options *opt, odb_cf **out);

/* Drop a family and all its keys for good; it stays dropped after a power cut. Later calls with the
 * handle give ODB_NO_FAMILY, iterators already made go on. "default" stays: ODB_INVALID. */
ODB_API ODB_MUST_CHECK odb_status odb_cf_drop(odb_db *db, odb_cf *cf);

/* The name of a family; "default" for NULL. Lives as long as the handle. */
ODB_API const char *odb_cf_name(const odb_cf *cf);

typedef struct odb_names {
    const char *const *name;
    size_t count;
} odb_names;

/* The names of all families, in order of creation; release with odb_names_release(). ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_cf_list(odb_db *db, odb_names *out);
ODB_API void odb_names_release(odb_names *names);

/* ==== snapshots ==== */

/* Remember this moment. Reads at odb_asof(snapshot) see what had been committed by now, in all
 * families, whatever comes later. Holding one keeps old versions from being dropped: release it.
 * ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_snapshot_new(odb_db *db, odb_snapshot **out);

/* NULL is fine. Iterators, values and transactions made from it stay good. */
ODB_API void odb_snapshot_free(odb_snapshot *snapshot);

/* Call it something, so that others can find it; until its last handle is released, not beyond the
 * database handle. 1 to 128 bytes without control characters. ODB_EXISTS, ODB_INVALID, ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_snapshot_set_name(odb_snapshot *snapshot, const char *name);
/* Another handle on the snapshot of that name; release it, too. ODB_ABSENT. */
ODB_API ODB_MUST_CHECK odb_status odb_snapshot_find(odb_db *db, const char *name,
                                                    odb_snapshot **out);

typedef struct odb_snapshot_info {
    const char *name;  /* "": none; good during the call */
    uint64_t sequence; /* api/odb_hooks.h */
    uint64_t age_ms;
    uint32_t handles;
} odb_snapshot_info;

/* Call `each` with every snapshot there is, newest first, until it returns false: to see who keeps old
 * versions alive. It must not call back into the database. */
ODB_API ODB_MUST_CHECK odb_status
odb_snapshot_each(odb_db *db, bool (*each)(void *arg, const odb_snapshot_info *info), void *arg);

/* ==== many keys at once ==== */

/* Read `n` keys at one moment, sharing work: faster than n calls of odb_get. out[i] and each[i] are
 * as odb_get would give them: release the out[i] whose each[i] is ODB_OK. ODB_OK when every key was
 * answered, with a value or with ODB_ABSENT; otherwise the first other status among `each`, all of
 * which are set nevertheless. Bad arguments (ODB_INVALID, ODB_FORKED, ODB_NO_FAMILY) set every
 * each[i] to the same status. */
ODB_API ODB_MUST_CHECK odb_status odb_multiget(odb_at at, odb_cf *cf, const odb_slice *keys,
                                               size_t n, odb_value *out, odb_status *each);

/* ==== upkeep: rarely needed, the engine does it by itself ==== */

/* Make everything committed so far survive a power cut. ODB_UNKNOWN and ODB_IO as in odb_put. */
ODB_API ODB_MUST_CHECK odb_status odb_sync(odb_db *db);

/* Write what is in memory to tables, of one family or, with NULL, of all. Returns when it is done;
 * not needed for durability. */
ODB_API ODB_MUST_CHECK odb_status odb_flush(odb_db *db, odb_cf *cf);

/* After a failure that stopped writes: try whether they can go on (space was freed, say). ODB_OK:
 * they can. Otherwise the failure that still stands; ODB_UNKNOWN can only be left by closing and
 * opening again. */
ODB_API ODB_MUST_CHECK odb_status odb_resume(odb_db *db);

/* Called now and then during long work with what is being done and how far it is, in bytes (`total`
 * may grow, and is 0 while unknown). Returning false stops the work: ODB_CANCELLED. */
typedef bool odb_progress(void *arg, const char *what, uint64_t done, uint64_t total);

struct odb_range; /* api/odb_iter.h */

/* Merge the tables that hold keys of `range` (NULL: all) down to the last level, dropping deleted
 * and overwritten values nobody can see. One family, or all with NULL; one that is dropped meanwhile is
 * passed over. `progress` may be NULL. */
ODB_API ODB_MUST_CHECK odb_status odb_compact(odb_db *db, odb_cf *cf, const struct odb_range *range,
                                              odb_progress *progress, void *arg);

/* Wait until no flush and no merge is due or running. */
ODB_API ODB_MUST_CHECK odb_status odb_wait_idle(odb_db *db);

/* Read all tables, the manifest, and the log as far as it is durable (up to 1,024 segments of it; opened
 * read-only: the tables, for opening has read the others), and check them: checksums, order of keys,
 * filters, counts. ODB_OK: all sound. ODB_CORRUPT: the text names file and offset. Others may write
 * meanwhile: what was committed before is checked. `progress` may be NULL. */
ODB_API ODB_MUST_CHECK odb_status odb_verify(odb_db *db, odb_progress *progress, void *arg);

/* Run one piece of background work in this thread; false when none is waiting. The way to flush and
 * merge where no_threads is set; harmless elsewhere. */
ODB_API bool odb_work(odb_db *db);

#ifdef __cplusplus
}
#endif
#endif
