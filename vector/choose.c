/* vector/choose.c -- which form to search in, when it is left to the index (ODB_VEC_AUTO).
 *
 *     up to flat_max vectors      F32: every search goes through all of them, and need not read rows
 *     fewer than 32 dimensions    F32: a code and its head would be no shorter
 *     none yet                    I8: the order comes from the stored floats in any case
 *     else                        I8 if its proposals would hold the nearest, else F16 if its would, else F32
 *
 * The last is tried out: among the first vectors in order of ids, is what the floats find among the three
 * times as many that the codes propose? Bytes share one scale, so a vector with one number far above the
 * others loses them; halves lose what is beyond 65504 or far below 1.
 */
#include <math.h>

#include "base/alloc.h"
#include "vector/index.h"

#define DIM_MIN     32
#define SAMPLE_ROWS 2048
#define SAMPLE_MIN  64
#define SAMPLE_ROOM ((size_t)16 << 20) /* bytes of floats */
#define ASKED       16                 /* of them are asked for their neighbours */
#define NEAR        10
#define PROPOSED    (3 * NEAR) /* as in search.c */

struct trial {
    struct vec_index *ix;
    const struct vec_kernel *kernel;
    uint32_t dim, count;
    float *x;      /* count rows of floats */
    uint8_t *code; /* count rows in the form on trial, then a query */
    float *dist;
};

/* Which of the sample are nearest to number `self`, nearest first, by `dist`; itself left out. */
static uint32_t nearest_of(const struct trial *t, uint32_t self, uint32_t *out, uint32_t most)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t at = n;

        if (i == self || (n == most && !(t->dist[i] < t->dist[out[n - 1]])))
            continue;
        if (n < most)
            n++;
        else
            at = n - 1;
        for (; at > 0 && t->dist[i] < t->dist[out[at - 1]]; at--)
            out[at] = out[at - 1];
        out[at] = i;
    }
    return n;
}

static float factor_of(const struct trial *t, const float *x)
{
    double norm = 0;

    for (uint32_t i = 0; i < t->dim; i++)
        norm += (double)x[i] * (double)x[i];
    return vec_factor_of((enum vec_metric)(t->ix->config.metric - 1), (float)sqrt(norm));
}

/* What part of the true neighbours a form would propose. */
static double recall_of(struct trial *t, enum vec_form form)
{
    bool l2 = t->ix->config.metric == ODB_METRIC_L2;
    vec_dist_fn *compare = l2 ? t->kernel->l2[form] : t->kernel->dot[form];
    size_t stride = (vec_row_bytes(form, t->dim) + 15) & ~(size_t)15;
    uint8_t *query = t->code + t->count * stride;
    uint32_t hit = 0, all = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        const float *x = t->x + (size_t)i * t->dim;

        t->kernel->encode[form](x, factor_of(t, x), t->dim, t->code + i * stride);
    }
    for (uint32_t q = 0; q < ASKED; q++) {
        uint32_t self = q * (t->count / ASKED), near[NEAR], proposed[PROPOSED], n, m;
        const float *x = t->x + (size_t)self * t->dim;

        for (uint32_t i = 0; i < t->count; i++)
            t->dist[i] = vec_distance_by(t->kernel, x, t->x + (size_t)i * t->dim, t->dim,
                                         t->ix->config.metric);
        n = nearest_of(t, self, near, NEAR);
        vec_query_encode(form, x, factor_of(t, x), t->dim, query);
        for (uint32_t i = 0; i < t->count; i++) {
            const void *row = t->code + i * stride;

            compare(query, &row, 1, t->dim, &t->dist[i]);
            if (!l2)
                t->dist[i] = -t->dist[i];
            if (!(t->dist[i] < INFINITY)) /* beyond what halves can say */
                t->dist[i] = INFINITY;
        }
        m = nearest_of(t, self, proposed, PROPOSED);
        for (uint32_t i = 0; i < n; i++, all++)
            for (uint32_t k = 0; k < m; k++)
                hit += proposed[k] == near[i];
    }
    return all ? (double)hit / (double)all : 1;
}

static odb_status read_sample(struct trial *t, odb_at at, uint32_t most)
{
    odb_iter *it = NULL;
    odb_status st = odb_iter_new(at, t->ix->data, NULL, &it);

    if (st != ODB_OK)
        return st;
    for (bool ok = odb_iter_first(it); ok && t->count < most; ok = odb_iter_next(it)) {
        struct vec_data d;

        if (vec_data_read(odb_iter_value(it), &d) || d.dim != t->dim)
            continue; /* loading will count it */
        vec_data_floats(&d, t->x + (size_t)t->count++ * t->dim);
    }
    st = odb_iter_status(it);
    odb_iter_free(it);
    return st;
}

static odb_status try_forms(struct trial *t, odb_at at, enum vec_form *out)
{
    size_t most = SAMPLE_ROOM / (t->dim * sizeof(float));
    odb_status st = ODB_OK;

    most = most > SAMPLE_ROWS ? SAMPLE_ROWS : most < SAMPLE_MIN ? SAMPLE_MIN : most;
    t->x = mem_array(most * t->dim, sizeof *t->x);
    t->code = mem_array(most + 2, vec_query_bytes(VEC_F16, t->dim) + VEC_I8_HEAD + 16);
    t->dist = mem_array(most, sizeof *t->dist);
    if (!t->x || !t->code || !t->dist)
        st = err_set(ODB_NOMEM, "vector index: no memory to try forms");
    if (st == ODB_OK)
        st = read_sample(t, at, (uint32_t)most);
    if (st == ODB_OK && t->count >= SAMPLE_MIN)
        *out = recall_of(t, VEC_I8) >= 0.99    ? VEC_I8
               : recall_of(t, VEC_F16) >= 0.99 ? VEC_F16
                                               : VEC_F32;
    mem_free(t->x);
    mem_free(t->code);
    mem_free(t->dist);
    return st;
}

odb_status vec_form_choose(struct vec_index *ix, odb_at at, const struct vec_kernel *kernel,
                           enum vec_form *out)
{
    struct trial t = {.ix = ix, .kernel = kernel, .dim = ix->config.dim};
    odb_stats_t stats = {.size = sizeof stats};
    uint64_t rows;
    odb_status st;

    if (ix->config.form != ODB_VEC_AUTO) {
        *out = (enum vec_form)(ix->config.form - 1);
        return ODB_OK;
    }
    *out = VEC_F32;
    if (t.dim < DIM_MIN)
        return ODB_OK;
    st = odb_stats(ix->db, ix->data, &stats);
    if (st != ODB_OK)
        return st;
    rows = stats.memtable_entries; /* versions, rather: near enough */
    for (int i = 0; i < ODB_LEVELS; i++)
        rows += stats.level[i].entries;
    if (rows == 0)
        *out = VEC_I8;
    else if (rows > ix->config.flat_max)
        st = try_forms(&t, at, out);
    return st;
}
