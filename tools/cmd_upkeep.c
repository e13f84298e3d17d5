/* tools/cmd_upkeep.c -- compact, flush, verify. */
#include "tool.h"

int cmd_compact(struct tool *t)
{
    struct bytes from = {NULL, 0, 0}, to = {NULL, 0, 0}, prefix = {NULL, 0, 0};
    odb_range range = {{NULL, 0}, {NULL, 0}, {NULL, 0}, false, false};
    struct progress bar;
    int code = EXIT_USAGE;
    odb_status st;

    if ((!t->from || text_parse(t, t->from, &from)) && (!t->to || text_parse(t, t->to, &to)) &&
        (!t->prefix || text_parse(t, t->prefix, &prefix))) {
        range.lower = bytes_slice(&from);
        range.upper = t->to ? odb_bytes(to.p ? to.p : "", to.len) : range.upper;
        range.prefix = bytes_slice(&prefix);
        progress_begin(&bar, t, "compact");
        st = odb_compact(t->db, t->family, &range, progress_report, &bar);
        progress_end(&bar);
        code = st == ODB_OK ? EXIT_FINE : tool_fail(st, "compact");
    }
    bytes_free(&from);
    bytes_free(&to);
    bytes_free(&prefix);
    return code;
}

int cmd_flush(struct tool *t)
{
    odb_status st = odb_flush(t->db, t->family);

    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "flush");
}

/* ---- verify --namespaces: what the models of data say about what they share ---- */

#if ODB_HAS_RECORDS
struct fault_list {
    const struct tool *t;
    uint64_t shown;
};

#define FAULTS_SHOWN 20

static void show_fault(struct fault_list *l, const char *where, odb_slice id, const char *fault)
{
    struct bytes text = {NULL, 0, 0};

    if (l->shown++ >= FAULTS_SHOWN)
        return;
    text_show(l->t, id, &text);
    fprintf(stderr, "odb: %s %.*s: %s\n", where, (int)text.len, text.p ? text.p : "", fault);
    if (l->shown == FAULTS_SHOWN)
        fputs("odb: further ones are only counted\n", stderr);
    bytes_free(&text);
}

static void record_fault(void *arg, odb_slice id, const char *fault)
{
    show_fault(arg, "record", id, fault);
}

static int verify_records(struct tool *t)
{
    odb_records_report r = {.size = sizeof r};
    struct fault_list faults = {t, 0};
    odb_cf *cf = NULL;
    odb_status st;

    if (odb_cf_open(t->db, ODB_FAMILY_RECORD_INDEX, &cf) == ODB_NO_FAMILY)
        return EXIT_FINE; /* records were never used */
    st = odb_records_check(odb_now(t->db), &r, record_fault, &faults);
    if (st != ODB_OK)
        return tool_fail(st, "verify the records");
    printf(t->is_json ? "{\"records\":%llu,\"damaged\":%llu,\"missing_rows\":%llu,"
                        "\"stray_rows\":%llu}\n"
                      : "records: %llu sound, %llu damaged; of their index %llu rows missing, %llu "
                        "stray\n",
           (unsigned long long)r.records, (unsigned long long)r.damaged,
           (unsigned long long)r.missing_rows, (unsigned long long)r.stray_rows);
    return r.damaged || r.missing_rows || r.stray_rows ? EXIT_CORRUPT : EXIT_FINE;
}
#endif

#if ODB_HAS_GRAPH
static bool graph_fault(void *arg, int problem, const char *family, odb_slice key)
{
    static const char *const text[] = {"?", "is no edge's key", "has a value that is no edge's",
                                       "is missing in the other direction",
                                       "has another value in the other direction"};

    show_fault(arg, family, key, problem > 0 && problem < 5 ? text[problem] : text[0]);
    return true;
}

static int verify_graph(struct tool *t)
{
    struct fault_list faults = {t, 0};
    odb_graph_check check = {.size = sizeof check, .problem = graph_fault, .arg = &faults};
    odb_status st;

    check.ends = true;
    st = odb_graph_verify(odb_now(t->db), &check);
    if (st != ODB_OK && (st != ODB_CORRUPT || !check.problems))
        return tool_fail(st, "verify the graph");
    printf(t->is_json ? "{\"edges\":%llu,\"problems\":%llu,\"without_record\":%llu}\n"
                      : "graph: %llu edges, %llu problems; %llu with an end that has no record\n",
           (unsigned long long)check.edges, (unsigned long long)check.problems,
           (unsigned long long)check.dangling);
    return check.problems ? EXIT_CORRUPT : EXIT_FINE;
}
#endif

