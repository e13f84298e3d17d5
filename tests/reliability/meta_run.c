/* tests/reliability/meta_run.c -- the operations on a real database, and the ways to open one.
 *
 * Every step does what its model does (meta_model.c) and folds the same things into its answer, in the same
 * order. Nothing else may differ: not by size of buffers, threads, kind of backend, or the time of day.
 */
#include "tests/reliability/meta.h"

#include <stdlib.h>

#include "api/odb_backend.h"
#include "os/os_ops.h"
#ifdef META_WITH_ROCKSDB
#include "bench/backend.h"
#endif

struct meta_world {
    const struct meta_list *l;
    const struct meta_set *set;
    const char *dir;
    odb_db *db;
    odb_cf *cf[META_FAMILIES]; /* NULL: not made yet */
    odb_snapshot *snapshot[META_SNAPSHOTS];
    odb_iter *iter[META_ITERS];
    bool keys_only[META_ITERS];
    odb_txn *txn[META_TXNS];
    uint8_t txn_flags[META_TXNS];
    uint32_t saves[META_TXNS];
    odb_batch *batch;
    uint64_t steps;
};

/* ---- a machine without a commit ring ----
 *
 * The program is linked with --wrap=os_posix: whoever asks for the machine gets the real one, or a copy of its
 * table in which rings are refused. */

struct os *__real_os_posix(void);
struct os *__wrap_os_posix(void);

static bool ring_is_refused;

static odb_status refuse_ring(struct os_dir *dir, const char *name, size_t size,
                              struct os_ring **out)
{
    (void)dir;
    (void)size;
    (void)out;
    return err_set(ODB_UNSUPPORTED, "%s: no ring, by order of the test", name);
}

struct os *__wrap_os_posix(void)
{
    static struct os_ops ops;
    static struct os ringless = {&ops};
    struct os *real = __real_os_posix();

    if (!ring_is_refused)
        return real;
    if (!ops.open) {
        ops = *real->ops;
        ops.ring_open = refuse_ring;
    }
    return &ringless;
}

/* ---- sets of options ---- */

#define KB (1u << 10)
#define MB (1u << 20)

/* The fields that matter, once: for reading, writing and taking back. */
#define SET_FIELDS(X)                                                                              \
    X(opt.memory_budget)                                                                           \
    X(opt.durability)                                                                              \
    X(opt.no_threads)                                                                              \
    X(opt.background_jobs)                                                                         \
    X(opt.write_buffer_size)                                                                       \
    X(opt.write_buffers)                                                                           \
    X(opt.l0_trigger)                                                                              \
    X(opt.target_file_size)                                                                        \
    X(opt.level_base_size)                                                                         \
    X(opt.level_multiplier)                                                                        \
    X(opt.block_size)                                                                              \
    X(opt.compression)                                                                             \
    X(opt.lz4_acceleration)                                                                        \
    X(opt.filter_bits)                                                                             \
    X(opt.merge_split)                                                                             \
    X(opt.no_auto_compact)                                                                         \
    X(opt.cache_size)                                                                              \
    X(opt.open_tables)                                                                             \
    X(opt.ring_size)                                                                               \
    X(opt.log_segment_size)                                                                        \
    X(opt.log_limit)                                                                               \
    X(opt.disk_reserve)                                                                            \
    X(backend)                                                                                     \
    X(work_every)                                                                                  \
    X(no_ring)                                                                                     \
    X(looks_readonly)                                                                              \
    X(family_options)                                                                              \
    X(stall_every)

#define FIELD_NAME(field) #field,
static const char *const field_name[] = {SET_FIELDS(FIELD_NAME)};
#define FIELD_COUNT (sizeof field_name / sizeof field_name[0])

static long long field_get(const struct meta_set *s, size_t i)
{
    const long long value[] = {
#define FIELD_VALUE(field) (long long)s->field,
        SET_FIELDS(FIELD_VALUE)};

    return value[i];
}

/* The types differ: an assignment converts. */
#define FIELD_SET(field)                                                                           \
    if (i == n++)                                                                                  \
        s->field = (__typeof__(s->field))value;
