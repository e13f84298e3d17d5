/* graph/edge.h -- an edge as bytes. The picture is in edge.c. */
#ifndef ODB_GRAPH_EDGE_H
#define ODB_GRAPH_EDGE_H

#include "base/buf.h"
#include "base/coding.h"
#include "base/status.h"

#define GRAPH_ID_LEN_MAX  1024
#define GRAPH_REL_LEN_MAX 255
#define GRAPH_END_LEN     2 /* bytes that end a field of a key */
/* Bytes of the longest key: every byte a NUL. */
#define GRAPH_KEY_MAX   (2 * (2 * GRAPH_ID_LEN_MAX + GRAPH_REL_LEN_MAX + GRAPH_END_LEN))
#define GRAPH_VALUE_MIN 14

/* Ids and relations within their limits: what a caller gives. ODB_INVALID. */
ODB_MUST_CHECK odb_status graph_check_id(odb_slice id, const char *what);
ODB_MUST_CHECK odb_status graph_check_rel(odb_slice rel);
ODB_MUST_CHECK odb_status graph_check_names(odb_slice from, odb_slice rel, odb_slice to);

/* What graph_key_open() and graph_value_open() said about an edge of `family`, in words. */
ODB_MUST_CHECK odb_status graph_refuse(odb_status st, const char *family, odb_slice key,
                                       const char *part);

/* ---- keys ---- */

/* A key under construction, on the stack. */
struct graph_key {
    size_t len;
    uint8_t bytes[GRAPH_KEY_MAX];
};

static inline odb_slice graph_key_slice(const struct graph_key *k)
{
    return odb_bytes(k->bytes, k->len);
}

/* The beginning of all keys of a node. Names have been checked, here and below. */
void graph_key_node(struct graph_key *k, odb_slice node);
/* A whole key: of the edge from `node` to `other` in graph_forward, from `other` to `node` in
 * graph_backward. */
void graph_key_edge(struct graph_key *k, odb_slice node, odb_slice rel, odb_slice other);

/* Make the key of an edge from the beginning of the node's keys. */
void graph_key_extend(struct graph_key *k, odb_slice rel, odb_slice other);

struct graph_names {
    odb_slice node, rel, other;
};

/* Memory for names that hold NULs. Zero-initialise. */
struct graph_room {
    struct buf node, rel, other;
};

void graph_room_release(struct graph_room *room);

/* Take apart a key of unknown origin. The slices lend bytes of `key`, or of `room` where a name holds
 * NULs. ODB_CORRUPT (the error text is not set, since only the caller knows whose key it is) and
 * ODB_NOMEM. */
ODB_MUST_CHECK odb_status graph_key_open(odb_slice key, struct graph_room *room,
                                         struct graph_names *out);

/* One name of a key at `d`, which moves behind it: the last one ends with the key. Statuses as above. */
ODB_MUST_CHECK odb_status graph_name_open(struct dec *d, bool is_last, size_t max, struct buf *room,
                                          odb_slice *out);

/* ---- values ---- */

struct graph_value {
    float weight;
    int64_t time_us;
    odb_slice props;
};

/* Write the fixed part of a value, GRAPH_VALUE_MIN bytes; the packed properties follow. */
void graph_value_put(uint8_t *p, float weight, int64_t time_us, bool has_props);
/* Take apart a value of unknown origin. ODB_CORRUPT, or ODB_VERSION for one a newer release wrote; the
 * error text is not set, since only the caller knows whose it is. */
ODB_MUST_CHECK odb_status graph_value_open(odb_slice value, struct graph_value *out);

#endif
