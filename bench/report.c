/* bench/report.c -- what a run says on the terminal. */
#include "bench/report.h"

#include <stdlib.h>

static void print_line(const struct bench_report *rep, const struct bench_result *r)
{
    double ops = r->ops ? (double)r->ops : 1, mib = (double)r->bytes / 1048576;

    if (rep->plan->engine_count > 1)
        printf("%-12s ", rep->plan->engine[r->engine]->name);
    if (r->ops == 0 && r->note[0]) {
        printf("%-16s : (%s)\n", r->workload, r->note);
        return;
    }
    printf("%-16s : %11.3f micros/op %.0f ops/sec %.3f seconds %llu operations;", r->workload,
           r->seconds * 1e6 / ops, bench_rate(r), r->seconds, (unsigned long long)r->ops);
    if (r->bytes && r->seconds > 0)
        printf(" %.1f MB/s", mib / r->seconds);
    if (r->found)
        printf(" (%llu found)", (unsigned long long)r->found);
    if (r->first_ns)
        printf(" (the first: %.3f us)", (double)r->first_ns * 1e-3);
    if (r->note[0])
        printf(" (%s)", r->note);
    printf("\n");
}

static void print_costs(const struct bench_result *r)
{
    printf("    cpu %.2f s foreground, %.2f s background; peak memory %.0f MB; on disk %.1f MB",
           r->cpu_foreground, r->cpu_background, (double)r->peak_memory / 1048576,
           (double)r->disk_bytes / 1048576);
    if (r->user_bytes)
        printf("; %.2f bytes written per user byte",
               (double)r->bytes_written / (double)r->user_bytes);
    printf("\n");
    if (r->hist.count >= 100)
        printf("    us: mean %.2f  p50 %.2f  p99 %.2f  p99.9 %.2f  p99.99 %.2f  max %.0f\n",
               (double)r->hist.sum / (double)r->hist.count * 1e-3,
               (double)bench_hist_percentile(&r->hist, 50) * 1e-3,
               (double)bench_hist_percentile(&r->hist, 99) * 1e-3,
               (double)bench_hist_percentile(&r->hist, 99.9) * 1e-3,
               (double)bench_hist_percentile(&r->hist, 99.99) * 1e-3, (double)r->hist.max * 1e-3);
}

static void print_counts(const struct bench_result *r)
{
    static const char *const name[] = {
#define COUNTER_NAME(name, help) help,
        BENCH_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
    };
    unsigned some = 0;

    if (!r->has_counts || r->ops == 0)
        return;
    printf("    an operation:");
    for (size_t i = 0; i < BENCH_COUNTER_COUNT; i++)
        if (r->counts.n[i] != BENCH_UNCOUNTED && r->counts.n[i] != 0)
            printf("%s %.4g %s", some++ ? "," : "", (double)r->counts.n[i] / (double)r->ops,
                   name[i]);
    printf("\n");
}

/* The same questions have the same answers, whoever is asked; who has no such thing (no operation was
 * counted) was not asked. */
static void compare_found(struct bench_report *rep, const struct bench_result *r)
{
    for (size_t i = rep->count; r->is_checked && r->ops && i-- > 0;) {
        const struct bench_result *o = &rep->result[i];

        if (o->round != r->round || o->is_load != r->is_load || o->engine == r->engine ||
            o->step != r->step || o->ops == 0)
            continue;
        if (o->found != r->found) {
            printf("    %s found %llu and %s %llu: one of them is wrong\n",
                   rep->plan->engine[o->engine]->name, (unsigned long long)o->found,
                   rep->plan->engine[r->engine]->name, (unsigned long long)r->found);
            rep->disagree = true;
        }
        break;
    }
}

void bench_report_add(struct bench_report *rep, const struct bench_result *r)
{
    print_line(rep, r);
    print_costs(r);
    print_counts(r);
    compare_found(rep, r);
    (void)fflush(stdout);
    if (rep->count == rep->cap) {
        size_t cap = rep->cap ? 2 * rep->cap : 64;
        struct bench_result *more = realloc(rep->result, cap * sizeof *more);

        if (!more)
            bench_die("out of memory for results");
        rep->result = more;
        rep->cap = cap;
    }
    rep->result[rep->count++] = *r;
}

/* One of the workloads that syncs each commit whatever --sync says; NULL: none does. */
static const struct bench_workload *find_synced(const struct bench_plan *plan)
{
    for (uint32_t i = 0; i < plan->load_count; i++)
        if (plan->load[i]->flags & BENCH_SYNCED)
            return plan->load[i];
    for (uint32_t i = 0; i < plan->workload_count; i++)
        if (plan->workload[i]->flags & BENCH_SYNCED)
            return plan->workload[i];
    return NULL;
}

void bench_report_parity(const struct bench_report *rep, uint32_t engine, struct bench_parity *out)
{
    const struct bench_workload *wl = find_synced(rep->plan);
    struct bench_settings s = *rep->plan->s;
    struct bench_parity synced;
    size_t len;

    rep->plan->engine[engine]->parity(&s, out);
    s.sync = true;
    rep->plan->engine[engine]->parity(&s, &synced);
    len = strlen(out->durability);
    if (wl && strcmp(out->durability, synced.durability) != 0)
        (void)snprintf(out->durability + len, sizeof out->durability - len, "; %s: %s", wl->name,
                       synced.durability);
}

