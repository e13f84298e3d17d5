/* tests/reliability/schedules.c -- small scenes with threads, in every order that matters, or many.
 *
 *     schedules --fixed [--expect N]            the same schedules every time, for CI
 *     schedules --budget SECONDS [--seed N]     a part of the time for all schedules with up to two
 *                                               preemptions of each scene, the rest for chance; seconds of
 *                                               processor time
 *     schedules --replay WHAT                   one failure again, with everything about it
 *     ... --lane I/N                            with a budget: all schedules of every Nth scene only, from the
 *                                               Ith on; for N runs side by side, each with its own seed
 *     ODB_TEST_STRIDE                           more than 1: less of the fixed ones
 *     ... --scene NAME                          only that one; --list tells which there are
 *
 * Here all threads are fibers of one (os/sched.c), the disk is simulated, and so are clock and random
 * numbers; a schedule is a list of choices, and repeats. Ordinary tests with threads run one order
 * in a million of what is possible and cannot say which one it was that failed.
 *
 *     scenes.c        what the threads do, and what must hold whatever the order
 *     explore.c       which orders: by chance (walk, pct), or all of them (exhaust)
 *     os/sched.c      the threads themselves
 *     os/sim.c        the disk; by chance it is copied at a choice, and judged as after a crash
 *     run_alloc.c     memory that is not used twice in a run, so that use after free shows
 *
 * What is not explored: orders that only weak memory allows, and threads inside one another's plain
 * accesses (data races); the thread sanitizer looks for those. docs/design/scheduler.md says more.
 */
#include "tests/reliability/scenes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXED_CHANCE  150 /* runs of each kind and scene */
#define TURN_S        0.5
#define EXHAUST_SHARE 0.8 /* of the time */
#define SCENES_MAX    64

static struct {
    double budget, started;
    uint64_t seed, expect;
    const char *only;
    bool is_fixed;
    bool is_coarse; /* less of the fixed ones: where each costs much (sanitizers) */
    uint64_t schedules, runs, points, by_bound[3];
    unsigned exhausted[3]; /* scenes without anything left up to so many preemptions */
    unsigned chosen;
    unsigned lane, lanes; /* of the scenes, those of which this run does all schedules */
    bool has_failed;
} all;

struct tally {
    struct found exhaust, walk, pct;
};

static void total_add(const struct found *f)
{
    all.schedules += f->distinct;
    all.runs += f->runs;
    all.points += f->points;
    all.has_failed |= f->has_failed;
}

static void exhaust(const struct scene *s, unsigned bound, double until, struct found *f)
{
    struct explorer e = {.scene = s, .until = until};
    double began = explore_now();

    memset(f, 0, sizeof *f);
    explore_exhaust(&e, bound, f);
    f->seconds = explore_now() - began;
}

static void exhaust_tell(const struct scene *s, const struct found *f)
{
    static const char *const how_far[] = {"not even 0", "to 0", "to 1", "to 2"};

    for (int b = 0; b < 3; b++)
        all.by_bound[b] += f->by_bound[b];
    for (int b = 0; b <= f->exhausted && b < 3; b++)
        all.exhausted[b]++;
    printf("%-9s %6llu %8llu %9llu   %-10s %6llu points %8.1f s   %s\n", s->name,
           (unsigned long long)f->by_bound[0], (unsigned long long)f->by_bound[1],
           (unsigned long long)f->by_bound[2], how_far[f->exhausted + 1],
           (unsigned long long)(f->runs ? f->points / f->runs : 0), f->seconds, s->about);
    (void)fflush(stdout);
    total_add(f);
}

