/* tools/cmd_upkeep.c -- compact, flush, verify. */
#include "tool.h"

int cmd_compact(struct tool *t)
{
    struct bytes from = {NULL, 0, 0}, to = {NULL, 0, 0}, prefix = {NULL, 0, 0};
    odb_range range = {{NULL, 0}, {NULL, 0}, {NULL, 0}, false, false};
    struct progress bar;
    int code = EXIT_USAGE;
    odb_status st;

    if ((!t->from || text_parse(t, t->from, &from)) && (!t->to || text_parse(t, t->to, &to)) &&
        (!t->prefix || text_parse(t, t->prefix, &prefix))) {
        range.lower = bytes_slice(&from);
        range.upper = t->to ? odb_bytes(to.p ? to.p : "", to.len) : range.upper;
        range.prefix = bytes_slice(&prefix);
        progress_begin(&bar, t, "compact");
        st = odb_compact(t->db, t->family, &range, progress_report, &bar);
        progress_end(&bar);
        code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "compact");
    }
    bytes_free(&from);
    bytes_free(&to);
    bytes_free(&prefix);
    return code;
}

int cmd_flush(struct tool *t)
{
    odb_status st = odb_flush(t->db, t->family);

    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "flush");
}

int cmd_verify(struct tool *t)
{
    odb_stats_t s = {.size = sizeof s};
    struct progress bar;
    uint64_t bytes = 0, files = 0, entries = 0;
    odb_status st;

    progress_begin(&bar, t, "verify");
    st = odb_verify(t->db, progress_report, &bar);
    progress_end(&bar);
    if (st == ODB_OK)
        st = odb_stats(t->db, NULL, &s);
    if (st != ODB_OK)
        return tool_fail(st, "verify");
    for (int i = 0; i < ODB_LEVELS; i++) {
        bytes += s.level[i].bytes;
        files += s.level[i].files;
        entries += s.level[i].entries;
    }
    if (t->is_json)
        printf("{\"sound\":true,\"tables\":%llu,\"bytes\":%llu,\"entries\":%llu}\n",
               (unsigned long long)files, (unsigned long long)bytes, (unsigned long long)entries);
    else
        printf("sound: %s entries in %s tables, %s, and the log\n", show_count(entries),
               show_count(files), show_bytes(bytes));
    return EXIT_FINE;
}
