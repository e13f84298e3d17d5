/* base/epoch.h -- reading shared things without counting references.
 *
 * A reader enters before it loads a shared pointer and leaves when it no longer uses what it
 * found. Whoever unlinks an object retires it; it is freed once every reader that could have seen
 * it has left (epoch-based reclamation, Fraser 2004). No thread registers and none needs a
 * destructor: readers count themselves in one of a few striped counters.
 *
 *   global epoch e:   readers may be counted in e and e-1, nowhere else
 *   e -> e+1:         only while no reader is counted in e-1
 *   collected at r:   freed when the epoch has reached r + 2
 *
 * An item's epoch is the one in which the collector takes it off the stack, not the one in which it
 * was retired: the push and the take order the unlinking before everything that follows in r + 1,
 * whatever kind of store did it, so a reader counted there cannot find the item any more.
 *
 * 1. A reader inside never blocks a writer; it only delays frees.
 * 2. Enter and leave nest: each pair is counted on its own.
 * 3. Waiting for a lock or a disk inside an epoch is allowed; it only makes memory wait too.
 */
#ifndef ODB_BASE_EPOCH_H
#define ODB_BASE_EPOCH_H

#include <stdatomic.h>

#include "base/status.h"

#ifdef ODB_SCHED
#define EPOCH_STRIPES 4 /* what is looked through in every order had better be short */
#else
#define EPOCH_STRIPES 32
#endif

/* Padded to a cache line of its own (no _Alignas: these live in ordinary heap blocks). */
struct epoch_stripe {
    atomic_size_t inside[4]; /* readers by epoch modulo 4 */
    char pad[64 - 4 * sizeof(atomic_size_t)];
};

/* Embedded in what is retired; `free` is called with it, once, by whichever thread collects. */
struct epoch_item {
    struct epoch_item *next;
    void (*free)(struct epoch_item *item);
};

struct epoch {
    _Atomic uint64_t now;
    char pad[64 - sizeof(_Atomic uint64_t)]; /* readers load `now` all the time */
    _Atomic(struct epoch_item *) retired;    /* a stack; any thread pushes */
    atomic_size_t waiting;                   /* items not yet freed; relaxed */
    atomic_flag collecting;                  /* one collector at a time; others pass by */
    struct epoch_item *held[4];              /* collected, by epoch modulo 4; the collector's */
    struct epoch_stripe stripe[EPOCH_STRIPES];
};

/* What epoch_leave needs to know; lives on the reader's stack. */
struct epoch_guard {
    atomic_size_t *counter;
};

void epoch_init(struct epoch *e);
/* Free all that is retired. No reader may be inside any more. */
void epoch_release(struct epoch *e);

static inline struct epoch_guard epoch_enter(struct epoch *e)
{
    struct epoch_stripe *s = &e->stripe[thread_stripe() % EPOCH_STRIPES];

    for (;;) {
        uint64_t now = atomic_load(&e->now);
        atomic_size_t *counter = &s->inside[now & 3];

        atomic_fetch_add(counter, 1);
        if (ODB_LIKELY(atomic_load(&e->now) == now)) /* counted while `now` still was now */
            return (struct epoch_guard){counter};
        atomic_fetch_sub(counter, 1);
    }
}

static inline void epoch_leave(struct epoch_guard g)
{
    atomic_fetch_sub_explicit(g.counter, 1, memory_order_release);
}

/* Free `item` when nobody can see it any more. It must already be unlinked. Any thread, inside an
 * epoch or not; now and then collects. */
void epoch_retire(struct epoch *e, struct epoch_item *item, void (*free_fn)(struct epoch_item *));
/* Move on if readers allow it and free what is old enough. Returns how many were freed. */
size_t epoch_collect(struct epoch *e);

#endif
