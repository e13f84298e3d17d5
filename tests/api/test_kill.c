/* A writer is killed with SIGKILL at random moments; what it left behind must be the result of the
 * first c of its commits, for one c, in all families together (P3), and c must not be less than the
 * last commit that was acknowledged (P2).
 *
 *     child    commit 1, 2, 3 ...   each over three families, and counted in a key of the batch
 *        |     the number of the last acknowledged one into a page both processes see
 *     SIGKILL
 *     parent   opens, reads the counter c, works out from the numbers 1..c alone what every family
 *              must hold, compares all of it; the next child goes on from c
 *
 * What commit i writes follows from i and the seed. Small write buffers let the kills hit flushes,
 * merges and switches of the log; one in eight comes while the database is still being opened, the others
 * when the child has had a commit acknowledged, and up to 60 ms later.
 *
 * --kills N or ODB_TEST_KILLS=N: how many (100). ODB_TEST_SEED=N: the same commits again.
 * ODB_TEST_PATIENCE=N: wait N times as long before each, where the disk is slow. TMPDIR: where.
 */
#include "tests/api/fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define FAMILIES  3
#define SLOTS     400 /* keys of a family */
#define VALUE_MAX 500

static const char *const family_name[FAMILIES] = {"default", "graph_forward", "vector_data"};

struct shared {
    _Atomic uint64_t acknowledged; /* number of the last commit that returned ODB_OK */
    _Atomic bool has_begun;        /* this child has had a commit acknowledged */
    _Atomic uint64_t failed;       /* status of a call that should not have failed */
};

struct kill_test {
    char dir[64];
    struct shared *shared;
    uint64_t seed;
    uint64_t count;                  /* commits the model holds */
    uint64_t model[FAMILIES][SLOTS]; /* which commit wrote the slot; 0: absent */
};

/* ---- what commit i does: a function of i ---- */

struct one_write {
    size_t family, slot;
    bool is_delete;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static size_t writes_of(const struct kill_test *t, uint64_t i)
{
    return 1 + mix(t->seed ^ i) % 12;
}

static struct one_write write_of(const struct kill_test *t, uint64_t i, size_t k)
{
    uint64_t x = mix(mix(t->seed + i) + k);

