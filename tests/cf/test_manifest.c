/* tests/cf/test_manifest.c -- the manifest: what is written comes back, what is torn is dropped, what
 * is damaged is said to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "cf/files.h"
#include "cf/manifest.h"
#include "os/sim.h"
#include "tests/lib/test_alloc.h"

#define DB_ID 0x1122334455667788u
#define NO    7

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

/* What a reader saw, as text. */
struct seen {
    char text[4096];
    size_t len;
    int items;
};

static odb_status see(void *arg, const struct manifest_item *item)
{
    struct seen *s = arg;
    size_t left = sizeof s->text - s->len;
    char *p = s->text + s->len;
    int n = 0;

    switch (item->kind) {
    case MANIFEST_FAMILY:
        n = snprintf(p, left, "family %u %.*s %d %u %d;", item->family.id,
                     (int)item->family.name.size, (const char *)item->family.name.data,
                     item->family.has_options,
                     item->family.has_options ? item->family.options.block_size : 0,
                     item->family.has_options ? item->family.options.auto_compact : 0);
        break;
    case MANIFEST_DROP: n = snprintf(p, left, "drop %u;", item->dropped); break;
    case MANIFEST_EDIT:
        n = snprintf(p, left, "edit %u +%u -%u @%llu;", item->edit.family, item->edit.add_count,
                     item->edit.remove_count, (unsigned long long)item->edit.flushed_lsn);
        break;
    case MANIFEST_COUNTERS:
        n = snprintf(p, left, "counters %llu %llu %u %llu %d;",
                     (unsigned long long)item->counters.next_file_no,
                     (unsigned long long)item->counters.next_seq, item->counters.next_family,
                     (unsigned long long)item->counters.log_no, item->counters.is_log_open);
        break;
    }
    s->len += (size_t)n;
    s->items++;
    return ODB_OK;
}

static void add_counters(struct manifest_group *g, uint64_t next)
{
    struct manifest_counters c = {next, 5, 2, 3, 2048, true, 4096};

    assert_int_equal(manifest_add_counters(g, &c), ODB_OK);
}

/* Three records: a snapshot, an edit, a drop. */
static const char *const everything = "counters 9 5 2 3 1;family 0 default 0 0 0;"
                                      "family 1 other 1 4096 1;"
                                      "edit 1 +0 -1 @800;counters 10 5 2 3 1;"
                                      "drop 1;counters 11 5 2 3 1;";

static struct manifest *write_three(uint64_t end_of[3])
{
    struct lsm_options opt = {.write_buffer = 1 << 20, .block_size = 4096, .auto_compact = true};
    struct manifest_family def = {0, odb_s("default"), false, {0}};
    struct manifest_family other = {1, odb_s("other"), true, opt};
    struct lsm_edit_remove rm = {2, 44};
    struct lsm_edit edit = {
        .family = 1, .has_flushed = true, .flushed_lsn = 800, .remove = &rm, .remove_count = 1};
    struct manifest_group g = {0};
    struct manifest *m;

    add_counters(&g, 9);
    assert_int_equal(manifest_add_family(&g, &def), ODB_OK);
    assert_int_equal(manifest_add_family(&g, &other), ODB_OK);
    assert_int_equal(manifest_create(disk, dir, DB_ID, NO, &g, &m), ODB_OK);
    manifest_group_release(&g);
    end_of[0] = manifest_size(m);
    assert_int_equal(manifest_add_edit(&g, &edit), ODB_OK);
    add_counters(&g, 10);
    assert_int_equal(manifest_append(m, &g), ODB_OK);
    manifest_group_release(&g);
    end_of[1] = manifest_size(m);
    assert_int_equal(manifest_add_drop(&g, 1), ODB_OK);
    add_counters(&g, 11);
    assert_int_equal(manifest_append(m, &g), ODB_OK);
    manifest_group_release(&g);
    end_of[2] = manifest_size(m);
    return m;
}

static struct os_file *open_raw(void)
{
    struct os_file *f;
    char name[FILE_NAME_MAX];

    file_name(FILE_MANIFEST, NO, name);
    assert_int_equal(os_open(dir, name, OS_WRITE, &f), ODB_OK);
    return f;
}

static size_t load(uint8_t *buf, size_t cap)
{
    struct os_file *f = open_raw();
    size_t len;

    assert_int_equal(os_read(f, 0, buf, cap, &len), ODB_OK);
    os_close(f);
    return len;
}

