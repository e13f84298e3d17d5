/* os/sim.c -- the operations of os.h on a simulated disk.
 *
 *     sim_begin    number, crash?, fault hook, record       (ends with the disk's lock held)
 *     ...          change `live`, append to what is pending
 *     sim_end      release the lock
 *
 * 1. Every operation changes live state and records what a sync would have to make durable; only a
 *    sync (and making a directory) changes durable state.
 * 2. From the operation of the crash on nothing changes any more. Handles of a dead disk can still be
 *    closed.
 * 3. Stores into a ring are seen through os_ring_view.spy, which copies them from the mapped memory
 *    into the inode. Now and then a page is written back, as the kernel would.
 *
 * What a crash leaves: os/sim_image.c. What a disk is made of: os/sim_disk.c.
 */
#include "os/sim.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "os/sim_priv.h"

#define SIM_FLUSH_ONE_IN 16 /* ring stores for each page the kernel happens to write back */

struct sim_dir {
    struct os_dir base;
    struct sim_node *node;
};

struct sim_file {
    struct os_file base;
    struct sim_inode *inode;
};

struct sim_lock {
    struct os_lock base;
    struct sim_node *node;
    bool is_shared;
};

struct sim_ring {
    struct os_ring base;
    struct sim_inode *inode;
};

static const struct sim_op_info {
    const char *name;
    bool mutates;
} sim_op_info[SIM_OP_KINDS] = {
    [SIM_DIR_OPEN] = {"dir_open", false},
    [SIM_DIR_CREATE] = {"dir_create", true},
    [SIM_DIR_SYNC] = {"dir_sync", true},
    [SIM_DIR_LIST] = {"dir_list", false},
    [SIM_REMOVE] = {"remove", true},
    [SIM_RENAME] = {"rename", true},
    [SIM_LOCK] = {"lock", false},
    [SIM_OPEN] = {"open", false},
    [SIM_CREATE] = {"create", true},
    [SIM_SIZE] = {"size", false},
    [SIM_READ] = {"read", false},
    [SIM_WRITE] = {"write", true},
    [SIM_SYNC] = {"sync", true},
    [SIM_RESERVE] = {"reserve", true},
    [SIM_TRUNCATE] = {"truncate", true},
    [SIM_RING_OPEN] = {"ring_open", false},
    [SIM_RING_CREATE] = {"ring_create", true},
    [SIM_RING_STORE] = {"ring_store", true},
    [SIM_RANDOM] = {"random", false},
};

const char *sim_op_name(enum sim_op op)
{
    return (unsigned)op < SIM_OP_KINDS ? sim_op_info[op].name : "?";
}

bool sim_op_mutates(enum sim_op op)
{
    return (unsigned)op < SIM_OP_KINDS && sim_op_info[op].mutates;
}

static struct sim *sim_of(struct os *os)
{
    return (struct sim *)(void *)os;
}

static struct sim_node *sim_node_of(struct os_dir *dir)
{
    return ((struct sim_dir *)(void *)dir)->node;
}

static struct sim_inode *sim_inode_of(struct os_file *f)
{
    return ((struct sim_file *)(void *)f)->inode;
}

/* ---- the frame of every operation ---- */

/* One operation under way. */
struct sim_call {
    struct sim *s;
    enum sim_op op;
    uint64_t op_no;
    uint64_t off, len;
    const char *name;
    bool dies_here;           /* this is the operation of the crash */
    struct sim_inode *writes; /* what a crash inside would leave parts of `bytes` in */
    const void *bytes;
};

static void sim_record_add(const struct sim_call *c, odb_status st)
{
    struct sim *s = c->s;
    struct sim_record *r;

    if (!s->is_logging)
        return;
    if (s->log_count == s->log_cap) {
        s->log_cap = s->log_cap ? s->log_cap * 2 : 64;
        s->log = sim_mem_more(s->log, s->log_cap * sizeof *s->log);
    }
    r = &s->log[s->log_count++];
    *r = (struct sim_record){c->op_no, c->op, st, c->off, c->len, ""};
    (void)snprintf(r->name, sizeof r->name, "%s", c->name);
}

