/* api/odb_backend.h -- the storage trait: what an engine must do to stand below the public calls.
 *
 *     odb_put, odb_get, odb_iter_new, odb_commit, odb_txn_begin ...      handles, argument checks
 *     ------------------------------------------------------------ odb_backend_ops
 *     LSM tree          ordered map in memory         yours
 *
 *     odb_backend backend;
 *     odb_db *db;
 *
 *     st = odb_backend_memory(&backend);           // or odb_backend_lsm(dir, &opt, &backend)
 *     if (st == ODB_OK)
 *         st = odb_open_backend(backend, &db);     // odb_open() is odb_backend_lsm and this
 *
 * A program that only uses a database needs nothing of this but odb_backend_memory(), which is handy
 * in tests: it answers exactly as the LSM tree does, and forgets everything when it is closed.
 */
#ifndef ODB_BACKEND_H
#define ODB_BACKEND_H

#include "api/odb_batch.h"
#include "api/odb_hooks.h"
#include "api/odb_iter.h"
#include "api/odb_options.h"
#include "api/odb_stats.h"
#include "api/odb_txn.h"
#include "base/odb_guard.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct odb_backend {
    const struct odb_backend_ops *ops;
    void *self;
} odb_backend;

/* Open the LSM tree in `dir`. On ODB_OK *out is the caller's: give it to odb_open_backend() or end it
 * with out->ops->close(out->self). Statuses as odb_open. */
ODB_API ODB_MUST_CHECK odb_status odb_backend_lsm(const char *dir, const odb_options *opt,
                                                  odb_backend *out);

/* An empty ordered map with the seven families, as large as memory allows. ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_backend_memory(odb_backend *out);

/* A database handle over `backend`, which belongs to the handle on ODB_OK (odb_close() closes it)
 * and stays the caller's on any other status. ODB_INVALID (an entry every backend must have is
 * missing), ODB_NOMEM. */
ODB_API ODB_MUST_CHECK odb_status odb_open_backend(odb_backend backend, odb_db **out);

/* ==== for those who write a backend ==== */

/* What a backend calls a family: a pointer of its own, found once by name and then passed to every
 * call, and the number that stands for it in batches. Valid until close, also after a drop. The
 * number of "default" is 0. */
typedef struct odb_backend_cf {
    void *family;
    uint32_t id;
} odb_backend_cf;

/* The table of a backend. `size` comes first so that it can grow: an entry behind `size`, or NULL,
 * is one the backend does not have. Marked (*): every backend must have it; without another one the
 * call answers ODB_UNSUPPORTED, unless something else is said.
 *
 * The layer above has checked the arguments: pointers are there, keys and values are within their
 * limits, families belong to this backend and have not been dropped by an earlier call, and the
 * process is the one that opened it. Calls come from any thread at any time, close from one when no
 * other call runs. `snapshot` NULL means now. `how` is never NULL. An error text is set with
 * odb_error_set(). */
