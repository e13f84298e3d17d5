/* tests/lsm/test_tree.c -- a tree against a sorted array that keeps every version.
 *
 * The test plays the part of cf/: it hands out sequence numbers and file numbers, lists the
 * snapshots, and takes every edit for durable. Jobs run in this thread (no workers), at random
 * moments, so one seed gives one history.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "lsm/tree_priv.h"
#include "memtable/memtable_priv.h"
#include "tests/lib/test_alloc.h"

/* ---- chance ---- */

static uint64_t seed_now;

static uint32_t rnd(uint32_t below)
{
    seed_now ^= seed_now << 13;
    seed_now ^= seed_now >> 7;
    seed_now ^= seed_now << 17;
    return (uint32_t)((seed_now >> 20) % below);
}

static uint64_t pick_seed(void)
{
    const char *text = getenv("ODB_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20260101 + (uint64_t)getpid() * 7919;

    print_message("ODB_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed ? seed : 1;
}

/* ---- the model: every version of every key, by key then newest first ---- */

struct version_of {
    char key[48];
    uint64_t seq;
    bool is_delete;
    char value[24];
};

#define MODEL_MAX 60000

struct world {
    struct os_dir *dir;
    struct epoch epoch;
    struct sst_store *store;
    struct exec *exec;
    struct lsm_env env;
    struct lsm_tree *tree;
    _Atomic uint64_t next_file; /* workers ask at once */
    _Atomic uint64_t seq;
    uint64_t lsn;
    uint64_t snapshot[8];
    uint32_t snapshot_count;
    unsigned refused; /* edits */
    odb_status refusal;
    struct version_of *model;
    uint32_t model_count;
    char path[64];
};

static int model_order(const char *a, uint64_t a_seq, const char *b, uint64_t b_seq)
{
    int c = strcmp(a, b);

    return c ? c : (a_seq < b_seq) - (a_seq > b_seq);
}

static uint32_t model_lower(const struct world *w, const char *key, uint64_t seq)
{
    uint32_t lo = 0, hi = w->model_count;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (model_order(w->model[mid].key, w->model[mid].seq, key, seq) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void model_add(struct world *w, const struct version_of *v)
{
    uint32_t at = model_lower(w, v->key, v->seq);

    assert_true(w->model_count < MODEL_MAX);
    memmove(&w->model[at + 1], &w->model[at], (w->model_count - at) * sizeof *v);
    w->model[at] = *v;
    w->model_count++;
}

static const struct version_of *model_get(const struct world *w, const char *key, uint64_t seq)
{
    uint32_t at = model_lower(w, key, seq);

    if (at == w->model_count || strcmp(w->model[at].key, key) != 0 || w->model[at].is_delete)
        return NULL;
    return &w->model[at];
}

/* The live keys at `seq`, in order. */
static uint32_t model_live(const struct world *w, uint64_t seq, const struct version_of **out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->model_count;) {
        const char *key = w->model[i].key;
        bool done = false;

        for (; i < w->model_count && strcmp(w->model[i].key, key) == 0; i++)
            if (!done && w->model[i].seq <= seq) {
                if (!w->model[i].is_delete)
                    out[n++] = &w->model[i];
                done = true;
            }
    }
    return n;
}

/* ---- the part of cf/ ---- */

static uint64_t give_file_no(void *owner)
{
    return atomic_fetch_add(&((struct world *)owner)->next_file, 1) + 1;
}

static odb_status take_edit(void *owner, const struct lsm_edit *edit, void (*apply)(void *),
                            void *arg)
{
    struct buf bytes = {0};
    struct lsm_edit back;
    bool is_malformed;

    (void)owner;
    if (lsm_edit_encode(edit, &bytes) == ODB_OK &&
        lsm_edit_decode(buf_slice(&bytes), &back, &is_malformed) == ODB_OK) {
        assert_false(is_malformed);
        lsm_edit_release(&back);
    }
    buf_release(&bytes);
    apply(arg);
    return ODB_OK;
}

static odb_status list_snapshots(void *owner, uint64_t **out, uint32_t *count)
{
    struct world *w = owner;

    *out = mem_array(w->snapshot_count + 1, sizeof **out);
    if (!*out)
        return ODB_NOMEM;
    for (uint32_t i = 0; i < w->snapshot_count; i++)
        (*out)[i] = w->snapshot[i];
    (*out)[w->snapshot_count] = w->seq;
    *count = w->snapshot_count + 1;
    return ODB_OK;
}

static void all_is_visible(void *owner, uint64_t seq)
{
    (void)owner;
    (void)seq;
}

static void was_flushed(void *owner)
{
    (void)owner;
}

static void has_failed(void *owner, odb_status st)
{
    (void)owner;
    fail_msg("background work failed: %s: %s", odb_status_name(st), odb_error_text());
}

static void write_one(struct world *w, const char *key, const char *value)
{
    struct version_of v = {.seq = w->seq + 1, .is_delete = value == NULL};
    odb_slice k = odb_s(key), val = value ? odb_s(value) : odb_bytes(NULL, 0);
    struct memtable_room room;
    struct epoch_guard g = epoch_enter(&w->epoch);
    struct memtable *m = lsm_active(w->tree);

    snprintf(v.key, sizeof v.key, "%s", key);
    snprintf(v.value, sizeof v.value, "%s", value ? value : "");
    assert_int_equal(memtable_reserve(m, memtable_entry_bytes(k.size, val.size), 1, &room), ODB_OK);
    memtable_insert(m, &room, memtable_prepare(&room, k, val),
                    trailer_make(v.seq, value ? KIND_PUT : KIND_DELETE));
    if (value)
        lsm_note_put(w->tree, k);
    w->seq = v.seq; /* visible from here on */
    memtable_return(m, &room);
    epoch_leave(g);
    w->lsn += 104; /* a multiple of eight, as places in the log are */
    model_add(w, &v);
}

static bool is_full(struct world *w)
{
    struct epoch_guard g = epoch_enter(&w->epoch);
    bool full = lsm_is_full(w->tree);

    epoch_leave(g);
    return full;
}

static void switch_memtable(struct world *w)
{
    odb_status st = lsm_prepare_switch(w->tree);

    if (st == ODB_AGAIN) {
        assert_int_equal(lsm_wait_room(w->tree), ODB_OK);
        st = lsm_prepare_switch(w->tree);
    }
    assert_int_equal(st, ODB_OK);
    lsm_switch(w->tree, w->lsn, w->seq);
}

static struct lsm_options world_options(void)
{
    return (struct lsm_options){.write_buffer = 16384,
                                .max_buffers = 3,
                                .target_file_size = 4096,
                                .l0_trigger = 2,
                                .level_base = 8192,
                                .multiplier = 4,
                                .block_size = 512,
                                .codec = CODEC_LZ4,
                                .bits_per_key = 10,
                                .split = 4,
                                .auto_compact = true};
}

static void world_open_with(struct world *w, unsigned threads, const struct lsm_options *opt)
{
    struct sst_store_options so = {
        .db_id = 77, .cache_bytes = 65536, .open_tables = 16, .verify_on_read = true};

    memset(w, 0, sizeof *w);
    w->model = malloc(MODEL_MAX * sizeof *w->model);
    snprintf(w->path, sizeof w->path, "%s/odb-tree-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->path));
    assert_int_equal(os_dir_open(os_posix(), w->path, 0, &w->dir), ODB_OK);
    epoch_init(&w->epoch);
    so.os = os_posix();
    so.dir = w->dir;
    so.epoch = &w->epoch;
    assert_int_equal(sst_store_new(&so, &w->store), ODB_OK);
    assert_int_equal(exec_new(threads, &w->exec), ODB_OK);
    w->env = (struct lsm_env){.os = os_posix(),
                              .dir = w->dir,
                              .db_id = 77,
                              .epoch = &w->epoch,
                              .tables = w->store,
                              .exec = w->exec,
                              .owner = w,
                              .new_file_no = give_file_no,
                              .log_edit = take_edit,
                              .snapshots = list_snapshots,
                              .wait_visible = all_is_visible,
                              .flushed = was_flushed,
                              .failed = has_failed};
    assert_int_equal(lsm_new(&w->env, 1, "test", opt, &w->tree), ODB_OK);
    assert_int_equal(lsm_open_memtable(w->tree, 0), ODB_OK);
    lsm_start(w->tree);
}

static void world_open(struct world *w, unsigned threads)
{
    struct lsm_options opt = world_options();

    world_open_with(w, threads, &opt);
}

static bool remove_entry(void *arg, const char *name)
{
    odb_status st = os_remove(arg, name);

    assert_int_equal(st, ODB_OK);
    return true;
}

static void world_close(struct world *w)
{
    lsm_stop(w->tree);
    lsm_free(w->tree);
    epoch_release(&w->epoch);
    exec_free(w->exec);
    sst_store_free(w->store);
    assert_int_equal(os_dir_list(w->dir, remove_entry, w->dir), ODB_OK);
    os_dir_close(w->dir);
    rmdir(w->path);
    free(w->model);
    assert_int_equal(test_alloc_alive(), 0);
}

/* ---- checks ---- */

static void check_get(struct world *w, const char *key, uint64_t seq)
{
    const struct version_of *want = model_get(w, key, seq);
    struct epoch_guard g = epoch_enter(&w->epoch);
    const struct lsm_view *v = lsm_view(w->tree);
    odb_slice k = odb_s(key);
    struct lsm_value got;
    odb_status st = lsm_get(w->tree, v, k, hash64(k.data, k.size), seq, &got);

    assert_int_equal(st, want ? ODB_OK : ODB_ABSENT);
    if (want) {
        lsm_value_pin(&got);
        epoch_leave(g);
        assert_true(odb_slice_equal(got.data, odb_s(want->value)));
        lsm_value_unpin(&got);
    } else {
        epoch_leave(g);
    }
}

static struct lsm_iter *open_iter(struct world *w, uint64_t seq, const struct lsm_range *r)
{
    struct epoch_guard g = epoch_enter(&w->epoch);
    struct lsm_iter *it = NULL;

    assert_int_equal(lsm_iter_new(w->tree, lsm_view(w->tree), seq, r, &it), ODB_OK);
    epoch_leave(g);
    return it;
}

static void check_at(struct lsm_iter *it, const struct version_of **live, uint32_t n, int64_t at)
{
    if (at < 0 || at >= n) {
        assert_false(lsm_iter_valid(it));
        assert_int_equal(lsm_iter_status(it), ODB_OK);
        return;
    }
    assert_true(lsm_iter_valid(it));
    assert_true(odb_slice_equal(lsm_iter_key(it), odb_s(live[at]->key)));
    assert_true(odb_slice_equal(lsm_iter_value(it), odb_s(live[at]->value)));
}

static void make_key(char *out, uint32_t universe)
{
    uint32_t k = rnd(universe);

    if (k % 3 == 0)
        sprintf(out, "%u", k);
    else
        sprintf(out, "a/shared/prefix/%u/%s", k / 7, k % 7 ? "tail" : "");
}

/* A long walk on one iterator: seeks, steps, turns. */
static void check_walk(struct world *w, uint64_t seq, uint32_t universe, int steps, bool bounded)
{
    const struct version_of **live = malloc((w->model_count + 1) * sizeof *live);
    uint32_t n = model_live(w, seq, live), first = 0, end = n;
    char lower[48], upper[48], key[48];
    struct lsm_range r = {0};
    struct lsm_iter *it;
    int64_t at = -1;

    if (bounded) {
        make_key(lower, universe);
        make_key(upper, universe);
        r.lower = odb_s(lower);
        r.upper = odb_s(upper);
        while (first < n && strcmp(live[first]->key, lower) < 0)
            first++;
        while (end > first && strcmp(live[end - 1]->key, upper) >= 0)
            end--;
    }
    it = open_iter(w, seq, &r);
    live += first;
    n = end - first;
    for (int i = 0; i < steps; i++) {
        bool ok;

        switch (at < 0 || at >= n ? rnd(4) : rnd(20)) {
        case 0:
            ok = lsm_iter_first(it);
            at = 0;
            break;
        case 1:
            ok = lsm_iter_last(it);
            at = (int64_t)n - 1;
            break;
        case 2:
            make_key(key, universe);
            ok = lsm_iter_seek(it, odb_s(key));
            for (at = 0; at < n && strcmp(live[at]->key, key) < 0;)
                at++;
            break;
        case 3:
            make_key(key, universe);
            ok = lsm_iter_seek_for_prev(it, odb_s(key));
            for (at = (int64_t)n - 1; at >= 0 && strcmp(live[at]->key, key) > 0;)
                at--;
            break;
        default:
            if (rnd(2)) {
                ok = lsm_iter_next(it);
                at++;
            } else {
                ok = lsm_iter_prev(it);
                at--;
            }
        }
        assert_int_equal(ok, lsm_iter_valid(it));
        check_at(it, live, n, at);
    }
    lsm_iter_free(it);
    free(live - first);
}

static void run_random(unsigned threads, int ops)
{
    struct world w;
    uint32_t universe = 300;
    char key[48], value[24];

    seed_now = pick_seed();
    world_open(&w, threads);
    for (int i = 0; i < ops; i++) {
        uint32_t what = rnd(1000);
        uint64_t at = w.snapshot_count && rnd(2) ? w.snapshot[rnd(w.snapshot_count)] : w.seq;

        make_key(key, universe);
        if (what < 600) {
            sprintf(value, "v%llu-%u", (unsigned long long)w.seq, rnd(100));
            write_one(&w, key, value);
        } else if (what < 750) {
            write_one(&w, key, NULL);
        } else if (what < 930) {
            check_get(&w, key, at);
        } else if (what < 940) {
            check_walk(&w, at, universe, 60, rnd(2));
        } else if (what < 955) {
            switch_memtable(&w);
        } else if (what < 985) {
            if (!threads)
                (void)exec_run_one(w.exec);
        } else if (what < 990 && !threads) { /* the list is read by jobs: only in this thread */
            if (w.snapshot_count < 8 &&
                (!w.snapshot_count || w.snapshot[w.snapshot_count - 1] < w.seq))
                w.snapshot[w.snapshot_count++] = w.seq;
        } else if (what < 993 && !threads && w.snapshot_count) {
            uint32_t gone = rnd(w.snapshot_count);

            memmove(&w.snapshot[gone], &w.snapshot[gone + 1],
                    (--w.snapshot_count - gone) * sizeof w.snapshot[0]);
        } else if (what < 994) {
            switch_memtable(&w);
            assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
        } else if (what == 994) {
            char other[48];

            make_key(other, universe);
            assert_int_equal(lsm_compact(w.tree, odb_s(strcmp(key, other) < 0 ? key : other),
                                         odb_s(strcmp(key, other) < 0 ? other : key), NULL, NULL),
                             ODB_OK);
        }
        if (is_full(&w))
            switch_memtable(&w);
    }
    switch_memtable(&w);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    assert_int_equal(lsm_verify(w.tree, NULL, NULL), ODB_OK);
    check_walk(&w, w.seq, universe, 3000, false);
    assert_int_equal(lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                     ODB_OK);
    assert_int_equal(lsm_verify(w.tree, NULL, NULL), ODB_OK);
    check_walk(&w, w.seq, universe, 3000, true);
    for (uint32_t i = 0; i < w.snapshot_count; i++)
        check_walk(&w, w.snapshot[i], universe, 1000, false);
    world_close(&w);
}

static int ops_wanted(int normal)
{
    const char *text = getenv("ODB_TEST_OPS");

    return text ? atoi(text) : normal;
}

static void P13_a_tree_answers_like_a_sorted_array(void **state)
{
    (void)state;
    run_random(0, ops_wanted(20000));
}

static void and_so_it_does_with_workers(void **state)
{
    (void)state;
    run_random(2, ops_wanted(20000));
}

static void compacting_everything_leaves_only_what_lives(void **state)
{
    struct world w;
    struct lsm_stats stats;
    char key[48];

    (void)state;
    world_open(&w, 0);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 500; i++) {
            sprintf(key, "k%04d", i);
            write_one(&w, key, round < 2 && i % 2 ? "x" : NULL);
            if (is_full(&w))
                switch_memtable(&w);
        }
    switch_memtable(&w);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    assert_int_equal(lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                     ODB_OK);
    lsm_stats(w.tree, &stats);
    for (int i = 0; i < LSM_LEVELS; i++)
        assert_int_equal(stats.level[i].entries, 0); /* every key was deleted in the last round */
    world_close(&w);
}

static void an_iterator_outlives_the_tables_it_walks(void **state)
{
    struct world w;
    struct lsm_range all = {0};
    struct lsm_iter *it;
    char key[48];
    int n = 0;

    (void)state;
    world_open(&w, 0);
    for (int i = 0; i < 400; i++) {
        sprintf(key, "k%04d", i);
        write_one(&w, key, "old");
    }
    switch_memtable(&w);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    it = open_iter(&w, w.seq, &all);
    w.snapshot[w.snapshot_count++] = w.seq;
    for (int i = 0; i < 400; i++) {
        sprintf(key, "k%04d", i);
        write_one(&w, key, NULL);
    }
    w.snapshot_count = 0; /* the iterator alone must do */
    switch_memtable(&w);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    assert_int_equal(lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                     ODB_OK);
    for (bool ok = lsm_iter_first(it); ok; ok = lsm_iter_next(it)) {
        assert_true(odb_slice_equal(lsm_iter_value(it), odb_s("old")));
        n++;
    }
    assert_int_equal(lsm_iter_status(it), ODB_OK);
    assert_int_equal(n, 400);
    lsm_iter_free(it);
    world_close(&w);
}

/* A disk that takes its time: the flush starts only when the waiter has had time to misbehave. */
static void late_is_visible(void *owner, uint64_t seq)
{
    (void)owner;
    (void)seq;
    usleep(50000);
}

/* Who waits for a flush sleeps until it is done: the clean-up jobs it could ask for meanwhile (each moves the
 * epoch on) would wake it to ask for the next, as fast as two threads can wake each other. */
static void who_waits_for_a_flush_keeps_nobody_busy(void **state)
{
    struct world w;
    uint64_t before;

    (void)state;
    world_open(&w, 4);
    w.env.wait_visible = late_is_visible;
    for (int i = 0; i < 3; i++) { /* the first round starts the workers */
        write_one(&w, "a", "1");
        switch_memtable(&w);
        before = atomic_load(&w.epoch.now);
        assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
        assert_in_range(atomic_load(&w.epoch.now) - before, 0, 30);
    }
    world_close(&w);
}

/* The manifest's answer to an edit: ODB_CANCELLED when it has dropped the family and lsm_drop is yet to come. */
static odb_status refuse_edit(void *owner, const struct lsm_edit *edit, void (*apply)(void *),
                              void *arg)
{
    struct world *w = owner;

    (void)edit;
    (void)apply;
    (void)arg;
    w->refused++;
    return err_set(w->refusal, "refused");
}

static void is_told(void *owner, odb_status st)
{
    assert_int_equal(st, ((struct world *)owner)->refusal);
}

/* What a dropped family has no use for is done once and not over and over, and whoever waits is told why. */
static void work_for_a_dropped_family_is_not_tried_again(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 0);
    write_one(&w, "a", "1");
    switch_memtable(&w);
    w.refusal = ODB_CANCELLED;
    w.env.log_edit = refuse_edit;
    w.env.failed = is_told;
    assert_int_equal(lsm_flush_wait(w.tree), ODB_CANCELLED);
    assert_non_null(strstr(odb_error_text(), "dropped"));
    assert_int_equal(w.refused, 1);
    lsm_drop(w.tree);
    lsm_resume(w.tree);
    assert_int_equal(lsm_wait_idle(w.tree), ODB_CANCELLED);
    assert_int_equal(lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                     ODB_CANCELLED);
    assert_int_equal(w.refused, 1);
    world_close(&w);
}

/* Between two merges of a compaction by hand other work finds the disk full. */
static bool other_work_finds_no_room(void *arg, uint64_t done, uint64_t total)
{
    struct world *w = arg;

    (void)done;
    (void)total;
    if (w->refused > 0)
        return true;
    write_one(w, "b", "2");
    switch_memtable(w);
    w->refusal = ODB_NOSPACE;
    w->env.log_edit = refuse_edit;
    w->env.failed = is_told;
    assert_int_equal(lsm_flush_wait(w->tree), ODB_NOSPACE);
    w->env.log_edit = take_edit;
    return true;
}

/* Such a compaction may be what empties the disk. */
static void what_other_work_found_full_does_not_stop_a_compaction(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 0);
    for (unsigned i = 0; i < 2; i++) {
        write_one(&w, "a", i ? NULL : "1");
        switch_memtable(&w);
        assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    }
    assert_int_equal(
        lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), other_work_finds_no_room, &w),
        ODB_OK);
    assert_int_equal(w.refused, 1);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    world_close(&w);
}

