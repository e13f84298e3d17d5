// The public headers, compiled as C++: every inline function used once.
#include <opendb.h>

#include <cstdio>

#if ODB_HAS_RECORDS
static bool use_records(odb_db *db)
{
    odb_prop props[] = {odb_prop_null("a"),      odb_prop_bool("b", true),
                        odb_prop_int("c", 1),    odb_prop_real("d", 1.5),
                        odb_prop_text("e", "x"), odb_prop_bytes("f", odb_bytes("y", 1)),
                        odb_prop_json("g", "[]")};
    odb_record_draft d = odb_record_make("id", "content");
    odb_record *r = nullptr;
    odb_prop_value v;
    bool is_fine;

    d.props = props;
    d.prop_count = sizeof props / sizeof *props;
    if (odb_record_put(db, nullptr, &d, ODB_INSERT_ONLY) != ODB_OK ||
        odb_record_get(odb_now(db), odb_s("id"), &r) != ODB_OK)
        return false;
    is_fine = odb_record_prop(r, odb_s("c"), &v) && v.type == ODB_PROP_INT && v.u.integer == 1;
    odb_record_free(r);
    return is_fine;
}
#endif

static bool count(void *arg, const odb_op *op)
{
    *static_cast<int *>(arg) += op->is_delete ? 0 : 1;
    return true;
}

int main()
{
    odb_options opt = odb_options_default();
    odb_cf_options cf_opt = odb_cf_options_default();
    odb_backend backend;
    odb_db *db = nullptr;
    odb_batch *b = nullptr;
    odb_snapshot *s = nullptr;
    odb_cf *cf = nullptr;
    int puts = 0;

    if (opt.size != sizeof opt || cf_opt.size != sizeof cf_opt)
        return 1;
    if (odb_backend_memory(&backend) != ODB_OK || odb_open_backend(backend, &db) != ODB_OK)
        return 2;
    if (odb_cf_create(db, "c++", &cf_opt, &cf) != ODB_OK || odb_batch_new(&b) != ODB_OK)
        return 3;
    if (odb_batch_put(b, cf, odb_s("k"), odb_bytes("v", 1)) != ODB_OK)
        return 4;
    odb_batch_each(b, count, &puts);
    if (puts != 1 || odb_commit(db, b, nullptr) != ODB_OK || odb_snapshot_new(db, &s) != ODB_OK)
        return 5;
    if (odb_exists(odb_asof(s), cf, odb_s("k")) != ODB_OK ||
        odb_exists(odb_now(db), nullptr, odb_s("k")) != ODB_ABSENT)
        return 6;
#if ODB_HAS_RECORDS
    if (!use_records(db))
        return 8;
#endif
    odb_snapshot_free(s);
    odb_batch_free(b);
    if (odb_close(db) != ODB_OK)
        return 7;
    std::printf("%s as C++\n", odb_version());
    return 0;
}
