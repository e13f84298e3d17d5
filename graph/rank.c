/* graph/rank.c -- nearness: common neighbours, personalized PageRank, counts by relation.
 *
 * PageRank by pushing. Every node has a score and a rest, the chance that has arrived and not been dealt
 * with; the seeds begin with all of it. To push a node is to turn alpha of its rest into score and to deal
 * the remainder out to its neighbours' rests:
 *
 *           rest(u)  --alpha-->  score(u)
 *              `--(1 - alpha)/edges(u)-->  rest(v), rest(w), ...
 *
 * 1. Scores and rests together always sum to 1; pushing moves at least alpha * rest into the scores.
 * 2. A node is pushed while its rest is above epsilon times its number of edges, so the work is at most
 *    1 / (alpha * epsilon) edges, whatever the size of the graph.
 *
 * The edges of a node are read from the database once, by its first push, and kept as numbers.
 */
#include "graph/walk.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

/* ---- scores ---- */

struct ranked {
    double score;
    uint32_t no;
};

struct odb_scores {
    struct graph_set set;
    struct ranked *sorted;
    double *by_no;
    size_t count;
};

struct score_order {
    double score;
    odb_slice id;
    uint32_t no;
};

static int score_compare(const void *a, const void *b)
{
    const struct score_order *x = a, *y = b;

    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return odb_slice_compare(x->id, y->id);
}

/* Takes over the strings and the `set->count` scores on ODB_OK. Zero scores are left out of the order. */
static odb_status scores_new(struct graph_set *set, double **score, odb_scores **out)
{
    struct score_order *order = mem_array((size_t)set->count + 1, sizeof *order);
    odb_scores *s = mem_zalloc(1, sizeof *s);
    odb_status st = ODB_OK;
    size_t count = 0;

    if (s)
        s->sorted = mem_array((size_t)set->count + 1, sizeof *s->sorted);
    if (!order || !s || !s->sorted) {
        st = err_set(ODB_NOMEM, "no memory for %u scores", set->count);
        if (s)
            mem_free(s->sorted);
        mem_free(s);
        goto done;
    }
    for (uint32_t i = 0; i < set->count; i++)
        if ((*score)[i] > 0)
            order[count++] = (struct score_order){(*score)[i], graph_set_at(set, i), i};
    if (count)
        qsort(order, count, sizeof *order, score_compare);
    for (size_t i = 0; i < count; i++)
        s->sorted[i] = (struct ranked){order[i].score, order[i].no};
    s->count = count;
    s->set = *set;
    s->by_no = *score;
    memset(set, 0, sizeof *set);
    *score = NULL;
    *out = s;
done:
    mem_free(order);
    return st;
}

void odb_scores_free(odb_scores *scores)
{
    if (!scores)
        return;
    graph_set_release(&scores->set);
    mem_free(scores->sorted);
    mem_free(scores->by_no);
    mem_free(scores);
}

size_t odb_scores_count(const odb_scores *scores)
{
    return scores ? scores->count : 0;
}

odb_score odb_scores_at(const odb_scores *scores, size_t i)
{
    odb_score s;

    memset(&s, 0, sizeof s);
    if (scores && i < scores->count) {
        s.id = graph_set_at(&scores->set, scores->sorted[i].no);
        s.score = scores->sorted[i].score;
    }
    return s;
}

double odb_scores_of(const odb_scores *scores, odb_slice id)
{
    uint32_t no = scores ? graph_set_find(&scores->set, id) : GRAPH_NONE;

    return no == GRAPH_NONE ? 0 : scores->by_no[no];
}

/* ---- PageRank ---- */

struct rank_node {
    double score, rest;
    double weight; /* sum over its edges */
    size_t first;  /* its edges in `edge`, once read */
    uint32_t edges;
    bool is_read, is_queued;
};

struct rank_edge {
    uint32_t to;
    float weight;
};

struct ranking {
    struct graph_walker walker;
    odb_nodeset *nodes;
    double alpha, epsilon;
    bool is_weighted;
    struct rank_node *node;
    uint32_t node_count, node_cap;
    struct rank_edge *edge;
    size_t edge_count, edge_cap;
    uint32_t *queue; /* a ring of node_cap places: each node is in it at most once */
    uint32_t queue_at, queue_count;
};

