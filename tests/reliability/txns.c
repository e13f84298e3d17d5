#include "tests/reliability/txns.h"

#include "api/txn_priv.h"

/* ---- what a prepared transaction does: a function of its number ---- */

#define PLAN_OPS    3
#define RANGE_FROM  20 /* keys of the last family it may write to */
#define RANGE_TO    22
#define PLAN_FAMILY 3 /* the first ones, which are never dropped */

struct plan_key {
    uint32_t family, key;
    bool is_delete;
};

struct plan {
    struct plan_key write[PLAN_OPS];
    uint32_t writes;
    struct plan_key read; /* key COUNTER: none */
    bool has_range;
};

static uint32_t mixed(uint32_t t, uint32_t i)
{
    uint64_t x = (t * 64u + i) * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(x >> 33);
}

static bool plan_writes(const struct plan *p, uint32_t family, uint32_t key)
{
    for (uint32_t i = 0; i < p->writes; i++)
        if (p->write[i].family == family && p->write[i].key == key)
            return true;
    return false;
}

/* Whether it keeps others from writing that. */
static bool plan_holds(const struct plan *p, uint32_t family, uint32_t key)
{
    return plan_writes(p, family, key) ||
           (p->read.key != COUNTER && p->read.family == family && p->read.key == key) ||
           (p->has_range && family == PLAN_FAMILY - 1 && key >= RANGE_FROM && key < RANGE_TO);
}

static struct plan plan_of(uint32_t t)
{
    struct plan p = {.has_range = mixed(t, 0) % 3 == 0};
    uint32_t tries = 1 + mixed(t, 1) % PLAN_OPS;
    uint32_t family = mixed(t, 2) % PLAN_FAMILY, key = 1 + mixed(t, 3) % (KEYS - 1);

    for (uint32_t i = 0; i < tries; i++) {
        struct plan_key w = {mixed(t, 4 + i) % PLAN_FAMILY, 1 + mixed(t, 8 + i) % (KEYS - 1),
                             mixed(t, 12 + i) % 4 == 0};

        if (!plan_writes(&p, w.family, w.key))
            p.write[p.writes++] = w;
    }
    if (mixed(t, 16) % 2 && !plan_writes(&p, family, key))
        p.read = (struct plan_key){family, key, false};
    return p;
}

/* Whether two of them can not both be prepared. */
static bool plans_meet(const struct plan *a, const struct plan *b)
{
    for (uint32_t i = 0; i < a->writes; i++)
        if (plan_holds(b, a->write[i].family, a->write[i].key))
            return true;
    for (uint32_t i = 0; i < b->writes; i++)
        if (plan_holds(a, b->write[i].family, b->write[i].key))
            return true;
    return false;
}

static void plan_apply(const struct plan *p, uint32_t t, struct state *at)
{
    for (uint32_t i = 0; i < p->writes; i++)
        at->wrote[p->write[i].family][p->write[i].key] = (uint16_t)(p->write[i].is_delete ? 0 : t);
}

static const char *name_text(uint32_t t, char out[16])
{
    (void)snprintf(out, 16, "p%u", (unsigned)t);
    return out;
}

static bool is_held(const struct state *at, uint32_t family, uint32_t key)
{
    for (int i = 0; i < PREPARED; i++) {
        struct plan p;

        if (!at->prepared[i])
            continue;
        p = plan_of(at->prepared[i]);
        if (plan_holds(&p, family, key))
            return true;
    }
    return false;
}

/* ---- the public handles ---- */

static odb_status txns_open(struct cf_set *s, struct odb_db **out)
{
    odb_options o;
    odb_backend backend;
    odb_status st = options_resolve(os_posix(), NULL, &o);

    if (st == ODB_OK)
        st = api_backend_over(s, &o, NULL, &backend);
    if (st != ODB_OK)
        return st;
    st = odb_open_backend(backend, out);
    if (st != ODB_OK)
        mem_free(backend.self); /* the set stays the caller's */
    return st;
}