static void store(const uint8_t *buf, size_t len)
{
    struct os_file *f = open_raw();

    assert_int_equal(os_truncate(f, 0), ODB_OK);
    assert_int_equal(os_write(f, 0, buf, len), ODB_OK);
    os_close(f);
}

static void what_is_written_comes_back(void **state)
{
    struct manifest_result res;
    struct seen s = {0};
    uint64_t end[3];
    struct manifest *m = write_three(end);

    (void)state;
    assert_int_equal(manifest_file_no(m), NO);
    assert_int_equal(manifest_read(dir, DB_ID, NO, see, &s, &res), ODB_OK);
    assert_string_equal(s.text, everything);
    assert_int_equal(res.records, 3);
    assert_int_equal(res.size, end[2]);
    assert_false(res.is_torn);
    manifest_close(m);
}

static void a_manifest_belongs_to_one_database_and_number(void **state)
{
    struct seen s = {0};
    uint64_t end[3];

    (void)state;
    manifest_close(write_three(end));
    assert_int_equal(manifest_read(dir, DB_ID + 1, NO, see, &s, NULL), ODB_CORRUPT);
    assert_int_equal(os_rename(dir, "MANIFEST-000007", "MANIFEST-000008"), ODB_OK);
    assert_int_equal(manifest_read(dir, DB_ID, 8, see, &s, NULL), ODB_CORRUPT);
    assert_int_equal(manifest_read(dir, DB_ID, 7, see, &s, NULL), ODB_ABSENT);
    assert_int_equal(s.items, 0);
}

static void every_cut_keeps_the_whole_records_before_it(void **state)
{
    uint8_t good[4096];
    uint64_t end[3];
    size_t len;

    (void)state;
    manifest_close(write_three(end));
    len = load(good, sizeof good);
    for (size_t cut = 0; cut < len; cut++) {
        struct manifest_result res = {0};
        struct seen s = {0};
        odb_status st;

        store(good, cut);
        st = manifest_read(dir, DB_ID, NO, see, &s, &res);
        if (cut < end[0]) {
            assert_int_equal(st, ODB_CORRUPT);
            continue;
        }
        assert_int_equal(st, ODB_OK);
        assert_int_equal(res.records, cut < end[1] ? 1 : 2);
        assert_int_equal(res.is_torn, cut != end[0] && cut != end[1]);
        assert_int_equal(memcmp(s.text, everything, s.len), 0);
    }
}

static void every_flipped_bit_is_damage_unless_it_may_be_the_torn_end(void **state)
{
    uint8_t good[4096], bad[4096];
    uint64_t end[3];
    size_t len;

    (void)state;
    manifest_close(write_three(end));
    len = load(good, sizeof good);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct manifest_result res = {0};
        struct seen s = {0};
        odb_status st;

        memcpy(bad, good, len);
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        store(bad, len);
        st = manifest_read(dir, DB_ID, NO, see, &s, &res);
        if (bit / 8 < end[1]) {
            assert_int_equal(st, ODB_CORRUPT);
        } else {
            assert_int_equal(st, ODB_OK);
            assert_true(res.is_torn);
            assert_int_equal(res.records, 2);
        }
    }
}

/* ---- lies under a good checksum ---- */

static uint64_t record_salt(const uint8_t *file)
{
    return hash_mix(salt_for_file(DB_ID, NO), get_u64(file + 40));
}

static void reseal_header(uint8_t *file)
{
    enc_u64(file + 48, hash_salted(file, 48, salt_for_file(DB_ID, NO), 0));
}

static void a_newer_version_is_refused_by_name(void **state)
{
    uint8_t good[4096], bad[4096];
    struct seen s = {0};
    uint64_t end[3];
    size_t len;

    (void)state;
    manifest_close(write_three(end));
    len = load(good, sizeof good);
    for (size_t field = 8; field <= 12; field += 4) { /* version, must-know flags */
        memcpy(bad, good, len);
        bad[field + 1] = 1;
        reseal_header(bad);
        store(bad, len);
        assert_int_equal(manifest_read(dir, DB_ID, NO, see, &s, NULL), ODB_VERSION);
    }
    memcpy(bad, good, len);
    bad[16] = 1; /* a flag that may be ignored */
    reseal_header(bad);
    store(bad, len);
    assert_int_equal(manifest_read(dir, DB_ID, NO, see, &s, NULL), ODB_OK);
}

