/* records/odb_meta.h -- metadata: one small JSON document for each name.
 *
 *     st = odb_meta_put(db, NULL, "user.agent", odb_s("{\"name\":\"Ann\",\"rounds\":3}"));
 *     st = odb_meta_get(odb_now(db), "user.agent", &v);
 *     if (st == ODB_OK) {
 *         show(v.data, v.size);                   // {"name":"Ann","rounds":3}
 *         odb_value_release(&v);
 *     }
 *
 * Names are 1 to 255 bytes of UTF-8, by custom with dots between their parts. Those that begin with
 * "odb." belong to the library (what is indexed, which format this is): they can be read, not written.
 *
 * Documents are JSON as RFC 8259 has it: UTF-8, at most 64 levels, no name twice in an object, integers
 * of 64 bits exactly, reals that a double can hold. They are stored in their shortest spelling: no white
 * space, no escape that need not be. At most 16 MiB.
 */
#ifndef ODB_META_H
#define ODB_META_H

#include "api/odb_db.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ODB_META_NAME_MAX 255
#define ODB_META_SIZE_MAX ((size_t)16 << 20)

/* Store a document, new or in place of another. `txn` may be NULL. ODB_INVALID (the name, or a text that
 * is no JSON: the error text says where), ODB_TOO_LARGE, ODB_VERSION and ODB_CORRUPT as
 * odb_records_open(), and what odb_put() or odb_txn_put() may return. */
ODB_API ODB_MUST_CHECK odb_status odb_meta_put(odb_db *db, odb_txn *txn, const char *name,
                                               odb_slice json);
/* Make it absent; fine when it is not there. */
ODB_API ODB_MUST_CHECK odb_status odb_meta_delete(odb_db *db, odb_txn *txn, const char *name);

/* The document of a name; *out is to be released with odb_value_release(). ODB_ABSENT; ODB_CORRUPT (what
 * is stored is no JSON); and what odb_get() may return. */
ODB_API ODB_MUST_CHECK odb_status odb_meta_get(odb_at at, const char *name, odb_value *out);

/* Call `each` with every document whose name begins with `prefix`, by rising name, until it returns
 * false. One that is no JSON comes with an empty `json`. The slices are good during the call. */
ODB_API ODB_MUST_CHECK odb_status odb_meta_list(odb_at at, const char *prefix,
                                                bool (*each)(void *arg, odb_slice name,
                                                             odb_slice json),
                                                void *arg);

#ifdef __cplusplus
}
#endif
#endif
