/* os/os_ops.h -- what an implementation of os.h fills in. Included by os/ and by tests that wrap it;
 * nobody else. Arguments have passed the checks of os.c when an operation sees them. */
#ifndef ODB_OS_OPS_H
#define ODB_OS_OPS_H

#include "os/os.h"
#include "os/os_thread.h"

struct os_ops {
    odb_status (*dir_open)(struct os *, const char *path, unsigned flags, struct os_dir **out);
    void (*dir_close)(struct os_dir *);
    odb_status (*dir_sync)(struct os_dir *);
    odb_status (*dir_list)(struct os_dir *, bool (*each)(void *, const char *), void *arg);
    uint64_t (*dir_free_bytes)(struct os_dir *);
    odb_status (*remove)(struct os_dir *, const char *name);
    odb_status (*rename)(struct os_dir *, const char *from, const char *to);
    odb_status (*lock)(struct os_dir *, const char *name, struct os_lock **out);
    void (*unlock)(struct os_lock *);
    odb_status (*open)(struct os_dir *, const char *name, unsigned flags, struct os_file **out);
    void (*close)(struct os_file *);
    odb_status (*size)(struct os_file *, uint64_t *out);
    odb_status (*read)(struct os_file *, uint64_t off, void *, size_t len, size_t *got);
    odb_status (*write)(struct os_file *, uint64_t off, const void *, size_t len);
    odb_status (*sync)(struct os_file *);
    void (*write_behind)(struct os_file *, uint64_t off, uint64_t len);
    odb_status (*reserve)(struct os_file *, uint64_t off, uint64_t len, bool written);
    odb_status (*truncate)(struct os_file *, uint64_t size);
    void (*read_ahead)(struct os_file *, uint64_t off, size_t len);
    odb_status (*ring_open)(struct os_dir *, const char *name, size_t size, struct os_ring **out);
    void (*ring_close)(struct os_ring *);
    uint64_t (*now_ns)(struct os *);
    uint64_t (*wall_us)(struct os *);
    odb_status (*random)(struct os *, void *, size_t len);
    uint64_t (*fork_count)(struct os *);
    unsigned (*cpu_count)(struct os *);
};

/* A sync happens alone and its failure stays (os.c, 3). */
struct os_sync_state {
    struct os_mutex lock; /* RANK_OS_SYNC, held across the sync itself */
    _Atomic int failed;   /* an odb_status once a sync failed */
};

/* The first member of every implementation's own struct of that name. os.c reads these and calls
 * through. */
struct os {
    const struct os_ops *ops;
};

struct os_dir {
    struct os *os;
    char *path; /* owned */
    bool is_readonly;
    struct os_sync_state sync;
};

struct os_file {
    struct os *os;
    char *name; /* owned */
    bool is_writable;
    struct os_sync_state sync;
};

struct os_lock {
    struct os *os;
};

struct os_ring {
    struct os_ring_view view;
    struct os *os;
};

/* For implementations: fill in the part above of a zeroed struct, and give back what it owns. On
 * ODB_NOMEM there is nothing to give back; releasing a zeroed one is fine. */
ODB_MUST_CHECK odb_status os_dir_init(struct os_dir *dir, struct os *os, const char *path,
                                      unsigned flags);
void os_dir_release(struct os_dir *dir);
ODB_MUST_CHECK odb_status os_file_init(struct os_file *f, struct os *os, const char *name,
                                       unsigned flags);
void os_file_release(struct os_file *f);

#endif
