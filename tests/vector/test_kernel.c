/* Every kernel this machine can run, and the AVX-512 ones on any machine, against the scalar ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/base/random.h"
#include "vector/kernel.h"

#define DIM_MAX  1100
#define ROWS_MAX 9

#ifdef TEST_AVX512_PORTABLE
const struct vec_kernel *vec_kernel_avx512_portable(void);
#endif

static float some_float(struct rnd *r)
{
    return (float)((double)(rnd_next(r) >> 11) / 9007199254740992.0 * 2 - 1);
}

static size_t kernels(const struct vec_kernel **out)
{
    static const char *const names[] = {"avx2", "avx512", "neon"};
    size_t n = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (vec_kernel_named(names[i]))
            out[n++] = vec_kernel_named(names[i]);
#ifdef TEST_AVX512_PORTABLE
    out[n++] = vec_kernel_avx512_portable();
#endif
    return n;
}

struct made {
    float floats[ROWS_MAX + 1][DIM_MAX];
    uint8_t rows[ROWS_MAX][DIM_MAX * 4 + VEC_I8_HEAD + 8];
    uint8_t query[DIM_MAX * 4 + VEC_I8_HEAD + 8];
    const void *row[ROWS_MAX];
};

static void make(struct made *m, struct rnd *r, enum vec_form form, size_t dim, size_t n)
{
    size_t shift = form == VEC_I8 ? rnd_below(r, 3) : 0; /* bytes may begin anywhere */

    for (size_t i = 0; i <= n; i++)
        for (size_t d = 0; d < dim; d++)
            m->floats[i][d] = some_float(r);
    vec_query_encode(form, m->floats[n], 1, dim, m->query);
    for (size_t i = 0; i < n; i++) {
        vec_row_encode(form, m->floats[i], 1, dim, m->rows[i] + shift);
        m->row[i] = m->rows[i] + shift;
    }
}

static void kernels_agree_with_the_scalar_one(void **state)
{
    static struct made m;
    struct rnd r = rnd_start("test_kernel");
    const struct vec_kernel *k[4], *scalar = vec_kernel_scalar();
    size_t count = kernels(k);

    (void)state;
    for (int round = 0; round < 3000; round++) {
        size_t dim = round < 1200 ? 1 + (size_t)round % 150 : 1 + rnd_below(&r, DIM_MAX);
        size_t n = 1 + rnd_below(&r, ROWS_MAX);
        enum vec_form form = (enum vec_form)(round % 3);
        float want[ROWS_MAX], got[ROWS_MAX];

        make(&m, &r, form, dim, n);
        for (size_t i = 0; i < count; i++)
            for (int dot = 0; dot < 2; dot++) {
                float span = (float)dim * 1e-5f;

                (dot ? scalar->dot : scalar->l2)[form](m.query, m.row, n, dim, want);
                (dot ? k[i]->dot : k[i]->l2)[form](m.query, m.row, n, dim, got);
                for (size_t j = 0; j < n; j++)
                    if (!(fabsf(want[j] - got[j]) <= span + 1e-5f * fabsf(want[j])))
                        fail_msg("%s form %d dot %d dim %zu row %zu of %zu: %g, scalar %g",
                                 k[i]->name, (int)form, dot, dim, j, n, (double)got[j],
                                 (double)want[j]);
            }
    }
}

static void rows_approximate_what_they_were_made_of(void **state)
{
    static struct made m;
    static float back[DIM_MAX];
    struct rnd r = rnd_start("test_kernel");

    (void)state;
    for (int round = 0; round < 600; round++) {
        size_t dim = 1 + rnd_below(&r, 500);
        enum vec_form form = (enum vec_form)(round % 3);
        double off = 0, norm2 = 0;

        make(&m, &r, form, dim, 1);
        vec_row_decode(form, m.row[0], dim, back);
        for (size_t i = 0; i < dim; i++) {
            double d = (double)back[i] - (double)m.floats[0][i];

            off += d * d;
            norm2 += (double)m.floats[0][i] * (double)m.floats[0][i];
        }
        assert_true(sqrt(off) <= (double)vec_row_error(form, m.row[0], dim) * 1.00001 + 1e-9);
        assert_true(sqrt(off) <= 0.01 * sqrt(norm2) + 1e-9);
        if (form == VEC_I8) /* nor is the error said to be much larger than it is */
            assert_true((double)vec_i8_error(m.row[0]) <=
                        sqrt(off) * 1.07 + (double)vec_i8_head(m.row[0]).scale / 128);
    }
}

/* Extremes: all codes at +-127 and the longest dimension must not overflow. */
static void bytes_do_not_overflow(void **state)
{
    static float x[65535];
    static uint8_t row[65535 + VEC_I8_HEAD], query[65535 + VEC_I8_HEAD];
    const struct vec_kernel *k[4];
    size_t count = kernels(k);
    const void *rows[5] = {row, row, row, row, row};

    (void)state;
    k[count++] = vec_kernel_scalar();
    for (int sign = -1; sign <= 1; sign += 2) {
        for (size_t i = 0; i < 65535; i++)
            x[i] = (float)sign;
        vec_row_encode(VEC_I8, x, 1, 65535, row);
        for (size_t i = 0; i < 65535; i++)
            x[i] = 1;
        vec_row_encode(VEC_I8, x, 1, 65535, query);
        for (size_t i = 0; i < count; i++) {
            float got[5];

            k[i]->dot[VEC_I8](query, rows, 5, 65535, got);
            for (size_t j = 0; j < 5; j++) {
                assert_true(fabsf(got[j] - (float)sign * 65535.0f) < 65535.0f / 16384);
                assert_true(got[j] == vec_i8_dot(vec_i8_head(query), vec_i8_head(row),
                                                 sign * 65535 * 127 * 127));
            }
        }
    }
}

