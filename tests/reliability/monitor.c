/* tests/reliability/monitor.c -- the numbered orders of docs/durability.md, asserted when they matter.
 *
 *   a remove         neither the manifest that a power cut would leave current, nor the one that is
 *                    current now, names the file (C3, C6, C8, C10)
 *   a rename onto X  the bytes of the file are durable (C2); onto CURRENT: manifests and their names
 *                    too (C1, C5)
 *   an answer        no batch in the log, manifest record or table that is named is pending, and no name of
 *                    such a file (C1, C4, C5, C11)
 */
#include "tests/reliability/monitor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cf/files.h"
#include "cf/manifest.h"
#include "wal/segment.h"

#define TABLES_MAX   512
#define FAMILIES_MAX 256

/* By enum sim_model. */
static const char *const when[] = {"after a power cut", "now"};

static void breaks(struct monitor *m, const char *fmt, ...) ODB_PRINTF(2, 3);
static void breaks(struct monitor *m, const char *fmt, ...)
{
    va_list ap;

    if (m->broken[0])
        return;
    va_start(ap, fmt);
    (void)vsnprintf(m->broken, sizeof m->broken, fmt, ap);
    va_end(ap);
}

/* ---- what a disk's current manifest names ---- */

struct named {
    uint64_t table[TABLES_MAX];
    uint32_t table_count;
    struct {
        uint32_t id;
        uint64_t flushed_lsn;
        bool is_alive;
    } family[FAMILIES_MAX];
    uint32_t table_family[TABLES_MAX];
    uint32_t family_count;
    uint64_t log_no;
    uint64_t log_lsn;
    uint64_t manifest_no;
    uint64_t db_id;
};

static odb_status name_item(void *arg, const struct manifest_item *item)
{
    struct named *n = arg;
    const struct lsm_edit *e = &item->edit;

    if (item->kind == MANIFEST_COUNTERS) {
        n->log_no = item->counters.log_no;
        n->log_lsn = item->counters.is_log_open ? item->counters.log_lsn : WAL_LSN_UNKNOWN;
    }
    if (item->kind == MANIFEST_FAMILY && n->family_count < FAMILIES_MAX) {
        n->family[n->family_count].id = item->family.id;
        n->family[n->family_count].is_alive = true;
        n->family_count++;
    }
    if (item->kind == MANIFEST_DROP) {
        for (uint32_t i = 0; i < n->family_count; i++)
            n->family[i].is_alive &= n->family[i].id != item->dropped;
        for (uint32_t i = 0; i < n->table_count; i++)
            if (n->table_family[i] == item->dropped)
                n->table[i] = 0;
    }
    if (item->kind != MANIFEST_EDIT)
        return ODB_OK;
    for (uint32_t i = 0; i < n->family_count && e->has_flushed; i++)
        if (n->family[i].id == e->family)
            n->family[i].flushed_lsn = e->flushed_lsn;
    for (uint32_t r = 0; r < e->remove_count; r++)
        for (uint32_t i = 0; i < n->table_count; i++)
            if (n->table[i] == e->remove[r].file_no)
                n->table[i] = 0;
    for (uint32_t a = 0; a < e->add_count && n->table_count < TABLES_MAX; a++) {
        n->table_family[n->table_count] = e->family;
        n->table[n->table_count++] = e->add[a].meta.file_no;
    }
    return ODB_OK;
}

/* False: there is no database that an open would find. */
static bool read_named(struct os *os, const char *path, struct named *out)
{
    struct os_dir *dir = NULL;
    struct identity id;
    bool ok;

    memset(out, 0, sizeof *out);
    if (os_dir_open(os, path, OS_DIR_READONLY, &dir) != ODB_OK)
        return false;
    ok = identity_read(dir, false, &id) == ODB_OK || identity_read(dir, true, &id) == ODB_OK;
    if (ok) {
        out->db_id = identity_db_id(&id);
        ok = current_read(dir, out->db_id, &out->manifest_no) == ODB_OK &&
             manifest_read(dir, out->db_id, out->manifest_no, name_item, out, NULL) == ODB_OK;
    }
    os_dir_close(dir);
    return ok;
}

/* The first LSN of segment `no`, and of the segment that says it comes after it; 0: not told. */
struct segment_ends {
    struct os_dir *dir;
    uint64_t db_id, no, end;
};

