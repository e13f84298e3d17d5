/* os/sim_priv.h -- the parts of the simulated disk, shared by the sim*.c files.
 *
 *   sim --> directories --> live entries, durable entries, pending operations
 *       --> inodes      --> live bytes,   durable bytes,   pending operations
 *
 *   bytes: array of --> 4 KiB block (counted, copied when written while shared; NULL reads as zeros)
 */
#ifndef ODB_OS_SIM_PRIV_H
#define ODB_OS_SIM_PRIV_H

#include <stdatomic.h>

#include "os/os_ops.h"
#include "os/sim.h"

#define SIM_BLOCK    ((size_t)4096)
#define SIM_SECTOR   ((size_t)512)
#define SIM_FILE_MAX ((uint64_t)64 << 30)
#define SIM_TRASH    64 /* blocks of removed files that are remembered */

/* ---- memory of the simulation itself: never NULL ---- */

void *sim_mem(size_t size); /* zeroed */
void *sim_mem_more(void *old, size_t size);
void sim_mem_free(void *p);
char *sim_mem_text(const char *s);

/* ---- chance ---- */

uint64_t sim_rng(uint64_t *state);
/* Below `n`; 0 for 0. */
uint64_t sim_rng_below(uint64_t *state, uint64_t n);

/* ---- bytes ---- */

struct sim_block {
    atomic_size_t refs;    /* disks share blocks, threads may own the disks */
    _Atomic uint64_t hash; /* 0: not known. Only a block with one reference changes */
    uint8_t bytes[SIM_BLOCK];
};

void sim_block_ref(struct sim_block *b);
void sim_block_unref(struct sim_block *b); /* NULL is fine */

struct sim_data {
    struct sim_block **block;
    size_t count; /* blocks in the array; what lies behind reads as zeros */
    uint64_t size;
};

void sim_data_release(struct sim_data *d);
void sim_data_copy(struct sim_data *to, const struct sim_data *from);
/* Let `to` have block `i` of `from`. */
void sim_data_share(struct sim_data *to, const struct sim_data *from, size_t i);
void sim_data_read(const struct sim_data *d, uint64_t off, void *out, size_t len);
/* Grows the size where needed. */
void sim_data_write(struct sim_data *d, uint64_t off, const void *data, size_t len);
void sim_data_resize(struct sim_data *d, uint64_t size);
uint64_t sim_data_hash(const struct sim_data *d);

/* ---- inodes ---- */

/* What a pending operation wrote; shared with images made meanwhile. */
struct sim_pend {
    uint64_t op_no;
    enum sim_op op; /* SIM_WRITE, SIM_RESERVE (off: the new size), SIM_TRUNCATE (off: the new size),
                       SIM_RING_STORE (in flight only) */
    bool in_flight; /* the process died in it: not in `live` */
    uint64_t off;
    size_t len;
    uint8_t *bytes; /* owned */
};

struct sim_inode {
    struct sim_inode *next; /* all of the disk, oldest first */
    size_t refs;            /* entries live and durable, pending directory operations, handles */
    unsigned links;         /* live entries */
    unsigned opens;         /* handles */
    bool is_ring;
    bool has_lost; /* a sync failed: `durable` is no longer `live` without what is pending */
    char *name;    /* the last one it had */
    struct sim_data live;
    struct sim_data durable;
    struct sim_data
        flushed; /* rings: what a write-back of the kernel may have left on the medium */
    struct sim_pend *pend;
    size_t pend_count, pend_cap;
};

struct sim_entry {
    char *name;
    struct sim_inode *inode;
};

struct sim_entries {
    struct sim_entry *e;
    size_t count, cap;
};

struct sim_dirop {
    uint64_t op_no;
    enum sim_op op; /* SIM_CREATE, SIM_RING_CREATE, SIM_REMOVE, SIM_RENAME */
    char *name;
    char *to; /* SIM_RENAME */
    struct sim_inode *inode;
};

struct sim_node {
    struct sim_node *next;
    char *path;
    struct sim_entries live, durable;
    struct sim_dirop *pend;
    size_t pend_count, pend_cap;
    bool has_writer;
    unsigned readers;
};

/* The write or ring store that the fault hook is being asked about. */
struct sim_flight {
    struct sim_inode *inode; /* NULL: another kind of operation */
    enum sim_op op;
    uint64_t op_no;
    uint64_t off;
    size_t len;
    const void *bytes;
};

struct sim {
    struct os base;
    struct os_mutex lock; /* RANK_OS; guards all that follows */
    struct sim_node *nodes;
    struct sim_inode *inodes;
    struct sim_block *trash[SIM_TRASH];
    size_t trash_at;
    uint64_t seed, rng_disk, rng_user;
    uint64_t now_ns;
    uint64_t fork_count;
    uint64_t capacity;
    bool no_ring;
    bool sync_reverts;
    uint64_t ops, mutations, kind[SIM_OP_KINDS];
    uint64_t crash_at;
    bool is_dead;
    bool is_logging;
    struct sim_record *log;
    size_t log_count, log_cap;
    odb_status (*fault)(void *, enum sim_op, const char *, uint64_t);
    void *fault_arg;
    struct sim_flight flight;
};

struct sim_inode *sim_inode_new(struct sim *s, const char *name);
void sim_inode_unref(struct sim *s, struct sim_inode *ino);
struct sim_pend *sim_inode_pend(struct sim_inode *ino, enum sim_op op, uint64_t op_no, uint64_t off,
                                const void *data, size_t len);
void sim_inode_clear(struct sim_inode *ino);
/* A sync that worked: everything pending is durable. */
void sim_inode_fold(struct sim_inode *ino);

struct sim_inode *sim_find(const struct sim_entries *e, const char *name);
/* These move references, not `links`. Add: a name that is not among them. */
void sim_entries_add(struct sim_entries *e, const char *name, struct sim_inode *ino);
void sim_entries_set(struct sim *s, struct sim_entries *e, const char *name, struct sim_inode *ino);
void sim_entries_drop(struct sim *s, struct sim_entries *e, size_t i);
void sim_entries_release(struct sim *s, struct sim_entries *e);
struct sim_node *sim_node_find(struct sim *s, const char *path);
struct sim_node *sim_node_new(struct sim *s, const char *path);
void sim_node_pend(struct sim_node *n, enum sim_op op, uint64_t op_no, const char *name,
                   const char *to, struct sim_inode *ino);
void sim_node_clear(struct sim *s, struct sim_node *n);
void sim_dirop_apply(struct sim *s, struct sim_entries *e, const struct sim_dirop *op);

/* A sync that failed: any part of what is pending becomes durable, nothing stays pending. */
void sim_inode_fail_sync(struct sim *s, struct sim_inode *ino);
void sim_node_fail_sync(struct sim *s, struct sim_node *n);

/* A disk without anything on it. */
struct sim *sim_bare(uint64_t seed);

#endif
