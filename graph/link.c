/* graph/link.c -- edges made and removed.
 *
 *     link(a, r, b):     graph_forward   a r b  = value      \  one commit
 *                        graph_backward  b r a  = value      /
 *
 *                                      inside a transaction        by itself
 *     ODB_LINK_UPSERT                  two puts                    a batch of two puts
 *     KEEP, NEW                        a look, two puts            a transaction, again on a conflict
 *     ODB_LINK_REQUIRE                 and two records claimed     the same
 *     unlink                           two deletes                 a batch of two deletes
 *     node_delete                      all edges claimed, deleted  the same, in pieces when they are many
 *
 * 1. Both entries of an edge are written by the same commit, always.
 * 2. No write reads or writes anything but the edge itself (and, where asked for, the records of its
 *    ends): what a link costs does not depend on how many edges a node has, and two links of different
 *    edges never conflict.
 */
#include "graph/graph_priv.h"

#include <math.h>

#include "os/os.h"
#include "records/props.h"

#define LINK_FLAGS (ODB_LINK_UPSERT | ODB_LINK_NEW | ODB_LINK_REQUIRE | ODB_LINK_BOTH_WAYS)
#define CHUNK_MAX  16384 /* edges removed by one commit */

/* An edge to be written: its two keys and its value. */
struct link_plan {
    struct graph_families cf;
    struct graph_key to_end;   /* from rel to */
    struct graph_key to_start; /* to rel from */
    struct buf value;
};

static odb_status plan_names(struct link_plan *p, odb_db *db, const odb_edge *e)
{
    odb_status st = graph_check_names(e->from, e->rel, e->to);

    p->value = (struct buf){0};
    if (st == ODB_OK)
        st = graph_families_find(db, &p->cf);
    if (st != ODB_OK)
        return st;
    graph_key_edge(&p->to_end, e->from, e->rel, e->to);
    graph_key_edge(&p->to_start, e->to, e->rel, e->from);
    return ODB_OK;
}

static odb_status plan_props(struct link_plan *p, const odb_edge *e, const odb_prop *props,
                             uint32_t count)
{
    struct rec_props packed;
    const char *bad;

    if (count && !props)
        return err_set(ODB_INVALID, "%u properties at address NULL", count);
    if (props)
        return count ? rec_props_append(&p->value, props, count) : ODB_OK;
    bad = rec_props_open(e->props, &packed);
    if (bad || packed.count == 0)
        return err_set(ODB_INVALID, "the packed properties of the edge: %s",
                       bad ? bad : "there are none");
    return buf_append(&p->value, e->props.data, e->props.size);
}

static odb_status plan_value(struct link_plan *p, const odb_edge *e, const odb_prop *props,
                             uint32_t count)
{
    bool has_props = props ? count > 0 : e->props.size > 0 || count > 0;
    int64_t time = e->time_us == ODB_TIME_NOW ? (int64_t)os_wall_us(os_posix()) : e->time_us;
    odb_status st;

    if (!isfinite(e->weight))
        return err_set(ODB_INVALID, "the weight of an edge must be a number");
    st = buf_reserve(&p->value, GRAPH_VALUE_MIN);
    if (st != ODB_OK)
        return st;
    graph_value_put(p->value.p, e->weight, time, has_props);
    p->value.len = GRAPH_VALUE_MIN;
    return has_props ? plan_props(p, e, props, count) : ODB_OK;
}

/* ---- where writes go ---- */

struct sink {
    odb_txn *txn; /* or */
    odb_batch *batch;
};

/* `value` NULL: delete. */
static odb_status sink_write(const struct sink *s, odb_cf *cf, const struct graph_key *key,
                             const odb_slice *value)
{
    odb_slice k = graph_key_slice(key);

    if (s->txn)
        return value ? odb_txn_put(s->txn, cf, k, *value) : odb_txn_delete(s->txn, cf, k);
    return value ? odb_batch_put(s->batch, cf, k, *value) : odb_batch_delete(s->batch, cf, k);
}

/* Both entries of the edge, or of the one that leads back. */
static odb_status sink_edge(const struct sink *s, const struct link_plan *p, bool is_back,
                            const odb_slice *value)
{
    const struct graph_key *forward = is_back ? &p->to_start : &p->to_end;
    const struct graph_key *backward = is_back ? &p->to_end : &p->to_start;
    odb_status st = sink_write(s, p->cf.forward, forward, value);

    if (st == ODB_OK)
        st = sink_write(s, p->cf.backward, backward, value);
    return st;
}

/* ---- linking ---- */

