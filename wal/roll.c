/* wal/roll.c -- where segments and their space come from, and where they go.
 *
 *      log.tmp: first block, zeros, synced  --rename, directory synced-->  000012.log: spare
 *      spare  --the one before is sealed and drained: link written-->  present
 *      present  --next record does not fit: sealed, drained, cut-->  closed
 *      closed  --durable manifest needs it no more: wal_forget-->  gone
 *
 * 1. A name with the suffix .log appears, durably, over synced bytes: the header's first block, zeros where
 *    the link will lie, and a first step of space. So a segment that is missing, or whose first block
 *    is not good, was lost to damage and not to a crash (P9). The first segment of a life has no
 *    predecessor to wait for and comes with its link.
 * 2. The link is written before any record of its segment, to ring or file, so that the death of the
 *    process takes neither. It is not synced: who leaves a segment waits for no disk. A sync of records
 *    behind it syncs the same file; and until then a power cut may keep records and lose the link, or
 *    links of several segments, which replay sees to (replay.c, 8).
 * 3. The first block names the segment before, the link its end and its last check. A segment gets its
 *    successor only when drained to its end, and takes no record afterwards: the appender has sealed it,
 *    and the seal is broken by the roll alone.
 * 4. Failing to make or begin the next segment leaves the present one sealed: the next wal_make_room
 *    tries again, with another number. A link that could not be removed starts a segment without
 *    records, which replay passes over.
 * 5. Space is reserved before it is used, in steps that grow with the log, so that a full disk is a
 *    refused append and not a failed write. Where syncs are asked for, the space is written full of
 *    zeros: a sync into blocks that exist is cheaper.
 *
 * Threads: all under `lock`, but for making the spare: that creates and syncs a file, and drains go on
 * meanwhile (is_preparing keeps it to one).
 */
#include "wal/wal_priv.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "wal/record.h"
#include "wal/segment.h"

#define ROLL_STEP_FIRST   ((uint64_t)256 << 10)
#define ROLL_STEP_MAX     ((uint64_t)8 << 20)
#define ROLL_STEP_WRITTEN ((uint64_t)1 << 20)
#define ROLL_WORTH        16 /* th of a segment: so much is worth leaving behind */

/* ---- the next segment ---- */

/* Make the empty segment that `h` tells of, with the link or without; durable, under its final name. Fills
 * in the rest of `h`, with a new salt. Takes no lock. */
static odb_status roll_create(struct wal *w, struct wal_header *h, bool with_link, uint64_t room,
                              struct os_file **out)
{
    uint8_t head[WAL_SEGMENT_HEADER], salt[8];
    char name[WAL_NAME_MAX];
    struct os_file *f = NULL;
    bool is_named = false;
    odb_status st;

    wal_segment_name(name, h->file_no);
    st = os_random(w->os, salt, sizeof salt);
    if (st != ODB_OK)
        return st;
    h->db_id = w->db_id;
    h->salt = get_u64(salt); /* the same bytes, the same salt, on every machine */
    wal_header_encode(head, h);
    if (!with_link)
        memset(head + WAL_LINK_AT, 0, WAL_LINK);
    st = os_remove(w->dir, WAL_SPARE_NAME); /* of an earlier life */
    if (st != ODB_OK && st != ODB_ABSENT)
        return st;
    st = os_open(w->dir, WAL_SPARE_NAME, OS_WRITE | OS_CREATE, &f);
    if (st != ODB_OK)
        return st;
    st = os_write(f, 0, head, sizeof head);
    if (st == ODB_OK)
        st = os_reserve(f, WAL_SEGMENT_HEADER, room + WAL_PAGE,
                        atomic_load_explicit(&w->sync_seen, memory_order_relaxed));
    if (st == ODB_UNSUPPORTED)
        st = ODB_OK; /* writes find out for themselves */
    if (st == ODB_OK)
        st = os_sync(f); /* else the name could appear over foreign bytes (1) */
    if (st != ODB_OK)
        goto done;
    st = os_rename(w->dir, WAL_SPARE_NAME, name);
    if (st != ODB_OK)
        goto done;
    is_named = true;
    st = os_dir_sync(w->dir); /* else a segment with durable records could lose its name (1) */
    if (st != ODB_OK)
        goto done;
    os_close(f);
    f = NULL;
    st = os_open(w->dir, name, OS_WRITE, &f); /* under the name that messages should tell */
    if (st != ODB_OK)
        goto done;
    *out = f;
    f = NULL;
done:
    os_close(f);
    if (st != ODB_OK) {
        char why[ERR_TEXT_MAX];

        err_save(why);
        err_ignore(
            os_remove(w->dir, is_named ? name : WAL_SPARE_NAME)); /* an empty one does no harm */
        st = err_restore(st, why);
    }
    return st;
}

