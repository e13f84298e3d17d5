/* tests/lsm/test_edit.c -- edits survive the way to the manifest and back; lies do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lsm/lsm.h"
#include "tests/lib/test_alloc.h"

static struct lsm_edit sample(void)
{
    struct lsm_edit e = {.family = 300, .has_flushed = true, .flushed_lsn = 1u << 20};

    e.add = mem_zalloc(2, sizeof *e.add);
    e.add_count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        struct sst_meta *m = &e.add[i].meta;

        e.add[i].level = i * 6;
        *m = (struct sst_meta){.file_no = 7 + i,
                               .size = 12345,
                               .check = 0x1122334455667788u,
                               .entries = 10,
                               .deletes = i,
                               .raw_bytes = 999,
                               .min_seq = 3,
                               .max_seq = 400};
        assert_int_equal(buf_assign(&m->smallest, "a", 1), ODB_OK);
        assert_int_equal(buf_assign(&m->largest, "b\0c", 3), ODB_OK);
    }
    e.remove = mem_zalloc(1, sizeof *e.remove);
    e.remove_count = 1;
    e.remove[0] = (struct lsm_edit_remove){2, 99};
    return e;
}

static void an_edit_comes_back_as_it_went(void **state)
{
    struct lsm_edit e = sample(), back;
    struct buf bytes = {0}, again = {0};
    bool is_malformed;

    (void)state;
    assert_int_equal(lsm_edit_encode(&e, &bytes), ODB_OK);
    assert_int_equal(lsm_edit_decode(buf_slice(&bytes), &back, &is_malformed), ODB_OK);
    assert_false(is_malformed);
    assert_int_equal(back.family, 300);
    assert_true(back.has_flushed);
    assert_int_equal(back.flushed_lsn, 1u << 20);
    assert_int_equal(back.add_count, 2);
    assert_int_equal(back.add[1].level, 6);
    assert_int_equal(back.add[1].meta.check, 0x1122334455667788u);
    assert_memory_equal(back.add[0].meta.largest.p, "b\0c", 3);
    assert_int_equal(back.remove[0].file_no, 99);
    assert_int_equal(lsm_edit_encode(&back, &again), ODB_OK);
    assert_true(odb_slice_equal(buf_slice(&bytes), buf_slice(&again)));
    buf_release(&bytes);
    buf_release(&again);
    lsm_edit_release(&back);
    lsm_edit_release(&e);
    assert_int_equal(test_alloc_alive(), 0);
}

/* Decode a copy of exactly that size, so that a sanitizer sees any read past its end. */
static bool decodes(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    struct lsm_edit e;
    bool is_malformed;
    odb_status st;

    memcpy(copy, p, n);
    st = lsm_edit_decode(odb_bytes(copy, n), &e, &is_malformed);
    assert_int_equal(st, ODB_OK);
    lsm_edit_release(&e);
    free(copy);
    return !is_malformed;
}

static void every_cut_is_refused(void **state)
{
    struct lsm_edit e = sample();
    struct buf bytes = {0};

    (void)state;
    assert_int_equal(lsm_edit_encode(&e, &bytes), ODB_OK);
    for (size_t n = 0; n < bytes.len; n++)
        assert_false(decodes(bytes.p, n));
    assert_true(decodes(bytes.p, bytes.len));
    buf_release(&bytes);
    lsm_edit_release(&e);
}

static void no_flipped_bit_does_harm(void **state)
{
    struct lsm_edit e = sample();
    struct buf bytes = {0};

    (void)state;
    assert_int_equal(lsm_edit_encode(&e, &bytes), ODB_OK);
    for (size_t i = 0; i < bytes.len * 8; i++) {
        bytes.p[i / 8] ^= (uint8_t)(1u << (i % 8));
        (void)decodes(bytes.p, bytes.len); /* the record's checksum refuses it; here: no crash */
        bytes.p[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    buf_release(&bytes);
    lsm_edit_release(&e);
    assert_int_equal(test_alloc_alive(), 0);
}

static void lies_in_fields_are_refused(void **state)
{
    static const uint8_t zeros[KEY_LEN_MAX + 1];
    struct buf bytes = {0};

    (void)state;
    for (int lie = 0; lie < 10; lie++) {
        struct lsm_edit e = sample();

        switch (lie) {
        case 0: e.add[0].level = LSM_LEVELS; break;
        case 1: e.add[0].meta.file_no = 0; break;
        case 2: e.add[0].meta.deletes = 11; break;
        case 3: e.add[0].meta.min_seq = 401; break;
        case 4: e.add[0].meta.smallest.p[0] = 'z'; break;
        case 5: e.remove[0].level = 200; break;
        case 6: e.add[0].meta.entries = e.add[0].meta.deletes = 0; break;
        case 7: e.add[0].meta.max_seq = SEQ_MAX + 1; break;
        case 8:
            assert_int_equal(buf_assign(&e.add[0].meta.smallest, zeros, sizeof zeros), ODB_OK);
            break;
        case 9:
            assert_int_equal(buf_assign(&e.add[0].meta.smallest, zeros, 1), ODB_OK);
            assert_int_equal(buf_assign(&e.add[0].meta.largest, zeros, sizeof zeros), ODB_OK);
            break;
        }
        buf_reset(&bytes);
        assert_int_equal(lsm_edit_encode(&e, &bytes), ODB_OK);
        assert_false(decodes(bytes.p, bytes.len));
        lsm_edit_release(&e);
    }
    buf_release(&bytes);
}

static void a_huge_count_is_not_believed(void **state)
{
    uint8_t raw[16] = {1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f};

    (void)state;
    assert_false(decodes(raw, sizeof raw));
}

static void running_out_of_memory_leaks_nothing(void **state)
{
    struct lsm_edit e = sample(), back;
    struct buf bytes = {0};
    bool is_malformed;
    long alive;

    (void)state;
    assert_int_equal(lsm_edit_encode(&e, &bytes), ODB_OK);
    alive = test_alloc_alive();
    for (long n = 0;; n++) {
        odb_status st;

        test_alloc_fail(n, 0);
        st = lsm_edit_decode(buf_slice(&bytes), &back, &is_malformed);
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        test_alloc_fail(-1, 0);
        lsm_edit_release(&back);
        assert_int_equal(test_alloc_alive(), alive);
        if (st == ODB_OK)
            break;
    }
    buf_release(&bytes);
    lsm_edit_release(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_comes_back_as_it_went),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(no_flipped_bit_does_harm),
        cmocka_unit_test(lies_in_fields_are_refused),
        cmocka_unit_test(a_huge_count_is_not_believed),
        cmocka_unit_test(running_out_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
