/* records/record_json.c -- records to JSON and back. */
#include "records/odb_record_json.h"

#include "base/alloc.h"
#include "records/json.h"
#include "records/number.h"
#include "records/record.h"
#include "records/utf8.h"

static const struct {
    const char *name;
    uint32_t id;
} field_names[] = {
    {"filename", ODB_FIELD_FILENAME},   {"file_type", ODB_FIELD_FILE_TYPE},
    {"file_size", ODB_FIELD_FILE_SIZE}, {"parent", ODB_FIELD_PARENT},
    {"start", ODB_FIELD_START},         {"end", ODB_FIELD_END},
    {"status", ODB_FIELD_STATUS},       {"chunk_count", ODB_FIELD_CHUNK_COUNT},
};
#define FIELD_NAMES (sizeof field_names / sizeof *field_names)

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

static odb_status add_value(struct buf *b, const odb_prop_value *v)
{
    switch (v->type) {
    case ODB_PROP_BOOL: return json_add_raw(b, v->u.boolean ? "true" : "false");
    case ODB_PROP_INT: return json_add_i64(b, v->u.integer);
    case ODB_PROP_REAL: return json_add_f64(b, v->u.real);
    case ODB_PROP_TEXT:
        if (!utf8_is_valid(v->u.bytes))
            return err_set(ODB_CORRUPT, "a text of the record is no UTF-8");
        return json_add_text(b, v->u.bytes);
    case ODB_PROP_BYTES: return add_bytes_value(b, v->u.bytes);
    case ODB_PROP_JSON: return add_json_value(b, v->u.bytes);
    default: return json_add_raw(b, "null");
    }
}

/* `"name":"..."`, or `"name64":"..."` for what is no text. */
static odb_status add_text_or_64(struct buf *b, const char *name, odb_slice s)
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

static odb_status add_props(struct buf *b, const struct rec_props *props)
{
    odb_status st = json_add_raw(b, ",\"props\":{");

    for (uint32_t i = 0; st == ODB_OK && i < props->count; i++) {
        odb_prop p;

        rec_props_at(props, i, &p);
        if (i)
            st = json_add_raw(b, ",");
        if (st == ODB_OK && !utf8_is_valid(p.name))
            st = err_set(ODB_CORRUPT, "a property name of the record is no UTF-8");
        if (st == ODB_OK)
            st = json_add_text(b, p.name);
        if (st == ODB_OK)
            st = json_add_raw(b, ":");
        if (st == ODB_OK)
            st = add_value(b, &p.value);
    }
    return st == ODB_OK ? json_add_raw(b, "}") : st;
}

static odb_status add_field_name(struct buf *b, uint32_t id)
{
    odb_status st;

    for (size_t i = 0; i < FIELD_NAMES; i++)
        if (field_names[i].id == id)
            return json_add_text(b, odb_s(field_names[i].name));
    st = json_add_raw(b, "\"");
    if (st == ODB_OK)
        st = json_add_i64(b, id);
    return st == ODB_OK ? json_add_raw(b, "\"") : st;
}

/* The parent is an id: shown as a text where it is one. */
static odb_status add_fields(struct buf *b, const struct rec_view *view)
{
    odb_status st = ODB_OK;
    bool is_first = true;

    for (uint32_t i = 0; st == ODB_OK && i < view->field_count; i++) {
        uint32_t id, type;
        odb_slice bytes;
        odb_prop_value v;

        rec_view_field_at(view, i, &id, &type, &bytes);
        if (id <= REC_FIELD_PROPS || !rec_view_field(view, id, &v))
            continue;
        if (id == ODB_FIELD_PARENT && utf8_is_valid(v.u.bytes))
            v.type = ODB_PROP_TEXT;
        st = json_add_raw(b, is_first ? ",\"fields\":{" : ",");
        is_first = false;
        if (st == ODB_OK)
            st = add_field_name(b, id);
        if (st == ODB_OK)
            st = json_add_raw(b, ":");
        if (st == ODB_OK)
            st = add_value(b, &v);
    }
    return st == ODB_OK && !is_first ? json_add_raw(b, "}") : st;
}

/* A float in as few digits as lead back to it, through a double. */
static odb_status add_importance(struct buf *b, float v)
{
    char text[NUMBER_TEXT_MAX];
    double best = v;

    for (double scale = 1; scale <= 1e9; scale *= 10) {
        double near = (double)(int64_t)((double)v * scale + 0.5) / scale;

        if ((float)near == v) {
            best = near;
            break;
        }
    }
    return buf_append(b, text, number_write(text, best));
}

