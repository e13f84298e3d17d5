/* tests/reliability/bitflip.c -- every bit of a database turned over, every block and file put where it
 * does not belong: the same answers, or an error that says so, never other answers (P8, P9, P17).
 *
 *     bitflip --sample N             N flips and every 37th misplacement, for CI
 *     bitflip --budget SECONDS       databases of seed N, N+1, ..., all bits of all bytes
 *     bitflip --seed N
 *     bitflip --replay SEED:WHAT:FILE:OFFSET:ARG
 *
 * The database is what tests/cf/workload.h leaves behind when its process dies: tables on several
 * levels, log segments, a ring, a manifest, several families. Its twin lived the same life under
 * another identity: a block of the twin lies at the same place, with a good checksum, and is wrong. Its
 * past is the same database some transactions earlier.
 *
 *   flip       one bit                              (read-only, then put right again)
 *   cut        the file ends here; of a log or manifest also: behind each of its records
 *   zero       512 bytes, 4096 bytes of zeros
 *   copy       512 bytes from another place of the same file, or of the next file of its kind
 *   twin past  512 bytes, all from here on, all up to here: from the twin's or the past's file
 *   whole      the file of the twin, of the past, or a neighbour's, in its place
 *
 * Allowed: the same answers; an open or a read that fails with a status and text; and for the log and the
 * ring a shorter prefix, never shorter than what was durable before the last synced group (P9's limit).
 */
#include "tests/cf/workload.h"
#include "tests/reliability/stop.h"

#include <time.h>

#include "cf/files.h"
#include "cf/manifest.h"
#include "wal/record.h"
#include "wal/segment.h"

#define TXNS      70
#define FILES_MAX 96

enum outcome { SAME, REFUSED, READ_FAILED, SHORTER, WRONG, OUTCOMES };

static const char *const outcome_name[OUTCOMES] = {"same answers", "open refused", "read failed",
                                                   "shorter prefix", "WRONG"};

struct file {
    char name[FILE_NAME_MAX];
    uint64_t size;
    enum file_kind kind;
    bool is_log; /* or ring */
    bool matters;
};

static struct {
    uint64_t seed;
    double budget;
    uint64_t sample;
    double started;
    uint64_t flips[OUTCOMES], moves[OUTCOMES];
    uint64_t named; /* failures whose text names the damaged file */
    uint64_t failures, databases, bytes;
} run;

static struct workload work;
static uint32_t least_log; /* durable before the last synced group */
static uint32_t before_last;
static struct os *whole, *twin, *past;
static struct file file[FILES_MAX];
static size_t file_count;

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool is_over(void)
{
    return run.failures > 0 || stop_is_asked() ||
           (run.budget > 0 && now_s() - run.started > run.budget);
}

/* ---- three databases ---- */

static void note_durable(struct workload *w)
{
    if (w->p.durable != before_last) {
        least_log = before_last;
        before_last = w->p.durable;
    }
}

/* A life of `txns` transactions, and the disk when its process dies. */
static struct os *live(uint64_t disk_seed, uint32_t txns)
{
    struct os *os = sim_new(disk_seed), *image;

    workload_begin(&work, os, run.seed, txns);
    work.variant = (uint32_t)(run.seed * 7 + 2) & 31;
    work.on_ack = note_durable;
    least_log = before_last = 0;
    work.st = workload_open(&work);
    while (work.st == ODB_OK && work.p.started < txns)
        work.st = workload_step(&work);
    image = sim_image(os, SIM_M1, 0);
    workload_end(&work);
    sim_free(os);
    return image;
}

static uint64_t size_of(struct os *os, const char *name)
{
    struct os_dir *dir = NULL;
    struct os_file *f = NULL;
    uint64_t size = 0;

    if (os_dir_open(os, DB, OS_DIR_READONLY, &dir) == ODB_OK &&
        os_open(dir, name, 0, &f) == ODB_OK && os_size(f, &size) != ODB_OK)
        size = 0;
    os_close(f);
    os_dir_close(dir);
    return size;
}

static size_t bytes_of(struct os *os, const char *name, uint64_t off, uint8_t *out, size_t len)
{
    struct os_dir *dir = NULL;
    struct os_file *f = NULL;
    size_t got = 0;

    if (os_dir_open(os, DB, OS_DIR_READONLY, &dir) == ODB_OK &&
        os_open(dir, name, 0, &f) == ODB_OK && os_read(f, off, out, len, &got) != ODB_OK)
        got = 0;
    os_close(f);
    os_dir_close(dir);
    return got;
}

