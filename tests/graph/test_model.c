/* The graph against a table: random links, unlinks, transactions, snapshots and reopenings, over both
 * backends; every way of reading must agree with a plain array that says for each (from, relation, to)
 * whether there is an edge, and with the textbook's slow way to find paths in it.
 *
 * The seed is printed; ODB_TEST_SEED=N runs it again, ODB_TEST_OPS=N runs it longer.
 */
#include <float.h>
#include <math.h>
#include <time.h>

#include "tests/api/fixture.h"

#define NODES     26
#define RELS      4
#define MOMENTS   3
#define FAR       1000u
#define OPERATION "operation %llu (seed %llu): "

struct cell {
    bool is_there;
    float weight;
    int64_t time_us;
    int64_t prop; /* value of property "n"; 0: no properties */
};

/* [from][rel][to] */
struct table {
    struct cell cell[NODES][RELS][NODES];
};

struct model {
    struct fixture *f;
    struct table now, backup;
    struct table *then[MOMENTS];
    odb_snapshot *snapshot[MOMENTS];
    uint64_t dice, seed, op;
    int64_t clock;
    odb_slice node[NODES], rel[RELS]; /* sorted */
};

/* Names that would trip an escape: NULs, the escape's own bytes, prefixes of one another, separators. In
 * order. */
static const odb_slice node_names[NODES] = {
#define NAME(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    NAME("\0"),        NAME("\0\0"),       NAME("\0\1"),    NAME("\0\1x"),    NAME("\0\xff"),
    NAME("\1"),        NAME("\1\1"),       NAME("a"),       NAME("a\0"),      NAME("a\0\0"),
    NAME("a\0\1"),     NAME("a\0\1r\0\1"), NAME("a\0\1r1"), NAME("a\0b"),     NAME("a\0\xff"),
    NAME("a\1"),       NAME("a:b"),        NAME("ab"),      NAME("abcdefgh"), NAME("abcdefgh\0"),
    NAME("abcdefghi"), NAME("b"),          NAME("z"),       NAME("z\xff"),    NAME("\xfe"),
    NAME("\xff\xff"),
};
static const odb_slice rel_names[RELS] = {NAME("r"), NAME("r\0"), NAME("r\0s"), NAME("rs")};

static uint64_t roll(struct model *m, uint64_t sides)
{
    m->dice ^= m->dice << 13;
    m->dice ^= m->dice >> 7;
    m->dice ^= m->dice << 17;
    return (m->dice >> 11) % sides;
}

#define check(m, claim)                                                                            \
    do {                                                                                           \
        if (!(claim))                                                                              \
            fail_msg(OPERATION "%s is not so (line %d, last error: %s)",                           \
                     (unsigned long long)(m)->op, (unsigned long long)(m)->seed, #claim, __LINE__, \
                     odb_error_text());                                                            \
    } while (0)
#define check_ok(m, call) check(m, (call) == ODB_OK)

static size_t node_of(struct model *m, odb_slice id)
{
    for (size_t i = 0; i < NODES; i++)
        if (odb_slice_equal(m->node[i], id))
            return i;
    fail_msg(OPERATION "a node nobody made", (unsigned long long)m->op,
             (unsigned long long)m->seed);
    return 0;
}

static size_t rel_of(struct model *m, odb_slice id)
{
    for (size_t i = 0; i < RELS; i++)
        if (odb_slice_equal(m->rel[i], id))
            return i;
    fail_msg(OPERATION "a relation nobody made", (unsigned long long)m->op,
             (unsigned long long)m->seed);
    return 0;
}

/* ---- what may be looked at: now, or one of the moments kept ---- */

static const struct table *roll_moment(struct model *m, odb_at *at)
{
    size_t i = roll(m, MOMENTS * 2);

    if (i < MOMENTS && m->snapshot[i]) {
        *at = odb_asof(m->snapshot[i]);
        return m->then[i];
    }
    *at = odb_now(m->f->db);
    return &m->now;
}

