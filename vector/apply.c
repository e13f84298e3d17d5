/* vector/apply.c -- keeping the graph up with the commits, and storing it.
 *
 *      pending  --link-->  graph, `done`      --flush-->  rows N, M; markers P go
 *      ended    --sweep->  out of it, `gone`  --flush-->  rows N and markers X go; then the slots are free
 *
 * Between two flushes the stored graph is that of the last one; what came since is told by markers, so
 * a crash loses the work of at most one interval and nothing else. A flush is one batch. Where there is
 * too much for one, or memory ran out while noting what changed, everything is stored anew: M goes
 * first and comes last, and a graph without M is built again.
 *
 * Who links: a thread (ODB_VEC_ASYNC), the writer (ODB_VEC_SYNC), the caller of odb_vec_work(), and
 * any writer who finds too much pending. All hold write_lock, so there is one at a time; bulk loads
 * link with several threads under one hold of it.
 */
#include "vector/index.h"

#include <math.h>

#include "base/alloc.h"

#define APPLY_ONCE  64
#define TELL_EVERY  256
#define HELP_ONCE   16
#define DROP_EVERY  8     /* linked slots that stop being pending together */
#define PENDING_MIN 32    /* may be pending while others search */
#define CALM        1024  /* writes without a search in between: nobody searches */
#define FLUSH_NODES 65536 /* more changed rows than this are stored in several batches */
#define BATCH_NODES 8192
#define IDLE_NS     1000000000u
#define RETRY_NS    100000000u
#define HEIRS       4096
#define DEAD_MIN    1024
#define PAST_NS     20000000u /* between two looks at the clock */
#define MEND_MIN    1024 /* inserts after which, and after an eighth more nodes, all are looked at */

/* ---- linking ---- */

odb_status vec_linked_grow(struct vec_index *ix)
{
    size_t need = atomic_load_explicit(&ix->a.slot_count, memory_order_acquire) / 64 + 1;
    uint64_t *more;

    if (need <= ix->linked_words)
        return ODB_OK;
    need += need / 4;
    more = mem_realloc(ix->linked, need * sizeof *more);
    if (!more)
        return err_set(ODB_NOMEM, "vector index: no memory for a bit for each node");
    memset(more + ix->linked_words, 0, (need - ix->linked_words) * sizeof *more);
    ix->linked = more;
    ix->linked_words = need;
    return ODB_OK;
}

static void set_linked(struct vec_index *ix, uint32_t slot)
{
    ix->linked[slot / 64] |= (uint64_t)1 << (slot & 63);
}

static void clear_linked(struct vec_index *ix, uint32_t slot)
{
    ix->linked[slot / 64] &= ~((uint64_t)1 << (slot & 63));
}

/* The first `max` that are pending, without taking them off. */
static size_t peek_pending(struct vec_index *ix, uint32_t *out, size_t max)
{
    size_t n;

    os_mutex_lock(&ix->slot_lock);
    n = ix->pending.len - ix->pending_head;
    n = n < max ? n : max;
    if (n)
        memcpy(out, ix->pending.slot + ix->pending_head, n * sizeof *out);
    os_mutex_unlock(&ix->slot_lock);
    return n;
}

/* The first `n` are in the graph. */
static void drop_pending(struct vec_index *ix, size_t n)
{
    os_mutex_lock(&ix->slot_lock);
    ix->pending_head += n;
    if (ix->pending_head && ix->pending_head * 2 > ix->pending.len) {
        memmove(ix->pending.slot, ix->pending.slot + ix->pending_head,
                (ix->pending.len - ix->pending_head) * sizeof *ix->pending.slot);
        ix->pending.len -= ix->pending_head;
        ix->pending_head = 0;
        vec_list_shrink(&ix->pending, ix->reserved); /* the observer relies on room for those */
    }
    atomic_store_explicit(&ix->pending_count, ix->pending.len - ix->pending_head,
                          memory_order_relaxed);
    os_mutex_unlock(&ix->slot_lock);
    os_cond_broadcast(&ix->changed);
}

