/* vector/upkeep.c -- rebuilding, loading much, looking in. */
#include "vector/hits.h"

#include <math.h>

#include "base/alloc.h"

/* ---- rebuilding ---- */

static void change_config(odb_vec_config *c, const odb_vec_config *to)
{
    if (to->m)
        c->m = to->m;
    if (to->ef_construction)
        c->ef_construction = to->ef_construction;
    if (to->seed)
        c->seed = to->seed;
    if (to->form)
        c->form = to->form;
    if (to->ef_search)
        c->ef_search = to->ef_search;
}

odb_status odb_vec_rebuild(odb_db *db, const odb_vec_config *config, uint32_t threads,
                           odb_progress *progress, void *arg)
{
    struct vec_index *ix;
    odb_vec_config before;
    odb_status st = config ? vec_check_config(config) : ODB_OK, stored;

    if (st == ODB_OK)
        st = vec_index_of(db, &ix);
    if (st != ODB_OK || atomic_load(&ix->state) != VEC_READY)
        return st;
    os_mutex_lock(&ix->open_lock);
    os_mutex_lock(&ix->write_lock);
    before = ix->config;
    if (config) {
        change_config(&ix->config, config);
        st = vec_store_config(ix);
    }
    if (st == ODB_OK)
        st = vec_load(ix, true);
    else
        change_config(&ix->config, &before); /* back; the rest is read freely */
    if (st == ODB_OK) {
        if (ix->config.mode != ODB_VEC_EXACT)
            st = vec_apply_all(ix, threads, progress, arg);
        stored = vec_flush(ix);
        st = st == ODB_OK ? stored : st;
    }
    os_mutex_unlock(&ix->write_lock);
    os_mutex_unlock(&ix->open_lock);
    return st;
}

/* ---- loading much ---- */

struct odb_vec_bulk {
    odb_db *db;
    struct vec_index *ix; /* NULL until the first vector */
    odb_vec_bulk_options opt;
    struct buf ids;
    float *x;
    uint32_t *id_len, *slot;
    uint32_t dim, count;
};

odb_status odb_vec_bulk_begin(odb_db *db, const odb_vec_bulk_options *opt, odb_vec_bulk **out)
{
    struct odb_vec_bulk *b;
    struct vec_index *ix;
    odb_status st = ODB_OK;

    if (opt && opt->size < sizeof *opt)
        st = err_set(ODB_INVALID, "odb_vec_bulk_options.size is not set");
    if (opt && opt->batch > 65536)
        st = err_set(ODB_INVALID, "odb_vec_bulk_options.batch is at most 65536");
    if (st == ODB_OK)
        st = vec_index_of(db, &ix);
    if (st != ODB_OK)
        return st;
    b = mem_zalloc(1, sizeof *b);
    if (!b)
        return err_set(ODB_NOMEM, "bulk load: no memory");
    b->db = db;
    if (opt)
        b->opt = *opt;
    if (b->opt.batch == 0)
        b->opt.batch = 256;
    b->ix = ix;
    atomic_fetch_add(&ix->bulks, 1);
    *out = b;
    return ODB_OK;
}

/* All that was added since the last one, in one commit. */
static odb_status bulk_commit_once(struct odb_vec_bulk *b)
{
    odb_txn *t = NULL;
    size_t at = 0;
    odb_status st = odb_txn_begin(b->db, NULL, &t);

    for (uint32_t i = 0; i < b->count; i++)
        b->slot[i] = VEC_NONE;
    for (uint32_t i = 0; i < b->count && st == ODB_OK; i++) {
        const float *x = b->x + (size_t)i * b->dim;
        odb_slice id = odb_bytes(b->ids.p + at, b->id_len[i]);
        float norm;

        at += b->id_len[i];
        st = vec_check_vector(b->ix, x, b->dim, &norm);
        if (st == ODB_OK)
            st = vec_put_in(b->ix, t, id, x, b->dim, norm, &b->slot[i]);
    }
    if (st == ODB_OK)
        st = odb_txn_commit(t, NULL);
    odb_txn_free(t);
    if (st != ODB_OK && st != ODB_UNKNOWN)
        for (uint32_t i = 0; i < b->count; i++) {
            bool twice = false; /* an id given twice has one slot */

            for (uint32_t k = 0; k < i && !twice; k++)
                twice = b->slot[k] == b->slot[i];
            if (b->slot[i] != VEC_NONE && !twice)
                vec_slot_return(b->ix, b->slot[i]);
        }
    return st;
}

static odb_status bulk_commit(struct odb_vec_bulk *b)
{
    odb_status st = ODB_OK;

    if (b->count == 0)
        return ODB_OK;
    for (int tries = 0; tries < 100; tries++) {
        st = bulk_commit_once(b);
        if (!odb_txn_should_retry(st))
            break;
    }
    if (st == ODB_OK) {
        b->count = 0;
        buf_reset(&b->ids);
    }
    return st;
}

