/* records/key.h -- keys made of several parts, in an order that follows the parts.
 *
 * A part of bytes may hold anything and is ended by two bytes; a NUL inside it becomes two:
 *
 *     "ab"       61 62 00 01
 *     "a\0b"     61 00 FF 62 00 01
 *
 * 1. Keys compare as their parts do, one after the other: the end (00 01) is below an inner NUL
 *    (00 FF), and both are below any part that goes on with a byte from 01 on.
 * 2. No two lists of parts give the same key, whatever bytes the parts hold.
 * 3. The keys whose first parts are given ones are exactly those that begin with the bytes of these
 *    parts: a range scan finds them.
 *
 * The last part of a key needs no end. Numbers take a fixed room: big-endian, a signed one with its
 * sign turned over, a float with all bits turned over when it is negative and only the sign when not.
 * -0.0 is stored as 0.0; not-a-number has no place in an order and must not come here.
 */
#ifndef ODB_RECORDS_KEY_H
#define ODB_RECORDS_KEY_H

#include "base/buf.h"
#include "base/coding.h"

#define REC_KEY_NUL     0xFF /* behind a 00: the part has a NUL here */
#define REC_KEY_END     0x01 /* behind a 00: the part ends here */
#define REC_KEY_END_LEN 2

/* Write a part, or its end, where there is room for it: rec_key_escaped_len(), or twice its length. Returns
 * the byte behind. */
static inline uint8_t *rec_key_write(uint8_t *to, odb_slice part)
{
    const uint8_t *p = part.data;

    if (part.size == 0)
        return to;
    if (ODB_LIKELY(!memchr(p, 0, part.size))) {
        memcpy(to, p, part.size);
        return to + part.size;
    }
    for (size_t i = 0; i < part.size; i++) {
        *to++ = p[i];
        if (p[i] == 0)
            *to++ = REC_KEY_NUL;
    }
    return to;
}

static inline uint8_t *rec_key_write_end(uint8_t *to)
{
    to[0] = 0;
    to[1] = REC_KEY_END;
    return to + REC_KEY_END_LEN;
}

/* Append a part and its end. On ODB_NOMEM the buffer is as it was. */
ODB_MUST_CHECK odb_status rec_key_part(struct buf *b, odb_slice part);
/* Append the last part of a key: escaped, without an end. */
ODB_MUST_CHECK odb_status rec_key_last(struct buf *b, odb_slice part);
/* The room a part takes, its end not counted. */
size_t rec_key_escaped_len(odb_slice part);

/* Take one part with its end from the front of `d`. *out lends bytes of the key, or, when the part
 * holds a NUL, bytes of `room`, which is overwritten. False: malformed (d->bad is set), or no memory
 * for `room` (it is not). Trusts nothing. */
ODB_MUST_CHECK bool rec_key_take_part(struct dec *d, struct buf *room, odb_slice *out);
/* Pass over a part and its end. False: malformed. */
ODB_MUST_CHECK bool rec_key_skip_part(struct dec *d);
/* Take a last part: all that is left of `d`. */
ODB_MUST_CHECK bool rec_key_take_last(struct dec *d, struct buf *room, odb_slice *out);

/* ---- numbers; `p` has room for them ---- */

static inline void rec_key_put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline uint32_t rec_key_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void rec_key_put_i64(uint8_t *p, int64_t v)
{
    enc_u64_be(p, (uint64_t)v ^ (uint64_t)1 << 63);
}

static inline int64_t rec_key_get_i64(const uint8_t *p)
{
    uint64_t u = get_u64_be(p) ^ (uint64_t)1 << 63;
    int64_t v;

    memcpy(&v, &u, sizeof v);
    return v;
}

static inline void rec_key_put_f32(uint8_t *p, float v)
{
    float plain = v == 0 ? 0 : v;
    uint32_t u;

    memcpy(&u, &plain, sizeof u);
    rec_key_put_u32(p, u & (uint32_t)1 << 31 ? ~u : u ^ (uint32_t)1 << 31);
}

static inline float rec_key_get_f32(const uint8_t *p)
{
    uint32_t u = rec_key_get_u32(p);
    float v;

    u = u & (uint32_t)1 << 31 ? u ^ (uint32_t)1 << 31 : ~u;
    memcpy(&v, &u, sizeof v);
    return v;
}

static inline void rec_key_put_f64(uint8_t *p, double v)
{
    double plain = v == 0 ? 0 : v;
    uint64_t u;

    memcpy(&u, &plain, sizeof u);
    enc_u64_be(p, u & (uint64_t)1 << 63 ? ~u : u ^ (uint64_t)1 << 63);
}

static inline double rec_key_get_f64(const uint8_t *p)
{
    uint64_t u = get_u64_be(p);
    double v;

    u = u & (uint64_t)1 << 63 ? u ^ (uint64_t)1 << 63 : ~u;
    memcpy(&v, &u, sizeof v);
    return v;
}

#endif
