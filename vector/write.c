/* vector/write.c -- storing, deleting and fetching vectors.
 *
 * One batch holds the row, the marker P of its slot, and X of the slot it replaces. The transaction's
 * check for conflicts on the row's key makes sure that the slot found there is still the one replaced. In a
 * transaction of the caller's all of them come or none: what is refused half done is taken back. Its slot is
 * not, as the transaction may hold a lock on P, which whoever got the slot next would run into.
 */
#include "vector/index.h"

#include "base/alloc.h"
#include "records/env.h"

#define TRIES 1000

/* What a transaction sees of an id. */
struct before {
    bool is_there; /* with a node of its own */
    bool is_own;   /* written by this transaction: the slot can be used again */
    uint32_t slot;
};

struct own_write {
    odb_slice id;
    bool is_there;
};

static bool find_own_write(void *arg, const odb_op *op)
{
    struct own_write *w = arg;

    w->is_there = odb_slice_equal(op->key, w->id); /* a prefix comes first of all it begins */
    return false;
}

static odb_status look_before(struct vec_index *ix, odb_txn *t, odb_slice id, struct before *out)
{
    struct own_write own = {id, false};
    odb_range here = {.prefix = id};
    bool is_node, may_be_own;
    odb_value v;
    odb_status st = odb_get(odb_in(t), ix->data, id, &v);

    memset(out, 0, sizeof *out);
    if (st == ODB_ABSENT)
        return ODB_OK;
    if (st != ODB_OK)
        return st;
    is_node = vec_data_node(odb_bytes(v.data, v.size), &out->slot);
    odb_value_release(&v);
    if (!is_node)
        return ODB_OK;
    os_mutex_lock(&ix->slot_lock);
    if (vec_loaded_wait(ix)) {
        out->is_there = vec_slot_exists(&ix->a, out->slot);
        may_be_own = out->is_there && vec_begin(&ix->a, out->slot) == VEC_NEVER;
    } else { /* nobody can tell, and a marker of a slot that is none is passed over */
        out->is_there = may_be_own = true;
    }
    os_mutex_unlock(&ix->slot_lock);
    if (may_be_own) { /* or else freed since this transaction began, which will have to give way */
        st = odb_txn_pending(t, ix->data, &here, find_own_write, &own);
        out->is_own = own.is_there;
    }
    return st;
}

static odb_status put_in(struct vec_index *ix, odb_txn *t, odb_slice id, const float *x,
                         uint32_t dim, float norm, uint32_t *slot)
{
    uint8_t pending[VEC_KEY_LEN], dead[VEC_KEY_LEN];
    struct buf row = {0};
    struct before old;
    uint64_t moment;
    odb_status st = look_before(ix, t, id, &old);

    if (st != ODB_OK)
        return st;
    if (old.is_there && old.is_own) {
        *slot = old.slot;
    } else if (*slot == VEC_NONE) {
        st = odb_sequence(odb_in(t), &moment);
        if (st == ODB_OK)
            st = vec_slot_take(ix, id, moment, slot);
        if (st != ODB_OK)
            return st;
    }
    vec_key(pending, VEC_KEY_PENDING, *slot);
    if (old.is_there && !old.is_own) {
        vec_key(dead, VEC_KEY_DEAD, old.slot);
        st = odb_txn_put(t, ix->graph, odb_bytes(dead, sizeof dead), odb_bytes(NULL, 0));
    }
    if (st == ODB_OK)
        st = vec_data_write(&row, x, dim, *slot, norm);
    if (st == ODB_OK)
        st = odb_txn_put(t, ix->graph, odb_bytes(pending, sizeof pending), id);
    if (st == ODB_OK)
        st = odb_txn_put(t, ix->data, id, buf_slice(&row));
    buf_release(&row);
    return st;
}

odb_status vec_put_in(struct vec_index *ix, odb_txn *t, odb_slice id, const float *x, uint32_t dim,
                      float norm, uint32_t *slot)
{
    return put_in(ix, t, id, x, dim, norm, slot);
}

static odb_status delete_in(struct vec_index *ix, odb_txn *t, odb_slice id)
{
    uint8_t key[VEC_KEY_LEN];
    struct before old;
    odb_status st = odb_exists(odb_in(t), ix->data, id);

    if (st == ODB_ABSENT)
        return ODB_OK;
    if (st == ODB_OK)
        st = look_before(ix, t, id, &old);
    if (st != ODB_OK)
        return st;
    if (old.is_there) { /* of its own: the marker goes; X stands for what it had replaced, if anything */
        vec_key(key, old.is_own ? VEC_KEY_PENDING : VEC_KEY_DEAD, old.slot);
        st = old.is_own ? odb_txn_delete(t, ix->graph, odb_bytes(key, sizeof key))
                        : odb_txn_put(t, ix->graph, odb_bytes(key, sizeof key), odb_bytes(NULL, 0));
    }
    return st == ODB_OK ? odb_txn_delete(t, ix->data, id) : st;
}

/* The index, able to take a vector of this dimension. */
static odb_status index_to_write(odb_db *db, odb_txn *txn, uint32_t dim, struct vec_index **out)
{
    odb_status st;

    if (txn && db && odb_txn_db(txn) != db)
        return err_set(ODB_INVALID, "the transaction is one of another database");
    st = vec_index_of(db ? db : odb_txn_db(txn), out);
    if (st == ODB_OK && dim && atomic_load(&(*out)->state) == VEC_EMPTY)
        st = vec_index_begin(*out, dim);
    return st;
}

/* What a caller's transaction is to hold: as for write_alone(). */
struct one_write {
    struct vec_index *ix;
    odb_slice id;
    const float *x;
    uint32_t dim;
    float norm;
    uint32_t *slot;
};

