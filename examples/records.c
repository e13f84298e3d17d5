/* examples/records.c -- records of an agent's memory: stored, found, changed, walked. */
#include <opendb.h>

#include <stdio.h>

static odb_status remember(odb_db *db, const char *id, const char *content, float importance,
                           const char *category)
{
    odb_record_draft d = odb_record_make(id, content);
    odb_prop p = odb_prop_text("category", category);

    d.importance = importance;
    d.props = &p;
    d.prop_count = 1;
    return odb_record_put(db, NULL, &d, 0);
}

static odb_status show(odb_at at, const odb_scan *scan)
{
    odb_record_iter *it;
    odb_status st = odb_record_scan(at, scan, &it);

    if (st != ODB_OK)
        return st;
    while (odb_record_iter_next(it)) {
        const odb_record *r = odb_record_iter_record(it);
        odb_slice id = odb_record_id(r), content = odb_record_content(r);

        printf("  %.*s  %.1f  %.*s\n", (int)id.size, (const char *)id.data,
               (double)odb_record_importance(r), (int)content.size, (const char *)content.data);
    }
    st = odb_record_iter_status(it); /* a walk that broke off is no end */
    odb_record_iter_free(it);
    return st;
}

/* Raise the importance of a note and count it, in one transaction: both, or neither. */
static odb_status raise_importance(odb_db *db, const char *id)
{
    odb_patch p = {.size = sizeof p, .change = ODB_PATCH_IMPORTANCE, .importance = 1};
    odb_txn *t = NULL;
    odb_status st;

    do {
        odb_txn_free(t);
        t = NULL;
        st = odb_txn_begin(db, NULL, &t);
        if (st == ODB_OK)
            st = odb_record_patch(db, t, odb_s(id), &p);
        if (st == ODB_OK)
            st = odb_meta_put(db, t, "user.raised", odb_s("{\"last\":\"user_17/note_1\"}"));
        if (st == ODB_OK)
            st = odb_txn_commit(t, NULL);
    } while (st == ODB_CONFLICT);
    odb_txn_free(t);
    return st;
}

int main(void)
{
    odb_scan scan = {.size = sizeof scan};
    odb_filter *filter = NULL;
    odb_db *db = NULL;
    odb_status st = odb_open("records.db", NULL, &db);

    if (st == ODB_OK)
        st = remember(db, "user_17/note_1", "prefers short answers", 0.8f, "style");
    if (st == ODB_OK)
        st = remember(db, "user_17/note_2", "works on compilers", 0.6f, "facts");
    if (st == ODB_OK)
        st = remember(db, "user_18/note_1", "asked about the weather", 0.1f, "chat");
    if (st == ODB_OK)
        st = raise_importance(db, "user_17/note_1");

    puts("of user 17:");
    scan.prefix = odb_s("user_17");
    scan.segment = '/';
    if (st == ODB_OK)
        st = show(odb_now(db), &scan);

    puts("what matters, most important first:");
    if (st == ODB_OK)
        st = odb_filter_parse(odb_s("importance >= 0.5 && category in (\"style\", \"facts\")"),
                              &filter, NULL);
    scan = (odb_scan){.size = sizeof scan, .order = ODB_BY_IMPORTANCE, .is_reverse = true};
    scan.filter = filter;
    if (st == ODB_OK)
        st = show(odb_now(db), &scan);
    odb_filter_free(filter);

    if (st != ODB_OK)
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    return odb_close(db) != ODB_OK || st != ODB_OK;
}