/* Replace the items of the first record by `items` and seal it well. */
static odb_status read_with_items(const void *items, size_t n, struct seen *s)
{
    uint8_t file[4096];
    uint64_t end[3];

    err_ignore(os_remove(dir, "MANIFEST-000007"));
    manifest_close(write_three(end));
    (void)load(file, sizeof file);
    memcpy(file + MANIFEST_HEADER + 12, items, n);
    enc_u32(file + MANIFEST_HEADER + 8, (uint32_t)n);
    enc_u64(file + MANIFEST_HEADER,
            hash_salted(file + MANIFEST_HEADER + 8, n + 4, record_salt(file), MANIFEST_HEADER));
    store(file, MANIFEST_HEADER + 12 + n);
    return manifest_read(dir, DB_ID, NO, see, s, NULL);
}

static void lies_under_a_good_checksum_are_refused(void **state)
{
    static const struct {
        const char *lie;
        odb_status st;
        size_t n;
        uint8_t items[40];
    } t[] = {
        {"the truth", ODB_OK, 5, {1, 3, 0, 0, 0}}, /* replaced below */
        {"an unknown kind", ODB_VERSION, 2, {9, 0}},
        {"an item past its record", ODB_CORRUPT, 3, {2, 5, 1}},
        {"a drop with a tail", ODB_CORRUPT, 4, {2, 2, 1, 1}},
        {"a family without a name", ODB_CORRUPT, 5, {1, 3, 1, 0, 0}},
        {"a name with a NUL", ODB_CORRUPT, 7, {1, 5, 1, 0, 2, 'a', 0}},
        {"a name past its item", ODB_CORRUPT, 6, {1, 4, 1, 0, 9, 'a'}},
        {"unknown family flags", ODB_CORRUPT, 6, {1, 4, 1, 2, 1, 'a'}},
        {"more options than bytes", ODB_CORRUPT, 7, {1, 5, 1, 1, 1, 'a', 200}},
        {"an unknown option", ODB_OK, 9, {1, 7, 1, 1, 1, 'a', 1, 99, 5}},
        {"an unknown codec", ODB_CORRUPT, 9, {1, 7, 1, 1, 1, 'a', 1, 8, 5}},
        {"auto compaction 2", ODB_CORRUPT, 9, {1, 7, 1, 1, 1, 'a', 1, 12, 2}},
        {"a log number in the future", ODB_CORRUPT, 7, {4, 5, 3, 1, 1, 3, 0}},
        {"file number 0 next", ODB_CORRUPT, 7, {4, 5, 0, 1, 1, 0, 0}},
        {"unknown counter flags", ODB_CORRUPT, 7, {4, 5, 3, 1, 1, 1, 2}},
        {"counters cut short", ODB_CORRUPT, 5, {4, 3, 3, 1, 1}},
        {"an edit of nothing but a family", ODB_CORRUPT, 3, {3, 1, 0}},
    };

    (void)state;
    for (size_t i = 1; i < sizeof t / sizeof t[0]; i++) {
        struct seen s = {0};
        odb_status st = read_with_items(t[i].items, t[i].n, &s);

        if (st != t[i].st)
            fail_msg("%s: %s (%s)", t[i].lie, odb_status_name(st), odb_error_text());
    }
}

/* ---- failures ---- */

static odb_status fail_kind(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)name;
    (void)op_no;
    return op == *(const enum sim_op *)arg ? err_set(ODB_IO, "made to fail") : ODB_OK;
}

static void a_manifest_that_failed_takes_nothing_more(void **state)
{
    static enum sim_op kinds[] = {SIM_WRITE, SIM_SYNC};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct manifest_group g = {0};
        struct manifest_result res;
        struct seen s = {0};
        uint64_t end[3];
        struct manifest *m;

        err_ignore(os_remove(dir, "MANIFEST-000007"));
        m = write_three(end);
        add_counters(&g, 12);
        sim_set_fault(disk, fail_kind, &kinds[i]);
        assert_int_equal(manifest_append(m, &g), ODB_IO);
        sim_set_fault(disk, NULL, NULL);
        assert_true(manifest_is_sealed(m));
        assert_int_equal(manifest_append(m, &g), ODB_IO);
        manifest_group_release(&g);
        manifest_close(m);
        assert_int_equal(manifest_read(dir, DB_ID, NO, see, &s, &res), ODB_OK);
        assert_true(res.records == 3 || res.records == 4);
    }
}

