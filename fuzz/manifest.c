/* fuzz/manifest.c -- a whole manifest.
 *
 *    input   control u8 (fuzz.h) | the file
 *
 * What is read is gathered, written as a manifest of its own and read again: the same items.
 */
#include "cf/files.h"
#include "cf/manifest.h"
#include "fuzz/seal.h"

#define MANIFEST_NO 3u

struct manifest_seen {
    struct manifest_group group;
    uint64_t items;
};

static odb_status manifest_see(void *arg, const struct manifest_item *item)
{
    struct manifest_seen *seen = arg;

    seen->items++;
    switch (item->kind) {
    case MANIFEST_FAMILY: return manifest_add_family(&seen->group, &item->family);
    case MANIFEST_DROP: return manifest_add_drop(&seen->group, item->dropped);
    case MANIFEST_EDIT: return manifest_add_edit(&seen->group, &item->edit);
    case MANIFEST_COUNTERS: return manifest_add_counters(&seen->group, &item->counters);
    default: abort(); /* a reader refuses kinds it does not know */
    }
}

static void manifest_write_again(struct fuzz_disk *d, struct manifest_seen *seen)
{
    struct manifest_seen again = {0};
    struct manifest *m = NULL;

    FUZZ_REQUIRE(manifest_create(d->os, d->dir, FUZZ_DB, MANIFEST_NO + 1, &seen->group, &m) ==
                 ODB_OK);
    manifest_close(m);
    FUZZ_REQUIRE(manifest_read(d->dir, FUZZ_DB, MANIFEST_NO + 1, manifest_see, &again, NULL) ==
                 ODB_OK);
    FUZZ_REQUIRE(again.items == seen->items && again.group.bytes.len == seen->group.bytes.len);
    /* behind the record's head, which manifest_append() fills in */
    FUZZ_REQUIRE(memcmp(again.group.bytes.p + 12, seen->group.bytes.p + 12,
                        again.group.bytes.len - 12) == 0);
    manifest_group_release(&again.group);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec in = dec_from(odb_bytes(data, size));
    enum fuzz_seal how = fuzz_seal(dec_u8(&in));
    odb_slice bytes = fuzz_bytes(&in, SIZE_MAX);
    uint8_t *p = fuzz_copy(bytes);
    struct manifest_seen seen = {0};
    struct manifest_result res = {0};
    struct fuzz_disk d;
    char name[FILE_NAME_MAX];
    odb_status st;

    seal_manifest(p, bytes.size, FUZZ_DB, MANIFEST_NO, how);
    fuzz_disk_init(&d);
    file_name(FILE_MANIFEST, MANIFEST_NO, name);
    fuzz_disk_put(&d, name, odb_bytes(p, bytes.size));
    st = manifest_read(d.dir, FUZZ_DB, MANIFEST_NO, manifest_see, &seen, &res);
    FUZZ_REQUIRE(fuzz_is_verdict(st));
    if (st == ODB_OK) {
        FUZZ_REQUIRE(res.size <= bytes.size && res.is_torn == (res.size < bytes.size));
        FUZZ_REQUIRE(res.records > 0);
        if (seen.items > 0)
            manifest_write_again(&d, &seen);
    }
    manifest_group_release(&seen.group);
    fuzz_disk_release(&d);
    free(p);
    return 0;
}
