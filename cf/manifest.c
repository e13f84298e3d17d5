/* cf/manifest.c -- the manifest, exactly as it lies in the file.
 *
 *    0                56                                                     end
 *    +----------------+---------------+----------+----------+-- ... --+------+
 *    | header         | first record: | record   | record   |         | torn |
 *    |                | everything    | a change | a change |         |      |
 *    +----------------+---------------+----------+----------+-- ... --+------+
 *
 *    header   0  magic "OpenDB-M"
 *             8  version u32, 1
 *            12  flags a reader must know u32: none yet, others are refused
 *            16  flags a reader may ignore u32
 *            20  reserved u32, 0
 *            24  database id u64
 *            32  file number u64
 *            40  salt u64, drawn for this file
 *            48  check u64, of the bytes before it, salted with database and number
 *
 *    record   0  check u64, of the bytes behind it, salted with database, number, salt and offset
 *             8  length u32, of the items; at least 1
 *            12  items
 *
 *    item     kind u8 | length varint | body of that length
 *      1 family    id varint | flags varint | name: length varint, bytes | [options]
 *                  flags bit 0: options follow, as count varint and that many (tag varint, value
 *                  varint); unknown tags are skipped, missing ones keep the set's own value
 *      2 drop      family id varint
 *      3 edit      lsm/edit.c
 *      4 counters  next file varint | next seq varint | next family varint | log number varint |
 *                  flags varint, bit 0: the log is open | LSN where that log begins varint |
 *                  LSN up to which it was durable varint
 *
 *    mark     a record of the log (wal/record.h, type 2), with this payload:
 *             0  file number u64: CURRENT names this manifest, or a later one
 *             8  size u64: that manifest is at least so long
 *
 * 1. A record is a unit: all its items happened, or none.
 * 2. Every record is synced before it is acknowledged and before the next one is written. So after a
 *    crash at most the last record is torn, and it was never acknowledged.
 * 3. Nothing is appended behind a failed append (sealed), and nothing to a file of an earlier life.
 * 4. When a record is synced, and a new file's CURRENT with it, a mark is put into the log, before
 *    the change is acknowledged, applied, or acted upon by removing tables or log. It claims only what is
 *    durable, so that it is true whatever becomes of it. Through the commit ring it costs no sync and
 *    no system call, and survives the process as a commit does; the next sync of the log makes it
 *    survive power cuts.
 *
 * A record that fails its check is therefore the torn end, or damage. From 2: if any record behind it
 * is good, it is damage. From 4: if replay meets a mark that tells of bytes at or behind it, it is
 * damage, or the file was cut, whole records or not; and if a mark names a later manifest, CURRENT
 * is one of before. Replay meets each mark that matters: one written after record k lies, in the
 * log, behind all that records up to k let go of (they are written first), so that a manifest cut at
 * k or before still asks for the log from before the mark on; where that log was removed, on behalf
 * of a record that is cut away, it is missed as such.
 *
 * What remains: a power cut that takes marks which no sync of the log had reached yet, *and* damage
 * to the very records they told of, before the next open: that looks like a torn append, as the last
 * group of the log does (P9). Even then log and tables that those records let go of are missed.
 *
 * Not here: what goes into a group, beginning a new file, CURRENT (ledger.c, files.c).
 */
#include "cf/manifest.h"

#include "base/alloc.h"
#include "base/canary.h"
#include "base/hash.h"
#include "base/ikey.h"
#include "cf/files.h"

#define MANIFEST_VERSION    1u
#define MANIFEST_HEAD       ((size_t)12) /* of a record */
#define MANIFEST_RECORD_MAX ((size_t)1 << 30)
#define MANIFEST_FILE_MAX   ((uint64_t)1 << 31)
#define MANIFEST_HAS_OWN    1u
#define MANIFEST_LOG_OPEN   1u

static const uint8_t manifest_magic[8] = {'O', 'p', 'e', 'n', 'D', 'B', '-', 'M'};

