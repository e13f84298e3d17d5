/* api/locks.h -- locks on keys and ranges, between the pessimistic transactions of one database. */
#ifndef ODB_API_LOCKS_H
#define ODB_API_LOCKS_H

#include "base/status.h"
#include "os/os_thread.h"

struct lock_request;

struct lock_table {
    struct os_mutex lock;         /* RANK_LOCKS; all of the below, and every locker's fields */
    struct lock_request **bucket; /* keys by hash; NULL until the first lock */
    size_t bucket_count, key_count;
    struct lock_request *ranges;
    struct lock_request *first, *last; /* those who wait, in the order they came */
    uint64_t arrivals;
    uint64_t searches;
};

/* One transaction, as the table sees it. */
struct locker {
    uint64_t age; /* larger: younger; set by the owner while it has no locks */
    struct lock_request *held;
    struct lock_request *waits_for; /* NULL: runs */
    uint64_t searched;              /* the last search for a circle that came by */
    struct locker *path;            /* on that search: who waits for this one */
    bool has_lost;                  /* somebody chose it to end a circle */
    struct os_cond wake;
    char circle[256]; /* the circle it lost in */
};

struct lock_claim {
    uint32_t family;
    const char *family_name;
    bool is_range;
    bool is_exclusive;
    odb_slice lower;
    odb_slice upper; /* of a range; data NULL: to the last */
};

void locks_init(struct lock_table *t);
void locks_release(struct lock_table *t);
void locker_init(struct locker *l);
void locker_release(struct locker *l);

/* Take a lock, behind everyone who asked before. It is kept until locks_drop. ODB_TIMEOUT (`wait_ns`
 * are over), ODB_DEADLOCK (this one was chosen to yield), ODB_NOMEM: nothing was taken. */
ODB_MUST_CHECK odb_status locks_take(struct lock_table *t, struct locker *l,
                                     const struct lock_claim *claim, uint64_t wait_ns);
/* Give back everything. */
void locks_drop(struct lock_table *t, struct locker *l);

#endif
