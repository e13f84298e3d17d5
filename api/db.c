/* api/db.c -- the handles: argument checks, families, point reads and writes.
 *
 *     odb_get(at, cf, key)
 *        |  whose handle, is this the process that opened it, which family, is the key in bounds
 *        v
 *     db->ops.get(self, family, snapshot, key)          one indirect call, no lock, no allocation
 *
 * 1. A call with bad arguments changes nothing and tells what was wrong with them.
 * 2. A family handle, once handed out, lives as long as its database; dropping only marks it. So no
 *    call needs a lock or a reference count to use one.
 * 3. What the backend lacks is made here from what it must have (a put from write_batch, exists from
 *    get), or refused with ODB_UNSUPPORTED.
 *
 * Threads: all calls from any thread. `lock` is taken only to find, add and list family handles; that
 * two makers of one name do not both succeed is the backend's business.
 * Crashes: this layer writes nothing. Not here: opening a directory (backend_lsm.c), batches, iterators,
 * transactions, statistics, each in a file of its own.
 */
#include "api/db_priv.h"

#include <assert.h>

const odb_write api_write_default = {ODB_DURABLE_DEFAULT, false, {0}};

/* ---- refusals ---- */

ODB_COLD odb_status api_refuse_null(const char *what)
{
    return err_set(ODB_INVALID, "%s must not be NULL", what);
}

ODB_COLD odb_status api_refuse_handle(const odb_db *db)
{
    if (!db)
        return api_refuse_null("the database handle");
    return err_set(ODB_FORKED,
                   "the database was opened by this process's parent: open it again here "
                   "once the parent has closed it");
}

ODB_COLD odb_status api_refuse_cf(const odb_db *db, const odb_cf *cf)
{
    if (cf->db != db)
        return err_set(ODB_INVALID, "family '%s' belongs to another database handle", cf->name);
    return err_set(ODB_NO_FAMILY, "family '%s' was dropped", cf->name);
}

ODB_COLD odb_status api_refuse_bytes(const char *what, odb_slice s, size_t max)
{
    if (s.size > max)
        return err_set(ODB_TOO_LARGE, "a %s of %zu bytes; at most %zu are allowed", what, s.size,
                       max);
    return err_set(ODB_INVALID, "a %s of %zu bytes at address NULL", what, s.size);
}

ODB_COLD odb_status api_unsupported(const odb_db *db, const char *what)
{
    return err_set(ODB_UNSUPPORTED, "the %s backend cannot %s",
                   db->ops.name ? db->ops.name : "present", what);
}

odb_status api_check_write(const odb_write *how)
{
    if ((unsigned)how->durability > ODB_DURABLE_FULL)
        return err_set(ODB_INVALID, "durability %d is not one of odb_durability",
                       (int)how->durability);
    return ODB_OK;
}

ODB_COLD odb_status api_place_of(odb_at at, struct api_place *out)
{
    int named = (at.db != NULL) + (at.snapshot != NULL) + (at.txn != NULL);

    if (named != 1)
        return err_set(ODB_INVALID,
                       "a read names one of database, snapshot and transaction; "
                       "this one names %d (odb_now, odb_asof or odb_in was given NULL?)",
                       named);
    if (at.txn)
        return api_txn_place(at.txn, out);
    if (at.snapshot)
        *out = (struct api_place){at.snapshot->db, at.snapshot->inner, NULL};
    else
        *out = (struct api_place){at.db, NULL, NULL};
    return ODB_OK;
}

/* ---- opening over a backend, closing ---- */

/* Make a handle for a family the backend has. Under the lock, or before anyone else has the database.
 * ODB_NOMEM. */
ODB_COLD static odb_status cf_handle_add(odb_db *db, odb_backend_cf cf, const char *name,
                                         odb_cf **out)
{
    size_t len = strlen(name) + 1;
    odb_cf *made = mem_alloc(sizeof *made + len);
    odb_cf **end = &db->families;

    if (!made)
        return err_set(ODB_NOMEM, "no memory for the handle of family '%s'", name);
    made->db = db;
    made->family = cf.family;
    made->id = cf.id;
    atomic_init(&made->is_dropped, false);
    made->next = NULL;
    memcpy(made->name, name, len);
    while (*end)
        end = &(*end)->next;
    *end = made;
    *out = made;
    return ODB_OK;
}

struct cf_adoption {
    odb_db *db;
    odb_status st;
    odb_backend_cf prepared;
    bool has_prepared;
};

