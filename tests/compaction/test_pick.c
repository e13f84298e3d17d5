/* tests/compaction/test_pick.c -- shapes and picks as tables, then a tree that is written to, picked
 * from and merged at random until nothing is left to do. */
#include "compaction/pick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/coding.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

/* ---- shapes ---- */

static void targets_follow_from_the_deepest_level_upward(void **state)
{
    /* base_bytes 100, multiplier 10; bytes of levels 0 to 6, then what must come out */
    static const struct {
        uint64_t bytes[PICK_LEVELS];
        uint32_t base;
        uint64_t target[PICK_LEVELS];
    } rows[] = {
        /* nothing yet: level 0 goes straight to the bottom */
        {{0}, 6, {100, 0, 0, 0, 0, 0, 100}},
        {{400, 0, 0, 0, 0, 0, 0}, 6, {100, 0, 0, 0, 0, 0, 100}},
        /* not worth a level more until base would hold half of base_bytes */
        {{0, 0, 0, 0, 0, 0, 509}, 6, {100, 0, 0, 0, 0, 0, 509}},
        {{0, 0, 0, 0, 0, 0, 510}, 5, {100, 0, 0, 0, 0, 51, 510}},
        {{0, 0, 0, 0, 0, 40, 5000}, 5, {100, 0, 0, 0, 0, 500, 5000}},
        {{0, 0, 0, 0, 0, 40, 6000}, 4, {100, 0, 0, 0, 60, 600, 6000}},
        /* all seven in use, and no eighth */
        {{0, 0, 0, 0, 0, 0, 90000000}, 1, {100, 900, 9000, 90000, 900000, 9000000, 90000000}},
        /* the largest level counts, wherever it is */
        {{0, 0, 0, 0, 0, 7000, 10}, 4, {100, 0, 0, 0, 70, 700, 7000}},
        /* the data shrank: level 4 should not be there, but nothing may jump over it */
        {{0, 0, 0, 0, 20, 30, 600}, 4, {100, 0, 0, 0, 0, 60, 600}},
        {{0, 0, 5, 0, 0, 0, 100}, 2, {100, 0, 0, 0, 0, 0, 100}},
    };
    const struct pick_options opt = {.l0_trigger = 4, .base_bytes = 100, .multiplier = 10};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pick_file file[PICK_LEVELS] = {{0}};
        struct pick_view v = {.l0_trigger = 4, .file_target = 10};

        for (uint32_t n = 0; n < PICK_LEVELS; n++) {
            file[n].size = rows[i].bytes[n];
            v.level[n].files = &file[n];
            v.level[n].count = rows[i].bytes[n] > 0;
        }
        pick_shape(&v, &opt);
        assert_int_equal(v.base, rows[i].base);
        for (uint32_t n = 0; n < PICK_LEVELS; n++)
            assert_int_equal(v.level[n].target, rows[i].target[n]);
    }
}

/* ---- picks, drawn ----
 *
 * A level is a line of tables: "ac10 fk20*" is a table from a to c of 10 bytes and a busy one from f
 * to k of 20. After the size may stand * busy, ! marked, d full of deletes, D the same but too new
 * for the oldest reader. Level 0 is drawn newest first. */

enum { DRAWN_MAX = 16 };

struct drawn {
    struct pick_view v;
    struct pick_file file[PICK_LEVELS][DRAWN_MAX];
    char letters[256];
};

static void draw_level(struct drawn *d, uint32_t n, const char *p)
{
    while (p && *p) {
        uint32_t i = d->v.level[n].count++;
        struct pick_file *f = &d->file[n][i];
        char *end;

        f->smallest = odb_bytes(&d->letters[(uint8_t)p[0]], 1);
        f->largest = odb_bytes(&d->letters[(uint8_t)p[1]], 1);
        f->size = strtoull(p + 2, &end, 10);
        f->entries = f->size;
        for (p = end; *p && *p != ' '; p++) {
            f->is_busy |= *p == '*';
            f->is_marked |= *p == '!';
            if (*p == 'd' || *p == 'D') {
                f->deletes = f->entries;
                f->max_seq = *p == 'd' ? 50 : 51;
            }
        }
        while (*p == ' ')
            p++;
    }
    d->v.level[n].files = d->file[n];
}