static odb_status prepare_writer(struct vec_index *ix)
{
    odb_status st = vec_linked_grow(ix);

    vec_arena_settle(&ix->a);
    return st == ODB_OK
               ? vec_scratch_prepare(&ix->writer, &ix->a, ix->a.space.ef_construction, HEIRS)
               : st;
}

/* What is about to be linked; searches that began before see to it that they do not return it. */
static void note_newest(struct vec_index *ix, const uint32_t *slot, size_t n)
{
    uint64_t newest = atomic_load_explicit(&ix->newest, memory_order_relaxed);

    for (size_t i = 0; i < n; i++) {
        uint64_t begin = vec_begin(&ix->a, slot[i]);

        newest = begin > newest ? begin : newest;
    }
    atomic_store_explicit(&ix->newest, newest, memory_order_release);
}

odb_status vec_mend(struct vec_index *ix)
{
    uint32_t slots = atomic_load(&ix->a.slot_count), *stack;
    uint64_t *found = mem_array((size_t)slots / 64 + 1, sizeof *found);
    odb_status st = prepare_writer(ix);

    stack = mem_array(slots ? slots : 1, sizeof *stack);
    if (st == ODB_OK && found && stack) {
        (void)vec_reconnect(&ix->a, &ix->writer, ix->linked, found, stack, slots, &ix->dirty);
        ix->unmended = 0;
    } else {
        ix->unmended = UINT32_MAX; /* not known: tried again with the next insert */
        if (st == ODB_OK)
            st = err_set(ODB_NOMEM, "vector index: no memory to look at all of it");
    }
    mem_free(found);
    mem_free(stack);
    return st;
}

size_t vec_apply(struct vec_index *ix, size_t max)
{
    uint32_t slot[APPLY_ONCE];
    size_t n, dropped = 0;

    if (ix->config.mode == ODB_VEC_EXACT)
        return 0;
    n = peek_pending(ix, slot, max < APPLY_ONCE ? max : APPLY_ONCE);
    if (n == 0 || prepare_writer(ix) != ODB_OK || vec_list_reserve(&ix->done, ix->done.len + n))
        return 0;
    note_newest(ix, slot, n);
    for (size_t i = 0; i < n; i++) {
        vec_insert(&ix->a, &ix->writer, slot[i], &ix->dirty);
        set_linked(ix, slot[i]);
        ix->done.slot[ix->done.len++] = slot[i];
        if (i + 1 - dropped == DROP_EVERY || i + 1 == n) {
            drop_pending(ix, i + 1 - dropped);
            dropped = i + 1;
        }
    }
    atomic_fetch_add_explicit(&ix->inserts, n, memory_order_relaxed);
    ix->unmended += n;
    if (ix->unmended >= MEND_MIN && ix->unmended >= atomic_load(&ix->a.slot_count) / 8)
        err_ignore(vec_mend(ix));
    return n;
}

/* ---- linking by many ---- */

struct crew {
    struct vec_index *ix;
    const uint32_t *slot;
    size_t count;
    atomic_size_t next, finished;
    atomic_bool stop;
    odb_progress *progress;
    void *arg;
};

/* `s` prepared. Every worker reports, the first thread asks whether to go on. */
static void link_share(struct crew *c, struct vec_scratch *s, bool asks)
{
    size_t i, told = 0;

    while (!atomic_load_explicit(&c->stop, memory_order_relaxed) &&
           (i = atomic_fetch_add(&c->next, 1)) < c->count) {
        vec_insert(&c->ix->a, s, c->slot[i], NULL);
        i = atomic_fetch_add(&c->finished, 1) + 1;
        if (asks && c->progress &&
            i / TELL_EVERY != told) { /* others may have met the very number */
            told = i / TELL_EVERY;
            if (!c->progress(c->arg, "linking vectors", i, c->count))
                atomic_store(&c->stop, true);
        }
    }
}

