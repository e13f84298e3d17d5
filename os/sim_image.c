/* os/sim_image.c -- the disk that a crash leaves behind.
 *
 *     directories:  durable entries + pending operations, each kept or lost
 *     inodes:       durable bytes   + pending operations, each piece kept or lost
 *                   a piece: the part of one write that lies in one 4 KiB block
 *
 * One walk serves all models; a model is a way to answer four questions (struct sim_choice): is this
 * directory operation kept, is this change of size, is this piece, and what reads back where nothing
 * was kept. A failed sync (M6) is the same walk with the result put into the live disk's durable
 * state.
 *
 * 1. The walk asks in one fixed order: directories as made, their operations in order; then inodes as
 *    made, their operations in order, their pieces by offset. It asks about every piece, also of files
 *    whose name is lost. The same answers give the same image.
 * 2. Kept operations are applied in the order they were issued.
 * 3. An image shares every block it can with the disk it was made from.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "os/sim_priv.h"

#define SIM_FILL_MAX ((uint64_t)256 << 10) /* garbage at most, the rest of a gap stays zeros */

struct sim_choice {
    struct sim *s;
    enum sim_model model;
    uint64_t rng;
    uint64_t cut;        /* M2, M3: operations up to this number happened */
    uint64_t last_write; /* M4: the operation to tear */
    bool (*keep)(void *arg, const struct sim_piece *piece);
    void *arg;
};

/* ---- the questions ---- */

static bool sim_keep_piece(struct sim_choice *c, uint64_t op_no, enum sim_op op, const char *name,
                           uint64_t off, size_t len)
{
    struct sim_piece piece = {op_no, op, name, off, (uint32_t)len};

    if (c->keep)
        return c->keep(c->arg, &piece);
    switch (c->model) {
    case SIM_M0: return false;
    case SIM_M1: return true;
    case SIM_M2: return op_no <= c->cut;
    case SIM_M3:
        if (op != SIM_WRITE)
            return op_no <= c->cut;
        return sim_rng_below(&c->rng, 2) == 0;
    case SIM_M5: return op_no <= c->cut;
    case SIM_M4: break;
    }
    return sim_rng_below(&c->rng, 2) == 0;
}

enum sim_fill { SIM_FILL_ZEROS, SIM_FILL_GARBAGE, SIM_FILL_STALE };

/* Grow `d` to `size`; what nobody wrote there reads as `fill` says. */
static void sim_grow(struct sim_choice *c, struct sim_data *d, uint64_t size, enum sim_fill fill)
{
    uint64_t off = d->size, end = size < off + SIM_FILL_MAX ? size : off + SIM_FILL_MAX;
    uint8_t bytes[SIM_BLOCK];

    if (size <= d->size)
        return;
    while (fill != SIM_FILL_ZEROS && off < end) {
        size_t at = (size_t)(off % SIM_BLOCK);
        size_t n = end - off < SIM_BLOCK - at ? (size_t)(end - off) : SIM_BLOCK - at;
        const struct sim_block *old = c->s->trash[sim_rng_below(&c->rng, SIM_TRASH)];

        if (fill == SIM_FILL_STALE && old)
            memcpy(bytes, old->bytes, SIM_BLOCK);
        else
            for (size_t i = 0; i < SIM_BLOCK; i += 8) {
                uint64_t r = sim_rng(&c->rng);

                memcpy(bytes + i, &r, 8);
            }
        sim_data_write(d, off, bytes + at, n);
        off += n;
    }
    sim_data_resize(d, size);
}

/* ---- files ---- */

/* Apply [off, off+len) of `p`, torn: each 512-byte sector by itself, or a prefix of them. */
static void sim_apply_torn(struct sim_choice *c, struct sim_data *d, const struct sim_pend *p,
                           uint64_t off, size_t len)
{
    size_t sectors = (len + SIM_SECTOR - 1) / SIM_SECTOR;
    bool is_prefix = sim_rng_below(&c->rng, 2) == 0;
    size_t upto = (size_t)sim_rng_below(&c->rng, sectors + 1);

    for (size_t i = 0, at = 0; i < sectors; i++, at += SIM_SECTOR) {
        size_t n = len - at < SIM_SECTOR ? len - at : SIM_SECTOR;

        if (is_prefix ? i < upto : sim_rng_below(&c->rng, 2) == 0)
            sim_data_write(d, off + at, p->bytes + (off - p->off) + at, n);
    }
}

