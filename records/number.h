/* records/number.h -- reals as decimal text and back, exactly, whatever locale the program has set. */
#ifndef ODB_RECORDS_NUMBER_H
#define ODB_RECORDS_NUMBER_H

#include "base/odb_types.h"

#define NUMBER_TEXT_MAX 32 /* bytes of the longest text number_write() makes */

/* The double nearest to a decimal (ties to the even one), which must be spelled
 * [-]digits[.digits][e[+-]digits]. False: it is too large for a double. */
bool number_read(odb_slice text, double *out);

/* The shortest text that number_read() gives `v` for; of these the nearest. It always has a point or an
 * exponent, so that it reads as a real: 1.0, -0.0, 1e+22. `v` is finite. Returns its length. */
size_t number_write(char *out, double v);

/* An integer in decimal. Returns its length, at most 20. */
size_t number_write_i64(char *out, int64_t v);

#endif
