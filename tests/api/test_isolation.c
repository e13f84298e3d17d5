/* Isolation, checked from outside: eight threads, histories of lists, cycles looked for (isolation.h).
 *
 *     ODB_ISOLATION_TXNS=50000000 build/tests/api/test_api_isolation     as many in all
 *     ODB_ISOLATION_SEED=7 ...                                           the same choices again
 *     ODB_ISOLATION_DUMP=history.edn ...                                 what happened, for Elle; of the
 *                                                       engine that checks nothing: history.edn.control
 */
#include "tests/api/fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "api/odb_backend.h"
#include "tests/api/isolation.h"
#include "tests/lib/child.h"

#define THREADS    8
#define KEYS       48
#define ROUND_TXNS 1600 /* of all threads */
#define SCAN_KEYS  6
#define LANES      3 /* transactions a thread has under way at once */
#define LIST_MAX   4096

/* ==== a backend that checks nothing: the checker must notice ==== */

static odb_status (*honest_commit)(void *self, const odb_guard *guard, const odb_batch *b,
                                   const odb_write *how);

static odb_status careless_commit(void *self, const odb_guard *guard, const odb_batch *b,
                                  const odb_write *how)
{
    odb_guard nothing = {.since = ODB_SINCE_EVER};

    (void)guard;
    return honest_commit(self, &nothing, b, how);
}

static odb_backend_ops careless_ops;

static odb_db *open_careless(odb_backend below)
{
    odb_db *db = NULL;

    careless_ops = *below.ops;
    honest_commit = below.ops->commit_transaction;
    careless_ops.commit_transaction = careless_commit;
    below.ops = &careless_ops;
    assert_ok(odb_open_backend(below, &db));
    return db;
}

/* ==== runs ==== */

/* What all threads, or a child that will be killed, work on; in shared memory. */
struct run {
    odb_db *db;
    odb_txn_options opt;
    bool is_mixed; /* half of the threads lock, the others do not */
    uint32_t round;
    uint64_t seed;
    _Atomic uint64_t clock;
    _Atomic uint64_t conflicts, failures;
    uint32_t txn_count;
    struct iso_txn txn[ROUND_TXNS];
};

struct thread {
    struct run *run;
    uint32_t no;
    uint32_t from, to; /* its transactions */
    pthread_t thread;
    uint64_t dice;
};

static uint32_t throw_dice(struct thread *t, uint32_t sides)
{
    t->dice ^= t->dice << 13;
    t->dice ^= t->dice >> 7;
    t->dice ^= t->dice << 17;
    return (uint32_t)(t->dice >> 33) % sides;
}

static void list_key(const struct run *r, uint32_t key, char out[32])
{
    (void)snprintf(out, 32, "%08u/%02u", (unsigned)r->round, (unsigned)key);
}

static struct iso_op op_of(uint32_t key, const void *data, size_t size)
{
    struct iso_op op = {.key = key, .len = (uint32_t)(size / 4)};

    for (uint32_t i = 0; i < op.len; i++) {
        uint32_t id;

        memcpy(&id, (const uint8_t *)data + (size_t)i * 4, 4);
        op.hash = iso_hash(op.hash, id);
    }
    return op;
}

/* Read a list, and perhaps append to it. */
static odb_status touch(struct thread *t, odb_txn *txn, struct iso_txn *log, uint32_t key,
                        uint32_t id)
{
    uint8_t bytes[LIST_MAX * 4];
    char name[32];
    size_t size = 0;
    odb_status st;

    list_key(t->run, key, name);
    st = odb_get_into(odb_in(txn), NULL, odb_s(name), bytes, sizeof bytes - 4, &size);
    if (st == ODB_ABSENT)
        st = ODB_OK;
    if (st != ODB_OK || size > sizeof bytes - 4)
        return st;
    log->op[log->op_count] = op_of(key, bytes, size);
    if (id) {
        memcpy(bytes + size, &id, 4);
        st = odb_txn_put(txn, NULL, odb_s(name), odb_bytes(bytes, size + 4));
        log->op[log->op_count].id = id;
    }
    log->op_count++;
    return st;
}

/* A get must say what the walk said: both read one moment. Not where locks and no locks are mixed: the
 * moment of who locks moves on with each lock, somebody may have written past them, and then the
 * commit is refused. */
