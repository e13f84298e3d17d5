/* records/record.c -- put, patch, delete, get.
 *
 *     put      read the old record, write the new one, delete and put the index rows that differ
 *     patch    the same, with what is not named taken from the old record
 *
 * 1. Every write happens in a transaction that has read the old record and writes its key: of two
 *    writers of one record the later to commit fails the check and begins again, so the rows it deletes
 *    are those of the record it replaces.
 * 2. A step that fails in a transaction of the caller is taken back to where it began (rec_in_txn):
 *    the transaction never holds half of a write.
 *
 * Threads: as the public calls say. No locks.
 */
#include "records/record.h"

#include "base/alloc.h"
#include "os/os.h"
#include "records/index.h"

#define DRAFT_KIND_MAX 255u

odb_status rec_id_check(odb_slice id)
{
    if (ODB_LIKELY(id.size > 0 && id.size <= ODB_RECORD_ID_MAX && id.data))
        return ODB_OK;
    return err_set(ODB_INVALID, "an id of %zu bytes; 1 to %d are possible", id.size,
                   ODB_RECORD_ID_MAX);
}

/* ---- writing ---- */

/* One write of one record, from the arguments to the transaction. */
struct rec_write {
    struct rec_env *env;
    odb_slice id;
    unsigned flags;
    const odb_record_draft *draft; /* put */
    const odb_patch *patch;        /* patch; neither: delete */
    struct rec_spec spec;
    struct buf props; /* put: encoded once, however often the transaction is tried */
    struct buf bytes;
    struct buf key;
};

static void write_release(struct rec_write *w)
{
    buf_release(&w->props);
    buf_release(&w->bytes);
    buf_release(&w->key);
}

/* The old record of a write. *old is set when there is one that can be read; *v is to be released. */
static odb_status write_read_old(struct rec_write *w, odb_txn *txn, odb_value *v,
                                 struct rec_view *view, const struct rec_view **old, bool *is_there)
{
    odb_status st = odb_get(odb_in(txn), w->env->records, w->id, v);
    const char *what;
    size_t off;

    *old = NULL;
    *is_there = st == ODB_OK;
    if (st == ODB_ABSENT) {
        if (w->flags & (ODB_UPDATE_ONLY | ODB_MUST_EXIST))
            return ODB_ABSENT;
        return ODB_OK;
    }
    if (st != ODB_OK)
        return st;
    if (w->flags & ODB_INSERT_ONLY)
        return err_set(ODB_EXISTS, "there is a record of that id already");
    st = rec_view_open(odb_bytes(v->data, v->size), view, &what, &off);
    if (st == ODB_OK)
        *old = view;
    else if (w->flags & ODB_OVER_DAMAGE)
        st = ODB_OK;
    else
        st = rec_view_complain(st, w->id, what, off);
    return st;
}

static odb_status write_patch(struct rec_write *w, const struct rec_view *old)
{
    const odb_patch *p = w->patch;
    odb_status st;

    w->spec.kind = old->kind;
    w->spec.flags = old->flags;
    w->spec.old = old;
    if (!(p->change & ODB_PATCH_IMPORTANCE))
        w->spec.importance = old->importance;
    if (!(p->change & ODB_PATCH_TIMESTAMP))
        w->spec.timestamp = old->timestamp;
    if (p->change & ODB_PATCH_VECTOR)
        w->spec.flags =
            (uint16_t)((old->flags & ~REC_FLAG_VECTOR) | (p->has_vector ? REC_FLAG_VECTOR : 0));
    w->spec.content = p->change & ODB_PATCH_CONTENT ? p->content : old->content;
    buf_reset(&w->props);
    st = rec_props_merge(&w->props, &old->props, p->set, p->set_count, p->unset, p->unset_count);
    if (st == ODB_OK)
        w->spec.props = w->props.len > 4 ? buf_slice(&w->props) : odb_bytes(NULL, 0);
    return st;
}

