/* The storage trait: what every backend must do, run over the LSM tree and over the map in memory. */
#include "tests/api/fixture.h"
#include "tests/lib/child.h"

#include <sys/wait.h>

/* ---- families ---- */

static void a_new_database_has_the_seven_families(void **state)
{
    static const char *const want[] = {"default",        "records",     "graph_forward",
                                       "graph_backward", "vector_data", "vector_index",
                                       "metadata"};
    struct fixture *f = *state;
    odb_names names;

    assert_ok(odb_cf_list(f->db, &names));
    assert_int_equal(names.count, 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(names.name[i], want[i]);
    odb_names_release(&names);
    assert_int_equal(odb_cf_id(fixture_cf(f, "default")), 0);
    assert_string_equal(odb_cf_name(fixture_cf(f, "metadata")), "metadata");
}

static void families_are_separate_key_spaces(void **state)
{
    struct fixture *f = *state;
    odb_cf *records = fixture_cf(f, "records");

    put_text(f, NULL, "k", "in default");
    put_text(f, records, "k", "in records");
    expect_text(odb_now(f->db), NULL, "k", "in default");
    expect_text(odb_now(f->db), records, "k", "in records");
    assert_ok(odb_delete(f->db, records, odb_s("k"), NULL));
    expect_text(odb_now(f->db), NULL, "k", "in default");
    expect_text(odb_now(f->db), records, "k", NULL);
}

static void a_family_can_be_made_dropped_and_made_again(void **state)
{
    struct fixture *f = *state;
    odb_cf *first, *second;
    odb_iter *it;
    odb_batch *b;

    assert_ok(odb_cf_create(f->db, "extra", NULL, &first));
    assert_status(odb_cf_create(f->db, "extra", NULL, &second), ODB_EXISTS);
    put_text(f, first, "old", "1");
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_batch_put(b, first, odb_s("late"), odb_s("x")));
    assert_ok(odb_iter_new(odb_now(f->db), first, NULL, &it));
    assert_ok(odb_cf_drop(f->db, first));
    assert_status(odb_cf_drop(f->db, first), ODB_NO_FAMILY);
    assert_status(odb_put(f->db, first, odb_s("k"), odb_s("v"), NULL), ODB_NO_FAMILY);
    assert_status(odb_commit(f->db, b, NULL), ODB_NO_FAMILY);
    assert_true(odb_iter_first(it)); /* an iterator goes on */
    assert_slice(odb_iter_key(it), "old");
    assert_status(odb_iter_refresh(it, odb_now(f->db)), ODB_NO_FAMILY); /* at its old moment */
    assert_true(odb_iter_first(it));
    assert_slice(odb_iter_key(it), "old");
    odb_iter_free(it);
    odb_batch_free(b);
    assert_ok(odb_cf_create(f->db, "extra", NULL, &second));
    expect_text(odb_now(f->db), second, "old", NULL);
    assert_int_not_equal(odb_cf_id(first), odb_cf_id(second));
    assert_status(odb_cf_drop(f->db, NULL), ODB_INVALID);
}

/* A walk that has passed a deleted key, and is put at the beginning again, behind many newer versions of the
 * empty key: that must not be taken for the key it had passed. */
static void an_old_walk_finds_the_empty_key_again(void **state)
{
    struct fixture *f = *state;
    char key[16];
    odb_iter *it;

    put_text(f, NULL, "user/18", "1");
    assert_ok(odb_delete(f->db, NULL, odb_s("user/11"), NULL));
    put_text(f, NULL, "", "old");
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    for (int i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof key, "user/0%d", i);
        put_text(f, NULL, key, "new");
    }
    assert_true(odb_iter_seek(it, odb_s("a")));
    assert_slice(odb_iter_key(it), "user/18");
    for (int i = 0; i < 40; i++) {
        put_text(f, NULL, "", "new");
        assert_true(odb_iter_seek(it, odb_s("a")));
        assert_true(odb_iter_first(it));
        assert_slice(odb_iter_key(it), "");
        assert_slice(odb_iter_value(it), "old");
    }
    odb_iter_free(it);
}

static void a_family_survives_reopening(void **state)
{
    struct fixture *f = *state;
    odb_cf *cf;

    assert_ok(odb_cf_create(f->db, "extra", NULL, &cf));
    put_text(f, cf, "k", "v");
    fixture_reopen(f);
    expect_text(odb_now(f->db), fixture_cf(f, "extra"), "k", "v");
}

/* ---- points ---- */

static void a_key_has_the_value_last_put(void **state)
{
    struct fixture *f = *state;

    expect_text(odb_now(f->db), NULL, "k", NULL);
    put_text(f, NULL, "k", "one");
    expect_text(odb_now(f->db), NULL, "k", "one");
    put_text(f, NULL, "k", "two");
    expect_text(odb_now(f->db), NULL, "k", "two");
    assert_ok(odb_delete(f->db, NULL, odb_s("k"), NULL));
    expect_text(odb_now(f->db), NULL, "k", NULL);
    assert_ok(odb_delete(f->db, NULL, odb_s("k"), NULL)); /* deleting nothing is fine */
    put_text(f, NULL, "k", "three");
    fixture_reopen(f);
    expect_text(odb_now(f->db), NULL, "k", "three");
}

static void keys_and_values_may_be_empty(void **state)
{
    struct fixture *f = *state;

    put_text(f, NULL, "", "value of the empty key");
    put_text(f, NULL, "empty value", "");
    assert_ok(odb_flush(f->db, NULL));
    expect_text(odb_now(f->db), NULL, "", "value of the empty key");
    expect_text(odb_now(f->db), NULL, "empty value", "");
    expect_walk(odb_now(f->db), NULL, NULL, "empty value", "empty value ");
}

