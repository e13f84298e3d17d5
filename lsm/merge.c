/* lsm/merge.c -- one flush or merge: gather the inputs, split the work, collect the tables.
 *
 *      upper  [----a----][---b---]            (level 0: one cursor a table; deeper: one a level)
 *      lower  [--c--][--d--][--e--][--f--]
 *                    |            |
 *             part 0 |   part 1   | part 2    boundaries are largest keys of input tables
 *
 * The parts are independent merges over disjoint user-key ranges. The job that owns them works on
 * one part after the other; idle workers help by taking parts too (exec_share).
 *
 * 1. Outputs of part i lie before those of part i+1, and no user key is in two parts: the lists can
 *    be joined as they are.
 * 2. When any part fails, all fail, and no table of any part stays.
 */
#include <assert.h>

#include "base/alloc.h"
#include "lsm/tree_priv.h"

#define SPLIT_MAX 8
#define FLUSH_SLACK                                                                                \
    20 /* thousandths: what is flushed will soon be merged, and packed tightly then */
#define MERGE_SLACK 3
#define URGENT_PART ((uint64_t)4 << 20) /* memtable bytes worth a worker of their own */

/* ---- what lies below ---- */

struct below {
    const struct lsm_version *version;
    uint32_t first; /* the first level that counts as below */
    uint32_t at[LSM_LEVELS];
};

/* Keys come in rising order, so each level is walked once. Level 0 overlaps: asked in full. */
static bool key_may_lie_below(void *arg, odb_slice key)
{
    struct below *b = arg;

    for (uint32_t i = b->first; i < LSM_LEVELS; i++) {
        const struct lsm_level *l = &b->version->level[i];

        if (i == 0) {
            for (uint32_t k = 0; k < l->count; k++)
                if (odb_slice_compare(file_smallest(l->files[k]), key) <= 0 &&
                    odb_slice_compare(key, file_largest(l->files[k])) <= 0)
                    return true;
            continue;
        }
        while (b->at[i] < l->count && odb_slice_compare(file_largest(l->files[b->at[i]]), key) < 0)
            b->at[i]++;
        if (b->at[i] < l->count && odb_slice_compare(file_smallest(l->files[b->at[i]]), key) <= 0)
            return true;
    }
    return false;
}

/* ---- inputs of one part ---- */

struct part_inputs {
    struct cursor **cursor;
    uint32_t count;
};

static void inputs_release(struct part_inputs *in)
{
    for (uint32_t i = 0; i < in->count; i++)
        cursor_free(in->cursor[i]);
    mem_free(in->cursor);
    *in = (struct part_inputs){0};
}

static odb_status inputs_open(const struct tree_merge *m, struct part_inputs *in)
{
    struct sst_store *store = m->tree->env->tables;
    uint32_t room = m->upper_count + 2;
    odb_status st = ODB_OK;

    in->count = 0;
    in->cursor = mem_zalloc(room, sizeof(struct cursor *));
    if (!in->cursor)
        return err_set(ODB_NOMEM, "out of memory for a merge of %u tables", m->upper_count);
    if (m->memtable) {
        st = memtable_cursor_new(m->memtable, &in->cursor[0]);
        in->count = st == ODB_OK;
        return st;
    }
    if (m->from > 0 && m->upper_count > 0) {
        st = level_cursor_new(store, m->upper, m->upper_count, SST_SCAN, &in->cursor[0]);
        in->count = st == ODB_OK;
    }
    for (uint32_t i = 0; m->from == 0 && i < m->upper_count && st == ODB_OK; i++) {
        st = sst_cursor_new(store, &m->upper[i]->ref, SST_SCAN, &in->cursor[in->count]);
        in->count += st == ODB_OK;
    }
    if (st == ODB_OK && m->lower_count > 0) {
        st = level_cursor_new(store, m->lower, m->lower_count, SST_SCAN, &in->cursor[in->count]);
        in->count += st == ODB_OK;
    }
    return st;
}

/* Bytes that all keys of all inputs share. */
static size_t common_skip(const struct tree_merge *m)
{
    odb_slice lo = {0}, hi = {0};

    if (m->memtable)
        return 0;
    for (uint32_t i = 0; i < m->upper_count + m->lower_count; i++) {
        const struct lsm_file *f = i < m->upper_count ? m->upper[i] : m->lower[i - m->upper_count];

        if (i == 0 || odb_slice_compare(file_smallest(f), lo) < 0)
            lo = file_smallest(f);
        if (i == 0 || odb_slice_compare(file_largest(f), hi) > 0)
            hi = file_largest(f);
    }
    return key_common(lo.data, lo.size, hi.data, hi.size);
}

/* ---- parts ---- */

struct merge_part {
    odb_slice begin;
    odb_slice end;
    odb_status status;
    struct compact_result result;
    char text[ERR_TEXT_MAX]; /* the error, in words, for the owner's thread */
};

