/* bench/workload.c -- what is measured: the workloads of db_bench under their names, those of YCSB, and a
 * few that show costs which users meet and neither of them asks for.
 *
 * Where db_bench surprises, we say what we do instead:
 *   - With several threads the operations are shared out; there, each thread does all of them.
 *   - fillsync writes as many entries as it is told, of the whole key range.
 *   - A multiget asks for 64 keys unless --batch_size says otherwise.
 */
#include "bench/run.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- helpers ---- */

static odb_slice key_of(struct bench_worker *w, uint64_t n)
{
    return bench_key(&w->run->keys, w->key, n);
}

static uint32_t family_of(const struct bench_worker *w, uint64_t n)
{
    return w->s->families == 1 ? 0 : (uint32_t)(n % w->s->families);
}

static uint64_t drawn(struct bench_worker *w)
{
    return bench_draw(&w->run->keys, w->run->keys.spread, &w->rng,
                      atomic_load_explicit(&w->run->newest, memory_order_relaxed));
}

static void put_number(struct bench_worker *w, uint64_t n)
{
    odb_slice v = bench_value(&w->values);

    w->e->put(w->session, family_of(w, n), key_of(w, n), v);
    w->user_bytes += w->run->keys.size + v.size;
    w->bytes += w->run->keys.size + v.size;
}

static bool get_number(struct bench_worker *w, uint64_t n)
{
    bool found = w->e->get(w->session, family_of(w, n), key_of(w, n), &w->bytes);

    if (found) {
        w->found++;
        w->bytes += w->run->keys.size;
    }
    return found;
}

/* ---- filling ---- */

/* `next` names the keys. Batches hold --batch_size of them. */
static void fill(struct bench_worker *w, uint64_t batch,
                 uint64_t (*next)(struct bench_worker *w, uint64_t i))
{
    while (bench_more(w)) {
        uint64_t left = w->goal - w->ops, n = batch < left ? batch : left;

        if (batch == 1) {
            put_number(w, next(w, w->ops));
            bench_did(w, 1);
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            uint64_t k = next(w, w->ops + i);
            odb_slice v = bench_value(&w->values);

            w->e->batch_put(w->session, family_of(w, k), key_of(w, k), v);
            w->user_bytes += w->run->keys.size + v.size;
            w->bytes += w->run->keys.size + v.size;
        }
        w->e->batch_commit(w->session);
        bench_did(w, n);
    }
}

/* Threads take a stretch of the range each; the first ones' is longer by one where it does not divide. */
static uint64_t in_order(struct bench_worker *w, uint64_t i)
{
    uint64_t n = w->run->keys.num, stretch = n / w->count, longer = n % w->count;

    return (w->index * stretch + (w->index < longer ? w->index : longer) + i) % n;
}

static uint64_t by_chance(struct bench_worker *w, uint64_t i)
{
    (void)i;
    return drawn(w);
}

/* Every key once, scattered: what YCSB loads. Steps of a length that has no divisor in common with the
 * number of keys come by all of them. */
static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

static uint64_t scatter_step(uint64_t n)
{
    uint64_t step = (uint64_t)((double)n * 0.6180339887498949);

    while (step == 0 || common_divisor(step, n) != 1)
        step++;
    return step;
}

static uint64_t times_mod(uint64_t a, uint64_t b, uint64_t n)
{
    uint64_t sum = 0;

    for (a %= n; b; b >>= 1, a = (a + a) % n)
        if (b & 1)
            sum = (sum + a) % n;
    return sum;
}

static uint64_t scattered(struct bench_worker *w, uint64_t i)
{
    uint64_t n = w->run->keys.num;

    if (i == 0) {
        w->step = scatter_step(n);
        w->at = times_mod(in_order(w, 0), w->step, n);
    } else {
        w->at = (w->at + w->step) % n;
    }
    return w->at;
}

static void do_fillseq(struct bench_worker *w)
{
    fill(w, w->s->batch_size, in_order);
}

static void do_fillrandom(struct bench_worker *w)
{
    fill(w, w->s->batch_size, by_chance);
}

