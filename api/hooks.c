/* api/hooks.c -- numbers of moments, observers of commits, attached state.
 *
 *     backend --(one call a commit)--> list: fn0, fn1, fn2      a list is never changed: another one
 *                                                               takes its place in the backend
 *
 *     db->attached --> newest --> ... --> oldest                only ever grows at the head
 *
 * 1. The backend calls one function, with the list as its argument. When another list has taken its
 *    place no call on the old one is under way, so it can be freed.
 * 2. An attachment stays until odb_close, so it is found without a lock.
 *
 * Threads: any. Observers and attachments are added under the database's lock.
 */
#include "api/db_priv.h"

struct observer {
    odb_observer *fn;
    void *arg;
};

struct observer_list {
    size_t count;
    struct observer at[];
};

struct attachment {
    struct attachment *older; /* fixed, as all of it */
    void *state;
    void (*close)(odb_db *db, void *state);
    char name[];
};

/* ---- numbers ---- */

odb_status odb_sequence(odb_at at, uint64_t *out)
{
    struct api_place place = {NULL, NULL, NULL};
    odb_status st = api_place_of(at, &place);

    if (st == ODB_OK)
        st = api_check_db(place.db);
    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the number");
    if (st == ODB_OK && !place.db->ops.sequence)
        st = api_unsupported(place.db, "number its commits");
    if (st == ODB_OK)
        *out = place.db->ops.sequence(place.db->self, place.snapshot);
    return st;
}

odb_db *odb_at_db(odb_at at)
{
    if ((at.db != NULL) + (at.snapshot != NULL) + (at.txn != NULL) != 1)
        return NULL;
    return at.db ? at.db : at.snapshot ? at.snapshot->db : odb_txn_db(at.txn);
}

/* ---- observers ---- */

static void observers_call(void *arg, const odb_commit_info *commit)
{
    const struct observer_list *list = arg;

    for (size_t i = 0; i < list->count; i++)
        list->at[i].fn(list->at[i].arg, commit);
}

/* Where the pair stands; count when it does not. */
static size_t observers_find(const struct observer_list *list, odb_observer *fn, void *arg)
{
    size_t i = 0;

    while (list && i < list->count && (list->at[i].fn != fn || list->at[i].arg != arg))
        i++;
    return i;
}

/* Put another list in the place of the present one: without entry `skip`, and with `added`. */
static odb_status observers_replace(odb_db *db, size_t skip, const struct observer *added,
                                    uint64_t *since)
{
    struct observer_list *old = db->observers, *list;
    size_t count = old ? old->count : 0;
    odb_status st;

    list = mem_alloc(sizeof *list + (count + 1) * sizeof list->at[0]);
    if (!list)
        return err_set(ODB_NOMEM, "no memory for an observer");
    list->count = 0;
    for (size_t i = 0; i < count; i++)
        if (i != skip)
            list->at[list->count++] = old->at[i];
    if (added)
        list->at[list->count++] = *added;
    st = db->ops.observe(db->self, list->count ? observers_call : NULL, list, since);
    if (st == ODB_OK) {
        db->observers = list;
        list = old;
    }
    mem_free(list);
    return st;
}

static odb_status observers_change(odb_db *db, odb_observer *fn, void *arg, bool add,
                                   uint64_t *since)
{
    struct observer one = {fn, arg};
    odb_status st = api_check_db(db);
    uint64_t ignored;
    size_t at;

    if (st == ODB_OK && !fn)
        st = api_refuse_null("the observer");
    if (st == ODB_OK && !db->ops.observe)
        st = api_unsupported(db, "tell of its commits");
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    at = observers_find(db->observers, fn, arg);
    if (add == (db->observers && at < db->observers->count))
        st = add ? err_set(ODB_EXISTS, "this observer is called already") : ODB_ABSENT;
    else
        st = observers_replace(db, at, add ? &one : NULL, since ? since : &ignored);
    os_mutex_unlock(&db->lock);
    return st;
}

odb_status odb_observe(odb_db *db, odb_observer *fn, void *arg, uint64_t *since)
{
    return observers_change(db, fn, arg, true, since);
}

odb_status odb_unobserve(odb_db *db, odb_observer *fn, void *arg)
{
    return observers_change(db, fn, arg, false, NULL);
}

/* ---- attached state ---- */

static struct attachment *attachment_find(const odb_db *db, const char *name)
{
    struct attachment *a = atomic_load_explicit(&db->attached, memory_order_acquire);

    while (a && strcmp(a->name, name) != 0)
        a = a->older;
    return a;
}

odb_status odb_attach(odb_db *db, const char *name, void *state,
                      void (*close)(odb_db *db, void *state))
{
    odb_status st = api_check_db(db);
    struct attachment *a;
    size_t len;

    if (st == ODB_OK && (!name || !state))
        st = api_refuse_null(name ? "the state to attach" : "the name of the state");
    if (st != ODB_OK)
        return st;
    len = strlen(name) + 1;
    a = mem_alloc(sizeof *a + len);
    if (!a)
        return err_set(ODB_NOMEM, "no memory to attach '%s'", name);
    a->state = state;
    a->close = close;
    memcpy(a->name, name, len);
    os_mutex_lock(&db->lock);
    if (attachment_find(db, name)) {
        st = err_set(ODB_EXISTS, "there is something attached under '%s'", name);
    } else {
        a->older = atomic_load_explicit(&db->attached, memory_order_relaxed);
        atomic_store_explicit(&db->attached, a, memory_order_release);
        a = NULL;
    }
    os_mutex_unlock(&db->lock);
    mem_free(a);
    return st;
}

void *odb_attached(const odb_db *db, const char *name)
{
    const struct attachment *a = db && name ? attachment_find(db, name) : NULL;

    return a ? a->state : NULL;
}

/* One may attach another thing, or ask for one that is still there, while it is closed. */
void hooks_close(odb_db *db)
{
    struct attachment *a;

    while ((a = atomic_load_explicit(&db->attached, memory_order_acquire)) != NULL) {
        atomic_store_explicit(&db->attached, a->older, memory_order_relaxed);
        if (a->close)
            a->close(db, a->state);
        mem_free(a);
    }
}
