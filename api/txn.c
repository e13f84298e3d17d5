/* api/txn.c -- transactions over any backend that can guard a commit.
 *
 *     begin    a moment of the backend                          reads see this ...
 *     put      the batch grows, `writes` points into it         ... with these on top
 *     read     `keys` and `ranges` note what the commit depends on
 *     commit   backend: was any of it written since? no: apply the batch
 *
 *  1. `writes` names the newest operation for each key written; older ones stay in the batch, where
 *     the later wins.
 *  2. Nothing reaches the backend before the commit, and the commit is one call of it: the check and
 *     the writes cannot come apart.
 *  3. At ODB_SERIALIZABLE the claims cover everything read from below the transaction's own writes.
 *     A commit that is let through thus could have run whole at the instant of its commit; one that
 *     writes nothing, at its moment. The order of commits is an order of the transactions.
 *  4. A pessimistic transaction claims what it locks. As long as it has read nothing else, its moment
 *     moves on to the present with every lock: whoever had to wait sees what it waited for. Each
 *     claim keeps the number it was made at, so who writes past the locks is noticed nevertheless.
 *  5. An ended transaction holds no moment and no lock, so it keeps nothing alive and nobody waiting.
 *
 * Handles are kept for reuse with their memory, up to a limit.
 *
 * Threads: one at a time per transaction. Not here: iterators (txn_iter.c), locks (locks.c), what
 * survives a crash (prepared.c).
 */
#include "api/txn_priv.h"

#include "base/hash.h"

#define TXN_WAIT_MS   1000
#define TXN_BYTES     ((size_t)256 << 20)
#define TXN_SPARES    16                 /* handles kept for the next to begin ... */
#define TXN_SPARE_MAX ((size_t)64 << 10) /* ... with at most so much memory in each buffer */
#define TXN_TRIES     1000

/* ---- handles ---- */

static void txn_handle_free(odb_txn *t)
{
    if (t->moment)
        t->db->ops.snapshot_free(t->db->self, t->moment);
    if (t->has_locker)
        locker_release(&t->locker);
    batch_release(&t->batch.ops);
    buf_release(&t->claimed);
    txn_set_release(&t->writes);
    txn_set_release(&t->keys);
    txn_set_release(&t->ranges);
    mem_free(t->save);
    mem_free(t->claim);
    mem_free(t);
}

odb_status txn_handle_take(odb_db *db, odb_txn **out)
{
    odb_txn *t;

    os_mutex_lock(&db->lock);
    t = db->spare_txns;
    if (t) {
        db->spare_txns = t->next_spare;
        db->spare_txn_count--;
    }
    os_mutex_unlock(&db->lock);
    if (!t) {
        t = mem_zalloc(1, sizeof *t);
        if (!t)
            return err_set(ODB_NOMEM, "no memory for a transaction");
        t->db = db;
        t->writes.bytes = &t->batch.ops.ops;
        t->keys.bytes = t->ranges.bytes = &t->claimed;
    }
    *out = t;
    return ODB_OK;
}

/* Keep an ended handle, unless there are many, or it has grown large. */
static void txn_handle_give(odb_txn *t)
{
    odb_db *db = t->db;

    if (t->batch.ops.ops.cap <= TXN_SPARE_MAX && t->claimed.cap <= TXN_SPARE_MAX &&
        t->writes.cap <= TXN_SPARE_MAX / 64 && t->keys.cap <= TXN_SPARE_MAX / 64) {
        os_mutex_lock(&db->lock);
        if (db->spare_txn_count < TXN_SPARES) {
            t->next_spare = db->spare_txns;
            db->spare_txns = t;
            db->spare_txn_count++;
            t = NULL;
        }
        os_mutex_unlock(&db->lock);
    }
    if (t)
        txn_handle_free(t);
}

void api_txn_free_spares(odb_db *db)
{
    odb_txn *t;

    while ((t = db->spare_txns) != NULL) {
        db->spare_txns = t->next_spare;
        txn_handle_free(t);
    }
    db->spare_txn_count = 0;
}

/* ---- life ---- */

