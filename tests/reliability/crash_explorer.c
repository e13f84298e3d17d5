/* tests/reliability/crash_explorer.c -- every disk that a crash may leave, opened and judged.
 *
 *     crash_explorer --fixed [--expect N]         one small history, the same every time, for CI
 *     crash_explorer --budget SECONDS [--seed N]  histories N, N+1, ... until the time is over
 *     crash_explorer --replay WHAT                one failure again, with everything about it
 *     ODB_TEST_STRIDE                             look at one moment in so many only
 *
 * A history is a run of tests/cf/workload.h on a simulated disk. Three explorations of it:
 *
 *   crash   before every operation, and inside every write, all disks that images.h can make are taken.
 *           Those not met before (by hash, which includes every byte) are opened and compared with
 *           the model; every 4th (with --fixed each) is opened read-only before, written to, closed
 *           and opened again; every 16th is merged and verified as a whole.
 *   nested  recovery runs on such a disk, and dies at each of its own operations. What is left must
 *           recover to exactly the same prefix, and so on, two levels deep without gaps, the third by
 *           chance (P10).
 *   sync    each sync fails once, in two ways (M6): what was written stays readable, or is dropped.
 *           Then the power goes; or the process dies, the next one opens on the same kernel, whose
 *           cache may tell more than the disk holds, and the power goes during that or afterwards.
 *
 * Meanwhile the monitor (monitor.c) looks at every remove, rename and durable answer.
 *
 * The engine holds locks while an operation is under way, so the disks are kept and judged after the
 * run; when enough have gathered the run goes on unobserved, and is repeated from the start for the
 * next window. A run is a function of its seed.
 *
 * Every seventh history is a large one: more transactions, moments taken by chance. Odd seeds write
 * through the public transactions, prepared ones among them (txns.h); --fixed does one of either kind.
 */
#include "tests/reliability/images.h"
#include "tests/reliability/monitor.h"
#include "tests/reliability/oracle.h"
#include "tests/reliability/stop.h"
#include "tests/reliability/txns.h"

#include <time.h>

#define FIXED_SEED    2  /* its history creates and drops families between synced commits */
#define FIXED_TXNS    13 /* and this one's prepares, commits and rolls back */
#define HELD_MAX      3000
#define MOMENTS_MAX   8192
#define PATH_MAX_STEP 4
#define WHOLLY_ONE_IN 16
#define GO_ON_ONE_IN  4 /* in long runs; of a fixed one all */
#define LARGE_ONE_IN  7
#define DEEP_ONE_IN   64 /* nested explorations that go to depth two */
#define CHANCE_ONE_IN 64 /* and of what they find, those that go to depth three */

/* ---- where a disk comes from ---- */

struct step {
    uint64_t op_no;
    uint32_t index;
};

struct origin {
    uint64_t sync_op; /* this sync failed; 0: none did */
    bool reverts;
    bool restarted; /* and another process went on with the same kernel */
    uint32_t steps;
    struct step step[PATH_MAX_STEP];
};

static struct {
    uint64_t seed;
    double budget;
    bool is_fixed;
    bool is_replay;
    bool is_verbose;
    struct origin replay;
    uint64_t expect;
    double nested_share; /* of the time; half of it for failed syncs */
    uint64_t stride;     /* moments looked at: one in so many */
    double started;
    unsigned failures;

    uint64_t histories, moments, states, distinct, nested_states, nested, nested2, nested3;
    uint64_t syncs_failed, sync_states, sync_distinct;
    uint64_t refused; /* M5: the answer was ODB_CORRUPT */
    uint64_t spoiled; /* M5 judged */
    uint64_t removes, switches, acks;
    uint64_t prepared, resolved; /* transactions of the histories */
    double nested_s, sync_s;
} run;

static struct workload work; /* large */
static bool is_large;

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double elapsed(void)
{
    return now_s() - run.started;
}

