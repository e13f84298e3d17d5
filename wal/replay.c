/* wal/replay.c -- the way back: which records were committed, and whether any was lost.
 *
 *     000003.log |HHrrrrrrrrr|                 each segment as far as its records are good, then
 *     000005.log             |HHrrrr?..?...|   the ring from there on, up to the start of the next
 *     RING                          |rr?..|    segment; the last stop is the end of the log
 *                                      ^ stop
 *
 * Each record stands or falls by its own check (wal/record.h). The question is what a stop means:
 * a crash may have kept any part of what was never synced, and nothing less than all that was.
 *
 * 1. A prefix, no holes (P3): after a stop that the next segment does not continue, no record of a
 *    later segment is handed out.
 * 2. Damage (P9, ODB_CORRUPT) is what a good record or header behind the stop proves: it says that the
 *    log was once durable beyond the stop. The rest of the segment, the ring and all later segments
 *    are searched for such a witness. Without one the tail was never promised to anybody.
 * 3. Names and first blocks are durable before records (wal/roll.c, 1). Damage is therefore also: a segment
 *    whose predecessor is not there, or ends later than its successor says, or with another record; and
 *    a bad first block.
 * 4. A segment that an open started (no predecessor) says that a recovery before us ended the log
 *    there, with all before it in safety. It continues the log when it begins at the stop. When it
 *    does not, that recovery came to nothing: it must be without records.
 * 5. A read error is an error, never an end (C15).
 * 6. Nothing is allocated and nothing is read on the word of a number that was not compared with the
 *    bytes that are there (P17).
 * 7. Only reads (P10). Where the end is known, since the log is in use and durable up to there, nothing is read
 *    from there on, nor the ring at all: a writer may be at it. A stop before it needs no witness.
 * 8. A segment without a good link was never begun, or a power cut took it (wal/roll.c, 2). It is tried where
 *    the log has stopped: where the segment before it is complete, its records prove that they belong
 *    there, by the check; where it is not, nothing fits. The manifest says where the first one begins.
 *
 * Sequence numbers in a discarded tail count for seq_floor: they were given out (C17). Not those in segments without
 * a link behind a stop (8): where their records lie in the stream is not known, so that none is told from chance.
 * They may be given out again; nothing bears them, since those segments go with the recovery.
 * Not here: what is in a batch (cf/).
 */
#include "base/alloc.h"
#include "base/canary.h"
#include "base/coding.h"
#include "base/hash.h"
#include "base/ikey.h"
#include "wal/record.h"
#include "wal/segment.h"

#define REPLAY_CHUNK    ((size_t)1 << 20)
#define REPLAY_HASH_MIN ((uint64_t)4 << 30) /* bytes that may be hashed in vain: a second at most */

/* A stretch of the stream, read front to back: one segment, or the ring seen from some LSN on. */
struct replay_source {
    struct os_file *file;
    uint64_t ring_size; /* 0: a segment */
    uint64_t from;      /* LSN of the first byte */
    uint64_t to;        /* LSN behind the last */
    struct buf bytes;   /* [at, at + bytes.len) of it */
    uint64_t at;
};

struct replay_segment {
    uint64_t file_no;
    bool is_begun;    /* where it begins is known */
    bool has_records; /* some were handed out */
    uint64_t size;    /* of the file */
    struct wal_header head;
};

struct replay {
    struct os_dir *dir;
    uint64_t from;
    uint64_t to; /* to end before it is damage; WAL_LSN_UNKNOWN: the end is to be found */
    odb_status (*each)(void *arg, const struct wal_record *rec);
    void *arg;
    struct replay_segment *segment;
    size_t count;
    struct replay_source log;
    struct replay_source ring; /* no file: there is none */
    bool has_begun;            /* a segment was read: pos means something */
    uint64_t pos;              /* behind the last good record */
    uint64_t last_no;          /* the segment that holds it; 0: no record yet */
    uint64_t last_check;       /* its check */
    uint64_t last_seq;         /* its sequence number; records never go back */
    struct wal_replay_result result;
};

/* One good record in a source. */
struct replay_found {
    struct wal_record_head head;
    const uint8_t *payload; /* until the source is read again */
    uint64_t end;
};

/* ---- bytes ---- */

static uint64_t source_offset(const struct replay_source *s, uint64_t lsn)
{
    return s->ring_size > 0 ? lsn & (s->ring_size - 1) : wal_offset(s->from, lsn);
}

