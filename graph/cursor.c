/* graph/cursor.c -- the edges of one node after another, in one direction.
 *
 *     family:   ... | ann 00 01 | knows 00 01 | bob
 *                   | ann 00 01 | knows 00 01 | carl
 *     node "ann":   | ann 00 01 | likes 00 01 | tea
 *                   \_ node ___/ \_ rel ____/   \ other
 *               ... | anna 00 01 ...
 *
 * One iterator serves a whole walk: moving on to another node is one seek. All edges of a node share the
 * bytes of its name, and runs of them those of a relation, so both are compared and not decoded again.
 *
 * Of a set of relations only those are read: when an entry lies between two of them, the cursor looks
 * at a few more and then seeks, so that neither many small relations nor a few large ones are dear.
 */
#include "graph/graph_priv.h"

#include <math.h>
#include <stdlib.h>

#include "api/odb_hooks.h"
#include "base/alloc.h"

#define STEPS_BEFORE_SEEK 6

/* ---- where ---- */

odb_status graph_families_find(odb_db *db, struct graph_families *out)
{
    odb_status st = odb_cf_open(db, ODB_FAMILY_GRAPH_FORWARD, &out->forward);

    if (st == ODB_OK)
        st = odb_cf_open(db, ODB_FAMILY_GRAPH_BACKWARD, &out->backward);
    return st;
}

odb_status graph_view_init(struct graph_view *v, odb_at at, bool needs_moment)
{
    odb_status st;

    *v = (struct graph_view){.at = at};
    v->db = odb_at_db(at);
    if (!v->db)
        return err_set(ODB_INVALID, "a read names one of database, snapshot and transaction");
    st = graph_families_find(v->db, &v->cf);
    if (st == ODB_OK && needs_moment && at.db) {
        st = odb_snapshot_new(at.db, &v->own);
        if (st == ODB_OK)
            v->at = odb_asof(v->own);
    }
    return st;
}

void graph_view_release(struct graph_view *v)
{
    odb_snapshot_free(v->own);
    v->own = NULL;
}

/* ---- which edges ---- */

static int match_rel_compare(const void *a, const void *b)
{
    return odb_slice_compare(*(const odb_slice *)a, *(const odb_slice *)b);
}

static odb_status match_add_rels(struct graph_match *m, const odb_slice *rels, size_t count)
{
    odb_slice *sorted = mem_array(count, sizeof *sorted);
    struct graph_key k;
    odb_status st = ODB_OK;

    m->rel_end = mem_array(count, sizeof *m->rel_end);
    if (!sorted || !m->rel_end) {
        st = err_set(ODB_NOMEM, "no memory for %zu relations to match", count);
        goto done;
    }
    memcpy(sorted, rels, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, match_rel_compare);
    for (size_t i = 0; i < count && st == ODB_OK; i++) {
        if (i > 0 && odb_slice_equal(sorted[i], sorted[i - 1]))
            continue;
        graph_key_node(&k, sorted[i]);
        st = buf_append(&m->rels, k.bytes, k.len);
        m->rel_end[m->rel_count++] = m->rels.len;
    }
done:
    mem_free(sorted);
    return st;
}

odb_status graph_match_init(struct graph_match *m, const odb_edge_match *match)
{
    odb_status st = ODB_OK;

    memset(m, 0, sizeof *m);
    if (!match)
        return ODB_OK;
    if (match->direction < ODB_OUT || match->direction > ODB_BOTH)
        return err_set(ODB_INVALID, "%d is no direction", match->direction);
    if (!isfinite(match->min_weight))
        return err_set(ODB_INVALID, "a least weight that is not a number");
    m->min_weight = match->min_weight;
    m->by_weight = match->min_weight < 0 || match->min_weight > 0;
    m->time_from_us = match->time_from_us ? match->time_from_us : INT64_MIN;
    m->time_to_us = match->time_to_us ? match->time_to_us : INT64_MAX;
    m->by_time = match->time_from_us || match->time_to_us;
    if (!match->rels && match->rel_count)
        return err_set(ODB_INVALID, "%zu relations to match, at address NULL", match->rel_count);
    for (size_t i = 0; match->rels && i < match->rel_count && st == ODB_OK; i++)
        st = graph_check_rel(match->rels[i]);
    if (st == ODB_OK && match->rels && match->rel_count)
        st = match_add_rels(m, match->rels, match->rel_count);
    if (st != ODB_OK)
        graph_match_release(m);
    return st;
}