/* The pieces of one write. Past the size that metadata allows nothing is kept, but for an explorer's
 * keep(), whose pieces bring their size along. */
static void sim_apply_write(struct sim_choice *c, struct sim_data *d, const struct sim_pend *p,
                            const char *name)
{
    uint64_t end = p->off + p->len;
    uint64_t torn = UINT64_MAX;

    if (c->model == SIM_M4 && !c->keep && p->op_no == c->last_write)
        torn = (p->off + sim_rng_below(&c->rng, p->len)) / SIM_BLOCK;
    for (uint64_t off = p->off, next; off < end; off = next) {
        size_t len;
        bool kept;

        next = (off / SIM_BLOCK + 1) * SIM_BLOCK;
        if (next > end)
            next = end;
        len = (size_t)(next - off);
        kept = sim_keep_piece(c, p->op_no, SIM_WRITE, name, off, len);
        if (!c->keep && c->model != SIM_M2 && c->model != SIM_M1 && c->model != SIM_M5) {
            if (off >= d->size)
                continue;
            if (len > d->size - off)
                len = (size_t)(d->size - off);
        }
        if (off / SIM_BLOCK == torn)
            sim_apply_torn(c, d, p, off, len);
        else if (kept)
            sim_data_write(d, off, p->bytes + (off - p->off), len);
    }
}

/* What is left of an inode's pending operations, on top of `d`. */
static void sim_apply_pending(struct sim_choice *c, struct sim_data *d, const struct sim_inode *ino)
{
    uint64_t cut = c->cut;
    enum sim_fill fill = SIM_FILL_ZEROS;

    if (c->model == SIM_M4 && !c->keep) {
        size_t p = (size_t)sim_rng_below(&c->rng, ino->pend_count + 1);

        cut = p ? ino->pend[p - 1].op_no : 0;
        fill = (enum sim_fill)sim_rng_below(&c->rng, 3);
    }
    for (size_t i = 0; i < ino->pend_count; i++) {
        const struct sim_pend *p = &ino->pend[i];
        bool is_meta = p->op == SIM_TRUNCATE || p->op == SIM_RESERVE;
        bool sized = is_meta && c->keep ? sim_keep_piece(c, p->op_no, p->op, ino->name, p->off, 0)
                                        : p->op_no <= cut;

        if (p->op == SIM_TRUNCATE && sized && p->off < d->size)
            sim_data_resize(d, p->off);
        if (is_meta && sized)
            sim_grow(c, d, p->off, fill);
        if (p->op != SIM_WRITE)
            continue;
        if (!c->keep && sized)
            sim_grow(c, d, p->off + p->len, fill);
        sim_apply_write(c, d, p, ino->name);
    }
}

