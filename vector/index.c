/* vector/index.c -- opening an index, handing out slots, following commits.
 *
 * The observer is told of every commit before anyone can read it. A vector's row names the slot its
 * writer reserved; the row's floats become the slot's code there and then, so that what is indexed is
 * what was committed, whatever the transaction did on its way.
 *
 * Which node stands for an id now is told by a table of slots hashed by their ids; the node of a row
 * that is replaced or deleted is ended. A batch may name a key several times: the last one counts.
 *
 * Somebody who writes to vector_data by hand cannot be kept out, but is noticed, unless he deletes, which
 * is as good as any deletion: a row that names a slot nobody reserved for its id sets `is_stale`, and
 * the rows themselves are searched until a rebuild.
 */
#include "vector/index.h"

#include <assert.h>
#include <math.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "base/hash.h"

#define STATE_NAME "odb.vector"
#define LIST_KEPT  4096 /* places a list may keep for what comes */

/* ---- lists ---- */

odb_status vec_list_reserve(struct vec_list *list, size_t count)
{
    size_t cap = list->cap ? list->cap : 256;
    uint32_t *more;

    if (count <= list->cap)
        return ODB_OK;
    while (cap < count)
        cap *= 2;
    more = mem_realloc(list->slot, cap * sizeof *more);
    if (!more)
        return err_set(ODB_NOMEM, "vector index: no memory for a list of %zu slots", cap);
    list->slot = more;
    list->cap = cap;
    return ODB_OK;
}

odb_status vec_list_add(struct vec_list *list, uint32_t slot)
{
    odb_status st = vec_list_reserve(list, list->len + 1);

    if (st == ODB_OK)
        list->slot[list->len++] = slot;
    return st;
}

/* A list that has grown large and holds nothing any more gives its memory back, but for `keep` places. */
void vec_list_shrink(struct vec_list *list, size_t keep)
{
    uint32_t *less;

    if (list->len || list->cap <= LIST_KEPT || list->cap / 4 <= keep)
        return;
    less = mem_realloc(list->slot, (keep + 1) * sizeof *less);
    if (less) {
        list->slot = less;
        list->cap = keep + 1;
    }
}

/* ---- which slot stands for an id: open addressing, under slot_lock. A byte of the hash beside each
 * place spares looking at most names that are others; 0 is a free place, 1 one that was left. At most
 * seven in eight places are not free. ---- */

#define TAG_FREE 0
#define TAG_LEFT 1

struct id_key {
    odb_slice id;
    size_t home; /* the place looked at first */
    uint8_t tag;
};

static struct id_key key_of_id(const struct vec_index *ix, odb_slice id)
{
    uint64_t hash = hash64(id.data, id.size);
    uint8_t tag = (uint8_t)hash;

    return (struct id_key){id, (size_t)((hash >> 32) * ix->map_cap >> 32),
                           tag > TAG_LEFT ? tag : (uint8_t)(tag + 2)};
}

static odb_slice name_of_slot(const struct vec_index *ix, uint32_t slot)
{
    const struct vec_id *id = vec_name(&ix->a, slot);

    return id ? odb_bytes(id->bytes, id->len) : odb_bytes(NULL, 0);
}

/* The place of an id, or map_cap; *room is where it may be put. */
static size_t find_in_map(const struct vec_index *ix, const struct id_key *key, size_t *room)
{
    size_t at = key->home, first_left = ix->map_cap;

    for (; ix->map_tag[at] != TAG_FREE; at = at + 1 == ix->map_cap ? 0 : at + 1) {
        if (ix->map_tag[at] == key->tag && odb_slice_equal(name_of_slot(ix, ix->map[at]), key->id))
            return at;
        if (ix->map_tag[at] == TAG_LEFT && first_left == ix->map_cap)
            first_left = at;
    }
    *room = first_left == ix->map_cap ? at : first_left;
    return ix->map_cap;
}

odb_status vec_map_reserve(struct vec_index *ix, size_t count)
{
    /* The first table is for those that are stored; afterwards it grows by nearly a third. */
    size_t cap = count + count / (ix->map_cap ? 2 : 4) + 256, old_cap = ix->map_cap;
    uint32_t *old = ix->map, *map;
    uint8_t *old_tag = ix->map_tag, *tag;

    /* What is asked for comes on top of what is there or was left. */
    if (ix->map_used + (count - ix->map_len) <= ix->map_cap / 8 * 7)
        return ODB_OK;
    map = mem_array(cap, sizeof *map);
    tag = mem_zalloc(cap, sizeof *tag);
    if (!map || !tag || cap > UINT32_MAX) {
        mem_free(map);
        mem_free(tag);
        return err_set(ODB_NOMEM, "vector index: no memory for a table of %zu ids", cap);
    }
    ix->map = map;
    ix->map_tag = tag;
    ix->map_cap = cap;
    ix->map_used = ix->map_len = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old_tag[i] > TAG_LEFT)
            (void)vec_map_put(ix, old[i]);
    mem_free(old);
    mem_free(old_tag);
    return ODB_OK;
}

