/* tests/cf/set_fixture.c -- opens the sets of the tests beside it. */
#include "tests/cf/set_fixture.h"

#include "tests/lib/test_alloc.h"

struct os *disk;
struct cf_set_options opt;
const struct cf_write full = {.durability = CF_FULL};

int setup(void **state)
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

int teardown(void **state)
{
    (void)state;
    sim_free(disk);
    return test_alloc_alive() != 0;
}

struct cf_set *must_open(void)
{
    struct cf_set *s = NULL;
    odb_status st = cf_open(DB, &opt, &s);

    if (st != ODB_OK)
        fail_msg("%s: %s", odb_status_name(st), odb_error_text());
    return s;
}

odb_status try_open(void)
{
    struct cf_set *s = NULL;
    odb_status st = cf_open(DB, &opt, &s);

    if (st == ODB_OK)
        err_ignore(cf_close(s));
    return st;
}

struct cf *must_find(struct cf_set *s, const char *name)
{
    struct cf *f = NULL;

    assert_int_equal(cf_find(s, name, &f), ODB_OK);
    return f;
}

void must_have(struct cf_set *s, struct cf *f, const char *key, const char *value)
{
    char buf[256];
    size_t n = 0;
    odb_status st = cf_get_into(s, f, NULL, odb_s(key), buf, sizeof buf, &n);

    if (st != ODB_OK)
        fail_msg("%s: %s: %s", key, odb_status_name(st), odb_error_text());
    assert_int_equal(n, strlen(value));
    assert_memory_equal(buf, value, n);
}

struct lsm_sizes sizes_of(struct cf_set *s, struct cf *f)
{
    struct epoch_guard g = epoch_enter(&s->epoch);
    struct lsm_sizes now;

    lsm_sizes(lsm_view(cf_tree(f)), &now);
    epoch_leave(g);
    return now;
}

odb_status fail_manifests(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)arg;
    (void)op_no;
    if (strncmp(name, "MANIFEST", 8) == 0 && (op == SIM_SYNC || op == SIM_CREATE))
        return err_set(ODB_NOSPACE, "made to fail");
    return ODB_OK;
}

void make_dirty(void)
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

bool find_kind(void *arg, const char *name)
{
    struct one_file *f = arg;
    uint64_t no;

    if (file_parse(name, &no) != f->kind)
        return true;
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    return false;
}

void filter_tests(void)
{
    if (getenv("ODB_TEST_ONLY"))
        cmocka_set_test_filter(getenv("ODB_TEST_ONLY"));
}
