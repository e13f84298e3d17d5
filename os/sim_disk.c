/* os/sim_disk.c -- what a simulated disk is made of: blocks, inodes, directories.
 *
 * 1. A block with more than one reference never changes. Copying a file or a disk copies pointers;
 *    whoever writes next to a shared block gets one of its own.
 * 2. live = durable + pending, until a sync fails (then some of it is neither pending nor durable,
 *    and `has_lost` says so).
 * 3. An inode lives as long as an entry (live or durable), a pending directory operation or a handle
 *    refers to it. A few of its blocks go on in the trash, where later images find them as what a
 *    grown file shows of its former owners.
 *
 * Threads: under the disk's lock, but for the counts of blocks, which disks share.
 */
#include "os/sim_priv.h"

#include <stdlib.h>

#include "base/hash.h"

/* ---- memory, chance ---- */

/* The simulation is no part of what is tested: without memory it cannot go on, and nothing can be
 * learned from that. */
static void *sim_mem_checked(void *p)
{
    if (!p)
        abort();
    return p;
}

/* Not calloc, which in glibc takes nothing from the cache that free fills. */
void *sim_mem(size_t size)
{
    return memset(sim_mem_more(NULL, size), 0, size);
}

void *sim_mem_more(void *old, size_t size)
{
    return sim_mem_checked(realloc(old, size ? size : 1));
}

void sim_mem_free(void *p)
{
    free(p);
}

