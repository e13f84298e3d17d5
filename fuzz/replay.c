/* fuzz/replay.c -- feed files to a fuzz target, without a fuzzer: how the corpus becomes a test.
 *
 *     replay_block FILE|DIRECTORY...
 *
 * Works with any compiler. After each input, no memory of the engine may be left (tests/lib); the
 * first run, on nothing, is not counted, so that a target may keep what it prepares once.
 */
#include <dirent.h>

#include "fuzz/fuzz.h"
#include "tests/lib/test_alloc.h"

static unsigned long inputs;

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = NULL;
    size_t len = 0, got = 1;
    long alive;

    if (!f) {
        perror(path);
        return 1;
    }
    while (got > 0) {
        uint8_t *more = realloc(p, len + 65536);

        FUZZ_REQUIRE(more != NULL);
        p = more;
        got = fread(p + len, 1, 65536, f);
        len += got;
    }
    (void)fclose(f);
    p = realloc(p, len ? len : 1); /* exact, so that a sanitizer sees a read past the end */
    FUZZ_REQUIRE(p != NULL);
    alive = test_alloc_alive();
    (void)LLVMFuzzerTestOneInput(p, len);
    free(p);
    inputs++;
    if (test_alloc_alive() != alive) {
        (void)fprintf(stderr, "%s leaves %ld blocks of memory\n", path, test_alloc_alive() - alive);
        return 1;
    }
    return 0;
}

static int replay_dir(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    int bad = 0;

    if (!d)
        return replay_file(path);
    while ((e = readdir(d)) != NULL) {
        char name[4096];

        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        bad |= replay_file(name);
    }
    (void)closedir(d);
    return bad;
}

int main(int argc, char **argv)
{
    int bad = 0;

    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        bad |= replay_dir(argv[i]);
    (void)printf("%lu inputs\n", inputs);
    return bad || inputs == 0;
}
