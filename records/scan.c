/* records/scan.c -- walks over records.
 *
 *     by id       records   id -> bytes                           looked at where they lie
 *     by another  index     row -> ""      rows of a portion, then their records in one multiget
 *
 * 1. Whatever the order, a walk is over one range of keys of one family. Bounds of the scan and of its
 *    filter that concern the order of the walk narrow the range; the others are tested record by record.
 * 2. A resume is the last key shown, with the order and direction in front; going on is one more bound.
 * 3. A row is shown only if its record has that row (index.c, 2). With ids_only, rows by time and
 *    importance are believed: they hold the whole value.
 * 4. An index walk "now" takes a snapshot, so that rows and records are of one moment.
 */
#include "records/odb_scan.h"

#include "base/alloc.h"
#include "os/os.h"
#include "records/filter.h"
#include "records/index.h"
#include "records/record.h"

#define PORTION_FIRST 16u
#define PORTION_MAX   256u
#define PROBE_MAX     512u /* rows, when an order is to be chosen */

struct odb_record_iter {
    struct rec_env *env;
    odb_at at;
    odb_snapshot *moment; /* of this walk; NULL: the caller's, or none needed */
    odb_scan scan;        /* its slices point into `room` */
    odb_prop_value prop_from, prop_to;
    struct buf room;
    int64_t now;

    odb_iter *keys; /* over the records or the index; NULL: nothing can match */
    bool has_begun, is_at_end;
    struct buf lower, upper;
    bool has_upper;
    struct buf segment; /* prefix and the character that goes on */

    uint64_t shown, damaged;
    odb_status status;
    odb_record *record; /* the one place of this walk; the id is lent */
    bool is_on;
    struct buf place; /* resume */

    /* ---- rows of a portion ---- */
    struct buf rows;
    size_t *row_end;
    odb_slice *ids;
    odb_value *values;
    odb_status *each;
    uint32_t count, next, portion;
    struct buf name, key;
};

static void portion_release(odb_record_iter *it)
{
    for (uint32_t i = it->next; i < it->count; i++)
        if (it->each[i] == ODB_OK)
            odb_value_release(&it->values[i]);
    it->count = it->next = 0;
}

void odb_record_iter_free(odb_record_iter *it)
{
    if (!it)
        return;
    if (it->values)
        portion_release(it);
    if (it->record)
        odb_value_release(&it->record->value);
    mem_free(it->record);
    odb_iter_free(it->keys);
    odb_snapshot_free(it->moment);
    buf_release(&it->room);
    buf_release(&it->lower);
    buf_release(&it->upper);
    buf_release(&it->segment);
    buf_release(&it->place);
    buf_release(&it->rows);
    buf_release(&it->name);
    buf_release(&it->key);
    mem_free(it->row_end);
    mem_free(it->ids);
    mem_free(it->values);
    mem_free(it->each);
    mem_free(it);
}

/* ---- bounds ---- */

/* Make `b` the first key behind all that begin as it does; false: there is none. */
static bool key_successor(struct buf *b)
{
    while (b->len > 0 && b->p[b->len - 1] == 0xFF)
        b->len--;
    if (b->len == 0)
        return false;
    b->p[b->len - 1]++;
    return true;
}

static odb_status raise_lower(odb_record_iter *it, odb_slice key)
{
    if (odb_slice_compare(key, buf_slice(&it->lower)) <= 0)
        return ODB_OK;
    return buf_assign(&it->lower, key.data, key.size);
}

static odb_status drop_upper(odb_record_iter *it, odb_slice key)
{
    if (it->has_upper && odb_slice_compare(key, buf_slice(&it->upper)) >= 0)
        return ODB_OK;
    it->has_upper = true;
    return buf_assign(&it->upper, key.data, key.size);
}

/* No key behind those that begin as `b` does, which is changed. */
static odb_status drop_behind(odb_record_iter *it, struct buf *b)
{
    return key_successor(b) ? drop_upper(it, buf_slice(b)) : ODB_OK;
}

/* The keys that begin so, and no others. */
static odb_status keep_prefix(odb_record_iter *it, odb_slice prefix)
{
    struct buf b = {0};
    odb_status st = raise_lower(it, prefix);

    if (st == ODB_OK)
        st = buf_assign(&b, prefix.data, prefix.size);
    if (st == ODB_OK)
        st = drop_behind(it, &b);
    buf_release(&b);
    return st;
}