static odb_status record_write(struct buf *b, const odb_record *r)
{
    const struct rec_view *v = &r->view;
    odb_status st = json_add_raw(b, "{");

    if (st == ODB_OK)
        st = add_text_or_64(b, "id", r->id);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"kind\":");
    if (st == ODB_OK)
        st = json_add_i64(b, v->kind);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"ts\":");
    if (st == ODB_OK)
        st = json_add_i64(b, v->timestamp);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"importance\":");
    if (st == ODB_OK)
        st = add_importance(b, v->importance);
    if (st == ODB_OK)
        st = json_add_raw(b, ",");
    if (st == ODB_OK)
        st = add_text_or_64(b, "content", v->content);
    if (st == ODB_OK && v->props.count)
        st = add_props(b, &v->props);
    if (st == ODB_OK)
        st = add_fields(b, v);
    if (st == ODB_OK && v->flags & REC_FLAG_VECTOR)
        st = json_add_raw(b, ",\"has_vector\":true");
    return st == ODB_OK ? json_add_raw(b, "}") : st;
}

odb_status odb_record_to_json(const odb_record *r, char *buf, size_t cap, size_t *len)
{
    struct buf b = {0};
    odb_status st;

    if (!r || !len || (!buf && cap))
        return err_set(ODB_INVALID, "the record, the room or the place for the length is NULL");
    st = record_write(&b, r);
    if (st == ODB_OK) {
        *len = b.len;
        if (cap)
            memcpy(buf, b.p, b.len < cap ? b.len : cap);
    }
    buf_release(&b);
    return st;
}

/* ---- reading ---- */

struct record_reader {
    struct json_doc doc;
    odb_record_draft draft;
    odb_prop *props;
    odb_field *fields;
    struct buf bytes; /* what base64 became; reserved at once, so that it does not move */
    const char *what;
    size_t at;
};

static odb_status reader_fault(struct record_reader *r, const struct json_node *n, const char *what)
{
    r->what = what;
    r->at = n->from;
    return ODB_INVALID;
}

static odb_status take_base64(struct record_reader *r, const struct json_node *n, odb_slice *out)
{
    struct buf one = {0};
    odb_status st;

    if (n->type != JSON_STRING)
        return reader_fault(r, n, "base64 that is no text");
    st = json_read_base64(n->u.string, &one);
    if (st == ODB_INVALID)
        st = reader_fault(r, n, "a text that is no base64");
    if (st == ODB_OK) {
        *out = odb_bytes(r->bytes.p + r->bytes.len, one.len);
        if (one.len)
            memcpy(r->bytes.p + r->bytes.len, one.p, one.len);
        r->bytes.len += one.len;
    }
    buf_release(&one);
    return st;
}

static void take_json(const struct record_reader *r, const struct json_node *n, odb_prop_value *out)
{
    out->type = ODB_PROP_JSON;
    out->u.bytes = odb_bytes((const uint8_t *)r->doc.text.data + n->from, n->to - n->from);
}

static odb_status take_value(struct record_reader *r, const struct json_node *n,
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
        return take_base64(r, only, &out->u.bytes);
    }
    take_json(r, only && odb_slice_equal(only->name, odb_s("json")) ? only : n, out);
    return ODB_OK;
}

static odb_status read_props(struct record_reader *r, const struct json_node *object)
{
    const struct json_node *n = json_first(object);
    odb_status st = ODB_OK;

    if (object->type != JSON_OBJECT)
        return reader_fault(r, object, "props that are no object");
    r->props = mem_array(object->count + 1, sizeof *r->props);
    if (!r->props)
        return err_set(ODB_NOMEM, "no memory for the properties of a record");
    for (uint32_t i = 0; st == ODB_OK && i < object->count; i++, n = json_next(&r->doc, n)) {
        r->props[i].name = n->name;
        st = take_value(r, n, &r->props[i].value);
    }
    r->draft.props = r->props;
    r->draft.prop_count = object->count;
    return st;
}

/* 0: there is no such field. */
static uint32_t field_by_name(odb_slice name)
{
    const uint8_t *p = name.data;
    uint32_t id = 0;

    for (size_t i = 0; i < FIELD_NAMES; i++)
        if (odb_slice_equal(name, odb_s(field_names[i].name)))
            return field_names[i].id;
    if (name.size != 5)
        return 0;
    for (size_t i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        id = id * 10 + (uint32_t)(p[i] - '0');
    }
    return id >= ODB_FIELD_APPLICATION && id <= ODB_FIELD_LAST ? id : 0;
}

