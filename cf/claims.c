/* cf/claims.c -- see the header.
 *
 * Threads: one fills a set; any number may ask a full one.
 */
#include "cf/claims.h"

#include "base/alloc.h"
#include "base/status.h"

odb_status claims_init(struct claims *c, size_t keys)
{
    size_t places = CLAIMS_FEW;

    c->hash = c->few_hash;
    c->since = c->few_since;
    c->range = NULL;
    c->range_count = 0;
    c->oldest = UINT64_MAX;
    while (places / 2 < keys)
        places *= 2;
    if (places > CLAIMS_FEW) {
        c->hash = mem_array(places, 2 * sizeof *c->hash);
        if (!c->hash)
            return err_set(ODB_NOMEM, "out of memory for the keys of a transaction");
        c->since = c->hash + places;
    }
    memset(c->hash, 0, places * sizeof *c->hash);
    c->mask = places - 1;
    return ODB_OK;
}

void claims_release(struct claims *c)
{
    if (c->hash != c->few_hash)
        mem_free(c->hash);
    c->hash = c->few_hash;
}

void claims_add(struct claims *c, uint64_t hash, uint64_t since)
{
    size_t i = (size_t)hash >> 1 & c->mask;

    while (c->hash[i] && c->hash[i] != hash)
        i = (i + 1) & c->mask;
    if (!c->hash[i] || since < c->since[i])
        c->since[i] = since;
    c->hash[i] = hash;
    if (since < c->oldest)
        c->oldest = since;
}

void claims_add_all(struct claims *c, const odb_claim *claim, size_t count)
{
    size_t i = 0;

    for (; i < count && !claim[i].is_range; i++)
        claims_add(c, claims_hash(claim[i].family, claim[i].lower), claim[i].since);
    c->range = count ? claim + i : NULL;
    c->range_count = count - i;
    for (; i < count; i++)
        if (claim[i].since < c->oldest)
            c->oldest = claim[i].since;
}

/* Whether everything the key can be lies below the claim's lower bound. */
static bool lies_below(odb_slice key, bool is_cut, const odb_claim *claim)
{
    odb_slice lower = claim->lower;

    if (is_cut && lower.size > key.size)
        lower.size = key.size; /* it may go on like the bound, and beyond it */
    return odb_slice_compare(key, lower) < 0;
}

bool claims_has_in_range(const struct claims *c, uint32_t family, odb_slice key, bool is_cut,
                         uint64_t seq)
{
    size_t low = 0, high = c->range_count;

    while (low < high) { /* behind the last claim that begins at or below the key */
        size_t mid = low + (high - low) / 2;
        const odb_claim *r = &c->range[mid];

        if (r->family < family || (r->family == family && !lies_below(key, is_cut, r)))
            low = mid + 1;
        else
            high = mid;
    }
    for (; low > 0 && c->range[low - 1].family == family; low--) {
        const odb_claim *r = &c->range[low - 1];

        if (r->upper.data && odb_slice_compare(key, r->upper) >= 0)
            return false;
        if (seq > r->since)
            return true;
        if (!is_cut)
            return false; /* they are disjoint: no other holds it */
    }
    return false;
}
