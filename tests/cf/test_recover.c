/* tests/cf/test_recover.c -- an open that has log to replay: all of it comes back, within its memory. */
#include "tests/cf/set_fixture.h"
#include "tests/lib/test_alloc.h"

static void an_unclean_end_is_replayed(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct cf_set_stats st;
    struct os *image;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("a"), odb_s("1"), &full), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("b"), odb_s("2"), NULL), ODB_OK);
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.os = image;
    s = must_open();
    cf_stats(s, &st);
    assert_int_equal(st.recovered_records, 2);
    assert_true(st.has_ring);
    must_have(s, must_find(s, "default"), "a", "1");
    must_have(s, must_find(s, "default"), "b", "2");
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open(); /* and once it was closed there is nothing to replay */
    cf_stats(s, &st);
    assert_int_equal(st.recovered_records, 0);
    assert_true(st.visible_seq >= 2);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(image);
}

/* One family's tables hold what the other still needs the log for: most of the log is passed over. */
static void log_that_is_in_tables_already_is_passed_over(void **state)
{
    static const char *const names[] = {"quiet"};
    struct cf_set *s;
    struct os *image;
    char key[16], value[1024];

    (void)state;
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    opt.families = names;
    opt.family_count = 1;
    opt.log_segment_size = 1 << 22;
    opt.family.write_buffer = 1 << 22; /* recovery gathers so much at once; flushed by hand */
    s = must_open();
    assert_int_equal(cf_put(s, must_find(s, "quiet"), odb_s("q"), odb_s("1"), NULL), ODB_OK);
    for (int i = 0; i < 1500; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(cf_put(s, must_find(s, "default"), odb_s(key), odb_s(value), NULL),
                         ODB_OK);
    }
    assert_int_equal(cf_flush(s, must_find(s, "default")), ODB_OK);
    assert_int_equal(cf_put(s, must_find(s, "quiet"), odb_s("r"), odb_s("2"), NULL), ODB_OK);
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.os = image;
    opt.family.write_buffer = 1 << 16;
    s = must_open();
    must_have(s, must_find(s, "quiet"), "q", "1");
    must_have(s, must_find(s, "quiet"), "r", "2");
    assert_int_equal(cf_exists(s, must_find(s, "default"), NULL, odb_s("k1499")), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(image);
}

/* More operations than recovery gathers at once, the last ones in the middle of a record. */
static void records_of_many_small_operations_come_back(void **state)
{
    struct cf_set *s;
    struct batch b = {0};
    struct os *image;
    char key[24], value[24];
    int n = 0;

    (void)state;
    opt.log_segment_size = 1 << 22;
    opt.family.write_buffer = 1 << 22;
    s = must_open();
    for (int round = 0; round < 60; round++) {
        batch_clear(&b);
        for (int i = 0; i < 777; i++, n++) {
            snprintf(key, sizeof key, "%d", n * 7919 % 100003);
            snprintf(value, sizeof value, "%d", n);
            assert_int_equal(batch_put(&b, 0, odb_s(key), odb_s(value)), ODB_OK);
        }
        assert_int_equal(cf_commit(s, &b, NULL), ODB_OK);
    }
    batch_release(&b);
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.os = image;
    opt.family.write_buffer = 1 << 16; /* and so few operations */
    s = must_open();
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "%d", i * 7919 % 100003);
        snprintf(value, sizeof value, "%d", i);
        must_have(s, must_find(s, "default"), key, value);
    }
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(image);
}

/* The log of four families is more than the budget: what is replayed goes into tables on the way, the
 * largest memtable first. */