static bool is_over(void)
{
    return run.failures > 0 || stop_is_asked() ||
           (!run.is_fixed && !run.is_replay && elapsed() > run.budget);
}

static void origin_text(const struct origin *o, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%llu:%llu.%d.%d", (unsigned long long)run.seed,
                                (unsigned long long)o->sync_op, o->reverts, o->restarted);

    for (uint32_t i = 0; i < o->steps && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "/%llu.%u", (unsigned long long)o->step[i].op_no,
                              o->step[i].index);
}

static void report(const struct origin *o, const char *why, const struct promise *p)
{
    char text[160];

    run.failures++;
    origin_text(o, text, sizeof text);
    printf("FAILED: %s\n", why);
    if (p)
        printf("        started %u, acknowledged %u, durable %u\n", p->started, p->acked,
               p->durable);
    printf("replay: crash_explorer %s--replay %s\n", run.is_fixed ? "--fixed " : "", text);
    (void)fflush(stdout);
}

/* ---- disks met before ---- */

struct met {
    uint64_t hash; /* of the disk and of what its judgement depends on; 0: free */
    uint32_t k;
    uint8_t families;
    bool is_refused;
};

struct met_table {
    struct met *slot;
    size_t count, cap;
};

static void met_clear(struct met_table *t)
{
    free(t->slot);
    *t = (struct met_table){NULL, 0, 0};
}

static struct met *met_slot(struct met_table *t, uint64_t hash)
{
    size_t i = (size_t)hash & (t->cap - 1);

    while (t->slot[i].hash != 0 && t->slot[i].hash != hash)
        i = (i + 1) & (t->cap - 1);
    return &t->slot[i];
}

/* The entry for `hash`; *is_new when there was none. */
static struct met *met_find(struct met_table *t, uint64_t hash, bool *is_new)
{
    struct met *m;

    if (t->count * 2 >= t->cap) {
        struct met_table grown = {NULL, t->count, t->cap ? t->cap * 2 : 1 << 12};

        grown.slot = calloc(grown.cap, sizeof *grown.slot);
        if (!grown.slot)
            abort(); /* nothing can be learned without memory */
        for (size_t i = 0; i < t->cap; i++)
            if (t->slot[i].hash)
                *met_slot(&grown, t->slot[i].hash) = t->slot[i];
        free(t->slot);
        *t = grown;
    }
    hash |= hash == 0;
    m = met_slot(t, hash);
    *is_new = m->hash == 0;
    if (*is_new) {
        m->hash = hash;
        t->count++;
    }
    return m;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

/* What the judgement of a disk depends on, beside its bytes. */
static uint64_t promise_key(const struct promise *p)
{
    uint64_t h = p->opened;

    for (int f = 0; f < FAMILIES; f++)
        h = mix(h, p->born[f]);
    return h;
}

/* What decides whether a disk is allowed. */
static uint64_t promise_hash(const struct promise *p)
{
    uint64_t h = mix(promise_key(p), p->durable);

    for (int f = 0; f < FAMILIES; f++)
        h = mix(h, (uint64_t)p->may[f] * 2 + p->must[f]);
    return h;
}

/* ---- taking disks while a run is under way ---- */

struct held {
    struct os *disk;
    struct promise p;
    enum sim_model model;
    struct step step;
};

struct collector {
    struct os *os;
    const struct promise *p; /* as it changes */
    struct met_table *met;
    uint64_t key; /* mixed into the hashes */
    enum image_kind kind;
    uint64_t from;           /* the first operation to look at */
    uint64_t full_at;        /* the operation at which there was no more room; 0: none */
    uint64_t sample;         /* one moment in so many */
    uint64_t last_change;    /* what the disk, and the promise, was at the last moment */
    const struct step *only; /* replay */
    bool is_off;
    uint64_t states;
    struct held *held;
    size_t count, cap;
    struct monitor *monitor;
    uint64_t fail_op; /* this operation fails */
};

static void collector_keep(struct collector *c, struct os *disk, enum sim_model model,
                           struct step step)
{
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 256;
        c->held = realloc(c->held, c->cap * sizeof *c->held);
        if (!c->held)
            abort();
    }
    c->held[c->count++] = (struct held){disk, *c->p, model, step};
}