static bool add_file(void *arg, const char *name)
{
    struct file *f = &file[file_count];
    uint64_t no;

    (void)arg;
    if (file_count == FILES_MAX)
        return false;
    f->kind = file_parse(name, &no);
    f->is_log = f->kind == FILE_LOG || strcmp(name, "RING") == 0;
    f->matters = f->is_log || f->kind != FILE_OTHER;
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    file_count++;
    return true;
}

static bool make_databases(void)
{
    struct os_dir *dir = NULL;
    odb_status st;

    past = live(run.seed, TXNS - 12);
    twin = live(run.seed + 1000, TXNS);
    whole = live(run.seed, TXNS);
    file_count = 0;
    st = os_dir_open(whole, DB, OS_DIR_READONLY, &dir);
    if (st == ODB_OK)
        st = os_dir_list(dir, add_file, NULL);
    os_dir_close(dir);
    for (size_t i = 0; i < file_count; i++) {
        file[i].size = size_of(whole, file[i].name);
        run.bytes += file[i].size;
    }
    run.databases++;
    return st == ODB_OK && file_count > 0 && work.st == ODB_OK;
}

static void drop_databases(void)
{
    sim_free(whole);
    sim_free(twin);
    sim_free(past);
}

/* ---- looking ---- */

static enum outcome failed_as(odb_status st, enum outcome how, const char *name)
{
    if (strstr(odb_error_text(), name))
        run.named++;
    return st == ODB_CORRUPT || st == ODB_VERSION || st == ODB_IO || st == ODB_ABSENT ||
                   st == ODB_TOO_LARGE || st == ODB_UNSUPPORTED
               ? how
               : WRONG;
}

/* Every key forward, and each by itself. */
static enum outcome look_family(struct cf_set *s, struct cf *cf, uint32_t f, uint32_t k,
                                const char *name)
{
    const uint16_t *wrote = work.at[k].wrote[f];
    struct lsm_iter *it = NULL;
    char text[16], value[128], got[256];
    odb_status st = cf_iter_new(s, cf, NULL, NULL, &it);
    uint32_t key = 0;

    if (st != ODB_OK)
        return failed_as(st, READ_FAILED, name);
    for (bool on = lsm_iter_first(it); on; on = lsm_iter_next(it), key++) {
        while (key < KEYS && wrote[key] <= work.p.born[f])
            key++;
        if (key == KEYS ||
            !odb_slice_equal(lsm_iter_key(it), odb_bytes(text, key_text(key, text))) ||
            !odb_slice_equal(lsm_iter_value(it),
                             odb_bytes(value, value_text(wrote[key], f, key, value)))) {
            lsm_iter_free(it);
            return WRONG;
        }
    }
    st = lsm_iter_status(it);
    if (st != ODB_OK) {
        enum outcome o = failed_as(st, READ_FAILED, name);

        lsm_iter_free(it);
        return o;
    }
    lsm_iter_free(it);
    while (key < KEYS && wrote[key] <= work.p.born[f])
        key++;
    if (key < KEYS)
        return WRONG; /* a key is missing, and nobody said so */
    for (key = 0; key < KEYS; key++) {
        bool is_there = wrote[key] > work.p.born[f];
        size_t size = 0, want = is_there ? value_text(wrote[key], f, key, value) : 0;

        st = cf_get_into(s, cf, NULL, odb_bytes(text, key_text(key, text)), got, sizeof got, &size);
        if (st != ODB_OK && st != ODB_ABSENT)
            return failed_as(st, READ_FAILED, name);
        if ((st == ODB_OK) != is_there ||
            (is_there && (size != want || memcmp(got, value, want) != 0)))
            return WRONG;
    }
    return SAME;
}

static enum outcome look(struct os *os, bool is_readonly, const struct file *damaged)
{
    struct cf_set_options o = workload_variant(os, work.variant);
    struct cf_set *s = NULL;
    struct cf *cf[FAMILIES];
    enum outcome out = SAME;
    uint32_t k = 0;
    char why[300];
    odb_status st;

