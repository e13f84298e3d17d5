/* The promises of the log under power cuts, kills and failing calls, on the simulated disk.
 *
 *     life:   open, appends with drains, syncs, rolls, now and then a spare made ahead, close
 *     crash:  before or inside every single operation of it
 *     image:  what any of the disk models leaves; recovered, crashed again while recovering, then
 *             lived on for a while and crashed once more
 *
 * After each: a prefix of what was begun (P3), with all that a sync answered for (P1), and after a mere
 * kill all that an append answered for (P2); the same again however often recovery dies (P10). */
#include "tests/wal/fixture.h"

#include "os/sim.h"

struct life {
    size_t ring;
    uint64_t segment;
    size_t large_every;
    unsigned appends;
    unsigned sync_every; /* 0: never */
};

static const struct life lives[] = {
    {4096, 1500, 0, 45, 9},       /* small records, many rolls */
    {4096, 1500, 0, 60, 0},       /* never a sync */
    {4096, 9000, 6, 24, 5},       /* records that go past the ring, larger than segments */
    {0, 1500, 0, 30, 4},          /* no ring */
    {4096, 1 << 20, 0, 90, 1000}, /* one segment, the ring goes round */
    {65536, 40000, 5, 40, 13},    /* drains of whole pages */
};
#define LIFE_COUNT (sizeof lives / sizeof lives[0])

struct outcome {
    uint64_t acked;   /* records whose append returned ODB_OK */
    uint64_t begun;   /* acked, and the one that was tried and might be there */
    uint64_t synced;  /* records that a successful sync covers */
    bool is_refused;  /* ODB_UNKNOWN was seen */
    odb_status first; /* error */
};

static uint64_t test_seed(void)
{
    const char *text = getenv("ODB_TEST_SEED");

    return text != NULL ? strtoull(text, NULL, 0) : 20260807;
}

static void note(struct outcome *o, odb_status st)
{
    if (st != ODB_OK && o->first == ODB_OK)
        o->first = st;
    if (st == ODB_UNKNOWN)
        o->is_refused = true;
}

/* One step of a life; returns its status. After a sync `o` knows what must stay. */
static odb_status life_step(struct log_fx *fx, const struct life *how, unsigned step,
                            struct outcome *o)
{
    odb_status st;

    if (step % 16 == 11 && wal_prepare_due(fx->wal))
        note(o, wal_prepare(fx->wal));
    o->begun = fx->appended + 1;
    st = log_append(fx);
    if (sim_is_dead(fx->os))
        st = ODB_UNKNOWN; /* a store into the ring cannot say that it came too late */
    if (st == ODB_OK && o->is_refused)
        fail_msg("an append after ODB_UNKNOWN");
    if (st == ODB_OK)
        o->acked = fx->appended;
    else if (st != ODB_UNKNOWN)
        o->begun = fx->appended; /* certainly not there (P5) */
    if (st == ODB_OK && wal_drain_due(fx->wal))
        st = wal_drain(fx->wal);
    if (st == ODB_OK && how->sync_every > 0 && step % how->sync_every == how->sync_every - 1) {
        uint64_t upto = fx->appended;

        st = wal_sync(fx->wal, fx->last_end);
        if (st == ODB_OK)
            o->synced = upto;
    }
    note(o, st);
    return st;
}

/* Live from fx->appended on until the first error, or through all if `goes_on`. */
static struct outcome life_run(struct log_fx *fx, const struct life *how, bool goes_on)
{
    struct outcome o = {.acked = fx->appended, .begun = fx->appended, .synced = fx->appended};
    odb_status st;

    fx->large_every = how->large_every;
    fx->dir = NULL;
    st = os_dir_open(fx->os, "db", OS_DIR_CREATE, &fx->dir);
    if (st == ODB_OK)
        st = log_open(fx, how->ring, how->segment);
    note(&o, st);
    for (unsigned i = 0; i < how->appends && fx->wal != NULL && (st == ODB_OK || goes_on); i++)
        st = life_step(fx, how, i, &o);
    st = wal_close(fx->wal);
    if (st == ODB_OK && fx->wal != NULL && !sim_is_dead(fx->os))
        o.synced = o.acked;
    fx->wal = NULL;
    os_dir_close(fx->dir);
    fx->dir = NULL;
    return o;
}

/* Replay what is on `os`; files below `first_no` are no longer needed. */
static odb_status recover(struct log_fx *fx, struct os *os, const struct life *how, uint64_t base,
                          uint64_t first_no)
{
    odb_status st;

    log_init(fx, os, "db");
    fx->large_every = how->large_every;
    fx->base = base;
    st = os_dir_open(os, "db", OS_DIR_CREATE, &fx->dir);
    if (st == ODB_OK)
        st = log_list(fx);
    if (st == ODB_OK) {
        size_t keep = 0;

        for (size_t i = 0; i < fx->file_count; i++)
            if (fx->files[i] >= first_no)
                fx->files[keep++] = fx->files[i];
        fx->file_count = keep;
        st = log_replay_files(fx, 0);
        fx->next_no = keep > 0 ? fx->files[keep - 1] + 1 : first_no;
        fx->appended = base + fx->seen;
        fx->last_end = fx->result.end_lsn;
    }
    return st;
}

