/* vector/hits.c -- results of searches, the variants of a search, choosing for difference. */
#include "vector/hits.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

odb_status vec_hits_new(const float *query, uint32_t dim, const odb_vec_search *how,
                        struct odb_vec_hits **out)
{
    struct odb_vec_hits *h = mem_zalloc(1, sizeof *h);
    odb_status st = ODB_OK;

    if (!h)
        return err_set(ODB_NOMEM, "vector search: no memory");
    if (how)
        h->how = *how;
    h->dim = dim;
    h->query = mem_array(dim ? dim : 1, sizeof *h->query);
    if (!h->query)
        st = err_set(ODB_NOMEM, "vector search: no memory");
    if (st == ODB_OK && how)
        st = buf_assign(&h->prefix, how->prefix.data, how->prefix.size);
    if (st != ODB_OK) {
        odb_vec_hits_free(h);
        return st;
    }
    memcpy(h->query, query, dim * sizeof *h->query);
    h->how.prefix = buf_slice(&h->prefix);
    *out = h;
    return ODB_OK;
}

void odb_vec_hits_free(odb_vec_hits *h)
{
    if (!h)
        return;
    mem_free(h->hit);
    buf_release(&h->ids);
    buf_release(&h->prefix);
    mem_free(h->query);
    mem_free(h);
}

odb_status vec_hits_add(struct odb_vec_hits *h, odb_slice id, float distance)
{
    odb_status st = buf_append(&h->ids, id.data, id.size);

    if (st != ODB_OK)
        return st;
    if (h->count == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 16;
        struct vec_hit_place *more = mem_realloc(h->hit, cap * sizeof *more);

        if (!more)
            return err_set(ODB_NOMEM, "vector search: no memory for results");
        h->hit = more;
        h->cap = cap;
    }
    h->hit[h->count++] = (struct vec_hit_place){distance, (uint32_t)id.size, h->ids.len - id.size};
    return ODB_OK;
}

odb_slice vec_hits_id(const struct odb_vec_hits *h, size_t i)
{
    return odb_bytes(h->ids.p + h->hit[i].id_off, h->hit[i].id_len);
}

bool vec_hits_have(const struct odb_vec_hits *h, odb_slice id)
{
    for (size_t i = 0; i < h->count; i++)
        if (odb_slice_equal(vec_hits_id(h, i), id))
            return true;
    return false;
}

static bool hit_before(const struct odb_vec_hits *h, const struct vec_hit_place *x,
                       const struct vec_hit_place *y)
{
    if (x->distance != y->distance)
        return x->distance < y->distance;
    return odb_slice_compare(odb_bytes(h->ids.p + x->id_off, x->id_len),
                             odb_bytes(h->ids.p + y->id_off, y->id_len)) < 0;
}

static void sift_hit(struct odb_vec_hits *h, size_t at, size_t count)
{
    for (;;) {
        size_t child = 2 * at + 1;
        struct vec_hit_place x = h->hit[at];

        if (child >= count)
            return;
        if (child + 1 < count && hit_before(h, &h->hit[child], &h->hit[child + 1]))
            child++;
        if (!hit_before(h, &x, &h->hit[child]))
            return;
        h->hit[at] = h->hit[child];
        h->hit[child] = x;
        at = child;
    }
}

/* Heapsort: the order needs the ids, which qsort could not reach. */
void vec_hits_sort(struct odb_vec_hits *h)
{
    for (size_t i = h->count / 2; i-- > 0;)
        sift_hit(h, i, h->count);
    for (size_t n = h->count; n > 1; n--) {
        struct vec_hit_place x = h->hit[0];

        h->hit[0] = h->hit[n - 1];
        h->hit[n - 1] = x;
        sift_hit(h, 0, n - 1);
    }
}

void vec_hits_cut(struct odb_vec_hits *h, size_t k, float limit)
{
    if (h->count > k)
        h->count = k;
    while (h->count && h->hit[h->count - 1].distance > limit)
        h->count--;
}

size_t odb_vec_hits_count(const odb_vec_hits *h)
{
    return h ? h->count : 0;
}

odb_vec_hit odb_vec_hits_at(const odb_vec_hits *h, size_t i)
{
    odb_vec_hit none = {{NULL, 0}, 0};

    if (!h || i >= h->count)
        return none;
    return (odb_vec_hit){vec_hits_id(h, i), h->hit[i].distance};
}

/* ---- choosing for difference ---- */