static odb_status check_seen(struct thread *t, odb_txn *txn, const struct iso_op *seen,
                             bool forward)
{
    uint8_t bytes[LIST_MAX * 4];
    struct iso_op got;
    char name[32];
    size_t size = 0;
    odb_status st;

    list_key(t->run, seen->key, name);
    st = odb_get_into(odb_in(txn), NULL, odb_s(name), bytes, sizeof bytes, &size);
    if (st == ODB_ABSENT)
        st = ODB_OK;
    if (st != ODB_OK)
        return st;
    got = op_of(seen->key, bytes, size);
    if (got.len == seen->len && got.hash == seen->hash)
        return ODB_OK;
    printf("key %u of round %u: a walk %s saw %u numbers (%08x), a get %u (%08x)\n",
           (unsigned)seen->key, (unsigned)t->run->round, forward ? "forward" : "back",
           (unsigned)seen->len, (unsigned)seen->hash, (unsigned)got.len, (unsigned)got.hash);
    return ODB_CORRUPT;
}

/* Read neighbouring lists by walking them; those that are not there are empty. */
static odb_status scan(struct thread *t, odb_txn *txn, struct iso_txn *log, uint32_t from)
{
    char lower[32], upper[32];
    odb_range range = {.lower = {NULL, 0}};
    bool forward = throw_dice(t, 2) != 0, ok;
    struct iso_op seen[SCAN_KEYS];
    odb_iter *it;
    odb_status st;

    for (uint32_t i = 0; i < SCAN_KEYS; i++)
        seen[i] = (struct iso_op){.key = from + i};
    list_key(t->run, from, lower);
    list_key(t->run, from + SCAN_KEYS, upper);
    range.lower = odb_s(lower);
    range.upper = odb_s(upper);
    st = odb_iter_new(odb_in(txn), NULL, &range, &it);
    if (st != ODB_OK)
        return st;
    for (ok = forward ? odb_iter_first(it) : odb_iter_last(it); ok;
         ok = forward ? odb_iter_next(it) : odb_iter_prev(it)) {
        odb_slice key = odb_iter_key(it), value = odb_iter_value(it);
        const char *digits = (const char *)key.data + 9;
        uint32_t k = (uint32_t)(digits[0] - '0') * 10 + (uint32_t)(digits[1] - '0');

        assert_true(key.size == 11 && k >= from && k < from + SCAN_KEYS);
        seen[k - from] = op_of(k, value.data, value.size);
    }
    st = odb_iter_status(it);
    odb_iter_free(it);
    for (uint32_t i = 0; st == ODB_OK && i < SCAN_KEYS; i++) {
        if (!t->run->is_mixed)
            st = check_seen(t, txn, &seen[i], forward);
        log->op[log->op_count++] = seen[i];
    }
    return st;
}

/* One transaction under way. A thread has several and goes on with any of them, so that they overlap
 * as they would on many processors, whatever this machine has. */
struct lane {
    odb_txn *txn;
    struct iso_txn *log; /* NULL: none */
    uint32_t no, left, appends;
};

static odb_status lane_begin(struct thread *t, struct lane *l, uint32_t no)
{
    l->no = no;
    l->log = &t->run->txn[no];
    l->left = 1 + throw_dice(t, 4);
    l->appends = 0;
    l->log->process = t->no;
    l->log->op_count = 0;
    l->log->state = ISO_BEGUN;
    l->log->begin = atomic_fetch_add(&t->run->clock, 1);
    return odb_txn_reset(l->txn);
}

static odb_status lane_step(struct thread *t, struct lane *l)
{
    uint32_t what = throw_dice(t, 10), key = throw_dice(t, 4) ? throw_dice(t, KEYS) : 0;

    l->left--;
    if (what == 0 && l->log->op_count + SCAN_KEYS + 4 <= ISO_OPS)
        return scan(t, l->txn, l->log, throw_dice(t, KEYS - SCAN_KEYS));
    return touch(t, l->txn, l->log, key, what < 6 ? iso_id(l->no, l->appends++) : 0);
}

