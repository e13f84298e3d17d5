/* vector/rows.c -- the rows of an index.
 *
 * vector_data: id -> what was stored, and which node stands for it
 *
 *    0    1     2      4       8       12            32
 *    +----+-----+------+-------+-------+-------------+------------+
 *    | 1  | 1   | dim  | nid   | norm  | zero ...    | dim floats |
 *    +----+-----+------+-------+-------+-------------+------------+
 *    version; type of the numbers (1: 32-bit floats); dimension u16; node id u32; length of the vector
 *    f32. Little-endian.
 *
 * vector_index: the graph, and what it has not caught up with
 *
 *    M            -> | 1 | metric | m u16 | dim u32 | entry nid u32 | seed u64 | nodes u64 |
 *    N nid        -> | 1 | levels above 0 | for each level from 0: count, first id, differences ... |
 *    P nid        -> id      this vector is not in the graph yet
 *    X nid        -> empty   the vector of this node was deleted or replaced
 *
 *    nid is big-endian; counts, ids and differences of the sorted ids are varints. The level of a node
 *    follows from its nid and the seed; the row says it once more, to be checked.
 *
 * 1. Rows N, M and the removal of markers are written in one batch: the stored graph is always whole.
 *    Where there is more than fits a batch, M is removed first and written last.
 * 2. A node whose vector is in vector_data is in N or in P; a node in N is in vector_data or in X.
 */
#include "vector/rows.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "records/json.h"

#define ROW_VERSION 1
#define TYPE_F32    1

static uint32_t float_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

