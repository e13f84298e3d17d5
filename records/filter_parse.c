/* records/filter_parse.c -- filters, read from text.
 *
 *     any    all { "||" all }
 *     all    not { "&&" not }
 *     not    "!" not | "(" any ")" | test
 *     test   "has" "(" what ")" | what op value | what "in" "(" value { "," value } ")"
 *     what   "id" | "content" | "importance" | "ts" | "kind" | name | "prop" "(" string ")"
 *            | "field" "(" name ")"
 *     value  number | string | "true" | "false" | "null" | "now" { ("+" | "-") digits unit }
 *
 * A list of && or || is one node with many children, however long; only "(" and "!" go deeper, at most
 * FILTER_DEPTH_MAX times. Strings are unescaped into f->text, whose room is taken once, for the whole
 * text, since what is unescaped is never longer.
 */
#include "base/alloc.h"
#include "records/filter.h"
#include "records/json.h"
#include "records/number.h"
#include "records/utf8.h"

#define FILTER_TEXT_MAX 65536u

struct filter_reader {
    const uint8_t *start, *p, *end;
    odb_filter *f;
    int depth;
    odb_status st;
    const char *what;
    const uint8_t *at;
};

static uint32_t filter_fault(struct filter_reader *r, const uint8_t *at, const char *what)
{
    if (r->st == ODB_OK) {
        r->st = ODB_INVALID;
        r->what = what;
        r->at = at;
    }
    return FILTER_NONE;
}

static uint32_t filter_no_memory(struct filter_reader *r)
{
    r->st = err_set(ODB_NOMEM, "no memory to compile a filter");
    return FILTER_NONE;
}