static void do_moment(struct model *m)
{
    size_t i = roll(m, MOMENTS);

    odb_snapshot_free(m->snapshot[i]);
    m->snapshot[i] = NULL;
    if (roll(m, 3) == 0)
        return;
    check_ok(m, odb_snapshot_new(m->f->db, &m->snapshot[i]));
    *m->then[i] = m->now;
}

/* ---- a match, and whether a cell satisfies it ---- */

struct choice {
    odb_edge_match match;
    odb_slice rels[RELS + 1];
    bool wants[RELS];
};

static void roll_match(struct model *m, struct choice *c)
{
    memset(c, 0, sizeof *c);
    c->match.direction = (int)roll(m, 3);
    if (roll(m, 3) == 0)
        c->match.min_weight = (float)roll(m, 10) - 2;
    if (roll(m, 4) == 0)
        c->match.time_from_us = 1 + (int64_t)roll(m, (uint64_t)m->clock + 1);
    if (roll(m, 4) == 0)
        c->match.time_to_us = 1 + (int64_t)roll(m, (uint64_t)m->clock + 1);
    if (roll(m, 2) == 0) {
        c->match.rels = c->rels;
        c->match.rel_count = 1 + roll(m, RELS + 1);
        for (size_t i = 0; i < c->match.rel_count; i++) {
            size_t r = roll(m, RELS);

            c->rels[i] = m->rel[r];
            c->wants[r] = true;
        }
    } else {
        memset(c->wants, true, sizeof c->wants);
    }
}

static bool satisfies(const struct choice *c, size_t rel, const struct cell *cell)
{
    const odb_edge_match *w = &c->match;

    return cell->is_there && c->wants[rel] &&
           (!(w->min_weight < 0 || w->min_weight > 0) || cell->weight >= w->min_weight) &&
           (!w->time_from_us || cell->time_us >= w->time_from_us) &&
           (!w->time_to_us || cell->time_us < w->time_to_us);
}

static bool goes_out(const struct choice *c)
{
    return c->match.direction != ODB_IN;
}

static bool goes_in(const struct choice *c)
{
    return c->match.direction != ODB_OUT;
}

/* ---- writes ---- */

static void roll_cell(struct model *m, struct cell *cell)
{
    cell->is_there = true;
    cell->weight = (float)roll(m, 12) / 2 - 1;
    cell->time_us = 1 + (int64_t)roll(m, (uint64_t)++m->clock);
    cell->prop = roll(m, 3) ? 0 : 1 + (int64_t)roll(m, 1000);
}

static void do_link(struct model *m, odb_txn *txn)
{
    size_t from = roll(m, NODES), rel = roll(m, RELS), to = roll(m, NODES);
    static const unsigned kinds[] = {ODB_LINK_KEEP, ODB_LINK_UPSERT, ODB_LINK_NEW};
    unsigned flags = kinds[roll(m, 3)];
    struct cell *cell = &m->now.cell[from][rel][to], *back = &m->now.cell[to][rel][from], made;
    odb_edge e = odb_edge_of(m->node[from], m->rel[rel], m->node[to]);
    odb_prop prop;
    odb_status st;

    roll_cell(m, &made);
    if (roll(m, 4) == 0 && flags != ODB_LINK_NEW)
        flags |= ODB_LINK_BOTH_WAYS;
    e.weight = made.weight;
    e.time_us = made.time_us;
    prop = odb_prop_int("n", made.prop);
    st = odb_link_edge(m->f->db, txn, &e, made.prop ? &prop : NULL, made.prop ? 1 : 0, flags);
    if ((flags & ODB_LINK_NEW) && cell->is_there) {
        check(m, st == ODB_EXISTS);
        return;
    }
    check_ok(m, st);
    if (!cell->is_there || (flags & ODB_LINK_UPSERT))
        *cell = made;
    if ((flags & ODB_LINK_BOTH_WAYS) && (!back->is_there || (flags & ODB_LINK_UPSERT)))
        *back = made;
}

