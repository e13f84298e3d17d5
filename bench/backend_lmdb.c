/* bench/backend_lmdb.c -- the storage trait over LMDB, a B-tree in a memory map.
 *
 *     "families"   number (big-endian) -> 1 living or 0 dropped, name
 *     "cf7"        the keys of family 7, each behind one byte 'k', since LMDB knows no empty key
 *
 * 1. Numbers are never used again. A dropped family is emptied and keeps its tree: readers of the past
 *    hold handles to it, which LMDB would pull from under them.
 * 2. A moment is one read transaction, shared by those who look at it and ended by the last of them.
 *    LMDB wants one thread at a time in it: its lock.
 * 3. Values are copied out: a transaction for each value a caller holds would keep every page it has
 *    ever seen.
 *
 * Threads: any; LMDB lets one write at a time.
 */
#include "bench/backend_common.h"

#include <errno.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_MAX      510 /* LMDB's 511, and one is ours */
#define FAMILIES_MAX 1024
#define MAP_SIZE     (sizeof(void *) > 4 ? (size_t)1 << 38 : (size_t)1 << 30)

struct family {
    struct backend_family head;
    MDB_dbi dbi;
    char name[129];
};

struct store {
    MDB_env *env;
    MDB_dbi list;
    odb_durability durability;
    bool is_readonly;
    struct backend_families families;
    uint32_t family_count; /* the dropped ones, too: the next number; under the families' lock */
    _Atomic uint64_t commits, ops; /* since open */
};

struct view {
    MDB_txn *txn;
    pthread_mutex_t lock; /* of the transaction */
    atomic_uint refs;
};

struct walk {
    odb_iter head;
    struct store *store;
    struct family *family;
    struct view *view;
    MDB_cursor *cursor; /* NULL: the family is younger than the moment */
    odb_slice lower, upper;
    char bounds[];
};

/* ---- statuses ---- */

static odb_status status_of(int rc)
{
    odb_status st;

    switch (rc) {
    case 0: return ODB_OK;
    case MDB_NOTFOUND: return ODB_ABSENT;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT: st = ODB_NOSPACE; break;
    case MDB_BAD_VALSIZE:
    case MDB_TXN_FULL: st = ODB_TOO_LARGE; break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID: st = ODB_CORRUPT; break;
    case MDB_VERSION_MISMATCH: st = ODB_VERSION; break;
    case MDB_READERS_FULL:
    case MDB_DBS_FULL: st = ODB_LIMIT; break;
    case ENOMEM: st = ODB_NOMEM; break;
    case EACCES:
    case EROFS: st = ODB_DENIED; break;
    case ENOENT: st = ODB_ABSENT; break;
    default: st = ODB_IO; break;
    }
    return odb_error_set(st, mdb_strerror(rc));
}

static odb_status no_memory(void)
{
    return odb_error_set(ODB_NOMEM, "lmdb: out of memory");
}

/* ---- keys ---- */

struct stored_key {
    MDB_val val;
    bool is_cut; /* the key was longer than any that is stored: this is its beginning */
    char bytes[KEY_MAX + 1];
};

static void key_store(struct stored_key *k, odb_slice key)
{
    size_t len = key.size < KEY_MAX ? key.size : KEY_MAX;

    k->is_cut = key.size > KEY_MAX;
    k->bytes[0] = 'k';
    if (len)
        memcpy(k->bytes + 1, key.data, len);
    k->val = (MDB_val){len + 1, k->bytes};
}

static odb_slice key_shown(const MDB_val *k)
{
    return odb_bytes((const char *)k->mv_data + 1, k->mv_size - 1);
}

static odb_status key_too_long(void)
{
    return odb_error_set(ODB_TOO_LARGE, "lmdb: a key of more than 510 bytes");
}

/* ---- families ---- */

static void id_bytes(uint32_t id, unsigned char out[4])
{
    for (int i = 3; i >= 0; i--, id >>= 8)
        out[i] = (unsigned char)id;
}

