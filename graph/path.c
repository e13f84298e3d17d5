/* graph/path.c -- shortest ways.
 *
 * Fewest edges: two breadth-first searches, one from `a` along the edges, one from `b` against them.
 * The side with the smaller level goes on, a whole level at a time:
 *
 *     a ( ( (  x  ) ) ) b         The first node both have reached lies on a shortest way: while the
 *        1 2 3   3 2 1            sides have no node in common, the way is longer than the sum of
 *                                 their depths, and with the one that joins them it is that plus one.
 *
 * Least cost: Dijkstra's, with a heap of (cost, node) in which overtaken entries stay until they come
 * up. Costs are not negative, so a node that comes up has its final cost.
 *
 * The nodes remember by which edge they were reached; the edges of the way are read again at the end, at
 * the same moment.
 */
#include "graph/walk.h"

#include <math.h>

#include "base/alloc.h"

struct odb_path {
    odb_edge_list list;
    bool *is_backward; /* for each edge */
    struct buf start;
    double cost;
};

/* One edge of the way while it is put together. */
struct step {
    odb_slice from, rel, to;
    bool is_backward;
};

struct steps {
    struct step *at;
    size_t count;
};

/* ---- the result ---- */

void odb_path_free(odb_path *path)
{
    if (!path)
        return;
    odb_edge_list_release(&path->list);
    mem_free(path->is_backward);
    buf_release(&path->start);
    mem_free(path);
}

size_t odb_path_length(const odb_path *path)
{
    return path ? path->list.count : 0;
}

double odb_path_cost(const odb_path *path)
{
    return path ? path->cost : 0;
}

odb_slice odb_path_node(const odb_path *path, size_t i)
{
    const odb_edge *e;

    if (!path || i > path->list.count)
        return odb_bytes(NULL, 0);
    if (i == 0)
        return buf_slice(&path->start);
    e = &path->list.edge[i - 1];
    return path->is_backward[i - 1] ? e->from : e->to;
}

odb_edge odb_path_edge(const odb_path *path, size_t i)
{
    odb_edge none;

    memset(&none, 0, sizeof none);
    return path && i < path->list.count ? path->list.edge[i] : none;
}

/* Read the edges of the way. */
static odb_status path_new(const struct graph_view *v, odb_slice start, const struct steps *steps,
                           double cost, odb_path **out)
{
    struct graph_list_maker l = {0};
    odb_path *path = mem_zalloc(1, sizeof *path);
    odb_status st;

    if (!path)
        return err_set(ODB_NOMEM, "no memory for a path");
    path->cost = cost;
    st = buf_assign(&path->start, start.data, start.size);
    path->is_backward = mem_zalloc(steps->count + 1, sizeof *path->is_backward);
    if (st == ODB_OK && !path->is_backward)
        st = err_set(ODB_NOMEM, "no memory for a path of %zu edges", steps->count);
    for (size_t i = 0; i < steps->count && st == ODB_OK; i++) {
        const struct step *s = &steps->at[i];

        path->is_backward[i] = s->is_backward;
        st = graph_list_fetch(&l, v, s->from, s->rel, s->to);
    }
    if (st == ODB_OK)
        st = graph_list_finish(&l, &path->list);
    graph_list_release(&l);
    if (st == ODB_OK)
        *out = path;
    else
        odb_path_free(path);
    return st;
}

/* Add the edges from the start of `n` to node `to`, in this order; or, when `n` was walked against the
 * edges, those from `to` on. */
static void steps_add(struct steps *s, const odb_nodeset *n, uint32_t to, bool is_reverse)
{
    size_t at = is_reverse ? s->count : s->count + n->place[to].depth;

    s->count += n->place[to].depth;
    for (uint32_t here = to; n->place[here].parent != GRAPH_NONE; here = n->place[here].parent) {
        const struct graph_place *p = &n->place[here];
        odb_slice near = graph_set_at(&n->set, p->parent), far = graph_set_at(&n->set, here);
        struct step one;

        one.from = p->is_backward ? far : near;
        one.to = p->is_backward ? near : far;
        one.rel = graph_set_at(&n->rels, p->rel);
        one.is_backward = p->is_backward != is_reverse;
        s->at[is_reverse ? at++ : --at] = one;
    }
}

/* ---- fewest edges ---- */

struct side {
    struct graph_walker walker;
    odb_nodeset *nodes;
    struct graph_list level, next;
    uint32_t depth;
};