/* Under the last write lies garbage, however much of that was synced before. */
static void sim_spoil_last_write(struct sim_choice *c, struct sim_data *d,
                                 const struct sim_inode *ino)
{
    for (size_t i = 0; i < ino->pend_count; i++) {
        const struct sim_pend *p = &ino->pend[i];
        uint64_t at, end;

        if (p->op != SIM_WRITE || p->op_no != c->last_write)
            continue;
        at = p->off / SIM_BLOCK * SIM_BLOCK;
        end = (p->off + p->len + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;
        for (; at < end && at < d->size; at += 8) {
            uint64_t r = sim_rng(&c->rng);

            sim_data_write(d, at, &r, d->size - at < 8 ? (size_t)(d->size - at) : 8);
        }
    }
}

/* The kernel lives: everything live, and of the operation the process died in a part. */
static void sim_survive_kill(struct sim_choice *c, struct sim_data *d, const struct sim_inode *ino)
{
    sim_data_copy(d, &ino->live);
    for (size_t i = 0; i < ino->pend_count; i++) {
        const struct sim_pend *p = &ino->pend[i];

        if (!p->in_flight)
            continue;
        if (p->op == SIM_WRITE) { /* a signal stops write(2) between pages only */
            uint64_t end = p->off + p->len;
            uint64_t pages = (end - 1) / SIM_BLOCK - p->off / SIM_BLOCK + 1;
            uint64_t upto = (p->off / SIM_BLOCK + sim_rng_below(&c->rng, pages + 1)) * SIM_BLOCK;

            if (upto > p->off)
                sim_data_write(d, p->off, p->bytes, (size_t)((upto < end ? upto : end) - p->off));
        } else { /* memcpy stores its pieces in an order of its own */
            for (size_t at = 0; at < p->len; at += 16)
                if (sim_rng_below(&c->rng, 2) == 0)
                    for (size_t k = at; k < p->len && k < at + 16; k++)
                        sim_data_write(d, (p->off + k) % d->size, p->bytes + k, 1);
        }
    }
}

/* Each page from the last sync, from a write-back since, or from now; or torn between these. */
static void sim_survive_ring(struct sim_choice *c, struct sim_data *d, const struct sim_inode *ino)
{
    const struct sim_data *from[] = {&ino->durable, &ino->flushed, &ino->live};
    uint64_t pages = (ino->live.size + SIM_BLOCK - 1) / SIM_BLOCK;

    sim_data_copy(d, &ino->durable);
    if (c->model == SIM_M0 || c->keep)
        return;
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t pick = sim_rng_below(&c->rng, 4);

        if (pick < 3) {
            sim_data_share(d, from[pick], (size_t)i);
            continue;
        }
        for (size_t at = 0; at < SIM_BLOCK; at += SIM_SECTOR) {
            uint8_t sector[SIM_SECTOR];

            sim_data_read(from[sim_rng_below(&c->rng, 3)], i * SIM_BLOCK + at, sector, SIM_SECTOR);
            sim_data_write(d, i * SIM_BLOCK + at, sector, SIM_SECTOR);
        }
    }
}

static void sim_survive(struct sim_choice *c, struct sim_data *d, const struct sim_inode *ino)
{
    if (c->model == SIM_M1 && !c->keep)
        sim_survive_kill(c, d, ino);
    else if (ino->is_ring)
        sim_survive_ring(c, d, ino);
    else if (sim_data_copy(d, &ino->durable), c->model != SIM_M0 || c->keep)
        sim_apply_pending(c, d, ino);
    if (c->model == SIM_M5 && !ino->is_ring)
        sim_spoil_last_write(c, d, ino);
}

/* ---- failed syncs ---- */

void sim_inode_fail_sync(struct sim *s, struct sim_inode *ino)
{
    struct sim_choice c = {.s = s, .model = SIM_M4, .rng = sim_rng(&s->rng_disk)};
    struct sim_data d = {NULL, 0, 0};

    sim_survive(&c, &d, ino);
    sim_data_release(&ino->durable);
    ino->durable = d;
    if (ino->is_ring)
        sim_data_copy(&ino->flushed, &ino->durable);
    if (s->sync_reverts && !ino->is_ring)
        sim_data_copy(&ino->live, &ino->durable);
    ino->has_lost = true;
    sim_inode_clear(ino);
}

void sim_node_fail_sync(struct sim *s, struct sim_node *n)
{
    uint64_t rng = sim_rng(&s->rng_disk);

    for (size_t i = 0; i < n->pend_count; i++)
        if (sim_rng_below(&rng, 2) == 0)
            sim_dirop_apply(s, &n->durable, &n->pend[i]);
    sim_node_clear(s, n);
}

/* ---- images ---- */