void graph_match_release(struct graph_match *m)
{
    buf_release(&m->rels);
    mem_free(m->rel_end);
    memset(m, 0, sizeof *m);
}

static odb_slice match_rel(const struct graph_match *m, size_t i)
{
    size_t from = i ? m->rel_end[i - 1] : 0;

    return odb_bytes(m->rels.p + from, m->rel_end[i] - from);
}

bool graph_match_takes_rel(const struct graph_match *m, odb_slice rel)
{
    struct graph_key key;

    if (m->rel_count == 0)
        return true;
    graph_key_node(&key, rel);
    for (size_t i = 0; i < m->rel_count; i++)
        if (odb_slice_equal(match_rel(m, i), graph_key_slice(&key)))
            return true;
    return false;
}

bool graph_match_takes_value(const struct graph_match *m, const struct graph_value *v)
{
    if (m->by_weight && v->weight < m->min_weight)
        return false;
    return !m->by_time || (v->time_us >= m->time_from_us && v->time_us < m->time_to_us);
}

/* ---- the cursor ---- */

odb_status graph_cursor_init(struct graph_cursor *c, const struct graph_view *v, bool is_in,
                             const struct graph_match *match, bool needs_values,
                             const odb_slice *only_node)
{
    odb_range range;

    memset(&range, 0, sizeof range);
    c->it = NULL;
    c->match = match;
    c->family = is_in ? ODB_FAMILY_GRAPH_BACKWARD : ODB_FAMILY_GRAPH_FORWARD;
    c->has_values = needs_values || graph_match_needs_value(match);
    c->is_placed = false;
    c->rel_serial = 0;
    c->rel_raw = c->rel_name = c->other = (struct buf){0};
    c->node.len = 0;
    range.keys_only = !c->has_values;
    if (only_node) {
        graph_key_node(&c->node, *only_node);
        range.prefix = graph_key_slice(&c->node);
    }
    return odb_iter_new(v->at, is_in ? v->cf.backward : v->cf.forward, &range, &c->it);
}

void graph_cursor_release(struct graph_cursor *c)
{
    odb_iter_free(c->it);
    c->it = NULL;
    buf_release(&c->rel_raw);
    buf_release(&c->rel_name);
    buf_release(&c->other);
}

/* Seek the relation whose turn it is; without a set of them, the node. */
static void cursor_seek_rel(struct graph_cursor *c)
{
    size_t node_len = c->node.len;

    if (c->match->rel_count) {
        odb_slice rel = match_rel(c->match, c->rel_at);

        memcpy(c->node.bytes + node_len, rel.data, rel.size); /* within GRAPH_KEY_MAX */
        c->node.len += rel.size;
    }
    (void)odb_iter_seek(c->it, graph_key_slice(&c->node));
    c->node.len = node_len;
    c->steps = 0;
    c->is_placed = true;
}

void graph_cursor_move(struct graph_cursor *c, odb_slice node)
{
    graph_key_node(&c->node, node);
    c->rel_at = 0;
    cursor_seek_rel(c);
}

void graph_cursor_resume(struct graph_cursor *c, odb_slice key)
{
    c->rel_at = 0;
    c->steps = 0;
    if (odb_iter_seek(c->it, key) && odb_slice_equal(odb_iter_key(c->it), key))
        (void)odb_iter_next(c->it);
    c->is_placed = true;
}

odb_status graph_cursor_catch_up(struct graph_cursor *c, odb_slice rel, odb_slice other,
                                 struct graph_hop *out)
{
    size_t node_len = c->node.len;

    for (int i = 0; i < STEPS_BEFORE_SEEK; i++) {
        odb_status st = graph_cursor_next(c, out);

        if (st != ODB_OK || odb_slice_compare(out->other, other) >= 0)
            return st;
    }
    graph_key_extend(&c->node, rel, other);
    (void)odb_iter_seek(c->it, graph_key_slice(&c->node));
    c->node.len = node_len;
    c->steps = 0;
    c->is_placed = true;
    return graph_cursor_next(c, out);
}