uint32_t vec_map_put(struct vec_index *ix, uint32_t slot)
{
    struct id_key key = key_of_id(ix, name_of_slot(ix, slot));
    size_t room = 0, at = find_in_map(ix, &key, &room);
    uint32_t was;

    if (at < ix->map_cap) {
        was = ix->map[at];
        ix->map[at] = slot;
        return was;
    }
    ix->map_used += ix->map_tag[room] == TAG_FREE;
    ix->map_len++;
    ix->map[room] = slot;
    ix->map_tag[room] = key.tag;
    return VEC_NONE;
}

uint32_t vec_map_take(struct vec_index *ix, odb_slice id)
{
    struct id_key key;
    size_t room, at;

    if (ix->map_cap == 0)
        return VEC_NONE;
    key = key_of_id(ix, id);
    at = find_in_map(ix, &key, &room);
    if (at == ix->map_cap)
        return VEC_NONE;
    ix->map_tag[at] = TAG_LEFT;
    ix->map_len--;
    return ix->map[at];
}

/* ---- checks ---- */

odb_status vec_check_id(odb_slice id)
{
    if (!id.data || id.size == 0 || id.size > ODB_VEC_ID_MAX)
        return err_set(ODB_INVALID, "vector id of %zu bytes: it must have 1 to %d", id.size,
                       ODB_VEC_ID_MAX);
    return ODB_OK;
}

odb_status vec_check_vector(struct vec_index *ix, const float *x, uint32_t dim, float *norm)
{
    double sum[4] = {0};
    odb_metric metric;
    uint32_t want;
    bool odd = false;

    /* What the first vector fixes may be read freely from then on. */
    if (atomic_load(&ix->state) == VEC_READY) {
        want = ix->config.dim;
        metric = ix->config.metric;
    } else {
        os_mutex_lock(&ix->open_lock);
        want = ix->config.dim;
        metric = ix->config.metric;
        os_mutex_unlock(&ix->open_lock);
    }
    if (!x || dim == 0 || dim > ODB_VEC_DIM_MAX)
        return err_set(ODB_INVALID, "vector of dimension %u: it must have 1 to %d", dim,
                       ODB_VEC_DIM_MAX);
    if (want && dim != want)
        return err_set(ODB_INVALID, "vector of dimension %u, but the index has %u", dim, want);
    for (uint32_t i = 0; i < dim; i++) {
        odd |= !(fabsf(x[i]) <= 1e18f); /* also what is no number; squares must stay finite */
        sum[i % 4] += (double)x[i] * (double)x[i];
    }
    for (uint32_t i = 0; odd && i < dim; i++)
        if (!(fabsf(x[i]) <= 1e18f))
            return err_set(ODB_INVALID,
                           "vector component %u is not a number between -1e18 and 1e18", i);
    *norm = (float)sqrt(sum[0] + sum[1] + sum[2] + sum[3]);
    if (metric == ODB_METRIC_COSINE && !(*norm > 1e-18f))
        return err_set(ODB_INVALID, "a vector of zeros has no direction, which cosine asks for");
    return ODB_OK;
}

/* ---- slots ---- */

static void set_name(struct vec_index *ix, uint32_t slot, uint32_t ref)
{
    vec_name_drop(&ix->a, vec_name_set(&ix->a, slot, ref));
}

bool vec_loaded_wait(struct vec_index *ix)
{
    while (ix->is_loading && ix->load_failed == ODB_OK)
        os_cond_wait(&ix->loaded, &ix->slot_lock);
    return !ix->is_loading;
}

odb_status vec_load_error(const struct vec_index *ix)
{
    return err_set(ix->load_failed,
                   "vector index: loading it failed, odb_vec_rebuild() tries again");
}

bool vec_slot_reserved(const struct vec_index *ix, uint32_t slot)
{
    return vec_slot_exists(&ix->a, slot) && vec_begin(&ix->a, slot) == VEC_NEVER &&
           vec_name(&ix->a, slot);
}

/* The markers of a slot that is used again were removed by a commit, which conflicts with the writes of
 * whoever began before: he gets a slot nobody has had. */
