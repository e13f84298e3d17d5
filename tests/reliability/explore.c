/* tests/reliability/explore.c -- choosing schedules: at random, by priorities, and all of them.
 *
 *   choices of a run     0   1   2   3   4   5   6 ...
 *   default              .   .   .   .   .   .   .      whoever runs goes on; whoever waits makes room
 *   a schedule           .   .   2   .   .   1   .      the others by number: "2.2,5.1"
 *
 * Walk: each choice for itself, with a probability of change that is drawn for each run.
 *
 * PCT (Burckhardt, Kothari, Musuvathi and Nagarakatte, "A randomized scheduler with probabilistic
 * guarantees of finding bugs", ASPLOS 2010): most bugs need few orders to hold, say d. Threads get
 * random priorities and the highest that can go on does; at d - 1 moments, drawn over the length of a
 * run, the running thread falls below all others. A bug of depth d among n threads and k choices
 * then shows with a probability of at least 1 / (n k^(d-1)) in every run, however it came to be.
 * Whoever yields falls to the bottom as well: else a spinning thread would spin for ever.
 *
 * Exhaust (Musuvathi and Qadeer, "Iterative context bounding for systematic testing of multithreaded
 * programs", PLDI 2007): not the length of runs is bounded but the number of times a thread that could
 * go on is stopped. Where one waits, all who can go on are tried, for free. All runs without such
 * preemption first, then all with one, then two: a bug is met in its simplest form. Depth first:
 *
 *     run, recording options and answers -> from the end back, the first choice with another option
 *     that the bound still pays -> run with the answers up to there, that option, and defaults
 *
 * Preemptions are tried only before something that more than one thread touches (sched_learn); when runs
 * show more of that, the bound is started anew, so what is exhausted is so for what is known at its end.
 *
 * A failure is made smaller before it is told: each answer that is not the default is taken back, and
 * stays so if the run fails all the same.
 */
#include "tests/reliability/explore.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "os/sim.h"
#include "tests/reliability/run_alloc.h"

#define CHOICES_MAX 200000
#define SHRINK_RUNS 600
#define LEARN_RUNS  60 /* before an exhaustion with one preemption; with more, twenty times that */
#define LEARN_EVERY                                                                                \
    4096 /* runs of a pass, which begins anew when it has taught something by then */

uint64_t explore_crashes;

double explore_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- one run ---- */

struct answer {
    uint64_t no;
    uint8_t option;
    uint8_t count;
    uint8_t cost_before; /* of this run's answers before this one */
    uint64_t dear;       /* options that cost, by bit */
};

enum strategy { WALK, PCT, FOLLOW };

static struct run {
    const struct scene *scene;
    struct dice dice;
    enum strategy strategy;
    uint64_t chance;
    uint32_t change; /* walk: one in so many */
    uint32_t priority[SCHED_THREADS_MAX];
    uint32_t lowest;
    uint64_t fall[4]; /* pct: choices at which the running thread falls */
    unsigned falls;
    /* follow: these answers (all choices not named: the default), then defaults */
    const struct answer *plan;
    size_t plan_count, plan_at;
    /* what was answered: in walk and pct those that are not the default, else all that were asked */
    struct answer *answer;
    size_t answers;
    uint64_t cost;
    uint64_t hash;
    struct sched_result result;
} run;

static bool is_quiet;
static struct answer *kept; /* a plan that survives the run that follows it */

static uint32_t choose_walk(const struct sched_choice *c)
{
    uint32_t threads = 0;

    while (threads < c->count && c->option[threads].what == SCHED_GO)
        threads++;
    if (threads == 0)
        return (uint32_t)(next_random(&run.chance) % c->count);
    if (threads < c->count && next_random(&run.chance) % 64 == 0)
        return threads + (uint32_t)(next_random(&run.chance) % (c->count - threads));
    if (next_random(&run.chance) % run.change != 0)
        return 0;
    return (uint32_t)(next_random(&run.chance) % threads);
}

