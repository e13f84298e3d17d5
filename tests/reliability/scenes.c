/* tests/reliability/scenes.c -- small plays for two to four threads, each around one thing that could go
 * wrong between them.
 *
 * Most scenes are strings: what each thread does, a letter a step.
 *
 *     w W   commit, at level OS, FULL          d     drop family c
 *     r s i read now, in a snapshot, walk      C F   merge, flush family c
 *     v     hold values of c, read on          f a c flush everything, flush a, merge a
 *     g     add 1 to a number, guarded         y     cf_sync
 *     D     delete and put what a walk skips   z     cf_resume
 *
 * Thread t's nth commit puts n under its own key in the families a and b, and moves a marker in a from
 * n - 1 to n. Whoever reads finds a vector of such numbers, and can tell what is wrong with it:
 *
 * In a scene's small version, of which all schedules are run, only the key in a is written.
 *
 * 1. Every commit answered before the read began is in it, none that was not begun (P11).
 * 2. A snapshot and a walk find the same number in a and b, and exactly one marker a thread (P4).
 * 3. Order: if commit n of a thread is there, so is all that was answered before n was begun (P3).
 * 4. After a crash the same, with what was answered at level FULL, or before such a commit was begun, in
 *    place of what was answered (P1); when only the process died, all answers count (P2).
 *
 * Scenes of single parts (epochs, locks of transactions, shared jobs) are functions of their own.
 */
#include "tests/reliability/scenes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/locks.h"
#include "base/alloc.h"
#include "base/epoch.h"
#include "cf/cf.h"
#include "lsm/exec.h"
#include "os/sim.h"
#include "tests/reliability/run_alloc.h"

#define DB       "/db"
#define WRITERS  4 /* threads, and one slot for what is done before */
#define BEFORE   3 /* what is done before the threads begin counts as written by this one */
#define COMMITS  24
#define COLD     10 /* keys of family c */
#define COLD_LEN 90
#define CRASHES  2

/* The oracle's knowledge at some moment. */
struct known {
    uint8_t started[WRITERS]; /* the number of the last commit begun */
    uint8_t least[WRITERS];   /* answered: must be seen */
    uint8_t most[WRITERS];    /* may be seen */
    uint8_t durable[WRITERS]; /* must survive a loss of power */
};

static struct play {
    const struct scene *scene;
    const struct dice *dice;
    struct os *os;
    struct cf_set *s;
    struct cf *a, *b, *c;
    struct known now;
    uint8_t seen[WRITERS][COMMITS + 1][WRITERS]; /* what was answered when that commit was begun */
    bool is_over[WRITERS];                       /* writes of this one are refused from now on */
    bool is_dropped;                             /* family c: somebody began to drop it */
    uint32_t sum;                                /* guarded additions that were answered */
    uint32_t syncs, writes;                      /* on the disk since the threads began */
    uint32_t fault;
    bool has_failed; /* a call to the disk was made to fail */
    struct {
        struct os *disk;
        struct known known;
        enum sim_model model;
    } crash[CRASHES];
    unsigned crashes;
} play;

/* ---- helpers ---- */

static void must(odb_status st, const char *what)
{
    if (st != ODB_OK)
        sched_fail("%s: %s: %s", what, odb_status_name(st), odb_error_text());
}

/* Where calls are made to fail, the engine may refuse; not hang, lose or invent. */
static bool may_refuse(odb_status st, const char *what)
{
    if (st == ODB_OK)
        return true;
    if (!play.has_failed)
        must(st, what);
    if (st == ODB_CORRUPT || st == ODB_INVALID)
        sched_fail("%s after a failed call: %s: %s", what, odb_status_name(st), odb_error_text());
    return false;
}

static odb_slice text(const char *s)
{
    return odb_bytes(s, strlen(s));
}

static void marker_text(unsigned t, unsigned n, char out[16])
{
    (void)snprintf(out, 16, "m%u.%02u", t, n);
}

static void writer_text(unsigned t, char out[16])
{
    (void)snprintf(out, 16, "w%u", t);
}

static void cold_value(unsigned key, char out[COLD_LEN])
{
    memset(out, 'a' + (char)(key % 26), COLD_LEN);
    (void)snprintf(out, COLD_LEN, "cold %u ", key);
}

static bool letter_of(const char *program, char letter)
{
    return program && strchr(program, letter) != NULL;
}

/* ---- writing ---- */

