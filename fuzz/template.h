/* fuzz/template.h -- a small database of every kind of file, made once a process. */
#ifndef FUZZ_TEMPLATE_H
#define FUZZ_TEMPLATE_H

#include "cf/cf.h"
#include "fuzz/fuzz.h"

#define TEMPLATE_FILES 24

struct template_file {
    char name[64];
    size_t size;
};

struct template_db {
    struct os *os;                             /* as a killed process left it */
    struct template_file file[TEMPLATE_FILES]; /* by name */
    size_t count;
};

struct cf_set_options template_options(struct os *os);
/* Make it: tables on two levels in three families (one with
 * options of its own), a segment of the log, records that are in the ring
 * only, one edit behind the manifest's first record. */
void template_make(struct template_db *t);
/* The bytes of one file; the caller frees them. */
uint8_t *template_load(struct os_dir *dir, const char *name, size_t *len);

#endif
