/* base/merge.h -- many ordered cursors walked as one: a tournament ("loser") tree over cached key
 * prefixes (Knuth, TAOCP 3, 5.4.1).
 *
 *                 winner: source 2
 *                /                \        each inner node remembers who lost there, so after the
 *          [lost: 0]          [lost: 3]    winner has moved, log2(n) comparisons find the next one
 *          /     \             /     \
 *         0       1           2       3    leaves: the sources' current entries
 *
 * 1. Each source's current key is kept as a number: the 8 bytes after the first `skip`, which all
 *    keys of all sources have in common. Most comparisons never touch a key.
 * 2. The winner's entries up to `sure` are known to come before all other sources, so that walking
 *    them compares nothing: a merge of disjoint ranges, or of one source, costs what a plain scan
 *    costs.
 * 3. Equal (key, trailer) pairs do not occur; should a damaged file hold them, the lower source
 *    number wins and nothing loops.
 * 4. A source that fails stops the merge: it becomes invalid with that status at the moment the
 *    failing source would have to be compared, never skipping entries (C24).
 *
 * Threads: one at a time.
 */
#ifndef ODB_BASE_MERGE_H
#define ODB_BASE_MERGE_H

#include "base/cursor.h"

struct merge_source {
    struct cursor *cursor;
    uint64_t prefix; /* of the current key, inverted going backward: the least comes first. At its
                        end UINT64_MAX. Out of date for the winner. */
};

struct merge {
    struct merge_source *source;
    uint32_t *lost;         /* inner nodes 1..count-1; source s is the leaf count + s */
    struct cursor *current; /* the winner's; NULL until positioned */
    uint32_t sure;          /* forward: run[at..sure) of the winner come before all other sources;
                               backward: run[sure..at] do */
    uint32_t count;         /* sources */
    uint32_t winner;        /* meaningful while is_valid */
    uint32_t streak;        /* entries the winner has won in a row, as far as it matters */
    size_t skip;
    bool is_backward;
    bool is_valid;
    bool is_lent; /* the arrays are the caller's */
    odb_status status;
};

/* `cursors` (count of them) are owned by the merge from ODB_OK on and freed with it; on ODB_NOMEM
 * they stay the caller's. All keys must share their first `skip` bytes. */
ODB_MUST_CHECK odb_status merge_init(struct merge *m, struct cursor **cursors, uint32_t count,
                                     size_t skip);
/* The same in memory of the caller's, `count` of each, which outlives the merge. Cannot fail. */
void merge_init_in(struct merge *m, struct merge_source *source, uint32_t *lost,
                   struct cursor **cursors, uint32_t count, size_t skip);
void merge_release(struct merge *m);
/* Hand the cursors back to whoever gave them; only merge_release may follow. */
void merge_detach(struct merge *m);

bool merge_first(struct merge *m);
bool merge_last(struct merge *m);
bool merge_seek(struct merge *m, odb_slice key, uint64_t trailer);
bool merge_seek_for_prev(struct merge *m, odb_slice key, uint64_t trailer);

/* Only while valid, and only in the direction of the last positioning call: to turn round, seek to
 * the current entry the other way. */
static inline bool merge_next(struct merge *m);
static inline bool merge_prev(struct merge *m);

/* Only while valid. Good until the next call on the merge. */
static inline const struct entry *merge_entry(const struct merge *m)
{
    return cursor_entry(m->current);
}

/* The entries that certainly come next, the current one first: at least one. For loops that want no
 * call per entry: look at all of them, then merge_next_stretch. Only while valid, going forward. */
static inline const struct entry *merge_stretch(const struct merge *m, uint32_t *count)
{
    *count = m->sure - m->current->at;
    return cursor_entry(m->current);
}

/* Past the end of what is sure: merge.c. */
bool merge_next_slow(struct merge *m);
bool merge_prev_slow(struct merge *m);

static inline bool merge_next_stretch(struct merge *m)
{
    m->current->at = m->sure - 1;
    return merge_next_slow(m);
}

static inline bool merge_next(struct merge *m)
{
    if (ODB_LIKELY(m->current->at + 1 < m->sure)) {
        m->current->at++;
        return true;
    }
    return merge_next_slow(m);
}

static inline bool merge_prev(struct merge *m)
{
    if (ODB_LIKELY(m->current->at > m->sure)) {
        m->current->at--;
        return true;
    }
    return merge_prev_slow(m);
}

#endif
