/* bench/backend_common.h -- what the plug-ins of the storage trait have in common: the options, and the list
 * of column families. An engine's own family begins with a struct backend_family.
 *
 * A family stays in the list, dropped or not, until the database is closed: handles to it outlive it. */
#ifndef BENCH_BACKEND_COMMON_H
#define BENCH_BACKEND_COMMON_H

#include <pthread.h>
#include <string.h>

#include "bench/backend.h"

/* ---- options ---- */

/* All of them; the default for those that a caller of an older release does not know. */
static inline odb_options backend_options(const odb_options *given)
{
    odb_options o = odb_options_default();

    if (given)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    if (!o.durability)
        o.durability = ODB_DURABLE_OS;
    return o;
}

/* The families that a new database shall have: those of the options, or the usual ones. */
static inline const char *const *backend_wanted(const odb_options *o, size_t *count)
{
    static const char *const seven[] = {ODB_FAMILY_DEFAULT,       ODB_FAMILY_RECORDS,
                                        ODB_FAMILY_GRAPH_FORWARD, ODB_FAMILY_GRAPH_BACKWARD,
                                        ODB_FAMILY_VECTOR_DATA,   ODB_FAMILY_VECTOR_INDEX,
                                        ODB_FAMILY_METADATA};

    *count = o->families ? o->family_count : sizeof seven / sizeof seven[0];
    return o->families ? o->families : seven;
}

/* ---- families ---- */

struct backend_family {
    struct backend_family *next; /* by rising number */
    uint32_t id;
    bool is_dropped; /* under the lock */
    const char *name;
};

struct backend_families {
    pthread_mutex_t lock;
    struct backend_family *first;
};

/* By name, or by number when `name` is NULL; the living only. The lock is held. */
static inline struct backend_family *backend_look(const struct backend_families *l,
                                                  const char *name, uint32_t id)
{
    struct backend_family *f = l->first;

    while (f && (f->is_dropped || (name ? strcmp(f->name, name) != 0 : f->id != id)))
        f = f->next;
    return f;
}

/* The same; takes the lock. */
static inline struct backend_family *backend_find(struct backend_families *l, const char *name,
                                                  uint32_t id)
{
    struct backend_family *f;

    pthread_mutex_lock(&l->lock);
    f = backend_look(l, name, id);
    pthread_mutex_unlock(&l->lock);
    return f;
}

/* For work on `only`, or on all that live (NULL): the next one after `after`, from NULL to NULL. The lock is
 * held. */
static inline struct backend_family *backend_next(const struct backend_families *l,
                                                  struct backend_family *only,
                                                  const struct backend_family *after)
{
    struct backend_family *f = after ? after->next : l->first;

    while (f && (f->is_dropped || (only && f != only)))
        f = f->next;
    return f;
}

/* odb_backend_ops.cf_find. */
static inline odb_status backend_cf_find(struct backend_families *l, const char *name,
                                         odb_backend_cf *out)
{
    struct backend_family *f = backend_find(l, name, 0);

    if (!f)
        return odb_error_set(ODB_NO_FAMILY, "there is no such column family");
    *out = (odb_backend_cf){f, f->id};
    return ODB_OK;
}

/* odb_backend_ops.cf_each. */
static inline void backend_cf_each(struct backend_families *l,
                                   bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                                   void *arg)
{
    struct backend_family *f = NULL;

    pthread_mutex_lock(&l->lock);
    while ((f = backend_next(l, NULL, f)) != NULL && each(arg, (odb_backend_cf){f, f->id}, f->name))
        continue;
    pthread_mutex_unlock(&l->lock);
}

/* The lock is held. */
static inline void backend_link(struct backend_families *l, struct backend_family *f)
{
    struct backend_family **at = &l->first;

    while (*at && (*at)->id < f->id)
        at = &(*at)->next;
    f->next = *at;
    *at = f;
}

static inline void backend_mark_dropped(struct backend_families *l, struct backend_family *f)
{
    pthread_mutex_lock(&l->lock);
    f->is_dropped = true;
    pthread_mutex_unlock(&l->lock);
}

/* For a walk that shall move on to another moment. */
static inline odb_status backend_check_dropped(struct backend_families *l,
                                               const struct backend_family *f)
{
    bool is_dropped;

    pthread_mutex_lock(&l->lock);
    is_dropped = f->is_dropped;
    pthread_mutex_unlock(&l->lock);
    return is_dropped ? odb_error_set(ODB_NO_FAMILY, "the column family was dropped") : ODB_OK;
}

#endif
