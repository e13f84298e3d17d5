/* tests/reliability/meta.h -- one list of operations, many engines: what the parts of `metamorphic` share.
 *
 *     meta_list.c    the operations as data: made by chance, written to a text file, read from one
 *     meta_model.c   what every operation has to answer, told by a model that shares no code with the engine
 *     meta_run.c     the same operations on a real database, opened with one set of options
 *     metamorphic.c  compares the answers step by step, and shrinks what differs
 *
 * Any part of a list is a list: an operation on an iterator, snapshot or transaction that is not there
 * answers that it is not there, and so does its model. That is what makes shrinking possible.
 */
#ifndef TEST_RELIABILITY_META_H
#define TEST_RELIABILITY_META_H

#include <stdio.h>

#include "api/opendb.h"
#include "base/hash.h"

#define META_FAMILIES  5
#define META_SNAPSHOTS 4
#define META_ITERS     4
#define META_TXNS      4
#define META_STEPS_MAX 15000 /* so few writes that no transaction is ever too old */
#define META_KEYS_MAX  6000
#define META_POOL      ((size_t)1 << 17) /* values are pieces of one random text */
#define META_VALUE_MAX 40000
#define META_SAVES     8
#define META_INTO_MAX  256 /* room for get_into */
#define META_MANY_MAX  128 /* keys of a multiget */

/* Where a read looks: 0 now, 1.. a snapshot, META_AT_TXN.. a transaction. */
#define META_AT_TXN (1 + META_SNAPSHOTS)

/* name, fields of its line in a text file:
 *   f family  k key  v value (length@place in the pool)  d durability  a moment  s slot
 *   l lower  u upper (- none)  p prefix (- none)  n number  g flags  m keys */
#define META_KINDS(X)                                                                              \
    X(put, "fkvd")                                                                                 \
    X(delete, "fkd")                                                                               \
    X(batch_put, "fkv")                                                                            \
    X(batch_delete, "fk")                                                                          \
    X(batch_commit, "d")                                                                           \
    X(batch_clear, "")                                                                             \
    X(get, "afk")                                                                                  \
    X(get_into, "afkn")                                                                            \
    X(exists, "afk")                                                                               \
    X(multiget, "afm")                                                                             \
    X(scan, "af")                                                                                  \
    X(iter_new, "safglup")                                                                         \
    X(iter_free, "s")                                                                              \
    X(iter_first, "s")                                                                             \
    X(iter_last, "s")                                                                              \
    X(iter_seek, "sk")                                                                             \
    X(iter_seek_for_prev, "sk")                                                                    \
    X(iter_walk, "sn")                                                                             \
    X(iter_walk_back, "sn")                                                                        \
    X(iter_zigzag, "sng")                                                                          \
    X(iter_refresh, "sa")                                                                          \
    X(snapshot_new, "s")                                                                           \
    X(snapshot_free, "s")                                                                          \
    X(cf_create, "f")                                                                              \
    X(cf_drop, "f")                                                                                \
    X(cf_list, "")                                                                                 \
    X(flush, "f")                                                                                  \
    X(flush_all, "")                                                                               \
    X(compact, "flu")                                                                              \
    X(sync, "")                                                                                    \
    X(wait_idle, "")                                                                               \
    X(verify, "")                                                                                  \
    X(reopen, "")                                                                                  \
    X(txn_begin, "sg")                                                                             \
    X(txn_put, "sfkv")                                                                             \
    X(txn_delete, "sfk")                                                                           \
    X(txn_get_for_update, "sfk")                                                                   \
    X(txn_claim, "sflu")                                                                           \
    X(txn_save, "s")                                                                               \
    X(txn_rollback_to, "sn")                                                                       \
    X(txn_release, "sn")                                                                           \
    X(txn_commit, "sd")                                                                            \
    X(txn_rollback, "s")                                                                           \
    X(txn_reset, "s")                                                                              \
    X(txn_free, "s")

enum meta_kind {
#define META_ENUM(name, fields) META_##name,
    META_KINDS(META_ENUM)
#undef META_ENUM
        META_KIND_COUNT
};

/* flags of iter_new and txn_begin */
#define META_KEYS_ONLY    1
#define META_LONG         2
#define META_SERIALIZABLE 1
#define META_PESSIMISTIC  2

/* features a list may use; a backend that lacks one is not given it */
#define META_USES_TXN 1u

struct meta_op {
    uint8_t kind; /* enum meta_kind */
    uint8_t family, at, slot, flags, durability;
    int32_t key, lower, upper, prefix; /* numbers of keys; -1: none */
    uint32_t len, off;                 /* value: a piece of the pool; multiget: where in `many` */
    uint32_t n;
};

