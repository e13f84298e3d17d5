/* compaction/compact.c -- which versions of a key survive, and the loop that writes them down.
 *
 * A key's versions arrive newest first. A reader at sequence number t wants one of them: the first
 * whose number is at most t. So each reader looks along the line and takes the first version at or
 * below where it stands; a version that nobody takes is dropped. `*` marks what is kept:
 *
 *     newer <---------------------------------------------------------------> older
 *
 *     versions      put@90   put@70      put@50   put@40       put@20   put@10
 *     readers    now=99               r=60                r=30
 *                   |                 |                   |
 *                   `-> *90           `-> *50             `-> *20
 *                             (70)                 (40)              (10)    dropped
 *
 * 70 is hidden from `now` by 90 and too new for r=60. Dropping it changes no reader's answer, today
 * or later: a reader that starts now stands at `now` or to the left of it, never in the past. Hence
 * one number describes a key's state: how many readers have not found their version yet. They are
 * the oldest ones, since whoever stands further left finds first.
 *
 *     after 90:  r=60 and r=30 still look       after 50:  r=30 looks       after 20:  nobody
 *
 * A version newer than `now` is written but not yet published. Readers between it and `now` may
 * still come, each wanting a different one, so all of these stay:
 *
 *     versions      put@120  put@110     put@80   put@70
 *     readers                        now=99
 *                   *        *       `-> *80      (70)
 *
 * Deletes. A tombstone hides older versions, wherever they lie. It has done its work when nothing is
 * left to hide: every reader sees it or something newer (so that no older version of these inputs
 * survives it), and no older version lies below the output. Both are needed:
 *
 *     del@50 put@10     readers now=99          nothing below    ->  nothing is left of the key
 *     del@50 put@10     readers now=99          put@5 below      ->  *del@50    else 5 comes back
 *     del@50 put@10     readers now=99  r=20    nothing below    ->  *del@50 *put@10
 *                                                                    else `now` would read 10
 *     put@70 del@50     readers now=99  r=60    nothing below    ->  *put@70    r=60 finds nothing,
 *                                                                    which is what 50 said
 *
 * Sequence numbers. Where nothing lies below, a put that is all that is left of its key and that
 * every reader sees is written with number 0: every comparison it can take part in comes out as
 * before (older than whatever is written later, visible to everybody), and a table of equal trailers
 * stores none. A key has at most one such version: to write the second, this job must have had the
 * first among its inputs, as the older version that it drops.
 *
 * Where outputs end. Only between user keys. At `target_size`; sooner when the output has come to
 * overlap more than max_overlap of the level below it (its own merge would drag all that along);
 * and within the last eighth of the size, at the next fence: an output that ends where a table below
 * ends does not pull in the next table for the sake of one key.
 *
 *     output   |-------- 7/8 ----|--:               cut at `:`, not at the target `|`
 *     below    |------|------|------|------|
 *
 *  1. All versions of a user key that the inputs hold go into one table, or are dropped here.
 *  2. Of each user key, every reader (snapshots and all to come) finds in the output what it found
 *     in the inputs, given what lies below.
 *  3. A tombstone is dropped only if every reader sees it or something newer and older_below denies
 *     (C30).
 *  4. Inputs that are out of order, end early or fail stop the job: nothing is dropped that was not
 *     read (P8).
 *  5. A sequence number becomes 0 only for a key's only version, seen by all, at the bottom.
 *  6. On any failure every file this job created is removed; what a crash leaves is swept at open,
 *     since no manifest names it.
 *
 * Threads: all state is on the stack of compact_run; the callbacks are called from its thread.
 * Not here: choosing inputs (pick.c), the table format (sstable/writer.c), publishing (lsm/).
 */
#include "compaction/compact.h"

#include "base/alloc.h"
#include "base/canary.h"

#define COMPACT_POLL 4096 /* entries between two looks at is_cancelled */

struct compaction {
    const struct compact_job *job;
    struct compact_result *result;
    struct merge merge;
    struct sst_writer *writer; /* NULL between outputs */
    uint64_t oldest;           /* of the readers: snapshots[0] */
    uint64_t present;          /* the last of them */

    /* The entry before this one. `key` points into its source's run, or into key_copy once that run
     * is about to go. */
    const uint8_t *key;
    uint32_t key_len;
    bool has_key; /* there was one */
    uint64_t trailer;
    struct buf key_copy;

    uint32_t looking;   /* snapshots[0..looking) have not found their version of the key yet */
    uint32_t kept;      /* versions of the key written so far */
    uint32_t fence;     /* cuts[0..fence) end before the key */
    uint64_t overlap;   /* bytes of those the open output lies over */
    uint32_t table_cap; /* room in result->tables */
    uint32_t unpolled;  /* entries since is_cancelled was asked */
};

