/* api/event_log.c -- LOG, the readable story of what the engine did.
 *
 *     2026-11-23 20:00:05.123456 opened by release 0.1.0, 7 families, 0 bytes in 0 tables
 *     2026-11-23 20:00:09.001200 records: flushed 131072 entries to 000012.sst, 9.1 MB
 *
 *     LOG       grows to half of event_log_size,
 *     LOG.old   then takes the place of the older half
 *
 * 1. Both files together stay below event_log_size (and one line).
 * 2. Nothing depends on the log: it is never read, never synced, and a line that cannot be written is
 *    dropped. After the first failure no further one is tried, so that a full disk is not probed
 *    with every line.
 * 3. The files are opened with the first line, which comes from inside the directory lock.
 *
 * Threads: any, under any lock ranked below RANK_LOGFILE; the user's callback runs under the log's
 * own lock, so its lines come one at a time.
 */
#include "api/db_priv.h"

#include <stdio.h>

#define LOG_NAME      "LOG"
#define LOG_OLD_NAME  "LOG.old"
#define LOG_LINE_ROOM 1024

struct event_log {
    struct os_mutex lock; /* RANK_LOGFILE */
    struct os *os;        /* fixed */
    uint64_t half;        /* fixed */
    void (*event)(void *arg, const char *line);
    void *event_arg;
    struct os_dir *dir ODB_GUARDED(lock);
    struct os_file *file ODB_GUARDED(lock);
    uint64_t at ODB_GUARDED(lock);
    bool is_off ODB_GUARDED(lock); /* read-only, or failed once */
    char path[];                   /* fixed */
};

odb_status event_log_new(struct os *os, const char *dir, bool is_readonly, const odb_options *opt,
                         struct event_log **out)
{
    size_t len = strlen(dir) + 1;
    struct event_log *log = mem_zalloc(1, sizeof *log + len);

    if (!log)
        return err_set(ODB_NOMEM, "no memory for the event log");
    os_mutex_init(&log->lock, RANK_LOGFILE);
    log->os = os;
    log->half = opt->event_log_size / 2;
    log->event = opt->event;
    log->event_arg = opt->event_arg;
    log->is_off = is_readonly;
    memcpy(log->path, dir, len);
    *out = log;
    return ODB_OK;
}

void event_log_free(struct event_log *log)
{
    if (!log)
        return;
    os_close(log->file);
    os_dir_close(log->dir);
    os_mutex_destroy(&log->lock);
    mem_free(log);
}

/* Microseconds since 1970 as "2026-11-23 20:00:05.123456". The date is reckoned in years that begin
 * in March, so that the leap day is the last one (H. Hinnant, "chrono-compatible low-level date
 * algorithms"). */
static int stamp_print(char *out, size_t room, uint64_t us)
{
    uint64_t secs = us / 1000000, days = secs / 86400 + 719468;
    unsigned era = (unsigned)(days / 146097), doe = (unsigned)(days % 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    unsigned year = era * 400 + yoe + (month <= 2), in_day = (unsigned)(secs % 86400);

    return snprintf(out, room, "%04u-%02u-%02u %02u:%02u:%02u.%06u ", year, month, day,
                    in_day / 3600, in_day / 60 % 60, in_day % 60, (unsigned)(us % 1000000));
}

/* Open LOG for appending. */
static odb_status event_log_open(struct event_log *log)
{
    odb_status st = ODB_OK;

    if (!log->dir)
        st = os_dir_open(log->os, log->path, 0, &log->dir);
    if (st == ODB_OK)
        st = os_open(log->dir, LOG_NAME, OS_WRITE, &log->file);
    if (st == ODB_ABSENT)
        st = os_open(log->dir, LOG_NAME, OS_WRITE | OS_CREATE, &log->file);
    return st == ODB_OK ? os_size(log->file, &log->at) : st;
}

/* Invariant 1. */
static odb_status event_log_roll(struct event_log *log)
{
    odb_status st;

    os_close(log->file);
    log->file = NULL;
    st = os_rename(log->dir, LOG_NAME, LOG_OLD_NAME);
    return st == ODB_OK ? event_log_open(log) : st;
}

static odb_status event_log_append(struct event_log *log, const char *line, size_t len)
{
    odb_status st = log->file ? ODB_OK : event_log_open(log);

    if (st == ODB_OK && log->at > 0 && log->at + len > log->half)
        st = event_log_roll(log);
    if (st == ODB_OK)
        st = os_write(log->file, log->at, line, len);
    log->at += len;
    return st;
}

void event_log_line(void *arg, const char *line)
{
    struct event_log *log = arg;
    char text[LOG_LINE_ROOM], kept[ERR_TEXT_MAX];
    int head = stamp_print(text, sizeof text, os_wall_us(log->os));
    size_t len;

    (void)snprintf(text + head, sizeof text - (size_t)head - 1, "%s", line);
    len = strlen(text);
    os_mutex_lock(&log->lock);
    if (log->event)
        log->event(log->event_arg, text);
    if (!log->is_off) {
        text[len] = '\n';
        err_save(kept); /* the engine may be about to report a failure of its own */
        if (event_log_append(log, text, len + 1) != ODB_OK) {
            log->is_off = true;
            err_ignore(err_restore(ODB_OK, kept));
        }
    }
    os_mutex_unlock(&log->lock);
}
