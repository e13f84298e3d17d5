/* tests/golden/golden.c -- the format held fast: the same operations make the same bytes, here and elsewhere.
 *
 *     golden --make DIR       write every scenario to DIR/NAME.files, and their hashes to DIR/hashes
 *     golden --check DIR      make them again in memory: every byte is as in DIR; then --open DIR
 *     golden --open DIR       open the databases in DIR, read all of it back, write to them, open them again
 *
 * A scenario is a database made on the simulated disk, whose clock stands still here and whose chance is a
 * counter: nothing in its files depends on the machine, the time, or how often the engine asks for either.
 * scripts/golden makes the files of tests/golden/vN that are checked in; scripts/other-machines makes them on
 * processors with other word sizes and byte orders, and lets each open the others'.
 *
 * What LZ4 makes of a block differs with its version and with the processor. So the scenarios are stored as
 * they are, but for `lz4`, of which only what is read back is compared.
 *
 * A .files holds the files of a directory, name by name. Runs of zeros, of which logs consist mostly, are left
 * out:
 *
 *     "odbfiles" | file ... | 0 u8
 *     file       name length u8 | name | size u64 | piece ... | 0 u32
 *     piece      length u32, not 0 | offset u64 | bytes           integers little-endian
 *
 * LOG, OPTIONS, OPENDB_INFO and LOCK are not among them: they are for people, or hold nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/odb_backend.h"
#include "api/opendb.h"
#include "base/buf.h"
#include "base/coding.h"
#include "base/hash.h"
#include "os/os_ops.h"
#include "os/sim.h"

#define DB "db"

/* ---- the machine ---- */

static struct os *machine; /* what os_posix() gives, see meson.build */
static uint64_t chance;

struct os *__wrap_os_posix(void);
struct os *__wrap_os_posix(void)
{
    return machine;
}

static uint64_t still_wall_us(struct os *os)
{
    (void)os;
    return UINT64_C(1767225600000000); /* 2026-01-01 */
}

static odb_status counted_random(struct os *os, void *data, size_t len)
{
    uint8_t *p = data;

    (void)os;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(hash_mix(0x676f6c64, chance++) >> 24);
    return ODB_OK;
}

/* A disk, this one or an empty one, with the clock and the chance above. */
static void machine_use(struct os *os)
{
    static struct os_ops ops;

    if (!os)
        os = sim_new(1);
    ops = *os->ops;
    ops.wall_us = still_wall_us;
    ops.random = counted_random;
    os->ops = &ops;
    machine = os;
}

/* ---- complaints ---- */

static const char *scenario_now = "";
static unsigned failures;

static void complain(const char *what, odb_status st)
{
    printf("FAILED: %s: %s%s%s%s\n", scenario_now, what, st == ODB_OK ? "" : ": ",
           st == ODB_OK ? "" : odb_status_name(st), st == ODB_OK ? "" : ": ");
    if (st != ODB_OK)
        printf("        %s\n", odb_error_text());
    failures++;
}