static void do_fillbatch(struct bench_worker *w)
{
    fill(w, w->s->batch_size > 1 ? w->s->batch_size : 100, in_order);
}

static void do_fillunique(struct bench_worker *w)
{
    fill(w, w->s->batch_size, scattered);
}

static void settle(struct bench_worker *w)
{
    if (w->e->flush)
        w->e->flush(w->run->db);
    if (w->e->wait_idle)
        w->e->wait_idle(w->run->db);
    w->run->unflushed = 0;
}

/* The last thread to finish waits for flush and merges: their time counts. */
static void do_fillrandomwait(struct bench_worker *w)
{
    do_fillrandom(w);
    if (atomic_fetch_add(&w->run->readers, 1) + 1 == w->count)
        settle(w);
}

static void prepare_wait(struct bench_worker *w)
{
    atomic_store(&w->run->readers, 0);
}

static void do_fillvalue1k(struct bench_worker *w)
{
    w->values.size = 1000;
    do_fillrandom(w);
}

/* ---- reading ---- */

static void do_readrandom(struct bench_worker *w)
{
    while (bench_more(w)) {
        (void)get_number(w, drawn(w));
        bench_did(w, 1);
    }
}

/* One in a hundred keys is asked for. */
static void do_readhot(struct bench_worker *w)
{
    uint64_t range = (w->run->keys.num + 99) / 100;

    while (bench_more(w)) {
        (void)get_number(w, bench_rng_next(&w->rng) % range);
        bench_did(w, 1);
    }
}

/* A key that exists and one byte: within every table's range, so that only filters help. */
static void do_readmissing(struct bench_worker *w)
{
    while (bench_more(w)) {
        uint64_t n = drawn(w);
        odb_slice key = key_of(w, n);

        w->key[key.size] = '.';
        key.size++;
        if (w->e->get(w->session, family_of(w, n), key, &w->bytes))
            bench_die("%s: found a key nobody put", w->e->name);
        bench_did(w, 1);
    }
}

/* How many of the draws that `readall` repeats were put. Of another process it is known that it had the
 * same flags. */
static uint64_t drawn_by_fill(const struct bench_worker *w)
{
    const struct bench_workload *fill = w->run->fill;

    if (!fill)
        return bench_share(w->s->writes ? w->s->writes : w->s->num, w->index, w->count);
    return fill->flags & BENCH_DRAWN ? w->run->fill_ops[w->index] : UINT64_MAX;
}

static void prepare_readall(struct bench_worker *w)
{
    const struct bench_workload *fill = w->run->fill;
    uint64_t put = 0;

    for (uint32_t i = 0; i < w->count; i++)
        put += w->run->fill_ops[i];
    if (fill && !(fill->flags & BENCH_DRAWN) && (!(fill->flags & BENCH_EVERY) || put < w->s->num))
        bench_die("readall: %s did not put every key that may be drawn", fill->name);
}

/* The very keys that fillrandom put: each must be there. */
static void do_readall(struct bench_worker *w)
{
    uint64_t put = drawn_by_fill(w);

    if (put < w->goal)
        w->goal = put;
    while (bench_more(w)) {
        if (!get_number(w, drawn(w)))
            bench_die("%s: a key that was put is not there", w->e->name);
        bench_did(w, 1);
    }
}

static void walk(struct bench_worker *w, bool forward)
{
    while (bench_more(w)) {
        uint64_t before = w->ops;

        for (uint32_t f = 0; f < w->s->families && bench_more(w); f++) {
            uint64_t n = w->e->scan(w->session, f, forward, w->goal - w->ops, &w->bytes);

            w->found += n;
            w->bytes += n * w->run->keys.size;
            bench_did(w, n);
        }
        if (w->ops == before || !w->deadline)
            break; /* fewer entries than operations: once is enough */
    }
}

static void do_readseq(struct bench_worker *w)
{
    walk(w, true);
}

static void do_readreverse(struct bench_worker *w)
{
    walk(w, false);
}

static void do_seekrandom(struct bench_worker *w)
{
    while (bench_more(w)) {
        uint64_t n = drawn(w);

        w->found +=
            w->e->seek(w->session, family_of(w, n), key_of(w, n), w->s->seek_nexts, &w->bytes);
        bench_did(w, 1);
    }
}

