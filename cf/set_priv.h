/* cf/set_priv.h -- the inside of a set, for the files of cf/ and their tests.
 *
 *     set.c       life and health, families by name, upkeep, statistics
 *     recover.c   from the files to a set
 *     ledger.c    how a change of tables or families becomes durable
 *     commit.c    the commit queue
 *     reserve.c   space kept back for a full disk
 *     history.c claims.c   what was written of late, and whether it touches a transaction
 *     read.c snapshot.c
 *
 * Locks, in the order of taking (docs/locks.md):
 *
 *     family_lock    RANK_OPEN      one family is created or dropped at a time
 *     (lsm: sched, edit)
 *     manifest_lock  RANK_MANIFEST  the manifest, and what it says of each family
 *     (wal: its own)
 *     commit_lock    RANK_COMMIT    sequence numbers, tickets, the end of the log, switching memtables
 *     publish_lock   RANK_PUBLISH   sleeping until published; the text of the sticky error
 *     (lsm: view)
 *     snapshot_lock  RANK_SNAPSHOT  the list of snapshots, and reading the present beside it
 */
#ifndef ODB_CF_SET_PRIV_H
#define ODB_CF_SET_PRIV_H

#include <stdatomic.h>

#include "base/canary.h"
#include "cf/cf.h"
#include "cf/files.h"
#include "cf/history.h"
#include "cf/manifest.h"
#include "wal/wal.h"

#define SET_ROOMY ((size_t)32 << 20) /* a write buffer for which two megabytes more are nothing */

struct cf {
    struct cf_set *set; /* fixed, down to `options` */
    struct lsm_tree *tree;
    uint32_t id;
    uint32_t index; /* in every table from its publication on */
    char name[CF_NAME_MAX + 1];
    bool has_options; /* `options` are its own, kept in the manifest */
    bool is_roomy;    /* memtables so large that a block more of memory is nothing */
    struct lsm_options options;
    _Atomic bool is_dropped; /* stored under commit_lock; commits and reads refuse it */
    bool is_gone ODB_GUARDED(manifest_lock);          /* and durably so */
    uint64_t flushed_lsn ODB_GUARDED(manifest_lock);  /* as the manifest has it */
    uint64_t flushed_next ODB_GUARDED(manifest_lock); /* as the group being written will have it */
};

/* All families of this life, the dropped ones too, by rising id. Replaced as a whole. */
struct cf_table {
    struct epoch_item retired; /* first: the epoch's handle */
    uint32_t count;
    struct cf *cf[];
};

#define COMMIT_SLOTS 128 /* commits between log and publication; a power of two */

/* One ticket's place in the queue; commit.c tells how it goes from one state to the next. */
enum commit_slot_state { SLOT_EMPTY, SLOT_DONE, SLOT_TOKEN };

struct commit_slot {
    _Atomic uint32_t state;      /* enum commit_slot_state */
    bool is_failed;              /* the ticket's, until it is done; then the publisher's */
    uint64_t last_seq;           /* likewise; stored under commit_lock */
    const struct commit *commit; /* likewise; it waits until it is published */
    char pad[40];                /* neighbours are written by other threads */
};

struct cf_snapshot {
    uint64_t seq;                      /* fixed, but for the owner's cf_txn_begin */
    uint64_t taken_ns;                 /* likewise */
    struct cf_snapshot *older, *newer; /* snapshot_lock */
    bool is_guard;                     /* it was made by cf_txn_begin; fixed */
    bool is_paused;                    /* it is not in the list; its owner's */
};

/* What a prepared transaction claims; cf/commit.c. */
struct cf_hold {
    struct cf_hold *next; /* commit_lock */
    uint64_t number;
    struct claims claims;
    odb_claim range[]; /* and then the bytes of their bounds */
};

enum reserve_state { RESERVE_NONE, RESERVE_KEPT, RESERVE_SPENT };

/* What commits leave to a worker (commit.c, "Help"), each at most once at a time. */
enum { AID_SEGMENT, AID_DRAIN, AID_BLOCK, AID_COUNT };
enum commit_aid_state { AID_IDLE, AID_QUEUED, AID_GIVEN_UP };

struct commit_aid {
    struct exec_job job; /* first */
    struct cf_set *set;  /* fixed */
    _Atomic int state;   /* enum commit_aid_state */
};

struct cf_set {
    struct os *os; /* fixed, down to `env` */
    struct os_dir *dir;
    struct os_lock *lock;
    struct exec *exec;
    struct sst_store *tables;
    struct wal *wal; /* NULL when read-only */
    struct cf_set_options opt;
    uint64_t db_id;
    uint64_t fork_count;
    bool is_readonly;
    uint64_t recovered_records, recovered_bytes, recovery_ns;
    uint64_t first_seq; /* the first number of this life */
    uint64_t first_lsn; /* likewise */
    struct lsm_env env;
    struct epoch epoch;

