/* records/audit.c -- records and index, compared and brought together.
 *
 *     records  --- every row it should have --->  is it there?          no: missing
 *     index    --- the record it points to  --->  does it say the same? no: stray
 *
 * Looking happens at one moment. Mending happens in transactions of PORTION entries each, which look
 * again and write what they find missing or stray; as every writer of a record writes the rows it
 * changes, a transaction that mends a row somebody else has just changed fails its check and is done
 * again.
 */
#include "records/index.h"

#define PORTION 200u

struct audit {
    struct rec_env *env;
    odb_txn *txn; /* to mend in; NULL: only look */
    odb_at at;
    struct buf from; /* the key to go on with; empty: the first */
    bool is_done;
    odb_records_report report;
    void (*each)(void *arg, odb_slice id, const char *fault);
    void *arg;
    struct buf key, room, name;
    odb_slice id; /* of the record at hand */
};

static void audit_release(struct audit *a)
{
    buf_release(&a->from);
    buf_release(&a->key);
    buf_release(&a->room);
    buf_release(&a->name);
}

static void tell_fault(struct audit *a, odb_slice id, const char *fault)
{
    if (a->each)
        a->each(a->arg, id, fault);
}

static odb_status audit_row_of(void *arg, odb_slice key)
{
    struct audit *a = arg;
    odb_status st = odb_exists(a->at, a->env->index, key);

    if (st != ODB_ABSENT)
        return st;
    a->report.missing_rows++;
    tell_fault(a, a->id, "a row of the index is missing");
    return a->txn ? odb_txn_put(a->txn, a->env->index, key, odb_bytes(NULL, 0)) : ODB_OK;
}

static odb_status audit_record(struct audit *a, odb_slice id, odb_slice bytes)
{
    struct rec_view view;
    const char *what;
    size_t off;

    if (rec_view_open(bytes, &view, &what, &off) != ODB_OK) {
        a->report.damaged++;
        tell_fault(a, id, what);
        return ODB_OK;
    }
    if (id.size == 0 || id.size > ODB_RECORD_ID_MAX) {
        a->report.damaged++;
        tell_fault(a, id, "an id of an impossible length");
        return ODB_OK;
    }
    a->report.records++;
    a->id = id;
    return rec_rows_each(rec_env_config(a->env), id, &view, &a->key, audit_row_of, a);
}

/* Whether such rows are kept at all. */
static bool audit_is_kept(const struct rec_config *config, const struct rec_row *row)
{
    if (row->kind == REC_ROW_TIME)
        return config->has_time;
    if (row->kind == REC_ROW_IMPORTANCE)
        return config->has_importance;
    for (uint32_t i = 0; i < config->prop_count; i++)
        if (odb_slice_equal(config->props[i], row->name))
            return true;
    return false;
}

/* NULL in *fault: the row is right. */
static odb_status audit_judge(struct audit *a, const struct rec_row *row, const char **fault)
{
    struct rec_view view;
    const char *what;
    odb_value v;
    size_t off;
    odb_status st;

    *fault = "a row of an index that is not kept";
    if (!audit_is_kept(rec_env_config(a->env), row))
        return ODB_OK;
    *fault = "a row of the index without a record";
    st = odb_get(a->at, a->env->records, row->id, &v);
    if (st != ODB_OK)
        return st == ODB_ABSENT ? ODB_OK : st;
    if (rec_view_open(odb_bytes(v.data, v.size), &view, &what, &off) != ODB_OK) {
        *fault = NULL; /* nobody can tell */
    } else {
        st = rec_row_matches(row, &view, &a->room);
        *fault = st == ODB_OK ? NULL : "a row of the index that the record contradicts";
        if (st == ODB_ABSENT)
            st = ODB_OK;
    }
    odb_value_release(&v);
    return st;
}

static odb_status audit_row(struct audit *a, odb_slice key, odb_slice value)
{
    const char *fault = "something in the index that is no row of it";
    struct rec_row row = {0};
    odb_status st = rec_row_parse(key, &a->name, &row);

    (void)value;
    a->report.index_rows++;
    if (st == ODB_OK)
        st = audit_judge(a, &row, &fault);
    else if (st == ODB_ABSENT)
        st = ODB_OK;
    if (st != ODB_OK || !fault)
        return st;
    a->report.stray_rows++;
    tell_fault(a, row.id, fault);
    return a->txn ? odb_txn_delete(a->txn, a->env->index, key) : ODB_OK;
}