static void do_multireadrandom(struct bench_worker *w)
{
    size_t batch = w->s->batch_size > 1 ? (size_t)w->s->batch_size : 64;
    char *text = bench_alloc(batch * BENCH_KEY_MAX);
    odb_slice *keys = bench_alloc(batch * sizeof *keys);

    while (bench_more(w)) {
        uint64_t left = w->goal - w->ops, found;
        size_t n = batch < left ? batch : (size_t)left;
        uint32_t family = family_of(w, bench_rng_next(&w->rng));

        for (size_t i = 0; i < n; i++) {
            uint64_t k = drawn(w);

            if (w->s->families > 1) /* a multiget asks one family */
                k = k - k % w->s->families + family;
            keys[i] = bench_key(&w->run->keys, text + i * BENCH_KEY_MAX, k);
        }
        found = bench_multiget(w->e, w->session, family, keys, n, &w->bytes);
        w->found += found;
        w->bytes += found * w->run->keys.size;
        bench_did(w, n);
    }
    free(text);
    free(keys);
}

/* ---- reading and writing ---- */

static void pause_until(uint64_t ns)
{
    uint64_t now = bench_now_ns();

    if (now < ns) {
        struct timespec t = {(time_t)((ns - now) / 1000000000u), (long)((ns - now) % 1000000000u)};

        (void)nanosleep(&t, NULL);
    }
}

/* The first thread writes until the others have read enough; only their reads count. */
static void do_readwhilewriting(struct bench_worker *w)
{
    if (w->count > 1 && w->index == 0) {
        uint64_t began = bench_now_ns(), n = 0;

        while (!atomic_load_explicit(&w->run->is_over, memory_order_relaxed)) {
            put_number(w, drawn(w));
            n++;
            if (w->s->write_rate && n % 16 == 0)
                pause_until(began + n * 1000000000u / w->s->write_rate);
        }
        w->bytes = 0;
        (void)snprintf(w->note, sizeof w->note, "beside %.0f puts/s",
                       (double)n * 1e9 / (double)(bench_now_ns() - began));
        if (w->hist)
            memset(w->hist, 0, sizeof *w->hist);
        return;
    }
    do_readrandom(w);
    if (atomic_fetch_sub(&w->run->readers, 1) == 1)
        atomic_store(&w->run->is_over, true);
}

static void prepare_readwhilewriting(struct bench_worker *w)
{
    if (w->count < 2)
        bench_die("readwhilewriting needs --threads=2 or more: one of them writes");
    atomic_store(&w->run->is_over, false);
    atomic_store(&w->run->readers, w->count - 1);
}

static void do_updaterandom(struct bench_worker *w)
{
    while (bench_more(w)) {
        uint64_t n = drawn(w);

        (void)get_number(w, n);
        put_number(w, n);
        bench_did(w, 1);
    }
}

static void do_readrandomwriterandom(struct bench_worker *w)
{
    while (bench_more(w)) {
        if (bench_rng_next(&w->rng) % 100 < w->s->readwritepercent)
            (void)get_number(w, drawn(w));
        else
            put_number(w, drawn(w));
        bench_did(w, 1);
    }
}

/* ---- transactions ---- */

#define TRANSACT_MAX 128

/* An operation is a transaction; one that was refused is tried again, and that takes its time. */
static void transact(struct bench_worker *w, size_t keys, bool reads, bool locks)
{
    char text[TRANSACT_MAX][BENCH_KEY_MAX];
    odb_slice key[TRANSACT_MAX];
    uint64_t refused = 0;

    while (bench_more(w)) {
        odb_slice v = bench_value(&w->values);
        bool done;

        for (size_t i = 0; i < keys; i++)
            key[i] = bench_key(&w->run->keys, text[i], drawn(w));
        while (!(done = w->e->transact(w->session, 0, key, keys, v, reads, locks, &w->bytes)))
            refused++;
        w->user_bytes += keys * (w->run->keys.size + v.size);
        w->bytes += keys * (w->run->keys.size + v.size);
        bench_did(w, 1);
    }
    (void)snprintf(w->note, sizeof w->note, "%zu keys each, %llu refused", keys,
                   (unsigned long long)refused);
}