static odb_status bounds_by_id(odb_record_iter *it, const struct filter_bounds *b)
{
    const odb_scan *s = &it->scan;
    odb_status st = ODB_OK;

    if (s->prefix.size && s->segment) {
        st = buf_assign(&it->segment, s->prefix.data, s->prefix.size);
        if (st == ODB_OK)
            st = buf_append(&it->segment, &s->segment, 1);
    }
    if (st == ODB_OK && s->prefix.size)
        st = keep_prefix(it, s->prefix);
    if (st == ODB_OK && it->segment.len) { /* nothing of use lies behind */
        struct buf end = {0};

        st = buf_assign(&end, it->segment.p, it->segment.len);
        if (st == ODB_OK)
            st = drop_behind(it, &end);
        buf_release(&end);
    }
    if (st == ODB_OK && b->id_prefix.size)
        st = keep_prefix(it, b->id_prefix);
    if (st == ODB_OK && s->from.size)
        st = raise_lower(it, s->from);
    if (st == ODB_OK && s->to.data)
        st = drop_upper(it, s->to);
    return st;
}

/* From the row of `from` on, up to and with those of `to`. */
static odb_status bounds_by_time(odb_record_iter *it, int64_t from, int64_t to)
{
    struct buf b = {0};
    odb_status st = rec_row_time(&b, from);

    if (st == ODB_OK)
        st = raise_lower(it, buf_slice(&b));
    buf_reset(&b);
    if (st == ODB_OK)
        st = rec_row_time(&b, to);
    if (st == ODB_OK)
        st = drop_behind(it, &b);
    buf_release(&b);
    return st;
}

static odb_status bounds_by_importance(odb_record_iter *it, float from, float to)
{
    struct buf b = {0};
    odb_status st = rec_row_importance(&b, from);

    if (st == ODB_OK)
        st = raise_lower(it, buf_slice(&b));
    buf_reset(&b);
    if (st == ODB_OK)
        st = rec_row_importance(&b, to);
    if (st == ODB_OK)
        st = drop_behind(it, &b);
    buf_release(&b);
    return st;
}

static odb_status bounds_by_prop(odb_record_iter *it)
{
    const odb_scan *s = &it->scan;
    const odb_prop_value *either = s->prop_from ? s->prop_from : s->prop_to;
    struct buf b = {0};
    size_t name_len;
    odb_status st = rec_row_name(&b, s->prop);

    name_len = b.len;
    if (st == ODB_OK)
        st = keep_prefix(it, buf_slice(&b));
    if (st == ODB_OK && either) { /* values of one type lie together */
        st = rec_row_order(&b, either);
        if (st == ODB_OK) {
            b.len = name_len + 1;
            st = keep_prefix(it, buf_slice(&b));
        }
    }
    b.len = name_len;
    if (st == ODB_OK && s->prop_from) {
        st = rec_row_order(&b, s->prop_from);
        if (st == ODB_OK)
            st = raise_lower(it, buf_slice(&b));
    }
    b.len = name_len;
    if (st == ODB_OK && s->prop_to) {
        st = rec_row_order(&b, s->prop_to);
        if (st == ODB_OK)
            st = drop_behind(it, &b);
    }
    buf_release(&b);
    if (st == ODB_ABSENT)
        st = err_set(ODB_INVALID, "properties of this type have no order");
    return st;
}

/* The bounds of scan and filter together. */
static struct filter_bounds scan_bounds(const odb_record_iter *it)
{
    const odb_scan *s = &it->scan;
    struct filter_bounds b;

    filter_bounds_of(s->filter, it->now, &b);
    if (s->time_from && s->time_from > b.time_from)
        b.time_from = s->time_from;
    if (s->time_to && s->time_to - 1 < b.time_to)
        b.time_to = s->time_to - 1;
    if (s->importance_from > b.importance_from)
        b.importance_from = s->importance_from;
    if (s->importance_to > 0 && s->importance_to < b.importance_to)
        b.importance_to = s->importance_to;
    b.has_time |= s->time_from || s->time_to;
    b.has_importance |= s->importance_from > 0 || s->importance_to > 0;
    return b;
}

