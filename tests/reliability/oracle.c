#include "tests/reliability/oracle.h"

#include "tests/reliability/txns.h"

#include "cf/files.h"

odb_status opened_open(const struct cf_set_options *o, const struct workload *w, struct opened *out)
{
    odb_status st = cf_open(DB, o, &out->s);

    out->db = NULL;
    if (st != ODB_OK || !w->upper)
        return st;
    st = w->upper->open(out->s, &out->db);
    if (st != ODB_OK)
        err_ignore(cf_close(out->s));
    return st;
}

odb_status opened_close(const struct opened *o, const struct workload *w)
{
    return o->db ? w->upper->close(o->db) : cf_close(o->s);
}

static void fails(struct finding *f, const char *what, odb_status st)
{
    f->is_whole = false;
    (void)snprintf(f->why, sizeof f->why, "%s: %s: %.400s", what, odb_status_name(st),
                   st == ODB_OK ? "" : odb_error_text());
}

/* The set against the model after as many transactions as it says. */
static bool is_whole(const struct opened *at, const struct workload *w, const struct promise *p,
                     struct finding *f)
{
    struct cf_set *s = at->s;
    struct promise any = *p;
    struct cf *cf[FAMILIES];

    for (int i = 0; i < FAMILIES; i++) {
        any.may[i] = true;
        any.must[i] = false;
    }
    f->families = 0;
    f->is_whole = set_matches(s, w, &any, 0, &f->k, f->why) &&
                  (!at->db || txns_are_listed(at->db, &w->at[f->k], f->why));
    if (!f->is_whole || workload_find(s, cf) != ODB_OK)
        return false;
    for (int i = 0; i < FAMILIES; i++)
        f->families |= (uint8_t)(cf[i] ? 1 << i : 0);
    return true;
}

static bool looks_the_same(const struct opened *at, const struct workload *w,
                           const struct promise *p, struct finding *f, const char *when)
{
    struct finding now = {0};

    if (is_whole(at, w, p, &now) && now.k == f->k && now.families == f->families)
        return true;
    f->is_whole = false;
    (void)snprintf(f->why, sizeof f->why,
                   "%s: %u transactions, families %x; before: %u and %x; %.300s", when, now.k,
                   now.families, f->k, f->families, now.why);
    return false;
}

/* Read-only: the same answer, and not one operation that changes anything (P10). */
static bool look_readonly(struct os *os, const struct workload *w, const struct promise *p,
                          struct finding *f)
{
    struct cf_set_options o = workload_variant(os, w->variant);
    uint64_t before = sim_mutations(os);
    struct opened at;
    odb_status st;

    o.is_readonly = true;
    st = opened_open(&o, w, &at);
    f->is_refused = st == ODB_CORRUPT;
    if (st == ODB_ABSENT && !p->opened) {
        f->is_whole = true;
    } else if (st != ODB_OK) {
        fails(f, "read-only open", st);
    } else {
        (void)is_whole(&at, w, p, f);
        err_ignore(opened_close(&at, w));
    }
    if (f->is_whole && sim_mutations(os) != before) {
        f->is_whole = false;
        (void)snprintf(f->why, sizeof f->why, "a read-only open changed the disk");
    }
    return f->is_whole;
}

/* ---- files that nobody needs ---- */

struct needed {
    struct file_numbers tables;
    uint64_t no[512];
};

static void need_file(void *arg, uint32_t level, const struct sst_meta *meta)
{
    struct needed *n = arg;

    (void)level;
    if (n->tables.count < sizeof n->no / sizeof n->no[0])
        n->no[n->tables.count++] = meta->file_no;
}

static bool need_family(void *arg, struct cf *cf, const char *name)
{
    (void)name;
    lsm_each_file(cf_tree(cf), need_file, arg);
    return true;
}

/* One manifest, nothing half-made, no table that no family has. */
static bool holds_only_what_is_needed(struct os *os, struct cf_set *s, struct finding *f)
{
    struct needed need = {{0}, {0}};
    struct file_list have = {0};
    struct os_dir *dir = NULL;
    odb_status st = os_dir_open(os, DB, 0, &dir);
    bool ok;

    if (st == ODB_OK)
        st = file_list_read(dir, &have);
    os_dir_close(dir);
    cf_each(s, need_family, &need);
    need.tables.no = need.no;
    file_numbers_sort(&need.tables);
    ok = st == ODB_OK && have.manifests.count == 1 && !have.has[FILE_CURRENT_NEW] &&
         !have.has[FILE_IDENTITY_NEW] && have.tables.count == need.tables.count;
    for (size_t i = 0; ok && i < have.tables.count; i++)
        ok = have.tables.no[i] == need.tables.no[i];
    if (!ok) {
        f->is_whole = false;
        (void)snprintf(f->why, sizeof f->why,
                       "files: %zu manifests, %zu tables where %zu are needed, CURRENT.new %d",
                       have.manifests.count, have.tables.count, need.tables.count,
                       have.has[FILE_CURRENT_NEW]);
    }
    file_list_release(&have);
    return ok;
}

/* ---- going on ---- */