static int sim_compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The numbers of all pending operations, in order. Free with sim_mem_free. */
static uint64_t *sim_pending_ops(const struct sim *s, size_t *count)
{
    size_t n = 0, at = 0;
    uint64_t *ops;

    for (const struct sim_node *d = s->nodes; d; d = d->next)
        n += d->pend_count;
    for (const struct sim_inode *i = s->inodes; i; i = i->next)
        n += i->pend_count;
    ops = sim_mem(n * sizeof *ops);
    for (const struct sim_node *d = s->nodes; d; d = d->next)
        for (size_t k = 0; k < d->pend_count; k++)
            ops[at++] = d->pend[k].op_no;
    for (const struct sim_inode *i = s->inodes; i; i = i->next)
        for (size_t k = 0; k < i->pend_count; k++)
            ops[at++] = i->pend[k].op_no;
    if (n > 0)
        qsort(ops, n, sizeof *ops, sim_compare_u64);
    *count = n;
    return ops;
}

static void sim_choice_prepare(struct sim_choice *c, uint64_t seed)
{
    size_t count, k;
    uint64_t *ops = sim_pending_ops(c->s, &count);

    c->rng = seed ^ 0x696d616765;
    k = (size_t)(c->model == SIM_M2 ? seed % (count + 1) : sim_rng_below(&c->rng, count + 1));
    c->cut = k ? ops[k - 1] : 0;
    if (c->model == SIM_M0)
        c->cut = 0;
    if (c->model == SIM_M5)
        c->cut = seed % 2 ? UINT64_MAX : 0;
    for (const struct sim_inode *i = c->s->inodes; i; i = i->next)
        for (size_t p = 0; p < i->pend_count; p++)
            if (i->pend[p].op == SIM_WRITE && i->pend[p].op_no > c->last_write)
                c->last_write = i->pend[p].op_no;
    sim_mem_free(ops);
}

/* The entries of one directory after the crash; they refer to the inodes of the dead disk. */
static void sim_survive_names(struct sim_choice *c, struct sim_node *n, struct sim_entries *out)
{
    const struct sim_entries *from = c->model == SIM_M1 && !c->keep ? &n->live : &n->durable;

    for (size_t i = 0; i < from->count; i++)
        sim_entries_add(out, from->e[i].name, from->e[i].inode);
    if (from == &n->live)
        return;
    for (size_t i = 0; i < n->pend_count; i++) {
        const struct sim_dirop *op = &n->pend[i];

        if (sim_keep_piece(c, op->op_no, op->op, op->name, 0, 0))
            sim_dirop_apply(c->s, out, op);
    }
}

/* `ino` after the crash, put into the image wherever it has a name. */
static void sim_image_inode(struct sim_choice *c, struct sim *to, const struct sim_inode *ino,
                            const struct sim_entries *names)
{
    struct sim_data d = {NULL, 0, 0};
    struct sim_inode *made = NULL;
    size_t dir = 0;

    sim_survive(c, &d, ino);
    for (struct sim_node *n = to->nodes; n; n = n->next, dir++)
        for (size_t i = 0; i < names[dir].count; i++) {
            if (names[dir].e[i].inode != ino)
                continue;
            if (!made) {
                made = sim_inode_new(to, names[dir].e[i].name);
                made->is_ring = ino->is_ring;
                sim_data_copy(&made->live, &d);
                sim_data_copy(&made->durable, &d);
                if (ino->is_ring)
                    sim_data_copy(&made->flushed, &d);
            }
            made->links++;
            sim_entries_add(&n->live, names[dir].e[i].name, made);
            sim_entries_add(&n->durable, names[dir].e[i].name, made);
        }
    sim_data_release(&d);
}

/* The rest of the machine, for the next process. */
static void sim_inherit(struct sim *to, const struct sim *s)
{
    to->now_ns = s->now_ns + 1000000000;
    to->capacity = s->capacity;
    to->no_ring = s->no_ring;
    to->sync_reverts = s->sync_reverts;
    to->rng_user = s->rng_user; /* images of one moment draw the same numbers: what differs between
                                   their futures is what they kept */
    to->trash_at = s->trash_at;
    for (size_t i = 0; i < SIM_TRASH; i++) {
        to->trash[i] = s->trash[i];
        sim_block_ref(to->trash[i]);
    }
}