/* The segment that `h` describes is the present one. */
static void roll_begin(struct wal *w, struct os_file *f, const struct wal_header *h, uint64_t room)
{
    w->file = f;
    w->file_no = h->file_no;
    w->salt = h->salt;
    w->first_lsn = h->first_lsn;
    w->cap_lsn = h->first_lsn + w->segment_size;
    atomic_store_explicit(&w->reserved, h->first_lsn + room, memory_order_relaxed);
    wal_set_limit(w);
}

static uint64_t roll_first_room(const struct wal *w)
{
    return w->segment_size < ROLL_STEP_FIRST ? w->segment_size : ROLL_STEP_FIRST;
}

odb_status wal_first_segment(struct wal *w, uint64_t first_lsn, uint64_t next_seq)
{
    struct wal_header h = {.first_lsn = first_lsn, .next_seq = next_seq};
    uint64_t room = roll_first_room(w);
    struct os_file *f = NULL;
    odb_status st;

    h.file_no = w->new_file_no(w->owner);
    st = roll_create(w, &h, true, room, &f);
    for (; st == ODB_NOSPACE && room > WAL_PAGE; room /= 4) /* a full disk opens, to be emptied */
        st = roll_create(w, &h, true, room / 4, &f);
    if (st != ODB_OK)
        return st;
    w->step = ROLL_STEP_FIRST;
    w->last_seq = next_seq;
    atomic_store_explicit(&w->end, first_lsn, memory_order_relaxed);
    atomic_store_explicit(&w->drained, first_lsn, memory_order_relaxed);
    atomic_store_explicit(&w->durable, first_lsn, memory_order_relaxed);
    atomic_store_explicit(&w->oldest, first_lsn, memory_order_relaxed);
    atomic_store_explicit(&w->kept, 1, memory_order_relaxed);
    roll_begin(w, f, &h, room);
    return ODB_OK;
}

/* Have a spare segment. Lock held at call and return, open in between. */
static odb_status roll_make_spare(struct wal *w) ODB_REQUIRES(w->lock)
{
    uint64_t room = roll_first_room(w);
    struct wal_header h = {0};
    struct os_file *f = NULL;
    odb_status st;

    while (w->is_preparing)
        os_cond_wait(&w->changed, &w->lock);
    if (w->spare != NULL)
        return ODB_OK;
    w->is_preparing = true;
    h.prev_no = w->file_no; /* until there is a spare, nobody leaves it */
    os_mutex_unlock(&w->lock);
    h.file_no = w->new_file_no(w->owner);
    st = roll_create(w, &h, false, room, &f);
    os_mutex_lock(&w->lock);
    w->is_preparing = false;
    os_cond_broadcast(&w->changed);
    if (st != ODB_OK)
        return st;
    w->spare = f;
    w->spare_no = h.file_no;
    w->spare_salt = h.salt;
    w->spare_room = room;
    atomic_store_explicit(&w->has_spare, true, memory_order_relaxed);
    return ODB_OK;
}

void wal_drop_spare(struct wal *w)
{
    char name[WAL_NAME_MAX];

    assert(os_mutex_held(&w->lock));
    if (w->spare == NULL)
        return;
    wal_segment_name(name, w->spare_no);
    os_close(w->spare);
    w->spare = NULL;
    atomic_store_explicit(&w->has_spare, false, memory_order_relaxed);
    err_ignore(os_remove(w->dir, name)); /* one without records is passed over by replay */
}

bool wal_prepare_due(const struct wal *w)
{
    uint64_t end = atomic_load_explicit(&w->end, memory_order_relaxed);
    uint64_t oldest = atomic_load_explicit(&w->oldest, memory_order_relaxed);

    /* half a segment after the last roll, seen from outside: a hint needs no more */
    return !atomic_load_explicit(&w->has_spare, memory_order_relaxed) &&
           !atomic_load_explicit(&w->has_failed, memory_order_relaxed) &&
           end - oldest >= w->segment_size / 2;
}

