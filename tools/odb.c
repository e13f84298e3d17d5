/* tools/odb.c -- the odb command: arguments, help, exit codes, and the table of subcommands.
 *
 *     odb COMMAND [OPTIONS] DIR [ARGUMENTS]
 *
 * A command may be two words (odb record put). Options may stand anywhere behind it; "--" ends them, so that a key may begin with a dash.
 * Commands that only look open the database read-only and change nothing.
 */
#include "tool.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>

/* ---- the table ---- */

enum tool_access { ACCESS_LOOK, ACCESS_CHANGE, ACCESS_CREATE };

struct command {
    const char *name;
    int (*run)(struct tool *t);
    enum tool_access access;
    int min_args, max_args; /* behind the directory */
    const char *usage;
    const char *summary;
    const char *help;
};

static const struct command commands[] = {
    {"put", cmd_put, ACCESS_CREATE, 2, 2, "DIR KEY VALUE", "set a key",
     "Sets KEY to VALUE, making the database when it is not there. VALUE '-' reads the value from\n"
     "standard input, byte for byte.\n\n"
     "  odb put books isbn/0201896834 Knuth\n"
     "  odb put books cover --cf records - <cover.jpg\n"
     "  odb put books 0x00ff 0xcafe              keys and values in hexadecimal\n"
     "  odb put books --durability full k v      returns when the disk has it\n"},
    {"get", cmd_get, ACCESS_LOOK, 1, 1, "DIR KEY", "print the value of a key",
     "Prints the value as it is, with a line end only on a terminal. Exit code 1: no such key.\n\n"
     "  odb get books isbn/0201896834\n"
     "  odb get books cover --cf records >cover.jpg\n"
     "  odb get books k --json                   {\"key\":\"k\",\"value\":\"v\"}\n"},
    {"delete", cmd_delete, ACCESS_CHANGE, 1, 1, "DIR KEY", "make a key absent",
     "Deleting what is not there is no error.\n\n"
     "  odb delete books isbn/0201896834\n"
     "  odb delete books -- --odd-key            a key that begins with a dash\n"},
    {"exists", cmd_exists, ACCESS_LOOK, 1, 1, "DIR KEY", "exit code 0: there, 1: not",
     "Prints nothing.\n\n"
     "  if odb exists books isbn/0201896834; then echo have it; fi\n"},
    {"scan", cmd_scan, ACCESS_LOOK, 0, 0,
     "DIR [--prefix P] [--from K] [--to K] [--reverse] [--limit N]",
     "print keys and values in order",
     "One line for each key: key, tabulator, value; bytes that are not text are shown as \\xNN.\n\n"
     "  --prefix P    keys that begin with P      --from K   keys from K on\n"
     "  --to K        keys below K                --reverse  from the last to the first\n"
     "  --limit N     stop after N                --keys     keys only\n\n"
     "  odb scan books --prefix isbn/ --limit 10\n"
     "  odb scan books --reverse --limit 1       the last key\n"
     "  odb scan books --json | jq .value        one JSON object a line\n"},
    {"batch", cmd_batch, ACCESS_CREATE, 0, 1, "DIR [FILE]", "apply JSON lines as one atomic write",
     "Reads all of FILE (or standard input) and applies it as one: after a crash either "
     "everything\n"
     "is there or nothing.\n\n"
     "  odb batch books <<END\n"
     "  {\"cf\":\"graph_forward\",\"key\":\"ann>bob\",\"value\":\"knows\"}\n"
     "  {\"cf\":\"graph_backward\",\"key\":\"bob<ann\",\"value\":\"knows\"}\n"
     "  {\"key\":\"draft\",\"delete\":true}\n"
     "  END\n"},
    {"load", cmd_load, ACCESS_CREATE, 0, 1, "DIR [FILE] [--tsv] [--batch N] [--ack-file F]",
     "write many keys from a file",
     "Reads JSON lines as odb dump writes them: "
     "{\"cf\":\"records\",\"key\":\"a\",\"value\":\"b\"}. Without\n"
     "\"cf\" a row goes to --cf, or to default; bytes that are not UTF-8 are given as base64 "
     "under\n"
     "\"key64\" and \"value64\"; \"delete\":true in place of a value deletes.\n\n"
     "  --tsv         lines are key, tabulator, value\n"
     "  --batch N     commit every N rows together (1000)\n"
     "  --ack-file F  after each commit write to F how many rows are acknowledged\n"
     "  --limit N     stop after N rows\n"
     "  --check       write nothing: compare the rows with the database; exit code 4 if any "
     "differs\n"
     "  --stats       print statistics at the end, after background work has settled\n\n"
     "  odb load books books.jsonl\n"
     "  odb dump old | odb load new              copy a database\n"
     "  odb load words --tsv <words.tsv --memory 64M\n"},
    {"dump", cmd_dump, ACCESS_LOOK, 0, 0, "DIR [--cf NAME] [--prefix P]",
     "write all keys as JSON lines",
     "All families, in order of creation, or the one of --cf. odb load reads it back.\n\n"
     "  odb dump books >books.jsonl\n"
     "  odb dump books --cf metadata\n"},
    {"cf", cmd_cf, ACCESS_LOOK, 0, 1, "DIR [NAME --create | NAME --drop]",
     "list, make or drop column families",
     "Without NAME lists the families.\n\n"
     "  odb cf books\n"
     "  odb cf books sessions --create\n"
     "  odb cf books sessions --drop             and all its keys, for good\n"},
    {"stats", cmd_stats, ACCESS_LOOK, 0, 0, "DIR [--live]", "print figures",
     "Counters begin when a database is opened, so most are about this command itself; sizes and\n"
     "levels are those of the database. --live reads all keys to tell how much of the disk space "
     "is\n"
     "alive.\n\n"
     "  odb stats books --live\n"
     "  odb stats books --json\n"},
    {"tree", cmd_tree, ACCESS_LOOK, 0, 0, "DIR [--cf NAME]", "draw the levels and their tables",
     "Each row is a level: where its tables lie in the order of keys, how many, how large. With\n"
     "--json one object for each table.\n\n"
     "  odb tree books\n"},
    {"compact", cmd_compact, ACCESS_CHANGE, 0, 0, "DIR [--cf NAME] [--from K] [--to K]",
     "merge tables, drop what is dead",
     "Merges everything, or the keys asked for, down to the last level. Never needed for the\n"
     "database to work; it gives back space at once, and makes reading a little faster.\n\n"
     "  odb compact books\n"
     "  odb compact books --cf records --prefix user/\n"},
    {"flush", cmd_flush, ACCESS_CHANGE, 0, 0, "DIR [--cf NAME]",
     "write what is in the log to tables", "  odb flush books\n"},
#if ODB_HAS_GRAPH
    {"graph link", cmd_graph_link, ACCESS_CREATE, 3, 3, "DIR FROM RELATION TO", "make an edge",
     "  --weight W    a number (1)               --time T      microseconds since 1970 (now)\n"
     "  --prop N=V    a property; repeat for more\n"
     "  --upsert      replace weight, time and properties of an edge that is there (it is kept)\n"
     "  --both-ways   and the same edge back     --require     both ends must have records\n\n"
     "  odb graph link net ann knows bob --weight 0.5 --prop since=1999 --both-ways\n"},
    {"graph unlink", cmd_graph_unlink, ACCESS_CHANGE, 1, 3, "DIR FROM RELATION TO | DIR NODE",
     "remove an edge, or those of a node",
     "Of a node the outgoing edges, with --in those that end there, with --both all.\n\n"
     "  odb graph unlink net ann knows bob\n"
     "  odb graph unlink net ann --both --rel knows,likes\n"},
    {"graph out", cmd_graph_out, ACCESS_LOOK, 1, 1, "DIR NODE", "edges that begin at a node",
     "Sorted by relation and then by the other node. Which edges, here and in the commands "
     "below:\n\n"
     "  --rel A,B,C   of these relations         --min-weight W  at least so heavy\n"
     "  --since T     made at T or later         --until T       made before T (microseconds)\n"
     "  --in, --both  in this direction          --limit N       at most so many\n\n"
     "  odb graph out net ann --rel knows --json\n"},
    {"graph in", cmd_graph_in, ACCESS_LOOK, 1, 1, "DIR NODE", "edges that end at a node",
     "As odb graph out.\n\n  odb graph in net bob\n"},
    {"graph walk", cmd_graph_walk, ACCESS_LOOK, 1, 4, "DIR NODE...", "what can be reached, and how",
     "  --depth N     at most so many steps      --nodes N     at most so many nodes\n"
     "  --edges N     read at most so many       --fanout N    follow so many from each node\n"
     "  --heaviest    of more edges than fanout the heaviest\n"
     "  --filter EXPR only through nodes whose records match (see odb record query)\n"
     "  --dot         a drawing for Graphviz; else a line a node\n\n"
     "  odb graph walk net ann --depth 3 --both\n"
     "  odb graph walk net ann --depth 2 --dot | dot -Tsvg >ann.svg\n"},
    {"graph path", cmd_graph_path, ACCESS_LOOK, 2, 2, "DIR FROM TO", "a shortest way",
     "The fewest edges, or with --by-weight the least sum of 1/weight. Limits as in odb graph "
     "walk.\n"
     "Exit code 1: there is no way.\n\n"
     "  odb graph path net ann zoe --rel knows --both\n"},
    {"graph degree", cmd_graph_degree, ACCESS_LOOK, 1, 1, "DIR NODE", "count edges",
     "  odb graph degree net ann --in\n"},
    {"graph common", cmd_graph_common, ACCESS_LOOK, 2, 2, "DIR A B", "neighbours of both nodes",
     "  odb graph common net ann bob --both\n"},
    {"graph rank", cmd_graph_rank, ACCESS_LOOK, 1, 4, "DIR NODE...", "what is near, by PageRank",
     "Where a walker is found who starts at one of the nodes and stops at each step with chance "
     "0.15.\n"
     "--by-weight: heavy edges are taken more often; --epsilon E: exactness (1e-6); --limit N.\n\n"
     "  odb graph rank net ann --both --limit 10\n"},
    {"graph histogram", cmd_graph_histogram, ACCESS_LOOK, 0, 1, "DIR [NODE]",
     "count edges by relation", "  odb graph histogram net\n  odb graph histogram net ann --in\n"},
    {"graph prune", cmd_graph_prune, ACCESS_CHANGE, 0, 0, "DIR", "remove edges without records",
     "Edges of which an end has no record; --dry-run only counts, --prefix P looks at edges from "
     "nodes\n"
     "that begin with P only.\n\n"
     "  odb graph prune net --dry-run\n"},
    {"graph import", cmd_graph_import, ACCESS_CREATE, 0, 1, "DIR [FILE]",
     "make edges from JSON lines",
     "Weight, time and props may be missing; bytes that are not UTF-8 come as from64, rel64, "
     "to64.\n"
     "--batch N commits every N edges together (1000); --upsert, --both-ways, --require as in "
     "link.\n\n"
     "  odb graph import net <<END\n"
     "  "
     "{\"from\":\"ann\",\"rel\":\"knows\",\"to\":\"bob\",\"weight\":0.5,\"props\":{\"since\":1999}}"
     "\n"
     "  END\n"},
    {"graph export", cmd_graph_export, ACCESS_LOOK, 0, 0, "DIR", "all edges as JSON lines",
     "  odb graph export net --prefix user/ >edges.jsonl\n"},
#endif
    {"verify", cmd_verify, ACCESS_LOOK, 0, 0, "DIR [--namespaces]", "read and check every byte",
     "Checks log, manifest and all tables: checksums, order, counts. Changes nothing. Exit code 4\n"
     "and the file and offset when something is damaged.\n\n"
     "  --namespaces  and whether records, index, edges and vectors agree with each other\n\n"
     "  odb verify books && echo sound\n"
     "  odb verify books --namespaces --json\n"},
#if ODB_HAS_RECORDS
    {"record put", cmd_record_put, ACCESS_CREATE, 0, 1,
     "DIR [FILE] [--insert-only | --update-only] [--batch N]",
     "store records, one JSON object a line",
     "Reads FILE or standard input; a record that is there already is replaced. All but \"id\" may "
     "be\n"
     "left out; records/odb_record_json.h tells every member.\n\n"
     "  --insert-only  an id that is taken stops the command    --update-only  a free one does\n"
     "  --batch N      commit every N records together (1000)\n\n"
     "  echo '{\"id\":\"n1\",\"content\":\"short "
     "answers\",\"importance\":0.8,\"props\":{\"lang\":\"en\"}}' |\n"
     "      odb record put notes\n"
     "  odb record list old | odb record put new\n"},
    {"record get", cmd_record_get, ACCESS_LOOK, 1, 4, "DIR ID...", "print records",
     "  odb record get notes n1\n"},
    {"record list", cmd_record_list, ACCESS_LOOK, 0, 0,
     "DIR [--prefix P] [--segment C] [--order O] [--reverse] [--limit N] [--keys]",
     "print records in order",
     "  --prefix P    ids that begin with P         --segment C  and end there or go on with C\n"
     "  --from, --to  ids from ... on, below ...    --reverse    last first\n"
     "  --order O     id, time, importance, or prop:NAME for an indexed property\n"
     "  --limit N     stop after N                  --keys       ids only\n\n"
     "  odb record list notes --order time --reverse --limit 10     the newest ten\n"
     "  odb record list notes --prefix user_1 --segment /           user_1, user_1/a; not "
     "user_10\n"},
    {"record query", cmd_record_query, ACCESS_LOOK, 1, 1, "DIR FILTER [options of record list]",
     "print records that a filter accepts",
     "records/odb_filter.h tells the language. In any order, unless --order is given.\n\n"
     "  odb record query notes 'importance >= 0.8 && ts > now-1h && lang in (\"en\",\"de\")'\n"
     "  odb record query notes 'content *= \"short\" && has(lang)' --order time --reverse\n"},
    {"record delete", cmd_record_delete, ACCESS_CHANGE, 1, 4, "DIR ID...", "delete records",
     "Deleting what is not there is no error.\n\n  odb record delete notes n1\n"},
    {"record index", cmd_record_index, ACCESS_CHANGE, 1, 4, "DIR PROPERTY...",
     "index records by properties",
     "Once and for all; time and importance are indexed anyway.\n\n"
     "  odb record index notes lang && odb record list notes --order prop:lang\n"},
    {"record check", cmd_record_check, ACCESS_LOOK, 0, 0, "DIR [--mend]",
     "compare records with their index",
     "Exit code 4 when something does not agree; --mend writes missing rows and removes stray "
     "ones.\n\n"
     "  odb record check notes\n"},
    {"meta put", cmd_meta_put, ACCESS_CREATE, 2, 2, "DIR NAME JSON", "store a metadata document",
     "JSON '-' reads it from standard input.\n\n"
     "  odb meta put notes user.agent '{\"name\":\"Ann\",\"rounds\":3}'\n"},
    {"meta get", cmd_meta_get, ACCESS_LOOK, 1, 1, "DIR NAME", "print a metadata document",
     "  odb meta get notes user.agent\n"},
    {"meta list", cmd_meta_list, ACCESS_LOOK, 0, 0, "DIR [--prefix P]",
     "print all metadata documents", "  odb meta list notes --prefix user.\n"},
    {"meta delete", cmd_meta_delete, ACCESS_CHANGE, 1, 1, "DIR NAME", "delete a metadata document",
     "  odb meta delete notes user.agent\n"},
#endif
#if ODB_HAS_VECTOR
    {"vector search", cmd_vector_search, ACCESS_LOOK, 1, 2,
     "DIR ID|'[X,Y,...]' [FILTER] [--limit K] [--prefix P]", "print the nearest vectors",
     "Nearest to the vector stored under ID, or to the numbers given; distance, tabulator, id. "
     "FILTER\n"
     "is a condition on records, as of odb record query.\n\n"
     "  --limit K   so many (10)             --prefix P  ids that begin with P\n"
     "  --check     look through all         --stats     tell how it was found\n"
     "  --ef N      candidates to look at    --diverse   different from each other, too\n\n"
     "  odb vector search notes n1 'importance >= 0.5' --limit 5\n"},
    {"vector stats", cmd_vector_stats, ACCESS_LOOK, 0, 0, "DIR", "print figures of the vectors",
     "  odb vector stats notes --json\n"},
    {"vector verify", cmd_vector_verify, ACCESS_LOOK, 0, 0, "DIR [--limit N] [--ef N]",
     "compare vectors and graph, measure recall",
     "Checks that every vector has its node and every node its vector, that all can be reached, "
     "and\n"
     "how many of the ten nearest a search finds, from N samples (100), among as many candidates "
     "as "
     "--ef\n"
     "says. Exit code 4 when they disagree.\n\n"
     "  odb vector verify notes\n"
     "  odb vector verify notes --limit 300 --ef 200     would more candidates find more?\n"},
    {"vector rebuild", cmd_vector_rebuild, ACCESS_CHANGE, 0, 0,
     "DIR [--form F] [--m N] [--ef-construction N]", "build the graph anew",
     "  --form F               what is searched in: f32, f16, i8, auto\n"
     "  --m N                  links of a node, 4 to 64\n"
     "  --ef-construction N    candidates looked at for each node\n\n"
     "  odb vector rebuild notes\n"
     "  odb vector rebuild notes --form i8 --m 32 --ef-construction 400\n"},
    {"vector bulk", cmd_vector_bulk, ACCESS_CREATE, 0, 1, "DIR [FILE] [--metric M]",
     "load many vectors",
     "Lines are an id, a tabulator, and numbers between blanks or commas. The options of rebuild,\n"
     "and the metric (l2, cosine, dot; l2), say how the first vectors of a database are kept.\n\n"
     "  odb vector bulk notes vectors.tsv\n"
     "  odb vector bulk notes vectors.tsv --metric cosine --form i8\n"},
#endif
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static const char general_options[] =
    "Options of every command\n"
    "  --cf NAME           the column family (default: default; all where that makes sense)\n"
    "  --hex, --base64     keys and values are typed and shown so; 0x... is always hexadecimal\n"
    "  --json              JSON lines instead of text\n"
    "  --backend NAME      another engine below the same commands: rocksdb, lmdb (plug-ins)\n"
    "  --memory SIZE       memory budget, like 64M or 1G\n"
    "  --durability LEVEL  none, os (survives a crash of the process) or full (a loss of power)\n"
    "  --read-only         change nothing; commands that write are refused\n"
    "  -h, --help          this, or the help of a command\n";

static const char exit_codes[] =
    "Exit codes\n"
    "  0  done                       4  damage was found\n"
    "  1  no such key or database    5  disk, memory, permission, ...\n"
    "  2  wrong usage                6  a line of input makes no sense\n"
    "  3  open in another process\n";

static int show_help(const struct command *c)
{
    if (c) {
        printf("odb %s -- %s\n\nUsage: odb %s %s\n\n%s\n%s", c->name, c->summary, c->name, c->usage,
               c->help, general_options);
        return EXIT_FINE;
    }
    printf("odb %s -- look into and change OpenDB databases\n\n"
           "Usage: odb COMMAND [OPTIONS] DIR [ARGUMENTS]\n\nCommands\n",
           odb_version());
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-15s %s\n", commands[i].name, commands[i].summary);
    printf("  version         print the release\n\n%s\n%s\nA first walk\n"
           "  odb put demo.db hello world && odb get demo.db hello && odb tree demo.db\n"
           "  odb COMMAND --help has examples for each command\n",
           general_options, exit_codes);
    return EXIT_FINE;
}

/* The commands of a group ("graph"), as `odb graph --help` tells them. False: there is no such group. */
static bool show_group(const char *group)
{
    size_t len = strlen(group);
    bool is_any = false;

    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strncmp(commands[i].name, group, len) != 0 || commands[i].name[len] != ' ')
            continue;
        if (!is_any)
            printf("Usage: odb %s COMMAND [OPTIONS] DIR [ARGUMENTS]\n\nCommands\n", group);
        printf("  %-17s %s\n", commands[i].name, commands[i].summary);
        is_any = true;
    }
    if (is_any)
        printf("\n%s\n  odb %s COMMAND --help has examples for each\n", general_options, group);
    return is_any;
}

