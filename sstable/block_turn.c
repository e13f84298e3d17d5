/* sstable/block_turn.c -- a block's columns, byte by byte, for LZ4.
 *
 *    cells     01 23 45 67 | 01 23 45 68 | 01 23 45 6a | ...     as a block has them (sstable/block.c)
 *    turned    01 01 01 ... | 23 23 23 ... | 45 45 45 ... | 67 68 6a ...
 *
 * Every column whose cells are wider than a byte, and the prefix array, 128 rows at a time, each in its own
 * place. Bytes that hardly vary then lie together and take next to nothing, where each cell was a literal
 * and a match of its own: there are fewer of both to look for and to unpack.
 *
 *    slots     ff 02 ff 00 01 ff ff ff       the rows 0, 1 and 2 are in slots 3, 4 and 1
 *    turned    03 04 01 ff ff ff ff ff
 *
 * The hash table, where it has at most 128 slots and there are no more rows: a byte a row instead of one a
 * slot.
 *
 * 1. A block that block_builder_finish has made is the same again after both ways.
 * 2. Nothing is read or written outside the block, whatever it holds.
 *
 * Threads: none of its own; the bytes are the caller's.
 */
#include "sstable/block_priv.h"

#define TURN_ROWS 128u

/* A matrix of `n` cells of `width` bytes, or, going back, of `width` rows of `n`, by pieces. */
static void turn_cells(uint8_t *p, uint64_t n, uint32_t width, bool is_back)
{
    uint8_t was[8 * TURN_ROWS];

    for (uint32_t rows; n; n -= rows, p += (size_t)rows * width) {
        const uint8_t *from = was;
        uint32_t lines, len;

        rows = n < TURN_ROWS ? (uint32_t)n : TURN_ROWS;
        lines = is_back ? width : rows;
        len = is_back ? rows : width;
        memcpy(was, p, (size_t)rows * width);
        for (uint32_t i = 0; i < lines; i++) {
            uint8_t *to = p + i;

            for (uint32_t k = 0; k < len; k++, to += lines)
                *to = *from++;
        }
    }
}

/* Slots that hold rows become rows that hold slots; the same again turns them back. */
static void turn_slots(uint8_t *p, size_t slots)
{
    uint8_t turned[256];

    memset(turned, 0xff, sizeof turned);
    for (size_t i = 0; i < slots; i++)
        turned[p[i]] = (uint8_t)i;
    memcpy(p, turned, slots);
}

bool block_turn(uint8_t *p, size_t len, bool is_back)
{
    uint32_t count, slots;
    uint64_t left; /* behind `at` */
    uint8_t *at;

    if (len < BLOCK_HEADER)
        return false;
    left = len - BLOCK_HEADER;
    at = p + BLOCK_HEADER;
    count = get_u32(p + BLOCK_AT_COUNT);
    for (unsigned i = 0; i < 6; i++) { /* in the order in which they lie */
        uint32_t n = i == 4 ? block_groups(count) : count;
        uint32_t width = i < 5 ? p[BLOCK_AT_WIDTHS + i] : 8;
        uint64_t size = (uint64_t)n * width;

        if (width > 8 || size > left)
            return false;
        if (width > 1)
            turn_cells(at, n, width, is_back);
        at += size;
        left -= size;
    }
    if (p[BLOCK_AT_HASH_BITS] == 0 || p[BLOCK_AT_HASH_BITS] > 7)
        return true;
    slots = 1u << p[BLOCK_AT_HASH_BITS];
    if (count <= slots && slots <= left)
        turn_slots(at, slots);
    return true;
}
