/* tools/cmd_lines.c -- batch, load, dump: many rows at once, as lines.
 *
 * The acknowledgement file of odb load holds one number in 20 digits and a line end, overwritten in
 * place after each commit: whoever kills the loader finds in it how many rows must be there.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_ROWS  1000
#define BATCH_BYTES ((size_t)4 << 20) /* a batch of large rows is committed earlier */

/* ---- rows from lines ---- */

struct row_reader {
    const struct tool *t;
    FILE *in;
    const char *name;
    char *line; /* getline's */
    size_t room;
    uint64_t line_no;
    uint64_t read, size; /* bytes; size 0: unknown */
    struct json_row row;
    odb_cf *cf; /* of the row */
};

static int reader_open(struct row_reader *r, const struct tool *t)
{
    const char *path = t->arg_count > 0 ? t->arg[0] : "-";
    struct stat sb;

    *r = (struct row_reader){.t = t, .name = path};
    r->in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!r->in) {
        fprintf(stderr, "odb: cannot read '%s': %s\n", path, strerror(errno));
        return EXIT_OTHER;
    }
    if (fstat(fileno(r->in), &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size > 0)
        r->size = (uint64_t)sb.st_size;
    return EXIT_FINE;
}

static void reader_close(struct row_reader *r)
{
    if (r->in && r->in != stdin)
        (void)fclose(r->in);
    free(r->line);
    json_row_free(&r->row);
}

static int reader_wrong(const struct row_reader *r, size_t column, const char *what)
{
    fprintf(stderr, "odb: %s, line %llu, column %zu: %s\n",
            strcmp(r->name, "-") == 0 ? "standard input" : r->name, (unsigned long long)r->line_no,
            column, what);
    return EXIT_INPUT;
}

static int reader_tsv(struct row_reader *r, odb_slice line)
{
    const char *p = line.data, *tab = line.size ? memchr(p, '\t', line.size) : NULL;

    if (!tab)
        return reader_wrong(r, line.size + 1, "a line of --tsv is key, tabulator, value");
    r->row.key.len = r->row.value.len = 0;
    r->row.has_cf = r->row.is_delete = false;
    bytes_add(&r->row.key, p, (size_t)(tab - p));
    bytes_add(&r->row.value, tab + 1, line.size - (size_t)(tab - p) - 1);
    return EXIT_FINE;
}

/* The family of a row that names one; the last one found is likely to be wanted again. */
static int reader_family(struct row_reader *r)
{
    char name[160];
    odb_status st;

    r->cf = r->t->family;
    if (!r->row.has_cf)
        return EXIT_FINE;
    if (r->row.cf.len >= sizeof name)
        return reader_wrong(r, 1, "the name of the family is too long");
    memcpy(name, r->row.cf.p, r->row.cf.len);
    name[r->row.cf.len] = 0;
    st = odb_cf_open(r->t->db, name, &r->cf);
    if (st == ODB_NO_FAMILY)
        st = odb_cf_create(r->t->db, name, NULL, &r->cf);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, name);
}

/* The next row: 1 when there is one, 0 at the end, else minus an exit code. */
static int reader_next(struct row_reader *r)
{
    const char *wrong;
    size_t column;
    ssize_t n;
    int code;

    do {
        n = getline(&r->line, &r->room, r->in);
        if (n < 0)
            return ferror(r->in) ? -reader_wrong(r, 1, strerror(errno)) : 0;
        r->line_no++;
        r->read += (uint64_t)n;
        if (n > 0 && r->line[n - 1] == '\n')
            n--;
    } while (n == 0);
    if (r->t->is_tsv) {
        code = reader_tsv(r, odb_bytes(r->line, (size_t)n));
        if (code != EXIT_FINE)
            return -code;
    } else {
        wrong = json_parse_row(odb_bytes(r->line, (size_t)n), &r->row, &column);
        if (wrong)
            return -reader_wrong(r, column, wrong);
    }
    code = reader_family(r);
    return code == EXIT_FINE ? 1 : -code;
}

static odb_status row_into_batch(odb_batch *b, const struct row_reader *r)
{
    if (r->row.is_delete)
        return odb_batch_delete(b, r->cf, bytes_slice(&r->row.key));
    return odb_batch_put(b, r->cf, bytes_slice(&r->row.key), bytes_slice(&r->row.value));
}

/* ---- batch ---- */