#if ODB_HAS_VECTOR
static int verify_vectors(struct tool *t)
{
    odb_vec_report r = {.size = sizeof r};
    odb_status st = odb_vec_verify(t->db, 1, &r); /* recall is not the question here */
    uint64_t problems = r.bad_rows + r.bad_nodes + r.missing + r.orphans + r.doubles;

    if (st != ODB_OK && (st != ODB_CORRUPT || problems == 0))
        return tool_fail(st, "verify the vectors");
    printf(
        t->is_json ? "{\"vectors\":%llu,\"problems\":%llu}\n" : "vectors: %llu, %llu problems%s\n",
        (unsigned long long)r.rows, (unsigned long long)problems,
        problems
            ? "; 'odb vector verify' names their kinds, 'odb vector rebuild' makes the graph anew"
            : "");
    return problems ? EXIT_CORRUPT : EXIT_FINE;
}
#endif

#if ODB_HAS_MEMORY
static void memory_fault(void *arg, odb_slice id, const char *fault)
{
    show_fault(arg, "memory", id, fault);
}

static int verify_memories(struct tool *t)
{
    struct fault_list faults = {t, 0};
    odb_memory_report r = {.size = sizeof r};
    odb_status st = odb_memories_check(odb_now(t->db), &r, memory_fault, &faults);

    if (st != ODB_OK)
        return tool_fail(st, "verify what records, vectors and documents share");
    printf(t->is_json ? "{\"lost_vectors\":%llu,\"unsaid_vectors\":%llu,\"lost_chunks\":%llu,"
                        "\"bare_vectors\":%llu}\n"
                      : "memories: %llu vectors lost, %llu unsaid, %llu chunks lost; %llu vectors "
                        "without a record\n",
           (unsigned long long)r.lost_vectors, (unsigned long long)r.unsaid_vectors,
           (unsigned long long)r.lost_chunks, (unsigned long long)r.bare_vectors);
    return r.lost_vectors || r.unsaid_vectors || r.lost_chunks ? EXIT_CORRUPT : EXIT_FINE;
}
#endif

static int verify_namespaces(struct tool *t)
{
    int code = EXIT_FINE, found = EXIT_FINE;

    (void)t, (void)code;
#if ODB_HAS_RECORDS
    code = verify_records(t);
    found = code > found ? code : found;
#endif
#if ODB_HAS_GRAPH
    code = verify_graph(t);
    found = code > found ? code : found;
#endif
#if ODB_HAS_VECTOR
    code = verify_vectors(t);
    found = code > found ? code : found;
#endif
#if ODB_HAS_MEMORY
    code = verify_memories(t);
    found = code > found ? code : found;
#endif
    return found;
}

int cmd_verify(struct tool *t)
{
    odb_stats_t s = {.size = sizeof s};
    struct progress bar;
    uint64_t bytes = 0, files = 0, entries = 0;
    odb_status st;

    progress_begin(&bar, t, "verify");
    st = odb_verify(t->db, progress_report, &bar);
    progress_end(&bar);
    if (st == ODB_OK)
        st = odb_stats(t->db, NULL, &s);
    if (st != ODB_OK)
        return tool_fail(st, "verify");
    for (int i = 0; i < ODB_LEVELS; i++) {
        bytes += s.level[i].bytes;
        files += s.level[i].files;
        entries += s.level[i].entries;
    }
    if (t->is_json)
        printf("{\"sound\":true,\"tables\":%llu,\"bytes\":%llu,\"entries\":%llu}\n",
               (unsigned long long)files, (unsigned long long)bytes, (unsigned long long)entries);
    else
        printf("sound: %s entries in %s tables, %s, and the log\n", show_count(entries),
               show_count(files), show_bytes(bytes));
    return t->do_namespaces ? verify_namespaces(t) : EXIT_FINE;
}