static void step_commit(unsigned t, enum cf_durability level)
{
    struct known *k = &play.now;
    struct cf_write how = {.durability = level};
    unsigned n = k->started[t] + 1u;
    char key[16], mark[16], value[8];
    struct batch b = {0};
    odb_status st;

    if (play.is_over[t])
        return;
    if (n > COMMITS)
        sched_fail("a scene with too many commits");
    writer_text(t, key);
    (void)snprintf(value, sizeof value, "%u", n);
    st = batch_put(&b, cf_id(play.a), text(key), text(value));
    if (st == ODB_OK && !play.dice->is_small)
        st = batch_put(&b, cf_id(play.b), text(key), text(value));
    marker_text(t, n, mark);
    if (st == ODB_OK && !play.dice->is_small)
        st = batch_put(&b, cf_id(play.a), text(mark), text(value));
    marker_text(t, n - 1, mark);
    if (st == ODB_OK && n > 1 && !play.dice->is_small)
        st = batch_delete(&b, cf_id(play.a), text(mark));
    must(st, "batch");
    memcpy(play.seen[t][n], k->least, sizeof k->least);
    k->started[t] = k->most[t] = (uint8_t)n;
    st = cf_commit(play.s, &b, &how);
    batch_release(&b);
    if (may_refuse(st, "commit")) {
        k->least[t] = (uint8_t)n;
        if (level == CF_FULL) {
            for (unsigned u = 0; u < WRITERS; u++)
                if (k->durable[u] < play.seen[t][n][u])
                    k->durable[u] = play.seen[t][n][u];
            if (k->durable[t] < n)
                k->durable[t] = (uint8_t)n;
        }
        return;
    }
    play.is_over[t] = true;
    if (st != ODB_UNKNOWN)
        k->most[t] = (uint8_t)(n - 1); /* certainly absent (P5) */
}

static void step_sync(void)
{
    struct known before = play.now;

    if (!may_refuse(cf_sync(play.s), "cf_sync"))
        return;
    for (unsigned u = 0; u < WRITERS; u++)
        if (play.now.durable[u] < before.least[u])
            play.now.durable[u] = before.least[u];
}

/* ---- reading ---- */

static unsigned read_number(struct cf_set *s, struct cf *f, const struct cf_snapshot *snap,
                            unsigned t)
{
    char key[16], value[8] = {0};
    size_t size = 0;
    odb_status st;

    writer_text(t, key);
    st = cf_get_into(s, f, snap, text(key), value, sizeof value - 1, &size);
    if (st == ODB_ABSENT)
        return 0;
    must(st, "get");
    return (unsigned)atoi(value);
}

static void check_number(unsigned t, unsigned n, unsigned least, unsigned most, const char *where)
{
    if (n < least || n > most)
        sched_fail("%s: %u commits of thread %u, at least %u must be there and at most %u may",
                   where, n, t, least, most);
}

static void check_vector(const uint8_t n[WRITERS], const struct known *hi,
                         const uint8_t least[WRITERS], const char *where)
{
    for (unsigned t = 0; t < WRITERS; t++)
        check_number(t, n[t], least[t], hi->most[t], where);
    for (unsigned t = 0; t < WRITERS; t++)
        for (unsigned u = 0; n[t] && u < WRITERS; u++)
            if (n[u] < play.seen[t][n[t]][u])
                sched_fail(
                    "%s: commit %u of thread %u without commit %u of thread %u, which was answered "
                    "before it began",
                    where, n[t], t, play.seen[t][n[t]][u], u);
}

static void step_read(void)
{
    struct known before = play.now;

    for (unsigned t = 0; t < WRITERS; t++) {
        unsigned a, b;

        if (play.dice->is_small && play.now.started[t] == 0)
            continue;
        a = read_number(play.s, play.a, NULL, t);
        check_number(t, a, before.least[t], play.now.most[t], "read now");
        if (play.dice->is_small)
            continue;
        b = read_number(play.s, play.b, NULL, t);
        check_number(t, b, a, play.now.most[t], "read of b after a");
    }
}

/* Everything there is, at one moment: the vector it shows. */
static void look_wholly(struct cf_set *s, struct cf *a, struct cf *b,
                        const struct cf_snapshot *snap, uint8_t n[WRITERS], const char *where)
{
    char key[16];

    for (unsigned t = 0; t < WRITERS; t++) {
        unsigned in_b;

        n[t] = (uint8_t)read_number(s, a, snap, t);
        if (play.dice->is_small)
            continue;
        in_b = read_number(s, b, snap, t);
        if (in_b != n[t])
            sched_fail("%s: %u commits of thread %u in a, %u in b", where, n[t], t, in_b);
        for (unsigned m = n[t] ? n[t] - 1u : 0; m <= n[t] + 1u; m++) {
            odb_status st;

            marker_text(t, m, key);
            st = m == 0 ? ODB_ABSENT : cf_exists(s, a, snap, text(key));
            if (st != ODB_OK && st != ODB_ABSENT)
                must(st, "exists");
            if ((st == ODB_OK) != (m == n[t] && m > 0))
                sched_fail("%s: %u commits of thread %u, but marker %u is %s", where, n[t], t, m,
                           st == ODB_OK ? "there" : "not there");
        }
    }
}

