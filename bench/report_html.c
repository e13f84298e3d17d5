/* bench/report_html.c -- one page with everything: no scripts, nothing from elsewhere, charts as SVG.
 *
 *     head       what ran, when, where; the command to repeat it
 *     parity     a column an engine: what stands for each setting
 *     overview   the ratios, one bar a workload
 *     workloads  for each: speed, throughput over time where it wrote, latencies where they were taken,
 *                what it cost
 *     vectors    recall against speed (vector_html.c), where --vectors names results
 */
#include "bench/report.h"

#include "bench/html.h"

#include <math.h>
#include <stdlib.h>

static const char *engine_name(const struct bench_report *rep, uint32_t e)
{
    return rep->plan->engine[e]->name;
}

/* ---- head and parity ---- */

static void put_head(const struct bench_report *rep, FILE *to)
{
    const struct bench_settings *s = rep->plan->s;
    const struct bench_machine *m = &rep->machine;

    bench_html_begin(to, "odb-bench");
    (void)fputs("<h1>", to);
    for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
        (void)fputs(e > 1 ? ", " : e ? " beside " : "", to);
        bench_html_text(to, engine_name(rep, e));
    }
    (void)fputs("</h1>\n<p class=\"soft\">", to);
    bench_html_text(to, m->date);
    (void)fputs(" &middot; ", to);
    bench_html_text(to, m->cpu);
    (void)fprintf(to, ", %u cores, %.1f GB &middot; ", m->cores, (double)m->memory / 1e9);
    bench_html_text(to, m->kernel);
    (void)fputs(" &middot; ", to);
    bench_html_text(to, m->file_system);
    (void)fputs(" &middot; ", to);
    bench_html_text(to, m->compiler);
    (void)fprintf(to,
                  "</p>\n<p>%llu keys of %llu bytes (%s, drawn %s), values of %llu bytes that "
                  "shrink to %g, threads: %llu.</p>\n<pre>",
                  (unsigned long long)s->num, (unsigned long long)s->key_size, s->key_shape,
                  s->draw, (unsigned long long)s->value_size, s->compression_ratio,
                  (unsigned long long)s->threads);
    bench_html_text(to, rep->command);
    (void)fputs("</pre>\n", to);
}

