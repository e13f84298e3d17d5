/* tools/plugin.c -- odb --backend=NAME: another engine below the same commands.
 *
 * A plug-in is a module odb-backend-NAME.so with a function odb_backend_NAME of the type of
 * odb_backend_lsm. It is looked for in $ODB_BACKENDS, beside the program (a build directory), and where
 * installation puts it. It calls the library's functions, which this program lends it.
 */
#include "tool.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

typedef odb_status opener(const char *dir, const odb_options *opt, odb_backend *out);

/* Only letters, digits and '-': a name cannot lead out of the directory. */
static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");

    return len > 0 && len <= 32 && name[len] == 0;
}

static void *load_from(const char *dir, const char *sub, const char *backend)
{
    char path[4096];

    if (!dir || snprintf(path, sizeof path, "%s%s/odb-backend-%s.so", dir, sub, backend) >=
                    (int)sizeof path)
        return NULL;
    return access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static void *load(const char *backend)
{
    char self[4000];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    void *module = load_from(getenv("ODB_BACKENDS"), "", backend);
    char *slash;

    self[len > 0 ? len : 0] = 0;
    slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    if (!module && slash)
        module = load_from(self, "/../bench", backend);
#ifdef ODB_BACKEND_DIR
    if (!module)
        module = load_from(ODB_BACKEND_DIR, "", backend);
#endif
    return module;
}

odb_status plugin_open(const char *backend, const char *dir, const odb_options *opt, odb_db **out)
{
    char symbol[64];
    opener *open = NULL;
    odb_backend b;
    odb_status st;
    void *module, *found = NULL;

    if (strcmp(backend, "lsm") == 0)
        return odb_open(dir, opt, out);
    module = is_name(backend) ? load(backend) : NULL;
    (void)snprintf(symbol, sizeof symbol, "odb_backend_%s", backend);
    if (module)
        found = dlsym(module, symbol);
    if (!found) {
        const char *why = is_name(backend) ? dlerror() : NULL;

        return odb_error_set(
            ODB_UNSUPPORTED,
            why ? why
                : "there is no plug-in of that name; it is built when the engine's "
                  "development package is there, and $ODB_BACKENDS may say where "
                  "it lies");
    }
    memcpy(&open, &found, sizeof open); /* ISO C has no cast from data to function */
    st = open(dir, opt, &b);
    if (st == ODB_OK) {
        st = odb_open_backend(b, out);
        if (st != ODB_OK)
            (void)b.ops->close(b.self);
    }
    return st; /* the module stays: the database is made of it */
}
