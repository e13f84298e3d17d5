#include "base/buf.h"

#include "base/alloc.h"
#include "base/prof.h"

#define BUF_MIN 64

void buf_release(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){0};
}

/* The rare half of buf_reserve, apart so that the other half is small enough to go into its callers. */
static ODB_COLD odb_status buf_grow(struct buf *b, size_t extra)
{
    size_t need = b->len + extra, cap;
    uint8_t *p;

    if (need < extra || need > SIZE_MAX / 2)
        return err_set(ODB_NOMEM, "a buffer of %zu + %zu bytes cannot exist", b->len, extra);
    cap = b->cap + b->cap / 2;
    if (cap < need)
        cap = need;
    if (cap < BUF_MIN)
        cap = BUF_MIN;
    p = mem_realloc(b->p, cap);
    if (!p)
        return err_set(ODB_NOMEM, "out of memory growing a buffer to %zu bytes", cap);
    b->p = p;
    b->cap = cap;
    return ODB_OK;
}

odb_status buf_reserve(struct buf *b, size_t extra)
{
    return extra <= b->cap - b->len ? ODB_OK : buf_grow(b, extra);
}

odb_status buf_append(struct buf *b, const void *data, size_t len)
{
    odb_status st = buf_reserve(b, len);

    if (st == ODB_OK && len) {
        memcpy(b->p + b->len, data, len);
        PROF_COUNT(PROF_COPIED, len);
        b->len += len;
    }
    return st;
}

odb_status buf_assign(struct buf *b, const void *data, size_t len)
{
    odb_status st;

    b->len = 0;
    st = buf_append(b, data, len);
    return st;
}
