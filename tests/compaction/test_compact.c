/* tests/compaction/test_compact.c -- what a merge keeps: as tables, against a naive model, and under
 * failures of disk, memory and inputs. Outputs are real tables on a simulated disk. */
#include "compaction/compact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/sim.h"
#include "tests/base/array_cursor.h"
#include "tests/lib/test_alloc.h"

enum { INPUTS = 4, VERSIONS = 25000, KEY_ROOM = 24, SNAPSHOTS = 8 };

/* A version of a key as the test sees it. */
struct version {
    char key[KEY_ROOM];
    uint64_t seq;
    enum kind kind;
};

struct versions {
    struct version *v;
    size_t count;
};

static void add_version(struct versions *l, const char *key, uint64_t seq, enum kind kind)
{
    assert_true(l->count < VERSIONS);
    (void)snprintf(l->v[l->count].key, KEY_ROOM, "%s", key);
    l->v[l->count].seq = seq;
    l->v[l->count].kind = kind;
    l->count++;
}

static int by_key_then_newest(const void *a, const void *b)
{
    const struct version *x = a, *y = b;
    int c = strcmp(x->key, y->key);

    return c ? c : (x->seq < y->seq) - (x->seq > y->seq);
}

/* ---- the world around a job ---- */

struct world {
    struct os *os;
    struct os_dir *dir;
    struct epoch epoch;
    struct sst_store *store;
    uint64_t next_file;
    struct versions in[INPUTS];
    struct entry *entries[INPUTS];
    struct array_cursor cursor[INPUTS];
    struct cursor *inputs[INPUTS];
    struct versions out;   /* what was read back, table after table */
    size_t ends[VERSIONS]; /* where each table ends in `out` */
    const char *below;     /* keys of which older_below says yes, each followed by a blank */
    char last_asked[KEY_ROOM];
    long polls, cancel_at;
    struct compact_job job;
};

static uint64_t next_file_no(void *arg)
{
    return ++((struct world *)arg)->next_file;
}

static bool key_is_below(void *arg, odb_slice key)
{
    struct world *w = arg;
    char name[KEY_ROOM + 2];

    assert_true(key.size < KEY_ROOM);
    (void)snprintf(name, sizeof name, "%.*s", (int)key.size, (const char *)key.data);
    assert_true(strcmp(w->last_asked, name) <= 0); /* asked in rising order */
    memcpy(w->last_asked, name, key.size + 1);
    (void)snprintf(name, sizeof name, "%.*s ", (int)key.size, (const char *)key.data);
    return strstr(w->below, name) != NULL;
}

static bool cancelled_at(void *arg)
{
    struct world *w = arg;

    return ++w->polls == w->cancel_at;
}

static struct world *new_world(void)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->os = sim_new(1);
    assert_int_equal(os_dir_open(w->os, "db", OS_DIR_CREATE, &w->dir), ODB_OK);
    epoch_init(&w->epoch);
    w->below = "";
    w->cancel_at = -1;
    w->out.v = calloc(VERSIONS, sizeof(struct version));
    for (int i = 0; i < INPUTS; i++)
        w->in[i].v = calloc(VERSIONS, sizeof(struct version));
    w->job = (struct compact_job){
        .inputs = w->inputs,
        .older_below = key_is_below,
        .older_below_arg = w,
        .target_size = UINT64_MAX,
        .writer = {.os = w->os,
                   .dir = w->dir,
                   .db_id = 7,
                   .block_size = 512,
                   .codec = CODEC_RAW,
                   .lz4_acceleration = 1,
                   .bits_per_key = 10},
        .new_file_no = next_file_no,
        .new_file_no_arg = w,
        .is_cancelled = cancelled_at,
        .is_cancelled_arg = w,
    };
    return w;
}

static void open_store(struct world *w)
{
    struct sst_store_options opt = {.os = w->os,
                                    .dir = w->dir,
                                    .db_id = 7,
                                    .epoch = &w->epoch,
                                    .cache_bytes = 1 << 20,
                                    .open_tables = 64,
                                    .verify_on_read = true};

    if (!w->store)
        assert_int_equal(sst_store_new(&opt, &w->store), ODB_OK);
}

static void free_inputs(struct world *w)
{
    for (int i = 0; i < INPUTS; i++) {
        if (w->inputs[i])
            cursor_free(w->inputs[i]);
        w->inputs[i] = NULL;
        free(w->entries[i]);
        w->entries[i] = NULL;
    }
}

static void free_world(struct world *w)
{
    free_inputs(w);
    epoch_release(&w->epoch);
    sst_store_free(w->store);
    epoch_release(&w->epoch);
    os_dir_close(w->dir);
    sim_free(w->os);
    for (int i = 0; i < INPUTS; i++)
        free(w->in[i].v);
    free(w->out.v);
    free(w);
    assert_int_equal(test_alloc_alive(), 0);
}

