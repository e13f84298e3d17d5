/* lsm/edit.c -- how a change of one tree is written into the manifest.
 *
 *   edit:   family varint | flags varint | [flushed lsn varint] |
 *           add count varint, adds | remove count varint, removes
 *   flags   bit 0: a flushed lsn follows; the others are unknown here and refused
 *   add:    level u8 | file_no varint | size varint | check u64 | entries varint | deletes varint |
 *           raw bytes varint | min seq varint | max seq varint | smallest, largest: length, bytes
 *   remove: level u8 | file_no varint
 *
 * The manifest's record around it carries the checksum (cf/manifest.c). A count is believed only as
 * far as the bytes that are left could hold so many items.
 */
#include "base/alloc.h"
#include "lsm/lsm.h"

#define EDIT_HAS_FLUSHED 1u
#define EDIT_ADD_MIN     18 /* bytes of the shortest add */
#define EDIT_REMOVE_MIN  2

void lsm_edit_release(struct lsm_edit *e)
{
    for (uint32_t i = 0; i < e->add_count; i++)
        sst_meta_release(&e->add[i].meta);
    mem_free(e->add);
    mem_free(e->remove);
    *e = (struct lsm_edit){0};
}

static uint8_t *encode_add(uint8_t *p, const struct lsm_edit_add *a)
{
    const struct sst_meta *m = &a->meta;

    *p++ = (uint8_t)a->level;
    p = enc_varint(p, m->file_no);
    p = enc_varint(p, m->size);
    enc_u64(p, m->check);
    p = enc_varint(p + 8, m->entries);
    p = enc_varint(p, m->deletes);
    p = enc_varint(p, m->raw_bytes);
    p = enc_varint(p, m->min_seq);
    p = enc_varint(p, m->max_seq);
    p = enc_varint(p, m->smallest.len);
    if (m->smallest.len)
        memcpy(p, m->smallest.p, m->smallest.len);
    p = enc_varint(p + m->smallest.len, m->largest.len);
    if (m->largest.len)
        memcpy(p, m->largest.p, m->largest.len);
    return p + m->largest.len;
}

odb_status lsm_edit_encode(const struct lsm_edit *e, struct buf *out)
{
    size_t need = 5 * VARINT_MAX + (size_t)e->remove_count * (1 + VARINT_MAX);
    uint8_t *p;
    odb_status st;

    for (uint32_t i = 0; i < e->add_count; i++)
        need += 1 + 8 + 9 * VARINT_MAX + e->add[i].meta.smallest.len + e->add[i].meta.largest.len;
    st = buf_reserve(out, need);
    if (st != ODB_OK)
        return st;
    p = out->p + out->len;
    p = enc_varint(p, e->family);
    p = enc_varint(p, e->has_flushed ? EDIT_HAS_FLUSHED : 0);
    if (e->has_flushed)
        p = enc_varint(p, e->flushed_lsn);
    p = enc_varint(p, e->add_count);
    for (uint32_t i = 0; i < e->add_count; i++)
        p = encode_add(p, &e->add[i]);
    p = enc_varint(p, e->remove_count);
    for (uint32_t i = 0; i < e->remove_count; i++) {
        *p++ = (uint8_t)e->remove[i].level;
        p = enc_varint(p, e->remove[i].file_no);
    }
    out->len = (size_t)(p - out->p);
    return ODB_OK;
}

/* One added table. ODB_OK with d->bad set when malformed. */
static odb_status decode_add(struct dec *d, struct lsm_edit_add *a)
{
    struct sst_meta *m = &a->meta;
    odb_slice smallest, largest;
    odb_status st;

    a->level = dec_u8(d);
    m->file_no = dec_varint(d);
    m->size = dec_varint(d);
    m->check = dec_u64(d);
    m->entries = dec_varint(d);
    m->deletes = dec_varint(d);
    m->raw_bytes = dec_varint(d);
    m->min_seq = dec_varint(d);
    m->max_seq = dec_varint(d);
    smallest = dec_lenbytes(d);
    largest = dec_lenbytes(d);
    if (d->bad)
        return ODB_OK;
    if (a->level >= LSM_LEVELS || m->file_no == 0 || m->entries == 0 || m->deletes > m->entries ||
        m->max_seq > SEQ_MAX || m->min_seq > m->max_seq || smallest.size > KEY_LEN_MAX ||
        largest.size > KEY_LEN_MAX || odb_slice_compare(smallest, largest) > 0) {
        d->bad = true;
        return ODB_OK;
    }
    st = buf_assign(&m->smallest, smallest.data, smallest.size);
    if (st == ODB_OK)
        st = buf_assign(&m->largest, largest.data, largest.size);
    return st;
}

static odb_status decode_adds(struct dec *d, struct lsm_edit *e)
{
    uint32_t count = dec_varint32(d);
    odb_status st = ODB_OK;

    if (d->bad || count > dec_left(d) / EDIT_ADD_MIN) {
        d->bad = true;
        return ODB_OK;
    }
    e->add = mem_zalloc(count, sizeof *e->add);
    if (!e->add)
        return err_set(ODB_NOMEM, "out of memory for an edit of %u tables", count);
    while (e->add_count < count && !d->bad && st == ODB_OK)
        st = decode_add(d, &e->add[e->add_count++]);
    return st;
}

static odb_status decode_removes(struct dec *d, struct lsm_edit *e)
{
    uint32_t count = dec_varint32(d);

    if (d->bad || count > dec_left(d) / EDIT_REMOVE_MIN) {
        d->bad = true;
        return ODB_OK;
    }
    e->remove = mem_zalloc(count, sizeof *e->remove);
    if (!e->remove)
        return err_set(ODB_NOMEM, "out of memory for an edit of %u tables", count);
    for (; e->remove_count < count && !d->bad; e->remove_count++) {
        struct lsm_edit_remove *r = &e->remove[e->remove_count];

        r->level = dec_u8(d);
        r->file_no = dec_varint(d);
        if (r->level >= LSM_LEVELS)
            d->bad = true;
    }
    return ODB_OK;
}

odb_status lsm_edit_decode(odb_slice bytes, struct lsm_edit *out, bool *is_malformed)
{
    struct dec d = dec_from(bytes);
    struct lsm_edit e = {0};
    odb_status st = ODB_OK;
    uint64_t flags;

    e.family = dec_varint32(&d);
    flags = dec_varint(&d);
    e.has_flushed = flags & EDIT_HAS_FLUSHED;
    if (e.has_flushed)
        e.flushed_lsn = dec_varint(&d);
    if (flags & ~(uint64_t)EDIT_HAS_FLUSHED || !lsn_is_possible(e.flushed_lsn))
        d.bad = true;
    if (!d.bad)
        st = decode_adds(&d, &e);
    if (st == ODB_OK && !d.bad)
        st = decode_removes(&d, &e);
    *is_malformed = d.bad || dec_left(&d) > 0;
    if (st != ODB_OK || *is_malformed) {
        lsm_edit_release(&e);
        *out = e;
        return st;
    }
    *out = e;
    return ODB_OK;
}
