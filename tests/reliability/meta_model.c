/* tests/reliability/meta_model.c -- what a database has to answer, as simply as it can be said.
 *
 *     family     for each key of the list a chain of versions, oldest first, each with the number of its commit
 *     snapshot   a commit number
 *     iterator   a commit number, a range of key numbers, and the key it stands on
 *     txn        a commit number, its writes in order, and what its commit depends on
 *
 * Keys are numbers here: their order is that of their bytes. Nothing of the engine is used but statuses and
 * hash64. What the public headers say is said again in code; where they leave room, a comment tells what is
 * taken for granted.
 */
#include "tests/reliability/meta.h"

#include <stdlib.h>

struct version {
    uint64_t seq, hash;
    uint32_t off, len;
    bool is_delete;
};

struct chain {
    struct version *v;
    uint32_t count, cap;
};

struct family {
    struct family *next; /* all that ever were, newest first */
    struct chain *chain; /* one for each key */
    bool is_dropped;
};

struct write {
    struct family *family;
    int32_t key;
    struct version v;
};

struct writes {
    struct write *w;
    size_t count, cap;
};

/* A part of a family that a commit depends on: keys from `low` to below `high`, not written after `since`. */
struct claim {
    struct family *family;
    int32_t low, high;
    uint64_t since;
    bool is_exclusive; /* the lock, of a pessimistic transaction */
};

struct txn {
    bool is_there, is_active, is_serializable, is_pessimistic;
    bool is_floating; /* has read nothing that it has not locked */
    uint64_t since;
    struct writes writes;
    size_t save[64];
    uint32_t save_count;
    struct claim *claim;
    size_t claim_count, claim_cap;
};

struct iter {
    struct family *family; /* NULL: there is none */
    uint64_t seq;
    struct txn *txn; /* asks for its span; NULL: nobody does */
    bool is_of_txn, is_empty, keys_only;
    int32_t low, high; /* its range */
    int32_t at;        /* -1: nowhere */
    struct write *own; /* of the transaction, by key; NULL: none */
    bool has_span, has_from, has_to, to_low, to_high;
    int32_t from, to;
};

struct meta_model {
    const struct meta_list *l;
    uint64_t seq;
    struct family *all, *slot[META_FAMILIES];
    uint32_t
        order[64]; /* slots of made families in order of creation; the standard ones come first */
    uint32_t order_count;
    uint64_t snapshot[META_SNAPSHOTS]; /* 0: none */
    struct iter iter[META_ITERS];
    struct txn txn[META_TXNS];
    struct writes batch;
};

static void *model_grow(void *p, size_t size)
{
    void *q = realloc(p, size ? size : 1);

    if (!q)
        abort();
    return q;
}

/* ---- data ---- */

static struct family *family_make(struct meta_model *m)
{
    struct family *f = calloc(1, sizeof *f);

    if (!f || !(f->chain = calloc((size_t)m->l->key_count, sizeof *f->chain)))
        abort();
    f->next = m->all;
    m->all = f;
    return f;
}

static void chain_add(struct chain *c, struct version v)
{
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 4;
        c->v = model_grow(c->v, c->cap * sizeof *c->v);
    }
    if (c->count && c->v[c->count - 1].seq == v.seq)
        c->count--; /* later in the same commit */
    c->v[c->count++] = v;
}

/* The value of a key at a moment; NULL: absent. */
static const struct version *chain_at(const struct chain *c, uint64_t seq)
{
    uint32_t i = c->count;

    while (i > 0 && c->v[i - 1].seq > seq)
        i--;
    return i > 0 && !c->v[i - 1].is_delete ? &c->v[i - 1] : NULL;
}

static struct version version_of(const struct meta_op *op, bool is_delete)
{
    struct version v = {.off = op->off, .len = op->len, .is_delete = is_delete};

    if (!is_delete)
        v.hash = hash64(meta_pool() + v.off, v.len);
    return v;
}

static void writes_add(struct writes *s, struct family *f, int32_t key, struct version v)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->w = model_grow(s->w, s->cap * sizeof *s->w);
    }
    s->w[s->count++] = (struct write){f, key, v};
}

