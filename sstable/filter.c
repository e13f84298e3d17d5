/* sstable/filter.c -- a Bloom filter that costs one cache miss.
 *
 *    0         1         2          4            8         8 + 64 * lines
 *    +---------+---------+----------+------------+-----------+
 *    | version | probes  | reserved | line count | lines ... |
 *    +---------+---------+----------+------------+-----------+
 *    version     1
 *    probes      bits set for each key, 1 to 7
 *    reserved    zero; a reader refuses anything else
 *    line count  lines of 64 bytes (512 bits), at least 1
 *
 * All bits of a key lie in one line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient
 * Bloom Filters, 2007). At 10 bits a key that costs a few more false positives than scattering them
 * (1 % instead of 0.8 %) and saves six cache misses.
 *
 * 1. The line is the high half of the hash scaled to the line count: a multiplication and no
 *    division (Lemire's fastrange).
 * 2. The bits come from hash * odd constant, nine bits at a time from the top. The product mixes all
 *    bits of the hash into the top fields, so that keys which share a line, and with it the first
 *    bits of the hash, still differ in all probes. Seven fields of nine bits is what 64 hold.
 * 3. Bit n of a line is bit n % 8 of byte n / 8: the same file on every machine.
 * 4. Every key that was added is found: build and query share filter_line_of and filter_spread.
 *
 * Threads: a view is read-only; any number. Not here: checksum (sstable/frame.c), which hashes go in
 * (sstable/writer.c).
 */
#include "sstable/filter.h"

#include "base/coding.h"

#define FILTER_VERSION    1
#define FILTER_HEADER     8
#define FILTER_LINE       64
#define FILTER_LINE_BITS  512
#define FILTER_PROBES_MAX 7

static inline size_t filter_line_of(uint64_t hash, uint32_t line_count)
{
    return (size_t)((hash >> 32) * line_count >> 32) * FILTER_LINE;
}

static inline uint64_t filter_spread(uint64_t hash)
{
    return hash * UINT64_C(0x9e3779b97f4a7c15);
}

/* Probes that serve `bits_per_key` best: ln 2 * bits, less what crowding in a line takes. */
static unsigned filter_probes_for(unsigned bits_per_key)
{
    unsigned probes = bits_per_key * 6 / 10;

    if (probes < 1)
        return 1;
    return probes < FILTER_PROBES_MAX ? probes : FILTER_PROBES_MAX;
}

odb_status filter_build(const uint64_t *hashes, size_t count, unsigned bits_per_key,
                        struct buf *out)
{
    unsigned probes = filter_probes_for(bits_per_key);
    uint64_t lines;
    uint8_t *head, *base;
    odb_status st;

    if (count == 0 || bits_per_key == 0)
        return ODB_OK;
    lines = ((uint64_t)count * bits_per_key + FILTER_LINE_BITS - 1) / FILTER_LINE_BITS;
    if (lines > UINT32_MAX / FILTER_LINE) /* crowded rather than over 4 GiB */
        lines = UINT32_MAX / FILTER_LINE;
    st = buf_reserve(out, FILTER_HEADER + (size_t)lines * FILTER_LINE);
    if (st != ODB_OK)
        return st;
    head = out->p + out->len;
    base = head + FILTER_HEADER;
    memset(head, 0, FILTER_HEADER + (size_t)lines * FILTER_LINE);
    head[0] = FILTER_VERSION;
    head[1] = (uint8_t)probes;
    enc_u32(head + 4, (uint32_t)lines);
    for (size_t i = 0; i < count; i++) {
        uint8_t *line = base + filter_line_of(hashes[i], (uint32_t)lines);
        uint64_t x = filter_spread(hashes[i]);

        /* The lines of a large filter are far apart: fetch those of later keys while this one
         * is at work. */
        if (i + 16 < count)
            ODB_PREFETCH(base + filter_line_of(hashes[i + 16], (uint32_t)lines));
        for (unsigned k = 0; k < probes; k++, x <<= 9)
            line[x >> 58] |= (uint8_t)(1u << (x >> 55 & 7));
    }
    out->len += FILTER_HEADER + (size_t)lines * FILTER_LINE;
    return ODB_OK;
}

bool filter_open(odb_slice bytes, struct filter *out)
{
    const uint8_t *p = bytes.data;
    uint32_t lines;

    if (bytes.size == 0) {
        *out = (struct filter){0};
        return true;
    }
    if (bytes.size < FILTER_HEADER + FILTER_LINE || p[0] != FILTER_VERSION || p[1] < 1 ||
        p[1] > FILTER_PROBES_MAX || get_u16(p + 2) != 0)
        return false;
    lines = get_u32(p + 4);
    if (lines != (bytes.size - FILTER_HEADER) / FILTER_LINE ||
        (bytes.size - FILTER_HEADER) % FILTER_LINE != 0)
        return false;
    *out = (struct filter){p + FILTER_HEADER, lines, p[1]};
    return true;
}

bool filter_may_contain(const struct filter *f, uint64_t hash)
{
    const uint8_t *line;
    uint64_t x = filter_spread(hash);
    unsigned hit = 1;

    if (f->line_count == 0)
        return true;
    /* No early exit: seven loads of one line are cheaper than one wrong guess of the CPU. */
    line = f->lines + filter_line_of(hash, f->line_count);
    for (uint32_t k = f->probes; k > 0; k--, x <<= 9)
        hit &= (unsigned)line[x >> 58] >> (x >> 55 & 7);
    return (hit & 1) != 0;
}

void filter_prefetch(const struct filter *f, uint64_t hash)
{
    if (f->line_count)
        ODB_PREFETCH(f->lines + filter_line_of(hash, f->line_count));
}
