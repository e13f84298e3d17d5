/* tools/cmd_look.c -- cf, stats, tree: what is in there.
 *
 * The picture of odb tree: columns stand for keys in their order. All first and last keys of a
 * family's tables are sorted; a table covers the columns between the ranks of its two.
 *
 *     family records   1,204,331 entries in 14 tables, 61.2 MiB
 *       keys  "user000001"                                        "user999987"
 *       L0    ████████████████████████████████████████████████      2 tables   9.1 MiB
 *             ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓
 *       L6    ████▓▓▓▓████▓▓▓▓████▓▓▓▓████▓▓▓▓████▓▓▓▓████▓▓▓▓     12 tables  52.1 MiB
 */
#include "tool.h"

#include <stdlib.h>

/* ---- cf ---- */

static int change_family(struct tool *t)
{
    odb_status st;
    odb_cf *cf;

    if (t->do_create == t->do_drop)
        return tool_usage("odb cf DIR NAME needs --create or --drop");
    if (t->do_create) {
        st = odb_cf_create(t->db, t->arg[0], NULL, &cf);
    } else {
        st = odb_cf_open(t->db, t->arg[0], &cf);
        if (st == ODB_OK)
            st = odb_cf_drop(t->db, cf);
    }
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, t->arg[0]);
}

int cmd_cf(struct tool *t)
{
    struct bytes line = {NULL, 0, 0};
    odb_names names;
    odb_status st;

    if (t->arg_count > 0)
        return change_family(t);
    if (t->do_create || t->do_drop)
        return tool_usage("--create and --drop need the name of a family");
    st = odb_cf_list(t->db, &names);
    if (st != ODB_OK)
        return tool_fail(st, "cf");
    for (size_t i = 0; i < names.count; i++) {
        line.len = 0;
        if (t->is_json) {
            bytes_add(&line, "{", 1);
            json_add_field(&line, "cf", odb_s(names.name[i]));
            bytes_add(&line, "}", 1);
        } else {
            bytes_add(&line, names.name[i], strlen(names.name[i]));
        }
        printf("%.*s\n", (int)line.len, line.p);
    }
    bytes_free(&line);
    odb_names_release(&names);
    return EXIT_FINE;
}

/* ---- stats ---- */

struct live {
    uint64_t keys, bytes;
};

/* How much of a family is alive: every key counted. */
static odb_status count_live(struct tool *t, odb_cf *cf, struct live *out)
{
    odb_range range = {{NULL, 0}, {NULL, 0}, {NULL, 0}, false, true};
    odb_iter *it;
    odb_status st = odb_iter_new(odb_now(t->db), cf, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it)) {
        out->keys++;
        out->bytes += odb_iter_key(it).size + odb_iter_value(it).size;
    }
    st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

static odb_status count_all_live(struct tool *t, struct live *out)
{
    odb_names names;
    odb_status st = odb_cf_list(t->db, &names);
    odb_cf *cf;

    for (size_t i = 0; st == ODB_OK && i < names.count; i++) {
        st = odb_cf_open(t->db, names.name[i], &cf);
        if (st == ODB_OK && (!t->cf || strcmp(t->cf, names.name[i]) == 0))
            st = count_live(t, cf, out);
    }
    odb_names_release(&names);
    return st;
}