    o.create = false;
    o.is_readonly = is_readonly;
    st = cf_open(DB, &o, &s);
    if (st != ODB_OK)
        return failed_as(st, REFUSED, damaged->name);
    if (workload_find(s, cf) != ODB_OK)
        out = WRONG;
    else if (!claimed_prefix(s, cf[0], &k, why))
        out = READ_FAILED;
    else if (k > work.p.started || k < (damaged->is_log ? least_log : work.p.acked))
        out = WRONG;
    for (uint32_t f = 0; f < FAMILIES && out == SAME; f++) {
        if ((cf[f] != NULL) != work.p.must[f])
            out = WRONG;
        else if (cf[f])
            out = look_family(s, cf[f], f, k, damaged->name);
    }
    if (out == SAME && k < work.p.acked)
        out = SHORTER;
    if (out <= SHORTER && !is_readonly) {
        st = cf_verify(s, NULL, NULL); /* may find more than was read */
        if (st != ODB_OK)
            out = failed_as(st, READ_FAILED, damaged->name);
    }
    err_ignore(cf_close(s));
    return out;
}

static void judge(enum outcome out, uint64_t *count, const char *what, const struct file *f,
                  uint64_t off, uint64_t arg)
{
    count[out]++;
    if (out != WRONG && test_alloc_alive() == 0)
        return;
    run.failures++;
    printf("FAILED: %s of %s at %llu, %llu: %s\n", what, f->name, (unsigned long long)off,
           (unsigned long long)arg, out == WRONG ? "a wrong answer" : "memory was leaked");
    printf("replay: bitflip --replay %llu:%s:%s:%llu:%llu\n", (unsigned long long)run.seed, what,
           f->name, (unsigned long long)off, (unsigned long long)arg);
}

/* ---- flips ---- */

static void flip(const struct file *f, uint64_t off, unsigned bit)
{
    static uint64_t n;
    uint8_t was, is;
    struct os *os = whole;
    bool writes = n++ % 16 == 15;

    if (bytes_of(whole, f->name, off, &was, 1) != 1)
        return;
    is = (uint8_t)(was ^ 1u << bit);
    if (writes) /* an open that recovers and writes: on a copy */
        os = sim_image(whole, SIM_M1, 0);
    err_ignore(sim_poke(os, DB, f->name, off, &is, 1));
    judge(look(os, !writes, f), run.flips, "flip", f, off, bit);
    if (writes)
        sim_free(os);
    else
        err_ignore(sim_poke(os, DB, f->name, off, &was, 1));
}

static void flip_all(void)
{
    for (size_t i = 0; i < file_count; i++)
        for (uint64_t off = 0; file[i].matters && off < file[i].size; off++)
            for (unsigned bit = 0; bit < 8; bit++) {
                if (is_over())
                    return;
                flip(&file[i], off, bit);
            }
}

static void flip_some(uint64_t count)
{
    uint64_t chance = run.seed;

    for (uint64_t n = 0; n < count && !is_over(); n++) {
        const struct file *f;

        chance = chance * 6364136223846793005u + 1442695040888963407u;
        f = &file[(chance >> 33) % file_count];
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        if (f->matters && f->size)
            flip(f, (chance >> 20) % f->size, (unsigned)(chance >> 60) % 8);
    }
}

/* ---- misplacements ---- */

/* Make file `f` of a copy hold `bytes`. */
static void replaced(const struct file *f, const uint8_t *bytes, size_t len, const char *what,
                     uint64_t off, uint64_t arg)
{
    static uint64_t n;
    struct os *os = sim_image(whole, SIM_M1, 0);
    struct os_dir *dir = NULL;
    struct os_file *file_now = NULL;
    odb_status st = os_dir_open(os, DB, 0, &dir);

    if (st == ODB_OK)
        st = os_open(dir, f->name, OS_WRITE, &file_now);
    if (st == ODB_OK)
        st = os_truncate(file_now, len);
    os_close(file_now);
    os_dir_close(dir);
    if (st == ODB_OK && len)
        st = sim_poke(os, DB, f->name, 0, bytes, len);
    if (st == ODB_OK)
        judge(look(os, n++ % 4 != 3, f), run.moves, what, f, off, arg);
    sim_free(os);
}

static const struct file *neighbour(const struct file *f, size_t step)
{
    size_t at = (size_t)(f - file);

    for (size_t i = 1, found = 0; i < file_count; i++)
        if (file[(at + i) % file_count].kind == f->kind && f->kind != FILE_OTHER && ++found == step)
            return &file[(at + i) % file_count];
    return NULL;
}

struct source {
    const char *name;
    uint8_t *bytes;
    size_t len;
};

static struct source source_of(struct os *os, const char *what, const char *name)
{
    struct source s = {what, NULL, (size_t)size_of(os, name)};

