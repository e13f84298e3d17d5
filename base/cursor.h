/* base/cursor.h -- an ordered walk over one source of entries: a memtable, a table, a level.
 *
 *        ops->next_run()                 ops->next_run()
 *   ... ------------------>  run[0] run[1] .. run[at] .. run[count-1]  ------------------> ...
 *        ops->prev_run()                      ^ current
 *
 * A cursor holds a *run*: a stretch of consecutive entries, already decoded. Stepping inside a run
 * is an index; only at its ends is the source called. A scan therefore pays one indirect call per
 * run (a block, a memtable node), not per key. After a seek a source may start with a short run and
 * let later ones grow.
 *
 * 1. at < count: the cursor is valid and run[at] is the current entry.
 * 2. at >= count: the cursor stands nowhere. `status` is ODB_OK at the end of the data; any other
 *    status is sticky until the next positioning call (first, last, seek, seek_for_prev).
 * 3. Keys and values of the current run stay where they are until a call into `ops`.
 * 4. What a source says of a run by `is_plain` is true of all its entries; saying nothing is always
 *    right. It lets whole runs be shown that need not be looked at one by one.
 * 5. Entries come in internal order (base/ikey.h) with all their versions; hiding what a snapshot
 *    must not see is the business of lsm/.
 *
 * Threads: one at a time.
 */
#ifndef ODB_BASE_CURSOR_H
#define ODB_BASE_CURSOR_H

#include "base/ikey.h"
#include "base/status.h"

struct entry {
    const uint8_t *key;
    const uint8_t *value;
    uint32_t key_len;
    uint32_t value_len;
    uint64_t trailer;
};

struct cursor;

/* Positioning and run calls return whether the cursor is valid afterwards. A call is allowed at any
 * time; next_run and prev_run only from a valid position (they continue behind run[count-1] and
 * before run[0]). After next_run at == 0; after prev_run at == count - 1. */
struct cursor_ops {
    bool (*first)(struct cursor *c);
    bool (*last)(struct cursor *c);
    bool (*seek)(struct cursor *c, odb_slice key, uint64_t trailer);          /* first >= */
    bool (*seek_for_prev)(struct cursor *c, odb_slice key, uint64_t trailer); /* last <= */
    bool (*next_run)(struct cursor *c);
    bool (*prev_run)(struct cursor *c);
    void (*free)(struct cursor *c);
    /* May be NULL. A seek or seek_for_prev with these very arguments comes next: start loading what it
     * will look at, so that several sources wait for memory together. Called twice, what can be known
     * only from what the first call sent for is sent for, too. Not a position yet. */
    void (*aim)(struct cursor *c, odb_slice key, uint64_t trailer);
};

/* The first member of every source's own struct. */
struct cursor {
    const struct cursor_ops *ops;
    const struct entry *run;
    uint32_t at;
    uint32_t count;
    uint64_t newest; /* while is_plain: no trailer of the run is greater */
    bool is_plain;   /* the run holds puts only, no two of the same key */
    odb_status status;
};

static inline bool cursor_valid(const struct cursor *c)
{
    return c->at < c->count;
}

static inline const struct entry *cursor_entry(const struct cursor *c)
{
    return &c->run[c->at];
}

static inline bool cursor_next(struct cursor *c)
{
    if (ODB_LIKELY(c->at + 1 < c->count)) {
        c->at++;
        return true;
    }
    return c->ops->next_run(c);
}

static inline bool cursor_prev(struct cursor *c)
{
    if (ODB_LIKELY(c->at > 0 && c->at < c->count)) {
        c->at--;
        return true;
    }
    return c->ops->prev_run(c);
}

/* Leave the cursor standing nowhere, with `st`. Returns false. */
static inline bool cursor_stop(struct cursor *c, odb_status st)
{
    c->at = c->count = 0;
    c->status = st;
    return false;
}

/* NULL is fine. */
static inline void cursor_free(struct cursor *c)
{
    if (c)
        c->ops->free(c);
}

#endif
