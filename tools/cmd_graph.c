/* tools/cmd_graph.c -- odb graph: edges made, followed, and drawn.
 *
 * Edges are shown as "ann --knows--> bob", with what is unusual behind (a weight other than 1,
 * properties), or with --json as the lines that odb graph import reads.
 */
#include "tool.h"

#if ODB_HAS_GRAPH

#include <errno.h>
#include <stdlib.h>

#define RELS_MAX   64
#define IMPORT_ROW 1000 /* edges a commit */

/* ---- arguments ---- */

/* Ids and relations of the command line, in the form the user types them. */
struct names {
    struct bytes bytes[4];
    odb_slice slice[4];
};

static bool take_names(const struct tool *t, struct names *n)
{
    memset(n, 0, sizeof *n);
    for (int i = 0; i < t->arg_count; i++) {
        if (!text_parse(t, t->arg[i], &n->bytes[i]))
            return false;
        n->slice[i] = bytes_slice(&n->bytes[i]);
    }
    return true;
}

static void free_names(struct names *n)
{
    for (int i = 0; i < 4; i++)
        bytes_free(&n->bytes[i]);
}

struct match_room {
    struct bytes text; /* a copy of --rel */
    odb_slice rel[RELS_MAX];
};

static bool take_real(const char *text, const char *option, double *out)
{
    char *end;

    *out = strtod(text, &end);
    if (*text && !*end)
        return true;
    (void)tool_usage("%s needs a number, not '%s'", option, text);
    return false;
}

/* Microseconds since 1970, or "now". */
static bool take_time(const char *text, const char *option, int64_t *out)
{
    char *end;

    if (strcmp(text, "now") == 0) {
        *out = ODB_TIME_NOW;
        return true;
    }
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (*text && !*end && !errno)
        return true;
    (void)tool_usage("%s needs microseconds since 1970, not '%s'", option, text);
    return false;
}

/* --rel, --in, --both, --min-weight, --since, --until. */
static bool take_match(const struct tool *t, struct match_room *room, odb_edge_match *m)
{
    const struct tool_graph *g = &t->graph;
    double weight = 0;

    memset(m, 0, sizeof *m);
    memset(room, 0, sizeof *room);
    m->direction = g->is_both ? ODB_BOTH : g->is_in ? ODB_IN : ODB_OUT;
    if (g->min_weight && !take_real(g->min_weight, "--min-weight", &weight))
        return false;
    m->min_weight = (float)weight;
    if (g->since && !take_time(g->since, "--since", &m->time_from_us))
        return false;
    if (g->until && !take_time(g->until, "--until", &m->time_to_us))
        return false;
    if (!g->rels)
        return true;
    bytes_add(&room->text, g->rels, strlen(g->rels) + 1);
    m->rels = room->rel;
    for (char *p = room->text.p;; p++) {
        char *end = strchr(p, ',');

        if (m->rel_count == RELS_MAX) {
            (void)tool_usage("--rel takes at most %d relations", RELS_MAX);
            return false;
        }
        room->rel[m->rel_count++] = end ? odb_bytes(p, (size_t)(end - p)) : odb_s(p);
        if (!end)
            return true;
        p = end;
    }
}

/* A walk from the nodes that were named, and what it needs. */
struct walk_args {
    odb_walk walk;
    odb_walk_report report;
    struct names from;
    struct match_room room;
    odb_filter *filter;
};

static void free_walk(struct walk_args *a)
{
    odb_filter_free(a->filter);
    free_names(&a->from);
    bytes_free(&a->room.text);
}

/* False: a message was printed. Free it in any case. */
static bool take_walk(const struct tool *t, struct walk_args *a)
{
    const struct tool_graph *g = &t->graph;
    odb_walk *w = &a->walk;

    memset(a, 0, sizeof *a);
    w->size = sizeof *w;
    w->max_depth = (uint32_t)g->depth;
    w->max_nodes = (uint32_t)g->nodes;
    w->max_edges = g->edges;
    w->fanout = (uint32_t)g->fanout;
    w->heaviest = g->heaviest;
    w->report = &a->report;
    if (g->filter) {
        size_t at = 0;
        odb_status st = odb_filter_parse(odb_s(g->filter), &a->filter, &at);

        if (st != ODB_OK) {
            fprintf(stderr, "odb: --filter, at character %zu: %s\n", at + 1, odb_error_text());
            return false;
        }
        w->node_filter = a->filter;
    }
    return take_match(t, &a->room, &w->edges) && take_names(t, &a->from);
}