static void step_snapshot(void)
{
    struct known before = play.now, after;
    struct cf_snapshot *snap = NULL;
    uint8_t n[WRITERS], again[WRITERS];

    must(cf_snapshot_new(play.s, &snap), "snapshot");
    after = play.now;
    look_wholly(play.s, play.a, play.b, snap, n, "snapshot");
    check_vector(n, &after, before.least, "snapshot");
    look_wholly(play.s, play.a, play.b, snap, again, "snapshot again");
    if (memcmp(n, again, sizeof n) != 0)
        sched_fail("a snapshot changed");
    cf_snapshot_free(play.s, snap);
}

/* An entry of a walk over a. */
static void walk_note(struct lsm_iter *it, uint8_t n[WRITERS], uint8_t marker[WRITERS])
{
    odb_slice key = lsm_iter_key(it), value = lsm_iter_value(it);
    char k[16] = {0}, v[8] = {0};
    unsigned t;

    memcpy(k, key.data, key.size < sizeof k ? key.size : sizeof k - 1);
    memcpy(v, value.data, value.size < sizeof v ? value.size : sizeof v - 1);
    t = (unsigned)(k[1] - '0') % WRITERS;
    if (k[0] == 'w') {
        n[t] = (uint8_t)atoi(v);
    } else if (k[0] == 'm') {
        if (marker[t])
            sched_fail("walk: two markers of thread %u: %u and %s", t, marker[t], v);
        marker[t] = (uint8_t)atoi(v);
    }
}

static void step_walk(void)
{
    struct known before = play.now;
    struct lsm_iter *it = NULL;
    uint8_t n[WRITERS] = {0}, marker[WRITERS] = {0}, n2[WRITERS] = {0}, marker2[WRITERS] = {0};

    must(cf_iter_new(play.s, play.a, NULL, NULL, &it), "iterator");
    for (bool on = lsm_iter_first(it); on; on = lsm_iter_next(it))
        walk_note(it, n, marker);
    must(lsm_iter_status(it), "walk");
    for (bool on = lsm_iter_last(it); on; on = lsm_iter_prev(it))
        walk_note(it, n2, marker2);
    must(lsm_iter_status(it), "walk back");
    lsm_iter_free(it);
    if (memcmp(n, n2, sizeof n) != 0 || memcmp(marker, marker2, sizeof n) != 0)
        sched_fail("a walk forward and one back differ");
    if (!play.dice->is_small && memcmp(n, marker, sizeof n) != 0)
        sched_fail("a walk found a commit without its marker");
    check_vector(n, &play.now, before.least, "walk");
}

/* ---- family c: what lies in tables ---- */

static void cold_load(void)
{
    char key[16], value[COLD_LEN];

    for (unsigned i = 0; i < COLD; i++) {
        (void)snprintf(key, sizeof key, "c%02u", i);
        cold_value(i, value);
        must(cf_put(play.s, play.c, text(key), odb_bytes(value, COLD_LEN), NULL), "put");
    }
    must(cf_flush(play.s, play.c), "flush");
}

/* False: the family is gone, which is fine once somebody drops it. */
static bool cold_may_be_gone(odb_status st, const char *what)
{
    if (st == ODB_NO_FAMILY && play.is_dropped)
        return true;
    (void)may_refuse(st, what);
    return st != ODB_OK;
}

static void cold_check(const struct lsm_value *v, unsigned key)
{
    char want[COLD_LEN];

    cold_value(key, want);
    if (v->data.size != COLD_LEN || memcmp(v->data.data, want, COLD_LEN) != 0)
        sched_fail("the value of cold key %u is not what was put", key);
}

/* Two pinned values of different blocks, looked at after other reads have used the cache. */
static void step_hold(unsigned t)
{
    static const unsigned pick[3] = {0, COLD / 2, COLD - 1};
    struct lsm_value v[3];
    unsigned got = 0;
    char key[16];

    for (; got < 3; got++) {
        unsigned i = pick[(got + t) % 3];
        odb_status st;

        (void)snprintf(key, sizeof key, "c%02u", i);
        st = cf_get(play.s, play.c, NULL, text(key), &v[got]);
        if (cold_may_be_gone(st, "get of c"))
            break;
    }
    for (unsigned i = 0; i < got; i++) {
        cold_check(&v[i], pick[(i + t) % 3]);
        cf_value_release(play.s, &v[i]);
    }
}

/* Delete all of c and put it back: walks must not skip what is alive. */
static void step_delete_and_put(unsigned t)
{
    char key[16], value[COLD_LEN];

    for (unsigned i = 2; i < COLD; i += 3) {
        (void)snprintf(key, sizeof key, "c%02u", i);
        must(cf_delete(play.s, play.c, text(key), NULL), "delete");
    }
    for (unsigned i = 2; i < COLD; i += 3) {
        (void)snprintf(key, sizeof key, "c%02u", i);
        cold_value(i, value);
        must(cf_put(play.s, play.c, text(key), odb_bytes(value, COLD_LEN), NULL), "put");
    }
    (void)t;
}

