/* What a table costs: writing, point reads, walks. Run by hand: bench_table [million keys [w]], with
 * `w` to write only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/epoch.h"
#include "base/hash.h"
#include "sstable/sst.h"
#include "tests/base/random.h"

#define KEY_LEN   16
#define VALUE_LEN 100

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* of this process: others may be running */
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(odb_status st, const char *what)
{
    if (st == ODB_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, odb_status_name(st), odb_error_text());
    exit(1);
}

/* Keys are spread out: number i is the i-th of n. */
static void make_key(uint64_t i, char *key)
{
    char text[24];

    snprintf(text, sizeof text, "%016llu", (unsigned long long)(i * 7919));
    memcpy(key, text, KEY_LEN);
}

static void write_table(const struct sst_writer_options *opt, uint64_t file_no, uint64_t n,
                        const char *keys, const uint8_t *noise, struct sst_meta *meta)
{
    struct sst_writer *w = NULL;
    double start = now_ns();

    must(sst_writer_new(opt, file_no, &w), "create");
    for (uint64_t i = 0; i < n; i++) {
        struct entry e = {.key = (const uint8_t *)keys + i * KEY_LEN,
                          .key_len = KEY_LEN,
                          .value = noise + (i * 37 & 0xffff) * 16,
                          .value_len = VALUE_LEN,
                          .trailer = trailer_make(i + 1, KIND_PUT)};

        must(sst_writer_add(w, &e), "add");
    }
    must(sst_writer_finish(w, meta), "finish");
    sst_writer_free(w);
    printf("write, %-22s %6.1f ns/entry   %.3f of the raw size\n",
           opt->codec == CODEC_RAW      ? "raw:"
           : opt->lz4_acceleration == 1 ? "lz4:"
                                        : "lz4, acceleration 4:",
           (now_ns() - start) / (double)n,
           (double)meta->size / (double)(n * (KEY_LEN + VALUE_LEN)));
}

static void bench_get(struct sst_store *s, struct epoch *ep, struct sst_ref *ref, uint64_t n,
                      const char *what, bool is_there)
{
    enum { READS = 2000000 };
    struct rnd r = {5};
    char *keys = malloc((size_t)READS * KEY_LEN);
    uint64_t found = 0, sum = 0;
    double start;

    for (size_t i = 0; i < READS; i++) {
        make_key(rnd_next(&r) % n, keys + i * KEY_LEN);
        if (!is_there)
            keys[i * KEY_LEN + KEY_LEN - 1] ^= 1;
    }
    start = now_ns();
    for (size_t i = 0; i < READS; i++) {
        odb_slice key = odb_bytes(keys + i * KEY_LEN, KEY_LEN);
        struct epoch_guard g = epoch_enter(ep);
        struct sst_hit hit;

        must(sst_get(s, ref, key, hash64(key.data, key.size), UINT64_MAX, &hit), "get");
        if (hit.is_found)
            found++, sum += ((const uint8_t *)hit.value.data)[0];
        epoch_leave(g);
    }
    printf("%-29s %6.1f ns   (%llu found, %llu)\n", what, (now_ns() - start) / READS,
           (unsigned long long)found, (unsigned long long)(sum & 1));
    free(keys);
}

static void bench_scan(struct sst_store *s, struct sst_ref *ref, unsigned flags, bool is_backward,
                       const char *what)
{
    struct cursor *c = NULL;
    uint64_t n = 0, sum = 0;
    double start = now_ns();
    bool ok;

    must(sst_cursor_new(s, ref, flags, &c), "cursor");
    for (ok = is_backward ? c->ops->last(c) : c->ops->first(c); ok;
         ok = is_backward ? cursor_prev(c) : cursor_next(c)) {
        sum += cursor_entry(c)->key[KEY_LEN - 1] + cursor_entry(c)->value[0];
        n++;
    }
    must(c->status, "scan");
    cursor_free(c);
    printf("%-29s %6.1f ns/entry   (%llu)\n", what, (now_ns() - start) / (double)n,
           (unsigned long long)(sum & 1));
}