static void print_stats_json(const odb_stats_t *s, const struct live *live)
{
    const struct {
        const char *name;
        uint64_t value;
    } field[] = {
        {"commits", s->commits},
        {"ops", s->ops},
        {"bytes_in", s->bytes_in},
        {"sequence", s->sequence},
        {"log_bytes", s->log_bytes},
        {"log_files", s->log_files},
        {"log_written", s->log_written},
        {"syncs", s->syncs},
        {"memtable_bytes", s->memtable_bytes},
        {"memtable_entries", s->memtable_entries},
        {"cache_bytes", s->cache_bytes},
        {"flushes", s->flushes},
        {"flush_bytes", s->flush_bytes},
        {"merges", s->merges},
        {"merge_bytes_in", s->merge_bytes_in},
        {"merge_bytes_out", s->merge_bytes_out},
        {"moves", s->moves},
        {"debt", s->debt},
        {"delay_ns", s->delay_ns},
        {"stops", s->stops},
        {"block_hits", s->block_hits},
        {"block_reads", s->block_reads},
        {"bytes_read", s->bytes_read},
        {"blocks_unpacked", s->blocks_unpacked},
        {"recovered_records", s->recovered_records},
        {"recovered_bytes", s->recovered_bytes},
        {"recovery_ns", s->recovery_ns},
        {"live_keys", live->keys},
        {"live_bytes", live->bytes},
    };

    printf("{\"levels\":[");
    for (int i = 0; i < ODB_LEVELS; i++)
        printf("%s{\"files\":%llu,\"bytes\":%llu,\"entries\":%llu,\"deletes\":%llu}", i ? "," : "",
               (unsigned long long)s->level[i].files, (unsigned long long)s->level[i].bytes,
               (unsigned long long)s->level[i].entries, (unsigned long long)s->level[i].deletes);
    printf("]");
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++)
        printf(",\"%s\":%llu", field[i].name, (unsigned long long)field[i].value);
    printf(",\"has_ring\":%s}\n", s->has_ring ? "true" : "false");
}

static odb_status print_stats_page(struct tool *t)
{
    size_t len = 0, cap;
    char *page;
    odb_status st = odb_stats_text(t->db, NULL, 0, &len);

    if (st != ODB_OK)
        return st;
    cap = len + 256; /* the figures may have grown by then */
    page = malloc(cap);
    if (!page)
        return odb_error_set(ODB_NOMEM, "no memory for a page of text");
    st = odb_stats_text(t->db, page, cap, &len);
    if (st == ODB_OK)
        (void)fputs(page, stdout);
    free(page);
    return st;
}

int cmd_stats(struct tool *t)
{
    odb_stats_t s = {.size = sizeof s};
    struct live live = {0, 0};
    uint64_t disk = 0;
    odb_status st = odb_stats(t->db, t->family, &s);

    if (st == ODB_OK && t->do_live)
        st = count_all_live(t, &live);
    if (st == ODB_OK && t->is_json)
        print_stats_json(&s, &live);
    else if (st == ODB_OK)
        st = print_stats_page(t);
    if (st != ODB_OK)
        return tool_fail(st, "stats");
    if (!t->do_live || t->is_json)
        return EXIT_FINE;
    for (int i = 0; i < ODB_LEVELS; i++)
        disk += s.level[i].bytes;
    printf("\nalive       %s keys, %s; tables take %s: %.2f bytes on disk per byte alive\n",
           show_count(live.keys), show_bytes(live.bytes), show_bytes(disk),
           live.bytes ? (double)disk / (double)live.bytes : 0);
    return EXIT_FINE;
}

/* ---- tree ---- */

#define TREE_COLUMNS  48
#define TREE_L0_ROWS  6
#define TREE_KEY_ROOM 22

struct tree_table {
    odb_table t;
    struct bytes smallest, largest; /* t's slices, copied */
};

struct tree {
    struct tree_table *table;
    size_t count, cap;
    odb_slice *edge; /* first and last keys, sorted, each once */
    size_t edges;
};

static void tree_add(void *arg, const odb_table *table)
{
    struct tree *tree = arg;
    struct tree_table *one;

    if (tree->count == tree->cap) {
        size_t cap = tree->cap ? tree->cap * 2 : 16;
        struct tree_table *grown = realloc(tree->table, cap * sizeof *grown);

        if (!grown) {
            fprintf(stderr, "odb: out of memory\n");
            exit(EXIT_OTHER);
        }
        tree->table = grown;
        tree->cap = cap;
    }
    one = &tree->table[tree->count++];
    *one = (struct tree_table){*table, {NULL, 0, 0}, {NULL, 0, 0}};
    bytes_add(&one->smallest, table->smallest.data, table->smallest.size);
    bytes_add(&one->largest, table->largest.data, table->largest.size);
    one->t.smallest = bytes_slice(&one->smallest);
    one->t.largest = bytes_slice(&one->largest);
}

