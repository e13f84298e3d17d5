/* tests/cf/test_set.c -- opening, families, limits, damage, and the file rules of a database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "cf/set_priv.h"
#include "os/sim.h"
#include "tests/lib/child.h"
#include "tests/lib/test_alloc.h"
#include "wal/wal_priv.h"

#define DB "/db"

static struct os *disk;
static struct cf_set_options opt;
static const struct cf_write full = {.durability = CF_FULL};

static int setup(void **state)
{
    (void)state;
    disk = sim_new(1);
    opt = (struct cf_set_options){
        .os = disk,
        .create = true,
        .ring_size = 1 << 16,
        .log_segment_size = 1 << 16,
        .cache_bytes = 1 << 18,
        .family = {.write_buffer = 1 << 14,
                   .max_buffers = 3,
                   .target_file_size = 1 << 14,
                   .l0_trigger = 4,
                   .block_size = 1024,
                   .codec = CODEC_RAW,
                   .bits_per_key = 10,
                   .auto_compact = true},
    };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sim_free(disk);
    return test_alloc_alive() != 0;
}

static struct cf_set *must_open(void)
{
    struct cf_set *s = NULL;
    odb_status st = cf_open(DB, &opt, &s);

    if (st != ODB_OK)
        fail_msg("%s: %s", odb_status_name(st), odb_error_text());
    return s;
}

static odb_status try_open(void)
{
    struct cf_set *s = NULL;
    odb_status st = cf_open(DB, &opt, &s);

    if (st == ODB_OK)
        err_ignore(cf_close(s));
    return st;
}

static struct cf *must_find(struct cf_set *s, const char *name)
{
    struct cf *f = NULL;

    assert_int_equal(cf_find(s, name, &f), ODB_OK);
    return f;
}

static void must_have(struct cf_set *s, struct cf *f, const char *key, const char *value)
{
    char buf[256];
    size_t n = 0;
    odb_status st = cf_get_into(s, f, NULL, odb_s(key), buf, sizeof buf, &n);

    if (st != ODB_OK)
        fail_msg("%s: %s: %s", key, odb_status_name(st), odb_error_text());
    assert_int_equal(n, strlen(value));
    assert_memory_equal(buf, value, n);
}

/* ---- opening ---- */

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

/* ---- families ---- */

static bool list_names(void *arg, struct cf *cf, const char *name)
{
    (void)cf;
    strcat(arg, name);
    strcat(arg, " ");
    return true;
}

