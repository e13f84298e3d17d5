/* records/filter.c -- filters, evaluated.
 *
 * A filter is a tree in an array: nodes name their first child and their next sibling. The parser allows
 * FILTER_DEPTH_MAX levels, so evaluation may call itself.
 */
#include "records/filter.h"

#include "base/alloc.h"
#include "os/os.h"
#include "records/record.h"

/* ---- values ---- */

static int compare_int_real(int64_t i, double d)
{
    int64_t whole;

    if (d >= 9223372036854775808.0)
        return -1;
    if (d < -9223372036854775808.0)
        return 1;
    whole = (int64_t)d; /* towards zero */
    if (i != whole)
        return i < whole ? -1 : 1;
    return (d < (double)whole) - (d > (double)whole);
}

static bool is_text(const odb_prop_value *v)
{
    return v->type == ODB_PROP_TEXT || v->type == ODB_PROP_BYTES || v->type == ODB_PROP_JSON;
}

bool filter_compare(const odb_prop_value *a, const odb_prop_value *b, int *out)
{
    if (is_text(a) && is_text(b)) {
        *out = odb_slice_compare(a->u.bytes, b->u.bytes);
        return true;
    }
    if (a->type == ODB_PROP_INT && b->type == ODB_PROP_INT)
        *out = (a->u.integer > b->u.integer) - (a->u.integer < b->u.integer);
    else if (a->type == ODB_PROP_REAL && b->type == ODB_PROP_REAL)
        *out = (a->u.real > b->u.real) - (a->u.real < b->u.real);
    else if (a->type == ODB_PROP_INT && b->type == ODB_PROP_REAL)
        *out = compare_int_real(a->u.integer, b->u.real);
    else if (a->type == ODB_PROP_REAL && b->type == ODB_PROP_INT)
        *out = -compare_int_real(b->u.integer, a->u.real);
    else if (a->type == ODB_PROP_BOOL && b->type == ODB_PROP_BOOL)
        *out = a->u.boolean - b->u.boolean;
    else if (a->type == ODB_PROP_NULL && b->type == ODB_PROP_NULL)
        *out = 0;
    else
        return false;
    return true;
}

static bool contains(odb_slice in, odb_slice what)
{
    const uint8_t *p = in.data, *end, *w = what.data;

    if (what.size == 0 || in.size < what.size)
        return what.size == 0;
    end = p + in.size;
    while ((size_t)(end - p) >= what.size) {
        p = memchr(p, *w, (size_t)(end - p) - what.size + 1);
        if (!p)
            return false;
        if (memcmp(p, w, what.size) == 0)
            return true;
        p++;
    }
    return false;
}

/* ---- one record ---- */

/* What a test looks at; false: the record has none. */
static bool filter_operand(const struct filter_node *n, const odb_record *r, odb_prop_value *out)
{
    switch (n->what) {
    case WHAT_PROP: return rec_props_find(&r->view.props, n->name, out);
    case WHAT_FIELD: return rec_view_field(&r->view, n->field, out);
    case WHAT_IMPORTANCE:
        out->type = ODB_PROP_REAL;
        out->u.real = r->view.importance;
        return true;
    case WHAT_TIME:
        out->type = ODB_PROP_INT;
        out->u.integer = r->view.timestamp;
        return true;
    case WHAT_KIND:
        out->type = ODB_PROP_INT;
        out->u.integer = r->view.kind;
        return true;
    case WHAT_ID:
        out->type = ODB_PROP_BYTES;
        out->u.bytes = r->id;
        return true;
    case WHAT_CONTENT:
        out->type = ODB_PROP_BYTES;
        out->u.bytes = r->view.content;
        return true;
    }
    return false;
}

/* A literal like 0.8 is a double and importance a float: compare what was meant, the nearest float. */
static odb_prop_value filter_literal(const struct filter_node *n, const struct filter_value *v,
                                     int64_t now)
{
    odb_prop_value out = filter_value_at(v, now);

    if (n->what == WHAT_IMPORTANCE && out.type == ODB_PROP_REAL)
        out.u.real = (float)out.u.real;
    return out;
}

static bool test_one(enum filter_test test, const odb_prop_value *x, const odb_prop_value *v)
{
    int c;

    if (test == TEST_BEGINS)
        return is_text(x) && is_text(v) && x->u.bytes.size >= v->u.bytes.size &&
               (v->u.bytes.size == 0 ||
                memcmp(x->u.bytes.data, v->u.bytes.data, v->u.bytes.size) == 0);
    if (test == TEST_CONTAINS)
        return is_text(x) && is_text(v) && contains(x->u.bytes, v->u.bytes);
    if (!filter_compare(x, v, &c))
        return test == TEST_NE;
    switch (test) {
    case TEST_EQ:
    case TEST_IN: return c == 0;
    case TEST_NE: return c != 0;
    case TEST_LT: return c < 0;
    case TEST_LE: return c <= 0;
    case TEST_GT: return c > 0;
    case TEST_GE: return c >= 0;
    default: return false;
    }
}

