/* lsm/lsm.h -- one tree: the memtables and levels of one column family.
 *
 *                 view (what readers hold)
 *      +-----------------------------------------------+
 *      | active memtable   immutable ones, newest first |
 *      | level 0: tables by age, newest first           |   lsm/version.h
 *      | level 1..6: tables by key, disjoint            |
 *      +-----------------------------------------------+
 *
 * A view never changes once published; every change makes a new one. The tree knows nothing of the
 * log, of other families or of sequence number allocation: that is cf/, which it reaches only
 * through the functions in lsm_env.
 *
 * Threads: reads from any thread, inside an epoch; the rest as each comment says.
 */
#ifndef ODB_LSM_H
#define ODB_LSM_H

#include "base/canary.h"
#include "compaction/pick.h"
#include "lsm/exec.h"
#include "memtable/memtable.h"
#include "sstable/sst.h"

#define LSM_LEVELS PICK_LEVELS

struct lsm_tree;
struct lsm_view;
struct lsm_iter;

/* ---- edits: how a tree changes, as the manifest keeps it ---- */

struct lsm_edit_add {
    uint32_t level;
    struct sst_meta meta;
};

struct lsm_edit_remove {
    uint32_t level;
    uint64_t file_no;
};

struct lsm_edit {
    uint32_t family;
    bool has_flushed;     /* flushed_lsn is meaningful */
    uint64_t flushed_lsn; /* nothing below this LSN is needed from the log for this family */
    struct lsm_edit_add *add;
    uint32_t add_count;
    struct lsm_edit_remove *remove;
    uint32_t remove_count;
};

void lsm_edit_release(struct lsm_edit *e);
/* Bytes for the manifest and back (lsm/edit.c draws them). Decoding trusts nothing: ODB_OK with
 * *is_malformed set and `out` empty when the bytes make no sense; ODB_NOMEM. */
ODB_MUST_CHECK odb_status lsm_edit_encode(const struct lsm_edit *e, struct buf *out);
ODB_MUST_CHECK odb_status lsm_edit_decode(odb_slice bytes, struct lsm_edit *out,
                                          bool *is_malformed);

/* ---- what a tree gets from above ---- */

struct lsm_env {
    struct os *os;
    struct os_dir *dir;
    uint64_t db_id;
    struct epoch *epoch;
    struct sst_store *tables;
    struct exec *exec;
    bool is_readonly; /* no jobs, no writes */

    void *owner;
    uint64_t (*new_file_no)(void *owner);
    /* Make `edit` durable, then call apply(arg), both before any other edit (RANK_MANIFEST is held
     * around apply). On failure apply was not called, and no file named by the edit may be removed:
     * the manifest may yet turn out to name it (C6, C8). */
    odb_status (*log_edit)(void *owner, const struct lsm_edit *edit, void (*apply)(void *arg),
                           void *arg);
    /* The sequence numbers somebody reads at, ascending, the visible one last. The caller frees
     * *out with mem_free. */
    odb_status (*snapshots)(void *owner, uint64_t **out, uint32_t *count);
    /* Return when every commit up to `seq` is visible (so its inserts are complete). */
    void (*wait_visible)(void *owner, uint64_t seq);
    /* The disk is full: whether some space could be made, so that it is worth another try. No lock is
     * held. May be NULL. */
    bool (*make_room)(void *owner);
    /* After a flush was made durable: logs may go. No lock is held. */
    void (*flushed)(void *owner);
    /* A background job failed. Unless lsm_failure_heals(st), it sticks and writes are refused from
     * now on. The error text of this thread tells more. */
    void (*failed)(void *owner, odb_status st);
    /* One line for the readable log. */
    void (*note)(void *owner, const char *text);
};

struct lsm_options {
    size_t write_buffer;  /* a memtable is full at this size */
    uint32_t max_buffers; /* memtables at once, the active one included; at least 2 */
    uint64_t target_file_size;
    uint32_t l0_trigger; /* merge level 0 from this many tables on */
    uint64_t level_base; /* bytes of the first level below 0 */
    uint32_t multiplier;
    uint32_t block_size;
    enum codec codec;
    int lz4_acceleration;
    uint32_t bits_per_key;
    uint32_t split; /* at most so many jobs for one merge */
    bool auto_compact;
};