struct manifest {
    struct os_file *file;
    uint64_t file_no;
    uint64_t salt; /* of records: database, number and the header's own */
    uint64_t size;
    bool is_sealed;
};

static uint64_t manifest_salt(uint64_t db_id, uint64_t file_no, uint64_t drawn)
{
    return hash_mix(salt_for_file(db_id, file_no), drawn);
}

/* ---- groups ---- */

void manifest_group_release(struct manifest_group *g)
{
    buf_release(&g->bytes);
}

/* Room for an item of at most `body` bytes; the record's head comes before the first one. */
static odb_status group_reserve(struct manifest_group *g, size_t body)
{
    odb_status st = buf_reserve(&g->bytes, MANIFEST_HEAD + 1 + VARINT_MAX + body);

    if (st == ODB_OK && g->bytes.len == 0) {
        memset(g->bytes.p, 0, MANIFEST_HEAD);
        g->bytes.len = MANIFEST_HEAD;
    }
    return st;
}

/* Append an item whose body is complete. */
static odb_status group_item(struct manifest_group *g, enum manifest_kind kind, const uint8_t *body,
                             size_t len)
{
    odb_status st = group_reserve(g, len);
    uint8_t *p;

    if (st != ODB_OK)
        return st;
    p = g->bytes.p + g->bytes.len;
    *p++ = (uint8_t)kind;
    p = enc_varint(p, len);
    if (len)
        memcpy(p, body, len);
    g->bytes.len = (size_t)(p + len - g->bytes.p);
    return ODB_OK;
}

enum { /* as stored */
       OPTION_WRITE_BUFFER = 1,
       OPTION_MAX_BUFFERS = 2,
       OPTION_TARGET_FILE_SIZE = 3,
       OPTION_L0_TRIGGER = 4,
       OPTION_LEVEL_BASE = 5,
       OPTION_MULTIPLIER = 6,
       OPTION_BLOCK_SIZE = 7,
       OPTION_CODEC = 8,
       OPTION_LZ4_ACCELERATION = 9,
       OPTION_BITS_PER_KEY = 10,
       OPTION_SPLIT = 11,
       OPTION_AUTO_COMPACT = 12,
       OPTION_COUNT = 12,
};

static uint8_t *options_encode(uint8_t *p, const struct lsm_options *o)
{
    const uint64_t value[OPTION_COUNT] = {
        o->write_buffer,
        o->max_buffers,
        o->target_file_size,
        o->l0_trigger,
        o->level_base,
        o->multiplier,
        o->block_size,
        (uint64_t)o->codec,
        (uint64_t)(o->lz4_acceleration > 0 ? o->lz4_acceleration : 0),
        o->bits_per_key,
        o->split,
        o->auto_compact};

    p = enc_varint(p, OPTION_COUNT);
    for (uint32_t i = 0; i < OPTION_COUNT; i++) {
        p = enc_varint(p, i + 1); /* the tags, in order */
        p = enc_varint(p, value[i]);
    }
    return p;
}

/* One option; a value that this machine cannot hold is refused. */
static void option_decode(struct dec *d, uint64_t tag, uint64_t v, struct lsm_options *o)
{
    uint32_t small = v <= INT32_MAX ? (uint32_t)v : 0;
    bool fits = v <= INT32_MAX;

    switch (tag) {
    case OPTION_WRITE_BUFFER:
        o->write_buffer = v <= SIZE_MAX / 2 ? (size_t)v : SIZE_MAX / 2;
        return;
    case OPTION_TARGET_FILE_SIZE: o->target_file_size = v; return;
    case OPTION_LEVEL_BASE: o->level_base = v; return;
    case OPTION_MAX_BUFFERS: o->max_buffers = small; break;
    case OPTION_L0_TRIGGER: o->l0_trigger = small; break;
    case OPTION_MULTIPLIER: o->multiplier = small; break;
    case OPTION_BLOCK_SIZE: o->block_size = small; break;
    case OPTION_CODEC:
        fits = v <= CODEC_LZ4;
        o->codec = v == CODEC_LZ4 ? CODEC_LZ4 : CODEC_RAW;
        break;
    case OPTION_LZ4_ACCELERATION: o->lz4_acceleration = (int)small; break;
    case OPTION_BITS_PER_KEY: o->bits_per_key = small; break;
    case OPTION_SPLIT: o->split = small; break;
    case OPTION_AUTO_COMPACT:
        fits = v <= 1;
        o->auto_compact = v == 1;
        break;
    default: return; /* of a newer release, which wrote it so that older ones may ignore it */
    }
    if (!fits)
        d->bad = true;
}

