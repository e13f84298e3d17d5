#include "tests/sstable/table_fixture.h"

#include "os/os_thread.h"

#define TABLES  12
#define THREADS 4

/* What may be over the budget: frames on their way out or in, a few of about 4.5 KiB each. */
#define SLACK (40 * 4600)

static void fill_numbered(struct model *m, uint32_t count)
{
    char key[32], value[128];

    *m = (struct model){0};
    for (uint32_t i = 0; i < count; i++) {
        int n = snprintf(key, sizeof key, "key%08u", i);
        int v =
            snprintf(value, sizeof value, "value of %u, which is %u times %u, and more", i, i, 1u);

        model_add(m, key, (size_t)n, trailer_make(i + 1, KIND_PUT), value, (size_t)v);
    }
    model_sort(m);
}

/* Tables of the same content, on disk and not open yet. */
struct shelf {
    struct fx x;
    struct model m;
    struct sst_meta meta[TABLES * 2];
    struct sst_ref ref[TABLES * 2];
    size_t tables;
};

static void shelf_open(struct shelf *s, size_t cache_bytes, uint32_t open_tables, size_t tables,
                       uint32_t entries)
{
    fx_open_dir(&s->x);
    fx_store(&s->x, cache_bytes, open_tables);
    fill_numbered(&s->m, entries);
    for (s->tables = 0; s->tables < tables; s->tables++) {
        fx_write(&s->x, s->tables + 1, 4096, &s->m, &s->meta[s->tables]);
        s->ref[s->tables] = fx_ref(&s->meta[s->tables]);
    }
}

static odb_status shelf_get(struct shelf *s, size_t table, size_t entry)
{
    const struct entry *e = &s->m.e[entry];

    return fx_check_get(&s->x, &s->ref[table], &s->m, e->key, e->key_len, UINT64_MAX);
}

/* Forget the tables, and let everything go that no reader holds. */
static void shelf_drop(struct shelf *s)
{
    for (size_t i = 0; i < s->tables; i++) {
        sst_ref_drop(s->x.store, &s->ref[i]);
        sst_meta_release(&s->meta[i]);
    }
    s->tables = 0;
    for (int i = 0; i < 4; i++)
        (void)epoch_collect(s->x.epoch);
}

static void shelf_close(struct shelf *s)
{
    shelf_drop(s);
    model_free(&s->m);
    fx_close(&s->x);
}

static void the_second_read_of_a_block_is_a_hit(void **state)
{
    struct sst_counters_sum n;
    struct shelf s;

    (void)state;
    shelf_open(&s, 8 << 20, 8, 1, 2000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shelf_get(&s, 0, 9), ODB_OK);
    sst_store_counters(s.x.store, &n);
    assert_int_equal(n.block_reads, 1);
    assert_int_equal(n.block_hits, 2);
    assert_int_equal(n.filter_checks, 3);
    assert_int_equal(n.filter_rejects, 0);
    assert_int_equal(n.tables_opened, 1);
    assert_int_equal(n.blocks_evicted, 0);
    assert_true(n.bytes_read > 0);
    for (int i = 0; i < 1000; i++) {
        char key[32];
        int len = snprintf(key, sizeof key, "key%08uabsent", (unsigned)i);

        assert_int_equal(fx_check_get(&s.x, &s.ref[0], &s.m, key, (size_t)len, UINT64_MAX), ODB_OK);
    }
    sst_store_counters(s.x.store, &n);
    assert_int_equal(n.filter_checks, 1003);
    assert_true(n.filter_rejects > 900);
    assert_int_equal(n.filter_rejects + n.filter_false, 1000);
    shelf_close(&s);
}

static void a_scan_leaves_no_blocks_behind(void **state)
{
    struct shelf s;
    size_t before;

    (void)state;
    shelf_open(&s, 8 << 20, 8, 1, 5000);
    assert_int_equal(shelf_get(&s, 0, 9), ODB_OK);
    before = sst_store_bytes(s.x.store);
    assert_int_equal(fx_check_walk(&s.x, &s.ref[0], &s.m, SST_SCAN, false), ODB_OK);
    assert_int_equal(fx_check_walk(&s.x, &s.ref[0], &s.m, SST_SCAN, true), ODB_OK);
    assert_int_equal(sst_store_bytes(s.x.store), before);
    shelf_close(&s);
}

