/* Opening a database: options, the readable files, who may open what. */
#include "tests/api/fixture.h"

#include <pthread.h>
#include <sys/stat.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    fixture_make_dir(dir, sizeof dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    fixture_remove_dir(dir);
    return 0;
}

static odb_status open_with(const odb_options *o, odb_db **out)
{
    return odb_open(dir, o, out);
}

static void open_and_close(const odb_options *o)
{
    odb_db *db;

    assert_ok(open_with(o, &db));
    assert_ok(odb_close(db));
}

static size_t read_file(const char *name, char *out, size_t room)
{
    char path[128];
    size_t n;
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (!f)
        return 0;
    n = fread(out, 1, room - 1, f);
    out[n] = 0;
    (void)fclose(f);
    return n;
}

/* ---- options ---- */

static void an_option_that_makes_no_sense_is_named(void **state)
{
    static const char *const one_name[] = {NULL};
    const struct {
        const char *name;
        odb_options o;
    } lie[] = {
        {"size", {.block_size = 4096}},
        {"memory_budget", {.size = sizeof(odb_options), .memory_budget = 1000}},
        {"durability", {.size = sizeof(odb_options), .durability = (odb_durability)7}},
        {"must_be_new", {.size = sizeof(odb_options), .must_exist = true, .must_be_new = true}},
        {"is_readonly", {.size = sizeof(odb_options), .is_readonly = true, .must_be_new = true}},
        {"families", {.size = sizeof(odb_options), .family_count = 1}},
        {"families[0]", {.size = sizeof(odb_options), .family_count = 1, .families = one_name}},
        {"write_buffer_size", {.size = sizeof(odb_options), .write_buffer_size = 100}},
        {"write_buffers", {.size = sizeof(odb_options), .write_buffers = 1}},
        {"target_file_size", {.size = sizeof(odb_options), .target_file_size = 1}},
        {"level_base_size", {.size = sizeof(odb_options), .level_base_size = 1}},
        {"level_multiplier", {.size = sizeof(odb_options), .level_multiplier = 1}},
        {"block_size", {.size = sizeof(odb_options), .block_size = 100}},
        {"compression", {.size = sizeof(odb_options), .compression = (odb_compression)9}},
        {"lz4_acceleration", {.size = sizeof(odb_options), .lz4_acceleration = 1000}},
        {"filter_bits", {.size = sizeof(odb_options), .filter_bits = -2}},
        {"ring_size", {.size = sizeof(odb_options), .ring_size = 65537}},
        {"log_segment_size", {.size = sizeof(odb_options), .log_segment_size = 1}},
        {"open_tables", {.size = sizeof(odb_options), .open_tables = 1}},
        {"background_jobs", {.size = sizeof(odb_options), .background_jobs = 9999}},
    };
    odb_db *db = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        assert_status(open_with(&lie[i].o, &db), ODB_INVALID);
        if (!strstr(odb_error_text(), lie[i].name))
            fail_msg("'%s' does not name %s", odb_error_text(), lie[i].name);
        assert_null(db);
    }
    assert_status(odb_open(NULL, NULL, &db), ODB_INVALID);
    assert_status(odb_open(dir, NULL, NULL), ODB_INVALID);
}

static void a_program_of_an_older_release_may_pass_a_shorter_struct(void **state)
{
    odb_options o = odb_options_default();

    (void)state;
    o.size = offsetof(odb_options, cache_size);
    o.cache_size = 1; /* must not be read */
    o.ring_size = 77; /* nor this, which would be refused */
    open_and_close(&o);
}

static void a_small_budget_works(void **state)
{
    odb_options o = odb_options_default();
    odb_stats_t s = {.size = sizeof s};
    char key[32], value[400];
    odb_db *db;

    (void)state;
    memset(value, 'v', sizeof value);
    o.memory_budget = 1 << 20;
    assert_ok(open_with(&o, &db));
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(key, sizeof key, "%07d", i * 7919 % 10007);
        assert_ok(odb_put(db, NULL, odb_s(key), odb_bytes(value, sizeof value), NULL));
    }
    assert_ok(odb_stats(db, NULL, &s));
    assert_true(s.memory_bytes < 4 << 20); /* tables' indexes come on top while they are in use */
    assert_true(s.flushes > 5);
    assert_ok(odb_close(db));
}

static void families_of_the_options_are_made(void **state)
{
    static const char *const two[] = {"one", "two"};
    odb_options o = odb_options_default();
    odb_names names;
    odb_db *db;

    (void)state;
    o.families = two;
    o.family_count = 2;
    assert_ok(open_with(&o, &db));
    assert_ok(odb_cf_list(db, &names));
    assert_int_equal(names.count, 3);
    assert_string_equal(names.name[0], "default");
    assert_string_equal(names.name[2], "two");
    odb_names_release(&names);
    assert_ok(odb_close(db));
    assert_ok(open_with(NULL, &db)); /* and the seven, when asked for later */
    assert_ok(odb_cf_list(db, &names));
    assert_int_equal(names.count, 9);
    odb_names_release(&names);
    assert_ok(odb_close(db));
}

