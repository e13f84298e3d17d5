/* vector/kernel_avx2.c -- kernels for processors with AVX2, FMA and F16C.
 *
 * Four rows at a time share the loads of the query. Each row keeps two sums, so that a fused
 * multiply-add does not wait for the one before it. Single rows keep four.
 *
 * Signed bytes: vpmaddubsw wants one unsigned side, so the sign moves from the query to the row
 * (|q| * (row with q's sign)). Codes stay within +-127: two products of one pair fit 16 bits.
 *
 * The target attribute, not a compiler flag, lets the file be part of one amalgamated source; nothing
 * here runs before vec_kernel_named() has asked the processor.
 */
#include "vector/kernel.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>
#include <math.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))

AVX2 static inline float avx2_sum(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

AVX2 static inline int32_t avx2_sum_int(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

/* Eight elements of a row as floats, whatever its form. */
AVX2 static inline __m256 avx2_load_f32(const void *row, size_t i)
{
    return _mm256_loadu_ps((const float *)row + i);
}

AVX2 static inline __m256 avx2_load_f16(const void *row, size_t i)
{
    const void *at = (const uint16_t *)row + i;

    return _mm256_cvtph_ps(_mm_loadu_si128(at));
}

static inline float avx2_one_f32(const void *row, size_t i)
{
    return ((const float *)row)[i];
}

static inline float avx2_one_f16(const void *row, size_t i)
{
    return vec_half_to_float(((const uint16_t *)row)[i]);
}

AVX2 static inline __m256 avx2_add_l2(__m256 sum, __m256 q, __m256 r)
{
    __m256 d = _mm256_sub_ps(q, r);

    return _mm256_fmadd_ps(d, d, sum);
}

AVX2 static inline __m256 avx2_add_dot(__m256 sum, __m256 q, __m256 r)
{
    return _mm256_fmadd_ps(q, r, sum);
}

static inline float avx2_tail_l2(float q, float r)
{
    return (q - r) * (q - r);
}

static inline float avx2_tail_dot(float q, float r)
{
    return q * r;
}

#define AVX2_KERNEL(name, kind, form)                                                              \
    AVX2 static void name(const void *q, const void *const *rows, size_t n, size_t dim,            \
                          float *out)                                                              \
    {                                                                                              \
        size_t r = 0;                                                                              \
                                                                                                   \
        for (; r + 4 <= n; r += 4) {                                                               \
            const void *r0 = rows[r], *r1 = rows[r + 1], *r2 = rows[r + 2], *r3 = rows[r + 3];     \
            __m256 a0 = _mm256_setzero_ps(), a1 = a0, a2 = a0, a3 = a0;                            \
            __m256 b0 = a0, b1 = a0, b2 = a0, b3 = a0;                                             \
            size_t i = 0;                                                                          \
                                                                                                   \
            for (; i + 16 <= dim; i += 16) {                                                       \
                __m256 x = avx2_load_f32(q, i), y = avx2_load_f32(q, i + 8);                       \
                                                                                                   \
                a0 = avx2_add_##kind(a0, x, avx2_load_##form(r0, i));                              \
                a1 = avx2_add_##kind(a1, x, avx2_load_##form(r1, i));                              \
                a2 = avx2_add_##kind(a2, x, avx2_load_##form(r2, i));                              \
                a3 = avx2_add_##kind(a3, x, avx2_load_##form(r3, i));                              \
                b0 = avx2_add_##kind(b0, y, avx2_load_##form(r0, i + 8));                          \
                b1 = avx2_add_##kind(b1, y, avx2_load_##form(r1, i + 8));                          \
                b2 = avx2_add_##kind(b2, y, avx2_load_##form(r2, i + 8));                          \
                b3 = avx2_add_##kind(b3, y, avx2_load_##form(r3, i + 8));                          \
            }                                                                                      \
            out[r] = avx2_sum(_mm256_add_ps(a0, b0));                                              \
            out[r + 1] = avx2_sum(_mm256_add_ps(a1, b1));                                          \
            out[r + 2] = avx2_sum(_mm256_add_ps(a2, b2));                                          \
            out[r + 3] = avx2_sum(_mm256_add_ps(a3, b3));                                          \
            for (; i < dim; i++)                                                                   \
                for (size_t k = 0; k < 4; k++)                                                     \
                    out[r + k] +=                                                                  \
                        avx2_tail_##kind(avx2_one_f32(q, i), avx2_one_##form(rows[r + k], i));     \
        }                                                                                          \
        for (; r < n; r++) {                                                                       \
            const void *row = rows[r];                                                             \
            __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;                                   \
            size_t i = 0;                                                                          \
                                                                                                   \
            for (; i + 32 <= dim; i += 32) {                                                       \
                a = avx2_add_##kind(a, avx2_load_f32(q, i), avx2_load_##form(row, i));             \
                b = avx2_add_##kind(b, avx2_load_f32(q, i + 8), avx2_load_##form(row, i + 8));     \
                c = avx2_add_##kind(c, avx2_load_f32(q, i + 16), avx2_load_##form(row, i + 16));   \
                d = avx2_add_##kind(d, avx2_load_f32(q, i + 24), avx2_load_##form(row, i + 24));   \
            }                                                                                      \
            for (; i + 8 <= dim; i += 8)                                                           \
                a = avx2_add_##kind(a, avx2_load_f32(q, i), avx2_load_##form(row, i));             \
            out[r] = avx2_sum(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));            \
            for (; i < dim; i++)                                                                   \
                out[r] += avx2_tail_##kind(avx2_one_f32(q, i), avx2_one_##form(row, i));           \
        }                                                                                          \
    }

AVX2_KERNEL(avx2_l2_f32, l2, f32)
AVX2_KERNEL(avx2_dot_f32, dot, f32)
AVX2_KERNEL(avx2_l2_f16, l2, f16)
AVX2_KERNEL(avx2_dot_f16, dot, f16)

AVX2 static inline __m256i avx2_load_codes(const int8_t *p, size_t i)
{
    const void *at = p + i;

    return _mm256_loadu_si256(at);
}

AVX2 static inline __m256i avx2_add_codes(__m256i sum, __m256i q, __m256i abs_q, __m256i r)
{
    __m256i pairs = _mm256_maddubs_epi16(abs_q, _mm256_sign_epi8(r, q));

    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

AVX2 static void avx2_dot_codes(const int8_t *q, const void *const *rows, size_t n, size_t dim,
                                int32_t *out)
{
    size_t r = 0, i;

    for (; r + 4 <= n; r += 4) {
        const int8_t *r0 = vec_i8_codes(rows[r]), *r1 = vec_i8_codes(rows[r + 1]);
        const int8_t *r2 = vec_i8_codes(rows[r + 2]), *r3 = vec_i8_codes(rows[r + 3]);
        __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;

        for (i = 0; i + 32 <= dim; i += 32) {
            __m256i x = avx2_load_codes(q, i), a = _mm256_abs_epi8(x);

            s0 = avx2_add_codes(s0, x, a, avx2_load_codes(r0, i));
            s1 = avx2_add_codes(s1, x, a, avx2_load_codes(r1, i));
            s2 = avx2_add_codes(s2, x, a, avx2_load_codes(r2, i));
            s3 = avx2_add_codes(s3, x, a, avx2_load_codes(r3, i));
        }
        out[r] = avx2_sum_int(s0);
        out[r + 1] = avx2_sum_int(s1);
        out[r + 2] = avx2_sum_int(s2);
        out[r + 3] = avx2_sum_int(s3);
        for (; i < dim; i++) {
            out[r] += q[i] * r0[i];
            out[r + 1] += q[i] * r1[i];
            out[r + 2] += q[i] * r2[i];
            out[r + 3] += q[i] * r3[i];
        }
    }
    for (; r < n; r++) {
        const int8_t *row = vec_i8_codes(rows[r]);
        __m256i s0 = _mm256_setzero_si256(), s1 = s0;

        for (i = 0; i + 64 <= dim; i += 64) {
            __m256i x = avx2_load_codes(q, i), y = avx2_load_codes(q, i + 32);

            s0 = avx2_add_codes(s0, x, _mm256_abs_epi8(x), avx2_load_codes(row, i));
            s1 = avx2_add_codes(s1, y, _mm256_abs_epi8(y), avx2_load_codes(row, i + 32));
        }
        out[r] = avx2_sum_int(_mm256_add_epi32(s0, s1));
        for (; i < dim; i++)
            out[r] += q[i] * row[i];
    }
}

#define AVX2_AT_ONCE 32

#define AVX2_KERNEL_I8(name, finish)                                                               \
    AVX2 static void name(const void *q, const void *const *rows, size_t n, size_t dim,            \
                          float *out)                                                              \
    {                                                                                              \
        struct vec_i8_head head = vec_i8_head(q);                                                  \
        int32_t dot[AVX2_AT_ONCE];                                                                 \
                                                                                                   \
        for (size_t r = 0; r < n; r += AVX2_AT_ONCE) {                                             \
            size_t some = n - r < AVX2_AT_ONCE ? n - r : AVX2_AT_ONCE;                             \
                                                                                                   \
            avx2_dot_codes(vec_i8_codes(q), rows + r, some, dim, dot);                             \
            for (size_t k = 0; k < some; k++)                                                      \
                out[r + k] = finish(head, vec_i8_head(rows[r + k]), dot[k]);                       \
        }                                                                                          \
    }

AVX2_KERNEL_I8(avx2_l2_i8, vec_i8_l2)
AVX2_KERNEL_I8(avx2_dot_i8, vec_i8_dot)

AVX2 static void avx2_widen(const uint16_t *half, size_t n, float *out)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, avx2_load_f16(half, i));
    for (; i < n; i++)
        out[i] = vec_half_to_float(half[i]);
}

