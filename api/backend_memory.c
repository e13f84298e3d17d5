/* api/backend_memory.c -- the trait over an ordered map in memory: the oracle of the tests.
 *
 *     family --> skiplist of keys --> versions of a key, newest first
 *
 *                 "ant" ----------> 17 put "a2" --> 4 put "a1"
 *                 "bee" ----------> 12 delete   --> 9 put "b1"
 *
 * Made to be obviously right, not fast: one mutex around everything, no version is changed once it is
 * made, and an iterator finds its place anew by key at every step.
 *
 * 1. Every write has a number of its own; a read at moment s sees, of each key, the newest version
 *    numbered at most s.
 * 2. A batch is prepared completely, memory included, before the first of its writes is linked:
 *    linking cannot fail.
 * 3. Versions below the oldest moment anyone reads at, but for the newest of them, are dropped when
 *    their key is next written. A key is unlinked only when nothing but a delete is left of it that
 *    every reader sees.
 * 4. A claim is checked against the newest version of each key it covers: no key that was written
 *    since the oldest moment is unlinked (3).
 * 5. A version somebody holds (a value not yet released) outlives its unlinking; `pins` counts.
 *
 * Threads: any; all of it under `lock`. Crashes: everything is gone.
 */
#include <assert.h>

#include "api/db_priv.h"
#include "base/hash.h"

#define MAP_HEIGHT 16

struct map_version {
    struct map_version *older;
    uint64_t seq;
    uint32_t pins;
    bool is_delete;
    bool is_unlinked;
    size_t len;
    uint8_t bytes[];
};

struct map_node {
    struct map_version *newest;
    const uint8_t *key; /* behind the links */
    size_t key_len;
    int height;
    struct map_node *next[];
};

struct map_family {
    struct map_family *next; /* in order of creation */
    struct map_node *head[MAP_HEIGHT];
    uint64_t keys;
    uint64_t bytes;
    uint64_t unlinked; /* the greatest number of a delete that went with its key */
    uint32_t id;
    bool is_dropped;
    char name[API_NAME_MAX + 1];
};

/* A moment somebody reads at: a snapshot, a transaction or an iterator. */
struct map_moment {
    struct map_moment *prev, *next; /* NULL while it is paused */
    uint64_t seq;
    uint64_t taken_ns;
};

/* What a prepared transaction claims. */
struct map_hold {
    struct map_hold *next;
    uint64_t number;
    size_t count;
    odb_claim claim[]; /* and then the bytes they point to */
};

struct map {
    struct os_mutex lock; /* all of the below */
    struct map_family *families;
    uint32_t family_count;
    uint64_t seq;
    struct map_moment moments; /* a ring with a dummy, oldest first */
    uint64_t dice;
    uint64_t commits, ops, bytes_in;
    odb_observer *observer; /* NULL: none */
    void *observer_arg;
    struct map_hold *holds;
};

/* One write of a batch, prepared. */
struct map_pending {
    struct map_family *family;
    struct map_version *version;
    struct map_node *spare; /* used when the key is new */
};

/* ---- keys in order ---- */

static int map_order(const struct map_node *n, odb_slice key)
{
    return key_compare(n->key, n->key_len, key.data, key.size);
}

/* The last node below `key` (or at most `key` with `or_equal`), NULL when there is none; `before`
 * gets the links that lead past it, one for each height. */
static struct map_node *map_find_before(struct map_family *f, odb_slice key, bool or_equal,
                                        struct map_node **before[MAP_HEIGHT])
{
    struct map_node **links = f->head, *at = NULL;

    for (int h = MAP_HEIGHT - 1; h >= 0; h--) {
        while (links[h] && map_order(links[h], key) < (or_equal ? 1 : 0)) {
            at = links[h];
            links = at->next;
        }
        if (before)
            before[h] = &links[h];
    }
    return at;
}

static struct map_node *map_find_last(struct map_family *f)
{
    struct map_node **links = f->head, *at = NULL;

    for (int h = MAP_HEIGHT - 1; h >= 0; h--)
        while (links[h]) {
            at = links[h];
            links = at->next;
        }
    return at;
}

