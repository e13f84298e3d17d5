/* tests/sstable/table_fixture.h -- a scratch directory, a store in it, and tables whose content is
 * also at hand as a sorted array to compare with. */
#ifndef TABLE_FIXTURE_H
#define TABLE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "os/os_ops.h"
#include "sstable/layout.h"
#include "sstable/sst.h"
#include "tests/base/random.h"
#include "tests/lib/test_alloc.h"

#define FX_DB 0x1122334455667788u

/* ---- an os/ that fails on demand ---- */

struct fx_os {
    struct os base;
    struct os_ops ops;
    const struct os_ops *real;
    long until_failure; /* operations that still work; negative: all */
    bool keeps_failing; /* not only the one after those, but all */
    odb_status failure;
    atomic_long reads;       /* that went to the disk */
    atomic_long descriptors; /* open now */
};

static struct fx_os fx_os; /* one test program, one thread that fails things */

static inline bool fx_fails(void)
{
    if (fx_os.until_failure < 0)
        return false;
    if (fx_os.until_failure > 0 || !fx_os.keeps_failing)
        return fx_os.until_failure-- == 0;
    return true;
}

static inline odb_status fx_open(struct os_dir *d, const char *name, unsigned flags,
                                 struct os_file **out)
{
    odb_status st;

    if (fx_fails())
        return err_set(fx_os.failure, "%s: open fails as asked", name);
    st = fx_os.real->open(d, name, flags, out);
    if (st == ODB_OK)
        atomic_fetch_add(&fx_os.descriptors, 1);
    return st;
}

static inline void fx_close_file(struct os_file *f)
{
    atomic_fetch_sub(&fx_os.descriptors, 1);
    fx_os.real->close(f);
}

static inline odb_status fx_size(struct os_file *f, uint64_t *out)
{
    if (fx_fails())
        return err_set(fx_os.failure, "size fails as asked");
    return fx_os.real->size(f, out);
}

static inline odb_status fx_read(struct os_file *f, uint64_t off, void *p, size_t len, size_t *got)
{
    if (fx_fails())
        return err_set(fx_os.failure, "read fails as asked");
    atomic_fetch_add(&fx_os.reads, 1);
    return fx_os.real->read(f, off, p, len, got);
}

static inline odb_status fx_os_write(struct os_file *f, uint64_t off, const void *p, size_t len)
{
    if (fx_fails())
        return err_set(fx_os.failure, "write fails as asked");
    return fx_os.real->write(f, off, p, len);
}

static inline odb_status fx_sync(struct os_file *f)
{
    if (fx_fails())
        return err_set(fx_os.failure, "sync fails as asked");
    return fx_os.real->sync(f);
}

/* ---- directory and store ---- */

struct fx {
    char path[64];
    struct os_dir *dir;
    struct epoch *epoch;
    struct sst_store *store;
    struct sst_store_options opt;
};

static inline void fx_store(struct fx *x, size_t cache_bytes, uint32_t open_tables)
{
    x->opt = (struct sst_store_options){.os = &fx_os.base,
                                        .dir = x->dir,
                                        .db_id = FX_DB,
                                        .epoch = x->epoch,
                                        .cache_bytes = cache_bytes,
                                        .open_tables = open_tables,
                                        .verify_on_read = true};
    assert_int_equal(sst_store_new(&x->opt, &x->store), ODB_OK);
}

static inline void fx_open_dir(struct fx *x)
{
    *x = (struct fx){0};
    fx_os.real = os_posix()->ops;
    fx_os.ops = *fx_os.real;
    fx_os.ops.open = fx_open;
    fx_os.ops.close = fx_close_file;
    fx_os.ops.size = fx_size;
    fx_os.ops.read = fx_read;
    fx_os.ops.write = fx_os_write;
    fx_os.ops.sync = fx_sync;
    fx_os.base.ops = &fx_os.ops;
    fx_os.until_failure = -1;
    fx_os.keeps_failing = false;
    snprintf(x->path, sizeof x->path, "%s/odb-sst-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(x->path));
    assert_int_equal(os_dir_open(&fx_os.base, x->path, 0, &x->dir), ODB_OK);
    x->epoch = malloc(sizeof *x->epoch);
    assert_non_null(x->epoch);
    epoch_init(x->epoch);
}

static inline bool fx_remove_each(void *arg, const char *name)
{
    struct fx *x = arg;

    assert_int_equal(os_remove(x->dir, name), ODB_OK);
    return true;
}

static inline void fx_close(struct fx *x)
{
    sst_store_free(x->store);
    epoch_release(x->epoch);
    free(x->epoch);
    assert_int_equal(os_dir_list(x->dir, fx_remove_each, x), ODB_OK);
    os_dir_close(x->dir);
    assert_int_equal(rmdir(x->path), 0);
}

/* ---- content ---- */

struct model {
    struct entry *e; /* sorted, strictly */
    size_t count;
    size_t cap;
};

static inline void model_add(struct model *m, const void *key, size_t key_len, uint64_t trailer,
                             const void *value, size_t value_len)
{
    uint8_t *bytes = malloc(key_len + value_len + 1);

    assert_non_null(bytes);
    if (m->count == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 64;
        m->e = realloc(m->e, m->cap * sizeof *m->e);
        assert_non_null(m->e);
    }
    if (key_len)
        memcpy(bytes, key, key_len);
    if (value_len)
        memcpy(bytes + key_len, value, value_len);
    m->e[m->count++] = (struct entry){.key = bytes,
                                      .value = bytes + key_len,
                                      .key_len = (uint32_t)key_len,
                                      .value_len = (uint32_t)value_len,
                                      .trailer = trailer};
}

static inline int model_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return ikey_compare(x->key, x->key_len, x->trailer, y->key, y->key_len, y->trailer);
}

