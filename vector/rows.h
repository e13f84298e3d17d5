/* vector/rows.h -- what vector_data, vector_index and metadata hold of an index. rows.c draws the rows.
 * Readers trust nothing: the families are open to everyone. */
#ifndef ODB_VECTOR_ROWS_H
#define ODB_VECTOR_ROWS_H

#include "base/buf.h"
#include "vector/arena.h"
#include "vector/odb_vector.h"

#define VEC_DATA_HEAD  32 /* bytes before the floats of a row */
#define VEC_CONFIG_KEY "odb.vector.default"

struct vec_data {
    uint32_t dim, nid;
    float norm;
    const uint8_t *floats; /* dim of them, little-endian, anywhere; lent */
};

/* NULL: sound, and *out is set. Otherwise what is wrong. */
ODB_MUST_CHECK const char *vec_data_read(odb_slice value, struct vec_data *out);
/* Only the node that a row names, of a row that may be trusted as little as any. */
ODB_MUST_CHECK bool vec_data_node(odb_slice value, uint32_t *nid);
/* The floats in the machine's order. */
void vec_data_floats(const struct vec_data *d, float *out);
/* Append a row. */
ODB_MUST_CHECK odb_status vec_data_write(struct buf *b, const float *x, uint32_t dim, uint32_t nid,
                                         float norm);

#define VEC_KEY_META    'M'
#define VEC_KEY_NODE    'N'
#define VEC_KEY_PENDING 'P'
#define VEC_KEY_DEAD    'X'
#define VEC_KEY_LEN     5

/* A letter and a node id, big-endian. */
void vec_key(uint8_t *out, char kind, uint32_t nid);
/* False: no such key. */
bool vec_key_read(odb_slice key, char *kind, uint32_t *nid);

struct vec_meta {
    enum vec_metric metric;
    uint32_t dim, m, entry; /* VEC_NONE: empty */
    uint64_t seed, nodes;
};

ODB_MUST_CHECK odb_status vec_meta_write(struct buf *b, const struct vec_meta *m);
ODB_MUST_CHECK const char *vec_meta_read(odb_slice value, struct vec_meta *out);

/* The links of a node, as they are in the arena. One writer. */
ODB_MUST_CHECK odb_status vec_links_write(struct buf *b, const struct vec_arena *a, uint32_t nid);
/* Check a row and give each link to `each` in order: level by level, `count` before the first of a
 * level. False of `each` refuses the row. NULL: sound. */
struct vec_links_sink {
    bool (*level)(void *arg, unsigned level, uint32_t count);
    bool (*link)(void *arg, uint32_t id);
    void *arg;
};
ODB_MUST_CHECK const char *vec_links_read(odb_slice value, const struct vec_space *space,
                                          unsigned level, const struct vec_links_sink *sink);

/* The configuration as JSON, and back; what is not in it stays 0. */
ODB_MUST_CHECK odb_status vec_config_write(struct buf *b, const odb_vec_config *c);
ODB_MUST_CHECK odb_status vec_config_read(odb_slice json, odb_vec_config *out);

#endif
