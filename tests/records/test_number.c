/* tests/records/test_number.c -- records/number.c against the C library, in a locale that has a point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "records/number.h"
#include "tests/base/random.h"

static double read_text(const char *text)
{
    double v = NAN;

    assert_true(number_read(odb_s(text), &v));
    return v;
}

static bool same(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void reads_as_the_c_library(const char *text)
{
    double want = strtod(text, NULL), got;

    if (isinf(want)) {
        assert_false(number_read(odb_s(text), &got));
        return;
    }
    if (!same(read_text(text), want))
        fail_msg("%s reads as %a, not as %a", text, read_text(text), want);
}

static void hard_decimals_are_read_to_the_nearest_double(void **state)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "1",
        "-1",
        "0.1",
        "0.30000000000000004",
        "1e0",
        "1E+2",
        "123456789012345678",
        "9007199254740993",
        "9007199254740992.999999999999999999999",
        "9007199254740993.00000000000001",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e309",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "4.9406564584124654e-324",
        "5e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.47032822920623272e-324",
        "1e-400",
        "1e400",
        "0e999999999",
        "1e-999999999",
        "1e999999999",
        "100000000000000000000000000000000e-32",
        "0.000000000000000000000000000000000000000000000000000000001e57",
        "8.5e15",
        "1e22",
        "1e23",
        "7.0420557077594588669468784357561207962098443483187940792729600000e+59",
        "6.631236871469758276785396630275672697657115111126780e-5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        reads_as_the_c_library(texts[i]);
}

static void a_tie_is_decided_by_what_follows_far_behind(void **state)
{
    char text[1200];
    size_t n = (size_t)snprintf(text, sizeof text, "9007199254740993.");

    (void)state;
    memset(text + n, '0', 1000);
    text[n + 1000] = 0;
    assert_true(read_text(text) == 9007199254740992.0);
    text[n + 999] = '1';
    assert_true(read_text(text) == 9007199254740994.0);
}

static double random_double(struct rnd *r)
{
    for (;;) {
        uint64_t u = rnd_next(r);
        double v;

        if (rnd_below(r, 4) == 0) /* near a power of two */
            u = (u & UINT64_C(0xFFF0000000000000)) + rnd_below(r, 3) - 1;
        if (rnd_below(r, 8) == 0) /* subnormal */
            u &= UINT64_C(0x800FFFFFFFFFFFFF) >> rnd_below(r, 12);
        memcpy(&v, &u, sizeof v);
        if (isfinite(v))
            return v;
    }
}

/* The fewest digits with which the C library's %e comes back. */
static int fewest_digits(double v)
{
    char text[64];

    for (int digits = 1; digits < 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (same(strtod(text, NULL), v))
            return digits;
    }
    return 17;
}

static int digits_of(const char *text, size_t len)
{
    int count = 0, zeros = 0;

    for (size_t i = 0; i < len && text[i] != 'e'; i++) {
        if (text[i] < '0' || text[i] > '9' || (text[i] == '0' && count == 0))
            continue;
        count++;
        zeros = text[i] == '0' ? zeros + 1 : 0;
    }
    return count - zeros;
}

static void what_is_written_comes_back_and_is_short(void **state)
{
    struct rnd r = rnd_start("what_is_written_comes_back_and_is_short");
    const char *ops = getenv("ODB_TEST_OPS");
    int turns = ops ? atoi(ops) : 3000;

    (void)state;
    for (int i = 0; i < turns; i++) {
        double v = i % 3 ? random_double(&r) : (double)rnd_below(&r, 2000000) / 1000 - 1000;
        char text[NUMBER_TEXT_MAX + 1];
        size_t len = number_write(text, v);
        double back;

        assert_true(len < NUMBER_TEXT_MAX);
        text[len] = 0;
        assert_true(strpbrk(text, ".e") != NULL);
        assert_true(number_read(odb_bytes(text, len), &back));
        if (!same(back, v) || !same(strtod(text, NULL), v))
            fail_msg("%a is written as %s", v, text);
        if (digits_of(text, len) > fewest_digits(v))
            fail_msg("%a is written as %s, %d digits are enough", v, text, fewest_digits(v));
        (void)snprintf(text, sizeof text, "%.*e", (int)rnd_below(&r, 20), v);
        reads_as_the_c_library(text);
    }
}

static void known_numbers_look_right(void **state)
{
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {100, "100.0"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {1e-5, "0.00001"},
        {1e-6, "1e-6"},
        {123456.789, "123456.789"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {5.684341886080802e-14, "5.684341886080802e-14"},
    };
    char text[NUMBER_TEXT_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text[number_write(text, rows[i].v)] = 0;
        assert_string_equal(text, rows[i].text);
    }
    text[number_write_i64(text, INT64_MIN)] = 0;
    assert_string_equal(text, "-9223372036854775808");
    text[number_write_i64(text, INT64_MAX)] = 0;
    assert_string_equal(text, "9223372036854775807");
    text[number_write_i64(text, 0)] = 0;
    assert_string_equal(text, "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hard_decimals_are_read_to_the_nearest_double),
        cmocka_unit_test(a_tie_is_decided_by_what_follows_far_behind),
        cmocka_unit_test(what_is_written_comes_back_and_is_short),
        cmocka_unit_test(known_numbers_look_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
