/* base/prof.h -- counts too frequent to be kept always: in builds with -Dprofile=true only.
 *
 * Each thread counts for itself, over all databases, so a count costs one addition to memory nobody
 * shares; odb_stats() gives the calling thread's. In other builds nothing is left of this.
 */
#ifndef ODB_BASE_PROF_H
#define ODB_BASE_PROF_H

#include <stdint.h>

enum prof_counter {
    PROF_COMPARES, /* keys compared byte by byte; what an 8-byte prefix decides is not counted */
    PROF_COPIED,   /* bytes of keys and values copied */
    PROF_COUNTERS
};

#ifdef ODB_PROFILE
extern _Thread_local uint64_t prof_counts[PROF_COUNTERS];
#define PROF_COUNT(which, n) ((void)(prof_counts[which] += (n)))
#define PROF_READ(which)     (prof_counts[which])
#else
#define PROF_COUNT(which, n) ((void)0)
#define PROF_READ(which)     UINT64_C(0)
#endif

#endif