static float bits_float(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

const char *vec_data_read(odb_slice value, struct vec_data *out)
{
    struct dec d = dec_from(value);
    struct vec_data v;
    uint8_t version = dec_u8(&d), type = dec_u8(&d);
    uint32_t odd[8] = {0};
    uint32_t i = 0;

    v.dim = dec_u16(&d);
    v.nid = dec_u32(&d);
    v.norm = bits_float(dec_u32(&d));
    (void)dec_u32(&d);
    (void)dec_u64(&d);
    (void)dec_u64(&d);
    if (d.bad)
        return "vector row shorter than its header";
    if (version != ROW_VERSION || type != TYPE_F32)
        return "vector row of an unknown kind";
    if (v.dim == 0 || dec_left(&d) != (size_t)v.dim * sizeof(float))
        return "vector row length";
    if (v.nid >= VEC_SLOTS_MAX)
        return "vector row node";
    if (!(v.norm >= 0 && v.norm < INFINITY))
        return "vector row norm";
    v.floats = d.p;
    /* Infinities and what is no number have all bits of the exponent: one more overflows it. */
    for (; i + 8 <= v.dim; i += 8)
        for (uint32_t k = 0; k < 8; k++)
            odd[k] |= (get_u32(v.floats + (i + k) * sizeof(float)) & 0x7fffffff) + 0x800000;
    for (; i < v.dim; i++)
        odd[0] |= (get_u32(v.floats + i * sizeof(float)) & 0x7fffffff) + 0x800000;
    for (uint32_t k = 1; k < 8; k++)
        odd[0] |= odd[k];
    if (odd[0] >> 31)
        return "vector row holds what is no number";
    *out = v;
    return NULL;
}

bool vec_data_node(odb_slice value, uint32_t *nid)
{
    const uint8_t *p = value.data;

    if (value.size <= VEC_DATA_HEAD || p[0] != ROW_VERSION || p[1] != TYPE_F32)
        return false;
    *nid = get_u32(p + 4);
    return *nid < VEC_SLOTS_MAX;
}

void vec_data_floats(const struct vec_data *d, float *out)
{
    const uint32_t one = 1;
    uint8_t first;

    if (d->dim == 0) /* only its length was asked for, and `out` may be NULL */
        return;
    memcpy(&first, &one, 1);
    if (first) { /* this machine's order is that of the row */
        memcpy(out, d->floats, d->dim * sizeof *out);
        return;
    }
    for (uint32_t i = 0; i < d->dim; i++)
        out[i] = bits_float(get_u32(d->floats + i * sizeof(float)));
}

odb_status vec_data_write(struct buf *b, const float *x, uint32_t dim, uint32_t nid, float norm)
{
    size_t len = VEC_DATA_HEAD + (size_t)dim * sizeof(float);
    odb_status st = buf_reserve(b, len);
    uint8_t *p;

    if (st != ODB_OK)
        return st;
    p = b->p + b->len;
    memset(p, 0, VEC_DATA_HEAD);
    p[0] = ROW_VERSION;
    p[1] = TYPE_F32;
    enc_u16(p + 2, (uint16_t)dim);
    enc_u32(p + 4, nid);
    enc_u32(p + 8, float_bits(norm));
    for (uint32_t i = 0; i < dim; i++)
        enc_u32(p + VEC_DATA_HEAD + i * sizeof(float), float_bits(x[i]));
    b->len += len;
    return ODB_OK;
}

void vec_key(uint8_t *out, char kind, uint32_t nid)
{
    out[0] = (uint8_t)kind;
    out[1] = (uint8_t)(nid >> 24);
    out[2] = (uint8_t)(nid >> 16);
    out[3] = (uint8_t)(nid >> 8);
    out[4] = (uint8_t)nid;
}

bool vec_key_read(odb_slice key, char *kind, uint32_t *nid)
{
    const uint8_t *p = key.data;

    if (key.size == 1 && p[0] == VEC_KEY_META) {
        *kind = VEC_KEY_META;
        *nid = 0;
        return true;
    }
    if (key.size != VEC_KEY_LEN ||
        (p[0] != VEC_KEY_NODE && p[0] != VEC_KEY_PENDING && p[0] != VEC_KEY_DEAD))
        return false;
    *kind = (char)p[0];
    *nid = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    return *nid < VEC_SLOTS_MAX;
}

odb_status vec_meta_write(struct buf *b, const struct vec_meta *m)
{
    uint8_t p[28];

    p[0] = ROW_VERSION;
    p[1] = (uint8_t)m->metric;
    enc_u16(p + 2, (uint16_t)m->m);
    enc_u32(p + 4, m->dim);
    enc_u32(p + 8, m->entry);
    enc_u64(p + 12, m->seed);
    enc_u64(p + 20, m->nodes);
    return buf_append(b, p, sizeof p);
}

const char *vec_meta_read(odb_slice value, struct vec_meta *out)
{
    struct dec d = dec_from(value);
    struct vec_meta m;
    uint8_t version = dec_u8(&d), metric = dec_u8(&d);

    m.m = dec_u16(&d);
    m.dim = dec_u32(&d);
    m.entry = dec_u32(&d);
    m.seed = dec_u64(&d);
    m.nodes = dec_u64(&d);
    if (d.bad || dec_left(&d))
        return "vector index: length of M";
    if (version != ROW_VERSION)
        return "vector index: version of M";
    if (metric > VEC_DOT || m.dim == 0 || m.dim > ODB_VEC_DIM_MAX || m.m < VEC_M_MIN ||
        m.m > VEC_M_MAX || (m.entry >= VEC_SLOTS_MAX && m.entry != VEC_NONE) ||
        m.nodes > VEC_SLOTS_MAX)
        return "vector index: M makes no sense";
    m.metric = (enum vec_metric)metric;
    *out = m;
    return NULL;
}

static int compare_ids(const void *x, const void *y)
{
    uint32_t a, b;

    memcpy(&a, x, sizeof a);
    memcpy(&b, y, sizeof b);
    return (a > b) - (a < b);
}

odb_status vec_links_write(struct buf *b, const struct vec_arena *a, uint32_t nid)
{
    unsigned level = vec_level_of(&a->space, nid);
    odb_status st = buf_reserve(b, 2 + ((size_t)level + 2) * (2 * (size_t)a->space.m + 1) * 5);
    uint8_t *p;

    if (st != ODB_OK)
        return st;
    p = b->p + b->len;
    *p++ = ROW_VERSION;
    *p++ = (uint8_t)level;
    for (unsigned l = 0; l <= level; l++) {
        const vec_link *row = vec_links(a, nid, l);
        uint32_t ids[2 * VEC_M_MAX], last = 0;
        uint32_t count = VEC_HEAD_COUNT(atomic_load_explicit(&row->v, memory_order_relaxed));

        for (uint32_t i = 0; i < count; i++)
            ids[i] = atomic_load_explicit(&row[1 + i].v, memory_order_relaxed);
        qsort(ids, count, sizeof *ids, compare_ids);
        p = enc_varint(p, count);
        for (uint32_t i = 0; i < count; i++) {
            p = enc_varint(p, ids[i] - last);
            last = ids[i];
        }
    }
    b->len = (size_t)(p - b->p);
    return ODB_OK;
}

const char *vec_links_read(odb_slice value, const struct vec_space *space, unsigned level,
                           const struct vec_links_sink *sink)
{
    struct dec d = dec_from(value);

    if (dec_u8(&d) != ROW_VERSION)
        return "vector index: version of N";
    if (dec_u8(&d) != level || d.bad)
        return "vector index: level of N";
    for (unsigned l = 0; l <= level; l++) {
        uint32_t count = dec_varint32(&d), max = l ? space->m : 2 * space->m - 1;
        uint64_t id = 0;

        if (d.bad || count > max || !sink->level(sink->arg, l, count))
            return "vector index: links of N";
        for (uint32_t i = 0; i < count; i++) {
            uint32_t step = dec_varint32(&d);

            id += step;
            if (d.bad || (i && step == 0) || id >= VEC_SLOTS_MAX)
                return "vector index: link of N";
            if (!sink->link(sink->arg, (uint32_t)id))
                return "vector index: link to nobody";
        }
    }
    return dec_left(&d) ? "vector index: bytes behind N" : NULL;
}

/* ---- configuration ---- */

static const char *const metric_names[] = {NULL, "l2", "cosine", "dot"};
static const char *const form_names[] = {NULL, "f32", "f16", "i8", "auto"};

static odb_status add_number(struct buf *b, const char *name, uint64_t value)
{
    odb_status st = json_add_raw(b, name);

    return st == ODB_OK ? json_add_i64(b, (int64_t)value) : st;
}

odb_status vec_config_write(struct buf *b, const odb_vec_config *c)
{
    odb_status st = add_number(b, "{\"version\":1,\"dim\":", c->dim);

    if (st == ODB_OK)
        st = json_add_raw(b, ",\"metric\":");
    if (st == ODB_OK)
        st = json_add_text(b, odb_s(metric_names[c->metric]));
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"form\":");
    if (st == ODB_OK)
        st = json_add_text(b, odb_s(form_names[c->form]));
    if (st == ODB_OK)
        st = add_number(b, ",\"m\":", c->m);
    if (st == ODB_OK)
        st = add_number(b, ",\"ef_construction\":", c->ef_construction);
    if (st == ODB_OK)
        st = add_number(b, ",\"seed\":", c->seed);
    if (st == ODB_OK)
        st = add_number(b, ",\"ef_search\":", c->ef_search);
    if (st == ODB_OK)
        st = add_number(b, ",\"flat_max\":", c->flat_max);
    return st == ODB_OK ? json_add_raw(b, "}") : st;
}