/* ---- who may open what ---- */

static void must_exist_and_must_be_new_are_kept(void **state)
{
    odb_options o = odb_options_default();
    odb_db *db;

    (void)state;
    o.must_exist = true;
    assert_status(open_with(&o, &db), ODB_ABSENT);
    o.is_readonly = true;
    assert_status(open_with(&o, &db), ODB_ABSENT);
    open_and_close(NULL);
    o = odb_options_default();
    o.must_be_new = true;
    assert_status(open_with(&o, &db), ODB_EXISTS);
    assert_non_null(strstr(odb_error_text(), dir));
}

static void P15_a_second_writer_is_told_that_it_is_busy(void **state)
{
    odb_db *first, *second;

    (void)state;
    assert_ok(open_with(NULL, &first));
    assert_status(open_with(NULL, &second), ODB_BUSY);
    assert_ok(odb_close(first));
    open_and_close(NULL);
}

static void a_read_only_database_refuses_writes_and_changes_nothing(void **state)
{
    odb_options o = odb_options_default();
    char before[4096], after[4096];
    odb_value v;
    odb_cf *cf;
    odb_db *db;

    (void)state;
    assert_ok(open_with(NULL, &db));
    assert_ok(odb_put(db, NULL, odb_s("k"), odb_s("v"), NULL));
    assert_ok(odb_close(db));
    (void)read_file("LOG", before, sizeof before);
    o.is_readonly = true;
    assert_ok(open_with(&o, &db));
    assert_ok(odb_get(odb_now(db), NULL, odb_s("k"), &v));
    assert_slice(odb_bytes(v.data, v.size), "v");
    odb_value_release(&v);
    assert_status(odb_put(db, NULL, odb_s("k"), odb_s("w"), NULL), ODB_READONLY);
    assert_status(odb_delete(db, NULL, odb_s("k"), NULL), ODB_READONLY);
    assert_status(odb_cf_create(db, "new", NULL, &cf), ODB_READONLY);
    assert_ok(odb_cf_open(db, "records", &cf));
    assert_status(odb_cf_drop(db, cf), ODB_READONLY);
    assert_ok(odb_close(db));
    (void)read_file("LOG", after, sizeof after);
    assert_string_equal(before, after);
}

/* ---- the readable files ---- */

