/* fuzz/database.c -- a database of which some files were changed behind its back: it opens with the
 * data there is, or says what is wrong; it never crashes, hangs, or blames the disk.
 *
 *    input   control u8 (fuzz.h), bit 7: read-only, bit 6: merge everything too | change | change ...
 *    change  file u8 | what u8 | offset u16 | length u8 | bytes
 *            what % 9   0 to 4  write the bytes at offset % (size + 1)
 *                       5       cut the file at the offset
 *                       6       remove it
 *                       7       write the bytes of the next file over it
 *                       8       put a file of the same kind beside it, numbered by the bytes
 */
#include "cf/files.h"
#include "fuzz/seal.h"
#include "fuzz/template.h"
#include "wal/segment.h"

#define DATABASE_CHANGES 8
#define DATABASE_STEPS   5000u

struct database {
    struct os *os;
    struct os_dir *dir;
    uint64_t db_id;
    bool is_changed[TEMPLATE_FILES]; /* there, and to be sealed */
};

static struct template_db database_template;

/* ---- damage ---- */

static void database_poke(struct database *b, const char *name, uint64_t off, odb_slice bytes)
{
    if (bytes.size)
        FUZZ_REQUIRE(sim_poke(b->os, FUZZ_DIR, name, off, bytes.data, bytes.size) == ODB_OK);
}

/* A file that nobody names. */
static void database_stray(struct database *b, const char *name, odb_slice bytes)
{
    struct dec in = dec_from(bytes);
    char stray[FILE_NAME_MAX];
    struct os_file *f = NULL;
    uint64_t no;
    enum file_kind kind = file_parse(name, &no);

    if (kind != FILE_MANIFEST && kind != FILE_LOG && kind != FILE_TABLE)
        return;
    file_name(kind, fuzz_number(&in, 8), stray);
    if (os_open(b->dir, stray, OS_WRITE | OS_CREATE, &f) != ODB_OK)
        return; /* there is one already */
    bytes = fuzz_bytes(&in, SIZE_MAX);
    if (bytes.size)
        FUZZ_REQUIRE(os_write(f, 0, bytes.data, bytes.size) == ODB_OK);
    os_close(f);
}

static void database_change(struct database *b, struct dec *in)
{
    const struct template_db *t = &database_template;
    size_t i = dec_u8(in) % t->count, len;
    const char *name = t->file[i].name;
    uint8_t what = dec_u8(in) % 9, *p;
    uint64_t off = fuzz_number(in, 2) % (t->file[i].size + 1);
    odb_slice bytes = fuzz_bytes(in, (size_t)fuzz_number(in, 1));
    struct os_file *f = NULL;

    if (os_open(b->dir, name, OS_WRITE, &f) != ODB_OK)
        return; /* removed by an earlier change */
    b->is_changed[i] = true;
    if (what < 5) {
        database_poke(b, name, off, bytes);
    } else if (what == 5) {
        FUZZ_REQUIRE(os_truncate(f, off) == ODB_OK);
    } else if (what == 6) {
        FUZZ_REQUIRE(os_remove(b->dir, name) == ODB_OK);
        b->is_changed[i] = false;
    } else if (what == 8) {
        database_stray(b, name, bytes);
    } else if (os_truncate(f, 0) == ODB_OK) {
        struct os_dir *whole = NULL;

        FUZZ_REQUIRE(os_dir_open(t->os, FUZZ_DIR, 0, &whole) == ODB_OK);
        p = template_load(whole, t->file[(i + 1) % t->count].name, &len);
        database_poke(b, name, 0, odb_bytes(p, len));
        free(p);
        os_dir_close(whole);
    }
    os_close(f);
}

/* The ring goes on where the last segment ends. */
static void database_seal_ring(struct database *b, uint8_t *p, size_t len, enum fuzz_seal how)
{
    struct file_list list = {0};
    char name[FILE_NAME_MAX];

    FUZZ_REQUIRE(file_list_read(b->dir, &list) == ODB_OK);
    if (list.logs.count > 0 && len >= WAL_RING_MIN && (len & (len - 1)) == 0) {
        size_t size;
        uint8_t *log;

        file_name(FILE_LOG, list.logs.no[list.logs.count - 1], name);
        log = template_load(b->dir, name, &size);
        if (size >= WAL_SEGMENT_HEADER)
            seal_ring(p, len, get_u64(log + 40), seal_segment(log, size, FUZZ_AS_IT_IS).lsn, how);
        free(log);
    }
    file_list_release(&list);
}

static void database_seal(struct database *b, const char *name, enum fuzz_seal how)
{
    uint64_t no = 0;
    size_t len;
    uint8_t *p = template_load(b->dir, name, &len);

    switch (file_parse(name, &no)) {
    case FILE_MANIFEST: seal_manifest(p, len, b->db_id, no, how); break;
    case FILE_LOG: (void)seal_segment(p, len, how); break;
    case FILE_TABLE: seal_table(p, len, b->db_id, no, how); break;
    case FILE_CURRENT: seal_current(p, len, b->db_id); break;
    case FILE_IDENTITY: seal_identity(p, len); break;
    default:
        if (strcmp(name, WAL_RING_NAME) == 0)
            database_seal_ring(b, p, len, how);
        break;
    }
    database_poke(b, name, 0, odb_bytes(p, len));
    free(p);
}

/* ---- use ---- */

