/* tests/cf/test_commit.c -- many threads commit and read: whole commits, in one order, at once.
 *
 *   ODB_TEST_SEED    other choices
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/arena.h"
#include "cf/set_priv.h"
#include "lsm/tree_priv.h"
#include "os/os_thread.h"
#include "os/sim.h"
#include "tests/lib/test_alloc.h"

#define DB       "/db"
#define WRITERS  4
#define READERS  2
#define ROUNDS   400
#define FAMILIES 3
#define FILLED   4 /* every so many batches are large */
#define FILL     200

struct crowd {
    struct os *os;
    struct cf_set *s;
    struct cf *cf[FAMILIES];
    _Atomic bool is_over;
    _Atomic unsigned wrong;
    _Atomic uint64_t reads;
    unsigned durability;
};

struct member {
    struct crowd *c;
    unsigned no;
    struct os_thread *thread;
};

static bool small_buffers; /* flushes all the time */

static struct cf_set_options crowd_options(struct os *os, unsigned threads)
{
    static const char *const names[] = {"a", "b"};
    struct cf_set_options o = {
        .os = os,
        .create = true,
        .ring_size = 1 << 16,
        .log_segment_size = 1 << 16,
        .log_limit = 1 << 18,
        .cache_bytes = 1 << 20,
        .families = names,
        .family_count = 2,
        .threads = threads,
        .family = {.write_buffer = 1 << 15,
                   .max_buffers = 3,
                   .target_file_size = 1 << 15,
                   .l0_trigger = 2,
                   .level_base = 1 << 16,
                   .multiplier = 4,
                   .block_size = 1024,
                   .codec = CODEC_RAW,
                   .bits_per_key = 10,
                   .split = 2,
                   .auto_compact = true},
    };

    if (small_buffers) {
        o.family.write_buffer = 3000;
        o.log_segment_size = 3000;
        o.log_limit = 12000;
    }
    return o;
}

static void crowd_open(struct crowd *c, struct os *os, unsigned threads)
{
    struct cf_set_options o = crowd_options(os, threads);
    static const char *const names[] = {"default", "a", "b"};

    *c = (struct crowd){.os = os};
    assert_int_equal(cf_open(DB, &o, &c->s), ODB_OK);
    for (int f = 0; f < FAMILIES; f++)
        assert_int_equal(cf_find(c->s, names[f], &c->cf[f]), ODB_OK);
}

static void wrong(struct crowd *c, const char *what)
{
    if (atomic_fetch_add(&c->wrong, 1) == 0)
        print_message("%s (%s)\n", what, odb_error_text());
}

static size_t writer_key(unsigned no, char *out)
{
    return (size_t)snprintf(out, 32, "writer%u", no);
}

/* Each writer keeps one number under its own key in all families, changed by one batch; and must see
 * it right after the commit. */
static void write_rounds(void *arg)
{
    struct member *m = arg;
    struct crowd *c = m->c;
    char key[32], value[64];
    size_t n = writer_key(m->no, key);

    for (unsigned round = 1; round <= ROUNDS; round++) {
        struct cf_write how = {.durability = round % 16 == 0 ? CF_FULL : CF_OS};
        size_t len = (size_t)snprintf(value, sizeof value, "%08u", round), got;
        struct batch b = {0};
        char back[16];
        odb_status st = ODB_OK;

        for (int f = 0; f < FAMILIES && st == ODB_OK; f++) {
            st = batch_put(&b, cf_id(c->cf[f]), odb_bytes(key, n), odb_bytes(value, len));
            for (unsigned i = 0; f == 0 && round % FILLED == 0 && i < FILL && st == ODB_OK; i++) {
                char other[32]; /* much to insert between the first and the last of them */
                size_t k = (size_t)snprintf(other, sizeof other, "%u-%u", i * 7919 % FILL, m->no);

                st = batch_put(&b, cf_id(c->cf[0]), odb_bytes(other, k), odb_bytes(value, len));
            }
        }
        if (st == ODB_OK)
            st = cf_commit(c->s, &b, &how);
        batch_release(&b);
        if (st != ODB_OK)
            wrong(c, "a commit failed");
        st = cf_get_into(c->s, c->cf[round % FAMILIES], NULL, odb_bytes(key, n), back, sizeof back,
                         &got);
        if (st != ODB_OK || got != len || memcmp(back, value, len) != 0)
            wrong(c, "a commit was not visible on return");
        (void)snprintf(value, sizeof value, "w%u-%u", m->no, round); /* and something to flush */
        st = cf_put(c->s, c->cf[0], odb_s(value), odb_bytes(value, sizeof value), NULL);
        if (st != ODB_OK)
            wrong(c, "a put failed");
    }
}

