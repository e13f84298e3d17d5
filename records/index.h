/* records/index.h -- the rows of "record_index": how records are found by something other than their
 * id. index.c draws them. */
#ifndef ODB_RECORDS_INDEX_H
#define ODB_RECORDS_INDEX_H

#include "records/env.h"
#include "records/view.h"

#define REC_ROW_TIME       't'
#define REC_ROW_IMPORTANCE 'i'
#define REC_ROW_PROP       'p'

/* Bytes of a text or of bytes that a row holds; what is longer is cut, and the record itself decides. */
#define REC_ROW_VALUE_MAX 255u

/* Append what the rows of one time, importance or property value begin with, before the id. */
ODB_MUST_CHECK odb_status rec_row_time(struct buf *b, int64_t timestamp);
ODB_MUST_CHECK odb_status rec_row_importance(struct buf *b, float importance);
/* What all rows of a property begin with. */
ODB_MUST_CHECK odb_status rec_row_name(struct buf *b, odb_slice name);
/* ODB_ABSENT: a value of this type is not indexed. */
ODB_MUST_CHECK odb_status rec_row_value(struct buf *b, odb_slice name, const odb_prop_value *value);
/* Append the value alone, as it follows rec_row_name(). ODB_ABSENT as above. */
ODB_MUST_CHECK odb_status rec_row_order(struct buf *b, const odb_prop_value *value);

/* A row taken apart. The slices lend bytes of the key; of a property's name, of `room` too. */
struct rec_row {
    uint8_t kind;
    odb_slice prefix; /* all but the id */
    odb_slice name;   /* of a property */
    odb_slice id;
};

/* ODB_ABSENT: it is no row; ODB_NOMEM. */
ODB_MUST_CHECK odb_status rec_row_parse(odb_slice key, struct buf *room, struct rec_row *out);
/* Whether the record has this row, now. `room` is overwritten. ODB_OK or ODB_ABSENT; ODB_NOMEM. */
ODB_MUST_CHECK odb_status rec_row_matches(const struct rec_row *row, const struct rec_view *record,
                                          struct buf *room);

/* Call `each` with every row the record shall have, until it gives something else than ODB_OK. `key` is
 * overwritten. */
ODB_MUST_CHECK odb_status rec_rows_each(const struct rec_config *config, odb_slice id,
                                        const struct rec_view *record, struct buf *key,
                                        odb_status (*each)(void *arg, odb_slice key), void *arg);

/* Note in `txn` the rows that differ between the old and the new record; NULL for none. `key` is
 * overwritten. */
ODB_MUST_CHECK odb_status rec_rows_change(struct rec_env *env, odb_txn *txn, odb_slice id,
                                          const struct rec_view *old, const struct rec_view *now,
                                          struct buf *key);

#endif