/* Cursors over in[0..count). The value of a version is its own key, so that mixing them up shows. */
static void make_inputs(struct world *w, uint32_t count, uint32_t run_max, uint64_t seed)
{
    free_inputs(w);
    for (uint32_t i = 0; i < count; i++) {
        struct versions *l = &w->in[i];

        w->entries[i] = calloc(l->count + 1, sizeof(struct entry));
        assert_non_null(w->entries[i]);
        for (size_t k = 0; k < l->count; k++) {
            uint32_t len = (uint32_t)strlen(l->v[k].key);

            w->entries[i][k] = (struct entry){
                .key = (const uint8_t *)l->v[k].key,
                .key_len = len,
                .value = (const uint8_t *)l->v[k].key,
                .value_len = l->v[k].kind == KIND_PUT ? len : 0,
                .trailer = trailer_make(l->v[k].seq, l->v[k].kind),
            };
        }
        w->inputs[i] = array_cursor_init(&w->cursor[i], w->entries[i], l->count, run_max, seed + i);
    }
    w->job.input_count = count;
    w->last_asked[0] = '\0';
    w->polls = 0;
}

static void read_table(struct world *w, const struct sst_meta *meta)
{
    struct sst_ref ref = {.file_no = meta->file_no, .size = meta->size, .check = meta->check};
    size_t first = w->out.count;
    struct cursor *c;

    assert_int_equal(sst_cursor_new(w->store, &ref, 0, &c), ODB_OK);
    for (bool more = c->ops->first(c); more; more = cursor_next(c)) {
        const struct entry *e = cursor_entry(c);
        char key[KEY_ROOM];

        assert_true(e->key_len < KEY_ROOM);
        (void)snprintf(key, sizeof key, "%.*s", (int)e->key_len, (const char *)e->key);
        add_version(&w->out, key, trailer_seq(e->trailer), (enum kind)trailer_kind(e->trailer));
        if (trailer_kind(e->trailer) == KIND_PUT) {
            assert_int_equal(e->value_len, e->key_len);
            assert_memory_equal(e->value, e->key, e->key_len);
        } else {
            assert_int_equal(e->value_len, 0);
        }
    }
    assert_int_equal(c->status, ODB_OK);
    cursor_free(c);
    sst_ref_drop(w->store, &ref);
    assert_int_equal(w->out.count - first, meta->entries);
    assert_true(odb_slice_equal(buf_slice(&meta->smallest), odb_s(w->out.v[first].key)));
    assert_true(odb_slice_equal(buf_slice(&meta->largest), odb_s(w->out.v[w->out.count - 1].key)));
}

static void run_and_read(struct world *w, struct compact_result *r)
{
    uint64_t bytes = 0;

    assert_int_equal(compact_run(&w->job, r), ODB_OK);
    open_store(w);
    w->out.count = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        read_table(w, &r->tables[i]);
        w->ends[i] = w->out.count;
        bytes += r->tables[i].size;
    }
    assert_int_equal(r->entries_out, w->out.count);
    assert_int_equal(r->bytes_out, bytes);
    assert_int_equal(r->entries_in, r->entries_out + r->dropped_versions + r->dropped_deletes);
}

static bool count_name(void *arg, const char *name)
{
    ++*(uint32_t *)arg;
    (void)name;
    return true;
}

static uint32_t files_on_disk(struct world *w)
{
    uint32_t n = 0;

    assert_int_equal(os_dir_list(w->dir, count_name, &n), ODB_OK);
    return n;
}

static void remove_outputs(struct world *w, struct compact_result *r)
{
    char name[SST_NAME_MAX];

    for (uint32_t i = 0; i < r->count; i++) {
        sst_file_name(r->tables[i].file_no, name);
        assert_int_equal(os_remove(w->dir, name), ODB_OK);
    }
    compact_result_release(r);
}

/* ---- rules, drawn ----
 *
 * "a+9" is a put of key a with number 9, "a-7" a delete; newest first, as they arrive. */

static void parse(struct versions *l, const char *text)
{
    l->count = 0;
    while (text && *text) {
        char key[KEY_ROOM] = {0}, *end;
        size_t n = strcspn(text, "+-");
        enum kind kind = text[n] == '+' ? KIND_PUT : KIND_DELETE;

        memcpy(key, text, n);
        add_version(l, key, strtoull(text + n + 1, &end, 10), kind);
        text = end + strspn(end, " ");
    }
}