odb_status vec_slot_take(struct vec_index *ix, odb_slice id, uint64_t moment, uint32_t *out)
{
    odb_status st = ODB_OK;
    uint32_t slot, name;
    bool again;

    os_mutex_lock(&ix->slot_lock);
    if (!vec_loaded_wait(ix)) {
        st = vec_load_error(ix);
        goto done;
    }
    /* The observer cannot fail: there is room for this one among the pending now. */
    st = vec_list_reserve(&ix->pending, ix->pending.len + ix->reserved + 1);
    if (st == ODB_OK)
        st = vec_map_reserve(ix, ix->map_len + ix->reserved + 1);
    if (st != ODB_OK)
        goto done;
    again = ix->free.len && moment >= ix->freed;
    if (again) {
        slot = ix->free.slot[ix->free.len - 1];
        st =
            vec_arena_grow(&ix->a, slot); /* where loading has seen no row, there may be none yet */
    } else {
        slot = atomic_load_explicit(&ix->a.slot_count, memory_order_relaxed);
        st = vec_arena_grow(&ix->a, slot);
    }
    if (st == ODB_OK)
        st = vec_name_add(&ix->a, id, &name);
    if (st != ODB_OK)
        goto done;
    if (again)
        ix->free.len--;
    else
        atomic_store_explicit(&ix->a.slot_count, slot + 1, memory_order_release);
    ix->reserved++;
    set_name(ix, slot, name);
    *out = slot;
done:
    os_mutex_unlock(&ix->slot_lock);
    return st;
}

void vec_slot_return(struct vec_index *ix, uint32_t slot)
{
    os_mutex_lock(&ix->slot_lock);
    if (vec_loaded_wait(ix) && vec_slot_reserved(ix, slot)) { /* else a gap until the next open */
        set_name(ix, slot, 0);
        ix->reserved--;
        err_ignore(vec_list_add(&ix->free, slot)); /* else a gap until the next open */
    }
    os_mutex_unlock(&ix->slot_lock);
}

odb_status vec_scratch_take(struct vec_index *ix, size_t ef, struct vec_scratch **out)
{
    struct vec_scratch *s;
    odb_status st;

    os_mutex_lock(&ix->slot_lock);
    s = ix->idle;
    if (s)
        ix->idle = s->next;
    os_mutex_unlock(&ix->slot_lock);
    if (!s)
        s = mem_zalloc(1, sizeof *s);
    if (!s)
        return err_set(ODB_NOMEM, "vector index: no memory for a search");
    st = vec_scratch_prepare(s, &ix->a, ef, 64);
    if (st == ODB_OK)
        *out = s;
    else
        vec_scratch_return(ix, s);
    return st;
}

void vec_scratch_return(struct vec_index *ix, struct vec_scratch *s)
{
    if (!s)
        return;
    os_mutex_lock(&ix->slot_lock);
    s->next = ix->idle;
    ix->idle = s;
    os_mutex_unlock(&ix->slot_lock);
}

/* All memory of the index. Under write_lock and slot_lock. */
uint64_t vec_index_bytes(const struct vec_index *ix)
{
    uint64_t sum = sizeof *ix + vec_arena_bytes(&ix->a) + vec_scratch_bytes(&ix->writer);

    sum += (sizeof *ix->map + sizeof *ix->map_tag) * ix->map_cap;
    sum += sizeof *ix->free.slot * (ix->free.cap + ix->pending.cap + ix->done.cap + ix->gone.cap);
    sum += sizeof *ix->dirty.slot * ix->dirty.cap + sizeof *ix->linked * ix->linked_words;
    for (const struct vec_scratch *s = ix->idle; s; s = s->next)
        sum += vec_scratch_bytes(s);
    return sum;
}

/* ---- following commits ---- */

struct seen {
    struct vec_index *ix;
    uint64_t sequence;
    bool is_foreign;
};

/* The vector of this slot, if it is one, is no more. */
static void end_node(struct seen *s, uint32_t slot)
{
    struct vec_index *ix = s->ix;

    if (slot == VEC_NONE)
        return;
    vec_end_set(&ix->a, slot, s->sequence);
    atomic_fetch_sub_explicit(&ix->live, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&ix->dead, 1, memory_order_relaxed);
}

static bool encode_row(struct vec_index *ix, const struct vec_data *d)
{
    float floats[1024], *x = floats;

    if (d->dim > sizeof floats / sizeof *floats)
        x = mem_array(d->dim, sizeof *x);
    if (!x)
        return false;
    vec_data_floats(d, x);
    ix->a.kernel->encode[ix->a.space.form](x, vec_factor(ix, d->norm), d->dim,
                                           vec_row(&ix->a, d->nid));
    if (x != floats)
        mem_free(x);
    return true;
}

