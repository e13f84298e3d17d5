/* base/compress.h -- the door to LZ4 (the lz4 package). Built without it (-Dlz4=disabled), nothing
 * is ever compressed and a compressed block reads as ODB_UNSUPPORTED. */
#ifndef ODB_BASE_COMPRESS_H
#define ODB_BASE_COMPRESS_H

#include "base/status.h"

/* Codec numbers as stored in files. */
enum codec {
    CODEC_RAW = 0,
    CODEC_LZ4 = 1,
    CODEC_LZ4_BLOCK = 2, /* its columns turned (sstable/block_turn.c). 3 to 7 are reserved */
};

/* Whether this build can write and read LZ4. */
bool lz4_available(void);
/* The most bytes `len` input bytes can become; 0 when `len` is over what LZ4 takes. */
size_t lz4_bound(size_t len);
/* Compress into `cap` bytes. Returns the compressed length, or 0 when it does not fit or LZ4 is not
 * built in: the caller then stores the bytes raw. `acceleration` from 1 (smallest) up. */
size_t lz4_pack(const void *src, size_t len, void *dst, size_t cap, int acceleration);
/* Decompress into exactly `dst_len` bytes, never past them, whatever `src` holds. ODB_CORRUPT when
 * it yields anything else, ODB_UNSUPPORTED without LZ4; the error text is the caller's to set. */
ODB_MUST_CHECK odb_status lz4_unpack(const void *src, size_t len, void *dst, size_t dst_len);

#endif
