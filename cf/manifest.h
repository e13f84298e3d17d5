/* cf/manifest.h -- the manifest: which families there are, which tables each consists of, where the
 * log is needed from. One file, appended to, begun anew at every open and whenever it grew too large.
 *
 *     manifest_group   changes that become durable together, being gathered
 *     manifest         the file being written
 *     manifest_read    the way back
 *
 * cf/manifest.c draws the bytes; cf/ledger.c decides what is written when.
 *
 * Threads: one at a time per object (the set's manifest lock).
 */
#ifndef ODB_CF_MANIFEST_H
#define ODB_CF_MANIFEST_H

#include "base/buf.h"
#include "lsm/lsm.h"
#include "os/os.h"

#define MANIFEST_HEADER ((size_t)56)
#define MANIFEST_MARK   ((size_t)16)

struct manifest_family {
    uint32_t id;
    odb_slice name;
    bool has_options; /* of its own: `options` means something */
    struct lsm_options options;
};

struct manifest_counters {
    uint64_t next_file_no; /* every number in use lies below */
    uint64_t next_seq;
    uint32_t next_family;
    uint64_t log_no;      /* log segments with a smaller number mean nothing any more */
    uint64_t log_lsn;     /* where that one begins */
    bool is_log_open;     /* segment log_no was made: if it is missing, somebody took it */
    uint64_t log_durable; /* LSN up to which the log was on the medium */
};

enum manifest_kind { /* as stored */
                     MANIFEST_FAMILY = 1,
                     MANIFEST_DROP = 2,
                     MANIFEST_EDIT = 3,
                     MANIFEST_COUNTERS = 4,
};

struct manifest_item {
    enum manifest_kind kind;
    uint32_t dropped;
    struct manifest_family family;
    struct lsm_edit edit; /* lent: released by whoever called */
    struct manifest_counters counters;
};

/* ---- writing ---- */

struct manifest_group {
    struct buf bytes; /* the record that it will be, check and length not filled in */
};

void manifest_group_release(struct manifest_group *g);
/* Each adds one item. ODB_NOMEM: throw the group away. */
ODB_MUST_CHECK odb_status manifest_add_family(struct manifest_group *g,
                                              const struct manifest_family *f);
ODB_MUST_CHECK odb_status manifest_add_drop(struct manifest_group *g, uint32_t family);
ODB_MUST_CHECK odb_status manifest_add_edit(struct manifest_group *g, const struct lsm_edit *e);
ODB_MUST_CHECK odb_status manifest_add_counters(struct manifest_group *g,
                                                const struct manifest_counters *c);
/* All items of another group. */
ODB_MUST_CHECK odb_status manifest_add_group(struct manifest_group *g,
                                             const struct manifest_group *more);

struct manifest;

/* Make MANIFEST-`file_no` with `first`, which describes everything, as its first record, and sync
 * it. The directory entry is the caller's to sync. On failure the file was removed again, if that
 * was possible. */
ODB_MUST_CHECK odb_status manifest_create(struct os *os, struct os_dir *dir, uint64_t db_id,
                                          uint64_t file_no, struct manifest_group *first,
                                          struct manifest **out);
/* Append and sync. After a failure the manifest is sealed: whether the record is there nobody knows,
 * and whatever were appended behind it might stand behind damage (C7). */
ODB_MUST_CHECK odb_status manifest_append(struct manifest *m, struct manifest_group *g);
bool manifest_is_sealed(const struct manifest *m);
uint64_t manifest_file_no(const struct manifest *m);
uint64_t manifest_size(const struct manifest *m);
/* What the log is told after each change: how long the manifest is by now. */
void manifest_mark(const struct manifest *m, uint8_t out[MANIFEST_MARK]);
/* NULL is fine. */
void manifest_close(struct manifest *m);

/* ---- reading ---- */

struct manifest_result {
    uint64_t file_no;
    uint64_t size; /* of the good part */
    uint64_t records;
    bool is_torn; /* an append that was never acknowledged was cut off */
};

/* Read MANIFEST-`file_no` and call `each` for every item in order, whole records only; it may stop
 * the reading with a status of its own. ODB_CORRUPT, ODB_VERSION, ODB_IO, ODB_NOMEM, ODB_ABSENT.
 * `out` may be NULL. */
ODB_MUST_CHECK odb_status manifest_read(struct os_dir *dir, uint64_t db_id, uint64_t file_no,
                                        odb_status (*each)(void *arg,
                                                           const struct manifest_item *item),
                                        void *arg, struct manifest_result *out);

/* ODB_CORRUPT when `mark`, found in the log, tells of more than what was read of the manifest that
 * CURRENT names, or makes no sense. */
ODB_MUST_CHECK odb_status manifest_check_mark(odb_slice mark, const struct manifest_result *m);

#endif
