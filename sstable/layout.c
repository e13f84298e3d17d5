/* sstable/layout.c -- a table file from end to end.
 *
 *    0        48                                                              size-48      size
 *    +--------+---------+---------+-----+---------+--------+-------+------------+----------+
 *    | header | block 0 | block 1 | ... | block n | filter | index | properties |  footer  |
 *    +--------+---------+---------+-----+---------+--------+-------+------------+----------+
 *                                                 ^        ^       ^
 *                                        filter_off  index_off   props_off
 *
 * Blocks, filter, index and properties are frames (frame.c); they lie without gaps. A table without
 * a filter has no filter frame: filter_off equals index_off. What is in a block is drawn in block.c,
 * the filter in filter.c, the index in index.c.
 *
 *    header
 *     0  magic          89 'O' 'D' 'B' 's' 's' 't' 0a     a transfer that changes text breaks it
 *     8  version        u32, now 1
 *    12  must_know      u32: bits a reader has to know, or refuse the file; none yet
 *    16  may_ignore     u32: bits it need not know
 *    20  reserved       u32, 0
 *    24  db_id          u64: the database the table was written for
 *    32  file_no        u64
 *    40  check          u64: of the bytes before, salted with nothing, so that a file from elsewhere
 *                       can be told from a damaged one
 *
 *    footer
 *     0  file_size      u64
 *     8  filter_off     u64
 *    16  index_off      u64
 *    24  props_off      u64
 *    32  digest         u64: the checksums of all data blocks, folded in order
 *    40  check          u64: of the bytes before, salted with file and offset. The manifest keeps
 *                       this number too, so it names one content, not only one place (C37)
 *
 *    properties: any number of
 *       name            length as varint, then ASCII
 *       type            u8: 1 number, 2 bytes
 *       value           length as varint, then a number as u64 or the bytes
 *    A reader skips names it does not know. Nothing here depends on time or machine: the same
 *    entries make the same file everywhere.
 *
 * The header keeps its shape in every version to come, so that an old release can say "too new"
 * instead of "damaged" (P18); the rest of the file is the business of the version. All integers are
 * little-endian.
 *
 * 1. Every byte of the file is under one of these checksums (P8).
 * 2. Offsets are taken from the footer only after its checksum, and only in rising order within the
 *    size the file really has (P17).
 */
#include "sstable/layout.h"

#include <stddef.h>

#include "base/hash.h"
#include "sstable/frame.h"

#define LAYOUT_VERSION   1u
#define LAYOUT_MUST_KNOW 0u /* the bits this release knows */

static const uint8_t layout_magic[8] = {0x89, 'O', 'D', 'B', 's', 's', 't', 0x0a};

/* ---- header ---- */

void sst_header_encode(uint8_t *p, uint64_t db_id, uint64_t file_no)
{
    memcpy(p, layout_magic, 8);
    enc_u32(p + 8, LAYOUT_VERSION);
    enc_u32(p + 12, 0);
    enc_u32(p + 16, 0);
    enc_u32(p + 20, 0);
    enc_u64(p + 24, db_id);
    enc_u64(p + 32, file_no);
    enc_u64(p + 40, hash64(p, 40));
}

odb_status sst_header_check(const uint8_t *p, const char *name, uint64_t db_id, uint64_t file_no)
{
    if (memcmp(p, layout_magic, 8) != 0)
        return err_corrupt(name, 0, "this is not a table");
    if (get_u64(p + 40) != hash64(p, 40))
        return err_corrupt(name, 0, "checksum mismatch in the header");
    if (get_u32(p + 8) != LAYOUT_VERSION || (get_u32(p + 12) & ~LAYOUT_MUST_KNOW) != 0)
        return err_set(ODB_VERSION,
                       "%s, offset 8: table version %u with features %#x; this release reads "
                       "version %u with features %#x. Open it with the release that wrote it",
                       name, get_u32(p + 8), get_u32(p + 12), LAYOUT_VERSION, LAYOUT_MUST_KNOW);
    if (get_u64(p + 24) != db_id)
        return err_corrupt(name, 24, "the file belongs to another database");
    if (get_u64(p + 32) != file_no)
        return err_corrupt(name, 32, "the file was written under another number");
    return ODB_OK;
}

/* ---- footer ---- */

uint64_t sst_footer_encode(uint8_t *p, const struct sst_footer *f, uint64_t salt)
{
    uint64_t check;

    enc_u64(p, f->file_size);
    enc_u64(p + 8, f->filter_off);
    enc_u64(p + 16, f->index_off);
    enc_u64(p + 24, f->props_off);
    enc_u64(p + 32, f->digest);
    check = hash_salted(p, 40, salt, f->file_size - SST_FOOTER_LEN);
    enc_u64(p + 40, check);
    return check;
}

odb_status sst_footer_decode(const uint8_t *p, const char *name, uint64_t file_size, uint64_t salt,
                             struct sst_footer *out, uint64_t *check)
{
    uint64_t off = file_size - SST_FOOTER_LEN;
    struct sst_footer f = {.file_size = get_u64(p),
                           .filter_off = get_u64(p + 8),
                           .index_off = get_u64(p + 16),
                           .props_off = get_u64(p + 24),
                           .digest = get_u64(p + 32)};

