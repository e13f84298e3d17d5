#include "tests/sstable/table_fixture.h"

static struct entry put(const char *key, uint64_t seq, const char *value)
{
    return (struct entry){.key = (const uint8_t *)key,
                          .value = (const uint8_t *)value,
                          .key_len = (uint32_t)strlen(key),
                          .value_len = (uint32_t)strlen(value),
                          .trailer = trailer_make(seq, KIND_PUT)};
}

static bool file_exists(const struct fx *x, uint64_t file_no)
{
    char name[SST_NAME_MAX];
    struct os_file *f = NULL;
    bool there;

    sst_file_name(file_no, name);
    there = os_open(x->dir, name, 0, &f) == ODB_OK;
    os_close(f);
    return there;
}

static void metadata_tells_what_was_written(void **state)
{
    struct model m = {0};
    struct sst_meta meta, copy;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 1 << 20, 8);
    model_add(&m, "apple", 5, trailer_make(7, KIND_PUT), "12345", 5);
    model_add(&m, "apple", 5, trailer_make(3, KIND_DELETE), NULL, 0);
    model_add(&m, "pear", 4, trailer_make(9, KIND_PUT), "x", 1);
    fx_write(&x, 42, 4096, &m, &meta);
    assert_int_equal(meta.file_no, 42);
    assert_int_equal(meta.entries, 3);
    assert_int_equal(meta.deletes, 1);
    assert_int_equal(meta.raw_bytes, 20);
    assert_int_equal(meta.min_seq, 3);
    assert_int_equal(meta.max_seq, 9);
    assert_true(odb_slice_equal(buf_slice(&meta.smallest), odb_s("apple")));
    assert_true(odb_slice_equal(buf_slice(&meta.largest), odb_s("pear")));
    assert_int_equal(sst_meta_copy(&copy, &meta), ODB_OK);
    assert_true(odb_slice_equal(buf_slice(&copy.largest), odb_s("pear")));
    assert_int_equal(sst_verify(x.store, &copy), ODB_OK);
    sst_meta_release(&meta);
    sst_meta_release(&copy);
    model_free(&m);
    fx_close(&x);
}

static void entries_out_of_order_are_refused_by_name(void **state)
{
    static const struct {
        const char *key;
        uint64_t seq;
    } bad[] = {{"a", 9}, {"b", 5}, {"b", 6}, {"", 1}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct entry first = put("b", 5, "v"), second = put(bad[i].key, bad[i].seq, "v");
        struct sst_writer_options opt;
        struct sst_writer *w = NULL;
        struct fx x;

        fx_open_dir(&x);
        opt = fx_writer_options(&x, 4096);
        assert_int_equal(sst_writer_new(&opt, 7, &w), ODB_OK);
        assert_int_equal(sst_writer_add(w, &first), ODB_OK);
        assert_int_equal(sst_writer_add(w, &second), ODB_CORRUPT);
        assert_non_null(strstr(odb_error_text(), "000007.sst"));
        second = put("c", 1, "v");
        assert_int_equal(sst_writer_add(w, &second), ODB_CORRUPT); /* it sticks */
        sst_writer_free(w);
        assert_false(file_exists(&x, 7));
        fx_close(&x);
    }
}

static void impossible_entries_are_refused(void **state)
{
    struct sst_writer_options opt;
    struct sst_writer *w = NULL;
    struct entry e = put("k", 1, "v");
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    opt = fx_writer_options(&x, 4096);
    e.key_len = (uint32_t)KEY_LEN_MAX + 1;
    {
        uint8_t *big = calloc(1, KEY_LEN_MAX + 1);

        e.key = big;
        assert_int_equal(sst_writer_new(&opt, 1, &w), ODB_OK);
        assert_int_equal(sst_writer_add(w, &e), ODB_TOO_LARGE);
        sst_writer_free(w);
        free(big);
    }
    e = put("k", 1, "v");
    e.trailer = 1 << 8 | 77; /* no such kind */
    assert_int_equal(sst_writer_new(&opt, 1, &w), ODB_OK);
    assert_int_equal(sst_writer_add(w, &e), ODB_CORRUPT);
    sst_writer_free(w);
    fx_close(&x);
}

static void a_number_is_never_used_twice(void **state)
{
    struct model m = {0};
    struct sst_meta meta, none;
    struct sst_writer_options opt;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 1 << 20, 8);
    model_add(&m, "k", 1, trailer_make(1, KIND_PUT), "v", 1);
    fx_write(&x, 5, 4096, &m, &meta);
    opt = fx_writer_options(&x, 4096);
    assert_int_equal(fx_try_write(&opt, 5, &m, &none), ODB_EXISTS);
    assert_int_equal(sst_verify(x.store, &meta), ODB_OK); /* the first one is unharmed */
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

static void the_same_entries_make_the_same_bytes(void **state)
{
    struct rnd r = rnd_start("same bytes");
    struct sst_meta one, two;
    struct model m;
    uint8_t *a, *b;
    size_t a_len, b_len;
    struct fx x, y;

    (void)state;
    fx_open_dir(&x);
    fx_open_dir(&y);
    model_fill(&m, &r, MODEL_MIXED_SIZES, 3000);
    fx_write(&x, 8, 1024, &m, &one);
    fx_write(&y, 8, 1024, &m, &two);
    a = fx_slurp(&x, 8, &a_len);
    b = fx_slurp(&y, 8, &b_len);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    assert_int_equal(one.check, two.check);
    free(a);
    free(b);
    sst_meta_release(&one);
    sst_meta_release(&two);
    model_free(&m);
    fx_close(&x);
    fx_close(&y);
}

/* Values of 100 bytes: 50 random ones twice; few words in any order, random bytes between them; all random. */
enum shape { SHAPE_TWICE, SHAPE_TEXT, SHAPE_NOISE };