static bool find_successor(void *arg, const char *name)
{
    struct segment_ends *s = arg;
    static uint8_t block[WAL_SEGMENT_HEADER];
    struct os_file *f = NULL;
    struct wal_header h;
    const char *why;
    bool has_link;
    size_t got = 0;
    uint64_t no;

    if (file_parse(name, &no) != FILE_LOG || no == s->no)
        return true;
    if (os_open(s->dir, name, 0, &f) == ODB_OK &&
        os_read(f, 0, block, sizeof block, &got) == ODB_OK && got == sizeof block &&
        wal_header_decode(block, s->db_id, no, &h, &has_link, &why) == ODB_OK && has_link &&
        h.prev_no == s->no)
        s->end = h.prev_end;
    os_close(f);
    return true;
}

/* Where segment `no` ends, by its successor's header. */
static uint64_t segment_end(struct monitor *m, const struct named *n, uint64_t no)
{
    struct segment_ends s = {.db_id = n->db_id, .no = no, .end = UINT64_MAX};
    struct os *now = sim_image(m->os, SIM_M1, 0);

    if (os_dir_open(now, m->dir, OS_DIR_READONLY, &s.dir) == ODB_OK &&
        os_dir_list(s.dir, find_successor, &s) != ODB_OK)
        s.end = UINT64_MAX;
    os_dir_close(s.dir);
    sim_free(now);
    return s.end;
}

/* ---- removing ---- */

static void check_remove(struct monitor *m, enum sim_model model, enum file_kind kind, uint64_t no,
                         uint64_t op_no)
{
    struct os *disk = sim_image(m->os, model, 0);
    struct named n;
    bool is_there = read_named(disk, m->dir, &n);

    sim_free(disk);
    if (!is_there)
        return;
    if (kind == FILE_MANIFEST && no == n.manifest_no)
        breaks(m, "operation %llu removes MANIFEST-%llu, which is current %s",
               (unsigned long long)op_no, (unsigned long long)no, when[model]);
    for (uint32_t i = 0; kind == FILE_TABLE && i < n.table_count; i++)
        if (n.table[i] == no)
            breaks(m, "operation %llu removes table %llu, which MANIFEST-%llu, current %s, names",
                   (unsigned long long)op_no, (unsigned long long)no,
                   (unsigned long long)n.manifest_no, when[model]);
    if (kind == FILE_LOG && no >= n.log_no) {
        uint64_t end = segment_end(m, &n, no);

        for (uint32_t i = 0; end != UINT64_MAX && i < n.family_count; i++)
            if (n.family[i].is_alive && n.family[i].flushed_lsn < end)
                breaks(m,
                       "operation %llu removes log %llu, which ends at %llu; family %u needs it "
                       "from %llu on, %s",
                       (unsigned long long)op_no, (unsigned long long)no, (unsigned long long)end,
                       n.family[i].id, (unsigned long long)n.family[i].flushed_lsn, when[model]);
    }
}

/* ---- pending things ---- */

struct pending_query {
    struct monitor *m;
    const char *what;
    const char *renamed; /* this file's bytes must be durable; NULL: what an answer needs */
    bool is_current;
    const struct named *named;
    uint64_t op_no;
    char log[FILE_NAME_MAX]; /* a segment with something pending, if there is one */
};

static bool is_named(const struct named *n, uint64_t table)
{
    for (uint32_t i = 0; i < n->table_count; i++)
        if (n->table[i] == table)
            return true;
    return false;
}

/* ---- the last batch in the log ---- */

static odb_status see_batch(void *arg, const struct wal_record *rec)
{
    if (rec->type == WAL_BATCH)
        *(uint64_t *)arg = rec->end_lsn;
    return ODB_OK;
}

/* The end of the last batch that the segments of an image hold, its ring left aside. */
static odb_status last_batch(struct os *os, const char *path, const struct named *n, uint64_t *end)
{
    struct wal_replay_result res;
    struct file_list files = {0};
    struct os_dir *dir = NULL;
    size_t first = 0;
    odb_status st = os_dir_open(os, path, 0, &dir);

    *end = 0;
    if (st == ODB_OK)
        st = os_remove(dir, WAL_RING_NAME);
    if (st == ODB_OK || st == ODB_ABSENT)
        st = file_list_read(dir, &files);
    while (first < files.logs.count && files.logs.no[first] < n->log_no)
        first++;
    if (st == ODB_OK)
        st = wal_replay(dir, n->db_id, files.logs.no + first, files.logs.count - first, n->log_lsn,
                        0, WAL_LSN_UNKNOWN, see_batch, end, &res);
    file_list_release(&files);
    os_dir_close(dir);
    return st;
}

