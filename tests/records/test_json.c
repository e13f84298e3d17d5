/* tests/records/test_json.c -- records/json.c: what JSON is, what it is not, and where it goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "records/json.h"
#include "tests/lib/test_alloc.h"

/* NULL: it is JSON. */
static const char *fault_of(odb_slice text, size_t *at)
{
    const char *what = NULL;
    odb_status st = json_check(text, &what, at);

    assert_true(st == ODB_OK || (st == ODB_INVALID && what));
    return st == ODB_OK ? NULL : what;
}

static void expect_text(const char *text, const char *want)
{
    struct json_doc doc;
    struct buf b = {0};
    const char *what = "";
    size_t at = 0;
    odb_status st = json_read(odb_s(text), &doc, &what, &at);

    if (st != ODB_OK)
        fail_msg("%s is refused at %zu: %s", text, at, what);
    assert_int_equal(json_add_doc(&b, &doc), ODB_OK);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.p, want, b.len);
    buf_release(&b);
    json_release(&doc);
}

static void documents_are_read_and_written(void **state)
{
    (void)state;
    expect_text("null", "null");
    expect_text(" true ", "true");
    expect_text("\t[ ]\r\n", "[]");
    expect_text("{}", "{}");
    expect_text("{\"a\":[1,2,{\"b\":null}],\"c\":false}", "{\"a\":[1,2,{\"b\":null}],\"c\":false}");
    expect_text("[[],[[]],{\"x\":{}}]", "[[],[[]],{\"x\":{}}]");
    expect_text("9223372036854775807", "9223372036854775807");
    expect_text("-9223372036854775808", "-9223372036854775808");
    expect_text("-0", "-0.0");
    expect_text("1.0", "1.0");
    expect_text("1e2", "100.0");
    expect_text("0.1", "0.1");
    expect_text("\"\"", "\"\"");
    expect_text("\"\\u0041\\n\\/\\\\\\\"\\b\\f\\r\\t\"", "\"A\\n/\\\\\\\"\\b\\f\\r\\t\"");
    expect_text("\"\\u0000\\u001f\\u007f\"", "\"\\u0000\\u001f\x7f\"");
    expect_text("\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80 \xf0\x9f\x98\x80\"");
    expect_text("\"\\u00e9\\u20ac\"", "\"\xc3\xa9\xe2\x82\xac\"");
    expect_text("{\"a\":1,\"A\":2,\"\":3}", "{\"a\":1,\"A\":2,\"\":3}");
}

static void faults_are_refused_where_they_are(void **state)
{
    static const struct {
        const char *text;
        size_t at;
    } rows[] = {
        {"", 0},
        {"  ", 2},
        {"nul", 0},
        {"nulll", 4},
        {"True", 0},
        {"01", 0},
        {"-", 1},
        {"-01", 1},
        {"+1", 0},
        {".5", 0},
        {"1.", 2},
        {"1.e3", 2},
        {"1e", 2},
        {"1e+", 3},
        {"0x10", 1},
        {"9223372036854775808", 0},
        {"-9223372036854775809", 0},
        {"1e309", 0},
        {"NaN", 0},
        {"[", 1},
        {"[1", 2},
        {"[1,", 3},
        {"[1,]", 3},
        {"[,1]", 1},
        {"[1 2]", 3},
        {"]", 0},
        {"{", 1},
        {"{\"a\"", 4},
        {"{\"a\":", 5},
        {"{\"a\":1", 6},
        {"{\"a\":1,", 7},
        {"{\"a\":1,}", 7},
        {"{a:1}", 1},
        {"{1:2}", 1},
        {"{\"a\" 1}", 5},
        {"{\"a\":1]", 6},
        {"[1}", 2},
        {"{\"a\":1,\"b\":2,\"a\":3}", 19},
        {"{\"a\":1,\"\\u0061\":3}", 18},
        {"\"", 0},
        {"\"abc", 0},
        {"\"\n\"", 1},
        {"\"\\x\"", 2},
        {"\"\\", 2},
        {"\"\\u12", 3},
        {"\"\\u12g4\"", 5},
        {"\"\\ud800\"", 2},
        {"\"\\udc00\"", 2},
        {"\"\\ud800\\u0041\"", 2},
        {"\"\xff\"", 1},
        {"\"\xc0\x80\"", 1},
        {"\"\xed\xa0\x80\"", 1},
        {"\"\xf4\x90\x80\x80\"", 1},
        {"\"\xe2\x82\"", 1},
        {"\"\\n\xff\"", 3},
        {"1 2", 2},
        {"{} x", 3},
        {"'a'", 0},
        {"[1] // x", 4},
        {"\xef\xbb\xbf{}", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t at = 999;
        const char *what = fault_of(odb_s(rows[i].text), &at);

        if (!what)
            fail_msg("%s is not refused", rows[i].text);
        if (at != rows[i].at)
            fail_msg("%s is refused at %zu, not at %zu: %s", rows[i].text, at, rows[i].at, what);
    }
}

static void sixty_four_levels_and_no_more(void **state)
{
    char text[2 * 65 + 1];
    size_t at;

    (void)state;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = 0;
    assert_null(fault_of(odb_s(text), &at));
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = 0;
    assert_non_null(fault_of(odb_s(text), &at));
    assert_int_equal(at, 64);
}

/* Enough names that they are sorted, each a different one but for the last. */
static void a_name_twice_among_many_is_found(void **state)
{
    char text[8192];
    size_t len = 0, at;

    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        len = (size_t)snprintf(text, sizeof text, "{");
        for (int i = 0; i < 500; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "\"n%d\":%d,", i * 37 % 500, i);
        (void)snprintf(text + len, sizeof text - len, "\"n%d\":0}", turn ? 333 : 500);
        assert_int_equal(fault_of(odb_s(text), &at) != NULL, turn);
    }
}

