/* tests/cf/test_damage.c -- files that are missing, foreign, cut or damaged. */
#include "tests/cf/set_fixture.h"
#include "tests/lib/test_alloc.h"

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

/* Zeros instead of the oldest log from `begin` on. */
static void zero_oldest_log(uint64_t begin)
{
    static const uint8_t zeros[8192];
    struct one_file f = {.kind = FILE_LOG};
    uint64_t lowest = UINT64_MAX, no;
    struct file_list list = {0};
    struct os_file *file;
    struct os_dir *dir;
    uint64_t size;

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
    for (uint64_t off = begin; off < size; off += sizeof zeros)
        assert_int_equal(sim_poke(disk, DB, f.name, off, zeros,
                                  size - off < sizeof zeros ? (size_t)(size - off) : sizeof zeros),
                         ODB_OK);
}

/* No crash leaves a segment without its first block. */
static void P09_a_log_of_zeros_is_missed(void **state)
{
    (void)state;
    make_dirty();
    zero_oldest_log(0);
    assert_int_equal(try_open(), ODB_CORRUPT);
    opt.is_readonly = true;
    assert_int_equal(try_open(), ODB_CORRUPT);
    opt.is_readonly = false;
}

/* Put `count` values of a KiB, each synced; then die. */
static void live_with_values(int count)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct os *image;

    for (int i = 0; i < count; i++) {
        static char value[1025];
        char key[16];

        memset(value, 'v', sizeof value - 1);
        (void)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s(value), &full), ODB_OK);
    }
    image = sim_image(disk, SIM_M1, 1);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(disk);
    disk = opt.os = image;
}

/* Zeros behind the first block of the oldest log. The block of the link a power cut may take, but not what
 * was synced behind it: the ring has it still, or what comes later proves the loss. */
static void P09_a_log_of_zeros_behind_its_first_block_is_missed(void **state)
{
    struct cf_set *s;

    (void)state;
    opt.family.write_buffer = 1 << 20; /* no flush */
    live_with_values(10);
    zero_oldest_log(4096);
    s = must_open();
    for (int i = 0; i < 10; i++) {
        char key[16];
        size_t size = 0;

        (void)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(cf_get_into(s, must_find(s, "default"), NULL, odb_s(key), NULL, 0, &size),
                         ODB_OK);
        assert_int_equal(size, 1024);
    }
    assert_int_equal(cf_close(s), ODB_OK);
    live_with_values(200); /* several segments */
    zero_oldest_log(4096);
    assert_int_equal(try_open(), ODB_CORRUPT);
    opt.is_readonly = true;
    assert_int_equal(try_open(), ODB_CORRUPT);
    opt.is_readonly = false;
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_missing_file_is_never_made_up_for),
        T(P09_a_log_of_zeros_is_missed),
        T(P09_a_log_of_zeros_behind_its_first_block_is_missed),
        T(P09_a_manifest_cut_by_whole_records_is_missed),
        T(damage_gives_an_error_or_the_same_answer),
        T(a_manifest_of_another_database_is_refused),
        T(P16_verifying_without_memory_is_a_status),
    };

    return RUN(tests);
}
