/* vector/hybrid.c -- vectors, records and edges together: what to recall, and what surrounds it.
 *
 * A recall is the threshold algorithm (Fagin, Lotem and Naor 2001) over four lists, each sorted by one
 * part of the score. What was met in none of them is, in each part, no better than the last one met
 * there; the weighted sum of these bounds is what it could have at most. While that is more than the
 * k-th best score, twice as many are taken from each list. A list that ends has shown all there is.
 *
 * Everything is read at one snapshot.
 */
#include "vector/odb_vector.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "os/os.h"
#include "records/odb_scan.h"
#include "vector/hits.h"

#define WEEK_S        604800.0
#define CANDIDATE_MAX (1u << 24)

static float similarity_of(odb_metric metric, float distance)
{
    if (metric == ODB_METRIC_COSINE)
        return 1 - distance / 2;
    return metric == ODB_METRIC_DOT ? 1 / (1 + expf(distance)) : 1 / (1 + distance);
}

/* ---- recall ---- */

struct recalled {
    odb_recalled what; /* its id points into `ids` once they are complete */
    size_t id_off, id_len;
};

struct odb_recall_hits {
    struct recalled *hit;
    size_t count, cap;
    struct buf ids;
};

struct recalling {
    odb_at at;
    const odb_recall *how;
    float w[4]; /* similarity, importance, recency, proximity */
    float bound[4];
    bool is_all; /* some list has shown every record */
    double half_life_us;
    int64_t now_us;
    odb_metric metric;
    odb_nodeset *near;
    bool near_is_cut;
    odb_recall_hits *h;
    uint32_t *table; /* hashed ids: numbers of hits + 1 */
    size_t table_cap;
    float *floats;
};

void odb_recall_hits_free(odb_recall_hits *h)
{
    if (!h)
        return;
    mem_free(h->hit);
    buf_release(&h->ids);
    mem_free(h);
}

size_t odb_recall_hits_count(const odb_recall_hits *h)
{
    return h ? h->count : 0;
}

odb_recalled odb_recall_hits_at(const odb_recall_hits *h, size_t i)
{
    odb_recalled none = {{NULL, 0}, 0, 0, 0, 0, 0};

    if (!h || i >= h->count)
        return none;
    none = h->hit[i].what;
    none.id = odb_bytes(h->ids.p + h->hit[i].id_off, h->hit[i].id_len);
    return none;
}

static float recency_of(const struct recalling *r, int64_t ts)
{
    double age = (double)r->now_us - (double)ts;

    return age <= 0 ? 1 : (float)exp2(-age / r->half_life_us);
}

/* Whether this id is new, and then where it belongs in the table. */
static bool is_new(const struct recalling *r, odb_slice id, size_t *place)
{
    size_t mask = r->table_cap - 1, at = (size_t)hash64(id.data, id.size) & mask;

    for (; r->table[at]; at = (at + 1) & mask) {
        const struct recalled *x = &r->h->hit[r->table[at] - 1];

        if (odb_slice_equal(odb_bytes(r->h->ids.p + x->id_off, x->id_len), id))
            return false;
    }
    *place = at;
    return true;
}

static odb_status table_grow(struct recalling *r)
{
    size_t cap = r->table_cap ? r->table_cap * 2 : 1024, place;
    uint32_t *table = mem_zalloc(cap, sizeof *table), *old = r->table;

    if (!table)
        return err_set(ODB_NOMEM, "recall: no memory");
    r->table = table;
    r->table_cap = cap;
    for (size_t i = 0; i < r->h->count; i++)
        if (is_new(r, odb_bytes(r->h->ids.p + r->h->hit[i].id_off, r->h->hit[i].id_len), &place))
            r->table[place] = (uint32_t)i + 1;
    mem_free(old);
    return ODB_OK;
}