static void link_as_helper(void *arg)
{
    struct crew *c = arg;
    struct vec_scratch s;

    memset(&s, 0, sizeof s);
    if (vec_scratch_prepare(&s, &c->ix->a, c->ix->a.space.ef_construction, HEIRS) == ODB_OK)
        link_share(c, &s, false);
    vec_scratch_release(&s);
}

odb_status vec_apply_all(struct vec_index *ix, uint32_t threads, odb_progress *progress, void *arg)
{
    struct os_thread *helper[64];
    struct crew c = {.ix = ix, .progress = progress, .arg = arg};
    uint32_t *slot, helpers = 0;
    size_t n = atomic_load(&ix->pending_count);
    odb_status st;

    if (n == 0)
        return ODB_OK;
    if (threads == 0)
        threads = os_cpu_count(ix->os);
    if (threads > sizeof helper / sizeof *helper)
        threads = sizeof helper / sizeof *helper;
    slot = mem_array(n, sizeof *slot);
    if (!slot)
        return err_set(ODB_NOMEM, "vector index: no memory to link %zu vectors", n);
    c.slot = slot;
    c.count = peek_pending(ix, slot, n);
    st = prepare_writer(ix);
    if (st == ODB_OK && c.count) {
        ix->dirty.is_all = true;
        note_newest(ix, slot, c.count);
        vec_insert(&ix->a, &ix->writer, slot[0], NULL); /* nobody starts with an empty graph */
        atomic_store(&c.next, 1);
        atomic_store(&c.finished, 1);
        if (progress && !progress(arg, "linking vectors", 1, c.count))
            atomic_store(&c.stop, true);
        while (helpers + 1 < threads && c.count > 1000 && !atomic_load(&c.stop) &&
               os_thread_start("vec-build", link_as_helper, &c, &helper[helpers]) == ODB_OK)
            helpers++;
        link_share(&c, &ix->writer, true);
        while (helpers)
            os_thread_join(helper[--helpers]);
        /* Taken in order, all finished: those before `next` are linked. */
        n = atomic_load(&c.next) < c.count ? atomic_load(&c.next) : c.count;
        for (size_t i = 0; i < n; i++)
            set_linked(ix, slot[i]);
        atomic_fetch_add_explicit(&ix->inserts, n, memory_order_relaxed);
        st = vec_mend(ix);
        drop_pending(ix, n);
        if (st == ODB_OK && atomic_load(&c.stop) && n < c.count)
            st = err_set(ODB_CANCELLED, "stopped after %zu of %zu vectors", n, c.count);
    }
    mem_free(slot);
    return st;
}

/* ---- storing ---- */

static odb_status put_meta(struct vec_index *ix, odb_batch *batch)
{
    uint64_t entry = atomic_load(&ix->a.entry);
    struct vec_meta m = {
        .metric = ix->a.space.metric,
        .dim = ix->a.space.dim,
        .m = ix->a.space.m,
        .entry = entry == VEC_NEVER ? VEC_NONE : (uint32_t)entry,
        .seed = ix->a.space.seed,
    };
    struct buf b = {0};
    odb_status st;

    for (size_t i = 0; i < ix->linked_words; i++)
        for (uint64_t w = ix->linked[i]; w; w &= w - 1)
            m.nodes++;
    st = vec_meta_write(&b, &m);
    if (st == ODB_OK)
        st = odb_batch_put(batch, ix->graph, odb_s("M"), buf_slice(&b));
    buf_release(&b);
    return st;
}

static odb_status put_node(struct vec_index *ix, odb_batch *batch, uint32_t slot, struct buf *b)
{
    uint8_t key[VEC_KEY_LEN];
    odb_status st;

    buf_reset(b);
    st = vec_links_write(b, &ix->a, slot);
    vec_key(key, VEC_KEY_NODE, slot);
    if (st == ODB_OK)
        st = odb_batch_put(batch, ix->graph, odb_bytes(key, sizeof key), buf_slice(b));
    if (st != ODB_OK || vec_end(&ix->a, slot) == 0)
        return st;
    /* Put and deleted by one commit, or deleted by hand: nobody else has said so. */
    vec_key(key, VEC_KEY_DEAD, slot);
    return odb_batch_put(batch, ix->graph, odb_bytes(key, sizeof key), odb_bytes(NULL, 0));
}

