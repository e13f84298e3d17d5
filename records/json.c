/* records/json.c -- JSON, read strictly and written plainly.
 *
 * The reader goes through the text once, front to back, and does not call itself: open arrays and
 * objects wait on a stack of JSON_DEPTH_MAX. Strings without escapes are lent from the text. Those with
 * escapes go to `room`, which is made as large as the text before the first of them, so that it never
 * moves.
 *
 * Whether an object has a name twice is found when it closes: few names are compared each with each,
 * many are sorted first, so that a hostile document costs no more than n log n.
 */
#include "records/json.h"

#include "base/alloc.h"
#include "records/number.h"
#include "records/utf8.h"

#define JSON_TEXT_MAX ((size_t)1 << 30)
#define FEW_NAMES     12u

struct json_reader {
    const uint8_t *start, *p, *end;
    struct json_doc *doc;
    const char *what;  /* wrong with the text; NULL: nothing, or no memory */
    const uint8_t *at; /* where */
};

static bool json_fault(struct json_reader *r, const uint8_t *at, const char *what)
{
    r->what = what;
    r->at = at;
    return false;
}

static void json_skip_space(struct json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
}

/* A new node, zeroed; NULL without memory. */
static struct json_node *json_node_add(struct json_reader *r)
{
    struct json_doc *doc = r->doc;

    if (doc->count == doc->cap) {
        uint32_t cap = doc->cap ? doc->cap * 2 : 16;
        struct json_node *grown = mem_realloc(doc->node, (size_t)cap * sizeof *grown);

        if (!grown)
            return NULL;
        doc->node = grown;
        doc->cap = cap;
    }
    memset(&doc->node[doc->count], 0, sizeof *doc->node);
    return &doc->node[doc->count++];
}

/* ---- scalars ---- */

static bool read_hex4(struct json_reader *r, uint32_t *out)
{
    uint32_t v = 0;

    if (r->end - r->p < 4)
        return json_fault(r, r->p, "an escape that is cut short");
    for (int i = 0; i < 4; i++, r->p++) {
        uint8_t c = *r->p;

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return json_fault(r, r->p, "an escape with something other than hex digits");
    }
    *out = v;
    return true;
}

/* Behind the backslash. `to` has room for four bytes. */
static bool read_escape(struct json_reader *r, uint8_t **to)
{
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const uint8_t *from = r->p;
    const char *found;
    uint32_t code, low;

    if (r->p == r->end)
        return json_fault(r, r->p, "a string without an end");
    if (*r->p != 'u') {
        found = *r->p ? strchr(plain, *r->p) : NULL;
        if (!found)
            return json_fault(r, r->p, "an escape that does not exist");
        r->p++;
        *(*to)++ = (uint8_t)meant[found - plain];
        return true;
    }
    r->p++;
    if (!read_hex4(r, &code))
        return false;
    if (code >= 0xDC00 && code < 0xE000)
        return json_fault(r, from, "the second half of a surrogate pair alone");
    if (code >= 0xD800 && code < 0xDC00) {
        if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
            return json_fault(r, from, "the first half of a surrogate pair alone");
        r->p += 2;
        if (!read_hex4(r, &low))
            return false;
        if (low < 0xDC00 || low >= 0xE000)
            return json_fault(r, from, "the first half of a surrogate pair alone");
        code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00));
    }
    *to += utf8_write(*to, code);
    return true;
}

