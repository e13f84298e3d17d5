/* tests/os/test_sim.c -- the simulated disk: each crash model by an example, faults, and that the same
 * seed gives the same run. */
#include "tests/os/os_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "os/os_thread.h"
#include "os/sim.h"

#define RING_SIZE ((size_t)16384)

static struct os *os;
static struct os_dir *dir;

static uint64_t test_seed(void)
{
    const char *s = getenv("ODB_TEST_SEED");

    return s ? strtoull(s, NULL, 0) : 20240607;
}

static int setup(void **state)
{
    (void)state;
    os = sim_new(test_seed());
    assert_ok(os_dir_open(os, "db", OS_DIR_CREATE, &dir));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    os_dir_close(dir);
    sim_free(os);
    assert_int_equal(test_alloc_alive(), 0);
    return 0;
}

/* The directory of an image. Close with image_close. */
static struct os_dir *image_dir(struct os *image)
{
    struct os_dir *d = NULL;

    assert_ok(os_dir_open(image, "db", 0, &d));
    return d;
}

static void image_close(struct os *image, struct os_dir *d)
{
    os_dir_close(d);
    sim_free(image);
}

/* What the first `cap` bytes of `name` are on such an image; "-" when there is no such file. */
static const char *after(enum sim_model model, uint64_t seed, const char *name)
{
    static char text[64];
    struct os *image = sim_image(os, model, seed);
    struct os_dir *d = image_dir(image);

    memset(text, 0, sizeof text);
    if (os_test_exists(d, name))
        (void)os_test_get(d, name, text, sizeof text - 1);
    else
        text[0] = '-';
    image_close(image, d);
    return text;
}

static void append(const char *name, uint64_t off, const void *data, size_t len)
{
    struct os_file *f = NULL;

    assert_ok(os_open(dir, name, OS_WRITE, &f));
    assert_ok(os_write(f, off, data, len));
    os_close(f);
}

/* ---- a disk that works ---- */

static void it_behaves_like_a_disk(void **state)
{
    struct os_file *f = NULL;
    uint8_t bytes[10000], got_bytes[10000];
    uint64_t size = 0;
    size_t got = 0;
    char c = 1;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    assert_status(os_open(dir, "a", 0, &f), ODB_ABSENT);
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_write(f, 5000, bytes, sizeof bytes));
    assert_ok(os_read(f, 5000, got_bytes, sizeof got_bytes, &got));
    assert_int_equal(got, sizeof bytes);
    assert_memory_equal(bytes, got_bytes, sizeof bytes);
    assert_ok(os_read(f, 4999, &c, 1, &got));
    assert_int_equal(c, 0);
    assert_ok(os_reserve(f, 0, 20000, true));
    assert_ok(os_size(f, &size));
    assert_int_equal(size, 20000);
    assert_ok(os_truncate(f, 5001));
    assert_ok(os_truncate(f, 6000)); /* what was cut away does not come back */
    assert_ok(os_read(f, 5000, got_bytes, 10000, &got));
    assert_int_equal(got, 1000);
    assert_int_equal(got_bytes[0], bytes[0]);
    for (size_t i = 1; i < 1000; i++)
        assert_int_equal(got_bytes[i], 0);
    os_close(f);
    assert_status(os_open(dir, "a", OS_WRITE | OS_CREATE, &f), ODB_EXISTS);
    os_test_put(dir, "b", "bee", false);
    assert_ok(os_rename(dir, "b", "a"));
    assert_string_equal(after(SIM_M1, 0, "a"), "bee");
    assert_int_equal(os_test_entries(dir), 1);
    assert_ok(os_remove(dir, "a"));
    assert_status(os_remove(dir, "a"), ODB_ABSENT);
    assert_status(os_rename(dir, "a", "b"), ODB_ABSENT);
    assert_int_equal(os_cpu_count(os), 2);
}