static void families_are_created_listed_dropped_and_stay_so(void **state)
{
    struct cf_set *s = must_open();
    struct cf *a, *b, *again;
    struct lsm_iter *it;
    char names[100] = "";

    (void)state;
    assert_int_equal(cf_create(s, "a", NULL, &a), ODB_OK);
    assert_int_equal(cf_create(s, "b", NULL, &b), ODB_OK);
    assert_int_equal(cf_create(s, "a", NULL, &again), ODB_EXISTS);
    assert_int_equal(cf_put(s, a, odb_s("k"), odb_s("old"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, a), ODB_OK);
    assert_int_equal(cf_put(s, a, odb_s("k2"), odb_s("old"), NULL), ODB_OK);
    assert_int_equal(cf_iter_new(s, a, NULL, NULL, &it), ODB_OK);
    assert_int_equal(cf_drop(s, a), ODB_OK);
    assert_int_equal(cf_drop(s, a), ODB_NO_FAMILY);
    assert_int_equal(cf_put(s, a, odb_s("k"), odb_s("v"), NULL), ODB_NO_FAMILY);
    assert_true(lsm_iter_first(it)); /* iterators over it go on */
    assert_true(lsm_iter_next(it));
    assert_false(lsm_iter_next(it));
    assert_int_equal(lsm_iter_status(it), ODB_OK);
    lsm_iter_free(it);
    assert_int_equal(cf_create(s, "a", NULL, &again), ODB_OK); /* a new one of that name */
    assert_int_not_equal(cf_id(again), cf_id(a));
    assert_int_equal(cf_exists(s, again, NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_drop(s, must_find(s, "default")), ODB_INVALID);
    cf_each(s, list_names, names);
    assert_string_equal(names, "default b a ");
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    names[0] = '\0';
    cf_each(s, list_names, names);
    assert_string_equal(names, "default b a ");
    assert_int_equal(cf_exists(s, must_find(s, "a"), NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void names_have_limits(void **state)
{
    struct cf_set *s = must_open();
    char name[CF_NAME_MAX + 2];
    struct cf *f;

    (void)state;
    memset(name, 'n', sizeof name);
    name[CF_NAME_MAX + 1] = '\0';
    assert_int_equal(cf_create(s, name, NULL, &f), ODB_INVALID);
    assert_int_equal(cf_create(s, "", NULL, &f), ODB_INVALID);
    name[CF_NAME_MAX] = '\0';
    assert_int_equal(cf_create(s, name, NULL, &f), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    assert_string_equal(cf_name(must_find(s, name)), name);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void options_of_its_own_stay_with_a_family(void **state)
{
    struct lsm_options own = opt.family;
    struct cf_set *s = must_open();
    struct cf *f;

    (void)state;
    own.write_buffer = 12345;
    own.block_size = 777;
    own.auto_compact = false;
    assert_int_equal(cf_create(s, "own", &own, &f), ODB_OK);
    assert_int_equal(cf_create(s, "plain", NULL, &f), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.family.block_size = 4096;
    s = must_open();
    f = must_find(s, "own");
    assert_true(f->has_options);
    assert_int_equal(f->options.write_buffer, 12345);
    assert_int_equal(f->options.block_size, 777);
    assert_false(f->options.auto_compact);
    f = must_find(s, "plain");
    assert_int_equal(f->options.block_size, 4096);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void a_batch_may_span_many_families(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f[40];
    struct batch b = {0};
    char name[16];

    (void)state;
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(cf_create(s, name, NULL, &f[i]), ODB_OK);
    }
    assert_int_equal(cf_drop(s, f[7]), ODB_OK);
    for (int round = 0; round < 2; round++)
        for (int i = 39; i >= 0; i--)
            if (i != 7) {
                (void)snprintf(name, sizeof name, "v%d-%d", i, round);
                assert_int_equal(batch_put(&b, cf_id(f[i]), odb_s("k"), odb_s(name)), ODB_OK);
            }
    assert_int_equal(cf_commit(s, &b, NULL), ODB_OK);
    for (int i = 0; i < 40; i++)
        if (i != 7) {
            (void)snprintf(name, sizeof name, "v%d-1", i);
            must_have(s, f[i], "k", name);
        }
    assert_int_equal(batch_put(&b, cf_id(f[7]), odb_s("k"), odb_s("v")), ODB_OK);
    assert_int_equal(cf_commit(s, &b, NULL), ODB_NO_FAMILY); /* dropped: nothing of it is applied */
    must_have(s, f[0], "k", "v0-1");
    batch_clear(&b);
    assert_int_equal(batch_put(&b, 4711, odb_s("k"), odb_s("v")), ODB_OK);
    assert_int_equal(cf_commit(s, &b, NULL), ODB_NO_FAMILY);
    batch_clear(&b);
    assert_int_equal(cf_commit(s, &b, &full), ODB_OK); /* an empty one */
    batch_release(&b);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* ---- commits at their limits ---- */

static void large_values_and_batches_fit(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    size_t size = 300000; /* many memtables, larger than ring and segment */
    char *big = malloc(size);
    struct batch b = {0};
    struct lsm_value v;
    struct os *image;
    size_t n;

    (void)state;
    memset(big, 'x', size);
    assert_int_equal(cf_put(s, f, odb_s("big"), odb_bytes(big, size), NULL), ODB_OK);
    for (int i = 0; i < 5000; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "b%04d", i);
        assert_int_equal(batch_put(&b, 0, odb_s(key), odb_bytes(big, 50)), ODB_OK);
    }
    assert_int_equal(cf_commit(s, &b, NULL), ODB_OK);
    batch_release(&b);
    assert_int_equal(cf_put(s, f, odb_bytes(big, KEY_LEN_MAX), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_bytes(big, KEY_LEN_MAX + 1), odb_s("v"), NULL),
                     ODB_TOO_LARGE);
    image = sim_image(disk, SIM_M1, 1);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(cf_get(s, f, NULL, odb_s("big"), &v), ODB_OK);
        assert_int_equal(v.data.size, size);
        assert_memory_equal(v.data.data, big, size);
        cf_value_release(s, &v);
        assert_int_equal(cf_exists(s, f, NULL, odb_s("b4999")), ODB_OK);
        assert_int_equal(cf_get_into(s, f, NULL, odb_bytes(big, KEY_LEN_MAX), NULL, 0, &n), ODB_OK);
        assert_int_equal(n, 1);
        assert_int_equal(cf_close(s), ODB_OK);
        if (pass == 0) {
            opt.os = image;
            s = must_open();
            f = must_find(s, "default");
        }
    }
    sim_free(image);
    free(big);
}

static void without_waiting_a_write_is_told_to_come_again(void **state)
{
    struct cf_write how = {.no_wait = true};
    struct cf_set *s;
    struct cf *f;
    odb_status st = ODB_OK;
    int written = 0;

    (void)state;
    opt.threads = 0; /* nobody flushes */
    s = must_open();
    f = must_find(s, "default");
    while (st == ODB_OK && written < 100000) {
        char key[16];

        (void)snprintf(key, sizeof key, "k%06d", written);
        st = cf_put(s, f, odb_s(key), odb_s("value"), &how);
        written += st == ODB_OK;
    }
    assert_int_equal(st, ODB_AGAIN);
    while (cf_work(s))
        ;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &how), ODB_OK);
    for (int i = 0; i < 3000; i++) /* and with waiting it does the work itself */
        assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("some value"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void an_idle_family_does_not_keep_the_log(void **state)
{
    struct cf_set_stats st;
    struct cf_set *s;
    struct cf *f, *idle, *slow;
    char value[100];

    (void)state;
    opt.log_limit = 1 << 18;
    s = must_open();
    f = must_find(s, "default");
    assert_int_equal(cf_create(s, "idle", NULL, &idle), ODB_OK);
    assert_int_equal(cf_create(s, "slow", NULL, &slow), ODB_OK);
    assert_int_equal(cf_put(s, slow, odb_s("k"), odb_s("v"), NULL), ODB_OK); /* stays in memory */
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 20000; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_bytes(value, sizeof value), NULL), ODB_OK);
        while (cf_work(s))
            ;
    }
    cf_stats(s, &st);
    if (st.log_bytes > 2 * opt.log_limit)
        fail_msg("%llu bytes of log", (unsigned long long)st.log_bytes);
    assert_true(st.log_files < 10);
    must_have(s, slow, "k", "v");
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    must_have(s, must_find(s, "slow"), "k", "v");
    assert_int_equal(cf_close(s), ODB_OK);
}

static void put_many(struct cf_set *s, struct cf *f, const char *value, int from, int to)
{
    for (int i = from; i < to; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s(value), NULL), ODB_OK);
    }
}

/* Everything is in tables: the log takes the space of one empty segment. A little log stays, being worth
 * less than a new segment; so does a segment of which another family needs something. */
static void a_flush_leaves_a_log_that_nobody_needs(void **state)
{
    char value[101];
    struct cf_set_stats st;
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *other;
    struct os *image;

    (void)state;
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    assert_int_equal(cf_create(s, "other", NULL, &other), ODB_OK);
    put_many(s, f, value, 0, 10);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    cf_stats(s, &st);
    assert_int_equal(st.log_files, 1);
    assert_true(st.log_bytes > 4096 + 1000);
    put_many(s, f, value, 10, 60);
    assert_int_equal(cf_put(s, other, odb_s("k"), odb_s("needed"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    cf_stats(s, &st);
    assert_true(st.log_bytes > 4096 + 6000);
    assert_int_equal(cf_flush(s, other), ODB_OK);
    cf_stats(s, &st);
    assert_int_equal(st.log_files, 1);
    assert_in_range(st.log_bytes, 4096, 4096 + 1000);
    put_many(s, f, "new", 50, 70); /* and the log goes on */
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.os = image;
    s = must_open();
    cf_stats(s, &st);
    assert_in_range(st.recovered_records, 20, 22);
    f = must_find(s, "default");
    must_have(s, f, "k00000", value);
    must_have(s, f, "k00049", value);
    must_have(s, f, "k00050", "new");
    must_have(s, f, "k00069", "new");
    must_have(s, must_find(s, "other"), "k", "needed");
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(image);
}

static void memory_stays_within_its_budget(void **state)
{
    struct cf_set_stats st;
    struct cf_set *s;
    struct cf *f[8];
    char key[16], value[100] = {0};
    uint64_t most = 0;

    (void)state;
    opt.memory_budget = 1 << 20;
    opt.cache_bytes = 1 << 20;
    opt.family.write_buffer = 1 << 20; /* eight of these would be eight budgets */
    s = must_open();
    for (int i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof key, "f%d", i);
        assert_int_equal(cf_create(s, key, NULL, &f[i]), ODB_OK);
    }
    for (int i = 0; i < 30000; i++) {
        (void)snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(cf_put(s, f[i % 8], odb_s(key), odb_bytes(value, sizeof value), NULL),
                         ODB_OK);
        while (cf_work(s))
            ;
        if (i % 100 == 0) {
            cf_stats(s, &st);
            if (st.memtable_bytes > most)
                most = st.memtable_bytes;
        }
    }
    if (most > opt.memory_budget)
        fail_msg("%llu bytes in memtables", (unsigned long long)most);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void snapshots_read_the_past(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct cf_snapshot *one, *two;
    struct cf_set_stats st;
    struct lsm_iter *it;
    char buf[16];
    size_t n;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("1"), NULL), ODB_OK);
    assert_int_equal(cf_snapshot_new(s, &one), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("2"), NULL), ODB_OK);
    assert_int_equal(cf_snapshot_new(s, &two), ODB_OK);
    assert_int_equal(cf_delete(s, f, odb_s("k"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, NULL), ODB_OK);
    assert_int_equal(cf_get_into(s, f, one, odb_s("k"), buf, 16, &n), ODB_OK);
    assert_int_equal(buf[0], '1');
    assert_int_equal(cf_get_into(s, f, two, odb_s("k"), buf, 16, &n), ODB_OK);
    assert_int_equal(buf[0], '2');
    assert_int_equal(cf_exists(s, f, NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_iter_new(s, f, one, NULL, &it), ODB_OK);
    assert_true(lsm_iter_first(it));
    assert_int_equal(cf_iter_refresh(s, f, NULL, NULL, &it), ODB_OK);
    assert_false(lsm_iter_first(it));
    lsm_iter_free(it);
    cf_stats(s, &st);
    assert_int_equal(st.snapshots, 2);
    assert_int_equal(st.oldest_snapshot_seq, cf_snapshot_seq(one));
    cf_snapshot_free(s, one);
    cf_snapshot_free(s, two);
    cf_snapshot_free(s, NULL);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void many_keys_are_read_at_once(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    odb_slice keys[3] = {odb_s("a"), odb_s("b"), odb_s("c")};
    struct lsm_value v[3];
    odb_status each[3];

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("a"), odb_s("1"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("c"), odb_s("3"), NULL), ODB_OK);
    assert_int_equal(cf_multiget(s, f, NULL, keys, 3, v, each), ODB_OK);
    assert_int_equal(each[0], ODB_OK);
    assert_int_equal(each[1], ODB_ABSENT);
    assert_int_equal(each[2], ODB_OK);
    assert_true(odb_slice_equal(v[0].data, odb_s("1")) && odb_slice_equal(v[2].data, odb_s("3")));
    cf_value_release(s, &v[0]);
    cf_value_release(s, &v[2]);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* ---- orders that only a failure or a race would show ---- */

/* A family is idle only when no commit may be on its way into it: one that is in the log and not yet in
 * the memtable must not fall below what the manifest says is flushed. */
static void a_family_with_a_commit_under_way_is_not_idle(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *idle;
    uint64_t before;

    (void)state;
    assert_int_equal(cf_create(s, "idle", NULL, &idle), ODB_OK);
    for (int under_way = 1; under_way >= 0; under_way--) {
        assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
        assert_int_equal(commit_switch(s, f, false, false), ODB_OK);
        before = lsm_needed_lsn(idle->tree);
        s->next_ticket += (unsigned)under_way; /* as between log and memtable */
        while (cf_work(s))
            ;
        s->next_ticket -= (unsigned)under_way;
        if (under_way)
            assert_true(lsm_needed_lsn(idle->tree) == before);
        else
            assert_true(lsm_needed_lsn(idle->tree) > before);
    }
    assert_int_equal(cf_close(s), ODB_OK);
}

static odb_status fail_manifests(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)arg;
    (void)op_no;
    if (strncmp(name, "MANIFEST", 8) == 0 && (op == SIM_SYNC || op == SIM_CREATE))
        return err_set(ODB_NOSPACE, "made to fail");
    return ODB_OK;
}

/* The record of the drop may be on the disk: a commit into that family could be lost with it. */
static void a_drop_that_may_have_happened_stops_writes(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f;

    (void)state;
    assert_int_equal(cf_create(s, "f", NULL, &f), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &full), ODB_OK);
    sim_set_fault(disk, fail_manifests, NULL);
    assert_int_equal(cf_drop(s, f), ODB_UNKNOWN);
    sim_set_fault(disk, NULL, NULL);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &full), ODB_READONLY);
    assert_int_equal(cf_exists(s, f, NULL, odb_s("k")), ODB_OK);
    assert_int_equal(cf_close(s), ODB_UNKNOWN);
    assert_int_equal(try_open(), ODB_OK);
}

/* A flush that could not be recorded lets go of no log, not even by way of the next record. */
static void a_flush_that_failed_keeps_its_log(void **state)
{
    struct cf_set *s;
    struct cf *f, *g;
    struct os *image;
    char key[16];

    (void)state;
    opt.log_segment_size = 4096;
    s = must_open();
    f = must_find(s, "default");
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof key, "k%03d", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s("some value or other"), &full), ODB_OK);
    }
    sim_set_fault(disk, fail_manifests, NULL);
    assert_int_equal(cf_flush(s, f), ODB_NOSPACE);
    assert_int_equal(cf_health(s), ODB_NOSPACE);
    sim_set_fault(disk, NULL, NULL);
    assert_int_equal(cf_create(s, "g", NULL, &g), ODB_OK); /* a record of something else */
    image = sim_image(disk, SIM_M0, 1);
    assert_int_equal(cf_resume(s), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    opt.os = image;
    s = must_open();
    f = must_find(s, "default");
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof key, "k%03d", i);
        must_have(s, f, key, "some value or other");
    }
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(image);
}

