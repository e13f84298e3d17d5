/* cf/history.c -- the ring of recent commits.
 *
 *     record    first number | operations | op | op | ... | words of the record
 *     op        hash of family and key | family << 32 | flags and length | the key's bytes ...
 *
 *        low                                                              head
 *     ....|  commit 57..59  |  commit 60  |      commit 61..80     | 81 ... |
 *                                            <-- look() walks back -----------
 *
 * Positions are counted in words and never wrap; a word lies at its position modulo the ring's size.
 * A transaction that began at number s looks from the newest record back to the one that follows s.
 * That is usually a step or two. Only the first bytes of a long key are kept; a commit with too many
 * keys is recorded as "anything".
 *
 * 1. Records follow each other in order of their numbers without a gap, from `first_seq` on.
 * 2. `low` moves before a word is overwritten. A reader loads the words first and `low` afterwards:
 *    a record that still lies above `low` then was whole. Words are stored with release and loaded
 *    with acquire, so whoever sees a new word sees the `low` that went before it.
 * 3. It is switched off when nobody has needed it for a whole ring, so that a program without
 *    transactions pays for none. Who needs it counts itself first and looks at `is_on` then; who
 *    switches off stores `is_on` first and looks at the count then.
 *
 * Threads: recording is under the commit lock, looking is free.
 * Crash: nothing of it is kept; no transaction outlives the process, and what is prepared is held by
 * other means (cf/commit.c).
 */
#include "cf/history.h"

#include <assert.h>

#include "base/alloc.h"

#define HISTORY_MASK (HISTORY_WORDS - 1)
#define OP_KEY_MAX   256 /* bytes of a key that are kept */
#define OP_CUT       UINT32_C(0x80000000)
#define OP_LEN       UINT32_C(0xffff)
#define RECORD_FIXED 3
#define RECORD_ANY   (UINT64_C(1) << 63) /* beside the number of operations: the keys are not told */

static size_t words_of(size_t bytes)
{
    return (bytes + 7) / 8;
}

/* ---- footprints ---- */

void footprint_release(struct footprint *f)
{
    if (f->word != f->few)
        mem_free(f->word);
    f->word = f->few;
}

static odb_status footprint_room(struct footprint *f, size_t extra)
{
    size_t cap = f->cap * 2;
    uint64_t *grown;

    if (f->len + extra <= f->cap)
        return ODB_OK;
    grown = f->word == f->few ? mem_alloc(cap * sizeof *grown)
                              : mem_realloc(f->word, cap * sizeof *grown);
    if (!grown)
        return err_set(ODB_NOMEM, "out of memory for the keys of a batch");
    if (f->word == f->few)
        memcpy(grown, f->few, f->len * sizeof *grown);
    f->word = grown;
    f->cap = cap;
    return ODB_OK;
}

odb_status footprint_make(struct footprint *f, odb_slice ops)
{
    struct dec d = dec_from(ops);
    struct batch_op op;

    while (batch_next(&d, &op)) {
        size_t len = op.key.size < OP_KEY_MAX ? op.key.size : OP_KEY_MAX;
        size_t words = words_of(len);
        odb_status st = footprint_room(f, 2 + words);

        if (st != ODB_OK) {
            f->len = 0;
            return st;
        }
        f->word[f->len] = claims_hash(op.family, op.key);
        f->word[f->len + 1] =
            (uint64_t)op.family << 32 | (len < op.key.size ? OP_CUT : 0) | (uint32_t)len;
        if (words) {
            f->word[f->len + 1 + words] = 0;
            memcpy(f->word + f->len + 2, op.key.data, len);
        }
        f->len += 2 + words;
    }
    f->is_made = true;
    return ODB_OK;
}

bool footprint_next(const struct footprint *f, size_t *at, struct footprint_op *out)
{
    const uint64_t *w = f->word + *at;
    size_t len;

    if (*at == f->len)
        return false;
    len = w[1] & OP_LEN;
    *out = (struct footprint_op){w[0], (uint32_t)(w[1] >> 32), (w[1] & OP_CUT) != 0,
                                 odb_bytes(w + 2, len)};
    *at += 2 + words_of(len);
    return true;
}

/* ---- life ---- */

void history_release(struct history *h)
{
    mem_free((void *)(uintptr_t)h->word); /* an atomic is no more than its bytes */
}

bool history_enter(struct history *h)
{
    atomic_fetch_add(&h->users, 1);
    return !atomic_load(&h->is_on);
}

void history_leave(struct history *h)
{
    atomic_fetch_sub(&h->users, 1);
}

odb_status history_prepare(_Atomic uint64_t **spare)
{
    *spare = mem_zalloc(HISTORY_WORDS, sizeof **spare);
    return *spare ? ODB_OK : err_set(ODB_NOMEM, "out of memory for the ring of recent commits");
}