/* ---- failures ---- */

int tool_usage(const char *fmt, ...)
{
    va_list args;

    fputs("odb: ", stderr);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    fputs("; see odb --help\n", stderr);
    return EXIT_USAGE;
}

int tool_fail(odb_status st, const char *what)
{
    const char *text = odb_error_text();

    fprintf(stderr, "odb: %s: %s\n", what, odb_status_text(st));
    if (st != ODB_ABSENT && *text)
        fprintf(stderr, "     %s\n", text);
    if (st == ODB_BUSY)
        fputs("     wait for the other program, or stop it, and try again\n", stderr);
    if (st == ODB_NOSPACE)
        fputs("     free some space and run the command again; nothing is damaged\n", stderr);
    switch (st) {
    case ODB_ABSENT:
    case ODB_NO_FAMILY: return EXIT_ABSENT;
    case ODB_BUSY: return EXIT_BUSY;
    case ODB_CORRUPT:
    case ODB_VERSION: return EXIT_CORRUPT;
    case ODB_INVALID:
    case ODB_TOO_LARGE: return EXIT_USAGE;
    default: return EXIT_OTHER;
    }
}

/* ---- arguments ---- */

static bool parse_durability(const char *text, odb_durability *out)
{
    static const char *const name[] = {"none", "os", "full"};

    for (int i = 0; i < 3; i++)
        if (strcmp(text, name[i]) == 0) {
            *out = (odb_durability)(ODB_DURABLE_NONE + i);
            return true;
        }
    return false;
}