static uint32_t least_of(const struct promise *p, enum sim_model model, bool may_refuse)
{
    return may_refuse ? 0 : model == SIM_M1 ? p->acked : p->durable;
}

static void collector_take(struct collector *c, const struct image_plan *plan, uint64_t op_no,
                           uint32_t i)
{
    struct step step = {op_no, i};
    enum sim_model model;
    struct os *disk;
    struct met *m;
    bool is_new;

    if (!images_make(c->os, plan, op_no, i, &disk, &model))
        return;
    c->states++;
    if (c->only) {
        collector_keep(c, disk, model, step);
        return;
    }
    m = met_find(c->met, mix(mix(sim_hash(disk), promise_key(c->p)), c->key + (model == SIM_M5)),
                 &is_new);
    if (is_new) {
        m->k = UINT32_MAX; /* not judged yet */
        collector_keep(c, disk, model, step);
        return;
    }
    /* Known: does this promise allow it, too? What is not judged yet is kept with its own promise
     * and looked at again where this one asks for more. */
    if (m->k == UINT32_MAX) {
        if (c->p->started > 0 && model == SIM_M1) {
            collector_keep(c, disk, model, step);
            return;
        }
    } else {
        struct finding f = {.is_whole = !m->is_refused,
                            .is_refused = m->is_refused,
                            .k = m->k,
                            .families = m->families};

        if (!oracle_allows(c->p, least_of(c->p, model, model == SIM_M5), model == SIM_M5, &f))
            collector_keep(c, disk, model, step), disk = NULL;
    }
    sim_free(disk);
}

/* sim_set_fault's hook. */
static odb_status watch(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    struct collector *c = arg;
    struct image_plan plan;
    uint64_t change;
    bool is_inside = op == SIM_WRITE || op == SIM_RING_STORE;

    if (c->monitor)
        monitor_before(c->monitor, op, name, op_no);
    if (op_no == c->fail_op)
        return err_set(ODB_IO, "this sync fails");
    if (c->is_off || op_no < c->from || c->full_at != 0 || (c->only && op_no != c->only->op_no))
        return ODB_OK;
    if (c->count >= HELD_MAX) {
        c->full_at = op_no;
        return ODB_OK;
    }
    if (c->sample > 1 && mix(op_no, run.seed) % c->sample != 0)
        return ODB_OK;
    change =
        mix(promise_hash(c->p), sim_mutations(c->os) - sim_op_kind_count(c->os, SIM_RING_STORE));
    images_plan(c->os,
                change == c->last_change && c->kind != IMAGES_SAMPLED && !c->only ? IMAGES_CHEAP
                                                                                  : c->kind,
                is_inside, &plan);
    c->last_change = change;
    run.moments++;
    for (uint32_t i = 0; i < plan.count; i++)
        if (!c->only || i == c->only->index)
            collector_take(c, &plan, op_no, i);
    return ODB_OK;
}

static void collector_release(struct collector *c)
{
    for (size_t i = 0; i < c->count; i++)
        sim_free(c->held[i].disk);
    free(c->held);
    c->held = NULL;
    c->count = c->cap = 0;
}

/* ---- judging ---- */

static void print_line(void *arg, const char *text)
{
    (void)arg;
    printf("    %s\n", text);
}