static odb_status commit(struct meta_model *m, const struct writes *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->w[i].family->is_dropped)
            return ODB_NO_FAMILY;
    if (s->count)
        m->seq++;
    for (size_t i = 0; i < s->count; i++) {
        struct version v = s->w[i].v;

        v.seq = m->seq;
        chain_add(&s->w[i].family->chain[s->w[i].key], v);
    }
    return ODB_OK;
}

/* ---- answers ---- */

static void answer_value(struct meta_answer *a, uint32_t off, uint32_t len, uint64_t hash)
{
    answer_hashed(a, odb_bytes(meta_pool() + off, len), hash);
}

static void answer_version(struct meta_answer *a, const struct version *v)
{
    answer_status(a, v ? ODB_OK : ODB_ABSENT);
    if (v)
        answer_value(a, v->off, v->len, v->hash);
}

static void not_there(struct meta_answer *a)
{
    answer_word(a, "none", ANSWER_NOT_THERE);
}

/* ---- transactions ---- */

static struct version *own_write(const struct txn *t, const struct family *f, int32_t key)
{
    for (size_t i = t->writes.count; i > 0; i--)
        if (t->writes.w[i - 1].family == f && t->writes.w[i - 1].key == key)
            return &t->writes.w[i - 1].v;
    return NULL;
}

static void claim_add(struct txn *t, struct claim c)
{
    if (c.low >= c.high)
        return;
    if (t->claim_count == t->claim_cap) {
        t->claim_cap = t->claim_cap ? t->claim_cap * 2 : 16;
        t->claim = model_grow(t->claim, t->claim_cap * sizeof *t->claim);
    }
    t->claim[t->claim_count++] = c;
}

/* Key locks are what pessimistic transactions have. */
static bool is_locked_by_others(struct meta_model *m, const struct txn *t, const struct family *f,
                                int32_t key, bool is_exclusive)
{
    for (size_t i = 0; i < META_TXNS; i++)
        for (size_t k = 0; &m->txn[i] != t && m->txn[i].is_pessimistic && k < m->txn[i].claim_count;
             k++) {
            const struct claim *c = &m->txn[i].claim[k];

            if (c->family == f && c->low <= key && key < c->high &&
                (is_exclusive || c->is_exclusive))
                return true;
        }
    return false;
}

/* Depend on a key; with locks, get it. */
static odb_status claim_key(struct meta_model *m, struct txn *t, struct family *f, int32_t key,
                            bool is_exclusive)
{
    struct claim *have = NULL;

    for (size_t k = 0; k < t->claim_count; k++)
        if (t->claim[k].family == f && t->claim[k].low == key && t->claim[k].high == key + 1 &&
            (t->is_pessimistic || t->claim[k].since == t->since))
            have = &t->claim[k];
    if (have && (!t->is_pessimistic || have->is_exclusive || !is_exclusive))
        return ODB_OK;
    if (t->is_pessimistic) {
        if (is_locked_by_others(m, t, f, key, is_exclusive))
            return ODB_TIMEOUT;
        if (t->is_floating)
            t->since = m->seq; /* whoever had to wait sees what it waited for */
    }
    if (have)
        have->is_exclusive = true;
    else
        claim_add(t, (struct claim){f, key, key + 1, t->since, is_exclusive});
    return ODB_OK;
}

static void txn_end(struct meta_model *m, struct txn *t)
{
    t->is_active = false;
    t->writes.count = t->claim_count = 0;
    t->save_count = 0;
    for (size_t i = 0; i < META_ITERS; i++)
        if (m->iter[i].txn == t)
            m->iter[i].txn = NULL;
}

static void txn_start(struct meta_model *m, struct txn *t)
{
    t->is_active = true;
    t->is_floating = t->is_pessimistic;
    t->since = m->seq;
}

static void txn_gone(struct meta_model *m, struct txn *t)
{
    txn_end(m, t);
    t->is_there = false;
}

static bool was_written(const struct claim *c)
{
    for (int32_t k = c->low; k < c->high; k++) {
        const struct chain *ch = &c->family->chain[k];

        if (ch->count && ch->v[ch->count - 1].seq > c->since)
            return true;
    }
    return false;
}

static void span_end(struct iter *it);