static void do_unlink(struct model *m, odb_txn *txn)
{
    size_t from = roll(m, NODES), rel = roll(m, RELS), to = roll(m, NODES);

    check_ok(m, odb_unlink(m->f->db, txn, m->node[from], m->rel[rel], m->node[to]));
    m->now.cell[from][rel][to].is_there = false;
}

static void do_unlink_node(struct model *m, odb_txn *txn)
{
    size_t node = roll(m, NODES);
    uint64_t removed = 0, expected = 0;
    struct choice c;

    roll_match(m, &c);
    check_ok(m, odb_unlink_node(m->f->db, txn, m->node[node], &c.match, &removed));
    for (size_t r = 0; r < RELS; r++)
        for (size_t o = 0; o < NODES; o++) {
            struct cell *out = &m->now.cell[node][r][o], *in = &m->now.cell[o][r][node];
            bool takes_out = goes_out(&c) && satisfies(&c, r, out);
            bool takes_in = goes_in(&c) && satisfies(&c, r, in) && !(takes_out && in == out);

            expected += takes_out + takes_in;
            out->is_there = out->is_there && !takes_out;
            in->is_there = in->is_there && !takes_in;
        }
    check(m, removed == expected);
}

static void do_batch(struct model *m)
{
    odb_batch *b = NULL;

    check_ok(m, odb_batch_new(&b));
    for (size_t i = roll(m, 30); i > 0; i--) {
        size_t from = roll(m, NODES), rel = roll(m, RELS), to = roll(m, NODES);
        struct cell *cell = &m->now.cell[from][rel][to];
        odb_edge e = odb_edge_of(m->node[from], m->rel[rel], m->node[to]);
        odb_prop prop;

        roll_cell(m, cell);
        e.weight = cell->weight;
        e.time_us = cell->time_us;
        prop = odb_prop_int("n", cell->prop);
        check_ok(m, odb_batch_link(m->f->db, b, &e, &prop, cell->prop ? 1 : 0, ODB_LINK_UPSERT));
    }
    check_ok(m, odb_commit(m->f->db, b, NULL));
    odb_batch_free(b);
}

static void check_lists(struct model *m, odb_at at, const struct table *t);
static void check_walk(struct model *m, odb_at at, const struct table *t);
static void check_iterator(struct model *m, odb_at at, const struct table *t);

static void do_transaction(struct model *m)
{
    odb_txn *txn = NULL;

    m->backup = m->now;
    check_ok(m, odb_txn_begin(m->f->db, NULL, &txn));
    for (size_t i = roll(m, 20); i > 0; i--)
        switch (roll(m, 8)) {
        case 0:
        case 1:
        case 2: do_link(m, txn); break;
        case 3: do_unlink(m, txn); break;
        case 4: do_unlink_node(m, txn); break;
        case 5: check_lists(m, odb_in(txn), &m->now); break;
        case 6: check_walk(m, odb_in(txn), &m->now); break;
        default: check_iterator(m, odb_in(txn), &m->now); break;
        }
    if (roll(m, 3)) {
        check_ok(m, odb_txn_commit(txn, NULL));
    } else {
        odb_txn_rollback(txn);
        m->now = m->backup;
    }
    odb_txn_free(txn);
}

/* ---- reads ---- */

static void check_edge(struct model *m, const struct table *t, const odb_edge *e, size_t from,
                       size_t rel, size_t to)
{
    const struct cell *cell = &t->cell[from][rel][to];
    odb_prop_value value;

    check(m, odb_slice_equal(e->from, m->node[from]));
    check(m, odb_slice_equal(e->rel, m->rel[rel]));
    check(m, odb_slice_equal(e->to, m->node[to]));
    check(m, cell->is_there);
    check(m, e->weight >= cell->weight && e->weight <= cell->weight);
    check(m, e->time_us == cell->time_us);
    check(m, odb_edge_prop_count(e) == (cell->prop ? 1u : 0u));
    if (cell->prop) {
        check_ok(m, odb_edge_prop(e, odb_s("n"), &value));
        check(m, value.type == ODB_PROP_INT && value.u.integer == cell->prop);
    }
    check(m, odb_edge_prop(e, odb_s("nn"), &value) == ODB_ABSENT);
}