/* Make room for the nodes that the walker has reached. */
static odb_status rank_room(struct ranking *r)
{
    uint32_t count = r->nodes->set.count, cap = r->nodes->place_cap;

    if (cap > r->node_cap) {
        struct rank_node *node = mem_realloc(r->node, cap * sizeof *node);
        uint32_t *queue;

        if (node)
            r->node = node;
        queue = node ? mem_array(cap, sizeof *queue) : NULL;
        if (!queue)
            return err_set(ODB_NOMEM, "no memory to rank %u nodes", cap);
        for (uint32_t i = 0; i < r->queue_count; i++)
            queue[i] = r->queue[(r->queue_at + i) % r->node_cap];
        mem_free(r->queue);
        r->queue = queue;
        r->queue_at = 0;
        r->node_cap = cap;
    }
    for (; r->node_count < count; r->node_count++)
        memset(&r->node[r->node_count], 0, sizeof *r->node);
    return ODB_OK;
}

/* Due when its rest is above the threshold; before its edges are known, as if it had one. */
static bool rank_is_due(const struct ranking *r, const struct rank_node *n)
{
    return n->rest > r->epsilon * (n->is_read && n->edges > 1 ? n->edges : 1);
}

static void rank_give(struct ranking *r, uint32_t no, double rest)
{
    struct rank_node *n = &r->node[no];

    n->rest += rest;
    if (n->is_queued || !rank_is_due(r, n))
        return;
    n->is_queued = true;
    r->queue[(r->queue_at + r->queue_count++) % r->node_cap] = no;
}

static odb_status rank_add_edge(struct ranking *r, uint32_t from, uint32_t to, float weight)
{
    if (r->is_weighted && !(weight > 0))
        return ODB_OK;
    if (r->edge_count == r->edge_cap) {
        struct rank_edge *grown = graph_grow(r->edge, &r->edge_cap, sizeof *grown, 64);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for more than %zu edges to rank by", r->edge_cap);
        r->edge = grown;
    }
    r->edge[r->edge_count++] = (struct rank_edge){to, r->is_weighted ? weight : 1};
    r->node[from].edges++;
    r->node[from].weight += r->is_weighted ? (double)weight : 1;
    return ODB_OK;
}

/* Read the edges of a node. */
static odb_status rank_read(struct ranking *r, uint32_t no)
{
    struct graph_hop hop;
    odb_status st;

    r->node[no].first = r->edge_count;
    r->node[no].is_read = true;
    if (r->nodes->place[no].depth >= r->walker.budget->walk.max_depth) {
        r->walker.budget->report.cut |= ODB_CUT_DEPTH;
        return ODB_OK;
    }
    st = graph_walker_turn(&r->walker, graph_set_at(&r->nodes->set, no));
    while (st == ODB_OK) {
        uint32_t to;
        bool is_new;

        st = graph_walker_next(&r->walker, &hop);
        if (st == ODB_OK)
            st = graph_walker_reach(&r->walker, &hop, no, false, &to, &is_new);
        if (st == ODB_OK)
            st = rank_room(r);
        if (st == ODB_OK && to != GRAPH_NONE)
            st = rank_add_edge(r, no, to, hop.value.weight);
    }
    return st == ODB_ABSENT ? ODB_OK : st;
}

static odb_status rank_push(struct ranking *r, uint32_t no)
{
    struct rank_node *n = &r->node[no];
    double rest;
    odb_status st = n->is_read ? ODB_OK : rank_read(r, no);

    n = &r->node[no]; /* reading may have moved them */
    if (st != ODB_OK || !rank_is_due(r, n))
        return st;
    rest = n->rest;
    n->rest = 0;
    if (n->edges == 0) {
        n->score += rest; /* the walker stays here */
        return ODB_OK;
    }
    n->score += r->alpha * rest;
    rest = (1 - r->alpha) * rest / n->weight;
    for (size_t i = n->first, end = n->first + n->edges; i < end; i++)
        rank_give(r, r->edge[i].to, rest * (double)r->edge[i].weight);
    return ODB_OK;
}

