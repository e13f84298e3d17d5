/* records/env.c -- what records keep with a database handle, and the documents that describe it.
 *
 *     metadata   "odb.format"  {"major":1,"minor":1,"created":1730000000000000,"features":[]}
 *                "odb.schema"  {"version":1}
 *                "odb.index"   {"time":true,"importance":true,"props":["lang"],"ready":true}
 *
 * 1. The three documents appear in one commit, at the first use of records, and the families before
 *    them: a database that has "odb.format" has all of it. (Minor version 0 had no "odb.index"; the
 *    first use by a release that knows it adds the document and raises the number, in one commit.)
 * 2. Another major version, a higher minor one, a higher schema version or a feature without a name we
 *    know: ODB_VERSION, and nothing is touched.
 * 3. The configuration is read once per handle. It grows only through odb_records_open(), which says
 *    "ready":false before it adds rows and true when all are there: after a crash between, the next
 *    handle adds them again.
 *
 * Two threads may come here first at once: both make ready, the one whose state cannot be attached any
 * more frees it and takes the other's.
 */
#include "records/env.h"

#include "base/alloc.h"
#include "os/os.h"
#include "os/os_thread.h"
#include "records/index.h"
#include "records/json.h"

#define ENV_NAME     "odb.records"
#define FORMAT_MAJOR 1
#define FORMAT_MINOR 1
#define SCHEMA       1
#define TRIES_MAX    200

/* ---- transactions ---- */

/* The one who was faster may have been put to sleep in the middle of its commit, and then conflicts with
 * all we try until it goes on: leave it the processor, longer each time. All tries together wait for
 * about two seconds. */
static void wait_a_turn(int tries)
{
    if (tries < 10)
        os_thread_yield();
    else
        os_thread_sleep((uint64_t)tries * 100000);
}

odb_status rec_in_txn(odb_db *db, odb_txn *txn, odb_status (*step)(void *arg, odb_txn *txn),
                      void *arg)
{
    char text[ERR_TEXT_MAX];
    odb_txn *own = NULL;
    uint32_t before;
    odb_status st;

    if (txn) {
        if (odb_txn_db(txn) != db)
            return err_set(ODB_INVALID, "the transaction is one of another database");
        st = odb_txn_save(txn, &before);
        if (st != ODB_OK)
            return st;
        st = step(arg, txn);
        err_save(text);
        if (st != ODB_OK && odb_txn_rollback_to(txn, before) != ODB_OK)
            odb_txn_rollback(txn); /* it must not keep half of a write */
        else
            err_ignore(odb_txn_release(txn, before)); /* of no use any more */
        return st == ODB_OK ? st : err_restore(st, text);
    }
    st = odb_txn_begin(db, NULL, &own);
    for (int tries = 1; st == ODB_OK; tries++) {
        st = step(arg, own);
        if (st == ODB_OK)
            st = odb_txn_commit(own, NULL);
        if ((st != ODB_CONFLICT && st != ODB_TOO_OLD) || tries == TRIES_MAX)
            break;
        wait_a_turn(tries);
        st = odb_txn_reset(own);
    }
    odb_txn_free(own);
    return st;
}

/* ---- configurations ---- */

static int config_compare(const struct rec_config *c, uint32_t i, odb_slice name)
{
    return odb_slice_compare(c->props[i], name);
}

static bool config_has(const struct rec_config *c, odb_slice name)
{
    for (uint32_t i = 0; i < c->prop_count; i++)
        if (config_compare(c, i, name) == 0)
            return true;
    return false;
}

/* A configuration with copies of `count` names, sorted, each once. */
static struct rec_config *config_new(const odb_slice *names, size_t count)
{
    size_t bytes = 0;
    struct rec_config *c;
    char *room;

    for (size_t i = 0; i < count; i++)
        bytes += names[i].size;
    c = mem_zalloc(1, sizeof *c + count * sizeof *c->props + bytes);
    if (!c)
        return NULL;
    c->props = (odb_slice *)(void *)(c + 1);
    room = (char *)(c->props + count);
    for (size_t i = 0; i < count; i++) {
        uint32_t at = c->prop_count;

        if (config_has(c, names[i]))
            continue;
        memcpy(room, names[i].data, names[i].size);
        while (at > 0 && config_compare(c, at - 1, names[i]) > 0) {
            c->props[at] = c->props[at - 1];
            at--;
        }
        c->props[at] = odb_bytes(room, names[i].size);
        room += names[i].size;
        c->prop_count++;
    }
    return c;
}

