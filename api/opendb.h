/* opendb.h -- an ordered key-value store inside your program. This header includes all others.
 *
 *     #include <opendb.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         odb_db *db = NULL;
 *         odb_value v;
 *         odb_status st = odb_open("hello.db", NULL, &db);
 *
 *         if (st == ODB_OK)
 *             st = odb_put(db, NULL, odb_s("greeting"), odb_s("hello, world"), NULL);
 *         if (st == ODB_OK)
 *             st = odb_get(odb_now(db), NULL, odb_s("greeting"), &v);
 *         if (st == ODB_OK) {
 *             printf("%.*s\n", (int)v.size, (const char *)v.data);
 *             odb_value_release(&v);
 *         } else {
 *             fprintf(stderr, "%s: %s\n", odb_status_text(st), odb_error_text());
 *         }
 *         (void)odb_close(db);
 *         return st != ODB_OK;
 *     }
 *
 *     cc hello.c $(pkg-config --cflags --libs opendb)
 *
 * Where to read on, in this order:
 *
 *     base/odb_types.h   slices, statuses, error texts
 *     api/odb_db.h       open, put, get, delete, families, snapshots, upkeep
 *     api/odb_batch.h    several writes that happen together or not at all
 *     api/odb_iter.h     walking keys in order
 *     api/odb_txn.h      transactions
 *     api/odb_options.h  tuning
 *     api/odb_stats.h    looking in
 *     api/odb_hooks.h    watching commits, for what is built on top
 *     api/odb_backend.h  another engine below the same calls
 *     api/odb_models.h   records, edges, vectors: what is built on these calls
 *
 * Rules that hold everywhere
 *
 *  - A call that can fail returns odb_status, and ODB_OK is 0. Whatever it hands out is written only
 *    on ODB_OK; after a failure odb_error_text() says, for this thread, what failed, where, and what
 *    to do. The expected answers ODB_ABSENT and ODB_AGAIN may leave that text as it was.
 *  - Slices given to a call are borrowed until it returns. Keys are at most 64 KiB, values at most
 *    1 GiB (ODB_TOO_LARGE); both may be empty.
 *  - NULL for a family means "default" where something is read or written, and all families in the
 *    upkeep calls. NULL for options and for `how` means the documented defaults.
 *  - A database handle may be used by any number of threads at once. A batch, an iterator or a
 *    transaction belongs to one thread at a time; a snapshot may be shared.
 *  - In a forked child every call on a handle of the parent gives ODB_FORKED and does nothing.
 *    Calls that free something are then silent no-ops.
 *  - The library keeps no global state, installs no signal handler, and never aborts the program.
 */
#ifndef OPENDB_H
#define OPENDB_H

#include "base/odb_types.h"
#include "api/odb_options.h"
#include "api/odb_db.h"
#include "api/odb_batch.h"
#include "api/odb_iter.h"
#include "api/odb_txn.h"
#include "api/odb_stats.h"
#include "api/odb_hooks.h"
#include "api/odb_backend.h"
#include "api/odb_models.h"

#endif
