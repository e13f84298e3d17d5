/* os/sched.c -- threads that go on one at a time, in an order that a test chooses and can repeat.
 *
 *   real thread     root ----+ sched_run                                      +---- result
 *                            v                                                ^
 *   fiber 0 (main)           ===o---o==.. waits for 1 ..................======+
 *   fiber 1                            =====o                 o===end
 *   fiber 2                                  ====o--wait..signalled=
 *                               ^   ^       ^    ^
 *                               points: how.choose() says who goes on
 *
 * A data race needs two threads; that one of them is stopped at the right place is luck on a real
 * machine. Here every thread is a fiber with a stack of its own on one real thread, and a fiber is left
 * only at a point: before it takes a lock, when it waits or yields, and before each atomic operation of
 * the files that a test names. At a point a function of the test chooses among those who could go on.
 * Nothing else in a run is left to chance (disk, clock and random numbers are simulated as well), so
 * the list of choices is the schedule, and repeats it.
 *
 *   state       may go on when
 *   READY       at once
 *   WANTS       the mutex it wants has no owner
 *   JOINS       the thread it waits for has ended
 *   WAITS       a signal, its time or a wake without reason make it WANTS
 *   SLEEPS      its time makes it READY
 *   DONE, FREE  never
 *
 * 1. One fiber runs; `cur` is it. All state of the scheduler is touched by the running fiber alone.
 * 2. A thread that owns nothing and waits is told from one that is slow: when nobody may go on and no
 *    time is awaited, that is a deadlock, and the report says who waits where. A wait with a time
 *    limit hides the loss of its signal; so a limit that ends a wait on a condition while all else
 *    stands still is reported, too, unless the test allows it.
 * 3. Whoever yields says that it waits for others: it is not offered to go on for nothing while
 *    somebody else may. Without this every spin loop would be an endless run.
 * 4. Choices are numbered where more than one option exists, offered or not. Numbers thus do not depend
 *    on what sched_learn() has found out, and a schedule can be repeated by another process.
 * 5. Mutexes are points when taken. Giving one back is none: nobody can tell the moment, but by trying
 *    the lock; so those of the ranks in TRIED_RANKS are points there too, still owned.
 *
 * Orders that a machine with weak memory adds are not explored: the thread sanitizer looks for those.
 * Thread-local variables lie in one section (sched_points.h) that is saved and restored with its fiber.
 */
#include "os/os_sched.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "os/os_thread.h"

#if defined(__SANITIZE_ADDRESS__)
#define SCHED_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SCHED_ASAN 1
#endif
#endif
#ifdef SCHED_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_SIZE    ((size_t)512 << 10)
#define TLS_MAX       8192
#define STEPS_DEFAULT 1000000
#define STALLS_MAX    500  /* times in a row that only the clock moved */
#define RANK_GONE     (-1) /* of a mutex that was destroyed */
#define TRIED_RANKS   (UINT64_C(1) << RANK_SYNC)

int sched_patience = 1;

enum fiber_state {
    FIBER_FREE,
    FIBER_READY,
    FIBER_WANTS,
    FIBER_JOINS,
    FIBER_WAITS,
    FIBER_SLEEPS,
    FIBER_DONE
};

struct os_thread {
    ucontext_t context;
    char *stack;
    enum fiber_state state;
    uint8_t no;
    bool has_yielded;
    bool is_timed;     /* WAITS or SLEEPS until `deadline` */
    bool is_lingering; /* and nobody has to signal it */
    bool has_timed_out;
    uint64_t deadline;
    struct os_mutex *wants; /* WANTS, and WAITS: to be taken again */
    struct os_cond *waits;
    struct os_thread *next;         /* in waits->first */
    struct os_thread *const *joins; /* JOINS: all of these */
    unsigned join_count;
    struct os_mutex *held_top;
    const struct sched_site *site; /* where it is */
    void (*run)(void *arg);
    void *arg;
    char name[16];
    char tls[TLS_MAX];
#ifdef SCHED_ASAN
    void *fake_stack;
#endif
};