/* Number the operation and ask whether it may happen. Returns with the lock held in any case. */
ODB_UNCHECKED static odb_status sim_begin(struct sim_call *c)
{
    struct sim *s = c->s;
    odb_status (*fault)(void *, enum sim_op, const char *, uint64_t);
    odb_status st = ODB_OK;
    void *arg;

    os_mutex_lock(&s->lock);
    c->op_no = ++s->ops;
    s->kind[c->op]++;
    fault = s->fault;
    arg = s->fault_arg;
    if (fault && !s->is_dead) {
        s->flight =
            (struct sim_flight){c->writes, c->op, c->op_no, c->off, (size_t)c->len, c->bytes};
        os_mutex_unlock(&s->lock);
        st = fault(arg, c->op, c->name, c->op_no);
        os_mutex_lock(&s->lock);
        s->flight.inode = NULL;
    }
    if (!s->is_dead && s->crash_at && c->op_no >= s->crash_at) {
        s->is_dead = true;
        c->dies_here = true;
    }
    if (s->is_dead)
        return err_set(ODB_IO, "%s %s: simulated crash", sim_op_name(c->op), c->name);
    if (st != ODB_OK)
        return err_set(st, "%s %s: simulated fault at operation %llu", sim_op_name(c->op), c->name,
                       (unsigned long long)c->op_no);
    if (sim_op_mutates(c->op))
        s->mutations++;
    return ODB_OK;
}

ODB_UNCHECKED static odb_status sim_end(const struct sim_call *c, odb_status st)
{
    sim_record_add(c, st);
    os_mutex_unlock(&c->s->lock);
    return st;
}

/* How far [from, to) of a file of that size may grow before the disk is full. */
static uint64_t sim_room(const struct sim *s, const struct sim_inode *ino, uint64_t to)
{
    uint64_t used = 0, mine = (ino->live.size + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;

    if (to > SIM_FILE_MAX)
        to = SIM_FILE_MAX;
    if (s->capacity == UINT64_MAX || to <= mine)
        return to;
    for (const struct sim_inode *i = s->inodes; i; i = i->next)
        if (i->links > 0 || i->opens > 0)
            used += (i->live.size + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;
    if (used >= s->capacity)
        return mine;
    if (to - mine > s->capacity - used)
        return mine + (s->capacity - used) / SIM_BLOCK * SIM_BLOCK;
    return to;
}

static odb_status sim_full(const struct sim_call *c)
{
    return err_set(ODB_NOSPACE, "%s %s: simulated disk is full", sim_op_name(c->op), c->name);
}

static odb_status sim_absent(const struct sim_call *c)
{
    return err_set(ODB_ABSENT, "%s %s: no such file", sim_op_name(c->op), c->name);
}

/* ---- directories ---- */

static odb_status sim_dir_open(struct os *os, const char *path, unsigned flags, struct os_dir **out)
{
    struct sim *s = sim_of(os);
    struct sim_call c = {.s = s, .op = SIM_DIR_OPEN, .name = ""};
    struct sim_dir *d = mem_zalloc(1, sizeof *d);
    odb_status st;

    if (!d)
        return err_set(ODB_NOMEM, "no memory to open directory %s", path);
    st = os_dir_init(&d->base, os, path, flags);
    if (st != ODB_OK) {
        mem_free(d);
        return st;
    }
    os_mutex_lock(&s->lock);
    if ((flags & OS_DIR_CREATE) && !sim_node_find(s, path))
        c.op = SIM_DIR_CREATE;
    os_mutex_unlock(&s->lock);
    st = sim_begin(&c);
    if (st == ODB_OK) {
        d->node = sim_node_find(s, path);
        if (!d->node && (flags & OS_DIR_CREATE))
            d->node = sim_node_new(s, path);
        if (!d->node)
            st = err_set(ODB_ABSENT, "open directory %s: no such directory", path);
    }
    st = sim_end(&c, st);
    if (st != ODB_OK) {
        os_dir_release(&d->base);
        mem_free(d);
        return st;
    }
    *out = &d->base;
    return ODB_OK;
}

static void sim_dir_close(struct os_dir *dir)
{
    os_dir_release(dir);
    mem_free(dir);
}

static odb_status sim_dir_sync(struct os_dir *dir)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    struct sim_call c = {.s = s, .op = SIM_DIR_SYNC, .name = ""};
    odb_status st = sim_begin(&c);

    if (st == ODB_OK) {
        for (size_t i = 0; i < n->pend_count; i++)
            sim_dirop_apply(s, &n->durable, &n->pend[i]);
        sim_node_clear(s, n);
    } else if (!s->is_dead) {
        sim_node_fail_sync(s, n);
    }
    return sim_end(&c, st);
}

static odb_status sim_dir_list(struct os_dir *dir, bool (*each)(void *, const char *), void *arg)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    struct sim_call c = {.s = s, .op = SIM_DIR_LIST, .name = ""};
    odb_status st = sim_begin(&c);
    char **names = NULL;
    size_t count = 0;

    if (st == ODB_OK) { /* `each` may call back into this disk: list a copy, without the lock */
        names = sim_mem(n->live.count * sizeof *names);
        for (; count < n->live.count; count++)
            names[count] = sim_mem_text(n->live.e[count].name);
    }
    st = sim_end(&c, st);
    for (size_t i = 0; i < count; i++)
        if (!each(arg, names[i]))
            break;
    for (size_t i = 0; i < count; i++)
        sim_mem_free(names[i]);
    sim_mem_free(names);
    return st;
}