/* ---- files that are missing, foreign or damaged ---- */

/* A database with a table, two families and some log, after a kill. */
static void make_dirty(void)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *g;
    struct os *image;

    assert_int_equal(cf_create(s, "g", NULL, &g), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("t"), odb_s("table"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, NULL), ODB_OK);
    assert_int_equal(cf_put(s, g, odb_s("l"), odb_s("log"), &full), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("r"), odb_s("ring"), NULL), ODB_OK);
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(disk);
    disk = opt.os = image;
}

struct one_file {
    enum file_kind kind;
    char name[64];
};

static bool find_kind(void *arg, const char *name)
{
    struct one_file *f = arg;
    uint64_t no;

    if (file_parse(name, &no) != f->kind)
        return true;
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    return false;
}

static void a_missing_file_is_never_made_up_for(void **state)
{
    static const enum file_kind kinds[] = {FILE_CURRENT, FILE_IDENTITY, FILE_MANIFEST, FILE_LOG,
                                           FILE_TABLE};
    struct os *whole;

    (void)state;
    make_dirty();
    whole = disk;
    for (int i = 0; i < 5; i++) {
        struct one_file f = {.kind = kinds[i]};
        struct os_dir *dir;
        uint64_t before;
        odb_status st;

        disk = opt.os = sim_image(whole, SIM_M1, 1);
        assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
        assert_int_equal(os_dir_list(dir, find_kind, &f), ODB_OK);
        assert_int_equal(os_remove(dir, f.name), ODB_OK);
        os_dir_close(dir);
        before = sim_mutations(disk);
        st = try_open();
        if (st != ODB_CORRUPT)
            fail_msg("without %s: %s", f.name, odb_status_name(st));
        assert_true(sim_mutations(disk) <= before + 1); /* the LOCK file */
        opt.is_readonly = true;
        assert_int_equal(try_open(), ODB_CORRUPT);
        opt.is_readonly = false;
        sim_free(disk);
    }
    disk = opt.os = whole;
    assert_int_equal(try_open(), ODB_OK);
}

/* Zeros instead of the oldest log: a segment that was made and never begun looks the same, but the
 * manifest would not need that one. */