static odb_status txn_commit(struct meta_model *m, struct txn *t)
{
    odb_status st = ODB_OK;

    if (!t->is_active)
        return ODB_INVALID;
    if (t->writes.count || (t->is_pessimistic && t->claim_count)) {
        for (size_t i = 0; i < META_ITERS; i++)
            if (m->iter[i].txn == t)
                span_end(&m->iter[i]);
        for (size_t i = 0; !t->is_pessimistic && i < t->writes.count; i++) {
            const struct write *w = &t->writes.w[i];

            claim_add(t, (struct claim){w->family, w->key, w->key + 1, t->since, true});
        }
        for (size_t i = 0; i < t->claim_count; i++)
            if (was_written(&t->claim[i]))
                st = ODB_CONFLICT;
        if (st == ODB_OK)
            st = commit(m, &t->writes);
    }
    txn_end(m, t);
    return st;
}

/* ---- where a read looks ---- */

struct place {
    uint64_t seq;
    struct txn *txn;
};

/* False: answered already, there is nothing to read there. */
static bool place_of(struct meta_model *m, const struct meta_op *op, struct meta_answer *a,
                     struct place *out)
{
    const struct family *f = m->slot[op->family];
    odb_status st = ODB_OK;

    *out = (struct place){m->seq, NULL};
    if (op->at >= META_AT_TXN) {
        out->txn = &m->txn[op->at - META_AT_TXN];
        out->seq = out->txn->since;
    } else if (op->at > 0)
        out->seq = m->snapshot[op->at - 1];
    if (!f || !(out->txn ? out->txn->is_there : op->at == 0 || out->seq != 0)) {
        not_there(a);
        return false;
    }
    if (out->txn && !out->txn->is_active)
        st = ODB_INVALID;
    else if (f->is_dropped)
        st = ODB_NO_FAMILY;
    if (st == ODB_OK)
        return true;
    answer_status(a, st);
    for (uint32_t i = 0; op->kind == META_multiget && i < op->n; i++)
        answer_status(a, st);
    return false;
}

static odb_status read_key(struct meta_model *m, struct place *p, struct family *f, int32_t key,
                           const struct version **out)
{
    odb_status st;

    if (p->txn) {
        const struct version *own = own_write(p->txn, f, key);

        if (own) {
            *out = own->is_delete ? NULL : own;
            return *out ? ODB_OK : ODB_ABSENT;
        }
        if (p->txn->is_serializable) {
            st = claim_key(m, p->txn, f, key, false);
            if (st != ODB_OK)
                return st;
        } else
            p->txn->is_floating = false;
        p->seq = p->txn->since;
    }
    *out = chain_at(&f->chain[key], p->seq);
    return *out ? ODB_OK : ODB_ABSENT;
}

/* ---- points ---- */

static void model_read(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct family *f = m->slot[op->family];
    const struct version *v = NULL;
    struct place p;
    odb_status st;

    if (!place_of(m, op, a, &p))
        return;
    st = read_key(m, &p, f, op->key, &v);
    answer_status(a, st);
    if (st != ODB_OK || op->kind == META_exists)
        return;
    if (op->kind == META_get)
        answer_value(a, v->off, v->len, v->hash);
    else {
        uint32_t cap = op->n < META_INTO_MAX ? op->n : META_INTO_MAX;

        answer_word(a, "size", v->len);
        answer_bytes(a, odb_bytes(meta_pool() + v->off, v->len < cap ? v->len : cap));
    }
}

static void model_multiget(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct family *f = m->slot[op->family];
    odb_status each[META_MANY_MAX], st = ODB_OK;
    const struct version *v[META_MANY_MAX] = {NULL};
    struct place p;

    if (!place_of(m, op, a, &p))
        return;
    for (uint32_t i = 0; i < op->n; i++) {
        each[i] = read_key(m, &p, f, m->l->many[op->off + i], &v[i]);
        if (st == ODB_OK && each[i] != ODB_OK && each[i] != ODB_ABSENT)
            st = each[i];
    }
    answer_status(a, st);
    for (uint32_t i = 0; i < op->n; i++) {
        answer_status(a, each[i]);
        if (each[i] == ODB_OK)
            answer_value(a, v[i]->off, v[i]->len, v[i]->hash);
    }
}

