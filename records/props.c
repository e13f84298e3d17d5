/* records/props.c -- a set of properties as bytes.
 *
 *     0         4                     4+12n
 *     +---------+---------------------+--------------------------------------+
 *     | n       | n entries           | heap: name 0, value 0, name 1, ...   |
 *     +---------+---------------------+--------------------------------------+
 *     entry     name_end u32 | value_end u32 | type u8 | three zeros
 *
 * Ends count from the start of the heap. Where a name or value begins is where the one before it ends,
 * so no two can overlap, and checking is one comparison each.
 *
 * 1. Names rise strictly, as bytes: a name is found by halving.
 * 2. The last value ends where the block ends.
 * 3. Values: null nothing, bool one byte 0 or 1, integer and real eight bytes little-endian (a real
 *    is finite), text, bytes and JSON as they are.
 * 4. The same set gives the same bytes, whatever the order it came in.
 */
#include "records/props.h"

#include <math.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "records/json.h"
#include "records/utf8.h"

#define PROP_ENTRY 12u

static uint32_t prop_name_end(const struct rec_props *p, uint32_t i)
{
    return get_u32(p->table + (size_t)i * PROP_ENTRY);
}

static uint32_t prop_value_end(const struct rec_props *p, uint32_t i)
{
    return get_u32(p->table + (size_t)i * PROP_ENTRY + 4);
}

static odb_slice prop_name(const struct rec_props *p, uint32_t i)
{
    uint32_t from = i ? prop_value_end(p, i - 1) : 0;

    return odb_bytes(p->heap + from, prop_name_end(p, i) - from);
}

static double prop_real(const uint8_t *p)
{
    uint64_t u = get_u64(p);
    double v;

    memcpy(&v, &u, sizeof v);
    return v;
}

static const char *prop_check_value(uint8_t type, const uint8_t *p, size_t len)
{
    switch (type) {
    case ODB_PROP_NULL: return len == 0 ? NULL : "a null property with a value";
    case ODB_PROP_BOOL:
        return len == 1 && *p <= 1 ? NULL : "a boolean property that is neither true nor false";
    case ODB_PROP_INT: return len == 8 ? NULL : "an integer property of a wrong size";
    case ODB_PROP_REAL:
        return len == 8 && isfinite(prop_real(p)) ? NULL
                                                  : "a real property of a wrong size or not finite";
    case ODB_PROP_TEXT:
    case ODB_PROP_BYTES:
    case ODB_PROP_JSON: return NULL;
    default: return "a property of an unknown type";
    }
}

const char *rec_props_open(odb_slice bytes, struct rec_props *out)
{
    struct rec_props p;
    size_t room;
    uint32_t at = 0;
    odb_slice last = {NULL, 0};

    if (bytes.size < 4)
        return "properties shorter than their count";
    p.table = (const uint8_t *)bytes.data + 4;
    p.count = get_u32(bytes.data);
    if (p.count > ODB_PROP_MAX || (bytes.size - 4) / PROP_ENTRY < p.count)
        return "more properties than there is room for";
    p.heap = p.table + (size_t)p.count * PROP_ENTRY;
    room = bytes.size - 4 - (size_t)p.count * PROP_ENTRY;
    for (uint32_t i = 0; i < p.count; i++) {
        const uint8_t *entry = p.table + (size_t)i * PROP_ENTRY;
        uint32_t name_end = get_u32(entry), value_end = get_u32(entry + 4);
        const char *bad;
        odb_slice name;

        if (name_end < at || value_end < name_end || value_end > room)
            return "a property that ends outside its block";
        if (entry[9] || entry[10] || entry[11])
            return "a property entry with bytes that must be zero";
        name = odb_bytes(p.heap + at, name_end - at);
        if (name.size == 0 || name.size > ODB_PROP_NAME_MAX)
            return "a property name of a wrong size";
        if (i && odb_slice_compare(last, name) >= 0)
            return "property names out of order";
        bad = prop_check_value(entry[8], p.heap + name_end, value_end - name_end);
        if (bad)
            return bad;
        last = name;
        at = value_end;
    }
    if (at != room)
        return "bytes behind the last property";
    *out = p;
    return NULL;
}

