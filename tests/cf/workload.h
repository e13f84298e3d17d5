/* tests/cf/workload.h -- a small life of a database whose outcome can be told from what is left of it.
 *
 * Transaction t writes its number under the key COUNTER of every family it touches, always the first
 * one, and a few other keys (the trick of a counter inside the database). So whatever an open finds,
 * it says itself which prefix of the transactions it claims to be; the model then knows every key and
 * value of every family at that point.
 *
 * One seed gives one history: no background threads, jobs run in the caller.
 *
 * Something may stand above the set (`upper`): then its transactions take the place of plain commits
 * (tests/reliability/txns.c).
 */
#ifndef TEST_CF_WORKLOAD_H
#define TEST_CF_WORKLOAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cf/cf.h"
#include "os/sim.h"
#include "tests/lib/test_alloc.h"

#define DB       "/db"
#define FAMILIES 6 /* slots: default, a, b, then those created on the way */
#define KEYS     24
#define COUNTER  0
#define TXNS_MAX 400
#define PREPARED 3 /* transactions at once */

struct state {
    uint16_t wrote[FAMILIES][KEYS]; /* the transaction whose value is there, 0: none */
    uint16_t prepared[PREPARED];    /* transactions that are prepared, 0: none; with `upper` only */
};

/* What is known about the disk at some moment. */
struct promise {
    uint32_t started;    /* transactions begun */
    uint32_t acked;      /* answered, at any level */
    uint32_t durable;    /* answered, and durable by a FULL commit, sync or flush */
    bool may[FAMILIES];  /* may exist */
    bool must[FAMILIES]; /* must exist */
    uint32_t
        born[FAMILIES]; /* what transactions up to this one wrote went with an earlier family of
                                that name */
    bool opened;        /* the database was once open */
};

struct workload;
struct odb_db;
struct odb_txn;

/* What stands above the set. */
struct workload_upper {
    odb_status (*open)(struct cf_set *s, struct odb_db **out); /* takes the set over on ODB_OK */
    odb_status (*close)(struct odb_db *db);                    /* and the set */
    odb_status (*txn)(struct workload *w);                     /* in the place of a commit */
    void (*let_go)(struct odb_txn *handle);                    /* NULL is fine */
    odb_status (*drop)(struct workload *w, uint32_t f);        /* the family */
    /* `*k` is the last transaction that left its number in the counter: which of those behind it are
     * there, too? And does `s` hold what is prepared then? */
    bool (*prefix)(struct cf_set *s, const struct workload *w, uint32_t *k, char *why);
};

struct workload {
    struct os *os;
    uint64_t chance;
    uint32_t txns; /* to run */
    struct cf_set *s;
    struct cf *cf[FAMILIES];
    struct state at[TXNS_MAX + 1]; /* after each transaction */
    struct promise p;
    odb_status st; /* what stopped it */
    struct cf_snapshot *snap;
    uint32_t snap_at;
    bool may_fail; /* calls are made to fail: go on after a refusal */
    uint32_t refused;
    bool unknown;
    uint32_t variant;                   /* of the options: some bits of the seed */
    void (*on_ack)(struct workload *w); /* p.durable has reached p.acked, or the manifest has moved;
                                           called outside the engine; may be NULL */
    const struct workload_upper *upper; /* NULL: none */
    struct odb_db *db;                  /* over `s` */
    struct odb_txn *handle[PREPARED];   /* of what is prepared, in the same place; NULL: none now */
};

static const char *const family_name[FAMILIES] = {"default", "a", "b", "c", "d", "e"};

static inline uint32_t draw(struct workload *w, uint32_t below)
{
    w->chance ^= w->chance << 13;
    w->chance ^= w->chance >> 7;
    w->chance ^= w->chance << 17;
    return (uint32_t)((w->chance >> 20) % below);
}

static inline size_t key_text(uint32_t key, char *out)
{
    return (size_t)sprintf(out, "key%02u", key);
}

static inline size_t value_text(uint32_t t, uint32_t family, uint32_t key, char *out)
{
    size_t n = (size_t)sprintf(out, "%u %u %u ", t, family, key);
    size_t fill = key == COUNTER ? 0 : (t * 37 + key * 11) % 90;

    memset(out + n, 'a' + (char)(t % 26), fill);
    return n + fill;
}