static void field_set(struct meta_set *s, size_t i, long long value)
{
    size_t n = 0;

    SET_FIELDS(FIELD_SET)
}

/* Small enough that a list of some thousand steps reaches every level. */
static const struct meta_set usual = {
    .name = "usual",
    .opt = {.size = sizeof(odb_options),
            .write_buffer_size = 128 * KB,
            .target_file_size = 64 * KB,
            .level_base_size = 128 * KB,
            .log_segment_size = 256 * KB,
            .cache_size = MB,
            .disk_reserve = 1},
};

static const struct {
    const char *name;
    const char *changes; /* of the usual ones */
} fixed_sets[] = {
    {"usual", ""},
    {"as shipped", "opt.write_buffer_size=0 opt.target_file_size=0 opt.level_base_size=0 "
                   "opt.log_segment_size=0 opt.cache_size=0 opt.disk_reserve=0"},
    {"in memory", "backend=1"},
    {"all small",
     "opt.write_buffer_size=65536 opt.target_file_size=16384 opt.level_base_size=16384 "
     "opt.level_multiplier=2 opt.block_size=512 opt.cache_size=1 opt.ring_size=65536 "
     "opt.log_segment_size=65536 opt.open_tables=8"},
    {"no LZ4", "opt.compression=1"},
    {"no filter", "opt.filter_bits=-1"},
    {"one filter bit", "opt.filter_bits=1"},
    {"64 filter bits", "opt.filter_bits=64"},
    {"blocks of 512", "opt.block_size=512"},
    {"blocks of 64 KiB", "opt.block_size=65536"},
    {"blocks of 1 MiB", "opt.block_size=1048576 opt.target_file_size=4194304"},
    {"no cache", "opt.cache_size=1"},
    {"no threads, often", "opt.no_threads=1 work_every=1"},
    {"no threads, seldom", "opt.no_threads=1 work_every=3000"},
    {"no threads, never", "opt.no_threads=1"},
    {"one thread", "opt.background_jobs=1"},
    {"eight threads", "opt.background_jobs=8 opt.merge_split=8 opt.target_file_size=16384"},
    {"level 0 of one", "opt.l0_trigger=1 opt.write_buffer_size=65536"},
    {"level 0 of many", "opt.l0_trigger=40 opt.write_buffer_size=65536"},
    {"no merges", "opt.no_auto_compact=1 opt.write_buffer_size=65536"},
    {"many levels", "opt.level_base_size=16384 opt.level_multiplier=2 opt.target_file_size=16384 "
                    "opt.write_buffer_size=65536"},
    {"two buffers", "opt.write_buffers=2 opt.write_buffer_size=65536"},
    {"large buffer", "opt.write_buffer_size=67108864"},
    {"no ring", "no_ring=1"},
    {"small ring and log", "opt.ring_size=65536 opt.log_segment_size=65536 opt.log_limit=65536"},
    {"all synced", "opt.durability=3"},
    {"few descriptors", "opt.open_tables=8 opt.target_file_size=16384"},
    {"looks read-only", "looks_readonly=1"},
    {"families of their own", "family_options=1"},
    {"fast LZ4, no reserve, always idle",
     "opt.lz4_acceleration=64 opt.disk_reserve=0 stall_every=50 "
     "opt.write_buffer_size=65536"},
    {"budget of 1 MiB", "opt.memory_budget=1048576 opt.write_buffer_size=0 opt.target_file_size=0 "
                        "opt.level_base_size=0 opt.log_segment_size=0 opt.cache_size=0"},
#ifdef META_WITH_ROCKSDB
    {"RocksDB", "backend=2"},
    {"RocksDB, all small", "backend=2 opt.write_buffer_size=65536 opt.target_file_size=16384 "
                           "opt.level_base_size=16384 opt.block_size=512 opt.cache_size=1"},
#endif
};

static bool set_change(struct meta_set *out, const char *changes)
{
    char name[48];
    long long value;
    int used;

    while (sscanf(changes, " %47[a-z0-9_.]=%lld%n", name, &value, &used) == 2) {
        size_t i = 0;

        while (i < FIELD_COUNT && strcmp(name, field_name[i]) != 0)
            i++;
        if (i == FIELD_COUNT)
            return false;
        field_set(out, i, value);
        changes += used;
    }
    return changes[strspn(changes, " \n")] == 0;
}