static odb_status drop_key(struct vec_index *ix, odb_batch *batch, char kind, uint32_t slot)
{
    uint8_t key[VEC_KEY_LEN];

    vec_key(key, kind, slot);
    return odb_batch_delete(batch, ix->graph, odb_bytes(key, sizeof key));
}

static void clean_row(struct vec_index *ix, uint32_t slot)
{
    vec_link *row = vec_links(&ix->a, slot, 0);

    os_mutex_lock(vec_row_lock(&ix->a, slot));
    atomic_fetch_and_explicit(&row->v, ~VEC_HEAD_DIRTY, memory_order_relaxed);
    os_mutex_unlock(vec_row_lock(&ix->a, slot));
}

static bool is_linked(const struct vec_index *ix, uint32_t slot)
{
    return slot / 64 < ix->linked_words && vec_bit(ix->linked, slot);
}

/* What is stored of the next of those that were taken out. */
static odb_status drop_gone(struct vec_index *ix, odb_batch *batch, size_t i)
{
    odb_status st = drop_key(ix, batch, VEC_KEY_NODE, ix->gone.slot[i]);

    if (st == ODB_OK)
        st = drop_key(ix, batch, VEC_KEY_DEAD, ix->gone.slot[i]);
    if (st == ODB_OK)
        st = drop_key(ix, batch, VEC_KEY_PENDING, ix->gone.slot[i]);
    return st;
}

/* What changed, as one batch. */
static odb_status flush_changes(struct vec_index *ix, odb_batch *batch, struct buf *b)
{
    odb_status st = put_meta(ix, batch);

    for (size_t i = 0; i < ix->dirty.len && st == ODB_OK; i++)
        if (is_linked(ix, ix->dirty.slot[i]))
            st = put_node(ix, batch, ix->dirty.slot[i], b);
    for (size_t i = 0; i < ix->done.len && st == ODB_OK; i++)
        st = drop_key(ix, batch, VEC_KEY_PENDING, ix->done.slot[i]);
    for (size_t i = 0; i < ix->gone.len && st == ODB_OK; i++)
        st = drop_gone(ix, batch, i);
    return st == ODB_OK ? odb_commit(ix->db, batch, NULL) : st;
}

/* Remove M, without which the graph counts as wrong, and all that is stored of those taken out: their X is
 * about to go, and would leave a P behind that nobody knows. */
static odb_status remove_gone(struct vec_index *ix, odb_batch *batch)
{
    odb_status st = odb_batch_delete(batch, ix->graph, odb_s("M"));

    for (size_t i = 0; i < ix->gone.len && st == ODB_OK; i++) {
        st = drop_gone(ix, batch, i);
        if (st == ODB_OK && odb_batch_count(batch) >= BATCH_NODES) {
            st = odb_commit(ix->db, batch, NULL);
            odb_batch_clear(batch);
        }
    }
    if (st == ODB_OK && odb_batch_count(batch))
        st = odb_commit(ix->db, batch, NULL);
    odb_batch_clear(batch);
    return st;
}

/* Remove every row N and the settled markers X; or, once a new graph is stored, the markers P of what stands
 * in it. Not earlier: with neither N nor P, a vector would be one that nobody stands for. */