struct meta_list {
    struct meta_op *op;
    size_t count, cap;
    unsigned uses;
    odb_slice *key; /* sorted by bytes; number of a key: its place here */
    uint64_t *key_hash;
    int32_t key_count;
    int32_t *many; /* the keys of all multigets */
    size_t many_count, many_cap;
};

extern const char *const meta_kind_name[META_KIND_COUNT];
extern const char *const meta_kind_fields[META_KIND_COUNT];
extern const char *const meta_family_name[META_FAMILIES];
/* Values: META_POOL bytes that look like text and compress to about half. */
const uint8_t *meta_pool(void);

/* A list of at most `steps` operations that depends on nothing but `seed`. Memory comes or the process ends:
 * so everywhere here. */
void meta_list_make(struct meta_list *l, uint64_t seed, size_t steps);
void meta_list_release(struct meta_list *l);
/* The operations `keep` chooses, over the same keys, which must outlive it: not to be released but freed. */
void meta_list_part(const struct meta_list *l, const bool *keep, struct meta_list *out);
void meta_list_write(const struct meta_list *l, FILE *to);
void meta_op_write(const struct meta_list *l, const struct meta_op *op, FILE *to);
/* Reads operations from the lines of `from` on, up to its end; lines that begin with '#' are skipped, those
 * that begin with "options " are put into `options`. False: complained about on stdout. */
bool meta_list_read(struct meta_list *l, FILE *from, char *options, size_t options_size);

/* ---- answers ---- */

/* Everything a step tells, folded into one number; with `text` also spelled out. */
struct meta_answer {
    uint64_t h;
    FILE *text;
};

static inline void answer_word(struct meta_answer *a, const char *what, uint64_t word)
{
    a->h = hash_mix(a->h, word);
    if (a->text)
        (void)fprintf(a->text, " %s=%llu", what, (unsigned long long)word);
}

static inline void answer_status(struct meta_answer *a, odb_status st)
{
    a->h = hash_mix(a->h, (uint64_t)st);
    if (a->text)
        (void)fprintf(a->text, " %s", odb_status_name(st));
}

void answer_spell(FILE *to, odb_slice bytes);

static inline void answer_hashed(struct meta_answer *a, odb_slice bytes, uint64_t hash)
{
    a->h = hash_mix(hash_mix(a->h, hash), bytes.size);
    if (a->text)
        answer_spell(a->text, bytes);
}

static inline void answer_bytes(struct meta_answer *a, odb_slice bytes)
{
    answer_hashed(a, bytes, hash64(bytes.data, bytes.size));
}

#define ANSWER_NOT_THERE 0x6e6f6e65u

/* ---- the model ---- */

struct meta_model;
struct meta_model *meta_model_new(const struct meta_list *l);
void meta_model_free(struct meta_model *m);
void meta_model_step(struct meta_model *m, const struct meta_op *op, struct meta_answer *a);

/* ---- engines ---- */

enum meta_backend { META_LSM, META_MEMORY, META_ROCKSDB };

struct meta_set {
    char name[48];
    enum meta_backend backend;
    odb_options opt;
    uint32_t work_every;  /* steps between calls of odb_work; 0: never */
    bool no_ring;         /* as on a file system that cannot have one */
    bool looks_readonly;  /* every reopening opens read-only first */
    bool family_options;  /* new families get options of their own */
    uint32_t stall_every; /* steps between odb_wait_idle; 0: never */
};

/* The fixed ones, in order; false behind the last. RocksDB's come last, and only where it is built in. */
bool meta_set_fixed(size_t i, struct meta_set *out);
/* One by chance, a function of `seed`. */
void meta_set_random(uint64_t seed, struct meta_set *out);
void meta_set_write(const struct meta_set *set, FILE *to);
/* The other way round; false: not understood. */
bool meta_set_read(const char *line, struct meta_set *out);
/* A field back at its default; false behind the last field. `*changed`: it was not. */
bool meta_set_reset(struct meta_set *set, size_t field, bool *changed);

struct meta_world;
/* A database in `dir`, which is empty. NULL: the text says why on stdout. */
struct meta_world *meta_world_open(const struct meta_list *l, const struct meta_set *set,
                                   const char *dir);
/* Answers an error of closing; the world is gone in any case. */
odb_status meta_world_close(struct meta_world *w);
void meta_world_step(struct meta_world *w, const struct meta_op *op, struct meta_answer *a);

#endif
