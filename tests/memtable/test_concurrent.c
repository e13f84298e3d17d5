/* Writers and readers of a memtable at once. A writer says how far it has come after each entry; from
 * then on every reader must find that entry, whole and in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memtable/memtable_priv.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

#define WRITERS 3u
#define READERS 2u
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define RACE_IS_SLOW
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define RACE_IS_SLOW
#endif
#ifdef RACE_IS_SLOW
#define PER_WRITER 4000u
#else
#define PER_WRITER 20000u
#endif
#define RACE_KEY_MAX 64

enum race_kind {
    RACE_RANDOM,
    RACE_SEQUENCE, /* all writers append to one sequence */
    RACE_HOT,      /* eleven keys with very many versions */
    RACE_LONG,     /* forty bytes in common, zeros at the end */
    RACE_KINDS,
};

struct race {
    struct memtable *m;
    enum race_kind kind;
    uint64_t seed;
    uint32_t batch;  /* entries of one reservation */
    size_t pad;      /* bytes more than an entry needs: to come to large blocks sooner */
    bool is_helped;  /* somebody makes blocks of memory ahead of the writers */
    unsigned blocks; /* so many: the helper's */
    struct {
        atomic_uint done; /* entries 0..done-1 of this writer are in; release */
        char apart[60];
    } writer[WRITERS];
    atomic_uint writers_left;
    atomic_uint wrong;
};

struct race_thread {
    struct race *race;
    uint32_t no;
};

/* Entry i of writer w: its sequence number, its key, and a value that tells both. */
static uint64_t race_seq(uint32_t w, uint32_t i)
{
    return 1 + (uint64_t)i * WRITERS + w;
}

static odb_slice race_key(const struct race *t, uint64_t seq, uint8_t *key)
{
    struct rnd r = {t->seed + seq};
    char text[RACE_KEY_MAX];

    switch (t->kind) {
    case RACE_RANDOM: enc_u64(key, rnd_next(&r)); return odb_bytes(key, 8);
    case RACE_SEQUENCE: (void)snprintf(text, sizeof text, "user%012lu", (unsigned long)seq); break;
    case RACE_HOT:
        (void)snprintf(text, sizeof text, "hot key %u", (unsigned)(rnd_next(&r) % 11));
        break;
    case RACE_LONG:
    case RACE_KINDS:
        memset(key, 'l', 40);
        memset(key + 40, 0, 24);
        enc_u64_be(key + 40, rnd_next(&r) & UINT64_C(0xff0000ff00ff00ff));
        return odb_bytes(key, 40 + rnd_next(&r) % 24);
    }
    memcpy(key, text, strlen(text));
    return odb_bytes(key, strlen(text));
}

static void race_claim(struct race *t, bool holds)
{
    if (!holds)
        atomic_fetch_add(&t->wrong, 1);
}

static void run_writer(void *arg)
{
    struct race_thread *self = arg;
    struct race *t = self->race;
    uint8_t key[RACE_KEY_MAX], value[16];

    for (uint32_t i = 0; i < PER_WRITER;) {
        uint32_t end = i + t->batch < PER_WRITER ? i + t->batch : PER_WRITER;
        struct memtable_room room;
        size_t bytes = 0;

        for (uint32_t k = i; k < end; k++)
            bytes +=
                memtable_entry_bytes(race_key(t, race_seq(self->no, k), key).size, 16) + t->pad;
        if (memtable_reserve(t->m, bytes, end - i, &room) != ODB_OK) {
            race_claim(t, false);
            break;
        }
        for (; i < end; i++) {
            uint64_t seq = race_seq(self->no, i);

            enc_u64(value, seq);
            enc_u64(value + 8, ~seq);
            memtable_insert(t->m, &room,
                            memtable_prepare(&room, race_key(t, seq, key), odb_bytes(value, 16)),
                            trailer_make(seq, KIND_PUT));
            atomic_store_explicit(&t->writer[self->no].done, i + 1, memory_order_release);
        }
        memtable_return(t->m, &room);
    }
    atomic_fetch_sub(&t->writers_left, 1);
}