static void check_lists(struct model *m, odb_at at, const struct table *t)
{
    size_t node = roll(m, NODES), only = roll(m, RELS), o = 0, i = 0, r = 0;
    odb_edge_list out, in, related;

    check_ok(m, odb_outgoing(at, m->node[node], &out));
    check_ok(m, odb_incoming(at, m->node[node], &in));
    check_ok(m, odb_related(at, m->node[node], m->rel[only], &related));
    for (size_t rel = 0; rel < RELS; rel++)
        for (size_t other = 0; other < NODES; other++) {
            if (t->cell[node][rel][other].is_there) {
                check(m, o < out.count);
                check_edge(m, t, &out.edge[o++], node, rel, other);
                if (rel == only) {
                    check(m, r < related.count);
                    check_edge(m, t, &related.edge[r++], node, rel, other);
                }
            }
            if (t->cell[other][rel][node].is_there) {
                check(m, i < in.count);
                check_edge(m, t, &in.edge[i++], other, rel, node);
            }
        }
    check(m, o == out.count && i == in.count && r == related.count);
    odb_edge_list_release(&out);
    odb_edge_list_release(&in);
    odb_edge_list_release(&related);
}

static void check_point(struct model *m, odb_at at, const struct table *t)
{
    size_t from = roll(m, NODES), rel = roll(m, RELS), to = roll(m, NODES);
    odb_status expected = t->cell[from][rel][to].is_there ? ODB_OK : ODB_ABSENT;
    odb_edge_list one;

    check(m, odb_edge_exists(at, m->node[from], m->rel[rel], m->node[to]) == expected);
    check(m, odb_edge_get(at, m->node[from], m->rel[rel], m->node[to], &one) == expected);
    if (expected == ODB_OK) {
        check(m, one.count == 1);
        check_edge(m, t, &one.edge[0], from, rel, to);
        odb_edge_list_release(&one);
    }
}

/* Pages of random sizes, each resumed where the one before it ended, by an iterator that is now and then
 * sent to another node first. */
static void check_iterator(struct model *m, odb_at at, const struct table *t)
{
    size_t node = roll(m, NODES);
    struct choice c;
    odb_edge_options opt = {.size = sizeof opt};
    char resume[6000];
    odb_edge_iter *it = NULL;
    odb_edge e;
    odb_status st = ODB_ABSENT;
    uint64_t left = 0, degree;

    roll_match(m, &c);
    opt.match = c.match;
    opt.keys_only = roll(m, 4) == 0;
    for (int is_in = 0; is_in < 2; is_in++)
        for (size_t rel = 0; rel < RELS; rel++)
            for (size_t other = 0; other < NODES; other++) {
                bool goes = is_in ? goes_in(&c) : goes_out(&c);
                size_t from = is_in ? other : node, to = is_in ? node : other;

                if (!goes || !satisfies(&c, rel, &t->cell[from][rel][to]))
                    continue;
                if (left == 0) {
                    odb_edge_iter_free(it);
                    left = opt.limit = 1 + roll(m, 12);
                    check_ok(m, odb_edge_iter_new(at, m->node[node], &opt, &it));
                    if (!opt.resume.size && roll(m, 2)) {
                        check_ok(m, odb_edge_iter_move(it, m->node[roll(m, NODES)]));
                        check_ok(m, odb_edge_iter_move(it, m->node[node]));
                    }
                }
                check_ok(m, odb_edge_iter_next(it, &e));
                if (!opt.keys_only)
                    check_edge(m, t, &e, from, rel, to);
                check(m, odb_slice_equal(e.from, m->node[from]) &&
                             odb_slice_equal(e.rel, m->rel[rel]) &&
                             odb_slice_equal(e.to, m->node[to]));
                if (--left == 0) {
                    check(m, odb_edge_iter_next(it, &e) == ODB_ABSENT);
                    opt.resume = odb_edge_iter_resume(it);
                    check(m, opt.resume.size > 0 && opt.resume.size <= sizeof resume);
                    memcpy(resume, opt.resume.data, opt.resume.size);
                    opt.resume.data = resume;
                }
            }
    if (!it || left == 0) {
        odb_edge_iter_free(it);
        opt.limit = 0;
        check_ok(m, odb_edge_iter_new(at, m->node[node], &opt, &it));
    }
    st = odb_edge_iter_next(it, &e);
    check(m, st == ODB_ABSENT);
    check(m, odb_edge_iter_next(it, &e) == ODB_ABSENT);
    odb_edge_iter_free(it);
    check_ok(m, odb_degree(at, m->node[node], &c.match, &degree));
    for (size_t rel = 0; rel < RELS; rel++)
        for (size_t other = 0; other < NODES; other++) {
            degree -= goes_out(&c) && satisfies(&c, rel, &t->cell[node][rel][other]);
            degree -= goes_in(&c) && satisfies(&c, rel, &t->cell[other][rel][node]);
        }
    check(m, degree == 0);
}

