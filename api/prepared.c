/* api/prepared.c -- transactions that have promised to be able to commit.
 *
 * A prepared transaction is a row of a family of the library's own, "opendb.prepared":
 *
 *     key      its name
 *     value    version u8 = 1 | claims varint | claim ... | the operations, as a batch (cf/batch.c)
 *     claim    flags u8 (1: range, 2: it has an upper bound) | family varint
 *              | length varint | key or lower bound | [length varint | upper bound]
 *
 *     prepare    one guarded commit: the claims are checked, the row is put, a hold is placed
 *     commit     one commit: the operations, the row's delete, the hold released
 *     rollback   one commit: the row's delete, the hold released
 *     open       the rows are read, and their holds placed before anyone can write
 *
 * So a prepared transaction survives a crash because a put does, there is no moment at which it is
 * both prepared and committed, and the log needs no record of its own for any of it.
 *
 * 1. From the commit that puts the row to the one that deletes it, a hold keeps everyone from writing
 *    what the transaction writes or depends on. So its commit has nothing to check.
 * 2. An entry of db->prepared stands for each row, under db->lock; at most one handle for each.
 * 3. Of two that are prepared neither writes what the other writes or depends on, or the commit of one
 *    would meet the hold of the other. Entries keep their rows to compare by, and stand before the row
 *    is put: of two that prepare at once the second one conflicts.
 *
 * Threads: any, one for each transaction. The family is hidden from users (api/db.c).
 */
#include "api/txn_priv.h"
#include "cf/claims.h"

#define PREPARED_VERSION   1
#define CLAIM_IS_RANGE     1
#define CLAIM_HAS_UPPER    2
#define PREPARED_CLAIM_MIN 3 /* bytes of a claim, at least */

struct prepared {
    struct prepared *next;
    uint64_t number; /* of its hold */
    bool has_handle;
    struct buf value;        /* the row's */
    struct prepared_row row; /* lies in it; since 0: writes, 1: depends on */
    char name[];
};

static const odb_write prepared_full = {ODB_DURABLE_FULL, false, {0}};

/* ---- entries ---- */

static struct prepared **prepared_find(odb_db *db, const char *name)
{
    struct prepared **at = &db->prepared;

    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static void prepared_free(struct prepared *p)
{
    if (!p)
        return;
    mem_free(p->row.claim);
    buf_release(&p->value);
    mem_free(p);
}

/* Mark the claims by what they stand for. */
static void prepared_mark(struct prepared_row *r, uint64_t reads, uint64_t writes)
{
    for (size_t i = 0; i < r->count; i++)
        r->claim[i].since = i >= r->reads && i < r->keys ? writes : reads;
}

/* Does one write what the other writes or depends on? `mine` holds the claims of `p`. */
static bool prepared_meets(const struct prepared *p, const struct claims *mine,
                           const struct prepared *other)
{
    const struct prepared_row *r = &other->row;
    struct claims theirs = {.range = r->claim + r->keys, .range_count = r->count - r->keys};

    for (size_t i = 0; i < r->keys; i++) {
        const odb_claim *c = &r->claim[i];
        bool is_write = c->since == 0;

        if (claims_has_key(mine, claims_hash(c->family, c->lower), is_write ? UINT64_MAX : 1) ||
            (is_write && claims_has_in_range(mine, c->family, c->lower, false, UINT64_MAX)))
            return true;
    }
    for (size_t i = p->row.reads; i < p->row.keys; i++)
        if (claims_has_in_range(&theirs, p->row.claim[i].family, p->row.claim[i].lower, false,
                                UINT64_MAX))
            return true;
    return false;
}

/* Make an entry around `value`, which it takes over on ODB_OK. A new one must not meet another:
 * ODB_CONFLICT; what stood in a row at open stands. ODB_EXISTS, ODB_CORRUPT, ODB_NOMEM. */
static odb_status prepared_enter(odb_db *db, const char *name, struct buf *value, bool is_new,
                                 struct prepared **out)
{
    size_t len = strlen(name) + 1;
    struct prepared *p = mem_zalloc(1, sizeof *p + len), **end;
    struct claims mine;
    odb_status st;