/* The first node at or above `key`. */
static struct map_node *map_find_from(struct map_family *f, odb_slice key)
{
    struct map_node *before = map_find_before(f, key, false, NULL);

    return before ? before->next[0] : f->head[0];
}

static struct map_node *map_find(struct map_family *f, odb_slice key)
{
    struct map_node *n = map_find_from(f, key);

    return n && map_order(n, key) == 0 ? n : NULL;
}

/* ---- versions ---- */

static struct map_version *map_version_at(const struct map_node *n, uint64_t seq)
{
    struct map_version *v = n->newest;

    while (v && v->seq > seq)
        v = v->older;
    return v && !v->is_delete ? v : NULL;
}

static void map_version_drop(struct map_version *v)
{
    v->is_unlinked = true;
    if (v->pins == 0)
        mem_free(v);
}

static void map_version_unpin(struct map_version *v)
{
    v->pins--;
    if (v->is_unlinked && v->pins == 0)
        mem_free(v);
}

static void map_node_free(struct map_node *n)
{
    struct map_version *v, *older;

    for (v = n->newest; v; v = older) {
        older = v->older;
        map_version_drop(v);
    }
    mem_free(n);
}

static uint64_t map_oldest_moment(const struct map *m)
{
    return m->moments.next == &m->moments ? m->seq : m->moments.next->seq;
}

/* Drop what invariant 3 lets go; `n` may be gone afterwards. */
static void map_prune(struct map *m, struct map_family *f, struct map_node *n)
{
    uint64_t oldest = map_oldest_moment(m);
    struct map_node **before[MAP_HEIGHT];
    struct map_version *v = n->newest, *older;

    while (v && v->seq > oldest)
        v = v->older;
    if (!v)
        return; /* all of them are newer than the oldest reader */
    for (older = v->older, v->older = NULL; older;) {
        struct map_version *gone = older;

        older = older->older;
        map_version_drop(gone);
    }
    if (v != n->newest || !v->is_delete)
        return;
    (void)map_find_before(f, odb_bytes(n->key, n->key_len), false, before);
    for (int h = 0; h < n->height; h++)
        *before[h] = n->next[h];
    f->keys--;
    f->bytes -= n->key_len;
    if (v->seq > f->unlinked)
        f->unlinked = v->seq;
    map_node_free(n);
}

/* ---- writing ---- */

static int map_throw_height(struct map *m)
{
    int h = 1;

    m->dice = hash_mix(m->dice, 1);
    for (uint64_t d = m->dice; h < MAP_HEIGHT && (d & 3) == 0; d >>= 2)
        h++;
    return h;
}

static struct map_node *map_node_new(struct map *m, odb_slice key)
{
    int height = map_throw_height(m);
    struct map_node *n = mem_zalloc(1, sizeof *n + (size_t)height * sizeof n->next[0] + key.size);
    uint8_t *room;

    if (!n)
        return NULL;
    room = (uint8_t *)(n->next + height);
    if (key.size)
        memcpy(room, key.data, key.size);
    n->key = room;
    n->key_len = key.size;
    n->height = height;
    return n;
}

static struct map_version *map_version_new(bool is_delete, odb_slice value)
{
    struct map_version *v = mem_zalloc(1, sizeof *v + value.size);

    if (!v)
        return NULL;
    v->is_delete = is_delete;
    v->len = value.size;
    if (value.size)
        memcpy(v->bytes, value.data, value.size);
    return v;
}

static odb_status map_prepare(struct map *m, struct map_family *f, const odb_op *op,
                              struct map_pending *out)
{
    *out = (struct map_pending){f, map_version_new(op->is_delete, op->value), NULL};
    if (out->version && !map_find(f, op->key))
        out->spare = map_node_new(m, op->key);
    if (!out->version || (!out->spare && !map_find(f, op->key))) {
        mem_free(out->version);
        return err_set(ODB_NOMEM, "no memory for a write of %zu bytes",
                       op->key.size + op->value.size);
    }
    return ODB_OK;
}

