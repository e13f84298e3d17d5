/* sstable/filter.h -- "surely not here": a Bloom filter in blocks of one cache line (Putze, Sanders,
 * Singler 2007), over the hashes of all user keys of a table. */
#ifndef ODB_SSTABLE_FILTER_H
#define ODB_SSTABLE_FILTER_H

#include "base/buf.h"

/* Append to `out` the filter over `count` key hashes (hash64 of the user key; duplicates are fine)
 * at about `bits_per_key`. The bytes are part of the file format. ODB_NOMEM. */
ODB_MUST_CHECK odb_status filter_build(const uint64_t *hashes, size_t count, unsigned bits_per_key,
                                       struct buf *out);

/* A checked view; plain data. */
struct filter {
    const uint8_t *lines; /* 64 bytes each */
    uint32_t line_count;  /* 0: no filter, everything may be there */
    uint32_t probes;
};

/* False: malformed. An empty slice is a filter that lets everything pass. */
bool filter_open(odb_slice bytes, struct filter *out);
/* False: no key of this hash was added. */
bool filter_may_contain(const struct filter *f, uint64_t hash);
/* Start loading the line that filter_may_contain will look at. */
void filter_prefetch(const struct filter *f, uint64_t hash);

#endif
