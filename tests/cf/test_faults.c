/* tests/cf/test_faults.c -- every call to the outside fails once, for ever, or for a while; every
 * request for memory fails; while the database works and while it recovers: what was answered stays
 * true (P5, P6, P7, P16).
 *
 *      OK  <-->  SOFT (no space, memory or descriptors)         the only steps between these there are;
 *       \________ | ________________________ READONLY           out of READONLY leads a new open alone
 *
 *   ODB_TEST_SEED    another history
 *   ODB_TEST_STRIDE  every so many operations only (1: all, also of those tests that otherwise take
 *                    every fifth)
 *   ODB_TEST_ONLY    tests whose names match, as P05*
 */
#include "tests/cf/workload.h"

#define TXNS       60
#define REASON_MAX 512

static struct workload work;
static uint64_t seed_used;

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- calls that fail ---- */

struct fault {
    uint64_t at;    /* the operation */
    bool is_sticky; /* and all after it */
    uint64_t until; /* but none from here on; 0: no end */
    odb_status st;
    bool hit;
    bool hit_sync; /* a sync was among them: what was acknowledged before may be lost to power */
    bool only_mutating; /* a full disk does not fail reads */
    bool is_over;
    bool is_paused; /* while the test itself looks */
};

static struct fault *fault_now;

static odb_status inject(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    struct fault *f = arg;

    (void)name;
    if (f->is_over || f->is_paused || op == SIM_RING_STORE ||
        (f->is_sticky ? op_no < f->at : op_no != f->at) || (f->until && op_no >= f->until) ||
        (f->only_mutating && (!sim_op_mutates(op) || op == SIM_REMOVE || op == SIM_TRUNCATE)))
        return ODB_OK;
    f->hit = true;
    f->hit_sync |= op == SIM_SYNC || op == SIM_DIR_SYNC;
    return err_set(f->st, "made to fail: %s, operation %llu", sim_op_name(op),
                   (unsigned long long)op_no);
}

/* What can be read through the open set is what was committed. */
static void readers_see_what_was_committed(const char *when)
{
    char why[REASON_MAX];
    struct promise p = work.p;
    uint32_t k;

    if (!work.s)
        return;
    if (work.unknown)
        p.started--; /* the last one shows or not; here it does not */
    memcpy(p.may, (bool[FAMILIES]){true, true, true, true, true, true}, sizeof p.may);
    memset(p.must, 0, sizeof p.must);
    if (fault_now)
        fault_now->is_paused = true;
    if (!set_matches(work.s, &work, &p, p.acked, &k, why))
        fail_msg("op %llu, %s: %s", fault_now ? (unsigned long long)fault_now->at : 0, when, why);
    if (fault_now)
        fault_now->is_paused = false;
}

/* Drop what an unfinished family change left unclear: a later life may have it either way. */
static void reopen_and_judge(struct os *disk, enum sim_model model, uint32_t least, const char *how,
                             const struct fault *f)
{
    struct os *os = sim_image(disk, model, f->at);
    struct cf_set_options o = workload_options(os);
    char why[REASON_MAX] = "";
    struct cf_set *s = NULL;
    odb_status st = cf_open(DB, &o, &s);
    uint32_t k = 0;
    bool ok = st == ODB_OK && set_matches(s, &work, &work.p, least, &k, why);

    if (st == ODB_OK) {
        if (ok)
            st = cf_verify(s, NULL, NULL);
        err_ignore(cf_close(s));
    }
    if (!ok || st != ODB_OK)
        fail_msg("seed %llu, op %llu fails with %s%s, %s: %s %s %s", (unsigned long long)seed_used,
                 (unsigned long long)f->at, odb_status_name(f->st), f->is_sticky ? " for ever" : "",
                 how, why, odb_status_name(st), odb_error_text());
    sim_free(os);
}

/* The handle's state, and whether it may have come to it. */
struct state_watch {
    struct cf_set *of; /* another handle begins anew */
    odb_status was;
};

static bool is_soft_state(odb_status st)
{
    return st == ODB_OK || st == ODB_NOSPACE || st == ODB_NOMEM || st == ODB_LIMIT;
}