    return (struct one_write){x % FAMILIES, x / 8 % SLOTS, (x >> 40) % 5 == 0};
}

static odb_slice key_of(size_t slot, char *room)
{
    (void)snprintf(room, 32, "slot-%04zu", slot);
    return odb_s(room);
}

static odb_slice value_of(const struct kill_test *t, uint64_t i, size_t slot, char *room)
{
    uint64_t x = mix(t->seed + i * SLOTS + slot);
    size_t len = (size_t)(x % VALUE_MAX);
    int head = snprintf(room, 32, "%llu:", (unsigned long long)i);

    for (size_t at = (size_t)head; at < len; at++)
        room[at] = (char)(x >> at % 50);
    return odb_bytes(room, len > (size_t)head ? len : (size_t)head);
}

/* ---- the child ---- */

static odb_status commit_one(const struct kill_test *t, odb_db *db, odb_cf **cf, odb_batch *b,
                             uint64_t i, odb_durability level)
{
    odb_write how = {.durability = level};
    char key[32], value[VALUE_MAX + 32];
    odb_status st = ODB_OK;

    odb_batch_clear(b);
    for (size_t k = 0; st == ODB_OK && k < writes_of(t, i); k++) {
        struct one_write w = write_of(t, i, k);

        st = w.is_delete ? odb_batch_delete(b, cf[w.family], key_of(w.slot, key))
                         : odb_batch_put(b, cf[w.family], key_of(w.slot, key),
                                         value_of(t, i, w.slot, value));
    }
    (void)snprintf(value, sizeof value, "%llu", (unsigned long long)i);
    if (st == ODB_OK)
        st = odb_batch_put(b, NULL, odb_s("counter"), odb_s(value));
    return st == ODB_OK ? odb_commit(db, b, &how) : st;
}

/* Write until killed. `level` DEFAULT: each commit throws a die. */
static odb_status write_for_ever(const struct kill_test *t, odb_durability level)
{
    odb_options o = fixture_options();
    odb_cf *cf[FAMILIES];
    odb_db *db = NULL;
    odb_batch *b = NULL;
    odb_status st = odb_open(t->dir, &o, &db);

    for (size_t f = 0; st == ODB_OK && f < FAMILIES; f++)
        st = odb_cf_open(db, family_name[f], &cf[f]);
    if (st == ODB_OK)
        st = odb_batch_new(&b);
    for (uint64_t i = t->count + 1; st == ODB_OK; i++) {
        odb_durability now = level ? level : (odb_durability)(ODB_DURABLE_NONE + mix(i) % 32 / 15);

        st = commit_one(t, db, cf, b, i, now);
        if (st == ODB_OK) {
            atomic_store(&t->shared->acknowledged, i);
            atomic_store(&t->shared->has_begun, true);
        }
    }
    return st;
}

static void sleep_us(uint64_t us)
{
    struct timespec nap = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    while (nanosleep(&nap, &nap) != 0 && errno == EINTR)
        continue;
}

/* Kill it `patience_us` after its start, or after the first commit that it had acknowledged: on a busy
 * machine the clock alone would kill nothing but openings. */
static void run_and_kill(struct kill_test *t, odb_durability level, uint64_t patience_us,
                         bool is_opening)
{
    pid_t child;
    int code;

    atomic_store(&t->shared->has_begun, false);
    child = fork();
    if (child == 0) {
        odb_status st = write_for_ever(t, level);

        fprintf(stderr, "the writer stopped: %s: %s\n", odb_status_name(st), odb_error_text());
        atomic_store(&t->shared->failed, (uint64_t)st + 1);
        _exit(1);
    }
    assert_true(child > 0);
    while (!is_opening && !atomic_load(&t->shared->has_begun)) {
        siginfo_t end = {.si_pid = 0};

        assert_int_equal(waitid(P_PID, (id_t)child, &end, WEXITED | WNOHANG | WNOWAIT), 0);
        if (end.si_pid != 0)
            fail_msg("the writer died before its first commit");
        sleep_us(200);
    }
    sleep_us(patience_us);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(atomic_load(&t->shared->failed), 0);
}

/* ---- the parent ---- */

static uint64_t read_counter(odb_db *db)
{
    char text[32] = "";
    size_t size;
    odb_status st = odb_get_into(odb_now(db), NULL, odb_s("counter"), text, sizeof text - 1, &size);

    if (st == ODB_ABSENT)
        return 0;
    assert_ok(st);
    assert_true(size < sizeof text);
    return strtoull(text, NULL, 10);
}

static void advance_model(struct kill_test *t, uint64_t to)
{
    while (t->count < to) {
        uint64_t i = ++t->count;

        for (size_t k = 0; k < writes_of(t, i); k++) {
            struct one_write w = write_of(t, i, k);

            t->model[w.family][w.slot] = w.is_delete ? 0 : i;
        }
    }
}

/* The family holds what the model says, and nothing else but the counter. */
static void compare_family(const struct kill_test *t, odb_db *db, size_t f)
{
    char key[32], value[VALUE_MAX + 32];
    odb_range range = {.prefix = odb_s("slot-")};
    odb_iter *it;
    odb_cf *cf;
    bool ok;

    assert_ok(odb_cf_open(db, family_name[f], &cf));
    assert_ok(odb_iter_new(odb_now(db), cf, &range, &it));
    ok = odb_iter_first(it);
    for (size_t s = 0; s < SLOTS; s++) {
        uint64_t i = t->model[f][s];

        if (i == 0)
            continue;
        if (!ok || !odb_slice_equal(odb_iter_key(it), key_of(s, key)))
            fail_msg("of %llu commits, family %s has lost slot %zu of commit %llu (%s)",
                     (unsigned long long)t->count, family_name[f], s, (unsigned long long)i,
                     odb_status_name(odb_iter_status(it)));
        if (!odb_slice_equal(odb_iter_value(it), value_of(t, i, s, value)))
            fail_msg("of %llu commits, family %s has in slot %zu not the value of commit %llu but "
                     "'%.20s'",
                     (unsigned long long)t->count, family_name[f], s, (unsigned long long)i,
                     (const char *)odb_iter_value(it).data);
        ok = odb_iter_next(it);
    }
    if (ok)
        fail_msg("of %llu commits, family %s has a slot too many: %.9s",
                 (unsigned long long)t->count, family_name[f], (const char *)odb_iter_key(it).data);
    assert_ok(odb_iter_status(it));
    odb_iter_free(it);
}

static void P02_acknowledged_commits_are_there(const struct kill_test *t, uint64_t found)
{
    uint64_t acknowledged = atomic_load(&t->shared->acknowledged);

    if (found < acknowledged)
        fail_msg("commit %llu was acknowledged, but only %llu are there",
                 (unsigned long long)acknowledged, (unsigned long long)found);
}

static void check_what_is_left(struct kill_test *t)
{
    odb_options o = fixture_options();
    uint64_t found;
    odb_db *db;

    assert_ok(odb_open(t->dir, &o, &db));
    found = read_counter(db);
    P02_acknowledged_commits_are_there(t, found);
    advance_model(t, found);
    for (size_t f = 0; f < FAMILIES; f++)
        compare_family(t, db, f);
    assert_ok(odb_verify(db, NULL, NULL));
    assert_ok(odb_close(db));
    atomic_store(&t->shared->acknowledged, found);
}

/* ---- */

static uint64_t kills = 100, patience = 1;

static uint64_t number_of(const char *text, uint64_t otherwise)
{
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void P03_a_killed_writer_leaves_a_prefix(void **state)
{
    static struct kill_test t;
    uint64_t dice;

    (void)state;
    t.seed = number_of(getenv("ODB_TEST_SEED"), (uint64_t)getpid() * 2654435761u + 1);
    dice = t.seed;
    printf("ODB_TEST_SEED=%llu, %llu kills\n", (unsigned long long)t.seed,
           (unsigned long long)kills);
    (void)fflush(stdout);
    t.shared =
        mmap(NULL, sizeof *t.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t.shared != MAP_FAILED);
    fixture_make_dir(t.dir, sizeof t.dir);
    for (uint64_t k = 0; k < kills; k++) {
        bool is_opening = (dice = mix(dice + k + 1)) % 8 == 0;

        /* one in eight while it opens; the others after some commits */
        run_and_kill(&t, (odb_durability)(k % 4),
                     patience * (dice / 8 % (is_opening ? 3000 : 60000)), is_opening);
        check_what_is_left(&t);
        if (kills > 100 && (isatty(1) || k % 100 == 99)) {
            printf(isatty(1) ? "\r%llu of %llu kills, %llu commits"
                             : "%llu of %llu kills, %llu commits\n",
                   (unsigned long long)k + 1, (unsigned long long)kills,
                   (unsigned long long)t.count);
            (void)fflush(stdout);
        }
    }
    printf("%llu kills, %llu commits survived, none out of order\n", (unsigned long long)kills,
           (unsigned long long)t.count);
    assert_true(t.count > 0);
    fixture_remove_dir(t.dir);
    (void)munmap(t.shared, sizeof *t.shared);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P03_a_killed_writer_leaves_a_prefix),
    };

    kills = number_of(getenv("ODB_TEST_KILLS"), kills);
    patience = number_of(getenv("ODB_TEST_PATIENCE"), patience);
    if (argc == 3 && strcmp(argv[1], "--kills") == 0)
        kills = number_of(argv[2], kills);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