static uint64_t states;

static void complain(const char *what, size_t life, uint64_t op, int model, uint64_t seed,
                     const struct outcome *o, const struct log_fx *fx)
{
    print_error("%s: life %zu, operation %llu, model %d, seed %llu: %llu acked, %llu synced, base "
                "%llu, %llu seen%s; %s\n",
                what, life, (unsigned long long)op, model, (unsigned long long)seed,
                (unsigned long long)o->acked, (unsigned long long)o->synced,
                (unsigned long long)fx->base, (unsigned long long)fx->seen,
                fx->is_wrong ? ", wrong" : "", odb_error_text());
    fail();
}

static void check_prefix(struct log_fx *fx, odb_status st, const struct outcome *o, size_t life,
                         uint64_t op, int model, uint64_t seed)
{
    uint64_t have = fx->base + fx->seen;

    states++;
    if (st != ODB_OK)
        complain("cannot be opened", life, op, model, seed, o, fx);
    if (fx->is_wrong || have > o->begun)
        complain("wrong or unknown record", life, op, model, seed, o, fx);
    if (have < o->synced || (model == SIM_M1 && have < o->acked))
        complain("lost a record", life, op, model, seed, o, fx);
}

/* Crash the recovery of `disk` at each of its operations: whoever comes next finds the same. */
static void crash_recovery(struct os *disk, size_t life, const struct outcome *o, uint64_t want,
                           uint64_t base, uint64_t first_no, uint64_t seed)
{
    const struct life *how = &lives[life];

    for (uint64_t n = 1;; n++) {
        struct os *os = sim_image(disk, SIM_M1, 0), *after;
        struct log_fx fx;
        bool is_dead;

        sim_crash_at(os, n);
        if (recover(&fx, os, how, base, first_no) == ODB_OK &&
            log_open(&fx, how->ring, how->segment) == ODB_OK)
            err_ignore(wal_close(fx.wal));
        os_dir_close(fx.dir);
        is_dead = sim_is_dead(os);
        for (int model = SIM_M0; model < SIM_MODELS; model += 2) {
            odb_status st;

            after = sim_image(os, (enum sim_model)model, seed + n);
            st = recover(&fx, after, how, base, first_no);
            check_prefix(&fx, st, o, life, n, SIM_M0, seed);
            if (fx.base + fx.seen != want)
                complain("recovery changed its mind", life, n, model, seed, o, &fx);
            os_dir_close(fx.dir);
            sim_free(after);
        }
        sim_free(os);
        if (!is_dead)
            break;
    }
}

/* Recover, call what was found safe, write on, crash anywhere, recover again. */
static void live_on(struct os *disk, size_t life, uint64_t base, uint64_t first_no, uint64_t seed)
{
    struct log_fx fx, again;
    struct os *after;
    struct outcome o;
    uint64_t from;
    odb_status st;

    assert_int_equal(recover(&fx, disk, &lives[life], base, first_no), ODB_OK);
    os_dir_close(fx.dir);
    from = fx.appended;
    first_no = fx.next_no;
    sim_crash_at(disk, sim_op_count(disk) + 1 + hash_mix(seed, 5) % 150);
    o = life_run(&fx, &lives[life], false);
    for (int model = 0; model < SIM_MODELS; model++) {
        after = sim_image(disk, (enum sim_model)model, seed);
        st = recover(&again, after, &lives[life], from, first_no);
        check_prefix(&again, st, &o, life, sim_op_count(disk), model, seed);
        os_dir_close(again.dir);
        sim_free(after);
    }
}

static void crash_everywhere(size_t life)
{
    uint64_t seed = test_seed(), total;
    struct log_fx fx;
    struct outcome o;
    struct os *os = sim_new(seed);

    log_init(&fx, os, "db");
    o = life_run(&fx, &lives[life], false);
    assert_int_equal(o.first, ODB_OK);
    assert_int_equal(o.acked, lives[life].appends);
    total = sim_op_count(os);
    sim_free(os);
    for (uint64_t n = 1; n <= total; n++) {
        os = sim_new(seed);
        log_init(&fx, os, "db");
        sim_crash_at(os, n);
        o = life_run(&fx, &lives[life], false);
        for (int model = 0; model < SIM_MODELS; model++)
            for (uint64_t s = 0; s < (model < 2 ? 1 : 3); s++) {
                uint64_t image_seed = hash_mix(seed + s, n);
                struct os *image = sim_image(os, (enum sim_model)model, image_seed);
                struct log_fx found;
                odb_status st = recover(&found, image, &lives[life], 0, 1);
                uint64_t have = found.seen;

                check_prefix(&found, st, &o, life, n, model, image_seed);
                os_dir_close(found.dir);
                if (image_seed % 31 == 0)
                    crash_recovery(image, life, &o, have, 0, 1, image_seed);
                if (image_seed % 5 == 0)
                    live_on(image, life, 0, 1, image_seed);
                sim_free(image);
            }
        sim_free(os);
    }
}

