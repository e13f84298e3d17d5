/* base/canary.h -- known mistakes, to be made on purpose.
 *
 * A harness that finds nothing may be blind. In a build with -Dcanaries=enabled each CANARY(n) below
 * some `if` is one classic failure of storage engines (docs/canaries.md lists them), made when the
 * environment says ODB_CANARY=n; scripts/canaries demands that some quick test fails for each. In every
 * other build CANARY(n) is the constant false and leaves nothing behind.
 */
#ifndef ODB_CANARY_H
#define ODB_CANARY_H

#include <stdbool.h>

#ifdef ODB_WITH_CANARIES
bool canary_is(int n); /* base/canary.c */
#define CANARY(n) canary_is(n)
#else
#define CANARY(n) false
#endif

#endif
