/* base/odb_guard.h -- what a commit may insist on: that nobody wrote where a transaction has looked.
 *
 * Spoken between the transactions of api/ and the backends below; programs that only use
 * transactions need nothing of it.
 */
#ifndef ODB_GUARD_H
#define ODB_GUARD_H

#include "base/odb_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A key, or all keys from `lower` on and below `upper` (data NULL: to the last). It is kept while no
 * write to it has a number above `since`; a delete is a write, whether the key was there or not. */
typedef struct odb_claim {
    uint32_t family; /* odb_cf_id() */
    bool is_range;   /* false: the one key `lower` */
    odb_slice lower;
    odb_slice upper;
    uint64_t since;
} odb_claim;

#define ODB_SINCE_EVER UINT64_MAX

typedef struct odb_guard {
    const odb_claim
        *claim; /* keys in any order, then ranges: disjoint, by rising family and lower */
    size_t claim_count;
    uint64_t
        since; /* the same for every key the batch writes; ODB_SINCE_EVER: they are not checked */
    /* Not 0: from this commit on, refuse (ODB_CONFLICT) whoever else writes what is claimed here,
     * until a commit that releases the same number. */
    uint64_t hold;
    uint64_t release; /* 0: none. This commit may write what that hold claims, and ends it. */
} odb_guard;

#ifdef __cplusplus
}
#endif
#endif
