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
#include "tests/api/slots.h"
#include "tests/api/victim.h"

#define SLOTS 400 /* keys of a family */

struct kill_test {
    char dir[64];
    uint64_t seed;
    odb_durability level; /* of the commits of the next child; DEFAULT: they throw a die */
    uint64_t count;       /* commits the model holds */
    uint64_t model[FAMILIES][SLOTS]; /* which commit wrote the slot; 0: absent */
};

/* ---- what commit i does: a function of i ---- */

static size_t writes_of(const struct kill_test *t, uint64_t i)
{
    return 1 + mix(t->seed ^ i) % 12;
}

static struct slot_write write_of(const struct kill_test *t, uint64_t i, size_t k)
{
    uint64_t x = mix(mix(t->seed + i) + k);

    return (struct slot_write){x % FAMILIES, x / 8 % SLOTS, (x >> 40) % 5 == 0};
}

/* ---- the child ---- */

static odb_status commit_one(const struct kill_test *t, odb_db *db, odb_cf **cf, odb_batch *b,
                             uint64_t i, odb_durability level)
{
    odb_write how = {.durability = level};
    char key[32], value[VALUE_ROOM];
    odb_status st = ODB_OK;

    odb_batch_clear(b);
    for (size_t k = 0; st == ODB_OK && k < writes_of(t, i); k++) {
        struct slot_write w = write_of(t, i, k);

        st = w.is_delete ? odb_batch_delete(b, cf[w.family], slot_key(w.slot, key))
                         : odb_batch_put(b, cf[w.family], slot_key(w.slot, key),
                                         slot_value(i, w.slot, value));
    }
    (void)snprintf(value, sizeof value, "%llu", (unsigned long long)i);
    if (st == ODB_OK)
        st = odb_batch_put(b, NULL, odb_s("counter"), odb_s(value));
    return st == ODB_OK ? odb_commit(db, b, &how) : st;
}

static odb_status write_for_ever(struct victim *v, void *arg)
{
    const struct kill_test *t = arg;
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
        st = commit_one(t, db, cf, b, i, step_level(t->level, i));
        if (st == ODB_OK)
            victim_ack(v, i);
    }
    return st;
}

/* ---- the parent ---- */

static void advance_model(struct kill_test *t, uint64_t to)
{
    while (t->count < to) {
        uint64_t i = ++t->count;

        for (size_t k = 0; k < writes_of(t, i); k++) {
            struct slot_write w = write_of(t, i, k);

            t->model[w.family][w.slot] = w.is_delete ? 0 : i;
        }
    }
}

static void P02_acknowledged_commits_are_there(const struct victim *v, uint64_t found)
{
    uint64_t acknowledged = atomic_load(&v->acknowledged);

    if (found < acknowledged)
        fail_msg("commit %llu was acknowledged, but only %llu are there",
                 (unsigned long long)acknowledged, (unsigned long long)found);
}

static void check_what_is_left(struct kill_test *t, struct victim *v)
{
    odb_options o = fixture_options();
    uint64_t found;
    odb_db *db;

    assert_ok(odb_open(t->dir, &o, &db));
    found = read_counter(db);
    P02_acknowledged_commits_are_there(v, found);
    advance_model(t, found);
    for (size_t f = 0; f < FAMILIES; f++)
        expect_slots(db, f, t->model[f], SLOTS, found);
    assert_ok(odb_verify(db, NULL, NULL));
    assert_ok(odb_close(db));
    atomic_store(&v->acknowledged, found);
}

/* ---- */

static uint64_t kills = 100, patience = 1;

static void P03_a_killed_writer_leaves_a_prefix(void **state)
{
    static struct kill_test t;
    struct victim *v = victim_new();
    uint64_t dice;

    (void)state;
    t.seed = number_of(getenv("ODB_TEST_SEED"), (uint64_t)getpid() * 2654435761u + 1);
    dice = t.seed;
    printf("ODB_TEST_SEED=%llu, %llu kills\n", (unsigned long long)t.seed,
           (unsigned long long)kills);
    (void)fflush(stdout);
    fixture_make_dir(t.dir, sizeof t.dir);
    for (uint64_t k = 0; k < kills; k++) {
        bool is_opening = (dice = mix(dice + k + 1)) % 8 == 0;

        t.level = (odb_durability)(k % 4);
        victim_kill(v, write_for_ever, &t, is_opening ? 0 : 1,
                    patience * (dice / 8 % (is_opening ? 3000 : 60000)));
        check_what_is_left(&t, v);
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
    victim_free(v);
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