static odb_status config_write(const struct rec_config *c, struct buf *b)
{
    odb_status st;

    buf_reset(b);
    st = json_add_raw(b, c->has_time ? "{\"time\":true" : "{\"time\":false");
    if (st == ODB_OK)
        st = json_add_raw(b, c->has_importance ? ",\"importance\":true" : ",\"importance\":false");
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"props\":[");
    for (uint32_t i = 0; st == ODB_OK && i < c->prop_count; i++) {
        if (i)
            st = json_add_raw(b, ",");
        if (st == ODB_OK)
            st = json_add_text(b, c->props[i]);
    }
    if (st == ODB_OK)
        st = json_add_raw(b, c->is_ready ? "],\"ready\":true}" : "],\"ready\":false}");
    return st;
}

static odb_status complain_meta(const char *name, const char *what)
{
    return err_set(ODB_CORRUPT, "the metadata document %s makes no sense: %s", name, what);
}

static odb_status config_read(const struct json_doc *doc, struct rec_config **out)
{
    const struct json_node *time = json_member(doc, doc->node, "time");
    const struct json_node *importance = json_member(doc, doc->node, "importance");
    const struct json_node *props = json_member(doc, doc->node, "props"), *n;
    const struct json_node *ready = json_member(doc, doc->node, "ready");
    struct rec_config *c;
    odb_slice *names;

    if (!time || time->type != JSON_BOOL || !importance || importance->type != JSON_BOOL ||
        !props || props->type != JSON_ARRAY || !ready || ready->type != JSON_BOOL)
        return complain_meta("odb.index", "a member is missing or of a wrong type");
    names = mem_array(props->count + 1, sizeof *names);
    if (!names)
        return err_set(ODB_NOMEM, "no memory to read what is indexed");
    n = json_first(props);
    for (uint32_t i = 0; i < props->count; i++, n = json_next(doc, n)) {
        if (n->type != JSON_STRING || n->u.string.size == 0 ||
            n->u.string.size > ODB_PROP_NAME_MAX) {
            mem_free(names);
            return complain_meta("odb.index", "a property name is none");
        }
        names[i] = n->u.string;
    }
    c = config_new(names, props->count);
    mem_free(names);
    if (!c)
        return err_set(ODB_NOMEM, "no memory to read what is indexed");
    c->has_time = time->u.boolean;
    c->has_importance = importance->u.boolean;
    c->is_ready = ready->u.boolean;
    *out = c;
    return ODB_OK;
}

/* ---- the documents ---- */

odb_status rec_meta_put(struct rec_env *env, odb_txn *txn, odb_slice name, odb_slice json)
{
    return odb_txn_put(txn, env->metadata, name, json);
}

/* Read a document of the library's own. ODB_ABSENT. On ODB_OK both are to be released. */
static odb_status meta_read(struct rec_env *env, odb_at at, const char *name, odb_value *v,
                            struct json_doc *doc)
{
    const char *what = NULL;
    size_t off;
    odb_status st;

    if (!env->metadata)
        return ODB_ABSENT;
    st = odb_get(at, env->metadata, odb_s(name), v);
    if (st != ODB_OK)
        return st;
    st = json_read(odb_bytes(v->data, v->size), doc, &what, &off);
    if (st == ODB_OK && doc->node->type != JSON_OBJECT) {
        json_release(doc);
        st = ODB_INVALID;
        what = "it is no object";
    }
    if (st != ODB_OK)
        odb_value_release(v);
    return st == ODB_OK || st == ODB_NOMEM ? st : complain_meta(name, what);
}

static bool member_is_int(const struct json_doc *doc, const char *name, int64_t *out)
{
    const struct json_node *n = json_member(doc, doc->node, name);

    if (!n || n->type != JSON_INT)
        return false;
    *out = n->u.integer;
    return true;
}

