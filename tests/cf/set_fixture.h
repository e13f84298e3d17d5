/* tests/cf/set_fixture.h -- a set of families on a simulated disk, for the tests of cf/ that open one.
 *
 * Each test begins with an empty disk and small buffers; ends with every allocation given back. A test may
 * change the options, or put another disk in the place of the one it was given. */
#ifndef TEST_CF_SET_FIXTURE_H
#define TEST_CF_SET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cf/set_priv.h"
#include "os/sim.h"

#define DB "/db"

extern struct os *disk;
extern struct cf_set_options opt;
extern const struct cf_write full;

int setup(void **state);
int teardown(void **state);

struct cf_set *must_open(void);
odb_status try_open(void); /* and close it again */
struct cf *must_find(struct cf_set *s, const char *name);
void must_have(struct cf_set *s, struct cf *f, const char *key, const char *value);
struct lsm_sizes sizes_of(struct cf_set *s, struct cf *f);

/* A database with a table, two families and some log, after a kill: default has t = table and r = ring,
 * g has l = log. It takes the place of what was on `disk`. */
void make_dirty(void);

/* For sim_set_fault(): manifests are neither made nor synced. */
odb_status fail_manifests(void *arg, enum sim_op op, const char *name, uint64_t op_no);

/* For os_dir_list(): the first file of that kind. */
struct one_file {
    enum file_kind kind;
    char name[64];
};
bool find_kind(void *one_file, const char *name);

#define T(name)    cmocka_unit_test_setup_teardown(name, setup, teardown)
#define RUN(tests) (filter_tests(), cmocka_run_group_tests(tests, NULL, NULL))

/* Run no more than what ODB_TEST_ONLY names. */
void filter_tests(void);

#endif
