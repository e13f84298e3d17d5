/* graph/audit.c -- is every edge there twice, and do its ends exist.
 *
 * Checking. Both families are read once, in order, and each edge adds a hash of (from, relation, to,
 * value) to the sum of its family: the sums agree when both hold the same edges, whatever the order. Only
 * when they differ is every edge looked up on the other side, to tell which ones. So a sound graph is
 * checked at the speed of a scan.
 *
 * Pruning. A scan at one moment collects edges of which an end has no record; a few hundred at a time they
 * are looked at anew in a transaction and removed. Whoever makes the missing record meanwhile gets in the
 * way of that commit, which is then tried again, and spares the edge.
 */
#include "graph/graph_priv.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"

#define PRUNE_CHUNK  256
#define KNOWN_MAX    65536 /* nodes whose records were looked for */
#define REPORT_EVERY 4096  /* edges between two calls of progress */

/* ---- do ends have records ---- */

struct ends {
    odb_at at;
    odb_cf *records;
    struct graph_set set;
    uint8_t there[KNOWN_MAX]; /* by number */
};

static odb_status has_record(struct ends *e, odb_slice id, bool *out)
{
    uint32_t no = graph_set_find(&e->set, id);
    bool is_new;
    odb_status st;

    if (no != GRAPH_NONE) {
        *out = e->there[no];
        return ODB_OK;
    }
    st = odb_exists(e->at, e->records, id);
    if (st != ODB_OK && st != ODB_ABSENT)
        return st;
    *out = st == ODB_OK;
    if (e->set.count == KNOWN_MAX)
        graph_set_release(&e->set);
    st = graph_set_add(&e->set, id, &no, &is_new);
    if (st == ODB_OK)
        e->there[no] = *out;
    return st;
}

static odb_status has_both_ends(struct ends *e, const struct graph_names *n, bool *out)
{
    odb_status st = has_record(e, n->node, out);

    return st == ODB_OK && *out ? has_record(e, n->other, out) : st;
}

static odb_status ends_new(odb_db *db, odb_at at, struct ends **out)
{
    struct ends *e = mem_zalloc(1, sizeof *e);
    odb_status st;

    if (!e)
        return err_set(ODB_NOMEM, "no memory to look for records");
    e->at = at;
    st = odb_cf_open(db, ODB_FAMILY_RECORDS, &e->records);
    if (st == ODB_OK)
        *out = e;
    else
        mem_free(e);
    return st;
}

static void ends_free(struct ends *e)
{
    if (e)
        graph_set_release(&e->set);
    mem_free(e);
}

/* ---- checking ---- */

struct audit {
    struct graph_view view;
    odb_graph_check *check;
    struct ends *ends; /* NULL: not asked for */
    struct graph_room room;
    struct graph_key key; /* of the other side */
    uint64_t sum[2], count[2];
    uint64_t bytes; /* read so far */
    uint64_t calls; /* keys until the next report */
    char first[160];
    bool is_stopped;
};

static const char *const family_of[2] = {ODB_FAMILY_GRAPH_FORWARD, ODB_FAMILY_GRAPH_BACKWARD};

static const char *problem_text(enum odb_graph_problem problem)
{
    switch (problem) {
    case ODB_GRAPH_KEY: return "is no edge's";
    case ODB_GRAPH_VALUE: return "has a value that is no edge's";
    case ODB_GRAPH_ONE_SIDED: return "is missing in the other family";
    case ODB_GRAPH_TWINS: return "has another value in the other family";
    }
    return "";
}

static void audit_report(struct audit *a, enum odb_graph_problem problem, bool is_in, odb_slice key)
{
    if (a->check->problems++ == 0) {
        int len = snprintf(a->first, sizeof a->first, "key 0x");

        for (size_t i = 0; i < key.size && i < 48; i++)
            len += snprintf(a->first + len, sizeof a->first - (size_t)len, "%02x",
                            ((const uint8_t *)key.data)[i]);
        (void)snprintf(a->first + len, sizeof a->first - (size_t)len, "%s in %s %s",
                       key.size > 48 ? "..." : "", family_of[is_in], problem_text(problem));
    }
    if (!a->check->problem)
        a->is_stopped = true;
    else if (!a->check->problem(a->check->arg, (int)problem, family_of[is_in], key))
        a->is_stopped = true;
}

static odb_status audit_tell(struct audit *a, size_t bytes)
{
    a->bytes += bytes;
    if (!a->check->progress || ++a->calls % REPORT_EVERY)
        return ODB_OK;
    if (a->check->progress(a->check->arg, "checking edges", a->bytes, 0))
        return ODB_OK;
    return err_set(ODB_CANCELLED, "the check of the graph was stopped");
}