odb_status odb_vec_bulk_add(odb_vec_bulk *b, odb_slice id, const float *vector, uint32_t dim)
{
    odb_status st = vec_check_id(id);
    float norm;

    if (st == ODB_OK)
        st = vec_check_vector(b->ix, vector, dim, &norm);
    if (st == ODB_OK && atomic_load(&b->ix->state) != VEC_READY)
        st = vec_index_begin(b->ix, dim);
    if (st == ODB_OK)
        st = vec_check_vector(b->ix, vector, dim, &norm);
    if (st == ODB_OK && !b->x) {
        b->dim = dim;
        b->x = mem_array((size_t)b->opt.batch * dim, sizeof *b->x);
        b->id_len = mem_array(b->opt.batch, sizeof *b->id_len);
        b->slot = mem_array(b->opt.batch, sizeof *b->slot);
        if (!b->x || !b->id_len || !b->slot) {
            mem_free(b->x);
            mem_free(b->id_len);
            mem_free(b->slot);
            b->x = NULL;
            b->id_len = b->slot = NULL;
            st = err_set(ODB_NOMEM, "bulk load: no memory for a batch");
        }
    }
    if (st == ODB_OK && b->count == b->opt.batch)
        st = bulk_commit(b);
    if (st == ODB_OK)
        st = buf_append(&b->ids, id.data, id.size);
    if (st != ODB_OK)
        return st;
    b->id_len[b->count] = (uint32_t)id.size;
    memcpy(b->x + (size_t)b->count * dim, vector, dim * sizeof *vector);
    b->count++;
    return ODB_OK;
}

void odb_vec_bulk_abort(odb_vec_bulk *b)
{
    if (!b)
        return;
    atomic_fetch_sub(&b->ix->bulks, 1);
    buf_release(&b->ids);
    mem_free(b->x);
    mem_free(b->id_len);
    mem_free(b->slot);
    mem_free(b);
}

odb_status odb_vec_bulk_finish(odb_vec_bulk *b)
{
    struct vec_index *ix = b->ix;
    odb_status st = bulk_commit(b), stored;

    if (st == ODB_OK && atomic_load(&ix->state) == VEC_READY) {
        os_mutex_lock(&ix->write_lock);
        if (ix->config.mode != ODB_VEC_EXACT && !atomic_load(&ix->is_stale)) {
            st = vec_apply_all(ix, b->opt.threads, b->opt.progress, b->opt.arg);
            stored = vec_flush(ix);
            st = st == ODB_OK ? stored : st;
        }
        os_mutex_unlock(&ix->write_lock);
    }
    odb_vec_bulk_abort(b);
    return st;
}

/* ---- looking in ---- */

odb_status odb_vec_stats(odb_db *db, odb_vec_stats_t *out)
{
    odb_vec_stats_t s = {.size = out->size};
    struct vec_index *ix;
    uint64_t entry;
    odb_status st = vec_index_of(db, &ix);

    if (st != ODB_OK)
        return st;
    if (out->size < sizeof s)
        return err_set(ODB_INVALID, "odb_vec_stats_t.size is not set");
    if (atomic_load(&ix->state) == VEC_READY) {
        os_mutex_lock(&ix->write_lock); /* the arena stays */
        os_mutex_lock(&ix->slot_lock);
        s.live = atomic_load(&ix->live);
        s.dead = atomic_load(&ix->dead);
        s.pending = ix->pending.len - ix->pending_head;
        s.slots = atomic_load(&ix->a.slot_count);
        s.bytes = vec_index_bytes(ix);
        entry = atomic_load(&ix->a.entry);
        s.levels = entry == VEC_NEVER ? 0 : (uint32_t)(entry >> 32) + 1;
        for (size_t i = 0; i < ix->linked_words; i++)
            for (uint64_t w = ix->linked[i]; w; w &= w - 1)
                s.linked++;
        s.form = (odb_vec_form)(ix->a.space.form + 1);
        s.kernel = ix->a.kernel ? ix->a.kernel->name : NULL;
        os_mutex_unlock(&ix->slot_lock);
        os_mutex_unlock(&ix->write_lock);
        s.is_stale = atomic_load(&ix->is_stale);
    }
    s.damaged = atomic_load(&ix->damaged);
    s.searches = atomic_load(&ix->searches);
    s.distances = atomic_load(&ix->distances);
    s.inserts = atomic_load(&ix->inserts);
    s.flushes = atomic_load(&ix->flushes);
    s.rebuilds = atomic_load(&ix->rebuilds);
    s.compactions = atomic_load(&ix->compactions);
    *out = s;
    return ODB_OK;
}

