/* tests/cf/test_recover_crash.c -- the promises P1 to P4, P6 and P10 against a disk that dies at every
 * operation.
 *
 * The workload runs once per window of operations; before each of them images of the disk are taken
 * under all crash models, to be judged afterwards against what had been promised at that moment. To
 * die inside a write, the workload is run again for each write and stopped there. Images that are
 * the same, under the same promise, are judged once.
 *
 *   ODB_TEST_SEED    another history
 *   ODB_TEST_STRIDE  every so many operations only (1: all)
 */
#include "tests/cf/workload.h"

#include "cf/files.h"

#include <unistd.h>

#define WINDOW     150
#define IMAGES     9 /* of one moment, at most */
#define TXNS       120
#define REASON_MAX 512

static const struct {
    enum sim_model model;
    int seeds;
} models[] = {{SIM_M0, 1}, {SIM_M1, 1}, {SIM_M2, 1}, {SIM_M3, 1}, {SIM_M4, 2}};

struct moment {
    uint64_t op_no;
    struct promise p;
    struct os *image[IMAGES];
    enum sim_model model[IMAGES];
    int count;
};

static struct moment moments[WINDOW];
static int moment_count;
static struct workload work; /* large */
static uint64_t window_from;
static uint64_t seed_used;
static uint64_t *seen;
static size_t seen_count, seen_cap;
static unsigned judged, nested, duplicates;

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

static void take_images(struct moment *m, struct os *os, uint64_t salt)
{
    m->count = 0;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        for (int k = 0; k < models[i].seeds; k++) {
            m->model[m->count] = models[i].model;
            m->image[m->count++] =
                sim_image(os, models[i].model, salt * 1000003 + (uint64_t)k * 7919 + i);
        }
}

/* Asked before every operation of the workload. */
static odb_status watch(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)arg;
    (void)op;
    (void)name;
    if (op_no >= window_from && op_no < window_from + WINDOW && moment_count < WINDOW) {
        struct moment *m = &moments[moment_count++];

        m->op_no = op_no;
        m->p = work.p;
        take_images(m, work.os, op_no);
    }
    return ODB_OK;
}

static bool is_new_case(struct os *image, const struct promise *p, uint32_t least)
{
    uint64_t h = sim_hash(image);

    h = h * 31 + p->started;
    h = h * 31 + least;
    for (int f = 0; f < FAMILIES; f++)
        h = h * 31 + (uint64_t)p->may[f] * 2 + p->must[f] + p->born[f] * 8;
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i] == h)
            return false;
    if (seen_count == seen_cap) {
        seen_cap = seen_cap ? seen_cap * 2 : 4096;
        seen = realloc(seen, seen_cap * sizeof *seen);
    }
    seen[seen_count++] = h;
    return true;
}

/* ---- judging one image ---- */

struct verdict {
    bool ok;
    uint32_t k;
    char why[REASON_MAX];
};

static uint32_t least_of(const struct promise *p, enum sim_model model)
{
    return model == SIM_M1 ? p->acked : p->durable; /* P2, P1 */
}

/* Open read-only: the same answer, and nothing is changed. */
static bool judge_readonly(struct os *os, const struct promise *p, struct verdict *v)
{
    struct cf_set_options o = workload_options(os);
    struct cf_set *s = NULL;
    uint64_t before = sim_mutations(os);
    odb_status st;
    bool ok;

    o.is_readonly = true;
    st = cf_open(DB, &o, &s);
    if (st == ODB_ABSENT && !p->opened)
        return true;
    if (st != ODB_OK) {
        (void)snprintf(v->why, sizeof v->why, "read-only: %s: %.300s", odb_status_name(st),
                       odb_error_text());
        return false;
    }
    ok = set_matches(s, &work, p, 0, &v->k, v->why);
    err_ignore(cf_close(s));
    if (ok && sim_mutations(os) != before) {
        (void)snprintf(v->why, sizeof v->why, "a read-only open changed the disk");
        ok = false;
    }
    return ok;
}

static bool only_needed_files(void *arg, const char *name)
{
    struct verdict *v = arg;
    uint64_t no;
    enum file_kind kind = file_parse(name, &no);

    if (kind == FILE_CURRENT_NEW || kind == FILE_IDENTITY_NEW) {
        (void)snprintf(v->why, sizeof v->why, "%s was left", name);
        v->ok = false;
    }
    v->k += kind == FILE_MANIFEST;
    return true;
}

