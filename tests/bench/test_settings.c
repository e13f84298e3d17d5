/* Flags: every form they may take, and every way to get them wrong. */
#include "tests/bench/bench_test.h"

#include "bench/settings.h"

#include <string.h>

static int parse(struct bench_settings *s, const char *first, const char *second)
{
    char a[64], b[64], why[256] = "";
    char *argv[2] = {a, b};

    (void)snprintf(a, sizeof a, "%s", first);
    (void)snprintf(b, sizeof b, "%s", second ? second : "");
    return bench_settings_parse(s, second ? 2 : 1, argv, why, sizeof why);
}

static void a_value_may_follow_or_be_joined(void **state)
{
    struct bench_settings s;

    (void)state;
    bench_settings_init(&s);
    assert_int_equal(s.num, 5000000);
    assert_int_equal(parse(&s, "--num=12", NULL), 1);
    assert_int_equal(s.num, 12);
    assert_int_equal(parse(&s, "--num", "13"), 2);
    assert_int_equal(s.num, 13);
    assert_int_equal(parse(&s, "--engine=lmdb", NULL), 1);
    assert_string_equal(s.engine, "lmdb");
    assert_int_equal(parse(&s, "--compression_ratio=0.25", NULL), 1);
    assert_true(s.compression_ratio > 0.2499 && s.compression_ratio < 0.2501);
}

static void sizes_take_a_letter(void **state)
{
    struct bench_settings s;

    (void)state;
    bench_settings_init(&s);
    assert_int_equal(s.cache_size, (uint64_t)1 << 30);
    assert_int_equal(s.write_buffer_size, (uint64_t)128 << 20);
    assert_int_equal(parse(&s, "--cache_size=3k", NULL), 1);
    assert_int_equal(s.cache_size, 3072);
    assert_int_equal(parse(&s, "--cache_size=2M", NULL), 1);
    assert_int_equal(s.cache_size, 2 << 20);
    assert_int_equal(parse(&s, "--cache_size=17179869184g", NULL), 0); /* 2^64 */
    assert_int_equal(parse(&s, "--cache_size=1kk", NULL), 0);
    assert_int_equal(parse(&s, "--cache_size=-1", NULL), 0);
    assert_int_equal(parse(&s, "--cache_size=", NULL), 0);
    assert_int_equal(s.cache_size, 2 << 20);
}

static void a_yes_or_no_stands_alone_or_says_which(void **state)
{
    struct bench_settings s;

    (void)state;
    bench_settings_init(&s);
    assert_false(s.histogram);
    assert_int_equal(parse(&s, "--histogram", "0"), 1); /* the next word is not its value */
    assert_true(s.histogram);
    assert_int_equal(parse(&s, "--histogram=0", NULL), 1);
    assert_false(s.histogram);
    assert_int_equal(parse(&s, "--histogram=true", NULL), 1);
    assert_true(s.histogram);
    assert_int_equal(parse(&s, "--histogram=2", NULL), 0);
}

static void what_is_no_flag_is_refused_with_a_reason(void **state)
{
    static const char *const wrong[] = {"num=1", "-num=1", "--nums=1", "--nu=1", "--", ""};
    struct bench_settings s, before;
    char long_text[1024], why[256];
    char *argv[1] = {long_text};

    (void)state;
    bench_settings_init(&s);
    before = s;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(&s, wrong[i], NULL), 0);
    assert_int_equal(parse(&s, "--num", NULL), 0); /* its value is missing */
    memset(long_text, 'x', sizeof long_text);
    memcpy(long_text, "--engine=", 9);
    long_text[sizeof long_text - 1] = 0;
    assert_int_equal(bench_settings_parse(&s, 1, argv, why, sizeof why), 0);
    assert_non_null(strstr(why, "engine"));
    assert_memory_equal(&s, &before, sizeof s);
}

static void settings_that_contradict_are_named(void **state)
{
    static const char *const wrong[] = {
        "--num=0",
        "--threads=0",
        "--threads=1000",
        "--key_size=7",
        "--key_size=1000",
        "--value_size=0",
        "--draw=often",
        "--key_shape=prefix",
        "--zipf_theta=1",
        "--zipf_theta=0",
        "--bloom_bits=65",
        "--bloom_bits=0.5",
        "--bloom_bits=7.5",
        "--bloom_bits=-0.5",
        "--bloom_bits=-2",
        "--subcompactions=0",
        "--deleted=0",
        "--compression_type=zstd",
        "--pairs=0",
        "--readwritepercent=101",
        "--compression_ratio=2",
        "--families=0",
        "--stats_interval=0",
    };
    struct bench_settings s;
    char why[256];

    (void)state;
    bench_settings_init(&s);
    assert_true(bench_settings_check(&s, why, sizeof why));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bench_settings_init(&s);
        assert_int_equal(parse(&s, wrong[i], NULL), 1);
        why[0] = 0;
        assert_false(bench_settings_check(&s, why, sizeof why));
        assert_true(strlen(why) > 10);
    }
    bench_settings_init(&s);
    assert_int_equal(parse(&s, "--key_shape=prefix", NULL), 1);
    assert_int_equal(parse(&s, "--key_size=56", NULL), 1);
    assert_true(bench_settings_check(&s, why, sizeof why));
    for (int bits = -1; bits <= 64; bits++) {
        s.bloom_bits = bits;
        assert_true(bench_settings_check(&s, why, sizeof why));
    }
}

struct replay {
    struct bench_settings s;
    size_t count;
};

static void replay_flag(void *arg, const char *name, const char *value)
{
    struct replay *r = arg;
    char word[600], why[256];
    char *argv[1] = {word};

    (void)snprintf(word, sizeof word, "--%s=%s", name, value);
    assert_int_equal(bench_settings_parse(&r->s, 1, argv, why, sizeof why), 1);
    r->count++;
}

static void what_is_listed_can_be_parsed_again(void **state)
{
    struct bench_settings s;
    struct replay r = {.count = 0};

    (void)state;
    bench_settings_init(&s);
    assert_int_equal(parse(&s, "--num=77", NULL), 1);
    assert_int_equal(parse(&s, "--sync", NULL), 1);
    assert_int_equal(parse(&s, "--draw=zipfian", NULL), 1);
    assert_int_equal(parse(&s, "--bloom_bits=7.5", NULL), 1);
    bench_settings_init(&r.s);
    bench_settings_each(&s, replay_flag, &r);
    assert_true(r.count > 30);
    assert_memory_equal(&r.s, &s, sizeof s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_may_follow_or_be_joined),
        cmocka_unit_test(sizes_take_a_letter),
        cmocka_unit_test(a_yes_or_no_stands_alone_or_says_which),
        cmocka_unit_test(what_is_no_flag_is_refused_with_a_reason),
        cmocka_unit_test(settings_that_contradict_are_named),
        cmocka_unit_test(what_is_listed_can_be_parsed_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