/* Link a prepared write; cannot fail. */
static void map_apply(struct map *m, const struct map_pending *p, odb_slice key)
{
    struct map_node **before[MAP_HEIGHT];
    struct map_node *n = map_find(p->family, key);

    if (n) {
        mem_free(p->spare); /* an earlier write of this batch made the key */
    } else {
        n = p->spare;
        (void)map_find_before(p->family, key, false, before);
        for (int h = 0; h < n->height; h++) {
            n->next[h] = *before[h];
            *before[h] = n;
        }
        p->family->keys++;
        p->family->bytes += key.size;
    }
    p->version->seq = ++m->seq;
    p->version->older = n->newest;
    n->newest = p->version;
    m->ops++;
    m->bytes_in += key.size + p->version->len;
}

static struct map_family *map_family_by_id(struct map *m, uint32_t id)
{
    struct map_family *f = m->families;

    while (f && f->id != id)
        f = f->next;
    return f && !f->is_dropped ? f : NULL;
}

/* What the two passes over a batch carry along. */
struct map_batch_pass {
    struct map *m;
    struct map_pending *pending;
    uint32_t count;
    const odb_guard *guard;
    odb_status st;
};

static bool map_claim_holds(const odb_claim *c, uint32_t family, odb_slice key)
{
    if (c->family != family)
        return false;
    if (!c->is_range)
        return odb_slice_equal(c->lower, key);
    return odb_slice_compare(key, c->lower) >= 0 &&
           (!c->upper.data || odb_slice_compare(key, c->upper) < 0);
}

/* Does a prepared transaction, other than the one this commit ends, claim the key? */
static bool map_is_held(const struct map *m, uint64_t but, const odb_op *op)
{
    for (const struct map_hold *h = m->holds; h; h = h->next)
        for (size_t i = 0; h->number != but && i < h->count; i++)
            if (map_claim_holds(&h->claim[i], op->family, op->key))
                return true;
    return false;
}

static odb_status map_conflict(void)
{
    return err_set(ODB_CONFLICT, "something this transaction depends on was written by somebody "
                                 "else since it began; nothing was applied, begin again");
}

/* Every key that was written since the oldest moment still has its node. A claim may be older than
 * that: then a delete may have gone with its key. */
static odb_status map_check_claims(struct map *m, const odb_guard *guard)
{
    for (size_t i = 0; i < guard->claim_count; i++) {
        const odb_claim *c = &guard->claim[i];
        struct map_family *f = map_family_by_id(m, c->family);
        const struct map_node *n = f ? map_find_from(f, c->lower) : NULL;

        if (f && f->unlinked > c->since)
            return err_set(ODB_TOO_OLD,
                           "a key was deleted since this transaction began, and nobody "
                           "can tell whether it depends on it; begin again");
        for (; n && map_claim_holds(c, c->family, odb_bytes(n->key, n->key_len)); n = n->next[0])
            if (n->newest->seq > c->since)
                return map_conflict();
    }
    return ODB_OK;
}

static bool map_batch_prepare(void *arg, const odb_op *op)
{
    struct map_batch_pass *pass = arg;
    struct map_family *f = map_family_by_id(pass->m, op->family);
    const struct map_node *n = f ? map_find(f, op->key) : NULL;

    if (!f)
        pass->st = err_set(ODB_NO_FAMILY, "the batch names family number %lu, which is not there",
                           (unsigned long)op->family);
    else if (n && pass->guard->since != ODB_SINCE_EVER && n->newest->seq > pass->guard->since)
        pass->st = map_conflict();
    else if (map_is_held(pass->m, pass->guard->release, op))
        pass->st = err_set(ODB_CONFLICT, "a key of this write belongs to a prepared transaction "
                                         "until that is committed or rolled back");
    else
        pass->st = map_prepare(pass->m, f, op, &pass->pending[pass->count]);
    if (pass->st == ODB_OK)
        pass->count++;
    return pass->st == ODB_OK;
}

static bool map_batch_apply(void *arg, const odb_op *op)
{
    struct map_batch_pass *pass = arg;

    map_apply(pass->m, &pass->pending[pass->count++], op->key);
    return true;
}

static bool map_batch_prune(void *arg, const odb_op *op)
{
    struct map_batch_pass *pass = arg;
    struct map_family *f = map_family_by_id(pass->m, op->family);
    struct map_node *n = map_find(f, op->key);

    if (n)
        map_prune(pass->m, f, n);
    return true;
}