/* After an open: one manifest, nothing half-made. */
static bool judge_files(struct os *os, struct verdict *v)
{
    struct verdict files = {.ok = true};
    struct os_dir *dir;

    if (os_dir_open(os, DB, 0, &dir) != ODB_OK)
        return false;
    if (os_dir_list(dir, only_needed_files, &files) != ODB_OK)
        files.ok = false;
    os_dir_close(dir);
    if (files.ok && files.k != 1) {
        (void)snprintf(files.why, sizeof files.why, "%u manifests", files.k);
        files.ok = false;
    }
    if (!files.ok)
        (void)snprintf(v->why, sizeof v->why, "%.200s", files.why);
    return files.ok;
}

/* One more transaction, closed or not, and open again. */
static bool judge_goes_on(struct os *os, struct cf_set *s, const struct promise *p, uint32_t k,
                          struct verdict *v)
{
    struct cf_set_options o = workload_options(os);
    struct cf_write full = {.durability = CF_FULL};
    struct cf *cf[FAMILIES];
    uint64_t seq = cf_visible_seq(s);
    uint32_t again;
    odb_status st;
    bool ok;

    st = workload_find(s, cf);
    if (st == ODB_OK)
        st = cf_put(s, cf[0], odb_s("zz"), odb_s("one more"), &full);
    if (st == ODB_OK && cf_visible_seq(s) <= seq)
        st = err_set(ODB_INVALID, "numbers did not rise");
    if (st == ODB_OK)
        st = cf_delete(s, cf[0], odb_s("zz"), &full);
    if (st == ODB_OK)
        st = cf_verify(s, NULL, NULL);
    if (st == ODB_OK)
        st = cf_close(s);
    else
        err_ignore(cf_close(s));
    s = NULL;
    if (st == ODB_OK)
        st = cf_open(DB, &o, &s);
    if (st != ODB_OK) {
        (void)snprintf(v->why, sizeof v->why, "going on: %s: %.300s", odb_status_name(st),
                       odb_error_text());
        return false;
    }
    ok = set_matches(s, &work, p, k, &again, v->why) && again == k;
    if (ok)
        ok = judge_files(os, v);
    err_ignore(cf_close(s));
    return ok;
}

static struct verdict judge(struct os *os, const struct promise *p, uint32_t least, bool goes_on)
{
    struct cf_set_options o = workload_options(os);
    struct verdict v = {0}, ro = {0};
    struct cf_set *s = NULL;
    odb_status st;

    if (goes_on && !judge_readonly(os, p, &ro))
        return ro;
    o.create = !p->opened;
    st = cf_open(DB, &o, &s);
    if (st != ODB_OK) {
        (void)snprintf(v.why, sizeof v.why, "open: %s: %.300s", odb_status_name(st),
                       odb_error_text());
        return v;
    }
    v.ok = set_matches(s, &work, p, least, &v.k, v.why);
    if (v.ok && goes_on && p->opened && ro.k != v.k) {
        (void)snprintf(v.why, sizeof v.why, "read-only said %u, then it was %u", ro.k, v.k);
        v.ok = false;
    }
    if (v.ok && goes_on)
        v.ok = judge_goes_on(os, s, p, v.k, &v);
    else
        err_ignore(cf_close(s));
    return v;
}

/* Recovery itself dies, here and there, and the next one must find the same (P10). */
static struct verdict judge_nested(struct os *image, const struct promise *p, uint32_t k,
                                   uint64_t salt)
{
    struct verdict v = {.ok = true, .k = k};
    struct promise q = *p;
    uint64_t ops;
    struct os *os = sim_image(image, SIM_M1, 0);

    {
        struct cf_set_options o = workload_options(os);
        struct cf_set *s = NULL;

        if (cf_open(DB, &o, &s) != ODB_OK)
            return v; /* judged elsewhere */
        ops = sim_op_count(os);
        err_ignore(cf_close(s));
        sim_free(os);
    }
    q.started = k; /* exactly what the first recovery found */
    for (uint64_t at = 1 + salt % 5; at <= ops && v.ok; at += 5) {
        static const enum sim_model after[] = {SIM_M0, SIM_M1, SIM_M4};

        for (int i = 0; i < 3 && v.ok; i++) {
            struct cf_set_options o;
            struct cf_set *s = NULL;
            struct os *next;

            os = sim_image(image, SIM_M1, 0);
            o = workload_options(os);
            sim_crash_at(os, at);
            if (cf_open(DB, &o, &s) == ODB_OK)
                err_ignore(cf_close(s));
            next = sim_image(os, after[i], salt + at);
            sim_free(os);
            nested++;
            v = judge(next, &q, k, false);
            if (!v.ok) {
                size_t n = strlen(v.why);

                (void)snprintf(v.why + n, sizeof v.why - n, " [recovery died at its op %llu, M%d]",
                               (unsigned long long)at, (int)after[i]);
            }
            sim_free(next);
        }
    }
    return v;
}

