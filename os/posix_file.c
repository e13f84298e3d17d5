/* os/posix_file.c -- regular files by pread, pwrite and fdatasync.
 *
 * 1. A short or interrupted transfer goes on until it is complete, at the end of the file, or
 *    failed.
 * 2. Growing past RLIMIT_FSIZE is refused before the kernel is asked, because it would answer with
 *    SIGXFSZ, and signals are the host program's business. Asking costs half of a small write, and
 *    the host may change the limit while we run, so the answer is kept for a little while only: for
 *    small writes into the same 64 KiB, up to the next sync.
 * 3. Zeros are written in small pieces: what the kernel caches of a large write is large folios, and a
 *    later sync of one small record walks through all of the one that holds it (on ext4 a seventh of
 *    the time of a sync).
 * 4. Nothing writable is mapped here: a full disk is a status, never SIGBUS (C42).
 */
#include "os/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#define POSIX_ZEROS_LEN    ((size_t)4096)
#define POSIX_LIMIT_WINDOW ((uint64_t)64 << 10)

static int posix_fd_of(const struct os_file *f)
{
    return ((const struct posix_file *)(const void *)f)->fd;
}

odb_status posix_open_regular(const struct os_dir *dir, const char *name, int flags, int *fd,
                              uint64_t *size)
{
    int opened = posix_open_at(dir, name, flags);
    odb_status st = ODB_OK;
    struct stat s;

    if (opened < 0) { /* ELOOP a symbolic link, ENXIO a socket or FIFO, EISDIR a directory */
        if (errno == ELOOP || errno == EMLINK || errno == ENXIO || errno == EISDIR)
            return err_corrupt(name, 0, "it is not a regular file");
        return posix_error(errno, "open", dir->path, name);
    }
    if (fstat(opened, &s) != 0)
        st = posix_error(errno, "stat", dir->path, name);
    else if (!S_ISREG(s.st_mode))
        st = err_corrupt(name, 0, "it is not a regular file");
    if (st != ODB_OK) {
        (void)close(opened);
        return st;
    }
    *fd = opened;
    if (size)
        *size = (uint64_t)s.st_size;
    return ODB_OK;
}

static void posix_advise(int fd, unsigned flags)
{
#ifdef POSIX_FADV_SEQUENTIAL
    if (flags & OS_SEQUENTIAL)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (flags & OS_RANDOM)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
#else
    (void)fd;
    (void)flags;
#endif
}

odb_status posix_file_open(struct os_dir *dir, const char *name, unsigned flags,
                           struct os_file **out)
{
    struct posix_file *f = mem_zalloc(1, sizeof *f);
    int how = (flags & OS_WRITE) ? O_RDWR : O_RDONLY;
    odb_status st;

    if (!f)
        return err_set(ODB_NOMEM, "no memory to open %s", name);
    f->fd = -1;
    st = os_file_init(&f->base, dir->os, name, flags);
    if (st != ODB_OK)
        goto done;
    if (flags & OS_CREATE)
        how |= O_CREAT | O_EXCL;
    st = posix_open_regular(dir, name, how, &f->fd, NULL);
    if (st != ODB_OK)
        goto done;
    posix_advise(f->fd, flags);
    *out = &f->base;
    f = NULL;
done:
    if (f)
        posix_file_close(&f->base);
    return st;
}

void posix_file_close(struct os_file *base)
{
    struct posix_file *f = (struct posix_file *)(void *)base;

    if (f->fd >= 0)
        (void)close(f->fd); /* its errors were sync's to report */
    os_file_release(base);
    mem_free(f);
}

odb_status posix_size(struct os_file *f, uint64_t *out)
{
    struct stat s;

    if (fstat(posix_fd_of(f), &s) != 0)
        return posix_error(errno, "stat", NULL, f->name);
    *out = (uint64_t)s.st_size;
    return ODB_OK;
}

odb_status posix_read(struct os_file *f, uint64_t off, void *data, size_t len, size_t *got)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(posix_fd_of(f), (uint8_t *)data + done, len - done, (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return posix_error(errno, "read", NULL, f->name);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return ODB_OK;
}

static uint64_t posix_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_FSIZE, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return (uint64_t)r.rlim_cur;
}

odb_status posix_check_limit(const char *name, uint64_t end)
{
    return end > posix_limit() ? posix_error(EFBIG, "write", NULL, name) : ODB_OK;
}

odb_status posix_write_all(int fd, const char *name, uint64_t off, const void *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pwrite(fd, (const uint8_t *)data + done, len - done, (off_t)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* 0 for a request that is not empty: nothing we could wait for */
            return posix_error(n < 0 ? errno : EIO, "write", NULL, name);
        done += (size_t)n;
        if (done < len) { /* cut at a limit that has come down? The next try would be a signal */
            odb_status st = posix_check_limit(name, off + len);

            if (st != ODB_OK)
                return st;
        }
    }
    return ODB_OK;
}