static void source_rewind(struct replay_source *s, uint64_t from, uint64_t to)
{
    s->from = from;
    s->to = to;
    s->at = from;
    buf_reset(&s->bytes);
}

static void source_close(struct replay_source *s)
{
    os_close(s->file);
    s->file = NULL;
    buf_reset(&s->bytes);
}

/* Read [at, at+len) of the source, around the end of the ring where needed. */
static odb_status source_read(struct replay_source *s, uint64_t at, uint8_t *out, size_t len)
{
    while (len > 0) {
        uint64_t off = source_offset(s, at);
        size_t part = len, got;
        odb_status st;

        if (s->ring_size > 0 && part > s->ring_size - off)
            part = (size_t)(s->ring_size - off);
        st = os_read(s->file, off, out, part, &got);
        if (st == ODB_IO && CANARY(15)) {
            memset(out, 0, part);
            got = part;
            st = ODB_OK;
        }
        if (st != ODB_OK)
            return st;
        if (got < part)
            return err_set(ODB_IO, "%s shrank while it was read", os_file_name(s->file));
        at += part;
        out += part;
        len -= part;
    }
    return ODB_OK;
}

/* Have at least [lsn, lsn+len) at hand, which the caller knows to be inside [from, to). */
static odb_status source_fill(struct replay_source *s, uint64_t lsn, size_t len)
{
    uint64_t have_to = s->at + s->bytes.len, left = s->to - lsn;
    size_t want = len > REPLAY_CHUNK ? len : REPLAY_CHUNK, keep = 0;
    odb_status st;

    if (want > left)
        want = (size_t)left;
    if (lsn >= s->at && lsn < have_to) {
        keep = (size_t)(have_to - lsn);
        memmove(s->bytes.p, s->bytes.p + (lsn - s->at), keep);
    }
    s->bytes.len = keep;
    s->at = lsn;
    if (want <= keep)
        return ODB_OK;
    st = buf_reserve(&s->bytes, want - keep);
    if (st == ODB_OK)
        st = source_read(s, lsn + keep, s->bytes.p + keep, want - keep);
    if (st == ODB_OK)
        s->bytes.len = want;
    return st;
}

static inline bool source_has(const struct replay_source *s, uint64_t lsn, uint64_t len)
{
    return lsn >= s->at && lsn + len <= s->at + s->bytes.len;
}

static inline const uint8_t *source_bytes(const struct replay_source *s, uint64_t lsn)
{
    return s->bytes.p + (size_t)(lsn - s->at);
}

/* Look for a good record at `lsn`. *is_good tells; a status other than ODB_OK is a failure to read. */
static odb_status source_record(struct replay_source *s, uint64_t salt, uint64_t lsn,
                                struct replay_found *out, bool *is_good)
{
    uint64_t left = s->to - lsn;
    struct wal_record_head head;
    size_t len;
    odb_status st = ODB_OK;

    *is_good = false;
    if (lsn > s->to || left < WAL_RECORD_HEADER)
        return ODB_OK;
    if (!source_has(s, lsn, WAL_RECORD_HEADER))
        st = source_fill(s, lsn, WAL_RECORD_HEADER);
    if (st != ODB_OK)
        return st;
    wal_record_decode(source_bytes(s, lsn), &head);
    if (head.type == 0 || head.length > left - WAL_RECORD_HEADER || head.length > WAL_PAYLOAD_MAX)
        return ODB_OK;
    len = WAL_RECORD_HEADER + head.length;
    if (!source_has(s, lsn, len))
        st = source_fill(s, lsn, len);
    if (st != ODB_OK)
        return st;
    out->payload = source_bytes(s, lsn) + WAL_RECORD_HEADER;
    if (wal_record_check(&head, hash64(out->payload, head.length), salt, lsn) != head.check &&
        !CANARY(16))
        return ODB_OK;
    out->head = head;
    out->end = lsn + wal_record_size(head.length);
    *is_good = true;
    return ODB_OK;
}

static odb_status source_corrupt(const struct replay_source *s, uint64_t lsn, const char *what)
{
    return err_corrupt(os_file_name(s->file), source_offset(s, lsn), what);
}

/* ---- records that count ---- */