static void a_removed_file_is_readable_while_open(void **state)
{
    struct os_file *f = NULL;
    char text[4] = "";
    size_t got = 0;

    (void)state;
    os_test_put(dir, "a", "abc", true);
    assert_ok(os_open(dir, "a", 0, &f));
    assert_ok(os_remove(dir, "a"));
    assert_ok(os_dir_sync(dir));
    os_test_put(dir, "a", "new", true);
    assert_ok(os_read(f, 0, text, 3, &got));
    assert_string_equal(text, "abc");
    os_close(f);
}

static void the_lock_excludes_and_is_gone_after_a_crash(void **state)
{
    struct os_dir *ro = NULL, *d;
    struct os_lock *l = NULL, *second = NULL, *other = NULL;
    struct os *image;

    (void)state;
    assert_ok(os_dir_open(os, "db", OS_DIR_READONLY, &ro));
    assert_ok(os_lock(dir, "LOCK", &l));
    assert_status(os_lock(dir, "LOCK", &second), ODB_BUSY);
    assert_status(os_lock(ro, "LOCK", &second), ODB_BUSY);
    image = sim_image(os, SIM_M1, 0);
    d = image_dir(image);
    assert_ok(os_lock(d, "LOCK", &other));
    os_unlock(other);
    image_close(image, d);
    os_unlock(l);
    assert_ok(os_lock(ro, "LOCK", &l));
    assert_ok(os_lock(ro, "LOCK", &second));
    assert_status(os_lock(dir, "LOCK", &other), ODB_BUSY);
    os_unlock(l);
    os_unlock(second);
    os_dir_close(ro);
}

/* ---- the models ---- */

static void m0_keeps_what_was_synced_and_no_more(void **state)
{
    (void)state;
    os_test_put(dir, "both", "synced", true);
    os_test_put(dir, "name", "bytes were not", false);
    assert_ok(os_dir_sync(dir));
    os_test_put(dir, "bytes", "name was not", true);
    append("both", 6, " and more", 9);
    assert_string_equal(after(SIM_M0, 0, "both"), "synced");
    assert_string_equal(after(SIM_M0, 0, "name"), "");
    assert_string_equal(after(SIM_M0, 0, "bytes"), "-");
    assert_ok(os_remove(dir, "both"));
    assert_string_equal(after(SIM_M0, 0, "both"), "synced");
}

static void m1_keeps_everything(void **state)
{
    (void)state;
    os_test_put(dir, "a", "never synced", false);
    assert_ok(os_rename(dir, "a", "b"));
    assert_string_equal(after(SIM_M1, 0, "a"), "-");
    assert_string_equal(after(SIM_M1, 0, "b"), "never synced");
}

static void m1_may_cut_the_write_it_died_in_between_pages(void **state)
{
    static uint8_t big[3 * 4096];
    struct os_file *f = NULL;
    unsigned sizes = 0;

    (void)state;
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_write(f, 0, "x", 1));
    sim_crash_at(os, sim_op_count(os) + 1);
    assert_status(os_write(f, 1, big, sizeof big), ODB_IO);
    os_close(f);
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct os *image = sim_image(os, SIM_M1, seed);
        struct os_dir *d = image_dir(image);
        uint64_t size = 0;

        assert_ok(os_open(d, "a", 0, &f));
        assert_ok(os_size(f, &size));
        os_close(f);
        assert_true(size == 1 || size % 4096 == 0 || size == sizeof big + 1);
        sizes |= 1U << (size / 4096);
        if (size == sizeof big + 1)
            sizes |= 16;
        image_close(image, d);
    }
    assert_int_equal(sizes, 31);
}

static void m2_keeps_a_prefix_of_the_operations(void **state)
{
    (void)state;
    os_test_put(dir, "a", "1", false); /* create, write */
    append("a", 1, "2", 1);
    os_test_put(dir, "b", "3", false);
    assert_int_equal(sim_pending(os), 5);
    assert_string_equal(after(SIM_M2, 0, "a"), "-");
    assert_string_equal(after(SIM_M2, 1, "a"), "");
    assert_string_equal(after(SIM_M2, 2, "a"), "1");
    assert_string_equal(after(SIM_M2, 3, "a"), "12");
    assert_string_equal(after(SIM_M2, 3, "b"), "-");
    assert_string_equal(after(SIM_M2, 4, "b"), "");
    assert_string_equal(after(SIM_M2, 5, "b"), "3");
    assert_string_equal(after(SIM_M2, 6, "a"), "-"); /* round again */
}