static void skip_blanks(struct filter_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

/* Take `word` when it stands here; blanks before it are passed over either way. */
static bool take_sign(struct filter_reader *r, const char *word)
{
    size_t len = strlen(word);

    skip_blanks(r);
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
        return false;
    r->p += len;
    return true;
}

static bool is_name_byte(uint8_t c, bool is_first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80 ||
           (!is_first && ((c >= '0' && c <= '9') || c == '.'));
}

/* A name, or an empty slice and nothing taken. */
static odb_slice take_name(struct filter_reader *r)
{
    const uint8_t *from;

    skip_blanks(r);
    from = r->p;
    while (r->p < r->end && is_name_byte(*r->p, r->p == from))
        r->p++;
    return odb_bytes(from, (size_t)(r->p - from));
}

static bool is_word(odb_slice name, const char *word)
{
    return odb_slice_equal(name, odb_s(word));
}

static uint32_t node_new(struct filter_reader *r, enum filter_op op)
{
    odb_filter *f = r->f;
    struct filter_node *n;

    if (f->node_count == f->node_cap) {
        uint32_t cap = f->node_cap ? f->node_cap * 2 : 8;
        struct filter_node *grown = mem_realloc(f->node, cap * sizeof *grown);

        if (!grown)
            return filter_no_memory(r);
        f->node = grown;
        f->node_cap = cap;
    }
    n = &f->node[f->node_count];
    memset(n, 0, sizeof *n);
    n->op = op;
    n->child = n->next = FILTER_NONE;
    return f->node_count++;
}

static struct filter_value *value_new(struct filter_reader *r)
{
    odb_filter *f = r->f;

    if (f->value_count == f->value_cap) {
        uint32_t cap = f->value_cap ? f->value_cap * 2 : 8;
        struct filter_value *grown = mem_realloc(f->value, cap * sizeof *grown);

        if (!grown) {
            (void)filter_no_memory(r);
            return NULL;
        }
        f->value = grown;
        f->value_cap = cap;
    }
    memset(&f->value[f->value_count], 0, sizeof *f->value);
    return &f->value[f->value_count++];
}

/* ---- values ---- */

/* The string at r->p, as JSON has it, copied to f->text. */
static bool filter_string(struct filter_reader *r, odb_slice *out)
{
    const uint8_t *from = r->p, *p = r->p + 1;
    struct buf *text = &r->f->text;
    struct json_doc doc;
    const char *what = NULL;
    size_t at;
    odb_status st;

    while (p < r->end && *p != '"')
        p += *p == '\\' ? 2 : 1;
    if (p >= r->end) {
        (void)filter_fault(r, from, "a string without an end");
        return false;
    }
    p++;
    st = json_read(odb_bytes(from, (size_t)(p - from)), &doc, &what, &at);
    if (st == ODB_INVALID)
        (void)filter_fault(r, from + at, what);
    else if (st != ODB_OK)
        r->st = st;
    if (st != ODB_OK)
        return false;
    *out = odb_bytes(text->p + text->len, doc.node->u.string.size);
    if (out->size)
        memcpy(text->p + text->len, doc.node->u.string.data, out->size);
    text->len += out->size;
    json_release(&doc);
    r->p = p;
    return true;
}

static void copy_name(struct filter_reader *r, odb_slice name, odb_slice *out)
{
    struct buf *text = &r->f->text;

    *out = odb_bytes(text->p + text->len, name.size);
    memcpy(text->p + text->len, name.data, name.size);
    text->len += name.size;
}

static bool filter_number(struct filter_reader *r, odb_prop_value *out)
{
    const uint8_t *from = r->p;
    struct json_doc doc;
    const char *what = NULL;
    size_t at;
    odb_status st;

    if (*r->p == '-')
        r->p++;
    while (r->p < r->end &&
           ((*r->p >= '0' && *r->p <= '9') || *r->p == '.' || *r->p == 'e' || *r->p == 'E' ||
            ((*r->p == '+' || *r->p == '-') && (r->p[-1] | 0x20) == 'e')))
        r->p++;
    st = json_read(odb_bytes(from, (size_t)(r->p - from)), &doc, &what, &at);
    if (st == ODB_INVALID)
        (void)filter_fault(r, from + at, what);
    else if (st != ODB_OK)
        r->st = st;
    if (st != ODB_OK)
        return false;
    out->type = doc.node->type == JSON_INT ? ODB_PROP_INT : ODB_PROP_REAL;
    if (out->type == ODB_PROP_INT)
        out->u.integer = doc.node->u.integer;
    else
        out->u.real = doc.node->u.real;
    json_release(&doc);
    return true;
}

static bool unit_us(odb_slice name, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t us;
    } units[] = {{"us", 1},         {"ms", 1000},       {"s", 1000000},     {"m", 60000000},
                 {"h", 3600000000}, {"d", 86400000000}, {"w", 604800000000}};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (is_word(name, units[i].name)) {
            *out = units[i].us;
            return true;
        }
    return false;
}

/* Behind the word `now`: steps forward and back. At most about a hundred thousand years together. */
static bool filter_now(struct filter_reader *r, struct filter_value *v)
{
    const int64_t most = INT64_MAX / 3;
    int64_t sum = 0;

    for (;;) {
        bool is_back = take_sign(r, "-");
        int64_t n = 0, unit;
        const uint8_t *from;

        if (!is_back && !take_sign(r, "+"))
            break;
        skip_blanks(r);
        from = r->p;
        for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
            n = n < most / 10 ? n * 10 + (*r->p - '0') : most;
        if (r->p == from) {
            (void)filter_fault(r, from, "no number of hours, days ... behind now");
            return false;
        }
        if (!unit_us(take_name(r), &unit)) {
            (void)filter_fault(r, r->p, "a step from now without a unit: us ms s m h d w");
            return false;
        }
        if (n > most / unit) {
            (void)filter_fault(r, from, "a step from now that is too large");
            return false;
        }
        sum += is_back ? -n * unit : n * unit;
        if (sum > most || sum < -most) {
            (void)filter_fault(r, from, "a step from now that is too large");
            return false;
        }
    }
    v->is_now = true;
    v->value.type = ODB_PROP_INT;
    v->value.u.integer = sum;
    return true;
}