static odb_status bounds_of_order(odb_record_iter *it, odb_record_order order)
{
    struct filter_bounds b = scan_bounds(it);

    buf_reset(&it->lower);
    buf_reset(&it->upper);
    it->has_upper = false;
    switch (order) {
    case ODB_BY_TIME: return bounds_by_time(it, b.time_from, b.time_to);
    case ODB_BY_IMPORTANCE: return bounds_by_importance(it, b.importance_from, b.importance_to);
    case ODB_BY_PROP: return bounds_by_prop(it);
    default: return bounds_by_id(it, &b);
    }
}

static odb_status bounds_resume(odb_record_iter *it)
{
    const uint8_t *p = it->scan.resume.data;
    odb_slice key;
    odb_status st;

    if (it->scan.resume.size == 0)
        return ODB_OK;
    key = odb_bytes(p + 2, it->scan.resume.size - 2);
    if (it->scan.is_reverse)
        return drop_upper(it, key);
    st = raise_lower(it, key);
    if (st == ODB_OK && odb_slice_equal(buf_slice(&it->lower), key))
        st = buf_append(&it->lower, "", 1);
    return st;
}

/* ---- opening ---- */

static odb_status scan_check(const odb_scan *s)
{
    const uint8_t *resume = s->resume.data;

    if (s->size < sizeof *s)
        return err_set(ODB_INVALID, "odb_scan.size is %zu, not %zu", s->size, sizeof *s);
    if ((unsigned)s->order > ODB_IN_ANY_ORDER)
        return err_set(ODB_INVALID, "there is no order %d", (int)s->order);
    if (!(s->importance_from >= 0) || !(s->importance_to >= 0))
        return err_set(ODB_INVALID, "a bound of importance is negative or not a number");
    if (s->segment && !s->prefix.size)
        return err_set(ODB_INVALID, "a segment needs a prefix");
    if (s->resume.size && (s->resume.size < 3 || resume[0] > ODB_BY_PROP || resume[1] > 1 ||
                           resume[1] != s->is_reverse ||
                           (s->order != ODB_IN_ANY_ORDER && resume[0] != (uint8_t)s->order)))
        return err_set(ODB_INVALID, "the place to resume at is of another kind of scan");
    if ((s->order == ODB_BY_PROP) != (s->prop.size > 0))
        return err_set(ODB_INVALID, "prop goes with ODB_BY_PROP, and only with it");
    if ((s->prop_from || s->prop_to) && s->order != ODB_BY_PROP)
        return err_set(ODB_INVALID, "bounds of a property go with ODB_BY_PROP only");
    return ODB_OK;
}

/* Copy `*s` to the end of `room`, which does not move. */
static void room_take(struct buf *room, odb_slice *s)
{
    uint8_t *to = room->p + room->len;

    if (s->size)
        memcpy(to, s->data, s->size);
    room->len += s->size;
    if (s->data)
        s->data = to;
}

static size_t value_room(const odb_prop_value *v)
{
    return v && v->type >= ODB_PROP_TEXT ? v->u.bytes.size : 0;
}

static void value_take(struct buf *room, const odb_prop_value **v, odb_prop_value *to)
{
    if (!*v)
        return;
    *to = **v;
    if (to->type >= ODB_PROP_TEXT)
        room_take(room, &to->u.bytes);
    *v = to;
}

static odb_status scan_take(odb_record_iter *it, const odb_scan *s)
{
    odb_status st;

    it->scan = *s;
    st = buf_reserve(&it->room, s->prefix.size + s->from.size + s->to.size + s->prop.size +
                                    s->resume.size + value_room(s->prop_from) +
                                    value_room(s->prop_to) + 1);
    if (st != ODB_OK)
        return st;
    room_take(&it->room, &it->scan.prefix);
    room_take(&it->room, &it->scan.from);
    room_take(&it->room, &it->scan.to);
    room_take(&it->room, &it->scan.prop);
    room_take(&it->room, &it->scan.resume);
    value_take(&it->room, &it->scan.prop_from, &it->prop_from);
    value_take(&it->room, &it->scan.prop_to, &it->prop_to);
    return ODB_OK;
}

