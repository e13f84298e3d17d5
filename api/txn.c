/* api/txn.c -- transactions over any backend that can check for conflicts.
 *
 *     begin    a moment of the backend                          reads see this ...
 *     put      the batch grows, `writes` points into it         ... with these on top
 *     commit   backend: was any key of the batch written since the moment? no: apply the batch
 *
 * 1. `writes` names the newest operation for each key written, sorted by family and key; older ones
 *    stay in the batch, where the later wins.
 * 2. Nothing reaches the backend before the commit, and the commit is one call of it: the check and
 *    the writes cannot come apart. This file takes no locks and needs none.
 * 3. After commit or rollback the transaction holds no moment, so it keeps no old version alive.
 *
 * An iterator in a transaction merges a copy of its writes with the backend's iterator:
 *
 *     own      b(put)  d(delete)  f(put)
 *     below  a b       d       e             gives   a  b(own)  e  f
 *
 * Threads: one at a time per transaction.
 */
#include "api/db_priv.h"

/* Where a write lies in the batch; offsets, because the batch moves as it grows. */
struct txn_write {
    uint32_t family;
    bool is_delete;
    size_t key_off, key_len;
    size_t value_off, value_len;
};

struct odb_txn {
    odb_db *db;
    void *moment; /* the backend's; NULL: ended */
    struct odb_batch batch;
    struct txn_write *writes;
    size_t count, cap;
};

static odb_slice txn_write_key(const odb_txn *t, const struct txn_write *w)
{
    return odb_bytes(t->batch.ops.ops.p + w->key_off, w->key_len);
}

static odb_slice txn_write_value(const odb_txn *t, const struct txn_write *w)
{
    return odb_bytes(t->batch.ops.ops.p + w->value_off, w->value_len);
}