/* Nor between two tables of the deepest level that are written anew for the deletes in them. */
static void nor_does_it_stop_the_rewriting_of_deletes(void **state)
{
    struct lsm_options opt = world_options();
    uint64_t deletes = 0, tables = 0;
    struct lsm_stats now;
    struct world w;
    char key[48];

    (void)state;
    opt.codec = CODEC_RAW;
    opt.write_buffer = 1 << 20;
    opt.auto_compact = false;
    world_open_with(&w, 0, &opt);
    for (int i = 0; i < 1200; i++) {
        if (i == 600) { /* somebody reads what is deleted next */
            w.snapshot[0] = w.seq;
            w.snapshot_count = 1;
        }
        sprintf(key, "k%05d", i % 600);
        write_one(&w, key, i < 600 ? "1" : NULL);
    }
    switch_memtable(&w);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    assert_int_equal(lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL),
                     ODB_OK);
    lsm_stats(w.tree, &now);
    for (int i = 1; i < LSM_LEVELS; i++)
        tables += now.level[i].files;
    assert_true(tables > 1);
    w.snapshot_count = 0;
    assert_int_equal(
        lsm_compact(w.tree, odb_bytes(NULL, 0), odb_bytes(NULL, 0), other_work_finds_no_room, &w),
        ODB_OK);
    assert_int_equal(w.refused, 1);
    lsm_stats(w.tree, &now);
    for (int i = 0; i < LSM_LEVELS; i++)
        deletes += now.level[i].deletes;
    assert_int_equal(deletes, 0);
    world_close(&w);
}

