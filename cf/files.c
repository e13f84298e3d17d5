/* cf/files.c -- the names in a database directory, and its two smallest files.
 *
 *     MANIFEST-000007   000009.log   000012.sst        numbered: one counter, never used twice
 *     IDENTITY          which database this is; written once
 *     CURRENT           which manifest counts; replaced by rename
 *     IDENTITY.new      the database is being created
 *     CURRENT.new       a switch that did not finish; swept at open
 *
 *     IDENTITY:   0123456789abcdef0123456789abcdef fedcba9876543210\n
 *                 128 random bits                  check of what stands before the space
 *     CURRENT:    MANIFEST-000007 fedcba9876543210\n
 *                 the manifest    check of the name, salted with the database
 *
 * Both are text, so that a person can read them, with a checksum, so that a person who edits them is
 * found out.
 *
 * Creating a database:                             what an open finds after a crash here
 *   1. IDENTITY.new, synced, with its name           nothing, or IDENTITY.new: begins anew
 *   2. first manifest, synced, with its name         IDENTITY.new, no CURRENT: begins anew
 *   3. CURRENT, synced, renamed, with its name       IDENTITY.new and CURRENT: a whole database
 *   4. IDENTITY.new -> IDENTITY                      a whole database
 *   5. first log segment, which makes both durable   a whole database
 *
 * So IDENTITY.new without CURRENT is the one state in which files may be thrown away that look like
 * a database; files without either mean that CURRENT was lost, and nobody may write here. A creation
 * that begins anew therefore writes over IDENTITY.new and never removes it: what the last attempt
 * left is still there.
 *
 * Crash: each replacement is write, sync, rename, sync of the directory (C1, C2); a reader finds the
 * old text or the new one, never a mixture.
 */
#include "cf/files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/canary.h"
#include "base/hash.h"

#define CURRENT_NAME      "CURRENT"
#define CURRENT_NEW_NAME  "CURRENT.new"
#define IDENTITY_NAME     "IDENTITY"
#define IDENTITY_NEW_NAME "IDENTITY.new"
#define SMALL_FILE_MAX    128 /* bytes either text can have */

/* ---- names ---- */

void file_name(enum file_kind kind, uint64_t no, char *out)
{
    if (kind == FILE_MANIFEST)
        (void)snprintf(out, FILE_NAME_MAX, "MANIFEST-%06" PRIu64, no);
    else
        (void)snprintf(out, FILE_NAME_MAX, "%06" PRIu64 "%s", no,
                       kind == FILE_LOG ? ".log" : ".sst");
}

/* Decimal digits at `p`; NULL when there are none or too many, else behind them. */
static const char *parse_number(const char *p, uint64_t *no)
{
    uint64_t v = 0;
    int digits = 0;

    for (; *p >= '0' && *p <= '9' && digits < 19; p++, digits++)
        v = v * 10 + (uint64_t)(*p - '0');
    *no = v;
    return digits ? p : NULL;
}

enum file_kind file_parse(const char *name, uint64_t *no)
{
    static const struct {
        const char *name;
        enum file_kind kind;
    } fixed[] = {{CURRENT_NAME, FILE_CURRENT},
                 {CURRENT_NEW_NAME, FILE_CURRENT_NEW},
                 {IDENTITY_NAME, FILE_IDENTITY},
                 {IDENTITY_NEW_NAME, FILE_IDENTITY_NEW}};
    static const enum file_kind numbered[] = {FILE_MANIFEST, FILE_LOG, FILE_TABLE};
    const char *digits = strncmp(name, "MANIFEST-", 9) == 0 ? name + 9 : name;
    char again[FILE_NAME_MAX];

    *no = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (strcmp(name, fixed[i].name) == 0)
            return fixed[i].kind;
    if (!parse_number(digits, no) || *no == 0) {
        *no = 0;
        return FILE_OTHER;
    }
    for (size_t i = 0; i < sizeof numbered / sizeof numbered[0]; i++) {
        file_name(numbered[i], *no, again); /* spelling it anew catches every odd spelling */
        if (strcmp(name, again) == 0)
            return numbered[i];
    }
    *no = 0;
    return FILE_OTHER;
}

/* ---- listing ---- */

