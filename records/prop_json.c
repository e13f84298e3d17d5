/* records/prop_json.c -- properties as JSON; records/odb_record_json.h tells the form. */
#include "records/prop_json.h"

#include "base/alloc.h"
#include "records/utf8.h"

/* ---- writing ---- */

static odb_status add_bytes_value(struct buf *b, odb_slice s)
{
    odb_status st = json_add_raw(b, "{\"base64\":");

    if (st == ODB_OK)
        st = json_add_base64(b, s);
    if (st == ODB_OK)
        st = json_add_raw(b, "}");
    return st;
}

/* Whether a document could be taken for something else when it stands there bare. */
static bool must_be_wrapped(const struct json_doc *doc)
{
    const struct json_node *n = doc->node;

    if (n->type != JSON_ARRAY && n->type != JSON_OBJECT)
        return true;
    return n->type == JSON_OBJECT && n->count == 1 &&
           (json_member(doc, n, "base64") || json_member(doc, n, "json"));
}

static odb_status add_json_value(struct buf *b, odb_slice text)
{
    struct json_doc doc;
    const char *what;
    size_t at;
    bool is_wrapped;
    odb_status st = json_read(text, &doc, &what, &at);

    if (st == ODB_INVALID)
        return err_set(ODB_CORRUPT, "a JSON property is no JSON: %s, at byte %zu", what, at);
    if (st != ODB_OK)
        return st;
    is_wrapped = must_be_wrapped(&doc);
    if (is_wrapped)
        st = json_add_raw(b, "{\"json\":");
    if (st == ODB_OK)
        st = json_add_doc(b, &doc);
    if (st == ODB_OK && is_wrapped)
        st = json_add_raw(b, "}");
    json_release(&doc);
    return st;
}

odb_status prop_json_add_value(struct buf *b, const odb_prop_value *v)
{
    switch (v->type) {
    case ODB_PROP_BOOL: return json_add_raw(b, v->u.boolean ? "true" : "false");
    case ODB_PROP_INT: return json_add_i64(b, v->u.integer);
    case ODB_PROP_REAL: return json_add_f64(b, v->u.real);
    case ODB_PROP_TEXT:
        if (!utf8_is_valid(v->u.bytes))
            return err_set(ODB_CORRUPT, "a text is no UTF-8");
        return json_add_text(b, v->u.bytes);
    case ODB_PROP_BYTES: return add_bytes_value(b, v->u.bytes);
    case ODB_PROP_JSON: return add_json_value(b, v->u.bytes);
    default: return json_add_raw(b, "null");
    }
}

/* `"name":"..."`, or `"name64":"..."` for what is no text. */
odb_status prop_json_add_name(struct buf *b, const char *name, odb_slice s)
{
    bool is_text = utf8_is_valid(s);
    odb_status st = json_add_raw(b, "\"");

    if (st == ODB_OK)
        st = json_add_raw(b, name);
    if (st == ODB_OK)
        st = json_add_raw(b, is_text ? "\":" : "64\":");
    if (st == ODB_OK)
        st = is_text ? json_add_text(b, s) : json_add_base64(b, s);
    return st;
}

odb_status prop_json_add_props(struct buf *b, const struct rec_props *props)
{
    odb_status st = json_add_raw(b, ",\"props\":{");

    for (uint32_t i = 0; st == ODB_OK && i < props->count; i++) {
        odb_prop p;

        rec_props_at(props, i, &p);
        if (i)
            st = json_add_raw(b, ",");
        if (st == ODB_OK && !utf8_is_valid(p.name))
            st = err_set(ODB_CORRUPT, "a property name is no UTF-8");
        if (st == ODB_OK)
            st = json_add_text(b, p.name);
        if (st == ODB_OK)
            st = json_add_raw(b, ":");
        if (st == ODB_OK)
            st = prop_json_add_value(b, &p.value);
    }
    return st == ODB_OK ? json_add_raw(b, "}") : st;
}

/* ---- reading ---- */

