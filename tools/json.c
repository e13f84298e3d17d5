/* tools/json.c -- JSON Lines, as much of it as rows need (RFC 8259): one object a line, its members
 * strings, true or false.
 *
 *     {"cf":"records","key":"a","value":"b"}        text
 *     {"key64":"AAE=","value64":"/w=="}             bytes that are not UTF-8
 *     {"key":"a","delete":true}                     a deletion (odb batch, odb load)
 *
 * Strict: an unknown or doubled member, a missing key, text behind the object, a control character
 * or a lone surrogate is an error with its column, not a guess.
 *
 * Not that of records/json.c, which is another thing (any document, into a tree of nodes, names checked at the
 * end) and out of reach: a program sees the installed headers, and this one builds without records, too.
 */
#include "tool.h"

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
