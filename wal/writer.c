/* wal/writer.c -- appending, draining, syncing.
 *
 *      ring   |....ddddddddddddddddddddCCCCCCCC..........................|   LSN x at x mod size
 *                                      ^drained  ^end        ^limit (also: drained + size)
 *      segment  [header|ddddddddddddddd|00000000000000000000000000000000000]
 *                            ^durable   ^drained                            ^reserved
 *
 * A record goes through the ring: its 24-byte header, payload and padding are copied in, `end` moves
 * on, the commit is safe from the death of the process. The ring holds the very bytes the segment will
 * get, so a drain is one or two writes straight out of it.
 *
 * 1. durable <= drained <= end <= reserved, and end <= drained + ring size: nothing in the ring is
 *    overwritten before it is in a segment, and no drain needs space that was not reserved.
 * 2. [drained, end) belongs to one segment, the present one: a roll drains first.
 * 3. `end` moves only over complete records, and `limit` only when the ring's bytes below were read
 *    out: two release/acquire pairs are all that appender and drainer say to each other.
 * 4. wal_append makes no system call, takes no lock and allocates nothing, but for records larger than
 *    a quarter of the ring and where there is no ring: those go to the segment at once.
 * 5. `durable` is stored after the sync it tells of (C23); a segment is synced after those before it
 *    (C11), so everything below `durable` is on the medium.
 * 6. Failures. Full disk: refused by wal_make_room before anything is written (P7). A failed write or
 *    sync of the segment: the log takes nothing more and says ODB_UNKNOWN for ever (P5, P6); the ring
 *    keeps what it had, and since nothing is appended, nothing overwrites it. A full disk in a drain,
 *    where reserving promises too much: the ring keeps the bytes and the next drain tries again;
 *    appends stop when it is full.
 *
 * Threads: see struct wal. The leader of a group commit syncs outside the lock, so that drains go on;
 * who comes meanwhile waits, and one of them leads the next round for all that gathered.
 * Crash: replay reads the segment as far as it is good and goes on in the ring at that LSN. Partial
 * copies and torn writes fail their check.
 * Not here: where segments and their space come from (roll.c).
 */
#include "wal/wal_priv.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "base/hash.h"
#include "base/ikey.h"
#include "wal/record.h"
#include "wal/segment.h"

static const uint8_t wal_zeros[8];

odb_status wal_refuse(const struct wal *w)
{
    return err_restore(ODB_UNKNOWN, w->fail_text);
}

odb_status wal_poison(struct wal *w)
{
    assert(os_mutex_held(&w->lock));
    if (!atomic_load_explicit(&w->has_failed, memory_order_relaxed)) {
        err_ignore(err_set(ODB_UNKNOWN, "the log takes no more writes until reopened, since: %s",
                           odb_error_text()));
        err_save(w->fail_text);
        atomic_store_explicit(&w->has_failed, true, memory_order_release);
        wal_set_limit(w);
    }
    return wal_refuse(w);
}

void wal_set_limit(struct wal *w)
{
    uint64_t limit = atomic_load_explicit(&w->drained, memory_order_relaxed) + w->ring_size;
    uint64_t reserved = atomic_load_explicit(&w->reserved, memory_order_relaxed);

    if (limit > reserved)
        limit = reserved;
    if (w->ring == NULL || atomic_load_explicit(&w->has_failed, memory_order_relaxed))
        limit = 0;
    atomic_store_explicit(&w->limit, limit, memory_order_release);
}

/* ---- append ---- */

static void append_head(const struct wal *w, enum wal_type type, uint64_t seq, size_t length,
                        uint64_t hash, uint64_t lsn, struct wal_record_head *out)
{
    *out = (struct wal_record_head){
        .length = (uint32_t)length,
        .behind = wal_record_behind(lsn, atomic_load_explicit(&w->durable, memory_order_relaxed)),
        .seq = seq,
        .type = (uint8_t)type,
    };
    out->check = wal_record_check(out, hash, w->salt, lsn);
}

/* Write a record to the segment, where all before it already is. A failed write may have left the
 * whole record there. On a full disk it is made unreadable and that is synced: only then can the
 * answer be "nothing happened" (P5). */
