/* graph/odb_graph.h -- edges between things, and ways along them.
 *
 *     odb_edge_list out;
 *     odb_nodeset *near;
 *     odb_walk walk = {.size = sizeof walk, .max_depth = 3};
 *     odb_slice gcc = odb_s("gcc");
 *
 *     st = odb_link(db, NULL, gcc, odb_s("depends_on"), odb_s("libc6"));
 *     st = odb_outgoing(odb_now(db), gcc, &out);
 *     for (size_t i = 0; st == ODB_OK && i < out.count; i++)
 *         use(out.edge[i].rel, out.edge[i].to);
 *     odb_edge_list_release(&out);
 *
 *     st = odb_walk_bfs(odb_now(db), &gcc, 1, &walk, &near);       // what is within three steps
 *     for (size_t i = 0; st == ODB_OK && i < odb_nodeset_count(near); i++)
 *         use(odb_nodeset_at(near, i).id, odb_nodeset_at(near, i).depth);
 *     odb_nodeset_free(near);
 *
 * An edge leads from one node to another and bears the name of a relation; between two nodes there
 * may be one edge of each relation. A node is an id, 1 to 1024 bytes of any kind; it exists by being
 * named in an edge, and may or may not have a record of the same id (records/odb_record.h). Relations
 * are 1 to 255 bytes; eight usual ones have constants below.
 *
 * Every edge is stored twice, in graph_forward under its start and in graph_backward under its end, in
 * one commit, so that both directions are read in order and no crash leaves one without the other.
 * Linking costs the same whether a node has no edge or a million.
 *
 * Writes take a transaction, or NULL: then they commit by themselves, and try again when somebody else
 * got there first (odb_txn_run) before they answer ODB_CONFLICT. One that fails inside a transaction
 * leaves it as it was. Reads say where they
 * look (odb_now, odb_asof, odb_in), and see that one moment from beginning to end, however long they
 * take. Option structs begin with `size`; all other fields 0, NULL or false mean the default.
 *
 * Statuses all calls have in common, besides those of odb_get and odb_put: ODB_INVALID (an id, a
 * relation or an option makes no sense; nothing was done), ODB_NO_FAMILY (the database was opened
 * without the graph families), ODB_CORRUPT and ODB_VERSION (a stored edge is damaged, or of a newer
 * release).
 */
#ifndef ODB_GRAPH_H
#define ODB_GRAPH_H

#include "api/odb_batch.h"
#include "api/odb_db.h"
#include "api/odb_txn.h"
#include "records/odb_filter.h"
#include "records/odb_record.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ODB_REL_RELATED_TO  "related_to"
#define ODB_REL_CAUSED_BY   "caused_by"
#define ODB_REL_BEFORE      "before"
#define ODB_REL_AFTER       "after"
#define ODB_REL_REFERENCES  "references"
#define ODB_REL_SIMILAR_TO  "similar_to"
#define ODB_REL_CONTRADICTS "contradicts"
#define ODB_REL_SUPPORTS    "supports"

#define ODB_NODE_ID_MAX  1024 /* bytes */
#define ODB_RELATION_MAX 255  /* bytes */

/* ==== linking ==== */

typedef struct odb_edge {
    odb_slice from, rel, to;
    float weight;    /* finite */
    int64_t time_us; /* microseconds since 1970; ODB_TIME_NOW where an edge is given */
    odb_slice props; /* packed properties, see odb_edge_prop(); empty: none */
} odb_edge;

/* An edge of weight 1, made now, without properties. */
static inline odb_edge odb_edge_of(odb_slice from, odb_slice rel, odb_slice to)
{
    odb_edge e;

    memset(&e, 0, sizeof e);
    e.from = from;
    e.rel = rel;
    e.to = to;
    e.weight = 1;
    e.time_us = ODB_TIME_NOW;
    return e;
}

enum odb_link_flags {
    ODB_LINK_KEEP = 0, /* an edge that is there stays as it is: ODB_OK */
    ODB_LINK_UPSERT =
        1,            /* it gets the new weight, time and properties; the fastest, reads nothing */
    ODB_LINK_NEW = 2, /* it is an error: ODB_EXISTS */
    ODB_LINK_REQUIRE = 4, /* both ends must have records: else ODB_ABSENT. Nobody can delete one of
                             them meanwhile: one of the two commits fails with ODB_CONFLICT */
    ODB_LINK_BOTH_WAYS = 8, /* and the same edge from `to` to `from`, in the same commit */
};