    if (hash_salted(p, 40, salt, off) != get_u64(p + 40))
        return err_corrupt(name, off, "checksum mismatch in the footer");
    if (f.file_size != file_size)
        return err_corrupt(name, off, "the footer tells another file size");
    if (f.filter_off <= SST_HEADER_LEN || f.index_off < f.filter_off ||
        f.props_off <= f.index_off || off <= f.props_off)
        return err_corrupt(name, off, "the footer's sections are out of order");
    if (f.index_off - f.filter_off > FRAME_RAW_MAX || f.props_off - f.index_off > FRAME_RAW_MAX ||
        off - f.props_off > FRAME_RAW_MAX)
        return err_corrupt(name, off, "a section of the footer is over the limit");
    *out = f;
    *check = get_u64(p + 40);
    return ODB_OK;
}

/* ---- properties ---- */

enum props_type {
    PROPS_NUMBER = 1,
    PROPS_BYTES = 2,
};

/* The known ones, in the order they are written. A shipped name never changes its meaning. */
static const struct props_name {
    const char *name;
    enum props_type type;
    size_t at; /* in struct sst_props */
} props_names[] = {
    {"entries", PROPS_NUMBER, offsetof(struct sst_props, entries)},
    {"deletes", PROPS_NUMBER, offsetof(struct sst_props, deletes)},
    {"keys", PROPS_NUMBER, offsetof(struct sst_props, keys)},
    {"blocks", PROPS_NUMBER, offsetof(struct sst_props, blocks)},
    {"raw_bytes", PROPS_NUMBER, offsetof(struct sst_props, raw_bytes)},
    {"unpacked_bytes", PROPS_NUMBER, offsetof(struct sst_props, unpacked_bytes)},
    {"min_seq", PROPS_NUMBER, offsetof(struct sst_props, min_seq)},
    {"max_seq", PROPS_NUMBER, offsetof(struct sst_props, max_seq)},
    {"max_block_deletes", PROPS_NUMBER, offsetof(struct sst_props, max_block_deletes)},
    {"block_size", PROPS_NUMBER, offsetof(struct sst_props, block_size)},
    {"bits_per_key", PROPS_NUMBER, offsetof(struct sst_props, bits_per_key)},
    {"smallest", PROPS_BYTES, offsetof(struct sst_props, smallest)},
    {"largest", PROPS_BYTES, offsetof(struct sst_props, largest)},
};

#define PROPS_COUNT (sizeof props_names / sizeof props_names[0])

static odb_status props_append(struct buf *out, const struct props_name *n, odb_slice value)
{
    size_t name_len = strlen(n->name);
    odb_status st = buf_reserve(out, name_len + value.size + 2 * VARINT_MAX + 1);
    uint8_t *p;

    if (st != ODB_OK)
        return st;
    p = enc_varint(out->p + out->len, name_len);
    memcpy(p, n->name, name_len);
    p += name_len;
    *p++ = (uint8_t)n->type;
    p = enc_varint(p, value.size);
    if (value.size)
        memcpy(p, value.data, value.size);
    out->len = (size_t)(p + value.size - out->p);
    return ODB_OK;
}

odb_status sst_props_encode(const struct sst_props *p, struct buf *out)
{
    odb_status st = ODB_OK;

    for (size_t i = 0; i < PROPS_COUNT && st == ODB_OK; i++) {
        const uint8_t *field = (const uint8_t *)p + props_names[i].at;
        uint8_t number[8];
        odb_slice value;

        if (props_names[i].type == PROPS_NUMBER) {
            uint64_t v;

            memcpy(&v, field, sizeof v);
            enc_u64(number, v);
            value = odb_bytes(number, sizeof number);
        } else {
            memcpy(&value, field, sizeof value);
        }
        st = props_append(out, &props_names[i], value);
    }
    return st;
}

bool sst_props_decode(odb_slice bytes, struct sst_props *out)
{
    struct dec d = dec_from(bytes);
    struct sst_props props = {0};
    uint32_t seen = 0;

    while (dec_left(&d) > 0) {
        odb_slice name = dec_lenbytes(&d);
        uint8_t type = dec_u8(&d);
        odb_slice value = dec_lenbytes(&d);

        if (d.bad)
            return false;
        for (uint32_t i = 0; i < PROPS_COUNT; i++) {
            uint8_t *field = (uint8_t *)&props + props_names[i].at;

            if (!odb_slice_equal(name, odb_s(props_names[i].name)))
                continue;
            if (type != props_names[i].type || (seen & UINT32_C(1) << i))
                return false;
            seen |= UINT32_C(1) << i;
            if (type == PROPS_NUMBER) {
                uint64_t v;

                if (value.size != 8)
                    return false;
                v = get_u64(value.data);
                memcpy(field, &v, sizeof v);
            } else {
                memcpy(field, &value, sizeof value);
            }
        }
    }
    if (seen != (UINT32_C(1) << PROPS_COUNT) - 1)
        return false;
    *out = props;
    return true;
}