static void see_vector(struct seen *s, const odb_op *op)
{
    struct vec_index *ix = s->ix;
    struct vec_data d;
    odb_slice id;
    uint64_t begin;

    if (vec_data_read(op->value, &d) || d.dim != ix->a.space.dim ||
        !vec_slot_exists(&ix->a, d.nid)) {
        s->is_foreign = true;
        return;
    }
    id = name_of_slot(ix, d.nid);
    begin = vec_begin(&ix->a, d.nid);
    if (!id.data || !odb_slice_equal(id, op->key) || (begin != VEC_NEVER && begin != s->sequence) ||
        !encode_row(ix, &d)) {
        s->is_foreign = true; /* or memory ran out: not known either */
        return;
    }
    if (begin == s->sequence)
        return; /* put twice by one transaction: the later one counts */
    end_node(s, vec_map_put(ix, d.nid));
    vec_begin_set(&ix->a, d.nid, s->sequence);
    assert(ix->pending.len < ix->pending.cap);
    ix->pending.slot[ix->pending.len++] = d.nid;
    ix->reserved--;
    atomic_fetch_add_explicit(&ix->pending_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&ix->live, 1, memory_order_relaxed);
}

static bool see_op(void *arg, const odb_op *op)
{
    struct seen *s = arg;

    if (op->family != s->ix->data_no)
        return true;
    if (op->is_delete)
        end_node(s, vec_map_take(s->ix, op->key));
    else
        see_vector(s, op);
    return true;
}

static bool find_data(void *arg, const odb_op *op)
{
    struct seen *s = arg;

    s->is_foreign = op->family == s->ix->data_no;
    return !s->is_foreign;
}

static void see_commit(void *arg, const odb_commit_info *commit)
{
    struct seen s = {arg, commit->sequence, false};
    struct vec_index *ix = s.ix;
    bool woken;

    odb_batch_each(commit->batch, find_data, &s);
    if (!s.is_foreign)
        return; /* of other families, or the graph being stored */
    s.is_foreign = false;
    os_mutex_lock(&ix->slot_lock);
    ix->told = commit->sequence;
    if (ix->is_loading || atomic_load(&ix->state) != VEC_READY) {
        ix->missed = true;
        os_mutex_unlock(&ix->slot_lock);
        return;
    }
    odb_batch_each(commit->batch, see_op, &s);
    if (s.is_foreign)
        atomic_store(&ix->is_stale, true);
    woken = ix->is_idle;
    ix->is_idle = false;
    os_mutex_unlock(&ix->slot_lock);
    if (woken)
        os_cond_signal(&ix->changed);
}

/* ---- configuration ---- */

void odb_vec_preset(odb_vec_config *config, enum odb_vec_preset preset)
{
    static const uint16_t table[3][3] = {{16, 200, 64}, {32, 400, 128}, {8, 100, 32}};
    const uint16_t *row = table[preset == ODB_VEC_ACCURATE ? 1 : preset == ODB_VEC_FAST ? 2 : 0];

    config->m = row[0];
    config->ef_construction = row[1];
    config->ef_search = row[2];
}

odb_status vec_check_config(const odb_vec_config *c)
{
    if (c->size < sizeof *c)
        return err_set(ODB_INVALID, "odb_vec_config.size is not set");
    if (c->dim > ODB_VEC_DIM_MAX || (unsigned)c->metric > ODB_METRIC_DOT ||
        (unsigned)c->form > ODB_VEC_AUTO || (unsigned)c->mode > ODB_VEC_EXACT)
        return err_set(ODB_INVALID, "odb_vec_config: dim, metric, form or mode out of range");
    if (c->m && (c->m < VEC_M_MIN || c->m > VEC_M_MAX))
        return err_set(ODB_INVALID, "odb_vec_config.m is %u: it must be %d to %d", c->m, VEC_M_MIN,
                       VEC_M_MAX);
    if (c->ef_construction > 4096 || c->ef_search > 65535 || c->seed > INT64_MAX)
        return err_set(ODB_INVALID, "odb_vec_config: ef or seed out of range");
    return ODB_OK;
}

#define FILL(field, value)                                                                         \
    do {                                                                                           \
        if (!c->field)                                                                             \
            c->field = value;                                                                      \
    } while (0)