static odb_status refuse_format(const char *what, int64_t has, int64_t knows)
{
    return err_set(ODB_VERSION,
                   "the typed data of this database have %s %lld, this release knows %lld; open it "
                   "with a newer release",
                   what, (long long)has, (long long)knows);
}

/* *minor becomes that of the database, -1 when it has none yet. */
static odb_status check_format(struct rec_env *env, odb_at at, int64_t *minor, int64_t *created)
{
    const struct json_node *features;
    int64_t major, schema;
    struct json_doc doc;
    odb_value v;
    odb_status st = meta_read(env, at, "odb.format", &v, &doc);

    *minor = -1;
    if (st != ODB_OK)
        return st == ODB_ABSENT ? ODB_OK : st;
    features = json_member(&doc, doc.node, "features");
    if (!member_is_int(&doc, "major", &major) || !member_is_int(&doc, "minor", minor) ||
        !member_is_int(&doc, "created", created) || *minor < 0 || !features ||
        features->type != JSON_ARRAY)
        st = complain_meta("odb.format", "a member is missing or of a wrong type");
    else if (major != FORMAT_MAJOR)
        st = refuse_format("format version", major, FORMAT_MAJOR);
    else if (*minor > FORMAT_MINOR)
        st = refuse_format("minor format version", *minor, FORMAT_MINOR);
    else if (features->count > 0)
        st = err_set(ODB_VERSION, "the typed data of this database use features this release does "
                                  "not know; open it with a newer release");
    json_release(&doc);
    odb_value_release(&v);
    if (st != ODB_OK)
        return st;
    st = meta_read(env, at, "odb.schema", &v, &doc);
    if (st == ODB_ABSENT)
        return complain_meta("odb.schema", "it is not there");
    if (st != ODB_OK)
        return st;
    if (!member_is_int(&doc, "version", &schema) || schema < 1)
        st = complain_meta("odb.schema", "its version is missing or of a wrong type");
    else if (schema > SCHEMA)
        st = refuse_format("schema version", schema, SCHEMA);
    json_release(&doc);
    odb_value_release(&v);
    return st;
}

struct env_setup {
    struct rec_env *env;
    const odb_records_options *opt; /* NULL: none */
    struct rec_config *config;      /* out */
};

static odb_status put_numbers(struct rec_env *env, odb_txn *txn, int64_t created, struct buf *b)
{
    odb_status st;

    buf_reset(b);
    st = json_add_raw(b, "{\"major\":");
    if (st == ODB_OK)
        st = json_add_i64(b, FORMAT_MAJOR);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"minor\":");
    if (st == ODB_OK)
        st = json_add_i64(b, FORMAT_MINOR);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"created\":");
    if (st == ODB_OK)
        st = json_add_i64(b, created);
    if (st == ODB_OK)
        st = json_add_raw(b, ",\"features\":[]}");
    if (st == ODB_OK)
        st = rec_meta_put(env, txn, odb_s("odb.format"), buf_slice(b));
    return st;
}

static odb_status config_default(const odb_records_options *opt, struct rec_config **out)
{
    struct rec_config *c = config_new(NULL, 0);

    if (!c)
        return err_set(ODB_NOMEM, "no memory for the settings of records");
    c->has_time = !opt || !opt->no_time_index;
    c->has_importance = !opt || !opt->no_importance_index;
    c->is_ready = true;
    *out = c;
    return ODB_OK;
}

static odb_status read_config(struct rec_env *env, odb_at at, struct rec_config **out)
{
    struct json_doc doc;
    odb_value v;
    odb_status st = meta_read(env, at, "odb.index", &v, &doc);

    if (st != ODB_OK)
        return st;
    st = config_read(&doc, out);
    json_release(&doc);
    odb_value_release(&v);
    return st;
}