static void the_budget_is_kept(void **state)
{
    const size_t budget = 256 << 10;
    struct rnd r = rnd_start("budget");
    struct sst_counters_sum n;
    struct shelf s;

    (void)state;
    shelf_open(&s, budget, 8, 1, 20000);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(shelf_get(&s, 0, rnd_below(&r, (uint32_t)s.m.count)), ODB_OK);
        assert_true(sst_store_bytes(s.x.store) <= budget + SLACK);
    }
    assert_int_equal(fx_check_walk(&s.x, &s.ref[0], &s.m, 0, false), ODB_OK);
    assert_true(sst_store_bytes(s.x.store) <= budget + SLACK);
    sst_store_counters(s.x.store, &n);
    assert_true(n.blocks_evicted > 1000);
    sst_store_resize(s.x.store, 64 << 10);
    for (int i = 0; i < 3; i++)
        (void)epoch_collect(s.x.epoch);
    assert_true(sst_store_bytes(s.x.store) <= 64 << 10);
    shelf_drop(&s);
    assert_int_equal(sst_store_bytes(s.x.store), 0);
    shelf_close(&s);
}

static void what_is_read_often_stays(void **state)
{
    struct sst_counters_sum before, after;
    struct shelf s;

    (void)state;
    shelf_open(&s, 256 << 10, 8, 1, 20000);
    for (size_t i = 0; i < s.m.count; i += 10) { /* one hot key between reads of everything */
        assert_int_equal(shelf_get(&s, 0, i), ODB_OK);
        sst_store_counters(s.x.store, &before);
        assert_int_equal(shelf_get(&s, 0, 7), ODB_OK);
        sst_store_counters(s.x.store, &after);
        if (i > 0)
            assert_int_equal(after.block_reads, before.block_reads);
    }
    shelf_close(&s);
}

static void a_pinned_value_outlives_eviction_and_table(void **state)
{
    struct sst_hit hit[50];
    struct shelf s;

    (void)state;
    shelf_open(&s, 8 << 20, 8, 1, 5000);
    for (size_t i = 0; i < 50; i++) {
        const struct entry *e = &s.m.e[i * 100];
        struct epoch_guard g = epoch_enter(s.x.epoch);

        assert_int_equal(sst_get(s.x.store, &s.ref[0], odb_bytes(e->key, e->key_len), fx_hash(e),
                                 UINT64_MAX, &hit[i]),
                         ODB_OK);
        assert_true(hit[i].is_found);
        if (i % 2)
            sst_pin(hit[i].frame);
        sst_store_resize(s.x.store, 0); /* evicted inside the epoch: still there */
        assert_int_equal(hit[i].value.size, e->value_len);
        assert_memory_equal(hit[i].value.data, e->value, e->value_len);
        if (i % 2 == 0)
            sst_pin(hit[i].frame); /* pinned after it was evicted */
        epoch_leave(g);
    }
    shelf_drop(&s);
    for (size_t i = 0; i < 50; i++) {
        assert_memory_equal(hit[i].value.data, s.m.e[i * 100].value, s.m.e[i * 100].value_len);
        sst_unpin(hit[i].frame);
    }
    assert_int_equal(sst_store_bytes(s.x.store), 0);
    shelf_close(&s);
}

static void a_cursor_outlives_its_ref(void **state)
{
    struct cursor *c[2] = {NULL, NULL};
    struct sst_ref *ref = malloc(sizeof *ref);
    struct shelf s;

    (void)state;
    assert_non_null(ref);
    shelf_open(&s, 100 << 10, 8, 1, 5000);
    *ref = fx_ref(&s.meta[0]);
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(sst_cursor_new(s.x.store, ref, k ? SST_SCAN : 0, &c[k]), ODB_OK);
        assert_true(c[k]->ops->first(c[k]));
    }
    sst_ref_drop(s.x.store, ref);
    free(ref);
    for (int i = 0; i < 4; i++)
        (void)epoch_collect(s.x.epoch);
    for (int k = 0; k < 2; k++) {
        size_t seen = 0;

        do
            fx_assert_entry(cursor_entry(c[k]), &s.m.e[seen++]);
        while (cursor_next(c[k]));
        assert_int_equal(c[k]->status, ODB_OK);
        assert_int_equal(seen, s.m.count);
        cursor_free(c[k]);
    }
    assert_int_equal(atomic_load(&fx_os.descriptors), 0);
    for (int i = 0; i < 4; i++)
        (void)epoch_collect(s.x.epoch);
    assert_int_equal(sst_store_bytes(s.x.store), 0);
    shelf_close(&s);
}

