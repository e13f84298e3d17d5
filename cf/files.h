/* cf/files.h -- what the files of a database directory are called, and the two small ones that say
 * which database this is and where it stands: IDENTITY and CURRENT (cf/files.c draws them).
 */
#ifndef ODB_CF_FILES_H
#define ODB_CF_FILES_H

#include "base/coding.h"
#include "os/os.h"

enum file_kind {
    FILE_OTHER, /* not ours */
    FILE_MANIFEST,
    FILE_LOG,
    FILE_TABLE,
    FILE_CURRENT,
    FILE_CURRENT_NEW, /* a switch that was not finished */
    FILE_IDENTITY,
    FILE_IDENTITY_NEW, /* this database is being created */
    FILE_KINDS,
};

#define FILE_LOCK     "LOCK"
#define FILE_NAME_MAX 32

/* The name of a numbered file, into `out` of FILE_NAME_MAX bytes. */
void file_name(enum file_kind kind, uint64_t no, char *out);
/* What `name` is; *no is its number, 0 for those that have none. One spelling only: leading zeros
 * beyond six digits and the number 0 belong to strangers. */
enum file_kind file_parse(const char *name, uint64_t *no);

/* What a directory holds, by kind. Zero-initialise; release with file_list_release. */
struct file_numbers {
    uint64_t *no; /* ascending */
    size_t count;
    size_t cap;
};

struct file_list {
    struct file_numbers manifests, logs, tables;
    bool has[FILE_KINDS]; /* for those without a number */
    uint64_t max_no;      /* greatest number of any file */
};

ODB_MUST_CHECK odb_status file_list_read(struct os_dir *dir, struct file_list *out);
void file_list_release(struct file_list *l);
void file_numbers_sort(struct file_numbers *n);
bool file_list_has(const struct file_numbers *n, uint64_t no);

/* ---- IDENTITY ---- */

struct identity {
    uint64_t half[2]; /* 128 random bits */
};

ODB_MUST_CHECK odb_status identity_make(struct os *os, struct identity *out);
/* The number that goes into headers and checksums. Never 0. */
uint64_t identity_db_id(const struct identity *id);
/* Write IDENTITY.new, durably, replacing one that was left there. */
ODB_MUST_CHECK odb_status identity_write_new(struct os_dir *dir, const struct identity *id);
/* IDENTITY.new becomes IDENTITY, durable with the next sync of the directory; CURRENT is durable already. */
ODB_MUST_CHECK odb_status identity_settle(struct os_dir *dir);
/* Read it, from IDENTITY or IDENTITY.new. ODB_CORRUPT when torn. */
ODB_MUST_CHECK odb_status identity_read(struct os_dir *dir, bool is_new, struct identity *out);

/* ---- CURRENT ---- */

/* Make CURRENT name MANIFEST-`no`, which must be synced, as must be its directory entry. The only
 * moment at which a database moves from one state to another: all before it is preparation.
 * *is_tried is set once the rename was attempted: from then on either manifest may turn out to be
 * the one that counts, and neither may be removed (C6). */
ODB_MUST_CHECK odb_status current_switch(struct os_dir *dir, uint64_t db_id, uint64_t no,
                                         bool *is_tried);
ODB_MUST_CHECK odb_status current_read(struct os_dir *dir, uint64_t db_id, uint64_t *no);

#endif
