/* vector/load.c -- from stored rows to an index in memory.
 *
 *     vector_data  -> slots with codes and ids         (what there is)
 *     X            -> nodes that stand for nothing     (no older moment survives a restart)
 *     N            -> rows of links                    (how to get there)
 *     P            -> nothing: what has no N is pending, marked or not
 *
 * Where there is much of it, one thread reads vectors, one makes slots of them, and one loads the graph. The
 * snapshot is the same, and nothing is compared before all have come to their end.
 *
 * The graph is taken as it is when everything agrees: M fits the configuration and counts the nodes,
 * every N is sound, names nodes only, and has a vector or an X. Neither M nor N: nothing was linked
 * yet. Otherwise the links are dropped and every vector becomes pending, which is found by looking
 * through all until the graph is built. A row of vector_data that cannot be used (damaged, of another
 * dimension) is counted and left alone; two rows that name one slot get slots of their own, rewritten.
 * Slots that transactions under way have reserved stay theirs.
 * At last whoever no way leads to is linked once more.
 */
#include "vector/index.h"

#include <math.h>

#include "base/alloc.h"
#include "base/coding.h"

#define SLOTS_SPARE ((uint32_t)1 << 20) /* so many more than rows tell may have been handed out */

struct double_row {
    struct double_row *next;
    size_t id_len;
    uint8_t bytes[]; /* the id, then the row */
};

struct loading {
    struct vec_index *ix;
    odb_at at;
    uint64_t *data, *node, *dead; /* by slot */
    size_t words;
    uint32_t slot_max; /* beyond: nobody's slot, the row is damaged */
    uint32_t slot_count;
    uint32_t nodes;    /* rows N */
    const char *wrong; /* with the stored graph; NULL: nothing yet */
    float *floats;
    struct double_row *doubles;
    struct vec_meta meta;
    bool has_meta;
    odb_batch *clean; /* markers that mean nothing any more */
};

static odb_status bits_grow(uint64_t **bits, size_t have, size_t need)
{
    uint64_t *more = mem_realloc(*bits, need * sizeof *more);

    if (!more)
        return err_set(ODB_NOMEM, "vector index: no memory to load it");
    memset(more + have, 0, (need - have) * sizeof *more);
    *bits = more;
    return ODB_OK;
}

/* Room for the bits of a slot. */
static odb_status know_slot(struct loading *l, uint32_t slot)
{
    size_t need = (size_t)slot / 64 + 1;
    odb_status st = ODB_OK;

    if (need > l->words) {
        size_t words = l->words ? l->words : 64;

        while (words < need)
            words *= 2;
        st = bits_grow(&l->data, l->words, words);
        if (st == ODB_OK)
            st = bits_grow(&l->node, l->words, words);
        if (st == ODB_OK)
            st = bits_grow(&l->dead, l->words, words);
        if (st == ODB_OK)
            l->words = words;
    }
    if (st == ODB_OK && slot >= l->slot_count)
        l->slot_count = slot + 1;
    return st;
}

/* The same, and memory in the arena; not under the reserve lock. */
static odb_status know_node(struct loading *l, uint32_t slot)
{
    odb_status st = know_slot(l, slot);

    if (st != ODB_OK || vec_slot_has_memory(&l->ix->a, slot))
        return st;
    os_mutex_lock(&l->ix->slot_lock);
    st = vec_arena_grow(&l->ix->a, slot);
    os_mutex_unlock(&l->ix->slot_lock);
    return st;
}

static bool know_bit(const uint64_t *bits, const struct loading *l, uint32_t slot)
{
    return slot / 64 < l->words && vec_bit(bits, slot);
}

static void mark(uint64_t *bits, uint32_t slot)
{
    bits[slot / 64] |= (uint64_t)1 << (slot & 63);
}

static void unmark(uint64_t *bits, uint32_t slot)
{
    bits[slot / 64] &= ~((uint64_t)1 << (slot & 63));
}

static odb_status note_double(struct loading *l, odb_slice id, odb_slice row)
{
    struct double_row *d = mem_alloc(sizeof *d + id.size + row.size);

    if (!d)
        return err_set(ODB_NOMEM, "vector index: no memory to load it");
    d->id_len = id.size;
    memcpy(d->bytes, id.data, id.size);
    memcpy(d->bytes + id.size, row.data, row.size);
    d->next = l->doubles;
    l->doubles = d;
    return ODB_OK;
}

