/* What a memtable costs beside a skiplist of single keys: inserting, looking up, walking, bytes. Run
 * by hand: bench_memtable [thousand entries]. Every figure is the best of three and counts the
 * processor time of the slowest thread: others may be running. */
#include <stdio.h>
#include <stdlib.h>

#include "memtable/memtable.h"
#include "memtable/plain.h"
#include "os/os_thread.h"

#define KEY_LEN   16
#define VALUE_LEN 100
#define ROUNDS    3
#define THREADS   2

struct bench_set {
    size_t count;
    uint8_t *keys;  /* in the order of insertion */
    uint8_t *asked; /* the same in the order of lookup */
    uint8_t value[VALUE_LEN];
};

struct bench_job {
    struct memtable *m;
    const struct bench_set *set;
    size_t from, end;
    double ns;
};

static double now_ns(void)
{
    return (double)os_thread_cpu_ns();
}

static uint64_t next_random(uint64_t *dice)
{
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return *dice * UINT64_C(0x2545f4914f6cdd1d);
}

static void must(bool ok)
{
    if (!ok) {
        fprintf(stderr, "bench_memtable: out of memory or a wrong answer\n");
        exit(1);
    }
}

static odb_slice set_key(const uint8_t *keys, size_t i)
{
    return odb_bytes(keys + i * KEY_LEN, KEY_LEN);
}

static void put(struct memtable *m, odb_slice key, odb_slice value, uint64_t trailer)
{
    struct memtable_room room;

    must(memtable_reserve(m, memtable_entry_bytes(key.size, value.size), 1, &room) == ODB_OK);
    memtable_insert(m, &room, memtable_prepare(&room, key, value), trailer);
    memtable_return(m, &room);
}

static void put_range(void *arg)
{
    struct bench_job *j = arg;
    double start = now_ns();

    for (size_t i = j->from; i < j->end; i++)
        put(j->m, set_key(j->set->keys, i), odb_bytes(j->set->value, VALUE_LEN),
            trailer_make(i + 1, KIND_PUT));
    j->ns = now_ns() - start;
}

static void get_range(void *arg)
{
    struct bench_job *j = arg;
    double start = now_ns();
    struct entry e;

    for (size_t i = j->from; i < j->end; i++)
        must(memtable_get(j->m, set_key(j->set->asked, i), trailer_at(SEQ_MAX), &e));
    j->ns = now_ns() - start;
}

/* Nanoseconds per entry of `run` over the whole set, divided among `threads`. */
static double timed(void (*run)(void *), struct memtable *m, const struct bench_set *s, int threads)
{
    struct bench_job job[THREADS];
    struct os_thread *thread[THREADS] = {NULL};
    double ns = 0;

    for (int i = 0; i < threads; i++) {
        job[i] = (struct bench_job){m, s, s->count * (size_t)i / (size_t)threads,
                                    s->count * (size_t)(i + 1) / (size_t)threads, 0};
        if (i > 0)
            must(os_thread_start("bench", run, &job[i], &thread[i]) == ODB_OK);
    }
    run(&job[0]);
    for (int i = 0; i < threads; i++) {
        os_thread_join(thread[i]);
        ns = job[i].ns > ns ? job[i].ns : ns;
    }
    return ns / (double)s->count;
}

static double timed_walk(struct memtable *m, const struct bench_set *s)
{
    struct cursor *c;
    size_t n = 0;
    double start;

    must(memtable_cursor_new(m, &c) == ODB_OK);
    start = now_ns();
    for (bool ok = c->ops->first(c); ok; ok = cursor_next(c))
        n++;
    must(n == s->count);
    cursor_free(c);
    return (now_ns() - start) / (double)s->count;
}

static void keep_best(double *best, double ns)
{
    if (*best == 0 || ns < *best)
        *best = ns;
}

static void bench_runs(const char *name, const struct bench_set *s, int threads)
{
    double insert = 0, lookup = 0, walk = 0, bytes = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct memtable *m;

        must(memtable_new(&m) == ODB_OK);
        keep_best(&insert, timed(put_range, m, s, threads));
        keep_best(&lookup, timed(get_range, m, s, threads));
        keep_best(&walk, timed_walk(m, s));
        bytes = (double)memtable_bytes(m) / (double)s->count;
        memtable_unref(m);
    }
    printf(
        "runs,  %d thread%s %-12s insert %6.0f ns  lookup %6.0f ns  walk %5.1f ns  %5.1f bytes\n",
        threads, threads > 1 ? "s" : " ", name, insert, lookup, walk, bytes);
}

static void bench_plain(const char *name, const struct bench_set *s)
{
    double insert = 0, lookup = 0, bytes = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct plain *l = plain_new();
        double start = now_ns();
        struct entry e;

        must(l != NULL);
        for (size_t i = 0; i < s->count; i++)
            must(plain_insert(l, set_key(s->keys, i), odb_bytes(s->value, VALUE_LEN),
                              trailer_make(i + 1, KIND_PUT)) == ODB_OK);
        keep_best(&insert, (now_ns() - start) / (double)s->count);
        start = now_ns();
        for (size_t i = 0; i < s->count; i++)
            must(plain_get(l, set_key(s->asked, i), trailer_at(SEQ_MAX), &e));
        keep_best(&lookup, (now_ns() - start) / (double)s->count);
        bytes = (double)plain_bytes(l) / (double)s->count;
        plain_free(l);
    }
    printf("plain, 1 thread  %-12s insert %6.0f ns  lookup %6.0f ns                 %5.1f bytes\n",
           name, insert, lookup, bytes);
}

static void shuffle(uint32_t *order, size_t count, uint64_t *dice)
{
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        size_t j = next_random(dice) % i;
        uint32_t kept = order[i - 1];

        order[i - 1] = order[j];
        order[j] = kept;
    }
}

static void user_key(uint8_t *key, size_t number)
{
    char text[32];

    (void)snprintf(text, sizeof text, "user%012lu", (unsigned long)number);
    memcpy(key, text, KEY_LEN);
}

static void bench_all(const char *name, struct bench_set *s, const uint32_t *order)
{
    for (size_t i = 0; i < s->count; i++)
        memcpy(s->asked + i * KEY_LEN, s->keys + order[i] * (size_t)KEY_LEN, KEY_LEN);
    bench_runs(name, s, 1);
    bench_runs(name, s, THREADS);
    bench_plain(name, s);
}

int main(int argc, char **argv)
{
    struct bench_set s = {.count = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1000) * 1000};
    uint64_t dice = 88172645463325252u;
    uint32_t *order = malloc(s.count * sizeof *order);

    s.keys = malloc(s.count * KEY_LEN);
    s.asked = malloc(s.count * KEY_LEN);
    must(s.count && s.keys && s.asked && order);

    for (size_t i = 0; i < s.count * 2; i++)
        enc_u64(s.keys + i * 8, next_random(&dice));
    shuffle(order, s.count, &dice);
    bench_all("random", &s, order);

    for (size_t i = 0; i < s.count; i++)
        user_key(s.keys + i * KEY_LEN, order[i]);
    shuffle(order, s.count, &dice);
    bench_all("user%012d", &s, order);

    for (size_t i = 0; i < s.count; i++)
        user_key(s.keys + i * KEY_LEN, i);
    bench_all("sequential", &s, order);
    free(s.keys);
    free(s.asked);
    free(order);
    return 0;
}