odb_status wal_prepare(struct wal *w)
{
    odb_status st;

    os_mutex_lock(&w->lock);
    if (atomic_load_explicit(&w->has_failed, memory_order_relaxed))
        st = wal_refuse(w);
    else
        st = roll_make_spare(w);
    os_mutex_unlock(&w->lock);
    return st;
}

static odb_status roll_grow_closed(struct wal *w)
{
    if (w->closed_count == w->closed_cap) {
        size_t cap = w->closed_cap ? w->closed_cap * 2 : 8;
        struct wal_closed *grown = mem_realloc(w->closed, cap * sizeof *grown);

        if (grown == NULL)
            return err_set(ODB_NOMEM, "no memory for a log segment");
        w->closed = grown;
        w->closed_cap = cap;
    }
    return ODB_OK;
}

/* Leave the sealed segment for the spare one. Lock held. */
static odb_status roll_over(struct wal *w) ODB_REQUIRES(w->lock)
{
    uint64_t end = atomic_load_explicit(&w->end, memory_order_acquire);
    struct wal_header h = {
        .file_no = w->spare_no,
        .salt = w->spare_salt,
        .first_lsn = end,
        .next_seq = w->last_seq,
        .prev_no = w->file_no,
        .prev_end = end,
        .prev_check = w->last_check,
        .durable = atomic_load_explicit(&w->durable, memory_order_relaxed),
    };
    struct os_file *left = w->file;
    uint64_t left_len = wal_offset(w->first_lsn, end);
    uint8_t link[WAL_LINK];
    odb_status st;

    assert(os_mutex_held(&w->lock) && w->spare != NULL);
    st = wal_drain_locked(w, 1); /* the link below says that it ends here (3) */
    if (st == ODB_OK)
        st = roll_grow_closed(w);
    if (st != ODB_OK)
        return st;
    wal_link_encode(link, &h);
    st = os_write(w->spare, WAL_LINK_AT, link, sizeof link);
    if (st != ODB_OK) {
        char why[ERR_TEXT_MAX];

        err_save(why);
        wal_drop_spare(w);
        return err_restore(st, why);
    }
    w->closed[w->closed_count++] = (struct wal_closed){w->file_no, w->first_lsn, end, left};
    atomic_fetch_add_explicit(&w->kept, 1, memory_order_relaxed);
    roll_begin(w, w->spare, &h, w->spare_room);
    w->step = ROLL_STEP_FIRST; /* it may have been left to be at rest */
    w->spare = NULL;
    atomic_store_explicit(&w->has_spare, false, memory_order_relaxed);
    atomic_store_explicit(&w->is_sealed, false, memory_order_release);
    err_ignore(
        os_truncate(left, left_len)); /* gives back space; zeros behind the end mislead nobody */
    return ODB_OK;
}

/* ---- space ---- */

/* Have space up to `need`, and if possible a good step more. Lock held. */
static odb_status roll_reserve(struct wal *w, uint64_t need) ODB_REQUIRES(w->lock)
{
    bool written = atomic_load_explicit(&w->sync_seen, memory_order_relaxed);
    uint64_t step = written && w->step > ROLL_STEP_WRITTEN ? ROLL_STEP_WRITTEN : w->step;
    uint64_t from = atomic_load_explicit(&w->reserved, memory_order_relaxed);
    uint64_t to = from + step;
    odb_status st;

    if (to > w->cap_lsn)
        to = w->cap_lsn;
    if (to < need)
        to = need;
    if (to <= from)
        return ODB_OK;
    st = os_reserve(w->file, wal_offset(w->first_lsn, from), to - from, written);
    if (st == ODB_NOSPACE && to > need && need > from) {
        to = need; /* no room for a step, perhaps for a record */
        st = os_reserve(w->file, wal_offset(w->first_lsn, from), to - from, written);
    }
    if (st != ODB_OK && st != ODB_UNSUPPORTED)
        return st;
    if (w->step < ROLL_STEP_MAX)
        w->step *= 2;
    atomic_store_explicit(&w->reserved, to, memory_order_relaxed);
    wal_set_limit(w);
    return ODB_OK;
}