struct meeting {
    struct side side[2]; /* from a, from b */
    uint32_t at[2];      /* the common node, as each side numbers it */
    bool is_found;
};

static odb_status side_init(struct side *s, odb_slice start)
{
    const struct graph_place place = {GRAPH_NONE, 0, GRAPH_NONE, false};
    uint32_t no;
    bool is_new;
    odb_status st;

    s->nodes = s->walker.nodes = graph_nodes_new();
    if (!s->nodes)
        return err_set(ODB_NOMEM, "no memory to look for a path");
    st = graph_nodes_add(s->nodes, start, &place, &no, &is_new);
    return st == ODB_OK ? graph_list_push(&s->level, no) : st;
}

static void side_release(struct side *s)
{
    graph_walker_release(&s->walker);
    odb_nodeset_free(s->nodes);
    mem_free(s->level.at);
    mem_free(s->next.at);
}

static odb_status side_hop(struct meeting *m, int which, uint32_t from, const struct graph_hop *hop)
{
    struct side *s = &m->side[which];
    uint32_t met = graph_set_find(&m->side[!which].nodes->set, hop->other), to;
    bool is_new;
    odb_status st = graph_walker_reach(&s->walker, hop, from, met != GRAPH_NONE, &to, &is_new);

    if (st != ODB_OK || !is_new)
        return st;
    if (met != GRAPH_NONE) {
        m->at[which] = to;
        m->at[!which] = met;
        m->is_found = true;
        return ODB_OK;
    }
    return graph_list_push(&s->next, to);
}

/* One level further on one side. */
static odb_status side_step(struct meeting *m, int which)
{
    struct side *s = &m->side[which];
    struct graph_list t = s->level;
    struct graph_hop hop;
    odb_status st = graph_set_sort(&s->nodes->set, s->level.at, s->level.count);

    for (size_t i = 0; i < s->level.count && st == ODB_OK; i++) {
        uint32_t from = s->level.at[i];

        st = graph_walker_turn(&s->walker, graph_set_at(&s->nodes->set, from));
        while (st == ODB_OK && !m->is_found) {
            st = graph_walker_next(&s->walker, &hop);
            if (st == ODB_OK)
                st = side_hop(m, which, from, &hop);
        }
        st = st == ODB_ABSENT ? ODB_OK : st;
        if (m->is_found || s->walker.budget->is_over)
            return st;
    }
    s->level = s->next;
    s->next = t;
    s->next.count = 0;
    s->depth++;
    return st;
}

static odb_status meet(struct meeting *m)
{
    struct graph_budget *b = m->side[0].walker.budget;
    odb_status st = ODB_OK;

    while (st == ODB_OK && !m->is_found && !b->is_over) {
        size_t ahead = m->side[0].level.count, behind = m->side[1].level.count;

        if (!ahead || !behind)
            return ODB_ABSENT; /* one side has seen all there is */
        if (m->side[0].depth + m->side[1].depth >= b->walk.max_depth) {
            b->report.cut |= ODB_CUT_DEPTH;
            return ODB_ABSENT;
        }
        st = side_step(m, behind < ahead);
    }
    return st == ODB_OK && !m->is_found ? ODB_ABSENT : st;
}

static int turned_round(int direction)
{
    return direction == ODB_BOTH ? ODB_BOTH : direction == ODB_OUT ? ODB_IN : ODB_OUT;
}

static odb_status fewest_edges(struct graph_budget *b, const struct graph_view *v,
                               const struct graph_match *match, odb_slice a, odb_slice z,
                               odb_path **out)
{
    struct meeting *m = mem_zalloc(1, sizeof *m);
    struct steps steps = {0};
    int direction = b->walk.edges.direction;
    odb_status st;

    if (!m)
        return err_set(ODB_NOMEM, "no memory to look for a path");
    graph_walker_init(&m->side[0].walker, b, v, match, direction, b->walk.heaviest, NULL);
    graph_walker_init(&m->side[1].walker, b, v, match, turned_round(direction), b->walk.heaviest,
                      NULL);
    st = side_init(&m->side[0], a);
    if (st == ODB_OK)
        st = side_init(&m->side[1], z);
    if (st == ODB_OK)
        st = meet(m);
    for (int i = 0; i < 2; i++)
        b->report.nodes += m->side[i].nodes ? m->side[i].nodes->set.count : 0;
    if (st != ODB_OK)
        goto done;
    steps.at = mem_array((size_t)m->side[0].depth + m->side[1].depth + 2, sizeof *steps.at);
    if (!steps.at) {
        st = err_set(ODB_NOMEM, "no memory for a path");
        goto done;
    }
    steps_add(&steps, m->side[0].nodes, m->at[0], false);
    steps_add(&steps, m->side[1].nodes, m->at[1], true);
    st = path_new(v, a, &steps, (double)steps.count, out);
done:
    mem_free(steps.at);
    side_release(&m->side[0]);
    side_release(&m->side[1]);
    mem_free(m);
    return st;
}