/* All four parts of one record. */
static odb_status score_record(struct recalling *r, const odb_record *rec, odb_recalled *out)
{
    uint32_t dim = 0;
    odb_status st;

    memset(out, 0, sizeof *out);
    out->importance = odb_record_importance(rec);
    out->recency = recency_of(r, odb_record_timestamp(rec));
    if (r->near) {
        size_t i = odb_nodeset_find(r->near, odb_record_id(rec));

        if (i != SIZE_MAX)
            out->proximity = (float)exp2(-(double)odb_nodeset_at(r->near, i).depth);
    }
    if (r->how->query) {
        st = odb_vec_get(r->at, odb_record_id(rec), r->floats, r->how->dim, &dim);
        if (st != ODB_OK && st != ODB_ABSENT)
            return st;
        if (st == ODB_OK && dim == r->how->dim)
            out->similarity =
                similarity_of(r->metric, odb_distance(r->how->query, r->floats, dim, r->metric));
    }
    out->score = r->w[0] * out->similarity + r->w[1] * out->importance + r->w[2] * out->recency +
                 r->w[3] * out->proximity;
    return ODB_OK;
}

static odb_status consider_record(struct recalling *r, const odb_record *rec)
{
    odb_recall_hits *h = r->h;
    odb_slice id = odb_record_id(rec);
    odb_recalled what;
    size_t place;
    odb_status st = ODB_OK;

    if (h->count * 2 >= r->table_cap)
        st = table_grow(r);
    if (st != ODB_OK || !is_new(r, id, &place))
        return st;
    st = score_record(r, rec, &what);
    if (st == ODB_OK && h->count == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 128;
        struct recalled *more = mem_realloc(h->hit, cap * sizeof *more);

        if (!more)
            return err_set(ODB_NOMEM, "recall: no memory");
        h->hit = more;
        h->cap = cap;
    }
    if (st == ODB_OK)
        st = buf_append(&h->ids, id.data, id.size);
    if (st != ODB_OK)
        return st;
    h->hit[h->count++] = (struct recalled){what, h->ids.len - id.size, id.size};
    r->table[place] = (uint32_t)h->count;
    return ODB_OK;
}

/* By id; what has no record, or one that is not meant, does not count. */
static odb_status consider_id(struct recalling *r, odb_slice id)
{
    odb_record *rec;
    odb_status st = odb_record_get(r->at, id, &rec);

    if (st == ODB_ABSENT || st == ODB_INVALID)
        return ODB_OK;
    if (st != ODB_OK)
        return st;
    if (!r->how->filter || odb_filter_matches(r->how->filter, rec, r->now_us))
        st = consider_record(r, rec);
    odb_record_free(rec);
    return st;
}

/* The most similar `n`. */
static odb_status list_similar(struct recalling *r, uint32_t n)
{
    odb_vec_search how = {.size = sizeof how, .k = n, .exact = r->how->prove};
    odb_vec_hits *hits = NULL;
    size_t count;
    odb_status st;

    how.records = r->how->filter;
    if (n > 1000000)
        how.k = 1000000;
    st = odb_vec_find(r->at, r->how->query, r->how->dim, &how, &hits);
    if (st != ODB_OK)
        return st;
    count = odb_vec_hits_count(hits);
    r->bound[0] = 0; /* the list has ended: what is not in it has no vector */
    if (count >= how.k)
        r->bound[0] = similarity_of(r->metric, odb_vec_hits_at(hits, count - 1).distance);
    else if (!r->how->prove)
        r->bound[0] = 1; /* an approximate list may end early */
    for (size_t i = 0; i < count && st == ODB_OK; i++)
        st = consider_id(r, odb_vec_hits_at(hits, i).id);
    odb_vec_hits_free(hits);
    return st;
}

