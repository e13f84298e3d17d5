/* tools/json.c -- JSON Lines, as much of it as rows need (RFC 8259): one object a line, its members
 * strings, true or false.
 *
 *     {"cf":"records","key":"a","value":"b"}        text
 *     {"key64":"AAE=","value64":"/w=="}             bytes that are not UTF-8
 *     {"key":"a","delete":true}                     a deletion (odb batch, odb load)
 *
 * Strict: an unknown or doubled member, a missing key, text behind the object, a control character
 * or a lone surrogate is an error with its column, not a guess.
 */
#include "tool.h"

#include <errno.h>
#include <stdlib.h>

struct json_in {
    const char *start, *p, *end;
    const char *wrong; /* NULL: fine so far */
};

static bool json_wrong(struct json_in *in, const char *what)
{
    if (!in->wrong)
        in->wrong = what;
    return false;
}

static void json_space(struct json_in *in)
{
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\t' || *in->p == '\r'))
        in->p++;
}

static bool json_take(struct json_in *in, char c)
{
    json_space(in);
    if (in->p == in->end || *in->p != c)
        return false;
    in->p++;
    return true;
}

static bool json_hex4(struct json_in *in, uint32_t *out)
{
    uint32_t v = 0;

    if (in->end - in->p < 4)
        return json_wrong(in, "\\u needs four hexadecimal digits");
    for (int i = 0; i < 4; i++) {
        char c = *in->p++;
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;

        if (d < 0)
            return json_wrong(in, "\\u needs four hexadecimal digits");
        v = v << 4 | (uint32_t)d;
    }
    *out = v;
    return true;
}

static void json_add_utf8(struct bytes *out, uint32_t c)
{
    char b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; c >>= 6)
        b[i] = (char)(0x80 | (c & 63));
    b[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
    bytes_add(out, b, n);
}