static void fill_config(odb_vec_config *c)
{
    c->size = sizeof *c;
    FILL(metric, ODB_METRIC_L2);
    FILL(form, ODB_VEC_F32);
    FILL(m, 16);
    FILL(ef_construction, 200);
    FILL(seed, 1);
    FILL(ef_search, 64);
    FILL(flat_max, 8192);
    FILL(pending_max, 1024);
    FILL(flush_every, 4096);
#ifdef ODB_WITH_THREADS
    FILL(mode, ODB_VEC_ASYNC);
#else
    FILL(mode, ODB_VEC_MANUAL);
#endif
}

#undef FILL

/* What is asked for, over what is stored. ODB_INVALID: they contradict each other. */
static odb_status merge_config(const odb_vec_config *asked, const odb_vec_config *stored,
                               odb_vec_config *out)
{
    *out = *stored;
    if (!asked)
        return ODB_OK;
    if (asked->dim && stored->dim && asked->dim != stored->dim)
        return err_set(ODB_INVALID, "the vectors of this database have dimension %u, not %u",
                       stored->dim, asked->dim);
    if (asked->metric && stored->metric && asked->metric != stored->metric)
        return err_set(ODB_INVALID, "the vectors of this database have another metric (%d, not %d)",
                       (int)stored->metric, (int)asked->metric);
    if ((asked->m && stored->m && asked->m != stored->m) ||
        (asked->ef_construction && stored->ef_construction &&
         asked->ef_construction != stored->ef_construction) ||
        (asked->seed && stored->seed && asked->seed != stored->seed))
        return err_set(ODB_INVALID, "m, ef_construction and seed are changed by odb_vec_rebuild()");
#define TAKE(field)                                                                                \
    do {                                                                                           \
        if (asked->field)                                                                          \
            out->field = asked->field;                                                             \
    } while (0)
    TAKE(dim);
    TAKE(metric);
    TAKE(form);
    TAKE(m);
    TAKE(ef_construction);
    TAKE(seed);
    TAKE(ef_search);
    TAKE(flat_max);
    TAKE(pending_max);
    TAKE(flush_every);
    TAKE(mode);
#undef TAKE
    return ODB_OK;
}

/* Who cannot have a thread works as if none had been asked for. Under open_lock. */
static odb_vec_mode mode_in_force(const struct vec_index *ix)
{
    bool is_alone =
        atomic_load(&ix->state) == VEC_READY && ix->config.mode == ODB_VEC_ASYNC && !ix->thread;

    return is_alone ? ODB_VEC_MANUAL : ix->config.mode;
}

/* Whether `merged`, a wish over what is configured, asks for nothing else. Under open_lock. */
static odb_status check_in_force(const struct vec_index *ix, const odb_vec_config *merged)
{
    const odb_vec_config *now = &ix->config;

    if (merged->form != now->form || merged->ef_search != now->ef_search)
        return err_set(ODB_INVALID, "the index is open with another form or ef_search, which "
                                    "odb_vec_rebuild() changes");
    if ((merged->mode != now->mode && merged->mode != mode_in_force(ix)) ||
        merged->flat_max != now->flat_max || merged->pending_max != now->pending_max ||
        merged->flush_every != now->flush_every)
        return err_set(ODB_INVALID, "the index is open with another mode, flat_max, pending_max "
                                    "or flush_every, which stay until the database is closed");
    return ODB_OK;
}

static odb_status read_stored_config(struct vec_index *ix, odb_vec_config *out)
{
    odb_value v;
    odb_status st = odb_get(odb_now(ix->db), ix->meta, odb_s(VEC_CONFIG_KEY), &v);

    memset(out, 0, sizeof *out);
    if (st == ODB_ABSENT)
        return ODB_OK;
    if (st != ODB_OK)
        return st;
    st = vec_config_read(odb_bytes(v.data, v.size), out);
    odb_value_release(&v);
    return st;
}

odb_status vec_store_config(struct vec_index *ix)
{
    struct buf b = {0};
    odb_status st = vec_config_write(&b, &ix->config);

    if (st == ODB_OK)
        st = odb_put(ix->db, ix->meta, odb_s(VEC_CONFIG_KEY), buf_slice(&b), NULL);
    buf_release(&b);
    if (st == ODB_READONLY) {
        atomic_store_explicit(&ix->is_readonly, true, memory_order_relaxed);
        st = ODB_OK;
    }
    return st;
}

/* ---- loading ---- */

static struct vec_space space_of(const odb_vec_config *c)
{
    return (struct vec_space){
        .dim = c->dim,
        .metric = (enum vec_metric)(c->metric - 1),
        .form = c->form == ODB_VEC_AUTO ? VEC_F32 : (enum vec_form)(c->form - 1),
        .m = c->m,
        .ef_construction = c->ef_construction,
        .seed = c->seed,
    };
}