static void draw(struct drawn *d, const char *const level[PICK_LEVELS])
{
    const struct pick_options opt = {.l0_trigger = 4, .base_bytes = 100, .multiplier = 10};

    memset(d, 0, sizeof *d);
    for (int i = 0; i < 256; i++)
        d->letters[i] = (char)i;
    d->v.l0_trigger = 4;
    d->v.file_target = 10;
    d->v.oldest_seq = 50;
    for (uint32_t n = 0; n < PICK_LEVELS; n++)
        draw_level(d, n, level[n]);
    pick_shape(&d->v, &opt);
}

/* "size 5>6: 0 1 + 2 3", with " move" behind it when trivial. */
static void describe(const struct pick *p, char *out, size_t cap)
{
    static const char *const reason[] = {"none", "l0", "size", "deletes", "marked", "manual"};
    size_t n;

    if (p->reason == PICK_NONE) {
        (void)snprintf(out, cap, "none");
        return;
    }
    n = (size_t)snprintf(out, cap, "%s %u>%u:", reason[p->reason], p->from, p->to);
    for (uint32_t i = 0; i < p->upper_count; i++)
        n += (size_t)snprintf(out + n, cap - n, " %u", p->upper[i]);
    if (p->lower_count)
        n += (size_t)snprintf(out + n, cap - n, " +");
    for (uint32_t i = 0; i < p->lower_count; i++)
        n += (size_t)snprintf(out + n, cap - n, " %u", p->lower[i]);
    if (p->is_trivial)
        (void)snprintf(out + n, cap - n, " move");
}