/* ---- outputs ---- */

ODB_COLD static odb_status compact_open_output(struct compaction *c)
{
    struct compact_result *r = c->result;

    if (r->count == c->table_cap) { /* now, so that a finished table always has a place */
        uint32_t cap = c->table_cap ? c->table_cap * 2 : 4;
        struct sst_meta *t = mem_realloc(r->tables, cap * sizeof *t);

        if (!t)
            return err_set(ODB_NOMEM, "out of memory for the outputs of a merge");
        r->tables = t;
        c->table_cap = cap;
    }
    c->overlap = 0;
    return sst_writer_new(&c->job->writer, c->job->new_file_no(c->job->new_file_no_arg),
                          &c->writer);
}

ODB_COLD static odb_status compact_close_output(struct compaction *c)
{
    struct compact_result *r = c->result;
    odb_status st;

    if (!c->writer)
        return ODB_OK;
    st = sst_writer_finish(c->writer, &r->tables[r->count]);
    if (st != ODB_OK)
        return st;
    r->bytes_out += r->tables[r->count].size;
    r->count++;
    sst_writer_free(c->writer);
    c->writer = NULL;
    return ODB_OK;
}

/* An output that begins with `e` overlaps nothing that lies wholly before it. */
static ODB_COLD void compact_skip_fences(struct compaction *c, const struct entry *e)
{
    const struct compact_job *job = c->job;

    while (c->fence < job->cut_count &&
           key_compare(e->key, e->key_len, job->cuts[c->fence].largest.data,
                       job->cuts[c->fence].largest.size) > 0)
        c->fence++;
}

/* Whether the open output should end before `e`, the first version of its key to be kept. */
static bool compact_must_cut(struct compaction *c, const struct entry *e)
{
    const struct compact_job *job = c->job;
    uint64_t size = sst_writer_size(c->writer);
    bool crossed = false;

    while (c->fence < job->cut_count) {
        const struct compact_fence *f = &job->cuts[c->fence];

        if (key_compare(e->key, e->key_len, f->largest.data, f->largest.size) <= 0)
            break;
        c->overlap += f->size;
        c->fence++;
        crossed = true;
    }
    return size >= job->target_size || (crossed && size >= job->target_size / 8 * 7) ||
           (job->max_overlap && c->overlap > job->max_overlap);
}

/* ---- versions ---- */

/* `e` begins a user key. */
static void compact_begin_key(struct compaction *c)
{
    c->looking = c->job->snapshot_count;
    c->kept = 0;
}

/* Whether some reader takes this version; those who do stop looking. */
static inline bool compact_is_wanted(struct compaction *c, uint64_t seq)
{
    const uint64_t *snap = c->job->snapshots;
    uint32_t low = 0, high = c->looking;

    if (ODB_UNLIKELY(seq > c->present))
        return true;
    if (high == 0 || seq > snap[high - 1])
        return false;
    if (seq <= c->oldest)
        high = 0;
    while (low < high) { /* the first reader at or above seq: it and all behind it are served */
        uint32_t mid = low + (high - low) / 2;

        if (snap[mid] >= seq)
            high = mid;
        else
            low = mid + 1;
    }
    c->looking = high;
    return true;
}

/* Whether anything of `e`'s key may lie below the output. */
static bool compact_has_below(const struct compaction *c, const struct entry *e)
{
    const struct compact_job *job = c->job;

    if (job->is_bottom || CANARY(30))
        return false;
    return !job->older_below ||
           job->older_below(job->older_below_arg, odb_bytes(e->key, e->key_len));
}

static odb_status compact_write(struct compaction *c, const struct entry *e)
{
    odb_status st;

    if (c->kept == 0 && c->writer && compact_must_cut(c, e)) {
        st = compact_close_output(c);
        if (st != ODB_OK)
            return st;
    }
    if (ODB_UNLIKELY(!c->writer)) {
        compact_skip_fences(c, e);
        st = compact_open_output(c);
        if (st != ODB_OK)
            return st;
    }
    c->kept++;
    c->result->entries_out++;
    return sst_writer_add(c->writer, e);
}

/* One version that somebody wants: dropped after all, written as it is, or without its number. */
static inline odb_status compact_keep(struct compaction *c, const struct entry *e)
{
    struct entry plain;

    if (trailer_seq(e->trailer) <= c->oldest) { /* every reader sees it or something newer */
        if (trailer_kind(e->trailer) == KIND_DELETE) {
            if (!compact_has_below(c, e)) {
                c->result->dropped_deletes++;
                return ODB_OK;
            }
        } else if (c->job->is_bottom && c->kept == 0 && trailer_kind(e->trailer) == KIND_PUT) {
            plain = *e;
            plain.trailer = trailer_make(0, KIND_PUT);
            e = &plain;
        }
    }
    return compact_write(c, e);
}