/* Open `h->disk`, which is used up and NULL afterwards. */
static bool judge_disk(struct held *h, uint32_t least, enum oracle_effort effort,
                       const struct origin *o, struct finding *f)
{
    bool may_refuse = h->model == SIM_M5;
    bool ok;

    if (run.is_verbose) {
        printf("the disk after operation %llu, image %u (M%d), %u transactions promised:\n",
               (unsigned long long)h->step.op_no, h->step.index, (int)h->model, least);
        sim_dump(h->disk, print_line, NULL);
    }
    oracle_look(h->disk, &work, &h->p, effort, f);
    sim_free(h->disk);
    h->disk = NULL;
    ok = oracle_allows(&h->p, least, may_refuse, f);
    if (run.is_verbose)
        printf("    found: %u transactions, families %x%s%s\n", f->k, f->families,
               f->is_refused ? ", refused: "
               : ok          ? ""
                             : ": ",
               f->why);
    if (!ok)
        report(o, f->why, &h->p);
    if (test_alloc_alive() != 0 && run.failures == 0)
        report(o, "memory was leaked", &h->p);
    return ok;
}

/* ---- recoveries that die ---- */

static struct met_table met_nested;

/* Recovery runs on a copy of `disk` and dies at each of its operations; what is left must recover to
 * `k` transactions and `families`. */
static void explore_recovery(struct os *disk, const struct promise *p, const struct finding *found,
                             struct origin o, uint32_t depth, uint32_t depth_max)
{
    struct os *os = sim_image(disk, SIM_M1, 0);
    struct cf_set_options opt = workload_variant(os, work.variant);
    struct promise exact = *p;
    struct collector c = {.os = os, .p = &exact, .met = &met_nested, .kind = IMAGES_FEW};
    struct opened opened;
    uint32_t at = o.steps++;

    exact.started = exact.acked = exact.durable = found->k;
    for (int f = 0; f < FAMILIES; f++)
        exact.may[f] = exact.must[f] = found->families >> f & 1;
    c.key = mix(found->k, found->families);
    if (run.is_replay)
        c.only = &run.replay.step[at];
    opt.create = !p->opened;
    sim_set_fault(os, watch, &c);
    if (opened_open(&opt, &work, &opened) == ODB_OK) {
        c.is_off = true;
        err_ignore(opened_close(&opened, &work));
    }
    sim_set_fault(os, NULL, NULL);
    sim_free(os);
    run.nested_states += c.states;
    for (size_t i = 0; i < c.count && run.failures == 0; i++) {
        struct held *h = &c.held[i];
        struct os *copy;
        struct finding f;
        bool deeper = depth < depth_max;

        o.step[at] = h->step;
        if (h->model == SIM_M5)
            continue; /* the assumption is about the disk, not about recovery */
        if (!run.is_fixed && depth == 2 && depth_max == 2 &&
            mix(run.nested, 3) % CHANCE_ONE_IN == 0)
            deeper = true;
        if (at + 1 >= PATH_MAX_STEP || (run.is_replay && at + 1 >= run.replay.steps))
            deeper = false;
        run.nested++;
        run.nested2 += depth == 2;
        run.nested3 += depth >= 3;
        copy = deeper ? sim_image(h->disk, SIM_M1, 0) : NULL;
        if (judge_disk(h, found->k, ORACLE_LOOK, &o, &f) && deeper && !is_over())
            explore_recovery(copy, &h->p, found, o, depth + 1, depth_max);
        sim_free(copy);
    }
    collector_release(&c);
}

/* ---- one window of a history ---- */

static struct met_table met_crash;

static void remember(struct met_table *t, const struct held *h, uint64_t hash,
                     const struct finding *f)
{
    bool is_new;
    struct met *m = met_find(t, hash, &is_new);

    (void)h;
    m->k = f->k;
    m->families = f->families;
    m->is_refused = f->is_refused;
}

static bool nested_is_due(void)
{
    if (run.is_replay)
        return false;
    if (run.is_fixed)
        return run.distinct % 500 == 7;
    return run.nested_s < run.nested_share * elapsed();
}

static enum oracle_effort effort_of(uint64_t n)
{
    if (run.is_replay || n % WHOLLY_ONE_IN == 3)
        return ORACLE_WHOLLY;
    return run.is_fixed || n % GO_ON_ONE_IN == 0 ? ORACLE_GO_ON : ORACLE_LOOK;
}