/* The record as it will be stored, in w->bytes. */
static odb_status write_encode(struct rec_write *w, const struct rec_view *old)
{
    odb_status st = ODB_OK;

    if (w->patch) {
        st = write_patch(w, old);
    } else {
        w->spec.old = old;
        w->spec.only_unknown = true;
    }
    return st == ODB_OK ? rec_spec_write(&w->bytes, &w->spec) : st;
}

static odb_status write_step(void *arg, odb_txn *txn)
{
    struct rec_write *w = arg;
    odb_value v = {NULL, 0, NULL, {NULL, NULL, NULL}};
    const struct rec_view *old = NULL, *now = NULL;
    struct rec_view old_view, now_view;
    bool is_there;
    odb_status st = write_read_old(w, txn, &v, &old_view, &old, &is_there);
    const char *what;
    size_t off;

    if (st == ODB_OK && (w->draft || w->patch)) {
        st = write_encode(w, old);
        if (st == ODB_OK && rec_view_open(buf_slice(&w->bytes), &now_view, &what, &off) != ODB_OK)
            st = err_set(ODB_INVALID, "this record could not be read back: %s", what);
        if (st == ODB_OK)
            st = odb_txn_put(txn, w->env->records, w->id, buf_slice(&w->bytes));
        now = &now_view;
    } else if (st == ODB_OK && is_there) {
        st = odb_txn_delete(txn, w->env->records, w->id);
    }
    if (st == ODB_OK && (old || now))
        st = rec_rows_change(w->env, txn, w->id, old, now, &w->key);
    odb_value_release(&v);
    return st;
}

static odb_status write_run(struct rec_write *w, odb_db *db, odb_txn *txn)
{
    odb_status st = rec_env_get(db, &w->env);

    if (st == ODB_OK && (!w->env->records || !w->env->index))
        st = err_set(ODB_READONLY, "this database is open for reading, and has no records");
    if (st == ODB_OK)
        st = rec_in_txn(db, txn, write_step, w);
    return st;
}

static int64_t write_time(int64_t given)
{
    return given == ODB_TIME_NOW ? (int64_t)os_wall_us(os_posix()) : given;
}

static odb_status check_lists(const void *props, size_t prop_count, const odb_field *fields,
                              size_t field_count, odb_slice content)
{
    if ((!props && prop_count) || (!fields && field_count) || (!content.data && content.size))
        return err_set(ODB_INVALID, "content, properties or fields are counted, but NULL");
    return ODB_OK;
}

static odb_status check_flags(unsigned flags, unsigned known)
{
    if (flags & ~known)
        return err_set(ODB_INVALID, "flags %#x do not go with this call", flags & ~known);
    return ODB_OK;
}

odb_status odb_record_put(odb_db *db, odb_txn *txn, const odb_record_draft *draft, unsigned flags)
{
    struct rec_write w = {.draft = draft, .flags = flags};
    odb_status st = draft ? ODB_OK : err_set(ODB_INVALID, "the record to put is NULL");

    if (st == ODB_OK && draft->size < sizeof *draft)
        st = err_set(ODB_INVALID, "odb_record_draft.size is %zu; use odb_record_make()",
                     draft->size);
    if (st == ODB_OK)
        st = check_flags(flags, ODB_INSERT_ONLY | ODB_UPDATE_ONLY | ODB_OVER_DAMAGE);
    if (st == ODB_OK)
        st = rec_id_check(draft->id);
    if (st == ODB_OK && (draft->kind == 0 || draft->kind > DRAFT_KIND_MAX))
        st = err_set(ODB_INVALID, "a record of kind %u; 1 to 255 are possible",
                     (unsigned)draft->kind);
    if (st == ODB_OK)
        st = check_lists(draft->props, draft->prop_count, draft->fields, draft->field_count,
                         draft->content);
    if (st == ODB_OK)
        st = rec_importance_clamp(draft->importance, &w.spec.importance);
    if (st == ODB_OK && draft->prop_count)
        st = rec_props_append(&w.props, draft->props, draft->prop_count);
    if (st == ODB_OK) {
        w.id = draft->id;
        w.spec.kind = (uint8_t)draft->kind;
        w.spec.flags = draft->has_vector ? REC_FLAG_VECTOR : 0;
        w.spec.timestamp = write_time(draft->timestamp);
        w.spec.content = draft->content;
        w.spec.props = buf_slice(&w.props);
        w.spec.fields = draft->fields;
        w.spec.field_count = draft->field_count;
        st = write_run(&w, db, txn);
    }
    write_release(&w);
    return st;
}