/* ---- want of memory ---- */

static void has_failed_for_want_of_memory(void *owner, odb_status st)
{
    (void)owner;
    assert_int_equal(st, ODB_NOMEM);
}

static const odb_slice everything = {NULL, 0};

/* A few keys more or deleted, in a table of level 0 of their own: `among` the others, or behind all of them. */
static void world_grow(struct world *w, unsigned turn, bool among, bool is_delete)
{
    char key[48], value[24];

    for (unsigned i = 0; i < 8; i++) {
        sprintf(key, "k%05u", among ? rnd(200) : 200 + 8 * turn + i);
        sprintf(value, "%u %u", turn, rnd(1000000));
        write_one(w, key, is_delete || (among && i == 0) ? NULL : value);
    }
    switch_memtable(w);
    assert_int_equal(lsm_flush_wait(w->tree), ODB_OK);
}

static void world_for_want_of_memory(struct world *w, unsigned threads)
{
    struct lsm_options opt = world_options();
    struct lsm_stats now;
    int levels = 0;

    opt.target_file_size = 700;
    opt.level_base = 1000;
    opt.multiplier = 2;
    opt.codec = CODEC_RAW;
    seed_now = 7;
    world_open_with(w, threads, &opt);
    w->env.failed = has_failed_for_want_of_memory;
    for (unsigned turn = 0; turn < 40; turn++) {
        world_grow(w, turn, turn % 2, false);
        assert_int_equal(lsm_wait_idle(w->tree), ODB_OK);
    }
    w->tree->opt.auto_compact = false; /* from now on nothing else asks for memory meanwhile */
    lsm_stats(w->tree, &now);
    for (int i = 1; i < LSM_LEVELS; i++)
        levels += now.level[i].files > 0;
    assert_true(levels > 1);
}