bool meta_set_fixed(size_t i, struct meta_set *out)
{
    if (i >= sizeof fixed_sets / sizeof fixed_sets[0])
        return false;
    *out = usual;
    (void)snprintf(out->name, sizeof out->name, "%s", fixed_sets[i].name);
    if (!set_change(out, fixed_sets[i].changes))
        abort();
    return true;
}

void meta_set_random(uint64_t seed, struct meta_set *out)
{
    static const struct {
        const char *name;
        long long from[6];
    } choice[] = {
        {"opt.write_buffer_size", {65536, 65536, 100000, 200000, 500000, 4 << 20}},
        {"opt.write_buffers", {2, 3, 4, 5, 8, 64}},
        {"opt.l0_trigger", {1, 2, 3, 4, 8, 20}},
        {"opt.target_file_size", {16384, 16384, 30000, 65536, 200000, 1 << 20}},
        {"opt.level_base_size", {16384, 16384, 40000, 100000, 300000, 1 << 20}},
        {"opt.level_multiplier", {2, 2, 3, 4, 10, 100}},
        {"opt.block_size", {512, 700, 1024, 4096, 16384, 200000}},
        {"opt.compression", {0, 0, 0, 1, 1, 1}},
        {"opt.lz4_acceleration", {1, 1, 2, 8, 33, 64}},
        {"opt.filter_bits", {-1, 1, 5, 10, 20, 64}},
        {"opt.merge_split", {1, 1, 2, 3, 4, 8}},
        {"opt.cache_size", {1, 1, 16384, 65536, 300000, 8 << 20}},
        {"opt.open_tables", {8, 8, 12, 30, 100, 512}},
        {"opt.ring_size", {65536, 65536, 65536, 131072, 524288, 1 << 20}},
        {"opt.log_segment_size", {65536, 65536, 100000, 300000, 1 << 20, 4 << 20}},
        {"opt.log_limit", {65536, 200000, 500000, 1 << 20, 8 << 20, 1 << 30}},
        {"opt.background_jobs", {1, 1, 2, 2, 3, 6}},
        {"opt.no_auto_compact", {0, 0, 0, 0, 0, 1}},
        {"opt.durability", {0, 0, 1, 2, 2, 3}},
        {"opt.no_threads", {0, 0, 0, 1, 1, 1}},
        {"work_every", {1, 10, 100, 1000, 5000, 0}},
        {"no_ring", {0, 0, 0, 0, 0, 1}},
        {"looks_readonly", {0, 0, 0, 0, 1, 1}},
        {"family_options", {0, 0, 0, 1, 1, 1}},
        {"stall_every", {0, 0, 0, 0, 1000, 200}},
    };
    uint64_t dice = hash_mix(seed, 0x6f707473);

    *out = usual;
    (void)snprintf(out->name, sizeof out->name, "by chance %llu", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof choice / sizeof choice[0]; i++) {
        char change[80];

        dice = dice * 6364136223846793005u + 1442695040888963407u;
        if ((dice >> 60) % 4 == 0) /* a quarter stays as usual */
            continue;
        (void)snprintf(change, sizeof change, "%s=%lld", choice[i].name,
                       choice[i].from[(dice >> 33) % 6]);
        if (!set_change(out, change))
            abort();
    }
}

void meta_set_write(const struct meta_set *set, FILE *to)
{
    (void)fprintf(to, "options");
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (field_get(set, i) != field_get(&usual, i))
            (void)fprintf(to, " %s=%lld", field_name[i], field_get(set, i));
    (void)fputc('\n', to);
}

bool meta_set_read(const char *line, struct meta_set *out)
{
    *out = usual;
    (void)snprintf(out->name, sizeof out->name, "of the file");
    return strncmp(line, "options", 7) == 0 && set_change(out, line + 7);
}

bool meta_set_reset(struct meta_set *set, size_t field, bool *changed)
{
    if (field >= FIELD_COUNT)
        return false;
    *changed = field_get(set, field) != field_get(&usual, field);
    field_set(set, field, field_get(&usual, field));
    return true;
}