/* ---- least cost ---- */

struct candidate {
    double cost;
    uint32_t node;
};

struct dijkstra {
    struct graph_walker walker;
    odb_nodeset *nodes;
    double *cost; /* of the best way so far, for each node */
    uint32_t cost_cap;
    struct candidate *heap;
    size_t count, cap;
    odb_edge_cost *cost_of;
    void *arg;
    odb_slice goal;
};

static bool comes_before(struct candidate a, struct candidate b)
{
    return a.cost < b.cost || (!(a.cost > b.cost) && a.node < b.node);
}

static odb_status heap_push(struct dijkstra *d, struct candidate one)
{
    size_t at = d->count;

    if (d->count == d->cap) {
        struct candidate *grown = graph_grow(d->heap, &d->cap, sizeof *grown, 64);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for more than %zu nodes to come", d->cap);
        d->heap = grown;
    }
    d->count++;
    for (; at > 0 && comes_before(one, d->heap[(at - 1) / 2]); at = (at - 1) / 2)
        d->heap[at] = d->heap[(at - 1) / 2];
    d->heap[at] = one;
    return ODB_OK;
}

static struct candidate heap_pop(struct dijkstra *d)
{
    struct candidate top = d->heap[0], last = d->heap[--d->count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= d->count)
            break;
        if (child + 1 < d->count && comes_before(d->heap[child + 1], d->heap[child]))
            child++;
        if (!comes_before(d->heap[child], last))
            break;
        d->heap[at] = d->heap[child];
        at = child;
    }
    d->heap[at] = last;
    return top;
}

static odb_status cost_room(struct dijkstra *d)
{
    double *grown;

    if (d->cost_cap >= d->nodes->place_cap)
        return ODB_OK;
    grown = mem_realloc(d->cost, d->nodes->place_cap * sizeof *grown);
    if (!grown)
        return err_set(ODB_NOMEM, "no memory for the costs of %u nodes", d->nodes->place_cap);
    d->cost = grown;
    d->cost_cap = d->nodes->place_cap;
    return ODB_OK;
}

static odb_status relax(struct dijkstra *d, uint32_t from, const struct graph_hop *hop)
{
    odb_edge e = graph_edge_of(d->walker.node, hop, d->walker.is_in);
    double cost = d->cost_of(d->arg, &e);
    struct graph_place *place;
    uint32_t to;
    bool is_new;
    odb_status st;

    if (cost < 0)
        return err_set(ODB_INVALID, "an edge has the cost %g; costs are not negative", cost);
    if (!isfinite(cost))
        return ODB_OK;
    cost += d->cost[from];
    st = graph_walker_reach(&d->walker, hop, from, odb_slice_equal(hop->other, d->goal), &to,
                            &is_new);
    if (st == ODB_OK && to != GRAPH_NONE)
        st = cost_room(d);
    if (st != ODB_OK || to == GRAPH_NONE)
        return st;
    if (!is_new) {
        if (!(cost < d->cost[to]))
            return ODB_OK;
        place = &d->nodes->place[to];
        place->parent = from;
        place->depth = d->nodes->place[from].depth + 1;
        place->is_backward = d->walker.is_in;
        st = graph_walker_rel(&d->walker, hop, &place->rel);
        if (st != ODB_OK)
            return st;
    }
    d->cost[to] = cost;
    return heap_push(d, (struct candidate){cost, to});
}

static odb_status relax_all(struct dijkstra *d, uint32_t from)
{
    struct graph_hop hop;
    odb_status st;

    if (d->nodes->place[from].depth >= d->walker.budget->walk.max_depth) {
        d->walker.budget->report.cut |= ODB_CUT_DEPTH;
        return ODB_OK;
    }
    st = graph_walker_turn(&d->walker, graph_set_at(&d->nodes->set, from));
    while (st == ODB_OK) {
        st = graph_walker_next(&d->walker, &hop);
        if (st == ODB_OK)
            st = relax(d, from, &hop);
    }
    return st == ODB_ABSENT ? ODB_OK : st;
}

