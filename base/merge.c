/* base/merge.c -- the tournament behind merge.h.
 *
 * Sources are the leaves of a tree, numbered count .. 2 count-1; the parent of node n is n / 2.
 * Any count will do, the tree need not be full. Three sources:
 *
 *               winner: 2                    source 2 moves on: its leaf is node 5, so it plays
 *                  |                         lost[2], and whoever wins there plays lost[1].
 *              1 [lost: 1]
 *              /         \                   Only matches on that one path are played again: a
 *         2 [lost: 0]     3: source 0        loser elsewhere lost to somebody who has not moved.
 *         /         \                        (Leaves here: 3 is source 0, 4 is 1, 5 is 2.)
 *     4: source 1   5: source 2
 *
 * What is sure. A source that wins twice in a row may well go on winning; of two, one win is enough, as
 * there is but one other to look at. The runner-up is then the best of the losers on the winner's path,
 * and a search in the winner's run (doubling steps, then halving) finds the last entry before it. All of
 * these are handed out without looking at anything else. Where more than two take turns they never pay
 * for that search.
 *
 *     winner's run    [ a  b  c  d  e  h  k ]        runner-up: g
 *                       at            ^ sure
 *
 * Direction. Going backward prefixes are stored inverted and the full comparison changes its sign;
 * everything else is the same code.
 *
 * 1. Between calls every loser's prefix belongs to its current entry; the winner's may be old.
 * 2. No call into a source's ops happens but for the winner, or for all when positioning: entries of
 *    the losers stay where they are (cursor.h, 3).
 * 3. Once stopped by a failure, the merge stays invalid until it is positioned again.
 */
#include "base/merge.h"

#include "base/alloc.h"
#include "base/canary.h"

#define MERGE_NOBODY UINT32_MAX
#define MERGE_STREAK 2 /* wins in a row before looking ahead pays */

ODB_COLD odb_status merge_init(struct merge *m, struct cursor **cursors, uint32_t count,
                               size_t skip)
{
    struct merge_source *source = mem_array(count, sizeof *source);
    uint32_t *lost = mem_array(count, sizeof *lost);

    if (!source || !lost) {
        mem_free(source);
        mem_free(lost);
        return err_set(ODB_NOMEM, "out of memory for a merge of %lu sources", (unsigned long)count);
    }
    merge_init_in(m, source, lost, cursors, count, skip);
    m->is_lent = false;
    return ODB_OK;
}

void merge_init_in(struct merge *m, struct merge_source *source, uint32_t *lost,
                   struct cursor **cursors, uint32_t count, size_t skip)
{
    for (uint32_t i = 0; i < count; i++)
        source[i] = (struct merge_source){cursors[i], UINT64_MAX};
    *m = (struct merge){
        .source = source, .lost = lost, .count = count, .skip = skip, .is_lent = true};
}

ODB_COLD void merge_release(struct merge *m)
{
    for (uint32_t i = 0; m->source && i < m->count; i++)
        cursor_free(m->source[i].cursor);
    if (!m->is_lent) {
        mem_free(m->source);
        mem_free(m->lost);
    }
    *m = (struct merge){0};
}

void merge_detach(struct merge *m)
{
    m->count = 0;
    m->is_valid = false;
}

static bool merge_stop(struct merge *m, odb_status st)
{
    m->is_valid = false;
    m->status = st;
    return false;
}

static uint64_t prefix_of(const struct merge *m, const struct entry *e)
{
    uint64_t prefix = key_prefix(e->key, e->key_len, m->skip);

    return m->is_backward ? ~prefix : prefix;
}

/* Whether `a` comes before `b`, whose prefixes are equal. Negative: yes; 0: the very same key and
 * moment. */
