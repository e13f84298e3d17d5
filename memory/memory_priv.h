/* memory/memory_priv.h -- what the files of memory/ share. */
#ifndef ODB_MEMORY_PRIV_H
#define ODB_MEMORY_PRIV_H

#include "api/opendb.h"
#include "base/buf.h"
#include "base/status.h"
#include "memory/odb_memory.h"
#include "vector/index.h"

/* What makes a record of a memory beyond the memory itself. */
struct memory_extra {
    uint32_t kind;
    const odb_field *fields;
    size_t field_count;
};

/* A memory handed in by a caller: complete enough to be read. ODB_INVALID. */
ODB_MUST_CHECK odb_status memory_check(const odb_memory *m);
/* Write record and vector in `txn`. What an earlier step of it wrote stays on failure. `kept` NULL: a
 * transaction of others. */
ODB_MUST_CHECK odb_status memory_write(odb_db *db, odb_txn *txn, const odb_memory *m,
                                       const struct memory_extra *extra, unsigned flags,
                                       struct vec_kept *kept);
/* Delete record and vector, and with ODB_CASCADE_EDGES the edges, in `txn`. */
ODB_MUST_CHECK odb_status memory_erase(odb_db *db, odb_txn *txn, odb_slice id, unsigned flags);

/* Run `step` as one thing: in a transaction of its own, again on conflicts; or in `txn`, which is as it
 * was when the step fails. */
ODB_MUST_CHECK odb_status memory_in_txn(odb_db *db, odb_txn *txn,
                                        odb_status (*step)(void *arg, odb_txn *txn), void *arg);

/* ---- lists under construction (list.c) ---- */

/* Ids one behind the other in `bytes`; where each ends. Zero-initialised is empty. */
struct id_maker {
    struct buf bytes;
    size_t *end;
    size_t count, cap;
};

ODB_MUST_CHECK odb_status id_maker_add(struct id_maker *m, odb_slice id);
/* The list, which is then the caller's; the maker is empty. ODB_NOMEM: it is as it was. */
ODB_MUST_CHECK odb_status id_maker_finish(struct id_maker *m, odb_id_list *out);
void id_maker_release(struct id_maker *m);

/* Records under construction. Zero-initialised is empty. */
struct record_maker {
    odb_record **record;
    size_t count, cap;
    uint64_t damaged;
};

/* Add a copy. ODB_NOMEM. */
ODB_MUST_CHECK odb_status record_maker_copy(struct record_maker *m, const odb_record *r);
/* Fill an empty maker with the records of `ids`, in their order, those left out that are not there;
 * damaged ones are counted. */
ODB_MUST_CHECK odb_status record_maker_fetch(struct record_maker *m, odb_at at,
                                             const odb_slice *ids, size_t count);
/* The list, which is then the caller's; the maker is empty. */
void record_maker_finish(struct record_maker *m, odb_record_list *out);
void record_maker_release(struct record_maker *m);

#endif