static void descriptors_stay_within_their_limit(void **state)
{
    struct rnd r = rnd_start("descriptors");
    struct cursor *c = NULL;
    struct shelf s;

    (void)state;
    shelf_open(&s, 1 << 20, 8, TABLES * 2, 300);
    assert_int_equal(sst_cursor_new(s.x.store, &s.ref[3], 0, &c), ODB_OK);
    assert_true(c->ops->first(c));
    for (int i = 0; i < 5000; i++) {
        size_t table = rnd_below(&r, TABLES * 2);

        assert_int_equal(shelf_get(&s, table, rnd_below(&r, (uint32_t)s.m.count)), ODB_OK);
        assert_true(atomic_load(&fx_os.descriptors) <= 8);
    }
    fx_assert_entry(cursor_entry(c), &s.m.e[0]); /* its table was never closed under it */
    assert_non_null(atomic_load(&s.ref[3].table));
    cursor_free(c);
    shelf_drop(&s);
    assert_int_equal(atomic_load(&fx_os.descriptors), 0);
    shelf_close(&s);
}

static void when_all_tables_are_busy_the_limit_gives_way(void **state)
{
    struct cursor *c[TABLES];
    struct shelf s;

    (void)state;
    shelf_open(&s, 1 << 20, 8, TABLES, 10);
    for (size_t i = 0; i < TABLES; i++) {
        assert_int_equal(sst_cursor_new(s.x.store, &s.ref[i], 0, &c[i]), ODB_OK);
    }
    assert_int_equal(atomic_load(&fx_os.descriptors), TABLES);
    for (size_t i = 0; i < TABLES; i++)
        cursor_free(c[i]);
    shelf_close(&s);
}

static void out_of_descriptors_idle_tables_make_room(void **state)
{
    struct cursor *c = NULL;
    struct shelf s;

    (void)state;
    shelf_open(&s, 1 << 20, 100, 2, 10);
    fx_os.failure = ODB_LIMIT;
    fx_os.until_failure = 0; /* nothing to close: the caller hears of it */
    assert_int_equal(shelf_get(&s, 0, 0), ODB_LIMIT);
    assert_int_equal(shelf_get(&s, 0, 0), ODB_OK);
    assert_int_equal(sst_cursor_new(s.x.store, &s.ref[0], 0, &c), ODB_OK);
    fx_os.until_failure = 0; /* the only table is being read */
    assert_int_equal(shelf_get(&s, 1, 0), ODB_LIMIT);
    cursor_free(c);
    fx_os.until_failure = 0;
    assert_int_equal(shelf_get(&s, 1, 0), ODB_OK);
    assert_int_equal(atomic_load(&fx_os.descriptors), 1);
    assert_int_equal(shelf_get(&s, 0, 0), ODB_OK);
    shelf_close(&s);
}

/* ---- many readers ---- */

struct crowd {
    struct fx x;
    struct model m;
    struct sst_meta meta[TABLES];
    _Atomic(struct sst_ref *) ref[TABLES]; /* as a level would: replaced, retired, dropped */
    atomic_int wrong;
    atomic_int next_seed;
    atomic_bool stop;
};

struct crowd_ref {
    struct sst_ref ref; /* first */
    struct epoch_item item;
    struct crowd *crowd;
};

static struct crowd_ref *crowd_new_ref(struct crowd *w, size_t i)
{
    struct crowd_ref *r = calloc(1, sizeof *r);

    r->ref.file_no = w->meta[i].file_no;
    r->ref.size = w->meta[i].size;
    r->ref.check = w->meta[i].check;
    r->crowd = w;
    return r;
}

static void crowd_free_ref(struct epoch_item *item)
{
    struct crowd_ref *r =
        (struct crowd_ref *)(void *)((char *)item - offsetof(struct crowd_ref, item));

    sst_ref_drop(r->crowd->x.store, &r->ref);
    free(r);
}

static bool same_value(const struct entry *e, odb_slice v)
{
    return v.size == e->value_len && memcmp(v.data, e->value, v.size) == 0;
}

static void crowd_get(struct crowd *w, struct rnd *r, struct sst_frame **pinned, odb_slice *value,
                      const struct entry **of)
{
    struct epoch_guard g = epoch_enter(w->x.epoch);
    struct sst_ref *ref = atomic_load(&w->ref[rnd_below(r, TABLES)]);
    const struct entry *e = &w->m.e[rnd_below(r, (uint32_t)w->m.count)];
    struct sst_hit hit;

    if (sst_get(w->x.store, ref, odb_bytes(e->key, e->key_len), fx_hash(e), UINT64_MAX, &hit) !=
            ODB_OK ||
        !hit.is_found || !same_value(e, hit.value))
        atomic_fetch_add(&w->wrong, 1);
    else if (rnd_below(r, 50) == 0) {
        if (*pinned) {
            if (!same_value(*of, *value))
                atomic_fetch_add(&w->wrong, 1);
            sst_unpin(*pinned);
        }
        sst_pin(hit.frame);
        *pinned = hit.frame;
        *value = hit.value;
        *of = e;
    }
    epoch_leave(g);
}

