/* memory/list.c -- lists of ids and of records, and the original's calls, which answer with them.
 *
 *     odb_id_list.memory  ->  | slice | slice | ... | bytes of the ids |        one allocation
 */
#include "memory/memory_priv.h"

#include "base/alloc.h"

/* ---- ids ---- */

odb_status id_maker_add(struct id_maker *m, odb_slice id)
{
    odb_status st;

    if (m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 64;
        size_t *end = mem_array(cap, sizeof *end);

        if (!end)
            return err_set(ODB_NOMEM, "no memory for a list of ids");
        if (m->count)
            memcpy(end, m->end, m->count * sizeof *end);
        mem_free(m->end);
        m->end = end;
        m->cap = cap;
    }
    st = buf_append(&m->bytes, id.data, id.size);
    if (st == ODB_OK)
        m->end[m->count++] = m->bytes.len;
    return st;
}

odb_status id_maker_finish(struct id_maker *m, odb_id_list *out)
{
    odb_slice *ids;
    char *bytes;

    *out = (odb_id_list){0};
    if (m->count == 0)
        return ODB_OK;
    if (m->count > (SIZE_MAX - m->bytes.len) / sizeof *ids ||
        !(ids = mem_array(1, m->count * sizeof *ids + m->bytes.len)))
        return err_set(ODB_NOMEM, "no memory for a list of %zu ids", m->count);
    bytes = (char *)(ids + m->count);
    memcpy(bytes, m->bytes.p, m->bytes.len);
    for (size_t i = 0, from = 0; i < m->count; from = m->end[i++])
        ids[i] = odb_bytes(bytes + from, m->end[i] - from);
    *out = (odb_id_list){ids, m->count, ids};
    id_maker_release(m);
    return ODB_OK;
}

void id_maker_release(struct id_maker *m)
{
    buf_release(&m->bytes);
    mem_free(m->end);
    *m = (struct id_maker){0};
}

void odb_id_list_release(odb_id_list *list)
{
    if (list) {
        mem_free(list->memory);
        *list = (odb_id_list){0};
    }
}

/* ---- records ---- */

static odb_status record_maker_grow(struct record_maker *m, size_t cap)
{
    odb_record **record = mem_array(cap, sizeof *record);

    if (!record)
        return err_set(ODB_NOMEM, "no memory for a list of %zu records", cap);
    if (m->count)
        memcpy(record, m->record, m->count * sizeof(odb_record *));
    mem_free(m->record);
    m->record = record;
    m->cap = cap;
    return ODB_OK;
}

odb_status record_maker_copy(struct record_maker *m, const odb_record *r)
{
    odb_status st = ODB_OK;

    if (m->count == m->cap)
        st = record_maker_grow(m, m->cap ? m->cap * 2 : 16);
    if (st == ODB_OK)
        st = odb_record_copy(r, &m->record[m->count]);
    if (st == ODB_OK)
        m->count++;
    return st;
}

odb_status record_maker_fetch(struct record_maker *m, odb_at at, const odb_slice *ids, size_t count)
{
    odb_status *each;
    odb_status st;

    if (count == 0)
        return ODB_OK;
    each = mem_array(count, sizeof *each);
    st = each ? record_maker_grow(m, count)
              : err_set(ODB_NOMEM, "no memory for a list of %zu records", count);
    if (st != ODB_OK) {
        mem_free(each);
        return st;
    }
    err_ignore(odb_record_multiget(at, ids, count, m->record, each)); /* each[] tells all */
    for (size_t i = 0; i < count; i++) {
        if (each[i] == ODB_OK)
            m->record[m->count++] = m->record[i];
        else if (each[i] == ODB_CORRUPT || each[i] == ODB_VERSION)
            m->damaged++;
        else if (each[i] != ODB_ABSENT)
            st = each[i];
    }
    mem_free(each);
    return st;
}

void record_maker_finish(struct record_maker *m, odb_record_list *out)
{
    *out = (odb_record_list){m->record, m->count, m->damaged};
    *m = (struct record_maker){0};
}

void record_maker_release(struct record_maker *m)
{
    for (size_t i = 0; i < m->count; i++)
        odb_record_free(m->record[i]);
    mem_free(m->record);
    *m = (struct record_maker){0};
}

void odb_record_list_release(odb_record_list *list)
{
    struct record_maker m = {0};

    if (!list)
        return;
    m.record = list->record;
    m.count = list->count;
    record_maker_release(&m);
    *list = (odb_record_list){0};
}

/* ---- the original's calls ---- */

odb_status odb_insert_memory(odb_db *db, const odb_memory *m)
{
    return odb_memory_put(db, NULL, m, 0);
}

odb_status odb_get_memory(odb_db *db, odb_slice id, odb_record **out)
{
    return odb_record_get(odb_now(db), id, out);
}

odb_status odb_delete_memory(odb_db *db, odb_slice id)
{
    return odb_memory_delete(db, NULL, id, 0);
}

