/* fuzz/fuzz.h -- what the targets share: reading the input, stating what must hold, a disk to put
 * files on.
 *
 * A target is one file with LLVMFuzzerTestOneInput(). Linked with libFuzzer it hunts (scripts/fuzz);
 * linked with replay.c it feeds the files of its corpus to the same function, as an ordinary test.
 *
 * Where a checksum guards the bytes, the first byte of the input says how the target treats it
 * (fuzz_seal): a hunt that stopped at the checksum would never see what lies behind.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/coding.h"
#include "os/sim.h"

#define FUZZ_DB  UINT64_C(0x1122334455667788) /* the database files claim to be of */
#define FUZZ_DIR "/db"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input; on top of what the sanitizers say. */
#define FUZZ_REQUIRE(claim)                                                                        \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            (void)fprintf(stderr, "%s:%d: does not hold: %s (last error: %s)\n", __FILE__,         \
                          __LINE__, #claim, odb_error_text());                                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The statuses that bytes of a file may lead to. Everything else would blame somebody else: the
 * memory, the disk, the caller. */
static inline bool fuzz_is_verdict(odb_status st)
{
    return st == ODB_OK || st == ODB_CORRUPT || st == ODB_VERSION || st == ODB_UNSUPPORTED;
}

enum fuzz_seal {
    FUZZ_AS_IT_IS, /* one run in ten: the checksums are those of the input */
    FUZZ_CHECKS,   /* checksums are made right */
    FUZZ_LENGTHS   /* and so are lengths that a cut or an insertion has made wrong */
};

static inline enum fuzz_seal fuzz_seal(uint8_t control)
{
    unsigned n = control % 10u;

    return n == 0 ? FUZZ_AS_IT_IS : n < 5 ? FUZZ_CHECKS : FUZZ_LENGTHS;
}

/* ---- the input, front to back; zeros behind its end ---- */

static inline uint64_t fuzz_number(struct dec *in, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)dec_u8(in) << (8 * i);
    return v;
}

/* At most `len` bytes. */
static inline odb_slice fuzz_bytes(struct dec *in, size_t len)
{
    return dec_bytes(in, len < dec_left(in) ? len : dec_left(in));
}

/* A copy of its own, so that the sanitizer sees a step over either end. Never NULL. */
static inline uint8_t *fuzz_copy(odb_slice s)
{
    uint8_t *p = malloc(s.size ? s.size : 1);

    FUZZ_REQUIRE(p != NULL);
    if (s.size)
        memcpy(p, s.data, s.size);
    return p;
}

/* Touch every byte: the sanitizer looks at each. */
static inline unsigned fuzz_touch(odb_slice s)
{
    const uint8_t *p = s.data;
    unsigned sum = 0;

    for (size_t i = 0; i < s.size; i++)
        sum += p[i];
    return sum;
}

/* ---- a disk ---- */

struct fuzz_disk {
    struct os *os;
    struct os_dir *dir;
};

static inline void fuzz_disk_init(struct fuzz_disk *d)
{
    d->os = sim_new(1);
    FUZZ_REQUIRE(os_dir_open(d->os, FUZZ_DIR, OS_DIR_CREATE, &d->dir) == ODB_OK);
}

static inline void fuzz_disk_release(struct fuzz_disk *d)
{
    os_dir_close(d->dir);
    sim_free(d->os);
}

static inline void fuzz_disk_put(struct fuzz_disk *d, const char *name, odb_slice bytes)
{
    struct os_file *f = NULL;

    FUZZ_REQUIRE(os_open(d->dir, name, OS_WRITE | OS_CREATE, &f) == ODB_OK);
    if (bytes.size)
        FUZZ_REQUIRE(os_write(f, 0, bytes.data, bytes.size) == ODB_OK);
    os_close(f);
}

#endif