static odb_status remove_stored(struct vec_index *ix, odb_batch *batch, bool pending)
{
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(odb_now(ix->db), ix->graph, &(odb_range){.keys_only = true}, &it);

    for (bool ok = st == ODB_OK && odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it)) {
        odb_slice key = odb_iter_key(it);
        uint32_t slot = 0;
        char kind = 0;

        if (vec_key_read(key, &kind, &slot)) {
            if (kind == VEC_KEY_META || (kind == VEC_KEY_PENDING) != pending)
                continue;
            if (kind == VEC_KEY_PENDING && !is_linked(ix, slot))
                continue;
            /* X of a node that is linked, or ended since: it is still dead. */
            if (kind == VEC_KEY_DEAD && vec_slot_exists(&ix->a, slot) && vec_end(&ix->a, slot) &&
                is_linked(ix, slot))
                continue;
            if (kind == VEC_KEY_DEAD && vec_slot_exists(&ix->a, slot) && !is_linked(ix, slot) &&
                vec_begin(&ix->a, slot) != VEC_NEVER && vec_end(&ix->a, slot))
                continue; /* pending and ended: it will be linked, and taken out */
        }
        st = odb_batch_delete(batch, ix->graph, key);
        if (st == ODB_OK && odb_batch_count(batch) >= BATCH_NODES) {
            st = odb_commit(ix->db, batch, NULL);
            odb_batch_clear(batch);
        }
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    if (st == ODB_OK && odb_batch_count(batch))
        st = odb_commit(ix->db, batch, NULL);
    odb_batch_clear(batch);
    return st;
}

static odb_status flush_everything(struct vec_index *ix, odb_batch *batch, struct buf *b)
{
    odb_status st = remove_gone(ix, batch);

    if (st == ODB_OK)
        st = remove_stored(ix, batch, false);
    for (size_t i = 0; i < ix->linked_words && st == ODB_OK; i++)
        for (uint64_t w = ix->linked[i]; w && st == ODB_OK; w &= w - 1) {
            uint32_t slot = (uint32_t)(i * 64), bit = 0;

            while (!(w >> bit & 1))
                bit++;
            st = put_node(ix, batch, slot + bit, b);
            clean_row(ix, slot + bit);
            if (st == ODB_OK && odb_batch_count(batch) >= BATCH_NODES) {
                st = odb_commit(ix->db, batch, NULL);
                odb_batch_clear(batch);
            }
        }
    if (st == ODB_OK)
        st = put_meta(ix, batch);
    if (st == ODB_OK)
        st = odb_commit(ix->db, batch, NULL);
    odb_batch_clear(batch);
    return st == ODB_OK ? remove_stored(ix, batch, true) : st;
}

struct returned {
    struct epoch_item item;
    struct vec_index *ix;
    uint64_t sequence;
    size_t count;
    uint32_t slot[];
};

/* Nobody walks there any more, and nothing stored speaks of them. */
static void free_slots(struct epoch_item *item)
{
    struct returned *r = (struct returned *)(void *)item;
    struct vec_index *ix = r->ix;

    os_mutex_lock(&ix->slot_lock);
    ix->freed = r->sequence > ix->freed ? r->sequence : ix->freed;
    for (size_t i = 0; i < r->count && !ix->is_loading; i++) {
        vec_begin_set(&ix->a, r->slot[i], VEC_NEVER);
        vec_name_drop(&ix->a, vec_name_set(&ix->a, r->slot[i], 0));
        err_ignore(vec_list_add(&ix->free, r->slot[i])); /* else a gap until the next open */
    }
    os_mutex_unlock(&ix->slot_lock);
    mem_free(r);
}

static void retire_gone(struct vec_index *ix)
{
    struct returned *r =
        ix->gone.len ? mem_alloc(sizeof *r + ix->gone.len * sizeof *r->slot) : NULL;

    if (r && odb_sequence(odb_now(ix->db), &r->sequence) != ODB_OK) {
        mem_free(r);
        r = NULL;
    }
    if (r) { /* else gaps until the next open */
        r->ix = ix;
        r->count = ix->gone.len;
        memcpy(r->slot, ix->gone.slot, r->count * sizeof *r->slot);
        epoch_retire(&ix->epoch, &r->item, free_slots);
        (void)epoch_collect(&ix->epoch);
    }
    ix->gone.len = 0;
    vec_list_shrink(&ix->gone, 0);
}

