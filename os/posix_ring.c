/* os/posix_ring.c -- the file behind the commit ring: written, mapped shared, locked in memory.
 *
 *     RING.new  --blocks, mmap, mlock-->  rename  -->  RING
 *
 * Stores into the map go to the kernel's page cache, where they outlive the process. The hazards of
 * a mapped file and what is done about each:
 *
 * 1. A store must never need a block, or a full disk is a SIGBUS. The blocks of a ring are allocated
 *    before it is mapped: by fallocate, where the file system is known to give real ones that a store
 *    needs nothing more for, else by writing and syncing every byte. A ring that is there already may
 *    have come as a copy with holes, and how many blocks it has does not tell; on XFS it may share them
 *    with the original. So its blocks are asked for as well, or it is written over with its own content.
 *    Copy-on-write file systems, where no block is ever safely ours, and those whose pages live elsewhere
 *    are refused.
 * 2. A store must not fault for long: the pages are locked. Where the host's limit refuses that, so
 *    do we, rather than take stalls inside a commit.
 * 3. A forked child must not scribble: the map is not inherited.
 * 4. A ring never appears half made: until the rename it has another name, which the next try
 *    removes. The name is not synced here: what a power cut takes, the ring never promised.
 *
 * A file that somebody truncates while we run still means SIGBUS; the directory is ours (0600, 0700,
 * the lock).
 */
#include "os/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

#include "base/alloc.h"

#define RING_COPY_LEN ((size_t)64 << 10)

struct posix_ring {
    struct os_ring base;
};

#ifdef __linux__
#define RING_FS_XFS 0x58465342U

/* File systems that overwrite in place, by the magic number of statfs(2). What is not listed
 * (btrfs, zfs, bcachefs, overlay, nfs, smb, ceph, 9p, fuse, ...) is refused. */
static const uint32_t ring_fs_trusted[] = {
    0xEF53U,                  /* ext2, ext3, ext4 */
    RING_FS_XFS, 0x01021994U, /* tmpfs */
    0xF2F52010U,              /* f2fs: overwrites mapped pages from space it holds back */
    0x858458F6U,              /* ramfs */
    0x3153464AU,              /* jfs */
};
#define RING_FS_ALLOCATING 3 /* so many of them, the first, are ring_fs.allocates */
#endif

struct ring_fs {
    bool may_share; /* blocks of a file may belong to another file as well */
    bool allocates; /* what fallocate gives is blocks, and a store into them needs nothing more */
};

/* ODB_OK on a file system whose mapped files can be trusted. */
static odb_status ring_check_fs(const struct os_dir *dir, struct ring_fs *out)
{
#ifdef __linux__
    struct statfs s;
    uint32_t magic;

    if (fstatfs(posix_dir_fd(dir), &s) != 0)
        return posix_error(errno, "statfs", NULL, dir->path);
    magic = (uint32_t)s.f_type;
    out->may_share = magic == RING_FS_XFS;
    for (size_t i = 0; i < sizeof ring_fs_trusted / sizeof ring_fs_trusted[0]; i++)
        if (ring_fs_trusted[i] == magic) {
            out->allocates = i < RING_FS_ALLOCATING;
            return ODB_OK;
        }
    return err_set(ODB_UNSUPPORTED, "%s: no commit ring on this kind of file system (0x%lx)",
                   dir->path, (unsigned long)magic);
#else
    *out = (struct ring_fs){.may_share = true};
    return err_set(ODB_UNSUPPORTED, "%s: no commit ring on this system", dir->path);
#endif
}

/* Map and lock `fd` into `r`. */
static odb_status ring_map(struct posix_ring *r, int fd, const char *name, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    odb_status st = ODB_OK;

    if (p == MAP_FAILED)
        return err_set(ODB_UNSUPPORTED, "map %s: %s", name, strerror(errno));
    if (mlock(p, size) != 0)
        st = err_set(ODB_UNSUPPORTED, "lock %zu bytes of %s in memory: %s (see 'ulimit -l')", size,
                     name, strerror(errno));
#ifdef MADV_DONTFORK
    else if (madvise(p, size, MADV_DONTFORK) != 0)
        st = err_set(ODB_UNSUPPORTED, "keep %s from children: %s", name, strerror(errno));
#endif
    if (st == ODB_OK)
        r->base.view = (struct os_ring_view){p, size, NULL};
    else
        (void)munmap(p, size);
    return st;
}