static odb_status scan_range(odb_record_iter *it, odb_cf *cf, bool keys_only, bool is_long,
                             odb_iter **out)
{
    odb_range range = {.keys_only = keys_only, .is_long = is_long};

    if (it->lower.len)
        range.lower = buf_slice(&it->lower);
    if (it->has_upper)
        range.upper = odb_bytes(it->upper.len ? it->upper.p : (const uint8_t *)"", it->upper.len);
    return odb_iter_new(it->at, cf, &range, out);
}

/* Whether at most PROBE_MAX rows lie within the bounds of an order. */
static odb_status scan_probe(odb_record_iter *it, odb_record_order order, bool *is_few)
{
    odb_iter *rows;
    uint32_t n = 0;
    odb_status st = bounds_of_order(it, order);

    if (st == ODB_OK)
        st = scan_range(it, it->env->index, true, false, &rows);
    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(rows); ok && n <= PROBE_MAX; ok = odb_iter_next(rows))
        n++;
    st = odb_iter_status(rows);
    odb_iter_free(rows);
    *is_few = n <= PROBE_MAX;
    return st;
}

static odb_status scan_choose(odb_record_iter *it)
{
    const struct rec_config *config = rec_env_config(it->env);
    struct filter_bounds b = scan_bounds(it);
    bool is_few = false;
    odb_status st = ODB_OK;

    if (it->scan.resume.size) {
        it->scan.order = (odb_record_order) * (const uint8_t *)it->scan.resume.data;
        return ODB_OK;
    }
    it->scan.order = ODB_BY_ID;
    if (!it->env->index || it->scan.prefix.size || b.id_prefix.size)
        return ODB_OK;
    if (b.has_time && config->has_time) {
        st = scan_probe(it, ODB_BY_TIME, &is_few);
        if (is_few)
            it->scan.order = ODB_BY_TIME;
    }
    if (st == ODB_OK && !is_few && b.has_importance && config->has_importance) {
        st = scan_probe(it, ODB_BY_IMPORTANCE, &is_few);
        if (is_few)
            it->scan.order = ODB_BY_IMPORTANCE;
    }
    return st;
}

static odb_status scan_check_index(const odb_record_iter *it)
{
    const struct rec_config *config = rec_env_config(it->env);

    switch (it->scan.order) {
    case ODB_BY_TIME:
        if (config->has_time)
            return ODB_OK;
        return err_set(ODB_UNSUPPORTED, "these records are not indexed by time");
    case ODB_BY_IMPORTANCE:
        if (config->has_importance)
            return ODB_OK;
        return err_set(ODB_UNSUPPORTED, "these records are not indexed by importance");
    case ODB_BY_PROP:
        for (uint32_t i = 0; i < config->prop_count; i++)
            if (odb_slice_equal(config->props[i], it->scan.prop))
                return ODB_OK;
        return err_set(ODB_UNSUPPORTED,
                       "records are not indexed by '%.*s'; odb_records_open() "
                       "declares a property",
                       (int)(it->scan.prop.size < 64 ? it->scan.prop.size : 64),
                       (const char *)it->scan.prop.data);
    default: return ODB_OK;
    }
}

/* Whether the ids alone answer the scan. */
static bool scan_is_keys_only(const odb_record_iter *it)
{
    const odb_scan *s = &it->scan;
    bool by_time = s->order == ODB_BY_TIME, by_importance = s->order == ODB_BY_IMPORTANCE;

    return s->ids_only && !s->filter && s->order != ODB_BY_PROP &&
           (by_time || (!s->time_from && !s->time_to)) &&
           (by_importance || (s->importance_from <= 0 && s->importance_to <= 0));
}

static odb_status scan_portions(odb_record_iter *it)
{
    it->portion = PORTION_FIRST;
    it->row_end = mem_array(PORTION_MAX, sizeof *it->row_end);
    it->ids = mem_array(PORTION_MAX, sizeof *it->ids);
    it->values = mem_array(PORTION_MAX, sizeof *it->values);
    it->each = mem_array(PORTION_MAX, sizeof *it->each);
    if (!it->row_end || !it->ids || !it->values || !it->each)
        return err_set(ODB_NOMEM, "no memory to walk over records");
    return ODB_OK;
}

