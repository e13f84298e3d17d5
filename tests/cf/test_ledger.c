/* tests/cf/test_ledger.c -- which log a flush lets go of, and which it keeps. */
#include "tests/cf/set_fixture.h"
#include "wal/segment.h"

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

/* A flush moves a family without anything in memory as far as itself, and no further: what the log has
 * behind that may be on its way into the memtable. */
static void an_idle_family_moves_as_far_as_the_flush(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *idle;
    uint64_t end;

    (void)state;
    assert_int_equal(cf_create(s, "idle", NULL, &idle), ODB_OK);
    for (int under_way = 1; under_way >= 0; under_way--) {
        assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
        assert_int_equal(commit_switch(s, f, false, false), ODB_OK);
        end = wal_end(s->wal);
        assert_int_equal(cf_put(s, f, odb_s("l"), odb_s("v"), NULL), ODB_OK);
        s->next_ticket += (unsigned)under_way; /* as between log and memtable */
        while (cf_work(s))
            ;
        s->next_ticket -= (unsigned)under_way;
        assert_true(lsm_needed_lsn(idle->tree) == end);
        assert_true(idle->flushed_lsn == end && f->flushed_lsn == end);
    }
    assert_int_equal(cf_close(s), ODB_OK);
}

static odb_status count_log_syncs(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    (void)op_no;
    if (op == SIM_SYNC && strstr(name, ".log"))
        ++*(int *)arg;
    return ODB_OK;
}

/* Flush one family while the log has something of it, or of another, too, and cut the power. */
static void flush_and_cut_power(bool is_other_used)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *g;
    struct os *whole = disk;
    int syncs = 0;

    assert_int_equal(cf_create(s, "g", NULL, &g), ODB_OK);
    assert_int_equal(cf_put(s, is_other_used ? g : f, odb_s("a"), odb_s("1"), NULL), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("b"), odb_s("2"), NULL), ODB_OK);
    sim_set_fault(disk, count_log_syncs, &syncs);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    sim_set_fault(disk, NULL, NULL);
    assert_int_equal(syncs > 0, is_other_used);
    assert_int_equal(cf_put(s, f, odb_s("c"), odb_s("3"), NULL), ODB_OK);
    disk = opt.os = sim_image(whole, SIM_M0, 0); /* what was synced, and no more */
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    assert_int_equal(cf_exists(s, must_find(s, is_other_used ? "g" : "default"), NULL, odb_s("a")),
                     ODB_OK);
    assert_int_equal(cf_exists(s, must_find(s, "default"), NULL, odb_s("b")), ODB_OK);
    assert_int_equal(cf_exists(s, must_find(s, "default"), NULL, odb_s("c")), ODB_ABSENT);
    assert_int_equal(cf_put(s, must_find(s, "g"), odb_s("d"), odb_s("4"), &full), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open(); /* the log went on behind what was lost */
    assert_int_equal(cf_exists(s, must_find(s, "g"), NULL, odb_s("d")), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    sim_free(whole);
}

/* What nobody asked to be durable costs no sync of the log, and what a power cut takes of it is not missed
 * when tables have it ... */
static void P03_a_flush_does_not_sync_a_log_that_nobody_needs(void **state)
{
    (void)state;
    flush_and_cut_power(false);
}

/* ... but the tables of one family must not outlive the log of another. */
static void P03_a_flush_syncs_the_log_that_others_need(void **state)
{
    (void)state;
    flush_and_cut_power(true);
}

/* The manifest knows how far the log was durable: one that somebody cut before that is missed, though tables
 * have all that they need. */
static void P09_a_log_cut_behind_what_was_flushed_is_missed(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct os *whole = disk;
    struct os_dir *d;
    struct os_file *log;
    char name[FILE_NAME_MAX];
    uint64_t first = s->first_lsn, flushed;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("a"), odb_s("1"), NULL), ODB_OK);
    assert_int_equal(commit_switch(s, f, false, false), ODB_OK);
    flushed = wal_end(s->wal);
    assert_int_equal(cf_put(s, f, odb_s("b"), odb_s("2"), &full), ODB_OK);
    while (cf_work(s))
        ;
    assert_true(f->flushed_lsn == flushed && wal_durable(s->wal) > flushed);
    file_name(FILE_LOG, s->log_no, name);
    disk = opt.os = sim_image(whole, SIM_M0, 0);
    assert_int_equal(cf_close(s), ODB_OK);
    assert_int_equal(os_dir_open(disk, "/db", 0, &d), ODB_OK);
    assert_int_equal(os_open(d, name, OS_WRITE, &log), ODB_OK);
    assert_int_equal(os_truncate(log, wal_offset(first, flushed)), ODB_OK);
    os_close(log);
    os_dir_close(d);
    assert_int_equal(try_open(), ODB_CORRUPT);
    assert_non_null(strstr(odb_error_text(), "the log ends before what was durable"));
    sim_free(whole);
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
    assert_true(st.log_bytes > WAL_SEGMENT_HEADER + 1000);
    put_many(s, f, value, 10, 60);
    assert_int_equal(cf_put(s, other, odb_s("k"), odb_s("needed"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    cf_stats(s, &st);
    assert_true(st.log_bytes > WAL_SEGMENT_HEADER + 6000);
    assert_int_equal(cf_flush(s, other), ODB_OK);
    cf_stats(s, &st);
    assert_int_equal(st.log_files, 1);
    assert_in_range(st.log_bytes, WAL_SEGMENT_HEADER, WAL_SEGMENT_HEADER + 1000);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_idle_family_does_not_keep_the_log),
        T(an_idle_family_moves_as_far_as_the_flush),
        T(a_flush_leaves_a_log_that_nobody_needs),
        T(a_flush_that_failed_keeps_its_log),
        T(P09_log_that_the_manifest_names_is_kept),
        T(P03_a_flush_does_not_sync_a_log_that_nobody_needs),
        T(P03_a_flush_syncs_the_log_that_others_need),
        T(P09_a_log_cut_behind_what_was_flushed_is_missed),
    };

    return RUN(tests);
}