/* A compaction by hand whose request number `n` for memory fails. It says so, or does without; nothing leaks,
 * what is there stays readable, and the next one goes on from there. False: there was no such request. */
static bool compact_without_memory(struct world *w, long n)
{
    odb_status st;
    long failed;
    char key[48];

    test_alloc_fail(n, 0);
    st = lsm_compact(w->tree, everything, everything, NULL, NULL);
    failed = test_alloc_failed();
    test_alloc_fail(-1, 0);
    if (st != ODB_OK && (st != ODB_NOMEM || !failed))
        fail_msg("request %ld: %s: %s", n, odb_status_name(st), odb_error_text());
    for (unsigned i = 0; i < 220; i += 31) {
        sprintf(key, "k%05u", i);
        check_get(w, key, w->seq);
    }
    return failed > 0;
}

static void world_was_not_harmed(struct world *w)
{
    assert_int_equal(lsm_compact(w->tree, everything, everything, NULL, NULL), ODB_OK);
    assert_int_equal(lsm_verify(w->tree, NULL, NULL), ODB_OK);
    check_walk(w, w->seq, 300, 1000, false);
    world_close(w);
}

static void P16_a_merge_without_memory_is_a_status_and_no_harm(void **state)
{
    struct world w;

    (void)state;
    for (unsigned threads = 0; threads < 3; threads += 2) {
        world_for_want_of_memory(&w, threads);
        for (long n = 0; n < 40; n++) {
            assert_true(compact_without_memory(&w, n));
            world_grow(&w, 40 + (unsigned)n, true, false);
        }
        world_was_not_harmed(&w);
    }
}