/* name=value: a whole number, a real, true, false, null, or a text. */
static bool take_prop(const char *typed, odb_prop *out)
{
    const char *equals = strchr(typed, '=');
    char *end;

    memset(out, 0, sizeof *out);
    if (!equals || equals == typed) {
        (void)tool_usage("--prop is name=value, not '%s'", typed);
        return false;
    }
    out->name = odb_bytes(typed, (size_t)(equals - typed));
    typed = equals + 1;
    errno = 0;
    out->value.type = ODB_PROP_INT;
    out->value.u.integer = strtoll(typed, &end, 10);
    if (*typed && !*end && !errno)
        return true;
    out->value.type = ODB_PROP_REAL;
    out->value.u.real = strtod(typed, &end);
    if (*typed && !*end && strspn(typed, "+-.eE0123456789") == strlen(typed))
        return true;
    if (strcmp(typed, "null") == 0) {
        out->value.type = ODB_PROP_NULL;
    } else if (strcmp(typed, "true") == 0 || strcmp(typed, "false") == 0) {
        out->value.type = ODB_PROP_BOOL;
        out->value.u.boolean = *typed == 't';
    } else {
        out->value.type = ODB_PROP_TEXT;
        out->value.u.bytes = odb_s(typed);
    }
    return true;
}

static unsigned link_flags(const struct tool *t)
{
    const struct tool_graph *g = &t->graph;

    return (g->do_upsert ? (unsigned)ODB_LINK_UPSERT : 0) |
           (g->is_required ? (unsigned)ODB_LINK_REQUIRE : 0) |
           (g->is_both_ways ? (unsigned)ODB_LINK_BOTH_WAYS : 0);
}

/* ---- showing ---- */

static odb_status show_edge_json(const odb_edge *e, struct bytes *out)
{
    char few[512], *text = few;
    size_t len = 0;
    odb_status st = odb_edge_to_json(e, few, sizeof few, &len);

    if (st == ODB_OK && len > sizeof few) {
        text = malloc(len);
        st = text ? odb_edge_to_json(e, text, len, &len) : ODB_NOMEM;
    }
    if (st == ODB_OK)
        bytes_add(out, text, len);
    if (text != few)
        free(text);
    return st;
}

/* A property for people; --json has the exact spelling. */
static void show_value(const struct tool *t, const odb_prop_value *v, struct bytes *out)
{
    char room[40] = "null";

    switch (v->type) {
    case ODB_PROP_NULL: break;
    case ODB_PROP_BOOL: (void)snprintf(room, sizeof room, v->u.boolean ? "true" : "false"); break;
    case ODB_PROP_INT: (void)snprintf(room, sizeof room, "%lld", (long long)v->u.integer); break;
    case ODB_PROP_REAL: (void)snprintf(room, sizeof room, "%.15g", v->u.real); break;
    case ODB_PROP_TEXT:
    case ODB_PROP_BYTES:
    case ODB_PROP_JSON: text_show(t, v->u.bytes, out); return;
    }
    bytes_add(out, room, strlen(room));
}

static void show_edge_text(const struct tool *t, const odb_edge *e, struct bytes *out)
{
    text_show(t, e->from, out);
    bytes_add(out, " --", 3);
    text_show(t, e->rel, out);
    bytes_add(out, "--> ", 4);
    text_show(t, e->to, out);
    if (e->weight < 1 || e->weight > 1) {
        char room[40];

        (void)snprintf(room, sizeof room, "  weight %.7g", (double)e->weight);
        bytes_add(out, room, strlen(room));
    }
    for (uint32_t i = 0; i < odb_edge_prop_count(e); i++) {
        odb_prop p;

        if (odb_edge_prop_at(e, i, &p) != ODB_OK)
            break;
        bytes_add(out, "  ", 2);
        text_show(t, p.name, out);
        bytes_add(out, "=", 1);
        show_value(t, &p.value, out);
    }
}