static void judge_all(struct collector *c)
{
    static uint64_t nested_count;
    /* In long runs not at once, or a short one does nothing else. */
    uint64_t deep_first = run.is_fixed || run.is_replay ? 0 : DEEP_ONE_IN / 2;

    for (size_t i = 0; i < c->count && !is_over(); i++) {
        struct held *h = &c->held[i];
        struct origin o = {.steps = 1, .step = {h->step}};
        uint64_t hash = mix(mix(sim_hash(h->disk), promise_key(&h->p)), h->model == SIM_M5);
        bool is_spoiled = h->model == SIM_M5, is_new, may_nest;
        const struct met *m = met_find(&met_crash, hash, &is_new);
        struct os *copy = NULL;
        struct finding f;

        if (!c->only && m->k != UINT32_MAX) { /* the same as an earlier one of this window */
            struct finding known = {.is_whole = !m->is_refused,
                                    .is_refused = m->is_refused,
                                    .k = m->k,
                                    .families = m->families};

            if (oracle_allows(&h->p, least_of(&h->p, h->model, is_spoiled), is_spoiled, &known))
                continue;
        }
        run.distinct++;
        run.spoiled += is_spoiled;
        may_nest = !is_spoiled && nested_is_due();
        if (may_nest || (run.is_replay && run.replay.steps > 1))
            copy = sim_image(h->disk, SIM_M1, 0);
        if (judge_disk(h, least_of(&h->p, h->model, is_spoiled), effort_of(run.distinct), &o, &f)) {
            run.refused += f.is_refused;
            remember(&met_crash, h, hash, &f);
            if (copy) {
                double from = now_s();

                explore_recovery(copy, &h->p, &f, o, 1,
                                 nested_count++ % DEEP_ONE_IN == deep_first ? 2 : 1);
                run.nested_s += now_s() - from;
            }
        }
        sim_free(copy);
    }
}

static uint32_t txns_of(uint64_t seed)
{
    is_large = !run.is_fixed && seed % LARGE_ONE_IN == 0;
    return run.is_fixed ? (seed == FIXED_SEED ? 40 : 24) : is_large ? 390 : 60;
}

static struct monitor *monitor_now;

static void on_ack_monitored(struct workload *w)
{
    (void)w;
    if (monitor_now)
        monitor_ack(monitor_now);
}

static void begin_history(struct os *os)
{
    workload_begin(&work, os, run.seed, txns_of(run.seed));
    work.upper = run.seed % 2 ? &txns_upper : NULL;
    work.variant = run.is_fixed ? 0 : (uint32_t)(mix(run.seed, 17) >> 20) & 63;
}

static void count_prepared(void)
{
    for (uint32_t t = 1; t <= work.p.started; t++)
        for (int i = 0; i < PREPARED; i++) {
            run.prepared += work.at[t].prepared[i] == t;
            run.resolved += work.at[t - 1].prepared[i] && !work.at[t].prepared[i];
        }
}

/* The operations of the whole history; the first run carries the monitor. */
static uint64_t run_monitored(void)
{
    struct os *os = sim_new(run.seed);
    struct monitor m = {.os = os, .dir = DB};
    struct collector c = {.os = os, .p = &work.p, .from = UINT64_MAX, .monitor = &m};
    uint64_t ops;

    begin_history(os);
    work.on_ack = on_ack_monitored;
    monitor_now = &m;
    sim_set_fault(os, watch, &c);
    workload_run(&work);
    sim_set_fault(os, NULL, NULL);
    monitor_now = NULL;
    ops = sim_op_count(os);
    if (work.st != ODB_OK || m.broken[0]) {
        struct origin o = {.steps = 0};

        workload_end(&work);
        report(&o, m.broken[0] ? m.broken : odb_error_text(), &work.p);
    }
    count_prepared();
    run.removes += m.removes;
    run.switches += m.switches;
    run.acks += m.acks;
    sim_free(os);
    return ops;
}