/* ---- opening and closing ---- */

static odb_status world_open_db(struct meta_world *w, bool is_readonly)
{
    odb_options opt = w->set->opt;
    odb_backend backend;
    odb_status st;

    ring_is_refused = w->set->no_ring;
    opt.is_readonly = is_readonly;
    switch (w->set->backend) {
    case META_LSM: return odb_open(w->dir, &opt, &w->db);
#ifdef META_WITH_ROCKSDB
    case META_ROCKSDB: st = odb_backend_rocksdb(w->dir, &opt, &backend); break;
#endif
    default: st = odb_backend_memory(&backend);
    }
    return st == ODB_OK ? odb_open_backend(backend, &w->db) : st;
}

static odb_status world_find_families(struct meta_world *w)
{
    odb_status st = odb_batch_new(&w->batch);

    for (size_t i = 0; i < META_FAMILIES && st == ODB_OK; i++) {
        st = odb_cf_open(w->db, meta_family_name[i], &w->cf[i]);
        if (st == ODB_NO_FAMILY) {
            w->cf[i] = NULL;
            st = ODB_OK;
        }
    }
    return st;
}

static void txn_free_slot(struct meta_world *w, size_t i)
{
    odb_txn_free(w->txn[i]);
    w->txn[i] = NULL;
    w->saves[i] = 0;
}

static void world_let_go(struct meta_world *w)
{
    for (size_t i = 0; i < META_ITERS; i++) {
        odb_iter_free(w->iter[i]);
        w->iter[i] = NULL;
    }
    for (size_t i = 0; i < META_TXNS; i++)
        txn_free_slot(w, i);
    for (size_t i = 0; i < META_SNAPSHOTS; i++) {
        odb_snapshot_free(w->snapshot[i]);
        w->snapshot[i] = NULL;
    }
    odb_batch_free(w->batch);
    w->batch = NULL;
}

struct meta_world *meta_world_open(const struct meta_list *l, const struct meta_set *set,
                                   const char *dir)
{
    struct meta_world *w = calloc(1, sizeof *w);
    odb_status st;

    if (!w)
        abort();
    *w = (struct meta_world){.l = l, .set = set, .dir = dir};
    st = world_open_db(w, false);
    if (st == ODB_OK)
        st = world_find_families(w);
    if (st == ODB_OK)
        return w;
    printf("opening with %s: %s: %s\n", set->name, odb_status_name(st), odb_error_text());
    free(w);
    return NULL;
}

odb_status meta_world_close(struct meta_world *w)
{
    odb_status st;

    world_let_go(w);
    st = odb_close(w->db);
    free(w);
    return st;
}

/* ---- steps ---- */

static void nothing_there(struct meta_answer *a)
{
    answer_word(a, "none", ANSWER_NOT_THERE);
}

static odb_slice key_of(const struct meta_world *w, int32_t key)
{
    return key < 0 ? odb_bytes(NULL, 0) : w->l->key[key];
}

static odb_slice value_of(const struct meta_op *op)
{
    return odb_bytes(meta_pool() + op->off, op->len);
}

static void answer_status_told(struct meta_answer *a, odb_status st)
{
    answer_status(a, st);
    if (a->text && st != ODB_OK && st != ODB_ABSENT)
        (void)fprintf(a->text, " (%s)", odb_error_text());
}

/* False: answered that there is nothing. */
static bool find_at(const struct meta_world *w, const struct meta_op *op, struct meta_answer *a,
                    odb_at *out)
{
    uint8_t at = op->at;

    *out = odb_now(w->db);
    if (at >= META_AT_TXN)
        *out = odb_in(w->txn[at - META_AT_TXN]);
    else if (at > 0)
        *out = odb_asof(w->snapshot[at - 1]);
    if (w->cf[op->family] && (out->db || out->snapshot || out->txn))
        return true;
    nothing_there(a);
    return false;
}

