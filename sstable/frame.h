/* sstable/frame.h -- how every piece of a table lies in the file: bytes, packed or not, with a
 * checksum that is right in one place of one file only. (struct sst_frame, in sstable/cache.h, is
 * what becomes of a data block in memory.)
 */
#ifndef ODB_SSTABLE_FRAME_H
#define ODB_SSTABLE_FRAME_H

#include "base/buf.h"
#include "base/compress.h"
#include "base/ikey.h"

#define FRAME_TAIL 13 /* bytes behind the payload */

/* The most bytes a frame may unpack to: the largest value and its key, with room for the columns of
 * a block. Whatever claims more is damaged. */
#define FRAME_RAW_MAX (VALUE_LEN_MAX + ((size_t)64 << 20))

/* A checked frame; lends the payload. */
struct frame_view {
    odb_slice payload;
    uint32_t raw_len;
    enum codec codec;
};

/* Append `raw` to `out` as a frame that will lie at offset `off` of the file `salt` stands for.
 * Packed only where that saves an eighth. *check is the frame's checksum. ODB_NOMEM, ODB_TOO_LARGE.
 */
ODB_MUST_CHECK odb_status frame_append(struct buf *out, odb_slice raw, enum codec codec,
                                       int acceleration, uint64_t salt, uint64_t off,
                                       uint64_t *check);

/* Look at all `stored` bytes of a frame. NULL when it is sound, else what is wrong with it. Without
 * `verify` the checksum is not computed, the lengths are checked all the same. */
const char *frame_open(odb_slice stored, uint64_t salt, uint64_t off, bool verify,
                       struct frame_view *out);
/* The checksum of a frame that frame_open accepted. */
uint64_t frame_check(odb_slice stored);
/* Write the raw_len bytes to `dst`. `file` and `off` are for the error text. ODB_CORRUPT,
 * ODB_UNSUPPORTED (a build without LZ4). */
ODB_MUST_CHECK odb_status frame_unpack(const struct frame_view *f, uint8_t *dst, const char *file,
                                       uint64_t off);

#endif
