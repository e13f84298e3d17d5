/* tools/cmd_vector.c -- odb vector: searching, loading, looking after vectors. */
#include "tool.h"

#if ODB_HAS_VECTOR

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Numbers between blanks, commas and brackets. 0: there is something else. */
static size_t parse_numbers(const char *text, float **out)
{
    size_t n = 0, cap = 0;
    float *x = NULL;

    for (;;) {
        char *end;

        text += strspn(text, " \t,[]\r\n");
        if (*text == 0)
            break;
        if (n == cap) {
            float *more;

            cap = cap ? 2 * cap : 64;
            more = realloc(x, cap * sizeof *x);
            if (!more)
                abort();
            x = more;
        }
        errno = 0;
        x[n++] = strtof(text, &end);
        if (end == text || n > ODB_VEC_DIM_MAX) {
            free(x);
            return 0;
        }
        text = end;
    }
    *out = x;
    return n;
}

/* A word of a list, whose first is number 1; 0: none of them. */
static unsigned number_of_word(const char *word, const char *const *list)
{
    for (unsigned i = 0; list[i]; i++)
        if (strcmp(list[i], word) == 0)
            return i + 1;
    return 0;
}

/* Whether each number is one that makes sense: 0 is not what is meant by leaving it out, and what is too much
 * is not cut. EXIT_FINE, or a message was printed. */
static int check_numbers(const struct tool *t)
{
    const struct {
        const char *name;
        uint64_t value;
        uint32_t least, most;
    } number[] = {
        {"--limit", t->limit, 1, 1000000},
        {"--ef", t->vector.ef, 1, 1000000},
        {"--m", t->vector.m, 4, 64},
        {"--ef-construction", t->vector.ef_construction, 1, 4096},
    };

    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        bool is_given = number[i].value || (t->zero && strcmp(t->zero, number[i].name) == 0);

        if (is_given && (number[i].value < number[i].least || number[i].value > number[i].most))
            return tool_usage("%s is %u to %u; leave it out for what is usual", number[i].name,
                              number[i].least, number[i].most);
    }
    return EXIT_FINE;
}

/* What the options say of the index. EXIT_FINE, or a message was printed. */
static int config_of_options(const struct tool *t, odb_vec_config *c)
{
    static const char *const metrics[] = {"l2", "cosine", "dot", NULL};
    static const char *const forms[] = {"f32", "f16", "i8", "auto", NULL};
    int code = check_numbers(t);

    if (code != EXIT_FINE)
        return code;
    *c = (odb_vec_config){.size = sizeof *c};
    if (t->vector.metric) {
        c->metric = (odb_metric)number_of_word(t->vector.metric, metrics);
        if (!c->metric)
            return tool_usage("--metric is l2, cosine or dot");
    }
    if (t->vector.form) {
        c->form = (odb_vec_form)number_of_word(t->vector.form, forms);
        if (!c->form)
            return tool_usage("--form is f32, f16, i8 or auto");
    }
    c->m = (uint32_t)t->vector.m;
    c->ef_construction = (uint32_t)t->vector.ef_construction;
    return EXIT_FINE;
}

static void print_hit(const struct tool *t, odb_vec_hit hit)
{
    struct bytes line = {NULL, 0, 0};
    char text[64];

    if (t->is_json) {
        bytes_add(&line, "{", 1);
        json_add_field(&line, "id", hit.id);
        (void)snprintf(text, sizeof text, ",\"distance\":%.9g}", (double)hit.distance);
        bytes_add(&line, text, strlen(text));
    } else {
        (void)snprintf(text, sizeof text, "%.6f\t", (double)hit.distance);
        bytes_add(&line, text, strlen(text));
        text_show(t, hit.id, &line);
    }
    bytes_add(&line, "\n", 1);
    (void)fwrite(line.p, 1, line.len, stdout);
    bytes_free(&line);
}