/* The first write at or behind (family, key). */
static size_t txn_lower_bound(const odb_txn *t, uint32_t family, odb_slice key)
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct txn_write *w = &t->writes[mid];

        if (w->family < family ||
            (w->family == family && odb_slice_compare(txn_write_key(t, w), key) < 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool txn_is_write_of(const odb_txn *t, size_t at, uint32_t family, odb_slice key)
{
    return at < t->count && t->writes[at].family == family &&
           odb_slice_equal(txn_write_key(t, &t->writes[at]), key);
}

/* ---- life ---- */

odb_status odb_txn_begin(odb_db *db, const odb_txn_options *opt, odb_txn **out)
{
    odb_status st = api_check_db(db);
    odb_txn *t;

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the transaction");
    if (st == ODB_OK && opt && opt->size == 0)
        st = err_set(ODB_INVALID, "odb_txn_options.size is 0; set it to sizeof(odb_txn_options)");
    if (st == ODB_OK && (!db->ops.begin_transaction || !db->ops.commit_transaction))
        st = api_unsupported(db, "check a transaction for conflicts in this release; where no "
                                 "reads are involved, a batch commits all or nothing");
    if (st != ODB_OK)
        return st;
    t = mem_zalloc(1, sizeof *t);
    if (!t)
        return err_set(ODB_NOMEM, "no memory for a transaction");
    t->db = db;
    st = db->ops.begin_transaction(db->self, &t->moment);
    if (st != ODB_OK) {
        mem_free(t);
        return st;
    }
    *out = t;
    return ODB_OK;
}

void odb_txn_rollback(odb_txn *t)
{
    if (!t || !t->moment || api_is_forked(t->db))
        return;
    t->db->ops.snapshot_free(t->db->self, t->moment);
    t->moment = NULL;
    batch_clear(&t->batch.ops);
    t->count = 0;
}

void odb_txn_free(odb_txn *t)
{
    if (!t || api_is_forked(t->db))
        return;
    odb_txn_rollback(t);
    batch_release(&t->batch.ops);
    mem_free(t->writes);
    mem_free(t);
}

static odb_status txn_check(const odb_txn *t)
{
    odb_status st = t ? api_check_db(t->db) : api_refuse_null("the transaction");

    if (st == ODB_OK && !t->moment)
        st = err_set(ODB_INVALID, "the transaction has ended; odb_txn_reset begins it again");
    return st;
}

odb_status odb_txn_reset(odb_txn *t)
{
    odb_status st = t ? api_check_db(t->db) : api_refuse_null("the transaction");

    if (st != ODB_OK)
        return st;
    odb_txn_rollback(t);
    return t->db->ops.begin_transaction(t->db->self, &t->moment);
}

odb_status odb_txn_commit(odb_txn *t, const odb_write *how)
{
    odb_status st = txn_check(t);

    if (!how)
        how = &api_write_default;
    else if (st == ODB_OK)
        st = api_check_write(how);
    if (st != ODB_OK)
        return st;
    if (t->count)
        st = t->db->ops.commit_transaction(t->db->self, t->moment, &t->batch, how);
    odb_txn_rollback(t);
    return st;
}

/* ---- writes ---- */

static odb_status txn_room(odb_txn *t)
{
    size_t cap = t->cap ? t->cap * 2 : 16;
    struct txn_write *grown;

    if (t->count < t->cap)
        return ODB_OK;
    if (cap > SIZE_MAX / sizeof *grown)
        return err_set(ODB_NOMEM, "too many writes in one transaction");
    grown = mem_realloc(t->writes, cap * sizeof *grown);
    if (!grown)
        return err_set(ODB_NOMEM, "no memory for another write of a transaction");
    t->writes = grown;
    t->cap = cap;
    return ODB_OK;
}

/* Note in `writes` the operation that begins at `off` of the batch. There is room. */
static void txn_index(odb_txn *t, size_t off)
{
    const uint8_t *base = t->batch.ops.ops.p;
    struct dec d = dec_from(odb_bytes(base + off, t->batch.ops.ops.len - off));
    struct txn_write w = {0};
    struct batch_op op;
    size_t at;

    if (!batch_next(&d, &op)) /* it was written by batch_put just now */
        return;
    w.family = op.family;
    w.is_delete = op.kind == KIND_DELETE;
    w.key_off = op.key.size ? (size_t)((const uint8_t *)op.key.data - base) : 0;
    w.key_len = op.key.size;
    w.value_off = op.value.size ? (size_t)((const uint8_t *)op.value.data - base) : 0;
    w.value_len = op.value.size;
    at = txn_lower_bound(t, op.family, op.key);
    if (!txn_is_write_of(t, at, op.family, op.key)) {
        memmove(t->writes + at + 1, t->writes + at, (t->count - at) * sizeof *t->writes);
        t->count++;
    }
    t->writes[at] = w;
}

/* `value` NULL: delete. */
static odb_status txn_write(odb_txn *t, odb_cf *cf, odb_slice key, const odb_slice *value)
{
    odb_status st = txn_check(t);
    size_t off;

    if (st == ODB_OK)
        st = api_check_cf(t->db, &cf);
    if (st == ODB_OK)
        st = api_check_key(key);
    if (st == ODB_OK && value)
        st = api_check_value(*value);
    if (st == ODB_OK)
        st = txn_room(t);
    if (st != ODB_OK)
        return st;
    off = t->batch.ops.ops.len;
    st = value ? batch_put(&t->batch.ops, cf->id, key, *value)
               : batch_delete(&t->batch.ops, cf->id, key);
    if (st == ODB_OK)
        txn_index(t, off);
    return st;
}

odb_status odb_txn_put(odb_txn *t, odb_cf *cf, odb_slice key, odb_slice value)
{
    return txn_write(t, cf, key, &value);
}

odb_status odb_txn_delete(odb_txn *t, odb_cf *cf, odb_slice key)
{
    return txn_write(t, cf, key, NULL);
}

/* ---- reads ---- */

odb_status api_txn_place(odb_txn *t, struct api_place *out)
{
    odb_status st = txn_check(t);

    if (st == ODB_OK)
        *out = (struct api_place){t->db, t->moment, t};
    return st;
}

odb_status api_txn_find(odb_txn *t, const odb_cf *cf, odb_slice key, odb_slice *value)
{
    size_t at = txn_lower_bound(t, cf->id, key);

    if (!txn_is_write_of(t, at, cf->id, key))
        return ODB_AGAIN;
    if (t->writes[at].is_delete)
        return ODB_ABSENT;
    *value = txn_write_value(t, &t->writes[at]);
    return ODB_OK;
}

odb_db *odb_txn_db(const odb_txn *t)
{
    return t ? t->db : NULL;
}

odb_status odb_txn_pending(odb_txn *t, odb_cf *cf, const odb_range *range,
                           bool (*each)(void *arg, const odb_op *op), void *arg)
{
    struct api_bounds bounds = {0};
    odb_status st = txn_check(t);

    if (st == ODB_OK)
        st = api_check_cf(t->db, &cf);
    if (st == ODB_OK && !each)
        st = api_refuse_null("the function to call");
    if (st != ODB_OK)
        return st;
    st = api_bounds_init(&bounds, range);
    if (st == ODB_OK && !bounds.is_empty) {
        size_t at = txn_lower_bound(t, cf->id, bounds.range.lower);

        for (; at < t->count && t->writes[at].family == cf->id; at++) {
            const struct txn_write *w = &t->writes[at];
            odb_op op = {w->is_delete, w->family, txn_write_key(t, w), txn_write_value(t, w)};

            if (bounds.range.upper.data && odb_slice_compare(op.key, bounds.range.upper) >= 0)
                break;
            if (!each(arg, &op))
                break;
        }
    }
    api_bounds_release(&bounds);
    return st;
}

/* ---- iterators ---- */

struct txn_entry {
    odb_slice key; /* into txn_iter.bytes */
    odb_slice value;
    bool is_delete;
};

struct txn_iter {
    odb_iter head;
    odb_iter *below;
    struct txn_entry *own; /* by key; within the bounds */
    size_t count;
    size_t at; /* forward: the next own entry is own[at]; backward: it is own[at - 1] */
    bool is_forward;
    bool from_own, from_below; /* who has the key shown */
    struct buf bytes;
    struct buf key; /* for turning round */
};

static struct txn_iter *txn_iter_of(odb_iter *it)
{
    return (struct txn_iter *)it; /* the head is the first member */
}

static bool txn_iter_stop(struct txn_iter *w, odb_status st)
{
    w->head.is_valid = false;
    w->head.status = st;
    w->head.key = w->head.value = odb_bytes(NULL, 0);
    return false;
}

/* The own entry whose turn it is, NULL when there is none left. */
static const struct txn_entry *txn_iter_own(const struct txn_iter *w)
{
    if (w->is_forward)
        return w->at < w->count ? &w->own[w->at] : NULL;
    return w->at > 0 ? &w->own[w->at - 1] : NULL;
}

/* Step over what is shown, or over a delete and what it hides. */
static void txn_iter_pass(struct txn_iter *w)
{
    if (w->from_own)
        w->at = w->is_forward ? w->at + 1 : w->at - 1;
    if (w->from_below)
        (void)(w->is_forward ? w->below->ops->next(w->below) : w->below->ops->prev(w->below));
}

/* Both sources stand on their next candidates: show the nearer one. */
static bool txn_iter_settle(struct txn_iter *w)
{
    for (;;) {
        const struct txn_entry *own = txn_iter_own(w);
        const odb_iter *below = w->below;
        int c;

        if (below->status != ODB_OK)
            return txn_iter_stop(w, below->status);
        if (!own && !below->is_valid)
            return txn_iter_stop(w, ODB_OK);
        c = !own ? 1 : !below->is_valid ? -1 : odb_slice_compare(own->key, below->key);
        if (!w->is_forward && own && below->is_valid)
            c = -c;
        w->from_own = c <= 0;
        w->from_below = c >= 0;
        if (!w->from_own || !own->is_delete) {
            w->head.key = w->from_own ? own->key : below->key;
            w->head.value = w->from_own ? own->value : below->value;
            w->head.is_valid = true;
            w->head.status = ODB_OK;
            return true;
        }
        txn_iter_pass(w);
    }
}

/* How many own entries lie below `key`, or at most at it. */
static size_t txn_iter_rank(const struct txn_iter *w, odb_slice key, bool or_equal)
{
    size_t low = 0, high = w->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (odb_slice_compare(w->own[mid].key, key) < (or_equal ? 1 : 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool txn_iter_first(odb_iter *it)
{
    struct txn_iter *w = txn_iter_of(it);

    w->is_forward = true;
    w->at = 0;
    (void)w->below->ops->first(w->below);
    return txn_iter_settle(w);
}

static bool txn_iter_last(odb_iter *it)
{
    struct txn_iter *w = txn_iter_of(it);

    w->is_forward = false;
    w->at = w->count;
    (void)w->below->ops->last(w->below);
    return txn_iter_settle(w);
}

static bool txn_iter_seek(odb_iter *it, odb_slice key)
{
    struct txn_iter *w = txn_iter_of(it);

    w->is_forward = true;
    w->at = txn_iter_rank(w, key, false);
    (void)w->below->ops->seek(w->below, key);
    return txn_iter_settle(w);
}

static bool txn_iter_seek_for_prev(odb_iter *it, odb_slice key)
{
    struct txn_iter *w = txn_iter_of(it);

    w->is_forward = false;
    w->at = txn_iter_rank(w, key, true);
    (void)w->below->ops->seek_for_prev(w->below, key);
    return txn_iter_settle(w);
}

/* Turning round: find the present key again from the other side, then step past it. */
static bool txn_iter_turn(struct txn_iter *w, bool to_forward)
{
    odb_status st = buf_assign(&w->key, w->head.key.data, w->head.key.size);

    if (st != ODB_OK)
        return txn_iter_stop(w, st);
    return to_forward ? txn_iter_seek(&w->head, buf_slice(&w->key))
                      : txn_iter_seek_for_prev(&w->head, buf_slice(&w->key));
}

static bool txn_iter_next(odb_iter *it)
{
    struct txn_iter *w = txn_iter_of(it);

    if (!w->is_forward && !txn_iter_turn(w, true))
        return false;
    txn_iter_pass(w);
    return txn_iter_settle(w);
}

static bool txn_iter_prev(odb_iter *it)
{
    struct txn_iter *w = txn_iter_of(it);

    if (w->is_forward && !txn_iter_turn(w, false))
        return false;
    txn_iter_pass(w);
    return txn_iter_settle(w);
}

static void txn_iter_free(odb_iter *it)
{
    struct txn_iter *w = txn_iter_of(it);

    if (w->below)
        w->below->ops->free(w->below);
    mem_free(w->own);
    buf_release(&w->bytes);
    buf_release(&w->key);
    mem_free(w);
}

static const odb_iter_ops txn_iter_ops = {
    sizeof txn_iter_ops, txn_iter_first, txn_iter_last, txn_iter_seek, txn_iter_seek_for_prev,
    txn_iter_next,       txn_iter_prev,  NULL,          txn_iter_free,
};

/* Copy the writes [from, to) of the transaction: first all bytes, then, when they no longer move, the
 * slices into them. */
static odb_status txn_iter_copy(struct txn_iter *w, const odb_txn *t, size_t from, size_t to)
{
    size_t off = 0;

    for (size_t i = from; i < to; i++) {
        odb_slice key = txn_write_key(t, &t->writes[i]);
        odb_slice value = txn_write_value(t, &t->writes[i]);
        odb_status st = buf_append(&w->bytes, key.data, key.size);

        if (st == ODB_OK)
            st = buf_append(&w->bytes, value.data, value.size);
        if (st != ODB_OK)
            return st;
    }
    w->own = mem_array(to > from ? to - from : 1, sizeof *w->own);
    if (!w->own)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    for (size_t i = from; i < to; i++) {
        const struct txn_write *one = &t->writes[i];
        const uint8_t *p = w->bytes.p;

        w->own[w->count].is_delete = one->is_delete;
        w->own[w->count].key = odb_bytes(p ? p + off : NULL, one->key_len);
        off += one->key_len;
        w->own[w->count].value = odb_bytes(p ? p + off : NULL, one->value_len);
        off += one->value_len;
        w->count++;
    }
    return ODB_OK;
}

/* On ODB_OK `below` belongs to *out. */
odb_status api_txn_iter(odb_txn *t, odb_cf *cf, const odb_range *range, odb_iter *below,
                        odb_iter **out)
{
    size_t from = txn_lower_bound(t, cf->id, range->lower);
    size_t to = range->upper.data ? txn_lower_bound(t, cf->id, range->upper)
                                  : txn_lower_bound(t, cf->id + 1, odb_bytes(NULL, 0));
    struct txn_iter *w = mem_zalloc(1, sizeof *w);
    odb_status st;

    if (!w)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    st = txn_iter_copy(w, t, from, to);
    if (st != ODB_OK) {
        txn_iter_free(&w->head);
        return st;
    }
    w->head.ops = &txn_iter_ops;
    w->below = below;
    *out = &w->head;
    return ODB_OK;
}
