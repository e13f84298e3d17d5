/* The AVX-512 instructions vector/kernel_avx512.c uses, one by one in plain C, so that its arithmetic
 * is tested where the processor lacks them. Semantics as in Intel's manual. */
#ifndef TEST_AVX512_PORTABLE_H
#define TEST_AVX512_PORTABLE_H

#include <stdint.h>
#include <string.h>

#include "vector/kernel.h"

typedef uint16_t __mmask16;
typedef uint64_t __mmask64;
typedef struct {
    float f[16];
} __m512;
typedef struct {
    int8_t b[64];
} __m512i;
typedef struct {
    uint16_t h[16];
} __m256i;

static inline __m512 _mm512_setzero_ps(void)
{
    __m512 v;

    memset(&v, 0, sizeof v);
    return v;
}

static inline __m512 _mm512_loadu_ps(const void *p)
{
    __m512 v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline void _mm512_storeu_ps(void *p, __m512 v)
{
    memcpy(p, &v, sizeof v);
}

/* Masked-out elements are not touched in memory. */
static inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void *p)
{
    __m512 v = _mm512_setzero_ps();

    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            memcpy(&v.f[i], (const float *)p + i, sizeof(float));
    return v;
}

static inline __m256i _mm256_loadu_si256(const void *p)
{
    __m256i v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline __m512 _mm512_cvtph_ps(__m256i h)
{
    __m512 v;

    for (int i = 0; i < 16; i++)
        v.f[i] = vec_half_to_float(h.h[i]);
    return v;
}

static inline __m512 _mm512_add_ps(__m512 a, __m512 b)
{
    for (int i = 0; i < 16; i++)
        a.f[i] += b.f[i];
    return a;
}

static inline __m512 _mm512_sub_ps(__m512 a, __m512 b)
{
    for (int i = 0; i < 16; i++)
        a.f[i] -= b.f[i];
    return a;
}

static inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    for (int i = 0; i < 16; i++)
        c.f[i] += a.f[i] * b.f[i];
    return c;
}

static inline float _mm512_reduce_add_ps(__m512 v)
{
    float s = 0;

    for (int i = 0; i < 16; i++)
        s += v.f[i];
    return s;
}

static inline __m512i _mm512_setzero_si512(void)
{
    __m512i v;

    memset(&v, 0, sizeof v);
    return v;
}

static inline __m512i _mm512_set1_epi8(char c)
{
    __m512i v;

    memset(&v, c, sizeof v);
    return v;
}

static inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void *p)
{
    __m512i v = _mm512_setzero_si512();

    for (int i = 0; i < 64; i++)
        if (mask >> i & 1)
            v.b[i] = ((const int8_t *)p)[i];
    return v;
}

static inline __m512i _mm512_xor_si512(__m512i a, __m512i b)
{
    for (int i = 0; i < 64; i++)
        a.b[i] = (int8_t)(a.b[i] ^ b.b[i]);
    return a;
}

static inline int32_t lane(__m512i v, int i)
{
    int32_t x;

    memcpy(&x, v.b + i * 4, sizeof x);
    return x;
}

static inline void set_lane(__m512i *v, int i, uint32_t x)
{
    memcpy(v->b + i * 4, &x, sizeof x);
}

/* Unsigned bytes of a times signed bytes of b, four neighbours added to the lane without saturation.
 */
static inline __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b)
{
    for (int i = 0; i < 16; i++) {
        uint32_t s = (uint32_t)lane(sum, i);

        for (int k = 0; k < 4; k++)
            s += (uint32_t)((uint8_t)a.b[i * 4 + k] * b.b[i * 4 + k]);
        set_lane(&sum, i, s);
    }
    return sum;
}

static inline __m512i _mm512_slli_epi32(__m512i v, unsigned n)
{
    for (int i = 0; i < 16; i++)
        set_lane(&v, i, (uint32_t)lane(v, i) << n);
    return v;
}

static inline __m512i _mm512_sub_epi32(__m512i a, __m512i b)
{
    for (int i = 0; i < 16; i++)
        set_lane(&a, i, (uint32_t)lane(a, i) - (uint32_t)lane(b, i));
    return a;
}

static inline int32_t _mm512_reduce_add_epi32(__m512i v)
{
    uint32_t s = 0;

    for (int i = 0; i < 16; i++)
        s += (uint32_t)lane(v, i);
    return (int32_t)s;
}

#endif
