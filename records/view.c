/* records/view.c -- one record, exactly as it lies in the family "records" under its id. All numbers
 * little-endian, nothing aligned.
 *
 *    0      1       2       4           8            16           20            22   24
 *    +------+-------+-------+-----------+------------+------------+-------------+----+------------
 *    | kind |version| flags | total_len | timestamp  | importance | field_count | 0  | table | heap
 *    +------+-------+-------+-----------+------------+------------+-------------+----+------------
 *    kind         odb_record_kind, from 1
 *    version      1
 *    flags        REC_FLAG_...; an unknown one is kept, bit 15 says that it must not be ignored
 *    total_len    bytes of the whole, u32
 *    timestamp    microseconds since 1970, i64
 *    importance   f32, 0 to 1
 *    table        field_count entries of  id u16 | type u16 | end u32
 *                 bit 15 of an id: a reader that does not know the field must refuse the record
 *    heap         the fields, one behind the other; `end` counts from the start of the record
 *
 *    id  1 content  text or bytes      6 parent       bytes      10 status   u8
 *        2 props    see props.c        7 start        u64        11 .. 0x3FFF  later releases
 *        3 filename text               8 end          u64        0x4000 .. 0x7FFF  applications
 *        4 file_type u8                9 chunk_count  u32
 *        5 file_size u64
 *
 * A field begins where the one before it ends (the first one right behind the table), so no two can
 * overlap, nothing can point backwards, and checking is one comparison each.
 *
 * 1. Ids rise strictly; the last field ends where the record ends.
 * 2. The same record gives the same bytes, whatever order its properties and fields came in.
 * 3. A field whose id this release does not know is passed over by readers and copied by writers: an
 *    older library does not destroy what a newer one has stored.
 */
#include "records/view.h"

#include <math.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "records/utf8.h"

#define REC_HEADER   24u
#define REC_ENTRY    8u
#define REC_VERSION  1u
#define REC_CRITICAL 0x8000u /* in the id of a field */
#define REC_LEN_MAX  ((size_t)1 << 30)

static float view_f32(const uint8_t *p)
{
    uint32_t u = get_u32(p);
    float v;

    memcpy(&v, &u, sizeof v);
    return v;
}

/* The type a field of the library has; 0: any of odb_prop_type. *is_known: this release knows it. */
static uint32_t field_type(uint32_t id, bool *is_known)
{
    static const uint8_t types[] = {0,
                                    0, /* content: text or bytes */
                                    REC_TYPE_PROPS,
                                    ODB_PROP_TEXT,
                                    REC_TYPE_U8,
                                    REC_TYPE_U64,
                                    ODB_PROP_BYTES,
                                    REC_TYPE_U64,
                                    REC_TYPE_U64,
                                    REC_TYPE_U32,
                                    REC_TYPE_U8};

    *is_known = (id > 0 && id < sizeof types) || id >= ODB_FIELD_APPLICATION;
    return id < sizeof types ? types[id] : 0;
}

/* A field of a known id. NULL: sound. */
static const char *check_field(uint32_t id, uint32_t type, odb_slice bytes)
{
    const uint8_t *p = bytes.data;
    bool is_known;
    uint32_t want = field_type(id, &is_known);
    size_t len = 0;
    uint64_t u;
    double real;

    if (want && type != want)
        return "a field of a wrong type";
    if (id == REC_FIELD_CONTENT)
        return type == ODB_PROP_BYTES || type == ODB_PROP_TEXT ? NULL : "content of a wrong type";
    switch (type) {
    case REC_TYPE_PROPS: return NULL; /* its own check follows */
    case REC_TYPE_U8:
    case ODB_PROP_BOOL: len = 1; break;
    case REC_TYPE_U32: len = 4; break;
    case REC_TYPE_U64:
    case ODB_PROP_INT:
    case ODB_PROP_REAL: len = 8; break;
    case ODB_PROP_NULL: break;
    case ODB_PROP_TEXT:
    case ODB_PROP_BYTES:
    case ODB_PROP_JSON: return NULL;
    default: return "a field of an unknown type";
    }
    if (bytes.size != len)
        return "a field of a wrong size";
    if (type == ODB_PROP_BOOL && *p > 1)
        return "a boolean field that is neither true nor false";
    if (type == REC_TYPE_U64 && get_u64(p) > INT64_MAX)
        return "a number that is too large";
    if (type == ODB_PROP_REAL) {
        u = get_u64(p);
        memcpy(&real, &u, sizeof real);
        if (!isfinite(real))
            return "a real field that is not finite";
    }
    return NULL;
}

