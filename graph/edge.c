/* graph/edge.c -- an edge as bytes.
 *
 * The edge  ann --knows--> bob  lies in two families under two keys, with one value:
 *
 *     graph_forward     ann 00 01 knows 00 01 bob       \
 *     graph_backward    bob 00 01 knows 00 01 ann       /  value
 *
 *     key field:    bytes as they are, but 00 is written 00 FF
 *     field end:    00 01; the last field ends with the key
 *
 *     value:
 *     0      1       2         6                14
 *     +------+-------+---------+----------------+----------------------+
 *     | ver  | flags | weight  | time           | properties ...       |
 *     +------+-------+---------+----------------+----------------------+
 *     ver      1
 *     flags    1: properties follow, at least one, to the end of the value (records/props.c); no
 *              other bit is known, and one that is set means that a newer release wrote the edge
 *     weight   float, its bits; never NaN or infinite
 *     time     microseconds since 1970, signed
 *
 * 1. The order of keys is the order of (node, relation, other): a field's end (00 01) is below an
 *    embedded NUL (00 FF) and below every other byte that could follow, so a shorter name comes before
 *    the longer ones it begins, and no field bleeds into the next. Ids may hold any bytes.
 * 2. Every triple has one key, and every key at most one triple: 00 followed by anything else is
 *    refused, and so is a name of no bytes or too many.
 * 3. The whole of a value is accounted for: no bytes are left over.
 */
#include "graph/edge.h"

#include <math.h>
#include <stdio.h>

#include "records/key.h"
#include "records/props.h"

enum { VALUE_VERSION = 1, VALUE_HAS_PROPS = 1 };

odb_status graph_check_id(odb_slice id, const char *what)
{
    if (ODB_LIKELY(id.data && id.size >= 1 && id.size <= GRAPH_ID_LEN_MAX))
        return ODB_OK;
    return err_set(ODB_INVALID, "%s has an id of %zu bytes; ids have 1 to %d", what, id.size,
                   GRAPH_ID_LEN_MAX);
}

odb_status graph_check_rel(odb_slice rel)
{
    if (ODB_LIKELY(rel.data && rel.size >= 1 && rel.size <= GRAPH_REL_LEN_MAX))
        return ODB_OK;
    return err_set(ODB_INVALID, "a relation of %zu bytes; relations have 1 to %d", rel.size,
                   GRAPH_REL_LEN_MAX);
}

odb_status graph_check_names(odb_slice from, odb_slice rel, odb_slice to)
{
    odb_status st = graph_check_id(from, "the start of the edge");

    if (st == ODB_OK)
        st = graph_check_rel(rel);
    if (st == ODB_OK)
        st = graph_check_id(to, "the end of the edge");
    return st;
}

/* The first bytes of the key, in hexadecimal: enough to find it again. */
odb_status graph_refuse(odb_status st, const char *family, odb_slice key, const char *part)
{
    char text[160], hex[2 * 48 + 1];
    size_t shown = key.size < 48 ? key.size : 48;

    for (size_t i = 0; i < shown; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", ((const uint8_t *)key.data)[i]);
    hex[2 * shown] = 0;
    if (st == ODB_VERSION)
        return err_set(st, "the edge 0x%s%s in %s was written by a newer release", hex,
                       shown < key.size ? "..." : "", family);
    if (st != ODB_CORRUPT)
        return st;
    (void)snprintf(text, sizeof text, "the %s of the edge 0x%s%s is none", part, hex,
                   shown < key.size ? "..." : "");
    return err_corrupt(family, 0, text);
}

/* ---- keys ---- */

void graph_key_node(struct graph_key *k, odb_slice node)
{
    k->len = (size_t)(rec_key_write_end(rec_key_write(k->bytes, node)) - k->bytes);
}

void graph_key_extend(struct graph_key *k, odb_slice rel, odb_slice other)
{
    uint8_t *p = rec_key_write_end(rec_key_write(k->bytes + k->len, rel));

    k->len = (size_t)(rec_key_write(p, other) - k->bytes);
}

void graph_key_edge(struct graph_key *k, odb_slice node, odb_slice rel, odb_slice other)
{
    graph_key_node(k, node);
    graph_key_extend(k, rel, other);
}

void graph_room_release(struct graph_room *room)
{
    buf_release(&room->node);
    buf_release(&room->rel);
    buf_release(&room->other);
}

odb_status graph_name_open(struct dec *d, bool is_last, size_t max, struct buf *room,
                           odb_slice *out)
{
    odb_slice name;

    if (!(is_last ? rec_key_take_last(d, room, &name) : rec_key_take_part(d, room, &name)))
        return d->bad ? ODB_CORRUPT : ODB_NOMEM;
    if (name.size == 0 || name.size > max)
        return ODB_CORRUPT;
    *out = name;
    return ODB_OK;
}

odb_status graph_key_open(odb_slice key, struct graph_room *room, struct graph_names *out)
{
    struct dec d = dec_from(key);
    struct graph_names n;
    odb_status st = graph_name_open(&d, false, GRAPH_ID_LEN_MAX, &room->node, &n.node);

    if (st == ODB_OK)
        st = graph_name_open(&d, false, GRAPH_REL_LEN_MAX, &room->rel, &n.rel);
    if (st == ODB_OK)
        st = graph_name_open(&d, true, GRAPH_ID_LEN_MAX, &room->other, &n.other);
    if (st == ODB_OK)
        *out = n;
    return st;
}

/* ---- values ---- */

void graph_value_put(uint8_t *p, float weight, int64_t time_us, bool has_props)
{
    uint32_t bits;

    memcpy(&bits, &weight, sizeof bits);
    p[0] = VALUE_VERSION;
    p[1] = has_props ? VALUE_HAS_PROPS : 0;
    enc_u32(p + 2, bits);
    enc_u64(p + 6, (uint64_t)time_us);
}

odb_status graph_value_open(odb_slice value, struct graph_value *out)
{
    struct dec d = dec_from(value);
    uint8_t version = dec_u8(&d), flags = dec_u8(&d);
    uint32_t bits = dec_u32(&d);
    uint64_t time = dec_u64(&d);
    odb_slice bytes = dec_bytes(&d, dec_left(&d));
    struct rec_props props = {0};
    float weight;

    if (d.bad || version == 0)
        return ODB_CORRUPT;
    if (version > VALUE_VERSION || (flags & ~VALUE_HAS_PROPS))
        return ODB_VERSION;
    memcpy(&weight, &bits, sizeof weight);
    if (!isfinite(weight))
        return ODB_CORRUPT;
    if (!(flags & VALUE_HAS_PROPS) ? bytes.size > 0
                                   : rec_props_open(bytes, &props) != NULL || props.count == 0)
        return ODB_CORRUPT;
    out->weight = weight;
    out->time_us = time > INT64_MAX ? -(int64_t)(UINT64_MAX - time) - 1 : (int64_t)time;
    out->props = bytes.size ? bytes : odb_bytes(NULL, 0);
    return ODB_OK;
}