static void lane_end(struct thread *t, struct lane *l, odb_status st)
{
    struct run *r = t->run;

    if (st == ODB_OK && throw_dice(t, 50) == 0) {
        st = ODB_CANCELLED;
        (void)odb_txn_rollback(l->txn);
    }
    if (st == ODB_OK)
        st = odb_txn_commit(l->txn, NULL);
    l->log->end = atomic_fetch_add(&r->clock, 1);
    l->log->state = st == ODB_OK ? ISO_COMMITTED : ISO_ABORTED;
    l->log = NULL;
    if (st != ODB_OK && st != ODB_CANCELLED)
        atomic_fetch_add(odb_txn_should_retry(st) ? &r->conflicts : &r->failures, 1);
}

static void *thread_run(void *arg)
{
    struct thread *t = arg;
    odb_txn_options opt = t->run->opt;
    struct lane lane[LANES] = {{NULL, NULL, 0, 0, 0}};
    uint32_t lanes, next = t->from, busy = 0;

    opt.is_pessimistic |= t->run->is_mixed && t->no % 2;
    lanes = opt.is_pessimistic ? 1 : LANES; /* a thread that waits for itself waits long */
    for (uint32_t i = 0; i < lanes; i++)
        if (odb_txn_begin(t->run->db, &opt, &lane[i].txn) != ODB_OK) {
            atomic_fetch_add(&t->run->failures, 1);
            next = t->to;
        }
    while (next < t->to || busy) {
        struct lane *l = &lane[throw_dice(t, lanes)];
        odb_status st;

        if (!l->log && next == t->to)
            continue;
        busy += !l->log;
        st = l->log ? lane_step(t, l) : lane_begin(t, l, next++);
        if (st != ODB_OK || l->left == 0) {
            lane_end(t, l, st);
            busy--;
        }
        if (throw_dice(t, opt.is_pessimistic ? 16 : 256) == 0)
            (void)sched_yield();
    }
    for (uint32_t i = 0; i < lanes; i++)
        odb_txn_free(lane[i].txn);
    return NULL;
}

/* Transactions [from, to) of the round. */
static void run_threads(struct run *r, uint32_t from, uint32_t to)
{
    struct thread t[THREADS];
    uint32_t share = (to - from) / THREADS;

    for (uint32_t i = 0; i < THREADS; i++) {
        t[i] = (struct thread){.run = r,
                               .no = i,
                               .from = from + i * share,
                               .to = from + (i + 1) * share,
                               .dice = (r->seed + r->round * 977 + from) * 0x9e3779b97f4a7c15u +
                                       i * 0xd6e8feb86659fd93u + 1};
        if (pthread_create(&t[i].thread, NULL, thread_run, &t[i]) != 0)
            abort();
    }
    for (uint32_t i = 0; i < THREADS; i++)
        (void)pthread_join(t[i].thread, NULL);
}

static void round_begin(struct run *r, uint32_t round)
{
    r->round = round;
    r->txn_count = ROUND_TXNS;
    memset(r->txn, 0, sizeof r->txn);
}

/* The final lists, from the database. Free with round_end. */
static void round_history(struct run *r, struct iso_history *h)
{
    static struct iso_list list[KEYS];

    *h = (struct iso_history){r->txn, r->txn_count, list, KEYS};
    for (uint32_t k = 0; k < KEYS; k++) {
        char name[32];
        odb_value v;
        odb_status st;

        list_key(r, k, name);
        list[k] = (struct iso_list){NULL, 0};
        st = odb_get(odb_now(r->db), NULL, odb_s(name), &v);
        if (st == ODB_ABSENT)
            continue;
        assert_ok(st);
        list[k].count = (uint32_t)(v.size / 4);
        list[k].id = malloc(v.size + 1);
        assert_non_null(list[k].id);
        memcpy(list[k].id, v.data, v.size);
        odb_value_release(&v);
    }
}

static void round_end(struct iso_history *h)
{
    for (uint32_t k = 0; k < h->key_count; k++)
        free(h->list[k].id);
}

static uint64_t env_number(const char *name, uint64_t usual)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : usual;
}

static const char *dump_suffix = "";

static void dump_history(const struct iso_history *h)
{
    const char *path = getenv("ODB_ISOLATION_DUMP");
    char name[1024];
    FILE *out = NULL;

    if (path && *path) {
        (void)snprintf(name, sizeof name, "%s%s", path, dump_suffix);
        out = fopen(name, "w");
    }
    if (out) {
        iso_dump(h, out);
        (void)fclose(out);
    }
}