static bool test_matches(const odb_filter *f, const struct filter_node *n, const odb_record *r,
                         int64_t now)
{
    odb_prop_value x;

    memset(&x, 0, sizeof x);
    if (!filter_operand(n, r, &x))
        return n->test == TEST_NE;
    if (n->test == TEST_HAS)
        return true;
    for (uint32_t i = 0; i < n->value_count; i++) {
        odb_prop_value v = filter_literal(n, &f->value[n->value + i], now);

        if (test_one(n->test, &x, &v))
            return true;
    }
    return false;
}

static bool node_matches(const odb_filter *f, uint32_t at, const odb_record *r, int64_t now)
{
    const struct filter_node *n = &f->node[at];

    if (n->op == FILTER_TEST)
        return test_matches(f, n, r, now);
    if (n->op == FILTER_NOT)
        return !node_matches(f, n->child, r, now);
    for (uint32_t c = n->child; c != FILTER_NONE; c = f->node[c].next)
        if (node_matches(f, c, r, now) == (n->op == FILTER_ANY))
            return n->op == FILTER_ANY;
    return n->op == FILTER_ALL;
}

bool odb_filter_matches(const odb_filter *f, const odb_record *r, int64_t now)
{
    if (f->accept)
        return f->accept(f->arg, r);
    if (now == ODB_TIME_NOW)
        now = (int64_t)os_wall_us(os_posix());
    return node_matches(f, f->root, r, now);
}

odb_status odb_filter_fn(bool (*accept)(void *arg, const odb_record *r), void *arg,
                         odb_filter **out)
{
    odb_filter *f;

    if (!accept || !out)
        return err_set(ODB_INVALID, "the function or the place for the filter is NULL");
    f = mem_zalloc(1, sizeof *f);
    if (!f)
        return err_set(ODB_NOMEM, "no memory for a filter");
    f->accept = accept;
    f->arg = arg;
    *out = f;
    return ODB_OK;
}

void odb_filter_free(odb_filter *f)
{
    if (!f)
        return;
    mem_free(f->node);
    mem_free(f->value);
    buf_release(&f->text);
    mem_free(f);
}

/* ---- bounds ---- */

static void bound_time(struct filter_bounds *b, enum filter_test test, const odb_prop_value *v)
{
    int64_t i;

    if (v->type != ODB_PROP_INT)
        return;
    i = v->u.integer;
    if (test == TEST_GT && i < INT64_MAX)
        i++;
    if (test == TEST_LT && i > INT64_MIN)
        i--;
    if ((test == TEST_EQ || test == TEST_GE || test == TEST_GT) && i > b->time_from)
        b->time_from = i;
    if ((test == TEST_EQ || test == TEST_LE || test == TEST_LT) && i < b->time_to)
        b->time_to = i;
    b->has_time |= test == TEST_EQ || (test >= TEST_LT && test <= TEST_GE);
}

static void bound_importance(struct filter_bounds *b, enum filter_test test,
                             const odb_prop_value *v)
{
    float x;

    if (v->type == ODB_PROP_REAL)
        x = (float)v->u.real;
    else if (v->type == ODB_PROP_INT && v->u.integer >= 0 && v->u.integer <= 1)
        x = (float)v->u.integer;
    else
        return;
    if ((test == TEST_EQ || test == TEST_GE || test == TEST_GT) && x > b->importance_from)
        b->importance_from = x;
    if ((test == TEST_EQ || test == TEST_LE || test == TEST_LT) && x < b->importance_to)
        b->importance_to = x;
    b->has_importance |= test == TEST_EQ || (test >= TEST_LT && test <= TEST_GE);
}

static void bound_by(const odb_filter *f, const struct filter_node *n, int64_t now,
                     struct filter_bounds *b)
{
    odb_prop_value v;

    if (n->op != FILTER_TEST || n->value_count != 1)
        return;
    v = filter_value_at(&f->value[n->value], now);
    if (n->what == WHAT_TIME)
        bound_time(b, n->test, &v);
    else if (n->what == WHAT_IMPORTANCE)
        bound_importance(b, n->test, &v);
    else if (n->what == WHAT_ID && is_text(&v) && (n->test == TEST_BEGINS || n->test == TEST_EQ) &&
             v.u.bytes.size > b->id_prefix.size)
        b->id_prefix = v.u.bytes;
}

void filter_bounds_of(const odb_filter *f, int64_t now, struct filter_bounds *out)
{
    struct filter_bounds b = {INT64_MIN, INT64_MAX, 0, 1, {NULL, 0}, false, false};

    if (f && !f->accept) {
        const struct filter_node *root = &f->node[f->root];

        bound_by(f, root, now, &b);
        if (root->op == FILTER_ALL)
            for (uint32_t c = root->child; c != FILTER_NONE; c = f->node[c].next)
                bound_by(f, &f->node[c], now, &b);
    }
    *out = b;
}
