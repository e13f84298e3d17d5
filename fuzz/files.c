/* fuzz/files.c -- cf/files.h: CURRENT, IDENTITY and the names of files.
 *
 *    input   control u8 (fuzz.h), bit 7: IDENTITY rather than CURRENT | the file
 */
#include "cf/files.h"
#include "fuzz/seal.h"

static void files_name(odb_slice bytes)
{
    char name[64] = {0}, again[FILE_NAME_MAX];
    uint64_t no = 0;
    enum file_kind kind;

    if (bytes.size > sizeof name - 1)
        bytes.size = sizeof name - 1;
    if (bytes.size)
        memcpy(name, bytes.data, bytes.size);
    kind = file_parse(name, &no);
    if (kind == FILE_MANIFEST || kind == FILE_LOG || kind == FILE_TABLE) {
        file_name(kind, no, again);
        FUZZ_REQUIRE(strcmp(name, again) == 0);
    } else {
        FUZZ_REQUIRE(no == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    uint8_t control = dec_u8(&in);
    enum fuzz_seal how = fuzz_seal(control & 0x7f);
    odb_slice bytes = fuzz_bytes(&in, SIZE_MAX);
    uint8_t *p = fuzz_copy(bytes);
    struct fuzz_disk d;
    struct identity id;
    uint64_t no = 0;
    odb_status st;

    files_name(bytes);
    fuzz_disk_init(&d);
    if (control & 0x80) {
        if (how != FUZZ_AS_IT_IS)
            seal_identity(p, bytes.size);
        fuzz_disk_put(&d, "IDENTITY", odb_bytes(p, bytes.size));
        st = identity_read(d.dir, false, &id);
        FUZZ_REQUIRE(st != ODB_OK || identity_db_id(&id) != 0);
    } else {
        if (how != FUZZ_AS_IT_IS)
            seal_current(p, bytes.size, FUZZ_DB);
        fuzz_disk_put(&d, "CURRENT", odb_bytes(p, bytes.size));
        st = current_read(d.dir, FUZZ_DB, &no);
        FUZZ_REQUIRE(st != ODB_OK || no != 0);
    }
    FUZZ_REQUIRE(fuzz_is_verdict(st));
    fuzz_disk_release(&d);
    free(p);
    return 0;
}
