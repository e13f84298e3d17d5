/* vector/search.c -- one search: which way, at which moment, through what.
 *
 *     ids given                          read those rows                            IDS
 *     no sound arena, an old moment      walk the family                            TABLE
 *     few vectors, few that pass, exact  all codes in memory, then rows             SCAN
 *     else                               the graph, then what is pending            GRAPH
 *
 * Halves and bytes only propose: rows are read to order by the stored floats. Both forms come with a
 * bound on how far a code is from its vector, so a scan knows when no code that is left can win, and
 * is exact. The graph's proposals are reordered up to three times k.
 *
 * A transaction's own vectors lie in its write set alone: they are compared one by one and merged, and
 * the nodes it has ended are hidden. What is found in memory is read past the transaction, which learns of
 * it by an iterator over the rows that goes nowhere and by reads of what was found. The former takes a
 * pessimistic one's lock, or keeps its moment; an optimistic one depends on the latter alone (odb_vector.h).
 */
#include "vector/hits.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

#define SAMPLE    256
#define NOW_TRIES 3

struct job {
    struct vec_index *ix;
    odb_at at;
    struct odb_vec_hits *h;
    const odb_vec_search *how;
    const struct vec_kernel *kernel; /* for stored floats */
    size_t k, ef;
    uint64_t moment, until_ns;
    odb_snapshot *snapshot; /* of the search itself */
    unsigned tries;         /* more, at a later moment: none where the moment is given */
    int64_t now_us;
    struct vec_list masked; /* nodes ended by the transaction itself, sorted */
    uint32_t passing;       /* what part passes the filter, in 1/SAMPLE; SAMPLE: there is none */
    bool all_visible;       /* no node in the graph is hidden from this moment */
    odb_vec_search_stats stats;
    float query_error, query_norm; /* of the encoded query, as the arena has it */
    odb_status failed;             /* inside a callback */
};

static bool job_filtered(const struct job *j)
{
    return j->how->prefix.size || j->how->filter || j->how->records;
}

static bool record_passes(struct job *j, odb_slice id)
{
    odb_record *r;
    bool passes;

    if (odb_record_get(j->at, id, &r) != ODB_OK)
        return false; /* none, or one that cannot be read: not meant */
    passes = odb_filter_matches(j->how->records, r, j->now_us);
    odb_record_free(r);
    return passes;
}

static bool id_passes(struct job *j, odb_slice id)
{
    odb_slice prefix = j->how->prefix;

    if (prefix.size && (id.size < prefix.size || memcmp(id.data, prefix.data, prefix.size) != 0))
        return false;
    if (!j->how->filter && !j->how->records)
        return true;
    j->stats.filtered++;
    return (!j->how->filter || j->how->filter(j->how->filter_arg, id)) &&
           (!j->how->records || record_passes(j, id));
}

static int compare_slots(const void *x, const void *y)
{
    uint32_t a, b;

    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return (a > b) - (a < b);
}

static bool is_masked(const struct job *j, uint32_t slot)
{
    return j->masked.len &&
           bsearch(&slot, j->masked.slot, j->masked.len, sizeof slot, compare_slots);
}

static odb_slice id_of(const struct vec_index *ix, uint32_t slot)
{
    const struct vec_id *id = vec_name(&ix->a, slot);

    return id ? odb_bytes(id->bytes, id->len) : odb_bytes(NULL, 0);
}

static bool is_visible(const struct job *j, uint32_t slot)
{
    return (j->all_visible || vec_visible(&j->ix->a, slot, j->moment)) && !is_masked(j, slot);
}

static bool job_shows(void *arg, uint32_t slot)
{
    struct job *j = arg;

    return is_visible(j, slot) && (!job_filtered(j) || id_passes(j, id_of(j->ix, slot)));
}

static uint64_t job_now(void *arg)
{
    const struct job *j = arg;

    return os_now_ns(j->ix->os);
}

/* Whether a search that has looked at so many must end. */
static bool is_over(struct job *j, uint64_t visited)
{
    return (j->how->max_visit && visited >= j->how->max_visit) ||
           (j->until_ns && job_now(j) >= j->until_ns);
}

/* What was computed in memory, as odb_distance() would say it. */
static float told(const struct job *j, float dist)
{
    return j->ix->a.space.metric == VEC_L2 ? sqrtf(dist > 0 ? dist : 0) : dist;
}

