/* api/odb_iter.h -- walking keys in order.
 *
 *     odb_range range = {.prefix = odb_s("isbn/")};      // all zeros: everything
 *     odb_iter *it;
 *
 *     st = odb_iter_new(odb_now(db), NULL, &range, &it);
 *     if (st == ODB_OK) {
 *         for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it))
 *             use(odb_iter_key(it), odb_iter_value(it));
 *         st = odb_iter_status(it);                      // ODB_OK: the end; else what went wrong
 *         odb_iter_free(it);
 *     }
 *
 * Keys are ordered by their bytes, a shorter one before any longer one it begins. An iterator sees
 * one moment for its whole life: that of its snapshot, or of its making. It belongs to one thread at
 * a time and keeps old versions and files alive: free it, or move it on with odb_iter_refresh().
 */
#ifndef ODB_ITER_H
#define ODB_ITER_H

#include "api/odb_db.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which keys to walk. All zeros: all of them. What is set holds together: a prefix and bounds give
 * the keys that satisfy both. The slices are copied. */
typedef struct odb_range {
    odb_slice lower;  /* keys from this one on; data NULL: from the first */
    odb_slice upper;  /* keys below this one; data NULL: to the last */
    odb_slice prefix; /* keys that begin so; empty: any */
    bool keys_only;   /* values are not needed: odb_iter_value() may be empty, reading is cheaper */
    bool is_long;     /* a walk over much: read ahead, and spare the cache */
} odb_range;

/* A walk over one family. On ODB_OK *out stands nowhere yet and is the caller's. `range` NULL: all.
 * A snapshot or transaction it was made in may be released before the iterator is, unless
 * api/odb_txn.h says otherwise. ODB_NO_FAMILY, ODB_NOMEM, ODB_CORRUPT, ODB_IO, ODB_LIMIT. */
ODB_API ODB_MUST_CHECK odb_status odb_iter_new(odb_at at, odb_cf *cf, const odb_range *range,
                                               odb_iter **out);
/* NULL is fine. */
ODB_API void odb_iter_free(odb_iter *it);

/* Go to the first entry, the last one, the first with a key >= `key`, the last with a key <= `key`.
 * True: on an entry. False: there is none in the range, or the read failed; odb_iter_status() tells.
 */
ODB_API bool odb_iter_first(odb_iter *it);
ODB_API bool odb_iter_last(odb_iter *it);
ODB_API bool odb_iter_seek(odb_iter *it, odb_slice key);
ODB_API bool odb_iter_seek_for_prev(odb_iter *it, odb_slice key);

/* One entry on or back, in any mixture. False at the end, after a failure, and when the iterator
 * stood nowhere already. */
ODB_API bool odb_iter_next(odb_iter *it);
ODB_API bool odb_iter_prev(odb_iter *it);

/* Whether it stands on an entry. */
ODB_API bool odb_iter_valid(const odb_iter *it);
/* The entry it stands on; empty when it stands nowhere. Good until the next call that moves or frees
 * the iterator. */
ODB_API odb_slice odb_iter_key(const odb_iter *it);
ODB_API odb_slice odb_iter_value(const odb_iter *it);

/* ODB_OK, or what stopped the walk: ODB_CORRUPT, ODB_IO, ODB_NOMEM, ODB_FORKED. It stays until the
 * iterator is positioned anew (first, last, seek, seek_for_prev). */
ODB_API ODB_MUST_CHECK odb_status odb_iter_status(const odb_iter *it);

/* The same walk at another moment (not a transaction: ODB_UNSUPPORTED), cheaper than a new iterator.
 * It stands nowhere afterwards. On failure it is as it was, but stands nowhere. ODB_NO_FAMILY: its family
 * was dropped; it goes on at the moment it had. */
ODB_API ODB_MUST_CHECK odb_status odb_iter_refresh(odb_iter *it, odb_at at);

#ifdef __cplusplus
}
#endif
#endif