static void step_walk_cold(void)
{
    struct lsm_iter *it = NULL;
    unsigned steady = 0;

    if (cold_may_be_gone(cf_iter_new(play.s, play.c, NULL, NULL, &it), "iterator of c"))
        return;
    for (bool on = lsm_iter_first(it); on; on = lsm_iter_next(it)) {
        odb_slice key = lsm_iter_key(it);
        struct lsm_value v = {.data = lsm_iter_value(it)};
        unsigned i = (unsigned)atoi(
            (const char[3]){((const char *)key.data)[1], ((const char *)key.data)[2], 0});

        cold_check(&v, i);
        steady += i % 3 != 2;
    }
    must(lsm_iter_status(it), "walk of c");
    lsm_iter_free(it);
    if (steady != COLD - COLD / 3)
        sched_fail("a walk of c found %u of the %d keys that nobody touched", steady,
                   COLD - COLD / 3);
}

/* ---- guarded commits: no addition is lost (P12) ---- */

static uint32_t sum_read(struct cf_set *s, const struct cf_snapshot *snap)
{
    char value[16] = {0};
    size_t size = 0;
    odb_status st = cf_get_into(s, play.b, snap, odb_s("sum"), value, sizeof value - 1, &size);

    if (st == ODB_ABSENT)
        return 0;
    must(st, "get of the sum");
    return (uint32_t)atoi(value);
}

static void step_add(void)
{
    for (int tries = 0; tries < 4; tries++) {
        struct cf_snapshot *snap = NULL;
        struct batch b = {0};
        odb_claim claim = {.family = cf_id(play.b), .lower = odb_s("sum")};
        odb_guard guard = {.claim = &claim, .claim_count = 1, .since = ODB_SINCE_EVER};
        char value[16];
        odb_status st;

        must(cf_txn_begin(play.s, &snap), "begin");
        (void)snprintf(value, sizeof value, "%u", sum_read(play.s, snap) + 1);
        must(batch_put(&b, cf_id(play.b), odb_s("sum"), text(value)), "batch");
        claim.since = cf_snapshot_seq(snap);
        st = cf_commit_guarded(play.s, &b, &guard, NULL);
        batch_release(&b);
        cf_snapshot_free(play.s, snap);
        if (st != ODB_CONFLICT && st != ODB_TOO_OLD) {
            must(st, "guarded commit");
            play.sum++;
            return;
        }
    }
}

/* ---- the stage ---- */

static void step(unsigned t, char letter)
{
    switch (letter) {
    case 'w': step_commit(t, CF_OS); break;
    case 'W': step_commit(t, CF_FULL); break;
    case 'r': step_read(); break;
    case 's': step_snapshot(); break;
    case 'i': step_walk(); break;
    case 'v': step_hold(t); break;
    case 'D': step_delete_and_put(t); break;
    case 'I': step_walk_cold(); break;
    case 'g': step_add(); break;
    case 'y': step_sync(); break;
    case 'f': (void)may_refuse(cf_flush(play.s, NULL), "flush"); break;
    case 'a': (void)may_refuse(cf_flush(play.s, play.a), "flush of a"); break;
    case 'F': (void)cold_may_be_gone(cf_flush(play.s, play.c), "flush of c"); break;
    case 'C': {
        odb_status st =
            lsm_compact(cf_tree(play.c), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL);

        if (!play.is_dropped || st != ODB_CANCELLED)
            (void)cold_may_be_gone(st, "merge of c");
        break;
    }
    case 'c':
        (void)may_refuse(
            lsm_compact(cf_tree(play.a), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
            "merge");
        break;
    case 'd':
        play.is_dropped = true;
        (void)may_refuse(cf_drop(play.s, play.c), "drop");
        break;
    case 'z': (void)may_refuse(cf_resume(play.s), "resume"); break;
    case 'L': cold_load(); break;
    default: sched_fail("a scene with a step '%c'", letter);
    }
}

struct actor {
    unsigned no;
    const char *program;
};

static void actor_run(void *arg)
{
    struct actor *a = arg;

    for (const char *p = a->program; *p && *p != '|'; p++)
        step(a->no, *p);
}

static struct cf_set_options play_options(struct os *os, unsigned workers)
{
    static const char *const names[] = {"a", "b", "c"};
    struct cf_set_options o = {
        .os = os,
        .create = true,
        .durability = CF_OS,
        .ring_size = 1 << 12,
        .log_segment_size = play.scene->segment ? play.scene->segment : 1 << 14,
        .log_limit = 1 << 20,
        .cache_bytes = 1 << 12,
        .open_tables = 8,
        .families = names,
        .family_count = 3,
        .threads = workers,
        .family = {.write_buffer = 1 << 14,
                   .max_buffers = 3,
                   .target_file_size = 1 << 12,
                   .l0_trigger = 2,
                   .level_base = 1 << 13,
                   .multiplier = 4,
                   .block_size = 256,
                   .codec = CODEC_RAW,
                   .bits_per_key = 10,
                   .split = 1,
                   .auto_compact = true},
    };

    return o;
}

static odb_status play_fault(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)arg;
    (void)op_no;
    if (play.fault == 0)
        return ODB_OK;
    if (op == SIM_SYNC && ++play.syncs == play.fault && play.fault < 12) {
        play.has_failed = true;
        return err_set(ODB_IO, "the sync of %s failed, as the scene wants it", name);
    }
    if ((op == SIM_WRITE || op == SIM_RESERVE || op == SIM_CREATE) &&
        ++play.writes + 11 == play.fault) {
        play.has_failed = true;
        return err_set(ODB_NOSPACE, "no space for %s, as the scene wants it", name);
    }
    return ODB_OK;
}