odb_status prop_json_read(struct prop_reader *r, odb_slice json,
                          odb_status (*member)(void *arg, const struct json_node *n), void *arg)
{
    odb_status st = json_read(json, &r->doc, &r->what, &r->at);
    const struct json_node *n;

    if (st == ODB_OK)
        st = buf_reserve(&r->bytes, json.size + 1);
    if (st != ODB_OK)
        return st;
    if (r->doc.node->type != JSON_OBJECT)
        return prop_json_fault(r, r->doc.node, "not an object");
    n = json_first(r->doc.node);
    for (uint32_t i = r->doc.node->count; st == ODB_OK && i > 0; i--, n = json_next(&r->doc, n))
        st = member(arg, n);
    return st;
}

void prop_json_release(struct prop_reader *r)
{
    json_release(&r->doc);
    buf_release(&r->bytes);
}

odb_status prop_json_complain(const struct prop_reader *r, odb_status st, const char *thing,
                              size_t *err_at)
{
    if (st != ODB_INVALID || !r->what)
        return st;
    if (err_at)
        *err_at = r->at;
    return err_set(st, "the %s, at byte %zu: %s", thing, r->at, r->what);
}

odb_status prop_json_fault(struct prop_reader *r, const struct json_node *n, const char *what)
{
    r->what = what;
    r->at = n->from;
    return ODB_INVALID;
}

odb_status prop_json_take_base64(struct prop_reader *r, const struct json_node *n, odb_slice *out)
{
    struct buf one = {0};
    odb_status st;

    if (n->type != JSON_STRING)
        return prop_json_fault(r, n, "base64 that is no text");
    st = json_read_base64(n->u.string, &one);
    if (st == ODB_INVALID)
        st = prop_json_fault(r, n, "a text that is no base64");
    if (st == ODB_OK) {
        *out = odb_bytes(r->bytes.p + r->bytes.len, one.len);
        if (one.len)
            memcpy(r->bytes.p + r->bytes.len, one.p, one.len);
        r->bytes.len += one.len;
    }
    buf_release(&one);
    return st;
}

static void take_json(const struct prop_reader *r, const struct json_node *n, odb_prop_value *out)
{
    out->type = ODB_PROP_JSON;
    out->u.bytes = odb_bytes((const uint8_t *)r->doc.text.data + n->from, n->to - n->from);
}

odb_status prop_json_take_value(struct prop_reader *r, const struct json_node *n,
                                odb_prop_value *out)
{
    const struct json_node *only = NULL;

    memset(out, 0, sizeof *out);
    switch (n->type) {
    case JSON_NULL: out->type = ODB_PROP_NULL; return ODB_OK;
    case JSON_BOOL:
        out->type = ODB_PROP_BOOL;
        out->u.boolean = n->u.boolean;
        return ODB_OK;
    case JSON_INT:
        out->type = ODB_PROP_INT;
        out->u.integer = n->u.integer;
        return ODB_OK;
    case JSON_REAL:
        out->type = ODB_PROP_REAL;
        out->u.real = n->u.real;
        return ODB_OK;
    case JSON_STRING:
        out->type = ODB_PROP_TEXT;
        out->u.bytes = n->u.string;
        return ODB_OK;
    default: break;
    }
    if (n->type == JSON_OBJECT && n->count == 1)
        only = json_first(n);
    if (only && odb_slice_equal(only->name, odb_s("base64"))) {
        out->type = ODB_PROP_BYTES;
        return prop_json_take_base64(r, only, &out->u.bytes);
    }
    take_json(r, only && odb_slice_equal(only->name, odb_s("json")) ? only : n, out);
    return ODB_OK;
}

odb_status prop_json_take_props(struct prop_reader *r, const struct json_node *object,
                                odb_prop **out, size_t *count)
{
    const struct json_node *n = json_first(object);
    odb_status st = ODB_OK;

    if (object->type != JSON_OBJECT)
        return prop_json_fault(r, object, "props that are no object");
    mem_free(*out);
    *out = mem_array(object->count + 1, sizeof **out);
    if (!*out)
        return err_set(ODB_NOMEM, "no memory for %u properties", object->count);
    for (uint32_t i = 0; st == ODB_OK && i < object->count; i++, n = json_next(&r->doc, n)) {
        (*out)[i].name = n->name;
        st = prop_json_take_value(r, n, &(*out)[i].value);
    }
    *count = object->count;
    return st;
}