static void prepare_transact(struct bench_worker *w)
{
    if (!w->e->transact)
        bench_die("%s has no transactions here", w->e->name);
    if (w->s->batch_size > TRANSACT_MAX)
        bench_die("a transaction of more than %d keys", TRANSACT_MAX);
}

static size_t transact_keys(const struct bench_worker *w, size_t usual)
{
    return w->s->batch_size > 1 ? (size_t)w->s->batch_size : usual;
}

static void do_randomtransaction(struct bench_worker *w)
{
    transact(w, transact_keys(w, 2), true, false);
}

static void do_randomtransactionlocks(struct bench_worker *w)
{
    transact(w, transact_keys(w, 2), true, true);
}

static void do_filltransaction(struct bench_worker *w)
{
    transact(w, transact_keys(w, 10), false, false);
}

static void remove_number(struct bench_worker *w, uint64_t n)
{
    w->e->remove(w->session, family_of(w, n), key_of(w, n));
    w->user_bytes += w->run->keys.size;
    w->bytes += w->run->keys.size;
}

static void do_deleterandom(struct bench_worker *w)
{
    while (bench_more(w)) {
        remove_number(w, drawn(w));
        bench_did(w, 1);
    }
}

static void do_deleteseq(struct bench_worker *w)
{
    while (bench_more(w)) {
        remove_number(w, in_order(w, w->ops));
        bench_did(w, 1);
    }
}

/* ---- among deleted keys ---- */

/* What a walk has found dead, an engine may remember until something is put there. So they are put and
 * deleted anew before each round: its first seek walks over all of them, and its time is told. */

static uint64_t deleted_from(const struct bench_worker *w)
{
    uint64_t n = w->run->keys.num;

    return w->s->deleted < n ? (n - w->s->deleted) / 2 : 0;
}

static void prepare_seekdeleted(struct bench_worker *w)
{
    uint64_t from = deleted_from(w), n = w->s->deleted;

    for (uint64_t i = 0; i < n && from + i < w->run->keys.num; i++)
        w->e->put(w->session, family_of(w, from + i), key_of(w, from + i), bench_value(&w->values));
    for (uint64_t i = 0; i < n && from + i < w->run->keys.num; i++)
        w->e->remove(w->session, family_of(w, from + i), key_of(w, from + i));
    if (w->e->flush)
        w->e->flush(w->run->db);
}

/* Seek into the run of deleted keys, first of all to its begin, and walk on: the answer is behind its end. */
static void do_seekdeleted(struct bench_worker *w)
{
    uint64_t from = deleted_from(w), n = w->s->deleted < w->run->keys.num ? w->s->deleted : 1;

    while (bench_more(w)) {
        bool is_first = w->ops == 0;
        uint64_t k = from + (is_first ? 0 : bench_rng_next(&w->rng) % n);
        uint64_t began = is_first ? bench_now_ns() : 0;

        w->found +=
            w->e->seek(w->session, family_of(w, k), key_of(w, k), w->s->seek_nexts, &w->bytes);
        if (is_first)
            w->first_ns = bench_now_ns() - began;
        bench_did(w, 1);
    }
}

/* ---- upkeep ---- */

/* No operation is counted where there is nothing to do: no ratio then, rather than a boundless one. */
static bool has_nothing(struct bench_worker *w, bool has, const char *what)
{
    if (!has)
        (void)snprintf(w->note, sizeof w->note, "%s has nothing to %s", w->e->name, what);
    return !has;
}

static void do_waitforcompaction(struct bench_worker *w)
{
    if (has_nothing(w, w->e->flush || w->e->wait_idle, "wait for"))
        return;
    settle(w);
    bench_did(w, 1);
}

static void do_flush(struct bench_worker *w)
{
    uint64_t entries = w->run->unflushed;

    if (has_nothing(w, w->e->flush, "flush"))
        return;
    w->e->flush(w->run->db);
    w->run->unflushed = 0;
    bench_did(w, entries ? entries : 1);
}

