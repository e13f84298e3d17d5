/* bench/engines.c -- the engines this program was built with, and how they give up. */
#include "bench/engine.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct bench_engine bench_opendb, bench_memory;
#ifdef BENCH_ROCKSDB
extern const struct bench_engine bench_rocksdb, bench_rocksdb_best, bench_rocksdb_occ,
    bench_rocksdb_txn;
#endif
#ifdef BENCH_LEVELDB
extern const struct bench_engine bench_leveldb;
#endif
#ifdef BENCH_LMDB
extern const struct bench_engine bench_lmdb;
#endif
#ifdef BENCH_SQLITE
extern const struct bench_engine bench_sqlite;
#endif
#ifdef BENCH_WIREDTIGER
extern const struct bench_engine bench_wiredtiger;
#endif

const struct bench_engine *const bench_engines[] = {
    &bench_opendb,
    &bench_memory,
#ifdef BENCH_ROCKSDB
    &bench_rocksdb,
    &bench_rocksdb_best,
    &bench_rocksdb_occ,
    &bench_rocksdb_txn,
#endif
#ifdef BENCH_LEVELDB
    &bench_leveldb,
#endif
#ifdef BENCH_LMDB
    &bench_lmdb,
#endif
#ifdef BENCH_SQLITE
    &bench_sqlite,
#endif
#ifdef BENCH_WIREDTIGER
    &bench_wiredtiger,
#endif
    NULL,
};

const struct bench_engine *bench_engine_find(const char *name, size_t len)
{
    for (size_t i = 0; bench_engines[i]; i++)
        if (strlen(bench_engines[i]->name) == len && memcmp(bench_engines[i]->name, name, len) == 0)
            return bench_engines[i];
    return NULL;
}

void bench_die(const char *format, ...)
{
    va_list args;

    (void)fflush(stdout);
    (void)fputs("odb-bench: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    _exit(1); /* other threads may be inside a library: no destructors under them */
}

void *bench_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);

    if (!p)
        bench_die("out of memory for %zu bytes", size);
    return p;
}

void *bench_zalloc(size_t size)
{
    return memset(bench_alloc(size), 0, size);
}

uint64_t bench_multiget(const struct bench_engine *e, void *session, uint32_t family,
                        const odb_slice *keys, size_t n, uint64_t *bytes)
{
    uint64_t found = 0;

    if (e->multiget)
        return e->multiget(session, family, keys, n, bytes);
    for (size_t i = 0; i < n; i++)
        found += e->get(session, family, keys[i], bytes);
    return found;
}
