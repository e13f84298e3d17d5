/* What flushing and merging cost, and what of it is the merge. Run by hand: bench_compact [million
 * entries]. Keys are 16 bytes, values 100 and about half compressible. CPU time of this process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compaction/compact.h"
#include "tests/base/random.h"

enum { KEY_LEN = 16, VALUE_LEN = 100, SOURCES = 9, RUN = 64 };

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(odb_status st, const char *what)
{
    if (st == ODB_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, odb_status_name(st), odb_error_text());
    exit(1);
}

/* An array as a memtable's cursor: runs of 64 entries. */
struct bench_source {
    struct cursor c; /* first */
    struct entry *all;
    size_t count, from;
};

static bool bench_show(struct bench_source *s, size_t from)
{
    if (from >= s->count)
        return cursor_stop(&s->c, ODB_OK);
    s->from = from;
    s->c.run = s->all + from;
    s->c.at = 0;
    s->c.count = s->count - from < RUN ? (uint32_t)(s->count - from) : RUN;
    return true;
}

static bool bench_first(struct cursor *c)
{
    return bench_show((struct bench_source *)(void *)c, 0);
}

static bool bench_next_run(struct cursor *c)
{
    struct bench_source *s = (struct bench_source *)(void *)c;

    return bench_show(s, s->from + c->count);
}

static const struct cursor_ops bench_ops = {.first = bench_first, .next_run = bench_next_run};

static int by_key(const void *a, const void *b)
{
    return memcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key, KEY_LEN);
}

struct bench {
    struct os_dir *dir;
    struct epoch epoch;
    struct sst_store *store;
    uint64_t file_no;
    uint8_t *keys, *noise;
    struct bench_source source[SOURCES];
    struct sst_writer_options writer;
};

static uint64_t bench_file_no(void *arg)
{
    return ++((struct bench *)arg)->file_no;
}

static bool bench_nothing_below(void *arg, odb_slice key)
{
    (void)arg;
    (void)key;
    return false;
}

/* Deal `n` sorted keys out to sources: weight[s] shares each, in random order or in one piece. */
static void deal(struct bench *b, size_t n, const unsigned *weight, uint32_t sources, bool disjoint)
{
    struct rnd r = {1};
    uint32_t total = 0;

    for (uint32_t s = 0; s < sources; s++) {
        free(b->source[s].all);
        b->source[s] = (struct bench_source){.c = {.ops = &bench_ops},
                                             .all = malloc(n * sizeof(struct entry))};
        total += weight[s];
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t at = disjoint ? (uint32_t)(i * total / n) : rnd_below(&r, total), s = 0;
        struct bench_source *to;

        for (; at >= weight[s]; s++)
            at -= weight[s];
        to = &b->source[s];
        to->all[to->count++] = (struct entry){
            .key = b->keys + i * KEY_LEN,
            .key_len = KEY_LEN,
            .value = b->noise + (i * 37 & 0xffff) * 16,
            .value_len = VALUE_LEN,
            .trailer = trailer_make(1 + rnd_below(&r, 1u << 30), KIND_PUT),
        };
    }
}

static void remove_tables(struct bench *b, struct compact_result *r)
{
    char name[SST_NAME_MAX];

    for (uint32_t i = 0; i < r->count; i++) {
        sst_file_name(r->tables[i].file_no, name);
        must(os_remove(b->dir, name), "remove");
    }
    compact_result_release(r);
}

static void run_job(struct bench *b, struct cursor **inputs, uint32_t count,
                    struct compact_result *r)
{
    static const uint64_t now[] = {SEQ_MAX};
    struct compact_job job = {.inputs = inputs,
                              .input_count = count,
                              .snapshots = now,
                              .snapshot_count = 1,
                              .older_below = bench_nothing_below,
                              .target_size = 64 << 20,
                              .writer = b->writer,
                              .new_file_no = bench_file_no,
                              .new_file_no_arg = b};

    must(compact_run(&job, r), "merge");
}