/* ---- rows ---- */

/* The true distance to a row. ODB_CORRUPT: it is none. */
static odb_status row_distance(struct job *j, odb_slice row, float *out)
{
    struct vec_data d;
    const char *wrong = vec_data_read(row, &d);
    float *x;

    if (!wrong && d.dim != j->h->dim)
        wrong = "vector row of another dimension";
    if (wrong)
        return err_corrupt(ODB_FAMILY_VECTOR_DATA, 0, wrong);
    x = mem_array(d.dim, sizeof *x);
    if (!x)
        return err_set(ODB_NOMEM, "vector search: no memory");
    vec_data_floats(&d, x);
    *out = vec_distance_by(j->kernel, j->h->query, x, d.dim, (odb_metric)j->ix->config.metric);
    mem_free(x);
    j->stats.reranked++;
    return ODB_OK;
}

/* ODB_ABSENT: it is not there at this moment. */
static odb_status stored_distance(struct job *j, odb_slice id, float *out)
{
    odb_value v;
    odb_status st = odb_get(j->at, j->ix->data, id, &v);

    if (st != ODB_OK)
        return st;
    st = row_distance(j, odb_bytes(v.data, v.size), out);
    odb_value_release(&v);
    return st;
}

/* The hits as a heap of at most k, the farthest first: whether one at `distance` could enter. */
static bool would_enter(const struct job *j, float distance)
{
    return j->h->count < j->k || distance <= j->h->hit[0].distance;
}

/* Enter, pushing the farthest out. The bytes of its id stay behind. */
static odb_status enter(struct job *j, odb_slice id, float distance)
{
    struct odb_vec_hits *h = j->h;
    odb_status st;
    size_t at;

    if (h->count == j->k) {
        struct vec_hit_place *top = &h->hit[0];
        odb_slice worst = odb_bytes(h->ids.p + top->id_off, top->id_len);

        if (distance > top->distance ||
            (distance == top->distance && odb_slice_compare(id, worst) >= 0))
            return ODB_OK;
        h->hit[0] = h->hit[h->count - 1];
        h->count--;
        for (at = 0;;) { /* down again */
            size_t child = 2 * at + 1;
            struct vec_hit_place x = h->hit[at];

            if (child >= h->count)
                break;
            if (child + 1 < h->count && h->hit[child + 1].distance > h->hit[child].distance)
                child++;
            if (x.distance >= h->hit[child].distance)
                break;
            h->hit[at] = h->hit[child];
            h->hit[child] = x;
            at = child;
        }
    }
    st = vec_hits_add(h, id, distance);
    for (at = h->count - 1; st == ODB_OK && at > 0;) { /* up */
        size_t parent = (at - 1) / 2;
        struct vec_hit_place x = h->hit[at];

        if (h->hit[parent].distance >= x.distance)
            break;
        h->hit[at] = h->hit[parent];
        h->hit[parent] = x;
        at = parent;
    }
    return st;
}

/* Among equal distances the smallest ids belong in, whatever came first: the heap must let them. */
static odb_status consider_row(struct job *j, odb_slice id, odb_slice row)
{
    float distance;
    odb_status st = row_distance(j, row, &distance);

    if (st == ODB_CORRUPT)
        return ODB_OK; /* counted when it was loaded; verify tells */
    if (st != ODB_OK || !would_enter(j, distance) || !id_passes(j, id))
        return st;
    return enter(j, id, distance);
}

