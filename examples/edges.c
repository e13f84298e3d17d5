/* examples/edges.c -- a batch over two families, and a snapshot that keeps its moment.
 *
 * An edge is kept twice, once for each direction, in two families of our own. Both copies are written in
 * one batch, so no crash and no reader ever sees one without the other. (This is how graph/ does it; a
 * program that wants a graph calls odb_link().)
 */
#include <opendb.h>
#include <stdio.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        st = (call);                                                                               \
        if (st != ODB_OK)                                                                          \
            goto done;                                                                             \
    } while (0)

/* from --how--> to, both directions, all or nothing. */
static odb_status add_edge(odb_db *db, odb_batch *b, const char *from, const char *how,
                           const char *to)
{
    char forward[100], backward[100];
    odb_cf *out, *in;
    odb_status st;

    (void)snprintf(forward, sizeof forward, "%s>%s", from, to);
    (void)snprintf(backward, sizeof backward, "%s<%s", to, from);
    odb_batch_clear(b);
    TRY(odb_cf_open(db, "by_start", &out));
    TRY(odb_cf_open(db, "by_end", &in));
    TRY(odb_batch_put(b, out, odb_s(forward), odb_s(how)));
    TRY(odb_batch_put(b, in, odb_s(backward), odb_s(how)));
    TRY(odb_commit(db, b, NULL));
done:
    return st;
}

static odb_status count_edges(odb_at at, odb_cf *family, int *out)
{
    odb_iter *it;
    odb_status st = odb_iter_new(at, family, NULL, &it);

    if (st != ODB_OK)
        return st;
    *out = 0;
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it))
        ++*out;
    st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

int main(int argc, char **argv)
{
    static const char *const families[] = {"by_start", "by_end"};
    odb_options opt = odb_options_default();
    odb_db *db = NULL;
    odb_batch *b = NULL;
    odb_snapshot *before = NULL;
    odb_cf *forward;
    int then = 0, now = 0;
    odb_status st;

    opt.families = families;
    opt.family_count = 2;
    TRY(odb_open(argc > 1 ? argv[1] : "edges.db", &opt, &db));
    TRY(odb_batch_new(&b));
    TRY(odb_cf_open(db, "by_start", &forward));
    TRY(add_edge(db, b, "ann", "knows", "bob"));
    TRY(odb_snapshot_new(db, &before));
    TRY(add_edge(db, b, "bob", "knows", "cid"));
    TRY(add_edge(db, b, "cid", "likes", "ann"));
    TRY(count_edges(odb_asof(before), forward, &then));
    TRY(count_edges(odb_now(db), forward, &now));
    printf("%d edges before, %d now\n", then, now);
done:
    if (st != ODB_OK)
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    odb_snapshot_free(before);
    odb_batch_free(b);
    (void)odb_close(db);
    return st != ODB_OK;
}
