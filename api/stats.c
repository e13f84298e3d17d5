/* api/stats.c -- upkeep and looking in: the calls that pass through, and the page of text.
 *
 * An upkeep call a backend does not have is answered with ODB_OK and does nothing: a map in memory
 * has nothing to flush.
 */
#include "api/db_priv.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- upkeep ---- */

/* The family of an upkeep call: NULL stays NULL and means all. */
static odb_status upkeep_check(odb_db *db, odb_cf *cf, void **family)
{
    odb_status st = api_check_db(db);

    *family = NULL;
    if (st == ODB_OK && cf) {
        st = api_check_cf(db, &cf);
        *family = cf->family;
    }
    return st;
}

odb_status odb_sync(odb_db *db)
{
    odb_status st = api_check_db(db);

    return st == ODB_OK && db->ops.sync ? db->ops.sync(db->self) : st;
}

odb_status odb_flush(odb_db *db, odb_cf *cf)
{
    void *family;
    odb_status st = upkeep_check(db, cf, &family);

    return st == ODB_OK && db->ops.flush ? db->ops.flush(db->self, family) : st;
}

odb_status odb_resume(odb_db *db)
{
    odb_status st = api_check_db(db);

    return st == ODB_OK && db->ops.resume ? db->ops.resume(db->self) : st;
}

odb_status odb_compact(odb_db *db, odb_cf *cf, const odb_range *range, odb_progress *progress,
                       void *arg)
{
    struct api_bounds bounds = {0};
    void *family;
    odb_status st = upkeep_check(db, cf, &family);

    if (st == ODB_OK)
        st = api_bounds_init(&bounds, range);
    if (st == ODB_OK && !bounds.is_empty && db->ops.compact)
        st = db->ops.compact(db->self, family, &bounds.range, progress, arg);
    api_bounds_release(&bounds);
    return st;
}

odb_status odb_wait_idle(odb_db *db)
{
    odb_status st = api_check_db(db);

    return st == ODB_OK && db->ops.wait_idle ? db->ops.wait_idle(db->self) : st;
}

odb_status odb_verify(odb_db *db, odb_progress *progress, void *arg)
{
    odb_status st = api_check_db(db);

    return st == ODB_OK && db->ops.verify ? db->ops.verify(db->self, progress, arg) : st;
}

bool odb_work(odb_db *db)
{
    return api_check_db(db) == ODB_OK && db->ops.work && db->ops.work(db->self);
}

/* ---- figures ---- */

static odb_status stats_read(odb_db *db, void *family, odb_stats_t *out)
{
    memset(out, 0, sizeof *out);
    out->txn_commits = db->txn_commits;
    out->txn_conflicts = db->txn_conflicts;
    out->txn_too_old = db->txn_too_old;
    out->txn_deadlocks = db->txn_deadlocks;
    out->txn_timeouts = db->txn_timeouts;
    out->txn_prepared = prepared_count(db);
    return db->ops.stats ? db->ops.stats(db->self, family, out) : ODB_OK;
}

odb_status odb_stats(odb_db *db, odb_cf *cf, odb_stats_t *out)
{
    odb_stats_t s;
    void *family;
    odb_status st = upkeep_check(db, cf, &family);
    size_t size;

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the statistics");
    if (st == ODB_OK && out->size < sizeof out->size)
        st = err_set(ODB_INVALID, "odb_stats_t.size is %zu; set it to sizeof(odb_stats_t)",
                     out->size);
    if (st == ODB_OK)
        st = stats_read(db, family, &s);
    if (st != ODB_OK)
        return st;
    size = out->size < sizeof s ? out->size : sizeof s;
    memcpy(out, &s, size);
    out->size = size; /* so much of it is meaningful */
    return ODB_OK;
}

odb_status odb_tables(odb_db *db, odb_cf *cf, void (*each)(void *arg, const odb_table *table),
                      void *arg)
{
    odb_status st = api_check_db(db);

    if (st == ODB_OK)
        st = api_check_cf(db, &cf);
    if (st == ODB_OK && !each)
        st = api_refuse_null("the function to call with each table");
    return st == ODB_OK && db->ops.tables ? db->ops.tables(db->self, cf->family, each, arg) : st;
}

odb_status odb_size_of_range(odb_db *db, odb_cf *cf, const odb_range *range, uint64_t *out)
{
    struct api_bounds bounds = {0};
    uint64_t size = 0;
    odb_status st = api_check_db(db);

    if (st == ODB_OK)
        st = api_check_cf(db, &cf);
    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the size");
    if (st == ODB_OK)
        st = api_bounds_init(&bounds, range);
    if (st == ODB_OK && !bounds.is_empty && db->ops.size_of_range)
        st = db->ops.size_of_range(db->self, cf->family, &bounds.range, &size);
    if (st == ODB_OK)
        *out = size;
    api_bounds_release(&bounds);
    return st;
}

/* ---- the page of text ---- */

/* Text into a buffer of fixed size that also counts what did not fit. */
struct page {
    char *p;
    size_t cap;
    size_t len;
};

static void page_print(struct page *page, const char *fmt, ...) ODB_PRINTF(2, 3);

