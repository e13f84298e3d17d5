/* memtable/plain.h -- a skiplist of single keys for one writer: what skiplist.c is compared with.
 * Tests and benchmarks link it, the library does not. */
#ifndef ODB_MEMTABLE_PLAIN_H
#define ODB_MEMTABLE_PLAIN_H

#include "base/cursor.h"

struct plain;
struct plain_node;

/* NULL: out of memory. */
struct plain *plain_new(void);
/* NULL is fine. */
void plain_free(struct plain *l);
/* Copies key and value; (key, trailer) must be new. ODB_NOMEM. */
ODB_MUST_CHECK odb_status plain_insert(struct plain *l, odb_slice key, odb_slice value,
                                       uint64_t trailer);
/* The first entry at or behind (key, trailer), the last before it; NULL: none. */
const struct plain_node *plain_seek(const struct plain *l, odb_slice key, uint64_t trailer);
const struct plain_node *plain_seek_before(const struct plain *l, odb_slice key, uint64_t trailer);
const struct plain_node *plain_first(const struct plain *l);
const struct plain_node *plain_last(const struct plain *l);
const struct plain_node *plain_next(const struct plain_node *n);
struct entry plain_entry(const struct plain_node *n);
/* As memtable_get(). */
bool plain_get(const struct plain *l, odb_slice key, uint64_t trailer, struct entry *out);
/* Bytes of memory used. */
size_t plain_bytes(const struct plain *l);

#endif