static void crowd_walk(struct crowd *w, struct rnd *r)
{
    struct epoch_guard g = epoch_enter(w->x.epoch);
    struct sst_ref *ref = atomic_load(&w->ref[rnd_below(r, TABLES)]);
    size_t at = rnd_below(r, (uint32_t)w->m.count);
    struct cursor *c = NULL;
    odb_status st = sst_cursor_new(w->x.store, ref, rnd_below(r, 2) ? SST_SCAN : 0, &c);

    epoch_leave(g);
    if (st != ODB_OK) {
        atomic_fetch_add(&w->wrong, 1);
        return;
    }
    if (c->ops->seek(c, odb_bytes(w->m.e[at].key, w->m.e[at].key_len), UINT64_MAX))
        for (int i = 0; i < 200; i++, at++) {
            if (!same_value(&w->m.e[at],
                            odb_bytes(cursor_entry(c)->value, cursor_entry(c)->value_len)))
                atomic_fetch_add(&w->wrong, 1);
            if (!cursor_next(c))
                break;
        }
    if (c->status != ODB_OK)
        atomic_fetch_add(&w->wrong, 1);
    cursor_free(c);
}

static void crowd_member(void *arg)
{
    struct crowd *w = arg;
    struct rnd r = {(uint64_t)atomic_fetch_add(&w->next_seed, 1)};
    struct sst_frame *pinned = NULL;
    const struct entry *of = NULL;
    odb_slice value = {0};

    for (int i = 0; i < 3000; i++) {
        crowd_get(w, &r, &pinned, &value, &of);
        if (rnd_below(&r, 30) == 0)
            crowd_walk(w, &r);
        if (rnd_below(&r, 100) == 0) { /* the table is replaced under everybody's feet */
            size_t k = rnd_below(&r, TABLES);
            struct crowd_ref *fresh = crowd_new_ref(w, k);
            struct sst_ref *old = atomic_exchange(&w->ref[k], &fresh->ref);

            epoch_retire(w->x.epoch, &((struct crowd_ref *)(void *)old)->item, crowd_free_ref);
        }
        if (rnd_below(&r, 200) == 0)
            sst_store_resize(w->x.store, rnd_below(&r, 400000));
    }
    if (pinned) {
        if (!same_value(of, value))
            atomic_fetch_add(&w->wrong, 1);
        sst_unpin(pinned);
    }
}

static void a_crowd_of_readers_is_never_told_wrong(void **state)
{
    struct crowd *w = calloc(1, sizeof *w);
    struct os_thread *t[THREADS] = {NULL};

    (void)state;
    assert_non_null(w);
    fx_open_dir(&w->x);
    fx_store(&w->x, 200 << 10, 8);
    fill_numbered(&w->m, 2000);
    for (size_t i = 0; i < TABLES; i++) {
        fx_write(&w->x, i + 1, 2048, &w->m, &w->meta[i]);
        atomic_init(&w->ref[i], &crowd_new_ref(w, i)->ref);
    }
    for (int i = 0; i < THREADS; i++)
        if (os_thread_start("reader", crowd_member, w, &t[i]) == ODB_UNSUPPORTED)
            crowd_member(w);
    for (int i = 0; i < THREADS; i++)
        os_thread_join(t[i]);
    assert_int_equal(atomic_load(&w->wrong), 0);
    for (size_t i = 0; i < TABLES; i++) {
        struct crowd_ref *r = (struct crowd_ref *)(void *)atomic_load(&w->ref[i]);

        crowd_free_ref(&r->item);
        sst_meta_release(&w->meta[i]);
    }
    for (int i = 0; i < 4; i++)
        (void)epoch_collect(w->x.epoch);
    assert_int_equal(sst_store_bytes(w->x.store), 0);
    assert_int_equal(atomic_load(&fx_os.descriptors), 0);
    model_free(&w->m);
    fx_close(&w->x);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_read_of_a_block_is_a_hit),
        cmocka_unit_test(a_scan_leaves_no_blocks_behind),
        cmocka_unit_test(the_budget_is_kept),
        cmocka_unit_test(what_is_read_often_stays),
        cmocka_unit_test(a_pinned_value_outlives_eviction_and_table),
        cmocka_unit_test(a_cursor_outlives_its_ref),
        cmocka_unit_test(descriptors_stay_within_their_limit),
        cmocka_unit_test(when_all_tables_are_busy_the_limit_gives_way),
        cmocka_unit_test(out_of_descriptors_idle_tables_make_room),
        cmocka_unit_test(a_crowd_of_readers_is_never_told_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