/* Nearness of two stored vectors or of one to the query, larger is nearer. */
static float likeness(float distance, odb_metric metric)
{
    return metric == ODB_METRIC_L2 ? 1 / (1 + distance) : -distance;
}

/* Maximal marginal relevance (Carbonell and Goldstein 1998): again and again the candidate that is near
 * to the query and far from all chosen. */
static odb_status choose_different(struct vec_index *ix, odb_at at, struct odb_vec_hits *h,
                                   size_t k)
{
    size_t n = h->count, want = k < n ? k : n;
    float *x = mem_array(n ? n * h->dim : 1, sizeof *x), *worst = mem_zalloc(n + 1, sizeof *worst);
    float lambda = h->how.lambda > 0 ? h->how.lambda : h->how.lambda < 0 ? 0 : 0.5f;
    odb_metric metric = ix->config.metric;
    odb_status st = x && worst ? ODB_OK : err_set(ODB_NOMEM, "vector search: no memory");

    for (size_t i = 0; i < n && st == ODB_OK; i++) {
        uint32_t dim = 0;

        st = odb_vec_get(at, vec_hits_id(h, i), x + i * h->dim, h->dim, &dim);
        worst[i] = -INFINITY;
    }
    for (size_t chosen = 0; chosen < want && st == ODB_OK; chosen++) {
        size_t best = chosen;
        float best_score = -INFINITY;
        struct vec_hit_place swap;

        for (size_t i = chosen; i < n; i++) {
            float near = likeness(h->hit[i].distance, metric);
            float score = chosen ? lambda * near - (1 - lambda) * worst[i] : near;

            if (score > best_score) {
                best_score = score;
                best = i;
            }
        }
        swap = h->hit[chosen];
        h->hit[chosen] = h->hit[best];
        h->hit[best] = swap;
        for (uint32_t d = 0; d < h->dim; d++) {
            float f = x[chosen * h->dim + d];

            x[chosen * h->dim + d] = x[best * h->dim + d];
            x[best * h->dim + d] = f;
        }
        worst[best] = worst[chosen];
        for (size_t i = chosen + 1; i < n; i++) {
            float like =
                likeness(odb_distance(x + chosen * h->dim, x + i * h->dim, h->dim, metric), metric);

            worst[i] = like > worst[i] ? like : worst[i];
        }
    }
    if (st == ODB_OK)
        h->count = want;
    mem_free(x);
    mem_free(worst);
    return st;
}

/* ---- the calls ---- */

static odb_status check_search(const odb_vec_search *how)
{
    if (!how)
        return ODB_OK;
    if (how->size < sizeof *how)
        return err_set(ODB_INVALID, "odb_vec_search.size is not set");
    if (how->k == 0 || how->k > 1000000 || how->ef > 1000000)
        return err_set(ODB_INVALID, "odb_vec_search: k is at least 1, k and ef at most 1000000");
    if (!(how->max_distance >= 0 || how->max_distance < 0) || !(how->lambda <= 1))
        return err_set(ODB_INVALID, "odb_vec_search: max_distance or lambda makes no sense");
    if (how->within_count && !how->within)
        return err_set(ODB_INVALID, "odb_vec_search.within is NULL");
    return ODB_OK;
}

static size_t k_of(const odb_vec_search *how)
{
    return how ? how->k : 10;
}

/* A moment of its own for who asks for the present and reads more than once; free *out afterwards. */
static odb_status hold_moment(odb_at *at, odb_snapshot **out)
{
    odb_status st = ODB_OK;

    *out = NULL;
    if (at->db && !at->snapshot && !at->txn)
        st = odb_snapshot_new(at->db, out);
    if (*out)
        *at = odb_asof(*out);
    return st;
}