static void put_parity(const struct bench_report *rep, FILE *to)
{
    const struct bench_plan *plan = rep->plan;
    struct bench_parity p[BENCH_ENGINES_MAX];

    (void)fputs("<h2>How alike they are</h2>\n<table><tr><th></th>", to);
    for (uint32_t e = 0; e < plan->engine_count; e++) {
        char text[128], warning[128];

        plan->engine[e]->describe(text, sizeof text, warning, sizeof warning);
        bench_report_parity(rep, e, &p[e]);
        (void)fputs("<th>", to);
        bench_html_text(to, plan->engine[e]->name);
        (void)fputs("<br><span class=\"soft\">", to);
        bench_html_text(to, text);
        (void)fputs("</span>", to);
        if (warning[0]) {
            (void)fputs("<br><span class=\"warn\">", to);
            bench_html_text(to, warning);
            (void)fputs("</span>", to);
        }
        (void)fputs("</th>", to);
    }
    (void)fputs("</tr>\n", to);
#define PARITY_ROW(field)                                                                          \
    (void)fputs("<tr><th>", to);                                                                   \
    for (const char *c = #field; *c; c++)                                                          \
        (void)fputc(*c == '_' ? ' ' : *c, to);                                                     \
    (void)fputs("</th>", to);                                                                      \
    for (uint32_t e = 0; e < plan->engine_count; e++) {                                            \
        (void)fputs("<td>", to);                                                                   \
        bench_html_text(to, p[e].field);                                                           \
        (void)fputs("</td>", to);                                                                  \
    }                                                                                              \
    (void)fputs("</tr>\n", to);
    BENCH_PARITY(PARITY_ROW)
#undef PARITY_ROW
    (void)fputs("</table>\n", to);
}

/* ---- overview ---- */

#define ROW 22

static double log_span(double from, double to, double at)
{
    double x = (log(at) - log(from)) / (log(to) - log(from));

    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* One bar a workload, from 1 to the median, on a scale of powers; the spread as a line. */
static void put_ratio_chart(const struct bench_report *rep, FILE *to, uint32_t other)
{
    const struct bench_plan *plan = rep->plan;
    double *ratio = bench_alloc(BENCH_ROUNDS_MAX * sizeof *ratio), low = 0.5, high = 2;
    struct bench_verdict *v = bench_alloc(plan->workload_count * sizeof *v);
    size_t *pairs = bench_alloc(plan->workload_count * sizeof *pairs);
    const double left = 150, width = 440;
    uint32_t row = 0;

    for (uint32_t i = 0; i < plan->workload_count; i++) {
        pairs[i] = bench_report_pairs(rep, i, other, ratio, BENCH_ROUNDS_MAX);
        if (pairs[i] == 0)
            continue;
        bench_judge(ratio, pairs[i], &v[i]);
        low = v[i].low < low ? v[i].low : low;
        high = v[i].high > high ? v[i].high : high;
        row++;
    }
    (void)fprintf(to, "<h3>%s as a ratio to %s</h3>\n", engine_name(rep, 0),
                  engine_name(rep, other));
    (void)fprintf(
        to,
        "<div class=\"chart\"><svg viewBox=\"0 0 960 %u\" role=\"img\" aria-label=\"ratios\">\n"
        "<text class=\"s e\" x=\"%g\" y=\"14\">slower</text>"
        "<text class=\"s\" x=\"%g\" y=\"14\">faster</text>\n",
        row * ROW + 26, left + width * log_span(low, high, 1) - 8,
        left + width * log_span(low, high, 1) + 8);
    row = 0;
    for (uint32_t i = 0; i < plan->workload_count; i++) {
        double one = left + width * log_span(low, high, 1), y = 22 + ROW * (double)row, x;
        bool faster;
        char text[128];

        if (pairs[i] == 0)
            continue;
        row++;
        faster = v[i].median >= 1;
        x = left + width * log_span(low, high, v[i].median);
        bench_say_verdict(&v[i], engine_name(rep, 0), engine_name(rep, other), text, sizeof text);
        (void)fprintf(to,
                      "<text class=\"e\" x=\"%g\" y=\"%g\">%s</text><rect x=\"%.1f\" y=\"%g\" "
                      "width=\"%.1f\" height=\"14\" rx=\"2\" fill=\"var(--c%d)\"/>"
                      "<line class=\"spread\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>"
                      "<text x=\"%g\" y=\"%g\">%.2f</text>"
                      "<text class=\"s\" x=\"%g\" y=\"%g\">%.2f to %.2f, %zu pairs &#183; %s"
                      "</text>\n",
                      left - 10, y + 12, plan->workload[i]->name, faster ? one : x, y,
                      fabs(x - one) < 1 ? 1 : fabs(x - one), faster ? 0 : 4,
                      left + width * log_span(low, high, v[i].low),
                      left + width * log_span(low, high, v[i].high), y + 7, y + 7,
                      left + width + 14, y + 12, v[i].median, left + width + 62, y + 12, v[i].low,
                      v[i].high, pairs[i], text);
    }
    (void)fprintf(to, "<line class=\"one\" x1=\"%g\" x2=\"%g\" y1=\"18\" y2=\"%u\"/></svg></div>\n",
                  left + width * log_span(low, high, 1), left + width * log_span(low, high, 1),
                  row * ROW + 24);
    free(ratio);
    free(v);
    free(pairs);
}

/* ---- one workload ---- */

/* Seconds an operation takes: the median over the rounds, and the extremes. False: no result. */
static bool speed_of(const struct bench_report *rep, uint32_t step, uint32_t e, double *mid,
                     double *low, double *high)
{
    uint32_t rounds = bench_report_rounds(rep), n = 0;
    double *micros = bench_alloc(rounds * sizeof *micros);

    for (uint32_t r = 0; r < rounds; r++) {
        const struct bench_result *one = bench_report_find(rep, step, e, r);

        if (one && one->ops)
            micros[n++] = one->seconds * 1e6 / (double)one->ops;
    }
    if (n > 0) {
        *mid = bench_median(micros, n);
        *low = micros[0];
        *high = micros[n - 1];
    }
    free(micros);
    return n > 0;
}

static void put_speed(const struct bench_report *rep, FILE *to, uint32_t step)
{
    uint32_t count = rep->plan->engine_count;
    double mid, low, high, most = 0;
    const double left = 150, width = 440;

    for (uint32_t e = 0; e < count; e++)
        if (speed_of(rep, step, e, &mid, &low, &high) && high > most)
            most = high;
    if (most <= 0)
        return;
    (void)fprintf(to,
                  "<div class=\"chart\"><svg viewBox=\"0 0 960 %u\" role=\"img\" aria-label=\"time "
                  "an operation\">\n",
                  count * ROW + 6);
    for (uint32_t e = 0; e < count; e++) {
        double y = 4 + ROW * (double)e;

        if (!speed_of(rep, step, e, &mid, &low, &high))
            continue;
        (void)fprintf(to,
                      "<text class=\"e\" x=\"%g\" y=\"%g\">%s</text><rect x=\"%g\" y=\"%g\" "
                      "width=\"%.1f\" height=\"14\" rx=\"2\" fill=\"var(--c%u)\"/>"
                      "<line class=\"spread\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>"
                      "<text x=\"%g\" y=\"%g\">%.*f us</text>"
                      "<text class=\"s\" x=\"%g\" y=\"%g\">%.0f operations a second</text>\n",
                      left - 10, y + 12, engine_name(rep, e), left, y,
                      width * mid / most < 1 ? 1 : width * mid / most, e % 8,
                      left + width * low / most, left + width * high / most, y + 7, y + 7,
                      left + width + 14, y + 12,
                      mid < 10     ? 3
                      : mid < 1000 ? 1
                                   : 0,
                      mid, left + width + 110, y + 12, 1e6 / mid);
    }
    (void)fputs("</svg></div>\n", to);
}

struct plot {
    FILE *to;
    double left, top, width, height;
    double x_max, y_max;
};

/* The next number up that a scale likes to end with. */
static double round_up(double n)
{
    static const double step[] = {1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10};
    double ten = pow(10, floor(log10(n)));

    for (size_t i = 0; i < sizeof step / sizeof step[0]; i++)
        if (n <= step[i] * ten * 1.000001)
            return step[i] * ten;
    return 10 * ten;
}

static void plot_frame(const struct plot *p, const char *x_unit, const char *y_unit, double y_scale)
{
    (void)fprintf(
        p->to, "<div class=\"chart\"><svg viewBox=\"0 0 960 %g\" role=\"img\" aria-label=\"%s\">\n",
        p->top + p->height + 30, y_unit);
    for (int i = 0; i <= 4; i++) {
        double y = p->top + p->height * (1 - i / 4.0), x = p->left + p->width * i / 4.0;

        (void)fprintf(p->to,
                      "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%g\" y2=\"%g\"/>"
                      "<text class=\"s e\" x=\"%g\" y=\"%g\">%.3g%s</text>"
                      "<text class=\"s m\" x=\"%g\" y=\"%g\">%.3g%s</text>\n",
                      p->left, p->left + p->width, y, y, p->left - 6, y + 4,
                      p->y_max * i / 4 * y_scale, i == 4 ? y_unit : "", x, p->top + p->height + 18,
                      p->x_max * i / 4, i == 4 ? x_unit : "");
    }
}

/* Operations a second over time, of the first round. */
static void put_progress(const struct bench_report *rep, FILE *to, uint32_t step)
{
    struct plot p = {to, 110, 14, 800, 150, 0, 0};
    bool any = false;

    for (int draw = 0; draw < 2; draw++) {
        if (draw && (!any || p.y_max <= 0 || p.x_max <= 0))
            return;
        if (draw) {
            p.x_max = round_up(p.x_max);
            p.y_max = round_up(p.y_max);
            (void)fputs("<p class=\"soft\">Throughput while it ran (first round)</p>\n", to);
            plot_frame(&p, " s", " k/s", 1e-3);
        }
        for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
            const struct bench_result *r = bench_report_find(rep, step, e, 0);
            double at = 0;
            uint64_t done = 0;

            if (!r || !r->is_write || r->point_count < 4)
                continue;
            any = true;
            if (draw)
                (void)fprintf(to, "<path stroke=\"var(--c%u)\" d=\"", e % 8);
            for (uint32_t i = 0; i < r->point_count; i++) {
                double span = r->point_time[i] - at, rate;

                if (span <= 0 ||
                    (i + 1 == r->point_count && span < 0.5 * rep->plan->s->stats_interval))
                    continue;
                rate = (double)(r->point_ops[i] - done) / span;
                if (draw)
                    (void)fprintf(to, "%s%.1f %.1f", done || at > 0 ? "L" : "M",
                                  p.left + p.width * r->point_time[i] / p.x_max,
                                  p.top + p.height * (1 - rate / p.y_max));
                at = r->point_time[i];
                done = r->point_ops[i];
                p.x_max = !draw && at > p.x_max ? at : p.x_max;
                p.y_max = !draw && rate > p.y_max ? rate : p.y_max;
            }
            if (draw)
                (void)fputs("\"/>\n", to);
        }
    }
    (void)fputs("</svg></div>\n", to);
}

/* Latency at each percentile, all rounds together; both scales logarithmic: every step to the right is
 * ten times rarer. */
static void put_latency(const struct bench_report *rep, FILE *to, uint32_t step)
{
    static const double at[] = {50, 90, 99, 99.9, 99.99, 99.999};
    static const char *const label[] = {"p50", "p90", "p99", "p99.9", "p99.99", "p99.999"};
    const double left = 110, width = 800, top = 14, height = 170;
    struct bench_hist *sum = bench_alloc(rep->plan->engine_count * sizeof *sum);
    double low = 1e18, high = 0;
    bool any = false;

    memset(sum, 0, rep->plan->engine_count * sizeof *sum);
    for (size_t i = 0; i < rep->count; i++)
        if (!rep->result[i].is_load && rep->result[i].step == step &&
            rep->result[i].hist.count >= 1000)
            bench_hist_merge(&sum[rep->result[i].engine], &rep->result[i].hist);
    for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
        double lo = (double)bench_hist_percentile(&sum[e], 50), hi = (double)sum[e].max;

        if (sum[e].count == 0)
            continue;
        any = true;
        low = lo < low ? lo : low;
        high = hi > high ? hi : high;
    }
    if (!any || low >= high || low < 1) {
        free(sum);
        return;
    }
    low = pow(10, floor(log10(low)));
    high = pow(10, ceil(log10(high)));
    (void)fprintf(to,
                  "<p class=\"soft\">Latency (all rounds)</p>\n<div class=\"chart\"><svg "
                  "viewBox=\"0 0 960 %g\" "
                  "role=\"img\" aria-label=\"latency\">\n",
                  top + height + 30);
    for (double y = low; y <= high * 1.001; y *= 10) {
        double v = top + height * (1 - log_span(low, high, y));

        (void)fprintf(to,
                      "<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text class=\"s e\" x=\"%g\" y=\"%.1f\">%g us</text>\n",
                      left, left + width, v, v, left - 6, v + 4, y * 1e-3);
    }
    for (size_t i = 0; i < 6; i++)
        (void)fprintf(to, "<text class=\"s m\" x=\"%g\" y=\"%g\">%s</text>\n",
                      left + width * (double)i / 6, top + height + 18, label[i]);
    (void)fprintf(to, "<text class=\"s m\" x=\"%g\" y=\"%g\">max</text>\n", left + width,
                  top + height + 18);
    for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
        if (sum[e].count == 0)
            continue;
        (void)fprintf(to, "<path stroke=\"var(--c%u)\" d=\"", e % 8);
        for (size_t i = 0; i <= 6; i++) {
            uint64_t ns = i < 6 ? bench_hist_percentile(&sum[e], at[i]) : sum[e].max;

            (void)fprintf(to, "%s%.1f %.1f", i ? "L" : "M", left + width * (double)i / 6,
                          top + height * (1 - log_span(low, high, ns ? (double)ns : 1)));
        }
        (void)fputs("\"/>\n", to);
    }
    (void)fputs("</svg></div>\n", to);
    free(sum);
}