/* Under the reserve lock. */
static odb_status load_locked(struct loading *l, odb_slice id, odb_slice row)
{
    struct vec_index *ix = l->ix;
    struct vec_data d;
    uint32_t name;
    odb_status st;

    if (id.size == 0 || id.size > ODB_VEC_ID_MAX || vec_data_read(row, &d) ||
        d.dim != ix->a.space.dim || (ix->a.space.metric == VEC_COSINE && !(d.norm > 0))) {
        atomic_fetch_add(&ix->damaged, 1);
        return ODB_OK;
    }
    if (d.nid >= l->slot_max || know_bit(l->data, l, d.nid))
        return note_double(l, id, row);
    st = know_slot(l, d.nid);
    if (st == ODB_OK)
        st = vec_arena_grow(&ix->a, d.nid);
    if (st != ODB_OK)
        return st;
    st = vec_name_add(&ix->a, id, &name);
    if (st != ODB_OK)
        return st;
    vec_name_drop(&ix->a, vec_name_set(&ix->a, d.nid, name));
    st = vec_map_reserve(ix, ix->map_len + 1);
    if (st != ODB_OK)
        return st;
    (void)vec_map_put(ix, d.nid);
    mark(l->data, d.nid);
    vec_data_floats(&d, l->floats);
    ix->a.kernel->encode[ix->a.space.form](l->floats, vec_factor(ix, d.norm), d.dim,
                                           vec_row(&ix->a, d.nid));
    vec_begin_set(&ix->a, d.nid, 0);
    atomic_fetch_add_explicit(&ix->live, 1, memory_order_relaxed);
    return ODB_OK;
}

static odb_status load_vector(struct loading *l, odb_slice id, odb_slice row)
{
    odb_status st;

    os_mutex_lock(&l->ix->slot_lock);
    st = load_locked(l, id, row);
    os_mutex_unlock(&l->ix->slot_lock);
    return st;
}

static odb_status each_row(struct loading *l, odb_cf *cf, odb_slice prefix,
                           odb_status (*each)(struct loading *, odb_slice key, odb_slice value))
{
    odb_range range = {.prefix = prefix, .is_long = true};
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(l->at, cf, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it))
        st = each(l, odb_iter_key(it), odb_iter_value(it));
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

/* ---- two threads: one reads rows, the other makes slots of them, in the same order ---- */

#define BELT_PARCELS 4
#define PARCEL_BYTES ((size_t)256 << 10)
#define BELT_ROWS    4096 /* fewer are not worth a thread */

struct belt {
    struct loading *l; /* the taker's, until it is joined */
    struct os_mutex lock;
    struct os_cond moved;
    struct buf parcel[BELT_PARCELS]; /* of whom it is follows from the counts */
    unsigned filled, emptied;        /* under lock */
    bool is_ended;                   /* under lock: no more will be filled */
    odb_status failed;               /* under lock: the taker's */
};

static odb_status unpack(struct loading *l, const struct buf *parcel)
{
    struct dec d = {parcel->p, parcel->p + parcel->len, false};
    odb_status st = ODB_OK;

    os_mutex_lock(&l->ix->slot_lock);
    while (st == ODB_OK && dec_left(&d)) {
        uint32_t id_len = dec_u32(&d), row_len = dec_u32(&d);
        odb_slice id = dec_bytes(&d, id_len), row = dec_bytes(&d, row_len);

        if (!d.bad) /* we wrote it */
            st = load_locked(l, id, row);
    }
    os_mutex_unlock(&l->ix->slot_lock);
    return st;
}

static void take_parcels(void *arg)
{
    struct belt *b = arg;
    odb_status st = ODB_OK;

    os_mutex_lock(&b->lock);
    while (st == ODB_OK) {
        struct buf *parcel = &b->parcel[b->emptied % BELT_PARCELS];

        if (b->emptied == b->filled) {
            if (b->is_ended)
                break;
            os_cond_wait(&b->moved, &b->lock);
            continue;
        }
        os_mutex_unlock(&b->lock);
        st = unpack(b->l, parcel);
        os_mutex_lock(&b->lock);
        b->emptied++;
        b->failed = st;
        os_cond_signal(&b->moved);
    }
    os_mutex_unlock(&b->lock);
}

