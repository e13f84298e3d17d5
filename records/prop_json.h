/* records/prop_json.h -- properties as JSON, for records and edges; records/odb_record_json.h tells the
 * form. */
#ifndef ODB_RECORDS_PROP_JSON_H
#define ODB_RECORDS_PROP_JSON_H

#include "records/json.h"
#include "records/props.h"

/* ---- writing: each appends to `b` ---- */

/* ODB_CORRUPT: a text that is no UTF-8, a JSON property that is no JSON. ODB_NOMEM. */
ODB_MUST_CHECK odb_status prop_json_add_value(struct buf *b, const odb_prop_value *v);
/* `,"props":{...}`. The same. */
ODB_MUST_CHECK odb_status prop_json_add_props(struct buf *b, const struct rec_props *props);
/* `"name":"..."`, or `"name64":"..."` for what is no text. ODB_NOMEM. */
ODB_MUST_CHECK odb_status prop_json_add_name(struct buf *b, const char *name, odb_slice s);

/* ---- reading ---- */

struct prop_reader {
    struct json_doc doc;
    struct buf bytes; /* what base64 became; doc.text.size are reserved, so that it does not move */
    const char *what; /* with ODB_INVALID: what is wrong ... */
    size_t at;        /* ... and at which byte */
};

/* Read one object, which must outlive `r` (all zeros), and give each of its members to `member` until one of
 * them fails. ODB_INVALID: r->what and r->at tell. Release `r` on any status. */
ODB_MUST_CHECK odb_status prop_json_read(struct prop_reader *r, odb_slice json,
                                         odb_status (*member)(void *arg, const struct json_node *n),
                                         void *arg);
void prop_json_release(struct prop_reader *r);
/* Put the fault that reading a `thing` ended with into the error text, and where it is into *err_at (NULL is
 * fine). Returns `st`. */
odb_status prop_json_complain(const struct prop_reader *r, odb_status st, const char *thing,
                              size_t *err_at);
/* Note what is wrong with a node; ODB_INVALID. */
odb_status prop_json_fault(struct prop_reader *r, const struct json_node *n, const char *what);
ODB_MUST_CHECK odb_status prop_json_take_base64(struct prop_reader *r, const struct json_node *n,
                                                odb_slice *out);
ODB_MUST_CHECK odb_status prop_json_take_value(struct prop_reader *r, const struct json_node *n,
                                               odb_prop_value *out);
/* The members of `object`, as an array in place of *out (to be freed by the caller, on any status). */
ODB_MUST_CHECK odb_status prop_json_take_props(struct prop_reader *r,
                                               const struct json_node *object, odb_prop **out,
                                               size_t *count);

#endif