static odb_status txns_drop(struct workload *w, uint32_t f)
{
    odb_cf *cf;
    odb_status st = odb_cf_open(w->db, family_name[f], &cf);

    return st == ODB_OK ? odb_cf_drop(w->db, cf) : st;
}

static odb_write how_of(bool is_full)
{
    return (odb_write){.durability = is_full ? ODB_DURABLE_FULL : ODB_DURABLE_OS};
}

/* ---- commits ---- */

/* Which slot the family is in. */
static uint32_t slot_of(const struct workload *w, uint32_t id)
{
    uint32_t f = 0;

    while (f + 1 < FAMILIES && !(w->cf[f] && cf_id(w->cf[f]) == id))
        f++;
    return f;
}

static uint32_t key_number(odb_slice key)
{
    char digits[3] = {0};

    memcpy(digits, (const char *)key.data + 3, 2);
    return (uint32_t)strtoul(digits, NULL, 10);
}

/* The operations of `b`, into the transaction or the batch, whichever is there. */
static odb_status write_ops(const struct workload *w, const struct batch *b, odb_txn *t,
                            odb_batch *into)
{
    struct dec d = dec_from(buf_slice(&b->ops));
    odb_status st = ODB_OK;
    struct batch_op op;
    odb_cf *cf;

    while (st == ODB_OK && batch_next(&d, &op)) {
        bool is_put = op.kind == KIND_PUT;

        st = odb_cf_open(w->db, family_name[slot_of(w, op.family)], &cf);
        if (st == ODB_OK && t)
            st = is_put ? odb_txn_put(t, cf, op.key, op.value) : odb_txn_delete(t, cf, op.key);
        else if (st == ODB_OK)
            st = is_put ? odb_batch_put(into, cf, op.key, op.value)
                        : odb_batch_delete(into, cf, op.key);
    }
    return st;
}

static bool meets_hold(const struct workload *w, const struct batch *b, const struct state *at)
{
    struct dec d = dec_from(buf_slice(&b->ops));
    struct batch_op op;

    while (batch_next(&d, &op))
        if (is_held(at, slot_of(w, op.family), key_number(op.key)))
            return true;
    return false;
}

static odb_status commit_batch_of(const struct workload *w, const struct batch *b,
                                  const odb_write *how)
{
    odb_batch *into;
    odb_status st = odb_batch_new(&into);

    if (st != ODB_OK)
        return st;
    st = write_ops(w, b, NULL, into);
    if (st == ODB_OK)
        st = odb_commit(w->db, into, how);
    odb_batch_free(into);
    return st;
}

/* Something is written, and taken back, before the operations. */
static odb_status write_in_vain(odb_txn *t)
{
    uint32_t save;
    odb_status st = odb_txn_save(t, &save);

    if (st == ODB_OK)
        st = odb_txn_put(t, NULL, odb_s("key23"), odb_s("never"));
    return st == ODB_OK ? odb_txn_rollback_to(t, save) : st;
}

static odb_status commit_txn_of(const struct workload *w, const struct batch *b, uint32_t kind,
                                const odb_write *how)
{
    odb_txn_options opt = {.size = sizeof opt,
                           .isolation = kind & 1 ? ODB_SERIALIZABLE : ODB_SNAPSHOT,
                           .is_pessimistic = (kind & 2) != 0,
                           .lock_wait_ms = 1};
    odb_txn *t;
    odb_status st = odb_txn_begin(w->db, &opt, &t);

    if (st != ODB_OK)
        return st;
    if (kind & 4)
        st = write_in_vain(t);
    if (st == ODB_OK)
        st = write_ops(w, b, t, NULL);
    if (st == ODB_OK)
        st = odb_txn_commit(t, how);
    odb_txn_free(t);
    return st;
}

/* It met the lock of a prepared one whose handle is still there: it was not to be, and is forgotten. */
static bool was_kept_waiting(struct workload *w, uint32_t t, odb_status st)
{
    if (st != ODB_TIMEOUT)
        return false;
    w->p.started = t - 1;
    return true;
}

