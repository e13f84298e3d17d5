/* tests/cf/test_verify.c -- verifying a set that is in use: what is being written is no damage, what was
 * durable and is not there is. */
#include "tests/cf/set_fixture.h"

/* What comes between two looks of a verification at files. */
struct burst {
    struct cf_set *s;
    struct cf *f;
    uint64_t at; /* the look at a file before which it comes, counted from 0 */
    uint64_t seen;
    uint32_t puts;
    uint32_t sync_every;
    bool is_done;
};

static odb_status burst_between(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    static char value[1000];
    struct burst *b = arg;

    (void)name;
    (void)op_no;
    if (op != SIM_OPEN && op != SIM_SIZE && op != SIM_READ)
        return ODB_OK; /* of its sync, or of the burst */
    if (b->is_done || b->seen++ < b->at)
        return ODB_OK;
    b->is_done = true;
    for (uint32_t i = 1; i <= b->puts; i++)
        assert_int_equal(cf_put(b->s, b->f, odb_s("k"), odb_bytes(value, sizeof value),
                                i % b->sync_every == 0 ? &full : NULL),
                         ODB_OK);
    return ODB_OK;
}

/* Before look `at` the log goes on; false: there are not so many. */
static bool verify_with_burst(uint64_t at, uint32_t puts, uint32_t sync_every)
{
    struct os *os = sim_new(1);
    struct burst b = {.at = at, .puts = puts, .sync_every = sync_every};
    odb_status st;

    opt.os = os;
    b.s = must_open();
    b.f = must_find(b.s, "default");
    assert_int_equal(cf_put(b.s, b.f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    sim_set_fault(os, burst_between, &b);
    st = cf_verify(b.s, NULL, NULL);
    sim_set_fault(os, NULL, NULL);
    if (st != ODB_OK)
        fail_msg("written before look %llu: %s: %s", (unsigned long long)at, odb_status_name(st),
                 odb_error_text());
    assert_int_equal(cf_verify(b.s, NULL, NULL), ODB_OK);
    assert_int_equal(cf_close(b.s), ODB_OK);
    sim_free(os);
    opt.os = disk;
    return b.is_done;
}

/* Into the next segments; or once around the ring in the same one, so that it has lost the record behind
 * the durable ones, and has some that say that more was durable. */
static void verifying_beside_a_writer_finds_no_damage(void **state)
{
    (void)state;
    opt.family.write_buffer = 1 << 20; /* nothing is flushed: the log is all there is */
    for (int k = 0; k < 4; k++) {
        uint64_t at = 0;

        opt.log_segment_size = k / 2 ? 1 << 20 : 1 << 16;
        while (at < 1000 && verify_with_burst(at, k / 2 ? 66 : 150, k % 2 ? 20 : 1000))
            at++;
        assert_in_range(at, 5, 999);
    }
}

/* Of what is durable no bit may differ, though no later record bears witness to it, and though the ring
 * has the same record in good order. */
static void verifying_finds_damage_at_the_end_of_what_is_durable(void **state)
{
    struct one_file log = {.kind = FILE_LOG};
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct os_dir *dir;
    uint64_t end;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("first"), &full), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("last"), &full), ODB_OK);
    assert_int_equal(cf_verify(s, NULL, NULL), ODB_OK);
    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_dir_list(dir, find_kind, &log), ODB_OK);
    os_dir_close(dir);
    end = WAL_SEGMENT_HEADER + (wal_durable(s->wal) & 4095);
    assert_int_equal(sim_poke(disk, DB, log.name, end - 8, "\xff", 1), ODB_OK);
    assert_int_equal(cf_verify(s, NULL, NULL), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), log.name));
    err_ignore(cf_close(s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(verifying_beside_a_writer_finds_no_damage),
        T(verifying_finds_damage_at_the_end_of_what_is_durable),
    };

    return RUN(tests);
}
