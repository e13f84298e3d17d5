/* tests/memtable/keys.h -- kinds of keys that are hard on prefixes, and a memtable filled beside its
 * plain twin. */
#ifndef TEST_MEMTABLE_KEYS_H
#define TEST_MEMTABLE_KEYS_H

#include "memtable/memtable.h"
#include "memtable/plain.h"
#include "tests/base/random.h"

#define KEYS_LEN_MAX 128

enum keys_kind {
    KEYS_RANDOM,     /* 16 bytes, any */
    KEYS_DECIMAL,    /* user000000001234 */
    KEYS_ASCENDING,  /* the same, in order */
    KEYS_DESCENDING, /* and backward */
    KEYS_LONG,       /* 40 bytes in common, then two that differ */
    KEYS_ZEROS,      /* up to 20 bytes of 0 and 1: ties of padded prefixes, keys in front of keys */
    KEYS_NESTED,     /* prefixes of one long key */
    KEYS_FEW,        /* seven keys with ever more versions, the empty one among them */
    KEYS_STREAMS,    /* twenty interleaved sequences */
    KEYS_KIND_COUNT,
};

/* The i-th key of a kind; returns its length. */
static inline size_t keys_make(enum keys_kind kind, struct rnd *r, uint32_t i, uint8_t *key)
{
    size_t len = 16;

    switch (kind) {
    case KEYS_RANDOM:
        enc_u64(key, rnd_next(r));
        enc_u64(key + 8, rnd_next(r));
        break;
    case KEYS_DECIMAL:
    case KEYS_ASCENDING:
    case KEYS_DESCENDING:
    case KEYS_STREAMS: {
        char text[32];
        uint32_t n = kind == KEYS_DECIMAL      ? rnd_below(r, 100000)
                     : kind == KEYS_ASCENDING  ? i / 2
                     : kind == KEYS_DESCENDING ? 1000000 - i / 2
                                               : rnd_below(r, 20) * 100000 + i;

        (void)snprintf(text, sizeof text, "user%012lu", (unsigned long)n);
        memcpy(key, text, len);
        break;
    }
    case KEYS_LONG:
        len = 42;
        memset(key, 'p', 40);
        key[40] = (uint8_t)rnd_below(r, 256);
        key[41] = (uint8_t)rnd_below(r, 64);
        break;
    case KEYS_ZEROS:
        len = rnd_below(r, 21);
        memset(key, 0, len);
        for (uint32_t ones = rnd_below(r, 3); ones > 0 && len > 0; ones--)
            key[rnd_below(r, (uint32_t)len)] = (uint8_t)(rnd_below(r, 4) ? 1 : 0xff);
        break;
    case KEYS_NESTED:
        len = rnd_below(r, KEYS_LEN_MAX);
        memset(key, 0xff, len);
        break;
    case KEYS_FEW:
    case KEYS_KIND_COUNT:
        len = rnd_below(r, 7);
        memset(key, 'k', len);
        break;
    }
    return len;
}

/* One put, as the engine does it. False: no memory. */
static inline bool keys_put(struct memtable *m, odb_slice key, odb_slice value, uint64_t trailer)
{
    struct memtable_room room;

    if (memtable_reserve(m, memtable_entry_bytes(key.size, value.size), 1, &room) != ODB_OK)
        return false;
    memtable_insert(m, &room, memtable_prepare(&room, key, value), trailer);
    memtable_return(m, &room);
    return true;
}

/* Put entry `seq` into both; about one in eight is a delete. */
static inline bool keys_put_both(struct memtable *m, struct plain *l, enum keys_kind kind,
                                 struct rnd *r, uint32_t seq)
{
    uint8_t key[KEYS_LEN_MAX], value[300];
    odb_slice k = odb_bytes(key, keys_make(kind, r, seq, key));
    bool is_delete = rnd_below(r, 8) == 0;
    odb_slice v = odb_bytes(value, is_delete ? 0 : rnd_below(r, 32) ? rnd_below(r, 20) : 300);
    uint64_t trailer = trailer_make(seq, is_delete ? KIND_DELETE : KIND_PUT);

    memset(value, (int)seq, v.size);
    return keys_put(m, k, v, trailer) && plain_insert(l, k, v, trailer) == ODB_OK;
}

static inline bool keys_same_entry(const struct entry *a, const struct entry *b)
{
    return a->key_len == b->key_len && a->value_len == b->value_len && a->trailer == b->trailer &&
           memcmp(a->key, b->key, a->key_len) == 0 && memcmp(a->value, b->value, a->value_len) == 0;
}

#endif
