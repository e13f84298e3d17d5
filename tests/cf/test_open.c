/* tests/cf/test_open.c -- what an open makes, what it refuses, and who may open. */
#include <sys/wait.h>

#include "tests/cf/set_fixture.h"
#include "tests/lib/child.h"

static void nothing_is_made_unless_asked_for(void **state)
{
    struct os_dir *dir;
    struct file_list l;

    (void)state;
    opt.create = false;
    assert_int_equal(try_open(), ODB_ABSENT);
    opt.is_readonly = true;
    assert_int_equal(try_open(), ODB_ABSENT);
    assert_int_equal(sim_mutations(disk), 0);
    assert_int_equal(os_dir_open(disk, DB, OS_DIR_CREATE, &dir), ODB_OK); /* an empty directory */
    opt.is_readonly = false;
    assert_int_equal(try_open(), ODB_ABSENT);
    assert_int_equal(file_list_read(dir, &l), ODB_OK);
    assert_int_equal(l.max_no, 0);
    file_list_release(&l);
    os_dir_close(dir);
}

static void a_new_database_has_its_families(void **state)
{
    static const char *const names[] = {"a", "default", "b", "a"};
    struct cf_set *s;
    struct cf *f;

    (void)state;
    opt.families = names;
    opt.family_count = 4;
    opt.must_be_new = true;
    s = must_open();
    assert_int_equal(cf_id(must_find(s, "default")), 0);
    assert_int_equal(cf_id(must_find(s, "a")), 1);
    assert_int_equal(cf_id(must_find(s, "b")), 2);
    assert_int_equal(cf_find(s, "c", &f), ODB_NO_FAMILY);
    assert_int_equal(cf_close(s), ODB_OK);
    assert_int_equal(try_open(), ODB_EXISTS);
}

static void missing_families_are_made_on_request(void **state)
{
    static const char *const names[] = {"late"};
    struct cf_set *s = must_open();
    struct cf *f;

    (void)state;
    assert_int_equal(cf_close(s), ODB_OK);
    opt.families = names;
    opt.family_count = 1;
    s = must_open();
    assert_int_equal(cf_find(s, "late", &f), ODB_NO_FAMILY);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.create_missing_families = true;
    s = must_open();
    assert_int_equal(cf_put(s, must_find(s, "late"), odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    must_have(s, must_find(s, "late"), "k", "v");
    assert_int_equal(cf_close(s), ODB_OK);
}

static void one_directory_has_one_writer(void **state)
{
    struct cf_set *s = must_open();

    (void)state;
    assert_int_equal(try_open(), ODB_BUSY);
    assert_int_equal(cf_close(s), ODB_OK);
    assert_int_equal(try_open(), ODB_OK);
}

static void read_only_sees_the_log_and_changes_nothing(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct os *image;
    char key[16];

    (void)state;
    for (int i = 0; i < 2000; i++) { /* several memtables' worth of log */
        (void)snprintf(key, sizeof key, "k%04d", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s("value"), NULL), ODB_OK);
    }
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.os = image;
    opt.is_readonly = true;
    s = must_open();
    f = must_find(s, "default");
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "k%04d", i);
        must_have(s, f, key, "value");
    }
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_READONLY);
    assert_int_equal(cf_create(s, "x", NULL, &f), ODB_READONLY);
    assert_int_equal(cf_flush(s, NULL), ODB_READONLY);
    assert_int_equal(cf_verify(s, NULL, NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    assert_int_equal(sim_mutations(image), 0);
    sim_free(image);
}

static void a_stray_file_with_a_huge_number_is_refused_before_it_does_harm(void **state)
{
    struct cf_set *s = must_open();
    struct os_dir *dir;
    struct os_file *f;

    (void)state;
    assert_int_equal(cf_put(s, must_find(s, "default"), odb_s("a"), odb_s("1"), &full), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_open(dir, "9223372036854775808.sst", OS_WRITE | OS_CREATE, &f), ODB_OK);
    os_close(f);
    assert_int_equal(try_open(), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "9223372036854775808"));
    assert_int_equal(os_remove(dir, "9223372036854775808.sst"), ODB_OK);
    os_dir_close(dir);
    s = must_open();
    must_have(s, must_find(s, "default"), "a", "1");
    assert_int_equal(cf_close(s), ODB_OK);
}

