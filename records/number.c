/* records/number.c -- reals as decimal text and back.
 *
 * strtod() and printf() follow the locale of the program we live in, which may write 1,5. And speed is
 * no matter here: nearly all numbers people write have at most 15 digits and a small exponent, for which
 * one exact multiplication or division gives the nearest double. The rest goes the slow and certain way,
 * with a decimal of 800 digits that can be doubled and halved:
 *
 *     0 . d d d d ... d   times 10 to the power `point`
 *
 * 1. A double, and the middle between two neighbours, has at most 767 digits: they fit. Of a longer text
 *    only whether something other than zero follows matters; `is_cut` remembers that.
 * 2. Writing tries 15, 16, 17 digits and reads each back; one of 17 always returns.
 */
#include "records/number.h"

#include <float.h>

#define DIGITS_MAX 800
#define SHIFT_MAX  59 /* 10 << 59 still fits 64 bits */

struct decimal {
    uint8_t d[DIGITS_MAX]; /* the first is not 0; none: zero */
    int count;
    int point;
    bool is_cut;
};

static void decimal_trim(struct decimal *a)
{
    while (a->count > 0 && a->d[a->count - 1] == 0)
        a->count--;
    if (a->count == 0)
        a->point = 0;
}

/* Times two to the power n. */
static void decimal_double(struct decimal *a, int n)
{
    uint8_t head[20]; /* the new digits in front, last first */
    int grown = 0, keep;
    uint64_t acc = 0;

    for (int i = a->count - 1; i >= 0; i--) {
        acc += (uint64_t)a->d[i] << n;
        a->d[i] = (uint8_t)(acc % 10);
        acc /= 10;
    }
    for (; acc > 0; acc /= 10)
        head[grown++] = (uint8_t)(acc % 10);
    keep = a->count;
    if (keep + grown > DIGITS_MAX) {
        for (int i = DIGITS_MAX - grown; i < keep; i++)
            a->is_cut |= a->d[i] != 0;
        keep = DIGITS_MAX - grown;
    }
    memmove(a->d + grown, a->d, (size_t)keep);
    for (int i = 0; i < grown; i++)
        a->d[i] = head[grown - 1 - i];
    a->count = keep + grown;
    a->point += grown;
    decimal_trim(a);
}

/* Divided by two to the power n. */
static void decimal_halve(struct decimal *a, int n)
{
    uint8_t out[DIGITS_MAX];
    uint64_t acc = 0;
    int count = 0, point = a->point, i = 0;

    for (; i < a->count || acc > 0; i++) {
        uint8_t digit;

        acc = acc * 10 + (i < a->count ? a->d[i] : 0);
        digit = (uint8_t)(acc >> n);
        acc &= ((uint64_t)1 << n) - 1;
        if (count == 0 && digit == 0)
            point--; /* a zero in front */
        else if (count < DIGITS_MAX)
            out[count++] = digit;
        else
            a->is_cut |= digit != 0;
    }
    memcpy(a->d, out, (size_t)count);
    a->count = count;
    a->point = point;
    decimal_trim(a);
}

static int decimal_step(int n)
{
    return n < SHIFT_MAX ? n : SHIFT_MAX;
}

/* The nearest integer, ties to the even one; the value is below 2 to the power 54. */
static uint64_t decimal_round(const struct decimal *a)
{
    uint64_t n = 0;
    bool is_up = false;
    int i = 0;

    if (a->point < 0)
        return 0;
    for (; i < a->point; i++)
        n = n * 10 + (i < a->count ? a->d[i] : 0);
    if (i < a->count)
        is_up = a->d[i] > 5 || (a->d[i] == 5 && (i + 1 < a->count || a->is_cut || n % 2 == 1));
    return n + is_up;
}

