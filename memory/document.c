/* memory/document.c -- documents and their chunks, stored and deleted as one.
 *
 *     record "report"        kind document; filename, type, size, status, number of chunks
 *        |  has_chunk 1
 *        |------------->  record "report/1"    kind chunk; parent, start, end      vector
 *        |  has_chunk 2
 *        `------------->  record "report/2"    ...                                 vector
 *
 * The weight of an edge has_chunk is the place of its chunk, from 1: chunks come back in the order in
 * which they were given, whatever their ids.
 */
#include "memory/memory_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define CHUNKS_MAX (1u << 24) /* places a weight tells apart */

odb_document odb_document_make(const char *id, const char *filename, uint64_t file_size,
                               const char *text)
{
    const char *dot = strrchr(filename, '.');
    odb_document d;

    memset(&d, 0, sizeof d);
    d.size = sizeof d;
    d.memory = odb_memory_make(id, text);
    d.filename = odb_s(filename);
    d.file_type = dot ? odb_file_type_of(odb_s(dot + 1)) : ODB_FILE_UNKNOWN;
    d.file_size = file_size;
    d.status = ODB_DOCUMENT_COMPLETED;
    return d;
}

static odb_field int_field(odb_field_id id, int64_t value)
{
    odb_field f;

    memset(&f, 0, sizeof f);
    f.id = (uint32_t)id;
    f.value.type = ODB_PROP_INT;
    f.value.u.integer = value;
    return f;
}

static odb_field bytes_field(odb_field_id id, odb_prop_type type, odb_slice bytes)
{
    odb_field f;

    memset(&f, 0, sizeof f);
    f.id = (uint32_t)id;
    f.value.type = type;
    f.value.u.bytes = bytes;
    return f;
}

/* ---- checks ---- */

static odb_status check_document(const odb_document *d, const odb_chunk *chunks, size_t count)
{
    odb_status st;

    if (!d || d->size < sizeof *d)
        return err_set(ODB_INVALID, "odb_document.size is %zu, not %zu", d ? d->size : 0,
                       sizeof *d);
    if (count && !chunks)
        return err_set(ODB_INVALID, "%zu chunks at address NULL", count);
    if (count >= CHUNKS_MAX)
        return err_set(ODB_TOO_LARGE, "%zu chunks; a document has at most %u", count,
                       CHUNKS_MAX - 1);
    if (d->file_size > INT64_MAX)
        return err_set(ODB_INVALID, "the size of the file is beyond 63 bits");
    st = memory_check(&d->memory);
    for (size_t i = 0; st == ODB_OK && i < count; i++) {
        const odb_chunk *c = &chunks[i];

        if (c->size < sizeof *c)
            return err_set(ODB_INVALID, "odb_chunk.size of chunk %zu is %zu, not %zu", i, c->size,
                           sizeof *c);
        st = memory_check(&c->memory);
        if (st == ODB_OK && (c->end < c->start || c->end > INT64_MAX))
            return err_set(ODB_INVALID, "chunk %zu ends before it starts, or beyond 63 bits", i);
        if (st == ODB_OK && odb_slice_compare(c->memory.id, d->memory.id) == 0)
            return err_set(ODB_INVALID, "chunk %zu has the id of its document", i);
    }
    return st;
}

static int by_id(const void *a, const void *b)
{
    return odb_slice_compare(*(const odb_slice *)a, *(const odb_slice *)b);
}

/* The ids of the chunks, sorted. ODB_INVALID: one comes twice. *out is to be freed. */
static odb_status sort_chunk_ids(const odb_chunk *chunks, size_t count, odb_slice **out)
{
    odb_slice *ids = mem_array(count + 1, sizeof *ids);

    if (!ids)
        return err_set(ODB_NOMEM, "no memory for the ids of %zu chunks", count);
    for (size_t i = 0; i < count; i++)
        ids[i] = chunks[i].memory.id;
    qsort(ids, count, sizeof *ids, by_id);
    for (size_t i = 1; i < count; i++) {
        if (by_id(&ids[i - 1], &ids[i]) == 0) {
            mem_free(ids);
            return err_set(ODB_INVALID, "two chunks have the same id");
        }
    }
    *out = ids;
    return ODB_OK;
}