odb_status graph_claim_record(odb_txn *txn, odb_cf *records, odb_slice id)
{
    uint8_t behind[GRAPH_ID_LEN_MAX + 1]; /* the key that follows next */
    odb_range range;

    memset(&range, 0, sizeof range);
    memcpy(behind, id.data, id.size);
    behind[id.size] = 0;
    range.lower = id;
    range.upper = odb_bytes(behind, id.size + 1);
    return odb_txn_claim(txn, records, &range, true);
}

/* `flags` make sense, and are all in `allowed`. */
static odb_status check_link_flags(unsigned flags, unsigned allowed)
{
    if ((flags & ~allowed) || ((flags & ODB_LINK_UPSERT) && (flags & ODB_LINK_NEW)))
        return err_set(ODB_INVALID, "link flags %#x are not known, or not together, here", flags);
    return ODB_OK;
}

static odb_status link_one_way(odb_txn *txn, const struct link_plan *p, bool is_back,
                               unsigned flags)
{
    const struct sink s = {txn, NULL};
    odb_slice value = buf_slice(&p->value);

    if (!(flags & ODB_LINK_UPSERT)) {
        odb_status st = odb_exists(odb_in(txn), p->cf.forward,
                                   graph_key_slice(is_back ? &p->to_start : &p->to_end));

        if (st == ODB_OK)
            return flags & ODB_LINK_NEW ? err_set(ODB_EXISTS, "there is such an edge already")
                                        : ODB_OK;
        if (st != ODB_ABSENT)
            return st;
    }
    return sink_edge(&s, p, is_back, &value);
}

/* See that `id` has a record, and that nobody deletes it before the commit. */
static odb_status keep_record(odb_db *db, odb_txn *txn, odb_slice id)
{
    odb_cf *records = NULL;
    odb_status st = odb_cf_open(db, ODB_FAMILY_RECORDS, &records);

    if (st == ODB_OK)
        st = graph_claim_record(txn, records, id);
    if (st == ODB_OK)
        st = odb_exists(odb_in(txn), records, id);
    if (st == ODB_ABSENT)
        st = err_set(ODB_ABSENT, "an end of the edge has no record, as ODB_LINK_REQUIRE asks");
    return st;
}

static odb_status link_in(odb_db *db, odb_txn *txn, const struct link_plan *p, const odb_edge *e,
                          unsigned flags)
{
    odb_status st = ODB_OK;

    if (flags & ODB_LINK_REQUIRE) {
        st = keep_record(db, txn, e->from);
        if (st == ODB_OK && !odb_slice_equal(e->from, e->to))
            st = keep_record(db, txn, e->to);
    }
    if (st == ODB_OK)
        st = link_one_way(txn, p, false, flags);
    if (st == ODB_OK && (flags & ODB_LINK_BOTH_WAYS) && !odb_slice_equal(e->from, e->to))
        st = link_one_way(txn, p, true, flags);
    return st;
}

/* In the caller's transaction: all of it, or it is left as it was. */
static odb_status within(odb_txn *txn, odb_status (*work)(odb_txn *txn, void *arg), void *arg)
{
    char text[ERR_TEXT_MAX];
    uint32_t savepoint;
    odb_status st = odb_txn_save(txn, &savepoint);

    if (st != ODB_OK)
        return st;
    st = work(txn, arg);
    if (st == ODB_OK)
        return odb_txn_release(txn, savepoint);
    err_save(text);
    if (odb_txn_rollback_to(txn, savepoint) == ODB_OK) /* else it has ended, with all its writes */
        err_ignore(odb_txn_release(txn, savepoint));
    return err_restore(st, text);
}

/* In the caller's transaction, or in one of its own that is tried again while others are faster. */
static odb_status run_work(odb_db *db, odb_txn *txn, odb_status (*work)(odb_txn *txn, void *arg),
                           void *arg)
{
    return txn ? within(txn, work, arg) : odb_txn_run(db, NULL, work, arg, NULL);
}

/* Write `value` (NULL: delete) both ways in a batch. */
static odb_status commit_blindly(odb_db *db, const struct link_plan *p, bool both_ways,
                                 const odb_slice *value)
{
    struct sink s = {NULL, NULL};
    odb_status st = odb_batch_new(&s.batch);

    if (st == ODB_OK)
        st = sink_edge(&s, p, false, value);
    if (st == ODB_OK && both_ways)
        st = sink_edge(&s, p, true, value);
    if (st == ODB_OK)
        st = odb_commit(db, s.batch, NULL);
    odb_batch_free(s.batch);
    return st;
}

struct link_job {
    odb_db *db;
    const struct link_plan *plan;
    const odb_edge *edge;
    unsigned flags;
};

static odb_status link_job_run(odb_txn *txn, void *arg)
{
    struct link_job *job = arg;

    return link_in(job->db, txn, job->plan, job->edge, job->flags);
}

