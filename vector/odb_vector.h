/* vector/odb_vector.h -- vectors beside the records they describe, and finding the nearest of them.
 *
 *     odb_vec_hits *hits;
 *     odb_vec_search how = {.size = sizeof how, .k = 10};
 *
 *     st = odb_vec_put(db, NULL, odb_s("doc/1"), embedding, 384);
 *     st = odb_vec_find(odb_now(db), query, 384, &how, &hits);
 *     for (size_t i = 0; st == ODB_OK && i < odb_vec_hits_count(hits); i++)
 *         use(odb_vec_hits_at(hits, i).id, odb_vec_hits_at(hits, i).distance);
 *     odb_vec_hits_free(hits);
 *
 * A vector has an id, 1 to 1024 bytes of any kind: that of a record, or of nothing but itself. All
 * vectors of a database have one dimension and one metric, fixed by odb_vec_open() or by the first
 * vector and stored with them. What is stored are the floats as they were given; in memory lies a
 * copy to search in (as floats, halves or bytes) and a graph that leads to the nearest (HNSW).
 *
 * A commit stores the vector and a marker and no more; the graph follows in the background. A search
 * looks through the graph and through what is not in it yet, so a committed vector is found at once.
 * A search sees one moment: that of its snapshot or transaction (with the transaction's own writes),
 * or now; it never returns what was deleted or is not committed.
 *
 * In a pessimistic transaction a search counts as a walk over all vectors (those with its prefix): at
 * ODB_SERIALIZABLE it locks them all for reading, so that nobody with locks puts another one beside it
 * (ODB_TIMEOUT, ODB_DEADLOCK: as in api/odb_txn.h). An optimistic one at ODB_SERIALIZABLE depends
 * on the hits alone: two that find nothing near and then each put a vector may both commit, unless they
 * have called odb_txn_claim(t, cf, NULL, true) on the family ODB_FAMILY_VECTOR_DATA before.
 *
 * The graph is only a way to the rows of vector_data. Where the two disagree (somebody wrote to the
 * families by hand, a row is damaged) searches go through all rows until the graph is built anew.
 *
 * Statuses all calls have in common, besides those of odb_get and odb_put: ODB_INVALID (an id, a
 * vector or an option makes no sense; nothing was stored), ODB_NO_FAMILY (opened without the vector
 * families), ODB_CORRUPT, ODB_VERSION (a newer release stored it).
 */
#ifndef ODB_VECTOR_H
#define ODB_VECTOR_H

#include "api/odb_db.h"
#include "api/odb_txn.h"
#include "graph/odb_graph.h"
#include "records/odb_filter.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ODB_VEC_ID_MAX  1024 /* bytes */
#define ODB_VEC_DIM_MAX 65535

/* ==== opening ==== */

/* How far two vectors are apart. Stored: a number that has shipped keeps its meaning. */
typedef enum odb_metric {
    ODB_METRIC_DEFAULT = 0, /* as stored; of a new database ODB_METRIC_L2 */
    ODB_METRIC_L2 = 1,      /* the length of the difference */
    ODB_METRIC_COSINE = 2,  /* 1 - cosine of the angle between them: 0 to 2 */
    ODB_METRIC_DOT = 3,     /* minus the inner product */
} odb_metric;

/* What searches compute with. The result is ordered by the stored floats in every form. */
typedef enum odb_vec_form {
    ODB_VEC_FORM_DEFAULT = 0, /* as stored; of a new database ODB_VEC_F32 */
    ODB_VEC_F32 = 1,
    ODB_VEC_F16 = 2, /* half the memory */
    ODB_VEC_I8 = 3,  /* a quarter, and the fastest */
    /* Of the three, the one that suits number, dimension and the vectors themselves, of which some are
     * tried: the fastest that finds the nearest. Decided whenever the index is loaded. */
    ODB_VEC_AUTO = 4,
} odb_vec_form;

typedef enum odb_vec_mode {
    ODB_VEC_MODE_DEFAULT = 0, /* ODB_VEC_ASYNC; without threads ODB_VEC_MANUAL */
    ODB_VEC_ASYNC = 1,        /* a thread moves vectors into the graph */
    ODB_VEC_SYNC = 2,         /* the writer does, before its call returns (what a transaction has
                                 committed: the next put or delete without one) */
    ODB_VEC_MANUAL = 3,       /* the caller does: odb_vec_work(), odb_vec_wait() */
    ODB_VEC_EXACT = 4,        /* no graph: every search goes through all vectors */
} odb_vec_mode;