/* A copy of what the guard claims; NULL: out of memory. */
static struct map_hold *map_hold_new(const odb_guard *g)
{
    size_t bytes = 0;
    struct map_hold *h;
    uint8_t *copy;

    for (size_t i = 0; i < g->claim_count; i++)
        bytes += g->claim[i].lower.size + g->claim[i].upper.size;
    h = mem_zalloc(1, sizeof *h + g->claim_count * sizeof h->claim[0] + bytes + 1);
    if (!h)
        return NULL;
    h->number = g->hold;
    h->count = g->claim_count;
    copy = (uint8_t *)(h->claim + h->count);
    for (size_t i = 0; i < h->count; i++) {
        odb_slice *bound[2] = {&h->claim[i].lower, &h->claim[i].upper};

        h->claim[i] = g->claim[i];
        for (int k = 0; k < 2; k++) {
            if (bound[k]->size)
                memcpy(copy, bound[k]->data, bound[k]->size);
            if (bound[k]->data)
                bound[k]->data = copy;
            copy += bound[k]->size;
        }
    }
    return h;
}

static void map_hold_remove(struct map *m, uint64_t number)
{
    struct map_hold **at = &m->holds, *gone;

    while (*at && (*at)->number != number)
        at = &(*at)->next;
    gone = *at;
    if (gone)
        *at = gone->next;
    mem_free(gone);
}

static odb_status map_commit_locked(struct map *m, const odb_batch *b, const odb_guard *guard)
{
    struct map_batch_pass pass = {m, NULL, 0, guard, map_check_claims(m, guard)};

    if (pass.st != ODB_OK)
        return pass.st;
    pass.pending = mem_array((size_t)odb_batch_count(b) + 1, sizeof *pass.pending);
    if (!pass.pending)
        return err_set(ODB_NOMEM, "no memory for a batch of %lu writes",
                       (unsigned long)odb_batch_count(b));
    odb_batch_each(b, map_batch_prepare, &pass);
    if (pass.st == ODB_OK) {
        pass.count = 0;
        odb_batch_each(b, map_batch_apply, &pass);
        odb_batch_each(b, map_batch_prune, &pass);
        m->commits += odb_batch_count(b) != 0;
        if (m->observer &&
            odb_batch_count(b)) /* readers wait for the lock: nobody sees the commit yet */
            m->observer(m->observer_arg, &(odb_commit_info){m->seq, b});
    } else {
        while (pass.count-- > 0) {
            mem_free(pass.pending[pass.count].version);
            mem_free(pass.pending[pass.count].spare);
        }
    }
    mem_free(pass.pending);
    return pass.st;
}

static const odb_guard map_unguarded = {.since = ODB_SINCE_EVER};

static odb_status map_write_batch(void *self, const odb_batch *b, const odb_write *how)
{
    struct map *m = self;
    odb_status st;

    (void)how;
    os_mutex_lock(&m->lock);
    st = map_commit_locked(m, b, &map_unguarded);
    os_mutex_unlock(&m->lock);
    return st;
}

static odb_status map_write_one(struct map *m, struct map_family *f, const odb_op *op)
{
    struct odb_batch one = {{{NULL, 0, 0}, 0}, NULL};
    odb_status st = op->is_delete ? batch_delete(&one.ops, f->id, op->key)
                                  : batch_put(&one.ops, f->id, op->key, op->value);

    if (st == ODB_OK) {
        os_mutex_lock(&m->lock);
        st = map_commit_locked(m, &one, &map_unguarded);
        os_mutex_unlock(&m->lock);
    }
    batch_release(&one.ops);
    return st;
}

static odb_status map_put(void *self, void *family, odb_slice key, odb_slice value,
                          const odb_write *how)
{
    odb_op op = {false, 0, key, value};

    (void)how;
    return map_write_one(self, family, &op);
}

static odb_status map_remove(void *self, void *family, odb_slice key, const odb_write *how)
{
    odb_op op = {true, 0, key, {NULL, 0}};

    (void)how;
    return map_write_one(self, family, &op);
}

/* ---- moments ---- */