static void options_decode(struct dec *d, struct lsm_options *o)
{
    uint64_t count = dec_varint(d);

    if (count > dec_left(d) / 2)
        d->bad = true;
    for (uint64_t i = 0; i < count && !d->bad; i++) {
        uint64_t tag = dec_varint(d), v = dec_varint(d);

        if (!d->bad)
            option_decode(d, tag, v, o);
    }
}

odb_status manifest_add_family(struct manifest_group *g, const struct manifest_family *f)
{
    struct buf body = {0};
    odb_status st = buf_reserve(&body, (4 + 2 * OPTION_COUNT) * VARINT_MAX + f->name.size);
    uint8_t *p;

    if (st != ODB_OK)
        return st;
    p = enc_varint(body.p, f->id);
    p = enc_varint(p, f->has_options ? MANIFEST_HAS_OWN : 0);
    p = enc_varint(p, f->name.size);
    memcpy(p, f->name.data, f->name.size);
    p += f->name.size;
    if (f->has_options)
        p = options_encode(p, &f->options);
    st = group_item(g, MANIFEST_FAMILY, body.p, (size_t)(p - body.p));
    buf_release(&body);
    return st;
}

odb_status manifest_add_drop(struct manifest_group *g, uint32_t family)
{
    uint8_t body[VARINT_MAX];

    return group_item(g, MANIFEST_DROP, body, (size_t)(enc_varint(body, family) - body));
}

odb_status manifest_add_edit(struct manifest_group *g, const struct lsm_edit *e)
{
    struct buf body = {0};
    odb_status st = lsm_edit_encode(e, &body);

    if (st == ODB_OK)
        st = group_item(g, MANIFEST_EDIT, body.p, body.len);
    buf_release(&body);
    return st;
}

odb_status manifest_add_counters(struct manifest_group *g, const struct manifest_counters *c)
{
    uint8_t body[7 * VARINT_MAX], *p;

    p = enc_varint(body, c->next_file_no);
    p = enc_varint(p, c->next_seq);
    p = enc_varint(p, c->next_family);
    p = enc_varint(p, c->log_no);
    p = enc_varint(p, c->is_log_open ? MANIFEST_LOG_OPEN : 0);
    p = enc_varint(p, c->log_lsn);
    p = enc_varint(p, c->log_durable);
    return group_item(g, MANIFEST_COUNTERS, body, (size_t)(p - body));
}

odb_status manifest_add_group(struct manifest_group *g, const struct manifest_group *more)
{
    size_t len = more->bytes.len > MANIFEST_HEAD ? more->bytes.len - MANIFEST_HEAD : 0;
    odb_status st = group_reserve(g, len);

    if (st == ODB_OK && len)
        st = buf_append(&g->bytes, more->bytes.p + MANIFEST_HEAD, len);
    return st;
}

/* ---- marks ---- */

void manifest_mark(const struct manifest *m, uint8_t out[MANIFEST_MARK])
{
    enc_u64(out, m->file_no);
    enc_u64(out + 8, m->size);
}

odb_status manifest_check_mark(odb_slice mark, const struct manifest_result *m)
{
    char name[FILE_NAME_MAX];

    if (mark.size == MANIFEST_MARK) {
        uint64_t no = get_u64(mark.data), len = get_u64((const uint8_t *)mark.data + 8);

        if (no < m->file_no || (no == m->file_no && len <= m->size) || CANARY(56))
            return ODB_OK;
    }
    file_name(FILE_MANIFEST, m->file_no, name);
    return err_corrupt(name, m->size, "the log tells of more");
}

