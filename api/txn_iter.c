/* api/txn_iter.c -- iterators in a transaction: a copy of its writes, merged with the backend's iterator.
 *
 *     own      b(put)  d(delete)  f(put)
 *     below  a b       d       e             gives   a  b(own)  e  f
 *
 * Where the commit depends on what was read (ODB_SERIALIZABLE without locks), each iterator keeps the
 * span it has walked since it was last positioned: from `low` to `high`, and on to the bounds of the
 * range where it has run into its end. Only the key it stands on changes with every step, so nothing
 * is copied until it turns round, is positioned anew, or the commit asks.
 *
 *     seek(c)  e  g  [turn]  e  c'  a ...        span so far: from a to g
 *
 * Threads: the transaction's one.
 */
#include "api/txn_priv.h"

struct txn_own {
    odb_slice key; /* into txn_iter.bytes */
    odb_slice value;
    bool is_delete;
};

struct txn_iter {
    odb_iter head;
    odb_iter *below;
    struct txn_own *own; /* by key; within the bounds */
    size_t count;
    size_t at; /* forward: the next own entry is own[at]; backward: it is own[at - 1] */
    bool is_forward;
    bool from_own, from_below; /* who has the key shown */
    struct buf bytes;
    struct buf key; /* for turning round */

    /* The span; only while `txn` is set. */
    odb_txn *txn; /* NULL: it ended, or does not ask */
    struct txn_iter *prev, *next;
    const odb_cf *cf;
    struct buf bounds;
    odb_slice lower, upper;  /* of the range; into `bounds` */
    bool has_span;           /* it was positioned */
    bool at_lower, at_upper; /* it goes on to the bound */
    bool has_low, has_high;
    struct buf low, high; /* walked from here to there, both included */
};

static struct txn_iter *txn_iter_of(odb_iter *it)
{
    return (struct txn_iter *)it; /* the head is the first member */
}

/* ---- the span ---- */

/* The own entry whose turn it is, NULL when there is none left. */
static const struct txn_own *txn_iter_own(const struct txn_iter *w)
{
    if (w->is_forward)
        return w->at < w->count ? &w->own[w->at] : NULL;
    return w->at > 0 ? &w->own[w->at - 1] : NULL;
}

/* A key that was walked: the new end of the span, unless the span goes further already. */
static void span_extend(struct txn_iter *w, odb_slice key, bool is_high)
{
    struct buf *end = is_high ? &w->high : &w->low;
    bool *has = is_high ? &w->has_high : &w->has_low;
    int order = *has ? odb_slice_compare(key, buf_slice(end)) : 0;
    odb_status st;

    if (*has && (is_high ? order <= 0 : order >= 0))
        return;
    st = buf_assign(end, key.data, key.size);
    if (st != ODB_OK)
        w->txn->failed = st;
    *has = true;
}

/* Where it stands belongs to the span; also when odb_iter_refresh, refused, has left it nowhere: then both
 * sources are where they were. */
static void span_note(struct txn_iter *w)
{
    const struct txn_own *own = txn_iter_own(w);
    const odb_iter *below = w->below;

    if (!w->txn || !w->has_span)
        return;
    if (below->status == ODB_OK && (own || below->is_valid))
        span_extend(w, w->from_own ? own->key : below->key, w->is_forward);
    else if (w->is_forward)
        w->at_upper = true;
    else
        w->at_lower = true;
}

/* Make the span part of what the transaction depends on. */
static void span_tell(struct txn_iter *w)
{
    odb_slice lower, upper;
    odb_status st = ODB_OK;

    if (!w->txn || !w->has_span)
        return;
    span_note(w);
    lower = w->at_lower || !w->has_low ? w->lower : buf_slice(&w->low);
    upper = w->upper;
    if (!w->at_upper && w->has_high) { /* the first key behind `high` is `high` and a zero byte */
        st = buf_append(&w->high, "", 1);
        upper = buf_slice(&w->high);
    }
    if (st == ODB_OK)
        st = txn_claim_range(w->txn, w->cf, lower, upper, false);
    if (upper.data == w->high.p && w->high.len)
        w->high.len--;
    if (st != ODB_OK)
        w->txn->failed = st;
}

/* It is about to be positioned: at a key, or at an end of the range (`key` NULL). */
static void span_begin(struct txn_iter *w, const odb_slice *key, bool is_forward)
{
    span_tell(w);
    w->has_span = w->txn != NULL;
    w->has_low = w->has_high = w->at_lower = w->at_upper = false;
    if (!w->txn)
        return;
    if (key)
        span_extend(w, *key, !is_forward);
    else if (is_forward)
        w->at_lower = true;
    else
        w->at_upper = true;
}

void txn_iters_tell(odb_txn *t)
{
    for (struct txn_iter *w = t->iters; w; w = w->next)
        span_tell(w);
}

static void span_unlink(struct txn_iter *w)
{
    if (!w->txn)
        return;
    *(w->prev ? &w->prev->next : &w->txn->iters) = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->txn = NULL;
}

void txn_iters_let_go(odb_txn *t)
{
    while (t->iters)
        span_unlink(t->iters);
}

/* ---- the merge ---- */

static bool txn_iter_stop(struct txn_iter *w, odb_status st)
{
    w->head.is_valid = false;
    w->head.status = st;
    w->head.key = w->head.value = odb_bytes(NULL, 0);
    return false;
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
        const struct txn_own *own = txn_iter_own(w);
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

    span_begin(w, NULL, true);
    w->is_forward = true;
    w->at = 0;
    (void)w->below->ops->first(w->below);
    return txn_iter_settle(w);
}