/* The header; *end is where the table behind it ends and the first field begins. */
static odb_status open_header(struct rec_view *v, uint32_t *end, const char **what, size_t *off)
{
    const uint8_t *base = v->bytes.data;

    *off = 0;
    *what = "shorter than its header";
    if (v->bytes.size < REC_HEADER)
        return ODB_CORRUPT;
    *off = 1;
    *what = "a version this release does not know";
    if (base[1] != REC_VERSION)
        return base[1] > REC_VERSION ? ODB_VERSION : ODB_CORRUPT;
    v->kind = base[0];
    *off = 0;
    *what = "of kind 0";
    if (v->kind == 0)
        return ODB_CORRUPT;
    v->flags = get_u16(base + 2);
    *off = 2;
    *what = "of a newer form";
    if (v->flags & (REC_FLAG_CRITICAL | REC_FLAG_COMPRESSED))
        return ODB_VERSION;
    *what = "not marked as in order";
    if (!(v->flags & REC_FLAG_SORTED))
        return ODB_CORRUPT;
    *off = 4;
    *what = "of another length than it says";
    if (get_u32(base + 4) != v->bytes.size)
        return ODB_CORRUPT;
    v->timestamp = (int64_t)get_u64(base + 8);
    v->importance = view_f32(base + 16);
    *off = 16;
    *what = "of an importance that is none";
    if (!(v->importance >= 0 && v->importance <= 1))
        return ODB_CORRUPT;
    v->field_count = get_u16(base + 20);
    *off = 20;
    *what = "shorter than its table";
    if ((v->bytes.size - REC_HEADER) / REC_ENTRY < v->field_count)
        return ODB_CORRUPT;
    *off = 22;
    *what = "with bytes that must be zero";
    if (get_u16(base + 22) != 0)
        return ODB_CORRUPT;
    v->table = base + REC_HEADER;
    *end = REC_HEADER + v->field_count * REC_ENTRY;
    return ODB_OK;
}

/* Field `i`, which begins at *end behind field *last_id; both move to the next one. */
static odb_status open_field(struct rec_view *v, uint32_t i, uint32_t *last_id, uint32_t *end,
                             const char **what, size_t *off)
{
    const uint8_t *base = v->bytes.data, *entry = v->table + i * REC_ENTRY;
    uint32_t id = get_u16(entry), type = get_u16(entry + 2), next = get_u32(entry + 4);
    bool is_critical = id & REC_CRITICAL, is_known;
    odb_slice field;
    const char *bad;

    id &= ~REC_CRITICAL;
    *off = (size_t)(entry - base);
    *what = "with fields out of order";
    if (id <= *last_id)
        return ODB_CORRUPT;
    *what = "with a field that ends outside it";
    if (next < *end || next > v->bytes.size)
        return ODB_CORRUPT;
    field = odb_bytes(base + *end, next - *end);
    (void)field_type(id, &is_known);
    *what = "with a field that this release must not ignore";
    if (is_critical && !is_known)
        return ODB_VERSION;
    if (is_known && (bad = check_field(id, type, field)) != NULL) {
        *what = bad;
        return ODB_CORRUPT;
    }
    if (id == REC_FIELD_CONTENT)
        v->content = field;
    if (id == REC_FIELD_PROPS && (bad = rec_props_open(field, &v->props)) != NULL) {
        *off = *end;
        *what = bad;
        return ODB_CORRUPT;
    }
    *last_id = id;
    *end = next;
    return ODB_OK;
}

odb_status rec_view_open(odb_slice bytes, struct rec_view *out, const char **what, size_t *off)
{
    struct rec_view v = {.bytes = bytes};
    uint32_t end = 0, last_id = 0;
    odb_status st = open_header(&v, &end, what, off);

    for (uint32_t i = 0; st == ODB_OK && i < v.field_count; i++)
        st = open_field(&v, i, &last_id, &end, what, off);
    if (st != ODB_OK)
        return st;
    *off = end;
    *what = "with bytes behind its last field";
    if (end != bytes.size)
        return ODB_CORRUPT;
    *out = v;
    return ODB_OK;
}

odb_status rec_view_complain(odb_status st, odb_slice id, const char *what, size_t off)
{
    int shown = (int)(id.size < 128 ? id.size : 128);

    if (st == ODB_CORRUPT)
        return err_set(
            st,
            "record '%.*s' is corrupt at offset %zu: %s. ODB_OVER_DAMAGE writes over it; "
            "'odb verify' shows whether the files are sound",
            shown, (const char *)id.data, off, what);
    return err_set(st, "record '%.*s' is %s (offset %zu); open it with a newer release", shown,
                   (const char *)id.data, what, off);
}

void rec_view_field_at(const struct rec_view *v, uint32_t i, uint32_t *id, uint32_t *type,
                       odb_slice *bytes)
{
    const uint8_t *entry = v->table + i * REC_ENTRY;
    const uint8_t *base = v->bytes.data;
    uint32_t from = i ? get_u32(entry - 4) : REC_HEADER + v->field_count * REC_ENTRY;

    *id = get_u16(entry) & ~REC_CRITICAL;
    *type = get_u16(entry + 2);
    *bytes = odb_bytes(base + from, get_u32(entry + 4) - from);
}