static void map_moment_add(struct map *m, struct map_moment *at)
{
    at->seq = m->seq;
    at->taken_ns = os_now_ns(os_posix());
    at->prev = m->moments.prev;
    at->next = &m->moments;
    at->prev->next = at;
    m->moments.prev = at;
}

static void map_moment_remove(struct map_moment *at)
{
    if (!at->prev)
        return; /* paused */
    at->prev->next = at->next;
    at->next->prev = at->prev;
    at->prev = at->next = NULL;
}

static odb_status map_snapshot_new(void *self, void **out)
{
    struct map *m = self;
    struct map_moment *at = mem_alloc(sizeof *at);

    if (!at)
        return err_set(ODB_NOMEM, "no memory for a snapshot");
    os_mutex_lock(&m->lock);
    map_moment_add(m, at);
    os_mutex_unlock(&m->lock);
    *out = at;
    return ODB_OK;
}

static void map_snapshot_free(void *self, void *snapshot)
{
    struct map *m = self;

    os_mutex_lock(&m->lock);
    map_moment_remove(snapshot);
    os_mutex_unlock(&m->lock);
    mem_free(snapshot);
}

static odb_status map_begin_transaction(void *self, void **moment)
{
    struct map *m = self;

    if (!*moment)
        return map_snapshot_new(self, moment);
    os_mutex_lock(&m->lock);
    map_moment_remove(*moment);
    map_moment_add(m, *moment);
    os_mutex_unlock(&m->lock);
    return ODB_OK;
}

static void map_pause_transaction(void *self, void *moment)
{
    struct map *m = self;

    os_mutex_lock(&m->lock);
    map_moment_remove(moment);
    os_mutex_unlock(&m->lock);
}

static odb_status map_commit_transaction(void *self, const odb_guard *guard, const odb_batch *b,
                                         const odb_write *how)
{
    struct map_hold *hold = NULL;
    struct map *m = self;
    odb_status st;

    (void)how;
    if (guard->hold && !(hold = map_hold_new(guard)))
        return err_set(ODB_NOMEM, "no memory for what a prepared transaction claims");
    os_mutex_lock(&m->lock);
    st = map_commit_locked(m, b, guard);
    if (st == ODB_OK && guard->release)
        map_hold_remove(m, guard->release);
    if (st == ODB_OK && hold) {
        hold->next = m->holds;
        m->holds = hold;
        hold = NULL;
    }
    os_mutex_unlock(&m->lock);
    mem_free(hold);
    return st;
}

/* ---- point reads ---- */

static odb_status map_get(void *self, void *family, void *snapshot, odb_slice key, odb_value *out)
{
    struct map *m = self;
    const struct map_moment *at = snapshot;
    struct map_version *v;
    struct map_node *n;

    os_mutex_lock(&m->lock);
    n = map_find(family, key);
    v = n ? map_version_at(n, at ? at->seq : m->seq) : NULL;
    if (v) {
        v->pins++;
        *out = (odb_value){v->bytes, v->len, NULL, {v, NULL, NULL}};
    }
    os_mutex_unlock(&m->lock);
    return v ? ODB_OK : ODB_ABSENT;
}

static void map_value_release(void *self, odb_value *value)
{
    struct map *m = self;

    os_mutex_lock(&m->lock);
    map_version_unpin(value->pin[0]);
    os_mutex_unlock(&m->lock);
}

/* ---- walks ---- */

struct map_iter {
    odb_iter head;
    struct map *m;
    struct map_family *family;
    struct map_moment at;   /* linked for the iterator's life */
    odb_slice lower, upper; /* data NULL: open; in `bounds` */
    struct buf bounds;
    struct buf key;           /* copy of the current key: its node may go */
    struct map_version *held; /* the current version, pinned */
};

static struct map_iter *map_iter_of(odb_iter *it)
{
    return (struct map_iter *)it; /* the head is the first member */
}

static void map_iter_let_go(struct map_iter *w)
{
    if (w->held)
        map_version_unpin(w->held);
    w->held = NULL;
    w->head.is_valid = false;
    w->head.status = ODB_OK;
    w->head.key = w->head.value = odb_bytes(NULL, 0);
}