/* The parcel to fill next is full; wait for the one after it. */
static odb_status pass_parcel(struct belt *b)
{
    odb_status st;

    os_mutex_lock(&b->lock);
    b->filled++;
    os_cond_signal(&b->moved);
    while (b->filled - b->emptied == BELT_PARCELS && b->failed == ODB_OK)
        os_cond_wait(&b->moved, &b->lock);
    st = b->failed;
    os_mutex_unlock(&b->lock);
    if (st == ODB_OK)
        buf_reset(&b->parcel[b->filled % BELT_PARCELS]);
    return st;
}

static odb_status pack(struct buf *parcel, odb_slice id, odb_slice row)
{
    uint8_t head[8];
    odb_status st;

    enc_u32(head, (uint32_t)id.size);
    enc_u32(head + 4, (uint32_t)row.size);
    st = buf_append(parcel, head, sizeof head);
    if (st == ODB_OK)
        st = buf_append(parcel, id.data, id.size);
    return st == ODB_OK ? buf_append(parcel, row.data, row.size) : st;
}

/* The reader's end. */
static odb_status fill_parcels(struct belt *b)
{
    odb_range range = {.is_long = true};
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(b->l->at, b->l->ix->data, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it)) {
        struct buf *parcel = &b->parcel[b->filled % BELT_PARCELS];

        st = pack(parcel, odb_iter_key(it), odb_iter_value(it));
        if (st == ODB_OK && parcel->len >= PARCEL_BYTES)
            st = pass_parcel(b);
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st == ODB_OK ? pass_parcel(b) : st;
}

/* All of vector_data. */
static odb_status load_vectors(struct loading *l, uint64_t rows)
{
    struct belt b = {.l = l};
    struct os_thread *taker = NULL;
    odb_status st;

    if (rows < BELT_ROWS || os_cpu_count(l->ix->os) < 2)
        return each_row(l, l->ix->data, odb_bytes(NULL, 0), load_vector);
    os_mutex_init(&b.lock, RANK_VEC_LOAD);
    os_cond_init(&b.moved);
    if (os_thread_start("vec-load", take_parcels, &b, &taker) == ODB_OK) {
        st = fill_parcels(&b);
        os_mutex_lock(&b.lock);
        b.is_ended = true;
        os_cond_signal(&b.moved);
        os_mutex_unlock(&b.lock);
        os_thread_join(taker);
        if (b.failed != ODB_OK) /* what it said, it said on its own thread */
            st = err_set(b.failed, "vector index: no room to load it");
    } else {
        st = each_row(l, l->ix->data, odb_bytes(NULL, 0), load_vector);
    }
    for (size_t i = 0; i < BELT_PARCELS; i++)
        buf_release(&b.parcel[i]);
    os_cond_destroy(&b.moved);
    os_mutex_destroy(&b.lock);
    return st;
}

static odb_status load_dead(struct loading *l, odb_slice key, odb_slice value)
{
    uint32_t slot;
    char kind;
    odb_status st;

    (void)value;
    if (!vec_key_read(key, &kind, &slot) || slot >= l->slot_max)
        return ODB_OK;
    st = know_node(l, slot);
    if (st == ODB_OK)
        mark(l->dead, slot);
    return st;
}

struct filling {
    struct loading *l;
    uint32_t slot;
    vec_link *row;
    uint32_t count;
};

static bool fill_links_level(void *arg, unsigned level, uint32_t count)
{
    struct filling *f = arg;

    f->row = vec_links(&f->l->ix->a, f->slot, level);
    f->count = 0;
    atomic_store_explicit(&f->row->v, VEC_HEAD(count, 0), memory_order_relaxed);
    return true;
}

static bool fill_link(void *arg, uint32_t id)
{
    struct filling *f = arg;

    if (id == f->slot)
        return false;
    atomic_store_explicit(&f->row[1 + f->count++].v, id, memory_order_relaxed);
    return true;
}

/* Who stands in the graph, and the links. Whether it has a vector, and somebody stands where they lead, is
 * known when all rows were seen: check_graph() looks. */