static odb_status txn_check_options(const odb_db *db, const odb_txn_options *opt)
{
    if (opt->size == 0)
        return err_set(ODB_INVALID, "odb_txn_options.size is 0; set it to sizeof(odb_txn_options)");
    if ((unsigned)opt->isolation > ODB_SERIALIZABLE)
        return err_set(ODB_INVALID, "isolation %d is not one of odb_isolation",
                       (int)opt->isolation);
    if (opt->snapshot && opt->snapshot->db != db)
        return err_set(ODB_INVALID, "the snapshot belongs to another database handle");
    return ODB_OK;
}

/* The moment becomes the present. */
static odb_status txn_renew(odb_txn *t)
{
    odb_status st = t->db->ops.begin_transaction(t->db->self, &t->moment);

    if (st == ODB_OK)
        t->since = t->db->ops.sequence(t->db->self, t->moment);
    return st;
}

static odb_status txn_start(odb_txn *t)
{
    odb_status st = txn_renew(t);

    if (st != ODB_OK)
        return st;
    if (t->asof)
        t->since = t->db->ops.sequence(t->db->self, t->asof->inner);
    if (t->is_pessimistic && !t->has_locker) {
        locker_init(&t->locker);
        t->has_locker = true;
    }
    t->is_floating = t->is_pessimistic && !t->asof;
    t->state = TXN_ACTIVE;
    return ODB_OK;
}

odb_status odb_txn_begin(odb_db *db, const odb_txn_options *opt, odb_txn **out)
{
    static const odb_txn_options usual = {.size = sizeof usual};
    odb_status st = api_check_db(db);
    odb_txn *t;

    if (!opt)
        opt = &usual;
    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the transaction");
    if (st == ODB_OK)
        st = txn_check_options(db, opt);
    if (st == ODB_OK && (!db->ops.begin_transaction || !db->ops.pause_transaction ||
                         !db->ops.commit_transaction || !db->ops.sequence))
        st = api_unsupported(db, "check a transaction for conflicts in this release; where no "
                                 "reads are involved, a batch commits all or nothing");
    if (st == ODB_OK)
        st = txn_handle_take(db, &t);
    if (st != ODB_OK)
        return st;
    t->isolation = opt->isolation;
    t->is_pessimistic = opt->is_pessimistic;
    t->wait_ns = opt->no_wait
                     ? 0
                     : (opt->lock_wait_ms ? opt->lock_wait_ms : TXN_WAIT_MS) * UINT64_C(1000000);
    t->max_bytes = opt->max_bytes ? opt->max_bytes : TXN_BYTES;
    t->asof = opt->snapshot ? api_snapshot_ref(opt->snapshot) : NULL;
    t->locker.age = t->is_pessimistic ? atomic_fetch_add(&db->txn_ages, 1) + 1 : 0;
    st = txn_start(t);
    if (st != ODB_OK) {
        txn_end(t);
        txn_handle_give(t);
        return st;
    }
    *out = t;
    return ODB_OK;
}

void txn_end(odb_txn *t)
{
    t->state = TXN_ENDED;
    t->prepared = NULL;
    if (t->iters)
        txn_iters_let_go(t);
    if (t->moment)
        t->db->ops.pause_transaction(t->db->self, t->moment);
    if (t->has_locker)
        locks_drop(&t->db->locks, &t->locker);
    if (t->asof)
        odb_snapshot_free(t->asof);
    t->asof = NULL;
    t->failed = ODB_OK;
    batch_clear(&t->batch.ops);
    buf_reset(&t->claimed);
    txn_set_clear(&t->writes);
    txn_set_clear(&t->keys);
    txn_set_clear(&t->ranges);
    t->save_count = 0;
}

odb_status odb_txn_rollback(odb_txn *t)
{
    if (!t || api_is_forked(t->db) || t->state == TXN_ENDED)
        return ODB_OK;
    if (t->state == TXN_PREPARED)
        return prepared_rollback(t);
    txn_end(t);
    return ODB_OK;
}

