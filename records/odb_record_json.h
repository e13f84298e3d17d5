/* records/odb_record_json.h -- a record as one JSON object: for lines of text that go in and out.
 *
 *     {"id":"note_3","kind":1,"ts":1790000000000000,"importance":0.8,"content":"prefers short answers",
 *      "props":{"category":"style","version":2},"fields":{"parent":"user_17"},"has_vector":false}
 *
 *     id, content    a text; bytes that are no UTF-8 are "id64" and "content64", in base64
 *     kind           1 memory (when it is left out), 2 document, 3 chunk, 128 to 255 yours
 *     ts             microseconds since 1970; left out: now
 *     importance     0 to 1; left out: 0.5
 *     props          null, true, false, integers, reals and texts are what they are. Bytes are
 *                    {"base64":"..."}. An array or another object is a JSON property; {"json": x} makes
 *                    one of anything.
 *     fields         by name: filename file_type file_size parent start end chunk_count status; those of
 *                    applications by number, "16384" to "32767"
 *
 * All but the id may be left out. Reading what was written gives the same record.
 */
#ifndef ODB_RECORD_JSON_H
#define ODB_RECORD_JSON_H

#include "records/odb_record.h"

#ifdef __cplusplus
extern "C" {
#endif

/* odb_record_put() of the record in `json`. ODB_INVALID: the error text says what is wrong, *err_at (may
 * be NULL) at which byte; for the rest as odb_record_put(). */
ODB_API ODB_MUST_CHECK odb_status odb_record_put_json(odb_db *db, odb_txn *txn, odb_slice json,
                                                      unsigned flags, size_t *err_at);

/* The record as text, on one line. At most `cap` bytes are written; *len is the length of the whole.
 * Call with cap 0 to learn it. ODB_NOMEM; ODB_CORRUPT (a text of the record is no UTF-8). */
ODB_API ODB_MUST_CHECK odb_status odb_record_to_json(const odb_record *r, char *buf, size_t cap,
                                                     size_t *len);

#ifdef __cplusplus
}
#endif
#endif
