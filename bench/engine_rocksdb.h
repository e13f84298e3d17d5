/* bench/engine_rocksdb.h -- what the two adapters to RocksDB share. */
#ifndef BENCH_ENGINE_ROCKSDB_H
#define BENCH_ENGINE_ROCKSDB_H

#include "bench/engine.h"

#include <rocksdb/c.h>

/* Options as this run wants them; the caller destroys all three. */
void bench_rocksdb_options(const struct bench_settings *s, rocksdb_options_t **opt,
                           rocksdb_block_based_table_options_t **table, rocksdb_cache_t **cache);

/* Count a value as read, and give it back; NULL: there was none. */
bool bench_rocksdb_take(rocksdb_pinnableslice_t *v, uint64_t *bytes);

extern const struct bench_engine bench_rocksdb;

#endif
