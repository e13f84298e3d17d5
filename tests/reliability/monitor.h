/* tests/reliability/monitor.h -- orders that must hold whether or not anything crashes.
 *
 * Told of every operation before it happens and of every answer that promises durability. What it
 * knows of the engine is the file formats, nothing of its state.
 */
#ifndef TEST_RELIABILITY_MONITOR_H
#define TEST_RELIABILITY_MONITOR_H

#include "os/sim.h"

struct monitor {
    struct os *os;
    const char *dir;
    bool is_paused; /* while faults are made: what is unclear may stay where it is */
    uint64_t removes, switches, acks;
    char broken[300]; /* the first order that was not kept; "" none */
};

/* Before operation `op` on `name`. */
void monitor_before(struct monitor *m, enum sim_op op, const char *name, uint64_t op_no);
/* Everything committed so far was called durable. */
void monitor_ack(struct monitor *m);

#endif