ODB_COLD static bool cf_handle_adopt(void *arg, odb_backend_cf cf, const char *name)
{
    struct cf_adoption *a = arg;
    odb_cf *made = NULL;

    if (strcmp(name, API_PREPARED_FAMILY) == 0) { /* not for users */
        a->prepared = cf;
        a->has_prepared = true;
        return true;
    }
    a->st = cf_handle_add(a->db, cf, name, &made);
    if (a->st == ODB_OK && strcmp(name, ODB_FAMILY_DEFAULT) == 0)
        a->db->default_cf = made;
    return a->st == ODB_OK;
}

/* Free the handle but not the backend. */
ODB_COLD static void db_handle_free(odb_db *db)
{
    odb_cf *cf, *next;

    if (!db)
        return;
    for (cf = db->families; cf; cf = next) {
        next = cf->next;
        mem_free(cf);
    }
    mem_free(db->observers);
    prepared_forget(db);
    locks_release(&db->locks);
    os_mutex_destroy(&db->lock);
    mem_free(db);
}

ODB_COLD static odb_status db_check_backend(const odb_backend_ops *ops)
{
    if (!ops->close || !ops->cf_find || !ops->cf_each || !ops->get || !ops->value_release ||
        !ops->write_batch || !ops->scan)
        return err_set(ODB_INVALID,
                       "backend '%s' lacks an entry every backend must have "
                       "(close, cf_find, cf_each, get, value_release, write_batch, "
                       "scan)",
                       ops->name ? ops->name : "?");
    return ODB_OK;
}

ODB_COLD odb_status odb_open_backend(odb_backend backend, odb_db **out)
{
    struct cf_adoption adoption;
    odb_db *db = NULL;
    odb_status st;

    if (!backend.ops)
        return api_refuse_null("the table of a backend");
    if (!out)
        return api_refuse_null("the place for the database handle");
    db = mem_zalloc(1, sizeof *db);
    if (!db)
        return err_set(ODB_NOMEM, "no memory for a database handle");
    os_mutex_init(&db->lock, RANK_OPEN);
    locks_init(&db->locks);
    memcpy(&db->ops, backend.ops,
           backend.ops->size < sizeof db->ops ? backend.ops->size : sizeof db->ops);
    db->self = backend.self;
    db->os = os_posix();
    db->fork_count = os_fork_count(db->os);
    st = db_check_backend(&db->ops);
    if (st != ODB_OK)
        goto done;
    adoption = (struct cf_adoption){.db = db};
    db->ops.cf_each(db->self, cf_handle_adopt, &adoption);
    st = adoption.st;
    if (st != ODB_OK)
        goto done;
    if (!db->default_cf || db->default_cf->id != 0) {
        st = err_set(ODB_INVALID, "backend '%s' has no family 'default' with number 0",
                     db->ops.name ? db->ops.name : "?");
        goto done;
    }
    if (adoption.has_prepared)
        st = prepared_open(db, adoption.prepared);
    if (st != ODB_OK)
        goto done;
    *out = db;
    db = NULL;
done:
    db_handle_free(db);
    return st;
}

ODB_COLD odb_status odb_close(odb_db *db)
{
    odb_status st;

    if (!db)
        return ODB_OK;
    if (api_is_forked(db))
        return api_refuse_handle(db); /* its threads are not here: nothing can be freed safely */
    hooks_close(db);
    api_txn_free_spares(db);
    st = db->ops.close(db->self);
    db_handle_free(db);
    return st;
}

/* ---- families ---- */

ODB_COLD odb_status api_check_name(const char *name, const char *of)
{
    size_t len = 0;

    if (!name)
        return api_refuse_null("a name");
    for (; name[len] && len <= API_NAME_MAX; len++)
        if ((unsigned char)name[len] < 0x20 || name[len] == 0x7f)
            return err_set(ODB_INVALID, "the name of %s holds control character 0x%02x", of,
                           (unsigned)(unsigned char)name[len]);
    if (len == 0 || len > API_NAME_MAX)
        return err_set(ODB_INVALID, "the name of %s has 1 to 128 bytes", of);
    return ODB_OK;
}

ODB_COLD static odb_status cf_check_name(const char *name)
{
    odb_status st = api_check_name(name, "a family");

    if (st == ODB_OK && strcmp(name, API_PREPARED_FAMILY) == 0)
        st = err_set(ODB_INVALID, "family '%s' is the library's own", name);
    return st;
}

ODB_COLD static odb_cf *cf_handle_find(odb_db *db, const char *name)
{
    odb_cf *cf = db->families;

    assert(os_mutex_held(&db->lock));
    while (cf && (atomic_load_explicit(&cf->is_dropped, memory_order_relaxed) ||
                  strcmp(cf->name, name) != 0))
        cf = cf->next;
    return cf;
}

