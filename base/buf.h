/* base/buf.h -- bytes that grow. */
#ifndef ODB_BASE_BUF_H
#define ODB_BASE_BUF_H

#include "base/status.h"

/* Zero-initialise: (struct buf){0} is an empty buffer. Owned by whoever declares it. */
struct buf {
    uint8_t *p;
    size_t len;
    size_t cap;
};

/* Give back the memory; the buffer is empty afterwards and may be used again. */
void buf_release(struct buf *b);
/* Room for `extra` more bytes behind the present end. On ODB_NOMEM nothing changed. */
ODB_MUST_CHECK odb_status buf_reserve(struct buf *b, size_t extra);
/* Append a copy. `data` may be NULL when `len` is 0. On ODB_NOMEM nothing changed. */
ODB_MUST_CHECK odb_status buf_append(struct buf *b, const void *data, size_t len);
/* Replace the content. */
ODB_MUST_CHECK odb_status buf_assign(struct buf *b, const void *data, size_t len);

static inline void buf_reset(struct buf *b)
{
    b->len = 0;
}

static inline odb_slice buf_slice(const struct buf *b)
{
    return odb_bytes(b->p, b->len);
}

#endif