static bool two_digits(const uint8_t *p, int64_t *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    return true;
}

/* "YYYY-MM-DD" or "YYYY-MM-DDThh:mm:ssZ" as microseconds since 1970. */
static bool date_us(odb_slice s, int64_t *out)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const uint8_t *p = s.data;
    int64_t century, year, month, day, hour = 0, minute = 0, second = 0, y, n;
    bool is_leap;

    if ((s.size != 10 && s.size != 20) || !two_digits(p, &century) || !two_digits(p + 2, &year) ||
        p[4] != '-' || !two_digits(p + 5, &month) || p[7] != '-' || !two_digits(p + 8, &day))
        return false;
    if (s.size == 20 && (p[10] != 'T' || !two_digits(p + 11, &hour) || p[13] != ':' ||
                         !two_digits(p + 14, &minute) || p[16] != ':' ||
                         !two_digits(p + 17, &second) || p[19] != 'Z'))
        return false;
    year += century * 100;
    is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (month < 1 || month > 12 || day < 1 ||
        day > days[month - 1] + (month == 2 && is_leap ? 1 : 0) || hour > 23 || minute > 59 ||
        second > 59)
        return false;
    /* Days since 1970, with years that begin in March: the leap day is the last of its year. */
    y = month > 2 ? year : year - 1;
    n = y * 365 + (y >= 0 ? y / 4 - y / 100 + y / 400 : -1) + (153 * ((month + 9) % 12) + 2) / 5 +
        day - 1 - 719468;
    *out = (((n * 24 + hour) * 60 + minute) * 60 + second) * 1000000;
    return true;
}

