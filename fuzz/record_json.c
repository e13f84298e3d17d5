/* fuzz/record_json.c -- records/json.c, number.c and record_json.c: text of unknown origin. What is read
 * and written is read again the same; what is refused is refused at a place inside the text. */
#include "api/odb_backend.h"
#include "fuzz/fuzz.h"
#include "records/json.h"
#include "records/odb_record_json.h"
#include "records/odb_scan.h"

static odb_db *fuzz_db;

/* The line as a record, stored, read back, written, and stored again from that. */
static void as_record(odb_slice line)
{
    odb_record_iter *it;
    char text[8192], again[8192];
    size_t len, len2, at = 0;
    odb_txn *t;
    odb_status st;

    if (!fuzz_db) {
        odb_backend backend;

        FUZZ_REQUIRE(odb_backend_memory(&backend) == ODB_OK);
        FUZZ_REQUIRE(odb_open_backend(backend, &fuzz_db) == ODB_OK);
        FUZZ_REQUIRE(odb_records_open(fuzz_db, NULL) == ODB_OK);
    }
    FUZZ_REQUIRE(odb_txn_begin(fuzz_db, NULL, &t) == ODB_OK);
    st = odb_record_put_json(fuzz_db, t, line, 0, &at);
    FUZZ_REQUIRE(st == ODB_OK || st == ODB_INVALID);
    FUZZ_REQUIRE(at <= line.size);
    if (st == ODB_OK) {
        FUZZ_REQUIRE(odb_record_scan(odb_in(t), NULL, &it) == ODB_OK);
        FUZZ_REQUIRE(odb_record_iter_next(it));
        st = odb_record_to_json(odb_record_iter_record(it), text, sizeof text, &len);
        odb_record_iter_free(it);
        FUZZ_REQUIRE(st == ODB_OK);
    }
    if (st == ODB_OK && len <= sizeof text) {
        FUZZ_REQUIRE(odb_record_put_json(fuzz_db, t, odb_bytes(text, len), 0, NULL) == ODB_OK);
        FUZZ_REQUIRE(odb_record_scan(odb_in(t), NULL, &it) == ODB_OK);
        FUZZ_REQUIRE(odb_record_iter_next(it));
        FUZZ_REQUIRE(odb_record_to_json(odb_record_iter_record(it), again, sizeof again, &len2) ==
                     ODB_OK);
        FUZZ_REQUIRE(len2 == len && memcmp(text, again, len) == 0);
        FUZZ_REQUIRE(!odb_record_iter_next(it));
        odb_record_iter_free(it);
    }
    odb_txn_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size));
    struct json_doc doc, back;
    const char *what = NULL;
    struct buf once = {0}, twice = {0};
    size_t at = 0;
    odb_status st = json_read(odb_bytes(copy, size), &doc, &what, &at);

    FUZZ_REQUIRE(st == ODB_OK || (st == ODB_INVALID && what && at <= size));
    if (st == ODB_OK) {
        FUZZ_REQUIRE(json_add_doc(&once, &doc) == ODB_OK);
        FUZZ_REQUIRE(json_read(buf_slice(&once), &back, &what, &at) == ODB_OK);
        FUZZ_REQUIRE(back.count == doc.count);
        FUZZ_REQUIRE(json_add_doc(&twice, &back) == ODB_OK);
        FUZZ_REQUIRE(odb_slice_equal(buf_slice(&once), buf_slice(&twice)));
        json_release(&back);
        json_release(&doc);
        as_record(odb_bytes(copy, size));
    } else if (
        size ==
        0) { /* makes the database, and what it keeps for reuse, before anything is counted */
        as_record(odb_bytes(copy, size));
        as_record(odb_s("{\"id\":\"first\",\"content\":\"x\"}"));
    }
    buf_release(&once);
    buf_release(&twice);
    free(copy);
    return 0;
}