/* The double nearest to `a`, which is used up. False: too large. */
static bool decimal_to_double(struct decimal *a, double *out)
{
    int exp = 0;
    uint64_t m, bits;

    if (a->count == 0 || a->point < -400) {
        *out = 0;
        return true;
    }
    if (a->point > 400)
        return false;
    /* Bring it to 1/2 <= a < 1; the number is a times 2 to the power exp. */
    while (a->point > 0) {
        int n = decimal_step(a->point >= 18 ? SHIFT_MAX : a->point * 3 + 1);

        decimal_halve(a, n);
        exp += n;
    }
    while (a->point < 0 || a->d[0] < 5) {
        int n = decimal_step(a->point < 0 ? -a->point * 3 : 1);

        decimal_double(a, n);
        exp -= n;
    }
    if (exp > DBL_MAX_EXP)
        return false;
    for (int below = DBL_MIN_EXP - exp; below > 0;) { /* subnormal: fewer bits are left */
        int n = decimal_step(below);

        decimal_halve(a, n);
        exp += n;
        below -= n;
    }
    decimal_double(a, DBL_MANT_DIG);
    m = decimal_round(a);
    if (m == (uint64_t)1 << DBL_MANT_DIG) {
        m >>= 1;
        if (++exp > DBL_MAX_EXP)
            return false;
    }
    if (m < (uint64_t)1 << (DBL_MANT_DIG - 1))
        bits = m; /* subnormal: the exponent field is 0 */
    else
        bits = (m & (((uint64_t)1 << (DBL_MANT_DIG - 1)) - 1)) | (uint64_t)(exp - DBL_MIN_EXP + 1)
                                                                     << (DBL_MANT_DIG - 1);
    memcpy(out, &bits, sizeof bits);
    return true;
}

static const double exact_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* digits times 10 to the power exp10, when that takes one rounding. */
static bool quick_double(const struct decimal *a, double *out)
{
    int exp10 = a->point - a->count;
    uint64_t n = 0;

    /* A machine that computes with more bits than it stores would round twice. */
    if (FLT_EVAL_METHOD != 0 || a->count > 15 || exp10 < -22 || exp10 > 22)
        return false;
    for (int i = 0; i < a->count; i++)
        n = n * 10 + a->d[i];
    *out = exp10 < 0 ? (double)n / exact_powers[-exp10] : (double)n * exact_powers[exp10];
    return true;
}

bool number_read(odb_slice text, double *out)
{
    const uint8_t *p = text.data, *end = p + text.size;
    struct decimal a;
    bool is_negative = false, is_behind = false;
    int exp10 = 0;
    double v;

    a.count = a.point = 0;
    a.is_cut = false;
    if (p < end && *p == '-') {
        is_negative = true;
        p++;
    }
    for (; p < end && (*p == '.' || (*p >= '0' && *p <= '9')); p++) {
        if (*p == '.') {
            is_behind = true;
            continue;
        }
        if (a.count == 0 && *p == '0') {
            if (is_behind && a.point > -100000)
                a.point--;
            continue;
        }
        if (!is_behind && a.point < 100000)
            a.point++;
        if (a.count < DIGITS_MAX)
            a.d[a.count++] = (uint8_t)(*p - '0');
        else
            a.is_cut |= *p != '0';
    }
    if (p < end) { /* e */
        bool is_down = false;

        p++;
        if (p < end && (*p == '+' || *p == '-'))
            is_down = *p++ == '-';
        for (; p < end; p++)
            if (exp10 < 1000000)
                exp10 = exp10 * 10 + (*p - '0');
        a.point += is_down ? -exp10 : exp10;
    }
    if (a.is_cut)
        a.count = DIGITS_MAX; /* the digits stay where they are */
    else
        decimal_trim(&a);
    if (!quick_double(&a, &v) && !decimal_to_double(&a, &v))
        return false;
    *out = is_negative ? -v : v;
    return true;
}

/* ---- writing ---- */

size_t number_write_i64(char *out, int64_t v)
{
    char digits[20];
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t n = 0, len = 0;

    do
        digits[n++] = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (v < 0)
        out[len++] = '-';
    while (n > 0)
        out[len++] = digits[--n];
    return len;
}