/* The newest, or the most important. */
static odb_status list_scan(struct recalling *r, odb_record_order order, uint32_t n, float *bound)
{
    odb_scan scan = {.size = sizeof scan, .order = order, .is_reverse = true, .limit = n};
    odb_record_iter *it = NULL;
    uint32_t seen = 0;
    odb_status st;

    scan.filter = r->how->filter;
    st = odb_record_scan(r->at, &scan, &it);
    if (st ==
        ODB_UNSUPPORTED) { /* there is no such index: nothing is known of what it would show */
        *bound = 1;
        return ODB_OK;
    }
    if (st != ODB_OK)
        return st;
    *bound = 1;
    while (st == ODB_OK && odb_record_iter_next(it)) {
        const odb_record *rec = odb_record_iter_record(it);

        seen++;
        *bound = order == ODB_BY_TIME ? recency_of(r, odb_record_timestamp(rec))
                                      : odb_record_importance(rec);
        st = consider_record(r, rec);
    }
    if (st == ODB_OK)
        st = odb_record_iter_status(it);
    if (st == ODB_OK && seen < n && odb_record_iter_damaged(it) == 0)
        r->is_all = true;
    odb_record_iter_free(it);
    return st;
}

static odb_status list_near(struct recalling *r)
{
    static const odb_walk usual = {
        .size = sizeof usual,
        .edges = {.direction = ODB_BOTH},
        .max_depth = 2,
        .max_nodes = 10000,
    };
    odb_walk walk = r->how->walk ? *r->how->walk : usual;
    odb_walk_report report = {0};
    odb_status st;

    if (!walk.report)
        walk.report = &report;
    st = odb_walk_bfs(r->at, r->how->context, r->how->context_count, &walk, &r->near);
    /* Held back by depth is what was asked for; by anything else, somebody near may be missing. */
    r->near_is_cut = (walk.report->cut & ~(unsigned)ODB_CUT_DEPTH) != 0;
    r->bound[3] = r->near_is_cut ? 1 : 0;
    return st;
}

static int compare_recalled(const void *x, const void *y)
{
    const struct recalled *a = x, *b = y;

    if (a->what.score != b->what.score)
        return a->what.score > b->what.score ? -1 : 1;
    return odb_slice_compare(a->what.id, b->what.id);
}

static void sort_recalled(odb_recall_hits *h)
{
    for (size_t i = 0; i < h->count; i++)
        h->hit[i].what.id = odb_bytes(h->ids.p + h->hit[i].id_off, h->hit[i].id_len);
    if (h->count)
        qsort(h->hit, h->count, sizeof *h->hit, compare_recalled);
}

/* What a record that was not looked at could have at most, beside the k-th best. */
static bool is_proven(const struct recalling *r, size_t k)
{
    float most = 0;

    if (r->is_all)
        return true;
    if (r->h->count < k)
        return false;
    for (int i = 0; i < 4; i++)
        most += r->w[i] * r->bound[i];
    return r->h->hit[k - 1].what.score >= most;
}

static odb_status recall_round(struct recalling *r, uint32_t n)
{
    odb_status st = ODB_OK;

    if (r->w[0] > 0)
        st = list_similar(r, n);
    if (st == ODB_OK && r->w[2] > 0)
        st = list_scan(r, ODB_BY_TIME, n, &r->bound[2]);
    if (st == ODB_OK && (r->w[1] > 0 || (r->w[0] <= 0 && r->w[2] <= 0)))
        st = list_scan(r, ODB_BY_IMPORTANCE, n, &r->bound[1]);
    return st;
}

static odb_status recall_at(struct recalling *r, size_t k, bool *proven)
{
    uint32_t n = r->how->candidates ? r->how->candidates : (uint32_t)(4 * k > 64 ? 4 * k : 64);
    odb_status st = ODB_OK;
    bool done = false;

    if (r->how->context_count && r->w[3] > 0) {
        st = list_near(r);
        for (size_t i = 0; st == ODB_OK && i < odb_nodeset_count(r->near); i++)
            st = consider_id(r, odb_nodeset_at(r->near, i).id);
    }
    while (st == ODB_OK && !done) {
        st = recall_round(r, n);
        if (st != ODB_OK)
            break;
        sort_recalled(r->h);
        *proven = (r->w[0] <= 0 || r->how->prove || r->is_all) && is_proven(r, k);
        done = *proven || !r->how->prove || n >= CANDIDATE_MAX;
        if (!done) { /* sorting has moved the hits: the table is made anew */
            n *= 2;
            mem_free(r->table);
            r->table = NULL;
            r->table_cap = 0;
            while (st == ODB_OK && r->h->count * 2 >= r->table_cap)
                st = table_grow(r);
        }
    }
    return st;
}