static void every_cut_and_every_flip_is_survived(void **state)
{
    static const char text[] =
        "{\"a\":[1,-2.5e-3,true],\"\\u00e9\":{\"x\":\"\xe2\x82\xac\\n\"},\"n\":null}";
    char copy[sizeof text];
    size_t at, len = sizeof text - 1;

    (void)state;
    assert_null(fault_of(odb_bytes(text, len), &at));
    for (size_t i = 0; i < len; i++) {
        char *exact = malloc(i ? i : 1); /* so that a sanitizer sees a step too far */

        assert_non_null(exact);
        memcpy(exact, text, i);
        assert_non_null(fault_of(odb_bytes(exact, i), &at));
        assert_true(at <= i);
        free(exact);
    }
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct json_doc doc;
        const char *what;
        odb_status st;

        memcpy(copy, text, sizeof text);
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        st = json_read(odb_bytes(copy, len), &doc, &what, &at);
        if (st == ODB_OK) { /* another document, then: it must come back */
            struct buf b = {0};

            assert_int_equal(json_add_doc(&b, &doc), ODB_OK);
            assert_null(fault_of(buf_slice(&b), &at));
            buf_release(&b);
            json_release(&doc);
        } else {
            assert_int_equal(st, ODB_INVALID);
        }
    }
}

static void members_are_found(void **state)
{
    struct json_doc doc;
    const char *what;
    size_t at;

    (void)state;
    assert_int_equal(
        json_read(odb_s("{\"a\":{\"b\":1},\"b\":[2,{\"c\":3}],\"c\":4}"), &doc, &what, &at),
        ODB_OK);
    assert_int_equal(json_member(&doc, doc.node, "c")->u.integer, 4);
    assert_int_equal(json_member(&doc, json_member(&doc, doc.node, "a"), "b")->u.integer, 1);
    assert_null(json_member(&doc, doc.node, "d"));
    assert_null(json_member(&doc, json_member(&doc, doc.node, "c"), "a"));
    assert_int_equal(doc.node[0].to, 35);
    json_release(&doc);
}

static void base64_has_one_spelling(void **state)
{
    static const char *const bad[] = {
        "A", "AA", "AAA", "AB==", "AAB=", "====", "A===", "AA=A", "AA==AAAA", "A A=", "AA-_"};
    struct buf b = {0}, back = {0};
    uint8_t bytes[7] = {0, 0xFF, 1, 0x80, 2, 0xFE, 3};

    (void)state;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        buf_reset(&b);
        assert_int_equal(json_add_base64(&b, odb_bytes(bytes, n)), ODB_OK);
        assert_int_equal(json_read_base64(odb_bytes(b.p + 1, b.len - 2), &back), ODB_OK);
        assert_true(odb_slice_equal(buf_slice(&back), odb_bytes(bytes, n)));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(json_read_base64(odb_s(bad[i]), &back), ODB_INVALID);
    buf_release(&b);
    buf_release(&back);
}

static void every_shortage_of_memory_is_a_status(void **state)
{
    static const char text[] =
        "{\"a\":[1,2,3,4,5,6,7,8,9],\"b\":\"\\u0041\",\"c\":1,\"d\":1,\"e\":1,\"f\":1,"
        "\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1}";
    odb_status st = ODB_NOMEM;

    (void)state;
    for (long n = 0; st != ODB_OK; n++) {
        struct json_doc doc;
        const char *what;
        size_t at;
        long alive = test_alloc_alive();

        assert_true(n < 50);
        test_alloc_fail(n, 0);
        st = json_read(odb_s(text), &doc, &what, &at);
        assert_int_equal(st, test_alloc_failed() ? ODB_NOMEM : ODB_OK);
        test_alloc_fail(-1, 0);
        if (st == ODB_OK)
            json_release(&doc);
        assert_int_equal(test_alloc_alive(), alive);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_read_and_written),
        cmocka_unit_test(faults_are_refused_where_they_are),
        cmocka_unit_test(sixty_four_levels_and_no_more),
        cmocka_unit_test(a_name_twice_among_many_is_found),
        cmocka_unit_test(every_cut_and_every_flip_is_survived),
        cmocka_unit_test(members_are_found),
        cmocka_unit_test(base64_has_one_spelling),
        cmocka_unit_test(every_shortage_of_memory_is_a_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