static void state_is_legal(struct state_watch *w)
{
    struct cf_write how = {.durability = CF_OS};
    odb_status now = work.s ? cf_health(work.s) : ODB_OK;

    if (w->of == work.s && work.s && !is_soft_state(w->was)) {
        if (now != w->was)
            fail_msg("op %llu: %s became %s on the same handle",
                     fault_now ? (unsigned long long)fault_now->at : 0, odb_status_name(w->was),
                     odb_status_name(now));
        if (cf_put(work.s, work.cf[0], odb_s("zzz"), odb_s("no"), &how) != ODB_READONLY ||
            cf_resume(work.s) == ODB_OK)
            fail_msg("op %llu: a set that is read-only took a write or resumed",
                     fault_now ? (unsigned long long)fault_now->at : 0);
    }
    w->of = work.s;
    w->was = now;
}

static void go_on_after(struct fault *f)
{
    unsigned after = 0;
    struct state_watch watch = {NULL, ODB_OK};
    odb_status st = workload_open(&work);

    for (int tries = 0; st != ODB_OK && tries < 3; tries++) {
        assert_true(f->hit);
        workload_end(&work);
        f->is_over = true; /* an open that failed must be possible once the cause is gone */
        st = workload_open(&work);
    }
    if (st != ODB_OK)
        fail_msg("op %llu: the next open: %s: %s", (unsigned long long)f->at, odb_status_name(st),
                 odb_error_text());
    while (work.p.started < TXNS && !work.unknown && work.s && after < 30) {
        st = workload_step(&work);
        after += f->hit;
        if (st != ODB_OK && !f->hit)
            fail_msg("nothing failed, yet %s: %s", odb_status_name(st), odb_error_text());
        if (st != ODB_OK && work.s && cf_health(work.s) != ODB_OK)
            readers_see_what_was_committed("after a failure");
        state_is_legal(&watch);
        if (st == ODB_UNKNOWN || st == ODB_READONLY)
            break;
    }
    state_is_legal(&watch);
}

/* Space is back, on the same handle. */
static void heals(struct fault *f)
{
    odb_status st;

    f->is_over = true;
    if (!work.s || f->st != ODB_NOSPACE || f->hit_sync || work.unknown)
        return;
    st = cf_resume(work.s);
    if (st == ODB_UNKNOWN || st == ODB_READONLY)
        return;
    if (st != ODB_OK)
        fail_msg("op %llu: with space again: %s: %s", (unsigned long long)f->at,
                 odb_status_name(st), odb_error_text());
    for (int i = 0; i < 5 && work.p.started < TXNS_MAX; i++)
        assert_int_equal(workload_txn(&work), ODB_OK);
    assert_int_equal(cf_flush(work.s, NULL), ODB_OK);
    work.p.durable = work.p.acked;
    readers_see_what_was_committed("with space again");
}

static void run_with(struct fault *f)
{
    struct os *os = sim_new(7);
    uint32_t durable;

    workload_begin(&work, os, seed_used, TXNS);
    work.may_fail = true;
    fault_now = f;
    sim_set_failed_sync_reverts(os, f->at % 2);
    sim_set_fault(os, inject, f);
    go_on_after(f);
    readers_see_what_was_committed("in the end");
    heals(f);
    durable = work.p.durable;
    reopen_and_judge(os, SIM_M1, f->hit_sync ? durable : work.p.acked, "then the process dies", f);
    reopen_and_judge(os, SIM_M0, durable, "then the power goes", f);
    reopen_and_judge(os, SIM_M4, durable, "then the power goes, oddly", f);
    workload_end(&work);
    reopen_and_judge(os, SIM_M1, f->hit_sync ? durable : work.p.acked, "then it is closed", f);
    fault_now = NULL;
    sim_set_fault(os, NULL, NULL);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
}

static uint64_t count_operations(void)
{
    struct os *os = sim_new(7);
    uint64_t ops;

    workload_begin(&work, os, seed_used, TXNS);
    workload_run(&work);
    assert_int_equal(work.st, ODB_OK);
    ops = sim_op_count(os);
    sim_free(os);
    return ops;
}

