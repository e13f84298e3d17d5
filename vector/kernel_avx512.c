/* vector/kernel_avx512.c -- kernels for processors with AVX-512 F, BW, VL and VNNI.
 *
 * As kernel_avx2.c, with twice the width. vpdpbusd multiplies unsigned by signed bytes: the query
 * gets 128 added (its top bit flipped) and 128 times the sum of the row's codes is taken off again,
 * which a second vpdpbusd with ones adds up. Tails are masked loads.
 *
 * A test that has no such processor compiles this file against a portable implementation of the
 * instructions (ODB_AVX512_PORTABLE), which proves the arithmetic, not the speed.
 */
#include "vector/kernel.h"

#ifdef ODB_AVX512_PORTABLE
#include ODB_AVX512_PORTABLE
#define AVX512
#define HAVE_AVX512
#define AVX512_ENCODE_I8 vec_encode_i8
#elif (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,f16c")))
#define HAVE_AVX512
#define AVX512_ENCODE_I8 vec_encode_i8_avx2 /* wider stores would not help */
#endif

#ifdef HAVE_AVX512

/* The first `left` of sixteen elements. */
AVX512 static inline __mmask16 avx512_first(size_t left)
{
    return left < 16 ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
}

AVX512 static inline __m512 avx512_load_f32(const void *row, size_t i)
{
    return _mm512_loadu_ps((const float *)row + i);
}

AVX512 static inline __m512 avx512_some_f32(const void *row, size_t i, size_t left)
{
    return _mm512_maskz_loadu_ps(avx512_first(left), (const float *)row + i);
}

AVX512 static inline __m512 avx512_load_f16(const void *row, size_t i)
{
    const void *at = (const uint16_t *)row + i;

    return _mm512_cvtph_ps(_mm256_loadu_si256(at));
}

AVX512 static inline __m512 avx512_some_f16(const void *row, size_t i, size_t left)
{
    uint16_t some[16] = {0};
    const void *at = some;

    memcpy(some, (const uint16_t *)row + i, left * sizeof *some);
    return _mm512_cvtph_ps(_mm256_loadu_si256(at));
}

AVX512 static inline __m512 avx512_add_l2(__m512 sum, __m512 q, __m512 r)
{
    __m512 d = _mm512_sub_ps(q, r);

    return _mm512_fmadd_ps(d, d, sum);
}

AVX512 static inline __m512 avx512_add_dot(__m512 sum, __m512 q, __m512 r)
{
    return _mm512_fmadd_ps(q, r, sum);
}

#define AVX512_KERNEL(name, kind, form)                                                            \
    AVX512 static void name(const void *q, const void *const *rows, size_t n, size_t dim,          \
                            float *out)                                                            \
    {                                                                                              \
        size_t r = 0, i;                                                                           \
                                                                                                   \
        for (; r + 4 <= n; r += 4) {                                                               \
            const void *r0 = rows[r], *r1 = rows[r + 1], *r2 = rows[r + 2], *r3 = rows[r + 3];     \
            __m512 a0 = _mm512_setzero_ps(), a1 = a0, a2 = a0, a3 = a0;                            \
                                                                                                   \
            for (i = 0; i + 16 <= dim; i += 16) {                                                  \
                __m512 x = avx512_load_f32(q, i);                                                  \
                                                                                                   \
                a0 = avx512_add_##kind(a0, x, avx512_load_##form(r0, i));                          \
                a1 = avx512_add_##kind(a1, x, avx512_load_##form(r1, i));                          \
                a2 = avx512_add_##kind(a2, x, avx512_load_##form(r2, i));                          \
                a3 = avx512_add_##kind(a3, x, avx512_load_##form(r3, i));                          \
            }                                                                                      \
            if (i < dim) {                                                                         \
                __m512 x = avx512_some_f32(q, i, dim - i);                                         \
                                                                                                   \
                a0 = avx512_add_##kind(a0, x, avx512_some_##form(r0, i, dim - i));                 \
                a1 = avx512_add_##kind(a1, x, avx512_some_##form(r1, i, dim - i));                 \
                a2 = avx512_add_##kind(a2, x, avx512_some_##form(r2, i, dim - i));                 \
                a3 = avx512_add_##kind(a3, x, avx512_some_##form(r3, i, dim - i));                 \
            }                                                                                      \
            out[r] = _mm512_reduce_add_ps(a0);                                                     \
            out[r + 1] = _mm512_reduce_add_ps(a1);                                                 \
            out[r + 2] = _mm512_reduce_add_ps(a2);                                                 \
            out[r + 3] = _mm512_reduce_add_ps(a3);                                                 \
        }                                                                                          \
        for (; r < n; r++) {                                                                       \
            const void *row = rows[r];                                                             \
            __m512 a = _mm512_setzero_ps(), b = a;                                                 \
                                                                                                   \
            for (i = 0; i + 32 <= dim; i += 32) {                                                  \
                a = avx512_add_##kind(a, avx512_load_f32(q, i), avx512_load_##form(row, i));       \
                b = avx512_add_##kind(b, avx512_load_f32(q, i + 16),                               \
                                      avx512_load_##form(row, i + 16));                            \
            }                                                                                      \
            for (; i < dim; i += 16)                                                               \
                a = avx512_add_##kind(a, avx512_some_f32(q, i, dim - i < 16 ? dim - i : 16),       \
                                      avx512_some_##form(row, i, dim - i < 16 ? dim - i : 16));    \
            out[r] = _mm512_reduce_add_ps(_mm512_add_ps(a, b));                                    \
        }                                                                                          \
    }

