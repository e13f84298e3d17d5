/* examples/packages.c -- a package database as records, edges and vectors, and questions to all three.
 *
 *     packages import DB STATUS     read a dpkg status file; each package is one transaction
 *     packages ask DB               answer the questions below, all at one moment
 *     packages count DB             how many packages are there
 *
 * A package becomes a record (description, version, section, size), an edge to everything it depends on,
 * recommends or provides, and a vector made of its description. The vector is no model's work: words and
 * runs of three letters are hashed into 256 numbers, which is enough to bring like texts near each other.
 *
 * Every package is committed as a whole, so an import that dies half way leaves whole packages, and a
 * second import goes on from there: it writes the same again.
 */
#include <ctype.h>
#include <math.h>
#include <opendb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DIM        256
#define LARGE      (10 << 20)
#define SHOWN      8
#define DEPENDS    "depends_on"
#define RECOMMENDS "recommends"
#define PROVIDES   "provides"

static int complain(const char *what, odb_status st)
{
    fprintf(stderr, "packages: %s: %s (%s)\n", what, odb_status_text(st), odb_error_text());
    return 1;
}

/* ---- a text as numbers ---- */

static void add_hashed(float *v, const char *p, size_t n, float weight)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    v[h % DIM] += h >> 31 ? weight : -weight;
}

static void embed(const char *text, float v[DIM])
{
    char word[64];
    size_t n = 0;
    float norm = 0;

    memset(v, 0, DIM * sizeof *v);
    for (;; text++) {
        if (isalnum((unsigned char)*text) && n < sizeof word) {
            word[n++] = (char)tolower((unsigned char)*text);
            continue;
        }
        if (n > 3) /* shorter words say little */
            add_hashed(v, word, n, 1);
        for (size_t i = 0; n > 3 && i + 3 <= n; i++)
            add_hashed(v, word + i, 3, 0.3f);
        n = 0;
        if (!*text)
            break;
    }
    for (size_t i = 0; i < DIM; i++)
        norm += v[i] * v[i];
    if (norm == 0)
        v[0] = norm = 1; /* every direction is as good as another */
    for (size_t i = 0; i < DIM; i++)
        v[i] /= sqrtf(norm);
}

/* ---- reading the status file ---- */

struct package {
    char name[256], version[256], section[64], summary[512];
    char *lists[3]; /* of depends, recommends, provides; as they stand */
    char *text;     /* the description */
    long long size; /* bytes when installed */
};

static const char *const list_fields[3] = {"Depends: ", "Recommends: ", "Provides: "};
static const char *const list_edges[3] = {DEPENDS, RECOMMENDS, PROVIDES};

static void copy_field(char *out, size_t room, const char *value)
{
    size_t n = strlen(value);

    if (n >= room)
        n = room - 1;
    memcpy(out, value, n);
    out[n] = 0;
}

static void append_text(char **text, const char *more)
{
    size_t had = *text ? strlen(*text) : 0;
    char *longer = realloc(*text, had + strlen(more) + 2);

    if (!longer) {
        perror("packages");
        exit(1);
    }
    (void)sprintf(longer + had, "%s%s", had ? "\n" : "", more);
    *text = longer;
}

static void forget(struct package *p)
{
    for (int i = 0; i < 3; i++)
        free(p->lists[i]);
    free(p->text);
    memset(p, 0, sizeof *p);
}

/* The next paragraph. False: there is none. */
static bool read_package(FILE *in, struct package *p)
{
    static char line[1 << 16];
    bool in_text = false, is_any = false;

    forget(p);
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = 0;
        if (!line[0]) {
            if (is_any)
                return true;
            continue;
        }
        is_any = true;
        if (line[0] == ' ') {
            if (in_text)
                append_text(&p->text, strcmp(line, " .") == 0 ? "" : line + 1);
            continue;
        }
        in_text = false;
        if (strncmp(line, "Package: ", 9) == 0)
            copy_field(p->name, sizeof p->name, line + 9);
        else if (strncmp(line, "Version: ", 9) == 0)
            copy_field(p->version, sizeof p->version, line + 9);
        else if (strncmp(line, "Section: ", 9) == 0)
            copy_field(p->section, sizeof p->section, line + 9);
        else if (strncmp(line, "Installed-Size: ", 16) == 0)
            p->size = strtoll(line + 16, NULL, 10) * 1024;
        else if (strncmp(line, "Description: ", 13) == 0) {
            in_text = true;
            copy_field(p->summary, sizeof p->summary, line + 13);
            append_text(&p->text, line + 13);
        }
        for (int i = 0; i < 3; i++)
            if (strncmp(line, list_fields[i], strlen(list_fields[i])) == 0)
                append_text(&p->lists[i], line + strlen(list_fields[i]));
    }
    return is_any;
}