/* Of a type and size that were checked. */
static bool field_value(uint32_t type, odb_slice bytes, odb_prop_value *out)
{
    const uint8_t *p = bytes.data;
    uint64_t u;

    memset(out, 0, sizeof *out);
    out->type = type < REC_TYPE_PROPS ? (odb_prop_type)type : ODB_PROP_INT;
    switch (type) {
    case ODB_PROP_NULL: return true;
    case ODB_PROP_BOOL: out->u.boolean = *p != 0; return true;
    case ODB_PROP_REAL:
        u = get_u64(p);
        memcpy(&out->u.real, &u, sizeof u);
        return true;
    case ODB_PROP_TEXT:
    case ODB_PROP_BYTES:
    case ODB_PROP_JSON: out->u.bytes = bytes; return true;
    case REC_TYPE_U8: out->u.integer = *p; return true;
    case REC_TYPE_U32: out->u.integer = get_u32(p); return true;
    case ODB_PROP_INT:
    case REC_TYPE_U64: out->u.integer = (int64_t)get_u64(p); return true;
    default: return false;
    }
}

bool rec_view_field(const struct rec_view *v, uint32_t id, odb_prop_value *out)
{
    for (uint32_t i = 0; i < v->field_count; i++) {
        uint32_t at, type;
        odb_slice bytes;
        bool is_known;

        rec_view_field_at(v, i, &at, &type, &bytes);
        if (at < id)
            continue;
        (void)field_type(at, &is_known);
        return at == id && is_known && field_value(type, bytes, out);
    }
    return false;
}

/* ---- writing ---- */

odb_status rec_importance_clamp(float given, float *out)
{
    if (isnan(given))
        return err_set(ODB_INVALID, "importance is not a number");
    *out = given < 0 ? 0 : given > 1 ? 1 : given;
    if (*out == 0)
        *out = 0; /* no negative zero */
    return ODB_OK;
}

struct spec_field {
    uint32_t id; /* with its critical bit */
    uint32_t type;
    odb_slice bytes;
    uint8_t number[8];
    bool is_number; /* the bytes are in `number` */
};

#define SPEC_FEW 16u   /* without memory of their own */
#define SPEC_MAX 1024u /* fields given in one call */

/* Check a field given by the caller and put it into its stored form. */
static odb_status field_prepare(const odb_field *f, struct spec_field *out)
{
    bool is_known;
    uint32_t want = field_type(f->id, &is_known);
    const odb_prop_value *v = &f->value;
    odb_prop as_prop = {odb_s("field"), *v};
    uint64_t max = want == REC_TYPE_U8 ? UINT8_MAX : want == REC_TYPE_U32 ? UINT32_MAX : INT64_MAX;
    uint64_t u = 0;
    odb_status st;

    if (f->id <= REC_FIELD_PROPS || !is_known || f->id > ODB_FIELD_LAST)
        return err_set(ODB_INVALID, "there is no field %u to be set", (unsigned)f->id);
    if (want >= REC_TYPE_U8 ? v->type != ODB_PROP_INT : want && v->type != want)
        return err_set(ODB_INVALID, "field %u is of another type", (unsigned)f->id);
    st = rec_prop_check(&as_prop);
    if (st != ODB_OK)
        return st;
    memset(out, 0, sizeof *out);
    out->id = f->id;
    out->type = want ? want : (uint32_t)v->type;
    switch (v->type) {
    case ODB_PROP_NULL: break;
    case ODB_PROP_BOOL: u = v->u.boolean; break;
    case ODB_PROP_INT:
        if (want && (v->u.integer < 0 || (uint64_t)v->u.integer > max))
            return err_set(ODB_INVALID, "field %u is out of range", (unsigned)f->id);
        u = (uint64_t)v->u.integer;
        break;
    case ODB_PROP_REAL: memcpy(&u, &v->u.real, sizeof u); break;
    default: out->bytes = v->u.bytes; return ODB_OK;
    }
    enc_u64(out->number, u);
    out->is_number = true;
    switch (out->type) {
    case ODB_PROP_NULL: break;
    case ODB_PROP_BOOL:
    case REC_TYPE_U8: out->bytes.size = 1; break;
    case REC_TYPE_U32: out->bytes.size = 4; break;
    default: out->bytes.size = 8; break;
    }
    return ODB_OK;
}

static bool spec_has_field(const struct rec_spec *spec, uint32_t id)
{
    for (size_t i = 0; i < spec->field_count; i++)
        if (spec->fields[i].id == id)
            return true;
    return false;
}

