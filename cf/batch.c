/* cf/batch.c -- operations that commit together, as bytes.
 *
 *    op:  kind u8 | family varint | key length varint | [value length varint] | key | [value]
 *
 *    +--------+--------+---------+-----------+-------...-+-------...-+   +--------+-- next op
 *    | 2: put | family | key len | value len | key       | value     |   | kind   |
 *    +--------+--------+---------+-----------+-------...-+-------...-+   +--------+--
 *    +--------+--------+---------+-------...-+
 *    | 1: del | family | key len | key       |      no value, no value length
 *    +--------+--------+---------+-------...-+
 *
 * The same bytes serve four times: built by the user, hashed and copied into the log as they are,
 * walked to fill the memtables, and walked again by recovery. The i-th op of a record whose first
 * sequence number is s has the number s + i.
 *
 * 1. What a batch holds is well formed: puts are checked, foreign bytes are checked op by op.
 * 2. Every batch has one spelling: varints are as short as can be, nothing is padded.
 * 3. A batch is at most WAL_PAYLOAD_MAX bytes and UINT32_MAX ops.
 *
 * Threads: one at a time per batch; a finished batch may be read by many.
 */
#include "cf/batch.h"

#include "base/canary.h"
#include "wal/wal.h"

void batch_release(struct batch *b)
{
    buf_release(&b->ops);
    b->count = 0;
}

void batch_clear(struct batch *b)
{
    buf_reset(&b->ops);
    b->count = 0;
}

uint8_t *batch_op_header(uint8_t *p, uint8_t kind, uint32_t family, size_t key_len,
                         size_t value_len)
{
    *p++ = kind;
    p = enc_varint(p, family);
    p = enc_varint(p, key_len);
    return kind == KIND_DELETE ? p : enc_varint(p, value_len);
}

/* Sizes of one op, and of the batch with it. */
static odb_status batch_check_sizes(const struct batch *b, odb_slice key, odb_slice value)
{
    if (key.size > KEY_LEN_MAX)
        return err_set(ODB_TOO_LARGE, "a key of %zu bytes; at most %zu are allowed", key.size,
                       KEY_LEN_MAX);
    if (value.size > VALUE_LEN_MAX)
        return err_set(ODB_TOO_LARGE, "a value of %zu bytes; at most %zu are allowed", value.size,
                       VALUE_LEN_MAX);
    if (b->ops.len > WAL_PAYLOAD_MAX - BATCH_OP_HEADER_MAX - KEY_LEN_MAX - VALUE_LEN_MAX &&
        BATCH_OP_HEADER_MAX + key.size + value.size > WAL_PAYLOAD_MAX - b->ops.len)
        return err_set(ODB_TOO_LARGE, "a batch may hold %zu bytes; commit it and start another",
                       WAL_PAYLOAD_MAX);
    if (b->count == UINT32_MAX)
        return err_set(ODB_TOO_LARGE, "a batch may hold %u operations", UINT32_MAX);
    return ODB_OK;
}

static odb_status batch_add(struct batch *b, uint8_t kind, uint32_t family, odb_slice key,
                            odb_slice value)
{
    odb_status st = batch_check_sizes(b, key, value);
    uint8_t *p;

    if (st == ODB_OK)
        st = buf_reserve(&b->ops, BATCH_OP_HEADER_MAX + key.size + value.size);
    if (st != ODB_OK)
        return st;
    p = batch_op_header(b->ops.p + b->ops.len, kind, family, key.size, value.size);
    if (key.size)
        memcpy(p, key.data, key.size);
    p += key.size;
    if (value.size)
        memcpy(p, value.data, value.size);
    b->ops.len = (size_t)(p + value.size - b->ops.p);
    b->count++;
    return ODB_OK;
}

odb_status batch_put(struct batch *b, uint32_t family, odb_slice key, odb_slice value)
{
    return batch_add(b, KIND_PUT, family, key, value);
}

odb_status batch_delete(struct batch *b, uint32_t family, odb_slice key)
{
    return batch_add(b, KIND_DELETE, family, key, odb_bytes(NULL, 0));
}

bool batch_next(struct dec *d, struct batch_op *out)
{
    uint64_t key_len, value_len = 0;

    if (d->bad || d->p == d->end)
        return false;
    out->kind = dec_u8(d);
    if (!kind_is_known(out->kind) && !CANARY(41)) {
        d->bad = true;
        return false;
    }
    out->family = dec_varint32(d);
    key_len = dec_varint(d);
    if (out->kind == KIND_PUT)
        value_len = dec_varint(d);
    if (d->bad || key_len > KEY_LEN_MAX || value_len > VALUE_LEN_MAX || key_len > dec_left(d) ||
        value_len > dec_left(d) - key_len) {
        d->bad = true;
        return false;
    }
    out->key = dec_bytes(d, (size_t)key_len);
    out->value = dec_bytes(d, (size_t)value_len);
    return true;
}

odb_status batch_from_bytes(struct batch *b, odb_slice bytes)
{
    struct dec d = dec_from(bytes);
    struct batch_op op;
    uint64_t count = 0;
    odb_status st;

    if (bytes.size > WAL_PAYLOAD_MAX)
        return err_set(ODB_TOO_LARGE, "a batch of %zu bytes; at most %zu are allowed", bytes.size,
                       WAL_PAYLOAD_MAX);
    while (batch_next(&d, &op))
        count++;
    if (d.bad || count > UINT32_MAX)
        return err_set(ODB_INVALID, "these bytes are not a batch: operation %llu is malformed",
                       (unsigned long long)count);
    st = buf_reserve(&b->ops, bytes.size > b->ops.len ? bytes.size - b->ops.len : 0);
    if (st != ODB_OK)
        return st;
    if (bytes.size)
        memmove(b->ops.p, bytes.data, bytes.size);
    b->ops.len = bytes.size;
    b->count = (uint32_t)count;
    return ODB_OK;
}
