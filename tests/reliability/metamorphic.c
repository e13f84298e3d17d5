/* tests/reliability/metamorphic.c -- one list of operations under many sets of options: the same answers.
 *
 *     metamorphic --budget SECONDS [--seed N] [--steps N]   lists N, N+1, ... until the time is over
 *     metamorphic --kept DIR                                every list that ever failed, under every set
 *     metamorphic --replay FILE                             one of them, and what differs
 *     --only NAME   sets whose name begins so;  --keep DIR  where failures go (default: here)
 *     --shrink SECONDS   how long a failure is made smaller (default: 120)
 *
 *     seed --> list --> model --> history, one number a step
 *                |                     =  ?
 *                +--> engine with set 1, 2, ... 41, each in a process of its own
 *
 * The sets are the fixed ones of meta_run.c, ten by chance for each list, the backend in memory, and RocksDB
 * where its adapter is built (lists without transactions, and a tenth of the processor time: it would take
 * nine tenths, most of them for writing and reading its options). P14 says that none of it may matter. A
 * process of its own makes a crash, an assertion and a hang failures like any other.
 *
 * A list that fails is cut behind the step that differs and made smaller by delta debugging (Zeller and
 * Hildebrandt): parts are left out, ever smaller ones, as long as it still fails; then options go back to the
 * usual, then values and walks become short. What is left is written to a file that --replay and --kept read;
 * kept/ holds those of faults that were mended.
 */
#include "tests/reliability/meta.h"
#include "tests/reliability/stop.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RANDOM_SETS    10
#define HANG_SECONDS   120 /* in one step: on a busy machine a whole list may take longer */
#define ROCKSDB_ONE_IN 10  /* seconds of processor time */
#define TRIES          3   /* of a smaller list: what depends on threads does not fail every time */

static struct {
    double budget, started, shrink;
    uint64_t seed;
    size_t steps;
    const char *only, *keep;
    unsigned failures;
    uint64_t lists, runs, done, sets_met[128];
    double rocksdb_s;
} run = {.budget = 10, .seed = 1, .steps = 10000, .only = "", .keep = ".", .shrink = 120};

/* What a child tells before it ends. */
static struct report {
    volatile uint64_t step; /* begun */
    volatile bool differs;
} * report;

static char base_dir[64], db_dir[80];

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double children_cpu_s(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool is_over(void)
{
    return stop_is_asked() || now_s() - run.started > run.budget;
}

/* ---- a directory for the database ---- */

/* In memory where there is such a place: what is looked for here needs no disk. */
static void make_base_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    if (!tmp || !*tmp)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(base_dir, sizeof base_dir, "%s/opendb-meta-XXXXXX", tmp);
    if (!mkdtemp(base_dir)) {
        printf("no directory in %s: %s\n", tmp, strerror(errno));
        exit(2);
    }
    (void)snprintf(db_dir, sizeof db_dir, "%s/db", base_dir);
}

static void remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[512];

    while (d && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(dir);
}

/* ---- one list under one set ---- */

static uint64_t *history_of(const struct meta_list *l)
{
    struct meta_model *m = meta_model_new(l);
    uint64_t *history = calloc(l->count + 1, sizeof *history);

    for (size_t i = 0; history && i < l->count; i++) {
        struct meta_answer a = {0};

        meta_model_step(m, &l->op[i], &a);
        history[i] = a.h;
    }
    meta_model_free(m);
    if (!history)
        abort();
    return history;
}

/* SIGALRM in the child, each second that it is allowed to run: one that others stop has time enough. */
static void look_for_progress(int sig)
{
    static uint64_t seen;
    static unsigned seconds;

    seconds = report->step == seen ? seconds + 1 : 0;
    seen = report->step;
    if (seconds >= HANG_SECONDS) {
        (void)signal(sig, SIG_DFL);
        (void)raise(sig);
    }
    (void)alarm(1);
}

/* In the child. `spell` is the step whose answer is printed; l->count: none. */
static int run_here(const struct meta_list *l, const uint64_t *history, const struct meta_set *set,
                    size_t spell)
{
    struct meta_world *w = meta_world_open(l, set, db_dir);

    if (!w)
        return 3;
    for (size_t i = 0; i < l->count; i++) {
        struct meta_answer a = {0, i == spell ? stdout : NULL};

        report->step = i;
        if (a.text)
            printf("  engine:");
        meta_world_step(w, &l->op[i], &a);
        if (a.text)
            printf("\n");
        if (a.h != history[i]) {
            report->differs = true;
            return 4; /* the world is left as it is: nobody asks for leaks of a failure */
        }
    }
    report->step = l->count;
    return meta_world_close(w) == ODB_OK ? 0 : 5;
}