/* `during`: so many calls fail; 0: all that follow. */
static void calls_that_fail(odb_status st, bool is_sticky, uint64_t during)
{
    uint64_t stride = env_number("ODB_TEST_STRIDE", during ? 5 : 1), ops = count_operations();
    unsigned hits = 0;

    for (uint64_t at = 1; at <= ops; at += stride) {
        struct fault f = {
            .at = at, .is_sticky = is_sticky, .st = st, .only_mutating = st == ODB_NOSPACE};

        f.until = during ? at + during : 0;
        run_with(&f);
        hits += f.hit;
    }
    print_message("%u of %llu operations failed\n", hits, (unsigned long long)ops);
}

static void every_call_that_fails(odb_status st, bool is_sticky)
{
    calls_that_fail(st, is_sticky, 0);
}

static void P05_an_io_error_once_breaks_no_promise(void **state)
{
    (void)state;
    every_call_that_fails(ODB_IO, false);
}

static void io_errors_for_ever_break_no_promise(void **state)
{
    (void)state;
    every_call_that_fails(ODB_IO, true);
}

static void no_space_once_breaks_no_promise(void **state)
{
    (void)state;
    every_call_that_fails(ODB_NOSPACE, false);
}

static void no_space_for_a_while_breaks_no_promise_and_heals(void **state)
{
    (void)state;
    every_call_that_fails(ODB_NOSPACE, true);
}

static void out_of_descriptors_once_breaks_no_promise(void **state)
{
    (void)state;
    every_call_that_fails(ODB_LIMIT, false);
}

static void io_errors_for_a_while_break_no_promise(void **state)
{
    (void)state;
    calls_that_fail(ODB_IO, true, 9);
}

static void no_descriptors_for_a_while_break_no_promise(void **state)
{
    (void)state;
    calls_that_fail(ODB_LIMIT, true, 9);
}

static void what_is_denied_for_a_while_breaks_no_promise(void **state)
{
    (void)state;
    calls_that_fail(ODB_DENIED, true, 9);
}

/* ---- recoveries that meet failures ---- */

/* What a process leaves that dies in the middle of its work, and what it claims to be. */
static struct os *make_dirty(enum sim_model model, uint32_t *k)
{
    struct os *os = sim_new(7), *image, *copy;
    struct cf_set_options o;
    struct cf_set *s = NULL;
    struct cf *cf[FAMILIES];
    char why[REASON_MAX] = "";

    workload_begin(&work, os, seed_used, TXNS);
    work.st = workload_open(&work);
    while (work.st == ODB_OK && work.p.started < TXNS - 3)
        work.st = workload_step(&work);
    image = sim_image(os, model, 11);
    workload_end(&work);
    sim_free(os);
    copy = sim_image(image, SIM_M1, 0);
    o = workload_options(copy);
    assert_int_equal(cf_open(DB, &o, &s), ODB_OK);
    assert_int_equal(workload_find(s, cf), ODB_OK);
    assert_true(claimed_prefix(s, cf[0], k, why));
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(copy);
    return image;
}

/* Exactly `k`, whatever became of the open before. */
static void recovers_to(struct os *disk, uint32_t k, const char *how, const struct fault *f)
{
    struct promise p = work.p;
    struct cf_set_options o = workload_options(disk);
    struct cf_set *s = NULL;
    char why[REASON_MAX] = "";
    uint32_t found = 0;
    odb_status st = cf_open(DB, &o, &s);

    p.started = k;
    if (st != ODB_OK || !set_matches(s, &work, &p, k, &found, why))
        fail_msg("seed %llu, recovery's op %llu fails with %s, %s: %s %s",
                 (unsigned long long)seed_used, (unsigned long long)f->at, odb_status_name(f->st),
                 how, why, st == ODB_OK ? "" : odb_error_text());
    assert_int_equal(cf_close(s), ODB_OK);
}