struct split_run {
    const struct tree_merge *merge;
    size_t skip;
    uint32_t count;
    _Atomic bool is_failed; /* relaxed: the others may stop early */
    struct merge_part part[SPLIT_MAX];
};

static bool part_is_cancelled(void *arg)
{
    struct split_run *r = arg;

    return atomic_load_explicit(&r->is_failed, memory_order_relaxed) ||
           (!r->merge->memtable &&
            atomic_load_explicit(&r->merge->tree->cancel, memory_order_relaxed));
}

static uint64_t part_new_file_no(void *arg)
{
    struct lsm_tree *t = arg;

    return t->env->new_file_no(t->env->owner);
}

static odb_status fences_below(const struct tree_merge *m, struct compact_fence **out,
                               uint32_t *count)
{
    const struct lsm_level *l = m->to + 1 < LSM_LEVELS ? &m->version->level[m->to + 1] : NULL;
    struct compact_fence *f = NULL;

    *count = 0;
    *out = NULL;
    if (m->memtable || !l || l->count == 0)
        return ODB_OK;
    f = mem_array(l->count, sizeof *f);
    if (!f)
        return err_set(ODB_NOMEM, "out of memory for %u fences", l->count);
    for (uint32_t i = 0; i < l->count; i++)
        f[i] = (struct compact_fence){file_largest(l->files[i]), l->files[i]->meta.size};
    *out = f;
    *count = l->count;
    return ODB_OK;
}

/* No table lies deeper than the output. One that a move brings there meanwhile comes from beside our
 * inputs, so it holds none of their keys. */
static bool nothing_below(const struct tree_merge *m)
{
    for (uint32_t i = m->to + 1; i < LSM_LEVELS; i++)
        if (m->version->level[i].count > 0)
            return false;
    return true;
}

static void run_part(void *arg, uint32_t i)
{
    struct split_run *r = arg;
    struct merge_part *p = &r->part[i];
    const struct tree_merge *m = r->merge;
    struct lsm_tree *t = m->tree;
    struct below below = {.version = m->version, .first = m->memtable ? 0 : m->to + 1};
    struct part_inputs in = {0};
    struct compact_fence *fences = NULL;
    struct compact_job job = {
        .skip = r->skip,
        .begin = p->begin,
        .end = p->end,
        .snapshots = m->snapshots,
        .snapshot_count = m->snapshot_count,
        .older_below = key_may_lie_below,
        .older_below_arg = &below,
        .is_bottom = !m->memtable && nothing_below(m),
        .target_size = m->memtable ? UINT64_MAX : t->opt.target_file_size,
        .max_overlap = 10 * t->opt.target_file_size,
        .writer = {.os = t->env->os,
                   .dir = t->env->dir,
                   .db_id = t->env->db_id,
                   .block_size = t->opt.block_size,
                   .codec = t->opt.codec,
                   .lz4_acceleration = t->opt.lz4_acceleration,
                   .lz4_slack = m->memtable ? FLUSH_SLACK : MERGE_SLACK,
                   .bits_per_key = t->opt.bits_per_key},
        .new_file_no = part_new_file_no,
        .new_file_no_arg = t,
        .is_cancelled = part_is_cancelled,
        .is_cancelled_arg = r,
    };
    odb_status st = fences_below(m, &fences, &job.cut_count);

    job.cuts = fences;
    if (st == ODB_OK)
        st = inputs_open(m, &in);
    job.inputs = in.cursor;
    job.input_count = in.count;
    if (st == ODB_OK)
        st = compact_run(&job, &p->result);
    if (st != ODB_OK) {
        atomic_store_explicit(&r->is_failed, true, memory_order_relaxed);
        err_save(p->text);
    }
    p->status = st;
    inputs_release(&in);
    mem_free(fences);
}

static void sort_slices(odb_slice *s, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) { /* a few dozen, nearly sorted already */
        odb_slice x = s[i];
        uint32_t k = i;

        for (; k > 0 && odb_slice_compare(s[k - 1], x) > 0; k--)
            s[k] = s[k - 1];
        s[k] = x;
    }
}

/* Cut the key space at largest keys of input tables into at most `want` parts of about equal bytes.
 * The parts' keys are borrowed from the files. */
static odb_status choose_parts(const struct tree_merge *m, struct split_run *r, uint32_t want)
{
    uint32_t n = m->upper_count + m->lower_count, last = 0;
    odb_slice *edge;

    r->count = 1;
    if (want < 2 || n < 4)
        return ODB_OK;
    edge = mem_array(n, sizeof *edge);
    if (!edge)
        return err_set(ODB_NOMEM, "out of memory for a merge of %u tables", n);
    for (uint32_t i = 0; i < n; i++)
        edge[i] = file_largest(i < m->upper_count ? m->upper[i] : m->lower[i - m->upper_count]);
    sort_slices(edge, n);
    for (uint32_t k = 1; k < want; k++) {
        uint32_t i = k * n / want;

        if (i <= last || i + 1 >= n || odb_slice_equal(edge[i], edge[last]) ||
            odb_slice_equal(edge[i], edge[n - 1]))
            continue;
        r->part[r->count - 1].end = edge[i];
        r->part[r->count++].begin = edge[i];
        last = i;
    }
    mem_free(edge);
    return ODB_OK;
}

