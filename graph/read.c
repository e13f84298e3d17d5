/* graph/read.c -- edges one at a time, in lists, and counted.
 *
 *     odb_edge_iter:   cursor over graph_forward  -->  cursor over graph_backward
 *                      (ODB_OUT, ODB_BOTH)             (ODB_IN, ODB_BOTH)
 *
 *     resume:          | direction, 1 byte | raw key of the edge last given |
 *
 * An iterator opens the second cursor when the first is at its end. Both look at one moment.
 */
#include "graph/graph_priv.h"

#include "base/alloc.h"
#include "records/props.h"

struct odb_edge_iter {
    struct graph_view view;
    struct graph_match match;
    int direction;
    bool needs_values;
    bool is_pooled; /* moved to another node once: its cursors are over all nodes */
    bool is_in;     /* which cursor is at work */
    bool is_begun;  /* of `all`: it stands on an edge that was looked at */
    struct graph_cursor cursor[2];
    struct buf node;
    struct buf resume;
    odb_status stuck; /* anything but an edge or its damage */
    uint64_t limit, given;
    odb_iter *all; /* over all nodes; then the cursors and `node` are not used */
    struct graph_room room;
};

/* ---- iterators ---- */

static odb_status iter_open_cursor(odb_edge_iter *it)
{
    struct graph_cursor *c = &it->cursor[it->is_in];
    odb_slice node = buf_slice(&it->node);
    odb_status st = ODB_OK;

    if (!c->it)
        st = graph_cursor_init(c, &it->view, it->is_in, &it->match, it->needs_values,
                               it->is_pooled ? NULL : &node);
    if (st == ODB_OK)
        graph_cursor_move(c, node);
    return st;
}

/* ---- over all nodes ---- */

static odb_status iter_open_all(odb_edge_iter *it, odb_slice prefix, odb_slice resume)
{
    odb_range range = {.keys_only = !it->needs_values && !graph_match_needs_value(&it->match),
                       .is_long = true};
    const uint8_t *p = resume.data;
    struct graph_key key;
    odb_status st;

    if (prefix.size) {
        graph_key_node(&key, prefix);
        key.len -= GRAPH_END_LEN; /* the id may go on */
        range.prefix = graph_key_slice(&key);
    }
    it->is_in = it->direction == ODB_IN;
    st = odb_iter_new(it->view.at, it->is_in ? it->view.cf.backward : it->view.cf.forward, &range,
                      &it->all);
    if (st != ODB_OK)
        return st;
    if (resume.size == 0) {
        (void)odb_iter_first(it->all);
        return ODB_OK;
    }
    if (p[0] != it->is_in || resume.size - 1 < range.prefix.size ||
        (range.prefix.size && memcmp(p + 1, range.prefix.data, range.prefix.size) != 0))
        return err_set(ODB_INVALID, "the place to resume at is not one of this walk");
    resume = odb_bytes(p + 1, resume.size - 1);
    if (odb_iter_seek(it->all, resume) && odb_slice_equal(odb_iter_key(it->all), resume))
        (void)odb_iter_next(it->all);
    return ODB_OK;
}

/* What the iterator stands on, without stepping: ODB_AGAIN when it does not match. */
static odb_status iter_edge_of_all(odb_edge_iter *it, odb_edge *out)
{
    const char *family = it->is_in ? ODB_FAMILY_GRAPH_BACKWARD : ODB_FAMILY_GRAPH_FORWARD;
    bool has_value = it->needs_values || graph_match_needs_value(&it->match);
    odb_slice key = odb_iter_key(it->all);
    struct graph_hop hop = {0};
    struct graph_names n;
    odb_status st = graph_key_open(key, &it->room, &n);

    if (st != ODB_OK)
        return graph_refuse(st, family, key, "key");
    if (!graph_match_takes_rel(&it->match, n.rel))
        return ODB_AGAIN;
    if (has_value)
        st = graph_value_open(odb_iter_value(it->all), &hop.value);
    if (st != ODB_OK)
        return graph_refuse(st, family, key, "value");
    if (!graph_match_takes_value(&it->match, &hop.value))
        return ODB_AGAIN;
    hop.rel = n.rel;
    hop.other = n.other;
    *out = graph_edge_of(n.node, &hop, it->is_in);
    return ODB_OK;
}