static void replay_stays_within_its_budget(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    char key[16], value[200];
    struct os *image;
    struct cf_set *s;
    uint64_t tables;

    (void)state;
    opt.families = names;
    opt.family_count = 3;
    opt.log_segment_size = 1 << 22;
    opt.family.write_buffer = 1 << 22;
    opt.family.auto_compact = false;
    memset(value, 'v', sizeof value);
    s = must_open();
    for (int i = 0; i < 8000; i++) {
        struct cf *f = must_find(s, i % 2 ? "default" : names[i / 2 % 3]);

        (void)snprintf(key, sizeof key, "k%05d", i);
        (void)snprintf(value, sizeof value, "v%d", i);
        value[strlen(value)] = '.';
        assert_int_equal(cf_put(s, f, odb_s(key), odb_bytes(value, sizeof value), NULL), ODB_OK);
    }
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(disk);
    disk = opt.os = image;
    for (int budget = 0; budget < 2; budget++) {
        struct cf_set_stats st;

        opt.memory_budget = budget ? 600 << 10 : 0;
        opt.os = sim_image(disk, SIM_M1, 1);
        s = must_open();
        cf_stats(s, &st);
        assert_int_equal(st.recovered_records, 8000);
        tables = 0;
        for (int i = 0; i < 4; i++) {
            struct lsm_stats now;

            lsm_stats(cf_tree(must_find(s, i ? names[i - 1] : "default")), &now);
            tables += now.level[0].files;
        }
        if (budget)
            assert_in_range(tables, 8, 40); /* 1.8 MB in pieces of at most 200 KB */
        else
            assert_int_equal(tables, 4);
        for (int i = 0; i < 8000; i++) {
            char want[200], got[256];
            size_t n;

            memset(want, 'v', sizeof want);
            (void)snprintf(key, sizeof key, "k%05d", i);
            (void)snprintf(want, sizeof want, "v%d", i);
            want[strlen(want)] = '.';
            assert_int_equal(cf_get_into(s, must_find(s, i % 2 ? "default" : names[i / 2 % 3]),
                                         NULL, odb_s(key), got, sizeof got, &n),
                             ODB_OK);
            assert_int_equal(n, sizeof want);
            assert_memory_equal(got, want, sizeof want);
        }
        assert_int_equal(cf_close(s), ODB_OK);
        sim_free(opt.os);
        opt.os = disk;
    }
}

/* An open that has log to replay: each request fails in its turn, and the next try finds everything. */
static void P16_replay_without_memory_is_a_status(void **state)
{
    enum { KEYS = 5000 };
    struct os *image;
    struct cf_set *s;
    char key[16];
    long n = 0, failed = 1;

    (void)state;
    opt.family.write_buffer = 1 << 20; /* it is replayed into one memtable */
    opt.log_segment_size = 1 << 20;
    s = must_open();
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof key, "k%04d", i * 7 % KEYS);
        assert_int_equal(cf_put(s, must_find(s, "default"), odb_s(key), odb_s(key), NULL), ODB_OK);
    }
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(disk);
    disk = image;
    for (; failed; n++) {
        long alive = test_alloc_alive();
        odb_status st;

        assert_true(n < 3000);
        opt.os = sim_image(disk, SIM_M1, 1);
        test_alloc_fail(n, 0);
        s = NULL;
        st = cf_open(DB, &opt, &s);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        if (st != ODB_OK && (st != ODB_NOMEM || !failed))
            fail_msg("request %ld: %s: %s", n, odb_status_name(st), odb_error_text());
        if (st == ODB_OK)
            assert_int_equal(cf_close(s), ODB_OK);
        assert_int_equal(test_alloc_alive(), alive);
        if (n % 8 == 0 || !failed) { /* the next try finds everything */
            s = must_open();
            for (int i = 0; i < KEYS; i += 97) {
                (void)snprintf(key, sizeof key, "k%04d", i);
                must_have(s, must_find(s, "default"), key, key);
            }
            assert_int_equal(cf_close(s), ODB_OK);
        }
        sim_free(opt.os);
    }
    assert_true(n > 50);
}

static bool count_removed_logs(void *arg, const char *name)
{
    uint64_t no;

    *(int *)arg += file_parse(name, &no) == FILE_LOG;
    return true;
}

/* Much log: a worker removes it behind the open, and closing waits for that. */
static void a_long_log_is_swept_by_a_worker(void **state)
{
    char key[16], value[2000];
    struct os_dir *dir;
    struct os *image;
    struct cf_set *s;
    int logs = 0;

    (void)state;
    memset(value, 'v', sizeof value);
    opt.family.write_buffer = 1 << 24;
    s = must_open();
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(
            cf_put(s, must_find(s, "default"), odb_s(key), odb_bytes(value, sizeof value), NULL),
            ODB_OK);
    }
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(disk);
    disk = opt.os = image;
    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_dir_list(dir, count_removed_logs, &logs), ODB_OK);
    assert_true(logs > 50);
    opt.threads = 1;
    s = must_open();
    assert_non_null(s->sweep);
    assert_int_equal(cf_exists(s, must_find(s, "default"), NULL, odb_s("k02999")), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    logs = 0;
    assert_int_equal(os_dir_list(dir, count_removed_logs, &logs), ODB_OK);
    assert_true(logs < 5);
    os_dir_close(dir);
    assert_int_equal(try_open(), ODB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_unclean_end_is_replayed),
        T(log_that_is_in_tables_already_is_passed_over),
        T(records_of_many_small_operations_come_back),
        T(replay_stays_within_its_budget),
        T(P16_replay_without_memory_is_a_status),
        T(a_long_log_is_swept_by_a_worker),
    };

    return RUN(tests);
}
