/* tests/cf/test_set.c -- commits and reads of a set at their limits. */
#include "tests/cf/set_fixture.h"
#include "tests/lib/test_alloc.h"

static void large_values_and_batches_fit(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    size_t size = 300000; /* many memtables, larger than ring and segment */
    char *big = malloc(size);
    struct batch b = {0};
    struct lsm_value v;
    struct os *image;
    size_t n;

    (void)state;
    memset(big, 'x', size);
    assert_int_equal(cf_put(s, f, odb_s("big"), odb_bytes(big, size), NULL), ODB_OK);
    for (int i = 0; i < 5000; i++) {
        char key[16];

        (void)snprintf(key, sizeof key, "b%04d", i);
        assert_int_equal(batch_put(&b, 0, odb_s(key), odb_bytes(big, 50)), ODB_OK);
    }
    assert_int_equal(cf_commit(s, &b, NULL), ODB_OK);
    batch_release(&b);
    assert_int_equal(cf_put(s, f, odb_bytes(big, KEY_LEN_MAX), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_bytes(big, KEY_LEN_MAX + 1), odb_s("v"), NULL),
                     ODB_TOO_LARGE);
    image = sim_image(disk, SIM_M1, 1);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(cf_get(s, f, NULL, odb_s("big"), &v), ODB_OK);
        assert_int_equal(v.data.size, size);
        assert_memory_equal(v.data.data, big, size);
        cf_value_release(s, &v);
        assert_int_equal(cf_exists(s, f, NULL, odb_s("b4999")), ODB_OK);
        assert_int_equal(cf_get_into(s, f, NULL, odb_bytes(big, KEY_LEN_MAX), NULL, 0, &n), ODB_OK);
        assert_int_equal(n, 1);
        assert_int_equal(cf_close(s), ODB_OK);
        if (pass == 0) {
            opt.os = image;
            s = must_open();
            f = must_find(s, "default");
        }
    }
    sim_free(image);
    free(big);
}

static void without_waiting_a_write_is_told_to_come_again(void **state)
{
    struct cf_write how = {.no_wait = true};
    struct cf_set *s;
    struct cf *f;
    odb_status st = ODB_OK;
    int written = 0;

    (void)state;
    opt.threads = 0; /* nobody flushes */
    s = must_open();
    f = must_find(s, "default");
    while (st == ODB_OK && written < 100000) {
        char key[16];

        (void)snprintf(key, sizeof key, "k%06d", written);
        st = cf_put(s, f, odb_s(key), odb_s("value"), &how);
        written += st == ODB_OK;
    }
    assert_int_equal(st, ODB_AGAIN);
    while (cf_work(s))
        ;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &how), ODB_OK);
    for (int i = 0; i < 3000; i++) /* and with waiting it does the work itself */
        assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("some value"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void what_is_too_much_is_refused_and_changes_nothing(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default"), *g;
    struct batch b = {0};
    uint64_t next_seq;
    uint32_t living;
    uint8_t byte = 1;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_bytes(&byte, KEY_LEN_MAX + 1), odb_s("v"), NULL),
                     ODB_TOO_LARGE);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_bytes(&byte, VALUE_LEN_MAX + 1), NULL),
                     ODB_TOO_LARGE);
    /* as if it had taken all the numbers there are, but one */
    next_seq = s->next_seq;
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("1")), ODB_OK);
    assert_int_equal(batch_put(&b, 0, odb_s("k"), odb_s("2")), ODB_OK);
    s->next_seq = SEQ_MAX;
    assert_int_equal(cf_commit(s, &b, NULL), ODB_LIMIT);
    s->next_seq = SEQ_MAX + 1;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("w"), NULL), ODB_LIMIT);
    s->next_seq = next_seq;
    batch_release(&b);
    /* as if there were all the families there can be */
    living = s->living;
    s->living = CF_COUNT_MAX;
    assert_int_equal(cf_create(s, "one too many", NULL, &g), ODB_LIMIT);
    s->living = living;
    assert_int_equal(cf_find(s, "one too many", &g), ODB_NO_FAMILY);
    must_have(s, f, "k", "v");
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("w"), NULL), ODB_OK);
    assert_int_equal(cf_close(s), ODB_OK);
    s = must_open();
    must_have(s, must_find(s, "default"), "k", "w");
    assert_int_equal(cf_close(s), ODB_OK);
}