static odb_status iter_note_place(odb_edge_iter *it, odb_slice key);

/* The iterator stands on the last edge given, or, before the first, where it begins. */
static odb_status iter_next_of_all(odb_edge_iter *it, odb_edge *out)
{
    odb_status st = ODB_AGAIN, noted = ODB_OK;

    while (st == ODB_AGAIN) {
        if (it->is_begun)
            (void)odb_iter_next(it->all);
        it->is_begun = true;
        if (!odb_iter_valid(it->all)) {
            st = odb_iter_status(it->all);
            return it->stuck = st == ODB_OK ? ODB_ABSENT : st;
        }
        st = iter_edge_of_all(it, out);
    }
    if (st != ODB_OK && st != ODB_CORRUPT && st != ODB_VERSION)
        return it->stuck = st;
    noted = iter_note_place(it, odb_iter_key(it->all));
    if (noted != ODB_OK)
        return it->stuck = noted;
    it->given += st == ODB_OK;
    return st;
}

/* ---- over one node ---- */

/* Stand behind the edge that `resume` tells of. */
static odb_status iter_take_resume(odb_edge_iter *it, odb_slice resume)
{
    const uint8_t *p = resume.data;
    odb_slice key = odb_bytes(p + 1, resume.size - 1);
    struct graph_key node;
    odb_status st;

    graph_key_node(&node, buf_slice(&it->node));
    if (p[0] > 1 || !graph_goes(it->direction, p[0] == 1) || key.size <= node.len ||
        memcmp(key.data, node.bytes, node.len) != 0)
        return err_set(ODB_INVALID, "the place to resume at is not one of this walk");
    st = buf_assign(&it->resume, resume.data, resume.size);
    if (st != ODB_OK)
        return st;
    it->is_in = p[0] == 1;
    st = iter_open_cursor(it);
    if (st == ODB_OK)
        graph_cursor_resume(&it->cursor[it->is_in], key);
    return st;
}

static odb_status iter_begin(odb_edge_iter *it, odb_slice node)
{
    it->is_in = it->direction == ODB_IN;
    it->given = 0;
    buf_reset(&it->resume);
    it->stuck = buf_assign(&it->node, node.data, node.size);
    if (it->stuck == ODB_OK)
        it->stuck = iter_open_cursor(it);
    return it->stuck;
}

/* All but the place to read from. */
static odb_status iter_make(odb_at at, const odb_edge_options *opt, odb_edge_iter **out)
{
    odb_edge_iter *it;
    odb_status st;

    if (!out || opt->size < sizeof *opt)
        return err_set(ODB_INVALID, out ? "odb_edge_options of a size that never was"
                                        : "the place for the iterator must not be NULL");
    it = mem_zalloc(1, sizeof *it);
    if (!it)
        return err_set(ODB_NOMEM, "no memory for an iterator over edges");
    it->direction = opt->match.direction;
    it->limit = opt->limit ? opt->limit : UINT64_MAX;
    it->needs_values = !opt->keys_only;
    st = graph_match_init(&it->match, &opt->match);
    if (st == ODB_OK)
        st = graph_view_init(&it->view, at, it->direction == ODB_BOTH);
    if (st == ODB_OK)
        *out = it;
    else
        odb_edge_iter_free(it);
    return st;
}

static const odb_edge_options plain_options = {.size = sizeof plain_options};

odb_status odb_edge_iter_new(odb_at at, odb_slice node, const odb_edge_options *opt,
                             odb_edge_iter **out)
{
    odb_edge_iter *it = NULL;
    odb_status st = graph_check_id(node, "the node");

    opt = opt ? opt : &plain_options;
    if (st == ODB_OK)
        st = iter_make(at, opt, out ? &it : NULL);
    if (st == ODB_OK)
        st = iter_begin(it, node);
    if (st == ODB_OK && opt->resume.size)
        st = iter_take_resume(it, opt->resume);
    if (st == ODB_OK)
        *out = it;
    else
        odb_edge_iter_free(it);
    return st;
}