static uint32_t choose_pct(const struct sched_choice *c)
{
    uint32_t best = 0, best_priority = 0;

    for (unsigned i = 0; i < run.falls; i++)
        if (run.fall[i] == c->no)
            run.priority[c->running] = i + 1;
    if (c->is_yield)
        run.priority[c->running] = --run.lowest;
    if (c->option[0].what != SCHED_GO || next_random(&run.chance) % 256 == 0)
        return (uint32_t)(next_random(&run.chance) % c->count);
    for (uint32_t i = 0; i < c->count; i++)
        if (c->option[i].what == SCHED_GO && run.priority[c->option[i].thread] > best_priority) {
            best_priority = run.priority[c->option[i].thread];
            best = i;
        }
    return best;
}

static uint32_t choose_follow(const struct sched_choice *c)
{
    const struct answer *a;

    while (run.plan_at < run.plan_count && run.plan[run.plan_at].no < c->no)
        run.plan_at++;
    if (run.plan_at == run.plan_count)
        return 0;
    a = &run.plan[run.plan_at];
    return a->no == c->no && a->option < c->count ? a->option : 0;
}

static uint32_t run_choose(void *arg, const struct sched_choice *c)
{
    uint32_t option;
    bool is_kept;

    (void)arg;
    for (int i = 0; i < 2; i++)
        if (run.dice.crash_at[i] == c->no + 1 && run.scene->crash) {
            sched_hold();
            run.scene->crash();
            sched_release();
        }
    option = run.strategy == WALK  ? choose_walk(c)
             : run.strategy == PCT ? choose_pct(c)
                                   : choose_follow(c);
    is_kept = option != 0 || run.strategy == FOLLOW;
    if (is_kept && run.answers < CHOICES_MAX) {
        struct answer *a = &run.answer[run.answers++];

        a->no = c->no;
        a->option = (uint8_t)option;
        a->count = (uint8_t)c->count;
        a->cost_before = (uint8_t)(run.cost > 200 ? 200 : run.cost);
        a->dear = 0;
        for (uint32_t i = 0; i < c->count; i++)
            a->dear |= (uint64_t)(c->option[i].cost != 0) << i;
    }
    run.cost += c->option[option].cost;
    if (option != 0)
        run.hash = (run.hash ^ (c->no * 64 + option)) * UINT64_C(0x9e3779b97f4a7c15);
    return option;
}

static void run_main(void *arg)
{
    long before = run_alloc_alive();

    (void)arg;
    run.scene->run(run.scene, &run.dice);
    if (run_alloc_is_spoiled())
        sched_fail("memory was changed after it was freed");
    if (run_alloc_alive() != before)
        sched_fail("%ld blocks of memory were left", run_alloc_alive() - before);
}