/* ---- writing ---- */

/* Link to every name of "a (>= 1), b:any | c". */
static odb_status link_list(odb_db *db, odb_txn *txn, const char *from, const char *relation,
                            const char *list)
{
    odb_status st = ODB_OK;

    while (st == ODB_OK && *list) {
        size_t n;

        list += strspn(list, " ,|");
        n = strcspn(list, " ,|:(");
        if (n)
            st = odb_link(db, txn, odb_s(from), odb_s(relation), odb_bytes(list, n));
        list += n;
        list += strcspn(list, ",|");
    }
    return st;
}

struct work {
    odb_db *db;
    const struct package *p;
};

/* One package, with all that belongs to it: a transaction. */
static odb_status store_package(odb_txn *txn, void *arg)
{
    const struct work *w = arg;
    odb_prop props[] = {
        odb_prop_text("version", w->p->version),
        odb_prop_text("section", w->p->section),
        odb_prop_text("summary", w->p->summary),
        odb_prop_int("size", w->p->size),
    };
    odb_edge_match from_here = {.direction = ODB_OUT};
    odb_memory m = odb_memory_make(w->p->name, w->p->text ? w->p->text : "");
    float v[DIM];
    odb_status st;

    embed(w->p->text ? w->p->text : w->p->name, v);
    m.embedding = v;
    m.dim = DIM;
    m.props = props;
    m.prop_count = sizeof props / sizeof props[0];
    st = odb_memory_put(w->db, txn, &m, 0);
    if (st == ODB_OK) /* those of an older version */
        st = odb_unlink_node(w->db, txn, m.id, &from_here, NULL);
    for (int i = 0; st == ODB_OK && i < 3; i++)
        if (w->p->lists[i])
            st = link_list(w->db, txn, w->p->name, list_edges[i], w->p->lists[i]);
    return st;
}

static void show_progress(FILE *in, long whole, int count)
{
    int filled = whole > 0 ? (int)(30 * ftell(in) / whole) : 30;

    fprintf(stderr, "\r[%.*s%*s] %d packages", filled,
            "==============================", 30 - filled, "", count);
}

static int import(odb_db *db, const char *file)
{
    struct package p = {0};
    struct work w = {db, &p};
    FILE *in = fopen(file, "r");
    odb_status st = ODB_OK;
    long whole = 0;
    int count = 0;

    if (!in) {
        perror(file);
        return 1;
    }
    if (fseek(in, 0, SEEK_END) == 0)
        whole = ftell(in);
    rewind(in);
    while (st == ODB_OK && read_package(in, &p)) {
        if (!p.name[0])
            continue;
        st = odb_txn_run(db, NULL, store_package, &w, NULL);
        count += st == ODB_OK;
        if (isatty(2) && (count & 15) == 0)
            show_progress(in, whole, count);
        if (!isatty(1)) /* for whoever wants to know how far it got */
            printf("%s\n", p.name), (void)fflush(stdout);
    }
    if (isatty(2)) {
        show_progress(in, whole, count);
        fputc('\n', stderr);
    }
    forget(&p);
    (void)fclose(in);
    return st == ODB_OK ? 0 : complain("import", st);
}

/* ---- asking ---- */

static void show_id(odb_slice id, const char *separator)
{
    printf("%s%.*s", separator, (int)id.size, (const char *)id.data);
}

static void show_property(const odb_record *r, const char *name)
{
    odb_prop_value v;

    if (odb_record_prop(r, odb_s(name), &v))
        printf("%.*s", (int)v.u.bytes.size, (const char *)v.u.bytes.data);
}

/* What is reached from `start` within `depth` steps, against the edges with `in`. */
static odb_status show_reach(odb_at at, const char *start, uint32_t depth, int direction)
{
    odb_slice rel = odb_s(DEPENDS), from = odb_s(start);
    odb_walk walk = {.size = sizeof walk, .max_depth = depth};
    odb_nodeset *set;
    odb_status st;
    size_t count;

    walk.edges.direction = direction;
    walk.edges.rels = &rel;
    walk.edges.rel_count = 1;
    st = odb_walk_bfs(at, &from, 1, &walk, &set);
    if (st != ODB_OK)
        return st;
    count = odb_nodeset_count(set);
    printf("   %zu packages:", count - 1);
    for (size_t i = 1; i < count && i <= SHOWN; i++)
        show_id(odb_nodeset_at(set, i).id, " ");
    printf("%s\n", count - 1 > SHOWN ? " ..." : "");
    odb_nodeset_free(set);
    return ODB_OK;
}