/* For all but a few foreign ones that is 64 KiB; those refuse what they cannot keep. */
static void the_largest_key_is_64_kib(void **state)
{
    struct fixture *f = *state;
    char *big = calloc(1, (64 << 10) + 1);
    odb_value v;

    assert_non_null(big);
    assert_ok(odb_put(f->db, NULL, odb_bytes(big, f->key_max), odb_s("v"), NULL));
    assert_ok(odb_get(odb_now(f->db), NULL, odb_bytes(big, f->key_max), &v));
    odb_value_release(&v);
    assert_status(odb_put(f->db, NULL, odb_bytes(big, f->key_max + 1), odb_s("v"), NULL),
                  ODB_TOO_LARGE);
    if (f->key_max < 64 << 10)
        assert_status(odb_get(odb_now(f->db), NULL, odb_bytes(big, f->key_max + 1), &v),
                      ODB_ABSENT);
    assert_status(odb_put(f->db, NULL, odb_bytes(big, (64 << 10) + 1), odb_s("v"), NULL),
                  ODB_TOO_LARGE);
    assert_status(odb_get(odb_now(f->db), NULL, odb_bytes(big, (64 << 10) + 1), &v), ODB_TOO_LARGE);
    assert_non_null(strstr(odb_error_text(), "65537"));
    free(big);
}

static void a_large_value_comes_back_whole(void **state)
{
    struct fixture *f = *state;
    size_t size = 3 << 20;
    uint8_t *big = malloc(size);
    odb_value v;

    assert_non_null(big);
    for (size_t i = 0; i < size; i++)
        big[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_ok(odb_put(f->db, NULL, odb_s("big"), odb_bytes(big, size), NULL));
    fixture_reopen(f);
    assert_ok(odb_flush(f->db, NULL));
    assert_ok(odb_get(odb_now(f->db), NULL, odb_s("big"), &v));
    assert_int_equal(v.size, size);
    assert_memory_equal(v.data, big, size);
    odb_value_release(&v);
    free(big);
}

static void get_into_tells_the_size_and_copies_what_fits(void **state)
{
    struct fixture *f = *state;
    char buf[8] = "xxxxxxx";
    size_t size = 0;

    put_text(f, NULL, "k", "abcdef");
    assert_ok(odb_get_into(odb_now(f->db), NULL, odb_s("k"), buf, 3, &size));
    assert_int_equal(size, 6);
    assert_memory_equal(buf, "abcxxxx", 7);
    assert_ok(odb_get_into(odb_now(f->db), NULL, odb_s("k"), buf, sizeof buf, &size));
    assert_int_equal(size, 6);
    assert_memory_equal(buf, "abcdefx", 7);
    assert_ok(odb_get_into(odb_now(f->db), NULL, odb_s("k"), NULL, 0, &size));
    assert_int_equal(size, 6);
    size = 99;
    assert_status(odb_get_into(odb_now(f->db), NULL, odb_s("no"), buf, 8, &size), ODB_ABSENT);
    assert_int_equal(size, 99);
}

static void a_value_stays_until_it_is_released(void **state)
{
    struct fixture *f = *state;
    odb_value v;

    put_text(f, NULL, "k", "first");
    assert_ok(odb_get(odb_now(f->db), NULL, odb_s("k"), &v));
    for (int i = 0; i < 50; i++) {
        put_text(f, NULL, "k", "other");
        assert_ok(odb_flush(f->db, NULL));
    }
    assert_ok(odb_compact(f->db, NULL, NULL, NULL, NULL));
    assert_slice(odb_bytes(v.data, v.size), "first");
    odb_value_release(&v);
    odb_value_release(&v); /* empty by now */
    odb_value_release(NULL);
}

static void multiget_answers_each_key(void **state)
{
    struct fixture *f = *state;
    odb_slice keys[100];
    odb_value out[100];
    odb_status each[100];
    char name[100][8];

    for (int i = 0; i < 100; i++) {
        (void)snprintf(name[i], sizeof name[i], "k%d", i * 37 % 100);
        keys[i] = odb_s(name[i]);
        if (i % 3)
            put_text(f, NULL, name[i], name[i]);
        if (i == 50)
            assert_ok(odb_flush(f->db, NULL));
    }
    assert_ok(odb_multiget(odb_now(f->db), NULL, keys, 100, out, each));
    for (int i = 0; i < 100; i++) {
        assert_status(each[i], i % 3 ? ODB_OK : ODB_ABSENT);
        if (each[i] == ODB_OK)
            assert_slice(odb_bytes(out[i].data, out[i].size), name[i]);
        odb_value_release(&out[i]);
    }
    keys[1].size = (64 << 10) + 1;
    assert_status(odb_multiget(odb_now(f->db), NULL, keys, 3, out, each), ODB_TOO_LARGE);
    assert_status(each[0], ODB_ABSENT);
    assert_status(each[1], ODB_TOO_LARGE);
    assert_ok(each[2]);
    odb_value_release(&out[2]);
    assert_ok(odb_multiget(odb_now(f->db), NULL, NULL, 0, NULL, NULL));
}

/* ---- batches ---- */

static void a_batch_commits_as_one(void **state)
{
    struct fixture *f = *state;
    odb_cf *forward = fixture_cf(f, "graph_forward"), *backward = fixture_cf(f, "graph_backward");
    odb_batch *b;

    put_text(f, NULL, "gone", "x");
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_commit(f->db, b, NULL)); /* an empty one */
    assert_ok(odb_batch_put(b, forward, odb_s("a>b"), odb_s("knows")));
    assert_ok(odb_batch_put(b, backward, odb_s("b<a"), odb_s("knows")));
    assert_ok(odb_batch_put(b, NULL, odb_s("twice"), odb_s("first")));
    assert_ok(odb_batch_put(b, NULL, odb_s("twice"), odb_s("second")));
    assert_ok(odb_batch_put(b, NULL, odb_s("undone"), odb_s("x")));
    assert_ok(odb_batch_delete(b, NULL, odb_s("undone")));
    assert_ok(odb_batch_delete(b, NULL, odb_s("gone")));
    assert_int_equal(odb_batch_count(b), 7);
    expect_text(odb_now(f->db), forward, "a>b", NULL);
    assert_ok(odb_commit(f->db, b, NULL));
    fixture_reopen(f);
    expect_text(odb_now(f->db), fixture_cf(f, "graph_forward"), "a>b", "knows");
    expect_text(odb_now(f->db), fixture_cf(f, "graph_backward"), "b<a", "knows");
    expect_text(odb_now(f->db), NULL, "twice", "second");
    expect_text(odb_now(f->db), NULL, "undone", NULL);
    expect_text(odb_now(f->db), NULL, "gone", NULL);
    odb_batch_clear(b);
    assert_int_equal(odb_batch_count(b), 0);
    odb_batch_free(b);
    odb_batch_free(NULL);
}