static void release_idle(struct vec_index *ix)
{
    while (ix->idle) {
        struct vec_scratch *s = ix->idle;

        ix->idle = s->next;
        vec_scratch_release(s);
        mem_free(s);
    }
}

/* Nobody who entered before is inside any more. */
static void wait_for_readers(struct vec_index *ix)
{
    uint64_t from = atomic_load(&ix->epoch.now);

    while (atomic_load(&ix->epoch.now) < from + 3) {
        (void)epoch_collect(&ix->epoch);
        if (atomic_load(&ix->epoch.now) < from + 3)
            os_thread_sleep(20000);
    }
}

/* Note who has which slot reserved: slot u32, length u32, id. Under slot_lock. */
static odb_status hold_reserved(struct vec_index *ix)
{
    uint32_t slots = atomic_load(&ix->a.slot_count);
    size_t left = ix->reserved;
    odb_status st = ODB_OK;

    for (uint32_t slot = 0; slot < slots && left && st == ODB_OK; slot++) {
        odb_slice id;
        uint8_t head[8];

        if (!vec_slot_reserved(ix, slot))
            continue;
        left--;
        id = name_of_slot(ix, slot);
        enc_u32(head, slot);
        enc_u32(head + 4, (uint32_t)id.size);
        st = buf_append(&ix->held, head, sizeof head);
        if (st == ODB_OK)
            st = buf_append(&ix->held, id.data, id.size);
    }
    return st;
}

/* From here on slots are waited for, and the observer only notes. What was noted for a load that failed stays.
 * On failure slots and observer are as they were. */
static odb_status begin_loading(struct vec_index *ix)
{
    odb_status st = ODB_OK;

    os_mutex_lock(&ix->slot_lock);
    if (!ix->is_loading)
        st = hold_reserved(ix);
    if (st == ODB_OK) {
        ix->is_loading = true;
        ix->load_failed = ODB_OK;
    } else {
        buf_release(&ix->held);
    }
    os_mutex_unlock(&ix->slot_lock);
    return st;
}

static void forget_all(struct vec_index *ix)
{
    os_mutex_lock(&ix->slot_lock);
    ix->missed = false;
    ix->free.len = ix->pending.len = ix->pending_head = ix->reserved = 0;
    atomic_store(&ix->pending_count, 0);
    mem_free(ix->map);
    mem_free(ix->map_tag);
    ix->map = NULL;
    ix->map_tag = NULL;
    ix->map_cap = ix->map_len = ix->map_used = 0;
    release_idle(ix);
    os_mutex_unlock(&ix->slot_lock);
    vec_arena_release(&ix->a);
    mem_free(ix->linked);
    ix->linked = NULL;
    ix->linked_words = 0;
    ix->dirty.len = ix->done.len = ix->gone.len = 0;
    ix->dead_outside = 0;
    ix->dirty.is_all = false;
    atomic_store(&ix->live, 0);
    atomic_store(&ix->dead, 0);
    atomic_store(&ix->damaged, 0);
    atomic_store(&ix->newest, 0);
}

/* The observer is told of a commit before anyone can read it, which is soon. Whom it was told of while it still
 * followed is in no arena but the one that is gone: the snapshot has to have him. */
static odb_status wait_for_told(struct vec_index *ix)
{
    uint64_t told, seq = 0;
    odb_status st;

    os_mutex_lock(&ix->slot_lock);
    told = ix->told;
    os_mutex_unlock(&ix->slot_lock);
    while ((st = odb_sequence(odb_now(ix->db), &seq)) == ODB_OK && seq < told)
        os_thread_sleep(20000);
    return st;
}

static odb_status load_once(struct vec_index *ix, bool anew)
{
    struct vec_space space = space_of(&ix->config);
    const struct vec_kernel *kernel = vec_kernel_choose(os_env("ODB_SIMD"));
    odb_snapshot *snapshot = NULL;
    uint64_t seq = 0;
    odb_status st;

    forget_all(ix);
    st = wait_for_told(ix);
    if (st == ODB_OK)
        st = odb_snapshot_new(ix->db, &snapshot);
    if (st == ODB_OK)
        st = odb_sequence(odb_asof(snapshot), &seq);
    if (st == ODB_OK)
        st = vec_form_choose(ix, odb_asof(snapshot), kernel, &space.form);
    if (st == ODB_OK)
        st = vec_arena_init(&ix->a, &space, kernel);
    if (st == ODB_OK)
        st = vec_load_rows(ix, odb_asof(snapshot), anew);
    odb_snapshot_free(snapshot);
    if (st == ODB_OK) {
        atomic_store(&ix->floor, seq);
        atomic_store(&ix->newest, seq);
    }
    return st;
}