static void do_compact(struct bench_worker *w)
{
    uint64_t before = bench_disk_bytes(w->run->dir, NULL);

    if (has_nothing(w, w->e->compact, "compact"))
        return;
    w->e->compact(w->run->db);
    w->bytes = before;
    bench_did(w, 1);
}

static void do_stats(struct bench_worker *w)
{
    if (w->e->stats)
        w->e->stats(w->run->db, stdout);
    bench_did(w, 1);
}

/* ---- opening, dying ---- */

static void do_open(struct bench_worker *w)
{
    bench_run_open(w->run);
    w->busy_ns = (uint64_t)(w->run->open_seconds * 1e9) + 1;
    w->bytes = w->run->log_bytes;
    bench_did(w, 1);
}

static void do_openclose(struct bench_worker *w)
{
    struct bench_settings s = *w->s;
    char dir[BENCH_TEXT_MAX];
    uint64_t goal = w->goal < 50 ? w->goal : 50;

    if (snprintf(dir, sizeof dir, "%s/bench-openclose-%s", w->run->base, w->e->name) >=
        (int)sizeof dir)
        bench_die("--db is too long");
    s.families = 1;
    for (uint64_t i = 0; i < goal; i++) {
        uint64_t began;
        void *db, *session;

        bench_remove_dir(dir);
        if (mkdir(dir, 0777) != 0)
            bench_die("cannot make %s: %s", dir, strerror(errno));
        w->last_ns = began = bench_now_ns();
        db = w->e->open(&s, dir);
        session = w->e->session_new(db);
        w->e->put(session, 0, key_of(w, 0), bench_value(&w->values));
        w->e->session_free(session);
        w->e->close(db);
        w->busy_ns += bench_now_ns() - began;
        bench_did(w, 1);
    }
    bench_remove_dir(dir);
}

static void do_die(struct bench_worker *w)
{
    (void)w;
    (void)fflush(stdout);
    (void)raise(SIGKILL);
}

struct words {
    char **word;
    size_t count;
};

static void add_word(void *arg, const char *name, const char *value)
{
    static const char *const not_these[] = {"benchmarks",      "load", "engine", "vs",  "db",
                                            "use_existing_db", "json", "csv",    "html"};
    struct words *to = arg;
    size_t room = strlen(name) + strlen(value) + 4;

    for (size_t i = 0; i < sizeof not_these / sizeof not_these[0]; i++)
        if (strcmp(not_these[i], name) == 0)
            return;
    to->word[to->count] = bench_alloc(room);
    (void)snprintf(to->word[to->count++], room, "--%s=%s", name, value);
}

/* Another process (its threads must die with it) fills the database and is killed in the middle of its
 * work: this program again, with `die` at the end. */
static void prepare_recover(struct bench_worker *w)
{
    char *word[128];
    struct words words = {word, 0};
    char db[BENCH_TEXT_MAX + 16], engine[80];
    int status = 0;
    pid_t pid;

    w->run->fill = NULL;
    word[words.count++] = (char[]){"odb-bench"};
    (void)snprintf(db, sizeof db, "--db=%s", w->run->base);
    (void)snprintf(engine, sizeof engine, "--engine=%s", w->e->name);
    bench_settings_each(w->s, add_word, &words);
    word[words.count++] = db;
    word[words.count++] = engine;
    word[words.count++] = (char[]){"--benchmarks=fillrandom,die"};
    word[words.count] = NULL;
    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(3);
        (void)execv("/proc/self/exe", word);
        _exit(3);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
        WTERMSIG(status) != SIGKILL)
        bench_die("recover: the process that should have died by SIGKILL did not");
    for (size_t i = 1; i + 3 < words.count; i++)
        free(word[i]);
}

/* ---- YCSB: the workloads of Cooper et al., 2010, records of 1000 bytes, zipfian 0.99 ---- */

#define YCSB_RECORD 1000

static uint64_t ycsb_key(struct bench_worker *w)
{
    return bench_draw(&w->run->keys, BENCH_ZIPFIAN, &w->rng, 0);
}