/* Behind a backslash. */
static bool json_escape(struct json_in *in, struct bytes *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = in->p < in->end ? *in->p++ : 0;
    const char *at = c ? strchr(from, c) : NULL;
    uint32_t high, low;

    if (at) {
        bytes_add(out, &to[at - from], 1);
        return true;
    }
    if (c != 'u')
        return json_wrong(in, "unknown escape");
    if (!json_hex4(in, &high))
        return false;
    if (high >= 0xdc00 && high < 0xe000)
        return json_wrong(in, "half of a surrogate pair");
    if (high >= 0xd800 && high < 0xdc00) {
        if (in->end - in->p < 2 || in->p[0] != '\\' || in->p[1] != 'u')
            return json_wrong(in, "half of a surrogate pair");
        in->p += 2;
        if (!json_hex4(in, &low))
            return false;
        if (low < 0xdc00 || low >= 0xe000)
            return json_wrong(in, "half of a surrogate pair");
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    json_add_utf8(out, high);
    return true;
}

static bool json_string(struct json_in *in, struct bytes *out)
{
    out->len = 0;
    bytes_add(out, "", 0);
    if (!json_take(in, '"'))
        return json_wrong(in, "a string in quotes is expected");
    for (;;) {
        const char *from = in->p;

        while (in->p < in->end && *in->p != '"' && *in->p != '\\' && (uint8_t)*in->p >= 0x20)
            in->p++;
        bytes_add(out, from, (size_t)(in->p - from));
        if (in->p == in->end)
            return json_wrong(in, "a string without an end");
        if ((uint8_t)*in->p < 0x20)
            return json_wrong(in, "a control character inside a string");
        if (*in->p++ == '"')
            break;
        if (!json_escape(in, out))
            return false;
    }
    return text_is_utf8(bytes_slice(out)) || json_wrong(in, "a string that is not UTF-8");
}

static bool json_bool(struct json_in *in, bool *out)
{
    json_space(in);
    *out = in->end - in->p >= 4 && memcmp(in->p, "true", 4) == 0;
    if (!*out && (in->end - in->p < 5 || memcmp(in->p, "false", 5) != 0))
        return json_wrong(in, "true or false is expected");
    in->p += *out ? 4 : 5;
    return true;
}

/* A member whose bytes come as text or, with the name's "64", as base64. */
static bool json_bytes(struct json_in *in, bool is_base64, bool *has, struct bytes *out)
{
    struct bytes text = {NULL, 0, 0};
    bool ok;

    if (*has)
        return json_wrong(in, "a member that is there twice");
    *has = true;
    if (!is_base64)
        return json_string(in, out);
    out->len = 0;
    bytes_add(out, "", 0);
    ok = json_string(in, &text);
    if (ok && !base64_decode(bytes_slice(&text), out))
        ok = json_wrong(in, "a string that is not base64 (with padding)");
    bytes_free(&text);
    return ok;
}

static bool json_member(struct json_in *in, struct json_row *r, struct bytes *name)
{
    odb_slice n;

    if (!json_string(in, name))
        return false;
    if (!json_take(in, ':'))
        return json_wrong(in, "a colon is expected");
    n = bytes_slice(name);
    if (odb_slice_equal(n, odb_s("cf")))
        return json_bytes(in, false, &r->has_cf, &r->cf);
    if (odb_slice_equal(n, odb_s("key")) || odb_slice_equal(n, odb_s("key64")))
        return json_bytes(in, n.size > 3, &r->has_key, &r->key);
    if (odb_slice_equal(n, odb_s("value")) || odb_slice_equal(n, odb_s("value64")))
        return json_bytes(in, n.size > 5, &r->has_value, &r->value);
    if (odb_slice_equal(n, odb_s("delete")))
        return json_bool(in, &r->is_delete);
    return json_wrong(in, "a member other than cf, key, key64, value, value64, delete");
}

static bool json_object(struct json_in *in, struct json_row *r, struct bytes *name)
{
    if (!json_take(in, '{'))
        return json_wrong(in, "an object in braces is expected");
    if (!json_take(in, '}')) {
        do {
            if (!json_member(in, r, name))
                return false;
        } while (json_take(in, ','));
        if (!json_take(in, '}'))
            return json_wrong(in, "a comma or the closing brace is expected");
    }
    json_space(in);
    if (in->p != in->end)
        return json_wrong(in, "something stands behind the object");
    if (!r->has_key)
        return json_wrong(in, "there is no key (or key64)");
    if (r->has_value == r->is_delete)
        return json_wrong(in, r->is_delete
                                  ? "a deletion has no value"
                                  : "there is no value (or value64), and no \"delete\":true");
    return true;
}

const char *json_parse_row(odb_slice line, struct json_row *out, size_t *at)
{
    struct json_in in = {line.data, line.data, (const char *)line.data + line.size, NULL};
    struct bytes name = {NULL, 0, 0};

    out->has_cf = out->has_key = out->has_value = out->is_delete = false;
    (void)json_object(&in, out, &name);
    *at = (size_t)(in.p - in.start) + 1;
    bytes_free(&name);
    return in.wrong;
}

#if ODB_HAS_GRAPH

/* ---- edges ----
 *
 *     {"from":"ann","rel":"knows","to":"bob","weight":0.5,"time":1700000000000000,
 *      "props":{"since":1999,"why":"work","odd":{"base64":"AAE="}}}
 *
 * from64, rel64 and to64 hold bytes that are not UTF-8. Weight, time and props may be missing.
 */

#define NUMBER_MAX 40

/* A number's characters, as they stand. */
static bool json_number(struct json_in *in, char *room, bool *is_integer)
{
    size_t n = 0;

    json_space(in);
    *is_integer = true;
    for (; in->p < in->end && *in->p && strchr("+-.eE0123456789", *in->p); in->p++) {
        if (n + 1 == NUMBER_MAX)
            return json_wrong(in, "a number of too many digits");
        *is_integer = *is_integer && !strchr(".eE", *in->p);
        room[n++] = *in->p;
    }
    room[n] = 0;
    if (n == 0 || room[0] == '+' || (room[0] == '0' && n > 1 && room[1] >= '0' && room[1] <= '9'))
        return json_wrong(in, "a number is expected");
    return true;
}

static bool json_integer(struct json_in *in, int64_t *out)
{
    char room[NUMBER_MAX], *end;
    bool is_integer;

    if (!json_number(in, room, &is_integer))
        return false;
    errno = 0;
    *out = strtoll(room, &end, 10);
    return (is_integer && !*end && !errno) ||
           json_wrong(in, "a whole number of 64 bits is expected");
}

static bool json_real(struct json_in *in, double *out)
{
    char room[NUMBER_MAX], *end;
    bool is_integer;

    if (!json_number(in, room, &is_integer))
        return false;
    *out = strtod(room, &end);
    return !*end || json_wrong(in, "a number is expected");
}

/* {"base64":"..."} for bytes, {"json":"..."} for a document. */
static bool json_boxed(struct json_in *in, odb_prop_type *type, struct bytes *out)
{
    struct bytes name = {NULL, 0, 0};
    bool has = false, ok;

    ok = json_take(in, '{') && json_string(in, &name) && json_take(in, ':');
    *type = odb_slice_equal(bytes_slice(&name), odb_s("json")) ? ODB_PROP_JSON : ODB_PROP_BYTES;
    ok = ok && (*type == ODB_PROP_JSON || odb_slice_equal(bytes_slice(&name), odb_s("base64"))) &&
         json_bytes(in, *type == ODB_PROP_BYTES, &has, out) && json_take(in, '}');
    bytes_free(&name);
    return ok || json_wrong(in, "an object in a property is {\"base64\":\"...\"} or "
                                "{\"json\":\"...\"}");
}

static bool json_prop_value(struct json_in *in, odb_prop_value *v, struct bytes *text)
{
    bool is_integer;
    const char *from;
    char room[NUMBER_MAX];

    memset(v, 0, sizeof *v);
    json_space(in);
    from = in->p;
    switch (in->p < in->end ? *in->p : 0) {
    case '"':
        v->type = ODB_PROP_TEXT;
        if (!json_string(in, text))
            return false;
        v->u.bytes = bytes_slice(text);
        return true;
    case '{':
        if (!json_boxed(in, &v->type, text))
            return false;
        v->u.bytes = bytes_slice(text);
        return true;
    case 't':
    case 'f': v->type = ODB_PROP_BOOL; return json_bool(in, &v->u.boolean);
    case 'n':
        v->type = ODB_PROP_NULL;
        if (in->end - in->p < 4 || memcmp(in->p, "null", 4) != 0)
            return json_wrong(in, "null is expected");
        in->p += 4;
        return true;
    default: break;
    }
    if (!json_number(in, room, &is_integer))
        return false;
    in->p = from;
    v->type = is_integer ? ODB_PROP_INT : ODB_PROP_REAL;
    return is_integer ? json_integer(in, &v->u.integer) : json_real(in, &v->u.real);
}

static bool json_props(struct json_in *in, struct json_edge *e)
{
    if (!json_take(in, '{'))
        return json_wrong(in, "properties are an object");
    if (json_take(in, '}'))
        return true;
    do {
        struct bytes *name = &e->text[2 * e->prop_count];
        odb_prop *prop = &e->prop[e->prop_count];

        if (e->prop_count == TOOL_PROPS)
            return json_wrong(in, "more properties than this command takes");
        if (!json_string(in, name) || !json_take(in, ':') ||
            !json_prop_value(in, &prop->value, name + 1))
            return json_wrong(in, "a property is \"name\":value");
        prop->name = bytes_slice(name);
        e->prop_count++;
    } while (json_take(in, ','));
    return json_take(in, '}') || json_wrong(in, "a comma or the closing brace is expected");
}

static bool json_once(struct json_in *in, bool *has)
{
    if (*has)
        return json_wrong(in, "a member that is there twice");
    return *has = true;
}

static bool json_edge_member(struct json_in *in, struct json_edge *e, struct bytes *name)
{
    odb_slice n;

    if (!json_string(in, name))
        return false;
    if (!json_take(in, ':'))
        return json_wrong(in, "a colon is expected");
    n = bytes_slice(name);
    if (odb_slice_equal(n, odb_s("from")) || odb_slice_equal(n, odb_s("from64")))
        return json_bytes(in, n.size > 4, &e->has_from, &e->from);
    if (odb_slice_equal(n, odb_s("rel")) || odb_slice_equal(n, odb_s("rel64")))
        return json_bytes(in, n.size > 3, &e->has_rel, &e->rel);
    if (odb_slice_equal(n, odb_s("to")) || odb_slice_equal(n, odb_s("to64")))
        return json_bytes(in, n.size > 2, &e->has_to, &e->to);
    if (odb_slice_equal(n, odb_s("weight")))
        return json_once(in, &e->has_weight) && json_real(in, &e->weight);
    if (odb_slice_equal(n, odb_s("time")))
        return json_once(in, &e->has_time) && json_integer(in, &e->time_us);
    if (odb_slice_equal(n, odb_s("props")))
        return json_once(in, &e->has_props) && json_props(in, e);
    return json_wrong(in, "a member other than from, rel, to (or from64 ...), weight, time, props");
}

static bool json_edge_object(struct json_in *in, struct json_edge *e, struct bytes *name)
{
    if (!json_take(in, '{'))
        return json_wrong(in, "an object in braces is expected");
    do {
        if (!json_edge_member(in, e, name))
            return false;
    } while (json_take(in, ','));
    if (!json_take(in, '}'))
        return json_wrong(in, "a comma or the closing brace is expected");
    json_space(in);
    if (in->p != in->end)
        return json_wrong(in, "something stands behind the object");
    if (!e->has_from || !e->has_rel || !e->has_to)
        return json_wrong(in, "an edge needs from, rel and to");
    return true;
}

const char *json_parse_edge(odb_slice line, struct json_edge *out, size_t *at)
{
    struct json_in in = {line.data, line.data, (const char *)line.data + line.size, NULL};
    struct bytes name = {NULL, 0, 0};

    out->has_from = out->has_rel = out->has_to = false;
    out->has_weight = out->has_time = out->has_props = false;
    out->prop_count = 0;
    (void)json_edge_object(&in, out, &name);
    *at = (size_t)(in.p - in.start) + 1;
    bytes_free(&name);
    return in.wrong;
}

void json_edge_free(struct json_edge *e)
{
    bytes_free(&e->from);
    bytes_free(&e->rel);
    bytes_free(&e->to);
    for (size_t i = 0; i < 2 * TOOL_PROPS; i++)
        bytes_free(&e->text[i]);
}

void json_add_real(struct bytes *out, double v)
{
    char room[40];

    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(room, sizeof room, "%.*g", digits, v);
        if (!(strtod(room, NULL) < v) && !(strtod(room, NULL) > v))
            break;
    }
    bytes_add(out, room, strlen(room));
}