    if (!p)
        return err_set(ODB_NOMEM, "no memory to prepare '%s'", name);
    memcpy(p->name, name, len);
    p->has_handle = is_new;
    st = prepared_decode(buf_slice(value), &p->row);
    if (st == ODB_OK)
        st = claims_init(&mine, p->row.keys);
    if (st != ODB_OK) {
        prepared_free(p);
        return st;
    }
    prepared_mark(&p->row, 1, 0);
    claims_add_all(&mine, p->row.claim, p->row.count);
    os_mutex_lock(&db->lock);
    end = prepared_find(db, name);
    if (*end)
        st = err_set(ODB_EXISTS, "there is a prepared transaction '%s'", name);
    for (struct prepared *o = db->prepared; is_new && st == ODB_OK && o; o = o->next)
        if (prepared_meets(p, &mine, o))
            st = err_set(ODB_CONFLICT,
                         "prepared transaction '%s' writes or depends on the same keys; nothing "
                         "was prepared",
                         o->name);
    if (st == ODB_OK) {
        p->number = ++db->prepared_numbers;
        p->value = *value;
        *value = (struct buf){NULL, 0, 0};
        *end = *out = p;
        p = NULL;
    }
    os_mutex_unlock(&db->lock);
    claims_release(&mine);
    prepared_free(p);
    return st;
}

static void prepared_remove(odb_db *db, struct prepared *p)
{
    os_mutex_lock(&db->lock);
    *prepared_find(db, p->name) = p->next;
    os_mutex_unlock(&db->lock);
    prepared_free(p);
}

void prepared_leave(odb_txn *t)
{
    os_mutex_lock(&t->db->lock);
    t->prepared->has_handle = false;
    os_mutex_unlock(&t->db->lock);
}

uint64_t prepared_count(odb_db *db)
{
    uint64_t count = 0;

    os_mutex_lock(&db->lock);
    for (const struct prepared *p = db->prepared; p; p = p->next)
        count++;
    os_mutex_unlock(&db->lock);
    return count;
}

void prepared_forget(odb_db *db)
{
    struct prepared *p;

    while ((p = db->prepared) != NULL) {
        db->prepared = p->next;
        prepared_free(p);
    }
}

/* ---- the row ---- */

static odb_status append_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[10];

    return buf_append(b, bytes, (size_t)(enc_varint(bytes, v) - bytes));
}

static odb_status append_lenbytes(struct buf *b, odb_slice s)
{
    odb_status st = append_varint(b, s.size);

    return st == ODB_OK ? buf_append(b, s.data, s.size) : st;
}

/* Only what the operations do not say themselves: the guard without the claims [from, to), which are
 * the keys that are written. */
static odb_status prepared_encode(const odb_guard *g, size_t from, size_t to, odb_slice ops,
                                  struct buf *out)
{
    uint8_t version = PREPARED_VERSION;
    odb_status st = buf_append(out, &version, 1);

    if (st == ODB_OK)
        st = append_varint(out, g->claim_count - (to - from));
    for (size_t i = 0; i < g->claim_count && st == ODB_OK; i++) {
        const odb_claim *c = &g->claim[i];
        uint8_t flags =
            (uint8_t)((c->is_range ? CLAIM_IS_RANGE : 0) | (c->upper.data ? CLAIM_HAS_UPPER : 0));

        if (i >= from && i < to)
            continue;
        st = buf_append(out, &flags, 1);
        if (st == ODB_OK)
            st = append_varint(out, c->family);
        if (st == ODB_OK)
            st = append_lenbytes(out, c->lower);
        if (st == ODB_OK && c->upper.data)
            st = append_lenbytes(out, c->upper);
    }
    return st == ODB_OK ? buf_append(out, ops.data, ops.size) : st;
}

static odb_status prepared_damaged(const char *what)
{
    return err_set(ODB_CORRUPT, "the row of a prepared transaction: %s", what);
}

