/* bench/vector_lines.h -- results of odb-bench-vector as lines of JSON, for whoever makes a page of them. */
#ifndef BENCH_VECTOR_LINES_H
#define BENCH_VECTOR_LINES_H

#include <stdbool.h>

#include "bench/vector_html.h"

/* Append one line. Texts must not contain quotes, backslashes or control characters. */
void bench_vector_put_line(FILE *to, const struct bench_vector_result *r);

/* Read one line. Members that are not known here are left out of account. False: it is no such line. */
bool bench_vector_read_line(const char *line, struct bench_vector_result *out);

/* All lines of a file, sorted by dimensions, then number; *count of them, in memory to be freed. NULL:
 * it cannot be read, or a line (*line, from 1) is none. Empty lines are fine. */
struct bench_vector_result *bench_vector_read_file(const char *file, size_t *count, size_t *line);

#endif
