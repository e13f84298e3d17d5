/* examples/transfer.c -- money changes its owner, with locks; and in two phases, so that it can be part
 * of something larger than this database.
 */
#include <opendb.h>
#include <stdio.h>

struct transfer {
    const char *from, *to;
    long amount;
};

static odb_status read_account(odb_txn *t, const char *name, long *out)
{
    char text[24] = "";
    odb_value v;
    odb_status st = odb_txn_get_for_update(t, NULL, odb_s(name), &v);

    *out = 0;
    if (st == ODB_ABSENT)
        return ODB_OK; /* a new account is empty */
    if (st != ODB_OK)
        return st;
    (void)snprintf(text, sizeof text, "%.*s", (int)v.size, (const char *)v.data);
    (void)sscanf(text, "%ld", out);
    odb_value_release(&v);
    return ODB_OK;
}

static odb_status write_account(odb_txn *t, const char *name, long value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%ld", value);
    return odb_txn_put(t, NULL, odb_s(name), odb_s(text));
}

/* ODB_CANCELLED: there is not enough. */
static odb_status move_money(odb_txn *t, void *arg)
{
    const struct transfer *what = arg;
    long from, to;
    odb_status st = read_account(t, what->from, &from);

    if (st == ODB_OK)
        st = read_account(t, what->to, &to);
    if (st == ODB_OK && from < what->amount)
        st = ODB_CANCELLED;
    if (st == ODB_OK)
        st = write_account(t, what->from, from - what->amount);
    return st == ODB_OK ? write_account(t, what->to, to + what->amount) : st;
}

/* Promise first, decide later: whatever happens in between, the transfer can still be made or undone. */
static odb_status move_in_two_phases(odb_db *db, struct transfer *what, bool all_agree)
{
    odb_txn *t;
    odb_status st = odb_txn_begin(db, NULL, &t);

    if (st != ODB_OK)
        return st;
    st = move_money(t, what);
    if (st == ODB_OK)
        st = odb_txn_prepare(t, "transfer 4711", NULL);
    odb_txn_free(t); /* also were this process to die here, it stays prepared */
    if (st == ODB_OK)
        st = odb_txn_recover(db, "transfer 4711", &t);
    if (st != ODB_OK)
        return st;
    st = all_agree ? odb_txn_commit(t, NULL) : odb_txn_rollback(t);
    odb_txn_free(t);
    return st;
}

static void show(odb_db *db, const char *name)
{
    odb_value v;

    if (odb_get(odb_now(db), NULL, odb_s(name), &v) != ODB_OK)
        return;
    printf("%s has %.*s\n", name, (int)v.size, (const char *)v.data);
    odb_value_release(&v);
}

int main(void)
{
    odb_txn_options locks = {.size = sizeof locks, .is_pessimistic = true};
    struct transfer rent = {"ann", "bob", 70}, gift = {"bob", "ann", 20};
    odb_db *db = NULL;
    odb_status st = odb_open("transfer.db", NULL, &db);

    if (st == ODB_OK)
        st = odb_put(db, NULL, odb_s("ann"), odb_s("100"), NULL);
    if (st == ODB_OK)
        st = odb_put(db, NULL, odb_s("bob"), odb_s("0"), NULL);
    if (st == ODB_OK)
        st = odb_txn_run(db, &locks, move_money, &rent, NULL);
    if (st == ODB_OK && odb_txn_run(db, &locks, move_money, &rent, NULL) == ODB_CANCELLED)
        printf("ann cannot pay twice\n");
    if (st == ODB_OK)
        st = move_in_two_phases(db, &gift, false);
    if (st == ODB_OK)
        st = move_in_two_phases(db, &gift, true);
    if (st == ODB_OK) {
        show(db, "ann");
        show(db, "bob");
    } else {
        fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
    }
    (void)odb_close(db); /* NULL is fine */
    return st != ODB_OK;
}