/* One claim. Behind a range comes nothing but a range that lies behind it. */
static bool claim_decode(struct dec *d, const odb_claim *last, odb_claim *out)
{
    uint8_t flags = dec_u8(d);
    odb_claim c = {.since = ODB_SINCE_EVER};

    c.is_range = (flags & CLAIM_IS_RANGE) != 0;
    c.family = dec_varint32(d);
    c.lower = dec_lenbytes(d);
    if (flags & CLAIM_HAS_UPPER)
        c.upper = dec_lenbytes(d);
    *out = c;
    if (d->bad || flags > (CLAIM_IS_RANGE | CLAIM_HAS_UPPER) || (c.upper.data && !c.is_range))
        return false;
    if (!last->is_range)
        return true;
    return c.is_range &&
           (c.family > last->family || (c.family == last->family && last->upper.data &&
                                        odb_slice_compare(last->upper, c.lower) <= 0));
}

/* The keys that the operations write, as claims behind those there are. */
static void prepared_claim_ops(struct prepared_row *r)
{
    struct dec d = dec_from(r->ops);
    struct batch_op op;

    r->reads = r->count;
    while (batch_next(&d, &op))
        r->claim[r->count++] =
            (odb_claim){.family = op.family, .lower = op.key, .since = ODB_SINCE_EVER};
    r->keys = r->count;
}

odb_status prepared_decode(odb_slice row, struct prepared_row *out)
{
    struct prepared_row r = {NULL, 0, 0, 0, {NULL, 0}};
    struct dec d = dec_from(row), at;
    bool has_ops = false;
    struct batch_op op;
    uint64_t told, writes = 0;
    odb_claim c, last = {.is_range = false};

    if (dec_u8(&d) != PREPARED_VERSION)
        return prepared_damaged("it is empty, or of another version");
    told = dec_varint(&d);
    if (d.bad || told > dec_left(&d) / PREPARED_CLAIM_MIN)
        return prepared_damaged("the number of its claims");
    at = d;
    for (uint64_t i = 0; i < told; i++, last = c)
        if (!claim_decode(&at, &last, &c))
            return prepared_damaged("a claim");
    r.ops = odb_bytes(at.p, dec_left(&at));
    while (batch_next(&at, &op))
        writes++;
    if (at.bad)
        return prepared_damaged("an operation");
    last.is_range = false;
    r.claim = mem_array((size_t)(told + writes) + 1, sizeof *r.claim);
    if (!r.claim)
        return err_set(ODB_NOMEM, "no memory for the claims of a prepared transaction");
    for (uint64_t i = 0; i < told && claim_decode(&d, &last, &c); i++, last = c) {
        if (c.is_range && !has_ops) {
            prepared_claim_ops(&r);
            has_ops = true;
        }
        r.claim[r.count++] = c;
    }
    if (!has_ops)
        prepared_claim_ops(&r);
    *out = r;
    return ODB_OK;
}

/* ---- the family ---- */

/* Made with the first prepare. */
static odb_status prepared_family(odb_db *db, odb_backend_cf *out)
{
    odb_status st = ODB_OK;
    bool is_there;

    os_mutex_lock(&db->lock);
    is_there = db->has_prepared_cf;
    *out = db->prepared_cf;
    os_mutex_unlock(&db->lock);
    if (is_there)
        return ODB_OK;
    if (!db->ops.cf_create)
        return api_unsupported(db, "make the family for prepared transactions");
    st = db->ops.cf_create(db->self, API_PREPARED_FAMILY, NULL, out);
    if (st == ODB_EXISTS) /* somebody else's prepare was faster */
        st = db->ops.cf_find(db->self, API_PREPARED_FAMILY, out);
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    if (!db->has_prepared_cf) /* written once: who has prepared reads it without the lock */
        db->prepared_cf = *out;
    db->has_prepared_cf = true;
    os_mutex_unlock(&db->lock);
    return ODB_OK;
}

/* ---- prepare ---- */

static odb_status prepared_value(odb_txn *t, const odb_guard *guard, struct buf *out)
{
    odb_status st = prepared_encode(guard, t->keys.keys, (size_t)t->keys.keys + t->writes.keys,
                                    buf_slice(&t->batch.ops.ops), out);

    return st == ODB_OK ? api_check_value(buf_slice(out)) : st;
}