static int compare_behind_prefix(const struct merge *m, const struct entry *a,
                                 const struct entry *b)
{
    size_t past = m->skip + 8, off = a->key_len >= past && b->key_len >= past ? past : m->skip;
    int c;

    if (off > a->key_len || off > b->key_len)
        off = 0; /* a damaged table: its keys do not share what its description says */
    c = ikey_compare(a->key + off, a->key_len - off, a->trailer, b->key + off, b->key_len - off,
                     b->trailer);

    return m->is_backward && !CANARY(32) ? -c : c;
}

/* Whether source `a` comes before source `b`, whose prefixes are equal. */
static bool beats_behind_prefix(const struct merge *m, uint32_t a, uint32_t b)
{
    const struct cursor *ca = m->source[a].cursor, *cb = m->source[b].cursor;
    int c;

    if (!cursor_valid(ca) || !cursor_valid(cb))
        return cursor_valid(ca);
    c = compare_behind_prefix(m, cursor_entry(ca), cursor_entry(cb));
    return c < 0 || (c == 0 && a < b);
}

static inline bool beats(const struct merge *m, uint32_t a, uint32_t b)
{
    uint64_t pa = m->source[a].prefix, pb = m->source[b].prefix;

    return ODB_LIKELY(pa != pb) ? pa < pb : beats_behind_prefix(m, a, b);
}

/* Whether entry `e` of the winner comes before the current entry of source `other`. */
static bool is_before(const struct merge *m, const struct entry *e, uint32_t other)
{
    const struct merge_source *s = &m->source[other];
    uint64_t prefix = prefix_of(m, e);
    int c;

    if (prefix != s->prefix)
        return prefix < s->prefix;
    if (!cursor_valid(s->cursor))
        return true;
    c = compare_behind_prefix(m, e, cursor_entry(s->cursor));
    return c < 0 || (c == 0 && m->winner < other);
}

/* Who would win if the winner left: the best of those who lost against it, all on its path. */
static uint32_t find_runner(const struct merge *m)
{
    uint32_t node = (m->count + m->winner) / 2, best = m->lost[node];

    for (node /= 2; node; node /= 2)
        if (beats(m, m->lost[node], best))
            best = m->lost[node];
    return best;
}

/* How many entries of the winner's run behind the current one, in walking order, come before the
 * runner-up. */
static uint32_t look_ahead(const struct merge *m)
{
    const struct cursor *c = m->current;
    uint32_t left = m->is_backward ? c->at : c->count - 1 - c->at;
    uint32_t runner = find_runner(m), low = 0, high = 1; /* low is before, high is not */

#define MERGE_AHEAD(n) (m->is_backward ? c->run + c->at - (n) : c->run + c->at + (n))
    if (left == 0 || is_before(m, MERGE_AHEAD(left), runner))
        return left;
    while (high < left && is_before(m, MERGE_AHEAD(high), runner)) {
        low = high;
        high *= 2;
    }
    if (high > left)
        high = left;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;

        if (is_before(m, MERGE_AHEAD(mid), runner))
            low = mid;
        else
            high = mid;
    }
#undef MERGE_AHEAD
    return low;
}

/* The winner is known: is there one at all, and how far is it sure? */
static bool settle(struct merge *m)
{
    struct cursor *c = m->source[m->winner].cursor;
    uint32_t ahead = 0;

    m->current = c;
    m->is_valid = cursor_valid(c);
    if (!m->is_valid)
        return false;
    if (m->count == 1)
        ahead = m->is_backward ? c->at : c->count - 1 - c->at;
    else if (m->count == 2 || m->streak >= MERGE_STREAK)
        ahead = look_ahead(m);
    m->sure = m->is_backward ? c->at - ahead : c->at + 1 + ahead;
    return true;
}

