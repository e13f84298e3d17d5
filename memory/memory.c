/* memory/memory.c -- a memory as one thing: its record, its vector, and on request its edges.
 *
 *     odb_memory_put       vector_data  vector_index         \
 *                          records      record_index          |   one commit
 *     odb_memory_delete    the same, deleted                   |
 *       ODB_CASCADE_EDGES  graph_forward  graph_backward      /
 *
 * 1. Whatever can be refused is refused before the commit: a failed write leaves nothing, not in the
 *    database and not in the transaction it was part of.
 * 2. A record says whether it has a vector, and it has one exactly then.
 */
#include "memory/memory_priv.h"

#include "records/env.h"

#define MEMORY_PUT_FLAGS    (ODB_INSERT_ONLY | ODB_UPDATE_ONLY | ODB_OVER_DAMAGE)
#define MEMORY_DELETE_FLAGS (ODB_MUST_EXIST | ODB_OVER_DAMAGE | ODB_CASCADE_EDGES)

/* ---- one step, whole or not at all ---- */

struct whole_step {
    odb_status (*step)(void *arg, odb_txn *txn);
    void *arg;
    bool is_guest; /* the transaction has writes of others */
};

static odb_status run_whole(void *arg, odb_txn *txn)
{
    const struct whole_step *w = arg;
    char why[ERR_TEXT_MAX];
    uint32_t before;
    odb_status st;

    if (!w->is_guest)
        return w->step(w->arg, txn);
    st = odb_txn_save(txn, &before);
    if (st != ODB_OK)
        return st;
    st = w->step(w->arg, txn);
    if (st == ODB_OK)
        return odb_txn_release(txn, before);
    err_save(why);
    if (odb_txn_rollback_to(txn, before) == ODB_OK) /* else the step has ended it */
        err_ignore(odb_txn_release(txn, before));   /* it is there */
    return err_restore(st, why);
}

odb_status memory_in_txn(odb_db *db, odb_txn *txn, odb_status (*step)(void *arg, odb_txn *txn),
                         void *arg)
{
    struct whole_step w = {step, arg, txn != NULL};

    return rec_in_txn(db, txn, run_whole, &w);
}

/* ---- the parts ---- */

odb_status memory_check(const odb_memory *m)
{
    if (!m || m->size < sizeof *m)
        return err_set(ODB_INVALID, "odb_memory.size is %zu, not %zu", m ? m->size : 0, sizeof *m);
    if (m->dim && !m->embedding)
        return err_set(ODB_INVALID, "an embedding of %u numbers at address NULL", m->dim);
    return ODB_OK;
}

odb_status memory_write(odb_db *db, odb_txn *txn, const odb_memory *m,
                        const struct memory_extra *extra, unsigned flags, struct vec_kept *kept)
{
    odb_record_draft d = odb_record_make_bytes(m->id, m->content);
    odb_status st;

    d.kind = extra->kind;
    d.importance = m->importance;
    d.timestamp = m->timestamp;
    d.props = m->props;
    d.prop_count = m->prop_count;
    d.fields = extra->fields;
    d.field_count = extra->field_count;
    d.has_vector = m->dim > 0;
    st = odb_record_put(db, txn, &d, flags);
    if (st != ODB_OK)
        return st;
    if (m->dim == 0)
        return odb_vec_delete(db, txn, m->id);
    return kept ? vec_put_kept(db, txn, m->id, m->embedding, m->dim, kept)
                : odb_vec_put(db, txn, m->id, m->embedding, m->dim);
}

odb_status memory_erase(odb_db *db, odb_txn *txn, odb_slice id, unsigned flags)
{
    unsigned of_record = flags & ~ODB_CASCADE_EDGES;
    odb_status st = flags & ODB_CASCADE_EDGES ? odb_node_delete(db, txn, id, of_record)
                                              : odb_record_delete(db, txn, id, of_record);

    return st == ODB_OK ? odb_vec_delete(db, txn, id) : st;
}

/* ---- memories ---- */

struct memory_put {
    odb_db *db;
    const odb_memory *m;
    unsigned flags;
    bool is_guest;        /* of a transaction of others: nobody tells what becomes of it */
    struct vec_kept kept; /* from try to try */
};

static odb_status memory_put_step(void *arg, odb_txn *txn)
{
    static const struct memory_extra plain = {ODB_KIND_MEMORY, NULL, 0};
    struct memory_put *p = arg;

    p->kept.next = 0;
    return memory_write(p->db, txn, p->m, &plain, p->flags, p->is_guest ? NULL : &p->kept);
}

odb_status odb_memory_put(odb_db *db, odb_txn *txn, const odb_memory *m, unsigned flags)
{
    struct memory_put p = {.db = db, .m = m, .flags = flags, .is_guest = txn != NULL};
    odb_status st = memory_check(m);

    if (st == ODB_OK && (flags & ~MEMORY_PUT_FLAGS))
        st = err_set(ODB_INVALID, "flags %#x mean nothing here", flags);
    if (st == ODB_OK)
        st = memory_in_txn(db, txn, memory_put_step, &p);
    vec_kept_end(db, &p.kept, st);
    return st;
}

struct memory_delete {
    odb_db *db;
    odb_slice id;
    unsigned flags;
};

static odb_status memory_delete_step(void *arg, odb_txn *txn)
{
    const struct memory_delete *d = arg;

    return memory_erase(d->db, txn, d->id, d->flags);
}

odb_status odb_memory_delete(odb_db *db, odb_txn *txn, odb_slice id, unsigned flags)
{
    struct memory_delete d = {db, id, flags};

    if (flags & ~MEMORY_DELETE_FLAGS)
        return err_set(ODB_INVALID, "flags %#x mean nothing here", flags);
    return memory_in_txn(db, txn, memory_delete_step, &d);
}