/* The handle of a family the backend has, made unless another thread was faster: it may have seen the
 * family as soon as the backend had it. */
ODB_COLD static odb_status cf_handle_get(odb_db *db, odb_backend_cf cf, const char *name,
                                         odb_cf **out)
{
    odb_status st = ODB_OK;
    odb_cf *found;

    os_mutex_lock(&db->lock);
    found = cf_handle_find(db, name);
    if (found && found->id == cf.id)
        *out = found;
    else
        st = cf_handle_add(db, cf, name, out);
    os_mutex_unlock(&db->lock);
    return st;
}

ODB_COLD odb_status odb_cf_open(odb_db *db, const char *name, odb_cf **out)
{
    odb_status st = api_check_db(db);
    odb_backend_cf there;
    odb_cf *found;

    if (st == ODB_OK)
        st = cf_check_name(name);
    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the family");
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    found = cf_handle_find(db, name);
    os_mutex_unlock(&db->lock);
    if (!found && db->ops.cf_find(db->self, name, &there) == ODB_OK)
        return cf_handle_get(db, there, name, out); /* made, and its handle is late */
    if (!found)
        return err_set(ODB_NO_FAMILY, "there is no family '%s'; odb_cf_create makes one", name);
    *out = found;
    return ODB_OK;
}

ODB_COLD odb_status odb_cf_create(odb_db *db, const char *name, const odb_cf_options *opt,
                                  odb_cf **out)
{
    odb_status st = api_check_db(db);
    odb_backend_cf made;

    if (st == ODB_OK)
        st = cf_check_name(name);
    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the family");
    if (st == ODB_OK && opt && opt->size == 0)
        st = err_set(ODB_INVALID, "odb_cf_options.size is 0; use odb_cf_options_default()");
    if (st == ODB_OK && !db->ops.cf_create)
        st = api_unsupported(db, "make families");
    if (st != ODB_OK)
        return st;
    st = db->ops.cf_create(db->self, name, opt, &made);
    if (st != ODB_OK)
        return st;
    return cf_handle_get(db, made, name, out);
}

ODB_COLD odb_status odb_cf_drop(odb_db *db, odb_cf *cf)
{
    odb_status st = api_check_db(db);

    if (st == ODB_OK)
        st = api_check_cf(db, &cf);
    if (st == ODB_OK && cf == db->default_cf)
        st = err_set(ODB_INVALID, "family 'default' cannot be dropped");
    if (st == ODB_OK && !db->ops.cf_drop)
        st = api_unsupported(db, "drop families");
    if (st != ODB_OK)
        return st;
    st = db->ops.cf_drop(db->self, cf->family);
    if (st == ODB_OK)
        atomic_store_explicit(&cf->is_dropped, true, memory_order_relaxed);
    return st;
}

const char *odb_cf_name(const odb_cf *cf)
{
    return cf ? cf->name : ODB_FAMILY_DEFAULT;
}

uint32_t odb_cf_id(const odb_cf *cf)
{
    return cf ? cf->id : 0;
}

/* One block: the pointers, then the names they point to. */
ODB_COLD odb_status odb_cf_list(odb_db *db, odb_names *out)
{
    odb_status st = api_check_db(db);
    size_t count = 0, bytes = 0;
    const char **name;
    const odb_cf *cf;
    char *text;

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the names");
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    for (cf = db->families; cf; cf = cf->next) {
        count++;
        bytes += sizeof *name + strlen(cf->name) + 1;
    }
    name = mem_alloc(bytes);
    if (!name) {
        st = err_set(ODB_NOMEM, "no memory for %zu names", count);
        goto done;
    }
    text = (char *)(name + count);
    count = 0;
    for (cf = db->families; cf; cf = cf->next) {
        if (atomic_load_explicit(&cf->is_dropped, memory_order_relaxed))
            continue;
        name[count++] = strcpy(text, cf->name);
        text += strlen(cf->name) + 1;
    }
    *out = (odb_names){name, count};
done:
    os_mutex_unlock(&db->lock);
    return st;
}

void odb_names_release(odb_names *names)
{
    if (!names)
        return;
    mem_free((void *)(uintptr_t)names->name); /* const for the reader, ours to free */
    *names = (odb_names){NULL, 0};
}

/* ---- writes ---- */