static bool count_ops(void *arg, const odb_op *op)
{
    (void)op;
    return ++*(int *)arg < 2;
}

static void a_batch_travels_as_bytes(void **state)
{
    struct fixture *f = *state;
    odb_batch *b, *copy;
    uint8_t bytes[64];
    odb_slice s;
    int seen = 0;

    assert_ok(odb_batch_new(&b));
    assert_ok(odb_batch_new(&copy));
    assert_ok(odb_batch_put(b, NULL, odb_s("k"), odb_s("v")));
    assert_ok(odb_batch_delete(b, NULL, odb_s("d")));
    assert_ok(odb_batch_put(b, fixture_cf(f, "records"), odb_s("r"), odb_s("w")));
    s = odb_batch_bytes(b);
    assert_true(s.size < sizeof bytes);
    memcpy(bytes, s.data, s.size);
    odb_batch_each(b, count_ops, &seen);
    assert_int_equal(seen, 2); /* it stops when told to */
    assert_ok(odb_batch_put(copy, NULL, odb_s("before"), odb_s("x")));
    for (size_t cut = 1; cut < s.size; cut++) {
        odb_status st = odb_batch_set_bytes(copy, odb_bytes(bytes, cut));

        if (st == ODB_OK) /* cut between two operations */
            assert_ok(odb_batch_set_bytes(copy, odb_bytes(bytes, s.size)));
        else
            assert_status(st, ODB_INVALID);
    }
    assert_ok(odb_batch_set_bytes(copy, odb_bytes(bytes, s.size)));
    assert_int_equal(odb_batch_count(copy), 3);
    assert_ok(odb_commit(f->db, copy, NULL));
    expect_text(odb_now(f->db), NULL, "k", "v");
    expect_text(odb_now(f->db), fixture_cf(f, "records"), "r", "w");
    bytes[1] = 0x7f; /* a family nobody made */
    assert_ok(odb_batch_set_bytes(copy, odb_bytes(bytes, s.size)));
    assert_status(odb_commit(f->db, copy, NULL), ODB_NO_FAMILY);
    odb_batch_free(b);
    odb_batch_free(copy);
}

/* ---- moments ---- */

static void P11_a_snapshot_sees_its_moment_in_all_families(void **state)
{
    struct fixture *f = *state;
    odb_cf *records = fixture_cf(f, "records");
    odb_snapshot *early, *late;

    put_text(f, NULL, "a", "1");
    put_text(f, records, "b", "1");
    assert_ok(odb_snapshot_new(f->db, &early));
    put_text(f, NULL, "a", "2");
    assert_ok(odb_delete(f->db, records, odb_s("b"), NULL));
    put_text(f, NULL, "c", "2");
    assert_ok(odb_snapshot_new(f->db, &late));
    put_text(f, NULL, "a", "3");
    assert_ok(odb_flush(f->db, NULL));
    assert_ok(odb_compact(f->db, NULL, NULL, NULL, NULL));
    expect_text(odb_asof(early), NULL, "a", "1");
    expect_text(odb_asof(early), records, "b", "1");
    expect_walk(odb_asof(early), NULL, NULL, "a", "a");
    expect_text(odb_asof(late), NULL, "a", "2");
    expect_text(odb_asof(late), records, "b", NULL);
    expect_walk(odb_asof(late), NULL, NULL, "a c", "c a");
    odb_snapshot_free(early);
    put_text(f, NULL, "a", "4");
    assert_ok(odb_compact(f->db, NULL, NULL, NULL, NULL));
    expect_text(odb_asof(late), NULL, "a", "2");
    odb_snapshot_free(late);
    odb_snapshot_free(NULL);
    expect_text(odb_now(f->db), NULL, "a", "4");
}

/* ---- walks ---- */

static void fill_fruit(struct fixture *f)
{
    static const char *const name[] = {"fig", "apple", "date", "banana", "cherry", "damson"};

    for (size_t i = 0; i < 6; i++) {
        put_text(f, NULL, name[i], name[i]);
        if (i == 2)
            assert_ok(odb_flush(f->db, NULL));
    }
    put_text(f, NULL, "elder", "x");
    assert_ok(odb_delete(f->db, NULL, odb_s("elder"), NULL));
}