/* See 2. */
static odb_status posix_check_window(struct posix_file *f, uint64_t off, size_t len)
{
    uint64_t end = off + len, limit;
    uint64_t checked = atomic_load_explicit(&f->checked_end, memory_order_relaxed);

    if (end <= checked && off + POSIX_LIMIT_WINDOW >= checked)
        return ODB_OK;
    limit = posix_limit();
    if (end > limit)
        return posix_error(EFBIG, "write", NULL, f->base.name);
    checked = (end + POSIX_LIMIT_WINDOW - 1) / POSIX_LIMIT_WINDOW * POSIX_LIMIT_WINDOW;
    atomic_store_explicit(&f->checked_end, checked <= limit ? checked : 0, memory_order_relaxed);
    return ODB_OK;
}

odb_status posix_write(struct os_file *base, uint64_t off, const void *data, size_t len)
{
    struct posix_file *f = (struct posix_file *)(void *)base;
    odb_status st = posix_check_window(f, off, len);

    return st != ODB_OK ? st : posix_write_all(f->fd, base->name, off, data, len);
}

odb_status posix_sync(struct os_file *base)
{
    struct posix_file *f = (struct posix_file *)(void *)base;
    int err = posix_sync_fd(f->fd, true);

    atomic_store_explicit(&f->checked_end, 0, memory_order_relaxed);
    return err ? posix_error(err, "sync", NULL, base->name) : ODB_OK;
}

void posix_write_behind(struct os_file *f, uint64_t off, uint64_t len)
{
#if defined(__linux__) && defined(SYNC_FILE_RANGE_WRITE)
    /* without the WAIT flags it neither waits nor takes an error that sync must report */
    (void)sync_file_range(posix_fd_of(f), (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
#else
    (void)f;
    (void)off;
    (void)len;
#endif
}

void posix_read_ahead(struct os_file *f, uint64_t off, size_t len)
{
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise(posix_fd_of(f), (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
#else
    (void)f;
    (void)off;
    (void)len;
#endif
}

odb_status posix_write_zeros(int fd, const char *name, uint64_t off, uint64_t len)
{
    size_t room = len < POSIX_ZEROS_LEN ? (size_t)len : POSIX_ZEROS_LEN;
    uint8_t *zeros = mem_zalloc(1, room);
    odb_status st = ODB_OK;

    if (!zeros)
        return err_set(ODB_NOMEM, "no memory to reserve space in %s", name);
    while (len > 0 && st == ODB_OK) {
        size_t n = len < room ? (size_t)len : room;

        st = posix_write_all(fd, name, off, zeros, n);
        off += n;
        len -= n;
    }
    mem_free(zeros);
    return st;
}

odb_status posix_allocate(int fd, const char *name, uint64_t off, uint64_t len)
{
#ifdef __linux__
    int r;

    do
        r = fallocate(fd, 0, (off_t)off, (off_t)len);
    while (r != 0 && errno == EINTR);
    if (r == 0)
        return ODB_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return posix_error(errno, "reserve space in", NULL, name);
#else
    (void)fd;
    (void)name;
    (void)off;
    (void)len;
#endif
    return ODB_UNSUPPORTED;
}

odb_status posix_reserve(struct os_file *f, uint64_t off, uint64_t len, bool written)
{
    uint64_t end = off + len, size = 0;
    odb_status st = posix_check_limit(f->name, end);

    if (st != ODB_OK)
        return st;
    st = posix_size(f, &size);
    if (st != ODB_OK)
        return st;
    if (!written || off < size) { /* holes before the end can only be filled this way */
        uint64_t upto = written && size < end ? size : end;

        st = posix_allocate(posix_fd_of(f), f->name, off, upto - off);
        if (st != ODB_OK && st != ODB_UNSUPPORTED)
            return st;
        if (!written && st == ODB_OK)
            return ODB_OK;
    }
    /* A gap between the end and `off` stays a hole, as it would with fallocate. */
    if (size < off)
        size = off;
    return size < end ? posix_write_zeros(posix_fd_of(f), f->name, size, end - size) : ODB_OK;
}

odb_status posix_truncate(struct os_file *f, uint64_t size)
{
    uint64_t now = 0;
    odb_status st = posix_size(f, &now);
    int r;

    if (st == ODB_OK && size > now)
        st = posix_check_limit(f->name, size);
    if (st != ODB_OK)
        return st;
    do
        r = ftruncate(posix_fd_of(f), (off_t)size);
    while (r != 0 && errno == EINTR);
    return r == 0 ? ODB_OK : posix_error(errno, "truncate", NULL, f->name);
}
