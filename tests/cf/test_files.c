/* tests/cf/test_files.c -- names, IDENTITY and CURRENT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cf/files.h"
#include "os/sim.h"
#include "tests/lib/test_alloc.h"

static struct os *disk;
static struct os_dir *dir;

static int setup(void **state)
{
    (void)state;
    disk = sim_new(1);
    return os_dir_open(disk, "/db", OS_DIR_CREATE, &dir) == ODB_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    os_dir_close(dir);
    sim_free(disk);
    return test_alloc_alive() != 0;
}

static void touch(const char *name)
{
    struct os_file *f;

    assert_int_equal(os_open(dir, name, OS_WRITE | OS_CREATE, &f), ODB_OK);
    os_close(f);
}

static void numbered_names_have_one_spelling(void **state)
{
    static const struct {
        const char *name;
        enum file_kind kind;
        uint64_t no;
    } t[] = {
        {"MANIFEST-000007", FILE_MANIFEST, 7},
        {"000009.log", FILE_LOG, 9},
        {"12345678.sst", FILE_TABLE, 12345678},
        {"CURRENT", FILE_CURRENT, 0},
        {"CURRENT.new", FILE_CURRENT_NEW, 0},
        {"IDENTITY", FILE_IDENTITY, 0},
        {"IDENTITY.new", FILE_IDENTITY_NEW, 0},
        {"000000.log", FILE_OTHER, 0},
        {"9.log", FILE_OTHER, 0},
        {"0000009.log", FILE_OTHER, 0},
        {"000009.log.old", FILE_OTHER, 0},
        {"000009.", FILE_OTHER, 0},
        {"MANIFEST-", FILE_OTHER, 0},
        {"MANIFEST-000007.log", FILE_OTHER, 0},
        {"MANIFEST-99999999999999999999", FILE_OTHER, 0},
        {"-00009.log", FILE_OTHER, 0},
        {"LOCK", FILE_OTHER, 0},
        {"", FILE_OTHER, 0},
    };
    char name[FILE_NAME_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        uint64_t no = 99;

        if (file_parse(t[i].name, &no) != t[i].kind || no != t[i].no)
            fail_msg("%s", t[i].name);
        if (t[i].no) {
            file_name(t[i].kind, t[i].no, name);
            assert_string_equal(name, t[i].name);
        }
    }
}

static void a_listing_sorts_by_kind_and_number(void **state)
{
    struct file_list l = {0};

    (void)state;
    touch("000012.sst");
    touch("000003.sst");
    touch("000002.log");
    touch("MANIFEST-000020");
    touch("CURRENT");
    touch("stranger");
    assert_int_equal(file_list_read(dir, &l), ODB_OK);
    assert_int_equal(l.tables.count, 2);
    assert_int_equal(l.tables.no[0], 3);
    assert_int_equal(l.tables.no[1], 12);
    assert_true(file_list_has(&l.logs, 2));
    assert_false(file_list_has(&l.logs, 3));
    assert_true(l.has[FILE_CURRENT]);
    assert_false(l.has[FILE_IDENTITY]);
    assert_int_equal(l.max_no, 20);
    file_list_release(&l);
}

static void identity_and_current_come_back(void **state)
{
    struct identity id, back;
    bool tried;
    uint64_t no;

    (void)state;
    assert_int_equal(identity_make(disk, &id), ODB_OK);
    assert_int_not_equal(identity_db_id(&id), 0);
    assert_int_equal(identity_write_new(dir, &id), ODB_OK);
    assert_int_equal(identity_write_new(dir, &id), ODB_OK); /* over one that was left */
    assert_int_equal(identity_read(dir, false, &back), ODB_ABSENT);
    assert_int_equal(identity_read(dir, true, &back), ODB_OK);
    assert_int_equal(identity_settle(dir), ODB_OK);
    assert_int_equal(identity_read(dir, false, &back), ODB_OK);
    assert_memory_equal(&id, &back, sizeof id);
    assert_int_equal(current_switch(dir, 77, 5, &tried), ODB_OK);
    assert_int_equal(current_switch(dir, 77, 123456789, &tried), ODB_OK);
    assert_int_equal(current_read(dir, 77, &no), ODB_OK);
    assert_int_equal(no, 123456789);
    assert_int_equal(current_read(dir, 78, &no), ODB_CORRUPT); /* of another database */
}

/* Every byte flipped bit by bit, every length. */
static void damage_to_either_is_noticed(void **state)
{
    static const char *const name[] = {"CURRENT", "IDENTITY"};
    struct identity id;
    bool tried;

    (void)state;
    assert_int_equal(identity_make(disk, &id), ODB_OK);
    assert_int_equal(identity_write_new(dir, &id), ODB_OK);
    assert_int_equal(identity_settle(dir), ODB_OK);
    assert_int_equal(current_switch(dir, 77, 5, &tried), ODB_OK);
    for (int i = 0; i < 2; i++) {
        struct os_file *f;
        uint8_t good[200], bad[200];
        size_t len;
        uint64_t no;

        assert_int_equal(os_open(dir, name[i], OS_WRITE, &f), ODB_OK);
        assert_int_equal(os_read(f, 0, good, sizeof good, &len), ODB_OK);
        for (size_t bit = 0; bit < len * 8; bit++) {
            memcpy(bad, good, len);
            bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(os_write(f, 0, bad, len), ODB_OK);
            assert_int_equal(i ? identity_read(dir, false, &id) : current_read(dir, 77, &no),
                             ODB_CORRUPT);
        }
        assert_int_equal(os_write(f, 0, good, len), ODB_OK);
        assert_int_equal(os_write(f, len, "\n", 1), ODB_OK); /* a byte too many */
        assert_int_equal(i ? identity_read(dir, false, &id) : current_read(dir, 77, &no),
                         ODB_CORRUPT);
        while (len-- > 0) {
            assert_int_equal(os_truncate(f, len), ODB_OK);
            assert_int_equal(i ? identity_read(dir, false, &id) : current_read(dir, 77, &no),
                             ODB_CORRUPT);
        }
        os_close(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbered_names_have_one_spelling),
        cmocka_unit_test_setup_teardown(a_listing_sorts_by_kind_and_number, setup, teardown),
        cmocka_unit_test_setup_teardown(identity_and_current_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_to_either_is_noticed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