/* The next transaction, as a batch (kind 0) or a transaction. *is_there: it was applied. */
static odb_status commit_one(struct workload *w, uint32_t kind, bool *is_there)
{
    bool is_full = draw(w, 5) == 0, is_refused;
    odb_write how = how_of(is_full);
    uint32_t t = w->p.started + 1;
    struct state next = w->at[t - 1];
    struct batch b = {{NULL, 0, 0}, 0};
    odb_status st = workload_build(w, t, &b, &next);

    *is_there = false;
    is_refused = meets_hold(w, &b, &w->at[t - 1]);
    if (!is_refused) {
        w->at[t] = next;
        w->p.started = t;
    }
    if (st == ODB_OK)
        st = kind == 0 ? commit_batch_of(w, &b, &how) : commit_txn_of(w, &b, kind, &how);
    batch_release(&b);
    if (is_refused) {
        if (st == ODB_OK)
            return err_set(ODB_INVALID, "transaction %u wrote what a prepared one holds",
                           (unsigned)t);
        return st == ODB_CONFLICT || st == ODB_TIMEOUT ? ODB_OK : st;
    }
    if (was_kept_waiting(w, t, st))
        return ODB_OK;
    workload_answered(w, t, st, is_full);
    *is_there = st == ODB_OK;
    return st;
}

/* Two write the counter: the first wins, of the second nothing may be seen. */
static odb_status commit_before_loser(struct workload *w)
{
    odb_txn_options opt = {.size = sizeof opt};
    odb_write full = how_of(true);
    odb_txn *loser;
    bool is_there;
    odb_status st = odb_txn_begin(w->db, &opt, &loser), lost;

    if (st != ODB_OK)
        return st;
    st = odb_txn_put(loser, NULL, odb_s("key00"), odb_s("9999 0 0 "));
    if (st == ODB_OK)
        st = odb_txn_put(loser, NULL, odb_s("key01"), odb_s("lost"));
    if (st == ODB_OK)
        st = commit_one(w, draw(w, 8), &is_there);
    if (st == ODB_OK && is_there) {
        lost = odb_txn_commit(loser, &full);
        if (lost != ODB_CONFLICT)
            st = err_set(ODB_INVALID, "the second writer of a key was told %s",
                         odb_status_name(lost));
    }
    odb_txn_free(loser);
    return st;
}

/* ---- two phases ---- */

static odb_status plan_write(const struct workload *w, const struct plan *p, uint32_t t,
                             odb_txn *txn)
{
    odb_range range = {.lower = {NULL, 0}};
    char k[16], upper[16], v[128];
    odb_status st = ODB_OK;
    odb_value value;
    odb_cf *cf;

    for (uint32_t i = 0; st == ODB_OK && i < p->writes; i++) {
        const struct plan_key *x = &p->write[i];
        odb_slice key = odb_bytes(k, key_text(x->key, k));

        st = odb_cf_open(w->db, family_name[x->family], &cf);
        if (st == ODB_OK)
            st = x->is_delete
                     ? odb_txn_delete(txn, cf, key)
                     : odb_txn_put(txn, cf, key, odb_bytes(v, value_text(t, x->family, x->key, v)));
    }
    if (st == ODB_OK && p->read.key != COUNTER) {
        st = odb_cf_open(w->db, family_name[p->read.family], &cf);
        if (st == ODB_OK)
            st = odb_txn_get_for_update(txn, cf, odb_bytes(k, key_text(p->read.key, k)), &value);
        if (st == ODB_OK)
            odb_value_release(&value);
        else if (st == ODB_ABSENT)
            st = ODB_OK;
    }
    if (st == ODB_OK && p->has_range) {
        range.lower = odb_bytes(k, key_text(RANGE_FROM, k));
        range.upper = odb_bytes(upper, key_text(RANGE_TO, upper));
        st = odb_cf_open(w->db, family_name[PLAN_FAMILY - 1], &cf);
        if (st == ODB_OK)
            st = odb_txn_claim(txn, cf, &range, false);
    }
    return st;
}

