/* base/status.c -- status names and this thread's error text.
 *
 * The text is thread-local, the only storage in the library that outlives a call without belonging
 * to a handle. It has no destructor and owns no memory.
 */
#include "base/status.h"

#include "base/prof.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char err_text[ERR_TEXT_MAX];

#ifdef ODB_PROFILE
_Thread_local uint64_t prof_counts[PROF_COUNTERS];
#endif

ODB_COLD const char *odb_status_name(odb_status st)
{
    switch (st) {
#define STATUS_NAME(name, number, text)                                                            \
    case name: return #name;
        ODB_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
    }
    return "ODB_?";
}

ODB_COLD const char *odb_status_text(odb_status st)
{
    switch (st) {
#define STATUS_TEXT(name, number, text)                                                            \
    case name: return text;
        ODB_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *odb_error_text(void)
{
    return err_text;
}

odb_status err_set(odb_status st, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX]; /* an argument may be the old text itself */
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args); /* cut when too long */
    va_end(args);
    memcpy(err_text, text, sizeof err_text);
    return st;
}

odb_status err_corrupt(const char *file, uint64_t off, const char *what)
{
    return err_set(ODB_CORRUPT,
                   "%s is corrupt at offset %llu: %s. Restore the file from a copy, or run "
                   "'odb verify' to see how far the damage goes",
                   file, (unsigned long long)off, what);
}

void err_save(char *out)
{
    memcpy(out, err_text, sizeof err_text);
}

odb_status err_restore(odb_status st, const char *text)
{
    return err_set(st, "%s", text);
}

size_t thread_stripe(void)
{
    uintptr_t a = (uintptr_t)err_text; /* thread blocks lie pages apart */

    return (size_t)((a >> 8) ^ (a >> 14) ^ (a >> 20));
}