static void m3_keeps_names_in_order_and_any_of_the_data(void **state)
{
    bool saw_name_without_data = false, saw_later_data_alone = false;
    static uint8_t block[4096];

    (void)state;
    memset(block, 'b', sizeof block);
    os_test_put(dir, "a", "", false);
    append("a", 0, block, sizeof block);
    append("a", sizeof block, block, sizeof block);
    os_test_put(dir, "z", "", false);
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct os *image = sim_image(os, SIM_M3, seed);
        struct os_dir *d = image_dir(image);
        uint8_t got[8192] = {0};

        if (os_test_exists(d, "z"))
            assert_true(os_test_exists(d, "a")); /* the one before it */
        if (os_test_exists(d, "a")) {
            size_t n = os_test_get(d, "a", got, sizeof got);

            saw_name_without_data |= n == 8192 && got[0] == 0 && got[4096] == 0;
            saw_later_data_alone |= n == 8192 && got[0] == 0 && got[4096] == 'b';
            assert_true(n % 4096 == 0);
        }
        image_close(image, d);
    }
    assert_true(saw_name_without_data);
    assert_true(saw_later_data_alone);
}

static void m4_loses_names_out_of_order(void **state)
{
    unsigned seen = 0;

    (void)state;
    os_test_put(dir, "old", "old", true);
    assert_ok(os_dir_sync(dir));
    os_test_put(dir, "new", "new", true);
    assert_ok(os_remove(dir, "old"));
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct os *image = sim_image(os, SIM_M4, seed);
        struct os_dir *d = image_dir(image);

        seen |= 1U << (os_test_exists(d, "old") + 2 * os_test_exists(d, "new"));
        image_close(image, d);
    }
    assert_int_equal(seen, 15); /* the old gone and the new not there is one of them */
}

static void m4_renames_in_one_step(void **state)
{
    unsigned seen = 0;

    (void)state;
    os_test_put(dir, "CURRENT", "1", true);
    assert_ok(os_dir_sync(dir));
    os_test_put(dir, "tmp", "2", true);
    assert_ok(os_rename(dir, "tmp", "CURRENT"));
    for (uint64_t seed = 0; seed < 64; seed++) {
        const char *text = after(SIM_M4, seed, "CURRENT");

        assert_true(strcmp(text, "1") == 0 || strcmp(text, "2") == 0);
        seen |= text[0] == '1' ? 1U : 2U;
        if (text[0] == '2')
            assert_string_equal(after(SIM_M4, seed, "tmp"), "-");
    }
    assert_int_equal(seen, 3);
}

static void m4_tears_the_last_write_at_sectors(void **state)
{
    static uint8_t block[4096], got[4096];
    bool torn = false;
    struct os_file *f = NULL;

    (void)state;
    os_test_put(dir, "a", "", true);
    assert_ok(os_open(dir, "a", OS_WRITE, &f));
    assert_ok(os_reserve(f, 0, 4096, true));
    assert_ok(os_sync(f));
    assert_ok(os_dir_sync(dir));
    memset(block, 'n', sizeof block);
    assert_ok(os_write(f, 0, block, sizeof block));
    os_close(f);
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct os *image = sim_image(os, SIM_M4, seed);
        struct os_dir *d = image_dir(image);
        unsigned fresh = 0;

        assert_int_equal(os_test_get(d, "a", got, sizeof got), 4096);
        for (size_t at = 0; at < 4096; at += 512) {
            fresh += got[at] == 'n';
            for (size_t i = 1; i < 512; i++)
                assert_int_equal(got[at + i], got[at]); /* sectors are whole */
        }
        torn |= fresh > 0 && fresh < 8;
        image_close(image, d);
    }
    assert_true(torn);
}

