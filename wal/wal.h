/* wal/wal.h -- the log: every committed batch, in commit order, over all column families.
 *
 *     wal_append          the record lies in the commit ring: survives the process (P2)
 *     wal_drain           ... and in a log segment, by pwrite
 *     wal_sync            ... and on the medium (P1)
 *
 * An LSN is a position in the endless stream of records; the record that starts at LSN x lies at
 * offset WAL_SEGMENT_HEADER + (x - first LSN of its segment, rounded down to 4096) of that segment, and
 * in the ring at x modulo the ring's size. wal/record.h draws the record, wal/segment.c the segment's header,
 * wal/writer.c the ring, wal/roll.c the step from segment to segment, wal/replay.c the way back.
 *
 * Threads: wal_append is serialised by the caller's commit lock (RANK_COMMIT); every other call that
 * does file work takes the log's own lock (RANK_SYNC), which ranks below it: never call those holding
 * the commit lock.
 */
#ifndef ODB_WAL_H
#define ODB_WAL_H

#include "base/buf.h"
#include "os/os.h"
#include "os/os_thread.h"

#define WAL_SEGMENT_HEADER 8192
#define WAL_PAYLOAD_MAX    ((size_t)2 << 30) /* a batch; the API refuses more */

#define WAL_RING_NAME "RING"
#define WAL_RING_MIN  ((size_t)4096)
#define WAL_NAME_MAX  32

/* "000012.log". A "log.tmp" is a segment in the making: it belongs to the writer, means nothing, and
 * goes away at the next wal_open. */
void wal_segment_name(char out[WAL_NAME_MAX], uint64_t file_no);

enum wal_type {
    WAL_BATCH = 1, /* a committed batch */
    WAL_MARK = 2,  /* how far another file had been synced by then; cf/manifest.c draws it */
};

struct wal;

struct wal_options {
    struct os *os;
    struct os_dir *dir;
    uint64_t db_id;
    size_t ring_size; /* a power of two, at least WAL_RING_MIN, better 64 KiB and more; 0: no
                               ring, one write() a record */
    uint64_t
        segment_size; /* bytes of records after which the next segment is begun (a single record
                               may be larger) */
    uint64_t (*new_file_no)(void *owner); /* numbers for segments: rising, from 1, never reused;
                                             called without a lock of the log */
    void *owner;
};

/* Start writing: a new segment and the ring (ODB_UNSUPPORTED there falls back to writes, see
 * wal_has_ring). `first_lsn` continues the stream (a multiple of 8, as every LSN), no batch will have a
 * sequence number below `next_seq`. Appends nothing to older segments. On ODB_OK segment file and
 * directory entry are durable.
 *
 * What the log held before `first_lsn` must be durable elsewhere before the first append: the records
 * that replay found in the ring are in no segment, and appends overwrite them. A ring of another size
 * is replaced here already. */
ODB_COLD ODB_MUST_CHECK odb_status wal_open(const struct wal_options *opt, uint64_t first_lsn,
                                            uint64_t next_seq, struct wal **out);
/* Drain, cut the segment to its length, sync, close. Returns the first error of the log's life; after
 * one the files stay as they are, for replay to judge. Frees `w` in any case; NULL is fine. */
ODB_COLD odb_status wal_close(struct wal *w);
bool wal_has_ring(const struct wal *w);

/* Put one record at the end. Under the commit lock. `hash` is hash64(payload), computed outside it.
 * On ODB_OK the record will be found after death of the process, and *end is the LSN behind it.
 * ODB_AGAIN: the ring or segment has no room for it yet: leave the commit lock, call wal_make_room,
 * start over. ODB_NOSPACE, ODB_IO and so on: nothing was appended (P5: NOT_APPLIED); ODB_UNKNOWN:
 * the log has failed for good. */
ODB_MUST_CHECK odb_status wal_append(struct wal *w, enum wal_type type, uint64_t first_seq,
                                     odb_slice payload, uint64_t hash, uint64_t *end);
/* Make `payload` bytes fit: drain, roll to the next segment, reserve space. Not under the commit
 * lock. The statuses of wal_append but ODB_AGAIN. */
ODB_MUST_CHECK odb_status wal_make_room(struct wal *w, size_t payload);
/* Whether half of the ring has gathered: then whoever notices calls wal_drain, without the commit lock.
 * Two loads. */
bool wal_drain_due(const struct wal *w);
/* Whether it is three quarters: then a drain is not to be left to another thread any more. */
bool wal_drain_presses(const struct wal *w);
/* Move what is complete from the ring to the segment. Someone else doing it already is fine: returns
 * at once. A failure sticks (ODB_UNKNOWN), but for ODB_NOSPACE: the ring keeps the bytes, and a later
 * call tries again. */