/* Walk only; merge from memory; merge from tables. */
static void measure(struct bench *b, const char *what, uint32_t sources)
{
    struct cursor *inputs[SOURCES];
    struct compact_result r, in[SOURCES];
    struct merge m;
    double start = now_ns(), walk, memory, tables;
    uint64_t n = 0, sum = 0;

    for (uint32_t s = 0; s < sources; s++)
        inputs[s] = &b->source[s].c;
    must(merge_init(&m, inputs, sources, 0), "merge");
    for (bool more = merge_first(&m); more; more = merge_next(&m)) {
        sum += merge_entry(&m)->trailer;
        n++;
    }
    walk = now_ns() - start;
    merge_detach(&m);
    merge_release(&m);
    start = now_ns();
    run_job(b, inputs, sources, &r);
    memory = now_ns() - start;
    remove_tables(b, &r);
    for (uint32_t s = 0; s < sources; s++) {
        struct cursor *one[1] = {&b->source[s].c};

        run_job(b, one, 1, &in[s]);
    }
    start = now_ns();
    for (uint32_t s = 0; s < sources; s++) {
        struct sst_ref ref = {in[s].tables[0].file_no, in[s].tables[0].size, in[s].tables[0].check,
                              NULL};

        must(sst_cursor_new(b->store, &ref, SST_SCAN, &inputs[s]), "open");
        sst_ref_drop(b->store, &ref);
    }
    run_job(b, inputs, sources, &r);
    for (uint32_t s = 0; s < sources; s++)
        cursor_free(inputs[s]);
    tables = now_ns() - start;
    printf("%-28s walk %5.1f   from memory %6.1f   from tables %6.1f   ns/entry   (%llx)\n", what,
           walk / (double)n, memory / (double)n, tables / (double)n,
           (unsigned long long)(sum & 15));
    remove_tables(b, &r);
    for (uint32_t s = 0; s < sources; s++)
        remove_tables(b, &in[s]);
    (void)epoch_collect(&b->epoch);
}

static void bench_writer(struct bench *b)
{
    struct bench_source *s = &b->source[0];
    double start = now_ns();
    struct sst_writer *w;
    struct sst_meta meta;
    char name[SST_NAME_MAX];

    must(sst_writer_new(&b->writer, ++b->file_no, &w), "create");
    for (size_t i = 0; i < s->count; i++)
        must(sst_writer_add(w, &s->all[i]), "add");
    must(sst_writer_finish(w, &meta), "finish");
    sst_writer_free(w);
    printf("%-28s %.1f ns/entry\n", "the writer alone", (now_ns() - start) / (double)s->count);
    sst_file_name(meta.file_no, name);
    must(os_remove(b->dir, name), "remove");
    sst_meta_release(&meta);
}

int main(int argc, char **argv)
{
    static const unsigned even[SOURCES] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, ten[2] = {1, 10};
    size_t n = (argc > 1 ? strtoull(argv[1], NULL, 0) : 1) * 300000;
    struct bench b = {.file_no = 0};
    struct rnd r = {7};
    struct sst_store_options store = {.os = os_posix(),
                                      .db_id = 7,
                                      .epoch = &b.epoch,
                                      .cache_bytes = 64 << 20,
                                      .open_tables = 64,
                                      .verify_on_read = true};
    char path[] = "/tmp/bench_compact.XXXXXX";
    struct entry *sorted = malloc(n * sizeof *sorted);

    b.keys = malloc(n * KEY_LEN);
    b.noise = malloc((1 << 20) + VALUE_LEN);
    if (!sorted || !b.keys || !b.noise || !mkdtemp(path))
        return 1;
    for (size_t i = 0; i < (1 << 20) + VALUE_LEN; i++)
        b.noise[i] = i / 50 % 2 ? (uint8_t)rnd_next(&r) : 'x';
    for (size_t i = 0; i < n; i++) {
        uint8_t *key = malloc(KEY_LEN);

        if (!key)
            return 1;
        enc_u64_be(key, rnd_next(&r) >> 20);
        memcpy(key + 8, "00000000", 8);
        sorted[i] = (struct entry){.key = key};
    }
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 0; i < n; i++)
        memcpy(b.keys + i * KEY_LEN, sorted[i].key, KEY_LEN);
    must(os_dir_open(os_posix(), path, 0, &b.dir), "directory");
    epoch_init(&b.epoch);
    store.dir = b.dir;
    must(sst_store_new(&store, &b.store), "store");
    b.writer = (struct sst_writer_options){.os = os_posix(),
                                           .dir = b.dir,
                                           .db_id = 7,
                                           .block_size = 4096,
                                           .codec = CODEC_LZ4,
                                           .lz4_acceleration = 1,
                                           .bits_per_key = 10};
    deal(&b, n, even, 1, false);
    bench_writer(&b);
    measure(&b, "flush: 1 source", 1);
    deal(&b, n, even, 2, true);
    measure(&b, "2 sources, disjoint", 2);
    deal(&b, n, even, 2, false);
    measure(&b, "2 sources, mixed", 2);
    deal(&b, n, ten, 2, false);
    measure(&b, "2 sources, mixed 1 : 10", 2);
    deal(&b, n, even, 5, false);
    measure(&b, "5 sources, mixed", 5);
    deal(&b, n, even, 9, false);
    measure(&b, "9 sources, mixed", 9);
    sst_store_free(b.store);
    epoch_release(&b.epoch);
    os_dir_close(b.dir);
    (void)rmdir(path);
    return 0;
}