static odb_status append_write(struct wal *w, const uint8_t head[WAL_RECORD_HEADER],
                               odb_slice payload, uint64_t lsn)
{
    static const uint8_t no_head[WAL_RECORD_HEADER];
    uint64_t off = wal_offset(w->first_lsn, lsn);
    uint8_t small[512];
    odb_status st;

    if (payload.size <= sizeof small - WAL_RECORD_HEADER) {
        memcpy(small, head, WAL_RECORD_HEADER);
        if (payload.size > 0)
            memcpy(small + WAL_RECORD_HEADER, payload.data, payload.size);
        st = os_write(w->file, off, small, WAL_RECORD_HEADER + payload.size);
    } else {
        /* payload first: without its header it is nothing */
        st = os_write(w->file, off + WAL_RECORD_HEADER, payload.data, payload.size);
        if (st == ODB_OK)
            st = os_write(w->file, off, head, WAL_RECORD_HEADER);
    }
    if (st == ODB_NOSPACE) {
        char why[ERR_TEXT_MAX];

        err_save(why);
        if (os_write(w->file, off, no_head, sizeof no_head) == ODB_OK && os_sync(w->file) == ODB_OK)
            return err_restore(st, why);
        st = ODB_IO;
    }
    return st;
}

/* Past the ring: a large record, or no ring at all. The lock keeps drains away; it is only tried,
 * since it ranks below the commit lock. */
static odb_status append_past_ring(struct wal *w, enum wal_type type, uint64_t seq,
                                   odb_slice payload, uint64_t hash, uint64_t lsn) ODB_UNCHECKED
{
    uint64_t end = lsn + wal_record_size(payload.size);
    uint8_t bytes[WAL_RECORD_HEADER];
    struct wal_record_head head;
    odb_status st;

    if (!os_mutex_trylock(&w->lock))
        return ODB_AGAIN;
    st = wal_drain_locked(w, 1);
    if (st != ODB_OK)
        goto done;
    append_head(w, type, seq, payload.size, hash, lsn, &head);
    wal_record_encode(bytes, &head);
    st = append_write(w, bytes, payload, lsn);
    if (st == ODB_NOSPACE)
        goto done;
    if (st != ODB_OK) {
        st = wal_poison(w);
        goto done;
    }
    w->last_seq = seq;
    w->last_check = head.check;
    atomic_store_explicit(&w->drained, end, memory_order_relaxed);
    atomic_store_explicit(&w->end, end, memory_order_release);
    wal_set_limit(w);
done:
    os_mutex_unlock(&w->lock);
    return st;
}

/* The way out when the fast path of wal_append does not apply. */
ODB_COLD static odb_status append_slowly(struct wal *w, enum wal_type type, uint64_t seq,
                                         odb_slice payload, uint64_t hash, uint64_t *out)
{
    uint64_t lsn = atomic_load_explicit(&w->end, memory_order_relaxed);
    uint64_t end;
    odb_status st;

    if (atomic_load_explicit(&w->has_failed, memory_order_acquire))
        return wal_refuse(w);
    if (payload.size > WAL_PAYLOAD_MAX)
        return err_set(ODB_TOO_LARGE, "a batch of %zu bytes; the log takes at most %zu",
                       payload.size, WAL_PAYLOAD_MAX);
    if (atomic_load_explicit(&w->is_sealed, memory_order_acquire))
        return ODB_AGAIN;
    end = lsn + wal_record_size(payload.size);
    if (end > w->cap_lsn && lsn > w->first_lsn) {
        /* From here the segment belongs to whoever rolls. */
        atomic_store_explicit(&w->is_sealed, true, memory_order_release);
        return ODB_AGAIN;
    }
    if (end > atomic_load_explicit(&w->reserved, memory_order_relaxed) ||
        payload.size + WAL_RECORD_HEADER <= w->quarter)
        return ODB_AGAIN;
    st = append_past_ring(w, type, seq, payload, hash, lsn);
    if (st == ODB_OK)
        *out = end;
    return st;
}

odb_status wal_append(struct wal *w, enum wal_type type, uint64_t first_seq, odb_slice payload,
                      uint64_t hash, uint64_t *end)
{
    uint64_t lsn = atomic_load_explicit(&w->end, memory_order_relaxed);
    size_t bare = WAL_RECORD_HEADER + payload.size, pad = (0 - bare) & 7;
    uint64_t behind_it = lsn + bare + pad;
    uint8_t bytes[WAL_RECORD_HEADER];
    struct wal_record_head head;

    assert(first_seq <= SEQ_MAX && first_seq >= w->last_seq);
    /* is_sealed first: once it is seen open, the limit is one of this segment */
    if (ODB_UNLIKELY(atomic_load_explicit(&w->is_sealed, memory_order_acquire) ||
                     payload.size >= w->quarter || bare > w->quarter ||
                     behind_it > atomic_load_explicit(&w->limit, memory_order_acquire)))
        return append_slowly(w, type, first_seq, payload, hash, end);
    append_head(w, type, first_seq, payload.size, hash, lsn, &head);
    wal_record_encode(bytes, &head);
    os_ring_write(w->ring, lsn, bytes, sizeof bytes);
    if (ODB_LIKELY(payload.size > 0))
        os_ring_write(w->ring, lsn + sizeof bytes, payload.data, payload.size);
    if (pad > 0)
        os_ring_write(w->ring, lsn + bare, wal_zeros, pad);
    w->last_seq = first_seq;
    w->last_check = head.check;
    atomic_store_explicit(&w->end, behind_it, memory_order_release);
    *end = behind_it;
    return ODB_OK;
}

