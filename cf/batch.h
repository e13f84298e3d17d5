/* cf/batch.h -- operations that commit together, as bytes: the payload of a log record.
 *
 *    op:  kind u8 | family varint | key length varint | [value length varint] | key | [value]
 *         kind as in base/ikey.h; KIND_DELETE has no value. Ops lie one behind the other.
 */
#ifndef ODB_CF_BATCH_H
#define ODB_CF_BATCH_H

#include "base/buf.h"
#include "base/ikey.h"

struct batch {
    struct buf ops;
    uint32_t count;
};

struct batch_op {
    uint8_t kind;
    uint32_t family;
    odb_slice key;
    odb_slice value;
};

void batch_release(struct batch *b);
void batch_clear(struct batch *b);
/* Sizes are checked: ODB_TOO_LARGE, ODB_NOMEM; the batch is unchanged then. */
ODB_MUST_CHECK odb_status batch_put(struct batch *b, uint32_t family, odb_slice key,
                                    odb_slice value);
ODB_MUST_CHECK odb_status batch_delete(struct batch *b, uint32_t family, odb_slice key);
/* Take foreign bytes: checked op by op; ODB_INVALID when malformed. */
ODB_MUST_CHECK odb_status batch_from_bytes(struct batch *b, odb_slice bytes);
/* Bytes an op takes at most, without key and value. */
#define BATCH_OP_HEADER_MAX (1 + 5 + 5 + 5)
/* Write one op's header; returns the byte after. */
uint8_t *batch_op_header(uint8_t *p, uint8_t kind, uint32_t family, size_t key_len,
                         size_t value_len);
/* Decode the next op; false at the end or, with d->bad set, at malformed bytes: then `out` means nothing.
 * Trusts nothing. */
bool batch_next(struct dec *d, struct batch_op *out);

#endif