void odb_txn_free(odb_txn *t)
{
    if (!t || api_is_forked(t->db))
        return;
    if (t->state == TXN_PREPARED)
        prepared_leave(t);
    txn_end(t);
    txn_handle_give(t);
}

odb_status txn_check(const odb_txn *t)
{
    odb_status st = t ? api_check_db(t->db) : api_refuse_null("the transaction");

    if (st == ODB_OK && t->state == TXN_ENDED)
        st = err_set(ODB_INVALID, "the transaction has ended; odb_txn_reset begins it again");
    if (st == ODB_OK && t->state == TXN_PREPARED)
        st = err_set(ODB_INVALID, "the transaction is prepared: commit it or roll it back");
    return st;
}

odb_status odb_txn_reset(odb_txn *t)
{
    bool has_lost;
    odb_status st = t ? api_check_db(t->db) : api_refuse_null("the transaction");

    if (st == ODB_OK && t->state == TXN_PREPARED)
        st = txn_check(t);
    if (st != ODB_OK)
        return st;
    has_lost =
        t->is_pessimistic && t->locker.has_lost; /* then it keeps its age, and wins some day */
    txn_end(t);
    if (t->is_pessimistic && !has_lost)
        t->locker.age = atomic_fetch_add(&t->db->txn_ages, 1) + 1;
    return txn_start(t);
}

/* ---- commit ---- */

static void guard_add_key(odb_txn *t, odb_guard *g, const struct txn_set *s,
                          const struct txn_entry *e, uint64_t since)
{
    t->claim[g->claim_count++] =
        (odb_claim){.family = e->family, .lower = txn_entry_key(s, e), .since = since};
}

/* Ranges come by rising lower bound: one that begins inside the last one becomes part of it. */
static void guard_add_range(odb_txn *t, odb_guard *g, size_t first, const struct txn_entry *e)
{
    odb_claim c = {e->family, true, txn_entry_key(&t->ranges, e), {NULL, 0}, e->since};
    odb_claim *last = g->claim_count > first ? &t->claim[g->claim_count - 1] : NULL;

    if (e->has_upper)
        c.upper = txn_entry_value(&t->ranges, e);
    if (!last || last->family != c.family ||
        (last->upper.data && odb_slice_compare(last->upper, c.lower) < 0)) {
        t->claim[g->claim_count++] = c;
        return;
    }
    if (c.since < last->since)
        last->since = c.since;
    if (last->upper.data && (!c.upper.data || odb_slice_compare(last->upper, c.upper) < 0))
        last->upper = c.upper;
}

odb_status txn_guard(odb_txn *t, bool with_writes, odb_guard *out)
{
    size_t need = (size_t)t->keys.keys + t->ranges.keys + (with_writes ? t->writes.keys : 0), first;
    const struct txn_entry *e;
    struct txn_place at;

    *out = (odb_guard){.since = t->is_pessimistic || with_writes ? ODB_SINCE_EVER : t->since};
    if (need > t->claim_cap) {
        odb_claim *grown = mem_array(need, sizeof *grown);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for what a transaction depends on");
        mem_free(t->claim);
        t->claim = grown;
        t->claim_cap = need;
    }
    for (at = txn_set_first(); (e = txn_set_at(&t->keys, at)); at = txn_set_next(&t->keys, at))
        guard_add_key(t, out, &t->keys, e, e->since);
    for (at = txn_set_first(); with_writes && (e = txn_set_at(&t->writes, at));
         at = txn_set_next(&t->writes, at)) /* a pessimistic one has claimed them already */
        guard_add_key(t, out, &t->writes, e, t->is_pessimistic ? ODB_SINCE_EVER : t->since);
    first = out->claim_count;
    for (at = txn_set_first(); (e = txn_set_at(&t->ranges, at)); at = txn_set_next(&t->ranges, at))
        guard_add_range(t, out, first, e);
    out->claim = t->claim;
    return ODB_OK;
}