static void print_outputs(const struct world *w, uint32_t tables, char *out, size_t cap)
{
    size_t n = 0, at = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < tables; i++)
        for (; at < w->ends[i]; at++)
            n += (size_t)snprintf(out + n, cap - n, "%s%s%c%u", n ? " " : "", w->out.v[at].key,
                                  w->out.v[at].kind == KIND_PUT ? '+' : '-',
                                  (unsigned)w->out.v[at].seq);
}

struct rule {
    const char *why;
    const char *in[INPUTS];
    uint64_t snapshots[SNAPSHOTS]; /* up to the first 0 */
    const char *below;             /* keys with older versions below, each followed by a blank */
    bool is_bottom;
    const char *want;
};

static const struct rule rules[] = {
    {"nothing in, nothing out", {""}, {99}, "", false, ""},

    /*   a+90 a+70 a+50 a+40 a+20 a+10
     *   now=99 takes 90, r=60 takes 50, r=30 takes 20 */
    {"each reader keeps the first version at or below it",
     {"a+90 a+70 a+50 a+40 a+20 a+10"},
     {30, 60, 99},
     "",
     false,
     "a+90 a+50 a+20"},
    {"whichever inputs the versions come from",
     {"a+70 a+20", "a+90 a+40", "a+50 a+10"},
     {30, 60, 99},
     "",
     false,
     "a+90 a+50 a+20"},
    {"two readers share one version", {"a+90 a+20"}, {30, 60, 99}, "", false, "a+90 a+20"},
    {"a reader at the very number takes it", {"a+60 a+50"}, {60, 99}, "", false, "a+60"},
    {"one below does not", {"a+60 a+50"}, {59, 99}, "", false, "a+60 a+50"},
    {"a reader older than every version keeps none", {"a+90 a+70"}, {10, 99}, "", false, "a+90"},
    {"keys do not hide one another", {"a+90 b+80 b+70 c+60"}, {99}, "", false, "a+90 b+80 c+60"},
    {"a key that begins like the last one is another",
     {"a+9 aa+8 aaa+7"},
     {99},
     "",
     false,
     "a+9 aa+8 aaa+7"},

    /*   a+120 a+110 | now=99 | a+80 a+70       readers to come may stand anywhere left of now */
    {"what is not published yet stays, and the newest that is",
     {"a+120 a+110 a+80 a+70"},
     {99},
     "",
     false,
     "a+120 a+110 a+80"},
    {"deletes too", {"a-120 a-110 a-80 a+70"}, {99}, "", false, "a-120 a-110"},
    {"readers in the past do not change that",
     {"a-120 a+110 a+80 a+70 a+60"},
     {75, 99},
     "",
     false,
     "a-120 a+110 a+80 a+70"},

    /*   a-50 a+10      now=99 sees 50: nothing is left of the key, unless something lies below */
    {"a tombstone all see goes, and what it hid", {"a-50 a+10"}, {99}, "", false, ""},
    {"not while something older may lie below", {"a-50 a+10"}, {99}, "a ", false, "a-50"},
    {"below another key is not below this one", {"a-50 a+10 b-40"}, {99}, "b ", false, "b-40"},
    /*   a-50 a+10      r=20 still takes 10, so 50 must hide it from now */
    {"not while a reader sees what it hides", {"a-50 a+10"}, {20, 99}, "", false, "a-50 a+10"},
    {"even when that reader finds nothing: it is not the oldest reader's version",
     {"a-50"},
     {20, 99},
     "",
     false,
     "a-50"},
    /*   a+70 a-50      r=60 sees the delete, which is the same as finding nothing */
    {"the oldest reader's tombstone goes from under newer versions",
     {"a+70 a-50 a+10"},
     {60, 99},
     "",
     false,
     "a+70"},
    {"a hidden tombstone goes like any hidden version", {"a+70 a-50"}, {99}, "a ", false, "a+70"},
    {"delete, put, delete, put, each with a reader",
     {"a-80 a+60 a-40 a+20"},
     {25, 45, 65, 99},
     "",
     false,
     "a-80 a+60 a-40 a+20"},
    {"and without the oldest of them",
     {"a-80 a+60 a-40 a+20"},
     {45, 65, 99},
     "",
     false,
     "a-80 a+60"},
    {"a tombstone of the newest input, its victim in an older one",
     {"a-90 b+80", "a+20 b+10"},
     {99},
     "",
     false,
     "b+80"},

    /*   at the bottom */
    {"the only version, seen by all, forgets its number", {"a+90 b+80"}, {99}, "", true, "a+0 b+0"},
    {"the only one left counts as the only one", {"a+90 a+70 a-50"}, {99}, "", true, "a+0"},
    {"not one that a reader cannot see yet", {"a+90"}, {20, 99}, "", true, "a+90"},
    {"not one under a newer version", {"a+90 a+10"}, {20, 99}, "", true, "a+90 a+10"},
    {"nor over an older one", {"a+120 a+90"}, {99}, "", true, "a+120 a+90"},
    {"a reader at 0 sees nothing, and nothing is hidden from it by a 0 (C30)",
     {"a+5 b-4"},
     {0, 99},
     "",
     true,
     "a+5 b-4"},
    {"tombstones go without asking", {"a-90"}, {99}, "a ", true, ""},
};