static void bench_seek(struct sst_store *s, struct sst_ref *ref, uint64_t n, int steps,
                       const char *what)
{
    enum { SEEKS = 500000 };
    struct cursor *c = NULL;
    struct rnd r = {6};
    uint64_t sum = 0;
    double start;

    must(sst_cursor_new(s, ref, 0, &c), "cursor");
    start = now_ns();
    for (int i = 0; i < SEEKS; i++) {
        char key[KEY_LEN];

        make_key(rnd_next(&r) % n, key);
        (void)c->ops->seek(c, odb_bytes(key, KEY_LEN), UINT64_MAX);
        for (int k = 0; k < steps && cursor_valid(c); k++) {
            sum += cursor_entry(c)->value[0];
            (void)cursor_next(c);
        }
    }
    printf("%-29s %6.1f ns   (%llu)\n", what, (now_ns() - start) / SEEKS,
           (unsigned long long)(sum & 1));
    cursor_free(c);
}

int main(int argc, char **argv)
{
    uint64_t n = (uint64_t)((argc > 1 ? atof(argv[1]) : 1.0) * 1e6);
    char path[64] = "/dev/shm/odb-bench-XXXXXX", *keys = malloc(n * KEY_LEN);
    uint8_t *noise = malloc(65536 * 16 + VALUE_LEN);
    struct epoch *ep = malloc(sizeof *ep);
    struct sst_store_options so = {.os = os_posix(),
                                   .cache_bytes = (size_t)2 << 30,
                                   .open_tables = 16,
                                   .verify_on_read = true,
                                   .epoch = ep};
    struct sst_writer_options wo = {.os = os_posix(),
                                    .block_size = 4096,
                                    .codec = CODEC_LZ4,
                                    .lz4_acceleration = 1,
                                    .bits_per_key = 10};
    struct sst_store *s = NULL;
    struct sst_meta meta[3];
    struct sst_ref ref;
    struct rnd r = {1};
    double start;

    if (!mkdtemp(path) || !keys || !noise || !ep)
        return 1;
    for (uint64_t i = 0; i < n; i++)
        make_key(i, keys + i * KEY_LEN);
    for (size_t i = 0; i < 65536 * 16 + VALUE_LEN; i++) /* packs to about a half */
        noise[i] = i % 100 < 50 ? (uint8_t)rnd_next(&r) : 'v';
    epoch_init(ep);
    must(os_dir_open(os_posix(), path, 0, &so.dir), "open directory");
    wo.dir = so.dir;
    must(sst_store_new(&so, &s), "store");

    write_table(&wo, 1, n, keys, noise, &meta[0]);
    wo.lz4_acceleration = 4;
    write_table(&wo, 2, n, keys, noise, &meta[1]);
    wo.codec = CODEC_RAW;
    write_table(&wo, 3, n, keys, noise, &meta[2]);

    if (argc > 2)
        goto done;
    ref = (struct sst_ref){.file_no = 1, .size = meta[0].size, .check = meta[0].check};
    bench_scan(s, &ref, SST_SCAN, false, "merge scan, nothing resident:");
    bench_scan(s, &ref, 0, false, "scan, nothing resident:");
    bench_scan(s, &ref, 0, false, "scan, all resident:");
    bench_scan(s, &ref, 0, true, "backward, all resident:");
    bench_scan(s, &ref, SST_SCAN, false, "merge scan, all resident:");
    bench_get(s, ep, &ref, n, "get, all resident:", true);
    bench_get(s, ep, &ref, n, "get of what is not there:", false);
    bench_seek(s, &ref, n, 1, "seek:");
    bench_seek(s, &ref, n, 10, "seek and 10 steps:");
    printf("memory charged: %.1f MB\n", (double)sst_store_bytes(s) / 1e6);
    sst_store_resize(s, 8 << 20);
    bench_get(s, ep, &ref, n, "get, mostly from the file:", true);
    start = now_ns();
    must(sst_verify(s, &meta[0]), "verify");
    printf("%-29s %6.1f ns/entry\n", "verify:", (now_ns() - start) / (double)n);

    sst_ref_drop(s, &ref);
done:
    sst_store_free(s);
    epoch_release(ep);
    for (int i = 0; i < 3; i++) {
        char name[SST_NAME_MAX];

        sst_file_name(meta[i].file_no, name);
        must(os_remove(so.dir, name), "remove");
        sst_meta_release(&meta[i]);
    }
    os_dir_close(so.dir);
    rmdir(path);
    free(keys);
    free(noise);
    free(ep);
    return 0;
}
