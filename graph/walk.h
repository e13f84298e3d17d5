/* graph/walk.h -- what walks, paths and ranks share: limits, nodes with the way they were reached, and
 * the edges of one node after another. */
#ifndef ODB_GRAPH_WALK_H
#define ODB_GRAPH_WALK_H

#include "graph/graph_priv.h"

/* ---- limits, common to all parts of one search ---- */

struct graph_budget {
    odb_walk walk; /* a copy; zeros replaced by what means no limit */
    odb_walk_report report;
    uint64_t deadline_ns;
    int64_t now_us; /* the filter's "now" */
    uint32_t ticks; /* edges until the clock is read again */
    bool is_over;   /* a limit was hit: come to an end with what there is */
};

/* `walk` NULL: the defaults. ODB_INVALID. */
ODB_MUST_CHECK odb_status graph_budget_init(struct graph_budget *b, const odb_walk *walk);
/* Give the caller the report. */
void graph_budget_report(const struct graph_budget *b, const odb_walk *walk);

/* ---- nodes ---- */

struct graph_place {
    uint32_t parent; /* GRAPH_NONE: a start */
    uint32_t depth;
    uint32_t rel; /* in `rels`; GRAPH_NONE for a start */
    bool is_backward;
};

struct graph_kept {
    uint32_t from, to, rel;
    float weight;
    int64_t time_us;
};

struct odb_nodeset {
    struct graph_set set;
    struct graph_set rels;
    struct graph_place *place; /* one for each node */
    uint32_t place_cap;
    struct graph_kept *kept;
    size_t kept_count, kept_cap;
};

/* NULL when memory ran out. Free with odb_nodeset_free(). */
odb_nodeset *graph_nodes_new(void);
/* The number of `id`; a new one stands at `place`. ODB_NOMEM. */
ODB_MUST_CHECK odb_status graph_nodes_add(odb_nodeset *n, odb_slice id,
                                          const struct graph_place *place, uint32_t *out,
                                          bool *is_new);

/* Numbers that grow. */
struct graph_list {
    uint32_t *at;
    size_t count, cap;
};

ODB_MUST_CHECK odb_status graph_list_push(struct graph_list *l, uint32_t number);

/* ---- a walker: reads the edges of nodes ---- */

struct graph_pick { /* of one node's edges, one of the heaviest */
    float weight;
    uint64_t no;
};

struct graph_walker {
    struct graph_budget *budget;
    const struct graph_view *view;
    const struct graph_match *match;
    odb_nodeset *nodes;
    int direction;
    bool needs_values;
    struct graph_cursor cursor[2];
    uint32_t rel_serial[2]; /* of which `rel` is the number in nodes->rels */
    uint32_t rel[2];
    struct graph_set refused; /* nodes that did not pass the filter */

    odb_slice node; /* whose edges are read */
    bool is_in;
    uint64_t seen;            /* edges of the node so far, in this direction */
    struct graph_pick *picks; /* the heaviest, by place; NULL: the first */
    uint32_t pick_count, pick_at;
};

void graph_walker_init(struct graph_walker *w, struct graph_budget *b, const struct graph_view *v,
                       const struct graph_match *match, int direction, bool needs_values,
                       odb_nodeset *nodes);
void graph_walker_release(struct graph_walker *w);
/* Turn to the edges of `node`, which must stay where it is, in all directions that the walk goes. */
ODB_MUST_CHECK odb_status graph_walker_turn(struct graph_walker *w, odb_slice node);
/* The next edge to follow; w->is_in tells which way it goes. ODB_ABSENT: there is none, or a limit was hit. */
ODB_MUST_CHECK odb_status graph_walker_next(struct graph_walker *w, struct graph_hop *out);
/* The number of the hop's relation. ODB_NOMEM. */
ODB_MUST_CHECK odb_status graph_walker_rel(struct graph_walker *w, const struct graph_hop *hop,
                                           uint32_t *out);
/* Reach the node at the other end of `hop` from node number `from`. *is_new: it had not been reached.
 * *out is GRAPH_NONE when it may not be reached: it does not pass the filter (`is_exempt`: it need
 * not), or there are nodes enough. */
ODB_MUST_CHECK odb_status graph_walker_reach(struct graph_walker *w, const struct graph_hop *hop,
                                             uint32_t from, bool is_exempt, uint32_t *out,
                                             bool *is_new);

#endif