/* Returns the first operation of the next window, 0 when there is none. */
static uint64_t explore_window(uint64_t from)
{
    struct os *os = sim_new(run.seed);
    struct collector c = {.os = os,
                          .p = &work.p,
                          .met = &met_crash,
                          .kind = is_large ? IMAGES_SAMPLED : IMAGES_ALL,
                          .sample = is_large ? 5 : run.stride,
                          .from = from};

    if (run.is_replay)
        c.only = &run.replay.step[0];
    begin_history(os);
    sim_set_fault(os, watch, &c);
    workload_run(&work);
    sim_set_fault(os, NULL, NULL);
    sim_free(os);
    run.states += c.states;
    judge_all(&c);
    collector_release(&c);
    return c.full_at;
}

/* ---- syncs that fail ---- */

static struct met_table met_sync;

/* Disks of collector `c`, each of which must hold at least what was durable. */
static void judge_after_sync(struct collector *c, struct origin o)
{
    uint32_t at = o.steps++;

    run.sync_states += c->states;
    for (size_t i = 0; i < c->count && run.failures == 0; i++) {
        struct held *h = &c->held[i];
        struct finding f;

        o.step[at] = h->step;
        if (h->model == SIM_M5)
            continue;
        run.sync_distinct++;
        (void)judge_disk(h, h->p.durable, ORACLE_LOOK, &o, &f);
    }
    collector_release(c);
}

/* Take the disks of this moment, between two operations. */
static void take_now(struct collector *c, enum image_kind kind)
{
    struct image_plan plan;

    images_plan(c->os, kind, false, &plan);
    for (uint32_t i = 0; i < plan.count; i++)
        if (!c->only || (c->only->op_no == 0 && c->only->index == i))
            collector_take(c, &plan, 0, i);
}

/* The process dies, the kernel stays; the next process opens, and the power goes. */
static void restart_after(struct os *os, struct origin o)
{
    struct cf_set_options opt = workload_variant(os, work.variant);
    struct promise p = work.p;
    struct collector c = {.os = os, .p = &p, .met = &met_sync, .kind = IMAGES_FEW};
    struct finding f = {0};
    struct opened at;
    odb_status st;

    o.restarted = true;
    p.acked = p.durable; /* M1 counts as little as the others: the pages may be gone */
    if (run.is_replay)
        c.only = &run.replay.step[0];
    sim_set_fault(os, watch, &c);
    opt.create = !p.opened;
    st = opened_open(&opt, &work, &at);
    sim_set_fault(os, NULL, NULL);
    if (st != ODB_OK || !set_matches(at.s, &work, &p, p.durable, &f.k, f.why) ||
        (at.db && !txns_are_listed(at.db, &work.at[f.k], f.why))) {
        report(&o, st != ODB_OK ? odb_error_text() : f.why, &p);
    } else { /* from here on the answer is given: it must not change (P10) */
        p.started = p.durable = p.acked = f.k;
        take_now(&c, IMAGES_ALL);
    }
    if (st == ODB_OK)
        err_ignore(opened_close(&at, &work));
    judge_after_sync(&c, o);
}