static void memory_stays_within_its_budget(void **state)
{
    struct cf_set_stats st;
    struct cf_set *s;
    struct cf *f[8];
    char key[16], value[100] = {0};
    uint64_t most = 0;

    (void)state;
    opt.memory_budget = 1 << 20;
    opt.cache_bytes = 1 << 20;
    opt.family.write_buffer = 1 << 20; /* eight of these would be eight budgets */
    s = must_open();
    for (int i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof key, "f%d", i);
        assert_int_equal(cf_create(s, key, NULL, &f[i]), ODB_OK);
    }
    for (int i = 0; i < 30000; i++) {
        (void)snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(cf_put(s, f[i % 8], odb_s(key), odb_bytes(value, sizeof value), NULL),
                         ODB_OK);
        while (cf_work(s))
            ;
        if (i % 100 == 0) {
            cf_stats(s, &st);
            if (st.memtable_bytes > most)
                most = st.memtable_bytes;
        }
    }
    if (most > opt.memory_budget / 4 +
                   opt.memory_budget / 8) /* the share, and what comes between two looks */
        fail_msg("%llu bytes in memtables", (unsigned long long)most);
    assert_int_equal(cf_close(s), ODB_OK);
}

/* What the memtables of all families hold together is a reason to wait, too, though each has room. */
static void without_waiting_a_write_keeps_to_the_budget(void **state)
{
    const struct cf_write how = {.no_wait = true};
    char key[16], value[100] = {0};
    struct cf_set *s;
    struct cf *f;
    uint64_t most;

    (void)state;
    opt.memory_budget = 1 << 20;
    opt.family.write_buffer = 1 << 20;
    s = must_open();
    f = must_find(s, "default");
    for (int round = 0; round < 3; round++) {
        odb_status st = ODB_OK;

        for (int i = 0; st == ODB_OK && i < 20000; i++) {
            (void)snprintf(key, sizeof key, "k%05d", i);
            st = cf_put(s, f, odb_s(key), odb_bytes(value, sizeof value), &how);
        }
        most = sizes_of(s, f).memtable_bytes;
        if (st != ODB_AGAIN || most > opt.memory_budget / 4 + opt.memory_budget / 8)
            fail_msg("%s, %llu bytes in memtables", odb_status_name(st), (unsigned long long)most);
        test_alloc_fail(-1, 0);
        assert_int_equal(cf_put(s, f, odb_s("not yet"), odb_s("v"), &how), ODB_AGAIN);
        assert_int_equal(test_alloc_requests(),
                         0); /* a look costs little: each commit takes one now */
        assert_int_equal(cf_exists(s, f, NULL, odb_s("not yet")), ODB_ABSENT);
        assert_int_equal(sizes_of(s, f).memtables, 2); /* it did none of the work either */
        while (cf_work(s))
            ;
        assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("v"), &how), ODB_OK);
    }
    assert_int_equal(cf_close(s), ODB_OK);
}

static odb_status fail_tables(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    uint64_t no;

    (void)arg;
    (void)op_no;
    if (op == SIM_CREATE && file_parse(name, &no) == FILE_TABLE)
        return err_set(ODB_LIMIT, "made to fail");
    return ODB_OK;
}

static void fill_and_switch(struct cf_set *s, struct cf *f, int keys)
{
    char key[16], value[100] = {0};

    for (int i = 0; i < keys; i++) {
        (void)snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_bytes(value, sizeof value), NULL), ODB_OK);
    }
    assert_int_equal(commit_switch(s, f, false, true), ODB_OK);
}

/* A flush of one family failed, one of another went well: nothing tells any more that the first one is not on
 * its way. Whoever waits for the memory it holds has it tried again. */
