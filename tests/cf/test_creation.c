/* tests/cf/test_creation.c -- a creation that dies, twice or after a failed sync, is begun anew. */
#include "tests/cf/set_fixture.h"

/* How many operations make a database. *telling: the last of them whose failure the process is told of.
 * Behind it come only the stores of the manifest's mark into the ring, from which nothing comes back. */
static uint64_t creation_length(uint64_t *telling)
{
    struct sim_record r;
    struct cf_set *s;
    uint64_t ops;

    *telling = 0;
    sim_log(disk, true);
    s = must_open();
    sim_log(disk, false);
    ops = sim_op_count(disk);
    assert_int_equal(cf_close(s), ODB_OK);
    for (uint64_t i = 0; sim_log_get(disk, i, &r); i++)
        if (r.op != SIM_RING_STORE)
            *telling = r.op_no;
    assert_in_range(*telling, ops - 2, ops); /* the mark's head and body */
    return ops;
}

/* Make a database by a process that dies at operation `at`. */
static void die_creating(struct os *os, uint64_t at, uint64_t telling)
{
    sim_crash_at(os, at);
    if (at <= telling)
        assert_int_not_equal(try_open(), ODB_OK);
    else
        assert_int_equal(try_open(), ODB_OK);
    assert_true(sim_is_dead(os));
}

static void a_half_made_database_is_begun_anew(void **state)
{
    uint64_t telling, ops = creation_length(&telling);
    struct cf_set *s;

    (void)state;
    for (uint64_t at = 1; at <= ops; at++)
        for (int model = 0; model < SIM_MODELS; model++)
            for (uint64_t seed = 0; seed < 4; seed++) {
                struct os *os = sim_new(1), *next;

                opt.os = os;
                die_creating(os, at, telling);
                next = sim_image(os, (enum sim_model)model, seed);
                sim_free(os);
                opt.os = next;
                opt.create = false;
                {
                    odb_status st = try_open();

                    if (st != ODB_OK && st != ODB_ABSENT)
                        fail_msg("op %llu M%d: %s", (unsigned long long)at, model,
                                 odb_error_text());
                }
                opt.create = true;
                s = must_open();
                assert_int_equal(cf_put(s, must_find(s, "default"), odb_s("k"), odb_s("v"), &full),
                                 ODB_OK);
                assert_int_equal(cf_close(s), ODB_OK);
                s = must_open();
                must_have(s, must_find(s, "default"), "k", "v");
                assert_int_equal(cf_close(s), ODB_OK);
                sim_free(next);
            }
    opt.os = disk;
}

/* A creation dies, the next one too, and the third must be possible: what the first left behind must
 * stay recognisable as the work of a creation. */
static void a_creation_that_died_twice_is_begun_anew(void **state)
{
    uint64_t telling, ops = creation_length(&telling);

    (void)state;
    for (uint64_t first = 1; first <= ops; first++)
        for (uint64_t at = 1; at <= ops; at++)
            for (int model = SIM_M0; model <= SIM_M1; model++) {
                struct os *os = sim_new(1), *again, *last;

                opt.os = os;
                die_creating(os, first, telling);
                opt.os = again = sim_image(os, (enum sim_model)model, 0);
                sim_crash_at(again, at);
                err_ignore(try_open());
                opt.os = last = sim_image(again, (enum sim_model)model, 0);
                if (try_open() != ODB_OK)
                    fail_msg("dead at %llu, then at %llu, M%d: %s", (unsigned long long)first,
                             (unsigned long long)at, model, odb_error_text());
                sim_free(last);
                sim_free(again);
                sim_free(os);
            }
    opt.os = disk;
}

/* A sync of the creation fails, and its process ends; the kernel shows the next one what the disk may have
 * lost for good. That one creates anew, and the power goes: a third must be able to. */
static odb_status fail_one_sync(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)name;
    if (op_no == *(const uint64_t *)arg && (op == SIM_SYNC || op == SIM_DIR_SYNC))
        return err_set(ODB_IO, "this sync fails");
    return ODB_OK;
}

static void die_after_failed_sync(uint64_t bad, uint64_t at, uint64_t chance)
{
    struct os *os = sim_new(chance), *next, *last;

    opt.os = os;
    sim_set_fault(os, fail_one_sync, &bad);
    if (try_open() == ODB_OK) { /* the last one, behind which it was complete */
        sim_free(os);
        return;
    }
    opt.os = next = sim_restart(os);
    sim_crash_at(next, sim_op_count(next) + at);
    err_ignore(try_open());
    for (uint64_t image = 0; image < 4; image++) {
        opt.os = last = sim_image(next, SIM_M4, image);
        if (try_open() != ODB_OK)
            fail_msg("sync %llu failed, dead %llu later, chance %llu, image %llu: %s",
                     (unsigned long long)bad, (unsigned long long)at, (unsigned long long)chance,
                     (unsigned long long)image, odb_error_text());
        sim_free(last);
    }
    sim_free(next);
    sim_free(os);
}

static void a_creation_whose_sync_failed_is_begun_anew(void **state)
{
    struct cf_set *s;
    struct sim_record r;
    uint64_t ops;

    (void)state;
    sim_log(disk, true);
    s = must_open();
    ops = sim_op_count(disk);
    for (uint64_t i = 0; i < ops && sim_log_get(disk, i, &r); i++)
        for (uint64_t at = 1; (r.op == SIM_SYNC || r.op == SIM_DIR_SYNC) && at <= ops; at++)
            for (uint64_t chance = 1; chance <= 3; chance++)
                die_after_failed_sync(r.op_no, at, chance);
    opt.os = disk;
    assert_int_equal(cf_close(s), ODB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_half_made_database_is_begun_anew),
        T(a_creation_that_died_twice_is_begun_anew),
        T(a_creation_whose_sync_failed_is_begun_anew),
    };

    return RUN(tests);
}