int cmd_vector_search(struct tool *t)
{
    odb_vec_search_stats stats = {0};
    odb_vec_search how = {.size = sizeof how, .stats = &stats};
    struct bytes id = {NULL, 0, 0};
    odb_vec_hits *hits = NULL;
    odb_filter *filter = NULL;
    float *x = NULL;
    size_t n, at = 0;
    odb_status st = ODB_OK;

    if (check_numbers(t) != EXIT_FINE)
        return EXIT_USAGE;
    how.k = t->limit ? (uint32_t)t->limit : 10;
    how.exact = t->do_check;
    how.ef = (uint32_t)t->vector.ef;
    how.diverse = t->vector.is_diverse;
    if (t->prefix)
        how.prefix = odb_s(t->prefix);
    if (t->arg_count > 1) {
        st = odb_filter_parse(odb_s(t->arg[1]), &filter, &at);
        if (st != ODB_OK)
            return tool_fail(st, t->arg[1]);
        how.records = filter;
    }
    if (t->arg[0][0] == '[') {
        n = parse_numbers(t->arg[0], &x);
        if (n == 0) {
            odb_filter_free(filter);
            return tool_usage("'%s' is no list of numbers", t->arg[0]);
        }
        st = odb_vec_find(odb_now(t->db), x, (uint32_t)n, &how, &hits);
    } else if (text_parse(t, t->arg[0], &id)) {
        st = odb_vec_find_like(odb_now(t->db), bytes_slice(&id), &how, &hits);
    } else {
        odb_filter_free(filter);
        return EXIT_USAGE;
    }
    for (size_t i = 0; st == ODB_OK && i < odb_vec_hits_count(hits); i++)
        print_hit(t, odb_vec_hits_at(hits, i));
    if (st == ODB_OK && t->do_stats)
        fprintf(stderr, "%s, %" PRIu64 " distances, %" PRIu64 " hops, %" PRIu64 " rows read%s%s\n",
                stats.plan == ODB_VEC_PLAN_GRAPH  ? "through the graph"
                : stats.plan == ODB_VEC_PLAN_SCAN ? "through all in memory"
                                                  : "through the rows",
                stats.distances, stats.hops, stats.reranked, stats.is_exact ? ", exact" : "",
                stats.is_cut ? ", cut short" : "");
    odb_vec_hits_free(hits);
    odb_filter_free(filter);
    bytes_free(&id);
    free(x);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, t->arg[0]);
}

int cmd_vector_stats(struct tool *t)
{
    odb_vec_stats_t s = {.size = sizeof s};
    odb_vec_config c;
    static const char *const metric[] = {"", "l2", "cosine", "dot"};
    static const char *const form[] = {"none", "f32", "f16", "i8"};
    odb_status st = odb_vec_config_get(t->db, &c);

    if (st == ODB_OK)
        st = odb_vec_stats(t->db, &s);
    if (st != ODB_OK)
        return tool_fail(st, t->dir);
    if (t->is_json) {
        printf("{\"dim\":%u,\"metric\":\"%s\",\"form\":\"%s\",\"m\":%u,\"ef_construction\":%u,"
               "\"ef_search\":%u,\"live\":%" PRIu64 ",\"dead\":%" PRIu64 ",\"pending\":%" PRIu64
               ",\"linked\":%" PRIu64 ",\"levels\":%u,\"bytes\":%" PRIu64 ",\"damaged\":%" PRIu64
               ",\"kernel\":\"%s\"}\n",
               c.dim, metric[c.metric], form[s.form], c.m, c.ef_construction, c.ef_search, s.live,
               s.dead, s.pending, s.linked, s.levels, s.bytes, s.damaged, s.kernel ? s.kernel : "");
        return EXIT_FINE;
    }
    printf("vectors    %s of dimension %u, metric %s\n", show_count(s.live), c.dim,
           metric[c.metric]);
    printf("in memory  %s as %s, kernel %s\n", show_bytes(s.bytes), form[s.form],
           s.kernel ? s.kernel : "none yet");
    printf("graph      %s nodes on %u levels, m %u, ef %u for inserts and %u for searches\n",
           show_count(s.linked), s.levels, c.m, c.ef_construction, c.ef_search);
    printf("behind     %s to be linked, %s dead\n", show_count(s.pending), show_count(s.dead));
    if (s.damaged)
        printf("damaged    %s rows of vector_data are left out\n", show_count(s.damaged));
    return EXIT_FINE;
}