/* The exact decimal of a positive double. */
static void decimal_of(struct decimal *a, double v)
{
    uint64_t bits, m;
    int exp;

    memcpy(&bits, &v, sizeof bits);
    exp = (int)(bits >> (DBL_MANT_DIG - 1) & 0x7FF);
    m = bits & (((uint64_t)1 << (DBL_MANT_DIG - 1)) - 1);
    if (exp)
        m |= (uint64_t)1 << (DBL_MANT_DIG - 1);
    else
        exp = 1;
    exp += DBL_MIN_EXP - 1 - DBL_MANT_DIG;
    a->count = a->point = 0;
    a->is_cut = false;
    for (uint64_t top = UINT64_C(1000000000000000000); top > 0; top /= 10) {
        if (a->count == 0 && m / top == 0)
            continue;
        a->d[a->count++] = (uint8_t)(m / top % 10);
    }
    a->point = a->count;
    decimal_trim(a);
    while (exp > 0) {
        int n = decimal_step(exp);

        decimal_double(a, n);
        exp -= n;
    }
    while (exp < 0) {
        int n = decimal_step(-exp);

        decimal_halve(a, n);
        exp += n;
    }
}

/* Add one to the last of `count` digits. */
static void digits_up(struct decimal *a)
{
    int i = a->count - 1;

    while (i >= 0 && a->d[i] == 9)
        a->d[i--] = 0;
    if (i >= 0) {
        a->d[i]++;
        return;
    }
    a->d[0] = 1;
    a->point++;
}

/* Keep `count` digits of `from`: cut off, or nearest. */
static void decimal_cut(struct decimal *a, const struct decimal *from, int count, bool is_up)
{
    *a = *from;
    if (count < a->count) {
        a->count = count;
        if (is_up)
            digits_up(a);
    }
    decimal_trim(a);
}

static bool decimal_is(const struct decimal *a, double v)
{
    struct decimal used = *a;
    double back;

    return (quick_double(a, &back) || decimal_to_double(&used, &back)) && back == v;
}

static void decimal_shortest(struct decimal *a, double v)
{
    struct decimal exact;

    decimal_of(&exact, v);
    for (int count = v < DBL_MIN ? 1 : 15; count < 17; count++) {
        bool is_up = count < exact.count && exact.d[count] >= 5;

        /* Next to a power of two the nearer of the two may belong to the neighbour. */
        for (int turn = 0; turn < 2; turn++) {
            decimal_cut(a, &exact, count, is_up != (turn == 1));
            if (decimal_is(a, v))
                return;
        }
    }
    decimal_cut(a, &exact, 17, 17 < exact.count && exact.d[17] >= 5);
}

size_t number_write(char *out, double v)
{
    struct decimal a;
    size_t len = 0;
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    if (bits >> 63)
        out[len++] = '-';
    if (v == 0) {
        memcpy(out + len, "0.0", 3);
        return len + 3;
    }
    decimal_shortest(&a, v < 0 ? -v : v);
    if (a.point > -5 && a.point <= 16) { /* 0.00001 to 9999999999999999.0 */
        if (a.point <= 0) {
            out[len++] = '0';
            out[len++] = '.';
            for (int i = a.point; i < 0; i++)
                out[len++] = '0';
        }
        for (int i = 0; i < a.count || i < a.point; i++) {
            if (i == a.point && i > 0)
                out[len++] = '.';
            out[len++] = (char)('0' + (i < a.count ? a.d[i] : 0));
        }
        if (a.count <= a.point) {
            out[len++] = '.';
            out[len++] = '0';
        }
        return len;
    }
    out[len++] = (char)('0' + a.d[0]);
    if (a.count > 1)
        out[len++] = '.';
    for (int i = 1; i < a.count; i++)
        out[len++] = (char)('0' + a.d[i]);
    out[len++] = 'e';
    if (a.point > 0)
        out[len++] = '+';
    return len + number_write_i64(out + len, a.point - 1);
}