static void P01_no_crash_breaks_a_promise(void **state)
{
    (void)state;
    print_message("ODB_TEST_SEED=%llu\n", (unsigned long long)test_seed());
    for (size_t i = 0; i < LIFE_COUNT; i++)
        crash_everywhere(i);
    print_message("%llu states\n", (unsigned long long)states);
}

/* ---- failing calls ---- */

struct trouble {
    uint64_t at;
    uint64_t upto; /* the last operation that fails */
    odb_status with;
};

static odb_status make_trouble(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    const struct trouble *t = arg;

    (void)name;
    if (op == SIM_RING_STORE || op_no < t->at || op_no > t->upto)
        return ODB_OK;
    return err_set(t->with, "made to fail");
}

/* Whatever fails, once or for good: an append that was refused is not there, one that was accepted
 * is, one that was answered for is on the medium, and after ODB_UNKNOWN nothing is accepted. */
static void fail_everywhere(size_t life, odb_status with, bool for_good)
{
    uint64_t seed = test_seed();

    for (uint64_t n = 1;; n++) {
        struct trouble t = {n, for_good ? UINT64_MAX : n, with};
        struct os *os = sim_new(seed);
        struct outcome o;
        struct log_fx fx;
        uint64_t total;

        log_init(&fx, os, "db");
        sim_set_fault(os, make_trouble, &t);
        o = life_run(&fx, &lives[life], true);
        total = sim_op_count(os);
        sim_set_fault(os, NULL, NULL);
        for (int model = 0; model < SIM_MODELS; model++) {
            struct os *image = sim_image(os, (enum sim_model)model, seed + n);
            struct log_fx found;
            odb_status st = recover(&found, image, &lives[life], 0, 1);

            check_prefix(&found, st, &o, life, n, model, seed + n);
            os_dir_close(found.dir);
            sim_free(image);
        }
        sim_free(os);
        if (n > total)
            break;
    }
}

static void no_failing_call_breaks_a_promise(void **state)
{
    static const odb_status with[] = {ODB_IO, ODB_NOSPACE, ODB_LIMIT};

    (void)state;
    for (size_t i = 0; i < LIFE_COUNT; i++)
        for (size_t k = 0; k < 3; k++) {
            fail_everywhere(i, with[k], false);
            fail_everywhere(i, with[k], true);
        }
}

/* A read that fails is never taken for the end of the log (C15). */
static void a_read_that_fails_fails_the_replay(void **state)
{
    (void)state;
    for (size_t life = 0; life < LIFE_COUNT; life++) {
        struct os *os = sim_new(1);
        struct log_fx fx;

        log_init(&fx, os, "db");
        assert_int_equal(life_run(&fx, &lives[life], false).first, ODB_OK);
        for (uint64_t n = 1;; n++) {
            uint64_t first = sim_op_count(os);
            struct trouble t = {first + n, first + n, ODB_IO};
            odb_status st;

            sim_set_fault(os, make_trouble, &t);
            st = recover(&fx, os, &lives[life], 0, 1);
            os_dir_close(fx.dir);
            if (sim_op_count(os) < first + n) {
                assert_int_equal(st, ODB_OK);
                assert_int_equal(fx.seen, lives[life].appends);
                break;
            }
            assert_int_equal(st, ODB_IO);
        }
        sim_free(os);
    }
}

/* Replay changes nothing: not one mutating operation. */
static void replay_only_reads(void **state)
{
    struct os *os = sim_new(1), *image;
    struct log_fx fx;

    (void)state;
    log_init(&fx, os, "db");
    assert_int_equal(life_run(&fx, &lives[0], false).first, ODB_OK);
    image = sim_image(os, SIM_M1, 0);
    log_init(&fx, image, "db");
    assert_int_equal(os_dir_open(image, "db", OS_DIR_READONLY, &fx.dir), ODB_OK);
    assert_int_equal(log_replay(&fx), ODB_OK);
    assert_int_equal(fx.seen, lives[0].appends);
    assert_int_equal(sim_mutations(image), 0);
    os_dir_close(fx.dir);
    sim_free(image);
    sim_free(os);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P01_no_crash_breaks_a_promise),
        cmocka_unit_test(no_failing_call_breaks_a_promise),
        cmocka_unit_test(a_read_that_fails_fails_the_replay),
        cmocka_unit_test(replay_only_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
