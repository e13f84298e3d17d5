/* records/meta.c -- metadata documents as a program writes and reads them: the name is the key, the
 * document the value, in the family "metadata". What the library itself keeps there is in env.c. */
#include "records/odb_meta.h"

#include "records/env.h"
#include "records/json.h"
#include "records/utf8.h"

static odb_status meta_check_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len == 0 || len > ODB_META_NAME_MAX)
        return err_set(ODB_INVALID, "a name of metadata has 1 to %d bytes", ODB_META_NAME_MAX);
    if (!utf8_is_valid(odb_s(name)))
        return err_set(ODB_INVALID, "a name of metadata is not UTF-8");
    return ODB_OK;
}

static odb_status meta_check_writable(const char *name)
{
    odb_status st = meta_check_name(name);

    if (st == ODB_OK && strncmp(name, "odb.", 4) == 0)
        st = err_set(ODB_INVALID, "names that begin with 'odb.' belong to the library");
    return st;
}

struct meta_write {
    struct rec_env *env;
    odb_slice name;
    const struct buf *json; /* NULL: delete */
};

static odb_status meta_step(void *arg, odb_txn *txn)
{
    struct meta_write *w = arg;

    return w->json ? rec_meta_put(w->env, txn, w->name, buf_slice(w->json))
                   : odb_txn_delete(txn, w->env->metadata, w->name);
}

static odb_status meta_write_run(odb_db *db, odb_txn *txn, const char *name, const struct buf *json)
{
    struct meta_write w = {NULL, odb_s(name), json};
    odb_status st = rec_env_get(db, &w.env);

    if (st == ODB_OK && !w.env->metadata)
        st = err_set(ODB_READONLY, "this database is open for reading, and has no metadata");
    return st == ODB_OK ? rec_in_txn(db, txn, meta_step, &w) : st;
}

odb_status odb_meta_put(odb_db *db, odb_txn *txn, const char *name, odb_slice json)
{
    struct json_doc doc = {0};
    struct buf b = {0};
    const char *what = NULL;
    size_t at = 0;
    odb_status st = meta_check_writable(name);

    if (st == ODB_OK && json.size > ODB_META_SIZE_MAX)
        st = err_set(ODB_TOO_LARGE, "a document of %zu bytes; at most %zu are possible", json.size,
                     ODB_META_SIZE_MAX);
    if (st == ODB_OK && !json.data)
        st = err_set(ODB_INVALID, "the document is NULL");
    if (st != ODB_OK)
        return st;
    st = json_read(json, &doc, &what, &at);
    if (st == ODB_INVALID)
        st = err_set(ODB_INVALID, "the document is no JSON: %s, at byte %zu", what, at);
    if (st == ODB_OK)
        st = json_add_doc(&b, &doc);
    if (st == ODB_OK)
        st = meta_write_run(db, txn, name, &b);
    json_release(&doc);
    buf_release(&b);
    return st;
}

odb_status odb_meta_delete(odb_db *db, odb_txn *txn, const char *name)
{
    odb_status st = meta_check_writable(name);

    return st == ODB_OK ? meta_write_run(db, txn, name, NULL) : st;
}

odb_status odb_meta_get(odb_at at, const char *name, odb_value *out)
{
    struct rec_env *env;
    const char *what;
    size_t off;
    odb_status st = meta_check_name(name);

    if (st == ODB_OK && !out)
        st = err_set(ODB_INVALID, "the place for the document is NULL");
    if (st == ODB_OK)
        st = rec_env_at(at, &env);
    if (st != ODB_OK)
        return st;
    if (!env->metadata)
        return ODB_ABSENT;
    st = odb_get(at, env->metadata, odb_s(name), out);
    if (st != ODB_OK)
        return st;
    st = json_check(odb_bytes(out->data, out->size), &what, &off);
    if (st == ODB_OK)
        return ODB_OK;
    odb_value_release(out);
    if (st == ODB_NOMEM)
        return st;
    return err_set(ODB_CORRUPT, "the metadata document %s is no JSON: %s, at byte %zu", name, what,
                   off);
}

odb_status odb_meta_list(odb_at at, const char *prefix,
                         bool (*each)(void *arg, odb_slice name, odb_slice json), void *arg)
{
    odb_range range = {.prefix = odb_s(prefix ? prefix : "")};
    struct rec_env *env;
    odb_iter *it;
    odb_status st = each ? rec_env_at(at, &env) : err_set(ODB_INVALID, "the function is NULL");

    if (st != ODB_OK || !env->metadata)
        return st;
    st = odb_iter_new(at, env->metadata, &range, &it);
    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it)) {
        odb_slice json = odb_iter_value(it);
        const char *what;
        size_t off;

        st = json_check(json, &what, &off);
        if (st == ODB_NOMEM)
            break;
        if (st != ODB_OK)
            json = odb_bytes(NULL, 0);
        st = ODB_OK;
        if (!each(arg, odb_iter_key(it), json))
            break;
    }
    if (st == ODB_OK)
        st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}