/* At a snapshot all families say the same, and numbers never go back. */
static void read_snapshots(void *arg)
{
    struct member *m = arg;
    struct crowd *c = m->c;
    char last[WRITERS][16] = {{0}};

    while (!atomic_load(&c->is_over)) {
        struct cf_snapshot *snap;

        if (cf_snapshot_new(c->s, &snap) != ODB_OK) {
            wrong(c, "no snapshot");
            return;
        }
        for (unsigned w = 0; w < WRITERS; w++) {
            char key[32], value[FAMILIES][16] = {{0}};
            size_t n = writer_key(w, key), got;

            for (int f = 0; f < FAMILIES; f++) {
                odb_status st = cf_get_into(c->s, c->cf[f], snap, odb_bytes(key, n), value[f],
                                            sizeof value[f], &got);

                if (st != ODB_OK && st != ODB_ABSENT)
                    wrong(c, "a get failed");
            }
            if (memcmp(value[0], value[1], 16) != 0 || memcmp(value[0], value[2], 16) != 0)
                wrong(c, "a batch was seen in part");
            if (memcmp(last[w], value[0], 16) > 0)
                wrong(c, "time went back");
            memcpy(last[w], value[0], 16);
            atomic_fetch_add(&c->reads, 1);
        }
        cf_snapshot_free(c->s, snap);
    }
}