static odb_status print_edge(const struct tool *t, const odb_edge *e)
{
    struct bytes out = {NULL, 0, 0};
    odb_status st = ODB_OK;

    if (t->is_json)
        st = show_edge_json(e, &out);
    else
        show_edge_text(t, e, &out);
    if (st == ODB_OK) {
        bytes_add(&out, "\n", 1);
        (void)fwrite(out.p, 1, out.len, stdout);
    }
    bytes_free(&out);
    return st;
}

/* `name` in text form, or as a JSON member. */
static void print_name(const struct tool *t, const char *member, odb_slice id)
{
    struct bytes out = {NULL, 0, 0};

    if (t->is_json)
        json_add_field(&out, member, id);
    else
        text_show(t, id, &out);
    (void)fwrite(out.p, 1, out.len, stdout);
    bytes_free(&out);
}

static void show_cut(unsigned cut)
{
    static const char *const what[] = {"--depth",  "--nodes",        "--edges",
                                       "--fanout", "the time limit", "the visitor"};

    if (!cut)
        return;
    fputs("odb: there is more; held back by", stderr);
    for (unsigned i = 0; i < 6; i++)
        if (cut & 1u << i)
            fprintf(stderr, " %s", what[i]);
    fputs("\n", stderr);
}

/* ---- link, unlink ---- */

int cmd_graph_link(struct tool *t)
{
    const struct tool_graph *g = &t->graph;
    odb_prop prop[TOOL_PROPS];
    struct names n;
    odb_edge e;
    double weight = 1;
    int code = EXIT_USAGE;
    odb_status st;

    for (int i = 0; i < g->prop_count; i++)
        if (!take_prop(g->prop[i], &prop[i]))
            return EXIT_USAGE;
    if (!take_names(t, &n))
        goto done;
    e = odb_edge_of(n.slice[0], n.slice[1], n.slice[2]);
    if ((g->weight && !take_real(g->weight, "--weight", &weight)) ||
        (g->time && !take_time(g->time, "--time", &e.time_us)))
        goto done;
    e.weight = (float)weight;
    st = odb_link_edge(t->db, NULL, &e, g->prop_count ? prop : NULL, (uint32_t)g->prop_count,
                       link_flags(t));
    code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph link");
    if (st == ODB_ABSENT)
        fprintf(stderr, "     %s\n", odb_error_text());
done:
    free_names(&n);
    return code;
}

int cmd_graph_unlink(struct tool *t)
{
    struct match_room room;
    odb_edge_match m;
    struct names n;
    uint64_t removed = 0;
    int code = EXIT_USAGE;
    odb_status st;

    if (t->arg_count == 2)
        return tool_usage("graph unlink takes a node, or two nodes and a relation between them");
    if (!take_match(t, &room, &m) || !take_names(t, &n))
        return EXIT_USAGE;
    if (t->arg_count == 3) {
        st = odb_unlink(t->db, NULL, n.slice[0], n.slice[1], n.slice[2]);
    } else {
        st = odb_unlink_node(t->db, NULL, n.slice[0], &m, &removed);
        if (st == ODB_OK)
            printf(t->is_json ? "{\"removed\":%llu}\n" : "%llu edges removed\n",
                   (unsigned long long)removed);
    }
    code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph unlink");
    free_names(&n);
    bytes_free(&room.text);
    return code;
}

/* ---- out, in, degree ---- */