static inline struct cf_set_options workload_options(struct os *os)
{
    static const char *const first[] = {"a", "b"};
    struct cf_set_options o = {
        .os = os,
        .create = true,
        .durability = CF_OS,
        .ring_size = 1 << 16,
        .log_segment_size = 2000,
        .log_limit = 6000,
        .manifest_limit = 1500,
        .cache_bytes = 1 << 16,
        .open_tables = 8,
        .families = first,
        .family_count = 2,
        .family = {.write_buffer = 2000,
                   .max_buffers = 2,
                   .target_file_size = 1500,
                   .l0_trigger = 2,
                   .level_base = 3000,
                   .multiplier = 2,
                   .block_size = 256,
                   .codec = CODEC_RAW,
                   .bits_per_key = 10,
                   .split = 1,
                   .auto_compact = true},
    };

    return o;
}

/* The same, as `variant` has it. */
static inline struct cf_set_options workload_variant(struct os *os, uint32_t variant)
{
    struct cf_set_options o = workload_options(os);

    if (variant & 1)
        o.family.codec = CODEC_LZ4;
    if (variant & 2)
        o.ring_size = 1 << 12;
    if (variant & 4)
        o.family.write_buffer = 5000;
    if (variant & 8)
        o.log_segment_size = 6000;
    if (variant & 16)
        o.family.l0_trigger = 4;
    if (variant & 32)
        sim_set_ring_supported(os, false);
    return o;
}

static inline odb_status workload_find(struct cf_set *s, struct cf *out[FAMILIES])
{
    for (int f = 0; f < FAMILIES; f++) {
        out[f] = NULL;
        if (cf_find(s, family_name[f], &out[f]) != ODB_OK)
            out[f] = NULL;
    }
    return out[0] ? ODB_OK : ODB_NO_FAMILY;
}

static inline odb_status workload_open(struct workload *w)
{
    struct cf_set_options o = workload_variant(w->os, w->variant);
    odb_status st = cf_open(DB, &o, &w->s);

    if (st != ODB_OK)
        return st;
    if (!w->p.opened)
        for (int f = 0; f < 3; f++)
            w->p.may[f] = w->p.must[f] = true;
    w->p.opened = true;
    st = w->upper ? w->upper->open(w->s, &w->db) : ODB_OK;
    return st == ODB_OK ? workload_find(w->s, w->cf) : st;
}

static inline odb_status workload_close(struct workload *w)
{
    struct cf_set *s = w->s;
    struct odb_db *db = w->db;

    w->s = NULL;
    w->db = NULL;
    for (int i = 0; i < PREPARED && db; i++) {
        w->upper->let_go(w->handle[i]);
        w->handle[i] = NULL;
    }
    return db ? w->upper->close(db) : cf_close(s);
}

/* Transaction `t`: what it does to the model, and to the batch. */
static inline odb_status workload_build(struct workload *w, uint32_t t, struct batch *b,
                                        struct state *next)
{
    odb_status st = ODB_OK;
    uint32_t families = 1 + draw(w, 3);
    bool touched[FAMILIES] = {true};

    for (uint32_t i = 0; i < families; i++)
        touched[draw(w, FAMILIES)] = true;
    for (uint32_t f = 0; f < FAMILIES; f++) {
        uint32_t ops = draw(w, 4);
        char k[16], v[128];

        if (!touched[f] || !w->cf[f])
            continue;
        for (uint32_t i = 0; i <= ops; i++) {
            uint32_t key = i == 0 ? COUNTER : 1 + draw(w, KEYS - 1);
            odb_slice ks = odb_bytes(k, key_text(key, k));

            if (st != ODB_OK)
                return st;
            if (key != COUNTER && draw(w, 4) == 0) {
                st = batch_delete(b, cf_id(w->cf[f]), ks);
                next->wrote[f][key] = 0;
            } else {
                st = batch_put(b, cf_id(w->cf[f]), ks, odb_bytes(v, value_text(t, f, key, v)));
                next->wrote[f][key] = (uint16_t)t;
            }
        }
    }
    return st;
}