struct switch_option {
    const char *name;
    bool *set;
};

struct text_option {
    const char *name;
    const char **set;
};

struct size_option {
    const char *name;
    uint64_t *set;
};

/* One option at argv[*at]. -1: not an option; else an exit code. */
static int take_option(struct tool *t, int argc, char **argv, int *at)
{
    const struct switch_option switches[] = {
        {"--json", &t->is_json},
        {"--read-only", &t->is_readonly},
        {"--reverse", &t->is_reverse},
        {"--keys", &t->keys_only},
        {"--keys-only", &t->keys_only},
        {"--create", &t->do_create},
        {"--drop", &t->do_drop},
        {"--check", &t->do_check},
        {"--stats", &t->do_stats},
        {"--tsv", &t->is_tsv},
        {"--live", &t->do_live},
        {"--mend", &t->do_mend},
        {"--insert-only", &t->record.insert_only},
        {"--update-only", &t->record.update_only},
        {"--namespaces", &t->do_namespaces},
        {"--in", &t->graph.is_in},
        {"--both", &t->graph.is_both},
        {"--dot", &t->graph.is_dot},
        {"--upsert", &t->graph.do_upsert},
        {"--require", &t->graph.is_required},
        {"--both-ways", &t->graph.is_both_ways},
        {"--by-weight", &t->graph.by_weight},
        {"--heaviest", &t->graph.heaviest},
        {"--dry-run", &t->graph.dry_run},
        {"--diverse", &t->vector.is_diverse},
    };
    const struct text_option texts[] = {
        {"--cf", &t->cf},
        {"--backend", &t->backend},
        {"--from", &t->from},
        {"--to", &t->to},
        {"--prefix", &t->prefix},
        {"--ack-file", &t->ack_file},
        {"--order", &t->record.order},
        {"--segment", &t->record.segment},
        {"--rel", &t->graph.rels},
        {"--weight", &t->graph.weight},
        {"--time", &t->graph.time},
        {"--min-weight", &t->graph.min_weight},
        {"--since", &t->graph.since},
        {"--until", &t->graph.until},
        {"--filter", &t->graph.filter},
        {"--epsilon", &t->graph.epsilon},
        {"--metric", &t->vector.metric},
        {"--form", &t->vector.form},
    };
    const struct size_option sizes[] = {
        {"--memory", &t->memory},       {"--limit", &t->limit},
        {"--batch", &t->batch},         {"--depth", &t->graph.depth},
        {"--nodes", &t->graph.nodes},   {"--edges", &t->graph.edges},
        {"--fanout", &t->graph.fanout}, {"--m", &t->vector.m},
        {"--ef", &t->vector.ef},        {"--ef-construction", &t->vector.ef_construction},
    };
    const char *name = argv[*at], *value = *at + 1 < argc ? argv[*at + 1] : NULL;

    if (name[0] != '-' || name[1] == 0)
        return -1;
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
        if (strcmp(name, switches[i].name) == 0) {
            *switches[i].set = true;
            return EXIT_FINE;
        }
    if (strcmp(name, "--hex") == 0 || strcmp(name, "--base64") == 0) {
        t->form = name[2] == 'h' ? FORM_HEX : FORM_BASE64;
        return EXIT_FINE;
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(name, texts[i].name) == 0) {
            if (!value)
                return tool_usage("%s needs a value", name);
            *texts[i].set = value;
            ++*at;
            return EXIT_FINE;
        }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strcmp(name, sizes[i].name) == 0) {
            if (!value || !parse_size(value, sizes[i].set))
                return tool_usage("%s needs a number like 1000, 64k, 64M or 1G", name);
            if (*sizes[i].set == 0)
                t->zero = sizes[i].name;
            ++*at;
            return EXIT_FINE;
        }
    if (strcmp(name, "--prop") == 0) {
        if (!value || t->graph.prop_count == TOOL_PROPS)
            return tool_usage("--prop needs name=value, at most %d times", TOOL_PROPS);
        t->graph.prop[t->graph.prop_count++] = value;
        ++*at;
        return EXIT_FINE;
    }
    if (strncmp(name, "--backend=", 10) == 0) {
        t->backend = name + 10;
        return EXIT_FINE;
    }
    if (strcmp(name, "--durability") == 0) {
        if (!value || !parse_durability(value, &t->durability))
            return tool_usage("--durability is none, os or full");
        ++*at;
        return EXIT_FINE;
    }
    return tool_usage("unknown option %s", name);
}