static void play_crash(void)
{
    if (!play.os || !play.s || play.crashes == CRASHES)
        return;
    play.crash[play.crashes].model = (enum sim_model)play.dice->model;
    play.crash[play.crashes].disk =
        sim_image(play.os, (enum sim_model)play.dice->model, play.dice->seed + play.crashes);
    play.crash[play.crashes].known = play.now;
    play.crashes++;
}

/* The linker puts this in the place of os_posix(): clocks are those of the scene's disk. */
struct os *__wrap_os_posix(void);
struct os *__wrap_os_posix(void)
{
    return play.os;
}

static void play_passed(void *arg, uint64_t ns)
{
    (void)arg;
    if (play.os)
        sim_advance(play.os, ns);
}

static void play_find(struct cf_set *s, struct cf **a, struct cf **b)
{
    must(cf_find(s, "a", a), "find a");
    must(cf_find(s, "b", b), "find b");
}

/* What the next process finds on `disk`, which is used up. */
static void play_judge(struct os *disk, const struct known *known, const uint8_t least[WRITERS],
                       const char *where)
{
    struct cf_set_options o = play_options(disk, 0);
    struct cf_snapshot *snap = NULL;
    uint8_t n[WRITERS];
    struct cf_set *s = NULL;
    struct cf *a, *b;
    odb_status st;

    o.create = false;
    st = cf_open(DB, &o, &s);
    if (st != ODB_OK)
        sched_fail("%s: open: %s: %s", where, odb_status_name(st), odb_error_text());
    play_find(s, &a, &b);
    must(cf_snapshot_new(s, &snap), "snapshot");
    look_wholly(s, a, b, snap, n, where);
    check_vector(n, known, least, where);
    cf_snapshot_free(s, snap);
    must(cf_close(s), "close");
    sim_free(disk);
    explore_crashes++;
}

static void play_open(unsigned workers, bool merges)
{
    struct cf_set_options o = play_options(play.os, workers);

    o.family.auto_compact = merges;
    must(cf_open(DB, &o, &play.s), "open");
    play_find(play.s, &play.a, &play.b);
    must(cf_find(play.s, play.scene->cold ? play.scene->cold : "c", &play.c), "find c");
}

/* What stands before a bar is done by an earlier process without background threads: in an order of its own,
 * nobody is stopped there, and the merges it makes due are left to the threads. */
static void play_before(const char *before)
{
    unsigned workers = play.dice->is_small && play.scene->small_alone ? 0 : play.scene->workers;
    const char *bar = strchr(before, '|');

    if (bar) {
        play_open(0, false);
        for (; before < bar; before++)
            step(BEFORE, *before);
        must(cf_close(play.s), "close");
        play.s = NULL;
        before++;
    }
    play_open(workers, true);
    for (; *before; before++)
        step(BEFORE, *before);
}

static void play_run(const struct scene *scene, const struct dice *dice)
{
    struct actor actor[BEFORE] = {{0}};
    struct os_thread *thread[BEFORE];
    const char *program = dice->is_small && scene->small ? scene->small : scene->threads;
    const char *before =
        dice->is_small && scene->small_before ? scene->small_before : scene->before;
    unsigned count = 0;
    odb_status st;

    memset(&play, 0, sizeof play);
    play.scene = scene;
    play.dice = dice;
    play.os = sim_new(dice->seed);
    play_before(before ? before : "");
    if (dice->fault) {
        play.fault = dice->fault;
        sim_set_fault(play.os, play_fault, NULL);
    }
    while (program) {
        actor[count] = (struct actor){count, program};
        must(os_thread_start("actor", actor_run, &actor[count], &thread[count]), "start");
        count++;
        program = strchr(program, '|');
        program += program != NULL;
    }
    sched_join(thread, count);
    step_snapshot();
    if (letter_of(before, 'L') && !play.is_dropped)
        step_walk_cold();
    if (sum_read(play.s, NULL) != play.sum)
        sched_fail("%u additions were answered, the sum is %u", play.sum, sum_read(play.s, NULL));
    sim_set_fault(play.os, NULL, NULL);
    st = cf_close(play.s);
    play.s = NULL;
    (void)may_refuse(st, "close");
    for (unsigned i = 0; i < play.crashes; i++)
        play_judge(
            play.crash[i].disk, &play.crash[i].known,
            play.crash[i].model == SIM_M1 ? play.crash[i].known.least : play.crash[i].known.durable,
            play.crash[i].model == SIM_M1 ? "after the death of the process" : "after a power cut");
    if (dice->seed % 8 == 1)
        play_judge(sim_image(play.os, SIM_M0, dice->seed), &play.now,
                   st == ODB_OK ? play.now.least : play.now.durable, "after the close");
    sim_free(play.os);
    play.os = NULL;
}

