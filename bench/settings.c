/* bench/settings.c -- see settings.h. */
#include "bench/settings.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    KIND_GROUP, /* a heading of --help */
    KIND_BOOL,
    KIND_NUMBER, /* uint64_t; takes k, m and g for powers of 1024 */
    KIND_REAL,
    KIND_TEXT,
};

struct flag {
    const char *name;
    enum kind kind;
    size_t offset;
    size_t room;         /* of a text */
    const char *initial; /* parsed like an argument */
    const char *help;
};

#define FIELD(f) offsetof(struct bench_settings, f)
#define ROOM(f)  sizeof(((struct bench_settings *)0)->f)
#define NUMBER(f, initial, help)                                                                   \
    {                                                                                              \
#f, KIND_NUMBER, FIELD(f), 0, initial, help                                                \
    }
#define REAL(f, initial, help)                                                                     \
    {                                                                                              \
#f, KIND_REAL, FIELD(f), 0, initial, help                                                  \
    }
#define BOOL(f, initial, help)                                                                     \
    {                                                                                              \
#f, KIND_BOOL, FIELD(f), 0, initial, help                                                  \
    }
#define TEXT(f, initial, help)                                                                     \
    {                                                                                              \
#f, KIND_TEXT, FIELD(f), ROOM(f), initial, help                                            \
    }
#define GROUP(title)                                                                               \
    {                                                                                              \
        title, KIND_GROUP, 0, 0, "", ""                                                            \
    }

static const struct flag flags[] = {
    GROUP("What to run"),
    TEXT(benchmarks, "fillrandom,waitforcompaction,readrandom,readseq",
         "workloads, run in this order on one database; the list is below"),
    TEXT(load, "", "workloads run first: with --vs once per engine, not once per pair"),
    TEXT(engine, "opendb", "the engine; the list is below"),
    TEXT(vs, "", "engines to compare it with, A B, B A, A B in this run: rocksdb,lmdb"),
    NUMBER(pairs, "5", "rounds of --vs; below five no winner is named"),
    TEXT(db, "", "directory for the databases, DB/bench-ENGINE; default: one that is removed"),
    BOOL(use_existing_db, "0", "go on with what is there; without it fill... starts afresh"),
    BOOL(keep_db, "1", "leave the databases of --db behind"),

    GROUP("How much"),
    NUMBER(num, "5000000", "keys"),
    NUMBER(reads, "0", "operations of the reading workloads; 0: num"),
    NUMBER(writes, "0", "operations of the writing workloads; 0: num"),
    NUMBER(threads, "1", "they share the operations of a workload among them"),
    NUMBER(duration, "0",
           "seconds a workload lasts, instead of a number of operations; --load does all of num"),
    NUMBER(seed, "1", "of the random draws; each workload and thread derives its own from it"),
    NUMBER(batch_size, "1", "puts in a commit, keys in a multiget (there 1 means 64)"),
    NUMBER(seek_nexts, "0", "entries walked after each seek"),
    NUMBER(deleted, "20000", "keys put and deleted in a row before each seekdeleted"),
    NUMBER(families, "1", "column families the keys are dealt out to"),
    NUMBER(readwritepercent, "90", "reads among the operations of readrandomwriterandom"),
    NUMBER(write_rate, "0", "puts a second of the writer in readwhilewriting; 0: all it can"),

    GROUP("Keys and values"),
    NUMBER(key_size, "16", "bytes of a key"),
    TEXT(key_shape, "binary",
         "binary: a big-endian number, then zeros; decimal: user000000000042; prefix: 40 bytes "
         "alike before the number"),
    TEXT(draw, "uniform", "which keys are used: uniform, zipfian, or latest (newest most)"),
    REAL(zipf_theta, "0.99", "how uneven zipfian and latest are, below 1"),
    NUMBER(value_size, "100", "bytes of a value"),
    REAL(compression_ratio, "0.5", "what a value shrinks to, 0.01 to 1"),

    GROUP("How the engines are opened (the same for all; the report says who has no such thing)"),
    TEXT(compression_type, "lz4", "lz4 or none"),
    BOOL(sync, "0", "1: a commit survives a power cut; 0: the death of the process"),
    NUMBER(write_buffer_size, "128m", "bytes of a memtable"),
    NUMBER(max_write_buffer_number, "3", "memtables of a family at once"),
    NUMBER(target_file_size_base, "64m", "bytes of a table"),
    NUMBER(max_bytes_for_level_base, "256m", "bytes of the first level below level 0"),
    NUMBER(level0_file_num_compaction_trigger, "4", "tables in level 0 that start a merge"),
    NUMBER(max_background_jobs, "4", "threads for flush and merge"),
    NUMBER(subcompactions, "4", "threads that may share one merge"),
    NUMBER(block_size, "4096", "bytes of a block before compression"),
    REAL(bloom_bits, "10", "filter bits a key, a whole number; 0 or -1: no filters"),
    NUMBER(cache_size, "1g", "bytes of the block cache"),
    NUMBER(memory, "0", "opendb: one budget for everything instead of cache and buffers"),
    BOOL(disable_auto_compactions, "0", "merge only in `compact`"),

    GROUP("What to report"),
    BOOL(histogram, "0",
         "time each operation: p50 to max; costs every engine a clock an operation"),
    BOOL(profile, "0",
         "count per operation: blocks, filters, comparisons, copies, system calls; RocksDB counts "
         "more than is asked for, and slowly: figures of such a run are not to be compared"),
    REAL(stats_interval, "0.25", "seconds between two points of throughput over time"),
    TEXT(json, "", "file for everything measured"),
    TEXT(csv, "", "file for one line a workload, engine and pair"),
    TEXT(html, "", "file for a page with charts, readable without a network"),
    TEXT(vectors, "", "file of odb-bench-vector --json, to be shown on that page, too"),
};

