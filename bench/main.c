/* bench/main.c -- odb-bench: measure this engine beside others.
 *
 *     settings.c     what was asked for               draw.c        keys, values, chance
 *     workload.c     what can be measured             hist.c        latencies
 *     run.c          one engine at work               measure.c     what the process used
 *     compare.c      several engines, turn by turn    verdict.c     what the pairs allow to say
 *     workload_models.c   of records, edges and vectors; models_opendb.c those of this engine
 *     engine_*.c     the engines                      report*.c     how it is shown
 */
#include "bench/report.h"

#include "bench/vector_lines.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void say_workloads(FILE *to)
{
    (void)fprintf(to, "\nWorkloads, for --benchmarks and --load\n");
    for (size_t t = 0; bench_workload_tables[t]; t++)
        for (const struct bench_workload *wl = bench_workload_tables[t]; wl->name; wl++)
            (void)fprintf(to, "  %-22s %s\n", wl->name, wl->help);
}

static void say_engines(FILE *to)
{
    (void)fprintf(to, "\nEngines, for --engine and --vs\n");
    for (size_t i = 0; bench_engines[i]; i++) {
        char text[128], warning[128];

        bench_engines[i]->describe(text, sizeof text, warning, sizeof warning);
        (void)fprintf(to, "  %-14s %s (%s%s%s)\n", bench_engines[i]->name, bench_engines[i]->help,
                      text, warning[0] ? ", " : "", warning);
    }
}

static void help(FILE *to)
{
    (void)fprintf(
        to,
        "odb-bench measures storage engines with the workloads of RocksDB's db_bench.\n\n"
        "  odb-bench --benchmarks=fillrandom,waitforcompaction,readrandom\n"
        "      fill a database with 5 million keys and read them, in a directory that is removed\n"
        "  odb-bench --vs=rocksdb --num=1000000 --benchmarks=fillrandom\n"
        "      the same work by two engines, A B, B A, A B, five pairs, and what that allows to "
        "say\n"
        "  odb-bench --vs=rocksdb,lmdb --load=fillrandom,waitforcompaction \\\n"
        "            --benchmarks=readrandom,readseq,seekrandom\n"
        "      fill once, then compare reads five times\n"
        "  odb-bench --db=/data/try --benchmarks=fillrandom,die\n"
        "  odb-bench --db=/data/try --use_existing_db --benchmarks=open,readall\n"
        "      how long recovery takes, and whether everything is there\n"
        "  odb-bench --vs=sqlite --num=100000 --benchmarks=recordput,recordget,linkring,walk3\n"
        "      records and edges beside tables and indexes\n"
        "  odb-bench-vector /data/try --form f32,i8 --json >vectors.json\n"
        "  odb-bench --vs=rocksdb --num=1000000 --benchmarks=fillrandom --html=page.html \\\n"
        "            --vectors=vectors.json\n"
        "      one page with both: keys and values, and recall and speed of vectors\n\n"
        "A line of results is that of db_bench; below it stand processor seconds of the threads\n"
        "that work and of the engine's own, the most memory held, bytes on disk, bytes written\n"
        "to storage per byte of keys and values. A ratio above 1 means that the first engine did\n"
        "more in the same time. No winner is named unless five pairs agree.\n\n"
        "Flags are --name=value or --name value; sizes take k, m, g.\n");
    bench_settings_help(to);
    say_workloads(to);
    say_engines(to);
}

static int complain(const char *why)
{
    (void)fprintf(stderr, "odb-bench: %s; --help explains\n", why);
    return 2;
}

/* Names between commas. False, with `why`, when `take` knows one of them not. */
static bool split(const char *list, bool (*take)(void *arg, const char *name, size_t len),
                  void *arg, char *why, size_t cap)
{
    while (*list) {
        size_t len = strcspn(list, ",");

        if (len > 0 && !take(arg, list, len)) {
            (void)snprintf(why, cap, "'%.*s' is not known here, or too many are named", (int)len,
                           list);
            return false;
        }
        list += len + (list[len] == ',');
    }
    return true;
}

static bool take_engine(void *arg, const char *name, size_t len)
{
    struct bench_plan *plan = arg;
    const struct bench_engine *e = bench_engine_find(name, len);

    if (!e || plan->engine_count == BENCH_ENGINES_MAX)
        return false;
    for (uint32_t i = 0; i < plan->engine_count; i++)
        if (plan->engine[i] == e)
            return false;
    plan->engine[plan->engine_count++] = e;
    return true;
}

