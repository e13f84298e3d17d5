/* wal/writer.c -- appending and draining.
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
 * Threads: see struct wal. Syncs happen outside the lock, so that drains go on.
 * Crash: replay reads the segment as far as it is good and goes on in the ring at that LSN. Partial
 * copies and torn writes fail their check.
 * Not here: opening, closing and failing for good (wal.c), how a sync serves many (sync.c), where segments
 * and their space come from (roll.c).
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

static uint64_t drain_waits(const struct wal *w)
{
    return w->ring == NULL ? 0
                           : atomic_load_explicit(&w->end, memory_order_relaxed) -
                                 atomic_load_explicit(&w->drained, memory_order_relaxed);
}

bool wal_drain_due(const struct wal *w)
{
    return drain_waits(w) >= w->ring_size / 2 && w->ring != NULL;
}

bool wal_drain_presses(const struct wal *w)
{
    return drain_waits(w) >= w->ring_size - w->ring_size / 4;
}

ODB_COLD odb_status wal_drain_locked(struct wal *w, uint64_t unit)
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

ODB_COLD odb_status wal_drain(struct wal *w) ODB_UNCHECKED
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

/* ---- what it looks like ---- */

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