#define FLAG_COUNT (sizeof flags / sizeof flags[0])

static void *field_of(struct bench_settings *s, const struct flag *f)
{
    return (char *)s + f->offset;
}

static bool parse_number(const char *text, uint64_t *out)
{
    char *end;
    unsigned long long n;
    unsigned shift = 0;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    n = strtoull(text, &end, 10);
    switch (*end) {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    default: break;
    }
    if (shift)
        end++;
    if (errno || *end || n > UINT64_MAX >> shift)
        return false;
    *out = (uint64_t)n << shift;
    return true;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    double d;

    errno = 0;
    d = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(d))
        return false;
    *out = d;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "true", "yes"}, *const no[] = {"0", "false", "no"};

    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, yes[i]) == 0)
            *out = true;
        else if (strcmp(text, no[i]) == 0)
            *out = false;
        else
            continue;
        return true;
    }
    return false;
}

static bool set_flag(struct bench_settings *s, const struct flag *f, const char *value)
{
    size_t len = strlen(value);

    switch (f->kind) {
    case KIND_BOOL: return parse_bool(value, field_of(s, f));
    case KIND_NUMBER: return parse_number(value, field_of(s, f));
    case KIND_REAL: return parse_real(value, field_of(s, f));
    case KIND_TEXT:
        if (len >= f->room)
            return false;
        memcpy(field_of(s, f), value, len + 1);
        return true;
    case KIND_GROUP: break;
    }
    return false;
}

void bench_settings_init(struct bench_settings *s)
{
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (flags[i].kind != KIND_GROUP)
            (void)set_flag(s, &flags[i], flags[i].initial);
}

static const struct flag *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (flags[i].kind != KIND_GROUP && strlen(flags[i].name) == len &&
            memcmp(flags[i].name, name, len) == 0)
            return &flags[i];
    return NULL;
}

int bench_settings_parse(struct bench_settings *s, int argc, char *const *argv, char *why,
                         size_t cap)
{
    const char *word = argc > 0 ? argv[0] : "", *name, *equals, *value;
    const struct flag *f;
    int took = 1;

    if (strncmp(word, "--", 2) != 0) {
        (void)snprintf(why, cap, "'%s' is not a flag", word);
        return 0;
    }
    name = word + 2;
    equals = strchr(name, '=');
    f = find_flag(name, equals ? (size_t)(equals - name) : strlen(name));
    if (!f) {
        (void)snprintf(why, cap, "there is no flag %s", word);
        return 0;
    }
    if (equals) {
        value = equals + 1;
    } else if (f->kind == KIND_BOOL) {
        value = "1";
    } else if (argc > 1) {
        value = argv[1];
        took = 2;
    } else {
        (void)snprintf(why, cap, "%s needs a value", word);
        return 0;
    }
    if (!set_flag(s, f, value)) {
        (void)snprintf(why, cap, "--%s cannot be '%s'", f->name, value);
        return 0;
    }
    return took;
}

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