static bool take_load(void *arg, const char *name, size_t len)
{
    struct bench_plan *plan = arg;
    const struct bench_workload *wl = bench_workload_find(name, len);

    if (!wl || plan->load_count == BENCH_WORKLOADS_MAX)
        return false;
    plan->load[plan->load_count++] = wl;
    return true;
}

static bool take_workload(void *arg, const char *name, size_t len)
{
    struct bench_plan *plan = arg;
    const struct bench_workload *wl = bench_workload_find(name, len);

    if (!wl || plan->workload_count == BENCH_WORKLOADS_MAX)
        return false;
    plan->workload[plan->workload_count++] = wl;
    return true;
}

static bool make_plan(struct bench_plan *plan, const struct bench_settings *s, char *why,
                      size_t cap)
{
    memset(plan, 0, sizeof *plan);
    plan->s = s;
    if (!split(s->engine, take_engine, plan, why, cap) ||
        !split(s->vs, take_engine, plan, why, cap) || !split(s->load, take_load, plan, why, cap) ||
        !split(s->benchmarks, take_workload, plan, why, cap))
        return false;
    if (plan->engine_count == 0 || plan->workload_count == 0) {
        (void)snprintf(why, cap, "there is nothing to measure");
        return false;
    }
    plan->remove = !s->db[0] || !s->keep_db;
    if (s->db[0])
        (void)snprintf(plan->base, sizeof plan->base, "%s", s->db);
    else
        (void)snprintf(plan->base, sizeof plan->base, "%s/odb-bench-%ld",
                       getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    return true;
}

static void see(void *arg, const struct bench_result *r)
{
    bench_report_add(arg, r);
}

static void keep_command(struct bench_report *rep, int argc, char **argv)
{
    size_t at = 0;

    for (int i = 0; i < argc && at < sizeof rep->command; i++) {
        int n = snprintf(rep->command + at, sizeof rep->command - at, "%s%s", i ? " " : "",
                         i ? argv[i] : "odb-bench");

        at += n > 0 ? (size_t)n : 0;
    }
}

static bool write_report(const struct bench_report *rep, const char *file,
                         bool (*write)(const struct bench_report *rep, FILE *to))
{
    FILE *to = file[0] ? fopen(file, "w") : NULL;
    bool ok = to && write(rep, to);

    if (!file[0])
        return true;
    if (to && fclose(to) != 0)
        ok = false;
    if (!ok)
        (void)fprintf(stderr, "odb-bench: cannot write %s\n", file);
    return ok;
}

int main(int argc, char **argv)
{
    struct bench_settings s;
    struct bench_plan plan;
    struct bench_report rep = {.plan = &plan};
    char why[256];
    size_t line;
    bool ok = true;

    bench_settings_init(&s);
    for (int i = 1; i < argc;) {
        int took;

        if (strcmp(argv[i], "--help") == 0) {
            help(stdout);
            return 0;
        }
        took = bench_settings_parse(&s, argc - i, argv + i, why, sizeof why);
        if (took == 0)
            return complain(why);
        i += took;
    }
    if (!bench_settings_check(&s, why, sizeof why) || !make_plan(&plan, &s, why, sizeof why))
        return complain(why);
    if (s.vectors[0]) {
        rep.vectors = bench_vector_read_file(s.vectors, &rep.vector_count, &line);
        if (!rep.vectors) {
            (void)snprintf(why, sizeof why,
                           "%.150s, line %zu: not what odb-bench-vector --json "
                           "writes",
                           s.vectors, line);
            return complain(why);
        }
    }
    (void)mkdir(plan.base, 0777);
    bench_machine_read(&rep.machine, plan.base);
    keep_command(&rep, argc, argv);
    bench_report_head(&rep, stdout);
    if (plan.engine_count == 1)
        bench_run_alone(&plan, see, &rep);
    else
        ok = bench_run_turns(&plan, see, &rep);
    bench_report_ratios(&rep, stdout);
    ok &= write_report(&rep, s.json, bench_report_json);
    ok &= write_report(&rep, s.csv, bench_report_csv);
    ok &= write_report(&rep, s.html, bench_report_html);
    if (!s.db[0])
        (void)rmdir(plan.base);
    free(rep.result);
    free(rep.vectors);
    return ok && !rep.disagree ? 0 : 1;
}