static bool database_walk(void *arg, struct cf *cf, const char *name)
{
    struct cf_set *s = arg;
    struct lsm_range range = {0};
    struct lsm_value value;
    struct lsm_iter *it = NULL;
    unsigned n = 0;
    odb_status st = cf_iter_new(s, cf, NULL, &range, &it);
    bool ok;

    FUZZ_REQUIRE(name[0] != '\0' && fuzz_is_verdict(st));
    if (st != ODB_OK)
        return true;
    for (ok = lsm_iter_first(it); ok && n < DATABASE_STEPS; ok = lsm_iter_next(it), n++)
        (void)fuzz_touch(lsm_iter_value(it));
    FUZZ_REQUIRE(fuzz_is_verdict(lsm_iter_status(it)));
    for (ok = lsm_iter_last(it), n = 0; ok && n < DATABASE_STEPS; ok = lsm_iter_prev(it), n++)
        (void)fuzz_touch(lsm_iter_key(it));
    FUZZ_REQUIRE(fuzz_is_verdict(lsm_iter_status(it)));
    lsm_iter_free(it);
    st = cf_get(s, cf, NULL, odb_s("key042"), &value);
    FUZZ_REQUIRE(fuzz_is_verdict(st) || st == ODB_ABSENT);
    if (st == ODB_OK) {
        (void)fuzz_touch(value.data);
        cf_value_release(s, &value);
    }
    return true;
}

/* What an open may say of files somebody changed. */
static bool database_is_refusal(odb_status st)
{
    return st == ODB_CORRUPT || st == ODB_VERSION || st == ODB_ABSENT || st == ODB_UNSUPPORTED;
}

/* A failure sticks, so later writes may meet the first one as ODB_READONLY. */
static bool database_is_write_verdict(odb_status st)
{
    return fuzz_is_verdict(st) || st == ODB_READONLY ||
           st == ODB_LIMIT; /* a manifest that says so has used all sequence numbers */
}

static odb_status database_write(struct cf_set *s, bool is_merging)
{
    struct cf *cf = NULL;
    odb_status st, put;

    if (cf_find(s, "default", &cf) != ODB_OK)
        return ODB_NO_FAMILY;
    st = put = cf_put(s, cf, odb_s("after"), odb_s("damage"), NULL);
    FUZZ_REQUIRE(database_is_write_verdict(st));
    if (!is_merging)
        return put;
    st = cf_flush(s, NULL);
    FUZZ_REQUIRE(database_is_write_verdict(st));
    st = lsm_compact(cf_tree(cf), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL);
    FUZZ_REQUIRE(database_is_write_verdict(st));
    return put;
}

/* Whether what an earlier life wrote is there. */
static bool database_has_write(struct cf_set *s)
{
    struct cf *cf = NULL;

    return cf_find(s, "default", &cf) == ODB_OK && cf_exists(s, cf, NULL, odb_s("after")) == ODB_OK;
}

/* Open, look at everything, write, close. True: the write and the close were acknowledged; after such
 * a life, damaged tables or not, the next one must open and find what was written. */
static bool database_use(struct database *b, bool is_readonly, bool is_merging, bool must_open)
{
    struct cf_set_options opt = template_options(b->os);
    struct cf_set *s = NULL;
    odb_status st, written = ODB_OK;

    opt.create = false;
    opt.is_readonly = is_readonly;
    opt.family_count = 0;
    st = cf_open(FUZZ_DIR, &opt, &s);
    FUZZ_REQUIRE(st == ODB_OK || (database_is_refusal(st) && !must_open));
    if (st != ODB_OK) {
        FUZZ_REQUIRE(odb_error_text()[0] != '\0');
        return false;
    }
    cf_each(s, database_walk, s);
    FUZZ_REQUIRE(fuzz_is_verdict(cf_verify(s, NULL, NULL)));
    FUZZ_REQUIRE(!must_open || database_has_write(s));
    if (!is_readonly)
        written = database_write(s, is_merging);
    st = cf_close(s);
    FUZZ_REQUIRE(database_is_write_verdict(st));
    return written == ODB_OK && st == ODB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    uint8_t control = dec_u8(&in);
    enum fuzz_seal how = fuzz_seal(control & 0x7f);
    struct database b = {0};
    struct identity id = {{0, 0}};

    if (!database_template.os)
        template_make(&database_template);
    b.os = sim_image(database_template.os, SIM_M1, 1);
    FUZZ_REQUIRE(os_dir_open(b.os, FUZZ_DIR, 0, &b.dir) == ODB_OK);
    FUZZ_REQUIRE(identity_read(b.dir, false, &id) == ODB_OK);
    b.db_id = identity_db_id(&id);
    for (int i = 0; i < DATABASE_CHANGES && dec_left(&in) > 0; i++)
        database_change(&b, &in);
    for (size_t i = 0; i < database_template.count; i++)
        if (b.is_changed[i] && how != FUZZ_AS_IT_IS)
            database_seal(&b, database_template.file[i].name, how);
    os_dir_close(b.dir);
    if (control & 0x80) {
        struct os *now = sim_image(b.os, SIM_M1, 1); /* mutations count from here */

        sim_free(b.os);
        b.os = now;
        (void)database_use(&b, true, false, false);
        FUZZ_REQUIRE(sim_mutations(b.os) == 0);
    } else {
        bool is_closed = database_use(&b, false, control & 0x40, false);

        (void)database_use(&b, false, false, is_closed);
    }
    sim_free(b.os);
    return 0;
}