static void each_drawn_tree_gives_the_expected_pick(void **state)
{
    static const struct {
        const char *why;
        const char *level[PICK_LEVELS];
        const char *want;
    } rows[] = {
        {"an empty tree wants nothing", {NULL}, "none"},
        {"three of four files in level 0", {"az10 az10 az10"}, "none"},
        {"four, all overlapping, nothing below", {"az10 az10 az10 az10"}, "l0 0>6: 0 1 2 3"},
        {"few files but more bytes than base_bytes", {"az70 az70"}, "l0 0>6: 0 1"},
        {"with the tables of the base that they overlap",
         {"gm10 gm10 gm10 gm10", 0, 0, 0, 0, 0, "ac10 fh10 ik10 mn10 oz10"},
         "l0 0>6: 0 1 2 3 + 1 2 3"},
        {"the oldest and whatever hangs together with it; another cluster waits",
         {"ac10 qs10 bd10 rt10"},
         "l0 0>6: 1 3"},
        {"by way of others: d and k do not overlap, ej joins them",
         {"km10 ej10 jk10 de10"},
         "l0 0>6: 0 1 2 3"},
        {"a lone oldest file moves", {"gi10 gh10 eg10 ac10"}, "l0 0>6: 3 move"},
        {"but not into tables of the base",
         {"gi10 gh10 eg10 ac10", 0, 0, 0, 0, 0, "cd10"},
         "l0 0>6: 3 + 0"},
        {"nor where it would lie over too much (more than 10 file_targets)",
         {"gi10 gh10 eg10 ac10", 0, 0, 0, 0, "yz1", "aa60 bb60 dz390"},
         "l0 0>5: 3"},
        {"a merge of level 0 is running", {"az10 az10 az10 az10 az10*"}, "none"},
        {"a table of the base is busy: level 0 waits",
         {"az10 az10 az10 az10", 0, 0, 0, 0, 0, "gh10*"},
         "none"},
        {"and the base starts nothing new meanwhile",
         {"ac10 ac10 ac10 ac10 ac10 ac10 ac10 ac10", 0, 0, 0, 0, "ab90* cd90", "ab510"},
         "none"},
        {"unless level 0 waits for its own merge only",
         {"ac10 ac10 ac10 ac10 ac10*", 0, 0, 0, 0, "dd90", "ab510"},
         "size 5>6: 0 move"},
        {"a level over its target: the table with least overlap for its bytes",
         {NULL, 0, 0, 0, 0, "ac20 de20 fz20", "aa170 bd170 ee20 fz200"},
         "size 5>6: 1 + 1 2"},
        {"nothing below: a move",
         {NULL, 0, 0, 0, 0, "ac20 dd20 fz20", "ac170 ee170 fz170"},
         "size 5>6: 1 move"},
        {"a busy table below: another one",
         {NULL, 0, 0, 0, 0, "ac20 de20 fz20", "aa170 bd170* ee20 fz200"},
         "size 5>6: 2 + 3"},
        {"busy bytes do not count: they are leaving",
         {NULL, 0, 0, 0, 0, "ac20* de20* fz20", "aa170 bd170 ee20 fz200"},
         "none"},
        {"neighbours over the same tables go along for free",
         {NULL, 0, 0, 0, 0, "aa20 bb20 cc20 dg20", "ac300 ef210"},
         "size 5>6: 3 + 1"},
        {"here: three over one table",
         {NULL, 0, 0, 0, 0, "aa20 bb30 cc20 dg20", "ac210 ef500"},
         "size 5>6: 0 1 2 + 0"},
        {"but not busy ones",
         {NULL, 0, 0, 0, 0, "aa20* bb60 cc20* dg20", "ac210 ef500"},
         "size 5>6: 1 + 0"},
        {"tombstones make a table cheaper: they remove what they hide",
         {NULL, 0, 0, 0, 0, "aa30 bb30d", "aa250 bb260"},
         "size 5>6: 1 + 1"},
        {"the level furthest over its target first",
         {NULL, 0, 0, 0, "aa300", "bz900", "bz6000"},
         "size 4>5: 0 move"},
        {"a level that should not be there drains",
         {NULL, 0, 0, 0, 0, "bc10", "az100"},
         "size 5>6: 0 + 0"},
        {"full of deletes: down, although nothing is too large",
         {NULL, 0, 0, 0, 0, "aa20 bb20d", "aa300 bb300"},
         "deletes 5>6: 1 + 1"},
        {"at the bottom: rewritten in place",
         {NULL, 0, 0, 0, 0, 0, "aa20 bb20d"},
         "deletes 6>6: 1"},
        {"also further up when nothing lies below",
         {NULL, 0, 0, 0, 0, "bb20d", "aa600"},
         "deletes 5>5: 0"},
        {"but not while a reader needs them", {NULL, 0, 0, 0, 0, 0, "aa20 bb20D"}, "none"},
        {"nor while busy", {NULL, 0, 0, 0, 0, 0, "aa20 bb20d*"}, "none"},
        {"marked: down", {NULL, 0, 0, 0, 0, "aa20! bb20", "aa300 bb300"}, "marked 5>6: 0 + 0"},
        {"marked at the bottom: in place", {NULL, 0, 0, 0, 0, 0, "aa20 bb20!"}, "marked 6>6: 1"},
        {"marked in level 0: the oldest first", {"ac10! xz10"}, "marked 0>6: 1 move"},
        {"marks before deletes", {NULL, 0, 0, 0, 0, 0, "aa20d bb20!"}, "marked 6>6: 1"},
        {"size before marks", {NULL, 0, 0, 0, 0, "ab90!", "aa600"}, "size 5>6: 0 + 0"},
    };
    struct drawn d;
    struct pick p;
    char got[200];
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        draw(&d, rows[i].level);
        assert_int_equal(pick_next(&d.v, &p), ODB_OK);
        describe(&p, got, sizeof got);
        pick_release(&p);
        if (strcmp(got, rows[i].want) == 0)
            continue;
        print_error("%s: got \"%s\", want \"%s\"\n", rows[i].why, got, rows[i].want);
        wrong++;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(test_alloc_alive(), 0);
}

