/* graph/graph_priv.h -- what the files of graph/ share: where a call reads, and a cursor over the edges
 * of one node after another. */
#ifndef ODB_GRAPH_PRIV_H
#define ODB_GRAPH_PRIV_H

#include "base/alloc.h"
#include "graph/edge.h"
#include "graph/odb_graph.h"
#include "graph/set.h"

/* ---- arrays that grow ---- */

/* `old` has room for *cap items of `size` bytes: the same with room for twice as many, or for `first` of them.
 * NULL when there is no memory, and then `old` and *cap are as they were. */
static inline void *graph_grow(void *old, size_t *cap, size_t size, size_t first)
{
    size_t room = *cap ? *cap * 2 : first;
    void *grown = room <= SIZE_MAX / size ? mem_realloc(old, room * size) : NULL;

    if (grown)
        *cap = room;
    return grown;
}

/* ---- where ---- */

struct graph_families {
    odb_cf *forward;
    odb_cf *backward;
};

ODB_MUST_CHECK odb_status graph_families_find(odb_db *db, struct graph_families *out);

/* One moment for all reads of a call. */
struct graph_view {
    odb_at at;
    odb_db *db;
    odb_snapshot *own; /* made for the call, when it said "now" */
    struct graph_families cf;
};

/* `needs_moment`: the call reads more than once, so "now" has to become a snapshot. */
ODB_MUST_CHECK odb_status graph_view_init(struct graph_view *v, odb_at at, bool needs_moment);
void graph_view_release(struct graph_view *v);

/* ---- which edges ---- */

/* An odb_edge_match, checked and made ready. */
struct graph_match {
    float min_weight;
    bool by_weight, by_time;
    int64_t time_from_us, time_to_us;
    struct buf rels;  /* escaped, with their ends, sorted, each once */
    size_t *rel_end;  /* where each ends in `rels` */
    size_t rel_count; /* 0: any relation */
};

/* `match` NULL: everything. ODB_INVALID, ODB_NOMEM. Zero-initialised matches may be released. */
ODB_MUST_CHECK odb_status graph_match_init(struct graph_match *m, const odb_edge_match *match);
void graph_match_release(struct graph_match *m);

/* Whether an edge of this relation, and one with this value, is wanted. */
bool graph_match_takes_rel(const struct graph_match *m, odb_slice rel);
bool graph_match_takes_value(const struct graph_match *m, const struct graph_value *v);

static inline bool graph_match_needs_value(const struct graph_match *m)
{
    return m->by_weight || m->by_time;
}

/* The directions of a match, one after the other: 1 or 2 of them. */
static inline bool graph_goes(int direction, bool is_in)
{
    return direction == ODB_BOTH || direction == (is_in ? ODB_IN : ODB_OUT);
}

/* ---- a list under construction (read.c) ---- */

struct graph_list_maker {
    odb_edge *edge;
    size_t count, cap;
    struct buf bytes;
};

/* Append a copy. ODB_NOMEM. */
ODB_MUST_CHECK odb_status graph_list_add(struct graph_list_maker *l, const odb_edge *e);
/* Append the edge, as it is stored. ODB_ABSENT. */
ODB_MUST_CHECK odb_status graph_list_fetch(struct graph_list_maker *l, const struct graph_view *v,
                                           odb_slice from, odb_slice rel, odb_slice to);
/* The list, which is then the caller's. ODB_NOMEM. */
ODB_MUST_CHECK odb_status graph_list_finish(struct graph_list_maker *l, odb_edge_list *out);
void graph_list_release(struct graph_list_maker *l);

/* ---- nodes as records (link.c) ---- */

/* The commit of `txn` fails when somebody makes, changes or deletes the record `id` before it. */
ODB_MUST_CHECK odb_status graph_claim_record(odb_txn *txn, odb_cf *records, odb_slice id);

/* ---- a cursor ---- */

/* One edge as seen from its node. Slices are good until the cursor moves. */
struct graph_hop {
    odb_slice rel, other;
    uint32_t rel_serial;      /* changes when the relation does */
    struct graph_value value; /* zeros without values */
};

struct graph_cursor {
    odb_iter *it;
    const struct graph_match *match;
    const char *family; /* for error texts */
    bool has_values;
    bool is_placed; /* it stands on an entry not yet looked at */
    size_t rel_at;  /* which relation of the match comes next */
    uint32_t steps; /* since the last seek for it */
    uint32_t rel_serial;
    odb_slice rel;      /* of the last hop: a copy in `rel_name` */
    struct buf rel_raw; /* that, escaped, with its end */
    struct buf rel_name;
    struct buf other;
    struct graph_key node; /* what all keys of the node begin with */
};

/* A cursor over the whole family, to be moved from node to node, or over one node only. */
ODB_MUST_CHECK odb_status graph_cursor_init(struct graph_cursor *c, const struct graph_view *v,
                                            bool is_in, const struct graph_match *match,
                                            bool needs_values, const odb_slice *only_node);
/* Zero-initialised ones too. */
void graph_cursor_release(struct graph_cursor *c);
/* Go before the first edge of `node`. */
void graph_cursor_move(struct graph_cursor *c, odb_slice node);
/* Go behind the edge with the raw key `key`, one of the present node. */
void graph_cursor_resume(struct graph_cursor *c, odb_slice key);
/* The next edge that matches. ODB_ABSENT: there is none. ODB_CORRUPT, ODB_VERSION: about one edge, the
 * next call goes on behind it. Otherwise the status of the iterator. */
ODB_MUST_CHECK odb_status graph_cursor_next(struct graph_cursor *c, struct graph_hop *out);
/* The next edge of relation `rel` whose other end is `other` or behind it in the order of ids. `other` is
 * not of this cursor. */
ODB_MUST_CHECK odb_status graph_cursor_catch_up(struct graph_cursor *c, odb_slice rel,
                                                odb_slice other, struct graph_hop *out);
/* Whether `st`, just given by graph_cursor_next(), is about one edge and not about the iterator. */
bool graph_cursor_is_damage(const struct graph_cursor *c, odb_status st);
/* The raw key of the edge it stands on. */
odb_slice graph_cursor_key(const struct graph_cursor *c);

/* The edge that `hop` is, seen from `node` outward or inward. */
static inline odb_edge graph_edge_of(odb_slice node, const struct graph_hop *hop, bool is_in)
{
    odb_edge e;

    e.from = is_in ? hop->other : node;
    e.rel = hop->rel;
    e.to = is_in ? node : hop->other;
    e.weight = hop->value.weight;
    e.time_us = hop->value.time_us;
    e.props = hop->value.props;
    return e;
}

#endif