AVX2 static inline float avx2_top(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    s = _mm_max_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

/* Eight codes as bytes, and what they cost. */
struct avx2_codes {
    __m256i sum;     /* of their squares */
    __m256d error_a; /* lanes 0 to 3 */
    __m256d error_b; /* lanes 4 to 7 */
};

AVX2 static inline void avx2_encode_8(struct avx2_codes *to, __m256 x, float factor, float inverse,
                                      float scale, int8_t *out)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v = _mm256_mul_ps(x, _mm256_set1_ps(inverse)), off;
    __m256 half = _mm256_or_ps(_mm256_and_ps(v, sign), _mm256_set1_ps(0.5f));
    __m256i c = _mm256_cvttps_epi32(_mm256_add_ps(v, half));
    __m256d a, b;
    __m128i words;

    c = _mm256_max_epi32(_mm256_min_epi32(c, _mm256_set1_epi32(127)), _mm256_set1_epi32(-127));
    to->sum = _mm256_add_epi32(to->sum, _mm256_mullo_epi32(c, c));
    off = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(c));
    off = _mm256_sub_ps(_mm256_mul_ps(x, _mm256_set1_ps(factor)), off);
    a = _mm256_cvtps_pd(_mm256_castps256_ps128(off));
    b = _mm256_cvtps_pd(_mm256_extractf128_ps(off, 1));
    to->error_a = _mm256_add_pd(to->error_a, _mm256_mul_pd(a, a));
    to->error_b = _mm256_add_pd(to->error_b, _mm256_mul_pd(b, b));
    words = _mm_packs_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    _mm_storel_epi64((void *)out, _mm_packs_epi16(words, words));
}