static void a_walk_keeps_to_its_range(void **state)
{
    struct fixture *f = *state;
    odb_at now = odb_now(f->db);
    odb_range r = {0};

    fill_fruit(f);
    expect_walk(now, NULL, NULL, "apple banana cherry damson date fig",
                "fig date damson cherry banana apple");
    expect_walk(now, NULL, &r, "apple banana cherry damson date fig",
                "fig date damson cherry banana apple");
    r.lower = odb_s("banana");
    expect_walk(now, NULL, &r, "banana cherry damson date fig", "fig date damson cherry banana");
    r.upper = odb_s("date");
    expect_walk(now, NULL, &r, "banana cherry damson", "damson cherry banana");
    r.prefix = odb_s("d");
    expect_walk(now, NULL, &r, "damson", "damson");
    r = (odb_range){.prefix = odb_s("da")};
    expect_walk(now, NULL, &r, "damson date", "date damson");
    r.upper = odb_s("da"); /* nothing begins with da and is below it */
    expect_walk(now, NULL, &r, "", "");
    r = (odb_range){.lower = odb_s("x"), .upper = odb_s("a")};
    expect_walk(now, NULL, &r, "", "");
    r = (odb_range){.upper = odb_bytes("", 0)};
    expect_walk(now, NULL, &r, "", "");
    r = (odb_range){.keys_only = true, .is_long = true};
    expect_walk(now, NULL, &r, "apple banana cherry damson date fig",
                "fig date damson cherry banana apple");
}

static void a_prefix_of_the_highest_bytes_has_no_end(void **state)
{
    struct fixture *f = *state;
    odb_range r = {.prefix = odb_bytes("\xff\xff", 2)};
    odb_iter *it;
    int seen = 0;

    put_text(f, NULL, "\xff", "below");
    put_text(f, NULL, "\xff\xff", "in");
    put_text(f, NULL, "\xff\xff\xff", "in");
    put_text(f, NULL, "\xfe\xff", "below");
    assert_ok(odb_iter_new(odb_now(f->db), NULL, &r, &it));
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it), seen++)
        assert_slice(odb_iter_value(it), "in");
    assert_int_equal(seen, 2);
    odb_iter_free(it);
    r.prefix = odb_bytes("\xfe\xff", 2); /* ends at ff */
    expect_walk(odb_now(f->db), NULL, &r, "\xfe\xff", "\xfe\xff");
}

static void a_seek_lands_on_the_nearest_key(void **state)
{
    struct fixture *f = *state;
    odb_range r = {.lower = odb_s("banana"), .upper = odb_s("fig")};
    odb_iter *it;

    fill_fruit(f);
    assert_ok(odb_iter_new(odb_now(f->db), NULL, &r, &it));
    assert_false(odb_iter_valid(it)); /* nowhere yet */
    assert_false(odb_iter_next(it));
    assert_true(odb_iter_seek(it, odb_s("cherry")));
    assert_slice(odb_iter_key(it), "cherry");
    assert_slice(odb_iter_value(it), "cherry");
    assert_true(odb_iter_seek(it, odb_s("cherry!")));
    assert_slice(odb_iter_key(it), "damson");
    assert_true(odb_iter_seek(it, odb_s("a"))); /* the bound holds */
    assert_slice(odb_iter_key(it), "banana");
    assert_false(odb_iter_seek(it, odb_s("elder")));
    assert_false(odb_iter_prev(it)); /* the end is not a place */
    assert_true(odb_iter_seek_for_prev(it, odb_s("elder")));
    assert_slice(odb_iter_key(it), "date");
    assert_true(odb_iter_seek_for_prev(it, odb_s("zzz")));
    assert_slice(odb_iter_key(it), "date");
    assert_true(odb_iter_seek_for_prev(it, odb_s("cherry")));
    assert_slice(odb_iter_key(it), "cherry");
    assert_false(odb_iter_seek_for_prev(it, odb_s("b")));
    assert_ok(odb_iter_status(it));
    odb_iter_free(it);
    odb_iter_free(NULL);
}

static void a_walk_can_turn_round(void **state)
{
    struct fixture *f = *state;
    odb_iter *it;

    fill_fruit(f);
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_true(odb_iter_first(it));
    assert_true(odb_iter_next(it));
    assert_true(odb_iter_next(it));
    assert_slice(odb_iter_key(it), "cherry");
    assert_true(odb_iter_prev(it));
    assert_slice(odb_iter_key(it), "banana");
    assert_true(odb_iter_next(it));
    assert_slice(odb_iter_key(it), "cherry");
    assert_true(odb_iter_last(it));
    assert_true(odb_iter_prev(it));
    assert_slice(odb_iter_key(it), "date"); /* elder was deleted */
    assert_true(odb_iter_next(it));
    assert_slice(odb_iter_key(it), "fig");
    assert_false(odb_iter_next(it));
    odb_iter_free(it);
}

/* The delete lies alone in its source, the put that it hides in another. */
static void a_deleted_empty_key_does_not_come_back(void **state)
{
    struct fixture *f = *state;
    odb_iter *it;

    assert_ok(odb_put(f->db, NULL, odb_bytes("", 0), odb_s("old"), NULL));
    assert_ok(odb_put(f->db, NULL, odb_s("k"), odb_s("v"), NULL));
    assert_ok(odb_flush(f->db, NULL));
    assert_ok(odb_delete(f->db, NULL, odb_bytes("", 0), NULL));
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_true(odb_iter_first(it));
    assert_true(odb_slice_equal(odb_iter_key(it), odb_s("k")));
    assert_false(odb_iter_prev(it));
    assert_true(odb_iter_seek(it, odb_bytes("", 0)));
    assert_true(odb_slice_equal(odb_iter_key(it), odb_s("k")));
    odb_iter_free(it);
}

