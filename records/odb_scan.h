/* records/odb_scan.h -- walking records: by id, time, importance or a property, both ways, in portions.
 *
 *     odb_scan scan = {.size = sizeof scan, .order = ODB_BY_TIME, .is_reverse = true, .limit = 10};
 *     odb_record_iter *it;
 *
 *     scan.prefix = odb_s("user_17/");
 *     st = odb_record_scan(odb_now(db), &scan, &it);           // the ten newest of user 17
 *     if (st == ODB_OK) {
 *         while (odb_record_iter_next(it))
 *             show(odb_record_iter_record(it));
 *         st = odb_record_iter_status(it);                     // ODB_OK: the end; else what went wrong
 *         remember(odb_record_iter_resume(it));                // scan.resume of the next portion
 *         odb_record_iter_free(it);
 *     }
 *
 * A walk sees one moment for its whole life. A record that cannot be read does not end it: it is passed
 * over and counted. All that is set in an odb_scan holds together; what is left 0 or NULL holds nothing.
 */
#ifndef ODB_SCAN_H
#define ODB_SCAN_H

#include "records/odb_filter.h"
#include "records/odb_record.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum odb_record_order {
    ODB_BY_ID = 0, /* by the bytes of the ids */
    ODB_BY_TIME = 1,
    ODB_BY_IMPORTANCE = 2,
    ODB_BY_PROP = 3,      /* by the value of `prop`, which must have been declared */
    ODB_IN_ANY_ORDER = 4, /* whatever reads least: by time or importance where few can match */
} odb_record_order;

typedef struct odb_scan {
    size_t size; /* sizeof(odb_scan) */
    odb_record_order order;
    bool is_reverse; /* last first: newest, most important, ... */
    bool ids_only; /* no records are wanted: odb_record_iter_record() is NULL, reading is cheaper */

    odb_slice prefix; /* ids that begin so ... */
    char segment;     /* ... and end there or go on with this character: "a" with '/' gives "a" and
                         "a/b", not "ab". 0: any */
    odb_slice from;   /* ids from this one on */
    odb_slice to;     /* ids below this one */

    int64_t time_from;                    /* microseconds since 1970, included */
    int64_t time_to;                      /* not included */
    float importance_from, importance_to; /* both included */

    odb_slice prop;                  /* of ODB_BY_PROP */
    const odb_prop_value *prop_from; /* both included, of one type */
    const odb_prop_value *prop_to;

    const odb_filter *filter;
    uint64_t limit;   /* at most so many records */
    odb_slice resume; /* where an earlier walk of the same kind stood: go on behind it */
} odb_scan;

typedef struct odb_record_iter odb_record_iter;

/* Begin a walk; `scan` NULL: all records by id. What the scan points to is copied, but for the filter,
 * which must stay until the walk is freed. ODB_INVALID, ODB_UNSUPPORTED (there is no such index),
 * and what odb_iter_new() may return. */
ODB_API ODB_MUST_CHECK odb_status odb_record_scan(odb_at at, const odb_scan *scan,
                                                  odb_record_iter **out);
/* NULL is fine. */
ODB_API void odb_record_iter_free(odb_record_iter *it);

/* Go to the next record, the first one at first. False at the end and after a failure. */
ODB_API bool odb_record_iter_next(odb_record_iter *it);

/* The record it stands on, good until the next call with the iterator; NULL when it stands nowhere, and
 * with ids_only. */
ODB_API const odb_record *odb_record_iter_record(const odb_record_iter *it);
ODB_API odb_slice odb_record_iter_id(const odb_record_iter *it);
/* ODB_OK, or what stopped the walk. */
ODB_API ODB_MUST_CHECK odb_status odb_record_iter_status(const odb_record_iter *it);
/* How many records were passed over because they cannot be read. */
ODB_API uint64_t odb_record_iter_damaged(const odb_record_iter *it);
/* Where it stands, as bytes to be kept and given to a later scan, in this process or another; empty
 * before the first record. Good until the next call with the iterator. */
ODB_API odb_slice odb_record_iter_resume(const odb_record_iter *it);

/* A record of its own with the same bytes; to be freed. ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_record_copy(const odb_record *r, odb_record **out);

#ifdef __cplusplus
}
#endif
#endif