static odb_status search_table(struct job *j)
{
    odb_range range = {.prefix = j->how->prefix, .is_long = true};
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(j->at, j->ix->data, &range, &it);

    if (st != ODB_OK)
        return st;
    j->stats.plan = ODB_VEC_PLAN_TABLE;
    j->stats.is_exact = true;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it)) {
        st = consider_row(j, odb_iter_key(it), odb_iter_value(it));
        if (is_over(j, j->stats.reranked)) {
            j->stats.is_cut = true;
            j->stats.is_exact = false;
            break;
        }
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

static odb_status search_ids(struct job *j)
{
    odb_status st = ODB_OK;

    j->stats.plan = ODB_VEC_PLAN_IDS;
    j->stats.is_exact = true;
    for (size_t i = 0; i < j->how->within_count && st == ODB_OK; i++) {
        odb_slice id = j->how->within[i];
        odb_value v;

        if (vec_check_id(id) != ODB_OK)
            continue;
        if (is_over(j, j->stats.reranked)) {
            j->stats.is_cut = true;
            j->stats.is_exact = false;
            break;
        }
        st = odb_get(j->at, j->ix->data, id, &v);
        if (st == ODB_ABSENT) {
            st = ODB_OK;
            continue;
        }
        if (st != ODB_OK)
            break;
        if (!vec_hits_have(j->h, id)) /* named twice */
            st = consider_row(j, id, odb_bytes(v.data, v.size));
        odb_value_release(&v);
    }
    return st;
}

/* ---- a transaction's own ---- */

static bool mask_node(void *arg, const odb_op *op)
{
    struct job *j = arg;
    uint32_t slot;
    char kind;

    if (!op->is_delete && vec_key_read(op->key, &kind, &slot))
        j->failed = vec_list_add(&j->masked, slot);
    return j->failed == ODB_OK;
}

static odb_status note_masked(struct job *j)
{
    odb_range range = {.prefix = odb_s("X")};
    odb_status st = odb_txn_pending(j->at.txn, j->ix->graph, &range, mask_node, j);

    if (st == ODB_OK)
        st = j->failed;
    if (j->masked.len)
        qsort(j->masked.slot, j->masked.len, sizeof *j->masked.slot, compare_slots);
    return st;
}

/* To a transaction a search is a scan of all it might have found. Before its moment is asked for, which may
 * move on with the lock. */
static odb_status tell_transaction(struct job *j)
{
    odb_range range = {.prefix = j->how->prefix, .keys_only = true};
    odb_iter *it;
    odb_status st = odb_iter_new(j->at, j->ix->data, &range, &it);

    if (st == ODB_OK)
        odb_iter_free(it);
    return st;
}

/* The hits are read, where that has not been done to order them. */
static odb_status read_hits(struct job *j)
{
    odb_status st = ODB_OK;

    for (size_t i = 0; i < j->h->count && (st == ODB_OK || st == ODB_ABSENT); i++)
        st = odb_exists(j->at, j->ix->data, vec_hits_id(j->h, i));
    return st == ODB_ABSENT ? ODB_OK : st; /* written past a lock: the commit tells */
}

static bool consider_own(void *arg, const odb_op *op)
{
    struct job *j = arg;

    if (!op->is_delete)
        j->failed = consider_row(j, op->key, op->value);
    return j->failed == ODB_OK;
}

static odb_status add_own(struct job *j)
{
    odb_range range = {.prefix = j->how->prefix};
    odb_status st = odb_txn_pending(j->at.txn, j->ix->data, &range, consider_own, j);

    return st == ODB_OK ? j->failed : st;
}

/* What was found in memory, and what is written here alone. */
static odb_status settle_in_transaction(struct job *j)
{
    odb_status st = ODB_OK;

    if (j->stats.reranked < j->h->count)
        st = read_hits(j);
    return st == ODB_OK ? add_own(j) : st;
}

/* ---- codes ---- */

/* How much nearer a vector may be than its code: a distance that was computed as `dist` is at least
 * what is returned. `error` and `norm` are the largest of any row. */
static float at_least(const struct job *j, float dist, float error, float norm)
{
    float noise = 4e-6f * (j->query_norm * j->query_norm + norm * norm), low;

    if (j->ix->a.space.form == VEC_F32)
        return told(j, dist);
    if (j->ix->a.space.metric != VEC_L2)
        return dist - (j->query_norm + j->query_error) * error - j->query_error * norm - noise;
    low = dist - noise;
    low = (low > 0 ? sqrtf(low) : 0) - error - j->query_error;
    return low > 0 ? low : 0;
}

static float norm_of_row(const struct job *j, uint32_t slot)
{
    return j->ix->a.space.form == VEC_I8 ? sqrtf(vec_i8_head(vec_row(&j->ix->a, slot)).norm2) : 0;
}

/* The floats decide, where the code is not made of them. */
static odb_status settle_distance(struct job *j, uint32_t slot, float dist, odb_slice id,
                                  float *out)
{
    (void)slot;
    *out = told(j, dist);
    return j->ix->a.space.form == VEC_F32 ? ODB_OK : stored_distance(j, id, out);
}

static bool cand_less(struct vec_cand x, struct vec_cand y)
{
    return x.dist < y.dist;
}

/* Make c[0..n) a heap below `at`, the nearest on top. */
static void sift_cand(struct vec_cand *c, size_t at, size_t n)
{
    for (;;) {
        size_t child = 2 * at + 1;
        struct vec_cand x = c[at];

        if (child >= n)
            return;
        if (child + 1 < n && cand_less(c[child + 1], c[child]))
            child++;
        if (!cand_less(c[child], x))
            return;
        c[at] = c[child];
        c[child] = x;
        at = child;
    }
}

/* All visible codes, their distances, and the largest error and length among them; as many as the limits
 * allow. */
static size_t scan_codes(struct job *j, const void *query, struct vec_cand *out, uint32_t slots,
                         float *error, float *norm)
{
    const struct vec_arena *a = &j->ix->a;
    uint32_t group[64];
    float dist[64];
    uint64_t most = j->how->max_visit ? j->how->max_visit : UINT64_MAX;
    size_t n = 0, some = 0;

    *error = *norm = 0;
    for (uint32_t slot = 0; slot <= slots; slot++) {
        if (slot < slots) {
            if (!vec_slot_exists(a, slot)) {
                slot |=
                    ((uint32_t)1 << (a->code_bits < VEC_NODE_BITS ? a->code_bits : VEC_NODE_BITS)) -
                    1;
                if (slot >= slots - 1)
                    slot = slots - 1;
                continue;
            }
            if (!vec_visible(a, slot, j->moment) || is_masked(j, slot))
                continue;
            group[some++] = slot;
        }
        if (some == 64 || slot == slots || j->stats.distances + some >= most) {
            if (some && is_over(j, j->stats.distances)) {
                j->stats.is_cut = true;
                j->stats.is_exact = false;
                break;
            }
            vec_distances(a, query, group, some, dist);
            j->stats.distances += some;
            for (size_t i = 0; i < some; i++) {
                out[n++] = (struct vec_cand){dist[i], group[i]};
                if (a->space.form == VEC_I8) {
                    float off = vec_i8_error(vec_row(a, group[i])),
                          length = norm_of_row(j, group[i]);

                    *error = off > *error ? off : *error;
                    *norm = length > *norm ? length : *norm;
                }
            }
            some = 0;
        }
    }
    return n;
}

/* Halves: the error follows from the length, and the length from the distance. */
static void halves_bound(const struct job *j, float dist, float *error, float *norm)
{
    *norm = j->ix->a.space.metric == VEC_L2 ? j->query_norm + told(j, dist) + 1e-3f : 1e18f;
    if (j->ix->a.space.metric == VEC_COSINE)
        *norm = 1.001f;
    *error = *norm / 2048 + 4e-8f * sqrtf((float)j->h->dim);
}

static odb_status search_scan(struct job *j, const void *query)
{
    uint32_t slots = atomic_load_explicit(&j->ix->a.slot_count, memory_order_acquire);
    struct vec_cand *c = mem_array(slots ? slots : 1, sizeof *c);
    float error, norm;
    odb_status st = ODB_OK;
    size_t n;

    if (!c)
        return err_set(ODB_NOMEM, "vector search: no memory to look through %u vectors", slots);
    j->stats.plan = ODB_VEC_PLAN_SCAN;
    j->stats.is_exact = true;
    n = scan_codes(j, query, c, slots, &error, &norm);
    for (size_t i = n / 2; i-- > 0;)
        sift_cand(c, i, n);
    while (n && st == ODB_OK) {
        struct vec_cand top = c[0];
        odb_slice id = id_of(j->ix, top.slot);
        float distance;

        if (j->ix->a.space.form == VEC_F16)
            halves_bound(j, top.dist, &error, &norm);
        if (!would_enter(j, at_least(j, top.dist, error, norm)))
            break;
        c[0] = c[--n];
        sift_cand(c, 0, n);
        if (job_filtered(j) && !id_passes(j, id))
            continue;
        st = settle_distance(j, top.slot, top.dist, id, &distance);
        if (st == ODB_OK)
            st = enter(j, id, distance);
        else if (st == ODB_ABSENT)
            st = ODB_OK; /* the row went by a hand that is being noticed */
        if (n && j->until_ns && job_now(j) >= j->until_ns) {
            j->stats.is_cut = true;
            j->stats.is_exact = false;
            break;
        }
    }
    mem_free(c);
    return st;
}

/* Which part of the vectors passes, by a sample: in 1/SAMPLE. */
static uint32_t sample_passing(struct job *j)
{
    uint32_t slots = atomic_load_explicit(&j->ix->a.slot_count, memory_order_acquire);
    uint32_t seen = 0, pass = 0;

    for (uint32_t i = 0; slots && i < 4 * SAMPLE && seen < SAMPLE && !is_over(j, 0); i++) {
        uint32_t slot = (uint32_t)(((uint64_t)i * 2654435761u + 12345) % slots);

        if (!vec_slot_exists(&j->ix->a, slot) || !vec_visible(&j->ix->a, slot, j->moment))
            continue;
        seen++;
        pass += id_passes(j, id_of(j->ix, slot));
    }
    return seen ? pass * SAMPLE / seen : 0;
}

/* How many that pass a walk gathers. With a filter the walk goes through what does not pass, too: `ef` that
 * pass are ef / selectivity candidates, far more than it takes. The k-th that passes is about the k /
 * selectivity nearest of all, so some multiple of k does, and never less than the share of `ef` that
 * passes. Recall stays above that of the same `ef` without a filter (measured: docs/vectors.md). */
static size_t ef_of_filtered(const struct job *j)
{
    size_t share = (j->ef * j->passing + SAMPLE - 1) / SAMPLE, some = 2 * j->k + j->ef / 4;
    size_t ef = share > some ? share : some;

    return ef < j->ef ? ef : j->ef;
}

static odb_status search_graph(struct job *j, const void *query, struct vec_scratch *s,
                               const struct vec_list *pending)
{
    struct vec_view view = {.shown = job_shows,
                            .arg = j,
                            .visit_max = (size_t)j->how->max_visit,
                            .until_ns = j->until_ns,
                            .now = job_now};
    size_t settled = 0, most = j->ix->a.space.form == VEC_F32 ? SIZE_MAX : 3 * j->k;
    size_t ef = ef_of_filtered(j), extra = pending->len;
    float error = 0, norm = 0;
    odb_status st = ODB_OK;

    if (j->all_visible && !job_filtered(j) && !j->masked.len)
        view.shown = NULL;
    j->stats.plan = ODB_VEC_PLAN_GRAPH;
    j->stats.is_cut = !vec_walk(&j->ix->a, s, query, ef, &view);
    view.shown = job_shows;
    j->all_visible = false; /* of those in the graph; these may be newer */
    if (view.visit_max && s->distances + extra > view.visit_max) { /* rather the newest */
        extra = view.visit_max > s->distances ? view.visit_max - (size_t)s->distances : 0;
        j->stats.is_cut = true;
    }
    if (extra)
        vec_walk_extra(&j->ix->a, s, query, pending->slot + (pending->len - extra), extra, ef,
                       &view);
    j->stats.pending = extra;
    j->stats.distances += s->distances;
    j->stats.hops += s->hops;
    for (size_t i = 0; i < s->pool_len && settled < most && st == ODB_OK; i++) {
        uint32_t slot = VEC_CAND_SLOT(s->pool[i].slot);
        odb_slice id = id_of(j->ix, slot);
        float distance;

        if ((s->pool[i].slot & VEC_CAND_HIDDEN) || !is_visible(j, slot))
            continue; /* the latter: linked since the walk began */
        if (j->ix->a.space.form == VEC_I8) {
            error = vec_i8_error(vec_row(&j->ix->a, slot));
            norm = norm_of_row(j, slot);
        } else if (j->ix->a.space.form == VEC_F16) {
            halves_bound(j, s->pool[i].dist, &error, &norm);
        }
        if (!would_enter(j, at_least(j, s->pool[i].dist, error, norm)))
            break;
        settled++;
        st = settle_distance(j, slot, s->pool[i].dist, id, &distance);
        if (st == ODB_OK)
            st = enter(j, id, distance);
        else if (st == ODB_ABSENT)
            st = ODB_OK;
    }
    return st;
}

/* ---- one search ---- */

static odb_status copy_pending(struct vec_index *ix, struct vec_list *out)
{
    odb_status st = ODB_OK;

    if (atomic_load_explicit(&ix->pending_count, memory_order_acquire) == 0)
        return ODB_OK;
    os_mutex_lock(&ix->slot_lock);
    st = vec_list_reserve(out, ix->pending.len - ix->pending_head + 1);
    if (st == ODB_OK) {
        out->len = ix->pending.len - ix->pending_head;
        memcpy(out->slot, ix->pending.slot + ix->pending_head, out->len * sizeof *out->slot);
    }
    os_mutex_unlock(&ix->slot_lock);
    return st;
}

static bool wants_scan(struct job *j)
{
    struct vec_index *ix = j->ix;
    uint64_t live = atomic_load_explicit(&ix->live, memory_order_relaxed);
    uint64_t pending = atomic_load_explicit(&ix->pending_count, memory_order_relaxed);

    if (j->how->exact || ix->config.mode == ODB_VEC_EXACT)
        return true;
    if (j->how->max_visit && j->how->max_visit < live)
        return false; /* the graph makes more of few */
    if (live <= ix->config.flat_max)
        return true;
    if (pending > 2 * (uint64_t)ix->config.pending_max && pending > live / 8)
        return true; /* hardly a graph yet */
    if (job_filtered(j)) {
        uint64_t pass, few = live / 50;

        j->passing = sample_passing(j);
        pass = live * j->passing / SAMPLE;
        return pass <= (few > ix->config.flat_max ? few : ix->config.flat_max) || pass < 2 * j->ef;
    }
    return false;
}

static void encode_query(struct job *j, void *room, float *back)
{
    struct vec_index *ix = j->ix;
    double norm = 0, off = 0;
    float factor;

    for (uint32_t i = 0; i < j->h->dim; i++)
        norm += (double)j->h->query[i] * (double)j->h->query[i];
    factor = vec_factor(ix, (float)sqrt(norm));
    vec_query_encode(ix->a.space.form, j->h->query, factor, j->h->dim, room);
    j->query_norm = (float)sqrt(norm) * factor;
    j->query_error = 0;
    if (ix->a.space.form == VEC_I8) {
        vec_row_decode(VEC_I8, room, j->h->dim, back);
        for (uint32_t i = 0; i < j->h->dim; i++) {
            double d = (double)back[i] - (double)(j->h->query[i] * factor);

            off += d * d;
        }
        j->query_error = (float)sqrt(off);
    }
}

/* A removal that began while it walked unlinks what only moments before the new floor see; rows are stored
 * with release, so whoever met a changed one sees that floor. The slots are still what they were: they wait
 * for this reader to leave. */
static bool is_overtaken(const struct job *j)
{
    return j->moment < atomic_load(&j->ix->floor);
}

/* Whether the walk cannot have met all it is meant to find. */
static bool fell_short(const struct job *j)
{
    return is_overtaken(j) ||
           (j->h->count < j->k &&
            j->h->count < atomic_load_explicit(&j->ix->live, memory_order_relaxed));
}

/* In memory, inside the epoch. ODB_AGAIN: not from memory, or not at this moment, and nothing has been done. */
static odb_status search_memory(struct job *j)
{
    struct vec_index *ix = j->ix;
    odb_vec_search_stats before = j->stats;
    struct vec_list pending = {0};
    struct vec_scratch *s = NULL;
    bool scan;
    odb_status st;

    if (atomic_load(&ix->is_stale) || is_overtaken(j))
        return ODB_AGAIN;
    scan = wants_scan(j);
    st = scan ? ODB_OK : copy_pending(ix, &pending); /* (1) of index.h */
    if (st == ODB_OK)
        st = vec_scratch_take(ix, j->ef, &s);
    if (st == ODB_OK) {
        encode_query(j, s->query, s->wide);
        j->all_visible = atomic_load_explicit(&ix->dead, memory_order_acquire) == 0 &&
                         j->moment >= atomic_load_explicit(&ix->newest, memory_order_acquire);
        st = scan ? search_scan(j, s->query) : search_graph(j, s->query, s, &pending);
        if (st == ODB_OK && !scan && !j->stats.is_cut && fell_short(j)) {
            if (j->tries && !j->how->max_visit &&
                is_overtaken(j)) { /* another walk costs far less than all of them */
                before.distances = j->stats.distances;
                before.hops = j->stats.hops;
                j->stats = before;
                j->h->count = 0;
                st = ODB_AGAIN;
            } else if (j->how->max_visit) {
                j->stats.is_cut = true; /* more than that would have to be looked at */
            } else {
                j->h->count = 0; /* the graph had no more: look through all */
                st = search_scan(j, s->query);
            }
        }
        if (!scan) {
            if (atomic_load_explicit(&ix->calm, memory_order_relaxed))
                atomic_store_explicit(&ix->calm, 0, memory_order_relaxed);
            if (st != ODB_AGAIN)
                atomic_fetch_add_explicit(&ix->searches, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&ix->distances, s->distances, memory_order_relaxed);
        }
    }
    vec_scratch_return(ix, s);
    mem_free(pending.slot);
    return st;
}

/* Whether it asks for the present, and what is read beside memory must be of the moment of that. */
static bool needs_snapshot(const struct job *j, odb_at at)
{
    return at.db && !at.snapshot && !at.txn &&
           (atomic_load(&j->ix->form) != VEC_F32 || j->how->records || j->how->within);
}

static void leave_moment(struct job *j)
{
    odb_snapshot_free(j->snapshot);
    j->snapshot = NULL;
}

/* The moment to search at. Leave it again with leave_moment(). */
static odb_status enter_moment(struct job *j, odb_at at)
{
    odb_status st = ODB_OK;

    j->at = at;
    if (needs_snapshot(j, at)) {
        st = odb_snapshot_new(at.db, &j->snapshot);
        if (st != ODB_OK)
            return st;
        j->at = odb_asof(j->snapshot);
    }
    return odb_sequence(j->at, &j->moment);
}

static odb_status search_at_moment(struct job *j)
{
    struct epoch_guard guard = epoch_enter(&j->ix->epoch);
    odb_status st = search_memory(j);

    epoch_leave(guard);
    return st;
}

odb_status vec_search_run(struct vec_index *ix, odb_at at, struct odb_vec_hits *h)
{
    struct job j = {.ix = ix, .at = at, .h = h, .how = &h->how, .k = h->how.k, .passing = SAMPLE};
    odb_status st = ODB_OK;

    j.kernel = vec_kernel_choose(os_env("ODB_SIMD"));
    j.ef = h->how.ef ? h->how.ef : atomic_load_explicit(&ix->ef_search, memory_order_relaxed);
    if (j.ef < j.k)
        j.ef = j.k;
    if (h->how.time_limit_ms)
        j.until_ns = os_now_ns(ix->os) + (uint64_t)h->how.time_limit_ms * 1000000;
    j.now_us = (int64_t)os_wall_us(ix->os);
    if (at.db && !at.snapshot && !at.txn)
        j.tries = NOW_TRIES;
    /* Ids that are given are read one by one. */
    if (at.txn && (!h->how.within || atomic_load(&ix->state) != VEC_READY))
        st = tell_transaction(&j);
    if (st == ODB_OK)
        st = enter_moment(&j, at);
    if (atomic_load(&ix->state) != VEC_READY || h->how.within) {
        if (st == ODB_OK && atomic_load(&ix->state) == VEC_READY)
            st = search_ids(&j);
        goto done;
    }
    if (st == ODB_OK && at.txn)
        st = note_masked(&j);
    if (st != ODB_OK)
        goto done;
    st = search_at_moment(&j);
    /* The dead may just have been taken out: now is another moment by now, which is as good. */
    while (st == ODB_AGAIN && j.tries && !atomic_load(&ix->is_stale)) {
        j.tries--;
        leave_moment(&j);
        st = enter_moment(&j, at);
        if (st == ODB_OK)
            st = search_at_moment(&j);
    }
    if (st == ODB_AGAIN)
        st = search_table(&j); /* sees the transaction's own, too */
    else if (st == ODB_OK && at.txn)
        st = settle_in_transaction(&j);
done:
    leave_moment(&j);
    mem_free(j.masked.slot);
    j.stats.moment = j.moment;
    if (st == ODB_OK && h->how.stats)
        *h->how.stats = j.stats;
    return st;
}