static void world_read(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_cf *cf = w->cf[op->family];
    odb_slice key = key_of(w, op->key);
    char room[META_INTO_MAX];
    size_t size = 0;
    odb_value v;
    odb_status st;
    odb_at at;

    if (!find_at(w, op, a, &at))
        return;
    switch (op->kind) {
    case META_get:
        st = odb_get(at, cf, key, &v);
        answer_status_told(a, st);
        if (st == ODB_OK) {
            answer_bytes(a, odb_bytes(v.data, v.size));
            odb_value_release(&v);
        }
        break;
    case META_get_into: {
        size_t cap = op->n < sizeof room ? op->n : sizeof room;

        st = odb_get_into(at, cf, key, room, cap, &size);
        answer_status_told(a, st);
        if (st == ODB_OK) {
            answer_word(a, "size", size);
            answer_bytes(a, odb_bytes(room, size < cap ? size : cap));
        }
        break;
    }
    default: answer_status_told(a, odb_exists(at, cf, key));
    }
}

static void world_multiget(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_slice key[META_MANY_MAX];
    odb_value v[META_MANY_MAX];
    odb_status each[META_MANY_MAX], st;
    odb_at at;

    if (!find_at(w, op, a, &at))
        return;
    for (uint32_t i = 0; i < op->n; i++)
        key[i] = key_of(w, w->l->many[op->off + i]);
    st = odb_multiget(at, w->cf[op->family], key, op->n, v, each);
    answer_status_told(a, st);
    for (uint32_t i = 0; i < op->n; i++) {
        answer_status(a, each[i]);
        if (each[i] == ODB_OK) {
            answer_bytes(a, odb_bytes(v[i].data, v[i].size));
            odb_value_release(&v[i]);
        }
    }
}

static void world_write(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_cf *cf = w->cf[op->family];
    odb_write how = {.durability = (odb_durability)op->durability};

    if (!cf)
        nothing_there(a);
    else if (op->kind == META_put)
        answer_status_told(a, odb_put(w->db, cf, key_of(w, op->key), value_of(op), &how));
    else
        answer_status_told(a, odb_delete(w->db, cf, key_of(w, op->key), &how));
}

static void world_batch(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_cf *cf = w->cf[op->family];
    odb_write how = {.durability = (odb_durability)op->durability};

    if (op->kind == META_batch_commit)
        answer_status_told(a, odb_commit(w->db, w->batch, &how));
    else if (op->kind == META_batch_clear)
        odb_batch_clear(w->batch);
    else if (!cf)
        nothing_there(a);
    else if (op->kind == META_batch_put)
        answer_status_told(a, odb_batch_put(w->batch, cf, key_of(w, op->key), value_of(op)));
    else
        answer_status_told(a, odb_batch_delete(w->batch, cf, key_of(w, op->key)));
    answer_word(a, "in the batch", odb_batch_count(w->batch));
}

/* ---- iterators ---- */

static void iter_show(const odb_iter *it, bool keys_only, struct meta_answer *a)
{
    bool valid = odb_iter_valid(it);

    answer_word(a, "valid", valid);
    if (!valid)
        return;
    answer_bytes(a, odb_iter_key(it));
    if (!keys_only)
        answer_bytes(a, odb_iter_value(it));
}

/* Iterators of pessimistic serializable transactions lock ranges, which the model leaves out. */
static bool is_left_out(const struct meta_world *w, const struct meta_op *op)
{
    size_t t = op->at - META_AT_TXN;

    return op->at >= META_AT_TXN && w->txn[t] &&
           w->txn_flags[t] == (META_SERIALIZABLE | META_PESSIMISTIC);
}

static odb_iter *iter_open(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_range range = {.lower = key_of(w, op->lower),
                       .upper = key_of(w, op->upper),
                       .prefix = key_of(w, op->prefix),
                       .keys_only = op->flags & META_KEYS_ONLY,
                       .is_long = op->flags & META_LONG};
    odb_iter *it = NULL;
    odb_status st;
    odb_at at;

    if (is_left_out(w, op)) {
        nothing_there(a);
        return NULL;
    }
    if (!find_at(w, op, a, &at))
        return NULL;
    st = odb_iter_new(at, w->cf[op->family], &range, &it);
    answer_status_told(a, st);
    return st == ODB_OK ? it : NULL;
}

