/* sstable/store.c -- the open tables of a database, and the point read.
 *
 *    sst_ref.table ---> sst_table ---> slot[no] ---> sst_frame
 *       acquire           filter        acquire        block_find
 *                         index
 *
 * A table is opened when it is first read, by one thread; others that want it meanwhile wait for
 * that one. At most open_tables descriptors are held: before another table is opened, the clock hand
 * picks one that was not read since it last came by and that nobody is reading from now. A table
 * closed this way takes its blocks with it once its readers have left.
 *
 * 1. ref->table changes under `lock` only: NULL -> table when opened, table -> NULL when it leaves.
 *    Readers load it without the lock, inside an epoch.
 * 2. A table that leaves the ring is shut (table.c (2)) and retired through the epoch: a reader that
 *    still has it finds resident blocks as before, and looks at the ref again when it needs the
 *    file.
 * 3. No file is opened, read or closed under `lock`.
 * 4. Where all tables are busy, the limit is exceeded, not the read refused. Where the system
 *    refuses another descriptor, a few idle tables are closed, once, and the open is tried again.
 *
 * Threads: any. Nothing here is called with RANK_TABLES or a later lock held.
 * Not here: cursors (cursor.c), reading everything to check it (verify.c).
 */
#include "sstable/store.h"

#include <assert.h>
#include <stddef.h>

#include "base/alloc.h"

#define STORE_TABLES_MIN 8
#define STORE_SPARE      16 /* tables closed when the system is out of descriptors */

/* A table being opened, on the stack of the thread that does it. */
struct store_opening {
    uint64_t file_no;
    struct store_opening *next;
};

ODB_COLD odb_status sst_store_new(const struct sst_store_options *opt, struct sst_store **out)
{
    struct sst_store *s = mem_zalloc(1, sizeof *s);

    if (!s)
        return err_set(ODB_NOMEM, "out of memory for the table store");
    s->opt = *opt;
    if (s->opt.open_tables < STORE_TABLES_MIN)
        s->opt.open_tables = STORE_TABLES_MIN;
    os_mutex_init(&s->lock, RANK_TABLES);
    os_cond_init(&s->opened);
    sst_cache_init(&s->cache, opt->epoch, opt->cache_bytes);
    *out = s;
    return ODB_OK;
}

ODB_COLD void sst_store_free(struct sst_store *s)
{
    if (!s)
        return;
    assert(!s->hand && !s->opening);
    /* What was retired still points here. No reader is inside, so it comes back at once, unless
     * another thread is collecting and has it in hand. */
    while (atomic_load_explicit(&s->cache.retiring, memory_order_acquire) > 0) {
        (void)epoch_collect(s->opt.epoch);
        os_thread_yield();
    }
    sst_cache_destroy(&s->cache);
    os_cond_destroy(&s->opened);
    os_mutex_destroy(&s->lock);
    mem_free(s);
}

ODB_COLD void sst_store_counters(const struct sst_store *s, struct sst_counters_sum *out)
{
    uint64_t sum[STORE_COUNTERS] = {0};

    for (size_t i = 0; i < STORE_STRIPES; i++)
        for (size_t k = 0; k < STORE_COUNTERS; k++)
            sum[k] += atomic_load_explicit(&s->stripe[i].count[k], memory_order_relaxed);
    *out = (struct sst_counters_sum){
        .block_hits = sum[STORE_BLOCK_HITS],
        .block_reads = sum[STORE_BLOCK_READS],
        .bytes_read = sum[STORE_BYTES_READ],
        .filter_checks = sum[STORE_FILTER_REJECTS] + sum[STORE_FILTER_PASSES],
        .filter_rejects = sum[STORE_FILTER_REJECTS],
        .filter_false = sum[STORE_FILTER_FALSE],
        .tables_opened = sum[STORE_TABLES_OPENED],
        .blocks_evicted = atomic_load_explicit(&s->cache.evicted, memory_order_relaxed),
        .blocks_unpacked = atomic_load_explicit(&s->cache.unpacked, memory_order_relaxed),
    };
}

size_t sst_store_bytes(const struct sst_store *s)
{
    return atomic_load_explicit(&s->cache.bytes, memory_order_relaxed);
}