    s.bytes = malloc(s.len + 1);
    s.len = s.bytes && s.len ? bytes_of(os, name, 0, s.bytes, s.len) : 0;
    return s;
}

static bool takes_turn(void)
{
    static uint64_t n;

    return run.sample == 0 || n++ % 37 == 0;
}

/* `from` (same size at least) in parts: 512 bytes at off, everything before, everything behind. */
static void mix_in(const struct file *f, const struct source *mine, const struct source *from,
                   uint8_t *work_bytes)
{
    size_t end = mine->len < from->len ? mine->len : from->len;

    for (size_t off = 0; off < end && !is_over(); off += 512) {
        size_t n = end - off < 512 ? end - off : 512;

        for (unsigned how = 0; how < 3; how++) {
            if (!takes_turn())
                continue;
            memcpy(work_bytes, mine->bytes, mine->len);
            if (how == 0)
                memcpy(work_bytes + off, from->bytes + off, n);
            else if (how == 1)
                memcpy(work_bytes, from->bytes, off + n);
            else
                memcpy(work_bytes + off, from->bytes + off, end - off);
            if (memcmp(work_bytes, mine->bytes, mine->len) != 0)
                replaced(f, work_bytes, mine->len, from->name, off, how);
        }
    }
}

/* Where the record at `off` of a log or manifest ends; beyond the file where there is none. */
static size_t record_end(const struct file *f, const struct source *mine, size_t off)
{
    if (f->kind == FILE_MANIFEST && off == 0)
        return MANIFEST_HEADER;
    if (f->kind == FILE_MANIFEST)
        return off + 12 < mine->len ? off + 12 + get_u32(mine->bytes + off + 8) : SIZE_MAX;
    if (off == 0 && mine->len >= WAL_SEGMENT_HEADER)
        return (size_t)wal_offset(get_u64(mine->bytes + 48), get_u64(mine->bytes + 48));
    if (off == 0 || mine->len < WAL_RECORD_HEADER || off > mine->len - WAL_RECORD_HEADER ||
        get_u64(mine->bytes + off) == 0)
        return SIZE_MAX;
    return off + (size_t)wal_record_size(get_u32(mine->bytes + off + 8));
}

/* Whole records are missing at the end, one, two, ... all of them. */
static void cut_records(const struct file *f, const struct source *mine)
{
    if (f->kind != FILE_MANIFEST && f->kind != FILE_LOG)
        return;
    for (size_t off = record_end(f, mine, 0); off < mine->len && !is_over();
         off = record_end(f, mine, off))
        replaced(f, mine->bytes, off, "cut", off, 1);
}

static void displace_inside(const struct file *f, const struct source *mine, uint8_t *bytes)
{
    size_t step = mine->len > 16384 ? 256 : mine->len > 2048 ? 16 : 1;

    cut_records(f, mine);
    for (size_t len = 0; len < mine->len && !is_over(); len += step)
        if (takes_turn())
            replaced(f, mine->bytes, len, "cut", len, 0);
    for (size_t unit = 512; unit <= 4096; unit *= 8)
        for (size_t off = 0; off < mine->len && !is_over(); off += unit) {
            size_t n = mine->len - off < unit ? mine->len - off : unit;

            if (!takes_turn())
                continue;
            memcpy(bytes, mine->bytes, mine->len);
            memset(bytes + off, 0, n);
            if (memcmp(bytes, mine->bytes, mine->len) != 0)
                replaced(f, bytes, mine->len, "zero", off, unit);
        }
    for (size_t off = 0; off + 512 <= mine->len && !is_over(); off += 512)
        for (size_t other = 0; other + 512 <= mine->len; other += 512 * (1 + mine->len / 8192)) {
            if (!takes_turn())
                continue;
            memcpy(bytes, mine->bytes, mine->len);
            memcpy(bytes + off, mine->bytes + other, 512);
            if (memcmp(bytes, mine->bytes, mine->len) != 0)
                replaced(f, bytes, mine->len, "copy", off, other);
        }
}

/* Misplacements take at most half the time: flips come after them. */
static bool is_half_over(void)
{
    static double from;
    static uint64_t seed;

    if (seed != run.seed) {
        seed = run.seed;
        from = now_s();
    }
    return run.budget > 0 && (now_s() - from) * 2 > run.budget - (from - run.started);
}