static void who_waits_for_memory_has_a_failed_flush_tried_again(void **state)
{
    struct cf_set *s;
    struct cf *f, *g;

    (void)state;
    opt.memory_budget = 1 << 20;
    opt.family.write_buffer = 1 << 20;
    s = must_open();
    f = must_find(s, "default");
    assert_int_equal(cf_create(s, "g", NULL, &g), ODB_OK);
    fill_and_switch(s, f, 1500);
    sim_set_fault(disk, fail_tables, NULL);
    while (cf_work(s))
        ;
    sim_set_fault(disk, NULL, NULL);
    assert_int_equal(sizes_of(s, f).memtables, 2);
    assert_int_equal(cf_health(s), ODB_LIMIT);
    fill_and_switch(s, g, 10);
    while (cf_work(s))
        ;
    assert_int_equal(sizes_of(s, g).memtables, 1);
    assert_int_equal(cf_health(s), ODB_OK);
    s->opt.memory_budget = 1 << 19; /* what the first one holds is too much */
    atomic_store(&s->is_short, true);
    assert_int_equal(cf_put(s, g, odb_s("k"), odb_s("v"), NULL), ODB_OK);
    assert_int_equal(sizes_of(s, f).memtables, 1);
    assert_false(atomic_load(&s->is_short));
    assert_int_equal(cf_close(s), ODB_OK);
}