/* Go on through a family for at most `max` entries. */
static odb_status audit_walk(struct audit *a, odb_cf *cf, uint64_t max,
                             odb_status (*each)(struct audit *a, odb_slice key, odb_slice value))
{
    odb_range range = {.lower = buf_slice(&a->from), .is_long = a->txn == NULL};
    odb_iter *it;
    odb_status st;
    bool ok;

    a->is_done = true;
    if (!cf)
        return ODB_OK;
    st = odb_iter_new(a->at, cf, a->from.len ? &range : NULL, &it);
    if (st != ODB_OK)
        return st;
    for (ok = odb_iter_first(it); ok && st == ODB_OK && max > 0; ok = odb_iter_next(it), max--)
        st = each(a, odb_iter_key(it), odb_iter_value(it));
    if (st == ODB_OK)
        st = odb_iter_status(it);
    if (st == ODB_OK && ok) {
        odb_slice next = odb_iter_key(it);

        a->is_done = false;
        st = buf_assign(&a->from, next.data, next.size);
    }
    odb_iter_free(it);
    return st;
}

odb_status odb_records_check(odb_at at, odb_records_report *out,
                             void (*each)(void *arg, odb_slice id, const char *fault), void *arg)
{
    struct audit a = {.at = at, .each = each, .arg = arg};
    odb_snapshot *moment = NULL;
    odb_status st;

    if (!out || out->size < sizeof *out)
        return err_set(ODB_INVALID, "the report is NULL, or its size is not set");
    st = rec_env_at(at, &a.env);
    if (st == ODB_OK && at.db) {
        st = odb_snapshot_new(at.db, &moment);
        a.at = odb_asof(moment);
    }
    if (st == ODB_OK)
        st = audit_walk(&a, a.env->records, UINT64_MAX, audit_record);
    if (st == ODB_OK)
        st = audit_walk(&a, a.env->index, UINT64_MAX, audit_row);
    odb_snapshot_free(moment);
    audit_release(&a);
    if (st == ODB_OK) {
        a.report.size = out->size;
        *out = a.report;
    }
    return st;
}

/* One portion, in a transaction; may be called again for the same one. */
static odb_status audit_portion(struct audit *a, odb_txn *txn, bool is_index)
{
    a->txn = txn;
    a->at = odb_in(txn);
    return is_index ? audit_walk(a, a->env->index, PORTION, audit_row)
                    : audit_walk(a, a->env->records, PORTION, audit_record);
}

struct audit_try {
    struct audit *a;
    bool is_index;
    struct buf from;           /* as they were ... */
    odb_records_report report; /* ... before the first try */
};

static odb_status audit_step(void *arg, odb_txn *txn)
{
    struct audit_try *t = arg;
    odb_status st = buf_assign(&t->a->from, t->from.p, t->from.len);

    t->a->report = t->report;
    return st == ODB_OK ? audit_portion(t->a, txn, t->is_index) : st;
}

static odb_status audit_mend(struct audit *a, bool is_index)
{
    struct audit_try t = {.a = a, .is_index = is_index};
    odb_status st = ODB_OK;

    buf_reset(&a->from);
    for (a->is_done = false; st == ODB_OK && !a->is_done;) {
        st = buf_assign(&t.from, a->from.p, a->from.len);
        t.report = a->report;
        if (st == ODB_OK)
            st = rec_in_txn(a->env->db, NULL, audit_step, &t);
    }
    buf_release(&t.from);
    return st;
}

odb_status odb_records_reindex(odb_db *db, odb_records_report *out)
{
    struct audit a = {.is_done = false};
    odb_status st;

    if (out && out->size < sizeof *out)
        return err_set(ODB_INVALID, "the size of the report is not set");
    st = rec_env_get(db, &a.env);
    if (st == ODB_OK && (!a.env->index || !a.env->records))
        st = err_set(ODB_READONLY, "this database is open for reading");
    if (st == ODB_OK)
        st = audit_mend(&a, false);
    if (st == ODB_OK)
        st = audit_mend(&a, true);
    audit_release(&a);
    if (st == ODB_OK && out) {
        a.report.size = out->size;
        *out = a.report;
    }
    return st;
}