/* Link with weight 1 as of now, keeping an edge that is there. */
ODB_API ODB_MUST_CHECK odb_status odb_link(odb_db *db, odb_txn *txn, odb_slice from, odb_slice rel,
                                           odb_slice to);

/* Link `edge` as `flags` say. Its properties are the `prop_count` of `props`, or, when `props` is NULL,
 * the packed ones in the edge (as another edge had them). ODB_EXISTS, ODB_ABSENT, see the flags;
 * ODB_TOO_LARGE. */
ODB_API ODB_MUST_CHECK odb_status odb_link_edge(odb_db *db, odb_txn *txn, const odb_edge *edge,
                                                const odb_prop *props, uint32_t prop_count,
                                                unsigned flags);

/* The same as part of a batch, for loading much: as ODB_LINK_UPSERT, with ODB_LINK_BOTH_WAYS allowed
 * beside it. On failure the batch may hold a part: clear it. */
ODB_API ODB_MUST_CHECK odb_status odb_batch_link(odb_db *db, odb_batch *batch, const odb_edge *edge,
                                                 const odb_prop *props, uint32_t prop_count,
                                                 unsigned flags);

/* Remove one edge. Removing what is not there is ODB_OK. */
ODB_API ODB_MUST_CHECK odb_status odb_unlink(odb_db *db, odb_txn *txn, odb_slice from,
                                             odb_slice rel, odb_slice to);

/* ==== which edges ==== */

enum odb_direction {
    ODB_OUT = 0,  /* edges that begin at the node */
    ODB_IN = 1,   /* edges that end there */
    ODB_BOTH = 2, /* the ones, then the others; an edge from a node to itself is both */
};

/* All zeros: every outgoing edge. What is set holds together. */
typedef struct odb_edge_match {
    int direction;         /* enum odb_direction */
    float min_weight;      /* at least so heavy; 0: any weight, also a negative one */
    const odb_slice *rels; /* of one of these relations; NULL: of any */
    size_t rel_count;
    int64_t time_from_us; /* made at this time or later; 0: any */
    int64_t time_to_us;   /* made before this time; 0: any */
} odb_edge_match;

/* Remove the edges of a node that match (NULL: all of them, in both directions); *removed, which may
 * be NULL, counts them. Inside a transaction all in it. By itself it commits as one up to 16384 edges,
 * and beyond that in pieces of so many: an interruption leaves whole edges, fewer of them. */
ODB_API ODB_MUST_CHECK odb_status odb_unlink_node(odb_db *db, odb_txn *txn, odb_slice node,
                                                  const odb_edge_match *match, uint64_t *removed);

/* Delete the record `id` and all edges of the node as one. A link with ODB_LINK_REQUIRE that runs
 * beside it comes wholly before (its edge is removed too) or fails. By itself, when the node has more
 * than 16384 edges, most of them go ahead of the record, in pieces. `flags` and statuses as for
 * odb_record_delete(). */
ODB_API ODB_MUST_CHECK odb_status odb_node_delete(odb_db *db, odb_txn *txn, odb_slice id,
                                                  unsigned flags);

/* ==== reading edges ==== */

/* A list of edges, sorted by relation and then by the id at the other end. */
typedef struct odb_edge_list {
    const odb_edge *edge; /* good until the release */
    size_t count;
    void *memory; /* the library's */
} odb_edge_list;

/* All edges from a node, all edges to it, and those from it of one relation. A node nobody heard of has
 * none: ODB_OK. Release the list with odb_edge_list_release(). */
ODB_API ODB_MUST_CHECK odb_status odb_outgoing(odb_at at, odb_slice from, odb_edge_list *out);
ODB_API ODB_MUST_CHECK odb_status odb_incoming(odb_at at, odb_slice to, odb_edge_list *out);
ODB_API ODB_MUST_CHECK odb_status odb_related(odb_at at, odb_slice from, odb_slice rel,
                                              odb_edge_list *out);
/* NULL and an empty list are fine. */
ODB_API void odb_edge_list_release(odb_edge_list *list);

/* One edge; release it with odb_edge_list_release(). ODB_ABSENT: there is none. */
ODB_API ODB_MUST_CHECK odb_status odb_edge_get(odb_at at, odb_slice from, odb_slice rel,
                                               odb_slice to, odb_edge_list *out);
ODB_API ODB_MUST_CHECK odb_status odb_edge_exists(odb_at at, odb_slice from, odb_slice rel,
                                                  odb_slice to);

/* The property `key` of an edge that was read; ODB_ABSENT: it has none of that name. What *out lends is
 * good as long as the edge is. */
