/* bench/vector_html.c -- curves of recall and speed as SVG.
 *
 *     queries/s (log) |  \__   f32
 *                     |     \__
 *                     |        \      recall@10, as how much is missed (log): 0.8  0.9  0.95  0.99  0.999
 */
#include "bench/vector_html.h"

#include <math.h>
#include <string.h>

#include "bench/html.h"

#define WIDTH  900.0
#define HEIGHT 330.0
#define LEFT   70.0
#define RIGHT  20.0
#define TOP    14.0
#define BOTTOM 46.0

#define MISSED_MOST  0.5 /* points that miss more are not drawn */
#define MISSED_LEAST 0.0005

double bench_vector_qps_at(const struct bench_vector_point *p, double recall)
{
    for (size_t e = 0; e < BENCH_VECTOR_POINTS; e++) {
        if (p[e].recall < recall)
            continue;
        if (e == 0 || p[e].recall <= p[e - 1].recall)
            return p[e].qps;
        return p[e - 1].qps + (p[e].qps - p[e - 1].qps) * (recall - p[e - 1].recall) /
                                  (p[e].recall - p[e - 1].recall);
    }
    return 0;
}

static double x_of_recall(double recall)
{
    double missed = 1 - recall;

    missed = missed < MISSED_LEAST ? MISSED_LEAST : missed > MISSED_MOST ? MISSED_MOST : missed;
    return LEFT +
           (WIDTH - LEFT - RIGHT) * log(MISSED_MOST / missed) / log(MISSED_MOST / MISSED_LEAST);
}

struct qps_scale {
    double low, high;
};

static double y_of_qps(struct qps_scale s, double qps)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * log(qps / s.low) / log(s.high / s.low);
}

static void put_curve(FILE *to, struct qps_scale s, const struct bench_vector_point *p, int colour,
                      const unsigned *ef, const char *what)
{
    size_t first = 0;

    while (first < BENCH_VECTOR_POINTS && 1 - p[first].recall > MISSED_MOST)
        first++;
    (void)fprintf(to, "<path style=\"stroke:var(--c%d)\" d=\"", colour);
    for (size_t e = first; e < BENCH_VECTOR_POINTS; e++)
        (void)fprintf(to, "%c%.1f %.1f", e > first ? 'L' : 'M', x_of_recall(p[e].recall),
                      y_of_qps(s, p[e].qps));
    (void)fprintf(to, "\"/>");
    for (size_t e = first; e < BENCH_VECTOR_POINTS; e++)
        (void)fprintf(
            to,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" style=\"fill:var(--c%d)\"><title>%s, "
            "ef %u: recall %.4f, %.0f queries/s</title></circle>",
            x_of_recall(p[e].recall), y_of_qps(s, p[e].qps), colour, what, ef[e], p[e].recall,
            p[e].qps);
    (void)fputc('\n', to);
}

static void widen_scale(struct qps_scale *s, const struct bench_vector_point *p)
{
    for (size_t e = 0; e < BENCH_VECTOR_POINTS; e++) {
        s->low = p[e].qps < s->low ? p[e].qps : s->low;
        s->high = p[e].qps > s->high ? p[e].qps : s->high;
    }
}

static void put_frame(FILE *to, struct qps_scale s)
{
    static const double recall[] = {0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999};

    (void)fprintf(to, "<div class=\"chart\"><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n", WIDTH,
                  HEIGHT);
    for (double decade = 10; decade < 1e7; decade *= 10)
        for (int k = 1; k <= 5; k += k == 1 ? 1 : 3) {
            double qps = decade * k, y;

            if (qps < s.low || qps > s.high)
                continue;
            y = y_of_qps(s, qps);
            (void)fprintf(to,
                          "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                          "<text class=\"s e\" x=\"%.0f\" y=\"%.1f\">%.0f</text>\n",
                          LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, qps);
        }
    for (size_t i = 0; i < sizeof recall / sizeof *recall; i++)
        (void)fprintf(to,
                      "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>"
                      "<text class=\"s m\" x=\"%.1f\" y=\"%.0f\">%g</text>\n",
                      x_of_recall(recall[i]), x_of_recall(recall[i]), TOP, HEIGHT - BOTTOM,
                      x_of_recall(recall[i]), HEIGHT - BOTTOM + 16, recall[i]);
    (void)fprintf(to,
                  "<text class=\"s m\" x=\"%.0f\" y=\"%.0f\">recall@10 (what is missed, "
                  "logarithmic); up: queries a second of one thread</text>\n",
                  (LEFT + WIDTH) / 2, HEIGHT - 8);
}

static int colour_of_form(const char *form)
{
    return form[0] == 'i' ? 0 : form[1] == '1' ? 2 : 3; /* hnswlib is 1, as rivals are */
}