/* A put or delete for a backend that knows batches only. `value` NULL: delete. */
ODB_COLD static odb_status write_as_batch(odb_db *db, const odb_cf *cf, odb_slice key,
                                          const odb_slice *value, const odb_write *how)
{
    struct odb_batch one = {{{NULL, 0, 0}, 0}, db};
    odb_status st =
        value ? batch_put(&one.ops, cf->id, key, *value) : batch_delete(&one.ops, cf->id, key);

    if (st == ODB_OK)
        st = db->ops.write_batch(db->self, &one, how);
    batch_release(&one.ops);
    return st;
}

odb_status odb_put(odb_db *db, odb_cf *cf, odb_slice key, odb_slice value, const odb_write *how)
{
    odb_status st = api_check_db(db);

    if (st == ODB_OK)
        st = api_check_cf(db, &cf);
    if (st == ODB_OK)
        st = api_check_key(key);
    if (st == ODB_OK)
        st = api_check_value(value);
    if (!how)
        how = &api_write_default;
    else if (st == ODB_OK)
        st = api_check_write(how);
    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    if (ODB_LIKELY(db->ops.put != NULL))
        return db->ops.put(db->self, cf->family, key, value, how);
    return write_as_batch(db, cf, key, &value, how);
}

odb_status odb_delete(odb_db *db, odb_cf *cf, odb_slice key, const odb_write *how)
{
    odb_status st = api_check_db(db);

    if (st == ODB_OK)
        st = api_check_cf(db, &cf);
    if (st == ODB_OK)
        st = api_check_key(key);
    if (!how)
        how = &api_write_default;
    else if (st == ODB_OK)
        st = api_check_write(how);
    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    if (ODB_LIKELY(db->ops.remove != NULL))
        return db->ops.remove(db->self, cf->family, key, how);
    return write_as_batch(db, cf, key, NULL, how);
}

/* ---- reads ---- */

/* Marked by db NULL and a pin. */
odb_status api_value_copy(odb_slice data, odb_value *out)
{
    void *copy = mem_alloc(data.size ? data.size : 1);

    if (!copy)
        return err_set(ODB_NOMEM, "no memory for a value of %zu bytes", data.size);
    if (data.size)
        memcpy(copy, data.data, data.size);
    *out = (odb_value){copy, data.size, NULL, {copy, NULL, NULL}};
    return ODB_OK;
}

/* A read in a transaction: its own writes first. ODB_AGAIN: it has none for this key. */
static odb_status read_own(const struct api_place *at, const odb_cf *cf, odb_slice key,
                           odb_slice *value)
{
    return ODB_LIKELY(!at->txn) ? ODB_AGAIN : api_txn_find(at->txn, cf, key, value);
}

odb_status odb_get(odb_at at, odb_cf *cf, odb_slice key, odb_value *out)
{
    struct api_place place;
    odb_slice own;
    odb_status st = api_check_read(at, &cf, key, &place);

    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    if (ODB_UNLIKELY(!out))
        return api_refuse_null("the place for the value");
    st = read_own(&place, cf, key, &own);
    if (ODB_LIKELY(st == ODB_AGAIN)) {
        st = place.db->ops.get(place.db->self, cf->family, place.snapshot, key, out);
        if (st == ODB_OK)
            out->db = place.db;
        return st;
    }
    return st == ODB_OK ? api_value_copy(own, out) : st;
}

void odb_value_release(odb_value *v)
{
    if (!v)
        return;
    if (v->db) {
        if (!api_is_forked(v->db))
            v->db->ops.value_release(v->db->self, v);
    } else {
        mem_free(v->pin[0]);
    }
    *v = (odb_value){NULL, 0, NULL, {NULL, NULL, NULL}};
}

static void copy_what_fits(odb_slice value, void *buf, size_t cap, size_t *size)
{
    size_t n = value.size < cap ? value.size : cap;

    if (n)
        memcpy(buf, value.data, n);
    PROF_COUNT(PROF_COPIED, n);
    *size = value.size;
}

odb_status odb_get_into(odb_at at, odb_cf *cf, odb_slice key, void *buf, size_t cap, size_t *size)
{
    struct api_place place;
    odb_slice own;
    odb_value v;
    odb_status st = api_check_read(at, &cf, key, &place);

    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    if (ODB_UNLIKELY(!size || (!buf && cap)))
        return api_refuse_null(size ? "the caller's buffer" : "the place for the size");
    st = read_own(&place, cf, key, &own);
    if (ODB_LIKELY(st == ODB_AGAIN)) {
        if (ODB_LIKELY(place.db->ops.get_into != NULL))
            return place.db->ops.get_into(place.db->self, cf->family, place.snapshot, key, buf, cap,
                                          size);
        st = place.db->ops.get(place.db->self, cf->family, place.snapshot, key, &v);
        if (st == ODB_OK) {
            copy_what_fits(odb_bytes(v.data, v.size), buf, cap, size);
            place.db->ops.value_release(place.db->self, &v);
        }
        return st;
    }
    if (st == ODB_OK)
        copy_what_fits(own, buf, cap, size);
    return st;
}