static uint64_t sim_dir_free_bytes(struct os_dir *dir)
{
    struct sim *s = sim_of(dir->os);
    uint64_t used = 0, room = UINT64_MAX;

    os_mutex_lock(&s->lock);
    if (s->capacity != UINT64_MAX) {
        for (const struct sim_inode *i = s->inodes; i; i = i->next)
            if (i->links > 0 || i->opens > 0)
                used += (i->live.size + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;
        room = used < s->capacity ? s->capacity - used : 0;
    }
    os_mutex_unlock(&s->lock);
    return room;
}

/* Take `name` out of the live entries. */
static void sim_unlink(struct sim *s, struct sim_node *n, const char *name)
{
    for (size_t i = 0; i < n->live.count; i++)
        if (strcmp(n->live.e[i].name, name) == 0) {
            n->live.e[i].inode->links--;
            sim_entries_drop(s, &n->live, i);
            return;
        }
}

/* Put `ino` in as `name`, in the place of whatever has that name. */
static void sim_link(struct sim *s, struct sim_node *n, const char *name, struct sim_inode *ino)
{
    ino->refs++; /* across the unlink */
    sim_unlink(s, n, name);
    sim_entries_set(s, &n->live, name, ino);
    ino->links++;
    sim_inode_unref(s, ino);
}

static odb_status sim_remove(struct os_dir *dir, const char *name)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    struct sim_call c = {.s = s, .op = SIM_REMOVE, .name = name};
    odb_status st = sim_begin(&c);
    struct sim_inode *ino = sim_find(&n->live, name);

    if (st == ODB_OK && !ino)
        st = sim_absent(&c);
    if (st == ODB_OK) {
        sim_node_pend(n, SIM_REMOVE, c.op_no, name, NULL, ino);
        sim_unlink(s, n, name);
    }
    return sim_end(&c, st);
}

static odb_status sim_rename(struct os_dir *dir, const char *from, const char *to)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    struct sim_call c = {.s = s, .op = SIM_RENAME, .name = from};
    odb_status st = sim_begin(&c);
    struct sim_inode *ino = sim_find(&n->live, from);

    if (st == ODB_OK && !ino)
        st = sim_absent(&c);
    if (st == ODB_OK && strcmp(from, to) != 0) {
        sim_node_pend(n, SIM_RENAME, c.op_no, from, to, ino);
        sim_unlink(s, n, from);
        sim_link(s, n, to, ino);
        sim_mem_free(ino->name);
        ino->name = sim_mem_text(to);
    }
    return sim_end(&c, st);
}

/* A new empty file, live and pending. */
static struct sim_inode *sim_make(struct sim_node *n, const struct sim_call *c)
{
    struct sim_inode *ino = sim_inode_new(c->s, c->name);

    sim_link(c->s, n, c->name, ino);
    sim_node_pend(n, c->op, c->op_no, c->name, NULL, ino);
    return ino;
}

static bool sim_has(struct sim *s, struct sim_node *n, const char *name)
{
    bool has;

    os_mutex_lock(&s->lock);
    has = sim_find(&n->live, name) != NULL;
    os_mutex_unlock(&s->lock);
    return has;
}