/* The entry is one that was put in, and nothing of it is torn. Returns its sequence number. */
static uint64_t whole_seq(struct race *t, const struct entry *e)
{
    uint8_t key[RACE_KEY_MAX];
    uint64_t seq = trailer_seq(e->trailer);

    race_claim(t, e->value_len == 16 && get_u64(e->value) == seq && get_u64(e->value + 8) == ~seq);
    race_claim(t, odb_slice_equal(odb_bytes(e->key, e->key_len), race_key(t, seq, key)));
    return seq;
}

static void read_one(struct race *t, struct rnd *r)
{
    uint32_t w = rnd_below(r, WRITERS);
    uint32_t done = atomic_load_explicit(&t->writer[w].done, memory_order_acquire);
    uint8_t key[RACE_KEY_MAX];
    odb_slice k;
    struct entry e;
    uint64_t seq;

    if (done == 0)
        return;
    seq = race_seq(w, rnd_below(r, 2) ? rnd_below(r, done) : done - 1);
    k = race_key(t, seq, key);
    race_claim(t, memtable_get(t->m, k, trailer_at(seq), &e) && whole_seq(t, &e) == seq);
    if (memtable_get(t->m, k, trailer_at(SEQ_MAX), &e)) /* the same or a newer one */
        race_claim(t, whole_seq(t, &e) >= seq);
    else
        race_claim(t, false);
    key[rnd_below(r, (uint32_t)k.size)] ^= 0x55; /* very likely nobody's */
    if (memtable_get(t->m, k, trailer_at(SEQ_MAX), &e))
        (void)whole_seq(t, &e);
}

/* Walk all, or from somewhere: in order, whole, and with every entry said to be in before. */
static void read_walk(struct race *t, struct cursor *c, bool is_backward)
{
    uint32_t done[WRITERS], found[WRITERS] = {0};
    struct entry last = {0};
    bool is_first = true;

    for (uint32_t w = 0; w < WRITERS; w++)
        done[w] = atomic_load_explicit(&t->writer[w].done, memory_order_acquire);
    for (bool ok = is_backward ? c->ops->last(c) : c->ops->first(c); ok;
         ok = is_backward ? cursor_prev(c) : cursor_next(c)) {
        struct entry e = *cursor_entry(c);
        uint64_t no = whole_seq(t, &e) - 1;

        if (!is_first) {
            int order =
                ikey_compare(last.key, last.key_len, last.trailer, e.key, e.key_len, e.trailer);

            race_claim(t, is_backward ? order > 0 : order < 0);
        }
        if (no / WRITERS < done[no % WRITERS])
            found[no % WRITERS]++;
        last = e; /* what it points to stays while the memtable does */
        is_first = false;
    }
    for (uint32_t w = 0; w < WRITERS; w++)
        race_claim(t, found[w] == done[w]);
}

/* Seek to an entry that is in, from either side, and look round. */
static void read_seek(struct race *t, struct cursor *c, struct rnd *r)
{
    uint32_t w = rnd_below(r, WRITERS);
    uint32_t done = atomic_load_explicit(&t->writer[w].done, memory_order_acquire);
    uint8_t key[RACE_KEY_MAX];
    uint64_t trailer;
    odb_slice k;

    if (done == 0)
        return;
    trailer = trailer_make(race_seq(w, rnd_below(r, done)), KIND_PUT);
    k = race_key(t, trailer_seq(trailer), key);
    race_claim(t, rnd_below(r, 2) ? c->ops->seek(c, k, trailer)
                                  : c->ops->seek_for_prev(c, k, trailer));
    race_claim(t, cursor_valid(c) && cursor_entry(c)->trailer == trailer);
    for (uint32_t i = 0; i < 20 && cursor_valid(c); i++) {
        struct entry e = *cursor_entry(c);
        bool is_back = rnd_below(r, 3) == 0;

        if (is_back ? cursor_prev(c) : cursor_next(c)) {
            const struct entry *f = cursor_entry(c);
            int order = ikey_compare(e.key, e.key_len, e.trailer, f->key, f->key_len, f->trailer);

            (void)whole_seq(t, f);
            race_claim(t, is_back ? order > 0 : order < 0);
        }
    }
}