static bool txn_iter_last(odb_iter *it)
{
    struct txn_iter *w = txn_iter_of(it);

    span_begin(w, NULL, false);
    w->is_forward = false;
    w->at = w->count;
    (void)w->below->ops->last(w->below);
    return txn_iter_settle(w);
}

static bool txn_iter_go(struct txn_iter *w, odb_slice key)
{
    w->is_forward = true;
    w->at = txn_iter_rank(w, key, false);
    (void)w->below->ops->seek(w->below, key);
    return txn_iter_settle(w);
}

static bool txn_iter_go_back(struct txn_iter *w, odb_slice key)
{
    w->is_forward = false;
    w->at = txn_iter_rank(w, key, true);
    (void)w->below->ops->seek_for_prev(w->below, key);
    return txn_iter_settle(w);
}

static bool txn_iter_seek(odb_iter *it, odb_slice key)
{
    span_begin(txn_iter_of(it), &key, true);
    return txn_iter_go(txn_iter_of(it), key);
}

static bool txn_iter_seek_for_prev(odb_iter *it, odb_slice key)
{
    span_begin(txn_iter_of(it), &key, false);
    return txn_iter_go_back(txn_iter_of(it), key);
}

/* Turning round: find the present key again from the other side, then step past it. */
static bool txn_iter_turn(struct txn_iter *w, bool to_forward)
{
    odb_status st = buf_assign(&w->key, w->head.key.data, w->head.key.size);

    if (st != ODB_OK)
        return txn_iter_stop(w, st);
    span_note(w);
    return to_forward ? txn_iter_go(w, buf_slice(&w->key))
                      : txn_iter_go_back(w, buf_slice(&w->key));
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

    span_tell(w);
    span_unlink(w);
    if (w->below)
        w->below->ops->free(w->below);
    mem_free(w->own);
    buf_release(&w->bytes);
    buf_release(&w->key);
    buf_release(&w->bounds);
    buf_release(&w->low);
    buf_release(&w->high);
    mem_free(w);
}

static const odb_iter_ops txn_iter_ops = {
    sizeof txn_iter_ops, txn_iter_first, txn_iter_last, txn_iter_seek, txn_iter_seek_for_prev,
    txn_iter_next,       txn_iter_prev,  NULL,          txn_iter_free,
};

/* ---- making ---- */

/* The next write of the family within the bounds; NULL: none. */
static const struct txn_entry *own_next(const struct txn_set *s, struct txn_place *at,
                                        const odb_cf *cf, const odb_range *range)
{
    const struct txn_entry *e = txn_set_at(s, *at);

    if (!e || e->family != cf->id ||
        (range->upper.data && odb_slice_compare(txn_entry_key(s, e), range->upper) >= 0))
        return NULL;
    *at = txn_set_next(s, *at);
    return e;
}

/* Copy the transaction's writes within the range: first all bytes, then, when they no longer move, the
 * slices into them. */
static odb_status txn_iter_copy(struct txn_iter *w, const odb_txn *t, const odb_cf *cf,
                                const odb_range *range)
{
    const struct txn_set *s = &t->writes;
    const struct txn_entry *e;
    struct txn_place from, at;
    odb_status st = ODB_OK;
    size_t count = 0, off = 0;

    (void)txn_set_find(s, cf->id, range->lower, &from);
    for (at = from; st == ODB_OK && (e = own_next(s, &at, cf, range)) != NULL; count++) {
        st = buf_append(&w->bytes, txn_entry_key(s, e).data, e->key_len);
        if (st == ODB_OK)
            st = buf_append(&w->bytes, txn_entry_value(s, e).data, e->value_len);
    }
    if (st != ODB_OK || count == 0)
        return st;
    w->own = mem_array(count, sizeof *w->own);
    if (!w->own)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    for (at = from; (e = own_next(s, &at, cf, range)) != NULL; w->count++) {
        struct txn_own *o = &w->own[w->count];

        o->is_delete = e->is_delete;
        o->key = odb_bytes(w->bytes.p + off, e->key_len);
        off += e->key_len;
        o->value = odb_bytes(w->bytes.p + off, e->value_len);
        off += e->value_len;
    }
    return ODB_OK;
}

/* From now on the span is kept. */
static odb_status txn_iter_watch(struct txn_iter *w, odb_txn *t, const odb_cf *cf,
                                 const odb_range *range)
{
    odb_status st = buf_append(&w->bounds, range->lower.data, range->lower.size);

    if (st == ODB_OK)
        st = buf_append(&w->bounds, range->upper.data, range->upper.size);
    if (st != ODB_OK)
        return st;
    w->lower = odb_bytes(w->bounds.p, range->lower.size);
    if (range->upper.data)
        w->upper = odb_bytes(w->bounds.p + range->lower.size, range->upper.size);
    w->cf = cf;
    w->txn = t;
    w->next = t->iters;
    if (w->next)
        w->next->prev = w;
    t->iters = w;
    return ODB_OK;
}

odb_status api_txn_iter(odb_txn *t, odb_cf *cf, const odb_range *range, odb_iter *below,
                        odb_iter **out)
{
    struct txn_iter *w = mem_zalloc(1, sizeof *w);
    odb_status st;

    if (!w)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    w->head.ops = &txn_iter_ops;
    st = txn_iter_copy(w, t, cf, range);
    if (st == ODB_OK && t->state == TXN_ACTIVE && t->isolation == ODB_SERIALIZABLE &&
        !t->is_pessimistic)
        st = txn_iter_watch(w, t, cf, range);
    if (st != ODB_OK) {
        txn_iter_free(&w->head);
        return st;
    }
    w->below = below;
    *out = &w->head;
    return ODB_OK;
}