struct tally {
    uint64_t txns, committed, conflicts, failures;
    uint64_t found[ISO_INCOMPATIBLE + 1]; /* rounds by their worst anomaly */
    double seconds;
};

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Rounds until there were `txns` transactions, or one was found that is worse than `worst`. */
static void run_rounds(odb_db *db, const odb_txn_options *opt, bool is_mixed, uint64_t txns,
                       enum iso_anomaly worst, struct tally *out)
{
    static struct run r;
    struct iso_history h;
    double start = seconds_now();

    memset(out, 0, sizeof *out);
    r.db = db;
    r.opt = *opt;
    r.is_mixed = is_mixed;
    r.seed = env_number("ODB_ISOLATION_SEED", 20261127);
    r.clock = r.conflicts = r.failures = 0;
    for (uint32_t round = 0; out->txns < txns; round++) {
        enum iso_anomaly a;

        round_begin(&r, round);
        run_threads(&r, 0, ROUND_TXNS);
        round_history(&r, &h);
        a = iso_check(&h);
        out->found[a]++;
        out->txns += ROUND_TXNS;
        for (uint32_t i = 0; i < ROUND_TXNS; i++)
            out->committed += r.txn[i].state == ISO_COMMITTED;
        if (a > worst || (worst == ISO_FINE && round == 0))
            dump_history(&h);
        if (a == ISO_INTERNAL || a == ISO_INCOMPATIBLE || a == ISO_G1B) {
            const struct iso_txn *t = &r.txn[iso_bad_txn];

            printf("round %u, transaction %u of %u operations, the operation %u: key %u read as %u "
                   "long, hash %08x; in the end it is %u long\n",
                   round, iso_bad_txn, t->op_count, iso_bad_op, t->op[iso_bad_op].key,
                   t->op[iso_bad_op].len, t->op[iso_bad_op].hash,
                   h.list[t->op[iso_bad_op].key].count);
            for (uint32_t k = 0; k < t->op_count; k++)
                printf("  key %u len %u hash %08x id %u\n", t->op[k].key, t->op[k].len,
                       t->op[k].hash, t->op[k].id);
        }
        round_end(&h);
        if (a > worst)
            break;
    }
    out->conflicts = r.conflicts;
    out->failures = r.failures;
    out->seconds = seconds_now() - start;
}

static void tally_print(const char *what, const struct tally *t)
{
    printf("%-34s %9llu transactions, %llu committed, %llu refused, %.1f s; worst anomaly of a "
           "round:",
           what, (unsigned long long)t->txns, (unsigned long long)t->committed,
           (unsigned long long)t->conflicts, t->seconds);
    for (int a = ISO_FINE; a <= ISO_INCOMPATIBLE; a++)
        if (t->found[a])
            printf(" %s %llu", iso_name((enum iso_anomaly)a), (unsigned long long)t->found[a]);
    printf("\n");
    (void)fflush(stdout);
}

/* ==== the checker itself ==== */

/* Two keys, a few transactions by hand. */
struct hand {
    struct iso_txn txn[4];
    struct iso_list list[2];
    uint32_t id[2][8];
    struct iso_history h;
    uint64_t clock;
};

static void hand_begin(struct hand *d, uint32_t txns)
{
    memset(d, 0, sizeof *d);
    for (int k = 0; k < 2; k++)
        d->list[k].id = d->id[k];
    d->h = (struct iso_history){d->txn, txns, d->list, 2};
    for (uint32_t i = 0; i < txns; i++) { /* all at once, unless a test says otherwise */
        d->txn[i].state = ISO_COMMITTED;
        d->txn[i].begin = i;
        d->txn[i].end = txns + i;
    }
}

static void hand_list(struct hand *d, int k, const uint32_t *id, uint32_t count)
{
    memcpy(d->id[k], id, count * sizeof *id);
    d->list[k].count = count;
}

/* Transaction `t` reads `len` numbers of list `k`, and appends `id` unless it is 0. */
static void hand_op(struct hand *d, uint32_t t, uint32_t k, uint32_t len, uint32_t id)
{
    struct iso_op op = {k, id, len, 0};

    for (uint32_t i = 0; i < len; i++)
        op.hash = iso_hash(op.hash, d->id[k][i]);
    d->txn[t].op[d->txn[t].op_count++] = op;
}