static void run_reader(void *arg)
{
    struct race_thread *self = arg;
    struct race *t = self->race;
    struct rnd r = {t->seed ^ self->no};
    struct cursor *c = NULL;

    if (memtable_cursor_new(t->m, &c) != ODB_OK) {
        race_claim(t, false);
        return;
    }
    for (bool is_last = false; !is_last;) {
        is_last = atomic_load(&t->writers_left) == 0; /* once more when all is in */
        for (int i = 0; i < 400; i++)
            read_one(t, &r);
        for (int i = 0; i < 40; i++)
            read_seek(t, c, &r);
        read_walk(t, c, rnd_below(&r, 2));
    }
    cursor_free(c);
}

static void run_helper(void *arg)
{
    struct race *t = arg;

    while (atomic_load(&t->writers_left) > 0)
        if (memtable_block_due(t->m)) {
            memtable_make_block(t->m);
            t->blocks++;
        } else {
            os_thread_yield();
        }
}

static void run_race_of(struct race t)
{
    struct race_thread self[WRITERS + READERS];
    struct os_thread *thread[WRITERS + READERS] = {NULL}, *helper = NULL;

    assert_int_equal(memtable_new(&t.m), ODB_OK);
    atomic_store(&t.writers_left, WRITERS);
    for (uint32_t i = 0; i < WRITERS + READERS; i++) {
        self[i] = (struct race_thread){&t, i};
        assert_int_equal(
            os_thread_start("race", i < WRITERS ? run_writer : run_reader, &self[i], &thread[i]),
            ODB_OK);
    }
    if (t.is_helped)
        assert_int_equal(os_thread_start("help", run_helper, &t, &helper), ODB_OK);
    for (uint32_t i = 0; i < WRITERS + READERS; i++)
        os_thread_join(thread[i]);
    if (t.is_helped) {
        os_thread_join(helper);
        assert_true(t.blocks > 0);
    }
    assert_int_equal(atomic_load(&t.wrong), 0);
    assert_int_equal(memtable_count(t.m), WRITERS * PER_WRITER);
    assert_true(memtable_check(t.m));
    memtable_unref(t.m);
}

static void run_race(enum race_kind kind, uint32_t batch)
{
    run_race_of((struct race){.kind = kind, .seed = rnd_start("concurrent").state, .batch = batch});
}

static void random_keys(void **state)
{
    (void)state;
    run_race(RACE_RANDOM, 1);
}

static void one_sequence_of_all_writers(void **state)
{
    (void)state;
    run_race(RACE_SEQUENCE, 1);
}

static void versions_of_few_keys(void **state)
{
    (void)state;
    run_race(RACE_HOT, 1);
}

static void keys_that_differ_late(void **state)
{
    (void)state;
    run_race(RACE_LONG, 7);
}

static void large_batches_side_by_side(void **state)
{
    (void)state;
    run_race(RACE_RANDOM, 3000);
}

static void blocks_made_ahead(void **state)
{
    (void)state;
    run_race_of((struct race){.kind = RACE_SEQUENCE,
                              .seed = rnd_start("concurrent").state,
                              .batch = 500,
                              .pad = 250,
                              .is_helped = true});
}

/* One link, moved nearer and nearer while it is read: what a reader takes for common with its key
 * must belong to the node it got (node.c, run_link_after). Links are never moved back: between two
 * passes over the same nodes the writer waits until the reader has let go of them. */
