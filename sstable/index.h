/* sstable/index.h -- which block of a table a key would be in: built by the writer, decoded once at
 * open into arrays that search well.
 */
#ifndef ODB_SSTABLE_INDEX_H
#define ODB_SSTABLE_INDEX_H

#include "base/buf.h"
#include "base/ikey.h"

/* The trailer of a separator that stands before every version of its key. */
#define INDEX_ANY UINT64_MAX

#define INDEX_GROUP 8 /* separators searched at the end: their numbers fill a cache line */
#define INDEX_LINE  64

/* ---- building ---- */

/* Zero-initialise. */
struct index_builder {
    struct buf bytes;
    struct buf last; /* the separator before */
    uint64_t key_bytes;
    uint32_t count;
};

/* A block of `frame_len` bytes whose entries are all at or after (sep, trailer) while those of the
 * block before come before it. The first block's separator is ignored. ODB_NOMEM, ODB_TOO_LARGE. */
ODB_MUST_CHECK odb_status index_builder_add(struct index_builder *b, odb_slice sep,
                                            uint64_t trailer, uint64_t frame_len);
/* Append the serialised index. ODB_NOMEM. */
ODB_MUST_CHECK odb_status index_builder_finish(const struct index_builder *b, struct buf *out);
void index_builder_release(struct index_builder *b);

/* ---- reading ---- */

struct sst_index {
    uint32_t count;      /* blocks, at least 1; separators are one fewer */
    uint32_t common_len; /* bytes all separators share */
    uint64_t *prefix;    /* count - 1: the 8 bytes behind the common ones, as a number; aligned to a
                            cache line */
    uint64_t *top;       /* of each full group of separators the last one's prefix */
    uint64_t *block_off; /* count + 1: where each frame begins, and where the last one ends */
    uint64_t *trailer;   /* count - 1, or NULL: all INDEX_ANY */
    uint32_t *key_off; /* count: separator i, without the common bytes, is key[key_off[i]..[i+1]) */
    uint8_t *key;
    uint8_t *common;
    void *memory; /* all of the above */
    size_t footprint;
};

/* Decode an index whose blocks fill the file from `begin` to `end`. NULL when it is sound, else what
 * is wrong with it; index_no_memory when memory ran out. The index owns copies of everything. */
ODB_COLD const char *index_open(odb_slice bytes, uint64_t begin, uint64_t end,
                                struct sst_index *out);
extern const char index_no_memory[];
void index_release(struct sst_index *x);

/* The only block that can hold the first entry at or after (key, trailer): if that entry is not in
 * it, it is the first one of the next. */
uint32_t index_find(const struct sst_index *x, odb_slice key, uint64_t trailer);

/* The same in two halves, so that others can be begun before this one waits for memory. What lies in
 * an array parallel to the blocks will be asked for at `at` or up to INDEX_GROUP places behind it. */
struct index_step {
    uint64_t prefix;
    uint32_t at;
    bool is_final; /* `at` is the answer already */
};

struct index_step index_begin(const struct sst_index *x, odb_slice key);
uint32_t index_end(const struct sst_index *x, const struct index_step *s, odb_slice key,
                   uint64_t trailer);

/* How (key, trailer) compares with the separator before block `no` (at least 1). */
int index_compare(const struct sst_index *x, uint32_t no, odb_slice key, uint64_t trailer);

static inline size_t index_frame_len(const struct sst_index *x, uint32_t no)
{
    return (size_t)(x->block_off[no + 1] - x->block_off[no]);
}

#endif