static int compare_edges(const void *a, const void *b)
{
    return odb_slice_compare(*(const odb_slice *)a, *(const odb_slice *)b);
}

static bool tree_sort_edges(struct tree *tree)
{
    size_t n = 0;

    tree->edge = calloc(tree->count * 2 + 1, sizeof *tree->edge);
    if (!tree->edge)
        return false;
    for (size_t i = 0; i < tree->count; i++) {
        tree->edge[n++] = tree->table[i].t.smallest;
        tree->edge[n++] = tree->table[i].t.largest;
    }
    qsort(tree->edge, n, sizeof *tree->edge, compare_edges);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !odb_slice_equal(tree->edge[i], tree->edge[tree->edges - 1]))
            tree->edge[tree->edges++] = tree->edge[i];
    return true;
}

static void tree_free(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        bytes_free(&tree->table[i].smallest);
        bytes_free(&tree->table[i].largest);
    }
    free(tree->table);
    free(tree->edge);
}

/* The column where the edge begins that stands at or behind `key`; `is_end`: where the next begins. */
static int tree_column(const struct tree *tree, odb_slice key, bool is_end)
{
    size_t low = 0, high = tree->edges;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (odb_slice_compare(tree->edge[mid], key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return (int)((low + is_end) * TREE_COLUMNS / tree->edges);
}

/* Paint a table into a row of columns: 0 empty, 1 and 2 alternating shades. */
static void tree_paint(const struct tree *tree, const struct tree_table *one, char shade, char *row)
{
    int from = tree_column(tree, one->t.smallest, false);
    int to = tree_column(tree, one->t.largest, true);

    if (from == TREE_COLUMNS)
        from--; /* more edges than columns: the last ones share one */
    for (int i = from; i < to || i == from; i++)
        row[i] = shade;
}

static void tree_print_row(const struct tool *t, const char *row)
{
    static const char *const shade[2][3] = {{" ", "#", "="}, {" ", "\xe2\x96\x88", "\xe2\x96\x93"}};

    for (int i = 0; i < TREE_COLUMNS; i++)
        (void)fputs(shade[t->is_utf8][(int)row[i]], stdout);
}

static void tree_print_level(const struct tool *t, const struct tree *tree, uint32_t level)
{
    uint64_t files = 0, bytes = 0, entries = 0;
    char row[TREE_COLUMNS] = {0};
    size_t shown = 0;

    for (size_t i = 0; i < tree->count; i++)
        if (tree->table[i].t.level == level) {
            files++;
            bytes += tree->table[i].t.size;
            entries += tree->table[i].t.entries;
        }
    if (files == 0)
        return;
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->table[i].t.level != level || (level == 0 && shown >= TREE_L0_ROWS))
            continue;
        if (level == 0) /* its tables overlap: a row for each */
            memset(row, 0, sizeof row);
        tree_paint(tree, &tree->table[i], (char)(1 + shown % 2), row);
        shown++;
        if (level > 0 && shown < files)
            continue;
        if (level > 0 || shown == 1)
            printf("  L%u    ", level);
        else
            printf("        ");
        tree_print_row(t, row);
        if (level > 0 || shown == 1)
            printf("  %5llu table%s %10s %14s entries", (unsigned long long)files,
                   files == 1 ? " " : "s", show_bytes(bytes), show_count(entries));
        (void)putchar('\n');
    }
    if (level == 0 && files > shown)
        printf("        and %llu more\n", (unsigned long long)(files - shown));
}

/* A key as text, cut to TREE_KEY_ROOM columns or less. */
static void tree_show_key(const struct tool *t, odb_slice key, struct bytes *out)
{
    size_t most = TREE_KEY_ROOM - 3, len;

    text_show(t, odb_bytes(key.data, key.size < TREE_KEY_ROOM ? key.size : TREE_KEY_ROOM), out);
    if (out->len <= most && key.size <= TREE_KEY_ROOM)
        return;
    len = out->len < most ? out->len : most;
    while (len > 0 && len < out->len && (out->p[len] & 0xc0) == 0x80)
        len--; /* not in the middle of a character */
    out->len = len;
    bytes_add(out, "...", 3);
}

