/* The LSM tree against the map in memory: the same random writes go to both, and every read must give
 * the same answer, whatever is flushed, merged, kept by snapshots or reopened in between.
 *
 * The seed is printed; ODB_TEST_SEED=N runs it again, ODB_TEST_OPS=N runs it longer.
 */
#include "tests/api/fixture.h"

#define FAMILIES  3
#define SNAPSHOTS 5
#define KEY_SPACE 700

static const char *const family_name[FAMILIES] = {"default", "records", "vector_index"};

struct model {
    struct fixture *lsm, *map;
    odb_cf *cf[2][FAMILIES]; /* of either database */
    odb_snapshot *snap[2][SNAPSHOTS];
    uint64_t dice;
    uint64_t op; /* which one is running, for messages */
};

static uint64_t roll(struct model *m, uint64_t sides)
{
    m->dice ^= m->dice << 13;
    m->dice ^= m->dice >> 7;
    m->dice ^= m->dice << 17;
    return (m->dice >> 11) % sides;
}

/* Keys of several shapes: short ones, long shared prefixes, bytes on both ends of the range. */
static odb_slice roll_key(struct model *m, char *room)
{
    static const char *const shape[] = {"%03u", "user/%05u/name",
                                        "a shared prefix of some length/%u", "\xff\xff%u"};
    unsigned n = (unsigned)roll(m, KEY_SPACE);

    if (n == 0)
        return odb_bytes("", 0);
    (void)snprintf(room, 64, shape[n % 4], n);
    return odb_s(room);
}

static odb_slice roll_value(struct model *m, char *room, size_t cap)
{
    static const uint32_t sizes[] = {0, 10, 60, 300, 3000};
    size_t len = roll(m, sizes[roll(m, 5)] + 1);
    uint64_t x = roll(m, UINT32_MAX);

    if (len > cap)
        len = cap;
    for (size_t i = 0; i < len; i++)
        room[i] = (char)((x + i / 7) * 167 >> 5);
    return odb_bytes(room, len);
}

