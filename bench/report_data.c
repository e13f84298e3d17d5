/* bench/report_data.c -- everything measured, for programs: JSON and CSV.
 *
 * {"date": .., "command": .., "machine": {..}, "settings": {"num": "5000000", ..},
 *  "engines": [{"name": .., "version": .., "warning": .., "parity": {..}}],
 *  "results": [{"workload": .., "engine": .., "round": .., "step": .., "load": .., "ops": .., ..}],
 *  "ratios":  [{"workload": .., "first": .., "second": .., "median": .., "low": .., "high": ..,
 *               "pairs": .., "winner": "opendb" | "rocksdb" | null}]}
 */
#include "bench/report.h"

#include <stdlib.h>

static void put_text(FILE *to, const char *text)
{
    (void)fputc('"', to);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            (void)fprintf(to, "\\%c", c);
        else if (c < 0x20)
            (void)fprintf(to, "\\u%04x", c);
        else
            (void)fputc(c, to);
    }
    (void)fputc('"', to);
}

static void put_pair(FILE *to, const char *name, const char *text)
{
    put_text(to, name);
    (void)fputs(": ", to);
    put_text(to, text);
}

struct list {
    FILE *to;
    bool more;
};

static void put_setting(void *arg, const char *name, const char *value)
{
    struct list *l = arg;

    (void)fputs(l->more ? ", " : "", l->to);
    l->more = true;
    put_pair(l->to, name, value);
}

static void put_machine(FILE *to, const struct bench_machine *m)
{
    (void)fputs("\"machine\": {", to);
    put_pair(to, "cpu", m->cpu);
    (void)fprintf(to, ", \"cores\": %u, \"memory\": %llu, ", m->cores,
                  (unsigned long long)m->memory);
    put_pair(to, "kernel", m->kernel);
    (void)fputs(", ", to);
    put_pair(to, "file_system", m->file_system);
    (void)fputs(", ", to);
    put_pair(to, "compiler", m->compiler);
    (void)fputs("},\n", to);
}

static void put_engine(FILE *to, const struct bench_report *rep, uint32_t e)
{
    const struct bench_engine *engine = rep->plan->engine[e];
    struct bench_parity p;
    char text[128], warning[128];
    bool more = false;

    engine->describe(text, sizeof text, warning, sizeof warning);
    bench_report_parity(rep, e, &p);
    (void)fputs(e ? ",\n  {" : "\n  {", to);
    put_pair(to, "name", engine->name);
    (void)fputs(", ", to);
    put_pair(to, "version", text);
    (void)fputs(", ", to);
    put_pair(to, "warning", warning);
    (void)fputs(", \"parity\": {", to);
#define PUT_PARITY(field)                                                                          \
    (void)fputs(more ? ", " : "", to);                                                             \
    more = true;                                                                                   \
    put_pair(to, #field, p.field);
    BENCH_PARITY(PUT_PARITY)
#undef PUT_PARITY
    (void)fputs("}}", to);
}

static const double percentile[] = {50, 90, 99, 99.9, 99.99};

#define PERCENTILES (sizeof percentile / sizeof percentile[0])

static void put_latency(FILE *to, const struct bench_hist *h)
{
    (void)fprintf(to, ", \"latency_ns\": {\"mean\": %.1f", (double)h->sum / (double)h->count);
    for (size_t i = 0; i < PERCENTILES; i++)
        (void)fprintf(to, ", \"p%g\": %llu", percentile[i],
                      (unsigned long long)bench_hist_percentile(h, percentile[i]));
    (void)fprintf(to, ", \"max\": %llu}", (unsigned long long)h->max);
}

static const char *const counter_name[] = {
#define COUNTER_NAME(name, help) #name,
    BENCH_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
};

static void put_counts(FILE *to, const struct bench_counts *c)
{
    bool more = false;

    (void)fputs(", \"counts\": {", to);
    for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++) {
        if (c->n[i] == BENCH_UNCOUNTED)
            continue;
        (void)fprintf(to, "%s\"%s\": %llu", more ? ", " : "", counter_name[i],
                      (unsigned long long)c->n[i]);
        more = true;
    }
    (void)fputs("}", to);
}

static void put_points(FILE *to, const struct bench_result *r)
{
    (void)fputs(", \"progress\": [", to);
    for (uint32_t i = 0; i < r->point_count; i++)
        (void)fprintf(to, "%s[%.4f, %llu]", i ? ", " : "", r->point_time[i],
                      (unsigned long long)r->point_ops[i]);
    (void)fputs("]", to);
}