static struct os *sim_image_make(struct sim_choice *c, uint64_t seed)
{
    struct sim *s = c->s, *to = sim_bare(hash_mix(s->seed, seed));
    struct sim_entries *names;
    size_t dirs = 0;

    os_mutex_lock(&s->lock);
    sim_choice_prepare(c, seed);
    sim_inherit(to, s);
    for (struct sim_node *n = s->nodes; n; n = n->next)
        dirs++;
    names = sim_mem(dirs * sizeof *names);
    dirs = 0;
    for (struct sim_node *n = s->nodes; n; n = n->next) {
        (void)sim_node_new(to, n->path);
        sim_survive_names(c, n, &names[dirs++]);
    }
    for (const struct sim_inode *ino = s->inodes; ino; ino = ino->next)
        sim_image_inode(c, to, ino, names);
    for (size_t i = 0; i < dirs; i++)
        sim_entries_release(s, &names[i]);
    sim_mem_free(names);
    os_mutex_unlock(&s->lock);
    return &to->base;
}

struct os *sim_image(struct os *os, enum sim_model model, uint64_t seed)
{
    struct sim_choice c = {.s = (struct sim *)(void *)os, .model = model};

    return sim_image_make(&c, seed);
}

struct os *sim_image_inside(struct os *os, enum sim_model model, uint64_t seed)
{
    struct sim *s = (struct sim *)(void *)os;
    const struct sim_flight *f = &s->flight;
    struct os *image;

    if (f->inode)
        sim_inode_pend(f->inode, f->op, f->op_no, f->off, f->bytes, f->len)->in_flight = true;
    image = sim_image(os, model, seed);
    if (f->inode)
        sim_mem_free(f->inode->pend[--f->inode->pend_count].bytes);
    return image;
}

/* ---- the same kernel, another process ---- */

static void sim_restart_inode(struct sim *to, struct sim_inode *ino, struct sim_inode **map,
                              size_t at)
{
    struct sim_inode *made = sim_inode_new(to, ino->name);

    map[at] = made;
    made->refs = 1; /* until the names are there */
    made->is_ring = ino->is_ring;
    made->has_lost = ino->has_lost;
    made->links = ino->links;
    sim_data_copy(&made->live, &ino->live);
    sim_data_copy(&made->durable, &ino->durable);
    sim_data_copy(&made->flushed, &ino->flushed);
    for (size_t i = 0; i < ino->pend_count; i++) {
        const struct sim_pend *p = &ino->pend[i];

        (void)sim_inode_pend(made, p->op, p->op_no, p->off, p->bytes, p->len);
    }
}

/* What `ino` of the dead process's disk became. */
static struct sim_inode *sim_restarted(const struct sim *from, struct sim_inode **map,
                                       const struct sim_inode *ino)
{
    size_t at = 0;

    for (const struct sim_inode *i = from->inodes; i != ino; i = i->next)
        at++;
    return map[at];
}

struct os *sim_restart(struct os *os)
{
    struct sim *s = (struct sim *)(void *)os, *to = sim_bare(s->seed + 1);
    struct sim_inode **map;
    size_t count = 0, at = 0;

    os_mutex_lock(&s->lock);
    sim_inherit(to, s);
    to->ops = s->ops;
    for (const struct sim_inode *i = s->inodes; i; i = i->next)
        count++;
    map = sim_mem(count * sizeof *map);
    for (struct sim_inode *i = s->inodes; i; i = i->next)
        sim_restart_inode(to, i, map, at++);
    for (const struct sim_node *n = s->nodes; n; n = n->next) {
        struct sim_node *made = sim_node_new(to, n->path);

        for (size_t i = 0; i < n->live.count; i++)
            sim_entries_set(to, &made->live, n->live.e[i].name,
                            sim_restarted(s, map, n->live.e[i].inode));
        for (size_t i = 0; i < n->durable.count; i++)
            sim_entries_set(to, &made->durable, n->durable.e[i].name,
                            sim_restarted(s, map, n->durable.e[i].inode));
        for (size_t i = 0; i < n->pend_count; i++)
            sim_node_pend(made, n->pend[i].op, n->pend[i].op_no, n->pend[i].name, n->pend[i].to,
                          sim_restarted(s, map, n->pend[i].inode));
    }
    for (at = 0; at < count; at++)
        sim_inode_unref(to, map[at]);
    sim_mem_free(map);
    os_mutex_unlock(&s->lock);
    return &to->base;
}