/* ---- costs ---- */

enum cost { COST_FOREGROUND, COST_BACKGROUND, COST_MEMORY, COST_DISK, COST_WRITTEN, COST_COUNT };

static double cost_of(const struct bench_result *r, enum cost c)
{
    double ops = (double)r->ops;

    switch (c) {
    case COST_FOREGROUND: return r->cpu_foreground * 1e6 / ops;
    case COST_BACKGROUND: return r->cpu_background * 1e6 / ops;
    case COST_MEMORY: return (double)r->peak_memory / 1048576;
    case COST_DISK: return (double)r->disk_bytes / 1048576;
    case COST_WRITTEN: return r->user_bytes ? (double)r->bytes_written / (double)r->user_bytes : 0;
    case COST_COUNT: break;
    }
    return 0;
}

/* What the first operation took, where that is told: the median over the rounds. */
static void put_first(const struct bench_report *rep, FILE *to, uint32_t step)
{
    uint32_t rounds = bench_report_rounds(rep);
    double *all = bench_alloc(rounds * sizeof *all);
    const char *before = "<p class=\"soft\">The first operation of a round: ";

    for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
        uint32_t n = 0;

        for (uint32_t r = 0; r < rounds; r++) {
            const struct bench_result *one = bench_report_find(rep, step, e, r);

            if (one && one->first_ns)
                all[n++] = (double)one->first_ns * 1e-3;
        }
        if (n == 0)
            continue;
        (void)fprintf(to, "%s%s %.1f us", before, engine_name(rep, e), bench_median(all, n));
        before = ", ";
    }
    if (before[0] == ',')
        (void)fputs("</p>\n", to);
    free(all);
}