static void P16_a_switch_without_memory_is_a_status(void **state)
{
    struct lsm_options opt = world_options();
    struct world w;
    char key[48];
    long n = 0;

    (void)state;
    opt.max_buffers = opt.l0_trigger = 0; /* which stands for what is usual */
    world_open_with(&w, 0, &opt);
    for (int turn = 0; turn < 3; turn++)
        for (long failed = 1; failed; n++) {
            odb_status st;

            sprintf(key, "k%ld", n);
            write_one(&w, key, "v");
            test_alloc_fail(turn ? n % 4 : n, 0);
            st = lsm_prepare_switch(w.tree);
            failed = test_alloc_failed();
            test_alloc_fail(-1, 0);
            if (st == ODB_AGAIN && !failed) { /* as many wait as there may be */
                assert_int_equal(lsm_wait_room(w.tree), ODB_OK);
                failed = 1;
                continue;
            }
            assert_int_equal(st, failed ? ODB_NOMEM : ODB_OK);
            if (st == ODB_OK)
                lsm_switch(w.tree, w.lsn, w.seq);
        }
    assert_true(n > 4);
    assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    check_walk(&w, w.seq, 300, 100, false);
    world_close(&w);
}

/* The same for one merge out of each level, from its first request to its last. */
/* One merge out of `level`, those above it drained, whose request number `n` for memory fails: in a world of its
 * own, as one that does without goes through, and what comes next has other requests. False: there was none. */