static odb_status replay_deliver(struct replay *r, struct replay_segment *seg,
                                 struct replay_source *s, const struct replay_found *found)
{
    const char *fault = wal_record_fault(&found->head, r->pos);
    odb_status st = ODB_OK;

    if (fault == NULL && found->head.seq < r->last_seq)
        fault = "log record with a sequence number below the one before it";
    if (fault != NULL)
        return source_corrupt(s, r->pos, fault);
    if (r->pos >= r->from) {
        struct wal_record rec = {
            .type = (enum wal_type)found->head.type,
            .first_seq = found->head.seq,
            .lsn = r->pos,
            .end_lsn = found->end,
            .payload = odb_bytes(found->payload, found->head.length),
            .file = os_file_name(s->file),
            .file_off = source_offset(s, r->pos),
        };

        st = r->each(r->arg, &rec);
        if (rec.type == WAL_BATCH) {
            r->result.records++;
            r->result.bytes += found->end - r->pos;
        }
    }
    /* a mark bears the number of the batch to come, and uses none */
    if (found->head.type == WAL_BATCH && found->head.seq > r->result.seq_floor)
        r->result.seq_floor = found->head.seq;
    if (s->ring_size > 0)
        r->result.used_ring = true;
    seg->has_records = true;
    r->last_no = seg->file_no;
    r->last_check = found->head.check;
    r->last_seq = found->head.seq;
    r->pos = found->end;
    return st;
}

/* Hand out the good records of `s` from the present position on, but none from `goal` on. */
static odb_status replay_stretch(struct replay *r, struct replay_segment *seg,
                                 struct replay_source *s, uint64_t goal)
{
    odb_status st = ODB_OK;

    while (st == ODB_OK && r->pos < goal) {
        struct replay_found found;
        bool is_good;

        st = source_record(s, seg->head.salt, r->pos, &found, &is_good);
        if (st != ODB_OK || !is_good)
            break;
        st = replay_deliver(r, seg, s, &found);
    }
    return st;
}

/* ---- records that do not count, but bear witness (2) ---- */

/* Whether 24 bytes could be the head of a good record: cheap, so that the search can look at every
 * eighth byte. */
static inline bool witness_may_start(const uint8_t *p, uint64_t left, uint64_t least, uint64_t most)
{
    return (p[16] == WAL_BATCH || p[16] == WAL_MARK) &&
           get_u32(p + 8) <= left - WAL_RECORD_HEADER && get_u64(p + 16) >> 8 >= least &&
           get_u64(p + 16) >> 8 <= most;
}

/* No record before s->to can have a greater number. Every number a batch uses costs the log a byte at least,
 * so that numbers do not run ahead of LSNs; what recoveries have skipped since the last record is in the
 * margin, many times over. Content that looks like a head in many places rarely keeps to that. */
static uint64_t witness_most(const struct replay *r, const struct replay_source *s)
{
    uint64_t known = r->last_seq > r->result.seq_floor ? r->last_seq : r->result.seq_floor;

    return known + s->to + ((uint64_t)1 << 32);
}

/* The first place at or behind `lsn` where a record may start, or s->to. */
static odb_status witness_next(struct replay_source *s, uint64_t lsn, uint64_t least, uint64_t most,
                               uint64_t *out)
{
    while (lsn <= s->to && s->to - lsn >= WAL_RECORD_HEADER) {
        const uint8_t *p;
        size_t have;

        if (!source_has(s, lsn, WAL_RECORD_HEADER)) {
            odb_status st = source_fill(s, lsn, WAL_RECORD_HEADER);

            if (st != ODB_OK)
                return st;
        }
        p = source_bytes(s, lsn);
        have = (size_t)(s->at + s->bytes.len - lsn);
        for (; have >= WAL_RECORD_HEADER; p += 8, lsn += 8, have -= 8) {
            if (witness_may_start(p, s->to - lsn, least, most)) {
                *out = lsn;
                return ODB_OK;
            }
            if (have < WAL_RECORD_HEADER + 8) {
                lsn += 8;
                break;
            }
        }
    }
    *out = s->to;
    return ODB_OK;
}

/* Search [lsn, s->to) for good records of the segment that drew `salt`. One that says the log was
 * durable beyond the stop is proof of damage. *end becomes the end of the last good one, if any.
 *
 * Made-up heads can ask for much hashing. Nothing a crash leaves behind comes near the allowance;
 * bytes that exhaust it were put there. */
