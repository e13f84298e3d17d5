/* api/txn_set.h -- what a transaction remembers of keys: in the order it came, and by key. */
#ifndef ODB_API_TXN_SET_H
#define ODB_API_TXN_SET_H

#include "base/buf.h"

#define TXN_NONE UINT32_MAX

/* Offsets, because the bytes move as they grow. */
struct txn_entry {
    uint32_t family;
    uint32_t older; /* the entry of the same key that this one stands in for; TXN_NONE */
    size_t key_off, key_len;
    size_t value_off, value_len; /* of a range: its upper bound */
    uint64_t since;              /* claims: no write after this */
    bool is_delete;
    bool has_upper;    /* ranges */
    bool is_exclusive; /* claims: the lock that is held */
};

struct txn_chunk;

/* Zero-initialise, and give it the bytes its entries point into. */
struct txn_set {
    const struct buf *bytes;
    struct txn_entry *entry; /* in the order they came */
    uint32_t count, cap;
    uint32_t keys; /* in the order by key: one entry for each */
    struct txn_chunk **chunk;
    uint32_t chunk_count, chunk_made, chunk_cap;
};

/* A place in the order by key. */
struct txn_place {
    uint32_t chunk, at;
};

/* Forget all, keep the memory; give it back. */
void txn_set_clear(struct txn_set *s);
void txn_set_release(struct txn_set *s);
/* Room for one more entry. ODB_NOMEM, also for more of them than numbers reach. */
ODB_MUST_CHECK odb_status txn_set_room(struct txn_set *s);
/* The first key at or behind (family, key); true when it is that. */
bool txn_set_find(const struct txn_set *s, uint32_t family, odb_slice key, struct txn_place *out);
/* There is room. The entry's key lies in `bytes`; `at` is where txn_set_find found it, or its place.
 * One that is there already stays, as `older`, with the entries that came before. */
void txn_set_add(struct txn_set *s, struct txn_place at, bool is_there, struct txn_entry e);
/* Take back the entries from number `count` on, the newest first. */
void txn_set_undo(struct txn_set *s, uint32_t count);

/* NULL behind the last. */
struct txn_entry *txn_set_at(const struct txn_set *s, struct txn_place at);
struct txn_place txn_set_next(const struct txn_set *s, struct txn_place at);
struct txn_place txn_set_prev(const struct txn_set *s,
                              struct txn_place at); /* not before the first */
static inline struct txn_place txn_set_first(void)
{
    return (struct txn_place){0, 0};
}

static inline odb_slice txn_entry_key(const struct txn_set *s, const struct txn_entry *e)
{
    return odb_bytes(s->bytes->p + e->key_off, e->key_len);
}
static inline odb_slice txn_entry_value(const struct txn_set *s, const struct txn_entry *e)
{
    return odb_bytes(s->bytes->p + e->value_off, e->value_len);
}

#endif
