/* os/posix_dir.c -- directories: held open, everything inside reached relative to the descriptor.
 *
 * 1. A directory is held by descriptor. Renaming it, or putting another in its place, does not
 *    redirect later calls (C49).
 * 2. Inside it no symbolic link is followed (C46).
 *
 * Crashes: entries become durable by posix_dir_sync only. A directory made here has its parent
 * synced before the open returns, also when it was there already: the process that made it may have
 * died in between.
 */
#include "os/posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* renameat */
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"

int posix_sync_fd(int fd, bool data_only)
{
    int r;

    do {
#if defined(__APPLE__) && defined(F_FULLFSYNC)
        r = fcntl(fd, F_FULLFSYNC); /* fsync there stops at the drive's cache */
        if (r != 0 && errno != EINTR)
            r = fsync(fd);
        (void)data_only;
#else
        r = data_only ? fdatasync(fd) : fsync(fd);
#endif
    } while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : errno;
}

int posix_open_at(const struct os_dir *dir, const char *name, int flags)
{
    int fd;

    do
        fd = openat(posix_dir_fd(dir), name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                    0600);
    while (fd < 0 && errno == EINTR);
    return posix_fd_above(fd);
}

/* A directory as seen from another, with a position of its own: two lists at once must not share one. */
static int posix_open_folder(int at, const char *name)
{
    int fd;

    do
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Without the right to look into the parent its sync is left out: such a directory was made by
 * somebody else, who had that right. */
static odb_status posix_sync_parent(int fd, const char *path)
{
    int parent = posix_open_folder(fd, "..");
    int err;

    if (parent < 0)
        return errno == EACCES ? ODB_OK : posix_error(errno, "open parent of", NULL, path);
    err = posix_sync_fd(parent, false);
    (void)close(parent);
    return err ? posix_error(err, "sync parent of", NULL, path) : ODB_OK;
}

odb_status posix_dir_open(struct os *os, const char *path, unsigned flags, struct os_dir **out)
{
    struct posix_dir *d = mem_zalloc(1, sizeof *d);
    odb_status st;

    if (!d)
        return err_set(ODB_NOMEM, "no memory to open directory %s", path);
    d->fd = -1;
    st = os_dir_init(&d->base, os, path, flags);
    if (st != ODB_OK)
        goto done;
    if ((flags & OS_DIR_CREATE) && mkdir(path, 0700) != 0 && errno != EEXIST) {
        st = posix_error(errno, "mkdir", NULL, path);
        goto done;
    }
    d->fd = posix_fd_above(posix_open_folder(AT_FDCWD, path));
    if (d->fd < 0) {
        st = posix_error(errno, "open directory", NULL, path);
        goto done;
    }
    if (flags & OS_DIR_CREATE)
        st = posix_sync_parent(d->fd, path);
done:
    if (st != ODB_OK)
        posix_dir_close(&d->base);
    else
        *out = &d->base;
    return st;
}

void posix_dir_close(struct os_dir *dir)
{
    struct posix_dir *d = (struct posix_dir *)(void *)dir;

    if (d->fd >= 0)
        (void)close(d->fd);
    os_dir_release(dir);
    mem_free(d);
}

odb_status posix_dir_sync(struct os_dir *dir)
{
    int err = posix_sync_fd(posix_dir_fd(dir), false);

    return err ? posix_error(err, "sync directory", NULL, dir->path) : ODB_OK;
}

odb_status posix_dir_list(struct os_dir *dir, bool (*each)(void *, const char *), void *arg)
{
    int fd = posix_fd_above(posix_open_folder(posix_dir_fd(dir), "."));
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    odb_status st = ODB_OK;
    struct dirent *e;

    if (!stream) {
        st = posix_error(errno, "list directory", NULL, dir->path);
        if (fd >= 0)
            (void)close(fd);
        return st;
    }
    for (;;) {
        errno = 0;
        e = readdir(stream);
        if (!e) {
            if (errno != 0)
                st = posix_error(errno, "list directory", NULL, dir->path);
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (!each(arg, e->d_name))
            break;
    }
    (void)closedir(stream);
    return st;
}

uint64_t posix_dir_free_bytes(struct os_dir *dir)
{
    struct statvfs v;

    if (fstatvfs(posix_dir_fd(dir), &v) != 0)
        return UINT64_MAX;
    if (v.f_frsize != 0 && v.f_bavail > UINT64_MAX / v.f_frsize)
        return UINT64_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

odb_status posix_remove(struct os_dir *dir, const char *name)
{
    if (unlinkat(posix_dir_fd(dir), name, 0) != 0)
        return posix_error(errno, "remove", dir->path, name);
    return ODB_OK;
}

odb_status posix_rename(struct os_dir *dir, const char *from, const char *to)
{
    if (renameat(posix_dir_fd(dir), from, posix_dir_fd(dir), to) != 0)
        return posix_error(errno, "rename", dir->path, from);
    return ODB_OK;
}