static inline void model_sort(struct model *m)
{
    size_t kept = 0;

    qsort(m->e, m->count, sizeof *m->e, model_compare);
    for (size_t i = 0; i < m->count; i++) {
        if (kept && model_compare(&m->e[kept - 1], &m->e[i]) == 0)
            free((void *)(uintptr_t)m->e[i].key);
        else
            m->e[kept++] = m->e[i];
    }
    m->count = kept;
}

static inline void model_free(struct model *m)
{
    for (size_t i = 0; i < m->count; i++)
        free((void *)(uintptr_t)m->e[i].key);
    free(m->e);
    *m = (struct model){0};
}

enum model_style {
    MODEL_NUMBERED,    /* "key00001234" */
    MODEL_BINARY,      /* a few random bytes of few values */
    MODEL_PREFIXED,    /* long stretches in common */
    MODEL_VERSIONS,    /* many versions of few keys */
    MODEL_MIXED_SIZES, /* now and then a large key or value */
    MODEL_STYLES,
};

static inline size_t model_key(struct rnd *r, enum model_style style, uint8_t *key)
{
    size_t n = 0;

    switch (style) {
    case MODEL_NUMBERED:
    case MODEL_MIXED_SIZES:
        n = (size_t)snprintf((char *)key, 64, "key%08u", rnd_below(r, 100000));
        if (style == MODEL_MIXED_SIZES && rnd_below(r, 20) == 0)
            for (size_t more = rnd_below(r, 1500); more > 0; more--)
                key[n++] = (uint8_t)rnd_next(r);
        break;
    case MODEL_BINARY:
        for (n = rnd_below(r, 12); n > 0; n--)
            key[n - 1] = (uint8_t)(rnd_below(r, 3) * 127);
        n = rnd_below(r, 12);
        for (size_t i = 0; i < n; i++)
            key[i] = (uint8_t)(rnd_below(r, 3) * 127);
        break;
    case MODEL_PREFIXED:
        n = (size_t)snprintf((char *)key, 128, "tenant/of/this/database/%02u/table/%02u/%05u",
                             rnd_below(r, 5), rnd_below(r, 5), rnd_below(r, 3000));
        break;
    case MODEL_VERSIONS:
    case MODEL_STYLES:
        n = (size_t)snprintf((char *)key, 64, "%u", rnd_below(r, 6));
        if (rnd_below(r, 8) == 0)
            n = 0; /* the empty key is a key */
        break;
    }
    return n;
}

static inline void model_fill(struct model *m, struct rnd *r, enum model_style style, size_t count)
{
    static uint8_t key[2048], value[20000];

    *m = (struct model){0};
    for (size_t i = 0; i < count; i++) {
        size_t key_len = model_key(r, style, key), value_len = rnd_below(r, 40);
        uint64_t seq = 1 + rnd_below(r, style == MODEL_VERSIONS ? 5000 : 4);

        if (style == MODEL_MIXED_SIZES && rnd_below(r, 30) == 0)
            value_len = rnd_below(r, sizeof value);
        for (size_t k = 0; k < value_len; k++)
            value[k] = (uint8_t)(k % 3 ? 'a' : rnd_next(r));
        if (rnd_below(r, 5) == 0)
            model_add(m, key, key_len, trailer_make(seq, KIND_DELETE), NULL, 0);
        else
            model_add(m, key, key_len, trailer_make(seq, KIND_PUT), value, value_len);
    }
    model_sort(m);
}