static void ycsb_insert(struct bench_worker *w)
{
    put_number(w, atomic_fetch_add(&w->run->newest, 1) + 1);
}

static void do_ycsbload(struct bench_worker *w)
{
    w->values.size = YCSB_RECORD;
    do_fillunique(w);
}

/* `reads` of a hundred operations read, the others update. */
static void ycsb_mix(struct bench_worker *w, uint64_t reads)
{
    w->values.size = YCSB_RECORD;
    while (bench_more(w)) {
        if (bench_rng_next(&w->rng) % 100 < reads)
            (void)get_number(w, ycsb_key(w));
        else
            put_number(w, ycsb_key(w));
        bench_did(w, 1);
    }
}

static void do_ycsba(struct bench_worker *w)
{
    ycsb_mix(w, 50);
}

static void do_ycsbb(struct bench_worker *w)
{
    ycsb_mix(w, 95);
}

static void do_ycsbc(struct bench_worker *w)
{
    ycsb_mix(w, 100);
}

static void do_ycsbd(struct bench_worker *w)
{
    w->values.size = YCSB_RECORD;
    while (bench_more(w)) {
        if (bench_rng_next(&w->rng) % 100 < 95)
            (void)get_number(
                w, bench_draw(&w->run->keys, BENCH_LATEST, &w->rng,
                              atomic_load_explicit(&w->run->newest, memory_order_relaxed)));
        else
            ycsb_insert(w);
        bench_did(w, 1);
    }
}

static void do_ycsbe(struct bench_worker *w)
{
    w->values.size = YCSB_RECORD;
    while (bench_more(w)) {
        if (bench_rng_next(&w->rng) % 100 < 95) {
            uint64_t n = ycsb_key(w), more = bench_rng_next(&w->rng) % 100;

            w->found += w->e->seek(w->session, family_of(w, n), key_of(w, n), more, &w->bytes);
        } else {
            ycsb_insert(w);
        }
        bench_did(w, 1);
    }
}

static void do_ycsbf(struct bench_worker *w)
{
    w->values.size = YCSB_RECORD;
    while (bench_more(w)) {
        uint64_t n = ycsb_key(w);

        (void)get_number(w, n);
        if (bench_rng_next(&w->rng) % 100 < 50)
            put_number(w, n);
        bench_did(w, 1);
    }
}

/* ---- the tables ---- */

#define FILLS (BENCH_FRESH | BENCH_WRITES | BENCH_SAME)
#define DRAWN (FILLS | BENCH_DRAWN)
#define EVERY (FILLS | BENCH_EVERY)