static odb_status load_node(struct loading *l, odb_slice key, odb_slice value)
{
    struct filling f = {.l = l};
    struct vec_links_sink sink = {fill_links_level, fill_link, &f};
    unsigned level;
    char kind;
    odb_status st;

    if (!vec_key_read(key, &kind, &f.slot) || f.slot >= l->slot_max) {
        l->wrong = "a node of no slot";
        return ODB_OK;
    }
    st = know_node(l, f.slot);
    if (st != ODB_OK)
        return st;
    mark(l->node, f.slot);
    l->nodes++;
    if (l->wrong) /* the rest is only counted */
        return ODB_OK;
    level = vec_level_of(&l->ix->a.space, f.slot);
    l->wrong = vec_links_read(value, &l->ix->a.space, level, &sink);
    if (!l->wrong && f.slot == l->meta.entry)
        atomic_store(&l->ix->a.entry, (uint64_t)level << 32 | f.slot);
    return ODB_OK;
}

/* ---- a third thread: the graph, beside the vectors, with bits of its own ---- */

struct nodes {
    struct loading l;
    struct os_thread *thread; /* NULL: not loaded yet */
    odb_status st;
};

static void load_nodes(void *arg)
{
    struct nodes *n = arg;

    n->st = each_row(&n->l, n->l.ix->graph, odb_s("N"), load_node);
}

/* Without a thread it happens in end_nodes(). */
static void begin_nodes(struct nodes *n, const struct loading *l, uint64_t rows)
{
    n->l = (struct loading){.ix = l->ix, .at = l->at, .slot_max = l->slot_max, .meta = l->meta};
    if (rows < BELT_ROWS || os_cpu_count(l->ix->os) < 2 ||
        os_thread_start("vec-nodes", load_nodes, n, &n->thread) != ODB_OK)
        n->thread = NULL;
}

static void release_nodes(struct nodes *n)
{
    mem_free(n->l.data);
    mem_free(n->l.node);
    mem_free(n->l.dead);
}

/* What the nodes are goes to `l`, where it is still wanted. */
static odb_status end_nodes(struct nodes *n, struct loading *l, bool wanted)
{
    odb_status st = ODB_OK;

    if (n->thread)
        os_thread_join(n->thread);
    if (wanted && (!n->thread || n->st != ODB_OK)) { /* what it said, it said on its own thread */
        release_nodes(n);
        n->l = (struct loading){.ix = l->ix, .at = l->at, .slot_max = l->slot_max, .meta = l->meta};
        load_nodes(n);
        st = n->st;
    }
    if (wanted && st == ODB_OK && n->l.words < l->words)
        st = bits_grow(&n->l.node, n->l.words, l->words);
    if (wanted && st == ODB_OK && n->l.words > l->words) {
        st = bits_grow(&l->data, l->words, n->l.words);
        if (st == ODB_OK)
            st = bits_grow(&l->dead, l->words, n->l.words);
        if (st == ODB_OK)
            l->words = n->l.words;
    }
    if (wanted && st == ODB_OK) {
        mem_free(l->node);
        l->node = n->l.node;
        n->l.node = NULL;
        l->nodes = n->l.nodes;
        l->wrong = n->l.wrong;
        if (n->l.slot_count > l->slot_count)
            l->slot_count = n->l.slot_count;
    }
    release_nodes(n);
    return st;
}

static odb_status load_meta(struct loading *l)
{
    const struct vec_space *space = &l->ix->a.space;
    const char *wrong;
    odb_value v;
    odb_status st = odb_get(l->at, l->ix->graph, odb_s("M"), &v);

    if (st == ODB_ABSENT) /* right as long as there is no N: nothing was stored yet */
        return ODB_OK;
    if (st != ODB_OK)
        return st;
    wrong = vec_meta_read(odb_bytes(v.data, v.size), &l->meta);
    odb_value_release(&v);
    if (!wrong && (l->meta.metric != space->metric || l->meta.dim != space->dim ||
                   l->meta.m != space->m || l->meta.seed != space->seed))
        wrong = "M of another configuration";
    l->has_meta = !wrong;
    l->wrong = wrong;
    return ODB_OK;
}