/* r->p stands on the opening quote. */
static bool read_string(struct json_reader *r, odb_slice *out)
{
    struct buf *room = &r->doc->room;
    const uint8_t *from = ++r->p;
    uint8_t *to;

    while (r->p < r->end && *r->p != '"' && *r->p != '\\') {
        size_t n;

        if (*r->p < 0x20)
            return json_fault(r, r->p, "a control character in a string");
        n = utf8_char_len(r->p, r->end);
        if (n == 0)
            return json_fault(r, r->p, "bytes that are not UTF-8");
        r->p += n;
    }
    if (r->p < r->end && *r->p == '"') {
        *out = odb_bytes(from, (size_t)(r->p - from));
        r->p++;
        return true;
    }
    if (!room->p && buf_reserve(room, (size_t)(r->end - r->start)) != ODB_OK)
        return false;
    to = room->p + room->len;
    if (r->p > from)
        memcpy(to, from, (size_t)(r->p - from));
    to += r->p - from;
    while (r->p < r->end && *r->p != '"') {
        size_t n;

        if (*r->p == '\\') {
            r->p++;
            if (!read_escape(r, &to))
                return false;
            continue;
        }
        if (*r->p < 0x20)
            return json_fault(r, r->p, "a control character in a string");
        n = utf8_char_len(r->p, r->end);
        if (n == 0)
            return json_fault(r, r->p, "bytes that are not UTF-8");
        memcpy(to, r->p, n);
        to += n;
        r->p += n;
    }
    if (r->p == r->end)
        return json_fault(r, from - 1, "a string without an end");
    r->p++;
    *out = odb_bytes(room->p + room->len, (size_t)(to - (room->p + room->len)));
    room->len = (size_t)(to - room->p);
    return true;
}

static bool skip_digits(struct json_reader *r)
{
    const uint8_t *from = r->p;

    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > from;
}