/* ---- walks against the slow way ---- */

static bool has_step(const struct table *t, const struct choice *c, size_t a, size_t b)
{
    for (size_t rel = 0; rel < RELS; rel++)
        if ((goes_out(c) && satisfies(c, rel, &t->cell[a][rel][b])) ||
            (goes_in(c) && satisfies(c, rel, &t->cell[b][rel][a])))
            return true;
    return false;
}

static void depths(const struct table *t, const struct choice *c, unsigned *depth)
{
    bool has_changed = true;

    while (has_changed) {
        has_changed = false;
        for (size_t a = 0; a < NODES; a++)
            for (size_t b = 0; b < NODES; b++)
                if (depth[a] < FAR && depth[b] > depth[a] + 1 && has_step(t, c, a, b)) {
                    depth[b] = depth[a] + 1;
                    has_changed = true;
                }
    }
}

static uint64_t edges_among(struct model *m, const struct table *t, const struct choice *c,
                            const odb_nodeset *set, unsigned max_depth)
{
    uint64_t count = 0;

    for (size_t a = 0; a < NODES; a++)
        for (size_t rel = 0; rel < RELS; rel++)
            for (size_t b = 0; b < NODES; b++) {
                size_t i = odb_nodeset_find(set, m->node[a]), j = odb_nodeset_find(set, m->node[b]);

                if (i == SIZE_MAX || j == SIZE_MAX || !satisfies(c, rel, &t->cell[a][rel][b]))
                    continue;
                /* it is met from an end that was walked on from */
                count += (goes_out(c) && odb_nodeset_at(set, i).depth < max_depth) ||
                         (goes_in(c) && odb_nodeset_at(set, j).depth < max_depth);
            }
    return count;
}