static odb_status prepare_one(struct workload *w, uint32_t slot)
{
    odb_txn_options opt = {
        .size = sizeof opt, .is_pessimistic = draw(w, 3) == 0, .lock_wait_ms = 1};
    bool is_full = draw(w, 3) > 0, is_refused = false;
    odb_write how = how_of(is_full);
    uint32_t t = w->p.started + 1;
    struct state next = w->at[t - 1];
    struct plan p = plan_of(t), other;
    char name[16];
    odb_txn *txn;
    odb_status st;

    for (int i = 0; i < PREPARED; i++)
        if (next.prepared[i]) {
            other = plan_of(next.prepared[i]);
            is_refused |= plans_meet(&p, &other);
        }
    st = odb_txn_begin(w->db, &opt, &txn);
    if (st != ODB_OK)
        return st;
    next.prepared[slot] = (uint16_t)t;
    if (!is_refused) {
        w->at[t] = next;
        w->p.started = t;
    }
    st = plan_write(w, &p, t, txn);
    if (st == ODB_OK)
        st = odb_txn_prepare(txn, name_text(t, name), &how);
    if (is_refused || st != ODB_OK || draw(w, 2)) /* found again by its name */
        odb_txn_free(txn);
    else
        w->handle[slot] = txn;
    if (is_refused) {
        if (st == ODB_OK)
            return err_set(ODB_INVALID, "'%s' was prepared against another one", name);
        return st == ODB_CONFLICT || st == ODB_TIMEOUT ? ODB_OK : st;
    }
    if (was_kept_waiting(w, t, st))
        return ODB_OK;
    workload_answered(w, t, st, is_full);
    return st;
}

static odb_status resolve_one(struct workload *w, uint32_t slot)
{
    bool is_commit = draw(w, 3) > 0, is_full = draw(w, 3) == 0;
    odb_write how = how_of(is_full);
    uint32_t t = w->p.started + 1;
    struct state next = w->at[t - 1];
    uint32_t number = next.prepared[slot];
    struct plan p = plan_of(number);
    odb_txn *txn = w->handle[slot];
    char name[16];
    odb_status st = ODB_OK;

    w->handle[slot] = NULL;
    if (!txn)
        st = odb_txn_recover(w->db, name_text(number, name), &txn);
    if (st != ODB_OK)
        return st;
    next.prepared[slot] = 0;
    if (is_commit)
        plan_apply(&p, number, &next);
    w->at[t] = next;
    w->p.started = t;
    st = is_commit ? odb_txn_commit(txn, &how) : odb_txn_rollback(txn);
    odb_txn_free(txn);
    workload_answered(w, t, st, is_commit && is_full);
    return st;
}

static odb_status txns_txn(struct workload *w)
{
    const struct state *at = &w->at[w->p.started];
    uint32_t what = draw(w, 9), slot = draw(w, PREPARED);
    bool is_there;

    if (what < 3 && !at->prepared[slot])
        return prepare_one(w, slot);
    if (what < 5 && at->prepared[slot] && at->prepared[slot] < at->wrote[0][COUNTER])
        return resolve_one(w, slot);
    if (what == 5)
        return commit_before_loser(w);
    return commit_one(w, draw(w, 8), &is_there);
}

/* ---- judging ---- */

static bool has_prepared(const struct state *at, uint32_t t)
{
    for (int i = 0; i < PREPARED; i++)
        if (at->prepared[i] == t)
            return true;
    return false;
}

static bool same_prepared(const struct state *at, const uint32_t *found, uint32_t count)
{
    uint32_t want = 0;

    for (int i = 0; i < PREPARED; i++)
        want += at->prepared[i] != 0;
    for (uint32_t i = 0; i < count; i++)
        if (!has_prepared(at, found[i]))
            return false;
    return want == count;
}