/* The first entry at or after (key, trailer). */
static inline size_t model_seek(const struct model *m, const void *key, size_t key_len,
                                uint64_t trailer)
{
    size_t lo = 0, hi = m->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct entry *e = &m->e[mid];

        if (ikey_compare(e->key, e->key_len, e->trailer, key, key_len, trailer) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- tables ---- */

static inline struct sst_writer_options fx_writer_options(const struct fx *x, uint32_t block_size)
{
    return (struct sst_writer_options){.os = &fx_os.base,
                                       .dir = x->dir,
                                       .db_id = FX_DB,
                                       .block_size = block_size,
                                       .codec = CODEC_LZ4,
                                       .lz4_acceleration = 1,
                                       .lz4_slack = 30,
                                       .bits_per_key = 10};
}

static inline odb_status fx_try_write(const struct sst_writer_options *opt, uint64_t file_no,
                                      const struct model *m, struct sst_meta *out)
{
    struct sst_writer *w = NULL;
    odb_status st = sst_writer_new(opt, file_no, &w);

    for (size_t i = 0; st == ODB_OK && i < m->count; i++)
        st = sst_writer_add(w, &m->e[i]);
    if (st == ODB_OK)
        st = sst_writer_finish(w, out);
    sst_writer_free(w);
    return st;
}

static inline struct sst_ref fx_ref(const struct sst_meta *m)
{
    struct sst_ref r = {.file_no = m->file_no, .size = m->size, .check = m->check};

    return r;
}

static inline void fx_write(const struct fx *x, uint64_t file_no, uint32_t block_size,
                            const struct model *m, struct sst_meta *out)
{
    struct sst_writer_options opt = fx_writer_options(x, block_size);

    assert_int_equal(fx_try_write(&opt, file_no, m, out), ODB_OK);
}

static inline uint64_t fx_hash(const struct entry *e)
{
    return hash64(e->key, e->key_len);
}

/* Does a get of (key, trailer) answer as the model does? An error is returned. */
static inline odb_status fx_check_get(struct fx *x, struct sst_ref *ref, const struct model *m,
                                      const void *key, size_t key_len, uint64_t trailer)
{
    struct epoch_guard g = epoch_enter(x->epoch);
    size_t at = model_seek(m, key, key_len, trailer);
    bool there = at < m->count && m->e[at].key_len == key_len &&
                 (key_len == 0 || memcmp(m->e[at].key, key, key_len) == 0);
    struct sst_hit hit = {0};
    odb_status st =
        sst_get(x->store, ref, odb_bytes(key, key_len), hash64(key, key_len), trailer, &hit);

    if (st == ODB_OK) {
        assert_int_equal(hit.is_found, there);
        if (there) {
            assert_int_equal(hit.trailer, m->e[at].trailer);
            assert_int_equal(hit.value.size, m->e[at].value_len);
            if (hit.value.size)
                assert_memory_equal(hit.value.data, m->e[at].value, hit.value.size);
        }
    }
    epoch_leave(g);
    return st;
}

static inline void fx_assert_entry(const struct entry *a, const struct entry *b)
{
    assert_int_equal(a->trailer, b->trailer);
    assert_int_equal(a->key_len, b->key_len);
    if (a->key_len)
        assert_memory_equal(a->key, b->key, a->key_len);
    assert_int_equal(a->value_len, b->value_len);
    if (a->value_len)
        assert_memory_equal(a->value, b->value, a->value_len);
}

/* Walk everything; each entry seen must be the model's, and the end may come early only with an
 * error, which is returned. */
static inline odb_status fx_check_walk(struct fx *x, struct sst_ref *ref, const struct model *m,
                                       unsigned flags, bool is_backward)
{
    struct cursor *c = NULL;
    odb_status st = sst_cursor_new(x->store, ref, flags, &c);
    size_t seen = 0;
    bool ok;

    if (st != ODB_OK)
        return st;
    for (ok = is_backward ? c->ops->last(c) : c->ops->first(c); ok;
         ok = is_backward ? cursor_prev(c) : cursor_next(c)) {
        assert_true(seen < m->count);
        fx_assert_entry(cursor_entry(c), &m->e[is_backward ? m->count - 1 - seen : seen]);
        seen++;
    }
    st = c->status;
    if (st == ODB_OK)
        assert_int_equal(seen, m->count);
    cursor_free(c);
    return st;
}

/* ---- whole files ---- */

static inline uint8_t *fx_slurp(const struct fx *x, uint64_t file_no, size_t *len)
{
    char name[SST_NAME_MAX];
    struct os_file *f = NULL;
    uint64_t size;
    uint8_t *p;

    sst_file_name(file_no, name);
    assert_int_equal(os_open(x->dir, name, 0, &f), ODB_OK);
    assert_int_equal(os_size(f, &size), ODB_OK);
    p = malloc((size_t)size);
    assert_non_null(p);
    assert_int_equal(os_read(f, 0, p, (size_t)size, len), ODB_OK);
    assert_int_equal(*len, size);
    os_close(f);
    return p;
}

static inline void fx_spit(const struct fx *x, uint64_t file_no, const uint8_t *p, size_t len)
{
    char name[SST_NAME_MAX];
    struct os_file *f = NULL;

    sst_file_name(file_no, name);
    (void)!os_remove(x->dir, name); /* it may not be there yet */
    assert_int_equal(os_open(x->dir, name, OS_WRITE | OS_CREATE, &f), ODB_OK);
    if (len)
        assert_int_equal(os_write(f, 0, p, len), ODB_OK);
    os_close(f);
}

#endif
