/* lsm/version.h -- which tables make up a tree, now and for readers of the past. Private to lsm/.
 *
 *     tree.view --> view --> version --> files        old views and versions live on while an
 *                    |                                iterator holds them or an epoch protects them
 *                    +-----> memtables
 */
#ifndef ODB_LSM_VERSION_H
#define ODB_LSM_VERSION_H

#include "lsm/lsm.h"

/* One live table; shared by all versions that list it. */
struct lsm_file {
    struct lsm_tree *tree;
    struct sst_meta meta; /* fixed */
    struct sst_ref ref;   /* fixed but for the store's own field */
    atomic_uint refs;     /* versions listing it, and jobs */
    _Atomic bool
        is_obsolete; /* no durable manifest names it any more: remove it with the last ref */
    bool is_busy;    /* input of a running job; under the tree's sched lock */
    bool is_marked;  /* asked to be merged; under the tree's sched lock */
    struct lsm_file *in_garbage; /* link in the tree's garbage list */
};

/* The tables of one level. Level 0: newest first. Deeper: by key, disjoint. */
struct lsm_level {
    struct lsm_file **files;
    uint32_t count;
    size_t skip;     /* bytes all largest keys share */
    uint64_t *fence; /* key_prefix(largest, skip), one a file; levels 1 up */
    uint64_t bytes;
};

struct lsm_version {
    atomic_uint refs;
    struct lsm_level level[LSM_LEVELS];
};

struct lsm_memtable {
    struct memtable *mem;
    uint64_t first_lsn; /* its content begins here in the log */
    uint64_t end_lsn;   /* and ends here; set when it becomes immutable */
    uint64_t last_seq;  /* greatest sequence number, likewise */
};

struct lsm_view {
    struct epoch_item retired; /* first: the epoch's handle */
    struct lsm_tree *tree;
    atomic_uint refs;
    struct lsm_version *version;
    uint32_t mem_count;
    uint32_t mem_cap;
    struct lsm_memtable mem[]; /* [0] takes writes; the rest immutable, newest first */
};

/* ---- files ---- */

/* Takes over the content of `meta` (left empty). One reference. */
ODB_MUST_CHECK odb_status file_new(struct lsm_tree *t, struct sst_meta *meta,
                                   struct lsm_file **out);
void file_ref(struct lsm_file *f);
/* The last reference frees it: at once, or, when its table must be removed from the disk, through
 * the tree's garbage list. */
void file_unref(struct lsm_file *f);

static inline odb_slice file_smallest(const struct lsm_file *f)
{
    return buf_slice(&f->meta.smallest);
}

static inline odb_slice file_largest(const struct lsm_file *f)
{
    return buf_slice(&f->meta.largest);
}

/* ---- versions ---- */

struct version_add {
    uint32_t level;
    struct lsm_file *file; /* referenced by the version that takes it */
};

/* The version that follows from `base` (NULL: the empty one) by removing files and adding others;
 * the level 0 additions come newest first and go before what is there. One reference. ODB_CORRUPT
 * when the result breaks an invariant (version.c), ODB_NOMEM. */
ODB_MUST_CHECK odb_status version_make(const struct lsm_version *base,
                                       const struct version_add *add, uint32_t add_count,
                                       const struct lsm_edit_remove *remove, uint32_t remove_count,
                                       struct lsm_version **out);
/* Whether the table is among those that an edit removes. */
bool edit_removes(const struct lsm_edit_remove *remove, uint32_t count, uint32_t level,
                  uint64_t file_no);
void version_ref(struct lsm_version *v);
void version_unref(struct lsm_version *v);
/* The file of that number and its level, or NULL. */
struct lsm_file *version_find(const struct lsm_version *v, uint64_t file_no, uint32_t *level);
/* Index of the first file of a level >= 1 whose largest key is at or after `key`; count: none. */
uint32_t level_search(const struct lsm_level *level, odb_slice key);

/* ---- views ---- */

/* An unpublished view with room for `cap` memtables; fill, then publish or view_discard. */
struct lsm_view *view_alloc(struct lsm_tree *t, uint32_t cap);
void view_discard(struct lsm_view *v);
/* Inside an epoch: false when the view is already on its way out (load the current one again). */
bool view_try_ref(struct lsm_view *v);
void view_unref(struct lsm_view *v);

/* ---- walking one level >= 1 as one source ---- */

/* A cursor over files[0..count) of a level, opened one after the other. It refs every file for its
 * life. `flags` as for sst_cursor_new. */
ODB_MUST_CHECK odb_status level_cursor_new(struct sst_store *store, struct lsm_file *const *files,
                                           uint32_t count, unsigned flags, struct cursor **out);
/* The same over files[first..first + count) of `level`, in memory of the caller's, level_cursor_size()
 * bytes, and without references: the caller keeps memory and version while the cursor is used, and
 * frees the cursor for what it holds beside. */
size_t level_cursor_size(void);
struct cursor *level_cursor_init(void *memory, struct sst_store *store,
                                 const struct lsm_level *level, uint32_t first, uint32_t count,
                                 unsigned flags);

#endif