/* Fields left 0 are as stored, or else the default. */
typedef struct odb_vec_config {
    size_t size;  /* sizeof(odb_vec_config) */
    uint32_t dim; /* 1 to 65535. Default: that of the first vector */
    odb_metric metric;
    odb_vec_form form; /* may differ from open to open */
    uint32_t m;        /* links of a node, 4 to 64: more find more, and cost memory. Default 16 */
    uint32_t ef_construction; /* candidates looked at for a new node, to 4096. Default 200 */
    uint64_t seed;            /* of the levels. Default 1 */
    uint32_t ef_search;       /* candidates of a search that does not say. Default 64 */
    uint32_t flat_max;    /* up to so many vectors every search goes through all. Default 8192 */
    uint32_t pending_max; /* writers help when so many await the graph, once there are more than
                             flat_max; beside searches a 32nd of it, or 32. Default 1024 */
    uint32_t flush_every; /* new nodes between two stores of the graph. Default 4096 */
    odb_vec_mode mode;
} odb_vec_config;

/* Three settings of m, ef_construction and ef_search; the rest stays. */
enum odb_vec_preset {
    ODB_VEC_BALANCED = 0, /* 16, 200, 64 */
    ODB_VEC_ACCURATE = 1, /* 32, 400, 128 */
    ODB_VEC_FAST = 2,     /* 8, 100, 32 */
};
ODB_API void odb_vec_preset(odb_vec_config *config, enum odb_vec_preset preset);

/* Load the index of this database, or begin one. Needed only to say what is not the default, or when:
 * the first call of this header does it else. Again on the same handle: ODB_OK when `config` asks
 * for nothing different. ODB_INVALID: it contradicts what is stored, or the index is open as something
 * else (the text says what, and how to change it). ODB_BUSY: commits to vector_data by hand kept coming
 * while it was loaded; the next call tries again. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_open(odb_db *db, const odb_vec_config *config);

/* What holds now, every field filled in; dim 0 while there is no vector. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_config_get(odb_db *db, odb_vec_config *out);

/* ==== writing ==== */

/* Store a vector under `id`, in place of one that is there. Finite numbers; under ODB_METRIC_COSINE not
 * all zero. With a transaction it becomes part of it; with NULL it commits by itself and tries again
 * when somebody else got there first. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_put(odb_db *db, odb_txn *txn, odb_slice id,
                                              const float *vector, uint32_t dim);
/* Deleting what is not there is ODB_OK. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_delete(odb_db *db, odb_txn *txn, odb_slice id);
/* The floats as they were given: the first min(cap, *dim) of them. `out` may be NULL when `cap` is 0.
 * ODB_ABSENT. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_get(odb_at at, odb_slice id, float *out, uint32_t cap,
                                              uint32_t *dim);

/* ==== searching ==== */

/* How the answer was found. */
typedef enum odb_vec_plan {
    ODB_VEC_PLAN_GRAPH = 1,
    ODB_VEC_PLAN_SCAN = 2,  /* through all vectors in memory: exact */
    ODB_VEC_PLAN_TABLE = 3, /* through the stored rows: exact; an old snapshot, or no sound graph */
    ODB_VEC_PLAN_IDS = 4,   /* through the ids of `within`: exact */
} odb_vec_plan;

typedef struct odb_vec_search_stats {
    odb_vec_plan plan;
    uint64_t moment;    /* sequence number of the moment that was searched */
    uint64_t distances; /* computed in memory */
    uint64_t hops;      /* nodes whose neighbours were looked at */
    uint64_t pending;   /* vectors not in the graph yet, looked through one by one */
    uint64_t filtered;  /* times the filter was asked */
    uint64_t reranked;  /* rows read to order by the stored floats */
    bool is_exact;      /* nothing can have been missed */
    bool is_cut;        /* max_visit or the time limit ended it early: there may be more */
} odb_vec_search_stats;