/* ---- epochs ---- */

struct thing {
    struct epoch_item item; /* first */
    uint64_t number;
};

#define ALIVE UINT64_C(0x600d600d600d600d)

static struct {
    struct epoch e;
    _Atomic(struct thing *) shown;
    unsigned freed;
} cave;

static void thing_free(struct epoch_item *item)
{
    cave.freed++;
    mem_free(item);
}

static struct thing *thing_new(void)
{
    struct thing *t = mem_zalloc(1, sizeof *t);

    must(t ? ODB_OK : ODB_NOMEM, "memory");
    t->number = ALIVE;
    return t;
}

static void cave_reader(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct epoch_guard g = epoch_enter(&cave.e);
        struct thing *t = atomic_load(&cave.shown);

        if (atomic_load((_Atomic uint64_t *)&t->number) != ALIVE)
            sched_fail("a reader inside an epoch found what was freed");
        epoch_leave(g);
    }
}

static void cave_writer(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct thing *old = atomic_exchange(&cave.shown, thing_new());

        epoch_retire(&cave.e, &old->item, thing_free);
        (void)epoch_collect(&cave.e);
    }
}

static void cave_run(const struct scene *scene, const struct dice *dice)
{
    struct os_thread *t[3];

    (void)scene;
    (void)dice;
    cave.freed = 0;
    epoch_init(&cave.e);
    atomic_store(&cave.shown, thing_new());
    must(os_thread_start("reader", cave_reader, NULL, &t[0]), "start");
    must(os_thread_start("writer", cave_writer, NULL, &t[1]), "start");
    must(os_thread_start("writer", cave_writer, NULL, &t[2]), "start");
    sched_join(t, 3);
    mem_free(atomic_load(&cave.shown));
    epoch_release(&cave.e);
    if (cave.freed != 4)
        sched_fail("%u of 4 things were freed", cave.freed);
}

/* ---- locks of pessimistic transactions ---- */

static struct {
    struct lock_table table;
    int inside[2]; /* transactions that own key 0, 1 */
    unsigned losers, ages;
} room;

static const char *const room_key[2] = {"k0", "k1"};

/* Own the keys in the order `order` gives, a range over both where it says 2. */
static void room_visit(const unsigned order[2], bool is_exclusive)
{
    struct locker l;
    unsigned got[2] = {0, 0};
    odb_status st = ODB_OK;

    memset(&l, 0, sizeof l);
    locker_init(&l);
    l.age = ++room.ages;
    for (unsigned i = 0; i < 2 && st == ODB_OK; i++) {
        struct lock_claim c = {.family_name = "default", .is_exclusive = is_exclusive};

        if (order[i] == 2) {
            c.is_range = true;
            c.lower = odb_s("k");
            c.upper = odb_s("l");
        } else {
            c.lower = text(room_key[order[i]]);
        }
        st = locks_take(&room.table, &l, &c, UINT64_C(1000000000));
        if (st == ODB_OK)
            for (unsigned k = 0; k < 2; k++)
                got[k] |= order[i] == 2 || order[i] == k;
    }
    if (st != ODB_OK && st != ODB_DEADLOCK)
        must(st, "lock");
    room.losers += st != ODB_OK;
    for (unsigned k = 0; is_exclusive && k < 2; k++)
        if (got[k]) {
            if (room.inside[k])
                sched_fail("two transactions own key %u", k);
            room.inside[k] = 1;
        }
    os_thread_yield();
    for (unsigned k = 0; is_exclusive && k < 2; k++)
        if (got[k])
            room.inside[k] = 0;
    locks_drop(&room.table, &l);
    locker_release(&l);
}

static void room_there(void *arg)
{
    (void)arg;
    room_visit((const unsigned[2]){0, 1}, true);
}

static void room_back(void *arg)
{
    (void)arg;
    room_visit((const unsigned[2]){1, 0}, true);
}

static void room_wide(void *arg)
{
    (void)arg;
    room_visit((const unsigned[2]){2, 2}, true);
}

static void room_run(const struct scene *scene, const struct dice *dice)
{
    struct os_thread *t[3];

    play.os = sim_new(dice->seed);
    memset(&room, 0, sizeof room);
    locks_init(&room.table);
    must(os_thread_start("there", room_there, NULL, &t[0]), "start");
    must(os_thread_start("back", room_back, NULL, &t[1]), "start");
    must(os_thread_start("wide", scene->workers ? room_wide : room_there, NULL, &t[2]), "start");
    sched_join(t, 3);
    if (room.losers > 2)
        sched_fail("everybody lost");
    if (room.table.key_count || room.table.ranges || room.table.first)
        sched_fail("locks were left in the table");
    locks_release(&room.table);
    sim_free(play.os);
    play.os = NULL;
}