static int show_edges(struct tool *t, bool is_in)
{
    odb_edge_options opt = {.size = sizeof opt, .limit = t->limit};
    struct match_room room;
    odb_edge_iter *it = NULL;
    struct names n;
    odb_edge e;
    odb_status st;

    if (!take_match(t, &room, &opt.match) || !take_names(t, &n))
        return EXIT_USAGE;
    if (is_in && opt.match.direction == ODB_OUT)
        opt.match.direction = ODB_IN;
    st = odb_edge_iter_new(odb_now(t->db), n.slice[0], &opt, &it);
    while (st == ODB_OK) {
        st = odb_edge_iter_next(it, &e);
        if (st == ODB_OK)
            st = print_edge(t, &e);
    }
    odb_edge_iter_free(it);
    free_names(&n);
    bytes_free(&room.text);
    return st == ODB_ABSENT ? EXIT_FINE : tool_fail(st, t->command);
}

int cmd_graph_out(struct tool *t)
{
    return show_edges(t, false);
}

int cmd_graph_in(struct tool *t)
{
    return show_edges(t, true);
}

int cmd_graph_degree(struct tool *t)
{
    struct match_room room;
    odb_edge_match m;
    struct names n;
    uint64_t degree = 0;
    odb_status st;

    if (!take_match(t, &room, &m) || !take_names(t, &n))
        return EXIT_USAGE;
    st = odb_degree(odb_now(t->db), n.slice[0], &m, &degree);
    if (st == ODB_OK)
        printf(t->is_json ? "{\"degree\":%llu}\n" : "%llu\n", (unsigned long long)degree);
    free_names(&n);
    bytes_free(&room.text);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph degree");
}

/* ---- walk ---- */

/* A string as Graphviz quotes it; bytes that are not text as \xNN, with the backslash doubled. */
static void print_dot_name(const struct tool *t, odb_slice id)
{
    struct bytes text = {NULL, 0, 0};

    text_show(t, id, &text);
    putchar('"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            putchar('\\');
        putchar(text.p[i]);
    }
    putchar('"');
    bytes_free(&text);
}

static void print_dot(const struct tool *t, const odb_nodeset *set)
{
    printf("digraph walk {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for (size_t i = 0; i < odb_nodeset_count(set); i++) {
        odb_node node = odb_nodeset_at(set, i);

        printf("  n%zu [label=", i);
        print_dot_name(t, node.id);
        printf("%s];\n", node.depth == 0 ? ", penwidth=2" : "");
    }
    for (size_t i = 0; i < odb_nodeset_edge_count(set); i++) {
        odb_link_of link = odb_nodeset_edge(set, i);

        printf("  n%zu -> n%zu [label=", link.from, link.to);
        print_dot_name(t, link.rel);
        printf("];\n");
    }
    printf("}\n");
}

static void print_node(const struct tool *t, const odb_nodeset *set, size_t i)
{
    odb_node node = odb_nodeset_at(set, i);

    if (t->is_json) {
        printf("{");
        print_name(t, "id", node.id);
        printf(",\"depth\":%u", (unsigned)node.depth);
        if (node.parent != SIZE_MAX) {
            printf(",");
            print_name(t, "by", odb_nodeset_at(set, node.parent).id);
            printf(",");
            print_name(t, "rel", node.rel);
            printf(",\"backward\":%s", node.is_backward ? "true" : "false");
        }
        printf("}\n");
        return;
    }
    printf("%*s", (int)(2 * (node.depth < 20 ? node.depth : 20)), "");
    print_name(t, "id", node.id);
    if (node.parent != SIZE_MAX) {
        printf(node.is_backward ? "   --" : "   <-- ");
        print_name(t, "rel", node.rel);
        printf(node.is_backward ? "--> " : " -- ");
        print_name(t, "by", odb_nodeset_at(set, node.parent).id);
    }
    printf("\n");
}

int cmd_graph_walk(struct tool *t)
{
    odb_nodeset *set = NULL;
    struct walk_args a;
    int code = EXIT_USAGE;
    odb_status st;

    if (!take_walk(t, &a))
        goto done;
    a.walk.keep_edges = t->graph.is_dot;
    st = odb_walk_bfs(odb_now(t->db), a.from.slice, (size_t)t->arg_count, &a.walk, &set);
    code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph walk");
    if (st != ODB_OK)
        goto done;
    if (t->graph.is_dot)
        print_dot(t, set);
    else
        for (size_t i = 0; i < odb_nodeset_count(set); i++)
            print_node(t, set, i);
    show_cut(a.report.cut);
done:
    odb_nodeset_free(set);
    free_walk(&a);
    return code;
}