ODB_API ODB_MUST_CHECK odb_status odb_edge_prop(const odb_edge *edge, odb_slice key,
                                                odb_prop_value *out);
/* How many properties it has, and the i-th by the order of names. */
ODB_API uint32_t odb_edge_prop_count(const odb_edge *edge);
ODB_API ODB_MUST_CHECK odb_status odb_edge_prop_at(const odb_edge *edge, uint32_t i, odb_prop *out);

/* How many edges match (NULL: all outgoing ones). Counting reads the keys of them all. */
ODB_API ODB_MUST_CHECK odb_status odb_degree(odb_at at, odb_slice node, const odb_edge_match *match,
                                             uint64_t *out);

/* ---- one at a time, for nodes with many ---- */

/*     st = odb_edge_iter_new(odb_now(db), node, NULL, &it);
 *     while (st == ODB_OK && (st = odb_edge_iter_next(it, &e)) == ODB_OK)
 *         use(e.rel, e.to);
 *     odb_edge_iter_free(it);                              // st is ODB_ABSENT: it came to the end
 */
typedef struct odb_edge_iter odb_edge_iter;

typedef struct odb_edge_options {
    size_t size; /* sizeof(odb_edge_options) */
    odb_edge_match match;
    uint64_t limit; /* at most so many; 0: all */
    odb_slice
        resume;     /* go on behind the edge where odb_edge_iter_resume() gave this; empty: begin */
    bool keys_only; /* weight, time and properties are not needed, and may be 0 */
} odb_edge_options;

/* The edges of a node, outgoing ones first, each direction sorted by relation and then by the other id.
 * `opt` NULL: all outgoing. On ODB_OK *out is the caller's; it belongs to one thread at a time. */
ODB_API ODB_MUST_CHECK odb_status odb_edge_iter_new(odb_at at, odb_slice node,
                                                    const odb_edge_options *opt,
                                                    odb_edge_iter **out);
/* The edges of all nodes whose ids begin with `prefix` (empty: of all), node after node by rising id, in
 * one direction: all edges of the graph, each once. */
ODB_API ODB_MUST_CHECK odb_status odb_edge_iter_all(odb_at at, odb_slice prefix,
                                                    const odb_edge_options *opt,
                                                    odb_edge_iter **out);
/* NULL is fine. */
ODB_API void odb_edge_iter_free(odb_edge_iter *it);
/* The next edge; what it lends is good until the next call with the iterator. ODB_ABSENT: there is no
 * further one. ODB_CORRUPT and ODB_VERSION are about one edge: the next call goes on behind it. After
 * any other status it stays at that. */
ODB_API ODB_MUST_CHECK odb_status odb_edge_iter_next(odb_edge_iter *it, odb_edge *out);
/* The same for another node, at the same moment, from the beginning: cheaper than a new iterator. Not
 * for one over all nodes: ODB_INVALID. */
ODB_API ODB_MUST_CHECK odb_status odb_edge_iter_move(odb_edge_iter *it, odb_slice node);
/* Where the iterator is, as bytes for odb_edge_options.resume, here or in another process; empty before
 * the first edge. Good until the next call with the iterator. */
ODB_API odb_slice odb_edge_iter_resume(const odb_edge_iter *it);

/* ==== walks ==== */

typedef struct odb_nodeset odb_nodeset;

/* What held a walk back: bits of odb_walk_report.cut. */
enum odb_walk_cut {
    ODB_CUT_DEPTH = 1, /* nodes at max_depth were not walked on from */
    ODB_CUT_NODES = 2,
    ODB_CUT_EDGES = 4,
    ODB_CUT_FANOUT = 8, /* some node had more edges than fanout */
    ODB_CUT_TIME = 16,
    ODB_CUT_VISITOR = 32, /* visit said stop */
};

typedef struct odb_walk_report {
    uint64_t nodes;   /* reached, the starts included */
    uint64_t edges;   /* read that matched */
    uint64_t damaged; /* passed over, with skip_damaged */
    uint32_t depth;   /* of the deepest node */
    unsigned cut;     /* enum odb_walk_cut; 0: everything there was */
} odb_walk_report;

enum odb_visit { ODB_VISIT_ON = 0, ODB_VISIT_SKIP = 1, ODB_VISIT_STOP = 2 };

