/* tests/reliability/oracle.h -- what a disk holds, and whether that was promised.
 *
 * Looking and judging are apart: the same disk found again under another promise need not be opened
 * again.
 */
#ifndef TEST_RELIABILITY_ORACLE_H
#define TEST_RELIABILITY_ORACLE_H

#include "tests/cf/workload.h"

#define WHY_MAX 700

struct finding {
    bool is_whole;   /* opened, and every family holds what it should after `k` transactions */
    bool is_refused; /* the open said ODB_CORRUPT */
    uint32_t k;
    uint8_t families; /* a bit for each that is there */
    char why[WHY_MAX];
};

/* The set, and what stands above it where the workload has that. */
struct opened {
    struct cf_set *s;
    struct odb_db *db; /* NULL: nothing */
};

odb_status opened_open(const struct cf_set_options *o, const struct workload *w,
                       struct opened *out);
odb_status opened_close(const struct opened *o, const struct workload *w);

enum oracle_effort {
    ORACLE_LOOK,   /* open, compare */
    ORACLE_GO_ON,  /* read-only first, which must change nothing; then one more commit, close,
                      open again, compare; what is prepared committed or rolled back, compare */
    ORACLE_WHOLLY, /* and all merges, checksums, files that nobody needs */
};

/* `os` is used up. `p` as it was at the crash. */
void oracle_look(struct os *os, const struct workload *w, const struct promise *p,
                 enum oracle_effort effort, struct finding *out);
/* Whether `p` allows that. `least`: the prefix that must be there. `may_refuse`: damage for which the
 * answer may be ODB_CORRUPT. */
bool oracle_allows(const struct promise *p, uint32_t least, bool may_refuse, struct finding *f);

#endif
