/* graph/edge_json.c -- edges to JSON and back; odb_edge_json.h tells the form. */
#include "graph/odb_edge_json.h"

#include <math.h>

#include "base/alloc.h"
#include "graph/edge.h"
#include "records/prop_json.h"

/* ---- writing ---- */

static odb_status edge_write(struct buf *b, const odb_edge *e)
{
    struct rec_props props = {0};
    const char *bad = e->props.size ? rec_props_open(e->props, &props) : NULL;
    odb_status st = bad ? err_set(ODB_INVALID, "the properties of the edge: %s", bad) : ODB_OK;

    if (st == ODB_OK)
        st = json_add_raw(b, "{");
    if (st == ODB_OK)
        st = prop_json_add_name(b, "from", e->from);
    if (st == ODB_OK)
        st = json_add_raw(b, ",");
    if (st == ODB_OK)
        st = prop_json_add_name(b, "rel", e->rel);
    if (st == ODB_OK)
        st = json_add_raw(b, ",");
    if (st == ODB_OK)
        st = prop_json_add_name(b, "to", e->to);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"weight\":");
    if (st == ODB_OK)
        st = json_add_f32(b, e->weight);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"time\":");
    if (st == ODB_OK)
        st = json_add_i64(b, e->time_us);
    if (st == ODB_OK && props.count)
        st = prop_json_add_props(b, &props);
    return st == ODB_OK ? json_add_raw(b, "}") : st;
}

odb_status odb_edge_to_json(const odb_edge *e, char *buf, size_t cap, size_t *len)
{
    struct buf b = {0};
    odb_status st;

    if (!e || !len || (!buf && cap))
        return err_set(ODB_INVALID, "the edge, the room or the place for the length is NULL");
    st = isfinite(e->weight) ? edge_write(&b, e)
                             : err_set(ODB_INVALID, "the weight of an edge must be a number");
    return json_hand_out(&b, st, buf, cap, len);
}

/* ---- reading ---- */

struct edge_reader {
    struct prop_reader in;
    odb_edge edge;
    odb_prop *props;
    size_t prop_count;
    bool has_from, has_rel, has_to;
};

/* `name`, or `name`64. False: it is another member. */
static bool take_edge_name(struct edge_reader *r, const struct json_node *n, const char *name,
                           bool *has, odb_slice *out, odb_status *st)
{
    size_t len = strlen(name);
    bool is_64 = n->name.size == len + 2 && memcmp((const char *)n->name.data + len, "64", 2) == 0;

    if ((n->name.size != len && !is_64) || memcmp(n->name.data, name, len) != 0)
        return false;
    if (*has)
        *st = prop_json_fault(&r->in, n, "a name that is there twice");
    else if (is_64)
        *st = prop_json_take_base64(&r->in, n, out);
    else if (n->type != JSON_STRING)
        *st = prop_json_fault(&r->in, n, "a name that is no text");
    else
        *out = n->u.string;
    *has = true;
    return true;
}

static odb_status edge_member(void *arg, const struct json_node *n)
{
    struct edge_reader *r = arg;
    odb_edge *e = &r->edge;
    odb_status st = ODB_OK;

    if (take_edge_name(r, n, "from", &r->has_from, &e->from, &st) ||
        take_edge_name(r, n, "rel", &r->has_rel, &e->rel, &st) ||
        take_edge_name(r, n, "to", &r->has_to, &e->to, &st))
        return st;
    if (odb_slice_equal(n->name, odb_s("props")))
        return prop_json_take_props(&r->in, n, &r->props, &r->prop_count);
    if (odb_slice_equal(n->name, odb_s("weight"))) {
        if (n->type != JSON_INT && n->type != JSON_REAL)
            return prop_json_fault(&r->in, n, "a weight that is no number");
        e->weight = n->type == JSON_INT ? (float)n->u.integer : (float)n->u.real;
        return isfinite(e->weight) ? ODB_OK : prop_json_fault(&r->in, n, "a weight out of range");
    }
    if (odb_slice_equal(n->name, odb_s("time"))) {
        if (n->type != JSON_INT || n->u.integer == ODB_TIME_NOW)
            return prop_json_fault(&r->in, n, "a time that is no integer of microseconds");
        e->time_us = n->u.integer;
        return ODB_OK;
    }
    return prop_json_fault(&r->in, n, "a member that an edge does not have");
}

odb_status odb_link_json(odb_db *db, odb_txn *txn, odb_slice json, unsigned flags, size_t *err_at)
{
    struct edge_reader r;
    odb_status st;

    memset(&r, 0, sizeof r);
    r.edge = odb_edge_of(odb_bytes(NULL, 0), odb_bytes(NULL, 0), odb_bytes(NULL, 0));
    st = prop_json_read(&r.in, json, edge_member, &r);
    if (st == ODB_OK && !(r.has_from && r.has_rel && r.has_to))
        st = prop_json_fault(&r.in, r.in.doc.node, "an edge needs from, rel and to");
    if (st != ODB_OK) {
        st = prop_json_complain(&r.in, st, "edge", err_at);
    } else {
        st = odb_link_edge(db, txn, &r.edge, r.props, (uint32_t)r.prop_count, flags);
        if (st == ODB_INVALID && err_at)
            *err_at = 0;
    }
    prop_json_release(&r.in);
    mem_free(r.props);
    return st;
}