odb_status odb_txn_commit(odb_txn *t, const odb_write *how)
{
    bool is_prepared = t && t->state == TXN_PREPARED;
    odb_status st = is_prepared ? api_check_db(t->db) : txn_check(t);
    odb_guard guard;

    if (!how)
        how = &api_write_default;
    else if (st == ODB_OK)
        st = api_check_write(how);
    if (st != ODB_OK)
        return st;
    if (is_prepared)
        return prepared_commit(t, how);
    if (t->writes.count || (t->is_pessimistic && t->keys.keys + t->ranges.keys)) {
        txn_iters_tell(t);
        st = t->failed;
        if (st == ODB_OK)
            st = txn_guard(t, false, &guard);
        if (st == ODB_OK)
            st = t->db->ops.commit_transaction(t->db->self, &guard, &t->batch, how);
    }
    api_txn_count(t->db, st);
    txn_end(t);
    return st;
}

void api_txn_count(odb_db *db, odb_status st)
{
    _Atomic uint64_t *counter = st == ODB_OK         ? &db->txn_commits
                                : st == ODB_CONFLICT ? &db->txn_conflicts
                                : st == ODB_TOO_OLD  ? &db->txn_too_old
                                : st == ODB_DEADLOCK ? &db->txn_deadlocks
                                : st == ODB_TIMEOUT  ? &db->txn_timeouts
                                                     : NULL;

    if (counter)
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Somebody else was faster: let it pass. Longer with every try, up to about a millisecond, and not
 * all the same. */
static void txn_pause(const odb_db *db, unsigned tries)
{
    uint64_t ns = UINT64_C(1000) << (tries < 10 ? tries : 10);

    if (tries < 2)
        os_thread_yield();
    else
        os_thread_sleep(ns / 2 + hash_mix(os_now_ns(db->os), tries) % ns);
}

odb_status odb_txn_run(odb_db *db, const odb_txn_options *opt,
                       odb_status (*body)(odb_txn *t, void *arg), void *arg, const odb_write *how)
{
    odb_status st = body ? ODB_OK : api_refuse_null("the body of the transaction");
    odb_txn *t = NULL;

    if (st == ODB_OK)
        st = odb_txn_begin(db, opt, &t);
    for (unsigned tries = 0; st == ODB_OK; tries++) {
        st = body(t, arg);
        if (st == ODB_OK)
            st = odb_txn_commit(t, how);
        if (!odb_txn_should_retry(st) || tries >= TXN_TRIES)
            break;
        txn_pause(db, tries);
        st = odb_txn_reset(t);
    }
    odb_txn_free(t);
    return st;
}

/* ---- what the commit depends on ---- */

static odb_status txn_has_room(const odb_txn *t, size_t more)
{
    size_t used =
        t->batch.ops.ops.len + t->claimed.len +
        ((size_t)t->writes.count + t->keys.count + t->ranges.count) * sizeof(struct txn_entry);

    if (used > t->max_bytes || more > t->max_bytes - used)
        return err_set(ODB_TOO_LARGE,
                       "the transaction would hold more than %zu bytes (max_bytes); commit it, or "
                       "split it",
                       t->max_bytes);
    return ODB_OK;
}

/* Take a lock, and where that is allowed look at the present from now on (4). */
static odb_status txn_lock(odb_txn *t, const struct lock_claim *claim)
{
    odb_status st = locks_take(&t->db->locks, &t->locker, claim, t->wait_ns);

    if (st == ODB_DEADLOCK || st == ODB_TIMEOUT)
        api_txn_count(t->db, st);
    if (st == ODB_DEADLOCK)
        txn_end(t);
    if (st == ODB_OK && t->is_floating)
        st = txn_renew(t);
    return st;
}

/* Copy a key or a range into `claimed`, and its entry into `s`. `e` tells the rest. */
static odb_status txn_add_claim(odb_txn *t, struct txn_set *s, struct txn_place at, bool is_there,
                                struct txn_entry e, odb_slice lower, odb_slice upper)
{
    odb_status st = buf_reserve(&t->claimed, lower.size + upper.size + 1);

    if (st != ODB_OK)
        return st;
    e.key_off = t->claimed.len;
    e.key_len = lower.size;
    e.value_off = e.key_off + lower.size;
    e.value_len = upper.size;
    e.has_upper = upper.data != NULL;
    st = buf_append(&t->claimed, lower.data, lower.size); /* there is room */
    if (st == ODB_OK)
        st = buf_append(&t->claimed, upper.data, upper.size);
    if (st == ODB_OK)
        txn_set_add(s, at, is_there, e);
    return st;
}

static odb_status txn_claim_key(odb_txn *t, const odb_cf *cf, odb_slice key, bool is_exclusive)
{
    struct lock_claim lock = {cf->id, cf->name, false, is_exclusive, key, {NULL, 0}};
    struct txn_place at;
    bool is_there = txn_set_find(&t->keys, cf->id, key, &at);
    struct txn_entry *e = is_there ? txn_set_at(&t->keys, at) : NULL;
    odb_status st = ODB_OK;

    if (e && (!t->is_pessimistic || e->is_exclusive || !is_exclusive))
        return ODB_OK;
    if (!e) {
        st = txn_has_room(t, key.size);
        if (st == ODB_OK)
            st = txn_set_room(&t->keys);
    }
    if (st == ODB_OK && t->is_pessimistic)
        st = txn_lock(t, &lock);
    if (st != ODB_OK)
        return st;
    if (e) {
        e->is_exclusive = true;
        return ODB_OK;
    }
    return txn_add_claim(
        t, &t->keys, at, false,
        (struct txn_entry){.family = cf->id, .since = t->since, .is_exclusive = is_exclusive}, key,
        odb_bytes(NULL, 0));
}

/* Is [.., upper) within what `e` claims, and its lock as strong? */
static bool claim_suffices(const odb_txn *t, const struct txn_entry *e, odb_slice upper,
                           bool is_exclusive)
{
    if (t->is_pessimistic && is_exclusive && !e->is_exclusive)
        return false;
    return !e->has_upper ||
           (upper.data && odb_slice_compare(upper, txn_entry_value(&t->ranges, e)) <= 0);
}

odb_status txn_claim_range(odb_txn *t, const odb_cf *cf, odb_slice lower, odb_slice upper,
                           bool is_exclusive)
{
    struct lock_claim lock = {cf->id, cf->name, true, is_exclusive, lower, upper};
    struct txn_entry e = {.family = cf->id, .since = t->since, .is_exclusive = is_exclusive};
    const struct txn_entry *other;
    struct txn_place at;
    bool is_there;
    odb_status st;

    if (upper.data && odb_slice_compare(lower, upper) >= 0)
        return ODB_OK; /* no key is in it */
    is_there = txn_set_find(&t->ranges, cf->id, lower, &at);
    other = is_there ? txn_set_at(&t->ranges, at) : NULL;
    if (!other && (at.chunk || at.at))
        other = txn_set_at(&t->ranges, txn_set_prev(&t->ranges, at));
    if (other && other->family == cf->id && claim_suffices(t, other, upper, is_exclusive))
        return ODB_OK;
    st = txn_has_room(t, lower.size + upper.size);
    if (st == ODB_OK)
        st = txn_set_room(&t->ranges);
    if (st == ODB_OK && t->is_pessimistic)
        st = txn_lock(t, &lock);
    if (st != ODB_OK)
        return st;
    e.since = t->since;
    if (is_there) { /* the new one stands for both; its bound may lie in `claimed`, which stays put */
        st = buf_reserve(&t->claimed, lower.size + upper.size + other->value_len + 1);
        if (st != ODB_OK)
            return st;
        if (other->since < e.since)
            e.since = other->since;
        if (!other->has_upper)
            upper = odb_bytes(NULL, 0);
        else if (upper.data && odb_slice_compare(upper, txn_entry_value(&t->ranges, other)) < 0)
            upper = txn_entry_value(&t->ranges, other);
    }
    return txn_add_claim(t, &t->ranges, at, is_there, e, lower, upper);
}

odb_status odb_txn_claim(odb_txn *t, odb_cf *cf, const odb_range *range, bool is_shared)
{
    struct api_bounds bounds = {0};
    odb_status st = txn_check(t);

    if (st == ODB_OK)
        st = api_check_cf(t->db, &cf);
    if (st == ODB_OK)
        st = api_bounds_init(&bounds, range);
    if (st == ODB_OK && !bounds.is_empty)
        st = txn_claim_range(t, cf, bounds.range.lower, bounds.range.upper, !is_shared);
    api_bounds_release(&bounds);
    return st;
}

/* ---- writes ---- */

/* Note in `writes` the operation that begins at `off` of the batch. There is room. */
static void txn_index(odb_txn *t, size_t off)
{
    const uint8_t *base = t->batch.ops.ops.p;
    struct dec d = dec_from(odb_bytes(base + off, t->batch.ops.ops.len - off));
    struct txn_place at;
    struct batch_op op;
    bool is_there;

    if (!batch_next(&d, &op)) /* it was written by batch_put just now */
        return;
    is_there = txn_set_find(&t->writes, op.family, op.key, &at);
    txn_set_add(
        &t->writes, at, is_there,
        (struct txn_entry){
            .family = op.family,
            .is_delete = op.kind == KIND_DELETE,
            .key_off = op.key.size ? (size_t)((const uint8_t *)op.key.data - base) : 0,
            .key_len = op.key.size,
            .value_off = op.value.size ? (size_t)((const uint8_t *)op.value.data - base) : 0,
            .value_len = op.value.size,
        });
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
        st = txn_has_room(t, BATCH_OP_HEADER_MAX + key.size + (value ? value->size : 0));
    if (st == ODB_OK)
        st = txn_set_room(&t->writes);
    if (st == ODB_OK && t->is_pessimistic)
        st = txn_claim_key(t, cf, key, true);
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

odb_status txn_adopt(odb_txn *t, odb_slice ops)
{
    odb_status st = batch_from_bytes(&t->batch.ops, ops);
    struct batch_op op;
    struct dec d;

    if (st != ODB_OK)
        return st;
    d = dec_from(buf_slice(&t->batch.ops.ops));
    for (size_t off = 0; st == ODB_OK && batch_next(&d, &op);
         off = (size_t)(d.p - t->batch.ops.ops.p)) {
        st = txn_set_room(&t->writes);
        if (st == ODB_OK)
            txn_index(t, off);
    }
    return st;
}

/* ---- savepoints ---- */

odb_status odb_txn_save(odb_txn *t, uint32_t *out)
{
    odb_status st = txn_check(t);

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the savepoint");
    if (st != ODB_OK)
        return st;
    if (t->save_count == t->save_cap) {
        uint32_t cap = t->save_cap ? t->save_cap * 2 : 4;
        struct txn_save *grown = mem_realloc(t->save, cap * sizeof *grown);

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for a savepoint");
        t->save = grown;
        t->save_cap = cap;
    }
    t->save[t->save_count] =
        (struct txn_save){t->writes.count, t->batch.ops.count, t->batch.ops.ops.len};
    *out = t->save_count++;
    return ODB_OK;
}

static odb_status txn_check_save(const odb_txn *t, uint32_t savepoint)
{
    odb_status st = txn_check(t);

    if (st == ODB_OK && savepoint >= t->save_count)
        st = err_set(ODB_INVALID, "there is no savepoint %lu; %lu are set",
                     (unsigned long)savepoint, (unsigned long)t->save_count);
    return st;
}

odb_status odb_txn_rollback_to(odb_txn *t, uint32_t savepoint)
{
    odb_status st = txn_check_save(t, savepoint);
    const struct txn_save *save;

    if (st != ODB_OK)
        return st;
    save = &t->save[savepoint];
    txn_set_undo(&t->writes, save->writes); /* while the bytes are still there */
    t->batch.ops.ops.len = save->bytes;
    t->batch.ops.count = save->ops;
    t->save_count = savepoint + 1;
    return ODB_OK;
}

odb_status odb_txn_release(odb_txn *t, uint32_t savepoint)
{
    odb_status st = txn_check_save(t, savepoint);

    if (st == ODB_OK)
        t->save_count = savepoint;
    return st;
}

/* ---- reads ---- */

/* Where it reads, below its own writes. */
static void *txn_moment(const odb_txn *t)
{
    if (t->state == TXN_PREPARED)
        return NULL; /* the present: nobody else writes what it depends on */
    return t->asof ? t->asof->inner : t->moment;
}

odb_status api_txn_place(odb_txn *t, struct api_place *out)
{
    odb_status st = t->state == TXN_PREPARED ? api_check_db(t->db) : txn_check(t);

    if (st == ODB_OK)
        *out = (struct api_place){t->db, txn_moment(t), t};
    return st;
}

static odb_status txn_find_own(odb_txn *t, const odb_cf *cf, odb_slice key, odb_slice *value)
{
    const struct txn_entry *e;
    struct txn_place at;

    if (!txn_set_find(&t->writes, cf->id, key, &at))
        return ODB_AGAIN;
    e = txn_set_at(&t->writes, at);
    if (e->is_delete)
        return ODB_ABSENT;
    *value = txn_entry_value(&t->writes, e);
    return ODB_OK;
}

odb_status api_txn_find(odb_txn *t, const odb_cf *cf, odb_slice key, odb_slice *value)
{
    odb_status st = txn_find_own(t, cf, key, value);

    if (st == ODB_AGAIN && t->state == TXN_ACTIVE) {
        if (t->isolation == ODB_SERIALIZABLE)
            st = txn_claim_key(t, cf, key, false);
        else
            t->is_floating = false;
        if (st == ODB_OK)
            st = ODB_AGAIN;
    }
    return st;
}

odb_status api_txn_scan(odb_txn *t, const odb_cf *cf, const odb_range *range)
{
    if (t->state != TXN_ACTIVE || !t->is_pessimistic)
        return ODB_OK;
    if (t->isolation == ODB_SERIALIZABLE)
        return txn_claim_range(t, cf, range->lower, range->upper, false);
    t->is_floating = false;
    return ODB_OK;
}

odb_status odb_txn_get_for_update(odb_txn *t, odb_cf *cf, odb_slice key, odb_value *out)
{
    odb_status st = txn_check(t);
    odb_slice own;

    if (st == ODB_OK)
        st = api_check_cf(t->db, &cf);
    if (st == ODB_OK)
        st = api_check_key(key);
    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the value");
    if (st == ODB_OK)
        st = txn_claim_key(t, cf, key, true);
    if (st != ODB_OK)
        return st;
    st = txn_find_own(t, cf, key, &own);
    if (st != ODB_AGAIN)
        return st == ODB_OK ? api_value_copy(own, out) : st;
    st = t->db->ops.get(t->db->self, cf->family, txn_moment(t), key, out);
    if (st == ODB_OK)
        out->db = t->db;
    return st;
}

odb_db *odb_txn_db(const odb_txn *t)
{
    return t ? t->db : NULL;
}

odb_status odb_txn_pending(odb_txn *t, odb_cf *cf, const odb_range *range,
                           bool (*each)(void *arg, const odb_op *op), void *arg)
{
    struct api_bounds bounds = {0};
    const struct txn_entry *e;
    struct txn_place at;
    odb_status st = t && t->state == TXN_PREPARED ? api_check_db(t->db) : txn_check(t);

    if (st == ODB_OK)
        st = api_check_cf(t->db, &cf);
    if (st == ODB_OK && !each)
        st = api_refuse_null("the function to call");
    if (st == ODB_OK)
        st = api_bounds_init(&bounds, range);
    if (st != ODB_OK || bounds.is_empty)
        goto done;
    (void)txn_set_find(&t->writes, cf->id, bounds.range.lower, &at);
    for (; (e = txn_set_at(&t->writes, at)) && e->family == cf->id;
         at = txn_set_next(&t->writes, at)) {
        odb_op op = {e->is_delete, e->family, txn_entry_key(&t->writes, e),
                     txn_entry_value(&t->writes, e)};

        if (bounds.range.upper.data && odb_slice_compare(op.key, bounds.range.upper) >= 0)
            break;
        if (!each(arg, &op))
            break;
    }
done:
    api_bounds_release(&bounds);
    return st;
}