/* See to it that every block of the file, which may be new and empty, exists and is its own (1): let
 * fallocate give them, or write it over with what it holds. */
static odb_status ring_own_blocks(int fd, const char *name, size_t size, bool may_allocate)
{
    odb_status st = may_allocate ? posix_allocate(fd, name, 0, size) : ODB_UNSUPPORTED;
    uint8_t *copy;
    int err;

    if (st != ODB_UNSUPPORTED)
        return st;
    st = ODB_OK;
    copy = mem_zalloc(1, RING_COPY_LEN);
    if (!copy)
        return err_set(ODB_NOMEM, "no memory to open %s", name);
    for (size_t off = 0; off < size && st == ODB_OK;) {
        size_t want = size - off < RING_COPY_LEN ? size - off : RING_COPY_LEN;
        ssize_t n = pread(fd, copy, want, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            n = (ssize_t)want; /* a new one: nothing was read yet */
        st = n < 0 ? posix_error(errno, "read", NULL, name)
                   : posix_write_all(fd, name, off, copy, (size_t)n);
        off += (size_t)n;
    }
    mem_free(copy);
    if (st != ODB_OK)
        return st;
    err = posix_sync_fd(fd, true); /* else the blocks are promised, not there */
    return err ? posix_error(err, "sync", NULL, name) : ODB_OK;
}

/* Make a new ring under another name and put it in place once it is whole and mapped. */
static odb_status ring_create(struct posix_ring *r, struct os_dir *dir, const struct ring_fs *fs,
                              const char *name, size_t size)
{
    char fresh[300]; /* a name has at most 255 bytes (os.c, 1) */
    odb_status st;
    int fd;

    (void)snprintf(fresh, sizeof fresh, "%s.new", name);
    (void)unlinkat(posix_dir_fd(dir), fresh, 0); /* of a try that a crash cut short */
    fd = posix_open_at(dir, fresh, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return posix_error(errno, "create", dir->path, fresh);
    st = ring_own_blocks(fd, fresh, size, fs->allocates);
    if (st != ODB_OK)
        goto done;
    st = ring_map(r, fd, name, size);
    if (st != ODB_OK)
        goto done;
    if (renameat(posix_dir_fd(dir), fresh, posix_dir_fd(dir), name) != 0)
        st = posix_error(errno, "rename", dir->path, fresh);
done:
    if (st != ODB_OK)
        (void)unlinkat(posix_dir_fd(dir), fresh, 0); /* else the next try does */
    (void)close(fd);
    return st;
}

odb_status posix_ring_open(struct os_dir *dir, const char *name, size_t size, struct os_ring **out)
{
    struct posix_ring *r = mem_zalloc(1, sizeof *r);
    uint64_t has_size = 0;
    struct ring_fs fs = {0};
    odb_status st;
    int fd = -1;

    if (!r)
        return err_set(ODB_NOMEM, "no memory to open %s", name);
    r->base.os = dir->os;
    st = ring_check_fs(dir, &fs);
    if (st == ODB_OK)
        st = posix_check_limit(name, size);
    if (st != ODB_OK)
        goto done;
    st = posix_open_regular(dir, name, O_RDWR, &fd, &has_size);
    if (st == ODB_ABSENT || (st == ODB_OK && has_size != size)) {
        st = ring_create(r, dir, &fs, name, size);
        goto done;
    }
    if (st != ODB_OK)
        goto done;
    st = ring_own_blocks(fd, name, size, fs.allocates && !fs.may_share);
    if (st == ODB_OK)
        st = ring_map(r, fd, name, size);
done:
    if (fd >= 0)
        (void)close(fd); /* the map holds the file */
    if (st == ODB_OK)
        *out = &r->base;
    else
        posix_ring_close(&r->base);
    return st;
}

void posix_ring_close(struct os_ring *base)
{
    struct posix_ring *r = (struct posix_ring *)(void *)base;

    if (base->view.base)
        (void)munmap(base->view.base,
                     base->view.size); /* fails in a child, which has no such map */
    mem_free(r);
}
