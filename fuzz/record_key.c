/* fuzz/record_key.c -- records/key.c and the rows of records/index.c. The input is cut into parts by its
 * own bytes: keys made of them compare as the parts do and come back; and as a key or a row of unknown
 * origin it is taken apart or refused. */
#include "fuzz/fuzz.h"
#include "records/index.h"
#include "records/key.h"

static int sign_of(int c)
{
    return (c > 0) - (c < 0);
}

static void make_key(struct buf *b, const odb_slice *part)
{
    buf_reset(b);
    FUZZ_REQUIRE(rec_key_part(b, part[0]) == ODB_OK);
    FUZZ_REQUIRE(rec_key_last(b, part[1]) == ODB_OK);
}

static void two_keys(struct dec in)
{
    odb_slice part[4];
    struct buf a = {0}, b = {0}, room = {0};
    struct dec d;
    odb_slice got;
    int want;

    for (int i = 0; i < 4; i++)
        part[i] = fuzz_bytes(&in, fuzz_number(&in, 1) % 8);
    make_key(&a, part);
    make_key(&b, part + 2);
    want = sign_of(odb_slice_compare(part[0], part[2]));
    if (want == 0)
        want = sign_of(odb_slice_compare(part[1], part[3]));
    FUZZ_REQUIRE(sign_of(odb_slice_compare(buf_slice(&a), buf_slice(&b))) == want);
    d = dec_from(buf_slice(&a));
    FUZZ_REQUIRE(rec_key_take_part(&d, &room, &got) && odb_slice_equal(got, part[0]));
    FUZZ_REQUIRE(rec_key_take_last(&d, &room, &got) && odb_slice_equal(got, part[1]));
    buf_release(&a);
    buf_release(&b);
    buf_release(&room);
}

/* A key that can be taken apart is the only spelling of its parts. */
static void foreign_key(const uint8_t *copy, size_t size)
{
    struct dec d = dec_from(odb_bytes(copy, size));
    struct buf room = {0}, again = {0};
    odb_slice part;

    while (!d.bad && dec_left(&d) > 0) {
        const uint8_t *from = d.p;

        if (!rec_key_take_part(&d, &room, &part))
            break;
        buf_reset(&again);
        FUZZ_REQUIRE(rec_key_part(&again, part) == ODB_OK);
        FUZZ_REQUIRE(odb_slice_equal(buf_slice(&again), odb_bytes(from, (size_t)(d.p - from))));
    }
    d = dec_from(odb_bytes(copy, size));
    if (rec_key_take_last(&d, &room, &part)) {
        buf_reset(&again);
        FUZZ_REQUIRE(rec_key_last(&again, part) == ODB_OK);
        FUZZ_REQUIRE(odb_slice_equal(buf_slice(&again), odb_bytes(copy, size)));
    }
    buf_release(&room);
    buf_release(&again);
}

static void foreign_row(const uint8_t *copy, size_t size)
{
    struct buf room = {0};
    struct rec_row row;

    if (rec_row_parse(odb_bytes(copy, size), &room, &row) == ODB_OK) {
        FUZZ_REQUIRE(row.prefix.size + row.id.size == size && row.id.size > 0);
        (void)fuzz_touch(row.name);
        (void)fuzz_touch(row.id);
    }
    buf_release(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(odb_bytes(data, size));

    two_keys(dec_from(odb_bytes(copy, size)));
    foreign_key(copy, size);
    foreign_row(copy, size);
    free(copy);
    return 0;
}
