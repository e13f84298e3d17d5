/* wal/wal.c -- the log being written: opening, closing, failing for good.
 *
 * Runs rarely, so it is compiled for size; what each commit runs is in writer.c.
 */
#include "wal/wal_priv.h"

#include <assert.h>

#include "base/alloc.h"
#include "wal/segment.h"

static void wal_free(struct wal *w)
{
    for (size_t i = 0; i < w->closed_count; i++)
        os_close(w->closed[i].file);
    mem_free(w->closed);
    os_close(w->file);
    os_ring_close(w->ring);
    os_cond_destroy(&w->changed);
    os_cond_destroy(&w->joined);
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
    os_cond_init(&w->joined);
    w->last_waiter = &w->first_waiter;
    w->misses = 1;
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
            st = wal_sync_segments(w, end);
    }
    os_mutex_unlock(&w->lock);
    wal_free(w);
    return st;
}

/* ---- for good ---- */

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
