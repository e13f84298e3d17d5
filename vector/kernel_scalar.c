/* vector/kernel_scalar.c -- the kernels that run anywhere, which the others must agree with; and how
 * rows are made. */
#include "vector/kernel.h"

#include <math.h>

#include "base/odb_types.h"

static void scalar_l2_f32(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    const float *a = q;

    for (size_t r = 0; r < n; r++) {
        const float *b = rows[r];
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        size_t i = 0;

        for (; i + 4 <= dim; i += 4) {
            float d0 = a[i] - b[i], d1 = a[i + 1] - b[i + 1];
            float d2 = a[i + 2] - b[i + 2], d3 = a[i + 3] - b[i + 3];

            s0 += d0 * d0;
            s1 += d1 * d1;
            s2 += d2 * d2;
            s3 += d3 * d3;
        }
        for (; i < dim; i++)
            s0 += (a[i] - b[i]) * (a[i] - b[i]);
        out[r] = (s0 + s1) + (s2 + s3);
    }
}

static void scalar_dot_f32(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    const float *a = q;

    for (size_t r = 0; r < n; r++) {
        const float *b = rows[r];
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        size_t i = 0;

        for (; i + 4 <= dim; i += 4) {
            s0 += a[i] * b[i];
            s1 += a[i + 1] * b[i + 1];
            s2 += a[i + 2] * b[i + 2];
            s3 += a[i + 3] * b[i + 3];
        }
        for (; i < dim; i++)
            s0 += a[i] * b[i];
        out[r] = (s0 + s1) + (s2 + s3);
    }
}

static void scalar_l2_f16(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    const float *a = q;

    for (size_t r = 0; r < n; r++) {
        const uint16_t *b = rows[r];
        float s = 0;

        for (size_t i = 0; i < dim; i++) {
            float d = a[i] - vec_half_to_float(b[i]);

            s += d * d;
        }
        out[r] = s;
    }
}

static void scalar_dot_f16(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    const float *a = q;

    for (size_t r = 0; r < n; r++) {
        const uint16_t *b = rows[r];
        float s = 0;

        for (size_t i = 0; i < dim; i++)
            s += a[i] * vec_half_to_float(b[i]);
        out[r] = s;
    }
}

/* At most 65,535 products of at most 127 * 127: fits 31 bits. */
static int32_t scalar_dot_codes(const int8_t *a, const int8_t *b, size_t dim)
{
    int32_t s = 0;

    for (size_t i = 0; i < dim; i++)
        s += a[i] * b[i];
    return s;
}

static void scalar_l2_i8(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    for (size_t r = 0; r < n; r++)
        out[r] = vec_i8_l2(vec_i8_head(q), vec_i8_head(rows[r]),
                           scalar_dot_codes(vec_i8_codes(q), vec_i8_codes(rows[r]), dim));
}

static void scalar_dot_i8(const void *q, const void *const *rows, size_t n, size_t dim, float *out)
{
    for (size_t r = 0; r < n; r++)
        out[r] = vec_i8_dot(vec_i8_head(q), vec_i8_head(rows[r]),
                            scalar_dot_codes(vec_i8_codes(q), vec_i8_codes(rows[r]), dim));
}

static void scalar_widen(const uint16_t *half, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = vec_half_to_float(half[i]);
}

const struct vec_kernel *vec_kernel_scalar(void)
{
    static const struct vec_kernel k = {
        "scalar",
        {scalar_l2_f32, scalar_l2_f16, scalar_l2_i8},
        {scalar_dot_f32, scalar_dot_f16, scalar_dot_i8},
        scalar_widen,
        {vec_encode_f32, vec_encode_f16, vec_encode_i8},
    };

    return &k;
}

/* ---- halves ---- */

