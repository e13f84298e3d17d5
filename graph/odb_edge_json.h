/* graph/odb_edge_json.h -- an edge as one JSON object: for lines of text that go in and out.
 *
 *     {"from":"ann","rel":"knows","to":"bob","weight":0.5,"time":1790000000000000,
 *      "props":{"since":1999,"why":"work"}}
 *
 *     from, rel, to   texts; bytes that are no UTF-8 are "from64", "rel64", "to64", in base64
 *     weight          left out: 1
 *     time            microseconds since 1970; left out: now
 *     props           as in records/odb_record_json.h
 *
 * Reading what was written gives the same edge.
 */
#ifndef ODB_EDGE_JSON_H
#define ODB_EDGE_JSON_H

#include "graph/odb_graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* odb_link_edge() of the edge in `json`. ODB_INVALID: the error text says what is wrong, *err_at (may be
 * NULL) at which byte; for the rest as odb_link_edge(). */
ODB_API ODB_MUST_CHECK odb_status odb_link_json(odb_db *db, odb_txn *txn, odb_slice json,
                                                unsigned flags, size_t *err_at);

/* The edge as text, on one line. At most `cap` bytes are written; *len is the length of the whole. Call
 * with cap 0 to learn it. ODB_INVALID, ODB_NOMEM; ODB_CORRUPT (a text of the edge is no UTF-8). */
ODB_API ODB_MUST_CHECK odb_status odb_edge_to_json(const odb_edge *edge, char *buf, size_t cap,
                                                   size_t *len);

#ifdef __cplusplus
}
#endif
#endif
