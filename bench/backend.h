/* bench/backend.h -- other engines below the public calls: plug-ins of the storage trait.
 *
 *     odb_backend backend;
 *
 *     st = odb_backend_rocksdb("dir", NULL, &backend);
 *     if (st == ODB_OK)
 *         st = odb_open_backend(backend, &db);
 *
 * Each is a module of its own beside the library, which knows nothing of them: odb-backend-NAME.so with
 * the one function odb_backend_NAME. `odb --backend=NAME` loads it by that name. They pass the suite every
 * backend must pass (tests/api/test_backend.c). Neither has transactions: what those check against, these
 * engines do not tell through their C interfaces.
 *
 *     rocksdb    families, snapshots, batches and iterators are its own
 *     lmdb       a B-tree; keys up to 510 bytes; values are copied out of the map when they are read
 */
#ifndef BENCH_BACKEND_H
#define BENCH_BACKEND_H

#include "api/odb_backend.h"

/* As odb_backend_lsm: on ODB_OK *out is the caller's. Options an engine has nothing like are ignored. */
typedef odb_status odb_backend_opener(const char *dir, const odb_options *opt, odb_backend *out);

ODB_API ODB_MUST_CHECK odb_backend_opener odb_backend_rocksdb;
ODB_API ODB_MUST_CHECK odb_backend_opener odb_backend_lmdb;

#endif
