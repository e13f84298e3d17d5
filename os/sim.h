/* os/sim.h -- a simulated disk behind os.h: it forgets, tears, fills up and fails on demand, and the
 * same seed always gives the same run. Tests only; not part of the library.
 *
 *     struct os *os = sim_new(seed);              an empty disk
 *     ... run the engine on it ...                every call is an operation with a number
 *     sim_crash_at(os, n)                         operation n does not return: the process is dead
 *     struct os *next = sim_image(os, SIM_M4, s)  the disk that the next process finds
 *     ... run recovery on it, crash that too ...
 *     sim_free(next); sim_free(os);               in any order
 *
 * Operations are the calls that can fail, plus each store into the ring. Stores can be the moment of
 * a crash but not fail. Clock, random, closing, unlocking and the hints are not operations.
 *
 * A disk of its own keeps its memory outside base/alloc.h: a test that makes the Nth request fail
 * hits the engine, and what test_alloc_alive() counts is the engine's. Handles (directories, files,
 * locks, rings) do come from there, so that one never closed shows up as a leak.
 *
 * Threads: all calls may come from any thread; one lock per disk. With one thread a run is a function
 * of its seed. Different disks share nothing but immutable blocks.
 */
#ifndef ODB_OS_SIM_H
#define ODB_OS_SIM_H

#include "os/os.h"

enum sim_op {
    SIM_DIR_OPEN,
    SIM_DIR_CREATE, /* durable at once */
    SIM_DIR_SYNC,
    SIM_DIR_LIST,
    SIM_REMOVE,
    SIM_RENAME,
    SIM_LOCK,
    SIM_OPEN,   /* of a file that is there */
    SIM_CREATE, /* os_open with OS_CREATE, or the lock file */
    SIM_SIZE,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_RESERVE,
    SIM_TRUNCATE,
    SIM_RING_OPEN, /* of a ring that is there */
    SIM_RING_CREATE,
    SIM_RING_STORE,
    SIM_RANDOM,
    SIM_OP_KINDS,
};

/* "write", "dir_sync" and so on. */
const char *sim_op_name(enum sim_op op);
/* Whether it changes what a later process may find, syncs included. */
bool sim_op_mutates(enum sim_op op);

/* An empty disk. Never NULL: without memory for the simulation itself the process ends. */
struct os *sim_new(uint64_t seed);
/* All handles should be closed; a dead disk's handles may be closed before or never. NULL is fine. */
void sim_free(struct os *os);

/* ---- what happened ---- */

struct sim_record {
    uint64_t op_no; /* from 1 */
    enum sim_op op;
    odb_status status; /* what the caller was told */
    uint64_t off;
    uint64_t len;
    char name[32]; /* the file's, cut where needed; "" for a directory */
};

/* Operations begun so far; the next one has this number plus 1. */
uint64_t sim_op_count(struct os *os);
/* Those of them that mutate and were let through: 0 proves that a run only read. */
uint64_t sim_mutations(struct os *os);
/* How often `op` was begun. */
uint64_t sim_op_kind_count(struct os *os, enum sim_op op);
/* Keep a record of every operation from now on (off at first). */
void sim_log(struct os *os, bool on);
/* The `i`th record kept, from 0; false past the end. */
bool sim_log_get(struct os *os, uint64_t i, struct sim_record *out);

/* ---- faults ---- */

/* Asked before each operation; anything but ODB_OK is what the caller gets, with an error text that
 * says so. Called without the disk's lock: it may take images, change limits, even remove itself.
 * A failing write leaves a part of its data behind, chosen by the seed. A failing sync is final in the
 * way real ones are (P6, M6): the medium keeps any part of what was pending, the rest counts as
 * clean, stays readable, and is not written by a later sync. Other failing calls change nothing. */
void sim_set_fault(struct os *os,
                   odb_status (*fault)(void *arg, enum sim_op op, const char *name, uint64_t op_no),
                   void *arg);
/* What a file shows after a failed sync: what was written, as on ext4 and XFS (the default), or what
 * the medium holds, as on file systems that drop the pages. */
void sim_set_failed_sync_reverts(struct os *os, bool yes);
/* At most that many bytes in all files (in blocks of 4 KiB), UINT64_MAX at first. */
void sim_set_capacity(struct os *os, uint64_t bytes);