odb_status odb_edge_iter_all(odb_at at, odb_slice prefix, const odb_edge_options *opt,
                             odb_edge_iter **out)
{
    odb_edge_iter *it = NULL;
    odb_status st = prefix.size ? graph_check_id(prefix, "the prefix") : ODB_OK;

    opt = opt ? opt : &plain_options;
    if (st == ODB_OK && opt->match.direction == ODB_BOTH)
        st = err_set(ODB_INVALID, "all edges are read in one direction, not in both");
    if (st == ODB_OK)
        st = iter_make(at, opt, out ? &it : NULL);
    if (st == ODB_OK)
        st = iter_open_all(it, prefix, opt->resume);
    if (st == ODB_OK)
        *out = it;
    else
        odb_edge_iter_free(it);
    return st;
}

void odb_edge_iter_free(odb_edge_iter *it)
{
    if (!it)
        return;
    graph_cursor_release(&it->cursor[0]);
    graph_cursor_release(&it->cursor[1]);
    odb_iter_free(it->all);
    graph_room_release(&it->room);
    graph_view_release(&it->view);
    graph_match_release(&it->match);
    buf_release(&it->node);
    buf_release(&it->resume);
    mem_free(it);
}

static odb_status iter_note_place(odb_edge_iter *it, odb_slice key)
{
    uint8_t direction = it->is_in;
    odb_status st = buf_assign(&it->resume, &direction, 1);

    if (st == ODB_OK)
        st = buf_append(&it->resume, key.data, key.size);
    return st;
}

odb_status odb_edge_iter_next(odb_edge_iter *it, odb_edge *out)
{
    struct graph_hop hop;
    odb_status st, noted;

    if (it->stuck != ODB_OK)
        return it->stuck;
    if (it->given == it->limit)
        return ODB_ABSENT;
    if (it->all)
        return iter_next_of_all(it, out);
    st = graph_cursor_next(&it->cursor[it->is_in], &hop);
    if (st == ODB_ABSENT && !it->is_in && it->direction == ODB_BOTH) {
        it->is_in = true;
        st = iter_open_cursor(it);
        if (st == ODB_OK)
            st = graph_cursor_next(&it->cursor[1], &hop);
    }
    if (st != ODB_OK && !graph_cursor_is_damage(&it->cursor[it->is_in], st)) {
        it->stuck = st;
        return st;
    }
    noted = iter_note_place(it, graph_cursor_key(&it->cursor[it->is_in]));
    if (noted != ODB_OK)
        return it->stuck = noted;
    if (st == ODB_OK) {
        *out = graph_edge_of(buf_slice(&it->node), &hop, it->is_in);
        it->given++;
    }
    return st;
}

odb_status odb_edge_iter_move(odb_edge_iter *it, odb_slice node)
{
    odb_status st = graph_check_id(node, "the node");

    if (st == ODB_OK && it->all)
        st = err_set(ODB_INVALID, "an iterator over all nodes has no other node to go to");
    if (st != ODB_OK)
        return st;
    if (!it->is_pooled) { /* cursors over one node cannot leave it */
        graph_cursor_release(&it->cursor[0]);
        graph_cursor_release(&it->cursor[1]);
        it->is_pooled = true;
    }
    return iter_begin(it, node);
}

odb_slice odb_edge_iter_resume(const odb_edge_iter *it)
{
    return buf_slice(&it->resume);
}

/* ---- lists ----
 *
 *     memory:   | edge | edge | ... | from rel to props | from rel to props | ... |
 *
 * While a list grows, edges and bytes are apart, and only the sizes in the edges are true: the bytes lie
 * in the same order, so the last step can put in the addresses.
 */

odb_status graph_list_add(struct graph_list_maker *l, const odb_edge *e)
{
    const odb_slice part[4] = {e->from, e->rel, e->to, e->props};
    uint8_t *p;
    odb_status st;

    if (l->count == l->cap) {
        odb_edge *grown = graph_grow(l->edge, &l->cap, sizeof *grown, 16);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for a list of more than %zu edges", l->cap);
        l->edge = grown;
    }
    st = buf_reserve(&l->bytes, e->from.size + e->rel.size + e->to.size + e->props.size);
    if (st != ODB_OK)
        return st;
    p = l->bytes.p + l->bytes.len;
    for (int i = 0; i < 4; i++) {
        if (part[i].size)
            memcpy(p, part[i].data, part[i].size);
        p += part[i].size;
    }
    l->bytes.len = (size_t)(p - l->bytes.p);
    l->edge[l->count++] = *e;
    return ODB_OK;
}