/* The key that was asked for is there. One with locks may claim what it writes as well. */
static bool claims_are_right(struct cf_set *s, const struct plan *p, const struct prepared_row *row)
{
    bool has_read = p->read.key == COUNTER;

    for (size_t i = 0; i < row->reads; i++) {
        uint32_t key = key_number(row->claim[i].lower), f = 0;
        struct cf *cf = NULL;

        while (f < PLAN_FAMILY &&
               (cf_find(s, family_name[f], &cf) != ODB_OK || cf_id(cf) != row->claim[i].family))
            f++;
        if (f == PLAN_FAMILY || !plan_holds(p, f, key))
            return false;
        has_read |= p->read.family == f && p->read.key == key;
    }
    return has_read;
}

/* The row says what transaction `t` was to do, no more and no less. */
static bool row_is_right(struct cf_set *s, uint32_t t, odb_slice value, char *why)
{
    struct plan p = plan_of(t);
    struct prepared_row row;
    odb_status st = prepared_decode(value, &row);
    struct batch_op op;
    uint32_t i = 0;
    bool ok = true;
    struct dec d;

    if (st != ODB_OK) {
        (void)sprintf(why, "the row of p%u: %.150s", (unsigned)t, odb_error_text());
        return false;
    }
    for (d = dec_from(row.ops); ok && batch_next(&d, &op); i++) {
        const struct plan_key *x = &p.write[i];
        struct cf *cf = NULL;
        char k[16], v[128];

        ok = i < p.writes && cf_find(s, family_name[x->family], &cf) == ODB_OK &&
             op.family == cf_id(cf) && (op.kind != KIND_PUT) == x->is_delete &&
             odb_slice_equal(op.key, odb_bytes(k, key_text(x->key, k))) &&
             (x->is_delete ||
              odb_slice_equal(op.value, odb_bytes(v, value_text(t, x->family, x->key, v))));
    }
    ok =
        ok && i == p.writes && row.count - row.keys == p.has_range && claims_are_right(s, &p, &row);
    if (!ok)
        (void)sprintf(why, "the row of p%u holds something else than was prepared (operation %u)",
                      (unsigned)t, (unsigned)i);
    mem_free(row.claim);
    return ok;
}

/* The numbers in the rows of the library's family; false: no such number. */
static bool read_rows(struct cf_set *s, uint32_t *found, uint32_t *count, char *why)
{
    struct lsm_iter *it = NULL;
    struct cf *cf = NULL;
    bool ok = true;

    *count = 0;
    if (cf_find(s, API_PREPARED_FAMILY, &cf) != ODB_OK)
        return true;
    if (cf_iter_new(s, cf, NULL, NULL, &it) != ODB_OK) {
        (void)sprintf(why, "no iterator over what is prepared");
        return false;
    }
    for (bool on = lsm_iter_first(it); on && ok; on = lsm_iter_next(it)) {
        odb_slice key = lsm_iter_key(it);
        char text[16] = {0}, name[16];
        uint32_t t;

        memcpy(text, key.data, key.size < sizeof text ? key.size : sizeof text - 1);
        t = (uint32_t)strtoul(text + 1, NULL, 10);
        ok = *count < PREPARED && strcmp(text, name_text(t, name)) == 0;
        if (!ok)
            (void)sprintf(why, "'%s' is prepared", text);
        else
            ok = row_is_right(s, t, lsm_iter_value(it), why);
        if (ok)
            found[(*count)++] = t;
    }
    if (ok && lsm_iter_status(it) != ODB_OK) {
        (void)sprintf(why, "what is prepared cannot be read: %.150s", odb_error_text());
        ok = false;
    }
    lsm_iter_free(it);
    return ok;
}