static odb_status commit_one_more(struct cf_set *s)
{
    struct cf_write full = {.durability = CF_FULL};
    uint64_t seq = cf_visible_seq(s);
    struct cf *cf[FAMILIES];
    odb_status st = workload_find(s, cf);

    if (st == ODB_OK)
        st = cf_put(s, cf[0], odb_s("zz"), odb_s("one more"), &full);
    if (st == ODB_OK && cf_visible_seq(s) <= seq)
        st = err_set(ODB_INVALID, "sequence numbers did not rise");
    if (st == ODB_OK)
        st = cf_delete(s, cf[0], odb_s("zz"), &full);
    return st;
}

/* Close and open again. */
static bool comes_back(struct opened *at, const struct cf_set_options *o, const struct workload *w,
                       bool *is_open, odb_status st, struct finding *f)
{
    odb_status closed = opened_close(at, w);

    if (st == ODB_OK)
        st = closed;
    if (st == ODB_OK)
        st = opened_open(o, w, at);
    *is_open = st == ODB_OK;
    if (st != ODB_OK)
        fails(f, "going on", st);
    return st == ODB_OK;
}

static bool goes_on(struct os *os, struct opened *at, bool *is_open, const struct workload *w,
                    const struct promise *p, enum oracle_effort effort, struct finding *f)
{
    struct cf_set_options o = workload_variant(os, w->variant);
    odb_status st = commit_one_more(at->s);

    if (st == ODB_OK && effort == ORACLE_WHOLLY)
        st = cf_verify(at->s, NULL, NULL);
    if (!comes_back(at, &o, w, is_open, st, f))
        return false;
    if (!looks_the_same(at, w, p, f, "opened again"))
        return false;
    if (effort != ORACLE_WHOLLY)
        return true;
    st = cf_flush(at->s, NULL);
    for (int jobs = 0; st == ODB_OK && jobs < 1000 && cf_work(at->s); jobs++)
        ;
    if (st == ODB_OK)
        st = cf_verify(at->s, NULL, NULL);
    if (st != ODB_OK) {
        fails(f, "merging everything", st);
        return false;
    }
    return looks_the_same(at, w, p, f, "merged") && holds_only_what_is_needed(os, at->s, f);
}

/* The families against one state. */
static bool holds_state(const struct opened *at, const struct promise *p, const struct state *now,
                        struct finding *f)
{
    struct cf *cf[FAMILIES];

    f->is_whole = workload_find(at->s, cf) == ODB_OK && txns_are_listed(at->db, now, f->why);
    for (uint32_t i = 0; f->is_whole && i < FAMILIES; i++)
        f->is_whole = !cf[i] || family_matches(at->s, cf[i], NULL, now, p->born[i], i, f->why);
    return f->is_whole;
}

/* Everything that is prepared comes to its end: one way or the other, and for good. */
static bool resolves(struct os *os, struct opened *at, bool *is_open, const struct workload *w,
                     const struct promise *p, struct finding *f)
{
    struct cf_set_options o = workload_variant(os, w->variant);
    struct state now = w->at[f->k];

    f->is_whole = txns_resolve(at->db, &now, f->why);
    return f->is_whole && holds_state(at, p, &now, f) &&
           comes_back(at, &o, w, is_open, ODB_OK, f) && holds_state(at, p, &now, f);
}

void oracle_look(struct os *os, const struct workload *w, const struct promise *p,
                 enum oracle_effort effort, struct finding *out)
{
    struct cf_set_options o = workload_variant(os, w->variant);
    struct finding ro = {0};
    struct opened at;
    bool is_open;
    odb_status st;

    *out = (struct finding){0};
    if (effort != ORACLE_LOOK && !look_readonly(os, w, p, &ro)) {
        *out = ro;
        return;
    }
    o.create = !p->opened;
    st = opened_open(&o, w, &at);
    is_open = st == ODB_OK;
    if (st != ODB_OK) {
        fails(out, "open", st);
        out->is_refused = st == ODB_CORRUPT;
        return;
    }
    if (is_whole(&at, w, p, out) && effort != ORACLE_LOOK) {
        if (p->opened && (ro.k != out->k || ro.families != out->families)) {
            out->is_whole = false;
            (void)snprintf(out->why, sizeof out->why, "read-only said %u, then it was %u", ro.k,
                           out->k);
        } else {
            if (goes_on(os, &at, &is_open, w, p, effort, out) && at.db)
                (void)resolves(os, &at, &is_open, w, p, out);
        }
    }
    if (is_open)
        err_ignore(opened_close(&at, w));
}

bool oracle_allows(const struct promise *p, uint32_t least, bool may_refuse, struct finding *f)
{
    if (!f->is_whole)
        return may_refuse && f->is_refused;
    if (f->k < least || f->k > p->started) {
        (void)snprintf(f->why, sizeof f->why, "a prefix of %u transactions; %u to %u were promised",
                       f->k, least, p->started);
        return false;
    }
    for (int i = 0; i < FAMILIES; i++) {
        bool has = f->families >> i & 1;

        if ((has && !p->may[i]) || (!has && p->must[i])) {
            (void)snprintf(f->why, sizeof f->why, "family %s %s", family_name[i],
                           has ? "came back" : "is gone");
            return false;
        }
    }
    return true;
}