static const uint8_t *list_place(odb_slice *s, const uint8_t *p)
{
    s->data = s->size ? p : NULL;
    return p + s->size;
}

odb_status graph_list_finish(struct graph_list_maker *l, odb_edge_list *out)
{
    size_t head = l->count * sizeof *l->edge;
    odb_edge *edge;
    const uint8_t *p;

    if (l->count == 0) {
        *out = (odb_edge_list){NULL, 0, NULL};
        return ODB_OK;
    }
    edge = mem_realloc(l->edge, head + l->bytes.len);
    if (!edge)
        return err_set(ODB_NOMEM, "no memory for a list of %zu edges", l->count);
    l->edge = NULL;
    p = (uint8_t *)edge + head;
    memcpy((uint8_t *)edge + head, l->bytes.p, l->bytes.len);
    for (size_t i = 0; i < l->count; i++) {
        p = list_place(&edge[i].from, p);
        p = list_place(&edge[i].rel, p);
        p = list_place(&edge[i].to, p);
        p = list_place(&edge[i].props, p);
    }
    *out = (odb_edge_list){edge, l->count, edge};
    return ODB_OK;
}

void graph_list_release(struct graph_list_maker *l)
{
    mem_free(l->edge);
    buf_release(&l->bytes);
}

static odb_status list_edges(odb_at at, odb_slice node, const odb_edge_match *match,
                             odb_edge_list *out)
{
    bool is_in = match->direction == ODB_IN;
    struct graph_list_maker l = {0};
    struct graph_cursor c = {0};
    struct graph_match m = {0};
    struct graph_view v = {0};
    struct graph_hop hop;
    odb_status st = out ? graph_check_id(node, "the node")
                        : err_set(ODB_INVALID, "the place for the list must not be NULL");

    if (st == ODB_OK)
        st = graph_match_init(&m, match);
    if (st == ODB_OK)
        st = graph_view_init(&v, at, false);
    if (st == ODB_OK)
        st = graph_cursor_init(&c, &v, is_in, &m, true, &node);
    if (st != ODB_OK)
        goto done;
    graph_cursor_move(&c, node);
    while ((st = graph_cursor_next(&c, &hop)) == ODB_OK) {
        odb_edge e = graph_edge_of(node, &hop, is_in);

        st = graph_list_add(&l, &e);
        if (st != ODB_OK)
            goto done;
    }
    if (st == ODB_ABSENT)
        st = graph_list_finish(&l, out);
done:
    graph_cursor_release(&c);
    graph_view_release(&v);
    graph_match_release(&m);
    graph_list_release(&l);
    return st;
}

odb_status odb_outgoing(odb_at at, odb_slice from, odb_edge_list *out)
{
    const odb_edge_match all = {.direction = ODB_OUT};

    return list_edges(at, from, &all, out);
}

odb_status odb_incoming(odb_at at, odb_slice to, odb_edge_list *out)
{
    const odb_edge_match all = {.direction = ODB_IN};

    return list_edges(at, to, &all, out);
}

odb_status odb_related(odb_at at, odb_slice from, odb_slice rel, odb_edge_list *out)
{
    const odb_edge_match one = {.direction = ODB_OUT, .rels = &rel, .rel_count = 1};

    return list_edges(at, from, &one, out);
}

void odb_edge_list_release(odb_edge_list *list)
{
    if (!list)
        return;
    mem_free(list->memory);
    *list = (odb_edge_list){NULL, 0, NULL};
}

/* ---- one edge ---- */

odb_status graph_list_fetch(struct graph_list_maker *l, const struct graph_view *v, odb_slice from,
                            odb_slice rel, odb_slice to)
{
    struct graph_value value = {0};
    struct graph_key key;
    odb_value stored = {0};
    odb_status st;

    graph_key_edge(&key, from, rel, to);
    st = odb_get(v->at, v->cf.forward, graph_key_slice(&key), &stored);
    if (st != ODB_OK)
        return st;
    st = graph_value_open(odb_bytes(stored.data, stored.size), &value);
    if (st == ODB_OK) {
        odb_edge e = {from, rel, to, value.weight, value.time_us, value.props};

        st = graph_list_add(l, &e);
    } else {
        st = graph_refuse(st, ODB_FAMILY_GRAPH_FORWARD, graph_key_slice(&key), "value");
    }
    odb_value_release(&stored);
    return st;
}