/* Check what is there and write what is not. */
static odb_status setup_step(void *arg, odb_txn *txn)
{
    struct env_setup *s = arg;
    struct buf b = {0};
    int64_t minor, created = (int64_t)os_wall_us(os_posix());
    odb_status st = check_format(s->env, odb_in(txn), &minor, &created);

    mem_free(s->config);
    s->config = NULL;
    if (st == ODB_OK && minor == FORMAT_MINOR) {
        st = read_config(s->env, odb_in(txn), &s->config);
        return st == ODB_ABSENT ? complain_meta("odb.index", "it is not there") : st;
    }
    if (st == ODB_OK)
        st = put_numbers(s->env, txn, created, &b);
    if (st == ODB_OK && minor < 0)
        st = rec_meta_put(s->env, txn, odb_s("odb.schema"), odb_s("{\"version\":1}"));
    if (st == ODB_OK)
        st = config_default(s->opt, &s->config);
    if (st == ODB_OK)
        s->config->is_ready = minor < 0; /* records of before have no rows yet */
    if (st == ODB_OK)
        st = config_write(s->config, &b);
    if (st == ODB_OK)
        st = rec_meta_put(s->env, txn, odb_s("odb.index"), buf_slice(&b));
    buf_release(&b);
    return st;
}

/* ---- what is indexed, changed ---- */

struct env_declare {
    struct rec_env *env;
    const struct rec_config *config;
};

static odb_status declare_step(void *arg, odb_txn *txn)
{
    struct env_declare *d = arg;
    struct buf b = {0};
    odb_status st = config_write(d->config, &b);

    if (st == ODB_OK)
        st = rec_meta_put(d->env, txn, odb_s("odb.index"), buf_slice(&b));
    buf_release(&b);
    return st;
}

/* Store `c` and use it from now on; it belongs to the environment on ODB_OK. */
static odb_status env_set_config(struct rec_env *env, struct rec_config *c)
{
    struct env_declare d = {env, c};
    odb_status st = rec_in_txn(env->db, NULL, declare_step, &d);

    if (st != ODB_OK)
        return st;
    c->older = atomic_load_explicit(&env->config, memory_order_relaxed);
    atomic_store_explicit(&env->config, c, memory_order_release);
    return ODB_OK;
}

/* Add all rows that are missing, and say so. */
static odb_status env_make_ready(struct rec_env *env)
{
    const struct rec_config *now = rec_env_config(env);
    struct rec_config *ready;
    odb_status st = odb_records_reindex(env->db, NULL);

    if (st != ODB_OK)
        return st == ODB_READONLY ? ODB_OK : st; /* somebody else's work, then */
    ready = config_new(now->props, now->prop_count);
    if (!ready)
        return err_set(ODB_NOMEM, "no memory for the settings of records");
    ready->has_time = now->has_time;
    ready->has_importance = now->has_importance;
    ready->is_ready = true;
    st = env_set_config(env, ready);
    if (st != ODB_OK)
        mem_free(ready);
    return st;
}

/* ---- the environment ---- */

static void env_free(struct rec_env *env)
{
    struct rec_config *c = atomic_load_explicit(&env->config, memory_order_relaxed);

    while (c) {
        struct rec_config *older = c->older;

        mem_free(c);
        c = older;
    }
    mem_free(env);
}

static void env_close(odb_db *db, void *state)
{
    (void)db;
    env_free(state);
}

static odb_status find_family(odb_db *db, const char *name, odb_cf **out)
{
    odb_status st = odb_cf_open(db, name, out);

    if (st != ODB_NO_FAMILY)
        return st;
    st = odb_cf_create(db, name, NULL, out);
    if (st == ODB_EXISTS)
        st = odb_cf_open(db, name, out);
    if (st == ODB_READONLY) {
        *out = NULL;
        st = ODB_OK;
    }
    return st;
}

static odb_status env_setup_run(struct rec_env *env, const odb_records_options *opt)
{
    struct env_setup s = {env, opt, NULL};
    int64_t minor, created = 0;
    odb_status st = find_family(env->db, ODB_FAMILY_RECORDS, &env->records);

    if (st == ODB_OK)
        st = find_family(env->db, ODB_FAMILY_RECORD_INDEX, &env->index);
    if (st == ODB_OK)
        st = find_family(env->db, ODB_FAMILY_METADATA, &env->metadata);
    if (st == ODB_OK)
        st = rec_in_txn(env->db, NULL, setup_step, &s);
    if (st == ODB_READONLY || st == ODB_UNSUPPORTED) { /* look, and do not touch */
        mem_free(s.config);
        s.config = NULL;
        st = check_format(env, odb_now(env->db), &minor, &created);
        if (st == ODB_OK)
            st = read_config(env, odb_now(env->db), &s.config);
        if (st == ODB_ABSENT)
            st = config_default(opt, &s.config);
    }
    if (st != ODB_OK)
        mem_free(s.config);
    else
        atomic_store_explicit(&env->config, s.config, memory_order_release);
    return st;
}