static void an_iterator_keeps_its_moment_until_refreshed(void **state)
{
    struct fixture *f = *state;
    odb_range r = {.prefix = odb_s("k")};
    odb_snapshot *snap;
    char text[64];
    odb_iter *it;

    put_text(f, NULL, "k1", "1");
    assert_ok(odb_snapshot_new(f->db, &snap));
    put_text(f, NULL, "k2", "2");
    put_text(f, NULL, "x", "x");
    assert_ok(odb_iter_new(odb_now(f->db), NULL, &r, &it));
    put_text(f, NULL, "k3", "3");
    assert_ok(odb_delete(f->db, NULL, odb_s("k1"), NULL));
    assert_ok(odb_flush(f->db, NULL));
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), "k1 k2");
    assert_ok(odb_iter_refresh(it, odb_now(f->db)));
    assert_false(odb_iter_valid(it));
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), "k2 k3");
    assert_ok(odb_iter_refresh(it, odb_asof(snap)));
    odb_snapshot_free(snap); /* the iterator holds its own */
    put_text(f, NULL, "k1", "again");
    assert_ok(odb_compact(f->db, NULL, NULL, NULL, NULL));
    assert_string_equal(walk_text(it, odb_iter_last(it), false, text, sizeof text), "k1");
    odb_iter_free(it);
}

/* Refreshed where nothing happened it is left as it is; what comes next, into a memtable that was empty,
 * must still end that. */
static void a_refreshed_iterator_misses_nothing_that_came(void **state)
{
    struct fixture *f = *state;
    char text[64];
    odb_iter *it;

    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_ok(odb_iter_refresh(it, odb_now(f->db)));
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), "");
    put_text(f, NULL, "b", "1");
    assert_ok(odb_iter_refresh(it, odb_now(f->db)));
    assert_true(odb_iter_last(it));
    assert_ok(odb_iter_refresh(it, odb_now(f->db))); /* nothing came, and it stood somewhere */
    assert_false(odb_iter_valid(it));
    assert_false(odb_iter_next(it));
    assert_false(odb_iter_prev(it));
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), "b");
    assert_ok(odb_flush(f->db, NULL)); /* another view of the same */
    assert_ok(odb_iter_refresh(it, odb_now(f->db)));
    assert_string_equal(walk_text(it, odb_iter_last(it), false, text, sizeof text), "b");
    put_text(f, NULL, "a", "2");
    put_text(f, NULL, "b", "3");
    assert_ok(odb_iter_refresh(it, odb_now(f->db)));
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), "a b");
    assert_true(odb_iter_seek(it, odb_s("b")));
    assert_true(odb_slice_equal(odb_iter_value(it), odb_s("3")));
    assert_ok(odb_delete(f->db, NULL, odb_s("b"), NULL));
    assert_ok(odb_iter_refresh(it, odb_now(f->db)));
    assert_false(odb_iter_seek(it, odb_s("b")));
    odb_iter_free(it);
}

static void a_key_beyond_the_limit_still_has_a_place_in_the_order(void **state)
{
    struct fixture *f = *state;
    char *big = malloc((64 << 10) + 8);
    odb_iter *it;

    assert_non_null(big);
    memset(big, 'm', (64 << 10) + 8);
    assert_ok(odb_put(f->db, NULL, odb_bytes(big, f->key_max), odb_s("the longest"), NULL));
    put_text(f, NULL, "a", "a");
    put_text(f, NULL, "n", "n");
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_true(odb_iter_seek(it, odb_bytes(big, (64 << 10) + 8)));
    assert_slice(odb_iter_key(it), "n");
    assert_true(odb_iter_seek_for_prev(it, odb_bytes(big, (64 << 10) + 8)));
    assert_slice(odb_iter_value(it), "the longest");
    assert_true(odb_iter_seek(it, odb_bytes(big, f->key_max))); /* and its neighbours theirs */
    assert_slice(odb_iter_value(it), "the longest");
    assert_true(odb_iter_seek_for_prev(it, odb_bytes(big, f->key_max - 1)));
    assert_slice(odb_iter_key(it), "a");
    assert_true(odb_iter_seek_for_prev(it, odb_bytes(big, f->key_max + 1)));
    assert_slice(odb_iter_value(it), "the longest");
    odb_iter_free(it);
    free(big);
}

/* ---- transactions ---- */

/* Whether this backend has them; when it has not, it must say so clearly. */
static bool has_transactions(struct fixture *f)
{
    odb_txn *t = NULL;
    odb_status st = odb_txn_begin(f->db, NULL, &t);

    if (st == ODB_UNSUPPORTED) {
        assert_non_null(strstr(odb_error_text(), "conflicts"));
        return false;
    }
    assert_ok(st);
    odb_txn_free(t);
    return true;
}