typedef struct odb_vec_search {
    size_t size; /* sizeof(odb_vec_search) */
    uint32_t k;  /* results, at least 1 */
    uint32_t ef; /* candidates, at least k: more find more. Default: of the index */
    float
        max_distance; /* only nearer ones, or as near; 0: any. (What is at 0: ODB_VEC_ONLY_EQUAL) */
    bool exact;       /* look through all */
    odb_slice prefix; /* only ids that begin so */
    const odb_slice *within; /* only these ids */
    size_t within_count;
    /* Only ids it says true to; asked of candidates, not of all. It may read the database, and search it
     * (not write through a transaction searched in). A rebuild waits for it: no odb_vec_open(),
     * odb_vec_config_get(), odb_recall_run() or odb_graphrag() in it, nothing under "upkeep", and no writes
     * of vectors, all of which may wait for the rebuild. */
    bool (*filter)(void *arg, odb_slice id);
    void *filter_arg;
    const odb_filter *records; /* only ids whose record is meant; what has no record is not */
    uint64_t max_visit;        /* distances to compute at most (a row of links more); 0: no limit */
    uint32_t time_limit_ms;    /* 0: none */
    bool diverse;              /* choose for difference, too (maximal marginal relevance): */
    float lambda;              /* 1: nearness alone, to 0: difference alone. Default 0.5 */
    odb_vec_search_stats *stats; /* filled when it is not NULL */
} odb_vec_search;

#define ODB_VEC_ONLY_EQUAL (-1.0f) /* max_distance: nothing but distance 0 */

typedef struct odb_vec_hit {
    odb_slice id;   /* good as long as the hits */
    float distance; /* odb_distance() of query and stored vector */
} odb_vec_hit;

typedef struct odb_vec_hits odb_vec_hits;

/* The k nearest to `query`, nearest first (equal ones by id). Fewer when there are not so many. Release
 * with odb_vec_hits_free(). `how` NULL: the ten nearest. ODB_INVALID: also a wrong dimension, and k of 0. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_find(odb_at at, const float *query, uint32_t dim,
                                               const odb_vec_search *how, odb_vec_hits **out);
/* The nearest to the vector stored under `id`, itself not among them. ODB_ABSENT: it has none. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_find_like(odb_at at, odb_slice id,
                                                    const odb_vec_search *how, odb_vec_hits **out);
/* `count` queries, one after the other in memory, at one moment. On ODB_OK every out[i] is to be
 * released; else none. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_find_many(odb_at at, const float *queries, size_t count,
                                                    uint32_t dim, const odb_vec_search *how,
                                                    odb_vec_hits **out);
/* Append up to `k` more of the same search, at the same place `at` (for odb_now: as things are now;
 * what was returned is not returned again). *more counts them; 0: that was all. What the search pointed to
 * (within, filter, records) must still be there. ODB_INVALID: a diverse search, or one near a node; k of 0;
 * `at` of another handle than the search. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_more(odb_at at, odb_vec_hits *hits, uint32_t k,
                                               size_t *more);

ODB_API size_t odb_vec_hits_count(const odb_vec_hits *hits);
/* Empty when there are not so many. */
ODB_API odb_vec_hit odb_vec_hits_at(const odb_vec_hits *hits, size_t i);
/* NULL is fine. */
ODB_API void odb_vec_hits_free(odb_vec_hits *hits);

/* The distance of two vectors of `dim` numbers, smaller is nearer. */
ODB_API float odb_distance(const float *a, const float *b, uint32_t dim, odb_metric metric);

/* ==== together with records and edges, at one moment ==== */

/* What came of odb_recall_run(): why a record is where it is. All parts are 0 to 1. */
typedef struct odb_recalled {
    odb_slice id;     /* good as long as the result */
    float score;      /* the weighted sum of the parts */
    float similarity; /* of its vector, see below; 0: it has none */
    float importance;
    float recency;   /* 2^(-age / half-life) */
    float proximity; /* 2^-steps from the nearest context node; 0: not within reach */
} odb_recalled;

typedef struct odb_recall {
    size_t size;        /* sizeof(odb_recall) */
    uint32_t k;         /* results, at least 1 */
    const float *query; /* NULL: similarity does not count */
    uint32_t dim;
    const odb_filter *filter; /* only these records */
    /* Weights, not negative. All 0: 1, 1, 1 and, with a context, 1. */
    float w_similarity, w_importance, w_recency, w_proximity;
    double half_life_s;       /* Default: a week */
    int64_t now_us;           /* microseconds since 1970; 0: now */
    const odb_slice *context; /* nodes whose neighbourhood counts as near */
    size_t context_count;
    const odb_walk
        *walk; /* how far that reaches. Default: both directions, two steps, 10,000 nodes */
    uint32_t candidates; /* from each of the four sources at first. Default 4 k, at least 64 */
    bool prove;          /* take more from the sources until nothing unseen can win */
} odb_recall;

