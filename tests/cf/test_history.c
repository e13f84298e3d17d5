/* The ring of recent commits and the claims it is asked for, against a list of everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cf/history.h"
#include "tests/lib/test_alloc.h"

static odb_slice key_of(unsigned n, char out[16])
{
    (void)snprintf(out, 16, "key%05u", n);
    return odb_s(out);
}

static void start(struct history *h, uint64_t next_seq)
{
    _Atomic uint64_t *spare = NULL;

    memset(h, 0, sizeof *h);
    assert_true(history_enter(h)); /* it was off */
    assert_int_equal(history_prepare(&spare), ODB_OK);
    history_start(h, next_seq, &spare);
    assert_null(spare);
    assert_false(history_enter(h));
    history_leave(h);
}

/* Record a commit that puts the keys [from, from + count). */
static void record(struct history *h, uint64_t first_seq, uint32_t family, unsigned from,
                   unsigned count)
{
    struct footprint f;
    struct batch b = {{NULL, 0, 0}, 0};
    char key[16];

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(batch_put(&b, family, key_of(from + i, key), odb_s("v")), ODB_OK);
    footprint_init(&f);
    assert_int_equal(footprint_make(&f, odb_bytes(b.ops.p, b.ops.len)), ODB_OK);
    history_record(h, first_seq, count, &f);
    footprint_release(&f);
    batch_release(&b);
}

static void a_footprint_without_memory_is_a_status(void **state)
{
    struct batch b = {{NULL, 0, 0}, 0};
    long failed = 1, n = 0, alive = test_alloc_alive();
    struct footprint f;
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(batch_put(&b, 1, key_of(i, key), odb_s("v")), ODB_OK);
    for (; failed; n++) {
        odb_status st;

        footprint_init(&f);
        test_alloc_fail(n, 0);
        st = footprint_make(&f, odb_bytes(b.ops.p, b.ops.len));
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_int_equal(st, failed ? ODB_NOMEM : ODB_OK);
        assert_int_equal(f.is_made, !failed);
        footprint_release(&f);
    }
    assert_true(n > 3); /* it grew several times */
    batch_release(&b);
    assert_int_equal(test_alloc_alive(), alive);
}

static enum history_answer look_key(const struct history *h, uint32_t family, unsigned key,
                                    uint64_t since, uint64_t *seen)
{
    struct claims c;
    char text[16];
    uint32_t where = 99;
    enum history_answer a;

    assert_int_equal(claims_init(&c, 1), ODB_OK);
    claims_add(&c, claims_hash(family, key_of(key, text)), since);
    *seen = c.oldest;
    a = history_look(h, &c, seen, &where);
    if (a == HISTORY_HIT)
        assert_int_equal(where, family);
    claims_release(&c);
    return a;
}

static enum history_answer look_range(const struct history *h, uint32_t family, unsigned from,
                                      unsigned to, uint64_t since)
{
    struct claims c;
    char lower[16], upper[16];
    odb_claim range = {family, true, key_of(from, lower), key_of(to, upper), since};
    uint64_t seen;
    uint32_t where;
    enum history_answer a;

    assert_int_equal(claims_init(&c, 0), ODB_OK);
    claims_add_all(&c, &range, 1);
    seen = c.oldest;
    a = history_look(h, &c, &seen, &where);
    claims_release(&c);
    return a;
}

static void what_was_written_since_is_found_and_nothing_else(void **state)
{
    struct history h;
    uint64_t seen;

    (void)state;
    start(&h, 100);
    assert_int_equal(look_key(&h, 1, 5, 99, &seen), HISTORY_CLEAR); /* nothing yet */
    assert_int_equal(look_key(&h, 1, 5, 98, &seen), HISTORY_LOST);  /* 99 was not recorded */
    record(&h, 100, 1, 5, 3);                                       /* 5 6 7 as 100 101 102 */
    record(&h, 103, 2, 5, 1);
    assert_int_equal(look_key(&h, 1, 5, 99, &seen), HISTORY_HIT);
    assert_int_equal(look_key(&h, 1, 7, 99, &seen), HISTORY_HIT);
    assert_int_equal(look_key(&h, 1, 8, 99, &seen), HISTORY_CLEAR);
    assert_int_equal(seen, 103);
    assert_int_equal(look_key(&h, 1, 7, 101, &seen), HISTORY_HIT); /* 102 is newer */
    assert_int_equal(look_key(&h, 1, 5, 102, &seen), HISTORY_CLEAR);
    assert_int_equal(look_key(&h, 2, 5, 102, &seen), HISTORY_HIT);
    assert_int_equal(look_range(&h, 1, 0, 5, 99), HISTORY_CLEAR);
    assert_int_equal(look_range(&h, 1, 0, 6, 99), HISTORY_HIT);
    assert_int_equal(look_range(&h, 1, 7, 9, 99), HISTORY_HIT);
    assert_int_equal(look_range(&h, 1, 8, 9, 99), HISTORY_CLEAR);
    assert_int_equal(look_range(&h, 2, 6, 9, 99), HISTORY_CLEAR);
    history_release(&h);
}