static void json_add_boxed(struct bytes *out, const char *name, odb_slice s)
{
    bytes_add(out, "{", 1);
    json_add_string(out, odb_s(name));
    bytes_add(out, ":", 1);
    json_add_string(out, s);
    bytes_add(out, "}", 1);
}

static void json_add_bytes(struct bytes *out, odb_slice s)
{
    struct bytes code = {NULL, 0, 0};

    base64_encode(s, &code);
    json_add_boxed(out, "base64", bytes_slice(&code));
    bytes_free(&code);
}

void json_add_value(struct bytes *out, const odb_prop_value *v)
{
    size_t from = out->len;
    char room[40];

    switch (v->type) {
    case ODB_PROP_NULL: bytes_add(out, "null", 4); return;
    case ODB_PROP_BOOL:
        bytes_add(out, v->u.boolean ? "true" : "false", v->u.boolean ? 4 : 5);
        return;
    case ODB_PROP_INT:
        (void)snprintf(room, sizeof room, "%lld", (long long)v->u.integer);
        bytes_add(out, room, strlen(room));
        return;
    case ODB_PROP_REAL:
        json_add_real(out, v->u.real);
        if (!memchr(out->p + from, '.', out->len - from) &&
            !memchr(out->p + from, 'e', out->len - from))
            bytes_add(out, ".0", 2); /* to be read as a real again */
        return;
    case ODB_PROP_TEXT:
    case ODB_PROP_JSON:
    case ODB_PROP_BYTES: break;
    }
    if (v->type == ODB_PROP_BYTES || !text_is_utf8(v->u.bytes))
        json_add_bytes(out, v->u.bytes);
    else if (v->type == ODB_PROP_JSON)
        json_add_boxed(out, "json", v->u.bytes);
    else
        json_add_string(out, v->u.bytes);
}

