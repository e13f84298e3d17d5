/* A process that commits, prepares and resolves transactions is killed with SIGKILL at random moments.
 * What it left behind must be the result of its first c steps, for one c (P3), not less than what was
 * acknowledged (P2); what is prepared then must be listed, show its writes and hold its keys.
 *
 *     step i, by i % 4:  1  a transaction over three families, which counts in a key
 *                        2  prepare one called "t" and i, also over three families
 *                        3  a transaction again
 *                        0  commit or roll back the one of step i - LAG
 *
 * What each does follows from i and the seed, and so does what is prepared after c steps. The counter
 * tells c but for the last prepare or end behind it, and the list of names tells that. Steps are taken at
 * all levels of durability: what the process was told survives the process.
 *
 * The kill comes when the child has acknowledged a number of steps, and a moment later, however slow the
 * machine is.
 *
 * --kills N or ODB_TEST_KILLS=N: how many (40). ODB_TEST_SEED=N: the same steps again. TMPDIR: where.
 */
#include "tests/api/slots.h"
#include "tests/api/victim.h"

#define SLOTS     200 /* keys of a family that transactions write */
#define RESERVED  32  /* and behind them those that prepared ones do: nobody else waits for them */
#define LAG       10  /* steps between a prepare and its end: three are prepared at a time */
#define STEPS_MAX 500

struct kill_txns {
    char dir[64];
    uint64_t seed, count; /* steps the model holds */
    odb_durability level; /* of the steps of the next child; DEFAULT: they throw a die */
    uint64_t model[FAMILIES][SLOTS + RESERVED]; /* which step wrote the slot; 0: absent */
    uint64_t found_prepared;                    /* over all kills */
};

/* ---- what step i does: a function of i ---- */

static bool is_prepare(uint64_t i)
{
    return i % 4 == 2;
}

static bool is_end(uint64_t i)
{
    return i % 4 == 0 && i > LAG;
}

static bool ends_in_commit(const struct kill_txns *t, uint64_t prepared)
{
    return mix(t->seed ^ prepared) % 3 != 0;
}

static bool is_prepared_after(uint64_t steps, uint64_t i)
{
    return is_prepare(i) && i <= steps && i + LAG > steps;
}

static size_t write_count(const struct kill_txns *t, uint64_t i)
{
    return is_prepare(i) ? FAMILIES : 1 + (size_t)(mix(t->seed + i) % 8);
}

static struct slot_write nth_write(const struct kill_txns *t, uint64_t i, size_t n)
{
    uint64_t x = mix(mix(t->seed + i) + n + 1);

    if (is_prepare(i))
        return (struct slot_write){n, SLOTS + i / 4 % RESERVED, x % 4 == 0};
    return (struct slot_write){x % FAMILIES, x / 8 % SLOTS, (x >> 40) % 5 == 0};
}

static const char *txn_name(uint64_t i, char room[32])
{
    (void)snprintf(room, 32, "t%llu", (unsigned long long)i);
    return room;
}

/* ---- the child ---- */

struct child {
    const struct kill_txns *t;
    odb_db *db;
    odb_cf *cf[FAMILIES];
    odb_txn *prepared[LAG]; /* handles by i % LAG; NULL: by name */
};

static odb_status write_step(const struct child *c, odb_txn *txn, uint64_t i)
{
    char key[32], value[VALUE_ROOM];
    odb_status st = ODB_OK;

    for (size_t n = 0; st == ODB_OK && n < write_count(c->t, i); n++) {
        struct slot_write w = nth_write(c->t, i, n);

        st = w.is_delete ? odb_txn_delete(txn, c->cf[w.family], slot_key(w.slot, key))
                         : odb_txn_put(txn, c->cf[w.family], slot_key(w.slot, key),
                                       slot_value(i, w.slot, value));
    }
    return st;
}

