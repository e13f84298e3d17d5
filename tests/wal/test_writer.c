#include "tests/wal/fixture.h"

#include "os/os_thread.h"
#include "os/sim.h"
#include "tests/lib/test_alloc.h"
#include "wal/segment.h"

static void log_init_sim(struct log_fx *fx)
{
    log_init(fx, sim_new(1), "db");
    assert_int_equal(os_dir_open(fx->os, "db", OS_DIR_CREATE, &fx->dir), ODB_OK);
}

static void log_release_sim(struct log_fx *fx)
{
    os_dir_close(fx->dir);
    sim_free(fx->os);
}

/* ---- appending ---- */

static void an_append_costs_no_call(void **state)
{
    struct log_fx fx;
    uint64_t before, stores;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 1 << 20, 1 << 20), ODB_OK);
    assert_true(wal_has_ring(fx.wal));
    before = sim_op_count(fx.os);
    stores = sim_op_kind_count(fx.os, SIM_RING_STORE);
    log_append_many(&fx, 100);
    assert_int_equal(sim_op_count(fx.os) - before,
                     sim_op_kind_count(fx.os, SIM_RING_STORE) - stores);
    assert_int_equal(wal_end(fx.wal), fx.last_end);
    log_expect_all(&fx);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_sim(&fx);
}

static void a_drain_is_due_at_half_and_presses_at_three_quarters(void **state)
{
    struct log_fx fx;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 8192, 1 << 20), ODB_OK);
    while (!wal_drain_due(fx.wal)) {
        assert_true(fx.last_end < 4096);
        assert_int_equal(log_append(&fx), ODB_OK);
    }
    assert_true(fx.last_end >= 4096);
    while (!wal_drain_presses(fx.wal)) {
        assert_true(fx.last_end < 6144);
        assert_int_equal(log_append(&fx), ODB_OK);
    }
    assert_true(fx.last_end >= 6144);
    assert_int_equal(wal_drain(fx.wal), ODB_OK);
    assert_false(wal_drain_due(fx.wal));
    assert_false(wal_drain_presses(fx.wal));
    assert_int_equal(sim_op_kind_count(fx.os, SIM_WRITE), 2); /* header, drain */
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_sim(&fx);
}

static void a_full_ring_asks_for_room(void **state)
{
    static uint8_t bytes[900];
    struct log_fx fx;
    uint64_t end = 0;
    unsigned n = 0;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    while (wal_append(fx.wal, WAL_BATCH, 1, odb_bytes(bytes, 900), hash64(bytes, 900), &end) ==
           ODB_OK)
        n++;
    assert_int_equal(n, 4);
    assert_int_equal(
        wal_append(fx.wal, WAL_BATCH, 1, odb_bytes(bytes, 900), hash64(bytes, 900), &end),
        ODB_AGAIN);
    assert_int_equal(wal_make_room(fx.wal, 900), ODB_OK);
    assert_int_equal(
        wal_append(fx.wal, WAL_BATCH, 1, odb_bytes(bytes, 900), hash64(bytes, 900), &end), ODB_OK);
    assert_int_equal(end, 5 * 928);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_sim(&fx);
}

static void every_payload_length_comes_back(void **state)
{
    static uint8_t bytes[9000];
    struct log_fx fx;
    struct wal_replay_result result;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    fx.large_every = 1; /* 3000 bytes and more: beyond a quarter of the ring */
    log_append_many(&fx, 5);
    log_expect_all(&fx);
    fx.large_every = 3;
    for (size_t len = 0; len < sizeof bytes; len += len < 1100 ? 1 : 517) {
        uint64_t end;
        odb_status st;

        do {
            st = wal_append(fx.wal, WAL_BATCH, 100000, odb_bytes(bytes, len), hash64(bytes, len),
                            &end);
            if (st == ODB_AGAIN)
                assert_int_equal(wal_make_room(fx.wal, len), ODB_OK);
        } while (st == ODB_AGAIN);
        assert_int_equal(st, ODB_OK);
        assert_int_equal(end % 8, 0);
        fx.last_end = end;
    }
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    assert_int_equal(log_replay(&fx), ODB_OK);
    result = fx.result;
    assert_int_equal(result.end_lsn, fx.last_end);
    assert_int_equal(result.records, 5 + 1100 + (sizeof bytes - 1100 + 516) / 517);
    assert_int_equal(result.seq_floor, 100000);
    log_release_sim(&fx);
}