/* ---- verifying ---- */

struct verifying {
    struct vec_index *ix;
    odb_at at;
    odb_vec_report *r;
    uint64_t *data, *node, *dead, *pending; /* by node id */
    size_t words;
};

static bool note_bit(struct verifying *v, uint64_t *bits, uint32_t nid)
{
    uint64_t mask = (uint64_t)1 << (nid & 63);
    bool was;

    if (nid / 64 >= v->words)
        return false;
    was = (bits[nid / 64] & mask) != 0;
    bits[nid / 64] |= mask;
    return !was;
}

static bool accept_level(void *arg, unsigned level, uint32_t count)
{
    (void)arg;
    (void)level;
    (void)count;
    return true;
}

static bool accept_link(void *arg, uint32_t id)
{
    struct verifying *v = arg;

    return id / 64 < v->words && vec_bit(v->node, id);
}

static void verify_data(struct verifying *v, odb_slice key, odb_slice value)
{
    struct vec_data d;

    (void)key;
    v->r->rows++;
    if (vec_data_read(value, &d) || d.dim != v->ix->config.dim)
        v->r->bad_rows++;
    else if (!note_bit(v, v->data, d.nid))
        v->r->doubles++;
}

static void verify_mark(struct verifying *v, odb_slice key, odb_slice value)
{
    uint32_t nid;
    char kind;

    (void)value;
    if (!vec_key_read(key, &kind, &nid)) {
        v->r->bad_nodes++;
        return;
    }
    if (kind == VEC_KEY_META)
        return;
    v->r->nodes += kind == VEC_KEY_NODE;
    if (!note_bit(v,
                  kind == VEC_KEY_NODE   ? v->node
                  : kind == VEC_KEY_DEAD ? v->dead
                                         : v->pending,
                  nid))
        v->r->bad_nodes++;
}

static void verify_links(struct verifying *v, odb_slice key, odb_slice value)
{
    struct vec_links_sink sink = {accept_level, accept_link, v};
    struct vec_space space = {.m = v->ix->config.m, .seed = v->ix->config.seed};
    uint32_t nid;
    char kind;

    if (vec_key_read(key, &kind, &nid) && kind == VEC_KEY_NODE &&
        vec_links_read(value, &space, vec_level_of(&space, nid), &sink))
        v->r->bad_nodes++;
}

static odb_status verify_family(struct verifying *v, odb_cf *cf,
                                void (*each)(struct verifying *, odb_slice, odb_slice))
{
    odb_range range = {.is_long = true};
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(v->at, cf, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it))
        each(v, odb_iter_key(it), odb_iter_value(it));
    st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

/* Under write_lock. */
static odb_status count_unreachable(struct vec_index *ix, uint64_t *out)
{
    uint32_t slots = atomic_load(&ix->a.slot_count), *stack;
    uint64_t *found = mem_zalloc((size_t)slots / 64 + 1, sizeof *found);

    stack = mem_array(slots ? slots : 1, sizeof *stack);
    if (found && stack) {
        (void)vec_reach(&ix->a, found, stack, slots);
        for (uint32_t slot = 0; slot < slots; slot++)
            *out +=
                slot / 64 < ix->linked_words && vec_bit(ix->linked, slot) && !vec_bit(found, slot);
    }
    mem_free(stack);
    mem_free(found);
    return found && stack ? ODB_OK : err_set(ODB_NOMEM, "vector index: no memory to verify it");
}

/* Islands come about now and then while vectors come one by one, and are found from time to time: no
 * fault. One that stays is. */
static odb_status verify_reach(struct verifying *v, uint64_t *stay)
{
    struct vec_index *ix = v->ix;
    odb_status st = count_unreachable(ix, &v->r->unreachable);

    if (st != ODB_OK || !v->r->unreachable || atomic_load(&ix->is_readonly))
        return st;
    st = vec_mend(ix);
    if (st == ODB_OK)
        st = count_unreachable(ix, stay);
    return st == ODB_OK ? vec_flush(ix) : st;
}

static odb_status sample_recall(struct verifying *v, odb_slice id, const float *x, uint64_t *hit,
                                uint64_t *all)
{
    odb_vec_search how = {.size = sizeof how, .k = 10, .ef = v->r->ef};
    odb_vec_hits *found = NULL, *truth = NULL;
    odb_status st = odb_vec_find(v->at, x, v->ix->config.dim, &how, &found);

    (void)id;
    how.exact = true;
    if (st == ODB_OK)
        st = odb_vec_find(v->at, x, v->ix->config.dim, &how, &truth);
    for (size_t i = 0; st == ODB_OK && i < truth->count; i++) {
        bool same = vec_hits_have(found, vec_hits_id(truth, i));

        for (size_t k = 0; k < found->count && !same; k++) /* as near is as good */
            same = found->hit[k].distance == truth->hit[i].distance;
        *hit += same;
        *all += 1;
    }
    odb_vec_hits_free(found);
    odb_vec_hits_free(truth);
    return st;
}