ODB_COLD void sst_store_resize(struct sst_store *s, size_t cache_bytes)
{
    sst_cache_resize(&s->cache, cache_bytes);
}

/* ---- the ring of open tables ---- */

static void store_link(struct sst_store *s, struct sst_table *t)
{
    assert(os_mutex_held(&s->lock));
    if (!s->hand) {
        s->hand = t->next = t->prev = t;
    } else {
        t->next = s->hand;
        t->prev = s->hand->prev;
        t->prev->next = t;
        t->next->prev = t;
    }
}

static void store_unlink(struct sst_store *s, struct sst_table *t)
{
    assert(os_mutex_held(&s->lock));
    if (s->hand == t)
        s->hand = t->next == t ? NULL : t->next;
    t->prev->next = t->next;
    t->next->prev = t->prev;
    atomic_store_explicit(&t->owner->table, NULL, memory_order_relaxed);
    t->owner = NULL;
    s->open_count--;
}

static void store_table_left(struct epoch_item *item)
{
    struct sst_table *t =
        (struct sst_table *)(void *)((uint8_t *)item - offsetof(struct sst_table, item));
    struct sst_cache *c = t->cache;

    table_unref(t);
    atomic_fetch_sub_explicit(&c->retiring, 1, memory_order_release); /* now the store may go */
}

/* Unlinked and shut: free it when nobody can see it. No lock held. */
static void store_retire(struct sst_store *s, struct sst_table *t)
{
    atomic_fetch_add_explicit(&s->cache.retiring, 1, memory_order_relaxed);
    epoch_retire(s->opt.epoch, &t->item, store_table_left);
}

/* Take one table out of the ring that was not read lately and that nobody reads from, its users
 * barred; NULL when there is none. Those read lately lose their mark; `force` takes them too. */
static struct sst_table *store_pick_idle(struct sst_store *s, bool force)
{
    uint32_t steps = s->open_count * 2;

    assert(os_mutex_held(&s->lock));
    while (steps-- > 0 && s->hand) {
        struct sst_table *t = s->hand;

        s->hand = t->next;
        if (!force && atomic_load_explicit(&t->is_used, memory_order_relaxed)) {
            atomic_store_explicit(&t->is_used, false, memory_order_relaxed);
            continue;
        }
        if (!table_bar_idle(t))
            continue;
        store_unlink(s, t);
        return t;
    }
    return NULL;
}

/* Close up to `n` idle tables; returns how many were. */
static ODB_COLD uint32_t store_close_idle(struct sst_store *s, uint32_t n, bool force)
{
    uint32_t closed = 0;

    while (closed < n) {
        struct sst_table *t;

        os_mutex_lock(&s->lock);
        t = store_pick_idle(s, force);
        os_mutex_unlock(&s->lock);
        if (!t)
            break;
        table_close_barred(t);
        store_retire(s, t);
        closed++;
    }
    return closed;
}

ODB_COLD void sst_ref_drop(struct sst_store *s, struct sst_ref *ref)
{
    struct sst_table *t;

    os_mutex_lock(&s->lock);
    t = atomic_load_explicit(&ref->table, memory_order_relaxed);
    if (t)
        store_unlink(s, t);
    os_mutex_unlock(&s->lock);
    if (t) {
        table_shut(t);
        store_retire(s, t);
    }
}

/* ---- opening ---- */

static ODB_COLD bool store_is_opening(const struct sst_store *s, uint64_t file_no)
{
    for (const struct store_opening *o = s->opening; o; o = o->next)
        if (o->file_no == file_no)
            return true;
    return false;
}

/* The file work, without the lock. */
static ODB_COLD odb_status store_open_file(struct sst_store *s, const struct sst_ref *ref,
                                           struct sst_table **out)
{
    struct table_identity id = {s->opt.db_id, ref->file_no, ref->size, ref->check};
    odb_status st = table_open(s->opt.dir, &id, &s->cache, out);

    if (st == ODB_LIMIT && store_close_idle(s, STORE_SPARE, true) > 0)
        st = table_open(s->opt.dir, &id, &s->cache, out);
    return st;
}

/* The slow half of store_table. */
static ODB_COLD odb_status store_open(struct sst_store *s, struct sst_ref *ref,
                                      struct sst_table **out)
{
    struct store_opening mine = {ref->file_no, NULL}, **at;
    struct sst_table *t;
    uint32_t over;
    odb_status st;