int cmd_batch(struct tool *t)
{
    struct row_reader r = {0};
    odb_batch *b = NULL;
    odb_status st = odb_batch_new(&b);
    int code = st == ODB_OK ? reader_open(&r, t) : tool_fail(st, "batch"), more = 1;

    while (code == EXIT_FINE && (more = reader_next(&r)) > 0) {
        st = row_into_batch(b, &r);
        if (st != ODB_OK)
            code = tool_fail(st, "batch");
    }
    if (code == EXIT_FINE && more < 0)
        code = -more;
    if (code == EXIT_FINE) {
        st = odb_commit(t->db, b, NULL);
        if (st != ODB_OK)
            code = tool_fail(st, "commit");
        else
            printf("%s operations committed as one\n", show_count(odb_batch_count(b)));
    }
    reader_close(&r);
    odb_batch_free(b);
    return code;
}

/* ---- load ---- */

struct load {
    struct tool *t;
    struct row_reader r;
    struct progress bar;
    odb_batch *batch;
    uint64_t rows, acknowledged, different;
    int ack_fd;
};

static int load_acknowledge(struct load *l)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%020llu\n", (unsigned long long)l->acknowledged);

    if (l->ack_fd < 0 || pwrite(l->ack_fd, text, (size_t)n, 0) == n)
        return EXIT_FINE;
    fprintf(stderr, "odb: cannot write '%s': %s\n", l->t->ack_file, strerror(errno));
    return EXIT_OTHER;
}

static int load_commit(struct load *l)
{
    odb_status st = odb_commit(l->t->db, l->batch, NULL);

    if (st != ODB_OK)
        return tool_fail(st, "load");
    odb_batch_clear(l->batch);
    l->acknowledged = l->rows;
    return load_acknowledge(l);
}

static int load_row(struct load *l)
{
    odb_status st = row_into_batch(l->batch, &l->r);
    uint64_t rows = l->t->batch ? l->t->batch : BATCH_ROWS;

    if (st != ODB_OK)
        return tool_fail(st, "load");
    l->rows++;
    if (odb_batch_count(l->batch) >= rows || odb_batch_bytes(l->batch).size >= BATCH_BYTES)
        return load_commit(l);
    return EXIT_FINE;
}

/* --check: the row against the database. */
static int load_check(struct load *l)
{
    odb_slice key = bytes_slice(&l->r.row.key), want = bytes_slice(&l->r.row.value);
    struct bytes shown = {NULL, 0, 0};
    odb_value v;
    odb_status st = odb_get(odb_now(l->t->db), l->r.cf, key, &v);
    bool same = st == ODB_ABSENT && l->r.row.is_delete;

    if (st != ODB_OK && st != ODB_ABSENT)
        return tool_fail(st, "check");
    if (st == ODB_OK) {
        same = !l->r.row.is_delete && odb_slice_equal(odb_bytes(v.data, v.size), want);
        odb_value_release(&v);
    }
    l->rows++;
    if (same)
        return EXIT_FINE;
    if (l->different++ < 10) {
        text_show(l->t, key, &shown);
        fprintf(stderr, "odb: line %llu: key '%.*s' %s\n", (unsigned long long)l->r.line_no,
                (int)shown.len, shown.p ? shown.p : "",
                st == ODB_ABSENT     ? "is missing"
                : l->r.row.is_delete ? "is still there"
                                     : "has another value");
        bytes_free(&shown);
    }
    return EXIT_FINE;
}

static int load_rows(struct load *l)
{
    uint64_t limit = l->t->limit ? l->t->limit : UINT64_MAX;
    int code = EXIT_FINE, more = 1;

    while (code == EXIT_FINE && l->rows < limit && (more = reader_next(&l->r)) > 0) {
        code = l->t->do_check ? load_check(l) : load_row(l);
        if (l->rows % 256 == 0)
            progress_show(&l->bar, l->r.read, l->r.size);
    }
    if (code == EXIT_FINE && more < 0)
        code = -more;
    if (odb_batch_count(l->batch) && (code == EXIT_FINE || code == EXIT_INPUT)) {
        int last = load_commit(l); /* what came before a wrong line counts */

        code = code == EXIT_FINE ? last : code;
    }
    return code;
}