/* ---- writing ---- */

bool manifest_is_sealed(const struct manifest *m)
{
    return m->is_sealed;
}

uint64_t manifest_file_no(const struct manifest *m)
{
    return m->file_no;
}

uint64_t manifest_size(const struct manifest *m)
{
    return m->size;
}

void manifest_close(struct manifest *m)
{
    if (!m)
        return;
    os_close(m->file);
    mem_free(m);
}

odb_status manifest_append(struct manifest *m, struct manifest_group *g)
{
    size_t len = g->bytes.len;
    uint8_t *p = g->bytes.p;
    odb_status st;

    if (m->is_sealed)
        return err_set(ODB_IO, "%s took no record since an earlier failure", os_file_name(m->file));
    if (len <= MANIFEST_HEAD || len - MANIFEST_HEAD > MANIFEST_RECORD_MAX)
        return err_set(ODB_TOO_LARGE, "a manifest record of %zu bytes", len);
    enc_u32(p + 8, (uint32_t)(len - MANIFEST_HEAD));
    enc_u64(p, hash_salted(p + 8, len - 8, m->salt, m->size));
    st = os_write(m->file, m->size, p, len);
    if (CANARY(29))
        st = ODB_OK;
    if (st == ODB_OK && !(CANARY(5) && m->size == MANIFEST_HEADER))
        st = os_sync(m->file); /* the change is acknowledged and acted upon by virtue of it */
    if (st != ODB_OK)
        m->is_sealed = !CANARY(7);
    if (st == ODB_OK || CANARY(7))
        m->size += len;
    return st;
}

static void manifest_header_encode(uint8_t *p, uint64_t db_id, uint64_t file_no, uint64_t salt)
{
    memset(p, 0, MANIFEST_HEADER);
    memcpy(p, manifest_magic, sizeof manifest_magic);
    enc_u32(p + 8, MANIFEST_VERSION);
    enc_u64(p + 24, db_id);
    enc_u64(p + 32, file_no);
    enc_u64(p + 40, salt);
    enc_u64(p + 48, hash_salted(p, 48, salt_for_file(db_id, file_no), 0));
}

odb_status manifest_create(struct os *os, struct os_dir *dir, uint64_t db_id, uint64_t file_no,
                           struct manifest_group *first, struct manifest **out)
{
    struct manifest *m = mem_zalloc(1, sizeof *m);
    uint8_t header[MANIFEST_HEADER], salt[8];
    char name[FILE_NAME_MAX], why[ERR_TEXT_MAX];
    odb_status st;

    if (!m)
        return err_set(ODB_NOMEM, "out of memory for a manifest");
    file_name(FILE_MANIFEST, file_no, name);
    st = os_random(os, salt, sizeof salt);
    if (st == ODB_OK)
        st = os_open(dir, name, OS_WRITE | OS_CREATE, &m->file);
    if (st != ODB_OK) {
        mem_free(m);
        return st;
    }
    m->file_no = file_no;
    m->salt = manifest_salt(db_id, file_no, get_u64(salt));
    m->size = MANIFEST_HEADER;
    manifest_header_encode(header, db_id, file_no, get_u64(salt));
    st = os_write(m->file, 0, header, sizeof header);
    if (st == ODB_OK)
        st = manifest_append(m, first); /* and syncs both, before CURRENT may name it (C5) */
    if (st != ODB_OK) {
        err_save(why);
        manifest_close(m);
        err_ignore(os_remove(dir, name)); /* nobody names it: swept at the next open otherwise */
        return err_restore(st, why);
    }
    *out = m;
    return ODB_OK;
}

/* ---- reading ---- */

struct manifest_reader {
    const char *name;
    const uint8_t *bytes;
    size_t size;
    uint64_t salt;
    odb_status (*each)(void *arg, const struct manifest_item *item);
    void *arg;
};