static bool merge_level_without_memory(uint32_t level, long n, uint32_t *merged)
{
    bool found = true;
    struct world w;
    uint64_t bytes;
    odb_status st;
    long failed;

    world_for_want_of_memory(&w, 0);
    for (uint32_t i = 0; i < level; i++)
        for (found = true; found;)
            assert_int_equal(tree_merge_range(w.tree, i, everything, everything, &found, &bytes),
                             ODB_OK);
    test_alloc_fail(n, 0);
    st = tree_merge_range(w.tree, level, everything, everything, &found, &bytes);
    failed = test_alloc_failed();
    test_alloc_fail(-1, 0);
    if (st != ODB_OK && (st != ODB_NOMEM || !failed))
        fail_msg("level %u, request %ld: %s: %s", level, n, odb_status_name(st), odb_error_text());
    *merged += st == ODB_OK && found && !failed;
    world_was_not_harmed(&w);
    return failed > 0;
}

static void P16_nor_is_one_between_levels(void **state)
{
    uint32_t merged = 0;

    (void)state;
    for (uint32_t level = 0; level + 1 < LSM_LEVELS; level++)
        for (long n = 0; merge_level_without_memory(level, n, &merged); n++)
            assert_true(n < 2000);
    assert_true(merged >= 3);
}