/* Links lead to nodes, and upwards only to those that stand there. */
static void check_links(struct loading *l, uint32_t slot)
{
    struct vec_arena *a = &l->ix->a;
    unsigned level = vec_level_of(&a->space, slot);

    if (!vec_bit(l->data, slot) && !vec_bit(l->dead, slot))
        l->wrong = "a node without a vector";
    else if (level > atomic_load(&a->entry) >> 32)
        l->wrong = "an entry that is not the highest";
    for (unsigned up = 0; up <= level && !l->wrong; up++) {
        const vec_link *row = vec_links(a, slot, up);
        uint32_t count = VEC_HEAD_COUNT(atomic_load_explicit(&row->v, memory_order_relaxed));

        for (uint32_t i = 0; i < count; i++) {
            uint32_t id = atomic_load_explicit(&row[1 + i].v, memory_order_relaxed);

            if (!know_bit(l->node, l, id))
                l->wrong = "a link to nobody";
            else if (up && vec_level_of(&a->space, id) < up)
                l->wrong = "a link to a level where nobody stands";
        }
    }
}

static void check_graph(struct loading *l)
{
    if (!l->wrong && !l->has_meta && l->nodes)
        l->wrong = "no M";
    if (!l->wrong &&
        (l->meta.nodes != l->nodes || (l->nodes && atomic_load(&l->ix->a.entry) == VEC_NEVER)))
        l->wrong = "M does not fit the nodes";
    for (uint32_t slot = 0; slot < l->slot_count && !l->wrong; slot++)
        if (know_bit(l->node, l, slot))
            check_links(l, slot);
}

static void drop_graph(struct loading *l)
{
    atomic_store(&l->ix->a.entry, VEC_NEVER);
    for (uint32_t slot = 0; slot < l->slot_count; slot++) {
        unsigned level = vec_level_of(&l->ix->a.space, slot);

        if (!vec_bit(l->node, slot) && !vec_bit(l->data, slot) && !vec_bit(l->dead, slot))
            continue;
        for (unsigned up = 0; up <= level; up++)
            atomic_store(&vec_links(&l->ix->a, slot, up)->v, 0);
    }
    if (l->words)
        memset(l->node, 0, l->words * sizeof *l->node);
    l->nodes = 0;
    l->ix->dirty.is_all = true; /* the next flush stores everything, and removes what is stored */
}

/* What stands in the graph for nothing goes first: its code is not known. */
static odb_status drop_dead(struct loading *l)
{
    struct vec_index *ix = l->ix;
    struct vec_list *gone = &ix->gone;
    uint64_t *bits;
    odb_status st;
    size_t n = 0;

    for (size_t i = 0; i < l->words; i++)
        l->dead[i] &= ~l->data[i];
    for (uint32_t slot = 0; slot < l->slot_count; slot++)
        n += vec_bit(l->dead, slot);
    if (n == 0)
        return ODB_OK;
    st = vec_scratch_prepare(&ix->writer, &ix->a, ix->a.space.ef_construction, 4096);
    if (st == ODB_OK)
        st = vec_list_reserve(gone, n);
    bits = mem_array(l->words, sizeof *bits);
    if (st == ODB_OK && !bits)
        st = err_set(ODB_NOMEM, "vector index: no memory to load it");
    if (st == ODB_OK) {
        for (size_t i = 0; i < l->words; i++)
            bits[i] = l->dead[i] & l->node[i];
        vec_remove(&ix->a, &ix->writer, bits, l->node, l->slot_count, &ix->dirty);
        for (uint32_t slot = 0; slot < l->slot_count; slot++)
            if (vec_bit(l->dead, slot)) {
                gone->slot[gone->len++] = slot; /* row and marker go with the next flush */
                if (vec_bit(l->node, slot))
                    unmark(l->node, slot);
            }
    }
    mem_free(bits);
    return st;
}

/* The next of those who have slots reserved (index.h, (5)). */
static bool next_held(struct dec *d, uint32_t *slot, odb_slice *id)
{
    uint32_t len;

    *slot = dec_u32(d);
    len = dec_u32(d);
    *id = dec_bytes(d, len);
    return !d->bad;
}