static odb_status check_recall(const odb_recall *how)
{
    if (!how || how->size < sizeof *how)
        return err_set(ODB_INVALID, "odb_recall.size is not set");
    if (!(how->w_similarity >= 0 && how->w_importance >= 0 && how->w_recency >= 0 &&
          how->w_proximity >= 0) ||
        !(how->w_similarity + how->w_importance + how->w_recency + how->w_proximity < INFINITY))
        return err_set(ODB_INVALID, "odb_recall: weights are not negative, and finite");
    if (!(how->half_life_s >= 0))
        return err_set(ODB_INVALID, "odb_recall.half_life_s must be above 0");
    if (how->k == 0 || how->k > 1000000 || how->candidates > CANDIDATE_MAX)
        return err_set(ODB_INVALID, "odb_recall: k is from 1 to 1000000, candidates at most %d",
                       CANDIDATE_MAX);
    if (how->context_count && !how->context)
        return err_set(ODB_INVALID, "odb_recall.context is NULL");
    return ODB_OK;
}

odb_status odb_recall_run(odb_at at, const odb_recall *how, odb_recall_hits **out, bool *proven)
{
    struct recalling r = {.at = at, .how = how};
    odb_snapshot *snapshot = NULL;
    odb_vec_config config;
    size_t k;
    bool is_proven_now = false;
    odb_status st = check_recall(how);

    if (st == ODB_OK)
        st = odb_vec_config_get(odb_at_db(at), &config);
    if (st != ODB_OK)
        return st;
    k = how->k;
    r.metric = config.metric;
    r.now_us = how->now_us ? how->now_us : (int64_t)os_wall_us(os_posix());
    r.half_life_us = (how->half_life_s > 0 ? how->half_life_s : WEEK_S) * 1e6;
    memcpy(r.w, (float[4]){how->w_similarity, how->w_importance, how->w_recency, how->w_proximity},
           sizeof r.w);
    if (r.w[0] + r.w[1] + r.w[2] + r.w[3] <= 0)
        r.w[0] = r.w[1] = r.w[2] = r.w[3] = 1;
    if (!how->query)
        r.w[0] = 0;
    if (!how->context_count)
        r.w[3] = 0;
    if (at.db && !at.snapshot && !at.txn) {
        st = odb_snapshot_new(at.db, &snapshot);
        r.at = odb_asof(snapshot);
    }
    r.h = mem_zalloc(1, sizeof *r.h);
    r.floats = mem_array(how->dim ? how->dim : 1, sizeof *r.floats);
    if (st == ODB_OK && (!r.h || !r.floats))
        st = err_set(ODB_NOMEM, "recall: no memory");
    if (st == ODB_OK)
        st = recall_at(&r, k, &is_proven_now);
    odb_nodeset_free(r.near);
    odb_snapshot_free(snapshot);
    mem_free(r.table);
    mem_free(r.floats);
    if (st != ODB_OK) {
        odb_recall_hits_free(r.h);
        return st;
    }
    if (r.h->count > k)
        r.h->count = k;
    if (proven)
        *proven = is_proven_now;
    *out = r.h;
    return ODB_OK;
}

/* ---- near a node ---- */