static void m4_shows_what_was_never_written_as_anything(void **state)
{
    static uint8_t old[4096], got[4096];
    unsigned seen = 0;
    struct os_file *f = NULL;

    (void)state;
    memset(old, 'o', sizeof old);
    os_test_put(dir, "gone", "", false);
    append("gone", 0, old, sizeof old);
    assert_ok(os_remove(dir, "gone"));
    assert_ok(os_dir_sync(dir));
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_dir_sync(dir));
    assert_ok(os_reserve(f, 0, 4096, false));
    os_close(f);
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct os *image = sim_image(os, SIM_M4, seed);
        struct os_dir *d = image_dir(image);
        size_t n = os_test_get(d, "a", got, sizeof got);

        if (n == 0)
            seen |= 1;
        else if (memcmp(got, old, sizeof old) == 0)
            seen |= 2;
        else if (got[0] == 0 && memcmp(got, got + 1, sizeof got - 1) == 0)
            seen |= 4;
        else
            seen |= 8;
        image_close(image, d);
    }
    assert_int_equal(seen, 15); /* not grown, bytes of the removed file, zeros, garbage */
}

static void synced_state_survives_every_model(void **state)
{
    struct os_file *f = NULL;

    (void)state;
    os_test_put(dir, "a", "first", true);
    assert_ok(os_open(dir, "a", OS_WRITE, &f));
    assert_ok(os_truncate(f, 2));
    assert_ok(os_write(f, 2, "nal", 3));
    assert_ok(os_sync(f));
    os_close(f);
    assert_ok(os_dir_sync(dir));
    os_test_put(dir, "noise", "unsynced", false);
    for (int m = SIM_M0; m < SIM_MODELS; m++)
        for (uint64_t seed = 0; seed < 32; seed++)
            assert_string_equal(after((enum sim_model)m, seed, "a"), "final");
}

/* ---- rings ---- */

static void a_ring_survives_the_process_and_any_page_the_power_cut(void **state)
{
    struct os_ring *r = NULL, *again = NULL;
    uint8_t page[4096], got[RING_SIZE];
    unsigned seen = 0;
    struct os *image;
    struct os_dir *d;

    (void)state;
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    assert_ok(os_dir_sync(dir));
    memset(page, 'r', sizeof page);
    os_ring_write(r, 0, page, sizeof page);
    os_ring_write(r, RING_SIZE - 2, "wrap", 4);
    image = sim_image(os, SIM_M1, 0);
    d = image_dir(image);
    assert_ok(os_ring_open(d, "RING", RING_SIZE, &again));
    os_ring_read(again, RING_SIZE - 2, got, 4);
    assert_memory_equal(got, "wrap", 4);
    os_ring_close(again);
    assert_int_equal(os_test_get(d, "RING", got, sizeof got), RING_SIZE);
    assert_int_equal(got[0], 'a');
    assert_int_equal(got[4095], 'r');
    image_close(image, d);
    for (uint64_t seed = 0; seed < 200; seed++) {
        image = sim_image(os, SIM_M4, seed);
        d = image_dir(image);
        assert_int_equal(os_test_get(d, "RING", got, sizeof got), RING_SIZE);
        seen |= 1U << ((got[4095] != 0) + 2 * (got[RING_SIZE - 1] != 0));
        if (got[512] != got[1024])
            seen |= 16;
        image_close(image, d);
    }
    assert_int_equal(seen, 31); /* each page for itself, and one torn */
    image = sim_image(os, SIM_M0, 0);
    d = image_dir(image);
    assert_int_equal(os_test_get(d, "RING", got, sizeof got), RING_SIZE);
    assert_int_equal(got[0], 0);
    image_close(image, d);
    os_ring_close(r);
}

