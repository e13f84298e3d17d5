/* records/key.c -- the escape of key.h, written and read. */
#include "records/key.h"

size_t rec_key_escaped_len(odb_slice part)
{
    const uint8_t *p = part.data, *end = p ? p + part.size : p;
    size_t len = part.size;

    while (p < end && (p = memchr(p, 0, (size_t)(end - p))) != NULL) {
        len++;
        p++;
    }
    return len;
}

odb_status rec_key_part(struct buf *b, odb_slice part)
{
    odb_status st = buf_reserve(b, rec_key_escaped_len(part) + REC_KEY_END_LEN);

    if (st != ODB_OK)
        return st;
    b->len = (size_t)(rec_key_write_end(rec_key_write(b->p + b->len, part)) - b->p);
    return ODB_OK;
}

odb_status rec_key_last(struct buf *b, odb_slice part)
{
    size_t len = rec_key_escaped_len(part);
    odb_status st;

    if (len == 0)
        return ODB_OK;
    st = buf_reserve(b, len);
    if (st == ODB_OK)
        b->len = (size_t)(rec_key_write(b->p + b->len, part) - b->p);
    return st;
}

/* Undo the escape of [p, end), which holds `nuls` of them, all sound. */
static bool key_unescape(const uint8_t *p, const uint8_t *end, size_t nuls, struct buf *room,
                         odb_slice *out)
{
    size_t len = (size_t)(end - p);
    uint8_t *to;

    if (nuls == 0) {
        *out = odb_bytes(p, len);
        return true;
    }
    buf_reset(room);
    if (buf_reserve(room, len) != ODB_OK)
        return false;
    for (to = room->p; p < end; p++) {
        *to++ = *p;
        if (*p == 0)
            p++;
    }
    room->len = (size_t)(to - room->p);
    *out = buf_slice(room);
    return true;
}

/* Find the end of the part at d->p. *stop is where its bytes end. */
static bool key_find_end(struct dec *d, bool is_last, const uint8_t **stop, size_t *nuls)
{
    const uint8_t *p = d->p;

    *nuls = 0;
    while (p < d->end && (p = memchr(p, 0, (size_t)(d->end - p))) != NULL) {
        if (d->end - p < 2)
            break;
        if (p[1] == REC_KEY_END && !is_last) {
            *stop = p;
            d->p = p + 2;
            return true;
        }
        if (p[1] != REC_KEY_NUL)
            break;
        ++*nuls;
        p += 2;
    }
    if (is_last && (!p || p == d->end)) {
        *stop = d->end;
        d->p = d->end;
        return true;
    }
    d->bad = true;
    d->p = d->end;
    return false;
}

bool rec_key_take_part(struct dec *d, struct buf *room, odb_slice *out)
{
    const uint8_t *from = d->p, *stop;
    size_t nuls;

    return key_find_end(d, false, &stop, &nuls) && key_unescape(from, stop, nuls, room, out);
}

bool rec_key_skip_part(struct dec *d)
{
    const uint8_t *stop;
    size_t nuls;

    return key_find_end(d, false, &stop, &nuls);
}

bool rec_key_take_last(struct dec *d, struct buf *room, odb_slice *out)
{
    const uint8_t *from = d->p, *stop;
    size_t nuls;

    return key_find_end(d, true, &stop, &nuls) && key_unescape(from, stop, nuls, room, out);
}
