/* examples/counter.c -- several threads count together, and none of them is lost. */
#include <opendb.h>
#include <pthread.h>
#include <stdio.h>

#define THREADS 4
#define ROUNDS  1000

/* Called again from the beginning when somebody else was faster. */
static odb_status count_one(odb_txn *t, void *arg)
{
    unsigned long long n = 0;
    char text[24] = "";
    size_t size;
    odb_status st = odb_get_into(odb_in(t), NULL, odb_s("visits"), text, sizeof text - 1, &size);

    (void)arg;
    if (st == ODB_OK)
        (void)sscanf(text, "%llu", &n);
    else if (st != ODB_ABSENT)
        return st;
    (void)snprintf(text, sizeof text, "%llu", n + 1);
    return odb_txn_put(t, NULL, odb_s("visits"), odb_s(text));
}

static void *visitor(void *arg)
{
    odb_status st = ODB_OK;

    for (int i = 0; i < ROUNDS && st == ODB_OK; i++)
        st = odb_txn_run(arg, NULL, count_one, NULL, NULL);
    if (st != ODB_OK)
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    odb_db *db = NULL;
    odb_value v;
    odb_status st = odb_open("counter.db", NULL, &db);

    if (st == ODB_OK)
        st = odb_delete(db, NULL, odb_s("visits"), NULL);
    if (st != ODB_OK) {
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
        return 1;
    }
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, visitor, db) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(thread[i], NULL);
    st = odb_get(odb_now(db), NULL, odb_s("visits"), &v);
    if (st == ODB_OK) {
        printf("%.*s visits\n", (int)v.size, (const char *)v.data);
        odb_value_release(&v);
    }
    (void)odb_close(db);
    return st != ODB_OK;
}