static void explore_fixed(void)
{
    for (unsigned i = 0; i < scene_count && !all.has_failed; i++) {
        const struct scene *s = &scenes[i];
        struct explorer e = {
            .scene = s, .until = 1e18, .limit = all.is_coarse ? FIXED_CHANCE / 5 : FIXED_CHANCE};
        struct found ex = {0}, walk = {0}, pct = {0};

        if (all.only && strcmp(all.only, s->name) != 0)
            continue;
        all.chosen++;
        exhaust(s, s->fixed_bound && all.is_coarse ? s->fixed_bound - 1 : s->fixed_bound, 1e18,
                &ex);
        exhaust_tell(s, &ex);
        if (all.has_failed)
            return;
        explore_walk(&e, all.seed, &walk);
        total_add(&walk);
        if (all.has_failed)
            return;
        explore_pct(&e, all.seed, 3, &pct);
        total_add(&pct);
    }
}

/* How many schedules with two preemptions there may be, from those with one. */
static double foreseen(const struct found *f)
{
    double one = (double)f->by_bound[1];

    return f->exhausted < 1 ? 1e18 : one * one / (double)(2 * f->by_bound[0]);
}

/* All scenes to one preemption; then to two, the smaller ones first, so that what they leave of the time is
 * for the larger ones. */
static void exhaust_all(struct tally *tally, double end)
{
    bool is_done[SCENES_MAX] = {false};
    unsigned left = 0;

    for (unsigned i = 0; i < scene_count && !all.has_failed; i++) {
        is_done[i] =
            (all.only && strcmp(all.only, scenes[i].name) != 0) || i % all.lanes != all.lane;
        if (is_done[i])
            continue;
        left++;
        exhaust(&scenes[i], 1, explore_now() + (end - explore_now()) / 4, &tally[i].exhaust);
        all.has_failed |= tally[i].exhaust.has_failed;
    }
    all.chosen = left;
    for (; left > 0 && !all.has_failed; left--) {
        unsigned next = scene_count;
        struct found f;

        for (unsigned i = 0; i < scene_count; i++)
            if (!is_done[i] && (next == scene_count ||
                                foreseen(&tally[i].exhaust) < foreseen(&tally[next].exhaust)))
                next = i;
        exhaust(&scenes[next], 2, explore_now() + (end - explore_now()) / left, &f);
        if (f.exhausted > tally[next].exhaust.exhausted || f.has_failed) {
            tally[next].exhaust = f;
        } else { /* not finished: what the first pass found out stands */
            if (tally[next].exhaust.distinct < f.distinct)
                tally[next].exhaust.distinct = f.distinct;
            tally[next].exhaust.runs += f.runs;
            tally[next].exhaust.points += f.points;
            tally[next].exhaust.seconds += f.seconds;
        }
        exhaust_tell(&scenes[next], &tally[next].exhaust);
        is_done[next] = true;
    }
}

static void explore_long(void)
{
    struct tally *tally = calloc(scene_count, sizeof *tally);
    double end = all.started + all.budget;
    uint64_t turn = 0, walks = 0, pcts = 0;

    if (!tally || scene_count > SCENES_MAX)
        abort();
    exhaust_all(tally, all.started + all.budget * EXHAUST_SHARE);
    for (; explore_now() < end && !all.has_failed; turn++)
        for (unsigned i = 0; i < scene_count && explore_now() < end && !all.has_failed; i++) {
            struct explorer e = {.scene = &scenes[i], .until = explore_now() + TURN_S};
            struct found f = {.choices_max = tally[i].walk.choices_max};
            uint64_t seed = all.seed * 1000003 + turn * 1009 + i;

            if (all.only && strcmp(all.only, scenes[i].name) != 0)
                continue;
            if (e.until > end)
                e.until = end;
            if (turn % 2 == 0) {
                explore_walk(&e, seed, &f);
                walks += f.distinct;
            } else {
                explore_pct(&e, seed, 2 + (unsigned)(turn / 2 % 3), &f);
                pcts += f.distinct;
            }
            tally[i].walk.choices_max = f.choices_max;
            total_add(&f);
        }
    printf("schedules: by chance %llu walks and %llu by priorities, from seed %llu\n",
           (unsigned long long)walks, (unsigned long long)pcts, (unsigned long long)all.seed);
    free(tally);
}