odb_status odb_vec_find_near(odb_at at, const odb_slice *centre, size_t centre_count,
                             const odb_walk *walk, const float *query, uint32_t dim,
                             const odb_vec_search *how, odb_vec_hits **out)
{
    odb_vec_search inside = {.size = sizeof inside, .k = 10};
    odb_snapshot *snapshot = NULL;
    odb_nodeset *set = NULL;
    odb_slice *id = NULL;
    size_t n;
    odb_status st = ODB_OK;

    if (how && how->size >= sizeof inside)
        inside = *how;
    else if (how)
        return err_set(ODB_INVALID, "odb_vec_search.size is not set");
    if (inside.within)
        return err_set(ODB_INVALID, "odb_vec_find_near has its own set of ids");
    if (at.db && !at.snapshot && !at.txn) {
        st = odb_snapshot_new(at.db, &snapshot);
        at = odb_asof(snapshot);
    }
    if (st == ODB_OK)
        st = odb_walk_bfs(at, centre, centre_count, walk, &set);
    n = st == ODB_OK ? odb_nodeset_count(set) : 0;
    if (st == ODB_OK)
        id = mem_array(n ? n : 1, sizeof *id);
    if (st == ODB_OK && !id)
        st = err_set(ODB_NOMEM, "vector search: no memory");
    for (size_t i = 0; i < n && id; i++)
        id[i] = odb_nodeset_at(set, i).id;
    inside.within = id;
    inside.within_count = n;
    if (st == ODB_OK)
        st = odb_vec_find(at, query, dim, &inside, out);
    if (st == ODB_OK) { /* what they were searched among goes now */
        (*out)->how.within = NULL;
        (*out)->how.within_count = 0;
        (*out)->is_final = true;
    }
    mem_free(id);
    odb_nodeset_free(set);
    odb_snapshot_free(snapshot);
    return st;
}

/* ---- a subgraph ---- */

struct odb_subgraph {
    odb_nodeset *set;
    odb_rag_node *node;
    odb_rag_edge *edge;
    size_t node_count, edge_count;
};

void odb_subgraph_free(odb_subgraph *g)
{
    if (!g)
        return;
    odb_nodeset_free(g->set);
    mem_free(g->node);
    mem_free(g->edge);
    mem_free(g);
}

size_t odb_subgraph_node_count(const odb_subgraph *g)
{
    return g ? g->node_count : 0;
}

odb_rag_node odb_subgraph_node(const odb_subgraph *g, size_t i)
{
    odb_rag_node none = {{NULL, 0}, 0, 0, 0};

    return g && i < g->node_count ? g->node[i] : none;
}

size_t odb_subgraph_edge_count(const odb_subgraph *g)
{
    return g ? g->edge_count : 0;
}

odb_rag_edge odb_subgraph_edge(const odb_subgraph *g, size_t i)
{
    odb_rag_edge none = {0, 0, {NULL, 0}, 0};

    return g && i < g->edge_count ? g->edge[i] : none;
}

static int compare_rag_nodes(const void *x, const void *y)
{
    const odb_rag_node *a = x, *b = y;

    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return odb_slice_compare(a->id, b->id);
}

/* Scores in the order of the walk: a parent comes before its children. */
static odb_status score_nodes(odb_subgraph *g, odb_at at, const float *query, uint32_t dim,
                              odb_metric metric, float decay)
{
    size_t n = odb_nodeset_count(g->set);
    float *seed = mem_array(n ? n : 1, sizeof *seed), *x = mem_array(dim, sizeof *x);
    odb_status st = seed && x ? ODB_OK : err_set(ODB_NOMEM, "graphrag: no memory");

    for (size_t i = 0; i < n && st == ODB_OK; i++) {
        odb_node node = odb_nodeset_at(g->set, i);
        odb_rag_node *out = &g->node[i];
        uint32_t got = 0;

        *out = (odb_rag_node){node.id, 0, 0, node.depth};
        st = odb_vec_get(at, node.id, x, dim, &got);
        if (st == ODB_OK && got == dim)
            out->similarity = similarity_of(metric, odb_distance(query, x, dim, metric));
        else if (st == ODB_ABSENT)
            st = ODB_OK;
        seed[i] = node.parent < i ? seed[node.parent] : out->similarity;
        out->score = powf(decay, (float)node.depth) *
                     (seed[i] > out->similarity ? seed[i] : out->similarity);
    }
    mem_free(seed);
    mem_free(x);
    return st;
}

