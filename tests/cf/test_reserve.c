/* tests/cf/test_reserve.c -- a full disk that has to be emptied. */
#include "tests/cf/set_fixture.h"

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

/* A set on a small disk that is full: how many keys it took. */
static uint32_t open_and_fill(struct os *os, struct cf_set **s, struct cf **f)
{
    opt.os = os;
    opt.disk_reserve = 256 << 10;
    sim_set_capacity(os, 2 << 20);
    *s = must_open();
    *f = must_find(*s, "default");
    return fill_disk(*s, *f);
}

static void puts_wait_while_the_reserve_is_spent(void **state)
{
    struct os *os = sim_new(3);
    struct cf_set *s;
    struct cf *f;
    uint32_t n = open_and_fill(os, &s, &f);
    char text[16];

    (void)state;
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

/* It neither waits for memory nor does the work that others would wait for, and it says why. */
static void a_put_that_is_refused_does_not_wait_first(void **state)
{
    struct os *os = sim_new(3);
    struct cf_set *s;
    struct cf *f;
    char text[16];

    (void)state;
    (void)open_and_fill(os, &s, &f);
    while (cf_work(s))
        ;
    assert_int_equal(cf_delete(s, f, full_key(0, text), NULL), ODB_OK);
    assert_int_equal(commit_switch(s, f, false, true), ODB_OK);
    s->opt.memory_budget = 1; /* what there is is too much, and its flush is on the way */
    atomic_store(&s->is_short, true);
    atomic_store(&s->soft, ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_NOSPACE);
    assert_non_null(strstr(odb_error_text(), "what was kept back"));
    assert_true(sizes_of(s, f).memtables > 1);
    s->opt.memory_budget = 0;
    err_ignore(cf_close(s));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(P07_deletes_and_merges_proceed_from_the_reserve),
        T(puts_wait_while_the_reserve_is_spent),
        T(a_put_that_is_refused_does_not_wait_first),
        T(an_open_on_a_full_disk_takes_the_reserve),
    };

    return RUN(tests);
}