ODB_MUST_CHECK odb_status wal_drain(struct wal *w);
/* Return once everything below `lsn` is durable (group commit: one fdatasync serves all who wait).
 * ODB_UNKNOWN after a failed write or sync, for ever (P6). */
ODB_MUST_CHECK odb_status wal_sync(struct wal *w, uint64_t lsn);
/* The same for a commit, lsn and served set, the rest 0: another that makes the sync for both may call
 * `served`, holding no lock, when it has succeeded. So all that a sync was for is done by one thread, in
 * the order they came, before the others wake. is_served tells whether it was called. */
struct wal_waiter {
    uint64_t lsn;
    void (*served)(struct wal_waiter *me);
    bool is_served;
    bool is_over; /* the log's own, as the next */
    struct wal_waiter *next;
};
ODB_MUST_CHECK odb_status wal_sync_commit(struct wal *w, struct wal_waiter *me);
/* The same for the engine's own sake. It says nothing about what users will ask for, so that space is not
 * written full of zeros for it (roll.c, 5). */
ODB_MUST_CHECK odb_status wal_harden(struct wal *w, uint64_t lsn);

/* Whether the next segment should be made now, ahead of need, and doing so: for a background job, as
 * it creates and syncs a file. Nobody has to; wal_make_room does it otherwise, with everyone
 * waiting. Failing changes nothing. */
bool wal_prepare_due(const struct wal *w);
ODB_MUST_CHECK odb_status wal_prepare(struct wal *w);

uint64_t wal_end(const struct wal *w);     /* LSN behind the last append; commit lock or a hint */
uint64_t wal_durable(const struct wal *w); /* everything below is on the medium; any thread */

/* Segments in order of age: call `each` with number, first LSN and end LSN until it returns false.
 * Any thread; under the log's lock, so `each` calls nothing of the log. */
void wal_segments(struct wal *w,
                  bool (*each)(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn),
                  void *arg);
/* Remove the closed segments numbered below `file_no`: a durable manifest says that the log begins with
 * that one (C3). By number, for where it ends another segment may begin, and be named. */
ODB_MUST_CHECK odb_status wal_forget(struct wal *w, uint64_t file_no);
/* Whether the present segment holds so much that leaving it is worth a new one, should none of it be
 * needed. Under the commit lock, as wal_leave. */
bool wal_may_leave(const struct wal *w);
/* The present segment takes no more: the next wal_make_room rolls, or the next append asks for it. */
void wal_leave(struct wal *w);
/* Bytes of all segments still kept. */
uint64_t wal_bytes(const struct wal *w);

/* ---- the way back ---- */

struct wal_record {
    enum wal_type type;
    uint64_t first_seq;
    uint64_t lsn;
    uint64_t end_lsn;
    odb_slice payload; /* good until the callback returns */
    const char *file;  /* for messages: segment or ring */
    uint64_t file_off;
};

#define WAL_LSN_UNKNOWN UINT64_MAX

struct wal_replay_result {
    uint64_t end_lsn; /* behind the last record; the next segment begins here */
    uint64_t
        seq_floor;    /* the greatest first sequence number handed out; where a tail was discarded,
                           at least the greatest number used in it (C17) */
    uint64_t records; /* handed out, marks not counted */
    uint64_t bytes;   /* of log those take */
    bool used_ring;   /* some records are in the ring alone: see wal_open */
};

/* Read the segments `file_no` (ascending, the oldest still needed first) and then the ring; call
 * `each` for every record with lsn >= `from`, in order. Changes no file. A torn tail ends the log;
 * damage before the last provably durable point, a missing segment or a read error is ODB_CORRUPT or
 * ODB_IO (P9). Segments that were made but never begun are passed over. `first_lsn` is where the first
 * one begins, should a power cut have taken what it says of itself (else it is damage to say otherwise);
 * WAL_LSN_UNKNOWN where that cannot be or nobody knows. `each` may stop the replay with a status of its
 * own. `out` is written on ODB_OK only. Without segments end_lsn is `from`.
 * `to`: WAL_LSN_UNKNOWN; or an LSN up to which a log in use is durable. Then it is read as far, beside whoever
 * writes, and to end before that is ODB_CORRUPT. */
ODB_MUST_CHECK odb_status wal_replay(struct os_dir *dir, uint64_t db_id, const uint64_t *file_no,
                                     size_t count, uint64_t first_lsn, uint64_t from, uint64_t to,
                                     odb_status (*each)(void *arg, const struct wal_record *rec),
                                     void *arg, struct wal_replay_result *out);

#endif