static void creation_that_fails_leaves_no_file(void **state)
{
    static enum sim_op kinds[] = {SIM_WRITE, SIM_SYNC, SIM_CREATE, SIM_RANDOM};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct manifest_group g = {0};
        struct manifest *m = NULL;
        struct file_list l = {0};

        add_counters(&g, 12);
        sim_set_fault(disk, fail_kind, &kinds[i]);
        assert_int_equal(manifest_create(disk, dir, DB_ID, NO, &g, &m), ODB_IO);
        sim_set_fault(disk, NULL, NULL);
        assert_null(m);
        manifest_group_release(&g);
        assert_int_equal(file_list_read(dir, &l), ODB_OK);
        assert_int_equal(l.manifests.count, 0);
        file_list_release(&l);
    }
}

static void want_of_memory_is_told_and_leaks_nothing(void **state)
{
    uint64_t end[3];
    long n;

    (void)state;
    manifest_close(write_three(end));
    for (n = 0;; n++) {
        struct seen s = {0};
        odb_status st;

        test_alloc_fail(n, 0);
        st = manifest_read(dir, DB_ID, NO, see, &s, NULL);
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        if (st == ODB_OK)
            break;
        test_alloc_fail(-1, 0);
    }
    test_alloc_fail(-1, 0);
    assert_true(n > 2);
}

static void a_record_is_neither_empty_nor_vast(void **state)
{
    struct manifest_group none = {0}, vast = {0}, good = {0};
    uint64_t end[3];
    struct manifest *m = write_three(end);
    uint8_t byte = 0;

    (void)state;
    vast.bytes.p = &byte; /* never looked at */
    vast.bytes.len = ((size_t)1 << 30) + 100;
    assert_int_equal(manifest_append(m, &none), ODB_TOO_LARGE);
    assert_int_equal(manifest_append(m, &vast), ODB_TOO_LARGE);
    assert_int_equal(manifest_size(m), end[2]);
    add_counters(&good, 12);
    assert_int_equal(manifest_append(m, &good), ODB_OK); /* it was no harm */
    assert_true(manifest_size(m) > end[2]);
    manifest_group_release(&good);
    manifest_close(m);
}

/* A crash at any point of writing leaves whole records, the acknowledged ones among them. */
static void a_crash_loses_only_what_was_not_acknowledged(void **state)
{
    uint64_t end[3], ops;

    (void)state;
    manifest_close(write_three(end));
    ops = sim_op_count(disk);
    for (uint64_t at = 2; at <= ops; at++) {
        for (int model = 0; model < SIM_MODELS; model++) {
            for (uint64_t seed = 0; seed < 8; seed++) {
                struct os *os = sim_new(1), *next;
                struct os_dir *d = NULL;
                struct manifest_group g = {0};
                struct manifest *m = NULL;
                struct manifest_result res;
                struct seen s = {0};
                unsigned acked = 0;
                odb_status st;

                sim_crash_at(os, at);
                if (os_dir_open(os, "/db", OS_DIR_CREATE, &d) == ODB_OK) {
                    add_counters(&g, 9);
                    if (manifest_create(os, d, DB_ID, NO, &g, &m) == ODB_OK &&
                        os_dir_sync(d) == ODB_OK)
                        for (acked = 1; acked < 4; acked++)
                            if (manifest_append(m, &g) != ODB_OK)
                                break;
                }
                manifest_group_release(&g);
                manifest_close(m);
                os_dir_close(d);
                next = sim_image(os, (enum sim_model)model, seed);
                sim_free(os);
                if (acked > 0) {
                    assert_int_equal(os_dir_open(next, "/db", 0, &d), ODB_OK);
                    st = manifest_read(d, DB_ID, NO, see, &s, &res);
                    if (st != ODB_OK || res.records < acked || res.records > acked + 1)
                        fail_msg("op %llu model %d seed %llu: %s, %llu records of %u",
                                 (unsigned long long)at, model, (unsigned long long)seed,
                                 odb_status_name(st), (unsigned long long)res.records, acked);
                    os_dir_close(d);
                }
                sim_free(next);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_manifest_belongs_to_one_database_and_number, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_cut_keeps_the_whole_records_before_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_damage_unless_it_may_be_the_torn_end,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_version_is_refused_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(lies_under_a_good_checksum_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_manifest_that_failed_takes_nothing_more, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_is_neither_empty_nor_vast, setup, teardown),
        cmocka_unit_test_setup_teardown(creation_that_fails_leaves_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(want_of_memory_is_told_and_leaks_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_loses_only_what_was_not_acknowledged, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