/* Everything from argv[from] on, behind the command; *wants_help when it is asked for. */
static int take_arguments(struct tool *t, int argc, char **argv, int from, bool *wants_help)
{
    bool options_ended = false;

    for (int i = from; i < argc; i++) {
        int code = -1;

        if (!options_ended && strcmp(argv[i], "--") == 0) {
            options_ended = true;
            continue;
        }
        if (!options_ended && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            *wants_help = true;
            return EXIT_FINE;
        }
        if (!options_ended)
            code = take_option(t, argc, argv, &i);
        if (code > 0)
            return code;
        if (code == 0)
            continue;
        if (!t->dir)
            t->dir = argv[i];
        else if (t->arg_count < 4)
            t->arg[t->arg_count++] = argv[i];
        else
            return tool_usage("too many arguments");
    }
    return EXIT_FINE;
}

/* The command that word[0], or word[0] and word[1], name; *used is how many words that were. */
static const struct command *find_command(int count, char **word, int *used)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *name = commands[i].name, *space = strchr(name, ' ');
        size_t len = space ? (size_t)(space - name) : strlen(name);

        if (count < 1 || strlen(word[0]) != len || memcmp(word[0], name, len) != 0)
            continue;
        *used = space ? 2 : 1;
        if (!space || (count > 1 && strcmp(word[1], space + 1) == 0))
            return &commands[i];
    }
    return NULL;
}

