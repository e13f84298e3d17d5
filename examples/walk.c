/* examples/walk.c -- keys with a common beginning, in order and backwards. */
#include <opendb.h>
#include <stdio.h>

static void show(const odb_iter *it)
{
    odb_slice k = odb_iter_key(it), v = odb_iter_value(it);

    printf("%.*s = %.*s\n", (int)k.size, (const char *)k.data, (int)v.size, (const char *)v.data);
}

/* All users, then the last two days of the log. */
static odb_status walk(odb_db *db)
{
    odb_range users = {.prefix = odb_s("user/")}, days = {.prefix = odb_s("log/")};
    odb_iter *it;
    odb_status st = odb_iter_new(odb_now(db), NULL, &users, &it);
    int left = 2;

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok; ok = odb_iter_next(it))
        show(it);
    st = odb_iter_status(it);
    odb_iter_free(it);
    if (st == ODB_OK)
        st = odb_iter_new(odb_now(db), NULL, &days, &it);
    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_last(it); ok && left-- > 0; ok = odb_iter_prev(it))
        show(it);
    st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

int main(void)
{
    static const char *const row[][2] = {{"user/ann", "1"},          {"user/bob", "2"},
                                         {"log/2026-11-21", "rain"}, {"log/2026-11-22", "sun"},
                                         {"log/2026-11-23", "snow"}, {"zebra", "not walked"}};
    odb_backend memory; /* nothing is kept: handy in tests */
    odb_db *db = NULL;
    odb_status st = odb_backend_memory(&memory);

    if (st == ODB_OK)
        st = odb_open_backend(memory, &db);
    for (size_t i = 0; st == ODB_OK && i < sizeof row / sizeof row[0]; i++)
        st = odb_put(db, NULL, odb_s(row[i][0]), odb_s(row[i][1]), NULL);
    if (st == ODB_OK)
        st = walk(db);
    if (st != ODB_OK)
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    (void)odb_close(db);
    return st != ODB_OK;
}
