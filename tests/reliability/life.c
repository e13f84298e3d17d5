/* tests/reliability/life.c -- a program that lives in a database on a real file system, for
 * scripts/real-faults to torment.
 *
 *     life write DIR ACK SECONDS   commits 1, 2, 3 ... until the time is over or one fails. Every eighth
 *                                  is durable; its number goes to the file ACK when it has returned.
 *                                  Commits 5, 21, 37 ... go in two phases: once prepared, their number
 *                                  goes to ACK, too, since they can no longer be lost
 *     life check DIR LEAST         opens; what is there must be the first c commits, LEAST at least
 *     life look DIR LEAST          the same, read-only
 *     life drain DIR               puts until the disk is full, deletes it all, merges, puts again
 *
 * Commit i writes i into slot i mod 997 of two families and into the counter. So after c commits slot s
 * holds the greatest i up to c with i = s (mod 997), and no model need be kept. What an open finds
 * prepared is the next commit, and is committed.
 *
 * Exit: 0 all right, 1 a broken promise, 3 a call failed (which may be what the caller is after), by a
 * signal never.
 */
#include "api/opendb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 997

static const char *const family[2] = {"default", "records"};

static int stopped(const char *what, odb_status st)
{
    fprintf(stderr, "%s: %s: %s\n", what, odb_status_name(st), odb_error_text());
    return 3;
}

static odb_options small_options(void)
{
    odb_options o = odb_options_default();

    o.memory_budget = 8 << 20;
    o.write_buffer_size = 128 << 10;
    o.target_file_size = 64 << 10;
    o.level_base_size = 128 << 10;
    o.log_segment_size = 256 << 10;
    return o;
}

static odb_slice slot_key(uint64_t slot, char *room)
{
    return odb_bytes(room, (size_t)snprintf(room, 32, "slot%04llu", (unsigned long long)slot));
}

static odb_slice slot_value(uint64_t i, int f, char *room)
{
    size_t n = (size_t)snprintf(room, 64, "%llu of %d ", (unsigned long long)i, f);
    size_t fill = (size_t)(i * 2654435761u % 900);

    for (size_t k = 0; k < fill; k++)
        room[n + k] = (char)(' ' + (i * 31 + k * 7) % 90);
    return odb_bytes(room, n + fill);
}

static odb_status read_count(odb_db *db, uint64_t *out)
{
    char text[32] = "";
    size_t size;
    odb_status st = odb_get_into(odb_now(db), NULL, odb_s("count"), text, sizeof text - 1, &size);

    *out = st == ODB_OK ? strtoull(text, NULL, 10) : 0;
    return st == ODB_ABSENT ? ODB_OK : st;
}

/* ---- write ---- */

static odb_status commit(odb_db *db, odb_cf **cf, odb_batch *b, uint64_t i)
{
    odb_write how = {.durability = i % 8 == 0 ? ODB_DURABLE_FULL : ODB_DURABLE_OS};
    char key[32], value[1024];
    odb_status st = ODB_OK;

    odb_batch_clear(b);
    for (int f = 0; f < 2 && st == ODB_OK; f++)
        st = odb_batch_put(b, cf[f], slot_key(i % SLOTS, key), slot_value(i, f, value));
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)i);
    if (st == ODB_OK)
        st = odb_batch_put(b, NULL, odb_s("count"), odb_s(key));
    return st == ODB_OK ? odb_commit(db, b, &how) : st;
}

/* The same in two phases: prepared, durable and told, then committed. */
static odb_status commit_twice(odb_db *db, odb_cf **cf, uint64_t i, int ack)
{
    odb_txn *t = NULL;
    char key[32], value[1024];
    odb_status st = odb_txn_begin(db, NULL, &t);

    for (int f = 0; f < 2 && st == ODB_OK; f++)
        st = odb_txn_put(t, cf[f], slot_key(i % SLOTS, key), slot_value(i, f, value));
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)i);
    if (st == ODB_OK)
        st = odb_txn_put(t, NULL, odb_s("count"), odb_s(key));
    if (st == ODB_OK)
        st = odb_txn_prepare(t, key, NULL);
    if (st == ODB_OK && pwrite(ack, &i, sizeof i, 0) != (ssize_t)sizeof i)
        st = ODB_IO;
    if (st == ODB_OK)
        st = odb_txn_commit(t, NULL);
    odb_txn_free(t);
    return st;
}