static void versions_are_kept_as_drawn(void **state)
{
    struct world *w = new_world();
    char got[400];
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        struct compact_result r;
        uint32_t n = 0;

        for (; n < INPUTS && rule->in[n]; n++)
            parse(&w->in[n], rule->in[n]);
        w->job.snapshots = rule->snapshots;
        w->job.snapshot_count = 1;
        while (w->job.snapshot_count < SNAPSHOTS && rule->snapshots[w->job.snapshot_count])
            w->job.snapshot_count++;
        w->job.is_bottom = rule->is_bottom;
        w->below = rule->below;
        for (uint32_t run_max = 1; run_max < 9; run_max *= 2) { /* runs of one, and longer */
            make_inputs(w, n, run_max, i);
            run_and_read(w, &r);
            print_outputs(w, r.count, got, sizeof got);
            remove_outputs(w, &r);
            if (strcmp(got, rule->want) == 0)
                continue;
            print_error("%s: got \"%s\", want \"%s\"\n", rule->why, got, rule->want);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(files_on_disk(w), 0);
    free_world(w);
}

static void without_older_below_every_tombstone_stays(void **state)
{
    static const uint64_t now[] = {99};
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    parse(&w->in[0], "a-50 a+10 b-20");
    make_inputs(w, 1, 4, 1);
    w->job.snapshots = now;
    w->job.snapshot_count = 1;
    w->job.older_below = NULL;
    run_and_read(w, &r);
    assert_int_equal(w->out.count, 2);
    assert_int_equal(r.tables[0].deletes, 2);
    remove_outputs(w, &r);
    free_world(w);
}

static void no_reader_at_all_is_refused(void **state)
{
    struct world *w = new_world();
    struct compact_result r = {0};

    (void)state;
    make_inputs(w, 1, 4, 1);
    w->job.snapshot_count = 0;
    assert_int_equal(compact_run(&w->job, &r), ODB_INVALID);
    free_world(w);
}

/* ---- against a naive model ---- */

struct model {
    struct versions all;   /* of the inputs, sorted */
    struct versions below; /* what lies below the output, sorted */
    struct versions want;
    char below_keys[4000];
    uint64_t snapshots[SNAPSHOTS];
    uint32_t snapshot_count;
    uint64_t seq; /* numbers given so far */
};

static void random_key(struct rnd *r, uint32_t keys, char *out)
{
    uint32_t k = rnd_below(r, keys);

    /* Some are prefixes of others, some long enough to leave the 8 cached bytes. */
    (void)snprintf(out, KEY_ROOM, "kk%c%.*s%u", (int)('a' + k % 3), (int)(k % 4) * 4,
                   "commonbytesmore!", k / 12);
}

static void random_versions(struct model *m, struct world *w, struct rnd *r, uint32_t inputs)
{
    uint32_t count = rnd_below(r, 120), keys = 1 + rnd_below(r, 60), n = 0;
    char key[KEY_ROOM];

    m->all.count = m->below.count = 0;
    m->below_keys[0] = '\0';
    m->seq = 0;
    for (uint32_t i = rnd_below(r, 20); i > 0; i--) { /* older than all inputs */
        random_key(r, keys, key);
        add_version(&m->below, key, ++m->seq, rnd_below(r, 4) ? KIND_PUT : KIND_DELETE);
    }
    qsort(m->below.v, m->below.count, sizeof(struct version), by_key_then_newest);
    for (size_t i = 0; i < m->below.count; i++)
        n += (uint32_t)snprintf(m->below_keys + n, sizeof m->below_keys - n, "%s ",
                                m->below.v[i].key);
    for (uint32_t i = rnd_below(r, 4); i > 0; i--) { /* and some said to be there that are not */
        random_key(r, keys, key);
        n += (uint32_t)snprintf(m->below_keys + n, sizeof m->below_keys - n, "%s ", key);
    }
    for (uint32_t i = 0; i < INPUTS; i++)
        w->in[i].count = 0;
    for (uint32_t i = 0; i < count; i++) {
        enum kind kind = rnd_below(r, 3) ? KIND_PUT : KIND_DELETE;

        random_key(r, keys, key);
        m->seq += 1 + rnd_below(r, 3);
        add_version(&m->all, key, m->seq, kind);
        add_version(&w->in[rnd_below(r, inputs)], key, m->seq, kind);
    }
    qsort(m->all.v, m->all.count, sizeof(struct version), by_key_then_newest);
    for (uint32_t i = 0; i < inputs; i++)
        qsort(w->in[i].v, w->in[i].count, sizeof(struct version), by_key_then_newest);
    m->snapshot_count = 1 + rnd_below(r, SNAPSHOTS);
    for (uint32_t i = 0; i < m->snapshot_count; i++)
        m->snapshots[i] = rnd_below(r, (uint32_t)m->seq + 3);
    if (rnd_below(r, 2))
        m->snapshots[0] = m->seq; /* everything is published */
    for (uint32_t i = 0; i < m->snapshot_count; i++)
        for (uint32_t k = i + 1; k < m->snapshot_count; k++)
            if (m->snapshots[k] < m->snapshots[i]) {
                uint64_t swap = m->snapshots[i];

                m->snapshots[i] = m->snapshots[k];
                m->snapshots[k] = swap;
            }
}

/* What a reader at `at` finds: index into `l` of the version, or SIZE_MAX. */
static size_t find_at(const struct versions *l, const char *key, uint64_t at)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->v[i].key, key) == 0 && l->v[i].seq <= at)
            return i;
    return SIZE_MAX;
}

