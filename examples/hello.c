/* examples/hello.c -- the smallest program: put a key, get it back.
 *
 *     cc hello.c $(pkg-config --cflags --libs opendb) && ./a.out
 */
#include <opendb.h>
#include <stdio.h>

int main(void)
{
    odb_db *db = NULL;
    odb_value v;
    odb_status st = odb_open("hello.db", NULL, &db);

    if (st == ODB_OK)
        st = odb_put(db, NULL, odb_s("greeting"), odb_s("hello, world"), NULL);
    if (st == ODB_OK)
        st = odb_get(odb_now(db), NULL, odb_s("greeting"), &v);
    if (st == ODB_OK) {
        printf("%.*s\n", (int)v.size, (const char *)v.data);
        odb_value_release(&v);
    } else {
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    }
    (void)odb_close(db); /* NULL is fine */
    return st != ODB_OK;
}