/* New keys behind all others go down without being written again. At the bottom lie deletes that a snapshot
 * needed until now: those tables are written once more. */
static void P16_nor_is_one_that_moves_and_cleans(void **state)
{
    struct world w;
    long n = 0;
    bool more = true;

    (void)state;
    world_for_want_of_memory(&w, 0);
    for (; more; n++) {
        assert_true(n < 500);
        world_grow(&w, 1000 + (unsigned)n, true, false);
        w.snapshot[w.snapshot_count++] = w.seq;
        world_grow(&w, 0, true, true);
        assert_int_equal(lsm_compact(w.tree, everything, everything, NULL, NULL), ODB_OK);
        w.snapshot_count = 0;
        world_grow(&w, 100 + (unsigned)n, false, false);
        more = compact_without_memory(&w, n);
    }
    assert_true(n > 20);
    world_was_not_harmed(&w);
}

/* Who took a view out of the tree may find that its last reference has gone: then it is the turn of the next. */
static void a_view_that_has_gone_is_not_walked(void **state)
{
    const struct lsm_range all = {0};
    const struct lsm_view *view;
    struct epoch_guard g;
    struct lsm_iter *it = NULL;
    struct world w;

    (void)state;
    world_open(&w, 0);
    write_one(&w, "k", "1");
    g = epoch_enter(&w.epoch);
    view = lsm_view(w.tree);
    switch_memtable(&w); /* which puts another one in its place */
    assert_ptr_not_equal(lsm_view(w.tree), view);
    assert_int_equal(lsm_iter_new(w.tree, view, w.seq, &all, &it), ODB_AGAIN);
    assert_null(it);
    assert_int_equal(lsm_iter_new(w.tree, lsm_view(w.tree), w.seq, &all, &it), ODB_OK);
    epoch_leave(g);
    assert_true(lsm_iter_first(it));
    assert_true(odb_slice_equal(lsm_iter_value(it), odb_s("1")));
    lsm_iter_free(it);
    world_close(&w);
}

