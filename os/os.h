/* os/os.h -- the one door to the outside: directories, files, the directory lock, the commit ring.
 *
 *      everything above          struct os_dir / os_file / os_ring       (opaque, this header)
 *      ------------------------------------------------------------------------------------
 *      os/posix_*.c              os/sim.c                                 (behind struct os_ops)
 *      the kernel                a disk in memory that forgets, tears and fails on demand
 *
 * Names are plain file names inside a held directory; '/', "." and ".." are refused with
 * ODB_INVALID. No name is followed if it is a symbolic link (the path given to os_dir_open, which is
 * the user's own, may lead through some); descriptors are close-on-exec and above 2; new files are
 * 0600.
 *
 * Every call returns ODB_OK or a status whose error text names the call, the file and the cause:
 * ODB_ABSENT (ENOENT), ODB_EXISTS (EEXIST), ODB_NOSPACE (ENOSPC, EDQUOT, EFBIG), ODB_DENIED (EACCES,
 * EPERM, EROFS), ODB_LIMIT (EMFILE, ENFILE, EAGAIN for threads), ODB_NOMEM, ODB_BUSY (lock held),
 * ODB_IO for the rest. EINTR and short transfers never surface.
 *
 * Syncs are final (P6): once a sync of a file or directory failed, every later sync of that handle
 * returns the same status without asking the kernel, which might answer OK for pages it has already
 * dropped.
 *
 * Threads: any number of threads may use one file or directory handle; closing needs the last one.
 */
#ifndef ODB_OS_OS_H
#define ODB_OS_OS_H

#include "base/status.h"

struct os;
struct os_dir;
struct os_file;
struct os_lock;
struct os_ring;

/* The real thing. Stateless but for the registry of locked directories; never freed. */
struct os *os_posix(void);

/* ---- directories ---- */

enum os_dir_flags {
    OS_DIR_CREATE = 1,   /* make it (one level, 0700) when absent, and sync its parent: also when
                            it was there, since whoever made it may have died before that */
    OS_DIR_READONLY = 2, /* refuse every mutating call on this handle with ODB_READONLY */
};

ODB_MUST_CHECK odb_status os_dir_open(struct os *os, const char *path, unsigned flags,
                                      struct os_dir **out);
/* NULL is fine. Files opened through it stay usable. */
void os_dir_close(struct os_dir *dir);
/* The path it was opened by, for messages. */
const char *os_dir_path(const struct os_dir *dir);
/* Make every create, rename and remove so far survive a power cut. */
ODB_MUST_CHECK odb_status os_dir_sync(struct os_dir *dir);
/* Call `each` once per entry (no "." and ".."), in no order, until it returns false. */
ODB_MUST_CHECK odb_status os_dir_list(struct os_dir *dir, bool (*each)(void *arg, const char *name),
                                      void *arg);
/* Bytes free to an ordinary user on this file system; UINT64_MAX where that cannot be told. */
uint64_t os_dir_free_bytes(struct os_dir *dir);

ODB_MUST_CHECK odb_status os_remove(struct os_dir *dir, const char *name);
/* Replaces `to` in one step. Durable after os_dir_sync. */
ODB_MUST_CHECK odb_status os_rename(struct os_dir *dir, const char *from, const char *to);

/* Take the directory for this process and this handle: an OFD lock on file `name` (created when
 * absent) plus a registry of this process, so that a second handle in the same process is refused
 * too. ODB_BUSY when somebody has it. Dies with the process; a forked child can neither use it nor
 * give it up (but where such a child outlives a parent that died without os_unlock, the directory
 * stays taken until the child is gone too).
 * On a read-only directory handle the lock is shared: any number of readers, or one writer. Nothing
 * is created; where there is no such file, or a medium that cannot lock, the answer is ODB_OK and
 * the lock holds nothing. */
ODB_MUST_CHECK odb_status os_lock(struct os_dir *dir, const char *name, struct os_lock **out);
void os_unlock(struct os_lock *lock);

/* ---- files ---- */

enum os_file_flags {
    OS_WRITE = 1,      /* else read-only */
    OS_CREATE = 2,     /* must not exist yet (O_EXCL) */
    OS_SEQUENTIAL = 4, /* will be read once, front to back */
    OS_RANDOM = 8,     /* will be read here and there */
};

/* Regular files only: anything else, a symbolic link included, is ODB_CORRUPT. */
ODB_MUST_CHECK odb_status os_open(struct os_dir *dir, const char *name, unsigned flags,
                                  struct os_file **out);
/* NULL is fine. */
void os_close(struct os_file *f);
const char *os_file_name(const struct os_file *f);
ODB_MUST_CHECK odb_status os_size(struct os_file *f, uint64_t *out);

