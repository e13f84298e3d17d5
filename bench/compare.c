/* bench/compare.c -- see compare.h.
 *
 *     parent:   for each round, for each workload, for each engine:
 *                   SIGCONT it, send the number of the workload, read the result, SIGSTOP it,
 *                   have the kernel write back what the turn left dirty
 *     child:    read a number, run it, write the struct bench_result
 *
 * The two runs that make a pair are thus next to each other in time, however slow the machine drifts. None
 * pays for what another wrote. Every other round begins with the last engine, so that neither end of the
 * line is always the same one's.
 */
#include "bench/compare.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct order {
    uint32_t workload;
    uint32_t round;
    bool is_load;
};

struct player {
    pid_t pid;
    int to, from;
};

static bool write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t len)
{
    char *p = data;

    while (len > 0) {
        ssize_t n = read(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static void run_one(struct bench_run *run, const struct bench_plan *plan, struct order o,
                    uint32_t engine, struct bench_result *out)
{
    run->round = o.round;
    run->is_loading = o.is_load;
    bench_run_workload(run, o.is_load ? plan->load[o.workload] : plan->workload[o.workload], out);
    out->engine = engine;
    out->is_load = o.is_load;
    out->step = o.workload;
}

void bench_run_alone(const struct bench_plan *plan, bench_seen *seen, void *arg)
{
    struct bench_run *run = bench_alloc(sizeof *run);
    struct bench_result *r = bench_alloc(sizeof *r);

    bench_run_init(run, plan->s, plan->engine[0], plan->base);
    for (uint32_t i = 0; i < plan->load_count + plan->workload_count; i++) {
        struct order o = {i, 0, true};

        if (i >= plan->load_count)
            o = (struct order){i - plan->load_count, 0, false};
        run_one(run, plan, o, 0, r);
        seen(arg, r);
    }
    bench_run_end(run, plan->remove);
    free(run);
    free(r);
}

/* ---- a child ---- */

static _Noreturn void play(const struct bench_plan *plan, uint32_t engine, int in, int out)
{
    struct bench_run *run = bench_alloc(sizeof *run);
    struct bench_result *r = bench_alloc(sizeof *r);
    struct order o;

    bench_run_init(run, plan->s, plan->engine[engine], plan->base);
    while (read_all(in, &o, sizeof o)) {
        run_one(run, plan, o, engine, r);
        (void)fflush(stdout);
        if (!write_all(out, r, sizeof *r))
            break;
    }
    bench_run_end(run, plan->remove);
    _exit(0);
}

static void start_player(const struct bench_plan *plan, uint32_t engine, struct player *all)
{
    int down[2], up[2];
    pid_t pid;

    if (pipe(down) != 0 || pipe(up) != 0)
        bench_die("no pipe: %s", strerror(errno));
    (void)fflush(stdout);
    pid = fork();
    if (pid < 0)
        bench_die("no process: %s", strerror(errno));
    if (pid == 0) {
        for (uint32_t i = 0; i < engine; i++) {
            (void)close(all[i].to); /* else the others would not see the end of their orders */
            (void)close(all[i].from);
        }
        (void)close(down[1]);
        (void)close(up[0]);
        play(plan, engine, down[0], up[1]);
    }
    (void)close(down[0]);
    (void)close(up[1]);
    all[engine] = (struct player){pid, down[1], up[0]};
}

/* ---- the parent ---- */

static bool give_turn(struct player *p, struct order o, struct bench_result *r)
{
    bool ok;

    (void)kill(p->pid, SIGCONT);
    ok = write_all(p->to, &o, sizeof o) && read_all(p->from, r, sizeof *r);
    if (ok)
        (void)kill(p->pid, SIGSTOP);
    return ok;
}

static bool everybody(const struct bench_plan *plan, struct player *all, struct order o,
                      struct bench_result *r, bench_seen *seen, void *arg)
{
    for (uint32_t i = 0; i < plan->engine_count; i++) {
        uint32_t e = o.round % 2 == 0 ? i : plan->engine_count - 1 - i;

        if (!give_turn(&all[e], o, r))
            return false;
        bench_write_back(plan->base);
        seen(arg, r);
    }
    return true;
}

bool bench_run_turns(const struct bench_plan *plan, bench_seen *seen, void *arg)
{
    struct player all[BENCH_ENGINES_MAX];
    struct bench_result *r = bench_alloc(sizeof *r);
    bool ok = true;

    (void)signal(SIGPIPE, SIG_IGN); /* a child that died is noticed by its silence */
    for (uint32_t e = 0; e < plan->engine_count; e++)
        start_player(plan, e, all);
    for (uint32_t i = 0; ok && i < plan->load_count; i++)
        ok = everybody(plan, all, (struct order){i, 0, true}, r, seen, arg);
    for (uint32_t round = 0; ok && round < plan->s->pairs; round++)
        for (uint32_t i = 0; ok && i < plan->workload_count; i++)
            ok = everybody(plan, all, (struct order){i, round, false}, r, seen, arg);
    for (uint32_t e = 0; e < plan->engine_count; e++) {
        int status = 0;

        (void)close(all[e].to);
        (void)kill(all[e].pid, SIGCONT);
        (void)waitpid(all[e].pid, &status, 0);
        (void)close(all[e].from);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            ok = false;
    }
    free(r);
    return ok;
}