/* Up to where all families have everything in tables. */
static uint64_t flushed_by_all(const struct named *n)
{
    uint64_t low = UINT64_MAX;

    for (uint32_t i = 0; i < n->family_count; i++)
        if (n->family[i].is_alive && n->family[i].flushed_lsn < low)
            low = n->family[i].flushed_lsn;
    return low;
}

/* What an answer needs of the log is its batches, but those that tables have (cf/ledger.c, 2). Marks behind
 * them (cf/manifest.c) may be pending: they claim what is durable, and nobody is told of them. */
static void check_log(struct monitor *m, const struct named *n, const char *piece, uint64_t op_no)
{
    static const enum sim_model models[] = {SIM_M0, SIM_M1};
    uint64_t end[2], low = flushed_by_all(n);

    for (int i = 0; i < 2; i++) {
        struct os *image = sim_image(m->os, models[i], 0);
        odb_status st = last_batch(image, m->dir, n, &end[i]);

        if (st != ODB_OK)
            breaks(m, "an answer, and the log cannot be read %s: %s", when[models[i]],
                   odb_error_text());
        sim_free(image);
    }
    if (end[0] < low)
        end[0] = low;
    if (end[0] < end[1])
        breaks(m,
               "an answer (operation %llu) while batches from %llu to %llu, of which %s has a "
               "part, are not durable",
               (unsigned long long)op_no, (unsigned long long)end[0], (unsigned long long)end[1],
               piece);
}

static bool check_piece(void *arg, const struct sim_piece *p)
{
    struct pending_query *q = arg;
    uint64_t no;
    enum file_kind kind = file_parse(p->name, &no);
    bool is_name = p->op == SIM_CREATE || p->op == SIM_RENAME;
    bool matters = false;

    if (q->renamed) {
        matters = p->op == SIM_WRITE && strcmp(p->name, q->renamed) == 0;
        if (q->is_current)
            matters |= kind == FILE_MANIFEST && (p->op == SIM_WRITE || is_name);
    } else if (p->op == SIM_WRITE || is_name) {
        /* a manifest that is being left may have a pending name; its removal, too */
        if (kind == FILE_LOG && p->op == SIM_WRITE)
            (void)snprintf(q->log, sizeof q->log, "%s", p->name);
        matters = (kind == FILE_MANIFEST && no == q->named->manifest_no) ||
                  (kind == FILE_TABLE && is_named(q->named, no)) || kind == FILE_CURRENT ||
                  kind == FILE_CURRENT_NEW;
    }
    if (matters)
        breaks(q->m, "%s (operation %llu) while %s of %s, operation %llu, is not durable", q->what,
               (unsigned long long)q->op_no, sim_op_name(p->op), p->name,
               (unsigned long long)p->op_no);
    return false;
}

void monitor_before(struct monitor *m, enum sim_op op, const char *name, uint64_t op_no)
{
    uint64_t no;
    enum file_kind kind = file_parse(name, &no);

    if (m->is_paused || m->broken[0])
        return;
    if (op == SIM_REMOVE && (kind == FILE_MANIFEST || kind == FILE_TABLE || kind == FILE_LOG)) {
        check_remove(m, SIM_M0, kind, no, op_no);
        check_remove(m, SIM_M1, kind, no, op_no);
        m->removes++;
    }
    if (op == SIM_RENAME) {
        struct pending_query q = {.m = m,
                                  .what = "a rename",
                                  .renamed = name,
                                  .is_current = kind == FILE_CURRENT_NEW,
                                  .op_no = op_no};

        sim_free(sim_image_keep(m->os, check_piece, &q));
        m->switches++;
    }
}

void monitor_ack(struct monitor *m)
{
    struct os *now;
    struct named n;
    struct pending_query q = {
        .m = m, .what = "an answer", .named = &n, .op_no = sim_op_count(m->os)};
    bool is_there;

    if (m->is_paused || m->broken[0])
        return;
    now = sim_image(m->os, SIM_M1, 0);
    is_there = read_named(now, m->dir, &n);
    sim_free(now);
    if (!is_there)
        breaks(m, "an answer, but no database can be read");
    else
        sim_free(sim_image_keep(m->os, check_piece, &q));
    if (is_there && q.log[0])
        check_log(m, &n, q.log, q.op_no);
    m->acks++;
}
