#include "base/compress.h"

#include <limits.h>

#ifdef ODB_WITH_LZ4
#include <lz4.h>

bool lz4_available(void)
{
    return true;
}

size_t lz4_bound(size_t len)
{
    return len > LZ4_MAX_INPUT_SIZE ? 0 : (size_t)LZ4_compressBound((int)len);
}

size_t lz4_pack(const void *src, size_t len, void *dst, size_t cap, int acceleration)
{
    int n;

    if (len > LZ4_MAX_INPUT_SIZE)
        return 0;
    n = LZ4_compress_fast(src, dst, (int)len, cap > INT_MAX ? INT_MAX : (int)cap, acceleration);
    return n > 0 ? (size_t)n : 0;
}

odb_status lz4_unpack(const void *src, size_t len, void *dst, size_t dst_len)
{
    int n;

    if (len > INT_MAX || dst_len > INT_MAX)
        return ODB_CORRUPT;
    n = LZ4_decompress_safe(src, dst, (int)len, (int)dst_len);
    return n >= 0 && (size_t)n == dst_len ? ODB_OK : ODB_CORRUPT;
}

#else

bool lz4_available(void)
{
    return false;
}

size_t lz4_bound(size_t len)
{
    return len;
}

size_t lz4_pack(const void *src, size_t len, void *dst, size_t cap, int acceleration)
{
    (void)src;
    (void)len;
    (void)dst;
    (void)cap;
    (void)acceleration;
    return 0;
}

odb_status lz4_unpack(const void *src, size_t len, void *dst, size_t dst_len)
{
    (void)src;
    (void)len;
    (void)dst;
    (void)dst_len;
    return ODB_UNSUPPORTED;
}

#endif
