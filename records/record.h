/* records/record.h -- records in memory, for the files of this folder and the models above. */
#ifndef ODB_RECORDS_RECORD_H
#define ODB_RECORDS_RECORD_H

#include "records/env.h"
#include "records/view.h"

struct odb_record {
    odb_value value; /* pinned; or empty, when the bytes are lent */
    struct rec_view view;
    odb_slice id;
    char id_room[];
};

/* ODB_INVALID unless it is 1 to ODB_RECORD_ID_MAX bytes. */
ODB_MUST_CHECK odb_status rec_id_check(odb_slice id);

/* A record over `value`, which belongs to it on ODB_OK and stays the caller's otherwise. */
ODB_MUST_CHECK odb_status rec_record_new(odb_slice id, const odb_value *value, odb_record **out);

#endif
