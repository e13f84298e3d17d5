/* records/estimate.c -- how many records a filter lets through, roughly.
 *
 *     few records      all of them are looked at: exact
 *     many             runs of RUN records at places spread over the ids, like this:
 *
 *         first id                                                   last id
 *         |--------[===]--------[===]--------[===]--------[===]---------|
 *
 * A place between two ids is found by taking the eight bytes behind what first and last have in common
 * for a number. Ids that crowd in one corner are so looked at less often than they deserve; a guess is
 * all that is promised. What the index bounds is counted in it, up to the same effort.
 */
#include "base/alloc.h"
#include "base/coding.h"
#include "os/os.h"
#include "records/filter.h"
#include "records/odb_scan.h"
#include "records/record.h"

#define EFFORT_DEFAULT 256u
#define RUN            8u

struct estimate {
    odb_at at;
    const odb_filter *f;
    struct rec_env *env;
    int64_t now;
    uint32_t effort;
    odb_record *room;
    uint64_t examined, matched;
    struct buf first, last, place;
};

/* Look at the record under the iterator. */
static void estimate_look(struct estimate *e, const odb_iter *it)
{
    odb_slice id = odb_iter_key(it), bytes = odb_iter_value(it);
    const char *what;
    size_t off;

    if (rec_view_open(bytes, &e->room->view, &what, &off) != ODB_OK)
        return;
    e->room->id = id;
    e->examined++;
    e->matched += odb_filter_matches(e->f, e->room, e->now);
}

static odb_status estimate_ends(struct estimate *e, odb_iter *it)
{
    odb_slice key;
    odb_status st = ODB_OK;

    if (odb_iter_first(it)) {
        key = odb_iter_key(it);
        st = buf_assign(&e->first, key.data, key.size);
    }
    if (st == ODB_OK && odb_iter_last(it)) {
        key = odb_iter_key(it);
        st = buf_assign(&e->last, key.data, key.size);
    }
    return st == ODB_OK ? odb_iter_status(it) : st;
}

static uint64_t number_behind(const struct buf *b, size_t common)
{
    uint8_t eight[8] = {0};
    size_t n = b->len - common;

    if (n)
        memcpy(eight, b->p + common, n < 8 ? n : 8);
    return get_u64_be(eight);
}

/* Runs spread over the ids. `it` stands behind the first `effort` records, which have been counted. */
static odb_status estimate_runs(struct estimate *e, odb_iter *it)
{
    uint32_t runs = e->effort / RUN + 1;
    uint64_t low, high;
    size_t common = 0;
    odb_status st = estimate_ends(e, it);

    if (st != ODB_OK)
        return st;
    while (common < e->first.len && common < e->last.len && e->first.p[common] == e->last.p[common])
        common++;
    low = number_behind(&e->first, common);
    high = number_behind(&e->last, common);
    e->examined = e->matched = 0;
    buf_reset(&e->place);
    for (uint32_t i = 0; i < runs && st == ODB_OK; i++) {
        uint8_t eight[8];
        struct buf key = {0};
        bool ok;

        enc_u64_be(eight, low + (high - low) / runs * i + (high - low) / runs / 2);
        st = buf_append(&key, e->first.p, common);
        if (st == ODB_OK)
            st = buf_append(&key, eight, sizeof eight);
        if (st == ODB_OK && odb_slice_compare(buf_slice(&key), buf_slice(&e->place)) < 0)
            st = buf_assign(&key, e->place.p, e->place.len); /* the run before came further */
        ok = st == ODB_OK && odb_iter_seek(it, buf_slice(&key));
        buf_release(&key);
        for (uint32_t n = 0; ok && n < RUN; n++, ok = odb_iter_next(it))
            estimate_look(e, it);
        if (ok) {
            odb_slice next = odb_iter_key(it);

            st = buf_assign(&e->place, next.data, next.size);
        } else if (st == ODB_OK) {
            st = odb_iter_status(it);
            break;
        }
    }
    return st;
}