    _Atomic(struct cf_table *)
        table;                     /* stored under manifest_lock, release; read inside an epoch */
    _Atomic uint64_t next_file_no; /* relaxed: a counter */
    _Atomic int failed;            /* the sticky odb_status; release, after failed_text */
    _Atomic int soft;              /* what background work waits to be over; relaxed */
    _Atomic uint64_t alarm;        /* LSN at which to look at log and memory again; relaxed */
    uint64_t alarm_step;           /* fixed */
    _Atomic bool is_short;         /* of memory: writers wait for flushes; relaxed */
    _Atomic bool is_looking;       /* one of them looks whether it still is */
    struct commit_aid aid[AID_COUNT];
    struct memtable *aid_mem; /* of AID_BLOCK while that is queued: a reference */
    struct set_sweep *sweep;  /* fixed; NULL: nothing was left to a worker at open */

    struct os_mutex family_lock;
    uint32_t next_family ODB_GUARDED(manifest_lock);
    uint32_t living ODB_GUARDED(manifest_lock);

    struct os_mutex manifest_lock;
    struct manifest *manifest
        ODB_GUARDED(manifest_lock);                     /* NULL: the next change begins a new one */
    uint64_t manifest_limit ODB_GUARDED(manifest_lock); /* size at which it is rewritten */
    uint64_t log_no ODB_GUARDED(manifest_lock);         /* the oldest segment still needed */
    uint64_t log_lsn ODB_GUARDED(manifest_lock);        /* where it begins */
    bool is_log_open ODB_GUARDED(manifest_lock);
    struct os_file *reserve ODB_GUARDED(manifest_lock); /* NULL: not looked for yet */
    uint64_t reserve_size ODB_GUARDED(manifest_lock);   /* as it was last kept */
    _Atomic int reserve_state; /* enum reserve_state; stored under manifest_lock, relaxed */

    struct history history; /* see there */

    struct os_mutex commit_lock;
    uint64_t next_seq ODB_GUARDED(commit_lock);
    uint64_t next_ticket ODB_GUARDED(commit_lock);
    uint64_t commits ODB_GUARDED(commit_lock);
    struct cf_hold *holds ODB_GUARDED(commit_lock);
    uint64_t bytes_in ODB_GUARDED(commit_lock);

    char line_of_publisher[64];   /* what follows is written at every commit and read by all */
    _Atomic uint64_t visible_seq; /* readers start here; release, by the holder of the token */
    _Atomic uint64_t published;   /* tickets passed by the token; sequentially consistent */
    bool is_frozen;               /* the token holder's: a ticket failed, nothing after it shows */
    cf_observer *observer; /* the token holder's; set under commit_lock with no commit under way */
    void *observer_arg;    /* likewise */
    char line_of_waiters[64];
    _Atomic uint32_t waiters; /* threads asleep; sequentially consistent */
    struct os_mutex publish_lock;
    struct os_cond publish_wake;
    char failed_text[ERR_TEXT_MAX] ODB_GUARDED(publish_lock);
    struct commit_slot *slot; /* COMMIT_SLOTS of them */

    struct os_mutex snapshot_lock;
    struct cf_snapshot *oldest ODB_GUARDED(snapshot_lock);
    struct cf_snapshot *newest ODB_GUARDED(snapshot_lock);
    uint32_t snapshot_count ODB_GUARDED(snapshot_lock);
};

/* ---- set.c ---- */

/* The first sticky error wins; this thread's error text goes with it. No lock above publish_lock. */
void set_fail(struct cf_set *s, odb_status st);
static inline bool set_has_failed(const struct cf_set *s)
{
    return atomic_load_explicit(&s->failed, memory_order_acquire) != ODB_OK;
}
/* ODB_READONLY, with what happened as text. */
ODB_MUST_CHECK odb_status set_refuse(struct cf_set *s);
/* ODB_FORKED in a child of the process that opened the set, else ODB_OK. */
ODB_MUST_CHECK odb_status set_check_fork(const struct cf_set *s);
static inline bool set_is_forked(const struct cf_set *s)
{
    return os_fork_count(s->os) != s->fork_count && !CANARY(44);
}
/* NULL when this life never had it. */
struct cf *set_table_find(const struct cf_table *t, uint32_t id);
/* Allocate everything but the families; `dir` and `lock` become the set's on ODB_OK. */
ODB_MUST_CHECK odb_status set_new(const struct cf_set_options *opt, struct os_dir *dir,
                                  struct os_lock *lock, uint64_t db_id, struct cf_set **out);