static odb_status sim_lock(struct os_dir *dir, const char *name, struct os_lock **out)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    bool makes = !dir->is_readonly && !sim_has(s, n, name);
    struct sim_call c = {.s = s, .op = makes ? SIM_CREATE : SIM_LOCK, .name = name};
    struct sim_lock *l = mem_zalloc(1, sizeof *l);
    odb_status st;

    if (!l)
        return err_set(ODB_NOMEM, "no memory to lock %s", dir->path);
    *l = (struct sim_lock){{dir->os}, n, dir->is_readonly};
    st = sim_begin(&c);
    if (st == ODB_OK && (n->has_writer || (n->readers > 0 && !l->is_shared)))
        st = err_set(ODB_BUSY, "%s is already open", dir->path);
    if (st == ODB_OK) {
        if (makes && !sim_find(&n->live, name))
            (void)sim_make(n, &c);
        if (l->is_shared)
            n->readers++;
        else
            n->has_writer = true;
        *out = &l->base;
        l = NULL;
    }
    mem_free(l);
    return sim_end(&c, st);
}

static void sim_unlock(struct os_lock *lock)
{
    struct sim_lock *l = (struct sim_lock *)(void *)lock;
    struct sim *s = sim_of(lock->os);

    os_mutex_lock(&s->lock);
    if (l->is_shared)
        l->node->readers--;
    else
        l->node->has_writer = false;
    os_mutex_unlock(&s->lock);
    mem_free(l);
}

/* ---- files ---- */

static odb_status sim_open(struct os_dir *dir, const char *name, unsigned flags,
                           struct os_file **out)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    struct sim_call c = {.s = s, .op = (flags & OS_CREATE) ? SIM_CREATE : SIM_OPEN, .name = name};
    struct sim_file *f = mem_zalloc(1, sizeof *f);
    struct sim_inode *ino;
    odb_status st;

    if (!f)
        return err_set(ODB_NOMEM, "no memory to open %s", name);
    st = os_file_init(&f->base, dir->os, name, flags);
    if (st != ODB_OK) {
        mem_free(f);
        return st;
    }
    st = sim_begin(&c);
    ino = sim_find(&n->live, name);
    if (st == ODB_OK && (flags & OS_CREATE) && ino)
        st = err_set(ODB_EXISTS, "create %s: it is there already", name);
    else if (st == ODB_OK && (flags & OS_CREATE))
        ino = sim_make(n, &c);
    else if (st == ODB_OK && !ino)
        st = sim_absent(&c);
    if (st == ODB_OK) {
        ino->refs++;
        ino->opens++;
        f->inode = ino;
        *out = &f->base;
    }
    st = sim_end(&c, st);
    if (st != ODB_OK) {
        os_file_release(&f->base);
        mem_free(f);
    }
    return st;
}

static void sim_inode_close(struct sim *s, struct sim_inode *ino)
{
    os_mutex_lock(&s->lock);
    ino->opens--;
    sim_inode_unref(s, ino);
    os_mutex_unlock(&s->lock);
}

static void sim_close(struct os_file *f)
{
    sim_inode_close(sim_of(f->os), sim_inode_of(f));
    os_file_release(f);
    mem_free(f);
}

static odb_status sim_size(struct os_file *f, uint64_t *out)
{
    struct sim_call c = {.s = sim_of(f->os), .op = SIM_SIZE, .name = f->name};
    odb_status st = sim_begin(&c);

    if (st == ODB_OK)
        *out = sim_inode_of(f)->live.size;
    return sim_end(&c, st);
}

static odb_status sim_read(struct os_file *f, uint64_t off, void *data, size_t len, size_t *got)
{
    struct sim_call c = {
        .s = sim_of(f->os), .op = SIM_READ, .off = off, .len = len, .name = f->name};
    odb_status st = sim_begin(&c);
    const struct sim_data *d = &sim_inode_of(f)->live;

    if (st == ODB_OK) {
        uint64_t left = off < d->size ? d->size - off : 0;
        size_t n = len < left ? len : (size_t)left;

        sim_data_read(d, off, data, n);
        *got = n;
    }
    return sim_end(&c, st);
}