static void a_store_can_be_the_moment_of_death(void **state)
{
    struct os_ring *r = NULL;
    uint8_t record[64], got[64];
    unsigned seen = 0;

    (void)state;
    memset(record, 'x', sizeof record);
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    sim_crash_at(os, sim_op_count(os) + 2);
    os_ring_write(r, 0, record, sizeof record);
    os_ring_write(r, 64, record, sizeof record); /* dies here */
    os_ring_write(r, 128, record, sizeof record);
    assert_true(sim_is_dead(os));
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct os *image = sim_image(os, SIM_M1, seed);
        struct os_dir *d = image_dir(image);
        struct os_ring *again = NULL;
        size_t n = 0;

        assert_ok(os_ring_open(d, "RING", RING_SIZE, &again));
        os_ring_read(again, 0, got, 64);
        assert_memory_equal(got, record, 64);
        os_ring_read(again, 64, got, 64);
        for (size_t i = 0; i < 64; i++)
            n += got[i] == 'x';
        seen |= n == 0 ? 1U : n < 64 ? 2U : 4U;
        os_ring_read(again, 128, got, 1);
        assert_int_equal(got[0], 0);
        os_ring_close(again);
        image_close(image, d);
    }
    assert_int_equal(seen & 2, 2);
    os_ring_close(r);
}

static void rings_can_be_taken_away(void **state)
{
    struct os_ring *r = NULL;
    char c = 'x';

    (void)state;
    sim_set_ring_supported(os, false);
    assert_status(os_ring_open(dir, "RING", RING_SIZE, &r), ODB_UNSUPPORTED);
    sim_set_ring_supported(os, true);
    assert_ok(os_ring_open(dir, "RING", RING_SIZE, &r));
    os_ring_write(r, 0, &c, 1);
    os_ring_close(r);
    assert_ok(os_ring_open(dir, "RING", 2 * RING_SIZE, &r)); /* another size: a new ring */
    os_ring_read(r, 0, &c, 1);
    assert_int_equal(c, 0);
    os_ring_close(r);
}

/* ---- crashes ---- */

static void nothing_happens_after_the_crash(void **state)
{
    struct os_file *f = NULL;
    uint64_t size = 7, before;
    char c;
    size_t got = 9;

    (void)state;
    os_test_put(dir, "a", "1", false);
    assert_ok(os_open(dir, "a", OS_WRITE, &f));
    before = sim_hash(os);
    sim_crash_at(os, sim_op_count(os) + 2);
    assert_ok(os_size(f, &size));
    assert_false(sim_is_dead(os));
    assert_status(os_write(f, 0, "2", 1), ODB_IO);
    assert_true(sim_is_dead(os));
    assert_status(os_read(f, 0, &c, 1, &got), ODB_IO);
    assert_status(os_sync(f), ODB_IO);
    assert_status(os_remove(dir, "a"), ODB_IO);
    assert_status(os_dir_sync(dir), ODB_IO);
    assert_int_equal(got, 9);
    sim_crash_at(os, 0); /* too late */
    assert_true(sim_is_dead(os));
    assert_int_equal(sim_hash(os), before);
    os_close(f);
}

static void an_image_can_crash_again(void **state)
{
    struct os *image, *second;
    struct os_dir *d;

    (void)state;
    os_test_put(dir, "a", "1", true);
    assert_ok(os_dir_sync(dir));
    sim_crash_at(os, 1);
    image = sim_image(os, SIM_M4, 1);
    assert_false(sim_is_dead(image));
    assert_int_equal(sim_op_count(image), 0);
    assert_int_equal(sim_pending(image), 0);
    d = image_dir(image);
    os_test_put(d, "b", "2", true);
    second = sim_image(image, SIM_M0, 0);
    image_close(image, d); /* the first goes, the second stays */
    d = image_dir(second);
    assert_true(os_test_exists(d, "a"));
    assert_false(os_test_exists(d, "b"));
    image_close(second, d);
}

/* ---- choosing what survives ---- */

struct picker {
    unsigned mask; /* keep the pieces whose bit is set */
    unsigned at;
};

static bool pick(void *arg, const struct sim_piece *piece)
{
    struct picker *p = arg;

    assert_true(piece->op_no > 0);
    return (p->mask >> p->at++) & 1;
}