typedef struct odb_walk {
    size_t size; /* sizeof(odb_walk) */
    odb_edge_match edges;
    uint32_t max_depth; /* steps from a start; 0: no limit, and so for those below */
    uint32_t max_nodes; /* in the result, the starts included */
    uint64_t max_edges; /* to read */
    uint32_t fanout;    /* edges to follow from one node and direction */
    bool heaviest;      /* of more edges than fanout the heaviest are followed, not the first */
    bool keep_edges;    /* the result tells all edges between its nodes that were seen */
    bool skip_damaged;  /* pass over edges that are damaged; else they end the walk: ODB_CORRUPT */
    uint32_t time_limit_ms;
    /* Nodes that do not pass, and those without a record, are not reached; starts always are. */
    const odb_filter *node_filter;
    /* Called for each node when it is reached, starts included (there `via` is NULL): go on
     * (ODB_VISIT_ON), do not walk on from this node (ODB_VISIT_SKIP), or end the walk here
     * (ODB_VISIT_STOP). It must not write through a transaction the walk reads in. */
    int (*visit)(void *arg, odb_slice node, uint32_t depth, const odb_edge *via);
    void *arg;
    odb_walk_report *report; /* filled when it is not NULL, on every status */
} odb_walk;

/* Every node that can be reached from the `count` starts, breadth first: nearer ones before farther
 * ones, each once. `walk` NULL: along all outgoing edges, without limits. A limit that is hit is no
 * failure: what was reached till then is the result, and the report says what was hit. */
ODB_API ODB_MUST_CHECK odb_status odb_walk_bfs(odb_at at, const odb_slice *start, size_t count,
                                               const odb_walk *walk, odb_nodeset **out);

typedef struct odb_node {
    odb_slice id;     /* good as long as the set */
    uint32_t depth;   /* steps from the nearest start */
    size_t parent;    /* the node it was reached from, by number; SIZE_MAX for a start */
    odb_slice rel;    /* of the edge it was reached by; empty for a start */
    bool is_backward; /* that edge leads from here to the parent */
} odb_node;

typedef struct odb_link_of {
    size_t from, to; /* numbers of nodes */
    odb_slice rel;
    float weight;
    int64_t time_us;
} odb_link_of;

ODB_API size_t odb_nodeset_count(const odb_nodeset *set);
/* The i-th node; all empty when there are not so many. */
ODB_API odb_node odb_nodeset_at(const odb_nodeset *set, size_t i);
/* The number of a node, SIZE_MAX when it is not in the set. */
ODB_API size_t odb_nodeset_find(const odb_nodeset *set, odb_slice id);
/* The edges kept with keep_edges. */
ODB_API size_t odb_nodeset_edge_count(const odb_nodeset *set);
ODB_API odb_link_of odb_nodeset_edge(const odb_nodeset *set, size_t i);
/* NULL is fine. */
ODB_API void odb_nodeset_free(odb_nodeset *set);

/* ==== shortest paths ==== */

typedef struct odb_path odb_path;

/* What an edge costs, at least 0; infinity or NaN: it cannot be passed. */
typedef double odb_edge_cost(void *arg, const odb_edge *edge);

/* The cost 1/weight: heavy edges are short. Edges of weight 0 or below cannot be passed. */
ODB_API double odb_cost_by_weight(void *arg, const odb_edge *edge);

/* A shortest way from `a` to `b`. `cost` NULL: one with the fewest edges, searched from both ends;
 * otherwise one of least cost, of which `arg` is handed to `cost`. `walk` says which edges and nodes
 * may be used and how far to look (visit, heaviest and keep_edges are ignored; with a cost, fanout too);
 * NULL: outgoing edges, without limits. The node filter is not asked about `a` and `b`. ODB_ABSENT: there
 * is no way, or none within the limits, as the report tells. ODB_INVALID: a cost was negative. */
ODB_API ODB_MUST_CHECK odb_status odb_shortest_path(odb_at at, odb_slice a, odb_slice b,
                                                    const odb_walk *walk, odb_edge_cost *cost,
                                                    void *arg, odb_path **out);

/* Edges of the path; it has one more node. 0: from a node to itself. */
ODB_API size_t odb_path_length(const odb_path *path);
/* Sum of the costs, or the number of edges. */
ODB_API double odb_path_cost(const odb_path *path);
/* The i-th node, 0 to length; empty beyond. */
ODB_API odb_slice odb_path_node(const odb_path *path, size_t i);
/* The edge from node i to node i + 1, as it is stored: followed against its direction (ODB_IN) its `to`
 * is node i. All empty beyond the end. */
ODB_API odb_edge odb_path_edge(const odb_path *path, size_t i);
/* NULL is fine. */
ODB_API void odb_path_free(odb_path *path);