static odb_status scan_open(odb_record_iter *it, odb_at at)
{
    odb_status st = ODB_OK;
    bool is_by_id;

    it->at = at;
    if (at.db && it->scan.order != ODB_BY_ID) {
        st = odb_snapshot_new(at.db, &it->moment);
        it->at = odb_asof(it->moment);
    }
    if (st == ODB_OK && it->scan.order == ODB_IN_ANY_ORDER)
        st = scan_choose(it);
    if (st == ODB_OK)
        st = scan_check_index(it);
    if (st == ODB_OK)
        st = bounds_of_order(it, it->scan.order);
    if (st == ODB_OK)
        st = bounds_resume(it);
    is_by_id = it->scan.order == ODB_BY_ID;
    if (st == ODB_OK && !is_by_id && !scan_is_keys_only(it))
        st = scan_portions(it);
    if (st != ODB_OK || !(is_by_id ? it->env->records : it->env->index))
        return st;
    if (it->has_upper && odb_slice_compare(buf_slice(&it->lower), buf_slice(&it->upper)) >= 0)
        return ODB_OK; /* nothing lies between */
    return scan_range(it, is_by_id ? it->env->records : it->env->index,
                      !is_by_id || scan_is_keys_only(it), is_by_id && !it->scan.limit, &it->keys);
}

odb_status odb_record_scan(odb_at at, const odb_scan *scan, odb_record_iter **out)
{
    static const odb_scan all = {.size = sizeof all};
    const odb_scan *s = scan ? scan : &all;
    struct rec_env *env;
    odb_record_iter *it;
    odb_status st = scan_check(s);

    if (st == ODB_OK && !out)
        st = err_set(ODB_INVALID, "the place for the walk is NULL");
    if (st == ODB_OK &&
        ((s->prop_from && rec_prop_check(&(odb_prop){s->prop, *s->prop_from}) != ODB_OK) ||
         (s->prop_to && rec_prop_check(&(odb_prop){s->prop, *s->prop_to}) != ODB_OK)))
        st = ODB_INVALID;
    if (st == ODB_OK)
        st = rec_env_at(at, &env);
    if (st != ODB_OK)
        return st;
    it = mem_zalloc(1, sizeof *it);
    if (!it)
        return err_set(ODB_NOMEM, "no memory to walk over records");
    it->env = env;
    it->record = mem_zalloc(1, sizeof *it->record);
    it->now = (int64_t)os_wall_us(os_posix());
    st = it->record ? scan_take(it, s) : err_set(ODB_NOMEM, "no memory to walk over records");
    if (st == ODB_OK)
        st = scan_open(it, at);
    if (st != ODB_OK) {
        odb_record_iter_free(it);
        return st;
    }
    *out = it;
    return ODB_OK;
}

/* ---- moving ---- */

static bool scan_stop(odb_record_iter *it, odb_status st)
{
    it->is_on = false;
    it->is_at_end = true;
    if (it->status == ODB_OK)
        it->status = st;
    return false;
}

/* One key on. With a segment, keys between the prefix itself and those that go on with the character
 * are leapt over. */
static bool scan_step(odb_record_iter *it)
{
    bool ok;

    if (!it->has_begun)
        ok = it->scan.is_reverse ? odb_iter_last(it->keys) : odb_iter_first(it->keys);
    else
        ok = it->scan.is_reverse ? odb_iter_prev(it->keys) : odb_iter_next(it->keys);
    it->has_begun = true;
    if (ok && it->segment.len && it->scan.order == ODB_BY_ID) {
        odb_slice key = odb_iter_key(it->keys), segment = buf_slice(&it->segment);

        if (key.size > it->scan.prefix.size && odb_slice_compare(key, segment) < 0)
            ok = it->scan.is_reverse ? odb_iter_seek_for_prev(it->keys, it->scan.prefix)
                                     : odb_iter_seek(it->keys, segment);
    }
    return ok ? true : scan_stop(it, odb_iter_status(it->keys));
}