static void P09_a_log_of_zeros_is_missed(void **state)
{
    static const uint8_t zeros[8192];
    struct one_file f = {.kind = FILE_LOG};
    uint64_t lowest = UINT64_MAX, no;
    struct file_list list = {0};
    struct os_file *file;
    struct os_dir *dir;
    uint64_t size;

    (void)state;
    make_dirty();
    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(file_list_read(dir, &list), ODB_OK);
    for (size_t i = 0; i < list.logs.count; i++)
        if (list.logs.no[i] < lowest)
            lowest = list.logs.no[i];
    file_list_release(&list);
    file_name(FILE_LOG, lowest, f.name);
    assert_int_equal(file_parse(f.name, &no), FILE_LOG);
    assert_int_equal(os_open(dir, f.name, 0, &file), ODB_OK);
    assert_int_equal(os_size(file, &size), ODB_OK);
    os_close(file);
    os_dir_close(dir);
    for (uint64_t off = 0; off < size; off += sizeof zeros)
        assert_int_equal(sim_poke(disk, DB, f.name, off, zeros,
                                  size - off < sizeof zeros ? (size_t)(size - off) : sizeof zeros),
                         ODB_OK);
    assert_int_equal(try_open(), ODB_CORRUPT);
    opt.is_readonly = true;
    assert_int_equal(try_open(), ODB_CORRUPT);
    opt.is_readonly = false;
}

/* Records of every length, so that with one of them the segment that a flush names as the first one needed
 * is full behind it: then the next record, the flush's own mark, begins another one. */
static void P09_log_that_the_manifest_names_is_kept(void **state)
{
    static char value[1 << 17];

    (void)state;
    for (size_t fill = 60000; fill < 66000; fill += 200) {
        struct cf_set *s = must_open();
        struct cf *f = set_family_named(s, "default");

        assert_int_equal(cf_put(s, f, odb_s("k"), odb_bytes(value, fill), NULL), ODB_OK);
        assert_int_equal(cf_flush(s, f), ODB_OK);
        assert_int_equal(cf_close(s), ODB_OK);
    }
    assert_int_equal(try_open(), ODB_OK);
}

/* ---- a manifest that was cut ---- */

enum last_change { LAST_CREATE, LAST_DROP, LAST_FLUSH, LAST_MERGE, LAST_CLOSE, LAST_CHANGES };

static void put_and_flush(struct cf_set *s, struct cf *f, const char *key)
{
    assert_int_equal(cf_put(s, f, odb_s(key), odb_s("value"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, f), ODB_OK);
}

/* A life in which the manifest learns of families, tables and merges, `last` of all. What dies with
 * the process is not behind it: no commit follows the last change. */
static void live_until(enum last_change last)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *g, *h;
    struct os *image;

    assert_int_equal(cf_create(s, "g", NULL, &g), ODB_OK);
    assert_int_equal(cf_create(s, "h", NULL, &h), ODB_OK);
    assert_int_equal(cf_put(s, g, odb_s("k"), odb_s("v"), &full), ODB_OK);
    put_and_flush(s, f, "a");
    assert_int_equal(cf_drop(s, h), ODB_OK);
    put_and_flush(s, f, "b");
    switch (last) {
    case LAST_CREATE: assert_int_equal(cf_create(s, "i", NULL, &h), ODB_OK); break;
    case LAST_DROP: assert_int_equal(cf_drop(s, g), ODB_OK); break;
    case LAST_FLUSH: put_and_flush(s, f, "c"); break;
    case LAST_MERGE:
        put_and_flush(s, f, "a");
        put_and_flush(s, f, "b");
        assert_true(cf_work(s)); /* four tables on level 0 */
        while (cf_work(s))
            continue;
        break;
    case LAST_CLOSE: assert_int_equal(cf_close(s), ODB_OK); return;
    case LAST_CHANGES: break;
    }
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(disk);
    disk = opt.os = image;
}