static void without_a_ring_each_append_is_a_write(void **state)
{
    struct log_fx fx;
    uint64_t writes;

    (void)state;
    log_init_sim(&fx);
    sim_set_ring_supported(fx.os, false);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    assert_false(wal_has_ring(fx.wal));
    assert_false(wal_drain_due(fx.wal));
    log_append_many(&fx, 1);
    writes = sim_op_kind_count(fx.os, SIM_WRITE);
    log_append_many(&fx, 50);
    assert_int_equal(sim_op_kind_count(fx.os, SIM_WRITE) - writes, 50);
    log_expect_all(&fx);
    assert_int_equal(wal_sync(fx.wal, fx.last_end), ODB_OK);
    assert_int_equal(wal_durable(fx.wal), fx.last_end);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_sim(&fx);
}

static void too_large_a_batch_is_refused(void **state)
{
    struct log_fx fx;
    uint64_t end;

    (void)state;
    if (SIZE_MAX == UINT32_MAX)
        skip();
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    assert_int_equal(wal_append(fx.wal, WAL_BATCH, 1, odb_bytes("x", WAL_PAYLOAD_MAX + 1), 0, &end),
                     ODB_TOO_LARGE);
    log_append_many(&fx, 1);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    struct log_fx fx;
    struct wal_options opt;

    (void)state;
    log_init_sim(&fx);
    opt = log_options(&fx, 5000, 1 << 20);
    assert_int_equal(wal_open(&opt, 0, 0, &fx.wal), ODB_INVALID);
    opt = log_options(&fx, 2048, 1 << 20);
    assert_int_equal(wal_open(&opt, 0, 0, &fx.wal), ODB_INVALID);
    opt = log_options(&fx, 4096, 0);
    assert_int_equal(wal_open(&opt, 0, 0, &fx.wal), ODB_INVALID);
    opt = log_options(&fx, 4096, 1 << 20);
    assert_int_equal(wal_open(&opt, 4, 0, &fx.wal), ODB_INVALID);
    assert_int_equal(wal_close(NULL), ODB_OK);
    log_release_sim(&fx);
}

/* ---- segments ---- */

struct listing {
    uint64_t no[LOG_FILES];
    uint64_t first[LOG_FILES];
    uint64_t end[LOG_FILES];
    size_t count;
};

static bool list_segment(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn)
{
    struct listing *l = arg;

    l->no[l->count] = file_no;
    l->first[l->count] = first_lsn;
    l->end[l->count++] = end_lsn;
    return true;
}

static void segments_follow_one_another(void **state)
{
    struct listing l = {.count = 0};
    struct log_fx fx;
    uint64_t bytes = 0;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 2000), ODB_OK);
    log_append_many(&fx, 100);
    wal_segments(fx.wal, list_segment, &l);
    assert_true(l.count > 4);
    assert_int_equal(l.first[0], 0);
    assert_int_equal(l.end[l.count - 1], fx.last_end);
    for (size_t i = 0; i < l.count; i++) {
        assert_true(l.end[i] - l.first[i] <= 2000);
        if (i > 0) {
            assert_int_equal(l.first[i], l.end[i - 1]);
            assert_true(l.no[i] > l.no[i - 1]);
        }
        if (i + 1 < l.count) {
            char name[WAL_NAME_MAX];

            wal_segment_name(name, l.no[i]);
            assert_int_equal(log_file_size(&fx, name), wal_offset(l.first[i], l.end[i]));
        }
        bytes += WAL_SEGMENT_HEADER + l.end[i] - l.first[i];
    }
    assert_int_equal(wal_bytes(fx.wal), bytes);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