static void a_forked_child_is_refused(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct cf_snapshot *snap;
    struct lsm_iter *it = NULL;
    struct lsm_value v;
    uint64_t before;
    size_t n;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    before = sim_op_count(disk);
    sim_set_fork_count(disk, 2);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_FORKED);
    assert_int_equal(cf_get(s, f, NULL, odb_s("k"), &v), ODB_FORKED);
    assert_int_equal(cf_get_into(s, f, NULL, odb_s("k"), NULL, 0, &n), ODB_FORKED);
    assert_int_equal(cf_iter_new(s, f, NULL, NULL, &it), ODB_FORKED);
    assert_int_equal(cf_snapshot_new(s, &snap), ODB_FORKED);
    assert_int_equal(cf_create(s, "x", NULL, &f), ODB_FORKED);
    assert_int_equal(cf_flush(s, NULL), ODB_FORKED);
    assert_int_equal(cf_sync(s), ODB_FORKED);
    assert_int_equal(cf_health(s), ODB_FORKED);
    assert_int_equal(cf_verify(s, NULL, NULL), ODB_FORKED);
    assert_false(cf_work(s));
    assert_int_equal(sim_op_count(disk), before);
    sim_set_fork_count(disk, 1);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* A child may let go of what it inherited, and its parent does not notice. */
static void a_forked_child_can_close(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    int code = -1;
    pid_t child;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &full), ODB_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint64_t before = sim_op_count(disk);
        odb_status st;

        sim_set_fork_count(disk, 2);
        st = cf_close(s);
        test_exit_child(st == ODB_FORKED && sim_op_count(disk) == before ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    assert_int_equal(cf_put(s, f, odb_s("l"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    must_have(s, must_find(s, "default"), "l", "v");
    assert_int_equal(cf_close(s), ODB_OK);
}

/* The clock serves statistics and rates; where nothing expires, no answer comes from it. */
static void P19_a_clock_that_jumps_changes_no_answer(void **state)
{
    static const int64_t second = 1000000000, year = INT64_C(31557600000000000);
    const int64_t jump[] = {3600 * second, -1800 * second, 90 * year,
                            -90 * year,    second,         200 * year};
    char key[8], value[8] = {0};
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof jump / sizeof jump[0]; i++) {
        struct cf_set *s = must_open();
        struct cf *f = must_find(s, "default");
        struct cf_snapshot *before;

        assert_int_equal(cf_snapshot_new(s, &before), ODB_OK);
        (void)snprintf(key, sizeof key, "k%zu", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s("v"), i % 2 ? &full : NULL), ODB_OK);
        sim_advance(disk,
                    (uint64_t)jump[i]); /* back, too: in a process, and from one to the next */
        must_have(s, f, key, "v");
        assert_int_equal(cf_get_into(s, f, before, odb_s(key), value, sizeof value, &size),
                         ODB_ABSENT);
        assert_int_equal(cf_put(s, f, odb_s("last"), odb_s(key), NULL), ODB_OK);
        if (i % 3 == 0)
            assert_int_equal(cf_flush(s, f), ODB_OK);
        cf_snapshot_free(s, before);
        assert_int_equal(cf_close(s), ODB_OK);
        s = must_open();
        f = must_find(s, "default");
        must_have(s, f, "last", key);
        for (size_t k = 0; k <= i; k++) {
            (void)snprintf(key, sizeof key, "k%zu", k);
            must_have(s, f, key, "v");
        }
        assert_int_equal(cf_delete(s, f, odb_s("last"), NULL), ODB_OK);
        assert_int_equal(cf_get_into(s, f, NULL, odb_s("last"), value, sizeof value, &size),
                         ODB_ABSENT);
        assert_int_equal(cf_close(s), ODB_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_is_made_unless_asked_for),
        T(a_new_database_has_its_families),
        T(missing_families_are_made_on_request),
        T(one_directory_has_one_writer),
        T(read_only_sees_the_log_and_changes_nothing),
        T(a_stray_file_with_a_huge_number_is_refused_before_it_does_harm),
        T(a_forked_child_is_refused),
        T(a_forked_child_can_close),
        T(P19_a_clock_that_jumps_changes_no_answer),
    };

    return RUN(tests);
}