static void crowd_run(struct crowd *c)
{
    struct member writer[WRITERS], reader[READERS];

    for (unsigned i = 0; i < READERS; i++) {
        reader[i] = (struct member){c, i, NULL};
        assert_int_equal(os_thread_start("reader", read_snapshots, &reader[i], &reader[i].thread),
                         ODB_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        writer[i] = (struct member){c, i, NULL};
        assert_int_equal(os_thread_start("writer", write_rounds, &writer[i], &writer[i].thread),
                         ODB_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        os_thread_join(writer[i].thread);
    atomic_store(&c->is_over, true);
    for (unsigned i = 0; i < READERS; i++)
        os_thread_join(reader[i].thread);
}

/* Nothing lost: every last number, every small key. */
static void crowd_check(struct crowd *c)
{
    char key[32], value[64];
    size_t got;

    for (unsigned w = 0; w < WRITERS; w++) {
        for (int f = 0; f < FAMILIES; f++) {
            size_t n = writer_key(w, key);

            assert_int_equal(
                cf_get_into(c->s, c->cf[f], NULL, odb_bytes(key, n), value, sizeof value, &got),
                ODB_OK);
            assert_int_equal(got, 8);
            value[got] = '\0';
            assert_int_equal(strtoul(value, NULL, 10), ROUNDS);
        }
        for (unsigned r = 1; r <= ROUNDS; r++) {
            (void)snprintf(key, sizeof key, "w%u-%u", w, r);
            assert_int_equal(cf_exists(c->s, c->cf[0], NULL, odb_s(key)), ODB_OK);
        }
    }
}

static void commits_are_whole_ordered_and_seen_on_return(void **state)
{
    struct os *os = sim_new(1), *image;
    struct cf_set_stats stats;
    struct crowd c;

    (void)state;
    crowd_open(&c, os, 2);
    crowd_run(&c);
    assert_int_equal(atomic_load(&c.wrong), 0);
    crowd_check(&c);
    cf_stats(c.s, &stats);
    assert_int_equal(stats.commits, 2 * WRITERS * ROUNDS);
    assert_int_equal(stats.ops, ((FAMILIES + 1) * ROUNDS + FILL * (ROUNDS / FILLED)) * WRITERS);
    assert_int_equal(stats.visible_seq, stats.ops);
    assert_int_equal(stats.snapshots, 0);

    image = sim_image(os, SIM_M1, 1); /* the process dies here: all commits had been answered */
    assert_int_equal(cf_close(c.s), ODB_OK);
    sim_free(os);
    crowd_open(&c, image, 2);
    crowd_check(&c);
    assert_int_equal(cf_verify(c.s, NULL, NULL), ODB_OK);
    assert_int_equal(cf_close(c.s), ODB_OK);
    sim_free(image);
    assert_int_equal(test_alloc_alive(), 0);
}

/* More commits under way than there are slots: they wait, nobody is lost. */
static void the_queue_goes_round(void **state)
{
    struct os *os = sim_new(1);
    struct crowd c;

    (void)state;
    crowd_open(&c, os, 1);
    for (int i = 0; i < 3 * COMMIT_SLOTS; i++) {
        uint64_t seq = cf_visible_seq(c.s);

        assert_int_equal(cf_put(c.s, c.cf[0], odb_s("k"), odb_s("v"), NULL), ODB_OK);
        assert_int_equal(cf_visible_seq(c.s), seq + 1);
    }
    assert_int_equal(cf_close(c.s), ODB_OK);
    sim_free(os);
}

/* Families come and go under the feet of writers. */
struct churn {
    struct crowd *c;
    _Atomic bool is_over;
};

static void churn_families(void *arg)
{
    struct churn *h = arg;

    for (int i = 0; i < 30; i++) {
        struct cf *f = NULL;
        odb_status st = cf_create(h->c->s, "passing", NULL, &f);

        for (int k = 0; k < 20 && st == ODB_OK; k++)
            st = cf_put(h->c->s, f, odb_s("k"), odb_s("v"), NULL);
        if (st == ODB_OK)
            st = cf_drop(h->c->s, f);
        if (st != ODB_OK) {
            wrong(h->c, "a family did not come and go");
            return;
        }
        if (cf_put(h->c->s, f, odb_s("k"), odb_s("v"), NULL) != ODB_NO_FAMILY)
            wrong(h->c, "a dropped family took a write");
        if (cf_exists(h->c->s, f, NULL, odb_s("k")) != ODB_NO_FAMILY)
            wrong(h->c, "a dropped family was read");
    }
    atomic_store(&h->is_over, true);
}

static void families_come_and_go_beside_commits(void **state)
{
    struct os *os = sim_new(1);
    struct os_thread *t;
    struct crowd c;
    struct churn h = {.c = &c};

    (void)state;
    crowd_open(&c, os, 2);
    assert_int_equal(os_thread_start("churn", churn_families, &h, &t), ODB_OK);
    crowd_run(&c);
    os_thread_join(t);
    assert_int_equal(atomic_load(&c.wrong), 0);
    crowd_check(&c);
    assert_int_equal(cf_close(c.s), ODB_OK);
    crowd_open(&c, os, 0);
    crowd_check(&c);
    assert_int_equal(cf_close(c.s), ODB_OK);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
}

/* A failed sync in the middle of a crowd: whoever was told OK is there, the set stops. */
struct doomed {
    struct crowd *c;
    struct os_thread *thread;
    unsigned no;
    unsigned acked;
    odb_status st;
};

static _Atomic bool syncs_fail;

static odb_status fail_log_sync(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)arg;
    (void)op_no;
    if (op == SIM_SYNC && atomic_load(&syncs_fail) && strstr(name, ".log"))
        return err_set(ODB_IO, "made to fail");
    return ODB_OK;
}

static void write_until_refused(void *arg)
{
    struct doomed *d = arg;
    char key[32], value[32];
    size_t n = writer_key(d->no, key);

    for (unsigned i = 1; i < 100000; i++) {
        struct cf_write how = {.durability = (i + d->no) % 8 == 0 ? CF_FULL : CF_OS};
        size_t len = (size_t)snprintf(value, sizeof value, "%08u", i);

        d->st = cf_put(d->c->s, d->c->cf[0], odb_bytes(key, n), odb_bytes(value, len), &how);
        if (d->st != ODB_OK)
            return;
        d->acked = i;
        if (i == 300 && d->no == 0)
            atomic_store(&syncs_fail, true);
    }
}

static void a_failed_sync_stops_all_and_shows_nothing_uncertain(void **state)
{
    struct os *os = sim_new(1);
    struct doomed d[WRITERS];
    unsigned unknown = 0;
    struct crowd c;

    (void)state;
    crowd_open(&c, os, 2);
    atomic_store(&syncs_fail, false);
    sim_set_fault(os, fail_log_sync, NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        d[i] = (struct doomed){.c = &c, .no = i};
        assert_int_equal(os_thread_start("doomed", write_until_refused, &d[i], &d[i].thread),
                         ODB_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        os_thread_join(d[i].thread);
    for (unsigned i = 0; i < WRITERS; i++) {
        char key[32], value[32] = {0};
        size_t n = writer_key(i, key), got = 0;

        assert_true(d[i].st == ODB_UNKNOWN || d[i].st == ODB_READONLY);
        unknown += d[i].st == ODB_UNKNOWN;
        assert_int_equal(
            cf_get_into(c.s, c.cf[0], NULL, odb_bytes(key, n), value, sizeof value - 1, &got),
            d[i].acked ? ODB_OK : ODB_ABSENT);
        assert_int_equal(strtoul(value, NULL, 10), d[i].acked);
    }
    assert_true(unknown > 0);
    assert_int_equal(cf_health(c.s), ODB_UNKNOWN);
    assert_int_equal(cf_put(c.s, c.cf[0], odb_s("k"), odb_s("v"), NULL), ODB_READONLY);
    assert_int_equal(cf_resume(c.s), ODB_UNKNOWN);
    assert_int_equal(cf_flush(c.s, NULL), ODB_READONLY);
    assert_int_not_equal(cf_close(c.s), ODB_OK);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
}

/* The process dies in the middle of the crowd, at moments of nobody's choosing: what had been answered
 * by then is there, whatever flushes and switches were under way. */
struct lone {
    struct crowd *c;
    struct os_thread *thread;
    unsigned no;
    _Atomic unsigned acked[FAMILIES];   /* at any level */
    _Atomic unsigned durable[FAMILIES]; /* with FULL */
};

static void write_here_and_there(void *arg)
{
    struct lone *l = arg;
    char key[32], value[64];
    size_t n = writer_key(l->no, key);

    for (unsigned round = 1; !atomic_load(&l->c->is_over); round++) {
        unsigned f = (round * 7 + l->no) % 11 < 9 ? 0 : 1 + round % 2; /* two are mostly idle */
        bool is_full = round % 32 == 0;
        struct cf_write how = {.durability = is_full ? CF_FULL : CF_OS};
        size_t len = (size_t)snprintf(value, sizeof value, "%08u and some more to fill it", round);

        if (cf_put(l->c->s, l->c->cf[f], odb_bytes(key, n), odb_bytes(value, len), &how) !=
            ODB_OK) {
            wrong(l->c, "a put failed");
            return;
        }
        atomic_store(&l->acked[f], round);
        if (is_full)
            for (unsigned i = 0; i < FAMILIES; i++)
                atomic_store(&l->durable[i], atomic_load(&l->acked[i]));
    }
}

static void judge_crowd(struct os *image, unsigned least[WRITERS][FAMILIES], const char *how)
{
    struct crowd c;

    crowd_open(&c, image, 0);
    for (unsigned w = 0; w < WRITERS; w++)
        for (unsigned f = 0; f < FAMILIES; f++) {
            char key[32], value[64] = {0};
            size_t n = writer_key(w, key), got;
            odb_status st =
                cf_get_into(c.s, c.cf[f], NULL, odb_bytes(key, n), value, sizeof value - 1, &got);

            if ((st != ODB_OK && st != ODB_ABSENT) || strtoul(value, NULL, 10) < least[w][f])
                fail_msg("%s: writer %u was told %u in family %u; found %s", how, w, least[w][f], f,
                         st == ODB_OK ? value : odb_status_name(st));
        }
    assert_int_equal(cf_close(c.s), ODB_OK);
    sim_free(image);
}

static void dying_in_a_crowd_keeps_what_was_answered(void **state)
{
    struct os *os = sim_new(1);
    static struct lone l[WRITERS];
    struct crowd c;
    unsigned images = 0;

    (void)state;
    small_buffers = true;
    crowd_open(&c, os, 2);
    for (unsigned i = 0; i < WRITERS; i++) {
        memset(&l[i], 0, sizeof l[i]);
        l[i].c = &c;
        l[i].no = i;
        assert_int_equal(os_thread_start("lone", write_here_and_there, &l[i], &l[i].thread),
                         ODB_OK);
    }
    for (; images < 30 && atomic_load(&c.wrong) == 0; images++) {
        unsigned acked[WRITERS][FAMILIES], durable[WRITERS][FAMILIES];
        struct os *killed, *cut;

        os_thread_sleep(300000);
        for (unsigned w = 0; w < WRITERS; w++)
            for (unsigned f = 0; f < FAMILIES; f++) {
                durable[w][f] = atomic_load(&l[w].durable[f]);
                acked[w][f] = atomic_load(&l[w].acked[f]);
            }
        killed = sim_image(os, SIM_M1, images);
        cut = sim_image(os, images % 2 ? SIM_M0 : SIM_M4, images);
        judge_crowd(killed, acked, "killed");
        judge_crowd(cut, durable, "without power");
    }
    atomic_store(&c.is_over, true);
    for (unsigned i = 0; i < WRITERS; i++)
        os_thread_join(l[i].thread);
    small_buffers = false;
    assert_int_equal(atomic_load(&c.wrong), 0);
    assert_int_equal(cf_close(c.s), ODB_OK);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
}

/* ---- a read's moment and its view ---- */

struct finder {
    struct cf_set *s;
    struct cf *cf;
    _Atomic bool *stop;
    _Atomic unsigned long *done; /* puts that have returned */
    struct os_thread *thread;
    uint64_t reads, missed;
};

static void find_what_is_there(void *arg)
{
    struct finder *f = arg;
    char v[32];
    size_t n;

    do {
        unsigned long done = atomic_load(f->done);

        memset(v, 0, sizeof v);
        if (cf_get_into(f->s, f->cf, NULL, odb_s("k"), v, sizeof v - 1, &n) != ODB_OK ||
            strtoul(v, NULL, 10) < done)
            f->missed++;
        f->reads++;
    } while (!atomic_load(f->stop));
}

/* Every flush drops the versions that nobody is known to read. A read that chose its moment before its
 * view would look for one of them (C33). */
static void P11_a_read_finds_what_was_there_when_it_began(void **state)
{
    struct os *os = sim_new(5);
    struct cf_set_options o = crowd_options(os, 1);
    struct finder f[2];
    _Atomic bool stop = false;
    _Atomic unsigned long done = 0;
    unsigned long n = 0;
    struct cf_set *s;
    struct cf *cf;
    char v[32];

    (void)state;
    assert_int_equal(cf_open(DB, &o, &s), ODB_OK);
    assert_int_equal(cf_find(s, "default", &cf), ODB_OK);
    assert_int_equal(cf_put(s, cf, odb_s("k"), odb_s("0"), NULL), ODB_OK);
    for (int i = 0; i < 2; i++) {
        f[i] = (struct finder){.s = s, .cf = cf, .stop = &stop, .done = &done};
        assert_int_equal(os_thread_start("finder", find_what_is_there, &f[i], &f[i].thread),
                         ODB_OK);
    }
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 4; i++) {
            (void)snprintf(v, sizeof v, "%lu", ++n);
            assert_int_equal(cf_put(s, cf, odb_s("k"), odb_s(v), NULL), ODB_OK);
            atomic_store(&done, n);
        }
        assert_int_equal(cf_flush(s, cf), ODB_OK);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        os_thread_join(f[i].thread);
        assert_true(f[i].reads > 0);
        assert_int_equal(f[i].missed, 0);
    }
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(os);
}

/* ---- commits that depend on something ---- */

#define MANY   12 /* families: more than a commit keeps on the stack */
#define CLAIMS 22 /* keys and ranges, more than a set of claims keeps in itself */

static void must_be_text(struct cf_set *s, struct cf *f, const char *key, const char *want)
{
    char got[16];
    size_t n = 0;

    assert_int_equal(cf_get_into(s, f, NULL, odb_s(key), got, sizeof got, &n), ODB_OK);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
}

/* Begin, put something large, commit a guarded batch over many families that holds what it claims. */
static odb_status prepare_much(struct cf_set *s, const struct batch *b, odb_guard *guard,
                               odb_claim *claim, struct cf_snapshot **snap)
{
    static const char large[3000];
    struct cf *f = NULL;
    odb_status st = cf_find(s, "default", &f);

    if (st == ODB_OK)
        st = cf_txn_begin(s, snap);
    if (st == ODB_OK)
        st = cf_put(s, f, odb_s("large"), odb_bytes(large, sizeof large), NULL);
    if (st != ODB_OK)
        return st;
    guard->since = cf_snapshot_seq(*snap);
    for (int i = 0; i < CLAIMS; i++)
        claim[i].since = guard->since;
    return cf_commit_guarded(s, b, guard, NULL);
}

static void P16_a_guarded_commit_without_memory_changes_nothing(void **state)
{
    static const char *const names[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"};
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
                                       "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"};
    odb_claim claim[CLAIMS] = {{0}};
    struct batch b = {0};
    long n = 0, failed = 1;

    (void)state;
    for (int i = 0; i < CLAIMS; i++)
        claim[i].lower = odb_s(i < 20 ? keys[i] : i == 20 ? "u" : "x");
    claim[20].is_range = claim[21].is_range = true;
    claim[20].upper = odb_s("w");
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(batch_put(&b, i, odb_s("key"), odb_s("new")), ODB_OK);
    for (; failed; n++) {
        odb_guard guard = {.claim = claim, .claim_count = CLAIMS, .hold = 1};
        odb_guard release = {.since = ODB_SINCE_EVER, .release = 1};
        struct os *os = sim_new(1);
        struct cf_set_options o = crowd_options(os, 0);
        struct cf_snapshot *snap = NULL;
        struct batch nothing = {0};
        struct cf *f[MANY];
        struct cf_set *s;
        odb_status st;

        assert_true(n < 1000);
        o.families = names;
        o.family_count = MANY - 1;
        assert_int_equal(cf_open(DB, &o, &s), ODB_OK);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(cf_find(s, i ? names[i - 1] : "default", &f[i]), ODB_OK);
            assert_int_equal(cf_put(s, f[i], odb_s("key"), odb_s("old"), NULL), ODB_OK);
        }
        test_alloc_fail(n, 0);
        st = prepare_much(s, &b, &guard, claim, &snap);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_true(st == ODB_OK || (st == ODB_NOMEM && failed));
        for (int i = 0; i < MANY; i++)
            must_be_text(s, f[i], "key", st == ODB_OK ? "new" : "old");
        for (int i = 0; i < CLAIMS; i++) /* held, or not at all */
            assert_int_equal(cf_put(s, f[0], claim[i].lower, odb_s("other"), NULL),
                             st == ODB_OK ? ODB_CONFLICT : ODB_OK);
        assert_int_equal(cf_put(s, f[0], odb_s("w"), odb_s("other"), NULL), ODB_OK);
        if (st == ODB_OK) {
            assert_int_equal(cf_commit_guarded(s, &nothing, &release, NULL), ODB_OK);
            for (int i = 0; i < CLAIMS; i++)
                assert_int_equal(cf_put(s, f[0], claim[i].lower, odb_s("other"), NULL), ODB_OK);
        }
        cf_snapshot_free(s, snap);
        assert_int_equal(cf_close(s), ODB_OK);
        sim_free(os);
    }
    assert_true(n > 6);
    batch_release(&b);
    assert_int_equal(test_alloc_alive(), 0);
}

/* The ring of recent commits has forgotten what came since: the memtables know of keys, nobody of
 * ranges, and of what was flushed only that it may have been touched. */
static void what_the_ring_forgot_is_looked_up_or_too_old(void **state)
{
    enum { FORGOTTEN = 20000 };
    static const struct {
        const char *claim, *upper, *write;
        uint32_t family;
        bool is_flushed;
        odb_status want;
    } c[] = {
        {"untouched", NULL, "mine", 0, false, ODB_OK},
        {"x00007", NULL, "mine", 0, false, ODB_CONFLICT},
        {"x00007", NULL, "mine", 1, false, ODB_OK},  /* in another family */
        {"x00007", NULL, "mine", 77, false, ODB_OK}, /* one that is not there */
        {"untouched", NULL, "x00007", 0, false, ODB_CONFLICT},
        {"a", "b", "mine", 0, false, ODB_TOO_OLD},
        {"x00007", NULL, "mine", 0, true, ODB_TOO_OLD},
        {"untouched", NULL, "mine", 0, true, ODB_OK}, /* no table of since then holds such keys */
        {"untouched", NULL, "x00007", 0, true, ODB_TOO_OLD},
    };

    (void)state;
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        struct os *os = sim_new(1);
        struct cf_set_options o = crowd_options(os, 0);
        odb_claim claim = {.family = c[i].family, .lower = odb_s(c[i].claim)};
        odb_guard guard = {.claim = &claim, .claim_count = 1};
        struct cf_snapshot *snap = NULL;
        struct batch b = {0};
        struct cf_set *s;
        struct cf *f;
        char key[16];
        odb_status st;

        o.family.write_buffer = 1 << 24;
        o.log_limit = 0;
        assert_int_equal(cf_open(DB, &o, &s), ODB_OK);
        assert_int_equal(cf_find(s, "default", &f), ODB_OK);
        assert_int_equal(cf_txn_begin(s, &snap), ODB_OK);
        claim.since = guard.since = cf_snapshot_seq(snap);
        claim.is_range = c[i].upper != NULL;
        if (claim.is_range)
            claim.upper = odb_s(c[i].upper);
        for (unsigned k = 0; k < FORGOTTEN; k++) {
            (void)snprintf(key, sizeof key, "x%05u", k);
            assert_int_equal(batch_put(&b, 0, odb_s(key), odb_s("v")), ODB_OK);
        }
        assert_int_equal(cf_commit(s, &b, NULL), ODB_OK);
        if (c[i].is_flushed)
            assert_int_equal(cf_flush(s, f), ODB_OK);
        batch_clear(&b);
        assert_int_equal(batch_put(&b, 0, odb_s(c[i].write), odb_s("w")), ODB_OK);
        st = cf_commit_guarded(s, &b, &guard, NULL);
        if (st != c[i].want)
            fail_msg("case %zu: %s: %s", i, odb_status_name(st), odb_error_text());
        if (st == ODB_OK)
            must_be_text(s, f, c[i].write, "w");
        else if (strcmp(c[i].write, "mine") == 0)
            assert_int_equal(cf_exists(s, f, NULL, odb_s("mine")), ODB_ABSENT);
        else
            must_be_text(s, f, c[i].write, "v");
        batch_release(&b);
        cf_snapshot_free(s, snap);
        assert_int_equal(cf_close(s), ODB_OK);
        sim_free(os);
    }
    assert_int_equal(test_alloc_alive(), 0);
}