static void a_range_is_picked_in_steps_or_blocked(void **state)
{
    static const struct {
        const char *level[PICK_LEVELS];
        uint32_t from;
        const char *begin, *end;
        bool is_blocked;
        const char *want;
    } rows[] = {
        {{NULL}, 0, NULL, NULL, false, "none"},
        {{"ac10 xz10 bd10"}, 0, NULL, NULL, false, "manual 0>6: 0 2"}, /* then the other cluster */
        {{"ac10 xz10 bd10"}, 0, "x", "y", false, "manual 0>6: 1 move"},
        {{"ac10 xz10 bd10*"}, 0, "x", "y", true, "none"},
        {{"ac10 xz10 bd10*"}, 0, "m", "n", false, "none"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "bc10 de10"},
         5,
         "c",
         "d",
         false,
         "manual 5>6: 1 + 0 1"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "bc10 de10"},
         5,
         NULL,
         NULL,
         false,
         "manual 5>6: 0 1 2 + 0 1"},
        /* nothing bridges d and e: a step for each side */
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "bc10 ff10"},
         5,
         NULL,
         NULL,
         false,
         "manual 5>6: 0 1 + 0"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "bc10* ff10"},
         5,
         NULL,
         NULL,
         false,
         "manual 5>6: 2 + 1"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "bc10 de10*"},
         5,
         NULL,
         "b",
         false,
         "manual 5>6: 0 + 0"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "bc10 de10*"}, 5, "c", NULL, true, "none"},
        {{NULL, 0, 0, 0, 0, "ab10* cd10", "xx10"}, 5, "c", NULL, false, "manual 5>6: 1 move"},
        {{NULL, 0, 0, 0, 0, "ab10* cd10", "xx10"}, 5, NULL, "b", true, "none"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10*", "xx10"},
         5,
         NULL,
         NULL,
         false,
         "manual 5>6: 0 1 move"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10", "cc10"}, 5, NULL, NULL, false, "manual 5>6: 0 move"},
        {{NULL, 0, 0, 0, 0, "ab10 cd10 ef10", "xx10"}, 5, "x", "z", false, "none"},
        {{NULL, 0, 0, 0, 0, 0, "ab10 cd10 ef10"}, 6, "b", "c", false, "none"},
    };
    struct drawn d;
    struct pick p;
    char got[200];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        odb_slice begin = {rows[i].begin, rows[i].begin ? 1 : 0};
        odb_slice end = {rows[i].end, rows[i].end ? 1 : 0};
        bool is_blocked = !rows[i].is_blocked;

        draw(&d, rows[i].level);
        assert_int_equal(pick_range(&d.v, rows[i].from, begin, end, &is_blocked, &p), ODB_OK);
        describe(&p, got, sizeof got);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: got \"%s\", want \"%s\"", i, got, rows[i].want);
        assert_int_equal(is_blocked, rows[i].is_blocked);
        pick_release(&p);
    }
}

static void debt_is_nothing_at_the_target_and_grows_with_excess(void **state)
{
    static const char *const calm[PICK_LEVELS] = {"az10 az10 az10", 0, 0, 0, 0, "ab60", "az600"};
    static const char *const l0[PICK_LEVELS] = {"az10 az10 az10 az10", 0, 0, 0, 0, 0, "az100"};
    static const char *const over[PICK_LEVELS] = {NULL, 0, 0, 0, 0, "ab100", "az600"};
    static const char *const more[PICK_LEVELS] = {NULL, 0, 0, 0, 0, "ab200", "az600"};
    struct drawn d;
    uint64_t debt;

    (void)state;
    draw(&d, calm);
    assert_int_equal(pick_debt(&d.v), 0);
    draw(&d, l0);
    assert_int_equal(pick_debt(&d.v), 140); /* all of level 0 and of the base */
    draw(&d, over);
    debt = pick_debt(&d.v);
    assert_int_equal(debt, 40 + 40 * 6);
    draw(&d, more);
    assert_true(pick_debt(&d.v) > debt);
}

