/* os/posix.h -- what the posix_*.c files share. Nobody else includes it. */
#ifndef ODB_OS_POSIX_H
#define ODB_OS_POSIX_H

#include "os/os_ops.h"

struct posix_dir {
    struct os_dir base;
    int fd;
};

struct posix_file {
    struct os_file base;
    int fd;
    _Atomic uint64_t
        checked_end; /* of the window in which RLIMIT_FSIZE need not be asked; relaxed */
};

static inline int posix_dir_fd(const struct os_dir *dir)
{
    return ((const struct posix_dir *)(const void *)dir)->fd;
}

/* Put errno value `err` of `call` on `name` (in `dir`, or NULL) into a status and words. */
ODB_MUST_CHECK odb_status posix_error(int err, const char *call, const char *dir, const char *name);
/* The same descriptor, moved above 2 where a stray write(2, ...) of the host cannot hit it (C45).
 * Passes -1 on; returns -1 with errno set when it cannot be moved. */
int posix_fd_above(int fd);
/* open inside `dir`: never through a symbolic link, never blocking on a FIFO. -1 and errno. */
int posix_open_at(const struct os_dir *dir, const char *name, int flags);
/* posix_open_at, and the check that it is a regular file. *size is its length; may be NULL. */
ODB_MUST_CHECK odb_status posix_open_regular(const struct os_dir *dir, const char *name, int flags,
                                             int *fd, uint64_t *size);
/* ODB_NOSPACE when a file of `end` bytes is over RLIMIT_FSIZE: asked before the kernel would send
 * SIGXFSZ. */
ODB_MUST_CHECK odb_status posix_check_limit(const char *name, uint64_t end);
/* Both after posix_check_limit for the last byte. */
ODB_MUST_CHECK odb_status posix_write_all(int fd, const char *name, uint64_t off, const void *data,
                                          size_t len);
ODB_MUST_CHECK odb_status posix_write_zeros(int fd, const char *name, uint64_t off, uint64_t len);
/* Have blocks where there are none. ODB_UNSUPPORTED, without words, where the file system has no such call. */
ODB_MUST_CHECK odb_status posix_allocate(int fd, const char *name, uint64_t off, uint64_t len);
/* 0, or an errno value. */
int posix_sync_fd(int fd, bool data_only);

odb_status posix_dir_open(struct os *os, const char *path, unsigned flags, struct os_dir **out);
void posix_dir_close(struct os_dir *dir);
odb_status posix_dir_sync(struct os_dir *dir);
odb_status posix_dir_list(struct os_dir *dir, bool (*each)(void *, const char *), void *arg);
uint64_t posix_dir_free_bytes(struct os_dir *dir);
odb_status posix_remove(struct os_dir *dir, const char *name);
odb_status posix_rename(struct os_dir *dir, const char *from, const char *to);

odb_status posix_lock(struct os_dir *dir, const char *name, struct os_lock **out);
void posix_unlock(struct os_lock *lock);

odb_status posix_file_open(struct os_dir *dir, const char *name, unsigned flags,
                           struct os_file **out);
void posix_file_close(struct os_file *f);
odb_status posix_size(struct os_file *f, uint64_t *out);
odb_status posix_read(struct os_file *f, uint64_t off, void *data, size_t len, size_t *got);
odb_status posix_write(struct os_file *f, uint64_t off, const void *data, size_t len);
odb_status posix_sync(struct os_file *f);
void posix_write_behind(struct os_file *f, uint64_t off, uint64_t len);
odb_status posix_reserve(struct os_file *f, uint64_t off, uint64_t len, bool written);
odb_status posix_truncate(struct os_file *f, uint64_t size);
void posix_read_ahead(struct os_file *f, uint64_t off, size_t len);

odb_status posix_ring_open(struct os_dir *dir, const char *name, size_t size, struct os_ring **out);
void posix_ring_close(struct os_ring *r);

#endif