#define model_check(m, claim)                                                                      \
    do {                                                                                           \
        if (!(claim))                                                                              \
            fail_msg("operation %llu: %s is not so", (unsigned long long)(m)->op, #claim);         \
    } while (0)

static odb_db *db_of(struct model *m, int which)
{
    return which ? m->map->db : m->lsm->db;
}

/* Now, or one of the snapshots both sides have. */
static void roll_moment(struct model *m, odb_at *a, odb_at *b)
{
    size_t i = roll(m, SNAPSHOTS * 2);

    if (i < SNAPSHOTS && m->snap[0][i]) {
        *a = odb_asof(m->snap[0][i]);
        *b = odb_asof(m->snap[1][i]);
    } else {
        *a = odb_now(m->lsm->db);
        *b = odb_now(m->map->db);
    }
}

/* ---- writes ---- */

static void do_write(struct model *m)
{
    size_t f = roll(m, FAMILIES);
    char key_room[64], value_room[3000];
    odb_slice key = roll_key(m, key_room), value = roll_value(m, value_room, sizeof value_room);
    odb_write how = {.durability = (odb_durability)roll(m, 3)};
    bool is_delete = roll(m, 4) == 0;

    for (int w = 0; w < 2; w++)
        assert_ok(is_delete ? odb_delete(db_of(m, w), m->cf[w][f], key, &how)
                            : odb_put(db_of(m, w), m->cf[w][f], key, value, &how));
}

static void do_batch(struct model *m)
{
    odb_batch *b[2];
    size_t count = 1 + roll(m, 40);

    assert_ok(odb_batch_new(&b[0]));
    assert_ok(odb_batch_new(&b[1]));
    for (size_t i = 0; i < count; i++) {
        size_t f = roll(m, FAMILIES);
        char key_room[64], value_room[3000];
        odb_slice key = roll_key(m, key_room), value = roll_value(m, value_room, sizeof value_room);
        bool is_delete = roll(m, 3) == 0;

        for (int w = 0; w < 2; w++)
            assert_ok(is_delete ? odb_batch_delete(b[w], m->cf[w][f], key)
                                : odb_batch_put(b[w], m->cf[w][f], key, value));
    }
    for (int w = 0; w < 2; w++) {
        assert_ok(odb_commit(db_of(m, w), b[w], NULL));
        odb_batch_free(b[w]);
    }
}

/* ---- reads ---- */

static void compare_values(struct model *m, odb_status sa, odb_status sb, odb_value *a,
                           odb_value *b)
{
    if (sa != sb)
        fail_msg("operation %llu: %s from the tree, %s from the map (%s)",
                 (unsigned long long)m->op, odb_status_name(sa), odb_status_name(sb),
                 odb_error_text());
    model_check(m, sa == ODB_OK || sa == ODB_ABSENT);
    if (sa != ODB_OK)
        return;
    model_check(m, odb_slice_equal(odb_bytes(a->data, a->size), odb_bytes(b->data, b->size)));
    odb_value_release(a);
    odb_value_release(b);
}

static void do_get(struct model *m)
{
    size_t f = roll(m, FAMILIES);
    char room[64], buf[2][100];
    odb_slice key = roll_key(m, room);
    size_t size[2] = {0, 0};
    odb_value a, b;
    odb_at at[2];
    odb_status sa, sb;

    roll_moment(m, &at[0], &at[1]);
    sa = odb_get(at[0], m->cf[0][f], key, &a);
    sb = odb_get(at[1], m->cf[1][f], key, &b);
    compare_values(m, sa, sb, &a, &b);
    model_check(m, odb_exists(at[0], m->cf[0][f], key) == sb);
    sa = odb_get_into(at[0], m->cf[0][f], key, buf[0], sizeof buf[0], &size[0]);
    model_check(m, odb_get_into(at[1], m->cf[1][f], key, buf[1], sizeof buf[1], &size[1]) == sa);
    model_check(m, size[0] == size[1]);
    model_check(m, memcmp(buf[0], buf[1], size[0] < 100 ? size[0] : 100) == 0 || sa != ODB_OK);
}

static void do_multiget(struct model *m)
{
    size_t f = roll(m, FAMILIES), n = 1 + roll(m, 60);
    char room[60][64];
    odb_slice key[60];
    odb_value v[2][60];
    odb_status each[2][60];
    odb_at at[2];

    for (size_t i = 0; i < n; i++)
        key[i] = roll_key(m, room[i]);
    roll_moment(m, &at[0], &at[1]);
    for (int w = 0; w < 2; w++)
        assert_ok(odb_multiget(at[w], m->cf[w][f], key, n, v[w], each[w]));
    for (size_t i = 0; i < n; i++)
        compare_values(m, each[0][i], each[1][i], &v[0][i], &v[1][i]);
}

/* One random move of two iterators; they must agree where they stand. */
static void move_both(struct model *m, odb_iter *it[2])
{
    uint64_t move = roll(m, 24);
    char room[64];
    odb_slice key = roll_key(m, room);
    bool ok[2];

    for (int w = 0; w < 2; w++) {
        switch (move) {
        case 0: ok[w] = odb_iter_first(it[w]); break;
        case 1: ok[w] = odb_iter_last(it[w]); break;
        case 2:
        case 3: ok[w] = odb_iter_seek(it[w], key); break;
        case 4:
        case 5: ok[w] = odb_iter_seek_for_prev(it[w], key); break;
        default: ok[w] = move % 2 ? odb_iter_next(it[w]) : odb_iter_prev(it[w]);
        }
    }
    assert_ok(odb_iter_status(it[0]));
    model_check(m, ok[0] == ok[1]);
    model_check(m, odb_iter_valid(it[0]) == ok[0]);
    if (!ok[0])
        return;
    model_check(m, odb_slice_equal(odb_iter_key(it[0]), odb_iter_key(it[1])));
    model_check(m, odb_slice_equal(odb_iter_value(it[0]), odb_iter_value(it[1])));
}

static void do_walk(struct model *m)
{
    size_t f = roll(m, FAMILIES);
    char room[3][64];
    odb_range range = {.is_long = roll(m, 4) == 0};
    odb_iter *it[2];
    odb_at at[2];

    if (roll(m, 3) == 0)
        range.lower = roll_key(m, room[0]);
    if (roll(m, 3) == 0)
        range.upper = roll_key(m, room[1]);
    if (roll(m, 4) == 0)
        range.prefix = odb_bytes("user/00", roll(m, 8));
    roll_moment(m, &at[0], &at[1]);
    for (int w = 0; w < 2; w++)
        assert_ok(odb_iter_new(at[w], m->cf[w][f], &range, &it[w]));
    for (size_t i = roll(m, 300); i > 0; i--) {
        move_both(m, it);
        if (roll(m, 100) == 0) /* the world moves on below a walk */
            do_write(m);
        if (roll(m, 150) == 0) {
            roll_moment(m, &at[0], &at[1]);
            for (int w = 0; w < 2; w++)
                assert_ok(odb_iter_refresh(it[w], at[w]));
        }
    }
    odb_iter_free(it[0]);
    odb_iter_free(it[1]);
}

/* Everything, from one end to the other. */
static void compare_all(struct model *m)
{
    for (size_t f = 0; f < FAMILIES; f++)
        for (int is_forward = 0; is_forward < 2; is_forward++) {
            odb_iter *it[2];
            bool ok[2];

            for (int w = 0; w < 2; w++) {
                assert_ok(odb_iter_new(odb_now(db_of(m, w)), m->cf[w][f], NULL, &it[w]));
                ok[w] = is_forward ? odb_iter_first(it[w]) : odb_iter_last(it[w]);
            }
            while (ok[0] && ok[1]) {
                model_check(m, odb_slice_equal(odb_iter_key(it[0]), odb_iter_key(it[1])));
                model_check(m, odb_slice_equal(odb_iter_value(it[0]), odb_iter_value(it[1])));
                for (int w = 0; w < 2; w++)
                    ok[w] = is_forward ? odb_iter_next(it[w]) : odb_iter_prev(it[w]);
            }
            assert_ok(odb_iter_status(it[0]));
            model_check(m, ok[0] == ok[1]);
            odb_iter_free(it[0]);
            odb_iter_free(it[1]);
        }
}

/* ---- upkeep ---- */

static void drop_snapshot(struct model *m, size_t i)
{
    for (int w = 0; w < 2; w++) {
        odb_snapshot_free(m->snap[w][i]);
        m->snap[w][i] = NULL;
    }
}

static void do_snapshot(struct model *m)
{
    size_t i = roll(m, SNAPSHOTS);
    bool had = m->snap[0][i] != NULL;

    drop_snapshot(m, i);
    if (!had || roll(m, 2))
        for (int w = 0; w < 2; w++)
            assert_ok(odb_snapshot_new(db_of(m, w), &m->snap[w][i]));
}

static void find_families(struct model *m, int w)
{
    for (size_t f = 0; f < FAMILIES; f++)
        assert_ok(odb_cf_open(db_of(m, w), family_name[f], &m->cf[w][f]));
}

static void do_reopen(struct model *m)
{
    for (size_t i = 0; i < SNAPSHOTS; i++)
        drop_snapshot(m, i);
    fixture_reopen(m->lsm);
    find_families(m, 0);
    compare_all(m);
}

static void do_upkeep(struct model *m)
{
    size_t f = roll(m, FAMILIES);
    char room[2][64];
    odb_range range = {.lower = roll_key(m, room[0]), .upper = roll_key(m, room[1])};

    switch (roll(m, 6)) {
    case 0:
    case 1: assert_ok(odb_flush(m->lsm->db, m->cf[0][f])); break;
    case 2: assert_ok(odb_compact(m->lsm->db, m->cf[0][f], NULL, NULL, NULL)); break;
    case 3: assert_ok(odb_compact(m->lsm->db, m->cf[0][f], &range, NULL, NULL)); break;
    case 4: assert_ok(odb_verify(m->lsm->db, NULL, NULL)); break;
    default: do_reopen(m);
    }
}

static void do_one(struct model *m)
{
    uint64_t pick = roll(m, 1000);

    if (pick < 520)
        do_write(m);
    else if (pick < 600)
        do_batch(m);
    else if (pick < 850)
        do_get(m);
    else if (pick < 900)
        do_multiget(m);
    else if (pick < 960)
        do_walk(m);
    else if (pick < 992)
        do_snapshot(m);
    else
        do_upkeep(m);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void P14_the_tree_answers_as_the_map_does(void **state)
{
    uint64_t seed = env_number("ODB_TEST_SEED", (uint64_t)getpid() * 2654435761u + 1);
    uint64_t ops = env_number("ODB_TEST_OPS", 30000);
    struct model m = {.dice = seed * 0x9e3779b97f4a7c15u + 1};
    void *lsm, *map;

    (void)state;
    printf("ODB_TEST_SEED=%llu ODB_TEST_OPS=%llu\n", (unsigned long long)seed,
           (unsigned long long)ops);
    (void)fflush(stdout);
    fixture_lsm(&lsm);
    fixture_memory(&map);
    m.lsm = lsm;
    m.map = map;
    find_families(&m, 0);
    find_families(&m, 1);
    for (m.op = 0; m.op < ops; m.op++)
        do_one(&m);
    do_reopen(&m);
    assert_ok(odb_verify(m.lsm->db, NULL, NULL));
    fixture_close(&lsm);
    fixture_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P14_the_tree_answers_as_the_map_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
