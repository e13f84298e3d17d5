/* records/filter.h -- a compiled filter, for the files of this folder. filter_parse.c makes it, filter.c
 * evaluates it. */
#ifndef ODB_RECORDS_FILTER_H
#define ODB_RECORDS_FILTER_H

#include "base/buf.h"
#include "records/odb_filter.h"
#include "records/view.h"

#define FILTER_DEPTH_MAX 64

enum filter_op {
    FILTER_ALL, /* && */
    FILTER_ANY, /* || */
    FILTER_NOT,
    FILTER_TEST, /* one comparison */
};

enum filter_test {
    TEST_EQ,
    TEST_NE,
    TEST_LT,
    TEST_LE,
    TEST_GT,
    TEST_GE,
    TEST_BEGINS,
    TEST_CONTAINS,
    TEST_IN,
    TEST_HAS,
};

enum filter_what {
    WHAT_ID,
    WHAT_CONTENT,
    WHAT_IMPORTANCE,
    WHAT_TIME,
    WHAT_KIND,
    WHAT_FIELD,
    WHAT_PROP,
};

#define FILTER_NONE UINT32_MAX

struct filter_value {
    odb_prop_value value;
    bool is_now; /* value.u.integer counts from the moment of the scan */
};

struct filter_node {
    enum filter_op op;
    enum filter_test test;
    enum filter_what what;
    uint32_t child; /* of ALL, ANY and NOT: the first; FILTER_NONE: none */
    uint32_t next;  /* sibling */
    uint32_t field; /* WHAT_FIELD */
    odb_slice name; /* WHAT_PROP; into `text` */
    uint32_t value; /* the first of ... */
    uint32_t value_count;
};

struct odb_filter {
    bool (*accept)(void *arg, const odb_record *r); /* NULL: compiled from text */
    void *arg;
    struct filter_node *node;
    uint32_t node_count, node_cap;
    struct filter_value *value;
    uint32_t value_count, value_cap;
    uint32_t root;
    struct buf text; /* names and strings; never moves once they point into it */
};

/* The values with `now` put in. */
static inline odb_prop_value filter_value_at(const struct filter_value *v, int64_t now)
{
    odb_prop_value out = v->value;

    if (v->is_now && out.u.integer > 0 && now > INT64_MAX - out.u.integer)
        out.u.integer = INT64_MAX;
    else if (v->is_now && out.u.integer < 0 && now < INT64_MIN - out.u.integer)
        out.u.integer = INT64_MIN;
    else if (v->is_now)
        out.u.integer += now;
    return out;
}

/* <0, 0, >0 as the values compare; false: they do not. */
bool filter_compare(const odb_prop_value *a, const odb_prop_value *b, int *out);

/* What a filter demands of every record it accepts, as far as the index can use it. */
struct filter_bounds {
    int64_t time_from, time_to; /* both included */
    float importance_from, importance_to;
    odb_slice id_prefix;
    bool has_time, has_importance;
};

void filter_bounds_of(const odb_filter *f, int64_t now, struct filter_bounds *out);

#endif