static double median_cost(const struct bench_report *rep, uint32_t step, uint32_t e, enum cost c)
{
    uint32_t rounds = bench_report_rounds(rep), n = 0;
    double *all = bench_alloc(rounds * sizeof *all), mid = 0;

    for (uint32_t r = 0; r < rounds; r++) {
        const struct bench_result *one = bench_report_find(rep, step, e, r);

        if (one && one->ops)
            all[n++] = cost_of(one, c);
    }
    if (n)
        mid = bench_median(all, n);
    free(all);
    return mid;
}

static void put_costs(const struct bench_report *rep, FILE *to, uint32_t step)
{
    (void)fputs("<table><tr><th>medians</th><th class=\"n\">CPU us an operation, foreground</th>"
                "<th class=\"n\">background</th><th class=\"n\">peak memory MiB</th>"
                "<th class=\"n\">on disk MiB</th><th class=\"n\">bytes written per user byte</th>"
                "</tr>\n",
                to);
    for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
        (void)fprintf(to, "<tr><td>%s</td>", engine_name(rep, e));
        for (int c = 0; c < COST_COUNT; c++) {
            double n = median_cost(rep, step, e, (enum cost)c);

            if (c == COST_WRITTEN && n <= 0)
                (void)fputs("<td class=\"n\"></td>", to);
            else
                (void)fprintf(to, "<td class=\"n\">%.*f</td>",
                              c == COST_MEMORY || c == COST_DISK ? 0
                              : n < 10                           ? 2
                                                                 : 1,
                              n);
        }
        (void)fputs("</tr>\n", to);
    }
    (void)fputs("</table>\n", to);
}