/* A last piece is filled up with zeros, which change nothing. */
AVX2 void vec_encode_i8_avx2(const float *x, float factor, size_t dim, void *row)
{
    int8_t *codes = (int8_t *)row + VEC_I8_HEAD;
    struct avx2_codes sums = {_mm256_setzero_si256(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    __m256 top = _mm256_setzero_ps();
    float tail[8] = {0}, highest, scale, inverse;
    double error[VEC_ERROR_LANES];
    size_t whole = dim & ~(size_t)7;
    int8_t last[8];

    memcpy(tail, x + whole, (dim - whole) * sizeof *tail);
    for (size_t i = 0; i < whole; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));

        top = _mm256_max_ps(top, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v));
    }
    top = _mm256_max_ps(
        top, _mm256_andnot_ps(_mm256_set1_ps(-0.0f),
                              _mm256_mul_ps(_mm256_loadu_ps(tail), _mm256_set1_ps(factor))));
    highest = avx2_top(top);
    scale = vec_i8_scale(highest);
    inverse = vec_i8_inverse(scale, factor);
    for (size_t i = 0; i < whole; i += 8)
        avx2_encode_8(&sums, _mm256_loadu_ps(x + i), factor, inverse, scale, codes + i);
    if (dim > whole) {
        avx2_encode_8(&sums, _mm256_loadu_ps(tail), factor, inverse, scale, last);
        memcpy(codes + whole, last, dim - whole);
    }
    _mm256_storeu_pd(error, sums.error_a);
    _mm256_storeu_pd(error + 4, sums.error_b);
    vec_i8_head_put(row, scale, highest, avx2_sum_int(sums.sum), sqrt(vec_error_sum(error)));
}

AVX2 static void avx2_encode_f16(const float *x, float factor, size_t dim, void *row)
{
    uint16_t *half = row;
    size_t i = 0;

    for (; i + 8 <= dim; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        __m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);

        memcpy(half + i, &h, sizeof h);
    }
    for (; i < dim; i++)
        half[i] = vec_half_from_float(x[i] * factor);
}

const struct vec_kernel *vec_kernel_avx2(void)
{
    static const struct vec_kernel k = {
        "avx2",
        {avx2_l2_f32, avx2_l2_f16, avx2_l2_i8},
        {avx2_dot_f32, avx2_dot_f16, avx2_dot_i8},
        avx2_widen,
        {vec_encode_f32, avx2_encode_f16, vec_encode_i8_avx2},
    };

    return &k;
}

#else

const struct vec_kernel *vec_kernel_avx2(void)
{
    return NULL;
}

#endif