/* Enter family `id` into `txn`: its line in the list, and its tree. */
static int family_write(struct store *s, MDB_txn *txn, uint32_t id, const char *name, bool living,
                        MDB_dbi *dbi)
{
    unsigned char number[4];
    char line[130], tree[16];
    MDB_val k = {sizeof number, number}, v = {strlen(name) + 1, line};
    int rc;

    id_bytes(id, number);
    line[0] = living ? 1 : 0;
    memcpy(line + 1, name, strlen(name));
    rc = mdb_put(txn, s->list, &k, &v, 0);
    (void)snprintf(tree, sizeof tree, "cf%u", id);
    return rc ? rc : mdb_dbi_open(txn, tree, MDB_CREATE, dbi);
}

/* With the next number. The lock is held, or nobody else has the store yet. */
static void family_add(struct store *s, struct family *f)
{
    f->head = (struct backend_family){.id = s->family_count++, .name = f->name};
    backend_link(&s->families, &f->head);
}

static odb_status family_make(struct store *s, const char *name, struct family **out)
{
    struct family *f = s->family_count < FAMILIES_MAX ? calloc(1, sizeof *f) : NULL;
    MDB_txn *txn = NULL;
    int rc;

    if (s->family_count == FAMILIES_MAX)
        return odb_error_set(ODB_LIMIT, "lmdb: no room for another family");
    if (!f)
        return no_memory();
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc == 0)
        rc = family_write(s, txn, s->family_count, f->name, true, &f->dbi);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (rc == 0)
        rc = mdb_env_sync(s->env, 1); /* a family survives a power cut */
    if (txn)
        mdb_txn_abort(txn);
    if (rc != 0) {
        free(f);
        return status_of(rc);
    }
    family_add(s, f);
    *out = f;
    return ODB_OK;
}

static odb_status lmdb_cf_find(void *self, const char *name, odb_backend_cf *out)
{
    return backend_cf_find(&((struct store *)self)->families, name, out);
}

static odb_status lmdb_cf_create(void *self, const char *name, const odb_cf_options *opt,
                                 odb_backend_cf *out)
{
    struct store *s = self;
    struct family *f = NULL;
    odb_status st;

    (void)opt; /* a tree has none of these */
    pthread_mutex_lock(&s->families.lock);
    st = backend_look(&s->families, name, 0)
             ? odb_error_set(ODB_EXISTS, "lmdb: a family of that name is there")
             : family_make(s, name, &f);
    pthread_mutex_unlock(&s->families.lock);
    if (st == ODB_OK)
        *out = (odb_backend_cf){f, f->head.id};
    return st;
}

static odb_status lmdb_cf_drop(void *self, void *family)
{
    struct store *s = self;
    struct family *f = family;
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

    if (rc == 0)
        rc = family_write(s, txn, f->head.id, f->name, false, &f->dbi);
    if (rc == 0)
        rc = mdb_drop(txn, f->dbi, 0);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (rc == 0)
        rc = mdb_env_sync(s->env, 1);
    if (txn)
        mdb_txn_abort(txn);
    if (rc != 0)
        return status_of(rc);
    backend_mark_dropped(&s->families, &f->head);
    return ODB_OK;
}

static void lmdb_cf_each(void *self, bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                         void *arg)
{
    backend_cf_each(&((struct store *)self)->families, each, arg);
}

/* ---- moments ---- */

static odb_status view_new(struct store *s, struct view **out)
{
    struct view *v = malloc(sizeof *v);
    int rc;

    if (!v)
        return no_memory();
    rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &v->txn);
    if (rc == 0 && pthread_mutex_init(&v->lock, NULL) != 0) {
        mdb_txn_abort(v->txn);
        rc = ENOMEM;
    }
    if (rc != 0) {
        free(v);
        return status_of(rc);
    }
    atomic_init(&v->refs, 1);
    *out = v;
    return ODB_OK;
}

