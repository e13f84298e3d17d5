/* bench/models_opendb.c -- records, edges and memories of this engine, through its public calls. */
#include "bench/engine.h"
#include "bench/models.h"

#include "api/opendb.h"

static void must(odb_status st)
{
    if (st != ODB_OK)
        bench_die("opendb: %s: %s", odb_status_name(st), odb_error_text());
}

/* The runs of keys and values do without these families. */
static void ready(void *session)
{
    static const char *const name[] = {ODB_FAMILY_RECORDS,       ODB_FAMILY_RECORD_INDEX,
                                       ODB_FAMILY_GRAPH_FORWARD, ODB_FAMILY_GRAPH_BACKWARD,
                                       ODB_FAMILY_VECTOR_INDEX,  ODB_FAMILY_VECTOR_DATA,
                                       ODB_FAMILY_METADATA};
    odb_db *db = bench_opendb_handle(session);

    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        odb_cf *cf;
        odb_status st = odb_cf_open(db, name[i], &cf);

        if (st == ODB_NO_FAMILY)
            st = odb_cf_create(db, name[i], NULL, &cf);
        must(st);
    }
}

static void record_put(void *session, const struct bench_record *r)
{
    odb_prop props[] = {odb_prop_text("category", r->category),
                        odb_prop_int("version", r->version)};
    odb_record_draft d = odb_record_make_bytes(r->id, r->content);

    d.importance = (float)r->importance;
    d.timestamp = r->time_us;
    d.props = props;
    d.prop_count = 2;
    must(odb_record_put(bench_opendb_handle(session), NULL, &d, 0));
}

static bool record_get(void *session, odb_slice id, uint64_t *bytes)
{
    odb_prop_value category;
    odb_slice content;
    odb_record *r;
    odb_status st = odb_record_get(odb_now(bench_opendb_handle(session)), id, &r);

    if (st == ODB_ABSENT)
        return false;
    must(st);
    content = odb_record_content(r);
    bench_touch(bytes, content.data, content.size);
    if (!odb_record_prop(r, odb_s("category"), &category) || odb_record_importance(r) < 0)
        bench_die("opendb: a record without its category");
    odb_record_free(r);
    return true;
}

static void link_nodes(void *session, odb_slice from, odb_slice rel, odb_slice to)
{
    must(odb_link(bench_opendb_handle(session), NULL, from, rel, to));
}

static uint64_t edges(void *session, odb_slice node, bool incoming, uint64_t *bytes)
{
    odb_at now = odb_now(bench_opendb_handle(session));
    odb_edge_list list;
    uint64_t count;

    must(incoming ? odb_incoming(now, node, &list) : odb_outgoing(now, node, &list));
    count = list.count;
    for (size_t i = 0; i < list.count; i++)
        *bytes += incoming ? list.edge[i].from.size : list.edge[i].to.size;
    odb_edge_list_release(&list);
    return count;
}

static uint64_t walk(void *session, odb_slice node, uint32_t depth)
{
    odb_walk how = {.size = sizeof how, .max_depth = depth};
    odb_nodeset *set;
    uint64_t count;

    must(odb_walk_bfs(odb_now(bench_opendb_handle(session)), &node, 1, &how, &set));
    count = odb_nodeset_count(set);
    odb_nodeset_free(set);
    return count;
}

static bool vectors(void *session, uint32_t dim, bool graph)
{
    odb_vec_config how = {.size = sizeof how, .dim = dim};

    how.mode = graph ? ODB_VEC_ASYNC : ODB_VEC_EXACT;
    must(odb_vec_open(bench_opendb_handle(session), &how));
    return true;
}

static void memory_put(void *session, const struct bench_record *r, const float *v, uint32_t dim)
{
    odb_prop props[] = {odb_prop_text("category", r->category),
                        odb_prop_int("version", r->version)};
    odb_memory m = odb_memory_make("", "");

    m.id = r->id;
    m.content = r->content;
    m.embedding = v;
    m.dim = dim;
    m.importance = (float)r->importance;
    m.timestamp = r->time_us;
    m.props = props;
    m.prop_count = 2;
    must(odb_memory_put(bench_opendb_handle(session), NULL, &m, 0));
}

const struct bench_models bench_opendb_models = {
    .ready = ready,
    .record_put = record_put,
    .record_get = record_get,
    .link = link_nodes,
    .edges = edges,
    .walk = walk,
    .vectors = vectors,
    .memory_put = memory_put,
};