static void an_explorer_can_enumerate_every_subset(void **state)
{
    static uint8_t two_blocks[8192];
    uint64_t hashes[8];
    struct os_file *f = NULL;

    (void)state;
    memset(two_blocks, 'q', sizeof two_blocks);
    os_test_put(dir, "a", "", true);
    assert_ok(os_open(dir, "a", OS_WRITE, &f));
    assert_ok(os_dir_sync(dir));
    assert_ok(os_write(f, 0, two_blocks, sizeof two_blocks));
    os_close(f);
    assert_ok(os_rename(dir, "a", "b"));
    for (unsigned mask = 0; mask < 8; mask++) {
        struct picker p = {mask, 0};
        struct os *image = sim_image_keep(os, pick, &p);
        struct os_dir *d = image_dir(image);

        assert_int_equal(p.at, 3); /* the rename, two blocks */
        assert_int_equal(os_test_exists(d, "b"), mask & 1);
        assert_int_equal(os_test_exists(d, "a"), !(mask & 1));
        hashes[mask] = sim_hash(image);
        for (unsigned k = 0; k < mask; k++)
            assert_int_not_equal(hashes[k], hashes[mask]);
        image_close(image, d);
    }
}

/* ---- faults ---- */

struct nth {
    uint64_t n;
    odb_status st;
    uint64_t asked;
};

static odb_status fail_nth(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    struct nth *f = arg;

    (void)name;
    (void)op;
    f->asked++;
    return op_no == f->n ? f->st : ODB_OK;
}

static void any_operation_can_fail(void **state)
{
    struct nth fault = {0, ODB_IO, 0};
    struct os_file *f = NULL;
    struct sim_record rec;
    uint64_t before = sim_op_count(os);

    (void)state;
    sim_log(os, true);
    fault.n = before + 1;
    sim_set_fault(os, fail_nth, &fault);
    assert_status(os_open(dir, "a", OS_WRITE | OS_CREATE, &f), ODB_IO);
    assert_false(os_test_exists(dir, "a"));
    fault.n = sim_op_count(os) + 2;
    fault.st = ODB_NOSPACE;
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    assert_status(os_write(f, 0, "hello", 5), ODB_NOSPACE);
    assert_non_null(strstr(odb_error_text(), "write a"));
    assert_ok(os_write(f, 0, "hello", 5)); /* once only */
    os_close(f);
    assert_int_equal(fault.asked, sim_op_count(os) - before);
    assert_true(sim_log_get(os, 0, &rec));
    assert_int_equal(rec.op, SIM_CREATE);
    assert_int_equal(rec.status, ODB_IO);
    assert_true(sim_log_get(os, 3, &rec));
    assert_int_equal(rec.op, SIM_WRITE);
    assert_int_equal(rec.len, 5);
    assert_string_equal(rec.name, "a");
    assert_false(sim_log_get(os, 5, &rec));
}

static void a_failed_write_may_leave_a_part(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct os *other = sim_new(seed);
        struct os_dir *d = NULL;
        struct os_file *f = NULL;
        struct nth fault = {3, ODB_IO, 0};
        uint64_t size = 0;

        sim_set_fault(other, fail_nth, &fault);
        assert_ok(os_dir_open(other, "db", OS_DIR_CREATE, &d));
        assert_ok(os_open(d, "a", OS_WRITE | OS_CREATE, &f));
        assert_status(os_write(f, 0, "12", 2), ODB_IO);
        assert_ok(os_size(f, &size));
        seen |= 1U << size;
        os_close(f);
        image_close(other, d);
    }
    assert_int_equal(seen, 7);
}

static void test_P06_a_failed_sync_leaves_clean_pages_that_were_never_written(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct os *other = sim_new(seed), *image;
        struct os_dir *d = NULL;
        struct os_file *f = NULL;
        struct nth fault = {5, ODB_IO, 0};
        char text[4] = "";

        sim_set_fault(other, fail_nth, &fault);
        assert_ok(os_dir_open(other, "db", OS_DIR_CREATE, &d));
        assert_ok(os_open(d, "a", OS_WRITE | OS_CREATE, &f));
        assert_ok(os_dir_sync(d));
        assert_ok(os_write(f, 0, "abc", 3));
        assert_status(os_sync(f), ODB_IO);
        os_close(f);
        assert_int_equal(os_test_get(d, "a", text, 3), 3); /* the cache shows it */
        assert_memory_equal(text, "abc", 3);
        assert_ok(os_open(d, "a", OS_WRITE, &f)); /* a new handle asks again, and is told ... */
        assert_ok(os_sync(f));
        os_close(f);
        image = sim_image(other, SIM_M0, 0); /* ... what is not so */
        image_close(other, d);
        d = image_dir(image);
        seen |= os_test_get(d, "a", text, 3) == 3 && memcmp(text, "abc", 3) == 0 ? 1U : 2U;
        image_close(image, d);
    }
    assert_int_equal(seen, 3);
}

