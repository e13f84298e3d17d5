/* os/os.c -- what every implementation of os.h has in common.
 *
 *     caller --> os.c: names, read-only handles, ranges, sticky syncs --> os_ops --> posix | sim
 *
 * 1. A name that reaches an operation is one plain component: not empty, not "." or "..", no '/',
 *    at most OS_NAME_MAX bytes. Names read from a damaged manifest therefore cannot leave the
 *    directory (C46).
 * 2. A handle on a read-only directory reaches no operation that changes anything (C47, P10); a
 *    file opened without OS_WRITE is not written.
 * 3. Syncs of one handle happen one after the other, and the first failure is the answer to all
 *    later ones (P6). The kernel reports a lost page to one caller only: without the lock, a second
 *    sync beside the failing one would be told OK for the same pages (C22).
 * 4. `off + len` of a transfer fits a signed 64-bit file offset.
 *
 * Threads: no state of its own but the sync lock of a handle, which ranks below everything else in
 * os/. Reads and writes take no lock and cost one range check and one indirect call.
 */
#include "os/os.h"

#include "base/alloc.h"
#include "base/canary.h"
#include "os/os_ops.h"

#define OS_NAME_MAX 255 /* NAME_MAX of every file system in use */

static odb_status os_check_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len == 0)
        return err_set(ODB_INVALID, "a file name is empty");
    if (len > OS_NAME_MAX)
        return err_set(ODB_INVALID, "a file name of %zu bytes is over the limit of %d", len,
                       OS_NAME_MAX);
    if (CANARY(46))
        return ODB_OK;
    if (memchr(name, '/', len) || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(ODB_INVALID, "file name '%s' would leave the directory", name);
    return ODB_OK;
}

/* `name` is NULL where the call concerns the directory itself. */
static odb_status os_check_change(const struct os_dir *dir, const char *name)
{
    if (dir->is_readonly)
        return err_set(ODB_READONLY, "%s is open read-only; %s is left as it is", dir->path,
                       name ? name : "it");
    return name ? os_check_name(name) : ODB_OK;
}

static odb_status os_check_range(const struct os_file *f, uint64_t off, uint64_t len)
{
    if (ODB_UNLIKELY(off > INT64_MAX || len > INT64_MAX - off))
        return err_set(ODB_INVALID, "%s: %llu bytes at offset %llu are past the largest file",
                       f->name, (unsigned long long)len, (unsigned long long)off);
    return ODB_OK;
}

static odb_status os_check_write(const struct os_file *f, uint64_t off, uint64_t len)
{
    if (ODB_UNLIKELY(!f->is_writable))
        return err_set(ODB_READONLY, "%s is open for reading only", f->name);
    return os_check_range(f, off, len);
}

/* ---- for implementations ---- */

static char *os_copy_text(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = mem_alloc(size);

    if (copy)
        memcpy(copy, s, size);
    return copy;
}

static void os_sync_init(struct os_sync_state *s)
{
    os_mutex_init(&s->lock, RANK_OS_SYNC);
    s->failed = ODB_OK;
}

odb_status os_dir_init(struct os_dir *dir, struct os *os, const char *path, unsigned flags)
{
    dir->path = os_copy_text(path);
    if (!dir->path)
        return err_set(ODB_NOMEM, "no memory to open directory %s", path);
    dir->os = os;
    dir->is_readonly = (flags & OS_DIR_READONLY) != 0;
    os_sync_init(&dir->sync);
    return ODB_OK;
}

void os_dir_release(struct os_dir *dir)
{
    if (!dir->path)
        return;
    os_mutex_destroy(&dir->sync.lock);
    mem_free(dir->path);
    dir->path = NULL;
}

odb_status os_file_init(struct os_file *f, struct os *os, const char *name, unsigned flags)
{
    f->name = os_copy_text(name);
    if (!f->name)
        return err_set(ODB_NOMEM, "no memory to open %s", name);
    f->os = os;
    f->is_writable = (flags & OS_WRITE) != 0;
    os_sync_init(&f->sync);
    return ODB_OK;
}

void os_file_release(struct os_file *f)
{
    if (!f->name)
        return;
    os_mutex_destroy(&f->sync.lock);
    mem_free(f->name);
    f->name = NULL;
}

/* ---- directories ---- */

odb_status os_dir_open(struct os *os, const char *path, unsigned flags, struct os_dir **out)
{
    if (!path || !*path)
        return err_set(ODB_INVALID, "the path of the directory is empty");
    if ((flags & OS_DIR_CREATE) && (flags & OS_DIR_READONLY))
        return err_set(ODB_INVALID, "%s: a directory is not created read-only", path);
    return os->ops->dir_open(os, path, flags, out);
}

void os_dir_close(struct os_dir *dir)
{
    if (dir)
        dir->os->ops->dir_close(dir);
}

const char *os_dir_path(const struct os_dir *dir)
{
    return dir->path;
}

odb_status os_dir_sync(struct os_dir *dir)
{
    odb_status st = os_check_change(dir, NULL);

    if (st != ODB_OK)
        return st;
    os_mutex_lock(&dir->sync.lock);
    st = (odb_status)dir->sync.failed;
    if (st != ODB_OK) {
        st = err_set(st, "sync of directory %s failed before; reopen the database", dir->path);
    } else {
        st = dir->os->ops->dir_sync(dir);
        dir->sync.failed = (int)st;
    }
    os_mutex_unlock(&dir->sync.lock);
    return st;
}