static void the_checker_knows_every_anomaly(void **state)
{
    uint32_t a = iso_id(0, 0), a2 = iso_id(0, 1), b = iso_id(1, 0), b2 = iso_id(1, 1);
    struct hand d;

    (void)state;
    hand_begin(&d, 2); /* one after the other */
    hand_list(&d, 0, (uint32_t[]){a, b}, 2);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 1, 0, 1, b);
    assert_int_equal(iso_check(&d.h), ISO_FINE);
    d.txn[1].end = 1; /* but the second had ended when the first began */
    d.txn[1].begin = 0;
    d.txn[0].begin = 2;
    d.txn[0].end = 3;
    assert_int_equal(iso_check(&d.h), ISO_G0);

    hand_begin(&d, 2); /* the lists disagree on who was first */
    hand_list(&d, 0, (uint32_t[]){a, b}, 2);
    hand_list(&d, 1, (uint32_t[]){b2, a2}, 2);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 0, 1, 1, a2);
    hand_op(&d, 1, 0, 1, b);
    hand_op(&d, 1, 1, 0, b2);
    assert_int_equal(iso_check(&d.h), ISO_G0);

    hand_begin(&d, 2); /* each read what the other wrote */
    hand_list(&d, 0, (uint32_t[]){a}, 1);
    hand_list(&d, 1, (uint32_t[]){b}, 1);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 0, 1, 1, 0);
    hand_op(&d, 1, 1, 0, b);
    hand_op(&d, 1, 0, 1, 0);
    assert_int_equal(iso_check(&d.h), ISO_G1C);

    hand_begin(&d, 2); /* one read the other half before, half after */
    hand_list(&d, 0, (uint32_t[]){a}, 1);
    hand_list(&d, 1, (uint32_t[]){a2}, 1);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 0, 1, 0, a2);
    hand_op(&d, 1, 0, 1, 0);
    hand_op(&d, 1, 1, 0, 0);
    assert_int_equal(iso_check(&d.h), ISO_G_SINGLE);

    hand_begin(&d, 4); /* long fork: two readers see two writers in different orders */
    hand_list(&d, 0, (uint32_t[]){a}, 1);
    hand_list(&d, 1, (uint32_t[]){b}, 1);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 1, 1, 0, b);
    hand_op(&d, 2, 0, 1, 0);
    hand_op(&d, 2, 1, 0, 0);
    hand_op(&d, 3, 0, 0, 0);
    hand_op(&d, 3, 1, 1, 0);
    assert_int_equal(iso_check(&d.h), ISO_G_NONADJACENT);

    hand_begin(&d, 2); /* write skew */
    hand_list(&d, 0, (uint32_t[]){a}, 1);
    hand_list(&d, 1, (uint32_t[]){b}, 1);
    hand_op(&d, 0, 1, 0, 0);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 1, 0, 0, 0);
    hand_op(&d, 1, 1, 0, b);
    assert_int_equal(iso_check(&d.h), ISO_G2);

    d.txn[1].state = ISO_ABORTED; /* and its number is there nevertheless */
    assert_int_equal(iso_check(&d.h), ISO_G1A);

    hand_begin(&d, 2); /* a lost update: both read nothing, one number is gone */
    hand_list(&d, 0, (uint32_t[]){b}, 1);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 1, 0, 0, b);
    assert_int_equal(iso_check(&d.h), ISO_LOST);

    hand_begin(&d, 2); /* between two appends of one transaction */
    hand_list(&d, 0, (uint32_t[]){a, a2}, 2);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 0, 0, 1, a2);
    hand_op(&d, 1, 0, 1, 0);
    assert_int_equal(iso_check(&d.h), ISO_G1B);

    hand_begin(&d, 1); /* it does not see what it wrote */
    hand_list(&d, 0, (uint32_t[]){a, a2}, 2);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 0, 0, 0, a2);
    assert_int_equal(iso_check(&d.h), ISO_INTERNAL);

    hand_begin(&d, 2); /* a list that is no beginning of the final one */
    hand_list(&d, 0, (uint32_t[]){a, b}, 2);
    hand_op(&d, 0, 0, 0, a);
    hand_op(&d, 1, 0, 1, b);
    d.txn[1].op[0].hash++;
    assert_int_equal(iso_check(&d.h), ISO_INCOMPATIBLE);
}

/* ==== histories ==== */

struct mode {
    const char *name;
    odb_txn_options opt;
    bool is_mixed;
    unsigned share; /* of the transactions, in percent */
};