static void check_walk(struct model *m, odb_at at, const struct table *t)
{
    size_t starts = 1 + roll(m, 3), reached = 0;
    odb_slice start[3];
    unsigned depth[NODES], max_depth = (unsigned)roll(m, 5);
    struct choice c;
    odb_walk walk = {.size = sizeof walk};
    odb_walk_report report;
    odb_nodeset *set = NULL;

    roll_match(m, &c);
    walk.edges = c.match;
    walk.max_depth = max_depth;
    walk.report = &report;
    walk.keep_edges = roll(m, 2);
    for (size_t i = 0; i < NODES; i++)
        depth[i] = FAR;
    for (size_t i = 0; i < starts; i++) {
        size_t s = roll(m, NODES);

        start[i] = m->node[s];
        depth[s] = 0;
    }
    depths(t, &c, depth);
    check_ok(m, odb_walk_bfs(at, start, starts, &walk, &set));
    if (!max_depth)
        max_depth = FAR - 1;
    for (size_t i = 0; i < NODES; i++) {
        size_t no = odb_nodeset_find(set, m->node[i]);
        odb_node node;

        check(m, (no != SIZE_MAX) == (depth[i] <= max_depth));
        if (no == SIZE_MAX)
            continue;
        reached++;
        node = odb_nodeset_at(set, no);
        check(m, odb_slice_equal(node.id, m->node[i]) && node.depth == depth[i]);
        check(m, (node.parent == SIZE_MAX) == (depth[i] == 0));
        check(m, no == 0 || odb_nodeset_at(set, no - 1).depth <= node.depth);
        if (node.parent != SIZE_MAX) {
            odb_node parent = odb_nodeset_at(set, node.parent);
            size_t p = node_of(m, parent.id), rel = rel_of(m, node.rel);

            check(m, parent.depth + 1 == node.depth);
            check(m,
                  satisfies(&c, rel, node.is_backward ? &t->cell[i][rel][p] : &t->cell[p][rel][i]));
            check(m, node.is_backward ? goes_in(&c) : goes_out(&c));
        }
    }
    check(m, reached == odb_nodeset_count(set) && report.nodes == reached);
    if (walk.keep_edges) {
        check(m, odb_nodeset_edge_count(set) == edges_among(m, t, &c, set, max_depth));
        for (size_t i = 0; i < odb_nodeset_edge_count(set); i++) {
            odb_link_of link = odb_nodeset_edge(set, i);
            size_t from = node_of(m, odb_nodeset_at(set, link.from).id);
            size_t to = node_of(m, odb_nodeset_at(set, link.to).id);

            check(m, satisfies(&c, rel_of(m, link.rel), &t->cell[from][rel_of(m, link.rel)][to]));
        }
    }
    odb_nodeset_free(set);
}

static double slow_cost(const struct cell *cell)
{
    return cell->weight > 0 ? 1 / (double)cell->weight : INFINITY;
}

static void costs(const struct table *t, const struct choice *c, double *cost)
{
    for (size_t round = 0; round < NODES; round++)
        for (size_t a = 0; a < NODES; a++)
            for (size_t rel = 0; rel < RELS; rel++)
                for (size_t b = 0; b < NODES; b++) {
                    const struct cell *cell = &t->cell[a][rel][b];
                    double step = slow_cost(cell);

                    if (!satisfies(c, rel, cell))
                        continue;
                    if (goes_out(c) && cost[a] + step < cost[b])
                        cost[b] = cost[a] + step;
                    if (goes_in(c) && cost[b] + step < cost[a])
                        cost[a] = cost[b] + step;
                }
}

static void check_path(struct model *m, odb_at at, const struct table *t)
{
    size_t a = roll(m, NODES), b = roll(m, NODES), here = a;
    bool by_cost = roll(m, 2);
    unsigned depth[NODES];
    double cost[NODES], sum = 0;
    struct choice c;
    odb_walk walk = {.size = sizeof walk};
    odb_path *path = NULL;
    odb_status st;

    roll_match(m, &c);
    walk.edges = c.match;
    for (size_t i = 0; i < NODES; i++) {
        depth[i] = i == a ? 0 : FAR;
        cost[i] = i == a ? 0 : INFINITY;
    }
    depths(t, &c, depth);
    costs(t, &c, cost);
    st = odb_shortest_path(at, m->node[a], m->node[b], &walk, by_cost ? odb_cost_by_weight : NULL,
                           NULL, &path);
    if (by_cost ? !isfinite(cost[b]) : depth[b] == FAR) {
        check(m, st == ODB_ABSENT && !path);
        return;
    }
    check_ok(m, st);
    if (!by_cost)
        check(m, odb_path_length(path) == depth[b]);
    check(m, odb_slice_equal(odb_path_node(path, 0), m->node[a]));
    for (size_t i = 0; i < odb_path_length(path); i++) {
        odb_edge e = odb_path_edge(path, i);
        size_t from = node_of(m, e.from), to = node_of(m, e.to), rel = rel_of(m, e.rel);
        size_t next = node_of(m, odb_path_node(path, i + 1));

        check_edge(m, t, &e, from, rel, to);
        check(m, satisfies(&c, rel, &t->cell[from][rel][to]));
        check(m, (from == here && to == next && goes_out(&c)) ||
                     (to == here && from == next && goes_in(&c)));
        sum += slow_cost(&t->cell[from][rel][to]);
        here = next;
    }
    check(m, here == b);
    if (by_cost) {
        check(m, fabs(sum - cost[b]) < 1e-9);
        check(m, fabs(odb_path_cost(path) - cost[b]) < 1e-9);
    }
    odb_path_free(path);
}