/* What became of transaction `t`. */
static inline void workload_answered(struct workload *w, uint32_t t, odb_status st, bool is_full)
{
    if (st == ODB_OK) {
        w->p.acked = t;
        if (is_full) {
            w->p.durable = t;
            if (w->on_ack)
                w->on_ack(w);
        }
    } else if (w->may_fail && st != ODB_UNKNOWN) {
        w->p.started = t - 1; /* certainly not there: the number is used again */
        w->refused++;
    } else {
        w->unknown = true;
    }
}

static inline odb_status workload_txn(struct workload *w)
{
    struct cf_write how = {.durability = draw(w, 5) == 0 ? CF_FULL : CF_OS};
    uint32_t t = w->p.started + 1;
    struct state next = w->at[t - 1];
    struct batch b = {0};
    odb_status st;

    if (draw(w, 4) == 0) { /* a single put of the counter is a transaction, too */
        char k[16], v[128];

        next.wrote[0][COUNTER] = (uint16_t)t;
        w->at[t] = next;
        w->p.started = t;
        st = cf_put(w->s, w->cf[0], odb_bytes(k, key_text(COUNTER, k)),
                    odb_bytes(v, value_text(t, 0, COUNTER, v)), &how);
    } else {
        st = workload_build(w, t, &b, &next);
        w->at[t] = next;
        w->p.started = t;
        if (st == ODB_OK)
            st = cf_commit(w->s, &b, &how);
        batch_release(&b);
    }
    if (sim_is_dead(w->os))
        return ODB_IO; /* a store into the ring of a dead process cannot say that it failed */
    workload_answered(w, t, st, how.durability == CF_FULL);
    return st;
}

static inline odb_status workload_family(struct workload *w)
{
    uint32_t f = 3 + draw(w, FAMILIES - 3);
    odb_status st;

    if (!w->cf[f]) {
        w->p.may[f] = true;
        w->p.born[f] = w->p.started;
        st = cf_create(w->s, family_name[f], NULL, &w->cf[f]);
        if (st == ODB_OK)
            w->p.must[f] = true;
        if (st == ODB_OK && w->on_ack && w->p.durable == w->p.acked)
            w->on_ack(w);
        return st;
    }
    w->p.must[f] = false;
    st = w->upper ? w->upper->drop(w, f) : cf_drop(w->s, w->cf[f]);
    if (st == ODB_OK) {
        w->p.may[f] = false;
        w->cf[f] = NULL;
    }
    return st;
}

static inline void workload_durable(struct workload *w, odb_status st)
{
    if (st != ODB_OK)
        return;
    w->p.durable = w->p.acked;
    if (w->on_ack)
        w->on_ack(w);
}

static inline odb_status workload_step(struct workload *w)
{
    odb_status st = ODB_OK;

    switch (draw(w, 40)) {
    case 0:
        st = cf_flush(w->s, NULL);
        workload_durable(w, st);
        return st;
    case 1: return cf_flush(w->s, w->cf[1]);
    case 2:
        st = cf_sync(w->s);
        workload_durable(w, st);
        return st;
    case 3:
    case 4: return workload_family(w);
    case 5:
    case 6:
    case 7:
        for (int i = 0; i < 3; i++)
            (void)cf_work(w->s);
        return ODB_OK;
    case 8:
        if (w->snap) {
            cf_snapshot_free(w->s, w->snap);
            w->snap = NULL;
            return ODB_OK;
        }
        w->snap_at = w->p.started;
        return cf_snapshot_new(w->s, &w->snap);
    case 9: /* close and open */
        if (draw(w, 3) > 0)
            return ODB_OK;
        if (w->snap)
            cf_snapshot_free(w->s, w->snap);
        w->snap = NULL;
        st = workload_close(w);
        workload_durable(w, st);
        return st == ODB_OK ? workload_open(w) : st;
    default: return w->upper ? w->upper->txn(w) : workload_txn(w);
    }
}

static inline void workload_begin(struct workload *w, struct os *os, uint64_t seed, uint32_t txns)
{
    memset(w, 0, sizeof *w);
    w->os = os;
    w->chance = seed * 0x9e3779b97f4a7c15u + 1;
    w->txns = txns;
    for (int f = 0; f < 3; f++)
        w->p.may[f] = true; /* from the first moment of a creation on */
}

