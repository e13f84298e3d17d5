/* tests/cf/test_lies.c -- what a manifest or a log says under a good checksum is not believed. */
#include "base/hash.h"
#include "tests/cf/set_fixture.h"
#include "wal/wal_priv.h"

enum manifest_lie {
    NO_LIE,
    LIE_LONG_NAME,
    LIE_LATE_FAMILY,
    LIE_DROP,
    LIE_EDIT,
    LIE_FLUSHED_BACK,
    LIE_FLUSHED_ODD,
    LIE_FLUSHED_FAR,
    LIE_LOG_ODD,
    LIE_LOG_FAR,
    LIE_DURABLE_ODD,
    LIE_DURABLE_FAR,
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
    if (lie == LIE_LOG_ODD || lie == LIE_LOG_FAR)
        c.log_lsn = lie == LIE_LOG_ODD ? 804 : LSN_MAX + 8;
    if (lie == LIE_DURABLE_ODD || lie == LIE_DURABLE_FAR)
        c.log_durable = lie == LIE_DURABLE_ODD ? 804 : LSN_MAX + 8;
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
    case LIE_FLUSHED_ODD: lie_flushed(g, 1, 804); break;
    case LIE_FLUSHED_FAR: lie_flushed(g, 1, LSN_MAX + 8); break;
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
        [LIE_FLUSHED_ODD] = "makes no sense",
        [LIE_FLUSHED_FAR] = "makes no sense",
        [LIE_LOG_ODD] = "makes no sense",
        [LIE_LOG_FAR] = "makes no sense",
        [LIE_DURABLE_ODD] = "makes no sense",
        [LIE_DURABLE_FAR] = "makes no sense",
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_manifest_that_contradicts_itself_is_refused_and_changes_nothing),
        T(a_log_that_contradicts_itself_is_refused),
    };

    return RUN(tests);
}