static void want_of_memory_is_told_and_leaks_nothing(void **state)
{
    static const char *const trees[][PICK_LEVELS] = {
        {"gm10 gm10 gm10 gm10", 0, 0, 0, 0, 0, "ac10 fh10 ik10 mn10 oz10"},
        {NULL, 0, 0, 0, 0, "ac20 de20 fz20", "aa170 bd170 ee20 fz200"},
    };
    struct drawn d;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        draw(&d, trees[i]);
        for (long n = 0;; n++) {
            struct pick p = {0};
            odb_status st;
            long failed;

            test_alloc_fail(n, 0);
            st = pick_next(&d.v, &p);
            failed = test_alloc_failed();
            test_alloc_fail(-1, 0);
            if (!failed) {
                assert_int_equal(st, ODB_OK);
                assert_true(n > 1);
                pick_release(&p);
                break;
            }
            assert_int_equal(st, ODB_NOMEM);
            assert_int_equal(test_alloc_alive(), 0);
        }
    }
    assert_int_equal(test_alloc_alive(), 0);
}

/* ---- the tree that lives ----
 *
 * Keys are numbers, a version is the number of the write that made it. Jobs run side by side: picked,
 * their inputs marked busy, finished in any order. After each step no newer version may lie below
 * an older one, and the newest version of each key must be the one that was written last. */

enum { KEYS = 700, FILES_MAX = 4000, FILE_TARGET = 400, ENTRY_SIZE = 10, JOBS = 3 };

struct item {
    uint32_t key;
    uint32_t version;
    bool is_delete;
};

struct sim_file {
    struct item *items;
    uint32_t count;
    uint64_t no;
    bool is_busy, is_marked;
    uint8_t smallest[8], largest[8];
};

struct sim_job {
    bool is_running;
    struct pick p;
    uint64_t upper_no[FILES_MAX], lower_no[FILES_MAX];
};

struct sim_tree {
    struct rnd r;
    struct sim_file *level[PICK_LEVELS][FILES_MAX];
    uint32_t count[PICK_LEVELS];
    struct pick_file pf[PICK_LEVELS][FILES_MAX];
    struct pick_view v;
    struct pick_options opt;
    struct item truth[KEYS];
    uint32_t version;
    uint64_t next_no;
    struct sim_job job[JOBS];
    uint64_t written, rewritten;
};

static int by_key_newest_first(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->version < y->version) - (x->version > y->version);
}

static struct sim_file *sim_new_file(struct sim_tree *t, const struct item *items, uint32_t count)
{
    struct sim_file *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->items = calloc(count, sizeof *items);
    assert_non_null(f->items);
    memcpy(f->items, items, count * sizeof *items);
    f->count = count;
    f->no = ++t->next_no;
    enc_u64_be(f->smallest, items[0].key);
    enc_u64_be(f->largest, items[count - 1].key);
    return f;
}

static void sim_describe(struct sim_tree *t)
{
    for (uint32_t n = 0; n < PICK_LEVELS; n++) {
        for (uint32_t i = 0; i < t->count[n]; i++) {
            const struct sim_file *f = t->level[n][i];
            struct pick_file *p = &t->pf[n][i];

            *p = (struct pick_file){.file_no = f->no,
                                    .size = (uint64_t)f->count * ENTRY_SIZE,
                                    .entries = f->count,
                                    .smallest = odb_bytes(f->smallest, 8),
                                    .largest = odb_bytes(f->largest, 8),
                                    .is_busy = f->is_busy,
                                    .is_marked = f->is_marked};
            for (uint32_t k = 0; k < f->count; k++) {
                p->deletes += f->items[k].is_delete;
                if (f->items[k].version > p->max_seq)
                    p->max_seq = f->items[k].version;
            }
        }
        t->v.level[n] = (struct pick_level){.files = t->pf[n], .count = t->count[n]};
    }
    t->v.l0_trigger = t->opt.l0_trigger;
    t->v.file_target = t->opt.file_target;
    t->v.oldest_seq = t->version;
    pick_shape(&t->v, &t->opt);
}