/* Open a copy whose manifest ends at `len`. */
static odb_status open_cut(const char *name, uint64_t len, bool is_readonly)
{
    struct os *whole = disk, *cut = sim_image(whole, SIM_M1, 1);
    struct os_dir *dir;
    struct os_file *file;
    odb_status st;

    assert_int_equal(os_dir_open(cut, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_open(dir, name, OS_WRITE, &file), ODB_OK);
    assert_int_equal(os_truncate(file, len), ODB_OK);
    os_close(file);
    os_dir_close(dir);
    opt.os = cut;
    opt.is_readonly = is_readonly;
    st = try_open();
    opt.is_readonly = false;
    opt.os = whole;
    sim_free(cut);
    return st;
}

/* Every record of the manifest was synced before the next thing happened: none may be missing, however
 * many are, and whether a whole number of them is or not. */
static void P09_a_manifest_cut_by_whole_records_is_missed(void **state)
{
    (void)state;
    for (int last = 0; last < LAST_CHANGES; last++) {
        struct one_file f = {.kind = FILE_MANIFEST};
        uint8_t bytes[8192];
        uint64_t border = MANIFEST_HEADER;
        struct os_file *file;
        struct os_dir *dir;
        int cuts = 0;
        size_t len;

        live_until((enum last_change)last);
        assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
        assert_int_equal(os_dir_list(dir, find_kind, &f), ODB_OK);
        assert_int_equal(os_open(dir, f.name, 0, &file), ODB_OK);
        assert_int_equal(os_read(file, 0, bytes, sizeof bytes, &len), ODB_OK);
        os_close(file);
        os_dir_close(dir);
        assert_true(len < sizeof bytes);
        for (; border < len; border += 12 + get_u32(bytes + border + 8), cuts++) {
            for (uint64_t more = 0; more < 24;
                 more += 7) /* into the next record's head and items */
                for (int ro = 0; ro < 2; ro++) {
                    odb_status st = open_cut(f.name, border + more, ro);

                    if (st != ODB_CORRUPT)
                        fail_msg("life %d, cut at %llu of %zu: %s", last,
                                 (unsigned long long)(border + more), len, odb_status_name(st));
                    /* of older states the tables may be missed first, or those that were merged */
                    if (last <= LAST_FLUSH && border + 12 + get_u32(bytes + border + 8) == len)
                        assert_non_null(strstr(odb_error_text(), f.name));
                }
        }
        assert_int_equal(border, len);
        assert_true(cuts > 6);
        assert_int_equal(open_cut(f.name, len, true), ODB_OK);
        assert_int_equal(open_cut(f.name, len, false), ODB_OK);
        sim_free(disk);
        disk = opt.os = sim_new(1);
    }
}

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

/* ---- a full disk that has to be emptied ---- */

#define FULL_KEYS 3000

static odb_slice full_key(uint32_t i, char *text)
{
    return odb_bytes(text, (size_t)sprintf(text, "key%05u", i));
}

/* Put until the disk has no room left; how many keys went in. */
static uint32_t fill_disk(struct cf_set *s, struct cf *f)
{
    static char value[800];
    uint32_t n = 0;
    odb_status st = ODB_OK;

    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (char)('a' + i * 7 % 26);
    while (n < FULL_KEYS && st == ODB_OK) {
        char text[16];

        st = cf_put(s, f, full_key(n, text), odb_bytes(value, sizeof value), NULL);
        n += st == ODB_OK;
    }
    assert_int_equal(st, ODB_NOSPACE);
    return n;
}

static odb_status empty_disk(struct cf_set *s, struct cf *f, uint32_t keys)
{
    odb_status st = ODB_OK;
    char text[16];

    for (uint32_t i = 0; i < keys && st == ODB_OK; i++)
        st = cf_delete(s, f, full_key(i, text), &full);
    if (st == ODB_OK)
        st = cf_flush(s, f);
    if (st == ODB_OK)
        st = lsm_compact(cf_tree(f), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL);
    while (cf_work(s))
        ;
    return st;
}

/* A full disk of 2 MiB: with a reserve all can be deleted and written anew, without one it cannot. */
static void P07_deletes_and_merges_proceed_from_the_reserve(void **state)
{
    (void)state;
    for (int kept = 0; kept < 2; kept++) {
        struct os *os = sim_new(3);
        struct cf_set *s;
        struct cf *f;
        uint32_t n;
        char text[16];
        odb_status st;

        opt.os = os;
        opt.disk_reserve = kept ? 256 << 10 : 0;
        sim_set_capacity(os, 2 << 20);
        s = must_open();
        f = must_find(s, "default");
        n = fill_disk(s, f);
        assert_true(n > 1000);
        st = empty_disk(s, f, n);
        if (kept && st != ODB_OK)
            fail_msg("with a reserve: %s", odb_error_text());
        assert_true(kept || st == ODB_NOSPACE);
        if (kept) { /* space is back: puts are, too, and so is the reserve */
            assert_int_equal(cf_resume(s), ODB_OK);
            for (uint32_t i = 0; i < n / 2; i++)
                assert_int_equal(cf_put(s, f, full_key(i, text), odb_s("again"), NULL), ODB_OK);
        }
        err_ignore(cf_close(s));
        if (kept) {
            s = must_open();
            f = must_find(s, "default");
            must_have(s, f, "key00000", "again");
            assert_int_equal(cf_exists(s, f, NULL, full_key(n - 1, text)), ODB_ABSENT);
            assert_int_equal(cf_close(s), ODB_OK);
        }
        sim_free(os);
    }
    opt.os = disk;
    opt.disk_reserve = 0;
}

static void puts_wait_while_the_reserve_is_spent(void **state)
{
    struct os *os = sim_new(3);
    struct cf_set *s;
    struct cf *f;
    uint32_t n;
    char text[16];

    (void)state;
    opt.os = os;
    opt.disk_reserve = 256 << 10;
    sim_set_capacity(os, 2 << 20);
    s = must_open();
    f = must_find(s, "default");
    n = fill_disk(s, f);
    for (uint32_t i = 0; i < 40; i++) { /* a delete goes through, a put never takes its space */
        assert_int_equal(cf_delete(s, f, full_key(i, text), &full), ODB_OK);
        assert_int_equal(cf_put(s, f, full_key(n + i, text), odb_s("x"), NULL), ODB_NOSPACE);
    }
    sim_set_capacity(os, 8 << 20);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(os);
    opt.os = disk;
    opt.disk_reserve = 0;
}

static void open_on_a_full_disk(uint32_t puts)
{
    struct os *os = sim_new(3), *image, *without;
    struct cf_set *s;
    struct cf *f;

    opt.os = os;
    opt.disk_reserve = 256 << 10;
    sim_set_capacity(os, 4 << 20);
    s = must_open();
    f = must_find(s, "default");
    for (uint32_t i = 0; i < puts; i++) {
        static const char value[800];
        char text[16];

        assert_int_equal(cf_put(s, f, full_key(i, text), odb_bytes(value, sizeof value), NULL),
                         ODB_OK);
    }
    image = sim_image(os, SIM_M1, 0); /* the process dies, and something else fills the disk */
    {
        struct os_dir *dir;
        uint64_t room;

        opt.os = image;
        assert_int_equal(os_dir_open(image, DB, 0, &dir), ODB_OK);
        room = os_dir_free_bytes(dir);
        os_dir_close(dir);
        sim_set_capacity(image, (4 << 20) - room);
        without = sim_image(image, SIM_M1, 0);
        assert_int_equal(os_dir_open(without, DB, 0, &dir), ODB_OK);
        assert_int_equal(os_remove(dir, "RESERVE"), ODB_OK);
        sim_set_capacity(without, (4 << 20) - room - os_dir_free_bytes(dir));
        os_dir_close(dir);
    }
    assert_int_equal(try_open(), ODB_OK);
    opt.os = without;
    assert_int_equal(try_open(), ODB_NOSPACE);
    sim_free(without);
    sim_free(image);
    opt.os = os;
    err_ignore(cf_close(s));
    sim_free(os);
    opt.os = disk;
    opt.disk_reserve = 0;
}

/* Recovery needs space for the tables it writes: an open on a full disk takes what was kept. That is an eighth
 * of the tables at most: enough for the whole step of log that an open likes to have, or for less of it. */
static void an_open_on_a_full_disk_takes_the_reserve(void **state)
{
    (void)state;
    open_on_a_full_disk(2000);
    open_on_a_full_disk(800);
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

/* Flip one bit of every so many bytes of every file: the same answers, or an error, never others. */
static bool flip_each(void *arg, const char *name)
{
    struct os *whole = arg;
    struct os_dir *dir;
    struct os_file *f;
    uint64_t size = 0;
    static const char *const expect[][2] = {{"t", "table"}, {"l", "log"}, {"r", "ring"}};

    assert_int_equal(os_dir_open(whole, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_open(dir, name, 0, &f), ODB_OK);
    assert_int_equal(os_size(f, &size), ODB_OK);
    os_close(f);
    os_dir_close(dir);
    for (uint64_t off = 0; off<size; off += size> 4096 ? 61 : 1) {
        struct os *os = sim_image(whole, SIM_M1, 1);
        struct cf_set *s = NULL;
        uint8_t byte;
        size_t got;

        assert_int_equal(os_dir_open(os, DB, 0, &dir), ODB_OK);
        assert_int_equal(os_open(dir, name, 0, &f), ODB_OK);
        assert_int_equal(os_read(f, off, &byte, 1, &got), ODB_OK);
        os_close(f);
        os_dir_close(dir);
        byte ^= (uint8_t)(1u << off % 8);
        assert_int_equal(sim_poke(os, DB, name, off, &byte, 1), ODB_OK);
        opt.os = os;
        if (cf_open(DB, &opt, &s) == ODB_OK) {
            for (int i = 0; i < 3; i++) {
                struct cf *cf = must_find(s, i == 1 ? "g" : "default");
                char buf[32];
                size_t n = 0;
                odb_status st = cf_get_into(s, cf, NULL, odb_s(expect[i][0]), buf, sizeof buf, &n);

                if (st == ODB_OK &&
                    (n != strlen(expect[i][1]) || memcmp(buf, expect[i][1], n) != 0))
                    fail_msg("%s at %llu: a wrong answer", name, (unsigned long long)off);
                /* only the end of the log may look as if it had never been written */
                if (st != ODB_OK && st != ODB_CORRUPT && !(st == ODB_ABSENT && i > 0))
                    fail_msg("%s at %llu: %s is %s", name, (unsigned long long)off, expect[i][0],
                             odb_status_name(st));
            }
            err_ignore(cf_close(s));
        }
        sim_free(os);
    }
    return true;
}

static void damage_gives_an_error_or_the_same_answer(void **state)
{
    struct os_dir *dir;

    (void)state;
    make_dirty();
    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_dir_list(dir, flip_each, disk), ODB_OK);
    os_dir_close(dir);
    opt.os = disk;
}

static void a_manifest_of_another_database_is_refused(void **state)
{
    struct one_file f = {.kind = FILE_MANIFEST};
    struct os_dir *dir, *other;
    struct os_file *file;
    uint8_t bytes[8192];
    size_t n;

    (void)state;
    make_dirty();
    {
        struct cf_set *s = NULL;

        assert_int_equal(cf_open("/other", &opt, &s), ODB_OK);
        assert_int_equal(cf_close(s), ODB_OK);
    }
    assert_int_equal(os_dir_open(disk, "/other", 0, &other), ODB_OK);
    assert_int_equal(os_dir_list(other, find_kind, &f), ODB_OK);
    assert_int_equal(os_open(other, f.name, 0, &file), ODB_OK);
    assert_int_equal(os_read(file, 0, bytes, sizeof bytes, &n), ODB_OK);
    os_close(file);
    os_dir_close(other);
    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_dir_list(dir, find_kind, &f), ODB_OK);
    os_dir_close(dir);
    assert_int_equal(sim_poke(disk, DB, f.name, 0, bytes, n), ODB_OK);
    assert_int_equal(try_open(), ODB_CORRUPT);
}

/* ---- what a manifest or a log says under a good checksum ---- */

enum manifest_lie {
    NO_LIE,
    LIE_LONG_NAME,
    LIE_LATE_FAMILY,
    LIE_DROP,
    LIE_EDIT,
    LIE_FLUSHED_BACK,
    LIE_SHARED_TABLE,
    LIE_MISSING_TABLE,
    LIE_REMOVED_TABLE,
    LIE_TABLE_TWICE,
    LIE_OVERLAP,
    LIE_NO_COUNTERS,
    LIE_NO_FAMILY,
    LIE_NO_DEFAULT,
    LIE_FUTURE_FAMILY,
    MANIFEST_LIES,
};

#define LIE_TABLE 500 /* there is a file of this number; 501 is missing */

static void lie_family(struct manifest_group *g, uint32_t id, odb_slice name)
{
    struct manifest_family f = {.id = id, .name = name};

    assert_int_equal(manifest_add_family(g, &f), ODB_OK);
}

static void lie_flushed(struct manifest_group *g, uint32_t family, uint64_t lsn)
{
    struct lsm_edit e = {.family = family, .has_flushed = true, .flushed_lsn = lsn};

    assert_int_equal(manifest_add_edit(g, &e), ODB_OK);
}

static void lie_table(struct manifest_group *g, uint32_t family, uint32_t level, uint64_t no,
                      const char *smallest, const char *largest)
{
    struct lsm_edit_add add = {
        .level = level,
        .meta = {.file_no = no, .size = 100, .entries = 1, .min_seq = 1, .max_seq = 1}};
    struct lsm_edit e = {.family = family, .add = &add, .add_count = 1};

    assert_int_equal(buf_assign(&add.meta.smallest, smallest, strlen(smallest)), ODB_OK);
    assert_int_equal(buf_assign(&add.meta.largest, largest, strlen(largest)), ODB_OK);
    assert_int_equal(manifest_add_edit(g, &e), ODB_OK);
    sst_meta_release(&add.meta);
}

static void lie_with(enum manifest_lie lie, uint64_t next_no, struct manifest_group *g)
{
    struct manifest_counters c = {
        .next_file_no = next_no, .next_seq = 5, .next_family = 2, .log_no = next_no - 1};
    struct lsm_edit_remove gone = {0, LIE_TABLE};
    struct lsm_edit remove = {.remove = &gone, .remove_count = 1};
    char name[CF_NAME_MAX + 1];

    memset(name, 'n', sizeof name);
    if (lie != LIE_NO_COUNTERS)
        assert_int_equal(manifest_add_counters(g, &c), ODB_OK);
    if (lie == LIE_NO_FAMILY)
        return;
    if (lie != LIE_NO_DEFAULT)
        lie_family(g, 0, odb_s("default"));
    lie_family(g, 1, lie == LIE_LONG_NAME ? odb_bytes(name, sizeof name) : odb_s("other"));
    lie_flushed(g, 1, 800);
    switch (lie) {
    case LIE_LATE_FAMILY: lie_family(g, 1, odb_s("again")); break;
    case LIE_DROP: assert_int_equal(manifest_add_drop(g, 9), ODB_OK); break;
    case LIE_EDIT: lie_flushed(g, 9, 800); break;
    case LIE_FLUSHED_BACK: lie_flushed(g, 1, 792); break;
    case LIE_SHARED_TABLE:
        lie_table(g, 0, 0, LIE_TABLE, "a", "b");
        lie_table(g, 1, 0, LIE_TABLE, "a", "b");
        break;
    case LIE_MISSING_TABLE: lie_table(g, 0, 0, LIE_TABLE + 1, "a", "b"); break;
    case LIE_REMOVED_TABLE: assert_int_equal(manifest_add_edit(g, &remove), ODB_OK); break;
    case LIE_TABLE_TWICE:
        lie_table(g, 0, 0, LIE_TABLE, "a", "b");
        lie_table(g, 0, 0, LIE_TABLE, "a", "b");
        break;
    case LIE_OVERLAP:
        lie_table(g, 0, 1, LIE_TABLE, "a", "c");
        lie_table(g, 0, 1, LIE_TABLE + 1, "c", "d");
        break;
    case LIE_FUTURE_FAMILY: lie_family(g, 2, odb_s("third")); break;
    default: break;
    }
}

/* Let CURRENT name a manifest that says so. */
static void write_manifest(enum manifest_lie lie)
{
    struct manifest_group g = {0};
    struct manifest *m = NULL;
    struct file_list list = {0};
    struct identity id;
    struct os_file *table;
    struct os_dir *dir;
    bool is_tried;
    uint64_t no;

    assert_int_equal(os_dir_open(disk, DB, 0, &dir), ODB_OK);
    assert_int_equal(os_open(dir, "000500.sst", OS_WRITE | OS_CREATE, &table), ODB_OK);
    os_close(table);
    assert_int_equal(file_list_read(dir, &list), ODB_OK);
    no = list.max_no + 1;
    assert_int_equal(list.max_no, LIE_TABLE);
    file_list_release(&list);
    assert_int_equal(identity_read(dir, false, &id), ODB_OK);
    lie_with(lie, no + 2, &g);
    assert_int_equal(manifest_create(disk, dir, identity_db_id(&id), no, &g, &m), ODB_OK);
    manifest_group_release(&g);
    manifest_close(m);
    assert_int_equal(os_dir_sync(dir), ODB_OK);
    assert_int_equal(current_switch(dir, identity_db_id(&id), no, &is_tried), ODB_OK);
    os_dir_close(dir);
}

static void a_manifest_that_contradicts_itself_is_refused_and_changes_nothing(void **state)
{
    static const char *const says[MANIFEST_LIES] = {
        [LIE_LONG_NAME] = "longer names",
        [LIE_LATE_FAMILY] = "comes too late",
        [LIE_DROP] = "drops a column family that is not there",
        [LIE_EDIT] = "changes a column family that is not there",
        [LIE_FLUSHED_BACK] = "needs log again",
        [LIE_SHARED_TABLE] = "claim the same table",
        [LIE_MISSING_TABLE] = "it is missing",
        [LIE_REMOVED_TABLE] = "which is not there",
        [LIE_TABLE_TWICE] = "twice",
        [LIE_OVERLAP] = "overlap",
        [LIE_NO_COUNTERS] = "whole database",
        [LIE_NO_FAMILY] = "whole database",
        [LIE_NO_DEFAULT] = "whole database",
        [LIE_FUTURE_FAMILY] = "whole database",
    };

    (void)state;
    for (int lie = NO_LIE; lie < MANIFEST_LIES; lie++)
        for (int ro = 0; ro < 2; ro++) {
            uint64_t before;
            odb_status st;

            assert_int_equal(try_open(), ODB_OK);
            write_manifest((enum manifest_lie)lie);
            before = sim_mutations(disk);
            opt.is_readonly = ro;
            st = try_open();
            opt.is_readonly = false;
            if (st != (lie == NO_LIE ? ODB_OK : ODB_CORRUPT))
                fail_msg("lie %d: %s: %s", lie, odb_status_name(st), odb_error_text());
            if (lie != NO_LIE && !strstr(odb_error_text(), says[lie]))
                fail_msg("lie %d: \"%s\" does not say \"%s\"", lie, odb_error_text(), says[lie]);
            if (lie != NO_LIE || ro)
                assert_true(sim_mutations(disk) <= before + 1); /* the LOCK file */
            sim_free(disk);
            disk = opt.os = sim_new(1);
        }
}

/* The log takes whatever it is given: what a batch is, is known here. */
static void append_lie(struct cf_set *s, uint64_t first_seq, odb_slice payload)
{
    uint64_t end = 0, last_seq;

    os_mutex_lock(&s->commit_lock);
    last_seq = s->wal->last_seq;
    assert_int_equal(
        wal_append(s->wal, WAL_BATCH, first_seq, payload, hash64(payload.data, payload.size), &end),
        ODB_OK);
    s->wal->last_seq = last_seq; /* its own records behind this one are no lies */
    os_mutex_unlock(&s->commit_lock);
    assert_int_equal(wal_sync(s->wal, end), ODB_OK);
}

static void a_log_that_contradicts_itself_is_refused(void **state)
{
    static const struct {
        const char *says;
        int64_t seq; /* counted from the next one; SEQ_MAX below 0 from there */
        bool is_cut, is_empty;
        uint32_t family;
        bool verify_sees; /* what shows without knowing the rest of the log */
    } lie[] = {
        {"never was", 0, false, false, 77, false},
        {"makes no sense", 0, true, false, 0, true},
        {"makes no sense", 0, false, true, 0, false},
        {"makes no sense", INT64_MIN, false, false, 0, false}, /* its second one has no number */
        {"go back", -1, false, false, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++)
        for (int ro = 0; ro < 2; ro++) {
            struct cf_set *s = must_open();
            struct batch b = {0};
            odb_slice payload;
            struct os *image;
            odb_status st;

            assert_int_equal(cf_put(s, must_find(s, "default"), odb_s("k"), odb_s("v"), &full),
                             ODB_OK);
            assert_int_equal(batch_put(&b, lie[i].family, odb_s("k"), odb_s("w")), ODB_OK);
            assert_int_equal(batch_put(&b, lie[i].family, odb_s("l"), odb_s("w")), ODB_OK);
            payload = odb_bytes(b.ops.p, lie[i].is_empty ? 0 : b.ops.len - lie[i].is_cut);
            append_lie(s, lie[i].seq == INT64_MIN ? SEQ_MAX : s->next_seq + (uint64_t)lie[i].seq,
                       payload);
            batch_release(&b);
            assert_int_equal(cf_verify(s, NULL, NULL), lie[i].verify_sees ? ODB_CORRUPT : ODB_OK);
            image = sim_image(disk, SIM_M1, 1);
            err_ignore(cf_close(s));
            sim_free(disk);
            disk = opt.os = image;
            opt.is_readonly = ro;
            st = try_open();
            opt.is_readonly = false;
            if (st != ODB_CORRUPT || !strstr(odb_error_text(), lie[i].says))
                fail_msg("lie %zu: %s: \"%s\" does not say \"%s\"", i, odb_status_name(st),
                         odb_error_text(), lie[i].says);
            sim_free(disk);
            disk = opt.os = sim_new(1);
        }
}

/* ---- want of memory ---- */

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

static void P16_verifying_without_memory_is_a_status(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    long n = 0, failed = 1;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("l"), odb_s("v"), NULL), ODB_OK);
    for (; failed; n++) {
        long alive = test_alloc_alive();
        odb_status st;

        assert_true(n < 1000);
        test_alloc_fail(n, 0);
        st = cf_verify(s, NULL, NULL);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_true(st == ODB_OK || (st == ODB_NOMEM && failed));
        assert_int_equal(test_alloc_alive(), alive);
    }
    assert_true(n > 5);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* ---- more than usual ---- */

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

static void must_be(struct cf_set *s, struct cf *f, const struct cf_snapshot *at, const char *key,
                    int want)
{
    odb_slice keys[2] = {odb_s(key), odb_s("nowhere")};
    struct lsm_value v[2];
    char text[16], buf[32];
    odb_status each[2], st;
    size_t n;

    (void)snprintf(text, sizeof text, "%d", want);
    st = cf_get_into(s, f, at, keys[0], buf, sizeof buf, &n);
    assert_int_equal(cf_multiget(s, f, at, keys, 2, v, each), ODB_OK);
    assert_int_equal(each[0], st);
    assert_int_equal(each[1], ODB_ABSENT);
    assert_int_equal(cf_exists(s, f, at, keys[0]), st);
    if (want < 0) {
        assert_int_equal(st, ODB_ABSENT);
        return;
    }
    if (st != ODB_OK || n != strlen(text) || memcmp(buf, text, n) != 0)
        fail_msg("%s is %.*s, not %s (%s)", key, (int)n, buf, text, odb_status_name(st));
    assert_true(odb_slice_equal(v[0].data, odb_s(text)));
    cf_value_release(s, &v[0]);
}

/* Level 0 has piled up to more tables than one look takes, all of them around the key. */
static void reads_go_through_any_number_of_tables(void **state)
{
    enum { ROUNDS = 60, FIRST = 20 };
    struct cf_snapshot *early = NULL;
    struct lsm_stats now;
    char key[16], text[16];
    struct cf_set *s;
    struct cf *f;

    (void)state;
    opt.family.auto_compact = false;
    s = must_open();
    f = must_find(s, "default");
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(key, sizeof key, "k%02d", i);
        (void)snprintf(text, sizeof text, "%d", i);
        assert_int_equal(cf_put(s, f, odb_s("a"), odb_s(text), NULL), ODB_OK);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s(text), NULL), ODB_OK);
        if (i == FIRST / 2 || i == ROUNDS / 2)
            assert_int_equal(cf_put(s, f, odb_s("twice"), odb_s(text), NULL), ODB_OK);
        if (i == 1)
            assert_int_equal(cf_put(s, f, odb_s("gone"), odb_s(text), NULL), ODB_OK);
        if (i == FIRST + 2)
            assert_int_equal(cf_delete(s, f, odb_s("gone"), NULL), ODB_OK);
        assert_int_equal(cf_put(s, f, odb_s("z"), odb_s(text), NULL), ODB_OK);
        if (i == FIRST)
            assert_int_equal(cf_snapshot_new(s, &early), ODB_OK);
        assert_int_equal(cf_flush(s, f), ODB_OK);
        if (i == FIRST) /* and the oldest of it lies below */
            assert_int_equal(
                lsm_compact(cf_tree(f), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                ODB_OK);
    }
    lsm_stats(cf_tree(f), &now);
    assert_int_equal(now.level[0].files, ROUNDS - FIRST - 1);
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(key, sizeof key, "k%02d", i);
        must_be(s, f, NULL, key, i);
        must_be(s, f, early, key, i <= FIRST ? i : -1);
    }
    must_be(s, f, NULL, "a", ROUNDS - 1);
    must_be(s, f, early, "a", FIRST);
    must_be(s, f, NULL, "twice", ROUNDS / 2);
    must_be(s, f, early, "twice", FIRST / 2);
    must_be(s, f, NULL, "gone", -1);
    must_be(s, f, early, "gone", 1);
    cf_snapshot_free(s, early);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void what_is_too_much_is_refused_and_changes_nothing(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *g;
    struct batch b = {0};
    uint64_t next_seq;
    uint32_t living;
    uint8_t byte = 1;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_bytes(&byte, KEY_LEN_MAX + 1), odb_s("v"), NULL),
                     ODB_TOO_LARGE);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_bytes(&byte, VALUE_LEN_MAX + 1), NULL),
                     ODB_TOO_LARGE);
    /* as if it had taken all the numbers there are, but one */
    next_seq = s->next_seq;
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("1")), ODB_OK);
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("2")), ODB_OK);
    s->next_seq = SEQ_MAX;
    assert_int_equal(cf_commit(s, &b, NULL), ODB_LIMIT);
    s->next_seq = SEQ_MAX + 1;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("w"), NULL), ODB_LIMIT);
    s->next_seq = next_seq;
    batch_release(&b);
    /* as if there were all the families there can be */
    living = s->living;
    s->living = CF_COUNT_MAX;
    assert_int_equal(cf_create(s, "one too many", NULL, &g), ODB_LIMIT);
    s->living = living;
    assert_int_equal(cf_find(s, "one too many", &g), ODB_NO_FAMILY);
    must_have(s, f, "k", "v");
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("w"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    must_have(s, must_find(s, "default"), "k", "w");
    assert_int_equal(cf_close(s), ODB_OK);
}