static void page_print(struct page *page, const char *fmt, ...)
{
    size_t left = page->len < page->cap ? page->cap - page->len : 0;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(left ? page->p + page->len : NULL, left, fmt, args);
    va_end(args);
    page->len += n > 0 ? (size_t)n : 0;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static double ratio_of(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static void page_database(struct page *page, const odb_stats_t *s)
{
    page_print(page, "writes      %llu commits, %llu operations, %.1f MiB of keys and values\n",
               (unsigned long long)s->commits, (unsigned long long)s->ops, mib(s->bytes_in));
    page_print(page, "log         %.1f MiB in %llu files, %.1f MiB written, %llu syncs%s\n",
               mib(s->log_bytes), (unsigned long long)s->log_files, mib(s->log_written),
               (unsigned long long)s->syncs, s->has_ring ? ", commit ring" : "");
    page_print(page, "amplified   %.2f bytes written per byte put\n",
               ratio_of(s->log_written + s->flush_bytes + s->merge_bytes_out, s->bytes_in));
    page_print(page, "memory      %.1f MiB: %.1f MiB of blocks, indexes, filters, rest memtables\n",
               mib(s->memory_bytes), mib(s->cache_bytes));
    page_print(page, "reads       %llu blocks from memory, %llu from files (%.1f MiB)\n",
               (unsigned long long)s->block_hits, (unsigned long long)s->block_reads,
               mib(s->bytes_read));
    page_print(page, "filters     %llu asked, %llu said no, %llu said yes in vain\n",
               (unsigned long long)s->filter_checks, (unsigned long long)s->filter_rejects,
               (unsigned long long)s->filter_false);
    page_print(page,
               "background  %llu flushes (%.1f MiB), %llu merges (%.1f MiB in, %.1f MiB out), "
               "%llu moves, %.2f s of CPU\n",
               (unsigned long long)s->flushes, mib(s->flush_bytes), (unsigned long long)s->merges,
               mib(s->merge_bytes_in), mib(s->merge_bytes_out), (unsigned long long)s->moves,
               (double)s->background_cpu_ns / 1e9);
    page_print(page, "pressure    %.1f MiB to merge, writers waited %.3f s, %llu stops\n",
               mib(s->debt), (double)s->delay_ns / 1e9, (unsigned long long)s->stops);
    page_print(page, "snapshots   %llu, the oldest %.1f s old\n", (unsigned long long)s->snapshots,
               (double)s->oldest_snapshot_age_ms / 1e3);
    page_print(page,
               "transactions %llu committed, %llu conflicts, %llu too old, %llu deadlocks, %llu "
               "timeouts, %llu prepared\n",
               (unsigned long long)s->txn_commits, (unsigned long long)s->txn_conflicts,
               (unsigned long long)s->txn_too_old, (unsigned long long)s->txn_deadlocks,
               (unsigned long long)s->txn_timeouts, (unsigned long long)s->txn_prepared);
    page_print(page, "recovery    %llu records, %.1f MiB, %.3f s\n",
               (unsigned long long)s->recovered_records, mib(s->recovered_bytes),
               (double)s->recovery_ns / 1e9);
}

/* Families with nothing in them are left out. */
static void page_family(struct page *page, const char *name, const odb_stats_t *s)
{
    uint64_t held = s->memtable_entries;

    for (int i = 0; i < ODB_LEVELS; i++)
        held += s->level[i].files;
    if (held == 0)
        return;
    page_print(page, "\nfamily %s: %llu entries in memtables (%llu, %.1f MiB)\n", name,
               (unsigned long long)s->memtable_entries, (unsigned long long)s->memtables,
               mib(s->memtable_bytes));
    for (int i = 0; i < ODB_LEVELS; i++)
        if (s->level[i].files)
            page_print(page, "  level %d %6llu tables %10.1f MiB %12llu entries %10llu deletes\n",
                       i, (unsigned long long)s->level[i].files, mib(s->level[i].bytes),
                       (unsigned long long)s->level[i].entries,
                       (unsigned long long)s->level[i].deletes);
}

odb_status odb_stats_text(odb_db *db, char *buf, size_t cap, size_t *len)
{
    struct page page = {buf, cap, 0};
    odb_names names = {NULL, 0};
    odb_stats_t s;
    odb_cf *cf;
    odb_status st = api_check_db(db);

    if (st == ODB_OK && ((!buf && cap) || !len))
        st = api_refuse_null(len ? "the caller's buffer" : "the place for the length");
    if (st == ODB_OK)
        st = odb_cf_list(db, &names);
    if (st == ODB_OK)
        st = stats_read(db, NULL, &s);
    if (st != ODB_OK)
        goto done;
    if (cap)
        buf[0] = 0;
    page_database(&page, &s);
    for (size_t i = 0; i < names.count; i++) {
        if (odb_cf_open(db, names.name[i], &cf) != ODB_OK)
            continue; /* dropped meanwhile */
        st = stats_read(db, cf->family, &s);
        if (st != ODB_OK)
            goto done;
        page_family(&page, names.name[i], &s);
    }
    *len = page.len;
done:
    odb_names_release(&names);
    return st;
}