static void world_refresh(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_iter *it = w->iter[op->slot];
    odb_at at = odb_now(w->db);

    if (op->at >= META_AT_TXN)
        at = odb_in(w->txn[op->at - META_AT_TXN]);
    else if (op->at > 0)
        at = odb_asof(w->snapshot[op->at - 1]);
    if (!at.db && !at.snapshot && !at.txn) {
        nothing_there(a);
        return;
    }
    answer_status_told(a, odb_iter_refresh(it, at));
    iter_show(it, w->keys_only[op->slot], a);
    answer_status(a, odb_iter_status(it));
}

static void world_iter(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_iter *it = w->iter[op->slot];

    if (!it) {
        nothing_there(a);
        return;
    }
    switch (op->kind) {
    case META_iter_first: (void)odb_iter_first(it); break;
    case META_iter_last: (void)odb_iter_last(it); break;
    case META_iter_seek: (void)odb_iter_seek(it, key_of(w, op->key)); break;
    case META_iter_seek_for_prev: (void)odb_iter_seek_for_prev(it, key_of(w, op->key)); break;
    case META_iter_refresh: world_refresh(w, op, a); return;
    default:
        for (uint32_t i = 0; i < op->n; i++) {
            bool back = op->kind == META_iter_walk_back ||
                        (op->kind == META_iter_zigzag && op->flags >> i % 8 & 1);

            if (!(back ? odb_iter_prev(it) : odb_iter_next(it)))
                break;
            iter_show(it, w->keys_only[op->slot], a);
        }
    }
    iter_show(it, w->keys_only[op->slot], a);
    answer_status_told(a, odb_iter_status(it));
}

/* Everything, from either end. */
static void world_scan(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    const struct meta_op made = {.kind = META_iter_new,
                                 .family = op->family,
                                 .at = op->at,
                                 .lower = -1,
                                 .upper = -1,
                                 .prefix = -1};
    odb_iter *it = iter_open(w, &made, a);

    for (int way = 0; way < 2 && it; way++) {
        bool ok = way ? odb_iter_last(it) : odb_iter_first(it);

        for (; ok; ok = way ? odb_iter_prev(it) : odb_iter_next(it))
            iter_show(it, false, a);
        if (odb_iter_status(it) != ODB_OK) /* no model has that */
            answer_status_told(a, odb_iter_status(it));
    }
    odb_iter_free(it);
}

/* ---- families, upkeep ---- */

static void world_family(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    static const odb_cf_options own = {.size = sizeof own,
                                       .write_buffer_size = 65536,
                                       .block_size = 700,
                                       .compression = ODB_COMPRESSION_NONE,
                                       .filter_bits = 3,
                                       .target_file_size = 16384,
                                       .level_base_size = 32768,
                                       .l0_trigger = 2};
    odb_cf **cf = &w->cf[op->family];

    if (op->kind == META_cf_create) {
        answer_status_told(a, odb_cf_create(w->db, meta_family_name[op->family],
                                            w->set->family_options ? &own : NULL, cf));
        return;
    }
    if (!*cf || op->family == 1) {
        nothing_there(a);
        return;
    }
    for (size_t i = 0; i < META_TXNS; i++)
        txn_free_slot(w, i);
    answer_status_told(a, odb_cf_drop(w->db, *cf));
}

static void world_list(struct meta_world *w, struct meta_answer *a)
{
    odb_names names;
    odb_status st = odb_cf_list(w->db, &names);

    if (st != ODB_OK) {
        answer_status_told(a, st);
        return;
    }
    for (size_t i = 0; i < names.count; i++)
        for (size_t k = 0; k < META_FAMILIES; k++)
            if (strcmp(names.name[i], meta_family_name[k]) == 0)
                answer_bytes(a, odb_s(names.name[i]));
    odb_names_release(&names);
}

static void world_scan_all(struct meta_world *w, struct meta_answer *a)
{
    for (uint8_t f = 0; f < META_FAMILIES; f++) {
        const struct meta_op scan = {.kind = META_scan, .family = f};

        world_scan(w, &scan, a);
    }
}