/* ---- crashes ---- */

/* Operation `n` and all later ones fail with ODB_IO and do nothing; n at or below sim_op_count()
 * means at once. 0 takes it back, unless it has happened. If operation n is a write or a ring store, an
 * image may hold parts of it. */
void sim_crash_at(struct os *os, uint64_t n);
bool sim_is_dead(struct os *os);

/* What survives. "Pending" is what was issued and not made durable by a sync of its file or
 * directory. */
enum sim_model {
    SIM_M0, /* nothing pending: the most that can be lost; rings as last synced */
    SIM_M1, /* everything: the process died, the kernel lives. Of the operation it died in: a write's
               first pages, any pieces of a ring store */
    SIM_M2, /* a prefix of the pending operations of the whole disk, in order: the first
               seed % (count + 1) of them, count being sim_pending() */
    SIM_M3, /* journalled metadata: directory operations and sizes up to one moment, any subset of
               data blocks; what was lost reads as before, or as zeros */
    SIM_M4, /* adversarial: each 4 KiB piece of a write and each directory operation is kept or lost
               by itself, the last write torn at 512 bytes, sizes of any moment, and what a grown file
               got without being written reads as zeros, garbage or bytes of removed files */
    SIM_MODELS, /* those above keep what was synced; this one does not: */
    SIM_M5 =
        SIM_MODELS, /* no power-safe overwrite: nothing pending is kept (even seeds) or all of it
                            (odd), and the 4 KiB blocks under the last write are garbage, with what
                            was synced in them before */
};
/* In M2, M3 and M4 each page of a ring is as it was at some moment since the last sync at which the
 * kernel might have written it back, or torn at 512 bytes between such. */

/* The disk as the next process finds it: everything in it is durable, nothing is open or locked, its
 * operations count from 1. `os` stays as it is, and need not be dead: an image of a live disk is one
 * of a crash before its next operation. */
struct os *sim_image(struct os *os, enum sim_model model, uint64_t seed);
/* For the fault hook: the same, of a crash inside the operation that it is being asked about, if that
 * is a write or a ring store. */
struct os *sim_image_inside(struct os *os, enum sim_model model, uint64_t seed);
/* The process died between two operations and the kernel goes on: pages and names stay as pending as
 * they were, and what failed syncs lost stays readable. The next process's operations count on. */
struct os *sim_restart(struct os *os);

/* One thing that a power cut may or may not have spared. */
struct sim_piece {
    uint64_t op_no;   /* the operation that left it pending */
    enum sim_op op;   /* SIM_WRITE, SIM_RESERVE, SIM_TRUNCATE, SIM_CREATE, SIM_REMOVE, SIM_RENAME,
                         SIM_RING_CREATE */
    const char *name; /* the file's, at that time */
    uint64_t off;     /* of a write's piece, which lies in one 4 KiB block */
    uint32_t len;
};

/* SIM_M4 with the choices made by `keep`, called for every piece in one fixed order. A truncation or
 * reservation is a piece too; kept pieces of writes carry the size they need. Untorn, lost bytes read
 * as zeros, rings as last synced. For explorers that enumerate subsets. */
struct os *sim_image_keep(struct os *os, bool (*keep)(void *arg, const struct sim_piece *piece),
                          void *arg);
/* Operations that are pending. */
uint64_t sim_pending(struct os *os);

/* Two images with the same hash hold the same directories, names and bytes. */
uint64_t sim_hash(struct os *os);
/* Describe what is there and what is pending, line by line. */
void sim_dump(struct os *os, void (*line)(void *arg, const char *text), void *arg);

/* ---- the rest of the machine ---- */

/* The clock moves by a microsecond whenever it is read, and by this. */
void sim_advance(struct os *os, uint64_t ns);
/* What os_fork_count() answers; 1 at first. */
void sim_set_fork_count(struct os *os, uint64_t n);
/* Rings are ODB_UNSUPPORTED from now on, or again possible. */
void sim_set_ring_supported(struct os *os, bool yes);

/* ---- damage ---- */

/* Change stored bytes behind the engine's back, durable at once and no operation: write `len` bytes at
 * `off` of a file that is there, growing it where needed. */
ODB_MUST_CHECK odb_status sim_poke(struct os *os, const char *dir, const char *name, uint64_t off,
                                   const void *data, size_t len);

#endif