/* The best nodes, and the edges between them. */
static odb_status keep_best(odb_subgraph *g, uint32_t max_nodes)
{
    size_t n = odb_nodeset_count(g->set), edges = odb_nodeset_edge_count(g->set);
    size_t *place = mem_array(n ? n : 1, sizeof *place);

    g->edge = mem_array(edges ? edges : 1, sizeof *g->edge);
    if (!place || !g->edge) {
        mem_free(place);
        return err_set(ODB_NOMEM, "graphrag: no memory");
    }
    if (n)
        qsort(g->node, n, sizeof *g->node, compare_rag_nodes);
    g->node_count = n < max_nodes ? n : max_nodes;
    for (size_t i = 0; i < n; i++)
        place[odb_nodeset_find(g->set, g->node[i].id)] = i;
    for (size_t i = 0; i < edges; i++) {
        odb_link_of link = odb_nodeset_edge(g->set, i);

        if (place[link.from] < g->node_count && place[link.to] < g->node_count)
            g->edge[g->edge_count++] =
                (odb_rag_edge){place[link.from], place[link.to], link.rel, link.weight};
    }
    mem_free(place);
    return ODB_OK;
}

odb_status odb_graphrag(odb_at at, const float *query, uint32_t dim, const odb_rag *how,
                        odb_subgraph **out)
{
    static const odb_rag plain = {.size = sizeof plain};
    odb_walk walk = {
        .size = sizeof walk, .edges = {.direction = ODB_BOTH}, .max_depth = 2, .max_nodes = 1000};
    odb_snapshot *snapshot = NULL;
    odb_vec_hits *seeds = NULL;
    odb_subgraph *g = NULL;
    odb_slice *id = NULL;
    odb_vec_config config;
    size_t n = 0;
    float decay;
    odb_status st = ODB_OK;

    how = how ? how : &plain;
    if (how->size < sizeof *how || !(how->hop_decay >= 0 && how->hop_decay <= 1))
        return err_set(ODB_INVALID, "odb_rag: size is not set, or hop_decay not within 0 to 1");
    decay = how->hop_decay > 0 ? how->hop_decay : 0.5f;
    if (how->expand)
        walk = *how->expand;
    walk.keep_edges = true;
    st = odb_vec_config_get(odb_at_db(at), &config);
    if (st == ODB_OK && at.db && !at.snapshot && !at.txn) {
        st = odb_snapshot_new(at.db, &snapshot);
        at = odb_asof(snapshot);
    }
    if (st == ODB_OK)
        st = odb_vec_find(at, query, dim, how->seeds, &seeds);
    g = mem_zalloc(1, sizeof *g);
    n = odb_vec_hits_count(seeds);
    id = mem_array(n ? n : 1, sizeof *id);
    if (st == ODB_OK && (!g || !id))
        st = err_set(ODB_NOMEM, "graphrag: no memory");
    for (size_t i = 0; i < n && st == ODB_OK; i++)
        id[i] = odb_vec_hits_at(seeds, i).id;
    if (st == ODB_OK && n)
        st = odb_walk_bfs(at, id, n, &walk, &g->set);
    if (st == ODB_OK && n) {
        size_t nodes = odb_nodeset_count(g->set);

        g->node = mem_array(nodes ? nodes : 1, sizeof *g->node);
        if (!g->node)
            st = err_set(ODB_NOMEM, "graphrag: no memory");
        if (st == ODB_OK)
            st = score_nodes(g, at, query, dim, config.metric, decay);
        if (st == ODB_OK)
            st = keep_best(g, how->max_nodes ? how->max_nodes : 100);
    }
    mem_free(id);
    odb_vec_hits_free(seeds);
    odb_snapshot_free(snapshot);
    if (st != ODB_OK) {
        odb_subgraph_free(g);
        return st;
    }
    *out = g;
    return ODB_OK;
}