#endif

void json_row_free(struct json_row *r)
{
    bytes_free(&r->cf);
    bytes_free(&r->key);
    bytes_free(&r->value);
}

void json_add_string(struct bytes *out, odb_slice s)
{
    const uint8_t *p = s.data;
    char code[8];

    bytes_add(out, "\"", 1);
    for (size_t i = 0; i < s.size; i++) {
        if (p[i] == '"' || p[i] == '\\') {
            bytes_add(out, "\\", 1);
            bytes_add(out, p + i, 1);
        } else if (p[i] < 0x20 || p[i] == 0x7f) {
            (void)snprintf(code, sizeof code, "\\u%04x", (unsigned)p[i]);
            bytes_add(out, code, 6);
        } else {
            bytes_add(out, p + i, 1);
        }
    }
    bytes_add(out, "\"", 1);
}

void json_add_field(struct bytes *out, const char *name, odb_slice s)
{
    bool is_text = text_is_utf8(s);

    bytes_add(out, "\"", 1);
    bytes_add(out, name, strlen(name));
    bytes_add(out, is_text ? "\":" : "64\":", is_text ? 2 : 4);
    if (is_text) {
        json_add_string(out, s);
        return;
    }
    bytes_add(out, "\"", 1);
    base64_encode(s, out);
    bytes_add(out, "\"", 1);
}