odb_status odb_exists(odb_at at, odb_cf *cf, odb_slice key)
{
    struct api_place place;
    odb_slice own;
    odb_value v;
    odb_status st = api_check_read(at, &cf, key, &place);

    if (ODB_UNLIKELY(st != ODB_OK))
        return st;
    st = read_own(&place, cf, key, &own);
    if (st != ODB_AGAIN)
        return st;
    if (ODB_LIKELY(place.db->ops.exists != NULL))
        return place.db->ops.exists(place.db->self, cf->family, place.snapshot, key);
    st = place.db->ops.get(place.db->self, cf->family, place.snapshot, key, &v);
    if (st == ODB_OK)
        place.db->ops.value_release(place.db->self, &v);
    return st;
}

/* What odb_multiget returns for all: the first answer that is neither a value nor an absence. */
static odb_status multiget_outcome(const odb_status *each, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (each[i] != ODB_OK && each[i] != ODB_ABSENT)
            return each[i];
    return ODB_OK;
}

/* Key by key: in a transaction, for a backend without multiget, and when a key is out of bounds. The
 * keys of one call must be read at one moment, so that "now" becomes a snapshot here. */
ODB_COLD static odb_status multiget_singly(const struct api_place *place, odb_cf *cf,
                                           const odb_slice *keys, size_t n, odb_value *out,
                                           odb_status *each)
{
    odb_db *db = place->db;
    void *moment = NULL;
    odb_status st = ODB_OK;

    if (!place->snapshot && db->ops.snapshot_new)
        st = db->ops.snapshot_new(db->self, &moment);
    for (size_t i = 0; i < n; i++) {
        odb_slice own;

        each[i] = st != ODB_OK ? st : api_check_key(keys[i]);
        if (each[i] != ODB_OK)
            continue;
        each[i] = read_own(place, cf, keys[i], &own);
        if (each[i] == ODB_OK)
            each[i] = api_value_copy(own, &out[i]);
        else if (each[i] == ODB_AGAIN &&
                 (each[i] = db->ops.get(db->self, cf->family, moment ? moment : place->snapshot,
                                        keys[i], &out[i])) == ODB_OK)
            out[i].db = db;
    }
    if (moment)
        db->ops.snapshot_free(db->self, moment);
    return st != ODB_OK ? st : multiget_outcome(each, n);
}

static bool keys_in_bounds(const odb_slice *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (keys[i].size > KEY_LEN_MAX || (!keys[i].data && keys[i].size))
            return false;
    return true;
}

odb_status odb_multiget(odb_at at, odb_cf *cf, const odb_slice *keys, size_t n, odb_value *out,
                        odb_status *each)
{
    struct api_place place;
    odb_db *db;
    odb_status st = api_check_read(at, &cf, odb_bytes(NULL, 0), &place);

    if (st == ODB_OK && n && (!keys || !out || !each))
        st = api_refuse_null("an array of odb_multiget");
    if (st != ODB_OK) {
        for (size_t i = 0; each && i < n; i++)
            each[i] = st;
        return st;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (odb_value){NULL, 0, NULL, {NULL, NULL, NULL}};
    db = place.db;
    if (place.txn || !db->ops.multiget || !keys_in_bounds(keys, n))
        return multiget_singly(&place, cf, keys, n, out, each);
    st = db->ops.multiget(db->self, cf->family, place.snapshot, keys, n, out, each);
    for (size_t i = 0; i < n; i++) {
        if (st != ODB_OK)
            each[i] = st;
        else if (each[i] == ODB_OK)
            out[i].db = db;
    }
    return st != ODB_OK ? st : multiget_outcome(each, n);
}

/* ---- odds and ends ---- */

#define VERSION_TEXT_OF(a, b, c) #a "." #b "." #c
#define VERSION_TEXT(a, b, c)    VERSION_TEXT_OF(a, b, c)

const char *odb_version(void)
{
    return VERSION_TEXT(ODB_VERSION_MAJOR, ODB_VERSION_MINOR, ODB_VERSION_PATCH);
}

odb_status odb_error_set(odb_status st, const char *text)
{
    return err_set(st, "%s", text ? text : "");
}