static odb_status read_fields(struct record_reader *r, const struct json_node *object)
{
    const struct json_node *n = json_first(object);
    odb_status st = ODB_OK;

    if (object->type != JSON_OBJECT)
        return reader_fault(r, object, "fields that are no object");
    r->fields = mem_array(object->count + 1, sizeof *r->fields);
    if (!r->fields)
        return err_set(ODB_NOMEM, "no memory for the fields of a record");
    for (uint32_t i = 0; st == ODB_OK && i < object->count; i++, n = json_next(&r->doc, n)) {
        r->fields[i].id = field_by_name(n->name);
        if (r->fields[i].id == 0)
            return reader_fault(r, n, "a field that does not exist");
        st = take_value(r, n, &r->fields[i].value);
        if (r->fields[i].id == ODB_FIELD_PARENT && r->fields[i].value.type == ODB_PROP_TEXT)
            r->fields[i].value.type = ODB_PROP_BYTES;
    }
    r->draft.fields = r->fields;
    r->draft.field_count = object->count;
    return st;
}

static odb_status read_number(struct record_reader *r, const struct json_node *n, float *out)
{
    if (n->type == JSON_INT)
        *out = (float)n->u.integer;
    else if (n->type == JSON_REAL)
        *out = (float)n->u.real;
    else
        return reader_fault(r, n, "importance that is no number");
    return ODB_OK;
}

static odb_status read_member(struct record_reader *r, const struct json_node *n, bool *has_id)
{
    odb_record_draft *d = &r->draft;
    bool is_id = odb_slice_equal(n->name, odb_s("id"));
    bool is_id64 = odb_slice_equal(n->name, odb_s("id64"));

    if (is_id || is_id64) {
        if (*has_id)
            return reader_fault(r, n, "two ids");
        *has_id = true;
        if (is_id64)
            return take_base64(r, n, &d->id);
        if (n->type != JSON_STRING)
            return reader_fault(r, n, "an id that is no text");
        d->id = n->u.string;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("content"))) {
        if (n->type != JSON_STRING)
            return reader_fault(r, n, "content that is no text");
        d->content = n->u.string;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("content64")))
        return take_base64(r, n, &d->content);
    if (odb_slice_equal(n->name, odb_s("importance")))
        return read_number(r, n, &d->importance);
    if (odb_slice_equal(n->name, odb_s("props")))
        return read_props(r, n);
    if (odb_slice_equal(n->name, odb_s("fields")))
        return read_fields(r, n);
    if (odb_slice_equal(n->name, odb_s("has_vector"))) {
        if (n->type != JSON_BOOL)
            return reader_fault(r, n, "has_vector that is neither true nor false");
        d->has_vector = n->u.boolean;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("ts"))) {
        if (n->type != JSON_INT || n->u.integer == ODB_TIME_NOW)
            return reader_fault(r, n, "ts that is no integer of microseconds");
        d->timestamp = n->u.integer;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("kind"))) {
        if (n->type != JSON_INT || n->u.integer < 1 || n->u.integer > 255)
            return reader_fault(r, n, "a kind that is not 1 to 255");
        d->kind = (uint32_t)n->u.integer;
        return ODB_OK;
    }
    return reader_fault(r, n, "a member that a record does not have");
}

static odb_status record_read(struct record_reader *r)
{
    const struct json_node *root = r->doc.node, *n = json_first(root);
    odb_status st = buf_reserve(&r->bytes, r->doc.text.size + 1);
    bool has_id = false;

    if (st != ODB_OK)
        return st;
    if (root->type != JSON_OBJECT)
        return reader_fault(r, root, "not an object");
    for (uint32_t i = 0; st == ODB_OK && i < root->count; i++, n = json_next(&r->doc, n))
        st = read_member(r, n, &has_id);
    if (st == ODB_OK && !has_id)
        st = reader_fault(r, root, "no id");
    return st;
}

odb_status odb_record_put_json(odb_db *db, odb_txn *txn, odb_slice json, unsigned flags,
                               size_t *err_at)
{
    struct record_reader r;
    odb_status st;

    memset(&r, 0, sizeof r);
    r.draft = odb_record_make_bytes(odb_bytes(NULL, 0), odb_bytes(NULL, 0));
    st = json_read(json, &r.doc, &r.what, &r.at);
    if (st == ODB_OK)
        st = record_read(&r);
    if (st == ODB_INVALID && r.what) {
        if (err_at)
            *err_at = r.at;
        st = err_set(ODB_INVALID, "the record, at byte %zu: %s", r.at, r.what);
    } else if (st == ODB_OK) {
        st = odb_record_put(db, txn, &r.draft, flags);
        if (st == ODB_INVALID && err_at)
            *err_at = 0;
    }
    json_release(&r.doc);
    buf_release(&r.bytes);
    mem_free(r.props);
    mem_free(r.fields);
    return st;
}