odb_status odb_link_edge(odb_db *db, odb_txn *txn, const odb_edge *edge, const odb_prop *props,
                         uint32_t prop_count, unsigned flags)
{
    struct link_plan p;
    struct link_job job = {db, &p, edge, flags};
    odb_status st;

    if (!edge)
        return err_set(ODB_INVALID, "the edge must not be NULL");
    st = check_link_flags(flags, LINK_FLAGS);
    if (st != ODB_OK)
        return st;
    st = plan_names(&p, db, edge);
    if (st == ODB_OK)
        st = plan_value(&p, edge, props, prop_count);
    if (st != ODB_OK)
        goto done;
    if (!txn && (flags & ODB_LINK_UPSERT) && !(flags & ODB_LINK_REQUIRE)) {
        odb_slice value = buf_slice(&p.value);

        st = commit_blindly(db, &p, flags & ODB_LINK_BOTH_WAYS, &value);
    } else {
        st = run_work(db, txn, link_job_run, &job);
    }
done:
    buf_release(&p.value);
    return st;
}

odb_status odb_link(odb_db *db, odb_txn *txn, odb_slice from, odb_slice rel, odb_slice to)
{
    odb_edge e = odb_edge_of(from, rel, to);

    return odb_link_edge(db, txn, &e, NULL, 0, ODB_LINK_KEEP);
}

odb_status odb_batch_link(odb_db *db, odb_batch *batch, const odb_edge *edge, const odb_prop *props,
                          uint32_t prop_count, unsigned flags)
{
    const struct sink s = {NULL, batch};
    struct link_plan p;
    odb_slice value;
    odb_status st;

    if (!edge || !batch)
        return err_set(ODB_INVALID, "the %s must not be NULL", edge ? "batch" : "edge");
    st = check_link_flags(flags, ODB_LINK_UPSERT | ODB_LINK_BOTH_WAYS);
    if (st != ODB_OK)
        return st;
    st = plan_names(&p, db, edge);
    if (st == ODB_OK)
        st = plan_value(&p, edge, props, prop_count);
    value = buf_slice(&p.value);
    if (st == ODB_OK)
        st = sink_edge(&s, &p, false, &value);
    if (st == ODB_OK && (flags & ODB_LINK_BOTH_WAYS))
        st = sink_edge(&s, &p, true, &value);
    buf_release(&p.value);
    return st;
}

static odb_status unlink_plan_run(odb_txn *txn, void *arg)
{
    const struct sink s = {txn, NULL};

    return sink_edge(&s, arg, false, NULL);
}

odb_status odb_unlink(odb_db *db, odb_txn *txn, odb_slice from, odb_slice rel, odb_slice to)
{
    const odb_edge e = {.from = from, .rel = rel, .to = to};
    struct link_plan p;
    odb_status st = plan_names(&p, db, &e);

    if (st != ODB_OK)
        return st;
    return txn ? within(txn, unlink_plan_run, &p) : commit_blindly(db, &p, false, NULL);
}

/* ---- unlinking a node ---- */

struct unlink_job {
    odb_db *db;
    odb_slice node;
    int direction;
    struct graph_match match;
    uint64_t limit;     /* edges by one commit */
    uint64_t removed;   /* by this attempt */
    bool has_more;      /* the limit was reached */
    struct buf resume;  /* where the commits so far came to: raw key of an edge, or empty */
    bool resume_is_in;  /* its direction */
    struct buf reached; /* the same of this attempt */
    bool reached_is_in;
    bool with_record; /* and the record goes with the edges */
    unsigned record_flags;
};

static odb_status unlink_hop(const struct unlink_job *job, odb_txn *txn,
                             const struct graph_families *cf, const struct graph_hop *hop,
                             bool is_in)
{
    const struct sink s = {txn, NULL};
    odb_edge e = graph_edge_of(job->node, hop, is_in);
    struct graph_key to_end, to_start;
    odb_status st;

    graph_key_edge(&to_end, e.from, e.rel, e.to);
    graph_key_edge(&to_start, e.to, e.rel, e.from);
    st = sink_write(&s, cf->forward, &to_end, NULL);
    if (st == ODB_OK)
        st = sink_write(&s, cf->backward, &to_start, NULL);
    return st;
}

