/* records/odb_record.h -- records: an id, a content, a moment, an importance and properties, stored
 * together and found by any of them.
 *
 *     odb_record_draft d = odb_record_make("user_17/note_3", "prefers short answers");
 *     odb_prop props[] = {odb_prop_text("category", "style"), odb_prop_int("version", 2)};
 *     odb_record *r;
 *
 *     d.importance = 0.8f;
 *     d.props = props;
 *     d.prop_count = 2;
 *     st = odb_record_put(db, NULL, &d, 0);             // record and index rows: all or nothing
 *     st = odb_record_get(odb_now(db), odb_s("user_17/note_3"), &r);
 *     if (st == ODB_OK) {
 *         show(odb_record_content(r), odb_record_importance(r));
 *         odb_record_free(r);
 *     }
 *
 * Records live in the family "records", one key each: the id as it is, so that ids that begin alike lie
 * together. A second family, "record_index", holds rows by time, by importance and by the properties
 * that were declared (odb_records_open); it is written in the same commit and needs no care. Both may be
 * read and written raw as well; the calls here therefore trust no stored byte. Who writes "records" raw
 * leaves the index behind: odb_records_check() finds it, odb_records_reindex() mends it.
 *
 * Writes take a transaction, or commit by themselves with `txn` NULL: then they try again when another
 * writer of the same record was faster, and give ODB_CONFLICT only after many tries. A write that fails
 * in a transaction leaves it as it was.
 *
 * Reads name where they look: odb_now(db), odb_asof(snapshot), odb_in(txn).
 */
#ifndef ODB_RECORD_H
#define ODB_RECORD_H

#include "api/odb_db.h"
#include "records/odb_prop.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ODB_FAMILY_RECORD_INDEX "record_index"

#define ODB_RECORD_ID_MAX 1024 /* bytes of an id, at least 1; any bytes */

/* ==== writing ==== */

/* Stored: a number that has shipped keeps its meaning. */
typedef enum odb_record_kind {
    ODB_KIND_MEMORY = 1,
    ODB_KIND_DOCUMENT = 2,
    ODB_KIND_CHUNK = 3,
    ODB_KIND_APPLICATION = 128, /* from here to 255: yours */
} odb_record_kind;

/* Microseconds since 1970; the moment of the call. */
#define ODB_TIME_NOW INT64_MIN

/* Fields a record may have besides content and properties; the type of each is given. */
typedef enum odb_field_id {
    ODB_FIELD_FILENAME = 3,         /* text */
    ODB_FIELD_FILE_TYPE = 4,        /* integer, 0 to 255 */
    ODB_FIELD_FILE_SIZE = 5,        /* integer, from 0 */
    ODB_FIELD_PARENT = 6,           /* bytes: the id of another record */
    ODB_FIELD_START = 7,            /* integer, from 0: where a chunk begins in its document */
    ODB_FIELD_END = 8,              /* integer, from 0 */
    ODB_FIELD_CHUNK_COUNT = 9,      /* integer, 0 to 4294967295 */
    ODB_FIELD_STATUS = 10,          /* integer, 0 to 255 */
    ODB_FIELD_APPLICATION = 0x4000, /* from here to 0x7FFF: yours, any type of odb_prop_type */
    ODB_FIELD_LAST = 0x7FFF,
} odb_field_id;

typedef struct odb_field {
    uint32_t id; /* odb_field_id */
    odb_prop_value value;
} odb_field;

/* A record as it shall be written. Made by odb_record_make(), then changed; everything is borrowed. */
typedef struct odb_record_draft {
    size_t size;           /* sizeof(odb_record_draft) */
    uint32_t kind;         /* odb_record_kind. Default ODB_KIND_MEMORY */
    float importance;      /* brought to 0..1; not-a-number is ODB_INVALID. Default 0.5 */
    int64_t timestamp;     /* microseconds since 1970. Default ODB_TIME_NOW */
    odb_slice id;          /* 1 to ODB_RECORD_ID_MAX bytes */
    odb_slice content;     /* any bytes; below 1 GiB with the rest */
    const odb_prop *props; /* in any order, each name once */
    size_t prop_count;
    const odb_field *fields; /* in any order, each id once */
    size_t field_count;
    bool has_vector; /* a vector is stored for this id; for the models above */
} odb_record_draft;