/* Until it is through or something fails. */
static inline void workload_run(struct workload *w)
{
    w->st = workload_open(w);
    while (w->st == ODB_OK && w->p.started < w->txns)
        w->st = workload_step(w);
    if (w->st == ODB_OK) {
        if (w->snap)
            cf_snapshot_free(w->s, w->snap);
        w->snap = NULL;
        w->st = workload_close(w);
        workload_durable(w, w->st);
    }
}

static inline void workload_end(struct workload *w)
{
    if (w->s && w->snap)
        cf_snapshot_free(w->s, w->snap);
    if (w->s)
        err_ignore(workload_close(w));
    w->snap = NULL;
}

/* ---- judging ---- */

/* The prefix that the database claims to be. */
static inline bool claimed_prefix(struct cf_set *s, struct cf *def, uint32_t *out, char *why)
{
    char k[16], v[128];
    size_t n = 0;
    odb_status st =
        cf_get_into(s, def, NULL, odb_bytes(k, key_text(COUNTER, k)), v, sizeof v - 1, &n);

    *out = 0;
    if (st == ODB_ABSENT)
        return true;
    if (st != ODB_OK) {
        (void)sprintf(why, "the counter: %s: %.150s", odb_status_name(st), odb_error_text());
        return false;
    }
    v[n] = '\0';
    *out = (uint32_t)strtoul(v, NULL, 10);
    return true;
}

/* Whether family `f` holds exactly what the model says. */
static inline bool family_matches(struct cf_set *s, struct cf *cf, const struct cf_snapshot *snap,
                                  const struct state *at, uint32_t born, uint32_t f, char *why)
{
    uint16_t wrote[KEYS];
    struct lsm_iter *it = NULL;
    uint32_t key = 0;
    char k[16], v[128];
    odb_status st = cf_iter_new(s, cf, snap, NULL, &it);
    bool ok = st == ODB_OK;

    for (uint32_t i = 0; i < KEYS; i++)
        wrote[i] = at->wrote[f][i] > born ? at->wrote[f][i] : 0;
    for (bool on = ok && lsm_iter_first(it); on && ok; on = lsm_iter_next(it)) {
        odb_slice ks = lsm_iter_key(it), vs = lsm_iter_value(it);

        while (key < KEYS && !wrote[key])
            key++;
        if (key == KEYS || !odb_slice_equal(ks, odb_bytes(k, key_text(key, k))) ||
            !odb_slice_equal(vs, odb_bytes(v, value_text(wrote[key], f, key, v)))) {
            (void)sprintf(why, "family %s: found %.*s = %.20s, expected key %u of txn %u",
                          family_name[f], (int)ks.size, (const char *)ks.data,
                          vs.size ? (const char *)vs.data : "", key, key < KEYS ? wrote[key] : 0);
            ok = false;
        }
        key++;
    }
    if (ok) {
        st = lsm_iter_status(it);
        while (key < KEYS && !wrote[key])
            key++;
    }
    if (ok && (st != ODB_OK || key < KEYS)) {
        (void)sprintf(why, "family %s ends before key %u: %s", family_name[f], key,
                      odb_status_name(st));
        ok = false;
    } else if (!ok && st != ODB_OK) {
        (void)sprintf(why, "iterator: %s: %.150s", odb_status_name(st), odb_error_text());
    }
    if (it)
        lsm_iter_free(it);
    return ok;
}

/* The open set `s` against the promise; *k is the prefix found. */
static inline bool set_matches(struct cf_set *s, const struct workload *w, const struct promise *p,
                               uint32_t least, uint32_t *k, char *why)
{
    struct cf *cf[FAMILIES];

    if (workload_find(s, cf) != ODB_OK) {
        (void)sprintf(why, "no default family");
        return false;
    }
    if (!claimed_prefix(s, cf[0], k, why) || (w->upper && !w->upper->prefix(s, w, k, why)))
        return false;
    if (*k < least || *k > p->started) {
        (void)sprintf(why, "prefix of %u transactions; %u to %u were promised", *k, least,
                      p->started);
        return false;
    }
    for (uint32_t f = 0; f < FAMILIES; f++) {
        if ((cf[f] && !p->may[f]) || (!cf[f] && p->must[f])) {
            (void)sprintf(why, "family %s %s", family_name[f], cf[f] ? "came back" : "is gone");
            return false;
        }
        if (cf[f] && !family_matches(s, cf[f], NULL, &w->at[*k], p->born[f], f, why))
            return false;
    }
    return true;
}

#endif