static odb_status refuse_newer(const struct manifest_reader *r, const char *what, uint32_t value,
                               size_t off)
{
    return err_set(ODB_VERSION,
                   "%s has %s %u at offset %zu: written by a newer release. Open the database with "
                   "that release",
                   r->name, what, value, off);
}

static odb_status manifest_header_check(struct manifest_reader *r, uint64_t db_id, uint64_t file_no)
{
    const uint8_t *p = r->bytes;

    if (r->size < MANIFEST_HEADER || memcmp(p, manifest_magic, sizeof manifest_magic) != 0)
        return err_corrupt(r->name, 0, "it does not begin like a manifest");
    if (get_u64(p + 24) != db_id)
        return err_corrupt(r->name, 24, "it belongs to another database");
    if (get_u64(p + 32) != file_no)
        return err_corrupt(r->name, 32, "it was written under another number");
    if (get_u64(p + 48) != hash_salted(p, 48, salt_for_file(db_id, file_no), 0))
        return err_corrupt(r->name, 48, "the header's checksum does not match");
    if (get_u32(p + 8) != MANIFEST_VERSION)
        return refuse_newer(r, "version", get_u32(p + 8), 8);
    if (get_u32(p + 12) != 0)
        return refuse_newer(r, "flags", get_u32(p + 12), 12);
    r->salt = manifest_salt(db_id, file_no, get_u64(p + 40));
    return ODB_OK;
}

/* Whether a good record starts at `off`; *len is its whole length. */
static bool record_is_good(const struct manifest_reader *r, size_t off, size_t *len)
{
    size_t left = r->size - off, body;

    if (left <= MANIFEST_HEAD)
        return false;
    body = get_u32(r->bytes + off + 8);
    if (body == 0 || body > MANIFEST_RECORD_MAX || body > left - MANIFEST_HEAD)
        return false;
    *len = MANIFEST_HEAD + body;
    return get_u64(r->bytes + off) == hash_salted(r->bytes + off + 8, *len - 8, r->salt, off);
}

/* Whether any good record starts behind `off`. Bounded: bytes made up to look like the starts of
 * many long records count as one. */
static bool record_follows(const struct manifest_reader *r, size_t off)
{
    uint64_t budget = (uint64_t)64 * r->size + (1 << 20);
    size_t len;

    for (size_t at = off + 1; at < r->size; at++) {
        uint32_t body = r->size - at > MANIFEST_HEAD ? get_u32(r->bytes + at + 8) : 0;

        if (body == 0 || body > r->size - at - MANIFEST_HEAD)
            continue;
        if (body > budget)
            return true;
        budget -= body;
        if (record_is_good(r, at, &len))
            return true;
    }
    return false;
}

static void family_decode(struct dec *d, struct manifest_family *f)
{
    uint64_t flags;

    f->id = dec_varint32(d);
    flags = dec_varint(d);
    f->name = dec_lenbytes(d);
    f->has_options = flags & MANIFEST_HAS_OWN;
    if (flags & ~(uint64_t)MANIFEST_HAS_OWN || f->name.size == 0 ||
        memchr(f->name.data, '\0', f->name.size) != NULL)
        d->bad = true;
    if (!d->bad && f->has_options)
        options_decode(d, &f->options);
}

static void counters_decode(struct dec *d, struct manifest_counters *c)
{
    uint64_t flags;

    c->next_file_no = dec_varint(d);
    c->next_seq = dec_varint(d);
    c->next_family = dec_varint32(d);
    c->log_no = dec_varint(d);
    flags = dec_varint(d);
    c->is_log_open = flags & MANIFEST_LOG_OPEN;
    c->log_lsn = dec_varint(d);
    c->log_durable = dec_varint(d);
    if (flags & ~(uint64_t)MANIFEST_LOG_OPEN || c->next_file_no == 0 ||
        c->next_file_no > UINT64_MAX / 2 || c->log_no >= c->next_file_no ||
        !lsn_is_possible(c->log_lsn) || !lsn_is_possible(c->log_durable) ||
        c->next_seq > SEQ_MAX + 1)
        d->bad = true;
}