static void the_directory_tells_what_it_is(void **state)
{
    char text[4096];
    struct stat first, second;
    char path[128];

    (void)state;
    open_and_close(NULL);
    assert_true(read_file("OPENDB_INFO", text, sizeof text) > 100);
    assert_non_null(strstr(text, "OpenDB database"));
    assert_non_null(strstr(text, "odb verify DIR"));
    assert_non_null(strstr(text, "vector_index"));
    assert_true(read_file("OPTIONS", text, sizeof text) > 100);
    assert_non_null(strstr(text, "write_buffer_size = 134217728\n"));
    assert_non_null(strstr(text, "durability = os\n"));
    assert_true(read_file("LOG", text, sizeof text) > 20);
    assert_non_null(strstr(text, odb_version()));
    (void)snprintf(path, sizeof path, "%s/OPTIONS", dir);
    assert_int_equal(stat(path, &first), 0);
    open_and_close(NULL); /* the same options: the file is left alone */
    assert_int_equal(stat(path, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
}

struct heard {
    int lines;
    bool is_odd;
};

static void hear_line(void *arg, const char *line)
{
    struct heard *h = arg;

    h->lines++;
    if (strlen(line) < 28 || line[4] != '-' || line[19] != '.' || strchr(line, '\n'))
        h->is_odd = true;
}

static void the_log_is_bounded_and_can_be_listened_to(void **state)
{
    odb_options o = fixture_options();
    struct heard heard = {0, false};
    char text[16384];
    odb_db *db;

    (void)state;
    o.event_log_size = 4096;
    o.event = hear_line;
    o.event_arg = &heard;
    assert_ok(open_with(&o, &db));
    for (int i = 0; i < 200; i++) {
        assert_ok(odb_put(db, NULL, odb_s("k"), odb_s("v"), NULL));
        assert_ok(odb_flush(db, NULL));
    }
    assert_ok(odb_close(db));
    assert_true(heard.lines > 200);
    assert_false(heard.is_odd);
    assert_in_range(read_file("LOG", text, sizeof text), 1, 2048 + 200);
    assert_in_range(read_file("LOG.old", text, sizeof text), 1, 2048 + 200);
    assert_int_equal(text[strlen(text) - 1], '\n');
}

/* ---- without threads ---- */

static void without_threads_the_caller_does_the_work(void **state)
{
    odb_options o = fixture_options();
    odb_stats_t s = {.size = sizeof s};
    char key[32], value[200];
    odb_db *db;

    (void)state;
    memset(value, 'v', sizeof value);
    o.no_threads = true;
    assert_ok(open_with(&o, &db));
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(key, sizeof key, "%07d", i * 7919 % 20011);
        assert_ok(odb_put(db, NULL, odb_s(key), odb_bytes(value, sizeof value), NULL));
        if (i % 100 == 0)
            while (odb_work(db))
                continue;
    }
    assert_ok(odb_wait_idle(db));
    assert_false(odb_work(db));
    assert_ok(odb_stats(db, NULL, &s));
    assert_true(s.flushes > 0 && s.merges + s.moves > 0);
    assert_ok(odb_verify(db, NULL, NULL));
    assert_ok(odb_close(db));
}

static void put_much(odb_db *db, odb_cf *cf)
{
    char key[32];
    static const char value[1000] = {1};

    for (int i = 0; i < 400; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        assert_ok(odb_put(db, cf, odb_s(key), odb_bytes(value, sizeof value), NULL));
    }
    assert_ok(odb_wait_idle(db));
}

struct stop {
    int calls, left; /* calls until it says stop */
    char what[64];
};

static bool stop_soon(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct stop *s = arg;

    if (total && done > total)
        return false;
    (void)snprintf(s->what, sizeof s->what, "%s", what);
    s->calls++;
    return s->left-- > 0;
}

/* Long work is stopped on request, wherever it is, and can be done again. */
static void long_work_stops_when_it_is_told_to(void **state)
{
    odb_options o = fixture_options();
    odb_stats_t s = {.size = sizeof s};
    bool is_done[2] = {false, false};
    int stopped[2] = {0, 0};
    odb_db *db;

    (void)state;
    o.no_auto_compact = true;
    assert_ok(open_with(&o, &db));
    for (int i = 0; i < 6; i++) {
        put_much(db, NULL);
        assert_ok(odb_flush(db, NULL));
    }
    for (int left = 0; left < 100 && !(is_done[0] && is_done[1]); left++)
        for (int work = 0; work < 2; work++) {
            struct stop stop = {.left = left};
            odb_status st = work ? odb_compact(db, NULL, NULL, stop_soon, &stop)
                                 : odb_verify(db, stop_soon, &stop);

            if (is_done[work])
                continue;
            if (stop.calls > 0)
                assert_string_equal(stop.what, "default");
            assert_status(st, stop.left < 0 ? ODB_CANCELLED : ODB_OK);
            stopped[work] += st == ODB_CANCELLED;
            is_done[work] = st == ODB_OK;
            assert_ok(odb_verify(db, NULL, NULL));
            assert_ok(odb_exists(odb_now(db), NULL, odb_s("399")));
        }
    assert_true(is_done[0] && is_done[1]);
    assert_true(stopped[0] > 0 && stopped[1] > 0);
    assert_ok(odb_stats(db, NULL, &s));
    assert_int_equal(s.level[0].files, 0);
    assert_ok(odb_close(db));
}

/* What a progress callback has dropped while a compaction is under way. It may not do so itself: the
 * compaction holds a lock. */
struct dropping {
    odb_db *db;
    odb_cf *cf[2];
    odb_status st[2];
    int calls;
};

static void *drop_both(void *arg)
{
    struct dropping *d = arg;

    for (int i = 0; i < 2; i++)
        d->st[i] = odb_cf_drop(d->db, d->cf[i]);
    return NULL;
}

static bool drop_when_it_is_reached(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct dropping *d = arg;
    pthread_t thread;

    (void)done;
    (void)total;
    if (strcmp(what, "under way") == 0 && d->calls++ == 0) {
        assert_int_equal(pthread_create(&thread, NULL, drop_both, d), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_ok(d->st[0]);
        assert_ok(d->st[1]);
    }
    return true;
}

/* A family that is gone is nothing to fail for: the others are compacted all the same. */
static void a_compaction_of_all_goes_past_families_that_are_dropped(void **state)
{
    odb_options o = fixture_options();
    odb_stats_t s = {.size = sizeof s};
    struct dropping d = {0};
    odb_cf *last;

    (void)state;
    o.no_auto_compact = true;
    assert_ok(open_with(&o, &d.db));
    assert_ok(odb_cf_create(d.db, "under way", NULL, &d.cf[0]));
    assert_ok(odb_cf_create(d.db, "not yet", NULL, &d.cf[1]));
    assert_ok(odb_cf_create(d.db, "last", NULL, &last));
    for (int i = 0; i < 3; i++) {
        put_much(d.db, d.cf[0]);
        put_much(d.db, d.cf[1]);
        put_much(d.db, last);
        assert_ok(odb_flush(d.db, NULL));
    }
    assert_ok(odb_compact(d.db, NULL, NULL, drop_when_it_is_reached, &d));
    assert_true(d.calls > 0);
    assert_ok(odb_wait_idle(d.db));
    assert_ok(odb_stats(d.db, last, &s));
    assert_int_equal(s.level[0].files, 0);
    assert_ok(odb_close(d.db));
}

static uint64_t size_between(odb_db *db, const char *from, const char *to)
{
    odb_range range = {.lower = odb_s(from), .upper = odb_s(to)};
    uint64_t size = 1;

    if (!*to)
        range.upper = odb_bytes(NULL, 0);
    assert_ok(odb_size_of_range(db, NULL, &range, &size));
    return size;
}

/* Ranges that lie side by side add up to all, and a tenth of the keys has about a tenth of the bytes. */
static void the_size_of_a_range_goes_with_its_keys(void **state)
{
    odb_options o = fixture_options();
    char key[32], value[200];
    uint64_t all, sum = 0;
    odb_db *db;

    (void)state;
    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (char)(i * 7919 % 251);
    o.compression = ODB_COMPRESSION_NONE;
    assert_ok(open_with(&o, &db));
    assert_int_equal(size_between(db, "", ""), 0);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "%04d", i);
        assert_ok(odb_put(db, NULL, odb_s(key), odb_bytes(value, sizeof value), NULL));
    }
    assert_ok(odb_compact(db, NULL, NULL, NULL, NULL));
    assert_ok(odb_size_of_range(db, NULL, NULL, &all));
    assert_in_range(all, 5000 * 200, 5000 * 260);
    for (int i = 0; i < 10; i++) {
        char from[8], to[8];
        uint64_t part;

        (void)snprintf(from, sizeof from, "%04d", i * 500);
        (void)snprintf(to, sizeof to, "%04d", i * 500 + 500);
        part = size_between(db, i ? from : "", i == 9 ? "" : to);
        assert_in_range(part, all / 20, all / 5);
        sum += part;
    }
    assert_int_equal(sum, all);
    assert_int_equal(size_between(db, "9", ""), 0);
    assert_int_equal(size_between(db, "", "0"), 0);
    assert_int_equal(size_between(db, "2", "1"), 0);
    assert_ok(odb_close(db));
}