odb_status os_dir_list(struct os_dir *dir, bool (*each)(void *arg, const char *name), void *arg)
{
    return dir->os->ops->dir_list(dir, each, arg);
}

uint64_t os_dir_free_bytes(struct os_dir *dir)
{
    return dir->os->ops->dir_free_bytes(dir);
}

odb_status os_remove(struct os_dir *dir, const char *name)
{
    odb_status st = os_check_change(dir, name);

    return st != ODB_OK ? st : dir->os->ops->remove(dir, name);
}

odb_status os_rename(struct os_dir *dir, const char *from, const char *to)
{
    odb_status st = os_check_change(dir, from);

    if (st == ODB_OK)
        st = os_check_name(to);
    return st != ODB_OK ? st : dir->os->ops->rename(dir, from, to);
}

odb_status os_lock(struct os_dir *dir, const char *name, struct os_lock **out)
{
    odb_status st = os_check_name(name);

    return st != ODB_OK ? st : dir->os->ops->lock(dir, name, out);
}

void os_unlock(struct os_lock *lock)
{
    if (lock)
        lock->os->ops->unlock(lock);
}

/* ---- files ---- */

odb_status os_open(struct os_dir *dir, const char *name, unsigned flags, struct os_file **out)
{
    odb_status st = (flags & OS_WRITE) ? os_check_change(dir, name) : os_check_name(name);

    if (st != ODB_OK)
        return st;
    if ((flags & OS_CREATE) && !(flags & OS_WRITE))
        return err_set(ODB_INVALID, "%s: a file is not created for reading only", name);
    return dir->os->ops->open(dir, name, flags, out);
}

void os_close(struct os_file *f)
{
    if (f)
        f->os->ops->close(f);
}

const char *os_file_name(const struct os_file *f)
{
    return f->name;
}

odb_status os_size(struct os_file *f, uint64_t *out)
{
    return f->os->ops->size(f, out);
}

odb_status os_read(struct os_file *f, uint64_t off, void *data, size_t len, size_t *got)
{
    odb_status st = os_check_range(f, off, len);

    return ODB_UNLIKELY(st != ODB_OK) ? st : f->os->ops->read(f, off, data, len, got);
}

odb_status os_write(struct os_file *f, uint64_t off, const void *data, size_t len)
{
    odb_status st = os_check_write(f, off, len);

    return ODB_UNLIKELY(st != ODB_OK) ? st : f->os->ops->write(f, off, data, len);
}

odb_status os_sync(struct os_file *f)
{
    odb_status st;

    os_mutex_lock(&f->sync.lock);
    st = (odb_status)f->sync.failed;
    if (st != ODB_OK) {
        st = err_set(st, "sync of %s failed before; reopen the database", f->name);
    } else {
        st = f->os->ops->sync(f);
        f->sync.failed = CANARY(22) ? ODB_OK : (int)st;
    }
    os_mutex_unlock(&f->sync.lock);
    return st;
}

void os_write_behind(struct os_file *f, uint64_t off, uint64_t len)
{
    if (off <= INT64_MAX && len <= INT64_MAX - off)
        f->os->ops->write_behind(f, off, len);
}

odb_status os_reserve(struct os_file *f, uint64_t off, uint64_t len, bool written)
{
    odb_status st = os_check_write(f, off, len);

    if (st != ODB_OK || len == 0)
        return st;
    return f->os->ops->reserve(f, off, len, written);
}

odb_status os_truncate(struct os_file *f, uint64_t size)
{
    odb_status st = os_check_write(f, size, 0);

    return st != ODB_OK ? st : f->os->ops->truncate(f, size);
}

void os_read_ahead(struct os_file *f, uint64_t off, size_t len)
{
    if (off <= INT64_MAX && len <= INT64_MAX - off)
        f->os->ops->read_ahead(f, off, len);
}

/* ---- the commit ring ---- */

odb_status os_ring_open(struct os_dir *dir, const char *name, size_t size, struct os_ring **out)
{
    odb_status st = os_check_change(dir, name);

    if (st != ODB_OK)
        return st;
    if (size < 4096 || (size & (size - 1)) != 0)
        return err_set(ODB_INVALID,
                       "%s: a ring of %zu bytes; a power of two from 4096 up is needed", name,
                       size);
    return dir->os->ops->ring_open(dir, name, size, out);
}

void os_ring_close(struct os_ring *r)
{
    if (r)
        r->os->ops->ring_close(r);
}

size_t os_ring_size(const struct os_ring *r)
{
    return r->view.size;
}

/* ---- clock, chance, identity ---- */

uint64_t os_now_ns(struct os *os)
{
    return os->ops->now_ns(os);
}

uint64_t os_wall_us(struct os *os)
{
    return os->ops->wall_us(os);
}

odb_status os_random(struct os *os, void *data, size_t len)
{
    return os->ops->random(os, data, len);
}

uint64_t os_fork_count(struct os *os)
{
    return os->ops->fork_count(os);
}

unsigned os_cpu_count(struct os *os)
{
    return os->ops->cpu_count(os);
}
