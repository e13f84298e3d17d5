/* graph/set.h -- strings as small numbers: what a walk has seen.
 *
 *     slots:   [ . | tag,3 | . | tag,1 | tag,2 | . | ... ]     open addressing, at most 5/8 full
 *                      |            |       |
 *     item:    [ 0 | 1 | 2 | 3 | ...        ]                  where the string is, and its hash
 *     bytes:   "ann" "bob" "carl" ...                          in chunks that never move
 *
 * 1. Numbers count from 0 in order of arrival and never change.
 * 2. The bytes of a string stay where they are until the set is released.
 *
 * One thread.
 */
#ifndef ODB_GRAPH_SET_H
#define ODB_GRAPH_SET_H

#include "base/odb_types.h"

#define GRAPH_NONE UINT32_MAX /* no such number */

struct graph_item {
    const uint8_t *p;
    uint32_t len;
    uint32_t hash;
};

struct graph_chunk;

/* Zero-initialise: an empty set. */
struct graph_set {
    struct graph_item *item;
    uint32_t count;
    uint32_t cap;
    uint64_t *slots; /* hash in the upper half, number + 1 in the lower; 0: free */
    uint32_t mask;   /* slots - 1 */
    struct graph_chunk *chunks;
    uint8_t *free_p; /* room left in the newest chunk */
    size_t free_len;
};

void graph_set_release(struct graph_set *s);
/* The number of `key`, which is copied in when it is new (*is_new). ODB_NOMEM, also when there are no
 * numbers left: the set is as it was. */
ODB_MUST_CHECK odb_status graph_set_add(struct graph_set *s, odb_slice key, uint32_t *out,
                                        bool *is_new);
/* The number of `key`, or GRAPH_NONE. */
uint32_t graph_set_find(const struct graph_set *s, odb_slice key);

static inline odb_slice graph_set_at(const struct graph_set *s, uint32_t i)
{
    return odb_bytes(s->item[i].p, s->item[i].len);
}

/* Order numbers by their strings' bytes. ODB_NOMEM. */
ODB_MUST_CHECK odb_status graph_set_sort(const struct graph_set *s, uint32_t *numbers,
                                         size_t count);

#endif