static void sim_check(struct sim_tree *t)
{
    static uint32_t lowest[KEYS]; /* of the versions seen so far, walking down */
    static bool is_found[KEYS];

    memset(is_found, 0, sizeof is_found);
    for (uint32_t n = 0; n < PICK_LEVELS; n++) {
        for (uint32_t i = 0; i < t->count[n]; i++) {
            const struct sim_file *f = t->level[n][i];

            if (n > 0 && i > 0)
                assert_true(memcmp(t->level[n][i - 1]->largest, f->smallest, 8) < 0);
            for (uint32_t k = 0; k < f->count; k++) {
                const struct item *it = &f->items[k];

                if (is_found[it->key]) {
                    assert_true(it->version < lowest[it->key]);
                } else if (it->version != t->truth[it->key].version) {
                    assert_true(t->truth[it->key].is_delete); /* a shed tombstone hid this ... */
                    fail_msg("key %u came back", it->key);    /* ... and should not have gone */
                }
                is_found[it->key] = true;
                lowest[it->key] = it->version;
            }
        }
    }
    for (uint32_t k = 0; k < KEYS; k++)
        if (!is_found[k])
            assert_true(t->truth[k].version == 0 || t->truth[k].is_delete);
}

static void sim_flush(struct sim_tree *t, bool is_sequential, uint32_t deletes_percent)
{
    static struct item items[KEYS];
    uint32_t count = 20 + rnd_below(&t->r, 60), n = 0, at = rnd_below(&t->r, KEYS);

    if (t->count[0] >= 60)
        return; /* writes are held back */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = is_sequential ? (at + i) % KEYS : rnd_below(&t->r, KEYS);
        struct item it = {key, ++t->version, rnd_below(&t->r, 100) < deletes_percent};

        t->truth[key] = it;
        items[n++] = it;
    }
    qsort(items, n, sizeof *items, by_key_newest_first);
    count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || items[i].key != items[i - 1].key)
            items[count++] = items[i];
    memmove(&t->level[0][1], &t->level[0][0], t->count[0] * sizeof t->level[0][0]);
    t->level[0][0] = sim_new_file(t, items, count);
    t->count[0]++;
    t->written += count;
}

static uint32_t sim_find(const struct sim_tree *t, uint32_t n, uint64_t no)
{
    for (uint32_t i = 0; i < t->count[n]; i++)
        if (t->level[n][i]->no == no)
            return i;
    fail_msg("an input of a job has gone");
    return 0;
}

/* What pick.c promises of every pick. */
static void sim_check_pick(struct sim_tree *t, const struct pick *p)
{
    uint8_t smallest[8], largest[8];
    uint32_t next = 0;

    assert_true(p->upper_count > 0);
    assert_true(p->to == (p->from ? p->from + 1 : t->v.base) ||
                (p->to == p->from && p->lower_count == 0));
    memset(smallest, 0xff, 8);
    memset(largest, 0, 8);
    for (uint32_t i = 0; i < p->upper_count; i++) {
        const struct sim_file *f = t->level[p->from][p->upper[i]];

        assert_true(i == 0 || p->upper[i] > p->upper[i - 1]);
        assert_false(f->is_busy);
        if (memcmp(f->smallest, smallest, 8) < 0)
            memcpy(smallest, f->smallest, 8);
        if (memcmp(f->largest, largest, 8) > 0)
            memcpy(largest, f->largest, 8);
    }
    for (uint32_t i = 0; p->from != p->to && i < t->count[p->to]; i++) {
        const struct sim_file *f = t->level[p->to][i];

        if (p->is_trivial) { /* each moves for itself: gaps between them are fine */
            for (uint32_t k = 0; k < p->upper_count; k++)
                assert_true(memcmp(f->largest, t->level[p->from][p->upper[k]]->smallest, 8) < 0 ||
                            memcmp(f->smallest, t->level[p->from][p->upper[k]]->largest, 8) > 0);
            continue;
        }
        if (memcmp(f->largest, smallest, 8) < 0 || memcmp(f->smallest, largest, 8) > 0)
            continue;
        assert_true(next < p->lower_count && p->lower[next] == i); /* all that overlap, no other */
        assert_false(f->is_busy);
        next++;
    }
    assert_int_equal(next, p->lower_count);
}

static void sim_start(struct sim_tree *t, const struct pick *p)
{
    struct sim_job *j = t->job;

    while (j->is_running)
        j++;
    sim_check_pick(t, p);
    j->is_running = true;
    j->p = *p;
    for (uint32_t i = 0; i < p->upper_count; i++) {
        j->upper_no[i] = t->level[p->from][p->upper[i]]->no;
        t->level[p->from][p->upper[i]]->is_busy = true;
    }
    for (uint32_t i = 0; i < p->lower_count; i++) {
        j->lower_no[i] = t->level[p->to][p->lower[i]]->no;
        t->level[p->to][p->lower[i]]->is_busy = true;
    }
}