static void halves_are_rounded_to_nearest(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) { /* every half survives the trip */
        float f = vec_half_to_float((uint16_t)h);

        if (f == f)
            assert_int_equal(vec_half_from_float(f), h);
    }
    for (uint32_t h = 0; h + 1 < 0x7c00; h++) { /* between two: the nearer, ties to even */
        float a = vec_half_to_float((uint16_t)h), b = vec_half_to_float((uint16_t)(h + 1));
        float middle = a + (b - a) / 2;

        assert_int_equal(vec_half_from_float(middle), h & 1 ? h + 1 : h);
        assert_int_equal(vec_half_from_float(nextafterf(middle, a)), h);
        assert_int_equal(vec_half_from_float(nextafterf(middle, b)), h + 1);
    }
    assert_int_equal(vec_half_from_float(65520.0f), 0x7c00);
    assert_int_equal(vec_half_from_float(-1e30f), 0xfc00);
    assert_int_equal(vec_half_from_float(1e-30f), 0);
}

static void tiny_and_zero_vectors_have_rows(void **state)
{
    static const float zero[40], tiny[3] = {1e-42f, -1e-42f, 0};
    uint8_t row[64];
    float got, back[40];
    const void *rows[1] = {row};

    (void)state;
    vec_row_encode(VEC_I8, zero, 1, 40, row);
    vec_kernel_choose(NULL)->l2[VEC_I8](row, rows, 1, 40, &got);
    assert_true(got == 0);
    vec_row_encode(VEC_I8, tiny, 1, 3, row);
    vec_row_decode(VEC_I8, row, 3, back);
    for (int i = 0; i < 3; i++)
        assert_true(fabsf(back[i]) < 1e-40f);
}

/* What is stored in memory does not depend on the processor. */
static void kernels_make_the_same_rows(void **state)
{
    static const size_t dims[] = {1, 3, 7, 8, 9, 16, 31, 100, 127, 384, 771};
    const struct vec_kernel *k[4];
    size_t count = kernels(k);
    struct rnd r = {77};

    (void)state;
    for (size_t round = 0; round < 40 * sizeof dims / sizeof *dims; round++) {
        size_t dim = dims[round % (sizeof dims / sizeof *dims)];
        float x[771], factor = round % 3 ? 1.0f : 0.37f;

        for (size_t i = 0; i < dim; i++) {
            x[i] = (float)((double)rnd_below(&r, 2000001) / 1e6 - 1);
            if (round % 5 == 1) /* halves of a step: where rounding could differ */
                x[i] = (float)((double)rnd_below(&r, 509) / 2 - 127);
            if (round % 5 == 2)
                x[i] *= 1e-41f;
            if (round % 5 == 3)
                x[i] *= 1e17f;
        }
        for (size_t i = 0; i < count; i++)
            for (int form = 0; form < VEC_FORMS; form++) {
                uint8_t got[771 * 4 + VEC_I8_HEAD + 1] = {0}, want[771 * 4 + VEC_I8_HEAD + 1] = {0};
                size_t bytes = vec_row_bytes((enum vec_form)form, dim);

                k[i]->encode[form](x, factor, dim, got);
                vec_row_encode((enum vec_form)form, x, factor, dim, want);
                if (form == VEC_I8) { /* sums of what rounding took may differ in their last bit, */
                    uint32_t a, b;    /* and so end at both sides of a step */

                    memcpy(&a, got, sizeof a);
                    memcpy(&b, want, sizeof b);
                    assert_true(a - b + 1 <= 2);
                    memcpy(got, &b, sizeof b);
                }
                assert_memory_equal(got, want, bytes + 1); /* and not a byte more */
            }
    }
}

static void a_wish_is_granted_where_it_can_be(void **state)
{
    (void)state;
    assert_string_equal(vec_kernel_choose("scalar")->name, "scalar");
    assert_ptr_equal(vec_kernel_choose("abacus"), vec_kernel_choose(NULL));
    assert_null(vec_kernel_named("abacus"));
    if (vec_kernel_named("avx2"))
        assert_string_equal(vec_kernel_choose("avx2")->name, "avx2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_agree_with_the_scalar_one),
        cmocka_unit_test(rows_approximate_what_they_were_made_of),
        cmocka_unit_test(bytes_do_not_overflow),
        cmocka_unit_test(halves_are_rounded_to_nearest),
        cmocka_unit_test(kernels_make_the_same_rows),
        cmocka_unit_test(tiny_and_zero_vectors_have_rows),
        cmocka_unit_test(a_wish_is_granted_where_it_can_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