/* Far more than the ring holds: what is still there is answered, the rest is said to be lost. */
static void a_full_ring_forgets_the_oldest_and_says_so(void **state)
{
    enum { COMMITS = 40000 };
    struct history h;
    uint64_t seen;
    unsigned kept = 0, lost = 0;

    (void)state;
    start(&h, 1);
    for (unsigned i = 0; i < COMMITS; i++)
        record(&h, 1 + (uint64_t)i * 2, 0, i * 2, 2);
    for (unsigned i = 0; i < COMMITS; i += 97) {
        uint64_t first = 1 + (uint64_t)i * 2;
        enum history_answer a = look_key(&h, 0, i * 2 + 1, first - 1, &seen);

        assert_true(a == HISTORY_HIT || a == HISTORY_LOST);
        assert_true(a == HISTORY_HIT || kept == 0); /* all that is lost is older than all kept */
        kept += a == HISTORY_HIT;
        lost += a == HISTORY_LOST;
        if (a == HISTORY_HIT)
            assert_int_equal(look_key(&h, 7, 1, first - 1, &seen), HISTORY_CLEAR);
    }
    assert_true(kept > 50 && lost > 50);
    history_release(&h);
}

static void a_commit_of_too_many_keys_is_lost_as_a_whole(void **state)
{
    struct history h;
    uint64_t seen;

    (void)state;
    start(&h, 1);
    record(&h, 1, 0, 0, 1);
    record(&h, 2, 0, 10, 20000);
    record(&h, 20002, 0, 1, 1);
    assert_int_equal(look_key(&h, 0, 90000, 1, &seen), HISTORY_LOST);
    assert_int_equal(look_key(&h, 0, 1, 1, &seen), HISTORY_HIT); /* newer: found before */
    assert_int_equal(look_key(&h, 0, 90000, 20001, &seen), HISTORY_CLEAR);
    history_release(&h);
}

/* Only the first bytes of a long key are kept: ranges that differ behind them are taken as hit. */
static void long_keys_are_never_missed(void **state)
{
    struct history h;
    struct footprint f;
    struct batch b = {{NULL, 0, 0}, 0};
    uint8_t key[600], bound[600];
    uint64_t seen;
    uint32_t where;

    (void)state;
    memset(key, 'k', sizeof key);
    memset(bound, 'k', sizeof bound);
    start(&h, 1);
    assert_int_equal(batch_put(&b, 0, odb_bytes(key, sizeof key), odb_s("v")), ODB_OK);
    footprint_init(&f);
    assert_int_equal(footprint_make(&f, odb_bytes(b.ops.p, b.ops.len)), ODB_OK);
    history_record(&h, 1, 1, &f);
    for (int where_bound = 0; where_bound < 3; where_bound++) {
        odb_claim range = {0, true, {bound, sizeof bound}, {NULL, 0}, 0};
        struct claims c;

        memset(bound, 'k', sizeof bound);
        if (where_bound == 1)
            bound[500] = 'l'; /* the key lies below, but nobody can tell */
        if (where_bound == 2)
            bound[100] = 'l'; /* it does, and that can be seen */
        assert_int_equal(claims_init(&c, 0), ODB_OK);
        claims_add_all(&c, &range, 1);
        seen = 0;
        assert_int_equal(history_look(&h, &c, &seen, &where),
                         where_bound == 2 ? HISTORY_CLEAR : HISTORY_HIT);
        claims_release(&c);
    }
    footprint_release(&f);
    batch_release(&b);
    history_release(&h);
}