odb_status odb_record_patch(odb_db *db, odb_txn *txn, odb_slice id, const odb_patch *patch)
{
    struct rec_write w = {.patch = patch, .flags = ODB_UPDATE_ONLY, .id = id};
    odb_status st = patch ? rec_id_check(id) : err_set(ODB_INVALID, "the patch is NULL");

    if (st == ODB_OK && patch->size < sizeof *patch)
        st = err_set(ODB_INVALID, "odb_patch.size is %zu, not %zu", patch->size, sizeof *patch);
    if (st == ODB_OK)
        st = check_flags(patch->change, ODB_PATCH_IMPORTANCE | ODB_PATCH_TIMESTAMP |
                                            ODB_PATCH_CONTENT | ODB_PATCH_VECTOR);
    if (st == ODB_OK)
        st = check_lists(patch->set, patch->set_count, patch->fields, patch->field_count,
                         patch->content);
    if (st == ODB_OK && !patch->unset && patch->unset_count)
        st = err_set(ODB_INVALID, "the properties to remove are counted, but NULL");
    if (st == ODB_OK && patch->change & ODB_PATCH_IMPORTANCE)
        st = rec_importance_clamp(patch->importance, &w.spec.importance);
    if (st == ODB_OK) {
        w.spec.timestamp = write_time(patch->timestamp);
        w.spec.fields = patch->fields;
        w.spec.field_count = patch->field_count;
        st = write_run(&w, db, txn);
    }
    write_release(&w);
    return st;
}

odb_status odb_record_delete(odb_db *db, odb_txn *txn, odb_slice id, unsigned flags)
{
    struct rec_write w = {.flags = flags, .id = id};
    odb_status st = rec_id_check(id);

    if (st == ODB_OK)
        st = check_flags(flags, ODB_MUST_EXIST | ODB_OVER_DAMAGE);
    if (st == ODB_OK)
        st = write_run(&w, db, txn);
    write_release(&w);
    return st;
}

/* ---- reading ---- */

/* A record without value and view. */
static odb_status record_alloc(odb_slice id, odb_record **out)
{
    odb_record *r = mem_alloc(sizeof *r + id.size);

    if (!r)
        return err_set(ODB_NOMEM, "no memory for a record");
    memcpy(r->id_room, id.data, id.size);
    r->id = odb_bytes(r->id_room, id.size);
    *out = r;
    return ODB_OK;
}

odb_status rec_record_new(odb_slice id, const odb_value *value, odb_record **out)
{
    const char *what;
    odb_record *r = NULL;
    size_t off;
    odb_status st = record_alloc(id, &r);

    if (st != ODB_OK)
        return st;
    r->value = *value;
    st = rec_view_open(odb_bytes(value->data, value->size), &r->view, &what, &off);
    if (st != ODB_OK) {
        mem_free(r);
        return rec_view_complain(st, id, what, off);
    }
    *out = r;
    return ODB_OK;
}

static odb_status check_read(odb_at at, odb_slice id, struct rec_env **env)
{
    odb_status st = rec_id_check(id);

    if (st == ODB_OK)
        st = rec_env_at(at, env);
    return st;
}

odb_status odb_record_get(odb_at at, odb_slice id, odb_record **out)
{
    struct rec_env *env;
    odb_value v;
    odb_status st = check_read(at, id, &env);

    if (st == ODB_OK && !out)
        st = err_set(ODB_INVALID, "the place for the record is NULL");
    if (st != ODB_OK)
        return st;
    if (!env->records)
        return ODB_ABSENT;
    st = odb_get(at, env->records, id, &v);
    if (st != ODB_OK)
        return st;
    st = rec_record_new(id, &v, out);
    if (st != ODB_OK)
        odb_value_release(&v);
    return st;
}