/* The ids that begin with `prefix`, by their keys alone. */
static odb_status gather_ids(odb_at at, odb_slice prefix, struct id_maker *m)
{
    odb_scan scan = {.size = sizeof scan, .ids_only = true, .prefix = prefix};
    odb_record_iter *it;
    odb_status st = odb_record_scan(at, &scan, &it);

    if (st != ODB_OK)
        return st;
    while (st == ODB_OK && odb_record_iter_next(it))
        st = id_maker_add(m, odb_record_iter_id(it));
    if (st == ODB_OK)
        st = odb_record_iter_status(it);
    odb_record_iter_free(it);
    return st;
}

odb_status odb_list_memory_ids(odb_db *db, odb_slice prefix, odb_id_list *out)
{
    struct id_maker m = {0};
    odb_status st = gather_ids(odb_now(db), prefix, &m);

    if (st == ODB_OK)
        st = id_maker_finish(&m, out);
    id_maker_release(&m);
    return st;
}

odb_status odb_list_memories(odb_db *db, odb_slice prefix, odb_record_list *out)
{
    struct record_maker m = {0};
    odb_scan scan = {.size = sizeof scan, .prefix = prefix};
    odb_record_iter *it;
    odb_status st = odb_record_scan(odb_now(db), &scan, &it);

    if (st != ODB_OK)
        return st;
    while (st == ODB_OK && odb_record_iter_next(it))
        st = record_maker_copy(&m, odb_record_iter_record(it));
    if (st == ODB_OK)
        st = odb_record_iter_status(it);
    m.damaged = odb_record_iter_damaged(it);
    odb_record_iter_free(it);
    if (st == ODB_OK)
        record_maker_finish(&m, out);
    record_maker_release(&m);
    return st;
}

odb_status odb_get_related(odb_db *db, odb_slice id, odb_slice relation, odb_id_list *out)
{
    struct id_maker m = {0};
    odb_edge_list edges;
    odb_status st = odb_related(odb_now(db), id, relation, &edges);

    if (st != ODB_OK)
        return st;
    for (size_t i = 0; st == ODB_OK && i < edges.count; i++)
        st = id_maker_add(&m, edges.edge[i].to);
    odb_edge_list_release(&edges);
    if (st == ODB_OK)
        st = id_maker_finish(&m, out);
    id_maker_release(&m);
    return st;
}

odb_status odb_get_outgoing(odb_db *db, odb_slice id, odb_edge_list *out)
{
    return odb_outgoing(odb_now(db), id, out);
}

odb_status odb_get_incoming(odb_db *db, odb_slice id, odb_edge_list *out)
{
    return odb_incoming(odb_now(db), id, out);
}

/* ---- what is alike ---- */

static odb_status similar_gather(odb_at at, const odb_vec_hits *hits, odb_similar_list *out)
{
    size_t count = odb_vec_hits_count(hits);
    odb_similar *hit;

    if (count == 0)
        return ODB_OK;
    hit = mem_array(count, sizeof *hit);
    if (!hit)
        return err_set(ODB_NOMEM, "no memory for %zu memories found", count);
    out->hit = hit;
    for (size_t i = 0; i < count; i++) {
        odb_vec_hit found = odb_vec_hits_at(hits, i);
        odb_record *r;
        odb_status st = odb_record_get(at, found.id, &r);

        if (st == ODB_ABSENT)
            continue;
        if (st != ODB_OK)
            return st;
        hit[out->count++] = (odb_similar){odb_record_id(r), found.distance, r};
    }
    return ODB_OK;
}

/* A vector that stands for a memory: there is a record. What cannot be told is told by fetching it. */
static bool similar_has_record(void *arg, odb_slice id)
{
    const odb_at *at = arg;

    return odb_record_exists(*at, id) != ODB_ABSENT;
}

odb_status odb_search_similar(odb_db *db, const float *query, uint32_t dim, uint32_t k,
                              odb_similar_list *out)
{
    odb_vec_search how = {.size = sizeof how, .k = k};
    odb_similar_list list = {0};
    odb_snapshot *moment;
    odb_at at;
    odb_status st;

    if (k == 0)
        return err_set(ODB_INVALID, "a search for 0 memories");
    st = odb_snapshot_new(db, &moment);
    if (st != ODB_OK)
        return st;
    at = odb_asof(moment);
    for (;;) {
        odb_vec_hits *hits;
        bool is_short;

        st = odb_vec_find(at, query, dim, &how, &hits);
        if (st != ODB_OK)
            break;
        st = similar_gather(at, hits, &list);
        is_short = list.count < k && odb_vec_hits_count(hits) == k;
        odb_vec_hits_free(hits);
        if (st != ODB_OK || !is_short || how.filter)
            break;
        odb_similar_list_release(&list);
        how.filter = similar_has_record; /* others have taken places: ask of each, at its price */
        how.filter_arg = &at;
    }
    odb_snapshot_free(moment);
    if (st == ODB_OK)
        *out = list;
    else
        odb_similar_list_release(&list);
    return st;
}

void odb_similar_list_release(odb_similar_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++)
        odb_record_free(list->hit[i].record);
    mem_free(list->hit);
    *list = (odb_similar_list){0};
}

odb_status odb_rebuild_vector_index(odb_db *db)
{
    return odb_vec_rebuild(db, NULL, 0, NULL, NULL);
}