static odb_status show_path(odb_at at, const char *from, const char *to)
{
    odb_path *path;
    odb_status st = odb_shortest_path(at, odb_s(from), odb_s(to), NULL, NULL, NULL, &path);

    if (st == ODB_ABSENT) {
        printf("   none\n");
        return ODB_OK;
    }
    if (st != ODB_OK)
        return st;
    show_id(odb_path_node(path, 0), "   ");
    for (size_t i = 0; i < odb_path_length(path); i++) {
        show_id(odb_path_edge(path, i).rel, " --");
        show_id(odb_path_node(path, i + 1), "--> ");
    }
    printf("\n");
    odb_path_free(path);
    return ODB_OK;
}

static odb_status show_large(odb_at at)
{
    odb_scan scan = {.size = sizeof scan};
    odb_record_iter *it = NULL;
    odb_filter *filter = NULL;
    odb_status st =
        odb_filter_parse(odb_s("section == \"libs\" && size > 10485760"), &filter, NULL);

    scan.filter = filter;
    if (st == ODB_OK)
        st = odb_record_scan(at, &scan, &it);
    for (int shown = 0; st == ODB_OK && odb_record_iter_next(it); shown++) {
        const odb_record *r = odb_record_iter_record(it);
        odb_prop_value size;

        if (shown < SHOWN && odb_record_prop(r, odb_s("size"), &size)) {
            printf("   %6.1f MB  ", (double)size.u.integer / (1 << 20));
            show_id(odb_record_id(r), "");
            printf("\n");
        } else if (shown == SHOWN) {
            printf("   ...\n");
        }
    }
    if (st == ODB_OK)
        st = odb_record_iter_status(it);
    odb_record_iter_free(it);
    odb_filter_free(filter);
    return st;
}

/* The section of a package is that of another. */
struct same_section {
    odb_at at;
    odb_prop_value section;
};

static bool is_same_section(void *arg, odb_slice id)
{
    struct same_section *s = arg;
    odb_prop_value v;
    odb_record *r;
    bool is_same;

    if (odb_record_get(s->at, id, &r) != ODB_OK)
        return false;
    is_same =
        odb_record_prop(r, odb_s("section"), &v) && odb_slice_equal(v.u.bytes, s->section.u.bytes);
    odb_record_free(r);
    return is_same;
}

static odb_status show_hits(odb_at at, const odb_vec_hits *hits)
{
    for (size_t i = 0; i < odb_vec_hits_count(hits); i++) {
        odb_vec_hit hit = odb_vec_hits_at(hits, i);
        odb_record *r;
        odb_status st = odb_record_get(at, hit.id, &r);

        if (st != ODB_OK)
            return st;
        printf("   %.3f  ", (double)hit.distance);
        show_id(hit.id, "");
        printf(": ");
        show_property(r, "summary");
        printf("\n");
        odb_record_free(r);
    }
    return ODB_OK;
}

static odb_status show_alike(odb_at at, const char *id, bool in_section)
{
    odb_vec_search how = {.size = sizeof how, .k = 5};
    struct same_section same = {.at = at};
    odb_vec_hits *hits = NULL;
    odb_record *r;
    odb_status st = odb_record_get(at, odb_s(id), &r);

    if (st != ODB_OK)
        return st;
    if (in_section && odb_record_prop(r, odb_s("section"), &same.section)) {
        how.filter = is_same_section;
        how.filter_arg = &same;
    }
    st = odb_vec_find_like(at, odb_s(id), &how, &hits);
    if (st == ODB_OK)
        st = show_hits(at, hits);
    odb_vec_hits_free(hits);
    odb_record_free(r);
    return st;
}