static void recover_with(struct os *dirty, uint32_t k, struct fault *f)
{
    struct os *os = sim_image(dirty, SIM_M1, 0);
    struct cf_set_options o = workload_options(os);
    struct cf_set *s = NULL;
    odb_status st;

    fault_now = f;
    sim_set_failed_sync_reverts(os, f->at % 2);
    sim_set_fault(os, inject, f);
    st = cf_open(DB, &o, &s);
    if (st == ODB_OK)
        err_ignore(cf_close(s));
    else if (!f->hit)
        fail_msg("nothing failed, yet %s: %s", odb_status_name(st), odb_error_text());
    sim_set_fault(os, NULL, NULL);
    for (int model = SIM_M0; model <= SIM_M4; model += 2) {
        struct os *image = sim_image(os, (enum sim_model)model, f->at);

        recovers_to(image, k, "then the power goes", f);
        sim_free(image);
    }
    recovers_to(os, k, "then it is tried again", f);
    sim_free(os);
    fault_now = NULL;
    assert_int_equal(test_alloc_alive(), 0);
}

static void P10_recoveries_that_meet_failures_change_nothing(void **state)
{
    static const odb_status kind[] = {ODB_IO, ODB_NOSPACE, ODB_LIMIT, ODB_DENIED};
    uint64_t stride = env_number("ODB_TEST_STRIDE", 5);
    unsigned hits = 0;

    (void)state;
    for (int model = SIM_M0; model <= SIM_M1; model++) {
        uint32_t k;
        struct os *dirty = make_dirty((enum sim_model)model, &k);

        for (int i = 0; i < 12; i++) {
            bool hit = true;

            for (uint64_t at = 1; hit; at += stride) {
                struct fault f = {.at = at,
                                  .st = kind[i % 4],
                                  .is_sticky = i >= 4,
                                  .until = i >= 8 ? at + 7 : 0,
                                  .only_mutating = kind[i % 4] == ODB_NOSPACE};

                recover_with(dirty, k, &f);
                hit = f.hit || (f.only_mutating && at < 200);
                hits += f.hit;
            }
        }
        sim_free(dirty);
    }
    print_message("%u recoveries met a failure\n", hits);
}

static void P16_recoveries_without_memory_change_nothing(void **state)
{
    long stride = (long)env_number("ODB_TEST_STRIDE", 5);
    uint32_t k;
    struct os *dirty = make_dirty(SIM_M1, &k);
    unsigned requests = 0;

    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        static const int sticky[] = {0, 1, 9}; /* once, for ever, for a while */
        bool hit = true;

        for (long n = 0; hit; n += stride) {
            struct os *os = sim_image(dirty, SIM_M1, 0);
            struct cf_set_options o = workload_options(os);
            struct fault f = {.at = (uint64_t)n, .st = ODB_NOMEM};
            struct cf_set *s = NULL;
            odb_status st;

            test_alloc_fail(n, sticky[mode]);
            st = cf_open(DB, &o, &s);
            hit = test_alloc_requests() > n;
            test_alloc_fail(-1, 0);
            if (st == ODB_OK)
                err_ignore(cf_close(s));
            else
                assert_int_equal(st, ODB_NOMEM);
            recovers_to(os, k, "then there is memory", &f);
            sim_free(os);
            assert_int_equal(test_alloc_alive(), 0);
            requests += hit;
        }
    }
    sim_free(dirty);
    print_message("%u requests failed\n", requests);
}

/* A disk of a real size: it fills up, it is full, it is enlarged. */
static void a_full_disk_refuses_and_resumes(void **state)
{
    (void)state;
    for (uint64_t kib = 80; kib <= 400; kib += 16) {
        struct os *os = sim_new(7);
        struct fault f = {.at = kib, .st = ODB_NOSPACE, .is_sticky = true, .hit = true};
        odb_status st;

        workload_begin(&work, os, seed_used, TXNS);
        work.may_fail = true;
        sim_set_capacity(os, kib << 10);
        st = workload_open(&work);
        while (st == ODB_OK && work.refused < 5 && work.p.started < TXNS && !work.unknown) {
            odb_status step = workload_step(&work);

            if (step == ODB_UNKNOWN || step == ODB_READONLY || !work.s)
                break;
        }
        sim_set_capacity(os, UINT64_MAX);
        if (work.s && cf_health(work.s) != ODB_OK && cf_health(work.s) != ODB_NOSPACE)
            f.hit_sync = true; /* no healing but by reopening */
        readers_see_what_was_committed("on a full disk");
        heals(&f);
        workload_end(&work);
        f.hit_sync = true;
        if (st == ODB_OK || work.p.opened)
            reopen_and_judge(os, SIM_M1, work.p.durable, "a full disk", &f);
        sim_free(os);
        assert_int_equal(test_alloc_alive(), 0);
    }
}