/* ---- life ---- */

/* An empty tree without memtable, for recovery to fill. `env` outlives it. */
ODB_MUST_CHECK odb_status lsm_new(const struct lsm_env *env, uint32_t family, const char *name,
                                  const struct lsm_options *opt, struct lsm_tree **out);
/* Recovery, one thread: apply an edit read from the manifest. ODB_CORRUPT when it adds what is there
 * or removes what is not. */
ODB_MUST_CHECK odb_status lsm_replay_edit(struct lsm_tree *t, const struct lsm_edit *edit);
/* Recovery: an edit that rebuilds the tree as it is (for a new manifest). The caller releases it. */
ODB_MUST_CHECK odb_status lsm_snapshot_edit(struct lsm_tree *t, struct lsm_edit *out);
/* Recovery: give the tree a memtable whose content begins at `lsn`, and publish the first view.
 * Background jobs start only with lsm_start. */
ODB_MUST_CHECK odb_status lsm_open_memtable(struct lsm_tree *t, uint64_t lsn);
/* Recovery: write all memtables to level 0 now, in this thread, without logging the edit: the tables
 * become part of the tree (lsm_snapshot_edit shows them) and a fresh memtable begins at `lsn`. The
 * caller syncs the directory. */
ODB_MUST_CHECK odb_status lsm_flush_for_recovery(struct lsm_tree *t, uint64_t lsn);
/* From now on flush and merge by need. */
void lsm_start(struct lsm_tree *t);
/* Stop taking new jobs and wait for the running ones. */
void lsm_stop(struct lsm_tree *t);
/* After lsm_stop, with no reader, iterator or pin left. NULL is fine. */
void lsm_free(struct lsm_tree *t);
/* The family was dropped: like lsm_stop, and every table file is removed once the last reader has
 * gone. Call after the drop is durable. */
void lsm_drop(struct lsm_tree *t);

uint64_t lsm_max_seq(struct lsm_tree *t); /* greatest in any table; recovery */

/* ---- writing: called by the commit queue ---- */

/* The memtable to write to. Inside an epoch. */
struct memtable *lsm_active(struct lsm_tree *t);
/* Whether the active memtable is full. One load or two. Inside an epoch. */
bool lsm_is_full(struct lsm_tree *t);
/* Have a fresh memtable at hand for lsm_switch. No lock held. ODB_NOMEM; ODB_AGAIN when max_buffers
 * are in use: wait with lsm_wait_room. */
ODB_MUST_CHECK odb_status lsm_prepare_switch(struct lsm_tree *t);
/* Under the commit lock, after lsm_prepare_switch: the active memtable becomes immutable, holding
 * everything below LSN `lsn` and up to sequence number `last_seq`; the fresh one takes its place. A
 * flush is scheduled. Does nothing when no fresh one is at hand or the active one is empty. */
void lsm_switch(struct lsm_tree *t, uint64_t lsn, uint64_t last_seq);
/* Under the commit lock, and only when every commit so far is visible: an empty active memtable
 * begins at `lsn` from now on, so that an idle family pins no old log. */
void lsm_note_idle(struct lsm_tree *t, uint64_t lsn);
/* After puts were inserted and counted (memtable_return) and before they become visible, inside the same
 * epoch: walks must not take them for deleted (lsm/gaps.c). False: no need to note any. */
bool lsm_minds_puts(const struct lsm_tree *t);
ODB_COLD void lsm_note_put(struct lsm_tree *t, odb_slice key);
/* Block until a memtable is free, running jobs where there are no threads. Not under any lock. ODB_CANCELLED, as
 * from the calls below that wait, once the tree is being stopped or its family was dropped. */