/* Commit what an earlier process prepared; read-only it stays, and *promised tells how many. */
static odb_status settle(odb_db *db, bool is_readonly, uint64_t *promised)
{
    odb_names names = {0};
    odb_status st = odb_txn_list_prepared(db, &names);

    *promised = 0;
    if (st != ODB_OK)
        return st;
    for (size_t i = 0; i < names.count && st == ODB_OK; i++) {
        odb_txn *t = NULL;

        ++*promised;
        if (is_readonly)
            continue;
        st = odb_txn_recover(db, names.name[i], &t);
        if (st == ODB_OK)
            st = odb_txn_commit(t, NULL);
        odb_txn_free(t);
    }
    odb_names_release(&names);
    return st;
}

static int write_life(const char *dir, const char *ack, double seconds)
{
    int fd = open(ack, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    odb_options o = small_options();
    odb_db *db = NULL;
    odb_cf *cf[2];
    odb_batch *b = NULL;
    time_t until = time(NULL) + (time_t)seconds;
    uint64_t i = 0, promised;
    odb_status st = fd < 0 ? ODB_IO : odb_open(dir, &o, &db);

    for (int f = 0; f < 2 && st == ODB_OK; f++)
        st = odb_cf_open(db, family[f], &cf[f]);
    if (st == ODB_OK)
        st = odb_batch_new(&b);
    if (st == ODB_OK)
        st = settle(db, false, &promised);
    if (st == ODB_OK)
        st = read_count(db, &i);
    while (st == ODB_OK && time(NULL) < until) {
        i++;
        st = i % 16 == 5 ? commit_twice(db, cf, i, fd) : commit(db, cf, b, i);
        if (st == ODB_OK && i % 8 == 0 && pwrite(fd, &i, sizeof i, 0) != (ssize_t)sizeof i)
            st = ODB_IO;
    }
    odb_batch_free(b);
    if (st != ODB_OK) {
        (void)stopped("a writer stopped", st);
        (void)odb_close(db);
        return 3;
    }
    st = odb_close(db);
    return st == ODB_OK ? 0 : stopped("closing", st);
}

/* ---- check ---- */

static int compare(odb_db *db, int f, uint64_t count)
{
    char key[32], value[1024];
    odb_range range = {.prefix = odb_s("slot")};
    odb_iter *it = NULL;
    odb_cf *cf;
    odb_status st = odb_cf_open(db, family[f], &cf);
    bool on;

    if (st == ODB_OK)
        st = odb_iter_new(odb_now(db), cf, &range, &it);
    if (st != ODB_OK)
        return stopped(family[f], st);
    on = odb_iter_first(it);
    for (uint64_t s = 0; s < SLOTS; s++) {
        uint64_t i = count >= s ? count - (count - s) % SLOTS : 0;

        if (i == 0)
            continue;
        if (!on || !odb_slice_equal(odb_iter_key(it), slot_key(s, key)) ||
            !odb_slice_equal(odb_iter_value(it), slot_value(i, f, value))) {
            printf("of %llu commits %s has not commit %llu in slot %llu (%s)\n",
                   (unsigned long long)count, family[f], (unsigned long long)i,
                   (unsigned long long)s, odb_status_name(odb_iter_status(it)));
            odb_iter_free(it);
            return 1;
        }
        on = odb_iter_next(it);
    }
    st = odb_iter_status(it);
    odb_iter_free(it);
    if (on || st != ODB_OK)
        printf("%s holds more than %llu commits wrote (%s)\n", family[f], (unsigned long long)count,
               odb_status_name(st));
    return on || st != ODB_OK;
}

static int check_life(const char *dir, uint64_t least, bool is_readonly)
{
    odb_options o = small_options();
    odb_db *db = NULL;
    uint64_t count, promised;
    int rc = 0;
    odb_status st;

    o.is_readonly = is_readonly;
    st = odb_open(dir, &o, &db);
    if (st != ODB_OK)
        return stopped("opening", st);
    st = settle(db, is_readonly, &promised);
    if (st == ODB_OK)
        st = read_count(db, &count);
    if (st == ODB_OK && is_readonly && least == count + 1 && promised == 1)
        least--; /* it is there, prepared */
    if (st == ODB_OK && (count < least || promised > 1)) {
        printf("%llu commits are there, %llu were durable\n", (unsigned long long)count,
               (unsigned long long)least);
        rc = 1;
    }
    for (int f = 0; f < 2 && st == ODB_OK && rc == 0; f++)
        rc = compare(db, f, count);
    if (st == ODB_OK && rc == 0)
        st = odb_verify(db, NULL, NULL);
    if (st != ODB_OK)
        rc = stopped("reading", st);
    if (rc == 0)
        printf("%llu commits, %llu were durable\n", (unsigned long long)count,
               (unsigned long long)least);
    (void)odb_close(db);
    return rc;
}

/* ---- drain ---- */

static odb_slice fill_key(uint64_t i, char *room)
{
    return odb_bytes(room, (size_t)snprintf(room, 32, "fill%08llu", (unsigned long long)i));
}

/* Where space that was reserved can still run out (copy on write), the log fails for good and the
 * database has to be opened again: ODB_OK when that was it, and the caller goes on. */
static odb_status reopen_if_unknown(const char *dir, const odb_options *o, odb_db **db,
                                    odb_status st, unsigned *times)
{
    if ((st != ODB_UNKNOWN && st != ODB_READONLY) || ++*times > 50)
        return st;
    (void)odb_close(*db);
    *db = NULL;
    return odb_open(dir, o, db);
}

static int drain_life(const char *dir)
{
    static char value[4000];
    odb_options o = small_options();
    odb_write full = {.durability = ODB_DURABLE_FULL};
    odb_db *db = NULL;
    uint64_t n = 0, refused = 0;
    unsigned times = 0;
    char key[32];
    odb_status st;

    for (size_t i = 0; i < sizeof value; i++)
        value[i] = (char)(i * 2654435761u >> 7);
    o.compression = ODB_COMPRESSION_NONE;
    st = odb_open(dir, &o, &db);
    if (st != ODB_OK)
        return stopped("opening", st);
    while (st == ODB_OK && n < 1000000) {
        st = odb_put(db, NULL, fill_key(n, key), odb_bytes(value, sizeof value), NULL);
        n += st == ODB_OK;
    }
    st = st == ODB_NOSPACE ? ODB_OK : reopen_if_unknown(dir, &o, &db, st, &times);
    if (st != ODB_OK) {
        (void)odb_close(db);
        return stopped("filling the disk", st) == 3;
    }
    for (uint64_t i = 0; i < n; i++) { /* it may take some, until a merge has made room */
        st = odb_delete(db, NULL, fill_key(i, key), i % 64 == 0 ? &full : NULL);
        if (st == ODB_NOSPACE && ++refused < 1000) {
            struct timespec nap = {0, 10000000};

            (void)nanosleep(&nap, NULL);
            i--;
        } else if (st != ODB_OK) {
            st = reopen_if_unknown(dir, &o, &db, st, &times);
            if (st != ODB_OK)
                break;
            i--;
        }
    }
    if (st == ODB_OK)
        st = odb_flush(db, NULL);
    if (st == ODB_OK)
        st = odb_compact(db, NULL, NULL, NULL, NULL);
    if (st == ODB_OK)
        st = odb_wait_idle(db); /* what is no longer needed is removed in the background */
    if (st == ODB_OK)
        st = odb_resume(db);
    for (uint64_t i = 0; i < n / 2 && st == ODB_OK; i++)
        st = odb_put(db, NULL, fill_key(i, key), odb_bytes(value, sizeof value), NULL);
    if (st == ODB_OK)
        st = odb_verify(db, NULL, NULL);
    if (st != ODB_OK) {
        (void)stopped("emptying the disk", st);
        (void)odb_close(db);
        return 1;
    }
    printf("%llu keys filled the disk, all were deleted, half written anew; %llu deletes waited, "
           "opened again %u times\n",
           (unsigned long long)n, (unsigned long long)refused, times);
    st = odb_close(db);
    return st == ODB_OK ? 0 : stopped("closing", st);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0)
        return write_life(argv[2], argv[3], strtod(argv[4], NULL));
    if (argc == 4 && (strcmp(argv[1], "check") == 0 || strcmp(argv[1], "look") == 0))
        return check_life(argv[2], strtoull(argv[3], NULL, 10), argv[1][0] == 'l');
    if (argc == 3 && strcmp(argv[1], "drain") == 0)
        return drain_life(argv[2]);
    fprintf(stderr,
            "usage: life write DIR ACK SECONDS | check DIR LEAST | look DIR LEAST | drain DIR\n");
    return 2;
}