static void explore_failed_sync(uint64_t op_no, bool reverts)
{
    struct os *os = sim_new(run.seed), *next;
    struct origin o = {.sync_op = op_no, .reverts = reverts};
    struct collector c = {.os = os,
                          .p = &work.p,
                          .met = &met_sync,
                          .kind = IMAGES_FEW,
                          .fail_op = op_no,
                          .from = op_no + 1,
                          .sample = 3};
    uint32_t after = 0;

    met_clear(&met_sync);
    if (run.is_replay && !run.replay.restarted)
        c.only = &run.replay.step[0];
    sim_set_failed_sync_reverts(os, reverts);
    begin_history(os);
    work.may_fail = true;
    c.is_off = run.is_replay && run.replay.restarted;
    sim_set_fault(os, watch, &c);
    work.st = workload_open(&work);
    while (work.s && work.p.started < work.txns && !work.unknown && after < 12) {
        work.st = workload_step(&work);
        if (sim_op_count(os) >= op_no)
            after++;
        if (work.st == ODB_UNKNOWN || work.st == ODB_READONLY)
            break;
    }
    sim_set_fault(os, NULL, NULL);
    run.syncs_failed++;
    if (!c.is_off)
        take_now(&c, IMAGES_ALL);
    next = sim_restart(os);
    workload_end(&work);
    if (!run.is_replay || run.replay.restarted)
        restart_after(next, o);
    judge_after_sync(&c, o);
    if (test_alloc_alive() != 0 && run.failures == 0)
        report(&o, "memory was leaked", &work.p);
    sim_free(next);
    sim_free(os);
}

/* The operations of the history that are syncs. */
static uint64_t *sync_ops(size_t *count)
{
    struct os *os = sim_new(run.seed);
    struct sim_record r;
    uint64_t *ops = NULL;
    size_t cap = 0;

    *count = 0;
    sim_log(os, true);
    begin_history(os);
    workload_run(&work);
    for (uint64_t i = 0; sim_log_get(os, i, &r); i++) {
        if (r.op != SIM_SYNC && r.op != SIM_DIR_SYNC)
            continue;
        if (*count == cap) {
            cap = cap ? cap * 2 : 256;
            ops = realloc(ops, cap * sizeof *ops);
            if (!ops)
                abort();
        }
        ops[(*count)++] = r.op_no;
    }
    sim_free(os);
    return ops;
}

/* ---- histories ---- */

static void explore_history(void)
{
    uint64_t from = 1, *syncs;
    size_t sync_count, sync_at = 0;

    met_clear(&met_crash);
    met_clear(&met_nested);
    (void)run_monitored();
    syncs = sync_ops(&sync_count);
    while (from != 0 && !is_over()) {
        from = explore_window(from);
        while (!run.is_fixed && sync_at < 2 * sync_count &&
               run.sync_s < run.nested_share / 2 * elapsed() && !is_over()) {
            double begin = now_s();

            explore_failed_sync(syncs[(sync_at * 7) / 2 % sync_count], sync_at % 2);
            sync_at++;
            run.sync_s += now_s() - begin;
        }
    }
    for (sync_at = 0; run.is_fixed && sync_at < sync_count && !is_over(); sync_at += 9)
        explore_failed_sync(syncs[sync_at], sync_at % 2);
    free(syncs);
    run.histories++;
}

static bool next_history(void)
{
    if (is_over() || (run.is_fixed && run.seed == FIXED_TXNS))
        return false;
    run.seed = run.is_fixed ? FIXED_TXNS : run.seed + 1;
    return true;
}

static void print_summary(void)
{
    double s = elapsed();
    uint64_t states = run.states + run.nested_states + run.sync_states;
    uint64_t judged = run.distinct + run.nested + run.sync_distinct;

    printf("crash-explorer: histories %llu, states %llu, distinct %llu, nested %llu "
           "(depth 2: %llu, depth 3: %llu), after failed syncs %llu (of %llu syncs)\n",
           (unsigned long long)run.histories, (unsigned long long)states,
           (unsigned long long)run.distinct, (unsigned long long)run.nested,
           (unsigned long long)run.nested2, (unsigned long long)run.nested3,
           (unsigned long long)run.sync_distinct, (unsigned long long)run.syncs_failed);
    printf("crash-explorer: transactions prepared %llu, resolved %llu; spoiled blocks (M5) %llu, "
           "refused %llu; monitor: %llu removes, %llu renames, %llu answers\n",
           (unsigned long long)run.prepared, (unsigned long long)run.resolved,
           (unsigned long long)run.spoiled, (unsigned long long)run.refused,
           (unsigned long long)run.removes, (unsigned long long)run.switches,
           (unsigned long long)run.acks);
    printf("crash-explorer: %.1f s, %.0f states/s, %.0f judged/s; failures %u\n", s,
           (double)states / s, (double)judged / s, run.failures);
    printf(
        "tally: %llu disks made; %llu distinct crash states; %llu nested crash states; %llu after "
        "failed syncs; %llu histories; %llu prepared transactions; %u failures\n",
        (unsigned long long)states, (unsigned long long)run.distinct,
        (unsigned long long)run.nested, (unsigned long long)run.sync_distinct,
        (unsigned long long)run.histories, (unsigned long long)run.prepared, run.failures);
}

