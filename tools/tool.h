/* tools/tool.h -- what the files of the odb command share. Like any user, they see <opendb.h> only.
 *
 *     odb.c          arguments, help, the table of subcommands
 *     cmd_key.c      put get delete exists scan
 *     cmd_lines.c    batch load dump
 *     cmd_look.c     cf stats tree
 *     cmd_upkeep.c   compact flush verify
 *     cmd_record.c   record ... meta ...
 *     cmd_graph.c    graph ...
 *     cmd_vector.c   vector ...
 *     json.c text.c progress.c
 */
#ifndef ODB_TOOL_H
#define ODB_TOOL_H

#include <opendb.h>
#include <stdio.h>

/* ---- exit codes: shown by odb --help, relied upon by scripts ---- */

enum tool_exit {
    EXIT_FINE = 0,
    EXIT_ABSENT = 1,  /* no such key, family or database */
    EXIT_USAGE = 2,   /* the command line makes no sense */
    EXIT_BUSY = 3,    /* somebody else has the database open */
    EXIT_CORRUPT = 4, /* damage was found */
    EXIT_OTHER = 5,   /* disk, memory, permission ... */
    EXIT_INPUT = 6,   /* a line of the input makes no sense */
};

/* Print "odb: what: text" for a failed call and give the exit code that fits. */
int tool_fail(odb_status st, const char *what);
/* Print "odb: ..." and a hint at --help; EXIT_USAGE. */
int tool_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- bytes that grow ---- */

struct bytes {
    char *p;
    size_t len;
    size_t cap;
};

/* Running out of memory ends the program: a tool has nothing better to do. */
void bytes_add(struct bytes *b, const void *data, size_t len);
void bytes_free(struct bytes *b);
static inline odb_slice bytes_slice(const struct bytes *b)
{
    return odb_bytes(b->p, b->len);
}

/* ---- the command line, sorted out ---- */

/* Options of odb record. */
struct tool_record {
    const char *order, *segment;
    bool insert_only, update_only;
};

#define TOOL_PROPS 32

/* Options of odb graph. */
struct tool_graph {
    const char *rels; /* --rel a,b,c */
    const char *weight, *time, *min_weight, *since, *until, *filter, *epsilon;
    const char *prop[TOOL_PROPS]; /* --prop name=value */
    int prop_count;
    uint64_t depth, nodes, edges, fanout;
    bool is_in, is_both, do_upsert, is_required, is_both_ways, is_dot, by_weight, heaviest, dry_run;
};

/* Options of odb vector. */
struct tool_vector {
    const char *metric, *form;
    uint64_t m, ef_construction, ef;
    bool is_diverse;
};

enum text_form { FORM_TEXT, FORM_HEX, FORM_BASE64 };

struct tool {
    const char *command;
    const char *dir;
    const char *arg[4]; /* behind the directory */
    int arg_count;
    struct tool_record record;
    struct tool_graph graph;
    struct tool_vector vector;

    const char *cf;      /* NULL: default (or all) */
    const char *backend; /* NULL: the LSM tree */
    uint64_t memory;
    odb_durability durability;
    bool is_readonly;
    bool is_json;
    enum text_form form;

    const char *from, *to, *prefix;
    bool is_reverse, keys_only, do_drop, do_create, do_check, do_stats, is_tsv, do_live, do_mend;
    bool do_namespaces;
    uint64_t limit;
    uint64_t batch;
    const char *zero;     /* the number that was given as 0, not left out: "--limit" */
    const char *input;    /* file of load and batch; NULL or "-": standard input */
    const char *ack_file; /* load: how much is acknowledged */

    odb_db *db;
    odb_cf *family; /* of --cf; NULL without it */
    bool is_utf8;   /* the terminal understands it */
};

/* ---- other engines: plugin.c ---- */

/* Open the database with another engine: the plug-in of that name is loaded. *out as odb_open gives it.
 * ODB_UNSUPPORTED when there is none. */
odb_status plugin_open(const char *backend, const char *dir, const odb_options *opt, odb_db **out);

/* ---- commands: each returns an exit code; the database is open ---- */