/* Every reader there is or may come to be, one after the other; false at the end. */
static bool next_reader(const struct model *m, uint32_t i, uint64_t *at)
{
    uint64_t present = m->snapshots[m->snapshot_count - 1];

    *at = i < m->snapshot_count ? m->snapshots[i] : present + (i - m->snapshot_count) + 1;
    return *at <= m->seq + 1 || i < m->snapshot_count;
}

/* The rules word by word, one version after the other, asking every reader. */
static void expect(struct model *m, bool is_bottom)
{
    m->want.count = 0;
    for (size_t i = 0; i < m->all.count; i++) {
        const struct version *v = &m->all.v[i];
        bool is_wanted = false, all_see = true;
        uint64_t at;
        char key[KEY_ROOM + 2];

        for (uint32_t k = 0; next_reader(m, k, &at); k++) {
            is_wanted |= find_at(&m->all, v->key, at) == i;
            all_see &= v->seq <= at;
        }
        (void)snprintf(key, sizeof key, "%s ", v->key);
        if (!is_wanted ||
            (v->kind == KIND_DELETE && all_see && (is_bottom || !strstr(m->below_keys, key))))
            continue;
        add_version(&m->want, v->key, v->seq, v->kind);
    }
    for (size_t i = 0; is_bottom && i < m->want.count; i++) {
        struct version *v = &m->want.v[i];
        bool is_only = (i == 0 || strcmp(v[-1].key, v->key) != 0) &&
                       (i + 1 == m->want.count || strcmp(v[1].key, v->key) != 0);

        if (is_only && v->kind == KIND_PUT && v->seq <= m->snapshots[0])
            v->seq = 0;
    }
}

/* The promise itself: no reader can tell the outputs from the inputs, given what lies below. */
static void check_readers(const struct model *m, const struct world *w)
{
    uint64_t at;

    for (uint32_t k = 0; next_reader(m, k, &at); k++)
        for (size_t i = 0; i < m->all.count; i++) {
            const char *key = m->all.v[i].key;
            size_t before = find_at(&m->all, key, at), after = find_at(&w->out, key, at);
            size_t below = find_at(&m->below, key, at);
            bool had = before != SIZE_MAX ? m->all.v[before].kind == KIND_PUT
                                          : below != SIZE_MAX && m->below.v[below].kind == KIND_PUT;
            bool has = after != SIZE_MAX ? w->out.v[after].kind == KIND_PUT
                                         : below != SIZE_MAX && m->below.v[below].kind == KIND_PUT;

            assert_int_equal(had, has);
            if (before != SIZE_MAX && had)
                assert_true(w->out.v[after].seq == m->all.v[before].seq ||
                            w->out.v[after].seq == 0);
        }
}

static void check_tables(const struct world *w, const struct compact_result *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        assert_true(w->ends[i] > (i ? w->ends[i - 1] : 0));
        if (i > 0) /* no user key in two tables */
            assert_true(strcmp(w->out.v[w->ends[i - 1] - 1].key, w->out.v[w->ends[i - 1]].key) < 0);
    }
}