/* ---- storing ---- */

struct document_put {
    odb_db *db;
    const odb_document *doc;
    const odb_chunk *chunks;
    const odb_slice *sorted; /* ids of the chunks */
    size_t count;
    unsigned flags;
    bool is_guest;        /* of a transaction of others: nobody tells what becomes of it */
    struct vec_kept kept; /* from try to try */
};

/* Delete the chunks that the stored version of the document has, but for the `count` ids in `kept`. */
static odb_status drop_chunks(odb_db *db, odb_txn *txn, odb_slice id, const odb_slice *kept,
                              size_t count, unsigned flags)
{
    odb_edge_list old;
    odb_status st = odb_related(odb_in(txn), id, odb_s(ODB_REL_HAS_CHUNK), &old);

    if (st != ODB_OK)
        return st;
    for (size_t i = 0; st == ODB_OK && i < old.count; i++) {
        odb_slice chunk = old.edge[i].to;

        if (count && bsearch(&chunk, kept, count, sizeof *kept, by_id))
            continue;
        st = memory_erase(db, txn, chunk, flags);
        if (st == ODB_OK)
            st = odb_unlink(db, txn, id, odb_s(ODB_REL_HAS_CHUNK), chunk);
    }
    odb_edge_list_release(&old);
    return st;
}

static odb_status write_document(struct document_put *p, odb_txn *txn)
{
    odb_field fields[] = {
        bytes_field(ODB_FIELD_FILENAME, ODB_PROP_TEXT, p->doc->filename),
        int_field(ODB_FIELD_FILE_TYPE, (int64_t)p->doc->file_type),
        int_field(ODB_FIELD_FILE_SIZE, (int64_t)p->doc->file_size),
        int_field(ODB_FIELD_CHUNK_COUNT, (int64_t)p->count),
        int_field(ODB_FIELD_STATUS, (int64_t)p->doc->status),
    };
    const struct memory_extra extra = {ODB_KIND_DOCUMENT, fields, sizeof fields / sizeof fields[0]};

    return memory_write(p->db, txn, &p->doc->memory, &extra, p->flags,
                        p->is_guest ? NULL : &p->kept);
}

static odb_status write_chunk(struct document_put *p, odb_txn *txn, size_t i)
{
    const odb_chunk *c = &p->chunks[i];
    odb_field fields[] = {
        bytes_field(ODB_FIELD_PARENT, ODB_PROP_BYTES, p->doc->memory.id),
        int_field(ODB_FIELD_START, (int64_t)c->start),
        int_field(ODB_FIELD_END, (int64_t)c->end),
    };
    const struct memory_extra extra = {ODB_KIND_CHUNK, fields, sizeof fields / sizeof fields[0]};
    odb_edge edge = odb_edge_of(p->doc->memory.id, odb_s(ODB_REL_HAS_CHUNK), c->memory.id);
    odb_status st = memory_write(p->db, txn, &c->memory, &extra, 0, p->is_guest ? NULL : &p->kept);

    edge.weight = (float)(i + 1);
    return st == ODB_OK ? odb_link_edge(p->db, txn, &edge, NULL, 0, ODB_LINK_UPSERT) : st;
}

static odb_status document_put_step(void *arg, odb_txn *txn)
{
    struct document_put *p = arg;
    odb_status st;

    p->kept.next = 0;
    st = write_document(p, txn);
    if (st == ODB_OK)
        st = drop_chunks(p->db, txn, p->doc->memory.id, p->sorted, p->count, 0);
    for (size_t i = 0; st == ODB_OK && i < p->count; i++)
        st = write_chunk(p, txn, i);
    return st;
}