ODB_MUST_CHECK odb_status lsm_wait_room(struct lsm_tree *t);
/* Whether a failure of background work may heal by itself and is worth another try. */
static inline bool lsm_failure_heals(odb_status st)
{
    return !CANARY(26) && (st == ODB_NOSPACE || st == ODB_NOMEM || st == ODB_LIMIT);
}

/* Try again what a full disk or want of memory or descriptors stopped, if anything. */
void lsm_resume(struct lsm_tree *t);
/* The delay a write of `bytes` owes to flush and merge, nanoseconds; 0 most of the time. Grows
 * smoothly with what is queued (lsm/pressure.c). Inside an epoch; sleep after leaving it. */
uint64_t lsm_delay_ns(struct lsm_tree *t, size_t bytes);
/* LSN below which this family needs nothing from the log: where its oldest memtable begins. */
uint64_t lsm_needed_lsn(struct lsm_tree *t);

/* ---- reading ---- */

/* The present view, inside an epoch: take it first, the sequence number second (C33). */
const struct lsm_view *lsm_view(struct lsm_tree *t);

/* A value that was found. Inside the epoch it may be used as it is. */
struct lsm_value {
    odb_slice data;
    struct sst_frame *frame;   /* where it lies: a cached block, or */
    struct memtable *memtable; /* a memtable, */
    void *owned;               /* or (values that had to be copied) memory of its own */
};

/* ODB_OK, ODB_ABSENT (never existed or deleted), or an error; `hash` is hash64(key). */
ODB_MUST_CHECK odb_status lsm_get(struct lsm_tree *t, const struct lsm_view *v, odb_slice key,
                                  uint64_t hash, uint64_t seq, struct lsm_value *out);
/* The same for `n` keys, sharing work; out[i] and each[i] as lsm_get would give them. */
void lsm_multiget(struct lsm_tree *t, const struct lsm_view *v, const odb_slice *keys, size_t n,
                  uint64_t seq, struct lsm_value *out, odb_status *each);
/* Whether a version of `key`, a delete included, was written after sequence number `since`, as far as
 * the memtables know: ODB_OK (no), ODB_CONFLICT, ODB_TOO_OLD (a table may hold one). Inside an
 * epoch; sets no text. */
ODB_MUST_CHECK odb_status lsm_written_since(const struct lsm_view *v, odb_slice key,
                                            uint64_t since);
/* Keep it beyond the epoch; then release once, any thread. */
void lsm_value_pin(struct lsm_value *v);
void lsm_value_unpin(struct lsm_value *v);

/* Bounds of a walk: [lower, upper), either open with a NULL data pointer; a prefix is turned into
 * bounds by the caller. Copied. */
struct lsm_range {
    odb_slice lower;
    odb_slice upper;
    bool keys_only;
    bool is_long; /* a scan of much: read ahead, spare the cache */
};

/* An iterator over `view` at `seq`, both kept for its life. Called inside an epoch, used outside.
 * ODB_AGAIN: the view has been replaced just now; take the present one, then the number anew. */
ODB_MUST_CHECK odb_status lsm_iter_new(struct lsm_tree *t, const struct lsm_view *v, uint64_t seq,
                                       const struct lsm_range *range, struct lsm_iter **out);
void lsm_iter_free(struct lsm_iter *it);
/* Whether it walks `view` at `seq`: then a new one would show the same. The view need not be alive. */
bool lsm_iter_is_at(const struct lsm_iter *it, const struct lsm_view *view, uint64_t seq);
/* True: on an entry. False: at the end (status ODB_OK) or failed (sticky until repositioned). */
bool lsm_iter_first(struct lsm_iter *it);
bool lsm_iter_last(struct lsm_iter *it);
bool lsm_iter_seek(struct lsm_iter *it, odb_slice key);
bool lsm_iter_seek_for_prev(struct lsm_iter *it, odb_slice key);
bool lsm_iter_next(struct lsm_iter *it);
bool lsm_iter_prev(struct lsm_iter *it);
bool lsm_iter_valid(const struct lsm_iter *it);
odb_status lsm_iter_status(const struct lsm_iter *it);