/* ---- memory ---- */

enum want { ONCE, FOR_A_WHILE, FOR_EVER };

/* Each request fails, once, or from there on; what is refused is not there, what was answered is. */
static void run_without_memory(long after, enum want want, bool *was_hit)
{
    bool sticky = want != ONCE;
    struct os *os = sim_new(7);
    struct fault f = {.at = (uint64_t)after, .st = ODB_NOMEM, .is_sticky = sticky};
    odb_status st;
    unsigned steps = 0;

    workload_begin(&work, os, seed_used, 25);
    work.may_fail = true;
    test_alloc_fail(after, sticky);
    st = workload_open(&work);
    if (st != ODB_OK) {
        test_alloc_fail(-1, 0);
        assert_int_equal(st, ODB_NOMEM);
        *was_hit = true;
        st = workload_open(&work);
        assert_int_equal(st, ODB_OK);
    }
    while (work.p.started < 25 && work.s && !work.unknown && steps < 80) {
        st = workload_step(&work);
        if (st != ODB_OK) {
            *was_hit = true;
            steps += 4;
            if (want == FOR_A_WHILE && steps > 20)
                test_alloc_fail(-1, 0);
            if (st == ODB_UNKNOWN || st == ODB_READONLY)
                break;
            if (st != ODB_NOMEM && st != ODB_AGAIN)
                fail_msg("request %ld%s: %s: %s", after, sticky ? " on" : "", odb_status_name(st),
                         odb_error_text());
        }
    }
    *was_hit |= test_alloc_requests() > after;
    test_alloc_fail(-1, 0);
    readers_see_what_was_committed("without memory");
    workload_end(&work);
    reopen_and_judge(os, SIM_M1, work.p.acked, "without memory", &f);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
}

static void every_allocation_that_fails(enum want want)
{
    long stride = (long)env_number("ODB_TEST_STRIDE", 1), n, runs = 0;
    bool hit = true;

    for (n = 0; hit && n < 100000; n += n < 300 ? 1 : stride, runs++) {
        hit = false;
        run_without_memory(n, want, &hit);
    }
    print_message("%ld of %ld requests failed\n", runs, n);
}

static void want_of_memory_once_breaks_no_promise(void **state)
{
    (void)state;
    every_allocation_that_fails(ONCE);
}

static void want_of_memory_for_a_while_breaks_no_promise(void **state)
{
    (void)state;
    every_allocation_that_fails(FOR_A_WHILE);
}

static void want_of_memory_for_ever_breaks_no_promise(void **state)
{
    (void)state;
    every_allocation_that_fails(FOR_EVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P05_an_io_error_once_breaks_no_promise),
        cmocka_unit_test(io_errors_for_ever_break_no_promise),
        cmocka_unit_test(no_space_once_breaks_no_promise),
        cmocka_unit_test(no_space_for_a_while_breaks_no_promise_and_heals),
        cmocka_unit_test(out_of_descriptors_once_breaks_no_promise),
        cmocka_unit_test(io_errors_for_a_while_break_no_promise),
        cmocka_unit_test(no_descriptors_for_a_while_break_no_promise),
        cmocka_unit_test(what_is_denied_for_a_while_breaks_no_promise),
        cmocka_unit_test(P10_recoveries_that_meet_failures_change_nothing),
        cmocka_unit_test(P16_recoveries_without_memory_change_nothing),
        cmocka_unit_test(a_full_disk_refuses_and_resumes),
        cmocka_unit_test(want_of_memory_once_breaks_no_promise),
        cmocka_unit_test(want_of_memory_for_a_while_breaks_no_promise),
        cmocka_unit_test(want_of_memory_for_ever_breaks_no_promise),
    };

    test_alloc_keep_memory();
    if (getenv("ODB_TEST_ONLY"))
        cmocka_set_test_filter(getenv("ODB_TEST_ONLY"));
    seed_used = env_number("ODB_TEST_SEED", 1);
    print_message("ODB_TEST_SEED=%llu\n", (unsigned long long)seed_used);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