static void random_merges_agree_with_the_rules_word_by_word(void **state)
{
    struct rnd r = rnd_start("test_compact");
    struct world *w = new_world();
    struct model m = {.seq = 0};
    struct compact_fence fences[8];
    char fence_keys[8][KEY_ROOM];

    (void)state;
    m.all.v = calloc(VERSIONS, sizeof(struct version));
    m.below.v = calloc(VERSIONS, sizeof(struct version));
    m.want.v = calloc(VERSIONS, sizeof(struct version));
    for (int round = 0; round < 400; round++) {
        uint32_t inputs = 1 + rnd_below(&r, INPUTS);
        struct compact_result result;

        random_versions(&m, w, &r, inputs);
        make_inputs(w, inputs, 1 + rnd_below(&r, 20), rnd_next(&r));
        w->below = m.below_keys;
        w->job.is_bottom = m.below.count == 0 && rnd_below(&r, 2);
        w->job.snapshots = m.snapshots;
        w->job.snapshot_count = m.snapshot_count;
        w->job.target_size = rnd_below(&r, 2) ? 1 + rnd_below(&r, 2000) : UINT64_MAX;
        w->job.skip = 2;
        w->job.cut_count = rnd_below(&r, 8);
        for (uint32_t i = 0; i < w->job.cut_count; i++)
            random_key(&r, 60, fence_keys[i]);
        qsort(fence_keys, w->job.cut_count, KEY_ROOM, (int (*)(const void *, const void *))strcmp);
        for (uint32_t i = 0; i < w->job.cut_count; i++)
            fences[i] = (struct compact_fence){odb_s(fence_keys[i]), 100};
        w->job.cuts = fences;
        w->job.max_overlap = rnd_below(&r, 3) * 100;
        run_and_read(w, &result);
        expect(&m, w->job.is_bottom);
        assert_int_equal(w->out.count, m.want.count);
        for (size_t i = 0; i < m.want.count; i++) {
            assert_string_equal(w->out.v[i].key, m.want.v[i].key);
            assert_int_equal(w->out.v[i].seq, m.want.v[i].seq);
            assert_int_equal(w->out.v[i].kind, m.want.v[i].kind);
        }
        check_tables(w, &result);
        check_readers(&m, w);
        remove_outputs(w, &result);
    }
    free(m.all.v);
    free(m.below.v);
    free(m.want.v);
    free_world(w);
}

/* ---- bounds and cuts ---- */

static const uint64_t at_99[] = {99};

/* Keys 00000 to count-1, numbered upward. */
static void make_ladder(struct world *w, uint32_t count, uint32_t inputs, uint32_t run_max)
{
    char key[KEY_ROOM];

    for (uint32_t i = 0; i < inputs; i++)
        w->in[i].count = 0;
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "%05u", i);
        add_version(&w->in[i * 7 / 3 % inputs], key, 1 + i % 90, KIND_PUT);
    }
    make_inputs(w, inputs, run_max, 1);
    w->job.snapshots = at_99;
    w->job.snapshot_count = 1;
}

static void split_merges_write_each_key_once(void **state)
{
    struct rnd r = rnd_start("test_compact");
    struct world *w = new_world();
    struct compact_result result;

    (void)state;
    for (int round = 0; round < 30; round++) {
        uint32_t count = 1 + rnd_below(&r, 400), parts = 1 + rnd_below(&r, 5), seen = 0;
        uint32_t at = 0;
        char begin[KEY_ROOM], end[KEY_ROOM];

        for (uint32_t p = 0; p < parts; p++) {
            uint32_t to = p + 1 == parts ? count + 10 : at + rnd_below(&r, count);

            make_ladder(w, count, 3, 1 + rnd_below(&r, 50));
            (void)snprintf(begin, sizeof begin, "%05u", at);
            (void)snprintf(end, sizeof end, "%05u", to);
            w->job.begin = p == 0 ? odb_bytes(NULL, 0) : odb_s(begin);
            w->job.end = p + 1 == parts ? odb_bytes(NULL, 0) : odb_s(end);
            run_and_read(w, &result);
            for (size_t i = 0; i < w->out.count; i++)
                assert_int_equal(strtoul(w->out.v[i].key, NULL, 10), seen++);
            remove_outputs(w, &result);
            at = to;
        }
        assert_int_equal(seen, count);
    }
    free_world(w);
}

static void outputs_end_near_the_target_size(void **state)
{
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    make_ladder(w, 10000, 2, 100);
    w->job.target_size = 20000;
    run_and_read(w, &r);
    assert_true(r.count > 3);
    check_tables(w, &r);
    for (uint32_t i = 0; i + 1 < r.count; i++)
        assert_in_range(r.tables[i].size, 15000, 30000);
    remove_outputs(w, &r);
    free_world(w);
}

static void a_tiny_target_gives_a_table_a_key(void **state)
{
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    make_ladder(w, 100, 2, 100);
    w->job.target_size = 1;
    run_and_read(w, &r);
    assert_int_equal(r.count, 100);
    remove_outputs(w, &r);
    free_world(w);
}