/* Claims of every kind against a plain look at each of them. */
static void claims_agree_with_a_plain_look(void **state)
{
    uint32_t dice = 5;

    (void)state;
    for (int round = 0; round < 300; round++) {
        odb_claim claim[60];
        char text[60][2][16];
        struct claims c;
        size_t keys = 0, count, at = 0;
        uint32_t family = 0;

        for (; keys < (size_t)round % 40; keys++) {
            dice = dice * 1664525 + 1013904223;
            claim[keys] = (odb_claim){dice >> 30,
                                      false,
                                      key_of((dice >> 8) % 100, text[keys][0]),
                                      {NULL, 0},
                                      (dice >> 16) % 50};
        }
        for (count = keys; count < keys + 10 && family < 3;) { /* rising and disjoint */
            unsigned from, to;

            dice = dice * 1664525 + 1013904223;
            from = (unsigned)at + (dice >> 8) % 10;
            to = from + 1 + (dice >> 16) % 12;
            if (to >= 100) {
                family++;
                at = 0;
                continue;
            }
            claim[count] = (odb_claim){family, true, key_of(from, text[count][0]),
                                       key_of(to, text[count][1]), (dice >> 20) % 50};
            at = to;
            count++;
        }
        assert_int_equal(claims_init(&c, keys), ODB_OK);
        claims_add_all(&c, claim, count);
        for (int probe = 0; probe < 400; probe++) {
            char key[16];
            odb_slice k;
            uint32_t f;
            uint64_t seq;
            bool want_key = false, want_range = false;

            dice = dice * 1664525 + 1013904223;
            k = key_of((dice >> 8) % 110, key);
            f = dice >> 30;
            seq = (dice >> 16) % 60;
            for (size_t i = 0; i < count; i++) {
                const odb_claim *one = &claim[i];

                if (one->family != f || seq <= one->since)
                    continue;
                if (!one->is_range)
                    want_key |= odb_slice_equal(one->lower, k);
                else
                    want_range |= odb_slice_compare(k, one->lower) >= 0 &&
                                  odb_slice_compare(k, one->upper) < 0;
            }
            assert_int_equal(claims_has_key(&c, claims_hash(f, k), seq), want_key);
            assert_int_equal(claims_has_in_range(&c, f, k, false, seq), want_range);
        }
        claims_release(&c);
    }
}

/* A reader that is overtaken by the writer: it may lose, but never sees what was not there. */
struct race {
    struct history h;
    _Atomic bool is_over;
};

static void *race_read(void *arg)
{
    struct race *r = arg;
    uint64_t seen, looks = 0;

    while (!atomic_load(&r->is_over)) {
        enum history_answer a = look_key(&r->h, 3, 99999, atomic_load(&r->h.low) / 5, &seen);

        if (a == HISTORY_HIT || look_range(&r->h, 0, 70000, 80000, 0) == HISTORY_HIT)
            return r; /* nobody ever wrote that */
        looks++;
    }
    return looks ? NULL : r;
}

static void a_reader_overtaken_by_the_writer_sees_no_ghosts(void **state)
{
    static struct race r;
    pthread_t reader;
    void *wrong;

    (void)state;
    start(&r.h, 1);
    record(&r.h, 1, 0, 0, 1);
    assert_int_equal(pthread_create(&reader, NULL, race_read, &r), 0);
    for (unsigned i = 0; i < 60000; i++)
        record(&r.h, 2 + (uint64_t)i, i % 2, i % 60000, 1);
    atomic_store(&r.is_over, true);
    assert_int_equal(pthread_join(reader, &wrong), 0);
    assert_null(wrong);
    history_release(&r.h);
}

static void it_goes_off_when_nobody_needs_it(void **state)
{
    struct history h;
    uint64_t seq = 1;

    (void)state;
    start(&h, 1);
    history_leave(&h);
    for (; history_is_on(&h) && seq < 400000; seq += 100)
        record(&h, seq, 0, 0, 100);
    assert_false(history_is_on(&h));
    assert_true(seq > 100000);
    assert_true(history_enter(&h)); /* whoever comes is told to switch it on */
    history_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_since_is_found_and_nothing_else),
        cmocka_unit_test(a_full_ring_forgets_the_oldest_and_says_so),
        cmocka_unit_test(a_footprint_without_memory_is_a_status),
        cmocka_unit_test(a_commit_of_too_many_keys_is_lost_as_a_whole),
        cmocka_unit_test(long_keys_are_never_missed),
        cmocka_unit_test(claims_agree_with_a_plain_look),
        cmocka_unit_test(a_reader_overtaken_by_the_writer_sees_no_ghosts),
        cmocka_unit_test(it_goes_off_when_nobody_needs_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