static unsigned snapshots_asked;

/* Asked when a merge is picked, then by the merge: there the memtable of that moment is written to and
 * flushed before the merge goes on. */
static odb_status list_and_flush(void *owner, uint64_t **out, uint32_t *count)
{
    struct world *w = owner;
    struct memtable *active;
    struct epoch_guard g;

    if (++snapshots_asked != 2)
        return list_snapshots(owner, out, count);
    g = epoch_enter(&w->epoch);
    active = lsm_active(w->tree);
    memtable_ref(active);
    epoch_leave(g);
    write_one(w, "between", "x");
    switch_memtable(w);
    assert_int_equal(lsm_flush_wait(w->tree), ODB_OK);
    for (int i = 0; i < 4; i++)
        (void)epoch_collect(&w->epoch);
    assert_int_equal(atomic_load(&active->refs), 1); /* ours */
    memtable_unref(active);
    return list_snapshots(owner, out, count);
}

static void a_merge_keeps_no_memtable(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 0);
    for (unsigned i = 0; i < 2; i++) {
        write_one(&w, "a", "first");
        write_one(&w, "b", "second");
        switch_memtable(&w);
        assert_int_equal(lsm_flush_wait(w.tree), ODB_OK);
    }
    snapshots_asked = 0;
    w.env.snapshots = list_and_flush;
    assert_int_equal(lsm_compact(w.tree, everything, everything, NULL, NULL), ODB_OK);
    assert_true(snapshots_asked > 2);
    check_get(&w, "between", w.seq);
    check_get(&w, "a", w.seq);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P13_a_tree_answers_like_a_sorted_array),
        cmocka_unit_test(and_so_it_does_with_workers),
        cmocka_unit_test(compacting_everything_leaves_only_what_lives),
        cmocka_unit_test(an_iterator_outlives_the_tables_it_walks),
        cmocka_unit_test(who_waits_for_a_flush_keeps_nobody_busy),
        cmocka_unit_test(work_for_a_dropped_family_is_not_tried_again),
        cmocka_unit_test(a_view_that_has_gone_is_not_walked),
        cmocka_unit_test(a_merge_keeps_no_memtable),
        cmocka_unit_test(what_other_work_found_full_does_not_stop_a_compaction),
        cmocka_unit_test(nor_does_it_stop_the_rewriting_of_deletes),
        cmocka_unit_test(P16_a_merge_without_memory_is_a_status_and_no_harm),
        cmocka_unit_test(P16_a_switch_without_memory_is_a_status),
        cmocka_unit_test(P16_nor_is_one_between_levels),
        cmocka_unit_test(P16_nor_is_one_that_moves_and_cleans),
    };
    if (getenv("ODB_TEST_ONLY"))
        cmocka_set_test_filter(getenv("ODB_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
