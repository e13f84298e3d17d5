/* base/status.h -- how a failure is put into words, once, by the code that first sees it. */
#ifndef ODB_BASE_STATUS_H
#define ODB_BASE_STATUS_H

#include "base/odb_types.h"

#if defined(__GNUC__) || defined(__clang__)
#define ODB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ODB_COLD              __attribute__((cold))
#define ODB_LIKELY(x)         __builtin_expect(!!(x), 1)
#define ODB_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define ODB_PREFETCH(p)       __builtin_prefetch(p)
#else
#define ODB_PRINTF(fmt, args)
#define ODB_COLD
#define ODB_LIKELY(x)   (x)
#define ODB_UNLIKELY(x) (x)
#define ODB_PREFETCH(p) ((void)(p))
#endif

/* For the reader of a struct: which lock guards a field. clang's checker cannot resolve a sibling
 * field in C, so this expands to nothing; functions assert os_mutex_held() instead. */
#define ODB_GUARDED(lock)

#define ERR_TEXT_MAX 512

/* Remember `fmt` as this thread's error text and return `st`, so that a failing function ends with
 * `return err_set(ODB_INVALID, "key of %zu bytes, at most %d", n, max)`. Never fails itself: too
 * long a text is cut. */
ODB_COLD ODB_MUST_CHECK odb_status err_set(odb_status st, const char *fmt, ...) ODB_PRINTF(2, 3);

/* The one funnel for every claim of corruption: a place for a breakpoint. `file` is the name within
 * the database directory, `off` the offset of the damaged thing, `what` says what is wrong with it.
 * Returns ODB_CORRUPT. */
ODB_COLD ODB_MUST_CHECK odb_status err_corrupt(const char *file, uint64_t off, const char *what);

/* Copy this thread's error text out and back in: how a failure of a background thread reaches the
 * thread that asks about it. `out` has ERR_TEXT_MAX bytes. */
void err_save(char *out);
odb_status err_restore(odb_status st, const char *text);

/* For a result that changes nothing; the call says why. (gcc does not take a cast to void for an
 * answer.) */
static inline void err_ignore(odb_status st)
{
    (void)st;
}

/* A number that stays the same for a thread's life and differs between most threads: picks a stripe
 * of a counter. */
size_t thread_stripe(void);

#endif
