/* base/odb_types.h -- the types every other public header is made of: slices and statuses.
 *
 * A slice lends bytes and never owns them; whoever hands one out says until when it is good.
 * Every call that can fail returns an odb_status, and the compiler insists that it is looked at.
 * odb_error_text() then tells, for the calling thread, what failed, where, and what to do.
 */
#ifndef ODB_TYPES_H
#define ODB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define ODB_API        __attribute__((visibility("default")))
#define ODB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define ODB_API
#define ODB_MUST_CHECK
#endif

/* The one table of statuses: name, number, text. A number that has shipped never changes its
 * meaning; a retired one stays listed as a comment. */
#define ODB_STATUS_TABLE(X)                                                                        \
    X(ODB_OK, 0, "no error")                                                                       \
    X(ODB_ABSENT, 1, "there is no such key, file or object")                                       \
    X(ODB_CORRUPT, 2, "stored bytes are damaged, foreign or in the wrong place")                   \
    X(ODB_IO, 3, "the operating system reported an input/output error")                            \
    X(ODB_NOMEM, 4, "memory ran out")                                                              \
    X(ODB_NOSPACE, 5, "the disk, a quota or a file size limit is full; nothing was applied")       \
    X(ODB_BUSY, 6, "somebody else holds this database open for writing")                           \
    X(ODB_INVALID, 7, "an argument or option makes no sense here")                                 \
    X(ODB_TOO_LARGE, 8, "a key, value or batch is over its limit")                                 \
    X(ODB_READONLY, 9, "writes are refused: opened read-only, or stopped by an earlier error")     \
    X(ODB_UNKNOWN, 10, "the write is wholly there or wholly absent after the next open")           \
    X(ODB_CONFLICT, 11, "another transaction got there first; nothing was applied")                \
    X(ODB_FORKED, 12, "this handle belongs to the parent process")                                 \
    X(ODB_VERSION, 13, "written by a newer release in a way this one must not touch")              \
    X(ODB_EXISTS, 14, "an object of that name is already there")                                   \
    X(ODB_NO_FAMILY, 15, "there is no such column family, or it was dropped")                      \
    X(ODB_DENIED, 16, "permission denied, or a read-only medium")                                  \
    X(ODB_LIMIT, 17, "out of descriptors, threads or locked memory")                               \
    X(ODB_UNSUPPORTED, 18, "this build, backend or platform cannot do that")                       \
    X(ODB_AGAIN, 19, "would have to wait, and the caller asked not to")                            \
    X(ODB_TIMEOUT, 20, "the wait ended before its turn came")                                      \
    X(ODB_DEADLOCK, 21, "waiting on would never end; this transaction was chosen to yield")        \
    X(ODB_TOO_OLD, 22, "the snapshot is older than what is kept to check it against")              \
    X(ODB_CANCELLED, 23, "stopped on request, or because the database is closing")

typedef enum odb_status {
#define ODB_STATUS_ENUM(name, number, text) name = number,
    ODB_STATUS_TABLE(ODB_STATUS_ENUM)
#undef ODB_STATUS_ENUM
} odb_status;

/* The name of a status ("ODB_CORRUPT") and its one-line text. Any number is fine: an unknown one
 * gives "ODB_?" and "unknown status". The strings are static. Any thread. */
ODB_API const char *odb_status_name(odb_status st);
ODB_API const char *odb_status_text(odb_status st);

/* What went wrong last in this thread: which file, which offset, what to do about it. Never NULL;
 * "" when nothing has failed yet. Good until the next failing call of this thread. */
ODB_API const char *odb_error_text(void);

/* A borrowed run of bytes. `data` may be NULL when `size` is 0. */
typedef struct odb_slice {
    const void *data;
    size_t size;
} odb_slice;

static inline odb_slice odb_bytes(const void *data, size_t size)
{
    odb_slice s;
    s.data = data;
    s.size = size;
    return s;
}

/* The bytes of a C string, without its terminator. */
static inline odb_slice odb_s(const char *text)
{
    return odb_bytes(text, strlen(text));
}

static inline bool odb_slice_equal(odb_slice a, odb_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte order, shorter first: negative, zero or positive as memcmp. */
static inline int odb_slice_compare(odb_slice a, odb_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

#ifdef __cplusplus
}
#endif
#endif
