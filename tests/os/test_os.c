/* tests/os/test_os.c -- what os.c refuses before any implementation sees it. Runs on the simulated
 * disk, whose count of operations proves that nothing got through. */
#include "tests/os/os_test.h"

#include "os/sim.h"

struct fixture {
    struct os *os;
    struct os_dir *dir;
    struct os_dir *ro;
    struct os_file *f;
};

static int setup(void **state)
{
    static struct fixture fx;

    fx.os = sim_new(1);
    assert_ok(os_dir_open(fx.os, "db", OS_DIR_CREATE, &fx.dir));
    assert_ok(os_dir_open(fx.os, "db", OS_DIR_READONLY, &fx.ro));
    assert_ok(os_open(fx.dir, "file", OS_WRITE | OS_CREATE, &fx.f));
    *state = &fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    os_close(fx->f);
    os_dir_close(fx->ro);
    os_dir_close(fx->dir);
    sim_free(fx->os);
    assert_int_equal(test_alloc_alive(), 0);
    return 0;
}

static void test_P17_names_that_leave_the_directory_are_refused(void **state)
{
    struct fixture *fx = *state;
    char longest[300];
    const char *bad[] = {"", ".", "..", "/", "a/b", "../x", "/etc/passwd", longest};
    uint64_t before = sim_op_count(fx->os);
    struct os_file *f = NULL;
    struct os_lock *l = NULL;
    struct os_ring *r = NULL;

    memset(longest, 'x', sizeof longest);
    longest[256] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(os_open(fx->dir, bad[i], 0, &f), ODB_INVALID);
        assert_int_equal(os_open(fx->dir, bad[i], OS_WRITE | OS_CREATE, &f), ODB_INVALID);
        assert_int_equal(os_remove(fx->dir, bad[i]), ODB_INVALID);
        assert_int_equal(os_rename(fx->dir, bad[i], "ok"), ODB_INVALID);
        assert_int_equal(os_rename(fx->dir, "file", bad[i]), ODB_INVALID);
        assert_int_equal(os_lock(fx->dir, bad[i], &l), ODB_INVALID);
        assert_int_equal(os_ring_open(fx->dir, bad[i], 4096, &r), ODB_INVALID);
    }
    assert_int_equal(os_open(fx->dir, NULL, 0, &f), ODB_INVALID);
    assert_int_equal(sim_op_count(fx->os), before);
    assert_null(f);
    longest[255] = 0;
    assert_int_equal(os_open(fx->dir, longest, 0, &f), ODB_ABSENT);
}

static void test_P10_a_read_only_handle_changes_nothing(void **state)
{
    struct fixture *fx = *state;
    uint64_t before = sim_mutations(fx->os);
    struct os_file *f = NULL;
    struct os_ring *r = NULL;
    struct os_lock *l = NULL;
    struct os_dir *d = NULL;

    assert_int_equal(os_open(fx->ro, "file", OS_WRITE, &f), ODB_READONLY);
    assert_int_equal(os_open(fx->ro, "new", OS_WRITE | OS_CREATE, &f), ODB_READONLY);
    assert_int_equal(os_remove(fx->ro, "file"), ODB_READONLY);
    assert_int_equal(os_rename(fx->ro, "file", "other"), ODB_READONLY);
    assert_int_equal(os_dir_sync(fx->ro), ODB_READONLY);
    assert_int_equal(os_ring_open(fx->ro, "RING", 4096, &r), ODB_READONLY);
    assert_int_equal(os_dir_open(fx->os, "x", OS_DIR_CREATE | OS_DIR_READONLY, &d), ODB_INVALID);
    assert_ok(os_lock(fx->ro, "LOCK", &l));
    os_unlock(l);
    assert_ok(os_open(fx->ro, "file", 0, &f));
    assert_int_equal(os_write(f, 0, "x", 1), ODB_READONLY);
    assert_int_equal(os_reserve(f, 0, 10, true), ODB_READONLY);
    assert_int_equal(os_truncate(f, 0), ODB_READONLY);
    os_close(f);
    assert_int_equal(sim_mutations(fx->os), before);
    assert_int_equal(os_test_entries(fx->ro), 1);
}