/* Stand on the first visible node from `n` on, in the direction asked for, within the bounds. */
static bool map_iter_settle(struct map_iter *w, struct map_node *n, bool is_forward)
{
    struct map_version *v = NULL;

    assert(os_mutex_held(&w->m->lock));
    map_iter_let_go(w);
    while (n && !(v = map_version_at(n, w->at.seq)))
        n = is_forward ? n->next[0]
                       : map_find_before(w->family, odb_bytes(n->key, n->key_len), false, NULL);
    if (!n || (is_forward && w->upper.data && map_order(n, w->upper) >= 0) ||
        (!is_forward && w->lower.data && map_order(n, w->lower) < 0))
        return false;
    w->head.status = buf_assign(&w->key, n->key, n->key_len);
    if (w->head.status != ODB_OK)
        return false;
    v->pins++;
    w->held = v;
    w->head.key = buf_slice(&w->key);
    w->head.value = odb_bytes(v->bytes, v->len);
    w->head.is_valid = true;
    return true;
}

static bool map_iter_seek(odb_iter *it, odb_slice key)
{
    struct map_iter *w = map_iter_of(it);
    bool ok;

    os_mutex_lock(&w->m->lock);
    if (w->lower.data && odb_slice_compare(key, w->lower) < 0)
        key = w->lower;
    ok = map_iter_settle(w, map_find_from(w->family, key), true);
    os_mutex_unlock(&w->m->lock);
    return ok;
}

static bool map_iter_seek_for_prev(odb_iter *it, odb_slice key)
{
    struct map_iter *w = map_iter_of(it);
    struct map_node *n;
    bool ok;

    os_mutex_lock(&w->m->lock);
    if (w->upper.data && odb_slice_compare(key, w->upper) >= 0)
        n = map_find_before(w->family, w->upper, false, NULL);
    else
        n = map_find_before(w->family, key, true, NULL);
    ok = map_iter_settle(w, n, false);
    os_mutex_unlock(&w->m->lock);
    return ok;
}

static bool map_iter_first(odb_iter *it)
{
    return map_iter_seek(it, odb_bytes("", 0));
}

static bool map_iter_last(odb_iter *it)
{
    struct map_iter *w = map_iter_of(it);
    struct map_node *n;
    bool ok;

    os_mutex_lock(&w->m->lock);
    n = w->upper.data ? map_find_before(w->family, w->upper, false, NULL)
                      : map_find_last(w->family);
    ok = map_iter_settle(w, n, false);
    os_mutex_unlock(&w->m->lock);
    return ok;
}

static bool map_iter_next(odb_iter *it)
{
    struct map_iter *w = map_iter_of(it);
    struct map_node *n;
    bool ok;

    os_mutex_lock(&w->m->lock);
    n = map_find_from(w->family, w->head.key);
    if (n && map_order(n, w->head.key) == 0)
        n = n->next[0];
    ok = map_iter_settle(w, n, true);
    os_mutex_unlock(&w->m->lock);
    return ok;
}

static bool map_iter_prev(odb_iter *it)
{
    struct map_iter *w = map_iter_of(it);
    bool ok;

    os_mutex_lock(&w->m->lock);
    ok = map_iter_settle(w, map_find_before(w->family, w->head.key, false, NULL), false);
    os_mutex_unlock(&w->m->lock);
    return ok;
}

/* Move a linked moment to another place in time. Its place in the ring follows its number. */
static odb_status map_iter_refresh(odb_iter *it, void *snapshot)
{
    struct map_iter *w = map_iter_of(it);
    struct map_moment *to = snapshot, *behind;

    os_mutex_lock(&w->m->lock);
    map_iter_let_go(w);
    if (w->family->is_dropped) {
        os_mutex_unlock(&w->m->lock);
        return err_set(ODB_NO_FAMILY, "family '%s' was dropped", w->family->name);
    }
    map_moment_remove(&w->at);
    behind = to ? to : w->m->moments.prev;
    w->at.seq = to ? to->seq : w->m->seq;
    w->at.taken_ns = to ? to->taken_ns : os_now_ns(os_posix());
    w->at.prev = behind;
    w->at.next = behind->next;
    behind->next->prev = &w->at;
    behind->next = &w->at;
    os_mutex_unlock(&w->m->lock);
    return ODB_OK;
}