static odb_status commit_step(const struct child *c, uint64_t i, const odb_write *how)
{
    odb_txn_options opt = {.size = sizeof opt,
                           .isolation = i % 8 < 4 ? ODB_SNAPSHOT : ODB_SERIALIZABLE,
                           .is_pessimistic = i % 5 == 0};
    char text[32];
    odb_txn *txn;
    odb_status st = odb_txn_begin(c->db, &opt, &txn);

    if (st != ODB_OK)
        return st;
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)i);
    st = write_step(c, txn, i);
    if (st == ODB_OK)
        st = odb_txn_put(txn, NULL, odb_s("counter"), odb_s(text));
    if (st == ODB_OK)
        st = odb_txn_commit(txn, how);
    odb_txn_free(txn);
    return st;
}

static odb_status prepare_step(struct child *c, uint64_t i, const odb_write *how)
{
    char name[32];
    odb_txn *txn;
    odb_status st = odb_txn_begin(c->db, NULL, &txn);

    if (st != ODB_OK)
        return st;
    st = write_step(c, txn, i);
    if (st == ODB_OK)
        st = odb_txn_prepare(txn, txn_name(i, name), how);
    if (st == ODB_OK && i % 3 != 0) {
        c->prepared[i % LAG] = txn;
        txn = NULL;
    }
    odb_txn_free(txn);
    return st;
}

static odb_status end_step(struct child *c, uint64_t i, const odb_write *how)
{
    uint64_t number = i - LAG;
    odb_txn *txn = c->prepared[number % LAG];
    odb_status st = ODB_OK;
    char name[32];

    c->prepared[number % LAG] = NULL;
    if (!txn)
        st = odb_txn_recover(c->db, txn_name(number, name), &txn);
    if (st == ODB_OK)
        st = ends_in_commit(c->t, number) ? odb_txn_commit(txn, how) : odb_txn_rollback(txn);
    odb_txn_free(txn);
    return st;
}

static odb_status step_for_ever(struct victim *v, void *arg)
{
    const struct kill_txns *t = arg;
    struct child c = {.t = t};
    odb_options o = fixture_options();
    odb_status st = odb_open(t->dir, &o, &c.db);

    for (size_t f = 0; st == ODB_OK && f < FAMILIES; f++)
        st = odb_cf_open(c.db, family_name[f], &c.cf[f]);
    for (uint64_t i = t->count + 1; st == ODB_OK; i++) {
        odb_write how = {.durability = step_level(t->level, i)};

        if (is_prepare(i))
            st = prepare_step(&c, i, &how);
        else if (i % 4 == 0)
            st = is_end(i) ? end_step(&c, i, &how) : ODB_OK;
        else
            st = commit_step(&c, i, &how);
        if (st == ODB_OK)
            victim_ack(v, i);
    }
    return st;
}

/* ---- the parent ---- */

static bool is_listed(const odb_names *names, uint64_t i)
{
    char name[32];

    for (size_t n = 0; n < names->count; n++)
        if (strcmp(names->name[n], txn_name(i, name)) == 0)
            return true;
    return false;
}

/* Is exactly that listed which is prepared after `steps`? */
static bool lists_as_after(const odb_names *names, uint64_t steps)
{
    uint64_t from = steps > LAG ? steps - LAG : 1;
    size_t count = 0;

    for (uint64_t i = from; i <= steps; i++) {
        if (!is_prepared_after(steps, i))
            continue;
        count++;
        if (!is_listed(names, i))
            return false;
    }
    return count == names->count;
}

static uint64_t steps_there(odb_db *db, const odb_names *names)
{
    uint64_t counted = read_counter(db);

    /* Step 4 and 8 have nothing to end, and nobody can tell whether they were. */
    if (!lists_as_after(names, counted) && !lists_as_after(names, counted + 1))
        fail_msg("after step %llu, %zu prepared transactions are listed, %s the first",
                 (unsigned long long)counted, names->count, names->count ? names->name[0] : "none");
    return lists_as_after(names, counted) ? counted : counted + 1;
}

