/* records/record_json.c -- records to JSON and back. */
#include "records/odb_record_json.h"

#include "base/alloc.h"
#include "records/prop_json.h"
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
            st = prop_json_add_value(b, &v);
    }
    return st == ODB_OK && !is_first ? json_add_raw(b, "}") : st;
}

static odb_status record_write(struct buf *b, const odb_record *r)
{
    const struct rec_view *v = &r->view;
    odb_status st = json_add_raw(b, "{");

    if (st == ODB_OK)
        st = prop_json_add_name(b, "id", r->id);
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
        st = json_add_f32(b, v->importance);
    if (st == ODB_OK)
        st = json_add_raw(b, ",");
    if (st == ODB_OK)
        st = prop_json_add_name(b, "content", v->content);
    if (st == ODB_OK && v->props.count)
        st = prop_json_add_props(b, &v->props);
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
    return json_hand_out(&b, st, buf, cap, len);
}

/* ---- reading ---- */

struct record_reader {
    struct prop_reader in;
    odb_record_draft draft;
    odb_prop *props;
    odb_field *fields;
    bool has_id;
};

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
        return prop_json_fault(&r->in, object, "fields that are no object");
    r->fields = mem_array(object->count + 1, sizeof *r->fields);
    if (!r->fields)
        return err_set(ODB_NOMEM, "no memory for the fields of a record");
    for (uint32_t i = 0; st == ODB_OK && i < object->count; i++, n = json_next(&r->in.doc, n)) {
        r->fields[i].id = field_by_name(n->name);
        if (r->fields[i].id == 0)
            return prop_json_fault(&r->in, n, "a field that does not exist");
        st = prop_json_take_value(&r->in, n, &r->fields[i].value);
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
        return prop_json_fault(&r->in, n, "importance that is no number");
    return ODB_OK;
}

static odb_status read_id(struct record_reader *r, const struct json_node *n, bool is_base64)
{
    if (r->has_id)
        return prop_json_fault(&r->in, n, "two ids");
    r->has_id = true;
    if (is_base64)
        return prop_json_take_base64(&r->in, n, &r->draft.id);
    if (n->type != JSON_STRING)
        return prop_json_fault(&r->in, n, "an id that is no text");
    r->draft.id = n->u.string;
    return ODB_OK;
}

static odb_status read_member(void *arg, const struct json_node *n)
{
    struct record_reader *r = arg;
    odb_record_draft *d = &r->draft;

    if (odb_slice_equal(n->name, odb_s("id")))
        return read_id(r, n, false);
    if (odb_slice_equal(n->name, odb_s("id64")))
        return read_id(r, n, true);
    if (odb_slice_equal(n->name, odb_s("content"))) {
        if (n->type != JSON_STRING)
            return prop_json_fault(&r->in, n, "content that is no text");
        d->content = n->u.string;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("content64")))
        return prop_json_take_base64(&r->in, n, &d->content);
    if (odb_slice_equal(n->name, odb_s("importance")))
        return read_number(r, n, &d->importance);
    if (odb_slice_equal(n->name, odb_s("props"))) {
        odb_status st = prop_json_take_props(&r->in, n, &r->props, &d->prop_count);

        d->props = r->props;
        return st;
    }
    if (odb_slice_equal(n->name, odb_s("fields")))
        return read_fields(r, n);
    if (odb_slice_equal(n->name, odb_s("has_vector"))) {
        if (n->type != JSON_BOOL)
            return prop_json_fault(&r->in, n, "has_vector that is neither true nor false");
        d->has_vector = n->u.boolean;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("ts"))) {
        if (n->type != JSON_INT || n->u.integer == ODB_TIME_NOW)
            return prop_json_fault(&r->in, n, "ts that is no integer of microseconds");
        d->timestamp = n->u.integer;
        return ODB_OK;
    }
    if (odb_slice_equal(n->name, odb_s("kind"))) {
        if (n->type != JSON_INT || n->u.integer < 1 || n->u.integer > 255)
            return prop_json_fault(&r->in, n, "a kind that is not 1 to 255");
        d->kind = (uint32_t)n->u.integer;
        return ODB_OK;
    }
    return prop_json_fault(&r->in, n, "a member that a record does not have");
}

odb_status odb_record_put_json(odb_db *db, odb_txn *txn, odb_slice json, unsigned flags,
                               size_t *err_at)
{
    struct record_reader r;
    odb_status st;

    memset(&r, 0, sizeof r);
    r.draft = odb_record_make_bytes(odb_bytes(NULL, 0), odb_bytes(NULL, 0));
    st = prop_json_read(&r.in, json, read_member, &r);
    if (st == ODB_OK && !r.has_id)
        st = prop_json_fault(&r.in, r.in.doc.node, "no id");
    if (st != ODB_OK) {
        st = prop_json_complain(&r.in, st, "record", err_at);
    } else {
        st = odb_record_put(db, txn, &r.draft, flags);
        if (st == ODB_INVALID && err_at)
            *err_at = 0;
    }
    prop_json_release(&r.in);
    mem_free(r.props);
    mem_free(r.fields);
    return st;
}