static void check_common(struct model *m, odb_at at, const struct table *t)
{
    size_t a = roll(m, NODES), b = roll(m, NODES), i = 0;
    odb_nodeset *set = NULL;
    struct choice c;

    roll_match(m, &c);
    if (roll(m, 2) && c.match.rels)
        c.match.rel_count = 1;
    if (c.match.rels)
        for (size_t r = 0; r < RELS; r++) {
            c.wants[r] = false;
            for (size_t k = 0; k < c.match.rel_count; k++)
                c.wants[r] = c.wants[r] || odb_slice_equal(c.rels[k], m->rel[r]);
        }
    check_ok(m, odb_common_neighbours(at, m->node[a], m->node[b], &c.match, &set));
    for (size_t o = 0; o < NODES; o++)
        if (has_step(t, &c, a, o) && has_step(t, &c, b, o))
            check(m, odb_slice_equal(odb_nodeset_at(set, i++).id, m->node[o]));
    check(m, i == odb_nodeset_count(set));
    odb_nodeset_free(set);
}

/* Rounds of the definition, until nothing moves. */
static void slow_rank(const struct table *t, const struct choice *c, size_t seed, bool weighted,
                      double *score)
{
    double rest[NODES] = {0};

    rest[seed] = 1;
    for (int round = 0; round < 300; round++) {
        double next[NODES] = {0};

        for (size_t a = 0; a < NODES; a++) {
            double sum = 0;

            for (int pass = 0; pass < 2; pass++) {
                for (size_t rel = 0; rel < RELS; rel++)
                    for (size_t b = 0; b < NODES; b++)
                        for (int is_in = 0; is_in < 2; is_in++) {
                            const struct cell *cell =
                                is_in ? &t->cell[b][rel][a] : &t->cell[a][rel][b];
                            double w = weighted ? (double)cell->weight : 1;

                            if (!(is_in ? goes_in(c) : goes_out(c)) || !satisfies(c, rel, cell) ||
                                !(w > 0))
                                continue;
                            if (pass == 0)
                                sum += w;
                            else
                                next[b] += 0.85 * rest[a] * w / sum;
                        }
                if (!(sum > 0))
                    break;
            }
            score[a] += sum > 0 ? 0.15 * rest[a] : rest[a];
        }
        memcpy(rest, next, sizeof rest);
    }
}

static void check_rank(struct model *m, odb_at at, const struct table *t)
{
    size_t seed = roll(m, NODES);
    double score[NODES] = {0}, sum = 0;
    odb_rank rank = {.size = sizeof rank, .epsilon = 1e-9, .weighted = roll(m, 2)};
    odb_walk walk = {.size = sizeof walk};
    odb_scores *scores = NULL;
    struct choice c;

    roll_match(m, &c);
    walk.edges = c.match;
    slow_rank(t, &c, seed, rank.weighted, score);
    check_ok(m, odb_pagerank(at, &m->node[seed], NULL, 1, &rank, &walk, &scores));
    for (size_t i = 0; i < NODES; i++) {
        double got = odb_scores_of(scores, m->node[i]);

        check(m, fabs(got - score[i]) < 1e-5);
        sum += got;
    }
    check(m, sum <= 1 + 1e-12 && sum > 1 - 1e-5);
    for (size_t i = 1; i < odb_scores_count(scores); i++)
        check(m, odb_scores_at(scores, i - 1).score >= odb_scores_at(scores, i).score);
    odb_scores_free(scores);
}