/* With `looks_readonly` what a reader finds is compared with what the writer finds afterwards. */
static void world_reopen(struct meta_world *w, struct meta_answer *a)
{
    struct meta_answer seen = {0}, again = {0};
    odb_status st = ODB_OK;

    world_let_go(w);
    if (w->set->backend == META_MEMORY) { /* forgets everything when it is closed: it stays open */
        answer_status_told(a, world_find_families(w));
    } else {
        st = odb_close(w->db);
        w->db = NULL;
        if (st == ODB_OK && w->set->looks_readonly) {
            st = world_open_db(w, true);
            if (st == ODB_OK)
                st = world_find_families(w);
            if (st == ODB_OK)
                world_scan_all(w, &seen);
            if (st == ODB_OK && odb_put(w->db, NULL, odb_s("k"), odb_s("v"), NULL) != ODB_READONLY)
                st = ODB_UNKNOWN;
            world_let_go(w);
            if (st == ODB_OK)
                st = odb_close(w->db);
        }
        if (st == ODB_OK)
            st = world_open_db(w, false);
        if (st == ODB_OK)
            st = world_find_families(w);
        if (st != ODB_OK) {
            printf("reopening with %s: %s: %s\n", w->set->name, odb_status_name(st),
                   odb_error_text());
            (void)fflush(stdout);
            exit(3); /* there is nothing to go on with */
        }
        answer_status(a, st);
    }
    if (w->set->looks_readonly) {
        world_scan_all(w, &again);
        if (again.h != seen.h)
            answer_word(a, "opened read-only it looked different", seen.h);
    }
    world_list(w, a);
    world_scan_all(w, a);
}

static void world_upkeep(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_range range = {.lower = key_of(w, op->lower), .upper = key_of(w, op->upper)};
    odb_cf *cf = w->cf[op->family];

    if (!cf && (op->kind == META_flush || op->kind == META_compact)) {
        nothing_there(a);
        return;
    }
    switch (op->kind) {
    case META_flush: answer_status_told(a, odb_flush(w->db, cf)); break;
    case META_flush_all: answer_status_told(a, odb_flush(w->db, NULL)); break;
    case META_compact: answer_status_told(a, odb_compact(w->db, cf, &range, NULL, NULL)); break;
    case META_sync: answer_status_told(a, odb_sync(w->db)); break;
    case META_wait_idle: answer_status_told(a, odb_wait_idle(w->db)); break;
    default: answer_status_told(a, odb_verify(w->db, NULL, NULL));
    }
}

/* ---- transactions ---- */

static void world_begin(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_txn_options opt = {.size = sizeof opt,
                           .isolation =
                               op->flags & META_SERIALIZABLE ? ODB_SERIALIZABLE : ODB_SNAPSHOT,
                           .is_pessimistic = op->flags & META_PESSIMISTIC,
                           .no_wait = true};

    txn_free_slot(w, op->slot);
    w->txn_flags[op->slot] = op->flags & (META_SERIALIZABLE | META_PESSIMISTIC);
    answer_status_told(a, odb_txn_begin(w->db, &opt, &w->txn[op->slot]));
}

static void world_get_for_update(struct meta_world *w, const struct meta_op *op,
                                 struct meta_answer *a)
{
    odb_value v;
    odb_status st =
        odb_txn_get_for_update(w->txn[op->slot], w->cf[op->family], key_of(w, op->key), &v);

    answer_status_told(a, st);
    if (st == ODB_OK) {
        answer_bytes(a, odb_bytes(v.data, v.size));
        odb_value_release(&v);
    }
}

static void world_claim(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_range range = {.lower = key_of(w, op->lower), .upper = key_of(w, op->upper)};

    if (w->txn_flags[op->slot] & META_PESSIMISTIC) {
        nothing_there(a);
        return;
    }
    answer_status_told(a, odb_txn_claim(w->txn[op->slot], w->cf[op->family], &range, false));
}

static void world_save(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    uint32_t savepoint;
    odb_status st;

    if (w->saves[op->slot] >= META_SAVES) {
        nothing_there(a);
        return;
    }
    st = odb_txn_save(w->txn[op->slot], &savepoint);
    if (st == ODB_OK) {
        answer_word(a, "savepoint", savepoint);
        w->saves[op->slot] = savepoint + 1;
    }
    answer_status_told(a, st);
}