/* ---- path, common, rank, histogram ---- */

int cmd_graph_path(struct tool *t)
{
    odb_path *path = NULL;
    struct walk_args a;
    int code = EXIT_USAGE;
    odb_status st;

    if (!take_walk(t, &a))
        goto done;
    st = odb_shortest_path(odb_now(t->db), a.from.slice[0], a.from.slice[1], &a.walk,
                           t->graph.by_weight ? odb_cost_by_weight : NULL, NULL, &path);
    if (st == ODB_ABSENT) {
        fputs("odb: there is no way\n", stderr);
        show_cut(a.report.cut);
        code = EXIT_ABSENT;
    } else {
        code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph path");
    }
    for (size_t i = 0; i < odb_path_length(path); i++) {
        odb_edge e = odb_path_edge(path, i);

        st = print_edge(t, &e);
        if (st != ODB_OK)
            code = tool_fail(st, "graph path");
    }
done:
    odb_path_free(path);
    free_walk(&a);
    return code;
}

int cmd_graph_common(struct tool *t)
{
    struct match_room room;
    odb_nodeset *set = NULL;
    odb_edge_match m;
    struct names n;
    odb_status st;

    if (!take_match(t, &room, &m) || !take_names(t, &n))
        return EXIT_USAGE;
    st = odb_common_neighbours(odb_now(t->db), n.slice[0], n.slice[1], &m, &set);
    for (size_t i = 0; i < odb_nodeset_count(set); i++) {
        printf(t->is_json ? "{" : "");
        print_name(t, "id", odb_nodeset_at(set, i).id);
        printf(t->is_json ? "}\n" : "\n");
    }
    odb_nodeset_free(set);
    free_names(&n);
    bytes_free(&room.text);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph common");
}

static void print_scores(const struct tool *t, const odb_scores *scores, const char *member,
                         const char *form)
{
    size_t count = odb_scores_count(scores);

    if (t->limit && t->limit < count)
        count = (size_t)t->limit;
    for (size_t i = 0; i < count; i++) {
        odb_score s = odb_scores_at(scores, i);

        if (t->is_json) {
            printf("{");
            print_name(t, member, s.id);
            printf(strcmp(member, "rel") == 0 ? ",\"count\":" : ",\"score\":");
            printf(form, s.score);
            printf("}\n");
        } else {
            printf(form, s.score);
            printf("  ");
            print_name(t, member, s.id);
            printf("\n");
        }
    }
}

int cmd_graph_rank(struct tool *t)
{
    odb_rank rank = {.size = sizeof rank, .weighted = t->graph.by_weight};
    odb_scores *scores = NULL;
    struct walk_args a;
    int code = EXIT_USAGE;
    odb_status st;

    if (t->graph.epsilon && !take_real(t->graph.epsilon, "--epsilon", &rank.epsilon))
        return EXIT_USAGE;
    if (!take_walk(t, &a))
        goto done;
    st = odb_pagerank(odb_now(t->db), a.from.slice, NULL, (size_t)t->arg_count, &rank, &a.walk,
                      &scores);
    code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph rank");
    print_scores(t, scores, "id", "%.6f");
    show_cut(a.report.cut);
done:
    odb_scores_free(scores);
    free_walk(&a);
    return code;
}

int cmd_graph_histogram(struct tool *t)
{
    odb_scores *scores = NULL;
    struct names n;
    odb_status st;

    if (!take_names(t, &n))
        return EXIT_USAGE;
    st = odb_relation_histogram(odb_now(t->db), n.slice[0], t->graph.is_in ? ODB_IN : ODB_OUT,
                                &scores);
    print_scores(t, scores, "rel", "%.0f");
    odb_scores_free(scores);
    free_names(&n);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph histogram");
}