void bench_report_head(const struct bench_report *rep, FILE *to)
{
    const struct bench_plan *plan = rep->plan;
    const struct bench_settings *s = plan->s;
    struct bench_parity p[BENCH_ENGINES_MAX];

    (void)fprintf(to, "%s; %s, %u cores, %.1f GB; %s; %s; %s\n", rep->machine.date,
                  rep->machine.cpu, rep->machine.cores, (double)rep->machine.memory / 1e9,
                  rep->machine.kernel, rep->machine.file_system, rep->machine.compiler);
    (void)fprintf(
        to, "%llu keys of %llu bytes (%s, %s), values of %llu bytes at ratio %g, %llu threads\n",
        (unsigned long long)s->num, (unsigned long long)s->key_size, s->key_shape, s->draw,
        (unsigned long long)s->value_size, s->compression_ratio, (unsigned long long)s->threads);
    for (uint32_t e = 0; e < plan->engine_count; e++) {
        char text[128], warning[128];

        plan->engine[e]->describe(text, sizeof text, warning, sizeof warning);
        (void)fprintf(to, "%-14s %s%s%s\n", plan->engine[e]->name, text, warning[0] ? "; " : "",
                      warning);
        bench_report_parity(rep, e, &p[e]);
    }
#define PARITY_ROW(field)                                                                          \
    (void)fprintf(to, "%-14s", #field);                                                            \
    for (uint32_t e = 0; e < plan->engine_count; e++)                                              \
        (void)fprintf(to, "%s %s", e ? "  |  " : "", p[e].field);                                  \
    (void)fprintf(to, "\n");
    BENCH_PARITY(PARITY_ROW)
#undef PARITY_ROW
    (void)fprintf(to, "\n");
}

/* ---- ratios ---- */

const struct bench_result *bench_report_find(const struct bench_report *rep, uint32_t step,
                                             uint32_t engine, uint32_t round)
{
    for (size_t i = 0; i < rep->count; i++) {
        const struct bench_result *r = &rep->result[i];

        if (!r->is_load && r->step == step && r->engine == engine && r->round == round)
            return r;
    }
    return NULL;
}

uint32_t bench_report_rounds(const struct bench_report *rep)
{
    return rep->plan->engine_count > 1 ? (uint32_t)rep->plan->s->pairs : 1;
}

size_t bench_report_pairs(const struct bench_report *rep, uint32_t step, uint32_t other,
                          double *ratio, size_t cap)
{
    size_t n = 0;

    for (uint32_t round = 0; round < bench_report_rounds(rep) && n < cap; round++) {
        const struct bench_result *a = bench_report_find(rep, step, 0, round);
        const struct bench_result *b = bench_report_find(rep, step, other, round);

        if (a && b && a->ops && b->ops && a->seconds > 0 && b->seconds > 0)
            ratio[n++] = bench_rate(a) / bench_rate(b);
    }
    return n;
}

void bench_say_verdict(const struct bench_verdict *v, const char *first, const char *second,
                       char *text, size_t cap)
{
    switch (v->winner) {
    case BENCH_FIRST: (void)snprintf(text, cap, "%s is faster", first); break;
    case BENCH_SECOND: (void)snprintf(text, cap, "%s is faster", second); break;
    case BENCH_OPEN: (void)snprintf(text, cap, "no winner: the spread crosses 1"); break;
    case BENCH_TOO_FEW:
        (void)snprintf(text, cap, "no winner: fewer than %d pairs", BENCH_ENOUGH_PAIRS);
        break;
    }
}

static void print_ratio(const struct bench_report *rep, FILE *to, uint32_t step, uint32_t other)
{
    const char *first = rep->plan->engine[0]->name, *second = rep->plan->engine[other]->name;
    double *ratio = bench_alloc(BENCH_ROUNDS_MAX * sizeof *ratio);
    size_t n = bench_report_pairs(rep, step, other, ratio, BENCH_ROUNDS_MAX);
    struct bench_verdict v;
    char text[128];

    if (n > 0) {
        bench_judge(ratio, n, &v);
        bench_say_verdict(&v, first, second, text, sizeof text);
        (void)fprintf(to, "%-18s %s / %s: %.2f  (%.2f to %.2f, %zu pairs)  %s\n",
                      rep->plan->workload[step]->name, first, second, v.median, v.low, v.high, n,
                      text);
    }
    free(ratio);
}

void bench_report_ratios(const struct bench_report *rep, FILE *to)
{
    const struct bench_plan *plan = rep->plan;

    if (plan->engine_count < 2)
        return;
    (void)fprintf(to, "\nOperations a second, as a ratio; the median of the pairs:\n");
    for (uint32_t i = 0; i < plan->workload_count; i++)
        for (uint32_t e = 1; e < plan->engine_count; e++)
            print_ratio(rep, to, i, e);
}