static odb_status replay_search(struct replay *r, struct replay_source *s, uint64_t salt,
                                uint64_t lsn, uint64_t *end)
{
    uint64_t most = witness_most(r, s), allowance = 64 * (s->to - s->from);

    if (allowance < REPLAY_HASH_MIN)
        allowance = REPLAY_HASH_MIN;

    for (;;) {
        struct replay_found found;
        uint64_t claim, greatest;
        bool is_good;
        odb_status st = witness_next(s, lsn, r->last_seq, most, &lsn);

        if (st != ODB_OK || lsn >= s->to)
            return st;
        st = source_record(s, salt, lsn, &found, &is_good);
        if (st != ODB_OK)
            return st;
        if (!is_good) {
            uint64_t cost = WAL_RECORD_HEADER + get_u32(source_bytes(s, lsn) + 8);

            if (cost > allowance)
                return source_corrupt(s, lsn, "log full of false records");
            allowance -= cost;
            lsn += 8;
            continue;
        }
        claim = found.head.behind <= lsn && found.head.behind != WAL_CLAIMS_NOTHING
                    ? lsn - found.head.behind
                    : 0;
        if (claim > r->pos && !CANARY(14))
            return source_corrupt(s, lsn, "log record proves that records before it were lost");
        /* every number a batch uses costs it a byte at least */
        greatest = found.head.seq + found.head.length;
        if (greatest > SEQ_MAX)
            greatest = SEQ_MAX;
        if (greatest > r->result.seq_floor && !CANARY(17))
            r->result.seq_floor = greatest;
        lsn = found.end;
        *end = lsn;
    }
}

/* Search what may hold records of `seg` behind a stop: the file from `lsn` on, which is open as
 * r->log, and the ring. */
static odb_status replay_search_tail(struct replay *r, const struct replay_segment *seg,
                                     uint64_t lsn, uint64_t *end)
{
    odb_status st = ODB_OK;

    *end = lsn;
    if (lsn < r->log.to)
        st = replay_search(r, &r->log, seg->head.salt, lsn, end);
    if (st == ODB_OK && r->ring.file != NULL) {
        uint64_t from = *end > r->pos ? *end : r->pos;

        source_rewind(&r->ring, from, from + r->ring.ring_size);
        st = replay_search(r, &r->ring, seg->head.salt, from, end);
    }
    return st;
}

/* ---- segments ---- */

static odb_status replay_open_segment(struct replay *r, uint64_t file_no)
{
    char name[WAL_NAME_MAX];

    wal_segment_name(name, file_no);
    return os_open(r->dir, name, OS_SEQUENTIAL, &r->log.file);
}

static odb_status replay_read_header(struct replay *r, uint64_t db_id, struct replay_segment *seg)
{
    uint8_t *block = mem_alloc(WAL_SEGMENT_HEADER);
    const char *name, *why;
    size_t got;
    odb_status st;

    if (block == NULL)
        return err_set(ODB_NOMEM, "no memory to read the log");
    st = replay_open_segment(r, seg->file_no);
    if (st == ODB_OK)
        st = os_size(r->log.file, &seg->size);
    if (st == ODB_OK)
        st = os_read(r->log.file, 0, block, WAL_SEGMENT_HEADER, &got);
    if (st != ODB_OK)
        goto done;
    name = os_file_name(r->log.file);
    if (got < WAL_SEGMENT_HEADER || seg->size < WAL_SEGMENT_HEADER) {
        st = err_corrupt(name, got, "log segment cut inside its header");
        goto done;
    }
    st = wal_header_decode(block, db_id, seg->file_no, &seg->head, &seg->is_begun, &why);
    if (st == ODB_VERSION)
        st = err_set(ODB_VERSION, "%s: %s", name, why);
    else if (st != ODB_OK)
        st = err_corrupt(name, 0, why);
done:
    source_close(&r->log);
    mem_free(block);
    return st;
}

static odb_status replay_open_log(struct replay *r, const struct replay_segment *seg)
{
    uint64_t first = seg->head.first_lsn, page = first & ~(uint64_t)(WAL_PAGE - 1);
    uint64_t to = page + (seg->size - WAL_SEGMENT_HEADER);

    if (to > r->to)
        to = r->to;
    source_rewind(&r->log, first, to > first ? to : first);
    return replay_open_segment(r, seg->file_no);
}