static odb_status prepared_put(odb_txn *t, odb_backend_cf cf, const struct prepared *p,
                               odb_guard *guard, const odb_write *how)
{
    struct odb_batch row = {{{NULL, 0, 0}, 0}, t->db};
    odb_status st = batch_put(&row.ops, cf.id, odb_s(p->name), buf_slice(&p->value));

    guard->hold = p->number;
    if (st == ODB_OK)
        st = t->db->ops.commit_transaction(t->db->self, guard, &row, how);
    batch_release(&row.ops);
    return st;
}

odb_status odb_txn_prepare(odb_txn *t, const char *name, const odb_write *how)
{
    odb_status st = txn_check(t);
    struct buf value = {NULL, 0, 0};
    struct prepared *p = NULL;
    odb_backend_cf cf;
    odb_guard guard;

    if (st == ODB_OK)
        st = api_check_name(name, "a prepared transaction");
    if (!how)
        how = &prepared_full;
    else if (st == ODB_OK)
        st = api_check_write(how);
    if (st != ODB_OK)
        return st;
    txn_iters_tell(t);
    st = t->failed;
    if (st == ODB_OK)
        st = prepared_family(t->db, &cf);
    if (st == ODB_OK)
        st = txn_guard(t, true, &guard);
    if (st == ODB_OK)
        st = prepared_value(t, &guard, &value);
    if (st == ODB_OK)
        st = prepared_enter(t->db, name, &value, true, &p);
    buf_release(&value);
    if (st == ODB_OK)
        st = prepared_put(t, cf, p, &guard, how);
    if (st == ODB_OK) {
        txn_iters_let_go(t);
        t->db->ops.pause_transaction(t->db->self, t->moment);
        t->prepared = p;
        t->state = TXN_PREPARED;
        return ODB_OK;
    }
    if (p)
        prepared_remove(t->db, p);
    if (st == ODB_CONFLICT || st == ODB_TOO_OLD || st == ODB_UNKNOWN) {
        api_txn_count(t->db, st);
        txn_end(t);
    }
    return st;
}

/* ---- the end of it ---- */

/* `ops`, the row's delete, and no hold any more. */
static odb_status prepared_resolve(odb_txn *t, struct odb_batch *b, const odb_write *how)
{
    struct prepared *p = t->prepared;
    odb_guard guard = {.since = ODB_SINCE_EVER, .release = p->number};
    size_t len = b->ops.ops.len;
    uint32_t count = b->ops.count;
    odb_status st = batch_delete(&b->ops, t->db->prepared_cf.id, odb_s(p->name));

    if (st == ODB_OK)
        st = t->db->ops.commit_transaction(t->db->self, &guard, b, how);
    if (st == ODB_OK)
        prepared_remove(t->db, p);
    else if (st == ODB_UNKNOWN)
        prepared_leave(t);
    if (st == ODB_OK || st == ODB_UNKNOWN) {
        txn_end(t);
    } else {
        b->ops.ops.len = len;
        b->ops.count = count;
    }
    return st;
}

odb_status prepared_commit(odb_txn *t, const odb_write *how)
{
    odb_status st = prepared_resolve(t, &t->batch, how);

    api_txn_count(t->db, st);
    return st;
}

odb_status prepared_rollback(odb_txn *t)
{
    struct odb_batch b = {{{NULL, 0, 0}, 0}, t->db};
    odb_status st = prepared_resolve(t, &b, &api_write_default);

    batch_release(&b.ops);
    return st;
}

/* ---- after a crash, or another handle ---- */

odb_status odb_txn_list_prepared(odb_db *db, odb_names *out)
{
    odb_status st = api_check_db(db);
    size_t count = 0, bytes = 0;
    const char **name = NULL;
    char *text;

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the names");
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    for (const struct prepared *p = db->prepared; p; p = p->next, count++)
        bytes += sizeof *name + strlen(p->name) + 1;
    name = mem_alloc(bytes ? bytes : 1);
    if (name) {
        text = (char *)(name + count);
        count = 0;
        for (const struct prepared *p = db->prepared; p; p = p->next) {
            name[count++] = strcpy(text, p->name);
            text += strlen(p->name) + 1;
        }
        *out = (odb_names){name, count};
    }
    os_mutex_unlock(&db->lock);
    return name ? ODB_OK : err_set(ODB_NOMEM, "no memory for %zu names", count);
}

