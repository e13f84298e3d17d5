#include "base/coding.h"

uint64_t dec_varint_slow(struct dec *d)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64 && d->p < d->end; shift += 7) {
        uint8_t b = *d->p++;

        if (shift == 63 && b > 1)
            break; /* past 64 bits */
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            if (b == 0 && shift > 0)
                break; /* longer than it need be */
            return v;
        }
    }
    d->bad = true;
    d->p = d->end;
    return 0;
}