static void displace_file(const struct file *f)
{
    const struct file *next = neighbour(f, 1), *other = neighbour(f, 2);
    struct source mine = source_of(whole, "mine", f->name);
    struct source from[] = {source_of(twin, "twin", f->name), source_of(past, "past", f->name),
                            source_of(whole, "neighbour", next ? next->name : "none"),
                            source_of(whole, "other", other ? other->name : "none")};
    uint8_t *bytes = malloc(mine.len + 1);

    if (mine.bytes && bytes && mine.len) {
        displace_inside(f, &mine, bytes);
        for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
            if (from[i].len == 0)
                continue;
            mix_in(f, &mine, &from[i], bytes);
            if (from[i].len != mine.len || memcmp(from[i].bytes, mine.bytes, mine.len) != 0)
                replaced(f, from[i].bytes, from[i].len, from[i].name, 0, 9);
        }
    }
    free(bytes);
    free(mine.bytes);
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++)
        free(from[i].bytes);
}

/* ---- */

static uint64_t sum_of(const uint64_t *count)
{
    uint64_t all = 0;

    for (int i = 0; i < OUTCOMES; i++)
        all += count[i];
    return all;
}

static void print_counts(const char *what, const uint64_t *count)
{
    printf("bitflip: %s %llu:", what, (unsigned long long)sum_of(count));
    for (int i = 0; i < OUTCOMES; i++)
        printf(" %s %llu%s", outcome_name[i], (unsigned long long)count[i],
               i + 1 < OUTCOMES ? "," : "\n");
}

static char only_what[16], only_file[32];
static uint64_t only_off, only_arg;

static int replay(void)
{
    for (size_t i = 0; i < file_count; i++)
        if (strcmp(file[i].name, only_file) == 0) {
            if (strcmp(only_what, "flip") == 0)
                flip(&file[i], only_off, (unsigned)only_arg);
            else
                displace_file(&file[i]); /* all of that file's: they are few */
            printf("%s of %s: error text: %s\n", only_what, only_file, odb_error_text());
        }
    return run.failures ? 1 : 0;
}

int main(int argc, char **argv)
{
    bool ok = argc > 1;
    unsigned long long a, b, c;
    int rc;

    run.seed = 1;
    for (int i = 1; i + 1 < argc && ok; i += 2) {
        if (strcmp(argv[i], "--sample") == 0)
            run.sample = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--budget") == 0)
            run.budget = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--seed") == 0)
            run.seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--replay") == 0 &&
                 sscanf(argv[i + 1], "%llu:%15[^:]:%31[^:]:%llu:%llu", &a, only_what, only_file, &b,
                        &c) == 5)
            run.seed = a, only_off = b, only_arg = c;
        else
            ok = false;
    }
    if (!ok || argc % 2 == 0) {
        printf("usage: bitflip --sample N | --budget SECONDS | --replay WHAT, [--seed N]\n");
        return 2;
    }
    test_alloc_keep_memory();
    if (run.budget > 0)
        stop_when_told();
    run.started = now_s();
    do {
        if (!make_databases()) {
            printf("FAILED: the workload of seed %llu: %s\n", (unsigned long long)run.seed,
                   odb_error_text());
            run.failures++;
        } else if (only_what[0]) {
            rc = replay();
            drop_databases();
            return rc;
        } else if (look(whole, true, &file[0]) != SAME) {
            printf("FAILED: the undamaged database of seed %llu\n", (unsigned long long)run.seed);
            run.failures++;
        } else {
            for (size_t i = 0; i < file_count && !is_over() && !is_half_over(); i++)
                if (file[i].matters)
                    displace_file(&file[i]);
            if (run.sample)
                flip_some(run.sample);
            else
                flip_all();
        }
        drop_databases();
        run.seed++;
    } while (run.budget > 0 && !is_over());
    printf("bitflip: %llu databases, %llu bytes, %.1f s; failures %llu\n",
           (unsigned long long)run.databases, (unsigned long long)run.bytes, now_s() - run.started,
           (unsigned long long)run.failures);
    print_counts("flips", run.flips);
    print_counts("misplacements", run.moves);
    printf("bitflip: %llu of the failures name the damaged file\n", (unsigned long long)run.named);
    printf("tally: %llu bit flips; %llu misplacements; %llu databases; %llu bytes; %llu failures\n",
           (unsigned long long)sum_of(run.flips), (unsigned long long)sum_of(run.moves),
           (unsigned long long)run.databases, (unsigned long long)run.bytes,
           (unsigned long long)run.failures);
    return run.failures ? 1 : 0;
}