static void view_unref(struct view *v)
{
    if (atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    mdb_txn_abort(v->txn);
    (void)pthread_mutex_destroy(&v->lock);
    free(v);
}

static odb_status lmdb_snapshot_new(void *self, void **out)
{
    struct view *v;
    odb_status st = view_new(self, &v);

    if (st == ODB_OK)
        *out = v;
    return st;
}

static void lmdb_snapshot_free(void *self, void *snapshot)
{
    (void)self;
    view_unref(snapshot);
}

/* ---- points ---- */

/* MDB_BAD_DBI: the family was made after the transaction began. */
static odb_status get_in(MDB_txn *txn, const struct family *f, odb_slice key, odb_value *out)
{
    struct stored_key k;
    MDB_val v;
    void *copy;
    int rc;

    key_store(&k, key);
    rc = k.is_cut ? MDB_NOTFOUND : mdb_get(txn, f->dbi, &k.val, &v);
    if (rc == MDB_BAD_DBI || rc == EINVAL)
        return ODB_ABSENT;
    if (rc != 0)
        return status_of(rc);
    copy = malloc(v.mv_size ? v.mv_size : 1);
    if (!copy)
        return no_memory();
    if (v.mv_size)
        memcpy(copy, v.mv_data, v.mv_size);
    out->data = out->pin[0] = copy;
    out->size = v.mv_size;
    return ODB_OK;
}

static odb_status lmdb_get(void *self, void *family, void *snapshot, odb_slice key, odb_value *out)
{
    struct store *s = self;
    struct view *v = snapshot;
    MDB_txn *txn;
    odb_status st;
    int rc;

    if (v) {
        pthread_mutex_lock(&v->lock);
        st = get_in(v->txn, family, key, out);
        pthread_mutex_unlock(&v->lock);
        return st;
    }
    rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return status_of(rc);
    st = get_in(txn, family, key, out);
    mdb_txn_abort(txn);
    return st;
}

static void lmdb_value_release(void *self, odb_value *v)
{
    (void)self;
    free(v->pin[0]);
}

/* ---- writes ---- */

struct filling {
    struct store *store;
    MDB_txn *txn;
    uint64_t ops;
    odb_status st;
};

static bool add_op(void *arg, const odb_op *op)
{
    struct filling *to = arg;
    struct family *f = (struct family *)backend_find(&to->store->families, NULL, op->family);
    struct stored_key k;
    MDB_val v = {op->value.size, NULL};
    int rc;

    memcpy(&v.mv_data, &op->value.data, sizeof v.mv_data); /* LMDB reads it only */
    key_store(&k, op->key);
    to->ops++;
    if (!f)
        to->st = odb_error_set(ODB_NO_FAMILY, "lmdb: the batch names a family that is not there");
    else if (op->is_delete) {
        rc = k.is_cut ? MDB_NOTFOUND : mdb_del(to->txn, f->dbi, &k.val, NULL);
        to->st = rc == MDB_NOTFOUND ? ODB_OK : status_of(rc);
    } else if (k.is_cut) {
        to->st = key_too_long();
    } else {
        to->st = status_of(mdb_put(to->txn, f->dbi, &k.val, &v, 0));
    }
    return to->st == ODB_OK;
}

static odb_status lmdb_write_batch(void *self, const odb_batch *b, const odb_write *how)
{
    struct store *s = self;
    odb_durability d = how->durability ? how->durability : s->durability;
    struct filling to = {.store = s};

    if (s->is_readonly)
        return odb_error_set(ODB_READONLY, "lmdb: the database is open for reading only");
    to.st = status_of(mdb_txn_begin(s->env, NULL, 0, &to.txn));
    if (to.st != ODB_OK)
        return to.st;
    odb_batch_each(b, add_op, &to);
    if (to.st != ODB_OK) {
        mdb_txn_abort(to.txn);
        return to.st;
    }
    to.st = status_of(mdb_txn_commit(to.txn));
    if (to.st != ODB_OK)
        return to.st;
    atomic_fetch_add(&s->commits, 1);
    atomic_fetch_add(&s->ops, to.ops);
    if (d == ODB_DURABLE_FULL && mdb_env_sync(s->env, 1) != 0)
        return odb_error_set(ODB_UNKNOWN, "lmdb: the write is there, but the disk did not sync");
    return ODB_OK;
}

/* ---- walks ---- */

static struct walk *walk_of(odb_iter *it)
{
    return (struct walk *)(void *)it;
}

static odb_status walk_begin(struct walk *w, struct view *v)
{
    int rc = mdb_cursor_open(v->txn, w->family->dbi, &w->cursor);

    w->view = v;
    if (rc == 0)
        return ODB_OK;
    w->cursor = NULL;
    return rc == MDB_BAD_DBI || rc == EINVAL ? ODB_OK : status_of(rc);
}

static void walk_end(struct walk *w)
{
    pthread_mutex_lock(&w->view->lock);
    if (w->cursor)
        mdb_cursor_close(w->cursor);
    pthread_mutex_unlock(&w->view->lock);
    view_unref(w->view);
}

/* Move, and show where that leads, if it is within the bounds. The view's lock is held. */
static bool walk_move(struct walk *w, const struct stored_key *to, MDB_cursor_op op)
{
    odb_iter *it = &w->head;
    MDB_val k = {0, NULL}, v;
    int rc = MDB_NOTFOUND;

    if (to)
        k = to->val;
    if (w->cursor)
        rc = mdb_cursor_get(w->cursor, &k, &v, op);
    it->status = rc == MDB_NOTFOUND ? ODB_OK : status_of(rc);
    it->is_valid = rc == 0;
    if (rc == 0) {
        it->key = key_shown(&k);
        it->value = odb_bytes(v.mv_data, v.mv_size);
        return true;
    }
    it->key = it->value = odb_bytes(NULL, 0);
    return false;
}

static bool walk_keep(struct walk *w)
{
    odb_iter *it = &w->head;

    if (it->is_valid && ((w->lower.data && odb_slice_compare(it->key, w->lower) < 0) ||
                         (w->upper.data && odb_slice_compare(it->key, w->upper) >= 0))) {
        it->is_valid = false;
        it->key = it->value = odb_bytes(NULL, 0);
    }
    return it->is_valid;
}

/* To the first entry not below `key`. */
static bool walk_to(struct walk *w, odb_slice key)
{
    struct stored_key k;

    key_store(&k, key);
    if (!walk_move(w, &k, MDB_SET_RANGE))
        return false;
    if (k.is_cut && odb_slice_compare(w->head.key, key) < 0)
        return walk_move(w, NULL, MDB_NEXT);
    return true;
}

/* To the last entry below `key`, or at it. */
static bool walk_back_to(struct walk *w, odb_slice key, bool or_at)
{
    if (!walk_to(w, key))
        return w->head.status == ODB_OK && walk_move(w, NULL, MDB_LAST);
    if (or_at && odb_slice_equal(w->head.key, key))
        return true;
    return walk_move(w, NULL, MDB_PREV);
}

/* The lock around a move, and the bounds behind it. */
#define MOVE(w, move)                                                                              \
    pthread_mutex_lock(&(w)->view->lock);                                                          \
    (void)(move);                                                                                  \
    pthread_mutex_unlock(&(w)->view->lock);                                                        \
    return walk_keep(w)

static bool lmdb_first(odb_iter *it)
{
    struct walk *w = walk_of(it);

    MOVE(w, w->lower.data ? walk_to(w, w->lower) : walk_move(w, NULL, MDB_FIRST));
}

static bool lmdb_last(odb_iter *it)
{
    struct walk *w = walk_of(it);

    MOVE(w, w->upper.data ? walk_back_to(w, w->upper, false) : walk_move(w, NULL, MDB_LAST));
}

static bool lmdb_seek(odb_iter *it, odb_slice key)
{
    struct walk *w = walk_of(it);

    if (w->lower.data && odb_slice_compare(key, w->lower) < 0)
        key = w->lower;
    MOVE(w, walk_to(w, key));
}

static bool lmdb_seek_for_prev(odb_iter *it, odb_slice key)
{
    struct walk *w = walk_of(it);

    if (w->upper.data && odb_slice_compare(key, w->upper) >= 0)
        return lmdb_last(it);
    MOVE(w, walk_back_to(w, key, true));
}

static bool lmdb_next(odb_iter *it)
{
    struct walk *w = walk_of(it);

    MOVE(w, walk_move(w, NULL, MDB_NEXT));
}

static bool lmdb_prev(odb_iter *it)
{
    struct walk *w = walk_of(it);

    MOVE(w, walk_move(w, NULL, MDB_PREV));
}

/* The view of a walk: a snapshot's, held on to, or one of now. */
static odb_status view_for(struct store *s, void *snapshot, struct view **out)
{
    if (!snapshot)
        return view_new(s, out);
    *out = snapshot;
    atomic_fetch_add(&(*out)->refs, 1);
    return ODB_OK;
}

static odb_status walk_enter(struct walk *w, void *snapshot)
{
    struct view *v;
    odb_status st = view_for(w->store, snapshot, &v);

    if (st != ODB_OK)
        return st;
    pthread_mutex_lock(&v->lock);
    st = walk_begin(w, v);
    pthread_mutex_unlock(&v->lock);
    if (st != ODB_OK)
        view_unref(v);
    return st;
}

static odb_status lmdb_refresh(odb_iter *it, void *snapshot)
{
    struct walk *w = walk_of(it), old = *w;
    odb_status st = backend_check_dropped(&w->store->families, &w->family->head);

    if (st != ODB_OK)
        return st;
    st = walk_enter(w, snapshot);
    if (st == ODB_OK) {
        walk_end(&old);
    } else {
        w->view = old.view;
        w->cursor = old.cursor;
    }
    return st;
}

static void lmdb_iter_free(odb_iter *it)
{
    walk_end(walk_of(it));
    free(it);
}

static const odb_iter_ops lmdb_iter_ops = {
    .size = sizeof lmdb_iter_ops,
    .first = lmdb_first,
    .last = lmdb_last,
    .seek = lmdb_seek,
    .seek_for_prev = lmdb_seek_for_prev,
    .next = lmdb_next,
    .prev = lmdb_prev,
    .refresh = lmdb_refresh,
    .free = lmdb_iter_free,
};

static odb_slice keep_bound(char *at, odb_slice bound)
{
    if (!bound.data)
        return bound;
    if (bound.size)
        memcpy(at, bound.data, bound.size);
    return odb_bytes(at, bound.size);
}

static odb_status lmdb_scan(void *self, void *family, void *snapshot, const odb_range *range,
                            odb_iter **out)
{
    struct walk *w = calloc(1, sizeof *w + range->lower.size + range->upper.size + 1);
    odb_status st;

    if (!w)
        return no_memory();
    w->head.ops = &lmdb_iter_ops;
    w->store = self;
    w->family = family;
    w->lower = keep_bound(w->bounds, range->lower);
    w->upper = keep_bound(w->bounds + w->lower.size, range->upper);
    st = walk_enter(w, snapshot);
    if (st != ODB_OK) {
        free(w);
        return st;
    }
    *out = &w->head;
    return ODB_OK;
}

/* ---- upkeep ---- */

static odb_status lmdb_sync(void *self)
{
    return status_of(mdb_env_sync(((struct store *)self)->env, 1));
}

static odb_status lmdb_stats(void *self, void *family, odb_stats_t *out)
{
    struct store *s = self;
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return status_of(rc);
    pthread_mutex_lock(&s->families.lock);
    for (struct backend_family *f = NULL; (f = backend_next(&s->families, family, f)) != NULL;) {
        MDB_stat one;

        if (mdb_stat(txn, ((struct family *)f)->dbi, &one) != 0)
            continue;
        out->level[0].files += one.ms_entries > 0; /* its tree */
        out->level[0].entries += one.ms_entries;
        out->level[0].bytes +=
            (one.ms_branch_pages + one.ms_leaf_pages + one.ms_overflow_pages) * one.ms_psize;
    }
    pthread_mutex_unlock(&s->families.lock);
    mdb_txn_abort(txn);
    out->commits = atomic_load(&s->commits);
    out->ops = out->sequence = atomic_load(&s->ops);
    return ODB_OK;
}

/* ---- opening and closing ---- */

static odb_status lmdb_close(void *self)
{
    struct store *s = self;

    if (s->env && !s->is_readonly && s->family_count)
        (void)mdb_env_sync(s->env, 1); /* closing makes durable what was written */
    if (s->env)
        mdb_env_close(s->env);
    while (s->families.first) {
        struct backend_family *f = s->families.first;

        s->families.first = f->next;
        free(f);
    }
    (void)pthread_mutex_destroy(&s->families.lock);
    free(s);
    return ODB_OK;
}

static const odb_backend_ops lmdb_ops = {
    .size = sizeof lmdb_ops,
    .name = "lmdb",
    .close = lmdb_close,
    .cf_find = lmdb_cf_find,
    .cf_create = lmdb_cf_create,
    .cf_drop = lmdb_cf_drop,
    .cf_each = lmdb_cf_each,
    .get = lmdb_get,
    .value_release = lmdb_value_release,
    .write_batch = lmdb_write_batch,
    .scan = lmdb_scan,
    .snapshot_new = lmdb_snapshot_new,
    .snapshot_free = lmdb_snapshot_free,
    .sync = lmdb_sync,
    .stats = lmdb_stats,
};

static odb_status check_presence(const char *dir, const odb_options *o)
{
    char path[4096];
    bool there;

    if (snprintf(path, sizeof path, "%s/data.mdb", dir) >= (int)sizeof path)
        return odb_error_set(ODB_INVALID, "lmdb: the name of the directory is too long");
    there = access(path, F_OK) == 0;
    if (there && o->must_be_new)
        return odb_error_set(ODB_EXISTS, "lmdb: there is a database already");
    if (!there && (o->must_exist || o->is_readonly))
        return odb_error_set(ODB_ABSENT, "lmdb: there is no database");
    if (!there && mkdir(dir, 0777) != 0 && errno != EEXIST)
        return status_of(errno);
    return ODB_OK;
}

/* Read the list of families, in the order of their numbers, which is that of creation. */
static int load_families(struct store *s, MDB_txn *txn)
{
    MDB_cursor *c;
    MDB_val k, v;
    int rc = mdb_cursor_open(txn, s->list, &c);

    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0 && s->family_count < FAMILIES_MAX) {
        struct family *f = calloc(1, sizeof *f);
        const char *line = v.mv_data;
        char tree[16];

        if (!f || v.mv_size < 1 || v.mv_size > sizeof f->name) {
            free(f);
            rc = f ? MDB_CORRUPTED : ENOMEM;
            break;
        }
        memcpy(f->name, line + 1, v.mv_size - 1);
        (void)snprintf(tree, sizeof tree, "cf%u", s->family_count);
        rc = mdb_dbi_open(txn, tree, 0, &f->dbi);
        if (rc != 0) {
            free(f);
            break;
        }
        family_add(s, f);
        f->head.is_dropped = line[0] == 0;
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static odb_status open_env(struct store *s, const char *dir)
{
    unsigned flags = MDB_NOTLS | MDB_NOSYNC | (s->is_readonly ? MDB_RDONLY : 0);
    MDB_txn *txn = NULL;
    int rc = mdb_env_create(&s->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, MAP_SIZE);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, FAMILIES_MAX + 1);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, 4096);
    if (rc == 0)
        rc = mdb_env_open(s->env, dir, flags, 0666);
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, s->is_readonly ? MDB_RDONLY : 0, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "families", s->is_readonly ? 0 : MDB_CREATE, &s->list);
    if (rc == 0)
        rc = load_families(s, txn);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (txn)
        mdb_txn_abort(txn);
    return status_of(rc);
}