static void test_P07_a_full_disk_says_so_and_heals(void **state)
{
    static uint8_t block[4096];
    struct os_file *f = NULL, *g = NULL;
    struct os_ring *r = NULL;
    uint64_t size = 0;

    (void)state;
    sim_set_capacity(os, 3 * 4096);
    assert_ok(os_open(dir, "a", OS_WRITE | OS_CREATE, &f));
    assert_ok(os_open(dir, "b", OS_WRITE | OS_CREATE, &g));
    assert_ok(os_write(f, 0, block, 4096));
    assert_int_equal(os_dir_free_bytes(dir), 2 * 4096);
    assert_ok(os_reserve(g, 0, 5000, false));
    assert_status(os_write(f, 4096, block, 1), ODB_NOSPACE);
    assert_status(os_reserve(g, 0, 8193, true), ODB_NOSPACE);
    assert_status(os_ring_open(dir, "RING", 4096, &r), ODB_NOSPACE);
    assert_ok(os_write(g, 5000, block, 1000)); /* into a block it has */
    assert_ok(os_size(g, &size));
    assert_int_equal(size, 6000);
    os_close(g);
    assert_ok(os_remove(dir, "b"));
    assert_ok(os_write(f, 4096, block, 4096));
    os_close(f);
}

/* ---- the same seed, the same run ---- */

static uint64_t play(uint64_t seed)
{
    struct os *o = sim_new(seed), *image;
    struct os_dir *d = NULL;
    uint64_t h = seed, r = 0;
    struct os_ring *ring = NULL;

    assert_ok(os_dir_open(o, "db", OS_DIR_CREATE, &d));
    assert_ok(os_ring_open(d, "RING", RING_SIZE, &ring));
    for (int i = 0; i < 20; i++) {
        char name[8];

        assert_ok(os_random(o, &r, sizeof r));
        (void)snprintf(name, sizeof name, "%d", (int)(r % 1000));
        if (!os_test_exists(d, name))
            os_test_put(d, name, "some text", r % 2);
        os_ring_write(ring, r, &r, sizeof r);
        if (r % 5 == 0)
            assert_ok(os_dir_sync(d));
        h = h * 31 + os_now_ns(o) + os_wall_us(o);
    }
    for (int m = 0; m < SIM_MODELS; m++)
        for (uint64_t s = 0; s < 10; s++) {
            image = sim_image(o, (enum sim_model)m, s);
            h = h * 31 + sim_hash(image);
            sim_free(image);
        }
    os_ring_close(ring);
    image_close(o, d);
    return h;
}

static void the_same_seed_gives_the_same_run(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    assert_int_equal(play(seed), play(seed));
    assert_int_not_equal(play(seed), play(seed + 1));
}

static void the_machine_can_be_adjusted(void **state)
{
    uint64_t t = os_now_ns(os);

    (void)state;
    sim_advance(os, 5000000000U);
    assert_true(os_now_ns(os) >= t + 5000000000U);
    assert_int_equal(os_fork_count(os), 1);
    sim_set_fork_count(os, 2);
    assert_int_equal(os_fork_count(os), 2);
    os_test_put(dir, "a", "good", true);
    assert_ok(sim_poke(os, "db", "a", 1, "*", 1));
    assert_ok(os_dir_sync(dir));
    assert_string_equal(after(SIM_M0, 0, "a"), "g*od");
    assert_status(sim_poke(os, "db", "none", 0, "*", 1), ODB_ABSENT);
    assert_string_equal(sim_op_name(SIM_RING_CREATE), "ring_create");
    assert_true(sim_op_mutates(SIM_SYNC));
    assert_false(sim_op_mutates(SIM_READ));
}