typedef struct odb_backend_ops {
    size_t size;      /* sizeof(odb_backend_ops) */
    const char *name; /* "lsm", "memory": for messages */

    /* (*) Everything a caller was given is released by now. Frees `self` on every outcome. */
    odb_status (*close)(void *self);

    /* ---- families ---- */
    odb_status (*cf_find)(void *self, const char *name, odb_backend_cf *out); /* (*) */
    odb_status (*cf_create)(void *self, const char *name,
                            const odb_cf_options *opt, /* may be NULL */
                            odb_backend_cf *out);
    odb_status (*cf_drop)(void *self, void *family);
    /* (*) The living, in order of creation, until `each` returns false. */
    void (*cf_each)(void *self, bool (*each)(void *arg, odb_backend_cf cf, const char *name),
                    void *arg);

    /* ---- points ---- */
    /* (*) Fills data, size and pin. */
    odb_status (*get)(void *self, void *family, void *snapshot, odb_slice key, odb_value *out);
    void (*value_release)(void *self, odb_value *v); /* (*) */
    /* Without the next three, get is used. */
    odb_status (*get_into)(void *self, void *family, void *snapshot, odb_slice key, void *buf,
                           size_t cap, size_t *size);
    odb_status (*exists)(void *self, void *family, void *snapshot, odb_slice key);
    odb_status (*multiget)(void *self, void *family, void *snapshot, const odb_slice *keys,
                           size_t n, odb_value *out, odb_status *each);

    /* ---- writes ---- */
    /* Without the first two, write_batch is used. */
    odb_status (*put)(void *self, void *family, odb_slice key, odb_slice value,
                      const odb_write *how);
    odb_status (*remove)(void *self, void *family, odb_slice key, const odb_write *how);
    /* (*) All or nothing; odb_batch_each() tells what. ODB_NO_FAMILY for an unknown number. */
    odb_status (*write_batch)(void *self, const odb_batch *b, const odb_write *how);

    /* ---- walks and moments ---- */
    /* (*) A walk; see odb_iter_ops. The range has been reduced to lower and upper. */
    odb_status (*scan)(void *self, void *family, void *snapshot, const odb_range *range,
                       odb_iter **out);
    odb_status (*snapshot_new)(void *self, void **out);
    void (*snapshot_free)(void *self, void *snapshot);

    /* ---- transactions: all three or none, and `sequence` with them ---- */
    /* A snapshot to read at, from which commits can be guarded. *moment NULL: a new one, released with
     * snapshot_free; else one that was made here moves to the present, without an allocation. On
     * failure *moment is as it was. */
    odb_status (*begin_transaction)(void *self, void **moment);
    /* Nobody reads at it until it is begun again (or freed): it keeps no old version alive. */
    void (*pause_transaction)(void *self, void *moment);
    /* write_batch, but only if what `guard` claims is kept: else ODB_CONFLICT, or ODB_TOO_OLD when
     * that can no longer be told. Check and writes are one step: no other write falls between. The
     * batch may be empty. From the moment a hold is in place until it is released, every other
     * commit that writes what it claims gets ODB_CONFLICT. */
    odb_status (*commit_transaction)(void *self, const odb_guard *guard, const odb_batch *b,
                                     const odb_write *how);

    /* ---- upkeep: without one of these the call does nothing and answers ODB_OK ---- */
    odb_status (*flush)(void *self, void *family); /* NULL: all */
    odb_status (*sync)(void *self);
    odb_status (*resume)(void *self);
    odb_status (*compact)(void *self, void *family, const odb_range *range, odb_progress *progress,
                          void *arg);
    odb_status (*wait_idle)(void *self);
    odb_status (*verify)(void *self, odb_progress *progress, void *arg);
    bool (*work)(void *self);

    /* ---- looking in ---- */
    /* Add to `out`, which has its full size here; `family` NULL: all of them. */
    odb_status (*stats)(void *self, void *family, odb_stats_t *out);
    odb_status (*tables)(void *self, void *family, void (*each)(void *arg, const odb_table *table),
                         void *arg);
    odb_status (*size_of_range)(void *self, void *family, const odb_range *range, uint64_t *out);

    /* ---- for what is built on top: see api/odb_hooks.h ---- */
    /* The number of the newest commit seen at a moment. */
    uint64_t (*sequence)(void *self, void *snapshot);
    /* Call `fn` for every commit numbered above *since, in the place of who was called before; NULL:
     * nobody. On return the one before is not inside a call, nor will be. */
    odb_status (*observe)(void *self, odb_observer *fn, void *arg, uint64_t *since);
} odb_backend_ops;

/* The moves of a walk. Each sets key, value, is_valid and status of the head below, and returns
 * is_valid. next and prev are called only while is_valid. */
typedef struct odb_iter_ops {
    size_t size; /* sizeof(odb_iter_ops) */
    bool (*first)(odb_iter *it);
    bool (*last)(odb_iter *it);
    bool (*seek)(odb_iter *it, odb_slice key);
    bool (*seek_for_prev)(odb_iter *it, odb_slice key);
    bool (*next)(odb_iter *it);
    bool (*prev)(odb_iter *it);
    /* NULL: ODB_UNSUPPORTED. On any status the iterator can still be positioned and freed. */
    odb_status (*refresh)(odb_iter *it, void *snapshot);
    void (*free)(odb_iter *it);
} odb_iter_ops;

/* The head of every iterator: the backend allocates it, with its own fields behind. Programs use the
 * calls of api/odb_iter.h. */
struct odb_iter {
    const odb_iter_ops *ops; /* set by the backend */
    odb_db *db;              /* set by the layer above */
    odb_slice key;
    odb_slice value;
    odb_status status;
    bool is_valid;
};

/* Set this thread's error text, as odb_error_text() will give it, and return `st`. */
ODB_API odb_status odb_error_set(odb_status st, const char *text);

#ifdef __cplusplus
}
#endif
#endif
