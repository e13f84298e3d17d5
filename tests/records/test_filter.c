/* tests/records/test_filter.c -- filters: what they mean, and what is no filter. */
#include "tests/api/fixture.h"

#define NOW INT64_C(1790000000000000) /* 2026-09-21T14:13:20Z */

/* The record every expression is tried on. */
static odb_record *subject(struct fixture *f)
{
    odb_prop props[] = {
        odb_prop_text("category", "docs"),
        odb_prop_text("lang", "en"),
        odb_prop_int("pages", 672),
        odb_prop_real("price", 59.5),
        odb_prop_bool("is_new", true),
        odb_prop_null("gone"),
        odb_prop_int("big", INT64_MAX),
        odb_prop_text("or", "||"),
        odb_prop_int("a.b", 3),
        odb_prop_int("ts", 1),
        odb_prop_text("\xc3\xa9t\xc3\xa9", "summer"),
    };
    odb_field fields[] = {{ODB_FIELD_PARENT, {ODB_PROP_BYTES, {.bytes = {"doc1", 4}}}},
                          {ODB_FIELD_STATUS, {ODB_PROP_INT, {.integer = 2}}}};
    odb_record_draft d = odb_record_make("user_7", "the quick brown fox");
    odb_record *r;

    d.importance = 0.8f;
    d.timestamp = NOW - INT64_C(1800000000); /* half an hour ago */
    d.props = props;
    d.prop_count = sizeof props / sizeof *props;
    d.fields = fields;
    d.field_count = 2;
    d.kind = ODB_KIND_CHUNK;
    assert_ok(odb_record_put(f->db, NULL, &d, 0));
    assert_ok(odb_record_get(odb_now(f->db), d.id, &r));
    return r;
}

static void expressions_mean_what_they_say(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        {"importance >= 0.8", true},
        {"importance > 0.8", false},
        {"importance == 0.8", true},
        {"importance < 1", true},
        {"importance >= 1", false},
        {"importance in (0.1, 0.8)", true},
        {"ts > now-1h", true},
        {"ts > now - 20m", false},
        {"ts > now-1d+23h+31m", false},
        {"ts < now", true},
        {"ts < now+1w", true},
        {"ts >= now-1800s", true},
        {"ts > now-1800s", false},
        {"ts > \"2026-09-21\"", true},
        {"ts > \"2026-09-22\"", false},
        {"ts == \"2026-09-21T13:43:20Z\"", true},
        {"ts > 0", true},
        {"category in (\"docs\",\"faq\")", true},
        {"category in (\"faq\")", false},
        {"category == \"docs\"", true},
        {"category != \"docs\"", false},
        {"category != 5", true},
        {"category < \"e\"", true},
        {"category ^= \"do\"", true},
        {"category ^= \"docsy\"", false},
        {"category ^= \"\"", true},
        {"category *= \"oc\"", true},
        {"category *= \"co\"", false},
        {"content *= \"quick\"", true},
        {"content *= \"fox\"", true},
        {"content *= \"foxy\"", false},
        {"id ^= \"user_\"", true},
        {"id == \"user_7\"", true},
        {"id > \"user_70\"", false},
        {"kind == 3", true},
        {"kind in (1,2)", false},
        {"has(lang)", true},
        {"has(nothing)", false},
        {"has(gone)", true},
        {"!has(gone)", false},
        {"gone == null", true},
        {"gone != null", false},
        {"nothing == null", false},
        {"nothing != null", true},
        {"nothing < 5", false},
        {"nothing != 5", true},
        {"pages == 672", true},
        {"pages == 672.0", true},
        {"pages > 671.5", true},
        {"pages < 672.5", true},
        {"pages > 672.5", false},
        {"pages == \"672\"", false},
        {"price == 59.5", true},
        {"price > 59", true},
        {"price < 60", true},
        {"price in (1, 59.5)", true},
        {"pages >= -5", true},
        {"big == 9223372036854775807", true},
        {"big < 9223372036854775808.0", true},
        {"big > 9223372036854774784.0", true},
        {"is_new == true", true},
        {"is_new == false", false},
        {"is_new == 1", false},
        {"is_new", false}, /* not a filter: see below */
        {"prop(\"or\") == \"||\"", true},
        {"prop(\"ts\") == 1", true},
        {"a.b == 3", true},
        {"\xc3\xa9t\xc3\xa9 == \"summer\"", true},
        {"prop(\"\\u00e9t\\u00e9\") ^= \"sum\"", true},
        {"field(parent) == \"doc1\"", true},
        {"field(status) == 2", true},
        {"has(field(filename))", false},
        {"has(field(parent))", true},
        {"has(prop(\"lang\"))", true},
        /* precedence, lists, nesting */
        {"pages == 1 || pages == 672 && lang == \"en\"", true},
        {"pages == 672 || pages == 1 && lang == \"xx\"", true},
        {"(pages == 672 || pages == 1) && lang == \"xx\"", false},
        {"!(pages == 1) && !(lang == \"xx\")", true},
        {"!!(pages == 672)", true},
        {"pages==672&&lang==\"en\"&&price==59.5&&kind==3", true},
        {"pages==1||lang==\"x\"||price==1||kind==3", true},
        {" ( ( pages == 672 ) ) ", true},
        {"importance >= 0.8 && ts > now-1h && category in (\"docs\",\"faq\") && id ^= \"user_\" && "
         "has(lang)",
         true},
    };
    struct fixture *f = *state;
    odb_record *r = subject(f);

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        odb_filter *filter;
        odb_status st = odb_filter_parse(odb_s(rows[i].text), &filter, NULL);

        if (strcmp(rows[i].text, "is_new") == 0) {
            assert_status(st, ODB_INVALID);
            continue;
        }
        if (st != ODB_OK)
            fail_msg("%s: %s", rows[i].text, odb_error_text());
        if (odb_filter_matches(filter, r, NOW) != rows[i].want)
            fail_msg("%s is %d", rows[i].text, !rows[i].want);
        odb_filter_free(filter);
    }
    odb_record_free(r);
}

