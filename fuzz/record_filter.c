/* fuzz/record_filter.c -- records/filter_parse.c and filter.c: a condition of unknown origin is refused
 * at a place inside it, or compiled; and then tried on records of every kind. */
#include "fuzz/fuzz.h"
#include "records/filter.h"
#include "records/view.h"

static void try_on_records(const odb_filter *f)
{
    odb_prop props[] = {odb_prop_text("lang", "en"), odb_prop_int("n", INT64_MIN),
                        odb_prop_real("x", 0.5),     odb_prop_bool("b", true),
                        odb_prop_null("z"),          odb_prop_bytes("raw", odb_bytes("\0\xff", 2)),
                        odb_prop_json("j", "{}")};
    odb_field field = {ODB_FIELD_STATUS, {ODB_PROP_INT, {.integer = 2}}};
    static const int64_t times[] = {INT64_MIN + 1, -1, 0, INT64_C(1790000000000000), INT64_MAX};
    struct filter_bounds bounds;
    struct buf block = {0}, bytes = {0};

    FUZZ_REQUIRE(rec_props_append(&block, props, sizeof props / sizeof *props) == ODB_OK);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct rec_spec spec = {.kind = 1,
                                .timestamp = times[i],
                                .importance = (float)i / 4,
                                .content = odb_s(i % 2 ? "short answers" : ""),
                                .fields = &field,
                                .field_count = i % 2};
        odb_record *r;
        bool is_in;

        spec.props = i ? buf_slice(&block) : odb_bytes(NULL, 0);
        FUZZ_REQUIRE(rec_spec_write(&bytes, &spec) == ODB_OK);
        FUZZ_REQUIRE(odb_record_view(odb_s(i % 2 ? "user_1" : "u"), buf_slice(&bytes), &r) ==
                     ODB_OK);
        is_in = odb_filter_matches(f, r, times[i]);
        FUZZ_REQUIRE(odb_filter_matches(f, r, times[i]) == is_in);
        filter_bounds_of(f, times[i], &bounds);
        if (is_in) { /* what the bounds shut out, the filter must shut out too */
            odb_slice id = odb_record_id(r);

            FUZZ_REQUIRE(times[i] >= bounds.time_from && times[i] <= bounds.time_to);
            FUZZ_REQUIRE(spec.importance >= bounds.importance_from &&
                         spec.importance <= bounds.importance_to);
            FUZZ_REQUIRE(id.size >= bounds.id_prefix.size &&
                         (bounds.id_prefix.size == 0 ||
                          memcmp(id.data, bounds.id_prefix.data, bounds.id_prefix.size) == 0));
        }
        odb_record_free(r);
    }
    buf_release(&block);
    buf_release(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size));
    odb_filter *f = NULL;
    size_t at = 0;
    odb_status st = odb_filter_parse(odb_bytes(copy, size), &f, &at);

    FUZZ_REQUIRE(st == ODB_OK || st == ODB_INVALID || (st == ODB_TOO_LARGE && size > 65536));
    free(copy); /* the filter keeps what it needs */
    if (st == ODB_OK)
        try_on_records(f);
    else if (st == ODB_INVALID)
        FUZZ_REQUIRE(at <= size);
    odb_filter_free(f);
    return 0;
}