odb_status vec_load(struct vec_index *ix, bool anew)
{
    odb_status st = ODB_OK;
    bool again = true;

    atomic_store(&ix->is_stale, true);
    if (atomic_load(&ix->state) == VEC_READY)
        wait_for_readers(ix);
    st = begin_loading(ix);
    if (st != ODB_OK) /* the rows are searched, and commits followed all the same */
        return st;
    for (int tries = 0; st == ODB_OK && again; tries++) {
        st = load_once(ix, anew);
        os_mutex_lock(&ix->slot_lock);
        again = st == ODB_OK && ix->missed;
        if (again && tries == 20)
            st = err_set(ODB_BUSY, "vector index: commits kept coming while it was loaded");
        if (!again && st == ODB_OK) {
            buf_release(&ix->held);
            ix->is_loading = false;
            atomic_store(&ix->form, (int)ix->a.space.form);
            atomic_store_explicit(&ix->ef_search, ix->config.ef_search, memory_order_relaxed);
            atomic_store(&ix->is_stale, false);
            atomic_store(&ix->state, VEC_READY);
        }
        os_mutex_unlock(&ix->slot_lock);
    }
    if (st != ODB_OK) { /* nothing half loaded stays: searches read the rows, vectors are refused */
        forget_all(ix);
        os_mutex_lock(&ix->slot_lock);
        ix->load_failed = st;
        os_mutex_unlock(&ix->slot_lock);
    }
    os_cond_broadcast(&ix->loaded);
    return st;
}

odb_status vec_index_begin(struct vec_index *ix, uint32_t dim)
{
    odb_status st = ODB_OK;

    os_mutex_lock(&ix->open_lock);
    os_mutex_lock(&ix->write_lock);
    if (atomic_load(&ix->state) != VEC_READY) {
        odb_vec_config before = ix->config;

        ix->config.dim = dim;
        fill_config(&ix->config);
        st = vec_store_config(ix);
        if (st == ODB_OK)
            st = vec_load(ix, false);
        if (st != ODB_OK)
            ix->config = before;
    }
    os_mutex_unlock(&ix->write_lock);
    if (st == ODB_OK)
        st = vec_indexer_start(ix);
    os_mutex_unlock(&ix->open_lock);
    return st;
}

static void close_index(odb_db *db, void *state)
{
    struct vec_index *ix = state;

    (void)db;
    vec_indexer_stop(ix);
    if (atomic_load(&ix->state) == VEC_READY) {
        os_mutex_lock(&ix->write_lock);
        err_ignore(vec_flush(ix)); /* markers tell the next open what is missing */
        os_mutex_unlock(&ix->write_lock);
    }
    if (ix->has_observer)
        err_ignore(odb_unobserve(ix->db, see_commit, ix));
    epoch_release(&ix->epoch);
    release_idle(ix);
    vec_scratch_release(&ix->writer);
    vec_arena_release(&ix->a);
    mem_free(ix->linked);
    mem_free(ix->free.slot);
    mem_free(ix->pending.slot);
    mem_free(ix->map);
    mem_free(ix->map_tag);
    mem_free(ix->done.slot);
    mem_free(ix->gone.slot);
    mem_free(ix->dirty.slot);
    buf_release(&ix->held);
    os_cond_destroy(&ix->changed);
    os_cond_destroy(&ix->loaded);
    os_mutex_destroy(&ix->open_lock);
    os_mutex_destroy(&ix->write_lock);
    os_mutex_destroy(&ix->slot_lock);
    mem_free(ix);
}

static odb_status attach_shell(odb_db *db, struct vec_index **out)
{
    struct vec_index *ix = mem_zalloc(1, sizeof *ix);
    odb_status st;

    if (!ix)
        return err_set(ODB_NOMEM, "vector index: no memory");
    ix->db = db;
    ix->os = os_posix();
    os_mutex_init(&ix->open_lock, RANK_VEC_OPEN);
    os_mutex_init(&ix->write_lock, RANK_VEC_WRITE);
    os_mutex_init(&ix->slot_lock, RANK_VEC_SLOT);
    os_cond_init(&ix->changed);
    os_cond_init(&ix->loaded);
    epoch_init(&ix->epoch);
    atomic_store(&ix->is_stale, true);
    st = odb_attach(db, STATE_NAME, ix, close_index);
    if (st != ODB_OK) {
        close_index(db, ix);
        ix = NULL;
    }
    if (st == ODB_EXISTS) {
        ix = odb_attached(db, STATE_NAME);
        st = ODB_OK;
    }
    *out = ix;
    return st;
}