/* What of an iterator is in the open, so that most steps need no call: the entry it shows, and how many
 * right behind or before that entry in memory may be shown next without a look. The first member of
 * struct lsm_iter. */
struct lsm_iter_face {
    const struct entry *shown; /* NULL: the iterator is not valid */
    uint32_t ahead;
    uint32_t behind;
};

static inline struct lsm_iter_face *lsm_iter_face(struct lsm_iter *it)
{
    return (struct lsm_iter_face *)(void *)it;
}

/* As lsm_iter_next and lsm_iter_prev, where it is that easy; false: call those. */
static inline bool lsm_iter_step(struct lsm_iter *it)
{
    struct lsm_iter_face *f = lsm_iter_face(it);

    if (f->ahead == 0)
        return false;
    f->ahead--;
    f->shown++;
    return true;
}

static inline bool lsm_iter_step_back(struct lsm_iter *it)
{
    struct lsm_iter_face *f = lsm_iter_face(it);

    if (f->behind == 0)
        return false;
    f->behind--;
    f->shown--;
    return true;
}

/* Only while valid; good until the next call on the iterator. */
static inline odb_slice lsm_iter_key(struct lsm_iter *it)
{
    const struct entry *e = lsm_iter_face(it)->shown;

    return odb_bytes(e->key, e->key_len);
}

static inline odb_slice lsm_iter_value(struct lsm_iter *it)
{
    const struct entry *e = lsm_iter_face(it)->shown;

    return odb_bytes(e->value, e->value_len);
}

/* ---- by hand ---- */

/* Wait until everything that was immutable when called is in tables. The caller switches first. */
ODB_MUST_CHECK odb_status lsm_flush_wait(struct lsm_tree *t);
/* Merge [begin, end] (NULL data: open) down to the deepest level that holds any of it, rewriting the
 * last one too when it holds deletes. Returns when done. Progress, in bytes, by callback (may be
 * NULL), which stops it by returning false: ODB_CANCELLED. */
ODB_MUST_CHECK odb_status lsm_compact(struct lsm_tree *t, odb_slice begin, odb_slice end,
                                      bool (*progress)(void *arg, uint64_t done, uint64_t total),
                                      void *arg);
/* Wait until no flush and no merge is needed or running. */
ODB_MUST_CHECK odb_status lsm_wait_idle(struct lsm_tree *t);
/* Verify every table (sst_verify) and the order of the levels. `progress` as above. */
ODB_MUST_CHECK odb_status lsm_verify(struct lsm_tree *t,
                                     bool (*progress)(void *arg, uint64_t done, uint64_t total),
                                     void *arg);

/* ---- looking in ---- */

struct lsm_level_stats {
    uint32_t files;
    uint64_t bytes;
    uint64_t entries;
    uint64_t deletes;
    uint64_t target;
};

/* What is asked for often: a few loads for each memtable. The view is kept by the caller. */
struct lsm_sizes {
    uint64_t memtables, memtable_bytes, memtable_entries;
    uint64_t table_bytes;
};
void lsm_sizes(const struct lsm_view *v, struct lsm_sizes *out);

struct lsm_stats {
    struct lsm_level_stats level[LSM_LEVELS];
    struct lsm_sizes size;
    uint64_t flushes, flush_bytes, flush_entries, flush_ns;
    uint64_t merges, merge_bytes_in, merge_bytes_out, merge_entries, merge_ns, moves;
    uint64_t debt;     /* bytes still to be merged */
    uint64_t delay_ns; /* spent by writers waiting or delayed, in total */
    uint64_t stops;    /* writers that had to wait for a memtable */
};

void lsm_stats(struct lsm_tree *t, struct lsm_stats *out);
/* Call `each` for every table, level by level, in level order. */
void lsm_each_file(struct lsm_tree *t,
                   void (*each)(void *arg, uint32_t level, const struct sst_meta *meta), void *arg);
/* About how many file bytes lie in [begin, end). */
uint64_t lsm_size_between(struct lsm_tree *t, odb_slice begin, odb_slice end);

#endif
