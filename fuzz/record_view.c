/* fuzz/record_view.c -- records/view.c: the stored form of a record, as bytes of unknown origin. What is
 * let in can be read in every way, and written again: the same fields come out, and writing that again
 * gives the same bytes. */
#include "fuzz/fuzz.h"
#include "records/odb_record_json.h"
#include "records/view.h"

/* What a program sees of a record, whatever the bytes say. */
static void use_record(odb_slice bytes)
{
    odb_record *r = NULL;
    odb_status st = odb_record_view(odb_s("id"), bytes, &r);
    size_t len = 0;
    odb_prop_value v;
    odb_prop p;

    FUZZ_REQUIRE(st == ODB_OK);
    (void)fuzz_touch(odb_record_content(r));
    for (uint32_t i = 0; i < odb_record_prop_count(r); i++) {
        odb_record_prop_at(r, i, &p);
        FUZZ_REQUIRE(odb_record_prop(r, p.name, &v) && v.type == p.value.type);
        if (v.type >= ODB_PROP_TEXT)
            (void)fuzz_touch(v.u.bytes);
    }
    for (uint32_t id = ODB_FIELD_FILENAME; id <= ODB_FIELD_STATUS; id++)
        (void)odb_record_field(r, id, &v);
    st = odb_record_to_json(r, NULL, 0, &len);
    FUZZ_REQUIRE(st == ODB_OK || st == ODB_CORRUPT);
    odb_record_free(r);
}

static void write_again(const struct rec_view *v, struct buf *out)
{
    struct rec_spec spec = {.kind = v->kind,
                            .flags = v->flags,
                            .timestamp = v->timestamp,
                            .importance = v->importance,
                            .content = v->content,
                            .old = v};
    struct buf props = {0};
    odb_prop *all = malloc((v->props.count + 1) * sizeof *all);
    odb_status st;

    FUZZ_REQUIRE(all != NULL);
    for (uint32_t i = 0; i < v->props.count; i++)
        rec_props_at(&v->props, i, &all[i]);
    st = v->props.count ? rec_props_append(&props, all, v->props.count) : ODB_OK;
    FUZZ_REQUIRE(st == ODB_OK ||
                 st == ODB_INVALID); /* a text that is no UTF-8 may be read, not written */
    spec.props = buf_slice(&props);
    FUZZ_REQUIRE(rec_spec_write(out, &spec) == ODB_OK);
    buf_release(&props);
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size));
    struct buf once = {0}, twice = {0};
    struct rec_view v, w;
    const char *what = NULL;
    size_t off = 0;
    odb_status st = rec_view_open(odb_bytes(copy, size), &v, &what, &off);

    FUZZ_REQUIRE(fuzz_is_verdict(st));
    FUZZ_REQUIRE(off <= size);
    if (st != ODB_OK) {
        FUZZ_REQUIRE(what != NULL);
    } else {
        for (uint32_t i = 0; i < v.field_count; i++) {
            uint32_t id, type;
            odb_slice bytes;

            rec_view_field_at(&v, i, &id, &type, &bytes);
            (void)fuzz_touch(bytes);
        }
        use_record(odb_bytes(copy, size));
        write_again(&v, &once);
        FUZZ_REQUIRE(rec_view_open(buf_slice(&once), &w, &what, &off) == ODB_OK);
        FUZZ_REQUIRE(w.timestamp == v.timestamp && w.kind == v.kind && w.flags == v.flags);
        FUZZ_REQUIRE(odb_slice_equal(w.content, v.content));
        write_again(&w, &twice);
        FUZZ_REQUIRE(odb_slice_equal(buf_slice(&once), buf_slice(&twice)));
    }
    buf_release(&once);
    buf_release(&twice);
    free(copy);
    return 0;
}