static odb_status model_write(struct meta_model *m, const struct meta_op *op, bool is_delete)
{
    struct family *f = m->slot[op->family];

    if (f->is_dropped)
        return ODB_NO_FAMILY;
    m->seq++;
    {
        struct version v = version_of(op, is_delete);

        v.seq = m->seq;
        chain_add(&f->chain[op->key], v);
    }
    return ODB_OK;
}

/* ---- iterators ---- */

/* What it shows for a key; NULL: it passes over it. */
static const struct version *iter_sees(const struct iter *it, int32_t key)
{
    if (it->own && it->own[key].family)
        return it->own[key].v.is_delete ? NULL : &it->own[key].v;
    return chain_at(&it->family->chain[key], it->seq);
}

static bool iter_settle(struct iter *it, int32_t key, bool is_forward)
{
    if (it->is_empty)
        return false;
    if (is_forward && key < it->low)
        key = it->low;
    if (!is_forward && key >= it->high)
        key = it->high - 1;
    while (key >= it->low && key < it->high && !iter_sees(it, key))
        key += is_forward ? 1 : -1;
    it->at = key >= it->low && key < it->high ? key : -1;
    /* the span: from where it was put to where it stands, or to the end of the range it ran into */
    if (it->at < 0 && is_forward)
        it->to_high = true;
    if (it->at < 0 && !is_forward)
        it->to_low = true;
    if (it->at >= 0 && (!it->has_to || it->at > it->to)) {
        it->to = it->at;
        it->has_to = true;
    }
    if (it->at >= 0 && (!it->has_from || it->at < it->from)) {
        it->from = it->at;
        it->has_from = true;
    }
    return it->at >= 0;
}

/* What was walked becomes a claim. */
static void span_end(struct iter *it)
{
    if (!it->txn || !it->has_span)
        return;
    claim_add(it->txn, (struct claim){it->family, it->to_low || !it->has_from ? it->low : it->from,
                                      it->to_high || !it->has_to ? it->high : it->to + 1,
                                      it->txn->since, false});
}

static bool iter_put(struct iter *it, enum meta_kind kind, int32_t key)
{
    bool is_forward = kind == META_iter_first || kind == META_iter_seek;

    if (it->is_empty)
        return false;
    span_end(it);
    it->has_span = true;
    it->has_from = it->has_to = it->to_low = it->to_high = false;
    switch (kind) {
    case META_iter_first:
        it->to_low = true;
        key = it->low;
        break;
    case META_iter_last:
        it->to_high = true;
        key = it->high - 1;
        break;
    default: /* also where the key sought lies outside of the range */
        it->from = it->to = key;
        it->has_from = is_forward;
        it->has_to = !is_forward;
    }
    return iter_settle(it, key, is_forward);
}

static bool iter_step(struct iter *it, bool is_forward)
{
    return it->at >= 0 && iter_settle(it, it->at + (is_forward ? 1 : -1), is_forward);
}

static void iter_answer(const struct meta_model *m, const struct iter *it, struct meta_answer *a)
{
    const struct version *v;

    answer_word(a, "valid", it->at >= 0);
    if (it->at < 0)
        return;
    answer_hashed(a, m->l->key[it->at], m->l->key_hash[it->at]);
    v = iter_sees(it, it->at);
    if (!it->keys_only)
        answer_value(a, v->off, v->len, v->hash);
}

static void iter_gone(struct iter *it)
{
    span_end(it);
    free(it->own);
    *it = (struct iter){0};
}

static bool begins_with(odb_slice key, odb_slice prefix)
{
    return key.size >= prefix.size &&
           (prefix.size == 0 || memcmp(key.data, prefix.data, prefix.size) == 0);
}