/* A commit that has to wait for flushes does some of that work where nobody else does: the log may turn
 * out to have failed. And one that must not wait is told for how long it would have had to. */
static void a_commit_that_has_to_wait_is_told_why_not(void **state)
{
    const struct cf_write lazy = {.durability = CF_OS}, impatient = {CF_OS, .no_wait = true};
    struct os *os = sim_new(1);
    struct manifest_group g = {0};
    odb_status st = ODB_OK;
    char value[1000];
    struct crowd c;

    (void)state;
    memset(value, 'v', sizeof value);
    crowd_open(&c, os, 0);
    /* needs log from before what is flushed, so that a flush syncs the log */
    assert_int_equal(cf_put(c.s, c.cf[1], odb_s("k"), odb_s("old"), &lazy), ODB_OK);
    for (int i = 0; i < 2; i++) { /* all buffers but one are waiting to be flushed */
        assert_int_equal(cf_put(c.s, c.cf[0], odb_s("k"), odb_s("old"), &lazy), ODB_OK);
        assert_int_equal(commit_switch(c.s, c.cf[0], false, true), ODB_OK);
    }
    for (char key = 'A'; key < 'Q'; key++)
        assert_int_equal(
            cf_put(c.s, c.cf[0], odb_bytes(&key, 1), odb_bytes(value, sizeof value), &impatient),
            ODB_OK);
    atomic_store(&cf_tree(c.cf[0])->pressure.flush_ps_per_byte, 1000000000);
    assert_int_equal(cf_put(c.s, c.cf[0], odb_s("k"), odb_s("new"), &impatient), ODB_AGAIN);
    assert_non_null(strstr(odb_error_text(), "would wait"));
    must_be_text(c.s, c.cf[0], "k", "old");
    atomic_store(&syncs_fail, true);
    sim_set_fault(os, fail_log_sync, NULL);
    for (int i = 0; i < 10 && st == ODB_OK; i++) /* each does one piece of work */
        st = cf_put(c.s, c.cf[0], odb_s("l"), odb_s("new"), &lazy);
    assert_int_equal(st, ODB_READONLY);
    assert_non_null(strstr(odb_error_text(), "until the database is reopened"));
    must_be_text(c.s, c.cf[0], "k", "old");
    assert_int_equal(cf_sync(c.s), ODB_READONLY);
    os_mutex_lock(&c.s->manifest_lock); /* from then on the manifest is not written either */
    assert_int_equal(ledger_write_order(c.s, &g), ODB_READONLY);
    os_mutex_unlock(&c.s->manifest_lock);
    manifest_group_release(&g);
    assert_int_not_equal(cf_close(c.s), ODB_OK);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
}