static odb_status estimate_fraction(struct estimate *e, odb_filter_guess *out)
{
    odb_iter *it;
    odb_status st;
    bool ok;

    out->is_exact = true;
    if (!e->env->records)
        return ODB_OK;
    st = odb_iter_new(e->at, e->env->records, NULL, &it);
    if (st != ODB_OK)
        return st;
    for (ok = odb_iter_first(it); ok && e->examined < e->effort; ok = odb_iter_next(it))
        estimate_look(e, it);
    st = odb_iter_status(it);
    if (ok && st == ODB_OK) {
        out->is_exact = false;
        st = estimate_runs(e, it);
    }
    odb_iter_free(it);
    if (e->examined)
        out->fraction = (double)e->matched / (double)e->examined;
    return st;
}

/* Rows of an order that the bounds leave, when they are few enough to be counted. */
static odb_status estimate_rows(struct estimate *e, const odb_scan *scan, odb_filter_guess *out)
{
    odb_record_iter *it;
    uint64_t rows = 0;
    odb_status st = odb_record_scan(e->at, scan, &it);

    if (st != ODB_OK)
        return st == ODB_UNSUPPORTED ? ODB_OK : st;
    while (odb_record_iter_next(it))
        rows++;
    st = odb_record_iter_status(it);
    odb_record_iter_free(it);
    out->examined += rows;
    if (rows < scan->limit && rows < out->at_most)
        out->at_most = rows;
    return st;
}

static odb_status estimate_bounds(struct estimate *e, odb_filter_guess *out)
{
    odb_scan scan = {.size = sizeof scan, .ids_only = true, .limit = (uint64_t)e->effort * 4};
    struct filter_bounds b;
    odb_status st = ODB_OK;

    filter_bounds_of(e->f, e->now, &b);
    if (b.has_time) {
        scan.order = ODB_BY_TIME;
        scan.time_from = b.time_from == INT64_MIN ? 0 : b.time_from;
        scan.time_to = b.time_to == INT64_MAX ? 0 : b.time_to + 1;
        st = estimate_rows(e, &scan, out);
        scan.time_from = scan.time_to = 0;
    }
    if (st == ODB_OK && b.has_importance) {
        scan.order = ODB_BY_IMPORTANCE;
        scan.importance_from = b.importance_from;
        scan.importance_to = b.importance_to;
        st = estimate_rows(e, &scan, out);
        scan.importance_from = scan.importance_to = 0;
    }
    if (st == ODB_OK && b.id_prefix.size) {
        scan.order = ODB_BY_ID;
        scan.prefix = b.id_prefix;
        st = estimate_rows(e, &scan, out);
    }
    return st;
}

odb_status odb_filter_estimate(odb_at at, const odb_filter *f, uint32_t effort,
                               odb_filter_guess *out)
{
    struct estimate e = {.at = at, .f = f, .effort = effort ? effort : EFFORT_DEFAULT};
    odb_filter_guess guess = {0};
    odb_snapshot *moment = NULL;
    odb_status st;

    if (!f || !out || out->size < sizeof *out)
        return err_set(ODB_INVALID, "the filter or the guess is NULL, or its size is not set");
    guess.size = out->size;
    guess.at_most = UINT64_MAX;
    st = rec_env_at(at, &e.env);
    if (st == ODB_OK && at.db) {
        st = odb_snapshot_new(at.db, &moment);
        e.at = odb_asof(moment);
    }
    e.now = (int64_t)os_wall_us(os_posix());
    e.room = mem_zalloc(1, sizeof *e.room);
    if (st == ODB_OK && !e.room)
        st = err_set(ODB_NOMEM, "no memory to look at records");
    if (st == ODB_OK)
        st = estimate_fraction(&e, &guess);
    if (st == ODB_OK && guess.is_exact)
        guess.at_most = e.matched;
    else if (st == ODB_OK)
        st = estimate_bounds(&e, &guess);
    guess.examined += e.examined;
    mem_free(e.room);
    buf_release(&e.first);
    buf_release(&e.last);
    buf_release(&e.place);
    odb_snapshot_free(moment);
    if (st == ODB_OK)
        *out = guess;
    return st;
}