/* The row of `name`, decoded. On ODB_OK release both. */
static odb_status prepared_read(odb_db *db, const char *name, odb_value *value,
                                struct prepared_row *row)
{
    odb_status st = db->ops.get(db->self, db->prepared_cf.family, NULL, odb_s(name), value);

    if (st != ODB_OK)
        return st;
    st = prepared_decode(odb_bytes(value->data, value->size), row);
    if (st != ODB_OK)
        db->ops.value_release(db->self, value);
    return st;
}

odb_status odb_txn_recover(odb_db *db, const char *name, odb_txn **out)
{
    odb_status st = api_check_db(db);
    struct prepared_row row;
    struct prepared *p;
    odb_value value;
    odb_txn *t;

    if (st == ODB_OK && (!name || !out))
        st = api_refuse_null(name ? "the place for the transaction" : "the name");
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    p = *prepared_find(db, name);
    if (!p)
        st = err_set(ODB_ABSENT, "no prepared transaction is called '%s'", name);
    else if (p->has_handle)
        st = err_set(ODB_BUSY, "prepared transaction '%s' has a handle already", name);
    else
        p->has_handle = true;
    os_mutex_unlock(&db->lock);
    if (st != ODB_OK)
        return st;
    st = txn_handle_take(db, &t);
    if (st == ODB_OK) {
        t->prepared = p;
        t->state = TXN_PREPARED;
        t->isolation = ODB_SNAPSHOT;
        t->is_pessimistic = false;
        st = prepared_read(db, name, &value, &row);
        if (st == ODB_OK) {
            st = txn_adopt(t, row.ops);
            mem_free(row.claim);
            db->ops.value_release(db->self, &value);
        }
        if (st == ODB_OK) {
            *out = t;
            return ODB_OK;
        }
        odb_txn_free(t); /* which leaves the entry */
        return st;
    }
    os_mutex_lock(&db->lock);
    p->has_handle = false;
    os_mutex_unlock(&db->lock);
    return st;
}

/* One row at open: an entry and a hold. */
static odb_status prepared_restore(odb_db *db, odb_slice name, odb_slice row)
{
    struct odb_batch nothing = {{{NULL, 0, 0}, 0}, db};
    char text[API_NAME_MAX + 1] = {0};
    struct buf value = {NULL, 0, 0};
    struct prepared *p = NULL;
    odb_status st;

    if (name.size == 0 || name.size > API_NAME_MAX || memchr(name.data, 0, name.size))
        return prepared_damaged("its name");
    memcpy(text, name.data, name.size);
    st = buf_append(&value, row.data, row.size);
    if (st == ODB_OK)
        st = prepared_enter(db, text, &value, false, &p);
    buf_release(&value);
    if (st == ODB_OK) {
        odb_guard guard = {p->row.claim, p->row.count, ODB_SINCE_EVER, p->number, 0};

        prepared_mark(&p->row, ODB_SINCE_EVER, ODB_SINCE_EVER); /* to be held, not to be checked */
        st = db->ops.commit_transaction(db->self, &guard, &nothing, &api_write_default);
        prepared_mark(&p->row, 1, 0);
        if (st == ODB_READONLY)
            st = ODB_OK; /* nobody can write anything */
    }
    return st;
}

odb_status prepared_open(odb_db *db, odb_backend_cf cf)
{
    odb_range all = {.lower = {NULL, 0}};
    odb_iter *it;
    odb_status st;

    db->prepared_cf = cf;
    db->has_prepared_cf = true;
    if (!db->ops.commit_transaction)
        return ODB_OK;
    st = db->ops.scan(db->self, cf.family, NULL, &all, &it);
    if (st != ODB_OK)
        return st;
    for (bool ok = it->ops->first(it); ok && st == ODB_OK; ok = it->ops->next(it))
        st = prepared_restore(db, it->key, it->value);
    if (st == ODB_OK)
        st = it->status;
    it->ops->free(it);
    return st;
}
