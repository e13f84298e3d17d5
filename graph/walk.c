/* graph/walk.c -- breadth first.
 *
 *     depth 0     starts
 *     depth 1     their neighbours           each level is put in the order of ids before it is walked on
 *     depth 2     theirs ...                 from: the seeks of one level go through the family once
 *
 * One iterator for each direction serves the whole walk, at one moment.
 */
#include "graph/walk.h"

#include <stdlib.h>

#include "base/alloc.h"

struct bfs {
    struct graph_walker walker;
    odb_nodeset *nodes;
    struct graph_list level, next; /* nodes to walk on from */
};

static odb_status bfs_visit(struct bfs *s, uint32_t no, uint32_t depth, const odb_edge *via)
{
    struct graph_budget *b = s->walker.budget;
    int verdict = ODB_VISIT_ON;

    if (b->walk.visit)
        verdict = b->walk.visit(b->walk.arg, graph_set_at(&s->nodes->set, no), depth, via);
    if (verdict == ODB_VISIT_STOP) {
        b->report.cut |= ODB_CUT_VISITOR;
        b->is_over = true;
    }
    return verdict == ODB_VISIT_ON ? graph_list_push(&s->next, no) : ODB_OK;
}

static odb_status keep_edge(struct bfs *s, uint32_t here, uint32_t there,
                            const struct graph_hop *hop)
{
    odb_nodeset *n = s->nodes;
    struct graph_kept *kept;
    uint32_t rel;
    odb_status st = graph_walker_rel(&s->walker, hop, &rel);

    if (st != ODB_OK)
        return st;
    if (n->kept_count == n->kept_cap) {
        struct graph_kept *grown = graph_grow(n->kept, &n->kept_cap, sizeof *grown, 32);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory to keep more than %zu edges of a walk",
                           n->kept_cap);
        n->kept = grown;
    }
    kept = &n->kept[n->kept_count++];
    kept->from = s->walker.is_in ? there : here;
    kept->to = s->walker.is_in ? here : there;
    kept->rel = rel;
    kept->weight = hop->value.weight;
    kept->time_us = hop->value.time_us;
    return ODB_OK;
}

static int kept_compare(const void *a, const void *b)
{
    const struct graph_kept *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->rel < y->rel ? -1 : x->rel > y->rel;
}

/* Walked both ways, an edge is met from both of its ends. */
static void keep_once(odb_nodeset *n)
{
    size_t count = 0;

    if (n->kept_count < 2)
        return;
    qsort(n->kept, n->kept_count, sizeof *n->kept, kept_compare);
    for (size_t i = 0; i < n->kept_count; i++)
        if (i == 0 || kept_compare(&n->kept[i], &n->kept[count - 1]) != 0)
            n->kept[count++] = n->kept[i];
    n->kept_count = count;
}

static odb_status bfs_hop(struct bfs *s, uint32_t from, const struct graph_hop *hop)
{
    uint32_t to;
    bool is_new;
    odb_edge via;
    odb_status st = graph_walker_reach(&s->walker, hop, from, false, &to, &is_new);

    if (st != ODB_OK || to == GRAPH_NONE)
        return st;
    if (s->walker.budget->walk.keep_edges)
        st = keep_edge(s, from, to, hop);
    if (st != ODB_OK || !is_new)
        return st;
    via = graph_edge_of(s->walker.node, hop, s->walker.is_in);
    return bfs_visit(s, to, s->nodes->place[to].depth, &via);
}

static odb_status bfs_walk_on(struct bfs *s, uint32_t from)
{
    struct graph_hop hop;
    odb_status st = graph_walker_turn(&s->walker, graph_set_at(&s->nodes->set, from));

    while (st == ODB_OK) {
        st = graph_walker_next(&s->walker, &hop);
        if (st == ODB_OK)
            st = bfs_hop(s, from, &hop);
    }
    return st == ODB_ABSENT ? ODB_OK : st;
}

/* All that is reached from `level` in one step goes to `next`. */
static odb_status bfs_step(struct bfs *s)
{
    odb_status st = graph_set_sort(&s->nodes->set, s->level.at, s->level.count);

    for (size_t i = 0; i < s->level.count && st == ODB_OK && !s->walker.budget->is_over; i++)
        st = bfs_walk_on(s, s->level.at[i]);
    return st;
}

static odb_status bfs_run(struct bfs *s)
{
    struct graph_budget *b = s->walker.budget;
    odb_status st = ODB_OK;

    for (uint32_t depth = 0; st == ODB_OK && s->next.count && !b->is_over; depth++) {
        struct graph_list t = s->level;

        if (depth == b->walk.max_depth) {
            b->report.cut |= ODB_CUT_DEPTH;
            break;
        }
        s->level = s->next;
        s->next = t;
        s->next.count = 0;
        st = bfs_step(s);
    }
    return st;
}

static odb_status bfs_start(struct bfs *s, const odb_slice *start, size_t count)
{
    const struct graph_place place = {GRAPH_NONE, 0, GRAPH_NONE, false};
    struct graph_budget *b = s->walker.budget;
    odb_status st = ODB_OK;

    for (size_t i = 0; i < count && st == ODB_OK; i++)
        st = graph_check_id(start[i], "a start");
    for (size_t i = 0; i < count && st == ODB_OK && !b->is_over; i++) {
        uint32_t no;
        bool is_new = false;

        if (s->nodes->set.count == b->walk.max_nodes &&
            graph_set_find(&s->nodes->set, start[i]) == GRAPH_NONE) {
            b->report.cut |= ODB_CUT_NODES;
            break;
        }
        st = graph_nodes_add(s->nodes, start[i], &place, &no, &is_new);
        if (st == ODB_OK && is_new)
            st = bfs_visit(s, no, 0, NULL);
    }
    return st;
}

odb_status odb_walk_bfs(odb_at at, const odb_slice *start, size_t count, const odb_walk *walk,
                        odb_nodeset **out)
{
    struct graph_budget b;
    struct graph_match match = {0};
    struct graph_view v = {0};
    struct bfs s = {0};
    odb_status st = graph_budget_init(&b, walk);
    bool needs_values = b.walk.visit || b.walk.keep_edges || b.walk.heaviest;

    graph_walker_init(&s.walker, &b, &v, &match, b.walk.edges.direction, needs_values, NULL);
    if (st == ODB_OK && (!out || (!start && count)))
        st = err_set(ODB_INVALID, "the %s must not be NULL", out ? "starts" : "place for the set");
    if (st == ODB_OK)
        st = graph_match_init(&match, walk ? &walk->edges : NULL);
    if (st == ODB_OK)
        st = graph_view_init(&v, at, true);
    if (st != ODB_OK)
        goto done;
    s.nodes = s.walker.nodes = graph_nodes_new();
    st = s.nodes ? bfs_start(&s, start, count) : err_set(ODB_NOMEM, "no memory for a walk");
    if (st == ODB_OK)
        st = bfs_run(&s);
    if (st != ODB_OK)
        goto done;
    if (b.walk.edges.direction == ODB_BOTH)
        keep_once(s.nodes);
    b.report.nodes = s.nodes->set.count;
    *out = s.nodes;
    s.nodes = NULL;
done:
    graph_budget_report(&b, walk);
    odb_nodeset_free(s.nodes);
    mem_free(s.level.at);
    mem_free(s.next.at);
    graph_walker_release(&s.walker);
    graph_view_release(&v);
    graph_match_release(&match);
    return st;
}