/* Hand out what `seg` and the ring have, up to `goal`, where the next segment starts. */
static odb_status replay_segment(struct replay *r, struct replay_segment *seg, uint64_t goal)
{
    uint64_t stop, end;
    odb_status st = replay_open_log(r, seg);

    if (st != ODB_OK)
        return st;
    if (goal > r->to)
        goal = r->to;
    if (seg->head.next_seq > r->last_seq)
        r->last_seq = seg->head.next_seq;
    st = replay_stretch(r, seg, &r->log, goal);
    stop = r->pos;
    if (st == ODB_OK && r->pos < goal && r->ring.file != NULL) {
        source_rewind(&r->ring, r->pos, r->pos + r->ring.ring_size);
        st = replay_stretch(r, seg, &r->ring, goal);
    }
    if (st == ODB_OK && r->pos < goal)
        st = r->to == WAL_LSN_UNKNOWN
                 ? replay_search_tail(r, seg, stop, &end)
                 : source_corrupt(&r->log, stop, "the log ends before what was durable");
    source_close(&r->log);
    return st;
}

/* A segment that does not continue the log may hold no proof that it once did. */
static odb_status replay_discard(struct replay *r, const struct replay_segment *seg)
{
    uint64_t end;
    odb_status st = replay_open_log(r, seg);

    if (st != ODB_OK)
        return st;
    if (seg->head.durable > r->pos)
        st = err_corrupt(os_file_name(r->log.file), 0,
                         "log segment proves that records before it were lost");
    if (st == ODB_OK)
        st = replay_search_tail(r, seg, seg->head.first_lsn, &end);
    if (st == ODB_OK && seg->head.prev_no == 0 && end > seg->head.first_lsn)
        st = err_corrupt(os_file_name(r->log.file), 0,
                         "log segment begins where the log before it does not end");
    source_close(&r->log);
    return st;
}

/* The segment numbered `file_no`, if it is among the first `count`. */
static const struct replay_segment *replay_find(const struct replay *r, size_t count,
                                                uint64_t file_no)
{
    for (size_t k = 0; k < count; k++)
        if (r->segment[k].file_no == file_no)
            return &r->segment[k];
    return NULL;
}

static odb_status replay_misses(const struct replay_segment *seg)
{
    char name[WAL_NAME_MAX];

    wal_segment_name(name, seg->file_no);
    return err_corrupt(name, 48, "the log segment before it is missing");
}

/* Whether segment `i` goes on where the log stopped. ODB_CORRUPT where no crash explains its
 * predecessor (3). */
static odb_status replay_joins(const struct replay *r, size_t i, bool *out)
{
    const struct replay_segment *seg = &r->segment[i], *prev;
    char name[WAL_NAME_MAX];

    *out = (!r->has_begun && (i == 0 || seg->head.prev_no == 0)) || CANARY(12) ||
           (seg->head.first_lsn == r->pos && (seg->head.prev_no == 0 || r->last_no == 0));
    if (*out || seg->head.prev_no == 0)
        return ODB_OK;
    wal_segment_name(name, seg->file_no);
    if (!r->has_begun)
        return err_corrupt(name, WAL_LINK_AT,
                           "the log segment before it does not say where it begins");
    prev = replay_find(r, i, seg->head.prev_no);
    if (prev == NULL)
        return replay_misses(seg);
    if (!prev->has_records)
        return ODB_OK; /* lost with its tail, or thrown away with it */
    if (prev->file_no != r->last_no)
        return err_corrupt(name, 48, "two log segments follow the same one");
    if (seg->head.prev_end < r->pos)
        return err_corrupt(name, WAL_LINK_AT + 16,
                           "the log segment before it goes on behind its end");
    if (seg->head.prev_end == r->pos && seg->head.prev_check != r->last_check)
        return err_corrupt(name, WAL_LINK_AT + 24,
                           "the log segment before it ends with another record");
    *out = seg->head.prev_end == r->pos;
    return ODB_OK;
}

/* Where the next segment that was begun starts: records from there on are its own. */
static uint64_t replay_goal(const struct replay *r, size_t i)
{
    for (size_t k = i + 1; k < r->count; k++)
        if (r->segment[k].is_begun)
            return r->segment[k].head.first_lsn;
    return UINT64_MAX;
}

