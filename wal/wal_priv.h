/* wal/wal_priv.h -- the log being written: what writer.c (append, drain), sync.c and roll.c (space and
 * segments) share. */
#ifndef ODB_WAL_PRIV_H
#define ODB_WAL_PRIV_H

#include <stdatomic.h>

#include "wal/wal.h"

/* A segment that takes no more records. */
struct wal_closed {
    uint64_t file_no;
    uint64_t first_lsn;
    uint64_t end_lsn;
    struct os_file *file; /* open until its end is durable, then NULL */
};

/* Who may touch what:
 *   fixed       set by wal_open
 *   appender    the holder of the commit lock, while !is_sealed; the roller (under `lock`) while
 *               is_sealed. The flag itself hands them over: release to give, acquire to take.
 *   lock        RANK_SYNC */
struct wal {
    struct os *os; /* fixed, down to `quarter` */
    struct os_dir *dir;
    uint64_t db_id;
    uint64_t segment_size;
    uint64_t (*new_file_no)(void *owner);
    void *owner;
    struct os_ring *ring; /* NULL: every record is written at once */
    size_t ring_size;
    size_t quarter; /* of the ring: larger records do not go through it; 0 without a ring */

    uint64_t
        unit; /* what a drain without haste moves a multiple of: a page, or 1 in a small ring */

    struct os_file *file; /* appender: the present segment, five fields */
    uint64_t file_no;
    uint64_t salt;
    uint64_t first_lsn;
    uint64_t cap_lsn;       /* first_lsn + segment_size: a record that would end behind it rolls */
    uint64_t last_seq;      /* appender: first sequence number of the last record */
    uint64_t last_check;    /* appender: its check */
    _Atomic uint64_t end;   /* LSN behind the last record, which is complete; stored by the appender
                                with release */
    _Atomic bool is_sealed; /* the present segment is full */
    _Atomic bool sync_seen; /* somebody asks for durability; relaxed, a hint */
    char line_of_appender[64]; /* what follows is stored by others */

    _Atomic uint64_t
        limit; /* a record through the ring may end here at most; stored under `lock` with
                               release, after the ring's bytes were read; 0: ask append_slowly() */
    _Atomic uint64_t reserved; /* LSN up to which the segment has space; stored under `lock` */
    _Atomic uint64_t drained;  /* everything below is in a segment; stored under `lock` */
    _Atomic uint64_t
        durable;             /* everything below is on the medium; stored under `lock` with release,
                                  after the sync */
    _Atomic bool has_failed; /* for good; set under `lock` with release, after fail_text */
    _Atomic uint64_t oldest; /* first LSN of the oldest segment kept; relaxed */
    _Atomic uint64_t kept;   /* how many segments; relaxed */
    _Atomic bool has_spare;  /* relaxed, a hint */

    struct os_mutex lock;
    struct os_cond changed;          /* is_syncing, is_preparing, is_forgetting went false */
    struct os_cond joined;           /* `waiting` has reached `crowd` */
    struct wal_waiter *first_waiter; /* lock: who wait for the next sync, in the order they came */
    struct wal_waiter **last_waiter;
    uint32_t waiting; /* lock: how many of them */
    uint32_t crowd; /* lock: how many may be expected: served by the last sync, or come during it */
    uint32_t misses;  /* lock: to wait for them was in vain so often in a row, plus one */
    uint64_t sync_ns; /* lock: what the last sync took */
    char fail_text[ERR_TEXT_MAX];
    bool is_syncing;       /* lock: somebody syncs outside the lock; only then do closed[] and their
                           files stay put */
    bool is_preparing;     /* lock: somebody makes the spare outside the lock */
    bool is_forgetting;    /* lock: somebody removes closed[0] outside the lock */
    uint64_t step;         /* lock: bytes of space to reserve next */
    struct os_file *spare; /* lock: an empty segment in reserve, or NULL; four fields */
    uint64_t spare_no;
    uint64_t spare_salt;
    uint64_t spare_room;
    struct wal_closed *closed; /* lock: oldest first */
    size_t closed_count;
    size_t closed_cap;
};

/* ---- wal.c ---- */

/* The log has failed for good: keep the present error text as its cause, refuse everything from now
 * on, return ODB_UNKNOWN. Under `lock`. */
ODB_COLD odb_status wal_poison(struct wal *w) ODB_REQUIRES(w->lock);
/* ODB_UNKNOWN with the cause as text. Only after has_failed was seen. */
ODB_COLD odb_status wal_refuse(const struct wal *w);
/* ---- writer.c ---- */

/* Bring `limit` up to date after `drained` or `reserved` moved. Under `lock`. */
void wal_set_limit(struct wal *w);
/* Move [drained, end) to the segment, or as much of it as ends at a multiple of `unit`: whole pages cost
 * half of what pieces do. Under `lock`. ODB_NOSPACE may be tried again; any other failure has poisoned
 * the log. */
ODB_MUST_CHECK odb_status wal_drain_locked(struct wal *w, uint64_t unit) ODB_REQUIRES(w->lock);

/* ---- sync.c ---- */

/* Sync what must be for everything below `target` to be durable, oldest first. Called and returns with
 * `lock` held, which is open during the syncs; is_syncing keeps closed[] from shrinking. */
ODB_MUST_CHECK odb_status wal_sync_segments(struct wal *w, uint64_t target) ODB_REQUIRES(w->lock);

/* ---- roll.c ---- */

/* Make the first segment, with nothing before it. No lock needed yet. */
ODB_MUST_CHECK odb_status wal_first_segment(struct wal *w, uint64_t first_lsn, uint64_t next_seq);
/* Reserve space behind the end so that drains and appends do not meet a full disk; a hint, ahead of
 * need. Under `lock`. */
void wal_reserve_ahead(struct wal *w) ODB_REQUIRES(w->lock);
/* Give back the spare segment, if there is one. Under `lock`. */
void wal_drop_spare(struct wal *w) ODB_REQUIRES(w->lock);

#endif
