#include "base/epoch.h"

#define COLLECT_EVERY 32 /* retired items between two tries to free some */

void epoch_init(struct epoch *e)
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

void epoch_release(struct epoch *e)
{
    for (;;) { /* freeing a thing may retire what it held */
        struct epoch_item *list = atomic_exchange(&e->retired, NULL);
        struct epoch_item *held = e->held;

        e->held = NULL;
        if (!list && !held)
            return;
        free_list(e, held);
        free_list(e, list);
    }
}

void epoch_retire(struct epoch *e, struct epoch_item *item, void (*free_fn)(struct epoch_item *))
{
    struct epoch_item *head = atomic_load(&e->retired);

    item->free = free_fn;
    item->retired_at = atomic_load(&e->now);
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

size_t epoch_collect(struct epoch *e)
{
    struct epoch_item *old = NULL, *young = NULL, *list;
    uint64_t now;
    size_t freed = 0;

    if (atomic_flag_test_and_set(&e->collecting))
        return 0;
    for (int step = 0; step < 2; step++) {
        now = atomic_load(&e->now);
        if (!phase_is_empty(e, (now - 1) & 3))
            break;
        atomic_store(&e->now, now + 1);
    }
    now = atomic_load(&e->now);
    list = atomic_exchange(&e->retired, NULL);
    for (int round = 0; round < 2; round++) {
        while (list) {
            struct epoch_item *next = list->next;

            if (list->retired_at + 2 <= now) {
                list->next = old;
                old = list;
                freed++;
            } else {
                list->next = young;
                young = list;
            }
            list = next;
        }
        if (round == 0) {
            list = e->held;
            e->held = NULL;
        }
    }
    e->held = young;
    atomic_flag_clear(&e->collecting);
    free_list(e, old); /* outside: freeing may retire more */
    return freed;
}
