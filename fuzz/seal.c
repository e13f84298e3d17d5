/* fuzz/seal.c -- the writer's checksums, applied to bytes that no writer made.
 *
 * Each format is drawn where it is decoded (sstable/layout.c, frame.c, wal/record.h, segment.c,
 * cf/manifest.c, cf/files.c); this file knows where the checks lie and no more. It is the counterpart
 * of a decoder: whatever the bytes, it stays inside them, and stops where they lead nowhere.
 */
#include "fuzz/seal.h"

#include <inttypes.h>

#include "base/hash.h"
#include "cf/files.h"
#include "cf/manifest.h"
#include "sstable/frame.h"
#include "sstable/index.h"
#include "sstable/layout.h"
#include "wal/record.h"
#include "wal/segment.h"

#define SEAL_UNPACK_MAX ((size_t)1 << 20)

/* ---- tables ---- */

static uint64_t seal_frame(uint8_t *p, uint64_t from, uint64_t to, uint64_t salt,
                           enum fuzz_seal how)
{
    uint64_t check;
    uint8_t *end = p + to;

    if (to - from < FRAME_TAIL)
        return 0;
    if (how == FUZZ_LENGTHS && end[-9] == CODEC_RAW)
        enc_u32(end - FRAME_TAIL, (uint32_t)(to - from - FRAME_TAIL));
    check = hash_salted(p + from, (size_t)(to - from - 8), salt, from);
    enc_u64(end - 8, check);
    return check;
}

/* The bytes of a frame, unpacked; empty when there are none to be had. */
static void seal_unpack(const uint8_t *p, uint64_t from, uint64_t to, struct buf *out)
{
    struct frame_view v;

    buf_reset(out);
    if (frame_open(odb_bytes(p + from, (size_t)(to - from)), 0, from, false, &v) != NULL ||
        v.raw_len > SEAL_UNPACK_MAX || buf_reserve(out, v.raw_len + 1u) != ODB_OK)
        return;
    if (frame_unpack(&v, out->p, "", from) == ODB_OK)
        out->len = v.raw_len;
}

static bool seal_sections(const uint8_t *p, size_t len, struct sst_footer *f)
{
    const uint8_t *foot = p + len - SST_FOOTER_LEN;

    if (len < SST_HEADER_LEN + SST_FOOTER_LEN)
        return false;
    *f = (struct sst_footer){.filter_off = get_u64(foot + 8),
                             .index_off = get_u64(foot + 16),
                             .props_off = get_u64(foot + 24)};
    return f->filter_off > SST_HEADER_LEN && f->filter_off <= f->index_off &&
           f->index_off < f->props_off && f->props_off < len - SST_FOOTER_LEN;
}

static void seal_blocks(uint8_t *p, const struct sst_footer *f, uint64_t salt, enum fuzz_seal how,
                        uint64_t *digest)
{
    struct buf bytes = {0};
    struct sst_index index;

    seal_unpack(p, f->index_off, f->props_off, &bytes);
    if (bytes.len > 0 &&
        index_open(buf_slice(&bytes), SST_HEADER_LEN, f->filter_off, &index) == NULL) {
        *digest = 0;
        for (uint32_t i = 0; i < index.count; i++)
            *digest = hash_mix(
                *digest, seal_frame(p, index.block_off[i], index.block_off[i + 1], salt, how));
        index_release(&index);
    }
    buf_release(&bytes);
}

void seal_table(uint8_t *p, size_t len, uint64_t db_id, uint64_t file_no, enum fuzz_seal how)
{
    uint64_t salt = salt_for_file(db_id, file_no), end = len - SST_FOOTER_LEN, digest;
    struct sst_footer f;
    uint8_t *foot = p + len - SST_FOOTER_LEN;

    if (how == FUZZ_AS_IT_IS || len < SST_HEADER_LEN + SST_FOOTER_LEN)
        return;
    enc_u64(p + SST_HEADER_LEN - 8, hash64(p, SST_HEADER_LEN - 8));
    if (how == FUZZ_LENGTHS)
        enc_u64(foot, len);
    if (seal_sections(p, len, &f)) {
        if (f.filter_off < f.index_off)
            (void)seal_frame(p, f.filter_off, f.index_off, salt, how);
        (void)seal_frame(p, f.index_off, f.props_off, salt, how);
        (void)seal_frame(p, f.props_off, end, salt, how);
        digest = get_u64(foot + 32);
        seal_blocks(p, &f, salt, how, &digest);
        enc_u64(foot + 32, digest);
    }
    enc_u64(foot + 40, hash_salted(foot, 40, salt, end));
}

void seal_table_meta(const uint8_t *p, size_t len, uint64_t db_id, uint64_t file_no,
                     struct sst_meta *out)
{
    struct buf bytes = {0};
    struct sst_footer f;
    struct sst_props props;

    (void)db_id;
    *out = (struct sst_meta){.file_no = file_no, .size = len, .entries = 1};
    if (len >= 8)
        out->check = get_u64(p + len - 8);
    if (!seal_sections(p, len, &f))
        return;
    seal_unpack(p, f.props_off, len - SST_FOOTER_LEN, &bytes);
    if (sst_props_decode(buf_slice(&bytes), &props)) {
        out->entries = props.entries;
        out->deletes = props.deletes;
        out->raw_bytes = props.raw_bytes;
        out->min_seq = props.min_seq;
        out->max_seq = props.max_seq;
        FUZZ_REQUIRE(buf_assign(&out->smallest, props.smallest.data, props.smallest.size) ==
                     ODB_OK);
        FUZZ_REQUIRE(buf_assign(&out->largest, props.largest.data, props.largest.size) == ODB_OK);
    }
    buf_release(&bytes);
}