static int replay(const char *text)
{
    const char *cut = strchr(text, '/');
    struct found found = {0};

    for (unsigned i = 0; cut && i < scene_count; i++)
        if (strlen(scenes[i].name) == (size_t)(cut - text) &&
            memcmp(scenes[i].name, text, (size_t)(cut - text)) == 0) {
            if (!explore_replay(&scenes[i], cut + 1, &found))
                break;
            if (!found.has_failed)
                printf("schedules: this one is fine\n");
            return found.has_failed;
        }
    printf("schedules: '%s' is no schedule\n", text);
    return 2;
}

static void list(void)
{
    for (unsigned i = 0; i < scene_count; i++)
        printf("%-9s  %s\n", scenes[i].name, scenes[i].about);
}

static int finish(void)
{
    double took = explore_now() - all.started;

    printf("schedules: %llu schedules (%llu runs, %.1f million points) of %u scenes in %.0f s, "
           "%.0f runs a second; "
           "%llu disks judged after a crash\n",
           (unsigned long long)all.schedules, (unsigned long long)all.runs,
           (double)all.points / 1e6, all.chosen, took, (double)all.runs / (took > 0 ? took : 1),
           (unsigned long long)explore_crashes);
    printf("schedules: exhausted without preemption %u scenes, with one %u, with two %u: %llu + "
           "%llu + %llu schedules\n",
           all.exhausted[0], all.exhausted[1], all.exhausted[2],
           (unsigned long long)all.by_bound[0], (unsigned long long)all.by_bound[1],
           (unsigned long long)all.by_bound[2]);
    printf("tally: %llu schedules; %llu scenes exhausted to one preemption; %llu scenes exhausted "
           "to two "
           "preemptions; %llu disks judged between; %llu failures\n",
           (unsigned long long)all.schedules, (unsigned long long)all.exhausted[1],
           (unsigned long long)all.exhausted[2], (unsigned long long)explore_crashes,
           (unsigned long long)all.has_failed);
    if (all.expect && !all.has_failed && !all.is_coarse && all.schedules * 5 < all.expect * 4) {
        printf("FAILED: %llu schedules where %llu were expected: what is no longer looked at, and "
               "why?\n",
               (unsigned long long)all.schedules, (unsigned long long)all.expect);
        all.has_failed = true;
    }
    return all.has_failed;
}

static int usage(void)
{
    printf("schedules --fixed [--expect N] | --budget SECONDS [--seed N] | --replay WHAT | --list  "
           "[--scene NAME] [--lane I/N]\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *what = NULL;

    all.seed = 1;
    all.lanes = 1;
    all.started = explore_now();
    all.is_coarse = getenv("ODB_TEST_STRIDE") && atoi(getenv("ODB_TEST_STRIDE")) > 1;
    explore_init();
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--fixed") == 0)
            all.is_fixed = true;
        else if (strcmp(argv[i], "--list") == 0)
            return list(), 0;
        else if (!value)
            return usage();
        else if (strcmp(argv[i++], "--budget") == 0)
            all.budget = atof(value);
        else if (strcmp(argv[i - 1], "--seed") == 0)
            all.seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i - 1], "--expect") == 0)
            all.expect = strtoull(value, NULL, 10);
        else if (strcmp(argv[i - 1], "--scene") == 0)
            all.only = value;
        else if (strcmp(argv[i - 1], "--lane") == 0 &&
                 sscanf(value, "%u/%u", &all.lane, &all.lanes) == 2 && all.lane < all.lanes)
            continue;
        else if (strcmp(argv[i - 1], "--replay") == 0)
            what = value;
        else
            return usage();
    }
    if (what)
        return replay(what);
    if (!all.is_fixed && all.budget <= 0)
        return usage();
    printf("schedules with 0, 1 and 2 preemptions:\n");
    if (all.is_fixed)
        explore_fixed();
    else
        explore_long();
    return finish();
}