void wal_reserve_ahead(struct wal *w)
{
    uint64_t end = atomic_load_explicit(&w->end, memory_order_relaxed);

    assert(os_mutex_held(&w->lock));
    /* A sealed segment takes no more; a full disk is told by whoever needs the room. */
    if (w->ring != NULL && !atomic_load_explicit(&w->is_sealed, memory_order_relaxed) &&
        atomic_load_explicit(&w->reserved, memory_order_relaxed) - end < w->ring_size)
        (void)roll_reserve(w, 0);
}

odb_status wal_make_room(struct wal *w, size_t payload)
{
    uint64_t len = wal_record_size(payload);
    odb_status st = ODB_OK;

    os_mutex_lock(&w->lock);
    for (;;) {
        bool is_sealed = atomic_load_explicit(&w->is_sealed, memory_order_acquire);
        uint64_t end = atomic_load_explicit(&w->end, memory_order_acquire);
        uint64_t reserved = atomic_load_explicit(&w->reserved, memory_order_relaxed);

        if (atomic_load_explicit(&w->has_failed, memory_order_relaxed))
            st = wal_refuse(w);
        else if (is_sealed && (w->spare == NULL || w->is_preparing))
            st = roll_make_spare(w);
        else if (is_sealed)
            st = roll_over(w);
        else if (end + len > w->cap_lsn && end > w->first_lsn)
            break; /* the append will seal it */
        else if (end + len > reserved)
            st = roll_reserve(w, end + len);
        else {
            if (w->ring != NULL)
                st = wal_drain_locked(w, w->unit);
            break;
        }
        if (st != ODB_OK)
            break;
    }
    os_mutex_unlock(&w->lock);
    return st;
}

/* ---- what there is, and letting go of it ---- */

void wal_segments(struct wal *w,
                  bool (*each)(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn),
                  void *arg)
{
    bool more = true;

    os_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->closed_count && more; i++)
        more = each(arg, w->closed[i].file_no, w->closed[i].first_lsn, w->closed[i].end_lsn);
    if (more)
        (void)each(arg, w->file_no, w->first_lsn, wal_end(w));
    os_mutex_unlock(&w->lock);
}

bool wal_may_leave(const struct wal *w)
{
    return !atomic_load_explicit(&w->is_sealed, memory_order_acquire) &&
           !atomic_load_explicit(&w->has_failed, memory_order_relaxed) &&
           atomic_load_explicit(&w->end, memory_order_relaxed) - w->first_lsn >=
               w->segment_size / ROLL_WORTH;
}

void wal_leave(struct wal *w)
{
    atomic_store_explicit(&w->is_sealed, true, memory_order_release);
}

odb_status wal_forget(struct wal *w, uint64_t file_no)
{
    odb_status st = ODB_OK;

    os_mutex_lock(&w->lock);
    while (w->is_syncing || w->is_forgetting)
        os_cond_wait(&w->changed, &w->lock);
    w->is_forgetting = true;
    while (st == ODB_OK && w->closed_count > 0 && w->closed[0].file_no < file_no) {
        struct os_file *gone;
        char name[WAL_NAME_MAX];

        wal_segment_name(name, w->closed[0].file_no);
        os_mutex_unlock(&w->lock);
        st = os_remove(w->dir, name); /* may take long: drains go on */
        os_mutex_lock(&w->lock);
        while (w->is_syncing)
            os_cond_wait(&w->changed, &w->lock);
        if (st != ODB_OK && st != ODB_ABSENT)
            break;
        st = ODB_OK;
        gone = w->closed[0].file;
        w->closed_count--;
        memmove(w->closed, w->closed + 1, w->closed_count * sizeof *w->closed);
        atomic_store_explicit(&w->oldest,
                              w->closed_count > 0 ? w->closed[0].first_lsn : w->first_lsn,
                              memory_order_relaxed);
        atomic_fetch_sub_explicit(&w->kept, 1, memory_order_relaxed);
        os_mutex_unlock(&w->lock);
        os_close(gone); /* with this the system frees its pages, which takes long, too */
        os_mutex_lock(&w->lock);
    }
    w->is_forgetting = false;
    os_cond_broadcast(&w->changed);
    os_mutex_unlock(&w->lock);
    return st;
}

uint64_t wal_bytes(const struct wal *w)
{
    return atomic_load_explicit(&w->end, memory_order_relaxed) -
           atomic_load_explicit(&w->oldest, memory_order_relaxed) +
           atomic_load_explicit(&w->kept, memory_order_relaxed) * WAL_SEGMENT_HEADER;
}