static void model_write(struct kill_txns *t, uint64_t i)
{
    for (size_t n = 0; n < write_count(t, i); n++) {
        struct slot_write w = nth_write(t, i, n);

        t->model[w.family][w.slot] = w.is_delete ? 0 : i;
    }
}

static void model_advance(struct kill_txns *t, uint64_t to)
{
    while (t->count < to) {
        uint64_t i = ++t->count;

        if (i % 2)
            model_write(t, i);
        else if (is_end(i) && ends_in_commit(t, i - LAG))
            model_write(t, i - LAG);
    }
}

/* Prepared in step i: its keys are its own, and it knows what it will write. */
static void check_prepared(const struct kill_txns *t, odb_db *db, uint64_t i)
{
    char key[32], value[VALUE_ROOM], got[VALUE_ROOM], name[32];
    odb_txn *txn;

    assert_ok(odb_txn_recover(db, txn_name(i, name), &txn));
    for (size_t n = 0; n < write_count(t, i); n++) {
        struct slot_write w = nth_write(t, i, n);
        odb_slice want = slot_value(i, w.slot, value), k = slot_key(w.slot, key);
        size_t size;
        odb_status st;
        odb_cf *cf;

        assert_ok(odb_cf_open(db, family_name[w.family], &cf));
        assert_status(odb_put(db, cf, k, odb_s("intruder"), NULL), ODB_CONFLICT);
        st = odb_get_into(odb_in(txn), cf, k, got, sizeof got, &size);
        assert_status(st, w.is_delete ? ODB_ABSENT : ODB_OK);
        if (!w.is_delete)
            assert_true(odb_slice_equal(odb_bytes(got, size), want));
    }
    odb_txn_free(txn); /* it stays prepared */
}

static void check_after_kill(struct kill_txns *t, struct victim *v)
{
    uint64_t acknowledged = atomic_load(&v->acknowledged), there;
    odb_options o = fixture_options();
    odb_names names;
    odb_db *db;

    assert_ok(odb_open(t->dir, &o, &db));
    assert_ok(odb_txn_list_prepared(db, &names));
    there = steps_there(db, &names);
    if (there == acknowledged - 1 && acknowledged % 4 == 0 && !is_end(acknowledged))
        there = acknowledged;
    if (there < acknowledged)
        fail_msg("step %llu was acknowledged, but only %llu are there",
                 (unsigned long long)acknowledged, (unsigned long long)there);
    odb_names_release(&names);
    model_advance(t, there);
    for (size_t f = 0; f < FAMILIES; f++)
        expect_slots(db, f, t->model[f], SLOTS + RESERVED, there);
    for (uint64_t i = there > LAG ? there - LAG : 1; i <= there; i++)
        if (is_prepared_after(there, i)) {
            check_prepared(t, db, i);
            t->found_prepared++;
        }
    assert_ok(odb_verify(db, NULL, NULL));
    assert_ok(odb_close(db));
    atomic_store(&v->acknowledged, there);
}

/* ---- */

static uint64_t kills = 40;

static void P03_killed_transactions_are_whole_prepared_or_absent(void **state)
{
    static struct kill_txns t;
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
        dice = mix(dice + k + 1);
        /* one in eight while it opens */
        t.level = (odb_durability)(k % 4);
        victim_kill(v, step_for_ever, &t, dice % 8 == 0 ? 0 : dice / 8 % STEPS_MAX,
                    dice / 4096 % 2000);
        check_after_kill(&t, v);
    }
    printf("%llu kills, %llu steps survived, %llu times a transaction was found prepared\n",
           (unsigned long long)kills, (unsigned long long)t.count,
           (unsigned long long)t.found_prepared);
    assert_true(t.found_prepared > 0);
    fixture_remove_dir(t.dir);
    victim_free(v);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P03_killed_transactions_are_whole_prepared_or_absent),
    };

    kills = number_of(getenv("ODB_TEST_KILLS"), kills);
    if (argc == 3 && strcmp(argv[1], "--kills") == 0)
        kills = number_of(argv[2], kills);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