static void fill_value(struct rnd *r, enum shape shape, uint8_t value[100])
{
    static const char *const word[] = {"if (st", " == ODB_OK", "return", "static", "buf->len"};

    for (size_t i = 0; i < 100; i++)
        value[i] = (uint8_t)(' ' + rnd_below(r, 95));
    if (shape == SHAPE_TWICE)
        memcpy(value + 50, value, 50);
    for (size_t at = 0; shape == SHAPE_TEXT && at < 90; at += 2 + rnd_below(r, 3)) {
        const char *w = word[rnd_below(r, 5)];

        memcpy(value + at, w, strlen(w));
        at += strlen(w);
    }
}

static uint64_t size_with_slack(struct rnd r, enum shape shape, uint32_t slack)
{
    struct sst_writer_options opt;
    struct sst_meta meta;
    uint64_t size;
    struct model m = {0};
    uint8_t value[100];
    char key[20];
    struct fx x;

    for (int i = 0; i < 12000; i++) {
        snprintf(key, sizeof key, "%08d", i);
        fill_value(&r, shape, value);
        model_add(&m, key, 8, trailer_make(1, KIND_PUT), value, sizeof value);
    }
    fx_open_dir(&x);
    fx_store(&x, 1 << 20, 8);
    opt = fx_writer_options(&x, 4096);
    opt.lz4_slack = slack;
    assert_int_equal(fx_try_write(&opt, 3, &m, &meta), ODB_OK);
    assert_int_equal(sst_verify(x.store, &meta), ODB_OK);
    size = meta.size;
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
    return size;
}

/* Faster packing costs no more than was allowed, is used where it costs that little (the size tells), and not
 * where it would cost much. */
static void packing_is_hurried_where_that_costs_little(void **state)
{
    struct rnd r = rnd_start("hurried");
    uint64_t tight[3], loose[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        tight[i] = size_with_slack(r, (enum shape)i, 0);
        loose[i] = size_with_slack(r, (enum shape)i, 20); /* text loses 30 at the least */
        print_message("%llu bytes, hurried %llu\n", (unsigned long long)tight[i],
                      (unsigned long long)loose[i]);
        assert_true(loose[i] * 100 <= tight[i] * 103);
    }
    assert_true(loose[SHAPE_TWICE] != tight[SHAPE_TWICE]);
    assert_true(loose[SHAPE_TEXT] == tight[SHAPE_TEXT]);
    assert_true(loose[SHAPE_NOISE] == tight[SHAPE_NOISE]); /* raw either way */
}

static void a_writer_given_up_leaves_no_file(void **state)
{
    struct sst_writer_options opt;
    struct sst_writer *w = NULL;
    struct entry e = put("k", 1, "v");
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    opt = fx_writer_options(&x, 4096);
    assert_int_equal(sst_writer_new(&opt, 3, &w), ODB_OK);
    assert_int_equal(sst_writer_add(w, &e), ODB_OK);
    assert_true(sst_writer_size(w) > SST_HEADER_LEN);
    sst_writer_free(w);
    assert_false(file_exists(&x, 3));
    sst_writer_free(NULL);
    fx_close(&x);
}

static void every_failing_allocation_is_a_status_and_leaves_nothing(void **state)
{
    struct rnd r = rnd_start("writer without memory");
    struct sst_writer_options opt;
    struct sst_meta meta;
    struct model m;
    odb_status st;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    fx_store(&x, 1 << 20, 8);
    opt = fx_writer_options(&x, 256);
    model_fill(&m, &r, MODEL_PREFIXED, 150);
    for (long n = 0;; n++) {
        long alive = test_alloc_alive(), failed;

        test_alloc_fail(n, n & 1);
        st = fx_try_write(&opt, 1, &m, &meta);
        failed = test_alloc_failed();
        test_alloc_fail(-1, 0);
        assert_int_equal(st, failed ? ODB_NOMEM : ODB_OK);
        if (!failed)
            break;
        assert_int_equal(test_alloc_alive(), alive);
        assert_false(file_exists(&x, 1));
    }
    assert_int_equal(sst_verify(x.store, &meta), ODB_OK);
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

static void every_failing_file_call_is_passed_on(void **state)
{
    struct rnd r = rnd_start("writer on a full disk");
    struct sst_writer_options opt;
    struct sst_meta meta;
    struct model m;
    odb_status st;
    struct fx x;

    (void)state;
    fx_open_dir(&x);
    opt = fx_writer_options(&x, 4096);
    opt.codec = CODEC_RAW;
    model_fill(&m, &r, MODEL_MIXED_SIZES, 4000);
    for (long n = 0;; n++) {
        fx_os.failure = ODB_NOSPACE;
        fx_os.until_failure = n;
        st = fx_try_write(&opt, 1, &m, &meta);
        fx_os.until_failure = -1;
        if (st == ODB_OK)
            break;
        assert_int_equal(st, ODB_NOSPACE);
        assert_non_null(strstr(odb_error_text(), "as asked"));
        assert_false(file_exists(&x, 1));
    }
    sst_meta_release(&meta);
    model_free(&m);
    fx_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_tells_what_was_written),
        cmocka_unit_test(entries_out_of_order_are_refused_by_name),
        cmocka_unit_test(impossible_entries_are_refused),
        cmocka_unit_test(a_number_is_never_used_twice),
        cmocka_unit_test(the_same_entries_make_the_same_bytes),
        cmocka_unit_test(packing_is_hurried_where_that_costs_little),
        cmocka_unit_test(a_writer_given_up_leaves_no_file),
        cmocka_unit_test(every_failing_allocation_is_a_status_and_leaves_nothing),
        cmocka_unit_test(every_failing_file_call_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