/* The first key at the left end of the picture, the last one at its right end. */
static void tree_print_keys(const struct tool *t, const struct tree *tree)
{
    struct bytes first = {NULL, 0, 0}, last = {NULL, 0, 0};

    tree_show_key(t, tree->edge[0], &first);
    tree_show_key(t, tree->edge[tree->edges - 1], &last);
    printf("  keys  %.*s%*.*s\n", (int)first.len, first.p ? first.p : "",
           TREE_COLUMNS - (int)first.len, (int)last.len, last.p ? last.p : "");
    bytes_free(&first);
    bytes_free(&last);
}

static void tree_print(const struct tool *t, const char *name, const struct tree *tree,
                       const odb_stats_t *s)
{
    uint64_t bytes = 0, entries = 0;

    for (size_t i = 0; i < tree->count; i++) {
        bytes += tree->table[i].t.size;
        entries += tree->table[i].t.entries;
    }
    printf("family %s   %s entries in %s table%s, %s", name, show_count(entries),
           show_count(tree->count), tree->count == 1 ? "" : "s", show_bytes(bytes));
    if (s->memtable_entries)
        printf("; %s entries in memory", show_count(s->memtable_entries));
    (void)putchar('\n');
    if (tree->count == 0)
        return;
    tree_print_keys(t, tree);
    for (uint32_t level = 0; level < ODB_LEVELS; level++)
        tree_print_level(t, tree, level);
    (void)putchar('\n');
}

static void tree_print_json(const char *name, const struct tree *tree)
{
    struct bytes line = {NULL, 0, 0};

    for (size_t i = 0; i < tree->count; i++) {
        const odb_table *one = &tree->table[i].t;

        line.len = 0;
        json_add_field(&line, "cf", odb_s(name));
        bytes_add(&line, ",", 1);
        json_add_field(&line, "smallest", one->smallest);
        bytes_add(&line, ",", 1);
        json_add_field(&line, "largest", one->largest);
        printf(
            "{%.*s,\"level\":%lu,\"file\":%llu,\"bytes\":%llu,\"entries\":%llu,\"deletes\":%llu}\n",
            (int)line.len, line.p, (unsigned long)one->level, (unsigned long long)one->file_no,
            (unsigned long long)one->size, (unsigned long long)one->entries,
            (unsigned long long)one->deletes);
    }
    bytes_free(&line);
}

static odb_status show_tree(const struct tool *t, const char *name)
{
    struct tree tree = {NULL, 0, 0, NULL, 0};
    odb_stats_t s = {.size = sizeof s};
    odb_cf *cf;
    odb_status st = odb_cf_open(t->db, name, &cf);

    if (st == ODB_OK)
        st = odb_stats(t->db, cf, &s);
    if (st == ODB_OK)
        st = odb_tables(t->db, cf, tree_add, &tree);
    if (st == ODB_OK && !tree_sort_edges(&tree))
        st = odb_error_set(ODB_NOMEM, "no memory for a picture");
    if (st == ODB_OK && t->is_json)
        tree_print_json(name, &tree);
    else if (st == ODB_OK && (tree.count || s.memtable_entries || t->cf))
        tree_print(t, name, &tree, &s);
    tree_free(&tree);
    return st;
}

int cmd_tree(struct tool *t)
{
    odb_names names;
    odb_status st = odb_cf_list(t->db, &names);

    for (size_t i = 0; st == ODB_OK && i < names.count; i++)
        if (!t->cf || strcmp(t->cf, names.name[i]) == 0)
            st = show_tree(t, names.name[i]);
    odb_names_release(&names);
    return st == ODB_OK ? EXIT_FINE : tool_fail(st, "tree");
}
