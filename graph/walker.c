/* graph/walker.c -- limits, nodes, and the edges of one node after another; see walk.h.
 *
 * Limits are no failures: whoever hits one sets `is_over`, the reading of edges ends with ODB_ABSENT, and
 * the search comes to its ordinary end with what it has.
 */
#include "graph/walk.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "os/os.h"

#define TICKS 128 /* edges between two looks at the clock */

/* ---- limits ---- */

odb_status graph_budget_init(struct graph_budget *b, const odb_walk *walk)
{
    memset(b, 0, sizeof *b);
    if (walk) {
        if (walk->size < sizeof *walk)
            return err_set(ODB_INVALID, "odb_walk of a size that never was");
        b->walk = *walk;
    }
    if (!b->walk.max_depth)
        b->walk.max_depth = UINT32_MAX;
    if (!b->walk.max_nodes)
        b->walk.max_nodes = UINT32_MAX;
    if (!b->walk.max_edges)
        b->walk.max_edges = UINT64_MAX;
    if (!b->walk.fanout)
        b->walk.fanout = UINT32_MAX;
    b->ticks = TICKS;
    b->now_us = (int64_t)os_wall_us(os_posix());
    if (b->walk.time_limit_ms)
        b->deadline_ns = os_now_ns(os_posix()) + (uint64_t)b->walk.time_limit_ms * 1000000;
    return ODB_OK;
}

void graph_budget_report(const struct graph_budget *b, const odb_walk *walk)
{
    if (walk && walk->report)
        *walk->report = b->report;
}

static void budget_cut(struct graph_budget *b, enum odb_walk_cut cut)
{
    b->report.cut |= (unsigned)cut;
    b->is_over = true;
}

/* One more edge. False: it is one too many. */
static bool budget_take_edge(struct graph_budget *b)
{
    if (b->report.edges == b->walk.max_edges) {
        budget_cut(b, ODB_CUT_EDGES);
        return false;
    }
    b->report.edges++;
    if (--b->ticks == 0) {
        b->ticks = TICKS;
        if (b->deadline_ns && os_now_ns(os_posix()) >= b->deadline_ns) {
            budget_cut(b, ODB_CUT_TIME);
            return false;
        }
    }
    return true;
}

/* ---- nodes ---- */

odb_nodeset *graph_nodes_new(void)
{
    return mem_zalloc(1, sizeof(odb_nodeset));
}

void odb_nodeset_free(odb_nodeset *set)
{
    if (!set)
        return;
    graph_set_release(&set->set);
    graph_set_release(&set->rels);
    mem_free(set->place);
    mem_free(set->kept);
    mem_free(set);
}

odb_status graph_nodes_add(odb_nodeset *n, odb_slice id, const struct graph_place *place,
                           uint32_t *out, bool *is_new)
{
    odb_status st;

    if (n->set.count == n->place_cap) {
        uint32_t cap = n->place_cap ? n->place_cap * 2 : 32;
        struct graph_place *grown =
            cap > n->place_cap ? mem_realloc(n->place, cap * sizeof *grown) : NULL;

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for %u nodes of a walk", cap);
        n->place = grown;
        n->place_cap = cap;
    }
    st = graph_set_add(&n->set, id, out, is_new);
    if (st == ODB_OK && *is_new)
        n->place[*out] = *place;
    return st;
}

odb_status graph_list_push(struct graph_list *l, uint32_t number)
{
    if (l->count == l->cap) {
        uint32_t *grown = graph_grow(l->at, &l->cap, sizeof *grown, 32);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for a list of more than %zu nodes", l->cap);
        l->at = grown;
    }
    l->at[l->count++] = number;
    return ODB_OK;
}

size_t odb_nodeset_count(const odb_nodeset *set)
{
    return set ? set->set.count : 0;
}

odb_node odb_nodeset_at(const odb_nodeset *set, size_t i)
{
    odb_node node;
    const struct graph_place *place;

    memset(&node, 0, sizeof node);
    node.parent = SIZE_MAX;
    if (!set || i >= set->set.count)
        return node;
    place = &set->place[i];
    node.id = graph_set_at(&set->set, (uint32_t)i);
    node.depth = place->depth;
    if (place->parent != GRAPH_NONE)
        node.parent = place->parent;
    if (place->rel != GRAPH_NONE)
        node.rel = graph_set_at(&set->rels, place->rel);
    node.is_backward = place->is_backward;
    return node;
}

size_t odb_nodeset_find(const odb_nodeset *set, odb_slice id)
{
    uint32_t i = set ? graph_set_find(&set->set, id) : GRAPH_NONE;

    return i == GRAPH_NONE ? SIZE_MAX : i;
}

size_t odb_nodeset_edge_count(const odb_nodeset *set)
{
    return set ? set->kept_count : 0;
}