void history_start(struct history *h, uint64_t next_seq, _Atomic uint64_t **spare)
{
    if (atomic_load(&h->is_on))
        return; /* somebody was faster */
    if (!h->word) {
        h->word = *spare;
        *spare = NULL;
    }
    h->begin = atomic_load_explicit(&h->head, memory_order_relaxed);
    h->first_seq = next_seq;
    h->idle = 0;
    atomic_store(&h->is_on, true);
}

/* ---- recording ---- */

static void put_word(struct history *h, uint64_t at, uint64_t value)
{
    atomic_store_explicit(&h->word[at & HISTORY_MASK], value, memory_order_release);
}

void history_record(struct history *h, uint64_t first_seq, uint32_t ops, const struct footprint *f)
{
    uint64_t head = atomic_load_explicit(&h->head, memory_order_relaxed), at = head;
    bool is_any = f->len > HISTORY_WORDS / 4;
    size_t total = RECORD_FIXED + (is_any ? 0 : f->len);

    assert(f->is_made);
    if (atomic_load_explicit(&h->users, memory_order_relaxed) != 0) {
        h->idle = 0;
    } else if ((h->idle += ops) > HISTORY_WORDS) {
        atomic_store(&h->is_on, false);
        if (atomic_load(&h->users) == 0)
            return;
        atomic_store(&h->is_on, true); /* somebody came just now */
    }
    if (head + total > HISTORY_WORDS)
        atomic_store_explicit(&h->low, head + total - HISTORY_WORDS, memory_order_release);
    put_word(h, at++, first_seq);
    put_word(h, at++, ops | (is_any ? RECORD_ANY : 0));
    for (size_t i = 0; i < total - RECORD_FIXED; i++)
        put_word(h, at++, f->word[i]);
    put_word(h, at++, total);
    atomic_store_explicit(&h->head, at, memory_order_release);
}

/* ---- looking ---- */

static uint64_t word_at(const struct history *h, uint64_t at)
{
    return atomic_load_explicit(&h->word[at & HISTORY_MASK], memory_order_acquire);
}

static bool is_lost(const struct history *h, uint64_t at)
{
    return at < atomic_load_explicit(&h->low, memory_order_acquire);
}

static bool range_has_op(const struct history *h, const struct claims *c, uint64_t at,
                         uint64_t about, uint64_t seq)
{
    uint64_t copy[OP_KEY_MAX / 8];
    size_t len = about & OP_LEN;

    if (len > OP_KEY_MAX)
        return false; /* overwritten under our eyes: the caller notices */
    for (size_t i = 0; i < words_of(len); i++)
        copy[i] = word_at(h, at + i);
    return claims_has_in_range(c, (uint32_t)(about >> 32), odb_bytes(copy, len),
                               (about & OP_CUT) != 0, seq);
}

/* One record, its operations from `at` to `end`. */
static bool record_hits(const struct history *h, const struct claims *c, uint64_t at, uint64_t end,
                        uint64_t seq, uint32_t *family)
{
    for (; at < end; seq++) {
        uint64_t about = word_at(h, at + 1);

        if (claims_has_key(c, word_at(h, at), seq) ||
            (c->range_count && range_has_op(h, c, at + 2, about, seq))) {
            *family = (uint32_t)(about >> 32);
            return true;
        }
        at += 2 + words_of(about & OP_LEN);
    }
    return false;
}

enum history_answer history_look(const struct history *h, const struct claims *c, uint64_t *seen,
                                 uint32_t *family)
{
    uint64_t at = atomic_load_explicit(&h->head, memory_order_acquire), newest = 0;

    while (at > h->begin) {
        uint64_t total = word_at(h, at - 1), start = at - total, first, ops;
        bool hits = false;

        if (is_lost(h, at - 1))
            return HISTORY_LOST;
        first = word_at(h, start);
        ops = word_at(h, start + 1) & ~RECORD_ANY;
        if (is_lost(h, start))
            return HISTORY_LOST;
        if (newest == 0)
            newest = first + ops - 1;
        if (first + ops - 1 <= *seen)
            goto clear;
        if (word_at(h, start + 1) & RECORD_ANY)
            return HISTORY_LOST;
        hits = record_hits(h, c, start + 2, at - 1, first, family);
        if (is_lost(h, start))
            return HISTORY_LOST;
        if (hits)
            return HISTORY_HIT;
        if (first <= *seen + 1)
            goto clear;
        at = start;
    }
    if (*seen + 1 < h->first_seq)
        return HISTORY_LOST;
clear:
    if (newest > *seen)
        *seen = newest;
    return HISTORY_CLEAR;
}
