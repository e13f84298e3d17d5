#include "base/canary.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Asked in hot places: the environment is read once. Everybody who comes early reads the same. */
bool canary_is(int n)
{
    static _Atomic int chosen = -1;
    int c = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (c < 0) {
        const char *text = getenv("ODB_CANARY");

        c = text ? atoi(text) : 0;
        atomic_store_explicit(&chosen, c, memory_order_relaxed);
    }
    return c == n;
}
