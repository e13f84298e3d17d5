/* Cutting texts, and what files are by their names. */
#include "tests/api/fixture.h"

#include "memory/odb_memory.h"
#include "tests/base/random.h"

/* ---- file types ---- */

static void extensions_tell_the_type(void **state)
{
    static const struct {
        const char *extension;
        odb_file_type type;
    } table[] = {
        {"txt", ODB_FILE_TEXT},     {"md", ODB_FILE_TEXT},    {"markdown", ODB_FILE_TEXT},
        {"text", ODB_FILE_TEXT},    {"pdf", ODB_FILE_PDF},    {"PDF", ODB_FILE_PDF},
        {"doc", ODB_FILE_DOCX},     {"DocX", ODB_FILE_DOCX},  {"mp3", ODB_FILE_AUDIO},
        {"wav", ODB_FILE_AUDIO},    {"m4a", ODB_FILE_AUDIO},  {"aac", ODB_FILE_AUDIO},
        {"flac", ODB_FILE_AUDIO},   {"ogg", ODB_FILE_AUDIO},  {"mp4", ODB_FILE_VIDEO},
        {"avi", ODB_FILE_VIDEO},    {"mkv", ODB_FILE_VIDEO},  {"mov", ODB_FILE_VIDEO},
        {"webm", ODB_FILE_VIDEO},   {"flv", ODB_FILE_VIDEO},  {"jpg", ODB_FILE_IMAGE},
        {"jpeg", ODB_FILE_IMAGE},   {"png", ODB_FILE_IMAGE},  {"gif", ODB_FILE_IMAGE},
        {"bmp", ODB_FILE_IMAGE},    {"webp", ODB_FILE_IMAGE}, {"svg", ODB_FILE_IMAGE},
        {"xyz", ODB_FILE_UNKNOWN},  {"", ODB_FILE_UNKNOWN},   {".pdf", ODB_FILE_UNKNOWN},
        {"pdfx", ODB_FILE_UNKNOWN}, {"pd", ODB_FILE_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (odb_file_type_of(odb_s(table[i].extension)) != table[i].type)
            fail_msg("extension \"%s\"", table[i].extension);
    }
    assert_string_equal(odb_file_type_name(ODB_FILE_TEXT), "Plain text file");
    assert_string_equal(odb_file_type_name(ODB_FILE_PDF), "PDF document");
    assert_string_equal(odb_file_type_name(ODB_FILE_DOCX), "Microsoft Word document");
    assert_string_equal(odb_file_type_name(ODB_FILE_AUDIO), "Audio file");
    assert_string_equal(odb_file_type_name(ODB_FILE_VIDEO), "Video file");
    assert_string_equal(odb_file_type_name(ODB_FILE_IMAGE), "Image file");
    assert_string_equal(odb_file_type_name(ODB_FILE_UNKNOWN), "Unknown file type");
    assert_string_equal(odb_file_type_name((odb_file_type)77), "Unknown file type");
}

/* ---- pieces ---- */

struct pieces {
    char text[64 * 1024]; /* "0-8 The quic|6-14 ..." */
    size_t len, count, stop_after;
    uint64_t last_end;
};

static bool note_piece(void *arg, odb_slice piece, uint64_t start, uint64_t end)
{
    struct pieces *p = arg;
    int n = snprintf(p->text + p->len, sizeof p->text - p->len, "%s%llu-%llu %.*s",
                     p->count ? "|" : "", (unsigned long long)start, (unsigned long long)end,
                     (int)piece.size, (const char *)piece.data);

    assert_true(n > 0 && (size_t)n < sizeof p->text - p->len);
    p->len += (size_t)n;
    p->last_end = end;
    return ++p->count != p->stop_after;
}

static void expect_pieces(const char *text, size_t target, size_t overlap, odb_chunking how,
                          const char *want)
{
    static struct pieces p;

    memset(&p, 0, sizeof p);
    assert_ok(odb_chunk_text(odb_s(text), target, overlap, how, note_piece, &p));
    assert_string_equal(p.text, want);
}

static void pieces_by_characters_overlap_and_reach_the_end(void **state)
{
    (void)state;
    expect_pieces("The quick brown fox", 8, 2, ODB_CHUNK_CHARS,
                  "0-8 The quic|6-14 ick brow|12-19 own fox");
    expect_pieces("abcdef", 3, 0, ODB_CHUNK_CHARS, "0-3 abc|3-6 def");
    expect_pieces("abcdef", 6, 3, ODB_CHUNK_CHARS, "0-6 abcdef");
    expect_pieces("abc", 100, 50, ODB_CHUNK_CHARS, "0-3 abc");
    expect_pieces("abc", 1, 0, ODB_CHUNK_CHARS, "0-1 a|1-2 b|2-3 c");
    expect_pieces("", 5, 0, ODB_CHUNK_CHARS, "");
}

static void a_character_is_never_cut_and_offsets_count_characters(void **state)
{
    (void)state;
    expect_pieces("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80x", 2, 1, ODB_CHUNK_CHARS,
                  "0-2 \xc3\xa4\xe2\x82\xac|1-3 \xe2\x82\xac\xf0\x9f\x98\x80|"
                  "2-4 \xf0\x9f\x98\x80x");
}

static void paragraphs_stay_whole_while_they_fit(void **state)
{
    (void)state;
    expect_pieces("First one.\n\nSecond.\n\nThird, on its own.", 21, 0, ODB_CHUNK_PARAGRAPHS,
                  "0-19 First one.\n\nSecond.|21-39 Third, on its own.");
    expect_pieces("One\ntwo\n \t\nthree", 100, 0, ODB_CHUNK_PARAGRAPHS,
                  "0-16 One\ntwo\n \t\nthree");
    expect_pieces("\n\n  \nA\n\nB\n\n", 1, 0, ODB_CHUNK_PARAGRAPHS, "5-6 A|8-9 B");
    expect_pieces("  indented\n", 20, 0, ODB_CHUNK_PARAGRAPHS, "0-10   indented");
    expect_pieces(" \n \n", 20, 0, ODB_CHUNK_PARAGRAPHS, "");
}

static void a_paragraph_longer_than_the_target_is_cut_by_characters(void **state)
{
    (void)state;
    expect_pieces("ab\n\nabcdefgh\n\ncd", 4, 1, ODB_CHUNK_PARAGRAPHS,
                  "0-2 ab|4-8 abcd|7-11 defg|10-12 gh|14-16 cd");
}

static void nonsense_is_refused_before_any_piece(void **state)
{
    struct pieces *p = calloc(1, sizeof *p);

    (void)state;
    assert_non_null(p);
    assert_status(odb_chunk_text(odb_s("abc"), 0, 0, ODB_CHUNK_CHARS, note_piece, p), ODB_INVALID);
    assert_status(odb_chunk_text(odb_s("abc"), 3, 3, ODB_CHUNK_CHARS, note_piece, p), ODB_INVALID);
    assert_status(odb_chunk_text(odb_s("abc"), 3, 0, (odb_chunking)9, note_piece, p), ODB_INVALID);
    assert_status(odb_chunk_text(odb_s("abc"), 3, 0, ODB_CHUNK_CHARS, NULL, p), ODB_INVALID);
    assert_status(odb_chunk_text(odb_bytes(NULL, 3), 3, 0, ODB_CHUNK_CHARS, note_piece, p),
                  ODB_INVALID);
    assert_status(odb_chunk_text(odb_s("ab\xff"), 1, 0, ODB_CHUNK_CHARS, note_piece, p),
                  ODB_INVALID);
    assert_int_equal(p->count, 0);
    free(p);
}

static void the_receiver_may_stop(void **state)
{
    struct pieces *p = calloc(1, sizeof *p);

    (void)state;
    assert_non_null(p);
    p->stop_after = 2;
    assert_status(odb_chunk_text(odb_s("abcdef"), 1, 0, ODB_CHUNK_CHARS, note_piece, p),
                  ODB_CANCELLED);
    assert_int_equal(p->count, 2);
    free(p);
}

/* Laid side by side, less what overlaps, the pieces are the text. */
struct joined {
    const char *text;
    size_t bytes, target, overlap;
    uint64_t chars;
};

static bool join_piece(void *arg, odb_slice piece, uint64_t start, uint64_t end)
{
    struct joined *j = arg;
    const char *p = piece.data;

    assert_true(start == (j->chars ? j->chars - j->overlap : 0));
    assert_in_range(end - start, 1, j->target);
    assert_true(p >= j->text && p <= j->text + j->bytes);
    j->bytes = (size_t)(p - j->text) + piece.size;
    j->chars = end;
    return true;
}

static void random_texts_are_covered_without_gaps(void **state)
{
    static const char *const letters[] = {"a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                          "\n"};
    struct rnd r = rnd_start("memory_chunk");
    char text[1024];

    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct joined j = {text, 0, 0, 0, 0};
        size_t chars = rnd_below(&r, 200), len = 0;

        for (size_t i = 0; i < chars; i++) {
            const char *c = letters[rnd_below(&r, 5)];

            memcpy(text + len, c, strlen(c));
            len += strlen(c);
        }
        j.target = 1 + rnd_below(&r, 20);
        j.overlap = rnd_below(&r, (uint32_t)j.target);
        assert_ok(odb_chunk_text(odb_bytes(text, len), j.target, j.overlap, ODB_CHUNK_CHARS,
                                 join_piece, &j));
        assert_int_equal(j.bytes, len);
        assert_int_equal(j.chars, chars);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extensions_tell_the_type),
        cmocka_unit_test(pieces_by_characters_overlap_and_reach_the_end),
        cmocka_unit_test(a_character_is_never_cut_and_offsets_count_characters),
        cmocka_unit_test(paragraphs_stay_whole_while_they_fit),
        cmocka_unit_test(a_paragraph_longer_than_the_target_is_cut_by_characters),
        cmocka_unit_test(nonsense_is_refused_before_any_piece),
        cmocka_unit_test(the_receiver_may_stop),
        cmocka_unit_test(random_texts_are_covered_without_gaps),
    };

    return cmocka_run_group_tests_name("memory/chunk.c", tests, NULL, NULL);
}