static bool is_whole(double d, double from, double to)
{
    return d >= from && d <= to && d == floor(d);
}

bool bench_settings_check(const struct bench_settings *s, char *why, size_t cap)
{
    static const char *const shapes[] = {"binary", "decimal", "prefix"};
    static const char *const draws[] = {"uniform", "zipfian", "latest"};
    static const char *const codecs[] = {"lz4", "none"};
    const char *wrong = NULL;

    if (!is_one_of(s->key_shape, shapes, 3))
        wrong = "--key_shape is binary, decimal or prefix";
    else if (!is_one_of(s->draw, draws, 3))
        wrong = "--draw is uniform, zipfian or latest";
    else if (!is_one_of(s->compression_type, codecs, 2))
        wrong = "--compression_type is lz4 or none";
    else if (s->num == 0 || s->threads == 0 || s->batch_size == 0 || s->families == 0 ||
             s->pairs == 0 || s->deleted == 0)
        wrong = "--num, --threads, --batch_size, --families, --pairs and --deleted are at least 1";
    else if (s->threads > BENCH_THREADS_MAX || s->families > 10000 || s->pairs > 1000 ||
             s->batch_size > 1000000)
        wrong = "at most 256 threads, 10000 families, 1000 pairs, 1000000 in a batch";
    else if (s->key_size < 8 || s->key_size > 400)
        wrong = "--key_size is 8 to 400: room for the number, and within every engine's limit";
    else if (strcmp(s->key_shape, "prefix") == 0 && s->key_size < 48)
        wrong = "--key_shape=prefix needs --key_size of at least 48";
    else if (strcmp(s->key_shape, "decimal") == 0 && s->key_size < 14)
        wrong = "--key_shape=decimal needs --key_size of at least 14";
    else if (strcmp(s->key_shape, "decimal") == 0 && s->num > 10000000000u)
        wrong = "--key_shape=decimal: at most 10000000000 keys";
    else if (s->value_size == 0 || s->value_size > (uint64_t)1 << 28)
        wrong = "--value_size is 1 to 268435456";
    else if (s->compression_ratio < 0.01 || s->compression_ratio > 1)
        wrong = "--compression_ratio is 0.01 to 1";
    else if (s->zipf_theta <= 0 || s->zipf_theta >= 1)
        wrong = "--zipf_theta is between 0 and 1";
    else if (s->readwritepercent > 100)
        wrong = "--readwritepercent is at most 100";
    else if (s->stats_interval < 0.01)
        wrong = "--stats_interval is at least 0.01";
    else if (!is_whole(s->bloom_bits, -1, 64))
        wrong = "--bloom_bits is a whole number, -1 to 64: not every engine has parts of a bit";
    else if (s->subcompactions == 0 || s->subcompactions > 64)
        wrong = "--subcompactions is 1 to 64";
    if (wrong)
        (void)snprintf(why, cap, "%s", wrong);
    return !wrong;
}

static void say_flag(FILE *to, const struct flag *f)
{
    int col = fprintf(to, "  --%s=%s", f->name, f->initial);
    const char *help = f->help;

    if (col > 34)
        fputc('\n', to), col = 0;
    while (*help) {
        size_t len = strlen(help);

        if (len > 62)
            for (len = 62; len > 1 && help[len] != ' '; len--) {
            }
        fprintf(to, "%*s%.*s\n", 36 - col, "", (int)len, help);
        help += len + (help[len] == ' ');
        col = 0;
    }
}

void bench_settings_help(FILE *to)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (flags[i].kind == KIND_GROUP)
            fprintf(to, "\n%s\n", flags[i].name);
        else
            say_flag(to, &flags[i]);
    }
}

void bench_settings_each(const struct bench_settings *s,
                         void (*each)(void *arg, const char *name, const char *value), void *arg)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        const void *field = (const char *)s + flags[i].offset;
        char buf[64];

        switch (flags[i].kind) {
        case KIND_BOOL: each(arg, flags[i].name, *(const bool *)field ? "1" : "0"); break;
        case KIND_NUMBER:
            (void)snprintf(buf, sizeof buf, "%llu", *(const unsigned long long *)field);
            each(arg, flags[i].name, buf);
            break;
        case KIND_REAL:
            (void)snprintf(buf, sizeof buf, "%g", *(const double *)field);
            each(arg, flags[i].name, buf);
            break;
        case KIND_TEXT: each(arg, flags[i].name, field); break;
        case KIND_GROUP: break;
        }
    }
}
