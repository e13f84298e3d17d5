/* vector/hits.h -- what a search gathers and hands out. */
#ifndef ODB_VECTOR_HITS_H
#define ODB_VECTOR_HITS_H

#include "vector/index.h"

struct vec_hit_place {
    float distance;
    uint32_t id_len;
    size_t id_off;
};

struct odb_vec_hits {
    struct vec_hit_place *hit;
    size_t count, cap;
    struct buf ids;
    /* the search, to go on with it */
    odb_vec_search how;
    const odb_db *db; /* only to be compared: it may be closed by now */
    struct buf prefix;
    float *query;
    uint32_t dim;
    bool is_final; /* what it was searched among is gone: there is no going on */
};

ODB_MUST_CHECK odb_status vec_hits_new(const float *query, uint32_t dim, const odb_vec_search *how,
                                       struct odb_vec_hits **out);
ODB_MUST_CHECK odb_status vec_hits_add(struct odb_vec_hits *h, odb_slice id, float distance);
/* By distance, then id. */
void vec_hits_sort(struct odb_vec_hits *h);
odb_slice vec_hits_id(const struct odb_vec_hits *h, size_t i);
bool vec_hits_have(const struct odb_vec_hits *h, odb_slice id);
/* Keep the best `k` (sorted ones), and none farther than `limit`. */
void vec_hits_cut(struct odb_vec_hits *h, size_t k, float limit);

/* Fill `h` with the nearest to h->query as h->how says. */
ODB_MUST_CHECK odb_status vec_search_run(struct vec_index *ix, odb_at at, struct odb_vec_hits *h);

#endif