/* `count` entries that follow each other, all of one run. */
static odb_status compact_entries(struct compaction *c, const struct entry *e, uint32_t count)
{
    c->result->entries_in += count;
    for (const struct entry *end = e + count; e < end; e++) {
        int order = c->has_key ? key_compare(c->key, c->key_len, e->key, e->key_len) : -1;
        odb_status st;

        if (ODB_LIKELY(order < 0))
            compact_begin_key(c);
        else if (order > 0 || e->trailer >= c->trailer)
            return err_corrupt("the input of a merge", c->result->entries_in,
                               "entries are out of order");
        c->key = e->key;
        c->key_len = e->key_len;
        c->has_key = true;
        c->trailer = e->trailer;
        if (!compact_is_wanted(c, trailer_seq(e->trailer))) {
            c->result->dropped_versions++;
            continue;
        }
        st = compact_keep(c, e);
        if (ODB_UNLIKELY(st != ODB_OK))
            return st;
    }
    return ODB_OK;
}

/* ---- the walk ---- */

/* How many of `count` entries from `e` on lie before the end of the job's range. */
static uint32_t compact_in_range(const struct compaction *c, const struct entry *e, uint32_t count)
{
    odb_slice end = c->job->end;
    uint32_t low = 0, high = count;

    if (!end.data || key_compare(e[count - 1].key, e[count - 1].key_len, end.data, end.size) < 0)
        return count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (key_compare(e[mid].key, e[mid].key_len, end.data, end.size) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The run that `key` points into is about to go: keep a copy. */
static odb_status compact_save_key(struct compaction *c)
{
    odb_status st;

    if (!c->has_key || c->key == c->key_copy.p)
        return ODB_OK;
    st = buf_assign(&c->key_copy, c->key, c->key_len);
    c->key = c->key_copy.p;
    return st;
}

static bool compact_is_cancelled(struct compaction *c, uint32_t walked)
{
    const struct compact_job *job = c->job;

    c->unpolled += walked;
    if (ODB_LIKELY(c->unpolled < COMPACT_POLL))
        return false;
    c->unpolled = 0;
    return job->is_cancelled && job->is_cancelled(job->is_cancelled_arg);
}

static odb_status compact_walk(struct compaction *c)
{
    const struct compact_job *job = c->job;
    struct merge *m = &c->merge;
    bool more = job->begin.data ? merge_seek(m, job->begin, UINT64_MAX) : merge_first(m);

    while (more) {
        uint32_t count, inside;
        const struct entry *e = merge_stretch(m, &count);
        odb_status st;

        inside = compact_in_range(c, e, count);
        st = compact_entries(c, e, inside);
        if (st == ODB_OK && m->sure == m->current->count)
            st = compact_save_key(c);
        if (st != ODB_OK)
            return st;
        if (inside < count)
            return ODB_OK;
        if (compact_is_cancelled(c, count))
            return err_set(ODB_CANCELLED, "the merge was stopped");
        more = merge_next_stretch(m);
    }
    return m->status;
}

odb_status compact_run(const struct compact_job *job, struct compact_result *out)
{
    struct compact_result result = {0};
    struct compaction c = {.job = job, .result = &result};
    char name[SST_NAME_MAX], why[ERR_TEXT_MAX];
    odb_status st;

    *out = result;
    if (job->snapshot_count == 0)
        return err_set(ODB_INVALID, "a merge needs at least the present sequence number");
    c.oldest = job->snapshots[0];
    c.present = job->snapshots[job->snapshot_count - 1];
    st = merge_init(&c.merge, job->inputs, job->input_count, job->skip);
    if (st != ODB_OK)
        return st;
    st = compact_walk(&c);
    if (st == ODB_OK)
        st = compact_close_output(&c);
    merge_detach(&c.merge); /* the inputs are the caller's */
    merge_release(&c.merge);
    buf_release(&c.key_copy);
    if (st == ODB_OK) {
        *out = result;
        return ODB_OK;
    }
    err_save(why); /* tidying up must not change the story */
    sst_writer_free(c.writer);
    for (uint32_t i = 0; i < result.count; i++) {
        sst_file_name(result.tables[i].file_no, name);
        (void)!os_remove(job->writer.dir, name); /* swept again at open */
    }
    compact_result_release(&result);
    return err_restore(st, why);
}

ODB_COLD void compact_result_release(struct compact_result *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        sst_meta_release(&r->tables[i]);
    mem_free(r->tables);
    *r = (struct compact_result){0};
}