static const struct mode modes[] = {
    {"SNAPSHOT", {.size = sizeof(odb_txn_options)}, false, 37},
    {"SERIALIZABLE", {.size = sizeof(odb_txn_options), .isolation = ODB_SERIALIZABLE}, false, 40},
    {"SNAPSHOT, locks",
     {.size = sizeof(odb_txn_options), .is_pessimistic = true, .lock_wait_ms = 50},
     false,
     6},
    {"SERIALIZABLE, locks",
     {.size = sizeof(odb_txn_options),
      .isolation = ODB_SERIALIZABLE,
      .is_pessimistic = true,
      .lock_wait_ms = 50},
     false,
     6},
    {"SERIALIZABLE, half with locks",
     {.size = sizeof(odb_txn_options), .isolation = ODB_SERIALIZABLE, .lock_wait_ms = 50},
     true,
     6},
};

static void P12_histories_show_no_forbidden_anomaly(void **state)
{
    struct fixture *f = *state;
    uint64_t txns = env_number("ODB_ISOLATION_TXNS", 0);

    /* Given a number, four in five go to the LSM tree; else as many as a test may take. */
    txns = txns ? (f->is_lsm ? txns / 5 * 4 : txns / 5) : 30000;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        const struct mode *m = &modes[i];
        enum iso_anomaly worst = m->opt.isolation == ODB_SERIALIZABLE ? ISO_FINE : ISO_G2;
        struct tally t;

        run_rounds(f->db, &m->opt, m->is_mixed, txns * m->share / 100, worst, &t);
        tally_print(m->name, &t);
        assert_int_equal(t.failures, 0);
        for (int a = (int)worst + 1; a <= ISO_INCOMPATIBLE; a++)
            assert_int_equal(t.found[a], 0);
        assert_true(t.committed > t.txns / 4); /* refusing everything is no isolation */
        if (worst == ISO_G2)
            assert_true(t.found[ISO_G2] > 0); /* else this test could see nothing at all */
        fixture_reopen(f);
        if (!f->is_lsm) { /* another empty map */
            odb_backend backend;

            assert_ok(odb_close(f->db));
            assert_ok(odb_backend_memory(&backend));
            assert_ok(odb_open_backend(backend, &f->db));
        } else {
            odb_range all = {.lower = {NULL, 0}};
            odb_iter *it;

            assert_ok(odb_iter_new(odb_now(f->db), NULL, &all, &it));
            for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it))
                assert_ok(odb_delete(f->db, NULL, odb_iter_key(it), NULL));
            odb_iter_free(it);
        }
    }
}

static void an_engine_that_checks_nothing_is_found_out(void **state)
{
    const odb_txn_options snapshot = {.size = sizeof snapshot};
    odb_options o = fixture_options();
    odb_backend below;
    struct tally t;
    char dir[64];
    odb_db *db;

    (void)state;
    fixture_make_dir(dir, sizeof dir);
    assert_ok(odb_backend_lsm(dir, &o, &below));
    db = open_careless(below);
    dump_suffix = ".control";
    run_rounds(db, &snapshot, false, 100 * ROUND_TXNS, ISO_G2, &t);
    dump_suffix = "";
    tally_print("no check at all", &t);
    assert_true(t.txns < 100 * ROUND_TXNS);
    assert_ok(odb_close(db));
    fixture_remove_dir(dir);
}

/* ==== killed and recovered in the middle ==== */

/* Who was committing when the process died: there, or not, as a whole. */
static void settle_unknown(struct run *r, const struct iso_history *h)
{
    for (uint32_t i = 0; i < r->txn_count; i++) {
        struct iso_txn *t = &r->txn[i];
        uint32_t appends = 0, found = 0;

        if (t->state != ISO_BEGUN)
            continue;
        for (uint32_t o = 0; o < t->op_count; o++) {
            const struct iso_list *l = &h->list[t->op[o].key];

            appends += t->op[o].id != 0;
            for (uint32_t n = 0; t->op[o].id && n < l->count; n++)
                found += l->id[n] == t->op[o].id;
        }
        assert_true(found == 0 || found == appends);
        t->state = found ? ISO_COMMITTED : ISO_ABORTED;
        t->end = atomic_fetch_add(&r->clock, 1);
    }
}