static void iter_make(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct iter *it = &m->iter[op->slot];
    struct family *f = m->slot[op->family];
    struct place p;

    iter_gone(it);
    if (op->at >= META_AT_TXN && m->txn[op->at - META_AT_TXN].is_pessimistic &&
        m->txn[op->at - META_AT_TXN].is_serializable) { /* range locks are left to other tests */
        not_there(a);
        return;
    }
    if (!place_of(m, op, a, &p))
        return;
    *it = (struct iter){.family = f, .seq = p.seq, .high = m->l->key_count, .at = -1};
    it->keys_only = op->flags & META_KEYS_ONLY;
    it->is_of_txn = p.txn != NULL;
    if (op->lower >= 0)
        it->low = op->lower;
    if (op->upper >= 0)
        it->high = op->upper;
    if (op->prefix >= 0) {
        int32_t end = op->prefix;

        while (end < m->l->key_count && begins_with(m->l->key[end], m->l->key[op->prefix]))
            end++;
        if (it->low < op->prefix)
            it->low = op->prefix;
        if (it->high > end)
            it->high = end;
    }
    it->is_empty = it->low >= it->high;
    if (p.txn && !it->is_empty) {
        if (p.txn->is_pessimistic)
            p.txn->is_floating = false;
        it->own = calloc((size_t)m->l->key_count, sizeof *it->own);
        if (!it->own)
            abort();
        for (size_t i = 0; i < p.txn->writes.count; i++)
            if (p.txn->writes.w[i].family == f)
                it->own[p.txn->writes.w[i].key] = p.txn->writes.w[i];
        if (p.txn->is_serializable)
            it->txn = p.txn;
    }
    answer_status(a, ODB_OK);
}

static void model_iter(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct iter *it = &m->iter[op->slot];

    if (!it->family) {
        not_there(a);
        return;
    }
    switch (op->kind) {
    case META_iter_walk:
    case META_iter_walk_back:
    case META_iter_zigzag:
        for (uint32_t i = 0; i < op->n; i++) {
            bool back = op->kind == META_iter_walk_back ||
                        (op->kind == META_iter_zigzag && op->flags >> i % 8 & 1);

            if (!iter_step(it, !back)) {
                it->at = -1;
                break;
            }
            iter_answer(m, it, a);
        }
        break;
    case META_iter_refresh: {
        uint64_t seq = op->at == 0 ? m->seq : op->at < META_AT_TXN ? m->snapshot[op->at - 1] : 0;

        if (op->at && op->at < META_AT_TXN && !seq) {
            not_there(a);
            return;
        }
        if (op->at >= META_AT_TXN && !m->txn[op->at - META_AT_TXN].is_there) {
            not_there(a);
            return;
        }
        it->at = -1;
        if (op->at >= META_AT_TXN)
            answer_status(a,
                          m->txn[op->at - META_AT_TXN].is_active ? ODB_UNSUPPORTED : ODB_INVALID);
        else if (it->is_of_txn && !it->is_empty)
            answer_status(a, ODB_UNSUPPORTED);
        else if (it->family->is_dropped && !it->is_empty)
            answer_status(a, ODB_NO_FAMILY);
        else {
            it->seq = seq;
            answer_status(a, ODB_OK);
        }
        break;
    }
    default:
        if (!iter_put(it, (enum meta_kind)op->kind, op->key))
            it->at = -1;
    }
    iter_answer(m, it, a);
    answer_status(a, ODB_OK); /* odb_iter_status */
}

/* ---- transactions, as operations ---- */

static odb_status model_txn_write(struct meta_model *m, struct txn *t, const struct meta_op *op)
{
    struct family *f = m->slot[op->family];
    odb_status st = ODB_OK;

    if (!t->is_active)
        return ODB_INVALID;
    if (f->is_dropped)
        return ODB_NO_FAMILY;
    if (t->is_pessimistic)
        st = claim_key(m, t, f, op->key, true);
    if (st == ODB_OK)
        writes_add(&t->writes, f, op->key, version_of(op, op->kind == META_txn_delete));
    return st;
}

static void model_get_for_update(struct meta_model *m, struct txn *t, const struct meta_op *op,
                                 struct meta_answer *a)
{
    struct family *f = m->slot[op->family];
    const struct version *v;
    odb_status st = !t->is_active ? ODB_INVALID : f->is_dropped ? ODB_NO_FAMILY : ODB_OK;

    if (st == ODB_OK)
        st = claim_key(m, t, f, op->key, true);
    if (st != ODB_OK) {
        answer_status(a, st);
        return;
    }
    v = own_write(t, f, op->key);
    if (v)
        answer_version(a, v->is_delete ? NULL : v);
    else
        answer_version(a, chain_at(&f->chain[op->key], t->since));
}

