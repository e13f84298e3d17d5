/* memory/check.c -- whether what belongs together is together, across the namespaces.
 *
 *     record says it has a vector      <->   vector_data has the id
 *     record of a chunk names parent    ->   edge has_chunk from the parent to it
 *     document says n chunks            ->   n edges has_chunk
 *
 * What one namespace promises alone (index rows, both sides of an edge, the graph of the vectors) its own
 * check looks at: odb_records_check(), odb_graph_verify(), odb_vec_verify().
 */
#include "memory/memory_priv.h"

struct check_run {
    odb_at at;
    odb_memory_report *out;
    void (*each)(void *arg, odb_slice id, const char *fault);
    void *arg;
};

static void tell_torn(const struct check_run *c, uint64_t *count, odb_slice id, const char *fault)
{
    (*count)++;
    if (c->each)
        c->each(c->arg, id, fault);
}

/* *is_there: whether `st`, of a look for something, says so. Passes other failures on. */
static odb_status look_status(odb_status st, bool *is_there)
{
    *is_there = st == ODB_OK;
    return st == ODB_ABSENT ? ODB_OK : st;
}

static odb_status check_vector(const struct check_run *c, const odb_record *r)
{
    odb_slice id = odb_record_id(r);
    bool has = false;
    uint32_t dim;
    odb_status st = look_status(odb_vec_get(c->at, id, NULL, 0, &dim), &has);

    if (st != ODB_OK)
        return st;
    if (odb_record_has_vector(r) && !has)
        tell_torn(c, &c->out->lost_vectors, id, "its vector is missing");
    if (!odb_record_has_vector(r) && has)
        tell_torn(c, &c->out->unsaid_vectors, id, "has a vector and does not say so");
    return ODB_OK;
}

static odb_status check_chunk(const struct check_run *c, const odb_record *r)
{
    odb_prop_value parent;
    bool has = false;
    odb_status st;

    if (odb_record_kind_of(r) != ODB_KIND_CHUNK || !odb_record_field(r, ODB_FIELD_PARENT, &parent))
        return ODB_OK;
    st = look_status(
        odb_edge_exists(c->at, parent.u.bytes, odb_s(ODB_REL_HAS_CHUNK), odb_record_id(r)), &has);
    if (st == ODB_OK && !has)
        tell_torn(c, &c->out->lost_chunks, odb_record_id(r), "its document does not lead to it");
    return st;
}

static odb_status check_document_chunks(const struct check_run *c, const odb_record *r)
{
    odb_slice rel = odb_s(ODB_REL_HAS_CHUNK);
    odb_edge_match match = {.rels = &rel, .rel_count = 1};
    odb_prop_value said;
    uint64_t found = 0;
    odb_status st;

    if (odb_record_kind_of(r) != ODB_KIND_DOCUMENT ||
        !odb_record_field(r, ODB_FIELD_CHUNK_COUNT, &said))
        return ODB_OK;
    st = odb_degree(c->at, odb_record_id(r), &match, &found);
    if (st == ODB_OK && found != (uint64_t)said.u.integer)
        tell_torn(c, &c->out->lost_chunks, odb_record_id(r),
                  "says another number of chunks than it leads to");
    return st;
}

static odb_status check_all_records(const struct check_run *c)
{
    odb_record_iter *it;
    odb_status st = odb_record_scan(c->at, NULL, &it);

    if (st != ODB_OK)
        return st;
    while (st == ODB_OK && odb_record_iter_next(it)) {
        const odb_record *r = odb_record_iter_record(it);

        c->out->records++;
        st = check_vector(c, r);
        if (st == ODB_OK)
            st = check_chunk(c, r);
        if (st == ODB_OK)
            st = check_document_chunks(c, r);
    }
    if (st == ODB_OK)
        st = odb_record_iter_status(it);
    odb_record_iter_free(it);
    return st;
}

static odb_status count_bare_vectors(const struct check_run *c, odb_cf *data)
{
    const odb_range keys = {.keys_only = true};
    odb_iter *it;
    odb_status st = odb_iter_new(c->at, data, &keys, &it);
    bool has, ok;

    if (st != ODB_OK)
        return st;
    for (ok = odb_iter_first(it); st == ODB_OK && ok; ok = st == ODB_OK && odb_iter_next(it)) {
        st = look_status(odb_record_exists(c->at, odb_iter_key(it)), &has);
        if (st == ODB_OK && !has)
            c->out->bare_vectors++;
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

odb_status odb_memories_check(odb_at at, odb_memory_report *out,
                              void (*each)(void *arg, odb_slice id, const char *fault), void *arg)
{
    odb_memory_report found = {.size = sizeof found};
    struct check_run c = {at, &found, each, arg};
    odb_snapshot *own = NULL;
    odb_cf *data;
    odb_status st;

    if (!out || out->size < sizeof *out)
        return err_set(ODB_INVALID, "odb_memory_report.size is %zu, not %zu", out ? out->size : 0,
                       sizeof *out);
    if (!odb_at_db(at))
        return err_set(ODB_INVALID, "an odb_at must name exactly one place to read at");
    st = odb_cf_open(odb_at_db(at), ODB_FAMILY_VECTOR_DATA, &data);
    if (st == ODB_OK && at.db) {
        st = odb_snapshot_new(at.db, &own);
        c.at = odb_asof(own);
    }
    if (st == ODB_OK)
        st = check_all_records(&c);
    if (st == ODB_OK)
        st = count_bare_vectors(&c, data);
    odb_snapshot_free(own);
    if (st == ODB_OK)
        *out = found;
    return st;
}
