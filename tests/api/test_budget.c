/* One number bounds the memory of a process that does nothing but use a database: memory_budget, and
 * a tenth more. Held against what the system says the process took at most, in a process of its own
 * for each step of a life:
 *
 *     load and merge     read at random     die with a full log, by SIGKILL     recover
 *     load all families in turn: what each holds that is not quite full adds up
 *     the same by eight threads at once
 *
 * The test allocator is not linked: it would count, and take, memory of its own.
 */
#include "tests/api/fixture.h"
#include "tests/lib/child.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

#define VALUE_SIZE 100
#define FAMILIES   7
#define CROWD      8

static char budget_dir[64];

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1du;
}

static odb_slice make_key(uint8_t key[16], uint64_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 8)
        key[i] = (uint8_t)n;
    memset(key + 8, '0', 8);
    return odb_bytes(key, 16);
}

static odb_db *open_within(uint64_t budget)
{
    odb_options o = odb_options_default();
    odb_db *db = NULL;

    o.memory_budget = budget;
    if (odb_open(budget_dir, &o, &db) != ODB_OK)
        _exit(2);
    return db;
}

/* Into the default family and the one after it, three to one; or into all `families` in turn. */
static void put_many(odb_db *db, uint64_t count, uint64_t families)
{
    static const char *const name[FAMILIES] = {NULL,
                                               ODB_FAMILY_RECORDS,
                                               ODB_FAMILY_GRAPH_FORWARD,
                                               ODB_FAMILY_GRAPH_BACKWARD,
                                               ODB_FAMILY_VECTOR_DATA,
                                               ODB_FAMILY_VECTOR_INDEX,
                                               ODB_FAMILY_METADATA};
    uint8_t key[16], value[VALUE_SIZE];
    uint64_t state = 12345;
    odb_cf *cf[FAMILIES] = {NULL};

    for (uint64_t i = 1; i < families; i++)
        if (odb_cf_open(db, name[i], &cf[i]) != ODB_OK)
            _exit(2);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t x = draw(&state);

        memset(value, (int)x, sizeof value);
        memcpy(value, &x, sizeof x);
        if (odb_put(db, cf[families > 2 ? i % families : i % 4 == 3], make_key(key, x % count),
                    odb_bytes(value, sizeof value), NULL) != ODB_OK)
            _exit(3);
    }
}

static void step_load(uint64_t budget, uint64_t count)
{
    odb_db *db = open_within(budget);

    put_many(db, count, 2);
    if (odb_flush(db, NULL) != ODB_OK || odb_wait_idle(db) != ODB_OK || odb_close(db) != ODB_OK)
        _exit(4);
}

static void step_read(uint64_t budget, uint64_t count)
{
    odb_db *db = open_within(budget);
    uint64_t state = 999, found = 0;
    uint8_t key[16];

    for (uint64_t i = 0; i < count; i++) {
        odb_value v;

        if (odb_get(odb_now(db), NULL, make_key(key, draw(&state) % count), &v) != ODB_OK)
            continue;
        odb_value_release(&v);
        found++;
    }
    if (found < count / 4 || odb_close(db) != ODB_OK)
        _exit(5);
}

static void step_die(uint64_t budget, uint64_t count)
{
    put_many(open_within(budget), count, 2);
    (void)raise(SIGKILL);
}

static void step_recover(uint64_t budget, uint64_t count)
{
    odb_db *db = open_within(budget);
    odb_stats_t s = {.size = sizeof s};

    (void)count;
    if (odb_stats(db, NULL, &s) != ODB_OK || s.recovered_records == 0 || odb_close(db) != ODB_OK)
        _exit(6);
}

static void step_spread(uint64_t budget, uint64_t count)
{
    odb_db *db = open_within(budget);

    put_many(db, count, FAMILIES);
    if (odb_close(db) != ODB_OK)
        _exit(7);
}

#ifdef ODB_WITH_THREADS

static uint64_t crowd_count; /* puts of each */

static void *crowd_run(void *db)
{
    put_many(db, crowd_count, FAMILIES);
    return NULL;
}

/* Several writers, each in all families. */
static void step_crowd(uint64_t budget, uint64_t count)
{
    odb_db *db = open_within(budget);
    pthread_t thread[CROWD];

    crowd_count = count / CROWD;
    for (int i = 0; i < CROWD; i++)
        if (pthread_create(&thread[i], NULL, crowd_run, db) != 0)
            _exit(8);
    for (int i = 0; i < CROWD; i++)
        (void)pthread_join(thread[i], NULL);
    if (odb_close(db) != ODB_OK)
        _exit(9);
}

#endif

/* Run a step in a process of its own; the most memory it took, in bytes. */
static uint64_t peak_of(void (*step)(uint64_t budget, uint64_t count), uint64_t budget,
                        uint64_t count)
{
    struct rusage used;
    pid_t child = fork();
    int code;

    assert_true(child >= 0);
    if (child == 0) {
        step(budget, count);
        test_exit_child(0);
    }
    assert_int_equal(wait4(child, &code, 0, &used), child);
    if (step == step_die)
        assert_true(WIFSIGNALED(code));
    else
        assert_int_equal(code, 0);
    return (uint64_t)used.ru_maxrss * 1024;
}

static void a_process_stays_within_its_budget_and_a_tenth(void **state)
{
    static const struct {
        const char *name;
        void (*run)(uint64_t budget, uint64_t count);
    } step[] = {
        {"load", step_load},       {"read", step_read},     {"die", step_die},
        {"recover", step_recover}, {"spread", step_spread},
#ifdef ODB_WITH_THREADS
        {"crowd", step_crowd},
#endif

    };
    const char *more = getenv("ODB_TEST_OPS");
    uint64_t count = more ? strtoull(more, NULL, 10) : IS_SANITIZED ? 20000 : 150000;

    (void)state;
    for (uint64_t budget = (uint64_t)16 << 20; budget <= (uint64_t)64 << 20; budget *= 2) {
        fixture_make_dir(budget_dir, sizeof budget_dir);
        for (size_t i = 0; i < sizeof step / sizeof step[0]; i++) {
            uint64_t peak = peak_of(step[i].run, budget, count);

            print_message("budget %2llu MiB, %-8s peak %6.1f MiB\n",
                          (unsigned long long)(budget >> 20), step[i].name, (double)peak / 1048576);
            if (!IS_SANITIZED)
                assert_true(peak <= budget + budget / 10);
        }
        fixture_remove_dir(budget_dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_stays_within_its_budget_and_a_tenth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