odb_status vec_flush(struct vec_index *ix)
{
    bool all = ix->dirty.is_all || ix->dirty.len > FLUSH_NODES;
    odb_batch *batch = NULL;
    struct buf b = {0};
    odb_status st;

    if (!all && !ix->dirty.len && !ix->done.len && !ix->gone.len)
        return ODB_OK;
    if (atomic_load_explicit(&ix->is_readonly, memory_order_relaxed))
        return ODB_OK;
    st = odb_batch_new(&batch);
    if (st == ODB_OK)
        st = all ? flush_everything(ix, batch, &b) : flush_changes(ix, batch, &b);
    odb_batch_free(batch);
    buf_release(&b);
    if (st == ODB_OK) {
        for (size_t i = 0; i < ix->dirty.len; i++)
            clean_row(ix, ix->dirty.slot[i]);
        ix->dirty.len = ix->done.len = 0;
        vec_list_shrink(&ix->done, ix->config.flush_every);
        vec_dirty_shrink(&ix->dirty);
        ix->dirty.is_all = false;
        retire_gone(ix);
        ix->last_flush_ns = os_now_ns(ix->os);
        atomic_fetch_add_explicit(&ix->flushes, 1, memory_order_relaxed);
    } /* else what is noted stays noted */
    ix->failed = st;
    return st;
}

/* ---- taking the dead out ---- */

/* A moment before which nobody looks any more, as far as snapshots tell, and by which half of the dead had
 * ended. While others search there is always some snapshot, none of them old: so it is the sequence of a
 * while ago that is asked for, not that of now, and who is older than that keeps the dead where they are. */
static bool find_unseen(struct vec_index *ix, uint64_t dead, uint64_t *out)
{
    odb_stats_t stats = {.size = sizeof stats};
    uint64_t ns = os_now_ns(ix->os);

    if (odb_stats(ix->db, NULL, &stats) != ODB_OK)
        return false;
    *out = stats.sequence;
    if (stats.snapshots == 0)
        return true;
    if (ns - ix->recent.ns >=
        PAST_NS) { /* later than the sequence was read: who took it came before */
        ix->past = ix->recent;
        ix->recent = (struct vec_past){os_now_ns(ix->os), stats.sequence, dead};
    }
    *out = ix->past.sequence;
    return ix->past.ns && ix->past.dead * 2 > dead && *out > atomic_load(&ix->floor) &&
           (stats.oldest_snapshot_age_ms + 2) * 1000000 < ns - ix->past.ns;
}

/* Whether enough is dead to be taken out now, and up to which moment. */
static bool consolidate_due(struct vec_index *ix, uint64_t *moment)
{
    uint64_t dead = atomic_load_explicit(&ix->dead, memory_order_relaxed);
    uint64_t live = atomic_load_explicit(&ix->live, memory_order_relaxed);
    uint64_t pending = atomic_load_explicit(&ix->pending_count, memory_order_relaxed);
    uint64_t outside = ix->dead_outside < pending ? ix->dead_outside : pending;

    dead -= outside < dead ? outside : dead;
    if (dead <= DEAD_MIN || dead * 20 <= live)
        return false;
    /* Those that a snapshot may still see may stay for its sake, up to three tenths of all. */
    return find_unseen(ix, dead, moment) ||
           (dead * 10 > (live + dead) * 3 && odb_sequence(odb_now(ix->db), moment) == ODB_OK);
}