/* No command was found: say why. */
static int complain_command(int count, char **word)
{
    size_t len = strlen(word[0]);
    bool is_group = false;

    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strncmp(commands[i].name, word[0], len) == 0 && commands[i].name[len] == ' ') {
            if (!is_group)
                fprintf(stderr, "odb: %s needs one of these behind it:", word[0]);
            fprintf(stderr, " %s", commands[i].name + len + 1);
            is_group = true;
        }
    if (!is_group)
        return tool_usage("unknown command '%s'", word[0]);
    if (count > 1)
        fprintf(stderr, "; not '%s'", word[1]);
    fputs("\n", stderr);
    return EXIT_USAGE;
}

/* ---- running ---- */

static enum tool_access needed_access(const struct command *c, const struct tool *t)
{
    if (t->do_check)
        return ACCESS_LOOK;
    return t->do_create || t->do_drop || t->do_mend ? ACCESS_CHANGE : c->access;
}

/* The beginning of a file of the directory, as text; false: there is none. */
static bool read_head(const char *dir, const char *name, char *text, size_t cap)
{
    char path[4096];
    FILE *f;

    text[0] = 0;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return false;
    f = fopen(path, "rb");
    if (!f)
        return false;
    text[fread(text, 1, cap - 1, f)] = 0;
    (void)fclose(f);
    return true;
}