#define LINK_ROUNDS 200u /* groups of nodes */
#define LINK_STEPS  5u   /* moves of one link */
#ifdef RACE_IS_SLOW
#define LINK_PASSES 20u
#else
#define LINK_PASSES 200u
#endif

struct link_race {
    uint8_t *memory; /* LINK_ROUNDS times a left node and LINK_STEPS nodes to link behind it */
    struct memtable_entry *low[LINK_STEPS];
    _Atomic(struct run_node *) current; /* NULL between passes */
    atomic_uint pass, let_go;
    unsigned wrong; /* the reader's */
};

static struct run_node *link_race_node(const struct link_race *t, uint32_t round, uint32_t no)
{
    return (struct run_node *)(void *)(t->memory +
                                       (round * (LINK_STEPS + 1) + no) * run_node_bytes(1));
}

static void run_link_writer(void *arg)
{
    struct link_race *t = arg;

    for (unsigned pass = 1; pass <= LINK_PASSES; pass++) {
        for (uint32_t i = 0; i < LINK_ROUNDS * (LINK_STEPS + 1); i++)
            run_link_init(&link_race_node(t, 0, i)->base);
        for (uint32_t round = 0; round < LINK_ROUNDS; round++) {
            struct run_node *left = link_race_node(t, round, 0);

            atomic_store(&t->current, left);
            for (uint32_t i = 0; i < LINK_STEPS; i++)
                run_link_after(left, 0, link_race_node(t, round, i + 1));
        }
        atomic_store(&t->current, NULL);
        atomic_store(&t->pass, pass);
        while (atomic_load(&t->let_go) != pass)
            os_thread_yield();
    }
}

static void read_moving_links(struct link_race *t, const struct memtable_probe *p)
{
    for (unsigned pass = 0; pass < LINK_PASSES;) {
        struct run_node *left = atomic_load(&t->current), *out = NULL;
        size_t common = 0;

        if (!left) {
            pass = atomic_load(&t->pass);
            atomic_store(&t->let_go, pass);
            os_thread_yield();
        } else if (run_passes(&left->base, p, &common, &out) && common != run_common(p, out->low)) {
            t->wrong++;
        }
    }
}

static void a_link_read_while_it_moves_belongs_to_one_node(void **state)
{
    struct memtable_probe p = {(const uint8_t *)"mmmmmmmm", 8, 0};
    size_t size = LINK_ROUNDS * (LINK_STEPS + 1) * run_node_bytes(1);
    struct link_race t = {.memory = aligned_alloc(RUN_LINE, size)};
    struct os_thread *writer = NULL;

    (void)state;
    assert_non_null(t.memory);
    memset(t.memory, 0, size);
    for (uint32_t i = 0; i < LINK_STEPS; i++) { /* mmmmm, mmmm, ..: ever less in common */
        struct memtable_room room = {.at = malloc(32), .left = 32, .nodes = 1};

        assert_non_null(room.at);
        t.low[i] = memtable_prepare(&room, odb_bytes(p.key, LINK_STEPS - i), odb_s(""));
        t.low[i]->trailer = 1;
        for (uint32_t round = 0; round < LINK_ROUNDS; round++)
            link_race_node(&t, round, i + 1)->low = t.low[i];
    }
    assert_int_equal(os_thread_start("link", run_link_writer, &t, &writer), ODB_OK);
    read_moving_links(&t, &p);
    os_thread_join(writer);
    assert_int_equal(t.wrong, 0);
    for (uint32_t i = 0; i < LINK_STEPS; i++)
        free(t.low[i]);
    free(t.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_keys),
        cmocka_unit_test(one_sequence_of_all_writers),
        cmocka_unit_test(versions_of_few_keys),
        cmocka_unit_test(keys_that_differ_late),
        cmocka_unit_test(large_batches_side_by_side),
        cmocka_unit_test(blocks_made_ahead),
        cmocka_unit_test(a_link_read_while_it_moves_belongs_to_one_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
