/* cf/claims.h -- a set of keys and ranges, made to be asked: does this write touch it? */
#ifndef ODB_CF_CLAIMS_H
#define ODB_CF_CLAIMS_H

#include "base/hash.h"
#include "base/odb_guard.h"

#define CLAIMS_FEW 64 /* places without an allocation: half as many keys */

/* Keys by hash, in open addressing: two keys of one hash are taken for one, which can refuse a
 * commit without need but never let one pass. Ranges by binary search. */
struct claims {
    uint64_t *hash;  /* 0: empty */
    uint64_t *since; /* of the same place */
    size_t mask;
    const odb_claim *range; /* disjoint and rising */
    size_t range_count;
    uint64_t oldest; /* the smallest `since` of all */
    uint64_t few_hash[CLAIMS_FEW];
    uint64_t few_since[CLAIMS_FEW];
};

/* The hash of a key in a family; never 0. */
static inline uint64_t claims_hash(uint32_t family, odb_slice key)
{
    return hash_mix(hash64(key.data, key.size), family) | 1;
}

/* An empty set with room for `keys`; ranges may be set afterwards. ODB_NOMEM. */
ODB_MUST_CHECK odb_status claims_init(struct claims *c, size_t keys);
void claims_release(struct claims *c);
void claims_add(struct claims *c, uint64_t hash, uint64_t since);
/* `claim` must stay where it is while the set does. There was room made for its keys. */
void claims_add_all(struct claims *c, const odb_claim *claim, size_t count);

/* Is a key of that hash claimed, and kept only by writes up to a number below `seq`? */
static inline bool claims_has_key(const struct claims *c, uint64_t hash, uint64_t seq)
{
    for (size_t i = (size_t)hash >> 1 & c->mask; c->hash[i]; i = (i + 1) & c->mask)
        if (c->hash[i] == hash)
            return seq > c->since[i];
    return false;
}

/* The same for ranges. `is_cut`: only the first bytes of the key are known. */
bool claims_has_in_range(const struct claims *c, uint32_t family, odb_slice key, bool is_cut,
                         uint64_t seq);

#endif