/* Whose the directory is, if it is another engine's: their CURRENT names a manifest and ends, where ours goes
 * on with a checksum; RocksDB has an IDENTITY written 8-4-4-4-12, LevelDB has none. */
static const char *foreign_engine(const char *dir)
{
    char current[64], identity[64];

    if (!read_head(dir, "CURRENT", current, sizeof current))
        return read_head(dir, "data.mdb", current, sizeof current) ? "lmdb" : NULL;
    if (strncmp(current, "MANIFEST-", 9) != 0 || strchr(current, ' ') || !strchr(current, '\n'))
        return NULL;
    if (!read_head(dir, "IDENTITY", identity, sizeof identity))
        return "leveldb";
    return strlen(identity) >= 36 && identity[8] == '-' && identity[13] == '-' &&
                   identity[18] == '-' && identity[23] == '-'
               ? "rocksdb"
               : NULL;
}

/* Nothing is read or made in another engine's directory; say how to look into it. */
static bool refuse_foreign(const char *dir)
{
    const char *engine = foreign_engine(dir);

    if (!engine)
        return false;
    if (strcmp(engine, "leveldb") == 0)
        fprintf(stderr, "odb: '%s' is a database of LevelDB, which odb does not read\n", dir);
    else
        fprintf(stderr, "odb: '%s' is a database of %s; --backend=%s reads it\n", dir,
                strcmp(engine, "lmdb") == 0 ? "LMDB" : "RocksDB", engine);
    return true;
}