/* "" when all answers are the model's; otherwise what happened, good until the next call. *step is where. */
static const char *run_apart(const struct meta_list *l, const uint64_t *history,
                             const struct meta_set *set, size_t spell, size_t *step)
{
    static char text[80];
    int status = 0;
    pid_t pid;

    *report = (struct report){0};
    remove_dir(db_dir);
    (void)fflush(stdout);
    pid = fork();
    if (pid < 0) {
        printf("fork: %s\n", strerror(errno));
        exit(2);
    }
    if (pid == 0) {
        (void)signal(SIGINT, SIG_IGN); /* the parent ends when this one has */
        (void)signal(SIGTERM, SIG_IGN);
        (void)signal(SIGALRM, look_for_progress);
        (void)alarm(1);
        exit(run_here(l, history, set, spell));
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    remove_dir(db_dir);
    *step = report->step < l->count ? (size_t)report->step : l->count ? l->count - 1 : 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return "";
    if (report->differs)
        return "another answer";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        return "it hangs";
    if (WIFSIGNALED(status))
        (void)snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
    else
        (void)snprintf(text, sizeof text, "%s",
                       WEXITSTATUS(status) == 3   ? "it could not be opened"
                       : WEXITSTATUS(status) == 5 ? "an error at its closing"
                                                  : "the process ended");
    return text;
}

/* ---- making a failure small ---- */

/* Whether a list, or what `keep` leaves of it, still fails. */
static bool still_fails(const struct meta_list *l, const bool *keep, const struct meta_set *set)
{
    struct meta_list part;
    uint64_t *history;
    bool fails = false;
    size_t step;

    meta_list_part(l, keep, &part);
    history = history_of(&part);
    for (int i = 0; i < TRIES && !fails; i++)
        fails = *run_apart(&part, history, set, part.count, &step) != 0;
    free(history);
    free(part.op);
    return fails;
}

/* Leave out parts as long as it fails; in halves, quarters and so on down to single steps. */
static void shrink_steps(struct meta_list *l, const struct meta_set *set, double until)
{
    bool *keep = malloc(l->count + 1);
    size_t pieces = 2;

    if (!keep)
        abort();
    while (l->count >= 2 && now_s() < until) {
        size_t len = (l->count + pieces - 1) / pieces, kept = 0;
        bool found = false;

        for (size_t at = 0; at < l->count && !found && now_s() < until; at += len) {
            for (size_t i = 0; i < l->count; i++)
                keep[i] = i < at || i >= at + len;
            found = still_fails(l, keep, set);
        }
        if (found) {
            for (size_t i = 0; i < l->count; i++)
                if (keep[i])
                    l->op[kept++] = l->op[i];
            l->count = kept;
            pieces = pieces > 2 ? pieces - 1 : 2;
        } else if (len == 1)
            break;
        else
            pieces = 2 * pieces < l->count ? 2 * pieces : l->count;
    }
    free(keep);
}

static void shrink_options(const struct meta_list *l, struct meta_set *set, double until)
{
    for (size_t field = 0; now_s() < until; field++) {
        struct meta_set simpler = *set;
        bool changed;

        if (!meta_set_reset(&simpler, field, &changed))
            return;
        if (changed && still_fails(l, NULL, &simpler))
            *set = simpler;
    }
}

static void shrink_numbers(struct meta_list *l, const struct meta_set *set, double until)
{
    for (size_t i = 0; i < l->count && now_s() < until; i++) {
        struct meta_op was = l->op[i];

        if (l->op[i].len > 8)
            l->op[i].len = 8;
        if (l->op[i].n > 1 && l->op[i].kind != META_multiget)
            l->op[i].n = 1;
        if ((was.len != l->op[i].len || was.n != l->op[i].n) && !still_fails(l, NULL, set))
            l->op[i] = was;
    }
}

/* ---- telling ---- */

static void tell_step(const struct meta_list *l, size_t step)
{
    struct meta_model *m = meta_model_new(l);

    printf("  step %llu: ", (unsigned long long)step);
    meta_op_write(l, &l->op[step], stdout);
    for (size_t i = 0; i <= step; i++) {
        struct meta_answer a = {0, i == step ? stdout : NULL};

        if (a.text)
            printf("  model: ");
        meta_model_step(m, &l->op[i], &a);
    }
    printf("\n");
    meta_model_free(m);
}

static void tell(const struct meta_list *l, const struct meta_set *set, const char *path)
{
    uint64_t *history = history_of(l);
    size_t step, again;
    const char *what = run_apart(l, history, set, l->count, &step);
    FILE *f;

    printf("FAILED: under '%s': %s, after it was made small: %llu steps\n", set->name,
           *what ? what : "now it passes", (unsigned long long)l->count);
    if (l->count) {
        tell_step(l, step);
        (void)run_apart(l, history, set, step, &again);
    }
    free(history);
    f = path ? fopen(path, "w") : NULL;
    if (!f)
        return;
    (void)fprintf(f, "# under '%s': %s\n", set->name, what);
    meta_set_write(set, f);
    meta_list_write(l, f);
    (void)fclose(f);
    printf("replay: metamorphic --replay %s\n", path);
}

/* A list of which step `step` failed under `set`. */
static void shrink_and_tell(const struct meta_list *l, const struct meta_set *set, size_t step,
                            const char *what)
{
    double until = now_s() + run.shrink;
    struct meta_set simple = *set;
    struct meta_list small;
    char path[512];

    run.failures++;
    printf("seed %llu, %llu steps, under '%s': %s at step %llu\n", (unsigned long long)run.seed,
           (unsigned long long)run.steps, set->name, what, (unsigned long long)step);
    meta_list_part(l, NULL, &small);
    small.count = step + 1;
    if (!still_fails(&small, NULL, set))
        small.count = l->count; /* it fails at the end, or only sometimes */
    shrink_steps(&small, set, until);
    shrink_options(&small, &simple, until);
    shrink_numbers(&small, &simple, until);
    (void)snprintf(path, sizeof path, "%s/metamorphic-%llu.txt", run.keep,
                   (unsigned long long)run.seed);
    tell(&small, &simple, path);
    printf("replay: metamorphic --budget 1 --seed %llu --steps %llu\n",
           (unsigned long long)run.seed, (unsigned long long)run.steps);
    free(small.op);
}

/* ---- lists under sets ---- */

/* The `i`th set for the list of this seed. */
static bool set_number(size_t i, struct meta_set *out)
{
    size_t fixed = 0;
    struct meta_set s;

    while (meta_set_fixed(fixed, &s))
        fixed++;
    if (i < fixed)
        return meta_set_fixed(i, out);
    if (i >= fixed + RANDOM_SETS)
        return false;
    meta_set_random(run.seed * RANDOM_SETS + i - fixed, out);
    return true;
}

static bool is_wanted(const struct meta_list *l, const struct meta_set *set)
{
    return strncmp(set->name, run.only, strlen(run.only)) == 0 &&
           !(set->backend == META_ROCKSDB && l->uses & META_USES_TXN);
}

/* Under every set, or until the time is over; the first one depends on the seed, so that short runs meet
 * all of them by and by. */
static void compare(const struct meta_list *l, bool to_the_end)
{
    uint64_t *history = history_of(l);
    size_t count = 0, step;
    struct meta_set set;

    while (set_number(count, &set))
        count++;
    for (size_t i = 0; i < count && !run.failures; i++) {
        size_t number = (i + run.seed * 11) % count;
        double before = children_cpu_s();
        const char *what;

        if (!to_the_end && is_over())
            break;
        if (!set_number(number, &set) || !is_wanted(l, &set))
            continue;
        if (set.backend == META_ROCKSDB && !to_the_end && !*run.only &&
            run.rocksdb_s * ROCKSDB_ONE_IN > before)
            continue;
        what = run_apart(l, history, &set, l->count, &step);
        if (set.backend == META_ROCKSDB)
            run.rocksdb_s += children_cpu_s() - before;
        if (*what)
            shrink_and_tell(l, &set, step, what);
        run.runs++;
        run.done += l->count;
        if (number < sizeof run.sets_met / sizeof run.sets_met[0])
            run.sets_met[number]++;
    }
    free(history);
    run.lists++;
}

static void print_summary(void)
{
    double s = now_s() - run.started, cpu = children_cpu_s();
    unsigned met = 0;

    for (size_t i = 0; i < sizeof run.sets_met / sizeof run.sets_met[0]; i++)
        met += run.sets_met[i] > 0;
    printf("metamorphic: %llu lists up to seed %llu, each under the sets there was time for: %u "
           "sets, %llu "
           "runs\n",
           (unsigned long long)run.lists, (unsigned long long)run.seed, met,
           (unsigned long long)run.runs);
    printf(
        "metamorphic: %llu operations in %.1f s, %.0f a second of a processor; other answers %u\n",
        (unsigned long long)run.done, s, cpu > 0 ? (double)run.done / cpu : 0, run.failures);
    printf("tally: %llu metamorphic operations; %llu runs; %llu lists; most %u option sets; %u "
           "failures\n",
           (unsigned long long)run.done, (unsigned long long)run.runs,
           (unsigned long long)run.lists, met, run.failures);
}

/* ---- lists from files ---- */

static bool read_file(const char *path, struct meta_list *l, struct meta_set *set, bool *has_set)
{
    char options[2048] = "";
    FILE *f = fopen(path, "r");
    bool ok = f && meta_list_read(l, f, options, sizeof options);

    if (f)
        (void)fclose(f);
    *has_set = *options != 0;
    if (ok && *has_set && !meta_set_read(options, set)) {
        printf("options that are not understood: %s", options);
        ok = false;
    }
    if (!ok)
        printf("%s cannot be read\n", path);
    return ok;
}

static int replay(const char *path)
{
    struct meta_list l;
    struct meta_set set;
    bool has_set;
    size_t step;
    uint64_t *history;

    if (!read_file(path, &l, &set, &has_set))
        return 2;
    history = history_of(&l);
    for (size_t i = 0; has_set ? i == 0 : set_number(i, &set); i++)
        if (is_wanted(&l, &set) && *run_apart(&l, history, &set, l.count, &step)) {
            tell(&l, &set, NULL);
            run.failures++;
        }
    printf("%s: %u failures\n", path, run.failures);
    free(history);
    meta_list_release(&l);
    return run.failures ? 1 : 0;
}

static int replay_kept(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    unsigned files = 0;

    while (d && (e = readdir(d)) != NULL && !run.failures) {
        const char *end = strrchr(e->d_name, '.');
        struct meta_list l;
        struct meta_set set;
        char path[512];
        bool has_set;

        if (!end || strcmp(end, ".txt") != 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (!read_file(path, &l, &set, &has_set)) {
            run.failures++;
            break;
        }
        files++;
        if (has_set && is_wanted(&l, &set)) {
            uint64_t *history = history_of(&l);
            size_t step;

            if (*run_apart(&l, history, &set, l.count, &step)) {
                printf("%s:\n", path);
                tell(&l, &set, NULL);
                run.failures++;
            }
            free(history);
        }
        compare(&l, true);
        meta_list_release(&l);
    }
    if (d)
        (void)closedir(d);
    printf("%u kept lists\n", files);
    print_summary();
    return files == 0 || run.failures ? 1 : 0;
}

static int explore(void)
{
    stop_when_told();
    do {
        struct meta_list l;

        meta_list_make(&l, run.seed, run.steps);
        compare(&l, run.lists == 0 && run.budget <= 1);
        meta_list_release(&l);
    } while (!run.failures && !is_over() && ++run.seed);
    print_summary();
    return run.failures ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *file = NULL, *kept = NULL;
    bool ok = argc > 1;
    int rc;

    for (int i = 1; i < argc && ok; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

        ok = value != NULL;
        if (ok && strcmp(name, "--budget") == 0)
            run.budget = strtod(value, NULL);
        else if (ok && strcmp(name, "--seed") == 0)
            run.seed = strtoull(value, NULL, 0);
        else if (ok && strcmp(name, "--steps") == 0)
            run.steps = strtoul(value, NULL, 0);
        else if (ok && strcmp(name, "--shrink") == 0)
            run.shrink = strtod(value, NULL);
        else if (ok && strcmp(name, "--only") == 0)
            run.only = value;
        else if (ok && strcmp(name, "--keep") == 0)
            run.keep = value;
        else if (ok && strcmp(name, "--replay") == 0)
            file = value;
        else if (ok && strcmp(name, "--kept") == 0)
            kept = value;
        else
            ok = false;
    }
    if (!ok || run.steps == 0 || run.steps > META_STEPS_MAX) {
        printf("usage: metamorphic --budget SECONDS [--seed N] [--steps N] | --kept DIR | --replay "
               "FILE\n"
               "                   [--only NAME] [--keep DIR] [--shrink SECONDS]\n");
        return 2;
    }
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        return 2;
    (void)meta_pool();
    make_base_dir();
    run.started = now_s();
    rc = file ? replay(file) : kept ? replay_kept(kept) : explore();
    remove_dir(db_dir);
    (void)rmdir(base_dir);
    return rc;
}
