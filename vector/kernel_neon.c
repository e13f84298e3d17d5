/* vector/kernel_neon.c -- kernels for 64-bit ARM, whose every processor has NEON with FMA and the
 * conversion of halves. Signed bytes use the dot-product instruction where the compiler was told that
 * it is there, and else widen to 16 bits. */
#include "vector/kernel.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))

#include <arm_neon.h>

static inline float32x4_t neon_load_f32(const void *row, size_t i)
{
    return vld1q_f32((const float *)row + i);
}

static inline float32x4_t neon_load_f16(const void *row, size_t i)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)row + i)));
}

static inline float neon_one_f32(const void *row, size_t i)
{
    return ((const float *)row)[i];
}

static inline float neon_one_f16(const void *row, size_t i)
{
    return vec_half_to_float(((const uint16_t *)row)[i]);
}

static inline float32x4_t neon_add_l2(float32x4_t sum, float32x4_t q, float32x4_t r)
{
    float32x4_t d = vsubq_f32(q, r);

    return vfmaq_f32(sum, d, d);
}

static inline float32x4_t neon_add_dot(float32x4_t sum, float32x4_t q, float32x4_t r)
{
    return vfmaq_f32(sum, q, r);
}

static inline float neon_tail_l2(float q, float r)
{
    return (q - r) * (q - r);
}

static inline float neon_tail_dot(float q, float r)
{
    return q * r;
}

#define NEON_KERNEL(name, kind, form)                                                              \
    static void name(const void *q, const void *const *rows, size_t n, size_t dim, float *out)     \
    {                                                                                              \
        for (size_t r = 0; r < n; r++) {                                                           \
            const void *row = rows[r];                                                             \
            float32x4_t a = vdupq_n_f32(0), b = a, c = a, d = a;                                   \
            size_t i = 0;                                                                          \
                                                                                                   \
            for (; i + 16 <= dim; i += 16) {                                                       \
                a = neon_add_##kind(a, neon_load_f32(q, i), neon_load_##form(row, i));             \
                b = neon_add_##kind(b, neon_load_f32(q, i + 4), neon_load_##form(row, i + 4));     \
                c = neon_add_##kind(c, neon_load_f32(q, i + 8), neon_load_##form(row, i + 8));     \
                d = neon_add_##kind(d, neon_load_f32(q, i + 12), neon_load_##form(row, i + 12));   \
            }                                                                                      \
            out[r] = vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)));                      \
            for (; i < dim; i++)                                                                   \
                out[r] += neon_tail_##kind(neon_one_f32(q, i), neon_one_##form(row, i));           \
        }                                                                                          \
    }

NEON_KERNEL(neon_l2_f32, l2, f32)
NEON_KERNEL(neon_dot_f32, dot, f32)
NEON_KERNEL(neon_l2_f16, l2, f16)
NEON_KERNEL(neon_dot_f16, dot, f16)

static inline int32x4_t neon_add_codes(int32x4_t sum, int8x16_t q, int8x16_t r)
{
#ifdef __ARM_FEATURE_DOTPROD
    return vdotq_s32(sum, q, r);
#else
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(q), vget_low_s8(r)));
    return vpadalq_s16(sum, vmull_high_s8(q, r));
#endif
}

static int32_t neon_dot_codes(const int8_t *q, const int8_t *row, size_t dim)
{
    int32x4_t a = vdupq_n_s32(0), b = a;
    int32_t sum;
    size_t i = 0;

    for (; i + 32 <= dim; i += 32) {
        a = neon_add_codes(a, vld1q_s8(q + i), vld1q_s8(row + i));
        b = neon_add_codes(b, vld1q_s8(q + i + 16), vld1q_s8(row + i + 16));
    }
    sum = vaddvq_s32(vaddq_s32(a, b));
    for (; i < dim; i++)
        sum += q[i] * row[i];
    return sum;
}

static void neon_l2_i8(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    for (size_t r = 0; r < n; r++)
        out[r] = vec_i8_l2(vec_i8_head(q), vec_i8_head(rows[r]),
                           neon_dot_codes(vec_i8_codes(q), vec_i8_codes(rows[r]), dim));
}

static void neon_dot_i8(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    for (size_t r = 0; r < n; r++)
        out[r] = vec_i8_dot(vec_i8_head(q), vec_i8_head(rows[r]),
                            neon_dot_codes(vec_i8_codes(q), vec_i8_codes(rows[r]), dim));
}

static void neon_widen(const uint16_t *half, size_t n, float *out)
{
    size_t i = 0;

    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, neon_load_f16(half, i));
    for (; i < n; i++)
        out[i] = vec_half_to_float(half[i]);
}

const struct vec_kernel *vec_kernel_neon(void)
{
    static const struct vec_kernel k = {
        "neon",
        {neon_l2_f32, neon_l2_f16, neon_l2_i8},
        {neon_dot_f32, neon_dot_f16, neon_dot_i8},
        neon_widen,
        {vec_encode_f32, vec_encode_f16, vec_encode_i8},
    };

    return &k;
}

#else

const struct vec_kernel *vec_kernel_neon(void)
{
    return NULL;
}

#endif