static void prop_value(const struct rec_props *p, uint32_t i, odb_prop_value *out)
{
    const uint8_t *v = p->heap + prop_name_end(p, i);
    uint8_t type = p->table[(size_t)i * PROP_ENTRY + 8];
    uint64_t u;

    memset(out, 0, sizeof *out);
    out->type = (odb_prop_type)type;
    switch (type) {
    case ODB_PROP_BOOL: out->u.boolean = *v != 0; break;
    case ODB_PROP_INT:
        u = get_u64(v);
        memcpy(&out->u.integer, &u, sizeof u);
        break;
    case ODB_PROP_REAL: out->u.real = prop_real(v); break;
    case ODB_PROP_NULL: break;
    default: out->u.bytes = odb_bytes(v, prop_value_end(p, i) - prop_name_end(p, i)); break;
    }
}

void rec_props_at(const struct rec_props *props, uint32_t i, odb_prop *out)
{
    out->name = prop_name(props, i);
    prop_value(props, i, &out->value);
}

bool rec_props_find(const struct rec_props *props, odb_slice name, odb_prop_value *out)
{
    uint32_t low = 0, high = props->count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c = odb_slice_compare(prop_name(props, mid), name);

        if (c == 0) {
            prop_value(props, mid, out);
            return true;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

/* ---- writing ---- */

/* For messages: as much of a name as a line bears. */
#define NAME_SHOWN(s) (int)((s).size < 64 ? (s).size : 64), (const char *)(s).data

odb_status rec_prop_check(const odb_prop *prop)
{
    const odb_slice *s = &prop->value.u.bytes;
    const char *bad;
    size_t at;
    odb_status st;

    if (prop->name.size == 0 || prop->name.size > ODB_PROP_NAME_MAX || !prop->name.data)
        return err_set(ODB_INVALID, "a property name of %zu bytes; 1 to %d are possible",
                       prop->name.size, ODB_PROP_NAME_MAX);
    if (!utf8_is_valid(prop->name))
        return err_set(ODB_INVALID, "a property name is not UTF-8");
    switch (prop->value.type) {
    case ODB_PROP_NULL:
    case ODB_PROP_BOOL:
    case ODB_PROP_INT: return ODB_OK;
    case ODB_PROP_REAL:
        if (isfinite(prop->value.u.real))
            return ODB_OK;
        return err_set(ODB_INVALID, "property %.*s is not a finite number", NAME_SHOWN(prop->name));
    case ODB_PROP_TEXT:
    case ODB_PROP_BYTES:
    case ODB_PROP_JSON: break;
    default:
        return err_set(ODB_INVALID, "property %.*s has type %d, which does not exist",
                       NAME_SHOWN(prop->name), (int)prop->value.type);
    }
    if (!s->data && s->size)
        return err_set(ODB_INVALID, "property %.*s has a size and no bytes",
                       NAME_SHOWN(prop->name));
    if (prop->value.type == ODB_PROP_TEXT && !utf8_is_valid(*s))
        return err_set(ODB_INVALID, "property %.*s is not UTF-8; store it as bytes",
                       NAME_SHOWN(prop->name));
    st = prop->value.type == ODB_PROP_JSON ? json_check(*s, &bad, &at) : ODB_OK;
    if (st == ODB_INVALID)
        return err_set(ODB_INVALID, "property %.*s is not JSON: %s, at byte %zu",
                       NAME_SHOWN(prop->name), bad, at);
    return st;
}

static size_t prop_value_len(const odb_prop_value *v)
{
    switch (v->type) {
    case ODB_PROP_NULL: return 0;
    case ODB_PROP_BOOL: return 1;
    case ODB_PROP_INT:
    case ODB_PROP_REAL: return 8;
    default: return v->u.bytes.size;
    }
}

static uint8_t *prop_write_value(uint8_t *p, const odb_prop_value *v)
{
    uint64_t u;

    switch (v->type) {
    case ODB_PROP_NULL: return p;
    case ODB_PROP_BOOL: *p = v->u.boolean; return p + 1;
    case ODB_PROP_INT: enc_u64(p, (uint64_t)v->u.integer); return p + 8;
    case ODB_PROP_REAL:
        memcpy(&u, &v->u.real, sizeof u);
        enc_u64(p, u);
        return p + 8;
    default:
        if (v->u.bytes.size)
            memcpy(p, v->u.bytes.data, v->u.bytes.size);
        return p + v->u.bytes.size;
    }
}

/* Append the block of properties that are checked and in order. */
static odb_status props_write(struct buf *b, const odb_prop *const *sorted, size_t count)
{
    size_t heap = 0;
    uint8_t *entry, *p, *base;
    odb_status st;

    if (count > ODB_PROP_MAX)
        return err_set(ODB_TOO_LARGE, "%zu properties; at most %d are possible", count,
                       ODB_PROP_MAX);
    for (size_t i = 0; i < count; i++) {
        if (i && odb_slice_equal(sorted[i - 1]->name, sorted[i]->name))
            return err_set(ODB_INVALID, "property %.*s is given twice",
                           NAME_SHOWN(sorted[i]->name));
        heap += sorted[i]->name.size;
        if (prop_value_len(&sorted[i]->value) > (size_t)UINT32_MAX / 2 - heap)
            return err_set(ODB_TOO_LARGE, "the properties are over 2 GiB");
        heap += prop_value_len(&sorted[i]->value);
    }
    st = buf_reserve(b, 4 + count * PROP_ENTRY + heap);
    if (st != ODB_OK)
        return st;
    enc_u32(b->p + b->len, (uint32_t)count);
    entry = b->p + b->len + 4;
    base = p = entry + count * PROP_ENTRY;
    for (size_t i = 0; i < count; i++, entry += PROP_ENTRY) {
        memcpy(p, sorted[i]->name.data, sorted[i]->name.size);
        p += sorted[i]->name.size;
        enc_u32(entry, (uint32_t)(p - base));
        p = prop_write_value(p, &sorted[i]->value);
        enc_u32(entry + 4, (uint32_t)(p - base));
        enc_u32(entry + 8, (uint32_t)sorted[i]->value.type);
    }
    b->len = (size_t)(p - b->p);
    return ODB_OK;
}

#define PROPS_FEW 16u /* sorted without memory of their own */

/* Sort by merging halves; `room` has as many places. Equal names stay in the order they came in. */
static void props_sort(const odb_prop **a, const odb_prop **room, size_t count)
{
    size_t half = count / 2, i = 0, j = half, k = 0;

    if (count <= 8) {
        for (i = 1; i < count; i++) {
            const odb_prop *one = a[i];

            for (j = i; j > 0 && odb_slice_compare(a[j - 1]->name, one->name) > 0; j--)
                a[j] = a[j - 1];
            a[j] = one;
        }
        return;
    }
    props_sort(a, room, half);
    props_sort(a + half, room, count - half);
    memcpy(room, a, half * sizeof *a);
    while (i < half && j < count)
        a[k++] = odb_slice_compare(room[i]->name, a[j]->name) <= 0 ? room[i++] : a[j++];
    memcpy(a + k, room + i, (half - i) * sizeof *a);
}

odb_status rec_props_append(struct buf *b, const odb_prop *props, size_t count)
{
    const odb_prop *few[2 * PROPS_FEW];
    const odb_prop **sorted = few;
    odb_status st = ODB_OK;

    if (count > PROPS_FEW)
        sorted = mem_array(count, 2 * sizeof(const odb_prop *));
    if (!sorted)
        return err_set(ODB_NOMEM, "no memory to sort %zu properties", count);
    for (size_t i = 0; st == ODB_OK && i < count; i++) {
        sorted[i] = &props[i];
        st = rec_prop_check(&props[i]);
    }
    if (st == ODB_OK) {
        props_sort(sorted, sorted + count, count);
        st = props_write(b, sorted, count);
    }
    if (sorted != few)
        mem_free(sorted);
    return st;
}

static bool props_has_name(const odb_prop *props, size_t count, odb_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (odb_slice_equal(props[i].name, name))
            return true;
    return false;
}

static bool props_is_unset(const odb_slice *unset, size_t count, odb_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (odb_slice_equal(unset[i], name))
            return true;
    return false;
}

odb_status rec_props_merge(struct buf *b, const struct rec_props *old, const odb_prop *set,
                           size_t set_count, const odb_slice *unset, size_t unset_count)
{
    odb_prop *all;
    size_t count = 0;
    odb_status st;

    for (size_t i = 0; i < unset_count; i++)
        if (props_has_name(set, set_count, unset[i]))
            return err_set(ODB_INVALID, "property %.*s is both set and removed",
                           NAME_SHOWN(unset[i]));
    if (set_count > ODB_PROP_MAX)
        return err_set(ODB_TOO_LARGE, "%zu properties; at most %d are possible", set_count,
                       ODB_PROP_MAX);
    all = mem_array(old->count + set_count + 1, sizeof *all);
    if (!all)
        return err_set(ODB_NOMEM, "no memory for the properties of a record");
    for (uint32_t i = 0; i < old->count; i++) {
        rec_props_at(old, i, &all[count]);
        if (!props_has_name(set, set_count, all[count].name) &&
            !props_is_unset(unset, unset_count, all[count].name))
            count++;
    }
    if (set_count)
        memcpy(all + count, set, set_count * sizeof *set);
    st = rec_props_append(b, all, count + set_count);
    mem_free(all);
    return st;
}
