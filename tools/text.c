/* tools/text.c -- keys, values and numbers as people type and read them.
 *
 *     typed     abc          0x616263 or --hex 616263      --base64 YWJj
 *     shown     abc\x00      616263                        YWJj
 */
#include "tool.h"

#include <stdlib.h>

void bytes_add(struct bytes *b, const void *data, size_t len)
{
    if (len > b->cap - b->len || !b->p) {
        size_t cap = b->cap ? b->cap : 64;
        char *grown;

        while (cap - b->len < len && cap < SIZE_MAX / 2)
            cap *= 2;
        grown = realloc(b->p, cap);
        if (!grown || cap - b->len < len) {
            fprintf(stderr, "odb: out of memory\n");
            exit(EXIT_OTHER);
        }
        b->p = grown;
        b->cap = cap;
    }
    if (len)
        memcpy(b->p + b->len, data, len);
    b->len += len;
}

void bytes_free(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){NULL, 0, 0};
}

/* ---- hexadecimal ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hex_decode(const char *text, struct bytes *out)
{
    size_t len = strlen(text);

    if (len % 2)
        return false;
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        char byte = (char)(high * 16 + low);

        if (high < 0 || low < 0)
            return false;
        bytes_add(out, &byte, 1);
    }
    return true;
}

/* ---- base64 (RFC 4648, with padding) ---- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(odb_slice s, struct bytes *out)
{
    const uint8_t *p = s.data;

    for (size_t i = 0; i < s.size; i += 3) {
        size_t n = s.size - i < 3 ? s.size - i : 3;
        uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (n > 2 ? (uint32_t)p[i + 2] : 0);
        char four[4] = {base64_digits[v >> 18], base64_digits[v >> 12 & 63],
                        n > 1 ? base64_digits[v >> 6 & 63] : '=',
                        n > 2 ? base64_digits[v & 63] : '='};

        bytes_add(out, four, 4);
    }
}

static int base64_digit(char c)
{
    const char *at = c ? strchr(base64_digits, c) : NULL;

    return at ? (int)(at - base64_digits) : -1;
}

bool base64_decode(odb_slice text, struct bytes *out)
{
    const char *p = text.data;

    if (text.size % 4)
        return false;
    for (size_t i = 0; i < text.size; i += 4) {
        bool is_last = i + 4 == text.size;
        size_t pad = is_last && p[i + 3] == '=' ? (p[i + 2] == '=' ? 2 : 1) : 0;
        uint32_t v = 0;
        char three[3];

        for (size_t k = 0; k < 4; k++) {
            int d = k >= 4 - pad ? 0 : base64_digit(p[i + k]);

            if (d < 0)
                return false;
            v = v << 6 | (uint32_t)d;
        }
        if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
            return false; /* bits behind the end: not what an encoder makes */
        three[0] = (char)(v >> 16);
        three[1] = (char)(v >> 8);
        three[2] = (char)v;
        bytes_add(out, three, 3 - pad);
    }
    return true;
}

/* ---- keys and values ---- */

bool text_parse(const struct tool *t, const char *typed, struct bytes *out)
{
    bool is_hex = t->form == FORM_HEX || (t->form == FORM_TEXT && strncmp(typed, "0x", 2) == 0);

    out->len = 0;
    if (is_hex && !hex_decode(strncmp(typed, "0x", 2) == 0 ? typed + 2 : typed, out)) {
        fprintf(stderr,
                "odb: '%s' is not hexadecimal: an even number of digits 0-9 a-f is needed%s\n",
                typed, t->form == FORM_TEXT ? ", because it begins with 0x" : "");
        return false;
    }
    if (t->form == FORM_BASE64 && !base64_decode(odb_s(typed), out)) {
        fprintf(stderr, "odb: '%s' is not base64 (with padding)\n", typed);
        return false;
    }
    if (t->form == FORM_TEXT && !is_hex)
        bytes_add(out, typed, strlen(typed));
    return true;
}

/* The length of the UTF-8 character at p, 0 when there is none; RFC 3629. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    uint32_t c;

    if (n < 2)
        return n;
    if (n > left)
        return 0;
    c = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 63);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

bool text_is_utf8(odb_slice s)
{
    const uint8_t *p = s.data;

    for (size_t i = 0, n; i < s.size; i += n) {
        n = utf8_length(p + i, s.size - i);
        if (n == 0)
            return false;
    }
    return true;
}

void text_show(const struct tool *t, odb_slice s, struct bytes *out)
{
    const uint8_t *p = s.data;
    char code[5];

    if (t->form == FORM_BASE64) {
        base64_encode(s, out);
        return;
    }
    for (size_t i = 0, n; i < s.size; i += n) {
        n = t->form == FORM_TEXT ? utf8_length(p + i, s.size - i) : 0;
        if (n > 0 && p[i] >= 0x20 && p[i] != 0x7f && p[i] != '\\') {
            bytes_add(out, p + i, n);
            continue;
        }
        n = 1;
        if (t->form == FORM_TEXT && p[i] == '\\') {
            bytes_add(out, "\\\\", 2);
        } else {
            (void)snprintf(code, sizeof code, t->form == FORM_TEXT ? "\\x%02x" : "%02x",
                           (unsigned)p[i]);
            bytes_add(out, code, strlen(code));
        }
    }
}

/* ---- numbers ---- */

#define SHOW_TURNS 8

static char *show_turn(void)
{
    static char text[SHOW_TURNS][32];
    static unsigned turn;

    return text[turn++ % SHOW_TURNS];
}

const char *show_bytes(uint64_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n;
    char *out = show_turn();
    size_t u = 0;

    while (v >= 1000 && u < 6) {
        v /= 1024;
        u++;
    }
    (void)snprintf(out, 32,
                   v < 10 && u    ? "%.2f %s"
                   : v < 100 && u ? "%.1f %s"
                                  : "%.0f %s",
                   v, unit[u]);
    return out;
}

const char *show_count(uint64_t n)
{
    char digits[24], *out = show_turn();
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

bool parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "kmgt";
    uint64_t v = 0, factor = 1;
    const char *p = text, *u;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (v > UINT64_MAX / 10 - 1)
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (p == text)
        return false;
    if (*p) {
        char c = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);

        u = strchr(units, c);
        if (!u || p[1])
            return false;
        for (; u >= units; u--)
            factor *= 1024;
    }
    if (v > UINT64_MAX / factor)
        return false;
    *out = v * factor;
    return true;
}