/* ---- drain ---- */

bool wal_drain_due(const struct wal *w)
{
    return atomic_load_explicit(&w->end, memory_order_relaxed) -
               atomic_load_explicit(&w->drained, memory_order_relaxed) >=
           (w->ring != NULL ? w->quarter : UINT64_MAX);
}

odb_status wal_drain_locked(struct wal *w, uint64_t unit)
{
    uint64_t end = atomic_load_explicit(&w->end, memory_order_acquire) & ~(unit - 1);
    uint64_t at = atomic_load_explicit(&w->drained, memory_order_relaxed);
    odb_status st;

    assert(os_mutex_held(&w->lock));
    if (atomic_load_explicit(&w->has_failed, memory_order_relaxed))
        return wal_refuse(w);
    /* `end` was read first: a record that went past the ring has moved `drained` before it. */
    while (at < end) {
        const uint8_t *base = os_ring_view(w->ring)->base;
        size_t from = (size_t)at & (w->ring_size - 1);
        size_t len = w->ring_size - from;

        if (len > end - at)
            len = (size_t)(end - at);
        st = os_write(w->file, wal_offset(w->first_lsn, at), base + from, len);
        if (st == ODB_NOSPACE)
            return st; /* `drained` stays: all of it is written again */
        if (st != ODB_OK)
            return wal_poison(w);
        at += len;
        if (at == end) {
            atomic_store_explicit(&w->drained, end, memory_order_relaxed);
            wal_set_limit(w);
        }
    }
    return ODB_OK;
}

odb_status wal_drain(struct wal *w) ODB_UNCHECKED
{
    odb_status st;

    if (!os_mutex_trylock(&w->lock))
        return ODB_OK;
    st = wal_drain_locked(w, w->unit);
    if (st == ODB_OK)
        wal_reserve_ahead(w);
    os_mutex_unlock(&w->lock);
    return st;
}

/* ---- sync ---- */

/* Sync what must be for everything below `target` to be durable, oldest first. Called and returns
 * with the lock held, which is open during the syncs; is_syncing keeps closed[] from shrinking. */
ODB_COLD static odb_status sync_segments(struct wal *w, uint64_t target) ODB_REQUIRES(w->lock)
{
    struct os_file *present = w->file;
    uint64_t present_from = w->first_lsn;
    odb_status st = ODB_OK;

    for (size_t i = 0; i < w->closed_count && w->closed[i].first_lsn < present_from && !CANARY(11);
         i++) {
        struct os_file *f = w->closed[i].file;

        if (f == NULL)
            continue;
        os_mutex_unlock(&w->lock);
        st = os_sync(f); /* else a power cut leaves a hole before the next segment (C11) */
        os_mutex_lock(&w->lock);
        if (st != ODB_OK)
            return st;
        atomic_store_explicit(&w->durable, w->closed[i].end_lsn, memory_order_release);
        w->closed[i].file = NULL;
        if (!CANARY(28))
            os_close(f);
    }
    if (target > present_from) {
        if (CANARY(23))
            atomic_store_explicit(&w->durable, target, memory_order_release);
        os_mutex_unlock(&w->lock);
        st = os_sync(present); /* else who waits for it would be told a lie (P1) */
        os_mutex_lock(&w->lock);
        if (st == ODB_OK)
            atomic_store_explicit(&w->durable, target, memory_order_release);
    }
    return st;
}

/* One round of group commit, led by this thread. Lock held. */
ODB_COLD static odb_status sync_lead(struct wal *w) ODB_REQUIRES(w->lock)
{
    odb_status st;

    w->is_syncing = true;
    st = wal_drain_locked(w, 1);
    if (st == ODB_OK)
        st = sync_segments(w, atomic_load_explicit(&w->drained, memory_order_relaxed));
    if (st != ODB_OK && CANARY(22))
        st = sync_segments(w, atomic_load_explicit(&w->drained, memory_order_relaxed));
    if (CANARY(23) && w->end == w->durable)
        st = ODB_OK;
    w->is_syncing = false;
    os_cond_broadcast(&w->changed);
    /* Even a full disk is final here: the commits that wait are in the ring and cannot be undone. */
    return st == ODB_OK ? ODB_OK : wal_poison(w);
}

