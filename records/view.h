/* records/view.h -- the stored form of a record: looked into where it lies, and written. view.c draws
 * it. */
#ifndef ODB_RECORDS_VIEW_H
#define ODB_RECORDS_VIEW_H

#include "base/buf.h"
#include "records/odb_record.h"
#include "records/props.h"

#define REC_FLAG_VECTOR     0x0001u
#define REC_FLAG_SORTED     0x0002u /* the properties are in order: always set */
#define REC_FLAG_COMPRESSED 0x0004u /* reserved: the content is compressed */
#define REC_FLAG_CRITICAL   0x8000u /* something a reader must know */

#define REC_FIELD_CONTENT 1u
#define REC_FIELD_PROPS   2u

/* Types of fields. Those of odb_prop_type are stored as in a property. */
#define REC_TYPE_PROPS 16u
#define REC_TYPE_U8    17u
#define REC_TYPE_U32   18u
#define REC_TYPE_U64   19u

/* A checked record. It lends: good as long as the bytes are. */
struct rec_view {
    odb_slice bytes;
    odb_slice content;
    struct rec_props props;
    const uint8_t *table;
    int64_t timestamp;
    float importance;
    uint16_t flags;
    uint16_t field_count;
    uint8_t kind;
};

/* Check bytes of unknown origin in one pass. ODB_OK: *out is set. ODB_CORRUPT or ODB_VERSION: *what says
 * why, *off where; no error text is set. */
ODB_MUST_CHECK odb_status rec_view_open(odb_slice bytes, struct rec_view *out, const char **what,
                                        size_t *off);
/* The error text for what rec_view_open() said of the record `id`. */
ODB_MUST_CHECK odb_status rec_view_complain(odb_status st, odb_slice id, const char *what,
                                            size_t off);

/* Field number i < field_count: its id without the critical bit, its type, its bytes. */
void rec_view_field_at(const struct rec_view *v, uint32_t i, uint32_t *id, uint32_t *type,
                       odb_slice *bytes);
bool rec_view_field(const struct rec_view *v, uint32_t id, odb_prop_value *out);

/* What is to be written. */
struct rec_spec {
    uint8_t kind;
    uint16_t flags; /* REC_FLAG_VECTOR and bits of newer releases */
    int64_t timestamp;
    float importance;
    odb_slice content;
    odb_slice props; /* a block of props.c; empty: none */
    const odb_field *fields;
    size_t field_count;
    /* Its fields are copied: all but content, properties and those in `fields`, or, with only_unknown,
     * those that this release does not know. NULL: none. */
    const struct rec_view *old;
    bool only_unknown;
};

/* Replace the content of `b` by the stored form. ODB_INVALID (a field twice, of a wrong type or out of
 * range), ODB_TOO_LARGE, ODB_NOMEM. The same spec always gives the same bytes. */
ODB_MUST_CHECK odb_status rec_spec_write(struct buf *b, const struct rec_spec *spec);

/* 0..1, or ODB_INVALID for not-a-number. */
ODB_MUST_CHECK odb_status rec_importance_clamp(float given, float *out);

#endif
