/* memory/chunk.c -- what a file is by its name, and a text cut into pieces that are small enough to be
 * searched.
 *
 *     characters, target 8, overlap 2          paragraphs, target 20
 *
 *     The quick brown fox                      First one.
 *     |------|                                 <empty line>          |  piece 1: both fit
 *           |------|                           Second.               |
 *                 |-----|                      <empty line>
 *                                              Third, on its own.    |  piece 2
 *
 * 1. Pieces are cut between characters, never inside one; a character is a code point.
 * 2. Offsets count characters from the beginning of the text, as the original's do.
 * 3. The text is checked as a whole before the first piece is given.
 */
#include "memory/memory_priv.h"

#include <string.h>

#include "base/status.h"
#include "records/utf8.h"

/* ---- types of files ---- */

static const struct {
    const char *extension;
    odb_file_type type;
} file_types[] = {
    {"txt", ODB_FILE_TEXT},   {"md", ODB_FILE_TEXT},   {"markdown", ODB_FILE_TEXT},
    {"text", ODB_FILE_TEXT},  {"pdf", ODB_FILE_PDF},   {"doc", ODB_FILE_DOCX},
    {"docx", ODB_FILE_DOCX},  {"mp3", ODB_FILE_AUDIO}, {"wav", ODB_FILE_AUDIO},
    {"m4a", ODB_FILE_AUDIO},  {"aac", ODB_FILE_AUDIO}, {"flac", ODB_FILE_AUDIO},
    {"ogg", ODB_FILE_AUDIO},  {"mp4", ODB_FILE_VIDEO}, {"avi", ODB_FILE_VIDEO},
    {"mkv", ODB_FILE_VIDEO},  {"mov", ODB_FILE_VIDEO}, {"webm", ODB_FILE_VIDEO},
    {"flv", ODB_FILE_VIDEO},  {"jpg", ODB_FILE_IMAGE}, {"jpeg", ODB_FILE_IMAGE},
    {"png", ODB_FILE_IMAGE},  {"gif", ODB_FILE_IMAGE}, {"bmp", ODB_FILE_IMAGE},
    {"webp", ODB_FILE_IMAGE}, {"svg", ODB_FILE_IMAGE},
};

static bool same_letters(odb_slice s, const char *lower)
{
    const uint8_t *p = s.data;

    if (s.size != strlen(lower))
        return false;
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = p[i] >= 'A' && p[i] <= 'Z' ? (uint8_t)(p[i] + 32) : p[i];

        if (c != (uint8_t)lower[i])
            return false;
    }
    return true;
}

odb_file_type odb_file_type_of(odb_slice extension)
{
    for (size_t i = 0; i < sizeof file_types / sizeof file_types[0]; i++) {
        if (same_letters(extension, file_types[i].extension))
            return file_types[i].type;
    }
    return ODB_FILE_UNKNOWN;
}

const char *odb_file_type_name(odb_file_type type)
{
    switch (type) {
    case ODB_FILE_TEXT: return "Plain text file";
    case ODB_FILE_PDF: return "PDF document";
    case ODB_FILE_DOCX: return "Microsoft Word document";
    case ODB_FILE_AUDIO: return "Audio file";
    case ODB_FILE_VIDEO: return "Video file";
    case ODB_FILE_IMAGE: return "Image file";
    case ODB_FILE_UNKNOWN: break;
    }
    return "Unknown file type";
}

/* ---- pieces ---- */

/* A place in a text: bytes and characters before it. */
struct text_place {
    const uint8_t *p;
    uint64_t chars;
};

struct cutter {
    const uint8_t *end; /* of the text, which is UTF-8 */
    size_t target, overlap;
    odb_chunk_each *each;
    void *arg;
};

/* Move on by up to `count` characters, at most to `end`. */
static void skip_chars(struct text_place *at, const uint8_t *end, size_t count)
{
    for (; count > 0 && at->p < end; count--) {
        at->p += utf8_char_len(at->p, end);
        at->chars++;
    }
}

