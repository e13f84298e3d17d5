/* records/index.c -- the rows of "record_index". A row is a key; its value is empty.
 *
 *     't' | timestamp i64          | id       one for each record, unless switched off
 *     'i' | importance f32         | id       the same
 *     'p' | name 00 01 | value     | id       for each declared property the record has
 *
 *     value   01                            null
 *             02 | 00 or 01                 boolean
 *             03 | f64                      a number; integers are put into the nearest double
 *             04 | text 00 01               of the first 255 bytes
 *             05 | bytes 00 01              the same
 *
 * Numbers are in the order-preserving form of key.h, texts in its escape. The id is the rest of the key,
 * as it is.
 *
 * 1. Rows are put and deleted in the commit that changes the record, by whoever changes it: a record
 *    has exactly the rows that rec_rows_each() names.
 * 2. Readers look at the record nevertheless, and pass over a row it does not have: rows are cut and
 *    rounded, and "records" may have been written raw.
 */
#include "records/index.h"

#include "records/key.h"

enum row_value { ROW_NULL = 1, ROW_BOOL, ROW_NUMBER, ROW_TEXT, ROW_BYTES };

odb_status rec_row_time(struct buf *b, int64_t timestamp)
{
    uint8_t row[9] = {REC_ROW_TIME};

    rec_key_put_i64(row + 1, timestamp);
    return buf_append(b, row, sizeof row);
}

odb_status rec_row_importance(struct buf *b, float importance)
{
    uint8_t row[5] = {REC_ROW_IMPORTANCE};

    rec_key_put_f32(row + 1, importance);
    return buf_append(b, row, sizeof row);
}

odb_status rec_row_name(struct buf *b, odb_slice name)
{
    size_t from = b->len;
    uint8_t kind = REC_ROW_PROP;
    odb_status st = buf_append(b, &kind, 1);

    if (st == ODB_OK)
        st = rec_key_part(b, name);
    if (st != ODB_OK)
        b->len = from;
    return st;
}

static odb_status row_number(struct buf *b, double v)
{
    uint8_t row[9] = {ROW_NUMBER};

    rec_key_put_f64(row + 1, v);
    return buf_append(b, row, sizeof row);
}

odb_status rec_row_order(struct buf *b, const odb_prop_value *value)
{
    size_t from = b->len;
    uint8_t two[2] = {0, 0};
    odb_slice cut;
    odb_status st;

    switch (value->type) {
    case ODB_PROP_NULL: two[0] = ROW_NULL; return buf_append(b, two, 1);
    case ODB_PROP_BOOL:
        two[0] = ROW_BOOL;
        two[1] = value->u.boolean;
        return buf_append(b, two, 2);
    case ODB_PROP_INT: return row_number(b, (double)value->u.integer);
    case ODB_PROP_REAL: return row_number(b, value->u.real);
    case ODB_PROP_TEXT:
    case ODB_PROP_BYTES: break;
    default: return ODB_ABSENT;
    }
    two[0] = value->type == ODB_PROP_TEXT ? ROW_TEXT : ROW_BYTES;
    cut = value->u.bytes;
    if (cut.size > REC_ROW_VALUE_MAX)
        cut.size = REC_ROW_VALUE_MAX;
    st = buf_append(b, two, 1);
    if (st == ODB_OK)
        st = rec_key_part(b, cut);
    if (st != ODB_OK)
        b->len = from;
    return st;
}

odb_status rec_row_value(struct buf *b, odb_slice name, const odb_prop_value *value)
{
    size_t from = b->len;
    odb_status st = rec_row_name(b, name);

    if (st == ODB_OK)
        st = rec_row_order(b, value);
    if (st != ODB_OK)
        b->len = from;
    return st;
}

/* Pass over the value of a property's row. */
static bool skip_row_value(struct dec *d)
{
    switch (dec_u8(d)) {
    case ROW_NULL: return !d->bad;
    case ROW_BOOL: return dec_u8(d) <= 1 && !d->bad;
    case ROW_NUMBER: return dec_take(d, 8) != NULL;
    case ROW_TEXT:
    case ROW_BYTES: return rec_key_skip_part(d);
    default: return false;
    }
}

