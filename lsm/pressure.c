/* lsm/pressure.c -- how long a write waits so that flush and merge keep up.
 *
 *      delay per byte
 *        ^                                  _ full: wait for room
 *        |                             _ -
 *        |                       _ -            the rate of flushing, times how far the buffers are
 *        |________________ _ -                  past two thirds; likewise merging and level 0
 *        +-----------------+--------------+---> memory in use, or tables in level 0
 *                          2/3            1
 *
 * A stop makes one write pay for thousands; a delay makes each pay its share. The price of a byte is
 * what flushing (merging) a byte was measured to cost lately, so the delay settles where writers are
 * exactly as fast as the work behind them. Sleeping is coarse: what is owed adds up in one counter
 * and is slept off by whoever brings it over the quantum, so the common write pays one addition.
 *
 * Threads: all fields are relaxed atomics; a lost update costs a microsecond, not correctness.
 */
#include "lsm/tree_priv.h"

#define OWED_QUANTUM_NS 200000u   /* below this the sleep's own error would dominate */
#define DELAY_MAX_NS    20000000u /* one write never waits longer than this by delay alone */
#define L0_SLOW         2         /* times the trigger: delays begin */
#define L0_FULL         9         /* times the trigger: delays reach their top */

static void smooth(_Atomic uint64_t *to, uint64_t sample)
{
    uint64_t old = atomic_load_explicit(to, memory_order_relaxed);

    atomic_store_explicit(to, old ? (old * 3 + sample) / 4 : sample, memory_order_relaxed);
}

ODB_COLD void pressure_note_flush(struct lsm_tree *t, uint64_t bytes, uint64_t ns)
{
    if (bytes)
        smooth(&t->pressure.flush_ps_per_byte, ns * 1000 / bytes);
}

ODB_COLD void pressure_note_merge(struct lsm_tree *t, uint64_t bytes, uint64_t ns)
{
    if (bytes)
        smooth(&t->pressure.merge_ps_per_byte, ns * 1000 / bytes);
}

/* Per mille of the price to charge: 0 up to `from`, twice the price at `to`, and in between by the square,
 * so that the first delays are small. */
ODB_COLD static uint64_t charge(uint64_t level, uint64_t from, uint64_t to)
{
    uint64_t x;

    if (level <= from || to <= from)
        return 0;
    x = (level - from) * 1000 / (to - from);
    return x * x / 500;
}

uint64_t lsm_delay_ns(struct lsm_tree *t, size_t bytes)
{
    struct lsm_pressure *p = &t->pressure;
    uint64_t waiting = atomic_load_explicit(&p->waiting, memory_order_relaxed);
    uint64_t l0 = atomic_load_explicit(&p->l0_files, memory_order_relaxed);
    uint64_t trigger = t->opt.l0_trigger, ns = 0, owed;

    if (ODB_LIKELY(waiting == 0 && l0 <= L0_SLOW * trigger))
        return 0;
    if (waiting > 0) {
        uint64_t used = waiting * 1000 + memtable_bytes(lsm_active(t)) * 1000 /
                                             (t->opt.write_buffer ? t->opt.write_buffer : 1);
        uint64_t all = (uint64_t)t->opt.max_buffers * 1000;

        ns = charge(used, all * 2 / 3, all) *
             atomic_load_explicit(&p->flush_ps_per_byte, memory_order_relaxed) / 1000 * bytes /
             1000;
    }
    if (t->opt.auto_compact && l0 > L0_SLOW * trigger) {
        uint64_t merge = charge(l0, L0_SLOW * trigger, L0_FULL * trigger) *
                         atomic_load_explicit(&p->merge_ps_per_byte, memory_order_relaxed) / 1000 *
                         bytes / 1000;

        if (merge > ns)
            ns = merge;
    }
    if (ns == 0)
        return 0;
    owed = atomic_fetch_add_explicit(&p->owed_ns, ns, memory_order_relaxed) + ns;
    if (owed < OWED_QUANTUM_NS)
        return 0;
    owed = atomic_exchange_explicit(&p->owed_ns, 0, memory_order_relaxed); /* ours to sleep off */
    if (owed > DELAY_MAX_NS)
        owed = DELAY_MAX_NS;
    atomic_fetch_add_explicit(&p->slept_ns, owed, memory_order_relaxed);
    return owed;
}