static void a_transaction_reads_its_own_writes(void **state)
{
    struct fixture *f = *state;
    odb_cf *records = fixture_cf(f, "records");
    odb_slice keys[3] = {odb_s("a"), odb_s("b"), odb_s("c")};
    odb_status each[3];
    odb_value v[3];
    odb_txn *t;

    if (!has_transactions(f))
        return;
    put_text(f, NULL, "a", "1");
    put_text(f, NULL, "b", "1");
    put_text(f, records, "b", "records");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    put_text(f, NULL, "c", "after the beginning");
    assert_ok(odb_txn_put(t, NULL, odb_s("a"), odb_s("mine")));
    assert_ok(odb_txn_put(t, NULL, odb_s("a"), odb_s("mine again")));
    assert_ok(odb_txn_delete(t, NULL, odb_s("b")));
    expect_text(odb_in(t), NULL, "a", "mine again");
    expect_text(odb_in(t), NULL, "b", NULL);
    expect_text(odb_in(t), NULL, "c", NULL);
    expect_text(odb_in(t), records, "b", "records");
    expect_text(odb_now(f->db), NULL, "a", "1");
    assert_ok(odb_multiget(odb_in(t), NULL, keys, 3, v, each));
    assert_slice(odb_bytes(v[0].data, v[0].size), "mine again");
    assert_status(each[1], ODB_ABSENT);
    assert_status(each[2], ODB_ABSENT);
    odb_value_release(&v[0]);
    assert_ok(odb_txn_commit(t, NULL));
    assert_status(odb_txn_put(t, NULL, odb_s("a"), odb_s("x")), ODB_INVALID); /* it has ended */
    odb_txn_free(t);
    expect_text(odb_now(f->db), NULL, "a", "mine again");
    expect_text(odb_now(f->db), NULL, "b", NULL);
    expect_text(odb_now(f->db), NULL, "c", "after the beginning");
}

static void the_first_committer_wins(void **state)
{
    struct fixture *f = *state;
    odb_txn *t, *u;

    if (!has_transactions(f))
        return;
    put_text(f, NULL, "n", "1");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_begin(f->db, NULL, &u));
    assert_ok(odb_txn_put(t, NULL, odb_s("n"), odb_s("t")));
    assert_ok(odb_txn_put(t, NULL, odb_s("other"), odb_s("t")));
    assert_ok(odb_txn_put(u, NULL, odb_s("n"), odb_s("u")));
    assert_ok(odb_txn_commit(u, NULL));
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    expect_text(odb_now(f->db), NULL, "n", "u");
    expect_text(odb_now(f->db), NULL, "other", NULL);
    assert_ok(odb_txn_reset(t)); /* again, from here */
    expect_text(odb_in(t), NULL, "n", "u");
    assert_ok(odb_txn_put(t, NULL, odb_s("n"), odb_s("t")));
    assert_ok(odb_txn_commit(t, NULL));
    expect_text(odb_now(f->db), NULL, "n", "t");
    odb_txn_free(t);
    odb_txn_free(u);
}

static void a_plain_write_conflicts_even_when_the_value_returns(void **state)
{
    struct fixture *f = *state;
    odb_txn *t;

    if (!has_transactions(f))
        return;
    put_text(f, NULL, "n", "1");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    put_text(f, NULL, "n", "2");
    put_text(f, NULL, "n", "1");
    assert_ok(odb_flush(f->db, NULL));
    assert_ok(odb_txn_put(t, NULL, odb_s("n"), odb_s("3")));
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    assert_ok(odb_txn_reset(t));
    assert_ok(odb_delete(f->db, NULL, odb_s("new"), NULL)); /* a delete is a write */
    assert_ok(odb_txn_put(t, NULL, odb_s("new"), odb_s("x")));
    assert_status(odb_txn_commit(t, NULL), ODB_CONFLICT);
    assert_ok(odb_txn_reset(t));
    assert_ok(odb_txn_put(t, NULL, odb_s("n"), odb_s("x")));
    odb_txn_rollback(t);
    expect_text(odb_now(f->db), NULL, "n", "1");
    odb_txn_free(t);
    odb_txn_free(NULL);
}

static void an_iterator_in_a_transaction_merges_its_writes(void **state)
{
    struct fixture *f = *state;
    odb_range r = {.lower = odb_s("b"), .upper = odb_s("g")};
    char text[64];
    odb_iter *it;
    odb_txn *t;

    if (!has_transactions(f))
        return;
    put_text(f, NULL, "a", "1");
    put_text(f, NULL, "b", "1");
    put_text(f, NULL, "d", "1");
    put_text(f, NULL, "e", "1");
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    assert_ok(odb_txn_put(t, NULL, odb_s("b"), odb_s("own")));
    assert_ok(odb_txn_delete(t, NULL, odb_s("d")));
    assert_ok(odb_txn_put(t, NULL, odb_s("f"), odb_s("own")));
    assert_ok(odb_txn_put(t, NULL, odb_s("h"), odb_s("own")));
    expect_walk(odb_in(t), NULL, NULL, "a b e f h", "h f e b a");
    expect_walk(odb_in(t), NULL, &r, "b e f", "f e b");
    assert_ok(odb_iter_new(odb_in(t), NULL, NULL, &it));
    assert_true(odb_iter_seek(it, odb_s("c")));
    assert_slice(odb_iter_key(it), "e");
    assert_true(odb_iter_prev(it));
    assert_slice(odb_iter_value(it), "own");
    assert_true(odb_iter_prev(it));
    assert_slice(odb_iter_key(it), "a");
    assert_true(odb_iter_next(it));
    assert_slice(odb_iter_key(it), "b");
    assert_true(odb_iter_seek_for_prev(it, odb_s("g")));
    assert_slice(odb_iter_key(it), "f");
    assert_status(odb_iter_refresh(it, odb_in(t)), ODB_UNSUPPORTED);
    odb_txn_free(t);
    assert_string_equal(walk_text(it, odb_iter_first(it), true, text, sizeof text), "a b e f h");
    odb_iter_free(it);
}

/* ---- upkeep ---- */

static bool stop_at_once(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    ++*(int *)arg;
    return false;
}

