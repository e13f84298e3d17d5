/* records/utf8.c -- UTF-8, checked. */
#include "records/utf8.h"

static bool utf8_is_tail(const uint8_t *p, const uint8_t *end, size_t n)
{
    if ((size_t)(end - p) < n)
        return false;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return false;
    return true;
}

size_t utf8_char_len(const uint8_t *p, const uint8_t *end)
{
    uint8_t c = *p;

    if (c < 0x80)
        return 1;
    if (c < 0xC2)
        return 0; /* a tail, or a form longer than it need be */
    if (c < 0xE0)
        return utf8_is_tail(p, end, 2) ? 2 : 0;
    if (c < 0xF0) {
        if (!utf8_is_tail(p, end, 3) || (c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] >= 0xA0))
            return 0;
        return 3;
    }
    if (c > 0xF4 || !utf8_is_tail(p, end, 4) || (c == 0xF0 && p[1] < 0x90) ||
        (c == 0xF4 && p[1] >= 0x90))
        return 0;
    return 4;
}

bool utf8_is_valid(odb_slice s)
{
    const uint8_t *p = s.data, *end = p ? p + s.size : p;

    while (p < end) {
        uint64_t eight;
        size_t n;

        if (end - p >= 8) {
            memcpy(&eight, p, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                p += 8;
                continue;
            }
        }
        n = utf8_char_len(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

size_t utf8_write(uint8_t *p, uint32_t code)
{
    if (code < 0x80) {
        p[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        p[0] = (uint8_t)(0xC0 | code >> 6);
        p[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        p[0] = (uint8_t)(0xE0 | code >> 12);
        p[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        p[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    p[0] = (uint8_t)(0xF0 | code >> 18);
    p[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    p[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    p[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}
