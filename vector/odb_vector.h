/* vector/odb_vector.h -- vectors beside the records they describe, and finding the nearest of them. */
#ifndef ODB_VECTOR_H
#define ODB_VECTOR_H

#include "api/odb_db.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How far two vectors are apart. Stored: a number that has shipped keeps its meaning. */
typedef enum odb_metric {
    ODB_METRIC_DEFAULT = 0, /* as stored; of a new database ODB_METRIC_L2 */
    ODB_METRIC_L2 = 1,      /* the length of the difference */
    ODB_METRIC_COSINE = 2,  /* 1 - cosine of the angle between them: 0 to 2 */
    ODB_METRIC_DOT = 3,     /* minus the inner product */
} odb_metric;

/* The distance of two vectors of `dim` numbers, smaller is nearer. */
ODB_API float odb_distance(const float *a, const float *b, uint32_t dim, odb_metric metric);

#ifdef __cplusplus
}
#endif
#endif