/* One search into new hits; `skip` (may be empty) is an id to leave out, `had` are results to leave out. */
static odb_status find_new(struct vec_index *ix, odb_at at, const float *query, uint32_t dim,
                           const odb_vec_search *how, odb_slice skip,
                           const struct odb_vec_hits *had, struct odb_vec_hits **out)
{
    struct odb_vec_hits *h = NULL;
    odb_snapshot *snapshot = NULL;
    size_t k = k_of(how), extra = (skip.size != 0) + (had ? had->count : 0), kept = 0;
    float limit = INFINITY;
    odb_status st = vec_hits_new(query, dim, how, &h);

    if (st != ODB_OK)
        return st;
    if (how && how->max_distance > 0)
        limit = how->max_distance;
    else if (how && how->max_distance < 0)
        limit = 0;
    h->db = ix->db;
    h->how.k = (uint32_t)(k + extra);
    if (how && how->diverse)
        h->how.k = (uint32_t)(4 * k + extra > 40 + extra ? 4 * k + extra : 40 + extra);
    if (how && how->diverse) /* what is found is read once more */
        st = hold_moment(&at, &snapshot);
    if (st == ODB_OK)
        st = vec_search_run(ix, at, h);
    if (st == ODB_OK) {
        vec_hits_sort(h);
        vec_hits_cut(h, h->how.k, limit);
        for (size_t i = 0; i < h->count; i++) {
            odb_slice id = vec_hits_id(h, i);

            if ((!skip.size || !odb_slice_equal(id, skip)) && !(had && vec_hits_have(had, id)))
                h->hit[kept++] = h->hit[i];
        }
        h->count = kept;
        if (how && how->diverse && h->count)
            st = choose_different(ix, at, h, k);
        else
            vec_hits_cut(h, k, limit);
    }
    odb_snapshot_free(snapshot);
    h->how.k = (uint32_t)k;
    h->how.stats = NULL; /* whoever goes on need not keep them */
    if (st != ODB_OK) {
        odb_vec_hits_free(h);
        return st;
    }
    *out = h;
    return ODB_OK;
}

odb_status odb_vec_find(odb_at at, const float *query, uint32_t dim, const odb_vec_search *how,
                        odb_vec_hits **out)
{
    struct vec_index *ix;
    float norm;
    odb_status st = check_search(how);

    if (st == ODB_OK)
        st = vec_index_of(odb_at_db(at), &ix);
    if (st == ODB_OK)
        st = vec_check_vector(ix, query, dim, &norm);
    return st == ODB_OK ? find_new(ix, at, query, dim, how, odb_bytes(NULL, 0), NULL, out) : st;
}

odb_status odb_vec_find_like(odb_at at, odb_slice id, const odb_vec_search *how, odb_vec_hits **out)
{
    struct vec_index *ix;
    uint32_t dim = 0;
    float *x;
    odb_status st = check_search(how);

    if (st == ODB_OK)
        st = vec_index_of(odb_at_db(at), &ix);
    if (st == ODB_OK)
        st = odb_vec_get(at, id, NULL, 0, &dim);
    if (st != ODB_OK)
        return st;
    x = mem_array(dim, sizeof *x);
    if (!x)
        return err_set(ODB_NOMEM, "vector search: no memory");
    st = odb_vec_get(at, id, x, dim, NULL);
    if (st == ODB_OK)
        st = find_new(ix, at, x, dim, how, id, NULL, out);
    mem_free(x);
    return st;
}

odb_status odb_vec_find_many(odb_at at, const float *queries, size_t count, uint32_t dim,
                             const odb_vec_search *how, odb_vec_hits **out)
{
    odb_snapshot *snapshot = NULL;
    odb_status st;
    size_t done = 0;

    st = hold_moment(&at, &snapshot);
    for (; st == ODB_OK && done < count; done++)
        st = odb_vec_find(at, queries + done * dim, dim, how, &out[done]);
    if (st != ODB_OK)
        for (size_t i = 0; i + 1 < done; i++)
            odb_vec_hits_free(out[i]);
    odb_snapshot_free(snapshot);
    return st;
}

odb_status odb_vec_more(odb_at at, odb_vec_hits *hits, uint32_t k, size_t *more)
{
    struct odb_vec_hits *next = NULL;
    struct vec_index *ix;
    odb_vec_search how;
    size_t before;
    odb_status st;

    if (!hits || hits->how.diverse || hits->is_final)
        return err_set(ODB_INVALID,
                       "no hits, or hits of a diverse search or one near a node, which "
                       "have no next one");
    if (k == 0 || k > 1000000)
        return err_set(ODB_INVALID, "odb_vec_more: k is from 1 to 1000000");
    st = vec_index_of(odb_at_db(at), &ix);
    if (st == ODB_OK && ix->db != hits->db)
        st = err_set(ODB_INVALID, "the hits are of another database, or of another handle");
    if (st != ODB_OK)
        return st;
    how = hits->how;
    how.size = sizeof how;
    how.k = k;
    st = find_new(ix, at, hits->query, hits->dim, &how, odb_bytes(NULL, 0), hits, &next);
    before = hits->count;
    for (size_t i = 0; st == ODB_OK && i < next->count; i++)
        st = vec_hits_add(hits, vec_hits_id(next, i), next->hit[i].distance);
    if (st != ODB_OK)
        hits->count = before;
    else if (more)
        *more = hits->count - before;
    odb_vec_hits_free(next);
    return st;
}