static odb_status rank_run(struct ranking *r)
{
    odb_status st = ODB_OK;

    while (r->queue_count && st == ODB_OK && !r->walker.budget->is_over) {
        uint32_t no = r->queue[r->queue_at];

        r->queue_at = (r->queue_at + 1) % r->node_cap;
        r->queue_count--;
        r->node[no].is_queued = false;
        st = rank_push(r, no);
    }
    return st;
}

static odb_status rank_seed(struct ranking *r, const odb_slice *seed, const double *weight,
                            size_t count)
{
    const struct graph_place place = {GRAPH_NONE, 0, GRAPH_NONE, false};
    double sum = 0;
    odb_status st = ODB_OK;

    for (size_t i = 0; i < count; i++) {
        if (weight && !(weight[i] >= 0 && isfinite(weight[i])))
            return err_set(ODB_INVALID, "the weight of a seed is %g", weight[i]);
        sum += weight ? weight[i] : 1;
    }
    if (!(sum > 0) || !isfinite(sum))
        return err_set(ODB_INVALID, "the weights of the %zu seeds sum to %g", count, sum);
    for (size_t i = 0; i < count && st == ODB_OK; i++) {
        uint32_t no;
        bool is_new;

        st = graph_check_id(seed[i], "a seed");
        if (st == ODB_OK)
            st = graph_nodes_add(r->nodes, seed[i], &place, &no, &is_new);
        if (st == ODB_OK)
            st = rank_room(r);
        if (st == ODB_OK)
            rank_give(r, no, (weight ? weight[i] : 1) / sum);
    }
    return st;
}

static odb_status rank_result(struct ranking *r, odb_scores **out)
{
    double *score = mem_array((size_t)r->node_count + 1, sizeof *score);
    odb_status st;

    if (!score)
        return err_set(ODB_NOMEM, "no memory for %u scores", r->node_count);
    for (uint32_t i = 0; i < r->node_count; i++)
        score[i] = r->node[i].score;
    st = scores_new(&r->nodes->set, &score, out);
    mem_free(score);
    return st;
}

static odb_status rank_options(struct ranking *r, const odb_rank *rank)
{
    if (rank && rank->size < sizeof *rank)
        return err_set(ODB_INVALID, "odb_rank of a size that never was");
    r->alpha =
        rank && (rank->alpha < 0 || rank->alpha > 0 || isnan(rank->alpha)) ? rank->alpha : 0.15;
    r->epsilon = rank && (rank->epsilon < 0 || rank->epsilon > 0 || isnan(rank->epsilon))
                     ? rank->epsilon
                     : 1e-6;
    r->is_weighted = rank && rank->weighted;
    if (!(r->alpha > 0 && r->alpha <= 1) || !(r->epsilon > 0 && r->epsilon < 1))
        return err_set(ODB_INVALID, "alpha %g and epsilon %g; both lie between 0 and 1", r->alpha,
                       r->epsilon);
    return ODB_OK;
}

odb_status odb_pagerank(odb_at at, const odb_slice *seed, const double *weight, size_t count,
                        const odb_rank *rank, const odb_walk *walk, odb_scores **out)
{
    struct graph_budget b;
    struct graph_match match = {0};
    struct graph_view v = {0};
    struct ranking r = {0};
    odb_status st = graph_budget_init(&b, walk);

    b.walk.heaviest = false;
    if (st == ODB_OK)
        st = rank_options(&r, rank);
    if (st == ODB_OK && (!out || !seed || !count))
        st = err_set(ODB_INVALID, out ? "a rank needs seeds" : "the place for the scores is NULL");
    graph_walker_init(&r.walker, &b, &v, &match, b.walk.edges.direction, r.is_weighted, NULL);
    if (st == ODB_OK)
        st = graph_match_init(&match, walk ? &walk->edges : NULL);
    if (st == ODB_OK)
        st = graph_view_init(&v, at, true);
    if (st != ODB_OK)
        goto done;
    r.nodes = r.walker.nodes = graph_nodes_new();
    st = r.nodes ? rank_seed(&r, seed, weight, count) : err_set(ODB_NOMEM, "no memory for a rank");
    if (st == ODB_OK)
        st = rank_run(&r);
    b.report.nodes = r.nodes ? r.nodes->set.count : 0;
    if (st == ODB_OK)
        st = rank_result(&r, out);
done:
    graph_budget_report(&b, walk);
    odb_nodeset_free(r.nodes);
    mem_free(r.node);
    mem_free(r.edge);
    mem_free(r.queue);
    graph_walker_release(&r.walker);
    graph_view_release(&v);
    graph_match_release(&match);
    return st;
}