static bool txns_prefix(struct cf_set *s, const struct workload *w, uint32_t *k, char *why)
{
    uint32_t found[PREPARED], count, counted = *k;

    if (!read_rows(s, found, &count, why))
        return false;
    for (uint32_t t = counted; t <= w->p.started && w->at[t].wrote[0][COUNTER] == counted; t++)
        if (same_prepared(&w->at[t], found, count)) {
            *k = t;
            return true;
        }
    (void)sprintf(why, "%u prepared transactions (p%u ...) at no moment behind transaction %u",
                  (unsigned)count, count ? (unsigned)found[0] : 0, (unsigned)counted);
    return false;
}

bool txns_are_listed(struct odb_db *db, const struct state *at, char *why)
{
    uint32_t found[PREPARED];
    odb_names names;
    bool ok = odb_txn_list_prepared(db, &names) == ODB_OK;

    if (ok) {
        ok = names.count <= PREPARED;
        for (size_t i = 0; ok && i < names.count; i++)
            found[i] = (uint32_t)strtoul(names.name[i] + 1, NULL, 10);
        ok = ok && same_prepared(at, found, (uint32_t)names.count);
        odb_names_release(&names);
    }
    if (!ok)
        (void)sprintf(why, "the list of what is prepared is another one than its rows");
    return ok;
}

/* Nobody else may write it. */
static bool is_refused(odb_db *db, uint32_t family, uint32_t key)
{
    char k[16];
    odb_cf *cf;

    return odb_cf_open(db, family_name[family], &cf) == ODB_OK &&
           odb_put(db, cf, odb_bytes(k, key_text(key, k)), odb_s("intruder"), NULL) == ODB_CONFLICT;
}

static bool holds_what_it_should(odb_db *db, const struct plan *p)
{
    bool ok = p->read.key == COUNTER || is_refused(db, p->read.family, p->read.key);

    for (uint32_t i = 0; ok && i < p->writes; i++)
        ok = is_refused(db, p->write[i].family, p->write[i].key);
    return ok && (!p->has_range || is_refused(db, PLAN_FAMILY - 1, RANGE_TO - 1));
}

static bool shows_its_writes(odb_db *db, odb_txn *t, const struct plan *p, uint32_t number)
{
    for (uint32_t i = 0; i < p->writes; i++) {
        const struct plan_key *x = &p->write[i];
        char k[16], v[128], got[128];
        size_t size = 0, want = value_text(number, x->family, x->key, v);
        odb_cf *cf;
        odb_status st = odb_cf_open(db, family_name[x->family], &cf);

        if (st == ODB_OK)
            st = odb_get_into(odb_in(t), cf, odb_bytes(k, key_text(x->key, k)), got, sizeof got,
                              &size);
        if (x->is_delete ? st != ODB_ABSENT
                         : st != ODB_OK || size != want || memcmp(got, v, want) != 0)
            return false;
    }
    return true;
}

bool txns_resolve(struct odb_db *db, struct state *at, char *why)
{
    odb_write full = how_of(true);

    for (int i = 0; i < PREPARED; i++) {
        uint32_t number = at->prepared[i];
        struct plan p = plan_of(number);
        odb_txn *t = NULL;
        const char *what = NULL;
        char name[16];

        if (number == 0)
            continue;
        if (!holds_what_it_should(db, &p))
            what = "somebody wrote what it holds";
        else if (odb_txn_recover(db, name_text(number, name), &t) != ODB_OK)
            what = "it is not found by its name";
        else if (!shows_its_writes(db, t, &p, number))
            what = "it does not show its writes";
        else if ((number % 2 ? odb_txn_commit(t, &full) : odb_txn_rollback(t)) != ODB_OK)
            what = "it comes to no end";
        odb_txn_free(t);
        if (what) {
            (void)sprintf(why, "prepared transaction p%u: %s: %.150s", (unsigned)number, what,
                          odb_error_text());
            return false;
        }
        at->prepared[i] = 0;
        if (number % 2)
            plan_apply(&p, number, at);
    }
    return true;
}

const struct workload_upper txns_upper = {
    .open = txns_open,
    .close = odb_close,
    .let_go = odb_txn_free,
    .txn = txns_txn,
    .drop = txns_drop,
    .prefix = txns_prefix,
};