static void upkeep_changes_no_answer(void **state)
{
    struct fixture *f = *state;
    odb_stats_t s = {.size = sizeof s};
    char page[4096];
    size_t len, again;
    uint64_t bytes;
    int calls = 0;

    fill_fruit(f);
    assert_ok(odb_sync(f->db));
    assert_ok(odb_flush(f->db, NULL));
    assert_ok(odb_compact(f->db, NULL, NULL, NULL, NULL));
    assert_ok(odb_wait_idle(f->db));
    assert_ok(odb_resume(f->db));
    (void)odb_work(f->db);
    assert_ok(odb_verify(f->db, NULL, NULL));
    if (f->is_lsm)
        assert_status(odb_verify(f->db, stop_at_once, &calls), ODB_CANCELLED);
    expect_walk(odb_now(f->db), NULL, NULL, "apple banana cherry damson date fig",
                "fig date damson cherry banana apple");
    assert_ok(odb_stats(f->db, NULL, &s));
    assert_int_equal(s.ops, 8);
    assert_int_equal(s.sequence, 8);
    assert_ok(odb_size_of_range(f->db, NULL, NULL, &bytes));
    assert_true(!f->is_lsm || (bytes > 0 && s.flushes > 0));
    assert_ok(odb_stats_text(f->db, page, sizeof page, &len));
    assert_int_equal(strlen(page), len);
    assert_non_null(strstr(page, "family default"));
    assert_null(strstr(page, "family metadata")); /* empty ones are left out */
    assert_ok(odb_stats_text(f->db, NULL, 0, &again));
    assert_int_equal(again, len);
    assert_ok(odb_stats_text(f->db, page, 10, &len));
    assert_int_equal(strlen(page), 9);
}

static void stats_write_no_more_than_the_caller_has(void **state)
{
    struct fixture *f = *state;
    odb_stats_t s;

    memset(&s, 0xab, sizeof s);
    s.size = offsetof(odb_stats_t, memtables);
    assert_ok(odb_stats(f->db, NULL, &s));
    assert_int_equal(s.size, offsetof(odb_stats_t, memtables));
    assert_int_equal(s.level[0].files, 0);
    assert_int_equal(s.commits, 0xababababababababu);
    s.size = 0;
    assert_status(odb_stats(f->db, NULL, &s), ODB_INVALID);
}

static void count_table(void *arg, const odb_table *t)
{
    uint64_t *entries = arg;

    assert_true(odb_slice_compare(t->smallest, t->largest) <= 0);
    assert_true(t->size > 0);
    *entries += t->entries;
}

static void live_tables_are_listed(void **state)
{
    struct fixture *f = *state;
    uint64_t entries = 0;

    fill_fruit(f);
    assert_ok(odb_flush(f->db, NULL));
    assert_ok(odb_compact(f->db, NULL, NULL, NULL, NULL));
    assert_ok(odb_tables(f->db, NULL, count_table, &entries));
    assert_int_equal(entries, f->is_lsm ? 6 : 0);
}

/* ---- arguments ---- */

static void bad_arguments_are_refused_by_name(void **state)
{
    struct fixture *f = *state;
    odb_slice nowhere = odb_bytes(NULL, 3);
    odb_write how = {.durability = (odb_durability)9};
    struct fixture *other = NULL;
    char buf[4];
    size_t size;
    odb_value v;
    odb_iter *it;
    odb_cf *cf;
    odb_at at = {f->db, (odb_snapshot *)(void *)buf, NULL};
    odb_batch *b;

    assert_status(odb_put(NULL, NULL, odb_s("k"), odb_s("v"), NULL), ODB_INVALID);
    assert_status(odb_put(f->db, NULL, nowhere, odb_s("v"), NULL), ODB_INVALID);
    assert_non_null(strstr(odb_error_text(), "key"));
    assert_status(odb_put(f->db, NULL, odb_s("k"), nowhere, NULL), ODB_INVALID);
    assert_non_null(strstr(odb_error_text(), "value"));
    assert_status(odb_put(f->db, NULL, odb_s("k"), odb_s("v"), &how), ODB_INVALID);
    assert_status(odb_delete(f->db, NULL, odb_s("k"), &how), ODB_INVALID);
    assert_status(odb_put(f->db, NULL, odb_s("k"), odb_bytes("v", ((size_t)1 << 30) + 1), NULL),
                  ODB_TOO_LARGE);
    assert_status(odb_get(odb_now(f->db), NULL, odb_s("k"), NULL), ODB_INVALID);
    assert_status(odb_get(odb_now(NULL), NULL, odb_s("k"), &v), ODB_INVALID);
    assert_status(odb_get(odb_asof(NULL), NULL, odb_s("k"), &v), ODB_INVALID);
    assert_status(odb_get(at, NULL, odb_s("k"), &v), ODB_INVALID);
    assert_status(odb_get_into(odb_now(f->db), NULL, odb_s("k"), buf, 4, NULL), ODB_INVALID);
    assert_status(odb_get_into(odb_now(f->db), NULL, odb_s("k"), NULL, 4, &size), ODB_INVALID);
    assert_status(odb_iter_new(odb_now(f->db), NULL, NULL, NULL), ODB_INVALID);
    assert_status(odb_iter_new(odb_now(f->db), NULL, &(odb_range){.lower = nowhere}, &it),
                  ODB_INVALID);
    assert_status(odb_cf_open(f->db, "nobody", &cf), ODB_NO_FAMILY);
    assert_status(odb_cf_open(f->db, NULL, &cf), ODB_INVALID);
    assert_status(odb_cf_create(f->db, "", NULL, &cf), ODB_INVALID);
    assert_status(odb_cf_create(f->db, "new\nline", NULL, &cf), ODB_INVALID);
    assert_status(odb_cf_create(f->db, "x", &(odb_cf_options){0}, &cf), ODB_INVALID);
    assert_status(odb_batch_new(NULL), ODB_INVALID);
    assert_status(odb_commit(f->db, NULL, NULL), ODB_INVALID);
    assert_status(odb_snapshot_new(f->db, NULL), ODB_INVALID);
    assert_ok(odb_close(NULL));

    fixture_memory((void **)&other);
    cf = fixture_cf(other, "records");
    assert_status(odb_put(f->db, cf, odb_s("k"), odb_s("v"), NULL), ODB_INVALID);
    assert_non_null(strstr(odb_error_text(), "another"));
    assert_ok(odb_batch_new(&b));
    assert_ok(odb_batch_put(b, cf, odb_s("k"), odb_s("v")));
    assert_status(odb_batch_put(b, fixture_cf(f, "records"), odb_s("k"), odb_s("v")), ODB_INVALID);
    assert_status(odb_commit(f->db, b, NULL), ODB_INVALID);
    odb_batch_free(b);
    fixture_close((void **)&other);
}