/* ---- common neighbours ---- */

/* Add the neighbours of `node` to `to`, each once; with `among`, only those that are in it. */
static odb_status add_neighbours(const struct graph_view *v, const struct graph_match *m,
                                 int direction, odb_slice node, const struct graph_set *among,
                                 struct graph_set *to)
{
    odb_status st = ODB_OK;

    for (int is_in = 0; is_in < 2 && st == ODB_OK; is_in++) {
        struct graph_cursor c = {0};
        struct graph_hop hop;

        if (!graph_goes(direction, is_in))
            continue;
        st = graph_cursor_init(&c, v, is_in, m, false, &node);
        if (st == ODB_OK)
            graph_cursor_move(&c, node);
        while (st == ODB_OK && (st = graph_cursor_next(&c, &hop)) == ODB_OK) {
            uint32_t no;
            bool is_new;

            if (!among || graph_set_find(among, hop.other) != GRAPH_NONE)
                st = graph_set_add(to, hop.other, &no, &is_new);
        }
        graph_cursor_release(&c);
        st = st == ODB_ABSENT ? ODB_OK : st;
    }
    return st;
}

/* Neighbours by one relation in one direction come in the order of ids on both sides: whoever is behind
 * steps, and soon seeks, to where the other is. A node with few edges is so compared with one that has
 * very many. */
static odb_status add_meetings(const struct graph_view *v, const struct graph_match *m, bool is_in,
                               const odb_slice node[2], odb_slice rel, struct graph_set *to)
{
    struct graph_cursor c[2] = {{0}, {0}};
    struct graph_hop hop[2];
    odb_status st = ODB_OK;

    for (int i = 0; i < 2 && st == ODB_OK; i++) {
        st = graph_cursor_init(&c[i], v, is_in, m, false, &node[i]);
        if (st == ODB_OK) {
            graph_cursor_move(&c[i], node[i]);
            st = graph_cursor_next(&c[i], &hop[i]);
        }
    }
    while (st == ODB_OK) {
        int order = odb_slice_compare(hop[0].other, hop[1].other), behind = order > 0;
        uint32_t no;
        bool is_new;

        if (order == 0) {
            st = graph_set_add(to, hop[0].other, &no, &is_new);
            if (st == ODB_OK)
                st = graph_cursor_next(&c[0], &hop[0]);
        } else {
            st = graph_cursor_catch_up(&c[behind], rel, hop[!behind].other, &hop[behind]);
        }
    }
    graph_cursor_release(&c[0]);
    graph_cursor_release(&c[1]);
    return st == ODB_ABSENT ? ODB_OK : st;
}

/* The strings of `found`, ordered, as a set of nodes. */
static odb_status nodes_in_order(const struct graph_set *found, odb_nodeset **out)
{
    const struct graph_place place = {GRAPH_NONE, 1, GRAPH_NONE, false};
    uint32_t *no = mem_array((size_t)found->count + 1, sizeof *no);
    odb_nodeset *n = graph_nodes_new();
    odb_status st = ODB_OK;

    if (!no || !n) {
        st = err_set(ODB_NOMEM, "no memory for %u common neighbours", found->count);
        goto done;
    }
    for (uint32_t i = 0; i < found->count; i++)
        no[i] = i;
    st = graph_set_sort(found, no, found->count);
    for (uint32_t i = 0; i < found->count && st == ODB_OK; i++) {
        uint32_t at;
        bool is_new;

        st = graph_nodes_add(n, graph_set_at(found, no[i]), &place, &at, &is_new);
    }
    if (st == ODB_OK) {
        *out = n;
        n = NULL;
    }
done:
    mem_free(no);
    odb_nodeset_free(n);
    return st;
}