/* ---- jobs: work shared with background threads ---- */

static struct {
    struct exec *e;
    _Atomic unsigned done[6];
} yard;

static void yard_part(void *arg, uint32_t i)
{
    (void)arg;
    atomic_fetch_add(&yard.done[i], 1);
}

static void yard_user(void *arg)
{
    uint32_t first = arg ? 3 : 0;

    exec_share(yard.e, 3, yard_part, NULL);
    for (uint32_t i = 0; i < 3; i++)
        if (atomic_load(&yard.done[i]) < 1)
            sched_fail("part %u was not done when exec_share came back", i);
    (void)first;
}

static void yard_run(const struct scene *scene, const struct dice *dice)
{
    struct os_thread *t[2];

    (void)dice;
    memset((void *)&yard, 0, sizeof yard);
    must(exec_new(scene->workers, &yard.e), "executor");
    must(os_thread_start("user", yard_user, NULL, &t[0]), "start");
    must(os_thread_start("user", yard_user, NULL, &t[1]), "start");
    sched_join(t, 2);
    exec_free(yard.e);
    for (unsigned i = 0; i < 3; i++)
        if (atomic_load(&yard.done[i]) != 2)
            sched_fail("part %u was done %u times", i, atomic_load(&yard.done[i]));
}

/* ---- the list ---- */

/* Operations on different files commute, and those on one file are ordered by locks that are points: no need
 * to preempt before each of a flush as well, where the disk is not what the scene is about. */
#define QUIET " sim.c os.c "
#define PLAY  .run = play_run, .crash = play_crash, .passed = play_passed

