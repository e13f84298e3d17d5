/* tools/cmd_record.c -- odb record and odb meta: records and metadata, as lines of JSON.
 *
 * The form of a line is that of records/odb_record_json.h: what odb record list prints, odb record put
 * reads.
 */
#include "tool.h"

#if ODB_HAS_RECORDS

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PUT_ROWS 1000 /* records a commit */

/* ---- out ---- */

static int print_record(const odb_record *r, struct bytes *room)
{
    size_t len = 0;
    odb_status st;

    for (;;) {
        st = odb_record_to_json(r, room->p, room->cap, &len);
        if (st != ODB_OK)
            return tool_fail(st, "a record");
        if (len < room->cap)
            break;
        room->len = 0;
        while (room->cap <= len)
            bytes_add(room, "                ", 16); /* grows */
    }
    room->p[len] = '\n';
    (void)fwrite(room->p, 1, len + 1, stdout); /* checked once, at the end */
    return EXIT_FINE;
}

static void print_id(const struct tool *t, odb_slice id)
{
    struct bytes line = {NULL, 0, 0};

    if (t->is_json) {
        bytes_add(&line, "{", 1);
        json_add_field(&line, "id", id);
        bytes_add(&line, "}", 1);
    } else {
        text_show(t, id, &line);
    }
    bytes_add(&line, "\n", 1);
    (void)fwrite(line.p, 1, line.len, stdout);
    bytes_free(&line);
}

/* ---- put ---- */

struct line_reader {
    FILE *in;
    const char *name;
    char *line;
    size_t room;
    uint64_t line_no;
};

static int lines_open(struct line_reader *r, const char *path)
{
    *r = (struct line_reader){.name = path, .in = stdin};
    if (strcmp(path, "-") != 0)
        r->in = fopen(path, "rb");
    if (r->in)
        return EXIT_FINE;
    fprintf(stderr, "odb: cannot read '%s': %s\n", path, strerror(errno));
    return EXIT_OTHER;
}

static void lines_close(struct line_reader *r)
{
    if (r->in && r->in != stdin)
        (void)fclose(r->in);
    free(r->line);
}

/* The next line that is not empty; false at the end. */
static bool lines_next(struct line_reader *r, odb_slice *out)
{
    ssize_t n;

    do {
        n = getline(&r->line, &r->room, r->in);
        r->line_no++;
        if (n > 0 && r->line[n - 1] == '\n')
            n--;
    } while (n == 0);
    *out = odb_bytes(r->line, n > 0 ? (size_t)n : 0);
    return n > 0;
}

static int lines_wrong(const struct line_reader *r, odb_status st, size_t at)
{
    fprintf(stderr, "odb: %s, line %" PRIu64 ", column %zu: %s\n",
            strcmp(r->name, "-") == 0 ? "standard input" : r->name, r->line_no, at + 1,
            *odb_error_text() ? odb_error_text() : odb_status_text(st));
    return EXIT_INPUT;
}

int cmd_record_put(struct tool *t)
{
    unsigned flags = (t->record.insert_only ? ODB_INSERT_ONLY : 0) |
                     (t->record.update_only ? ODB_UPDATE_ONLY : 0);
    uint64_t batch = t->batch ? t->batch : PUT_ROWS, in_batch = 0, rows = 0;
    odb_write how = {.durability = t->durability};
    struct line_reader in;
    odb_txn *txn = NULL;
    odb_slice line;
    odb_status st;
    int code = lines_open(&in, t->arg_count > 0 ? t->arg[0] : "-");

    if (code != EXIT_FINE)
        return code;
    st = odb_txn_begin(t->db, NULL, &txn);
    while (st == ODB_OK && code == EXIT_FINE && lines_next(&in, &line)) {
        size_t at = 0;

        st = odb_record_put_json(t->db, txn, line, flags, &at);
        if (st == ODB_INVALID || st == ODB_EXISTS || st == ODB_ABSENT) {
            code = lines_wrong(&in, st, at);
            st = ODB_OK;
            break;
        }
        if (st == ODB_OK && ++in_batch == batch) {
            st = odb_txn_commit(txn, &how);
            rows += in_batch;
            in_batch = 0;
            if (st == ODB_OK)
                st = odb_txn_reset(txn);
        }
    }
    if (st == ODB_OK && code == EXIT_FINE) {
        st = odb_txn_commit(txn, &how);
        rows += in_batch;
    }
    odb_txn_free(txn);
    if (code == EXIT_FINE && ferror(in.in)) {
        fprintf(stderr, "odb: cannot read '%s': %s\n", in.name, strerror(errno));
        code = EXIT_OTHER;
    }
    lines_close(&in);
    if (st != ODB_OK)
        code = tool_fail(st, "record put");
    if (code != EXIT_FINE && rows)
        fprintf(stderr, "odb: %s records were stored before\n", show_count(rows));
    return code;
}