typedef struct odb_recall_hits odb_recall_hits;

/* The k records of the highest score. Candidates come from four sources: the most similar vectors, the
 * newest records, the most important ones, and the context's neighbourhood. Similarity is 1 / (1 +
 * distance) for L2, 1 - distance / 2 for cosine, 1 / (1 + e^distance) for the inner product.
 * *proven (may be NULL): no record that was not looked at can have a higher score than the last one
 * returned. With `prove` it is true on ODB_OK unless a limit of the walk or a missing index of records
 * stands in the way. */
ODB_API ODB_MUST_CHECK odb_status odb_recall_run(odb_at at, const odb_recall *how,
                                                 odb_recall_hits **out, bool *proven);
ODB_API size_t odb_recall_hits_count(const odb_recall_hits *hits);
ODB_API odb_recalled odb_recall_hits_at(const odb_recall_hits *hits, size_t i);
/* NULL is fine. */
ODB_API void odb_recall_hits_free(odb_recall_hits *hits);

/* Search among the nodes that a walk from `centre` reaches (the centre included). `walk` NULL: along all
 * outgoing edges, without limits. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_find_near(odb_at at, const odb_slice *centre,
                                                    size_t centre_count, const odb_walk *walk,
                                                    const float *query, uint32_t dim,
                                                    const odb_vec_search *how, odb_vec_hits **out);

typedef struct odb_rag {
    size_t size;                 /* sizeof(odb_rag) */
    const odb_vec_search *seeds; /* NULL: the ten nearest */
    const odb_walk *expand;      /* NULL: both directions, two steps, 1,000 nodes */
    float hop_decay;             /* 0 to 1. Default 0.5 */
    uint32_t max_nodes;          /* of the result, the best. Default 100 */
} odb_rag;

typedef struct odb_rag_node {
    odb_slice id;     /* good as long as the subgraph */
    float score;      /* hop_decay^depth times the greater of two similarities: of the seed it was
                         reached from, and its own */
    float similarity; /* its own; 0: it has no vector */
    uint32_t depth;   /* 0: a seed */
} odb_rag_node;

typedef struct odb_rag_edge {
    size_t from, to; /* numbers of nodes */
    odb_slice rel;   /* good as long as the subgraph */
    float weight;
} odb_rag_edge;

typedef struct odb_subgraph odb_subgraph;

/* The nearest vectors, what is linked to them, and how: nodes by falling score, and all edges between
 * them that the walk has seen. */
ODB_API ODB_MUST_CHECK odb_status odb_graphrag(odb_at at, const float *query, uint32_t dim,
                                               const odb_rag *how, odb_subgraph **out);
ODB_API size_t odb_subgraph_node_count(const odb_subgraph *g);
ODB_API odb_rag_node odb_subgraph_node(const odb_subgraph *g, size_t i);
ODB_API size_t odb_subgraph_edge_count(const odb_subgraph *g);
ODB_API odb_rag_edge odb_subgraph_edge(const odb_subgraph *g, size_t i);
/* NULL is fine. */
ODB_API void odb_subgraph_free(odb_subgraph *g);

/* ==== upkeep ==== */

/* Move up to some hundred waiting vectors into the graph; false: none was waiting. */
ODB_API bool odb_vec_work(odb_db *db);
/* Until nothing waits for the graph, and it is stored. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_wait(odb_db *db);
/* Take deleted vectors out of the graph and mend it, now. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_compact(odb_db *db);
/* Build the graph anew from the stored rows, with `threads` threads (0: one per processor). `config`
 * (may be NULL) may change m, ef_construction, seed, form, ef_search. Searches go through all vectors
 * meanwhile. Progress counts vectors. Transactions that are open stay good; who writes waits while
 * rows are read. ODB_CANCELLED: the rest follows as ODB_VEC_ASYNC would. ODB_BUSY: commits to vector_data
 * by hand, or of transactions that had put vectors before, kept coming. After that, or any other failure
 * to read the rows, searches go through them and no vector is taken until a rebuild succeeds. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_rebuild(odb_db *db, const odb_vec_config *config,
                                                  uint32_t threads, odb_progress *progress,
                                                  void *arg);

/* ---- loading much ---- */