static void flags_without_sense_are_refused(void **state)
{
    struct fixture *fx = *state;
    struct os_file *f = NULL;
    struct os_ring *r = NULL;
    struct os_dir *d = NULL;

    assert_int_equal(os_open(fx->dir, "x", OS_CREATE, &f), ODB_INVALID);
    assert_int_equal(os_ring_open(fx->dir, "RING", 0, &r), ODB_INVALID);
    assert_int_equal(os_ring_open(fx->dir, "RING", 2048, &r), ODB_INVALID);
    assert_int_equal(os_ring_open(fx->dir, "RING", 12288, &r), ODB_INVALID);
    assert_int_equal(os_dir_open(fx->os, "", 0, &d), ODB_INVALID);
    assert_int_equal(os_dir_open(fx->os, NULL, 0, &d), ODB_INVALID);
}

static void ranges_past_the_largest_file_are_refused(void **state)
{
    struct fixture *fx = *state;
    uint64_t before = sim_op_count(fx->os);
    size_t got = 77;
    char c = 0;

    assert_int_equal(os_read(fx->f, UINT64_MAX, &c, 1, &got), ODB_INVALID);
    assert_int_equal(os_read(fx->f, INT64_MAX, &c, 1, &got), ODB_INVALID);
    assert_int_equal(got, 77);
    assert_int_equal(os_write(fx->f, INT64_MAX, &c, 1), ODB_INVALID);
    assert_int_equal(os_truncate(fx->f, (uint64_t)INT64_MAX + 1), ODB_INVALID);
    assert_int_equal(os_reserve(fx->f, 1, INT64_MAX, false), ODB_INVALID);
    os_read_ahead(fx->f, UINT64_MAX, 5);
    os_write_behind(fx->f, 5, UINT64_MAX);
    assert_int_equal(sim_op_count(fx->os), before);
    assert_ok(os_reserve(fx->f, 5, 0, true));
}

static odb_status fail_syncs(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)name;
    (void)op_no;
    return op == SIM_SYNC || op == SIM_DIR_SYNC ? *(odb_status *)arg : ODB_OK;
}

static void test_P06_a_failed_sync_is_final_for_its_handle(void **state)
{
    struct fixture *fx = *state;
    odb_status fault = ODB_NOSPACE;
    struct os_file *other = NULL;
    uint64_t syncs;

    assert_ok(os_open(fx->dir, "other", OS_WRITE | OS_CREATE, &other));
    sim_set_fault(fx->os, fail_syncs, &fault);
    assert_int_equal(os_sync(fx->f), ODB_NOSPACE);
    assert_int_equal(os_dir_sync(fx->dir), ODB_NOSPACE);
    sim_set_fault(fx->os, NULL, NULL);
    syncs = sim_op_kind_count(fx->os, SIM_SYNC) + sim_op_kind_count(fx->os, SIM_DIR_SYNC);
    assert_int_equal(os_sync(fx->f), ODB_NOSPACE);
    assert_non_null(strstr(odb_error_text(), "file"));
    assert_int_equal(os_dir_sync(fx->dir), ODB_NOSPACE);
    assert_int_equal(sim_op_kind_count(fx->os, SIM_SYNC) + sim_op_kind_count(fx->os, SIM_DIR_SYNC),
                     syncs); /* nobody was asked */
    assert_ok(os_sync(other));
    os_close(other);
}

static void closing_nothing_is_fine(void **state)
{
    (void)state;
    os_close(NULL);
    os_dir_close(NULL);
    os_unlock(NULL);
    os_ring_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_P17_names_that_leave_the_directory_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_P10_a_read_only_handle_changes_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(flags_without_sense_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_past_the_largest_file_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_P06_a_failed_sync_is_final_for_its_handle, setup,
                                        teardown),
        cmocka_unit_test(closing_nothing_is_fine),
    };

    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