static void world_txn(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    odb_txn *t = w->txn[op->slot];
    odb_cf *cf = w->cf[op->family];
    odb_write how = {.durability = (odb_durability)op->durability};
    odb_status st;

    if (op->kind == META_txn_begin) {
        world_begin(w, op, a);
        return;
    }
    if (!t || (!cf && op->kind <= META_txn_claim)) {
        nothing_there(a);
        return;
    }
    switch (op->kind) {
    case META_txn_put:
        answer_status_told(a, odb_txn_put(t, cf, key_of(w, op->key), value_of(op)));
        break;
    case META_txn_delete: answer_status_told(a, odb_txn_delete(t, cf, key_of(w, op->key))); break;
    case META_txn_get_for_update: world_get_for_update(w, op, a); break;
    case META_txn_claim: world_claim(w, op, a); break;
    case META_txn_save: world_save(w, op, a); break;
    case META_txn_rollback_to:
        st = odb_txn_rollback_to(t, op->n);
        answer_status_told(a, st);
        if (st == ODB_OK)
            w->saves[op->slot] = op->n + 1;
        break;
    case META_txn_release:
        st = odb_txn_release(t, op->n);
        answer_status_told(a, st);
        if (st == ODB_OK)
            w->saves[op->slot] = op->n;
        break;
    case META_txn_commit:
        answer_status_told(a, odb_txn_commit(t, &how));
        w->saves[op->slot] = 0;
        break;
    case META_txn_rollback:
        answer_status_told(a, odb_txn_rollback(t));
        w->saves[op->slot] = 0;
        break;
    case META_txn_reset:
        answer_status_told(a, odb_txn_reset(t));
        w->saves[op->slot] = 0;
        break;
    default: txn_free_slot(w, op->slot); answer_status(a, ODB_OK);
    }
}

void meta_world_step(struct meta_world *w, const struct meta_op *op, struct meta_answer *a)
{
    w->steps++;
    if (w->set->work_every && w->steps % w->set->work_every == 0)
        (void)odb_work(w->db);
    if (w->set->stall_every && w->steps % w->set->stall_every == 0 &&
        odb_wait_idle(w->db) != ODB_OK)
        answer_word(a, "waiting failed", 1);
    switch (op->kind) {
    case META_put:
    case META_delete: world_write(w, op, a); break;
    case META_batch_put:
    case META_batch_delete:
    case META_batch_commit:
    case META_batch_clear: world_batch(w, op, a); break;
    case META_get:
    case META_get_into:
    case META_exists: world_read(w, op, a); break;
    case META_multiget: world_multiget(w, op, a); break;
    case META_scan: world_scan(w, op, a); break;
    case META_iter_new:
        odb_iter_free(w->iter[op->slot]);
        w->keys_only[op->slot] = op->flags & META_KEYS_ONLY;
        w->iter[op->slot] = iter_open(w, op, a);
        break;
    case META_iter_free:
        odb_iter_free(w->iter[op->slot]);
        w->iter[op->slot] = NULL;
        break;
    case META_snapshot_new:
        odb_snapshot_free(w->snapshot[op->slot]);
        w->snapshot[op->slot] = NULL;
        if (odb_snapshot_new(w->db, &w->snapshot[op->slot]) != ODB_OK)
            answer_word(a, "no snapshot", 1);
        break;
    case META_snapshot_free:
        odb_snapshot_free(w->snapshot[op->slot]);
        w->snapshot[op->slot] = NULL;
        break;
    case META_cf_create:
    case META_cf_drop: world_family(w, op, a); break;
    case META_cf_list: world_list(w, a); break;
    case META_flush:
    case META_flush_all:
    case META_compact:
    case META_sync:
    case META_wait_idle:
    case META_verify: world_upkeep(w, op, a); break;
    case META_reopen: world_reopen(w, a); break;
    default:
        if (op->kind >= META_txn_begin)
            world_txn(w, op, a);
        else
            world_iter(w, op, a);
    }
}