static odb_status write_one(void *arg, odb_txn *t)
{
    struct one_write *w = arg;

    return w->x ? put_in(w->ix, t, w->id, w->x, w->dim, w->norm, w->slot)
                : delete_in(w->ix, t, w->id);
}

/* Alone, until nobody is in the way. `x` NULL: delete. */
static odb_status write_alone(struct vec_index *ix, odb_slice id, const float *x, uint32_t dim,
                              float norm)
{
    uint32_t slot = VEC_NONE;
    odb_txn *t = NULL;
    odb_status st = odb_txn_begin(ix->db, NULL, &t);

    for (int i = 0; st == ODB_OK && i < TRIES; i++) {
        st = x ? put_in(ix, t, id, x, dim, norm, &slot) : delete_in(ix, t, id);
        if (st == ODB_OK)
            st = odb_txn_commit(t, NULL);
        if (!odb_txn_should_retry(st))
            break;
        st = odb_txn_reset(t);
    }
    odb_txn_free(t);
    /* After a commit that is neither done nor undone the slot may be named by a row: a gap. */
    if (st != ODB_OK && st != ODB_UNKNOWN && slot != VEC_NONE)
        vec_slot_return(ix, slot);
    return st;
}

static odb_status check_and_put(odb_db *db, odb_txn *txn, odb_slice id, const float *vector,
                                uint32_t dim, uint32_t *slot)
{
    struct vec_index *ix = NULL;
    float norm = 0;
    bool fresh = false;
    odb_status st = vec_check_id(id);

    if (st == ODB_OK && (!vector || dim == 0 || dim > ODB_VEC_DIM_MAX))
        st = err_set(ODB_INVALID, "vector of dimension %u: it must have 1 to %d", dim,
                     ODB_VEC_DIM_MAX);
    if (st == ODB_OK)
        st = vec_index_of(db ? db : odb_txn_db(txn), &ix);
    if (st == ODB_OK) {
        fresh = atomic_load(&ix->state) != VEC_READY;
        st = vec_check_vector(ix, vector, dim, &norm);
    }
    if (st == ODB_OK)
        st = index_to_write(db, txn, dim, &ix);
    if (st == ODB_OK && fresh) /* the first vector may have met another first one */
        st = vec_check_vector(ix, vector, dim, &norm);
    if (st != ODB_OK)
        return st;
    vec_before_write(ix);
    if (!txn) {
        st = write_alone(ix, id, vector, dim, norm);
        vec_after_write(ix);
        return st;
    }
    return rec_in_txn(odb_txn_db(txn), txn, write_one,
                      &(struct one_write){ix, id, vector, dim, norm, slot});
}

odb_status odb_vec_put(odb_db *db, odb_txn *txn, odb_slice id, const float *vector, uint32_t dim)
{
    uint32_t slot = VEC_NONE;

    return check_and_put(db, txn, id, vector, dim, &slot);
}

odb_status vec_put_kept(odb_db *db, odb_txn *txn, odb_slice id, const float *vector, uint32_t dim,
                        struct vec_kept *kept)
{
    odb_status st = kept->next < kept->slots.len ? ODB_OK : vec_list_add(&kept->slots, VEC_NONE);

    return st == ODB_OK ? check_and_put(db, txn, id, vector, dim, &kept->slots.slot[kept->next++])
                        : st;
}

void vec_kept_end(odb_db *db, struct vec_kept *kept, odb_status st)
{
    struct vec_index *ix;

    if (kept->slots.len && st != ODB_OK && st != ODB_UNKNOWN && vec_index_of(db, &ix) == ODB_OK)
        for (size_t i = 0; i < kept->slots.len; i++)
            if (kept->slots.slot[i] != VEC_NONE)
                vec_slot_return(ix, kept->slots.slot[i]);
    mem_free(kept->slots.slot);
    *kept = (struct vec_kept){0};
}

odb_status odb_vec_delete(odb_db *db, odb_txn *txn, odb_slice id)
{
    struct vec_index *ix;
    odb_status st = vec_check_id(id);

    if (st == ODB_OK)
        st = index_to_write(db, txn, 0, &ix);
    if (st != ODB_OK)
        return st;
    if (atomic_load(&ix->state) != VEC_READY)
        return ODB_OK;
    if (txn)
        return rec_in_txn(odb_txn_db(txn), txn, write_one, &(struct one_write){.ix = ix, .id = id});
    st = odb_exists(odb_now(db), ix->data, id);
    if (st != ODB_OK)
        return st == ODB_ABSENT ? ODB_OK : st;
    st = write_alone(ix, id, NULL, 0, 0);
    vec_after_write(ix);
    return st;
}

odb_status odb_vec_get(odb_at at, odb_slice id, float *out, uint32_t cap, uint32_t *dim)
{
    struct vec_index *ix;
    struct vec_data d;
    const char *wrong;
    odb_value v;
    odb_status st = vec_check_id(id);

    if (st == ODB_OK)
        st = vec_index_of(odb_at_db(at), &ix);
    if (st == ODB_OK)
        st = odb_get(at, ix->data, id, &v);
    if (st != ODB_OK)
        return st;
    wrong = vec_data_read(odb_bytes(v.data, v.size), &d);
    if (wrong) {
        st = err_corrupt(ODB_FAMILY_VECTOR_DATA, 0, wrong);
    } else {
        if (dim)
            *dim = d.dim;
        d.dim = d.dim < cap ? d.dim : cap;
        vec_data_floats(&d, out);
    }
    odb_value_release(&v);
    return st;
}