static void load_summary(const struct load *l)
{
    double secs = (double)(now_ns() - l->bar.started_ns) / 1e9 + 1e-9;

    if (l->t->is_json)
        printf("{\"rows\":%llu,\"bytes\":%llu,\"seconds\":%.3f,\"different\":%llu}\n",
               (unsigned long long)l->rows, (unsigned long long)l->r.read, secs,
               (unsigned long long)l->different);
    else if (l->t->do_check)
        printf("%s rows compared, %s differ\n", show_count(l->rows), show_count(l->different));
    else
        printf("%s rows loaded, %s in %.2f s: %s rows/s, %s/s\n", show_count(l->rows),
               show_bytes(l->r.read), secs, show_count((uint64_t)((double)l->rows / secs)),
               show_bytes((uint64_t)((double)l->r.read / secs)));
}

/* Let background work come to rest, so that the figures are those of all the work. */
static int load_settle(struct load *l)
{
    odb_status st = odb_flush(l->t->db, NULL);

    if (st == ODB_OK)
        st = odb_wait_idle(l->t->db);
    return st == ODB_OK ? cmd_stats(l->t) : tool_fail(st, "settling");
}

int cmd_load(struct tool *t)
{
    struct load l = {.t = t, .ack_fd = -1};
    odb_status st = odb_batch_new(&l.batch);
    int code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "load");

    if (code == EXIT_FINE && t->ack_file) {
        l.ack_fd = open(t->ack_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (l.ack_fd < 0) {
            fprintf(stderr, "odb: cannot write '%s': %s\n", t->ack_file, strerror(errno));
            code = EXIT_OTHER;
        }
    }
    if (code == EXIT_FINE)
        code = load_acknowledge(&l);
    if (code == EXIT_FINE)
        code = reader_open(&l.r, t);
    if (code == EXIT_FINE) {
        progress_begin(&l.bar, t, t->do_check ? "check" : "load");
        code = load_rows(&l);
        progress_end(&l.bar);
        load_summary(&l);
    }
    if (code == EXIT_FINE && l.different)
        code = EXIT_CORRUPT;
    if (code == EXIT_FINE && t->do_stats)
        code = load_settle(&l);
    reader_close(&l.r);
    if (l.ack_fd >= 0)
        (void)close(l.ack_fd);
    odb_batch_free(l.batch);
    return code;
}

/* ---- dump ---- */

static odb_status dump_family(const struct tool *t, odb_cf *cf, const odb_range *range,
                              struct progress *bar, uint64_t *done)
{
    struct bytes line = {NULL, 0, 0};
    odb_iter *it;
    odb_status st = odb_iter_new(odb_now(t->db), cf, range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && !ferror(stdout); ok = odb_iter_next(it)) {
        line.len = 0;
        bytes_add(&line, "{", 1);
        json_add_field(&line, "cf", odb_s(odb_cf_name(cf)));
        bytes_add(&line, ",", 1);
        json_add_field(&line, "key", odb_iter_key(it));
        bytes_add(&line, ",", 1);
        json_add_field(&line, "value", odb_iter_value(it));
        bytes_add(&line, "}\n", 2);
        (void)fwrite(line.p, 1, line.len, stdout); /* checked once, at the end */
        *done += line.len;
        progress_show(bar, *done, 0);
    }
    st = odb_iter_status(it);
    odb_iter_free(it);
    bytes_free(&line);
    return st;
}

int cmd_dump(struct tool *t)
{
    odb_range range = {{NULL, 0}, {NULL, 0}, {NULL, 0}, false, true};
    struct bytes prefix = {NULL, 0, 0};
    odb_names names = {NULL, 0};
    struct progress bar;
    uint64_t done = 0;
    odb_status st;
    odb_cf *cf;

    if (t->prefix && !text_parse(t, t->prefix, &prefix))
        return EXIT_USAGE;
    range.prefix = bytes_slice(&prefix);
    progress_begin(&bar, t, "dump");
    bar.is_on = bar.is_on && !isatty(1); /* else bar and rows would run into each other */
    st = odb_cf_list(t->db, &names);
    for (size_t i = 0; st == ODB_OK && i < names.count; i++) {
        if (t->cf && strcmp(t->cf, names.name[i]) != 0)
            continue;
        st = odb_cf_open(t->db, names.name[i], &cf);
        if (st == ODB_OK)
            st = dump_family(t, cf, &range, &bar, &done);
    }
    progress_end(&bar);
    odb_names_release(&names);
    bytes_free(&prefix);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "dump");
}
