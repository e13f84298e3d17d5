/* memtable/load.h -- many entries for one memtable at once, in any order: recovery's way in.
 *
 *     memtable_load_add     copies the entry into the memtable's arena and notes where it lies
 *     memtable_load_split   cuts what was noted into ranges of keys
 *     memtable_load_link    sorts one range and links it; different ranges in different threads
 *
 * Nothing of it can be found before it is linked. A memtable takes entries in key order several times
 * faster than in any other, and whoever loads has no reader to please before the end.
 *
 * Threads: add and split belong to one; nobody inserts into the memtable meanwhile by other ways.
 */
#ifndef ODB_MEMTABLE_LOAD_H
#define ODB_MEMTABLE_LOAD_H

#include "memtable/memtable.h"

#define MEMTABLE_LOAD_PARTS 8u

struct memtable_rank; /* load.c: an entry and the bytes of its key that order it */

/* Treat as opaque. All zeros: nothing noted, no memory held. */
struct memtable_load {
    struct memtable *mem;
    struct memtable_rank *rank; /* two halves of `cap`: sorting moves from one to the other */
    uint32_t count;
    uint32_t cap;
    uint32_t stale;         /* the prefixes of the first so many are not those after `skip` */
    size_t skip;            /* bytes that all keys noted so far have in common */
    const uint8_t *pattern; /* those bytes: the first key */
    bool is_split;
    uint32_t part[MEMTABLE_LOAD_PARTS + 1]; /* where the ranges begin */
};

/* Note an entry for `mem`, which must be the same until what was noted is linked. The key and trailer
 * must be new there; among entries of one key, trailers rise. ODB_NOMEM: nothing was noted. */
ODB_MUST_CHECK odb_status memtable_load_add(struct memtable_load *l, struct memtable *mem,
                                            odb_slice key, odb_slice value, uint64_t trailer);
static inline uint32_t memtable_load_count(const struct memtable_load *l)
{
    return l->count;
}
/* Cut into at most `want` ranges; how many there are. Each is then to be linked, once. */
uint32_t memtable_load_split(struct memtable_load *l, uint32_t want);
/* ODB_NOMEM: part of the range may be linked. Any thread, one for each range. */
ODB_MUST_CHECK odb_status memtable_load_link(struct memtable_load *l, uint32_t part);
/* After all ranges were linked (or the memtable is to be thrown away): begin again, memory is kept. */
void memtable_load_reset(struct memtable_load *l);
void memtable_load_release(struct memtable_load *l);

#endif