/* Under open_lock, once. */
static odb_status open_index(struct vec_index *ix, const odb_vec_config *asked)
{
    odb_vec_config stored;
    odb_status st = odb_cf_open(ix->db, ODB_FAMILY_VECTOR_DATA, &ix->data);

    if (st == ODB_OK)
        st = odb_cf_open(ix->db, ODB_FAMILY_VECTOR_INDEX, &ix->graph);
    if (st == ODB_OK)
        st = odb_cf_open(ix->db, ODB_FAMILY_METADATA, &ix->meta);
    if (st != ODB_OK)
        return st;
    ix->data_no = odb_cf_id(ix->data);
    st = read_stored_config(ix, &stored);
    if (st == ODB_OK)
        st = merge_config(asked, &stored, &ix->config);
    if (st == ODB_OK && !ix->has_observer) {
        st = odb_observe(ix->db, see_commit, ix, NULL);
        ix->has_observer = st == ODB_OK;
    }
    if (st != ODB_OK)
        return st;
    if (ix->config.dim == 0) {
        atomic_store(&ix->state, VEC_EMPTY);
        return ODB_OK;
    }
    fill_config(&ix->config);
    os_mutex_lock(&ix->write_lock);
    stored.size = ix->config.size;
    if (memcmp(&stored.dim, &ix->config.dim,
               offsetof(odb_vec_config, pending_max) - offsetof(odb_vec_config, dim)) != 0)
        st = vec_store_config(ix);
    if (st == ODB_OK)
        st = vec_load(ix, false);
    os_mutex_unlock(&ix->write_lock);
    return st == ODB_OK ? vec_indexer_start(ix) : st;
}

odb_status odb_vec_open(odb_db *db, const odb_vec_config *config)
{
    struct vec_index *ix;
    odb_vec_config merged;
    uint64_t seq;
    odb_status st = config ? vec_check_config(config) : ODB_OK;

    if (st == ODB_OK)
        st = odb_sequence(odb_now(db), &seq); /* checks the handle */
    if (st != ODB_OK)
        return st;
    ix = odb_attached(db, STATE_NAME);
    if (!ix) {
        st = attach_shell(db, &ix);
        if (st != ODB_OK)
            return st;
    }
    os_mutex_lock(&ix->open_lock);
    switch (atomic_load(&ix->state)) {
    case VEC_UNOPENED: st = open_index(ix, config); break;
    case VEC_EMPTY:
        st = merge_config(config, &ix->config, &merged);
        if (st == ODB_OK)
            ix->config = merged;
        break;
    default:
        st = merge_config(config, &ix->config, &merged);
        if (st == ODB_OK)
            st = check_in_force(ix, &merged);
    }
    os_mutex_unlock(&ix->open_lock);
    if (st == ODB_OK && config && config->dim && atomic_load(&ix->state) == VEC_EMPTY)
        st = vec_index_begin(ix, config->dim);
    return st;
}

odb_status vec_index_of(odb_db *db, struct vec_index **out)
{
    struct vec_index *ix;
    odb_status st = ODB_OK;

    if (!db)
        return err_set(ODB_INVALID, "no database, or more than one place to read at");
    ix = odb_attached(db, STATE_NAME);
    if (ODB_UNLIKELY(!ix || atomic_load_explicit(&ix->state, memory_order_acquire) == VEC_UNOPENED))
        st = odb_vec_open(db, NULL);
    if (st == ODB_OK)
        *out = ix ? ix : odb_attached(db, STATE_NAME);
    return st;
}

odb_status odb_vec_config_get(odb_db *db, odb_vec_config *out)
{
    struct vec_index *ix;
    odb_status st = vec_index_of(db, &ix);

    if (st != ODB_OK)
        return st;
    os_mutex_lock(&ix->open_lock);
    *out = ix->config;
    out->mode = mode_in_force(ix);
    os_mutex_unlock(&ix->open_lock);
    fill_config(out);
    return ODB_OK;
}

uint64_t odb_vec_estimate(const odb_vec_config *config, uint64_t count, size_t id_len)
{
    odb_vec_config c = *config;
    struct vec_space space;

    fill_config(&c);
    if (c.dim == 0)
        c.dim = 384;
    space = space_of(&c);
    return vec_arena_estimate(&space, count, id_len);
}
