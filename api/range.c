/* api/range.c -- the range of a walk, reduced to two bounds.
 *
 *     lower  = max(range.lower, prefix)
 *     upper  = min(range.upper, first key behind all that begin with prefix)
 *
 * The first key behind a prefix is the prefix with its last byte that is not 0xff raised by one, and
 * everything after that byte cut off; a prefix of nothing but 0xff has none.
 */
#include "api/db_priv.h"

static odb_status range_check(const odb_range *r)
{
    odb_status st = api_check_key(r->lower);

    if (st == ODB_OK)
        st = api_check_key(r->upper);
    if (st == ODB_OK)
        st = api_check_key(r->prefix);
    return st;
}

/* The key behind the prefix, into b->upper; `out` has data NULL when there is none. */
static odb_status prefix_end(struct api_bounds *b, odb_slice prefix, odb_slice *out)
{
    const uint8_t *p = prefix.data;
    size_t len = prefix.size;
    odb_status st;

    while (len && p[len - 1] == 0xff)
        len--;
    *out = odb_bytes(NULL, 0);
    if (len == 0)
        return ODB_OK;
    st = buf_append(&b->upper, p, len);
    if (st != ODB_OK)
        return st;
    b->upper.p[len - 1]++;
    *out = buf_slice(&b->upper);
    return ODB_OK;
}

odb_status api_bounds_init(struct api_bounds *b, const odb_range *range)
{
    odb_slice end;
    odb_status st;

    memset(b, 0, sizeof *b);
    if (!range)
        return ODB_OK;
    st = range_check(range);
    if (st != ODB_OK)
        return st;
    b->range = *range;
    b->range.prefix = odb_bytes(NULL, 0);
    if (range->prefix.size) {
        st = prefix_end(b, range->prefix, &end);
        if (st != ODB_OK)
            return st;
        if (!range->lower.data || odb_slice_compare(range->lower, range->prefix) < 0)
            b->range.lower = range->prefix;
        if (end.data && (!range->upper.data || odb_slice_compare(end, range->upper) < 0))
            b->range.upper = end;
    }
    b->is_empty = b->range.upper.data && odb_slice_compare(b->range.lower, b->range.upper) >= 0;
    return ODB_OK;
}

void api_bounds_release(struct api_bounds *b)
{
    buf_release(&b->upper);
}