odb_link_of odb_nodeset_edge(const odb_nodeset *set, size_t i)
{
    odb_link_of link;
    const struct graph_kept *kept;

    memset(&link, 0, sizeof link);
    link.from = link.to = SIZE_MAX;
    if (!set || i >= set->kept_count)
        return link;
    kept = &set->kept[i];
    link.from = kept->from;
    link.to = kept->to;
    link.rel = graph_set_at(&set->rels, kept->rel);
    link.weight = kept->weight;
    link.time_us = kept->time_us;
    return link;
}

/* ---- the walker ---- */

void graph_walker_init(struct graph_walker *w, struct graph_budget *b, const struct graph_view *v,
                       const struct graph_match *match, int direction, bool needs_values,
                       odb_nodeset *nodes)
{
    memset(w, 0, offsetof(struct graph_walker, cursor));
    w->budget = b;
    w->view = v;
    w->match = match;
    w->nodes = nodes;
    w->direction = direction;
    w->needs_values = needs_values;
    for (int i = 0; i < 2; i++) {
        w->cursor[i].it = NULL;
        w->rel_serial[i] = 0;
        w->rel[i] = GRAPH_NONE;
    }
    memset(&w->refused, 0, sizeof w->refused);
    w->picks = NULL;
}

void graph_walker_release(struct graph_walker *w)
{
    for (int i = 0; i < 2; i++)
        if (w->cursor[i].it)
            graph_cursor_release(&w->cursor[i]);
    graph_set_release(&w->refused);
    mem_free(w->picks);
    w->picks = NULL;
}

/* The next edge of the node, limits aside; damaged ones are passed over where the walk says so. */
static odb_status walker_read(struct graph_walker *w, struct graph_hop *out)
{
    struct graph_cursor *c = &w->cursor[w->is_in];
    odb_status st;

    for (;;) {
        st = graph_cursor_next(c, out);
        if (!w->budget->walk.skip_damaged || !graph_cursor_is_damage(c, st))
            return st;
        w->budget->report.damaged++;
    }
}

/* ---- the heaviest edges of a node ----
 *
 * Two readings: the first keeps the numbers of the heaviest in a heap whose top is the lightest of them,
 * the second gives the edges of these numbers. Nothing of the edges themselves is copied.
 */

static bool pick_is_lighter(struct graph_pick a, struct graph_pick b)
{
    return a.weight < b.weight || (!(a.weight > b.weight) && a.no > b.no);
}

static void pick_sift(struct graph_pick *p, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        struct graph_pick t = p[at];

        if (child >= count)
            return;
        if (child + 1 < count && pick_is_lighter(p[child + 1], p[child]))
            child++;
        if (!pick_is_lighter(p[child], t))
            return;
        p[at] = p[child];
        p[child] = t;
        at = child;
    }
}

static int pick_compare_no(const void *a, const void *b)
{
    const struct graph_pick *x = a, *y = b;

    return x->no < y->no ? -1 : x->no > y->no;
}

static odb_status pick_room(struct graph_walker *w, uint32_t *cap)
{
    uint32_t room = *cap ? (*cap > UINT32_MAX / 2 ? UINT32_MAX : *cap * 2) : 16;
    struct graph_pick *grown;

    if (room > w->budget->walk.fanout)
        room = w->budget->walk.fanout;
    grown = mem_realloc(w->picks, (size_t)room * sizeof *grown);
    if (!grown)
        return err_set(ODB_NOMEM, "no memory for the %u heaviest edges", room);
    w->picks = grown;
    *cap = room;
    return ODB_OK;
}

static odb_status pick_heaviest(struct graph_walker *w)
{
    struct graph_hop hop;
    uint32_t cap = 0;
    uint64_t no = 0;
    odb_status st;

    w->pick_count = w->pick_at = 0;
    mem_free(w->picks);
    w->picks = NULL;
    while ((st = walker_read(w, &hop)) == ODB_OK) {
        struct graph_pick one = {hop.value.weight, no++};

        if (!budget_take_edge(w->budget))
            break;
        if (w->pick_count < w->budget->walk.fanout) {
            if (w->pick_count == cap && (st = pick_room(w, &cap)) != ODB_OK)
                return st;
            w->picks[w->pick_count++] = one;
            if (w->pick_count == w->budget->walk.fanout)
                for (uint32_t i = w->pick_count / 2; i-- > 0;)
                    pick_sift(w->picks, w->pick_count, i);
        } else if (pick_is_lighter(w->picks[0], one)) {
            w->picks[0] = one;
            pick_sift(w->picks, w->pick_count, 0);
        }
    }
    if (st != ODB_OK && st != ODB_ABSENT)
        return st;
    if (no > w->pick_count)
        w->budget->report.cut |= ODB_CUT_FANOUT;
    if (w->pick_count)
        qsort(w->picks, w->pick_count, sizeof *w->picks, pick_compare_no);
    graph_cursor_move(&w->cursor[w->is_in], w->node);
    return ODB_OK;
}