/* What was touched by whom in this run, by address. */
#define OBJECTS      8192
#define OBJECT_SITES 6

struct object {
    const volatile void *at;
    uint64_t run; /* in which this entry was made */
    uint8_t thread;
    bool is_shared, is_written, is_tried;
    uint8_t site_count;
    struct sched_site *site[OBJECT_SITES];
};

#define SITES_MAX 4096

static struct {
    struct sched_how how;
    struct sched_result *result;
    bool is_running;
    unsigned holds;
    struct os_thread *cur;
    struct os_thread fiber[SCHED_THREADS_MAX];
    ucontext_t root;
    uint64_t run_no;
    uint64_t now, stalls;
    unsigned alive;  /* threads that have not ended */
    unsigned fibers; /* the first so many were ever used in this run */
    uint32_t selection;
    char atomics[256], quiet[256]; /* files */
    void (*main_fn)(void *arg);
    void *main_arg;
#ifdef SCHED_ASAN
    void *root_fake;
    const void *root_bottom;
    size_t root_size;
#endif
    struct object object[OBJECTS];
    struct sched_site *known[SITES_MAX]; /* found to be shared since sched_forget() */
    unsigned known_count, learnt_count;  /* of these sched_learn() has marked the first ones */
    struct sched_choice choice;
} S;

static struct os_thread fiber_outside = {.state = FIBER_READY}; /* whoever is not in a run */

/* ---- fibers ---- */

extern char __start_sched_tls[] __attribute__((weak));
extern char __stop_sched_tls[] __attribute__((weak));

static struct os_thread *fiber_current(void)
{
    return S.is_running ? S.cur : &fiber_outside;
}

static size_t fiber_tls_size(void)
{
    size_t size = (size_t)(__stop_sched_tls - __start_sched_tls);

    assert(size <= TLS_MAX);
    return size;
}

#ifdef SCHED_ASAN
static void fiber_arrived(void)
{
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(S.cur->fake_stack, &bottom, &size);
    if (!S.root_bottom) {
        S.root_bottom = bottom;
        S.root_size = size;
    }
}
#endif

static void fiber_switch(struct os_thread *to)
{
    struct os_thread *from = S.cur;

    if (to == from)
        return;
    S.result->switches++;
    memcpy(from->tls, __start_sched_tls, fiber_tls_size());
    memcpy(__start_sched_tls, to->tls, fiber_tls_size());
    S.cur = to;
#ifdef SCHED_ASAN
    __sanitizer_start_switch_fiber(from->state == FIBER_DONE ? NULL : &from->fake_stack, to->stack,
                                   STACK_SIZE);
#endif
    (void)swapcontext(&from->context, &to->context);
#ifdef SCHED_ASAN
    fiber_arrived();
#endif
}

/* Leave the run for good. */
static _Noreturn void fiber_leave(enum sched_verdict verdict)
{
    S.result->verdict = verdict;
    S.is_running = false;
#ifdef SCHED_ASAN
    __sanitizer_start_switch_fiber(NULL, S.root_bottom, S.root_size);
#endif
    (void)setcontext(&S.root);
    abort();
}

static void sched_decide(unsigned mode);
enum { MAY_STAY, YIELDS, BLOCKED };

static void fiber_main(void)
{
    struct os_thread *t = S.cur;

#ifdef SCHED_ASAN
    fiber_arrived();
#endif
    t->run(t->arg);
    assert(!t->held_top);
    t->state = FIBER_DONE;
    S.alive--;
    if (t->no != 0)
        sched_decide(BLOCKED);
    for (unsigned i = 1; i < SCHED_THREADS_MAX; i++)
        if (S.fiber[i].state != FIBER_FREE) {
            (void)snprintf(S.result->text, sizeof S.result->text, "thread %u (%s) was left behind",
                           i, S.fiber[i].name);
            fiber_leave(SCHED_LEFT);
        }
    fiber_leave(SCHED_OK);
}

