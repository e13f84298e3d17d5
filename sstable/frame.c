/* sstable/frame.c -- framing: payload, length, codec, checksum.
 *
 *    0               n         n+4      n+5       n+13
 *    +---------------+----------+--------+---------+
 *    | payload (n)   | raw_len  | codec  | check   |
 *    +---------------+----------+--------+---------+
 *    payload   the bytes, or what LZ4 made of them
 *    raw_len   bytes after unpacking, at most FRAME_RAW_MAX; equal to n when codec is raw
 *    codec     0 raw, 1 LZ4, 2 LZ4 of a turned block (base/compress.h)
 *    check     XXH3 of all bytes before it, salted with the file (database id and file number) and
 *              with the offset of the frame in it
 *
 * How long a frame is stands elsewhere (index and footer, each under its own checksum), so a frame
 * is read with one request and the numbers in it only have to agree.
 *
 * 1. A frame that was moved within the file, swapped with another, or left over from another file
 *    fails its check (C37), although its bytes are unharmed.
 * 2. Nothing is allocated on a frame's word alone: raw_len is at most 255 times the payload, more
 *    than LZ4 can reach, so memory is bounded by what the file really holds (P17).
 * 3. The raw form is used where LZ4 would save less than an eighth: reading it needs no unpacking.
 */
#include "sstable/frame.h"

#include "base/canary.h"
#include "base/hash.h"
#include "sstable/block.h"

#define FRAME_LZ4_RATIO 255 /* a match grows by at most 255 bytes for each byte that describes it */

odb_status frame_append(struct buf *out, odb_slice raw, enum codec codec, int acceleration,
                        uint64_t salt, uint64_t off, uint64_t *check)
{
    size_t packed = 0;
    uint8_t *p;
    odb_status st;

    if (raw.size > FRAME_RAW_MAX)
        return err_set(ODB_TOO_LARGE, "a block of %zu bytes is over the limit of a table",
                       raw.size);
    st = buf_reserve(out, raw.size + FRAME_TAIL);
    if (st != ODB_OK)
        return st;
    p = out->p + out->len;
    if (codec != CODEC_RAW)
        packed = lz4_pack(raw.data, raw.size, p, raw.size - raw.size / 8, acceleration);
    if (packed && packed < raw.size) {
        p += packed;
    } else {
        if (raw.size)
            memcpy(p, raw.data, raw.size);
        if (codec == CODEC_LZ4_BLOCK)
            (void)block_turn(p, raw.size, true);
        codec = CODEC_RAW;
        p += raw.size;
    }
    enc_u32(p, (uint32_t)raw.size);
    p[4] = (uint8_t)codec;
    p += 5;
    if (CANARY(37))
        salt = off = 0;
    *check = hash_salted(out->p + out->len, (size_t)(p - (out->p + out->len)), salt, off);
    enc_u64(p, *check);
    out->len = (size_t)(p + 8 - out->p);
    return ODB_OK;
}

uint64_t frame_check(odb_slice stored)
{
    return get_u64((const uint8_t *)stored.data + stored.size - 8);
}

const char *frame_open(odb_slice stored, uint64_t salt, uint64_t off, bool verify,
                       struct frame_view *out)
{
    const uint8_t *p = stored.data;
    size_t payload_len;
    uint32_t raw_len;
    uint8_t codec;

    if (stored.size < FRAME_TAIL)
        return "shorter than a frame can be";
    payload_len = stored.size - FRAME_TAIL;
    if (CANARY(37))
        salt = off = 0;
    if (verify && hash_salted(p, stored.size - 8, salt, off) != get_u64(p + stored.size - 8))
        return "checksum mismatch (damaged, moved, or of another file)";
    raw_len = get_u32(p + payload_len);
    codec = p[payload_len + 4];
    if (raw_len > FRAME_RAW_MAX && !CANARY(40))
        return "claims to unpack to more than is allowed";
    if (codec == CODEC_RAW) {
        if (raw_len != payload_len)
            return "raw length differs from the payload";
    } else if (codec <= CODEC_LZ4_BLOCK) {
        if (raw_len / FRAME_LZ4_RATIO > payload_len && !CANARY(40))
            return "claims to unpack to more than LZ4 can hold";
    } else {
        return "unknown codec";
    }
    *out = (struct frame_view){odb_bytes(p, payload_len), raw_len, (enum codec)codec};
    return NULL;
}

odb_status frame_unpack(const struct frame_view *f, uint8_t *dst, const char *file, uint64_t off)
{
    odb_status st;

    if (f->codec == CODEC_RAW) {
        if (f->raw_len)
            memcpy(dst, f->payload.data, f->raw_len);
        return ODB_OK;
    }
    st = lz4_unpack(f->payload.data, f->payload.size, dst, f->raw_len);
    if (st == ODB_UNSUPPORTED)
        return err_set(st, "%s has blocks packed with LZ4, which this build was made without",
                       file);
    if (st == ODB_OK && (f->codec != CODEC_LZ4_BLOCK || block_turn(dst, f->raw_len, true)))
        return ODB_OK;
    return err_corrupt(file, off, "LZ4 data does not unpack");
}