typedef struct odb_vec_bulk odb_vec_bulk;

typedef struct odb_vec_bulk_options {
    size_t size;            /* sizeof(odb_vec_bulk_options) */
    uint32_t threads;       /* that build the graph; 0: one per processor */
    uint32_t batch;         /* vectors of one commit. Default 256 */
    odb_progress *progress; /* of odb_vec_bulk_finish(), in vectors; may be NULL */
    void *arg;
} odb_vec_bulk_options;

/* Memory that `count` vectors with ids of `id_len` bytes on average need, before anything is done. */
ODB_API uint64_t odb_vec_estimate(const odb_vec_config *config, uint64_t count, size_t id_len);

/* Vectors added are committed in batches, may be found from then on, and enter the graph all together
 * in finish, by many threads. One thread at a time; other writers go on. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_bulk_begin(odb_db *db, const odb_vec_bulk_options *opt,
                                                     odb_vec_bulk **out);
ODB_API ODB_MUST_CHECK odb_status odb_vec_bulk_add(odb_vec_bulk *b, odb_slice id,
                                                   const float *vector, uint32_t dim);
/* Commit, build, store, and free the handle, on every outcome. ODB_CANCELLED (progress said so): all is
 * committed, the rest of the graph follows in the background. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_bulk_finish(odb_vec_bulk *b);
/* Drop what is not committed yet, and free. NULL is fine. */
ODB_API void odb_vec_bulk_abort(odb_vec_bulk *b);

/* ---- looking in ---- */

typedef struct odb_vec_stats_t {
    size_t size;      /* sizeof(odb_vec_stats_t), set by the caller */
    uint64_t live;    /* vectors that a search now may find */
    uint64_t dead;    /* deleted ones still in the graph */
    uint64_t pending; /* not in the graph yet */
    uint64_t linked;  /* in the graph */
    uint64_t slots;   /* node ids handed out */
    uint64_t bytes;   /* of memory */
    uint64_t
        damaged; /* rows of vector_data that are no vectors of this index, when it was loaded */
    uint64_t searches, distances; /* of graph searches, since the index was loaded */
    uint64_t inserts, flushes, rebuilds, compactions;
    uint32_t levels;
    bool is_stale; /* searches go through the stored rows: a rebuild is due */
    const char *kernel;
    odb_vec_form form; /* what is searched in: never ODB_VEC_AUTO; 0 while there is no vector */
} odb_vec_stats_t;

ODB_API ODB_MUST_CHECK odb_status odb_vec_stats(odb_db *db, odb_vec_stats_t *out);

typedef struct odb_vec_report {
    size_t size;        /* sizeof(odb_vec_report), set by the caller */
    uint32_t ef;        /* of the searches that measure recall, set by the caller; 0: the index's */
    uint64_t rows;      /* of vector_data */
    uint64_t bad_rows;  /* damaged, or of another dimension */
    uint64_t nodes;     /* rows of the stored graph */
    uint64_t bad_nodes; /* damaged, or naming nobody */
    uint64_t missing;   /* vectors neither in the graph nor marked as pending */
    uint64_t orphans;   /* nodes without a vector that are not marked as deleted */
    uint64_t doubles;   /* vectors that share a node */
    uint64_t
        unreachable;  /* nodes no way led to: no fault; they are linked once more, if that may be */
    uint32_t sampled; /* vectors whose neighbours were searched for ... */
    double recall;    /* ... and which part of the ten true ones was found */
} odb_vec_report;

/* Compare rows and graph, and measure recall@10 beside `sample` stored vectors (0: 100) against a search
 * through all. ODB_CORRUPT: they disagree, which the report tells, or a row cannot be read. Then and on any
 * other failure to compare (after a rebuild that failed: its status) the report is as it was. */
ODB_API ODB_MUST_CHECK odb_status odb_vec_verify(odb_db *db, uint32_t sample, odb_vec_report *out);

#ifdef __cplusplus
}
#endif
#endif