static odb_status env_open(odb_db *db, const odb_records_options *opt, struct rec_env **out)
{
    struct rec_env *env = mem_zalloc(1, sizeof *env);
    odb_status st;

    if (!env)
        return err_set(ODB_NOMEM, "no memory to make ready for records");
    env->db = db;
    st = env_setup_run(env, opt);
    if (st == ODB_OK)
        st = odb_attach(db, ENV_NAME, env, env_close);
    if (st == ODB_OK) {
        *out = env;
        return rec_env_config(env)->is_ready || !env->index ? ODB_OK : env_make_ready(env);
    }
    env_free(env);
    if (st == ODB_EXISTS && (*out = odb_attached(db, ENV_NAME)) != NULL)
        return ODB_OK;
    return st;
}

odb_status rec_env_get(odb_db *db, struct rec_env **out)
{
    if (!db)
        return err_set(ODB_INVALID, "the database is NULL");
    *out = odb_attached(db, ENV_NAME);
    return ODB_LIKELY(*out != NULL) ? ODB_OK : env_open(db, NULL, out);
}

odb_status rec_env_at(odb_at at, struct rec_env **out)
{
    odb_db *db = odb_at_db(at);

    if (!db)
        return err_set(ODB_INVALID, "an odb_at must name exactly one place to read at");
    return rec_env_get(db, out);
}

/* ---- properties to index ---- */

/* The configuration with the names of the options added; NULL in *out when all are there. */
static odb_status config_with(const struct rec_config *now, const odb_records_options *opt,
                              struct rec_config **out)
{
    odb_slice *names = mem_array(now->prop_count + opt->prop_count + 1, sizeof *names);
    size_t count = now->prop_count;

    *out = NULL;
    if (!names)
        return err_set(ODB_NOMEM, "no memory for the settings of records");
    if (count)
        memcpy(names, now->props, count * sizeof *names);
    for (size_t i = 0; i < opt->prop_count; i++) {
        odb_prop p = odb_prop_null(opt->props[i] ? opt->props[i] : "");
        odb_status st = rec_prop_check(&p);

        if (st != ODB_OK) {
            mem_free(names);
            return st;
        }
        if (!config_has(now, p.name))
            names[count++] = p.name;
    }
    if (count > now->prop_count) {
        *out = config_new(names, count);
        if (*out) {
            (*out)->has_time = now->has_time;
            (*out)->has_importance = now->has_importance;
        }
    }
    mem_free(names);
    return count > now->prop_count && !*out ? err_set(ODB_NOMEM, "no memory for settings") : ODB_OK;
}

odb_status odb_records_open(odb_db *db, const odb_records_options *opt)
{
    struct rec_config *now, *wider = NULL;
    struct rec_env *env;
    odb_status st;

    if (!db)
        return err_set(ODB_INVALID, "the database is NULL");
    if (opt && opt->size < sizeof *opt)
        return err_set(ODB_INVALID, "odb_records_options.size is %zu, not %zu", opt->size,
                       sizeof *opt);
    if (opt && opt->prop_count && !opt->props)
        return err_set(ODB_INVALID, "the names of the properties to index are NULL");
    env = odb_attached(db, ENV_NAME);
    st = env ? ODB_OK : env_open(db, opt, &env);
    if (st != ODB_OK || !opt)
        return st;
    now = atomic_load_explicit(&env->config, memory_order_acquire);
    if ((opt->no_time_index && now->has_time) || (opt->no_importance_index && now->has_importance))
        return err_set(ODB_INVALID,
                       "these records are indexed by %s already, and stay so; leave the option out",
                       opt->no_time_index && now->has_time ? "time" : "importance");
    st = config_with(now, opt, &wider);
    if (st != ODB_OK || !wider)
        return st;
    st = env_set_config(env, wider);
    if (st != ODB_OK) {
        mem_free(wider);
        return st;
    }
    return env_make_ready(env);
}