static void check_histogram(struct model *m, odb_at at, const struct table *t)
{
    size_t node = roll(m, NODES);
    int what = (int)roll(m, 3); /* out, in, all */
    odb_scores *scores = NULL;
    size_t kinds = 0;

    check_ok(m, odb_relation_histogram(at, what == 2 ? odb_bytes(NULL, 0) : m->node[node],
                                       what == 1 ? ODB_IN : ODB_OUT, &scores));
    for (size_t rel = 0; rel < RELS; rel++) {
        unsigned count = 0;

        for (size_t a = 0; a < NODES; a++)
            for (size_t b = 0; b < NODES; b++)
                if (what == 2 || (what == 0 ? a == node : b == node))
                    count += t->cell[a][rel][b].is_there;
        check(m, (unsigned)odb_scores_of(scores, m->rel[rel]) == count);
        kinds += count > 0;
    }
    check(m, kinds == odb_scores_count(scores));
    odb_scores_free(scores);
}

static void check_sound(struct model *m, odb_at at, const struct table *t)
{
    odb_graph_check audit = {.size = sizeof audit};
    uint64_t edges = 0;

    check_ok(m, odb_graph_verify(at, &audit));
    for (size_t a = 0; a < NODES; a++)
        for (size_t rel = 0; rel < RELS; rel++)
            for (size_t b = 0; b < NODES; b++)
                edges += t->cell[a][rel][b].is_there;
    check(m, audit.edges == edges && audit.problems == 0);
}

static void do_read(struct model *m)
{
    odb_at at;
    const struct table *t = roll_moment(m, &at);

    switch (roll(m, 9)) {
    case 0: check_lists(m, at, t); break;
    case 1: check_point(m, at, t); break;
    case 2: check_iterator(m, at, t); break;
    case 3: check_walk(m, at, t); break;
    case 4: check_path(m, at, t); break;
    case 5: check_common(m, at, t); break;
    case 6: check_rank(m, at, t); break;
    case 7: check_histogram(m, at, t); break;
    default: check_sound(m, at, t); break;
    }
}

static void do_reopen(struct model *m)
{
    for (size_t i = 0; i < MOMENTS; i++) {
        odb_snapshot_free(m->snapshot[i]);
        m->snapshot[i] = NULL;
    }
    fixture_reopen(m->f);
}

static void agrees_with_a_table(void **state)
{
    const char *seed = getenv("ODB_TEST_SEED"), *ops = getenv("ODB_TEST_OPS");
    struct model *m = calloc(1, sizeof *m);
    uint64_t count = ops ? strtoull(ops, NULL, 10) : 1500;

    assert_non_null(m);
    m->f = *state;
    m->seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    m->dice = m->seed * 0x9e3779b97f4a7c15u + 1;
    printf("seed %llu\n", (unsigned long long)m->seed);
    memcpy(m->node, node_names, sizeof node_names);
    memcpy(m->rel, rel_names, sizeof rel_names);
    for (size_t i = 1; i < NODES; i++)
        assert_true(odb_slice_compare(m->node[i - 1], m->node[i]) < 0);
    for (size_t i = 0; i < MOMENTS; i++) {
        m->then[i] = malloc(sizeof *m->then[i]);
        assert_non_null(m->then[i]);
    }
    for (m->op = 0; m->op < count; m->op++)
        switch (roll(m, 40)) {
        case 0: do_reopen(m); break;
        case 1: check_ok(m, odb_flush(m->f->db, NULL)); break;
        case 2: do_unlink_node(m, NULL); break;
        case 3:
        case 4: do_moment(m); break;
        case 5:
        case 6: do_transaction(m); break;
        case 7: do_batch(m); break;
        case 8:
        case 9:
        case 10:
        case 11: do_unlink(m, NULL); break;
        case 12:
        case 13:
        case 14:
        case 15:
        case 16:
        case 17:
        case 18:
        case 19: do_link(m, NULL); break;
        default: do_read(m); break;
        }
    do_reopen(m);
    check_sound(m, odb_now(m->f->db), &m->now);
    for (size_t i = 0; i < MOMENTS; i++)
        free(m->then[i]);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(agrees_with_a_table)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