static void replay_failure(void)
{
    if (run.replay.steps == 0 && run.replay.sync_op == 0)
        (void)run_monitored();
    else if (run.replay.sync_op)
        explore_failed_sync(run.replay.sync_op, run.replay.reverts);
    else
        (void)explore_window(0);
}

static bool parse_replay(const char *text)
{
    unsigned long long seed, sync_op, op;
    unsigned index;
    int reverts, restarted, n = 0;

    if (sscanf(text, "%llu:%llu.%d.%d%n", &seed, &sync_op, &reverts, &restarted, &n) != 4)
        return false;
    run.seed = seed;
    run.replay.sync_op = sync_op;
    run.replay.reverts = reverts;
    run.replay.restarted = restarted;
    for (text += n; sscanf(text, "/%llu.%u%n", &op, &index, &n) == 2; text += n)
        if (run.replay.steps < PATH_MAX_STEP)
            run.replay.step[run.replay.steps++] = (struct step){op, index};
    run.is_replay = run.is_verbose = true;
    return *text == '\0';
}

int main(int argc, char **argv)
{
    bool ok = argc > 1;

    run.seed = 1;
    run.budget = 60;
    run.nested_share = 0.25;
    run.stride = getenv("ODB_TEST_STRIDE") ? strtoull(getenv("ODB_TEST_STRIDE"), NULL, 0) : 1;
    for (int i = 1; i < argc && ok; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--fixed") == 0) {
            run.is_fixed = true;
            run.seed = FIXED_SEED;
            continue;
        }
        i++;
        if (value && strcmp(argv[i - 1], "--budget") == 0)
            run.budget = strtod(value, NULL);
        else if (value && strcmp(argv[i - 1], "--seed") == 0)
            run.seed = strtoull(value, NULL, 0);
        else if (value && strcmp(argv[i - 1], "--nested") == 0)
            run.nested_share = strtod(value, NULL) / 100;
        else if (value && strcmp(argv[i - 1], "--expect") == 0)
            run.expect = strtoull(value, NULL, 0);
        else
            ok = value && strcmp(argv[i - 1], "--replay") == 0 && parse_replay(value);
    }
    if (!ok) {
        printf(
            "usage: crash_explorer --fixed [--expect N] | --budget SECONDS [--seed N] [--nested "
            "PERCENT] |\n"
            "                      [--fixed] --replay SEED:SYNC.REVERTS.RESTARTED[/OP.IMAGE]...\n");
        return 2;
    }
    test_alloc_keep_memory();
    if (!run.is_fixed && !run.is_replay)
        stop_when_told();
    run.started = now_s();
    if (run.is_replay)
        replay_failure();
    else
        do
            explore_history();
        while (next_history());
    print_summary();
    met_clear(&met_crash);
    met_clear(&met_nested);
    met_clear(&met_sync);
    if (run.expect && run.stride <= 1 && run.distinct * 5 < run.expect * 4) {
        printf("only %llu distinct states, %llu are recorded: has the explorer lost its eyes? If "
               "there is a reason, record the new number and say why\n",
               (unsigned long long)run.distinct, (unsigned long long)run.expect);
        return 1;
    }
    return run.failures ? 1 : 0;
}