static void outputs_do_not_overlap_too_much_of_the_level_below(void **state)
{
    /* fences at 00999, 01999, ... of 100 bytes each; at most 300 */
    struct compact_fence fence[10];
    char key[10][KEY_ROOM];
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    for (uint32_t i = 0; i < 10; i++) {
        (void)snprintf(key[i], KEY_ROOM, "%05u", i * 1000 + 999);
        fence[i] = (struct compact_fence){odb_s(key[i]), 100};
    }
    make_ladder(w, 10000, 2, 100);
    w->job.cuts = fence;
    w->job.cut_count = 10;
    w->job.max_overlap = 300;
    run_and_read(w, &r);
    assert_int_equal(r.count, 3);
    assert_true(odb_slice_equal(buf_slice(&r.tables[0].largest), odb_s("03999")));
    assert_true(odb_slice_equal(buf_slice(&r.tables[1].largest), odb_s("07999")));
    remove_outputs(w, &r);
    free_world(w);
}

static void near_its_target_an_output_ends_with_a_table_below(void **state)
{
    struct compact_fence fence[100];
    char key[100][KEY_ROOM];
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        (void)snprintf(key[i], KEY_ROOM, "%05u", i * 100 + 99);
        fence[i] = (struct compact_fence){odb_s(key[i]), 100};
    }
    make_ladder(w, 10000, 2, 100);
    w->job.cuts = fence;
    w->job.cut_count = 100;
    w->job.target_size = 40000;
    run_and_read(w, &r);
    assert_true(r.count > 2);
    for (uint32_t i = 0; i + 1 < r.count; i++)
        assert_memory_equal(r.tables[i].largest.p + 3, "99", 2);
    remove_outputs(w, &r);
    free_world(w);
}

/* ---- failures ---- */

/* A job of several outputs that keeps, drops and asks. */
static void make_busy_job(struct world *w)
{
    char key[KEY_ROOM];

    for (uint32_t i = 0; i < 3; i++)
        w->in[i].count = 0;
    for (uint32_t i = 0; i < 900; i++) {
        (void)snprintf(key, sizeof key, "%05u", i / 2);
        add_version(&w->in[i % 3], key, 1 + (900 - i) % 90, i % 5 ? KIND_PUT : KIND_DELETE);
    }
    for (uint32_t i = 0; i < 3; i++)
        qsort(w->in[i].v, w->in[i].count, sizeof(struct version), by_key_then_newest);
    make_inputs(w, 3, 40, 1);
    w->job.snapshots = at_99;
    w->job.snapshot_count = 1;
    w->job.target_size = 3000;
}

static void check_failed(struct world *w, odb_status st, odb_status want,
                         const struct compact_result *r)
{
    assert_int_equal(st, want);
    assert_true(odb_error_text()[0] != '\0');
    assert_null(r->tables);
    assert_int_equal(r->count, 0);
    assert_int_equal(files_on_disk(w), 0);
}

static void inputs_out_of_order_stop_the_job(void **state)
{
    static const char *const lies[] = {
        "a+9 a+9",      /* the same version twice */
        "a+8 a+9",      /* older before newer */
        "b+9 a+8",      /* keys falling */
        "a+9 b+8 a+7",  /* a key that comes back */
        "b+9 b+8 a+20", /* behind a version that is dropped */
    };
    struct world *w = new_world();

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        for (uint32_t run_max = 1; run_max < 9; run_max *= 2) {
            struct compact_result r;

            parse(&w->in[0], lies[i]);
            make_inputs(w, 1, run_max, 1);
            w->job.snapshots = at_99;
            w->job.snapshot_count = 1;
            check_failed(w, compact_run(&w->job, &r), ODB_CORRUPT, &r);
        }
    free_world(w);
}

static void an_input_that_fails_stops_the_job_and_no_table_stays(void **state)
{
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    for (uint32_t s = 0; s < 3; s++)
        for (long n = 0;; n++) {
            odb_status st;

            make_busy_job(w);
            w->cursor[s].fail_after = n;
            w->cursor[s].fail_with = ODB_CORRUPT;
            st = compact_run(&w->job, &r);
            if (st == ODB_OK) {
                assert_true(n > 3);
                assert_true(r.count > 2);
                remove_outputs(w, &r);
                break;
            }
            check_failed(w, st, ODB_CORRUPT, &r);
            assert_string_equal(odb_error_text(), "made to fail");
        }
    free_world(w);
}

struct fault {
    uint64_t at;
    odb_status status;
};

static odb_status fail_once(void *arg, enum sim_op op, const char *name, uint64_t op_no)
{
    const struct fault *f = arg;

    (void)op;
    (void)name;
    return op_no == f->at ? f->status : ODB_OK;
}