/* There are their slots, though no row names them yet. */
static odb_status know_held(struct loading *l)
{
    struct dec d = dec_from(buf_slice(&l->ix->held));
    uint32_t all = l->ix->a.slots_max;
    odb_status st = ODB_OK;
    odb_slice id;

    for (uint32_t slot; st == ODB_OK && dec_left(&d) && next_held(&d, &slot, &id);)
        if (slot < all)
            st = know_slot(l, slot);
    if (l->slot_max < all && l->slot_max - SLOTS_SPARE < l->slot_count)
        l->slot_max = all - l->slot_count > SLOTS_SPARE ? l->slot_count + SLOTS_SPARE : all;
    return st;
}

/* Reserve their slots again, but for those that a row has or had: who committed meanwhile has his no longer. */
static odb_status reserve_held(struct loading *l)
{
    struct vec_index *ix = l->ix;
    struct dec d = dec_from(buf_slice(&ix->held));
    odb_status st = ODB_OK;
    odb_slice id;

    os_mutex_lock(&ix->slot_lock);
    for (uint32_t slot, name; st == ODB_OK && dec_left(&d) && next_held(&d, &slot, &id);) {
        if (slot >= l->slot_count || vec_bit(l->data, slot) || vec_bit(l->dead, slot))
            continue;
        st = vec_arena_grow(&ix->a, slot);
        if (st == ODB_OK)
            st = vec_name_add(&ix->a, id, &name);
        if (st != ODB_OK)
            break;
        vec_name_drop(&ix->a, vec_name_set(&ix->a, slot, name));
        ix->reserved++;
    }
    os_mutex_unlock(&ix->slot_lock);
    return st;
}

/* The next slot nobody has. Gaps come first: numbers that grow with each load would pass for damage some day. */
static uint32_t next_unused(const struct loading *l, uint32_t slot)
{
    while (know_bit(l->data, l, slot) || know_bit(l->node, l, slot) || know_bit(l->dead, l, slot) ||
           vec_slot_reserved(l->ix, slot))
        slot++;
    return slot;
}

/* Rows that share a slot, or name an impossible one: each gets its own, and is stored again, unless somebody has
 * written one of them since the snapshot. Either way there is more to see than the snapshot has, and the index is
 * loaded once more. */
static odb_status settle_doubles(struct loading *l)
{
    struct vec_index *ix = l->ix;
    odb_txn_options opt = {.size = sizeof opt, .max_bytes = SIZE_MAX, .snapshot = l->at.snapshot};
    uint32_t slot = 0;
    struct buf row = {0};
    odb_txn *t = NULL;
    odb_status st = ODB_OK;

    if (l->doubles)
        st = odb_txn_begin(ix->db, &opt, &t);
    for (struct double_row *d = l->doubles; d && st == ODB_OK; d = d->next) {
        odb_slice id = odb_bytes(d->bytes, d->id_len);
        uint8_t key[VEC_KEY_LEN];
        struct vec_data v;

        if (vec_data_read(odb_bytes(d->bytes + d->id_len, VEC_DATA_HEAD + ix->a.space.dim * 4), &v))
            continue; /* cannot be: it was read before */
        slot = next_unused(l, slot);
        vec_data_floats(&v, l->floats);
        buf_reset(&row);
        st = vec_data_write(&row, l->floats, v.dim, slot, v.norm);
        vec_key(key, VEC_KEY_PENDING, slot);
        if (st == ODB_OK)
            st = odb_txn_put(t, ix->data, id, buf_slice(&row));
        if (st == ODB_OK)
            st = odb_txn_put(t, ix->graph, odb_bytes(key, sizeof key), id);
        if (st == ODB_OK)
            st = load_vector(l, id, buf_slice(&row));
    }
    if (st == ODB_OK && t)
        st = odb_txn_commit(t, NULL); /* which the observer notes */
    odb_txn_free(t);
    buf_release(&row);
    if (st == ODB_READONLY) {
        atomic_store_explicit(&ix->is_readonly, true, memory_order_relaxed);
        st = ODB_OK;
    } else if (odb_txn_should_retry(st)) {
        os_mutex_lock(&ix->slot_lock);
        ix->missed = true;
        os_mutex_unlock(&ix->slot_lock);
        st = ODB_OK;
    }
    return st;
}