static void fiber_prepare(struct os_thread *t, unsigned no)
{
    char *stack = t->stack;

    if (!stack) {
        stack = mmap(NULL, STACK_SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
        if (stack == MAP_FAILED)
            abort();
        (void)mprotect(stack, 4096, PROT_NONE); /* whoever runs over gets a signal */
        stack += 4096;
    }
    memset((void *)t, 0, offsetof(struct os_thread, tls));
    memset(t->tls, 0, fiber_tls_size());
#ifdef SCHED_ASAN
    t->fake_stack = NULL;
#endif
    t->stack = stack;
    t->no = (uint8_t)no;
    t->state = FIBER_READY;
    (void)getcontext(&t->context);
    t->context.uc_stack.ss_sp = stack;
    t->context.uc_stack.ss_size = STACK_SIZE;
    t->context.uc_link = NULL;
    makecontext(&t->context, fiber_main, 0);
}

static bool fiber_may_go(const struct os_thread *t)
{
    switch (t->state) {
    case FIBER_READY: return true;
    case FIBER_WANTS: return !t->wants->owner;
    case FIBER_JOINS:
        for (unsigned i = 0; i < t->join_count; i++)
            if (t->joins[i]->state != FIBER_DONE)
                return false;
        return true;
    default: return false;
    }
}

/* ---- reports ---- */

static const char *site_file(const struct sched_site *s)
{
    const char *cut = strrchr(s->file, '/');
    const char *before = cut;

    while (before && before > s->file && before[-1] != '/')
        before--;
    return before ? before : s->file;
}

static void report_threads(void)
{
    size_t len = strlen(S.result->text), room = sizeof S.result->text;

    for (unsigned i = 0; i < SCHED_THREADS_MAX; i++) {
        const struct os_thread *t = &S.fiber[i];
        static const char *const word[] = {"",
                                           "could go on",
                                           "wants a lock",
                                           "waits for the end of another",
                                           "waits for a signal",
                                           "sleeps",
                                           "has ended"};

        if (t->state == FIBER_FREE || len >= room)
            continue;
        len += (size_t)snprintf(S.result->text + len, room - len, "\n        thread %u (%s) %s", i,
                                t->no == 0 ? "main" : t->name, word[t->state]);
        if (t->site && len < room)
            len += (size_t)snprintf(S.result->text + len, room - len, " at %s:%d",
                                    site_file(t->site), t->site->line);
        if (t->state == FIBER_WANTS && len < room)
            len += (size_t)snprintf(S.result->text + len, room - len, ", rank %d%s", t->wants->rank,
                                    t->wants->owner ? "" : ", which is free");
        if (t->state == FIBER_WANTS && t->wants->owner && len < room)
            len += (size_t)snprintf(S.result->text + len, room - len, ", of thread %u",
                                    t->wants->owner->no);
    }
}

static _Noreturn void fiber_give_up(enum sched_verdict verdict, const char *why)
{
    (void)snprintf(S.result->text, sizeof S.result->text, "%s", why);
    report_threads();
    fiber_leave(verdict);
}

void sched_fail(const char *fmt, ...)
{
    va_list args;

    if (!S.is_running) {
        va_start(args, fmt);
        (void)vfprintf(stderr, fmt, args);
        va_end(args);
        (void)fputc('\n', stderr);
        abort();
    }
    va_start(args, fmt);
    (void)vsnprintf(S.result->text, sizeof S.result->text, fmt, args);
    va_end(args);
    report_threads();
    fiber_leave(SCHED_FAILED);
}

bool sched_is_running(void)
{
    return S.is_running;
}

/* ---- sites ---- */

static bool site_is_in(const struct sched_site *site, const char *list)
{
    const char *cut = strrchr(site->file, '/');
    char name[64];

    (void)snprintf(name, sizeof name, " %s ", cut ? cut + 1 : site->file);
    return strstr(list, name) != NULL;
}

/* Look once for each selection whether the test names this file. */
static bool site_is_named(struct sched_site *site)
{
    site->selection = S.selection;
    site->is_on = site_is_in(site, S.atomics);
    site->is_quiet = site_is_in(site, S.quiet);
    return site->is_on;
}

/* Whether to ask at all (4). */
static bool site_is_offered(struct sched_site *site)
{
    if (!S.how.only_shared)
        return true;
    if (site->selection != S.selection)
        (void)site_is_named(site);
    return site->is_shared && !site->is_quiet;
}

/* ---- who goes on ---- */

static void option_add(struct sched_choice *c, const struct os_thread *t, enum sched_what what,
                       unsigned cost)
{
    struct sched_option *o = &c->option[c->count++];

    o->thread = t->no;
    o->what = (uint8_t)what;
    o->cost = (uint8_t)cost;
}

static const struct sched_option *option_choose(struct sched_choice *c)
{
    uint32_t i;

    c->running = S.cur->no;
    c->site = S.cur->site;
    c->no = S.result->choices++;
    i = S.how.choose(S.how.arg, c);
    if (i >= c->count)
        fiber_give_up(SCHED_FAILED, "the schedule does not fit: no such option");
    return &c->option[i];
}

static void cond_forget(struct os_thread *t)
{
    struct os_thread **at = &t->waits->first;

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    t->next = NULL;
    t->waits = NULL;
    t->is_timed = false;
    t->state = FIBER_WANTS;
}

static void timer_fire(struct os_thread *t)
{
    uint64_t ns = t->deadline > S.now ? t->deadline - S.now : 0;

    S.now += ns;
    if (ns && S.how.passed) {
        S.holds++;
        S.how.passed(S.how.arg, ns);
        S.holds--;
    }
    t->has_timed_out = true;
    if (t->state == FIBER_WAITS) {
        cond_forget(t);
    } else {
        t->is_timed = false;
        t->state = FIBER_READY;
    }
}

static struct os_thread *timer_next(void)
{
    struct os_thread *first = NULL;

    for (unsigned i = 0; i < S.fibers; i++) {
        struct os_thread *t = &S.fiber[i];

        if ((t->state == FIBER_WAITS || t->state == FIBER_SLEEPS) && t->is_timed &&
            (!first || t->deadline < first->deadline))
            first = t;
    }
    return first;
}

/* Nobody may go on: let the time come that somebody waits for. */
static void sched_stall(void)
{
    struct os_thread *t = timer_next();

    if (!t)
        fiber_give_up(SCHED_DEADLOCK, "deadlock: nobody can go on");
    if (t->state == FIBER_WAITS && !S.how.may_time_out && !t->is_lingering)
        fiber_give_up(SCHED_DEADLOCK,
                      "a signal was lost: nobody can go on but by the end of a wait with a limit");
    if (++S.stalls > STALLS_MAX)
        fiber_give_up(SCHED_ENDLESS, "endless: only the clock moves");
    timer_fire(t);
}

/* The options of a thread that could stay (MAY_STAY), would rather not (YIELDS), or cannot (BLOCKED). */
static void options_collect(struct sched_choice *c, unsigned mode)
{
    const struct os_thread *cur = S.cur;

    c->count = 0;
    c->is_yield = mode == YIELDS;
    if (mode == MAY_STAY)
        option_add(c, cur, SCHED_GO, 0);
    for (int yielded = 0; yielded < 2;
         yielded++) /* those who only look whether something happened: last */
        for (unsigned i = 1; i < S.fibers + (mode == BLOCKED); i++) {
            const struct os_thread *t = &S.fiber[(cur->no + i) % S.fibers];

            if (t->has_yielded == (yielded == 1) && fiber_may_go(t))
                option_add(c, t, SCHED_GO, mode == BLOCKED || c->count == 0 ? 0 : 1);
        }
    if (c->count == 0)
        return;
    if (mode == YIELDS)
        option_add(c, cur, SCHED_GO, 1);
    for (unsigned i = 0; i < S.fibers; i++) {
        const struct os_thread *t = &S.fiber[i];

        if (t->state == FIBER_SLEEPS ||
            (t->state == FIBER_WAITS && t->is_timed && S.how.may_time_out))
            option_add(c, t, SCHED_TIMER, 1);
    }
    for (unsigned i = 0; S.how.may_wake && i < S.fibers; i++)
        if (S.fiber[i].state == FIBER_WAITS)
            option_add(c, &S.fiber[i], SCHED_WAKE, 1);
}

static void sched_decide(unsigned mode)
{
    struct sched_choice *c = &S.choice;

    for (;;) {
        const struct sched_option *o = &c->option[0];
        struct os_thread *t;

        options_collect(c, mode);
        if (c->count == 0) {
            t = timer_next();
            if (mode != BLOCKED && (!t || t->state != FIBER_SLEEPS) && ++S.stalls <= STALLS_MAX)
                return; /* alone: whoever yields to nobody goes on */
            sched_stall();
            continue;
        }
        S.stalls = 0;
        if (c->count > 1) {
            if (mode == MAY_STAY && !site_is_offered((struct sched_site *)(uintptr_t)S.cur->site))
                S.result->choices++; /* it has a number all the same (4) */
            else
                o = option_choose(c);
        }
        t = &S.fiber[o->thread];
        if (o->what == SCHED_TIMER)
            timer_fire(t);
        else if (o->what == SCHED_WAKE)
            cond_forget(t);
        if (!fiber_may_go(t))
            continue; /* awake, and wants a lock that somebody has */
        S.cur->has_yielded = mode == YIELDS && t != S.cur;
        t->has_yielded = false;
        fiber_switch(t);
        return;
    }
}

/* ---- what is shared ---- */

static struct object *object_find(const volatile void *at)
{
    uint64_t h = (uint64_t)(uintptr_t)at * UINT64_C(0x9e3779b97f4a7c15);

    for (unsigned i = (unsigned)(h >> 51), n = 0; n < 64; i++, n++) {
        struct object *o = &S.object[i % OBJECTS];

        if (o->run != S.run_no) {
            memset(o, 0, sizeof *o);
            o->run = S.run_no;
            o->at = at;
            o->thread = S.cur->no;
            return o;
        }
        if (o->at == at)
            return o;
    }
    return NULL;
}

static void site_found(struct sched_site *s)
{
    if (s->is_known || S.known_count == SITES_MAX)
        return;
    s->is_known = true;
    S.known[S.known_count++] = s;
}

static void object_note(struct sched_site *site, const volatile void *at, bool is_write)
{
    struct object *o = object_find(at);
    unsigned i = 0;

    if (!o) {
        site_found(site); /* the table is full: to be on the safe side */
        return;
    }
    o->is_shared |= o->thread != S.cur->no;
    o->is_written |= is_write;
    o->is_tried |= site->kind == SCHED_TRYLOCK;
    while (i < o->site_count && o->site[i] != site)
        i++;
    if (i == o->site_count) {
        if (i == OBJECT_SITES)
            site_found(site);
        else
            o->site[o->site_count++] = site;
    }
    if (o->is_shared && o->is_written)
        for (i = 0; i < o->site_count; i++)
            site_found(o->site[i]);
}

unsigned sched_learn(void)
{
    unsigned count = S.known_count - S.learnt_count;

    while (S.learnt_count < S.known_count)
        S.known[S.learnt_count++]->is_shared = true;
    return count;
}

void sched_forget(void)
{
    while (S.known_count > 0) {
        struct sched_site *s = S.known[--S.known_count];

        s->is_known = s->is_shared = false;
    }
    S.learnt_count = 0;
}

/* ---- points ---- */

static void sched_check_memory(struct sched_site *site, const volatile void *what)
{
    if (S.how.is_freed && S.how.is_freed(what)) {
        S.cur->site = site;
        sched_fail("%s:%d uses memory that was freed", site_file(site), site->line);
    }
}

/* The running thread is about to touch `at`. */
static void sched_point(struct sched_site *site, const volatile void *at, bool is_write)
{
    uint64_t mark;

    if (site->kind < SCHED_READ)
        sched_check_memory(site, at);
    mark = (uint64_t)site->line * 31 + site->kind * 7 + S.cur->no;

    S.cur->site = site;
    S.result->points++;
    S.result->trace = (S.result->trace ^ mark) * UINT64_C(0x100000001b3);
    if (S.result->points > S.how.steps_max)
        fiber_give_up(SCHED_ENDLESS, "endless: too many steps");
    if (S.alive == 1)
        return; /* and what it touches now is shared with nobody */
    object_note(site, at, is_write);
    sched_decide(MAY_STAY);
}

static bool sched_is_idle(void)
{
    return !S.is_running || S.holds > 0;
}

void sched_at(struct sched_site *site)
{
    fiber_current()->site = site;
}

void sched_touch(struct sched_site *site, const volatile void *what)
{
    if (sched_is_idle())
        return;
    sched_check_memory(site, what);
    if (site->selection == S.selection ? site->is_on : site_is_named(site))
        sched_point(site, what, site->kind == SCHED_WRITE);
}

void sched_hold(void)
{
    S.holds++;
}

void sched_release(void)
{
    S.holds--;
}

unsigned sched_self(void)
{
    return fiber_current()->no;
}

uint64_t sched_points(void)
{
    return S.result->points;
}

uint64_t sched_now(void)
{
    return S.now;
}

/* base/status.c tells threads apart by the place of what is thread-local; here all of it has one place. The
 * linker puts this in its stead (--wrap). */
size_t __wrap_thread_stripe(void);
size_t __wrap_thread_stripe(void)
{
    return fiber_current()->no;
}

/* ---- a run ---- */

void sched_run(void (*main_fn)(void *arg), void *arg, const struct sched_how *how,
               struct sched_result *out)
{
    struct os_thread *t = &S.fiber[0];
    volatile bool is_over = false;

    assert(!S.is_running);
    memset(out, 0, offsetof(struct sched_result, text));
    out->text[0] = 0;
    out->trace = UINT64_C(0xcbf29ce484222325);
    S.how = *how;
    if (!S.how.steps_max)
        S.how.steps_max = STEPS_DEFAULT;
    if (!S.how.atomics)
        S.how.atomics = "";
    if (!S.how.quiet)
        S.how.quiet = "";
    if (S.selection == 0 || strcmp(S.how.atomics, S.atomics) != 0 ||
        strcmp(S.how.quiet, S.quiet) != 0) {
        (void)snprintf(S.atomics, sizeof S.atomics, "%s", S.how.atomics);
        (void)snprintf(S.quiet, sizeof S.quiet, "%s", S.how.quiet);
        S.selection++;
    }
    S.result = out;
    S.holds = 0;
    S.now = S.stalls = 0;
    S.alive = S.fibers = 1;
    S.run_no++;
    for (unsigned i = 1; i < SCHED_THREADS_MAX; i++)
        S.fiber[i].state = FIBER_FREE;
    fiber_prepare(t, 0);
    t->run = main_fn;
    t->arg = arg;
    S.cur = t;
    S.is_running = true;
    (void)getcontext(&S.root); /* comes back a second time, from fiber_leave */
    if (is_over) {
#ifdef SCHED_ASAN
        __sanitizer_finish_switch_fiber(S.root_fake, NULL, NULL);
#endif
        return;
    }
    is_over = true;
#ifdef SCHED_ASAN
    S.root_bottom = NULL;
    __sanitizer_start_switch_fiber(&S.root_fake, t->stack, STACK_SIZE);
#endif
    (void)setcontext(&t->context);
    abort();
}

/* ---- os_thread.h ---- */

static bool fiber_rank_rises(const struct os_thread *t, const struct os_mutex *m)
{
    for (const struct os_mutex *h = t->held_top; h; h = h->below)
        if (h->rank >= m->rank)
            return false;
    return true;
}

static void fiber_takes(struct os_thread *t, struct os_mutex *m)
{
    m->owner = t;
    m->below = t->held_top;
    t->held_top = m;
}

static void fiber_gives(struct os_thread *t, struct os_mutex *m)
{
    struct os_mutex **h = &t->held_top;

    assert(m->owner == t);
    while (*h != m)
        h = &(*h)->below;
    *h = m->below;
    m->below = NULL;
    m->owner = NULL;
}

bool os_mutex_held(const struct os_mutex *m)
{
    return m->owner == fiber_current();
}

void os_mutex_init(struct os_mutex *m, enum lock_rank rank)
{
    memset((void *)m, 0, sizeof *m);
    m->rank = (int)rank;
}

void os_mutex_destroy(struct os_mutex *m)
{
    assert(!m->owner);
    m->rank = RANK_GONE;
}

/* Called from files without sched_points.h (the simulated disk), a lock is where its caller is. */
static struct sched_site *fiber_site(enum sched_kind kind)
{
    static struct sched_site unknown[2] = {{.file = "os/sim", .line = 1, .kind = SCHED_LOCK},
                                           {.file = "os/sim", .line = 2, .kind = SCHED_TRYLOCK}};
    const struct sched_site *here = S.cur->site;

    if (here && here->kind == (uint8_t)kind)
        return (struct sched_site *)(uintptr_t)here;
    return &unknown[kind == SCHED_TRYLOCK];
}

ODB_UNCHECKED void os_mutex_lock(struct os_mutex *m)
{
    struct os_thread *t = fiber_current();

    if (m->rank == RANK_GONE)
        sched_fail("a lock is taken that was destroyed");
    assert(fiber_rank_rises(t, m)); /* docs/locks.md: lower ranks first */
    if (!sched_is_idle())
        sched_point(fiber_site(SCHED_LOCK), m, true);
    if (m->owner) {
        assert(!sched_is_idle());
        t->wants = m;
        t->state = FIBER_WANTS;
        sched_decide(BLOCKED);
        t->state = FIBER_READY;
    }
    fiber_takes(t, m);
}

bool os_mutex_trylock(struct os_mutex *m)
{
    struct os_thread *t = fiber_current();

    assert(TRIED_RANKS >> (m->rank & 63) & 1 && m->rank < 64); /* else add the rank there */
    if (!sched_is_idle())
        sched_point(fiber_site(SCHED_TRYLOCK), m, true);
    if (m->owner)
        return false;
    fiber_takes(t, m);
    return true;
}

ODB_UNCHECKED void os_mutex_unlock(struct os_mutex *m)
{
    struct os_thread *t = fiber_current();
    const struct sched_site *here = t->site;

    if (!sched_is_idle() && m->rank < 64 && TRIED_RANKS >> m->rank & 1 && here &&
        here->kind == SCHED_UNLOCK)
        sched_point((struct sched_site *)(uintptr_t)here, m, true);
    fiber_gives(t, m);
}

void os_cond_init(struct os_cond *c)
{
    c->first = NULL;
}

static struct os_thread fiber_gone; /* heads the waiters of a condition that was destroyed */

void os_cond_destroy(struct os_cond *c)
{
    assert(!c->first);
    c->first = &fiber_gone;
}

static void cond_check(const struct os_cond *c)
{
    if (c->first == &fiber_gone)
        sched_fail("a condition is used that was destroyed");
}

static void cond_sleep(struct os_thread *t, struct os_cond *c, struct os_mutex *m)
{
    struct os_thread **at = &c->first;

    if (sched_is_idle())
        sched_fail("a wait where nobody else can go on");
    cond_check(c);
    fiber_gives(t, m);
    assert(fiber_rank_rises(t, m)); /* it is taken again at the end */
    S.result->points++;
    while (*at)
        at = &(*at)->next;
    *at = t;
    t->next = NULL;
    t->waits = c;
    t->wants = m;
    t->has_timed_out = false;
    t->state = FIBER_WAITS;
    sched_decide(BLOCKED);
    t->state = FIBER_READY;
    fiber_takes(t, m);
}

ODB_UNCHECKED void os_cond_wait(struct os_cond *c, struct os_mutex *m)
{
    struct os_thread *t = fiber_current();

    t->is_timed = false;
    cond_sleep(t, c, m);
}

ODB_UNCHECKED bool os_cond_wait_for(struct os_cond *c, struct os_mutex *m, uint64_t ns)
{
    struct os_thread *t = fiber_current();

    t->is_timed = true;
    t->deadline = ns > UINT64_MAX - S.now ? UINT64_MAX : S.now + ns;
    cond_sleep(t, c, m);
    t->is_timed = false;
    return !t->has_timed_out;
}

ODB_UNCHECKED bool os_cond_linger(struct os_cond *c, struct os_mutex *m, uint64_t ns)
{
    struct os_thread *t = fiber_current();
    bool was_signalled;

    t->is_lingering = true;
    was_signalled = os_cond_wait_for(c, m, ns);
    t->is_lingering = false;
    return was_signalled;
}

/* Signals are points where they are given without a lock, and change who may go on where with one. */
void os_cond_signal(struct os_cond *c)
{
    struct sched_choice *o = &S.choice;
    struct os_thread *t = c->first;

    if (sched_is_idle())
        return;
    S.result->points++;
    object_note(fiber_site(SCHED_SIGNAL), c, true);
    if (!S.cur->held_top)
        sched_decide(MAY_STAY);
    cond_check(c);
    t = c->first;
    if (!t)
        return;
    if (t->next) { /* nobody promises an order */
        o->count = 0;
        o->is_yield = false;
        for (; t; t = t->next)
            option_add(o, t, SCHED_PICK, o->count > 0);
        t = &S.fiber[option_choose(o)->thread];
    }
    cond_forget(t);
}

void os_cond_broadcast(struct os_cond *c)
{
    if (sched_is_idle())
        return;
    S.result->points++;
    object_note(fiber_site(SCHED_SIGNAL), c, true);
    if (!S.cur->held_top)
        sched_decide(MAY_STAY);
    cond_check(c);
    while (c->first)
        cond_forget(c->first);
}

odb_status os_thread_start(const char *name, void (*run)(void *arg), void *arg,
                           struct os_thread **out)
{
    unsigned i = 1;

    if (sched_is_idle())
        return err_set(ODB_LIMIT, "start thread %s: not in a run of the scheduler", name);
    while (i < SCHED_THREADS_MAX && S.fiber[i].state != FIBER_FREE)
        i++;
    if (i == SCHED_THREADS_MAX)
        return err_set(ODB_LIMIT, "start thread %s: %d is the most", name, SCHED_THREADS_MAX);
    fiber_prepare(&S.fiber[i], i);
    S.fiber[i].run = run;
    S.fiber[i].arg = arg;
    (void)snprintf(S.fiber[i].name, sizeof S.fiber[i].name, "%s", name);
    S.alive++;
    if (S.fibers <= i)
        S.fibers = i + 1;
    *out = &S.fiber[i];
    return ODB_OK;
}

void sched_join(struct os_thread *const *t, unsigned count)
{
    struct os_thread *cur = fiber_current();

    cur->joins = t;
    cur->join_count = count;
    cur->state = FIBER_JOINS;
    if (!fiber_may_go(cur))
        sched_decide(BLOCKED);
    cur->state = FIBER_READY;
    for (unsigned i = 0; i < count; i++)
        t[i]->state = FIBER_FREE;
}

void os_thread_join(struct os_thread *t)
{
    if (t)
        sched_join(&t, 1);
}

void os_thread_yield(void)
{
    if (sched_is_idle())
        return;
    S.result->points++;
    S.result->trace = (S.result->trace ^ S.cur->no) * UINT64_C(0x100000001b3);
    if (S.result->points > S.how.steps_max)
        fiber_give_up(SCHED_ENDLESS, "endless: too many steps");
    sched_decide(YIELDS);
}

void os_cpu_relax(void)
{
    os_thread_yield();
}

void os_thread_sleep(uint64_t ns)
{
    struct os_thread *t = fiber_current();

    if (sched_is_idle())
        return;
    S.result->points++;
    t->is_timed = true;
    t->deadline = ns > UINT64_MAX - S.now ? UINT64_MAX : S.now + ns;
    t->state = FIBER_SLEEPS;
    sched_decide(BLOCKED);
    t->state = FIBER_READY;
}

uint64_t os_thread_cpu_ns(void)
{
    return 0;
}