static struct sim_file *sim_remove(struct sim_tree *t, uint32_t n, uint64_t no)
{
    uint32_t i = sim_find(t, n, no);
    struct sim_file *f = t->level[n][i];

    memmove(&t->level[n][i], &t->level[n][i + 1], (t->count[n] - i - 1) * sizeof t->level[n][0]);
    t->count[n]--;
    return f;
}

static void sim_insert(struct sim_tree *t, uint32_t n, struct sim_file *f)
{
    uint32_t i = 0;

    assert_true(t->count[n] < FILES_MAX);
    while (i < t->count[n] && memcmp(t->level[n][i]->largest, f->smallest, 8) < 0)
        i++;
    memmove(&t->level[n][i + 1], &t->level[n][i], (t->count[n] - i) * sizeof t->level[n][0]);
    t->level[n][i] = f;
    t->count[n]++;
}

/* As lsm/ answers compact_job.older_below: by ranges, not by looking inside. */
static bool sim_older_below(const struct sim_tree *t, uint32_t level, uint32_t key)
{
    uint8_t k[8];

    enc_u64_be(k, key);
    for (uint32_t n = level + 1; n < PICK_LEVELS; n++)
        for (uint32_t i = 0; i < t->count[n]; i++)
            if (memcmp(t->level[n][i]->smallest, k, 8) <= 0 &&
                memcmp(t->level[n][i]->largest, k, 8) >= 0)
                return true;
    return false;
}

static void sim_finish(struct sim_tree *t, struct sim_job *j)
{
    static struct item items[FILES_MAX * 100];
    uint32_t n = 0, kept = 0, from, last_key = 0;

    j->is_running = false;
    if (j->p.is_trivial) {
        for (uint32_t i = 0; i < j->p.upper_count; i++) {
            struct sim_file *f = sim_remove(t, j->p.from, j->upper_no[i]);

            f->is_busy = f->is_marked = false;
            sim_insert(t, j->p.to, f);
        }
        pick_release(&j->p);
        return;
    }
    for (uint32_t i = 0; i < j->p.upper_count + j->p.lower_count; i++) {
        bool is_upper = i < j->p.upper_count;
        struct sim_file *f = is_upper ? sim_remove(t, j->p.from, j->upper_no[i])
                                      : sim_remove(t, j->p.to, j->lower_no[i - j->p.upper_count]);

        memcpy(items + n, f->items, f->count * sizeof *items);
        n += f->count;
        free(f->items);
        free(f);
    }
    t->rewritten += n;
    qsort(items, n, sizeof *items, by_key_newest_first);
    for (uint32_t i = 0; i < n; i++) {
        struct item it = items[i];
        bool is_older = i > 0 && it.key == last_key;

        last_key = it.key;
        if (!is_older && !(it.is_delete && !sim_older_below(t, j->p.to, it.key)))
            items[kept++] = it;
    }
    for (from = 0; from < kept; from += FILE_TARGET / ENTRY_SIZE) {
        uint32_t len =
            kept - from < FILE_TARGET / ENTRY_SIZE ? kept - from : FILE_TARGET / ENTRY_SIZE;
        sim_insert(t, j->p.to, sim_new_file(t, items + from, len));
    }
    pick_release(&j->p);
}

static bool sim_has_room(const struct sim_tree *t)
{
    for (int i = 0; i < JOBS; i++)
        if (!t->job[i].is_running)
            return true;
    return false;
}

static bool sim_finish_any(struct sim_tree *t)
{
    uint32_t first = rnd_below(&t->r, JOBS);

    for (uint32_t i = 0; i < JOBS; i++) {
        struct sim_job *j = &t->job[(first + i) % JOBS];

        if (j->is_running) {
            sim_finish(t, j);
            return true;
        }
    }
    return false;
}