static void snapshots_read_the_past(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    struct cf_snapshot *one, *two;
    struct cf_set_stats st;
    struct lsm_iter *it, *same;
    char buf[16];
    size_t n;

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("1"), NULL), ODB_OK);
    assert_int_equal(cf_snapshot_new(s, &one), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("k"), odb_s("2"), NULL), ODB_OK);
    assert_int_equal(cf_snapshot_new(s, &two), ODB_OK);
    assert_int_equal(cf_delete(s, f, odb_s("k"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, NULL), ODB_OK);
    assert_int_equal(cf_get_into(s, f, one, odb_s("k"), buf, 16, &n), ODB_OK);
    assert_int_equal(buf[0], '1');
    assert_int_equal(cf_get_into(s, f, two, odb_s("k"), buf, 16, &n), ODB_OK);
    assert_int_equal(buf[0], '2');
    assert_int_equal(cf_exists(s, f, NULL, odb_s("k")), ODB_ABSENT);
    assert_int_equal(cf_iter_new(s, f, one, NULL, &it), ODB_OK);
    assert_true(lsm_iter_first(it));
    assert_int_equal(cf_iter_refresh(s, f, NULL, NULL, &it), ODB_OK);
    assert_false(lsm_iter_first(it));
    same = it;
    assert_int_equal(cf_iter_refresh(s, f, NULL, NULL, &it), ODB_OK);
    assert_ptr_equal(it, same); /* nothing happened: nothing is made anew */
    assert_int_equal(cf_iter_refresh(s, f, two, NULL, &it), ODB_OK);
    assert_true(lsm_iter_first(it));
    lsm_iter_free(it);
    cf_stats(s, &st);
    assert_int_equal(st.snapshots, 2);
    assert_int_equal(st.oldest_snapshot_seq, cf_snapshot_seq(one));
    cf_snapshot_free(s, one);
    cf_snapshot_free(s, two);
    cf_snapshot_free(s, NULL);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void many_keys_are_read_at_once(void **state)
{
    struct cf_set *s = must_open();
    struct cf *f = must_find(s, "default");
    odb_slice keys[3] = {odb_s("a"), odb_s("b"), odb_s("c")};
    struct lsm_value v[3];
    odb_status each[3];

    (void)state;
    assert_int_equal(cf_put(s, f, odb_s("a"), odb_s("1"), NULL), ODB_OK);
    assert_int_equal(cf_flush(s, f), ODB_OK);
    assert_int_equal(cf_put(s, f, odb_s("c"), odb_s("3"), NULL), ODB_OK);
    assert_int_equal(cf_multiget(s, f, NULL, keys, 3, v, each), ODB_OK);
    assert_int_equal(each[0], ODB_OK);
    assert_int_equal(each[1], ODB_ABSENT);
    assert_int_equal(each[2], ODB_OK);
    assert_true(odb_slice_equal(v[0].data, odb_s("1")) && odb_slice_equal(v[2].data, odb_s("3")));
    cf_value_release(s, &v[0]);
    cf_value_release(s, &v[2]);
    assert_int_equal(cf_close(s), ODB_OK);
}

static void must_be(struct cf_set *s, struct cf *f, const struct cf_snapshot *at, const char *key,
                    int want)
{
    odb_slice keys[2] = {odb_s(key), odb_s("nowhere")};
    struct lsm_value v[2];
    char text[16], buf[32];
    odb_status each[2], st;
    size_t n;

    (void)snprintf(text, sizeof text, "%d", want);
    st = cf_get_into(s, f, at, keys[0], buf, sizeof buf, &n);
    assert_int_equal(cf_multiget(s, f, at, keys, 2, v, each), ODB_OK);
    assert_int_equal(each[0], st);
    assert_int_equal(each[1], ODB_ABSENT);
    assert_int_equal(cf_exists(s, f, at, keys[0]), st);
    if (want < 0) {
        assert_int_equal(st, ODB_ABSENT);
        return;
    }
    if (st != ODB_OK || n != strlen(text) || memcmp(buf, text, n) != 0)
        fail_msg("%s is %.*s, not %s (%s)", key, (int)n, buf, text, odb_status_name(st));
    assert_true(odb_slice_equal(v[0].data, odb_s(text)));
    cf_value_release(s, &v[0]);
}

/* Level 0 has piled up to more tables than one look takes, all of them around the key. */
static void reads_go_through_any_number_of_tables(void **state)
{
    enum { ROUNDS = 60, FIRST = 20 };
    struct cf_snapshot *early = NULL;
    struct lsm_stats now;
    char key[16], text[16];
    struct cf_set *s;
    struct cf *f;

    (void)state;
    opt.family.auto_compact = false;
    s = must_open();
    f = must_find(s, "default");
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(key, sizeof key, "k%02d", i);
        (void)snprintf(text, sizeof text, "%d", i);
        assert_int_equal(cf_put(s, f, odb_s("a"), odb_s(text), NULL), ODB_OK);
        assert_int_equal(cf_put(s, f, odb_s(key), odb_s(text), NULL), ODB_OK);
        if (i == FIRST / 2 || i == ROUNDS / 2)
            assert_int_equal(cf_put(s, f, odb_s("twice"), odb_s(text), NULL), ODB_OK);
        if (i == 1)
            assert_int_equal(cf_put(s, f, odb_s("gone"), odb_s(text), NULL), ODB_OK);
        if (i == FIRST + 2)
            assert_int_equal(cf_delete(s, f, odb_s("gone"), NULL), ODB_OK);
        assert_int_equal(cf_put(s, f, odb_s("z"), odb_s(text), NULL), ODB_OK);
        if (i == FIRST)
            assert_int_equal(cf_snapshot_new(s, &early), ODB_OK);
        assert_int_equal(cf_flush(s, f), ODB_OK);
        if (i == FIRST) /* and the oldest of it lies below */
            assert_int_equal(
                lsm_compact(cf_tree(f), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                ODB_OK);
    }
    lsm_stats(cf_tree(f), &now);
    assert_int_equal(now.level[0].files, ROUNDS - FIRST - 1);
    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(key, sizeof key, "k%02d", i);
        must_be(s, f, NULL, key, i);
        must_be(s, f, early, key, i <= FIRST ? i : -1);
    }
    must_be(s, f, NULL, "a", ROUNDS - 1);
    must_be(s, f, early, "a", FIRST);
    must_be(s, f, NULL, "twice", ROUNDS / 2);
    must_be(s, f, early, "twice", FIRST / 2);
    must_be(s, f, NULL, "gone", -1);
    must_be(s, f, early, "gone", 1);
    cf_snapshot_free(s, early);
    assert_int_equal(cf_close(s), ODB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(large_values_and_batches_fit),
        T(without_waiting_a_write_is_told_to_come_again),
        T(what_is_too_much_is_refused_and_changes_nothing),
        T(memory_stays_within_its_budget),
        T(without_waiting_a_write_keeps_to_the_budget),
        T(who_waits_for_memory_has_a_failed_flush_tried_again),
        T(snapshots_read_the_past),
        T(many_keys_are_read_at_once),
        T(reads_go_through_any_number_of_tables),
    };

    return RUN(tests);
}