odb_status odb_edge_get(odb_at at, odb_slice from, odb_slice rel, odb_slice to, odb_edge_list *out)
{
    struct graph_list_maker l = {0};
    struct graph_view v = {0};
    odb_status st = out ? graph_check_names(from, rel, to)
                        : err_set(ODB_INVALID, "the place for the edge must not be NULL");

    if (st == ODB_OK)
        st = graph_view_init(&v, at, false);
    if (st == ODB_OK)
        st = graph_list_fetch(&l, &v, from, rel, to);
    if (st == ODB_OK)
        st = graph_list_finish(&l, out);
    graph_view_release(&v);
    graph_list_release(&l);
    return st;
}

odb_status odb_edge_exists(odb_at at, odb_slice from, odb_slice rel, odb_slice to)
{
    struct graph_view v = {0};
    struct graph_key key;
    odb_status st = graph_check_names(from, rel, to);

    if (st == ODB_OK)
        st = graph_view_init(&v, at, false);
    if (st != ODB_OK)
        return st;
    graph_key_edge(&key, from, rel, to);
    st = odb_exists(at, v.cf.forward, graph_key_slice(&key));
    graph_view_release(&v);
    return st;
}

/* ---- counting ---- */

static odb_status count_edges(const struct graph_view *v, odb_slice node, bool is_in,
                              const struct graph_match *m, uint64_t *count)
{
    struct graph_cursor c = {0};
    struct graph_hop hop;
    odb_status st = graph_cursor_init(&c, v, is_in, m, false, &node);

    if (st == ODB_OK) {
        graph_cursor_move(&c, node);
        while ((st = graph_cursor_next(&c, &hop)) == ODB_OK)
            ++*count;
    }
    graph_cursor_release(&c);
    return st == ODB_ABSENT ? ODB_OK : st;
}

odb_status odb_degree(odb_at at, odb_slice node, const odb_edge_match *match, uint64_t *out)
{
    int direction = match ? match->direction : ODB_OUT;
    struct graph_view v = {0};
    struct graph_match m = {0};
    uint64_t count = 0;
    odb_status st = out ? graph_check_id(node, "the node")
                        : err_set(ODB_INVALID, "the place for the degree must not be NULL");

    if (st == ODB_OK)
        st = graph_match_init(&m, match);
    if (st == ODB_OK)
        st = graph_view_init(&v, at, direction == ODB_BOTH);
    for (int is_in = 0; is_in < 2 && st == ODB_OK; is_in++)
        if (graph_goes(direction, is_in))
            st = count_edges(&v, node, is_in, &m, &count);
    graph_view_release(&v);
    graph_match_release(&m);
    if (st == ODB_OK)
        *out = count;
    return st;
}

/* ---- properties ---- */

static odb_status open_props(const odb_edge *edge, struct rec_props *out)
{
    const char *bad;

    *out = (struct rec_props){0};
    if (!edge)
        return err_set(ODB_INVALID, "the edge must not be NULL");
    if (edge->props.size == 0)
        return ODB_OK;
    bad = rec_props_open(edge->props, out); /* the caller may have made them up */
    return bad ? err_set(ODB_INVALID, "the properties of the edge: %s", bad) : ODB_OK;
}

odb_status odb_edge_prop(const odb_edge *edge, odb_slice key, odb_prop_value *out)
{
    struct rec_props props;
    odb_status st = open_props(edge, &props);

    if (st == ODB_OK && !rec_props_find(&props, key, out))
        return ODB_ABSENT;
    return st;
}

uint32_t odb_edge_prop_count(const odb_edge *edge)
{
    struct rec_props props;

    return open_props(edge, &props) == ODB_OK ? props.count : 0;
}

odb_status odb_edge_prop_at(const odb_edge *edge, uint32_t i, odb_prop *out)
{
    struct rec_props props;
    odb_status st = open_props(edge, &props);

    if (st != ODB_OK)
        return st;
    if (i >= props.count)
        return ODB_ABSENT;
    rec_props_at(&props, i, out);
    return ODB_OK;
}
