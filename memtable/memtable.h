/* memtable/memtable.h -- the newest data of one column family, in memory, in order.
 *
 * A skiplist whose nodes are sorted runs of up to 64 entries (memtable/skiplist.c tells how and
 * why). Entries are immutable once inserted; nothing is removed; all memory goes at once.
 *
 * A writer goes through three steps, so that nothing can fail once the log has been touched (C25):
 *
 *     memtable_reserve   may fail      before the log: room for the entries and for node splits
 *     memtable_prepare   cannot fail   copies key and value into that room
 *     memtable_insert    cannot fail   after the log: gives the entry its trailer and links it
 *     memtable_return    cannot fail   counts what was inserted, gives unused room back; always called
 *                                      after a reserve, a second time does nothing
 *
 * Threads: any number of writers and readers at once; writers serialise per node only, readers take
 * no lock. Whoever calls must keep the memtable alive, by a reference or by an epoch.
 */
#ifndef ODB_MEMTABLE_H
#define ODB_MEMTABLE_H

#include "base/cursor.h"

struct memtable;
struct memtable_entry; /* header, key and value in the arena */

/* Room reserved by one writer. Treat as opaque. */
struct memtable_room {
    uint8_t *at;
    size_t left;
    uint32_t nodes;
    uint32_t linked, deletes; /* inserted, and not counted yet */
};

/* One reference, the caller's. ODB_NOMEM. */
ODB_MUST_CHECK odb_status memtable_new(struct memtable **out);
void memtable_ref(struct memtable *m);
/* Frees at zero. NULL is fine. */
void memtable_unref(struct memtable *m);

/* Bytes one entry takes in a room. */
size_t memtable_entry_bytes(size_t key_len, size_t value_len);

/* Room for `count` entries of together `bytes` (sum of memtable_entry_bytes). ODB_NOMEM: nothing was
 * reserved. */
ODB_MUST_CHECK odb_status memtable_reserve(struct memtable *m, size_t bytes, uint32_t count,
                                           struct memtable_room *out);
/* Copy one entry into the room. Entries of a room are prepared in any number and inserted later. */
struct memtable_entry *memtable_prepare(struct memtable_room *room, odb_slice key, odb_slice value);
/* Link it. (key, trailer) must be new in this memtable. Visible to readers on return; memtable_count and
 * memtable_deletes see it after memtable_return. */
void memtable_insert(struct memtable *m, struct memtable_room *room, struct memtable_entry *e,
                     uint64_t trailer);
void memtable_return(struct memtable *m, struct memtable_room *room);

/* The newest version of `key` whose trailer is at most `trailer`. False: none here. `out` points
 * into the memtable. */
bool memtable_get(const struct memtable *m, odb_slice key, uint64_t trailer, struct entry *out);

/* A cursor over all entries (base/cursor.h); holds a reference of its own until freed. Entries
 * inserted after a run was taken may be missing from it: a reader at a published sequence number
 * never needs them. ODB_NOMEM. */
ODB_MUST_CHECK odb_status memtable_cursor_new(struct memtable *m, struct cursor **out);

/* The same in memory of the caller's, memtable_cursor_size() bytes, and without a reference: the caller
 * keeps both for as long as the cursor is used, and nothing need be freed. */
size_t memtable_cursor_size(void);
struct cursor *memtable_cursor_init(void *memory, struct memtable *m);

/* Whether the next large block of memory should be made now, ahead of need (a hint, one load), and doing
 * so: for a background job, as it takes the kernel milliseconds at times. Nobody has to; a reserve does
 * it otherwise, and whoever reserves waits. Failing changes nothing. */
bool memtable_block_due(const struct memtable *m);
ODB_COLD void memtable_make_block(struct memtable *m);

/* Bytes of memory held, entries linked, deletes among them. Any thread, approximate under writes. */
size_t memtable_bytes(const struct memtable *m);
uint64_t memtable_count(const struct memtable *m);
uint64_t memtable_deletes(const struct memtable *m);

/* Debug and tests: walk everything and check the invariants of skiplist.c. No writer may run. */
bool memtable_check(const struct memtable *m);

#endif
