/* records/props.h -- a set of properties as bytes, looked into where it lies. props.c draws it.
 * Records and edges use it. */
#ifndef ODB_RECORDS_PROPS_H
#define ODB_RECORDS_PROPS_H

#include "base/buf.h"
#include "records/odb_prop.h"

/* A checked block. It lends: good as long as the bytes are. All zeros: no properties. */
struct rec_props {
    const uint8_t *table;
    const uint8_t *heap;
    uint32_t count;
};

/* Check bytes of unknown origin, which must be one whole block, in one pass. NULL: sound, and *out is
 * set. Otherwise what is wrong with them, for err_corrupt(); *out is untouched. Texts are not looked
 * into. */
ODB_MUST_CHECK const char *rec_props_open(odb_slice bytes, struct rec_props *out);

/* The property number i < count; its slices lend bytes of the block. */
void rec_props_at(const struct rec_props *props, uint32_t i, odb_prop *out);
/* By name, in place. False: there is none. */
bool rec_props_find(const struct rec_props *props, odb_slice name, odb_prop_value *out);

/* Whether a property may be written: its name, type and value. ODB_INVALID. */
ODB_MUST_CHECK odb_status rec_prop_check(const odb_prop *prop);

/* Append a block of `count` properties, given in any order, to `b`. The same set always gives the same
 * bytes. ODB_INVALID (a name twice, or one that may not be written), ODB_TOO_LARGE, ODB_NOMEM: `b` is
 * as it was. */
ODB_MUST_CHECK odb_status rec_props_append(struct buf *b, const odb_prop *props, size_t count);

/* Append `old` with `set` put over it and without the names in `unset`. A name may not be in both.
 * Statuses as above. */
ODB_MUST_CHECK odb_status rec_props_merge(struct buf *b, const struct rec_props *old,
                                          const odb_prop *set, size_t set_count,
                                          const odb_slice *unset, size_t unset_count);

#endif
