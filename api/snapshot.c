/* api/snapshot.c -- handles on moments, what they are called, and who still has one.
 *
 * A snapshot has one moment of the backend and any number of handles; the moment goes with the last
 * of them. All snapshots of a database stand in one list, so that somebody who wonders why old versions
 * pile up can see who holds what, and since when.
 *
 * Threads: any.
 */
#include "api/db_priv.h"

odb_status odb_snapshot_new(odb_db *db, odb_snapshot **out)
{
    odb_status st = api_check_db(db);
    odb_snapshot *s;

    if (st == ODB_OK && !out)
        st = api_refuse_null("the place for the snapshot");
    if (st == ODB_OK && !db->ops.snapshot_new)
        st = api_unsupported(db, "take snapshots");
    if (st != ODB_OK)
        return st;
    s = mem_zalloc(1, sizeof *s);
    if (!s)
        return err_set(ODB_NOMEM, "no memory for a snapshot");
    s->db = db;
    s->handles = 1;
    s->taken_ns = os_now_ns(db->os);
    st = db->ops.snapshot_new(db->self, &s->inner);
    if (st != ODB_OK) {
        mem_free(s);
        return st;
    }
    os_mutex_lock(&db->lock);
    s->next = db->snapshots;
    if (s->next)
        s->next->prev = s;
    db->snapshots = s;
    os_mutex_unlock(&db->lock);
    *out = s;
    return ODB_OK;
}

odb_snapshot *api_snapshot_ref(odb_snapshot *s)
{
    os_mutex_lock(&s->db->lock);
    s->handles++;
    os_mutex_unlock(&s->db->lock);
    return s;
}

void odb_snapshot_free(odb_snapshot *s)
{
    odb_db *db;
    bool is_last;

    if (!s || api_is_forked(s->db))
        return;
    db = s->db;
    os_mutex_lock(&db->lock);
    is_last = --s->handles == 0;
    if (is_last) {
        *(s->prev ? &s->prev->next : &db->snapshots) = s->next;
        if (s->next)
            s->next->prev = s->prev;
    }
    os_mutex_unlock(&db->lock);
    if (!is_last)
        return;
    db->ops.snapshot_free(db->self, s->inner);
    mem_free(s->name);
    mem_free(s);
}

static odb_snapshot *snapshot_named(const odb_db *db, const char *name)
{
    odb_snapshot *s = db->snapshots;

    while (s && (!s->name || strcmp(s->name, name) != 0))
        s = s->next;
    return s;
}

odb_status odb_snapshot_set_name(odb_snapshot *s, const char *name)
{
    odb_status st = s ? api_check_db(s->db) : api_refuse_null("the snapshot");
    char *copy;

    if (st == ODB_OK)
        st = api_check_name(name, "a snapshot");
    if (st != ODB_OK)
        return st;
    copy = mem_alloc(strlen(name) + 1);
    if (!copy)
        return err_set(ODB_NOMEM, "no memory to name a snapshot");
    (void)strcpy(copy, name);
    os_mutex_lock(&s->db->lock);
    if (snapshot_named(s->db, name)) {
        st = err_set(ODB_EXISTS, "there is a snapshot '%s'", name);
    } else {
        char *old = s->name;

        s->name = copy;
        copy = old;
    }
    os_mutex_unlock(&s->db->lock);
    mem_free(copy);
    return st;
}

odb_status odb_snapshot_find(odb_db *db, const char *name, odb_snapshot **out)
{
    odb_status st = api_check_db(db);
    odb_snapshot *s;

    if (st == ODB_OK && (!name || !out))
        st = api_refuse_null(name ? "the place for the snapshot" : "the name");
    if (st != ODB_OK)
        return st;
    os_mutex_lock(&db->lock);
    s = snapshot_named(db, name);
    if (s)
        s->handles++;
    os_mutex_unlock(&db->lock);
    if (!s)
        return err_set(ODB_ABSENT, "no snapshot is called '%s'", name);
    *out = s;
    return ODB_OK;
}

odb_status odb_snapshot_each(odb_db *db, bool (*each)(void *arg, const odb_snapshot_info *info),
                             void *arg)
{
    odb_status st = api_check_db(db);
    uint64_t now;

    if (st == ODB_OK && !each)
        st = api_refuse_null("the function to call");
    if (st != ODB_OK)
        return st;
    now = os_now_ns(db->os);
    os_mutex_lock(&db->lock);
    for (const odb_snapshot *s = db->snapshots; s; s = s->next) {
        odb_snapshot_info info = {s->name ? s->name : "", 0, (now - s->taken_ns) / 1000000,
                                  s->handles};

        if (db->ops.sequence)
            info.sequence = db->ops.sequence(db->self, s->inner);
        if (!each(arg, &info))
            break;
    }
    os_mutex_unlock(&db->lock);
    return ODB_OK;
}