/* Pick and start. Returns whether there was anything. */
static bool sim_pick(struct sim_tree *t, bool manual)
{
    struct pick p = {0};
    bool is_blocked;

    sim_describe(t);
    if (manual) {
        uint8_t begin[8], end[8];

        enc_u64_be(begin, rnd_below(&t->r, KEYS));
        enc_u64_be(end, get_u64_be(begin) + rnd_below(&t->r, KEYS));
        assert_int_equal(pick_range(&t->v, rnd_below(&t->r, PICK_LEVELS), odb_bytes(begin, 8),
                                    odb_bytes(end, 8), &is_blocked, &p),
                         ODB_OK);
    } else {
        assert_int_equal(pick_next(&t->v, &p), ODB_OK);
    }
    if (p.reason == PICK_NONE)
        return false;
    sim_start(t, &p);
    return true;
}

static void sim_settle(struct sim_tree *t)
{
    for (int i = 0;; i++) {
        assert_true(i < 20000); /* it comes to an end */
        if (sim_has_room(t) && sim_pick(t, false))
            continue;
        if (!sim_finish_any(t))
            break;
        sim_check(t);
    }
}

static void sim_check_settled(struct sim_tree *t)
{
    uint64_t above = 0;

    sim_describe(t);
    assert_true(t->count[0] < t->opt.l0_trigger);
    for (uint32_t n = 0; n < PICK_LEVELS; n++) {
        uint64_t bytes = 0, dead = 0;

        for (uint32_t i = 0; i < t->count[n]; i++) {
            bytes += t->pf[n][i].size;
            dead += n > 0 && t->pf[n][i].deletes > t->pf[n][i].entries / 2;
            assert_false(t->pf[n][i].is_marked);
        }
        assert_true(bytes <= t->v.level[n].target);
        assert_int_equal(dead, 0); /* tombstones were shed */
        if (n < PICK_LEVELS - 1)
            above += bytes;
        else if (bytes > 10 * t->opt.base_bytes)
            assert_true(above <= bytes * 6 / 10); /* most data lies deepest */
    }
    assert_int_equal(pick_debt(&t->v), 0);
}

static void a_tree_settles_and_no_newer_version_ever_lies_below(void **state)
{
    struct rnd r = rnd_start("test_pick");
    struct sim_tree *t = calloc(1, sizeof *t);

    (void)state;
    assert_non_null(t);
    for (int round = 0; round < 12; round++) {
        static const uint32_t deletes[3] = {0, 20, 90};
        bool is_sequential = round % 3 == 1;

        memset(t, 0, sizeof *t);
        t->r.state = rnd_next(&r);
        t->opt =
            (struct pick_options){4, 200u << rnd_below(&r, 3), 3 + rnd_below(&r, 5), FILE_TARGET};
        for (int step = 0; step < 600; step++) {
            switch (rnd_below(&t->r, 5)) {
            case 0:
            case 1: sim_flush(t, is_sequential, deletes[step / 200]); break;
            case 2: (void)sim_finish_any(t); break;
            case 3:
                if (sim_has_room(t))
                    (void)sim_pick(t, rnd_below(&t->r, 20) == 0);
                break;
            default: {
                uint32_t n = rnd_below(&t->r, PICK_LEVELS);

                if (t->count[n] && rnd_below(&t->r, 10) == 0)
                    t->level[n][rnd_below(&t->r, t->count[n])]->is_marked = true;
            }
            }
            sim_check(t);
        }
        sim_settle(t);
        sim_check_settled(t);
        for (uint32_t n = 0; n < PICK_LEVELS; n++)
            for (uint32_t i = 0; i < t->count[n]; i++) {
                free(t->level[n][i]->items);
                free(t->level[n][i]);
            }
    }
    free(t);
    assert_int_equal(test_alloc_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_follow_from_the_deepest_level_upward),
        cmocka_unit_test(each_drawn_tree_gives_the_expected_pick),
        cmocka_unit_test(a_range_is_picked_in_steps_or_blocked),
        cmocka_unit_test(debt_is_nothing_at_the_target_and_grows_with_excess),
        cmocka_unit_test(want_of_memory_is_told_and_leaks_nothing),
        cmocka_unit_test(a_tree_settles_and_no_newer_version_ever_lies_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