/* Read up to `len` bytes at `off`; *got is less than `len` only at the end of the file. */
ODB_MUST_CHECK odb_status os_read(struct os_file *f, uint64_t off, void *data, size_t len,
                                  size_t *got);
/* Write all of it at `off`. On failure any part may have been written. ODB_READONLY on a file opened
 * without OS_WRITE; so say reserve and truncate. */
ODB_MUST_CHECK odb_status os_write(struct os_file *f, uint64_t off, const void *data, size_t len);
/* Make content and size durable. Each caller says in a comment what would be lost without it. */
ODB_MUST_CHECK odb_status os_sync(struct os_file *f);
/* Ask the kernel to start writing [off, off+len) back, without waiting. Only a hint. */
void os_write_behind(struct os_file *f, uint64_t off, uint64_t len);
/* Reserve [off, off+len) and grow the file to its end, so that later writes there cannot run out of
 * space; new bytes read as zeros. `written` asks for real blocks full of zeros (a sync into those is
 * cheaper than into reserved ones) behind the present end; bytes before it are never touched.
 * ODB_NOSPACE leaves the size as it was, or grown by less. */
ODB_MUST_CHECK odb_status os_reserve(struct os_file *f, uint64_t off, uint64_t len, bool written);
ODB_MUST_CHECK odb_status os_truncate(struct os_file *f, uint64_t size);
/* Ask for [off, off+len) to be read ahead. Only a hint. */
void os_read_ahead(struct os_file *f, uint64_t off, size_t len);

/* ---- the commit ring (docs/design/commit-ring.md) ----
 *
 * A small file of fixed size, written full of zeros and synced at creation, then mapped shared and
 * locked in memory: what is stored in it outlives the process, not the power. Offsets wrap: byte
 * `pos` lives at pos modulo size. */

/* Open or create; `size` is a power of two and at least 4096. A file of another size is replaced,
 * with what it held (whoever needs that has read it before: to look into a ring without taking it,
 * or from a read-only directory, os_open it like any file). The name of a new ring is durable after
 * the next os_dir_sync; until then a power cut may lose the ring, which holds nothing that a power
 * cut must spare. ODB_UNSUPPORTED where a ring cannot be had or trusted (copy-on-write and network
 * file systems, mlock refused, no shared mappings). */
ODB_MUST_CHECK odb_status os_ring_open(struct os_dir *dir, const char *name, size_t size,
                                       struct os_ring **out);
/* Unmap. NULL is fine. */
void os_ring_close(struct os_ring *r);
size_t os_ring_size(const struct os_ring *r);

/* The memory, for the inline calls below only. `spy` is set by the simulated disk, which must see
 * every store. */
struct os_ring_view {
    uint8_t *base;
    size_t size; /* a power of two */
    void (*spy)(struct os_ring *r, uint64_t pos, size_t len);
};

static inline struct os_ring_view *os_ring_view(struct os_ring *r)
{
    return (struct os_ring_view *)(void *)r; /* the first member of every ring */
}

/* Copy `len` (at most the ring's size) bytes in at `pos`, around the end where needed. One writer at
 * a time for any one byte. */
static inline void os_ring_write(struct os_ring *r, uint64_t pos, const void *data, size_t len)
{
    struct os_ring_view *v = os_ring_view(r);
    size_t at = (size_t)pos & (v->size - 1);
    size_t head = len < v->size - at ? len : v->size - at;

    memcpy(v->base + at, data, head);
    if (ODB_UNLIKELY(len > head))
        memcpy(v->base, (const uint8_t *)data + head, len - head);
    if (ODB_UNLIKELY(v->spy != NULL))
        v->spy(r, pos, len);
}

/* Copy `len` bytes out from `pos`. */
static inline void os_ring_read(struct os_ring *r, uint64_t pos, void *data, size_t len)
{
    struct os_ring_view *v = os_ring_view(r);
    size_t at = (size_t)pos & (v->size - 1);
    size_t head = len < v->size - at ? len : v->size - at;

    memcpy(data, v->base + at, head);
    if (len > head)
        memcpy((uint8_t *)data + head, v->base, len - head);
}

/* ---- clock, chance, identity ---- */

/* Nanoseconds from a clock that never goes back; its zero means nothing. */
uint64_t os_now_ns(struct os *os);
/* Microseconds since 1970, for file headers and the readable log only: nothing depends on it. */
uint64_t os_wall_us(struct os *os);
ODB_MUST_CHECK odb_status os_random(struct os *os, void *data, size_t len);
/* A number that changes in a forked child: compare with what it was at open. One load, no system
 * call. */
uint64_t os_fork_count(struct os *os);
/* A variable of the environment, NULL when it is not set: for tests and diagnosis, never needed. */
const char *os_env(const char *name);
/* Processors this process may run on, at least 1. */
unsigned os_cpu_count(struct os *os);

#endif