static odb_status give_piece(const struct cutter *c, struct text_place from, struct text_place to)
{
    odb_slice piece = odb_bytes(from.p, (size_t)(to.p - from.p));

    return c->each(c->arg, piece, from.chars, to.chars) ? ODB_OK : ODB_CANCELLED;
}

/* Cut what lies between `at` and `end` by characters. */
static odb_status cut_by_chars(const struct cutter *c, struct text_place at, const uint8_t *end)
{
    while (at.p < end) {
        struct text_place to = at;
        odb_status st;

        skip_chars(&to, end, c->target);
        st = give_piece(c, at, to);
        if (st != ODB_OK)
            return st;
        if (to.p == end)
            break;
        skip_chars(&at, end, c->target - c->overlap);
    }
    return ODB_OK;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The end of the paragraph at `at`: behind its last character that is not white space. *next is where the
 * one behind it begins. */
static struct text_place find_paragraph_end(struct text_place at, const uint8_t *end,
                                            struct text_place *next)
{
    struct text_place to = at;

    while (at.p < end) {
        bool is_line_empty = true;

        for (; at.p < end && *at.p != '\n'; skip_chars(&at, end, 1)) {
            if (!is_blank(*at.p)) {
                is_line_empty = false;
                to = at;
                skip_chars(&to, end, 1);
            }
        }
        if (at.p < end)
            skip_chars(&at, end, 1);
        if (is_line_empty)
            break;
    }
    *next = at;
    return to;
}

/* Go to the beginning of the next line that is not empty. */
static void skip_empty_lines(struct text_place *at, const uint8_t *end)
{
    struct text_place line = *at;

    while (line.p < end) {
        while (line.p < end && is_blank(*line.p))
            skip_chars(&line, end, 1);
        if (line.p < end && *line.p != '\n')
            return;
        skip_chars(&line, end, 1);
        *at = line;
    }
    *at = line;
}

static odb_status cut_by_paragraphs(const struct cutter *c, struct text_place at)
{
    struct text_place first = {0}, last = {0}; /* of the piece that is being gathered */
    odb_status st;

    for (skip_empty_lines(&at, c->end); at.p < c->end; skip_empty_lines(&at, c->end)) {
        struct text_place next;
        struct text_place to = find_paragraph_end(at, c->end, &next);

        if (first.p && to.chars - first.chars > c->target) {
            st = give_piece(c, first, last);
            if (st != ODB_OK)
                return st;
            first.p = NULL;
        }
        if (to.chars - at.chars > c->target) {
            st = cut_by_chars(c, at, to.p);
            if (st != ODB_OK)
                return st;
        } else {
            if (!first.p)
                first = at;
            last = to;
        }
        at = next;
    }
    return first.p ? give_piece(c, first, last) : ODB_OK;
}

odb_status odb_chunk_text(odb_slice text, size_t target, size_t overlap, odb_chunking how,
                          odb_chunk_each *each, void *arg)
{
    struct text_place begin = {text.data, 0};
    struct cutter c;

    if (!each || (text.size && !text.data))
        return err_set(ODB_INVALID, "cutting a text needs a text and a function for the pieces");
    if (target == 0 || overlap >= target)
        return err_set(ODB_INVALID,
                       "a piece must have at least one character, and overlap by less");
    if (how != ODB_CHUNK_CHARS && how != ODB_CHUNK_PARAGRAPHS)
        return err_set(ODB_INVALID, "unknown way of cutting a text: %d", (int)how);
    if (!utf8_is_valid(text))
        return err_set(ODB_INVALID, "the text to cut is not UTF-8");
    if (text.size == 0)
        return ODB_OK;
    c = (struct cutter){begin.p + text.size, target, overlap, each, arg};
    return how == ODB_CHUNK_CHARS ? cut_by_chars(&c, begin, c.end) : cut_by_paragraphs(&c, begin);
}