static uint64_t flushes_of(odb_db *db, odb_cf *cf)
{
    odb_stats_t s = {.size = sizeof s};

    assert_ok(odb_stats(db, cf, &s));
    return s.flushes;
}

/* Its small buffer is flushed where the large one of the database is not; also after a reopening. */
static void a_family_may_have_options_of_its_own(void **state)
{
    odb_cf_options own = odb_cf_options_default();
    odb_db *db;
    odb_cf *cf;

    (void)state;
    assert_ok(open_with(NULL, &db));
    own.block_size = 100;
    assert_status(odb_cf_create(db, "own", &own, &cf), ODB_INVALID);
    assert_non_null(strstr(odb_error_text(), "block_size"));
    own.block_size = 512;
    own.write_buffer_size = 64 << 10;
    assert_ok(odb_cf_create(db, "own", &own, &cf));
    put_much(db, cf);
    put_much(db, NULL);
    assert_true(flushes_of(db, cf) > 0);
    assert_int_equal(flushes_of(db, NULL), flushes_of(db, cf)); /* of all: the others did none */
    assert_ok(odb_close(db));
    assert_ok(open_with(NULL, &db));
    assert_ok(odb_cf_open(db, "own", &cf));
    put_much(db, cf);
    assert_true(flushes_of(db, cf) > 0);
    assert_ok(odb_close(db));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_option_that_makes_no_sense_is_named, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_program_of_an_older_release_may_pass_a_shorter_struct,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_small_budget_works, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(families_of_the_options_are_made, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_family_may_have_options_of_its_own, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(long_work_stops_when_it_is_told_to, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_compaction_of_all_goes_past_families_that_are_dropped,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_size_of_a_range_goes_with_its_keys, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(must_exist_and_must_be_new_are_kept, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(P15_a_second_writer_is_told_that_it_is_busy, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_read_only_database_refuses_writes_and_changes_nothing,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_directory_tells_what_it_is, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_log_is_bounded_and_can_be_listened_to, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(without_threads_the_caller_does_the_work, make_dir,
                                        remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