static void model_txn(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct txn *t = &m->txn[op->slot];
    struct family *f = m->slot[op->family];
    odb_status st = ODB_OK;

    if (op->kind == META_txn_begin) {
        struct writes kept = t->writes;
        struct claim *claim = t->claim;
        size_t cap = t->claim_cap;

        txn_gone(m, t);
        kept.count = 0;
        *t = (struct txn){.is_there = true,
                          .writes = kept,
                          .claim = claim,
                          .claim_cap = cap,
                          .is_serializable = op->flags & META_SERIALIZABLE,
                          .is_pessimistic = op->flags & META_PESSIMISTIC};
        txn_start(m, t);
        answer_status(a, ODB_OK);
        return;
    }
    if (!t->is_there || (!f && op->kind <= META_txn_claim)) {
        not_there(a);
        return;
    }
    switch (op->kind) {
    case META_txn_put:
    case META_txn_delete: st = model_txn_write(m, t, op); break;
    case META_txn_get_for_update: model_get_for_update(m, t, op, a); return;
    case META_txn_claim:
        if (t->is_pessimistic) { /* likewise */
            not_there(a);
            return;
        }
        st = !t->is_active ? ODB_INVALID : f->is_dropped ? ODB_NO_FAMILY : ODB_OK;
        if (st == ODB_OK)
            claim_add(t,
                      (struct claim){f, op->lower >= 0 ? op->lower : 0,
                                     op->upper >= 0 ? op->upper : m->l->key_count, t->since, true});
        break;
    case META_txn_save:
        if (t->is_active && t->save_count >= META_SAVES) {
            not_there(a);
            return;
        }
        st = t->is_active ? ODB_OK : ODB_INVALID;
        if (st == ODB_OK) {
            t->save[t->save_count++] = t->writes.count;
            answer_word(a, "savepoint", t->save_count - 1);
        }
        break;
    case META_txn_rollback_to:
    case META_txn_release:
        st = t->is_active && op->n < t->save_count ? ODB_OK : ODB_INVALID;
        if (st == ODB_OK && op->kind == META_txn_rollback_to) {
            t->writes.count = t->save[op->n];
            t->save_count = op->n + 1;
        } else if (st == ODB_OK)
            t->save_count = op->n;
        break;
    case META_txn_commit: st = txn_commit(m, t); break;
    case META_txn_rollback: txn_end(m, t); break;
    case META_txn_reset:
        txn_end(m, t);
        txn_start(m, t);
        break;
    default: txn_gone(m, t);
    }
    answer_status(a, st);
}

/* ---- families and the whole ---- */

static void model_family(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct family *f = m->slot[op->family];
    uint32_t kept = 0;

    if (op->kind == META_cf_create) {
        if (f && !f->is_dropped) {
            answer_status(a, ODB_EXISTS);
            return;
        }
        m->slot[op->family] = family_make(m);
        m->order[m->order_count++] = op->family;
        answer_status(a, ODB_OK);
        return;
    }
    if (!f || op->family == 1) { /* a standard family comes back with the next open: left alone */
        not_there(a);
        return;
    }
    for (size_t i = 0; i < META_TXNS; i++)
        txn_gone(m,
                 &m->txn[i]); /* what becomes of those that wrote to it is not what is asked here */
    answer_status(a, op->family == 0 ? ODB_INVALID : f->is_dropped ? ODB_NO_FAMILY : ODB_OK);
    if (op->family == 0 || f->is_dropped)
        return;
    f->is_dropped = true;
    for (uint32_t i = 0; i < m->order_count; i++)
        if (m->order[i] != op->family)
            m->order[kept++] = m->order[i];
    m->order_count = kept;
}

/* Those of the storage page that are not used here stay; of the rest, in order of creation. */
static void model_list(const struct meta_model *m, struct meta_answer *a)
{
    for (uint32_t i = 0; i < m->order_count; i++)
        answer_bytes(a, odb_s(meta_family_name[m->order[i]]));
}

static void model_scan(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct meta_op made = {.kind = META_iter_new,
                           .family = op->family,
                           .at = op->at,
                           .lower = -1,
                           .upper = -1,
                           .prefix = -1};
    struct iter kept = m->iter[0], *it = &m->iter[0];

    *it = (struct iter){0};
    iter_make(m, &made, a);
    for (int way = 0; way < 2 && it->family; way++) {
        bool ok = iter_put(it, way ? META_iter_last : META_iter_first, 0);

        for (; ok; ok = iter_step(it, !way))
            iter_answer(m, it, a);
        it->at = -1;
    }
    iter_gone(it);
    *it = kept;
}