int cmd_put(struct tool *t);
int cmd_get(struct tool *t);
int cmd_delete(struct tool *t);
int cmd_exists(struct tool *t);
int cmd_scan(struct tool *t);
int cmd_batch(struct tool *t);
int cmd_load(struct tool *t);
int cmd_dump(struct tool *t);
int cmd_cf(struct tool *t);
int cmd_stats(struct tool *t);
int cmd_tree(struct tool *t);
int cmd_compact(struct tool *t);
int cmd_flush(struct tool *t);
int cmd_verify(struct tool *t);
int cmd_record_put(struct tool *t);
int cmd_record_get(struct tool *t);
int cmd_record_list(struct tool *t);
int cmd_record_query(struct tool *t);
int cmd_record_delete(struct tool *t);
int cmd_record_check(struct tool *t);
int cmd_record_index(struct tool *t);
int cmd_meta_put(struct tool *t);
int cmd_meta_get(struct tool *t);
int cmd_meta_list(struct tool *t);
int cmd_meta_delete(struct tool *t);
int cmd_graph_link(struct tool *t);
int cmd_graph_unlink(struct tool *t);
int cmd_graph_out(struct tool *t);
int cmd_graph_in(struct tool *t);
int cmd_graph_walk(struct tool *t);
int cmd_graph_path(struct tool *t);
int cmd_graph_degree(struct tool *t);
int cmd_graph_common(struct tool *t);
int cmd_graph_rank(struct tool *t);
int cmd_graph_histogram(struct tool *t);
int cmd_graph_prune(struct tool *t);
int cmd_graph_import(struct tool *t);
int cmd_graph_export(struct tool *t);
int cmd_vector_search(struct tool *t);
int cmd_vector_stats(struct tool *t);
int cmd_vector_verify(struct tool *t);
int cmd_vector_rebuild(struct tool *t);
int cmd_vector_bulk(struct tool *t);

/* ---- text.c ---- */

/* Turn what the user typed into bytes: text as it is, "0x..." or --hex digits, --base64. False: it is
 * malformed, and a message was printed. */
bool text_parse(const struct tool *t, const char *typed, struct bytes *out);
/* Show bytes in the form asked for; in the text form bytes that a terminal should not get are shown
 * as \xNN. */
void text_show(const struct tool *t, odb_slice s, struct bytes *out);
bool text_is_utf8(odb_slice s);
bool base64_decode(odb_slice text, struct bytes *out);
void base64_encode(odb_slice s, struct bytes *out);
/* "1.5 MiB" and "1,234,567" into one of a few static buffers that take turns. */
const char *show_bytes(uint64_t n);
const char *show_count(uint64_t n);
/* 12, 12k, 12M, 12G; false when malformed. */
bool parse_size(const char *text, uint64_t *out);

/* ---- json.c ---- */

/* One line of JSON Lines as this tool reads and writes it, see odb load --help. */
struct json_row {
    bool has_cf, has_key, has_value, is_delete;
    struct bytes cf, key, value;
};

/* Parse one object; strict. NULL: fine; else what is wrong, and *at says in which column. */
const char *json_parse_row(odb_slice line, struct json_row *out, size_t *at);
void json_row_free(struct json_row *r);
/* Append a string in quotes; bytes that are not UTF-8 must not come here. */
void json_add_string(struct bytes *out, odb_slice s);
/* Append `"name":"..."`, or `"name64":"..."` for bytes that are not UTF-8. */
void json_add_field(struct bytes *out, const char *name, odb_slice s);

/* ---- progress.c ---- */

/* A bar on standard error when that is a terminal and the work takes a while; silent otherwise. */
struct progress {
    const char *what;
    uint64_t started_ns, shown_ns;
    bool is_on, is_utf8, was_shown;
};

uint64_t now_ns(void);
void progress_begin(struct progress *p, const struct tool *t, const char *what);
/* `total` 0: not known, so no end is foretold. */
void progress_show(struct progress *p, uint64_t done, uint64_t total);
void progress_end(struct progress *p);
/* The same as an odb_progress; `arg` is a struct progress. */
bool progress_report(void *arg, const char *what, uint64_t done, uint64_t total);

#endif