    os_mutex_lock(&s->lock);
    for (;;) {
        t = atomic_load_explicit(&ref->table, memory_order_acquire);
        if (t) {
            os_mutex_unlock(&s->lock);
            *out = t;
            return ODB_OK;
        }
        if (!store_is_opening(s, ref->file_no))
            break;
        os_cond_wait(&s->opened, &s->lock);
    }
    mine.next = s->opening;
    s->opening = &mine;
    s->open_count++;
    over = s->open_count > s->opt.open_tables ? s->open_count - s->opt.open_tables : 0;
    os_mutex_unlock(&s->lock);

    (void)store_close_idle(s, over, false); /* none idle: rather too many than none */
    st = store_open_file(s, ref, &t);

    os_mutex_lock(&s->lock);
    for (at = &s->opening; *at != &mine;)
        at = &(*at)->next;
    *at = mine.next;
    if (st == ODB_OK) {
        t->owner = ref;
        store_link(s, t);
        atomic_store_explicit(&ref->table, t, memory_order_release);
        *out = t;
    } else {
        s->open_count--;
    }
    os_cond_broadcast(&s->opened);
    os_mutex_unlock(&s->lock);
    if (st == ODB_OK)
        store_count(s, STORE_TABLES_OPENED, 1);
    return st;
}

/* Keep it open a while longer. Writes only when there is news. */
static inline void store_note_used(struct sst_table *t)
{
    if (!atomic_load_explicit(&t->is_used, memory_order_relaxed))
        atomic_store_explicit(&t->is_used, true, memory_order_relaxed);
}

odb_status store_table(struct sst_store *s, struct sst_ref *ref, struct sst_table **out)
{
    struct sst_table *t = atomic_load_explicit(&ref->table, memory_order_acquire);

    if (ODB_UNLIKELY(!t)) {
        odb_status st = store_open(s, ref, &t);

        if (st != ODB_OK)
            return st;
    }
    store_note_used(t);
    *out = t;
    return ODB_OK;
}

/* ---- reading ---- */

odb_status store_load(struct sst_store *s, struct sst_table *t, uint32_t no, struct sst_frame **out)
{
    store_count(s, STORE_BLOCK_READS, 1);
    store_count(s, STORE_BYTES_READ, index_frame_len(&t->index, no));
    return table_load(t, no, s->opt.verify_on_read, out);
}

/* The frame of block `no`; *is_gone, and nothing else, when the table's file was closed meanwhile. */
static odb_status store_frame(struct sst_store *s, struct sst_table *t, uint32_t no,
                              struct sst_frame **out, bool *is_gone)
{
    struct sst_frame *f = atomic_load_explicit(&t->slot[no].frame, memory_order_acquire);
    odb_status st;

    *is_gone = false;
    if (ODB_LIKELY(f != NULL)) {
        sst_frame_prefetch(f);
        sst_frame_touch(f);
        store_count(s, STORE_BLOCK_HITS, 1);
        *out = f;
        return ODB_OK;
    }
    if (!table_enter(t)) {
        *is_gone = true;
        return ODB_OK;
    }
    st = store_load(s, t, no, out);
    table_leave(t);
    return st;
}

void sst_prefetch(const struct sst_ref *ref, uint64_t hash)
{
    const struct sst_table *t = atomic_load_explicit(&ref->table, memory_order_acquire);

    if (t)
        filter_prefetch(&t->filter, hash);
}

void sst_probe_begin(const struct sst_ref *ref, odb_slice key, struct sst_probe *out)
{
    struct sst_table *t = atomic_load_explicit(&ref->table, memory_order_acquire);

    out->table = t;
    out->frame = NULL;
    if (ODB_UNLIKELY(!t))
        return;
    out->step = index_begin(&t->index, key);
    ODB_PREFETCH(&t->slot[out->step.at]);
}

bool sst_probe_excludes(struct sst_store *s, const struct sst_ref *ref, uint64_t hash)
{
    struct sst_table *t = atomic_load_explicit(&ref->table, memory_order_acquire);

    if (!t || filter_may_contain(&t->filter, hash))
        return false;
    store_note_used(t);
    store_count(s, STORE_FILTER_REJECTS, 1);
    return true;
}

