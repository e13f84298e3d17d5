/* bench/models.h -- what the benchmark asks of an engine that has records, edges and vectors.
 *
 * The same words for all: a record is an id, a content, a moment, an importance and two properties, found
 * by id and indexed by moment and importance; an edge leads from a node over a relation to a node and is
 * found from either end; a memory is a record with a vector, stored in one commit. One commit a call.
 */
#ifndef BENCH_MODELS_H
#define BENCH_MODELS_H

#include "base/odb_types.h"

struct bench_record {
    odb_slice id, content;
    const char *category; /* a property */
    int64_t version;      /* another */
    int64_t time_us;      /* since 1970 */
    double importance;    /* 0 to 1 */
};

struct bench_models {
    /* Families or tables exist afterwards. Called before the other calls, by one thread, and again
     * when they may be there already. */
    void (*ready)(void *session);

    void (*record_put)(void *session,
                       const struct bench_record *r); /* new or in place of another */
    /* Adds the size of the content to *bytes; reads importance and category too. */
    bool (*record_get)(void *session, odb_slice id, uint64_t *bytes);

    void (*link)(void *session, odb_slice from, odb_slice rel,
                 odb_slice to); /* one there is kept */
    /* How many edges lead from, or to, the node; each is read whole. */
    uint64_t (*edges)(void *session, odb_slice node, bool incoming, uint64_t *bytes);
    /* How many nodes lie within `depth` hops, the node itself included. */
    uint64_t (*walk)(void *session, odb_slice node, uint32_t depth);

    /* Vectors of `dim` numbers from now on; with `graph`, one is built behind the writer that leads to
     * the nearest. On an empty database. False: it has no such graph. */
    bool (*vectors)(void *session, uint32_t dim, bool graph);
    void (*memory_put)(void *session, const struct bench_record *r, const float *v, uint32_t dim);
};

#ifdef BENCH_MODELS
extern const struct bench_models bench_opendb_models;

/* Of a session of engine_opendb.c. */
struct odb_db *bench_opendb_handle(void *session);
#endif

#endif