/* Segment `i` has no link: it begins where the log has stopped, or does not go on there (8). */
static odb_status replay_try(struct replay *r, size_t i)
{
    struct replay_segment *seg = &r->segment[i];
    odb_status st;

    if (seg->head.prev_no != 0 && replay_find(r, i, seg->head.prev_no) == NULL)
        return replay_misses(seg);
    if (!r->has_begun)
        return ODB_OK;
    seg->head.first_lsn = r->pos;
    st = replay_segment(r, seg, replay_goal(r, i));
    return st;
}

static odb_status replay_all(struct replay *r)
{
    odb_status st = ODB_OK;

    for (size_t i = 0; i < r->count && r->pos < r->to && st == ODB_OK; i++) {
        struct replay_segment *seg = &r->segment[i];
        bool joins;

        if (!seg->is_begun) {
            st = replay_try(r, i);
            continue;
        }
        if (seg->head.next_seq > 0 && seg->head.next_seq - 1 > r->result.seq_floor)
            r->result.seq_floor = seg->head.next_seq - 1;
        st = replay_joins(r, i, &joins);
        if (st != ODB_OK)
            break;
        if (!r->has_begun || CANARY(12))
            r->pos = seg->head.first_lsn;
        r->has_begun = true;
        if (joins)
            st = replay_segment(r, seg, replay_goal(r, i));
        else
            st = replay_discard(r, seg);
    }
    return st;
}

/* The first segment begins at `lsn`, whether its link is there to say so or not: who knows it took it from
 * the wal that wrote the link, and a segment is given a link once. */
static odb_status replay_first(struct replay_segment *seg, uint64_t lsn)
{
    char name[WAL_NAME_MAX];

    if (seg->is_begun && seg->head.first_lsn != lsn) {
        wal_segment_name(name, seg->file_no);
        return err_corrupt(name, WAL_LINK_AT, "log segment begins elsewhere than is known of it");
    }
    seg->head.first_lsn = lsn;
    seg->is_begun = true;
    return ODB_OK;
}

/* The ring as a plain file. Any other size than a ring has: one that was never finished. */
static odb_status replay_open_ring(struct replay *r)
{
    uint64_t size;
    odb_status st = os_open(r->dir, WAL_RING_NAME, OS_SEQUENTIAL, &r->ring.file);

    if (st == ODB_ABSENT)
        return ODB_OK;
    if (st == ODB_OK)
        st = os_size(r->ring.file, &size);
    if (st != ODB_OK)
        return st;
    if (size < WAL_RING_MIN || (size & (size - 1)) != 0)
        source_close(&r->ring);
    else
        r->ring.ring_size = size;
    return ODB_OK;
}

odb_status wal_replay(struct os_dir *dir, uint64_t db_id, const uint64_t *file_no, size_t count,
                      uint64_t first_lsn, uint64_t from, uint64_t to,
                      odb_status (*each)(void *arg, const struct wal_record *rec), void *arg,
                      struct wal_replay_result *out)
{
    struct replay r = {
        .dir = dir, .from = from, .to = to, .each = each, .arg = arg, .count = count, .pos = from};
    odb_status st = ODB_OK;

    if (count > 0) {
        r.segment = mem_zalloc(count, sizeof *r.segment);
        if (r.segment == NULL)
            return err_set(ODB_NOMEM, "no memory to read the log");
    }
    for (size_t i = 0; i < count && st == ODB_OK; i++) {
        if (i > 0 && file_no[i] <= file_no[i - 1])
            st = err_set(ODB_INVALID, "log segments out of order");
        r.segment[i].file_no = file_no[i];
        if (st == ODB_OK)
            st = replay_read_header(&r, db_id, &r.segment[i]);
    }
    if (st == ODB_OK && count > 0 && first_lsn != WAL_LSN_UNKNOWN)
        st = replay_first(&r.segment[0], first_lsn);
    if (st == ODB_OK && count > 0 && to == WAL_LSN_UNKNOWN)
        st = replay_open_ring(&r);
    if (st == ODB_OK)
        st = replay_all(&r);
    if (st == ODB_OK) {
        r.result.end_lsn = r.pos;
        *out = r.result;
    }
    source_close(&r.log);
    source_close(&r.ring);
    buf_release(&r.log.bytes);
    buf_release(&r.ring.bytes);
    mem_free(r.segment);
    return st;
}