static void map_iter_free(odb_iter *it)
{
    struct map_iter *w = map_iter_of(it);

    os_mutex_lock(&w->m->lock);
    map_iter_let_go(w);
    map_moment_remove(&w->at);
    os_mutex_unlock(&w->m->lock);
    buf_release(&w->bounds);
    buf_release(&w->key);
    mem_free(w);
}

static const odb_iter_ops map_iter_ops = {
    sizeof map_iter_ops, map_iter_first, map_iter_last,    map_iter_seek, map_iter_seek_for_prev,
    map_iter_next,       map_iter_prev,  map_iter_refresh, map_iter_free,
};

static odb_status map_scan(void *self, void *family, void *snapshot, const odb_range *range,
                           odb_iter **out)
{
    struct map *m = self;
    struct map_iter *w = mem_zalloc(1, sizeof *w);
    odb_status st = ODB_OK;

    if (!w)
        return err_set(ODB_NOMEM, "no memory for an iterator");
    if (range->lower.size)
        st = buf_append(&w->bounds, range->lower.data, range->lower.size);
    if (st == ODB_OK && range->upper.size)
        st = buf_append(&w->bounds, range->upper.data, range->upper.size);
    if (st != ODB_OK) {
        buf_release(&w->bounds);
        mem_free(w);
        return st;
    }
    if (range->lower.size)
        w->lower = odb_bytes(w->bounds.p, range->lower.size);
    if (range->upper.size)
        w->upper = odb_bytes(w->bounds.p + range->lower.size, range->upper.size);
    w->head.ops = &map_iter_ops;
    w->m = m;
    w->family = family;
    os_mutex_lock(&m->lock);
    map_moment_add(m, &w->at);
    os_mutex_unlock(&m->lock);
    if (snapshot)
        st = map_iter_refresh(&w->head, snapshot);
    if (st == ODB_OK)
        *out = &w->head;
    else
        map_iter_free(&w->head); /* the family was dropped just now */
    return st;
}

/* ---- families ---- */

static odb_status map_family_add(struct map *m, const char *name, odb_backend_cf *out)
{
    struct map_family *f = mem_zalloc(1, sizeof *f), **end = &m->families;

    if (!f)
        return err_set(ODB_NOMEM, "no memory for family '%s'", name);
    f->id = m->family_count;
    (void)strncpy(f->name, name, sizeof f->name - 1);
    m->family_count++;
    while (*end)
        end = &(*end)->next;
    *end = f;
    *out = (odb_backend_cf){f, f->id};
    return ODB_OK;
}

static struct map_family *map_family_named(struct map *m, const char *name)
{
    struct map_family *f = m->families;

    assert(os_mutex_held(&m->lock));
    while (f && (f->is_dropped || strcmp(f->name, name) != 0))
        f = f->next;
    return f;
}

static odb_status map_cf_find(void *self, const char *name, odb_backend_cf *out)
{
    struct map *m = self;
    struct map_family *f;

    os_mutex_lock(&m->lock);
    f = map_family_named(m, name);
    os_mutex_unlock(&m->lock);
    if (!f)
        return err_set(ODB_NO_FAMILY, "there is no family '%s'", name);
    *out = (odb_backend_cf){f, f->id};
    return ODB_OK;
}

static odb_status map_cf_create(void *self, const char *name, const odb_cf_options *opt,
                                odb_backend_cf *out)
{
    struct map *m = self;
    odb_status st;

    (void)opt;
    os_mutex_lock(&m->lock);
    if (map_family_named(m, name))
        st = err_set(ODB_EXISTS, "there is a family '%s' already", name);
    else
        st = map_family_add(m, name, out);
    os_mutex_unlock(&m->lock);
    return st;
}

/* The keys stay until close: an iterator may walk them. */
static odb_status map_cf_drop(void *self, void *family)
{
    struct map *m = self;
    struct map_family *f = family;
    odb_status st = ODB_OK;

    os_mutex_lock(&m->lock);
    if (f->is_dropped)
        st = err_set(ODB_NO_FAMILY, "family '%s' was dropped", f->name);
    f->is_dropped = true;
    os_mutex_unlock(&m->lock);
    return st;
}

