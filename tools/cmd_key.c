/* tools/cmd_key.c -- put, get, delete, exists, scan: one key, or some in order. */
#include "tool.h"

#include <unistd.h>

static void print_row(const struct tool *t, odb_slice key, const odb_slice *value)
{
    struct bytes line = {NULL, 0, 0};

    if (t->is_json) {
        bytes_add(&line, "{", 1);
        json_add_field(&line, "key", key);
        if (value) {
            bytes_add(&line, ",", 1);
            json_add_field(&line, "value", *value);
        }
        bytes_add(&line, "}", 1);
    } else {
        text_show(t, key, &line);
        if (value) {
            bytes_add(&line, "\t", 1);
            text_show(t, *value, &line);
        }
    }
    bytes_add(&line, "\n", 1);
    (void)fwrite(line.p, 1, line.len, stdout); /* checked once, at the end */
    bytes_free(&line);
}

/* The value of odb put: what was typed, or standard input. */
static bool take_value(const struct tool *t, const char *typed, struct bytes *out)
{
    char room[65536];
    size_t n;

    if (strcmp(typed, "-") != 0)
        return text_parse(t, typed, out);
    while ((n = fread(room, 1, sizeof room, stdin)) > 0)
        bytes_add(out, room, n);
    return !ferror(stdin);
}

int cmd_put(struct tool *t)
{
    struct bytes key = {NULL, 0, 0}, value = {NULL, 0, 0};
    int code = EXIT_USAGE;
    odb_status st;

    if (text_parse(t, t->arg[0], &key) && take_value(t, t->arg[1], &value)) {
        st = odb_put(t->db, t->family, bytes_slice(&key), bytes_slice(&value), NULL);
        code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "put");
    }
    bytes_free(&key);
    bytes_free(&value);
    return code;
}

int cmd_get(struct tool *t)
{
    struct bytes key = {NULL, 0, 0}, shown = {NULL, 0, 0};
    int code = EXIT_FINE;
    odb_value v;
    odb_slice value;
    odb_status st;

    if (!text_parse(t, t->arg[0], &key))
        return EXIT_USAGE;
    st = odb_get(odb_now(t->db), t->family, bytes_slice(&key), &v);
    if (st == ODB_OK) {
        value = odb_bytes(v.data, v.size);
        if (t->is_json) {
            print_row(t, bytes_slice(&key), &value);
        } else if (t->form != FORM_TEXT) {
            text_show(t, value, &shown);
            (void)printf("%.*s\n", (int)shown.len, shown.p ? shown.p : "");
        } else {
            (void)fwrite(value.data, 1, value.size, stdout);
            if (isatty(1))
                (void)putchar('\n');
        }
        odb_value_release(&v);
    } else if (st == ODB_ABSENT) {
        fprintf(stderr, "odb: no key '%s' in family '%s'\n", t->arg[0], odb_cf_name(t->family));
        code = EXIT_ABSENT;
    } else {
        code = tool_fail(st, "get");
    }
    bytes_free(&key);
    bytes_free(&shown);
    return code;
}

int cmd_delete(struct tool *t)
{
    struct bytes key = {NULL, 0, 0};
    odb_status st;

    if (!text_parse(t, t->arg[0], &key))
        return EXIT_USAGE;
    st = odb_delete(t->db, t->family, bytes_slice(&key), NULL);
    bytes_free(&key);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "delete");
}

int cmd_exists(struct tool *t)
{
    struct bytes key = {NULL, 0, 0};
    odb_status st;

    if (!text_parse(t, t->arg[0], &key))
        return EXIT_USAGE;
    st = odb_exists(odb_now(t->db), t->family, bytes_slice(&key));
    bytes_free(&key);
    if (st == ODB_ABSENT)
        return EXIT_ABSENT;
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "exists");
}

/* ---- scan ---- */

int cmd_scan(struct tool *t)
{
    struct bytes from = {NULL, 0, 0}, to = {NULL, 0, 0}, prefix = {NULL, 0, 0};
    odb_range range = {{NULL, 0}, {NULL, 0}, {NULL, 0}, false, false};
    uint64_t left = t->limit ? t->limit : UINT64_MAX;
    odb_iter *it = NULL;
    int code = EXIT_FINE;
    odb_status st;
    bool ok;

    if ((t->from && !text_parse(t, t->from, &from)) || (t->to && !text_parse(t, t->to, &to)) ||
        (t->prefix && !text_parse(t, t->prefix, &prefix))) {
        code = EXIT_USAGE;
        goto done;
    }
    range.lower = bytes_slice(&from);
    range.upper = t->to ? odb_bytes(to.p ? to.p : "", to.len) : range.upper;
    range.prefix = bytes_slice(&prefix);
    range.keys_only = t->keys_only;
    range.is_long = !t->limit;
    st = odb_iter_new(odb_now(t->db), t->family, &range, &it);
    if (st == ODB_OK) {
        for (ok = t->is_reverse ? odb_iter_last(it) : odb_iter_first(it); ok && left > 0;
             ok = t->is_reverse ? odb_iter_prev(it) : odb_iter_next(it), left--) {
            odb_slice value = odb_iter_value(it);

            print_row(t, odb_iter_key(it), t->keys_only ? NULL : &value);
        }
        st = odb_iter_status(it);
    }
    if (st != ODB_OK)
        code = tool_fail(st, "scan");
done:
    odb_iter_free(it);
    bytes_free(&from);
    bytes_free(&to);
    bytes_free(&prefix);
    return code;
}