static inline odb_record_draft odb_record_make_bytes(odb_slice id, odb_slice content)
{
    odb_record_draft d;

    memset(&d, 0, sizeof d);
    d.size = sizeof d;
    d.kind = ODB_KIND_MEMORY;
    d.importance = 0.5f;
    d.timestamp = ODB_TIME_NOW;
    d.id = id;
    d.content = content;
    return d;
}

static inline odb_record_draft odb_record_make(const char *id, const char *content)
{
    return odb_record_make_bytes(odb_s(id), odb_s(content));
}

/* Flags of writes. */
#define ODB_INSERT_ONLY 1u /* ODB_EXISTS when the id is taken */
#define ODB_UPDATE_ONLY 2u /* ODB_ABSENT when it is not */
#define ODB_MUST_EXIST  4u /* of odb_record_delete: ODB_ABSENT when there is nothing to delete */
/* The stored record is damaged: write or delete unread. Its index rows stay (they mislead nobody) until
 * odb_records_reindex(). Without this flag ODB_CORRUPT. */
#define ODB_OVER_DAMAGE 8u

/* Write a record, new or in place of another of that id. Fields that a newer release has put into the
 * old one are kept. ODB_INVALID (the text tells what), ODB_TOO_LARGE, ODB_EXISTS and ODB_ABSENT (as the
 * flags say), ODB_CONFLICT, ODB_CORRUPT, ODB_VERSION (a newer release has written the old one in a way
 * this one must not touch), and what odb_put may return. */
ODB_API ODB_MUST_CHECK odb_status odb_record_put(odb_db *db, odb_txn *txn,
                                                 const odb_record_draft *draft, unsigned flags);

/* What to change of a record; all zeros but `size`: nothing. */
typedef struct odb_patch {
    size_t size;       /* sizeof(odb_patch) */
    unsigned change;   /* ODB_PATCH_...: which of the next four count */
    float importance;  /* as in a draft */
    int64_t timestamp; /* ODB_TIME_NOW touches the record */
    odb_slice content;
    bool has_vector;
    const odb_prop *set; /* put over what is there; each name once */
    size_t set_count;
    const odb_slice *unset; /* names to remove; one that is not there is fine */
    size_t unset_count;
    const odb_field *fields; /* put over what is there */
    size_t field_count;
} odb_patch;

#define ODB_PATCH_IMPORTANCE 1u
#define ODB_PATCH_TIMESTAMP  2u
#define ODB_PATCH_CONTENT    4u
#define ODB_PATCH_VECTOR     8u

/* Change parts of a record and keep the rest, whatever it is. ODB_ABSENT, and as odb_record_put. */
ODB_API ODB_MUST_CHECK odb_status odb_record_patch(odb_db *db, odb_txn *txn, odb_slice id,
                                                   const odb_patch *patch);

/* Delete a record and its index rows. One that is not there is ODB_OK, unless ODB_MUST_EXIST. What else
 * hangs on it (edges, vectors) is the business of the models above. */
ODB_API ODB_MUST_CHECK odb_status odb_record_delete(odb_db *db, odb_txn *txn, odb_slice id,
                                                    unsigned flags);

/* ==== reading ==== */

/* A record that was read; it stays as it is until it is freed, whatever is written meanwhile. Its
 * slices lend bytes of it. One thread at a time. */
typedef struct odb_record odb_record;

/* ODB_OK: *out is to be freed. ODB_ABSENT. ODB_CORRUPT: what is stored under that id is no record;
 * ODB_VERSION: a newer release wrote it in a way this one cannot read. Otherwise as odb_get. */
ODB_API ODB_MUST_CHECK odb_status odb_record_get(odb_at at, odb_slice id, odb_record **out);
/* NULL is fine. */
ODB_API void odb_record_free(odb_record *r);