odb_status vec_consolidate(struct vec_index *ix, uint64_t moment)
{
    uint32_t slots;
    uint64_t *bits;
    size_t n = 0, had = ix->gone.len;
    odb_status st = prepare_writer(ix);

    if (st != ODB_OK)
        return st;
    slots = atomic_load(&ix->a.slot_count);
    bits = mem_zalloc(ix->linked_words, sizeof *bits);
    if (!bits)
        return err_set(ODB_NOMEM, "vector index: no memory for a bit for each node");
    for (uint32_t slot = 0; slot < slots && st == ODB_OK; slot++) {
        uint64_t end;

        if (!is_linked(ix, slot))
            continue;
        end = vec_end(&ix->a, slot);
        if (end == 0 || end > moment)
            continue;
        bits[slot / 64] |= (uint64_t)1 << (slot & 63);
        st = vec_list_add(&ix->gone, slot);
        n++;
    }
    if (st == ODB_OK && n) {
        atomic_store(&ix->floor, moment); /* before anything goes: older ones look elsewhere */
        vec_remove(&ix->a, &ix->writer, bits, ix->linked, slots, &ix->dirty);
        for (size_t i = had; i < ix->gone.len; i++)
            clear_linked(ix, ix->gone.slot[i]);
        atomic_fetch_sub_explicit(&ix->dead, n, memory_order_acq_rel);
        atomic_fetch_add_explicit(&ix->compactions, 1, memory_order_relaxed);
        ix->recent = ix->past = (struct vec_past){0};
    } else {
        ix->gone.len = had;
    }
    /* What is left was ended before it was linked, or just now. */
    ix->dead_outside = atomic_load_explicit(&ix->dead, memory_order_relaxed);
    if (st == ODB_OK)
        st = vec_mend(ix);
    mem_free(bits);
    return st == ODB_OK ? vec_flush(ix) : st;
}

/* ---- who does it ---- */

static bool flush_is_due(struct vec_index *ix)
{
    size_t changed = ix->done.len + ix->gone.len;

    if (ix->failed != ODB_OK)
        return os_now_ns(ix->os) - ix->last_flush_ns > RETRY_NS;
    return changed >= ix->config.flush_every || ix->dirty.is_all;
}

/* One piece of work under write_lock. False: there was none. */
static bool work_once(struct vec_index *ix)
{
    uint64_t moment;
    bool did = false;

    os_mutex_lock(&ix->write_lock);
    if (atomic_load(&ix->state) == VEC_READY && !atomic_load(&ix->is_stale)) {
        did = atomic_load(&ix->bulks) == 0 && vec_apply(ix, APPLY_ONCE) > 0;
        if (consolidate_due(ix, &moment)) {
            err_ignore(vec_consolidate(ix, moment));
            did = true;
        }
        if (flush_is_due(ix)) {
            err_ignore(vec_flush(ix)); /* tried again; until then markers stand for it */
            ix->last_flush_ns = os_now_ns(ix->os);
        }
    }
    os_mutex_unlock(&ix->write_lock);
    return did;
}

static void run_indexer(void *arg)
{
    struct vec_index *ix = arg;
    bool stop = false;

    while (!stop) {
        bool rested = false, pause = false, did = work_once(ix);

        os_mutex_lock(&ix->slot_lock);
        if (did)
            ; /* there may be more; but closing does not wait for it */
        else if (!ix->is_stopping && ix->pending.len == ix->pending_head) {
            ix->is_idle = true;
            if (!os_cond_wait_for(&ix->changed, &ix->slot_lock, IDLE_NS))
                rested = true;
            ix->is_idle = false;
        } else if (!ix->is_stopping) {
            pause = true; /* a bulk load holds it back, memory is short, or the index is stale */
        }
        stop = ix->is_stopping;
        os_mutex_unlock(&ix->slot_lock);
        if (rested && !stop) { /* a second of rest */
            os_mutex_lock(&ix->write_lock);
            if (!atomic_load(&ix->is_stale))
                err_ignore(vec_flush(ix));
            os_mutex_unlock(&ix->write_lock);
        }
        if (pause)
            os_thread_sleep(1000000);
    }
}

odb_status vec_indexer_start(struct vec_index *ix)
{
    odb_status st;

    if (ix->thread || ix->config.mode != ODB_VEC_ASYNC)
        return ODB_OK;
    st = os_thread_start("vec-index", run_indexer, ix, &ix->thread);
    return st == ODB_UNSUPPORTED || st == ODB_LIMIT ? ODB_OK : st; /* writers help */
}