odb_status wal_sync(struct wal *w, uint64_t lsn)
{
    if (!atomic_load_explicit(&w->sync_seen, memory_order_relaxed))
        atomic_store_explicit(&w->sync_seen, true, memory_order_relaxed);
    return wal_harden(w, lsn);
}

odb_status wal_harden(struct wal *w, uint64_t lsn)
{
    odb_status st = ODB_OK;

    if (lsn <= atomic_load_explicit(&w->durable, memory_order_acquire))
        return ODB_OK;
    os_mutex_lock(&w->lock);
    while (st == ODB_OK && lsn > atomic_load_explicit(&w->durable, memory_order_relaxed)) {
        if (atomic_load_explicit(&w->has_failed, memory_order_relaxed))
            st = wal_refuse(w);
        else if (w->is_syncing)
            os_cond_wait(&w->changed, &w->lock);
        else
            st = sync_lead(w);
    }
    if (st == ODB_OK)
        wal_reserve_ahead(w);
    os_mutex_unlock(&w->lock);
    return st;
}

/* ---- open, close, what it looks like ---- */

static void wal_free(struct wal *w)
{
    for (size_t i = 0; i < w->closed_count; i++)
        os_close(w->closed[i].file);
    mem_free(w->closed);
    os_close(w->file);
    os_ring_close(w->ring);
    os_cond_destroy(&w->changed);
    os_mutex_destroy(&w->lock);
    mem_free(w);
}

odb_status wal_open(const struct wal_options *opt, uint64_t first_lsn, uint64_t next_seq,
                    struct wal **out)
{
    struct wal *w;
    odb_status st = ODB_OK;

    if ((opt->ring_size & (opt->ring_size - 1)) != 0 ||
        (opt->ring_size != 0 && opt->ring_size < WAL_RING_MIN) || opt->segment_size == 0 ||
        first_lsn % 8 != 0)
        return err_set(ODB_INVALID, "a log with a ring of %zu bytes, segments of %llu, from %llu",
                       opt->ring_size, (unsigned long long)opt->segment_size,
                       (unsigned long long)first_lsn);
    w = mem_zalloc(1, sizeof *w);
    if (w == NULL)
        return err_set(ODB_NOMEM, "no memory for the log");
    w->os = opt->os;
    w->dir = opt->dir;
    w->db_id = opt->db_id;
    w->segment_size = opt->segment_size;
    w->new_file_no = opt->new_file_no;
    w->owner = opt->owner;
    w->unit = 1;
    os_mutex_init(&w->lock, RANK_SYNC);
    os_cond_init(&w->changed);
    if (opt->ring_size > 0)
        st = os_ring_open(w->dir, WAL_RING_NAME, opt->ring_size, &w->ring);
    if (st == ODB_UNSUPPORTED)
        st = ODB_OK; /* the same promises at the price of a write each */
    if (st != ODB_OK)
        goto done;
    if (w->ring != NULL) {
        w->ring_size = os_ring_size(w->ring);
        w->quarter = w->ring_size / 4;
        if (w->quarter >= 4 * WAL_PAGE)
            w->unit = WAL_PAGE;
    }
    st = wal_first_segment(w, first_lsn, next_seq);
    if (st != ODB_OK)
        goto done;
    *out = w;
    w = NULL;
done:
    if (w != NULL)
        wal_free(w);
    return st;
}

odb_status wal_close(struct wal *w)
{
    odb_status st;

    if (w == NULL)
        return ODB_OK;
    os_mutex_lock(&w->lock);
    wal_drop_spare(w);
    st = wal_drain_locked(w, 1);
    if (st == ODB_OK) {
        uint64_t end = atomic_load_explicit(&w->drained, memory_order_relaxed);

        st = os_truncate(w->file, wal_offset(w->first_lsn, end));
        /* a reader of the closed log then finds it all; space behind it misleads nobody */
        if (st == ODB_OK && end > atomic_load_explicit(&w->durable, memory_order_relaxed))
            st = sync_segments(w, end);
    }
    os_mutex_unlock(&w->lock);
    wal_free(w);
    return st;
}

bool wal_has_ring(const struct wal *w)
{
    return w->ring != NULL;
}

uint64_t wal_end(const struct wal *w)
{
    return atomic_load_explicit(&w->end, memory_order_acquire);
}

uint64_t wal_durable(const struct wal *w)
{
    return atomic_load_explicit(&w->durable, memory_order_acquire);
}