static bool id_begins_with(odb_slice s, odb_slice prefix)
{
    return s.size >= prefix.size &&
           (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

static bool scan_wants_id(const odb_record_iter *it, odb_slice id)
{
    const odb_scan *s = &it->scan;

    if (!id_begins_with(id, s->prefix) || odb_slice_compare(id, s->from) < 0 ||
        (s->to.data && odb_slice_compare(id, s->to) >= 0))
        return false;
    return !s->segment || id.size == s->prefix.size ||
           ((const char *)id.data)[s->prefix.size] == s->segment;
}

static bool scan_wants_prop(const odb_record_iter *it, const struct rec_view *v)
{
    const odb_scan *s = &it->scan;
    odb_prop_value x;
    int c;

    if (!s->prop_from && !s->prop_to)
        return true;
    if (!rec_props_find(&v->props, s->prop, &x))
        return false;
    return (!s->prop_from || (filter_compare(&x, s->prop_from, &c) && c >= 0)) &&
           (!s->prop_to || (filter_compare(&x, s->prop_to, &c) && c <= 0));
}

static bool scan_wants(const odb_record_iter *it, const odb_record *r)
{
    const odb_scan *s = &it->scan;
    const struct rec_view *v = &r->view;

    return (!s->time_from || v->timestamp >= s->time_from) &&
           (!s->time_to || v->timestamp < s->time_to) &&
           (s->importance_from <= 0 || v->importance >= s->importance_from) &&
           (s->importance_to <= 0 || v->importance <= s->importance_to) &&
           (s->order != ODB_BY_PROP || scan_wants_prop(it, v)) &&
           (!s->filter || odb_filter_matches(s->filter, r, it->now));
}

/* Stand on `id`, whose place in the walk is `key`. */
static bool scan_show(odb_record_iter *it, odb_slice id, odb_slice key)
{
    uint8_t head[2] = {(uint8_t)it->scan.order, it->scan.is_reverse};
    odb_status st = buf_assign(&it->place, head, sizeof head);

    if (st == ODB_OK)
        st = buf_append(&it->place, key.data, key.size);
    if (st != ODB_OK)
        return scan_stop(it, st);
    it->record->id = id;
    it->is_on = true;
    it->shown++;
    return true;
}

static bool scan_next_by_id(odb_record_iter *it)
{
    bool keys_only = scan_is_keys_only(it);

    while (scan_step(it)) {
        odb_slice id = odb_iter_key(it->keys);
        odb_slice bytes = odb_iter_value(it->keys);
        const char *what;
        size_t off;

        if (!scan_wants_id(it, id))
            continue;
        if (keys_only)
            return scan_show(it, id, id);
        it->record->id = id;
        if (id.size == 0 || id.size > ODB_RECORD_ID_MAX ||
            rec_view_open(bytes, &it->record->view, &what, &off) != ODB_OK)
            it->damaged++;
        else if (scan_wants(it, it->record))
            return scan_show(it, id, id);
    }
    return false;
}

/* Fill the next portion; false: there is none, or a failure. */
static bool portion_fill(odb_record_iter *it)
{
    struct rec_row row;
    uint64_t most = it->portion;
    odb_status st = ODB_OK;

    portion_release(it);
    buf_reset(&it->rows);
    if (it->scan.limit && !it->scan.filter && it->scan.limit - it->shown < most)
        most = it->scan.limit - it->shown;
    while (st == ODB_OK && it->count < most && scan_step(it)) {
        odb_slice key = odb_iter_key(it->keys);

        st = rec_row_parse(key, &it->name, &row);
        if (st == ODB_ABSENT || (st == ODB_OK && !scan_wants_id(it, row.id))) {
            st = ODB_OK;
            continue;
        }
        if (st == ODB_OK)
            st = buf_append(&it->rows, key.data, key.size);
        it->ids[it->count] = odb_bytes(NULL, row.id.size); /* found when nothing moves any more */
        it->row_end[it->count] = it->rows.len;
        it->count += st == ODB_OK;
    }
    if (st == ODB_OK)
        st = it->status;
    if (st != ODB_OK) {
        it->count = 0;
        return scan_stop(it, st);
    }
    if (it->count == 0)
        return false;
    for (uint32_t i = 0; i < it->count; i++)
        it->ids[i].data = it->rows.p + it->row_end[i] - it->ids[i].size;
    st = odb_multiget(it->at, it->env->records, it->ids, it->count, it->values, it->each);
    for (uint32_t i = 0; i < it->count; i++)
        if (it->each[i] != ODB_OK && it->each[i] != ODB_ABSENT && st == ODB_OK)
            st = it->each[i];
    if (st != ODB_OK)
        return scan_stop(it, st);
    if (it->portion < PORTION_MAX)
        it->portion *= 2;
    return true;
}

static bool scan_next_by_row(odb_record_iter *it)
{
    for (;;) {
        odb_record *r = it->record;
        struct rec_row row;
        const char *what;
        odb_slice key;
        odb_status st;
        size_t off;
        uint32_t i;

        odb_value_release(&r->value);
        if (it->next == it->count && (it->is_at_end || !portion_fill(it)))
            return scan_stop(it, ODB_OK);
        i = it->next++;
        if (it->each[i] != ODB_OK)
            continue;
        r->value = it->values[i];
        r->id = it->ids[i];
        key = odb_bytes(it->rows.p + (i ? it->row_end[i - 1] : 0),
                        it->row_end[i] - (i ? it->row_end[i - 1] : 0));
        st = rec_view_open(odb_bytes(r->value.data, r->value.size), &r->view, &what, &off);
        if (st != ODB_OK) {
            it->damaged++;
            continue;
        }
        st = rec_row_parse(key, &it->name, &row);
        if (st == ODB_OK)
            st = rec_row_matches(&row, &r->view, &it->key);
        if (st == ODB_NOMEM)
            return scan_stop(it, st);
        if (st == ODB_OK && scan_wants(it, r))
            return scan_show(it, it->ids[i], key);
    }
}

/* Rows are all that is wanted. */
static bool scan_next_row(odb_record_iter *it)
{
    struct rec_row row;

    while (scan_step(it)) {
        odb_slice key = odb_iter_key(it->keys);
        odb_status st = rec_row_parse(key, &it->name, &row);

        if (st == ODB_NOMEM)
            return scan_stop(it, st);
        if (st == ODB_OK && scan_wants_id(it, row.id))
            return scan_show(it, row.id, key);
    }
    return false;
}

bool odb_record_iter_next(odb_record_iter *it)
{
    bool is_spent;

    if (!it)
        return false;
    it->is_on = false;
    is_spent = it->scan.limit && it->shown >= it->scan.limit;
    if (!it->keys || is_spent || it->status != ODB_OK || (it->is_at_end && it->next == it->count))
        return false;
    if (it->scan.order == ODB_BY_ID)
        return scan_next_by_id(it);
    return it->values ? scan_next_by_row(it) : scan_next_row(it);
}

const odb_record *odb_record_iter_record(const odb_record_iter *it)
{
    return it && it->is_on && !it->scan.ids_only ? it->record : NULL;
}

odb_slice odb_record_iter_id(const odb_record_iter *it)
{
    return it && it->is_on ? it->record->id : odb_bytes(NULL, 0);
}

odb_status odb_record_iter_status(const odb_record_iter *it)
{
    return it->status;
}

uint64_t odb_record_iter_damaged(const odb_record_iter *it)
{
    return it->damaged;
}

odb_slice odb_record_iter_resume(const odb_record_iter *it)
{
    return buf_slice(&it->place);
}

odb_status odb_record_copy(const odb_record *r, odb_record **out)
{
    size_t id_len = r->id.size, len = r->view.bytes.size;
    const char *what;
    odb_record *copy;
    size_t off;

    copy = mem_alloc(sizeof *copy + id_len + len);
    if (!copy)
        return err_set(ODB_NOMEM, "no memory for a record");
    memset(&copy->value, 0, sizeof copy->value);
    memcpy(copy->id_room, r->id.data, id_len);
    memcpy(copy->id_room + id_len, r->view.bytes.data, len);
    copy->id = odb_bytes(copy->id_room, id_len);
    if (rec_view_open(odb_bytes(copy->id_room + id_len, len), &copy->view, &what, &off) != ODB_OK) {
        mem_free(copy); /* it was checked before: somebody wrote over it */
        return err_set(ODB_CORRUPT, "a record changed while it was lent: %s", what);
    }
    *out = copy;
    return ODB_OK;
}