static void any_failing_disk_call_fails_the_job_and_no_table_stays(void **state)
{
    static const odb_status ways[] = {ODB_IO, ODB_NOSPACE};
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    for (uint64_t n = 1;; n++) {
        struct fault f = {0, ways[n % 2]};
        odb_status st;

        make_busy_job(w);
        f.at = sim_op_count(w->os) + n;
        sim_set_fault(w->os, fail_once, &f);
        st = compact_run(&w->job, &r);
        sim_set_fault(w->os, NULL, NULL);
        if (st == ODB_OK) {
            assert_true(n > 6);
            remove_outputs(w, &r);
            break;
        }
        check_failed(w, st, f.status, &r);
    }
    free_world(w);
}

static void want_of_memory_fails_the_job_and_no_table_stays(void **state)
{
    (void)state;
    for (int sticky = 0; sticky < 2; sticky++) {
        struct world *w = new_world();
        struct compact_result r;

        for (long n = 0;; n++) {
            long before, failed;
            odb_status st;

            make_busy_job(w);
            before = test_alloc_alive();
            test_alloc_fail(n, sticky);
            st = compact_run(&w->job, &r);
            failed = test_alloc_failed();
            test_alloc_fail(-1, 0);
            if (!failed) {
                assert_int_equal(st, ODB_OK);
                assert_true(n > 10);
                remove_outputs(w, &r);
                break;
            }
            check_failed(w, st, ODB_NOMEM, &r);
            assert_int_equal(test_alloc_alive(), before);
        }
        free_world(w);
    }
}

static void a_cancelled_job_leaves_nothing(void **state)
{
    struct world *w = new_world();
    struct compact_result r;

    (void)state;
    w->job.target_size = 10000;
    make_ladder(w, 20000, 2, 100);
    run_and_read(w, &r);
    assert_in_range(w->polls, 4, 5); /* about every 4096 entries */
    remove_outputs(w, &r);
    for (w->cancel_at = 1; w->cancel_at < 5; w->cancel_at++) {
        make_ladder(w, 20000, 2, 100);
        check_failed(w, compact_run(&w->job, &r), ODB_CANCELLED, &r);
        assert_int_equal(w->polls, w->cancel_at);
    }
    free_world(w);
}

/* What a manifest may name after compact_run must be on the disk: without the tables' own syncs a
 * power cut would leave names without bytes. */
static void outputs_survive_a_power_cut_once_the_directory_is_synced(void **state)
{
    struct world *w = new_world();
    struct compact_result r;
    struct os *after;
    struct os_dir *dir;

    (void)state;
    make_busy_job(w);
    assert_int_equal(compact_run(&w->job, &r), ODB_OK);
    assert_int_equal(os_dir_sync(w->dir), ODB_OK);
    after = sim_image(w->os, SIM_M0, 1);
    assert_int_equal(os_dir_open(after, "db", 0, &dir), ODB_OK);
    for (uint32_t i = 0; i < r.count; i++) {
        char name[SST_NAME_MAX];
        struct os_file *f;
        uint64_t size;

        sst_file_name(r.tables[i].file_no, name);
        assert_int_equal(os_open(dir, name, 0, &f), ODB_OK);
        assert_int_equal(os_size(f, &size), ODB_OK);
        assert_int_equal(size, r.tables[i].size);
        os_close(f);
    }
    os_dir_close(dir);
    sim_free(after);
    open_store(w);
    for (uint32_t i = 0; i < r.count; i++)
        assert_int_equal(sst_verify(w->store, &r.tables[i]), ODB_OK);
    remove_outputs(w, &r);
    free_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_kept_as_drawn),
        cmocka_unit_test(without_older_below_every_tombstone_stays),
        cmocka_unit_test(no_reader_at_all_is_refused),
        cmocka_unit_test(random_merges_agree_with_the_rules_word_by_word),
        cmocka_unit_test(split_merges_write_each_key_once),
        cmocka_unit_test(outputs_end_near_the_target_size),
        cmocka_unit_test(a_tiny_target_gives_a_table_a_key),
        cmocka_unit_test(outputs_do_not_overlap_too_much_of_the_level_below),
        cmocka_unit_test(near_its_target_an_output_ends_with_a_table_below),
        cmocka_unit_test(inputs_out_of_order_stop_the_job),
        cmocka_unit_test(an_input_that_fails_stops_the_job_and_no_table_stays),
        cmocka_unit_test(any_failing_disk_call_fails_the_job_and_no_table_stays),
        cmocka_unit_test(want_of_memory_fails_the_job_and_no_table_stays),
        cmocka_unit_test(a_cancelled_job_leaves_nothing),
        cmocka_unit_test(outputs_survive_a_power_cut_once_the_directory_is_synced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