static void what_is_forgotten_is_gone_and_nothing_else(void **state)
{
    struct listing before = {.count = 0}, after = {.count = 0};
    struct log_fx fx;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 2000), ODB_OK);
    log_append_many(&fx, 100);
    wal_segments(fx.wal, list_segment, &before);
    assert_int_equal(wal_forget(fx.wal, before.no[2]), ODB_OK);
    wal_segments(fx.wal, list_segment, &after);
    assert_int_equal(after.count, before.count - 2);
    assert_int_equal(after.no[0], before.no[2]);
    assert_int_equal(log_list(&fx), ODB_OK);
    assert_int_equal(fx.files[0], before.no[2]);
    assert_int_equal(wal_forget(fx.wal, UINT64_MAX), ODB_OK);
    assert_int_equal(wal_bytes(fx.wal),
                     fx.last_end - before.first[before.count - 1] + WAL_SEGMENT_HEADER);
    assert_int_equal(wal_sync(fx.wal, fx.last_end), ODB_OK); /* of the rest */
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_sim(&fx);
}

static void a_prepared_segment_is_used_and_else_removed(void **state)
{
    struct log_fx fx;
    uint64_t creates;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 4000), ODB_OK);
    while (!wal_prepare_due(fx.wal))
        log_append_many(&fx, 1);
    assert_int_equal(wal_prepare(fx.wal), ODB_OK);
    assert_false(wal_prepare_due(fx.wal));
    creates = sim_op_kind_count(fx.os, SIM_CREATE);
    while (fx.last_end < 5000)
        log_append_many(&fx, 1);
    assert_int_equal(sim_op_kind_count(fx.os, SIM_CREATE), creates);
    assert_int_equal(wal_prepare(fx.wal), ODB_OK);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_expect_all(&fx);
    assert_int_equal(fx.file_count, 2);
    log_release_sim(&fx);
}

static void a_segment_begun_to_be_at_rest_takes_little(void **state)
{
    struct log_fx fx;
    struct listing l = {.count = 0};
    char name[WAL_NAME_MAX];

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 1 << 20, 64 << 20), ODB_OK);
    while (fx.last_end < 3 << 20) /* space comes in ever larger steps */
        log_append_many(&fx, 100);
    assert_true(wal_may_leave(fx.wal) == false); /* a sixteenth of the segment is 4 MiB */
    assert_int_equal(wal_prepare(fx.wal), ODB_OK);
    wal_leave(fx.wal);
    assert_int_equal(wal_make_room(fx.wal, 0), ODB_OK);
    assert_int_equal(wal_harden(fx.wal, fx.last_end), ODB_OK);
    wal_segments(fx.wal, list_segment, &l);
    assert_int_equal(l.count, 2);
    wal_segment_name(name, l.no[1]);
    assert_in_range(log_file_size(&fx, name), WAL_SEGMENT_HEADER, 300 << 10);
    log_append_many(&fx, 5000); /* and goes on */
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

/* ---- durability and failure ---- */

static void a_sync_answers_for_all_before_it(void **state)
{
    struct log_fx fx, found;
    struct os *image;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 2000), ODB_OK);
    log_append_many(&fx, 60);
    assert_int_equal(wal_durable(fx.wal), 0);
    assert_int_equal(wal_sync(fx.wal, 8), ODB_OK);
    assert_int_equal(wal_durable(fx.wal), fx.last_end);
    image = sim_image(fx.os, SIM_M0, 0);
    log_init(&found, image, "db");
    assert_int_equal(os_dir_open(image, "db", 0, &found.dir), ODB_OK);
    found.appended = fx.appended;
    found.last_end = fx.last_end;
    log_expect_all(&found);
    os_dir_close(found.dir);
    sim_free(image);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_release_sim(&fx);
}

struct script {
    enum sim_op op;
    odb_status st;
    const char *name; /* NULL: any */
    unsigned times;
};

static odb_status play_script(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    struct script *s = arg;

    (void)op_no;
    if (op != s->op || s->times == 0 || (s->name != NULL && strcmp(s->name, name) != 0))
        return ODB_OK;
    s->times--;
    return err_set(s->st, "scripted failure of %s", name);
}

static void must_not_be_called(struct wal_waiter *me)
{
    (void)me;
    fail();
}