/* ---- get, delete ---- */

int cmd_record_get(struct tool *t)
{
    struct bytes id = {NULL, 0, 0}, room = {NULL, 0, 0};
    int worst = EXIT_FINE;

    for (int i = 0; i < t->arg_count; i++) {
        odb_record *r = NULL;
        odb_status st;
        int code;

        id.len = 0;
        if (!text_parse(t, t->arg[i], &id)) {
            worst = EXIT_USAGE;
            break;
        }
        st = odb_record_get(odb_now(t->db), bytes_slice(&id), &r);
        code = st == ODB_OK ? print_record(r, &room) : tool_fail(st, t->arg[i]);
        odb_record_free(r);
        if (code > worst)
            worst = code;
    }
    bytes_free(&id);
    bytes_free(&room);
    return worst;
}

int cmd_record_delete(struct tool *t)
{
    struct bytes id = {NULL, 0, 0};
    int code = EXIT_FINE;

    for (int i = 0; i < t->arg_count && code == EXIT_FINE; i++) {
        odb_status st;

        id.len = 0;
        if (!text_parse(t, t->arg[i], &id))
            code = EXIT_USAGE;
        else if ((st = odb_record_delete(t->db, NULL, bytes_slice(&id), 0)) != ODB_OK)
            code = tool_fail(st, t->arg[i]);
    }
    bytes_free(&id);
    return code;
}

/* ---- list, query ---- */

static bool take_order(const char *text, odb_scan *scan)
{
    static const char *const names[] = {"id", "time", "importance", "", "any"};

    for (int i = 0; text && i < 5; i++)
        if (*names[i] && strcmp(text, names[i]) == 0) {
            scan->order = (odb_record_order)i;
            return true;
        }
    if (text && strncmp(text, "prop:", 5) == 0 && text[5]) {
        scan->order = ODB_BY_PROP;
        scan->prop = odb_s(text + 5);
        return true;
    }
    return !text;
}

static int walk_records(const struct tool *t, const odb_scan *scan)
{
    struct bytes room = {NULL, 0, 0};
    odb_record_iter *it;
    int code = EXIT_FINE;
    odb_status st = odb_record_scan(odb_now(t->db), scan, &it);

    if (st != ODB_OK)
        return tool_fail(st, t->command);
    while (code == EXIT_FINE && odb_record_iter_next(it)) {
        if (scan->ids_only)
            print_id(t, odb_record_iter_id(it));
        else
            code = print_record(odb_record_iter_record(it), &room);
    }
    st = odb_record_iter_status(it);
    if (st != ODB_OK) {
        code = tool_fail(st, t->command);
    } else if (odb_record_iter_damaged(it)) {
        fprintf(stderr, "odb: %" PRIu64 " records cannot be read and were passed over\n",
                odb_record_iter_damaged(it));
        code = EXIT_CORRUPT;
    }
    odb_record_iter_free(it);
    bytes_free(&room);
    return code;
}

static int list_records(const struct tool *t, const odb_filter *filter)
{
    odb_scan scan = {.size = sizeof scan};
    struct bytes prefix = {NULL, 0, 0}, from = {NULL, 0, 0}, to = {NULL, 0, 0};
    int code = EXIT_USAGE;

    if (!take_order(t->record.order, &scan))
        return tool_usage("--order is id, time, importance, any or prop:NAME");
    if (t->record.segment && strlen(t->record.segment) != 1)
        return tool_usage("--segment is one character");
    if ((!t->prefix || text_parse(t, t->prefix, &prefix)) &&
        (!t->from || text_parse(t, t->from, &from)) && (!t->to || text_parse(t, t->to, &to))) {
        scan.prefix = bytes_slice(&prefix);
        scan.from = bytes_slice(&from);
        scan.to = bytes_slice(&to);
        scan.segment = (char)(t->record.segment ? t->record.segment[0] : 0);
        scan.is_reverse = t->is_reverse;
        scan.ids_only = t->keys_only;
        scan.limit = t->limit;
        scan.filter = filter;
        code = walk_records(t, &scan);
    }
    bytes_free(&prefix);
    bytes_free(&from);
    bytes_free(&to);
    return code;
}

int cmd_record_list(struct tool *t)
{
    return list_records(t, NULL);
}