static odb_status unlink_direction(struct unlink_job *job, odb_txn *txn, const struct graph_view *v,
                                   bool is_in)
{
    struct graph_cursor c = {0};
    struct graph_hop hop;
    odb_status st = graph_cursor_init(&c, v, is_in, &job->match, false, &job->node);

    if (st != ODB_OK)
        goto done;
    graph_cursor_move(&c, job->node);
    if (job->resume.len && job->resume_is_in == is_in)
        graph_cursor_resume(&c, buf_slice(&job->resume));
    while ((st = graph_cursor_next(&c, &hop)) == ODB_OK) {
        bool is_seen = is_in && job->direction == ODB_BOTH && odb_slice_equal(hop.other, job->node);

        if (is_seen) /* an edge from the node to itself went with the outgoing ones */
            continue;
        if (job->removed == job->limit) {
            job->has_more = true;
            break;
        }
        st = unlink_hop(job, txn, &v->cf, &hop, is_in);
        if (st == ODB_OK)
            st = buf_assign(&job->reached, graph_cursor_key(&c).data, graph_cursor_key(&c).size);
        if (st != ODB_OK)
            goto done;
        job->reached_is_in = is_in;
        job->removed++;
    }
    st = st == ODB_ABSENT ? ODB_OK : st;
done:
    graph_cursor_release(&c);
    return st;
}

/* Nobody may link the node before the commit: the edge would miss its end. */
static odb_status claim_edges(odb_txn *txn, const struct graph_view *v, odb_slice node)
{
    struct graph_key key;
    odb_range range;
    odb_status st;

    memset(&range, 0, sizeof range);
    graph_key_node(&key, node);
    range.prefix = graph_key_slice(&key);
    st = odb_txn_claim(txn, v->cf.forward, &range, false);
    return st == ODB_OK ? odb_txn_claim(txn, v->cf.backward, &range, false) : st;
}

static odb_status unlink_job_run(odb_txn *txn, void *arg)
{
    struct unlink_job *job = arg;
    struct graph_view v;
    odb_status st = graph_view_init(&v, odb_in(txn), false);

    job->removed = 0;
    job->has_more = false;
    if (st == ODB_OK && job->with_record)
        st = claim_edges(txn, &v, job->node);
    for (int is_in = 0; is_in < 2 && st == ODB_OK && !job->has_more; is_in++) {
        if (!graph_goes(job->direction, is_in) || (!is_in && job->resume_is_in))
            continue;
        st = unlink_direction(job, txn, &v, is_in);
    }
    if (st == ODB_OK && job->with_record && !job->has_more && job->resume.len == 0)
        st = odb_record_delete(job->db, txn, job->node, job->record_flags);
    graph_view_release(&v);
    return st;
}

/* In `txn`, or by itself in as many commits as it takes. The record goes with a commit that looked at
 * all edges from the first on, so that one linked behind the back of the commits before is not missed. */
static odb_status unlink_job_finish(struct unlink_job *job, odb_txn *txn, uint64_t *removed)
{
    odb_status st;
    bool is_done = false;

    if (txn) {
        job->limit = UINT64_MAX;
        st = within(txn, unlink_job_run, job);
        *removed = st == ODB_OK ? job->removed : 0;
        return st;
    }
    job->limit = CHUNK_MAX;
    do {
        st = odb_txn_run(job->db, NULL, unlink_job_run, job, NULL);
        if (st != ODB_OK)
            break;
        *removed += job->removed;
        if (job->has_more) {
            st = buf_assign(&job->resume, job->reached.p, job->reached.len);
            job->resume_is_in = job->reached_is_in;
        } else {
            is_done = !job->with_record || job->resume.len == 0;
            buf_reset(&job->resume);
            job->resume_is_in = false;
        }
    } while (st == ODB_OK && !is_done);
    return st;
}

static void unlink_job_release(struct unlink_job *job)
{
    graph_match_release(&job->match);
    buf_release(&job->resume);
    buf_release(&job->reached);
}

odb_status odb_unlink_node(odb_db *db, odb_txn *txn, odb_slice node, const odb_edge_match *match,
                           uint64_t *removed)
{
    struct unlink_job job = {.db = db, .node = node};
    uint64_t count = 0;
    odb_status st = graph_check_id(node, "the node");

    job.direction = match ? match->direction : ODB_BOTH;
    if (st == ODB_OK)
        st = graph_match_init(&job.match, match);
    if (st == ODB_OK)
        st = unlink_job_finish(&job, txn, &count);
    unlink_job_release(&job);
    if (removed)
        *removed = count;
    return st;
}

odb_status odb_node_delete(odb_db *db, odb_txn *txn, odb_slice id, unsigned flags)
{
    struct unlink_job job = {.db = db, .node = id, .direction = ODB_BOTH};
    uint64_t count = 0;
    odb_status st = graph_check_id(id, "the node");

    job.with_record = true;
    job.record_flags = flags;
    if (st == ODB_OK)
        st = unlink_job_finish(&job, txn, &count);
    unlink_job_release(&job);
    return st;
}