odb_status odb_common_neighbours(odb_at at, odb_slice a, odb_slice b, const odb_edge_match *match,
                                 odb_nodeset **out)
{
    const odb_slice node[2] = {a, b};
    int direction = match ? match->direction : ODB_OUT;
    struct graph_set near = {0}, both = {0};
    struct graph_match m = {0};
    struct graph_view v = {0};
    odb_status st = out ? graph_check_id(a, "the first node")
                        : err_set(ODB_INVALID, "the place for the nodes must not be NULL");

    if (st == ODB_OK)
        st = graph_check_id(b, "the second node");
    if (st == ODB_OK)
        st = graph_match_init(&m, match);
    if (st == ODB_OK)
        st = graph_view_init(&v, at, true);
    if (st != ODB_OK)
        goto done;
    if (m.rel_count == 1 && direction != ODB_BOTH) {
        st = add_meetings(&v, &m, direction == ODB_IN, node, match->rels[0], &both);
    } else {
        st = add_neighbours(&v, &m, direction, a, NULL, &near);
        if (st == ODB_OK)
            st = add_neighbours(&v, &m, direction, b, &near, &both);
    }
    if (st == ODB_OK)
        st = nodes_in_order(&both, out);
done:
    graph_set_release(&near);
    graph_set_release(&both);
    graph_view_release(&v);
    graph_match_release(&m);
    return st;
}

/* ---- counts by relation ---- */

struct histogram {
    struct graph_set rels;
    double *count;
    uint32_t cap;
};

static odb_status histogram_add(struct histogram *h, odb_slice rel, uint32_t *no)
{
    bool is_new;
    odb_status st = graph_set_add(&h->rels, rel, no, &is_new);

    if (st == ODB_OK && h->rels.count > h->cap) {
        double *grown = mem_realloc(h->count, h->rels.cap * sizeof *grown);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory to count %u relations", h->rels.cap);
        h->count = grown;
        h->cap = h->rels.cap;
    }
    if (st == ODB_OK && is_new)
        h->count[*no] = 0;
    return st;
}

static odb_status count_of_node(const struct graph_view *v, odb_slice node, bool is_in,
                                struct histogram *h)
{
    const struct graph_match all = {0};
    struct graph_cursor c = {0};
    struct graph_hop hop;
    uint32_t no = 0, serial = 0;
    odb_status st = graph_cursor_init(&c, v, is_in, &all, false, &node);

    if (st == ODB_OK)
        graph_cursor_move(&c, node);
    while (st == ODB_OK && (st = graph_cursor_next(&c, &hop)) == ODB_OK) {
        if (hop.rel_serial != serial)
            st = histogram_add(h, hop.rel, &no);
        serial = hop.rel_serial;
        if (st == ODB_OK)
            h->count[no]++;
    }
    graph_cursor_release(&c);
    return st == ODB_ABSENT ? ODB_OK : st;
}

static odb_status count_of_all(const struct graph_view *v, struct histogram *h)
{
    const odb_range range = {.keys_only = true, .is_long = true};
    struct graph_room room = {0};
    struct graph_names names;
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(v->at, v->cf.forward, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it)) {
        uint32_t no = 0;

        st = graph_key_open(odb_iter_key(it), &room, &names);
        if (st == ODB_OK)
            st = histogram_add(h, names.rel, &no);
        else
            st = graph_refuse(st, ODB_FAMILY_GRAPH_FORWARD, odb_iter_key(it), "key");
        if (st == ODB_OK)
            h->count[no]++;
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    graph_room_release(&room);
    return st;
}

odb_status odb_relation_histogram(odb_at at, odb_slice node, int direction, odb_scores **out)
{
    struct histogram h = {0};
    struct graph_view v = {0};
    odb_status st = ODB_OK;

    if (!out || (direction != ODB_OUT && direction != ODB_IN))
        return err_set(ODB_INVALID, out ? "edges are counted outward or inward"
                                        : "the place for the counts must not be NULL");
    if (node.size)
        st = graph_check_id(node, "the node");
    if (st == ODB_OK)
        st = graph_view_init(&v, at, false);
    if (st == ODB_OK)
        st = node.size ? count_of_node(&v, node, direction == ODB_IN, &h) : count_of_all(&v, &h);
    if (st == ODB_OK)
        st = scores_new(&h.rels, &h.count, out);
    graph_set_release(&h.rels);
    mem_free(h.count);
    graph_view_release(&v);
    return st;
}