const struct scene scenes[] = {
    {.name = "commits",
     .fixed_bound = 2,
     .about = "two durable commits, one leads the sync of both; a reader",
     PLAY,
     .threads = "W|W|s",
     .atomics = " commit.c writer.c sync.c ",
     .small = "W|W"},
    {.name = "publish",
     .fixed_bound = 1,
     .about = "commits published out of their order of completion, waited for asleep",
     PLAY,
     .threads = "ww|ww|r",
     .atomics = " commit.c read.c ",
     .small = "w|w|w",
     .small_atomics = " commit.c "},
    {.name = "switch",
     .fixed_bound = 1,
     .about = "a commit against the switch of memtables",
     PLAY,
     .threads = "ww|f",
     .before = "w",
     .workers = 1,
     .atomics = " commit.c tree.c ",
     .small = "w|a",
     .quiet = QUIET},
    {.name = "walk",
     .fixed_bound = 1,
     .about = "a flush lets go of a memtable that a walk reads",
     PLAY,
     .threads = "i|f",
     .before = "ww",
     .workers = 1,
     .atomics = " version.c tree.c epoch.h epoch.c read.c ",
     .small = "i|a",
     .small_before = "w",
     .small_atomics = " version.c ",
     .quiet = QUIET},
    {.name = "install",
     .fixed_bound = 1,
     .about = "new versions against readers of old ones",
     PLAY,
     .threads = "rs|fc",
     .before = "wfw",
     .workers = 1,
     .atomics = " version.c tree.c epoch.h epoch.c read.c ",
     .small = "r|a",
     .small_before = "w",
     .small_atomics = " epoch.h tree.c ",
     .quiet = QUIET},
    {.name = "pin",
     .fixed_bound = 1,
     .about = "a merge holds the version that a flush replaces",
     PLAY,
     .threads = "c|wf|c",
     .before = "wfwf",
     .workers = 1,
     .atomics = " version.c tree.c epoch.h read.c ",
     .small = "c|wa|c",
     .small_before = "wawaw",
     .small_alone = true,
     .small_atomics = " epoch.h tree.c ",
     .quiet = QUIET},
    {.name = "ask",
     .fixed_bound = 1,
     .about = "a merge by hand asks for work while a memtable is switched and flushed",
     PLAY,
     .threads = "c|wf|z",
     .before = "w",
     .workers = 1,
     .atomics = " tree.c work.c ",
     .small = "c|a",
     .small_atomics = " tree.c ",
     .quiet = QUIET},
    {.name = "drop",
     .fixed_bound = 1,
     .about = "a family is dropped while it is merged and read",
     PLAY,
     .threads = "C|d|v",
     .before = "LDL",
     .workers = 1,
     .atomics = " set.c version.c ",
     .small = "C|d",
     .small_atomics = "",
     .small_before = "LL|",
     .quiet = QUIET},
    {.name = "gone",
     .fixed_bound = 1,
     .about = "a family is dropped while merges of it are due",
     PLAY,
     .threads = "d|wF",
     .before = "LwD|",
     .workers = 1,
     .atomics = " set.c work.c ",
     .small = "d",
     .small_before = "LL|",
     .quiet = QUIET},
    {.name = "merge",
     .fixed_bound = 1,
     .about = "a merge against deletes and a walk",
     PLAY,
     .threads = "C|D|I",
     .before = "LDL",
     .workers = 1,
     .atomics = " version.c tree.c gaps.c ",
     .small = "C|I",
     .small_before = "LL|",
     .small_atomics = "",
     .quiet = QUIET},
    {.name = "resume",
     .fixed_bound = 1,
     .about = "a family is dropped while another thread flushes and resumes",
     PLAY,
     .threads = "d|zFf|w",
     .before = "wL",
     .workers = 1,
     .atomics = " set.c ",
     .small = "d|zF",
     .small_atomics = "",
     .quiet = QUIET},
    {.name = "snapshot",
     .fixed_bound = 2,
     .about = "snapshots taken against commits and a flush",
     PLAY,
     .threads = "ss|ww|f",
     .before = "w",
     .workers = 1,
     .atomics = " snapshot.c commit.c read.c ",
     .small = "s|wa|s",
     .small_alone = true,
     .small_atomics = " snapshot.c commit.c read.c ",
     .quiet = QUIET},
    {.name = "error",
     .fixed_bound = 1,
     .about = "a failed sync, or a full disk, against those who wait",
     PLAY,
     .threads = "WW|wWr|fz",
     .before = "w",
     .workers = 1,
     .has_faults = true,
     .fault = 1,
     .may_time_out = true,
     .atomics = " commit.c writer.c sync.c ",
     .small = "W|W|r"},
    {.name = "close",
     .fixed_bound = 1,
     .about = "the database is closed with a flush and a merge under way",
     PLAY,
     .threads = "wF|w",
     .before = "LwD",
     .workers = 1,
     .atomics = " exec.c ",
     .small = "w",
     .small_before = "LL",
     .quiet = QUIET},
    {.name = "stop",
     .fixed_bound = 1,
     .about = "the database is opened with merges due, and closed at once",
     PLAY,
     .threads = "w|C",
     .before = "LwD|",
     .cold = "default", /* is stopped first, so its merges are met by the close */
     .workers = 1,
     .atomics = " exec.c work.c ",
     .small = "r",
     .small_before = "LL|",
     .quiet = QUIET},
    {.name = "segments",
     .fixed_bound = 1,
     .about = "two commits against the change of log segments",
     PLAY,
     .threads = "wwW|www",
     .before = "w",
     .workers = 1,
     .segment = 400,
     .atomics = " writer.c sync.c roll.c ",
     .small = "w|w",
     .small_before = "www"},
    {.name = "guarded",
     .fixed_bound = 2,
     .about = "transactions that add to one number",
     PLAY,
     .threads = "g|g",
     .before = "w",
     .atomics = " history.c commit.c snapshot.c "},
    {.name = "cache",
     .fixed_bound = 2,
     .about = "blocks leave the cache while values in them are held",
     PLAY,
     .threads = "v|v",
     .before = "L",
     .atomics = " cache.c table.c store.c epoch.h ",
     .quiet = QUIET},
    {.name = "gaps",
     .fixed_bound = 2,
     .about = "walks note stretches of the dead while keys come alive",
     PLAY,
     .threads = "I|D|I",
     .before = "LDL",
     .atomics = " gaps.c commit.c ",
     .small = "I|D",
     .small_atomics = " gaps.c ",
     .quiet = QUIET},
    {.name = "memtable",
     .fixed_bound = 2,
     .about = "inserts into one memtable against a reader",
     PLAY,
     .threads = "www|www|i",
     .before = "ww",
     .atomics = " node.c skiplist.c cursor.c ",
     .small = "w|w",
     .small_atomics = " node.c "},
    {.name = "sync",
     .fixed_bound = 2,
     .about = "cf_sync against commits: what was answered before is durable",
     PLAY,
     .threads = "wy|ww|y",
     .atomics = " writer.c sync.c ",
     .small = "w|y|y"},
    {.name = "epoch",
     .fixed_bound = 1,
     .about = "readers in epochs against those who retire and collect",
     .run = cave_run,
     .atomics = " epoch.h epoch.c scenes.c "},
    {.name = "locks",
     .fixed_bound = 2,
     .about = "transactions that lock two keys in opposite order",
     .run = room_run,
     .passed = play_passed,
     .atomics = ""},
    {.name = "ranges",
     .fixed_bound = 2,
     .about = "the same, one over a range",
     .run = room_run,
     .passed = play_passed,
     .workers = 1,
     .atomics = ""},
    {.name = "share",
     .fixed_bound = 1,
     .about = "work shared with background threads",
     .run = yard_run,
     .workers = 2,
     .atomics = " exec.c "},
};
const unsigned scene_count = sizeof scenes / sizeof scenes[0];