/* Results of one set. */
static void put_set(FILE *to, const struct bench_vector_result *r, size_t count)
{
    const struct bench_vector_result *peer = r; /* any of the set: it is the same hnswlib */
    struct qps_scale s = {INFINITY, 0};
    char label[48];

    (void)fprintf(to, "<h3>%.0f vectors of %.0f dimensions", r->count, r->dim);
    if (r->ef_construction > 0)
        (void)fprintf(to, " <span class=\"soft\">ef_construction %.0f</span>", r->ef_construction);
    (void)fprintf(to, "</h3>\n<p class=\"key\">");
    for (size_t i = 0; i < count; i++) {
        widen_scale(&s, r[i].ours);
        (void)fprintf(to, "<span><i style=\"background:var(--c%d)\"></i>opendb, %s</span>",
                      colour_of_form(r[i].form), r[i].form);
    }
    while (peer < r + count && !(peer->theirs[0].qps > 0))
        peer++;
    if (peer < r + count) {
        widen_scale(&s, peer->theirs);
        (void)fprintf(to, "<span><i style=\"background:var(--c1)\"></i>hnswlib, f32</span>");
    }
    (void)fprintf(to, "</p>\n");
    if (!(s.low > 0) || !(s.high > s.low))
        return;
    s.low *= 0.9;
    s.high *= 1.1;
    put_frame(to, s);
    if (peer < r + count)
        put_curve(to, s, peer->theirs, 1, r->ef, "hnswlib");
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(label, sizeof label, "opendb %s", r[i].form);
        put_curve(to, s, r[i].ours, colour_of_form(r[i].form), r[i].ef, label);
    }
    (void)fprintf(to, "</svg></div>\n");
}

static void put_ratio(FILE *to, double ours, double theirs, const char *form)
{
    (void)fprintf(to, "<td class=\"n\">");
    if (ours > 0)
        (void)fprintf(to, form, ours);
    if (ours > 0 && theirs > 0)
        (void)fprintf(to, " <span class=\"soft\">(%.2f x)</span>", ours / theirs);
    (void)fprintf(to, "</td>");
}

static void put_table(FILE *to, const struct bench_vector_result *r, size_t count)
{
    (void)fprintf(to, "<table><tr><th>set, form</th><th class=\"n\">queries/s at recall 0.95</th>"
                      "<th class=\"n\">at 0.99</th><th class=\"n\">built/s</th>"
                      "<th class=\"n\">bytes a vector</th><th class=\"n\">commits/s</th>"
                      "<th class=\"n\">search beside a writer</th><th class=\"n\">open, s</th>"
                      "</tr>\n");
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(to, "<tr><td>%.0f x %.0f, %s</td>", r[i].count, r[i].dim, r[i].form);
        for (int k = 0; k < 2; k++)
            put_ratio(to, bench_vector_qps_at(r[i].ours, k ? 0.99 : 0.95),
                      bench_vector_qps_at(r[i].theirs, k ? 0.99 : 0.95), "%.0f");
        put_ratio(to, r[i].build, r[i].their_build, "%.0f");
        put_ratio(to, r[i].bytes, r[i].their_bytes, "%.0f");
        put_ratio(to, r[i].put_rate, 0, "%.0f");
        put_ratio(to, r[i].beside, 0, "%.2f");
        put_ratio(to, r[i].open_s, 0, "%.2f");
        (void)fprintf(to, "</tr>\n");
    }
    (void)fprintf(to,
                  "</table>\n<p class=\"soft\">In brackets: beside hnswlib on the same set, with "
                  "the same m and ef_construction, in the same run.</p>\n");
}

/* When, where, how; what repeats itself is said once. */
static void put_origin(FILE *to, const struct bench_vector_result *r, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!r[i].machine[0] || (i && strcmp(r[i].machine, r[i - 1].machine) == 0))
            continue;
        (void)fputs("<p class=\"soft\">", to);
        bench_html_text(to, r[i].machine);
        (void)fputs("</p>\n", to);
    }
    for (size_t i = 0; i < count; i++) {
        if (!r[i].command[0] || (i && strcmp(r[i].command, r[i - 1].command) == 0))
            continue;
        (void)fputs("<pre>", to);
        bench_html_text(to, r[i].date);
        (void)fprintf(to, ", load %.1f: ", r[i].load);
        bench_html_text(to, r[i].command);
        (void)fputs("</pre>\n", to);
    }
}

void bench_vector_html(FILE *to, const struct bench_vector_result *r, size_t count)
{
    (void)fprintf(to, "<h2>Vectors</h2>\n");
    for (size_t from = 0, end; from < count; from = end) {
        for (end = from + 1; end < count && r[end].dim == r[from].dim &&
                             r[end].count == r[from].count &&
                             r[end].ef_construction == r[from].ef_construction;)
            end++;
        put_set(to, r + from, end - from);
    }
    put_table(to, r, count);
    put_origin(to, r, count);
}

void bench_vector_page(FILE *to, const struct bench_vector_result *r, size_t count)
{
    bench_html_begin(to, "odb-bench-vector");
    bench_vector_html(to, r, count);
    bench_html_end(to);
}
