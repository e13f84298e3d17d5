/* bench/html.h -- what pages of this instrument have in common: one look, no scripts, nothing from elsewhere. */
#ifndef BENCH_HTML_H
#define BENCH_HTML_H

#include <stdio.h>

/* Everything up to the first line of the body; colours are --c0 (this engine) to --c7. */
void bench_html_begin(FILE *to, const char *title);
void bench_html_end(FILE *to);
/* Text with what HTML takes for its own written out. */
void bench_html_text(FILE *to, const char *text);

#endif