static const struct bench_workload key_value[] = {
    {"fillseq", "put the keys in order", EVERY, NULL, do_fillseq},
    {"fillrandom", "put keys at random, with repetitions", DRAWN, NULL, do_fillrandom},
    {"fillrandomwait", "the same, and the flushes and merges it causes", DRAWN, prepare_wait,
     do_fillrandomwait},
    {"fillunique", "put every key once, scattered", EVERY, NULL, do_fillunique},
    {"fillbatch", "fillseq in batches of 100, or --batch_size", EVERY, NULL, do_fillbatch},
    {"fillsync", "fillrandom, each commit synced", DRAWN | BENCH_SYNCED, NULL, do_fillrandom},
    {"fillvalue1k", "fillrandom with values of 1000 bytes", DRAWN, NULL, do_fillvalue1k},
    {"overwrite", "put keys at random into what is there", BENCH_WRITES, NULL, do_fillrandom},
    {"overwritewait", "the same, and the flushes and merges it causes", BENCH_WRITES, prepare_wait,
     do_fillrandomwait},
    {"readrandom", "get keys at random", BENCH_CHECKED, NULL, do_readrandom},
    {"readmissing", "get keys that are not there", BENCH_CHECKED, NULL, do_readmissing},
    {"readhot", "get one in a hundred keys, again and again", BENCH_CHECKED, NULL, do_readhot},
    {"readall", "get what fillrandom put, at most once: each must be there",
     BENCH_CHECKED | BENCH_SAME, prepare_readall, do_readall},
    {"readseq", "walk over all keys", BENCH_CHECKED, NULL, do_readseq},
    {"readreverse", "walk back over all keys", BENCH_CHECKED, NULL, do_readreverse},
    {"seekrandom",
     "seek to a key at random, and --seek_nexts on; an iterator is kept and brought up to date "
     "where the engine can do so",
     BENCH_CHECKED, NULL, do_seekrandom},
    {"multireadrandom", "get 64 keys at once, or --batch_size", BENCH_CHECKED, NULL,
     do_multireadrandom},
    {"readwhilewriting", "readrandom while the first thread writes", 0, prepare_readwhilewriting,
     do_readwhilewriting},
    {"updaterandom", "get a key and put it", BENCH_WRITES, NULL, do_updaterandom},
    {"readrandomwriterandom", "--readwritepercent gets, the rest puts", BENCH_WRITES, NULL,
     do_readrandomwriterandom},
    {"randomtransaction", "transactions that get two keys, or --batch_size, and put them",
     BENCH_WRITES, prepare_transact, do_randomtransaction},
    {"randomtransactionlocks", "the same, with locks on the keys", BENCH_WRITES, prepare_transact,
     do_randomtransactionlocks},
    {"filltransaction", "transactions that put ten keys, or --batch_size, and read nothing", DRAWN,
     prepare_transact, do_filltransaction},
    {"deleterandom", "delete keys at random", BENCH_WRITES, NULL, do_deleterandom},
    {"deleteseq", "delete the keys in order", BENCH_WRITES, NULL, do_deleteseq},
    {"seekdeleted",
     "seek into --deleted keys put and deleted just before; tells what the first seek took",
     BENCH_CHECKED, prepare_seekdeleted, do_seekdeleted},
    {"flush", "write memtables to tables; an operation is an entry put since the last flush",
     BENCH_ALONE, NULL, do_flush},
    {"waitforcompaction", "flush, and wait until all merging is done", BENCH_ALONE, NULL,
     do_waitforcompaction},
    {"compact", "merge everything down", BENCH_ALONE, NULL, do_compact},
    {"open",
     "close, and open again: its own cache is empty then, the system's cache of files is not",
     BENCH_ALONE | BENCH_CLOSED, NULL, do_open},
    {"openclose", "open an empty database, put, close; 50 times at most", BENCH_ALONE, NULL,
     do_openclose},
    {"die", "SIGKILL this program: the next run shows how long recovery takes", BENCH_ALONE, NULL,
     do_die},
    {"recover", "open what a process left that was killed at the end of fillrandom",
     BENCH_ALONE | BENCH_CLOSED, prepare_recover, do_open},
    {"stats", "print what the engine says of itself", BENCH_ALONE, NULL, do_stats},
    {NULL, NULL, 0, NULL, NULL},
};

#define YCSB (BENCH_WRITES | BENCH_ZIPF)

static const struct bench_workload ycsb[] = {
    {"ycsbload", "put every record once, 1000 bytes each", EVERY, NULL, do_ycsbload},
    {"ycsba", "half reads, half updates", YCSB, NULL, do_ycsba},
    {"ycsbb", "95 % reads, 5 % updates", YCSB, NULL, do_ycsbb},
    {"ycsbc", "only reads", BENCH_ZIPF | BENCH_CHECKED, NULL, do_ycsbc},
    {"ycsbd", "95 % reads of the newest, 5 % inserts", YCSB, NULL, do_ycsbd},
    {"ycsbe", "95 % scans of 1 to 100 records, 5 % inserts", YCSB, NULL, do_ycsbe},
    {"ycsbf", "half reads, half reads followed by a write", YCSB, NULL, do_ycsbf},
    {NULL, NULL, 0, NULL, NULL},
};

const struct bench_workload *const bench_workload_tables[] = {key_value, ycsb,
                                                              bench_workloads_of_models, NULL};

const struct bench_workload *bench_workload_find(const char *name, size_t len)
{
    for (size_t t = 0; bench_workload_tables[t]; t++)
        for (const struct bench_workload *wl = bench_workload_tables[t]; wl->name; wl++)
            if (strlen(wl->name) == len && memcmp(wl->name, name, len) == 0)
                return wl;
    return NULL;
}