/* A call that has to work for the rest to make sense. */
#define DO(call)                                                                                   \
    do {                                                                                           \
        odb_status do_st = (call);                                                                 \
        if (do_st != ODB_OK) {                                                                     \
            complain(#call, do_st);                                                                \
            return false;                                                                          \
        }                                                                                          \
    } while (0)
#define HOLDS(claim)                                                                               \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            complain(#claim, ODB_OK);                                                              \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* ---- opening ---- */

static odb_options options(void)
{
    odb_options o = odb_options_default();

    o.no_threads = true; /* one order of everything */
    o.background_jobs = 1;
    o.compression = ODB_COMPRESSION_NONE;
    o.write_buffer_size = 8 << 20; /* flushed when the scenario says so: an arena is no format */
    o.target_file_size = 16 << 10; /* the least */
    o.level_base_size = 64 << 10;
    o.block_size = 1024;
    o.ring_size = 64 << 10;
    o.log_segment_size = 64 << 10;
    o.cache_size = 4 << 20;
    o.disk_reserve = 1;
    return o;
}

static bool open_db(const odb_options *o, odb_db **db)
{
    odb_options usual = options();

    DO(odb_open(DB, o ? o : &usual, db));
    return true;
}

/* ---- keys and values ---- */

static odb_slice numbered_key(char *room, size_t size, unsigned i)
{
    static const char *const shape[] = {"user/%06u/name", "%u",
                                        "a rather long prefix that is shared/%u"};

    (void)snprintf(room, size, shape[i % 3], i);
    return odb_s(room);
}

static odb_slice numbered_value(char *room, size_t size, unsigned i)
{
    size_t len = i * 7919u % 60;

    for (size_t k = 0; k < len && k < size; k++)
        room[k] = (char)('a' + (i * 31 + k * (1 + i % 5)) % 26);
    return odb_bytes(room, len);
}

static bool put_range(odb_db *db, odb_cf *cf, unsigned from, unsigned to)
{
    char key[80], value[60];

    for (unsigned i = from; i < to; i++)
        DO(odb_put(db, cf, numbered_key(key, sizeof key, i), numbered_value(value, sizeof value, i),
                   NULL));
    return true;
}

static bool is_there(odb_db *db, odb_cf *cf, unsigned i)
{
    char key[80], value[60];
    odb_slice want = numbered_value(value, sizeof value, i);
    odb_value v;

    DO(odb_get(odb_now(db), cf, numbered_key(key, sizeof key, i), &v));
    HOLDS(odb_slice_equal(odb_bytes(v.data, v.size), want));
    odb_value_release(&v);
    return true;
}

static bool is_gone(odb_db *db, odb_cf *cf, unsigned i)
{
    char key[80];

    HOLDS(odb_exists(odb_now(db), cf, numbered_key(key, sizeof key, i)) == ODB_ABSENT);
    return true;
}

static bool delete_every(odb_db *db, odb_cf *cf, unsigned from, unsigned to, unsigned step)
{
    char key[80];

    for (unsigned i = from; i < to; i += step)
        DO(odb_delete(db, cf, numbered_key(key, sizeof key, i), NULL));
    return true;
}

/* ---- scenarios: make one in an open database, and read it back ---- */

static bool make_nothing(odb_db *db)
{
    (void)db;
    return true;
}

static bool read_nothing(odb_db *db)
{
    odb_names names;

    DO(odb_cf_list(db, &names));
    HOLDS(names.count == 7 && strcmp(names.name[0], "default") == 0);
    odb_names_release(&names);
    return is_gone(db, NULL, 1);
}

/* In the log only, and parts of it in the ring only where the process dies. */
static bool make_log(odb_db *db)
{
    odb_cf *graph;
    odb_batch *b;

    DO(odb_cf_open(db, ODB_FAMILY_GRAPH_FORWARD, &graph));
    if (!put_range(db, NULL, 0, 60) || !delete_every(db, NULL, 0, 60, 7))
        return false;
    DO(odb_batch_new(&b));
    DO(odb_batch_put(b, graph, odb_s("in one"), odb_s("commit")));
    DO(odb_batch_put(b, NULL, odb_s(""), odb_s("the empty key")));
    DO(odb_batch_delete(b, graph, odb_s("never was")));
    DO(odb_commit(db, b, NULL));
    odb_batch_free(b);
    DO(odb_sync(db));
    return put_range(db, graph, 100, 130);
}

static bool read_log(odb_db *db)
{
    odb_cf *graph;
    odb_value v;

    DO(odb_cf_open(db, ODB_FAMILY_GRAPH_FORWARD, &graph));
    for (unsigned i = 0; i < 60; i++)
        if (!(i % 7 ? is_there(db, NULL, i) : is_gone(db, NULL, i)))
            return false;
    for (unsigned i = 100; i < 130; i++)
        if (!is_there(db, graph, i))
            return false;
    DO(odb_get(odb_now(db), NULL, odb_s(""), &v));
    HOLDS(v.size == 13);
    odb_value_release(&v);
    DO(odb_exists(odb_now(db), graph, odb_s("in one")));
    return true;
}

/* Several levels, versions over versions, deletes that still hide something, a snapshot that kept them. */
static bool make_tables(odb_db *db)
{
    odb_snapshot *old;

    if (!put_range(db, NULL, 0, 400))
        return false;
    DO(odb_flush(db, NULL));
    DO(odb_compact(db, NULL, NULL, NULL, NULL)); /* cut into several tables */
    DO(odb_snapshot_new(db, &old));
    if (!delete_every(db, NULL, 0, 400, 3))
        return false;
    DO(odb_flush(db, NULL));
    if (!put_range(db, NULL, 300, 500) || !delete_every(db, NULL, 450, 500, 2))
        return false;
    DO(odb_flush(db, NULL));
    odb_snapshot_free(old);
    return put_range(db, NULL, 600, 620);
}

static bool read_tables(odb_db *db)
{
    for (unsigned i = 0; i < 620; i++) {
        bool there = i < 300 ? i % 3 != 0 : i < 450 ? true : i < 500 ? i % 2 != 0 : i >= 600;

        if (!(there ? is_there(db, NULL, i) : is_gone(db, NULL, i)))
            return false;
    }
    return true;
}

static bool make_families(odb_db *db)
{
    odb_cf_options own = odb_cf_options_default();
    odb_cf *first, *second, *third;

    DO(odb_cf_create(db, "first", NULL, &first));
    if (!put_range(db, first, 0, 50))
        return false;
    DO(odb_cf_drop(db, first));
    own.block_size = 512;
    own.filter_bits = -1;
    own.write_buffer_size = 4 << 20;
    DO(odb_cf_create(db, "second", &own, &second));
    DO(odb_cf_create(db, "f\xc3\xbcr", NULL, &third));
    if (!put_range(db, second, 0, 200) || !put_range(db, third, 0, 20))
        return false;
    DO(odb_flush(db, second));
    DO(odb_cf_create(db, "first", NULL, &first)); /* another one of that name */
    return put_range(db, first, 7, 8);
}

static bool read_families(odb_db *db)
{
    odb_cf *first, *second, *third;

    DO(odb_cf_open(db, "first", &first));
    DO(odb_cf_open(db, "second", &second));
    DO(odb_cf_open(db, "f\xc3\xbcr", &third));
    for (unsigned i = 0; i < 200; i++)
        if (!is_there(db, second, i) || !(i == 7 ? is_there(db, first, i) : is_gone(db, first, i)))
            return false;
    return is_there(db, third, 19) && is_gone(db, third, 20);
}

static bool make_transactions(odb_db *db)
{
    odb_txn *t;
    uint32_t save;

    DO(odb_txn_begin(db, NULL, &t));
    DO(odb_txn_put(t, NULL, odb_s("kept"), odb_s("1")));
    DO(odb_txn_save(t, &save));
    DO(odb_txn_put(t, NULL, odb_s("rolled back"), odb_s("2")));
    DO(odb_txn_rollback_to(t, save));
    DO(odb_txn_commit(t, NULL));
    DO(odb_txn_reset(t));
    DO(odb_txn_put(t, NULL, odb_s("promised"), odb_s("3")));
    DO(odb_txn_delete(t, NULL, odb_s("kept")));
    DO(odb_txn_claim(t, NULL, &(odb_range){.lower = odb_s("r"), .upper = odb_s("s")}, false));
    DO(odb_txn_prepare(t, "order 66", NULL));
    odb_txn_free(t);
    return true;
}

/* A prepared transaction holds what it claims, and can be committed by whoever comes later. */
static bool read_transactions(odb_db *db)
{
    odb_names names;
    odb_txn *t;

    DO(odb_exists(odb_now(db), NULL, odb_s("kept")));
    HOLDS(odb_exists(odb_now(db), NULL, odb_s("rolled back")) == ODB_ABSENT);
    HOLDS(odb_exists(odb_now(db), NULL, odb_s("promised")) == ODB_ABSENT);
    DO(odb_txn_list_prepared(db, &names));
    HOLDS(names.count == 1 && strcmp(names.name[0], "order 66") == 0);
    odb_names_release(&names);
    HOLDS(odb_put(db, NULL, odb_s("rx"), odb_s("in the range"), NULL) == ODB_CONFLICT);
    DO(odb_txn_recover(db, "order 66", &t));
    DO(odb_exists(odb_in(t), NULL, odb_s("promised")));
    HOLDS(odb_exists(odb_in(t), NULL, odb_s("kept")) == ODB_ABSENT);
    odb_txn_free(t); /* it stays prepared */
    return true;
}

/* The longest key, and a value over many blocks. */
static bool make_large(odb_db *db)
{
    static char key[64 << 10], value[100 << 10];

    memset(key, 'k', sizeof key);
    memset(value, 0, sizeof value);
    value[0] = 'b';
    value[sizeof value - 1] = 'e';
    DO(odb_put(db, NULL, odb_bytes(value, 1), odb_bytes(value, sizeof value), NULL));
    DO(odb_flush(db, NULL));
    memset(key + 100, 0, sizeof key - 101); /* mostly zeros: they cost nothing here */
    DO(odb_put(db, NULL, odb_bytes(key, sizeof key), odb_s("of the longest key"), NULL));
    return true;
}

static bool read_large(odb_db *db)
{
    static char key[64 << 10];
    odb_value v;

    memset(key, 0, sizeof key);
    memset(key, 'k', 100);
    key[sizeof key - 1] = 'k';
    DO(odb_get(odb_now(db), NULL, odb_bytes(key, sizeof key), &v));
    HOLDS(v.size == 18);
    odb_value_release(&v);
    DO(odb_get(odb_now(db), NULL, odb_s("b"), &v));
    HOLDS(v.size == 100 << 10);
    HOLDS(((const char *)v.data)[0] == 'b' && ((const char *)v.data)[v.size - 1] == 'e');
    odb_value_release(&v);
    return true;
}

/* ---- models of data ---- */

#define SETTINGS "{\"model\":\"none\",\"dim\":[8,16]}"

static bool make_records(odb_db *db)
{
    const char *const indexed[] = {"category", "version"};
    const odb_records_options opt = {.size = sizeof opt, .props = indexed, .prop_count = 2};

    DO(odb_records_open(db, &opt));
    for (unsigned i = 0; i < 40; i++) {
        char id[32], content[64];
        odb_prop props[] = {odb_prop_text("category", i % 3 ? "style" : "f\xc3\xa9"),
                            odb_prop_int("version", (int64_t)i * 1000 - 20000),
                            odb_prop_real("weight", i * 0.125 - 2)};
        odb_field fields[] = {{ODB_FIELD_FILE_SIZE, props[1].value}};
        odb_record_draft d;

        (void)snprintf(id, sizeof id, "note/%u", i);
        (void)snprintf(content, sizeof content, "what number %u says", i);
        d = odb_record_make(id, content);
        d.importance = (float)i / 64;
        d.timestamp = INT64_C(1700000000000000) + (int64_t)i * 1000000;
        d.props = props;
        d.prop_count = 1 + i % 3;
        d.fields = fields;
        d.field_count = i >= 20;
        DO(odb_record_put(db, NULL, &d, 0));
    }
    DO(odb_record_delete(db, NULL, odb_s("note/7"), ODB_MUST_EXIST));
    DO(odb_meta_put(db, NULL, "settings", odb_s(SETTINGS)));
    DO(odb_flush(db, NULL));
    return true;
}

static bool read_records(odb_db *db)
{
    odb_records_report report = {.size = sizeof report};
    odb_prop_value value;
    odb_record *r;
    odb_value v;

    DO(odb_records_check(odb_now(db), &report, NULL, NULL));
    HOLDS(report.records == 39 && report.missing_rows == 0 && report.stray_rows == 0);
    DO(odb_record_get(odb_now(db), odb_s("note/23"), &r));
    HOLDS(odb_slice_equal(odb_record_content(r), odb_s("what number 23 says")));
    HOLDS(odb_record_importance(r) == 23.0f / 64);
    HOLDS(odb_record_timestamp(r) == INT64_C(1700000023000000));
    HOLDS(odb_record_prop_count(r) == 3);
    HOLDS(odb_record_prop(r, odb_s("weight"), &value));
    HOLDS(odb_record_field(r, ODB_FIELD_FILE_SIZE, &value));
    odb_record_free(r);
    DO(odb_meta_get(odb_now(db), "settings", &v));
    HOLDS(odb_slice_equal(odb_bytes(v.data, v.size), odb_s(SETTINGS)));
    odb_value_release(&v);
    return true;
}

static bool make_graph(odb_db *db)
{
    static const char *const rel[] = {ODB_REL_RELATED_TO, "knows", ODB_REL_BEFORE};

    for (unsigned i = 0; i < 60; i++) {
        char from[24], to[24];
        odb_prop props[] = {odb_prop_int("since", 1990 + (int64_t)i)};
        odb_edge e;

        (void)snprintf(from, sizeof from, "node/%u", i % 12);
        (void)snprintf(to, sizeof to, "node/%u", i * 5 % 17);
        e = odb_edge_of(odb_s(from), odb_s(rel[i % 3]), odb_s(to));
        e.weight = (float)i / 8 - 2;
        e.time_us = INT64_C(1600000000000000) + i;
        DO(odb_link_edge(db, NULL, &e, props, i % 2, ODB_LINK_UPSERT));
    }
    DO(odb_unlink(db, NULL, odb_s("node/1"), odb_s("knows"), odb_s("node/5")));
    DO(odb_flush(db, NULL));
    return true;
}

static bool read_graph(odb_db *db)
{
    odb_walk walk = {.size = sizeof walk, .max_depth = 2};
    odb_slice start = odb_s("node/0");
    odb_edge_list out;
    odb_nodeset *near;

    DO(odb_outgoing(odb_now(db), odb_s("node/2"), &out));
    HOLDS(out.count == 5);
    HOLDS(out.edge[0].time_us >= INT64_C(1600000000000000));
    odb_edge_list_release(&out);
    DO(odb_walk_bfs(odb_now(db), &start, 1, &walk, &near));
    HOLDS(odb_nodeset_count(near) > 5);
    odb_nodeset_free(near);
    return true;
}

/* Small whole numbers: every sum of squares is exact, in whatever order it is added up. */
static void whole_vector(float *v, unsigned i)
{
    v[0] = (float)i; /* no two are the same */
    for (unsigned k = 1; k < 8; k++)
        v[k] = (float)((i * 37 + k * 101 + i * i * k) % 17) - 8;
}

static const odb_vec_config vector_config = {.size = sizeof vector_config,
                                             .dim = 8,
                                             .m = 4,
                                             .ef_construction = 20,
                                             .metric = ODB_METRIC_L2,
                                             .mode = ODB_VEC_MANUAL,
                                             .flat_max = 1};

static bool make_vectors(odb_db *db)
{
    DO(odb_vec_open(db, &vector_config));
    for (unsigned i = 0; i < 50; i++) {
        char id[24];
        float v[8];

        whole_vector(v, i);
        (void)snprintf(id, sizeof id, "v%u", i);
        DO(odb_vec_put(db, NULL, odb_s(id), v, 8));
    }
    DO(odb_vec_wait(db));
    DO(odb_vec_delete(db, NULL, odb_s("v9")));
    DO(odb_flush(db, NULL));
    return true;
}

static bool read_vectors(odb_db *db)
{
    odb_vec_search how = {.size = sizeof how, .k = 3};
    odb_vec_hits *hits;
    float v[8];
    uint32_t dim;

    whole_vector(v, 30);
    DO(odb_vec_find(odb_now(db), v, 8, &how, &hits));
    HOLDS(odb_vec_hits_count(hits) == 3 && odb_vec_hits_at(hits, 0).distance == 0);
    HOLDS(odb_slice_equal(odb_vec_hits_at(hits, 0).id, odb_s("v30")));
    odb_vec_hits_free(hits);
    HOLDS(odb_vec_get(odb_now(db), odb_s("v9"), v, 8, &dim) == ODB_ABSENT);
    return true;
}

static bool make_memories(odb_db *db)
{
    odb_document doc = odb_document_make("doc/1", "report.pdf", 12345, "the text of it");

    DO(odb_vec_open(db, &vector_config));
    for (unsigned i = 0; i < 10; i++) {
        char id[24];
        float v[8];
        odb_memory m;

        (void)snprintf(id, sizeof id, "memory/%u", i);
        whole_vector(v, i);
        m = odb_memory_make(id, "remembered");
        m.timestamp = INT64_C(1650000000000000) + i;
        m.embedding = v;
        m.dim = i % 4 ? 8 : 0;
        DO(odb_memory_put(db, NULL, &m, 0));
    }
    doc.memory.timestamp = INT64_C(1650000000000000);
    DO(odb_document_put(db, NULL, &doc, NULL, 0, 0));
    DO(odb_link_edge(db, NULL,
                     &(odb_edge){.from = odb_s("memory/1"),
                                 .rel = odb_s(ODB_REL_REFERENCES),
                                 .to = odb_s("doc/1"),
                                 .weight = 1,
                                 .time_us = INT64_C(1650000000000000)},
                     NULL, 0, ODB_LINK_NEW));
    DO(odb_vec_wait(db));
    return true;
}

static bool read_memories(odb_db *db)
{
    odb_memory_report report = {.size = sizeof report};

    DO(odb_memories_check(odb_now(db), &report, NULL, NULL));
    DO(odb_record_exists(odb_now(db), odb_s("doc/1")));
    DO(odb_record_exists(odb_now(db), odb_s("memory/9")));
    return true;
}

/* ---- the table of them ---- */

enum how { CLOSED, DIED }; /* how the process that made it ended */

static const struct scenario {
    const char *name;
    bool (*make)(odb_db *db);
    bool (*read)(odb_db *db);
    enum how how;
    odb_compression compression;
    uint32_t block_size;
    int32_t filter_bits;
    bool only_read; /* its bytes are not compared */
} scenarios[] = {
    {"empty", make_nothing, read_nothing, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"log", make_log, read_log, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"log-and-ring", make_log, read_log, DIED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"tables", make_tables, read_tables, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"tables-no-filter", make_tables, read_tables, DIED, ODB_COMPRESSION_NONE, 8192, -1, false},
    {"tables-lz4", make_tables, read_tables, CLOSED, ODB_COMPRESSION_LZ4, 4096, 10, true},
    {"families", make_families, read_families, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"transactions", make_transactions, read_transactions, DIED, ODB_COMPRESSION_NONE, 1024, 10,
     false},
    {"large", make_large, read_large, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"records", make_records, read_records, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"graph", make_graph, read_graph, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"vectors", make_vectors, read_vectors, CLOSED, ODB_COMPRESSION_NONE, 1024, 10, false},
    {"memories", make_memories, read_memories, DIED, ODB_COMPRESSION_NONE, 1024, 10, false},
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static odb_options options_of(const struct scenario *s)
{
    odb_options o = options();

    o.compression = s->compression;
    o.block_size = s->block_size;
    o.filter_bits = s->filter_bits;
    return o;
}

/* On a disk of its own, which becomes the machine. */
static bool make_scenario(const struct scenario *s)
{
    odb_options o = options_of(s);
    struct os *left = NULL;
    odb_db *db;

    machine_use(NULL);
    chance = 0;
    if (!open_db(&o, &db))
        return false;
    if (!s->make(db))
        return false;
    if (s->how == DIED)
        left = sim_image(machine, SIM_M1, 0);
    DO(odb_close(db));
    if (left) {
        sim_free(machine);
        machine_use(left);
    }
    return true;
}

/* ---- a directory as one file ---- */

struct file {
    char name[64];
    struct buf bytes;
};

struct files {
    struct file file[64];
    size_t count;
};

static void files_release(struct files *f)
{
    for (size_t i = 0; i < f->count; i++)
        buf_release(&f->file[i].bytes);
    f->count = 0;
}

static bool add_name(void *arg, const char *name)
{
    static const char *const left_out[] = {"LOG", "LOG.old", "OPTIONS", "OPENDB_INFO", "LOCK"};
    struct files *f = arg;

    for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++)
        if (strcmp(name, left_out[i]) == 0)
            return true;
    if (f->count < sizeof f->file / sizeof f->file[0])
        (void)snprintf(f->file[f->count++].name, sizeof f->file[0].name, "%s", name);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

/* What is on the machine's disk. */
static bool files_take(struct files *f)
{
    struct os_dir *dir;

    memset(f, 0, sizeof *f);
    DO(os_dir_open(machine, DB, OS_DIR_READONLY, &dir));
    DO(os_dir_list(dir, add_name, f));
    qsort(f->file, f->count, sizeof f->file[0], by_name);
    for (size_t i = 0; i < f->count; i++) {
        struct buf *b = &f->file[i].bytes;
        struct os_file *of;
        uint64_t size;
        size_t got = 0;

        DO(os_open(dir, f->file[i].name, 0, &of));
        DO(os_size(of, &size));
        DO(buf_reserve(b, (size_t)size + 1));
        DO(os_read(of, 0, b->p, (size_t)size, &got));
        b->len = got;
        os_close(of);
    }
    os_dir_close(dir);
    return true;
}

/* The other way round, onto a new disk. */
static bool files_put(const struct files *f)
{
    struct os_dir *dir;

    machine_use(NULL);
    DO(os_dir_open(machine, DB, OS_DIR_CREATE, &dir));
    for (size_t i = 0; i < f->count; i++) {
        const struct file *file = &f->file[i];
        struct os_file *of;

        DO(os_open(dir, file->name, OS_WRITE | OS_CREATE, &of));
        DO(os_write(of, 0, file->bytes.p, file->bytes.len));
        DO(os_sync(of));
        os_close(of);
    }
    DO(os_dir_sync(dir));
    os_dir_close(dir);
    return true;
}

static void write_number(FILE *to, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        (void)fputc((int)(n >> 8 * i & 0xff), to);
}

static uint64_t read_number(FILE *from, int bytes)
{
    uint64_t n = 0;

    for (int i = 0; i < bytes; i++)
        n |= (uint64_t)(fgetc(from) & 0xff) << 8 * i;
    return n;
}

/* From `at` on: where the next piece begins and how long it is; 0: there is none. */
static size_t next_piece(const struct buf *b, size_t *at)
{
    size_t end, zeros = 0;

    while (*at < b->len && b->p[*at] == 0)
        ++*at;
    for (end = *at; end < b->len && zeros < 32; end++)
        zeros = b->p[end] ? 0 : zeros + 1;
    return end - zeros > *at ? end - zeros - *at : 0;
}

static bool files_write(const struct files *f, const char *path)
{
    FILE *to = fopen(path, "wb");

    if (!to) {
        complain(path, ODB_OK);
        return false;
    }
    (void)fputs("odbfiles", to);
    for (size_t i = 0; i < f->count; i++) {
        const struct file *file = &f->file[i];
        size_t at = 0, len;

        write_number(to, strlen(file->name), 1);
        (void)fputs(file->name, to);
        write_number(to, file->bytes.len, 8);
        for (; (len = next_piece(&file->bytes, &at)) > 0; at += len) {
            write_number(to, len, 4);
            write_number(to, at, 8);
            (void)fwrite(file->bytes.p + at, 1, len, to);
        }
        write_number(to, 0, 4);
    }
    write_number(to, 0, 1);
    return fclose(to) == 0;
}

static bool files_read(struct files *f, const char *path)
{
    FILE *from = fopen(path, "rb");
    char magic[9] = "";
    size_t name_len;

    memset(f, 0, sizeof *f);
    HOLDS(from != NULL);
    HOLDS(fread(magic, 1, 8, from) == 8 && strcmp(magic, "odbfiles") == 0);
    while ((name_len = (size_t)read_number(from, 1)) != 0) {
        struct file *file = &f->file[f->count++];
        uint64_t size, len;

        HOLDS(f->count < sizeof f->file / sizeof f->file[0] && name_len < sizeof file->name);
        HOLDS(fread(file->name, 1, name_len, from) == name_len);
        size = read_number(from, 8);
        HOLDS(size < 64 << 20);
        DO(buf_reserve(&file->bytes, (size_t)size + 1));
        memset(file->bytes.p, 0, (size_t)size);
        file->bytes.len = (size_t)size;
        while ((len = read_number(from, 4)) != 0) {
            uint64_t at = read_number(from, 8);

            HOLDS(at <= size && len <= size - at);
            HOLDS(fread(file->bytes.p + at, 1, (size_t)len, from) == len);
        }
    }
    (void)fclose(from);
    return true;
}

/* ---- what is done with them ---- */

static void path_of(char *out, size_t size, const char *dir, const char *name, const char *suffix)
{
    (void)snprintf(out, size, "%s/%s%s", dir, name, suffix);
}

static void make_one(const struct scenario *s, const char *dir, FILE *hashes)
{
    struct files f;
    char path[512];

    if (make_scenario(s) && files_take(&f)) {
        path_of(path, sizeof path, dir, s->name, ".files");
        (void)files_write(&f, path);
        for (size_t i = 0; i < f.count && !s->only_read; i++)
            (void)fprintf(hashes, "%-18s %-24s %8llu %016" PRIx64 "\n", s->name, f.file[i].name,
                          (unsigned long long)f.file[i].bytes.len,
                          hash64(f.file[i].bytes.p, f.file[i].bytes.len));
        files_release(&f);
    }
    sim_free(machine);
}

/* Made again, it is what was recorded, byte by byte. */
static bool compare_one(const struct scenario *s, const struct files *was)
{
    struct files now;
    bool same = true;

    if (s->only_read)
        return true;
    if (!make_scenario(s) || !files_take(&now))
        return false;
    for (size_t i = 0; i < now.count || i < was->count; i++) {
        const struct file *a = i < was->count ? &was->file[i] : NULL,
                          *b = i < now.count ? &now.file[i] : NULL;
        size_t at = 0;

        if (!a || !b || strcmp(a->name, b->name) != 0) {
            printf("FAILED: %s: %s was recorded, %s is made now\n", s->name,
                   a ? a->name : "nothing", b ? b->name : "nothing");
            same = false;
            break;
        }
        while (at < a->bytes.len && at < b->bytes.len && a->bytes.p[at] == b->bytes.p[at])
            at++;
        if (at == a->bytes.len && at == b->bytes.len)
            continue;
        printf("FAILED: %s: %s differs from byte %llu on (%llu bytes were recorded, %llu are made "
               "now)\n",
               s->name, a->name, (unsigned long long)at, (unsigned long long)a->bytes.len,
               (unsigned long long)b->bytes.len);
        same = false;
    }
    files_release(&now);
    sim_free(machine);
    failures += !same;
    return same;
}

/* Whoever made it: read it back, go on writing, merge, and open it again. */
static bool open_one(const struct scenario *s, const struct files *was)
{
    odb_options o = options_of(s), look = o;
    odb_db *db;

    if (!files_put(was))
        return false;
    look.is_readonly = true;
    if (!open_db(&look, &db))
        return false;
    HOLDS(odb_put(db, NULL, odb_s("x"), odb_s("y"), NULL) == ODB_READONLY);
    DO(odb_close(db));
    for (int time = 0; time < 2; time++) {
        if (!open_db(&o, &db))
            return false;
        DO(odb_verify(db, NULL, NULL));
        if (!s->read(db) || (time == 1 && !is_there(db, NULL, 9001)))
            return false;
        if (!put_range(db, NULL, 9000, 9010))
            return false;
        DO(odb_flush(db, NULL));
        DO(odb_compact(db, NULL, NULL, NULL, NULL));
        if (!s->read(db))
            return false;
        DO(odb_close(db));
    }
    sim_free(machine);
    return true;
}

int main(int argc, char **argv)
{
    bool makes = argc == 3 && strcmp(argv[1], "--make") == 0,
         checks = argc == 3 && strcmp(argv[1], "--check") == 0,
         opens = argc == 3 && strcmp(argv[1], "--open") == 0;
    unsigned same = 0, opened = 0;
    FILE *hashes = NULL;
    char path[512];

    if (!makes && !checks && !opens) {
        printf("usage: golden --make DIR | --check DIR | --open DIR\n");
        return 2;
    }
    if (makes) {
        path_of(path, sizeof path, argv[2], "hashes", "");
        hashes = fopen(path, "w");
        if (!hashes) {
            printf("cannot write %s\n", path);
            return 2;
        }
    }
    for (size_t i = 0; i < SCENARIOS; i++) {
        const struct scenario *s = &scenarios[i];
        struct files was;

        scenario_now = s->name;
        if (makes) {
            make_one(s, argv[2], hashes);
            continue;
        }
        path_of(path, sizeof path, argv[2], s->name, ".files");
        if (!files_read(&was, path))
            continue;
        if (checks)
            same += compare_one(s, &was) && !s->only_read;
        opened += open_one(s, &was);
        files_release(&was);
    }
    if (hashes)
        (void)fclose(hashes);
    printf("golden: %u databases, ", (unsigned)SCENARIOS);
    if (checks)
        printf("%u the same to the byte, ", same);
    if (!makes)
        printf("%u opened, read and written to, ", opened);
    printf("%u failures\n", failures);
    return failures ? 1 : 0;
}