static void P12_histories_go_on_after_a_kill(void **state)
{
    uint64_t rounds = env_number("ODB_ISOLATION_KILLS", 12);
    struct run *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    odb_options o = fixture_options();
    unsigned killed = 0;
    char dir[64];

    (void)state;
    assert_true(r != MAP_FAILED);
    fixture_make_dir(dir, sizeof dir);
    r->seed = env_number("ODB_ISOLATION_SEED", 20261127);
    for (uint32_t round = 0; round < rounds; round++) {
        struct iso_history h;

        r->opt = modes[round % 2].opt; /* SNAPSHOT, SERIALIZABLE */
        round_begin(r, round);
        for (uint32_t part = 0; part < 4; part++) {
            uint32_t from = part * (ROUND_TXNS / 4), to = from + ROUND_TXNS / 4;
            pid_t child = fork();
            int status = 0;

            assert_true(child >= 0);
            if (child == 0) {
                if (odb_open(dir, &o, &r->db) != ODB_OK)
                    test_exit_child(2);
                run_threads(r, from, to);
                test_exit_child(odb_close(r->db) != ODB_OK);
            }
            (void)usleep((useconds_t)(2000 + (r->seed * (round * 4 + part + 1) * 7919) % 12000));
            (void)kill(child, SIGKILL);
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
            killed += WIFSIGNALED(status) != 0;
            assert_ok(odb_open(dir, &o, &r->db));
            round_history(r, &h);
            settle_unknown(r, &h);
            if (part == 3) {
                enum iso_anomaly a = iso_check(&h);

                if (a > (round % 2 ? ISO_FINE : ISO_G2))
                    dump_history(&h);
                assert_true(a <= (round % 2 ? ISO_FINE : ISO_G2));
            }
            round_end(&h);
            assert_ok(odb_close(r->db));
        }
    }
    assert_true(killed > 0);
    assert_int_equal(r->failures, 0);
    fixture_remove_dir(dir);
    (void)munmap(r, sizeof *r);
}

/* ==== bank, ring, long fork ==== */

#define ACCOUNTS 16
#define RING     12
#define PLAYS    400 /* of each thread */

struct play {
    odb_db *db;
    const odb_txn_options *opt;
    uint64_t dice;
    pthread_t thread;
    uint64_t forks; /* what the readers of the long fork saw, by pair: bit 0 one, bit 1 the other */
    uint8_t saw[64];
};

static uint32_t play_dice(struct play *p, uint32_t sides)
{
    p->dice = p->dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(p->dice >> 33) % sides;
}

static odb_slice number_key(char kind, uint32_t no, char out[8])
{
    (void)snprintf(out, 8, "%c%05u", kind, (unsigned)no);
    return odb_bytes(out, 6);
}

static odb_status number_get(odb_txn *t, char kind, uint32_t no, uint32_t *out)
{
    char key[8];
    size_t size;

    *out = 0;
    return odb_get_into(odb_in(t), NULL, number_key(kind, no, key), out, 4, &size);
}

static odb_status number_put(odb_txn *t, char kind, uint32_t no, uint32_t value)
{
    char key[8];

    return odb_txn_put(t, NULL, number_key(kind, no, key), odb_bytes(&value, 4));
}

/* The sum by a walk; then some money changes its owner. */
static odb_status bank_body(odb_txn *t, void *arg)
{
    struct play *p = arg;
    odb_range range = {.prefix = odb_s("b")};
    uint32_t from = play_dice(p, ACCOUNTS), to = play_dice(p, ACCOUNTS), a, b;
    uint64_t sum = 0;
    odb_iter *it;
    odb_status st = odb_iter_new(odb_in(t), NULL, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it)) {
        memcpy(&a, odb_iter_value(it).data, 4);
        sum += a;
    }
    st = odb_iter_status(it);
    odb_iter_free(it);
    assert_true(st != ODB_OK || sum == ACCOUNTS * 100);
    if (play_dice(p, 32) == 0)
        (void)sched_yield();
    if (st == ODB_OK)
        st = number_get(t, 'b', from, &a);
    if (st == ODB_OK)
        st = number_get(t, 'b', to, &b);
    if (st != ODB_OK || from == to || a == 0)
        return st;
    st = number_put(t, 'b', from, a - 1);
    return st == ODB_OK ? number_put(t, 'b', to, b + 1) : st;
}