/* Alike by description among what depends on the same things: neighbours of neighbours. */
static odb_status show_alike_and_near(odb_at at, const char *id)
{
    odb_slice rel = odb_s(DEPENDS), from = odb_s(id), *near = NULL;
    odb_walk walk = {.size = sizeof walk, .max_depth = 2, .max_nodes = 2000};
    odb_vec_search how = {.size = sizeof how, .k = 5};
    odb_vec_hits *hits = NULL;
    odb_nodeset *set = NULL;
    odb_status st;

    walk.edges.direction = ODB_BOTH;
    walk.edges.rels = &rel;
    walk.edges.rel_count = 1;
    st = odb_walk_bfs(at, &from, 1, &walk, &set);
    if (st == ODB_OK && !(near = malloc(odb_nodeset_count(set) * sizeof *near)))
        st = ODB_NOMEM;
    if (st == ODB_OK) {
        for (size_t i = 0; i < odb_nodeset_count(set); i++)
            near[i] = odb_nodeset_at(set, i).id;
        how.within = near;
        how.within_count = odb_nodeset_count(set);
        st = odb_vec_find_like(at, from, &how, &hits);
    }
    if (st == ODB_OK)
        st = show_hits(at, hits);
    odb_vec_hits_free(hits);
    odb_nodeset_free(set);
    free(near);
    return st;
}

/* The first of these names that is a package here. */
static const char *find_one(odb_at at, const char *const *names)
{
    for (; *names; names++)
        if (odb_record_exists(at, odb_s(*names)) == ODB_OK)
            return *names;
    return NULL;
}

static odb_status ask_all(odb_at at)
{
    static const char *const compilers[] = {"gcc", "g++", "perl", "bash", NULL};
    static const char *const libraries[] = {"libssl3", "libssl3t64", "libssl1.1", "libc6", NULL};
    static const char *const subjects[] = {"git", "gcc", "tar", "bash", NULL};
    static const char *const far[] = {"libgmp10", "libicu72", "zlib1g", "libc6", NULL};
    const char *gcc = find_one(at, compilers), *ssl = find_one(at, libraries);
    const char *subject = find_one(at, subjects), *end = find_one(at, far);
    odb_status st;

    if (!gcc || !ssl || !subject || !end) {
        printf("   this package database has none of the packages these questions are about\n");
        return ODB_OK;
    }
    printf("What does %s pull in, within three steps?\n", gcc);
    st = show_reach(at, gcc, 3, ODB_OUT);
    if (st == ODB_OK) {
        printf("What breaks if %s goes?\n", ssl);
        st = show_reach(at, ssl, 0, ODB_IN);
    }
    if (st == ODB_OK) {
        printf("How does %s come to need %s?\n", gcc, end);
        st = show_path(at, gcc, end);
    }
    if (st == ODB_OK) {
        printf("What in section \"libs\" is larger than 10 MB?\n");
        st = show_large(at);
    }
    if (st == ODB_OK) {
        printf("Which packages are like %s, by what is written about them?\n", subject);
        st = show_alike(at, subject, false);
    }
    if (st == ODB_OK) {
        printf("And in the same section?\n");
        st = show_alike(at, subject, true);
    }
    if (st == ODB_OK) {
        printf("And at most two dependencies away?\n");
        st = show_alike_and_near(at, subject);
    }
    return st;
}

static int ask(odb_db *db)
{
    odb_snapshot *moment;
    odb_status st = odb_snapshot_new(db, &moment);

    if (st == ODB_OK) {
        st = ask_all(odb_asof(moment));
        odb_snapshot_free(moment);
    }
    return st == ODB_OK ? 0 : complain("asking", st);
}

static int count_packages(odb_db *db)
{
    odb_id_list ids;
    odb_status st = odb_list_memory_ids(db, odb_s(""), &ids);

    if (st != ODB_OK)
        return complain("counting", st);
    printf("%zu\n", ids.count);
    odb_id_list_release(&ids);
    return 0;
}

int main(int argc, char **argv)
{
    bool is_import = argc == 4 && strcmp(argv[1], "import") == 0;
    bool is_ask = argc == 3 && strcmp(argv[1], "ask") == 0;
    bool is_count = argc == 3 && strcmp(argv[1], "count") == 0;
    odb_vec_config config = {.size = sizeof config, .dim = DIM, .metric = ODB_METRIC_COSINE};
    odb_db *db;
    odb_status st;
    int failed;

    if (!is_import && !is_ask && !is_count) {
        fprintf(stderr, "usage: packages import DB STATUS | ask DB | count DB\n"
                        "STATUS is a file like /var/lib/dpkg/status; DB is a directory.\n");
        return 2;
    }
    st = odb_open(argv[2], NULL, &db);
    if (st != ODB_OK)
        return complain(argv[2], st);
    st = odb_vec_open(db, &config);
    if (st != ODB_OK)
        failed = complain("vectors", st);
    else if (is_import)
        failed = import(db, argv[3]);
    else
        failed = is_ask ? ask(db) : count_packages(db);
    st = odb_close(db);
    return st == ODB_OK ? failed : complain("closing", st);
}