static odb_status next_picked(struct graph_walker *w, struct graph_hop *out)
{
    odb_status st = ODB_ABSENT;

    if (w->pick_at == w->pick_count)
        return ODB_ABSENT;
    do {
        st = walker_read(w, out);
    } while (st == ODB_OK && w->seen++ < w->picks[w->pick_at].no);
    w->pick_at++;
    return st;
}

/* ---- reading on ---- */

/* To the first of the node's edges in one direction. */
static odb_status walker_face(struct graph_walker *w, bool is_in)
{
    struct graph_cursor *c = &w->cursor[is_in];
    const odb_walk *walk = &w->budget->walk;
    odb_status st = ODB_OK;

    w->is_in = is_in;
    w->seen = 0;
    if (!c->it)
        st = graph_cursor_init(c, w->view, is_in, w->match, w->needs_values, NULL);
    if (st != ODB_OK)
        return st;
    graph_cursor_move(c, w->node);
    return walk->heaviest && walk->fanout != UINT32_MAX ? pick_heaviest(w) : ODB_OK;
}

/* The next edge to follow in the direction that `w` faces. */
static odb_status next_ahead(struct graph_walker *w, struct graph_hop *out)
{
    struct graph_budget *b = w->budget;
    odb_status st;

    if (b->is_over)
        return ODB_ABSENT;
    if (b->walk.heaviest && b->walk.fanout != UINT32_MAX)
        return next_picked(w, out);
    st = walker_read(w, out);
    if (st != ODB_OK)
        return st;
    if (w->seen++ >= b->walk.fanout) {
        b->report.cut |= ODB_CUT_FANOUT;
        return ODB_ABSENT;
    }
    return budget_take_edge(b) ? ODB_OK : ODB_ABSENT;
}

odb_status graph_walker_turn(struct graph_walker *w, odb_slice node)
{
    w->node = node;
    return walker_face(w, !graph_goes(w->direction, false));
}

odb_status graph_walker_next(struct graph_walker *w, struct graph_hop *out)
{
    odb_status st = next_ahead(w, out);

    if (st != ODB_ABSENT || w->is_in || w->budget->is_over || !graph_goes(w->direction, true))
        return st;
    st = walker_face(w, true);
    return st == ODB_OK ? next_ahead(w, out) : st;
}

odb_status graph_walker_rel(struct graph_walker *w, const struct graph_hop *hop, uint32_t *out)
{
    bool is_new;
    odb_status st = ODB_OK;

    if (w->rel[w->is_in] == GRAPH_NONE || w->rel_serial[w->is_in] != hop->rel_serial) {
        st = graph_set_add(&w->nodes->rels, hop->rel, &w->rel[w->is_in], &is_new);
        w->rel_serial[w->is_in] = hop->rel_serial;
    }
    *out = w->rel[w->is_in];
    return st;
}

/* Whether the record of `id` is there and passes the filter; asked once for each node that does not. */
static odb_status walker_passes(struct graph_walker *w, odb_slice id, bool *passes)
{
    struct graph_budget *b = w->budget;
    odb_record *record = NULL;
    uint32_t no;
    bool is_new;
    odb_status st;

    *passes = false;
    if (graph_set_find(&w->refused, id) != GRAPH_NONE)
        return ODB_OK;
    st = odb_record_get(w->view->at, id, &record);
    if (st == ODB_OK)
        *passes = odb_filter_matches(b->walk.node_filter, record, b->now_us);
    odb_record_free(record);
    if ((st == ODB_CORRUPT || st == ODB_VERSION) && b->walk.skip_damaged)
        b->report.damaged++;
    else if (st != ODB_OK && st != ODB_ABSENT)
        return st;
    return *passes ? ODB_OK : graph_set_add(&w->refused, id, &no, &is_new);
}

odb_status graph_walker_reach(struct graph_walker *w, const struct graph_hop *hop, uint32_t from,
                              bool is_exempt, uint32_t *out, bool *is_new)
{
    struct graph_budget *b = w->budget;
    odb_nodeset *n = w->nodes;
    struct graph_place place;
    bool passes = true;
    odb_status st;

    *is_new = false;
    if (b->walk.node_filter || n->set.count >= b->walk.max_nodes) {
        *out = graph_set_find(&n->set, hop->other);
        if (*out != GRAPH_NONE)
            return ODB_OK;
        if (b->walk.node_filter && !is_exempt) {
            st = walker_passes(w, hop->other, &passes);
            if (st != ODB_OK || !passes)
                return st;
        }
        if (n->set.count >= b->walk.max_nodes) {
            budget_cut(b, ODB_CUT_NODES);
            return ODB_OK;
        }
    }
    place.parent = from;
    place.depth = n->place[from].depth + 1;
    place.is_backward = w->is_in;
    st = graph_walker_rel(w, hop, &place.rel);
    if (st == ODB_OK)
        st = graph_nodes_add(n, hop->other, &place, out, is_new);
    if (st == ODB_OK && *is_new && place.depth > b->report.depth)
        b->report.depth = place.depth;
    return st;
}