/* Run the scene as `run` says. True: all was well. */
static bool run_once(bool only_shared)
{
    const struct sched_how how = {
        .choose = run_choose,
        .passed = run.scene->passed,
        .is_freed = run_alloc_is_freed,
        .steps_max = 300000,
        .atomics = run.dice.is_small && run.scene->small_atomics ? run.scene->small_atomics
                                                                 : run.scene->atomics,
        .only_shared = only_shared,
        .quiet = run.scene->quiet,
        .may_wake = !run.dice.is_small,
        .may_time_out = run.scene->may_time_out,
    };

    run.answers = run.plan_at = 0;
    run.cost = 0;
    run.hash = UINT64_C(0xcbf29ce484222325) ^ run.dice.crash_at[0] ^ run.dice.crash_at[1] << 20 ^
               (uint64_t)run.dice.model << 40 ^ (uint64_t)run.dice.patience << 44 ^
               (uint64_t)run.dice.fault << 48 ^ (uint64_t)run.dice.is_small << 56;
    for (const char *p = run.scene->name; *p; p++)
        run.hash = (run.hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    sched_patience = (int)run.dice.patience;
    run_alloc_reset();
    sched_run(run_main, NULL, &how, &run.result);
    return run.result.verdict == SCHED_OK;
}

/* ---- schedules met before, of all scenes ---- */

static struct {
    uint64_t *slot;
    size_t count, cap;
} met;

static bool met_add(uint64_t h)
{
    size_t i;

    h |= h == 0;
    if (met.count * 2 >= met.cap) {
        uint64_t *old = met.slot;
        size_t n = met.cap;

        met.cap = n ? n * 2 : 1 << 16;
        met.slot = calloc(met.cap, sizeof *met.slot);
        if (!met.slot)
            abort();
        met.count = 0;
        for (i = 0; i < n; i++)
            if (old[i])
                (void)met_add(old[i]);
        free(old);
    }
    for (i = (size_t)h & (met.cap - 1); met.slot[i]; i = (i + 1) & (met.cap - 1))
        if (met.slot[i] == h)
            return false;
    met.slot[i] = h;
    met.count++;
    return true;
}

/* ---- failures ---- */

/* The text that repeats a run; free it. */
static char *schedule_text(const struct dice *d, const struct answer *a, size_t count)
{
    char *text = malloc(256 + count * 32);
    const char *before = "";
    int len;

    if (!text)
        abort();
    len = sprintf(text, "%s/%u.%u.%llu.%llu.%u.%u.%llu/", run.scene->name, d->is_small, d->patience,
                  (unsigned long long)d->crash_at[0], (unsigned long long)d->crash_at[1], d->model,
                  d->fault, (unsigned long long)d->seed);
    for (size_t i = 0; i < count; i++)
        if (a[i].option) {
            len +=
                sprintf(text + len, "%s%llu.%u", before, (unsigned long long)a[i].no, a[i].option);
            before = ",";
        }
    return text;
}

static size_t answers_keep(struct answer *to)
{
    size_t n = 0;

    for (size_t i = 0; i < run.answers; i++)
        if (run.answer[i].option)
            to[n++] = run.answer[i];
    return n;
}

/* The failed run again, with as few answers as make it fail. */
static size_t failure_shrink(size_t count)
{
    struct answer *trial = malloc((count + 1) * sizeof *trial);
    unsigned runs = 0;

    if (!trial)
        abort();
    run.strategy = FOLLOW;
    for (size_t step = count / 2; runs < SHRINK_RUNS; step = step / 2 ? step / 2 : 1) {
        bool is_smaller = false;

        for (size_t from = 0; step > 0 && from < count && runs < SHRINK_RUNS; runs++) {
            size_t n = from + step < count ? step : count - from;

            memcpy(trial, kept, from * sizeof *trial);
            memcpy(trial + from, kept + from + n, (count - from - n) * sizeof *trial);
            run.plan = trial;
            run.plan_count = count - n;
            if (run_once(false)) {
                from += n;
            } else {
                memcpy(kept, trial, (count - n) * sizeof *trial);
                count -= n;
                is_smaller = true;
            }
        }
        if (step <= 1 && !is_smaller)
            break;
    }
    free(trial);
    run.plan = kept;
    run.plan_count = count;
    return count;
}

static const char *verdict_text(enum sched_verdict v)
{
    static const char *const text[] = {"nothing", "deadlock", "endless", "failed", "left"};

    return text[v];
}

static void failure_tell(struct found *io)
{
    struct dice dice = run.dice;
    size_t count = answers_keep(kept);
    size_t first = count;
    bool repeats;
    char *text;

    io->has_failed = true;
    count = failure_shrink(count);
    repeats = !run_once(false);
    text = schedule_text(&dice, kept, count);
    (void)snprintf(io->why, sizeof io->why, "%.199s",
                   repeats ? run.result.text : "a failure that its schedule does not repeat");
    (void)snprintf(io->schedule, sizeof io->schedule, "%.199s",
                   strlen(text) < sizeof io->schedule ? text : "");
    if (!is_quiet) {
        printf("FAILED: %s: %s (%s; %llu choices, %llu before they were made fewer)\n",
               run.scene->name, repeats ? run.result.text : io->why,
               verdict_text(run.result.verdict), (unsigned long long)count,
               (unsigned long long)first);
        printf("replay: schedules --replay %s\n", text);
        (void)fflush(stdout);
    }
    free(text);
}

/* A signal of the running thread: its run failed. */
static void on_signal(int sig)
{
    if (sched_is_running())
        sched_fail("signal %d", sig);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

void explore_init(void)
{
    static char stack[1 << 16];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER};

    run.answer = malloc(CHOICES_MAX * sizeof *run.answer);
    kept = malloc(CHOICES_MAX * sizeof *kept);
    if (!run.answer || !kept)
        abort();
    (void)sigaltstack(&alt, NULL);
    (void)sigaction(SIGSEGV, &act, NULL);
    (void)sigaction(SIGBUS, &act, NULL);
    (void)sigaction(SIGFPE, &act, NULL);
    (void)sigaction(SIGABRT, &act, NULL);
}

static void found_add(struct found *io, bool is_new)
{
    io->runs++;
    io->distinct += is_new;
    io->points += run.result.points;
    if (run.result.choices > io->choices_max)
        io->choices_max = run.result.choices;
}

/* Every so many runs, the same once more: it must go the same way. */
#define TWICE_ONE_IN 997

static bool run_repeats(void)
{
    struct sched_result first = run.result;
    size_t count = answers_keep(kept);
    enum strategy strategy = run.strategy;
    bool same;

    run.strategy = FOLLOW;
    run.plan = kept;
    run.plan_count = count;
    same = run_once(false) && run.result.trace == first.trace && run.result.points == first.points;
    run.strategy = strategy;
    if (!same) {
        char *text = schedule_text(&run.dice, kept, count);

        printf("FAILED: %s: the same schedule went another way (%llu points, then %llu): %s\n"
               "replay: schedules --replay %s\n",
               run.scene->name, (unsigned long long)first.points,
               (unsigned long long)run.result.points, run.result.text, text);
        free(text);
    }
    return same;
}

/* ---- by chance ---- */

static void dice_throw(const struct scene *scene, uint64_t *chance, uint64_t length, struct dice *d)
{
    memset(d, 0, sizeof *d);
    d->is_small = next_random(chance) % 4 == 0;
    d->patience = (uint32_t)(next_random(chance) % 3);
    d->seed = next_random(chance) % 1000000;
    if (scene->crash && next_random(chance) % 2 == 0) {
        d->model = (uint32_t)(next_random(chance) % SIM_MODELS);
        d->crash_at[0] = 1 + next_random(chance) % (length + 1);
        if (next_random(chance) % 4 == 0)
            d->crash_at[1] = 1 + next_random(chance) % (length + 1);
    }
    if (scene->has_faults)
        d->fault = (uint32_t)(next_random(chance) % 24);
}

static void explore_by_chance(const struct explorer *e, uint64_t seed, unsigned depth,
                              struct found *io)
{
    uint64_t chance = seed, length = io->choices_max ? io->choices_max : 100;

    run.scene = e->scene;
    is_quiet = e->is_quiet;
    for (uint64_t n = 0; (!e->limit || n < e->limit) && explore_now() < e->until && !io->has_failed;
         n++) {
        dice_throw(e->scene, &chance, length, &run.dice);
        run.chance = next_random(&chance);
        run.strategy = depth ? PCT : WALK;
        if (depth) {
            run.lowest = 1000;
            for (unsigned i = 0; i < SCHED_THREADS_MAX;
                 i++) /* ties are as good as chance: the first wins */
                run.priority[i] = 2000 + (uint32_t)(next_random(&chance) % 1000000);
            run.falls = depth - 1;
            for (unsigned i = 0; i < run.falls; i++)
                run.fall[i] = next_random(&chance) % length;
        } else {
            static const uint32_t change[] = {2, 4, 10, 30, 100};

            run.change = change[next_random(&chance) % 5];
        }
        if (!run_once(false)) {
            found_add(io, met_add(run.hash));
            failure_tell(io);
            return;
        }
        found_add(io, met_add(run.hash));
        length = (length * 7 + run.result.choices) / 8;
        if (n % TWICE_ONE_IN == 5 && !run_repeats())
            io->has_failed = true;
    }
}

void explore_walk(const struct explorer *e, uint64_t seed, struct found *io)
{
    explore_by_chance(e, seed, 0, io);
}

void explore_pct(const struct explorer *e, uint64_t seed, unsigned depth, struct found *io)
{
    explore_by_chance(e, seed, depth, io);
}

/* ---- all of them ---- */

/* The next plan of depth-first search within `bound`, from the answers just given. False: done. */
static bool plan_next(unsigned bound, size_t *count)
{
    for (size_t i = run.answers; i-- > 0;) {
        const struct answer *a = &run.answer[i];

        for (unsigned o = a->option + 1u; o < a->count; o++)
            if (a->cost_before + (a->dear >> o & 1) <= bound) {
                memcpy(kept, run.answer, i * sizeof *kept);
                kept[i] = *a;
                kept[i].option = (uint8_t)o;
                *count = i + 1;
                return true;
            }
    }
    return false;
}

/* Some walks, the same ones always, to learn what is shared: passes need not begin anew so often then. */
static bool learn_first(unsigned bound, struct found *io)
{
    uint64_t chance = 1;
    int runs = bound > 1 ? LEARN_RUNS * 20 : LEARN_RUNS;

    sched_forget();
    memset(&run.dice, 0, sizeof run.dice);
    run.dice.is_small = true;
    run.dice.fault = run.scene->fault;
    run.strategy = WALK;
    for (int i = 0; i < runs; i++) {
        run.chance = next_random(&chance);
        run.change = i % 2 ? 3 : 20;
        if (!run_once(false)) {
            found_add(io, false);
            failure_tell(io);
            return false;
        }
    }
    (void)sched_learn();
    return true;
}

void explore_exhaust(const struct explorer *e, unsigned bound, struct found *io)
{
    uint64_t left = e->limit ? e->limit : UINT64_MAX;

    run.scene = e->scene;
    is_quiet = e->is_quiet;
    if (!learn_first(bound, io))
        return;
    memset(&run.dice, 0, sizeof run.dice);
    run.dice.is_small = true;
    run.dice.fault = e->scene->fault;
    run.strategy = FOLLOW;
    io->exhausted = -1;
    for (unsigned b = 0; b <= bound && !io->has_failed; b++) {
        uint64_t exact[4], runs;
        bool more, has_learnt;

        do { /* until a pass at this bound teaches nothing */
            memset(exact, 0, sizeof exact);
            run.plan = kept;
            run.plan_count = 0;
            runs = 0;
            has_learnt = false;
            do {
                bool ok = run_once(true);

                exact[run.cost < 4 ? run.cost : 3]++;
                runs++;
                (void)met_add(run.hash); /* so that chance does not count them again */
                found_add(io, false);
                if (!ok) {
                    failure_tell(io);
                    return;
                }
                if (explore_now() > e->until || --left == 0) {
                    if (io->distinct < runs) /* those of one pass are all different */
                        io->distinct = runs;
                    return;
                }
                more = plan_next(b, &run.plan_count);
                if (runs % LEARN_EVERY == 0)
                    has_learnt = sched_learn() > 0;
            } while (more && !has_learnt);
        } while (has_learnt || sched_learn() > 0);
        io->distinct = 0;
        for (int i = 0; i < 4; i++) {
            io->by_bound[i] = exact[i];
            io->distinct += exact[i];
        }
        io->exhausted = (int)b;
    }
}

/* ---- again ---- */

bool explore_replay(const struct scene *scene, const char *text, struct found *io)
{
    unsigned long long c0, c1, seed;
    unsigned is_small;
    int n = 0;
    size_t count = 0;

    run.scene = scene;
    memset(&run.dice, 0, sizeof run.dice);
    if (sscanf(text, "%u.%u.%llu.%llu.%u.%u.%llu/%n", &is_small, &run.dice.patience, &c0, &c1,
               &run.dice.model, &run.dice.fault, &seed, &n) < 7 ||
        n == 0)
        return false;
    run.dice.is_small = is_small != 0;
    run.dice.crash_at[0] = c0;
    run.dice.crash_at[1] = c1;
    run.dice.seed = seed;
    for (text += n; *text && count < CHOICES_MAX; count++) {
        unsigned long long no;
        unsigned option;

        if (sscanf(text, "%llu.%u%n", &no, &option, &n) < 2)
            return false;
        kept[count] = (struct answer){.no = no, .option = (uint8_t)option};
        text += n;
        text += *text == ',';
    }
    run.strategy = FOLLOW;
    run.plan = kept;
    run.plan_count = count;
    if (!run_once(false)) {
        io->has_failed = true;
        (void)snprintf(io->why, sizeof io->why, "%.199s", run.result.text);
        if (!is_quiet)
            printf("FAILED: %s: %s (%s)\n", scene->name, run.result.text,
                   verdict_text(run.result.verdict));
    }
    found_add(io, true);
    return true;
}