char *sim_mem_text(const char *s)
{
    size_t size = strlen(s) + 1;

    return memcpy(sim_mem_more(NULL, size), s, size);
}

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t sim_rng(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_rng_below(uint64_t *state, uint64_t n)
{
    return n ? sim_rng(state) % n : 0;
}

/* ---- blocks and bytes ---- */

void sim_block_ref(struct sim_block *b)
{
    if (b)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void sim_block_unref(struct sim_block *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        sim_mem_free(b);
}

static struct sim_block *sim_block_new(const uint8_t *bytes)
{
    struct sim_block *b = sim_mem_more(NULL, sizeof *b);

    atomic_init(&b->refs, 1);
    atomic_init(&b->hash, 0);
    if (bytes)
        memcpy(b->bytes, bytes, SIM_BLOCK);
    else
        memset(b->bytes, 0, SIM_BLOCK);
    return b;
}

void sim_data_release(struct sim_data *d)
{
    for (size_t i = 0; i < d->count; i++)
        sim_block_unref(d->block[i]);
    sim_mem_free(d->block);
    *d = (struct sim_data){NULL, 0, 0};
}

void sim_data_copy(struct sim_data *to, const struct sim_data *from)
{
    struct sim_data made = {NULL, from->count, from->size};

    while (made.count > 0 && !from->block[made.count - 1])
        made.count--;
    if (made.count > 0)
        made.block = sim_mem(made.count * sizeof *made.block);
    for (size_t i = 0; i < made.count; i++) {
        made.block[i] = from->block[i];
        sim_block_ref(made.block[i]);
    }
    sim_data_release(to);
    *to = made;
}

/* Make room for block `i`. */
static void sim_data_extend(struct sim_data *d, size_t i)
{
    size_t count = d->count ? d->count : 4;

    if (i < d->count)
        return;
    while (count <= i)
        count *= 2;
    d->block = sim_mem_more(d->block, count * sizeof *d->block);
    for (size_t k = d->count; k < count; k++)
        d->block[k] = NULL;
    d->count = count;
}

void sim_data_share(struct sim_data *to, const struct sim_data *from, size_t i)
{
    struct sim_block *b = i < from->count ? from->block[i] : NULL;

    if (!b && i >= to->count)
        return;
    sim_data_extend(to, i);
    sim_block_ref(b);
    sim_block_unref(to->block[i]);
    to->block[i] = b;
}

/* Block `i`, ours alone. */
static uint8_t *sim_data_own(struct sim_data *d, size_t i)
{
    struct sim_block *b;

    sim_data_extend(d, i);
    b = d->block[i];
    if (!b || atomic_load_explicit(&b->refs, memory_order_acquire) > 1) {
        d->block[i] = sim_block_new(b ? b->bytes : NULL);
        sim_block_unref(b);
        b = d->block[i];
    }
    atomic_store_explicit(&b->hash, 0, memory_order_relaxed);
    return b->bytes;
}

void sim_data_read(const struct sim_data *d, uint64_t off, void *out, size_t len)
{
    uint8_t *p = out;

    while (len > 0) {
        size_t i = (size_t)(off / SIM_BLOCK), at = (size_t)(off % SIM_BLOCK);
        size_t n = len < SIM_BLOCK - at ? len : SIM_BLOCK - at;

        if (i < d->count && d->block[i])
            memcpy(p, d->block[i]->bytes + at, n);
        else
            memset(p, 0, n);
        p += n;
        off += n;
        len -= n;
    }
}

void sim_data_write(struct sim_data *d, uint64_t off, const void *data, size_t len)
{
    const uint8_t *p = data;

    if (len > 0 && off + len > d->size)
        d->size = off + len;
    while (len > 0) {
        size_t at = (size_t)(off % SIM_BLOCK);
        size_t n = len < SIM_BLOCK - at ? len : SIM_BLOCK - at;

        memcpy(sim_data_own(d, (size_t)(off / SIM_BLOCK)) + at, p, n);
        p += n;
        off += n;
        len -= n;
    }
}

/* Bytes past the end are always zeros, so growing only moves the end. */
void sim_data_resize(struct sim_data *d, uint64_t size)
{
    if (size < d->size) {
        size_t at = (size_t)(size % SIM_BLOCK);
        uint64_t keep = size / SIM_BLOCK + (at != 0);

        for (size_t i = (size_t)(keep < d->count ? keep : d->count); i < d->count; i++) {
            sim_block_unref(d->block[i]);
            d->block[i] = NULL;
        }
        if (at != 0 && keep <= d->count && d->block[keep - 1])
            memset(sim_data_own(d, (size_t)keep - 1) + at, 0, SIM_BLOCK - at);
    }
    d->size = size;
}

/* 1 for a block of zeros, which is the same as none. */
static uint64_t sim_block_hash(struct sim_block *b)
{
    uint64_t h = atomic_load_explicit(&b->hash, memory_order_relaxed);

    if (h == 0) {
        h = b->bytes[0] == 0 && memcmp(b->bytes, b->bytes + 1, SIM_BLOCK - 1) == 0
                ? 1
                : hash64(b->bytes, SIM_BLOCK) | 2;
        atomic_store_explicit(&b->hash, h, memory_order_relaxed);
    }
    return h;
}

uint64_t sim_data_hash(const struct sim_data *d)
{
    uint64_t h = hash_mix(0, d->size);

    for (size_t i = 0; i < d->count; i++)
        if (d->block[i] && sim_block_hash(d->block[i]) != 1)
            h = hash_mix(hash_mix(h, i), sim_block_hash(d->block[i]));
    return h;
}

/* ---- inodes ---- */

struct sim_inode *sim_inode_new(struct sim *s, const char *name)
{
    struct sim_inode *ino = sim_mem(sizeof *ino), **end = &s->inodes;

    ino->name = sim_mem_text(name);
    while (*end)
        end = &(*end)->next;
    *end = ino;
    return ino;
}

static void sim_inode_free(struct sim_inode *ino)
{
    sim_inode_clear(ino);
    sim_mem_free(ino->pend);
    sim_data_release(&ino->live);
    sim_data_release(&ino->durable);
    sim_data_release(&ino->flushed);
    sim_mem_free(ino->name);
    sim_mem_free(ino);
}

void sim_inode_unref(struct sim *s, struct sim_inode *ino)
{
    struct sim_inode **at = &s->inodes;

    if (--ino->refs > 0)
        return;
    while (*at != ino)
        at = &(*at)->next;
    *at = ino->next;
    for (size_t i = 0, kept = 0; i < ino->live.count && kept < 8; i++) {
        if (!ino->live.block[i])
            continue;
        sim_block_ref(ino->live.block[i]);
        sim_block_unref(s->trash[s->trash_at]);
        s->trash[s->trash_at] = ino->live.block[i];
        s->trash_at = (s->trash_at + 1) % SIM_TRASH;
        kept++;
    }
    sim_inode_free(ino);
}

struct sim_pend *sim_inode_pend(struct sim_inode *ino, enum sim_op op, uint64_t op_no, uint64_t off,
                                const void *data, size_t len)
{
    struct sim_pend *p;

    if (ino->pend_count == ino->pend_cap) {
        ino->pend_cap = ino->pend_cap ? ino->pend_cap * 2 : 8;
        ino->pend = sim_mem_more(ino->pend, ino->pend_cap * sizeof *ino->pend);
    }
    p = &ino->pend[ino->pend_count++];
    *p = (struct sim_pend){.op_no = op_no, .op = op, .off = off, .len = len};
    if (len) {
        p->bytes = memcpy(sim_mem_more(NULL, len), data, len);
    }
    return p;
}

void sim_inode_clear(struct sim_inode *ino)
{
    for (size_t i = 0; i < ino->pend_count; i++)
        sim_mem_free(ino->pend[i].bytes);
    ino->pend_count = 0;
}

void sim_inode_fold(struct sim_inode *ino)
{
    bool shares = !ino->has_lost && !ino->is_ring;

    if (ino->is_ring) {
        sim_data_copy(&ino->durable, &ino->live);
        sim_data_copy(&ino->flushed, &ino->live);
    }
    for (size_t i = 0; i < ino->pend_count && !ino->is_ring; i++) {
        const struct sim_pend *p = &ino->pend[i];

        if (p->op == SIM_TRUNCATE)
            sim_data_resize(&ino->durable, p->off);
        else if (p->op == SIM_RESERVE && p->off > ino->durable.size)
            sim_data_resize(&ino->durable, p->off);
        else if (p->op == SIM_WRITE && !shares)
            sim_data_write(&ino->durable, p->off, p->bytes, p->len);
        else if (p->op == SIM_WRITE)
            for (uint64_t b = p->off / SIM_BLOCK; b <= (p->off + p->len - 1) / SIM_BLOCK; b++)
                sim_data_share(&ino->durable, &ino->live, (size_t)b);
    }
    if (shares)
        ino->durable.size = ino->live.size;
    sim_inode_clear(ino);
}

/* ---- directories ---- */

static size_t sim_entry_index(const struct sim_entries *e, const char *name)
{
    size_t i = 0;

    while (i < e->count && strcmp(e->e[i].name, name) != 0)
        i++;
    return i;
}

struct sim_inode *sim_find(const struct sim_entries *e, const char *name)
{
    size_t i = sim_entry_index(e, name);

    return i < e->count ? e->e[i].inode : NULL;
}

void sim_entries_add(struct sim_entries *e, const char *name, struct sim_inode *ino)
{
    ino->refs++;
    if (e->count == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 8;
        e->e = sim_mem_more(e->e, e->cap * sizeof *e->e);
    }
    e->e[e->count++] = (struct sim_entry){sim_mem_text(name), ino};
}

void sim_entries_set(struct sim *s, struct sim_entries *e, const char *name, struct sim_inode *ino)
{
    size_t i = sim_entry_index(e, name);

    if (i == e->count) {
        sim_entries_add(e, name, ino);
        return;
    }
    ino->refs++;
    sim_inode_unref(s, e->e[i].inode);
    e->e[i].inode = ino;
}

void sim_entries_drop(struct sim *s, struct sim_entries *e, size_t i)
{
    struct sim_entry gone = e->e[i];

    e->e[i] = e->e[--e->count];
    sim_mem_free(gone.name);
    sim_inode_unref(s, gone.inode);
}

void sim_entries_release(struct sim *s, struct sim_entries *e)
{
    while (e->count > 0)
        sim_entries_drop(s, e, e->count - 1);
    sim_mem_free(e->e);
    *e = (struct sim_entries){NULL, 0, 0};
}

struct sim_node *sim_node_find(struct sim *s, const char *path)
{
    struct sim_node *n = s->nodes;

    while (n && strcmp(n->path, path) != 0)
        n = n->next;
    return n;
}

struct sim_node *sim_node_new(struct sim *s, const char *path)
{
    struct sim_node *n = sim_mem(sizeof *n), **end = &s->nodes;

    n->path = sim_mem_text(path);
    while (*end)
        end = &(*end)->next;
    *end = n;
    return n;
}

void sim_node_pend(struct sim_node *n, enum sim_op op, uint64_t op_no, const char *name,
                   const char *to, struct sim_inode *ino)
{
    if (n->pend_count == n->pend_cap) {
        n->pend_cap = n->pend_cap ? n->pend_cap * 2 : 8;
        n->pend = sim_mem_more(n->pend, n->pend_cap * sizeof *n->pend);
    }
    ino->refs++;
    n->pend[n->pend_count++] =
        (struct sim_dirop){op_no, op, sim_mem_text(name), to ? sim_mem_text(to) : NULL, ino};
}

void sim_node_clear(struct sim *s, struct sim_node *n)
{
    for (size_t i = 0; i < n->pend_count; i++) {
        sim_mem_free(n->pend[i].name);
        sim_mem_free(n->pend[i].to);
        sim_inode_unref(s, n->pend[i].inode);
    }
    n->pend_count = 0;
}

/* Idempotent, and with a meaning even where operations before it were lost: a removal takes the file
 * it was meant for and no other, a renamed file ends up under its new name only. */
void sim_dirop_apply(struct sim *s, struct sim_entries *e, const struct sim_dirop *op)
{
    op->inode->refs++; /* dropping its entry must not free it under us */
    if (op->op == SIM_REMOVE && sim_find(e, op->name) == op->inode)
        sim_entries_drop(s, e, sim_entry_index(e, op->name));
    if (op->op == SIM_RENAME) {
        for (size_t i = e->count; i-- > 0;)
            if (e->e[i].inode == op->inode)
                sim_entries_drop(s, e, i);
        sim_entries_set(s, e, op->to, op->inode);
    }
    if (op->op == SIM_CREATE || op->op == SIM_RING_CREATE)
        sim_entries_set(s, e, op->name, op->inode);
    sim_inode_unref(s, op->inode);
}

/* ---- whole disks ---- */

void sim_free(struct os *os)
{
    struct sim *s = (struct sim *)(void *)os;

    if (!s)
        return;
    while (s->nodes) {
        struct sim_node *n = s->nodes;

        sim_node_clear(s, n);
        sim_entries_release(s, &n->live);
        sim_entries_release(s, &n->durable);
        s->nodes = n->next;
        sim_mem_free(n->pend);
        sim_mem_free(n->path);
        sim_mem_free(n);
    }
    while (s->inodes) { /* behind handles that were never closed */
        struct sim_inode *ino = s->inodes;

        s->inodes = ino->next;
        sim_inode_free(ino);
    }
    for (size_t i = 0; i < SIM_TRASH; i++)
        sim_block_unref(s->trash[i]);
    os_mutex_destroy(&s->lock);
    sim_mem_free(s->log);
    sim_mem_free(s);
}