/* ---- forks ---- */

/* In the child: the first call that does not refuse, as an exit code. */
static int child_is_refused(struct fixture *f, odb_snapshot *s, odb_iter *it, odb_iter *back,
                            odb_value *held)
{
    odb_slice k = odb_s("k");
    odb_stats_t stats = {.size = sizeof stats};
    odb_snapshot *fresh;
    odb_names names;
    odb_value v;
    odb_cf *cf;

    if (odb_put(f->db, NULL, k, k, NULL) != ODB_FORKED)
        return 1;
    if (odb_get(odb_now(f->db), NULL, k, &v) != ODB_FORKED)
        return 2;
    if (odb_get(odb_asof(s), NULL, k, &v) != ODB_FORKED)
        return 3;
    if (odb_iter_next(it) || odb_iter_status(it) != ODB_FORKED || odb_iter_first(it))
        return 4;
    if (odb_iter_prev(back) || odb_iter_status(back) != ODB_FORKED || odb_iter_last(back) ||
        odb_iter_seek(back, k) || odb_iter_seek_for_prev(back, k) ||
        odb_iter_status(back) != ODB_FORKED)
        return 9;
    if (odb_flush(f->db, NULL) != ODB_FORKED || odb_sync(f->db) != ODB_FORKED)
        return 5;
    if (odb_cf_open(f->db, "default", &cf) != ODB_FORKED ||
        odb_cf_list(f->db, &names) != ODB_FORKED)
        return 6;
    if (odb_stats(f->db, NULL, &stats) != ODB_FORKED ||
        odb_snapshot_new(f->db, &fresh) != ODB_FORKED)
        return 7;
    odb_value_release(held); /* these do nothing, quietly */
    odb_iter_free(it);
    odb_iter_free(back);
    odb_snapshot_free(s);
    return odb_close(f->db) == ODB_FORKED ? 0 : 8;
}

static void P15_a_forked_child_is_refused(void **state)
{
    struct fixture *f = *state;
    odb_snapshot *s;
    odb_value held;
    odb_iter *it, *back;
    int code = 0;
    pid_t child;

    put_text(f, NULL, "k", "v");
    assert_ok(odb_snapshot_new(f->db, &s));
    assert_ok(odb_get(odb_now(f->db), NULL, odb_s("k"), &held));
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &it));
    assert_true(odb_iter_first(it));
    assert_ok(odb_iter_new(odb_now(f->db), NULL, NULL, &back));
    assert_true(odb_iter_last(back));
    child = fork();
    if (child == 0)
        test_exit_child(child_is_refused(f, s, it, back, &held));
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
    odb_value_release(&held);
    odb_iter_free(it);
    assert_true(odb_iter_seek(back, odb_s("k")));
    odb_iter_free(back);
    odb_snapshot_free(s);
    put_text(f, NULL, "k", "the parent goes on");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_new_database_has_the_seven_families),
        BOTH(families_are_separate_key_spaces),
        BOTH(a_family_can_be_made_dropped_and_made_again),
        BOTH(an_old_walk_finds_the_empty_key_again),
        BOTH(a_family_survives_reopening),
        BOTH(a_key_has_the_value_last_put),
        BOTH(keys_and_values_may_be_empty),
        BOTH(the_largest_key_is_64_kib),
        BOTH(a_large_value_comes_back_whole),
        BOTH(get_into_tells_the_size_and_copies_what_fits),
        BOTH(a_value_stays_until_it_is_released),
        BOTH(multiget_answers_each_key),
        BOTH(a_batch_commits_as_one),
        BOTH(a_batch_travels_as_bytes),
        BOTH(P11_a_snapshot_sees_its_moment_in_all_families),
        BOTH(a_walk_keeps_to_its_range),
        BOTH(a_prefix_of_the_highest_bytes_has_no_end),
        BOTH(a_seek_lands_on_the_nearest_key),
        BOTH(a_walk_can_turn_round),
        BOTH(a_deleted_empty_key_does_not_come_back),
        BOTH(an_iterator_keeps_its_moment_until_refreshed),
        BOTH(a_refreshed_iterator_misses_nothing_that_came),
        BOTH(a_key_beyond_the_limit_still_has_a_place_in_the_order),
        BOTH(a_transaction_reads_its_own_writes),
        BOTH(the_first_committer_wins),
        BOTH(a_plain_write_conflicts_even_when_the_value_returns),
        BOTH(an_iterator_in_a_transaction_merges_its_writes),
        BOTH(upkeep_changes_no_answer),
        BOTH(stats_write_no_more_than_the_caller_has),
        BOTH(live_tables_are_listed),
        BOTH(bad_arguments_are_refused_by_name),
        BOTH(P15_a_forked_child_is_refused),
    };
    const char *only = getenv("ODB_TEST_ONLY"); /* a pattern: "*(memory)" */

    if (only)
        cmocka_set_test_filter(only);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