/* ==== nearness ==== */

/* Nodes that are neighbours of both `a` and `b` along edges that match (NULL: outgoing), ordered by id.
 * Each has depth 1; parents and relations are not told. */
ODB_API ODB_MUST_CHECK odb_status odb_common_neighbours(odb_at at, odb_slice a, odb_slice b,
                                                        const odb_edge_match *match,
                                                        odb_nodeset **out);

typedef struct odb_scores odb_scores;

typedef struct odb_score {
    odb_slice id; /* good as long as the scores */
    double score;
} odb_score;

typedef struct odb_rank {
    size_t size;    /* sizeof(odb_rank) */
    double alpha;   /* chance at each step to stop there, above 0 and at most 1. Default 0.15 */
    double epsilon; /* exactness: no node is short by more than epsilon times its number of edges.
                       Default 1e-6 */
    bool weighted;  /* steps are taken in proportion to the weights; an edge of weight 0 or below is
                       never taken. Default: all edges alike */
} odb_rank;

/* Personalized PageRank: how often a walker is found at a node who starts at one of the seeds (chosen in
 * proportion to `weight`, or evenly when that is NULL), stops with chance alpha, else takes one of the
 * edges, and stops where there is none. The push method: only the neighbourhood of the seeds is read.
 * `walk` says which edges and nodes, and limits; its visit, heaviest and keep_edges are ignored.
 * Scores sum to at most 1. */
ODB_API ODB_MUST_CHECK odb_status odb_pagerank(odb_at at, const odb_slice *seed,
                                               const double *weight, size_t count,
                                               const odb_rank *rank, const odb_walk *walk,
                                               odb_scores **out);

/* Sorted, highest first; equal ones by id. */
ODB_API size_t odb_scores_count(const odb_scores *scores);
ODB_API odb_score odb_scores_at(const odb_scores *scores, size_t i);
/* The score of a node; 0 when it has none. */
ODB_API double odb_scores_of(const odb_scores *scores, odb_slice id);
/* NULL is fine. */
ODB_API void odb_scores_free(odb_scores *scores);

/* How many edges there are of each relation: of one node, or, with an empty id, of the whole graph. The
 * scores' ids are the relations, sorted by number. `direction` is ODB_OUT or ODB_IN; for the whole graph
 * both are the same. */
ODB_API ODB_MUST_CHECK odb_status odb_relation_histogram(odb_at at, odb_slice node, int direction,
                                                         odb_scores **out);

/* ==== upkeep ==== */

typedef struct odb_prune {
    size_t size;      /* sizeof(odb_prune) */
    odb_slice prefix; /* only edges from nodes that begin so */
    bool dry_run;     /* count, remove nothing */
    odb_progress
        *progress; /* may be NULL; false: ODB_CANCELLED, and what is removed stays removed */
    void *arg;
    uint64_t edges;   /* out: looked at */
    uint64_t removed; /* out: dangling, and removed unless dry_run */
} odb_prune;

/* Remove edges of which an end has no record. Each piece of the work (some hundred edges) is a commit of
 * its own that checks anew; an edge whose end gets its record meanwhile stays. */
ODB_API ODB_MUST_CHECK odb_status odb_graph_prune(odb_db *db, odb_prune *prune);

enum odb_graph_problem {
    ODB_GRAPH_KEY = 1,       /* a key that is no edge's */
    ODB_GRAPH_VALUE = 2,     /* a value that is no edge's */
    ODB_GRAPH_ONE_SIDED = 3, /* in one family only */
    ODB_GRAPH_TWINS = 4,     /* in both, with different values */
};

typedef struct odb_graph_check {
    size_t size; /* sizeof(odb_graph_check) */
    /* Called for each problem with the family's name and the raw key; false ends the check. NULL: the
     * first problem ends it. */
    bool (*problem)(void *arg, int problem, const char *family, odb_slice key);
    odb_progress *progress; /* may be NULL; false: ODB_CANCELLED */
    void *arg;
    bool ends;         /* also count edges of which an end has no record */
    uint64_t edges;    /* out: in graph_forward */
    uint64_t problems; /* out */
    uint64_t dangling; /* out, with `ends`: allowed, so not a problem */
} odb_graph_check;

/* Check every edge in both families, at one moment. ODB_OK: no problem. ODB_CORRUPT: there are some; the
 * error text names one. Any other status: the check could not be done. */
ODB_API ODB_MUST_CHECK odb_status odb_graph_verify(odb_at at, odb_graph_check *check);

#ifdef __cplusplus
}
#endif
#endif
