/* base/ikey.h -- internal keys: a user key and the moment it was written.
 *
 * The trailer packs the sequence number (56 bits) over the kind (8 bits). Order: user key ascending
 * by bytes, then trailer descending, so that the newest version of a key comes first and a search
 * for (key, trailer_at(seq)) lands on the newest version visible at `seq`.
 */
#ifndef ODB_BASE_IKEY_H
#define ODB_BASE_IKEY_H

#include "base/coding.h"
#include "base/prof.h"

#define SEQ_MAX ((UINT64_C(1) << 56) - 1)
#define LSN_MAX (UINT64_C(1) << 62) /* no log becomes that long */

/* Whether a log record can begin or end there. */
static inline bool lsn_is_possible(uint64_t lsn)
{
    return lsn % 8 == 0 && lsn <= LSN_MAX;
}

/* As stored in log and tables. 3 to 15 are reserved: merge operand, range tombstone, separated
 * value, expiring value. A reader refuses a kind it does not know. */
enum kind {
    KIND_DELETE = 1,
    KIND_PUT = 2,
};

#define KEY_LEN_MAX   ((size_t)64 << 10)
#define VALUE_LEN_MAX ((size_t)1 << 30)

static inline uint64_t trailer_make(uint64_t seq, enum kind kind)
{
    return seq << 8 | (uint64_t)kind;
}

/* The greatest trailer visible at `seq`. */
static inline uint64_t trailer_at(uint64_t seq)
{
    return seq << 8 | 0xff;
}

static inline uint64_t trailer_seq(uint64_t trailer)
{
    return trailer >> 8;
}

static inline uint8_t trailer_kind(uint64_t trailer)
{
    return (uint8_t)trailer;
}

static inline bool kind_is_known(uint8_t kind)
{
    return kind == KIND_PUT || kind == KIND_DELETE;
}

/* Eight key bytes from `skip` on as a number that orders like the bytes, zero-padded. Equal
 * prefixes decide nothing: the keys may differ later, or in length. */
static inline uint64_t key_prefix(const uint8_t *key, size_t len, size_t skip)
{
    uint8_t pad[8] = {0};

    if (len >= skip + 8)
        return get_u64_be(key + skip);
    if (len > skip)
        memcpy(pad, key + skip, len - skip);
    return get_u64_be(pad);
}

static inline int key_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len;
    int c = n ? memcmp(a, b, n) : 0;

    PROF_COUNT(PROF_COMPARES, 1);
    return c ? c : (a_len > b_len) - (a_len < b_len);
}

/* Internal order: negative when (a, a_trailer) comes first. */
static inline int ikey_compare(const uint8_t *a, size_t a_len, uint64_t a_trailer, const uint8_t *b,
                               size_t b_len, uint64_t b_trailer)
{
    int c = key_compare(a, a_len, b, b_len);

    return c ? c : (a_trailer < b_trailer) - (a_trailer > b_trailer);
}

/* Bytes that two keys have in common at their start. */
static inline size_t key_common(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len, i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

#endif