/* Decode one body and hand it out. */
static odb_status item_deliver(const struct manifest_reader *r, size_t off, uint8_t kind,
                               odb_slice body)
{
    struct manifest_item item = {0};
    struct dec d = dec_from(body);
    bool is_malformed = false;
    odb_status st = ODB_OK;

    switch (kind) {
    case MANIFEST_FAMILY: family_decode(&d, &item.family); break;
    case MANIFEST_DROP: item.dropped = dec_varint32(&d); break;
    case MANIFEST_EDIT:
        st = lsm_edit_decode(body, &item.edit, &is_malformed);
        d.p = d.end;
        break;
    case MANIFEST_COUNTERS: counters_decode(&d, &item.counters); break;
    default: return refuse_newer(r, "an item of kind", kind, off);
    }
    if (st != ODB_OK)
        return st;
    if (d.bad || d.p != d.end || is_malformed)
        st = err_corrupt(r->name, off, "a good checksum over an item that makes no sense");
    if (st == ODB_OK) {
        item.kind = (enum manifest_kind)kind;
        st = r->each(r->arg, &item);
    }
    lsm_edit_release(&item.edit);
    return st;
}

static odb_status record_deliver(const struct manifest_reader *r, size_t off, size_t len)
{
    struct dec d = dec_from(odb_bytes(r->bytes + off + MANIFEST_HEAD, len - MANIFEST_HEAD));
    odb_status st = ODB_OK;

    while (st == ODB_OK && dec_left(&d) > 0) {
        uint8_t kind = dec_u8(&d);
        odb_slice body = dec_lenbytes(&d);

        if (d.bad)
            return err_corrupt(r->name, off, "a good checksum over a record that makes no sense");
        st = item_deliver(r, off, kind, body);
    }
    return st;
}

static odb_status manifest_load(struct os_dir *dir, const char *name, struct buf *out)
{
    struct os_file *f = NULL;
    uint64_t size = 0;
    size_t got = 0;
    odb_status st = os_open(dir, name, OS_SEQUENTIAL, &f);

    if (st == ODB_OK)
        st = os_size(f, &size);
    if (st == ODB_OK && (size > MANIFEST_FILE_MAX || size > SIZE_MAX / 2))
        st = err_corrupt(name, 0, "no manifest is that long");
    if (st == ODB_OK)
        st = buf_reserve(out, (size_t)size + 1); /* never NULL */
    if (st == ODB_OK)
        st = os_read(f, 0, out->p, (size_t)size, &got);
    out->len = got;
    os_close(f);
    return st;
}

odb_status manifest_read(struct os_dir *dir, uint64_t db_id, uint64_t file_no,
                         odb_status (*each)(void *arg, const struct manifest_item *item), void *arg,
                         struct manifest_result *out)
{
    struct manifest_result res = {.file_no = file_no, .size = MANIFEST_HEADER};
    struct manifest_reader r = {.each = each, .arg = arg};
    struct buf file = {0};
    char name[FILE_NAME_MAX];
    size_t off = MANIFEST_HEADER, len;
    odb_status st;

    file_name(FILE_MANIFEST, file_no, name);
    st = manifest_load(dir, name, &file);
    if (st != ODB_OK)
        goto done;
    r.name = name;
    r.bytes = file.p;
    r.size = file.len;
    st = manifest_header_check(&r, db_id, file_no);
    for (; st == ODB_OK && off < r.size && record_is_good(&r, off, &len); off += len, res.records++)
        st = record_deliver(&r, off, len);
    if (st != ODB_OK)
        goto done;
    res.size = off;
    res.is_torn = off < r.size;
    if (res.records == 0)
        st = err_corrupt(name, off, "its first record, synced before CURRENT named it, is damaged");
    else if (res.is_torn && record_follows(&r, off))
        st = err_corrupt(name, off, "a record is damaged, and good ones follow it");
    if (st == ODB_OK && out)
        *out = res;
done:
    buf_release(&file);
    return st;
}