static void judge_moment(struct moment *m, const char *how)
{
    for (int i = 0; i < m->count; i++) {
        uint32_t least = least_of(&m->p, m->model[i]);
        struct verdict v;

        if (!is_new_case(m->image[i], &m->p, least)) {
            duplicates++;
            sim_free(m->image[i]);
            continue;
        }
        if (judged++ % 47 == 5 && m->p.opened) {
            struct os *copy = sim_image(m->image[i], SIM_M1, 0);

            v = judge(copy, &m->p, least, true);
            sim_free(copy);
            if (v.ok)
                v = judge_nested(m->image[i], &m->p, v.k, m->op_no);
        } else {
            v = judge(m->image[i], &m->p, least, true);
        }
        sim_free(m->image[i]);
        if (!v.ok)
            fail_msg(
                "seed %llu, dead %s op %llu, M%d image %d: %s (started %u acked %u durable %u)",
                (unsigned long long)seed_used, how, (unsigned long long)m->op_no, (int)m->model[i],
                i, v.why, m->p.started, m->p.acked, m->p.durable);
    }
    m->count = 0;
}

/* ---- the tests ---- */

static uint64_t run_all(void)
{
    uint64_t ops;
    struct os *os = sim_new(7);

    workload_begin(&work, os, seed_used, TXNS);
    workload_run(&work);
    if (work.st != ODB_OK)
        fail_msg("the workload itself: %s: %s", odb_status_name(work.st), odb_error_text());
    ops = sim_op_count(os);
    print_message(
        "%u transactions, %llu operations: %llu writes, %llu ring stores, %llu syncs, "
        "%llu creates, %llu removes\n",
        work.p.started, (unsigned long long)ops,
        (unsigned long long)sim_op_kind_count(os, SIM_WRITE),
        (unsigned long long)sim_op_kind_count(os, SIM_RING_STORE),
        (unsigned long long)(sim_op_kind_count(os, SIM_SYNC) + sim_op_kind_count(os, SIM_DIR_SYNC)),
        (unsigned long long)sim_op_kind_count(os, SIM_CREATE),
        (unsigned long long)sim_op_kind_count(os, SIM_REMOVE));
    sim_free(os);
    return ops;
}

static void dying_between_any_two_operations_keeps_every_promise(void **state)
{
    uint64_t stride = env_number("ODB_TEST_STRIDE", 1);
    uint64_t ops = run_all();

    (void)state;
    for (window_from = 1; window_from <= ops; window_from += WINDOW) {
        struct os *os = sim_new(7);

        moment_count = 0;
        workload_begin(&work, os, seed_used, TXNS);
        sim_set_fault(os, watch, NULL);
        workload_run(&work);
        sim_set_fault(os, NULL, NULL);
        sim_free(os);
        for (int i = 0; i < moment_count; i++) {
            if (moments[i].op_no % stride == 0)
                judge_moment(&moments[i], "before");
            while (moments[i].count > 0)
                sim_free(moments[i].image[--moments[i].count]);
        }
    }
    print_message("%u disks judged, %u were the same as another, %u recoveries died\n", judged,
                  duplicates, nested);
    assert_int_equal(test_alloc_alive(), 0);
}

static void dying_inside_a_write_keeps_every_promise(void **state)
{
    uint64_t stride = env_number("ODB_TEST_STRIDE", 1) * 6;
    uint64_t ops = run_all();
    struct moment m = {0};

    (void)state;
    for (uint64_t at = 1 + seed_used % stride; at <= ops; at += stride) {
        struct os *os = sim_new(7);

        workload_begin(&work, os, seed_used, TXNS);
        sim_crash_at(os, at);
        workload_run(&work);
        workload_end(&work);
        m.op_no = at;
        m.p = work.p;
        take_images(&m, os, at);
        sim_free(os);
        judge_moment(&m, "inside");
    }
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dying_between_any_two_operations_keeps_every_promise),
        cmocka_unit_test(dying_inside_a_write_keeps_every_promise),
    };
    int rc;

    seed_used = env_number("ODB_TEST_SEED", 1);
    print_message("ODB_TEST_SEED=%llu\n", (unsigned long long)seed_used);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(seen);
    return rc;
}