static void a_failed_sync_is_final(void **state)
{
    struct script s = {SIM_SYNC, ODB_IO, "000001.log", 1};
    struct wal_waiter me = {.served = must_not_be_called};
    struct log_fx fx;
    uint64_t syncs;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    log_append_many(&fx, 10);
    me.lsn = fx.last_end;
    sim_set_fault(fx.os, play_script, &s);
    assert_int_equal(wal_sync_commit(fx.wal, &me), ODB_UNKNOWN);
    assert_non_null(strstr(odb_error_text(), "000001.log"));
    assert_false(me.is_served);
    syncs = sim_op_kind_count(fx.os, SIM_SYNC);
    assert_int_equal(log_append(&fx), ODB_UNKNOWN);
    assert_int_equal(wal_sync(fx.wal, fx.last_end), ODB_UNKNOWN);
    assert_int_equal(wal_make_room(fx.wal, 10), ODB_UNKNOWN);
    assert_int_equal(wal_drain(fx.wal), ODB_UNKNOWN);
    assert_int_equal(wal_prepare(fx.wal), ODB_UNKNOWN);
    assert_int_equal(wal_durable(fx.wal), 0);
    assert_int_equal(wal_close(fx.wal), ODB_UNKNOWN);
    assert_int_equal(sim_op_kind_count(fx.os, SIM_SYNC), syncs);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

static void a_failed_drain_is_final_and_the_ring_keeps_all(void **state)
{
    struct script s = {SIM_WRITE, ODB_IO, "000001.log", 1};
    struct log_fx fx;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    log_append_many(&fx, 7);
    sim_set_fault(fx.os, play_script, &s);
    assert_int_equal(wal_drain(fx.wal), ODB_UNKNOWN);
    assert_int_equal(log_append(&fx), ODB_UNKNOWN);
    assert_int_equal(wal_close(fx.wal), ODB_UNKNOWN);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

static void a_drain_onto_a_full_disk_heals(void **state)
{
    struct script s = {SIM_WRITE, ODB_NOSPACE, "000001.log", UINT32_MAX};
    struct log_fx fx;
    odb_status st = ODB_OK;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    log_append_many(&fx, 7);
    sim_set_fault(fx.os, play_script, &s);
    assert_int_equal(wal_drain(fx.wal), ODB_NOSPACE);
    while (st == ODB_OK)
        st = log_append(&fx); /* until the ring is full */
    assert_int_equal(st, ODB_NOSPACE);
    log_expect_all(&fx);
    s.times = 0;
    log_append_many(&fx, 50);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

/* The commits that asked are in the ring and cannot be taken back: neither OK nor "not applied". */
static void a_full_disk_under_a_sync_is_final(void **state)
{
    struct script s = {SIM_WRITE, ODB_NOSPACE, "000001.log", 1};
    struct log_fx fx;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
    log_append_many(&fx, 7);
    sim_set_fault(fx.os, play_script, &s);
    assert_int_equal(wal_sync(fx.wal, fx.last_end), ODB_UNKNOWN);
    assert_int_equal(wal_sync(fx.wal, fx.last_end), ODB_UNKNOWN);
    assert_int_equal(log_append(&fx), ODB_UNKNOWN);
    assert_int_equal(wal_close(fx.wal), ODB_UNKNOWN);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

static void a_full_disk_refuses_and_heals(void **state)
{
    struct log_fx fx;
    odb_status st = ODB_OK;
    uint64_t had;

    (void)state;
    log_init_sim(&fx);
    assert_int_equal(log_open(&fx, 4096, 100000), ODB_OK);
    sim_set_capacity(fx.os, 300000);
    while (st == ODB_OK) {
        st = log_append(&fx);
        if (st == ODB_OK && wal_drain_due(fx.wal))
            assert_int_equal(wal_drain(fx.wal), ODB_OK);
    }
    assert_int_equal(st, ODB_NOSPACE);
    had = fx.appended;
    assert_int_equal(log_append(&fx), ODB_NOSPACE);
    assert_int_equal(wal_sync(fx.wal, fx.last_end), ODB_OK);
    log_expect_all(&fx);
    sim_set_capacity(fx.os, UINT64_MAX);
    log_append_many(&fx, 1000);
    assert_int_equal(wal_close(fx.wal), ODB_OK);
    assert_int_equal(fx.appended, had + 1000);
    log_expect_all(&fx);
    log_release_sim(&fx);
}

static void a_refused_large_record_is_not_there(void **state)
{
    struct script s = {SIM_WRITE, ODB_NOSPACE, "000001.log", 1};
    static uint8_t bytes[5000];
    struct log_fx fx;
    uint64_t end;

    (void)state;
    for (unsigned survive = 0; survive < 3; survive++) {
        log_init_sim(&fx);
        assert_int_equal(log_open(&fx, 4096, 1 << 20), ODB_OK);
        log_append_many(&fx, 10);
        assert_int_equal(wal_make_room(fx.wal, sizeof bytes), ODB_OK);
        s.times = 1;
        s.st = survive == 2 ? ODB_IO : ODB_NOSPACE;
        sim_set_fault(fx.os, play_script, &s);
        assert_int_equal(wal_append(fx.wal, WAL_BATCH, 1000, odb_bytes(bytes, sizeof bytes),
                                    hash64(bytes, sizeof bytes), &end),
                         survive == 2 ? ODB_UNKNOWN : ODB_NOSPACE);
        log_expect_all(&fx);
        if (survive == 1) {
            log_append_many(&fx, 10);
            log_expect_all(&fx);
        }
        assert_int_equal(wal_close(fx.wal), survive == 2 ? ODB_UNKNOWN : ODB_OK);
        log_expect_all(&fx);
        log_release_sim(&fx);
    }
}

/* Each step of making the next segment fails once: the commit is refused, the log goes on. */
static void a_failed_roll_leaves_the_log_in_use(void **state)
{
    static const enum sim_op steps[] = {SIM_CREATE, SIM_RESERVE, SIM_RENAME, SIM_RANDOM};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct script s = {steps[i], ODB_IO, NULL, 0};
        struct log_fx fx;
        odb_status st = ODB_OK;

        log_init_sim(&fx);
        assert_int_equal(log_open(&fx, 4096, 2000), ODB_OK);
        log_append_many(&fx, 10);
        s.times = 1;
        sim_set_fault(fx.os, play_script, &s);
        while (st == ODB_OK && fx.appended < 200)
            st = log_append(&fx);
        assert_int_equal(st, ODB_IO);
        log_expect_all(&fx);
        log_append_many(&fx, 100);
        assert_int_equal(wal_close(fx.wal), ODB_OK);
        log_expect_all(&fx);
        log_release_sim(&fx);
    }
}

static void running_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        struct log_fx fx;
        bool is_done;
        long alive;
        odb_status st;

        log_init_sim(&fx);
        alive = test_alloc_alive();
        test_alloc_fail(n, 0);
        st = log_open(&fx, 4096, 2000);
        while (st == ODB_OK && fx.appended < 60) {
            st = log_append(&fx);
            if (st == ODB_NOMEM && fx.wal != NULL) /* once: the next try goes through */
                st = ODB_OK;
        }
        is_done = test_alloc_requests() <= n;
        test_alloc_fail(-1, 0);
        if (fx.wal != NULL) {
            assert_int_equal(fx.appended, 60);
            assert_int_equal(wal_close(fx.wal), ODB_OK);
            log_expect_all(&fx);
        } else {
            assert_int_equal(st, ODB_NOMEM);
        }
        assert_int_equal(test_alloc_alive(), alive);
        log_release_sim(&fx);
        if (is_done)
            break;
    }
}

/* ---- threads ---- */

struct crowd {
    struct log_fx fx;
    struct os_mutex commit;
    _Atomic uint64_t syncs_asked;
    _Atomic bool has_failed;
    _Atomic bool is_over;
    _Atomic unsigned served; /* by whoever made the sync */
    unsigned rounds;
    unsigned sync_every;
};

struct crowd_waiter {
    struct wal_waiter base;
    struct crowd *crowd;
    unsigned calls;
};

static void crowd_served(struct wal_waiter *me)
{
    struct crowd_waiter *c = (struct crowd_waiter *)(void *)me;

    c->calls++;
    c->crowd->served++;
    if (wal_durable(c->crowd->fx.wal) < me->lsn)
        c->crowd->has_failed = true;
}

/* As a commit: whoever makes the sync does what is to be done then, once, or nobody has. */
static odb_status crowd_sync(struct crowd *c, uint64_t end)
{
    struct crowd_waiter me = {{.lsn = end, .served = crowd_served}, c, 0};
    odb_status st = wal_sync_commit(c->fx.wal, &me.base);

    if (st == ODB_OK && (wal_durable(c->fx.wal) < end || me.calls != me.base.is_served))
        st = ODB_INVALID;
    return st;
}

/* What a commit does: under the commit lock append, outside it all the rest. */
static odb_status crowd_commit(struct crowd *c, bool is_synced)
{
    static _Thread_local uint8_t bytes[LOG_PAYLOAD];
    struct log_fx *fx = &c->fx;

    for (;;) {
        uint64_t i, end;
        odb_status st;
        size_t len;

        os_mutex_lock(&c->commit);
        i = fx->appended;
        len = log_payload_len(fx, i);
        log_payload(i, bytes, len);
        st = wal_append(fx->wal, WAL_BATCH, log_seq(i), odb_bytes(bytes, len), hash64(bytes, len),
                        &end);
        if (st == ODB_OK) {
            fx->appended++;
            fx->last_end = end;
        }
        os_mutex_unlock(&c->commit);
        if (st == ODB_AGAIN)
            st = wal_make_room(fx->wal, len);
        else if (st == ODB_OK) {
            if (wal_drain_due(fx->wal))
                st = wal_drain(fx->wal);
            if (st == ODB_OK && is_synced) {
                if (c->syncs_asked++ % 8 != 7)
                    return crowd_sync(c, end);
                st = wal_sync(fx->wal, end);
                if (st == ODB_OK && wal_durable(fx->wal) < end)
                    st = ODB_INVALID;
            }
            return st;
        }
        if (st != ODB_OK)
            return st;
    }
}

static void crowd_thread(void *arg)
{
    struct crowd *c = arg;

    for (unsigned i = 0; i < c->rounds; i++)
        if (crowd_commit(c, c->sync_every > 0 && i % c->sync_every == 0) != ODB_OK)
            c->has_failed = true;
}

static bool crowd_see(void *arg, uint64_t file_no, uint64_t first_lsn, uint64_t end_lsn)
{
    (void)file_no;
    *(bool *)arg &= first_lsn <= end_lsn;
    return true;
}

/* What goes on in the background: spares, looking around, forgetting nothing. */
static void crowd_helper(void *arg)
{
    struct crowd *c = arg;

    while (!c->is_over) {
        bool is_fine = true;

        if (wal_prepare_due(c->fx.wal) && wal_prepare(c->fx.wal) != ODB_OK)
            c->has_failed = true;
        wal_segments(c->fx.wal, crowd_see, &is_fine);
        if (!is_fine || wal_forget(c->fx.wal, 0) != ODB_OK || wal_bytes(c->fx.wal) == 0)
            c->has_failed = true;
        os_thread_sleep(200000);
    }
}

static void crowd_run(size_t ring, uint64_t segment, unsigned rounds, unsigned sync_every,
                      size_t large_every)
{
    struct crowd c = {.rounds = rounds, .sync_every = sync_every};
    struct os_thread *thread[4], *helper;

    log_init_posix(&c.fx);
    c.fx.large_every = large_every;
    os_mutex_init(&c.commit, RANK_COMMIT);
    assert_int_equal(log_open(&c.fx, ring, segment), ODB_OK);
    assert_int_equal(os_thread_start("helper", crowd_helper, &c, &helper), ODB_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(os_thread_start("commit", crowd_thread, &c, &thread[i]), ODB_OK);
    for (int i = 0; i < 4; i++)
        os_thread_join(thread[i]);
    c.is_over = true;
    os_thread_join(helper);
    assert_false(c.has_failed);
    assert_int_equal(c.fx.appended, 4 * rounds);
    assert_int_equal(wal_close(c.fx.wal), ODB_OK);
    log_expect_all(&c.fx);
    os_mutex_destroy(&c.commit);
    log_release_posix(&c.fx);
}

static void commits_of_many_threads_all_arrive(void **state)
{
    (void)state;
#ifndef ODB_WITH_THREADS
    skip();
#endif
    crowd_run(4096, 200000, 10000, 0, 0);
    crowd_run(4096, 20000, 500, 5, 0);
    crowd_run(65536, 1 << 20, 100, 1, 0);
    crowd_run(4096, 60000, 300, 10, 7);
    crowd_run(0, 60000, 300, 10, 9);
}

static odb_status fail_the_200th(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    _Atomic unsigned *syncs = arg;

    (void)name;
    (void)op_no;
    return op == SIM_SYNC && (*syncs)++ == 199 ? ODB_IO : ODB_OK;
}

/* Every commit up to its first failure; what was told to be durable is counted. */
static void crowd_thread_until_failure(void *arg)
{
    struct crowd *c = arg;
    odb_status st;

    do
        st = crowd_commit(c, true);
    while (st == ODB_OK);
    if (st != ODB_UNKNOWN || strstr(odb_error_text(), "simulated fault") == NULL)
        c->has_failed = true;
}

static void a_failed_sync_serves_none_of_those_who_wait(void **state)
{
    _Atomic unsigned syncs = 0;
    struct crowd c = {.rounds = 0};
    struct os_thread *thread[4];

    (void)state;
#ifndef ODB_WITH_THREADS
    skip();
#endif
    log_init_sim(&c.fx);
    os_mutex_init(&c.commit, RANK_COMMIT);
    assert_int_equal(log_open(&c.fx, 65536, 1 << 20), ODB_OK);
    sim_set_fault(c.fx.os, fail_the_200th, &syncs);
    for (int i = 0; i < 4; i++)
        assert_int_equal(os_thread_start("commit", crowd_thread_until_failure, &c, &thread[i]),
                         ODB_OK);
    for (int i = 0; i < 4; i++)
        os_thread_join(thread[i]);
    assert_false(c.has_failed);
    assert_int_equal(syncs, 200); /* none after the one that failed */
    assert_true(c.served > 100);
    assert_true(c.fx.appended <= c.syncs_asked);
    assert_int_equal(wal_close(c.fx.wal), ODB_UNKNOWN);
    os_mutex_destroy(&c.commit);
    log_release_sim(&c.fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_costs_no_call),
        cmocka_unit_test(a_drain_is_due_at_half_and_presses_at_three_quarters),
        cmocka_unit_test(a_full_ring_asks_for_room),
        cmocka_unit_test(every_payload_length_comes_back),
        cmocka_unit_test(without_a_ring_each_append_is_a_write),
        cmocka_unit_test(too_large_a_batch_is_refused),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(segments_follow_one_another),
        cmocka_unit_test(what_is_forgotten_is_gone_and_nothing_else),
        cmocka_unit_test(a_prepared_segment_is_used_and_else_removed),
        cmocka_unit_test(a_segment_begun_to_be_at_rest_takes_little),
        cmocka_unit_test(a_sync_answers_for_all_before_it),
        cmocka_unit_test(a_failed_sync_is_final),
        cmocka_unit_test(a_failed_drain_is_final_and_the_ring_keeps_all),
        cmocka_unit_test(a_drain_onto_a_full_disk_heals),
        cmocka_unit_test(a_full_disk_under_a_sync_is_final),
        cmocka_unit_test(a_full_disk_refuses_and_heals),
        cmocka_unit_test(a_refused_large_record_is_not_there),
        cmocka_unit_test(a_failed_roll_leaves_the_log_in_use),
        cmocka_unit_test(running_out_of_memory_changes_nothing),
        cmocka_unit_test(commits_of_many_threads_all_arrive),
        cmocka_unit_test(a_failed_sync_serves_none_of_those_who_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