static int open_database(const struct command *c, struct tool *t)
{
    odb_options opt = odb_options_default();
    enum tool_access access = needed_access(c, t);
    odb_status st;

    if (t->is_readonly && access != ACCESS_LOOK)
        return tool_usage("%s writes, which --read-only forbids", c->name);
    if (!t->backend && refuse_foreign(t->dir))
        return EXIT_USAGE;
    opt.memory_budget = t->memory;
    opt.durability = t->durability;
    opt.must_exist = access != ACCESS_CREATE;
    opt.is_readonly = access == ACCESS_LOOK;
    st =
        t->backend ? plugin_open(t->backend, t->dir, &opt, &t->db) : odb_open(t->dir, &opt, &t->db);
    if (st == ODB_ABSENT) {
        fprintf(stderr,
                access == ACCESS_CREATE
                    ? "odb: the folder '%s' is to lie in does not exist; mkdir -p makes it\n"
                    : "odb: there is no database in '%s'; odb put, batch and load make one\n",
                t->dir);
        return EXIT_ABSENT;
    }
    if (st != ODB_OK)
        return tool_fail(st, t->dir);
    if (t->cf) {
        st = odb_cf_open(t->db, t->cf, &t->family);
        if (st != ODB_OK)
            return tool_fail(st, "--cf");
    }
    return EXIT_FINE;
}