static odb_status verify_recall(struct verifying *v, uint32_t sample)
{
    uint64_t step = v->r->rows / sample + 1, i = 0, hit = 0, all = 0;
    float *x = mem_array(v->ix->config.dim, sizeof *x);
    odb_iter *it = NULL;
    odb_status st = x ? odb_iter_new(v->at, v->ix->data, NULL, &it)
                      : err_set(ODB_NOMEM, "vector index: no memory to verify it");

    for (bool ok = st == ODB_OK && odb_iter_first(it); ok && st == ODB_OK;
         ok = odb_iter_next(it), i++) {
        struct vec_data d;

        if (i % step ||
            vec_data_read(odb_bytes(odb_iter_value(it).data, odb_iter_value(it).size), &d) ||
            d.dim != v->ix->config.dim)
            continue;
        vec_data_floats(&d, x);
        for (uint32_t k = 0; k < d.dim; k++) /* beside a stored vector, not on it */
            x[k] += (k & 1 ? 0.05f : -0.05f) * d.norm / sqrtf((float)d.dim);
        st = sample_recall(v, odb_iter_key(it), x, &hit, &all);
        v->r->sampled++;
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    mem_free(x);
    v->r->recall = all ? (double)hit / (double)all : 1.0;
    return st;
}

odb_status odb_vec_verify(odb_db *db, uint32_t sample, odb_vec_report *out)
{
    odb_vec_report r = {.size = out->size, .ef = out->ef, .recall = 1.0};
    struct verifying v = {.r = &r};
    odb_snapshot *snapshot = NULL;
    uint64_t stay = 0;
    odb_status st = vec_index_of(db, &v.ix);

    if (st != ODB_OK)
        return st;
    if (out->size < sizeof r)
        return err_set(ODB_INVALID, "odb_vec_report.size is not set");
    if (atomic_load(&v.ix->state) != VEC_READY) {
        *out = r;
        return ODB_OK;
    }
    os_mutex_lock(&v.ix->write_lock); /* what is stored and what is linked stay together */
    os_mutex_lock(&v.ix->slot_lock);
    if (v.ix->is_loading) /* and failed: a load holds the lock */
        st = vec_load_error(v.ix);
    os_mutex_unlock(&v.ix->slot_lock);
    if (st == ODB_OK)
        st = vec_flush(v.ix);
    if (st == ODB_OK || st == ODB_READONLY) /* what is stored can be looked at all the same */
        st = odb_snapshot_new(db, &snapshot);
    v.at = odb_asof(snapshot);
    v.words = (size_t)atomic_load(&v.ix->a.slot_count) / 64 + 1;
    v.data = mem_zalloc(v.words, 8);
    v.node = mem_zalloc(v.words, 8);
    v.dead = mem_zalloc(v.words, 8);
    v.pending = mem_zalloc(v.words, 8);
    if (st == ODB_OK && (!v.data || !v.node || !v.dead || !v.pending))
        st = err_set(ODB_NOMEM, "vector index: no memory to verify it");
    if (st == ODB_OK)
        st = verify_family(&v, v.ix->data, verify_data);
    if (st == ODB_OK)
        st = verify_family(&v, v.ix->graph, verify_mark);
    if (st == ODB_OK)
        st = verify_family(&v, v.ix->graph, verify_links);
    for (uint32_t nid = 0; st == ODB_OK && nid < v.words * 64; nid++) {
        r.missing += vec_bit(v.data, nid) && !vec_bit(v.node, nid) && !vec_bit(v.pending, nid);
        r.orphans += vec_bit(v.node, nid) && !vec_bit(v.data, nid) && !vec_bit(v.dead, nid);
    }
    if (st == ODB_OK && !atomic_load(&v.ix->is_stale))
        st = verify_reach(&v, &stay);
    os_mutex_unlock(&v.ix->write_lock);
    if (st == ODB_OK && r.rows)
        st = verify_recall(&v, sample ? sample : 100);
    odb_snapshot_free(snapshot);
    mem_free(v.data);
    mem_free(v.node);
    mem_free(v.dead);
    mem_free(v.pending);
    if (st == ODB_OK) {
        *out = r;
        if (r.bad_rows || r.bad_nodes || r.missing || r.orphans || r.doubles || stay)
            st = err_corrupt(ODB_FAMILY_VECTOR_INDEX, 0, "the vectors and their graph disagree");
    }
    return st;
}