/* The winner has moved: play its matches again. */
static void replay(struct merge *m)
{
    uint32_t w = m->winner, count = m->count;
    uint64_t prefix = m->source[w].prefix;

    for (uint32_t node = (count + w) / 2; node; node /= 2) {
        uint32_t other = m->lost[node];
        uint64_t theirs = m->source[other].prefix;

        if (theirs < prefix ||
            (ODB_UNLIKELY(theirs == prefix) && beats_behind_prefix(m, other, w))) {
            m->lost[node] = w;
            w = other;
            prefix = theirs;
        }
    }
    m->streak = w == m->winner ? m->streak + (m->streak < MERGE_STREAK) : 0;
    m->winner = w;
}

static bool winner_moved(struct merge *m)
{
    struct cursor *c = m->current;

    if (cursor_valid(c))
        m->source[m->winner].prefix = prefix_of(m, cursor_entry(c));
    else if (c->status != ODB_OK && !CANARY(24))
        return merge_stop(m, c->status);
    else
        m->source[m->winner].prefix = UINT64_MAX;
    replay(m);
    return settle(m);
}

bool merge_next_slow(struct merge *m)
{
    (void)cursor_next(m->current);
    return winner_moved(m);
}

bool merge_prev_slow(struct merge *m)
{
    (void)cursor_prev(m->current);
    return winner_moved(m);
}

/* All sources have been positioned: play the whole tournament. The first to arrive at a match waits
 * there as its loser for the second. */
static bool merge_start(struct merge *m)
{
    uint32_t w = MERGE_NOBODY;

    for (uint32_t i = 0; i < m->count; i++) {
        struct merge_source *s = &m->source[i];

        if (cursor_valid(s->cursor))
            s->prefix = prefix_of(m, cursor_entry(s->cursor));
        else if (s->cursor->status != ODB_OK)
            return merge_stop(m, s->cursor->status);
        else
            s->prefix = UINT64_MAX;
        m->lost[i] = MERGE_NOBODY;
    }
    m->status = ODB_OK;
    m->is_valid = false;
    for (uint32_t i = 0; i < m->count; i++) {
        w = i;
        for (uint32_t node = (m->count + i) / 2; node; node /= 2) {
            uint32_t other = m->lost[node];

            if (other == MERGE_NOBODY) {
                m->lost[node] = w;
                w = MERGE_NOBODY;
                break;
            }
            if (beats(m, other, w)) {
                m->lost[node] = w;
                w = other;
            }
        }
    }
    if (w == MERGE_NOBODY)
        return false; /* no sources */
    m->winner = w;
    m->streak = 0;
    return settle(m);
}

ODB_COLD bool merge_first(struct merge *m)
{
    m->is_backward = false;
    for (uint32_t i = 0; i < m->count; i++)
        (void)m->source[i].cursor->ops->first(m->source[i].cursor);
    return merge_start(m);
}

ODB_COLD bool merge_last(struct merge *m)
{
    m->is_backward = true;
    for (uint32_t i = 0; i < m->count; i++)
        (void)m->source[i].cursor->ops->last(m->source[i].cursor);
    return merge_start(m);
}

static void merge_aim(struct merge *m, odb_slice key, uint64_t trailer)
{
    if (m->count < 2)
        return;
    for (uint32_t i = 0; i < 2 * m->count; i++) { /* all of them, and once more */
        struct cursor *c = m->source[i % m->count].cursor;

        if (c->ops->aim)
            c->ops->aim(c, key, trailer);
    }
}

bool merge_seek(struct merge *m, odb_slice key, uint64_t trailer)
{
    m->is_backward = false;
    merge_aim(m, key, trailer);
    for (uint32_t i = 0; i < m->count; i++)
        (void)m->source[i].cursor->ops->seek(m->source[i].cursor, key, trailer);
    return merge_start(m);
}

bool merge_seek_for_prev(struct merge *m, odb_slice key, uint64_t trailer)
{
    m->is_backward = true;
    merge_aim(m, key, trailer);
    for (uint32_t i = 0; i < m->count; i++)
        (void)m->source[i].cursor->ops->seek_for_prev(m->source[i].cursor, key, trailer);
    return merge_start(m);
}