/* ---- prune ---- */

int cmd_graph_prune(struct tool *t)
{
    odb_prune prune = {.size = sizeof prune, .dry_run = t->graph.dry_run};
    struct bytes prefix = {NULL, 0, 0};
    struct progress bar;
    odb_status st;

    if (t->prefix && !text_parse(t, t->prefix, &prefix))
        return EXIT_USAGE;
    prune.prefix = bytes_slice(&prefix);
    prune.progress = progress_report;
    prune.arg = &bar;
    progress_begin(&bar, t, "prune");
    st = odb_graph_prune(t->db, &prune);
    progress_end(&bar);
    bytes_free(&prefix);
    if (st != ODB_OK)
        return tool_fail(st, "graph prune");
    if (t->is_json)
        printf("{\"edges\":%llu,\"dangling\":%llu,\"removed\":%s}\n",
               (unsigned long long)prune.edges, (unsigned long long)prune.removed,
               prune.dry_run ? "false" : "true");
    else
        printf("%s edges, %s %s\n", show_count(prune.edges), show_count(prune.removed),
               prune.dry_run ? "dangling" : "removed");
    return EXIT_FINE;
}

/* ---- import, export ---- */

static int import_commit(struct tool *t, odb_txn **txn, bool goes_on)
{
    odb_status st = odb_txn_commit(*txn, NULL);

    if (st == ODB_OK && goes_on)
        st = odb_txn_reset(*txn);
    (void)t;
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "graph import");
}

int cmd_graph_import(struct tool *t)
{
    const char *path = t->arg_count ? t->arg[0] : "-";
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    uint64_t line_no = 0, count = 0, batch = t->batch ? t->batch : IMPORT_ROW;
    odb_txn *txn = NULL;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int code = EXIT_FINE;
    odb_status st;

    if (!in) {
        fprintf(stderr, "odb: cannot read '%s': %s\n", path, strerror(errno));
        return EXIT_OTHER;
    }
    st = odb_txn_begin(t->db, NULL, &txn);
    if (st != ODB_OK)
        code = tool_fail(st, "graph import");
    while (code == EXIT_FINE && (n = getline(&line, &room, in)) >= 0) {
        line_no++;
        if (n > 0 && line[n - 1] == '\n')
            n--;
        if (n == 0)
            continue;
        st = odb_link_json(t->db, txn, odb_bytes(line, (size_t)n), link_flags(t), NULL);
        if (st == ODB_INVALID) {
            fprintf(stderr, "odb: %s, line %llu: %s\n", path, (unsigned long long)line_no,
                    odb_error_text());
            code = EXIT_INPUT;
        } else if (st != ODB_OK) {
            code = tool_fail(st, "graph import");
        }
        if (code == EXIT_FINE && ++count % batch == 0)
            code = import_commit(t, &txn, true);
    }
    if (code == EXIT_FINE)
        code = import_commit(t, &txn, false);
    if (code == EXIT_FINE)
        printf(t->is_json ? "{\"edges\":%llu}\n" : "%llu edges\n", (unsigned long long)count);
    odb_txn_free(txn);
    free(line);
    if (in != stdin)
        (void)fclose(in);
    return code;
}

int cmd_graph_export(struct tool *t)
{
    odb_edge_options opt = {.size = sizeof opt, .limit = t->limit};
    struct bytes prefix = {NULL, 0, 0};
    odb_edge_iter *it = NULL;
    odb_edge e;
    odb_status st;

    if (t->prefix && !text_parse(t, t->prefix, &prefix))
        return EXIT_USAGE;
    t->is_json = true;
    st = odb_edge_iter_all(odb_now(t->db), bytes_slice(&prefix), &opt, &it);
    while (st == ODB_OK) {
        st = odb_edge_iter_next(it, &e);
        if (st == ODB_OK)
            st = print_edge(t, &e);
    }
    odb_edge_iter_free(it);
    bytes_free(&prefix);
    return st == ODB_ABSENT ? EXIT_FINE : tool_fail(st, "graph export");
}

#endif