static void put_counts(const struct bench_report *rep, FILE *to, uint32_t step)
{
    static const char *const name[] = {
#define COUNTER_NAME(name, help) help,
        BENCH_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
    };
    const struct bench_result *first = bench_report_find(rep, step, 0, 0);

    if (!first || !first->has_counts)
        return;
    (void)fputs("<table><tr><th>counts an operation (first round)</th>", to);
    for (uint32_t e = 0; e < rep->plan->engine_count; e++)
        (void)fprintf(to, "<th class=\"n\">%s</th>", engine_name(rep, e));
    (void)fputs("</tr>\n", to);
    for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++) {
        (void)fprintf(to, "<tr><td>%s</td>", name[i]);
        for (uint32_t e = 0; e < rep->plan->engine_count; e++) {
            const struct bench_result *r = bench_report_find(rep, step, e, 0);

            if (!r || r->ops == 0 || r->counts.n[i] == BENCH_UNCOUNTED)
                (void)fputs("<td class=\"n soft\">not counted</td>", to);
            else
                (void)fprintf(to, "<td class=\"n\">%.4g</td>",
                              (double)r->counts.n[i] / (double)r->ops);
        }
        (void)fputs("</tr>\n", to);
    }
    (void)fputs("</table>\n", to);
}

static void put_key(const struct bench_report *rep, FILE *to)
{
    (void)fputs("<p class=\"key\">", to);
    for (uint32_t e = 0; e < rep->plan->engine_count; e++)
        (void)fprintf(to, "<span><i style=\"background:var(--c%u)\"></i>%s</span>", e % 8,
                      engine_name(rep, e));
    (void)fputs("</p>\n", to);
}

bool bench_report_html(const struct bench_report *rep, FILE *to)
{
    const struct bench_plan *plan = rep->plan;

    put_head(rep, to);
    if (plan->engine_count > 1) {
        (void)fputs(
            "<h2>Overview</h2>\n<p class=\"soft\">Operations a second, as a ratio; the "
            "median of the pairs, the line is their spread. The scale is logarithmic.</p>\n",
            to);
        for (uint32_t e = 1; e < plan->engine_count; e++)
            put_ratio_chart(rep, to, e);
    }
    put_parity(rep, to);
    (void)fputs("<h2>Workloads</h2>\n<p class=\"soft\">Time an operation takes, shorter is better; "
                "the line is the spread over the rounds.</p>\n",
                to);
    put_key(rep, to);
    for (uint32_t i = 0; i < plan->workload_count; i++) {
        (void)fprintf(to, "<h3>%s <span class=\"soft\">", plan->workload[i]->name);
        bench_html_text(to, plan->workload[i]->help);
        (void)fputs("</span></h3>\n", to);
        put_speed(rep, to, i);
        put_first(rep, to, i);
        put_progress(rep, to, i);
        put_latency(rep, to, i);
        put_costs(rep, to, i);
        put_counts(rep, to, i);
    }
    if (rep->vector_count)
        bench_vector_html(to, rep->vectors, rep->vector_count);
    bench_html_end(to);
    return fflush(to) == 0 && !ferror(to);
}
