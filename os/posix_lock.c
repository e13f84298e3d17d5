/* os/posix_lock.c -- one writer, or any number of readers, in a directory (C43, P15).
 *
 *     within this process        registry: (device, inode) of the directory -> writer or readers
 *     between processes          OFD lock on byte 0 of the file LOCK
 *
 * 1. Two handles never hold one directory but for reading, whether they belong to one process or
 *    to two. The registry is asked first, so that the lock file is never opened a second time beside
 *    a writer of this process: where only classic locks exist, closing that second descriptor would
 *    drop the first one's lock.
 * 2. OFD locks belong to the open file, so nothing else in the host program that happens to open
 *    and close LOCK gives them away. The price: a forked child inherits the open file and keeps the
 *    directory taken should its parent die without posix_unlock. Better that than two writers. The
 *    child itself never unlocks: it only closes its copy.
 * 3. The lock is good only if the name still leads to the locked file: somebody may have removed
 *    it between our open and our lock.
 *
 * Threads: `lock_registry` is guarded by its mutex. It is process-wide because the question it
 * answers is; it holds only what is locked now, so it is empty once every database is closed.
 */
#include "os/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/canary.h"

struct posix_lock {
    struct os_lock base;
    struct posix_lock *next; /* in the registry */
    dev_t dev;
    ino_t ino;
    uint64_t fork_count; /* of the process that took it; others see a leftover */
    bool is_shared;
    int fd; /* -1: a reader where nothing can be locked */
};

static struct {
    struct os_mutex lock;
    struct posix_lock *first ODB_GUARDED(lock);
} lock_registry = {.lock = OS_MUTEX_INIT(RANK_OS)};

/* ODB_BUSY when this process holds the directory in a way that excludes `l`; else `l` is in. */
static odb_status registry_enter(struct posix_lock *l, const char *path)
{
    odb_status st = ODB_OK;

    os_mutex_lock(&lock_registry.lock);
    for (struct posix_lock *o = lock_registry.first; o && st == ODB_OK; o = o->next)
        if (o->dev == l->dev && o->ino == l->ino && o->fork_count == l->fork_count &&
            !(o->is_shared && l->is_shared) && !CANARY(43))
            st = err_set(ODB_BUSY, "%s is already open in this process", path);
    if (st == ODB_OK) {
        l->next = lock_registry.first;
        lock_registry.first = l;
    }
    os_mutex_unlock(&lock_registry.lock);
    return st;
}

static void registry_leave(struct posix_lock *l)
{
    os_mutex_lock(&lock_registry.lock);
    for (struct posix_lock **o = &lock_registry.first; *o; o = &(*o)->next)
        if (*o == l) {
            *o = l->next;
            break;
        }
    os_mutex_unlock(&lock_registry.lock);
}

/* F_RDLCK, F_WRLCK or F_UNLCK on byte 0, without waiting. 0, or an errno value. */
static int lock_byte(int fd, short type)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    int r;

    do {
#ifdef F_OFD_SETLK
        r = fcntl(fd, F_OFD_SETLK, &range);
        if (r != 0 && errno == EINVAL) /* a kernel older than the headers */
            r = fcntl(fd, F_SETLK, &range);
#else
        r = fcntl(fd, F_SETLK, &range);
#endif
    } while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : errno;
}

static bool lock_err_is_unable(int err)
{
    return err == ENOLCK || err == EOPNOTSUPP || err == ENOTSUP || err == ENOSYS || err == EINVAL;
}

/* *is_current: whether `name` still is the file behind `fd`. */
static odb_status lock_file_is_current(const struct os_dir *dir, const char *name, int fd,
                                       bool *is_current)
{
    struct stat held, named;

    *is_current = false;
    if (fstat(fd, &held) != 0)
        return posix_error(errno, "stat", dir->path, name);
    if (fstatat(posix_dir_fd(dir), name, &named, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ODB_OK : posix_error(errno, "stat", dir->path, name);
    *is_current = held.st_dev == named.st_dev && held.st_ino == named.st_ino;
    return ODB_OK;
}

/* Open and lock once. *fd stays -1 where a reader has nothing to lock. *again: the file was replaced
 * meanwhile. */
static odb_status lock_file(const struct os_dir *dir, const char *name, int *fd, bool *again)
{
    int opened = -1, err;
    odb_status st = posix_open_regular(dir, name, dir->is_readonly ? O_RDONLY : O_RDWR | O_CREAT,
                                       &opened, NULL);
    bool is_current = false;

    *again = false;
    if (st == ODB_ABSENT && dir->is_readonly)
        return ODB_OK;
    if (st != ODB_OK)
        return st;
    err = CANARY(43) ? 0 : lock_byte(opened, dir->is_readonly ? F_RDLCK : F_WRLCK);
    if (err == EAGAIN || err == EACCES) {
        st = err_set(ODB_BUSY, "%s is open in another process", dir->path);
    } else if (lock_err_is_unable(err)) {
        if (!dir->is_readonly)
            st = err_set(ODB_UNSUPPORTED, "lock %s/%s: this file system cannot lock files",
                         dir->path, name);
    } else if (err) {
        st = posix_error(err, "lock", dir->path, name);
    } else {
        st = lock_file_is_current(dir, name, opened, &is_current);
        if (is_current) {
            *fd = opened;
            return ODB_OK;
        }
        *again = st == ODB_OK;
    }
    (void)close(opened);
    return st;
}

odb_status posix_lock(struct os_dir *dir, const char *name, struct os_lock **out)
{
    struct posix_lock *l = mem_zalloc(1, sizeof *l);
    struct stat s;
    odb_status st;
    bool again;

    if (!l)
        return err_set(ODB_NOMEM, "no memory to lock %s", dir->path);
    l->base.os = dir->os;
    l->fd = -1;
    l->fork_count = os_fork_count(dir->os);
    l->is_shared = dir->is_readonly;
    if (fstat(posix_dir_fd(dir), &s) != 0) {
        st = posix_error(errno, "stat directory", NULL, dir->path);
        goto done;
    }
    l->dev = s.st_dev;
    l->ino = s.st_ino;
    st = registry_enter(l, dir->path);
    if (st != ODB_OK)
        goto done;
    do
        st = lock_file(dir, name, &l->fd, &again);
    while (st == ODB_OK && again);
    if (st != ODB_OK) {
        registry_leave(l);
        goto done;
    }
    *out = &l->base;
    l = NULL;
done:
    mem_free(l);
    return st;
}

void posix_unlock(struct os_lock *lock)
{
    struct posix_lock *l = (struct posix_lock *)(void *)lock;

    if (l->fd >= 0) {
        if (l->fork_count == os_fork_count(lock->os))
            (void)lock_byte(l->fd,
                            F_UNLCK); /* a child may hold a copy of fd: closing is not enough */
        (void)close(l->fd);
    }
    registry_leave(l);
    mem_free(l);
}