odb_status odb_document_put(odb_db *db, odb_txn *txn, const odb_document *doc,
                            const odb_chunk *chunks, size_t count, unsigned flags)
{
    struct document_put p = {.db = db,
                             .doc = doc,
                             .chunks = chunks,
                             .count = count,
                             .flags = flags,
                             .is_guest = txn != NULL};
    odb_slice *sorted = NULL;
    odb_status st = check_document(doc, chunks, count);

    if (st == ODB_OK && (flags & ~(ODB_INSERT_ONLY | ODB_UPDATE_ONLY)))
        st = err_set(ODB_INVALID, "flags %#x mean nothing here", flags);
    if (st == ODB_OK)
        st = sort_chunk_ids(chunks, count, &sorted);
    if (st != ODB_OK)
        return st;
    p.sorted = sorted;
    st = memory_in_txn(db, txn, document_put_step, &p);
    vec_kept_end(db, &p.kept, st);
    mem_free(sorted);
    return st;
}

/* ---- deleting ---- */

struct document_delete {
    odb_db *db;
    odb_slice id;
    unsigned flags;
};

static odb_status document_delete_step(void *arg, odb_txn *txn)
{
    const struct document_delete *d = arg;
    odb_status st = drop_chunks(d->db, txn, d->id, NULL, 0, d->flags & (unsigned)ODB_CASCADE_EDGES);

    return st == ODB_OK ? memory_erase(d->db, txn, d->id, d->flags) : st;
}

odb_status odb_document_delete(odb_db *db, odb_txn *txn, odb_slice id, unsigned flags)
{
    struct document_delete d = {db, id, flags};

    if (flags & ~(ODB_MUST_EXIST | ODB_CASCADE_EDGES))
        return err_set(ODB_INVALID, "flags %#x mean nothing here", flags);
    return memory_in_txn(db, txn, document_delete_step, &d);
}

/* ---- reading ---- */

static int by_place(const void *a, const void *b)
{
    const odb_edge *const *x = a, *const *y = b;

    if ((*x)->weight != (*y)->weight)
        return (*x)->weight < (*y)->weight ? -1 : 1;
    return odb_slice_compare((*x)->to, (*y)->to);
}

/* The ends of the edges by rising weight; to be freed. NULL: no memory. */
static odb_slice *chunks_in_order(const odb_edge_list *edges)
{
    const odb_edge **sorted = mem_array(edges->count + 1, sizeof *sorted);
    odb_slice *ids = mem_array(edges->count + 1, sizeof *ids);

    if (sorted && ids) {
        for (size_t i = 0; i < edges->count; i++)
            sorted[i] = &edges->edge[i];
        qsort(sorted, edges->count, sizeof *sorted, by_place);
        for (size_t i = 0; i < edges->count; i++)
            ids[i] = sorted[i]->to;
    } else {
        mem_free(ids);
        ids = NULL;
    }
    mem_free(sorted);
    return ids;
}

odb_status odb_document_chunks(odb_at at, odb_slice id, odb_record_list *out)
{
    odb_snapshot *own = NULL; /* edges and records of one moment */
    odb_edge_list edges = {0};
    struct record_maker m = {0};
    odb_slice *ids = NULL;
    odb_status st = ODB_OK;

    if (at.db && !at.snapshot && !at.txn) {
        st = odb_snapshot_new(at.db, &own);
        at = odb_asof(own);
    }
    if (st == ODB_OK)
        st = odb_related(at, id, odb_s(ODB_REL_HAS_CHUNK), &edges);
    if (st == ODB_OK) {
        ids = chunks_in_order(&edges);
        st = ids ? record_maker_fetch(&m, at, ids, edges.count)
                 : err_set(ODB_NOMEM, "no memory for %zu chunks", edges.count);
    }
    if (st == ODB_OK)
        record_maker_finish(&m, out);
    record_maker_release(&m);
    mem_free(ids);
    odb_edge_list_release(&edges);
    odb_snapshot_free(own);
    return st;
}