static void put_result(FILE *to, const struct bench_report *rep, const struct bench_result *r)
{
    (void)fputs("\n  {", to);
    put_pair(to, "workload", r->workload);
    (void)fputs(", ", to);
    put_pair(to, "engine", rep->plan->engine[r->engine]->name);
    (void)fprintf(
        to,
        ", \"round\": %u, \"step\": %u, \"load\": %s, \"ops\": %llu, \"found\": %llu, \"bytes\": "
        "%llu, \"user_bytes\": %llu, \"seconds\": %.9g, \"micros_per_op\": %.9g, "
        "\"ops_per_second\": %.9g, \"cpu_foreground\": %.4f, \"cpu_background\": %.4f, "
        "\"bytes_written\": %llu, \"disk_bytes\": %llu, \"peak_memory\": %llu",
        r->round, r->step, r->is_load ? "true" : "false", (unsigned long long)r->ops,
        (unsigned long long)r->found, (unsigned long long)r->bytes,
        (unsigned long long)r->user_bytes, r->seconds,
        r->ops ? r->seconds * 1e6 / (double)r->ops : 0, bench_rate(r), r->cpu_foreground,
        r->cpu_background, (unsigned long long)r->bytes_written, (unsigned long long)r->disk_bytes,
        (unsigned long long)r->peak_memory);
    if (r->first_ns)
        (void)fprintf(to, ", \"first_us\": %.3f", (double)r->first_ns * 1e-3);
    if (r->hist.count)
        put_latency(to, &r->hist);
    if (r->has_counts)
        put_counts(to, &r->counts);
    put_points(to, r);
    (void)fputs(", ", to);
    put_pair(to, "note", r->note);
    (void)fputs("}", to);
}

static bool put_ratio(FILE *to, const struct bench_report *rep, uint32_t step, uint32_t other,
                      bool more)
{
    double *ratio = bench_alloc(BENCH_ROUNDS_MAX * sizeof *ratio);
    size_t n = bench_report_pairs(rep, step, other, ratio, BENCH_ROUNDS_MAX);
    const char *first = rep->plan->engine[0]->name, *second = rep->plan->engine[other]->name;
    struct bench_verdict v;

    if (n > 0) {
        bench_judge(ratio, n, &v);
        (void)fputs(more ? ",\n  {" : "\n  {", to);
        put_pair(to, "workload", rep->plan->workload[step]->name);
        (void)fprintf(to, ", \"step\": %u, ", step);
        put_pair(to, "first", first);
        (void)fputs(", ", to);
        put_pair(to, "second", second);
        (void)fprintf(to,
                      ", \"median\": %.6g, \"low\": %.6g, \"high\": %.6g, \"pairs\": %zu, "
                      "\"winner\": ",
                      v.median, v.low, v.high, n);
        if (v.winner == BENCH_FIRST || v.winner == BENCH_SECOND)
            put_text(to, v.winner == BENCH_FIRST ? first : second);
        else
            (void)fputs("null", to);
        (void)fputs("}", to);
    }
    free(ratio);
    return more || n > 0;
}

bool bench_report_json(const struct bench_report *rep, FILE *to)
{
    const struct bench_plan *plan = rep->plan;
    struct list settings = {to, false};
    bool more = false;

    (void)fputs("{", to);
    put_pair(to, "date", rep->machine.date);
    (void)fputs(",\n", to);
    put_pair(to, "command", rep->command);
    (void)fputs(",\n", to);
    put_machine(to, &rep->machine);
    (void)fputs("\"settings\": {", to);
    bench_settings_each(plan->s, put_setting, &settings);
    (void)fputs("},\n\"engines\": [", to);
    for (uint32_t e = 0; e < plan->engine_count; e++)
        put_engine(to, rep, e);
    (void)fputs("],\n\"results\": [", to);
    for (size_t i = 0; i < rep->count; i++) {
        if (i)
            (void)fputs(",", to);
        put_result(to, rep, &rep->result[i]);
    }
    (void)fputs("],\n\"ratios\": [", to);
    for (uint32_t i = 0; i < plan->workload_count; i++)
        for (uint32_t e = 1; e < plan->engine_count; e++)
            more = put_ratio(to, rep, i, e, more);
    (void)fputs("]}\n", to);
    return fflush(to) == 0 && !ferror(to);
}

/* Names are ours and contain no comma; a note may. */
bool bench_report_csv(const struct bench_report *rep, FILE *to)
{
    (void)fputs("workload,engine,round,load,ops,found,seconds,micros_per_op,ops_per_second,"
                "cpu_foreground,cpu_background,user_bytes,bytes_written,disk_bytes,peak_memory,"
                "p50_ns,p99_ns,p99_9_ns,p99_99_ns,max_ns\n",
                to);
    for (size_t i = 0; i < rep->count; i++) {
        const struct bench_result *r = &rep->result[i];

        (void)fprintf(to, "%s,%s,%u,%d,%llu,%llu,%.9g,%.9g,%.9g,%.4f,%.4f,%llu,%llu,%llu,%llu",
                      r->workload, rep->plan->engine[r->engine]->name, r->round, r->is_load,
                      (unsigned long long)r->ops, (unsigned long long)r->found, r->seconds,
                      r->ops ? r->seconds * 1e6 / (double)r->ops : 0, bench_rate(r),
                      r->cpu_foreground, r->cpu_background, (unsigned long long)r->user_bytes,
                      (unsigned long long)r->bytes_written, (unsigned long long)r->disk_bytes,
                      (unsigned long long)r->peak_memory);
        if (r->hist.count)
            (void)fprintf(to, ",%llu,%llu,%llu,%llu,%llu\n",
                          (unsigned long long)bench_hist_percentile(&r->hist, 50),
                          (unsigned long long)bench_hist_percentile(&r->hist, 99),
                          (unsigned long long)bench_hist_percentile(&r->hist, 99.9),
                          (unsigned long long)bench_hist_percentile(&r->hist, 99.99),
                          (unsigned long long)r->hist.max);
        else
            (void)fputs(",,,,,\n", to);
    }
    return fflush(to) == 0 && !ferror(to);
}