struct file_list_walk {
    struct file_list list;
    odb_status st;
};

static odb_status file_numbers_add(struct file_numbers *n, uint64_t no)
{
    if (n->count == n->cap) {
        size_t cap = n->cap ? n->cap * 2 : 16;
        uint64_t *p = cap > SIZE_MAX / sizeof *p ? NULL : mem_realloc(n->no, cap * sizeof *p);

        if (!p)
            return err_set(ODB_NOMEM, "out of memory listing the directory");
        n->no = p;
        n->cap = cap;
    }
    n->no[n->count++] = no;
    return ODB_OK;
}

static bool file_list_each(void *arg, const char *name)
{
    struct file_list_walk *w = arg;
    struct file_list *l = &w->list;
    uint64_t no;
    enum file_kind kind = file_parse(name, &no);

    l->has[kind] = true;
    if (no > l->max_no)
        l->max_no = no;
    if (kind == FILE_MANIFEST)
        w->st = file_numbers_add(&l->manifests, no);
    else if (kind == FILE_LOG)
        w->st = file_numbers_add(&l->logs, no);
    else if (kind == FILE_TABLE)
        w->st = file_numbers_add(&l->tables, no);
    return w->st == ODB_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

void file_numbers_sort(struct file_numbers *n)
{
    if (n->count > 1)
        qsort(n->no, n->count, sizeof n->no[0], compare_numbers);
}

odb_status file_list_read(struct os_dir *dir, struct file_list *out)
{
    struct file_list_walk w = {.st = ODB_OK};
    odb_status st = os_dir_list(dir, file_list_each, &w);

    if (st == ODB_OK)
        st = w.st;
    if (st != ODB_OK) {
        file_list_release(&w.list);
        return st;
    }
    file_numbers_sort(&w.list.manifests);
    file_numbers_sort(&w.list.logs);
    file_numbers_sort(&w.list.tables);
    *out = w.list;
    return ODB_OK;
}

void file_list_release(struct file_list *l)
{
    mem_free(l->manifests.no);
    mem_free(l->logs.no);
    mem_free(l->tables.no);
    *l = (struct file_list){0};
}

bool file_list_has(const struct file_numbers *n, uint64_t no)
{
    return n->count && bsearch(&no, n->no, n->count, sizeof no, compare_numbers) != NULL;
}

/* ---- small files ---- */

/* Write `text` as `name` and sync it. An older file of that name goes first. The name itself becomes durable
 * with the caller's next sync of the directory. */
static odb_status small_file_write(struct os_dir *dir, const char *name, const char *text)
{
    struct os_file *f = NULL;
    odb_status st = os_remove(dir, name);

    if (st == ODB_OK || st == ODB_ABSENT)
        st = os_open(dir, name, OS_WRITE | OS_CREATE, &f);
    if (st == ODB_OK)
        st = os_write(f, 0, text, strlen(text));
    if (st == ODB_OK && !CANARY(2))
        st = os_sync(f); /* else the rename could lead to an empty file (C2) */
    os_close(f);
    return st;
}

/* The whole file into `out`, terminated; *len is how much there was. Longer files are not ours. */
static odb_status small_file_read(struct os_dir *dir, const char *name, char *out, size_t *len)
{
    struct os_file *f = NULL;
    odb_status st = os_open(dir, name, 0, &f);

    *len = 0;
    if (st == ODB_OK)
        st = os_read(f, 0, out, SMALL_FILE_MAX, len);
    os_close(f);
    out[st == ODB_OK ? *len : 0] = '\0';
    return st;
}

/* Exactly 16 lower-case hex digits at `p`. */
static bool parse_hex(const char *p, uint64_t *out)
{
    uint64_t v = 0;

    for (int i = 0; i < 16; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (d < 0)
            return false;
        v = v << 4 | (uint64_t)d;
    }
    *out = v;
    return true;
}

/* ---- IDENTITY ---- */

odb_status identity_make(struct os *os, struct identity *out)
{
    uint8_t raw[16];
    odb_status st = os_random(os, raw, sizeof raw);

    if (st == ODB_OK)
        *out = (struct identity){{get_u64_be(raw), get_u64_be(raw + 8)}};
    return st;
}

uint64_t identity_db_id(const struct identity *id)
{
    uint64_t v = hash_mix(id->half[0], id->half[1]);

    return v ? v : 1;
}

static void identity_text(const struct identity *id, char *out)
{
    int n = snprintf(out, SMALL_FILE_MAX, "%016" PRIx64 "%016" PRIx64, id->half[0], id->half[1]);
    uint64_t check = hash_salted(out, (size_t)n, identity_db_id(id), 0);

    (void)snprintf(out + n, SMALL_FILE_MAX - (size_t)n, " %016" PRIx64 "\n", check);
}

odb_status identity_write_new(struct os_dir *dir, const struct identity *id)
{
    char text[SMALL_FILE_MAX];
    odb_status st;

    identity_text(id, text);
    /* One that a creation before left stays in sight, but may be there for the kernel only, when the sync of
     * its name has failed: a rename puts another in its place. */
    st = small_file_write(dir, CANARY(18) ? IDENTITY_NEW_NAME : CURRENT_NEW_NAME, text);
    if (st == ODB_OK && !CANARY(18))
        st = os_rename(dir, CURRENT_NEW_NAME, IDENTITY_NEW_NAME);
    if (st == ODB_OK)
        st = os_dir_sync(dir); /* the sign of a creation stands before the first thing created */
    return st;
}

odb_status identity_settle(struct os_dir *dir)
{
    return os_rename(dir, IDENTITY_NEW_NAME, IDENTITY_NAME);
}

odb_status identity_read(struct os_dir *dir, bool is_new, struct identity *out)
{
    const char *name = is_new ? IDENTITY_NEW_NAME : IDENTITY_NAME;
    char text[SMALL_FILE_MAX + 1], again[SMALL_FILE_MAX];
    struct identity id;
    size_t len;
    odb_status st = small_file_read(dir, name, text, &len);

    if (st != ODB_OK)
        return st;
    if (len < 32 || !parse_hex(text, &id.half[0]) || !parse_hex(text + 16, &id.half[1]))
        return err_corrupt(name, 0, "it does not hold the identity of a database");
    identity_text(&id, again);
    if (len != strlen(again) || memcmp(text, again, len) != 0)
        return err_corrupt(name, 0, "its checksum does not match");
    *out = id;
    return ODB_OK;
}

/* ---- CURRENT ---- */

static void current_text(uint64_t db_id, uint64_t no, char *out)
{
    size_t n;

    file_name(FILE_MANIFEST, no, out);
    n = strlen(out);
    (void)snprintf(out + n, SMALL_FILE_MAX - n, " %016" PRIx64 "\n",
                   hash_salted(out, n, salt_for_file(db_id, 0), 0));
}

odb_status current_switch(struct os_dir *dir, uint64_t db_id, uint64_t no, bool *is_tried)
{
    char text[SMALL_FILE_MAX];
    odb_status st;

    *is_tried = false;
    current_text(db_id, no, text);
    st = small_file_write(dir, CURRENT_NEW_NAME, text);
    if (st != ODB_OK)
        return st;
    *is_tried = true; /* whatever rename says: a server may have done it and lost the answer */
    st = os_rename(dir, CURRENT_NEW_NAME, CURRENT_NAME);
    if (st == ODB_OK && !CANARY(1))
        st = os_dir_sync(dir); /* else the old manifest could come back after its files went (C3) */
    return st;
}

odb_status current_read(struct os_dir *dir, uint64_t db_id, uint64_t *no)
{
    char text[SMALL_FILE_MAX + 1], again[SMALL_FILE_MAX], *space;
    size_t len;
    uint64_t found = 0;
    odb_status st = small_file_read(dir, CURRENT_NAME, text, &len);

    if (st != ODB_OK)
        return st;
    space = strchr(text, ' ');
    if (space)
        *space = '\0';
    if (!space || file_parse(text, &found) != FILE_MANIFEST)
        return err_corrupt(CURRENT_NAME, 0, "it does not name a manifest");
    *space = ' ';
    current_text(db_id, found, again);
    if (len != strlen(again) || memcmp(text, again, len) != 0)
        return err_corrupt(CURRENT_NAME, 0,
                           "its checksum does not match, or it belongs to another database");
    *no = found;
    return ODB_OK;
}
