/* base/coding.h -- the only place where integers become bytes.
 *
 * Stored integers are little-endian; an integer inside a key is big-endian, so that byte order is
 * number order. Nothing here needs alignment. `enc_*` writes into room the caller has checked;
 * `dec_*` reads through a cursor that knows its end: a read past it sets `bad`, yields zero and
 * leaves the cursor at the end, so a decoder checks once, after its last field.
 */
#ifndef ODB_BASE_CODING_H
#define ODB_BASE_CODING_H

#include "base/odb_types.h"

#define VARINT_MAX 10 /* bytes of the longest 64-bit varint */

static inline void enc_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void enc_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline void enc_u64(uint8_t *p, uint64_t v)
{
    enc_u32(p, (uint32_t)v);
    enc_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get_u64(const uint8_t *p)
{
    return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static inline uint64_t get_u64_be(const uint8_t *p)
{
    return (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 |
           (uint64_t)p[3] << 32 | (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 |
           (uint64_t)p[6] << 8 | (uint64_t)p[7];
}

static inline void enc_u64_be(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

/* Seven bits a byte, low first, the top bit says that more follow. Returns the byte after. The room
 * for VARINT_MAX bytes is the caller's business. */
static inline uint8_t *enc_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline size_t varint_len(uint64_t v)
{
    size_t n = 1;

    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

struct dec {
    const uint8_t *p;
    const uint8_t *end;
    bool bad;
};

static inline struct dec dec_from(odb_slice s)
{
    const uint8_t *p = s.data;
    return (struct dec){p, p ? p + s.size : p, false};
}

static inline size_t dec_left(const struct dec *d)
{
    return (size_t)(d->end - d->p);
}

/* Claim `n` bytes; NULL and `bad` when there are fewer. */
static inline const uint8_t *dec_take(struct dec *d, size_t n)
{
    const uint8_t *p = d->p;

    if (n > dec_left(d)) {
        d->bad = true;
        d->p = d->end;
        return NULL;
    }
    d->p = n ? p + n : p;
    return p;
}

static inline uint8_t dec_u8(struct dec *d)
{
    const uint8_t *p = dec_take(d, 1);
    return p ? *p : 0;
}

static inline uint16_t dec_u16(struct dec *d)
{
    const uint8_t *p = dec_take(d, 2);
    return p ? get_u16(p) : 0;
}

static inline uint32_t dec_u32(struct dec *d)
{
    const uint8_t *p = dec_take(d, 4);
    return p ? get_u32(p) : 0;
}

static inline uint64_t dec_u64(struct dec *d)
{
    const uint8_t *p = dec_take(d, 8);
    return p ? get_u64(p) : 0;
}

/* Refuses a varint that runs past the end, past ten bytes, past 64 bits, or that is longer than it
 * need be: every number has one spelling. */
uint64_t dec_varint_slow(struct dec *d);

static inline uint64_t dec_varint(struct dec *d)
{
    if (d->p < d->end && *d->p < 0x80)
        return *d->p++;
    return dec_varint_slow(d);
}

/* A varint that must fit 32 bits. */
static inline uint32_t dec_varint32(struct dec *d)
{
    uint64_t v = dec_varint(d);

    if (v > UINT32_MAX) {
        d->bad = true;
        return 0;
    }
    return (uint32_t)v;
}

static inline odb_slice dec_bytes(struct dec *d, size_t n)
{
    const uint8_t *p = dec_take(d, n);
    return odb_bytes(p, p ? n : 0);
}

/* A varint length and that many bytes. */
static inline odb_slice dec_lenbytes(struct dec *d)
{
    uint64_t n = dec_varint(d);

    if (d->bad || n > dec_left(d)) {
        d->bad = true;
        d->p = d->end;
        return odb_bytes(NULL, 0);
    }
    return dec_bytes(d, (size_t)n);
}

#endif