static bool filter_value_read(struct filter_reader *r, enum filter_what what)
{
    struct filter_value *v = value_new(r);
    const uint8_t *from;
    odb_slice name;

    if (!v)
        return false;
    skip_blanks(r);
    from = r->p;
    if (r->p < r->end && *r->p == '"') {
        v->value.type = ODB_PROP_TEXT;
        if (!filter_string(r, &v->value.u.bytes))
            return false;
        if (what == WHAT_TIME) {
            if (!date_us(v->value.u.bytes, &v->value.u.integer)) {
                (void)filter_fault(r, from,
                                   "no date; write \"2026-01-31\" or \"2026-01-31T12:30:00Z\"");
                return false;
            }
            v->value.type = ODB_PROP_INT;
        }
        return true;
    }
    if (r->p < r->end && (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')))
        return filter_number(r, &v->value);
    name = take_name(r);
    if (is_word(name, "now"))
        return filter_now(r, v);
    v->value.type = ODB_PROP_BOOL;
    v->value.u.boolean = is_word(name, "true");
    if (is_word(name, "true") || is_word(name, "false"))
        return true;
    v->value.type = ODB_PROP_NULL;
    if (is_word(name, "null"))
        return true;
    (void)filter_fault(r, from, "no value; texts stand in \"\"");
    return false;
}

/* ---- tests ---- */

static bool filter_field(struct filter_reader *r, struct filter_node *n)
{
    static const struct {
        const char *name;
        uint32_t id;
    } fields[] = {
        {"filename", ODB_FIELD_FILENAME},   {"file_type", ODB_FIELD_FILE_TYPE},
        {"file_size", ODB_FIELD_FILE_SIZE}, {"parent", ODB_FIELD_PARENT},
        {"start", ODB_FIELD_START},         {"end", ODB_FIELD_END},
        {"status", ODB_FIELD_STATUS},       {"chunk_count", ODB_FIELD_CHUNK_COUNT},
    };
    odb_slice name = take_name(r);

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (is_word(name, fields[i].name)) {
            n->what = WHAT_FIELD;
            n->field = fields[i].id;
            return true;
        }
    (void)filter_fault(r, r->p, "no field of that name");
    return false;
}

/* What the test looks at. */
static bool filter_what_read(struct filter_reader *r, struct filter_node *n)
{
    static const struct {
        const char *name;
        enum filter_what what;
    } words[] = {{"id", WHAT_ID},
                 {"content", WHAT_CONTENT},
                 {"importance", WHAT_IMPORTANCE},
                 {"ts", WHAT_TIME},
                 {"kind", WHAT_KIND}};
    static const char *const taken[] = {"now", "in", "has", "true", "false", "null"};
    const uint8_t *from;
    odb_slice name;
    bool is_prop, is_field;

    skip_blanks(r);
    from = r->p;
    name = take_name(r);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(name, words[i].name)) {
            n->what = words[i].what;
            return true;
        }
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (is_word(name, taken[i]))
            name.size = 0;
    if (name.size == 0) {
        (void)filter_fault(r, from, "no name of something to compare");
        return false;
    }
    is_prop = is_word(name, "prop");
    is_field = is_word(name, "field");
    if ((is_prop || is_field) && take_sign(r, "(")) {
        if (is_field && !filter_field(r, n))
            return false;
        skip_blanks(r);
        if (is_prop) {
            if (r->p == r->end || *r->p != '"') {
                (void)filter_fault(r, r->p, "no \"name\" of a property");
                return false;
            }
            n->what = WHAT_PROP;
            if (!filter_string(r, &n->name))
                return false;
        }
        if (take_sign(r, ")"))
            return true;
        (void)filter_fault(r, r->p, "no ) where one must stand");
        return false;
    }
    if (!utf8_is_valid(name)) {
        (void)filter_fault(r, from, "a name that is not UTF-8");
        return false;
    }
    n->what = WHAT_PROP;
    copy_name(r, name, &n->name);
    return true;
}

static bool filter_op_read(struct filter_reader *r, enum filter_test *out)
{
    static const struct {
        const char *sign;
        enum filter_test test;
    } ops[] = {{"==", TEST_EQ}, {"!=", TEST_NE}, {"<=", TEST_LE},     {">=", TEST_GE},
               {"<", TEST_LT},  {">", TEST_GT},  {"^=", TEST_BEGINS}, {"*=", TEST_CONTAINS}};
    const uint8_t *from;

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (take_sign(r, ops[i].sign)) {
            *out = ops[i].test;
            return true;
        }
    skip_blanks(r);
    from = r->p;
    *out = TEST_IN;
    if (is_word(take_name(r), "in"))
        return true;
    (void)filter_fault(r, from,
                       from < r->end && *from == '=' ? "= does not compare, == does"
                                                     : "no == != < <= > >= ^= *= or in");
    return false;
}

static bool filter_in_read(struct filter_reader *r, struct filter_node *n)
{
    if (!take_sign(r, "(")) {
        (void)filter_fault(r, r->p, "no ( behind in");
        return false;
    }
    do {
        if (!filter_value_read(r, n->what))
            return false;
        n->value_count++;
    } while (take_sign(r, ","));
    if (take_sign(r, ")"))
        return true;
    (void)filter_fault(r, r->p, "no comma or ) behind a value");
    return false;
}

static uint32_t filter_test_read(struct filter_reader *r)
{
    const uint8_t *from;
    struct filter_node n;
    uint32_t at;
    bool is_fine;

    memset(&n, 0, sizeof n);
    n.op = FILTER_TEST;
    n.child = n.next = FILTER_NONE;
    skip_blanks(r);
    from = r->p;
    if (is_word(take_name(r), "has") && take_sign(r, "(")) {
        n.test = TEST_HAS;
        is_fine = filter_what_read(r, &n);
        if (is_fine && !take_sign(r, ")"))
            is_fine = filter_fault(r, r->p, "no ) where one must stand") != FILTER_NONE;
    } else {
        r->p = from;
        is_fine = filter_what_read(r, &n) && filter_op_read(r, &n.test);
        n.value = r->f->value_count;
        if (is_fine && n.test == TEST_IN) {
            is_fine = filter_in_read(r, &n);
        } else if (is_fine) {
            n.value_count = 1;
            is_fine = filter_value_read(r, n.what);
        }
    }
    at = is_fine ? node_new(r, FILTER_TEST) : FILTER_NONE;
    if (at != FILTER_NONE)
        r->f->node[at] = n;
    return at;
}

/* ---- the tree ---- */

static uint32_t filter_list_read(struct filter_reader *r, bool is_any);

static uint32_t filter_not_read(struct filter_reader *r)
{
    const uint8_t *from;
    uint32_t at, child;

    skip_blanks(r);
    from = r->p;
    if (from == r->end || (*from != '(' && (*from != '!' || (from + 1 < r->end && from[1] == '='))))
        return filter_test_read(r);
    if (r->depth == FILTER_DEPTH_MAX)
        return filter_fault(r, from, "more than 64 levels of ( and !");
    r->depth++;
    r->p++;
    if (*from == '!') {
        child = filter_not_read(r);
        at = child == FILTER_NONE ? FILTER_NONE : node_new(r, FILTER_NOT);
        if (at != FILTER_NONE)
            r->f->node[at].child = child;
    } else {
        at = filter_list_read(r, true);
        if (at != FILTER_NONE && !take_sign(r, ")"))
            at = filter_fault(r, r->p, "no ) where one must stand");
    }
    r->depth--;
    return at;
}

/* A list of one is that one. */
static uint32_t filter_list_read(struct filter_reader *r, bool is_any)
{
    uint32_t first = is_any ? filter_list_read(r, false) : filter_not_read(r);
    uint32_t last = first, list = FILTER_NONE;

    while (r->st == ODB_OK && take_sign(r, is_any ? "||" : "&&")) {
        uint32_t one = is_any ? filter_list_read(r, false) : filter_not_read(r);

        if (one != FILTER_NONE && list == FILTER_NONE) {
            list = node_new(r, is_any ? FILTER_ANY : FILTER_ALL);
            if (list != FILTER_NONE)
                r->f->node[list].child = first;
        }
        if (one == FILTER_NONE || list == FILTER_NONE)
            return FILTER_NONE;
        r->f->node[last].next = one;
        last = one;
    }
    if (r->st != ODB_OK)
        return FILTER_NONE;
    return list == FILTER_NONE ? first : list;
}

odb_status odb_filter_parse(odb_slice text, odb_filter **out, size_t *err_at)
{
    struct filter_reader r = {0};

    if (!out || (!text.data && text.size))
        return err_set(ODB_INVALID, "the text or the place for the filter is NULL");
    if (text.size > FILTER_TEXT_MAX)
        return err_set(ODB_TOO_LARGE, "a filter of %zu bytes; at most %u are possible", text.size,
                       FILTER_TEXT_MAX);
    r.f = mem_zalloc(1, sizeof *r.f);
    if (!r.f || buf_reserve(&r.f->text, text.size + 1) != ODB_OK) {
        odb_filter_free(r.f);
        return err_set(ODB_NOMEM, "no memory to compile a filter");
    }
    r.start = r.p = text.size ? text.data : (const uint8_t *)"";
    r.end = r.p + text.size;
    r.f->root = filter_list_read(&r, true);
    skip_blanks(&r);
    if (r.st == ODB_OK && r.p < r.end)
        (void)filter_fault(&r, r.p, "no && or || where one must stand");
    if (r.st == ODB_OK) {
        *out = r.f;
        return ODB_OK;
    }
    odb_filter_free(r.f);
    if (r.st != ODB_INVALID)
        return r.st;
    if (err_at)
        *err_at = (size_t)(r.at - r.start);
    return err_set(ODB_INVALID, "filter, at byte %zu: %s", (size_t)(r.at - r.start), r.what);
}
