/* records/odb_filter.h -- which records are meant: a condition written as text, or a function.
 *
 *     odb_filter *f;
 *     size_t at;
 *
 *     st = odb_filter_parse(odb_s("importance >= 0.8 && ts > now-1h && category in (\"docs\",\"faq\")"),
 *                           &f, &at);
 *     if (st == ODB_INVALID)
 *         point_at(at, odb_error_text());
 *
 * The language
 *
 *     a && b    a || b    !a    (a)           && binds closer than ||
 *     x == v  x != v  x < v  x <= v  x > v  x >= v
 *     x ^= "text"                             begins with
 *     x *= "text"                             contains
 *     x in (v, v, ...)                        is one of
 *     has(x)                                  there is such a property or field
 *
 *     x   id  content  importance  ts (microseconds since 1970)  kind
 *         name             a property; letters, digits, _ and dots
 *         prop("any name") a property whose name is not of that form, or is one of the words here
 *         field(filename)  filename file_type file_size parent start end chunk_count status
 *     v   12   -3.5   "text" (escapes as in JSON)   true   false   null
 *         now   now-90m   now+1d-2h               units: us ms s m h d w
 *         "2026-01-31"   "2026-01-31T12:30:00Z"   beside ts only
 *
 * Integers and reals compare by their exact values, texts and bytes by their bytes. Where the types do
 * not go together, or there is no such property, every comparison is false, and != is true: x != v is
 * the same as !(x == v). The word `now` is the moment a scan or search begins.
 *
 * A filter never changes: any number of threads may use it.
 */
#ifndef ODB_FILTER_H
#define ODB_FILTER_H

#include "records/odb_record.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct odb_filter odb_filter;

/* Compile `text`. On ODB_OK *out is the caller's; release with odb_filter_free(). ODB_INVALID: the error
 * text says what is wrong, *err_at (may be NULL) at which byte. ODB_TOO_LARGE (over 64 KiB), ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_filter_parse(odb_slice text, odb_filter **out,
                                                   size_t *err_at);

/* A filter that asks `accept`. It is called from the thread that scans or searches, sees the record
 * during the call only, and must not call the database. ODB_INVALID, ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_filter_fn(bool (*accept)(void *arg, const odb_record *r),
                                                void *arg, odb_filter **out);

/* NULL is fine. No scan or search that uses it may be open. */
ODB_API void odb_filter_free(odb_filter *f);

/* Whether a record is meant, with `now` in microseconds since 1970 (or ODB_TIME_NOW). */
ODB_API bool odb_filter_matches(const odb_filter *f, const odb_record *r, int64_t now);

typedef struct odb_filter_guess {
    size_t size;       /* sizeof(odb_filter_guess), set by the caller */
    double fraction;   /* of all records, 0 to 1, that match */
    uint64_t at_most;  /* no more records than these match; UINT64_MAX: not known */
    uint64_t examined; /* records and rows that were looked at for this */
    bool is_exact;     /* all records were examined: fraction is no guess */
} odb_filter_guess;

/* How many records match, roughly: from the index where the filter bounds what is indexed, and from a
 * sample of about `effort` records (0: 256). For choosing between ways to search. */
ODB_API ODB_MUST_CHECK odb_status odb_filter_estimate(odb_at at, const odb_filter *f,
                                                      uint32_t effort, odb_filter_guess *out);

#ifdef __cplusplus
}
#endif
#endif
