#include "base/epoch.h"

#include "base/canary.h"

#define COLLECT_EVERY 32 /* retired items between two tries to free some */

ODB_COLD void epoch_init(struct epoch *e)
{
    memset((void *)e, 0, sizeof *e);
    atomic_init(&e->now, 2);
    atomic_flag_clear(&e->collecting);
}

static void free_list(struct epoch *e, struct epoch_item *list)
{
    while (list) {
        struct epoch_item *next = list->next;

        atomic_fetch_sub_explicit(&e->waiting, 1, memory_order_relaxed);
        list->free(list);
        list = next;
    }
}

ODB_COLD void epoch_release(struct epoch *e)
{
    bool again = true;

    while (again) { /* freeing a thing may retire what it held */
        struct epoch_item *list = atomic_exchange(&e->retired, NULL);

        again = list != NULL;
        free_list(e, list);
        for (int i = 0; i < 4; i++) {
            list = e->held[i];
            e->held[i] = NULL;
            again |= list != NULL;
            free_list(e, list);
        }
    }
}

void epoch_retire(struct epoch *e, struct epoch_item *item, void (*free_fn)(struct epoch_item *))
{
    struct epoch_item *head = atomic_load(&e->retired);

    item->free = free_fn;
    do
        item->next = head;
    while (!atomic_compare_exchange_weak(&e->retired, &head, item));
    if (atomic_fetch_add_explicit(&e->waiting, 1, memory_order_relaxed) % COLLECT_EVERY ==
        COLLECT_EVERY - 1)
        (void)epoch_collect(e);
}

/* Whether no reader is counted under `phase` (an epoch modulo 4). */
static bool phase_is_empty(struct epoch *e, uint64_t phase)
{
    for (size_t i = 0; i < EPOCH_STRIPES; i++)
        if (atomic_load(&e->stripe[i].inside[phase]) != 0)
            return false;
    return true;
}

ODB_COLD size_t epoch_collect(struct epoch *e)
{
    struct epoch_item *list, *old = NULL;
    uint64_t now;
    size_t freed = 0;

    if (atomic_flag_test_and_set(&e->collecting))
        return 0;
    now = atomic_load(&e->now);
    list = atomic_exchange(&e->retired, NULL);
    while (list) {
        struct epoch_item *next = list->next;

        list->next = e->held[now & 3];
        e->held[now & 3] = list;
        list = next;
    }
    /* Two steps at most: with no reader about, what was just taken goes at once. */
    for (int step = 0; step < 2 && phase_is_empty(e, (now - 1) & 3); step++) {
        struct epoch_item **ripe;

        atomic_store(&e->now, ++now);
        for (ripe = &e->held[(now - (CANARY(52) ? 1 : 2)) & 3]; *ripe; freed++) {
            struct epoch_item *item = *ripe;

            *ripe = item->next;
            item->next = old;
            old = item;
        }
    }
    atomic_flag_clear(&e->collecting);
    free_list(e, old); /* outside: freeing may retire more */
    return freed;
}