static odb_status sim_write(struct os_file *f, uint64_t off, const void *data, size_t len)
{
    struct sim *s = sim_of(f->os);
    struct sim_inode *ino = sim_inode_of(f);
    struct sim_call c = {.s = s,
                         .op = SIM_WRITE,
                         .off = off,
                         .len = len,
                         .name = f->name,
                         .writes = len ? ino : NULL,
                         .bytes = data};
    odb_status st = sim_begin(&c);
    size_t n = len;

    if (c.dies_here && len > 0)
        sim_inode_pend(ino, SIM_WRITE, c.op_no, off, data, len)->in_flight = true;
    if (s->is_dead)
        return sim_end(&c, st);
    if (st != ODB_OK) {
        n = (size_t)sim_rng_below(&s->rng_disk, (uint64_t)len + 1);
    } else if (sim_room(s, ino, off + len) < off + len) {
        uint64_t room = sim_room(s, ino, off + len);

        n = room > off ? (size_t)(room - off) : 0;
        st = sim_full(&c);
    }
    if (n > 0) {
        sim_data_write(&ino->live, off, data, n);
        (void)sim_inode_pend(ino, SIM_WRITE, c.op_no, off, data, n);
    }
    return sim_end(&c, st);
}

static odb_status sim_sync(struct os_file *f)
{
    struct sim *s = sim_of(f->os);
    struct sim_call c = {.s = s, .op = SIM_SYNC, .name = f->name};
    odb_status st = sim_begin(&c);

    if (st == ODB_OK)
        sim_inode_fold(sim_inode_of(f));
    else if (!s->is_dead)
        sim_inode_fail_sync(s, sim_inode_of(f));
    return sim_end(&c, st);
}

static odb_status sim_reserve(struct os_file *f, uint64_t off, uint64_t len, bool written)
{
    struct sim_call c = {
        .s = sim_of(f->os), .op = SIM_RESERVE, .off = off, .len = len, .name = f->name};
    odb_status st = sim_begin(&c);
    struct sim_inode *ino = sim_inode_of(f);
    uint64_t end = off + len;

    (void)written; /* a difference in speed only */
    if (st == ODB_OK && sim_room(c.s, ino, end) < end)
        st = sim_full(&c);
    if (st == ODB_OK && end > ino->live.size) {
        sim_data_resize(&ino->live, end);
        (void)sim_inode_pend(ino, SIM_RESERVE, c.op_no, end, NULL, 0);
    }
    return sim_end(&c, st);
}

static odb_status sim_truncate(struct os_file *f, uint64_t size)
{
    struct sim_call c = {.s = sim_of(f->os), .op = SIM_TRUNCATE, .off = size, .name = f->name};
    odb_status st = sim_begin(&c);
    struct sim_inode *ino = sim_inode_of(f);

    if (st == ODB_OK && size > SIM_FILE_MAX)
        st = sim_full(&c);
    if (st == ODB_OK && size != ino->live.size) {
        sim_data_resize(&ino->live, size);
        (void)sim_inode_pend(ino, SIM_TRUNCATE, c.op_no, size, NULL, 0);
    }
    return sim_end(&c, st);
}

static void sim_write_behind(struct os_file *f, uint64_t off, uint64_t len)
{
    (void)f;
    (void)off;
    (void)len;
}

static void sim_read_ahead(struct os_file *f, uint64_t off, size_t len)
{
    (void)f;
    (void)off;
    (void)len;
}

/* ---- the ring ---- */

static void sim_ring_copy_in(struct sim_inode *ino, uint64_t pos, const uint8_t *bytes, size_t len)
{
    uint64_t at = pos % ino->live.size;
    size_t head = len < ino->live.size - at ? len : (size_t)(ino->live.size - at);

    sim_data_write(&ino->live, at, bytes, head);
    sim_data_write(&ino->live, 0, bytes + head, len - head);
}

/* os_ring_write has stored [pos, pos+len) in the mapped memory. */
static void sim_ring_spy(struct os_ring *r, uint64_t pos, size_t len)
{
    struct sim *s = sim_of(r->os);
    struct sim_inode *ino = ((struct sim_ring *)(void *)r)->inode;
    struct sim_call c = {.s = s, .op = SIM_RING_STORE, .off = pos, .len = len, .name = ino->name};
    uint8_t *bytes = sim_mem(len);
    odb_status st;

    os_ring_read(r, pos, bytes, len);
    c.writes = len ? ino : NULL;
    c.bytes = bytes;
    st = sim_begin(&c);
    if (c.dies_here && len > 0)
        sim_inode_pend(ino, SIM_RING_STORE, c.op_no, pos, bytes, len)->in_flight = true;
    if (!s->is_dead) { /* a fault of the hook means nothing to a store */
        sim_ring_copy_in(ino, pos, bytes, len);
        if (sim_rng_below(&s->rng_disk, SIM_FLUSH_ONE_IN) == 0)
            sim_data_share(&ino->flushed, &ino->live, (size_t)(pos % ino->live.size / SIM_BLOCK));
    }
    (void)sim_end(&c, st);
    sim_mem_free(bytes);
}

