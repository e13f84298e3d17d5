/* fuzz/template.c -- the database that fuzz/database.c damages, and the seeds are cut from. One seed,
 * one thread: the same bytes each time, as long as the formats are the same. */
#include "fuzz/template.h"

struct cf_set_options template_options(struct os *os)
{
    static const char *const families[] = {"a"};

    return (struct cf_set_options){
        .os = os,
        .create = true,
        .durability = CF_OS,
        .ring_size = 4096,
        .log_segment_size = 8000,
        .log_limit = 100000,
        .cache_bytes = 1 << 16,
        .open_tables = 8,
        .families = families,
        .family_count = 1,
        .family = {.write_buffer = 64 << 10,
                   .max_buffers = 2,
                   .target_file_size = 4000,
                   .l0_trigger = 4,
                   .level_base = 8000,
                   .multiplier = 4,
                   .block_size = 256,
                   .codec = CODEC_RAW,
                   .bits_per_key = 10,
                   .split = 1,
                   .auto_compact = false},
    };
}

static void template_write(struct cf_set *s, struct cf *cf, unsigned from, unsigned to)
{
    char key[32], value[64];

    for (unsigned i = from; i < to; i++) {
        int k = snprintf(key, sizeof key, "key%03u", i * 7 % 100);
        int v = snprintf(value, sizeof value, "value %u of %s", i, cf_name(cf));
        odb_slice name = odb_bytes(key, (size_t)k);

        if (i % 9 == 8)
            FUZZ_REQUIRE(cf_delete(s, cf, name, NULL) == ODB_OK);
        else
            FUZZ_REQUIRE(cf_put(s, cf, name, odb_bytes(value, (size_t)v), NULL) == ODB_OK);
    }
}

static bool template_note(void *arg, const char *name)
{
    struct template_db *t = arg;

    FUZZ_REQUIRE(t->count < TEMPLATE_FILES);
    (void)snprintf(t->file[t->count++].name, sizeof t->file[0].name, "%s", name);
    return true;
}

static int template_compare(const void *a, const void *b)
{
    const struct template_file *x = a, *y = b;

    return strcmp(x->name, y->name);
}

uint8_t *template_load(struct os_dir *dir, const char *name, size_t *len)
{
    struct os_file *f = NULL;
    uint64_t size = 0;
    uint8_t *p;

    FUZZ_REQUIRE(os_open(dir, name, 0, &f) == ODB_OK);
    FUZZ_REQUIRE(os_size(f, &size) == ODB_OK && size < 64u << 20);
    p = malloc((size_t)size + 1);
    FUZZ_REQUIRE(p != NULL);
    FUZZ_REQUIRE(os_read(f, 0, p, (size_t)size, len) == ODB_OK && *len == size);
    os_close(f);
    return p;
}

void template_make(struct template_db *t)
{
    struct os *os = sim_new(1);
    struct cf_set_options opt = template_options(os);
    struct cf_set *s = NULL;
    struct cf *a = NULL, *own = NULL, *def = NULL;
    struct os_dir *dir = NULL;

    FUZZ_REQUIRE(cf_open(FUZZ_DIR, &opt, &s) == ODB_OK);
    FUZZ_REQUIRE(cf_find(s, "default", &def) == ODB_OK && cf_find(s, "a", &a) == ODB_OK);
    FUZZ_REQUIRE(cf_create(s, "own", &opt.family, &own) == ODB_OK);
    template_write(s, own, 0, 10);
    template_write(s, def, 0, 60);
    FUZZ_REQUIRE(cf_flush(s, NULL) == ODB_OK);
    FUZZ_REQUIRE(lsm_compact(cf_tree(def), odb_bytes(NULL, 0), odb_bytes(NULL, 0), NULL, NULL) ==
                 ODB_OK);
    template_write(s, def, 50, 90);
    template_write(s, a, 0, 30);
    FUZZ_REQUIRE(cf_flush(s, NULL) == ODB_OK);
    template_write(s, a, 30, 50);
    FUZZ_REQUIRE(cf_sync(s) == ODB_OK);
    template_write(s, def, 90, 100);

    *t = (struct template_db){.os = sim_image(os, SIM_M1, 1)}; /* the process is killed here */
    (void)cf_close(s);
    sim_free(os);
    FUZZ_REQUIRE(os_dir_open(t->os, FUZZ_DIR, 0, &dir) == ODB_OK);
    FUZZ_REQUIRE(os_dir_list(dir, template_note, t) == ODB_OK);
    qsort(t->file, t->count, sizeof t->file[0], template_compare);
    for (size_t i = 0; i < t->count; i++)
        free(template_load(dir, t->file[i].name, &t->file[i].size));
    os_dir_close(dir);
}