void odb_record_free(odb_record *r)
{
    if (!r)
        return;
    odb_value_release(&r->value);
    mem_free(r);
}

odb_status odb_record_exists(odb_at at, odb_slice id)
{
    struct rec_env *env;
    odb_status st = check_read(at, id, &env);

    if (st != ODB_OK)
        return st;
    return env->records ? odb_exists(at, env->records, id) : ODB_ABSENT;
}

static odb_status all_are(odb_status st, size_t n, odb_record **out, odb_status *each)
{
    for (size_t i = 0; i < n; i++) {
        each[i] = st;
        out[i] = NULL;
    }
    return n && st == ODB_ABSENT ? ODB_OK : st;
}

odb_status odb_record_multiget(odb_at at, const odb_slice *ids, size_t n, odb_record **out,
                               odb_status *each)
{
    struct rec_env *env;
    odb_value *values;
    odb_status st = ODB_OK;

    if (n && (!ids || !out || !each))
        return err_set(ODB_INVALID, "ids, records and statuses must not be NULL");
    for (size_t i = 0; st == ODB_OK && i < n; i++)
        st = rec_id_check(ids[i]);
    if (st == ODB_OK)
        st = rec_env_at(at, &env);
    if (st != ODB_OK)
        return all_are(st, n, out, each);
    if (!env->records)
        return all_are(ODB_ABSENT, n, out, each);
    values = mem_array(n ? n : 1, sizeof *values);
    if (!values)
        return all_are(err_set(ODB_NOMEM, "no memory to read %zu records", n), n, out, each);
    st = odb_multiget(at, env->records, ids, n, values, each);
    for (size_t i = 0; i < n; i++) {
        out[i] = NULL;
        if (each[i] != ODB_OK)
            continue;
        each[i] = rec_record_new(ids[i], &values[i], &out[i]);
        if (each[i] != ODB_OK) {
            odb_value_release(&values[i]);
            if (st == ODB_OK)
                st = each[i];
        }
    }
    mem_free(values);
    return st;
}

odb_status odb_record_view(odb_slice id, odb_slice bytes, odb_record **out)
{
    odb_value v = {bytes.data, bytes.size, NULL, {NULL, NULL, NULL}};
    odb_status st = rec_id_check(id);

    if (st == ODB_OK && (!out || (!bytes.data && bytes.size)))
        st = err_set(ODB_INVALID, "bytes or the place for the record are NULL");
    if (st == ODB_OK)
        st = rec_record_new(id, &v, out);
    if (st == ODB_OK)
        memset(&(*out)->value, 0, sizeof v); /* they are the caller's */
    return st;
}

/* ---- looking into a record ---- */

odb_slice odb_record_id(const odb_record *r)
{
    return r->id;
}

odb_slice odb_record_content(const odb_record *r)
{
    return r->view.content;
}

odb_slice odb_record_bytes(const odb_record *r)
{
    return r->view.bytes;
}

float odb_record_importance(const odb_record *r)
{
    return r->view.importance;
}

int64_t odb_record_timestamp(const odb_record *r)
{
    return r->view.timestamp;
}

uint32_t odb_record_kind_of(const odb_record *r)
{
    return r->view.kind;
}

bool odb_record_has_vector(const odb_record *r)
{
    return r->view.flags & REC_FLAG_VECTOR;
}

bool odb_record_prop(const odb_record *r, odb_slice name, odb_prop_value *out)
{
    return rec_props_find(&r->view.props, name, out);
}

uint32_t odb_record_prop_count(const odb_record *r)
{
    return r->view.props.count;
}

void odb_record_prop_at(const odb_record *r, uint32_t i, odb_prop *out)
{
    rec_props_at(&r->view.props, i, out);
}

bool odb_record_field(const odb_record *r, uint32_t id, odb_prop_value *out)
{
    return id > REC_FIELD_PROPS && rec_view_field(&r->view, id, out);
}