AVX512_KERNEL(avx512_l2_f32, l2, f32)
AVX512_KERNEL(avx512_dot_f32, dot, f32)
AVX512_KERNEL(avx512_l2_f16, l2, f16)
AVX512_KERNEL(avx512_dot_f16, dot, f16)

AVX512 static inline __m512i avx512_codes(const int8_t *p, size_t i, size_t dim)
{
    __mmask64 first = dim - i < 64 ? (__mmask64)(((uint64_t)1 << (dim - i)) - 1) : ~(__mmask64)0;

    return _mm512_maskz_loadu_epi8(first, p + i);
}

AVX512 static void avx512_dot_codes(const int8_t *q, const void *const *rows, size_t n, size_t dim,
                                    int32_t *out)
{
    const __m512i flip = _mm512_set1_epi8((char)-128), ones = _mm512_set1_epi8(1);
    size_t r = 0, i;

    for (; r + 4 <= n; r += 4) {
        const int8_t *r0 = vec_i8_codes(rows[r]), *r1 = vec_i8_codes(rows[r + 1]);
        const int8_t *r2 = vec_i8_codes(rows[r + 2]), *r3 = vec_i8_codes(rows[r + 3]);
        __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
        __m512i t0 = s0, t1 = s0, t2 = s0, t3 = s0;

        for (i = 0; i < dim; i += 64) {
            __m512i x = _mm512_xor_si512(avx512_codes(q, i, dim), flip);
            __m512i y0 = avx512_codes(r0, i, dim), y1 = avx512_codes(r1, i, dim);
            __m512i y2 = avx512_codes(r2, i, dim), y3 = avx512_codes(r3, i, dim);

            s0 = _mm512_dpbusd_epi32(s0, x, y0);
            s1 = _mm512_dpbusd_epi32(s1, x, y1);
            s2 = _mm512_dpbusd_epi32(s2, x, y2);
            s3 = _mm512_dpbusd_epi32(s3, x, y3);
            t0 = _mm512_dpbusd_epi32(t0, ones, y0);
            t1 = _mm512_dpbusd_epi32(t1, ones, y1);
            t2 = _mm512_dpbusd_epi32(t2, ones, y2);
            t3 = _mm512_dpbusd_epi32(t3, ones, y3);
        }
        out[r] = _mm512_reduce_add_epi32(_mm512_sub_epi32(s0, _mm512_slli_epi32(t0, 7)));
        out[r + 1] = _mm512_reduce_add_epi32(_mm512_sub_epi32(s1, _mm512_slli_epi32(t1, 7)));
        out[r + 2] = _mm512_reduce_add_epi32(_mm512_sub_epi32(s2, _mm512_slli_epi32(t2, 7)));
        out[r + 3] = _mm512_reduce_add_epi32(_mm512_sub_epi32(s3, _mm512_slli_epi32(t3, 7)));
    }
    for (; r < n; r++) {
        const int8_t *row = vec_i8_codes(rows[r]);
        __m512i s = _mm512_setzero_si512(), t = s;

        for (i = 0; i < dim; i += 64) {
            __m512i y = avx512_codes(row, i, dim);

            s = _mm512_dpbusd_epi32(s, _mm512_xor_si512(avx512_codes(q, i, dim), flip), y);
            t = _mm512_dpbusd_epi32(t, ones, y);
        }
        out[r] = _mm512_reduce_add_epi32(_mm512_sub_epi32(s, _mm512_slli_epi32(t, 7)));
    }
}

#define AVX512_AT_ONCE 32

#define AVX512_KERNEL_I8(name, finish)                                                             \
    AVX512 static void name(const void *q, const void *const *rows, size_t n, size_t dim,          \
                            float *out)                                                            \
    {                                                                                              \
        struct vec_i8_head head = vec_i8_head(q);                                                  \
        int32_t dot[AVX512_AT_ONCE];                                                               \
                                                                                                   \
        for (size_t r = 0; r < n; r += AVX512_AT_ONCE) {                                           \
            size_t some = n - r < AVX512_AT_ONCE ? n - r : AVX512_AT_ONCE;                         \
                                                                                                   \
            avx512_dot_codes(vec_i8_codes(q), rows + r, some, dim, dot);                           \
            for (size_t k = 0; k < some; k++)                                                      \
                out[r + k] = finish(head, vec_i8_head(rows[r + k]), dot[k]);                       \
        }                                                                                          \
    }

AVX512_KERNEL_I8(avx512_l2_i8, vec_i8_l2)
AVX512_KERNEL_I8(avx512_dot_i8, vec_i8_dot)

AVX512 static void avx512_widen(const uint16_t *half, size_t n, float *out)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, avx512_load_f16(half, i));
    for (; i < n; i++)
        out[i] = vec_half_to_float(half[i]);
}

const struct vec_kernel *vec_kernel_avx512(void)
{
    static const struct vec_kernel k = {
        "avx512",
        {avx512_l2_f32, avx512_l2_f16, avx512_l2_i8},
        {avx512_dot_f32, avx512_dot_f16, avx512_dot_i8},
        avx512_widen,
        {vec_encode_f32, vec_encode_f16, AVX512_ENCODE_I8},
    };

    return &k;
}

#else

const struct vec_kernel *vec_kernel_avx512(void)
{
    return NULL;
}

#endif