static int run_command(const struct command *c, struct tool *t)
{
    int code = open_database(c, t);
    odb_status st;

    if (code == EXIT_FINE)
        code = c->run(t);
    st = odb_close(t->db);
    if (st != ODB_OK && code == EXIT_FINE)
        code = tool_fail(st, "closing");
    if (fflush(stdout) != 0 && code == EXIT_FINE) {
        perror("odb: standard output");
        code = EXIT_OTHER;
    }
    return code;
}

int main(int argc, char **argv)
{
    struct tool t = {0};
    const struct command *c;
    bool wants_help = false;
    int code, words = 0;

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return argc < 2 ? tool_usage("a command is needed") : show_help(NULL);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("odb %s\n", odb_version());
        return EXIT_FINE;
    }
    if (strcmp(argv[1], "help") == 0) {
        c = find_command(argc - 2, argv + 2, &words);
        if (argc == 3 && !c && show_group(argv[2]))
            return EXIT_FINE;
        return argc > 2 && !c ? complain_command(argc - 2, argv + 2) : show_help(c);
    }
    c = find_command(argc - 1, argv + 1, &words);
    if (!c && argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0) &&
        show_group(argv[1]))
        return EXIT_FINE;
    if (!c)
        return complain_command(argc - 1, argv + 1);
    (void)setlocale(LC_CTYPE, "");
    t.is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    (void)setlocale(LC_CTYPE, "C");
    t.command = c->name;
    code = take_arguments(&t, argc, argv, 1 + words, &wants_help);
    if (wants_help)
        return show_help(c);
    if (code != EXIT_FINE)
        return code;
    if (!t.dir)
        return tool_usage("odb %s needs the directory of a database: odb %s %s", c->name, c->name,
                          c->usage);
    if (t.arg_count < c->min_args || t.arg_count > c->max_args)
        return tool_usage("usage: odb %s %s", c->name, c->usage);
    return run_command(c, &t);
}