/* The inode of the ring, made where it has to be. */
static struct sim_inode *sim_ring_take(struct sim_node *n, const struct sim_call *c, size_t size)
{
    struct sim_inode *ino = sim_find(&n->live, c->name);

    if (!ino || ino->live.size != size) {
        ino = sim_make(n, c);
        ino->live.size = size; /* zeros, synced before it got its name */
        ino->durable.size = size;
    }
    if (!ino->is_ring) {
        ino->is_ring = true;
        sim_data_copy(&ino->flushed, &ino->durable);
    }
    ino->refs++;
    ino->opens++;
    return ino;
}

static odb_status sim_ring_open(struct os_dir *dir, const char *name, size_t size,
                                struct os_ring **out)
{
    struct sim *s = sim_of(dir->os);
    struct sim_node *n = sim_node_of(dir);
    struct sim_call c = {.s = s, .op = SIM_RING_CREATE, .len = size, .name = name};
    struct sim_inode nothing = {0};
    struct sim_ring *r = mem_zalloc(1, sizeof *r);
    uint8_t *memory = mem_alloc(size);
    struct sim_inode *ino;
    odb_status st;

    if (!r || !memory) {
        mem_free(r);
        mem_free(memory);
        return err_set(ODB_NOMEM, "no memory to open %s", name);
    }
    os_mutex_lock(&s->lock);
    ino = sim_find(&n->live, name);
    if (ino && ino->live.size == size)
        c.op = SIM_RING_OPEN;
    os_mutex_unlock(&s->lock);
    st = sim_begin(&c);
    if (st == ODB_OK && s->no_ring)
        st = err_set(ODB_UNSUPPORTED, "%s: no commit ring on this simulated disk", name);
    if (st == ODB_OK && c.op == SIM_RING_CREATE && sim_room(s, &nothing, size) < size)
        st = sim_full(&c);
    if (st == ODB_OK) {
        r->inode = sim_ring_take(n, &c, size);
        sim_data_read(&r->inode->live, 0, memory, size);
        r->base.view = (struct os_ring_view){memory, size, sim_ring_spy};
        r->base.os = dir->os;
        *out = &r->base;
        r = NULL;
        memory = NULL;
    }
    st = sim_end(&c, st);
    mem_free(r);
    mem_free(memory);
    return st;
}

static void sim_ring_close(struct os_ring *r)
{
    sim_inode_close(sim_of(r->os), ((struct sim_ring *)(void *)r)->inode);
    mem_free(r->view.base);
    mem_free(r);
}

/* ---- clock, chance, identity ---- */

static uint64_t sim_now_ns(struct os *os)
{
    struct sim *s = sim_of(os);
    uint64_t now;

    os_mutex_lock(&s->lock);
    s->now_ns += 1000;
    now = s->now_ns;
    os_mutex_unlock(&s->lock);
    return now;
}

static uint64_t sim_wall_us(struct os *os)
{
    return 1577836800000000U + sim_now_ns(os) / 1000; /* 2020-01-01 */
}

static odb_status sim_random(struct os *os, void *data, size_t len)
{
    struct sim *s = sim_of(os);
    struct sim_call c = {.s = s, .op = SIM_RANDOM, .len = len, .name = ""};
    odb_status st = sim_begin(&c);

    for (size_t i = 0; st == ODB_OK && i < len; i++)
        ((uint8_t *)data)[i] = (uint8_t)sim_rng(&s->rng_user);
    return sim_end(&c, st);
}

static uint64_t sim_fork_count(struct os *os)
{
    struct sim *s = sim_of(os);
    uint64_t n;

    os_mutex_lock(&s->lock);
    n = s->fork_count;
    os_mutex_unlock(&s->lock);
    return n;
}

static unsigned sim_cpu_count(struct os *os)
{
    (void)os;
    return 2;
}