/* All fields, by rising id. `f` has room for them. */
static odb_status spec_gather(const struct rec_spec *spec, struct spec_field *f, size_t *count)
{
    size_t n = 0;
    odb_status st;

    if (spec->content.size) {
        memset(&f[n], 0, sizeof f[n]);
        f[n].id = REC_FIELD_CONTENT;
        f[n].type = ODB_PROP_BYTES;
        f[n++].bytes = spec->content;
    }
    if (spec->props.size) {
        memset(&f[n], 0, sizeof f[n]);
        f[n].id = REC_FIELD_PROPS;
        f[n].type = REC_TYPE_PROPS;
        f[n++].bytes = spec->props;
    }
    for (size_t i = 0; i < spec->field_count; i++, n++) {
        st = field_prepare(&spec->fields[i], &f[n]);
        if (st != ODB_OK)
            return st;
    }
    for (uint32_t i = 0; spec->old && i < spec->old->field_count; i++) {
        uint32_t id, type;
        odb_slice bytes;
        bool is_known;

        rec_view_field_at(spec->old, i, &id, &type, &bytes);
        (void)field_type(id, &is_known);
        if (id <= REC_FIELD_PROPS || (spec->only_unknown && is_known) || spec_has_field(spec, id))
            continue;
        memset(&f[n], 0, sizeof f[n]);
        f[n].id = get_u16(spec->old->table + i * REC_ENTRY);
        f[n].type = type;
        f[n++].bytes = bytes;
    }
    for (size_t i = 1; i < n; i++) { /* few, and mostly in order */
        struct spec_field one = f[i];
        size_t j = i;

        for (; j > 0 && (f[j - 1].id & ~REC_CRITICAL) > (one.id & ~REC_CRITICAL); j--)
            f[j] = f[j - 1];
        f[j] = one;
    }
    for (size_t i = 1; i < n; i++)
        if ((f[i - 1].id & ~REC_CRITICAL) == (f[i].id & ~REC_CRITICAL))
            return err_set(ODB_INVALID, "field %u is given twice", (unsigned)f[i].id);
    *count = n;
    return ODB_OK;
}

static odb_status spec_encode(struct buf *b, const struct rec_spec *spec,
                              const struct spec_field *f, size_t count)
{
    size_t len = REC_HEADER + count * REC_ENTRY;
    uint8_t *p, *entry;
    uint32_t bits;

    for (size_t i = 0; i < count; i++) {
        if (f[i].bytes.size > REC_LEN_MAX - len)
            return err_set(ODB_TOO_LARGE, "a record over 1 GiB");
        len += f[i].bytes.size;
    }
    buf_reset(b);
    if (buf_reserve(b, len) != ODB_OK)
        return ODB_NOMEM;
    p = b->p;
    p[0] = spec->kind;
    p[1] = REC_VERSION;
    enc_u16(p + 2, (uint16_t)(spec->flags | REC_FLAG_SORTED));
    enc_u32(p + 4, (uint32_t)len);
    enc_u64(p + 8, (uint64_t)spec->timestamp);
    memcpy(&bits, &spec->importance, sizeof bits);
    enc_u32(p + 16, bits);
    enc_u16(p + 20, (uint16_t)count);
    enc_u16(p + 22, 0);
    entry = p + REC_HEADER;
    p = entry + count * REC_ENTRY;
    for (size_t i = 0; i < count; i++, entry += REC_ENTRY) {
        if (f[i].bytes.size)
            memcpy(p, f[i].is_number ? f[i].number : f[i].bytes.data, f[i].bytes.size);
        p += f[i].bytes.size;
        enc_u16(entry, (uint16_t)f[i].id);
        enc_u16(entry + 2, (uint16_t)f[i].type);
        enc_u32(entry + 4, (uint32_t)(p - b->p));
    }
    b->len = len;
    return ODB_OK;
}

odb_status rec_spec_write(struct buf *b, const struct rec_spec *spec)
{
    struct spec_field few[SPEC_FEW], *f = few;
    size_t room = 2 + spec->field_count + (spec->old ? spec->old->field_count : 0), count = 0;
    odb_status st;

    if (spec->field_count > SPEC_MAX)
        return err_set(ODB_TOO_LARGE, "%zu fields in one record", spec->field_count);
    if (room > SPEC_FEW)
        f = mem_array(room, sizeof *f);
    if (!f)
        return err_set(ODB_NOMEM, "no memory for the fields of a record");
    st = spec_gather(spec, f, &count);
    if (st == ODB_OK && count > UINT16_MAX)
        st = err_set(ODB_TOO_LARGE, "%zu fields in one record", count);
    if (st == ODB_OK)
        st = spec_encode(b, spec, f, count);
    if (f != few)
        mem_free(f);
    return st;
}