/* Three neighbours change places: a -> b -> c -> d becomes a -> c -> b -> d. */
static odb_status ring_body(odb_txn *t, void *arg)
{
    struct play *p = arg;
    uint32_t a = play_dice(p, RING), b, c, d;
    odb_status st = number_get(t, 'r', a, &b);

    if (st == ODB_OK)
        st = number_get(t, 'r', b, &c);
    if (st == ODB_OK)
        st = number_get(t, 'r', c, &d);
    if (play_dice(p, 32) == 0)
        (void)sched_yield();
    if (st == ODB_OK)
        st = number_put(t, 'r', a, c);
    if (st == ODB_OK)
        st = number_put(t, 'r', b, d);
    return st == ODB_OK ? number_put(t, 'r', c, b) : st;
}

/* Somebody sets one of a pair, somebody looks at both. */
static odb_status fork_body(odb_txn *t, void *arg)
{
    struct play *p = arg;
    uint32_t pair = play_dice(p, 64), what = play_dice(p, 4), x, y;
    odb_status st, other;

    if (what < 2)
        return number_put(t, 'f', pair * 2 + what, 1);
    st = number_get(t, 'f', pair * 2, &x);
    if (play_dice(p, 32) == 0)
        (void)sched_yield();
    other = number_get(t, 'f', pair * 2 + 1, &y);
    if ((st != ODB_OK && st != ODB_ABSENT) || (other != ODB_OK && other != ODB_ABSENT))
        return st != ODB_OK && st != ODB_ABSENT ? st : other;
    if (x != y)
        p->saw[pair] |= (uint8_t)(x ? 1 : 2);
    return ODB_OK;
}

static void *play_run(void *arg)
{
    struct play *p = arg;

    for (int i = 0; i < PLAYS; i++) {
        assert_ok(odb_txn_run(p->db, p->opt, bank_body, p, NULL));
        assert_ok(odb_txn_run(p->db, p->opt, ring_body, p, NULL));
        assert_ok(odb_txn_run(p->db, p->opt, fork_body, p, NULL));
    }
    return NULL;
}

static void P12_bank_ring_and_long_fork_hold(void **state)
{
    struct fixture *f = *state;

    for (size_t m = 0; m < 4; m++) {
        odb_txn_options opt = modes[m].opt;
        struct play p[THREADS];
        uint8_t saw[64] = {0};
        uint32_t at = 0, sum = 0, n;
        odb_txn *t;

        opt.lock_wait_ms = 2000;
        assert_ok(odb_txn_begin(f->db, &opt, &t));
        for (uint32_t i = 0; i < ACCOUNTS; i++)
            assert_ok(number_put(t, 'b', i, 100));
        for (uint32_t i = 0; i < RING; i++)
            assert_ok(number_put(t, 'r', i, (i + 1) % RING));
        for (uint32_t i = 0; i < 128; i++) {
            char key[8];

            assert_ok(odb_txn_delete(t, NULL, number_key('f', i, key)));
        }
        assert_ok(odb_txn_commit(t, NULL));
        for (uint32_t i = 0; i < THREADS; i++) {
            p[i] = (struct play){.db = f->db, .opt = &opt, .dice = i + m * 100};
            assert_int_equal(pthread_create(&p[i].thread, NULL, play_run, &p[i]), 0);
        }
        for (uint32_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(p[i].thread, NULL), 0);
        for (uint32_t i = 0; i < THREADS; i++)
            for (int k = 0; k < 64; k++)
                saw[k] |= p[i].saw[k];
        for (int k = 0; k < 64; k++)
            assert_int_not_equal(saw[k], 3); /* x before y, says one; y before x, says another */
        assert_ok(odb_txn_reset(t));
        for (uint32_t i = 0; i < ACCOUNTS; i++) {
            assert_ok(number_get(t, 'b', i, &n));
            sum += n;
        }
        assert_int_equal(sum, ACCOUNTS * 100);
        for (uint32_t i = 0; i < RING; i++) {
            assert_true(i == 0 || at != 0); /* one ring, not several */
            assert_ok(number_get(t, 'r', at, &at));
        }
        assert_int_equal(at, 0);
        odb_txn_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checker_knows_every_anomaly),
        cmocka_unit_test(an_engine_that_checks_nothing_is_found_out),
        cmocka_unit_test(P12_histories_go_on_after_a_kill),
        BOTH(P12_bank_ring_and_long_fork_hold),
        BOTH(P12_histories_show_no_forbidden_anomaly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