/* ODB_ABSENT when the goal is out of reach; else *out is its number. */
static odb_status search_by_cost(struct dijkstra *d, odb_slice start, uint32_t *out)
{
    const struct graph_place place = {GRAPH_NONE, 0, GRAPH_NONE, false};
    uint32_t no;
    bool is_new;
    odb_status st = graph_nodes_add(d->nodes, start, &place, &no, &is_new);

    if (st == ODB_OK)
        st = cost_room(d);
    if (st != ODB_OK)
        return st;
    d->cost[no] = 0;
    st = heap_push(d, (struct candidate){0, no});
    while (st == ODB_OK && d->count) {
        struct candidate next = heap_pop(d);

        if (next.cost > d->cost[next.node])
            continue; /* overtaken */
        if (odb_slice_equal(graph_set_at(&d->nodes->set, next.node), d->goal)) {
            *out = next.node;
            return ODB_OK;
        }
        if (d->walker.budget->is_over)
            break;
        st = relax_all(d, next.node);
    }
    return st == ODB_OK ? ODB_ABSENT : st;
}

static odb_status least_cost(struct graph_budget *b, const struct graph_view *v,
                             const struct graph_match *match, odb_slice a, odb_slice z,
                             odb_edge_cost *cost, void *arg, odb_path **out)
{
    struct dijkstra *d = mem_zalloc(1, sizeof *d);
    struct steps steps = {0};
    uint32_t to = 0;
    odb_status st;

    if (!d)
        return err_set(ODB_NOMEM, "no memory to look for a path");
    graph_walker_init(&d->walker, b, v, match, b->walk.edges.direction, true, NULL);
    d->nodes = d->walker.nodes = graph_nodes_new();
    d->cost_of = cost;
    d->arg = arg;
    d->goal = z;
    st = d->nodes ? search_by_cost(d, a, &to) : err_set(ODB_NOMEM, "no memory to look for a path");
    b->report.nodes = d->nodes ? d->nodes->set.count : 0;
    if (st != ODB_OK)
        goto done;
    steps.at = mem_array((size_t)d->nodes->place[to].depth + 1, sizeof *steps.at);
    if (!steps.at) {
        st = err_set(ODB_NOMEM, "no memory for a path");
        goto done;
    }
    steps_add(&steps, d->nodes, to, false);
    st = path_new(v, a, &steps, d->cost[to], out);
done:
    mem_free(steps.at);
    graph_walker_release(&d->walker);
    odb_nodeset_free(d->nodes);
    mem_free(d->cost);
    mem_free(d->heap);
    mem_free(d);
    return st;
}

double odb_cost_by_weight(void *arg, const odb_edge *edge)
{
    (void)arg;
    return edge->weight > 0 ? 1 / (double)edge->weight : INFINITY;
}

odb_status odb_shortest_path(odb_at at, odb_slice a, odb_slice b, const odb_walk *walk,
                             odb_edge_cost *cost, void *arg, odb_path **out)
{
    struct graph_budget budget;
    struct graph_match match = {0};
    struct graph_view v = {0};
    const struct steps none = {NULL, 0};
    odb_status st = graph_budget_init(&budget, walk);

    budget.walk.heaviest = false;
    if (cost)
        budget.walk.fanout = UINT32_MAX;
    if (st == ODB_OK && !out)
        st = err_set(ODB_INVALID, "the place for the path must not be NULL");
    if (st == ODB_OK)
        st = graph_check_id(a, "the start of the path");
    if (st == ODB_OK)
        st = graph_check_id(b, "the end of the path");
    if (st == ODB_OK)
        st = graph_match_init(&match, walk ? &walk->edges : NULL);
    if (st == ODB_OK)
        st = graph_view_init(&v, at, true);
    if (st != ODB_OK)
        goto done;
    if (odb_slice_equal(a, b))
        st = path_new(&v, a, &none, 0, out);
    else if (cost)
        st = least_cost(&budget, &v, &match, a, b, cost, arg, out);
    else
        st = fewest_edges(&budget, &v, &match, a, b, out);
done:
    graph_budget_report(&budget, walk);
    graph_view_release(&v);
    graph_match_release(&match);
    return st;
}