bool graph_cursor_is_damage(const struct graph_cursor *c, odb_status st)
{
    return (st == ODB_CORRUPT || st == ODB_VERSION) && odb_iter_valid(c->it);
}

odb_slice graph_cursor_key(const struct graph_cursor *c)
{
    return odb_iter_key(c->it);
}

static bool begins_with(odb_slice s, const uint8_t *head, size_t len)
{
    return s.size >= len && memcmp(s.data, head, len) == 0;
}

/* `tail`, the bytes behind the node, is of a relation that is asked for. Otherwise the iterator has been
 * moved, unless no relation is left (*is_over). */
static bool cursor_wants(struct graph_cursor *c, odb_slice tail, bool *is_over)
{
    const struct graph_match *m = c->match;
    bool is_behind = false;

    if (m->rel_count == 0)
        return true;
    for (; c->rel_at < m->rel_count; c->rel_at++) {
        odb_slice rel = match_rel(m, c->rel_at);

        if (begins_with(tail, rel.data, rel.size))
            return true;
        if (odb_slice_compare(tail, rel) < 0)
            break;
        is_behind = true;
    }
    if (c->rel_at == m->rel_count) {
        *is_over = true;
        return false;
    }
    if (is_behind)
        c->steps = 0;
    if (c->steps++ < STEPS_BEFORE_SEEK)
        (void)odb_iter_next(c->it);
    else
        cursor_seek_rel(c);
    return false;
}

/* The relation and the other id, from the bytes behind the node. */
static odb_status cursor_names(struct graph_cursor *c, odb_slice tail, struct graph_hop *hop)
{
    struct dec d = dec_from(tail);
    odb_status st = ODB_OK;

    if (c->rel_raw.len && begins_with(tail, c->rel_raw.p, c->rel_raw.len)) {
        d.p += c->rel_raw.len;
    } else {
        const uint8_t *from = d.p;
        odb_slice rel;

        c->rel_raw.len = 0;
        st = graph_name_open(&d, false, GRAPH_REL_LEN_MAX, &c->other, &rel);
        if (st == ODB_OK)
            st = buf_assign(&c->rel_name, rel.data, rel.size);
        if (st == ODB_OK)
            st = buf_assign(&c->rel_raw, from, (size_t)(d.p - from));
        if (st != ODB_OK)
            return st;
        c->rel_serial++;
    }
    hop->rel = buf_slice(&c->rel_name);
    hop->rel_serial = c->rel_serial;
    return graph_name_open(&d, true, GRAPH_ID_LEN_MAX, &c->other, &hop->other);
}

odb_status graph_cursor_next(struct graph_cursor *c, struct graph_hop *out)
{
    bool is_over = false;
    odb_status st;

    if (!c->is_placed)
        (void)odb_iter_next(c->it);
    for (;; (void)odb_iter_next(c->it)) {
        odb_slice key, tail;

        for (;;) {
            if (!odb_iter_valid(c->it)) {
                st = odb_iter_status(c->it);
                return st == ODB_OK ? ODB_ABSENT : st;
            }
            key = odb_iter_key(c->it);
            if (!begins_with(key, c->node.bytes, c->node.len))
                return ODB_ABSENT;
            tail = odb_bytes((const uint8_t *)key.data + c->node.len, key.size - c->node.len);
            if (cursor_wants(c, tail, &is_over))
                break;
            if (is_over)
                return ODB_ABSENT;
        }
        c->is_placed = false;
        st = cursor_names(c, tail, out);
        if (st != ODB_OK)
            return graph_refuse(st, c->family, key, "key");
        out->value = (struct graph_value){0};
        if (!c->has_values)
            return ODB_OK;
        st = graph_value_open(odb_iter_value(c->it), &out->value);
        if (st != ODB_OK)
            return graph_refuse(st, c->family, key, "value");
        if (graph_match_takes_value(c->match, &out->value))
            return ODB_OK;
    }
}