void sst_probe_block(struct sst_probe *p, odb_slice key, uint64_t trailer)
{
    uint32_t no;

    if (ODB_UNLIKELY(!p->table))
        return;
    no = index_end(&p->table->index, &p->step, key, trailer);
    p->frame = atomic_load_explicit(&p->table->slot[no].frame, memory_order_acquire);
    if (p->frame)
        sst_frame_prefetch_fields(p->frame);
}

void sst_probe_slot(const struct sst_probe *p, uint64_t hash)
{
    if (p->frame)
        block_send_for_slot(&p->frame->block, hash);
}

void sst_probe_row(const struct sst_probe *p, uint64_t hash)
{
    if (p->frame)
        block_send_for_row(&p->frame->block, hash);
}

/* Look for the key in its block. */
static void store_find(struct sst_store *s, struct sst_frame *f, odb_slice key, uint64_t hash,
                       uint64_t trailer, struct sst_hit *out)
{
    uint32_t row = block_find(&f->block, key, hash, trailer);

    store_count(s, STORE_FILTER_PASSES, 1);
    out->is_found = row < f->block.count;
    if (!out->is_found) {
        store_count(s, STORE_FILTER_FALSE, 1);
        return;
    }
    out->trailer = block_trailer(&f->block, row);
    out->value = block_value(&f->block, row);
    out->frame = f;
}

/* Not resident, or not even open. */
static odb_status store_get_slow(struct sst_store *s, struct sst_ref *ref, odb_slice key,
                                 uint64_t hash, uint64_t trailer, struct sst_hit *out)
{
    struct sst_table *t;
    struct sst_frame *f;
    bool is_gone;
    odb_status st;

    do {
        st = store_table(s, ref, &t);
        if (st != ODB_OK)
            return st;
        if (!filter_may_contain(&t->filter, hash)) {
            store_count(s, STORE_FILTER_REJECTS, 1);
            out->is_found = false;
            return ODB_OK;
        }
        st = store_frame(s, t, index_find(&t->index, key, trailer), &f, &is_gone);
        if (st != ODB_OK)
            return st;
    } while (ODB_UNLIKELY(is_gone));
    store_find(s, f, key, hash, trailer, out);
    return ODB_OK;
}

odb_status sst_probe_get(struct sst_store *s, struct sst_ref *ref, struct sst_probe *p,
                         odb_slice key, uint64_t hash, uint64_t trailer, struct sst_hit *out)
{
    if (!p->frame) {
        sst_probe_block(p, key, trailer);
        if (ODB_LIKELY(p->frame != NULL))
            sst_frame_prefetch(
                p->frame); /* no other work to do meanwhile: all of its head at once */
    }
    if (ODB_UNLIKELY(!p->frame))
        return store_get_slow(s, ref, key, hash, trailer, out);
    store_note_used(p->table);
    sst_frame_touch(p->frame);
    store_count(s, STORE_BLOCK_HITS, 1);
    store_find(s, p->frame, key, hash, trailer, out);
    return ODB_OK;
}

odb_status sst_get(struct sst_store *s, struct sst_ref *ref, odb_slice key, uint64_t hash,
                   uint64_t trailer, struct sst_hit *out)
{
    struct sst_probe p;

    if (sst_probe_excludes(s, ref, hash)) {
        out->is_found = false;
        return ODB_OK;
    }
    sst_probe_begin(ref, key, &p);
    return sst_probe_get(s, ref, &p, key, hash, trailer, out);
}

void sst_pin(struct sst_frame *frame)
{
    sst_frame_pin(frame);
}

void sst_unpin(struct sst_frame *frame)
{
    sst_frame_unpin(frame);
}

ODB_COLD uint64_t sst_offset_of(struct sst_store *s, struct sst_ref *ref, odb_slice key)
{
    struct epoch_guard g = epoch_enter(s->opt.epoch);
    struct sst_table *t;
    uint64_t off = 0;

    if (store_table(s, ref, &t) == ODB_OK)
        off = t->index.block_off[index_find(&t->index, key, INDEX_ANY)];
    epoch_leave(g);
    return off;
}