static void map_cf_each(void *self, bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                        void *arg)
{
    struct map *m = self;
    struct map_family *f;

    os_mutex_lock(&m->lock);
    for (f = m->families; f; f = f->next)
        if (!f->is_dropped && !each(arg, (odb_backend_cf){f, f->id}, f->name))
            break;
    os_mutex_unlock(&m->lock);
}

/* ---- the rest ---- */

static odb_status map_stats(void *self, void *family, odb_stats_t *out)
{
    struct map *m = self;
    const struct map_family *f;

    os_mutex_lock(&m->lock);
    for (f = m->families; f; f = f->next) {
        if (f->is_dropped || (family && f != family))
            continue;
        out->memtables++;
        out->memtable_entries += f->keys;
        out->memtable_bytes += f->bytes;
    }
    out->commits = m->commits;
    out->ops = m->ops;
    out->bytes_in = m->bytes_in;
    out->sequence = m->seq;
    for (const struct map_moment *at = m->moments.next; at != &m->moments; at = at->next)
        out->snapshots++;
    if (out->snapshots)
        out->oldest_snapshot_age_ms = (os_now_ns(os_posix()) - m->moments.next->taken_ns) / 1000000;
    os_mutex_unlock(&m->lock);
    return ODB_OK;
}

static uint64_t map_sequence(void *self, void *snapshot)
{
    struct map *m = self;
    const struct map_moment *at = snapshot;
    uint64_t seq;

    if (at)
        return at->seq;
    os_mutex_lock(&m->lock);
    seq = m->seq;
    os_mutex_unlock(&m->lock);
    return seq;
}

static odb_status map_observe(void *self, odb_observer *fn, void *arg, uint64_t *since)
{
    struct map *m = self;

    os_mutex_lock(&m->lock);
    m->observer = fn;
    m->observer_arg = arg;
    *since = m->seq;
    os_mutex_unlock(&m->lock);
    return ODB_OK;
}

static odb_status map_close(void *self)
{
    struct map *m = self;
    struct map_family *f, *next_family;
    struct map_node *n, *next;

    for (f = m->families; f; f = next_family) {
        next_family = f->next;
        for (n = f->head[0]; n; n = next) {
            next = n->next[0];
            map_node_free(n);
        }
        mem_free(f);
    }
    while (m->holds)
        map_hold_remove(m, m->holds->number);
    os_mutex_destroy(&m->lock);
    mem_free(m);
    return ODB_OK;
}

static const odb_backend_ops map_ops = {
    .size = sizeof map_ops,
    .name = "memory",
    .close = map_close,
    .cf_find = map_cf_find,
    .cf_create = map_cf_create,
    .cf_drop = map_cf_drop,
    .cf_each = map_cf_each,
    .get = map_get,
    .value_release = map_value_release,
    .put = map_put,
    .remove = map_remove,
    .write_batch = map_write_batch,
    .scan = map_scan,
    .snapshot_new = map_snapshot_new,
    .snapshot_free = map_snapshot_free,
    .begin_transaction = map_begin_transaction,
    .pause_transaction = map_pause_transaction,
    .commit_transaction = map_commit_transaction,
    .stats = map_stats,
    .sequence = map_sequence,
    .observe = map_observe,
};

odb_status odb_backend_memory(odb_backend *out)
{
    struct map *m;
    odb_status st = ODB_OK;

    if (!out)
        return api_refuse_null("the place for the backend");
    m = mem_zalloc(1, sizeof *m);
    if (!m)
        return err_set(ODB_NOMEM, "no memory for an ordered map");
    os_mutex_init(&m->lock, RANK_TREE);
    m->moments.next = m->moments.prev = &m->moments;
    for (size_t i = 0; i < API_STANDARD_FAMILIES && st == ODB_OK; i++) {
        odb_backend_cf made;

        st = map_family_add(m, api_standard_families[i], &made);
    }
    if (st != ODB_OK) {
        (void)map_close(m); /* always ODB_OK */
        return st;
    }
    *out = (odb_backend){&map_ops, m};
    return ODB_OK;
}