static bool digits_to_i64(odb_slice text, int64_t *out)
{
    const uint8_t *p = text.data, *end = p + text.size;
    bool is_negative = *p == '-';
    uint64_t v = 0, max = (uint64_t)INT64_MAX + is_negative;

    for (p += is_negative; p < end; p++) {
        uint64_t digit = (uint64_t)(*p - '0');

        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    v = is_negative ? 0 - v : v;
    memcpy(out, &v, sizeof v);
    return true;
}

static bool json_read_number(struct json_reader *r, struct json_node *n)
{
    const uint8_t *from = r->p, *digits;
    bool is_real = false;
    odb_slice text;

    if (*r->p == '-')
        r->p++;
    digits = r->p;
    if (!skip_digits(r))
        return json_fault(r, r->p, "a number without digits");
    if (*digits == '0' && r->p - digits > 1)
        return json_fault(r, digits, "a number with a zero in front");
    if (r->p < r->end && *r->p == '.') {
        is_real = true;
        r->p++;
        if (!skip_digits(r))
            return json_fault(r, r->p, "a number with nothing behind its point");
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        is_real = true;
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->p++;
        if (!skip_digits(r))
            return json_fault(r, r->p, "a number without digits in its exponent");
    }
    text = odb_bytes(from, (size_t)(r->p - from));
    if (*from == '-' && text.size == 2 && from[1] == '0')
        is_real = true; /* an integer has no negative zero */
    n->type = is_real ? JSON_REAL : JSON_INT;
    if (is_real && !number_read(text, &n->u.real))
        return json_fault(r, from, "a real too large for a double");
    if (!is_real && !digits_to_i64(text, &n->u.integer))
        return json_fault(r, from, "an integer beyond 64 bits");
    return true;
}

static bool json_read_word(struct json_reader *r, struct json_node *n)
{
    static const struct {
        const char *word;
        enum json_type type;
        bool value;
    } words[] = {
        {"null", JSON_NULL, false}, {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t len = strlen(words[i].word);

        if ((size_t)(r->end - r->p) >= len && memcmp(r->p, words[i].word, len) == 0) {
            r->p += len;
            n->type = words[i].type;
            n->u.boolean = words[i].value;
            return true;
        }
    }
    return json_fault(r, r->p, "something that is no JSON value");
}

/* ---- objects ---- */

static void names_sift(odb_slice *a, size_t from, size_t count)
{
    for (size_t child; (child = 2 * from + 1) < count; from = child) {
        odb_slice swap = a[from];

        if (child + 1 < count && odb_slice_compare(a[child], a[child + 1]) < 0)
            child++;
        if (odb_slice_compare(swap, a[child]) >= 0)
            return;
        a[from] = a[child];
        a[child] = swap;
    }
}

static void names_sort(odb_slice *a, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        names_sift(a, i, count);
    for (size_t i = count; i-- > 1;) {
        odb_slice swap = a[0];

        a[0] = a[i];
        a[i] = swap;
        names_sift(a, 0, i);
    }
}

/* No name twice in the object that closes now. */
static bool check_names(struct json_reader *r, uint32_t object)
{
    const struct json_node *n = &r->doc->node[object];
    odb_slice few[FEW_NAMES], *names = few;
    uint32_t count = n->count, at = object + 1;
    bool is_twice = false;

    if (count > FEW_NAMES)
        names = mem_array(count, sizeof *names);
    if (!names)
        return false;
    for (uint32_t i = 0; i < count; i++, at = r->doc->node[at].next)
        names[i] = r->doc->node[at].name;
    if (count > FEW_NAMES) {
        names_sort(names, count);
        for (uint32_t i = 1; i < count; i++)
            is_twice |= odb_slice_equal(names[i - 1], names[i]);
    } else {
        for (uint32_t i = 1; i < count; i++)
            for (uint32_t j = 0; j < i; j++)
                is_twice |= odb_slice_equal(names[i], names[j]);
    }
    if (names != few)
        mem_free(names);
    return !is_twice || json_fault(r, r->p, "an object with a name twice");
}

/* A name and its colon, when the innermost open thing is an object. */
static bool read_name(struct json_reader *r, odb_slice *out)
{
    if (r->p == r->end || *r->p != '"')
        return json_fault(r, r->p, "no name where one must stand");
    if (!read_string(r, out))
        return false;
    json_skip_space(r);
    if (r->p == r->end || *r->p != ':')
        return json_fault(r, r->p, "no colon behind a name");
    r->p++;
    json_skip_space(r);
    return true;
}

/* One value. True with *is_open: an array or object was opened. */
static bool read_value(struct json_reader *r, odb_slice name, bool *is_open)
{
    struct json_node *n = json_node_add(r);
    odb_slice string;
    bool is_fine;

    *is_open = false;
    if (!n)
        return false;
    n->name = name;
    n->from = (uint32_t)(r->p - r->start);
    if (r->p == r->end)
        return json_fault(r, r->p, "no value where one must stand");
    switch (*r->p) {
    case '{':
    case '[':
        n->type = *r->p == '{' ? JSON_OBJECT : JSON_ARRAY;
        r->p++;
        *is_open = true;
        return true;
    case '"':
        n->type = JSON_STRING;
        is_fine = read_string(r, &string);
        if (is_fine)
            n->u.string = string;
        break;
    default:
        is_fine = *r->p == '-' || (*r->p >= '0' && *r->p <= '9') ? json_read_number(r, n)
                                                                 : json_read_word(r, n);
    }
    n->next = r->doc->count;
    n->to = (uint32_t)(r->p - r->start);
    return is_fine;
}

static bool read_document(struct json_reader *r)
{
    uint32_t open[JSON_DEPTH_MAX];
    int depth = 0;
    bool is_first = true; /* nothing stands yet in the innermost open thing */

    for (;;) {
        odb_slice name = {NULL, 0};
        bool is_open = false, is_object;

        json_skip_space(r);
        if (depth > 0) {
            struct json_node *n = &r->doc->node[open[depth - 1]];
            uint8_t close;

            is_object = n->type == JSON_OBJECT;
            close = is_object ? '}' : ']';
            if (r->p < r->end && *r->p == close) {
                r->p++;
                if (is_object && !check_names(r, open[depth - 1]))
                    return false;
                n->next = r->doc->count;
                n->to = (uint32_t)(r->p - r->start);
                is_first = false;
                if (--depth == 0)
                    return true;
                continue;
            }
            if (!is_first) {
                if (r->p == r->end || *r->p != ',')
                    return json_fault(r, r->p,
                                      is_object ? "no comma or } behind a member"
                                                : "no comma or ] behind an element");
                r->p++;
                json_skip_space(r);
            }
            if (is_object && !read_name(r, &name))
                return false;
            n->count++;
        }
        if (!read_value(r, name, &is_open))
            return false;
        is_first = is_open;
        if (is_open) {
            if (depth == JSON_DEPTH_MAX)
                return json_fault(r, r->p - 1, "more than 64 levels");
            open[depth++] = r->doc->count - 1;
        } else if (depth == 0) {
            return true;
        }
    }
}

odb_status json_read(odb_slice text, struct json_doc *out, const char **what, size_t *at)
{
    struct json_doc doc = {0};
    struct json_reader r = {0};
    bool is_fine;

    if (text.size > JSON_TEXT_MAX) {
        *what = "a document over 1 GiB";
        *at = 0;
        return ODB_TOO_LARGE;
    }
    doc.text = text;
    r.start = r.p = text.size ? text.data : (const uint8_t *)"";
    r.end = r.p + text.size;
    r.doc = &doc;
    is_fine = read_document(&r);
    if (is_fine) {
        json_skip_space(&r);
        if (r.p < r.end)
            is_fine = json_fault(&r, r.p, "something behind the document");
    }
    if (is_fine) {
        *out = doc;
        return ODB_OK;
    }
    json_release(&doc);
    if (!r.what)
        return err_set(ODB_NOMEM, "no memory to read a JSON document");
    *what = r.what;
    *at = (size_t)(r.at - r.start);
    return ODB_INVALID;
}

void json_release(struct json_doc *doc)
{
    mem_free(doc->node);
    buf_release(&doc->room);
    doc->node = NULL;
    doc->count = doc->cap = 0;
}

odb_status json_check(odb_slice text, const char **what, size_t *at)
{
    struct json_doc doc;
    odb_status st = json_read(text, &doc, what, at);

    if (st == ODB_OK)
        json_release(&doc);
    return st;
}

const struct json_node *json_member(const struct json_doc *doc, const struct json_node *object,
                                    const char *name)
{
    const struct json_node *n = json_first(object);

    if (object->type != JSON_OBJECT)
        return NULL;
    for (uint32_t i = 0; i < object->count; i++, n = json_next(doc, n))
        if (odb_slice_equal(n->name, odb_s(name)))
            return n;
    return NULL;
}

/* ---- writing ---- */

odb_status json_add_raw(struct buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

odb_status json_add_text(struct buf *b, odb_slice s)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = s.data;
    uint8_t *to;

    if (buf_reserve(b, s.size * 6 + 2) != ODB_OK)
        return ODB_NOMEM;
    to = b->p + b->len;
    *to++ = '"';
    for (size_t i = 0; i < s.size; i++) {
        const char *escape = NULL;

        switch (p[i]) {
        case '"': escape = "\\\""; break;
        case '\\': escape = "\\\\"; break;
        case '\b': escape = "\\b"; break;
        case '\f': escape = "\\f"; break;
        case '\n': escape = "\\n"; break;
        case '\r': escape = "\\r"; break;
        case '\t': escape = "\\t"; break;
        default: break;
        }
        if (escape) {
            *to++ = (uint8_t)escape[0];
            *to++ = (uint8_t)escape[1];
        } else if (p[i] < 0x20) {
            memcpy(to, "\\u00", 4);
            to[4] = (uint8_t)hex[p[i] >> 4];
            to[5] = (uint8_t)hex[p[i] & 15];
            to += 6;
        } else {
            *to++ = p[i];
        }
    }
    *to++ = '"';
    b->len = (size_t)(to - b->p);
    return ODB_OK;
}

odb_status json_add_i64(struct buf *b, int64_t v)
{
    char text[NUMBER_TEXT_MAX];

    return buf_append(b, text, number_write_i64(text, v));
}

odb_status json_add_f64(struct buf *b, double v)
{
    char text[NUMBER_TEXT_MAX];

    return buf_append(b, text, number_write(text, v));
}

odb_status json_add_f32(struct buf *b, float v)
{
    double wide = (double)v, half = v < 0 ? -0.5 : 0.5;

    if (-1e6 < wide && wide < 1e6)
        for (double scale = 1; scale <= 1e9; scale *= 10) {
            double near = (double)(int64_t)(wide * scale + half) / scale;

            if ((float)near == v)
                return json_add_f64(b, near);
        }
    return json_add_f64(b, wide);
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

odb_status json_add_base64(struct buf *b, odb_slice s)
{
    const uint8_t *p = s.data;
    uint8_t *to;

    if (buf_reserve(b, s.size / 3 * 4 + 6) != ODB_OK)
        return ODB_NOMEM;
    to = b->p + b->len;
    *to++ = '"';
    for (size_t i = 0; i < s.size; i += 3) {
        size_t left = s.size - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0u);

        *to++ = (uint8_t)base64_digits[v >> 18];
        *to++ = (uint8_t)base64_digits[v >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)base64_digits[v >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)base64_digits[v & 63] : '=';
    }
    *to++ = '"';
    b->len = (size_t)(to - b->p);
    return ODB_OK;
}

odb_status json_read_base64(odb_slice text, struct buf *out)
{
    const uint8_t *p = text.data;
    uint8_t *to;

    buf_reset(out);
    if (text.size % 4)
        return ODB_INVALID;
    if (buf_reserve(out, text.size / 4 * 3 + 1) != ODB_OK)
        return ODB_NOMEM;
    to = out->p;
    for (size_t i = 0; i < text.size; i += 4) {
        bool is_last = i + 4 == text.size;
        size_t pads = is_last && p[i + 3] == '=' ? (p[i + 2] == '=' ? 2 : 1) : 0;
        uint32_t v = 0;

        for (size_t j = 0; j < 4; j++) {
            const char *at = p[i + j] ? strchr(base64_digits, p[i + j]) : NULL;

            if (j >= 4 - pads)
                at = base64_digits;
            if (!at)
                return ODB_INVALID;
            v = v << 6 | (uint32_t)(at - base64_digits);
        }
        if ((pads == 1 && v & 0xFF) || (pads == 2 && v & 0xFFFF))
            return ODB_INVALID; /* one spelling for each value */
        *to++ = (uint8_t)(v >> 16);
        if (pads < 2)
            *to++ = (uint8_t)(v >> 8);
        if (pads < 1)
            *to++ = (uint8_t)v;
    }
    out->len = (size_t)(to - out->p);
    return ODB_OK;
}

static odb_status add_scalar(struct buf *b, const struct json_node *n)
{
    switch (n->type) {
    case JSON_BOOL: return json_add_raw(b, n->u.boolean ? "true" : "false");
    case JSON_INT: return json_add_i64(b, n->u.integer);
    case JSON_REAL: return json_add_f64(b, n->u.real);
    case JSON_STRING: return json_add_text(b, n->u.string);
    default: return json_add_raw(b, "null");
    }
}

odb_status json_add_doc(struct buf *b, const struct json_doc *doc)
{
    uint32_t open[JSON_DEPTH_MAX];
    size_t from = b->len;
    int depth = 0;
    odb_status st = ODB_OK;

    for (uint32_t i = 0; st == ODB_OK && i < doc->count; i++) {
        const struct json_node *n = &doc->node[i];

        if (depth > 0 && i > open[depth - 1] + 1)
            st = json_add_raw(b, ",");
        if (st == ODB_OK && depth > 0 && doc->node[open[depth - 1]].type == JSON_OBJECT) {
            st = json_add_text(b, n->name);
            if (st == ODB_OK)
                st = json_add_raw(b, ":");
        }
        if (st == ODB_OK && n->type >= JSON_ARRAY) {
            st = json_add_raw(b, n->type == JSON_OBJECT ? "{" : "[");
            open[depth++] = i;
        } else if (st == ODB_OK) {
            st = add_scalar(b, n);
        }
        while (st == ODB_OK && depth > 0 && doc->node[open[depth - 1]].next == i + 1) {
            depth--;
            st = json_add_raw(b, doc->node[open[depth]].type == JSON_OBJECT ? "}" : "]");
        }
    }
    if (st != ODB_OK)
        b->len = from;
    return st;
}

odb_status json_hand_out(struct buf *b, odb_status st, char *to, size_t cap, size_t *len)
{
    if (st == ODB_OK) {
        *len = b->len;
        if (cap)
            memcpy(to, b->p, b->len < cap ? b->len : cap);
    }
    buf_release(b);
    return st;
}