static uint64_t config_number(const struct json_doc *doc, const char *name, uint64_t max)
{
    const struct json_node *n = json_member(doc, doc->node, name);

    return n && n->type == JSON_INT && n->u.integer >= 0 && (uint64_t)n->u.integer <= max
               ? (uint64_t)n->u.integer
               : 0;
}

static int config_name(const struct json_doc *doc, const char *member, const char *const *names,
                       int count)
{
    const struct json_node *n = json_member(doc, doc->node, member);

    for (int i = 1; n && n->type == JSON_STRING && i <= count; i++)
        if (odb_slice_equal(n->u.string, odb_s(names[i])))
            return i;
    return 0;
}

odb_status vec_config_read(odb_slice json, odb_vec_config *out)
{
    struct json_doc doc = {0};
    const char *what = NULL;
    size_t at = 0;
    odb_status st = json_read(json, &doc, &what, &at);

    if (st == ODB_NOMEM)
        return st;
    if (st != ODB_OK)
        return err_corrupt("metadata " VEC_CONFIG_KEY, at, what ? what : "not JSON");
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    out->dim = (uint32_t)config_number(&doc, "dim", ODB_VEC_DIM_MAX);
    out->metric = (odb_metric)config_name(&doc, "metric", metric_names, 3);
    out->form = (odb_vec_form)config_name(&doc, "form", form_names, 4);
    out->m = (uint32_t)config_number(&doc, "m", VEC_M_MAX);
    out->ef_construction = (uint32_t)config_number(&doc, "ef_construction", 4096);
    out->seed = config_number(&doc, "seed", INT64_MAX);
    out->ef_search = (uint32_t)config_number(&doc, "ef_search", 65535);
    out->flat_max = (uint32_t)config_number(&doc, "flat_max", UINT32_MAX);
    if (config_number(&doc, "version", INT64_MAX) != 1)
        st = err_set(ODB_VERSION, "metadata %s is of a newer release", VEC_CONFIG_KEY);
    else if (!out->dim || !out->metric || out->m < VEC_M_MIN || !out->ef_construction)
        st = err_corrupt("metadata " VEC_CONFIG_KEY, 0, "a member is missing or out of range");
    json_release(&doc);
    return st;
}