/* One entry of a family: what it is, and its part of the sum. */
static odb_status audit_entry(struct audit *a, bool is_in, odb_slice key, odb_slice value)
{
    struct graph_names n;
    struct graph_value unused;
    odb_slice forward = key;
    odb_status st = graph_key_open(key, &a->room, &n);
    bool has_ends = true;

    if (st == ODB_NOMEM)
        return st;
    if (st != ODB_OK) {
        audit_report(a, ODB_GRAPH_KEY, is_in, key);
        return ODB_OK;
    }
    if (graph_value_open(value, &unused) == ODB_CORRUPT)
        audit_report(a, ODB_GRAPH_VALUE, is_in, key);
    if (is_in) {
        graph_key_edge(&a->key, n.other, n.rel, n.node);
        forward = graph_key_slice(&a->key);
    }
    a->sum[is_in] += hash_mix(hash64(forward.data, forward.size), hash64(value.data, value.size));
    a->count[is_in]++;
    if (is_in || !a->ends)
        return ODB_OK;
    st = has_both_ends(a->ends, &n, &has_ends);
    a->check->dangling += !has_ends;
    return st;
}

/* Look the entry up on the other side. Two values that differ are reported once, from the forward side. */
static odb_status audit_twin(struct audit *a, bool is_in, odb_slice key, odb_slice value)
{
    struct graph_names n;
    odb_value twin = {0};
    odb_status st = graph_key_open(key, &a->room, &n);

    if (st != ODB_OK)
        return st == ODB_NOMEM ? st : ODB_OK; /* was reported */
    graph_key_edge(&a->key, n.other, n.rel, n.node);
    st = odb_get(a->view.at, is_in ? a->view.cf.forward : a->view.cf.backward,
                 graph_key_slice(&a->key), &twin);
    if (st == ODB_ABSENT) {
        audit_report(a, ODB_GRAPH_ONE_SIDED, is_in, key);
        return ODB_OK;
    }
    if (st == ODB_OK && !is_in && !odb_slice_equal(value, odb_bytes(twin.data, twin.size)))
        audit_report(a, ODB_GRAPH_TWINS, is_in, key);
    odb_value_release(&twin);
    return st;
}