/* Read `n` records at one moment, as odb_multiget does. out[i] is NULL where each[i] is not ODB_OK. */
ODB_API ODB_MUST_CHECK odb_status odb_record_multiget(odb_at at, const odb_slice *ids, size_t n,
                                                      odb_record **out, odb_status *each);

/* ODB_OK or ODB_ABSENT, by the key alone: nothing is said about what is stored. */
ODB_API ODB_MUST_CHECK odb_status odb_record_exists(odb_at at, odb_slice id);

ODB_API odb_slice odb_record_id(const odb_record *r);
ODB_API odb_slice odb_record_content(const odb_record *r);
ODB_API float odb_record_importance(const odb_record *r);
ODB_API int64_t odb_record_timestamp(const odb_record *r); /* microseconds since 1970 */
ODB_API uint32_t odb_record_kind_of(const odb_record *r);  /* odb_record_kind */
ODB_API bool odb_record_has_vector(const odb_record *r);

/* A property by name, found in place. False: there is none. */
ODB_API bool odb_record_prop(const odb_record *r, odb_slice name, odb_prop_value *out);
ODB_API uint32_t odb_record_prop_count(const odb_record *r);
/* Number i, by rising name. i < odb_record_prop_count(). */
ODB_API void odb_record_prop_at(const odb_record *r, uint32_t i, odb_prop *out);
/* A field other than content and properties. False: there is none. */
ODB_API bool odb_record_field(const odb_record *r, uint32_t id, odb_prop_value *out);

/* ==== setting up, checking, mending ==== */

/* How the records of a database are indexed; stored with it when they are first used. */
typedef struct odb_records_options {
    size_t size;              /* sizeof(odb_records_options) */
    bool no_time_index;       /* save a row per record: scans by time are then ODB_UNSUPPORTED */
    bool no_importance_index; /* the same for importance */
    const char *const *props; /* names of properties to index; those indexed already stay so */
    size_t prop_count;
} odb_records_options;

/* Make ready for records; without this call the first use of records does it, with no options. Makes
 * the families and the documents "odb.format", "odb.schema" and "odb.index" of the metadata when they
 * are not there, and checks them when they are: ODB_VERSION (a newer release made this database),
 * ODB_CORRUPT, ODB_INVALID (it is indexed otherwise than the options say; the first use decides).
 * Properties that were not indexed before are indexed now, which reads all records: no other thread
 * may write records meanwhile, and no transaction with unfinished writes of them may be open. */
ODB_API ODB_MUST_CHECK odb_status odb_records_open(odb_db *db, const odb_records_options *opt);

typedef struct odb_records_report {
    size_t size;           /* sizeof(odb_records_report), set by the caller */
    uint64_t records;      /* sound ones */
    uint64_t damaged;      /* records that cannot be read */
    uint64_t index_rows;   /* rows of the index */
    uint64_t missing_rows; /* that should be there */
    uint64_t stray_rows;   /* that point to no record, or to one that says otherwise */
} odb_records_report;

/* Compare every record with the index, both ways, at one moment. `each` (may be NULL) is called with
 * every fault. ODB_OK: it was compared; whether all is well the report says. */
ODB_API ODB_MUST_CHECK odb_status odb_records_check(odb_at at, odb_records_report *out,
                                                    void (*each)(void *arg, odb_slice id,
                                                                 const char *fault),
                                                    void *arg);
/* Write the missing rows and remove the stray ones, in many small commits; other writers may go on.
 * Damaged records are left alone. `out` (may be NULL) tells what was found. */
ODB_API ODB_MUST_CHECK odb_status odb_records_reindex(odb_db *db, odb_records_report *out);

/* ==== records as bytes ==== */

/* Look into the stored form of a record, from any source: `id` and `bytes` are borrowed until it is
 * freed. Everything is checked. ODB_CORRUPT, ODB_VERSION, ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_record_view(odb_slice id, odb_slice bytes, odb_record **out);

/* The stored form (records/view.c draws it); lent by the record. */
ODB_API odb_slice odb_record_bytes(const odb_record *r);

#ifdef __cplusplus
}
#endif
#endif
