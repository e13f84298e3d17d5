/* vector/kernel.c -- which kernel this machine runs. */
#include "vector/kernel.h"

#include <string.h>

static bool cpu_can(const char *name)
{
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    if (strcmp(name, "avx2") == 0) /* every processor with FMA has F16C, which not every compiler
                                      can ask for */
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (strcmp(name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
    return strcmp(name, "scalar") == 0 || strcmp(name, "neon") == 0; /* there if compiled */
}

const struct vec_kernel *vec_kernel_named(const char *name)
{
    const struct vec_kernel *(*const each[])(void) = {vec_kernel_avx512, vec_kernel_avx2,
                                                      vec_kernel_neon, vec_kernel_scalar};

    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        const struct vec_kernel *k = each[i]();

        if (k && strcmp(k->name, name) == 0 && cpu_can(name))
            return k;
    }
    return NULL;
}

const struct vec_kernel *vec_kernel_choose(const char *wish)
{
    static const char *const best_first[] = {"avx512", "avx2", "neon"};
    const struct vec_kernel *k = wish ? vec_kernel_named(wish) : NULL;

    for (size_t i = 0; !k && i < sizeof best_first / sizeof *best_first; i++)
        k = vec_kernel_named(best_first[i]);
    return k ? k : vec_kernel_scalar();
}