static odb_status audit_family(struct audit *a, bool is_in,
                               odb_status (*each)(struct audit *a, bool is_in, odb_slice key,
                                                  odb_slice value))
{
    const odb_range range = {.is_long = true};
    odb_iter *it = NULL;
    odb_status st =
        odb_iter_new(a->view.at, is_in ? a->view.cf.backward : a->view.cf.forward, &range, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK && !a->is_stopped;
         ok = odb_iter_next(it)) {
        odb_slice key = odb_iter_key(it), value = odb_iter_value(it);

        st = each(a, is_in, key, value);
        if (st == ODB_OK)
            st = audit_tell(a, key.size + value.size);
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

static odb_status audit_run(struct audit *a)
{
    odb_status st = audit_family(a, false, audit_entry);

    if (st == ODB_OK && !a->is_stopped)
        st = audit_family(a, true, audit_entry);
    a->check->edges = a->count[0];
    if (st != ODB_OK || a->is_stopped)
        return st;
    if (a->sum[0] == a->sum[1] && a->count[0] == a->count[1])
        return ODB_OK;
    st = audit_family(a, false, audit_twin);
    if (st == ODB_OK && !a->is_stopped)
        st = audit_family(a, true, audit_twin);
    return st;
}

odb_status odb_graph_verify(odb_at at, odb_graph_check *check)
{
    struct audit *a;
    odb_status st;

    if (!check || check->size < sizeof *check)
        return err_set(ODB_INVALID, check ? "odb_graph_check of a size that never was"
                                          : "the check must not be NULL");
    check->edges = check->problems = check->dangling = 0;
    a = mem_zalloc(1, sizeof *a);
    if (!a)
        return err_set(ODB_NOMEM, "no memory to check the graph");
    a->check = check;
    st = graph_view_init(&a->view, at, true);
    if (st == ODB_OK && check->ends)
        st = ends_new(a->view.db, a->view.at, &a->ends);
    if (st == ODB_OK)
        st = audit_run(a);
    if (st == ODB_OK && check->problems)
        st = err_corrupt("the graph", 0, a->first);
    ends_free(a->ends);
    graph_room_release(&a->room);
    graph_view_release(&a->view);
    mem_free(a);
    return st;
}

/* ---- pruning ---- */

struct pruning {
    odb_db *db;
    odb_prune *prune;
    struct graph_families cf;
    odb_cf *records;
    struct graph_list_maker found;
    odb_edge_list chunk; /* what is looked at anew */
    uint64_t removed;    /* by this attempt */
    struct graph_room room;
};

/* The record of `id` is not there, and will not be when this commits. */
static odb_status is_missing(struct pruning *p, odb_txn *txn, odb_slice id, bool *out)
{
    odb_status st = graph_claim_record(txn, p->records, id);

    if (st == ODB_OK)
        st = odb_exists(odb_in(txn), p->records, id);
    *out = st == ODB_ABSENT;
    return st == ODB_ABSENT ? ODB_OK : st;
}

static odb_status prune_edge(struct pruning *p, odb_txn *txn, const odb_edge *e)
{
    struct graph_key forward, backward;
    bool is_dangling = false;
    odb_status st;

    graph_key_edge(&forward, e->from, e->rel, e->to);
    graph_key_edge(&backward, e->to, e->rel, e->from);
    st = odb_exists(odb_in(txn), p->cf.forward, graph_key_slice(&forward));
    if (st != ODB_OK)
        return st == ODB_ABSENT ? ODB_OK : st; /* somebody was faster */
    st = is_missing(p, txn, e->from, &is_dangling);
    if (st == ODB_OK && !is_dangling)
        st = is_missing(p, txn, e->to, &is_dangling);
    if (st != ODB_OK || !is_dangling)
        return st;
    p->removed++;
    st = odb_txn_delete(txn, p->cf.forward, graph_key_slice(&forward));
    if (st == ODB_OK)
        st = odb_txn_delete(txn, p->cf.backward, graph_key_slice(&backward));
    return st;
}

static odb_status prune_chunk_run(odb_txn *txn, void *arg)
{
    struct pruning *p = arg;
    odb_status st = ODB_OK;

    p->removed = 0;
    for (size_t i = 0; i < p->chunk.count && st == ODB_OK; i++)
        st = prune_edge(p, txn, &p->chunk.edge[i]);
    return st;
}

static odb_status prune_found(struct pruning *p)
{
    odb_status st = graph_list_finish(&p->found, &p->chunk);

    graph_list_release(&p->found);
    p->found = (struct graph_list_maker){0};
    if (st == ODB_OK)
        st = odb_txn_run(p->db, NULL, prune_chunk_run, p, NULL);
    if (st == ODB_OK)
        p->prune->removed += p->removed;
    odb_edge_list_release(&p->chunk);
    return st;
}

static odb_status prune_tell(const odb_prune *prune)
{
    if (!prune->progress || prune->edges % REPORT_EVERY)
        return ODB_OK;
    if (prune->progress(prune->arg, "looking for dangling edges", prune->edges, 0))
        return ODB_OK;
    return err_set(ODB_CANCELLED, "pruning the graph was stopped");
}

static odb_status prune_look(struct pruning *p, struct ends *ends, odb_slice key)
{
    struct graph_names n;
    bool has_ends = true;
    odb_status st = graph_key_open(key, &p->room, &n);

    if (st != ODB_OK)
        return graph_refuse(st, ODB_FAMILY_GRAPH_FORWARD, key, "key");
    p->prune->edges++;
    st = has_both_ends(ends, &n, &has_ends);
    if (st != ODB_OK)
        return st;
    if (!has_ends && p->prune->dry_run) {
        p->prune->removed++;
    } else if (!has_ends) {
        odb_edge e = {.from = n.node, .rel = n.rel, .to = n.other};

        st = graph_list_add(&p->found, &e);
        if (st == ODB_OK && p->found.count == PRUNE_CHUNK)
            st = prune_found(p);
    }
    return st == ODB_OK ? prune_tell(p->prune) : st;
}

static odb_status prune_scan(struct pruning *p, const struct graph_view *v, struct ends *ends)
{
    odb_range range = {.keys_only = true, .is_long = true};
    struct graph_key prefix;
    odb_iter *it = NULL;
    odb_status st;

    if (p->prune->prefix.size) {
        graph_key_node(&prefix, p->prune->prefix);
        prefix.len -= GRAPH_END_LEN; /* the name may go on */
        range.prefix = graph_key_slice(&prefix);
    }
    st = odb_iter_new(v->at, v->cf.forward, &range, &it);
    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && st == ODB_OK; ok = odb_iter_next(it))
        st = prune_look(p, ends, odb_iter_key(it));
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st == ODB_OK && p->found.count ? prune_found(p) : st;
}

odb_status odb_graph_prune(odb_db *db, odb_prune *prune)
{
    struct pruning p = {.db = db, .prune = prune};
    struct graph_view v = {0};
    struct ends *ends = NULL;
    odb_status st = ODB_OK;

    if (!prune || prune->size < sizeof *prune)
        return err_set(ODB_INVALID, prune ? "odb_prune of a size that never was"
                                          : "what to prune must not be NULL");
    prune->edges = prune->removed = 0;
    if (prune->prefix.size)
        st = graph_check_id(prune->prefix, "the prefix");
    if (st == ODB_OK)
        st = graph_view_init(&v, odb_now(db), true);
    if (st == ODB_OK)
        st = ends_new(db, v.at, &ends);
    if (st == ODB_OK) {
        p.cf = v.cf;
        p.records = ends->records;
        st = prune_scan(&p, &v, ends);
    }
    ends_free(ends);
    graph_room_release(&p.room);
    graph_list_release(&p.found);
    graph_view_release(&v);
    return st;
}