static odb_status create_missing(struct store *s, const odb_options *o)
{
    size_t n;
    const char *const *names = backend_wanted(o, &n);
    odb_status st = ODB_OK;
    struct family *f;

    if (!backend_find(&s->families, ODB_FAMILY_DEFAULT, 0)) /* its number is 0 */
        st = family_make(s, ODB_FAMILY_DEFAULT, &f);
    for (size_t i = 0; st == ODB_OK && i < n; i++)
        if (!backend_find(&s->families, names[i], 0))
            st = family_make(s, names[i], &f);
    return st;
}

odb_status odb_backend_lmdb(const char *dir, const odb_options *opt, odb_backend *out)
{
    odb_options o = backend_options(opt);
    odb_status st = check_presence(dir, &o);
    struct store *s;

    if (st != ODB_OK)
        return st;
    s = calloc(1, sizeof *s);
    if (!s || pthread_mutex_init(&s->families.lock, NULL) != 0) {
        free(s);
        return no_memory();
    }
    s->is_readonly = o.is_readonly;
    s->durability = o.durability;
    st = open_env(s, dir);
    if (st == ODB_OK && !s->is_readonly)
        st = create_missing(s, &o);
    if (st != ODB_OK) {
        (void)lmdb_close(s);
        return st;
    }
    *out = (odb_backend){&lmdb_ops, s};
    return ODB_OK;
}