int cmd_vector_verify(struct tool *t)
{
    odb_vec_report r = {.size = sizeof r, .ef = (uint32_t)t->vector.ef};
    odb_status st;

    if (check_numbers(t) != EXIT_FINE)
        return EXIT_USAGE;
    st = odb_vec_verify(t->db, (uint32_t)t->limit, &r);
    if (st != ODB_OK && st != ODB_CORRUPT)
        return tool_fail(st, t->dir);
    if (t->is_json)
        printf("{\"rows\":%" PRIu64 ",\"bad_rows\":%" PRIu64 ",\"nodes\":%" PRIu64
               ",\"bad_nodes\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"orphans\":%" PRIu64
               ",\"doubles\":%" PRIu64 ",\"unreachable\":%" PRIu64
               ",\"sampled\":%u,\"recall\":%.4f}\n",
               r.rows, r.bad_rows, r.nodes, r.bad_nodes, r.missing, r.orphans, r.doubles,
               r.unreachable, r.sampled, r.recall);
    else
        printf("%s vectors, %s of them damaged, %s that share a node\n"
               "%s nodes, %s damaged, %s without a vector, %s out of reach; %s vectors missing\n"
               "recall@10 %.4f, from %u searches\n",
               show_count(r.rows), show_count(r.bad_rows), show_count(r.doubles),
               show_count(r.nodes), show_count(r.bad_nodes), show_count(r.orphans),
               show_count(r.unreachable), show_count(r.missing), r.recall, r.sampled);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, t->dir);
}

int cmd_vector_rebuild(struct tool *t)
{
    struct progress p;
    odb_vec_config c;
    odb_status st;
    int code = config_of_options(t, &c);

    if (code == EXIT_FINE && c.metric)
        code = tool_usage("the metric cannot be changed");
    if (code != EXIT_FINE)
        return code;
    progress_begin(&p, t, "rebuild");
    st = odb_vec_rebuild(t->db, &c, 0, progress_report, &p);
    progress_end(&p);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, t->dir);
}

/* One line: an id, a tabulator, numbers. */
static int bulk_line(odb_vec_bulk *b, char *line, uint64_t line_no)
{
    char *tab = strchr(line, '\t');
    float *x = NULL;
    size_t n = 0;
    odb_status st;

    if (tab)
        n = parse_numbers(tab + 1, &x);
    if (n == 0) {
        fprintf(stderr, "odb: line %" PRIu64 " is no id, tabulator, numbers\n", line_no);
        return EXIT_INPUT;
    }
    st = odb_vec_bulk_add(b, odb_bytes(line, (size_t)(tab - line)), x, (uint32_t)n);
    free(x);
    if (st == ODB_INVALID) {
        fprintf(stderr, "odb: line %" PRIu64 ": %s\n", line_no, odb_error_text());
        return EXIT_INPUT;
    }
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "a vector");
}

int cmd_vector_bulk(struct tool *t)
{
    const char *path = t->arg_count ? t->arg[0] : "-";
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    odb_vec_config c;
    odb_vec_bulk_options opt = {.size = sizeof opt, .progress = progress_report};
    struct progress p;
    odb_vec_bulk *b;
    char *line = NULL;
    size_t room = 0;
    uint64_t line_no = 0;
    int code = config_of_options(t, &c);
    odb_status st;

    if (code != EXIT_FINE) {
        if (in && in != stdin)
            (void)fclose(in);
        return code;
    }
    if (!in) {
        fprintf(stderr, "odb: cannot read '%s': %s\n", path, strerror(errno));
        return EXIT_OTHER;
    }
    progress_begin(&p, t, "vectors");
    opt.arg = &p;
    st = odb_vec_open(t->db, &c);
    if (st == ODB_OK)
        st = odb_vec_bulk_begin(t->db, &opt, &b);
    if (st == ODB_OK) {
        while (code == EXIT_FINE && getline(&line, &room, in) > 0)
            code = bulk_line(b, line, ++line_no);
        if (code == EXIT_FINE)
            st = odb_vec_bulk_finish(b);
        else
            odb_vec_bulk_abort(b); /* what was committed stays */
    }
    progress_end(&p);
    free(line);
    if (in != stdin)
        (void)fclose(in);
    return st == ODB_OK ? code : tool_fail(st, path);
}

#endif
