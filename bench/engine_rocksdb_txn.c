/* bench/engine_rocksdb_txn.c -- RocksDB's two kinds of transactional databases, through its C interface.
 *
 * They are databases of a class of their own, so each is an engine of its own here: "rocksdb-occ" is an
 * OptimisticTransactionDB, "rocksdb-txn" a TransactionDB, whose plain writes lock, too. Made to fill and
 * to transact; other workloads are measured with "rocksdb". Handles are reused, and reads are
 * GetForUpdate, as RocksDB's own randomtransaction does it.
 */
#include "bench/engine_rocksdb.h"

#include <stdlib.h>

struct store {
    rocksdb_options_t *opt;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_optimistictransactiondb_t *occ;
    rocksdb_t *base; /* of `occ` */
    rocksdb_transactiondb_t *locks;
    bool sync;
};

struct session {
    struct store *store;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_writebatch_t *batch;
    rocksdb_optimistictransaction_options_t *occ_opt;
    rocksdb_transaction_options_t *locks_opt;
    rocksdb_transaction_t *txn; /* NULL until the first */
};

static void must(char *err)
{
    if (err)
        bench_die("rocksdb: %s", err);
}

static void *open_kind(const struct bench_settings *s, const char *dir, bool locks)
{
    struct store *store = bench_zalloc(sizeof *store);
    char *err = NULL;

    if (s->families != 1)
        bench_die("rocksdb: the transactional databases are measured with one family");
    store->sync = s->sync;
    bench_rocksdb_options(s, &store->opt, &store->table, &store->cache);
    if (locks) {
        rocksdb_transactiondb_options_t *opt = rocksdb_transactiondb_options_create();

        store->locks = rocksdb_transactiondb_open(store->opt, opt, dir, &err);
        rocksdb_transactiondb_options_destroy(opt);
    } else {
        store->occ = rocksdb_optimistictransactiondb_open(store->opt, dir, &err);
    }
    must(err);
    if (store->occ)
        store->base = rocksdb_optimistictransactiondb_get_base_db(store->occ);
    return store;
}

static void *open_occ(const struct bench_settings *s, const char *dir)
{
    return open_kind(s, dir, false);
}

static void *open_locks(const struct bench_settings *s, const char *dir)
{
    return open_kind(s, dir, true);
}

static void close_store(void *db)
{
    struct store *store = db;

    if (store->locks) {
        rocksdb_transactiondb_close(store->locks);
    } else {
        rocksdb_optimistictransactiondb_close_base_db(store->base);
        rocksdb_optimistictransactiondb_close(store->occ);
    }
    rocksdb_options_destroy(store->opt);
    rocksdb_block_based_options_destroy(store->table);
    rocksdb_cache_destroy(store->cache);
    free(store);
}

static void *session_new(void *db)
{
    struct session *s = bench_zalloc(sizeof *s);

    s->store = db;
    s->read = rocksdb_readoptions_create();
    s->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write, s->store->sync);
    s->batch = rocksdb_writebatch_create();
    s->occ_opt = rocksdb_optimistictransaction_options_create();
    s->locks_opt = rocksdb_transaction_options_create();
    return s;
}

static void session_free(void *session)
{
    struct session *s = session;

    if (s->txn)
        rocksdb_transaction_destroy(s->txn);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_writeoptions_destroy(s->write);
    rocksdb_writebatch_destroy(s->batch);
    rocksdb_optimistictransaction_options_destroy(s->occ_opt);
    rocksdb_transaction_options_destroy(s->locks_opt);
    free(s);
}

static void batch_put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;

    (void)family;
    rocksdb_writebatch_put(s->batch, key.data, key.size, value.data, value.size);
}

static void batch_commit(void *session)
{
    struct session *s = session;
    char *err = NULL;

    if (s->store->locks)
        rocksdb_transactiondb_write(s->store->locks, s->write, s->batch, &err);
    else
        rocksdb_write(s->store->base, s->write, s->batch, &err);
    must(err);
    rocksdb_writebatch_clear(s->batch);
}

static void put(void *session, uint32_t family, odb_slice key, odb_slice value)
{
    struct session *s = session;
    char *err = NULL;

    (void)family;
    if (s->store->locks)
        rocksdb_transactiondb_put(s->store->locks, s->write, key.data, key.size, value.data,
                                  value.size, &err);
    else
        rocksdb_put(s->store->base, s->write, key.data, key.size, value.data, value.size, &err);
    must(err);
}

static bool get(void *session, uint32_t family, odb_slice key, uint64_t *bytes)
{
    struct session *s = session;
    rocksdb_pinnableslice_t *v;
    char *err = NULL;

    (void)family;
    v = s->store->locks
            ? rocksdb_transactiondb_get_pinned(s->store->locks, s->read, key.data, key.size, &err)
            : rocksdb_get_pinned(s->store->base, s->read, key.data, key.size, &err);
    must(err);
    return bench_rocksdb_take(v, bytes);
}