/* No background work is under way or will be. */
void set_stop(struct cf_set *s);
/* After set_stop and wal_close: everything goes, whatever state recovery left it in. */
void set_free(struct cf_set *s);
/* A family with its tree, in no table yet. `options` NULL: the set's. */
ODB_MUST_CHECK odb_status set_family_new(struct cf_set *s, uint32_t id, const char *name,
                                         const struct lsm_options *options, struct cf **out);
void set_family_free(struct cf *f);
ODB_MUST_CHECK odb_status set_check_name(const char *name);
/* Create family `name`, durably; family_lock is held. */
ODB_MUST_CHECK odb_status set_family_create(struct cf_set *s, const char *name,
                                            const struct lsm_options *options, struct cf **out);
/* The least and the greatest flushed_lsn of the families that live. Under manifest_lock, or alone. */
void set_flushed_bounds(const struct cf_table *t, uint64_t *low, uint64_t *high);
struct cf *set_family_named(const struct cf_set *s, const char *name);
/* What the trees of all families hold, in bytes; the dropped ones too, while they still do. */
struct set_sizes {
    uint64_t memtables, tables;
};
struct set_sizes set_sizes(struct cf_set *s);
void set_note(struct cf_set *s, const char *fmt, ...) ODB_PRINTF(2, 3);
/* Let the block cache have what the memtables leave of the memory budget. */
void set_balance_memory(struct cf_set *s);

/* ---- recover.c ---- */

/* What open found and nobody names; removed by a worker, since a large file takes its time. */
struct set_sweep {
    struct exec_job job; /* first */
    struct cf_set *set;
    struct file_list files;
    struct file_numbers live; /* tables to be kept, ascending */
    _Atomic bool is_done;     /* release: the job is not run any more */
};

void set_sweep_free(struct set_sweep *w);

/* ---- ledger.c: lsm_env's functions, and what set.c and recover.c need of the manifest ---- */

uint64_t ledger_new_file_no(void *set);
odb_status ledger_log_edit(void *set, const struct lsm_edit *edit, void (*apply)(void *arg),
                           void *arg);
void ledger_flushed(void *set);
void ledger_failed(void *set, odb_status st);
/* Failures that heal: nothing was applied, and the next try may succeed. */
static inline bool set_is_soft(odb_status st)
{
    return lsm_failure_heals(st);
}
/* Make `g` durable, together with the present counters. On failure *is_unclear tells that it may be on
 * the disk all the same. Under manifest_lock. */
ODB_MUST_CHECK odb_status ledger_write(struct cf_set *s, struct manifest_group *g,
                                       bool *is_unclear);
/* The same for what somebody asked for: unclear is ODB_UNKNOWN, and the set is read-only. */
ODB_MUST_CHECK odb_status ledger_write_order(struct cf_set *s, struct manifest_group *g);
/* Begin a new manifest that describes everything and `g`, and make CURRENT name it: recovery's final
 * switch. Under manifest_lock. */
ODB_MUST_CHECK odb_status ledger_begin(struct cf_set *s, const struct manifest_group *g);
/* Remove manifests that CURRENT does not name. Under manifest_lock, after a durable switch. */
void ledger_sweep_manifests(struct cf_set *s);

/* ---- commit.c ---- */

void commit_wait_visible(void *set, uint64_t seq);
/* Put the active memtable away if it holds anything, waiting for a fresh one where needed (not with
 * no_wait). `only_full`: only if it is full. */
ODB_MUST_CHECK odb_status commit_switch(struct cf_set *s, struct cf *f, bool only_full,
                                        bool no_wait);
/* Everything committed before the call is visible on return; gives the last number used by then. */
uint64_t commit_settle(struct cf_set *s);
void commit_hold_free(struct cf_hold *h);
void commit_aid_run(struct exec_job *job);

/* ---- reserve.c ---- */

/* Give the kept space to the disk, once; true: try again what failed. No lock at or above
 * manifest_lock. */
bool reserve_spend(void *set);
/* After a flush: keep space back, more of it, or again, where there is plenty. */
void reserve_keep(struct cf_set *s);
/* A put while it is spent: ODB_NOSPACE unless it can be kept again. */
ODB_MUST_CHECK odb_status reserve_admit(struct cf_set *s);
/* An open ran out of space: remove what an earlier life kept; true: try again. */
bool reserve_give_up(struct os_dir *dir);

/* ---- snapshot.c ---- */

odb_status snapshot_list(void *set, uint64_t **out, uint32_t *count);
/* Switch the history on: somebody entered it and found it off. ODB_NOMEM. */
ODB_MUST_CHECK odb_status snapshot_need_history(struct cf_set *s);

#endif