/* ---- help ---- */

/* Put so much that the ring has to be drained again and again and the memtable comes to its large
 * blocks. Without workers no commit leaves a drain to anybody. */
static void put_megabytes(struct cf_set *s, struct cf *cf, unsigned megabytes, bool is_alone)
{
    static char value[1000];
    uint32_t key;

    for (key = 0; key < megabytes * 1000; key++) {
        uint8_t k[4];

        enc_u32(k, key);
        assert_int_equal(cf_put(s, cf, odb_bytes(k, 4), odb_bytes(value, sizeof value), NULL),
                         ODB_OK);
        if (is_alone)
            assert_false(wal_drain_due(s->wal));
    }
}

static void open_buffer_of(struct os *os, size_t write_buffer, unsigned threads, struct cf_set **s,
                           struct cf **cf)
{
    struct cf_set_options o = crowd_options(os, threads);

    o.family.write_buffer = write_buffer;
    o.log_segment_size = o.log_limit = (uint64_t)64 << 20;
    assert_int_equal(cf_open(DB, &o, s), ODB_OK);
    assert_int_equal(cf_find(*s, "default", cf), ODB_OK);
}

static void workers_drain_the_ring_and_make_blocks_ahead(void **state)
{
    struct os *os = sim_new(6);
    struct memtable *mem;
    unsigned waits = 0;
    struct cf_set *s;
    struct cf *cf;

    (void)state;
    open_buffer_of(os, SET_ROOMY, 2, &s, &cf);
    put_megabytes(s, cf, 5, false);
    mem = lsm_active(cf->tree); /* nothing is flushed: it stays */
    while (wal_drain_due(s->wal) || memtable_block_due(mem)) {
        assert_true(waits++ < 10000);
        os_thread_sleep(1000000);
        if (waits % 100 == 0) /* one that came while a worker was at it: the next commit asks */
            put_megabytes(s, cf, 1, false);
    }
    for (unsigned i = 0; i < AID_COUNT; i++)
        assert_int_not_equal(atomic_load(&s->aid[i].state), AID_GIVEN_UP);
    assert_true(memtable_bytes(mem) >= memtable_count(mem) * 1000 + ARENA_BLOCK_MAX);
    assert_int_equal(cf_close(s), ODB_OK); /* with a worker still at it, perhaps */
    open_buffer_of(os, SET_ROOMY, 2, &s, &cf);
    assert_int_equal(cf_exists(s, cf, NULL, odb_bytes("\0\0\0\0", 4)), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(os);
}

static void small_buffers_get_no_blocks_ahead(void **state)
{
    struct os *os = sim_new(7);
    struct cf_set *s;
    struct cf *cf;

    (void)state;
    open_buffer_of(os, SET_ROOMY / 2, 2, &s, &cf);
    put_megabytes(s, cf, 3, false);
    assert_true(memtable_block_due(lsm_active(cf->tree)));
    assert_int_equal(atomic_load(&s->aid[AID_BLOCK].state), AID_IDLE);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(os);
}

static void without_workers_commits_drain_themselves(void **state)
{
    struct os *os = sim_new(8);
    struct cf_set *s;
    struct cf *cf;

    (void)state;
    open_buffer_of(os, SET_ROOMY, 0, &s, &cf);
    put_megabytes(s, cf, 3, true);
    assert_true(memtable_block_due(lsm_active(cf->tree))); /* nobody is there to make one */
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(os);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_drain_the_ring_and_make_blocks_ahead),
        cmocka_unit_test(small_buffers_get_no_blocks_ahead),
        cmocka_unit_test(without_workers_commits_drain_themselves),
        cmocka_unit_test(P16_a_guarded_commit_without_memory_changes_nothing),
        cmocka_unit_test(what_the_ring_forgot_is_looked_up_or_too_old),
        cmocka_unit_test(commits_are_whole_ordered_and_seen_on_return),
        cmocka_unit_test(the_queue_goes_round),
        cmocka_unit_test(families_come_and_go_beside_commits),
        cmocka_unit_test(dying_in_a_crowd_keeps_what_was_answered),
        cmocka_unit_test(a_failed_sync_stops_all_and_shows_nothing_uncertain),
        cmocka_unit_test(P11_a_read_finds_what_was_there_when_it_began),
        cmocka_unit_test(a_commit_that_has_to_wait_is_told_why_not),
    };

    if (getenv("ODB_TEST_ONLY"))
        cmocka_set_test_filter(getenv("ODB_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