odb_status rec_row_parse(odb_slice key, struct buf *room, struct rec_row *out)
{
    struct dec d = dec_from(key);
    bool is_fine;

    memset(out, 0, sizeof *out);
    out->kind = dec_u8(&d);
    switch (out->kind) {
    case REC_ROW_TIME: is_fine = dec_take(&d, 8) != NULL; break;
    case REC_ROW_IMPORTANCE: is_fine = dec_take(&d, 4) != NULL; break;
    case REC_ROW_PROP:
        is_fine = rec_key_take_part(&d, room, &out->name);
        if (!is_fine && !d.bad)
            return ODB_NOMEM;
        is_fine = is_fine && skip_row_value(&d);
        break;
    default: is_fine = false;
    }
    if (!is_fine || dec_left(&d) == 0 || dec_left(&d) > ODB_RECORD_ID_MAX)
        return ODB_ABSENT;
    out->prefix = odb_bytes(key.data, key.size - dec_left(&d));
    out->id = odb_bytes(d.p, dec_left(&d));
    return ODB_OK;
}

odb_status rec_row_matches(const struct rec_row *row, const struct rec_view *record,
                           struct buf *room)
{
    odb_prop_value value;
    odb_status st;

    buf_reset(room);
    if (row->kind == REC_ROW_TIME)
        st = rec_row_time(room, record->timestamp);
    else if (row->kind == REC_ROW_IMPORTANCE)
        st = rec_row_importance(room, record->importance);
    else if (!rec_props_find(&record->props, row->name, &value))
        return ODB_ABSENT;
    else
        st = rec_row_value(room, row->name, &value);
    if (st != ODB_OK)
        return st;
    return odb_slice_equal(buf_slice(room), row->prefix) ? ODB_OK : ODB_ABSENT;
}

odb_status rec_rows_each(const struct rec_config *config, odb_slice id,
                         const struct rec_view *record, struct buf *key,
                         odb_status (*each)(void *arg, odb_slice key), void *arg)
{
    odb_status st = ODB_OK;

    if (config->has_time) {
        buf_reset(key);
        st = rec_row_time(key, record->timestamp);
        if (st == ODB_OK)
            st = buf_append(key, id.data, id.size);
        if (st == ODB_OK)
            st = each(arg, buf_slice(key));
    }
    if (st == ODB_OK && config->has_importance) {
        buf_reset(key);
        st = rec_row_importance(key, record->importance);
        if (st == ODB_OK)
            st = buf_append(key, id.data, id.size);
        if (st == ODB_OK)
            st = each(arg, buf_slice(key));
    }
    for (uint32_t i = 0; st == ODB_OK && i < config->prop_count; i++) {
        odb_prop_value value;

        if (!rec_props_find(&record->props, config->props[i], &value))
            continue;
        buf_reset(key);
        st = rec_row_value(key, config->props[i], &value);
        if (st == ODB_ABSENT) {
            st = ODB_OK;
            continue;
        }
        if (st == ODB_OK)
            st = buf_append(key, id.data, id.size);
        if (st == ODB_OK)
            st = each(arg, buf_slice(key));
    }
    return st;
}

/* ---- the difference of two records ---- */

struct rows_change {
    struct rec_env *env;
    odb_txn *txn;
    odb_slice id;
    const struct rec_view *other; /* a row it has too stays as it is; NULL: none */
    struct buf *room;
    bool is_delete;
};

static odb_status change_row(void *arg, odb_slice key)
{
    struct rows_change *c = arg;
    struct rec_row row;

    if (c->other) {
        struct buf name = {0};
        odb_status st = rec_row_parse(key, &name, &row);

        if (st == ODB_OK)
            st = rec_row_matches(&row, c->other, c->room);
        buf_release(&name);
        if (st != ODB_ABSENT)
            return st;
    }
    return c->is_delete ? odb_txn_delete(c->txn, c->env->index, key)
                        : odb_txn_put(c->txn, c->env->index, key, odb_bytes(NULL, 0));
}

odb_status rec_rows_change(struct rec_env *env, odb_txn *txn, odb_slice id,
                           const struct rec_view *old, const struct rec_view *now, struct buf *key)
{
    const struct rec_config *config = rec_env_config(env);
    struct buf room = {0};
    struct rows_change c = {env, txn, id, now, &room, true};
    odb_status st = ODB_OK;

    if (old)
        st = rec_rows_each(config, id, old, key, change_row, &c);
    c.other = old;
    c.is_delete = false;
    if (st == ODB_OK && now)
        st = rec_rows_each(config, id, now, key, change_row, &c);
    buf_release(&room);
    return st;
}