/* Hand the bits to the index; what is not linked is pending, what is nothing is free. */
static odb_status hand_over(struct loading *l)
{
    struct vec_index *ix = l->ix;
    odb_status st = ODB_OK;

    os_mutex_lock(&ix->slot_lock);
    atomic_store(&ix->a.slot_count, l->slot_count);
    for (uint32_t slot = l->slot_count; slot-- > 0 && st == ODB_OK;) {
        if (vec_bit(l->data, slot)) {
            if (!vec_bit(l->node, slot))
                st = vec_list_add(&ix->pending, slot);
        } else if (!vec_bit(l->dead, slot) && !vec_slot_reserved(ix, slot)) {
            st = vec_list_add(&ix->free, slot);
        }
    }
    if (st == ODB_OK) /* the observer relies on room for those */
        st = vec_list_reserve(&ix->pending, ix->pending.len + ix->reserved);
    if (st == ODB_OK)
        st = vec_map_reserve(ix, ix->map_len + ix->reserved);
    atomic_store(&ix->pending_count, ix->pending.len);
    os_mutex_unlock(&ix->slot_lock);
    ix->linked = l->node;
    ix->linked_words = l->words;
    l->node = NULL;
    return st;
}

odb_status vec_load_rows(struct vec_index *ix, odb_at at, bool anew)
{
    struct loading l = {.ix = ix, .at = at};
    odb_stats_t stats = {.size = sizeof stats};
    struct nodes nodes;
    bool has_nodes;
    uint64_t rows;
    odb_status st = odb_stats(ix->db, ix->data, &stats);

    if (st != ODB_OK)
        return st;
    rows = stats.memtable_entries;
    for (int i = 0; i < ODB_LEVELS; i++)
        rows += stats.level[i].entries;
    ix->a.expected = rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX; /* whole huge pages at once */
    /* Slots outnumber the rows ever written by those of transactions that failed. */
    l.slot_max = 16 * rows + SLOTS_SPARE < ix->a.slots_max ? (uint32_t)(16 * rows + SLOTS_SPARE)
                                                           : ix->a.slots_max;
    l.floats = mem_array(ix->a.space.dim, sizeof *l.floats);
    if (!l.floats)
        st = err_set(ODB_NOMEM, "vector index: no memory to load it");
    if (st == ODB_OK)
        st = know_held(&l);
    if (st == ODB_OK)
        st = load_meta(&l);
    if (st == ODB_OK && l.has_meta &&
        l.meta.nodes <= rows) { /* one table for all that are linked */
        os_mutex_lock(&ix->slot_lock);
        st = vec_map_reserve(ix, (size_t)l.meta.nodes);
        os_mutex_unlock(&ix->slot_lock);
    }
    has_nodes = st == ODB_OK && !anew && !l.wrong;
    if (has_nodes)
        begin_nodes(&nodes, &l, rows);
    if (st == ODB_OK)
        st = load_vectors(&l, rows);
    if (st == ODB_OK)
        st = each_row(&l, ix->graph, odb_s("X"), load_dead);
    if (anew)
        l.wrong = "asked to";
    if (has_nodes) {
        odb_status nodes_st = end_nodes(&nodes, &l, st == ODB_OK);

        st = st == ODB_OK ? nodes_st : st;
    }
    atomic_store(&ix->a.slot_count, l.slot_count);
    if (st == ODB_OK)
        check_graph(&l);
    if (st == ODB_OK && (l.wrong || !l.has_meta)) {
        drop_graph(&l);
        atomic_fetch_add(&ix->rebuilds, l.wrong && l.slot_count);
    }
    if (st == ODB_OK)
        st = drop_dead(&l);
    if (st == ODB_OK)
        st = reserve_held(&l);
    if (st == ODB_OK)
        st = settle_doubles(&l);
    if (st == ODB_OK)
        st = hand_over(&l);
    /* The dead may have been the only way to somebody; and who was out of reach when the graph was stored
     * is so still, while nobody remembers how many were linked since it was last looked at. */
    if (st == ODB_OK && l.nodes)
        err_ignore(vec_mend(ix)); /* no memory: tried again with the next insert */
    while (l.doubles) {
        struct double_row *d = l.doubles;

        l.doubles = d->next;
        mem_free(d);
    }
    mem_free(l.floats);
    mem_free(l.data);
    mem_free(l.node);
    mem_free(l.dead);
    return st;
}