static const struct os_ops sim_ops = {
    .dir_open = sim_dir_open,
    .dir_close = sim_dir_close,
    .dir_sync = sim_dir_sync,
    .dir_list = sim_dir_list,
    .dir_free_bytes = sim_dir_free_bytes,
    .remove = sim_remove,
    .rename = sim_rename,
    .lock = sim_lock,
    .unlock = sim_unlock,
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .write_behind = sim_write_behind,
    .reserve = sim_reserve,
    .truncate = sim_truncate,
    .read_ahead = sim_read_ahead,
    .ring_open = sim_ring_open,
    .ring_close = sim_ring_close,
    .now_ns = sim_now_ns,
    .wall_us = sim_wall_us,
    .random = sim_random,
    .fork_count = sim_fork_count,
    .cpu_count = sim_cpu_count,
};

/* ---- the controls ---- */

struct sim *sim_bare(uint64_t seed)
{
    struct sim *s = sim_mem(sizeof *s);

    s->base.ops = &sim_ops;
    os_mutex_init(&s->lock, RANK_OS);
    s->seed = seed;
    s->rng_disk = seed ^ 0x6469736b; /* the engine's draws must not shift the disk's */
    s->rng_user = seed ^ 0x75736572;
    s->now_ns = 1000000000;
    s->fork_count = 1;
    s->capacity = UINT64_MAX;
    return s;
}

struct os *sim_new(uint64_t seed)
{
    return &sim_bare(seed)->base;
}

/* Read or write one field under the lock. */
#define SIM_CONTROL(os, statement)                                                                 \
    do {                                                                                           \
        struct sim *s = sim_of(os);                                                                \
        os_mutex_lock(&s->lock);                                                                   \
        statement;                                                                                 \
        os_mutex_unlock(&s->lock);                                                                 \
    } while (0)

uint64_t sim_op_count(struct os *os)
{
    uint64_t n;

    SIM_CONTROL(os, n = s->ops);
    return n;
}

uint64_t sim_mutations(struct os *os)
{
    uint64_t n;

    SIM_CONTROL(os, n = s->mutations);
    return n;
}

uint64_t sim_op_kind_count(struct os *os, enum sim_op op)
{
    uint64_t n;

    assert((unsigned)op < SIM_OP_KINDS);
    SIM_CONTROL(os, n = s->kind[op]);
    return n;
}

void sim_log(struct os *os, bool on)
{
    SIM_CONTROL(os, s->is_logging = on);
}

bool sim_log_get(struct os *os, uint64_t i, struct sim_record *out)
{
    bool has;

    SIM_CONTROL(os, {
        has = i < s->log_count;
        if (has)
            *out = s->log[i];
    });
    return has;
}

void sim_set_fault(struct os *os, odb_status (*fault)(void *, enum sim_op, const char *, uint64_t),
                   void *arg)
{
    SIM_CONTROL(os, {
        s->fault = fault;
        s->fault_arg = arg;
    });
}

void sim_set_failed_sync_reverts(struct os *os, bool yes)
{
    SIM_CONTROL(os, s->sync_reverts = yes);
}

void sim_set_capacity(struct os *os, uint64_t bytes)
{
    SIM_CONTROL(os, s->capacity = bytes);
}

void sim_crash_at(struct os *os, uint64_t n)
{
    SIM_CONTROL(os, {
        s->crash_at = n;
        if (n != 0 && n <= s->ops)
            s->is_dead = true;
    });
}

bool sim_is_dead(struct os *os)
{
    bool dead;

    SIM_CONTROL(os, dead = s->is_dead);
    return dead;
}

void sim_advance(struct os *os, uint64_t ns)
{
    SIM_CONTROL(os, s->now_ns += ns);
}

void sim_set_fork_count(struct os *os, uint64_t n)
{
    SIM_CONTROL(os, s->fork_count = n);
}

void sim_set_ring_supported(struct os *os, bool yes)
{
    SIM_CONTROL(os, s->no_ring = !yes);
}

odb_status sim_poke(struct os *os, const char *dir, const char *name, uint64_t off,
                    const void *data, size_t len)
{
    struct sim_inode *ino = NULL;

    SIM_CONTROL(os, {
        struct sim_node *n = sim_node_find(s, dir);

        ino = n ? sim_find(&n->live, name) : NULL;
        if (ino) {
            sim_data_write(&ino->live, off, data, len);
            sim_data_write(&ino->durable, off, data, len);
            if (ino->is_ring)
                sim_data_write(&ino->flushed, off, data, len);
        }
    });
    return ino ? ODB_OK : err_set(ODB_ABSENT, "%s/%s: no such file", dir, name);
}