/* ---- the log ---- */

struct seal_end seal_records(uint8_t *p, size_t len, uint64_t salt, uint64_t lsn,
                             enum fuzz_seal how)
{
    struct seal_end end = {lsn, 0};
    size_t at = 0;

    while (len - at >= WAL_RECORD_HEADER) {
        size_t left = len - at - WAL_RECORD_HEADER;
        struct wal_record_head head;

        wal_record_decode(p + at, &head);
        if (head.type == 0)
            break;
        if (head.length > left && how == FUZZ_LENGTHS)
            head.length = (uint32_t)left;
        if (head.length > left)
            break;
        if (how != FUZZ_AS_IT_IS) {
            head.check = wal_record_check(&head, hash64(p + at + WAL_RECORD_HEADER, head.length),
                                          salt, end.lsn);
            wal_record_encode(p + at, &head);
        }
        end.check = head.check;
        end.lsn += wal_record_size(head.length);
        if (wal_record_size(head.length) > len - at)
            break;
        at += (size_t)wal_record_size(head.length);
    }
    return end;
}

struct seal_end seal_segment(uint8_t *p, size_t len, enum fuzz_seal how)
{
    uint64_t salt, first;
    size_t begin;

    if (len < WAL_SEGMENT_HEADER)
        return (struct seal_end){0, 0};
    salt = get_u64(p + 40);
    first = get_u64(p + WAL_LINK_AT);
    if (how != FUZZ_AS_IT_IS) {
        enc_u64(p + WAL_LINK_AT - 8, hash_salted(p, WAL_LINK_AT - 8, 0, 0));
        enc_u64(p + WAL_LINK_AT + WAL_LINK - 8,
                hash_salted(p + WAL_LINK_AT, WAL_LINK - 8, salt, 0));
    }
    begin = WAL_SEGMENT_HEADER + (size_t)(first & (WAL_PAGE - 1));
    if (begin > len)
        return (struct seal_end){first, 0};
    return seal_records(p + begin, len - begin, salt, first, how);
}

void seal_ring(uint8_t *p, size_t size, uint64_t salt, uint64_t lsn, enum fuzz_seal how)
{
    size_t at = (size_t)(lsn & (size - 1));
    uint8_t *line = malloc(size);

    FUZZ_REQUIRE(line != NULL);
    memcpy(line, p + at, size - at);
    memcpy(line + size - at, p, at);
    (void)seal_records(line, size, salt, lsn, how);
    memcpy(p + at, line, size - at);
    memcpy(p, line + size - at, at);
    free(line);
}

/* ---- the manifest and the two small files ---- */

void seal_manifest(uint8_t *p, size_t len, uint64_t db_id, uint64_t file_no, enum fuzz_seal how)
{
    uint64_t salt = salt_for_file(db_id, file_no);
    size_t at = MANIFEST_HEADER;

    if (how == FUZZ_AS_IT_IS || len < MANIFEST_HEADER)
        return;
    enc_u64(p + 48, hash_salted(p, 48, salt, 0));
    salt = hash_mix(salt, get_u64(p + 40));
    while (len - at > 12) {
        size_t left = len - at - 12, body = get_u32(p + at + 8);

        if ((body == 0 || body > left) && how == FUZZ_LENGTHS) {
            body = left;
            enc_u32(p + at + 8, (uint32_t)body);
        }
        if (body == 0 || body > left)
            return;
        enc_u64(p + at, hash_salted(p + at + 8, body + 4, salt, at));
        at += 12 + body;
    }
}

static void seal_text(uint8_t *p, size_t len, size_t covered, uint64_t check)
{
    char hex[17];

    (void)snprintf(hex, sizeof hex, "%016" PRIx64, check);
    if (len - covered > 16)
        memcpy(p + covered + 1, hex, 16);
}

/* Bytes before the last space; `len` when there is none. */
static size_t seal_text_covered(const uint8_t *p, size_t len)
{
    size_t n = len;

    while (n > 0 && p[n - 1] != ' ')
        n--;
    return n > 0 ? n - 1 : len;
}

void seal_current(uint8_t *p, size_t len, uint64_t db_id)
{
    size_t n = seal_text_covered(p, len);

    if (n < len)
        seal_text(p, len, n, hash_salted(p, n, salt_for_file(db_id, 0), 0));
}

void seal_identity(uint8_t *p, size_t len)
{
    size_t n = seal_text_covered(p, len);
    struct identity id = {{0, 0}};

    if (n != 32 || n == len)
        return;
    for (size_t i = 0; i < 32; i++) {
        uint8_t c = p[i];
        uint64_t digit = c >= '0' && c <= '9'   ? (uint64_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint64_t)(c - 'a' + 10)
                                                : 0;

        id.half[i / 16] = id.half[i / 16] << 4 | digit;
    }
    seal_text(p, len, n, hash_salted(p, n, identity_db_id(&id), 0));
}
