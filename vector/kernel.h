/* vector/kernel.h -- distances between rows, as fast as the processor can.
 *
 * A row is what the arena keeps of a vector, in one of three forms:
 *
 *     F32   dim floats
 *     F16   dim halves (IEEE 754 binary16)
 *     I8    | scale, 3 bytes of an f32, and how exact, 1 | norm2 f32 |  dim signed bytes in -127..127
 *           x[i] is about scale * code[i]; norm2 is the squared length of that approximation; how exact
 *           it is says how far from x it may be (vec_i8_error)
 *
 * A kernel compares one query with several rows at once: rows come from all over memory, and the
 * more of them are asked for together, the more of the waiting overlaps. A query has the form of a
 * row, but for F16, where it is floats (vec_kernel.widen makes one of a row).
 *
 *     l2    sum of squared differences         (never negative)
 *     dot   sum of products
 *
 * All kernels of one form agree with the scalar ones up to the order of summation; those of I8 add
 * integers and agree but for the last float operations.
 */
#ifndef ODB_VECTOR_KERNEL_H
#define ODB_VECTOR_KERNEL_H

#include "base/odb_types.h"

enum vec_form { VEC_F32 = 0, VEC_F16 = 1, VEC_I8 = 2, VEC_FORMS = 3 };

#define VEC_I8_HEAD 8 /* bytes before the codes of an I8 row */

/* out[i] = distance of rows[i] from q, for i below n. Rows and q need no alignment beyond that of
 * their elements. */
typedef void vec_dist_fn(const void *q, const void *const *rows, size_t n, size_t dim, float *out);

/* Write `x` times `factor` as a row. The same codes whatever the kernel. */
typedef void vec_encode_fn(const float *x, float factor, size_t dim, void *row);

struct vec_kernel {
    const char *name; /* "scalar", "avx2", "avx512", "neon" */
    vec_dist_fn *l2[VEC_FORMS];
    vec_dist_fn *dot[VEC_FORMS];
    void (*widen)(const uint16_t *half, size_t n, float *out);
    vec_encode_fn *encode[VEC_FORMS];
};

/* The best of this machine, or the one called `wish` (NULL: no wish). A wish that this machine cannot
 * grant gets the best it can. Never NULL; static. */
const struct vec_kernel *vec_kernel_choose(const char *wish);
/* The kernel of exactly this name if this machine can run it, else NULL. */
const struct vec_kernel *vec_kernel_named(const char *name);

/* One per processor family; NULL where it was not compiled. Whether the machine can run it is asked
 * by vec_kernel_named(). */
const struct vec_kernel *vec_kernel_scalar(void);
const struct vec_kernel *vec_kernel_avx2(void);
const struct vec_kernel *vec_kernel_avx512(void);
const struct vec_kernel *vec_kernel_neon(void);

vec_encode_fn vec_encode_i8_avx2; /* where kernel_avx2.c is compiled */

/* ---- making rows (kernel_scalar.c) ---- */

/* Bytes of a row of this form. */
size_t vec_row_bytes(enum vec_form form, size_t dim);
/* Bytes of a query of this form: as a row, but for F16. */
size_t vec_query_bytes(enum vec_form form, size_t dim);
/* As a kernel would that has nothing better; the scalar one's. */
vec_encode_fn vec_encode_f32, vec_encode_f16, vec_encode_i8;
void vec_row_encode(enum vec_form form, const float *x, float factor, size_t dim, void *row);
/* Write it as a query. */
void vec_query_encode(enum vec_form form, const float *x, float factor, size_t dim, void *query);
/* The floats a row stands for. */
void vec_row_decode(enum vec_form form, const void *row, size_t dim, float *out);
/* How far the floats of an I8 row may be from those it was made of; 0 for F32, and for F16 a bound
 * that follows from the length. */
float vec_row_error(enum vec_form form, const void *row, size_t dim);

float vec_half_to_float(uint16_t h);
uint16_t vec_half_from_float(float f); /* to nearest, ties to even; too large becomes infinite */

/* ---- what the I8 kernels share ---- */

struct vec_i8_head {
    float scale, norm2;
};

#define VEC_I8_EXACT 0xffu /* of the word that is the scale otherwise */

static inline struct vec_i8_head vec_i8_head(const void *row)
{
    struct vec_i8_head h;
    uint32_t word;

    memcpy(&word, row, sizeof word);
    word &= ~VEC_I8_EXACT;
    memcpy(&h.scale, &word, sizeof word);
    memcpy(&h.norm2, (const uint8_t *)row + sizeof word, sizeof h.norm2);
    return h;
}

/* How exact a row is: its distance from what it was made of as a multiple of the scale; 0 is none, others
 * are 2^-8 and above in steps of a sixteenth of a power of two, rounded up. Codes that are rounded are off
 * by half a scale, so the multiple stays below half the root of the longest dimension, 128. */
#define VEC_EXACT_LEAST 0x3b800000u /* 2^-8 */
#define VEC_EXACT_SHIFT 19

static inline float vec_i8_error(const void *row)
{
    uint32_t word, exact;
    float times;

    memcpy(&word, row, sizeof word);
    exact = word & VEC_I8_EXACT;
    word = exact ? VEC_EXACT_LEAST + ((exact - 1) << VEC_EXACT_SHIFT) : 0;
    memcpy(&times, &word, sizeof word);
    return times * vec_i8_head(row).scale;
}

/* The scale of a row whose largest number is `top`: a little more than a 127th, as its last byte is lent. */
float vec_i8_scale(float top);
/* What the numbers are multiplied by to become codes. */
float vec_i8_inverse(float scale, float factor);
/* Write the head of a row, `off` its distance from what it was made of and `sum` that of its squared codes. */
void vec_i8_head_put(void *row, float scale, float top, int32_t sum, double off);

static inline const int8_t *vec_i8_codes(const void *row)
{
    return (const int8_t *)row + VEC_I8_HEAD;
}

/* Squares of what rounding took off are added up in so many sums, element i in sum i modulo that. */
#define VEC_ERROR_LANES 8

static inline double vec_error_sum(const double *lane)
{
    double sum = 0;

    for (int i = 0; i < VEC_ERROR_LANES; i++)
        sum += lane[i];
    return sum;
}

static inline float vec_i8_dot(struct vec_i8_head q, struct vec_i8_head r, int32_t dot)
{
    return q.scale * r.scale * (float)dot;
}

static inline float vec_i8_l2(struct vec_i8_head q, struct vec_i8_head r, int32_t dot)
{
    float d = q.norm2 + r.norm2 - 2.0f * vec_i8_dot(q, r, dot);

    return d > 0 ? d : 0;
}

#endif