/* Read a key within the transaction, so that nobody else changes it before the commit. */
static void get_for_update(struct session *s, odb_slice key, uint64_t *bytes, char **err)
{
#ifdef BENCH_ROCKSDB_PIN_UPDATE
    (void)bench_rocksdb_take(
        rocksdb_transaction_get_pinned_for_update(s->txn, s->read, key.data, key.size, 1, err),
        bytes);
#else
    size_t size;
    char *old =
        rocksdb_transaction_get_for_update(s->txn, s->read, key.data, key.size, &size, 1, err);

    if (old) {
        bench_touch(bytes, old, size);
        rocksdb_free(old);
    }
#endif
}

/* Somebody else was faster, or had the lock: true, and `err` is freed. */
static bool is_conflict(char *err)
{
    if (strncmp(err, "Resource busy", 13) != 0 && strncmp(err, "Operation timed out", 19) != 0 &&
        strncmp(err, "Operation failed. Try again.", 28) != 0)
        return false;
    rocksdb_free(err);
    return true;
}

static bool transact(void *session, uint32_t family, const odb_slice *keys, size_t n,
                     odb_slice value, bool reads, bool locks, uint64_t *bytes)
{
    struct session *s = session;
    char *err = NULL;

    (void)family;
    if (locks != (s->store->locks != NULL))
        bench_die("rocksdb: %s", locks ? "rocksdb-occ has no locks; take rocksdb-txn"
                                       : "rocksdb-txn has nothing but locks; take rocksdb-occ");
    s->txn = locks
                 ? rocksdb_transaction_begin(s->store->locks, s->write, s->locks_opt, s->txn)
                 : rocksdb_optimistictransaction_begin(s->store->occ, s->write, s->occ_opt, s->txn);
    for (size_t i = 0; i < n && !err; i++) {
        if (reads)
            get_for_update(s, keys[i], bytes, &err);
        if (!err)
            rocksdb_transaction_put(s->txn, keys[i].data, keys[i].size, value.data, value.size,
                                    &err);
    }
    if (!err)
        rocksdb_transaction_commit(s->txn, &err);
    if (!err)
        return true;
    if (!is_conflict(err))
        must(err);
    err = NULL;
    rocksdb_transaction_rollback(s->txn, &err);
    must(err);
    return false;
}

static void flush(void *db)
{
    struct store *store = db;
    rocksdb_flushoptions_t *opt = rocksdb_flushoptions_create();
    char *err = NULL;

    rocksdb_flushoptions_set_wait(opt, 1);
    if (store->locks)
        rocksdb_transactiondb_flush(store->locks, opt, &err);
    else
        rocksdb_flush(store->base, opt, &err);
    must(err);
    rocksdb_flushoptions_destroy(opt);
}

/* ---- what is measured elsewhere ---- */

static _Noreturn void elsewhere(void)
{
    bench_die("rocksdb: this workload is measured with the engine \"rocksdb\"");
}

static void remove_key(void *session, uint32_t family, odb_slice key)
{
    (void)session;
    (void)family;
    (void)key;
    elsewhere();
}

static uint64_t scan(void *session, uint32_t family, bool forward, uint64_t limit, uint64_t *bytes)
{
    (void)session;
    (void)family;
    (void)forward;
    (void)limit;
    (void)bytes;
    elsewhere();
}

static uint64_t seek(void *session, uint32_t family, odb_slice key, uint64_t nexts, uint64_t *bytes)
{
    (void)session;
    (void)family;
    (void)key;
    (void)nexts;
    (void)bytes;
    elsewhere();
}

static void describe(char *text, size_t cap, char *warning, size_t warning_cap)
{
    bench_rocksdb.describe(text, cap, warning, warning_cap);
}

static void parity(const struct bench_settings *s, struct bench_parity *out)
{
    bench_rocksdb.parity(s, out);
}

#define COMMON                                                                                     \
    .describe = describe, .parity = parity, .close = close_store, .session_new = session_new,      \
    .session_free = session_free, .put = put, .remove = remove_key, .batch_put = batch_put,        \
    .batch_commit = batch_commit, .transact = transact, .get = get, .scan = scan, .seek = seek,    \
    .flush = flush

const struct bench_engine bench_rocksdb_occ = {
    .name = "rocksdb-occ",
    .help = "RocksDB's OptimisticTransactionDB, for transactions",
    .open = open_occ,
    COMMON,
};

const struct bench_engine bench_rocksdb_txn = {
    .name = "rocksdb-txn",
    .help = "RocksDB's TransactionDB, for transactions with locks",
    .open = open_locks,
    COMMON,
};