static void what_is_no_filter_is_refused_where_it_goes_wrong(void **state)
{
    static const struct {
        const char *text;
        size_t at;
    } rows[] = {
        {"", 0},
        {"   ", 3},
        {"a", 1},
        {"a =", 2},
        {"a = 1", 2},
        {"a ==", 4},
        {"a == b", 5},
        {"a == 'b'", 5},
        {"a == \"b", 5},
        {"a == \"\\x\"", 7},
        {"a == 01", 5},
        {"a == 1.", 7},
        {"a == 99999999999999999999", 5},
        {"a == 1 b", 7},
        {"a == 1 &", 7},
        {"a == 1 &&", 9},
        {"&& a == 1", 0},
        {"a == 1 || ", 10},
        {"(a == 1", 7},
        {"a == 1)", 6},
        {"()", 1},
        {"!", 1},
        {"! == 1", 2},
        {"a in 1", 5},
        {"a in ()", 6},
        {"a in (1", 7},
        {"a in (1,)", 8},
        {"a in (1 2)", 8},
        {"has(a", 5},
        {"has()", 4},
        {"has a", 0},
        {"now == 1", 0},
        {"true", 0},
        {"ts > \"yesterday\"", 5},
        {"ts > \"2026-02-30\"", 5},
        {"ts > \"2025-02-29\"", 5},
        {"ts > now-", 9},
        {"ts > now-1", 10},
        {"ts > now-1y", 11},
        {"ts > now-9999999999999999999w", 9},
        {"field(nope) == 1", 10},
        {"prop(a) == 1", 5},
        {"prop(\"a\" == 1", 9},
        {"a == 1 || b", 11},
        {"a \xff == 1", 2},
        {"\xff == 1", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        odb_filter *filter;
        size_t at = 999;
        odb_status st = odb_filter_parse(odb_s(rows[i].text), &filter, &at);

        if (st != ODB_INVALID)
            fail_msg("'%s' is let in", rows[i].text);
        if (at != rows[i].at)
            fail_msg("'%s' is refused at %zu, not at %zu: %s", rows[i].text, at, rows[i].at,
                     odb_error_text());
    }
}

static void nesting_ends_at_sixty_four_and_lists_do_not(void **state)
{
    char text[65536];
    odb_filter *filter;
    size_t len = 0;

    (void)state;
    for (int depth = 64; depth <= 65; depth++) {
        memset(text, '(', (size_t)depth);
        memcpy(text + depth, "a==1", 4);
        memset(text + depth + 4, ')', (size_t)depth);
        len = 2 * (size_t)depth + 4;
        assert_status(odb_filter_parse(odb_bytes(text, len), &filter, NULL),
                      depth == 64 ? ODB_OK : ODB_INVALID);
        if (depth == 64)
            odb_filter_free(filter);
    }
    for (len = 0; len < sizeof text - 12;)
        len += (size_t)snprintf(text + len, sizeof text - len, "%sa==1", len ? "||" : "");
    assert_ok(odb_filter_parse(odb_bytes(text, len), &filter, NULL));
    odb_filter_free(filter);
}

static bool is_short(void *arg, const odb_record *r)
{
    ++*(int *)arg;
    return odb_record_content(r).size < 10;
}

static void a_function_can_be_a_filter(void **state)
{
    struct fixture *f = *state;
    odb_record *r = subject(f);
    odb_filter *filter;
    int calls = 0;

    assert_ok(odb_filter_fn(is_short, &calls, &filter));
    assert_false(odb_filter_matches(filter, r, NOW));
    assert_int_equal(calls, 1);
    odb_filter_free(filter);
    assert_status(odb_filter_fn(NULL, NULL, &filter), ODB_INVALID);
    odb_record_free(r);
}

static double fraction_of(struct fixture *f, const char *text, odb_filter_guess *g)
{
    odb_filter *filter;

    g->size = sizeof *g;
    assert_ok(odb_filter_parse(odb_s(text), &filter, NULL));
    assert_ok(odb_filter_estimate(odb_now(f->db), filter, 0, g));
    odb_filter_free(filter);
    return g->fraction;
}

static void selectivity_is_guessed(void **state)
{
    struct fixture *f = *state;
    odb_filter_guess g;
    odb_txn *t;
    double x;

    x = fraction_of(f, "n < 10", &g);
    assert_true(x == 0 && g.is_exact && g.at_most == 0);
    assert_ok(odb_txn_begin(f->db, NULL, &t));
    for (int i = 0; i < 4000; i++) {
        char id[16];
        odb_prop p = odb_prop_int("n", i % 10);
        odb_record_draft d = odb_record_make(id, "x");

        (void)snprintf(id, sizeof id, "mem_%06d", i);
        d.id = odb_s(id);
        d.timestamp = 1000 + i;
        d.importance = (float)(i % 100) / 100;
        d.props = &p;
        d.prop_count = 1;
        assert_ok(odb_record_put(f->db, t, &d, 0));
        if (i == 99) {
            assert_ok(odb_txn_commit(t, NULL));
            x = fraction_of(f, "n < 3", &g);
            assert_true(x == (double)0.3 && g.is_exact && g.at_most == 30);
            assert_ok(odb_txn_reset(t));
        }
    }
    assert_ok(odb_txn_commit(t, NULL));
    odb_txn_free(t);
    x = fraction_of(f, "n < 3", &g);
    assert_false(g.is_exact);
    assert_true(g.at_most == UINT64_MAX);
    if (x < 0.2 || x > 0.4)
        fail_msg("n < 3 is guessed at %g", x);
    assert_true(g.examined < 1000);
    (void)fraction_of(f, "n < 3 && ts < 1050", &g);
    assert_int_equal(g.at_most, 50);
    (void)fraction_of(f, "importance >= 0.99", &g);
    assert_int_equal(g.at_most, 40);
    (void)fraction_of(f, "id ^= \"mem_0012\"", &g);
    assert_int_equal(g.at_most, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(expressions_mean_what_they_say),
        cmocka_unit_test(what_is_no_filter_is_refused_where_it_goes_wrong),
        cmocka_unit_test(nesting_ends_at_sixty_four_and_lists_do_not),
        BOTH(a_function_can_be_a_filter),
        BOTH(selectivity_is_guessed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
