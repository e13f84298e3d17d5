/* records/json.h -- JSON as RFC 8259 has it, and nothing more: a reader that makes a flat tree, and a
 * writer.
 *
 *     {"a":[1,2],"b":"x"}        node 0  object, next 5
 *                                node 1    "a" array, next 4
 *                                node 2      1, next 3
 *                                node 3      2, next 4
 *                                node 4    "b" "x", next 5
 *
 * Refused besides what the grammar refuses: bytes that are not UTF-8, a name twice in one object, more
 * than 64 levels, an integer beyond 64 bits, a real beyond a double, half a surrogate pair. A number
 * without point and exponent is an integer, exactly; -0 is a real.
 */
#ifndef ODB_RECORDS_JSON_H
#define ODB_RECORDS_JSON_H

#include "base/buf.h"

#define JSON_DEPTH_MAX 64

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_REAL,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_node {
    enum json_type type;
    uint32_t next; /* the node behind this one and all inside it: its next sibling, if it has one */
    uint32_t count; /* members of an object, elements of an array */
    uint32_t from;  /* where its text begins ... */
    uint32_t to;    /* ... and ends */
    odb_slice name; /* of a member; else empty */
    union {
        bool boolean;
        int64_t integer;
        double real;
        odb_slice string;
    } u;
};

/* Names and strings lend bytes of the text that was read, or of `room` when they had escapes. All zeros
 * is an empty document, which may be released. */
struct json_doc {
    struct json_node *node;
    uint32_t count, cap;
    odb_slice text;
    struct buf room;
};

/* Read one document; nothing but white space may stand around it. The text must outlive the document.
 * ODB_OK: *out is to be released. ODB_INVALID: *what says what is wrong, *at at which byte. ODB_NOMEM,
 * ODB_TOO_LARGE (over 1 GiB). Sets no error text but for ODB_NOMEM. */
ODB_MUST_CHECK odb_status json_read(odb_slice text, struct json_doc *out, const char **what,
                                    size_t *at);
void json_release(struct json_doc *doc);

/* json_read() for those who only want to know. */
ODB_MUST_CHECK odb_status json_check(odb_slice text, const char **what, size_t *at);

/* The member `name` of the object node `object`; NULL: there is none, or it is no object. */
const struct json_node *json_member(const struct json_doc *doc, const struct json_node *object,
                                    const char *name);
/* The first node inside, to be followed by json_next() `count` times. */
static inline const struct json_node *json_first(const struct json_node *node)
{
    return node + 1;
}
static inline const struct json_node *json_next(const struct json_doc *doc,
                                                const struct json_node *node)
{
    return doc->node + node->next;
}

/* ---- writing: each appends to `b`, or gives ODB_NOMEM and leaves it ---- */

/* In quotes. The bytes must be UTF-8. */
ODB_MUST_CHECK odb_status json_add_text(struct buf *b, odb_slice s);
ODB_MUST_CHECK odb_status json_add_i64(struct buf *b, int64_t v);
/* Finite. */
ODB_MUST_CHECK odb_status json_add_f64(struct buf *b, double v);
/* Finite; in as few digits as lead back to this float. */
ODB_MUST_CHECK odb_status json_add_f32(struct buf *b, float v);
ODB_MUST_CHECK odb_status json_add_raw(struct buf *b, const char *text);
/* Bytes of any kind as base64, in quotes. */
ODB_MUST_CHECK odb_status json_add_base64(struct buf *b, odb_slice s);
/* Read them back. ODB_INVALID, ODB_NOMEM. Sets no error text for the former. */
ODB_MUST_CHECK odb_status json_read_base64(odb_slice text, struct buf *out);
/* The document again, without white space and with numbers and strings in their shortest spelling. */
ODB_MUST_CHECK odb_status json_add_doc(struct buf *b, const struct json_doc *doc);
/* Give a caller what was written, if `st` says that it was: *len is its length, of which min(cap, *len) bytes
 * go to `to`. Releases `b`; returns `st`. */
ODB_MUST_CHECK odb_status json_hand_out(struct buf *b, odb_status st, char *to, size_t cap,
                                        size_t *len);

#endif