/* A handle outlives its family: every call says so, and the batch that names it is refused whole. */
static void a_dropped_family_answers_nothing_any_more(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *gone;
    odb_slice keys[1] = {odb_s("k")};
    struct cf_snapshot *snap;
    struct lsm_iter *it = NULL;
    struct lsm_value v;
    struct batch b = {0};
    odb_status each[1];
    size_t n;

    (void)state;
    assert_int_equal(cf_create(s, "gone", NULL, &gone), ODB_OK);
    assert_int_equal(cf_put(s, gone, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_snapshot_new(s, &snap), ODB_OK);
    assert_int_equal(batch_put(&b, cf_id(f), odb_s("k"), odb_s("batch")), ODB_OK);
    assert_int_equal(batch_put(&b, cf_id(gone), odb_s("k"), odb_s("batch")), ODB_OK);
    assert_int_equal(cf_drop(s, gone), ODB_OK);
    for (int past = 0; past < 2; past++) {
        const struct cf_snapshot *at = past ? snap : NULL;

        assert_int_equal(cf_get(s, gone, at, odb_s("k"), &v), ODB_NO_FAMILY);
        assert_non_null(strstr(odb_error_text(), "gone"));
        assert_int_equal(cf_get_into(s, gone, at, odb_s("k"), NULL, 0, &n), ODB_NO_FAMILY);
        assert_int_equal(cf_exists(s, gone, at, odb_s("k")), ODB_NO_FAMILY);
        assert_int_equal(cf_multiget(s, gone, at, keys, 1, &v, each), ODB_NO_FAMILY);
        assert_int_equal(cf_iter_new(s, gone, at, NULL, &it), ODB_NO_FAMILY);
        assert_null(it);
    }
    assert_int_equal(cf_put(s, gone, odb_s("k"), odb_s("v"), NULL), ODB_NO_FAMILY);
    assert_int_equal(cf_delete(s, gone, odb_s("k"), NULL), ODB_NO_FAMILY);
    assert_int_equal(cf_commit(s, &b, NULL), ODB_NO_FAMILY);
    assert_int_equal(cf_exists(s, f, NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_drop(s, gone), ODB_NO_FAMILY);
    batch_release(&b);
    cf_snapshot_free(s, snap);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_is_made_unless_asked_for),
        T(a_new_database_has_its_families),
        T(missing_families_are_made_on_request),
        T(one_directory_has_one_writer),
        T(a_forked_child_is_refused),
        T(read_only_sees_the_log_and_changes_nothing),
        T(an_unclean_end_is_replayed),
        T(log_that_is_in_tables_already_is_passed_over),
        T(records_of_many_small_operations_come_back),
        T(a_stray_file_with_a_huge_number_is_refused_before_it_does_harm),
        T(families_are_created_listed_dropped_and_stay_so),
        T(names_have_limits),
        T(options_of_its_own_stay_with_a_family),
        T(a_batch_may_span_many_families),
        T(large_values_and_batches_fit),
        T(without_waiting_a_write_is_told_to_come_again),
        T(an_idle_family_does_not_keep_the_log),
        T(a_flush_leaves_a_log_that_nobody_needs),
        T(memory_stays_within_its_budget),
        T(snapshots_read_the_past),
        T(many_keys_are_read_at_once),
        T(a_family_with_a_commit_under_way_is_not_idle),
        T(a_drop_that_may_have_happened_stops_writes),
        T(a_flush_that_failed_keeps_its_log),
        T(a_missing_file_is_never_made_up_for),
        T(P09_a_log_of_zeros_is_missed),
        T(P09_log_that_the_manifest_names_is_kept),
        T(P09_a_manifest_cut_by_whole_records_is_missed),
        T(a_half_made_database_is_begun_anew),
        T(a_creation_that_died_twice_is_begun_anew),
        T(a_creation_whose_sync_failed_is_begun_anew),
        T(P07_deletes_and_merges_proceed_from_the_reserve),
        T(puts_wait_while_the_reserve_is_spent),
        T(an_open_on_a_full_disk_takes_the_reserve),
        T(damage_gives_an_error_or_the_same_answer),
        T(a_manifest_of_another_database_is_refused),
        T(a_manifest_that_contradicts_itself_is_refused_and_changes_nothing),
        T(a_log_that_contradicts_itself_is_refused),
        T(P16_replay_without_memory_is_a_status),
        T(P16_verifying_without_memory_is_a_status),
        T(replay_stays_within_its_budget),
        T(a_long_log_is_swept_by_a_worker),
        T(reads_go_through_any_number_of_tables),
        T(what_is_too_much_is_refused_and_changes_nothing),
        T(a_dropped_family_answers_nothing_any_more),
        T(a_forked_child_can_close),
    };

    if (getenv("ODB_TEST_ONLY"))
        cmocka_set_test_filter(getenv("ODB_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
