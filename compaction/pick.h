/* compaction/pick.h -- which tables to merge next. Pure: looks at a description of the levels, names
 * tables by position, changes nothing, reads no file.
 */
#ifndef ODB_COMPACTION_PICK_H
#define ODB_COMPACTION_PICK_H

#include "base/status.h"

#define PICK_LEVELS 7

/* One table as the picker sees it. */
struct pick_file {
    uint64_t file_no;
    uint64_t size;
    uint64_t entries;
    uint64_t deletes;
    uint64_t max_seq;
    odb_slice smallest; /* user keys, borrowed */
    odb_slice largest;
    bool is_busy;   /* input of a running job (C36) */
    bool is_marked; /* asked for by reads or by hand; off again once it was merged or moved */
};

/* Level 0: newest table first, ranges overlap. Levels 1 up: by key, ranges disjoint. */
struct pick_level {
    const struct pick_file *files;
    uint32_t count;
    uint64_t target; /* bytes this level may hold before it scores over 1; from pick_shape. 0: the
                        level should not be there and is emptied */
};

struct pick_view {
    struct pick_level level[PICK_LEVELS];
    uint32_t base; /* where level 0 merges to; from pick_shape */
    uint32_t l0_trigger;
    uint64_t file_target; /* bytes of an output table */
    uint64_t oldest_seq; /* what the oldest reader sees: tombstones up to here can be shed in place.
                             0: nobody knows, so never */
};

struct pick_options {
    uint32_t l0_trigger;
    uint64_t base_bytes; /* target of the first level below 0 */
    uint32_t multiplier; /* each level so many times the one above; 10 */
    uint64_t file_target;
};

/* Dynamic level sizes (Dong et al., CIDR 2017): targets follow from the size of the deepest level
 * upward, so that about a tenth of the data lies above it. Fills level[].target and base; the file
 * lists and l0_trigger, file_target must be set. */
void pick_shape(struct pick_view *v, const struct pick_options *opt);

enum pick_reason { PICK_NONE, PICK_L0, PICK_SIZE, PICK_DELETES, PICK_MARKED, PICK_MANUAL };

struct pick {
    enum pick_reason reason;
    double score;
    uint32_t from;   /* level of the chosen tables */
    uint32_t to;     /* level of the outputs; `from` itself: rewrite in place */
    uint32_t *upper; /* positions in level[from], ascending */
    uint32_t upper_count;
    uint32_t *lower; /* positions in level[to], ascending; empty when from == to */
    uint32_t lower_count;
    bool is_trivial; /* no merge, `upper` just changes its level: nothing overlaps below */
};

/* The most urgent merge that touches no busy table; reason PICK_NONE when nothing is over its
 * target. ODB_NOMEM. */
ODB_MUST_CHECK odb_status pick_next(const struct pick_view *v, struct pick *out);
/* The next step of a manual compaction of [begin, end] (NULL data: open), from `level` down one; to be
 * called until there is none. PICK_NONE when nothing of `level` lies in the range, when what does is
 * busy (then *is_blocked is set), or when `level` is the deepest. */
ODB_MUST_CHECK odb_status pick_range(const struct pick_view *v, uint32_t level, odb_slice begin,
                                     odb_slice end, bool *is_blocked, struct pick *out);
void pick_release(struct pick *p);

/* Bytes that must still be merged before every level is at its target: what back-pressure follows. */
uint64_t pick_debt(const struct pick_view *v);

#endif