void vec_indexer_stop(struct vec_index *ix)
{
    os_mutex_lock(&ix->slot_lock);
    ix->is_stopping = true;
    os_mutex_unlock(&ix->slot_lock);
    os_cond_broadcast(&ix->changed);
    os_thread_join(ix->thread);
    ix->thread = NULL;
}

void vec_after_write(struct vec_index *ix)
{
    if (ix->config.mode == ODB_VEC_SYNC)
        while (atomic_load(&ix->pending_count) && work_once(ix))
            ;
}

/* How much may be pending before writers help. While somebody searches it is less, since each search looks
 * through all that is, and beside a writer at full speed that is always as much as may be: 128 were a twelfth
 * of what a search did (docs/vectors.md). The graph grows no slower for it, but commits wait sooner. Up to
 * flat_max vectors each search looks through all of them anyway: nothing is gained by haste. */
static size_t pending_limit(struct vec_index *ix)
{
    uint64_t calm = atomic_fetch_add_explicit(&ix->calm, 1, memory_order_relaxed);
    size_t most = ix->config.pending_max, least = most < PENDING_MIN ? most : PENDING_MIN;

    if (atomic_load_explicit(&ix->live, memory_order_relaxed) <= ix->config.flat_max)
        return most > ix->config.flat_max ? most : ix->config.flat_max;
    if (calm >= CALM)
        return most;
    return most / 32 > least ? most / 32 : least;
}

void vec_before_write(struct vec_index *ix)
{
    size_t limit;

    if (atomic_load(&ix->state) != VEC_READY || ix->config.mode == ODB_VEC_EXACT ||
        atomic_load(&ix->bulks))
        return;
    limit = pending_limit(ix);
    if (atomic_load_explicit(&ix->pending_count, memory_order_relaxed) < limit)
        return;
    if (os_mutex_trylock(&ix->write_lock)) {
        if (!atomic_load(&ix->is_stale))
            (void)vec_apply(ix, HELP_ONCE);
        os_mutex_unlock(&ix->write_lock);
        return;
    }
    os_mutex_lock(&ix->slot_lock); /* somebody is at it: at his speed then */
    if (!ix->is_stopping && ix->pending.len - ix->pending_head >= limit)
        (void)os_cond_wait_for(&ix->changed, &ix->slot_lock, 50000000);
    os_mutex_unlock(&ix->slot_lock);
}

/* ---- the calls ---- */

bool odb_vec_work(odb_db *db)
{
    struct vec_index *ix;

    return vec_index_of(db, &ix) == ODB_OK && work_once(ix);
}

odb_status odb_vec_wait(odb_db *db)
{
    struct vec_index *ix;
    odb_status st = vec_index_of(db, &ix);

    if (st != ODB_OK || atomic_load(&ix->state) != VEC_READY)
        return st;
    os_mutex_lock(&ix->write_lock);
    if (ix->config.mode != ODB_VEC_EXACT && !atomic_load(&ix->is_stale)) {
        while (atomic_load(&ix->pending_count) && vec_apply(ix, APPLY_ONCE))
            ;
        if (atomic_load(&ix->pending_count))
            st = err_set(ODB_NOMEM, "vector index: no memory to link what is pending");
    }
    if (st == ODB_OK)
        st = vec_flush(ix);
    os_mutex_unlock(&ix->write_lock);
    return st;
}

odb_status odb_vec_compact(odb_db *db)
{
    struct vec_index *ix;
    uint64_t now;
    odb_status st = odb_vec_wait(db);

    if (st == ODB_OK)
        st = vec_index_of(db, &ix);
    if (st != ODB_OK || atomic_load(&ix->state) != VEC_READY)
        return st;
    os_mutex_lock(&ix->write_lock);
    if (!atomic_load(&ix->is_stale)) {
        st = odb_sequence(odb_now(db), &now);
        if (st == ODB_OK)
            st = vec_consolidate(ix, now);
    }
    os_mutex_unlock(&ix->write_lock);
    return st;
}