static void count_line(void *arg, const char *text)
{
    assert_true(text[0] != 0);
    ++*(int *)arg;
}

static void a_dump_lists_files_and_what_is_pending(void **state)
{
    int lines = 0;

    (void)state;
    os_test_put(dir, "a", "x", false);
    sim_dump(os, count_line, &lines);
    assert_int_equal(lines, 5); /* the disk, the directory, the file, its creation, its write */
}

/* ---- threads, memory ---- */

static void write_many(void *arg)
{
    struct os_file *f = arg;

    for (uint64_t i = 0; i < 200; i++) {
        assert_ok(os_write(f, i * 100, "0123456789", 10));
        if (i % 50 == 0)
            assert_ok(os_sync(f));
    }
}

static void threads_may_share_a_disk(void **state)
{
    struct os_thread *t[3] = {NULL};
    struct os_file *f[3] = {NULL};
    char name[2] = "a";

    (void)state;
#ifndef ODB_WITH_THREADS
    skip();
#endif
    for (int i = 0; i < 3; i++, name[0]++) {
        assert_ok(os_open(dir, name, OS_WRITE | OS_CREATE, &f[i]));
        assert_ok(os_thread_start("writer", write_many, f[i], &t[i]));
    }
    for (int i = 0; i < 20; i++)
        sim_free(sim_image(os, SIM_M4, (uint64_t)i));
    for (int i = 0; i < 3; i++) {
        os_thread_join(t[i]);
        os_close(f[i]);
    }
    assert_int_equal(sim_op_kind_count(os, SIM_WRITE), 600);
}

static odb_status one_of_each(void)
{
    struct os_dir *d = NULL;
    struct os_file *f = NULL;
    struct os_lock *l = NULL;
    struct os_ring *r = NULL;
    odb_status st = os_dir_open(os, "db", OS_DIR_CREATE, &d);

    if (st == ODB_OK)
        st = os_lock(d, "LOCK", &l);
    if (st == ODB_OK)
        st = os_open(d, "LOCK", OS_WRITE, &f);
    if (st == ODB_OK)
        st = os_ring_open(d, "RING", RING_SIZE, &r);
    os_ring_close(r);
    os_close(f);
    os_unlock(l);
    os_dir_close(d);
    return st;
}

static void test_P16_memory_runs_out_for_handles_only(void **state)
{
    (void)state;
    os_test_every_request_refused(one_of_each);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_behaves_like_a_disk),
        T(a_removed_file_is_readable_while_open),
        T(the_lock_excludes_and_is_gone_after_a_crash),
        T(m0_keeps_what_was_synced_and_no_more),
        T(m1_keeps_everything),
        T(m1_may_cut_the_write_it_died_in_between_pages),
        T(m2_keeps_a_prefix_of_the_operations),
        T(m3_keeps_names_in_order_and_any_of_the_data),
        T(m4_loses_names_out_of_order),
        T(m4_renames_in_one_step),
        T(m4_tears_the_last_write_at_sectors),
        T(m4_shows_what_was_never_written_as_anything),
        T(synced_state_survives_every_model),
        T(a_ring_survives_the_process_and_any_page_the_power_cut),
        T(a_store_can_be_the_moment_of_death),
        T(rings_can_be_taken_away),
        T(nothing_happens_after_the_crash),
        T(an_image_can_crash_again),
        T(an_explorer_can_enumerate_every_subset),
        T(any_operation_can_fail),
        T(a_failed_write_may_leave_a_part),
        T(test_P06_a_failed_sync_leaves_clean_pages_that_were_never_written),
        T(test_P07_a_full_disk_says_so_and_heals),
        T(the_same_seed_gives_the_same_run),
        T(the_machine_can_be_adjusted),
        T(a_dump_lists_files_and_what_is_pending),
        T(threads_may_share_a_disk),
        T(test_P16_memory_runs_out_for_handles_only),
    };

    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