float vec_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, frac = h & 1023, bits;
    float f;

    if (exp == 31) {
        bits = sign | 0x7f800000 | frac << 13;
    } else if (exp) {
        bits = sign | (exp + 112) << 23 | frac << 13;
    } else { /* zero and the subnormals: frac units of 2^-24, exact in a float */
        f = (float)frac * 5.9604644775390625e-8f;
        return sign ? -f : f;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t vec_half_from_float(float f)
{
    uint32_t bits, sign, exp, frac, shift, half, rest, tie;

    memcpy(&bits, &f, sizeof bits);
    sign = bits >> 16 & 0x8000;
    exp = bits >> 23 & 255;
    frac = bits & 0x7fffff;
    if (exp == 255) /* infinite, or not a number: stays one */
        return (uint16_t)(sign | 0x7c00 | (frac ? 0x200 : 0));
    if (exp > 142) /* 2^16 and more */
        return (uint16_t)(sign | 0x7c00);
    if (exp < 102) /* below half the smallest */
        return (uint16_t)sign;
    if (exp < 113) { /* becomes a subnormal */
        frac |= 0x800000;
        shift = 126 - exp;
        half = frac >> shift;
    } else {
        shift = 13;
        half = (exp - 112) << 10 | frac >> 13;
    }
    rest = frac & ((1u << shift) - 1);
    tie = 1u << (shift - 1);
    half += rest > tie || (rest == tie && (half & 1)); /* may carry into the exponent: right so */
    return (uint16_t)(sign | half);
}

/* ---- rows ---- */

size_t vec_row_bytes(enum vec_form form, size_t dim)
{
    switch (form) {
    case VEC_F16: return dim * sizeof(uint16_t);
    case VEC_I8: return VEC_I8_HEAD + dim;
    default: return dim * sizeof(float);
    }
}

size_t vec_query_bytes(enum vec_form form, size_t dim)
{
    return vec_row_bytes(form == VEC_F16 ? VEC_F32 : form, dim);
}

float vec_i8_scale(float top)
{
    float scale = top / 127.0f;
    uint32_t word;

    memcpy(&word, &scale, sizeof word);
    word = (word + VEC_I8_EXACT) & ~VEC_I8_EXACT;
    memcpy(&scale, &word, sizeof word);
    return scale;
}

float vec_i8_inverse(float scale, float factor)
{
    float inverse = scale > 0 ? factor / scale : 0;

    return fabsf(inverse) < INFINITY ? inverse : 0; /* so small that it has none: all codes are 0 */
}

void vec_i8_head_put(void *row, float scale, float top, int32_t sum, double off)
{
    struct vec_i8_head head = {scale, scale * scale * (float)sum};
    float times;
    uint32_t word, exact = 0;

    if (sum == 0) /* then any scale is right: one that `off` is no large multiple of */
        head.scale = vec_i8_scale(254 * top);
    if (off > 0 && head.scale > 0) {
        times = nextafterf((float)(off / (double)head.scale), INFINITY);
        memcpy(&word, &times, sizeof word);
        exact = word <= VEC_EXACT_LEAST ? 1 : 2 + ((word - VEC_EXACT_LEAST - 1) >> VEC_EXACT_SHIFT);
    }
    memcpy(&word, &head.scale, sizeof word);
    word |= exact < VEC_I8_EXACT ? exact : VEC_I8_EXACT;
    memcpy(row, &word, sizeof word);
    memcpy((uint8_t *)row + sizeof word, &head.norm2, sizeof head.norm2);
}

void vec_encode_i8(const float *x, float factor, size_t dim, void *row)
{
    int8_t *codes = (int8_t *)row + VEC_I8_HEAD;
    float top = 0, scale, inverse;
    double error[VEC_ERROR_LANES] = {0}; /* as wide kernels add them up */
    int32_t sum = 0;

    for (size_t i = 0; i < dim; i++) {
        float a = fabsf(x[i] * factor);

        top = a > top ? a : top;
    }
    scale = vec_i8_scale(top);
    inverse = vec_i8_inverse(scale, factor);
    for (size_t i = 0; i < dim; i++) {
        float v = x[i] * inverse;
        int32_t c = (int32_t)(v < 0 ? v - 0.5f : v + 0.5f);
        float off;

        c = c > 127 ? 127 : c < -127 ? -127 : c;
        codes[i] = (int8_t)c;
        sum += c * c;
        off = x[i] * factor - scale * (float)c;
        error[i % VEC_ERROR_LANES] += (double)off * (double)off;
    }
    vec_i8_head_put(row, scale, top, sum, sqrt(vec_error_sum(error)));
}

void vec_encode_f32(const float *x, float factor, size_t dim, void *row)
{
    float *out = row;

    for (size_t i = 0; i < dim; i++)
        out[i] = x[i] * factor;
}

void vec_encode_f16(const float *x, float factor, size_t dim, void *row)
{
    uint16_t *half = row;

    for (size_t i = 0; i < dim; i++)
        half[i] = vec_half_from_float(x[i] * factor);
}

void vec_row_encode(enum vec_form form, const float *x, float factor, size_t dim, void *row)
{
    vec_kernel_scalar()->encode[form](x, factor, dim, row);
}

void vec_query_encode(enum vec_form form, const float *x, float factor, size_t dim, void *query)
{
    vec_row_encode(form == VEC_F16 ? VEC_F32 : form, x, factor, dim, query);
}

void vec_row_decode(enum vec_form form, const void *row, size_t dim, float *out)
{
    if (form == VEC_I8) {
        float scale = vec_i8_head(row).scale;

        for (size_t i = 0; i < dim; i++)
            out[i] = scale * (float)vec_i8_codes(row)[i];
    } else if (form == VEC_F32) {
        memcpy(out, row, dim * sizeof *out);
    } else {
        scalar_widen(row, dim, out);
    }
}

float vec_row_error(enum vec_form form, const void *row, size_t dim)
{
    const uint16_t *half = row;
    double bound = 0;

    if (form == VEC_F32)
        return 0;
    if (form == VEC_I8)
        return vec_i8_error(row);
    for (size_t i = 0; i < dim; i++) { /* half a unit in the last of 11 digits, or of 2^-24 */
        double e = fabs((double)vec_half_to_float(half[i])) / 2048 + 3e-8;

        bound += e * e;
    }
    return (float)sqrt(bound);
}