int cmd_record_query(struct tool *t)
{
    odb_filter *filter;
    size_t at = 0;
    int code;
    odb_status st = odb_filter_parse(odb_s(t->arg[0]), &filter, &at);

    if (st == ODB_INVALID) {
        fprintf(stderr, "odb: %s\n     %s\n     %*s^\n", odb_error_text(), t->arg[0], (int)at, "");
        return EXIT_USAGE;
    }
    if (st != ODB_OK)
        return tool_fail(st, "filter");
    if (!t->record.order)
        t->record.order = "any";
    code = list_records(t, filter);
    odb_filter_free(filter);
    return code;
}

/* ---- the index ---- */

static void print_fault(void *arg, odb_slice id, const char *fault)
{
    const struct tool *t = arg;
    struct bytes line = {NULL, 0, 0};

    text_show(t, id, &line);
    bytes_add(&line, "", 1);
    printf("%s: %s\n", line.p, fault);
    bytes_free(&line);
}

int cmd_record_check(struct tool *t)
{
    odb_records_report r = {.size = sizeof r};
    odb_status st = t->do_mend ? odb_records_reindex(t->db, &r)
                               : odb_records_check(odb_now(t->db), &r, print_fault, t);

    if (st != ODB_OK)
        return tool_fail(st, "record check");
    printf("%s records, %s index rows; %s damaged, %s rows missing, %s stray%s\n",
           show_count(r.records), show_count(r.index_rows), show_count(r.damaged),
           show_count(r.missing_rows), show_count(r.stray_rows), t->do_mend ? "; mended" : "");
    return r.damaged || (!t->do_mend && (r.missing_rows || r.stray_rows)) ? EXIT_CORRUPT
                                                                          : EXIT_FINE;
}

int cmd_record_index(struct tool *t)
{
    odb_records_options opt = {
        .size = sizeof opt, .props = t->arg, .prop_count = (size_t)t->arg_count};
    odb_status st = odb_records_open(t->db, &opt);

    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "record index");
}

/* ---- metadata ---- */

int cmd_meta_put(struct tool *t)
{
    struct bytes json = {NULL, 0, 0};
    char room[65536];
    odb_status st;
    size_t n;

    if (strcmp(t->arg[1], "-") != 0)
        bytes_add(&json, t->arg[1], strlen(t->arg[1]));
    else
        while ((n = fread(room, 1, sizeof room, stdin)) > 0)
            bytes_add(&json, room, n);
    st = odb_meta_put(t->db, NULL, t->arg[0], odb_bytes(json.p ? json.p : "", json.len));
    bytes_free(&json);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, t->arg[0]);
}

int cmd_meta_get(struct tool *t)
{
    odb_value v;
    odb_status st = odb_meta_get(odb_now(t->db), t->arg[0], &v);

    if (st != ODB_OK)
        return tool_fail(st, t->arg[0]);
    (void)fwrite(v.data, 1, v.size, stdout);
    (void)fputc('\n', stdout);
    odb_value_release(&v);
    return EXIT_FINE;
}

int cmd_meta_delete(struct tool *t)
{
    odb_status st = odb_meta_delete(t->db, NULL, t->arg[0]);

    return st == ODB_OK ? EXIT_FINE : tool_fail(st, t->arg[0]);
}

struct meta_listing {
    const struct tool *t;
    uint64_t damaged;
};

static bool print_meta(void *arg, odb_slice name, odb_slice json)
{
    struct meta_listing *l = arg;
    struct bytes line = {NULL, 0, 0};

    l->damaged += json.size == 0;
    if (l->t->is_json && json.size) {
        bytes_add(&line, "{", 1);
        json_add_field(&line, "name", name);
        bytes_add(&line, ",\"value\":", 9);
        bytes_add(&line, json.data, json.size);
        bytes_add(&line, "}\n", 2);
    } else if (!l->t->is_json) {
        text_show(l->t, name, &line);
        bytes_add(&line, "\t", 1);
        bytes_add(&line, json.size ? json.data : "(no JSON)", json.size ? json.size : 9);
        bytes_add(&line, "\n", 1);
    }
    if (line.len)
        (void)fwrite(line.p, 1, line.len, stdout);
    bytes_free(&line);
    return true;
}

int cmd_meta_list(struct tool *t)
{
    struct meta_listing l = {t, 0};
    odb_status st = odb_meta_list(odb_now(t->db), t->prefix, print_meta, &l);

    if (st != ODB_OK)
        return tool_fail(st, "meta list");
    return l.damaged ? EXIT_CORRUPT : EXIT_FINE;
}

#endif
