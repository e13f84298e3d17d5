/* api/txn_set.c -- entries, and their numbers in key order.
 *
 *     entry    0:b  1:d  2:a  3:b  4:f  ...            as they came; 3 stands in for 0
 *
 *     chunk    [2 3]   [1 4]                           numbers, by family and key; up to 128 each
 *
 * Two levels are enough: a transaction of a million keys has some ten thousand chunks, and adding a
 * key moves at most one chunk's numbers, and now and then the list of chunks. Keys that come in order
 * fill their chunks.
 *
 * 1. Every chunk in use holds at least one number. Chunks beyond `chunk_count` are kept for later.
 * 2. Undoing goes from the newest entry to the oldest, so what an entry stands in for is there again
 *    when the entry goes.
 *
 * Threads: the transaction's one.
 */
#include "api/txn_set.h"

#include "base/alloc.h"

#define CHUNK_NUMBERS 128

struct txn_chunk {
    uint32_t count;
    uint32_t number[CHUNK_NUMBERS];
};

void txn_set_clear(struct txn_set *s)
{
    s->count = s->keys = s->chunk_count = 0;
}

ODB_COLD void txn_set_release(struct txn_set *s)
{
    while (s->chunk_made)
        mem_free(s->chunk[--s->chunk_made]);
    mem_free(s->chunk);
    mem_free(s->entry);
    *s = (struct txn_set){.bytes = s->bytes};
}

odb_status txn_set_room(struct txn_set *s)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 16;
        struct txn_entry *grown =
            cap > s->cap ? mem_realloc(s->entry, (size_t)cap * sizeof *grown) : NULL;

        if (!grown)
            return err_set(ODB_NOMEM, "no memory for another key of a transaction");
        s->entry = grown;
        s->cap = cap;
    }
    if (s->chunk_count == s->chunk_made) { /* one may be needed for a split */
        if (s->chunk_made == s->chunk_cap) {
            uint32_t cap = s->chunk_cap ? s->chunk_cap * 2 : 4;
            struct txn_chunk **grown = mem_realloc(s->chunk, (size_t)cap * sizeof(void *));

            if (!grown)
                return err_set(ODB_NOMEM, "no memory for another key of a transaction");
            s->chunk = grown;
            s->chunk_cap = cap;
        }
        s->chunk[s->chunk_made] = mem_alloc(sizeof(struct txn_chunk));
        if (!s->chunk[s->chunk_made])
            return err_set(ODB_NOMEM, "no memory for another key of a transaction");
        s->chunk_made++;
    }
    return ODB_OK;
}

static int txn_set_compare(const struct txn_set *s, uint32_t number, uint32_t family, odb_slice key)
{
    const struct txn_entry *e = &s->entry[number];

    if (e->family != family)
        return e->family < family ? -1 : 1;
    return odb_slice_compare(txn_entry_key(s, e), key);
}

bool txn_set_find(const struct txn_set *s, uint32_t family, odb_slice key, struct txn_place *out)
{
    uint32_t low = 0, high = s->chunk_count, c;
    int order = -1;

    while (low < high) { /* the first chunk that begins behind the key */
        uint32_t mid = low + (high - low) / 2;

        if (txn_set_compare(s, s->chunk[mid]->number[0], family, key) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == 0) {
        *out = txn_set_first();
        return false;
    }
    c = low - 1; /* it holds the key, or the key belongs into it or right behind it */
    for (low = 0, high = s->chunk[c]->count; low < high;) {
        uint32_t mid = low + (high - low) / 2;

        order = txn_set_compare(s, s->chunk[c]->number[mid], family, key);
        if (order == 0) {
            *out = (struct txn_place){c, mid};
            return true;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *out = (struct txn_place){c, low};
    return false;
}

/* Make a second chunk behind `c`: half of it, or, where the end grows, an empty one. */
static void txn_set_split(struct txn_set *s, struct txn_place *at)
{
    struct txn_chunk *fresh = s->chunk[s->chunk_count], *full = s->chunk[at->chunk];
    uint32_t keep = at->at == CHUNK_NUMBERS ? CHUNK_NUMBERS : CHUNK_NUMBERS / 2;

    memmove(s->chunk + at->chunk + 2, s->chunk + at->chunk + 1,
            (s->chunk_count - at->chunk - 1) * sizeof *s->chunk);
    s->chunk[at->chunk + 1] = fresh;
    s->chunk_count++;
    fresh->count = CHUNK_NUMBERS - keep;
    memcpy(fresh->number, full->number + keep, fresh->count * sizeof *fresh->number);
    full->count = keep;
    if (at->at >= keep)
        *at = (struct txn_place){at->chunk + 1, at->at - keep};
}

void txn_set_add(struct txn_set *s, struct txn_place at, bool is_there, struct txn_entry e)
{
    struct txn_chunk *c;

    e.older = is_there ? s->chunk[at.chunk]->number[at.at] : TXN_NONE;
    if (!is_there) {
        if (s->chunk_count == 0)
            s->chunk[s->chunk_count++]->count = 0;
        else if (s->chunk[at.chunk]->count == CHUNK_NUMBERS)
            txn_set_split(s, &at);
        c = s->chunk[at.chunk];
        memmove(c->number + at.at + 1, c->number + at.at, (c->count - at.at) * sizeof *c->number);
        c->count++;
        s->keys++;
    }
    s->chunk[at.chunk]->number[at.at] = s->count;
    s->entry[s->count++] = e;
}

static void txn_set_erase(struct txn_set *s, struct txn_place at)
{
    struct txn_chunk *c = s->chunk[at.chunk];

    c->count--;
    memmove(c->number + at.at, c->number + at.at + 1, (c->count - at.at) * sizeof *c->number);
    s->keys--;
    if (c->count == 0) { /* (1) */
        s->chunk_count--;
        memmove(s->chunk + at.chunk, s->chunk + at.chunk + 1,
                (s->chunk_count - at.chunk) * sizeof *s->chunk);
        s->chunk[s->chunk_count] = c;
    }
}

ODB_COLD void txn_set_undo(struct txn_set *s, uint32_t count)
{
    while (s->count > count) {
        const struct txn_entry *e = &s->entry[s->count - 1];
        struct txn_place at;

        if (txn_set_find(s, e->family, txn_entry_key(s, e), &at)) {
            if (e->older == TXN_NONE)
                txn_set_erase(s, at);
            else
                s->chunk[at.chunk]->number[at.at] = e->older;
        }
        s->count--;
    }
}

struct txn_entry *txn_set_at(const struct txn_set *s, struct txn_place at)
{
    if (at.chunk < s->chunk_count && at.at == s->chunk[at.chunk]->count)
        at = (struct txn_place){at.chunk + 1, 0};
    return at.chunk < s->chunk_count ? &s->entry[s->chunk[at.chunk]->number[at.at]] : NULL;
}

struct txn_place txn_set_next(const struct txn_set *s, struct txn_place at)
{
    if (at.at + 1 < s->chunk[at.chunk]->count)
        return (struct txn_place){at.chunk, at.at + 1};
    if (at.at == s->chunk[at.chunk]->count) /* it stood for the first of the next one */
        return txn_set_next(s, (struct txn_place){at.chunk + 1, 0});
    return (struct txn_place){at.chunk + 1, 0};
}

struct txn_place txn_set_prev(const struct txn_set *s, struct txn_place at)
{
    if (at.at > 0)
        return (struct txn_place){at.chunk, at.at - 1};
    return (struct txn_place){at.chunk - 1, s->chunk[at.chunk - 1]->count - 1};
}
