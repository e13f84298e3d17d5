/* bench/vector_lines.c -- one line of JSON for each form of each set:
 *
 *  {"date": "..", "machine": "..", "command": "..", "load": .., "dim": 768, "count": 50000, "form": "i8",
 *   "ef_construction": 200, "build": .., "bytes": .., "open_s": .., "put": .., "idle_qps": ..,
 *   "beside": .., "curve": [[ef, recall, queries a second], ..],
 *   "hnswlib": {"build": .., "bytes": .., "curve": [..]}}
 */
#include "bench/vector_lines.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- the members ---- */

#define AT(field) offsetof(struct bench_vector_result, field)

static const struct member {
    const char *name;
    size_t at, room; /* room 0: a number */
} own_members[] =
    {
        {"date", AT(date), sizeof((struct bench_vector_result *)0)->date},
        {"machine", AT(machine), sizeof((struct bench_vector_result *)0)->machine},
        {"command", AT(command), sizeof((struct bench_vector_result *)0)->command},
        {"load", AT(load), 0},
        {"dim", AT(dim), 0},
        {"count", AT(count), 0},
        {"form", AT(form), sizeof((struct bench_vector_result *)0)->form},
        {"ef_construction", AT(ef_construction), 0},
        {"build", AT(build), 0},
        {"bytes", AT(bytes), 0},
        {"open_s", AT(open_s), 0},
        {"put", AT(put_rate), 0},
        {"idle_qps", AT(idle_qps), 0},
        {"beside", AT(beside), 0},
        {NULL, 0, 0},
},
  their_members[] = {
      {"build", AT(their_build), 0},
      {"bytes", AT(their_bytes), 0},
      {NULL, 0, 0},
};

/* ---- writing ---- */

static void put_curve_points(FILE *to, const unsigned *ef, const struct bench_vector_point *p)
{
    (void)fputs(", \"curve\": [", to);
    for (size_t e = 0; e < BENCH_VECTOR_POINTS; e++)
        (void)fprintf(to, "%s[%u, %.4f, %.0f]", e ? ", " : "", ef[e], p[e].recall, p[e].qps);
    (void)fputc(']', to);
}

static void put_members(FILE *to, const struct bench_vector_result *r, const struct member *m)
{
    for (const struct member *first = m; m->name; m++) {
        const char *at = (const char *)r + m->at;

        (void)fprintf(to, "%s\"%s\": ", m == first ? "{" : ", ", m->name);
        if (m->room)
            (void)fprintf(to, "\"%s\"", at);
        else
            (void)fprintf(to, "%.7g", *(const double *)(const void *)at);
    }
}

void bench_vector_put_line(FILE *to, const struct bench_vector_result *r)
{
    put_members(to, r, own_members);
    put_curve_points(to, r->ef, r->ours);
    (void)fputs(", \"hnswlib\": ", to);
    put_members(to, r, their_members);
    put_curve_points(to, r->ef, r->theirs);
    (void)fputs("}}\n", to);
}

/* ---- reading: each returns what follows, or NULL ---- */

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* This character, space around it left out. */
static const char *read_char(const char *p, char c)
{
    p = p ? skip_space(p) : NULL;
    return p && *p == c ? skip_space(p + 1) : NULL;
}

static const char *read_text(const char *p, char *out, size_t room)
{
    const char *end;

    p = read_char(p, '"');
    end = p ? strpbrk(p, "\"\\") : NULL;
    if (!end || *end != '"' || (size_t)(end - p) >= room)
        return NULL;
    memcpy(out, p, (size_t)(end - p));
    out[end - p] = 0;
    return skip_space(end + 1);
}

static const char *read_number(const char *p, double *out)
{
    char *end;

    p = p ? skip_space(p) : NULL;
    if (!p || !strchr("-0123456789", *p) || !*p) /* strtod takes "nan", too */
        return NULL;
    *out = strtod(p, &end);
    return end == p ? NULL : skip_space(end);
}

static const char *read_curve(const char *p, unsigned *ef, struct bench_vector_point *out)
{
    p = read_char(p, '[');
    for (size_t e = 0; p && e < BENCH_VECTOR_POINTS; e++) {
        double at = 0;

        p = e ? read_char(p, ',') : p;
        p = read_number(read_char(p, '['), &at);
        p = read_number(read_char(p, ','), &out[e].recall);
        p = read_number(read_char(p, ','), &out[e].qps);
        p = read_char(p, ']');
        if (!(at >= 0 && at < 1e6))
            return NULL;
        ef[e] = (unsigned)at;
    }
    return read_char(p, ']');
}

static const char *read_member(const char *p, struct bench_vector_result *r, const struct member *m,
                               const char *name)
{
    char text[1024];
    double number;

    while (m->name && strcmp(m->name, name) != 0)
        m++;
    if (m->room)
        return read_text(p, (char *)r + m->at, m->room);
    if (m->name)
        return read_number(p, (double *)(void *)((char *)r + m->at));
    return p && *skip_space(p) == '"' ? read_text(p, text, sizeof text) : read_number(p, &number);
}

static const char *read_object(const char *p, struct bench_vector_result *r, bool theirs)
{
    p = read_char(p, '{');
    for (bool first = true; p && *p != '}'; first = false) {
        char name[64];

        p = first ? p : read_char(p, ',');
        p = read_char(read_text(p, name, sizeof name), ':');
        if (p && strcmp(name, "curve") == 0)
            p = read_curve(p, r->ef, theirs ? r->theirs : r->ours);
        else if (p && strcmp(name, "hnswlib") == 0 && !theirs)
            p = read_object(p, r, true);
        else
            p = read_member(p, r, theirs ? their_members : own_members, name);
    }
    return read_char(p, '}');
}

bool bench_vector_read_line(const char *line, struct bench_vector_result *out)
{
    struct bench_vector_result r = {.date = ""};
    const char *end = read_object(line, &r, false);

    if (!end || *end || !r.form[0] || !(r.dim >= 1) || !(r.count >= 1) || !(r.ours[0].qps > 0))
        return false;
    *out = r;
    return true;
}

static int compare_sets(const void *x, const void *y)
{
    const struct bench_vector_result *a = x, *b = y;

    if (a->dim != b->dim)
        return a->dim < b->dim ? -1 : 1;
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    if (a->ef_construction != b->ef_construction)
        return a->ef_construction < b->ef_construction ? -1 : 1;
    return strcmp(a->form, b->form);
}

struct bench_vector_result *bench_vector_read_file(const char *file, size_t *count, size_t *line)
{
    FILE *f = fopen(file, "r");
    struct bench_vector_result *all = NULL;
    char *text = NULL;
    size_t room = 0, n = 0, cap = 0;
    bool ok = f != NULL;

    *line = 0;
    while (ok && getline(&text, &room, f) > 0) {
        struct bench_vector_result *more = all;

        ++*line;
        if (!*skip_space(text))
            continue;
        if (n == cap) {
            cap = cap ? 2 * cap : 16;
            more = realloc(all, cap * sizeof *all);
        }
        all = more ? more : all;
        ok = more && bench_vector_read_line(text, &all[n]);
        n += ok;
    }
    free(text);
    if (f && (ferror(f) || fclose(f) != 0))
        ok = false;
    if (!ok || n == 0) {
        free(all);
        return NULL;
    }
    qsort(all, n, sizeof *all, compare_sets);
    *count = n;
    return all;
}