struct os *sim_image_keep(struct os *os, bool (*keep)(void *arg, const struct sim_piece *piece),
                          void *arg)
{
    struct sim_choice c = {
        .s = (struct sim *)(void *)os, .model = SIM_M4, .keep = keep, .arg = arg};

    return sim_image_make(&c, 0);
}

uint64_t sim_pending(struct os *os)
{
    struct sim *s = (struct sim *)(void *)os;
    size_t count;

    os_mutex_lock(&s->lock);
    sim_mem_free(sim_pending_ops(s, &count));
    os_mutex_unlock(&s->lock);
    return count;
}

/* ---- looking at a disk ---- */

uint64_t sim_hash(struct os *os)
{
    struct sim *s = (struct sim *)(void *)os;
    uint64_t h = 0;

    os_mutex_lock(&s->lock);
    for (const struct sim_node *n = s->nodes; n; n = n->next) {
        uint64_t files = 0; /* a sum: the order of entries means nothing */

        for (size_t i = 0; i < n->live.count; i++) {
            const struct sim_entry *e = &n->live.e[i];

            files += hash_mix(hash64(e->name, strlen(e->name)), sim_data_hash(&e->inode->live));
        }
        h += hash_mix(hash64(n->path, strlen(n->path)), files);
    }
    os_mutex_unlock(&s->lock);
    return h;
}

static void sim_dump_node(const struct sim_node *n, void (*line)(void *, const char *), void *arg)
{
    char text[400];

    (void)snprintf(text, sizeof text, "directory %s", n->path);
    line(arg, text);
    for (size_t i = 0; i < n->live.count; i++) {
        const struct sim_inode *ino = n->live.e[i].inode;

        (void)snprintf(text, sizeof text, "  %s: %llu bytes, hash %016llx, durable %llu%s%s",
                       n->live.e[i].name, (unsigned long long)ino->live.size,
                       (unsigned long long)sim_data_hash(&ino->live),
                       (unsigned long long)ino->durable.size, ino->is_ring ? ", ring" : "",
                       ino->has_lost ? ", a sync failed" : "");
        line(arg, text);
    }
    for (size_t i = 0; i < n->pend_count; i++) {
        (void)snprintf(text, sizeof text, "  pending #%llu %s %s%s%s",
                       (unsigned long long)n->pend[i].op_no, sim_op_name(n->pend[i].op),
                       n->pend[i].name, n->pend[i].to ? " to " : "",
                       n->pend[i].to ? n->pend[i].to : "");
        line(arg, text);
    }
}

void sim_dump(struct os *os, void (*line)(void *arg, const char *text), void *arg)
{
    struct sim *s = (struct sim *)(void *)os;
    char text[400];

    os_mutex_lock(&s->lock);
    (void)snprintf(text, sizeof text, "seed %llu, %llu operations%s", (unsigned long long)s->seed,
                   (unsigned long long)s->ops, s->is_dead ? ", dead" : "");
    line(arg, text);
    for (const struct sim_node *n = s->nodes; n; n = n->next)
        sim_dump_node(n, line, arg);
    for (const struct sim_inode *i = s->inodes; i; i = i->next)
        for (size_t k = 0; k < i->pend_count; k++) {
            (void)snprintf(text, sizeof text, "pending #%llu %s %s at %llu, %zu bytes%s",
                           (unsigned long long)i->pend[k].op_no, sim_op_name(i->pend[k].op),
                           i->name, (unsigned long long)i->pend[k].off, i->pend[k].len,
                           i->pend[k].in_flight ? ", in flight" : "");
            line(arg, text);
        }
    os_mutex_unlock(&s->lock);
}