/* Cut a memtable at keys that lie equally many entries apart. */
static odb_status choose_memtable_parts(const struct tree_merge *m, struct split_run *r,
                                        uint32_t want)
{
    uint64_t step = memtable_count(m->memtable) / want, seen = 0, next = step;
    struct cursor *c = NULL;
    odb_status st = memtable_cursor_new(m->memtable, &c);
    bool ok;

    r->count = 1;
    if (st != ODB_OK)
        return st;
    for (ok = c->ops->first(c); ok && r->count < want; ok = c->ops->next_run(c)) {
        const struct entry *e = &c->run[c->count - 1];
        odb_slice edge = odb_bytes(e->key, e->key_len); /* in the arena: stays */

        seen += c->count;
        if (seen < next)
            continue;
        next += step;
        if (r->count > 1 && odb_slice_equal(edge, r->part[r->count - 1].begin))
            continue;
        r->part[r->count - 1].end = edge;
        r->part[r->count++].begin = edge;
    }
    cursor_free(c);
    return ODB_OK;
}

static uint32_t parts_wanted(const struct tree_merge *m)
{
    uint64_t bytes = 0, per = 2 * m->tree->opt.target_file_size;
    uint32_t want;

    if (m->memtable && m->is_urgent) {
        bytes = memtable_bytes(m->memtable);
        per = URGENT_PART;
    }
    for (uint32_t i = 0; i < m->upper_count; i++)
        bytes += m->upper[i]->meta.size;
    for (uint32_t i = 0; i < m->lower_count; i++)
        bytes += m->lower[i]->meta.size;
    want = bytes / (per ? per : 1) > SPLIT_MAX ? SPLIT_MAX : (uint32_t)(bytes / (per ? per : 1));
    if (want > m->tree->opt.split)
        want = m->tree->opt.split;
    if (m->memtable && want > os_cpu_count(m->tree->env->os))
        want = os_cpu_count(m->tree->env->os); /* more parts would only be more tables */
    return want ? want : 1;
}

void tree_remove_outputs(struct lsm_tree *t, const struct compact_result *r)
{
    char name[SST_NAME_MAX];

    for (uint32_t i = 0; i < r->count; i++) {
        sst_file_name(r->tables[i].file_no, name);
        err_ignore(os_remove(t->env->dir, name)); /* swept at the next open otherwise */
    }
}

/* Join the parts' tables into one result, or fail with the first failure. */
static odb_status join_parts(struct lsm_tree *t, struct split_run *r, struct compact_result *out)
{
    struct compact_result all = {0};
    odb_status st = ODB_OK;
    uint32_t total = 0;

    for (uint32_t i = 0; i < r->count; i++) {
        if (r->part[i].status != ODB_OK && (st == ODB_OK || st == ODB_CANCELLED)) {
            st = r->part[i].status;
            (void)err_restore(st, r->part[i].text);
        }
        total += r->part[i].result.count;
    }
    if (st == ODB_OK) {
        all.tables = mem_zalloc(total, sizeof *all.tables);
        if (!all.tables)
            st = err_set(ODB_NOMEM, "out of memory for the result of a merge");
    }
    for (uint32_t i = 0; i < r->count; i++) {
        struct compact_result *p = &r->part[i].result;

        if (st != ODB_OK) {
            tree_remove_outputs(t, p);
            compact_result_release(p);
            continue;
        }
        for (uint32_t k = 0; k < p->count; k++) {
            all.tables[all.count++] = p->tables[k];
            p->tables[k] = (struct sst_meta){0};
        }
        all.entries_in += p->entries_in;
        all.entries_out += p->entries_out;
        all.dropped_versions += p->dropped_versions;
        all.dropped_deletes += p->dropped_deletes;
        all.bytes_out += p->bytes_out;
        compact_result_release(p);
    }
    if (st == ODB_OK)
        *out = all;
    return st;
}

odb_status tree_merge_run(const struct tree_merge *m, struct compact_result *out)
{
    struct exec *exec = m->tree->env->exec;
    struct split_run *r = mem_zalloc(1, sizeof *r);
    uint32_t want;
    odb_status st;

    if (!r)
        return err_set(ODB_NOMEM, "out of memory for a merge");
    atomic_init(&r->is_failed, false);
    r->merge = m;
    r->skip = common_skip(m);
    want = exec && exec_has_threads(exec) ? parts_wanted(m) : 1;
    st = m->memtable && want > 1 ? choose_memtable_parts(m, r, want) : choose_parts(m, r, want);
    if (st == ODB_OK) {
        exec_share(exec, r->count, run_part, r);
        st = join_parts(m->tree, r, out);
    }
    mem_free(r);
    return st;
}