static void let_go_of_all(struct meta_model *m)
{
    for (size_t i = 0; i < META_ITERS; i++)
        iter_gone(&m->iter[i]);
    for (size_t i = 0; i < META_TXNS; i++)
        txn_gone(m, &m->txn[i]);
    memset(m->snapshot, 0, sizeof m->snapshot);
    m->batch.count = 0;
}

static void model_reopen(struct meta_model *m, struct meta_answer *a)
{
    let_go_of_all(m);
    for (size_t i = 0; i < META_FAMILIES; i++)
        if (m->slot[i] && m->slot[i]->is_dropped)
            m->slot[i] = NULL;
    answer_status(a, ODB_OK);
    model_list(m, a);
    for (uint8_t i = 0; i < META_FAMILIES; i++) {
        struct meta_op scan = {.kind = META_scan, .family = i};

        model_scan(m, &scan, a);
    }
}

static void model_batch(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct family *f = m->slot[op->family];

    if (op->kind == META_batch_commit)
        answer_status(a, commit(m, &m->batch));
    else if (op->kind == META_batch_clear)
        m->batch.count = 0;
    else if (!f)
        not_there(a);
    else {
        answer_status(a, f->is_dropped ? ODB_NO_FAMILY : ODB_OK);
        if (!f->is_dropped)
            writes_add(&m->batch, f, op->key, version_of(op, op->kind == META_batch_delete));
    }
    answer_word(a, "in the batch", m->batch.count);
}

void meta_model_step(struct meta_model *m, const struct meta_op *op, struct meta_answer *a)
{
    struct family *f = m->slot[op->family];

    switch (op->kind) {
    case META_put:
    case META_delete:
        if (f)
            answer_status(a, model_write(m, op, op->kind == META_delete));
        else
            not_there(a);
        break;
    case META_batch_put:
    case META_batch_delete:
    case META_batch_commit:
    case META_batch_clear: model_batch(m, op, a); break;
    case META_get:
    case META_get_into:
    case META_exists: model_read(m, op, a); break;
    case META_multiget: model_multiget(m, op, a); break;
    case META_scan: model_scan(m, op, a); break;
    case META_iter_new: iter_make(m, op, a); break;
    case META_iter_free: iter_gone(&m->iter[op->slot]); break;
    case META_snapshot_new: m->snapshot[op->slot] = m->seq; break;
    case META_snapshot_free: m->snapshot[op->slot] = 0; break;
    case META_cf_create:
    case META_cf_drop: model_family(m, op, a); break;
    case META_cf_list: model_list(m, a); break;
    case META_flush:
    case META_compact:
        if (f)
            answer_status(a, f->is_dropped ? ODB_NO_FAMILY : ODB_OK);
        else
            not_there(a);
        break;
    case META_flush_all:
    case META_sync:
    case META_wait_idle:
    case META_verify: answer_status(a, ODB_OK); break;
    case META_reopen: model_reopen(m, a); break;
    default:
        if (op->kind >= META_txn_begin)
            model_txn(m, op, a);
        else
            model_iter(m, op, a);
    }
}

struct meta_model *meta_model_new(const struct meta_list *l)
{
    struct meta_model *m = calloc(1, sizeof *m);

    if (!m)
        abort();
    m->l = l;
    m->seq = 1;
    for (uint32_t i = 0; i < 2; i++) {
        m->slot[i] = family_make(m);
        m->order[m->order_count++] = i;
    }
    return m;
}

void meta_model_free(struct meta_model *m)
{
    struct family *next;

    let_go_of_all(m);
    for (size_t i = 0; i < META_TXNS; i++) {
        free(m->txn[i].writes.w);
        free(m->txn[i].claim);
    }
    free(m->batch.w);
    for (struct family *f = m->all; f; f = next) {
        next = f->next;
        for (int32_t i = 0; i < m->l->key_count; i++)
            free(f->chain[i].v);
        free(f->chain);
        free(f);
    }
    free(m);
}
